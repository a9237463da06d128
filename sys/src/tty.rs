//! Terminals: pseudo-terminal pairs of a devpts, raw mode, window size.
//!
//! May not: open a slave by its path: the path belongs to the container (CVE-2025-52565).

use crate::errno::{Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// TIOCGPTPEER, `_IO('T', 0x41)`: same value on x86-64, aarch64 and riscv64.
const TIOCGPTPEER: u64 = 0x5441;

/// Unlocks a freshly opened ptmx master and opens its slave by TIOCGPTPEER (kernel 4.13).
pub fn open_slave(master: BorrowedFd<'_>) -> Result<OwnedFd> {
    let unlock: libc::c_int = 0;
    // SAFETY: the ioctl reads one int.
    let r = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const unlock) };
    check(r as i64, "ioctl", || "TIOCSPTLCK")?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: the ioctl takes open flags by value and returns a descriptor.
    let r = unsafe { libc::ioctl(master.as_raw_fd(), TIOCGPTPEER as _, flags) };
    let fd = check(r as i64, "ioctl", || "TIOCGPTPEER")?;
    // SAFETY: fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The number of the slave: `/dev/pts/N` (TIOCGPTN).
pub fn slave_number(master: BorrowedFd<'_>) -> Result<u32> {
    let mut n: libc::c_uint = 0;
    // SAFETY: the ioctl writes one unsigned int.
    let r = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN as _, &raw mut n) };
    check(r as i64, "ioctl", || "TIOCGPTN")?;
    Ok(n)
}

/// Opens a new master of the devpts whose `ptmx` this is.
pub fn open_master(ptmx: &Path) -> Result<OwnedFd> {
    crate::fs::open(ptmx, libc::O_RDWR | libc::O_NOCTTY, 0)
}

/// Makes the terminal our controlling one (TIOCSCTTY); we must lead a session without one.
pub fn set_controlling(tty: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: the ioctl takes an int by value.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSCTTY as _, 0) };
    check(r as i64, "ioctl", || "TIOCSCTTY").map(drop)
}

/// TIOCSPGRP: what is typed goes to this process group, which is of our session. From the background the kernel sends SIGTTOU to
/// whoever has not blocked or ignored it.
pub fn set_foreground(tty: BorrowedFd<'_>, group: i32) -> Result<()> {
    // SAFETY: the ioctl reads one pid_t.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSPGRP as _, &raw const group) };
    check(r as i64, "ioctl", || "TIOCSPGRP").map(drop)
}

/// A window size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// TIOCGWINSZ.
pub fn window_size(tty: BorrowedFd<'_>) -> Result<WindowSize> {
    // SAFETY: an all-zero winsize is valid and the ioctl fills it.
    let mut w: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: `w` outlives the call.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut w) };
    check(r as i64, "ioctl", || "TIOCGWINSZ")?;
    Ok(WindowSize {
        rows: w.ws_row,
        columns: w.ws_col,
    })
}

/// TIOCSWINSZ.
pub fn set_window_size(tty: BorrowedFd<'_>, size: WindowSize) -> Result<()> {
    let w = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `w` outlives the call.
    let r = unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const w) };
    check(r as i64, "ioctl", || "TIOCSWINSZ").map(drop)
}

/// True when the descriptor is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    attributes(fd).is_ok()
}

/// Saved terminal attributes (termios(3)).
#[derive(Clone, Copy)]
pub struct Attributes(libc::termios);

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attributes")
    }
}

/// tcgetattr(3).
pub fn attributes(fd: BorrowedFd<'_>) -> Result<Attributes> {
    // SAFETY: an all-zero termios is valid and the call fills it.
    let mut t: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `t` outlives the call.
    let r = unsafe { libc::tcgetattr(fd.as_raw_fd(), &mut t) };
    check(r as i64, "tcgetattr", || "")?;
    Ok(Attributes(t))
}

/// tcsetattr(3), at once.
pub fn set_attributes(fd: BorrowedFd<'_>, a: &Attributes) -> Result<()> {
    // SAFETY: `a` is a valid termios.
    let r = unsafe { libc::tcsetattr(fd.as_raw_fd(), libc::TCSANOW, &a.0) };
    check(r as i64, "tcsetattr", || "").map(drop)
}

/// The same attributes made raw (cfmakeraw(3)), but with output processing kept: new lines of a terminal that does not
/// translate them ([`without_newline_translation`]) still begin at the left.
pub fn raw(a: &Attributes) -> Attributes {
    let mut t = a.0;
    // SAFETY: `t` is a valid termios.
    unsafe { libc::cfmakeraw(&mut t) };
    t.c_oflag |= libc::OPOST;
    Attributes(t)
}

/// The same attributes made raw in both directions: for who is shown what another terminal has processed already.
pub fn raw_both_ways(a: &Attributes) -> Attributes {
    let mut t = a.0;
    // SAFETY: `t` is a valid termios.
    unsafe { libc::cfmakeraw(&mut t) };
    Attributes(t)
}

/// The same attributes without ONLCR: new lines are left to whoever shows them.
pub fn without_newline_translation(a: &Attributes) -> Attributes {
    let mut t = a.0;
    t.c_oflag &= !libc::ONLCR;
    Attributes(t)
}

/// The same attributes without echo: what is typed stays unseen, line editing stays.
pub fn without_echo(a: &Attributes) -> Attributes {
    let mut t = a.0;
    t.c_lflag &= !libc::ECHO;
    Attributes(t)
}
