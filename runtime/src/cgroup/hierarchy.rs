//! Where the kernel keeps cgroups: our own (/proc/self/cgroup), and where the trees are mounted.
//!
//! May not: create or change anything. Both structures can be built by hand, so that a planner's test stands on
//! whatever host it likes. Nothing here reads all of mountinfo unless a tree is mounted in an unusual place.

use super::file;
use crate::error::{Doing, Error, Result};
use crate::facts::CgroupMode;
use serde::{Deserialize, Serialize};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::mountinfo::{self, Mount};

/// `f_type` of a v1 hierarchy.
const CGROUP_SUPER_MAGIC: i64 = 0x27e0eb;
/// `f_type` of the v2 tree.
const CGROUP2_SUPER_MAGIC: i64 = 0x63677270;
/// Where every distribution mounts cgroups.
const MOUNTPOINT: &str = "/sys/fs/cgroup";

/// A v1 hierarchy as one line of /proc/PID/cgroup has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnV1 {
    /// Controllers mounted together, in the kernel's order; a named hierarchy is `name=systemd`.
    pub controllers: Vec<String>,
    /// Our cgroup, from the root of our cgroup namespace.
    pub path: String,
}

/// What /proc/self/cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnCgroups {
    /// v1 hierarchies, lowest number first (the file has the newest first).
    pub v1: Vec<OwnV1>,
    /// Our cgroup in the v2 tree.
    pub v2: Option<String>,
}

impl OwnCgroups {
    /// Reads lines `ID:CONTROLLERS:PATH`; lines of another shape are skipped.
    pub fn parse(text: &str) -> OwnCgroups {
        let mut own = OwnCgroups::default();
        for line in text.lines().rev() {
            let mut parts = line.splitn(3, ':');
            let (Some(id), Some(list), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            // A cgroup whose directory is gone carries this mark (cgroup_namespaces(7) does not mention it).
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            if id == "0" && list.is_empty() {
                own.v2 = Some(path.to_string());
            } else {
                own.v1.push(OwnV1 {
                    controllers: list.split(',').map(str::to_string).collect(),
                    path: path.to_string(),
                });
            }
        }
        own
    }

    /// The cgroups of a process: /proc/PID/cgroup.
    pub fn probe_of(pid: i32) -> Result<OwnCgroups> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        Ok(OwnCgroups::parse(&file::read_path(&path)?))
    }

    /// Our own cgroups.
    ///
    /// # Errors
    /// When /proc/self/cgroup cannot be read; a kernel without cgroups gives an empty answer.
    pub fn probe() -> Result<OwnCgroups> {
        match file::read_path(Path::new("/proc/self/cgroup")) {
            Err(e) if e.is(libc::ENOENT) => Ok(OwnCgroups::default()),
            other => Ok(OwnCgroups::parse(&other?)),
        }
    }

    /// The v1 hierarchy that carries a controller.
    pub fn find_v1(&self, controller: &str) -> Option<&OwnV1> {
        self.v1
            .iter()
            .find(|h| h.controllers.iter().any(|c| c == controller))
    }
}

/// A mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    /// As in [`OwnV1::controllers`].
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Which cgroup the mount shows at its top: `/`, or something below it inside another container.
    pub root: String,
}

/// How cgroups are mounted on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum Layout {
    /// One v2 tree.
    Unified {
        /// Normally /sys/fs/cgroup.
        mountpoint: PathBuf,
        /// Controllers that the tree has to give (`cgroup.controllers` at its top).
        controllers: Vec<String>,
    },
    /// v1 hierarchies.
    Legacy {
        /// In the order of their hierarchy numbers.
        hierarchies: Vec<Mounted>,
        /// The v2 tree beside them (hybrid), without controllers.
        unified: Option<PathBuf>,
    },
    /// No cgroup file system is mounted.
    #[default]
    None,
}

impl Layout {
    /// The word for it in [`crate::facts::HostFacts`].
    pub fn mode(&self) -> CgroupMode {
        match self {
            Layout::Unified { .. } => CgroupMode::Unified,
            Layout::Legacy { .. } => CgroupMode::Legacy,
            Layout::None => CgroupMode::None,
        }
    }
}

impl Layout {
    /// The same host for whoever has only what is below `cgroup`: of the controllers of a v2 tree those that were given there.
    pub fn below(self, cgroup: &str) -> Result<Layout> {
        let cgroup = cgroup.trim_matches('/');
        match self {
            Layout::Unified { mountpoint, .. } if !cgroup.is_empty() => Ok(Layout::Unified {
                controllers: read_controllers(&mountpoint.join(cgroup))?,
                mountpoint,
            }),
            other => Ok(other),
        }
    }
}

fn read_controllers(dir: &Path) -> Result<Vec<String>> {
    let text = file::read(dir, "cgroup.controllers")?;
    Ok(text.split_whitespace().map(str::to_string).collect())
}

/// Looks at /sys/fs/cgroup: a v2 tree costs two calls and one small read; a v1 hierarchy one statfs(2) and one
/// stat(2) each. Only hierarchies mounted elsewhere, or showing only a part, send us to mountinfo.
///
/// # Errors
/// When a mounted tree cannot be examined. Nothing mounted is [`Layout::None`].
pub fn probe_layout(own: &OwnCgroups) -> Result<Layout> {
    let top = Path::new(MOUNTPOINT);
    if magic_of(top)? == Some(CGROUP2_SUPER_MAGIC) {
        return Ok(Layout::Unified {
            mountpoint: top.to_path_buf(),
            controllers: read_controllers(top)?,
        });
    }
    let hierarchies = probe_hierarchies(own, top)?;
    if hierarchies.is_empty() {
        return Ok(Layout::None);
    }
    let unified = top.join("unified");
    let unified = (magic_of(&unified)? == Some(CGROUP2_SUPER_MAGIC)).then_some(unified);
    Ok(Layout::Legacy { hierarchies, unified })
}

fn probe_hierarchies(own: &OwnCgroups, top: &Path) -> Result<Vec<Mounted>> {
    let mut found = Vec::new();
    let mut table = None;
    for h in &own.v1 {
        let list = h.controllers.join(",");
        let usual = top.join(list.strip_prefix("name=").unwrap_or(&list));
        if is_whole_hierarchy(&usual)? {
            found.push(Mounted {
                controllers: h.controllers.clone(),
                mountpoint: usual,
                root: "/".to_string(),
            });
            continue;
        }
        let table = match &table {
            Some(table) => table,
            None => table.insert(mountinfo::own_table()?),
        };
        // A hierarchy that is not mounted is left out: what needs it fails later with its name.
        found.extend(mounted(table, &h.controllers));
    }
    Ok(found)
}

/// `f_type` of the file system at `path`; `None` when nothing is there.
fn magic_of(path: &Path) -> Result<Option<i64>> {
    match sys::fs::open(path, libc::O_PATH, 0) {
        Ok(fd) => Ok(Some(sys::fs::fs_magic(fd.as_fd())?)),
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => Ok(None),
        Err(e) => Err(Error::from(e)).doing(|| "unable to look at the cgroup mounts"),
    }
}

/// True when a v1 hierarchy with its root at the top is mounted at `path`: kernfs gives its root inode number 1.
fn is_whole_hierarchy(path: &Path) -> Result<bool> {
    let fd = match sys::fs::open(path, libc::O_PATH, 0) {
        Ok(fd) => fd,
        Err(e) if e.is(libc::ENOENT) => return Ok(false),
        Err(e) => return Err(Error::from(e)).doing(|| "unable to look at the cgroup mounts"),
    };
    Ok(sys::fs::fs_magic(fd.as_fd())? == CGROUP_SUPER_MAGIC && sys::fs::fstat(fd.as_fd())?.ino == 1)
}

/// The last mount of the hierarchy with exactly these controllers.
fn mounted(table: &[u8], controllers: &[String]) -> Option<Mounted> {
    let has = |m: &Mount<'_>, controller: &str| m.super_options().any(|o| o == controller.as_bytes());
    let mount = mountinfo::mounts(table)
        .rev()
        .find(|m| m.kind() == b"cgroup" && controllers.iter().all(|c| has(m, c)))?;
    Some(Mounted {
        controllers: controllers.to_vec(),
        mountpoint: mount.mountpoint(),
        root: mount.root().to_string_lossy().into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_cgroups_of_a_hybrid_host() {
        let own = OwnCgroups::parse(
            "12:name=systemd:/a\n4:cpu,cpuacct:/user.slice\n3:memory:/x:y (deleted)\n0::/init.scope\nrubbish\n",
        );
        assert_eq!(own.v2.as_deref(), Some("/init.scope"));
        assert_eq!(own.find_v1("memory").unwrap().path, "/x:y");
        assert_eq!(own.find_v1("cpuacct").unwrap().controllers, ["cpu", "cpuacct"]);
        assert_eq!(own.find_v1("name=systemd").unwrap().path, "/a");
        assert!(own.find_v1("pids").is_none());
    }

    #[test]
    fn mountinfo_is_matched_by_controllers_not_by_name() {
        let table = b"35 23 0:31 /docker/abc /mnt/m\\040x rw,nosuid shared:9 - cgroup cgroup rw,memory\n\
                    36 23 0:32 / /sys/fs/cgroup/cpuacct,cpu rw - cgroup none rw,cpuacct,cpu\n\
                    37 23 0:33 / /sys/fs/cgroup/memory rw - tmpfs none rw,memory\n";
        let find = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|s| s.to_string()).collect();
            mounted(table, &list)
        };
        let m = find(&["memory"]).unwrap();
        assert_eq!(
            (m.mountpoint.to_str(), m.root.as_str()),
            (Some("/mnt/m x"), "/docker/abc")
        );
        assert_eq!(
            find(&["cpu", "cpuacct"]).unwrap().mountpoint.to_str(),
            Some("/sys/fs/cgroup/cpuacct,cpu")
        );
        assert_eq!(find(&["pids"]), None);
    }
}
