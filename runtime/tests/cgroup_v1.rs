//! cgroup v1 against the kernel of this host, in cgroups of their own below the test's.

#![allow(clippy::unwrap_used, clippy::panic)]

use runtime::cgroup::{self, Born, Cgroup, CgroupPaths, CgroupPlan, Layout, OwnCgroups, Phase, Share};
use runtime::config::{self, Config};
use runtime::facts::HostFacts;
use runtime::problems::Problems;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A cgroup that is gone when the test ends, however it ends.
struct Box {
    plan: CgroupPlan,
    cgroup: Cgroup,
}

impl Drop for Box {
    fn drop(&mut self) {
        let cgroup = Cgroup::open(self.plan.paths.clone());
        let gone = cgroup.kill_all().and_then(|()| cgroup.destroy());
        if let Err(e) = gone {
            eprintln!("left behind: {e}");
        }
    }
}

fn skipped() -> bool {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    if !text.lines().any(|l| l.starts_with("Uid:\t0\t0")) {
        println!("skipped: cgroup v1 needs root");
        return true;
    }
    let own = OwnCgroups::probe().unwrap();
    if !matches!(cgroup::probe_layout(&own).unwrap(), Layout::Legacy { .. }) {
        println!("skipped: the host has no cgroup v1");
        return true;
    }
    false
}

fn unique(name: &str) -> String {
    format!("runb-test-{}-{name}", std::process::id())
}

fn plan(name: &str, resources: &str) -> CgroupPlan {
    let own = OwnCgroups::probe().unwrap();
    let layout = cgroup::probe_layout(&own).unwrap();
    let config: Config =
        config::parse(format!("{{\"linux\":{{\"resources\":{resources}}}}}").as_bytes()).unwrap();
    let mut problems = Problems::default();
    let plan = cgroup::plan_cgroup(
        &config,
        &unique(name),
        "runb",
        &layout,
        &own,
        &HostFacts::default(),
        &mut problems,
    );
    problems.into_result().unwrap();
    plan
}

fn make(name: &str, resources: &str) -> Box {
    let plan = plan(name, resources);
    cgroup::refuse_used(&plan.paths).unwrap();
    let cgroup = cgroup::create(&plan).unwrap();
    Box { plan, cgroup }
}

impl Box {
    fn read(&self, controller: &str, file: &str) -> String {
        let dir = self.cgroup.paths().dir_of(controller).unwrap().path();
        std::fs::read_to_string(dir.join(file))
            .unwrap()
            .trim()
            .to_string()
    }

    fn limit(&self) {
        self.cgroup.apply_devices(&self.plan).unwrap();
        self.cgroup.apply_limits(&self.plan, Phase::Early).unwrap();
        self.cgroup.apply_limits(&self.plan, Phase::Late).unwrap();
    }
}

/// A process that lives until it is killed; reaped by the guard.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Sleeper(child)
    }
    fn pid(&self) -> i32 {
        self.0.id() as i32
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn limits_arrive_in_the_files() {
    if skipped() {
        return;
    }
    let b = make(
        "limits",
        r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432,"swappiness":10},
            "cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"cpus":"0"},
            "pids":{"limit":42}}"#,
    );
    b.limit();
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("pids", "pids.max", "42"),
    ] {
        assert_eq!(b.read(controller, file), value, "{file}");
    }
}

#[test]
fn the_default_path_is_below_our_own() {
    if skipped() {
        return;
    }
    let b = make("path", "{}");
    let own = OwnCgroups::probe().unwrap();
    for h in &own.v1 {
        let dir = b.cgroup.paths().dir_of(&h.controllers[0]).unwrap();
        let below = Path::new(h.path.trim_start_matches('/')).join(unique("path"));
        assert_eq!(dir.below, below);
        assert!(dir.path().is_dir());
    }
}

#[test]
fn device_rules_are_what_the_kernel_lists() {
    if skipped() {
        return;
    }
    let b = make(
        "devices",
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#,
    );
    b.limit();
    let list = b.read("devices", "devices.list");
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    let mut expected = vec![
        "b *:* m",
        "c *:* m",
        "c 10:200 rwm",
        "c 10:229 rw",
        "c 136:* rwm",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 5:2 rwm",
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    // A second time nothing is left to do.
    b.cgroup.apply_devices(&b.plan).unwrap();
}

#[test]
fn a_process_joins_is_listed_killed_and_the_cgroup_removed() {
    if skipped() {
        return;
    }
    let b = make("kill", "{}");
    let sleeper = Sleeper::new();
    b.cgroup
        .join(sleeper.pid(), Share::AllButMemory, Born::Outside)
        .unwrap();
    let of = |c: &str| {
        OwnCgroups::probe_of(sleeper.pid())
            .unwrap()
            .find_v1(c)
            .unwrap()
            .path
            .clone()
    };
    assert!(of("pids").ends_with(&unique("kill")));
    assert!(!of("memory").ends_with(&unique("kill")));
    b.cgroup
        .join(sleeper.pid(), Share::Memory, Born::Outside)
        .unwrap();
    assert!(of("memory").ends_with(&unique("kill")));
    assert_eq!(b.cgroup.all_pids().unwrap(), [sleeper.pid()]);
    assert_eq!(b.cgroup.pids().unwrap(), [sleeper.pid()]);
    let again = cgroup::create(&b.plan).unwrap_err().to_string();
    assert!(
        again.contains("container's cgroup is not empty: 1 process(es) found"),
        "{again}"
    );
    assert!(
        b.cgroup.paths().dirs().iter().all(|d| d.path().is_dir()),
        "a refusal removes nothing"
    );
    let sub = b.cgroup.paths().dir_of("pids").unwrap().path().join("a/b");
    std::fs::create_dir_all(sub).unwrap();
    reap_while(sleeper, || b.cgroup.kill_all().unwrap());
    b.cgroup.destroy().unwrap();
    assert!(b.cgroup.paths().dirs().iter().all(|d| !d.path().exists()));
    b.cgroup.destroy().unwrap();
    assert_eq!(b.cgroup.all_pids().unwrap(), Vec::<i32>::new());
}

/// The killed process stays in its cgroup until its parent, this test, has reaped it.
fn reap_while(mut sleeper: Sleeper, work: impl FnOnce()) {
    let reaper = std::thread::spawn(move || sleeper.0.wait().unwrap());
    work();
    reaper.join().unwrap();
}

#[test]
fn a_frozen_container_dies_too() {
    if skipped() {
        return;
    }
    let b = make("frozen", "{}");
    let sleeper = Sleeper::new();
    b.cgroup.join(sleeper.pid(), Share::All, Born::Outside).unwrap();
    assert!(!b.cgroup.is_frozen().unwrap());
    b.cgroup.freeze().unwrap();
    assert!(b.cgroup.is_frozen().unwrap());
    assert_eq!(b.read("freezer", "freezer.state"), "FROZEN");
    b.cgroup.thaw().unwrap();
    assert!(!b.cgroup.is_frozen().unwrap());
    b.cgroup.freeze().unwrap();
    reap_while(sleeper, || b.cgroup.kill_all().unwrap());
    b.cgroup.thaw().unwrap();
}

#[test]
fn a_frozen_empty_cgroup_is_refused() {
    if skipped() {
        return;
    }
    let b = make("used", "{}");
    b.cgroup.freeze().unwrap();
    let e = cgroup::refuse_used(&b.plan.paths).unwrap_err().to_string();
    assert_eq!(e, "container's cgroup unexpectedly frozen");
    b.cgroup.thaw().unwrap();
    cgroup::refuse_used(&b.plan.paths).unwrap();
}

#[test]
fn a_thread_enters_by_itself() {
    if skipped() {
        return;
    }
    let b = make("enter", "{}");
    // cgroup.procs would move the whole test process, so the v2 directory is left out.
    let entrance = b.cgroup.entrance(Share::AllButMemory).unwrap();
    let memory = b.cgroup.entrance(Share::Memory).unwrap();
    let where_am_i = || OwnCgroups::parse(&std::fs::read_to_string("/proc/thread-self/cgroup").unwrap());
    std::thread::scope(|s| {
        s.spawn(|| {
            entrance.enter().unwrap();
            let now = where_am_i();
            assert!(now.find_v1("pids").unwrap().path.ends_with(&unique("enter")));
            assert!(!now.find_v1("memory").unwrap().path.ends_with(&unique("enter")));
            memory.enter().unwrap();
            assert!(
                where_am_i()
                    .find_v1("memory")
                    .unwrap()
                    .path
                    .ends_with(&unique("enter"))
            );
            come_back();
        })
        .join()
        .unwrap();
    });
}

#[test]
fn a_memory_limit_below_what_is_used_says_so() {
    if skipped() {
        return;
    }
    let b = make("memory", r#"{"memory":{"limit":4096}}"#);
    let sleeper = Sleeper::new();
    b.cgroup.join(sleeper.pid(), Share::All, Born::Outside).unwrap();
    // A shell that holds 8 MiB it cannot be robbed of.
    let dir = b.cgroup.paths().dir_of("memory").unwrap().path();
    let mut holder = Command::new("sh")
        .arg("-c")
        .arg(format!(
            "echo $$ > {}/cgroup.procs; x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; read y",
            dir.display()
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(holder.stdout.take().unwrap()),
        &mut line,
    )
    .unwrap();
    let e = b
        .cgroup
        .apply_limits(&b.plan, Phase::Late)
        .unwrap_err()
        .to_string();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(
        e.starts_with("unable to set memory limit to 4096 (current usage: "),
        "{e}"
    );
    assert!(e.contains(", peak usage: "), "{e}");
}

#[test]
fn a_value_that_only_the_kernel_can_judge_names_file_and_value() {
    if skipped() {
        return;
    }
    let b = make("bad", r#"{"cpu":{"cpus":"4711"}}"#);
    let e = b
        .cgroup
        .apply_limits(&b.plan, Phase::Early)
        .unwrap_err()
        .to_string();
    assert!(
        e.starts_with("failed to write \"4711\": write /sys/fs/cgroup/cpuset/"),
        "{e}"
    );
    assert!(e.contains("/cpuset.cpus: "), "{e}");
}

#[test]
fn nothing_stays_when_creation_fails_half_way() {
    if skipped() {
        return;
    }
    let mut plan = plan("half", "{}");
    let CgroupPaths::Legacy { hierarchies, .. } = &mut plan.paths else {
        panic!("not legacy")
    };
    // The last hierarchy is one where nothing can be made.
    hierarchies.last_mut().unwrap().dir.mountpoint = PathBuf::from("/proc");
    cgroup::create(&plan).unwrap_err();
    for dir in plan.paths.dirs() {
        assert!(!dir.path().exists(), "{}", dir.path().display());
    }
}

#[test]
fn statistics_are_what_the_files_say() {
    if skipped() {
        return;
    }
    let b = make(
        "stats",
        r#"{"memory":{"limit":67108864},"pids":{"limit":42},"cpu":{"cpus":"0","quota":50000}}"#,
    );
    b.limit();
    let sleeper = Sleeper::new();
    b.cgroup.join(sleeper.pid(), Share::All, Born::Outside).unwrap();
    // Burn some time inside.
    let dirs: Vec<String> = ["cpu", "cpuacct", "memory"]
        .iter()
        .map(|c| b.cgroup.paths().dir_of(c).unwrap().path().display().to_string())
        .collect();
    let script = format!(
        "for d in {}; do echo $$ > $d/cgroup.procs; done; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done",
        dirs.join(" ")
    );
    assert!(
        Command::new("sh")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    );
    let stats = b.cgroup.stats().unwrap();
    assert_eq!((stats.pids.current, stats.pids.limit), (1, 42));
    assert_eq!(stats.memory.usage.limit, 67108864);
    assert!(stats.memory.usage.max > 0);
    assert!(stats.memory.raw.contains_key("rss"));
    assert_eq!(stats.cpuset.cpus, [0]);
    assert_eq!(stats.cpuset.sched_load_balance, 1);
    assert_eq!(stats.cpuset.sched_relax_domain_level, -1);
    assert!(stats.cpu.usage.total > 0);
    let per_cpu: u64 = stats.cpu.usage.percpu.iter().sum();
    assert_eq!(stats.cpu.usage.total, per_cpu);
    assert_eq!(stats.cpu.usage.percpu.len(), stats.cpu.usage.percpu_user.len());
    assert_eq!(b.cgroup.oom_kills().unwrap(), 0);
}

#[test]
fn running_out_of_memory_is_told_and_counted() {
    if skipped() {
        return;
    }
    let b = make("oom", r#"{"memory":{"limit":4194304,"swap":4194304}}"#);
    b.limit();
    let mut watch = b.cgroup.watch_oom().unwrap();
    let dir = b.cgroup.paths().dir_of("memory").unwrap().path();
    let script = format!(
        "echo $$ > {}/cgroup.procs; x=$(head -c 50000000 /dev/zero | tr '\\0' x)",
        dir.display()
    );
    // Whoever is killed, shell or pipe: the count is what matters.
    Command::new("sh").args(["-c", &script]).status().unwrap();
    let soon = || sys::wait::Deadline::after(std::time::Duration::from_secs(10));
    sys::wait::readable(watch.fd(), soon()).unwrap();
    assert_eq!(watch.take().unwrap(), cgroup::OomEvent::OutOfMemory);
    assert!(b.cgroup.oom_kills().unwrap() > 0);
    b.cgroup.destroy().unwrap();
    sys::wait::readable(watch.fd(), soon()).unwrap();
    assert_eq!(watch.take().unwrap(), cgroup::OomEvent::Over);
}

/// Moves the calling thread to where the test process is. A thread that ended inside would be listed for a moment
/// longer, and killing the container would hit the test.
fn come_back() {
    let own = OwnCgroups::probe().unwrap();
    let Layout::Legacy { hierarchies, .. } = cgroup::probe_layout(&own).unwrap() else {
        panic!("not legacy")
    };
    for h in hierarchies {
        let path = own.find_v1(&h.controllers[0]).unwrap().path.clone();
        let home = h.mountpoint.join(path.trim_start_matches('/'));
        std::fs::write(home.join("tasks"), "0").unwrap();
    }
}

fn parsed(json: &str) -> config::Resources {
    config::parse(json.as_bytes()).unwrap()
}

#[test]
fn an_update_changes_what_it_says() {
    if skipped() {
        return;
    }
    let old = r#"{"memory":{"limit":67108864,"swap":134217728},"cpu":{"quota":50000,"period":100000},"pids":{"limit":42}}"#;
    let b = make("update", old);
    b.limit();
    let layout = b.cgroup.layout().unwrap();
    let mut record = parsed(old);
    for (new, expected) in [
        // Growing beyond the old total, then shrinking below the old limit: each order once.
        (
            r#"{"memory":{"limit":268435456,"swap":536870912}}"#,
            [
                ("memory", "memory.limit_in_bytes", "268435456"),
                ("memory", "memory.memsw.limit_in_bytes", "536870912"),
            ],
        ),
        (
            r#"{"memory":{"limit":33554432,"swap":33554432}}"#,
            [
                ("memory", "memory.limit_in_bytes", "33554432"),
                ("memory", "memory.memsw.limit_in_bytes", "33554432"),
            ],
        ),
        (
            r#"{"cpu":{"quota":80000},"pids":{"limit":-1}}"#,
            [("cpu", "cpu.cfs_quota_us", "80000"), ("pids", "pids.max", "max")],
        ),
        (
            r#"{"cpu":{"period":200000}}"#,
            [
                ("cpu", "cpu.cfs_quota_us", "80000"),
                ("cpu", "cpu.cfs_period_us", "200000"),
            ],
        ),
        (
            r#"{"cpu":{"quota":100000,"burst":90000}}"#,
            [
                ("cpu", "cpu.cfs_quota_us", "100000"),
                ("cpu", "cpu.cfs_burst_us", "90000"),
            ],
        ),
        (
            r#"{"cpu":{"quota":60000,"burst":50000}}"#,
            [
                ("cpu", "cpu.cfs_quota_us", "60000"),
                ("cpu", "cpu.cfs_burst_us", "50000"),
            ],
        ),
        (
            r#"{"memory":{"limit":-1}}"#,
            [
                ("memory", "memory.limit_in_bytes", "9223372036854771712"),
                ("memory", "memory.memsw.limit_in_bytes", "9223372036854771712"),
            ],
        ),
    ] {
        let mut problems = Problems::default();
        let plan = cgroup::plan_update(&record, &parsed(new), &layout, "", &mut problems);
        problems.into_result().unwrap();
        b.cgroup.update(&plan).unwrap();
        for (controller, file, value) in expected {
            assert_eq!(b.read(controller, file), value, "{file} after {new}");
        }
        record = plan.merged;
    }
}

#[test]
fn a_failed_update_leaves_everything_as_it_was() {
    if skipped() {
        return;
    }
    let old = r#"{"memory":{"limit":67108864,"swap":134217728},"pids":{"limit":42},"cpu":{"shares":512}}"#;
    let b = make("rollback", old);
    b.limit();
    let layout = b.cgroup.layout().unwrap();
    let mut problems = Problems::default();
    let mut plan = cgroup::plan_update(
        &parsed(old),
        &parsed(
            r#"{"memory":{"limit":268435456,"swap":536870912},"pids":{"limit":7},"cpu":{"shares":2048,"cpus":"4711"}}"#,
        ),
        &layout,
        "",
        &mut problems,
    );
    problems.into_result().unwrap();
    // The value that the kernel refuses comes last.
    plan.writes.sort_by_key(|w| w.controller == "cpuset");
    let e = b.cgroup.update(&plan).unwrap_err().to_string();
    assert!(
        e.contains("failed to write \"4711\"") && !e.contains("and then"),
        "{e}"
    );
    for (controller, file, value) in [
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "134217728"),
        ("pids", "pids.max", "42"),
        ("cpu", "cpu.shares", "512"),
    ] {
        assert_eq!(b.read(controller, file), value, "{file}");
    }
}

#[test]
fn an_additional_process_enters_sub_cgroups() {
    if skipped() {
        return;
    }
    use runtime::cgroup::Rights;
    use runtime::cli::args::SubCgroup;
    let b = make("exec", "{}");
    let sub = b.cgroup.paths().dir_of("pids").unwrap().path().join("inner");
    std::fs::create_dir(&sub).unwrap();
    let path_of = |pid: i32, c: &str| {
        OwnCgroups::probe_of(pid)
            .unwrap()
            .find_v1(c)
            .unwrap()
            .path
            .clone()
    };
    let sleeper = Sleeper::new();
    let inner = SubCgroup::Controllers(vec![("pids".into(), "inner".into())]);
    b.cgroup
        .plan_exec(&inner, sleeper.pid(), Rights::Full)
        .unwrap()
        .join(sleeper.pid(), Born::Outside)
        .unwrap();
    assert!(path_of(sleeper.pid(), "pids").ends_with("exec/inner"));
    assert!(path_of(sleeper.pid(), "memory").ends_with(&unique("exec")));
    let missing = SubCgroup::Controllers(vec![("pids".into(), "missing".into())]);
    let plan = b.cgroup.plan_exec(&missing, sleeper.pid(), Rights::Full).unwrap();
    let e = plan.join(sleeper.pid(), Born::Outside).unwrap_err().to_string();
    assert!(
        e.contains("error adding pid") && e.contains("no such file or directory"),
        "{e}"
    );
    assert!(plan.v1_entrance(Share::All).is_err());
    let entrance = b
        .cgroup
        .plan_exec(&SubCgroup::Own, 1, Rights::Full)
        .unwrap()
        .v1_entrance(Share::All)
        .unwrap();
    std::thread::scope(|s| {
        s.spawn(|| {
            entrance.enter().unwrap();
            let own = OwnCgroups::parse(&std::fs::read_to_string("/proc/thread-self/cgroup").unwrap());
            assert!(own.find_v1("memory").unwrap().path.ends_with(&unique("exec")));
            come_back();
        });
    });
    reap_while(sleeper, || b.cgroup.kill_all().unwrap());
}

#[test]
fn an_ordinary_user_gets_no_cgroup_and_needs_no_rights_for_that() {
    const NAME: &str = "an_ordinary_user_gets_no_cgroup_and_needs_no_rights_for_that";
    const AS_USER: &str = "RUNB_TEST_AS_USER";
    if std::env::var_os(AS_USER).is_none() {
        if skipped() {
            return;
        }
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(AS_USER, "1")
            .output();
        let Ok(output) = output else {
            println!("skipped: setpriv is not installed");
            return;
        };
        if String::from_utf8_lossy(&output.stderr).contains("BusyBox") {
            println!("skipped: busybox's setpriv does not change the user");
            return;
        }
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        if text.to_lowercase().contains("permission denied") && !text.contains("panicked") {
            println!("skipped: the test program is not readable for another user");
            return;
        }
        print!("{text}");
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let rootless = |path: &str, limits: &str| {
        let mut p = plan("user", limits);
        p.rootless = true;
        if !path.is_empty() {
            p.explicit_path = true;
        }
        cgroup::create(&p).and_then(|c| c.apply_devices(&p).map(|()| c))
    };
    let none = rootless("", "{}").unwrap();
    assert!(none.is_none());
    assert_eq!(none.all_pids().unwrap(), Vec::<i32>::new());
    none.kill_all().unwrap();
    none.destroy().unwrap();
    let e = rootless("", r#"{"memory":{"limit":100000000}}"#)
        .unwrap_err()
        .to_string();
    assert!(e.starts_with("rootless needs no limits + no cgrouppath"), "{e}");
    let e = rootless("/x", "{}").unwrap_err().to_string();
    assert!(e.ends_with("permission denied"), "{e}");
}

/// True when the host has the controller; says so otherwise.
fn has(controller: &str) -> bool {
    let found = OwnCgroups::probe().unwrap().find_v1(controller).is_some();
    if !found {
        println!("skipped: the host has no v1 {controller} controller");
    }
    found
}

#[test]
fn huge_pages_are_limited_by_size() {
    if skipped() || !has("hugetlb") {
        return;
    }
    let b = make(
        "huge",
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#,
    );
    b.limit();
    assert_eq!(b.read("hugetlb", "hugetlb.2MB.limit_in_bytes"), "4194304");
    assert_eq!(b.read("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes"), "4194304");
    assert_eq!(b.cgroup.stats().unwrap().hugetlb["2MB"].failcnt, 0);
    let mut p = plan("huge", "{}");
    let json = r#"{"hugepageLimits":[{"pageSize":"3MB","limit":0}]}"#;
    let layout = b.cgroup.layout().unwrap();
    p.writes = cgroup::plan_writes(&parsed(json), &layout, "", &mut Problems::default());
    let e = b.cgroup.apply_limits(&p, Phase::Early).unwrap_err().to_string();
    assert!(e.contains("the page size \"3MB\" is not known here"), "{e}");
}

#[test]
fn network_packets_carry_class_and_priority() {
    if skipped() || !has("net_cls") || !has("net_prio") {
        return;
    }
    let b = make(
        "net",
        r#"{"network":{"classID":1048577,"priorities":[{"name":"lo","priority":5}]}}"#,
    );
    b.limit();
    assert_eq!(b.read("net_cls", "net_cls.classid"), "1048577");
    assert!(
        b.read("net_prio", "net_prio.ifpriomap")
            .lines()
            .any(|l| l == "lo 5")
    );
}

#[test]
fn block_devices_are_throttled() {
    if skipped() || !has("blkio") {
        return;
    }
    let Some(device) = std::fs::read_dir("/sys/block")
        .unwrap()
        .filter_map(|e| std::fs::read_to_string(e.unwrap().path().join("dev")).ok())
        .map(|d| d.trim().to_string())
        .next()
    else {
        println!("skipped: there is no block device");
        return;
    };
    let (major, minor) = device.split_once(':').unwrap();
    let throttle = |rate: u64| {
        format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":{rate}}}]}}}}"#
        )
    };
    let b = make("blkio", &throttle(1_048_576));
    b.limit();
    let file = "blkio.throttle.read_bps_device";
    assert_eq!(b.read("blkio", file), format!("{device} 1048576"));
    let update = |new: &str| {
        let layout = b.cgroup.layout().unwrap();
        let old = parsed(&throttle(1_048_576));
        let plan = cgroup::plan_update(&old, &parsed(new), &layout, "", &mut Problems::default());
        b.cgroup.update(&plan)
    };
    update(&throttle(2_097_152)).unwrap();
    assert_eq!(b.read("blkio", file), format!("{device} 2097152"));
    update(&throttle(0)).unwrap();
    assert_eq!(b.read("blkio", file), "");
}

#[test]
fn a_container_that_forks_without_end_dies() {
    if skipped() {
        return;
    }
    let b = make("forks", r#"{"pids":{"limit":300}}"#);
    b.limit();
    // Without the v2 tree there is no cgroup.kill: freezing has to stop the forks.
    let CgroupPaths::Legacy { hierarchies, .. } = b.cgroup.paths().clone() else {
        panic!("not legacy")
    };
    let dirs: Vec<String> = hierarchies
        .iter()
        .map(|h| h.dir.path().display().to_string())
        .collect();
    let bare = Cgroup::open(CgroupPaths::Legacy {
        hierarchies,
        unified: None,
    });
    let script = format!(
        "for d in {}; do echo $$ > $d/cgroup.procs; done; f() {{ f & f & sleep 100; }}; f 2>/dev/null",
        dirs.join(" ")
    );
    let mut bomb = Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = sys::wait::Deadline::after(std::time::Duration::from_secs(20));
    while bare.all_pids().unwrap().len() < 50 {
        assert!(!deadline.is_over(), "the bomb did not go off");
    }
    let reaper = std::thread::spawn(move || bomb.wait().unwrap());
    bare.kill_all().unwrap();
    reaper.join().unwrap();
    assert_eq!(bare.all_pids().unwrap(), Vec::<i32>::new());
    assert!(!bare.is_frozen().unwrap());
    b.cgroup.destroy().unwrap();
}
