//! The contests: which commands are measured, and in which turns.
//!
//! May not: measure one contestant after the other, or count the time of a command that failed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{Runtime, Stage};
use crate::statistics::{Table, Times};

/// Commands whose first turns are thrown away, until caches are warm.
const WARM_UP: usize = 5;

/// How long a payload that does nothing may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

type Turn<'a> = Box<dyn FnMut() -> Result<Duration, String> + 'a>;

/// Several ways to do the same work.
pub struct Contest<'a> {
    title: String,
    contestants: Vec<(String, Turn<'a>)>,
    /// Ended when the contest is over.
    _holders: Vec<Holder<'a>>,
}

impl Contest<'_> {
    /// Lets everybody take `rounds` turns, each round beginning with another one.
    pub fn hold(mut self, rounds: usize) -> Result<Table, String> {
        let count = self.contestants.len();
        let mut times = vec![Vec::with_capacity(rounds); count];
        for round in 0..WARM_UP + rounds {
            for place in 0..count {
                let who = (round + place) % count;
                let Some((name, turn)) = self.contestants.get_mut(who) else {
                    continue;
                };
                let time = turn().map_err(|e| format!("{}: {name}: {e}", self.title))?;
                if round >= WARM_UP {
                    times[who].push(time);
                }
            }
        }
        let rows = self
            .contestants
            .into_iter()
            .map(|(name, _)| name)
            .zip(times.into_iter().map(Times::new));
        Ok(Table {
            title: self.title,
            rows: rows.collect(),
            gauge: None,
        })
    }
}

/// Every contest, in the order of the report.
pub fn all(stage: &Stage) -> Result<Vec<Contest<'_>>, String> {
    Ok(vec![run(stage), life(stage), exec(stage)?])
}

/// `run` of /bin/true with the default configuration.
fn run(stage: &Stage) -> Contest<'_> {
    let mut contestants: Vec<(String, Turn)> = vec![floor_of_run(stage)];
    for runtime in &stage.runtimes {
        let mut ids = Ids::new("run");
        contestants.push((
            runtime.name.clone(),
            Box::new(move || {
                timed(
                    stage
                        .silent(runtime)
                        .arg("run")
                        .arg("--bundle")
                        .arg(&stage.bundle)
                        .arg(ids.next()),
                )
            }),
        ));
    }
    Contest {
        title: "run".into(),
        contestants,
        _holders: Vec::new(),
    }
}

fn floor_of_run(stage: &Stage) -> (String, Turn<'_>) {
    let rootfs = stage.bundle.join("rootfs");
    (
        "floor".into(),
        Box::new(move || timed(silent(Command::new(&stage.floor).arg(&rootfs)))),
    )
}

/// The three commands an engine calls. What the payload takes between start and delete is nobody's time.
fn life(stage: &Stage) -> Contest<'_> {
    let mut contestants: Vec<(String, Turn)> = vec![floor_of_run(stage)];
    for runtime in &stage.runtimes {
        let mut ids = Ids::new("life");
        contestants.push((
            runtime.name.clone(),
            Box::new(move || one_life(stage, runtime, &ids.next())),
        ));
    }
    Contest {
        title: "create + start + delete (the floor is that of run)".into(),
        contestants,
        _holders: Vec::new(),
    }
}

fn one_life(stage: &Stage, runtime: &Runtime, id: &str) -> Result<Duration, String> {
    let pid_file = stage.dir.join("pid");
    let create = timed(
        stage
            .silent(runtime)
            .arg("create")
            .arg("--bundle")
            .arg(&stage.bundle)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(id),
    )?;
    let pid = read_pid(&pid_file)?;
    let start = timed(stage.silent(runtime).args(["start", id]))?;
    wait_until_gone(pid)?;
    let delete = timed(stage.silent(runtime).args(["delete", id]))?;
    Ok(create + start + delete)
}

/// `exec` of /bin/true in a container that waits.
fn exec(stage: &Stage) -> Result<Contest<'_>, String> {
    let mut contestants: Vec<(String, Turn)> = Vec::new();
    let mut holders = Vec::new();
    for runtime in &stage.runtimes {
        let holder = Holder::start(stage, runtime)?;
        if contestants.is_empty() {
            let (pid, cgroup) = (holder.pid.to_string(), cgroup_of(holder.pid)?);
            contestants.push((
                "floor".into(),
                Box::new(move || {
                    timed(silent(
                        Command::new(&stage.floor).arg("exec").arg(&pid).arg(&cgroup),
                    ))
                }),
            ));
        }
        let id = holder.id.clone();
        contestants.push((
            runtime.name.clone(),
            Box::new(move || timed(stage.silent(runtime).args(["exec", &id, "/bin/true"]))),
        ));
        holders.push(holder);
    }
    Ok(Contest {
        title: "exec".into(),
        contestants,
        _holders: holders,
    })
}

/// A container whose process waits; deleted when dropped.
pub struct Holder<'a> {
    stage: &'a Stage,
    runtime: &'a Runtime,
    pub id: String,
    pub pid: u32,
}

impl<'a> Holder<'a> {
    /// Creates it, without starting its process.
    pub fn create(stage: &'a Stage, runtime: &'a Runtime) -> Result<Holder<'a>, String> {
        let id = format!(
            "bench-hold-{}",
            Path::new(&runtime.path).file_name().unwrap_or_default().display()
        );
        let pid_file = stage.dir.join("pid");
        let mut command = stage.silent(runtime);
        command
            .arg("create")
            .arg("--bundle")
            .arg(&stage.waiting_bundle)
            .arg("--pid-file")
            .arg(&pid_file)
            .arg(&id);
        timed(&mut command)?;
        Ok(Holder {
            stage,
            runtime,
            id,
            pid: read_pid(&pid_file)?,
        })
    }

    pub fn start(stage: &'a Stage, runtime: &'a Runtime) -> Result<Holder<'a>, String> {
        let holder = Holder::create(stage, runtime)?;
        timed(stage.silent(runtime).args(["start", &holder.id]))?;
        Ok(holder)
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        if let Err(e) = timed(
            self.stage
                .silent(self.runtime)
                .args(["delete", "--force", &self.id]),
        ) {
            eprintln!("bench: {}: {e}", self.runtime.name);
        }
    }
}

/// Names that no two containers of a run share.
struct Ids {
    prefix: &'static str,
    next: usize,
}

impl Ids {
    fn new(prefix: &'static str) -> Ids {
        Ids { prefix, next: 0 }
    }

    fn next(&mut self) -> String {
        self.next += 1;
        format!("bench-{}-{}", self.prefix, self.next)
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

/// The time a command takes, from before its start until it was waited for.
fn timed(command: &mut Command) -> Result<Duration, String> {
    let began = Instant::now();
    let status = command.status();
    let time = began.elapsed();
    match status {
        Ok(status) if status.success() => Ok(time),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(e) => Err(format!("{command:?}: {e}")),
    }
}

fn read_pid(file: &Path) -> Result<u32, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    text.trim()
        .parse()
        .map_err(|e| format!("{}: {e}", file.display()))
}

/// The payload is not a child of this program: its end shows in /proc only, as a zombie or as nothing.
fn wait_until_gone(pid: u32) -> Result<(), String> {
    let stat = PathBuf::from(format!("/proc/{pid}/stat"));
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let state = text.rsplit(") ").next().and_then(|rest| rest.chars().next());
        if matches!(state, None | Some('Z' | 'X')) {
            return Ok(());
        }
        std::thread::yield_now();
    }
    Err(format!("the payload {pid} is still there after {PATIENCE:?}"))
}

/// The directory of a process's cgroup, in the v2 tree.
fn cgroup_of(pid: u32) -> Result<PathBuf, String> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(Path::new("/sys/fs/cgroup").join(path.ok_or(format!("{file}: no v2 line"))?))
}
