//! A bundle in a temporary directory, and a process of its own for each case.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use runtime::config;
use runtime::facts::{CgroupMode, HostFacts};
use runtime::namespaces::{Ns, plan_namespaces};
use runtime::problems::Problems;
use runtime::rootfs::*;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use sys::seccomp::{Insn, RET_ALLOW, RET_ERRNO};

const CASE: &str = "RUNB_TEST_CASE";

/// Runs `body` in a process of its own with new namespaces: nothing of it can reach the host or another case.
pub fn alone(name: &str, body: impl FnOnce()) {
    alone_with(
        name,
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWNET | libc::CLONE_NEWUTS,
        body,
    )
}

pub fn alone_with(name: &str, flags: i32, body: impl FnOnce()) {
    if is_alone(name) {
        sys::process::unshare(flags as u64).unwrap();
        sys::mount::mount(c"", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"").unwrap();
        return body();
    }
    if sys::process::effective_ids().0 != 0 {
        println!("skip rootfs.{name}: needs root");
        return;
    }
    run_alone(name, &[]);
}

/// This process was started for this case alone.
pub fn is_alone(name: &str) -> bool {
    std::env::var(CASE).as_deref() == Ok(name)
}

/// Runs the case in a process of its own, started by `wrapper`.
pub fn run_alone(name: &str, wrapper: &[&str]) {
    let exe = std::env::current_exe().unwrap();
    let mut words: Vec<&std::ffi::OsStr> = wrapper.iter().map(|w| w.as_ref()).collect();
    words.push(exe.as_os_str());
    let out = Command::new(words[0])
        .args(&words[1..])
        .args([
            name,
            "--exact",
            "--include-ignored",
            "--test-threads=1",
            "--nocapture",
        ])
        .env(CASE, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    // A name that is not this case's would run nothing and succeed.
    let ran = out.status.success() && said.contains("1 passed");
    assert!(ran, "{said}{}", String::from_utf8_lossy(&out.stderr));
    print!(
        "{}",
        said.lines()
            .filter(|l| l.starts_with("skip "))
            .collect::<Vec<_>>()
            .join("\n")
    );
}

/// A bundle on a tmpfs of the case's own mount namespace, so that nothing is left.
pub struct Bundle {
    pub dir: PathBuf,
    pub facts: HostFacts,
}

impl Bundle {
    pub fn new() -> Bundle {
        let dir = PathBuf::from("/mnt");
        sys::mount::mount(c"tmpfs", c"/mnt", c"tmpfs", 0, c"mode=755").unwrap();
        for d in [
            "rootfs/proc",
            "rootfs/sys",
            "rootfs/dev",
            "rootfs/etc",
            "rootfs/tmp",
            "outside",
        ] {
            std::fs::create_dir_all(dir.join(d)).unwrap();
        }
        Bundle::at(dir)
    }

    /// One that is not there, for planning only.
    pub fn at(dir: impl Into<PathBuf>) -> Bundle {
        let facts = HostFacts {
            kernel: (6, 1),
            cgroup_mode: CgroupMode::Legacy,
            ..HostFacts::default()
        };
        Bundle {
            dir: dir.into(),
            facts,
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// A plan of the default configuration changed by `edit` (RFC 7396 merge).
    pub fn plan(&self, edit: &Value) -> Result<RootfsPlan, String> {
        self.plan_with(edit, RootfsOptions::default())
    }

    pub fn plan_with(&self, edit: &Value, options: RootfsOptions) -> Result<RootfsPlan, String> {
        let mut spec = default_spec();
        merge(&mut spec, edit);
        let config: config::Config = config::parse(spec.to_string().as_bytes()).unwrap();
        let mut problems = Problems::default();
        let ns = plan_namespaces(&config.linux.as_ref().unwrap().namespaces, &mut problems);
        assert!(ns.owns(Ns::Mount));
        let plan = plan_rootfs(&config, &self.dir, &ns, options, &self.facts, &mut problems);
        problems.into_result().map_err(|e| e.to_string())?;
        Ok(plan)
    }

    /// Plans the same again and again.
    pub fn planner(&self, edit: &Value) -> impl Fn() -> RootfsPlan + use<> {
        let mut spec = default_spec();
        merge(&mut spec, edit);
        let config: config::Config = config::parse(spec.to_string().as_bytes()).unwrap();
        let (facts, dir) = (self.facts.clone(), self.dir.clone());
        move || {
            let mut problems = Problems::default();
            let ns = plan_namespaces(&config.linux.as_ref().unwrap().namespaces, &mut problems);
            plan_rootfs(
                &config,
                &dir,
                &ns,
                RootfsOptions::default(),
                &facts,
                &mut problems,
            )
        }
    }

    /// Everything up to the pivot.
    pub fn prepare(&self, edit: &Value) -> runtime::error::Result<(RootfsPlan, Root)> {
        let plan = self.plan(edit).unwrap();
        let root = prepare(&plan)?;
        Ok((plan, root))
    }

    /// Makes this process live in the container's tree.
    pub fn enter(&self, edit: &Value) {
        self.try_enter(edit).unwrap_or_else(|e| panic!("{e}"));
    }

    pub fn try_enter(&self, edit: &Value) -> runtime::error::Result<()> {
        let (plan, mut root) = self.prepare(edit)?;
        apply_pivot(&mut root, &plan)?;
        if plan.readonly {
            apply_readonly_root(&root)?;
        }
        Ok(())
    }

    pub fn error(&self, edit: &Value) -> String {
        match self.plan(edit) {
            Err(e) => e,
            Ok(plan) => {
                let e = prepare(&plan).map(drop).unwrap_err().to_string();
                // The next attempt begins with a clean tree.
                sys::mount::umount(c"/mnt/rootfs", libc::MNT_DETACH).ok();
                e
            }
        }
    }
}

pub fn prepare(plan: &RootfsPlan) -> runtime::error::Result<Root> {
    let sources = open_sources(plan)?;
    // What was ours until here plays the host; the descriptor keeps it alive without a process in it.
    let host = sys::fs::open(Path::new("/proc/thread-self/ns/mnt"), libc::O_RDONLY, 0)?;
    std::mem::forget(host);
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    build(plan, sources, &CgroupMounts::default())
}

/// Everything up to the pivot, in the mount namespace of the container.
pub fn build(
    plan: &RootfsPlan,
    mut sources: Sources,
    cgroups: &CgroupMounts,
) -> runtime::error::Result<Root> {
    apply_propagation(plan)?;
    let mut root = open_root(plan)?;
    for (n, mount) in plan.mounts.iter().enumerate() {
        apply_mount(&mut root, mount, sources.take(n), cgroups)?;
    }
    if let Some(devices) = &plan.devices {
        apply_devices(&mut root, devices)?;
    }
    apply_masked_paths(&mut root, &plan.masked)?;
    apply_readonly_paths(&mut root, &plan.readonly_paths)?;
    apply_late_readonly(&mut root)?;
    Ok(root)
}

pub fn merge(to: &mut Value, from: &Value) {
    match (to, from) {
        (Value::Object(to), Value::Object(from)) => {
            for (k, v) in from {
                merge(to.entry(k.clone()).or_insert(Value::Null), v);
            }
        }
        (to, from) => *to = from.clone(),
    }
}

pub fn default_mounts() -> Vec<Value> {
    let m = |d: &str, t: &str, s: &str, o: &[&str]| json!({"destination": d, "type": t, "source": s, "options": o});
    vec![
        m("/proc", "proc", "proc", &[]),
        m(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        m(
            "/dev/pts",
            "devpts",
            "devpts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5",
            ],
        ),
        m(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        m("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        m("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ]
}

/// The default mounts and one more.
pub fn with_mount(mount: Value) -> Value {
    let mut mounts = default_mounts();
    mounts.push(mount);
    json!({ "mounts": mounts })
}

pub fn default_spec() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": true},
        "mounts": default_mounts(),
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
            "maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        }
    })
}

/// What this process sees mounted.
#[derive(Debug)]
pub struct Mounts(Vec<Mount>);

#[derive(Debug)]
pub struct Mount {
    pub place: String,
    pub kind: String,
    pub options: Vec<String>,
    pub tags: String,
}

impl Mounts {
    /// The topmost mount at a place.
    pub fn at(&self, place: &str) -> Option<&Mount> {
        self.0.iter().rev().find(|m| m.place == place)
    }
    pub fn kind(&self, place: &str) -> Option<&str> {
        self.at(place).map(|m| m.kind.as_str())
    }
    pub fn options(&self, place: &str) -> Vec<String> {
        self.at(place).map(|m| m.options.clone()).unwrap_or_default()
    }
    /// Every mount at a place, the lowest first.
    pub fn all(&self, place: &str) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |m| m.place == place)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.iter()
    }
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

pub fn mountinfo() -> Mounts {
    parse_mountinfo(&std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap())
}

fn parse_mountinfo(text: &str) -> Mounts {
    let one = |line: &str| {
        let (left, right) = line.split_once(" - ").unwrap();
        let f: Vec<&str> = left.split(' ').collect();
        Mount {
            place: f[4].to_string(),
            kind: right.split(' ').next().unwrap().to_string(),
            options: f[5].split(',').map(str::to_string).collect(),
            tags: f[6..].join(" "),
        }
    };
    Mounts(text.lines().map(one).collect())
}

pub fn exists(path: impl AsRef<Path>) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

pub const OPENAT2: u32 = 437;
pub const MOUNT_SETATTR: u32 = 442;
/// open_tree, move_mount, fsopen, fsconfig, fsmount, fspick
pub const MOUNT_API: [u32; 6] = [428, 429, 430, 431, 432, 433];

/// From now on these calls answer `errno`.
pub fn filter(calls: &[u32], errno: i32) {
    let insn = |code, jt, jf, k| Insn { code, jt, jf, k };
    // BPF_LD|BPF_W|BPF_ABS of the number, one BPF_JMP|BPF_JEQ|BPF_K each, BPF_RET.
    let mut program = vec![insn(0x20, 0, 0, 0)];
    for (n, call) in calls.iter().enumerate() {
        let to_errno = u8::try_from(calls.len() - n).unwrap();
        program.push(insn(0x15, to_errno, 0, *call));
    }
    program.push(insn(0x06, 0, 0, RET_ALLOW));
    program.push(insn(0x06, 0, 0, RET_ERRNO | errno as u32));
    sys::seccomp::load(&program, 0).unwrap();
}
