//! config.json of runtime-spec 1.3 as written: every field optional, every unknown key ignored, enums as strings.
//!
//! May not: judge, touch the kernel, or travel further than [`crate::plan`]. A wrong type is reported with its JSON
//! pointer, all of them at once; what a value means is decided by the planner of its area.

use crate::problems::Problems;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $(
            #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_default")]
            $(#[$fdoc])* pub $field: $ty),* }
    };
}

/// JSON null counts as absent, as Go's encoding/json has it; engines write both.
fn null_is_absent<'de, D, T>(d: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

object!(
    /// The whole file.
    Config {
        oci_version: String,
        hooks: Option<Hooks>,
        annotations: BTreeMap<String, String>,
        hostname: String,
        domainname: String,
        mounts: Vec<Mount>,
        root: Option<Root>,
        process: Option<Process>,
        linux: Option<Linux>,
    }
);
object!(Root {
    path: String,
    readonly: bool
});
object!(
    /// `mounts[]`.
    Mount {
        destination: String,
        #[serde(rename = "type")]
        kind: String,
        source: String,
        options: Vec<String>,
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
    }
);
object!(
    /// `process`, also the file of `exec --process`.
    Process {
        terminal: bool,
        console_size: Option<ConsoleSize>,
        user: User,
        args: Vec<String>,
        env: Vec<String>,
        cwd: String,
        capabilities: Option<Capabilities>,
        rlimits: Vec<Rlimit>,
        no_new_privileges: bool,
        apparmor_profile: String,
        oom_score_adj: Option<i32>,
        scheduler: Option<Scheduler>,
        selinux_label: String,
        io_priority: Option<IoPriority>,
        #[serde(rename = "execCPUAffinity")]
        exec_cpu_affinity: Option<ExecCpuAffinity>,
    }
);
object!(ConsoleSize {
    height: u32,
    width: u32
});
object!(User { uid: u32, gid: u32, umask: Option<u32>, additional_gids: Vec<u32> });
object!(
    /// The five sets; unknown names are dropped with a warning, as the spec says.
    Capabilities {
        bounding: Vec<String>,
        effective: Vec<String>,
        inheritable: Vec<String>,
        permitted: Vec<String>,
        ambient: Vec<String>,
    }
);
object!(Rlimit {
    #[serde(rename = "type")]
    kind: String,
    soft: u64,
    hard: u64
});
object!(Scheduler {
    policy: String,
    nice: Option<i32>,
    priority: Option<i32>,
    flags: Vec<String>,
    runtime: Option<u64>,
    deadline: Option<u64>,
    period: Option<u64>,
});
object!(IoPriority {
    class: String,
    priority: i32
});
object!(ExecCpuAffinity {
    initial: String,
    #[serde(rename = "final")]
    last: String
});
object!(Hooks {
    prestart: Vec<Hook>,
    create_runtime: Vec<Hook>,
    create_container: Vec<Hook>,
    start_container: Vec<Hook>,
    poststart: Vec<Hook>,
    poststop: Vec<Hook>,
});
object!(
    /// One hook. `timeout` in seconds.
    Hook { path: String, args: Vec<String>, env: Vec<String>, timeout: Option<i64> }
);
object!(
    /// `linux`.
    Linux {
        uid_mappings: Vec<IdMapping>,
        gid_mappings: Vec<IdMapping>,
        sysctl: BTreeMap<String, String>,
        resources: Option<Resources>,
        cgroups_path: String,
        namespaces: Vec<Namespace>,
        devices: Vec<Device>,
        net_devices: BTreeMap<String, NetDevice>,
        seccomp: Option<Seccomp>,
        rootfs_propagation: String,
        masked_paths: Vec<String>,
        readonly_paths: Vec<String>,
        mount_label: String,
        intel_rdt: Option<IntelRdt>,
        memory_policy: Option<MemoryPolicy>,
        personality: Option<Personality>,
        time_offsets: BTreeMap<String, TimeOffset>,
    }
);
object!(IdMapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32
});
object!(Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: String
});
object!(
    /// `linux.devices[]`.
    Device {
        path: String,
        #[serde(rename = "type")]
        kind: String,
        major: i64,
        minor: i64,
        file_mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    }
);
object!(NetDevice { name: String });
object!(TimeOffset {
    secs: i64,
    nanosecs: u32
});
object!(Personality { domain: String, flags: Vec<String> });
object!(MemoryPolicy { mode: String, nodes: String, flags: Vec<String> });
object!(IntelRdt {
    #[serde(rename = "closID")]
    clos_id: String,
    l3_cache_schema: String,
    mem_bw_schema: String,
    schemata: Option<Vec<String>>,
    #[serde(rename = "enableCMT")]
    enable_cmt: bool,
    #[serde(rename = "enableMBM")]
    enable_mbm: bool,
    enable_monitoring: bool,
});
object!(
    /// `linux.seccomp`.
    Seccomp {
        default_action: String,
        default_errno_ret: Option<u32>,
        architectures: Vec<String>,
        flags: Option<Vec<String>>,
        listener_path: String,
        listener_metadata: String,
        syscalls: Vec<Syscall>,
    }
);
object!(Syscall { names: Vec<String>, action: String, errno_ret: Option<u32>, args: Vec<SyscallArg> });
object!(SyscallArg {
    index: u32,
    value: u64,
    value_two: u64,
    op: String
});
object!(
    /// `linux.resources`, also the file of `update --resources`.
    Resources {
        devices: Vec<DeviceRule>,
        memory: Option<Memory>,
        cpu: Option<Cpu>,
        pids: Option<Pids>,
        #[serde(rename = "blockIO")]
        block_io: Option<BlockIo>,
        hugepage_limits: Vec<HugepageLimit>,
        network: Option<Network>,
        rdma: BTreeMap<String, Rdma>,
        unified: BTreeMap<String, String>,
    }
);
object!(DeviceRule {
    allow: bool,
    #[serde(rename = "type")]
    kind: String,
    major: Option<i64>,
    minor: Option<i64>,
    access: String,
});
object!(
    /// Bytes; -1 is unlimited.
    Memory {
        limit: Option<i64>,
        reservation: Option<i64>,
        swap: Option<i64>,
        kernel: Option<i64>,
        #[serde(rename = "kernelTCP")]
        kernel_tcp: Option<i64>,
        swappiness: Option<u64>,
        #[serde(rename = "disableOOMKiller")]
        disable_oom_killer: Option<bool>,
        use_hierarchy: Option<bool>,
        check_before_update: Option<bool>,
    }
);
object!(Cpu {
    shares: Option<u64>,
    quota: Option<i64>,
    burst: Option<u64>,
    period: Option<u64>,
    realtime_runtime: Option<i64>,
    realtime_period: Option<u64>,
    cpus: String,
    mems: String,
    idle: Option<i64>,
});
object!(Pids { limit: Option<i64> });
object!(BlockIo {
    weight: Option<u16>,
    leaf_weight: Option<u16>,
    weight_device: Vec<WeightDevice>,
    throttle_read_bps_device: Vec<ThrottleDevice>,
    throttle_write_bps_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleReadIOPSDevice")]
    throttle_read_iops_device: Vec<ThrottleDevice>,
    #[serde(rename = "throttleWriteIOPSDevice")]
    throttle_write_iops_device: Vec<ThrottleDevice>,
});
object!(WeightDevice { major: i64, minor: i64, weight: Option<u16>, leaf_weight: Option<u16> });
object!(ThrottleDevice {
    major: i64,
    minor: i64,
    rate: u64
});
object!(HugepageLimit {
    #[serde(alias = "pagesize")] // Go's parser takes a key in any case, and this spelling is in use
    page_size: String,
    limit: u64
});
object!(Network { #[serde(rename = "classID")] class_id: Option<u32>, priorities: Vec<InterfacePriority> });
object!(InterfacePriority {
    name: String,
    priority: u32
});
object!(Rdma { hca_handles: Option<u32>, hca_objects: Option<u32> });

/// Parses JSON into `T`. A wrong type is not the end: every one is collected with its JSON pointer, so that the
/// typed parse is the fast path and the careful one is only paid for by a broken file.
pub fn parse<T>(json: &[u8]) -> Result<T, Problems>
where
    T: for<'de> Deserialize<'de>,
{
    // A list of values would pass for an object without keys.
    if json.trim_ascii_start().starts_with(b"[") {
        let mut problems = Problems::default();
        problems.add("", "invalid type: sequence, expected an object");
        return Err(problems);
    }
    match serde_json::from_slice(json) {
        Ok(v) => Ok(v),
        Err(first) => Err(explain::<T>(json, &first)),
    }
}

/// Parses again, removing each offending value, until nothing offends.
fn explain<T: for<'de> Deserialize<'de>>(json: &[u8], first: &serde_json::Error) -> Problems {
    let mut problems = Problems::default();
    let mut value: serde_json::Value = match serde_json::from_slice(json) {
        Ok(v) => v,
        Err(e) => {
            problems.add(
                format!("line {} column {}", e.line(), e.column()),
                strip_position(&e),
            );
            return problems;
        }
    };
    // Each round removes one value, so a hostile file cannot keep us here for ever.
    for _ in 0..64 {
        let Err(e) = serde_path_to_error::deserialize::<_, T>(&value) else {
            break;
        };
        let pointer = to_pointer(e.path());
        // The null that took the place of what offended may offend as well.
        if problems.iter().all(|p| p.place != pointer) {
            problems.add(pointer.clone(), strip_position(e.inner()));
        }
        if !remove(&mut value, &pointer) {
            break;
        }
    }
    if problems.is_empty() {
        problems.add(
            format!("line {} column {}", first.line(), first.column()),
            strip_position(first),
        );
    }
    problems
}

/// serde_json appends ` at line L column C`; the place is told by the pointer instead.
fn strip_position(e: &serde_json::Error) -> String {
    let text = e.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_string(),
        None => text,
    }
}

fn to_pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path.iter() {
        out.push('/');
        match segment {
            Segment::Seq { index } => out.push_str(&index.to_string()),
            Segment::Map { key } => out.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => out.push_str(variant),
            Segment::Unknown => out.push('?'),
        }
    }
    out
}

/// Sets the value at the pointer to null; when it is null already, its parent.
fn remove(value: &mut serde_json::Value, pointer: &str) -> bool {
    match value.pointer_mut(pointer) {
        Some(v) if !v.is_null() => {
            *v = serde_json::Value::Null;
            !pointer.is_empty()
        }
        _ => match pointer.rfind('/') {
            Some(at) => remove(value, &pointer[..at]),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_nulls_are_ignored() {
        let c: Config =
            parse(br#"{"ociVersion":"1.9.0","x":1,"process":{"args":null,"y":{}},"linux":null}"#).unwrap();
        assert_eq!(c.process.unwrap().args, Vec::<String>::new());
        assert!(c.linux.is_none());
    }

    #[test]
    fn every_wrong_type_is_named() {
        let e = parse::<Config>(
            br#"{"process":{"args":"sh","user":{"uid":-1,"gid":1.5}},"mounts":[{"destination":7}],"linux":{"maskedPaths":["a",2]}}"#,
        )
        .unwrap_err();
        let places: Vec<&str> = e.iter().map(|p| p.place.as_str()).collect();
        for place in [
            "/process/args",
            "/process/user/uid",
            "/process/user/gid",
            "/mounts/0/destination",
            "/linux/maskedPaths/1",
        ] {
            assert!(places.contains(&place), "{place} missing in {places:?}");
        }
    }

    #[test]
    fn broken_json_names_line_and_column() {
        let e = parse::<Config>(b"{\n  \"process\": {,}\n}").unwrap_err();
        assert_eq!(e.iter().next().unwrap().place, "line 2 column 15");
    }
}
