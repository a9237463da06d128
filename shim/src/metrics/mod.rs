//! What a container uses, measured by its cgroups: one set of figures for each version of cgroups.
//!
//! May not: encode, decide who gets the figures, or fail because a controller or a file is not there. What is not
//! measured is zero or absent; only a cgroup that is gone is an error ([`crate::cgroup::Error::NotFound`]). Works
//! until the cgroup is removed, thus also when the init has exited: whoever wants to know why a container died reads
//! `oom_kill` then.

mod parse;
pub mod v1;
pub mod v2;

use crate::cgroup::{Cgroup, Files, LIMIT, Result};
use std::os::fd::AsFd;
use std::path::Path;

/// The figures of a container, in the shape of what it has.
#[derive(Clone, Debug, PartialEq)]
pub enum Metrics {
    /// Of version 1 hierarchies.
    V1(Box<v1::Metrics>),
    /// Of the version 2 tree.
    V2(Box<v2::Metrics>),
}

/// Reads all figures of a container but those of its network ([`network_of`]), for which the init has to live.
///
/// # Errors
/// [`crate::cgroup::Error::NotFound`] once the cgroups are removed.
pub fn read(cgroup: &Cgroup) -> Result<Metrics> {
    match cgroup {
        Cgroup::V1(_) => v1::read(cgroup).map(|m| Metrics::V1(Box::new(m))),
        Cgroup::V2(dir) => v2::read(dir).map(|m| Metrics::V2(Box::new(m))),
    }
}

/// Traffic of one network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // each is the counter of its name
pub struct Network {
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

/// The interfaces in the network namespace of a process. None when it is ours: what the host's interfaces carry is not
/// the container's doing, and a host with many containers has many interfaces. None as well when the process has ended.
pub fn network_of(pid: i32) -> Vec<Network> {
    let namespace = |of: &str| {
        let fd = sys::fs::open(Path::new(&format!("/proc/{of}/ns/net")), libc::O_PATH, 0).ok()?;
        let stat = sys::fs::fstat(fd.as_fd()).ok()?;
        Some((stat.dev, stat.ino))
    };
    let theirs = namespace(&pid.to_string());
    if theirs.is_none() || theirs == namespace("self") {
        return Vec::new();
    }
    let text = sys::fs::open(Path::new(&format!("/proc/{pid}/net/dev")), libc::O_RDONLY, 0)
        .and_then(|fd| sys::fs::read_all(fd.as_fd(), LIMIT));
    // An init that exits meanwhile has no network any more: that is the answer, not a failure.
    text.map(|bytes| parse::interfaces(&String::from_utf8_lossy(&bytes)))
        .unwrap_or_default()
}

/// Time that tasks were stalled for want of something: one line of a pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PressureLine {
    /// Percent of the last 10 seconds.
    pub avg10: f64,
    /// Percent of the last minute.
    pub avg60: f64,
    /// Percent of the last five minutes.
    pub avg300: f64,
    /// Microseconds since the cgroup was made.
    pub total: u64,
}

/// A pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// At least one task was stalled.
    pub some: Option<PressureLine>,
    /// All were.
    pub full: Option<PressureLine>,
}

/// Use of one RDMA device, or its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rdma {
    /// Name of the device.
    pub device: String,
    /// Handles of the adapter.
    pub hca_handles: u32,
    /// Objects of the adapter.
    pub hca_objects: u32,
}

fn rdma(files: &Files, name: &str) -> Result<Vec<Rdma>> {
    Ok(files.text(name)?.as_deref().map(parse::rdma).unwrap_or_default())
}

fn pressure(files: &Files, name: &str) -> Result<Option<Pressure>> {
    Ok(files.text(name)?.as_deref().map(parse::pressure))
}

/// The sizes of huge pages that this kernel has, as the names of cgroup files have them: `2MB`, `1GB`.
fn huge_page_sizes() -> Vec<String> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    let names = sys::fs::open(Path::new("/sys/kernel/mm/hugepages"), flags, 0)
        .and_then(|dir| sys::fs::entries(dir.as_fd()));
    let mut sizes: Vec<String> = names
        .unwrap_or_default()
        .iter()
        .filter_map(|n| parse::huge_page_size(n.to_str()?))
        .collect();
    // The directory's own order changes from one read to the next on some kernels.
    sizes.sort();
    sizes
}
