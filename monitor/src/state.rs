//! What is known of a container's life: written by its monitor while it has one, by brig while it has none.
//!
//! A file of another boot tells what was; nothing of it runs.

use std::fs;
use std::io;

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

/// The whole file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
    #[serde(default)]
    pub execs: Vec<String>,
}

/// Exit code of a container whose end nobody has seen.
pub const UNSEEN: i32 = 255;

impl State {
    /// What the file says; of a container that was never started there is none. One that a power cut has emptied is as good as none,
    /// but something ran.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(place: &Place) -> io::Result<State> {
        match fs::read(place.state()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(e),
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
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(&new, &path)
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

/// What the probes have said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    pub failing_streak: u32,
    /// The last five.
    pub log: Vec<Probe>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Probe {
    pub start: String,
    pub end: String,
    pub exit_code: i32,
    pub output: String,
}
