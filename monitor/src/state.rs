//! What is known of a container's life: written by its monitor while it has one, by brig while it has none.
//!
//! A file of another boot tells what was; nothing of it runs.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::place::Place;

/// The form of the file.
pub const VERSION: u32 = 1;

/// As `docker ps` and `inspect` call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Removing,
    Exited,
    Dead,
}

/// A process by what no other process shares with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat: clock ticks since boot.
    pub start: u64,
}

impl Process {
    /// The process that has this pid now, unless it has ended.
    pub fn of(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may have any of these in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let is_over = matches!(fields.next()?, "Z" | "X");
        // State is field 3.
        let start = fields.nth(18)?.parse().ok()?;
        (!is_over).then_some(Process { pid, start })
    }

    /// Whether it is this one that lives under its pid.
    pub fn is_alive(&self) -> bool {
        Process::of(self.pid).as_ref() == Some(self)
    }
}

/// The id of the running kernel's boot.
///
/// # Errors
/// /proc is not mounted.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// The form of a record, whatever else there is in it; `None`: it is no record.
pub fn form_of(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Form {
        version: u32,
    }
    serde_json::from_slice::<Form>(bytes)
        .ok()
        .map(|form| form.version)
}

/// The whole file. What an older program has not written has its default, what a newer one has added in this form is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    pub version: u32,
    pub status: Status,
    /// The boot in which the rest was written.
    pub boot: String,
    pub init: Option<Process>,
    pub monitor: Option<Process>,
    pub exit_code: i32,
    pub error: String,
    pub oom_killed: bool,
    /// RFC 3339 with nanoseconds; empty: never.
    pub started_at: String,
    pub finished_at: String,
    pub restart_count: u32,
    /// Somebody has stopped it, so `unless-stopped` does not start it again.
    pub stopped_by_user: bool,
    pub health: Option<Health>,
    /// Ids of the execs that run.
    pub execs: Vec<String>,
}

/// Exit code of a container whose end nobody has seen.
pub const UNSEEN: i32 = 255;

impl State {
    /// What the file says; of a container that was never started there is none. One that a power cut has emptied is as good as none,
    /// but something ran.
    ///
    /// # Errors
    /// It cannot be read, or has a form that a newer program has made.
    pub fn load(place: &Place) -> io::Result<State> {
        match fs::read(place.state()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(e),
            Ok(bytes) if form_of(&bytes).is_some_and(|form| form > VERSION) => {
                Err(io::Error::other("it has been written by a newer brig"))
            }
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or(State {
                status: Status::Running,
                ..State::default()
            })),
        }
    }

    /// Replaces the file. Not synced: what it says of processes is worthless in another boot.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn save(&self, place: &Place) -> io::Result<()> {
        let path = place.state();
        let new = path.with_extension("json.new");
        let text = serde_json::to_vec(self)?;
        match fs::write(&new, &text).and_then(|()| fs::rename(&new, &path)) {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => {
                // Part of a file helps nobody, and may be what the disk lacks.
                let _ = fs::remove_file(&new);
                write_over(&path, &text)
            }
            done => done,
        }
    }

    /// What is true, whatever was written before a reboot or a kill: the one place that decides it.
    #[must_use]
    pub fn truth(mut self, boot: &str) -> State {
        let of_this_boot = self.boot == boot;
        let lives =
            |process: &Option<Process>| of_this_boot && process.as_ref().is_some_and(Process::is_alive);
        match self.status {
            Status::Created | Status::Exited | Status::Dead => return self,
            // Its monitor may be between two lives of it, or about to write that it has ended.
            Status::Running | Status::Paused if lives(&self.init) || lives(&self.monitor) => return self,
            Status::Restarting | Status::Removing if lives(&self.monitor) => return self,
            Status::Running | Status::Paused | Status::Restarting => {}
            Status::Removing => {
                self.status = Status::Dead;
                return self;
            }
        }
        if self.status != Status::Restarting {
            self.exit_code = UNSEEN;
            self.finished_at = String::new();
        }
        self.status = Status::Exited;
        self.init = None;
        self.monitor = None;
        self.execs.clear();
        self
    }

    /// Whether its monitor lives.
    pub fn is_monitored(&self, boot: &str) -> bool {
        self.boot == boot && self.monitor.as_ref().is_some_and(Process::is_alive)
    }
}

/// How its times are written.
pub fn stamp(at: SystemTime) -> String {
    sys::time::rfc3339_nano(at)
}

/// What the probes have said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    pub failing_streak: u32,
    /// The last five.
    pub log: Vec<Probe>,
}

/// On a full disk: into the blocks that the file has, so that how a container has ended is known all the same. A kill in the middle
/// leaves half of it, which counts as an end that nobody has seen.
fn write_over(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Probe {
    pub start: String,
    pub end: String,
    pub exit_code: i32,
    pub output: String,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Its processes: whether they live. A living one is this test's own.
    fn truth(status: Status, boot: &str, init: bool, monitor: bool) -> (Status, i32) {
        let us = Process::of(sys::process::pid()).unwrap();
        let process = |alive: bool| {
            let start = us.start - u64::from(!alive);
            Some(Process { start, ..us.clone() })
        };
        let state = State {
            status,
            boot: "now".into(),
            init: process(init),
            monitor: process(monitor),
            exit_code: 3,
            execs: vec!["e".into()],
            ..State::default()
        };
        let state = state.truth(boot);
        if state.status == Status::Exited && status != Status::Exited {
            assert!(state.init.is_none() && state.monitor.is_none() && state.execs.is_empty());
        }
        (state.status, state.exit_code)
    }

    #[test]
    fn only_what_lives_in_this_boot_runs() {
        use Status::{Dead, Exited, Paused, Removing, Restarting, Running};
        assert_eq!(truth(Running, "now", true, true), (Running, 3));
        assert_eq!(truth(Running, "other", true, true), (Exited, UNSEEN));
        assert_eq!(truth(Running, "now", true, false), (Running, 3), "unattended");
        assert_eq!(truth(Paused, "now", true, false), (Paused, 3));
        assert_eq!(
            truth(Running, "now", false, true),
            (Running, 3),
            "about to be recorded"
        );
        assert_eq!(truth(Running, "now", false, false), (Exited, UNSEEN));
        assert_eq!(truth(Restarting, "now", false, true), (Restarting, 3));
        assert_eq!(
            truth(Restarting, "now", true, false),
            (Exited, 3),
            "the init is another's"
        );
        assert_eq!(truth(Restarting, "other", true, true), (Exited, 3));
        assert_eq!(truth(Removing, "now", false, false), (Dead, 3));
        assert_eq!(truth(Removing, "now", false, true), (Removing, 3));
        assert_eq!(truth(Exited, "other", true, true), (Exited, 3));
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let us = Process::of(sys::process::pid()).unwrap();
        assert!(us.is_alive());
        let earlier = Process {
            start: us.start - 1,
            ..us
        };
        assert!(!earlier.is_alive());
        assert_eq!(Process::of(0), None);
    }

    #[test]
    fn a_state_survives_its_file() {
        let root = std::env::temp_dir().join(format!("monitor-state-{}", std::process::id()));
        let place = Place::of(&root, &root, "id");
        fs::create_dir_all(&place.dir).unwrap();
        assert_eq!(State::load(&place).unwrap().status, Status::Created);
        let state = State {
            status: Status::Paused,
            exit_code: 7,
            ..State::default()
        };
        state.save(&place).unwrap();
        let loaded = State::load(&place).unwrap();
        assert_eq!((loaded.status, loaded.exit_code), (Status::Paused, 7));
        // An older program wrote less, a newer one writes more: both are read.
        fs::write(
            place.state(),
            r#"{"version":1,"status":"exited","exit_code":3,"tomorrow":{"a":[1]}}"#,
        )
        .unwrap();
        let loaded = State::load(&place).unwrap();
        assert_eq!(
            (loaded.status, loaded.exit_code, loaded.restart_count),
            (Status::Exited, 3, 0)
        );
        // A form of tomorrow is not guessed at.
        fs::write(place.state(), r#"{"version":2,"status":"hibernating"}"#).unwrap();
        let why = State::load(&place).unwrap_err().to_string();
        assert_eq!(why, "it has been written by a newer brig");
        // A power cut.
        fs::write(place.state(), "").unwrap();
        assert_eq!(State::load(&place).unwrap().truth("any").exit_code, UNSEEN);
        fs::remove_dir_all(&root).unwrap();
    }
}
