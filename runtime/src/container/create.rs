//! `create`: everything up to the gate.
//!
//! May not: leave anything behind when it fails, whatever it had made.

use super::{boot_id, pid_file, probe_identity};
use crate::agent;
use crate::cgroup::systemd::{self, Manager, SystemdFacts, UnitPlan};
use crate::cgroup::{self, Born, Cgroup, CgroupPaths, Phase as Limits, Share, rdt};
use crate::cli::Invocation;
use crate::cli::args::{self, CgroupDriver, Global, Rootless};
use crate::cli::identity::SPEC_VERSION;
use crate::console::{self, Attendance};
use crate::error::{Doing, Error, Kind, Result};
use crate::facts::HostFacts;
use crate::gate::Gate;
use crate::hooks::{HookState, Phase, run_hooks};
use crate::idmap;
use crate::init::{Child, Init, Role};
use crate::launch::{self, Answers, Process, Until};
use crate::namespaces::{Ns, NsSource, is_of_process};
use crate::netdev::{self, Netlink};
use crate::notify::{self, Host, Relay};
use crate::plan::{self, Forks, Keyring, Options, Plan};
use crate::process::Terminal;
use crate::process::credentials::Groups;
use crate::rootfs::{self, Pivot};
use crate::state::{Lock, Record, StateDir, StateRoot, VERSION};
use crate::steps::{self, Parking, Step};
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// `create`.
pub fn create(invocation: &Invocation, args: &args::Create) -> Result<()> {
    make(invocation, args, Parking::ForStart, Attendance::Detached).map(drop)
}

/// A container that was made, and what a foreground `run` goes on with.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub dir: StateDir,
    /// As it was last saved.
    pub record: Record,
    /// Held until the caller lets go.
    pub lock: Lock,
    /// Its init.
    pub process: Process,
    /// The terminal of a foreground container.
    pub master: Option<OwnedFd>,
    /// Where the host waits for the container's READY.
    pub relay: Option<Relay>,
}

/// Makes the container: up to the gate, or up to the exec of its program.
pub fn make(
    invocation: &Invocation,
    args: &args::Create,
    parking: Parking,
    attendance: Attendance,
) -> Result<Made> {
    let paths = Paths::of(args)?;
    let mut planned = Planned::load(&invocation.global, &paths.bundle, |bundle| {
        options(invocation, args, bundle)
    })?;
    let manager = planned.manager.take();
    match invocation.global.rootless {
        Rootless::Auto => {}
        said => planned.plan.cgroup.rootless = said == Rootless::Yes,
    }
    for warning in &planned.plan.warnings {
        invocation.log.warn(warning);
    }
    let terminal = planned.plan.process.terminal != Terminal::No;
    console::check(terminal, args.console_socket.as_deref(), attendance)?;
    let (dir, lock) = StateRoot::new(&invocation.global.root).reserve(&args.id)?;
    let building = Building {
        invocation,
        planned: &planned,
        plan: &planned.plan,
        facts: &planned.facts,
        paths: &paths,
        dir: &dir,
        parking,
    };
    match building.build(&planned.json, manager) {
        Ok(built) => Ok(Made {
            record: built.record,
            dir,
            lock,
            process: built.process,
            master: built.master,
            relay: built.relay,
        }),
        Err(e) => Err(e.and_also(dir.remove())),
    }
}

/// A bundle's plan on this host.
#[derive(Debug)]
pub struct Planned {
    /// What would be done.
    pub plan: Plan,
    /// About the host.
    pub facts: HostFacts,
    /// config.json as it is.
    pub json: Vec<u8>,
    layout: cgroup::Layout,
    own: cgroup::OwnCgroups,
    /// With the systemd driver: it was asked what it can do, and will be asked to do it.
    manager: Option<Manager>,
}

impl Planned {
    /// Reads the bundle and the host; nothing is changed.
    pub fn load(
        global: &Global,
        bundle: &Path,
        options: impl FnOnce(&Path) -> Result<Options>,
    ) -> Result<Planned> {
        let (json, mut config) = plan::load_config(bundle)?;
        let options = options(bundle)?;
        if let Some(dir) = &options.notify_dir {
            notify::add_to_config(&mut config, dir);
        }
        let own = cgroup::OwnCgroups::probe()?;
        let mut layout = cgroup::probe_layout(&own)?;
        let facts = HostFacts::probe()?;
        let (manager, systemd) = match global.cgroup_driver {
            CgroupDriver::Fs => (None, None),
            CgroupDriver::Systemd => {
                let (manager, about) = connect_systemd(global.rootless, &facts)?;
                layout = layout.below(&about.control_group)?;
                (Some(manager), Some(about))
            }
        };
        let facts = HostFacts {
            cgroup_mode: layout.mode(),
            systemd,
            ..facts
        };
        let wants_rdt = config.linux.as_ref().is_some_and(|l| l.intel_rdt.is_some());
        let rdt = if wants_rdt { rdt::probe_rdt()? } else { None };
        let plan = Plan::build(&config, options, &facts, &layout, &own, rdt.as_ref())?;
        Ok(Planned {
            plan,
            facts,
            json,
            layout,
            own,
            manager,
        })
    }
}

fn connect_systemd(rootless: Rootless, facts: &HostFacts) -> Result<(Manager, SystemdFacts)> {
    systemd::check_booted()?;
    let mut manager = Manager::connect(systemd::probe_bus(rootless, facts))?;
    let about = manager.probe_facts()?;
    Ok((manager, about))
}

/// The caller's paths, absolute before the working directory changes.
struct Paths {
    bundle: PathBuf,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
}

impl Paths {
    fn of(args: &args::Create) -> Result<Paths> {
        let given = [
            &args.bundle,
            &args.pid_file,
            &args.console_socket,
            &args.pidfd_socket,
        ];
        let is_relative = given.into_iter().flatten().any(|p| p.is_relative());
        // A caller whose own directory was removed can still say where everything is.
        let here = if args.bundle.is_none() || is_relative {
            sys::fs::getcwd_raw()?
        } else {
            PathBuf::from("/")
        };
        let absolute = |p: &Option<PathBuf>| p.as_ref().map(|p| here.join(p));
        let bundle = absolute(&args.bundle).unwrap_or_else(|| here.clone());
        // Hooks and relative paths of the configuration are seen from the bundle.
        sys::fs::chdir(&bundle)?;
        Ok(Paths {
            bundle: sys::fs::getcwd_raw()?,
            pid_file: absolute(&args.pid_file),
            console_socket: absolute(&args.console_socket),
            pidfd_socket: absolute(&args.pidfd_socket),
        })
    }
}

fn options(invocation: &Invocation, args: &args::Create, bundle: &Path) -> Result<Options> {
    let listen_fds = listen_fds()?;
    let preserve_fds = args.preserve_fds.saturating_add(listen_fds);
    check_preserved(preserve_fds)?;
    Ok(Options {
        id: args.id.as_str().to_string(),
        tool: invocation.identity.name(),
        bundle: bundle.to_path_buf(),
        pivot: if args.no_pivot {
            Pivot::MoveMount
        } else {
            Pivot::PivotRoot
        },
        keyring: if args.no_new_keyring {
            Keyring::Inherited
        } else {
            Keyring::New
        },
        preserve_fds,
        listen_fds,
        notify_dir: Host::of_environment().map(|_| invocation.global.root.join(args.id.as_str())),
    })
}

/// sd_listen_fds(3): descriptors from 3 on that belong to the program.
pub fn listen_fds() -> Result<u32> {
    match std::env::var("LISTEN_FDS") {
        Ok(text) if !text.is_empty() => text
            .parse()
            .map_err(|_| Error::new(format!("unable to convert LISTEN_FDS={text:?} to a number"))),
        _ => Ok(0),
    }
}

/// Every preserved descriptor must have been given to us: an exec closes close-on-exec descriptors, so what carries
/// the flag is ours.
pub fn check_preserved(count: u32) -> Result<()> {
    const MOST: u32 = 1 << 20;
    if count > MOST {
        return Err(Error::new(format!("--preserve-fds {count} is more than {MOST}")));
    }
    for number in 3..3 + count as i32 {
        if !sys::fs::is_inherited(number) {
            return Err(Error::new(format!(
                "please check that preserved-fd {number} (of {count}) is present"
            )));
        }
    }
    Ok(())
}

/// What is at hand while a container is built.
struct Building<'a> {
    invocation: &'a Invocation,
    planned: &'a Planned,
    plan: &'a Plan,
    facts: &'a HostFacts,
    paths: &'a Paths,
    dir: &'a StateDir,
    parking: Parking,
}

impl Building<'_> {
    fn build(&self, json: &[u8], mut manager: Option<Manager>) -> Result<Built> {
        let plan = self.plan;
        let relay = self.prepare_notify()?;
        let prepared = Prepared {
            sources: rootfs::open_sources(&plan.rootfs)?,
            console_socket: console::connect(self.paths.console_socket.as_deref())?,
            joined: open_joined(plan)?,
        };
        plan.sysctl.check_joined_network(prepared.joined(Ns::Network))?;
        refuse_hosts_mounts(prepared.joined(Ns::Mount))?;
        cgroup::refuse_used(&plan.cgroup.paths)?;
        // Recorded before anything exists that a kill -9 could leave behind.
        let mut record = self.record()?;
        self.dir.save_config(json)?;
        self.dir.save_record(&record)?;
        let cgroup = cgroup::create(&plan.cgroup)?;
        if cgroup.is_none() && !plan.namespaces.is_new(Ns::Pid) {
            self.invocation.log.warn(UNKILLABLE);
        }
        record.cgroup = cgroup.paths().clone();
        let rdt = record.rdt.clone();
        plan.rdt
            .as_ref()
            .map_or(Ok(()), rdt::RdtPlan::create)
            // The cgroup of a unit is there later, and so are its limits.
            .and_then(|()| match manager {
                None => cgroup.apply_limits(&plan.cgroup, Limits::Early),
                Some(_) => Ok(()),
            })
            .and_then(|()| self.start_init(&cgroup, record, prepared, manager.as_mut()))
            .map(|built| Built { relay, ..built })
            .map_err(|e| {
                let e = e.and_also(rdt.map_or(Ok(()), |r| r.destroy()));
                match manager.is_none_or(|m| m.owns_unit()) {
                    true => e.and_also(cgroup.kill_all()).and_also(cgroup.destroy()),
                    false => e,
                }
            })
    }

    /// A program that runs at once must find the socket there; otherwise `start` binds it.
    fn prepare_notify(&self) -> Result<Option<Relay>> {
        if self.plan.options.notify_dir.is_some() {
            notify::make_dir(self.dir)?;
        }
        match self.parking {
            Parking::Never => Relay::open(self.dir),
            Parking::ForStart => Ok(None),
        }
    }

    fn record(&self) -> Result<Record> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Record {
            version: VERSION,
            id: self.plan.options.id.clone(),
            init: None,
            boot_id: boot_id()?,
            bundle: self.plan.options.bundle.clone(),
            rootfs: self.plan.rootfs.path.as_path().to_path_buf(),
            created: now.as_nanos() as u64,
            owner: self.facts.euid,
            annotations: self.plan.annotations.clone(),
            cgroup: self.plan.cgroup.paths.clone(),
            unit: self.plan.cgroup.unit.as_ref().map(|u| u.unit.clone()),
            rdt: self.plan.rdt.as_ref().map(rdt::RdtPlan::record),
            namespaces: self.plan.namespaces.clone(),
            keyring: self.plan.options.keyring,
            has_post_hooks: !self.plan.hooks.poststart.is_empty() || !self.plan.hooks.poststop.is_empty(),
        })
    }

    fn start_init(
        &self,
        cgroup: &Cgroup,
        record: Record,
        prepared: Prepared,
        manager: Option<&mut Manager>,
    ) -> Result<Built> {
        let plan = self.plan;
        let (gate, until) = match self.parking {
            Parking::ForStart => (Some(Gate::make(self.dir)?), Until::Parked),
            Parking::Never => (None, Until::Executed),
        };
        if manager.is_none() && !has_atomic_device_rules(cgroup) {
            cgroup.apply_devices(&plan.cgroup)?;
        }
        let steps = steps::init_steps(plan, self.parking);
        let v2 = match manager {
            None => cgroup.dir_fd()?,
            Some(_) => None,
        };
        let entrances = open_entrances(&steps, cgroup)?;
        let bundle = plan.options.bundle.to_string_lossy();
        let make_child = |wire| Child {
            wire,
            process: &plan.process,
            role: Role::Init(Box::new(self.init(
                cgroup,
                gate,
                prepared.joined,
                prepared.sources,
                &bundle,
            ))),
            entrances,
            facts: self.facts,
            groups: match &plan.id_maps {
                // Whoever started us has denied it to itself and all below (brig run of a user with one id).
                _ if self.facts.in_user_namespace && crate::init::are_groups_denied() => Groups::Denied,
                Some(maps) => maps.groups(self.facts),
                None => Groups::Set,
            },
            keyring: keyring_name(&plan.options.id),
            keyring_searchable: plan.namespaces.owns(Ns::User),
            preserve_fds: plan.options.preserve_fds,
            listen_fds: plan.options.listen_fds,
            console_socket: prepared.console_socket,
        };
        let log = &self.invocation.log;
        log.debug(|| {
            format!(
                "nsexec container setup: {:?} fork, {} steps",
                plan.forks,
                steps.len()
            )
        });
        if let Some(filter) = &plan.process.seccomp {
            log.debug(|| filter.flags_text());
        }
        let mut parent = Parent {
            building: self,
            cgroup,
            record,
            master: None,
            limited: false,
            staged: false,
            pid_file: pid_file::Written::default(),
            unit: plan.cgroup.unit.as_ref().zip(manager),
            asked: false,
        };
        let flags = steps::clone_flags(plan);
        let into = v2.as_ref().map(|d| d.as_fd());
        match launch::launch(&steps, make_child, flags, into, &mut parent, until) {
            Ok(process) => Ok(Built {
                process,
                master: parent.master,
                record: parent.record,
                relay: None,
            }),
            Err(e) => Err(e
                .doing("error during container init")
                .doing("unable to start container process")
                .and_also(parent.pid_file.take_back())),
        }
    }

    fn init<'p>(
        &'p self,
        cgroup: &Cgroup,
        gate: Option<Gate>,
        joined: Vec<(Ns, OwnedFd)>,
        sources: rootfs::Sources,
        bundle: &'p str,
    ) -> Init<'p> {
        let plan = self.plan;
        Init {
            state: self.hook_state(bundle, 0),
            hooks: &plan.hooks,
            joined,
            rootfs: &plan.rootfs,
            sources,
            cgroup_mounts: cgroup.mount_facts(&self.planned.layout, &self.planned.own),
            sysctl: &plan.sysctl,
            time_offsets: &plan.time_offsets,
            hostname: plan.hostname.as_deref(),
            domainname: plan.domainname.as_deref(),
            gate,
        }
    }

    fn hook_state<'p>(&'p self, bundle: &'p str, pid: i32) -> HookState<'p> {
        HookState {
            oci_version: SPEC_VERSION,
            id: &self.plan.options.id,
            status: "creating",
            pid,
            bundle,
            annotations: &self.plan.annotations,
        }
    }
}

/// The name of a container's session keyring.
pub fn keyring_name(id: &str) -> CString {
    // An id holds no NUL.
    CString::new(format!("_ses.{id}")).unwrap_or_default()
}

/// What came of it.
struct Built {
    process: Process,
    master: Option<OwnedFd>,
    record: Record,
    relay: Option<Relay>,
}

/// What the parent opened for the child.
struct Prepared {
    sources: rootfs::Sources,
    console_socket: Option<OwnedFd>,
    joined: Vec<(Ns, OwnedFd)>,
}

impl Prepared {
    fn joined(&self, ns: Ns) -> Option<BorrowedFd<'_>> {
        let (_, fd) = self.joined.iter().find(|(n, _)| *n == ns)?;
        Some(fd.as_fd())
    }
}

/// Whoever joins a mount namespace makes the container's root its `/`. In the runtime's own, or in that of the first
/// process, which is the host's, all mounts of the host would be gone.
fn refuse_hosts_mounts(joined: Option<BorrowedFd<'_>>) -> Result<()> {
    let Some(fd) = joined else { return Ok(()) };
    let is_hosts = is_of_process(fd, Ns::Mount, "self")?
        // Not ours to look at: an ordinary user's runtime, which may not join it either.
        || is_of_process(fd, Ns::Mount, "1").unwrap_or(false);
    if is_hosts {
        let text = "the mount namespace to join is the host's: the container's root would become the host's";
        return Err(Error::of(Kind::Config, text));
    }
    Ok(())
}

/// In runc's words.
const UNKILLABLE: &str = "Creating a rootless container with no cgroup and no private pid namespace. \
     Such configuration is strongly discouraged (as it is impossible to properly kill all container's processes)";

/// Opens the doors of the cgroups that the steps enter.
fn open_entrances(steps: &[Step], cgroup: &Cgroup) -> Result<Vec<(Share, cgroup::Entrance)>> {
    [Share::All, Share::AllButMemory, Share::Memory]
        .into_iter()
        .filter(|share| steps.contains(&Step::EnterCgroup(*share)))
        .map(|share| Ok((share, cgroup.entrance(share)?)))
        .collect()
}

/// Opens the namespaces to join, and makes sure that each is of its kind.
fn open_joined(plan: &Plan) -> Result<Vec<(Ns, OwnedFd)>> {
    plan.namespaces
        .joined()
        .map(|(ns, path)| {
            let fd = sys::fs::open(path, libc::O_RDONLY | libc::O_NONBLOCK, 0)
                .doing(|| format!("the {} namespace", ns.word()))?;
            match sys::process::namespace_kind(fd.as_fd()) {
                Ok(kind) if kind == ns.flag() => Ok((ns, fd)),
                _ => Err(Error::new(format!(
                    "{} is not a {} namespace",
                    path.display(),
                    ns.word()
                ))),
            }
        })
        .collect()
}

/// The parent's answers.
struct Parent<'a> {
    building: &'a Building<'a>,
    cgroup: &'a Cgroup,
    record: Record,
    master: Option<OwnedFd>,
    limited: bool,
    /// Whether [`Parent::record`] names the init and is staged.
    staged: bool,
    pid_file: pid_file::Written,
    /// With the systemd driver: what it makes, and the way to it.
    unit: Option<(&'a UnitPlan, &'a mut Manager)>,
    /// It was asked for the unit.
    asked: bool,
}

impl Parent<'_> {
    fn died(&self) -> Error {
        let why = self.epitaph().map(|t| format!(" ({t})")).unwrap_or_default();
        Error::new(format!("container init died during its setup{why}"))
    }

    /// The record that is due when the init is ready, written while it works. With a second fork the init is not there yet.
    fn stage_record(&mut self, process: &Process) -> Result<()> {
        if self.building.plan.forks == Forks::One
            && let Some(identity) = probe_identity(process.pid)?
        {
            self.record.init = Some(identity);
            self.building.dir.stage_record(&self.record)?;
            self.staged = true;
        }
        Ok(())
    }

    /// As early as there is a process: the job takes systemd some milliseconds, which the child uses.
    fn ask_for_unit(&mut self, process: &Process) -> Result<()> {
        match &mut self.unit {
            Some((plan, manager)) if !std::mem::replace(&mut self.asked, true) => {
                manager.begin(plan, process.pid)
            }
            _ => Ok(()),
        }
    }

    /// Waits for the unit, and does with it what the cgroupfs driver has done before there was a process. The child waits too
    /// (Request::Cgroup), so nothing of the container's has run outside of these rules.
    fn move_into_unit(&mut self, process: &Process) -> Result<()> {
        let Some((unit, manager)) = &mut self.unit else {
            return Ok(());
        };
        manager.finish(unit, process.pid)?;
        let plan = &self.building.plan.cgroup;
        cgroup::complete(plan)?;
        // systemd has put it where it has a controller in use; in v1 hierarchies beside those, and in a slice, it is not yet.
        if systemd::is_slice(&unit.unit.name) || matches!(plan.paths, CgroupPaths::Legacy { .. }) {
            self.cgroup.join(process.pid, Share::All, Born::Outside)?;
        }
        self.cgroup.require_member(process.pid)?;
        self.cgroup.apply_devices(plan)?;
        self.cgroup.apply_limits(plan, Limits::Early)?;
        self.delegate()
    }

    fn delegate(&self) -> Result<()> {
        match self.building.plan.cgroup_owner() {
            Some(uid) => self.cgroup.delegate(uid),
            None => Ok(()),
        }
    }

    /// Memory and pids last: they would count our own set-up against the container.
    fn apply_late_limits(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.limited, true) {
            if let Some((unit, manager)) = &mut self.unit {
                manager.set_properties(&unit.unit, &unit.last_properties(self.cgroup.weigher()))?;
            }
            self.cgroup
                .apply_limits(&self.building.plan.cgroup, Limits::Late)?;
        }
        Ok(())
    }
}

impl Answers for Parent<'_> {
    fn beside(&mut self, process: &Process) -> Result<()> {
        if self.unit.is_some() {
            self.ask_for_unit(process)?;
            return self.move_into_unit(process);
        }
        if has_atomic_device_rules(self.cgroup) {
            self.cgroup.apply_devices(&self.building.plan.cgroup)?;
        }
        self.stage_record(process)
    }

    fn setup(&mut self, process: &Process) -> Result<()> {
        let plan = self.building.plan;
        match self.unit {
            Some(_) => self.ask_for_unit(process)?,
            None => self.delegate()?,
        }
        if let Some(maps) = &plan.id_maps {
            idmap::apply_id_maps(maps, process.pid, self.building.facts)?;
        }
        if *plan.namespaces.source(Ns::User) != NsSource::Host {
            launch::apply_rlimits(process.pid, &plan.process.rlimits)?;
        }
        Ok(())
    }

    fn network(&mut self, process: &Process, inside: OwnedFd) -> Result<()> {
        let devices = &self.building.plan.net_devices;
        netdev::apply_net_devices(devices, process.pid, &Netlink::of(inside))
    }

    fn source(&mut self, process: &Process, position: usize) -> Result<OwnedFd> {
        rootfs::open_source_inside(&self.building.plan.rootfs, position, process.pid)
    }

    fn hooks(&mut self, process: &Process) -> Result<()> {
        self.apply_late_limits()?;
        let plan = self.building.plan;
        let bundle = plan.options.bundle.to_string_lossy();
        let json = self.building.hook_state(&bundle, process.pid).to_json()?;
        for phase in [Phase::Prestart, Phase::CreateRuntime] {
            run_hooks(phase.of(&plan.hooks), phase, &json, &[])?;
        }
        Ok(())
    }

    fn ready(&mut self, process: &Process) -> Result<()> {
        let log = &self.building.invocation.log;
        log.debug(|| format!("child process in init(): pid {}", process.pid));
        self.apply_late_limits()?;
        // The kernel kills for a limit below what is used already, but the init may not have died of it yet.
        if self.building.plan.cgroup.limits_memory() && is_oom_killed(self.cgroup) {
            return Err(self.died());
        }
        if let Some(rdt) = &self.record.rdt {
            rdt.join(process.pid)?;
        }
        if !self.staged {
            let identity = probe_identity(process.pid)?.ok_or_else(|| self.died())?;
            self.record.init = Some(identity);
            self.building.dir.stage_record(&self.record)?;
        }
        self.building.dir.commit_record()?;
        if let Some(path) = &self.building.paths.pidfd_socket {
            send_pidfd(path, process)?;
        }
        if let Some(path) = &self.building.paths.pid_file {
            self.pid_file = pid_file::write(path, process.pid)?;
        }
        log.debug(|| "init: closing the pipe to signal completion".to_string());
        Ok(())
    }

    fn listener(&mut self, process: &Process, listener: OwnedFd) -> Result<()> {
        let plan = self.building.plan;
        let filter = plan.process.seccomp.as_ref();
        let Some(agent) = filter.and_then(|f| f.listener.as_ref()) else {
            return Err(Error::new("the init's filter listens to nobody"));
        };
        let bundle = plan.options.bundle.to_string_lossy();
        let state = self.building.hook_state(&bundle, process.pid);
        agent::hand_over(agent, process.pid, state, listener)
    }

    fn console(&mut self, master: OwnedFd) -> Result<()> {
        // Before the program runs: it would take a later change for a resize.
        console::prepare_master(master.as_fd())?;
        self.master = Some(master);
        Ok(())
    }

    fn warning(&mut self, text: String) {
        self.building.invocation.log.warn(&text);
    }

    fn epitaph(&self) -> Option<String> {
        is_oom_killed(self.cgroup)
            .then(|| "it was OOM-killed: the memory limit is too low for it".to_string())
    }
}

/// v2 rules are one program that is in force or not, so they can be loaded while the child works. v1 rules are written one
/// by one, beginning with "deny all": a child that made its nodes in between would be refused.
fn has_atomic_device_rules(cgroup: &Cgroup) -> bool {
    !matches!(cgroup.paths(), CgroupPaths::Legacy { .. })
}

/// Whether the kernel has killed for memory in this cgroup; a cgroup that cannot be read tells nothing.
pub fn is_oom_killed(cgroup: &Cgroup) -> bool {
    cgroup.oom_kills().is_ok_and(|n| n > 0)
}

/// Sends the process's pidfd to whoever asked for it.
pub fn send_pidfd(path: &Path, process: &Process) -> Result<()> {
    let socket = sys::socket::connect(path, sys::socket::Kind::Stream, console::PATIENCE)
        .doing(|| format!("unable to connect to the pidfd socket {}", path.display()))?;
    sys::socket::send(socket.as_fd(), b"standard", &[process.pidfd.as_fd()]).doing(|| "send the pidfd")?;
    Ok(())
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_mounts_are_not_joined() {
        let own = sys::fs::open(Path::new("/proc/self/ns/mnt"), libc::O_RDONLY, 0).unwrap();
        assert!(refuse_hosts_mounts(Some(own.as_fd())).is_err());
        let other = sys::fs::open(Path::new("/proc/self/ns/uts"), libc::O_RDONLY, 0).unwrap();
        assert!(refuse_hosts_mounts(Some(other.as_fd())).is_ok());
        assert!(refuse_hosts_mounts(None).is_ok());
    }
}
