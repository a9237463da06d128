//! What a container uses, measured by its cgroup, in the shape of `events`.
//!
//! May not: fail because a controller or a file is not there: what is not measured is zero. A file that is there and
//! reads as nonsense is an error.

use super::file;
use super::paths::{CgroupPaths, Dir};
use super::processes;
use crate::cli::stats::{
    Blkio, BlkioEntry, Cpu, CpuUsage, Cpuset, Hugetlb, Memory, MemoryEntry, Pids, Psi, PsiLine, Stats,
    Throttling,
};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

/// Reads everything but Intel RDT and network interfaces.
pub fn read(paths: &CgroupPaths) -> Result<Stats> {
    match paths {
        CgroupPaths::Unified { dir } => read_v2(&dir.path()),
        CgroupPaths::Legacy { .. } => read_v1(paths),
        CgroupPaths::None => Ok(Stats::default()),
    }
}

/// A directory and its files as numbers and tables.
struct Files<'a>(&'a Path);

impl Files<'_> {
    fn text(&self, name: &str) -> Result<Option<String>> {
        match file::read_if_there(self.0, name) {
            // Pressure files of kernels that were booted without psi=1.
            Err(e) if e.is(libc::EOPNOTSUPP) => Ok(None),
            other => other,
        }
    }

    fn bad(&self, name: &str, text: &str) -> Error {
        Error::new(format!(
            "unable to parse {}: {text:?}",
            self.0.join(name).display()
        ))
    }

    /// `max` is the largest number; a negative number, which v1 shows after an underflow, is 0.
    fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        parse_number(text.trim())
            .map(Some)
            .ok_or_else(|| self.bad(name, &text))
    }

    fn number_or_zero(&self, name: &str) -> Result<u64> {
        Ok(self.number(name)?.unwrap_or(0))
    }

    /// Lines `key value`.
    fn table(&self, name: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(name)?.unwrap_or_default();
        text.lines()
            .map(|l| {
                let (key, value) = l.split_once(' ')?;
                Some((key.to_string(), parse_number(value.trim())?))
            })
            .collect::<Option<_>>()
            .ok_or_else(|| self.bad(name, &text))
    }

    /// Words that are numbers.
    fn row(&self, name: &str) -> Result<Vec<u64>> {
        let text = self.text(name)?.unwrap_or_default();
        text.split_whitespace()
            .map(parse_number)
            .collect::<Option<_>>()
            .ok_or_else(|| self.bad(name, &text))
    }

    fn psi(&self, name: &str) -> Result<Option<Psi>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        parse_psi(&text).map(Some).ok_or_else(|| self.bad(name, &text))
    }

    fn list(&self, name: &str) -> Result<Vec<u16>> {
        let text = self.text(name)?.unwrap_or_default();
        parse_list(text.trim()).ok_or_else(|| self.bad(name, &text))
    }

    /// The page sizes for which the directory has huge page files.
    fn page_sizes(&self, suffix: &str) -> Result<Vec<String>> {
        let dir = match sys::fs::open(self.0, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
            Ok(dir) => dir,
            Err(e) if e.is(libc::ENOENT) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        };
        Ok(sys::fs::entries(dir.as_fd())?
            .iter()
            .filter_map(|n| n.to_str()?.strip_prefix("hugetlb.")?.strip_suffix(suffix))
            .filter(|size| !size.contains('.'))
            .map(str::to_string)
            .collect())
    }
}

fn parse_number(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(u64::MAX);
    }
    match text.strip_prefix('-') {
        Some(digits) => digits.parse::<u64>().ok().map(|_| 0),
        None => text.parse().ok(),
    }
}

/// `0-3,7` as numbers; empty is none.
fn parse_list(text: &str) -> Option<Vec<u16>> {
    let mut out = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty()) {
        match part.split_once('-') {
            None => out.push(part.parse().ok()?),
            Some((from, to)) => out.extend(from.parse::<u16>().ok()?..=to.parse().ok()?),
        }
    }
    Some(out)
}

fn parse_psi(text: &str) -> Option<Psi> {
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let into = match words.next()? {
            "some" => &mut psi.some,
            "full" => &mut psi.full,
            _ => continue,
        };
        *into = parse_psi_line(words)?;
    }
    Some(psi)
}

fn parse_psi_line<'a>(words: impl Iterator<Item = &'a str>) -> Option<PsiLine> {
    let mut line = PsiLine::default();
    for word in words {
        let (key, value) = word.split_once('=')?;
        match key {
            "avg10" => line.avg10 = value.parse().ok()?,
            "avg60" => line.avg60 = value.parse().ok()?,
            "avg300" => line.avg300 = value.parse().ok()?,
            "total" => line.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(line)
}

fn read_v1(paths: &CgroupPaths) -> Result<Stats> {
    let mut out = Stats::default();
    let dir = |controller: &str| paths.dir_of(controller).map(Dir::path);
    if let Some(path) = dir("cpu") {
        out.cpu.throttling = v1_throttling(&Files(&path))?;
    }
    if let Some(path) = dir("cpuacct") {
        out.cpu.usage = v1_cpu_usage(&Files(&path))?;
    }
    if let Some(path) = dir("cpuset") {
        out.cpuset = v1_cpuset(&Files(&path))?;
    }
    if let Some(path) = dir("memory") {
        out.memory = v1_memory(&Files(&path))?;
    }
    if let Some(path) = dir("pids") {
        out.pids = pids_of(&Files(&path))?;
    }
    if let Some(path) = dir("blkio") {
        out.blkio = v1_blkio(&Files(&path))?;
    }
    if let Some(path) = dir("hugetlb") {
        out.hugetlb = v1_hugetlb(&Files(&path))?;
    }
    Ok(out)
}

fn v1_throttling(f: &Files<'_>) -> Result<Throttling> {
    let stat = f.table("cpu.stat")?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    Ok(Throttling {
        periods: get("nr_periods"),
        throttled_periods: get("nr_throttled"),
        throttled_time: get("throttled_time"),
    })
}

/// USER_HZ, in which cpuacct.stat counts, is 100 on every Linux CPU that we know: nanoseconds per tick.
const TICK: u64 = 1_000_000_000 / 100;

fn v1_cpu_usage(f: &Files<'_>) -> Result<CpuUsage> {
    let stat = f.table("cpuacct.stat")?;
    let ticks = |key: &str| stat.get(key).copied().unwrap_or(0).saturating_mul(TICK);
    let mut out = CpuUsage {
        total: f.number_or_zero("cpuacct.usage")?,
        percpu: f.row("cpuacct.usage_percpu")?,
        kernel: ticks("system"),
        user: ticks("user"),
        ..CpuUsage::default()
    };
    let all = f.text("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut words = line.split(' ').skip(1).map(parse_number);
        match (words.next(), words.next()) {
            (Some(Some(user)), Some(Some(kernel))) => {
                out.percpu_user.push(user);
                out.percpu_kernel.push(kernel);
            }
            _ => return Err(f.bad("cpuacct.usage_all", line)),
        }
    }
    Ok(out)
}

fn v1_cpuset(f: &Files<'_>) -> Result<Cpuset> {
    let domain = "cpuset.sched_relax_domain_level";
    let level = f.text(domain)?;
    Ok(Cpuset {
        cpus: f.list("cpuset.cpus")?,
        cpu_exclusive: f.number_or_zero("cpuset.cpu_exclusive")?,
        mems: f.list("cpuset.mems")?,
        mem_hardwall: f.number_or_zero("cpuset.mem_hardwall")?,
        mem_exclusive: f.number_or_zero("cpuset.mem_exclusive")?,
        memory_migrate: f.number_or_zero("cpuset.memory_migrate")?,
        memory_spread_page: f.number_or_zero("cpuset.memory_spread_page")?,
        memory_spread_slab: f.number_or_zero("cpuset.memory_spread_slab")?,
        memory_pressure: f.number_or_zero("cpuset.memory_pressure")?,
        sched_load_balance: f.number_or_zero("cpuset.sched_load_balance")?,
        sched_relax_domain_level: match &level {
            None => 0,
            Some(text) => text.trim().parse().map_err(|_| f.bad(domain, text))?,
        },
    })
}

fn v1_memory(f: &Files<'_>) -> Result<Memory> {
    let raw = f.table("memory.stat")?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: v1_memory_entry(f, "memory")?,
        swap: v1_memory_entry(f, "memory.memsw")?,
        kernel: v1_memory_entry(f, "memory.kmem")?,
        kernel_tcp: v1_memory_entry(f, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

/// Swap and kernel memory are options of the kernel.
fn v1_memory_entry(f: &Files<'_>, prefix: &str) -> Result<MemoryEntry> {
    let get = |name: &str| f.number_or_zero(&format!("{prefix}.{name}"));
    Ok(MemoryEntry {
        limit: get("limit_in_bytes")?,
        usage: get("usage_in_bytes")?,
        max: get("max_usage_in_bytes")?,
        failcnt: get("failcnt")?,
    })
}

/// No limit is 0 here, as it has always been.
fn pids_of(f: &Files<'_>) -> Result<Pids> {
    let limit = f.number_or_zero("pids.max")?;
    let current = match f.number("pids.current")? {
        Some(n) => n,
        None => processes::directly_in(f.0)?.len() as u64,
    };
    Ok(Pids {
        current,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

fn v1_hugetlb(f: &Files<'_>) -> Result<BTreeMap<String, Hugetlb>> {
    let mut out = BTreeMap::new();
    for size in f.page_sizes(".usage_in_bytes")? {
        // The reservations are what limits are checked against, where the kernel counts them.
        let reserved = format!("hugetlb.{size}.rsvd");
        let prefix = match f.number(&format!("{reserved}.usage_in_bytes"))? {
            Some(_) => reserved,
            None => format!("hugetlb.{size}"),
        };
        let entry = Hugetlb {
            usage: f.number_or_zero(&format!("{prefix}.usage_in_bytes"))?,
            max: f.number_or_zero(&format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: f.number_or_zero(&format!("{prefix}.failcnt"))?,
        };
        out.insert(size, entry);
    }
    Ok(out)
}

/// Where a table of block device numbers comes from, best source first: the first group whose first file says anything
/// is taken whole.
fn v1_blkio(f: &Files<'_>) -> Result<Blkio> {
    let mut out = Blkio::default();
    for prefix in ["blkio.bfq.", "blkio."] {
        out.sectors = blkio_table(f, &format!("{prefix}sectors_recursive"))?;
        if !out.sectors.is_empty() {
            out.service_time = blkio_table(f, &format!("{prefix}io_service_time_recursive"))?;
            out.wait_time = blkio_table(f, &format!("{prefix}io_wait_time_recursive"))?;
            out.merged = blkio_table(f, &format!("{prefix}io_merged_recursive"))?;
            out.queued = blkio_table(f, &format!("{prefix}io_queued_recursive"))?;
            out.time = blkio_table(f, &format!("{prefix}time_recursive"))?;
        }
        out.serviced = blkio_table(f, &format!("{prefix}io_serviced_recursive"))?;
        if !out.serviced.is_empty() {
            out.service_bytes = blkio_table(f, &format!("{prefix}io_service_bytes_recursive"))?;
            return Ok(out);
        }
    }
    for suffix in ["_recursive", ""] {
        out.serviced = blkio_table(f, &format!("blkio.throttle.io_serviced{suffix}"))?;
        if !out.serviced.is_empty() {
            out.service_bytes = blkio_table(f, &format!("blkio.throttle.io_service_bytes{suffix}"))?;
            break;
        }
    }
    Ok(out)
}

/// Lines `8:0 Read 512` or `8:0 512`; the sum at the end is left out.
fn blkio_table(f: &Files<'_>, name: &str) -> Result<Vec<BlkioEntry>> {
    let text = f.text(name)?.unwrap_or_default();
    parse_blkio(&text).ok_or_else(|| f.bad(name, &text))
}

fn parse_blkio(text: &str) -> Option<Vec<BlkioEntry>> {
    let mut out = Vec::new();
    for line in text.lines().filter(|l| !l.starts_with("Total ")) {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.split_once(' ').unwrap_or(("", rest));
        out.push(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_string(),
            value: value.trim().parse().ok()?,
        });
    }
    Some(out)
}

fn read_v2(path: &Path) -> Result<Stats> {
    let f = Files(path);
    Ok(Stats {
        cpu: v2_cpu(&f)?,
        memory: v2_memory(&f)?,
        pids: pids_of(&f)?,
        blkio: v2_io(&f)?,
        hugetlb: v2_hugetlb(&f)?,
        ..Stats::default()
    })
}

fn v2_cpu(f: &Files<'_>) -> Result<Cpu> {
    let stat = f.table("cpu.stat")?;
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| get(key).saturating_mul(1000);
    Ok(Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: get("nr_periods"),
            throttled_periods: get("nr_throttled"),
            throttled_time: nanoseconds("throttled_usec"),
        },
        psi: f.psi("cpu.pressure")?,
    })
}

fn v2_memory(f: &Files<'_>) -> Result<Memory> {
    let raw = f.table("memory.stat")?;
    let entry = |prefix: &str| -> Result<Option<MemoryEntry>> {
        let Some(usage) = f.number(&format!("{prefix}.current"))? else {
            return Ok(None);
        };
        Ok(Some(MemoryEntry {
            limit: f.number_or_zero(&format!("{prefix}.max"))?,
            usage,
            max: f.number_or_zero(&format!("{prefix}.peak"))?,
            failcnt: 0,
        }))
    };
    let usage = entry("memory")?;
    let swap = entry("memory.swap")?.unwrap_or_default();
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        swap: usage
            .as_ref()
            .map(|memory| with_swap(memory, &swap))
            .unwrap_or_default(),
        usage: usage.unwrap_or_default(),
        raw,
        psi: f.psi("memory.pressure")?,
        ..Memory::default()
    })
}

/// v1 counts memory and swap together, and that is what readers of the shape expect. The peak of a sum is not the
/// sum of the peaks, so there is none.
fn with_swap(memory: &MemoryEntry, swap: &MemoryEntry) -> MemoryEntry {
    MemoryEntry {
        limit: swap.limit.saturating_add(memory.limit),
        usage: swap.usage.saturating_add(memory.usage),
        max: 0,
        failcnt: swap.failcnt,
    }
}

fn v2_io(f: &Files<'_>) -> Result<Blkio> {
    let text = f.text("io.stat")?.unwrap_or_default();
    let mut out = parse_io_stat(&text).ok_or_else(|| f.bad("io.stat", &text))?;
    out.psi = f.psi("io.pressure")?;
    Ok(out)
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn parse_io_stat(text: &str) -> Option<Blkio> {
    let mut out = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|d| d.split_once(':')) else {
            continue; // the kernel prints (unknown) for a device that is gone
        };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (table, op) = match key {
                "rbytes" => (&mut out.service_bytes, "Read"),
                "wbytes" => (&mut out.service_bytes, "Write"),
                "rios" => (&mut out.serviced, "Read"),
                "wios" => (&mut out.serviced, "Write"),
                _ => continue,
            };
            table.push(BlkioEntry {
                major,
                minor,
                op: op.to_string(),
                value: value.parse().ok()?,
            });
        }
    }
    Some(out)
}

fn v2_hugetlb(f: &Files<'_>) -> Result<BTreeMap<String, Hugetlb>> {
    let mut out = BTreeMap::new();
    for size in f.page_sizes(".current")? {
        let usage = match f.number(&format!("hugetlb.{size}.rsvd.current"))? {
            Some(n) => n,
            None => f.number_or_zero(&format!("hugetlb.{size}.current"))?,
        };
        let events = f.table(&format!("hugetlb.{size}.events"))?;
        let entry = Hugetlb {
            usage,
            max: 0,
            failcnt: events.get("max").copied().unwrap_or(0),
        };
        out.insert(size, entry);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_cgroupfs_writes_them() {
        for (text, expected) in [
            ("17", Some(17)),
            ("max", Some(u64::MAX)),
            ("-1", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("", None),
            ("x", None),
            ("-x", None),
        ] {
            assert_eq!(parse_number(text), expected, "{text}");
        }
        assert_eq!(parse_list("0-2,7"), Some(vec![0, 1, 2, 7]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("0-x"), None);
    }

    #[test]
    fn pressure() {
        let psi = parse_psi(
            "some avg10=0.50 avg60=1.25 avg300=99.99 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.01 total=8\n",
        )
        .unwrap();
        assert_eq!(
            (psi.some.avg10, psi.some.avg60, psi.some.avg300, psi.some.total),
            (0.5, 1.25, 99.99, 7)
        );
        assert_eq!((psi.full.avg300, psi.full.total), (0.01, 8));
        assert_eq!(parse_psi("some avg10=a"), None);
    }

    #[test]
    fn block_devices() {
        let v1 = parse_blkio("8:0 Read 12\n8:0 Total 12\n7:1 9\nTotal 21\n").unwrap();
        let short: Vec<_> = v1
            .iter()
            .map(|e| (e.major, e.minor, e.op.as_str(), e.value))
            .collect();
        assert_eq!(short, [(8, 0, "Read", 12), (8, 0, "Total", 12), (7, 1, "", 9)]);
        let v2 = parse_io_stat("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n(unknown) rbytes=1\n")
            .unwrap();
        let short = |t: &[BlkioEntry]| {
            t.iter()
                .map(|e| (e.major, e.minor, e.op.clone(), e.value))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            short(&v2.service_bytes),
            [(8, 16, "Read".into(), 1), (8, 16, "Write".into(), 2)]
        );
        assert_eq!(
            short(&v2.serviced),
            [(8, 16, "Read".into(), 3), (8, 16, "Write".into(), 4)]
        );
    }

    #[test]
    fn memory_and_swap_are_one_number() {
        let memory = MemoryEntry {
            limit: 100,
            usage: 10,
            max: 50,
            failcnt: 3,
        };
        let swap = MemoryEntry {
            limit: 30,
            usage: 5,
            max: 7,
            failcnt: 0,
        };
        let sum = MemoryEntry {
            limit: 130,
            usage: 15,
            max: 0,
            failcnt: 0,
        };
        assert_eq!(with_swap(&memory, &swap), sum);
        let unlimited = MemoryEntry {
            limit: u64::MAX,
            ..swap
        };
        assert_eq!(with_swap(&memory, &unlimited).limit, u64::MAX);
    }
}
