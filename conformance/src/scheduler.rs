//! Runs cases, several at once, each in a worker process with a deadline. Judges nothing itself.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::config::Place;
use crate::expectation::{Expectations, Known};
use crate::host::{self, CgroupView};
use crate::kernel;
use crate::leak;
use crate::patience;
use crate::worker::{self, Finding, Outcome};

/// A runtime under judgement.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The program.
    pub path: PathBuf,
    /// First word of its version.
    pub name: String,
    /// First line of its version.
    pub version: String,
}

impl Subject {
    /// Asks `path --version`.
    ///
    /// # Errors
    /// It cannot be run, or does not end within ten seconds.
    pub fn probe(path: &Path) -> Result<Self, String> {
        let found = resolve(path)?;
        let mut child = Command::new(&found)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", found.display()))?;
        let pid = i32::try_from(child.id()).unwrap_or(-1);
        let ended = kernel::open_pidfd(pid)
            .and_then(|fd| kernel::poll_readable(&[fd.as_raw_fd()], Duration::from_secs(10)));
        if !ended.is_ok_and(|e| e.contains(&true)) {
            let _ = child.kill();
        }
        let out = child.wait_with_output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let version = text.lines().next().unwrap_or_default().to_owned();
        let name = version.split_whitespace().next().unwrap_or("unknown").to_owned();
        Ok(Subject {
            path: found,
            name,
            version,
        })
    }
}

/// A path as it is; a bare name from PATH.
fn resolve(path: &Path) -> Result<PathBuf, String> {
    let candidates: Vec<PathBuf> = if path.components().count() > 1 {
        vec![path.to_owned()]
    } else {
        let dirs = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&dirs).map(|d| d.join(path)).collect()
    };
    let found = candidates
        .into_iter()
        .find(|c| c.is_file())
        .ok_or_else(|| format!("no runtime at {}", path.display()))?;
    fs::canonicalize(&found).map_err(|e| format!("{}: {e}", found.display()))
}

/// How to run.
pub struct Plan<'a> {
    /// Whom.
    pub subject: &'a Subject,
    /// What.
    pub cases: &'a [&'static Case],
    /// On which cgroup tree.
    pub view: CgroupView,
    /// How many at once.
    pub jobs: usize,
    /// Under which directory.
    pub work: &'a Path,
    /// Whether failed cases' directories stay.
    pub keep: bool,
    /// How often a case that did not end as expected is tried again: for a reference whose own races are known, not for
    /// the runtime that is judged.
    pub retries: u32,
    /// Every deadline times this.
    pub patience: Option<u32>,
}

/// One judged case.
#[derive(Debug)]
pub struct Verdict {
    /// Which.
    pub case: &'static Case,
    /// What was found.
    pub finding: Finding,
    /// Why a failure was expected, if it was.
    pub known: Option<Known>,
    /// At which try; the first is 1.
    pub tries: u32,
}

impl Verdict {
    /// Whether this is what the lists say.
    #[must_use]
    pub fn as_expected(&self) -> bool {
        match self.finding.outcome {
            Outcome::Skip => true,
            Outcome::Pass => self.known.as_ref().is_none_or(|k| !k.always),
            Outcome::Fail => self.known.is_some(),
        }
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

/// A case in its turn.
#[derive(Clone, Copy)]
struct Turn {
    case: &'static Case,
    index: usize,
    tries: u32,
}

impl Turn {
    fn tag(&self) -> String {
        format!("{}-{}-{}", run_tag(), self.index, self.tries)
    }
}

struct Active {
    turn: Turn,
    child: Child,
    fd: OwnedFd,
    dir: PathBuf,
    end: Instant,
}

/// Runs all cases of the plan; `each` hears of every verdict in the order of the cases.
///
/// # Errors
/// Those of making directories and processes.
pub fn run(
    plan: &Plan<'_>,
    known: &Expectations,
    mut each: impl FnMut(&Verdict),
) -> io::Result<Vec<Verdict>> {
    kernel::become_subreaper()?;
    let mut waiting: VecDeque<Turn> = (plan.cases.iter().enumerate())
        .map(|(index, case)| Turn {
            case,
            index,
            tries: 1,
        })
        .collect();
    let mut active: Vec<Active> = Vec::new();
    let mut done: Vec<Option<Verdict>> = plan.cases.iter().map(|_| None).collect();
    let mut told = 0;
    loop {
        while active.len() < plan.jobs {
            let Some(turn) = waiting.pop_front() else {
                break;
            };
            active.push(start(plan, turn)?);
        }
        if active.is_empty() {
            break;
        }
        for a in take_ended(&mut active)? {
            let turn = a.turn;
            let verdict = conclude(plan, known, a)?;
            if verdict.as_expected() || turn.tries > plan.retries {
                done[turn.index] = Some(verdict);
            } else {
                waiting.push_front(Turn {
                    tries: turn.tries + 1,
                    ..turn
                });
            }
        }
        while let Some(Some(v)) = done.get(told) {
            each(v);
            told += 1;
        }
    }
    remove_run_cgroups();
    Ok(done.into_iter().flatten().collect())
}

fn run_tag() -> String {
    format!("cf{}", std::process::id())
}

fn start(plan: &Plan<'_>, turn: Turn) -> io::Result<Active> {
    let Turn { case, .. } = turn;
    let tag = turn.tag();
    let dir = plan.work.join(&tag);
    fs::create_dir_all(&dir)?;
    let mut command = Command::new("/proc/self/exe");
    if let Some(n) = plan.patience {
        command.env(patience::VARIABLE, n.to_string());
    }
    let child = command
        .args(["__case", case.id, &tag, plan.view.name()])
        .arg(&plan.subject.path)
        .arg(&plan.subject.name)
        .arg(&dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("worker.err"))?)
        .spawn()?;
    let fd = kernel::open_pidfd(i32::try_from(child.id()).unwrap_or(-1))?;
    Ok(Active {
        turn,
        child,
        fd,
        dir,
        end: Instant::now() + Duration::from_secs(case.deadline) * plan.patience.unwrap_or(1),
    })
}

/// Waits until at least one ends or is overdue, and takes those out.
fn take_ended(active: &mut Vec<Active>) -> io::Result<Vec<Active>> {
    loop {
        let now = Instant::now();
        let next = active.iter().map(|a| a.end).min().unwrap_or(now);
        let fds: Vec<_> = active.iter().map(|a| a.fd.as_raw_fd()).collect();
        let ready = kernel::poll_readable(&fds, next.saturating_duration_since(now))?;
        let now = Instant::now();
        let mut ended = Vec::new();
        for i in (0..active.len()).rev() {
            if ready[i] || active[i].end <= now {
                ended.push(active.remove(i));
            }
        }
        if !ended.is_empty() {
            return Ok(ended);
        }
    }
}

fn conclude(plan: &Plan<'_>, known: &Expectations, mut a: Active) -> io::Result<Verdict> {
    let overdue = a.child.try_wait()?.is_none();
    if overdue {
        worker::end_tree(a.child.id());
    }
    a.child.wait()?;
    let finding = if overdue {
        Finding::failed(format!(
            "the case had not ended after {} s and was killed",
            a.turn.case.deadline * u64::from(plan.patience.unwrap_or(1))
        ))
    } else {
        load_finding(&a.dir)
    };
    let place = Place {
        dir: a.dir.clone(),
        tag: a.turn.tag(),
        cgroups: host::probe_cgroup_mode(),
    };
    if overdue {
        leak::remove_cgroups(&place);
    }
    if !(plan.keep && finding.outcome == Outcome::Fail) {
        fs::remove_dir_all(&a.dir)?;
    }
    let known = known.known(a.turn.case.id, plan.view.mode());
    Ok(Verdict {
        case: a.turn.case,
        finding,
        known,
        tries: a.turn.tries,
    })
}

fn load_finding(dir: &Path) -> Finding {
    let parsed = fs::read(dir.join("result.json")).map_err(|e| e.to_string());
    match parsed.and_then(|b| serde_json::from_slice(&b).map_err(|e| e.to_string())) {
        Ok(f) => f,
        Err(e) => {
            let said = fs::read_to_string(dir.join("worker.err")).unwrap_or_default();
            Finding::failed(format!("the worker left no result ({e}): {}", said.trim()))
        }
    }
}

/// The directory above the cases' cgroups, in every hierarchy. Runtimes make it and leave it, as they should.
fn remove_run_cgroups() {
    let base = Path::new("/sys/fs/cgroup");
    let _ = fs::remove_dir(base.join(run_tag()));
    for e in fs::read_dir(base).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(e.path().join(run_tag()));
    }
}
