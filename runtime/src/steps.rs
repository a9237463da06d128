//! The order in which a process becomes a container's process. This is the one place where order lives: read it
//! from top to bottom.
//!
//! Pure: a list is built, nothing is done. [`crate::init`] applies it, [`crate::launch`] answers.

use crate::cgroup::Share;
use crate::hooks::Phase;
use crate::namespaces::{Namespaces, Ns, NsSource};
use crate::plan::{Forks, Keyring, Plan};
use crate::process::{NoNewPrivileges, ProcessPlan, Terminal};
use crate::rootfs::{MountKind, MountPlan};
use crate::wire::Request;

/// One effect of the child. Each either completes or names itself in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Die with the runtime until the container is recorded; defaults for signals; a command line of its own.
    Detach,
    /// /proc/self/oom_score_adj, while we are still dumpable.
    OomScoreAdj,
    /// The child enters its cgroups by itself: on v1 a parent that moves it pays an RCU grace period.
    EnterCgroup(Share),
    /// execCPUAffinity.initial
    InitialAffinity,
    /// setsid(2)
    NewSession,
    /// Not to be looked at by processes of a namespace that is joined (CVE-2016-9962).
    NonDumpable,
    /// The same, unless we have not the right to: the user namespace that is joined next may bring it.
    TryJoin(Ns),
    /// setns(2) of one kind, unless that was done already.
    Join(Ns),
    /// All of an existing container's namespaces at once, by the pidfd of its init.
    JoinContainer,
    /// unshare(2)
    Unshare(u64),
    /// /proc/self/timens_offsets, before anybody enters.
    TimeOffsets,
    /// The stage forks the init and ends.
    Fork(u64),
    /// Wait for the parent.
    Ask(Request),
    /// Root of the user namespace: its maps are there now.
    BecomeRoot,
    /// A session keyring of our own.
    Keyring,
    /// `lo` of a fresh network namespace.
    LoopbackUp,
    /// `/` slave or private, so that nothing flows back to the host.
    Propagation,
    /// The rootfs becomes a mount and a descriptor.
    OpenRoot,
    /// One entry of `mounts`.
    Mount(usize),
    /// `process.cwd` is made when it is missing.
    MakeCwd,
    /// Device nodes and links in /dev.
    Devices,
    /// Hooks that run inside.
    Hooks(Phase),
    /// The rootfs becomes `/`.
    Pivot,
    /// A pseudo-terminal of the container's devpts becomes stdio.
    Console,
    /// `linux.maskedPaths`, before the pivot: afterwards no path can be trusted.
    MaskedPaths,
    /// `linux.readonlyPaths`
    ReadonlyPaths,
    /// Mounts that had to be writable until now.
    LateReadonly,
    /// `root.readonly`
    ReadonlyRoot,
    /// sethostname(2)
    Hostname,
    /// setdomainname(2)
    Domainname,
    /// /proc/sys
    Sysctls,
    /// execCPUAffinity.final; without it every CPU that the cgroup allows: the runtime's own affinity is not the container's.
    FinalAffinity,
    /// set_mempolicy(2)
    MemoryPolicy,
    /// sched_setattr(2)
    Scheduler,
    /// ioprio_set(2)
    IoPriority,
    /// personality(2)
    Personality,
    /// prlimit(2), while we have the right; with a user namespace only the parent has it.
    Rlimits,
    /// umask(2)
    Umask,
    /// HOME from the container's passwd.
    Home,
    /// stdio belongs to the container's user.
    StdioOwner,
    /// AppArmor and SELinux labels for the exec.
    Labels,
    /// PR_SET_NO_NEW_PRIVS
    NoNewPrivileges,
    /// seccomp(2)
    Seccomp,
    /// Bounding set, groups, gid, uid, capabilities, ambient; the working directory in between.
    Credentials,
    /// The program is looked up in the container's PATH.
    FindProgram,
    /// Wait for `start`.
    Park,
    /// Everything above stdio and the preserved descriptors closes at the exec.
    CloseOnExec,
    /// execve(2)
    Exec,
}

/// The life of an init.
pub fn init_steps(plan: &Plan, park: Parking) -> Vec<Step> {
    let ns = &plan.namespaces;
    let hooks_outside = !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty();
    // What tmpcopyup copies is as large as the image likes.
    let copies_files = plan.rootfs.mounts.iter().any(|m| m.options.copy_up);
    // The root of a cgroup namespace is where its first process is, hooks expect the limits in force, and files that stay
    // in memory are to be counted: each forbids to enter the memory cgroup last (crate::cgroup says why one wants to).
    let whole_cgroup_early = ns.is_new(Ns::Cgroup) || hooks_outside || copies_files;
    let by_systemd = plan.cgroup.unit.is_some();
    let mut s = vec![Step::Detach];
    s.extend((!by_systemd).then_some(Step::EnterCgroup(if whole_cgroup_early {
        Share::All
    } else {
        Share::AllButMemory
    })));
    s.extend(plan.process.oom_score_adj.map(|_| Step::OomScoreAdj));
    enter_namespaces(&mut s, plan);
    // After the last fork: only the leader of a session can take a controlling terminal.
    s.push(Step::NewSession);
    s.extend((ns.is_new(Ns::Cgroup) && !by_systemd).then_some(Step::Unshare(Ns::Cgroup.flag())));
    s.extend((plan.options.keyring == Keyring::New).then_some(Step::Keyring));
    s.extend(ns.is_new(Ns::Network).then_some(Step::LoopbackUp));
    s.extend((!plan.net_devices.is_empty()).then_some(Step::Ask(Request::Network)));
    s.extend([Step::Propagation, Step::OpenRoot]);
    mounts(&mut s, plan);
    s.extend([Step::MakeCwd, Step::Devices]);
    s.extend(hooks_outside.then_some(Step::Ask(Request::Hooks)));
    s.extend((!plan.hooks.create_container.is_empty()).then_some(Step::Hooks(Phase::CreateContainer)));
    s.extend(plan.hostname.is_some().then_some(Step::Hostname));
    s.extend(plan.domainname.is_some().then_some(Step::Domainname));
    s.extend((!plan.sysctl.is_empty()).then_some(Step::Sysctls));
    s.extend((plan.process.terminal != Terminal::No).then_some(Step::Console));
    s.extend([
        Step::MaskedPaths,
        Step::ReadonlyPaths,
        Step::LateReadonly,
        Step::Pivot,
    ]);
    s.extend(plan.rootfs.readonly.then_some(Step::ReadonlyRoot));
    become_user(&mut s, &plan.process, ns);
    s.extend((!whole_cgroup_early && !by_systemd).then_some(Step::EnterCgroup(Share::Memory)));
    s.push(Step::Ask(Request::Ready));
    s.extend((park == Parking::ForStart).then_some(Step::Park));
    confine(&mut s, &plan.process);
    // Within the filter, as the program itself.
    s.extend((!plan.hooks.start_container.is_empty()).then_some(Step::Hooks(Phase::StartContainer)));
    s.push(Step::Exec);
    s
}

/// The mounts in their order. With systemd the job that puts us into the cgroup goes on beside them, so it is waited for as late
/// as can be: before cgroups are looked at (the root of a cgroup namespace is where its first process is), and at the latest
/// before the device nodes and hooks, which belong under the container's rules.
fn mounts(s: &mut Vec<Step>, plan: &Plan) {
    let list = &plan.rootfs.mounts;
    let is_cgroup = |m: &MountPlan| matches!(m.kind, MountKind::Cgroup(_));
    let wait_at = plan
        .cgroup
        .unit
        .as_ref()
        .map(|_| list.iter().position(is_cgroup).unwrap_or(list.len()));
    for n in 0..=list.len() {
        if wait_at == Some(n) {
            // With two forks the stage has waited already, and we were born there.
            s.extend((plan.forks == Forks::One).then_some(Step::Ask(Request::Cgroup)));
            s.extend(
                plan.namespaces
                    .is_new(Ns::Cgroup)
                    .then_some(Step::Unshare(Ns::Cgroup.flag())),
            );
        }
        s.extend((n < list.len()).then_some(Step::Mount(n)));
    }
}

/// The life of an additional process in a running container.
pub fn exec_steps(process: &ProcessPlan, ns: &Namespaces, keyring: Keyring) -> Vec<Step> {
    let mut s = vec![Step::Detach];
    s.extend(process.affinity.initial.as_ref().map(|_| Step::InitialAffinity));
    // Memory last, as for an init: our own set-up would count against the container, and a tight limit end it.
    s.push(Step::EnterCgroup(Share::AllButMemory));
    s.extend(process.oom_score_adj.map(|_| Step::OomScoreAdj));
    s.extend(ns.owns(Ns::User).then_some(Step::Ask(Request::Setup)));
    s.extend([Step::NonDumpable, Step::JoinContainer]);
    // Only children enter a joined pid or time namespace.
    s.extend((ns.owns(Ns::Pid) || ns.owns(Ns::Time)).then_some(Step::Fork(0)));
    s.push(Step::NewSession);
    s.extend(ns.owns(Ns::User).then_some(Step::BecomeRoot));
    s.extend((keyring == Keyring::New).then_some(Step::Keyring));
    s.extend((process.terminal != Terminal::No).then_some(Step::Console));
    become_user(&mut s, process, ns);
    s.push(Step::EnterCgroup(Share::Memory));
    s.push(Step::Ask(Request::Ready));
    confine(&mut s, process);
    s.push(Step::Exec);
    s
}

/// Whether the init waits for `start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parking {
    /// `create`
    ForStart,
    /// `run`
    Never,
}

/// The flags for the first clone3: every fresh namespace, when one fork does.
///
/// Not the cgroup namespace: clone3 would root it at the parent's cgroup, although the child starts in its own
/// (the css_set that is copied is the parent's).
pub fn clone_flags(plan: &Plan) -> u64 {
    match plan.forks {
        Forks::One if plan.namespaces.path(Ns::User).is_some() => 0,
        Forks::One => plan.namespaces.new_flags() & !Ns::Cgroup.flag(),
        Forks::Two => 0,
    }
}

/// Makes and joins namespaces. With one fork clone3 has made the fresh ones.
fn enter_namespaces(s: &mut Vec<Step>, plan: &Plan) {
    let ns = &plan.namespaces;
    let joins = |wanted: fn(Ns) -> bool| {
        ns.joined()
            .map(|(n, _)| n)
            .filter(move |n| wanted(*n))
            .map(Step::Join)
    };
    if clone_flags(plan) != 0 {
        // clone3 made a user namespace: the maps come first, rights second, hiding third.
        s.extend(ns.is_new(Ns::User).then_some(Step::Ask(Request::Setup)));
        s.extend(ns.is_new(Ns::User).then_some(Step::BecomeRoot));
        s.push(Step::NonDumpable);
        s.extend(joins(|_| true));
        return;
    }
    // A process of a namespace that we join must not be able to look at us.
    if ns.is_new(Ns::User) {
        // The host's namespaces are joined with the host's rights, before they are given up.
        s.extend(joins(|n| n != Ns::Pid && n != Ns::Time));
        s.push(Step::Unshare(Ns::User.flag()));
        s.push(Step::Ask(Request::Setup));
        s.extend([Step::BecomeRoot, Step::NonDumpable]);
        s.extend(joins(|n| n == Ns::Pid || n == Ns::Time));
    } else {
        s.extend((*ns.source(Ns::User) != NsSource::Host).then_some(Step::Ask(Request::Setup)));
        s.push(Step::NonDumpable);
        if ns.path(Ns::User).is_some() {
            // Some belong to the host and some to the user namespace; an ordinary user has no right over the former.
            s.extend(
                ns.joined()
                    .filter(|(n, _)| *n != Ns::User)
                    .map(|(n, _)| Step::TryJoin(n)),
            );
            s.extend([Step::Join(Ns::User), Step::BecomeRoot]);
        }
        s.extend(joins(|n| n != Ns::User));
    }
    let rest = ns.new_flags() & !(Ns::User.flag() | Ns::Cgroup.flag());
    s.extend((rest != 0).then_some(Step::Unshare(rest)));
    s.extend((!plan.time_offsets.is_empty()).then_some(Step::TimeOffsets));
    let two = plan.forks == Forks::Two;
    // systemd moves one process, and its children after that are born where it is.
    s.extend((two && plan.cgroup.unit.is_some()).then_some(Step::Ask(Request::Cgroup)));
    s.extend(two.then_some(Step::Fork(0)));
}

/// From root of the container to the user of its program.
fn become_user(s: &mut Vec<Step>, p: &ProcessPlan, ns: &Namespaces) {
    s.extend((!ns.owns(Ns::User) && !p.rlimits.is_empty()).then_some(Step::Rlimits));
    s.push(Step::FinalAffinity);
    s.extend(p.memory_policy.as_ref().map(|_| Step::MemoryPolicy));
    s.extend(p.scheduler.map(|_| Step::Scheduler));
    s.extend(p.io_priority.map(|_| Step::IoPriority));
    s.extend(p.personality.map(|_| Step::Personality));
    s.extend([Step::Umask, Step::Home, Step::StdioOwner]);
    s.extend((p.apparmor.is_some() || p.selinux.is_some()).then_some(Step::Labels));
    s.extend((p.no_new_privileges == NoNewPrivileges::On).then_some(Step::NoNewPrivileges));
    // Without no_new_privs the filter needs CAP_SYS_ADMIN, so it comes before the capabilities go.
    s.extend((filter_comes(p) == FilterComes::WithRights).then_some(Step::Seccomp));
    s.extend([Step::Credentials, Step::FindProgram]);
    s.extend((filter_comes(p) == FilterComes::WithRuntime).then_some(Step::Seccomp));
}

/// The last of our own doing.
fn confine(s: &mut Vec<Step>, p: &ProcessPlan) {
    s.push(Step::CloseOnExec);
    s.extend((filter_comes(p) == FilterComes::Last).then_some(Step::Seccomp));
}

/// When the filter is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilterComes {
    Never,
    /// While we have the capabilities that it takes.
    WithRights,
    /// While the runtime is there to pass its listener on.
    WithRuntime,
    /// Last, so that the profile need not allow what we do.
    Last,
}

fn filter_comes(p: &ProcessPlan) -> FilterComes {
    match (&p.seccomp, p.no_new_privileges) {
        (None, _) => FilterComes::Never,
        (Some(_), NoNewPrivileges::Off) => FilterComes::WithRights,
        (Some(filter), NoNewPrivileges::On) if filter.listener.is_some() => FilterComes::WithRuntime,
        (Some(_), NoNewPrivileges::On) => FilterComes::Last,
    }
}

impl Step {
    /// What the step does, for an error: `error during container init: <this>: ...` stays out of runc's words, so it
    /// is only told by `--debug`.
    pub fn name(&self) -> String {
        match self {
            Step::Join(ns) | Step::TryJoin(ns) => format!("join {} namespace", ns.word()),
            Step::Hooks(phase) => format!("{} hooks", phase.word()),
            Step::Mount(n) => format!("mount {n}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exec_enters_the_memory_cgroup_when_its_own_work_is_done() {
        let process = crate::process::plan_process(
            &crate::config::Process::default(),
            &crate::config::Linux::default(),
            "",
            &crate::facts::HostFacts::default(),
            &mut crate::problems::Problems::default(),
        );
        let steps = exec_steps(&process, &Namespaces::default(), Keyring::Inherited);
        let at = |step: Step| steps.iter().position(|s| *s == step).unwrap();
        assert!(at(Step::EnterCgroup(Share::AllButMemory)) < at(Step::JoinContainer));
        assert!(at(Step::FindProgram) < at(Step::EnterCgroup(Share::Memory)));
        assert!(at(Step::EnterCgroup(Share::Memory)) < at(Step::Ask(Request::Ready)));
    }
}
