//! The config.json that `spec` writes to begin with.
//!
//! May not: change without need: people and scripts edit it by text. Keys stand in the order and the values are those
//! that runc writes, so that an edit made for one suits the other.

use crate::cli::identity::SPEC_VERSION;
use crate::facts::CgroupMode;
use serde_json::{Value, json};

/// What the file depends on beside its purpose.
#[derive(Clone, Copy, Debug)]
pub struct Host<'a> {
    /// Name of the host that the container believes to be.
    pub hostname: &'a str,
    /// A cgroup namespace is of use only with the unified hierarchy.
    pub cgroups: CgroupMode,
}

/// For root.
pub fn privileged(host: Host<'_>) -> Value {
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    config(
        host,
        mounts(),
        json!({"resources": resources}),
        &["pid", "network", "ipc", "uts", "mount"],
        &[],
    )
}

/// For an ordinary user: root of a user namespace that holds just this user, on the host's network, without cgroup
/// settings. sysfs cannot be mounted without a network namespace of one's own, so /sys is the host's, read-only; ids
/// that are not mapped cannot own a mount, so no `gid=` option remains.
pub fn rootless(host: Host<'_>, uid: u32, gid: u32) -> Value {
    let mounts = mounts()
        .into_iter()
        .map(|mount| match mount.destination {
            "/sys" => Mount {
                kind: "none",
                source: "/sys",
                options: &["rbind", "nosuid", "noexec", "nodev", "ro"],
                ..mount
            },
            "/dev/pts" => Mount {
                options: &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
                ..mount
            },
            _ => mount,
        })
        .collect();
    let map = |id: u32| json!([{"containerID": 0, "hostID": id, "size": 1}]);
    let linux = json!({"uidMappings": map(uid), "gidMappings": map(gid)});
    config(host, mounts, linux, &["pid", "ipc", "uts", "mount"], &["user"])
}

/// `linux` holds what comes first in the object of that name.
fn config(
    host: Host<'_>,
    mounts: Vec<Mount>,
    mut linux: Value,
    namespaces: &[&str],
    last_namespaces: &[&str],
) -> Value {
    let cgroup: &[&str] = match host.cgroups {
        CgroupMode::Unified => &["cgroup"],
        CgroupMode::Legacy | CgroupMode::None => &[],
    };
    let namespaces: Vec<Value> = [namespaces, cgroup, last_namespaces]
        .iter()
        .flat_map(|l| l.iter())
        .map(|kind| json!({"type": kind}))
        .collect();
    linux["namespaces"] = Value::Array(namespaces);
    linux["maskedPaths"] = json!([
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/sys/firmware",
        "/proc/scsi",
    ]);
    linux["readonlyPaths"] = json!([
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger"
    ]);
    json!({
        "ociVersion": SPEC_VERSION,
        "process": process(),
        "root": {"path": "rootfs", "readonly": true},
        "hostname": host.hostname,
        "mounts": mounts.iter().map(Mount::to_json).collect::<Vec<_>>(),
        "linux": linux,
    })
}

fn process() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "terminal": true,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": true,
    })
}

struct Mount {
    destination: &'static str,
    kind: &'static str,
    source: &'static str,
    options: &'static [&'static str],
}

impl Mount {
    fn to_json(&self) -> Value {
        let mut out = json!({"destination": self.destination, "type": self.kind, "source": self.source});
        if !self.options.is_empty() {
            out["options"] = json!(self.options);
        }
        out
    }
}

fn mounts() -> Vec<Mount> {
    let mount = |destination, kind, source, options| Mount {
        destination,
        kind,
        source,
        options,
    };
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Config};

    const HOST: Host<'static> = Host {
        hostname: "runb",
        cgroups: CgroupMode::Legacy,
    };

    fn types(spec: &Value) -> Vec<&str> {
        spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn it_is_a_configuration_of_ours() {
        for spec in [privileged(HOST), rootless(HOST, 1000, 1001)] {
            let parsed: Config = config::parse(spec.to_string().as_bytes()).unwrap();
            assert_eq!(parsed.hostname, "runb");
            assert_eq!(parsed.process.unwrap().args, ["sh"]);
            assert_eq!(parsed.mounts.len(), 7);
        }
    }

    #[test]
    fn keys_stand_in_runcs_order() {
        let spec = privileged(HOST);
        let keys = |v: &Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&spec),
            ["ociVersion", "process", "root", "hostname", "mounts", "linux"]
        );
        assert_eq!(
            keys(&spec["linux"]),
            ["resources", "namespaces", "maskedPaths", "readonlyPaths"]
        );
        let rootless = rootless(HOST, 1, 2);
        assert_eq!(
            keys(&rootless["linux"]),
            [
                "uidMappings",
                "gidMappings",
                "namespaces",
                "maskedPaths",
                "readonlyPaths"
            ]
        );
    }

    #[test]
    fn the_unified_hierarchy_adds_a_cgroup_namespace() {
        let unified = Host {
            cgroups: CgroupMode::Unified,
            ..HOST
        };
        assert_eq!(
            types(&privileged(HOST)),
            ["pid", "network", "ipc", "uts", "mount"]
        );
        assert_eq!(
            types(&privileged(unified)),
            ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        );
        assert_eq!(
            types(&rootless(unified, 1, 2)),
            ["pid", "ipc", "uts", "mount", "cgroup", "user"]
        );
    }

    #[test]
    fn rootless_maps_the_user_and_asks_for_nothing_it_cannot_have() {
        let spec = rootless(HOST, 1000, 1001);
        assert_eq!(
            spec["linux"]["uidMappings"],
            json!([{"containerID": 0, "hostID": 1000, "size": 1}])
        );
        assert_eq!(
            spec["linux"]["gidMappings"],
            json!([{"containerID": 0, "hostID": 1001, "size": 1}])
        );
        assert!(spec["linux"].get("resources").is_none());
        assert!(!spec.to_string().contains("gid="));
        assert_eq!(
            spec["mounts"][5],
            json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
        );
    }
}
