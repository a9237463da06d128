//! Waiting until something in a directory changes: a log has grown or was moved, a state was written.
//!
//! May not: say what it was. Whoever waits looks again.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use sys::wait::{Deadline, Interest};

/// How often is looked where the kernel does not tell: a user may have no inotify instance left.
const GLANCE: Duration = Duration::from_millis(200);

/// Made before what is watched is read, so that no change is missed between.
#[derive(Debug)]
pub struct Watch(Option<OwnedFd>);

impl Watch {
    /// Of some directories. If one cannot be watched, all are looked at now and then.
    pub fn of(dirs: &[&Path]) -> Watch {
        let watched = sys::watch::inotify().and_then(|inotify| {
            for dir in dirs {
                sys::watch::watch_directory(inotify.as_fd(), dir)?;
            }
            Ok(inotify)
        });
        Watch(watched.ok())
    }

    /// Until something changes, one of the others is readable or gone, or `until`.
    ///
    /// # Errors
    /// poll(2)'s, but for an interruption, after which the caller looks again as well.
    pub fn wait(&self, others: &[BorrowedFd<'_>], until: Option<Instant>) -> sys::Result<()> {
        let mut fds: Vec<(BorrowedFd<'_>, Interest)> =
            others.iter().map(|fd| (*fd, Interest::Read)).collect();
        let mut patience = until.map(|at| at.saturating_duration_since(Instant::now()));
        match &self.0 {
            Some(inotify) => fds.push((inotify.as_fd(), Interest::Read)),
            None => patience = Some(patience.map_or(GLANCE, |p| p.min(GLANCE))),
        }
        let deadline = patience.map_or(Deadline::NEVER, Deadline::after);
        match sys::wait::poll(&fds, deadline) {
            Err(e) if e.is(libc::EINTR) || e.is(libc::ETIMEDOUT) => {}
            polled => drop(polled?),
        }
        match &self.0 {
            Some(inotify) => sys::watch::drain(inotify.as_fd()),
            None => Ok(()),
        }
    }
}
