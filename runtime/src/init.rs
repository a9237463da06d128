//! The child: a loop over steps that cannot return and cannot fail silently.
//!
//! May not: open a log, run destructors of libc, go on after a failed step, or resolve a path of the container by
//! string before its root is ours.

use crate::cgroup::{Entrance, Share};
use crate::config;
use crate::error::{Doing, Error, Result};
use crate::facts::HostFacts;
use crate::gate::Gate;
use crate::hooks::{self, HookState, Phase};
use crate::launch;
use crate::namespaces::Ns;
use crate::netdev::Netlink;
use crate::process::{ProcessPlan, Terminal, capabilities, credentials, lookup};
use crate::procfs::{LabelKind, Procfs, apply_exec_label};
use crate::rootfs::{self, CgroupMounts, HostPath, Root, RootPath, RootfsPlan, Sources};
use crate::steps::Step;
use crate::sysctl::{SysctlPlan, apply_sysctl};
use crate::wire::{Report, Request, Wire};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use sys::process::{ExecStrings, Forked};

/// All that the child may need; everything that can be prepared is prepared by the parent.
#[derive(Debug)]
pub struct Child<'a> {
    /// To the parent.
    pub wire: Wire,
    /// Of this container or exec.
    pub process: &'a ProcessPlan,
    /// What differs between an init and an exec.
    pub role: Role<'a>,
    /// The doors of the cgroups, opened by the parent.
    pub entrances: Vec<(Share, Entrance)>,
    /// Facts about the host.
    pub facts: &'a HostFacts,
    /// Whether setgroups(2) is allowed.
    pub groups: credentials::Groups,
    /// Name of the container's session keyring; an exec joins the one that the init made.
    pub keyring: CString,
    /// The keyring gets the right to be searched: needed where the container's ids are mapped.
    pub keyring_searchable: bool,
    /// Descriptors from 3 on that stay open.
    pub preserve_fds: u32,
    /// LISTEN_FDS of the runtime's environment: they are part of `preserve_fds`.
    pub listen_fds: u32,
    /// Where the terminal's master goes; without one, to the parent.
    pub console_socket: Option<OwnedFd>,
}

/// An init or a further process.
#[derive(Debug)]
pub enum Role<'a> {
    /// The container's first process.
    Init(Box<Init<'a>>),
    /// `exec`: the pidfd of the container's init, and the CLONE_NEW* flags of the container's own namespaces.
    Exec(OwnedFd, u64),
}

/// What an init needs beyond a process.
#[derive(Debug)]
pub struct Init<'a> {
    /// Container id, bundle and annotations for hooks inside.
    pub state: HookState<'a>,
    /// The hooks.
    pub hooks: &'a config::Hooks,
    /// Namespaces to join, opened by the parent.
    pub joined: Vec<(Ns, OwnedFd)>,
    /// The file tree.
    pub rootfs: &'a RootfsPlan,
    /// Bind sources that only the parent could open.
    pub sources: Sources,
    /// Where the cgroups are, for mounts of type cgroup.
    pub cgroup_mounts: CgroupMounts,
    /// /proc/sys
    pub sysctl: &'a SysctlPlan,
    /// (clock, seconds, nanoseconds)
    pub time_offsets: &'a [(String, i64, u32)],
    /// sethostname(2)
    pub hostname: Option<&'a str>,
    /// setdomainname(2)
    pub domainname: Option<&'a str>,
    /// The gate of `create`; `run` has none.
    pub gate: Option<Gate>,
}

/// What grows while the steps are applied.
#[derive(Default)]
struct Progress {
    root: Option<Root>,
    env: Vec<String>,
    program: Option<CString>,
    /// After the gate, `start` is told instead of the parent.
    parked: bool,
}

impl Child<'_> {
    /// The descriptors that the steps need. All others are the runtime's own (its lock, its log, the state directory)
    /// and must not outlive it in a parked init, nor be found by a process of the container (CVE-2024-21626).
    fn descriptors(&self) -> Vec<i32> {
        let mut out = vec![self.wire.fd().as_raw_fd()];
        out.extend(
            self.entrances
                .iter()
                .flat_map(|(_, e)| e.fds().map(|f| f.as_raw_fd())),
        );
        out.extend(self.console_socket.iter().map(AsRawFd::as_raw_fd));
        match &self.role {
            Role::Exec(pidfd, _) => out.push(pidfd.as_raw_fd()),
            Role::Init(init) => {
                out.extend(init.joined.iter().map(|(_, f)| f.as_raw_fd()));
                out.extend(init.sources.fds().map(|f| f.as_raw_fd()));
                out.extend(init.gate.iter().flat_map(Gate::fds).map(|f| f.as_raw_fd()));
            }
        }
        out
    }
}

/// Applies the steps; the last one is an exec.
pub fn run(steps: &[Step], mut child: Child<'_>) -> ! {
    sys::fs::close_all_but(3 + child.preserve_fds, &mut child.descriptors());
    let mut progress = Progress {
        env: child.process.env.clone(),
        ..Progress::default()
    };
    for step in steps {
        if let Err(e) = apply(*step, &mut child, &mut progress) {
            give_up(&child, &progress, *step, &e);
        }
    }
    sys::process::exit_now(0)
}

/// Last words to whoever listens: the parent, or `start`. A program that the kernel refuses to execute is told on its own
/// stderr, where the user of an engine looks for it: for the engine the container has started, and ends with 255.
fn give_up(child: &Child<'_>, progress: &Progress, step: Step, e: &Error) -> ! {
    let text = e.to_string();
    let told = match &child.role {
        _ if step == Step::Exec => Err(Error::new("nobody is to be told")),
        Role::Init(init) if progress.parked => init
            .gate
            .as_ref()
            .map_or(Err(Error::new("nobody listens")), |gate| gate.fail(&text)),
        _ => {
            let errno = e.errno().map_or(0, |n| n.0);
            child.wire.report(
                &Report::Failed {
                    step: step.name(),
                    errno,
                    text: text.clone(),
                },
                None,
            )
        }
    };
    if told.is_err() || progress.parked {
        // Whether anybody reads stderr is not ours to know.
        let _ = sys::fs::write(sys::fs::inherited(2), format!("{text}\n").as_bytes());
    }
    sys::process::exit_now(255)
}

fn apply(step: Step, c: &mut Child<'_>, p: &mut Progress) -> Result<()> {
    match step {
        Step::Detach => detach(c),
        Step::OomScoreAdj => set_oom_score(c),
        Step::EnterCgroup(share) => enter_cgroup(c, share),
        Step::Rlimits => launch::apply_rlimits(0, &c.process.rlimits),
        Step::InitialAffinity => set_affinity(c.process.affinity.initial.as_deref()),
        Step::FinalAffinity => set_affinity(Some(c.process.affinity.last.as_deref().unwrap_or(&EVERY_CPU))),
        Step::NewSession => Ok(sys::process::setsid()?),
        Step::NonDumpable => Ok(sys::process::set_dumpable(false)?),
        Step::TryJoin(ns) => try_join(c, ns),
        Step::Join(ns) => join(c, ns),
        Step::JoinContainer => join_container(c),
        Step::Unshare(flags) => sys::process::unshare(flags).doing(|| "failed to unshare namespaces"),
        Step::TimeOffsets => set_time_offsets(init_of(c)?),
        Step::Fork(flags) => fork_init(c, flags),
        Step::Ask(Request::Network) => lend_network(c),
        Step::Ask(Request::Ready) => ask_ready(c),
        Step::Ask(request) => c.wire.ask(request),
        Step::BecomeRoot => become_root(),
        Step::Keyring => join_keyring(c),
        Step::LoopbackUp => sys::net::loopback_up().doing(|| "bring up the loopback interface"),
        Step::Propagation => rootfs::apply_propagation(init_of(c)?.rootfs),
        Step::OpenRoot => {
            p.root = Some(rootfs::open_root(init_of(c)?.rootfs)?);
            Ok(())
        }
        Step::Mount(n) => {
            let asked = rootfs::is_asked_for(init_of(c)?.rootfs, n);
            let source = asked.then(|| c.wire.ask_source(n)).transpose()?;
            let init = init_of_mut(c)?;
            let source = source.or_else(|| init.sources.take(n));
            rootfs::apply_mount(root_of(p)?, &init.rootfs.mounts[n], source, &init.cgroup_mounts)
        }
        Step::MakeCwd => make_cwd(c, p),
        Step::Devices => match &init_of(c)?.rootfs.devices {
            Some(devices) => rootfs::apply_devices(root_of(p)?, devices),
            None => Ok(()),
        },
        Step::Hooks(phase) => run_hooks(c, p, phase),
        Step::Console => open_console(c, p),
        Step::MaskedPaths => rootfs::apply_masked_paths(root_of(p)?, &init_of(c)?.rootfs.masked),
        Step::ReadonlyPaths => rootfs::apply_readonly_paths(root_of(p)?, &init_of(c)?.rootfs.readonly_paths),
        Step::LateReadonly => rootfs::apply_late_readonly(root_of(p)?),
        Step::Pivot => rootfs::apply_pivot(root_of(p)?, init_of(c)?.rootfs),
        Step::ReadonlyRoot => rootfs::apply_readonly_root(root_of(p)?),
        Step::Hostname => sys::process::sethostname(init_of(c)?.hostname.unwrap_or_default())
            .doing(|| "unable to set hostname"),
        Step::Domainname => sys::process::setdomainname(init_of(c)?.domainname.unwrap_or_default())
            .doing(|| "unable to set domainname"),
        Step::Sysctls => apply_sysctl(&Procfs::open_for(root_of(p)?)?, init_of(c)?.sysctl),
        Step::MemoryPolicy => set_memory_policy(c.process),
        Step::Scheduler => set_scheduler(c.process),
        Step::IoPriority => set_io_priority(c.process),
        Step::Personality => set_personality(c.process),
        Step::Umask => {
            sys::fs::umask(c.process.user.umask);
            Ok(())
        }
        Step::Home => {
            complete_env(c, p);
            Ok(())
        }
        Step::StdioOwner => give_stdio(c.process.user.uid),
        Step::Labels => set_labels(c.process),
        Step::NoNewPrivileges => sys::process::set_no_new_privs().doing(|| "unable to set no_new_privs"),
        Step::Seccomp => load_seccomp(c),
        Step::Credentials => give_up_rights(c),
        Step::FindProgram => find_program(c, p),
        Step::Park => park(c, p),
        Step::CloseOnExec => Ok(sys::fs::cloexec_from(3 + c.preserve_fds)?),
        Step::Exec => exec(c, p),
    }
}

fn init_of<'c, 'a>(c: &'c Child<'a>) -> Result<&'c Init<'a>> {
    match &c.role {
        Role::Init(init) => Ok(init),
        Role::Exec(..) => Err(Error::new("this step belongs to an init")),
    }
}

fn init_of_mut<'c, 'a>(c: &'c mut Child<'a>) -> Result<&'c mut Init<'a>> {
    match &mut c.role {
        Role::Init(init) => Ok(init),
        Role::Exec(..) => Err(Error::new("this step belongs to an init")),
    }
}

fn root_of(p: &mut Progress) -> Result<&mut Root> {
    p.root
        .as_mut()
        .ok_or_else(|| Error::new("the root is not open yet"))
}

/// A runtime that dies before the container is recorded takes the child with it. Its death before prctl shows as
/// end of file on the wire at the next request.
///
/// Nothing re-executes, so the child still has the runtime's command line, which everybody in the container may read.
fn detach(c: &Child<'_>) -> Result<()> {
    sys::wait::reset_signals()?;
    // A container that waits for `start` can be ended by `kill`, with its own pid namespace or without.
    if matches!(c.role, Role::Init(_)) {
        sys::wait::die_of(&[libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM])?;
    }
    sys::process::set_parent_death_signal(libc::SIGKILL)?;
    let title = if matches!(c.role, Role::Init(_)) {
        c"runb:[init]"
    } else {
        c"runb:[exec]"
    };
    sys::process::hide_arguments(title).doing(|| "hide the command line")?;
    Ok(sys::process::set_name(title)?)
}

/// Raising needs no right; lowering needs CAP_SYS_RESOURCE. An ordinary user's runtime may have inherited a value
/// that it cannot go below: then the container keeps that.
fn set_oom_score(c: &Child<'_>) -> Result<()> {
    let Some(value) = c.process.oom_score_adj else {
        return Ok(());
    };
    let proc = Procfs::host()?;
    match proc.write_self("oom_score_adj", value.to_string().as_bytes()) {
        Err(e) if e.is(libc::EACCES) && c.facts.is_rootless() => c.wire.report(
            &Report::Warning(format!("oom_score_adj {value} could not be set: {e}")),
            None,
        ),
        other => other.doing(|| "failed to set oom_score_adj"),
    }
}

fn enter_cgroup(c: &mut Child<'_>, share: Share) -> Result<()> {
    match c.entrances.iter().position(|(s, _)| *s == share) {
        Some(at) => c.entrances.swap_remove(at).1.enter(),
        None => Ok(()),
    }
}

/// Made within the root, so that a link cannot lead elsewhere; only an init makes it, as runc does.
fn make_cwd(c: &Child<'_>, p: &mut Progress) -> Result<()> {
    let path = RootPath::new(&c.process.cwd).map_err(Error::new)?;
    root_of(p)?.create_cwd(&path)
}

/// More CPUs than Linux can have; the kernel takes what exists and the cpuset allows.
const EVERY_CPU: [u64; 128] = [u64::MAX; 128];

fn set_affinity(mask: Option<&[u64]>) -> Result<()> {
    match mask {
        Some(mask) => sys::sched::set_affinity(0, mask).doing(|| "error setting process CPU affinity"),
        None => Ok(()),
    }
}

fn join(c: &mut Child<'_>, ns: Ns) -> Result<()> {
    let init = init_of_mut(c)?;
    let Some(at) = init.joined.iter().position(|(n, _)| *n == ns) else {
        return Ok(());
    };
    sys::process::setns(init.joined[at].1.as_fd(), ns.flag())
        .doing(|| format!("failed to join the {} namespace", ns.word()))?;
    init.joined.swap_remove(at);
    if ns == Ns::User && are_groups_denied() {
        c.groups = credentials::Groups::Denied;
    }
    Ok(())
}

/// What cannot be read is found out when the groups are set.
pub fn are_groups_denied() -> bool {
    let setgroups = Procfs::host().and_then(|proc| proc.read("self/setgroups"));
    setgroups.is_ok_and(|text| text.trim() == "deny")
}

fn try_join(c: &mut Child<'_>, ns: Ns) -> Result<()> {
    match join(c, ns) {
        Err(e) if e.is(libc::EPERM) => Ok(()),
        other => other,
    }
}

/// One setns(2) by pidfd enters them all (kernel 5.8): no path, no race with the container.
fn join_container(c: &Child<'_>) -> Result<()> {
    match &c.role {
        Role::Exec(_, 0) => Ok(()),
        Role::Exec(pidfd, flags) => match sys::process::setns(pidfd.as_fd(), *flags) {
            // It has ended since the state was looked at.
            Err(e) if e.is(libc::ESRCH) => Err(Error::new("cannot exec in a stopped container")),
            other => other.doing(|| "failed to join the container's namespaces"),
        },
        Role::Init(_) => Err(Error::new("this step belongs to an exec")),
    }
}

fn set_time_offsets(init: &Init<'_>) -> Result<()> {
    let text: String = init
        .time_offsets
        .iter()
        .map(|(clock, s, ns)| format!("{clock} {s} {ns}\n"))
        .collect();
    // A process that is not dumpable has files in /proc that belong to the host's root, which we may not be. No process
    // of the container can see us before the fork.
    sys::process::set_dumpable(true)?;
    Procfs::host()?
        .write_self("timens_offsets", text.as_bytes())
        .doing(|| "failed to set the time namespace offsets")?;
    Ok(sys::process::set_dumpable(false)?)
}

/// The stage's last deed: the init becomes the runtime's child (CLONE_PARENT), the stage tells its pid and ends.
///
/// Both share the wire, so the new process waits until the stage has told: a request of its own that came first would be
/// answered for the stage.
fn fork_init(c: &Child<'_>, flags: u64) -> Result<()> {
    let (told, tell) = sys::fs::pipe()?;
    match sys::process::fork(flags | sys::process::CLONE_PARENT, None)? {
        Forked::Child => {
            drop(tell);
            if sys::fs::read(told.as_fd(), &mut [0u8; 1])? == 0 {
                return Err(Error::new("the stage died"));
            }
            // The death signal is not inherited.
            Ok(sys::process::set_parent_death_signal(libc::SIGKILL)?)
        }
        Forked::Parent { pid, .. } => {
            c.wire.report(&Report::Stage(pid), None)?;
            sys::fs::write(tell.as_fd(), b"1")?;
            sys::process::exit_now(0)
        }
    }
}

/// Until the program's own ids are set, we are root of the user namespace. Groups are left to the credentials.
fn become_root() -> Result<()> {
    sys::cred::set_gid(0).doing(|| "failed to become root in the user namespace")?;
    sys::cred::set_uid(0).doing(|| "failed to become root in the user namespace")?;
    // A change of ids clears the death signal and the dumpable flag's meaning; ask for the signal again.
    Ok(sys::process::set_parent_death_signal(libc::SIGKILL)?)
}

/// ENOSYS: a kernel without keys. EDQUOT: the user has too many; the caller's keyring would then be shared, so it is
/// an error, with the way out.
fn join_keyring(c: &Child<'_>) -> Result<()> {
    let key = match sys::cred::join_session_keyring(&c.keyring) {
        Err(e) if e.is(libc::ENOSYS) => return Ok(()),
        Err(e) if e.is(libc::EDQUOT) => {
            return Err(Error::from(e)
                .doing("unable to create session key (raise kernel.keys.maxkeys, or use --no-new-keyring)"));
        }
        other => other.doing(|| "unable to create session key")?,
    };
    if c.keyring_searchable {
        // Possessor search for the container's users, whose ids differ from the key's owner.
        const SEARCH: u32 = 0x0008_0000;
        let mask = sys::cred::key_permissions(key)?;
        sys::cred::set_key_permissions(key, mask | SEARCH)
            .doing(|| "unable to modify keyring permissions")?;
    }
    Ok(())
}

fn run_hooks(c: &Child<'_>, p: &Progress, phase: Phase) -> Result<()> {
    let init = init_of(c)?;
    let list = phase.of(init.hooks);
    let status = if phase == Phase::StartContainer {
        "created"
    } else {
        "creating"
    };
    let state = HookState {
        status,
        pid: sys::process::pid(),
        ..init.state.clone()
    };
    if !p.parked {
        c.wire
            .report(&Report::Busy(format!("{} hooks", phase.word())), None)?;
    }
    if phase == Phase::CreateContainer
        && let Some(root) = &p.root
    {
        sys::fs::fchdir(root.as_fd())?;
    }
    // We have the default, which the program is to find: without a pid namespace a hook that closes its stdin would end us.
    sys::wait::set_ignored(libc::SIGPIPE, true);
    let done = hooks::run_hooks(list, phase, &state.to_json()?, hook_env(phase, &p.env));
    sys::wait::set_ignored(libc::SIGPIPE, false);
    done
}

/// What a hook gets that names no environment. Only a hook of the container may see the container's: a createContainer
/// hook is a program of the host with all rights of the runtime, and stands in the image's directory, so the image's
/// LD_PRELOAD=./x would make it the image's program (CVE-2025-23266).
fn hook_env(phase: Phase, containers: &[String]) -> &[String] {
    match phase {
        Phase::StartContainer => containers,
        _ => &[],
    }
}

/// A pair of the container's own devpts; the slave is opened by TIOCGPTPEER, never by its path (CVE-2025-52565).
fn open_console(c: &Child<'_>, p: &mut Progress) -> Result<()> {
    let (master, slave) = match &p.root {
        Some(root) => rootfs::open_terminal(root)?,
        None => rootfs::open_terminal(&Root::at(&HostPath::root())?)?,
    };
    let number = sys::tty::slave_number(master.as_fd())?;
    let Terminal::Yes(size) = c.process.terminal else {
        return Ok(());
    };
    if let Some((rows, columns)) = size {
        sys::tty::set_window_size(slave.as_fd(), sys::tty::WindowSize { rows, columns })?;
    }
    if let (Role::Init(_), Some(root)) = (&c.role, &mut p.root) {
        rootfs::apply_console(root, slave.as_fd())?;
    }
    match &c.console_socket {
        Some(socket) => {
            sys::socket::send(
                socket.as_fd(),
                format!("/dev/pts/{number}").as_bytes(),
                &[master.as_fd()],
            )
            .doing(|| "send the terminal to the console socket")?;
        }
        None => c.wire.report(&Report::Console, Some(master.as_fd()))?,
    }
    sys::tty::set_controlling(slave.as_fd()).doing(|| "make the terminal the controlling one")?;
    for number in 0..3 {
        sys::fs::dup_onto(slave.as_fd(), number, false)?;
    }
    Ok(())
}

fn set_memory_policy(p: &ProcessPlan) -> Result<()> {
    match &p.memory_policy {
        Some(m) => sys::memory::set_memory_policy(m.mode, &m.nodes).doing(|| "failed to set memory policy"),
        None => Ok(()),
    }
}

fn set_scheduler(p: &ProcessPlan) -> Result<()> {
    let Some(s) = p.scheduler else { return Ok(()) };
    let attr = sys::sched::SchedAttr {
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
        ..Default::default()
    };
    match sys::sched::set_scheduler(attr) {
        Err(e) if e.is(libc::EPERM) => Err(Error::from(e)
            .doing("error setting scheduler: process scheduler can't be used together with AllowedCPUs")),
        other => other.doing(|| "error setting scheduler"),
    }
}

fn set_io_priority(p: &ProcessPlan) -> Result<()> {
    match p.io_priority {
        Some(i) => sys::sched::set_io_priority(i.class, i.level).doing(|| "failed to set io priority"),
        None => Ok(()),
    }
}

fn set_personality(p: &ProcessPlan) -> Result<()> {
    match p.personality {
        Some(n) => sys::process::personality(n).doing(|| "failed to set the personality"),
        None => Ok(()),
    }
}

/// HOME when it is missing or empty; socket activation's variables, which name this very process.
fn complete_env(c: &Child<'_>, p: &mut Progress) {
    let home = |env: &[String]| crate::process::env_value(env, "HOME").is_some_and(|h| !h.is_empty());
    if !home(&p.env) {
        p.env.retain(|e| !e.starts_with("HOME="));
        p.env
            .push(format!("HOME={}", lookup::find_home(c.process.user.uid)));
    }
    if c.listen_fds > 0 {
        let pid = sys::process::pid();
        p.env
            .retain(|e| !e.starts_with("LISTEN_FDS=") && !e.starts_with("LISTEN_PID="));
        p.env.extend([
            format!("LISTEN_FDS={}", c.listen_fds),
            format!("LISTEN_PID={pid}"),
        ]);
    }
}

/// Pipes, sockets and terminals on stdio are given to the container's user, who may open /dev/stdout again. Other
/// files, and /dev/null above all, are the host's (CVE-2026-88265).
fn give_stdio(uid: u32) -> Result<()> {
    for number in 0..3 {
        if !sys::fs::is_open(number) {
            continue;
        }
        let fd = sys::fs::inherited(number);
        let stat = sys::fs::fstat(fd)?;
        let ours = match stat.file_type() {
            libc::S_IFIFO | libc::S_IFSOCK => true,
            libc::S_IFCHR => sys::tty::is_terminal(fd),
            _ => false,
        };
        if !ours || stat.uid == uid {
            continue;
        }
        match sys::fs::fchownat(fd, Path::new(""), uid, u32::MAX) {
            // EINVAL: the owner is not mapped. EPERM: it is somebody else's. EROFS: a read-only mount.
            Err(e) if !(e.is(libc::EINVAL) || e.is(libc::EPERM) || e.is(libc::EROFS)) => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

fn set_labels(p: &ProcessPlan) -> Result<()> {
    let proc = Procfs::open()?;
    if let Some(profile) = &p.apparmor {
        apply_exec_label(&proc, LabelKind::AppArmor, profile)?;
    }
    if let Some(label) = &p.selinux {
        apply_exec_label(&proc, LabelKind::SeLinux, label)?;
    }
    Ok(())
}

fn load_seccomp(c: &Child<'_>) -> Result<()> {
    let Some(filter) = &c.process.seccomp else {
        return Ok(());
    };
    let load = || sys::seccomp::load(&filter.insns, filter.flags).doing(|| "unable to init seccomp");
    let Some(agent) = &filter.listener else {
        return load().map(drop);
    };
    // An ordinary user's runtime may take descriptors only of what it may look at. Alone in a pid namespace of our own,
    // we show ourselves to nobody else.
    let shows = c.facts.is_rootless() && sys::process::pid() == 1;
    if shows {
        sys::process::set_dumpable(true)?;
    }
    if let Some(listener) = load()? {
        c.wire.offer_listener(listener.as_fd(), !agent.decides_sendmsg)?;
    }
    if shows {
        sys::process::set_dumpable(false)?;
    }
    Ok(())
}

/// The working directory is tried with root's rights first (a directory of another user), then with the user's (a
/// FUSE or NFS mount that root may not enter).
fn give_up_rights(c: &Child<'_>) -> Result<()> {
    let p = c.process;
    if let Some(caps) = &p.capabilities {
        credentials::apply_bounding(caps, c.facts.last_capability)?;
        sys::process::set_keep_capabilities(true)?;
    }
    let entered = enter_directory(&p.cwd);
    credentials::apply_user(&p.user, c.groups)?;
    match entered {
        Err(e) if e.is(libc::EACCES) || e.is(libc::EPERM) => enter_directory(&p.cwd)?,
        other => other?,
    }
    if let Some(caps) = &p.capabilities {
        sys::process::set_keep_capabilities(false)?;
        for (capability, why) in credentials::apply_capabilities(caps)? {
            let text = format!(
                "can't raise ambient capability {}: {}",
                capabilities::name(capability),
                why.errno()
            );
            c.wire.report(&Report::Warning(text), None)?;
        }
    }
    // setresuid cleared the death signal.
    Ok(sys::process::set_parent_death_signal(libc::SIGKILL)?)
}

/// Outside the root the kernel answers `(unreachable)`: a leaked descriptor in /proc/self/fd led there (CVE-2024-21626).
fn enter_directory(cwd: &str) -> Result<()> {
    sys::fs::chdir(Path::new(cwd))
        .map_err(|e| Error::reason(&e).doing(format!("chdir to cwd ({cwd:?}) set in config.json failed")))?;
    let real = sys::fs::getcwd_raw()?;
    if !real.starts_with("/") {
        return Err(Error::new(
            "current working directory is outside of container mount namespace root -- possible container breakout detected",
        ));
    }
    Ok(())
}

fn find_program(c: &Child<'_>, p: &mut Progress) -> Result<()> {
    let program = lookup::find_program(&c.process.args[0], &p.env)?;
    p.program = CString::new(program).ok();
    Ok(())
}

/// The death signal goes before the question: a runtime that has answered may be gone before we read the answer, and
/// one that dies without an answer shows as end of file.
fn ask_ready(c: &Child<'_>) -> Result<()> {
    sys::process::set_parent_death_signal(0)?;
    c.wire.ask(Request::Ready)
}

/// The parent stays in its own namespace, so it gets a socket of ours.
fn lend_network(c: &Child<'_>) -> Result<()> {
    let inside = Netlink::open()?;
    c.wire.ask_with(Request::Network, Some(inside.fd()))
}

fn park(c: &Child<'_>, p: &mut Progress) -> Result<()> {
    // Recorded: from here on the container lives without the runtime.
    p.parked = true;
    let Some(gate) = &init_of(c)?.gate else {
        return Err(Error::new("no gate to wait at"));
    };
    if !c.facts.is_rootless() {
        return gate.wait();
    }
    // An exec of an ordinary user may enter only what it may look at. Nothing of the host is open here any more.
    sys::process::set_dumpable(true)?;
    gate.wait()?;
    Ok(sys::process::set_dumpable(false)?)
}

fn exec(c: &Child<'_>, p: &Progress) -> Result<()> {
    let program = p
        .program
        .as_deref()
        .ok_or_else(|| Error::new("the program was not looked up"))?;
    let (args, env) = (ExecStrings::new(&c.process.args)?, ExecStrings::new(&p.env)?);
    Err(sys::process::execve(program, &args, &env).into())
}
