//! What of the cgroup the container itself gets: the view at /sys/fs/cgroup, and ownership of its own directory.
//!
//! May not: mount. Where the container's cgroups are is told to whoever builds its file tree.

use super::Cgroup;
use super::file;
use super::hierarchy::{Layout, Mounted, OwnCgroups};
use super::paths::{self, CgroupPaths};
use crate::error::{Doing, Result};
use crate::rootfs::{CgroupMounts, CgroupV1, CgroupV2};
use std::path::{Path, PathBuf};

/// cgroups(7), "Delegating", for kernels without /sys/kernel/cgroup/delegate (4.15).
const ALWAYS: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

impl Cgroup {
    /// Gives the v2 directory, and exactly those files of it that the kernel lists as safe to give, to `uid`; the group
    /// stays. On v1 nothing is safe to give.
    pub fn delegate(&self, uid: u32) -> Result<()> {
        let CgroupPaths::Unified { dir } = &self.paths else {
            return Ok(());
        };
        let path = dir.path();
        let listed = file::read_if_there(Path::new("/sys/kernel/cgroup"), "delegate")?;
        chown(&path, uid)?;
        for name in listed.as_deref().unwrap_or(ALWAYS).lines() {
            match chown(&path.join(name), uid) {
                Err(e) if e.is(libc::ENOENT) => {} // its controller is not enabled here
                other => other?,
            }
        }
        Ok(())
    }

    /// Where the container's cgroups are, for the mount of type `cgroup`. A hierarchy in which the container has no
    /// cgroup of its own (rootless) shows the runtime's.
    pub fn mount_facts(&self, layout: &Layout, own: &OwnCgroups) -> CgroupMounts {
        let (v1, v2): (&[Mounted], Option<&PathBuf>) = match layout {
            Layout::Unified { mountpoint, .. } => (&[], Some(mountpoint)),
            Layout::Legacy { hierarchies, unified } => (hierarchies, unified.as_ref()),
            Layout::None => (&[], None),
        };
        CgroupMounts {
            v1: v1.iter().map(|m| self.v1_mount(m, own)).collect(),
            v2: v2.map(|mountpoint| CgroupV2 {
                mountpoint: mountpoint.clone(),
                container: self.paths.v2().map(|d| d.path()),
            }),
        }
    }

    fn v1_mount(&self, mounted: &Mounted, own: &OwnCgroups) -> CgroupV1 {
        let list = mounted.controllers.join(",");
        let named = list.strip_prefix("name=");
        let container = mounted
            .controllers
            .first()
            .and_then(|c| self.paths.dir_of(c))
            .map(|d| d.path())
            .unwrap_or_else(|| paths::own_dir(mounted, own));
        CgroupV1 {
            // Where the host has it under an unusual name, the container gets the usual one.
            name: named.unwrap_or(&list).to_string(),
            controllers: match named {
                Some(_) => format!("none,{list}"),
                None => list.clone(),
            },
            container,
            links: match mounted.controllers.as_slice() {
                [_] => Vec::new(),
                several => several.to_vec(),
            },
        }
    }
}

fn chown(path: &Path, uid: u32) -> Result<()> {
    const KEEP: u32 = u32::MAX;
    sys::fs::fchownat(sys::fs::cwd(), path, uid, KEEP).doing(|| "unable to give the container its cgroup")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;

    #[test]
    fn what_a_container_sees_of_v1() {
        let layout = Layout::Legacy {
            hierarchies: ["cpu,cpuacct", "memory", "name=systemd"]
                .map(fixture::mounted)
                .to_vec(),
            unified: None,
        };
        let own = OwnCgroups::parse("3:name=systemd:/me\n2:memory:/api/x\n1:cpu,cpuacct:/\n");
        let mut p = paths::resolve("/c", "c", &layout, &own).unwrap();
        if let CgroupPaths::Legacy { hierarchies, .. } = &mut p {
            hierarchies.pop(); // could not be created
        }
        let facts = Cgroup::open(p).mount_facts(&layout, &own);
        let short: Vec<_> = facts
            .v1
            .iter()
            .map(|h| {
                (
                    h.name.as_str(),
                    h.controllers.as_str(),
                    h.container.to_str().unwrap(),
                    h.links.len(),
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("cpu,cpuacct", "cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/c", 2),
                ("memory", "memory", "/sys/fs/cgroup/memory/c", 0),
                ("systemd", "none,name=systemd", "/sys/fs/cgroup/systemd/me", 0),
            ]
        );
    }
}
