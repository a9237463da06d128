//! Making, changing and attaching mounts: by descriptor, or the classic way where the calls are filtered.
//!
//! May not: mount onto a path. Both ways prepare a mount where nobody can reach it and attach it, finished, to a
//! descriptor: what is seen in the container never had other attributes than it should have.
//!
//! The classic way serves a runtime inside a container whose seccomp profile answers ENOSYS or EPERM to the calls of
//! Linux 5.2 and later, or whose AppArmor profile denies them. It needs the host's /proc, so it ends at the pivot.

use super::options::{Depth, Options, Parameter, Propagation};
use super::paths::HostPath;
use super::plan::SourceSide;
use super::root::Root;
use crate::error::{Error, Result};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::fs;
use sys::mount::{self, ATTR_ATIME, Change, LastLink, Reach};

/// How a mount is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// fsopen(2), open_tree(2), mount_setattr(2), move_mount(2).
    Descriptors,
    /// mount(2) in a staging area, then MS_MOVE.
    Classic,
}

/// The kernel has the same number for a file on a directory (or a directory on a file) as for much else when a mount is moved. When one is
/// bound, as runc does it, it says that this is no directory; engines look for these words.
fn of_one_kind(e: sys::Error, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> sys::Error {
    let is_dir = |fd| fs::fstat(fd).is_ok_and(|seen| seen.is_dir());
    match e.is(libc::EINVAL) && is_dir(tree) != is_dir(target) {
        true => sys::Error::new("mount", "", sys::Errno(libc::ENOTDIR)),
        false => e,
    }
}

/// A call that somebody else than the kernel's own rules may have refused: ENOSYS and EPERM come from seccomp profiles
/// of outer containers, EACCES from AppArmor, which has no name for a mount that is attached nowhere (LXC).
pub(super) fn is_refused(e: &sys::Error) -> bool {
    is_refusal(e.errno())
}

/// The same at the bottom of a chain.
pub(super) fn was_refused(e: &Error) -> bool {
    e.errno().is_some_and(is_refusal)
}

fn is_refusal(errno: sys::Errno) -> bool {
    [libc::ENOSYS, libc::EPERM, libc::EACCES].contains(&errno.0)
}

impl From<Depth> for Reach {
    fn from(depth: Depth) -> Reach {
        match depth {
            Depth::Single => Reach::Single,
            Depth::Recursive => Reach::Recursive,
        }
    }
}

/// A file system to be made.
pub(super) struct NewFs<'a> {
    pub fstype: &'a CStr,
    pub source: &'a CStr,
    pub parameters: &'a [Parameter],
    /// The same parameters for mount(2).
    pub data: &'a CStr,
    /// `MS_*`.
    pub flags: u64,
    /// `ATTR_*`, the same as in `flags`.
    pub attrs: u64,
}

/// mount(2) cuts off data beyond a page without a word.
const DATA_MAX: usize = 4096;

/// Superblock flags of mount(2) as words of fsconfig(2).
const SUPERBLOCK_WORDS: [(u64, &CStr); 5] = [
    (libc::MS_RDONLY, c"ro"),
    (libc::MS_SYNCHRONOUS, c"sync"),
    (libc::MS_DIRSYNC, c"dirsync"),
    (libc::MS_MANDLOCK, c"mand"),
    (super::options::MS_LAZYTIME, c"lazytime"),
];

/// The staging area of the classic way: a tmpfs with one directory and one file to mount on.
#[derive(Debug)]
pub(super) struct Staging {
    top: OwnedFd,
}

/// `/proc/self/fd/N`: for the classic calls, which take only paths. The kernel goes from it straight to the file.
pub(super) fn fd_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

impl Staging {
    fn open(at: &HostPath) -> sys::Result<Staging> {
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        mount::mount(c"tmpfs", at.as_c(), c"tmpfs", flags, c"mode=700,nr_inodes=8")?;
        let top = fs::open(at.as_path(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
        fs::mkdirat(top.as_fd(), Path::new("dir"), 0o700)?;
        let file = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        fs::openat(top.as_fd(), Path::new("file"), file, 0o600)?;
        Ok(Staging { top })
    }

    fn open_place(&self, name: &str) -> sys::Result<OwnedFd> {
        fs::openat(
            self.top.as_fd(),
            Path::new(name),
            libc::O_PATH | libc::O_NOFOLLOW,
            0,
        )
    }

    /// Runs `mount` on the place for a directory or for a file; the answer is the top of the new mount.
    fn mount(&self, name: &str, mount: impl FnOnce(&CStr) -> sys::Result<()>) -> sys::Result<OwnedFd> {
        let place = self.open_place(name)?;
        mount(&fd_path(place.as_fd()))?;
        self.open_place(name)
    }
}

impl Root {
    fn staging(&mut self) -> sys::Result<&Staging> {
        if self.staging.is_none() {
            self.staging = Some(Staging::open(&self.path)?);
        }
        // The error cannot happen; it only keeps the types honest.
        self.staging
            .as_ref()
            .ok_or_else(|| sys::Error::new("mount", "staging", sys::Errno(libc::ENOENT)))
    }

    /// Runs `make` the usual way, and once more the classic way when the calls turn out to be filtered. `make` must
    /// have attached nothing when it fails.
    pub(super) fn either_way<T>(&mut self, mut make: impl FnMut(&mut Root, Way) -> Result<T>) -> Result<T> {
        let way = self.way;
        match make(self, way) {
            Err(e) if way == Way::Descriptors && was_refused(&e) => make(self, Way::Classic),
            other => other,
        }
    }

    /// Binds what `from` names on `target`.
    pub(super) fn bind_fd(&mut self, from: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
        self.either_way(|root, way| {
            let tree = root.clone_fd(way, from, Depth::Single)?;
            Ok(root.attach(way, tree.as_fd(), target)?)
        })
    }

    /// Removes the staging area, which lies on top of the root.
    pub(super) fn close_staging(&mut self) -> sys::Result<()> {
        match self.staging.take() {
            Some(s) => mount::umount(&fd_path(s.top.as_fd()), libc::MNT_DETACH),
            None => Ok(()),
        }
    }

    /// A new file system, attached nowhere that anybody sees.
    pub(super) fn new_filesystem(&mut self, way: Way, new: &NewFs<'_>) -> sys::Result<OwnedFd> {
        match way {
            Way::Descriptors => fsmount(new),
            Way::Classic if new.data.to_bytes().len() >= DATA_MAX => {
                Err(sys::Error::new("mount", "data", sys::Errno(libc::E2BIG)))
            }
            Way::Classic => {
                let call = |place: &CStr| mount::mount(new.source, place, new.fstype, new.flags, new.data);
                self.staging()?.mount("dir", call)
            }
        }
    }

    /// A copy of a part of the host's tree.
    pub(super) fn clone_host(&mut self, way: Way, from: &HostPath, depth: Depth) -> sys::Result<OwnedFd> {
        match way {
            Way::Descriptors => mount::clone_tree_at(fs::cwd(), from.as_c(), depth.into(), LastLink::Follow),
            Way::Classic => {
                let from = fs::open(from.as_path(), libc::O_PATH, 0)?;
                self.clone_fd(way, from.as_fd(), depth)
            }
        }
    }

    /// A copy of the tree below a descriptor.
    pub(super) fn clone_fd(&mut self, way: Way, from: BorrowedFd<'_>, depth: Depth) -> sys::Result<OwnedFd> {
        match way {
            Way::Descriptors => mount::clone_tree(from, depth.into()),
            Way::Classic => {
                let place = if fs::fstat(from)?.is_dir() { "dir" } else { "file" };
                let rec = if depth == Depth::Recursive {
                    libc::MS_REC
                } else {
                    0
                };
                let call = |p: &CStr| mount::mount(&fd_path(from), p, c"", libc::MS_BIND | rec, c"");
                self.staging()?.mount(place, call)
            }
        }
    }

    /// Attaches a finished mount. Afterwards `tree` names the attached mount.
    pub(super) fn attach(&self, way: Way, tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> sys::Result<()> {
        match way {
            Way::Descriptors => mount::move_mount(tree, target),
            Way::Classic => mount::mount(&fd_path(tree), &fd_path(target), c"", libc::MS_MOVE, c""),
        }
        .map_err(|e| of_one_kind(e, tree, target))
    }

    /// Makes a mount read-only and leaves its other attributes.
    pub(super) fn set_readonly(&self, way: Way, tree: BorrowedFd<'_>) -> sys::Result<()> {
        match way {
            Way::Descriptors => mount::mount_setattr(
                tree,
                Reach::Single,
                &Change {
                    set: mount::ATTR_RDONLY,
                    ..Change::default()
                },
            ),
            Way::Classic => remount(tree, kept_flags(tree)? | libc::MS_RDONLY),
        }
    }

    /// Gives a bind mount the flags of its options, which replace what the source has. In a user namespace the
    /// flags of the host are locked; then they are kept, unless the user asked for the absence of one of them.
    pub(super) fn set_bind_flags(
        &self,
        way: Way,
        tree: BorrowedFd<'_>,
        options: &Options,
    ) -> sys::Result<()> {
        set_bind_flags(way, tree, options)
    }
}

/// The same for a tree that is attached nowhere, in the parent. For a user namespace the flags of the host's mount are
/// kept, as the kernel would do it if the child made the mount: a container must not gain device nodes or set-user-id
/// programs because a more powerful process opened the source for it.
pub(super) fn set_detached_flags(
    tree: BorrowedFd<'_>,
    options: &Options,
    side: SourceSide,
) -> sys::Result<()> {
    let unnamed = match side {
        SourceSide::Parent => Unnamed::Keep,
        SourceSide::Child => Unnamed::Replace,
    };
    set_flags(Way::Descriptors, tree, options, unnamed)
}

fn set_bind_flags(way: Way, tree: BorrowedFd<'_>, options: &Options) -> sys::Result<()> {
    match set_flags(way, tree, options, Unnamed::Replace) {
        Err(e) if e.is(libc::EPERM) => set_flags(way, tree, options, Unnamed::Keep).map_err(|_| e),
        other => other,
    }
}

/// What happens to flags of the source that the options do not name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unnamed {
    Replace,
    Keep,
}

fn set_flags(way: Way, tree: BorrowedFd<'_>, options: &Options, unnamed: Unnamed) -> sys::Result<()> {
    const ALL: u64 = mount::ATTR_RDONLY
        | mount::ATTR_NOSUID
        | mount::ATTR_NODEV
        | mount::ATTR_NOEXEC
        | mount::ATTR_NOSYMFOLLOW;
    let set = options.attrs();
    let names_atime = options.flags.any(Options::ATIME_FLAGS);
    match way {
        Way::Descriptors => {
            let mut clear = match unnamed {
                Unnamed::Replace => ALL & !set,
                Unnamed::Keep => options.cleared_attrs(),
            };
            if names_atime {
                clear |= ATTR_ATIME
                    | if unnamed == Unnamed::Replace {
                        mount::ATTR_NODIRATIME & !set
                    } else {
                        0
                    };
            }
            let change = Change {
                set,
                clear,
                ..Change::default()
            };
            mount::mount_setattr(tree, Reach::Single, &change)
        }
        Way::Classic => {
            let shape = libc::MS_BIND | libc::MS_REC | libc::MS_REMOUNT;
            let mut flags = options.flags.0 & !shape;
            if unnamed == Unnamed::Keep {
                let kept = kept_flags(tree)?;
                // Of two access time policies mount(2) would take one without a word.
                if names_atime && (flags ^ kept) & Options::ATIME_FLAGS != 0 {
                    return Err(sys::Error::new(
                        "mount",
                        "access times are locked",
                        sys::Errno(libc::EPERM),
                    ));
                }
                flags |= kept & !options.cleared.0;
            }
            remount(tree, flags)
        }
    }
}

/// MS_REMOUNT sets the flags absolutely, so the ones to keep have to be named.
fn kept_flags(tree: BorrowedFd<'_>) -> sys::Result<u64> {
    // ST_* of statvfs(3): the first four are the same bits as MS_*, the others are not.
    const ST_NOATIME: u64 = 1024;
    const ST_NODIRATIME: u64 = 2048;
    const ST_RELATIME: u64 = 4096;
    const ST_NOSYMFOLLOW: u64 = 8192;
    let st = fs::fstatfs(tree)?.flags;
    let same = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let bit = |st_flag: u64, ms: u64| if st & st_flag != 0 { ms } else { 0 };
    let atime = bit(ST_NOATIME, libc::MS_NOATIME) | bit(ST_RELATIME, libc::MS_RELATIME);
    Ok(st & same
        | if atime == 0 { libc::MS_STRICTATIME } else { atime }
        | bit(ST_NODIRATIME, libc::MS_NODIRATIME)
        | bit(ST_NOSYMFOLLOW, super::options::MS_NOSYMFOLLOW))
}

fn remount(tree: BorrowedFd<'_>, flags: u64) -> sys::Result<()> {
    let flags = flags | libc::MS_BIND | libc::MS_REMOUNT;
    mount::mount(c"", &fd_path(tree), c"", flags, c"")
}

/// Changes the propagation of an attached mount.
pub(super) fn propagate(tree: BorrowedFd<'_>, propagation: Propagation) -> sys::Result<()> {
    let change = Change {
        propagation: propagation.kind,
        ..Change::default()
    };
    match mount::mount_setattr(tree, propagation.depth.into(), &change) {
        Err(e) if is_refused(&e) => mount::mount(c"", &fd_path(tree), c"", ms_flags(propagation), c""),
        other => other,
    }
}

/// The flags of mount(2) for a change of propagation.
pub(super) fn ms_flags(propagation: Propagation) -> u64 {
    propagation.kind
        | match propagation.depth {
            Depth::Single => 0,
            Depth::Recursive => libc::MS_REC,
        }
}

fn fsmount(new: &NewFs<'_>) -> sys::Result<OwnedFd> {
    let context = mount::fsopen(new.fstype)?;
    let context = context.as_fd();
    if !new.source.is_empty() {
        mount::fsconfig_set(context, c"source", Some(new.source))?;
    }
    for (flag, word) in SUPERBLOCK_WORDS {
        if new.flags & flag != 0 {
            mount::fsconfig_set(context, word, None)?;
        }
    }
    for p in new.parameters {
        mount::fsconfig_set(context, &p.key, p.value.as_deref())?;
    }
    mount::fsconfig_create(context)?;
    mount::fsmount(context, new.attrs)
}

/// mount(2) onto the working directory, which is the opened target: no path is resolved, and one call does what
/// takes seven of the newer ones. That is 12 us a mount; a container has six and takes 2000.
pub(super) fn mount_here(
    target: BorrowedFd<'_>,
    source: &CStr,
    fstype: &CStr,
    flags: u64,
    data: &CStr,
) -> sys::Result<()> {
    fs::fchdir(target)?;
    mount::mount(source, c".", fstype, flags, data)
}
