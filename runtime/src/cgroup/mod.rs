//! Cgroups v1 and v2 through cgroupfs.
//!
//! May not: know how a container is started, or keep anything in memory that [`CgroupPaths`] in the record does not
//! hold: every verb opens the cgroup anew from there.
//!
//! ```text
//! OwnCgroups::probe, probe_layout   read the host
//! plan_cgroup                       pure: paths, writes, device rules, all problems
//! refuse_used; record the paths; create
//! apply_devices, apply_limits(Early)
//! place the process                 clone3 into dir_fd() and/or entrance(..).enter() in the child
//! apply_limits(Late)                memory and pids
//! ```
//!
//! The order keeps a tight limit from counting our own set-up. On v1 the child enters all hierarchies but memory first
//! ([`Share::AllButMemory`]), mounts and so on, and enters the memory cgroup ([`Share::Memory`]) as its last step
//! before it waits for the start; charges that exist by then stay where they were made. Three things must not come before
//! that step: unsharing the cgroup namespace (its root is where the process is then), hooks, which expect to find the
//! process with all limits in force, and files that are copied into a tmpfs. Where one of them is needed, enter with
//! [`Share::All`] early and only write the limits late.

mod convert;
mod create;
mod delegate;
pub mod device;
mod exec;
mod file;
mod freeze;
pub mod hierarchy;
mod limits;
mod oom;
mod paths;
mod plan;
mod processes;
pub mod rdt;
mod stats;
pub mod systemd;
mod update;

pub use create::{complete, create, refuse_used};
pub use exec::{ExecCgroup, Rights};
pub use freeze::State as FreezerState;
pub use hierarchy::{Layout, Mounted, OwnCgroups, OwnV1, probe_layout};
pub use limits::ignored_limits;
pub use oom::{OomEvent, OomWatch};
pub use paths::{CgroupPaths, Dir, Hierarchy, PathProblem, resolve};
pub use plan::{CgroupPlan, Phase, Policy, UsageCheck, Write, plan_cgroup, plan_writes};
pub use update::{UpdatePlan, merge, plan_update};

use self::systemd::{Manager, Unit, Weigher};
use crate::cli::stats::Stats;
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::wait::Deadline;

/// Which hierarchies a process enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Every one.
    All,
    /// v1: every one without the memory controller. v2: the cgroup.
    AllButMemory,
    /// v1: the one with the memory controller. v2: nothing.
    Memory,
}

/// Whether the process was born in the v2 directory (clone3 with CLONE_INTO_CGROUP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Born {
    /// It was: the v2 directory needs no entering.
    InCgroup,
    /// It was not.
    Outside,
}

/// A container's cgroup: directories that exist, or existed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    paths: CgroupPaths,
    /// The unit of systemd that it is, with that driver.
    unit: Option<Unit>,
}

/// How long the kernel may need to empty and remove a cgroup.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The cgroup of a record. Costs nothing; directories that were never made, or are gone, are empty ones.
    pub fn open(paths: CgroupPaths) -> Cgroup {
        Cgroup { paths, unit: None }
    }

    /// The same where it may be a unit of systemd.
    pub fn of_unit(paths: CgroupPaths, unit: Option<Unit>) -> Cgroup {
        Cgroup { paths, unit }
    }

    /// Its directories. After [`create`] without rights these can be fewer than planned.
    pub fn paths(&self) -> &CgroupPaths {
        &self.paths
    }

    /// True when there is no cgroup at all.
    pub fn is_none(&self) -> bool {
        self.paths.dirs().is_empty()
    }

    /// Who weighs its io, as long as it exists.
    pub fn weigher(&self) -> Weigher {
        match self.paths.dir_of("io") {
            Some(dir) if dir.path().join("io.bfq.weight").exists() => Weigher::Bfq,
            _ => Weigher::Controller,
        }
    }

    /// The v2 directory (hybrid hosts have one too) for CLONE_INTO_CGROUP.
    pub fn dir_fd(&self) -> Result<Option<OwnedFd>> {
        let Some(dir) = self.paths.v2() else {
            return Ok(None);
        };
        let fd = sys::fs::open(&dir.path(), libc::O_RDONLY | libc::O_DIRECTORY, 0)
            .doing(|| "unable to open the container's cgroup")?;
        Ok(Some(fd))
    }

    /// Moves a process, with all its threads, into the cgroup.
    ///
    /// On v1 this can cost 8 ms, an RCU grace period that the kernel waits for when a process with threads might be
    /// moved; a child that enters by itself ([`Cgroup::entrance`]) does not pay it.
    pub fn join(&self, pid: i32, share: Share, born: Born) -> Result<()> {
        for path in self.shared(share, born) {
            join_dir(&path, pid)?;
        }
        Ok(())
    }

    /// Opens what a process that is born in the v2 directory needs to enter the rest by itself. The descriptors are
    /// close-on-exec, and must be gone before the process runs anything of the container's (CVE-2024-21626):
    /// [`Entrance::enter`] takes them with it.
    pub fn entrance(&self, share: Share) -> Result<Entrance> {
        let mut doors = Vec::new();
        for path in self.shared(share, Born::InCgroup) {
            doors.push(Door::open(path, "tasks")?);
        }
        let v2 = self.paths.v2().filter(|_| share != Share::Memory);
        Ok(Entrance {
            doors,
            v2: v2.map(Dir::path),
        })
    }

    fn shared(&self, share: Share, born: Born) -> Vec<PathBuf> {
        let v2 = self
            .paths
            .v2()
            .filter(|_| born == Born::Outside && share != Share::Memory);
        let v1: &[Hierarchy] = match &self.paths {
            CgroupPaths::Legacy { hierarchies, .. } => hierarchies,
            CgroupPaths::Unified { .. } | CgroupPaths::None => &[],
        };
        v1.iter()
            .filter(|h| match share {
                Share::All => true,
                Share::AllButMemory => !h.has("memory"),
                Share::Memory => h.has("memory"),
            })
            .map(|h| h.dir.path())
            .chain(v2.map(Dir::path))
            .collect()
    }

    /// Writes the limits of one phase. [`Phase::Early`] belongs before the first process enters (v1 real-time budgets
    /// and cpusets decide whether it can); [`Phase::Late`] as late as the caller can.
    ///
    /// # Errors
    /// Name file and value. A v1 memory limit below what is in use: `unable to set memory limit to N (current usage:
    /// M, peak usage: P)`.
    pub fn apply_limits(&self, plan: &CgroupPlan, phase: Phase) -> Result<()> {
        limits::apply(&self.paths, plan, phase)
    }

    /// Puts the device rules in force: v1 by the fewest writes, v2 by a filter program. Before hooks run, which may
    /// add devices of their own.
    pub fn apply_devices(&self, plan: &CgroupPlan) -> Result<()> {
        limits::apply_devices(&self.paths, plan)
    }

    /// The directory that lists the container's processes most reliably: with v1 the one that the container is least
    /// likely to have been given.
    fn listing_dir(&self) -> Option<PathBuf> {
        ["devices", "freezer", "pids", "memory"]
            .iter()
            .find_map(|c| self.paths.dir_of(c))
            .or_else(|| self.paths.dirs().first().copied())
            .map(Dir::path)
    }

    /// Every process of the container, in sub-cgroups too; ascending.
    pub fn all_pids(&self) -> Result<Vec<i32>> {
        self.listing_dir()
            .map_or(Ok(Vec::new()), |p| processes::in_tree(&p))
    }

    /// Processes directly in the container's cgroup.
    pub fn pids(&self) -> Result<Vec<i32>> {
        self.listing_dir()
            .map_or(Ok(Vec::new()), |p| processes::directly_in(&p))
    }

    /// Makes sure that a process is in the cgroup, where somebody else was to put it.
    ///
    /// # Errors
    /// When it is not: none of the limits would hold for it.
    pub fn require_member(&self, pid: i32) -> Result<()> {
        if self.is_none() || self.pids()?.contains(&pid) {
            return Ok(());
        }
        let dir = self.listing_dir().unwrap_or_default();
        Err(Error::new(format!(
            "process {pid} was not moved into the cgroup {}",
            dir.display()
        )))
    }

    /// Where freezing happens: the v1 freezer, or the v2 directory.
    fn freezer(&self) -> Result<(PathBuf, Version)> {
        match &self.paths {
            CgroupPaths::Legacy { .. } => {
                if let Some(dir) = self.paths.dir_of("freezer") {
                    return Ok((dir.path(), Version::V1));
                }
            }
            CgroupPaths::Unified { .. } | CgroupPaths::None => {}
        }
        match self.paths.v2() {
            Some(dir) => Ok((dir.path(), Version::V2)),
            None => Err(Error::new(
                "freezer not supported: the container has no cgroup for it",
            )),
        }
    }

    /// Freezes every process and waits until they stand still.
    ///
    /// # Errors
    /// After 10 seconds, with the cgroup that would not freeze.
    pub fn freeze(&self) -> Result<()> {
        self.set_frozen(FreezerState::Frozen).doing(|| "unable to freeze")
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        self.set_frozen(FreezerState::Thawed).doing(|| "unable to thaw")
    }

    fn set_frozen(&self, state: FreezerState) -> Result<()> {
        match self.freezer()? {
            (path, Version::V1) => freeze::set_v1(&path, state),
            (path, Version::V2) => freeze::set_v2(&path, state),
        }
    }

    /// True while the container is paused.
    pub fn is_frozen(&self) -> Result<bool> {
        match self.freezer() {
            Ok((path, Version::V1)) => freeze::is_frozen_v1(&path),
            Ok((path, Version::V2)) => freeze::is_frozen_v2(&path),
            Err(_) => Ok(false), // nothing could have frozen it
        }
    }

    /// A frozen process of a version 1 hierarchy dies of a SIGKILL only once it is thawed.
    pub fn let_killed_die(&self) -> Result<()> {
        match self.freezer() {
            Ok((path, Version::V1)) if freeze::is_frozen_v1(&path)? => {
                freeze::set_v1(&path, FreezerState::Thawed)
            }
            // Version 2 lets it die, and what has no freezer cannot be frozen.
            _ => Ok(()),
        }
    }

    /// SIGKILL for every process of the container until none is left. `cgroup.kill` (kernel 5.14) does it in one
    /// step and catches forks; what it does not reach (v1, or processes moved out of its directory) is frozen, so that
    /// it cannot fork, killed and thawed.
    ///
    /// # Errors
    /// After 10 seconds, with the pids that are still there.
    pub fn kill_all(&self) -> Result<()> {
        if let Some(dir) = self.paths.v2() {
            match file::write(&dir.path(), "cgroup.kill", "1") {
                // A threaded cgroup cannot be killed in one step.
                Err(e) if e.is(libc::ENOENT) || e.is(libc::ENODEV) || e.is(libc::EOPNOTSUPP) => {}
                other => other?,
            }
        }
        let deadline = Deadline::after(PATIENCE);
        let mut wait = Duration::from_micros(200);
        loop {
            let left = self.everywhere()?;
            if left.is_empty() {
                return Ok(());
            }
            if deadline.is_over() {
                return Err(Error::new(format!(
                    "timeout of {} s reached waiting for the processes {left:?} to die",
                    PATIENCE.as_secs()
                )));
            }
            self.kill_found()?;
            freeze::pause(wait)?;
            wait = (wait * 2).min(Duration::from_millis(50));
        }
    }

    /// Processes in any hierarchy: a container with rights over a v1 tree may have left some of them.
    fn everywhere(&self) -> Result<Vec<i32>> {
        let mut all = Vec::new();
        for dir in self.paths.dirs() {
            all.extend(processes::in_tree(&dir.path())?);
        }
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Freezing may fail (no freezer, no rights); killing is worth trying all the same. Nothing waits for the freezer
    /// here: it only has to slow the forks down until every process has its SIGKILL, which on v1 takes effect when the
    /// process is thawed.
    fn kill_found(&self) -> Result<()> {
        let frozen = self.is_frozen()? || self.tell_freezer(FreezerState::Frozen).is_ok();
        let killed = self
            .everywhere()
            .and_then(|pids| processes::signal(&pids, libc::SIGKILL, || self.everywhere()));
        // Also when nobody has frozen the whole: the container may have frozen a part of itself.
        match self.thaw_tree(frozen) {
            Err(e) => Err(e),
            Ok(()) => killed,
        }
    }

    /// In v1 SIGKILL waits until every freezer cgroup around the process is thawed.
    fn thaw_tree(&self, frozen: bool) -> Result<()> {
        let (version, dirs) = match self.freezer() {
            Ok((path, Version::V1)) => (Version::V1, processes::tree(&path)?),
            Ok((path, Version::V2)) if frozen => (Version::V2, vec![path]),
            _ => return Ok(()),
        };
        for dir in dirs {
            match version.tell_freezer(&dir, FreezerState::Thawed) {
                Err(e) if e.is(libc::ENOENT) || e.is(libc::ENODEV) => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn tell_freezer(&self, state: FreezerState) -> Result<()> {
        let (path, version) = self.freezer()?;
        version.tell_freezer(&path, state)
    }

    /// A signal for every process of the container, wherever it is.
    pub fn signal_all(&self, number: i32) -> Result<()> {
        processes::signal(&self.all_pids()?, number, || self.all_pids())
    }

    /// What the container uses: everything of `events --stats` but Intel RDT and network interfaces.
    pub fn stats(&self) -> Result<Stats> {
        stats::read(&self.paths)
    }

    /// How often the kernel has killed one of the container's processes because memory ran out.
    pub fn oom_kills(&self) -> Result<u64> {
        oom::kills(&self.paths)
    }

    /// Begins to watch for the next time.
    pub fn watch_oom(&self) -> Result<OomWatch> {
        OomWatch::new(&self.paths)
    }

    /// Removes the cgroup when nobody is in it and nothing below it: the common end of a container whose init has
    /// ended everybody by its own end. False when [`Cgroup::kill_all`] and [`Cgroup::destroy`] are needed, which also
    /// tell what stands in the way.
    pub fn remove_if_empty(&self) -> bool {
        if self.unit.is_some() {
            return false; // systemd is told first
        }
        let mut all = true;
        for dir in self.paths.dirs() {
            match sys::fs::unlinkat(sys::fs::cwd(), &dir.path(), libc::AT_REMOVEDIR) {
                Err(e) if !e.is(libc::ENOENT) => all = false,
                _ => {}
            }
        }
        all
    }

    /// Removes the cgroup with everything below it: the unit first, then what systemd leaves (239 leaves sub-cgroups, all leave
    /// v1 hierarchies that they do not use). What is gone already is fine. Call [`Cgroup::kill_all`] before: systemd would ask
    /// processes to end, and wait for them.
    ///
    /// # Errors
    /// After 10 seconds with the directory that could not be removed, and who is in it. Every other directory has been
    /// tried by then.
    pub fn destroy(&self) -> Result<()> {
        let stopped = match &self.unit {
            Some(unit) => Manager::connect(unit.bus).and_then(|mut m| m.stop(unit)),
            None => Ok(()),
        };
        let mut failed = stopped.err();
        for dir in self.paths.dirs() {
            if let Err(e) = remove(&dir.path()) {
                failed = Some(match failed {
                    None => e,
                    Some(first) => first.and_also(Err(e)),
                });
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Version {
    fn tell_freezer(self, path: &Path, state: FreezerState) -> Result<()> {
        match self {
            Version::V1 => freeze::tell_v1(path, state),
            Version::V2 => freeze::tell_v2(path, state),
        }
    }
}

/// Opened by a parent for a child that enters a cgroup by itself.
#[derive(Debug)]
pub struct Entrance {
    doors: Vec<Door>,
    /// The v2 directory, whose door is only opened when clone3 could not place the process there.
    v2: Option<PathBuf>,
}

#[derive(Debug)]
struct Door {
    fd: OwnedFd,
    path: PathBuf,
    name: &'static str,
}

impl Door {
    fn open(path: PathBuf, name: &'static str) -> Result<Door> {
        let fd = file::open(&path, name).doing(|| "unable to enter the container's cgroup")?;
        Ok(Door { fd, path, name })
    }
}

impl Entrance {
    /// For a process that was NOT born in the v2 directory: it enters that one too. To be called by the parent, whose
    /// rights at the opening are those that count.
    pub fn open_v2(&mut self) -> Result<()> {
        if let Some(path) = self.v2.take() {
            self.doors.push(Door::open(path, "cgroup.procs")?);
        }
        Ok(())
    }

    /// Moves the calling thread, which must be the only one of its process, into the cgroup and closes the
    /// descriptors.
    ///
    /// A thread that moves itself (0 written to v1's `tasks`) needs no lock on thread groups: 50 microseconds instead
    /// of the 8 ms of an RCU grace period that the first other write after a while waits for (measured on 6.18).
    pub fn enter(self) -> Result<()> {
        for door in &self.doors {
            sys::fs::write_once(door.fd.as_fd(), b"0").map_err(|e| {
                let what = door.path.join(door.name).display().to_string();
                Error::from(sys::Error::new("write", what, e.errno())).doing("failed to write \"0\"")
            })?;
        }
        Ok(())
    }

    /// Descriptors that a child must keep until [`Entrance::enter`].
    pub fn fds(&self) -> impl Iterator<Item = std::os::fd::BorrowedFd<'_>> {
        self.doors.iter().map(|d| d.fd.as_fd())
    }
}

/// EINVAL may only mean that the process is so young that the scheduler has not seen it yet.
fn join_dir(path: &Path, pid: i32) -> Result<()> {
    let deadline = Deadline::after(Duration::from_millis(150));
    loop {
        match file::write(path, "cgroup.procs", &pid.to_string()) {
            Err(e) if e.is(libc::EINVAL) && !deadline.is_over() => freeze::pause(Duration::from_millis(5))?,
            other => return other.doing(|| "unable to join the container's cgroup"),
        }
    }
}

/// rmdir(2), children first. A cgroup stays busy for a moment after its last process has been reaped.
fn remove(path: &Path) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let mut wait = Duration::from_micros(100);
    loop {
        let busy = match sys::fs::unlinkat(sys::fs::cwd(), path, libc::AT_REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENODEV) => return Ok(()),
            Err(e) if e.is(libc::EBUSY) || e.is(libc::ENOTEMPTY) => e,
            Err(e) => return Err(e).doing(|| "unable to remove the container's cgroup"),
        };
        let below = processes::tree(path)?;
        for child in below.iter().skip(1).rev() {
            match sys::fs::unlinkat(sys::fs::cwd(), child, libc::AT_REMOVEDIR) {
                Err(e) if e.is(libc::EACCES) || e.is(libc::EPERM) => {
                    return Err(e).doing(|| "unable to remove the container's cgroup");
                }
                Ok(()) | Err(_) => {} // busy: the next round tells
            }
        }
        if deadline.is_over() {
            return Err(busy).doing(|| match processes::in_tree(path) {
                Ok(pids) if !pids.is_empty() => {
                    format!("unable to remove the container's cgroup, which has the processes {pids:?}")
                }
                _ => "unable to remove the container's cgroup".to_string(),
            });
        }
        if below.len() == 1 || wait > Duration::from_millis(1) {
            freeze::pause(wait)?;
        }
        wait = (wait * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod fixture {
    //! Hosts to plan for.

    use super::*;

    pub fn unified(controllers: &[&str]) -> Layout {
        Layout::Unified {
            mountpoint: PathBuf::from("/sys/fs/cgroup"),
            controllers: controllers.iter().map(|c| c.to_string()).collect(),
        }
    }

    pub fn mounted(list: &str) -> Mounted {
        Mounted {
            controllers: list.split(',').map(str::to_string).collect(),
            mountpoint: PathBuf::from("/sys/fs/cgroup").join(list.trim_start_matches("name=")),
            root: "/".to_string(),
        }
    }

    pub fn legacy_with(lists: &[&str]) -> Layout {
        Layout::Legacy {
            hierarchies: lists.iter().map(|l| mounted(l)).collect(),
            unified: None,
        }
    }

    /// A hybrid host with three hierarchies.
    pub fn legacy() -> Layout {
        Layout::Legacy {
            hierarchies: ["cpu,cpuacct", "memory", "devices"].map(mounted).to_vec(),
            unified: Some(PathBuf::from("/sys/fs/cgroup/unified")),
        }
    }

    pub fn legacy_own() -> OwnCgroups {
        OwnCgroups::parse("3:devices:/\n2:memory:/api/x\n1:cpu,cpuacct:/\n0::/v2own\n")
    }
}
