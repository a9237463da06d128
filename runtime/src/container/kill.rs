//! `kill`: a signal for the init, or for everybody.
//!
//! May not: signal a pid: a pidfd cannot hit somebody else.

use super::{Container, signal};
use crate::cli::Invocation;
use crate::cli::args::{self, KillScope};
use crate::error::{Doing, Error, Kind, Result};
use crate::namespaces::Ns;
use std::os::fd::AsFd;
use std::time::Duration;
use sys::wait::Deadline;

/// `kill`.
///
/// Without a pid namespace of its own the end of its init ends nobody else, so SIGKILL goes to the whole cgroup.
pub fn kill(invocation: &Invocation, args: &args::Kill) -> Result<()> {
    let container = Container::find(&invocation.global.root, &args.id)?;
    let record = container.record()?;
    let shared_pids = !record.namespaces.owns(Ns::Pid);
    let init = container.init()?;
    if args.signal == libc::SIGKILL && shared_pids {
        if init.is_none() && container.cgroup()?.all_pids()?.is_empty() && args.scope == KillScope::Init {
            return Err(not_running());
        }
        return container.cgroup()?.kill_all();
    }
    match init {
        Some(pidfd) => {
            signal(&pidfd, args.signal)?;
            match args.signal {
                libc::SIGKILL => container.cgroup()?.let_killed_die(),
                _ => Ok(()),
            }
        }
        // Whoever is left in the cgroup; nobody is fine.
        None if args.scope == KillScope::All => container.cgroup()?.signal_all(args.signal),
        None => Err(not_running()),
    }
}

fn not_running() -> Error {
    Error::of(Kind::WrongState, "container not running")
}

/// SIGKILL for all that belongs to the container, and waits until it is gone.
///
/// # Errors
/// Says which process did not end in time: one in uninterruptible sleep keeps its cgroup.
pub fn kill_everything(container: &Container) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let cgroup = container.cgroup()?;
    let init = container.init()?;
    if let Some(pidfd) = &init {
        match sys::process::pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
            Err(e) if !e.is(libc::ESRCH) => return Err(e.into()),
            _ => {}
        }
    }
    // A frozen v1 cgroup does not deliver the signal; kill_all thaws it.
    let killed = cgroup.kill_all();
    if let (Some(pidfd), Ok(record)) = (&init, container.record()) {
        let pid = record.init.map_or(0, |i| i.pid);
        sys::wait::readable(pidfd.as_fd(), Deadline::after(PATIENCE))
            .doing(|| format!("container init (pid {pid}) is still running after SIGKILL: waiting for it"))?;
    }
    killed
}
