//! Terminals on the runtime's side: the console socket, and the relay of a foreground process.
//!
//! May not: leave the user's terminal raw, whatever happens.

use crate::error::{Doing, Error, Result};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use sys::fs;
use sys::tty::{self, Attributes};

/// Whether the runtime stays with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attendance {
    /// `run` and `exec` without `--detach`.
    Foreground,
    /// `create`, and `--detach`.
    Detached,
}

/// Whether flags and terminal fit together, in runc's words.
pub fn check(terminal: bool, socket: Option<&Path>, attendance: Attendance) -> Result<()> {
    let detached = attendance == Attendance::Detached;
    if detached && terminal && socket.is_none() {
        return Err(Error::new(
            "cannot allocate tty if runc will detach without setting console socket",
        ));
    }
    if (!detached || !terminal) && socket.is_some() {
        return Err(Error::new(
            "cannot use console socket if runc will not detach or allocate tty",
        ));
    }
    Ok(())
}

/// How long the caller's sockets may take to accept us: one that nobody serves can be full.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the caller's console socket, which will get the terminal's master.
pub fn connect(socket: Option<&Path>) -> Result<Option<OwnedFd>> {
    let Some(path) = socket else { return Ok(None) };
    let fd = sys::socket::connect(path, sys::socket::Kind::Stream, PATIENCE)
        .doing(|| format!("unable to connect to the console socket {}", path.display()))?;
    Ok(Some(fd))
}

/// The user's terminal in raw mode; restored when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    fd: BorrowedFd<'static>,
    saved: Attributes,
}

impl RawTerminal {
    /// Makes stdin raw when it is a terminal.
    pub fn enter() -> Result<Option<RawTerminal>> {
        let fd = fs::inherited(0);
        let Ok(saved) = tty::attributes(fd) else {
            return Ok(None);
        };
        tty::set_attributes(fd, &tty::raw(&saved))?;
        Ok(Some(RawTerminal { fd, saved }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A hung-up terminal cannot be restored, and nobody sees it.
        let _ = tty::set_attributes(self.fd, &self.saved);
    }
}

/// What a foreground terminal gets before its program runs: our size, and new lines as they are (without ONLCR), which the
/// user's own terminal will translate. Without a terminal of ours nobody would want the carriage returns.
pub fn prepare_master(master: BorrowedFd<'_>) -> Result<()> {
    let plain = tty::without_newline_translation(&tty::attributes(master)?);
    tty::set_attributes(master, &plain)?;
    copy_size(master)
}

/// Gives the container's terminal the size of ours, when we have one.
pub fn copy_size(master: BorrowedFd<'_>) -> Result<()> {
    match tty::window_size(fs::inherited(0)) {
        Ok(size) => Ok(tty::set_window_size(master, size)?),
        Err(_) => Ok(()),
    }
}
