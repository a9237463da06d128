//! The processes below us, and how each of them ended.
//!
//! May not: lose an exit, or give one to the wrong process.
//!
//! One place reaps: everything that ends below us comes through [`Children::reap`], in one thread, so a pid names one
//! process from the moment it is known until its exit is recorded. A container's process becomes our child when the
//! runtime that made it ends (PR_SET_CHILD_SUBREAPER); it may be dead before its pid is known. While a [`Flight`] is open,
//! exits of processes that nobody knows are kept for [`Children::adopt`].
//!
//! signalfd(2) and waitid(2) instead of a pidfd for each process: orphans of containers without a pid namespace of their own
//! have to be reaped anyway, and a thousand execs need no thousand descriptors.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use sys::process::{Block, ExecStrings, Exit, Spawn, Tie};

use crate::error::{Error, Result};
use crate::reactor::Reactor;
use crate::sync::Once;

/// Exit status of a forked copy that could not begin.
const UNPREPARED: i32 = 125;

/// How and when a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exited {
    /// Exit status, or 128 and the signal's number.
    pub code: u32,
    /// When it was seen.
    pub at: SystemTime,
}

/// A process below us.
#[derive(Clone, Debug)]
pub struct Child {
    /// Its pid. It is nobody else's before `exit` is set.
    pub pid: i32,
    /// How it ended.
    pub exit: Rc<Once<Exited>>,
}

impl Child {
    /// kill(2), when it has not been reaped yet.
    ///
    /// # Errors
    /// ESRCH when it has.
    pub fn signal(&self, signal: i32) -> sys::Result<()> {
        if self.exit.is_set() {
            return Err(sys::Error::new(
                "kill",
                self.pid.to_string(),
                sys::Errno(libc::ESRCH),
            ));
        }
        sys::process::kill(self.pid, signal)
    }
}

/// A program to run.
#[derive(Debug)]
pub struct Program<'a> {
    /// Absolute path.
    pub path: &'a str,
    /// argv, the zeroth included.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Descriptors 0, 1, 2 and on.
    pub fds: &'a [BorrowedFd<'a>],
}

#[derive(Default)]
struct Known {
    watched: RefCell<BTreeMap<i32, Rc<Once<Exited>>>>,
    /// Exits of unknown processes, oldest first.
    early: RefCell<Vec<(i32, Exited)>>,
    flights: Cell<usize>,
}

/// All of them. Copies are handles to the same.
#[derive(Clone, Default)]
pub struct Children(Rc<Known>);

impl std::fmt::Debug for Children {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.watched.borrow().keys()).finish()
    }
}

impl Children {
    /// Starts a program that dies with us.
    ///
    /// # Errors
    /// fork's and exec's; the latter names the path.
    pub fn spawn(&self, program: &Program<'_>) -> sys::Result<Child> {
        self.start(program, Tie::DiesWithUs)
    }

    /// Starts a program that outlives us.
    ///
    /// # Errors
    /// As [`Children::spawn`].
    pub fn spawn_lasting(&self, program: &Program<'_>) -> sys::Result<Child> {
        self.start(program, Tie::Outlives)
    }

    fn start(&self, program: &Program<'_>, tie: Tie) -> sys::Result<Child> {
        let path = CString::new(program.path)
            .map_err(|_| sys::Error::new("exec", program.path, sys::Errno(libc::EINVAL)))?;
        let (pid, _) = sys::process::spawn(&Spawn {
            path: &path,
            args: &ExecStrings::new(&program.args)?,
            env: &ExecStrings::new(&program.env)?,
            fds: program.fds,
            tie,
        })?;
        Ok(self.watch(pid))
    }

    /// Runs `work` in a forked copy of ourselves, for what may block: mounts, the end of a cgroup.
    ///
    /// # Errors
    /// What `work` says, in its words; that it was not done by `limit`, when it is killed.
    pub async fn fork(
        &self,
        reactor: &Reactor,
        limit: Option<Instant>,
        work: impl FnOnce() -> std::result::Result<(), String>,
    ) -> Result<()> {
        self.fork_keeping(reactor, limit, &[], work).await
    }

    /// The same; the copy keeps these descriptors.
    ///
    /// # Errors
    /// As [`Children::fork`].
    pub async fn fork_keeping(
        &self,
        reactor: &Reactor,
        limit: Option<Instant>,
        keep: &[BorrowedFd<'_>],
        work: impl FnOnce() -> std::result::Result<(), String>,
    ) -> Result<()> {
        let (rd, wr) = sys::fs::pipe()?;
        let keep = [keep, &[wr.as_fd()]].concat();
        let child = self.fork_with(&keep, || match work() {
            Ok(()) => 0,
            Err(why) => {
                // Shorter than the pipe's buffer. If even this fails the status still says that it went wrong.
                let _ = sys::fs::write(wr.as_fd(), &why.as_bytes()[..why.len().min(4096)]);
                1
            }
        })?;
        drop(wr);
        let exited = reactor.within(limit, child.exit.wait()).await;
        let Some(exited) = exited else {
            // It may be in a wait that no signal ends; nobody waits for it any more.
            child.signal(libc::SIGKILL)?;
            return Err(Error::deadline("it was not done in time"));
        };
        if exited.code == 0 {
            return Ok(());
        }
        let said = sys::fs::read_all(rd.as_fd(), 4096)?;
        Err(Error::new(match said.is_empty() {
            false => String::from_utf8_lossy(&said).into_owned(),
            true => format!("its process ended with status {}", exited.code),
        }))
    }

    /// A forked copy of ourselves that keeps these descriptors and 0 to 2, dies with us and exits with what `work` returns.
    ///
    /// # Errors
    /// fork's.
    pub fn fork_with(&self, keep: &[BorrowedFd<'_>], work: impl FnOnce() -> i32) -> sys::Result<Child> {
        match sys::process::fork(0, None)? {
            sys::process::Forked::Child => {
                let mut keep: Vec<i32> = keep.iter().map(AsRawFd::as_raw_fd).collect();
                // What hangs must not keep a client's FIFO or our socket open.
                sys::fs::close_all_but(3, &mut keep);
                let prepare = || -> sys::Result<()> {
                    sys::process::set_parent_death_signal(libc::SIGKILL)?;
                    sys::wait::reset_signals()
                };
                let code = match prepare() {
                    Ok(()) => work(),
                    Err(_) => UNPREPARED,
                };
                sys::process::exit_now(code)
            }
            sys::process::Forked::Parent { pid, .. } => Ok(self.watch(pid)),
        }
    }

    fn watch(&self, pid: i32) -> Child {
        let exit = Rc::<Once<Exited>>::default();
        self.0.watched.borrow_mut().insert(pid, Rc::clone(&exit));
        Child { pid, exit }
    }

    /// Begins a time in which processes may come up whose pids are told later.
    pub fn flight(&self) -> Flight {
        self.0.flights.set(self.0.flights.get() + 1);
        Flight(self.clone())
    }

    /// Takes over a process that a runtime has left to us.
    ///
    /// # Errors
    /// When it is not our child and was not during the flight either.
    pub fn adopt(&self, pid: i32, _flight: &Flight) -> Result<Child> {
        if let Some(exit) = self.0.watched.borrow().get(&pid) {
            return Ok(Child {
                pid,
                exit: Rc::clone(exit),
            });
        }
        if sys::process::is_child(pid)? {
            return Ok(self.watch(pid));
        }
        let mut early = self.0.early.borrow_mut();
        // The latest, should the kernel have used the number twice.
        let Some(at) = early.iter().rposition(|(p, _)| *p == pid) else {
            return Err(Error::new(format!(
                "process {pid} is not a child of its supervisor"
            )));
        };
        let (_, exited) = early.remove(at);
        let exit = Rc::<Once<Exited>>::default();
        exit.set(exited);
        Ok(Child { pid, exit })
    }

    /// Reaps whatever has ended. To be called when SIGCHLD has come.
    ///
    /// # Errors
    /// waitid(2)'s.
    pub fn reap(&self) -> sys::Result<()> {
        loop {
            let (pid, exit) = match sys::process::wait_any(Block::No) {
                Ok(Some(ended)) => ended,
                Ok(None) => return Ok(()),
                Err(e) if e.is(libc::ECHILD) => return Ok(()),
                Err(e) => return Err(e),
            };
            let exited = Exited {
                code: match exit {
                    Exit::Code(code) => code as u32 & 0xff,
                    Exit::Signal(signal) => 128 + signal as u32,
                },
                at: SystemTime::now(),
            };
            let watched = self.0.watched.borrow_mut().remove(&pid);
            match watched {
                Some(exit) => exit.set(exited),
                None if self.0.flights.get() > 0 => self.0.early.borrow_mut().push((pid, exited)),
                None => {}
            }
        }
    }
}

/// A time in which exits of unknown processes are kept.
#[derive(Debug)]
pub struct Flight(Children);

impl Drop for Flight {
    fn drop(&mut self) {
        let known = &self.0.0;
        known.flights.set(known.flights.get() - 1);
        if known.flights.get() == 0 {
            *known.early.borrow_mut() = Vec::new();
        }
    }
}
