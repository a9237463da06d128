//! Writing limits and device rules into a cgroup that exists.
//!
//! May not: choose values; they come from the plan.

use super::device::{self, DevicePolicy};
use super::file;
use super::paths::CgroupPaths;
use super::plan::{CgroupPlan, Phase, Policy, UsageCheck, Write};
use crate::config::Resources;
use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// About limits that are accepted and not written: kernels no longer have them.
pub fn ignored_limits(resources: &Resources) -> Option<&'static str> {
    let memory = resources.memory.as_ref()?;
    let given = memory.kernel.is_some() || memory.kernel_tcp.is_some();
    given.then_some("Kernel memory settings are ignored and will be removed")
}

/// Applies the writes of a phase in order.
pub fn apply(paths: &CgroupPaths, plan: &CgroupPlan, phase: Phase) -> Result<()> {
    if let (Phase::Late, Some(check), CgroupPaths::Unified { dir }) = (phase, &plan.usage_check, paths) {
        check_usage(&dir.path(), check)?;
    }
    apply_writes(paths, &plan.writes_of(phase))
}

/// Applies writes in order, but for a v1 memory limit and its swap companion, whose order depends on what the cgroup
/// has now.
pub fn apply_writes(paths: &CgroupPaths, writes: &[&Write]) -> Result<()> {
    let mut again = Vec::new();
    for write in in_memory_order(paths, writes)? {
        match apply_one(paths, write) {
            Err(e) if write.policy == Policy::TwiceOnInvalid && e.is(libc::EINVAL) => again.push(write),
            other => other?,
        }
    }
    for write in again {
        apply_one(paths, write)?;
    }
    Ok(())
}

const LIMIT: &str = "memory.limit_in_bytes";
const SWAP: &str = "memory.memsw.limit_in_bytes";

/// The kernel wants limit <= limit with swap at every moment, so a growing total goes first.
fn in_memory_order<'a>(paths: &CgroupPaths, writes: &[&'a Write]) -> Result<Vec<&'a Write>> {
    let mut out = writes.to_vec();
    let place = |file: &str| writes.iter().position(|w| w.file == file);
    if let (Some(limit), Some(swap), Some(dir)) = (place(LIMIT), place(SWAP), paths.dir_of("memory")) {
        let now = file::read_if_there(&dir.path(), LIMIT)?.unwrap_or_default();
        if total_goes_first(now.trim(), &writes[swap].value) {
            out.swap(limit, swap);
        }
    }
    Ok(out)
}

fn total_goes_first(limit_now: &str, new_total: &str) -> bool {
    match (limit_now.parse::<u64>(), new_total.parse::<i64>()) {
        (_, Ok(-1)) => true,
        (Ok(now), Ok(total)) => i128::from(now) < i128::from(total),
        _ => false,
    }
}

fn apply_one(paths: &CgroupPaths, write: &Write) -> Result<()> {
    let Some(dir) = paths.dir_of(write.controller) else {
        if write.policy == Policy::IfThere {
            return Ok(());
        }
        return Err(Error::new(format!(
            "cannot set {} limit: container could not join or create cgroup",
            write.controller
        )));
    };
    let path = dir.path();
    match (file::write(&path, &write.file, &write.value), write.policy) {
        (Ok(()), Policy::ReadBack) => read_back(&path, write),
        (Ok(()), _) => Ok(()),
        (Err(e), Policy::IfThere) if is_missing(&e) => Ok(()),
        (Err(e), Policy::IfSupported) if is_missing(&e) || e.is(libc::EINVAL) => Ok(()),
        (Err(e), Policy::MemoryLimit) if e.is(libc::EBUSY) => Err(too_much_memory(&path, write)),
        (Err(e), _) => match &write.otherwise {
            Some((name, value)) if is_missing(&e) => file::write(&path, name, value),
            _ => Err(explain(e, write)),
        },
    }
}

fn is_missing(e: &Error) -> bool {
    e.is(libc::ENOENT) && e.errno().is_some()
}

fn explain(e: Error, write: &Write) -> Error {
    let missing = is_missing(&e) || e.is(libc::EACCES) || e.is(libc::EPERM);
    match (write.controller, write.file.split('.').nth(1)) {
        ("unified", _) => e.doing(format!("unable to set unified resource {:?}", write.file)),
        ("hugetlb", Some(size)) if missing => e.doing(format!(
            "unable to limit huge pages: the page size {size:?} is not known here"
        )),
        _ => e,
    }
}

/// The kernel clamps `cpu.shares` without a word.
fn read_back(path: &Path, write: &Write) -> Result<()> {
    let got = file::read(path, &write.file)?;
    match (write.value.parse::<u64>(), got.trim().parse::<u64>()) {
        (Ok(asked), Ok(got)) if asked > got => {
            Err(Error::new(format!("the maximum allowed cpu-shares is {got}")))
        }
        (Ok(asked), Ok(got)) if asked < got => {
            Err(Error::new(format!("the minimum allowed cpu-shares is {got}")))
        }
        _ => Ok(()),
    }
}

fn too_much_memory(path: &Path, write: &Write) -> Error {
    let number = |name: &str| match file::read(path, name) {
        Ok(text) => text.trim().to_string(),
        Err(_) => "unknown".to_string(),
    };
    Error::new(format!(
        "unable to set memory limit to {} (current usage: {}, peak usage: {})",
        write.value,
        number("memory.usage_in_bytes"),
        number("memory.max_usage_in_bytes")
    ))
}

/// v2 kills where v1 refuses, so who asks for it gets a refusal from us.
pub fn check_usage(path: &Path, check: &UsageCheck) -> Result<()> {
    let Some(text) = file::read_if_there(path, "memory.current")? else {
        return Ok(());
    };
    let usage: i64 = text.trim().parse().unwrap_or(0);
    if check.total > 0 && usage >= check.total {
        return Err(Error::new(format!(
            "rejecting memory+swap limit {} <= usage {usage}",
            check.total
        )));
    }
    if check.limit > 0 && usage >= check.limit {
        return Err(Error::new(format!(
            "rejecting memory limit {} <= usage {usage}",
            check.limit
        )));
    }
    Ok(())
}

/// Puts the device rules in force.
pub fn apply_devices(paths: &CgroupPaths, plan: &CgroupPlan) -> Result<()> {
    let result = match paths {
        CgroupPaths::Unified { dir } => apply_devices_v2(&dir.path(), &plan.devices),
        CgroupPaths::Legacy { .. } if plan.in_user_namespace => Ok(()),
        CgroupPaths::Legacy { .. } => match paths.dir_of("devices") {
            Some(dir) => apply_devices_v1(&dir.path(), &plan.devices),
            None => Err(Error::new(
                "cannot set devices limit: container could not join or create cgroup",
            )),
        },
        CgroupPaths::None => Ok(()),
    };
    match result {
        // Without rights over the host there are no device nodes to be made either, so nothing is lost.
        Err(_) if plan.rootless || plan.devices.allows_everything() => Ok(()),
        other => other,
    }
}

fn apply_devices_v1(path: &Path, target: &DevicePolicy) -> Result<()> {
    let current = read_devices_v1(path)?;
    let mut files: Vec<(&str, OwnedFd)> = Vec::new();
    for change in current.changes_to(target) {
        let name = change.file();
        let at = match files.iter().position(|(n, _)| *n == name) {
            Some(at) => at,
            None => {
                files.push((name, file::open(path, name)?));
                files.len() - 1
            }
        };
        file::write_to(&files[at].1, path, name, &change.line)?;
    }
    verify_devices_v1(&read_devices_v1(path)?, target)
}

fn read_devices_v1(path: &Path) -> Result<DevicePolicy> {
    let text = file::read(path, "devices.list")?;
    DevicePolicy::parse_v1_list(&text).ok_or_else(|| {
        Error::new(format!(
            "unable to read {}: {text:?}",
            path.join("devices.list").display()
        ))
    })
}

/// The exceptions of an allowing cgroup cannot be read back; that it allows can.
fn verify_devices_v1(now: &DevicePolicy, target: &DevicePolicy) -> Result<()> {
    if now.default_verdict() != target.default_verdict() {
        return Err(Error::new("resulting devices cgroup doesn't match target mode"));
    }
    if target.default_verdict() == device::Verdict::Deny && now != target {
        return Err(Error::new(
            "resulting devices cgroup doesn't precisely match target",
        ));
    }
    Ok(())
}

/// Loads the filter and attaches it; one that is there already (a cgroup used again) is replaced without a moment in
/// which neither is in force.
fn apply_devices_v2(path: &Path, policy: &DevicePolicy) -> Result<()> {
    let dir = sys::fs::open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    let program = sys::bpf::load_device_filter(&device::compile(policy)).doing(|| "bpf_prog_load failed")?;
    let old = sys::bpf::device_filters(dir.as_fd()).doing(|| "bpf_prog_query failed")?;
    let attach = |replacing| sys::bpf::attach_device_filter(dir.as_fd(), program.as_fd(), replacing);
    if let [only] = old.as_slice() {
        return attach(Some(only.as_fd())).doing(|| "failed to replace the device filter of the cgroup");
    }
    attach(None).doing(|| "failed to attach the device filter to the cgroup")?;
    for filter in &old {
        sys::bpf::detach_device_filter(dir.as_fd(), filter.as_fd())
            .doing(|| "failed to detach an old device filter from the cgroup")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_total_goes_first() {
        assert!(total_goes_first("1000", "2000"));
        assert!(!total_goes_first("9223372036854771712", "2000"));
        assert!(!total_goes_first("2000", "2000"));
        assert!(total_goes_first("9223372036854771712", "-1"));
    }
}
