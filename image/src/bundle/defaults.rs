//! What every container gets unless somebody says otherwise: Docker's lists, in one place for bundles and for `brig run`.
//!
//! May not: know of images or options.
//!
//! The facts are those of moby 29.7 (daemon/pkg/oci, b985e23).

use std::os::fd::AsFd;
use std::path::Path;

use serde_json::{Value, json};

/// What a container may by default. Others have inheritable ones as well, which is CVE-2022-24769.
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The first entry of every environment.
pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What tells of the host or lets one act on it. [`masked`] has the rest.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What may be read, but not written.
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// `linux.maskedPaths`; `thermal` is [`thermal_paths`].
pub fn masked(thermal: &[String]) -> Vec<String> {
    MASKED
        .iter()
        .map(|path| (*path).to_owned())
        .chain(thermal.iter().cloned())
        .collect()
}

/// Files below /sys about the temperature of each CPU, which tell what others do.
pub fn thermal_paths() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten();
    let is_cpu = |name: &std::ffi::OsStr| {
        let number = name.to_str().and_then(|name| name.strip_prefix("cpu"));
        number.is_some_and(|number| number.bytes().next().is_some_and(|b| b.is_ascii_digit()))
    };
    let mut paths: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(is_cpu))
        .map(|path| path.join("thermal_throttle"))
        .filter(|path| path.exists())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect();
    paths.sort();
    paths
}

/// Whether /sys/fs/cgroup is one tree of version 2.
pub fn has_unified_cgroups() -> bool {
    const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;
    let magic = sys::fs::open(Path::new("/sys/fs/cgroup"), libc::O_PATH, 0)
        .and_then(|fd| sys::fs::fs_magic(fd.as_fd()));
    magic == Ok(CGROUP2_SUPER_MAGIC)
}

/// Nothing, but nodes may be made, and the usual ones used.
pub fn device_rules() -> Vec<Value> {
    let node = |major: i64, minor: i64| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"});
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    // zero, null, urandom, random, tty, console
    rules.extend([(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)].map(|(a, b)| node(a, b)));
    rules
}

/// Adds entries in Docker's order: what is named again keeps its place, a name without `=` takes one away.
pub fn merge_environment<'a>(env: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for entry in more {
        let name = entry.split('=').next().unwrap_or_default();
        let place = env.iter().position(|e| e.split('=').next() == Some(name));
        match (place, entry.contains('=')) {
            (Some(n), true) => env[n] = entry.clone(),
            (Some(n), false) => {
                env.remove(n);
            }
            (None, true) => env.push(entry.clone()),
            (None, false) => {}
        }
    }
}

/// Absolute, without `.`, `..` and empty parts.
pub fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
