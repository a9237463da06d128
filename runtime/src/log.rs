//! Where messages go: `--log FILE` or stderr, as text or JSON.
//!
//! May not: be reached by code that returns its error instead. A failed invocation writes exactly one error record, as
//! its last act; engines decode the whole file and take that record's `msg`, so nothing else lands in a log file
//! unless `--debug` asks for it. Warnings go to stderr when no log file is named; with one they need `--debug`, because
//! the stderr of `create` is often the container's own.

use crate::cli::json;
use crate::error::Result;
use crate::time;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

/// How a record is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `time="..." level=error msg="..."`.
    #[default]
    Text,
    /// `{"level":"error","msg":"...","time":"..."}`.
    Json,
}

/// How grave a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Only with `--debug`.
    Debug,
    /// Something was not done as asked, but the verb goes on.
    Warning,
    /// The verb failed. One per invocation.
    Error,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// How much is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// Errors, and warnings where they disturb nobody.
    #[default]
    Normal,
    /// Everything.
    Debug,
}

/// The log of one invocation.
#[derive(Debug, Default)]
pub struct Log {
    file: Option<File>,
    format: Format,
    detail: Detail,
}

impl Log {
    /// Opens the file for appending, creating it with mode 0644; without a file the log is stderr.
    ///
    /// # Errors
    /// `open PATH: reason`.
    pub fn open(file: Option<&Path>, format: Format, detail: Detail) -> Result<Log> {
        let file = match file {
            None => None,
            Some(path) => Some(
                OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o644)
                    // Non-blocking: a FIFO that nobody reads, or nobody empties, must not hold us.
                    .custom_flags(libc::O_SYNC | libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
                    .open(path)
                    .map_err(|e| sys::Error::io("open", path.to_string_lossy(), &e))?,
            ),
        };
        Ok(Log { file, format, detail })
    }

    /// Something that only somebody who searches wants to know. The text is only built when it is written.
    pub fn debug(&self, text: impl FnOnce() -> String) {
        if self.detail == Detail::Debug {
            self.write(Level::Debug, &text());
        }
    }

    /// Something that was not done as asked. See the module for where it goes.
    pub fn warn(&self, text: &str) {
        if self.file.is_none() || self.detail == Detail::Debug {
            self.write(Level::Warning, text);
        }
    }

    /// The end of a failed invocation: the one error record, and the sentence on stderr if that is not the log.
    pub fn fail(self, text: &str) {
        self.write(Level::Error, text);
        if self.file.is_some() {
            to_stderr(format!("{text}\n").as_bytes());
        }
    }

    fn write(&self, level: Level, text: &str) {
        let now = SystemTime::now();
        match &self.file {
            Some(file) => {
                // One write(2), so that records of invocations at once do not mix. A full disk must not hide the error.
                if (&mut &*file)
                    .write_all(record(self.format, level, text, now).as_bytes())
                    .is_err()
                    && level == Level::Error
                {
                    to_stderr(b"the log cannot be written\n");
                }
            }
            None if self.format == Format::Text && io::stderr().is_terminal() => {
                to_stderr(for_people(level, text).as_bytes())
            }
            None => to_stderr(record(self.format, level, text, now).as_bytes()),
        }
    }
}

/// A closed stderr leaves nobody to tell.
fn to_stderr(bytes: &[u8]) {
    let _ = io::stderr().write_all(bytes);
}

/// One record with its newline.
fn record(format: Format, level: Level, text: &str, at: SystemTime) -> String {
    let time = time::rfc3339(at);
    let level = level.word();
    match format {
        Format::Json => {
            let mut out = format!("{{\"level\":\"{level}\",\"msg\":");
            json::push_string(&mut out, text);
            out.push_str(&format!(",\"time\":\"{time}\"}}\n"));
            out
        }
        Format::Text => {
            let mut out = format!("time=\"{time}\" level={level} msg=");
            push_text_value(&mut out, text);
            out.push('\n');
            out
        }
    }
}

/// What a terminal shows.
fn for_people(level: Level, text: &str) -> String {
    let word = match level {
        Level::Debug => "\x1b[37mDEBU",
        Level::Warning => "\x1b[33mWARN",
        Level::Error => "\x1b[31mERRO",
    };
    format!("{word}\x1b[0m[0000] {text}\n")
}

/// Bare when it is a word, else quoted as Go's %q does.
fn push_text_value(out: &mut String, text: &str) {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if text.chars().all(plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' || c == '\x7f' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const AT: Duration = Duration::from_secs(1_795_231_230);

    #[test]
    fn text_records() {
        for (text, value) in [
            ("word", "word"),
            ("two words", "\"two words\""),
            ("a=b", "\"a=b\""),
            ("say \"x\"\n", r#""say \"x\"\n""#),
            ("tab\tbell\x07esc\x1bdel\x7f", r#""tab\tbell\aesc\x1bdel\x7f""#),
            ("grün", "\"grün\""),
            ("", ""),
        ] {
            let line = record(Format::Text, Level::Error, text, UNIX_EPOCH + AT);
            assert_eq!(
                line,
                format!("time=\"2026-11-21T03:20:30Z\" level=error msg={value}\n")
            );
        }
    }

    #[test]
    fn json_records() {
        let line = record(
            Format::Json,
            Level::Warning,
            "a \"b\" <c>\n\u{2028}",
            UNIX_EPOCH + AT,
        );
        assert_eq!(
            line,
            "{\"level\":\"warning\",\"msg\":\"a \\\"b\\\" \\u003cc\\u003e\\n\\u2028\",\"time\":\"2026-11-21T03:20:30Z\"}\n"
        );
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}
