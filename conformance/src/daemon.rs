//! Programs that serve in the background, and where packages put theirs.
//!
//! May not: use a program that was not installed from the distribution's packages, or wait for one without a bound.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::command::{self, USUAL};

const START: Duration = Duration::from_secs(60);

/// A program that runs in the background.
pub struct Daemon {
    pub name: &'static str,
    running: Mutex<Running>,
    ready: Box<dyn Fn() -> bool + Send + Sync>,
    pub log: PathBuf,
}

struct Running {
    command: Command,
    child: Child,
}

impl Daemon {
    /// Starts it and waits until it is ready. Both its outputs go to the log.
    pub fn start(
        name: &'static str,
        mut command: Command,
        log: PathBuf,
        ready: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Daemon, String> {
        let file = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let again = file.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(again).spawn();
        let child = child.map_err(|e| format!("{command:?}: {e}"))?;
        let daemon = Daemon {
            name,
            running: Mutex::new(Running { command, child }),
            ready: Box::new(ready),
            log,
        };
        daemon.until_ready()?;
        Ok(daemon)
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn until_ready(&self) -> Result<(), String> {
        let mut gone = None;
        command::until(&format!("{} answers", self.name), START, || {
            gone = self.running().child.try_wait().ok().flatten();
            gone.is_some() || (self.ready)()
        })
        .map_err(|e| format!("{e}\n{}", self.log_tail()))?;
        match gone {
            Some(status) => Err(format!("{} ended: {status}\n{}", self.name, self.log_tail())),
            None => Ok(()),
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.running().child.id()
    }

    /// Kills it, does something while it is away, and starts it again.
    pub fn outage(&self, meanwhile: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        let text = |e: std::io::Error| format!("{}: {e}", self.name);
        let mut running = self.running();
        running.child.kill().map_err(text)?;
        running.child.wait().map_err(text)?;
        let done = meanwhile();
        running.child = running.command.spawn().map_err(text)?;
        drop(running);
        self.until_ready()?;
        done
    }

    /// What it complained about last; if about nothing, its last lines.
    pub fn log_tail(&self) -> String {
        const LINES: usize = 4;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let complains = |line: &&str| line.contains("level=error") || line.contains("level=fatal");
        let mut lines: Vec<&str> = text.lines().filter(complains).collect();
        if lines.is_empty() {
            lines = text.lines().collect();
        }
        let tail = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        let short = tail.iter().map(|line| line.chars().take(400).collect::<String>());
        format!(
            "log of {}:\n  {}\n",
            self.name,
            short.collect::<Vec<_>>().join("\n  ")
        )
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(self) -> Result<(), String> {
        let pid = self.pid().to_string();
        command::run(Command::new("kill").args(["-TERM", &pid]), "", USUAL)?.ok()?;
        let ended = command::until(&format!("the end of {}", self.name), START, || {
            self.running()
                .child
                .try_wait()
                .is_ok_and(|status| status.is_some())
        });
        ended.map_err(|e| format!("{e}\n{}", self.log_tail()))
    }
}

/// Refuses engines of other packagers: the cases know what the distributions ship.
pub fn packaged(engine: &str) -> Result<(), String> {
    for other in ["docker-ce", "containerd.io", "podman-docker"] {
        if Path::new("/usr/share/doc").join(other).exists() && (engine != "podman") {
            return Err(format!("{engine} belongs to {other}, not to the distribution"));
        }
    }
    Ok(())
}

/// A program of a package: where packages put it, whatever PATH says.
pub fn installed(program: &str) -> Result<PathBuf, String> {
    let dirs = ["/usr/bin", "/usr/sbin", "/usr/libexec/podman", "/bin", "/sbin"];
    let found = dirs
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists());
    found.ok_or(format!("{program} is not installed"))
}

/// The first program of this name on PATH, or where administrators' programs are.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    path.split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|file| file.is_file())
}

/// Prints which program is at work, by the first line of what it says about its version.
pub fn tell_version(program: &Path) {
    let outcome = command::run(Command::new(program).arg("--version"), "", USUAL);
    let text = outcome.map(|o| o.stdout + &o.stderr).unwrap_or_else(|e| e);
    println!(
        "using {}: {}",
        program.display(),
        text.lines().next().unwrap_or_default()
    );
}
