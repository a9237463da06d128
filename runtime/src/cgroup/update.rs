//! New limits for a running container.
//!
//! Merging and planning are pure. Devices are never touched: a plug-in (GPUs) may have added to them.

use super::hierarchy::{Layout, Mounted};
use super::limits;
use super::paths::CgroupPaths;
use super::plan::{self, UsageCheck, Write};
use super::systemd::{self, Line, Manager, Unit};
use super::{Cgroup, file};
use crate::config::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};
use crate::error::{Error, Result};
use crate::problems::Problems;
use std::path::PathBuf;

/// What an update does.
#[derive(Clone, Debug)]
pub struct UpdatePlan {
    /// The container's resources from now on; to be recorded once the writes have succeeded.
    pub merged: Resources,
    /// In order.
    pub writes: Vec<Write>,
    usage_check: Option<UsageCheck>,
}

/// Plans `new` on top of `old`. `place` is the JSON pointer of `new`, empty for a file of its own.
pub fn plan_update(
    old: &Resources,
    new: &Resources,
    layout: &Layout,
    place: &str,
    problems: &mut Problems,
) -> UpdatePlan {
    let merged = merge(old, new);
    let before = plan::plan_writes(old, layout, place, &mut Problems::default());
    let asked = plan::plan_writes(new, layout, place, &mut Problems::default());
    let mut writes = plan::plan_writes(&steered(&merged, new), layout, place, problems);
    // What is asked for is written even when the record says that it is so already: somebody may have changed it
    // behind our back. What is not asked for is only written when it follows (swap = total - limit).
    let is_due = |w: &Write| asked.iter().any(|a| same_target(a, w)) || !before.contains(w);
    let weighs_all = writes.iter().any(|w| weighs(w) == Some(Weighs::All) && is_due(w));
    writes.retain(|w| is_due(w) || (weighs_all && weighs(w) == Some(Weighs::One)));
    UpdatePlan {
        usage_check: plan::plan_usage_check(&merged, layout),
        merged,
        writes,
    }
}

/// For the writes an old `idle` counts for nothing: whoever sets shares of an idle group is to hear the kernel's no.
fn steered(merged: &Resources, new: &Resources) -> Resources {
    let mut out = merged.clone();
    if let Some(cpu) = &mut out.cpu {
        cpu.idle = new.cpu.as_ref().and_then(|c| c.idle);
    }
    out
}

/// Which devices a weight of io is for. bfq forgets those for single ones when it is told the one for all (`bfq_io_set_weight_legacy`,
/// Linux 6.1), so they are written again with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weighs {
    All,
    One,
}

fn weighs(w: &Write) -> Option<Weighs> {
    match w.file.as_str() {
        "io.bfq.weight" if w.value.contains(':') => Some(Weighs::One),
        "blkio.weight_device" => Some(Weighs::One),
        "io.bfq.weight" | "blkio.weight" => Some(Weighs::All),
        _ => None,
    }
}

/// Files with a line for each device are the same target only for the same device.
fn same_target(a: &Write, b: &Write) -> bool {
    a.file == b.file && (!is_keyed(&a.file) || key_of(&a.value) == key_of(&b.value))
}

fn is_keyed(file: &str) -> bool {
    file.ends_with("_device")
        || matches!(
            file,
            "io.max" | "io.bfq.weight" | "io.latency" | "rdma.max" | "net_prio.ifpriomap"
        )
}

fn key_of(value: &str) -> &str {
    value.split(' ').next().unwrap_or("")
}

fn over<T: Clone>(old: &mut Option<T>, new: &Option<T>) {
    if new.is_some() {
        old.clone_from(new);
    }
}

/// `old` with everything that `new` says.
pub fn merge(old: &Resources, new: &Resources) -> Resources {
    let mut out = old.clone();
    if let Some(new) = &new.memory {
        merge_memory(out.memory.get_or_insert_default(), new);
    }
    if let Some(new) = &new.cpu {
        merge_cpu(out.cpu.get_or_insert_default(), new);
    }
    if let Some(new) = &new.pids {
        over(&mut out.pids.get_or_insert_default().limit, &new.limit);
    }
    if let Some(new) = &new.block_io {
        merge_block_io(out.block_io.get_or_insert_default(), new);
    }
    for h in &new.hugepage_limits {
        match out
            .hugepage_limits
            .iter_mut()
            .find(|o| o.page_size == h.page_size)
        {
            Some(old) => old.limit = h.limit,
            None => out.hugepage_limits.push(h.clone()),
        }
    }
    out.rdma.extend(new.rdma.clone());
    out.unified.extend(new.unified.clone());
    out
}

fn merge_memory(old: &mut Memory, new: &Memory) {
    over(&mut old.limit, &new.limit);
    over(&mut old.reservation, &new.reservation);
    over(&mut old.swap, &new.swap);
    if new.limit == Some(-1) && new.swap.is_none() {
        // An old total would be no more than a limit on what has none.
        old.swap = Some(-1);
    }
    over(&mut old.swappiness, &new.swappiness);
    over(&mut old.disable_oom_killer, &new.disable_oom_killer);
    old.check_before_update = new.check_before_update;
}

fn merge_cpu(old: &mut Cpu, new: &Cpu) {
    over(&mut old.shares, &new.shares);
    if new.idle.is_some() && new.shares.is_none() {
        // An idle group has no weight, and one that is so no longer starts with the kernel's.
        old.shares = None;
    }
    over(&mut old.quota, &new.quota);
    over(&mut old.burst, &new.burst);
    over(&mut old.period, &new.period);
    over(&mut old.realtime_runtime, &new.realtime_runtime);
    over(&mut old.realtime_period, &new.realtime_period);
    over(&mut old.idle, &new.idle);
    for (old, new) in [(&mut old.cpus, &new.cpus), (&mut old.mems, &new.mems)] {
        if !new.is_empty() {
            old.clone_from(new);
        }
    }
}

fn merge_block_io(old: &mut BlockIo, new: &BlockIo) {
    over(&mut old.weight, &new.weight);
    over(&mut old.leaf_weight, &new.leaf_weight);
    for d in &new.weight_device {
        merge_weight(&mut old.weight_device, d);
    }
    for (old, new) in [
        (&mut old.throttle_read_bps_device, &new.throttle_read_bps_device),
        (&mut old.throttle_write_bps_device, &new.throttle_write_bps_device),
        (&mut old.throttle_read_iops_device, &new.throttle_read_iops_device),
        (
            &mut old.throttle_write_iops_device,
            &new.throttle_write_iops_device,
        ),
    ] {
        for d in new {
            merge_throttle(old, d);
        }
    }
}

/// Of duplicates the last is in force.
fn merge_weight(list: &mut Vec<WeightDevice>, d: &WeightDevice) {
    match list
        .iter_mut()
        .rev()
        .find(|o| (o.major, o.minor) == (d.major, d.minor))
    {
        Some(old) => {
            over(&mut old.weight, &d.weight);
            over(&mut old.leaf_weight, &d.leaf_weight);
        }
        None => list.push(d.clone()),
    }
}

fn merge_throttle(list: &mut Vec<ThrottleDevice>, d: &ThrottleDevice) {
    match list
        .iter_mut()
        .rev()
        .find(|o| (o.major, o.minor) == (d.major, d.minor))
    {
        Some(old) => old.rate = d.rate,
        None => list.push(d.clone()),
    }
}

/// What a file held before it was written.
#[derive(Debug)]
struct Before {
    path: PathBuf,
    file: String,
    /// Lines to write, in order.
    lines: Vec<String>,
}

impl Before {
    fn read(paths: &CgroupPaths, write: &Write) -> Result<Option<Before>> {
        let Some(dir) = paths.dir_of(write.controller) else {
            return Ok(None);
        };
        let path = dir.path();
        let other = write.otherwise.as_ref().map(|(file, value)| (file, value));
        for (file, value) in std::iter::once((&write.file, &write.value)).chain(other) {
            if let Some(text) = file::read_if_there(&path, file)? {
                return Ok(Some(Before {
                    path,
                    file: file.clone(),
                    lines: lines_back(file, value, &text),
                }));
            }
        }
        Ok(None)
    }

    fn as_lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|line| (self.file.as_str(), line.as_str()))
    }

    fn put_back(&self) -> Result<()> {
        for line in &self.lines {
            file::write(&self.path, &self.file, line)?;
        }
        Ok(())
    }
}

/// What has to be written to undo a write of `value` into a file that held `text`.
fn lines_back(file: &str, value: &str, text: &str) -> Vec<String> {
    if !is_keyed(file) {
        return text.lines().take(1).map(|l| l.trim().to_string()).collect();
    }
    let key = key_of(value);
    if file == "io.bfq.weight" {
        return weights_back(key, text);
    }
    if let Some(line) = text.lines().find(|l| key_of(l) == key) {
        return vec![line.to_string()];
    }
    vec![match file {
        // Without a line there is no limit.
        "io.max" => format!("{key} rbps=max wbps=max riops=max wiops=max"),
        "rdma.max" => format!("{key} hca_handle=max hca_object=max"),
        _ => format!("{key} 0"),
    }]
}

/// All weights of bfq, the one for all devices first, which the kernel shows with a word that it does not read.
fn weights_back(key: &str, text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text
        .lines()
        .map(|l| l.strip_prefix("default ").unwrap_or(l).trim().to_string())
        .collect();
    if key.contains(':') && !text.lines().any(|l| key_of(l) == key) {
        lines.push(format!("{key} default"));
    }
    lines
}

impl Cgroup {
    /// What this cgroup can be told, for [`plan_update`]: the hierarchies of the record, or the controllers that the
    /// v2 directory really has.
    pub fn layout(&self) -> Result<Layout> {
        match &self.paths {
            CgroupPaths::None => Ok(Layout::None),
            CgroupPaths::Unified { dir } => Ok(Layout::Unified {
                mountpoint: dir.mountpoint.clone(),
                controllers: file::read(&dir.path(), "cgroup.controllers")?
                    .split_whitespace()
                    .map(str::to_string)
                    .collect(),
            }),
            CgroupPaths::Legacy { hierarchies, unified } => Ok(Layout::Legacy {
                hierarchies: hierarchies
                    .iter()
                    .map(|h| Mounted {
                        controllers: h.controllers.clone(),
                        mountpoint: h.dir.mountpoint.clone(),
                        root: "/".to_string(),
                    })
                    .collect(),
                unified: unified.as_ref().map(|d| d.mountpoint.clone()),
            }),
        }
    }

    /// Writes an update. When a write fails, everything before it is put back to what the kernel had; so it can be
    /// later, when the update cannot be recorded.
    pub fn update(&self, plan: &UpdatePlan) -> Result<Undo> {
        if let (Some(check), CgroupPaths::Unified { dir }) = (&plan.usage_check, &self.paths) {
            limits::check_usage(&dir.path(), check)?;
        }
        let mut before = Vec::new();
        for write in &plan.writes {
            before.extend(Before::read(&self.paths, write)?);
        }
        match &self.unit {
            None => self.write_limits(&plan.writes, Undo { before, unit: None }),
            Some(unit) => self.update_unit(unit, plan, before),
        }
    }

    fn write_limits(&self, writes: &[Write], undo: Undo) -> Result<Undo> {
        let writes: Vec<&Write> = writes.iter().collect();
        match limits::apply_writes(&self.paths, &writes) {
            Ok(()) => Ok(undo),
            Err(e) => Err(undo.because(e)),
        }
    }

    /// systemd is told first: what it cannot express lands with the writes after it. When one of those fails, it is told the old
    /// values again.
    fn update_unit(&self, unit: &Unit, plan: &UpdatePlan, before: Vec<Before>) -> Result<Undo> {
        let mut manager = Manager::connect(unit.bus)?;
        let version = manager.probe_facts()?.version;
        let cpu = plan.merged.cpu.as_ref();
        let mut writes = plan.writes.clone();
        systemd::round_quota(&mut writes, cpu);
        let weigher = self.weigher();
        let lines: Vec<Line<'_>> = writes
            .iter()
            .filter_map(|w| systemd::line_of(w, weigher))
            .collect();
        manager.set_properties(unit, &systemd::of_lines(&lines, version, cpu))?;
        let old: Vec<Line<'_>> = before.iter().flat_map(Before::as_lines).collect();
        let properties = systemd::of_lines(&old, version, cpu);
        let told = Told {
            manager,
            unit: unit.clone(),
            properties,
        };
        let undo = Undo {
            before,
            unit: Some(told),
        };
        self.write_limits(&writes, undo)
    }
}

/// What an update has changed.
#[derive(Debug)]
pub struct Undo {
    before: Vec<Before>,
    unit: Option<Told>,
}

/// A unit that was told new values, and its old ones.
#[derive(Debug)]
struct Told {
    manager: Manager,
    unit: Unit,
    properties: Vec<systemd::Property>,
}

impl Undo {
    /// Puts it back, and attaches what did not go back to the error that made it necessary.
    pub fn because(mut self, e: Error) -> Error {
        let told = match &mut self.unit {
            Some(told) => told.manager.set_properties(&told.unit, &told.properties),
            None => Ok(()),
        };
        put_back(e.and_also(told), &self.before)
    }
}

/// Last first; what the kernel refuses so (a limit above the total that is still to come) once more in the other order.
fn put_back(first: Error, before: &[Before]) -> Error {
    let mut failed: Vec<&Before> = before.iter().rev().filter(|b| b.put_back().is_err()).collect();
    failed.reverse();
    failed.into_iter().fold(first, |e, b| e.and_also(b.put_back()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::fixture;
    use crate::config;

    fn resources(json: &str) -> Resources {
        config::parse(json.as_bytes()).unwrap()
    }

    const V1: [&str; 6] = ["cpuset", "cpu", "memory", "pids", "blkio", "hugetlb"];
    const V2: [&str; 6] = ["cpuset", "cpu", "memory", "pids", "io", "hugetlb"];

    #[track_caller]
    fn update(old: &str, new: &str, v1: &[&str], v2: &[&str]) -> Resources {
        let (old, new) = (resources(old), resources(new));
        let mut merged = None;
        for (layout, expected) in [(fixture::legacy_with(&V1), v1), (fixture::unified(&V2), v2)] {
            let mut problems = Problems::default();
            let plan = plan_update(&old, &new, &layout, "", &mut problems);
            assert!(problems.is_empty(), "{problems:?}");
            let got: Vec<String> = plan
                .writes
                .iter()
                .map(|w| format!("{}={}", w.file, w.value))
                .collect();
            assert_eq!(got, expected);
            merged = Some(plan.merged);
        }
        merged.unwrap()
    }

    #[test]
    fn a_lone_quota_or_period_keeps_the_other() {
        let old = r#"{"cpu":{"quota":50000,"period":100000,"shares":512}}"#;
        let m = update(
            old,
            r#"{"cpu":{"quota":70000}}"#,
            &["cpu.cfs_quota_us=70000"],
            &["cpu.max=70000 100000"],
        );
        let cpu = m.cpu.unwrap();
        assert_eq!(
            (cpu.quota, cpu.period, cpu.shares),
            (Some(70000), Some(100000), Some(512))
        );
        update(
            old,
            r#"{"cpu":{"period":200000}}"#,
            &["cpu.cfs_period_us=200000"],
            &["cpu.max=50000 200000"],
        );
    }

    #[test]
    fn memory() {
        let old = r#"{"memory":{"limit":1000,"swap":3000,"reservation":500}}"#;
        // Swap alone is what v2 counts, so it follows the limit.
        update(
            old,
            r#"{"memory":{"limit":2000}}"#,
            &["memory.limit_in_bytes=2000"],
            &["memory.swap.max=1000", "memory.max=2000"],
        );
        let m = update(
            old,
            r#"{"memory":{"limit":-1}}"#,
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
            &["memory.swap.max=max", "memory.max=max"],
        );
        let memory = m.memory.unwrap();
        assert_eq!(
            (memory.limit, memory.swap, memory.reservation),
            (Some(-1), Some(-1), Some(500))
        );
        // Written again although the record has it.
        update(
            old,
            r#"{"memory":{"reservation":500}}"#,
            &["memory.soft_limit_in_bytes=500"],
            &["memory.low=500"],
        );
        let mut problems = Problems::default();
        let (old, new) = (resources(old), resources(r#"{"memory":{"limit":4000}}"#));
        plan_update(&old, &new, &fixture::legacy_with(&V1), "", &mut problems);
        let places: Vec<&str> = problems.iter().map(|p| p.place.as_str()).collect();
        assert_eq!(places, ["/memory/swap"]);
    }

    #[test]
    fn idle_gives_up_the_shares() {
        let old = r#"{"cpu":{"shares":512}}"#;
        let m = update(old, r#"{"cpu":{"idle":1}}"#, &["cpu.idle=1"], &["cpu.idle=1"]);
        assert_eq!(m.cpu.unwrap().shares, None);
        // Set for an idle group, they are the kernel's to refuse.
        update(
            r#"{"cpu":{"idle":1}}"#,
            r#"{"cpu":{"shares":512}}"#,
            &["cpu.shares=512"],
            &["cpu.weight=59"],
        );
    }

    #[test]
    fn devices_of_block_io_are_replaced_one_by_one() {
        let old = r#"{"blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":1,"rate":2}]}}"#;
        let m = update(
            old,
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":9},{"major":8,"minor":2,"rate":3}]}}"#,
            &[
                "blkio.throttle.read_bps_device=8:1 9",
                "blkio.throttle.read_bps_device=8:2 3",
            ],
            &["io.max=8:1 rbps=9", "io.max=8:2 rbps=3"],
        );
        assert_eq!(m.block_io.unwrap().throttle_read_bps_device.len(), 3);
    }

    #[test]
    fn what_is_not_mentioned_stays() {
        let old = r#"{"pids":{"limit":5},"devices":[{"allow":true,"access":"rwm"}],"cpu":{"cpus":"0"},"unified":{}}"#;
        let m = update(old, "{}", &[], &[]);
        assert_eq!(m, resources(old));
        let m = update(
            old,
            r#"{"pids":{"limit":7},"hugepageLimits":[{"pageSize":"2MB","limit":1}],"devices":[]}"#,
            &[
                "pids.max=7",
                "hugetlb.2MB.limit_in_bytes=1",
                "hugetlb.2MB.rsvd.limit_in_bytes=1",
            ],
            &["pids.max=7", "hugetlb.2MB.max=1", "hugetlb.2MB.rsvd.max=1"],
        );
        assert_eq!(m.devices.len(), 1);
    }

    #[test]
    fn what_undoes_a_write() {
        for (file, value, text, back) in [
            ("pids.max", "7", "max\n", "max"),
            ("cpu.max", "5 6", "max 100000\n", "max 100000"),
            (
                "io.max",
                "8:0 rbps=1",
                "8:16 rbps=3 wbps=max riops=max wiops=max\n8:0 rbps=2 wbps=max riops=max wiops=max\n",
                "8:0 rbps=2 wbps=max riops=max wiops=max",
            ),
            (
                "io.max",
                "8:0 rbps=1",
                "",
                "8:0 rbps=max wbps=max riops=max wiops=max",
            ),
            ("blkio.throttle.read_bps_device", "8:0 5", "8:1 3\n", "8:0 0"),
            (
                "rdma.max",
                "mlx hca_handle=1",
                "",
                "mlx hca_handle=max hca_object=max",
            ),
        ] {
            assert_eq!(lines_back(file, value, text), [back], "{file}");
        }
        let text = "default 100\n8:0 50\n";
        for (value, back) in [
            ("321", &["100", "8:0 50"][..]),
            ("8:0 7", &["100", "8:0 50"]),
            ("8:16 7", &["100", "8:0 50", "8:16 default"]),
        ] {
            assert_eq!(lines_back("io.bfq.weight", value, text), back, "{value}");
        }
    }

    #[test]
    fn a_new_weight_keeps_those_of_single_devices() {
        let old = r#"{"blockIO":{"weight":100,"weightDevice":[{"major":8,"minor":0,"weight":50}]}}"#;
        update(
            old,
            r#"{"blockIO":{"weight":500}}"#,
            &["blkio.weight=500", "blkio.weight_device=8:0 50"],
            &["io.bfq.weight=500", "io.bfq.weight=8:0 50"],
        );
        update(
            old,
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":16,"weight":60}]}}"#,
            &["blkio.weight_device=8:16 60"],
            &["io.bfq.weight=8:16 60"],
        );
        update(
            old,
            r#"{"cpu":{"shares":2}}"#,
            &["cpu.shares=2"],
            &["cpu.weight=1"],
        );
    }
}
