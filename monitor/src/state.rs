//! What is known of a container's life: written by its monitor while it has one, by brig while it has none.
//!
//! A file of another boot tells what was; nothing of it runs.

use serde::{Deserialize, Serialize};

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
