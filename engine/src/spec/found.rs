//! What has to be looked up for one container: who its user is, what its devices are, how the mounts are that binds come from.
//!
//! May not: change anything.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use image::bundle::user::{self, User};
use image::{Context, Error, Result};
use sys::mountinfo;

use super::devices::{self, Node};
use super::machine;
use super::{Host, cdi};
use crate::model::{Definition, HostConfig, MountPoint};

/// Facts about one container.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub user: User,
    pub devices: Vec<Node>,
    /// Of devices that were asked for by name.
    pub cdi: cdi::Edits,
    /// Numbers of the block devices that have limits, by path.
    pub numbers: BTreeMap<String, (u32, u32)>,
    /// Of the mount that each bound path is on, in a user namespace: they cannot be taken away there.
    pub locked: BTreeMap<String, Vec<&'static str>>,
    /// How mounts are propagated to and from each bound path whose propagation matters.
    pub peers: BTreeMap<String, Peers>,
    /// It runs systemd ([`super::machine`]).
    pub is_machine: bool,
}

/// Propagation of a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Where it is mounted.
    pub mount: String,
    pub shared: bool,
    pub slave: bool,
}

impl Found {
    /// `root` is the root file system, mounted.
    ///
    /// # Errors
    /// There is no such user, group, device or path.
    pub fn look_up(definition: &Definition, root: BorrowedFd<'_>, host: &Host) -> Result<Found> {
        let settings = &definition.host;
        let of_host = |m: &&MountPoint| matches!(m.kind.as_str(), "bind" | "volume");
        let sources = || definition.mounts.iter().filter(of_host);
        let mut locked = BTreeMap::new();
        if host.ids.is_some() {
            for mount in sources() {
                locked.insert(mount.source.clone(), locked_flags(Path::new(&mount.source))?);
            }
        }
        let mut peers = BTreeMap::new();
        if sources().any(|m| matters(&m.propagation)) {
            let table = mountinfo::own_table()?;
            for mount in sources().filter(|m| matters(&m.propagation)) {
                peers.insert(mount.source.clone(), peers_of(&mount.source, &table)?);
            }
        }
        Ok(Found {
            user: Found::user(definition, &definition.config.user, root)?,
            devices: devices::look_up(settings)?,
            cdi: cdi::look_up(settings)?,
            numbers: devices::block_numbers(settings)?,
            locked,
            peers,
            is_machine: machine::is_one(definition, root)?,
        })
    }

    /// Only the block devices that have limits: all that a change of limits needs.
    ///
    /// # Errors
    /// There is no such device.
    pub fn look_up_numbers(&mut self, settings: &HostConfig) -> Result<()> {
        self.numbers = devices::block_numbers(settings)?;
        Ok(())
    }

    /// As much of it as another process in the container needs. Devices that are gone since it started are none of its business,
    /// and to look at all of /dev takes time.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn for_exec(definition: &Definition, root: BorrowedFd<'_>) -> Result<Found> {
        Ok(Found {
            user: Found::user(definition, &definition.config.user, root)?,
            is_machine: machine::is_one(definition, root)?,
            ..Found::default()
        })
    }

    /// Somebody in the container, with the groups that everybody in it has: for `exec --user`.
    ///
    /// # Errors
    /// There is no such user or group.
    pub fn user(definition: &Definition, name: &str, root: BorrowedFd<'_>) -> Result<User> {
        let mut user = user::find(name, root)?;
        let added = definition.host.group_add.as_deref().unwrap_or_default();
        for gid in user::find_groups(added, root)? {
            if !user.additional_gids.contains(&gid) {
                user.additional_gids.push(gid);
            }
        }
        Ok(user)
    }
}

fn matters(propagation: &str) -> bool {
    ["shared", "rshared", "slave", "rslave"].contains(&propagation)
}

/// ST_RELATIME of statfs(2), which libc does not know for musl.
const RELATIME: libc::c_ulong = 0x1000;

/// Flags that a mount made from this one in a user namespace must have as well (mount_namespaces(7), "locked").
fn locked_flags(path: &Path) -> Result<Vec<&'static str>> {
    let fd =
        sys::fs::open(path, libc::O_PATH, 0).context(format_args!("failed to look at {}", path.display()))?;
    let flags = sys::fs::fstatfs(fd.as_fd())?.flags;
    let known = [
        (libc::ST_RDONLY, "ro"),
        (libc::ST_NODEV, "nodev"),
        (libc::ST_NOEXEC, "noexec"),
        (libc::ST_NOSUID, "nosuid"),
        (libc::ST_NOATIME, "noatime"),
        (libc::ST_NODIRATIME, "nodiratime"),
        (RELATIME, "relatime"),
    ];
    #[allow(clippy::unnecessary_cast)] // the constants' type differs between libcs
    let set = known.into_iter().filter(|(bit, _)| flags & *bit as u64 != 0);
    Ok(set.map(|(_, name)| name).collect())
}

/// The longest mount point that the path is below, the latest if there are several; links in the path are followed.
fn peers_of(source: &str, table: &[u8]) -> Result<Peers> {
    let full = std::fs::canonicalize(source).context(format_args!("failed to look at {source}"))?;
    let mut best: Option<Peers> = None;
    for mount in mountinfo::mounts(table) {
        let point = mount.mountpoint().to_string_lossy().into_owned();
        let shorter = best.as_ref().is_some_and(|b| point.len() < b.mount.len());
        if shorter || !full.starts_with(mount.mountpoint()) {
            continue;
        }
        best = Some(Peers {
            mount: point,
            shared: mount.peer_group().is_some(),
            slave: mount.master().is_some(),
        });
    }
    best.ok_or_else(|| Error::invalid(format!("Can't find mount point of {source}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_nearest_mount_counts() {
        let table = b"1 0 0:1 / / rw shared:1 - ext4 a rw\n2 1 0:2 / /proc rw master:3 - proc proc rw\n\
            3 1 0:3 / /elsewhere rw shared:9 - tmpfs t rw\n4 2 0:4 / /proc rw - proc proc rw\n";
        let root = peers_of("/", table).unwrap();
        assert!(root.shared && !root.slave && root.mount == "/");
        let proc = peers_of("/proc/self", table).unwrap();
        assert!(!proc.shared && !proc.slave && proc.mount == "/proc");
    }
}
