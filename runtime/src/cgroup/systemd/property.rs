//! Writes of cgroupfs as properties of a unit: what systemd is told, so that it does not undo it when it applies its own view.
//!
//! Pure: no system calls. Everything is written to cgroupfs as well, so a value that systemd has no property for (huge pages,
//! rdma, bursts) is simply left out here. So are the ceilings of single disks (`io.max`): systemd writes no line about a disk
//! that it was told nothing about, and takes a device-mapper disk for the one below it, which nobody asked to throttle.

use crate::cgroup::device::{Access, DevicePolicy, DeviceType, Node, Verdict};
use crate::cgroup::plan::Write;
use crate::config::Cpu;
use crate::dbus::Value;
use serde::{Serialize, Serializer};

/// A property of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// As on D-Bus: `CPUQuotaPerSecUSec`.
    pub name: String,
    /// Of the type that systemd expects.
    pub value: Value,
}

impl Property {
    /// Shorthand.
    pub fn new(name: &str, value: Value) -> Property {
        Property {
            name: name.to_string(),
            value,
        }
    }

    fn number(name: &str, value: u64) -> Property {
        Property::new(name, Value::Uint64(value))
    }

    /// `(sv)`
    pub fn to_value(&self) -> Value {
        Value::Struct(vec![
            Value::Text(self.name.clone()),
            Value::Variant(Box::new(self.value.clone())),
        ])
    }
}

/// As `NAME=VALUE`.
impl Serialize for Property {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{}={}", self.name, self.value))
    }
}

/// "No limit", for systemd.
const INFINITY: u64 = u64::MAX;
/// CPUWeight: unset, so that the kernel's default holds.
const UNSET_WEIGHT: u64 = u64::MAX;
/// The kernel's bandwidth period, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Since which version of systemd there is a property, or a value of it.
mod since {
    pub const MEMORY_MIN: u32 = 240;
    pub const QUOTA_PERIOD: u32 = 242;
    pub const CPUSET: u32 = 244;
    pub const IDLE: u32 = 252;
    pub const ZSWAP: u32 = 253;
}

/// A file of the container's cgroup and a line for it.
pub type Line<'a> = (&'a str, &'a str);

/// Who weighs the io of a v2 cgroup: the kernel has a file for each, and what config.json says is written to bfq's where that
/// is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weigher {
    /// The io controller itself: `io.weight`.
    Controller,
    /// The scheduler: `io.bfq.weight`.
    Bfq,
}

/// Whether the write is a weight of io, which means different things to systemd, depending on the weigher.
pub fn is_io_weight(write: &Write) -> bool {
    matches!(write.file.as_str(), "io.weight" | "io.bfq.weight")
}

/// File and value of a write; of the two spellings of an io weight the weigher's, which may have none.
pub fn line_of(write: &Write, weigher: Weigher) -> Option<Line<'_>> {
    if write.file == "io.bfq.weight" && weigher == Weigher::Controller {
        let (file, value) = write.otherwise.as_ref()?;
        return Some((file, value));
    }
    Some((&write.file, &write.value))
}

/// What the writes mean to systemd of this version. `cpu` is all that is known of the container's CPU limits: v1 has quota and
/// period in two files, systemd wants them together.
pub fn of_lines(lines: &[Line<'_>], version: u32, cpu: Option<&Cpu>) -> Vec<Property> {
    let idle = version >= since::IDLE && lines.iter().any(is_idle);
    let mut out = Vec::new();
    for (file, value) in lines {
        let value = value.trim();
        match *file {
            // An idle group has no weight.
            "cpu.weight" if idle => {}
            "cpu.idle" if idle => out.push(Property::number("CPUWeight", 0)),
            "cpu.idle" if version >= since::IDLE => {
                out.insert(0, Property::number("CPUWeight", UNSET_WEIGHT))
            }
            "cpu.max" => cpu_max(value, version, &mut out),
            "cpuset.cpus" => out.extend(cpuset("AllowedCPUs", value, version)),
            "cpuset.mems" => out.extend(cpuset("AllowedMemoryNodes", value, version)),
            "pids.max" => out.extend(limit(value).map(|n| Property::number("TasksMax", n.max(1)))),
            "io.weight" => {
                let weight = value.strip_prefix("default").unwrap_or(value).trim();
                out.extend(weight.parse().ok().map(|n| Property::number("IOWeight", n)));
            }
            "io.bfq.weight" => bfq_weight(value, &mut out),
            other => out.extend(plain(other, value, version)),
        }
    }
    cpu_quota_v1(lines, version, cpu, &mut out);
    out
}

fn is_idle((file, value): &Line<'_>) -> bool {
    *file == "cpu.idle" && value.trim() == "1"
}

/// Files whose number is that of the property.
fn plain(file: &str, value: &str, version: u32) -> Option<Property> {
    // systemd refuses a memory limit of 0; the kernel is told all the same.
    let (name, smallest, version_needed) = match file {
        "memory.max" => ("MemoryMax", 1, 0),
        "memory.high" => ("MemoryHigh", 1, 0),
        "memory.low" => ("MemoryLow", 0, 0),
        "memory.min" => ("MemoryMin", 0, since::MEMORY_MIN),
        "memory.swap.max" => ("MemorySwapMax", 0, 0),
        "memory.zswap.max" => ("MemoryZSwapMax", 0, since::ZSWAP),
        "cpu.weight" => ("CPUWeight", 1, 0),
        // v1
        "memory.limit_in_bytes" => ("MemoryLimit", 1, 0),
        "cpu.shares" => ("CPUShares", 2, 0),
        "blkio.weight" => ("BlockIOWeight", 10, 0),
        _ => return None,
    };
    let number = limit(value).filter(|n| *n >= smallest && version >= version_needed)?;
    Some(Property::number(name, number))
}

/// A weight for all devices, or that of one (`8:0 50`). systemd has to know those of single ones: it writes the one for all at
/// every daemon-reload, and the kernel forgets the others then.
fn bfq_weight(value: &str, out: &mut Vec<Property>) {
    let of_devices = |list| Property::new("IODeviceWeight", Value::Array("(st)".into(), list));
    let number = |text: &str| text.parse().ok().and_then(io_weight_of_bfq);
    match value.split_once(' ') {
        None => out.extend(number(value).map(|n| Property::number("IOWeight", n))),
        // The list can be added to, and be emptied; a rollback names all that are to be in it.
        Some((_, "default")) => out.insert(0, of_devices(Vec::new())),
        Some((device, weight)) => out.extend(number(weight).map(|n| {
            let path = Value::Text(format!("/dev/block/{device}"));
            of_devices(vec![Value::Struct(vec![path, Value::Uint64(n)])])
        })),
    }
}

/// The IOWeight that systemd turns into this weight (1 to 1000) when it writes `io.bfq.weight`: it leaves those up to the default
/// as they are, and flattens 100 to 10000 into 100 to 1000 (BFQ_WEIGHT, seen in 252).
fn io_weight_of_bfq(weight: u64) -> Option<u64> {
    match weight {
        1..=100 => Some(weight),
        101..=1000 => Some(100 + (weight - 100) * 11),
        _ => None,
    }
}

fn limit(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(INFINITY),
        n => n.parse().ok(),
    }
}

fn cpu_max(value: &str, version: u32, out: &mut Vec<Property>) {
    let mut words = value.split_whitespace();
    let quota = words.next().and_then(limit);
    let period = words.next().map_or(Some(DEFAULT_PERIOD), |p| p.parse().ok());
    if let (Some(quota), Some(period)) = (quota, period) {
        push_quota(quota, period, version, out);
    }
}

fn cpu_quota_v1(lines: &[Line<'_>], version: u32, cpu: Option<&Cpu>, out: &mut Vec<Property>) {
    let find = |file: &str| {
        lines
            .iter()
            .find(|(f, _)| *f == file)
            .and_then(|(_, v)| limit(v.trim()))
    };
    let (quota, period) = (find("cpu.cfs_quota_us"), find("cpu.cfs_period_us"));
    if quota.is_none() && period.is_none() {
        return;
    }
    let known = cpu
        .and_then(|c| c.quota)
        .filter(|q| *q > 0)
        .and_then(|q| u64::try_from(q).ok());
    let quota = quota.or(known).unwrap_or(INFINITY);
    let period = period.or(cpu.and_then(|c| c.period)).unwrap_or(DEFAULT_PERIOD);
    push_quota(quota, period, version, out);
}

fn push_quota(quota: u64, period: u64, version: u32, out: &mut Vec<Property>) {
    if version >= since::QUOTA_PERIOD {
        out.push(Property::number("CPUQuotaPeriodUSec", period));
    }
    let per_second = match quota {
        INFINITY => INFINITY,
        quota => per_second(quota, period),
    };
    out.push(Property::number("CPUQuotaPerSecUSec", per_second));
}

/// CPU time per second, rounded up to whole percents of a CPU: systemd keeps a quota in its files as such, and would cut off the
/// rest at the next daemon-reload.
fn per_second(quota: u64, period: u64) -> u64 {
    const PERCENT: u128 = 10_000;
    let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
    u64::try_from(exact.div_ceil(PERCENT) * PERCENT).unwrap_or(INFINITY)
}

/// The quota that systemd makes of a quota.
fn rounded(quota: u64, period: u64) -> u64 {
    let quota = u128::from(per_second(quota, period)) * u128::from(period) / 1_000_000;
    u64::try_from(quota).unwrap_or(INFINITY)
}

/// Writes the quota that systemd makes of it, so that both agree. Keys of `unified` are left as they are written.
pub fn round_quota(writes: &mut [Write], cpu: Option<&Cpu>) {
    let period = writes
        .iter()
        .find(|w| w.file == "cpu.cfs_period_us")
        .and_then(|w| w.value.parse().ok())
        .or(cpu.and_then(|c| c.period))
        .filter(|p| *p != 0)
        .unwrap_or(DEFAULT_PERIOD);
    for write in writes.iter_mut().filter(|w| w.controller == "cpu") {
        match (write.file.as_str(), write.value.split_once(' ')) {
            // What has no limit gets systemd's period for it, whatever is asked for.
            ("cpu.max", Some(("max", _))) => write.value = format!("max {DEFAULT_PERIOD}"),
            ("cpu.max", Some((quota, period))) => {
                if let (Ok(quota), Ok(period)) = (quota.parse(), period.parse()) {
                    write.value = format!("{} {period}", rounded(quota, period));
                }
            }
            ("cpu.cfs_quota_us", _) => {
                if let Ok(quota) = write.value.parse() {
                    write.value = rounded(quota, period).to_string();
                }
            }
            _ => {}
        }
    }
}

/// More CPUs than the kernel can be built for.
const MOST_CPUS: usize = 1 << 16;

/// A list such as `0-2,7` as bits, the lowest number in the lowest bit of the first byte. A form of the kernel that systemd does
/// not know (`all`, groups) is left to the kernel.
fn cpuset(name: &str, list: &str, version: u32) -> Option<Property> {
    if version < since::CPUSET {
        return None;
    }
    let mut bits = Vec::new();
    for part in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST_CPUS {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0u8);
        (first..=last).for_each(|n| bits[n / 8] |= 1 << (n % 8));
    }
    (!bits.is_empty()).then(|| Property::new(name, Value::bytes(&bits)))
}

/// Device rules for a v1 host, where systemd writes its own list into the cgroup at every daemon-reload: without one it allows
/// everything. What systemd cannot say (one minor number of every major, exceptions from "everything is allowed") makes its
/// list stricter than ours, never laxer.
pub fn of_devices(policy: &DevicePolicy) -> Vec<Property> {
    let (mode, list) = match policy.default_verdict() {
        Verdict::Allow if policy.allows_everything() => ("auto", Vec::new()),
        Verdict::Allow => ("strict", Vec::new()),
        Verdict::Deny => ("strict", policy.exceptions().filter_map(allowed).collect()),
    };
    vec![
        // Lists are added to; an empty one clears what is there.
        Property::new("DeviceAllow", Value::Array("(ss)".into(), Vec::new())),
        Property::new("DevicePolicy", Value::Text(mode.into())),
        Property::new("DeviceAllow", Value::Array("(ss)".into(), list)),
    ]
}

fn allowed((node, access): (&Node, &Access)) -> Option<Value> {
    let kind = match node.kind {
        DeviceType::Block => "block",
        DeviceType::Char => "char",
    };
    let which = match (node.major, node.minor) {
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
        (Some(major), None) => format!("{kind}-{major}"),
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
    };
    let pair = [which, access.to_string()].map(Value::Text);
    Some(Value::Struct(pair.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::device::plan_devices;
    use crate::cgroup::plan::{Phase, Policy};
    use crate::problems::Problems;

    fn shown(properties: &[Property]) -> Vec<String> {
        properties
            .iter()
            .map(|p| format!("{}={}", p.name, p.value))
            .collect()
    }

    fn of(lines: &[Line<'_>], version: u32) -> Vec<String> {
        shown(&of_lines(lines, version, None))
    }

    #[test]
    fn v2_files() {
        for (line, version, expected) in [
            (("memory.max", "1048576"), 252, &["MemoryMax=1048576"][..]),
            (("memory.max", "max"), 252, &["MemoryMax=infinity"]),
            (("memory.max", "0"), 252, &[]),
            (("memory.low", "5"), 252, &["MemoryLow=5"]),
            (("memory.high", "5"), 252, &["MemoryHigh=5"]),
            (("memory.min", "5"), 252, &["MemoryMin=5"]),
            (("memory.min", "5"), 239, &[]),
            (("memory.swap.max", "0"), 252, &["MemorySwapMax=0"]),
            (("memory.zswap.max", "0"), 252, &[]),
            (("memory.zswap.max", "0"), 253, &["MemoryZSwapMax=0"]),
            (("memory.oom.group", "1"), 252, &[]),
            (("pids.max", "7"), 252, &["TasksMax=7"]),
            (("pids.max", "0"), 252, &["TasksMax=1"]),
            (("pids.max", "max"), 252, &["TasksMax=infinity"]),
            (("cpu.weight", "59"), 252, &["CPUWeight=59"]),
            (("cpu.idle", "1"), 252, &["CPUWeight=0"]),
            (("cpu.idle", "1"), 251, &[]),
            (("cpu.idle", "0"), 252, &["CPUWeight=infinity"]),
            (
                ("cpu.max", "50000 100000"),
                252,
                &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=500000"],
            ),
            (("cpu.max", "50000 100000"), 241, &["CPUQuotaPerSecUSec=500000"]),
            (
                ("cpu.max", "12345 100000"),
                252,
                &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=130000"],
            ),
            (
                ("cpu.max", "max 50000"),
                252,
                &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=infinity"],
            ),
            (
                ("cpu.max", "max"),
                252,
                &["CPUQuotaPeriodUSec=100000", "CPUQuotaPerSecUSec=infinity"],
            ),
            (("cpu.max", "x y"), 252, &[]),
            (("cpu.max.burst", "1"), 252, &[]),
            (("cpuset.cpus", "0-2,9"), 252, &["AllowedCPUs=[0x07, 0x02]"]),
            (("cpuset.cpus", "0"), 243, &[]),
            (("cpuset.cpus", "all"), 252, &[]),
            (("cpuset.cpus", "5-2"), 252, &[]),
            (("cpuset.cpus", "0-4294967295"), 252, &[]),
            (("cpuset.mems", " 0, "), 252, &["AllowedMemoryNodes=[0x01]"]),
            (("io.weight", "910"), 252, &["IOWeight=910"]),
            (("io.weight", "default 50"), 252, &["IOWeight=50"]),
            (("io.weight", "8:0 50"), 252, &[]),
            (("io.bfq.weight", "1"), 252, &["IOWeight=1"]),
            (("io.bfq.weight", "100"), 252, &["IOWeight=100"]),
            (("io.bfq.weight", "101"), 252, &["IOWeight=111"]),
            (("io.bfq.weight", "1000"), 252, &["IOWeight=10000"]),
            (("io.bfq.weight", "1001"), 252, &[]),
            (
                ("io.bfq.weight", "8:0 432"),
                252,
                &["IODeviceWeight=[('/dev/block/8:0', 3752)]"],
            ),
            (("io.bfq.weight", "8:0 default"), 252, &["IODeviceWeight=[]"]),
            (("io.max", "8:0 rbps=1"), 252, &[]),
            (("hugetlb.2MB.max", "0"), 252, &[]),
        ] {
            assert_eq!(of(&[line], version), expected, "{line:?} {version}");
        }
    }

    #[test]
    fn an_idle_group_has_one_weight() {
        let lines = [("cpu.weight", "100"), ("cpu.idle", "1")];
        assert_eq!(of(&lines, 252), ["CPUWeight=0"]);
        assert_eq!(of(&lines, 251), ["CPUWeight=100"]);
        // One that is idle no longer: the weight that is asked for counts last.
        let lines = [("cpu.weight", "100"), ("cpu.idle", "0")];
        assert_eq!(of(&lines, 252), ["CPUWeight=infinity", "CPUWeight=100"]);
    }

    #[test]
    fn v1_files() {
        let cpu = Cpu {
            quota: Some(5000),
            period: Some(20_000),
            ..Cpu::default()
        };
        for (lines, cpu, expected) in [
            (
                &[("memory.limit_in_bytes", "-1"), ("cpu.shares", "512")][..],
                None,
                &["MemoryLimit=infinity", "CPUShares=512"][..],
            ),
            (
                &[("blkio.weight", "500"), ("cpuset.cpus", "1")],
                None,
                &["BlockIOWeight=500", "AllowedCPUs=[0x02]"],
            ),
            (
                &[("cpu.cfs_quota_us", "10000")],
                Some(&cpu),
                &["CPUQuotaPeriodUSec=20000", "CPUQuotaPerSecUSec=500000"],
            ),
            (
                &[("cpu.cfs_period_us", "50000")],
                Some(&cpu),
                &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=100000"],
            ),
            (
                &[("cpu.cfs_quota_us", "-1"), ("cpu.cfs_period_us", "50000")],
                None,
                &["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=infinity"],
            ),
        ] {
            assert_eq!(shown(&of_lines(lines, 252, cpu)), expected, "{lines:?}");
        }
    }

    fn write(controller: &'static str, file: &str, value: &str) -> Write {
        Write {
            controller,
            file: file.into(),
            value: value.into(),
            otherwise: None,
            policy: Policy::Must,
            phase: Phase::Early,
        }
    }

    #[test]
    fn the_quota_is_what_systemd_makes_of_it() {
        for (controller, file, value, period, expected) in [
            ("cpu", "cpu.max", "12345 100000", None, "13000 100000"),
            ("cpu", "cpu.max", "13000 100000", None, "13000 100000"),
            ("cpu", "cpu.max", "1000 1000000", None, "10000 1000000"),
            ("cpu", "cpu.max", "max 50000", None, "max 100000"),
            ("unified", "cpu.max", "12345 100000", None, "12345 100000"),
            ("cpu", "cpu.cfs_quota_us", "12345", None, "13000"),
            ("cpu", "cpu.cfs_quota_us", "1234", Some(10_000), "1300"),
            ("cpu", "cpu.cfs_quota_us", "-1", Some(10_000), "-1"),
            (
                "cpu",
                "cpu.max",
                "9223372036854775807 1000",
                None,
                "18446744073709551 1000",
            ),
        ] {
            let cpu = Cpu {
                period,
                ..Cpu::default()
            };
            let mut writes = [write(controller, file, value)];
            round_quota(&mut writes, Some(&cpu));
            assert_eq!(writes[0].value, expected, "{file} {value}");
        }
    }

    #[test]
    fn a_weight_of_io_is_told_as_the_weigher_has_it() {
        let mut w = write("io", "io.bfq.weight", "100");
        w.otherwise = Some(("io.weight".into(), "910".into()));
        assert_eq!(line_of(&w, Weigher::Controller), Some(("io.weight", "910")));
        assert_eq!(line_of(&w, Weigher::Bfq), Some(("io.bfq.weight", "100")));
        w.otherwise = None;
        assert_eq!(line_of(&w, Weigher::Controller), None);
    }

    /// As systemd 252 has it; whoever tells it what we tell it gets bfq's weight back.
    #[test]
    fn systemd_turns_the_weight_back() {
        for weight in 1..=1000 {
            let told = io_weight_of_bfq(weight).unwrap();
            let written = match told {
                ..=100 => told,
                _ => 100 + (told - 100) * 900 / 9900,
            };
            assert_eq!(written, weight);
        }
        assert_eq!(io_weight_of_bfq(0), None);
    }

    #[test]
    fn a_list_of_devices_is_emptied_before_it_is_filled() {
        let lines = [("io.bfq.weight", "8:0 50"), ("io.bfq.weight", "8:16 default")];
        assert_eq!(
            of(&lines, 252),
            ["IODeviceWeight=[]", "IODeviceWeight=[('/dev/block/8:0', 50)]"]
        );
    }

    #[test]
    fn devices_of_v1() {
        let rules: Vec<crate::config::DeviceRule> = serde_json::from_str(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"b","major":8,"access":"rw"},
                {"allow":true,"type":"c","minor":9,"access":"r"},{"allow":true,"type":"b","access":"m"}]"#,
        )
        .unwrap();
        let policy = plan_devices(&rules, &mut Problems::default());
        let got = shown(&of_devices(&policy));
        assert_eq!(got[..2], ["DeviceAllow=[]", "DevicePolicy='strict'"]);
        for part in [
            "('block-*', 'm')",
            "('block-8', 'rw')",
            "('char-*', 'm')",
            "('/dev/char/1:3', 'rwm')",
            "('char-136', 'rwm')",
        ] {
            assert!(got[2].contains(part), "{}", got[2]);
        }
        assert!(
            !got[2].contains("*:9") && got[2].matches(":9'").count() == 1,
            "{}",
            got[2]
        );
        let all = of_devices(&DevicePolicy::all(Verdict::Allow));
        assert_eq!(
            shown(&all),
            ["DeviceAllow=[]", "DevicePolicy='auto'", "DeviceAllow=[]"]
        );
    }
}
