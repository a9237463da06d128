//! The user's terminal or pipes on one side, a process's streams on the other.
//!
//! Three threads, because each waits for somebody else: one for the user's input, one for signals, and the caller's for what the
//! process writes. So a process that does not read does not keep its output from the user, nor a user who does not read his Ctrl-C
//! from the process.
//!
//! May not: know what container it is. Where signals go is the caller's business.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use monitor::client::{Sender, Streams};
use monitor::protocol::{Ended, Frame, Size};
use sys::tty::Attributes;

use crate::keys::{DetachKeys, Typed};
use crate::session::Failure;

/// What is read at once.
const PIECE: usize = 32 << 10;

/// How it ended.
#[derive(Debug)]
pub enum End {
    /// The process has.
    Ended(Ended),
    /// The user has left it.
    Detached,
    /// Its monitor is gone; the state on disk says what is true.
    Lost,
}

/// What to connect, and how.
pub struct Relay {
    /// The process has a terminal.
    pub tty: bool,
    /// The user's input goes to it.
    pub stdin: bool,
    pub keys: DetachKeys,
    /// The process has drawn its screen before we came: it is made to do so again, by another size of its terminal and back.
    pub redraw: bool,
    /// Who is told of signals that come to us; without, they do what they do to any program.
    pub signal: Option<Box<dyn Fn(i32) + Send>>,
}

/// What is taken before the process starts: its first byte may come before anybody could do it afterwards.
pub struct Seat {
    /// Signals, held back from now on: a Ctrl-C between the start of a process and its relay is not lost.
    held: Option<OwnedFd>,
    raw: Raw,
}

/// What becomes of signals that come to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signals {
    Hold,
    /// They do what they do to any program.
    Leave,
}

impl Seat {
    /// Takes the user's terminal for a process that has one (`tty`) and reads the user's input (`stdin`), and signals.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn take(tty: bool, stdin: bool, signals: Signals) -> Result<Seat, Failure> {
        let held = match signals {
            Signals::Hold => Some(sys::wait::block_and_watch_signals().map_err(image::Error::from)?),
            Signals::Leave => None,
        };
        Ok(Seat {
            held,
            raw: Raw::new(tty && stdin)?,
        })
    }
}

/// Puts the terminal into raw mode, and back.
struct Raw(Option<Attributes>);

impl Raw {
    fn new(wanted: bool) -> Result<Raw, Failure> {
        let stdin = std::io::stdin();
        if !wanted || !stdin.is_terminal() {
            return Ok(Raw(None));
        }
        let before = sys::tty::attributes(stdin.as_fd()).map_err(image::Error::from)?;
        sys::tty::set_attributes(stdin.as_fd(), &sys::tty::raw_both_ways(&before))
            .map_err(image::Error::from)?;
        Ok(Raw(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // The terminal is gone: then nobody misses it.
            let _ = sys::tty::set_attributes(std::io::stdin().as_fd(), before);
        }
    }
}

/// The size of the user's terminal, if there is one.
pub fn terminal_size() -> Option<Size> {
    let size = sys::tty::window_size(std::io::stdout().as_fd()).ok()?;
    (size.rows > 0 && size.columns > 0).then_some(Size {
        rows: size.rows,
        columns: size.columns,
    })
}

struct Line {
    sender: Mutex<Sender>,
    detached: AtomicBool,
}

impl Line {
    /// False when nobody is there any more.
    fn send(&self, frame: Frame, bytes: &[u8]) -> bool {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(frame, bytes).is_ok()
    }

    fn resize(&self, size: Size) {
        if let Ok(text) = serde_json::to_vec(&size) {
            self.send(Frame::Resize, &text);
        }
    }
}

impl Relay {
    /// Relays until the process ends or the user leaves.
    ///
    /// # Errors
    /// The user's side cannot be written: whoever read has gone.
    pub fn run(self, mut streams: Streams, seat: Seat) -> Result<End, Failure> {
        let Seat { held, raw } = seat;
        let line = Arc::new(Line {
            sender: Mutex::new(streams.sender().map_err(|e| Failure::plain(e.to_string()))?),
            detached: AtomicBool::new(false),
        });
        let tty = self.tty;
        let restore = raw.0;
        let to = Arc::clone(&line);
        let signal = self.signal;
        // Neither thread is waited for: one sits in a read that may never return, and both end with us.
        if self.redraw && self.tty {
            let to = Arc::clone(&line);
            spawn("redraw", move || redraw(&to))?;
        }
        if let Some(held) = held {
            spawn("signals", move || watch_signals(&held, &to, tty, signal, restore))?;
        }
        if self.stdin {
            let to = Arc::clone(&line);
            let keys = tty.then_some(self.keys);
            spawn("input", move || send_input(&to, keys))?;
        }
        let end = show(&mut streams);
        drop(raw);
        match end? {
            End::Lost if line.detached.load(Ordering::Acquire) => Ok(End::Detached),
            end => Ok(end),
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(128 << 10)
        .spawn(work)
        .map(drop)
        .map_err(|e| Failure::plain(format!("failed to start a thread: {e}")))
}

fn show(streams: &mut Streams) -> Result<End, Failure> {
    let (mut out, mut err) = (std::io::stdout().lock(), std::io::stderr().lock());
    loop {
        let frame = streams.receive().map_err(|e| Failure::plain(e.to_string()))?;
        match frame {
            None => return Ok(End::Lost),
            Some((Frame::Stdout, bytes)) => {
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Some((Frame::Stderr, bytes)) => err.write_all(&bytes)?,
            Some((Frame::Ended, text)) => {
                let ended = serde_json::from_slice(&text);
                return ended.map(End::Ended).map_err(|e| Failure::plain(e.to_string()));
            }
            Some(_) => {}
        }
    }
}

fn send_input(to: &Line, mut keys: Option<DetachKeys>) {
    let mut stdin = std::io::stdin().lock();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = match stdin.read(&mut buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            // What cannot be read (a background process, a closed descriptor) has no more to say.
            Err(_) | Ok(0) => {
                to.send(Frame::StdinEnd, &[]);
                return;
            }
            Ok(n) => &buffer[..n],
        };
        let (typed, leaves) = match &mut keys {
            None => (read.to_vec(), false),
            Some(keys) => match keys.take(read) {
                Typed::Input(bytes) => (bytes, false),
                Typed::Detached(bytes) => (bytes, true),
            },
        };
        if !typed.is_empty() && !to.send(Frame::Stdin, &typed) {
            return;
        }
        if leaves {
            to.detached.store(true, Ordering::Release);
            to.sender.lock().unwrap_or_else(PoisonError::into_inner).detach();
            return;
        }
    }
}

fn watch_signals(
    held: &OwnedFd,
    to: &Line,
    tty: bool,
    tell: Option<Box<dyn Fn(i32) + Send>>,
    restore: Option<Attributes>,
) {
    loop {
        let Ok(signal) = next(held) else { return };
        match signal {
            libc::SIGWINCH => {
                if let Some(size) = terminal_size().filter(|_| tty) {
                    to.resize(size);
                }
            }
            // About our own children, pipes and sockets.
            libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG | libc::SIGTTIN | libc::SIGTTOU => {}
            signal => match &tell {
                Some(tell) => tell(signal),
                None => end_by(signal, restore.as_ref()),
            },
        }
    }
}

/// Between the two sizes: a program that is told of both at once sees that nothing has changed.
const GLIMPSE: Duration = Duration::from_millis(40);

fn redraw(to: &Line) {
    let Some(size) = terminal_size() else { return };
    to.resize(Size {
        rows: size.rows.saturating_add(1),
        columns: size.columns.saturating_add(1),
    });
    thread::sleep(GLIMPSE);
    to.resize(terminal_size().unwrap_or(size));
}

fn next(held: &OwnedFd) -> sys::Result<i32> {
    loop {
        sys::wait::readable(held.as_fd(), sys::wait::Deadline::NEVER)?;
        if let Some(signal) = sys::wait::next_signal(held.as_fd())? {
            return Ok(signal);
        }
    }
}

/// What the signal would have done, if it ends programs; the terminal is given back before.
fn end_by(signal: i32, restore: Option<&Attributes>) {
    if !matches!(
        signal,
        libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT
    ) {
        return;
    }
    if let Some(before) = restore {
        let _ = sys::tty::set_attributes(std::io::stdin().as_fd(), before);
    }
    sys::process::exit_now(128 + signal);
}
