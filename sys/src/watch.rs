//! Descriptors that become readable when something happens: eventfd(2), inotify(7).
//!
//! May not: wait. [`crate::wait`] does.

use crate::errno::{Result, check};
use crate::fs::c_path;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

fn own(ret: i64) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(ret as RawFd) }
}

/// eventfd2(2), close-on-exec and non-blocking, starting at 0.
pub fn eventfd() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(r as i64, "eventfd", || "").map(own)
}

/// The sum of what was signalled since the last call; 0 when nothing was.
pub fn take_events(eventfd: BorrowedFd<'_>) -> Result<u64> {
    let mut sum = [0u8; 8];
    match crate::fs::read(eventfd, &mut sum) {
        Ok(_) => Ok(u64::from_ne_bytes(sum)),
        Err(e) if e.is(libc::EAGAIN) => Ok(0),
        Err(e) => Err(e),
    }
}

/// inotify_init1(2), close-on-exec and non-blocking.
pub fn inotify() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
    check(r as i64, "inotify_init1", || "").map(own)
}

/// inotify_add_watch(2) for modification of a file.
pub fn watch_modification(inotify: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let c = c_path(path)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), c.as_ptr(), libc::IN_MODIFY) };
    check(r as i64, "inotify_add_watch", || path.display().to_string()).map(drop)
}

/// The same for a directory: files in it that are written to, made, moved or removed, and its own removal.
pub fn watch_directory(inotify: BorrowedFd<'_>, path: &Path) -> Result<()> {
    const ALL: u32 = libc::IN_MODIFY
        | libc::IN_CREATE
        | libc::IN_MOVED_FROM
        | libc::IN_MOVED_TO
        | libc::IN_DELETE
        | libc::IN_DELETE_SELF
        | libc::IN_ONLYDIR;
    let c = c_path(path)?;
    // SAFETY: `c` outlives the call.
    let r = unsafe { libc::inotify_add_watch(inotify.as_raw_fd(), c.as_ptr(), ALL) };
    check(r as i64, "inotify_add_watch", || path.display().to_string()).map(drop)
}

/// Reads away what has been reported; which file it was is left to the caller to look up.
pub fn drain(inotify: BorrowedFd<'_>) -> Result<()> {
    let mut buf = [0u8; 4096];
    loop {
        match crate::fs::read(inotify, &mut buf) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(e) if e.is(libc::EAGAIN) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}
