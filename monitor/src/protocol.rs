//! What is said over a monitor's socket: frames of a byte (what), four bytes (how long, little endian) and that many bytes.
//!
//! A client sends one [`Request`]; the monitor sends one [`Reply`]. After an attach or an exec both send frames until the end.

use serde::{Deserialize, Serialize};

use crate::launch::RestartPolicy;

/// The largest frame that is read.
pub const MOST: usize = 1 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON of a [`Request`].
    Request,
    /// JSON of a [`Reply`].
    Reply,
    /// To the process.
    Stdin,
    /// Nothing more comes.
    StdinEnd,
    /// From the process.
    Stdout,
    Stderr,
    /// JSON of a [`Size`].
    Resize,
    /// JSON of a number.
    Signal,
    /// JSON of an [`Ended`]; the last one.
    Ended,
}

/// What a client wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    Attach(Attach),
    /// Answered when it has ended.
    Stop {
        signal: Option<i32>,
        /// Seconds; negative: for ever.
        timeout: Option<i64>,
    },
    Kill {
        signal: i32,
    },
    Pause,
    Unpause,
    /// Stop and start again.
    Restart {
        signal: Option<i32>,
        timeout: Option<i64>,
    },
    /// Answered with an [`Ended`] when it has ended; with `removed`, when nothing of it is left.
    Wait {
        removed: bool,
    },
    Exec(Exec),
    Update {
        /// `linux.resources`, for the runtime's `update`.
        resources: Option<serde_json::Value>,
        restart: Option<RestartPolicy>,
    },
    /// Pids, as the host counts them.
    Processes,
    Rename {
        name: String,
    },
    /// Kill it and remove it (`rm -f`), when it is not already being removed.
    Remove {
        volumes: bool,
    },
}

/// The streams of the init.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The container waits for this client before it starts, so that nothing of its output is missed.
    #[serde(default)]
    pub first: bool,
    pub size: Option<Size>,
}

/// Another process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exec {
    pub id: String,
    /// `process` as in config.json.
    pub process: serde_json::Value,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Answered once it runs; nothing is streamed.
    pub detach: bool,
    pub size: Option<Size>,
}

/// Of a terminal, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// The answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Done(serde_json::Value),
    Failed { kind: Kind, message: String },
}

/// What a client can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It does not run, or is paused.
    NotRunning,
    /// It could not be executed: exit code 126.
    Denied,
    /// There is no such program: exit code 127.
    NoProgram,
    Invalid,
    Other,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// 128 and the signal, if one killed it.
    pub code: i32,
    pub error: String,
    pub oom_killed: bool,
}
