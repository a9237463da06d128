//! What the container may not see or change: masked paths, read-only paths, the read-only root.
//!
//! May not: trust a path twice. Each is resolved once, below the root; what is bound over it is a descriptor that was
//! verified after it was opened (CVE-2025-31133).
//!
//! The steps work by descriptor, so they may come before or after the pivot; where the classic mount calls have to
//! serve they need the host's /proc, so they are best placed right before it.

use super::devices::open_null_path;
use super::options::{Depth, parse_options};
use super::paths::RootPath;
use super::root::{Links, Root};
use super::tree::{NewFs, Way};
use crate::error::{Doing, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::fs;
use sys::mount;

/// Hides every path: a file behind `/dev/null`, a directory behind one empty read-only file system that all of them
/// share (a superblock each made the kernel wait for RCU grace periods when many containers ended at once). Missing
/// paths are skipped: the list in use names many that not every kernel has.
pub fn apply_masked_paths(root: &mut Root, paths: &[RootPath]) -> Result<()> {
    let mut covers = Covers::default();
    for path in paths {
        let target = match root.open_path(path, Links::Follow) {
            Ok(target) => target,
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => continue,
            Err(e) => return Err(e).doing(|| format!("can't mask path {:?}", path.to_string())),
        };
        covers
            .mask(root, target.as_fd())
            .doing(|| format!("can't mask path {:?}", path.to_string()))?;
    }
    Ok(())
}

/// What is bound over masked paths, made on first use.
#[derive(Default)]
struct Covers {
    null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
}

impl Covers {
    fn mask(&mut self, root: &mut Root, target: BorrowedFd<'_>) -> Result<()> {
        if !fs::fstat(target)?.is_dir() {
            let null = match &self.null {
                Some(null) => null,
                None => self.null.insert(open_cover_null(root)?),
            };
            return root.bind_fd(null.as_fd(), target);
        }
        if let Some(empty) = &self.empty {
            return root.bind_fd(empty.as_fd(), target);
        }
        self.empty = Some(root.either_way(|root, way| {
            let tree = empty_directory(root, way)?;
            root.attach(way, tree.as_fd(), target)?;
            Ok(tree)
        })?);
        Ok(())
    }
}

/// The container's null device, or the host's when the container's is not one: both are verified.
fn open_cover_null(root: &Root) -> Result<OwnedFd> {
    match open_null_path(root) {
        Ok(null) => Ok(null),
        Err(e) => {
            let host = fs::open(Path::new("/dev/null"), libc::O_PATH | libc::O_NOFOLLOW, 0)?;
            if !fs::fstat(host.as_fd())?.is_char_device(1, 3) {
                return Err(e);
            }
            Ok(host)
        }
    }
}

fn empty_directory(root: &mut Root, way: Way) -> Result<OwnedFd> {
    match empty_tmpfs(root, way, 1) {
        // Before Linux 5.x the root directory did not fit into one inode of quota.
        Err(e) if e.is(libc::ENOSPC) || e.is(libc::EINVAL) => Ok(empty_tmpfs(root, way, 2)?),
        other => Ok(other?),
    }
}

fn empty_tmpfs(root: &mut Root, way: Way, inodes: u32) -> sys::Result<OwnedFd> {
    let words = ["nr_blocks=1".to_string(), format!("nr_inodes={inodes}")];
    let (mut options, _) = parse_options(&words);
    if let Some(label) = &root.label {
        options.add_label(&label.to_string_lossy());
    }
    let new = NewFs {
        fstype: c"tmpfs",
        source: c"tmpfs",
        parameters: &options.parameters,
        data: &options.data,
        flags: libc::MS_RDONLY,
        attrs: mount::ATTR_RDONLY,
    };
    root.new_filesystem(way, &new)
}

/// Makes every path read-only by binding it on itself. Missing paths are skipped.
pub fn apply_readonly_paths(root: &mut Root, paths: &[RootPath]) -> Result<()> {
    for path in paths {
        let target = match root.open_path(path, Links::Follow) {
            Ok(target) => target,
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => continue,
            Err(e) => return Err(e).doing(|| format!("can't make {:?} read-only", path.to_string())),
        };
        make_readonly(root, target.as_fd())
            .doing(|| format!("can't make {:?} read-only", path.to_string()))?;
    }
    Ok(())
}

fn make_readonly(root: &mut Root, target: BorrowedFd<'_>) -> Result<()> {
    root.either_way(|root, way| {
        let tree = root.clone_fd(way, target, Depth::Recursive)?;
        root.set_readonly(way, tree.as_fd())?;
        Ok(root.attach(way, tree.as_fd(), target)?)
    })
}

/// `root.readonly`: the container's `/`, not what is mounted below it.
pub fn apply_readonly_root(root: &Root) -> Result<()> {
    super::mounts::readonly_attached(root, root.as_fd()).doing(|| "error setting rootfs as readonly")
}
