//! A mount namespace of one's own, for a thread: what is mounted in it, nobody else sees, and it goes with the last process in it.
//!
//! A monitor inherits the one that its container's root is mounted in. However it ends, no mount stays behind on the machine.
//!
//! May not: be used by a thread that goes on with something else afterwards.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;

use image::{Context, Error, Result};
use sys::mount::{Change, Reach};

/// Does `work` in a thread that has a mount namespace of its own. What is mounted below `place` stays in it; everything else of the
/// machine's mounts is as it was, changes in both directions included.
///
/// # Errors
/// Of the work; or the namespace cannot be made.
pub fn apart<T: Send>(place: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new().spawn_scoped(scope, || {
            leave(place).context("failed to make a mount namespace")?;
            work()
        });
        let done = worker.context("failed to start a thread")?.join();
        done.unwrap_or_else(|_| Err(Error::new("a thread of ours has failed")))
    })
}

/// The mount namespace that we are in.
///
/// # Errors
/// open(2)'s.
pub fn own() -> Result<OwnedFd> {
    Ok(sys::fs::open(
        Path::new("/proc/thread-self/ns/mnt"),
        libc::O_RDONLY,
        0,
    )?)
}

fn leave(place: &Path) -> Result<()> {
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    // Mounted below a mount that others share, ours would appear in their namespaces. It is this one only that is cut off: in the
    // others `-v /mnt:/mnt:rshared` has to work in both directions.
    let change = Change {
        propagation: libc::MS_SLAVE,
        ..Change::default()
    };
    let point = mount_point(place)?;
    let point =
        CString::new(point.into_os_string().into_encoded_bytes()).map_err(|e| Error::new(e.to_string()))?;
    sys::mount::mount_setattr_at(&point, Reach::Single, &change)?;
    Ok(())
}

/// Where the mount that `path` lies in has its root.
fn mount_point(path: &Path) -> Result<PathBuf> {
    let mut path = std::fs::canonicalize(path).context(format!("failed to look up {}", path.display()))?;
    let id = |path: &Path| -> Result<u64> {
        let fd = sys::fs::open(path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
        Ok(sys::fs::mount_id(fd.as_fd())?.0)
    };
    let own = id(&path)?;
    while let Some(parent) = path.parent() {
        if id(parent)? != own {
            break;
        }
        path = parent.to_owned();
    }
    Ok(path)
}
