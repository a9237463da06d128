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
use sys::fs;
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

    fn and_also(mut self, cleanup: Result<()>) -> Error {
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
fn undo(made: &[OwnedFd]) -> Result<()> {
    made.iter()
        .rev()
        .try_for_each(|top| unmount::detach_tree(top.as_fd()))
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
    match IdMap::of(&options)? {
        Some(map) => mount_mapped(mount, &options, &map, &place, at.as_fd())?,
        None => mount_new(mount, &options, &place, at.as_fd())?,
    }
    let top = place.top()?;
    made.push(fs::dup_above(top.as_fd(), 3)?);
    if options.is_bind(&mount.kind) {
        set_bind_flags(top.as_fd(), &options)?;
    }
    if options.propagation != 0 {
        sys::mount::mount(c"", &fd_path(top.as_fd()), c"", options.propagation, c"")?;
    }
    Ok(())
}

/// The kernel maps the ids of mounts only that nobody sees yet, and of an overlay only those of its layers.
fn mount_mapped(
    mount: &Mount,
    options: &Options<'_>,
    map: &IdMap,
    place: &Place<'_>,
    at: BorrowedFd<'_>,
) -> Result<()> {
    let tree = if mount.kind == "overlay" {
        overlay::mount_mapped(mount, options, map, place)?
    } else if options.is_bind(&mount.kind) {
        let source = fs::open(Path::new(&mount.source), libc::O_PATH, 0)?;
        map.clone_mapped(source.as_fd(), options.reach())?
    } else {
        mount_new(mount, options, place, at)?;
        let top = place.top()?;
        let tree = map.clone_mapped(top.as_fd(), Reach::Single);
        // New, thus nothing lies below it.
        sys::mount::umount(&fd_path(top.as_fd()), libc::MNT_DETACH)?;
        tree?
    };
    Ok(sys::mount::move_mount(tree.as_fd(), at)?)
}

fn mount_new(mount: &Mount, options: &Options<'_>, place: &Place<'_>, at: BorrowedFd<'_>) -> Result<()> {
    if mount.kind == "overlay" {
        return overlay::mount(&mount.source, options, at);
    }
    if options.is_bind(&mount.kind) {
        return bind(&mount.source, options, place, at);
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

/// Attaches a copy of the source that follows it, and not the other way round: what is mounted in the container's root, or
/// unmounted there, would otherwise be so in the source as well, where that is shared. The flags of the options come later.
fn bind(source: &str, options: &Options<'_>, place: &Place<'_>, at: BorrowedFd<'_>) -> Result<()> {
    let from = fs::open(Path::new(source), libc::O_PATH, 0)?;
    let slave = Change {
        propagation: libc::MS_SLAVE,
        ..Change::default()
    };
    let tree = sys::mount::clone_tree(from.as_fd(), options.reach()).and_then(|tree| {
        sys::mount::mount_setattr(tree.as_fd(), Reach::Recursive, &slave)?;
        Ok(tree)
    });
    match tree {
        // mount_setattr(2) came with Linux 5.12.
        Err(e) if e.is_unavailable() => Ok(bind_classic(from.as_fd(), options, place, at)?),
        tree => Ok(sys::mount::move_mount(tree?.as_fd(), at)?),
    }
}

/// The same with a moment in between, in which nothing else is mounted.
fn bind_classic(
    from: BorrowedFd<'_>,
    options: &Options<'_>,
    place: &Place<'_>,
    at: BorrowedFd<'_>,
) -> sys::Result<()> {
    let recursive = options.flags & libc::MS_REC;
    sys::mount::mount(&fd_path(from), &fd_path(at), c"", libc::MS_BIND | recursive, c"")?;
    let top = place.top()?;
    sys::mount::mount(
        c"",
        &fd_path(top.as_fd()),
        c"",
        libc::MS_REC | libc::MS_SLAVE,
        c"",
    )
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
    let kept = fs::fstatfs(top)?.flags & KEPT & !options.cleared;
    let flags = libc::MS_REMOUNT | libc::MS_BIND | wanted | kept;
    Ok(sys::mount::mount(c"", &fd_path(top), c"", flags, c"")?)
}

impl IdMap {
    /// A copy of the tree below `top`, attached nowhere, with these ids.
    fn clone_mapped(&self, top: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd> {
        let tree = sys::mount::clone_tree(top, reach)?;
        let change = Change {
            set: sys::mount::ATTR_IDMAP,
            propagation: libc::MS_SLAVE,
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

#[cfg(test)]
mod tests {
    use super::*;
    use sys::process::{Block, Exit, Forked};

    /// In a mount namespace of a child of ours. What it says is its exit code: it may not panic.
    #[test]
    fn the_classic_bind_does_not_propagate_to_its_source_either() {
        if sys::process::effective_ids().0 != 0 {
            println!("skipped: mounts need root");
            return;
        }
        let dir = std::env::temp_dir().join(format!("shim-classic-{}", std::process::id()));
        for name in ["tree/in", "root/sub"] {
            std::fs::create_dir_all(dir.join(name)).unwrap();
        }
        match sys::process::fork(libc::CLONE_NEWNS as u64, None).unwrap() {
            Forked::Child => sys::process::exit_now(judge_classic_bind(&dir).unwrap_or(99)),
            Forked::Parent { pid, .. } => {
                let exit = sys::process::wait_pid(pid, Block::Yes).unwrap();
                assert_eq!(exit, Some(Exit::Code(0)));
            }
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    fn judge_classic_bind(dir: &Path) -> Result<i32> {
        let tree = c_string(&dir.join("tree").to_string_lossy())?;
        sys::mount::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"")?;
        sys::mount::mount(c"t", &tree, c"tmpfs", 0, c"")?;
        sys::mount::mount(c"", &tree, c"", libc::MS_SHARED, c"")?;
        fs::mkdirat(fs::cwd(), &dir.join("tree/in"), 0o700)?;
        let mounted = || std::fs::read_to_string("/proc/self/mountinfo").map_or(0, |t| t.lines().count());
        let before = mounted();
        let (rootfs, list) = (dir.join("root"), ["rbind".to_string()]);
        let place = Place {
            rootfs: &rootfs,
            target: "",
        };
        let options = Options::parse(&list).map_err(Error::new)?;
        let from = fs::open(&dir.join("tree"), libc::O_PATH, 0)?;
        bind_classic(from.as_fd(), &options, &place, place.open()?.as_fd())?;
        let inner = Mount {
            kind: "tmpfs".into(),
            source: "i".into(),
            target: "in".into(),
            options: Vec::new(),
        };
        mount_all(&[inner], &rootfs)?;
        let two_more = mounted() == before + 2;
        unmount_all(&rootfs)?;
        Ok(i32::from(!two_more) + 2 * i32::from(mounted() != before))
    }
}
