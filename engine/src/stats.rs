//! `stats`: what containers use, by Docker's formulas.
//!
//! May not: read more than is shown: three hundred containers are looked at twice a second, seven small files each. Or keep
//! these open: that would be more than a process may have.

use std::path::PathBuf;

use image::{Error, Result};
use shim::cgroup::Cgroup;
use shim::metrics::network_of;

pub use shim::cgroup::Mounts;

/// What a container uses, between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Percent of one processor.
    pub cpu: f64,
    /// Bytes, without what the kernel could drop at once.
    pub memory: u64,
    /// What it may have; all there is, where it is not limited.
    pub limit: u64,
    pub received: u64,
    pub sent: u64,
    pub read: u64,
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Usage {
    /// Percent of the limit.
    pub fn memory_percent(&self) -> f64 {
        match self.limit {
            0 => 0.0,
            limit => self.memory as f64 / limit as f64 * 100.0,
        }
    }
}

/// What the machine has, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Host {
    /// Nanoseconds that all processors together have lived.
    time: u64,
    processors: u64,
    memory: u64,
}

impl Host {
    /// Now.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn now() -> Result<Host> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        Ok(Host::parse(&stat, &memory))
    }

    fn parse(stat: &str, memory: &str) -> Host {
        /// /proc/stat counts hundredths of a second (USER_HZ) on every architecture that we are built for.
        const TICK: u64 = 10_000_000;
        let mut host = Host::default();
        for line in stat.lines() {
            let Some(rest) = line.strip_prefix("cpu") else {
                continue;
            };
            match rest.strip_prefix(' ') {
                // user, nice, system, idle, iowait, irq, softirq; what guests and hypervisors took is in them or not ours.
                Some(all) => {
                    let ticks = all
                        .split_whitespace()
                        .take(7)
                        .filter_map(|n| n.parse::<u64>().ok());
                    host.time = ticks.sum::<u64>().saturating_mul(TICK);
                }
                None => host.processors += 1,
            }
        }
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        host.memory = total
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024;
        host
    }
}

/// A container that is looked at again and again.
pub struct Meter {
    init: i32,
    files: Files,
    /// When it was looked at last.
    before: Option<(Counters, Host)>,
}

/// Files of its cgroups; `None` where a controller is missing.
struct Files {
    is_v2: bool,
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    memory_stat: Option<PathBuf>,
    memory_limit: Option<PathBuf>,
    pids: Option<PathBuf>,
    io: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    /// Nanoseconds.
    cpu: u64,
    memory: u64,
    limit: u64,
    pids: u64,
    read: u64,
    written: u64,
}

impl Meter {
    /// Of the container with this init and id. `mounts` is filled by the first call.
    ///
    /// # Errors
    /// The process has ended, or it has no cgroup of its own: the figures would be others'.
    pub fn new(init: i32, id: &str, mounts: &mut Mounts) -> Result<Meter> {
        let cgroup = Cgroup::of(init, mounts).map_err(|e| Error::not_found(e.to_string()))?;
        let is_own = ["memory", "pids", "cpu", "cpuacct"].iter().any(|name| {
            let directory = cgroup.dir_of(name);
            directory.is_some_and(|directory| directory.to_string_lossy().contains(id))
        });
        if !is_own {
            return Err(Error::not_found(format!(
                "container {id} has no cgroup of its own"
            )));
        }
        Ok(Meter {
            init,
            files: Files::of(&cgroup),
            before: None,
        })
    }

    /// What it uses now. The first look has nothing to compare with: it sees no processor time.
    ///
    /// # Errors
    /// It has ended.
    pub fn look(&mut self, host: &Host) -> Result<Usage> {
        let now = self.files.read()?;
        let (received, sent) = network_of(self.init)
            .iter()
            .filter(|interface| interface.name != "lo")
            .fold((0, 0), |(rx, tx), i| (rx + i.rx_bytes, tx + i.tx_bytes));
        let cpu = self.before.map_or(0.0, |(before, then)| {
            percent(
                now.cpu.saturating_sub(before.cpu),
                host.time.saturating_sub(then.time),
                host.processors,
            )
        });
        self.before = Some((now, *host));
        let is_limited = now.limit != 0 && now.limit < host.memory;
        Ok(Usage {
            cpu,
            memory: now.memory,
            limit: if is_limited { now.limit } else { host.memory },
            received,
            sent,
            read: now.read,
            written: now.written,
            pids: now.pids,
        })
    }
}

/// Of one processor: on a machine with four, a container that uses all has 400.
fn percent(own: u64, all: u64, processors: u64) -> f64 {
    match (own, all) {
        (0, _) | (_, 0) => 0.0,
        (own, all) => own as f64 / all as f64 * processors as f64 * 100.0,
    }
}

impl Files {
    fn of(cgroup: &Cgroup) -> Files {
        let path = |controller: &str, name: &str| Some(cgroup.dir_of(controller)?.join(name));
        match cgroup {
            Cgroup::V2(_) => Files {
                is_v2: true,
                cpu: path("cpu", "cpu.stat"),
                memory: path("memory", "memory.current"),
                memory_stat: path("memory", "memory.stat"),
                memory_limit: path("memory", "memory.max"),
                pids: path("pids", "pids.current"),
                io: path("io", "io.stat"),
            },
            Cgroup::V1(_) => Files {
                is_v2: false,
                cpu: path("cpuacct", "cpuacct.usage"),
                memory: path("memory", "memory.usage_in_bytes"),
                memory_stat: path("memory", "memory.stat"),
                memory_limit: path("memory", "memory.limit_in_bytes"),
                pids: path("pids", "pids.current"),
                // The recursive ones are there since Linux 5.0; that of a scheduler counts where it is in use.
                io: [
                    "blkio.bfq.io_service_bytes_recursive",
                    "blkio.throttle.io_service_bytes_recursive",
                    "blkio.throttle.io_service_bytes",
                ]
                .iter()
                .find_map(|name| path("blkio", name).filter(|file| !text(file).is_empty())),
            },
        }
    }

    fn read(&self) -> Result<Counters> {
        let all = [
            &self.cpu,
            &self.memory,
            &self.memory_stat,
            &self.memory_limit,
            &self.pids,
            &self.io,
        ];
        let [cpu, memory, stat, limit, pids, io] =
            all.map(|file| file.as_ref().map(text).unwrap_or_default());
        let has_ended = cpu.is_empty() && memory.is_empty() && pids.is_empty();
        if has_ended {
            return Err(Error::not_found("its cgroup is gone"));
        }
        let number = |text: &str| text.trim().parse::<u64>().unwrap_or(0);
        let inactive = match self.is_v2 {
            true => field(&stat, "inactive_file"),
            false => field(&stat, "total_inactive_file"),
        };
        let used = number(&memory);
        let (read, written) = match self.is_v2 {
            true => io_v2(&io),
            false => io_v1(&io),
        };
        Ok(Counters {
            cpu: match self.is_v2 {
                true => field(&cpu, "usage_usec").saturating_mul(1000),
                false => number(&cpu),
            },
            // A cache that is larger than all of it has been counted at another moment.
            memory: used - if inactive < used { inactive } else { 0 },
            // `max` is no number, and no limit.
            limit: number(&limit),
            pids: number(&pids),
            read,
            written,
        })
    }
}

/// What a file says; nothing, when it is gone.
fn text(file: &PathBuf) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

/// A line `NAME VALUE`.
fn field(text: &str, name: &str) -> u64 {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// Lines `8:0 Read 512`.
fn io_v1(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for line in text.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(word), Some(Ok(value))) = (words.next(), words.next().map(str::parse::<u64>)) else {
            continue;
        };
        match word {
            "Read" => sums.0 += value,
            "Write" => sums.1 += value,
            _ => {}
        }
    }
    sums
}

/// Lines `8:0 rbytes=512 wbytes=0 rios=1 ...`.
fn io_v2(text: &str) -> (u64, u64) {
    let mut sums = (0, 0);
    for (key, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
        let value = value.parse::<u64>().unwrap_or(0);
        match key {
            "rbytes" => sums.0 += value,
            "wbytes" => sums.1 += value,
            _ => {}
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn formulas() {
        // Half of all time of four processors: two whole ones.
        assert!((percent(500, 1000, 4) - 200.0).abs() < 1e-9);
        assert!(percent(500, 0, 4).abs() < 1e-9);
        let host = Host::parse(
            "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1\ncpu1 1 1\nintr 5\n",
            "MemTotal:       2048 kB\nMemFree: 1 kB\n",
        );
        assert_eq!(
            (host.time, host.processors, host.memory),
            (280_000_000, 2, 2 << 20)
        );
        let usage = Usage {
            memory: 1,
            limit: 4,
            ..Usage::default()
        };
        assert!((usage.memory_percent() - 25.0).abs() < 1e-9);
    }

    #[test]
    fn traffic_of_block_devices() {
        assert_eq!(
            io_v1("8:0 Read 7\n8:0 Write 2\n8:0 Total 9\n8:16 Read 1\nTotal 10\n"),
            (8, 2)
        );
        assert_eq!(
            io_v2("8:0 rbytes=7 wbytes=2 rios=1 wios=1 dbytes=0\n8:16 rbytes=1 wbytes=0\n"),
            (8, 2)
        );
        assert_eq!(field("inactive_file_x 3\ninactive_file 5\n", "inactive_file"), 5);
    }

    #[test]
    fn a_process_of_ours_is_measured() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut meter = Meter::new(own, "", &mut Mounts::default()).unwrap();
        let usage = meter.look(&Host::now().unwrap()).unwrap();
        assert!(usage.limit > 0);
        assert!(usage.cpu.abs() < 1e-9);
    }
}
