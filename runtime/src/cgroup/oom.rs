//! Who ran out of memory: counting the kernel's kills, and waiting for the next.
//!
//! May not: decide what a kill means for the container.

use super::file;
use super::freeze::value_of;
use super::paths::CgroupPaths;
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// How often the kernel has killed a process of the cgroup for its memory limit; 0 where nobody counts.
pub fn kills(paths: &CgroupPaths) -> Result<u64> {
    let (name, dir) = match paths {
        CgroupPaths::Unified { dir } => ("memory.events", Some(dir)),
        CgroupPaths::Legacy { .. } => ("memory.oom_control", paths.dir_of("memory")),
        CgroupPaths::None => return Ok(0),
    };
    let Some(dir) = dir else { return Ok(0) };
    let text = file::read_if_there(&dir.path(), name)?.unwrap_or_default();
    Ok(value_of(&text, "oom_kill").unwrap_or(0))
}

/// What has happened since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomEvent {
    /// The cgroup has run out of memory.
    OutOfMemory,
    /// Nothing that matters.
    Nothing,
    /// The cgroup is gone or empty: nothing will come any more.
    Over,
}

/// A descriptor that becomes readable when the cgroup may have run out of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    dir: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// An eventfd, and the file that it is tied to, which must stay open.
    V1 { _control: OwnedFd },
    /// inotify; the number of kills already told.
    V2 { told: u64 },
}

impl OomWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the container has no memory cgroup.
    pub fn new(paths: &CgroupPaths) -> Result<OomWatch> {
        match paths {
            CgroupPaths::Unified { dir } => watch_v2(dir.path()),
            CgroupPaths::Legacy { .. } => match paths.dir_of("memory") {
                Some(dir) => watch_v1(dir.path()),
                None => Err(Error::new(
                    "memory cgroup not available: out-of-memory events cannot be watched",
                )),
            },
            CgroupPaths::None => Err(Error::new(
                "the container has no cgroup: out-of-memory events cannot be watched",
            )),
        }
    }

    /// To be polled for reading.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// What the descriptor's becoming readable meant.
    pub fn take(&mut self) -> Result<OomEvent> {
        match &mut self.kind {
            Kind::V1 { .. } => {
                let fired = sys::watch::take_events(self.fd.as_fd())? > 0;
                // Removing the cgroup fires once more.
                if !self.dir.join("memory.oom_control").exists() {
                    return Ok(OomEvent::Over);
                }
                Ok(if fired {
                    OomEvent::OutOfMemory
                } else {
                    OomEvent::Nothing
                })
            }
            Kind::V2 { told } => {
                sys::watch::drain(self.fd.as_fd())?;
                let now = kills_v2(&self.dir)?;
                if now > *told {
                    *told = now;
                    return Ok(OomEvent::OutOfMemory);
                }
                let events = file::read_if_there(&self.dir, "cgroup.events")?;
                match events.and_then(|t| value_of(&t, "populated")) {
                    Some(1) => Ok(OomEvent::Nothing),
                    _ => Ok(OomEvent::Over),
                }
            }
        }
    }
}

fn watch_v1(dir: PathBuf) -> Result<OomWatch> {
    let control = sys::fs::open(&dir.join("memory.oom_control"), libc::O_RDONLY, 0)
        .doing(|| "unable to watch for out-of-memory events")?;
    let fd = sys::watch::eventfd()?;
    file::write(
        &dir,
        "cgroup.event_control",
        &format!("{} {}", raw(&fd), raw(&control)),
    )
    .doing(|| "unable to watch for out-of-memory events")?;
    Ok(OomWatch {
        fd,
        dir,
        kind: Kind::V1 { _control: control },
    })
}

fn raw(fd: &OwnedFd) -> i32 {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd()
}

fn watch_v2(dir: PathBuf) -> Result<OomWatch> {
    let fd = sys::watch::inotify()?;
    for name in ["memory.events", "cgroup.events"] {
        sys::watch::watch_modification(fd.as_fd(), &dir.join(name))
            .doing(|| "unable to watch for out-of-memory events")?;
    }
    Ok(OomWatch {
        fd,
        dir,
        kind: Kind::V2 { told: 0 },
    })
}

fn kills_v2(dir: &Path) -> Result<u64> {
    let text = file::read_if_there(dir, "memory.events")?.unwrap_or_default();
    Ok(value_of(&text, "oom_kill").unwrap_or(0))
}
