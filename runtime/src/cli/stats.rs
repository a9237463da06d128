//! The statistics of `events`, in runc's shape.
//!
//! May not: read a cgroup. Which keys vanish when zero is part of the shape.

use serde::Serialize;
use std::collections::BTreeMap;

/// What runc leaves out: zero numbers, and the structs of `cpu` and `memory` in which all is zero.
fn is_default<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

macro_rules! shape {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident : $ty:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty),* }
    };
}

shape!(
    /// `data` of a `stats` event.
    Stats {
        cpu: Cpu,
        cpuset: Cpuset,
        memory: Memory,
        pids: Pids,
        blkio: Blkio,
        hugetlb: BTreeMap<String, Hugetlb>,
        intel_rdt: IntelRdt,
        /// `None` is null, as runc prints it for a container without interfaces of its making.
        network_interfaces: Option<Vec<NetworkInterface>>,
    }
);
shape!(
    /// Processor time.
    Cpu {
        #[serde(skip_serializing_if = "is_default")]
        usage: CpuUsage,
        #[serde(skip_serializing_if = "is_default")]
        throttling: Throttling,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Psi>,
    }
);
shape!(
    /// In nanoseconds.
    CpuUsage {
        #[serde(skip_serializing_if = "is_default")]
        total: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        percpu: Vec<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        percpu_kernel: Vec<u64>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        percpu_user: Vec<u64>,
        kernel: u64,
        user: u64,
    }
);
shape!(
    /// Bandwidth limit; time in nanoseconds.
    Throttling {
        #[serde(skip_serializing_if = "is_default")]
        periods: u64,
        #[serde(rename = "throttledPeriods", skip_serializing_if = "is_default")]
        throttled_periods: u64,
        #[serde(rename = "throttledTime", skip_serializing_if = "is_default")]
        throttled_time: u64,
    }
);
shape!(
    /// Pressure stall information.
    Psi { some: PsiLine, full: PsiLine }
);
shape!(
    /// Percentages over 10, 60 and 300 seconds, and microseconds in total.
    PsiLine { avg10: f64, avg60: f64, avg300: f64, total: u64 }
);
shape!(
    /// CPUs and memory nodes.
    Cpuset {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        cpus: Vec<u16>,
        cpu_exclusive: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mems: Vec<u16>,
        mem_hardwall: u64,
        mem_exclusive: u64,
        memory_migrate: u64,
        memory_spread_page: u64,
        memory_spread_slab: u64,
        memory_pressure: u64,
        sched_load_balance: u64,
        sched_relax_domain_level: i64,
    }
);
shape!(
    /// In bytes.
    Memory {
        #[serde(skip_serializing_if = "is_default")]
        cache: u64,
        #[serde(skip_serializing_if = "is_default")]
        usage: MemoryEntry,
        #[serde(skip_serializing_if = "is_default")]
        swap: MemoryEntry,
        #[serde(skip_serializing_if = "is_default")]
        kernel: MemoryEntry,
        #[serde(rename = "kernelTCP", skip_serializing_if = "is_default")]
        kernel_tcp: MemoryEntry,
        /// memory.stat.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        raw: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Psi>,
    }
);
shape!(
    /// In bytes.
    MemoryEntry {
        limit: u64,
        #[serde(skip_serializing_if = "is_default")]
        usage: u64,
        #[serde(skip_serializing_if = "is_default")]
        max: u64,
        failcnt: u64,
    }
);
shape!(
    /// Processes and threads; no limit is 0.
    Pids {
        #[serde(skip_serializing_if = "is_default")]
        current: u64,
        #[serde(skip_serializing_if = "is_default")]
        limit: u64,
    }
);
shape!(
    /// Block devices.
    Blkio {
        #[serde(rename = "ioServiceBytesRecursive", skip_serializing_if = "Vec::is_empty")]
        service_bytes: Vec<BlkioEntry>,
        #[serde(rename = "ioServicedRecursive", skip_serializing_if = "Vec::is_empty")]
        serviced: Vec<BlkioEntry>,
        #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
        queued: Vec<BlkioEntry>,
        #[serde(rename = "ioServiceTimeRecursive", skip_serializing_if = "Vec::is_empty")]
        service_time: Vec<BlkioEntry>,
        #[serde(rename = "ioWaitTimeRecursive", skip_serializing_if = "Vec::is_empty")]
        wait_time: Vec<BlkioEntry>,
        #[serde(rename = "ioMergedRecursive", skip_serializing_if = "Vec::is_empty")]
        merged: Vec<BlkioEntry>,
        #[serde(rename = "ioTimeRecursive", skip_serializing_if = "Vec::is_empty")]
        time: Vec<BlkioEntry>,
        #[serde(rename = "sectorsRecursive", skip_serializing_if = "Vec::is_empty")]
        sectors: Vec<BlkioEntry>,
        #[serde(skip_serializing_if = "Option::is_none")]
        psi: Option<Psi>,
    }
);
shape!(
    /// One number of one device.
    BlkioEntry {
        #[serde(skip_serializing_if = "is_default")]
        major: u64,
        #[serde(skip_serializing_if = "is_default")]
        minor: u64,
        #[serde(skip_serializing_if = "String::is_empty")]
        op: String,
        #[serde(skip_serializing_if = "is_default")]
        value: u64,
    }
);
shape!(
    /// Huge pages of one size, in bytes.
    Hugetlb {
        #[serde(skip_serializing_if = "is_default")]
        usage: u64,
        #[serde(skip_serializing_if = "is_default")]
        max: u64,
        failcnt: u64,
    }
);
shape!(
    /// Resource control; empty without it.
    IntelRdt {
        #[serde(skip_serializing_if = "Option::is_none")]
        l3_cache_info: Option<L3CacheInfo>,
        #[serde(skip_serializing_if = "String::is_empty")]
        l3_cache_schema_root: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        l3_cache_schema: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        mem_bw_info: Option<MemBwInfo>,
        #[serde(skip_serializing_if = "String::is_empty")]
        mem_bw_schema_root: String,
        #[serde(skip_serializing_if = "String::is_empty")]
        mem_bw_schema: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        schemata: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        mbm_stats: Option<Vec<MbmStats>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cmt_stats: Option<Vec<CmtStats>>,
    }
);
shape!(
    /// L3 cache.
    L3CacheInfo {
        #[serde(skip_serializing_if = "String::is_empty")]
        cbm_mask: String,
        #[serde(skip_serializing_if = "is_default")]
        min_cbm_bits: u64,
        #[serde(skip_serializing_if = "is_default")]
        num_closids: u64,
    }
);
shape!(
    /// Memory bandwidth.
    MemBwInfo {
        #[serde(skip_serializing_if = "is_default")]
        bandwidth_gran: u64,
        #[serde(skip_serializing_if = "is_default")]
        delay_linear: u64,
        #[serde(skip_serializing_if = "is_default")]
        min_bandwidth: u64,
        #[serde(skip_serializing_if = "is_default")]
        num_closids: u64,
    }
);
shape!(
    /// Memory bandwidth of one node, in bytes.
    MbmStats { mbm_total_bytes: u64, mbm_local_bytes: u64 }
);
shape!(
    /// Cache occupancy of one node, in bytes.
    CmtStats { llc_occupancy: u64 }
);

/// Counters of one interface. The keys are capitalised, as runc has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)]
pub struct NetworkInterface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::json;

    #[test]
    fn nothing_measured() {
        assert_eq!(
            json::compact(&Stats::default()).unwrap(),
            "{\"cpu\":{},\"cpuset\":{\"cpu_exclusive\":0,\"mem_hardwall\":0,\"mem_exclusive\":0,\"memory_migrate\":0,\
             \"memory_spread_page\":0,\"memory_spread_slab\":0,\"memory_pressure\":0,\"sched_load_balance\":0,\
             \"sched_relax_domain_level\":0},\"memory\":{},\"pids\":{},\"blkio\":{},\"hugetlb\":{},\"intel_rdt\":{},\
             \"network_interfaces\":null}"
        );
    }

    #[test]
    fn everything_measured() {
        let entry = MemoryEntry {
            limit: u64::MAX,
            usage: 1,
            max: 2,
            failcnt: 0,
        };
        let stats = Stats {
            cpu: Cpu {
                usage: CpuUsage {
                    total: 3,
                    percpu: vec![1, 2],
                    kernel: 1,
                    user: 2,
                    ..CpuUsage::default()
                },
                throttling: Throttling {
                    periods: 1,
                    throttled_periods: 0,
                    throttled_time: 9,
                },
                psi: Some(Psi {
                    some: PsiLine {
                        avg10: 0.5,
                        total: 7,
                        ..PsiLine::default()
                    },
                    full: PsiLine::default(),
                }),
            },
            memory: Memory {
                usage: entry,
                raw: BTreeMap::from([("b".into(), 1), ("a".into(), 2)]),
                ..Memory::default()
            },
            pids: Pids { current: 1, limit: 0 },
            blkio: Blkio {
                service_bytes: vec![BlkioEntry {
                    major: 8,
                    minor: 0,
                    op: "Read".into(),
                    value: 512,
                }],
                ..Blkio::default()
            },
            hugetlb: BTreeMap::from([("2MB".into(), Hugetlb::default())]),
            network_interfaces: Some(vec![NetworkInterface {
                name: "eth0".into(),
                rx_bytes: 5,
                ..NetworkInterface::default()
            }]),
            ..Stats::default()
        };
        let text = json::compact(&stats).unwrap();
        for part in [
            "\"usage\":{\"total\":3,\"percpu\":[1,2],\"kernel\":1,\"user\":2}",
            "\"throttling\":{\"periods\":1,\"throttledTime\":9}",
            "\"psi\":{\"some\":{\"avg10\":0.5,\"avg60\":0,\"avg300\":0,\"total\":7},\"full\":{\"avg10\":0,\"avg60\":0,\"avg300\":0,\"total\":0}}",
            "\"memory\":{\"usage\":{\"limit\":18446744073709551615,\"usage\":1,\"max\":2,\"failcnt\":0},\"raw\":{\"a\":2,\"b\":1}}",
            "\"pids\":{\"current\":1}",
            "\"blkio\":{\"ioServiceBytesRecursive\":[{\"major\":8,\"op\":\"Read\",\"value\":512}]}",
            "\"hugetlb\":{\"2MB\":{\"failcnt\":0}}",
            "\"network_interfaces\":[{\"Name\":\"eth0\",\"RxBytes\":5,\"RxPackets\":0,",
        ] {
            assert!(text.contains(part), "{part} missing in {text}");
        }
    }
}
