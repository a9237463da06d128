//! The root directory of a container, as a descriptor from which everything in it is reached.
//!
//! May not: run or load anything of the container (CVE-2019-14271), enter its root, or mount where the host would see it. A path
//! inside is resolved by the kernel with the descriptor as its root (openat2(2), RESOLVE_IN_ROOT), so that no link of
//! the container leads out, whatever it changes meanwhile (CVE-2018-15664).
//!
//! * Of a container that runs it is the root of its init, with everything that is mounted in it: volumes, too.
//! * Of one that does not, its layers and its volumes are mounted by a thread in a mount namespace of its own. The namespace goes
//!   with the descriptor that holds it, at the latest with us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use image::mount::{self, Spec};
use image::{Context, Error, Kind, Result};
use monitor::state::Process;
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};
use sys::mount::{ATTR_RDONLY, Change, Reach};

/// An open root.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Keeps what is mounted.
    _namespace: Option<OwnedFd>,
}

/// Something of the host that is to be seen in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    /// In the container.
    pub target: PathBuf,
    pub is_read_only: bool,
}

/// What happens to a link at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Follow,
    Keep,
}

impl Root {
    /// A directory that is one.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn at(path: &Path) -> Result<Root> {
        let fd = sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)
            .context(format!("failed to open {}", path.display()))?;
        Ok(Root { fd, _namespace: None })
    }

    /// Of a container that runs, as its init sees it.
    ///
    /// # Errors
    /// The process has ended ([`Kind::NotFound`]).
    pub fn of_process(init: &Process) -> Result<Root> {
        let fd = open_in_process(init, Path::new("root"))?;
        Ok(Root { fd, _namespace: None })
    }

    /// The same without what is mounted in it: volumes, /proc, /dev.
    ///
    /// # Errors
    /// The process has ended; or its mounts belong to a user namespace of its own and cannot be taken apart.
    pub fn bare(init: &Process) -> Result<Root> {
        let root = open_in_process(init, Path::new("root"))?;
        let namespace = open_in_process(init, Path::new("ns/mnt"))?;
        // A mount is copied only by who is in its namespace. The thread does nothing else there.
        let tree = aside(move || {
            sys::process::unshare(libc::CLONE_FS as u64)?;
            sys::process::setns(namespace.as_fd(), libc::CLONE_NEWNS as u64)?;
            sys::mount::clone_tree(root.as_fd(), Reach::Single)
        })?;
        Ok(Root {
            fd: tree.context("failed to copy the mount of the root")?,
            _namespace: None,
        })
    }

    /// A directory as another process sees it: the root of a container in the namespace of its monitor, where nothing is
    /// mounted below it.
    ///
    /// # Errors
    /// The process has ended, or there is no such directory.
    pub fn seen_by(process: &Process, path: &Path) -> Result<Root> {
        let below = path.strip_prefix("/").unwrap_or(path);
        let fd = open_in_process(process, &Path::new("root").join(below))?;
        Ok(Root { fd, _namespace: None })
    }

    /// Of a container that does not run: mounted at `place`, an empty directory, where only we see it. The caller has the container's
    /// lock: an upper directory that two overlays have is undefined (Documentation/filesystems/overlayfs.rst).
    ///
    /// # Errors
    /// As [`mount::mount`]; or something of the host that is to be seen is not there.
    pub fn mounted(spec: &Spec, place: &Path, binds: &[Bind]) -> Result<Root> {
        let (spec, place, binds) = (spec.clone(), place.to_owned(), binds.to_vec());
        aside(move || mount_here(&spec, &place, &binds))?
    }

    /// The descriptor, an `O_PATH` one.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Opens what a path names inside, as `O_PATH` and `flags`.
    ///
    /// # Errors
    /// The kernel's: what is not there is [`Kind::NotFound`].
    pub fn open(&self, path: &Path, last: Last, flags: i32) -> Result<OwnedFd> {
        open_in_root(self.fd.as_fd(), path, last, flags | libc::O_PATH).map_err(Error::from)
    }
}

/// Resolves `path` with `root` as its root.
pub(crate) fn open_in_root(
    root: BorrowedFd<'_>,
    path: &Path,
    last: Last,
    flags: i32,
) -> sys::Result<OwnedFd> {
    let flags = match last {
        Last::Follow => flags,
        Last::Keep => flags | libc::O_NOFOLLOW,
    };
    let path = match path.as_os_str().is_empty() {
        true => Path::new("/"),
        false => path,
    };
    // No way around it: without openat2(2) (Linux 5.6) a container that runs could win every race.
    sys::fs::openat2(root, path, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens something below /proc/PID. That it is the process which was meant is told by its start time afterwards: had the pid
/// been given to another one before, that would be another.
fn open_in_process(process: &Process, path: &Path) -> Result<OwnedFd> {
    let gone = || Error::not_found(format!("process {} has ended", process.pid));
    let directory = PathBuf::from(format!("/proc/{}", process.pid));
    let opened = sys::fs::open(&directory.join(path), libc::O_PATH, 0);
    if start_of(process.pid) != Some(process.start) {
        return Err(gone());
    }
    opened.map_err(|e| match e.errno().0 {
        // A zombie has no root.
        libc::ENOENT | libc::ESRCH if path == Path::new("root") => gone(),
        _ => e.into(),
    })
}

/// Field 22 of /proc/PID/stat.
fn start_of(pid: i32) -> Option<u64> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything, also `) `; the fields begin after its last parenthesis with the third.
    let end = text.windows(2).rposition(|two| two == b") ")?;
    let rest = std::str::from_utf8(text.get(end + 2..)?).ok()?;
    rest.split(' ').nth(19)?.parse().ok()
}

/// Does something on a thread of its own, which may leave our namespaces.
fn aside<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .map_err(|_| Error::new("the thread that mounts has ended"))
}

fn mount_here(spec: &Spec, place: &Path, binds: &[Bind]) -> Result<Root> {
    sys::process::unshare((libc::CLONE_NEWNS | libc::CLONE_FS) as u64)
        .context("failed to make a mount namespace")?;
    // Nothing of ours goes to the host. What the host unmounts goes here as well, so that we keep nothing busy.
    sys::mount::mount(c"", c"/", c"", libc::MS_REC | libc::MS_SLAVE, c"")
        .context("failed to separate the mounts from the host's")?;
    mount::mount(spec, place)?;
    let root = Root::at(place)?;
    for bind in binds {
        attach(&root, bind).context(format!("failed to show {}", bind.target.display()))?;
    }
    let namespace = sys::fs::open(Path::new("/proc/thread-self/ns/mnt"), libc::O_RDONLY, 0)
        .context("failed to hold the mount namespace")?;
    Ok(Root {
        _namespace: Some(namespace),
        ..root
    })
}

fn attach(root: &Root, bind: &Bind) -> Result<()> {
    let target = match root.open(&bind.target, Last::Follow, 0) {
        // Its place is made by the first start.
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let source = match sys::fs::open(&bind.source, libc::O_PATH, 0) {
        // Gone since; the container has the place where it was.
        Err(e) if e.is(libc::ENOENT) => return Ok(()),
        other => other?,
    };
    let tree = sys::mount::clone_tree(source.as_fd(), Reach::Recursive)?;
    if bind.is_read_only {
        let change = Change {
            set: ATTR_RDONLY,
            ..Change::default()
        };
        sys::mount::mount_setattr(tree.as_fd(), Reach::Recursive, &change)?;
    }
    Ok(sys::mount::move_mount(tree.as_fd(), target.as_fd())?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let own = i32::try_from(std::process::id()).unwrap();
        let start = start_of(own).unwrap();
        let process = Process { pid: own, start };
        assert!(Root::of_process(&process).is_ok());
        let other = Process {
            pid: own,
            start: start + 1,
        };
        assert_eq!(Root::of_process(&other).unwrap_err().kind(), Kind::NotFound);
    }
}
