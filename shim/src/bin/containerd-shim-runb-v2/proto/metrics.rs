//! The answer of Stats: one shape for a host with cgroup version 1, one for version 2. Consumers switch on the type, so the
//! wrong shape reads as zeros.

/// `io.containerd.cgroups.v1.Metrics`.
pub mod v1 {
    use crate::proto::named;
    use prost::Message;

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct Metrics {
        #[prost(message, repeated, tag = "1")]
        pub hugetlb: Vec<HugetlbStat>,
        #[prost(message, optional, tag = "2")]
        pub pids: Option<PidsStat>,
        #[prost(message, optional, tag = "3")]
        pub cpu: Option<CpuStat>,
        #[prost(message, optional, tag = "4")]
        pub memory: Option<MemoryStat>,
        #[prost(message, optional, tag = "5")]
        pub blkio: Option<BlkIoStat>,
        #[prost(message, optional, tag = "6")]
        pub rdma: Option<RdmaStat>,
        #[prost(message, repeated, tag = "7")]
        pub network: Vec<NetworkStat>,
        #[prost(message, optional, tag = "8")]
        pub cgroup_stats: Option<CgroupStats>,
        #[prost(message, optional, tag = "9")]
        pub memory_oom_control: Option<MemoryOomControl>,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct HugetlbStat {
        #[prost(uint64, tag = "1")]
        pub usage: u64,
        #[prost(uint64, tag = "2")]
        pub max: u64,
        #[prost(uint64, tag = "3")]
        pub failcnt: u64,
        #[prost(string, tag = "4")]
        pub pagesize: String,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct PidsStat {
        #[prost(uint64, tag = "1")]
        pub current: u64,
        #[prost(uint64, tag = "2")]
        pub limit: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct CpuStat {
        #[prost(message, optional, tag = "1")]
        pub usage: Option<CpuUsage>,
        #[prost(message, optional, tag = "2")]
        pub throttling: Option<Throttle>,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct CpuUsage {
        #[prost(uint64, tag = "1")]
        pub total: u64,
        #[prost(uint64, tag = "2")]
        pub kernel: u64,
        #[prost(uint64, tag = "3")]
        pub user: u64,
        #[prost(uint64, repeated, tag = "4")]
        pub per_cpu: Vec<u64>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct Throttle {
        #[prost(uint64, tag = "1")]
        pub periods: u64,
        #[prost(uint64, tag = "2")]
        pub throttled_periods: u64,
        #[prost(uint64, tag = "3")]
        pub throttled_time: u64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct MemoryStat {
        #[prost(uint64, tag = "1")]
        pub cache: u64,
        #[prost(uint64, tag = "2")]
        pub rss: u64,
        #[prost(uint64, tag = "3")]
        pub rss_huge: u64,
        #[prost(uint64, tag = "4")]
        pub mapped_file: u64,
        #[prost(uint64, tag = "5")]
        pub dirty: u64,
        #[prost(uint64, tag = "6")]
        pub writeback: u64,
        #[prost(uint64, tag = "7")]
        pub pg_pg_in: u64,
        #[prost(uint64, tag = "8")]
        pub pg_pg_out: u64,
        #[prost(uint64, tag = "9")]
        pub pg_fault: u64,
        #[prost(uint64, tag = "10")]
        pub pg_maj_fault: u64,
        #[prost(uint64, tag = "11")]
        pub inactive_anon: u64,
        #[prost(uint64, tag = "12")]
        pub active_anon: u64,
        #[prost(uint64, tag = "13")]
        pub inactive_file: u64,
        #[prost(uint64, tag = "14")]
        pub active_file: u64,
        #[prost(uint64, tag = "15")]
        pub unevictable: u64,
        #[prost(uint64, tag = "16")]
        pub hierarchical_memory_limit: u64,
        #[prost(uint64, tag = "17")]
        pub hierarchical_swap_limit: u64,
        #[prost(uint64, tag = "18")]
        pub total_cache: u64,
        #[prost(uint64, tag = "19")]
        pub total_rss: u64,
        #[prost(uint64, tag = "20")]
        pub total_rss_huge: u64,
        #[prost(uint64, tag = "21")]
        pub total_mapped_file: u64,
        #[prost(uint64, tag = "22")]
        pub total_dirty: u64,
        #[prost(uint64, tag = "23")]
        pub total_writeback: u64,
        #[prost(uint64, tag = "24")]
        pub total_pg_pg_in: u64,
        #[prost(uint64, tag = "25")]
        pub total_pg_pg_out: u64,
        #[prost(uint64, tag = "26")]
        pub total_pg_fault: u64,
        #[prost(uint64, tag = "27")]
        pub total_pg_maj_fault: u64,
        #[prost(uint64, tag = "28")]
        pub total_inactive_anon: u64,
        #[prost(uint64, tag = "29")]
        pub total_active_anon: u64,
        #[prost(uint64, tag = "30")]
        pub total_inactive_file: u64,
        #[prost(uint64, tag = "31")]
        pub total_active_file: u64,
        #[prost(uint64, tag = "32")]
        pub total_unevictable: u64,
        #[prost(message, optional, tag = "33")]
        pub usage: Option<MemoryEntry>,
        #[prost(message, optional, tag = "34")]
        pub swap: Option<MemoryEntry>,
        #[prost(message, optional, tag = "35")]
        pub kernel: Option<MemoryEntry>,
        #[prost(message, optional, tag = "36")]
        pub kernel_tcp: Option<MemoryEntry>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct MemoryEntry {
        #[prost(uint64, tag = "1")]
        pub limit: u64,
        #[prost(uint64, tag = "2")]
        pub usage: u64,
        #[prost(uint64, tag = "3")]
        pub max: u64,
        #[prost(uint64, tag = "4")]
        pub failcnt: u64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct MemoryOomControl {
        #[prost(uint64, tag = "1")]
        pub oom_kill_disable: u64,
        #[prost(uint64, tag = "2")]
        pub under_oom: u64,
        #[prost(uint64, tag = "3")]
        pub oom_kill: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct BlkIoStat {
        #[prost(message, repeated, tag = "1")]
        pub io_service_bytes_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "2")]
        pub io_serviced_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "3")]
        pub io_queued_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "4")]
        pub io_service_time_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "5")]
        pub io_wait_time_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "6")]
        pub io_merged_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "7")]
        pub io_time_recursive: Vec<BlkIoEntry>,
        #[prost(message, repeated, tag = "8")]
        pub sectors_recursive: Vec<BlkIoEntry>,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct BlkIoEntry {
        #[prost(string, tag = "1")]
        pub op: String,
        #[prost(string, tag = "2")]
        pub device: String,
        #[prost(uint64, tag = "3")]
        pub major: u64,
        #[prost(uint64, tag = "4")]
        pub minor: u64,
        #[prost(uint64, tag = "5")]
        pub value: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct RdmaStat {
        #[prost(message, repeated, tag = "1")]
        pub current: Vec<RdmaEntry>,
        #[prost(message, repeated, tag = "2")]
        pub limit: Vec<RdmaEntry>,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct RdmaEntry {
        #[prost(string, tag = "1")]
        pub device: String,
        #[prost(uint32, tag = "2")]
        pub hca_handles: u32,
        #[prost(uint32, tag = "3")]
        pub hca_objects: u32,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct NetworkStat {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(uint64, tag = "2")]
        pub rx_bytes: u64,
        #[prost(uint64, tag = "3")]
        pub rx_packets: u64,
        #[prost(uint64, tag = "4")]
        pub rx_errors: u64,
        #[prost(uint64, tag = "5")]
        pub rx_dropped: u64,
        #[prost(uint64, tag = "6")]
        pub tx_bytes: u64,
        #[prost(uint64, tag = "7")]
        pub tx_packets: u64,
        #[prost(uint64, tag = "8")]
        pub tx_errors: u64,
        #[prost(uint64, tag = "9")]
        pub tx_dropped: u64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct CgroupStats {
        #[prost(uint64, tag = "1")]
        pub nr_sleeping: u64,
        #[prost(uint64, tag = "2")]
        pub nr_running: u64,
        #[prost(uint64, tag = "3")]
        pub nr_stopped: u64,
        #[prost(uint64, tag = "4")]
        pub nr_uninterruptible: u64,
        #[prost(uint64, tag = "5")]
        pub nr_io_wait: u64,
    }

    named! { Metrics = "io.containerd.cgroups.v1.Metrics" }
}

/// `io.containerd.cgroups.v2.Metrics`.
pub mod v2 {
    use crate::proto::named;
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub struct Metrics {
        #[prost(message, optional, tag = "1")]
        pub pids: Option<PidsStat>,
        #[prost(message, optional, tag = "2")]
        pub cpu: Option<CpuStat>,
        #[prost(message, optional, tag = "4")]
        pub memory: Option<MemoryStat>,
        #[prost(message, optional, tag = "5")]
        pub rdma: Option<RdmaStat>,
        #[prost(message, optional, tag = "6")]
        pub io: Option<IoStat>,
        #[prost(message, repeated, tag = "7")]
        pub hugetlb: Vec<HugetlbStat>,
        #[prost(message, optional, tag = "8")]
        pub memory_events: Option<MemoryEvents>,
        #[prost(message, repeated, tag = "9")]
        pub network: Vec<NetworkStat>,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct PsiData {
        #[prost(double, tag = "1")]
        pub avg10: f64,
        #[prost(double, tag = "2")]
        pub avg60: f64,
        #[prost(double, tag = "3")]
        pub avg300: f64,
        #[prost(uint64, tag = "4")]
        pub total: u64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct PsiStats {
        #[prost(message, optional, tag = "1")]
        pub some: Option<PsiData>,
        #[prost(message, optional, tag = "2")]
        pub full: Option<PsiData>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct PidsStat {
        #[prost(uint64, tag = "1")]
        pub current: u64,
        #[prost(uint64, tag = "2")]
        pub limit: u64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct CpuStat {
        #[prost(uint64, tag = "1")]
        pub usage_usec: u64,
        #[prost(uint64, tag = "2")]
        pub user_usec: u64,
        #[prost(uint64, tag = "3")]
        pub system_usec: u64,
        #[prost(uint64, tag = "4")]
        pub nr_periods: u64,
        #[prost(uint64, tag = "5")]
        pub nr_throttled: u64,
        #[prost(uint64, tag = "6")]
        pub throttled_usec: u64,
        #[prost(message, optional, tag = "7")]
        pub psi: Option<PsiStats>,
        #[prost(uint64, tag = "8")]
        pub nr_bursts: u64,
        #[prost(uint64, tag = "9")]
        pub burst_usec: u64,
    }

    #[derive(Clone, Copy, PartialEq, Message)]
    pub struct MemoryStat {
        #[prost(uint64, tag = "1")]
        pub anon: u64,
        #[prost(uint64, tag = "2")]
        pub file: u64,
        #[prost(uint64, tag = "3")]
        pub kernel_stack: u64,
        #[prost(uint64, tag = "4")]
        pub slab: u64,
        #[prost(uint64, tag = "5")]
        pub sock: u64,
        #[prost(uint64, tag = "6")]
        pub shmem: u64,
        #[prost(uint64, tag = "7")]
        pub file_mapped: u64,
        #[prost(uint64, tag = "8")]
        pub file_dirty: u64,
        #[prost(uint64, tag = "9")]
        pub file_writeback: u64,
        #[prost(uint64, tag = "10")]
        pub anon_thp: u64,
        #[prost(uint64, tag = "11")]
        pub inactive_anon: u64,
        #[prost(uint64, tag = "12")]
        pub active_anon: u64,
        #[prost(uint64, tag = "13")]
        pub inactive_file: u64,
        #[prost(uint64, tag = "14")]
        pub active_file: u64,
        #[prost(uint64, tag = "15")]
        pub unevictable: u64,
        #[prost(uint64, tag = "16")]
        pub slab_reclaimable: u64,
        #[prost(uint64, tag = "17")]
        pub slab_unreclaimable: u64,
        #[prost(uint64, tag = "18")]
        pub pgfault: u64,
        #[prost(uint64, tag = "19")]
        pub pgmajfault: u64,
        #[prost(uint64, tag = "20")]
        pub workingset_refault: u64,
        #[prost(uint64, tag = "21")]
        pub workingset_activate: u64,
        #[prost(uint64, tag = "22")]
        pub workingset_nodereclaim: u64,
        #[prost(uint64, tag = "23")]
        pub pgrefill: u64,
        #[prost(uint64, tag = "24")]
        pub pgscan: u64,
        #[prost(uint64, tag = "25")]
        pub pgsteal: u64,
        #[prost(uint64, tag = "26")]
        pub pgactivate: u64,
        #[prost(uint64, tag = "27")]
        pub pgdeactivate: u64,
        #[prost(uint64, tag = "28")]
        pub pglazyfree: u64,
        #[prost(uint64, tag = "29")]
        pub pglazyfreed: u64,
        #[prost(uint64, tag = "30")]
        pub thp_fault_alloc: u64,
        #[prost(uint64, tag = "31")]
        pub thp_collapse_alloc: u64,
        #[prost(uint64, tag = "32")]
        pub usage: u64,
        #[prost(uint64, tag = "33")]
        pub usage_limit: u64,
        #[prost(uint64, tag = "34")]
        pub swap_usage: u64,
        #[prost(uint64, tag = "35")]
        pub swap_limit: u64,
        #[prost(uint64, tag = "36")]
        pub max_usage: u64,
        #[prost(uint64, tag = "37")]
        pub swap_max_usage: u64,
        #[prost(message, optional, tag = "38")]
        pub psi: Option<PsiStats>,
        #[prost(uint64, tag = "39")]
        pub workingset_refault_anon: u64,
        #[prost(uint64, tag = "40")]
        pub workingset_refault_file: u64,
        #[prost(uint64, tag = "41")]
        pub workingset_activate_anon: u64,
        #[prost(uint64, tag = "42")]
        pub workingset_activate_file: u64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct MemoryEvents {
        #[prost(uint64, tag = "1")]
        pub low: u64,
        #[prost(uint64, tag = "2")]
        pub high: u64,
        #[prost(uint64, tag = "3")]
        pub max: u64,
        #[prost(uint64, tag = "4")]
        pub oom: u64,
        #[prost(uint64, tag = "5")]
        pub oom_kill: u64,
        #[prost(uint64, tag = "6")]
        pub oom_group_kill: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct RdmaStat {
        #[prost(message, repeated, tag = "1")]
        pub current: Vec<RdmaEntry>,
        #[prost(message, repeated, tag = "2")]
        pub limit: Vec<RdmaEntry>,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct RdmaEntry {
        #[prost(string, tag = "1")]
        pub device: String,
        #[prost(uint32, tag = "2")]
        pub hca_handles: u32,
        #[prost(uint32, tag = "3")]
        pub hca_objects: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub struct IoStat {
        #[prost(message, repeated, tag = "1")]
        pub usage: Vec<IoEntry>,
        #[prost(message, optional, tag = "2")]
        pub psi: Option<PsiStats>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub struct IoEntry {
        #[prost(uint64, tag = "1")]
        pub major: u64,
        #[prost(uint64, tag = "2")]
        pub minor: u64,
        #[prost(uint64, tag = "3")]
        pub rbytes: u64,
        #[prost(uint64, tag = "4")]
        pub wbytes: u64,
        #[prost(uint64, tag = "5")]
        pub rios: u64,
        #[prost(uint64, tag = "6")]
        pub wios: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct HugetlbStat {
        #[prost(uint64, tag = "1")]
        pub current: u64,
        #[prost(uint64, tag = "2")]
        pub max: u64,
        #[prost(string, tag = "3")]
        pub pagesize: String,
        #[prost(uint64, tag = "4")]
        pub failcnt: u64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub struct NetworkStat {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(uint64, tag = "2")]
        pub rx_bytes: u64,
        #[prost(uint64, tag = "3")]
        pub rx_packets: u64,
        #[prost(uint64, tag = "4")]
        pub rx_errors: u64,
        #[prost(uint64, tag = "5")]
        pub rx_dropped: u64,
        #[prost(uint64, tag = "6")]
        pub tx_bytes: u64,
        #[prost(uint64, tag = "7")]
        pub tx_packets: u64,
        #[prost(uint64, tag = "8")]
        pub tx_errors: u64,
        #[prost(uint64, tag = "9")]
        pub tx_dropped: u64,
    }

    named! { Metrics = "io.containerd.cgroups.v2.Metrics" }
}

#[cfg(test)]
mod tests {
    use super::{v1, v2};
    use crate::proto::google::Any;
    use crate::proto::wire::{key, number, same, text};

    #[test]
    fn each_version_has_its_name() {
        assert_eq!(
            Any::of(&v1::Metrics::default()).type_url,
            "io.containerd.cgroups.v1.Metrics"
        );
        assert_eq!(
            Any::of(&v2::Metrics::default()).type_url,
            "io.containerd.cgroups.v2.Metrics"
        );
    }

    #[test]
    fn v1_whole() {
        let metrics = v1::Metrics {
            hugetlb: vec![v1::HugetlbStat {
                usage: 1,
                max: 2,
                failcnt: 3,
                pagesize: "2MB".into(),
            }],
            pids: Some(v1::PidsStat { current: 4, limit: 5 }),
            cpu: Some(v1::CpuStat {
                usage: Some(v1::CpuUsage {
                    total: 1,
                    kernel: 2,
                    user: 3,
                    per_cpu: vec![4, 5],
                }),
                throttling: Some(v1::Throttle {
                    periods: 1,
                    throttled_periods: 2,
                    throttled_time: 3,
                }),
            }),
            memory: Some(v1::MemoryStat {
                cache: 1,
                inactive_file: 13,
                total_inactive_file: 30,
                total_unevictable: 32,
                usage: Some(v1::MemoryEntry {
                    limit: 1,
                    usage: 2,
                    max: 3,
                    failcnt: 4,
                }),
                kernel_tcp: Some(v1::MemoryEntry::default()),
                ..v1::MemoryStat::default()
            }),
            blkio: Some(v1::BlkIoStat {
                io_service_bytes_recursive: vec![v1::BlkIoEntry {
                    op: "Read".into(),
                    device: "/dev/sda".into(),
                    major: 8,
                    minor: 1,
                    value: 9,
                }],
                sectors_recursive: vec![v1::BlkIoEntry::default()],
                ..v1::BlkIoStat::default()
            }),
            rdma: Some(v1::RdmaStat {
                current: vec![v1::RdmaEntry {
                    device: "m".into(),
                    hca_handles: 1,
                    hca_objects: 2,
                }],
                limit: vec![v1::RdmaEntry::default()],
            }),
            network: vec![v1::NetworkStat {
                name: "eth0".into(),
                rx_bytes: 2,
                tx_dropped: 9,
                ..v1::NetworkStat::default()
            }],
            cgroup_stats: Some(v1::CgroupStats {
                nr_sleeping: 1,
                nr_io_wait: 5,
                ..v1::CgroupStats::default()
            }),
            memory_oom_control: Some(v1::MemoryOomControl {
                oom_kill_disable: 1,
                under_oom: 2,
                oom_kill: 3,
            }),
        };
        let huge = [number(1, 1), number(2, 2), number(3, 3), text(4, "2MB")].concat();
        let usage = [number(1, 1), number(2, 2), number(3, 3), text(4, [4, 5])].concat();
        let throttling = [number(1, 1), number(2, 2), number(3, 3)].concat();
        let entry = [number(1, 1), number(2, 2), number(3, 3), number(4, 4)].concat();
        let memory = [
            number(1, 1),
            number(13, 13),
            number(30, 30),
            number(32, 32),
            text(33, entry),
            text(36, ""),
        ]
        .concat();
        let block = [
            text(1, "Read"),
            text(2, "/dev/sda"),
            number(3, 8),
            number(4, 1),
            number(5, 9),
        ]
        .concat();
        let rdma = [text(1, "m"), number(2, 1), number(3, 2)].concat();
        same(
            &metrics,
            &[
                text(1, huge),
                text(2, [number(1, 4), number(2, 5)].concat()),
                text(3, [text(1, usage), text(2, throttling)].concat()),
                text(4, memory),
                text(5, [text(1, block), text(8, "")].concat()),
                text(6, [text(1, rdma), text(2, "")].concat()),
                text(7, [text(1, "eth0"), number(2, 2), number(9, 9)].concat()),
                text(8, [number(1, 1), number(5, 5)].concat()),
                text(9, [number(1, 1), number(2, 2), number(3, 3)].concat()),
            ],
        );
    }

    #[test]
    fn v2_whole() {
        let psi = || {
            Some(v2::PsiStats {
                some: Some(v2::PsiData {
                    avg10: 1.0,
                    avg60: 0.0,
                    avg300: 0.0,
                    total: 4,
                }),
                full: Some(v2::PsiData::default()),
            })
        };
        let metrics = v2::Metrics {
            pids: Some(v2::PidsStat { current: 4, limit: 5 }),
            cpu: Some(v2::CpuStat {
                usage_usec: 1,
                throttled_usec: 6,
                psi: psi(),
                burst_usec: 9,
                ..v2::CpuStat::default()
            }),
            memory: Some(v2::MemoryStat {
                anon: 1,
                inactive_file: 13,
                usage: 32,
                usage_limit: 33,
                swap_max_usage: 37,
                psi: psi(),
                workingset_activate_file: 42,
                ..v2::MemoryStat::default()
            }),
            rdma: Some(v2::RdmaStat::default()),
            io: Some(v2::IoStat {
                usage: vec![v2::IoEntry {
                    major: 8,
                    minor: 1,
                    rbytes: 3,
                    wbytes: 4,
                    rios: 5,
                    wios: 6,
                }],
                psi: psi(),
            }),
            hugetlb: vec![v2::HugetlbStat {
                current: 1,
                max: 2,
                pagesize: "2MB".into(),
                failcnt: 4,
            }],
            memory_events: Some(v2::MemoryEvents {
                low: 1,
                oom: 4,
                oom_kill: 5,
                oom_group_kill: 6,
                ..v2::MemoryEvents::default()
            }),
            network: vec![v2::NetworkStat {
                name: "lo".into(),
                ..v2::NetworkStat::default()
            }],
        };
        // A double is eight bytes, the lowest first.
        let some = [key(1, 1), 1f64.to_le_bytes().to_vec(), number(4, 4)].concat();
        let pressure = [text(1, some), text(2, "")].concat();
        let memory = [
            number(1, 1),
            number(13, 13),
            number(32, 32),
            number(33, 33),
            number(37, 37),
            text(38, &pressure),
            number(42, 42),
        ]
        .concat();
        let block = [
            number(1, 8),
            number(2, 1),
            number(3, 3),
            number(4, 4),
            number(5, 5),
            number(6, 6),
        ]
        .concat();
        same(
            &metrics,
            &[
                text(1, [number(1, 4), number(2, 5)].concat()),
                text(
                    2,
                    [number(1, 1), number(6, 6), text(7, &pressure), number(9, 9)].concat(),
                ),
                text(4, memory),
                text(5, ""),
                text(6, [text(1, block), text(2, &pressure)].concat()),
                text(
                    7,
                    [number(1, 1), number(2, 2), text(3, "2MB"), number(4, 4)].concat(),
                ),
                text(
                    8,
                    [number(1, 1), number(4, 4), number(5, 5), number(6, 6)].concat(),
                ),
                text(9, text(1, "lo")),
            ],
        );
    }
}
