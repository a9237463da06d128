//! What every command has: the name we were called by, the global flags, the two streams, and how it may fail.
//!
//! May not: open anything. What a command does not ask for costs nothing.

use crate::config::Config;
use crate::flags::Parsed;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

/// The name that we answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Brig,
    /// Called by the name docker, we speak as docker.
    Docker,
}

impl Program {
    /// By argv\[0\].
    pub fn of(argv0: &Path) -> Program {
        if argv0.file_name().is_some_and(|n| n == "docker") {
            Program::Docker
        } else {
            Program::Brig
        }
    }

    /// In messages, usage and help.
    pub fn name(self) -> &'static str {
        match self {
            Program::Brig => "brig",
            Program::Docker => "docker",
        }
    }
}

/// Why a command failed, and the exit code.
#[derive(Debug)]
pub struct Failure {
    pub code: i32,
    /// Empty: everything has been said.
    pub message: String,
    /// The words are the library's, which has no idea who is asking.
    pub from_engine: bool,
}

/// How a command ends.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// A failure with Docker's exit code for it.
    pub fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            from_engine: false,
        }
    }

    /// An ordinary one.
    pub fn plain(message: impl Into<String>) -> Failure {
        Failure::new(1, message)
    }

    /// Nothing is left to say. Docker ends with 0 where the user has said no.
    pub fn silent(code: i32) -> Failure {
        Failure::new(code, "")
    }

    /// The line for stderr. Docker's daemon begins its own with a phrase that scripts look for.
    pub fn line(&self, program: Program) -> String {
        match (self.from_engine, program) {
            (false, _) => self.message.clone(),
            (true, Program::Docker) => format!("Error response from daemon: {}", self.message),
            (true, Program::Brig) => format!("Error: {}", self.message),
        }
    }
}

impl From<image::Error> for Failure {
    fn from(e: image::Error) -> Failure {
        let code = match e.kind() {
            image::Kind::Cancelled => crate::signals::exit_code(),
            _ => 1,
        };
        Failure {
            code,
            message: e.to_string(),
            from_engine: true,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Failure {
        match e.kind() {
            // Whoever read our output has gone. A shell shows 128 + SIGPIPE.
            std::io::ErrorKind::BrokenPipe => Failure::silent(141),
            _ => Failure::plain(e.to_string()),
        }
    }
}

/// One run of the program.
pub struct Session {
    pub program: Program,
    /// `--root`, `$BRIG_ROOT`: where the store lies, if not in its usual place.
    pub root: Option<PathBuf>,
    /// `--config`, `$DOCKER_CONFIG`, `~/.docker`.
    pub config_dir: PathBuf,
    pub debug: bool,
    /// The name that the command was called by: `images` or `ls`.
    pub called: String,
    config: RefCell<Option<std::rc::Rc<Config>>>,
}

impl Session {
    /// From the global flags.
    pub fn new(program: Program, global: &Parsed) -> Session {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let path = |name: &'static str| global.path(name).map(PathBuf::from);
        Session {
            program,
            root: path("root").or_else(|| variable("BRIG_ROOT")),
            config_dir: path("config")
                .or_else(|| variable("DOCKER_CONFIG"))
                .unwrap_or_else(|| variable("HOME").unwrap_or_default().join(".docker")),
            debug: global.switch("debug"),
            called: String::new(),
            config: RefCell::new(None),
        }
    }

    /// The user's config.json, read once. One that cannot be read is told and counts as empty, as in Docker.
    pub fn config(&self) -> std::rc::Rc<Config> {
        let mut slot = self.config.borrow_mut();
        let config = slot.get_or_insert_with(|| {
            let config = Config::load(&self.config_dir).unwrap_or_else(|warning| {
                self.warn(&warning);
                Config::default()
            });
            std::rc::Rc::new(config)
        });
        config.clone()
    }

    /// What the user has logged in with.
    pub fn credentials(&self) -> image::credentials::Credentials {
        let directory = self.config_dir.to_string_lossy().into_owned();
        image::credentials::Credentials::of_user(|name| match name {
            "DOCKER_CONFIG" => Some(directory.clone()),
            other => std::env::var(other).ok(),
        })
    }

    /// Writes to stdout.
    ///
    /// # Errors
    /// Nobody reads it any more, or the disk is full.
    pub fn print(&self, text: &str) -> Outcome {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// Writes a line to stderr, or nowhere if that is closed.
    pub fn warn(&self, line: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Whether stdout is a terminal.
    pub fn out_is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Whether stdin is a terminal.
    pub fn in_is_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    /// Replaces `{name}` in help and hints.
    pub fn named(&self, text: &str) -> String {
        text.replace("{name}", self.program.name())
    }
}
