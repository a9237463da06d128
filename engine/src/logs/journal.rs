//! What a container has written to systemd's journal, read by journalctl(1).
//!
//! May not: link a library for it. Where there is no journalctl, nothing can be read.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use image::{Context, Error, Result};
use monitor::launch::Log;
use monitor::log::Stream;
use monitor::log::form::Record;
use monitor::log::lines::Query;
use serde_json::Value;

/// Waits until what was sent to the journal is in it; only root may ask for that. False where there is no journalctl.
pub(super) fn sync() -> bool {
    let asked = Command::new("journalctl")
        .arg("--sync")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok()
}

/// One container's lines.
pub(super) struct Journal<'q> {
    id: String,
    query: &'q Query,
    attributes: Vec<u8>,
    /// Of the last line that was read.
    cursor: Option<String>,
}

/// What the driver adds by itself; the rest is what a user wanted with each line.
const OWN: [&str; 6] = [
    "CONTAINER_ID",
    "CONTAINER_ID_FULL",
    "CONTAINER_NAME",
    "CONTAINER_TAG",
    "IMAGE_NAME",
    "SYSLOG_IDENTIFIER",
];

impl<'q> Journal<'q> {
    /// Of the container with this id. `None` where there is no journalctl.
    pub fn of(id: &str, log: &Log, query: &'q Query) -> Option<Journal<'q>> {
        if !sync() {
            return None;
        }
        let wanted: serde_json::Map<String, Value> = log
            .attributes
            .iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        Some(Journal {
            id: id.to_owned(),
            query,
            attributes: match wanted.is_empty() {
                true => Vec::new(),
                false => Value::from(wanted).to_string().into_bytes(),
            },
            cursor: None,
        })
    }

    fn command(&self, output: &str) -> Command {
        let mut command = Command::new("journalctl");
        command
            .args(["--quiet", "--no-pager", "--all", "--output", output])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// All lines that there are since the last time.
    pub fn read<E: From<Error>>(
        &mut self,
        mut each: impl FnMut(Record<'_>) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut command = self.command("json");
        let moment = |nanos: i64| format!("@{}.{:06}", nanos / 1_000_000_000, nanos % 1_000_000_000 / 1000);
        let from = match (&self.cursor, self.query.since) {
            (Some(cursor), _) => Some(format!("--after-cursor={cursor}")),
            (None, Some(since)) => Some(format!("--since={}", moment(since))),
            (None, None) => None,
        };
        command.args(from);
        if let Some(until) = self.query.until {
            command.arg(format!("--until={}", moment(until)));
        }
        if let (None, Some(tail)) = (&self.cursor, self.query.tail) {
            command.arg(format!("--lines={tail}"));
        }
        let failed = "failed to read the journal";
        let mut child = command
            .arg(format!("CONTAINER_ID_FULL={}", self.id))
            .spawn()
            .context(failed)?;
        let mut read = || -> std::result::Result<(), E> {
            let Some(output) = child.stdout.take() else {
                return Ok(());
            };
            for line in BufReader::new(output).split(b'\n') {
                let line = line.context(failed)?;
                let Ok(entry) = serde_json::from_slice::<Value>(&line) else {
                    continue;
                };
                if let Some(cursor) = entry["__CURSOR"].as_str() {
                    self.cursor = Some(cursor.to_owned());
                }
                if let Some((stream, time, text)) = parts(&entry) {
                    each(Record {
                        stream,
                        time,
                        text: &text,
                        attributes: &self.attributes,
                    })?;
                }
            }
            Ok(())
        };
        let done = read();
        let ended = end(&mut child, done.is_ok());
        done?;
        Ok(ended.context(failed)?)
    }

    /// A process whose output has something to read whenever there is more.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn waker(&self) -> Result<Waker> {
        let mut child = self
            .command("cat")
            .args(["--follow", "--lines=0"])
            .arg(format!("CONTAINER_ID_FULL={}", self.id))
            .stderr(Stdio::null())
            .spawn()
            .context("failed to follow the journal")?;
        let output = child.stdout.take();
        Ok(Waker { child, output })
    }
}

/// Ends with this value.
pub(super) struct Waker {
    child: Child,
    pub output: Option<std::process::ChildStdout>,
}

impl Waker {
    /// Forgets what has come: it is read anew, with everything that belongs to it. Called when there is something.
    pub fn hear(&mut self) {
        let mut buffer = [0; 64 << 10];
        // It has ended when nothing comes any more; then nobody wakes us but the container's end.
        if !matches!(self.output.as_mut().map(|o| o.read(&mut buffer)), Some(Ok(1..))) {
            self.output = None;
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for it, whose output has been read to its end; one that nobody reads to its end is killed.
fn end(child: &mut Child, is_read: bool) -> Result<()> {
    if !is_read {
        let _ = child.kill();
    }
    let mut complaint = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        // Half of a sentence is better than none.
        let _ = stderr.read_to_string(&mut complaint);
    }
    let status = child.wait()?;
    match status.success() || !is_read {
        true => Ok(()),
        false => Err(Error::new(match complaint.trim() {
            "" => format!("journalctl: {status}"),
            complaint => complaint.to_owned(),
        })),
    }
}

/// Stream, time and text of an entry as `--output=json` has it: what is no UTF-8 is an array of bytes.
fn parts(entry: &Value) -> Option<(Stream, i64, Vec<u8>)> {
    let mut text = match &entry["MESSAGE"] {
        Value::String(text) => text.clone().into_bytes(),
        Value::Array(bytes) => bytes
            .iter()
            .filter_map(|byte| u8::try_from(byte.as_u64()?).ok())
            .collect(),
        _ => return None,
    };
    if entry["CONTAINER_PARTIAL_MESSAGE"] != "true" {
        text.push(b'\n');
    }
    let stream = match entry["PRIORITY"].as_str() {
        Some("3") => Stream::Stderr,
        _ => Stream::Stdout,
    };
    let micros: i64 = entry["__REALTIME_TIMESTAMP"].as_str()?.parse().ok()?;
    Some((stream, micros.checked_mul(1000)?, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entry_is_a_line_of_a_stream() {
        let of = |text: &str| parts(&serde_json::from_str(text).unwrap());
        let time = r#""__REALTIME_TIMESTAMP":"1795853062979741""#;
        assert_eq!(
            of(&format!(r#"{{"MESSAGE":"said","PRIORITY":"6",{time}}}"#)),
            Some((Stream::Stdout, 1_795_853_062_979_741_000, b"said\n".to_vec()))
        );
        assert_eq!(
            of(&format!(
                r#"{{"MESSAGE":[255,10,97],"PRIORITY":"3","CONTAINER_PARTIAL_MESSAGE":"true",{time}}}"#
            )),
            Some((Stream::Stderr, 1_795_853_062_979_741_000, b"\xff\na".to_vec()))
        );
        assert_eq!(of(&format!(r#"{{"MESSAGE":null,{time}}}"#)), None);
    }
}
