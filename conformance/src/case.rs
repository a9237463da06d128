//! What a case is. Holds data only: running is `worker`'s and `world`'s business.

use crate::config::Setup;
use crate::world::{Ended, World};

/// How binding the clause is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The specification, a known parser of the output, or safety demands it.
    Must,
    /// Good runtimes agree.
    Should,
}

/// What the machine must offer before a case can say anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Effective user id 0.
    Root,
    /// User namespaces can be made.
    UserNamespaces,
    /// Time namespaces exist.
    TimeNamespaces,
    /// This controller has a cgroup v1 hierarchy.
    V1(&'static str),
    /// /sys/fs/cgroup is one cgroup v2 tree (of whatever controllers).
    V2,
    /// /sys/fs/cgroup is one cgroup v2 tree whose root offers this controller.
    V2Controller(&'static str),
    /// This controller can limit something, on whichever tree.
    Controller(&'static str),
    /// systemd is PID 1 and `systemctl` there to ask it.
    Systemd,
    /// This host was not booted with systemd.
    NoSystemd,
    /// AppArmor is enabled.
    AppArmor,
    /// AppArmor is not enabled.
    NoAppArmor,
    /// SELinux is not enabled.
    NoSelinux,
    /// SELinux is enabled, with a policy for containers.
    Selinux,
    /// id-mapped mounts work on the work directory.
    IdMappedMounts,
    /// The harness holds this capability (by number).
    Capability(u32, &'static str),
    /// A virtual machine of the project's own (`make test-vm`), which may be changed and has every right.
    Vm,
    /// This path exists.
    Path(&'static str),
    /// This program is installed.
    Program(&'static str),
    /// The CPU is one of these.
    Cpu(&'static [&'static str]),
}

/// A condition to wait for.
#[derive(Clone, Copy, Debug)]
pub enum Cond {
    /// `state` says this status.
    Status(&'static str),
    /// The container has written this text.
    Said(&'static str),
}

/// A fault to inject.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// SIGKILL to the container's init, from outside, behind the runtime's back.
    KillInit,
}

/// One step of a case. Every command of the runtime has a deadline and is expected to succeed unless wrapped.
#[derive(Clone, Copy)]
pub enum Step {
    /// `create --bundle B ID`
    Create,
    /// `create --bundle B FLAGS... ID`
    CreateWith(&'static [&'static str]),
    /// `start ID`
    Start,
    /// `run --bundle B ID`, to its end
    Run,
    /// `run --bundle B FLAGS... ID`
    RunWith(&'static [&'static str]),
    /// `kill ID SIGNAL`
    Kill(&'static str),
    /// `exec FLAGS... ID COMMAND...`
    Exec(&'static [&'static str], &'static [&'static str]),
    /// `delete ID`
    Delete,
    /// `delete --force ID`
    DeleteForce,
    /// `pause ID`
    Pause,
    /// `resume ID`
    Resume,
    /// `update FLAGS... ID`
    Update(&'static [&'static str]),
    /// Waits, at most so many seconds.
    Wait(Cond, u64),
    /// Does harm.
    Inject(Fault),
    /// The step ends with this status.
    Exits(&'static Step, i32),
    /// The step fails, and stderr has every one of these texts (case as given).
    Fails(&'static Step, &'static [&'static str]),
    /// Whatever else.
    Do(fn(&mut World) -> Ended),
}

/// One sentence about what a runtime does.
#[derive(Clone, Copy)]
pub struct Case {
    /// Area and name, dotted.
    pub id: &'static str,
    /// Where it is written.
    pub clause: &'static str,
    /// How binding that is.
    pub level: Level,
    /// What the machine must offer.
    pub needs: &'static [Need],
    /// Edits the default bundle.
    pub config: fn(&mut Setup),
    /// What is done.
    pub steps: &'static [Step],
    /// What is looked at afterwards, while the container still exists if no step deleted it.
    pub expect: fn(&mut World) -> Ended,
    /// Seconds after which the whole case counts as hung.
    pub deadline: u64,
}

impl Case {
    /// Runs the probe's report in the default bundle and expects nothing.
    pub const RUN: Case = Case {
        id: "",
        clause: "",
        level: Level::Must,
        needs: &[Need::Root],
        config: |_| {},
        steps: &[Step::Run],
        expect: |_| Ok(()),
        deadline: 60,
    };

    /// Creates and starts a container that sleeps.
    pub const SLEEP: Case = Case {
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Create, Step::Start],
        ..Case::RUN
    };

    /// Does nothing by itself: one step or more follows.
    pub const IDLE: Case = Case {
        steps: &[],
        ..Case::RUN
    };

    /// The part of the id before the first dot.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.id.split('.').next().unwrap_or(self.id)
    }
}
