//! Cgroups against the kernel: found by pid, measured while the init lives, after it has exited, and when they are gone.
//! What version 2 gives is tested in a mount namespace in which /sys/fs/cgroup is one version 2 tree, where the host has
//! it otherwise.

#![allow(clippy::unwrap_used, clippy::panic)]

use shim::cgroup::{Cgroup, Error, Mounts};
use shim::metrics::{self, Metrics};
use shim::oom::OomWatch;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "SHIM_TEST_INSIDE_V2";

fn is_root() -> bool {
    if sys::process::effective_ids().0 != 0 {
        println!("skipped: cgroups need root");
        return false;
    }
    true
}

fn is_v2(dir: &str) -> bool {
    std::path::Path::new(dir).join("cgroup.controllers").exists()
}

/// True when the caller is to go on: it is root and sees a version 2 tree.
fn in_v2(test: &str) -> bool {
    if !is_root() {
        return false;
    }
    if is_v2("/sys/fs/cgroup") {
        return true;
    }
    assert!(
        std::env::var_os(INSIDE).is_none(),
        "no v2 tree where one was mounted"
    );
    let script =
        "umount -R -l /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec timeout 60 \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "_"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    print!("{text}");
    assert!(output.status.success(), "{test} failed in the v2 tree");
    assert!(text.contains("1 passed"), "{test} did not run in the v2 tree");
    false
}

/// The cgroups of a container, removed at the end, with the processes in them.
struct Box {
    dirs: Vec<PathBuf>,
}

impl Box {
    /// Below our own cgroups in every hierarchy that /proc/self/cgroup has and that is mounted in the usual place.
    fn make(name: &str) -> Box {
        let name = format!("shim-test-{}-{name}", std::process::id());
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let unified = is_v2("/sys/fs/cgroup");
        let dirs: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                let (list, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
                let top = match (list, unified) {
                    ("", true) => PathBuf::from("/sys/fs/cgroup"),
                    ("", false) => PathBuf::from("/sys/fs/cgroup/unified"),
                    (_, true) => return None,
                    (list, false) => {
                        PathBuf::from("/sys/fs/cgroup").join(list.strip_prefix("name=").unwrap_or(list))
                    }
                };
                top.is_dir().then(|| top.join(path).join(&name))
            })
            .collect();
        assert!(!dirs.is_empty());
        for dir in &dirs {
            std::fs::create_dir(dir).unwrap();
        }
        // Without these nobody can enter; version 2 does not have them at its top, and needs none.
        for dir in dirs.iter().filter(|d| !is_v2(d.to_str().unwrap())) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(parent) = std::fs::read_to_string(dir.parent().unwrap().join(file)) {
                    std::fs::write(dir.join(file), parent).unwrap();
                }
            }
        }
        Box { dirs }
    }

    fn dir(&self, controller: &str) -> PathBuf {
        let has = |d: &&PathBuf| {
            d.to_str()
                .unwrap()
                .contains(&format!("/sys/fs/cgroup/{controller}/"))
        };
        self.dirs.iter().find(has).unwrap_or(&self.dirs[0]).clone()
    }

    /// A shell inside; it runs the script when a line is written to it.
    fn shell(&self, script: &str) -> Child {
        let enter: String = self
            .dirs
            .iter()
            .map(|d| format!("echo $$ > {}/cgroup.procs || exit 99; ", d.display()))
            .collect();
        let mut child = Command::new("sh")
            .args(["-c", &format!("{enter} echo in; read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        assert_eq!(line, "in\n");
        child
    }

    fn remove(&self) {
        for dir in &self.dirs {
            let end = Instant::now() + Duration::from_secs(10);
            // A process that was reaped may be in its cgroup for a moment.
            while let Err(e) = std::fs::remove_dir(dir) {
                if e.kind() == std::io::ErrorKind::NotFound {
                    break;
                }
                assert!(Instant::now() < end, "{}: {e}", dir.display());
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Box {
    fn drop(&mut self) {
        self.remove();
    }
}

fn go(child: &mut Child) {
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
}

fn cgroup_of(child: &Child) -> Cgroup {
    Cgroup::of(child.id() as i32, &mut Mounts::new()).unwrap()
}

/// Some time and some thousand page faults: few would not be flushed into the figures at once.
const WORK: &str =
    "x=$(head -c 8000000 /dev/zero | tr '\\0' x); x=; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";

#[test]
fn version_1_is_measured_until_it_is_removed() {
    if !is_root() {
        return;
    }
    if is_v2("/sys/fs/cgroup") {
        println!("skipped: the host has no cgroup v1");
        return;
    }
    let b = Box::make("v1");
    let mut child = b.shell(WORK);
    let pid = child.id() as i32;
    let cgroup = cgroup_of(&child);
    assert!(matches!(cgroup, Cgroup::V1(_)));
    for controller in ["memory", "cpu", "cpuacct", "pids", "blkio"] {
        assert_eq!(
            cgroup.dir_of(controller).unwrap(),
            b.dir(controller),
            "{controller}"
        );
    }
    let read = || match metrics::read(&cgroup).unwrap() {
        Metrics::V1(m) => m,
        Metrics::V2(_) => panic!("v2"),
    };
    std::fs::write(b.dir("pids").join("pids.max"), "50").unwrap();
    std::fs::write(b.dir("memory").join("memory.limit_in_bytes"), "64M").unwrap();
    let m = read();
    assert_eq!(m.pids.unwrap().current, 1);
    assert_eq!(m.pids.unwrap().limit, 50);
    let memory = m.memory.unwrap();
    assert_eq!(memory.usage.limit, 64 << 20);
    assert_eq!(memory.hierarchical_memory_limit, 64 << 20);
    assert!(memory.usage.usage > 0 && memory.usage.max >= memory.usage.usage);
    assert_eq!(m.memory_oom_control.unwrap().oom_kill, 0);
    assert!(m.blkio.is_some() && m.hugetlb.is_empty());
    let before = m.cpu.total;
    assert_eq!(m.cpu.per_cpu.iter().sum::<u64>(), before);
    go(&mut child);
    // A zombie: the cgroup of a process can no longer be found by it, its figures can be read.
    wait_for_zombie(pid);
    assert!(matches!(
        Cgroup::of(pid, &mut Mounts::new()),
        Err(Error::NotFound)
    ));
    let m = read();
    assert!(m.cpu.total > before && m.cpu.total >= m.cpu.user);
    child.wait().unwrap();
    let m = read();
    let memory = m.memory.unwrap();
    assert!(memory.total.pgfault > 0 && memory.own.pgfault > 0, "{memory:?}");
    assert!(m.cpu.total > before && m.pids.unwrap().current == 0);
    std::fs::write(b.dir("pids").join("pids.max"), "max").unwrap();
    assert_eq!(read().pids.unwrap().limit, 0);
    assert!(cgroup.exists());
    b.remove();
    assert!(!cgroup.exists());
    assert!(matches!(metrics::read(&cgroup), Err(Error::NotFound)));
    assert!(matches!(
        Cgroup::of(pid, &mut Mounts::new()),
        Err(Error::NotFound)
    ));
}

fn wait_for_zombie(pid: i32) {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        if stat.contains(") Z ") {
            return;
        }
        assert!(Instant::now() < end, "{stat}");
        std::thread::yield_now();
    }
}

#[test]
fn version_2_is_measured_until_it_is_removed() {
    if !in_v2("version_2_is_measured_until_it_is_removed") {
        return;
    }
    let b = Box::make("v2");
    let mut child = b.shell(WORK);
    let cgroup = cgroup_of(&child);
    assert_eq!(cgroup, Cgroup::V2(b.dirs[0].clone()));
    let read = || match metrics::read(&cgroup).unwrap() {
        Metrics::V2(m) => m,
        Metrics::V1(_) => panic!("v1"),
    };
    let before = read();
    go(&mut child);
    wait_for_zombie(child.id() as i32);
    assert_eq!(cgroup_of(&child), cgroup, "version 2 remembers a zombie's");
    child.wait().unwrap();
    let after = read();
    assert!(after.cpu.usage_usec > before.cpu.usage_usec);
    assert!(after.cpu.usage_usec >= after.cpu.user_usec);
    if b.dirs[0].join("cpu.pressure").exists() {
        let pressure = after.cpu.pressure.unwrap();
        assert!(pressure.some.is_some());
        assert!(after.memory.pressure.is_some() && after.io_pressure.is_some());
    } else {
        println!("skipped: the kernel does not measure pressure");
    }
    assert_eq!(
        after.memory_events.is_some(),
        b.dirs[0].join("memory.events").exists()
    );
    b.remove();
    assert!(matches!(metrics::read(&cgroup), Err(Error::NotFound)));
}

/// On a hybrid host: a container with only a version 2 cgroup, and one with only some hierarchies.
#[test]
fn what_a_container_has_decides_not_what_the_host_has() {
    if !is_root() {
        return;
    }
    if is_v2("/sys/fs/cgroup") || !is_v2("/sys/fs/cgroup/unified") {
        println!("skipped: the host is not hybrid");
        return;
    }
    let mut b = Box::make("hybrid");
    let unified = b
        .dirs
        .iter()
        .position(|d| d.starts_with("/sys/fs/cgroup/unified"));
    let only = Box {
        dirs: vec![b.dirs.remove(unified.unwrap())],
    };
    let mut child = only.shell("");
    assert_eq!(cgroup_of(&child), Cgroup::V2(only.dirs[0].clone()));
    go(&mut child);
    child.wait().unwrap();
    let mut child = b.shell("");
    assert!(matches!(cgroup_of(&child), Cgroup::V1(_)));
    go(&mut child);
    child.wait().unwrap();
}

#[test]
fn figures_of_a_version_2_cgroup_with_every_controller() {
    let dir = std::env::temp_dir().join(format!("shim-figures-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    for (name, text) in [
        ("cgroup.procs", ""),
        ("pids.current", "3\n"),
        ("pids.max", "max\n"),
        (
            "cpu.stat",
            "usage_usec 9\nuser_usec 4\nsystem_usec 5\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\nnr_bursts 6\nburst_usec 7\n",
        ),
        ("memory.current", "4096\n"),
        ("memory.max", "8192\n"),
        ("memory.peak", "5000\n"),
        ("memory.swap.current", "1\n"),
        ("memory.swap.max", "max\n"),
        (
            "memory.stat",
            "anon 11\nfile 12\nkernel 13\ninactive_file 14\nworkingset_refault_anon 15\nthp_collapse_alloc 16\n",
        ),
        (
            "memory.events",
            "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n",
        ),
        (
            "memory.pressure",
            "some avg10=1.25 avg60=0.00 avg300=0.00 total=8\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        ),
        ("rdma.current", "mlx5_0 hca_handle=1 hca_object=2\n"),
        ("rdma.max", "mlx5_0 hca_handle=max hca_object=2000\n"),
        ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
    ] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    let m = metrics::v2::read(&dir);
    std::fs::remove_dir_all(&dir).unwrap();
    let m = m.unwrap();
    assert_eq!((m.pids.current, m.pids.limit), (3, u64::MAX));
    let c = m.cpu;
    assert_eq!((c.usage_usec, c.user_usec, c.system_usec), (9, 4, 5));
    assert_eq!((c.nr_periods, c.nr_throttled, c.throttled_usec), (1, 2, 3));
    assert_eq!((c.nr_bursts, c.burst_usec), (6, 7));
    let y = m.memory;
    assert_eq!((y.usage, y.usage_limit, y.max_usage), (4096, 8192, 5000));
    assert_eq!((y.swap_usage, y.swap_limit, y.swap_max_usage), (1, u64::MAX, 0));
    assert_eq!((y.anon, y.file, y.inactive_file), (11, 12, 14));
    assert_eq!((y.workingset_refault_anon, y.thp_collapse_alloc), (15, 16));
    assert_eq!(y.pressure.unwrap().some.unwrap().avg10, 1.25);
    assert_eq!(y.pressure.unwrap().full.unwrap().total, 7);
    let e = m.memory_events.unwrap();
    assert_eq!((e.low, e.high, e.max), (1, 2, 3));
    assert_eq!((e.oom, e.oom_kill, e.oom_group_kill), (4, 5, 6));
    assert_eq!(m.rdma_limit[0].hca_handles, u32::MAX);
    assert_eq!(m.rdma_current[0].hca_objects, 2);
    assert_eq!((m.io[0].rbytes, m.io[0].wios), (1, 4));
    assert!(m.io_pressure.is_none() && m.cpu.pressure.is_none());
    assert!(matches!(metrics::v2::read(&dir), Err(Error::NotFound)));
}

#[test]
fn the_network_is_that_of_the_container_while_it_lives() {
    if !is_root() {
        return;
    }
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", "echo in; read go"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
    let pid = child.id() as i32;
    let all = metrics::network_of(pid);
    assert!(all.len() == 1 && all[0].name == "lo", "{all:?}");
    assert!(metrics::network_of(std::process::id() as i32).is_empty(), "ours");
    go(&mut child);
    wait_for_zombie(pid);
    assert!(metrics::network_of(pid).is_empty());
    child.wait().unwrap();
    assert!(metrics::network_of(pid).is_empty());
}

/// Kills by the memory limit of the cgroup `b` are told; the watch outlives it.
fn judge_watch(b: &Box, limit: &[(&str, &str)]) {
    for (file, value) in limit {
        std::fs::write(b.dir("memory").join(file), value).unwrap();
    }
    let mut child = b.shell("x=$(head -c 50000000 /dev/zero | tr '\\0' x)");
    let cgroup = cgroup_of(&child);
    let mut watch = OomWatch::begin(&cgroup).unwrap().unwrap();
    assert!(!watch.take());
    assert_eq!(watch.check(), Some(0));
    go(&mut child);
    let deadline = sys::wait::Deadline::after(Duration::from_secs(20));
    // The first wake-ups may be for the limit that was met, not for the kill.
    while !watch.take() {
        sys::wait::readable(watch.as_fd(), deadline).unwrap();
    }
    child.wait().unwrap();
    let kills = watch.check().unwrap();
    assert!(kills > 0);
    let mut more = 0;
    while watch.take() {
        more += 1;
    }
    assert!(more <= kills, "no kill is told for ever");
    assert!(!watch.take());
    b.remove();
    if matches!(cgroup, Cgroup::V1(_)) {
        // The signal of the removal comes by a work queue of the kernel.
        sys::wait::readable(watch.as_fd(), deadline).unwrap();
    }
    assert!(!watch.take(), "removal is no kill");
    assert_eq!(watch.check(), None);
    let begun = OomWatch::begin(&cgroup);
    assert!(matches!(begun, Err(Error::NotFound)), "{begun:?}");
    // It does not stay readable, which would keep an event loop busy.
    let now = sys::wait::Deadline::after(Duration::ZERO);
    assert!(sys::wait::readable(watch.as_fd(), now).is_err());
}

#[test]
fn kills_of_version_1_are_told() {
    if !is_root() {
        return;
    }
    if is_v2("/sys/fs/cgroup") {
        println!("skipped: the host has no cgroup v1");
        return;
    }
    judge_watch(&Box::make("oom-v1"), &[("memory.limit_in_bytes", "4194304")]);
}

#[test]
fn kills_of_version_2_are_told() {
    if !in_v2("kills_of_version_2_are_told") {
        return;
    }
    let b = Box::make("oom-v2");
    if !b.dirs[0].join("memory.events").exists() {
        println!("skipped: the v2 tree has no memory controller");
        let mut child = b.shell("");
        assert!(OomWatch::begin(&cgroup_of(&child)).unwrap().is_none());
        go(&mut child);
        child.wait().unwrap();
        return;
    }
    judge_watch(&b, &[("memory.max", "4194304"), ("memory.swap.max", "0")]);
}
