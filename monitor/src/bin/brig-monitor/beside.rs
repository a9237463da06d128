//! A log that must not hold the container back (`mode=non-blocking`): a forked copy of ours writes it, and what it has no time for waits
//! in a buffer of `max-buffer-size` bytes. Lines for which there is no room are lost, as in Docker.
//!
//! A copy and not a thread: whoever waits in write(2) for a disk or a server that is away may be killed, and our loop goes on.
//!
//! May not: lose anything while there is room, or keep the container's end waiting without bound.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use monitor::launch;
use monitor::log::{Message, Writer, options};
use shim::error::{Context, Error, Result};
use shim::reactor::Source;
use shim::runtime::Host;

use crate::backlog::Backlog;

/// How long the copy may take to open the log, and at the end of the container to write what has waited.
const PATIENCE: Duration = Duration::from_secs(5);

/// One read of the copy's.
const PIECE: usize = 64 << 10;

/// What it answers: the log is open, or everything up to a mark is written.
const DONE: &[u8] = b".";

/// The log of a container.
pub struct Log {
    writer: Rc<RefCell<Writer>>,
    beside: Option<Beside>,
}

/// Our side of the copy.
struct Beside {
    out: Rc<Backlog>,
    socket: Rc<Source<OwnedFd>>,
    /// Marks that were sent, and answered.
    sent: Cell<u64>,
    answered: Cell<u64>,
}

impl Log {
    /// As its options ask for.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn open(on: &Host, log: &launch::Log) -> Result<Log> {
        let (writer, beside) = match options::buffer(&log.options) {
            None => (Writer::open(log)?, None),
            Some(most) => {
                let beside = Beside::begin(on, log).await?;
                let out = Rc::clone(&beside.out);
                let take = move |message: &[u8]| take(&out, message, most);
                (Writer::handing_on(Box::new(take)), Some(beside))
            }
        };
        Ok(Log {
            writer: Rc::new(RefCell::new(writer)),
            beside,
        })
    }

    /// Who writes.
    pub fn writer(&self) -> &Rc<RefCell<Writer>> {
        &self.writer
    }

    /// The streams have ended: what was written is in the log, as far as it could be. How many lines could not, since the log was opened.
    pub async fn finish(&self, on: &Host) -> u64 {
        self.writer.borrow_mut().finish(SystemTime::now());
        if let Some(beside) = &self.beside {
            beside.mark();
            // A log that takes longer is not waited for: the container has ended.
            let _ = on
                .reactor
                .within(Some(Instant::now() + PATIENCE), beside.settled())
                .await;
        }
        self.writer.borrow().lost()
    }
}

/// Whether there is room. One line has always room, however small the buffer is.
fn take(out: &Backlog, message: &[u8], most: usize) -> bool {
    let waiting = out.waiting();
    if out.is_gone() || (waiting > 0 && waiting + message.len() > most) {
        return false;
    }
    out.push(&[message]);
    true
}

impl Beside {
    async fn begin(on: &Host, log: &launch::Log) -> Result<Beside> {
        let pair = UnixStream::pair().map_err(|e| Error::new(e.to_string()));
        let (ours, theirs) = pair.context("failed to make a socket for the log")?;
        let (ours, theirs) = (OwnedFd::from(ours), OwnedFd::from(theirs));
        on.children
            .fork_with(&[theirs.as_fd()], || write_down(theirs.as_fd(), log))?;
        drop(theirs);
        sys::fs::set_nonblocking(ours.as_fd(), true)?;
        let socket = Rc::new(on.reactor.watch(ours)?);
        let answer = async {
            let mut buffer = [0; 4096];
            let n = socket
                .read_when_ready(|fd| sys::fs::read(fd, &mut buffer))
                .await?;
            Ok::<_, Error>(buffer[..n].to_vec())
        };
        let answer = on.reactor.within(Some(Instant::now() + PATIENCE), answer).await;
        let answer =
            answer.ok_or_else(|| Error::new("failed to open the log: it was not done in time"))??;
        if answer != DONE {
            return Err(Error::new(match answer.is_empty() {
                true => "failed to open the log: who writes it has ended".into(),
                false => String::from_utf8_lossy(&answer).into_owned(),
            }));
        }
        let out = Rc::<Backlog>::default();
        let (of_task, to) = (Rc::clone(&out), Rc::clone(&socket));
        on.reactor.spawn(async move {
            of_task.drain(to).await;
            of_task.give_up();
        });
        Ok(Beside {
            out,
            socket,
            sent: Cell::new(0),
            answered: Cell::new(0),
        })
    }

    /// Is answered when everything before it is written.
    fn mark(&self) {
        self.sent.set(self.sent.get() + 1);
        self.out.push(&[&Message::MARK]);
    }

    async fn settled(&self) {
        let mut buffer = [0; 64];
        while self.answered.get() < self.sent.get() {
            let come = self
                .socket
                .read_when_ready(|fd| sys::fs::read(fd, &mut buffer))
                .await;
            match come {
                Ok(n) if n > 0 => self.answered.set(self.answered.get() + n as u64),
                // Who writes it has ended, and no more is to be expected of it.
                _ => return,
            }
        }
    }
}

/// The copy: until nobody sends any more.
fn write_down(from: BorrowedFd<'_>, log: &launch::Log) -> i32 {
    let mut writer = match Writer::open(log) {
        Ok(writer) => writer,
        Err(e) => {
            // Told to who waits for it, or to nobody.
            let _ = sys::fs::write(from, e.to_string().as_bytes());
            return 1;
        }
    };
    match sys::fs::write(from, DONE).and_then(|_| write_all(from, &mut writer)) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

fn write_all(from: BorrowedFd<'_>, writer: &mut Writer) -> sys::Result<()> {
    let mut waiting = Vec::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let n = sys::fs::read(from, &mut buffer)?;
        if n == 0 {
            writer.settle();
            return Ok(());
        }
        waiting.extend_from_slice(&buffer[..n]);
        let (mut rest, mut marks) = (waiting.as_slice(), 0);
        while let Some((message, after)) = Message::parse(rest) {
            rest = after;
            match message {
                Some(message) => writer.put(&message),
                None => marks += 1,
            }
        }
        let used = waiting.len() - rest.len();
        waiting.drain(..used);
        writer.settle();
        for _ in 0..marks {
            sys::fs::write(from, DONE)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_takes_nothing_more() {
        let out = Backlog::default();
        assert!(take(&out, &[0; 100], 10));
        assert!(!take(&out, b"x", 10));
        out.give_up();
        assert!(!take(&out, b"x", 10));
        let out = Backlog::default();
        assert!(take(&out, b"four", 10) && take(&out, b"four", 10));
        assert!(!take(&out, b"four", 10));
        assert!(take(&out, b"2b", 10));
    }
}
