//! FIFOs of a client, and the copying from and to pipes.
//!
//! May not: block; every end is non-blocking.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use crate::error::{Context, Result};
use crate::reactor::{Reactor, Source, either};
use crate::sync::{Held, Once};

/// One splice(2); a pipe holds as much.
const MOST: usize = 64 << 10;

/// How often is looked whether somebody reads a stream that ended while nobody did.
const LOOK_FOR_READER: Duration = Duration::from_millis(500);

fn open(path: &Path, flags: i32) -> Result<OwnedFd> {
    sys::fs::open(path, flags | libc::O_NONBLOCK, 0).context("failed to open the stream")
}

/// A client may name a file where a FIFO is usual.
pub fn is_fifo(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    // What is not there is told when it is opened.
    std::fs::metadata(path).map_or(true, |m| m.file_type().is_fifo())
}

/// A FIFO to read from, and an end that writes to it: as long as it is held, a client that goes away is not the end of the
/// input.
pub fn open_stdin(path: &Path) -> Result<(OwnedFd, OwnedFd)> {
    let reader = open(path, libc::O_RDONLY)?;
    let held = open(path, libc::O_WRONLY)?;
    Ok((reader, held))
}

/// A FIFO to write to. An end that reads is held with it: a client that goes away breaks no pipe.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Writer {
    pub fn open(path: &Path) -> Result<Writer> {
        // First: to write alone cannot be opened while nobody reads.
        let reader = open(path, libc::O_RDONLY)?;
        let writer = open(path, libc::O_WRONLY)?;
        Ok(Writer {
            path: path.to_owned(),
            reader,
            writer,
        })
    }

    pub fn watched(self, reactor: &Reactor) -> Result<WatchedWriter> {
        Ok(WatchedWriter {
            path: self.path,
            reader: self.reader,
            writer: reactor.watch(self.writer)?,
        })
    }
}

/// The same in the loop.
#[derive(Debug)]
pub struct WatchedWriter {
    path: PathBuf,
    reader: OwnedFd,
    writer: Source<OwnedFd>,
}

impl WatchedWriter {
    pub fn source(&self) -> &Source<OwnedFd> {
        &self.writer
    }

    /// Everything has been written. A client that reads now gets the end of the stream; where none does (it is being restarted),
    /// the stream is kept until one comes, or until the process is deleted, so that nothing is lost.
    pub async fn finish(self, reactor: &Reactor, held: Held, stop: &Once<()>) {
        drop(held);
        let WatchedWriter { path, reader, writer } = self;
        let mut reader = Some(reader);
        loop {
            // Without our own: a writing end without any reader reports an error.
            drop(reader.take());
            let ready = sys::wait::poll(
                &[(writer.fd(), sys::wait::Interest::None)],
                sys::wait::Deadline::after(Duration::ZERO),
            );
            if !ready.is_ok_and(|ready| ready[0].hangup) {
                return;
            }
            // A failure means that the FIFO has been removed: nobody can come.
            let Ok(again) = open(&path, libc::O_RDONLY) else {
                return;
            };
            reader = Some(again);
            let (sleep, stopped) = (pin!(reactor.sleep(LOOK_FOR_READER)), pin!(stop.wait()));
            if let crate::reactor::Either::Right(()) = either(sleep, stopped).await {
                return;
            }
        }
    }
}

/// Copies until it is told to stop. How a copy ended is nobody's business: its process or its reader has gone.
pub async fn until(stop: &Once<()>, copy: impl Future<Output = sys::Result<()>>) {
    let (copy, stopped) = (pin!(copy), pin!(stop.wait()));
    let _ = either(copy, stopped).await;
}

/// Lets other tasks run: a stream whose both sides are fast must not keep the loop for itself.
pub async fn let_others_run() {
    let mut first = true;
    std::future::poll_fn(|context| {
        if !std::mem::take(&mut first) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// From one pipe to another until the end of the first.
pub async fn splice_all(from: &Source<OwnedFd>, to: &Source<OwnedFd>) -> sys::Result<()> {
    loop {
        from.readable().await?;
        let mut moved = false;
        loop {
            match sys::fs::splice(from.fd(), to.fd(), MOST) {
                Ok(0) => return Ok(()),
                Ok(_) => moved = true,
                Err(e) if e.is(libc::EAGAIN) => break,
                Err(e) => return Err(e),
            }
            let_others_run().await;
        }
        if !moved {
            // It was readable and nothing could be moved: the other one is full.
            to.writable().await?;
        }
    }
}

/// From a pipe or a terminal to a file until the end of the first, in a process of its own: a disk that hangs holds up the writer
/// of this log and nobody else. (splice(2) refuses files that are appended to.)
pub fn copy_to_file(from: BorrowedFd<'_>, file: BorrowedFd<'_>) -> sys::Result<()> {
    let mut buffer = [0u8; 8192];
    loop {
        sys::wait::readable(from, sys::wait::Deadline::NEVER)?;
        let n = match sys::fs::read(from, &mut buffer) {
            // Of a terminal: nobody has it open any more.
            Err(e) if e.is(libc::EIO) => return Ok(()),
            Err(e) if e.is(libc::EAGAIN) => continue,
            read => read?,
        };
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            rest = &rest[sys::fs::write(file, rest)?..];
        }
    }
}
