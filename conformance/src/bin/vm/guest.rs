//! The guests: which machine each one is, and which cases it is there for.
//!
//! May not: know how a guest is made or booted.

use std::time::Duration;

use conformance::case::{Case, Need};
use conformance::expectation::Expectations;
use conformance::host::CgroupMode;

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
    /// Beginnings of the ids that the reference is asked there, beside those that it is known to answer otherwise.
    pub sample: &'static [&'static str],
    /// Whether the engines are played in it.
    pub engines: bool,
    /// Cases of `shimtest` that it runs.
    pub shim: &'static [&'static str],
    /// Cases of brig that it plays; with any, it has the disk with the images.
    pub brig: &'static [&'static str],
    /// Deadlines within it times this: emulation is so much slower than what they were made for.
    pub slowness: u32,
    /// Without a line for so long, it hangs.
    pub quiet: Duration,
    /// How long all of it may take.
    pub total: Duration,
}

/// In the order in which they are started, two at a time: the longest begins, those that fill gaps come last, and the engines when
/// the disk that they share is there.
pub const GUESTS: &[Guest] = &[
    Guest {
        name: "systemd",
        runtimes: &["runb", "runc"],
        sample: &[
            "systemd.update-basics",
            "systemd.scope",
            "systemd.exec",
            "systemd.pause",
            "systemd.devices-survive-a-reload",
            "process.apparmor",
            "rootless.lifecycle",
        ],
        brig: &[
            "machine",
            "limits",
            "out-of-memory",
            "apparmor",
            "journal",
            "rootless",
            "sctp",
        ],
        quiet: Duration::from_secs(300),
        ..DEBIAN
    },
    Guest {
        name: "arm64",
        arch: Arch::Arm64,
        shim: &SHIM_ARM64,
        ..SCRIPT
    },
    Guest {
        name: "engines",
        engines: true,
        ..DEBIAN
    },
    Guest {
        name: "v2",
        runtimes: &["runb", "runc"],
        sample: &[
            "cgroup.path-absent",
            "cgroup.v2-memory",
            "cgroup.v2-pids",
            "cgroup2.controllers",
            "cgroup2.memory-limit-kills",
            "cgroup2.pause-is-the-freezer",
            "cgroup2.update-basics",
            "cgroup2.update-by-flags",
            "devices.access-is-exact",
            "devices.default-nodes-work",
        ],
        shim: &SHIM_V2,
        brig: &["machine", "limits"],
        ..SCRIPT
    },
    Guest {
        name: "v1",
        tree: Tree::V1,
        kernel: "apparmor=0 hugepages=8 swapaccount=1",
        runtimes: &["runb", "runc"],
        sample: &[
            "cgroup.memory-and-swap",
            "cgroup.cpu-quota-alone",
            "cgroup.pids",
            "cgroup.blkio-throttle",
            "cgroup.mount-v1",
            "devices.access-is-exact",
            "update.memory",
            "update.cpu",
        ],
        shim: &SHIM_V1,
        ..SCRIPT
    },
];

/// A guest that is in memory, with version 2.
const SCRIPT: Guest = Guest {
    name: "",
    arch: Arch::Amd64,
    tree: Tree::V2,
    init: Init::Script,
    kernel: "apparmor=0 hugepages=8",
    memory: "1G",
    runtimes: &["runb"],
    sample: &[],
    engines: false,
    shim: &[],
    brig: &[],
    slowness: 6,
    quiet: Duration::from_secs(180),
    total: Duration::from_secs(600),
};

/// A guest with Debian on its disk.
const DEBIAN: Guest = Guest {
    init: Init::Systemd,
    kernel: "apparmor=1 security=apparmor systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 systemd.log_level=warning",
    memory: "1536M",
    runtimes: &[],
    ..SCRIPT
};

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

/// Of those areas, what a guest for another CPU runs: programs for devices, and a little of the rest.
const ON_ARM64: [&str; 11] = [
    "cgroup.path-absent",
    "cgroup.v2-memory",
    "cgroup2.create-basics",
    "cgroup2.update-basics",
    "cgroup2.memory-limit-kills",
    "cgroup2.events-out-of-memory",
    "cgroup2.devices",
    "cgroup2.pause-is-the-freezer",
    "devices.default-nodes",
    "devices.a",
    "events.interval",
];

/// What the systemd guest repeats of the table of limits, in part for its own driver.
const TABLE_BELOW_SYSTEMD: [&str; 3] = ["systemd.create-", "systemd.update-", "cgroup2."];

/// How the version of Debian's runc begins.
const REFERENCE: &str = "runc version 1.1.";

/// Areas that the kernel has most to do with, which here is an older one than the host's.
const OF_KERNEL: [&str; 2] = ["seccomp", "caps"];

/// And those that are worth their time once, where the CPU is another one, too.
const OF_CPU: [&str; 2] = ["lifecycle", "exec"];

impl Guest {
    /// Whether this guest is to run `case`, the `index`th of all, with `runtime`.
    pub fn wants(&self, case: &Case, index: usize, runtime: &str) -> bool {
        if !self.can(case) {
            return false;
        }
        if self.runtimes.first() != Some(&runtime) {
            return self.is_here_for(case) && self.asks_reference(case);
        }
        // What takes long on the host would take all of a guest's time.
        let is_light = case.deadline <= Case::RUN.deadline && self.init == Init::Script;
        let by_kernel = self.tree == Tree::V2 && OF_KERNEL.contains(&case.area());
        let by_cpu = self.arch == Arch::Arm64 && OF_CPU.contains(&case.area());
        self.is_here_for(case) || is_light && (by_kernel || by_cpu || index.is_multiple_of(SAMPLE))
    }

    /// Whether the machine makes a difference for `case`.
    fn is_here_for(&self, case: &Case) -> bool {
        if self.init == Init::Systemd {
            // The tree is that of `v2`, where its cases run at a fraction of the price; what is left is what only this
            // guest has, and what its systemd has a hand in.
            return case
                .needs
                .iter()
                .any(|need| matches!(need, Need::Vm | Need::AppArmor | Need::Systemd))
                || OF_SYSTEMD.iter().any(|start| case.id.starts_with(start));
        }
        if self.arch == Arch::Arm64 && OF_CGROUPS.contains(&case.area()) {
            return ON_ARM64.iter().any(|start| case.id.starts_with(start));
        }
        case.needs.iter().any(|need| Self::is_for_vm(*need)) || OF_CGROUPS.contains(&case.area())
    }

    /// The reference takes four times as long as ours and shows where a case stands, not more. It is asked what it is known to
    /// answer otherwise, so that the list stays true, and a sample; `--every` asks it all.
    fn asks_reference(&self, case: &Case) -> bool {
        // It is known to hang there, on the host as well, and its deadlines, stretched for emulation, are longer than a guest
        // may be silent.
        if case.area() == "faults" {
            return false;
        }
        if self.sample.iter().any(|start| case.id.starts_with(start)) {
            return true;
        }
        // The table of limits is asked of it once a row: by the updates, which create first, and below cgroupfs.
        let is_repetition = match self.init {
            Init::Systemd => TABLE_BELOW_SYSTEMD.iter().any(|start| case.id.starts_with(start)),
            Init::Script => case.id.starts_with("cgroup2.create-"),
        };
        // A hundred lives take longer than a guest may be silent.
        !is_repetition && case.id != "systemd.delete-leaves-nothing" && self.differs(case.id)
    }

    /// Whether the reference is known to fail this case.
    fn differs(&self, id: &str) -> bool {
        let mode = match self.tree {
            Tree::V1 => CgroupMode::V1,
            Tree::V2 => CgroupMode::V2,
        };
        let known = Expectations::for_runtime(REFERENCE).map(|list| list.known(id, mode));
        // A list that cannot be read fails every run inside.
        known.is_ok_and(|known| known.is_some_and(|known| known.always))
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

#[cfg(test)]
mod tests {
    use super::*;
    use conformance::cases;

    fn wants(guest: &str, runtime: &str, id: &str) -> bool {
        let all = cases::all();
        let index = all.iter().position(|case| case.id == id).unwrap();
        find(guest).unwrap().wants(all[index], index, runtime)
    }

    #[test]
    fn ours_is_asked_the_whole_table_of_limits_below_both_drivers() {
        for (area, guest) in [("cgroup2", "v2"), ("systemd", "systemd")] {
            for when in ["create", "update"] {
                let start = format!("{area}.{when}-");
                let rows = cases::all()
                    .into_iter()
                    // systemd.update-v1 is for another tree.
                    .filter(|case| case.id.starts_with(&start) && find(guest).unwrap().can(case));
                let ids: Vec<&str> = rows.map(|case| case.id).collect();
                assert!(ids.len() >= 8, "{ids:?}");
                for id in ids {
                    assert!(wants(guest, "runb", id), "{id}");
                }
            }
        }
    }

    #[test]
    fn the_reference_is_asked_what_it_answers_otherwise_and_a_sample() {
        assert!(wants("v2", "runc", "cgroup2.update-cpu-weight"));
        assert!(wants("v2", "runc", "cgroup2.update-basics"));
        assert!(wants("systemd", "runc", "systemd.update-basics"));
        assert!(wants("v1", "runc", "cgroup.cpu-burst"));
        assert!(!wants("v2", "runc", "cgroup2.create-cpu-weight"));
        assert!(!wants("systemd", "runc", "systemd.update-cpu-weight"));
        assert!(!wants("systemd", "runc", "systemd.delete-leaves-nothing"));
        assert!(!wants("v2", "runc", "lifecycle.kill"));
    }

    #[test]
    fn what_is_listed_is_there() {
        let lists = [
            &OF_SYSTEMD[..],
            &ON_ARM64,
            &TABLE_BELOW_SYSTEMD,
            &OF_KERNEL,
            &OF_CPU,
        ];
        let samples = GUESTS.iter().map(|guest| guest.sample);
        for start in lists.into_iter().chain(samples).flatten() {
            assert!(
                cases::all().iter().any(|case| case.id.starts_with(start)),
                "{start}"
            );
        }
    }
}
