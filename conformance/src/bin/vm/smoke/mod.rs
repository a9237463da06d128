//! The engines as users have them: systemd is process 1, holds the cgroups, and every configuration is the default.
//!
//! May not: configure an engine for the runtime's sake, other than by naming it.
//!
//! The list is short, because every command costs seconds of emulation; what an engine asks of a runtime in detail is
//! the business of the program `engines`, on the host.

mod containerd;
mod direct;
pub mod scope;
mod shim;
mod twins;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{self, Outcome, USUAL};
use crate::inside::{self, Outside};
use crate::job::Job;

pub type Done = Result<(), String>;

/// One sentence about a runtime below an engine.
pub struct Case {
    pub name: &'static str,
    act: fn(&mut Stage) -> Done,
}

/// What the reference plays: it shows what an engine does by itself.
const SAMPLE: [&str; 2] = ["podman-root.life", "containerd.life"];

impl Case {
    /// Whether it is played with this runtime below. Which one runs below our shim makes no difference that is worth a
    /// minute of emulation, and of the engines with the reference a sample is enough, but for `every`.
    pub fn is_for(&self, runtime: &str, every: bool) -> bool {
        let is_shims = self.name.starts_with("shim.");
        runtime == "runb" || SAMPLE.contains(&self.name) || every && !is_shims
    }
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut cases = direct::cases();
    cases.extend(twins::cases());
    cases.extend(containerd::cases());
    cases.extend(shim::cases());
    cases
}

/// Runs the engine cases of the job.
pub fn run(outside: &mut Outside, release: &Path, job: &Job) -> Result<(), String> {
    for (runtime, name) in &job.engines {
        let Some(case) = all().into_iter().find(|case| case.name == name) else {
            return Err(format!("no case {name:?}"));
        };
        let began = Instant::now();
        let mut stage = Stage {
            runtime: runtime.clone(),
            program: inside::program(release, runtime),
            patience: job.patience,
            step: "prepare",
        };
        let ended = (case.act)(&mut stage).map_err(|why| format!("{}: {why}", stage.step));
        outside.verdict(&format!("{}/{runtime}/{name}", job.guest), began, ended)?;
    }
    Ok(())
}

/// Where a case is played.
pub struct Stage {
    /// The runtime by its name.
    pub runtime: String,
    /// And its program.
    pub program: PathBuf,
    pub patience: u32,
    pub step: &'static str,
}

impl Stage {
    /// What is being done, for the message of a failure.
    pub fn step(&mut self, name: &'static str) {
        self.step = name;
    }

    /// A command to its end, whatever that is. It has less time than the outside waits for a line.
    pub fn run(&self, words: &[&str]) -> Result<Outcome, String> {
        let (program, arguments) = words.split_first().ok_or("no command")?;
        command::run(
            Command::new(program).args(arguments),
            "",
            USUAL * self.patience / 2,
        )
    }

    /// A command that has to succeed; its output.
    pub fn must(&self, words: &[&str]) -> Result<String, String> {
        self.run(words)?
            .ok()
            .map_err(|e| format!("{}: {e}", words.join(" ")))
    }

    /// Waits for something.
    pub fn until(&self, what: &str, question: impl FnMut() -> bool) -> Done {
        command::until(what, Duration::from_secs(20) * self.patience, question)
    }

    /// The runtime's program as a word of a command line.
    pub fn program(&self) -> String {
        // A bare name is for a shell; engines want a path.
        if self.program.is_absolute() {
            return self.program.display().to_string();
        }
        format!("/usr/sbin/{}", self.program.display())
    }
}

/// What is found must be what is expected.
pub fn same(what: &str, found: impl ToString, expected: &str) -> Done {
    let found = found.to_string();
    if found.trim() == expected {
        Ok(())
    } else {
        Err(format!("{what} is {:?}, expected {expected:?}", found.trim()))
    }
}
