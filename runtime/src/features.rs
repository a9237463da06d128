//! What `features` says: the document that the runtime specification describes in features.md.
//!
//! May not: promise what this runtime does not do, read a configuration, or need a right. Engines decide by it whether
//! they may ask for recursive read-only mounts (Docker, Kubernetes) and id-mapped mounts (CRI-O, Kubernetes).

use crate::cli::identity::{COMMIT, Identity, RUNC_VERSION, SPEC_VERSION};
use crate::process::capabilities;
use crate::seccomp;
use serde::Serialize;
use std::collections::BTreeMap;

/// Namespaces that a container can own or join.
pub const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// Kinds of hooks in the order in which they run.
pub const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// Annotations of a config.json that make the runtime do something, and so must not come from whom one does not trust.
/// One that ends in a dot is a prefix.
const UNSAFE_ANNOTATIONS: [&str; 3] = ["bundle", "org.systemd.property.", "org.criu.config"];

// Areas that this version leaves out. They are told as absent, not left unsaid.
const SYSTEMD_DRIVER: bool = true;
const CHECKPOINT: bool = false;
const INTEL_RDT: bool = true;
const MEMORY_POLICY: bool = true;
const NET_DEVICES: bool = true;

const MEMORY_POLICY_MODES: [&str; 7] = [
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];
const MEMORY_POLICY_FLAGS: [&str; 3] = [
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
];

/// What seccomp can do; from the seccomp compiler.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp {
    enabled: bool,
    /// SCMP_ACT_*, sorted.
    actions: Vec<&'static str>,
    /// SCMP_CMP_*, sorted.
    operators: Vec<&'static str>,
    /// SCMP_ARCH_*, sorted.
    archs: Vec<&'static str>,
    /// Filter flags that are understood.
    known_flags: Vec<&'static str>,
    /// Those of them that the running kernel takes.
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    /// Those that mean something to the runtime itself; all others go to the file system.
    mount_options: Vec<&'static str>,
    linux: Linux,
    annotations: BTreeMap<&'static str, &'static str>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_policy: Option<MemoryPolicy>,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: &'static [&'static str],
    flags: &'static [&'static str],
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

/// The document: indented by four spaces, with a newline at the end.
///
/// # Errors
/// None that our types can bring about.
pub fn document(identity: Identity, seccomp: Seccomp) -> crate::error::Result<String> {
    let mut annotations = BTreeMap::from([
        (
            "org.opencontainers.runc.checkpoint.enabled",
            if CHECKPOINT { "true" } else { "false" },
        ),
        // The version of runc that we are compatible with; features of runc say so for other runtimes.
        ("org.opencontainers.runc.version", RUNC_VERSION),
    ]);
    match identity {
        Identity::Runc => annotations.insert("org.opencontainers.runc.commit", COMMIT),
        Identity::Runb => annotations.insert("runb.version", Identity::Runb.version()),
    };
    let features = Features {
        oci_version_min: "1.0.0",
        oci_version_max: SPEC_VERSION,
        hooks: &HOOKS,
        mount_options: crate::rootfs::options::known().collect(),
        linux: Linux {
            namespaces: &NAMESPACES,
            capabilities: &capabilities::NAMES,
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: SYSTEMD_DRIVER,
                systemd_user: SYSTEMD_DRIVER,
                rdma: true,
            },
            seccomp,
            apparmor: Enabled { enabled: true },
            selinux: Enabled { enabled: true },
            intel_rdt: IntelRdt {
                enabled: INTEL_RDT,
                schemata: INTEL_RDT,
                monitoring: INTEL_RDT,
            },
            memory_policy: MEMORY_POLICY.then_some(MemoryPolicy {
                modes: &MEMORY_POLICY_MODES,
                flags: &MEMORY_POLICY_FLAGS,
            }),
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
            net_devices: Enabled { enabled: NET_DEVICES },
        },
        annotations,
        potentially_unsafe_config_annotations: &UNSAFE_ANNOTATIONS,
    };
    let mut out = crate::cli::json::indented(&features, "    ")?;
    out.push('\n');
    Ok(out)
}

impl Seccomp {
    /// What the profile compiler knows, and what a kernel with these filter flags takes of it.
    pub fn for_kernel(flags: u32) -> Seccomp {
        Seccomp {
            enabled: true,
            actions: seccomp::known_actions(),
            operators: seccomp::known_operators(),
            archs: seccomp::known_archs(),
            known_flags: seccomp::known_flags(),
            supported_flags: seccomp::supported_flags(flags),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(identity: Identity) -> serde_json::Value {
        serde_json::from_str(
            &document(identity, Seccomp::for_kernel(seccomp::FLAGS_OF_MINIMUM_KERNEL)).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn engines_find_what_they_look_for() {
        let f = parsed(Identity::Runb);
        assert_eq!(f["ociVersionMin"], "1.0.0");
        assert_eq!(f["ociVersionMax"], "1.3.0");
        assert!(f["mountOptions"].as_array().unwrap().iter().any(|o| o == "rro"));
        assert_eq!(f["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert_eq!(f["linux"]["cgroup"]["v2"], true);
        assert_eq!(f["linux"]["seccomp"]["enabled"], true);
        assert_eq!(
            f["potentiallyUnsafeConfigAnnotations"][1],
            "org.systemd.property."
        );
    }

    #[test]
    fn keys_stand_in_the_order_of_the_specification() {
        let f = parsed(Identity::Runc);
        let keys = |v: &serde_json::Value| v.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(
            keys(&f),
            [
                "ociVersionMin",
                "ociVersionMax",
                "hooks",
                "mountOptions",
                "linux",
                "annotations",
                "potentiallyUnsafeConfigAnnotations"
            ]
        );
        assert_eq!(
            keys(&f["linux"])[..6],
            [
                "namespaces",
                "capabilities",
                "cgroup",
                "seccomp",
                "apparmor",
                "selinux"
            ]
            .map(String::from)
        );
        assert_eq!(f["annotations"]["org.opencontainers.runc.version"], "1.5.1");
    }

    #[test]
    fn it_is_indented_by_four_and_ends_with_a_newline() {
        let text = document(
            Identity::Runb,
            Seccomp::for_kernel(seccomp::FLAGS_OF_MINIMUM_KERNEL),
        )
        .unwrap();
        assert!(text.starts_with("{\n    \"ociVersionMin\": \"1.0.0\",\n"));
        assert!(text.ends_with("\n}\n"));
    }

    #[test]
    fn lists_are_sorted_and_without_doubles() {
        let options: Vec<_> = crate::rootfs::options::known().collect();
        for list in [&options[..], &NAMESPACES[..]] {
            assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
        }
    }
}
