//! Where cgroup trees are mounted: /proc/self/mountinfo, read once.
//!
//! May not: keep the text. A host with many containers has a megabyte of it; it is read line by line.

use super::{Error, Result};
use std::io::{BufRead, BufReader};
use std::path::{Component, Path, PathBuf};
use sys::mountinfo::{self, Mount};

/// A mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// The options of its super block, of which the controllers are some; the only one is empty for version 2.
    options: Vec<Box<str>>,
    mountpoint: PathBuf,
    /// The cgroup that the mount shows at its top.
    root: PathBuf,
}

impl Mounted {
    #[cfg(test)]
    pub(super) fn new(options: &[&str], mountpoint: &str, root: &str) -> Mounted {
        Mounted {
            options: options.iter().map(|o| (*o).into()).collect(),
            mountpoint: mountpoint.into(),
            root: root.into(),
        }
    }

    /// True for a version 1 hierarchy that is more than a name.
    pub(super) fn has_controllers(&self) -> bool {
        !self.has("") && !self.options.iter().any(|o| o.starts_with("name="))
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| **o == *option)
    }
}

/// The mounted cgroup trees; empty until they are asked for.
#[derive(Debug, Default)]
pub struct Mounts(Option<Vec<Mounted>>);

impl Mounts {
    /// Nothing read yet.
    pub const fn new() -> Mounts {
        Mounts(None)
    }

    /// The directories that a cgroup with this path has: one in each version 1 hierarchy, and the one of version 2.
    ///
    /// # Errors
    /// [`Error::Failed`].
    pub fn dirs(&mut self, path: &Path) -> Result<Vec<PathBuf>> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        Ok(self.get()?.iter().map(|m| m.mountpoint.join(relative)).collect())
    }

    pub(super) fn get(&mut self) -> Result<&[Mounted]> {
        if self.0.is_none() {
            let failed = |e| Error::Failed("failed to find the cgroup mounts", e);
            self.0 = Some(read().map_err(failed)?);
        }
        Ok(self.0.as_deref().unwrap_or_default())
    }
}

fn read() -> sys::Result<Vec<Mounted>> {
    let fd = sys::fs::open(Path::new(mountinfo::OWN), libc::O_RDONLY, 0)?;
    let mut lines = BufReader::with_capacity(4096, std::fs::File::from(fd));
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(found),
            Ok(_) => found.extend(Mount::parse(&line).and_then(of_cgroups)),
            Err(e) => return Err(sys::Error::io("read", mountinfo::OWN, &e)),
        }
    }
}

fn of_cgroups(mount: Mount<'_>) -> Option<Mounted> {
    let text = |option| String::from_utf8_lossy(option).into();
    let options = match mount.kind() {
        b"cgroup" => mount.super_options().map(text).collect(),
        b"cgroup2" => vec![Box::from("")],
        _ => return None,
    };
    Some(Mounted {
        options,
        mountpoint: mount.mountpoint(),
        root: mount.root(),
    })
}

/// The directory of a cgroup in the tree of these controllers (`cpu,cpuacct`, `name=systemd`, or empty for version 2).
/// A mount that shows the whole tree is preferred; one that shows a part will do when the cgroup is in that part.
pub(super) fn dir_of(mounts: &[Mounted], controllers: &str, cgroup: &Path) -> Option<PathBuf> {
    // Above the root of our cgroup namespace: what its name is from here cannot be known.
    if cgroup.components().any(|c| c == Component::ParentDir) {
        return None;
    }
    let mut parts = mounts
        .iter()
        .rev()
        .filter(|m| controllers.split(',').all(|c| m.has(c)))
        .filter_map(|m| Some((m, cgroup.strip_prefix(&m.root).ok()?)));
    let all = parts.clone();
    let whole = parts.find(|(m, _)| m.root == Path::new("/"));
    let (m, below) = whole.or_else(|| all.into_iter().next())?;
    Some(match below.as_os_str().is_empty() {
        true => m.mountpoint.clone(),
        false => m.mountpoint.join(below),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_known_by_controllers_not_by_directory() {
        let table = b"35 23 0:31 /docker/abc /mnt/m\\040x rw,nosuid shared:9 - cgroup cgroup rw,memory\n\
                    36 23 0:32 / /sys/fs/cgroup/cpuacct,cpu rw - cgroup none rw,cpuacct,cpu\n\
                    37 23 0:33 / /sys/fs/cgroup/memory rw - tmpfs none rw,memory\n\
                    38 23 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                    39 23 0:35 / /u rw shared:1 master:2 - cgroup2 cgroup2 rw,nsdelegate\n\
                    short line\n";
        let mounts: Vec<Mounted> = mountinfo::mounts(table).filter_map(of_cgroups).collect();
        let dir = |list: &str, cgroup: &str| dir_of(&mounts, list, Path::new(cgroup));
        assert_eq!(dir("memory", "/docker/abc/x"), Some("/mnt/m x/x".into()));
        assert_eq!(dir("memory", "/docker/abc"), Some("/mnt/m x".into()));
        assert_eq!(dir("memory", "/docker/abcd"), None);
        assert_eq!(dir("cpu,cpuacct", "/"), Some("/sys/fs/cgroup/cpuacct,cpu".into()));
        assert_eq!(
            dir("name=systemd", "/a/b"),
            Some("/sys/fs/cgroup/systemd/a/b".into())
        );
        assert_eq!(dir("", "/a"), Some("/u/a".into()));
        assert_eq!(dir("pids", "/a"), None);
        assert_eq!(dir("", "/../a"), None);
    }

    #[test]
    fn the_mount_that_shows_everything_is_preferred() {
        let mounts = [
            Mounted::new(&["memory"], "/whole", "/"),
            Mounted::new(&["memory"], "/part", "/a"),
        ];
        assert_eq!(
            dir_of(&mounts, "memory", Path::new("/a/b")),
            Some("/whole/a/b".into())
        );
        assert_eq!(
            dir_of(&mounts[1..], "memory", Path::new("/a/b")),
            Some("/part/b".into())
        );
    }
}
