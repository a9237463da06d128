//! What this machine, and this process on it, can do.
//!
//! May not: know of a container. It is asked once, and handed on.

use std::path::Path;

use image::bundle::defaults;
use image::bundle::idmap::{IdMaps, Range};

use super::capabilities;

/// Facts.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// As Go calls it.
    pub architecture: String,
    pub kernel: (u32, u32),
    pub cgroups: Cgroups,
    /// What we have to give.
    pub capabilities: Vec<String>,
    pub apparmor: bool,
    /// What its policy calls containers, if SELinux is there: the text of `lxc_contexts`.
    pub selinux: Option<String>,
    pub seccomp: bool,
    /// How many there are.
    pub cpus: u32,
    /// [`defaults::thermal_paths`].
    pub thermal: Vec<String>,
    /// Which of those that are set by default exist.
    pub sysctls: Vec<String>,
    /// Of the user namespace that we are in; `None`: the machine's own.
    pub ids: Option<IdMaps>,
    /// Ours: without privileges nobody gets a lower one.
    pub oom_score_adj: i64,
    /// The host has mounted its message queues.
    pub mqueue: bool,
}

/// How cgroups are mounted, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroups {
    pub hierarchy: Hierarchy,
    pub driver: Driver,
    /// Version 1: those that are mounted; version 2: those that containers of ours can have.
    pub controllers: Vec<String>,
    /// Files of the controllers that are there: `memory.swappiness`. Version 1 only.
    pub files: Vec<String>,
    /// Version 2: a limit of swap can be set.
    pub swap: bool,
    /// The lists of CPUs and memory nodes that there are: `0-3`.
    pub online_cpus: String,
    pub online_mems: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2.
    #[default]
    Unified,
    /// Version 1, perhaps with an empty version 2 beside it.
    Legacy,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// The runtime, by mkdir.
    #[default]
    Files,
    /// The runtime, by asking systemd.
    Systemd,
    /// Nobody: this user may not.
    None,
}

const DEFAULT_SYSCTLS: [&str; 2] = ["net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"];

impl Host {
    /// The one that we are on.
    pub fn ask() -> Host {
        let ids = our_ids();
        let (lsm, rootless) = (Path::new("/sys/kernel/security/apparmor"), ids.is_some());
        let first = |path: &str| read(path).chars().next();
        let cgroups = Cgroups::ask(rootless);
        Host {
            architecture: image::platform::Platform::host().architecture,
            kernel: sys::process::kernel_release(),
            cpus: count(&cgroups.online_cpus),
            cgroups,
            capabilities: capabilities::ours(),
            // Profiles are loaded by root.
            apparmor: !rootless
                && first("/sys/module/apparmor/parameters/enabled") == Some('Y')
                && lsm.exists(),
            selinux: selinux_contexts(),
            seccomp: Path::new("/proc/sys/kernel/seccomp").exists(),
            thermal: defaults::thermal_paths(),
            sysctls: DEFAULT_SYSCTLS
                .iter()
                .filter(|name| Path::new("/proc/sys").join(name.replace('.', "/")).exists())
                .map(|name| (*name).to_owned())
                .collect(),
            ids,
            oom_score_adj: read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0),
            mqueue: Path::new("/dev/mqueue").exists(),
        }
    }
}

/// Files of version 1 that tell whether the kernel was built with an option.
const LEGACY_FILES: [(&str, &[&str]); 3] = [
    (
        "memory",
        &[
            "memory.memsw.limit_in_bytes",
            "memory.soft_limit_in_bytes",
            "memory.oom_control",
            "memory.swappiness",
        ],
    ),
    ("cpu", &["cpu.shares", "cpu.cfs_quota_us", "cpu.rt_period_us"]),
    (
        "blkio",
        &[
            "blkio.weight",
            "blkio.weight_device",
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_bps_device",
            "blkio.throttle.read_iops_device",
            "blkio.throttle.write_iops_device",
        ],
    ),
];

impl Cgroups {
    fn ask(rootless: bool) -> Cgroups {
        let online = Cgroups {
            online_cpus: read("/sys/devices/system/cpu/online").trim().to_owned(),
            online_mems: read("/sys/devices/system/node/online").trim().to_owned(),
            ..Cgroups::default()
        };
        match defaults::has_unified_cgroups() {
            true => online.unified(rootless),
            false => online.legacy(rootless),
        }
    }

    fn unified(self, rootless: bool) -> Cgroups {
        let root = Path::new("/sys/fs/cgroup");
        let own = read("/proc/self/cgroup");
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .unwrap_or("");
        let booted = Path::new("/run/systemd/system").is_dir();
        let (driver, controllers) = match (rootless, booted) {
            (false, true) => (Driver::Systemd, root.join("cgroup.controllers")),
            (false, false) => (Driver::Files, root.join("cgroup.controllers")),
            // Its slice is what systemd delegates to a user, and that has what it has.
            (true, true) if has_user_bus() => (Driver::Systemd, user_slice(own).join("cgroup.controllers")),
            // In a container whose cgroup is ours.
            (true, _)
                if sys::fs::access(&root.join("cgroup.procs"), libc::W_OK).is_ok() && own.is_empty() =>
            {
                (Driver::Files, root.join("cgroup.controllers"))
            }
            (true, _) => (Driver::None, Path::new("/dev/null").to_owned()),
        };
        let text = std::fs::read_to_string(controllers).unwrap_or_default();
        Cgroups {
            hierarchy: Hierarchy::Unified,
            driver,
            controllers: text.split_ascii_whitespace().map(str::to_owned).collect(),
            // The root has no memory.swap.max to look for; our own cgroup, if it is another, has.
            swap: own.is_empty() || root.join(own).join("memory.swap.max").exists(),
            ..self
        }
    }

    fn legacy(self, rootless: bool) -> Cgroups {
        let root = Path::new("/sys/fs/cgroup");
        let mounted = [
            "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd",
        ];
        let there = |controller: &&str| root.join(controller).join("cgroup.procs").exists();
        let files = LEGACY_FILES.iter().flat_map(|(controller, files)| {
            files
                .iter()
                .filter(move |file| root.join(controller).join(file).exists())
                .map(|file| (*file).to_owned())
        });
        Cgroups {
            hierarchy: Hierarchy::Legacy,
            driver: if rootless { Driver::None } else { Driver::Files },
            controllers: mounted
                .iter()
                .filter(|c| there(c))
                .map(|c| (*c).to_owned())
                .collect(),
            files: files.collect(),
            ..self
        }
    }

    /// Whether a controller can be used.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// Whether a controller has a file; version 2 has `otherwise`.
    pub(super) fn has_file(&self, file: &str, otherwise: bool) -> bool {
        match self.hierarchy {
            Hierarchy::Legacy => self.files.iter().any(|f| f == file),
            Hierarchy::Unified => otherwise,
        }
    }
}

/// `/user.slice/user-1000.slice/user@1000.service/app.slice/...`: what systemd has delegated begins at the service.
fn user_slice(own: &str) -> std::path::PathBuf {
    let mut path = std::path::PathBuf::from("/sys/fs/cgroup");
    for part in own.split('/') {
        path.push(part);
        if part.starts_with("user@") {
            return path;
        }
    }
    Path::new("/sys/fs/cgroup/user.slice").to_owned()
}

/// Of the policy that /etc/selinux/config names.
fn selinux_contexts() -> Option<String> {
    if !Path::new("/sys/fs/selinux/enforce").exists() {
        return None;
    }
    let config = std::fs::read_to_string("/etc/selinux/config").ok()?;
    let policy = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("SELINUXTYPE="))?;
    let file = Path::new("/etc/selinux")
        .join(policy.trim())
        .join("contexts/lxc_contexts");
    std::fs::read_to_string(file).ok()
}

fn has_user_bus() -> bool {
    let address = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some_and(|a| !a.is_empty());
    let socket = std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("bus").exists());
    address || socket
}

/// `None` in the first user namespace, where every id is itself.
fn our_ids() -> Option<IdMaps> {
    let maps = IdMaps {
        uids: parse_map(&read("/proc/self/uid_map")),
        gids: parse_map(&read("/proc/self/gid_map")),
    };
    (maps.uids != [(0, 0, u32::MAX)]).then_some(maps)
}

/// Of a list like `0-3,8`; one, where nothing is told.
fn count(list: &str) -> u32 {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<u32>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.split(',').filter_map(part).sum::<u32>().max(1)
}

fn parse_map(text: &str) -> Vec<Range> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        Some((
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
            numbers.next()?.ok()?,
        ))
    };
    text.lines().filter_map(line).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        for (list, want) in [("0-3", 4), ("0", 1), ("0-1,4,6-7", 5), ("", 1), ("3-1", 1)] {
            assert_eq!(count(list), want, "{list}");
        }
        assert_eq!(parse_map("         0       1000          1\n"), [(0, 1000, 1)]);
    }
}
