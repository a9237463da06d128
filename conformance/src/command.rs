//! Programs with a deadline.
//!
//! May not: wait for anything without a bound. A program that is not done in time is killed with its process group,
//! and the error says which it was.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

/// What a command of an engine may take when nothing else is said.
pub const USUAL: Duration = Duration::from_secs(60);

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit code, or 128+N after signal N, as a shell would show it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// Its output without the last line break, when it succeeded.
    pub fn ok(self) -> Result<String, String> {
        if self.code == 0 {
            return Ok(self.stdout.trim_end_matches('\n').to_owned());
        }
        Err(format!(
            "exit code {}: {}{}",
            self.code,
            self.stdout,
            self.stderr.trim_end()
        ))
    }
}

pub fn shell_code(status: ExitStatus) -> i32 {
    status.code().or(status.signal().map(|n| 128 + n)).unwrap_or(-1)
}

/// Runs a program to its end. Its output goes through files: a daemon that inherits them cannot keep us waiting.
pub fn run(command: &mut Command, stdin: &str, deadline: Duration) -> Result<Outcome, String> {
    let scratch = Scratch::new()?;
    std::fs::write(scratch.path("in"), stdin).map_err(|e| e.to_string())?;
    let file = |name: &str| File::create(scratch.path(name)).map_err(|e| e.to_string());
    let input = if stdin.is_empty() {
        Stdio::null()
    } else {
        File::open(scratch.path("in")).map_err(|e| e.to_string())?.into()
    };
    command
        .stdin(input)
        .stdout(file("out")?)
        .stderr(file("err")?)
        .process_group(0);
    let status = wait(command, deadline)?;
    let read = |name: &str| {
        let bytes = std::fs::read(scratch.path(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Outcome {
        code: shell_code(status),
        stdout: read("out"),
        stderr: read("err"),
    })
}

/// Starts a program and waits for its end, at most until the deadline.
pub fn wait(command: &mut Command, deadline: Duration) -> Result<ExitStatus, String> {
    let what = format!("{command:?}");
    let mut child = command.spawn().map_err(|e| format!("{what}: {e}"))?;
    let pid = child.id();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait()));
    match receiver.recv_timeout(deadline) {
        Ok(status) => status.map_err(|e| format!("{what}: {e}")),
        Err(_) => {
            kill_group(pid);
            Err(format!("{what}: not done after {deadline:?}"))
        }
    }
}

/// Kills a process group that this program made.
pub fn kill_group(leader: u32) {
    let group = format!("-{leader}");
    if let Err(e) = Command::new("kill")
        .args(["-KILL", "--", &group])
        .stderr(Stdio::null())
        .status()
    {
        eprintln!("kill: {e}");
    }
}

/// Asks again and again until the answer is yes; between two questions the processor is given away.
pub fn until(what: &str, deadline: Duration, mut question: impl FnMut() -> bool) -> Result<(), String> {
    let began = std::time::Instant::now();
    loop {
        if question() {
            return Ok(());
        }
        let left = deadline.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Err(format!("{what}: not so after {deadline:?}"));
        }
        std::thread::park_timeout(left.min(Duration::from_millis(20)));
    }
}

/// A directory for the output of one program.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch, String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!(
            "conformance-output-{}-{}-{}",
            // The pid is one of a namespace: two runs at once have the same.
            std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos()),
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Scratch(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{}: {e}", self.0.display());
        }
    }
}
