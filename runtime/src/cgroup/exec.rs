//! Which cgroup an additional process of the container enters.
//!
//! May not: follow a path out of the container's cgroup, or create one.

use super::hierarchy::OwnCgroups;
use super::paths::{CgroupPaths, Dir};
use super::systemd::{Manager, Unit};
use super::{Born, Cgroup, Door, Entrance, Share, file, join_dir};
use crate::cli::args::SubCgroup;
use crate::error::{Doing, Error, Result};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What a lack of rights over cgroups means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// An error.
    Full,
    /// Nothing: a rootless process stays where it is.
    Rootless,
}

/// Where the process goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCgroup {
    v1: Vec<PathBuf>,
    /// Which of `v1` has the memory controller.
    memory: Option<usize>,
    v2: Option<PathBuf>,
    /// Where init is now, when the process may go there instead: a container that has made sub-cgroups with
    /// controllers has no processes in its own cgroup and can have none, and one without a cgroup namespace may have
    /// moved away altogether.
    instead: Option<PathBuf>,
    rights: Rights,
    /// The unit of systemd that may move the process when we may not, and where to below its cgroup.
    unit: Option<(Unit, String)>,
}

impl Cgroup {
    /// Where an additional process belongs. `init` is the container's first process, as we see it.
    ///
    /// # Errors
    /// `bad sub cgroup path`, `unknown controller C in SubCgroupPaths`.
    pub fn plan_exec(&self, sub: &SubCgroup, init: i32, rights: Rights) -> Result<ExecCgroup> {
        let mut out = ExecCgroup {
            v1: Vec::new(),
            memory: None,
            v2: None,
            instead: None,
            rights,
            unit: None,
        };
        match &self.paths {
            CgroupPaths::None => {}
            CgroupPaths::Unified { dir } => {
                let part = unified_sub(sub)?;
                out.v2 = Some(below(dir, part)?);
                out.unit = self.unit.clone().map(|unit| (unit, part.to_string()));
                if *sub == SubCgroup::Own {
                    out.instead = where_init_is(dir, init)?;
                }
            }
            CgroupPaths::Legacy { hierarchies, unified } => {
                out.v1 = self.v1_dirs(sub)?;
                out.memory = hierarchies.iter().position(|h| h.has("memory"));
                // The bare tree beside v1 has no controllers, so nobody makes sub-cgroups there on purpose.
                out.v2 = unified.as_ref().map(Dir::path);
            }
        }
        Ok(out)
    }

    fn v1_dirs(&self, sub: &SubCgroup) -> Result<Vec<PathBuf>> {
        let CgroupPaths::Legacy { hierarchies, .. } = &self.paths else {
            return Ok(Vec::new());
        };
        if let SubCgroup::Controllers(list) = sub
            && let Some((unknown, _)) = list.iter().find(|(c, _)| self.paths.dir_of(c).is_none())
        {
            return Err(Error::new(format!(
                "unknown controller {unknown} in SubCgroupPaths"
            )));
        }
        hierarchies
            .iter()
            .map(|h| {
                let part = match sub {
                    SubCgroup::Own => "",
                    SubCgroup::Unified(path) => path,
                    SubCgroup::Controllers(list) => {
                        list.iter().find(|(c, _)| h.has(c)).map_or("", |(_, path)| path)
                    }
                };
                below(&h.dir, part)
            })
            .collect()
    }
}

fn unified_sub(sub: &SubCgroup) -> Result<&str> {
    match sub {
        SubCgroup::Own => Ok(""),
        SubCgroup::Unified(path) => Ok(path),
        SubCgroup::Controllers(list) => {
            let names: Vec<&str> = list.iter().map(|(c, _)| c.as_str()).collect();
            Err(Error::new(format!(
                "unknown controller {} in SubCgroupPaths: cgroup v2 has one path for all",
                names.join(",")
            )))
        }
    }
}

/// A path below the container's cgroup; whatever leads upwards is refused, not resolved.
fn below(dir: &Dir, sub: &str) -> Result<PathBuf> {
    let mut path = dir.path();
    for part in Path::new(sub).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(Error::new(format!("bad sub cgroup path: {sub}")));
            }
        }
    }
    Ok(path)
}

/// Init's present cgroup; `None` when init is gone or outside of what we see.
fn where_init_is(dir: &Dir, init: i32) -> Result<Option<PathBuf>> {
    let own = match OwnCgroups::probe_of(init) {
        Ok(own) => own,
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ESRCH) => return Ok(None),
        Err(e) => return Err(e),
    };
    let Some(path) = own.v2 else { return Ok(None) };
    if path.split('/').any(|p| p == "..") {
        return Ok(None);
    }
    Ok(Some(dir.mountpoint.join(path.trim_start_matches('/'))))
}

/// The refusals that another place may not give: the cgroup has children with controllers (EBUSY), is of a kind that
/// takes no processes (EOPNOTSUPP), or is gone.
fn is_no_room(e: &Error) -> bool {
    e.is(libc::EBUSY) || e.is(libc::EOPNOTSUPP) || e.is(libc::ENOENT) || e.is(libc::ENODEV)
}

/// True when the children of a v2 cgroup have controllers that forbid it processes of its own; those that work on
/// threads do not.
fn gives_controllers(path: &Path) -> Result<bool> {
    let enabled = match file::read_if_there(path, "cgroup.subtree_control") {
        Err(e) if e.is(libc::EACCES) => None,
        other => other?,
    };
    Ok(enabled
        .unwrap_or_default()
        .split_whitespace()
        .any(|c| !matches!(c, "cpu" | "cpuset" | "pids" | "perf_event")))
}

impl ExecCgroup {
    /// v2 directories for CLONE_INTO_CGROUP, best first: init's present one where the container's own is known to take
    /// no processes. When clone3 fails with EBUSY, EOPNOTSUPP or ENODEV the next is worth trying; when none is left,
    /// without CLONE_INTO_CGROUP and with [`ExecCgroup::join`].
    pub fn dir_fds(&self) -> Result<Vec<OwnedFd>> {
        let mut out = Vec::new();
        let mut paths: Vec<&PathBuf> = self.v2.iter().chain(&self.instead).collect();
        if let [own, _] = paths.as_slice()
            && gives_controllers(own)?
        {
            paths.reverse();
        }
        for path in paths {
            match sys::fs::open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
                Ok(fd) => out.push(fd),
                Err(e) if e.is(libc::ENOENT) && self.instead.is_some() => {}
                Err(_) if self.rights == Rights::Rootless => {}
                Err(e) => return Err(e).doing(|| "can't open cgroup"),
            }
        }
        Ok(out)
    }

    /// Moves a process there, with all its threads. See [`Cgroup::join`] about the cost on v1.
    pub fn join(&self, pid: i32, born: Born) -> Result<()> {
        for path in &self.v1 {
            self.tolerate(join_dir(path, pid))
                .doing(|| format!("error adding pid {pid} to cgroups"))?;
        }
        self.join_v2(pid, born)
            .doing(|| format!("error adding pid {pid} to cgroups"))
    }

    /// The v2 part of [`ExecCgroup::join`], for a process that enters v1 by itself.
    pub fn join_v2(&self, pid: i32, born: Born) -> Result<()> {
        let Some(path) = self.v2.as_ref().filter(|_| born == Born::Outside) else {
            return Ok(());
        };
        let joined = match (join_dir(path, pid), &self.instead) {
            (Err(e), Some(instead)) if is_no_room(&e) => join_dir(instead, pid),
            (other, _) => other,
        };
        let joined = match (joined, &self.unit) {
            (Err(e), Some((unit, part))) if e.is(libc::EACCES) || e.is(libc::EPERM) => {
                Manager::connect(unit.bus).and_then(|mut m| m.attach(unit, part, pid))
            }
            (other, _) => other,
        };
        self.tolerate(joined)
    }

    /// What the process needs to enter the v1 hierarchies by itself, as with [`Cgroup::entrance`]; the v2 directory is
    /// left to clone3 or [`ExecCgroup::join_v2`].
    pub fn v1_entrance(&self, share: Share) -> Result<Entrance> {
        let mut doors = Vec::new();
        let wanted = |n: usize| match share {
            Share::All => true,
            Share::AllButMemory => self.memory != Some(n),
            Share::Memory => self.memory == Some(n),
        };
        for (_, path) in self.v1.iter().enumerate().filter(|(n, _)| wanted(*n)) {
            match file::open(path, "tasks") {
                Ok(fd) => doors.push(Door {
                    fd,
                    path: path.clone(),
                    name: "tasks",
                }),
                Err(_) if self.rights == Rights::Rootless => {}
                Err(e) => return Err(e).doing(|| "error adding pid of the new process to cgroups"),
            }
        }
        Ok(Entrance { doors, v2: None })
    }

    fn tolerate(&self, result: Result<()>) -> Result<()> {
        match (result, self.rights) {
            (Err(_), Rights::Rootless) => Ok(()),
            (other, _) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;
    use crate::cgroup::paths;

    fn legacy() -> Cgroup {
        Cgroup::open(paths::resolve("/c", "c", &fixture::legacy(), &fixture::legacy_own()).unwrap())
    }

    fn unified() -> Cgroup {
        Cgroup::open(paths::resolve("/c", "c", &fixture::unified(&[]), &OwnCgroups::default()).unwrap())
    }

    fn v1(sub: &SubCgroup) -> Result<Vec<String>> {
        let plan = legacy().plan_exec(sub, 0, Rights::Full)?;
        Ok(plan.v1.iter().map(|p| p.display().to_string()).collect())
    }

    #[test]
    fn sub_cgroups_of_v1() {
        let (cpu, memory, devices) = (
            "/sys/fs/cgroup/cpu,cpuacct/c",
            "/sys/fs/cgroup/memory/c",
            "/sys/fs/cgroup/devices/c",
        );
        assert_eq!(v1(&SubCgroup::Own).unwrap(), [cpu, memory, devices]);
        assert_eq!(
            v1(&SubCgroup::Unified("/a//b".into())).unwrap(),
            [
                format!("{cpu}/a/b"),
                format!("{memory}/a/b"),
                format!("{devices}/a/b")
            ]
        );
        let by_name = SubCgroup::Controllers(vec![
            ("cpuacct".into(), "x".into()),
            ("memory".into(), "y".into()),
        ]);
        assert_eq!(
            v1(&by_name).unwrap(),
            [format!("{cpu}/x"), format!("{memory}/y"), devices.to_string()]
        );
        let e = v1(&SubCgroup::Controllers(vec![("rdma".into(), "x".into())])).unwrap_err();
        assert_eq!(e.to_string(), "unknown controller rdma in SubCgroupPaths");
    }

    #[test]
    fn no_sub_cgroup_leads_out() {
        for sub in ["..", "a/../../b", "/..", "a/.."] {
            let sub = SubCgroup::Unified(sub.into());
            for cgroup in [legacy(), unified()] {
                let e = cgroup.plan_exec(&sub, 0, Rights::Full).unwrap_err().to_string();
                assert!(e.starts_with("bad sub cgroup path: "), "{e}");
            }
        }
    }

    #[test]
    fn only_the_containers_own_cgroup_has_a_stand_in() {
        let own = unified()
            .plan_exec(&SubCgroup::Own, std::process::id() as i32, Rights::Full)
            .unwrap();
        assert_eq!(own.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/c")));
        let sub = unified()
            .plan_exec(
                &SubCgroup::Unified("x".into()),
                std::process::id() as i32,
                Rights::Full,
            )
            .unwrap();
        assert_eq!(sub.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/c/x")));
        assert_eq!(sub.instead, None);
    }
}
