//! Events: what happened to whom, one line of JSON each, in a file that many append to and many read.
//!
//! May not: fail what it tells of, or wait. An event that cannot be written is the caller's to count.
//!
//! A line is one write(2) to a file that is open for appending, so lines of different writers do not mix and a killed writer leaves
//! all of its line or nothing. A full disk can cut one; the next writer begins a new line. Whoever finds the file large moves it
//! aside, alone: writers have it locked together, whoever moves it has it for itself. Nobody waits for a lock.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use network::attachment::Attachment;
use serde::{Deserialize, Serialize};
use shim::error::{Context, Error, Result};

use crate::log::files::numbered;
use crate::log::stamp;

/// A file this large is moved aside.
const SIZE: u64 = 4 << 20;
/// With the one that is written to.
const FILES: usize = 5;

/// One of them, as `docker events` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `network` or `volume`.
    pub kind: String,
    /// `start`, `die`, `health_status: healthy`, `exec_start: sh -c true`.
    pub action: String,
    /// Of whom: the full id, or a name.
    pub id: String,
    /// `image`, `name`, `exitCode`, `signal` and the labels.
    pub attributes: BTreeMap<String, String>,
    pub time: SystemTime,
}

/// The order is that of Docker's JSON; `status`, `id` and `from` are what older programs look for.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    from: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "Action")]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
    scope: String,
    time: i64,
    #[serde(rename = "timeNano")]
    nanos: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    attributes: BTreeMap<String, String>,
}

impl Event {
    /// Of a container, now.
    pub fn of_container(action: impl Into<String>, id: &str, attributes: BTreeMap<String, String>) -> Event {
        Event::now("container", action, id, attributes)
    }

    /// Of all networks of a container, now: `connect`, `disconnect`.
    pub fn of_networks(action: &str, attachment: &Attachment) -> Vec<Event> {
        let of = |network: &network::attachment::Network| {
            let attributes = [
                ("container", attachment.container.as_str()),
                ("name", &network.name),
                ("type", network.kind.driver()),
            ];
            let attributes = attributes.map(|(k, v)| (k.to_owned(), v.to_owned()));
            Event::now("network", action, &network.id, attributes.into())
        };
        attachment.endpoints.iter().map(|e| of(&e.network)).collect()
    }

    /// Of anything, now.
    pub fn now(
        kind: &str,
        action: impl Into<String>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) -> Event {
        Event {
            kind: kind.into(),
            action: action.into(),
            id: id.into(),
            attributes,
            time: SystemTime::now(),
        }
    }

    /// One line without its newline.
    pub fn json(&self) -> String {
        let nanos = stamp::nanos(self.time);
        let is_old_kind = matches!(self.kind.as_str(), "container" | "image");
        let old = |text: &str| {
            if is_old_kind {
                text.to_owned()
            } else {
                String::new()
            }
        };
        let from = match self.kind.as_str() {
            "container" => self.attributes.get("image").cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let line = Line {
            status: old(&self.action),
            id: old(&self.id),
            from,
            kind: self.kind.clone(),
            action: self.action.clone(),
            actor: Actor {
                id: self.id.clone(),
                attributes: self.attributes.clone(),
            },
            scope: "local".into(),
            time: nanos / 1_000_000_000,
            nanos,
        };
        // It has texts and numbers only, which cannot fail.
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// What a line says; `None` if it is torn.
    pub fn parse(line: &[u8]) -> Option<Event> {
        let line: Line = serde_json::from_slice(line).ok()?;
        Some(Event {
            kind: line.kind,
            action: line.action,
            id: line.actor.id,
            attributes: line.actor.attributes,
            time: UNIX_EPOCH + Duration::from_nanos(u64::try_from(line.nanos).ok()?),
        })
    }
}

/// The time of a line, quickly: it is the last thing in it.
pub fn time_of(line: &[u8]) -> Option<i64> {
    let line = line.strip_suffix(b"}")?;
    let digits = line.iter().rev().take_while(|c| c.is_ascii_digit()).count();
    let (before, digits) = line.split_at(line.len() - digits);
    if !line.starts_with(b"{") || !before.ends_with(b"\"timeNano\":") {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The file that is written to; older ones are beside it.
pub fn file(dir: &Path) -> PathBuf {
    dir.join("events.jsonl")
}

/// Tells of it to whoever reads in `dir`, `ROOT/events`.
///
/// # Errors
/// The file cannot be written.
pub fn append(dir: &Path, event: &Event) -> Result<()> {
    let doing = || format!("failed to tell of {} {}", event.kind, event.action);
    let mut line = event.json();
    line.push('\n');
    append_line(dir, line.as_bytes())
        .map_err(|e| Error::new(e.to_string()))
        .context(doing())
}

fn append_line(dir: &Path, line: &[u8]) -> io::Result<()> {
    const ATTEMPTS: u32 = 20;
    let path = file(dir);
    let mut may_rotate = true;
    for attempt in 1.. {
        let mut to = open(dir, &path)?;
        // The last resort writes without: the line may then be the last of a file that has been moved.
        let is_last = attempt >= ATTEMPTS;
        let is_locked = sys::fs::flock(to.as_fd(), libc::LOCK_SH | libc::LOCK_NB).is_ok();
        let is_ours = is_locked && is_still(&path, &to);
        if !is_ours && !is_last {
            std::thread::yield_now();
            continue;
        }
        let size = to.metadata()?.len();
        if size >= SIZE && may_rotate {
            may_rotate = false;
            rotate(&path, &to)?;
            continue;
        }
        let mut last = [b'\n'];
        if size > 0 && to.read_at(&mut last, size - 1)? == 1 && last != [b'\n'] {
            to.write_all(&[b"\n", line].concat())?;
        } else {
            to.write_all(line)?;
        }
        break;
    }
    Ok(())
}

fn open(dir: &Path, path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
    };
    match open() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            open()
        }
        other => other,
    }
}

fn is_still(path: &Path, file: &File) -> bool {
    let same = || Some(fs::metadata(path).ok()?.ino() == file.metadata().ok()?.ino());
    same().unwrap_or(false)
}

/// Moves the files up, if nobody else is at it or writing.
fn rotate(path: &Path, file: &File) -> io::Result<()> {
    if sys::fs::flock(file.as_fd(), libc::LOCK_EX | libc::LOCK_NB).is_err() || !is_still(path, file) {
        return Ok(());
    }
    for index in (0..FILES - 1).rev() {
        match fs::rename(numbered(path, index, false), numbered(path, index + 1, false)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::log::lines::{Lines, Query};
    use crate::log::tests::Dir;

    fn event(action: &str) -> Event {
        let attributes = [("image", "nginx:1.18"), ("name", "web<1>"), ("exitCode", "0")];
        Event {
            kind: "container".into(),
            action: action.into(),
            id: "0123".into(),
            attributes: attributes.map(|(k, v)| (k.into(), v.into())).into(),
            time: UNIX_EPOCH + Duration::new(1_795_837_674, 123),
        }
    }

    #[test]
    fn json_is_dockers() {
        let json = event("die").json();
        assert_eq!(
            json,
            "{\"status\":\"die\",\"id\":\"0123\",\"from\":\"nginx:1.18\",\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":\"0123\",\"Attributes\":{\"exitCode\":\"0\",\"image\":\"nginx:1.18\",\"name\":\"web<1>\"}},\"scope\":\"local\",\"time\":1795837674,\"timeNano\":1795837674000000123}"
        );
        assert_eq!(Event::parse(json.as_bytes()), Some(event("die")));
        assert_eq!(time_of(json.as_bytes()), Some(1_795_837_674_000_000_123));
        let mut volume = event("mount");
        volume.kind = "volume".into();
        let json = volume.json();
        assert!(
            json.starts_with("{\"Type\":\"volume\",\"Action\":\"mount\",\"Actor\""),
            "{json}"
        );
        assert_eq!(Event::parse(json.as_bytes()), Some(volume));
        for end in 0..json.len() {
            assert_eq!(time_of(&json.as_bytes()[..end]), None);
            assert_eq!(Event::parse(&json.as_bytes()[..end]), None);
        }
    }

    fn read(dir: &Path) -> Vec<Event> {
        let mut lines = Lines::open(&file(dir), time_of, Query::default()).unwrap();
        let mut all = Vec::new();
        while lines.advance().unwrap() {
            all.push(Event::parse(lines.line()).unwrap());
        }
        all
    }

    /// Threads are as good as processes here: each opens and locks the file for itself.
    #[test]
    fn many_writers_lose_nothing_while_the_file_is_moved() {
        const EACH: usize = 400;
        let dir = Dir::new();
        let events = dir.path().join("events");
        let query = Query {
            follow: true,
            is_unordered: true,
            ..Query::default()
        };
        append(&events, &event("first")).unwrap();
        let mut lines = Lines::open(&file(&events), time_of, query).unwrap();
        let mut seen = 0;
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|n| {
                    let events = &events;
                    scope.spawn(move || {
                        for i in 0..EACH {
                            let mut event = event(&format!("{n}.{i}"));
                            // 5 MB in all: the file is moved at least once.
                            event.attributes.insert("label".into(), "x".repeat(1500));
                            append(events, &event).unwrap();
                        }
                    })
                })
                .collect();
            while !writers.iter().all(|w| w.is_finished()) {
                while lines.advance().unwrap() {
                    seen += 1;
                }
            }
        });
        while lines.advance().unwrap() {
            seen += 1;
        }
        assert_eq!(seen, 8 * EACH + 1);
        let all = read(&events);
        assert_eq!(all.len(), 8 * EACH + 1);
        // Of each writer all, in its order.
        for n in 0..8 {
            let own = all.iter().filter(|e| e.action.starts_with(&format!("{n}.")));
            assert!(
                own.map(|e| e.action.clone())
                    .eq((0..EACH).map(|i| format!("{n}.{i}")))
            );
        }
        assert!(numbered(&file(&events), 1, false).exists());
    }

    #[test]
    fn a_cut_line_costs_itself_only() {
        let dir = Dir::new();
        append(dir.path(), &event("one")).unwrap();
        let mut bytes = fs::read(file(dir.path())).unwrap();
        bytes.extend_from_slice(b"{\"status\":\"to");
        fs::write(file(dir.path()), &bytes).unwrap();
        append(dir.path(), &event("two")).unwrap();
        let actions: Vec<String> = read(dir.path()).into_iter().map(|e| e.action).collect();
        assert_eq!(actions, ["one", "two"]);
    }
}
