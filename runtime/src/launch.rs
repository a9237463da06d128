//! The parent's side of making a process: forks it, answers its requests, and knows at the end that it runs.
//!
//! May not: change the runtime's own namespaces (hooks run there), wait without a deadline on our own processes, or
//! leave a process behind when it fails.

use crate::error::{Doing, Error, Result};
use crate::init::{self, Child};
use crate::process::limits::Rlimit;
use crate::steps::Step;
use crate::wire::{Answer, Report, Request, Wire};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::process::{Block, Exit, Forked};
use sys::wait::Deadline;

/// The longest time that the child may spend between two messages. It covers the slowest mount (a network file
/// system that answers late), not the user's hooks.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that was made.
#[derive(Debug)]
pub struct Process {
    /// Pid in our pid namespace.
    pub pid: i32,
    /// Refers to this very process.
    pub pidfd: OwnedFd,
    /// The child's cgroup was chosen at its birth (CLONE_INTO_CGROUP).
    pub in_cgroup: bool,
}

impl Process {
    /// Ends it and takes its exit status; whatever it was doing.
    pub fn destroy(&self) -> Result<()> {
        match sys::process::pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL) {
            Err(e) if !e.is(libc::ESRCH) => return Err(e.into()),
            _ => {}
        }
        sys::wait::readable(self.pidfd.as_fd(), Deadline::after(Duration::from_secs(10)))
            .doing(|| format!("waiting for the killed process {}", self.pid))?;
        match sys::process::wait_pid(self.pid, Block::No) {
            Err(e) if !e.is(libc::ECHILD) => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// What the parent does when the child asks.
pub trait Answers {
    /// Work that can be done while the child does its own; before its next request is answered.
    fn beside(&mut self, process: &Process) -> Result<()>;
    /// [`Request::Setup`]: id maps, cgroup, limits.
    fn setup(&mut self, process: &Process) -> Result<()>;
    /// [`Request::Network`]: `linux.netDevices`, with a netlink socket of the container's namespace.
    fn network(&mut self, process: &Process, inside: OwnedFd) -> Result<()>;
    /// [`Report::Source`]: the bind source of the mount at this place.
    fn source(&mut self, process: &Process, position: usize) -> Result<OwnedFd>;
    /// [`Request::Hooks`]: prestart and createRuntime hooks.
    fn hooks(&mut self, process: &Process) -> Result<()>;
    /// [`Request::Ready`]: record it. After this the child goes on.
    fn ready(&mut self, process: &Process) -> Result<()>;
    /// [`Report::Listener`]: whoever decides the calls that the filter does not gets it.
    fn listener(&mut self, process: &Process, listener: OwnedFd) -> Result<()>;
    /// The terminal's master for a foreground process.
    fn console(&mut self, master: OwnedFd) -> Result<()>;
    /// Something that is not enforced.
    fn warning(&mut self, text: String);
    /// Why the init may have died, beyond its exit status.
    fn epitaph(&self) -> Option<String>;
}

/// How far [`launch`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The init waits at its gate.
    Parked,
    /// The user's program runs.
    Executed,
}

/// Forks the child and serves it until it is parked or runs its program. On failure the child is gone.
pub fn launch<'c>(
    steps: &[Step],
    make_child: impl FnOnce(Wire) -> Child<'c>,
    flags: u64,
    cgroup: Option<BorrowedFd<'_>>,
    answers: &mut dyn Answers,
    until: Until,
) -> Result<Process> {
    let (ours, theirs) = Wire::pair()?;
    let mut child = make_child(theirs);
    let first = match fork_into(&mut child, flags, cgroup).doing(|| "unable to start the container's init")? {
        Forked::Child => {
            drop(ours);
            init::run(steps, child)
        }
        Forked::Parent {
            pid,
            pidfd,
            in_cgroup,
        } => {
            let pidfd = match pidfd {
                Some(fd) => fd,
                // Our own child cannot be reaped by anybody else, so its pid is not reused.
                None => sys::process::pidfd_open(pid)?,
            };
            Process {
                pid,
                pidfd,
                in_cgroup,
            }
        }
    };
    // Our copy of the child's end must go, or its death would not show as end of file.
    drop(child);
    let mut served = Served {
        process: first,
        stage: None,
        ready: false,
    };
    let needs_setup = steps.contains(&Step::Ask(Request::Setup));
    match serve(&ours, &mut served, answers, until, needs_setup) {
        Ok(()) => Ok(served.process),
        Err(e) => Err(explain(e, answers).and_also(served.destroy())),
    }
}

/// A child that is killed while it waits for an answer is noticed by the answer: nobody is there to read it.
fn explain(e: Error, answers: &dyn Answers) -> Error {
    match answers.epitaph() {
        Some(why) if e.is(libc::EPIPE) => Error::new(format!("container init died during its setup ({why})")),
        _ => e,
    }
}

/// Forks into the cgroup; where that cannot be (clone3 missing or filtered, a cgroup that takes no processes or is of
/// another kind), the child learns before its birth that it has to enter by itself, and gets the telling error there.
fn fork_into(child: &mut Child<'_>, flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    if let Some(dir) = cgroup {
        match sys::process::fork(flags, Some(dir)) {
            Err(e) if is_refused(&e) => {}
            other => return Ok(other?),
        }
        for (_, entrance) in &mut child.entrances {
            entrance.open_v2()?;
        }
    }
    Ok(sys::process::fork(flags, None)?)
}

fn is_refused(e: &sys::Error) -> bool {
    e.is_unavailable()
        || [
            libc::EBUSY,
            libc::EOPNOTSUPP,
            libc::EACCES,
            libc::EINVAL,
            libc::ENODEV,
        ]
        .iter()
        .any(|n| e.is(*n))
}

struct Served {
    process: Process,
    stage: Option<Process>,
    ready: bool,
}

impl Served {
    fn destroy(&self) -> Result<()> {
        let first = self.process.destroy();
        match &self.stage {
            Some(stage) => first.and(stage.destroy()),
            None => first,
        }
    }
}

fn serve(
    wire: &Wire,
    served: &mut Served,
    answers: &mut dyn Answers,
    until: Until,
    needs_setup: bool,
) -> Result<()> {
    let mut deadline = Deadline::after(PATIENCE);
    // A child that waits for its id maps is served first; one that runs by itself leaves us time.
    if !needs_setup {
        beside(wire, served, answers)?;
    }
    loop {
        sys::wait::readable(wire.fd(), deadline).doing(|| {
            format!(
                "waiting for the container's init (pid {}) to set itself up",
                served.process.pid
            )
        })?;
        deadline = Deadline::after(PATIENCE);
        let Some((report, mut fds)) = wire.next()? else {
            return end_of_file(served, answers);
        };
        match report {
            Report::Ask(Request::Setup) => {
                answers.setup(&served.process)?;
                go_on(wire, served, answers)?;
                beside(wire, served, answers)?;
                continue;
            }
            Report::Ask(Request::Network) => match fds.pop() {
                Some(inside) => answers.network(&served.process, inside)?,
                None => return Err(Error::new("the container's init lent no netlink socket")),
            },
            Report::Source(position) => {
                let tree = answers.source(&served.process, position as usize)?;
                wire.answer_source(tree.as_fd())?;
                continue;
            }
            // Done beside the child, and so before this.
            Report::Ask(Request::Cgroup) => {}
            Report::Ask(Request::Hooks) => answers.hooks(&served.process)?,
            Report::Ask(Request::Ready) => {
                answers.ready(&served.process)?;
                served.ready = true;
            }
            // Whatever number it names gets a signal when something fails, so nobody inside may name another one later.
            Report::Stage(_) if served.stage.is_some() => {
                return Err(Error::new("the container's init was named twice"));
            }
            Report::Stage(pid) => {
                let process = Process {
                    pid,
                    pidfd: sys::process::pidfd_open(pid)?,
                    in_cgroup: served.process.in_cgroup,
                };
                served.stage = Some(std::mem::replace(&mut served.process, process));
                continue;
            }
            Report::Listener(number) => match fds
                .pop()
                .map_or_else(|| take(&served.process, number), |fd| Ok(Some(fd)))?
            {
                Some(listener) => answers.listener(&served.process, listener)?,
                None => {
                    wire.answer(Answer::Lend)?;
                    continue;
                }
            },
            Report::Console => {
                if let Some(fd) = fds.pop() {
                    answers.console(fd)?;
                }
                continue;
            }
            Report::Busy(_) => {
                deadline = Deadline::NEVER;
                continue;
            }
            Report::Warning(text) => {
                answers.warning(text);
                continue;
            }
            Report::Failed { errno, text, .. } => return Err(Error::received(text, errno)),
        }
        go_on(wire, served, answers)?;
        if served.ready && until == Until::Parked {
            return reap_stage(served);
        }
    }
}

/// A descriptor of the child's; `None` when it is not ours to take: what an ordinary user's runtime has forked is not dumpable.
fn take(child: &Process, number: i32) -> Result<Option<OwnedFd>> {
    match sys::process::pidfd_getfd(child.pidfd.as_fd(), number) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if e.is(libc::EPERM) || e.is_unavailable() => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Answers; a child that is not there to read it has died.
fn go_on(wire: &Wire, served: &Served, answers: &dyn Answers) -> Result<()> {
    match wire.answer(Answer::Go) {
        Err(e) if e.is(libc::EPIPE) || e.is(libc::ECONNRESET) => died(served, answers),
        other => other,
    }
}

/// When our own part fails because the child has died meanwhile (systemd cannot move what is gone), its last words are the cause.
fn beside(wire: &Wire, served: &Served, answers: &mut dyn Answers) -> Result<()> {
    answers
        .beside(&served.process)
        .map_err(|e| last_words(wire).unwrap_or(e))
}

fn last_words(wire: &Wire) -> Option<Error> {
    while sys::wait::readable(wire.fd(), Deadline::after(Duration::ZERO)).is_ok() {
        if let (Report::Failed { errno, text, .. }, _) = wire.next().ok()?? {
            return Some(Error::received(text, errno));
        }
    }
    None
}

/// After Ready it is the exec; before, the child died without a word.
fn end_of_file(served: &mut Served, answers: &dyn Answers) -> Result<()> {
    if served.ready {
        return reap_stage(served);
    }
    died(served, answers)
}

/// Says how the child ended.
fn died(served: &Served, answers: &dyn Answers) -> Result<()> {
    let pid = served.process.pid;
    sys::wait::readable(
        served.process.pidfd.as_fd(),
        Deadline::after(Duration::from_secs(10)),
    )
    .doing(|| format!("waiting for the container's init (pid {pid}) to end"))?;
    let how = match sys::process::wait_pid(pid, Block::No) {
        Ok(Some(Exit::Code(c))) => format!("exit status {c}"),
        Ok(Some(Exit::Signal(s))) => format!("signal {s}"),
        _ => "unknown".into(),
    };
    let why = answers.epitaph().map(|t| format!(" ({t})")).unwrap_or_default();
    Err(Error::new(format!(
        "container init died during its setup: {how}{why}"
    )))
}

fn reap_stage(served: &mut Served) -> Result<()> {
    let Some(stage) = &served.stage else { return Ok(()) };
    sys::wait::readable(stage.pidfd.as_fd(), Deadline::after(Duration::from_secs(10)))
        .doing(|| format!("waiting for the stage (pid {}) to end", stage.pid))?;
    sys::process::wait_pid(stage.pid, Block::No)?;
    Ok(())
}

/// Sets limits on another process, in runc's words.
pub fn apply_rlimits(pid: i32, limits: &[Rlimit]) -> Result<()> {
    for l in limits {
        sys::process::set_rlimit(pid, l.resource, l.soft, l.hard)
            .map_err(|e| Error::from(e.clone()).doing(format!("error setting rlimit type {}", l.resource)))
            .doing(|| "error setting rlimits for ready process")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Answers for Nothing {
        fn beside(&mut self, _: &Process) -> Result<()> {
            Ok(())
        }
        fn setup(&mut self, _: &Process) -> Result<()> {
            Ok(())
        }
        fn source(&mut self, _: &Process, _: usize) -> Result<OwnedFd> {
            Err(Error::new("nothing is asked for"))
        }
        fn network(&mut self, _: &Process, _: OwnedFd) -> Result<()> {
            Ok(())
        }
        fn hooks(&mut self, _: &Process) -> Result<()> {
            Ok(())
        }
        fn ready(&mut self, _: &Process) -> Result<()> {
            Ok(())
        }
        fn listener(&mut self, _: &Process, _: OwnedFd) -> Result<()> {
            Ok(())
        }
        fn console(&mut self, _: OwnedFd) -> Result<()> {
            Ok(())
        }
        fn warning(&mut self, _: String) {}
        fn epitaph(&self) -> Option<String> {
            None
        }
    }

    #[test]
    fn the_init_is_named_once() {
        let (ours, theirs) = Wire::pair().unwrap();
        let me = sys::process::pid();
        let process = Process {
            pid: me,
            pidfd: sys::process::pidfd_open(me).unwrap(),
            in_cgroup: false,
        };
        let mut served = Served {
            process,
            stage: None,
            ready: false,
        };
        theirs.report(&Report::Stage(me), None).unwrap();
        theirs.report(&Report::Stage(1), None).unwrap();
        let e = serve(&ours, &mut served, &mut Nothing, Until::Parked, false).unwrap_err();
        assert_eq!(e.to_string(), "the container's init was named twice");
        assert_eq!(served.process.pid, me);
    }
}
