//! Figures of a container as containerd's messages.
//!
//! May not: measure, or leave out a part that consumers look into without asking: what the library always answers is always
//! there.

use shim::metrics::{self, Metrics, Network, Pressure, PressureLine, Rdma};

use crate::proto::google::Any;
use crate::proto::metrics::{v1, v2};

/// The message of the version that the figures are of: consumers switch on its name, and read the other shape as zeros.
pub fn encode(metrics: Metrics, network: Vec<Network>) -> Any {
    match metrics {
        Metrics::V1(m) => Any::of(&of_v1(*m, network)),
        Metrics::V2(m) => Any::of(&of_v2(*m, network)),
    }
}

fn of_v1(m: metrics::v1::Metrics, network: Vec<Network>) -> v1::Metrics {
    let hugetlb = m.hugetlb.into_iter().map(|h| v1::HugetlbStat {
        usage: h.usage,
        max: h.max,
        failcnt: h.failcnt,
        pagesize: h.pagesize,
    });
    v1::Metrics {
        hugetlb: hugetlb.collect(),
        pids: m.pids.map(|p| v1::PidsStat {
            current: p.current,
            limit: p.limit,
        }),
        cpu: Some(v1::CpuStat {
            usage: Some(v1::CpuUsage {
                total: m.cpu.total,
                kernel: m.cpu.kernel,
                user: m.cpu.user,
                per_cpu: m.cpu.per_cpu,
            }),
            throttling: Some(v1::Throttle {
                periods: m.cpu.periods,
                throttled_periods: m.cpu.throttled_periods,
                throttled_time: m.cpu.throttled_time,
            }),
        }),
        memory: m.memory.map(memory_of_v1),
        blkio: m.blkio.map(blkio),
        rdma: m.rdma.map(|r| v1::RdmaStat {
            current: r.current.into_iter().map(rdma_of_v1).collect(),
            limit: r.limit.into_iter().map(rdma_of_v1).collect(),
        }),
        network: network.into_iter().map(network_of_v1).collect(),
        // Nobody measures it.
        cgroup_stats: None,
        memory_oom_control: m.memory_oom_control.map(|o| v1::MemoryOomControl {
            oom_kill_disable: o.oom_kill_disable,
            under_oom: o.under_oom,
            oom_kill: o.oom_kill,
        }),
    }
}

fn memory_of_v1(m: metrics::v1::Memory) -> v1::MemoryStat {
    v1::MemoryStat {
        cache: m.own.cache,
        rss: m.own.rss,
        rss_huge: m.own.rss_huge,
        mapped_file: m.own.mapped_file,
        dirty: m.own.dirty,
        writeback: m.own.writeback,
        pg_pg_in: m.own.pgpgin,
        pg_pg_out: m.own.pgpgout,
        pg_fault: m.own.pgfault,
        pg_maj_fault: m.own.pgmajfault,
        inactive_anon: m.own.inactive_anon,
        active_anon: m.own.active_anon,
        inactive_file: m.own.inactive_file,
        active_file: m.own.active_file,
        unevictable: m.own.unevictable,
        hierarchical_memory_limit: m.hierarchical_memory_limit,
        hierarchical_swap_limit: m.hierarchical_swap_limit,
        total_cache: m.total.cache,
        total_rss: m.total.rss,
        total_rss_huge: m.total.rss_huge,
        total_mapped_file: m.total.mapped_file,
        total_dirty: m.total.dirty,
        total_writeback: m.total.writeback,
        total_pg_pg_in: m.total.pgpgin,
        total_pg_pg_out: m.total.pgpgout,
        total_pg_fault: m.total.pgfault,
        total_pg_maj_fault: m.total.pgmajfault,
        total_inactive_anon: m.total.inactive_anon,
        total_active_anon: m.total.active_anon,
        total_inactive_file: m.total.inactive_file,
        total_active_file: m.total.active_file,
        total_unevictable: m.total.unevictable,
        usage: Some(memory_entry(m.usage)),
        swap: Some(memory_entry(m.swap)),
        kernel: Some(memory_entry(m.kernel)),
        kernel_tcp: Some(memory_entry(m.kernel_tcp)),
    }
}

fn memory_entry(e: metrics::v1::MemoryEntry) -> v1::MemoryEntry {
    v1::MemoryEntry {
        limit: e.limit,
        usage: e.usage,
        max: e.max,
        failcnt: e.failcnt,
    }
}

fn blkio(b: metrics::v1::Blkio) -> v1::BlkIoStat {
    let entries = |all: Vec<metrics::v1::BlkioEntry>| {
        let all = all.into_iter().map(|e| v1::BlkIoEntry {
            op: e.op,
            device: e.device,
            major: e.major,
            minor: e.minor,
            value: e.value,
        });
        all.collect()
    };
    v1::BlkIoStat {
        io_service_bytes_recursive: entries(b.io_service_bytes),
        io_serviced_recursive: entries(b.io_serviced),
        io_queued_recursive: entries(b.io_queued),
        io_service_time_recursive: entries(b.io_service_time),
        io_wait_time_recursive: entries(b.io_wait_time),
        io_merged_recursive: entries(b.io_merged),
        io_time_recursive: entries(b.io_time),
        sectors_recursive: entries(b.sectors),
    }
}

fn rdma_of_v1(r: Rdma) -> v1::RdmaEntry {
    v1::RdmaEntry {
        device: r.device,
        hca_handles: r.hca_handles,
        hca_objects: r.hca_objects,
    }
}

fn network_of_v1(n: Network) -> v1::NetworkStat {
    v1::NetworkStat {
        name: n.name,
        rx_bytes: n.rx_bytes,
        rx_packets: n.rx_packets,
        rx_errors: n.rx_errors,
        rx_dropped: n.rx_dropped,
        tx_bytes: n.tx_bytes,
        tx_packets: n.tx_packets,
        tx_errors: n.tx_errors,
        tx_dropped: n.tx_dropped,
    }
}

fn of_v2(m: metrics::v2::Metrics, network: Vec<Network>) -> v2::Metrics {
    let usage = m.io.into_iter().map(|i| v2::IoEntry {
        major: i.major,
        minor: i.minor,
        rbytes: i.rbytes,
        wbytes: i.wbytes,
        rios: i.rios,
        wios: i.wios,
    });
    let hugetlb = m.hugetlb.into_iter().map(|h| v2::HugetlbStat {
        current: h.current,
        max: h.max,
        pagesize: h.pagesize,
        failcnt: h.failcnt,
    });
    v2::Metrics {
        pids: Some(v2::PidsStat {
            current: m.pids.current,
            limit: m.pids.limit,
        }),
        cpu: Some(v2::CpuStat {
            usage_usec: m.cpu.usage_usec,
            user_usec: m.cpu.user_usec,
            system_usec: m.cpu.system_usec,
            nr_periods: m.cpu.nr_periods,
            nr_throttled: m.cpu.nr_throttled,
            throttled_usec: m.cpu.throttled_usec,
            psi: m.cpu.pressure.map(psi),
            nr_bursts: m.cpu.nr_bursts,
            burst_usec: m.cpu.burst_usec,
        }),
        memory: Some(memory_of_v2(m.memory)),
        rdma: Some(v2::RdmaStat {
            current: m.rdma_current.into_iter().map(rdma_of_v2).collect(),
            limit: m.rdma_limit.into_iter().map(rdma_of_v2).collect(),
        }),
        io: Some(v2::IoStat {
            usage: usage.collect(),
            psi: m.io_pressure.map(psi),
        }),
        hugetlb: hugetlb.collect(),
        memory_events: m.memory_events.map(|e| v2::MemoryEvents {
            low: e.low,
            high: e.high,
            max: e.max,
            oom: e.oom,
            oom_kill: e.oom_kill,
            oom_group_kill: e.oom_group_kill,
        }),
        network: network.into_iter().map(network_of_v2).collect(),
    }
}

fn memory_of_v2(m: metrics::v2::Memory) -> v2::MemoryStat {
    v2::MemoryStat {
        anon: m.anon,
        file: m.file,
        kernel_stack: m.kernel_stack,
        slab: m.slab,
        sock: m.sock,
        shmem: m.shmem,
        file_mapped: m.file_mapped,
        file_dirty: m.file_dirty,
        file_writeback: m.file_writeback,
        anon_thp: m.anon_thp,
        inactive_anon: m.inactive_anon,
        active_anon: m.active_anon,
        inactive_file: m.inactive_file,
        active_file: m.active_file,
        unevictable: m.unevictable,
        slab_reclaimable: m.slab_reclaimable,
        slab_unreclaimable: m.slab_unreclaimable,
        pgfault: m.pgfault,
        pgmajfault: m.pgmajfault,
        workingset_refault: m.workingset_refault,
        workingset_activate: m.workingset_activate,
        workingset_nodereclaim: m.workingset_nodereclaim,
        pgrefill: m.pgrefill,
        pgscan: m.pgscan,
        pgsteal: m.pgsteal,
        pgactivate: m.pgactivate,
        pgdeactivate: m.pgdeactivate,
        pglazyfree: m.pglazyfree,
        pglazyfreed: m.pglazyfreed,
        thp_fault_alloc: m.thp_fault_alloc,
        thp_collapse_alloc: m.thp_collapse_alloc,
        usage: m.usage,
        usage_limit: m.usage_limit,
        swap_usage: m.swap_usage,
        swap_limit: m.swap_limit,
        max_usage: m.max_usage,
        swap_max_usage: m.swap_max_usage,
        psi: m.pressure.map(psi),
        workingset_refault_anon: m.workingset_refault_anon,
        workingset_refault_file: m.workingset_refault_file,
        workingset_activate_anon: m.workingset_activate_anon,
        workingset_activate_file: m.workingset_activate_file,
    }
}

fn psi(p: Pressure) -> v2::PsiStats {
    let line = |l: PressureLine| v2::PsiData {
        avg10: l.avg10,
        avg60: l.avg60,
        avg300: l.avg300,
        total: l.total,
    };
    v2::PsiStats {
        some: p.some.map(line),
        full: p.full.map(line),
    }
}

fn rdma_of_v2(r: Rdma) -> v2::RdmaEntry {
    v2::RdmaEntry {
        device: r.device,
        hca_handles: r.hca_handles,
        hca_objects: r.hca_objects,
    }
}

fn network_of_v2(n: Network) -> v2::NetworkStat {
    v2::NetworkStat {
        name: n.name,
        rx_bytes: n.rx_bytes,
        rx_packets: n.rx_packets,
        rx_errors: n.rx_errors,
        rx_dropped: n.rx_dropped,
        tx_bytes: n.tx_bytes,
        tx_packets: n.tx_packets,
        tx_errors: n.tx_errors,
        tx_dropped: n.tx_dropped,
    }
}

/// Each figure has the number of its field as value, so the bytes show a swapped pair.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{key, number, same, text};
    use metrics::{v1 as from1, v2 as from2};

    fn eth0() -> Vec<Network> {
        vec![Network {
            name: "eth0".into(),
            rx_bytes: 2,
            rx_packets: 3,
            rx_errors: 4,
            rx_dropped: 5,
            tx_bytes: 6,
            tx_packets: 7,
            tx_errors: 8,
            tx_dropped: 9,
        }]
    }

    /// The fields of a range, each with its own number as value.
    fn numbers(fields: impl Iterator<Item = u8>) -> Vec<u8> {
        fields.flat_map(|n| number(n, n)).collect()
    }

    fn eth0_bytes() -> Vec<u8> {
        [text(1, "eth0"), numbers(2..=9)].concat()
    }

    fn rdma(device: &str) -> Vec<Rdma> {
        vec![Rdma {
            device: device.into(),
            hca_handles: 2,
            hca_objects: 3,
        }]
    }

    fn rdma_bytes(device: &str) -> Vec<u8> {
        [text(1, device), numbers(2..=3)].concat()
    }

    fn encoded1(m: from1::Metrics, network: Vec<Network>) -> v1::Metrics {
        encode(Metrics::V1(Box::new(m)), network)
            .unpack()
            .unwrap()
            .unwrap()
    }

    fn encoded2(m: from2::Metrics, network: Vec<Network>) -> v2::Metrics {
        encode(Metrics::V2(Box::new(m)), network)
            .unpack()
            .unwrap()
            .unwrap()
    }

    #[test]
    fn the_name_says_the_version() {
        let name = |m| encode(m, Vec::new()).type_url;
        assert_eq!(
            name(Metrics::V1(Box::default())),
            "io.containerd.cgroups.v1.Metrics"
        );
        assert_eq!(
            name(Metrics::V2(Box::default())),
            "io.containerd.cgroups.v2.Metrics"
        );
    }

    #[test]
    fn v1_without_controllers_has_the_processor() {
        let empty = [text(1, ""), text(2, "")].concat();
        same(
            &encoded1(from1::Metrics::default(), Vec::new()),
            &[text(3, empty)],
        );
    }

    #[test]
    fn v1_but_memory_and_blkio() {
        let m = from1::Metrics {
            hugetlb: vec![from1::Hugetlb {
                usage: 1,
                max: 2,
                failcnt: 3,
                pagesize: "2MB".into(),
            }],
            pids: Some(from1::Pids { current: 1, limit: 2 }),
            cpu: from1::Cpu {
                total: 1,
                kernel: 2,
                user: 3,
                per_cpu: vec![4, 5],
                periods: 1,
                throttled_periods: 2,
                throttled_time: 3,
            },
            rdma: Some(from1::RdmaUse {
                current: rdma("now"),
                limit: rdma("most"),
            }),
            memory_oom_control: Some(from1::OomControl {
                oom_kill_disable: 1,
                under_oom: 2,
                oom_kill: 3,
            }),
            ..from1::Metrics::default()
        };
        let usage = [numbers(1..=3), text(4, [4, 5])].concat();
        let rdma = [text(1, rdma_bytes("now")), text(2, rdma_bytes("most"))].concat();
        same(
            &encoded1(m, eth0()),
            &[
                text(1, [numbers(1..=3), text(4, "2MB")].concat()),
                text(2, numbers(1..=2)),
                text(3, [text(1, usage), text(2, numbers(1..=3))].concat()),
                text(6, rdma),
                text(7, eth0_bytes()),
                text(9, numbers(1..=3)),
            ],
        );
    }

    #[test]
    fn v1_memory() {
        let pages = |first: u64| from1::Pages {
            cache: first,
            rss: first + 1,
            rss_huge: first + 2,
            mapped_file: first + 3,
            dirty: first + 4,
            writeback: first + 5,
            pgpgin: first + 6,
            pgpgout: first + 7,
            pgfault: first + 8,
            pgmajfault: first + 9,
            inactive_anon: first + 10,
            active_anon: first + 11,
            inactive_file: first + 12,
            active_file: first + 13,
            unevictable: first + 14,
        };
        let entry = |first: u64| from1::MemoryEntry {
            limit: first,
            usage: first + 1,
            max: first + 2,
            failcnt: first + 3,
        };
        let memory = from1::Memory {
            own: pages(1),
            hierarchical_memory_limit: 16,
            hierarchical_swap_limit: 17,
            total: pages(18),
            usage: entry(10),
            swap: entry(20),
            kernel: entry(30),
            kernel_tcp: entry(40),
        };
        let m = from1::Metrics {
            memory: Some(memory),
            ..from1::Metrics::default()
        };
        let entry = |first: u8| (0..4).flat_map(|n| number(n + 1, first + n)).collect::<Vec<u8>>();
        same(
            &encoded1(m, Vec::new()).memory.unwrap(),
            &[
                numbers(1..=32),
                text(33, entry(10)),
                text(34, entry(20)),
                text(35, entry(30)),
                text(36, entry(40)),
            ],
        );
    }

    #[test]
    fn v1_blkio() {
        // The field is the device: all of them look alike.
        let entries = |field: u64| {
            vec![from1::BlkioEntry {
                op: "Read".into(),
                device: format!("/dev/{field}"),
                major: 3,
                minor: 4,
                value: 5,
            }]
        };
        let blkio = from1::Blkio {
            io_service_bytes: entries(1),
            io_serviced: entries(2),
            io_queued: entries(3),
            io_service_time: entries(4),
            io_wait_time: entries(5),
            io_merged: entries(6),
            io_time: entries(7),
            sectors: entries(8),
        };
        let m = from1::Metrics {
            blkio: Some(blkio),
            ..from1::Metrics::default()
        };
        let wanted: Vec<_> = (1..=8)
            .map(|field| {
                let device = text(2, format!("/dev/{field}"));
                text(field, [text(1, "Read"), device, numbers(3..=5)].concat())
            })
            .collect();
        same(&encoded1(m, Vec::new()).blkio.unwrap(), &wanted);
    }

    /// Pressure with the numbers from `first` on.
    fn pressure(first: u8) -> Option<Pressure> {
        let line = |first: u8| PressureLine {
            avg10: f64::from(first),
            avg60: f64::from(first + 1),
            avg300: f64::from(first + 2),
            total: u64::from(first + 3),
        };
        Some(Pressure {
            some: Some(line(first)),
            full: Some(line(first + 4)),
        })
    }

    fn pressure_bytes(first: u8) -> Vec<u8> {
        let double = |field: u8, value: u8| [key(field, 1), f64::from(value).to_le_bytes().to_vec()].concat();
        let line = |first: u8| {
            let averages = (0..3).flat_map(|n| double(n + 1, first + n));
            averages.chain(number(4, first + 3)).collect::<Vec<u8>>()
        };
        [text(1, line(first)), text(2, line(first + 4))].concat()
    }

    #[test]
    fn v2_but_memory() {
        let m = from2::Metrics {
            pids: from2::Pids { current: 1, limit: 2 },
            cpu: from2::Cpu {
                usage_usec: 1,
                user_usec: 2,
                system_usec: 3,
                nr_periods: 4,
                nr_throttled: 5,
                throttled_usec: 6,
                pressure: pressure(50),
                nr_bursts: 8,
                burst_usec: 9,
            },
            memory_events: Some(from2::MemoryEvents {
                low: 1,
                high: 2,
                max: 3,
                oom: 4,
                oom_kill: 5,
                oom_group_kill: 6,
            }),
            rdma_current: rdma("now"),
            rdma_limit: rdma("most"),
            io: vec![from2::Io {
                major: 1,
                minor: 2,
                rbytes: 3,
                wbytes: 4,
                rios: 5,
                wios: 6,
            }],
            io_pressure: pressure(60),
            hugetlb: vec![from2::Hugetlb {
                current: 1,
                max: 2,
                pagesize: "2MB".into(),
                failcnt: 4,
            }],
            ..from2::Metrics::default()
        };
        let rdma = [text(1, rdma_bytes("now")), text(2, rdma_bytes("most"))].concat();
        let cpu = [numbers(1..=6), text(7, pressure_bytes(50)), numbers(8..=9)].concat();
        same(
            &encoded2(m, eth0()),
            &[
                text(1, numbers(1..=2)),
                text(2, cpu),
                text(4, ""),
                text(5, rdma),
                text(6, [text(1, numbers(1..=6)), text(2, pressure_bytes(60))].concat()),
                text(7, [numbers(1..=2), text(3, "2MB"), number(4, 4)].concat()),
                text(8, numbers(1..=6)),
                text(9, eth0_bytes()),
            ],
        );
    }

    #[test]
    fn v2_memory() {
        let memory = from2::Memory {
            anon: 1,
            file: 2,
            kernel_stack: 3,
            slab: 4,
            sock: 5,
            shmem: 6,
            file_mapped: 7,
            file_dirty: 8,
            file_writeback: 9,
            anon_thp: 10,
            inactive_anon: 11,
            active_anon: 12,
            inactive_file: 13,
            active_file: 14,
            unevictable: 15,
            slab_reclaimable: 16,
            slab_unreclaimable: 17,
            pgfault: 18,
            pgmajfault: 19,
            workingset_refault: 20,
            workingset_activate: 21,
            workingset_nodereclaim: 22,
            pgrefill: 23,
            pgscan: 24,
            pgsteal: 25,
            pgactivate: 26,
            pgdeactivate: 27,
            pglazyfree: 28,
            pglazyfreed: 29,
            thp_fault_alloc: 30,
            thp_collapse_alloc: 31,
            usage: 32,
            usage_limit: 33,
            swap_usage: 34,
            swap_limit: 35,
            max_usage: 36,
            swap_max_usage: 37,
            pressure: pressure(50),
            workingset_refault_anon: 39,
            workingset_refault_file: 40,
            workingset_activate_anon: 41,
            workingset_activate_file: 42,
        };
        let m = from2::Metrics {
            memory,
            ..from2::Metrics::default()
        };
        same(
            &encoded2(m, Vec::new()).memory.unwrap(),
            &[numbers(1..=37), text(38, pressure_bytes(50)), numbers(39..=42)],
        );
    }
}
