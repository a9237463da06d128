//! epoll(7): many descriptors, one wait.
//!
//! May not: know who waits for what; [`Events`] hands back the number it was given.

use crate::errno::{Result, check};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What is waited for on one descriptor. Each report disarms it until it is armed again (EPOLLONESHOT); errors and
/// hang-ups are reported with anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Armed {
    /// EPOLLIN.
    pub read: bool,
    /// EPOLLOUT.
    pub write: bool,
}

/// What was found.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The number given to [`Epoll::add`].
    pub key: u64,
    /// A read will not block: data, end of file or an error.
    pub readable: bool,
    /// A write will not block: room or an error.
    pub writable: bool,
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

/// One can be watched by another: it is readable while something in it is ready.
impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Epoll {
    /// epoll_create1(2), close-on-exec.
    pub fn new() -> Result<Epoll> {
        // SAFETY: no pointers.
        let r = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let fd = check(r as i64, "epoll_create1", || "")?;
        // SAFETY: fresh descriptor.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    fn control(&self, operation: i32, fd: BorrowedFd<'_>, key: u64, armed: Armed) -> Result<()> {
        let mut events = libc::EPOLLONESHOT as u32;
        if armed.read {
            events |= (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
        }
        if armed.write {
            events |= libc::EPOLLOUT as u32;
        }
        let mut event = libc::epoll_event { events, u64: key };
        // SAFETY: `event` outlives the call.
        let r = unsafe { libc::epoll_ctl(self.0.as_raw_fd(), operation, fd.as_raw_fd(), &mut event) };
        check(r as i64, "epoll_ctl", || fd.as_raw_fd().to_string()).map(drop)
    }

    /// Begins to watch a descriptor.
    ///
    /// # Errors
    /// EPERM for a regular file, which is always ready.
    pub fn add(&self, fd: BorrowedFd<'_>, key: u64, armed: Armed) -> Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, key, armed)
    }

    /// Arms a watched descriptor again.
    pub fn arm(&self, fd: BorrowedFd<'_>, key: u64, armed: Armed) -> Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, key, armed)
    }

    /// Ends the watch. Closing does not, as long as a forked child has a copy.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Armed::default())
    }

    /// epoll_wait(2): what is ready, nothing after `patience` (rounded up to a millisecond; `None`: without end).
    pub fn wait(&self, patience: Option<Duration>, found: &mut Vec<Event>) -> Result<()> {
        const MOST: usize = 16;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; MOST];
        let millis = match patience {
            None => -1,
            Some(d) => d.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32,
        };
        // SAFETY: `events` is writable for MOST entries.
        let r = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), MOST as i32, millis) };
        let n = match check(r as i64, "epoll_wait", || "") {
            Ok(n) => n as usize,
            Err(e) if e.is(libc::EINTR) => 0,
            Err(e) => return Err(e),
        };
        const BROKEN: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
        found.extend(events[..n].iter().map(|e| {
            let bits = e.events;
            Event {
                key: e.u64,
                readable: bits & (BROKEN | (libc::EPOLLIN | libc::EPOLLRDHUP) as u32) != 0,
                writable: bits & (BROKEN | libc::EPOLLOUT as u32) != 0,
            }
        }));
        Ok(())
    }
}
