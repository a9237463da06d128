//! The figures of a version 2 cgroup, under the names that the kernel gives them.
//!
//! May not: see the root cgroup of a host as a container; its files differ.

use super::{Pressure, Rdma, parse, pressure, rdma};
use crate::cgroup::{Files, Result};
use std::path::Path;

/// Everything. What is no `Option` is always answered, because consumers look into it without asking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// pids
    pub pids: Pids,
    /// cpu
    pub cpu: Cpu,
    /// memory
    pub memory: Memory,
    /// memory.events; `None` where nobody counts.
    pub memory_events: Option<MemoryEvents>,
    /// rdma: in use.
    pub rdma_current: Vec<Rdma>,
    /// rdma: limits.
    pub rdma_limit: Vec<Rdma>,
    /// io.stat
    pub io: Vec<Io>,
    /// io.pressure
    pub io_pressure: Option<Pressure>,
    /// hugetlb, one for each size of pages.
    pub hugetlb: Vec<Hugetlb>,
}

/// Processes and threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pids {
    /// How many there are.
    pub current: u64,
    /// The limit; the largest number stands for none.
    pub limit: u64,
}

/// Time of the processors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the names are those of cpu.stat
pub struct Cpu {
    pub usage_usec: u64,
    pub user_usec: u64,
    pub system_usec: u64,
    pub nr_periods: u64,
    pub nr_throttled: u64,
    pub throttled_usec: u64,
    pub nr_bursts: u64,
    pub burst_usec: u64,
    pub pressure: Option<Pressure>,
}

/// Memory.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the names are those of memory.stat
pub struct Memory {
    pub anon: u64,
    pub file: u64,
    pub kernel_stack: u64,
    pub slab: u64,
    pub sock: u64,
    pub shmem: u64,
    pub file_mapped: u64,
    pub file_dirty: u64,
    pub file_writeback: u64,
    pub anon_thp: u64,
    pub inactive_anon: u64,
    pub active_anon: u64,
    pub inactive_file: u64,
    pub active_file: u64,
    pub unevictable: u64,
    pub slab_reclaimable: u64,
    pub slab_unreclaimable: u64,
    pub pgfault: u64,
    pub pgmajfault: u64,
    /// Until Linux 5.9, which has the two below instead.
    pub workingset_refault: u64,
    pub workingset_refault_anon: u64,
    pub workingset_refault_file: u64,
    /// Until Linux 5.9, which has the two below instead.
    pub workingset_activate: u64,
    pub workingset_activate_anon: u64,
    pub workingset_activate_file: u64,
    pub workingset_nodereclaim: u64,
    pub pgrefill: u64,
    pub pgscan: u64,
    pub pgsteal: u64,
    pub pgactivate: u64,
    pub pgdeactivate: u64,
    pub pglazyfree: u64,
    pub pglazyfreed: u64,
    pub thp_fault_alloc: u64,
    pub thp_collapse_alloc: u64,
    /// memory.current
    pub usage: u64,
    /// memory.max; the largest number stands for none.
    pub usage_limit: u64,
    /// memory.peak
    pub max_usage: u64,
    /// memory.swap.current
    pub swap_usage: u64,
    /// memory.swap.max; the largest number stands for none.
    pub swap_limit: u64,
    /// memory.swap.peak
    pub swap_max_usage: u64,
    pub pressure: Option<Pressure>,
}

/// How often the memory limits were met, nested cgroups included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of memory.events
pub struct MemoryEvents {
    pub low: u64,
    pub high: u64,
    pub max: u64,
    pub oom: u64,
    pub oom_kill: u64,
    pub oom_group_kill: u64,
}

/// Traffic with one block device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are those of io.stat
pub struct Io {
    pub major: u64,
    pub minor: u64,
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// Huge pages of one size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hugetlb {
    /// `2MB`
    pub pagesize: String,
    /// Bytes in use.
    pub current: u64,
    /// The limit; the largest number stands for none.
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// Reads all figures.
///
/// # Errors
/// [`crate::cgroup::Error::NotFound`] when the cgroup is gone.
pub fn read(dir: &Path) -> Result<Metrics> {
    let files = Files::open(dir)?;
    let metrics = Metrics {
        pids: Pids {
            current: files.number_or_zero("pids.current")?,
            limit: files.number_or_zero("pids.max")?,
        },
        cpu: read_cpu(&files)?,
        memory: read_memory(&files)?,
        memory_events: read_memory_events(&files)?,
        rdma_current: rdma(&files, "rdma.current")?,
        rdma_limit: rdma(&files, "rdma.max")?,
        io: files
            .text("io.stat")?
            .as_deref()
            .map(parse_io)
            .unwrap_or_default(),
        io_pressure: pressure(&files, "io.pressure")?,
        hugetlb: read_hugetlb(&files)?,
    };
    files.still_there()?;
    Ok(metrics)
}

fn read_cpu(files: &Files) -> Result<Cpu> {
    let mut cpu = Cpu {
        pressure: pressure(files, "cpu.pressure")?,
        ..Cpu::default()
    };
    files.table("cpu.stat", |key, value| {
        let field = match key {
            "usage_usec" => &mut cpu.usage_usec,
            "user_usec" => &mut cpu.user_usec,
            "system_usec" => &mut cpu.system_usec,
            "nr_periods" => &mut cpu.nr_periods,
            "nr_throttled" => &mut cpu.nr_throttled,
            "throttled_usec" => &mut cpu.throttled_usec,
            "nr_bursts" => &mut cpu.nr_bursts,
            "burst_usec" => &mut cpu.burst_usec,
            _ => return,
        };
        *field = value;
    })?;
    Ok(cpu)
}

fn read_memory(files: &Files) -> Result<Memory> {
    let mut m = Memory {
        usage: files.number_or_zero("memory.current")?,
        usage_limit: files.number_or_zero("memory.max")?,
        max_usage: files.number_or_zero("memory.peak")?,
        swap_usage: files.number_or_zero("memory.swap.current")?,
        swap_limit: files.number_or_zero("memory.swap.max")?,
        swap_max_usage: files.number_or_zero("memory.swap.peak")?,
        pressure: pressure(files, "memory.pressure")?,
        ..Memory::default()
    };
    files.table("memory.stat", |key, value| {
        if let Some(field) = memory_field(&mut m, key) {
            *field = value;
        }
    })?;
    Ok(m)
}

fn memory_field<'a>(m: &'a mut Memory, key: &str) -> Option<&'a mut u64> {
    Some(match key {
        "anon" => &mut m.anon,
        "file" => &mut m.file,
        "kernel_stack" => &mut m.kernel_stack,
        "slab" => &mut m.slab,
        "sock" => &mut m.sock,
        "shmem" => &mut m.shmem,
        "file_mapped" => &mut m.file_mapped,
        "file_dirty" => &mut m.file_dirty,
        "file_writeback" => &mut m.file_writeback,
        "anon_thp" => &mut m.anon_thp,
        "inactive_anon" => &mut m.inactive_anon,
        "active_anon" => &mut m.active_anon,
        "inactive_file" => &mut m.inactive_file,
        "active_file" => &mut m.active_file,
        "unevictable" => &mut m.unevictable,
        "slab_reclaimable" => &mut m.slab_reclaimable,
        "slab_unreclaimable" => &mut m.slab_unreclaimable,
        "pgfault" => &mut m.pgfault,
        "pgmajfault" => &mut m.pgmajfault,
        "workingset_refault" => &mut m.workingset_refault,
        "workingset_refault_anon" => &mut m.workingset_refault_anon,
        "workingset_refault_file" => &mut m.workingset_refault_file,
        "workingset_activate" => &mut m.workingset_activate,
        "workingset_activate_anon" => &mut m.workingset_activate_anon,
        "workingset_activate_file" => &mut m.workingset_activate_file,
        "workingset_nodereclaim" => &mut m.workingset_nodereclaim,
        "pgrefill" => &mut m.pgrefill,
        "pgscan" => &mut m.pgscan,
        "pgsteal" => &mut m.pgsteal,
        "pgactivate" => &mut m.pgactivate,
        "pgdeactivate" => &mut m.pgdeactivate,
        "pglazyfree" => &mut m.pglazyfree,
        "pglazyfreed" => &mut m.pglazyfreed,
        "thp_fault_alloc" => &mut m.thp_fault_alloc,
        "thp_collapse_alloc" => &mut m.thp_collapse_alloc,
        _ => return None,
    })
}

fn read_memory_events(files: &Files) -> Result<Option<MemoryEvents>> {
    let mut events = MemoryEvents::default();
    let counted = files.table("memory.events", |key, value| {
        let field = match key {
            "low" => &mut events.low,
            "high" => &mut events.high,
            "max" => &mut events.max,
            "oom" => &mut events.oom,
            "oom_kill" => &mut events.oom_kill,
            "oom_group_kill" => &mut events.oom_group_kill,
            _ => return,
        };
        *field = value;
    })?;
    Ok(counted.then_some(events))
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`; a device without traffic has only its number.
fn parse_io(text: &str) -> Vec<Io> {
    text.lines()
        .filter_map(|line| {
            let (device, counters) = line.trim_end().split_once(' ')?;
            let (major, minor) = parse::device(device)?;
            let mut io = Io {
                major,
                minor,
                ..Io::default()
            };
            for (key, value) in counters.split(' ').filter_map(|w| w.split_once('=')) {
                let field = match key {
                    "rbytes" => &mut io.rbytes,
                    "wbytes" => &mut io.wbytes,
                    "rios" => &mut io.rios,
                    "wios" => &mut io.wios,
                    _ => continue,
                };
                *field = value.parse().unwrap_or(0);
            }
            Some(io)
        })
        .collect()
}

fn read_hugetlb(files: &Files) -> Result<Vec<Hugetlb>> {
    let mut out = Vec::new();
    for size in super::huge_page_sizes() {
        let Some(current) = files.number(&format!("hugetlb.{size}.current"))? else {
            continue;
        };
        let mut failcnt = 0;
        files.table(&format!("hugetlb.{size}.events"), |key, value| {
            if key == "max" {
                failcnt = value;
            }
        })?;
        out.push(Hugetlb {
            current,
            max: files.number_or_zero(&format!("hugetlb.{size}.max"))?,
            failcnt,
            pagesize: size,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_without_traffic_are_left_out() {
        let io = parse_io("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \n7:0 rbytes=9\nx\n");
        let (first, second) = ((8, 16, 1, 2, 3, 4), (7, 0, 9, 0, 0, 0));
        let all: Vec<_> = io
            .iter()
            .map(|i| (i.major, i.minor, i.rbytes, i.wbytes, i.rios, i.wios))
            .collect();
        assert_eq!(all, [first, second]);
    }
}
