//! What is known of a build that goes on: its vertices, how far they are, and what their processes have written, as much as is kept.
//!
//! May not: show it, or read a clock; whoever tells says when.

use std::collections::VecDeque;
use std::time::Duration;

use builder::telling::{Event, Stream, Vertex};

/// A line that does not end is cut here.
const LONGEST_LINE: usize = 16 << 10;

/// How much of a step's output is kept: BuildKit's limits, and its variables that change them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a step. None: no limit.
    pub size: Option<u64>,
    /// Bytes in each second.
    pub speed: Option<u64>,
}

impl Limits {
    pub const USUAL: Limits = Limits {
        size: Some(2 << 20),
        speed: Some(200 << 10),
    };

    /// With what `BUILDKIT_STEP_LOG_MAX_SIZE` and `BUILDKIT_STEP_LOG_MAX_SPEED` say: bytes, or -1 for no limit.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Limits {
        let read = |name: &str, usual: Option<u64>| match variable(name).and_then(|v| v.parse::<i64>().ok()) {
            Some(-1) => None,
            Some(bytes) if bytes > 0 => u64::try_from(bytes).ok(),
            _ => usual,
        };
        Limits {
            size: read("BUILDKIT_STEP_LOG_MAX_SIZE", Limits::USUAL.size),
            speed: read("BUILDKIT_STEP_LOG_MAX_SPEED", Limits::USUAL.speed),
        }
    }
}

/// How a vertex ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Done,
    Cached,
    Failed(String),
    Cancelled,
}

/// A part of a vertex: a layer, a context that is read.
#[derive(Clone, Debug)]
pub struct Part {
    pub id: String,
    pub done: u64,
    pub total: u64,
    pub begun: Duration,
    pub told: Duration,
    pub ended: Option<Duration>,
    /// It has changed since it was last taken.
    pub is_news: bool,
}

/// A line that a process has written, without its end, and when.
#[derive(Clone, Debug)]
pub struct Line {
    /// Since the vertex began.
    pub at: Duration,
    pub bytes: Vec<u8>,
}

/// One vertex.
#[derive(Debug)]
pub struct Told {
    pub name: String,
    pub begun: Duration,
    pub ended: Option<(Duration, End)>,
    pub parts: Vec<Part>,
    /// All lines that are kept.
    pub lines: Vec<Line>,
    /// Those before were taken already.
    pub taken: usize,
    /// The line that has not ended.
    pub partial: Option<Line>,
    /// Bytes that its processes have written and that were kept.
    size: u64,
    is_clipping: bool,
    /// Something has changed since it was last taken.
    pub is_news: bool,
    /// How many times something was told of it since it was last shown, and since when.
    pub count: u64,
    pub waiting_since: Option<Duration>,
}

/// An event that is kept as it came.
#[derive(Clone, Debug)]
pub enum Kept {
    Begun(usize),
    Ended(usize),
    Part(usize, Part),
    Output {
        index: usize,
        stream: Stream,
        bytes: Vec<u8>,
        at: Duration,
    },
    Warning(String),
}

/// All of them.
#[derive(Debug)]
pub struct Trace {
    limits: Limits,
    /// In the order in which they began.
    pub vertices: Vec<Told>,
    /// The numbers that the builder has for them.
    numbers: Vec<Vertex>,
    /// What is not about a vertex.
    pub warnings: Vec<String>,
    events: Option<VecDeque<Kept>>,
}

impl Trace {
    pub fn new(limits: Limits) -> Trace {
        Trace {
            limits,
            vertices: Vec::new(),
            numbers: Vec::new(),
            warnings: Vec::new(),
            events: None,
        }
    }

    /// Whether events are kept until they are taken.
    pub fn keep_events(&mut self, yes: bool) {
        self.events = yes.then(VecDeque::new);
    }

    /// The events since the last call.
    pub fn take_events(&mut self) -> VecDeque<Kept> {
        self.events.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many have ended.
    pub fn ended(&self) -> usize {
        self.vertices.iter().filter(|v| v.ended.is_some()).count()
    }

    /// Takes an event in.
    pub fn tell(&mut self, event: &Event<'_>, at: Duration) {
        let (vertex, end) = match event {
            Event::Begun { vertex, name } => return self.begin(*vertex, name, at),
            Event::Warning { text } => {
                self.warnings.push((*text).to_owned());
                return self.keep(|| Kept::Warning((*text).to_owned()));
            }
            Event::Output {
                vertex,
                stream,
                bytes,
            } => return self.output(*vertex, *stream, bytes, at),
            Event::Progress {
                vertex,
                id,
                done,
                total,
            } => return self.part(*vertex, id, *done, *total, at),
            Event::Cached { vertex } => (vertex, End::Cached),
            Event::Done { vertex } => (vertex, End::Done),
            Event::Failed { vertex, why } => (vertex, End::Failed((*why).to_owned())),
            Event::Cancelled { vertex } => (vertex, End::Cancelled),
        };
        self.end(*vertex, end, at);
    }

    fn keep(&mut self, event: impl FnOnce() -> Kept) {
        if let Some(events) = &mut self.events {
            events.push_back(event());
        }
    }

    fn find(&self, vertex: Vertex) -> Option<usize> {
        // The one that is spoken of is mostly one of the last.
        self.numbers.iter().rposition(|n| *n == vertex)
    }

    fn begin(&mut self, vertex: Vertex, name: &str, at: Duration) {
        if self.find(vertex).is_some() {
            return;
        }
        self.numbers.push(vertex);
        self.vertices.push(Told {
            name: name.replace(['\n', '\t'], " "),
            begun: at,
            ended: None,
            parts: Vec::new(),
            lines: Vec::new(),
            taken: 0,
            partial: None,
            size: 0,
            is_clipping: false,
            is_news: true,
            count: 1,
            waiting_since: Some(at),
        });
        let index = self.vertices.len() - 1;
        self.keep(|| Kept::Begun(index));
    }

    fn part(&mut self, vertex: Vertex, id: &str, done: u64, total: u64, at: Duration) {
        let Some(index) = self.find(vertex) else {
            return;
        };
        let Some(told) = self.vertices.get_mut(index) else {
            return;
        };
        let found = match told.parts.iter().position(|p| p.id == id) {
            Some(found) => found,
            None => {
                told.parts.push(Part {
                    id: id.to_owned(),
                    done,
                    total,
                    begun: at,
                    told: at,
                    ended: None,
                    is_news: true,
                });
                told.parts.len() - 1
            }
        };
        told.news(at);
        if let Some(part) = told.parts.get_mut(found) {
            (part.done, part.total, part.told, part.is_news) = (done, total, at, true);
            part.ended = (total > 0 && done >= total).then_some(part.ended.unwrap_or(at));
            let part = part.clone();
            self.keep(|| Kept::Part(index, part));
        }
    }

    fn end(&mut self, vertex: Vertex, end: End, at: Duration) {
        let Some(index) = self.find(vertex) else {
            return;
        };
        let Some(told) = self.vertices.get_mut(index) else {
            return;
        };
        if told.ended.is_some() {
            return;
        }
        told.flush();
        let mut ended = Vec::new();
        for part in told.parts.iter_mut().filter(|part| part.ended.is_none()) {
            part.ended = Some(at);
            part.is_news = true;
            ended.push(part.clone());
        }
        told.ended = Some((at, end));
        told.news(at);
        for part in ended {
            self.keep(|| Kept::Part(index, part));
        }
        self.keep(|| Kept::Ended(index));
    }

    fn output(&mut self, vertex: Vertex, stream: Stream, bytes: &[u8], at: Duration) {
        let Some(index) = self.find(vertex) else {
            return;
        };
        let limits = self.limits;
        let Some(told) = self.vertices.get_mut(index) else {
            return;
        };
        let since = at.saturating_sub(told.begun);
        let (bytes, message) = told.clip(bytes, since, limits);
        if bytes.is_empty() && message.is_empty() {
            return;
        }
        told.news(at);
        told.write(bytes, since);
        told.write(message.as_bytes(), since);
        if self.events.is_some() {
            let bytes = [bytes, message.as_bytes()].concat();
            self.keep(|| Kept::Output {
                index,
                stream,
                bytes,
                at,
            });
        }
    }
}

impl Told {
    fn news(&mut self, at: Duration) {
        self.is_news = true;
        self.count += 1;
        self.waiting_since.get_or_insert(at);
    }

    /// How much of what comes is kept, and what is said instead of the rest.
    fn clip<'b>(&mut self, bytes: &'b [u8], since: Duration, limits: Limits) -> (&'b [u8], String) {
        let by_size = limits.size.unwrap_or(u64::MAX);
        // The first second is one that has begun.
        let by_speed = limits
            .speed
            .map_or(u64::MAX, |speed| speed.saturating_mul(since.as_secs() + 1));
        let left = by_size.min(by_speed).saturating_sub(self.size);
        let fits = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (kept, rest) = bytes.split_at(fits);
        self.size = self.size.saturating_add(kept.len() as u64);
        if rest.is_empty() {
            self.is_clipping = false;
            return (kept, String::new());
        }
        if std::mem::replace(&mut self.is_clipping, true) {
            return (kept, String::new());
        }
        let message = if by_size <= by_speed {
            format!("log limit {}", binary(by_size))
        } else {
            format!("log speed {}/s", binary(limits.speed.unwrap_or_default()))
        };
        (kept, format!("\n[output clipped, {message} reached]\n"))
    }

    /// Puts lines together.
    fn write(&mut self, bytes: &[u8], since: Duration) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let partial = self.partial.get_or_insert_with(|| Line {
                at: since,
                bytes: Vec::new(),
            });
            partial
                .bytes
                .extend_from_slice(piece.strip_suffix(b"\n").unwrap_or(piece));
            if piece.ends_with(b"\n") || partial.bytes.len() >= LONGEST_LINE {
                self.flush();
            }
        }
    }

    /// The end of the vertex ends its last line, too.
    fn flush(&mut self) {
        self.lines.extend(self.partial.take());
    }

    /// How long it has gone on.
    pub fn took(&self, now: Duration) -> Duration {
        let end = self.ended.as_ref().map_or(now, |(at, _)| *at);
        end.saturating_sub(self.begun)
    }
}

/// `2MiB`: no digit behind the point where there is none to say.
fn binary(bytes: u64) -> String {
    crate::units::binary(bytes)
}

/// Seconds with as many digits as fit: `0.123`, `12.34`, `123.4`.
pub fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let digits = match seconds {
        ..10.0 => 3,
        ..100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.digits$}")
}

/// `1.23MB`, `31B`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if n < 1000 {
        return format!("{n}B");
    }
    let mut size = n as f64 / 1000.0;
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.2}{}", UNITS[unit])
}

/// ` 1.20MB / 3.40MB` or what there is of it.
pub fn amount(part: &Part) -> String {
    match (part.done, part.total) {
        // A part of one is a thing that is done, and no bytes.
        (0, 0) | (_, 1) => String::new(),
        (done, 0) => bytes(done),
        (done, total) => format!("{} / {}", bytes(done), bytes(total)),
    }
}
