//! From configuration to a list of writes: which cgroup, which files, which values, in which order.
//!
//! Pure: no system calls. Every value is judged here, with its JSON pointer; what is left for the kernel to refuse is
//! only what it alone can know (a CPU that is not there, a parent's smaller limit).

use super::convert::{self, Swap};
use super::device::{self, DevicePolicy};
use super::hierarchy::{Layout, OwnCgroups};
use super::paths::{self, CgroupPaths};
use super::systemd::{self, Bus, SystemdFacts, UnitName, UnitPlan};
use crate::config::{self, Config, Resources};
use crate::facts::HostFacts;
use crate::problems::Problems;
use serde::Serialize;

/// When a write is due. See [`super::Cgroup::apply_limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Before the container's first process is placed.
    Early,
    /// When the container's process has done its set-up: memory and pids, which would count the set-up against it.
    Late,
}

/// What a failed write means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The container cannot be as configured.
    Must,
    /// A missing file is fine: the value says what is so without it.
    IfThere,
    /// A kernel that does not know the file or refuses the form is fine, as runc has it.
    IfSupported,
    /// EINVAL is tried once more at the end: the value may only fit after those that follow.
    TwiceOnInvalid,
    /// The kernel clamps in silence: read it back and complain.
    ReadBack,
    /// EBUSY means that more memory is in use than the limit allows: say how much.
    MemoryLimit,
}

/// One value for one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Write {
    /// Name of the controller, in the words of the cgroup version of the host.
    pub controller: &'static str,
    /// File in the container's cgroup of that controller.
    pub file: String,
    /// What is written, by one write(2).
    pub value: String,
    /// File and value for kernels that do not have `file`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<(String, String)>,
    /// What failure means.
    pub policy: Policy,
    /// When.
    pub phase: Phase,
}

/// `checkBeforeUpdate`: refuse limits below what is in use, where the kernel would kill instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsageCheck {
    /// Bytes; 0 or less is not checked.
    pub limit: i64,
    /// Memory plus swap, bytes; 0 or less is not checked.
    pub total: i64,
}

/// Everything that is to happen with the container's cgroup.
#[derive(Clone, Debug, Serialize)]
pub struct CgroupPlan {
    /// Where; to be recorded before anything is created.
    pub paths: CgroupPaths,
    /// v2: controllers that the tree has to give.
    pub controllers: Vec<String>,
    /// `linux.cgroupsPath` was given.
    pub explicit_path: bool,
    /// The runtime has no rights over the host: what it may not do with cgroups is tolerated as far as no limit is lost.
    pub rootless: bool,
    /// v1 device rules cannot be written from a user namespace (the kernel insists on the initial one).
    pub in_user_namespace: bool,
    /// Limits, in order.
    pub writes: Vec<Write>,
    /// Device rules.
    pub devices: DevicePolicy,
    /// v2 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_check: Option<UsageCheck>,
    /// The unit that systemd makes of it; without one we make the directories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitPlan>,
}

impl CgroupPlan {
    /// Whether the kernel may kill for a limit of this plan.
    pub fn limits_memory(&self) -> bool {
        self.writes.iter().any(|w| w.controller == "memory")
    }
}

/// Plans the cgroup of container `id`. `tool` is our own name, for the name of the unit.
pub fn plan_cgroup(
    config: &Config,
    id: &str,
    tool: &str,
    layout: &Layout,
    own: &OwnCgroups,
    facts: &HostFacts,
    problems: &mut Problems,
) -> CgroupPlan {
    let (no_linux, no_resources) = (config::Linux::default(), Resources::default());
    let linux = config.linux.as_ref().unwrap_or(&no_linux);
    let resources = linux.resources.as_ref().unwrap_or(&no_resources);
    let devices = device::plan_devices(&resources.devices, problems);
    if !facts.is_rootless() && !devices.allows_everything() {
        require_device_control(layout, problems);
    }
    let help = match &facts.systemd {
        Some(s) if s.bus == Bus::User => {
            " to your systemd: let the administrator add it to Delegate= of user@.service"
        }
        _ => "",
    };
    let mut writes = plan_writes_with(resources, layout, "/linux/resources", help, problems);
    let (paths, unit) = match &facts.systemd {
        None => {
            let paths = paths::resolve(&linux.cgroups_path, id, layout, own);
            (problems.keep("/linux/cgroupsPath", paths), None)
        }
        Some(systemd) => {
            systemd::round_quota(&mut writes, resources.cpu.as_ref());
            let name = systemd::plan_name(&linux.cgroups_path, tool, id, systemd);
            match problems.keep("/linux/cgroupsPath", name) {
                None => (None, None),
                Some(name) => (
                    place_unit(&name, systemd, layout, problems),
                    Some(systemd::plan_unit(
                        &name,
                        id,
                        config,
                        &writes,
                        &devices,
                        (layout, systemd),
                        problems,
                    )),
                ),
            }
        }
    };
    CgroupPlan {
        paths: paths.unwrap_or_default(),
        unit,
        controllers: match layout {
            Layout::Unified { controllers, .. } => controllers.clone(),
            Layout::Legacy { .. } | Layout::None => Vec::new(),
        },
        explicit_path: !linux.cgroups_path.is_empty(),
        rootless: facts.is_rootless(),
        in_user_namespace: facts.in_user_namespace,
        writes,
        devices,
        usage_check: plan_usage_check(resources, layout),
    }
}

fn place_unit(
    name: &UnitName,
    systemd: &SystemdFacts,
    layout: &Layout,
    problems: &mut Problems,
) -> Option<CgroupPaths> {
    if systemd.bus == Bus::User && !matches!(layout, Layout::Unified { .. }) {
        problems.add(
            "--systemd-cgroup",
            "cannot use rootless systemd cgroups manager on cgroup v1: a user's systemd has no rights over its controllers",
        );
    }
    let paths = paths::of_unit(&systemd.control_group, &name.below, layout);
    problems.keep("/linux/cgroupsPath", paths)
}

/// A container whose device rules nobody enforces must not start.
fn require_device_control(layout: &Layout, problems: &mut Problems) {
    let text = match layout {
        Layout::Unified { .. } => return,
        Layout::Legacy { hierarchies, .. } => {
            if hierarchies
                .iter()
                .any(|h| h.controllers.iter().any(|c| c == "devices"))
            {
                return;
            }
            "device rules cannot be enforced: the devices cgroup hierarchy is not mounted"
        }
        Layout::None => "device rules cannot be enforced: no cgroup file system is mounted",
    };
    problems.add("/linux/resources/devices", text);
}

pub(super) fn plan_usage_check(r: &Resources, layout: &Layout) -> Option<UsageCheck> {
    let memory = r.memory.as_ref()?;
    let wanted = matches!(layout, Layout::Unified { .. }) && memory.check_before_update == Some(true);
    wanted.then(|| UsageCheck {
        limit: memory.limit.unwrap_or(0),
        total: memory.swap.unwrap_or(0),
    })
}

/// The writes for `resources` on a host with `layout`; `place` is the JSON pointer of `resources`.
pub fn plan_writes(r: &Resources, layout: &Layout, place: &str, problems: &mut Problems) -> Vec<Write> {
    plan_writes_with(r, layout, place, "", problems)
}

/// `help` tells how a missing controller can be had.
fn plan_writes_with(
    r: &Resources,
    layout: &Layout,
    place: &str,
    help: &str,
    problems: &mut Problems,
) -> Vec<Write> {
    check_values(r, place, problems);
    let mut out = Writes {
        list: Vec::new(),
        layout,
        place,
        help,
        problems,
    };
    match layout {
        Layout::Unified { .. } => v2_writes(r, &mut out),
        Layout::Legacy { .. } | Layout::None => v1_writes(r, &mut out),
    }
    out.list
}

/// Collects writes; complains about controllers that the host does not have.
struct Writes<'a> {
    list: Vec<Write>,
    layout: &'a Layout,
    place: &'a str,
    help: &'a str,
    problems: &'a mut Problems,
}

impl Writes<'_> {
    fn has(&self, controller: &str) -> bool {
        match self.layout {
            Layout::Unified { controllers, .. } => controllers.iter().any(|c| c == controller),
            Layout::Legacy { hierarchies, .. } => hierarchies
                .iter()
                .any(|h| h.controllers.iter().any(|c| c == controller)),
            Layout::None => false,
        }
    }

    /// `field`: JSON pointer below `place`.
    fn add(
        &mut self,
        field: &str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
        policy: Policy,
    ) {
        self.add_or(field, controller, file, value, None, policy);
    }

    fn add_or(
        &mut self,
        field: &str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
        otherwise: Option<(String, String)>,
        policy: Policy,
    ) {
        if !self.has(controller) {
            if policy != Policy::IfThere {
                self.problems.add(
                    format!("{}/{field}", self.place),
                    format!(
                        "cannot set {controller} limit: the {controller} cgroup controller is not available{}",
                        self.help
                    ),
                );
            }
            return;
        }
        let late = matches!(controller, "memory" | "pids");
        self.list.push(Write {
            controller,
            file: file.to_string(),
            value: value.to_string(),
            otherwise,
            policy,
            phase: if late { Phase::Late } else { Phase::Early },
        });
    }
}

/// A limit that says "no limit" asks for nothing that a missing controller would deny.
fn unless_unlimited(text: &str) -> Policy {
    if matches!(text, "max" | "-1" | "0") {
        Policy::IfThere
    } else {
        Policy::Must
    }
}

fn set<T: Copy + Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}

/// 0 is written as 1, which is what runc and systemd make of it: the spec's "no process at all" helps nobody.
fn pids_text(limit: i64) -> String {
    match limit {
        ..=-1 => "max".to_string(),
        0 => "1".to_string(),
        n => n.to_string(),
    }
}

fn v1_writes(r: &Resources, out: &mut Writes<'_>) {
    v1_cpuset(r, out);
    v1_memory(r, out);
    v1_cpu(r, out);
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        let text = pids_text(limit);
        out.add("pids/limit", "pids", "pids.max", &text, unless_unlimited(&text));
    }
    v1_blkio(r, out);
    for (n, h) in r.hugepage_limits.iter().enumerate() {
        let field = format!("hugepageLimits/{n}");
        let file = |kind: &str| format!("hugetlb.{}.{kind}limit_in_bytes", h.page_size);
        out.add(&field, "hugetlb", &file(""), h.limit, Policy::Must);
        out.add(&field, "hugetlb", &file("rsvd."), h.limit, Policy::IfThere);
    }
    v1_network(r, out);
    rdma(r, out);
    if !r.unified.is_empty() {
        out.problems.add(
            format!("{}/unified", out.place),
            "invalid configuration: cannot use unified on cgroup v1",
        );
    }
}

fn v1_cpuset(r: &Resources, out: &mut Writes<'_>) {
    let Some(cpu) = &r.cpu else { return };
    for (field, file, value) in [
        ("cpu/cpus", "cpuset.cpus", &cpu.cpus),
        ("cpu/mems", "cpuset.mems", &cpu.mems),
    ] {
        if !value.is_empty() {
            out.add(field, "cpuset", file, value, Policy::Must);
        }
    }
}

fn v1_memory(r: &Resources, out: &mut Writes<'_>) {
    let Some(m) = &r.memory else { return };
    let (limit, mut swap) = (m.limit.unwrap_or(0), m.swap.unwrap_or(0));
    let mut swap_policy = unless_unlimited(&swap.to_string());
    if limit == -1 && swap == 0 {
        // Unlimited memory without a word about swap means both, where the kernel counts swap at all.
        (swap, swap_policy) = (-1, Policy::IfThere);
    }
    if limit != 0 {
        let policy = match limit {
            -1 => Policy::IfThere,
            _ => Policy::MemoryLimit,
        };
        out.add("memory/limit", "memory", "memory.limit_in_bytes", limit, policy);
    }
    if swap != 0 {
        out.add(
            "memory/swap",
            "memory",
            "memory.memsw.limit_in_bytes",
            swap,
            swap_policy,
        );
    }
    if let Some(v) = set(m.reservation) {
        let policy = unless_unlimited(&v.to_string());
        out.add(
            "memory/reservation",
            "memory",
            "memory.soft_limit_in_bytes",
            v,
            policy,
        );
    }
    if m.disable_oom_killer == Some(true) {
        out.add(
            "memory/disableOOMKiller",
            "memory",
            "memory.oom_control",
            1,
            Policy::Must,
        );
    }
    // Go callers write -1 as the largest unsigned number.
    if let Some(v) = m.swappiness.filter(|v| *v != u64::MAX) {
        out.add(
            "memory/swappiness",
            "memory",
            "memory.swappiness",
            v,
            Policy::Must,
        );
    }
}

fn v1_cpu(r: &Resources, out: &mut Writes<'_>) {
    let Some(cpu) = &r.cpu else { return };
    // Real-time budget first: a process of a real-time class cannot enter a group without.
    if let Some(v) = set(cpu.realtime_period) {
        out.add(
            "cpu/realtimePeriod",
            "cpu",
            "cpu.rt_period_us",
            v,
            Policy::TwiceOnInvalid,
        );
    }
    if let Some(v) = set(cpu.realtime_runtime) {
        out.add("cpu/realtimeRuntime", "cpu", "cpu.rt_runtime_us", v, Policy::Must);
    }
    if let Some(v) = set(cpu.shares) {
        out.add("cpu/shares", "cpu", "cpu.shares", v, Policy::ReadBack);
    }
    // A smaller period with the old quota may be more than the parent grants, and a burst must fit the quota at every
    // moment: both go first, and get a second chance after the quota.
    if let Some(v) = set(cpu.period) {
        out.add(
            "cpu/period",
            "cpu",
            "cpu.cfs_period_us",
            v,
            Policy::TwiceOnInvalid,
        );
    }
    if let Some(v) = cpu.burst {
        out.add("cpu/burst", "cpu", "cpu.cfs_burst_us", v, burst_policy(v));
    }
    if let Some(v) = set(cpu.quota) {
        out.add("cpu/quota", "cpu", "cpu.cfs_quota_us", v.max(-1), Policy::Must);
    }
    if let Some(v) = cpu.idle {
        out.add("cpu/idle", "cpu", "cpu.idle", v, unless_unlimited(&v.to_string()));
    }
}

fn burst_policy(burst: u64) -> Policy {
    if burst == 0 {
        Policy::IfThere
    } else {
        Policy::TwiceOnInvalid
    }
}

fn v1_blkio(r: &Resources, out: &mut Writes<'_>) {
    let Some(b) = &r.block_io else { return };
    let bfq = |file: &str, value: &str| Some((file.to_string(), value.to_string()));
    if let Some(w) = set(b.weight) {
        let other = bfq("blkio.bfq.weight", &w.to_string());
        out.add_or("blockIO/weight", "blkio", "blkio.weight", w, other, Policy::Must);
    }
    if let Some(w) = set(b.leaf_weight) {
        out.add(
            "blockIO/leafWeight",
            "blkio",
            "blkio.leaf_weight",
            w,
            Policy::Must,
        );
    }
    for (n, d) in b.weight_device.iter().enumerate() {
        let field = format!("blockIO/weightDevice/{n}");
        if let Some(w) = set(d.weight) {
            let value = format!("{}:{} {w}", d.major, d.minor);
            let other = bfq("blkio.bfq.weight_device", &value);
            out.add_or(&field, "blkio", "blkio.weight_device", value, other, Policy::Must);
        }
        if let Some(w) = set(d.leaf_weight) {
            let value = format!("{}:{} {w}", d.major, d.minor);
            out.add(&field, "blkio", "blkio.leaf_weight_device", value, Policy::Must);
        }
    }
    for t in throttles(b) {
        for (n, d) in t.devices.iter().enumerate() {
            let value = format!("{}:{} {}", d.major, d.minor, d.rate);
            out.add(
                &format!("blockIO/{}/{n}", t.field),
                "blkio",
                t.v1_file,
                value,
                Policy::Must,
            );
        }
    }
}

/// One of the four lists of per-device ceilings.
pub(super) struct Throttle<'a> {
    pub field: &'static str,
    pub v1_file: &'static str,
    pub v2_key: &'static str,
    pub devices: &'a [config::ThrottleDevice],
}

pub(super) fn throttles(b: &config::BlockIo) -> [Throttle<'_>; 4] {
    [
        Throttle {
            field: "throttleReadBpsDevice",
            v1_file: "blkio.throttle.read_bps_device",
            v2_key: "rbps",
            devices: &b.throttle_read_bps_device,
        },
        Throttle {
            field: "throttleWriteBpsDevice",
            v1_file: "blkio.throttle.write_bps_device",
            v2_key: "wbps",
            devices: &b.throttle_write_bps_device,
        },
        Throttle {
            field: "throttleReadIOPSDevice",
            v1_file: "blkio.throttle.read_iops_device",
            v2_key: "riops",
            devices: &b.throttle_read_iops_device,
        },
        Throttle {
            field: "throttleWriteIOPSDevice",
            v1_file: "blkio.throttle.write_iops_device",
            v2_key: "wiops",
            devices: &b.throttle_write_iops_device,
        },
    ]
}

fn v1_network(r: &Resources, out: &mut Writes<'_>) {
    let Some(network) = &r.network else { return };
    if let Some(id) = set(network.class_id) {
        out.add("network/classID", "net_cls", "net_cls.classid", id, Policy::Must);
    }
    for (n, p) in network.priorities.iter().enumerate() {
        let value = format!("{} {}", p.name, p.priority);
        out.add(
            &format!("network/priorities/{n}"),
            "net_prio",
            "net_prio.ifpriomap",
            value,
            Policy::Must,
        );
    }
}

fn rdma(r: &Resources, out: &mut Writes<'_>) {
    for (device, limit) in &r.rdma {
        let mut value = device.clone();
        for (key, n) in [
            ("hca_handle", limit.hca_handles),
            ("hca_object", limit.hca_objects),
        ] {
            if let Some(n) = n {
                value.push_str(&format!(" {key}={n}"));
            }
        }
        if value != *device {
            out.add(
                &format!("rdma/{}", escape(device)),
                "rdma",
                "rdma.max",
                value,
                Policy::Must,
            );
        }
    }
}

/// A key as a segment of a JSON pointer.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn v2_writes(r: &Resources, out: &mut Writes<'_>) {
    if let Some(limit) = r.pids.as_ref().and_then(|p| p.limit) {
        let text = pids_text(limit);
        out.add("pids/limit", "pids", "pids.max", &text, unless_unlimited(&text));
    }
    v2_memory(r, out);
    v2_io(r, out);
    v2_cpu(r, out);
    // v2 has the same two files.
    v1_cpuset(r, out);
    for (n, h) in r.hugepage_limits.iter().enumerate() {
        let field = format!("hugepageLimits/{n}");
        let file = |kind: &str| format!("hugetlb.{}.{kind}max", h.page_size);
        out.add(&field, "hugetlb", &file(""), h.limit, Policy::Must);
        out.add(&field, "hugetlb", &file("rsvd."), h.limit, Policy::IfThere);
    }
    rdma(r, out);
    v2_unified(r, out);
}

fn v2_memory(r: &Resources, out: &mut Writes<'_>) {
    let Some(m) = &r.memory else { return };
    let (limit, total) = (m.limit.unwrap_or(0), m.swap.unwrap_or(0));
    let swap = match convert::swap_of_total(limit, total) {
        Ok(Swap::Max) => Some("max".to_string()),
        Ok(Swap::Bytes(n)) => Some(n.to_string()),
        // An impossible pair has been reported by check_values.
        Ok(Swap::Unset) | Err(_) => None,
    };
    if let Some(text) = swap {
        let policy = unless_unlimited(&text);
        out.add("memory/swap", "memory", "memory.swap.max", text, policy);
    }
    if let Some(text) = convert::limit_text(limit) {
        let policy = unless_unlimited(&text);
        out.add("memory/limit", "memory", "memory.max", text, policy);
    }
    if let Some(text) = convert::limit_text(m.reservation.unwrap_or(0)) {
        out.add("memory/reservation", "memory", "memory.low", text, Policy::Must);
    }
}

fn v2_io(r: &Resources, out: &mut Writes<'_>) {
    let Some(b) = &r.block_io else { return };
    if let Some(w) = set(b.weight) {
        let plain = (
            "io.weight".to_string(),
            convert::io_weight_of_blkio(w).to_string(),
        );
        out.add_or(
            "blockIO/weight",
            "io",
            "io.bfq.weight",
            w,
            Some(plain),
            Policy::Must,
        );
    }
    for (n, d) in b.weight_device.iter().enumerate() {
        if let Some(w) = set(d.weight) {
            let value = format!("{}:{} {w}", d.major, d.minor);
            let field = format!("blockIO/weightDevice/{n}");
            out.add(&field, "io", "io.bfq.weight", value, Policy::IfSupported);
        }
    }
    for t in throttles(b) {
        for (n, d) in t.devices.iter().enumerate() {
            // v1 takes 0 as "no ceiling", v2 refuses it.
            let rate = if d.rate == 0 {
                "max".to_string()
            } else {
                d.rate.to_string()
            };
            let value = format!("{}:{} {}={rate}", d.major, d.minor, t.v2_key);
            out.add(
                &format!("blockIO/{}/{n}", t.field),
                "io",
                "io.max",
                value,
                Policy::Must,
            );
        }
    }
}

fn v2_cpu(r: &Resources, out: &mut Writes<'_>) {
    let Some(cpu) = &r.cpu else { return };
    if let Some(v) = cpu.idle {
        out.add("cpu/idle", "cpu", "cpu.idle", v, unless_unlimited(&v.to_string()));
    }
    // An idle group has no weight: the kernel answers EINVAL.
    if cpu.idle.unwrap_or(0) == 0
        && let Some(w) = convert::weight_of_shares(cpu.shares.unwrap_or(0))
    {
        out.add("cpu/shares", "cpu", "cpu.weight", w, Policy::Must);
    }
    // At every moment the burst must fit the quota: a smaller one goes before it, a larger one gets its second chance.
    if let Some(v) = cpu.burst {
        out.add("cpu/burst", "cpu", "cpu.max.burst", v, burst_policy(v));
    }
    let (quota, period) = (cpu.quota.unwrap_or(0), cpu.period.unwrap_or(0));
    if quota != 0 || period != 0 {
        let budget = if quota > 0 {
            quota.to_string()
        } else {
            "max".to_string()
        };
        let period = if period == 0 { 100_000 } else { period };
        let policy = if quota > 0 { Policy::Must } else { Policy::IfThere };
        out.add(
            "cpu/quota",
            "cpu",
            "cpu.max",
            format!("{budget} {period}"),
            policy,
        );
    }
}

fn v2_unified(r: &Resources, out: &mut Writes<'_>) {
    for (key, value) in &r.unified {
        let place = format!("{}/unified/{}", out.place, escape(key));
        if key.contains('/') || key.is_empty() || key.contains('\0') {
            out.problems.add(
                place,
                format!("unified resource {key:?} must be a file name (no slashes)"),
            );
            continue;
        }
        let Some((controller, _)) = key.split_once('.') else {
            out.problems.add(
                place,
                format!("unified resource {key:?} must be in the form CONTROLLER.PARAMETER"),
            );
            continue;
        };
        if controller != "cgroup" && !out.has(controller) {
            out.problems.add(
                place,
                format!(
                    "unified resource {key:?} can't be set: controller {controller:?} not available{}",
                    out.help
                ),
            );
            continue;
        }
        let late = matches!(controller, "memory" | "pids");
        for line in value.lines() {
            out.list.push(Write {
                controller: "unified",
                file: key.clone(),
                value: line.to_string(),
                otherwise: None,
                policy: Policy::Must,
                phase: if late { Phase::Late } else { Phase::Early },
            });
        }
    }
}

/// What is wrong with the values themselves, whatever the host.
fn check_values(r: &Resources, place: &str, problems: &mut Problems) {
    check_memory(r, place, problems);
    check_cpu(r, place, problems);
    check_block_io(r, place, problems);
    for (n, h) in r.hugepage_limits.iter().enumerate() {
        if !is_page_size(&h.page_size) {
            problems.add(
                format!("{place}/hugepageLimits/{n}/pageSize"),
                format!(
                    "invalid page size {:?}: a number and KB, MB or GB is expected",
                    h.page_size
                ),
            );
        }
    }
    for (n, p) in r.network.iter().flat_map(|n| &n.priorities).enumerate() {
        if p.name.is_empty() || p.name.contains(|c: char| c.is_whitespace() || c == '\0') {
            problems.add(
                format!("{place}/network/priorities/{n}/name"),
                format!("invalid interface name {:?}", p.name),
            );
        }
    }
    for device in r.rdma.keys() {
        if device.is_empty() || device.contains(|c: char| c.is_whitespace() || c == '\0') {
            problems.add(
                format!("{place}/rdma/{}", escape(device)),
                format!("invalid rdma device name {device:?}"),
            );
        }
    }
}

fn is_page_size(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let unit = &text[digits.len()..];
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && matches!(unit, "B" | "KB" | "MB" | "GB" | "TB")
}

fn check_memory(r: &Resources, place: &str, problems: &mut Problems) {
    let Some(m) = &r.memory else { return };
    let mut in_range = true;
    for (field, value) in [
        ("limit", m.limit),
        ("reservation", m.reservation),
        ("swap", m.swap),
    ] {
        if value.is_some_and(|v| v < -1) {
            in_range = false;
            problems.add(
                format!("{place}/memory/{field}"),
                format!(
                    "invalid memory value {}: it is negative (only -1, unlimited, may be)",
                    value.unwrap_or(0)
                ),
            );
        }
    }
    if in_range && let Err(text) = convert::swap_of_total(m.limit.unwrap_or(0), m.swap.unwrap_or(0)) {
        problems.add(format!("{place}/memory/swap"), text);
    }
    if let Some(v) = m.swappiness.filter(|v| *v > 100 && *v != u64::MAX) {
        problems.add(
            format!("{place}/memory/swappiness"),
            format!("invalid memory swappiness value: {v} (valid range is 0-100)"),
        );
    }
}

/// The kernel's bounds of a bandwidth period, in microseconds.
const PERIOD: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
/// The kernel's smallest quota, in microseconds.
const QUOTA_MIN: i64 = 1_000;

fn check_cpu(r: &Resources, place: &str, problems: &mut Problems) {
    let Some(cpu) = &r.cpu else { return };
    let mut bad = |field: &str, text: String| problems.add(format!("{place}/cpu/{field}"), text);
    if let Some(v) = set(cpu.period).filter(|v| !PERIOD.contains(v)) {
        bad(
            "period",
            format!("cpu period {v} is outside of 1000 to 1000000 microseconds"),
        );
    }
    let quota = cpu.quota.unwrap_or(0);
    if quota > 0 && quota < QUOTA_MIN {
        bad(
            "quota",
            format!("cpu quota {quota} is less than the 1000 microseconds that the kernel asks for"),
        );
    }
    if let Some(burst) = cpu.burst.filter(|b| quota > 0 && *b > quota as u64) {
        bad(
            "burst",
            format!("cpu burst {burst} is larger than the quota {quota}"),
        );
    }
    if let Some(v) = cpu.idle.filter(|v| !(0..=1).contains(v)) {
        bad(
            "idle",
            format!("invalid cpu idle value: {v} (only 0 and 1 are known)"),
        );
    }
    if let Some(v) = cpu.realtime_runtime.filter(|v| *v < -1) {
        bad(
            "realtimeRuntime",
            format!("invalid cpu realtime runtime {v}: it is negative"),
        );
    }
    for (field, list) in [("cpus", &cpu.cpus), ("mems", &cpu.mems)] {
        if !list.chars().all(|c| c.is_ascii_digit() || ",-:/ Nal".contains(c)) {
            bad(
                field,
                format!("invalid list {list:?}: numbers, \"-\" and \",\" are expected"),
            );
        }
    }
}

fn check_block_io(r: &Resources, place: &str, problems: &mut Problems) {
    let Some(b) = &r.block_io else { return };
    let mut weight = |field: String, value: Option<u16>| {
        if let Some(v) = set(value).filter(|v| !(10..=1000).contains(v)) {
            problems.add(
                format!("{place}/blockIO/{field}"),
                format!("invalid blkio weight {v} (valid range is 10-1000)"),
            );
        }
    };
    weight("weight".to_string(), b.weight);
    weight("leafWeight".to_string(), b.leaf_weight);
    for (n, d) in b.weight_device.iter().enumerate() {
        weight(format!("weightDevice/{n}/weight"), d.weight);
        weight(format!("weightDevice/{n}/leafWeight"), d.leaf_weight);
    }
    for (n, d) in b.weight_device.iter().enumerate() {
        check_device(
            &format!("{place}/blockIO/weightDevice/{n}"),
            d.major,
            d.minor,
            problems,
        );
    }
    for t in throttles(b) {
        for (n, d) in t.devices.iter().enumerate() {
            check_device(
                &format!("{place}/blockIO/{}/{n}", t.field),
                d.major,
                d.minor,
                problems,
            );
        }
    }
}

fn check_device(place: &str, major: i64, minor: i64, problems: &mut Problems) {
    for (field, value) in [("major", major), ("minor", minor)] {
        if u32::try_from(value).is_err() {
            problems.add(
                format!("{place}/{field}"),
                format!("device number {value} is out of range"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;

    const V1: [&str; 10] = [
        "cpuset",
        "cpu",
        "cpuacct",
        "memory",
        "devices",
        "pids",
        "blkio",
        "hugetlb",
        "net_cls,net_prio",
        "rdma",
    ];
    const V2: [&str; 7] = ["cpuset", "cpu", "io", "memory", "pids", "hugetlb", "rdma"];

    fn resources(json: &str) -> Resources {
        config::parse(json.as_bytes()).unwrap()
    }

    fn planned(json: &str, layout: &Layout) -> (Vec<String>, Vec<String>) {
        let mut problems = Problems::default();
        let writes = plan_writes(&resources(json), layout, "/r", &mut problems)
            .iter()
            .map(|w| match &w.otherwise {
                None => format!("{}={}", w.file, w.value),
                Some((f, v)) => format!("{}={} or {f}={v}", w.file, w.value),
            })
            .collect();
        let problems = problems
            .iter()
            .map(|p| format!("{}: {}", p.place, p.text))
            .collect();
        (writes, problems)
    }

    #[track_caller]
    fn writes(json: &str, v1: &[&str], v2: &[&str]) {
        for (layout, expected) in [(fixture::legacy_with(&V1), v1), (fixture::unified(&V2), v2)] {
            assert_eq!(
                planned(json, &layout),
                (expected.iter().map(|s| s.to_string()).collect(), vec![])
            );
        }
    }

    #[test]
    fn memory() {
        writes(
            r#"{"memory":{"limit":1000,"swap":3000,"reservation":500,"swappiness":60,"disableOOMKiller":true,"kernel":1,"kernelTCP":1}}"#,
            &[
                "memory.limit_in_bytes=1000",
                "memory.memsw.limit_in_bytes=3000",
                "memory.soft_limit_in_bytes=500",
                "memory.oom_control=1",
                "memory.swappiness=60",
            ],
            &["memory.swap.max=2000", "memory.max=1000", "memory.low=500"],
        );
        writes(
            r#"{"memory":{"limit":-1,"reservation":-1,"swappiness":18446744073709551615}}"#,
            &[
                "memory.limit_in_bytes=-1",
                "memory.memsw.limit_in_bytes=-1",
                "memory.soft_limit_in_bytes=-1",
            ],
            &["memory.swap.max=max", "memory.max=max", "memory.low=max"],
        );
        writes(
            r#"{"memory":{"limit":1000,"swap":1000}}"#,
            &["memory.limit_in_bytes=1000", "memory.memsw.limit_in_bytes=1000"],
            &["memory.swap.max=0", "memory.max=1000"],
        );
        writes(
            r#"{"memory":{"limit":0,"swap":0,"disableOOMKiller":false}}"#,
            &[],
            &[],
        );
    }

    #[test]
    fn cpu() {
        writes(
            r#"{"cpu":{"shares":1024,"quota":50000,"period":200000,"burst":1000,"realtimeRuntime":900,"realtimePeriod":1000,"cpus":"0-1,3","mems":"0"}}"#,
            &[
                "cpuset.cpus=0-1,3",
                "cpuset.mems=0",
                "cpu.rt_period_us=1000",
                "cpu.rt_runtime_us=900",
                "cpu.shares=1024",
                "cpu.cfs_period_us=200000",
                "cpu.cfs_burst_us=1000",
                "cpu.cfs_quota_us=50000",
            ],
            &[
                "cpu.weight=100",
                "cpu.max.burst=1000",
                "cpu.max=50000 200000",
                "cpuset.cpus=0-1,3",
                "cpuset.mems=0",
            ],
        );
        writes(
            r#"{"cpu":{"quota":-1}}"#,
            &["cpu.cfs_quota_us=-1"],
            &["cpu.max=max 100000"],
        );
        writes(
            r#"{"cpu":{"period":5000}}"#,
            &["cpu.cfs_period_us=5000"],
            &["cpu.max=max 5000"],
        );
        writes(
            r#"{"cpu":{"idle":1,"shares":512}}"#,
            &["cpu.shares=512", "cpu.idle=1"],
            &["cpu.idle=1"],
        );
        writes(
            r#"{"cpu":{"idle":0,"shares":2}}"#,
            &["cpu.shares=2", "cpu.idle=0"],
            &["cpu.idle=0", "cpu.weight=1"],
        );
    }

    #[test]
    fn pids() {
        for (limit, text) in [(42, "42"), (0, "1"), (-1, "max"), (-7, "max")] {
            let line = format!("pids.max={text}");
            writes(&format!("{{\"pids\":{{\"limit\":{limit}}}}}"), &[&line], &[&line]);
        }
        writes(r#"{"pids":{}}"#, &[], &[]);
    }

    #[test]
    fn block_io() {
        writes(
            r#"{"blockIO":{"weight":500,"leafWeight":20,
                "weightDevice":[{"major":8,"minor":0,"weight":300,"leafWeight":30}],
                "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],
                "throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":2}],
                "throttleReadIOPSDevice":[{"major":8,"minor":2,"rate":0}],
                "throttleWriteIOPSDevice":[{"major":8,"minor":3,"rate":4}]}}"#,
            &[
                "blkio.weight=500 or blkio.bfq.weight=500",
                "blkio.leaf_weight=20",
                "blkio.weight_device=8:0 300 or blkio.bfq.weight_device=8:0 300",
                "blkio.leaf_weight_device=8:0 30",
                "blkio.throttle.read_bps_device=8:0 1",
                "blkio.throttle.write_bps_device=8:1 2",
                "blkio.throttle.read_iops_device=8:2 0",
                "blkio.throttle.write_iops_device=8:3 4",
            ],
            &[
                "io.bfq.weight=500 or io.weight=4950",
                "io.bfq.weight=8:0 300",
                "io.max=8:0 rbps=1",
                "io.max=8:1 wbps=2",
                "io.max=8:2 riops=max",
                "io.max=8:3 wiops=4",
            ],
        );
    }

    #[test]
    fn the_rest() {
        assert_eq!(
            resources(r#"{"hugepageLimits":[{"pagesize":"2MB","limit":7}]}"#),
            resources(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":7}]}"#)
        );
        writes(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":7}],
                "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":100},"x":{}},
                "network":{"classID":1048577,"priorities":[{"name":"lo","priority":5}]}}"#,
            &[
                "hugetlb.2MB.limit_in_bytes=7",
                "hugetlb.2MB.rsvd.limit_in_bytes=7",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=lo 5",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=100",
            ],
            &[
                "hugetlb.2MB.max=7",
                "hugetlb.2MB.rsvd.max=7",
                "rdma.max=mlx5_1 hca_handle=3 hca_object=100",
            ],
        );
    }

    #[test]
    fn unified_keys_are_written_line_by_line() {
        let layout = fixture::unified(&V2);
        let json = r#"{"unified":{"io.max":"8:0 rbps=1\n8:1 rbps=2","memory.high":"5","cgroup.max.depth":"3"},"pids":{"limit":3}}"#;
        let (writes, problems) = planned(json, &layout);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            writes,
            [
                "pids.max=3",
                "cgroup.max.depth=3",
                "io.max=8:0 rbps=1",
                "io.max=8:1 rbps=2",
                "memory.high=5"
            ]
        );
        let (_, problems) = planned(r#"{"unified":{"a/b":"1","x":"1","misc.max":"1"}}"#, &layout);
        assert_eq!(
            problems,
            [
                "/r/unified/a~1b: unified resource \"a/b\" must be a file name (no slashes)",
                "/r/unified/misc.max: unified resource \"misc.max\" can't be set: controller \"misc\" not available",
                "/r/unified/x: unified resource \"x\" must be in the form CONTROLLER.PARAMETER",
            ]
        );
        let (writes, problems) = planned(json, &fixture::legacy_with(&V1));
        assert_eq!(writes, ["pids.max=3"]);
        assert_eq!(
            problems,
            ["/r/unified: invalid configuration: cannot use unified on cgroup v1"]
        );
    }

    #[test]
    fn a_limit_without_its_controller_is_a_problem_unless_it_limits_nothing() {
        for layout in [
            fixture::legacy_with(&["devices"]),
            fixture::unified(&[]),
            Layout::None,
        ] {
            let (writes, problems) = planned(
                r#"{"memory":{"limit":-1,"swap":-1},"pids":{"limit":-1},"cpu":{"idle":0,"burst":0}}"#,
                &layout,
            );
            assert_eq!((writes, problems), (vec![], vec![]));
            let (_, problems) = planned(r#"{"memory":{"limit":5},"pids":{"limit":5}}"#, &layout);
            let places: Vec<&str> = problems.iter().map(|p| p.split(':').next().unwrap()).collect();
            let mut places = places.clone();
            places.sort_unstable();
            assert_eq!(places, ["/r/memory/limit", "/r/pids/limit"]);
        }
    }

    #[test]
    fn every_bad_value_is_named() {
        let json = r#"{
            "memory":{"limit":-2,"reservation":-5,"swappiness":101},
            "cpu":{"period":5,"quota":999,"burst":2000,"idle":2,"realtimeRuntime":-3,"cpus":"0;1","mems":"x"},
            "blockIO":{"weight":9,"leafWeight":1001,"weightDevice":[{"major":-1,"minor":0,"weight":5}],
                       "throttleReadBpsDevice":[{"major":0,"minor":4294967296,"rate":1}]},
            "hugepageLimits":[{"pageSize":"2mb","limit":1},{"pageSize":"MB","limit":1}],
            "network":{"priorities":[{"name":"a b","priority":1}]},
            "rdma":{"a b":{"hcaHandles":1}}}"#;
        let (_, mut found) = planned(json, &fixture::legacy_with(&V1));
        found.sort_unstable();
        let places: Vec<&str> = found.iter().map(|p| p.split(": ").next().unwrap()).collect();
        assert_eq!(
            places,
            [
                "/r/blockIO/leafWeight",
                "/r/blockIO/throttleReadBpsDevice/0/minor",
                "/r/blockIO/weight",
                "/r/blockIO/weightDevice/0/major",
                "/r/blockIO/weightDevice/0/weight",
                "/r/cpu/burst",
                "/r/cpu/cpus",
                "/r/cpu/idle",
                "/r/cpu/mems",
                "/r/cpu/period",
                "/r/cpu/quota",
                "/r/cpu/realtimeRuntime",
                "/r/hugepageLimits/0/pageSize",
                "/r/hugepageLimits/1/pageSize",
                "/r/memory/limit",
                "/r/memory/reservation",
                "/r/memory/swappiness",
                "/r/network/priorities/0/name",
                "/r/rdma/a b",
            ]
        );
        let (_, found) = planned(r#"{"memory":{"limit":5,"swap":4}}"#, &fixture::unified(&V2));
        assert_eq!(
            found,
            ["/r/memory/swap: memory+swap limit should be >= memory limit"]
        );
        let (_, found) = planned(r#"{"memory":{"swap":4}}"#, &fixture::unified(&V2));
        assert_eq!(
            found,
            ["/r/memory/swap: unable to set swap limit without memory limit"]
        );
    }

    #[test]
    fn without_device_control_nothing_starts() {
        for (layout, text) in [
            (
                fixture::legacy_with(&["memory"]),
                "the devices cgroup hierarchy is not mounted",
            ),
            (Layout::None, "no cgroup file system is mounted"),
        ] {
            let plan = |facts: &HostFacts, json: &str| {
                let mut problems = Problems::default();
                let config: Config = config::parse(json.as_bytes()).unwrap();
                plan_cgroup(
                    &config,
                    "box",
                    "runb",
                    &layout,
                    &OwnCgroups::default(),
                    facts,
                    &mut problems,
                );
                problems.iter().map(|p| p.text.clone()).collect::<Vec<_>>()
            };
            let found = plan(&HostFacts::default(), "{}");
            assert_eq!(found, [format!("device rules cannot be enforced: {text}")]);
            let user = HostFacts {
                euid: 1000,
                ..HostFacts::default()
            };
            assert_eq!(plan(&user, "{}"), Vec::<String>::new());
            let open = r#"{"linux":{"resources":{"devices":[{"allow":true,"access":"rwm"}]}}}"#;
            assert_eq!(plan(&HostFacts::default(), open), Vec::<String>::new());
        }
    }

    #[test]
    fn memory_and_pids_come_late() {
        let mut problems = Problems::default();
        let r = resources(
            r#"{"memory":{"limit":5},"pids":{"limit":5},"cpu":{"shares":5},"unified":{"memory.high":"1","cpu.idle":"0"}}"#,
        );
        let late: Vec<String> = plan_writes(&r, &fixture::unified(&V2), "", &mut problems)
            .into_iter()
            .filter(|w| w.phase == Phase::Late)
            .map(|w| w.file)
            .collect();
        assert_eq!(late, ["pids.max", "memory.max", "memory.high"]);
    }
}
