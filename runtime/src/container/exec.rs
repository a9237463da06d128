//! `exec`: one more process in a running container.
//!
//! May not: read the host's mount table or seal by copying more than once: probes run it every few seconds on every
//! node.

use super::create::{check_preserved, is_oom_killed, keyring_name, listen_fds, send_pidfd};
use super::pid_file;
use super::{Container, probe_identity};
use crate::agent;
use crate::cgroup::{Born, Cgroup, ExecCgroup, Rights, Share};
use crate::cli::Invocation;
use crate::cli::args;
use crate::cli::identity::SPEC_VERSION;
use crate::config::{self, Config, Process as ProcessConfig};
use crate::console::{self, Attendance};
use crate::error::{Doing, Error, Kind, Result};
use crate::facts::HostFacts;
use crate::hooks::HookState;
use crate::init::{Child, Role};
use crate::launch::{self, Answers, Process, Until};
use crate::namespaces::Ns;
use crate::problems::Problems;
use crate::process::credentials::Groups;
use crate::process::{self, ProcessPlan, Terminal, scheduling};
use crate::procfs::Procfs;
use crate::seccomp;
use crate::state::{Record, Status};
use crate::steps;
use crate::supervise;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// `exec`: the exit code of the process, or 0 when it is detached.
pub fn exec(invocation: &Invocation, args: &args::Exec) -> Result<i32> {
    let container = Container::find(&invocation.global.root, &args.id)?;
    let record = container.record()?;
    match container.status()? {
        Status::Stopped | Status::Creating => {
            return Err(Error::of(Kind::WrongState, "cannot exec in a stopped container"));
        }
        Status::Paused if !args.ignore_paused => {
            return Err(Error::of(
                Kind::WrongState,
                "cannot exec in a paused container (use --ignore-paused to override)",
            ));
        }
        _ => {}
    }
    let init = container
        .init()?
        .ok_or_else(|| Error::of(Kind::WrongState, "cannot exec in a stopped container"))?;
    let config = container.config()?;
    let facts = HostFacts::probe()?;
    let plan = plan_exec(&config, args, &facts)?;
    if let Some(warning) = plan.capabilities.as_ref().and_then(|c| c.warning()) {
        invocation.log.warn(&warning);
    }
    let attendance = if args.detach {
        Attendance::Detached
    } else {
        Attendance::Foreground
    };
    console::check(
        plan.terminal != Terminal::No,
        args.console_socket.as_deref(),
        attendance,
    )?;
    let listen_fds = listen_fds()?;
    let preserve_fds = args.preserve_fds.saturating_add(listen_fds);
    check_preserved(preserve_fds)?;
    let signals = match attendance {
        Attendance::Foreground => Some(sys::wait::block_and_watch_signals()?),
        Attendance::Detached => None,
    };
    let rights = if facts.is_rootless() {
        Rights::Rootless
    } else {
        Rights::Full
    };
    let home = container.cgroup()?;
    let cgroup = home.plan_exec(&args.cgroup, record.init.map_or(0, |i| i.pid), rights)?;
    let restricted = record.namespaces.owns(Ns::User) || facts.in_user_namespace;
    let groups = probe_groups(restricted, record.init.map_or(0, |i| i.pid))?;
    if groups == Groups::Denied && !plan.user.groups.is_empty() {
        return Err(Error::of(
            Kind::Config,
            "cannot set any additional groups in a rootless container",
        ));
    }
    let entering = Entering {
        plan: &plan,
        facts: &facts,
        record,
        groups,
        home: &home,
        cgroup: &cgroup,
        preserve_fds,
        listen_fds,
    };
    let console_socket = console::connect(args.console_socket.as_deref())?;
    let (process, master) = entering.start(invocation, args, init, console_socket)?;
    match signals {
        Some(signals) => supervise::supervise(&process, signals, master, None)
            .map(|exit| exit.shell_code())
            .map_err(|e| e.and_also(process.destroy())),
        None => Ok(0),
    }
}

/// What is at hand while a process enters.
struct Entering<'a> {
    plan: &'a ProcessPlan,
    facts: &'a HostFacts,
    record: &'a Record,
    groups: Groups,
    home: &'a Cgroup,
    cgroup: &'a ExecCgroup,
    preserve_fds: u32,
    listen_fds: u32,
}

impl Entering<'_> {
    fn start(
        &self,
        invocation: &Invocation,
        args: &args::Exec,
        init: OwnedFd,
        console_socket: Option<OwnedFd>,
    ) -> Result<(Process, Option<OwnedFd>)> {
        let steps = steps::exec_steps(self.plan, &self.record.namespaces, self.record.keyring);
        let entrances = [Share::AllButMemory, Share::Memory]
            .into_iter()
            .map(|share| Ok((share, self.cgroup.v1_entrance(share)?)))
            .collect::<Result<_>>()?;
        let v2 = self.cgroup.dir_fds()?;
        let flags = Ns::ALL
            .into_iter()
            .filter(|n| self.record.namespaces.owns(*n))
            .map(Ns::flag)
            .sum();
        let make_child = |wire| Child {
            wire,
            process: self.plan,
            role: Role::Exec(init, flags),
            entrances,
            facts: self.facts,
            groups: self.groups,
            keyring: keyring_name(args.id.as_str()),
            keyring_searchable: self.record.namespaces.owns(Ns::User),
            preserve_fds: self.preserve_fds,
            listen_fds: self.listen_fds,
            console_socket,
        };
        let log = &invocation.log;
        log.debug(|| format!("nsexec container setup: {} steps", steps.len()));
        if let Some(mask) = &self.plan.affinity.initial {
            log.debug(|| format!("nsexec: affinity: {}", scheduling::mask_text(mask)));
        }
        if let Some(filter) = &self.plan.seccomp {
            log.debug(|| filter.flags_text());
        }
        let mut parent = Parent {
            invocation,
            args,
            record: self.record,
            plan: self.plan,
            home: self.home,
            cgroup: self.cgroup,
            master: None,
            pid_file: pid_file::Written::default(),
        };
        let into = v2.first().map(AsFd::as_fd);
        match launch::launch(&steps, make_child, 0, into, &mut parent, Until::Executed) {
            Ok(process) => Ok((process, parent.master)),
            Err(e) => Err(e
                .doing("unable to start container process")
                .and_also(parent.pid_file.take_back())),
        }
    }
}

/// Whether setgroups(2) is allowed in the container's user namespace.
fn probe_groups(restricted: bool, init: i32) -> Result<Groups> {
    if !restricted {
        return Ok(Groups::Set);
    }
    match Procfs::host()?.read(&format!("{init}/setgroups"))?.trim() {
        "deny" => Ok(Groups::Denied),
        _ => Ok(Groups::Set),
    }
}

/// The parent's answers.
struct Parent<'a> {
    invocation: &'a Invocation,
    args: &'a args::Exec,
    record: &'a Record,
    plan: &'a ProcessPlan,
    home: &'a Cgroup,
    cgroup: &'a ExecCgroup,
    master: Option<OwnedFd>,
    pid_file: pid_file::Written,
}

impl Answers for Parent<'_> {
    fn beside(&mut self, _: &Process) -> Result<()> {
        Ok(())
    }

    fn setup(&mut self, process: &Process) -> Result<()> {
        launch::apply_rlimits(process.pid, &self.plan.rlimits)
    }

    fn network(&mut self, _: &Process, _: OwnedFd) -> Result<()> {
        Ok(())
    }

    fn source(&mut self, _: &Process, _: usize) -> Result<OwnedFd> {
        Err(Error::new("an exec makes no mounts"))
    }

    fn hooks(&mut self, _: &Process) -> Result<()> {
        Ok(())
    }

    fn ready(&mut self, process: &Process) -> Result<()> {
        let born = if process.in_cgroup {
            Born::InCgroup
        } else {
            Born::Outside
        };
        self.cgroup
            .join_v2(process.pid, born)
            .doing(|| format!("error adding pid {} to cgroups", process.pid))?;
        if let Some(rdt) = &self.record.rdt {
            rdt.join_exec(process.pid)?;
        }
        if probe_identity(process.pid)?.is_none() {
            return Err(Error::new("the process died during its setup"));
        }
        let log = &self.invocation.log;
        log.debug(|| format!("child process in init(): pid {}", process.pid));
        if let Some(path) = &self.args.pidfd_socket {
            send_pidfd(path, process)?;
        }
        if let Some(path) = &self.args.pid_file {
            self.pid_file = pid_file::write(path, process.pid)?;
        }
        log.debug(|| "setns_init: about to exec".to_string());
        Ok(())
    }

    fn listener(&mut self, process: &Process, listener: OwnedFd) -> Result<()> {
        let filter = self.plan.seccomp.as_ref();
        let Some(agent) = filter.and_then(|f| f.listener.as_ref()) else {
            return Err(Error::new("the process's filter listens to nobody"));
        };
        let bundle = self.record.bundle.to_string_lossy();
        let state = HookState {
            oci_version: SPEC_VERSION,
            id: &self.record.id,
            status: "running",
            pid: self.record.init.map_or(0, |i| i.pid),
            bundle: &bundle,
            annotations: &self.record.annotations,
        };
        agent::hand_over(agent, process.pid, state, listener)
    }

    fn console(&mut self, master: OwnedFd) -> Result<()> {
        // Before the program runs: it would take a later change for a resize.
        console::prepare_master(master.as_fd())?;
        self.master = Some(master);
        Ok(())
    }

    fn warning(&mut self, text: String) {
        self.invocation.log.warn(&text);
    }

    fn epitaph(&self) -> Option<String> {
        is_oom_killed(self.home).then(|| "the container ran out of memory".to_string())
    }
}

/// The process to run: a process.json, or the container's own with the flags over it.
fn plan_exec(config: &Config, args: &args::Exec, facts: &HostFacts) -> Result<ProcessPlan> {
    let mut problems = Problems::default();
    let default_linux = config::Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&default_linux);
    let process = match &args.process {
        Some(path) => load_process(path, config)?,
        None => with_flags(config.process.clone().unwrap_or_default(), args),
    };
    let place = if args.process.is_some() { "" } else { "/process" };
    let mut plan = process::plan_process(&process, linux, place, facts, &mut problems);
    plan.seccomp = linux.seccomp.as_ref().and_then(|s| {
        let kernel = seccomp::flags_of_kernel(facts.kernel);
        seccomp::plan_seccomp(s, seccomp::Arch::native(), kernel, &mut problems)
    });
    problems.into_result()?;
    Ok(plan)
}

/// The umask is the container's unless the file names one.
fn load_process(path: &Path, config: &Config) -> Result<ProcessConfig> {
    const LARGEST: usize = 16 << 20;
    let fd = sys::fs::open(path, libc::O_RDONLY | libc::O_NOCTTY, 0)?;
    let json = sys::fs::read_all(fd.as_fd(), LARGEST)?;
    let mut process: ProcessConfig = config::parse(&json)
        .or_else(|p| p.into_result().and(Err(Error::new("unreadable"))))
        .doing(|| path.display().to_string())?;
    let umask = config.process.as_ref().and_then(|p| p.user.umask);
    process.user.umask = process.user.umask.or(umask);
    Ok(process)
}

fn with_flags(mut p: ProcessConfig, args: &args::Exec) -> ProcessConfig {
    p.args = args.args.clone();
    p.terminal = args.tty;
    // The size is that of the terminal we are called from, not the container's first one.
    p.console_size = None;
    if let Some(cwd) = &args.cwd {
        p.cwd = cwd.clone();
    }
    if let Some(label) = &args.process_label {
        p.selinux_label = label.clone();
    }
    if let Some(profile) = &args.apparmor {
        p.apparmor_profile = profile.clone();
    }
    if let Some(on) = args.no_new_privs {
        p.no_new_privileges = on;
    }
    if let Some(user) = args.user {
        p.user.uid = user.uid;
        p.user.gid = user.gid.unwrap_or(p.user.gid);
    }
    p.user.additional_gids.extend(&args.additional_gids);
    p.env.extend(args.env.iter().cloned());
    add_capabilities(&mut p, &args.caps);
    p
}

/// Bounding, permitted, effective; ambient only where inheritable already: an exec must not make the inheritable set
/// non-empty (CVE-2022-29162).
fn add_capabilities(p: &mut ProcessConfig, caps: &[String]) {
    if caps.is_empty() {
        return;
    }
    let sets = p.capabilities.get_or_insert_default();
    for cap in caps {
        for set in [&mut sets.bounding, &mut sets.permitted, &mut sets.effective] {
            set.push(cap.clone());
        }
        if sets.inheritable.contains(cap) {
            sets.ambient.push(cap.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let capabilities = Some(config::Capabilities {
            inheritable: vec!["CAP_KILL".into()],
            ..Default::default()
        });
        let mut p = ProcessConfig {
            capabilities,
            ..Default::default()
        };
        add_capabilities(&mut p, &["CAP_CHOWN".into(), "CAP_KILL".into()]);
        let sets = p.capabilities.unwrap();
        assert_eq!(sets.inheritable, ["CAP_KILL"]);
        assert_eq!(sets.ambient, ["CAP_KILL"]);
    }
}
