//! Whether a container can be as its user wants it, and what is taken where nothing was said: Docker's rules, in its words.
//!
//! May not: know of images, names or networks; those have checks of their own.

use std::collections::BTreeSet;

use image::bundle::defaults;
use image::{Error, Result};

use super::host::Hierarchy;
use super::modes::{self, Mode};
use super::{Host, Security, Warning, capabilities, mounts, signal};
use crate::model::{Config, HostConfig, RestartPolicy};

/// Runtimes need about as much to start.
const LEAST_MEMORY: i64 = 6 << 20;

/// HOST_NAME_MAX.
const LONGEST_HOSTNAME: usize = 64;

/// The largest number that a list of CPUs or memory nodes may have in it.
const MOST_CPUS: u32 = 8192;

/// The shortest time of a health check: a millisecond.
const LEAST_TIME: i64 = 1_000_000;

/// Checks all of it.
///
/// # Errors
/// Something makes no sense.
pub fn validate(config: &Config, host: &HostConfig, machine: &Host) -> Result<Vec<Warning>> {
    settle(config, host.clone(), machine).map(|(_, warnings)| warnings)
}

/// Checks all of it, fills in what is usual, and drops what cannot be had here: what `create` keeps.
///
/// # Errors
/// Something makes no sense.
pub fn settle(config: &Config, host: HostConfig, machine: &Host) -> Result<(HostConfig, Vec<Warning>)> {
    check_config(config)?;
    check_combinations(config, &host)?;
    check_host(&host, machine)?;
    settle_limits(host, machine)
}

/// The part about limits alone, for `update`: of a container that is made, the rest is decided (its hostname is filled in, which
/// nobody may ask for together with `--network container:X`).
///
/// # Errors
/// Something makes no sense.
pub fn settle_limits(host: HostConfig, machine: &Host) -> Result<(HostConfig, Vec<Warning>)> {
    let mut settling = Settling {
        host,
        machine,
        warnings: Vec::new(),
    };
    settling.fill();
    settling.memory()?;
    settling.pids();
    settling.cpu()?;
    settling.cpuset()?;
    settling.block_io()?;
    settling.rest()?;
    Ok((settling.host, settling.warnings))
}

fn refuse<T>(sentence: impl Into<String>) -> Result<T> {
    Err(Error::invalid(sentence))
}

fn check_config(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return refuse(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        ));
    }
    if let Some(name) = config.stop_signal.as_deref().filter(|name| !name.is_empty()) {
        signal::parse(name)?;
    }
    if let Some(bad) = config
        .env
        .iter()
        .find(|entry| entry.is_empty() || entry.starts_with('='))
    {
        return refuse(format!("invalid environment variable: {bad}"));
    }
    if config.hostname.len() > LONGEST_HOSTNAME {
        return refuse(format!(
            "hostname {:?} is too long (maximum {LONGEST_HOSTNAME} bytes)",
            config.hostname
        ));
    }
    let Some(check) = &config.healthcheck else {
        return Ok(());
    };
    let times = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    if let Some((name, _)) = times.iter().find(|(_, time)| *time != 0 && *time < LEAST_TIME) {
        return refuse(format!("{name} in Healthcheck cannot be less than 1ms"));
    }
    match check.retries {
        ..0 => refuse("Retries in Healthcheck cannot be negative"),
        _ => Ok(()),
    }
}

/// Options that exclude each other.
fn check_combinations(config: &Config, host: &HostConfig) -> Result<()> {
    let links = host.links.as_ref().is_some_and(|links| !links.is_empty());
    let network = modes::network(&host.network_mode)?;
    if let Mode::Container(_) = network {
        let conflicts = [
            (!config.hostname.is_empty(), "hostname and the network mode"),
            (
                links,
                "container type network can't be used with links. This would result in undefined behavior",
            ),
            (!host.dns.is_empty(), "dns and the network mode"),
            (
                host.extra_hosts.as_ref().is_some_and(|hosts| !hosts.is_empty()),
                "custom host-to-IP mapping and the network mode",
            ),
            (
                !host.port_bindings.is_empty() || host.publish_all_ports,
                "port publishing and the container type network mode",
            ),
            (
                config
                    .exposed_ports
                    .as_ref()
                    .is_some_and(|ports| !ports.is_empty()),
                "port exposing and the container type network mode",
            ),
        ];
        if let Some((_, what)) = conflicts.iter().find(|(there, _)| *there) {
            return refuse(format!("conflicting options: {what}"));
        }
    }
    if modes::uts(&host.uts_mode)? == Mode::Host && !config.hostname.is_empty() {
        return refuse("conflicting options: hostname and the UTS mode");
    }
    // Docker leaves this one to the runtime, which refuses it too: the name would be the host's.
    if modes::uts(&host.uts_mode)? == Mode::Host && !config.domainname.is_empty() {
        return refuse("conflicting options: domainname and the UTS mode");
    }
    if network == Mode::Host && links {
        return refuse(
            "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
        );
    }
    if !["", "default"].contains(&host.isolation.to_ascii_lowercase().as_str()) {
        return refuse(format!(
            "invalid isolation ({}): linux only supports 'default'",
            host.isolation
        ));
    }
    if host.io_maximum_bandwidth != 0 {
        return refuse("invalid option: QoS maximum bandwidth configuration is not supported on linux");
    }
    if host.io_maximum_iops != 0 {
        return refuse("invalid option: QoS maximum IOPs configuration is not supported on linux");
    }
    if host.auto_remove && !["", "no"].contains(&host.restart_policy.name.as_str()) {
        return refuse("can't create 'AutoRemove' container with restart policy");
    }
    check_restart(&host.restart_policy)
}

/// Whether there is such a policy, and it counts.
///
/// # Errors
/// There is none, or it does not.
pub fn check_restart(policy: &RestartPolicy) -> Result<()> {
    match (policy.name.as_str(), policy.maximum_retry_count) {
        ("no" | "always" | "unless-stopped", 1..) => {
            refuse("invalid restart policy: maximum retry count can only be used with 'on-failure'")
        }
        ("" | "no" | "always" | "unless-stopped" | "on-failure", _) => Ok(()),
        (name, _) => refuse(format!(
            "invalid restart policy: unknown policy '{name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        )),
    }
}

fn check_host(host: &HostConfig, machine: &Host) -> Result<()> {
    for entry in host.extra_hosts.iter().flatten() {
        check_extra_host(entry)?;
    }
    capabilities::of_container(host, &machine.capabilities)?;
    Security::of(host)?;
    if host.annotations.contains_key("") {
        return refuse("invalid Annotations: the empty string is not permitted as an annotation key");
    }
    if !["", "host", "private"].contains(&host.userns_mode.as_str()) {
        return refuse(format!("invalid userns mode: {}", host.userns_mode));
    }
    if !host.storage_opt.is_empty() {
        return refuse("--storage-opt is supported only for overlay over xfs with 'pquota' mount option");
    }
    for limit in &host.ulimits {
        check_ulimit(&limit.name, limit.soft, limit.hard)?;
    }
    if let Some(name) = host.sysctls.keys().find(|name| !is_sysctl_of_namespace(name)) {
        return refuse(format!("sysctl '{name}' is not allowed"));
    }
    mounts::check_tmpfs(&host.tmpfs)
}

fn check_extra_host(entry: &str) -> Result<()> {
    let Some((name, address)) = entry.split_once(':').filter(|(name, _)| !name.is_empty()) else {
        return refuse(format!("bad format for add-host: {entry:?}"));
    };
    let _ = name;
    let address = address
        .strip_prefix('[')
        .and_then(|a| a.strip_suffix(']'))
        .unwrap_or(address);
    match address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok() {
        true => Ok(()),
        false => refuse(format!("invalid IP address in add-host: {address:?}")),
    }
}

/// Names of `--ulimit`.
pub const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// One `--ulimit`; -1 is no limit.
///
/// # Errors
/// There is no such limit, or the soft one is above the hard one.
pub fn check_ulimit(name: &str, soft: i64, hard: i64) -> Result<()> {
    if !ULIMITS.contains(&name) {
        return refuse(format!("invalid ulimit type: {name}"));
    }
    let failed = "ulimit soft limit must be less than or equal to hard limit";
    match (soft, hard) {
        (_, -1) => Ok(()),
        (-1, _) => refuse(format!("{failed}: soft: -1 (unlimited), hard: {hard}")),
        _ if soft > hard => refuse(format!("{failed}: {soft} > {hard}")),
        _ => Ok(()),
    }
}

/// Those that a namespace has of its own; others would be set for the whole machine.
pub fn is_sysctl_of_namespace(name: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    KNOWN.contains(&name) || name.starts_with("net.") || name.starts_with("fs.mqueue.")
}

struct Settling<'a> {
    host: HostConfig,
    machine: &'a Host,
    warnings: Vec<Warning>,
}

impl Settling<'_> {
    fn warn(&mut self, sentence: &str) {
        self.warnings.push(Warning(sentence.to_owned()));
    }

    fn has(&self, controller: &str) -> bool {
        self.machine.cgroups.has(controller)
    }

    fn has_file(&self, controller: &str, file: &str, otherwise: bool) -> bool {
        self.has(controller) && self.machine.cgroups.has_file(file, otherwise)
    }

    /// `memory`, ... of version 1 is `io` in version 2.
    fn block(&self) -> &'static str {
        match self.machine.cgroups.hierarchy {
            Hierarchy::Unified => "io",
            Hierarchy::Legacy => "blkio",
        }
    }

    /// What `inspect` shows where nothing was said.
    fn fill(&mut self) {
        let unified = self.machine.cgroups.hierarchy == Hierarchy::Unified;
        let host = &mut self.host;
        if host.memory > 0 && host.memory_swap == 0 {
            host.memory_swap = host.memory.saturating_mul(2);
        }
        if host.shm_size == 0 {
            host.shm_size = HostConfig::default().shm_size;
        }
        if host.ipc_mode.is_empty() {
            host.ipc_mode = "private".into();
        }
        if host.cgroupns_mode.is_empty() {
            host.cgroupns_mode = if unified { "private" } else { "host" }.into();
        }
        if host.oom_kill_disable.is_none() {
            host.oom_kill_disable = Some(false);
        }
        // As the API has it: -1 is nothing said.
        if host.memory_swappiness == Some(-1) {
            host.memory_swappiness = None;
        }
        // Labels keep apart what these are to share with the host.
        let shares = host.privileged || host.ipc_mode == "host" || host.pid_mode == "host";
        let labelled = |option: &String| option.starts_with("label");
        if shares && !host.security_opt.iter().flatten().any(labelled) {
            host.security_opt
                .get_or_insert_default()
                .push("label=disable".into());
        }
        if host.masked_paths.is_none() && !host.privileged {
            host.masked_paths = Some(defaults::masked(&self.machine.thermal));
        }
        if host.readonly_paths.is_none() && !host.privileged {
            host.readonly_paths = Some(defaults::READ_ONLY.map(str::to_owned).to_vec());
        }
    }

    fn memory(&mut self) -> Result<()> {
        if self.host.memory != 0 && self.host.memory < LEAST_MEMORY {
            return refuse("Minimum memory limit allowed is 6MB");
        }
        if self.host.memory > 0 && !self.has("memory") {
            self.warn("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.");
            self.host.memory = 0;
            self.host.memory_swap = -1;
        }
        let swap = self.has_file("memory", "memory.memsw.limit_in_bytes", self.machine.cgroups.swap);
        if self.host.memory > 0 && self.host.memory_swap != -1 && !swap {
            self.warn("Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.");
            self.host.memory_swap = -1;
        }
        if self.host.memory > 0 && self.host.memory_swap > 0 && self.host.memory_swap < self.host.memory {
            return refuse("Minimum memoryswap limit should be larger than memory limit, see usage");
        }
        if self.host.memory == 0 && self.host.memory_swap > 0 {
            return refuse("You should always set the Memory limit when using Memoryswap limit, see usage");
        }
        if self.host.memory_swappiness.is_some() && !self.has_file("memory", "memory.swappiness", false) {
            self.warn("Your kernel does not support memory swappiness capabilities or the cgroup is not mounted. Memory swappiness discarded.");
            self.host.memory_swappiness = None;
        }
        if let Some(swappiness) = self.host.memory_swappiness.filter(|n| !(0..=100).contains(n)) {
            return refuse(format!(
                "Invalid value: {swappiness}, valid memory swappiness range is 0-100"
            ));
        }
        if self.host.memory_reservation > 0 && !self.has_file("memory", "memory.soft_limit_in_bytes", true) {
            self.warn("Your kernel does not support memory soft limit capabilities or the cgroup is not mounted. Limitation discarded.");
            self.host.memory_reservation = 0;
        }
        if self.host.memory_reservation > 0 && self.host.memory_reservation < LEAST_MEMORY {
            return refuse("Minimum memory reservation allowed is 6MB");
        }
        if self.host.memory > 0 && self.host.memory < self.host.memory_reservation {
            return refuse("Minimum memory limit can not be less than memory reservation limit, see usage");
        }
        self.out_of_memory();
        Ok(())
    }

    fn out_of_memory(&mut self) {
        let asked = self.host.oom_kill_disable == Some(true);
        if !self.has_file("memory", "memory.oom_control", false) {
            if asked {
                self.warn("Your kernel does not support OomKillDisable. OomKillDisable discarded.");
            }
            self.host.oom_kill_disable = None;
        } else if asked && self.host.memory == 0 {
            self.warn("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.");
        }
    }

    fn pids(&mut self) {
        let Some(limit) = self.host.pids_limit else {
            return;
        };
        if !self.has("pids") {
            if limit > 0 {
                self.warn("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.");
            }
            self.host.pids_limit = None;
        }
    }

    fn cpu(&mut self) -> Result<()> {
        let quota = self.has_file("cpu", "cpu.cfs_quota_us", true);
        let real_time = self.has_file("cpu", "cpu.rt_period_us", false);
        let host = &self.host;
        if (host.cpu_realtime_period != 0 || host.cpu_realtime_runtime != 0) && !real_time {
            return refuse("kernel does not support CPU real-time scheduler");
        }
        if host.cpu_realtime_period != 0 && host.cpu_realtime_runtime > host.cpu_realtime_period {
            return refuse("cpu real-time runtime cannot be higher than cpu real-time period");
        }
        if host.cpu_shares < 0 {
            return refuse(format!(
                "invalid CPU shares ({}): value must be a positive integer",
                host.cpu_shares
            ));
        }
        if host.nano_cpus > 0 && host.cpu_period > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Period cannot both be set");
        }
        if host.nano_cpus > 0 && host.cpu_quota > 0 {
            return refuse("Conflicting options: Nano CPUs and CPU Quota cannot both be set");
        }
        if host.nano_cpus > 0 && !quota {
            return refuse(
                "NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or the cgroup is not mounted",
            );
        }
        let most = self.machine.cpus;
        if !(0..=i64::from(most) * 1_000_000_000).contains(&host.nano_cpus) {
            return refuse(format!(
                "range of CPUs is from 0.01 to {most}.00, as there are only {most} CPUs available"
            ));
        }
        if host.cpu_shares > 0 && !self.has_file("cpu", "cpu.shares", true) {
            self.warn(
                "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
            );
            self.host.cpu_shares = 0;
        }
        if (self.host.cpu_period != 0 || self.host.cpu_quota != 0) && !quota {
            self.warn("Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.");
            (self.host.cpu_period, self.host.cpu_quota) = (0, 0);
        }
        if self.host.cpu_period != 0 && !(1000..=1_000_000).contains(&self.host.cpu_period) {
            return refuse(
                "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
            );
        }
        if (1..1000).contains(&self.host.cpu_quota) {
            return refuse("CPU cfs quota can not be less than 1ms (i.e. 1000)");
        }
        if self.host.cpu_percent > 0 {
            self.warn("linux does not support CPU percent. Percent discarded.");
            self.host.cpu_percent = 0;
        }
        Ok(())
    }

    fn cpuset(&mut self) -> Result<()> {
        let asked = !self.host.cpuset_cpus.is_empty() || !self.host.cpuset_mems.is_empty();
        if asked && !self.has("cpuset") {
            self.warn("Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.");
            self.host.cpuset_cpus.clear();
            self.host.cpuset_mems.clear();
        }
        let cgroups = &self.machine.cgroups;
        let lists = [
            (&self.host.cpuset_cpus, &cgroups.online_cpus, "cpus", "CPUs"),
            (
                &self.host.cpuset_mems,
                &cgroups.online_mems,
                "mems",
                "memory nodes",
            ),
        ];
        for (wanted, online, name, what) in lists {
            let asked = parse_list(wanted, MOST_CPUS)
                .map_err(|why| Error::invalid(format!("Invalid value {wanted} for cpuset {name}: {why}")))?;
            // What the machine does not tell of is the kernel's to refuse.
            let Ok(there) = parse_list(online, u32::MAX) else {
                continue;
            };
            if !there.is_empty() && !asked.is_subset(&there) {
                return refuse(format!(
                    "Requested {what} are not available - requested {wanted}, available: {online}"
                ));
            }
        }
        Ok(())
    }

    fn block_io(&mut self) -> Result<()> {
        let block = self.block();
        let there = |settling: &Self, file: &str| settling.has_file(block, file, true);
        if self.host.blkio_weight > 0 && !there(self, "blkio.weight") {
            self.warn("Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.");
            self.host.blkio_weight = 0;
        }
        if self.host.blkio_weight > 0 && !(10..=1000).contains(&self.host.blkio_weight) {
            return refuse("Range of blkio weight is from 10 to 1000");
        }
        if !self.host.blkio_weight_device.is_empty() && !there(self, "blkio.weight_device") {
            self.warn("Your kernel does not support Block I/O weight_device or the cgroup is not mounted. Weight-device discarded.");
            self.host.blkio_weight_device.clear();
        }
        type List = fn(&mut HostConfig) -> &mut Vec<crate::model::ThrottleDevice>;
        let throttled: [(&str, &str, List); 4] = [
            (
                "blkio.throttle.read_bps_device",
                "Your kernel does not support BPS Block I/O read limit or the cgroup is not mounted. Block I/O BPS read limit discarded.",
                |host| &mut host.blkio_device_read_bps,
            ),
            (
                "blkio.throttle.write_bps_device",
                "Your kernel does not support BPS Block I/O write limit or the cgroup is not mounted. Block I/O BPS write limit discarded.",
                |host| &mut host.blkio_device_write_bps,
            ),
            (
                "blkio.throttle.read_iops_device",
                "Your kernel does not support IOPS Block read limit or the cgroup is not mounted. Block I/O IOPS read limit discarded.",
                |host| &mut host.blkio_device_read_iops,
            ),
            (
                "blkio.throttle.write_iops_device",
                "Your kernel does not support IOPS Block write limit or the cgroup is not mounted. Block I/O IOPS write limit discarded.",
                |host| &mut host.blkio_device_write_iops,
            ),
        ];
        for (file, sentence, list) in throttled {
            if !list(&mut self.host).is_empty() && !there(self, file) {
                self.warn(sentence);
                list(&mut self.host).clear();
            }
        }
        Ok(())
    }

    fn rest(&mut self) -> Result<()> {
        let host = &self.host;
        modes::ipc(&host.ipc_mode)?;
        modes::pid(&host.pid_mode)?;
        modes::cgroup(host, self.machine)?;
        if host.shm_size < 0 {
            return refuse("SHM size can not be less than 0");
        }
        if !(-1000..=1000).contains(&host.oom_score_adj) {
            return refuse(format!(
                "Invalid value {}, range for oom score adj is [-1000, 1000]",
                host.oom_score_adj
            ));
        }
        let systemd = self.machine.cgroups.driver == super::host::Driver::Systemd;
        let parent = &host.cgroup_parent;
        if systemd && !parent.is_empty() && (parent.len() <= 6 || !parent.ends_with(".slice")) {
            return refuse("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"");
        }
        if modes::network(&host.network_mode)? == Mode::Host && !host.port_bindings.is_empty() {
            self.warn("Published ports are discarded when using host network mode");
        }
        Ok(())
    }
}

/// `0-2,7`
fn parse_list(text: &str, most: u32) -> Result<BTreeSet<u32>, String> {
    let bad = || format!("invalid format: {text}");
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if last < first {
            return Err(bad());
        }
        if last > most {
            return Err(format!("value of out range, maximum is {most}"));
        }
        all.extend(first..=last);
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
