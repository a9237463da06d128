//! Waiting with a deadline: poll(2), signalfd(2), and the signal mask.
//!
//! May not: wait for ever unless the caller says [`Deadline::NEVER`], which only waits on a user's program may.

use crate::errno::{Errno, Error, Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// A moment after which a wait gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// Waits on a user's program have no deadline; they end when it or its waiter dies.
    pub const NEVER: Deadline = Deadline(None);

    /// From now on.
    pub fn after(d: Duration) -> Deadline {
        Deadline(Instant::now().checked_add(d))
    }

    /// True when it has passed.
    pub fn is_over(&self) -> bool {
        self.0.is_some_and(|t| Instant::now() >= t)
    }

    /// Milliseconds left for poll(2), rounded up; -1 for never.
    fn millis(&self) -> i32 {
        match self.0 {
            None => -1,
            Some(t) => {
                let left = t.saturating_duration_since(Instant::now());
                let ms = left.as_millis() + u128::from(left.subsec_nanos() % 1_000_000 != 0);
                ms.min(i32::MAX as u128) as i32
            }
        }
    }
}

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the other side hung up.
    Read,
    /// Room to write.
    Write,
    /// Only errors and hang-ups (always reported).
    None,
}

/// What poll(2) found on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ready {
    /// POLLIN.
    pub readable: bool,
    /// POLLOUT.
    pub writable: bool,
    /// POLLHUP or POLLERR.
    pub hangup: bool,
}

impl Ready {
    /// Anything at all.
    pub fn any(self) -> bool {
        self.readable || self.writable || self.hangup
    }
}

/// poll(2) on some descriptors; signals that interrupt do not prolong the wait.
///
/// # Errors
/// ETIMEDOUT when the deadline passes with nothing ready.
pub fn poll(fds: &[(BorrowedFd<'_>, Interest)], deadline: Deadline) -> Result<Vec<Ready>> {
    let mut polled: Vec<libc::pollfd> = fds
        .iter()
        .map(|(fd, interest)| libc::pollfd {
            fd: fd.as_raw_fd(),
            events: match interest {
                Interest::Read => libc::POLLIN,
                Interest::Write => libc::POLLOUT,
                Interest::None => 0,
            },
            revents: 0,
        })
        .collect();
    loop {
        // SAFETY: pointer and length of a live array.
        let r = unsafe {
            libc::poll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                deadline.millis(),
            )
        };
        match check(r as i64, "poll", || "") {
            Ok(0) if deadline.is_over() => return Err(Error::new("poll", "", Errno(libc::ETIMEDOUT))),
            Ok(0) => continue,
            Ok(_) => break,
            Err(e) if e.is(libc::EINTR) => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(polled
        .iter()
        .map(|p| Ready {
            readable: p.revents & libc::POLLIN != 0,
            writable: p.revents & libc::POLLOUT != 0,
            hangup: p.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0,
        })
        .collect())
}

/// Waits until one descriptor is readable or hung up.
pub fn readable(fd: BorrowedFd<'_>, deadline: Deadline) -> Result<()> {
    poll(&[(fd, Interest::Read)], deadline).map(drop)
}

/// Whether a descriptor is readable or hung up now. A pidfd is when its process has ended.
pub fn is_readable(fd: BorrowedFd<'_>) -> bool {
    poll(&[(fd, Interest::Read)], Deadline::after(Duration::ZERO)).is_ok()
}

/// The kernel's set of all 64 signals. libc leaves out those that it uses for threads (musl: 32 to 34), and 34 is the
/// SIGRTMIN of everybody else.
const EVERY_SIGNAL: u64 = u64::MAX;

/// rt_sigprocmask(2) with the kernel's own set.
fn set_signal_mask(set: u64) -> Result<()> {
    // SAFETY: pointer and size of a live set; no old one is asked for.
    let r = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
    check(r, "sigprocmask", || "").map(drop)
}

/// Blocks every signal and returns a descriptor that delivers them (signalfd(2), non-blocking).
pub fn block_and_watch_signals() -> Result<OwnedFd> {
    let set = EVERY_SIGNAL;
    set_signal_mask(set)?;
    // SAFETY: pointer and size of a live set.
    let r = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const set,
            size_of::<u64>(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        )
    };
    let fd = check(r, "signalfd", || "")?;
    // SAFETY: fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The next pending signal number, or `None`.
pub fn next_signal(signalfd: BorrowedFd<'_>) -> Result<Option<i32>> {
    // SAFETY: an all-zero siginfo is valid.
    let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: `info` is writable for `size` bytes.
    let r = unsafe { libc::read(signalfd.as_raw_fd(), (&raw mut info).cast(), size) };
    match check(r as i64, "read", || "signalfd") {
        Ok(n) if n as usize == size => Ok(Some(info.ssi_signo as i32)),
        Ok(_) => Ok(None),
        Err(e) if e.is(libc::EAGAIN) || e.is(libc::EINTR) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Ignores a signal, or gives it its default back.
pub fn set_ignored(signal: i32, on: bool) {
    // SAFETY: both are valid dispositions; a signal that has none to set (SIGKILL) answers EINVAL and stays as it is.
    unsafe { libc::signal(signal, if on { libc::SIG_IGN } else { libc::SIG_DFL }) };
}

extern "C" fn die(signal: libc::c_int) {
    // SAFETY: async-signal-safe, and nothing runs afterwards.
    unsafe { libc::_exit(128 + signal) }
}

/// Lets these signals end this process even where it is the first of a pid namespace, which the kernel spares from every
/// signal without a handler. An exec sets them back to the default.
pub fn die_of(signals: &[i32]) -> Result<()> {
    let handler = die as extern "C" fn(libc::c_int);
    for signal in signals {
        // SAFETY: the handler is async-signal-safe and lives as long as the program.
        let r = unsafe { libc::signal(*signal, handler as libc::sighandler_t) };
        if r == libc::SIG_ERR {
            return Err(Error::new("signal", signal.to_string(), Errno::last()));
        }
    }
    Ok(())
}

/// Unblocks every signal and sets the ignored ones back to the default, as a fresh program expects it. Rust's
/// start-up ignores SIGPIPE; whatever our caller ignored is reset as well.
pub fn reset_signals() -> Result<()> {
    for signal in 1..65 {
        reset_disposition(signal);
    }
    set_signal_mask(0)
}

/// SIG_DFL by rt_sigaction(2) itself: libc refuses to touch its own signals.
fn reset_disposition(signal: i32) {
    // SIG_DFL, no flags, no restorer, empty mask: zeros on every CPU, whatever the order of the fields.
    let default = [0u64; 4];
    // SAFETY: `default` is as large as the kernel's struct; SIGKILL and SIGSTOP answer EINVAL, which is fine.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            default.as_ptr(),
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
}
