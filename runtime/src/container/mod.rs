//! The verbs: one file each, and what they share.
//!
//! May not: print or log errors; outcomes go back to the command line.

pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod freeze;
pub mod gc;
pub mod kill;
pub mod pid_file;
pub mod processes;
pub mod run;
pub mod show;
pub mod start;
pub mod update;

use crate::cgroup::Cgroup;
use crate::cli::args::ContainerId;
use crate::cli::identity::SPEC_VERSION;
use crate::config::{Config, Hook};
use crate::error::{Error, Kind, Result};
use crate::gate;
use crate::hooks::{HookState, Phase, run_hooks};
use crate::procfs::Procfs;
use crate::state::{Identity, Record, StateDir, StateRoot, Status};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use sys::wait::Deadline;

/// An existing container.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub dir: StateDir,
    /// Its record; `None` when its create was killed before it wrote one.
    pub record: Option<Record>,
    /// Somebody was at work on it when the record was read, and the record names no init yet.
    pub under_way: bool,
}

impl Container {
    /// Finds a container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] with the words `container does not exist`.
    pub fn find(root: &Path, id: &ContainerId) -> Result<Container> {
        Container::of(StateRoot::new(root).find(id)?)
    }

    /// The container of a directory.
    ///
    /// A record without an init is one that a create is still writing, or what a killed one left. Between our reading
    /// it and our asking for the lock that create may have ended, so what is not locked is read again.
    pub fn of(dir: StateDir) -> Result<Container> {
        let mut record = dir.load_record()?;
        let unfinished = record.as_ref().is_none_or(|r| r.init.is_none());
        let under_way = unfinished && dir.is_locked()?;
        if unfinished && !under_way {
            record = dir.load_record()?;
            dir.still_there()?;
        }
        Ok(Container {
            dir,
            record,
            under_way,
        })
    }

    /// A container that was just made, by us.
    pub fn made(dir: StateDir, record: Record) -> Container {
        Container {
            dir,
            record: Some(record),
            under_way: false,
        }
    }

    /// What is there once we hold the lock, and nobody else is at work.
    pub fn reload(&mut self) -> Result<()> {
        self.record = self.dir.load_record()?;
        self.under_way = false;
        Ok(())
    }

    /// The record of a container that got as far as having one.
    pub fn record(&self) -> Result<&Record> {
        self.record.as_ref().ok_or_else(|| {
            Error::of(
                Kind::WrongState,
                "the container was not created completely; delete it with --force",
            )
        })
    }

    /// Its cgroup. One of another boot is gone, and its path may be somebody else's by now.
    pub fn cgroup(&self) -> Result<Cgroup> {
        match &self.record {
            Some(record) if is_this_boot(record)? => {
                Ok(Cgroup::of_unit(record.cgroup.clone(), record.unit.clone()))
            }
            _ => Ok(Cgroup::default()),
        }
    }

    /// A pidfd of the init, while it is alive.
    pub fn init(&self) -> Result<Option<OwnedFd>> {
        match self.record.as_ref().and_then(|r| r.init.map(|i| (i, r))) {
            Some((identity, record)) if is_this_boot(record)? => open_live(identity),
            _ => Ok(None),
        }
    }

    /// Where in its life the container is.
    pub fn status(&self) -> Result<Status> {
        if self.init()?.is_none() {
            return Ok(if self.under_way {
                Status::Creating
            } else {
                Status::Stopped
            });
        }
        // A created container can be paused too, and cannot be started then.
        Ok(if self.cgroup()?.is_frozen()? {
            Status::Paused
        } else if gate::is_waited_at(&self.dir) {
            Status::Created
        } else {
            Status::Running
        })
    }

    /// The configuration as it was at create.
    pub fn config(&self) -> Result<Config> {
        let json = self.dir.load_config()?;
        crate::config::parse(&json).or_else(|p| p.into_result().and(Err(Error::new("unreadable"))))
    }

    /// Runs poststart or poststop hooks, when the configuration has any. One poststop hook that fails does not keep
    /// the others from running.
    pub fn run_post_hooks(&self, phase: Phase) -> Result<()> {
        let Some(record) = self.record.as_ref().filter(|r| r.has_post_hooks) else {
            return Ok(());
        };
        let config = self.config()?;
        let Some(hooks) = &config.hooks else { return Ok(()) };
        let bundle = record.bundle.to_string_lossy();
        let stopped = phase == Phase::Poststop;
        let state = HookState {
            oci_version: SPEC_VERSION,
            id: &record.id,
            status: if stopped {
                Status::Stopped.word()
            } else {
                Status::Running.word()
            },
            pid: if stopped {
                0
            } else {
                record.init.map_or(0, |i| i.pid)
            },
            bundle: &bundle,
            annotations: &record.annotations,
        };
        let json = state.to_json()?;
        if stopped {
            run_each(&hooks.poststop, &json)
        } else {
            run_hooks(phase.of(hooks), phase, &json, &[])
        }
    }
}

/// Runs every poststop hook; the failures are joined.
fn run_each(hooks: &[Hook], state: &str) -> Result<()> {
    let mut failures = Vec::new();
    for (n, hook) in hooks.iter().enumerate() {
        if let Err(e) = run_hooks(std::slice::from_ref(hook), Phase::Poststop, state, &[]) {
            failures.push(e.to_string().replace("hook #0", &format!("hook #{n}")));
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Error::new(failures.join("; ")))
    }
}

/// The boot that we live in.
pub fn boot_id() -> Result<String> {
    Ok(Procfs::host()?
        .read("sys/kernel/random/boot_id")?
        .trim()
        .to_string())
}

fn is_this_boot(record: &Record) -> Result<bool> {
    Ok(record.boot_id == boot_id()?)
}

/// The identity of a live process; `None` when there is none (a zombie counts as none).
pub fn probe_identity(pid: i32) -> Result<Option<Identity>> {
    Ok(probe_stat(pid)?
        .filter(|(state, _)| !matches!(state, 'Z' | 'X'))
        .map(|(_, start_time)| Identity { pid, start_time }))
}

fn probe_stat(pid: i32) -> Result<Option<(char, u64)>> {
    match Procfs::host()?.read(&format!("{pid}/stat")) {
        Ok(text) => Ok(parse_stat(&text)),
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A pidfd of the process with this identity. The pidfd is opened first and the identity checked after it, so that it
/// cannot belong to a later process with the same pid.
fn open_live(identity: Identity) -> Result<Option<OwnedFd>> {
    let pidfd = match sys::process::pidfd_open(identity.pid) {
        Ok(fd) => fd,
        Err(e) if e.is(libc::ESRCH) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    match probe_stat(identity.pid)? {
        // The main thread alone may have ended: only the pidfd knows whether that was the last one.
        Some(('Z' | 'X', start)) if start == identity.start_time => {
            Ok((!has_ended(&pidfd)?).then_some(pidfd))
        }
        Some((_, start)) if start == identity.start_time => Ok(Some(pidfd)),
        _ => Ok(None),
    }
}

fn has_ended(pidfd: &OwnedFd) -> Result<bool> {
    match sys::wait::readable(pidfd.as_fd(), Deadline::after(Duration::ZERO)) {
        Ok(()) => Ok(true),
        Err(e) if e.is(libc::ETIMEDOUT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// State and start time of proc_pid_stat(5). The name may hold spaces and parentheses, so fields count from the last `)`.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let tail = &text[text.rfind(')')? + 1..];
    let mut fields = tail.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_time = fields.nth(18)?.parse().ok()?;
    Some((state, start_time))
}

/// Sends a signal; a process that is gone is `container not running`, the words that engines look for.
pub fn signal(pidfd: &OwnedFd, number: i32) -> Result<()> {
    match sys::process::pidfd_send_signal(pidfd.as_fd(), number) {
        Err(e) if e.is(libc::ESRCH) => Err(Error::of(Kind::WrongState, "container not running")),
        Err(e) => Err(Error::reason(&e).doing("unable to signal init")),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_fields_count_from_the_last_parenthesis() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1";
        assert_eq!(parse_stat(text), Some(('S', 12345)));
        assert_eq!(parse_stat("7 (x"), None);
    }

    #[test]
    fn our_own_identity_is_live() {
        let me = std::process::id() as i32;
        let identity = probe_identity(me).unwrap().unwrap();
        assert!(open_live(identity).unwrap().is_some());
        assert!(
            open_live(Identity {
                start_time: identity.start_time + 1,
                ..identity
            })
            .unwrap()
            .is_none()
        );
    }
}
