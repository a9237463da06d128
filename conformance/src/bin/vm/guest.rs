//! The guests: which machine each one is, and which cases it is there for.
//!
//! May not: know how a guest is made or booted.

use std::time::Duration;

use conformance::case::{Case, Need};

/// The CPU of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    /// As Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

/// What is mounted at /sys/fs/cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    V1,
    V2,
}

/// What runs as process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// A script in memory, and nothing besides the suites.
    Script,
    /// Debian's systemd, from a disk.
    Systemd,
}

/// One machine.
pub struct Guest {
    pub name: &'static str,
    pub arch: Arch,
    pub tree: Tree,
    pub init: Init,
    /// Words for the kernel.
    pub kernel: &'static str,
    pub memory: &'static str,
    /// Runtimes that are judged in it, by their names there; the first is ours.
    pub runtimes: &'static [&'static str],
    /// Cases of `shimtest` that it runs.
    pub shim: &'static [&'static str],
    /// Deadlines within it times this: emulation is so much slower than what they were made for.
    pub slowness: u32,
    /// Without a line for so long, it hangs.
    pub quiet: Duration,
    /// How long all of it may take.
    pub total: Duration,
}

/// In the order in which they are started: the longest first.
pub const GUESTS: &[Guest] = &[
    Guest {
        name: "systemd",
        arch: Arch::Amd64,
        tree: Tree::V2,
        init: Init::Systemd,
        kernel: "apparmor=1 security=apparmor systemd.unified_cgroup_hierarchy=1 systemd.show_status=0",
        memory: "1536M",
        runtimes: &["runb", "runc"],
        shim: &[],
        slowness: 6,
        quiet: Duration::from_secs(240),
        total: Duration::from_secs(1500),
    },
    Guest {
        name: "v2",
        arch: Arch::Amd64,
        tree: Tree::V2,
        init: Init::Script,
        kernel: "apparmor=0 hugepages=8",
        memory: "1G",
        runtimes: &["runb", "runc"],
        shim: &SHIM_V2,
        slowness: 6,
        quiet: Duration::from_secs(180),
        total: Duration::from_secs(900),
    },
    Guest {
        name: "v1",
        arch: Arch::Amd64,
        tree: Tree::V1,
        init: Init::Script,
        kernel: "apparmor=0 hugepages=8 swapaccount=1",
        memory: "1G",
        runtimes: &["runb", "runc"],
        shim: &SHIM_V1,
        slowness: 6,
        quiet: Duration::from_secs(180),
        total: Duration::from_secs(900),
    },
    Guest {
        name: "arm64",
        arch: Arch::Arm64,
        tree: Tree::V2,
        init: Init::Script,
        kernel: "apparmor=0 hugepages=8",
        memory: "1G",
        runtimes: &["runb"],
        shim: &SHIM_ARM64,
        slowness: 6,
        quiet: Duration::from_secs(180),
        total: Duration::from_secs(900),
    },
];

/// What of a shim has to do with a cgroup, and of everything else a little: the host plays all of it below version 1.
const SHIM_V2: [&str; 27] = [
    "start.options",
    "start.bootstrap",
    "start.shim-cgroup",
    "cli.info",
    "cli.delete-after-kill",
    "life.whole",
    "life.signals",
    "life.rootfs-overlay",
    "life.pause-and-resume",
    "life.killed-while-paused",
    "life.killed-from-outside",
    "life.host-pid-namespace-is-killed-whole",
    "life.kill-all",
    "life.pids",
    "life.stats",
    "life.update",
    "life.out-of-memory",
    "life.out-of-memory-once",
    "exec.whole",
    "exec.exit-is-told-before-the-container's",
    "io.fifos",
    "io.terminal",
    "io.exec-terminal",
    "events.contents",
    "events.are-told-before-the-end",
    "group.sandbox-of-version-3",
    "group.sandbox-that-dies-first",
];

/// A hierarchy for each controller is not what the host has.
const SHIM_V1: [&str; 5] = [
    "start.shim-cgroup",
    "life.killed-while-paused",
    "life.stats",
    "life.out-of-memory-once",
    "group.sandbox-of-version-3",
];

/// System calls and layouts of another CPU.
const SHIM_ARM64: [&str; 5] = [
    "life.rootfs-overlay",
    "life.stats",
    "life.out-of-memory-once",
    "exec.whole",
    "io.exec-terminal",
];

/// A guest by its name.
pub fn find(name: &str) -> Option<&'static Guest> {
    GUESTS.iter().find(|guest| guest.name == name)
}

/// Areas whose cases act on cgroups, which no two machines have alike.
const OF_CGROUPS: [&str; 5] = ["cgroup", "cgroup2", "update", "events", "devices"];

/// Of what needs no particular machine, a guest runs every so manieth case.
const SAMPLE: usize = 10;

/// Beginnings of the ids that the systemd guest runs: what systemd could undo, and weights where bfq is not loaded.
const OF_SYSTEMD: [&str; 7] = [
    "rootless.",
    "devices.a",
    "cgroup2.controllers",
    "cgroup2.create-io",
    "cgroup2.update-io",
    "cgroup2.pause",
    "cgroup2.delegation",
];

/// Areas that the kernel has most to do with, which here is an older one than the host's, or one for another CPU.
const OF_KERNEL: [&str; 4] = ["lifecycle", "exec", "seccomp", "caps"];

impl Guest {
    /// Whether this guest is to run `case`, the `index`th of all, with `runtime`.
    pub fn wants(&self, case: &Case, index: usize, runtime: &str) -> bool {
        if !self.can(case) {
            return false;
        }
        // Where the reference is known to hang, its deadlines, stretched for emulation, are longer than a guest may be silent.
        // It hangs on the host as well.
        if case.area() == "faults" && runtime != self.runtimes[0] {
            return false;
        }
        if runtime != self.runtimes[0] && self.is_repetition(case.id) {
            return false;
        }
        if self.init == Init::Systemd {
            // The tree is that of `v2`, where its cases run at a fraction of the price; what is left is what only this
            // guest has, and what its systemd has a hand in.
            return case
                .needs
                .iter()
                .any(|need| matches!(need, Need::Vm | Need::AppArmor | Need::Systemd))
                || OF_SYSTEMD.iter().any(|start| case.id.starts_with(start));
        }
        if case.needs.iter().any(|need| Self::is_for_vm(*need)) || OF_CGROUPS.contains(&case.area()) {
            return true;
        }
        // What takes long on the host would take all of a guest's time; and of the rest the reference shows nothing new.
        let is_light = case.deadline <= Case::RUN.deadline && runtime == self.runtimes[0];
        let by_kernel = self.tree == Tree::V2 && OF_KERNEL.contains(&case.area());
        is_light && (by_kernel || index.is_multiple_of(SAMPLE))
    }

    /// Of the table of limits, which takes minutes, the reference is asked what shows where it stands: every limit by an update
    /// below cgroupfs, where the case creates first as well, and the basic ones below systemd. `--every` asks it all. And a hundred
    /// lives with the reference take longer than a guest may be silent.
    fn is_repetition(&self, id: &str) -> bool {
        let is_basic = id.ends_with("-basics");
        match self.init {
            Init::Systemd => {
                let is_of_table = id.starts_with("systemd.create-") || id.starts_with("systemd.update-");
                (is_of_table && !is_basic) || id == "systemd.delete-leaves-nothing"
            }
            Init::Script => id.starts_with("cgroup2.create-") && !is_basic,
        }
    }

    /// Whether nothing that `case` needs is known to be missing there.
    pub fn can(&self, case: &Case) -> bool {
        !case.needs.iter().any(|need| self.cannot(*need))
    }

    /// What a machine at hand may lack, so that the case is worth a guest.
    fn is_for_vm(need: Need) -> bool {
        match need {
            Need::Vm | Need::AppArmor | Need::Systemd | Need::Capability(..) => true,
            Need::V1(_) | Need::V2 | Need::V2Controller(_) | Need::Controller(_) => true,
            Need::Path(path) => path.starts_with("/sys/fs/cgroup"),
            Need::Root
            | Need::UserNamespaces
            | Need::TimeNamespaces
            | Need::NoAppArmor
            | Need::NoSelinux
            | Need::Selinux
            | Need::NoSystemd
            | Need::IdMappedMounts
            | Need::Program(_)
            | Need::Cpu(_) => false,
        }
    }

    /// What this guest never has: such a case is not sent there, instead of being skipped there.
    fn cannot(&self, need: Need) -> bool {
        match need {
            Need::V1(_) => self.tree == Tree::V2,
            Need::V2 | Need::V2Controller(_) => self.tree == Tree::V1,
            Need::AppArmor | Need::Systemd => self.init != Init::Systemd,
            Need::NoAppArmor | Need::NoSystemd => self.init == Init::Systemd,
            Need::Path(path) => self.tree == Tree::V2 && path.starts_with("/sys/fs/cgroup/"),
            Need::Cpu(list) => !list.contains(&match self.arch {
                Arch::Amd64 => "x86_64",
                Arch::Arm64 => "aarch64",
            }),
            // No guest has a policy.
            Need::Selinux => true,
            _ => false,
        }
    }
}
