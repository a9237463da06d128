//! cgroup v2 against the kernel. On a host with v1 hierarchies each test runs again, alone, in a mount namespace in which
//! /sys/fs/cgroup is one v2 tree; it then has the core files and only controllers that v1 does not hold.

#![allow(clippy::unwrap_used, clippy::panic)]

use runtime::cgroup::{self, Born, Cgroup, CgroupPaths, CgroupPlan, Layout, OwnCgroups, Phase, Share};
use runtime::config::{self, Config};
use runtime::facts::HostFacts;
use runtime::problems::Problems;
use std::process::{Child, Command, Stdio};

const INSIDE: &str = "RUNB_TEST_INSIDE_V2";

/// True when the caller is to go on: it sees a v2 tree and is root.
fn in_v2(test: &str) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    if !status.lines().any(|l| l.starts_with("Uid:\t0\t0")) {
        println!("skipped: cgroup v2 needs root");
        return false;
    }
    let unified = || {
        let own = OwnCgroups::probe().unwrap();
        matches!(cgroup::probe_layout(&own).unwrap(), Layout::Unified { .. })
    };
    if unified() {
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

fn plan(path: &str, resources: &str) -> CgroupPlan {
    let own = OwnCgroups::probe().unwrap();
    let layout = cgroup::probe_layout(&own).unwrap();
    let json = format!("{{\"linux\":{{\"cgroupsPath\":\"{path}\",\"resources\":{resources}}}}}");
    let config: Config = config::parse(json.as_bytes()).unwrap();
    let mut problems = Problems::default();
    let plan = cgroup::plan_cgroup(
        &config,
        "box",
        "runb",
        &layout,
        &own,
        &HostFacts::default(),
        &mut problems,
    );
    problems.into_result().unwrap();
    plan
}

fn unique(name: &str) -> String {
    format!("/runb-test-{}-{name}", std::process::id())
}

fn make(name: &str, resources: &str) -> Box {
    let plan = plan(&unique(name), resources);
    cgroup::refuse_used(&plan.paths).unwrap();
    let cgroup = cgroup::create(&plan).unwrap();
    Box { plan, cgroup }
}

impl Box {
    fn dir(&self) -> std::path::PathBuf {
        self.cgroup.paths().v2().unwrap().path()
    }

    /// Runs a shell script inside the cgroup: (success, what it wrote).
    fn shell(&self, script: &str) -> (bool, String) {
        let script = format!(
            "echo $$ > {}/cgroup.procs || exit 99; {script}",
            self.dir().display()
        );
        let out = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr),
        )
    }
}

fn sleeper() -> Child {
    Command::new("sleep")
        .arg("1000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn kill_reaches_sub_cgroups_and_destroy_removes_them() {
    if !in_v2("kill_reaches_sub_cgroups_and_destroy_removes_them") {
        return;
    }
    let b = make("kill", "{}");
    let (mut one, mut two) = (sleeper(), sleeper());
    let sub = b.dir().join("x/y");
    std::fs::create_dir_all(&sub).unwrap();
    b.cgroup.join(one.id() as i32, Share::All, Born::Outside).unwrap();
    std::fs::write(sub.join("cgroup.procs"), two.id().to_string()).unwrap();
    let mut both = [one.id() as i32, two.id() as i32];
    both.sort_unstable();
    assert_eq!(b.cgroup.all_pids().unwrap(), both);
    assert_eq!(b.cgroup.pids().unwrap(), [one.id() as i32]);
    let e = cgroup::create(&b.plan).unwrap_err().to_string();
    assert!(
        e.contains("container's cgroup is not empty: 2 process(es) found"),
        "{e}"
    );
    let reaper = std::thread::spawn(move || (one.wait().unwrap(), two.wait().unwrap()));
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
    b.cgroup.destroy().unwrap();
    assert!(!b.dir().exists());
    b.cgroup.destroy().unwrap();
}

#[test]
fn a_frozen_cgroup_is_frozen_and_can_be_killed() {
    if !in_v2("a_frozen_cgroup_is_frozen_and_can_be_killed") {
        return;
    }
    let b = make("freeze", "{}");
    let mut one = sleeper();
    b.cgroup.join(one.id() as i32, Share::All, Born::Outside).unwrap();
    b.cgroup.freeze().unwrap();
    assert!(b.cgroup.is_frozen().unwrap());
    let events = std::fs::read_to_string(b.dir().join("cgroup.events")).unwrap();
    assert!(events.contains("frozen 1"), "{events}");
    b.cgroup.thaw().unwrap();
    assert!(!b.cgroup.is_frozen().unwrap());
    b.cgroup.freeze().unwrap();
    let reaper = std::thread::spawn(move || one.wait().unwrap());
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
}

#[test]
fn a_frozen_empty_cgroup_is_refused() {
    if !in_v2("a_frozen_empty_cgroup_is_refused") {
        return;
    }
    let b = make("refused", "{}");
    b.cgroup.freeze().unwrap();
    let e = cgroup::create(&b.plan).unwrap_err().to_string();
    assert_eq!(e, "container's cgroup unexpectedly frozen");
}

#[test]
fn device_rules_decide_what_opens() {
    if !in_v2("device_rules_decide_what_opens") {
        return;
    }
    // 1:11 is kmsg, 1:1 was mem.
    let b = make("devices", r#"{"devices":[{"allow":false,"access":"rwm"}]}"#);
    b.cgroup.apply_devices(&b.plan).unwrap();
    let (ok, text) = b.shell("exec </dev/zero && exec >/dev/null");
    assert!(ok, "{text}");
    let (ok, text) = b.shell("exec </dev/kmsg");
    assert!(
        !ok && text.to_lowercase().contains("operation not permitted"),
        "{text}"
    );
    // Another list for the same cgroup: the old filter is replaced, or the new rule would change nothing.
    let wider = plan(
        &unique("devices"),
        r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}"#,
    );
    b.cgroup.apply_devices(&wider).unwrap();
    let (ok, text) = b.shell("exec </dev/kmsg");
    assert!(ok, "{text}");
    let (ok, _) = b.shell("exec <>/dev/kmsg");
    assert!(!ok, "only reading is allowed");
    b.cgroup.apply_devices(&wider).unwrap();
    let dir = sys::fs::open(&b.dir(), libc::O_RDONLY | libc::O_DIRECTORY, 0).unwrap();
    use std::os::fd::AsFd;
    assert_eq!(sys::bpf::device_filters(dir.as_fd()).unwrap().len(), 1);
}

#[test]
fn a_denied_device_stays_denied_for_reading_and_writing_at_once() {
    if !in_v2("a_denied_device_stays_denied_for_reading_and_writing_at_once") {
        return;
    }
    let b = make(
        "hole",
        r#"{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"w"}]}"#,
    );
    b.cgroup.apply_devices(&b.plan).unwrap();
    for (redirection, passes) in [("<", true), (">", false), ("<>", false)] {
        let (ok, text) = b.shell(&format!("exec {redirection}/dev/kmsg"));
        assert_eq!(ok, passes, "{redirection} {text}");
    }
}

#[test]
fn controllers_are_enabled_down_the_path() {
    if !in_v2("controllers_are_enabled_down_the_path") {
        return;
    }
    let own = OwnCgroups::probe().unwrap();
    let Layout::Unified { controllers, .. } = cgroup::probe_layout(&own).unwrap() else {
        panic!("not unified")
    };
    if !controllers.iter().any(|c| c == "hugetlb") {
        println!("skipped: the v2 tree has no hugetlb controller");
        return;
    }
    let path = unique("deep");
    let plan = plan(
        &format!("{path}/mid/box"),
        r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],"unified":{"hugetlb.1GB.max":"0"}}"#,
    );
    let cgroup = cgroup::create(&plan).unwrap();
    let b = Box { plan, cgroup };
    b.cgroup.apply_limits(&b.plan, Phase::Early).unwrap();
    let read = |name: &str| std::fs::read_to_string(b.dir().join(name)).unwrap();
    assert_eq!(read("hugetlb.2MB.max"), "4194304\n");
    assert_eq!(read("hugetlb.2MB.rsvd.max"), "4194304\n");
    assert_eq!(read("hugetlb.1GB.max"), "0\n");
    b.cgroup.destroy().unwrap();
    let mid = b.dir().parent().unwrap().to_path_buf();
    drop(b);
    // Parents are not ours to remove; these are the test's.
    std::fs::remove_dir(&mid).unwrap();
    std::fs::remove_dir(mid.parent().unwrap()).unwrap();
}

#[test]
fn a_huge_page_size_that_does_not_exist_is_named() {
    if !in_v2("a_huge_page_size_that_does_not_exist_is_named") {
        return;
    }
    let mut p = plan(&unique("size"), "{}");
    let json = r#"{"hugepageLimits":[{"pageSize":"3MB","limit":0}]}"#;
    let all = Layout::Unified {
        mountpoint: "/sys/fs/cgroup".into(),
        controllers: vec!["hugetlb".into()],
    };
    p.writes = cgroup::plan_writes(
        &config::parse(json.as_bytes()).unwrap(),
        &all,
        "",
        &mut Problems::default(),
    );
    let cgroup = cgroup::create(&p).unwrap();
    let b = Box { plan: p, cgroup };
    let e = b
        .cgroup
        .apply_limits(&b.plan, Phase::Early)
        .unwrap_err()
        .to_string();
    assert!(e.contains("page size \"3MB\" is not known here"), "{e}");
}

#[test]
fn the_unified_paths_are_the_record() {
    if !in_v2("the_unified_paths_are_the_record") {
        return;
    }
    let b = make("record", "{}");
    let text = serde_json::to_string(b.cgroup.paths()).unwrap();
    let again: CgroupPaths = serde_json::from_str(&text).unwrap();
    Cgroup::open(again).destroy().unwrap();
    assert!(!b.dir().exists());
}

#[test]
fn statistics_of_the_core_files() {
    if !in_v2("statistics_of_the_core_files") {
        return;
    }
    let b = make("stats", "{}");
    let (ok, text) = b.shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    assert!(ok, "{text}");
    let mut one = sleeper();
    b.cgroup.join(one.id() as i32, Share::All, Born::Outside).unwrap();
    let stats = b.cgroup.stats().unwrap();
    assert!(stats.cpu.usage.total > 0);
    assert_eq!(stats.cpu.usage.total % 1000, 0);
    assert_eq!(stats.pids.current, 1);
    if b.dir().join("cpu.pressure").exists() {
        assert!(stats.cpu.psi.is_some());
    }
    let reaper = std::thread::spawn(move || one.wait().unwrap());
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
}

#[test]
fn an_additional_process_follows_init_when_the_cgroup_takes_none() {
    if !in_v2("an_additional_process_follows_init_when_the_cgroup_takes_none") {
        return;
    }
    use runtime::cgroup::Rights;
    use runtime::cli::args::SubCgroup;
    let b = make("exec", "{}");
    if !std::fs::read_to_string(b.dir().join("cgroup.controllers"))
        .unwrap()
        .contains("hugetlb")
    {
        println!("skipped: the v2 tree has no hugetlb controller");
        return;
    }
    let (mut init, mut other) = (sleeper(), sleeper());
    let (init_pid, other_pid) = (init.id() as i32, other.id() as i32);
    b.cgroup.join(init_pid, Share::All, Born::Outside).unwrap();
    let sub = b.dir().join("init");
    std::fs::create_dir(&sub).unwrap();
    std::fs::write(sub.join("cgroup.procs"), init_pid.to_string()).unwrap();
    std::fs::write(b.dir().join("cgroup.subtree_control"), "+hugetlb").unwrap();
    let plan = b
        .cgroup
        .plan_exec(&SubCgroup::Own, init_pid, Rights::Full)
        .unwrap();
    let fds = plan.dir_fds().unwrap();
    let inode =
        |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let of_fd = |n: usize| sys::fs::fstat(std::os::fd::AsFd::as_fd(&fds[n])).unwrap().ino;
    assert_eq!([of_fd(0), of_fd(1)], [inode(&sub), inode(&b.dir())]);
    plan.join(other_pid, Born::Outside).unwrap();
    let where_is = |pid: i32| OwnCgroups::probe_of(pid).unwrap().v2.unwrap();
    assert_eq!(where_is(other_pid), where_is(init_pid));
    assert!(where_is(other_pid).ends_with("/init"));
    // Asked for by name, nothing else will do.
    let plan = b
        .cgroup
        .plan_exec(&SubCgroup::Unified(".".into()), init_pid, Rights::Full)
        .unwrap();
    let e = plan.join(other_pid, Born::Outside).unwrap_err().to_string();
    assert!(
        e.contains("error adding pid") && e.contains("device or resource busy"),
        "{e}"
    );
    let reaper = std::thread::spawn(move || (init.wait().unwrap(), other.wait().unwrap()));
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
}

#[test]
fn a_delegated_cgroup_belongs_to_its_container() {
    if !in_v2("a_delegated_cgroup_belongs_to_its_container") {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let b = make("owner", "{}");
    b.cgroup.delegate(4711).unwrap();
    let owner = |name: &str| std::fs::metadata(b.dir().join(name)).unwrap().uid();
    for name in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
        assert_eq!(owner(name), 4711, "{name}");
    }
    for name in ["cgroup.freeze", "cgroup.kill", "cgroup.max.depth"] {
        assert_eq!(owner(name), 0, "{name} stays ours");
    }
}

#[test]
fn a_failed_update_leaves_everything_as_it_was() {
    if !in_v2("a_failed_update_leaves_everything_as_it_was") {
        return;
    }
    let old = r#"{"unified":{"cgroup.max.depth":"7"}}"#;
    let b = make("rollback", old);
    b.cgroup.apply_limits(&b.plan, Phase::Early).unwrap();
    let layout = b.cgroup.layout().unwrap();
    let parsed = |json: &str| config::parse(json.as_bytes()).unwrap();
    let new = r#"{"unified":{"cgroup.max.depth":"9","cgroup.max.descendants":"many"}}"#;
    let plan = cgroup::plan_update(&parsed(old), &parsed(new), &layout, "", &mut Problems::default());
    let e = b.cgroup.update(&plan).unwrap_err().to_string();
    assert!(
        e.contains("unable to set unified resource \"cgroup.max.descendants\""),
        "{e}"
    );
    assert_eq!(
        std::fs::read_to_string(b.dir().join("cgroup.max.depth")).unwrap(),
        "7\n"
    );
    let plan = cgroup::plan_update(
        &parsed(old),
        &parsed(r#"{"unified":{"cgroup.max.depth":"9"}}"#),
        &layout,
        "",
        &mut Problems::default(),
    );
    b.cgroup.update(&plan).unwrap();
    assert_eq!(
        std::fs::read_to_string(b.dir().join("cgroup.max.depth")).unwrap(),
        "9\n"
    );
    assert_eq!(plan.merged.unified["cgroup.max.depth"], "9");
}

#[test]
fn below_a_threaded_cgroup_only_threaded_controllers_work() {
    if !in_v2("below_a_threaded_cgroup_only_threaded_controllers_work") {
        return;
    }
    let parent = std::path::PathBuf::from(format!("/sys/fs/cgroup{}", unique("threaded")));
    std::fs::create_dir_all(parent.join("t")).unwrap();
    std::fs::write(parent.join("t/cgroup.type"), "threaded").unwrap();
    let path = format!("{}/box", unique("threaded"));
    let mut p = plan(&path, "{}");
    let limits = r#"{"memory":{"limit":100000000}}"#;
    let all = Layout::Unified {
        mountpoint: "/sys/fs/cgroup".into(),
        controllers: vec!["memory".into()],
    };
    p.writes = cgroup::plan_writes(
        &config::parse(limits.as_bytes()).unwrap(),
        &all,
        "",
        &mut Problems::default(),
    );
    let e = cgroup::create(&p).unwrap_err().to_string();
    assert!(
        e.contains("with domain controllers -- it is in domain threaded mode"),
        "{e}"
    );
    assert!(!parent.join("box").exists());
    p.writes.clear();
    let cgroup = cgroup::create(&p).unwrap();
    let b = Box { plan: p, cgroup };
    let kind = std::fs::read_to_string(b.dir().join("cgroup.type")).unwrap();
    assert_eq!(kind.trim(), "threaded");
    let mut one = sleeper();
    b.cgroup.join(one.id() as i32, Share::All, Born::Outside).unwrap();
    assert_eq!(b.cgroup.all_pids().unwrap(), [one.id() as i32]);
    let reaper = std::thread::spawn(move || one.wait().unwrap());
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
    drop(b);
    std::fs::remove_dir(parent.join("t")).unwrap();
    std::fs::remove_dir(&parent).unwrap();
}

#[test]
fn an_ordinary_user_gets_no_cgroup_and_needs_no_rights_for_that() {
    const NAME: &str = "an_ordinary_user_gets_no_cgroup_and_needs_no_rights_for_that";
    const AS_USER: &str = "RUNB_TEST_AS_USER";
    if std::env::var_os(AS_USER).is_none() {
        if in_v2(NAME) {
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
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            if text.to_lowercase().contains("permission denied") && !text.contains("panicked") {
                println!("skipped: the test program is not readable for another user");
                return;
            }
            print!("{text}");
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        return;
    }
    let rootless = |path: &str, limits: &str| {
        let mut p = plan(path, "{}");
        p.rootless = true;
        p.explicit_path = !path.is_empty();
        let all = Layout::Unified {
            mountpoint: "/sys/fs/cgroup".into(),
            controllers: vec!["memory".into()],
        };
        p.writes = cgroup::plan_writes(
            &config::parse(limits.as_bytes()).unwrap(),
            &all,
            "",
            &mut Problems::default(),
        );
        cgroup::create(&p)
    };
    assert!(rootless("", "{}").unwrap().is_none());
    let e = rootless("", r#"{"memory":{"limit":100000000}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        e.starts_with("rootless needs no limits + no cgrouppath when no permission is granted for cgroups: ")
            && e.ends_with("permission denied"),
        "{e}"
    );
    let e = rootless("/somewhere", "{}").unwrap_err().to_string();
    assert!(
        e.ends_with("permission denied") && !e.contains("rootless needs"),
        "{e}"
    );
}

/// True when the tree has the controller; says so otherwise.
fn has(controller: &str) -> bool {
    let own = OwnCgroups::probe().unwrap();
    let Layout::Unified { controllers, .. } = cgroup::probe_layout(&own).unwrap() else {
        panic!("not unified")
    };
    if controllers.iter().any(|c| c == controller) {
        return true;
    }
    println!("skipped: the v2 tree has no {controller} controller");
    false
}

impl Box {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir().join(name))
            .unwrap()
            .trim()
            .to_string()
    }

    fn limit(&self) {
        self.cgroup.apply_limits(&self.plan, Phase::Early).unwrap();
        self.cgroup.apply_limits(&self.plan, Phase::Late).unwrap();
    }

    /// As `runb update` does it.
    fn update(&self, old: &str, new: &str) -> runtime::error::Result<config::Resources> {
        let parsed = |json: &str| config::parse(json.as_bytes()).unwrap();
        let mut problems = Problems::default();
        let layout = self.cgroup.layout().unwrap();
        let plan = cgroup::plan_update(&parsed(old), &parsed(new), &layout, "", &mut problems);
        problems.into_result()?;
        self.cgroup.update(&plan)?;
        Ok(plan.merged)
    }
}

#[test]
fn memory_and_pids_limits_arrive_and_are_updated() {
    if !in_v2("memory_and_pids_limits_arrive_and_are_updated") || !has("memory") || !has("pids") {
        return;
    }
    let old = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},"pids":{"limit":42},"unified":{"memory.high":"50331648"}}"#;
    let b = make("memory", old);
    b.limit();
    let swap = b.dir().join("memory.swap.max").exists();
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("pids.max", "42"),
    ] {
        assert_eq!(b.read(file), value, "{file}");
    }
    if swap {
        assert_eq!(b.read("memory.swap.max"), "67108864");
    } else {
        println!("skipped: the kernel does not account swap");
    }
    b.update(old, r#"{"memory":{"limit":100663296},"pids":{"limit":0}}"#)
        .unwrap();
    assert_eq!(
        (b.read("memory.max").as_str(), b.read("pids.max").as_str()),
        ("100663296", "1")
    );
    if swap {
        assert_eq!(b.read("memory.swap.max"), "33554432", "the total stays");
    }
    b.update(old, r#"{"memory":{"limit":-1},"pids":{"limit":-1}}"#)
        .unwrap();
    assert_eq!(
        (b.read("memory.max").as_str(), b.read("pids.max").as_str()),
        ("max", "max")
    );
    let stats = b.cgroup.stats().unwrap();
    assert_eq!(stats.memory.usage.limit, u64::MAX);
    assert_eq!((stats.pids.current, stats.pids.limit), (0, 0));
    assert!(stats.memory.raw.contains_key("anon"));
}

#[test]
fn a_limit_below_what_is_used_is_refused_when_asked_for() {
    if !in_v2("a_limit_below_what_is_used_is_refused_when_asked_for") || !has("memory") {
        return;
    }
    let b = make("check", "{}");
    let script = format!(
        "echo $$ > {}/cgroup.procs; x=$(head -c 8000000 /dev/zero | tr '\\0' x); echo ready; read y",
        b.dir().display()
    );
    let mut holder = Command::new("sh")
        .args(["-c", &script])
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
    let e = b.update("{}", r#"{"memory":{"limit":1000000,"checkBeforeUpdate":true}}"#);
    let limit = b.read("memory.max");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let e = e.unwrap_err().to_string();
    assert!(e.starts_with("rejecting memory limit 1000000 <= usage "), "{e}");
    assert_eq!(limit, "max");
}

#[test]
fn cpu_and_cpuset_limits_arrive_and_are_updated() {
    if !in_v2("cpu_and_cpuset_limits_arrive_and_are_updated") || !has("cpu") || !has("cpuset") {
        return;
    }
    let old = r#"{"cpu":{"shares":512,"quota":50000,"period":200000,"burst":10000,"cpus":"0","mems":"0"}}"#;
    let b = make("cpu", old);
    b.limit();
    for (file, value) in [
        ("cpu.weight", "59"),
        ("cpu.max", "50000 200000"),
        ("cpu.max.burst", "10000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
    ] {
        assert_eq!(b.read(file), value, "{file}");
    }
    let now = b.update(old, r#"{"cpu":{"quota":80000}}"#).unwrap();
    assert_eq!(b.read("cpu.max"), "80000 200000");
    // The burst must fit the quota of the moment: it may only be written after it.
    let json = serde_json::to_string(&now).unwrap();
    let now = b
        .update(&json, r#"{"cpu":{"quota":100000,"burst":90000}}"#)
        .unwrap();
    assert_eq!(
        (b.read("cpu.max").as_str(), b.read("cpu.max.burst").as_str()),
        ("100000 200000", "90000")
    );
    let json = serde_json::to_string(&now).unwrap();
    let now = b
        .update(&json, r#"{"cpu":{"quota":60000,"burst":50000}}"#)
        .unwrap();
    assert_eq!(
        (b.read("cpu.max").as_str(), b.read("cpu.max.burst").as_str()),
        ("60000 200000", "50000")
    );
    let json = serde_json::to_string(&now).unwrap();
    b.update(&json, r#"{"cpu":{"idle":1}}"#).unwrap();
    assert_eq!(b.read("cpu.idle"), "1");
    let e = b
        .update(r#"{"cpu":{"idle":1}}"#, r#"{"cpu":{"shares":1024}}"#)
        .unwrap_err()
        .to_string();
    assert!(e.contains("cpu.weight: invalid argument"), "{e}");
    b.update(&json, r#"{"cpu":{"idle":0,"shares":1024}}"#).unwrap();
    assert_eq!(
        (b.read("cpu.idle").as_str(), b.read("cpu.weight").as_str()),
        ("0", "100")
    );
    let e = b
        .update("{}", r#"{"cpu":{"quota":70000,"cpus":"4711"}}"#)
        .unwrap_err()
        .to_string();
    assert!(e.contains("failed to write \"4711\""), "{e}");
    assert_eq!(b.read("cpu.max"), "60000 200000", "put back");
}

#[test]
fn io_limits_arrive_and_are_updated() {
    if !in_v2("io_limits_arrive_and_are_updated") || !has("io") {
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
    let throttle = |rate: u64| format!(r#"[{{"major":{major},"minor":{minor},"rate":{rate}}}]"#);
    let old = format!(
        r#"{{"blockIO":{{"throttleReadBpsDevice":{}}}}}"#,
        throttle(1_048_576)
    );
    let b = make("io", &old);
    b.limit();
    assert_eq!(
        b.read("io.max"),
        format!("{device} rbps=1048576 wbps=max riops=max wiops=max")
    );
    let new = format!(r#"{{"blockIO":{{"throttleWriteIOPSDevice":{}}}}}"#, throttle(100));
    b.update(&old, &new).unwrap();
    assert_eq!(
        b.read("io.max"),
        format!("{device} rbps=1048576 wbps=max riops=max wiops=100")
    );
    let new = format!(
        r#"{{"blockIO":{{"throttleReadBpsDevice":{}}},"unified":{{"cgroup.max.depth":"deep"}}}}"#,
        throttle(2_097_152)
    );
    b.update(&old, &new).unwrap_err();
    assert_eq!(
        b.read("io.max"),
        format!("{device} rbps=1048576 wbps=max riops=max wiops=100"),
        "put back"
    );
    let new = format!(r#"{{"blockIO":{{"throttleReadBpsDevice":{}}}}}"#, throttle(0));
    b.update(&old, &new).unwrap();
    assert_eq!(
        b.read("io.max"),
        format!("{device} rbps=max wbps=max riops=max wiops=100")
    );
    if b.dir().join("io.weight").exists() && !b.dir().join("io.bfq.weight").exists() {
        b.update("{}", r#"{"blockIO":{"weight":500}}"#).unwrap();
        assert_eq!(b.read("io.weight"), "default 4950");
    }
}

#[test]
fn running_out_of_memory_is_told_and_counted() {
    if !in_v2("running_out_of_memory_is_told_and_counted") || !has("memory") {
        return;
    }
    let b = make("oom", r#"{"memory":{"limit":4194304,"swap":4194304}}"#);
    b.limit();
    let mut keeper = sleeper();
    b.cgroup
        .join(keeper.id() as i32, Share::All, Born::Outside)
        .unwrap();
    let mut watch = b.cgroup.watch_oom().unwrap();
    b.shell("x=$(head -c 50000000 /dev/zero | tr '\\0' x)");
    let soon = || sys::wait::Deadline::after(std::time::Duration::from_secs(10));
    // The first wake-ups may be for the limit that was hit, not for the kill.
    let told = (0..100).any(|_| {
        sys::wait::readable(watch.fd(), soon()).unwrap();
        watch.take().unwrap() == cgroup::OomEvent::OutOfMemory
    });
    assert!(told);
    assert!(b.cgroup.oom_kills().unwrap() > 0);
    let reaper = std::thread::spawn(move || keeper.wait().unwrap());
    b.cgroup.kill_all().unwrap();
    reaper.join().unwrap();
    let over = (0..100).any(|_| {
        sys::wait::readable(watch.fd(), soon()).unwrap();
        watch.take().unwrap() == cgroup::OomEvent::Over
    });
    assert!(over, "an empty cgroup is the end");
}
