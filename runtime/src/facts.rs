//! What is true of this host, probed once and handed to the planners as a value.
//!
//! May not: be consulted behind a planner's back. A test builds its own `HostFacts` and so plans for a host it is not on.

use crate::cgroup::systemd::SystemdFacts;
use crate::error::{Doing, Result};
use crate::procfs::Procfs;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How the host's cgroups are mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// One cgroup v2 tree at /sys/fs/cgroup.
    #[default]
    Unified,
    /// v1 controllers, with or without a v2 tree at /sys/fs/cgroup/unified.
    Legacy,
    /// No cgroup file system is mounted.
    None,
}

/// Facts about the host and about us.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostFacts {
    /// Kernel release as (major, minor).
    pub kernel: (u32, u32),
    /// Effective uid of the runtime.
    pub euid: u32,
    /// Effective gid of the runtime.
    pub egid: u32,
    /// The runtime itself runs in a user namespace that is not the initial one.
    pub in_user_namespace: bool,
    /// cgroup layout.
    pub cgroup_mode: CgroupMode,
    /// Highest capability number that the kernel knows.
    pub last_capability: u8,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// SELinux is enabled.
    pub selinux: bool,
    /// The systemd that makes the cgroup; `None` with the cgroupfs driver. Its connection is opened by who needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd: Option<SystemdFacts>,
}

impl HostFacts {
    /// Looks at the host. The cgroup layout is probed by its own module.
    pub fn probe() -> Result<HostFacts> {
        let (euid, egid) = sys::process::effective_ids();
        let proc = Procfs::host()?;
        let maps = proc.read("self/uid_map")?;
        Ok(HostFacts {
            kernel: sys::process::kernel_release(),
            euid,
            egid,
            // The initial user namespace maps every id onto itself.
            in_user_namespace: maps.split_ascii_whitespace().ne(["0", "0", "4294967295"]),
            cgroup_mode: CgroupMode::default(),
            systemd: None,
            last_capability: last_capability(sys::cred::in_bounding)?,
            apparmor: is_there("/sys/kernel/security/apparmor/profiles"),
            selinux: is_there("/sys/fs/selinux/enforce"),
        })
    }

    /// True when the runtime has no root rights over the host: another uid, or root only of a user namespace.
    pub fn is_rootless(&self) -> bool {
        self.euid != 0 || self.in_user_namespace
    }
}

/// The kernel answers EINVAL to numbers that it does not know; /proc/sys/kernel/cap_last_cap may be hidden.
///
/// # Errors
/// Any other refusal (a filter of an outer container): what is not known to exist would stay in the bounding set.
fn last_capability(in_bounding: impl Fn(u8) -> sys::Result<bool>) -> Result<u8> {
    let known = |n: u8| match in_bounding(n) {
        Ok(_) => Ok(true),
        Err(e) if e.is(libc::EINVAL) => Ok(false),
        Err(e) => Err(e).doing(|| "find the capabilities of this kernel"),
    };
    let mut last = 40;
    while last < 63 && known(last + 1)? {
        last += 1;
    }
    while last > 0 && !known(last)? {
        last -= 1;
    }
    Ok(last)
}

fn is_there(path: &str) -> bool {
    sys::fs::fstatat(sys::fs::cwd(), Path::new(path), 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_that_cannot_be_asked_for_is_not_one_that_does_not_exist() {
        let kernel = |last: u8, refused: u8| {
            move |n: u8| match n {
                n if n == refused => Err(sys::Error::new("prctl", "", sys::Errno(libc::EPERM))),
                n if n > last => Err(sys::Error::new("prctl", "", sys::Errno(libc::EINVAL))),
                _ => Ok(true),
            }
        };
        for last in [37, 40, 41, 63] {
            assert_eq!(last_capability(kernel(last, 255)).unwrap(), last);
        }
        assert!(last_capability(kernel(40, 40)).is_err());
        assert!(last_capability(kernel(40, 41)).is_err());
    }
}
