//! Network namespaces.
//!
//! May not: move the calling thread anywhere.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use crate::error::{Context as _, Error, Result};

/// The network namespace of a container.
#[derive(Debug)]
pub struct Space(OwnedFd);

impl Space {
    /// A new one, kept by a mount on `file` (made here) in the mount namespace we are in. `lo` is up.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn make(_file: &Path) -> Result<Space> {
        Err(Error::new("not made yet"))
    }

    /// The one that is kept at a path.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open(file: &Path) -> Result<Space> {
        let file = File::open(file).map_err(|e| Error::new(format!("failed to open {}: {e}", file.display())))?;
        Ok(Space(file.into()))
    }

    /// The one that a process is in.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn of(pid: i32) -> Result<Space> {
        Space::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// Does `work` in it, in a thread of its own.
    ///
    /// # Errors
    /// Of the work; or the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        apart(|| {
            sys::process::setns(self.fd(), libc::CLONE_NEWNET as u64).context("failed to enter a network namespace")?;
            work()
        })
    }

    /// Its file.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .spawn_scoped(scope, work)
            .map_err(|e| Error::new(format!("failed to start a thread: {e}")))?;
        worker.join().unwrap_or_else(|_| Err(Error::new("a thread of ours has failed")))
    })
}
