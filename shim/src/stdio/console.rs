//! Terminals: the socket by which a runtime sends one, and the copying.
//!
//! May not: change the terminal's settings; they are the container's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};
use crate::reactor::{Reactor, Source};

use super::fifo::let_others_run;

/// How long a runtime that has ended well may take to send its terminal.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a runtime sends a terminal to. The path is short, as a socket's must be, in a directory that only we can enter.
#[derive(Debug)]
pub struct Socket {
    dir: PathBuf,
    path: PathBuf,
    listener: OwnedFd,
}

impl Socket {
    /// Makes it under `$XDG_RUNTIME_DIR` or the directory for temporary files.
    ///
    /// # Errors
    /// mkdir(2)'s and bind(2)'s.
    pub fn new() -> Result<Socket> {
        let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let dir = make_private_dir(&base).context("failed to make a directory for the console socket")?;
        let path = dir.join("pty.sock");
        let listener = sys::socket::listen(&path, sys::socket::Kind::Stream);
        let listener = listener.inspect_err(|_| remove_dir(&dir))?;
        sys::fs::set_nonblocking(listener.as_fd(), true)?;
        Ok(Socket { dir, path, listener })
    }

    /// What the runtime is told.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal that was sent.
    ///
    /// # Errors
    /// When nothing came, or something else.
    pub async fn receive(&self, reactor: &Reactor) -> Result<OwnedFd> {
        let receive = async {
            let listener = reactor.watch(self.listener.as_fd())?;
            let connection = listener.read_when_ready(sys::socket::accept).await?;
            sys::fs::set_nonblocking(connection.as_fd(), true)?;
            let connection = reactor.watch(connection)?;
            let mut name = [0u8; 4096];
            let (_, fds) = connection
                .read_when_ready(|fd| sys::socket::receive(fd, &mut name))
                .await?;
            let mut fds = fds.into_iter();
            match (fds.next(), fds.next()) {
                (Some(master), None) => Ok(master),
                _ => Err(Error::new("the runtime sent no terminal")),
            }
        };
        let received = reactor.within(Some(Instant::now() + PATIENCE), receive).await;
        received
            .unwrap_or_else(|| Err(Error::deadline("the runtime sent no terminal")))
            .context("failed to receive the console")
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // What another has removed already is not there.
        let _ = std::fs::remove_file(&self.path);
        remove_dir(&self.dir);
    }
}

fn remove_dir(dir: &Path) {
    let _ = std::fs::remove_dir(dir);
}

fn make_private_dir(base: &Path) -> sys::Result<PathBuf> {
    for attempt in 0u32.. {
        let dir = base.join(format!("pty{}.{attempt}", sys::process::pid()));
        match sys::fs::mkdirat(sys::fs::cwd(), &dir, 0o700) {
            Ok(()) => return Ok(dir),
            Err(e) if e.is(libc::EEXIST) && attempt < 10_000 => {}
            Err(e) => return Err(e),
        }
    }
    Err(sys::Error::new(
        "mkdir",
        base.display().to_string(),
        sys::Errno(libc::EEXIST),
    ))
}

/// TIOCSWINSZ.
pub fn resize(master: BorrowedFd<'_>, width: u16, height: u16) -> sys::Result<()> {
    sys::tty::set_window_size(
        master,
        sys::tty::WindowSize {
            rows: height,
            columns: width,
        },
    )
}

async fn write_all(to: &Source<OwnedFd>, bytes: &[u8]) -> sys::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match sys::fs::write(to.fd(), rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.is(libc::EAGAIN) => to.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// From the client to the terminal.
pub async fn type_in(from: &Source<OwnedFd>, master: &Source<OwnedFd>) -> sys::Result<()> {
    copy(from, Some(master)).await
}

/// From the terminal to the client, or nowhere, until nobody has it open any more (EIO).
pub async fn show(master: &Source<OwnedFd>, to: Option<&Source<OwnedFd>>) -> sys::Result<()> {
    copy(master, to).await
}

async fn copy(from: &Source<OwnedFd>, to: Option<&Source<OwnedFd>>) -> sys::Result<()> {
    let mut buffer = [0u8; 2048];
    loop {
        let n = from.read_when_ready(|fd| sys::fs::read(fd, &mut buffer)).await?;
        if n == 0 {
            return Ok(());
        }
        if let Some(to) = to {
            write_all(to, &buffer[..n]).await?;
        }
        let_others_run().await;
    }
}

/// From the terminal to a file.
pub async fn show_in_file(master: &Source<OwnedFd>, file: &OwnedFd) -> sys::Result<()> {
    super::fifo::copy_to_file(master, file).await
}
