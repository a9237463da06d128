//! What a container has written: which log it has, and reading it.
//!
//! May not: know what a line looks like in a file; that is `monitor::log`.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};

use image::{Context, Error, Kind, Result};
use monitor::launch::Log;
use monitor::log::form::{Form, Record};
use monitor::log::lines::{Lines, Query, TimeOf};
use monitor::log::watch::Watch;
use monitor::log::{self, Driver, stamp};
use monitor::place::Place;
use monitor::state::Status;

use crate::containers::{Container, Containers};
use crate::model::{Definition, LogConfig};
use crate::pattern::Pattern;

mod journal;
use journal::{Journal, Waker};

/// Whether a container may have this log.
///
/// # Errors
/// Docker's sentences.
pub fn check(config: &LogConfig) -> Result<()> {
    log::check(&config.kind, &config.config).map_err(|e| Error::invalid(e.to_string()))?;
    for name in ["labels-regex", "env-regex"] {
        if let Some(text) = config.config.get(name) {
            Pattern::parse(text)?;
        }
    }
    Ok(())
}

/// The log of a container: what its monitor writes, and what is read.
///
/// # Errors
/// An option makes no sense: the tag, a pattern.
pub fn log_of(definition: &Definition, place: &Place) -> Result<Log> {
    let config = &definition.host.log_config;
    let driver = driver(config)?;
    let mut attributes = selected(definition)?;
    let tag = config.config.get("tag").map_or("", String::as_str);
    match driver {
        Driver::Journald => {
            let tag = expand(if tag.is_empty() { "{{.ID}}" } else { tag }, definition)?;
            for (name, value) in [
                ("CONTAINER_ID", short(&definition.id)),
                ("CONTAINER_ID_FULL", definition.id.clone()),
                ("CONTAINER_NAME", definition.name.clone()),
                ("CONTAINER_TAG", tag.clone()),
                ("IMAGE_NAME", definition.config.image.clone()),
                ("SYSLOG_IDENTIFIER", tag),
            ] {
                attributes.insert(name.to_owned(), value);
            }
        }
        _ if !tag.is_empty() => {
            attributes.insert("tag".to_owned(), expand(tag, definition)?);
        }
        _ => {}
    }
    Ok(Log {
        driver: config.kind.clone(),
        path: match driver {
            Driver::Local => place.dir.join("local-logs/container.log"),
            _ => place.dir.join(format!("{}-json.log", definition.id)),
        },
        options: config.config.clone(),
        attributes,
    })
}

fn driver(config: &LogConfig) -> Result<Driver> {
    Driver::of(&config.kind).map_err(|e| Error::invalid(e.to_string()))
}

/// Labels and variables that go with each line: `labels`, `labels-regex`, `env`, `env-regex`.
fn selected(definition: &Definition) -> Result<BTreeMap<String, String>> {
    let options = &definition.host.log_config.config;
    let labels = definition.config.labels.clone();
    let pairs = definition.config.env.iter().filter_map(|e| e.split_once('='));
    let variables: BTreeMap<String, String> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let mut all = BTreeMap::new();
    for (option, from) in [("labels", &labels), ("env", &variables)] {
        for name in options.get(option).map_or("", String::as_str).split(',') {
            if let Some(value) = from.get(name) {
                all.insert(name.to_owned(), value.clone());
            }
        }
        let Some(pattern) = options.get(&format!("{option}-regex")).filter(|p| !p.is_empty()) else {
            continue;
        };
        let pattern = Pattern::parse(pattern)?;
        let found = from.iter().filter(|(name, _)| pattern.is_in(name));
        all.extend(found.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(all)
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// `tag`: `{{.Name}}/{{.ID}}`. Fields, not the whole language of templates.
fn expand(tag: &str, definition: &Definition) -> Result<String> {
    let failed = |what: &str| Error::invalid(format!("failed to parse log tag template {tag:?}: {what}"));
    let mut out = String::new();
    let mut rest = tag;
    while let Some((before, inner)) = rest.split_once("{{") {
        let (field, after) = inner.split_once("}}").ok_or_else(|| failed("unclosed action"))?;
        out.push_str(before);
        rest = after;
        out.push_str(&match field.trim() {
            ".ID" => short(&definition.id),
            ".FullID" | ".ContainerID" => definition.id.clone(),
            ".Name" => definition.name.clone(),
            ".ContainerName" => format!("/{}", definition.name),
            ".ImageID" => short(&definition.image),
            ".ImageFullID" | ".ContainerImageID" => definition.image.clone(),
            ".ImageName" | ".ContainerImageName" => definition.config.image.clone(),
            ".DaemonName" => "brig".to_owned(),
            ".Command" => [std::slice::from_ref(&definition.path), &definition.args]
                .concat()
                .join(" "),
            other => return Err(failed(&format!("{other} is not known"))),
        });
    }
    out.push_str(rest);
    Ok(out)
}

/// What a reader is told.
#[derive(Debug)]
pub enum Told<'a> {
    Record(Record<'a>),
    /// There is nothing more now: what was kept back can be shown.
    Pause,
}

/// Reads the log of a container. With [`Query::follow`] until the container ends: a monitor that starts it again goes on with the
/// same log.
///
/// # Errors
/// The driver's logs cannot be read; the file cannot be read; `each`'s.
pub fn read<E: From<Error>>(
    containers: &Containers,
    container: &Container,
    query: Query,
    mut each: impl FnMut(Told<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let place = containers.place(container.id());
    let log = log_of(&container.definition, &place)?;
    let (form, time): (Form, TimeOf) = match driver(&container.definition.host.log_config)? {
        Driver::JsonFile => (Form::Json, |line| Form::Json.time(line)),
        Driver::Local => (Form::Local, |line| Form::Local.time(line)),
        Driver::Journald => return read_journal(containers, container, &log, &query, each),
        Driver::None => return Err(not_readable().into()),
    };
    let mut follower = match query.follow {
        true => Follower::of(containers, &place, &log, query.until),
        false => None,
    };
    let query = Query {
        follow: follower.is_some(),
        ..query
    };
    let failed = || format!("failed to read the log {}", log.path.display());
    let mut lines = Lines::open(&log.path, time, query).context(failed())?;
    let mut buffer = Vec::new();
    loop {
        // Before the last look: what was written before the end is there then.
        let is_over = follower.as_mut().is_none_or(Follower::is_over);
        while lines.advance().context(failed())? {
            if let Some(record) = form.read(lines.line(), &mut buffer) {
                each(Told::Record(record))?;
            }
        }
        each(Told::Pause)?;
        match &follower {
            Some(follower) if !is_over => follower.wait()?,
            _ => return Ok(()),
        }
    }
}

fn not_readable() -> Error {
    Error::of(
        Kind::Unsupported,
        "configured logging driver does not support reading",
    )
}

/// The same from the journal, if this machine has a program that reads it.
fn read_journal<E: From<Error>>(
    containers: &Containers,
    container: &Container,
    log: &Log,
    query: &Query,
    mut each: impl FnMut(Told<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut journal = Journal::of(container.id(), log, query).ok_or_else(not_readable)?;
    let place = containers.place(container.id());
    let mut follower = match query.follow {
        true => Follower::of(containers, &place, log, query.until),
        false => None,
    };
    let mut waker = follower.as_ref().map(|_| journal.waker()).transpose()?;
    loop {
        let is_over = follower.as_mut().is_none_or(Follower::is_over);
        if is_over && follower.is_some() {
            // The monitor has sent everything; the journal may be at it yet.
            journal::sync();
        }
        journal.read(|record| each(Told::Record(record)))?;
        each(Told::Pause)?;
        match (&follower, &mut waker) {
            (Some(follower), Some(waker)) if !is_over => follower.wait_or(waker)?,
            _ => return Ok(()),
        }
    }
}

/// Waits for more, as long as the container lives.
struct Follower<'a> {
    containers: &'a Containers,
    place: &'a Place,
    watch: Watch,
    /// Readable when the monitor has gone, which writes nothing if it was killed.
    monitor: Option<OwnedFd>,
    until: Option<i64>,
}

impl<'a> Follower<'a> {
    /// None of a container that does not live: what it has written is all there is.
    fn of(
        containers: &'a Containers,
        place: &'a Place,
        log: &'a Log,
        until: Option<i64>,
    ) -> Option<Follower<'a>> {
        let mut dirs = vec![place.dir.as_path()];
        if let Some(dir) = log.path.parent()
            && dir != place.dir
        {
            // The monitor makes it with the first start; until then nothing is followed.
            dirs.push(dir);
        }
        let mut follower = Follower {
            containers,
            place,
            watch: Watch::of(&dirs),
            monitor: None,
            until,
        };
        (!follower.is_over()).then_some(follower)
    }

    fn is_over(&mut self) -> bool {
        if self
            .until
            .is_some_and(|until| stamp::nanos(SystemTime::now()) > until)
        {
            return true;
        }
        // A state that cannot be read is that of a container that was removed.
        let Ok(state) = self.containers.state(self.place) else {
            return true;
        };
        let lives = matches!(
            state.status,
            Status::Running | Status::Paused | Status::Restarting
        );
        // One that was killed may be a zombie, whose descriptor would be readable for ever.
        self.monitor = match state.monitor {
            Some(monitor) if lives && monitor.is_alive() => sys::process::pidfd_open(monitor.pid).ok(),
            _ => None,
        };
        !lives || fs::metadata(&self.place.dir).is_err()
    }

    fn wait(&self) -> Result<()> {
        self.wait_with(&[])
    }

    /// Until the journal has more, or the container has changed.
    fn wait_or(&self, waker: &mut Waker) -> Result<()> {
        let Some(output) = &waker.output else {
            return self.wait();
        };
        self.wait_with(&[output.as_fd()])?;
        let has_more = sys::wait::readable(output.as_fd(), sys::wait::Deadline::after(Duration::ZERO));
        match has_more {
            Ok(()) => waker.hear(),
            Err(e) if e.is(libc::ETIMEDOUT) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn wait_with(&self, others: &[BorrowedFd<'_>]) -> Result<()> {
        /// Where the monitor cannot be watched: a kill of it is seen after this.
        const LOOK: Duration = Duration::from_secs(1);
        let left = self.until.map(|until| {
            let left = until.saturating_sub(stamp::nanos(SystemTime::now()));
            Duration::from_nanos(u64::try_from(left).unwrap_or(0)) + Duration::from_millis(1)
        });
        let patience = match (&self.monitor, left) {
            (Some(_), left) => left,
            (None, left) => Some(left.map_or(LOOK, |left| left.min(LOOK))),
        };
        let mut others = others.to_vec();
        others.extend(self.monitor.iter().map(|fd| fd.as_fd()));
        self.watch
            .wait(&others, patience.map(|p| Instant::now() + p))
            .context("failed to wait for more of the log")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::path::Path;

    fn definition(kind: &str, options: &[(&str, &str)]) -> Definition {
        let mut definition = Definition {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            image: "sha256:0123456789".into(),
            path: "sh".into(),
            args: vec!["-c".into(), "true".into()],
            ..Definition::default()
        };
        definition.config.image = "nginx:1.18".into();
        definition.config.labels = [("com.a", "1"), ("com.b", "2"), ("x", "3")]
            .map(|(k, v)| (k.into(), v.into()))
            .into();
        definition.config.env = vec!["LANG=C".into(), "PATH=/bin".into()];
        definition.host.log_config = LogConfig {
            kind: kind.into(),
            config: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        definition
    }

    fn attributes(kind: &str, options: &[(&str, &str)]) -> String {
        let place = Place::of(Path::new("/root"), Path::new("/run"), "id");
        match log_of(&definition(kind, options), &place) {
            Ok(log) => log.attributes.iter().map(|(k, v)| format!("{k}={v} ")).collect(),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn labels_variables_and_tags() {
        for (kind, options, expected) in [
            ("json-file", &[][..], ""),
            (
                "json-file",
                &[("labels", "com.a,nope"), ("env", "LANG")],
                "LANG=C com.a=1 ",
            ),
            ("json-file", &[("labels-regex", "^com")], "com.a=1 com.b=2 "),
            (
                "json-file",
                &[("env-regex", "^(LANG|HOME)$"), ("tag", "t")],
                "LANG=C tag=t ",
            ),
            (
                "json-file",
                &[("tag", "{{.ImageName}}/{{ .Name }}/{{.ID}}")],
                "tag=nginx:1.18/web/0123456789ab ",
            ),
            ("json-file", &[("tag", "{{.Command}}")], "tag=sh -c true "),
            (
                "json-file",
                &[("tag", "{{.Nope}}")],
                "failed to parse log tag template \"{{.Nope}}\": .Nope is not known",
            ),
            (
                "journald",
                &[("tag", "a")],
                &format!(
                    "CONTAINER_ID=0123456789ab CONTAINER_ID_FULL={} CONTAINER_NAME=web CONTAINER_TAG=a IMAGE_NAME=nginx:1.18 SYSLOG_IDENTIFIER=a ",
                    "0123456789abcdef".repeat(4)
                ),
            ),
            (
                "nope",
                &[],
                "error looking up logging plugin nope: plugin \"nope\" not found",
            ),
        ] {
            assert_eq!(attributes(kind, options), expected, "{kind} {options:?}");
        }
    }
}
