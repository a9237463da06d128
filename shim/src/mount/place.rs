//! Where a mount goes, and the one place where a path inside the root is resolved.
//!
//! May not: leave the root. An image has links as it likes; they are followed, but as the container would follow them.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use sys::fs::{self, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};

/// What a descriptor names, for calls that take only paths. The kernel goes from it straight to the file.
pub(super) fn fd_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

/// The root, or something in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub rootfs: &'a Path,
    pub target: &'a str,
}

impl Place<'_> {
    /// What is there now: the root of the topmost mount, where there are mounts.
    pub fn open(&self) -> sys::Result<OwnedFd> {
        let root = open_root(self.rootfs)?;
        let target = self.target.trim_start_matches('/');
        if target.is_empty() {
            return Ok(root);
        }
        let target = Path::new(target);
        let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        match fs::openat2(root.as_fd(), target, libc::O_PATH, 0, resolve) {
            Err(e) if e.is_unavailable() => walk(root, target),
            other => other,
        }
    }

    /// The root of the mount that was just made here.
    pub fn top(&self) -> sys::Result<OwnedFd> {
        let top = self.open()?;
        match fs::mount_id(top.as_fd()) {
            Ok((_, false)) => {
                let what = self.rootfs.join(self.target).display().to_string();
                Err(sys::Error::new("mount", what, sys::Errno(libc::ENOENT)))
            }
            // A kernel before 5.8 cannot say.
            _ => Ok(top),
        }
    }
}

/// The root itself, which is no link: whoever could put one there would choose where we mount.
pub(super) fn open_root(rootfs: &Path) -> sys::Result<OwnedFd> {
    fs::open(rootfs, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
}

/// Something below `root`, by a path without links or `..`.
pub(super) fn open_below(root: BorrowedFd<'_>, path: &Path) -> sys::Result<OwnedFd> {
    // Not with O_NOFOLLOW: beside O_PATH it would open a link as last component instead of refusing it.
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    match fs::openat2(root, path, libc::O_PATH, 0, resolve) {
        Err(e) if e.is_unavailable() => walk(fs::dup_above(root, 3)?, path),
        other => other,
    }
}

/// The way without openat2(2) (Linux 5.6): no links at all, no `..`.
fn walk(root: OwnedFd, path: &Path) -> sys::Result<OwnedFd> {
    let mut at = root;
    for component in path.components() {
        let refused = |errno| sys::Error::new("open", path.display().to_string(), sys::Errno(errno));
        match component {
            Component::Normal(name) => {
                let next = fs::openat(at.as_fd(), Path::new(name), libc::O_PATH | libc::O_NOFOLLOW, 0)?;
                if fs::fstat(next.as_fd())?.is_symlink() {
                    return Err(refused(libc::ELOOP));
                }
                at = next;
            }
            Component::CurDir => {}
            _ => return Err(refused(libc::EXDEV)),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_the_root() {
        let dir = std::env::temp_dir().join(format!("shim-place-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("root/a/b")).unwrap();
        for (link, to) in [("out", "/etc"), ("up", "../.."), ("in", "/a/b")] {
            std::os::unix::fs::symlink(to, dir.join("root").join(link)).unwrap();
        }
        let rootfs = dir.join("root");
        let open = |target: &str| {
            let place = Place {
                rootfs: &rootfs,
                target,
            };
            let fd = place.open()?;
            let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            Ok::<_, sys::Error>(path.strip_prefix(&rootfs).unwrap().to_owned())
        };
        for target in ["", "/", "up", "../../.."] {
            assert_eq!(open(target).unwrap(), Path::new(""), "{target}");
        }
        for target in ["a/b", "/a/b", "in"] {
            assert_eq!(open(target).unwrap(), Path::new("a/b"), "{target}");
        }
        assert!(open("out").unwrap_err().is(libc::ENOENT));
        let root = || open_root(&rootfs).unwrap();
        for (path, errno) in [
            ("in", libc::ELOOP),
            ("out/passwd", libc::ELOOP),
            ("../x", libc::EXDEV),
        ] {
            assert!(walk(root(), Path::new(path)).unwrap_err().is(errno), "{path}");
            let found = open_below(root().as_fd(), Path::new(path));
            assert!(found.unwrap_err().is(errno), "{path}");
        }
        walk(root(), Path::new("a/./b")).unwrap();
        open_below(root().as_fd(), Path::new("a/b")).unwrap();
        assert!(open_root(&rootfs.join("up")).unwrap_err().is(libc::ENOTDIR));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
