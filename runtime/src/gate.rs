//! The gate at which a created container waits for `start`: two FIFOs in the state directory.
//!
//! The init inherits both, opened for reading and writing, close-on-exec. It reads one byte from `exec.fifo`: that is the
//! wait. `start` opens `exec.fifo` for writing without blocking: ENXIO means that nobody waits (started, or dead),
//! so no kill -9 of either side can leave the other one hanging, and `created` cannot outlive the wait. Under the lock it
//! then takes the name away (`released.fifo`): a container is started once. Why the init could not go on (a hook, execve)
//! it writes to `result/exec.fifo`; its end of file without a word is the exec.
//!
//! FIFOs rather than a socket: without no_new_privs the user's seccomp filter is in force here, and read(2) and
//! write(2) are what every profile allows.
//!
//! May not: open anything inside the container; both ends are descriptors.

use crate::error::{Doing, Error, Kind, Result};
use crate::state::StateDir;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::fs;
use sys::wait::Deadline;

const FIFO: &str = "exec.fifo";
/// Its name from the byte of `start` on, while the startContainer hooks run and the container is still `created`.
const RELEASED: &str = "released.fifo";
/// In a directory of its own, so that both have the name by which tools know a runtime's gate among the descriptors of an
/// init that waits.
const RESULT_DIR: &str = "result";
const RESULT: &str = "result/exec.fifo";

/// The init's side.
#[derive(Debug)]
pub struct Gate {
    fifo: OwnedFd,
    result: OwnedFd,
}

impl Gate {
    /// Makes the FIFOs; the child inherits them.
    pub fn make(dir: &StateDir) -> Result<Gate> {
        let open = |name: &str| {
            fs::mkfifoat(dir.fd(), Path::new(name), 0o600)?;
            fs::openat(dir.fd(), Path::new(name), libc::O_RDWR | libc::O_NOFOLLOW, 0)
        };
        fs::mkdirat(dir.fd(), Path::new(RESULT_DIR), 0o700)?;
        // The result first: whoever finds exec.fifo may rely on both.
        let result = open(RESULT).doing(|| "make result/exec.fifo")?;
        let fifo = open(FIFO).doing(|| "make exec.fifo")?;
        Ok(Gate { fifo, result })
    }

    /// Both descriptors.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.fifo.as_fd(), self.result.as_fd()]
    }

    /// Waits for `start`, for as long as the user likes.
    pub fn wait(&self) -> Result<()> {
        let mut byte = [0u8; 1];
        fs::read(self.fifo.as_fd(), &mut byte)?;
        Ok(())
    }

    /// Tells `start` why the init could not go on.
    pub fn fail(&self, text: &str) -> Result<()> {
        const MOST: usize = 4096; // PIPE_BUF: written in one piece or not at all
        fs::write(self.result.as_fd(), &text.as_bytes()[..text.len().min(MOST)])?;
        Ok(())
    }
}

/// The side of `start`: connected to an init that waits.
#[derive(Debug)]
pub struct Opener {
    fifo: OwnedFd,
    result: OwnedFd,
}

/// Whether an init is at the gate: it waits, or was let through and has not become the user's program yet.
pub fn is_waited_at(dir: &StateDir) -> bool {
    [FIFO, RELEASED]
        .iter()
        .any(|name| open_fifo(dir.fd(), name).is_ok())
}

fn open_fifo(dir: BorrowedFd<'_>, name: &str) -> sys::Result<OwnedFd> {
    fs::openat(
        dir,
        Path::new(name),
        libc::O_WRONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW,
        0,
    )
}

impl Opener {
    /// Finds the waiting init; `None` when nobody waits.
    pub fn find(dir: &StateDir) -> Result<Option<Opener>> {
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let result = match fs::openat(dir.fd(), Path::new(RESULT), flags, 0) {
            Err(e) if e.is(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        match open_fifo(dir.fd(), FIFO) {
            Ok(fifo) => Ok(Some(Opener { fifo, result })),
            Err(e) if e.is(libc::ENXIO) || e.is(libc::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Lets the init go on, to be called under the container's lock. The byte first: whoever is killed in between has
    /// started the container, or another `start` can.
    pub fn release(&self, dir: &StateDir) -> Result<()> {
        fs::write(self.fifo.as_fd(), b"0")?;
        Ok(fs::renameat(
            dir.fd(),
            Path::new(FIFO),
            dir.fd(),
            Path::new(RELEASED),
        )?)
    }

    /// Waits until the user's program runs. startContainer hooks run in between, so there is no deadline; the wait ends
    /// when the init dies.
    pub fn wait(self, dir: &StateDir) -> Result<()> {
        let text = self.read_result()?;
        remove(dir)?;
        if text.is_empty() {
            return Ok(());
        }
        Err(Error::of(Kind::Other, String::from_utf8_lossy(&text)))
    }
}

impl Opener {
    /// The init's last words, or nothing when its end of the pipe closes by the exec. They come in one piece.
    fn read_result(&self) -> Result<Vec<u8>> {
        let mut buf = [0u8; 4096];
        loop {
            sys::wait::readable(self.result.as_fd(), Deadline::NEVER)?;
            match fs::read(self.result.as_fd(), &mut buf) {
                Err(e) if e.is(libc::EAGAIN) => {}
                other => return Ok(buf[..other?].to_vec()),
            }
        }
    }
}

/// Takes the gate away after a start.
pub fn remove(dir: &StateDir) -> Result<()> {
    for (name, flags) in [
        (FIFO, 0),
        (RELEASED, 0),
        (RESULT, 0),
        (RESULT_DIR, libc::AT_REMOVEDIR),
    ] {
        match fs::unlinkat(dir.fd(), Path::new(name), flags) {
            Err(e) if !e.is(libc::ENOENT) => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}
