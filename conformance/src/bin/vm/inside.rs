//! The second life: in the guest, the suites one after the other, and their lines to the outside.
//!
//! May not: decide what runs. That is in the job.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command;
use crate::job::{Job, Suite};
use crate::{brig, lines, smoke};

/// The shim that is judged.
pub const SHIM: &str = "containerd-shim-runb-v2";

/// Less, stretched as it is, than the outside waits for a line.
const DEMO: Duration = Duration::from_secs(25);

/// The channel to the outside.
pub struct Outside(File);

impl Outside {
    /// The port that the outside has named `results`.
    fn open() -> Result<Outside, String> {
        let ports = Path::new("/sys/class/virtio-ports");
        let mut found = None;
        // The driver may still be at it.
        command::until("the port of the results", Duration::from_secs(20), || {
            let entries = fs::read_dir(ports).into_iter().flatten().flatten();
            found = entries.map(|entry| entry.path()).find(|port| {
                fs::read_to_string(port.join("name")).is_ok_and(|name| name.trim() == "results")
            });
            found.is_some()
        })?;
        let device = Path::new("/dev").join(found.as_deref().and_then(Path::file_name).unwrap_or_default());
        let opened = fs::OpenOptions::new().write(true).open(&device);
        opened
            .map(Outside)
            .map_err(|e| format!("{}: {e}", device.display()))
    }

    /// Says one line.
    pub fn say(&mut self, line: &str) -> Result<(), String> {
        self.0
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|e| format!("the port of the results: {e}"))
    }

    /// Says how a case ended, in the words of all suites.
    pub fn verdict(&mut self, name: &str, began: Instant, ended: Result<(), String>) -> Result<(), String> {
        let seconds = began.elapsed().as_secs_f64();
        match ended {
            Ok(()) => self.say(&format!("ok   {name} ({seconds:.1} s)")),
            Err(why) => {
                self.say(&format!("FAIL {name} ({seconds:.1} s)"))?;
                self.say(&format!("     {}", why.trim_end().replace('\n', "\n     ")))
            }
        }
    }
}

/// Everything that the job asks for. The answer is for whoever looks at the console: the outside counts by itself.
pub fn run() -> Result<bool, String> {
    let release = std::env::current_exe()
        .map_err(|e| format!("own path: {e}"))?
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default();
    let dir = release.parent().unwrap_or(&release).to_owned();
    let file = dir.join("job.json");
    let text = fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    let job: Job = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let mut outside = Outside::open()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    outside.say(&format!("{} {}: Linux {}", lines::UP, job.guest, kernel.trim()))?;
    if job.demo {
        let began = Instant::now();
        outside.verdict(&format!("{}/demo", job.guest), began, demo(&dir, &job))?;
    }
    for suite in job.suites.iter().filter(|suite| !suite.cases.is_empty()) {
        conformance(&mut outside, &release, &job, suite)?;
    }
    if !job.shim.is_empty() {
        shimtest(&mut outside, &release, &job)?;
    }
    brig::run(&mut outside, &release, &job)?;
    smoke::run(&mut outside, &release, &job)?;
    outside.say(lines::DONE)?;
    Ok(true)
}

/// The demo as a user plays it; its output is for the one who reads a failure.
fn demo(dir: &Path, job: &Job) -> Result<(), String> {
    let mut demo = Command::new("bash");
    demo.arg(dir.join("tools/demo")).env("CARGO_TARGET_DIR", dir);
    command::run(&mut demo, "", DEMO * job.patience)?.ok().map(drop)
}

/// The program behind a runtime's name in the job.
pub fn program(release: &Path, runtime: &str) -> PathBuf {
    let ours = release.join(runtime);
    if ours.exists() { ours } else { runtime.into() }
}

/// One run of `conformance`, its lines passed on as they come. The cases have deadlines of their own.
fn conformance(outside: &mut Outside, release: &Path, job: &Job, suite: &Suite) -> Result<(), String> {
    let list = std::env::temp_dir().join(format!("cases-{}", suite.runtime));
    fs::write(&list, suite.cases.join("\n")).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut run = Command::new(release.join("conformance"));
    run.arg("run")
        .arg("--runtime")
        .arg(program(release, &suite.runtime));
    run.arg("--cases").arg(&list);
    run.args(["--retries", &suite.retries.to_string()]);
    // One more than there are processors: much of a case is waiting.
    run.args(["--jobs", "2"]);
    run.args(["--patience", &job.patience.to_string()]);
    let prefix = format!("{}/{}", job.guest, suite.runtime);
    pass_on(outside, run, &prefix, suite.cases.len())
}

/// One run of `shimtest`. The guest is the host that its cases are played on.
fn shimtest(outside: &mut Outside, release: &Path, job: &Job) -> Result<(), String> {
    let mut run = Command::new(release.join("shimtest"));
    run.arg("--here").arg("--shim").arg(release.join(SHIM));
    run.arg("--runtime").arg(release.join("runb"));
    run.args(["--retries", &job.retries.to_string()]);
    run.args(["--patience", &job.patience.to_string()]);
    run.args(job.shim.iter().flat_map(|name| ["--case", name]));
    pass_on(outside, run, &format!("{}/shim", job.guest), job.shim.len())
}

/// Runs a suite of so many cases; what it tells of them is passed on as it comes, with `prefix` before the names.
fn pass_on(outside: &mut Outside, mut run: Command, prefix: &str, count: usize) -> Result<(), String> {
    let began = Instant::now();
    let complaints = std::env::temp_dir().join("complaints");
    run.stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&complaints).map_err(|e| e.to_string())?);
    let mut child = run.spawn().map_err(|e| format!("{run:?}: {e}"))?;
    let (mut told, mut sums) = (0, lines::Sums::default());
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(line) = lines::renamed(&line, prefix) {
                told += usize::from(!line.starts_with(' '));
                sums.count(&line);
                outside.say(&line)?;
            }
        }
    }
    let status = child.wait().map_err(|e| format!("{run:?}: {e}"))?;
    let complained = fs::read_to_string(&complaints).unwrap_or_default();
    // It fails for the cases that it told of; otherwise something is wrong with itself.
    let whole = if told != count {
        Err(format!("told of {told} cases of {count}, {status}: {complained}"))
    } else if !status.success() && sums.failed == 0 {
        Err(format!("{status}: {complained}"))
    } else {
        Ok(())
    };
    outside.verdict(&format!("{prefix}/whole"), began, whole)
}
