//! `linux.resources`: the limits of a container, and which of them can be had here.
//!
//! May not: judge numbers. [`super::settle`] has done that when the container was made.

use image::{Error, Result};
use serde_json::{Map, Value, json};

use super::host::{Driver, Hierarchy};
use super::{Inputs, Warning, devices};
use crate::model::{HostConfig, ThrottleDevice};

/// `None`: the container has no cgroup.
pub(super) fn value(inputs: &Inputs<'_>, warnings: &mut Vec<Warning>) -> Result<Option<Value>> {
    let cgroups = &inputs.host.cgroups;
    let limits = limits(inputs)?;
    if cgroups.driver == Driver::None {
        if !limits.is_empty() {
            warnings.push(Warning(
                "Resource limits are discarded: this user may not make cgroups (rootless containers need cgroup v2 and systemd)."
                    .into(),
            ));
        }
        return Ok(None);
    }
    let mut resources = Map::new();
    // Who is in a user namespace cannot load the program that filters them; the kernel lets nobody make nodes there.
    if inputs.host.ids.is_none() && inputs.ids.is_none() {
        resources.insert("devices".into(), json!(devices::rules(inputs)?));
    }
    for (key, value) in limits {
        let controller = match key.as_str() {
            "blockIO" if cgroups.hierarchy == Hierarchy::Unified => "io",
            "blockIO" => "blkio",
            key => key,
        };
        // Docker discards what a user's systemd has not delegated without a word.
        match cgroups.hierarchy == Hierarchy::Legacy || inputs.host.ids.is_none() || cgroups.has(controller) {
            true => drop(resources.insert(key, value)),
            false => warnings.push(Warning(format!(
                "The {controller} controller is not delegated to this user. Limits discarded."
            ))),
        }
    }
    Ok((!resources.is_empty()).then_some(Value::Object(resources)))
}

/// What `brig update` hands to the runtime: the same, without devices.
///
/// # Errors
/// A device with a limit was not looked up.
pub fn limits(inputs: &Inputs<'_>) -> Result<Map<String, Value>> {
    let host = &inputs.definition.host;
    let legacy = inputs.host.cgroups.hierarchy == Hierarchy::Legacy;
    let mut all = Map::new();
    let mut add = |key: &str, value: Map<String, Value>| {
        if !value.is_empty() {
            all.insert(key.to_owned(), Value::Object(value));
        }
    };
    add("memory", memory(host, legacy));
    add("cpu", cpu(host));
    add("blockIO", block_io(inputs)?);
    add("pids", pids(host));
    Ok(all)
}

fn memory(host: &HostConfig, legacy: bool) -> Map<String, Value> {
    let mut memory = Map::new();
    if host.memory > 0 {
        memory.insert("limit".into(), json!(host.memory));
    }
    if host.memory_reservation > 0 {
        memory.insert("reservation".into(), json!(host.memory_reservation));
    }
    // -1 says nothing to a new cgroup, but takes the limit from one that has it (`update`).
    if host.memory_swap > 0 || (host.memory_swap == -1 && host.memory > 0) {
        memory.insert("swap".into(), json!(host.memory_swap));
    }
    if let (Some(swappiness @ 0..), true) = (host.memory_swappiness, legacy) {
        memory.insert("swappiness".into(), json!(swappiness));
    }
    if let (Some(true), true) = (host.oom_kill_disable, legacy) {
        memory.insert("disableOOMKiller".into(), json!(true));
    }
    memory
}

fn cpu(host: &HostConfig) -> Map<String, Value> {
    const PERIOD: i64 = 100_000;
    let mut cpu = Map::new();
    let mut add = |key: &str, value: i64| {
        if value != 0 {
            cpu.insert(key.to_owned(), json!(value));
        }
    };
    add("shares", host.cpu_shares);
    if host.nano_cpus > 0 {
        add("period", PERIOD);
        // 10^15 CPUs would be too many.
        add("quota", host.nano_cpus.saturating_mul(PERIOD) / 1_000_000_000);
    }
    add("period", host.cpu_period);
    add("quota", host.cpu_quota);
    add("realtimePeriod", host.cpu_realtime_period);
    add("realtimeRuntime", host.cpu_realtime_runtime);
    for (key, list) in [("cpus", &host.cpuset_cpus), ("mems", &host.cpuset_mems)] {
        if !list.is_empty() {
            cpu.insert(key.to_owned(), json!(list));
        }
    }
    cpu
}

fn block_io(inputs: &Inputs<'_>) -> Result<Map<String, Value>> {
    let host = &inputs.definition.host;
    let number = |path: &str| {
        let found = inputs.found.numbers.get(path);
        found.ok_or_else(|| Error::not_found(format!("stat {path}: no such file or directory")))
    };
    let mut block = Map::new();
    if host.blkio_weight != 0 {
        block.insert("weight".into(), json!(host.blkio_weight));
    }
    let mut weights = Vec::new();
    for device in &host.blkio_weight_device {
        let (major, minor) = number(&device.path)?;
        weights.push(json!({"major": major, "minor": minor, "weight": device.weight}));
    }
    if !weights.is_empty() {
        block.insert("weightDevice".into(), json!(weights));
    }
    let throttled: [(&str, &[ThrottleDevice]); 4] = [
        ("throttleReadBpsDevice", &host.blkio_device_read_bps),
        ("throttleWriteBpsDevice", &host.blkio_device_write_bps),
        ("throttleReadIOPSDevice", &host.blkio_device_read_iops),
        ("throttleWriteIOPSDevice", &host.blkio_device_write_iops),
    ];
    for (key, devices) in throttled {
        let mut list = Vec::new();
        for device in devices {
            let (major, minor) = number(&device.path)?;
            list.push(json!({"major": major, "minor": minor, "rate": device.rate}));
        }
        if !list.is_empty() {
            block.insert(key.into(), json!(list));
        }
    }
    Ok(block)
}

/// 0 and less take the limit away, which is -1 for every runtime.
fn pids(host: &HostConfig) -> Map<String, Value> {
    let mut pids = Map::new();
    if let Some(limit) = host.pids_limit {
        pids.insert("limit".into(), json!(if limit <= 0 { -1 } else { limit }));
    }
    pids
}
