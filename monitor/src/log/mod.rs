//! Log drivers: what a container writes, kept where `brig logs` finds it.
//!
//! May not: block without bound, allocate for a line, or fail the container because a log cannot be written: what cannot be
//! written is lost and counted. One loop calls [`Writer::write`], for everything there is.
//!
//! ```text
//! bytes --Half (lines of at most 16 KiB)--> form (a line in a file) --files (rotation)--> file, file.1, file.2.gz
//!                                      \--> journal
//! file, ... --lines (search, tail, follow)--> form --> Record
//! ```

pub mod files;
pub mod form;
mod journal;
pub mod lines;
pub mod options;
pub mod stamp;
pub mod watch;

use std::time::SystemTime;

use shim::error::{Context, Error, Result};

use crate::launch;
use files::{Files, JITTER};
use form::Form;
use journal::Journal;
pub use options::{DEFAULT, Driver, check};

/// Which of the two. A terminal's output is standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// As files have it.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// A longer line is cut, as in Docker.
pub const LINE: usize = 16 << 10;
/// Lines that came together are written together, up to about this much.
const BATCH: usize = 16 << 10;

/// The log of one container, as long as its monitor lives. A restart goes on with the same one.
#[derive(Debug)]
pub struct Writer {
    sink: Sink,
    halves: [Half; 2],
    lost: u64,
}

#[derive(Debug)]
enum Sink {
    Nothing,
    Files(Box<Batch>),
    Journal(Box<Journal>),
    Other(Other),
}

/// Whoever else writes the lines, and says whether there was room for one.
struct Other(Take);

/// What a message is given to.
pub type Take = Box<dyn FnMut(&[u8]) -> bool>;

impl std::fmt::Debug for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Other")
    }
}

/// A line on its way to another process.
///
/// ```text
/// length of the text, 4 bytes | stream, 1 | whole, 1 | time, 8 | text          numbers in the machine's byte order
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub stream: Stream,
    pub text: &'a [u8],
    pub whole: bool,
    pub time: i64,
}

impl<'a> Message<'a> {
    const HEAD: usize = 14;

    /// No line: asks for an answer when all before it is written.
    pub const MARK: [u8; Message::HEAD] = [0xff; Message::HEAD];

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.text.len() as u32).to_ne_bytes());
        out.extend_from_slice(&[self.stream as u8, u8::from(self.whole)]);
        out.extend_from_slice(&self.time.to_ne_bytes());
        out.extend_from_slice(self.text);
    }

    /// The first of several, or a mark, and what comes behind it; `None` where it is not whole yet.
    pub fn parse(bytes: &'a [u8]) -> Option<(Option<Message<'a>>, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(Message::HEAD)?;
        if head == Message::MARK {
            return Some((None, rest));
        }
        let (length, about) = head.split_first_chunk::<4>()?;
        let (kind, time) = about.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        let message = Message {
            stream: match kind[0] {
                0 => Stream::Stdout,
                _ => Stream::Stderr,
            },
            text,
            whole: kind[1] != 0,
            time: i64::from_ne_bytes(time.try_into().ok()?),
        };
        Some((Some(message), rest))
    }
}

/// A stream, cut where a read ended.
#[derive(Debug, Default)]
struct Half {
    /// The begin of a line.
    pending: Vec<u8>,
    /// Pieces of this line have been written, with this time. All pieces have it.
    cut_at: Option<i64>,
}

/// Lines on their way to the files.
#[derive(Debug)]
struct Batch {
    form: Form,
    attributes: Vec<u8>,
    files: Files,
    out: Vec<u8>,
    lines: u64,
    first: i64,
    latest: i64,
    /// Since the last payment.
    written: usize,
}

impl Writer {
    /// By the driver's name.
    ///
    /// # Errors
    /// The file cannot be made, or an option makes no sense.
    pub fn open(log: &launch::Log) -> Result<Writer> {
        let sink = match Driver::of(&log.driver)? {
            Driver::None => Sink::Nothing,
            Driver::JsonFile => Sink::Files(Box::new(Batch::open(log, Form::Json)?)),
            Driver::Local => Sink::Files(Box::new(Batch::open(log, Form::Local)?)),
            Driver::Journald => Sink::Journal(Box::new(
                Journal::open(journal::SOCKET.into(), &log.attributes)
                    .map_err(|e| Error::new(format!("failed to initialize logging driver: {e}")))?,
            )),
        };
        Ok(Writer {
            sink,
            halves: Default::default(),
            lost: 0,
        })
    }

    /// One whose lines another process writes ([`Message`]).
    pub fn handing_on(take: Take) -> Writer {
        Writer {
            sink: Sink::Other(Other(take)),
            halves: Default::default(),
            lost: 0,
        }
    }

    /// What another has handed on.
    pub fn put(&mut self, line: &Message<'_>) {
        self.lost += self.sink.put(line.stream, line.text, line.whole, line.time);
    }

    /// What was put is written.
    pub fn settle(&mut self) {
        self.lost += self.sink.flush();
        self.sink.pay();
    }

    /// What came out of a stream, whatever its pieces; `now` is the time of the lines that end in it.
    pub fn write(&mut self, stream: Stream, bytes: &[u8], now: SystemTime) {
        if matches!(self.sink, Sink::Nothing) {
            return;
        }
        let now = stamp::nanos(now);
        let Writer { sink, halves, lost } = self;
        halves[stream as usize].take(bytes, now, &mut |text, whole, time| {
            *lost += sink.put(stream, text, whole, time);
        });
        *lost += sink.flush();
        sink.pay();
    }

    /// The streams have ended: the last line may have no newline.
    pub fn finish(&mut self, now: SystemTime) {
        let now = stamp::nanos(now);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let half = std::mem::take(&mut self.halves[stream as usize]);
            if !half.pending.is_empty() {
                let time = half.cut_at.unwrap_or(now);
                self.lost += self.sink.put(stream, &half.pending, false, time);
            }
        }
        self.lost += self.sink.flush();
    }

    /// Compresses a little of an older file, some milliseconds' worth. Whether there is more to do: who has time may go on.
    pub fn tidy(&mut self) -> bool {
        self.sink.squeeze(256 << 10)
    }

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Half {
    /// Hands on whole lines, and pieces of those that are too long.
    fn take(&mut self, bytes: &[u8], now: i64, put: &mut dyn FnMut(&[u8], bool, i64)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (LINE - self.pending.len()).min(rest.len());
            if let Some(at) = rest[..room].iter().position(|c| *c == b'\n') {
                let time = self.cut_at.take().unwrap_or(now);
                if self.pending.is_empty() {
                    put(&rest[..at], true, time);
                } else {
                    self.pending.extend_from_slice(&rest[..at]);
                    put(&self.pending, true, time);
                    self.pending.clear();
                }
                rest = &rest[at + 1..];
                continue;
            }
            self.pending.extend_from_slice(&rest[..room]);
            rest = &rest[room..];
            if self.pending.len() == LINE {
                let time = *self.cut_at.get_or_insert(now);
                // Docker cuts through characters, which its file then cannot hold.
                let end = LINE - begun_character(&self.pending);
                put(&self.pending[..end], false, time);
                self.pending.drain(..end);
            }
        }
        if self.pending.is_empty() {
            // An idle container needs no buffer.
            self.pending = Vec::new();
        }
    }
}

/// How many bytes at the end are the begin of a character of UTF-8.
fn begun_character(text: &[u8]) -> usize {
    for back in 1..=3.min(text.len()) {
        let needs = match text[text.len() - back] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => 0,
        };
        return if needs > back { back } else { 0 };
    }
    0
}

impl Sink {
    /// How many lines were lost.
    fn put(&mut self, stream: Stream, text: &[u8], whole: bool, time: i64) -> u64 {
        match self {
            Sink::Nothing => 0,
            Sink::Files(batch) => batch.put(stream, text, whole, time),
            Sink::Journal(journal) => u64::from(!journal.send(stream, text, whole)),
            Sink::Other(Other(take)) => {
                let mut message = Vec::with_capacity(Message::HEAD + text.len());
                let line = Message {
                    stream,
                    text,
                    whole,
                    time,
                };
                line.put(&mut message);
                u64::from(!take(&message))
            }
        }
    }

    fn flush(&mut self) -> u64 {
        match self {
            Sink::Files(batch) => batch.flush(),
            _ => 0,
        }
    }

    /// Compresses twice as much as was written: an older file is done before the next one is full.
    fn pay(&mut self) {
        if let Sink::Files(batch) = self {
            let bytes = std::mem::take(&mut batch.written);
            batch.files.squeeze(bytes.saturating_mul(2));
        }
    }

    fn squeeze(&mut self, bytes: usize) -> bool {
        match self {
            Sink::Files(batch) => batch.files.squeeze(bytes),
            _ => false,
        }
    }
}

impl Batch {
    fn open(log: &launch::Log, form: Form) -> Result<Batch> {
        let doing = || format!("failed to open the log {}", log.path.display());
        if let Some(dir) = log.path.parent() {
            std::fs::create_dir_all(dir)
                .map_err(|e| Error::new(e.to_string()))
                .context(doing())?;
        }
        let time = match form {
            Form::Json => |line: &[u8]| Form::Json.time(line),
            Form::Local => |line: &[u8]| Form::Local.time(line),
        };
        let files = Files::open(&log.path, options::rotation(&log.options)?, time)
            .map_err(|e| Error::new(e.to_string()))
            .context(doing())?;
        Ok(Batch {
            form,
            attributes: attributes(&log.attributes),
            files,
            out: Vec::new(),
            lines: 0,
            first: 0,
            latest: 0,
            written: 0,
        })
    }

    fn put(&mut self, stream: Stream, text: &[u8], whole: bool, time: i64) -> u64 {
        let mut lost = 0;
        let full = self.out.len() >= BATCH || self.out.len() as u64 >= self.files.room();
        if self.lines > 0 && (full || time < self.latest.saturating_sub(JITTER)) {
            lost = self.flush();
        }
        if self.lines == 0 {
            (self.first, self.latest) = (time, time);
        }
        self.form
            .put(&mut self.out, stream, text, whole, &self.attributes, time);
        self.latest = self.latest.max(time);
        self.lines += 1;
        lost
    }

    fn flush(&mut self) -> u64 {
        if self.lines == 0 {
            return 0;
        }
        let lost = match self.files.append(&self.out, self.first, self.latest) {
            Ok(()) => 0,
            // Perhaps some of them are in it; nobody can say more here than that the log has a gap.
            Err(_) => self.lines,
        };
        self.written += self.out.len();
        self.lines = 0;
        self.out.clear();
        self.out.shrink_to(BATCH);
        lost
    }
}

/// As Go's encoder writes a map: in the order of names, escaped as a text of the log is.
fn attributes(all: &std::collections::BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in all {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        form::escape(&mut out, name.as_bytes());
        out.extend_from_slice(b"\":\"");
        form::escape(&mut out, value.as_bytes());
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    out
}

#[cfg(test)]
pub(crate) mod tests;
