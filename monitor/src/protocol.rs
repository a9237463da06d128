//! What is said over a monitor's socket: frames of a byte (what), four bytes (how long, little endian) and that many bytes.
//!
//! A client sends one [`Request`]; the monitor sends one [`Reply`]. After an attach or an exec both send frames until the end. A
//! client that is gone (end of file) has detached.
//!
//! The two sides may be of different versions: a monitor lives as long as its container, and brig is replaced meanwhile. So a field
//! that is added has a default, and none is ever given another meaning; a request that a monitor does not know is refused by it.
//!
//! May not: read or write; who does decides whether that blocks.

use network::attachment::Attachment;
use serde::{Deserialize, Serialize};

use crate::launch::RestartPolicy;

/// The largest frame that is read.
pub const MOST: usize = 4 << 20;

/// What stands before the bytes of a frame.
const HEAD: usize = 5;

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

impl Frame {
    const ALL: [Frame; 9] = [
        Frame::Request,
        Frame::Reply,
        Frame::Stdin,
        Frame::StdinEnd,
        Frame::Stdout,
        Frame::Stderr,
        Frame::Resize,
        Frame::Signal,
        Frame::Ended,
    ];

    /// What stands before this many bytes of it.
    pub fn head(self, length: usize) -> [u8; HEAD] {
        let [a, b, c, d] = (length as u32).to_le_bytes();
        [self as u8, a, b, c, d]
    }

    /// The whole frame.
    pub fn with(self, bytes: &[u8]) -> Vec<u8> {
        let mut whole = Vec::with_capacity(HEAD + bytes.len());
        whole.extend_from_slice(&self.head(bytes.len()));
        whole.extend_from_slice(bytes);
        whole
    }
}

/// Finds frames in what comes from a socket.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

impl Frames {
    /// More has come.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The first one that is whole.
    ///
    /// # Errors
    /// When these are no frames.
    pub fn take(&mut self) -> Result<Option<(Frame, Vec<u8>)>, String> {
        let Some((kind, a, b, c, d)) = self
            .bytes
            .first_chunk()
            .map(|[k, a, b, c, d]| (*k, *a, *b, *c, *d))
        else {
            return Ok(None);
        };
        let frame = Frame::ALL.get(usize::from(kind)).copied();
        let frame = frame.ok_or_else(|| format!("{kind} is no kind of frame"))?;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MOST {
            return Err(format!("a frame of {length} bytes is too long"));
        }
        let end = HEAD + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let payload = self.bytes[HEAD..end].to_vec();
        self.bytes.drain(..end);
        // What a large one needed is given back.
        if self.bytes.is_empty() {
            self.bytes = Vec::new();
        }
        Ok(Some((frame, payload)))
    }
}

/// What a client wants.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Of who has spawned the monitor, over the descriptor that it gave it: make the container and start it. Answered when it runs.
    /// With `attach` that client is attached before the container starts, so that nothing of its output is missed.
    Start {
        attach: Option<Attach>,
    },
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
    /// The same for as long as the client is there: when it goes, killed or not, and nobody has let the container go on or paused it
    /// anew since, it goes on.
    Hold,
    Unpause,
    /// Stop and start again. Answered with false when its monitor has adopted it: then it is stopped only.
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
    /// What the container has of networks from now on: it was connected or disconnected. Whoever sends it has made or undone it in the
    /// kernel, and published or withdrawn its names; the monitor answers and forwards by it, and undoes it at the end. A container that
    /// has no resolver yet gets one when an endpoint has names.
    Network {
        attachment: Box<Attachment>,
        /// Which of its ports the descriptors are that come with the request: those that were not reserved before.
        #[serde(default)]
        handed: Vec<usize>,
    },
    /// Kill it and remove it (`rm -f`), when it is not already being removed.
    Remove {
        volumes: bool,
    },
}

/// The streams of the init.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub size: Option<Size>,
}

/// Another process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// Its name; empty: the monitor makes one.
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
    /// And what another version knows.
    #[serde(other)]
    Other,
}

/// How a process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// 128 and the signal, if one killed it.
    pub code: i32,
    pub error: String,
    pub oom_killed: bool,
}

impl Kind {
    /// What kind of failure a runtime's message is, and the exit code that Docker gives it: programs look at both.
    pub fn of_start(message: &str) -> (Kind, i32) {
        let lower = message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|w| lower.contains(w));
        if says(&["permission denied", "is a directory"]) {
            (Kind::Denied, 126)
        } else if says(&[
            "executable file not found",
            "no such file or directory",
            "not a directory",
        ]) {
            (Kind::NoProgram, 127)
        } else {
            (Kind::Other, 128)
        }
    }
}

/// What Docker adds to a runtime's message: a file was to be mounted on a directory, or a directory on a file, mostly because of a `-v` with a
/// typing error.
pub fn with_hint(message: String) -> String {
    match message.to_lowercase().contains("not a directory") {
        true => format!(
            "{message}: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
        ),
        false => message,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_of_any_pieces() {
        let mut bytes = Frame::Stdin.with(b"abc");
        bytes.extend(Frame::StdinEnd.with(b""));
        bytes.extend(Frame::Ended.with(&[7; 300]));
        for size in [1, 4, 5, 6, 400] {
            let (mut frames, mut found) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(size) {
                frames.feed(piece);
                while let Some(frame) = frames.take().unwrap() {
                    found.push(frame);
                }
            }
            let expected = [
                (Frame::Stdin, b"abc".to_vec()),
                (Frame::StdinEnd, vec![]),
                (Frame::Ended, vec![7; 300]),
            ];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn every_kind_is_at_its_number() {
        for (n, frame) in Frame::ALL.iter().enumerate() {
            assert_eq!(*frame as usize, n);
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let mut frames = Frames::default();
        frames.feed(&[200, 0, 0, 0, 0]);
        frames.take().unwrap_err();
        let mut frames = Frames::default();
        frames.feed(&Frame::Stdin.head(MOST + 1));
        frames.take().unwrap_err();
    }

    #[test]
    fn failures_have_docker_s_exit_codes() {
        let code = |message| Kind::of_start(message).1;
        assert_eq!(code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(code("exec /x: No such file or directory"), 127);
        assert_eq!(code("exec /x: Permission denied"), 126);
        assert_eq!(code("exec: \"/etc\": is a directory"), 126);
        assert_eq!(code("failed to set up the cgroup"), 128);
        let hint = with_hint("error mounting \"/etc\": not a directory".into());
        assert!(hint.contains("mount a directory onto a file (or vice-versa)?"));
        assert_eq!(code(&hint), 127);
        assert_eq!(with_hint("no such device".into()), "no such device");
    }
}
