//! Network namespaces.
//!
//! May not: move the calling thread anywhere.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::thread;

use crate::error::{Context as _, Error, Result};
use crate::link::{self, Links};

/// The network namespace of a container.
#[derive(Debug)]
pub struct Space {
    file: OwnedFd,
    /// A socket that was made in it: it needs no thread to be entered with.
    links: Mutex<Option<Links>>,
}

impl Space {
    /// A new one, kept by a mount on `file` (made here) in the mount namespace we are in. `lo` is up.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn make(file: &Path) -> Result<Space> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(file)
            .context(format!("failed to create {}", file.display()))?;
        let target = CString::new(file.as_os_str().as_encoded_bytes())
            .map_err(|e| Error::new(format!("{}: {e}", file.display())))?;
        apart(|| {
            const OWN: &str = "/proc/thread-self/ns/net";
            sys::process::unshare(libc::CLONE_NEWNET as u64)
                .context("failed to create a network namespace")?;
            sys::mount::mount(c"/proc/thread-self/ns/net", &target, c"", libc::MS_BIND, c"")
                .context("failed to keep a network namespace")?;
            let links = Links::open()?;
            links.make(vec![link::up("lo")])?;
            let own = File::open(OWN).context(format!("failed to open {OWN}"))?;
            Ok(Space {
                file: own.into(),
                links: Mutex::new(Some(links)),
            })
        })
    }

    /// The one that is kept at a path.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open(file: &Path) -> Result<Space> {
        let file = File::open(file).context(format!("failed to open {}", file.display()))?;
        Ok(Space::from_file(file.into()))
    }

    /// The one whose file this is.
    pub fn from_file(file: OwnedFd) -> Space {
        Space {
            file,
            links: Mutex::new(None),
        }
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
            sys::process::setns(self.fd(), libc::CLONE_NEWNET as u64)
                .context("failed to enter a network namespace")?;
            work()
        })
    }

    /// Its devices.
    pub(crate) fn links<T>(&self, work: impl FnOnce(&Links) -> Result<T>) -> Result<T> {
        let mut kept = self
            .links
            .lock()
            .map_err(|_| Error::new("a thread of ours has failed"))?;
        let links = match kept.take() {
            Some(links) => links,
            None => self.inside(Links::open)?,
        };
        let done = work(&links);
        *kept = Some(links);
        done
    }

    /// Its file.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .spawn_scoped(scope, work)
            .context("failed to start a thread")?;
        worker
            .join()
            .unwrap_or_else(|_| Err(Error::new("a thread of ours has failed")))
    })
}
