//! Which directories are the container's cgroup: one per v1 hierarchy, or one in the v2 tree.
//!
//! Pure: no system calls. A [`CgroupPaths`] goes into the container's record before anything is made, and is all that
//! is needed to find and remove the cgroups again, however far creation came.

use super::hierarchy::{Layout, Mounted, OwnCgroups};
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// A cgroup directory, split where the mount ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dir {
    /// Where the hierarchy is mounted; never created or removed by us.
    pub mountpoint: PathBuf,
    /// Below it, without leading slash; at least one component, none of them `..`.
    pub below: PathBuf,
}

impl Dir {
    /// The whole path.
    pub fn path(&self) -> PathBuf {
        self.mountpoint.join(&self.below)
    }
}

/// The container's directory in a v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Controllers mounted together; a named hierarchy is `name=systemd`.
    pub controllers: Vec<String>,
    /// Where.
    pub dir: Dir,
}

impl Hierarchy {
    /// True when this hierarchy carries the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

/// All directories of a container's cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "mode")]
pub enum CgroupPaths {
    /// In the v2 tree.
    Unified {
        /// Where.
        dir: Dir,
    },
    /// In every v1 hierarchy, and in the bare v2 tree beside them where the host has one.
    Legacy {
        /// In the order of their hierarchy numbers.
        hierarchies: Vec<Hierarchy>,
        /// Hybrid hosts.
        unified: Option<Dir>,
    },
    /// The container has no cgroup of its own.
    #[default]
    None,
}

impl CgroupPaths {
    /// Every directory.
    pub fn dirs(&self) -> Vec<&Dir> {
        match self {
            CgroupPaths::Unified { dir } => vec![dir],
            CgroupPaths::Legacy { hierarchies, unified } => {
                hierarchies.iter().map(|h| &h.dir).chain(unified).collect()
            }
            CgroupPaths::None => Vec::new(),
        }
    }

    /// The directory in the v2 tree, on hybrid hosts too.
    pub fn v2(&self) -> Option<&Dir> {
        match self {
            CgroupPaths::Unified { dir } => Some(dir),
            CgroupPaths::Legacy { unified, .. } => unified.as_ref(),
            CgroupPaths::None => None,
        }
    }

    /// The directory whose files steer `controller`: on v1 that of its hierarchy, on v2 the only one.
    pub fn dir_of(&self, controller: &str) -> Option<&Dir> {
        match self {
            CgroupPaths::Unified { dir } => Some(dir),
            CgroupPaths::Legacy { hierarchies, .. } => {
                hierarchies.iter().find(|h| h.has(controller)).map(|h| &h.dir)
            }
            CgroupPaths::None => None,
        }
    }
}

/// Why a path cannot be a container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathProblem {
    /// The path of the configuration leads upwards.
    Escapes(String),
    /// It names the root of a hierarchy, or the runtime's own cgroup.
    NoName(String),
    /// It holds a NUL or a newline, which the kernel refuses.
    Unprintable(String),
    /// Our own cgroup lies outside of our cgroup namespace, so nothing can be placed beside it.
    OwnIsOutside(String),
}

impl std::fmt::Display for PathProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PathProblem::Escapes(p) => write!(f, "invalid cgroup path {p:?}: it contains \"..\""),
            PathProblem::NoName(p) => {
                write!(f, "invalid cgroup path {p:?}: it names no cgroup below the root")
            }
            PathProblem::Unprintable(p) => write!(f, "invalid cgroup path {p:?}: NUL or newline"),
            PathProblem::OwnIsOutside(p) => write!(
                f,
                "the runtime's own cgroup {p} lies outside of its cgroup namespace: an absolute path is needed"
            ),
        }
    }
}

/// The path that configuration and id ask for: normalised, and whether it begins at the root.
struct Wanted {
    absolute: bool,
    below: PathBuf,
}

fn parse_wanted(cgroups_path: &str, id: &str) -> Result<Wanted, PathProblem> {
    let text = if cgroups_path.is_empty() { id } else { cgroups_path };
    if text.contains(['\0', '\n']) {
        return Err(PathProblem::Unprintable(text.to_string()));
    }
    let below = normal(Path::new(text)).ok_or_else(|| PathProblem::Escapes(text.to_string()))?;
    if below.as_os_str().is_empty() {
        return Err(PathProblem::NoName(text.to_string()));
    }
    Ok(Wanted {
        absolute: text.starts_with('/'),
        below,
    })
}

/// Without `.`, empty components and the leading slash; `None` when a `..` is in it.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => return None,
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(out)
}

/// The directories of a unit of systemd. `root` is the cgroup below which that systemd has all its units; on v1 units have the same
/// path in every hierarchy.
pub fn of_unit(root: &str, unit: &Path, layout: &Layout) -> Result<CgroupPaths, PathProblem> {
    let root = normal(Path::new(root)).ok_or_else(|| PathProblem::OwnIsOutside(root.to_string()))?;
    let dir = |mountpoint: &Path| Dir {
        mountpoint: mountpoint.to_path_buf(),
        below: root.join(unit),
    };
    Ok(match layout {
        Layout::None => CgroupPaths::None,
        Layout::Unified { mountpoint, .. } => CgroupPaths::Unified { dir: dir(mountpoint) },
        Layout::Legacy { hierarchies, unified } => CgroupPaths::Legacy {
            hierarchies: hierarchies
                .iter()
                .map(|m| Hierarchy {
                    controllers: m.controllers.clone(),
                    dir: dir(&m.mountpoint),
                })
                .collect(),
            unified: unified.as_deref().map(dir),
        },
    })
}

/// Places the container in every mounted hierarchy. An absolute path begins at the mount; any other, and the id when
/// there is none, goes below our own cgroup on v1 and BESIDE it on v2, where a cgroup with processes of its own
/// (ours) cannot give controllers to a child.
pub fn resolve(
    cgroups_path: &str,
    id: &str,
    layout: &Layout,
    own: &OwnCgroups,
) -> Result<CgroupPaths, PathProblem> {
    let wanted = parse_wanted(cgroups_path, id)?;
    match layout {
        Layout::None => Ok(CgroupPaths::None),
        Layout::Unified { mountpoint, .. } => Ok(CgroupPaths::Unified {
            dir: place_v2(&wanted, mountpoint, own)?,
        }),
        Layout::Legacy { hierarchies, unified } => Ok(CgroupPaths::Legacy {
            hierarchies: hierarchies
                .iter()
                .map(|m| place_v1(&wanted, m, own))
                .collect::<Result<_, _>>()?,
            unified: unified
                .as_deref()
                .map(|m| place_beside_v1(&wanted, m, own))
                .transpose()?,
        }),
    }
}

fn place_v1(wanted: &Wanted, mounted: &Mounted, own: &OwnCgroups) -> Result<Hierarchy, PathProblem> {
    let base = match mounted.controllers.first().and_then(|c| own.find_v1(c)) {
        Some(h) if !wanted.absolute => below_mount(&h.path, &mounted.root)?,
        _ => PathBuf::new(),
    };
    Ok(Hierarchy {
        controllers: mounted.controllers.clone(),
        dir: Dir {
            mountpoint: mounted.mountpoint.clone(),
            below: base.join(&wanted.below),
        },
    })
}

/// Our own cgroup's directory in a v1 hierarchy; its top when ours lies outside of what is mounted.
pub(super) fn own_dir(mounted: &Mounted, own: &OwnCgroups) -> PathBuf {
    let path = mounted
        .controllers
        .first()
        .and_then(|c| own.find_v1(c))
        .map_or("/", |h| &h.path);
    mounted
        .mountpoint
        .join(below_mount(path, &mounted.root).unwrap_or_default())
}

/// /proc/PID/cgroup counts from the namespace's root, a mount may show only a part of that (a container without
/// cgroup namespace). A cgroup outside of the mounted part is replaced by the part's top.
fn below_mount(own: &str, root: &str) -> Result<PathBuf, PathProblem> {
    let outside = || PathProblem::OwnIsOutside(own.to_string());
    let own = normal(Path::new(own)).ok_or_else(outside)?;
    let root = normal(Path::new(root)).unwrap_or_default();
    Ok(own.strip_prefix(&root).map(Path::to_path_buf).unwrap_or_default())
}

fn place_v2(wanted: &Wanted, mountpoint: &Path, own: &OwnCgroups) -> Result<Dir, PathProblem> {
    let mut base = PathBuf::new();
    if !wanted.absolute {
        base = below_mount(own.v2.as_deref().unwrap_or("/"), "/")?;
        base.pop();
    }
    Ok(Dir {
        mountpoint: mountpoint.to_path_buf(),
        below: base.join(&wanted.below),
    })
}

/// The bare v2 tree of a hybrid host has no controllers to give, so the container goes below our own cgroup as in
/// the v1 hierarchies.
fn place_beside_v1(wanted: &Wanted, mountpoint: &Path, own: &OwnCgroups) -> Result<Dir, PathProblem> {
    let mut base = PathBuf::new();
    if !wanted.absolute {
        base = below_mount(own.v2.as_deref().unwrap_or("/"), "/")?;
    }
    Ok(Dir {
        mountpoint: mountpoint.to_path_buf(),
        below: base.join(&wanted.below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;

    fn v2(cgroups_path: &str, own: &str) -> Result<PathBuf, PathProblem> {
        let own = OwnCgroups::parse(&format!("0::{own}"));
        resolve(cgroups_path, "box", &fixture::unified(&["memory"]), &own)
            .map(|p| p.v2().map(Dir::path).unwrap())
    }

    #[test]
    fn the_path_in_the_v2_tree() {
        for (cgroups_path, own, expected) in [
            ("", "/", "/sys/fs/cgroup/box"),
            ("", "/user.slice/s.scope", "/sys/fs/cgroup/user.slice/box"),
            ("/docker/abc", "/user.slice/s.scope", "/sys/fs/cgroup/docker/abc"),
            ("//docker/./abc/", "/", "/sys/fs/cgroup/docker/abc"),
            ("pods/abc", "/a/b", "/sys/fs/cgroup/a/pods/abc"),
            ("system.slice:runb:x", "/a", "/sys/fs/cgroup/system.slice:runb:x"),
        ] {
            assert_eq!(
                v2(cgroups_path, own).unwrap(),
                Path::new(expected),
                "{cgroups_path} {own}"
            );
        }
    }

    #[test]
    fn paths_that_are_refused() {
        assert_eq!(
            v2("/a/../../b", "/"),
            Err(PathProblem::Escapes("/a/../../b".into()))
        );
        assert_eq!(v2("..", "/"), Err(PathProblem::Escapes("..".into())));
        assert_eq!(v2("/", "/"), Err(PathProblem::NoName("/".into())));
        assert_eq!(v2("./", "/"), Err(PathProblem::NoName("./".into())));
        assert_eq!(v2("a\nb", "/"), Err(PathProblem::Unprintable("a\nb".into())));
        assert_eq!(v2("", "/../x"), Err(PathProblem::OwnIsOutside("/../x".into())));
        assert!(v2("/a", "/../x").is_ok());
    }

    #[test]
    fn every_v1_hierarchy_has_its_own_base() {
        let layout = fixture::legacy();
        let own = fixture::legacy_own();
        let find = |path: &str, c: &str| {
            let p = resolve(path, "box", &layout, &own).unwrap();
            p.dir_of(c).map(|d| d.path().display().to_string())
        };
        assert_eq!(find("", "memory").unwrap(), "/sys/fs/cgroup/memory/api/x/box");
        assert_eq!(find("", "cpuacct").unwrap(), "/sys/fs/cgroup/cpu,cpuacct/box");
        assert_eq!(
            find("sub/c", "memory").unwrap(),
            "/sys/fs/cgroup/memory/api/x/sub/c"
        );
        assert_eq!(find("/sub/c", "memory").unwrap(), "/sys/fs/cgroup/memory/sub/c");
        assert_eq!(find("", "hugetlb"), None);
        let p = resolve("", "box", &layout, &own).unwrap();
        assert_eq!(
            p.v2().unwrap().path(),
            Path::new("/sys/fs/cgroup/unified/v2own/box")
        );
        assert_eq!(p.dirs().len(), 4);
    }

    #[test]
    fn a_mount_that_shows_a_part_is_counted_from_there() {
        assert_eq!(below_mount("/docker/a/b", "/docker/a").unwrap(), Path::new("b"));
        assert_eq!(below_mount("/docker/ab", "/docker/a").unwrap(), Path::new(""));
        assert_eq!(below_mount("/", "/").unwrap(), Path::new(""));
    }

    #[test]
    fn a_record_survives_json() {
        let p = resolve("", "box", &fixture::legacy(), &fixture::legacy_own()).unwrap();
        let text = serde_json::to_string(&p).unwrap();
        assert_eq!(serde_json::from_str::<CgroupPaths>(&text).unwrap(), p);
    }
}
