//! The figures of version 1 cgroups.
//!
//! May not: answer for a controller that the container has no cgroup of. The counts of tasks by state (taskstats) are
//! left out: nobody who answers for containers fills them, and they need a netlink socket.

use super::{Rdma, parse, rdma};
use crate::cgroup::{Cgroup, Error, Files, Result};
use std::os::fd::AsFd;
use std::path::Path;

/// Everything, by controller. The processor is always answered, because consumers look into it without asking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// hugetlb, one for each size of pages.
    pub hugetlb: Vec<Hugetlb>,
    /// pids
    pub pids: Option<Pids>,
    /// cpu and cpuacct
    pub cpu: Cpu,
    /// memory
    pub memory: Option<Memory>,
    /// memory.oom_control
    pub memory_oom_control: Option<OomControl>,
    /// blkio
    pub blkio: Option<Blkio>,
    /// rdma
    pub rdma: Option<RdmaUse>,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// `2MB`
    pub pagesize: String,
    /// Bytes in use.
    pub usage: u64,
    /// The most that were in use.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// The limit; 0 stands for none, as readers of version 1 figures expect it.
    pub limit: u64,
}

/// Time of the processors, in nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// All of it.
    pub total: u64,
    /// In the kernel.
    pub kernel: u64,
    /// Outside of it.
    pub user: u64,
    /// By processor.
    pub per_cpu: Vec<u64>,
    /// Periods of the quota that have passed.
    pub periods: u64,
    /// Of those, the ones in which the quota was used up.
    pub throttled_periods: u64,
    /// Time spent waiting for the next period.
    pub throttled_time: u64,
}

/// Memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of memory.stat
pub struct Memory {
    /// Of the cgroup alone.
    pub own: Pages,
    /// Nested cgroups included (`total_`).
    pub total: Pages,
    pub hierarchical_memory_limit: u64,
    /// hierarchical_memsw_limit
    pub hierarchical_swap_limit: u64,
    /// memory.*
    pub usage: MemoryEntry,
    /// memory.memsw.*: memory and swap together.
    pub swap: MemoryEntry,
    /// memory.kmem.*
    pub kernel: MemoryEntry,
    /// memory.kmem.tcp.*
    pub kernel_tcp: MemoryEntry,
}

/// Where the memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of memory.stat
pub struct Pages {
    pub cache: u64,
    pub rss: u64,
    pub rss_huge: u64,
    pub mapped_file: u64,
    pub dirty: u64,
    pub writeback: u64,
    pub pgpgin: u64,
    pub pgpgout: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
}

/// One kind of memory that is counted and limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    /// limit_in_bytes
    pub limit: u64,
    /// usage_in_bytes
    pub usage: u64,
    /// max_usage_in_bytes
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// memory.oom_control
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomControl {
    /// 1 when the kernel stops processes instead of killing one.
    pub oom_kill_disable: u64,
    /// 1 while they are stopped.
    pub under_oom: u64,
    /// How many were killed (Linux 4.13).
    pub oom_kill: u64,
}

/// Traffic with block devices, nested cgroups included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of the files
pub struct Blkio {
    pub io_service_bytes: Vec<BlkioEntry>,
    pub io_serviced: Vec<BlkioEntry>,
    pub io_queued: Vec<BlkioEntry>,
    pub io_service_time: Vec<BlkioEntry>,
    pub io_wait_time: Vec<BlkioEntry>,
    pub io_merged: Vec<BlkioEntry>,
    pub io_time: Vec<BlkioEntry>,
    pub sectors: Vec<BlkioEntry>,
}

/// One line of a blkio file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    /// `Read`, `Write`, `Total`, ...; empty where the file makes no difference.
    pub op: String,
    /// `/dev/sda`; empty when the device is gone.
    pub device: String,
    /// Number of the device.
    pub major: u64,
    /// Number of the device.
    pub minor: u64,
    /// The figure.
    pub value: u64,
}

/// rdma
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RdmaUse {
    /// In use.
    pub current: Vec<Rdma>,
    /// Limits.
    pub limit: Vec<Rdma>,
}

/// Reads all figures. A controller whose cgroup is gone, or never was, is left out.
///
/// # Errors
/// [`Error::NotFound`] when all are gone.
pub fn read(cgroup: &Cgroup) -> Result<Metrics> {
    if !cgroup.exists() {
        return Err(Error::NotFound);
    }
    let mut m = Metrics::default();
    if let Some(f) = open(cgroup, "cpu")? {
        read_throttling(&f, &mut m.cpu)?;
    }
    if let Some(f) = open(cgroup, "cpuacct")? {
        read_usage(&f, &mut m.cpu)?;
    }
    if let Some(f) = open(cgroup, "memory")? {
        m.memory = Some(read_memory(&f)?);
        m.memory_oom_control = read_oom_control(&f)?;
    }
    if let Some(f) = open(cgroup, "pids")? {
        m.pids = read_pids(&f)?;
    }
    if let Some(f) = open(cgroup, "blkio")? {
        m.blkio = Some(read_blkio(&f)?);
    }
    if let Some(f) = open(cgroup, "hugetlb")? {
        m.hugetlb = read_hugetlb(&f)?;
    }
    if let Some(f) = open(cgroup, "rdma")? {
        m.rdma = Some(RdmaUse {
            current: rdma(&f, "rdma.current")?,
            limit: rdma(&f, "rdma.max")?,
        });
    }
    Ok(m)
}

fn open(cgroup: &Cgroup, controller: &str) -> Result<Option<Files>> {
    match cgroup.dir_of(controller).map(Files::open) {
        Some(Ok(files)) => Ok(Some(files)),
        None | Some(Err(Error::NotFound)) => Ok(None),
        Some(Err(e)) => Err(e),
    }
}

fn read_throttling(f: &Files, cpu: &mut Cpu) -> Result<()> {
    f.table("cpu.stat", |key, value| match key {
        "nr_periods" => cpu.periods = value,
        "nr_throttled" => cpu.throttled_periods = value,
        "throttled_time" => cpu.throttled_time = value,
        _ => {}
    })
    .map(drop)
}

fn read_usage(f: &Files, cpu: &mut Cpu) -> Result<()> {
    /// cpuacct.stat counts hundredths of a second (USER_HZ) on every architecture that we are built for.
    const TICK: u64 = 10_000_000;
    f.table("cpuacct.stat", |key, value| match key {
        "user" => cpu.user = value.saturating_mul(TICK),
        "system" => cpu.kernel = value.saturating_mul(TICK),
        _ => {}
    })?;
    cpu.total = f.number_or_zero("cpuacct.usage")?;
    cpu.per_cpu = f
        .text("cpuacct.usage_percpu")?
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|n| n.parse().ok())
        .collect();
    Ok(())
}

fn read_memory(f: &Files) -> Result<Memory> {
    let mut m = Memory {
        usage: read_entry(f, "memory")?,
        swap: read_entry(f, "memory.memsw")?,
        kernel: read_entry(f, "memory.kmem")?,
        kernel_tcp: read_entry(f, "memory.kmem.tcp")?,
        ..Memory::default()
    };
    f.table("memory.stat", |key, value| {
        let field = match (key, key.strip_prefix("total_")) {
            ("hierarchical_memory_limit", _) => Some(&mut m.hierarchical_memory_limit),
            ("hierarchical_memsw_limit", _) => Some(&mut m.hierarchical_swap_limit),
            (_, Some(key)) => m.total.field(key),
            (key, None) => m.own.field(key),
        };
        if let Some(field) = field {
            *field = value;
        }
    })?;
    Ok(m)
}

impl Pages {
    fn field(&mut self, key: &str) -> Option<&mut u64> {
        Some(match key {
            "cache" => &mut self.cache,
            "rss" => &mut self.rss,
            "rss_huge" => &mut self.rss_huge,
            "mapped_file" => &mut self.mapped_file,
            "dirty" => &mut self.dirty,
            "writeback" => &mut self.writeback,
            "pgpgin" => &mut self.pgpgin,
            "pgpgout" => &mut self.pgpgout,
            "pgfault" => &mut self.pgfault,
            "pgmajfault" => &mut self.pgmajfault,
            "inactive_anon" => &mut self.inactive_anon,
            "active_anon" => &mut self.active_anon,
            "inactive_file" => &mut self.inactive_file,
            "active_file" => &mut self.active_file,
            "unevictable" => &mut self.unevictable,
            _ => return None,
        })
    }
}

fn read_entry(f: &Files, prefix: &str) -> Result<MemoryEntry> {
    Ok(MemoryEntry {
        limit: f.number_or_zero(&format!("{prefix}.limit_in_bytes"))?,
        usage: f.number_or_zero(&format!("{prefix}.usage_in_bytes"))?,
        max: f.number_or_zero(&format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: f.number_or_zero(&format!("{prefix}.failcnt"))?,
    })
}

fn read_oom_control(f: &Files) -> Result<Option<OomControl>> {
    let mut out = OomControl::default();
    let there = f.table("memory.oom_control", |key, value| match key {
        "oom_kill_disable" => out.oom_kill_disable = value,
        "under_oom" => out.under_oom = value,
        "oom_kill" => out.oom_kill = value,
        _ => {}
    })?;
    Ok(there.then_some(out))
}

fn read_pids(f: &Files) -> Result<Option<Pids>> {
    let Some(current) = f.number("pids.current")? else {
        return Ok(None);
    };
    let limit = match f.number_or_zero("pids.max")? {
        u64::MAX => 0,
        limit => limit,
    };
    Ok(Some(Pids { current, limit }))
}

fn read_hugetlb(f: &Files) -> Result<Vec<Hugetlb>> {
    let mut out = Vec::new();
    for size in super::huge_page_sizes() {
        let Some(usage) = f.number(&format!("hugetlb.{size}.usage_in_bytes"))? else {
            continue;
        };
        out.push(Hugetlb {
            usage,
            max: f.number_or_zero(&format!("hugetlb.{size}.max_usage_in_bytes"))?,
            failcnt: f.number_or_zero(&format!("hugetlb.{size}.failcnt"))?,
            pagesize: size,
        });
    }
    Ok(out)
}

/// From the best source that has counted anything: the scheduler of the disks (bfq, and cfq until Linux 5.0), else the
/// throttling layer, which counts on any kernel but knows only bytes and requests.
fn read_blkio(f: &Files) -> Result<Blkio> {
    for prefix in ["blkio.bfq.", "blkio."] {
        let entries = |name: &str| read_blkio_file(f, &format!("{prefix}{name}_recursive"));
        let io_serviced = entries("io_serviced")?;
        if !io_serviced.is_empty() {
            return Ok(Blkio {
                io_serviced,
                io_service_bytes: entries("io_service_bytes")?,
                io_queued: entries("io_queued")?,
                io_service_time: entries("io_service_time")?,
                io_wait_time: entries("io_wait_time")?,
                io_merged: entries("io_merged")?,
                io_time: entries("time")?,
                sectors: entries("sectors")?,
            });
        }
    }
    // The recursive files are there since Linux 5.0.
    for suffix in ["_recursive", ""] {
        let io_serviced = read_blkio_file(f, &format!("blkio.throttle.io_serviced{suffix}"))?;
        if !io_serviced.is_empty() {
            return Ok(Blkio {
                io_serviced,
                io_service_bytes: read_blkio_file(f, &format!("blkio.throttle.io_service_bytes{suffix}"))?,
                ..Blkio::default()
            });
        }
    }
    Ok(Blkio::default())
}

fn read_blkio_file(f: &Files, name: &str) -> Result<Vec<BlkioEntry>> {
    let mut entries = parse_blkio(&f.text(name)?.unwrap_or_default());
    for n in 0..entries.len() {
        // The lines of a device follow each other.
        let same = |a: &BlkioEntry, b: &BlkioEntry| (a.major, a.minor) == (b.major, b.minor);
        entries[n].device = match n.checked_sub(1).map(|before| &entries[before]) {
            Some(before) if same(before, &entries[n]) => before.device.clone(),
            _ => device_path(entries[n].major, entries[n].minor),
        };
    }
    Ok(entries)
}

/// Lines `8:0 Read 512` or `8:0 512`; the sum over all devices at the end is left out.
fn parse_blkio(text: &str) -> Vec<BlkioEntry> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (major, minor) = parse::device(words.next()?)?;
            let (op, value) = match (words.next()?, words.next()) {
                (op, Some(value)) => (op, value),
                (value, None) => ("", value),
            };
            Some(BlkioEntry {
                op: op.to_string(),
                device: String::new(),
                major,
                minor,
                value: value.parse().ok()?,
            })
        })
        .collect()
}

fn device_path(major: u64, minor: u64) -> String {
    let link = sys::fs::readlinkat(
        sys::fs::cwd().as_fd(),
        Path::new(&format!("/sys/dev/block/{major}:{minor}")),
    );
    let name = link
        .ok()
        .and_then(|l| Some(l.file_name()?.to_string_lossy().into_owned()));
    // sysfs has `!` for the slash in names like `cciss/c0d0`.
    name.map(|n| format!("/dev/{}", n.replace('!', "/")))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkio_lines_with_and_without_an_operation() {
        let found = parse_blkio("8:0 Read 7\n8:0 Total 9\n254:1 12\nTotal 21\n\n");
        let all: Vec<_> = found
            .iter()
            .map(|e| (e.major, e.minor, e.op.as_str(), e.value))
            .collect();
        assert_eq!(all, [(8, 0, "Read", 7), (8, 0, "Total", 9), (254, 1, "", 12)]);
    }

    #[test]
    fn a_device_that_is_gone_has_no_path() {
        assert_eq!(device_path(4095, 1048575), "");
    }
}
