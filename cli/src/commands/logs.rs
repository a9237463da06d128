//! `logs`.

use std::io::{BufWriter, StderrLock, StdoutLock, Write};
use std::time::SystemTime;

use engine::containers::Containers;
use engine::logs::{self, Told};
use engine::moment;
use monitor::log::Stream;
use monitor::log::form::Record;
use monitor::log::lines::Query;
use monitor::log::stamp::{self, Fraction};

use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::workshop;

pub(super) const LOGS: Command = Command {
    about: "What a container has written to stdout and stderr goes there. TIME is RFC 3339, seconds since 1970, or how long ago: 10m.\n\nBy default the last 100 MiB are kept, in five files, older ones compressed. --log-opt max-size and max-file of run say otherwise; max-size=-1 keeps everything.",
    usage: "[OPTIONS] CONTAINER",
    ways: &["container logs", "logs"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new(
            "details",
            Takes::Switch(false),
            "Show labels, variables and the tag that were logged, too",
        ),
        Flag::new("follow", Takes::Switch(false), "Go on until the container ends").short('f'),
        Flag::new(
            "since",
            Takes::Text,
            "Only what was written at this time or later",
        ),
        Flag::new("tail", Takes::Text, "Only the last lines, so many")
            .short('n')
            .default("all"),
        Flag::new(
            "timestamps",
            Takes::Switch(false),
            "Show when each line was written",
        )
        .short('t'),
        Flag::new("until", Takes::Text, "Only what was written until this time"),
    ],
    examples: &["{name} logs -f --tail 20 web", "{name} logs --since 10m -t web"],
    offers: Offers::Containers,
    ..Command::new("logs", "Show what a container has written", run)
};

fn run(session: &Session, parsed: &Parsed) -> Outcome {
    let query = query(parsed)?;
    let containers = Containers::of(&workshop::roots(session)?)?;
    let container = containers.find(&parsed.operand(0).unwrap_or_default())?;
    let mut output = Output {
        out: BufWriter::with_capacity(BUFFER, std::io::stdout().lock()),
        err: BufWriter::with_capacity(BUFFER, std::io::stderr().lock()),
        last: Stream::Stdout,
        begun: [None; 2],
        has_times: parsed.switch("timestamps"),
        has_details: parsed.switch("details"),
        prefix: Vec::new(),
    };
    logs::read(&containers, &container, query, |told| match told {
        Told::Record(record) => Ok(output.write(&record)?),
        Told::Pause => Ok::<(), Failure>(output.flush()?),
    })
}

fn query(parsed: &Parsed) -> Result<Query, Failure> {
    let now = stamp::nanos(SystemTime::now());
    Ok(Query {
        since: time(parsed, "since", now)?,
        until: time(parsed, "until", now)?,
        // As in Docker, whatever is no number means all.
        tail: parsed.text("tail").and_then(|text| text.parse().ok()),
        follow: parsed.switch("follow"),
        is_unordered: false,
    })
}

/// `--since`, `--until`.
pub(super) fn time(parsed: &Parsed, flag: &'static str, now: i64) -> Result<Option<i64>, Failure> {
    let Some(text) = parsed.text(flag).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    moment::parse(&text, now)
        .map(Some)
        .map_err(|e| Failure::plain(format!("invalid value for \"{flag}\": {e}")))
}

const BUFFER: usize = 64 << 10;

/// Both streams, in the order in which their lines were written.
struct Output {
    out: BufWriter<StdoutLock<'static>>,
    err: BufWriter<StderrLock<'static>>,
    last: Stream,
    /// A long line is logged in pieces that have the same time. The time is shown once.
    begun: [Option<i64>; 2],
    has_times: bool,
    has_details: bool,
    prefix: Vec<u8>,
}

impl Output {
    fn write(&mut self, record: &Record<'_>) -> std::io::Result<()> {
        if self.last != record.stream {
            // They may lead to the same terminal.
            self.flush()?;
            self.last = record.stream;
        }
        self.prefix.clear();
        let begun = &mut self.begun[record.stream as usize];
        let goes_on = *begun == Some(record.time);
        *begun = (!record.text.ends_with(b"\n")).then_some(record.time);
        if !goes_on {
            if self.has_times {
                stamp::put(&mut self.prefix, record.time, Fraction::Nine);
                self.prefix.push(b' ');
            }
            if self.has_details {
                details(&mut self.prefix, record.attributes);
                self.prefix.push(b' ');
            }
        }
        let to: &mut dyn Write = match record.stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        to.write_all(&self.prefix)?;
        to.write_all(record.text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}

/// `name=value,name=value`, as in a query of a URL.
fn details(out: &mut Vec<u8>, attributes: &[u8]) {
    let all: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(attributes).unwrap_or_default();
    for (index, (name, value)) in all.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        escape(out, name);
        out.push(b'=');
        escape(out, value);
    }
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_escaped() {
        let mut out = Vec::new();
        details(&mut out, br#"{"b":"x y","a.b":"1/2,\u00e9"}"#);
        assert_eq!(out, b"a.b=1%2F2%2C%C3%A9,b=x+y");
        out.clear();
        details(&mut out, b"");
        assert_eq!(out, b"");
    }
}
