//! Progress as BuildKit's SolveStatus, a JSON object on each line, for programs that show it themselves.
//!
//! May not: leave anything out. A vertex has no digest here, so it gets one that is its own in this build.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use builder::telling::Stream;
use image::Digest;
use serde::Serialize;

use super::trace::{End, Kept, Part, Told, Trace};

/// What begins each object.
pub struct Rawjson {
    begun: SystemTime,
}

#[derive(Default, Serialize)]
struct Status<'s> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    vertexes: Vec<Vertex<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<PartStatus<'s>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<Log>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Vertex<'s> {
    digest: String,
    name: &'s str,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cached: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'s str,
}

#[derive(Serialize)]
struct PartStatus<'s> {
    id: &'s str,
    vertex: String,
    #[serde(skip_serializing_if = "is_zero")]
    total: u64,
    current: u64,
    timestamp: String,
    started: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<String>,
}

#[derive(Serialize)]
struct Log {
    vertex: String,
    stream: u8,
    /// Base64, as Go writes bytes.
    data: String,
    timestamp: String,
}

#[derive(Serialize)]
struct Warning {
    level: u8,
    /// Base64, too.
    short: String,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Rawjson {
    pub fn new(begun: SystemTime) -> Rawjson {
        Rawjson { begun }
    }

    /// The objects of what has happened since the last call.
    pub fn lines(&mut self, trace: &mut Trace) -> Vec<u8> {
        let mut out = Vec::new();
        for event in trace.take_events() {
            let status = match &event {
                Kept::Begun(index) => self.vertices(trace, *index, false),
                Kept::Ended(index) => self.vertices(trace, *index, true),
                Kept::Part(index, part) => Status {
                    statuses: vec![self.part(*index, part)],
                    ..Status::default()
                },
                Kept::Output {
                    index,
                    stream,
                    bytes,
                    at,
                } => Status {
                    logs: vec![Log {
                        vertex: digest(*index),
                        stream: match stream {
                            Stream::Stdout => 1,
                            Stream::Stderr => 2,
                        },
                        data: BASE64_STANDARD.encode(bytes),
                        timestamp: self.time(*at),
                    }],
                    ..Status::default()
                },
                Kept::Warning(text) => Status {
                    warnings: vec![Warning {
                        level: 1,
                        short: BASE64_STANDARD.encode(text),
                    }],
                    ..Status::default()
                },
            };
            // These have no maps with odd keys and no failing Serialize.
            if let Ok(line) = serde_json::to_vec(&status) {
                out.extend_from_slice(&line);
                out.push(b'\n');
            }
        }
        out
    }

    /// A vertex as it was then.
    fn vertices<'t>(&self, trace: &'t Trace, index: usize, has_ended: bool) -> Status<'t> {
        let vertex = trace
            .vertices
            .get(index)
            .map(|told| self.vertex(index, told, has_ended));
        Status {
            vertexes: vertex.into_iter().collect(),
            ..Status::default()
        }
    }

    fn vertex<'t>(&self, index: usize, told: &'t Told, has_ended: bool) -> Vertex<'t> {
        let end = told.ended.as_ref().filter(|_| has_ended);
        Vertex {
            digest: digest(index),
            name: &told.name,
            started: self.time(told.begun),
            completed: end.map(|(at, _)| self.time(*at)),
            cached: matches!(end, Some((_, End::Cached))),
            error: match end {
                Some((_, End::Failed(why))) => why,
                Some((_, End::Cancelled)) => "context canceled",
                _ => "",
            },
        }
    }

    fn part<'p>(&self, index: usize, part: &'p Part) -> PartStatus<'p> {
        PartStatus {
            id: &part.id,
            vertex: digest(index),
            total: part.total,
            current: part.done,
            timestamp: self.time(part.told),
            started: self.time(part.begun),
            completed: part.ended.map(|at| self.time(at)),
        }
    }

    fn time(&self, at: Duration) -> String {
        sys::time::rfc3339_nano(self.begun + at)
    }
}

fn digest(index: usize) -> String {
    Digest::of(format!("brig vertex {index}").as_bytes()).to_string()
}
