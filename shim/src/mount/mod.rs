//! The mounts that make a container's root file system, as snapshotters describe them.
//!
//! May not: run in a process that does anything else. [`mount_all`] blocks (on a FUSE daemon, on a network file system),
//! changes the working directory and, for id-mapped layers, visits a mount namespace of its own: fork first. Killed at any
//! instant it leaves nothing but mounts at or below the root, which [`unmount_all`] removes: loop devices free themselves,
//! and what is only needed on the way never gets a place that others see.

mod fuse;
mod idmap;
mod image;
mod options;
mod overlay;
mod place;
mod unmount;

pub use unmount::unmount_all;

use idmap::IdMap;
use options::Options;
use place::{Place, fd_path};
use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::mount::{Change, FdNumber, Reach};

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Type of the file system; `bind`, or `fuse.NAME` and `fuse3.NAME` for a helper program, too.
    pub kind: String,
    /// Device, image or directory.
    pub source: String,
    /// Where, inside the root; empty for the root itself.
    pub target: String,
    /// As in fstab, one each. What is not known goes to the file system.
    pub options: Vec<String>,
}

/// Why something could not be mounted or unmounted.
#[derive(Debug)]
pub struct Error {
    text: String,
    errno: Option<sys::Errno>,
}

/// Result of this module.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(text: impl Into<String>) -> Error {
        Error {
            text: text.into(),
            errno: None,
        }
    }

    /// The errno of the system call that failed, if one was.
    pub fn errno(&self) -> Option<sys::Errno> {
        self.errno
    }

    fn doing(mut self, phrase: impl fmt::Display) -> Error {
        self.text = format!("{phrase}: {}", self.text);
        self
    }

    fn and_also(mut self, cleanup: sys::Result<()>) -> Error {
        if let Err(e) = cleanup {
            self.text += &format!(" (and then: {e})");
        }
        self
    }
}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Error {
        Error {
            text: e.to_string(),
            errno: Some(e.errno()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// Mounts everything, in order; a later target may lie in an earlier mount. `rootfs` must be a directory.
///
/// # Errors
/// The first failure. What this call has mounted by then is unmounted again, what was there before stays.
pub fn mount_all(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    let mut made = Vec::new();
    for mount in mounts {
        if let Err(e) = mount_one(mount, rootfs, &mut made) {
            let kind = &mount.kind;
            let e = e.doing(format!("failed to mount {kind} on {}", rootfs.display()));
            return Err(e.and_also(undo(&made)));
        }
    }
    Ok(())
}

/// `made` are the roots of the mounts, in order.
fn undo(made: &[OwnedFd]) -> sys::Result<()> {
    made.iter()
        .rev()
        .try_for_each(|top| sys::mount::umount(&fd_path(top.as_fd()), libc::MNT_DETACH))
}

fn mount_one(mount: &Mount, rootfs: &Path, made: &mut Vec<OwnedFd>) -> Result<()> {
    let place = Place {
        rootfs,
        target: &mount.target,
    };
    if let Some(helper) = fuse::Helper::of(&mount.kind) {
        helper.mount(mount, &place)?;
        made.push(place.top()?);
        return Ok(());
    }
    let options = Options::parse(&mount.options).map_err(Error::new)?;
    let at = place.open()?;
    if options.flags & libc::MS_REMOUNT != 0 {
        return change_mount(mount, &options, at.as_fd());
    }
    let map = IdMap::of(&options)?;
    match &map {
        Some(map) if mount.kind == "overlay" => {
            let tree = overlay::mount_mapped(mount, &options, map, &place)?;
            sys::mount::move_mount(tree.as_fd(), at.as_fd())?;
        }
        _ => mount_new(mount, &options, at.as_fd())?,
    }
    made.push(place.top()?);
    // A moment ago something was pushed.
    let Some(top) = made.last_mut() else { return Ok(()) };
    if options.is_bind(&mount.kind) {
        set_bind_flags(top.as_fd(), &options)?;
    }
    if let Some(map) = map.filter(|_| mount.kind != "overlay") {
        let reach = match options.flags & libc::MS_REC {
            0 => Reach::Single,
            _ => Reach::Recursive,
        };
        remap(top, at.as_fd(), &map, reach)?;
    }
    if options.propagation != 0 {
        sys::mount::mount(c"", &fd_path(top.as_fd()), c"", options.propagation, c"")?;
    }
    Ok(())
}

fn mount_new(mount: &Mount, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    if mount.kind == "overlay" {
        return overlay::mount(&mount.source, options, at);
    }
    if options.is_bind(&mount.kind) {
        // The other flags are ignored with this one; set_bind_flags comes later.
        let flags = libc::MS_BIND | options.flags & libc::MS_REC;
        return Ok(sys::mount::mount(
            &c_string(&mount.source)?,
            &fd_path(at),
            c"",
            flags,
            c"",
        )?);
    }
    if options.loop_device {
        return image::mount(mount, options, at);
    }
    let data = options.data_without(&[])?;
    let done = mount_classic(&mount.source, at, &mount.kind, options.flags, &data);
    match done {
        // erofs takes a file since Linux 6.12, where that is built in.
        Err(e) if e.errno() == Some(sys::Errno(libc::ENOTBLK)) && mount.kind == "erofs" => {
            image::mount(mount, options, at)
        }
        other => other,
    }
}

fn mount_classic(source: &str, at: BorrowedFd<'_>, kind: &str, flags: u64, data: &str) -> Result<()> {
    Ok(sys::mount::mount(
        &c_string(source)?,
        &fd_path(at),
        &c_string(kind)?,
        flags,
        &c_string(data)?,
    )?)
}

fn change_mount(mount: &Mount, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    mount_classic(&mount.source, at, "", options.flags, &options.data_without(&[])?)
}

/// Gives a bind mount the flags of its options. Those of its source that nobody spoke of stay: a remount without them
/// would take them off, and inside a user namespace fails.
fn set_bind_flags(top: BorrowedFd<'_>, options: &Options<'_>) -> Result<()> {
    const KEPT: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let wanted = options.flags & !(libc::MS_BIND | libc::MS_REC);
    if wanted == 0 && options.cleared == 0 {
        return Ok(());
    }
    let kept = sys::fs::fstatfs(top)?.flags & KEPT & !options.cleared;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | wanted | kept;
    Ok(sys::mount::mount(c"", &fd_path(top), c"", flags, c"")?)
}

/// Exchanges the mount for one whose ids are mapped: the kernel maps only mounts that nobody sees yet.
fn remap(top: &mut OwnedFd, at: BorrowedFd<'_>, map: &IdMap, reach: Reach) -> Result<()> {
    let tree = map.clone_mapped(top.as_fd(), reach)?;
    sys::mount::umount(&fd_path(top.as_fd()), libc::MNT_DETACH)?;
    sys::mount::move_mount(tree.as_fd(), at)?;
    *top = tree;
    Ok(())
}

impl IdMap {
    /// A copy of the mount that `top` is the root of, attached nowhere, with these ids.
    fn clone_mapped(&self, top: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd> {
        let tree = sys::mount::clone_tree(top, reach)?;
        let change = Change {
            set: sys::mount::ATTR_IDMAP,
            user_namespace: Some(FdNumber(self.user_namespace.as_fd())),
            ..Change::default()
        };
        sys::mount::mount_setattr(tree.as_fd(), reach, &change)
            .map_err(|e| Error::from(e).doing("failed to map the ids of the mount"))?;
        Ok(tree)
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("a NUL in {text:?}")))
}
