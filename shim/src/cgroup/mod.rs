//! Which cgroups a container has, found by the pid of its init and kept as paths, so that they outlive it.
//!
//! May not: create, change or remove a cgroup; judge by how the host likes its cgroups. A container that a runtime put
//! into version 1 hierarchies has those, whatever lies beside them.
//!
//! Controllers of version 2 are the runtime's to enable: runb, runc and crun give a container all that the tree has, with
//! either driver, before its init runs. containerd's own shim writes `cgroup.subtree_control` once more; a second hand there
//! could only argue with systemd.

mod file;
mod mounts;

pub(crate) use file::{Files, LIMIT, parse_number};
pub use mounts::Mounts;

use std::fmt;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Why a cgroup could not be found or read.
#[derive(Debug)]
pub enum Error {
    /// The process or its cgroup is gone, or it never had one that can be seen from here.
    NotFound,
    /// A file or directory that is there could not be read.
    Failed(&'static str, sys::Error),
}

/// Result of this module, and of those that read figures.
pub type Result<T> = std::result::Result<T, Error>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound => f.write_str("cgroup not found"),
            Error::Failed(doing, e) => write!(f, "{doing}: {e}"),
        }
    }
}

impl std::error::Error for Error {}

/// The cgroups of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup {
    /// One directory in each version 1 hierarchy that is mounted.
    V1(Vec<Hierarchy>),
    /// One directory in the version 2 tree.
    V2(PathBuf),
}

/// The container's place in a version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// As /proc/PID/cgroup has it: `memory`, or `cpu,cpuacct` where two are mounted together.
    controllers: Box<str>,
    dir: PathBuf,
}

impl Cgroup {
    /// The cgroups of a process that lives. `mounts` is filled by the first call.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the process has ended, or none of its cgroups is mounted here.
    pub fn of(pid: i32, mounts: &mut Mounts) -> Result<Cgroup> {
        let theirs = Membership::of(&pid.to_string())?;
        let mounts = mounts.get()?;
        // Asked after the cgroups were read: an exiting process seems to sit in the root of every version 1
        // hierarchy, whose figures are those of the host.
        if mounts.iter().any(mounts::Mounted::has_controllers) && is_exiting(pid)? {
            return Err(Error::NotFound);
        }
        let ours = Membership::of("self")?;
        choose(&theirs, &ours, mounts).ok_or(Error::NotFound)
    }

    /// The directory of a version 1 controller, or the one of version 2, which has them all.
    pub fn dir_of(&self, controller: &str) -> Option<&Path> {
        match self {
            Cgroup::V1(all) => all
                .iter()
                .find(|h| h.controllers.split(',').any(|c| c == controller))
                .map(|h| h.dir.as_path()),
            Cgroup::V2(dir) => Some(dir),
        }
    }

    /// False once every directory has been removed.
    pub fn exists(&self) -> bool {
        let mut dirs: Box<dyn Iterator<Item = &Path>> = match self {
            Cgroup::V1(all) => Box::new(all.iter().map(|h| h.dir.as_path())),
            Cgroup::V2(dir) => Box::new(std::iter::once(dir.as_path())),
        };
        dirs.any(|dir| sys::fs::open(dir, libc::O_PATH | libc::O_DIRECTORY, 0).is_ok())
    }
}

/// /proc/PID/cgroup.
#[derive(Debug, Default, PartialEq, Eq)]
struct Membership {
    v1: Vec<(Box<str>, PathBuf)>,
    v2: Option<PathBuf>,
}

impl Membership {
    fn of(pid: &str) -> Result<Membership> {
        Ok(Membership::parse(&read_proc(pid, "cgroup")?))
    }

    /// Lines `ID:CONTROLLERS:PATH`; lines of another shape are skipped.
    fn parse(text: &str) -> Membership {
        let mut out = Membership::default();
        for line in text.lines() {
            let mut parts = line.splitn(3, ':');
            let (Some(id), Some(list), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let path = PathBuf::from(path.strip_suffix(" (deleted)").unwrap_or(path));
            match (id, list) {
                ("0", "") => out.v2 = Some(path),
                _ => out.v1.push((list.into(), path)),
            }
        }
        out
    }

    fn path_in(&self, list: &str) -> Option<&Path> {
        let found = self.v1.iter().find(|(l, _)| **l == *list)?;
        Some(&found.1)
    }
}

/// Version 1 when the container was given a cgroup in a hierarchy that has controllers, else version 2 when it was given
/// one there. "Given" is told by the difference from our own: on a hybrid host each process has a place in both, and what
/// it merely inherited measures others too. A container that shares all of ours is taken for version 1 where that has
/// controllers, as a runtime there would.
fn choose(theirs: &Membership, ours: &Membership, mounts: &[mounts::Mounted]) -> Option<Cgroup> {
    let mut v1: Vec<Hierarchy> = theirs
        .v1
        .iter()
        .filter_map(|(list, path)| {
            Some(Hierarchy {
                controllers: list.clone(),
                dir: mounts::dir_of(mounts, list, path)?,
            })
        })
        .collect();
    let v2 = theirs
        .v2
        .as_deref()
        .and_then(|path| mounts::dir_of(mounts, "", path));
    let has_controllers = |h: &Hierarchy| !h.controllers.starts_with("name=");
    let is_given = |h: &Hierarchy| theirs.path_in(&h.controllers) != ours.path_in(&h.controllers);
    let given_v1 = v1.iter().any(|h| has_controllers(h) && is_given(h));
    let given_v2 = v2.is_some() && theirs.v2 != ours.v2;
    match v2 {
        Some(dir) if !given_v1 && (given_v2 || !v1.iter().any(has_controllers)) => Some(Cgroup::V2(dir)),
        _ if v1.iter().any(has_controllers) => {
            if given_v1 {
                v1.retain(is_given);
            }
            Some(Cgroup::V1(v1))
        }
        _ => None,
    }
}

/// PF_EXITING of the kernel, in the ninth field of /proc/PID/stat. The state letter turns to Z only later.
fn is_exiting(pid: i32) -> Result<bool> {
    const PF_EXITING: u64 = 4;
    let stat = read_proc(&pid.to_string(), "stat")?;
    // The name may contain anything, also `) `; the fields begin after its last parenthesis with the third.
    let flags = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.split(' ').nth(6)?.parse::<u64>().ok());
    Ok(flags.is_none_or(|f| f & PF_EXITING != 0))
}

fn read_proc(pid: &str, name: &str) -> Result<String> {
    let read = || {
        let fd = sys::fs::open(Path::new(&format!("/proc/{pid}/{name}")), libc::O_RDONLY, 0)?;
        sys::fs::read_all(fd.as_fd(), LIMIT)
    };
    match read() {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ESRCH) => Err(Error::NotFound),
        Err(e) => Err(Error::Failed("failed to find the cgroup of a process", e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mounts::Mounted;

    fn mounted(list: &[&str], at: &str) -> Mounted {
        Mounted::new(list, at, "/")
    }

    fn hybrid() -> Vec<Mounted> {
        vec![
            mounted(&["cpu", "cpuacct"], "/sys/fs/cgroup/cpu,cpuacct"),
            mounted(&["memory"], "/sys/fs/cgroup/memory"),
            mounted(&["name=systemd"], "/sys/fs/cgroup/systemd"),
            mounted(&[""], "/sys/fs/cgroup/unified"),
        ]
    }

    #[test]
    fn lines_of_every_kind_are_read() {
        let m = Membership::parse("12:name=systemd:/a\n4:cpu,cpuacct:/x:y (deleted)\n0::/b\nrubbish\n");
        assert_eq!(m.v2.as_deref(), Some(Path::new("/b")));
        assert_eq!(m.path_in("cpu,cpuacct"), Some(Path::new("/x:y")));
        assert_eq!(m.path_in("memory"), None);
    }

    #[test]
    fn what_the_container_was_given_decides() {
        let ours = Membership::parse("3:name=systemd:/s\n2:cpu,cpuacct:/\n1:memory:/m\n0::/s\n");
        let choose = |theirs: &str, mounts: &[Mounted]| choose(&Membership::parse(theirs), &ours, mounts);
        // Everything on a hybrid host.
        let c = choose(
            "3:name=systemd:/c\n2:cpu,cpuacct:/c\n1:memory:/c\n0::/c\n",
            &hybrid(),
        )
        .unwrap();
        assert_eq!(
            c.dir_of("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct/c"))
        );
        assert_eq!(c.dir_of("memory"), Some(Path::new("/sys/fs/cgroup/memory/c")));
        assert_eq!(c.dir_of("pids"), None);
        // Only one of the hierarchies.
        let c = choose(
            "3:name=systemd:/s\n2:cpu,cpuacct:/\n1:memory:/c\n0::/s\n",
            &hybrid(),
        )
        .unwrap();
        assert_eq!(c.dir_of("memory"), Some(Path::new("/sys/fs/cgroup/memory/c")));
        assert_eq!(c.dir_of("cpu"), None, "that is the host's");
        // Only the version 2 tree, beside hierarchies that it inherited from us; systemd's own does not count.
        let c = choose(
            "3:name=systemd:/c\n2:cpu,cpuacct:/\n1:memory:/m\n0::/c\n",
            &hybrid(),
        )
        .unwrap();
        assert_eq!(c, Cgroup::V2("/sys/fs/cgroup/unified/c".into()));
        // Nothing of its own.
        let c = choose(
            "3:name=systemd:/s\n2:cpu,cpuacct:/\n1:memory:/m\n0::/s\n",
            &hybrid(),
        )
        .unwrap();
        assert_eq!(c.dir_of("memory"), Some(Path::new("/sys/fs/cgroup/memory/m")));
        // Only version 2 is mounted; the kernel lists the hierarchies all the same.
        let unified = [mounted(&[""], "/sys/fs/cgroup")];
        let c = choose("1:memory:/c\n0::/s\n", &unified).unwrap();
        assert_eq!(c, Cgroup::V2("/sys/fs/cgroup/s".into()));
        assert_eq!(choose("1:memory:/c\n", &unified), None);
        assert_eq!(choose("0::/../c\n", &unified), None, "not below the mount");
    }
}
