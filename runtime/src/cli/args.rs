//! What a command line asks for, typed: one struct per verb.
//!
//! May not: touch the kernel or the disk. Values are checked for form and range only; whether a container or a path
//! exists is the verb's business.

use super::flags::{self, Parsed};
use super::signals;
use crate::config::{BlockIo, Cpu, Memory, Pids, Resources};
use crate::error::{Error, Result};
use crate::log;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The flags in front of the verb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Log more, and into the log.
    pub debug: bool,
    /// `--log`; absent is stderr.
    pub log: Option<PathBuf>,
    /// `--log-format`.
    pub log_format: log::Format,
    /// The state directory, absolute and clean.
    pub root: PathBuf,
    /// Who chose the state directory.
    pub root_origin: RootOrigin,
    /// Whom cgroups are asked of.
    pub cgroup_driver: CgroupDriver,
    /// `--rootless`.
    pub rootless: Rootless,
}

/// Who chose the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootOrigin {
    /// `--root`.
    Flag,
    /// `$XDG_RUNTIME_DIR`; the directory is ours to create, sticky so that cleaners spare it.
    Xdg,
    /// The default under /run.
    Default,
}

/// Whom cgroups are asked of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// The file system.
    #[default]
    Fs,
    /// systemd (`--systemd-cgroup`).
    Systemd,
}

/// `--rootless`: are failures of cgroups forgiven?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// When the host says that we have no root rights.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never.
    No,
}

/// The name of a container: letters, digits and `_+-.`, but not `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks the form.
    ///
    /// # Errors
    /// runc's sentences for an empty and for a malformed id.
    pub fn parse(text: &OsStr) -> Result<ContainerId> {
        let id = text.to_str().unwrap_or("/");
        if id.is_empty() {
            return Err(Error::new("container id cannot be empty"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        // NAME_MAX of every file system that could hold the state directory.
        if id == "." || id == ".." || id.len() > 255 || !id.chars().all(allowed) {
            return Err(Error::new("invalid container ID format"));
        }
        Ok(ContainerId(id.to_string()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Write an image of a running container.
    Checkpoint(Box<Checkpoint>),
    /// Say what would go wrong with a bundle on this host.
    Check(Check),
    /// Print a completion script.
    Completion(Shell),
    /// Create a container.
    Create(Create),
    /// Delete a container.
    Delete(Delete),
    /// Print events.
    Events(Events),
    /// Run another process in a container.
    Exec(Box<Exec>),
    /// Print what this runtime can do.
    Features,
    /// Remove what killed runtimes left behind.
    Gc(Gc),
    /// Send a signal.
    Kill(Kill),
    /// List containers.
    List(List),
    /// Write the manual pages into a directory.
    Man(PathBuf),
    /// Suspend a container.
    Pause(ContainerId),
    /// Print what `create` would do.
    Plan(Plan),
    /// List the processes of a container.
    Ps(Ps),
    /// Restore a container from an image.
    Restore(Box<Restore>),
    /// Resume a container.
    Resume(ContainerId),
    /// Create, start and wait.
    Run(Run),
    /// Write a default config.json.
    Spec(Spec),
    /// Start the process of a created container.
    Start(ContainerId),
    /// Print the state.
    State(ContainerId),
    /// Change limits.
    Update(Box<Update>),
}

/// `create`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    /// Its name.
    pub id: ContainerId,
    /// Directory of config.json; absent is the working directory.
    pub bundle: Option<PathBuf>,
    /// AF_UNIX socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of init.
    pub pidfd_socket: Option<PathBuf>,
    /// File that receives the pid.
    pub pid_file: Option<PathBuf>,
    /// Move the mount instead of pivot_root(2): the root is a ramdisk.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// File descriptors to pass on beyond stdio and `$LISTEN_FDS`.
    pub preserve_fds: u32,
}

/// `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Everything that `create` has.
    pub create: Create,
    /// Return once the process is started.
    pub detach: bool,
    /// Leave the stopped container behind.
    pub keep: bool,
    /// Do not become the reaper of orphans.
    pub no_subreaper: bool,
}

/// `exec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// In which container.
    pub id: ContainerId,
    /// The command with its arguments; empty only with `process`.
    pub args: Vec<String>,
    /// A process.json that replaces everything but the descriptors and the cgroup.
    pub process: Option<PathBuf>,
    /// Working directory.
    pub cwd: Option<String>,
    /// `K=V`, appended.
    pub env: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Other ids than the configuration's.
    pub user: Option<ExecUser>,
    /// Appended to the configuration's.
    pub additional_gids: Vec<u32>,
    /// Return once the process is started.
    pub detach: bool,
    /// SELinux label.
    pub process_label: Option<String>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// Overrides the configuration in both directions.
    pub no_new_privs: Option<bool>,
    /// Capabilities to add.
    pub caps: Vec<String>,
    /// Where below the container's cgroup.
    pub cgroup: SubCgroup,
    /// Allowed in a paused container.
    pub ignore_paused: bool,
    /// AF_UNIX socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// AF_UNIX socket that receives a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// File that receives the pid.
    pub pid_file: Option<PathBuf>,
    /// File descriptors to pass on.
    pub preserve_fds: u32,
}

/// `exec --user`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecUser {
    /// User id.
    pub uid: u32,
    /// Group id; absent keeps the configuration's.
    pub gid: Option<u32>,
}

/// `exec --cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubCgroup {
    /// The container's own.
    #[default]
    Own,
    /// A path below it in the unified hierarchy.
    Unified(String),
    /// v1: controller and path below the container's cgroup of that controller.
    Controllers(Vec<(String, String)>),
}

/// `kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillScope {
    /// init only (and everybody, where the container has no pid namespace of its own and the signal is SIGKILL).
    Init,
    /// `--all`: as `Init`, but a container that has stopped already is no error.
    All,
}

/// `kill`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Which container.
    pub id: ContainerId,
    /// Signal number.
    pub signal: i32,
    /// Whom it is for.
    pub scope: KillScope,
}

/// `delete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Which container.
    pub id: ContainerId,
    /// Kill it first; absent is fine.
    pub force: bool,
}

/// Table or JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// `list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// How.
    pub format: Format,
    /// Ids only.
    pub quiet: bool,
}

/// `ps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ps {
    /// Which container.
    pub id: ContainerId,
    /// How.
    pub format: Format,
    /// For ps(1); empty means `-ef`.
    pub args: Vec<String>,
}

/// `events`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Which container.
    pub id: ContainerId,
    /// Between two statistics; more than zero.
    pub interval: Duration,
    /// Print statistics once, then leave.
    pub stats: bool,
}

/// `update`.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// Which container.
    pub id: ContainerId,
    /// The new limits.
    pub source: UpdateSource,
    /// Intel RDT.
    pub l3_cache_schema: Option<String>,
    /// Intel RDT.
    pub mem_bw_schema: Option<String>,
}

/// Where `update` takes its limits from. Pass what comes out of a file through [`settle`] too.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateSource {
    /// The flags, already settled.
    Flags(Box<Resources>),
    /// A file with `linux.resources`.
    File(PathBuf),
    /// The same on stdin (`-r -`).
    Stdin,
}

/// `spec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Where to write config.json; absent is the working directory.
    pub bundle: Option<PathBuf>,
    /// For an ordinary user.
    pub rootless: bool,
}

/// `plan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Directory of config.json; absent is the working directory.
    pub bundle: Option<PathBuf>,
}

/// `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Directory of config.json; absent is the working directory.
    pub bundle: Option<PathBuf>,
}

/// `gc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gc {
    /// Name what would go, remove nothing.
    pub dry_run: bool,
}

/// A shell that has completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// bash with bash-completion.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

/// What `checkpoint` and `restore` share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criu {
    /// Image directory; absent is `./checkpoint`.
    pub image_path: Option<PathBuf>,
    /// Directory for logs.
    pub work_path: Option<PathBuf>,
    /// Established TCP connections are fine.
    pub tcp_established: bool,
    /// External unix sockets are fine.
    pub ext_unix_sk: bool,
    /// Jobs of a shell outside are fine.
    pub shell_job: bool,
    /// Keep file locks.
    pub file_locks: bool,
    /// Memory on demand.
    pub lazy_pages: bool,
    /// Deduplicate memory images.
    pub auto_dedup: bool,
    /// How cgroups are treated: `soft`, `full`, `strict`, `ignore`.
    pub manage_cgroups_mode: Option<String>,
    /// Namespaces to leave empty.
    pub empty_ns: Vec<String>,
}

/// `checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which container.
    pub id: ContainerId,
    /// Shared options.
    pub criu: Criu,
    /// Previous images of a pre-dump, relative to the image directory.
    pub parent_path: Option<PathBuf>,
    /// Let it run on.
    pub leave_running: bool,
    /// Skip TCP connections in flight.
    pub tcp_skip_in_flight: bool,
    /// Link unlinked files back.
    pub link_remap: bool,
    /// Descriptor that learns when lazy pages are ready.
    pub status_fd: Option<i32>,
    /// `HOST:PORT`.
    pub page_server: Option<String>,
    /// Memory only, container goes on.
    pub pre_dump: bool,
}

/// `restore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Its name.
    pub id: ContainerId,
    /// Shared options.
    pub criu: Criu,
    /// Directory of config.json; absent is the working directory.
    pub bundle: Option<PathBuf>,
    /// Return once the process runs.
    pub detach: bool,
    /// File that receives the pid.
    pub pid_file: Option<PathBuf>,
    /// AF_UNIX socket that receives the terminal.
    pub console_socket: Option<PathBuf>,
    /// Do not become the reaper of orphans.
    pub no_subreaper: bool,
    /// Move the mount instead of pivot_root(2).
    pub no_pivot: bool,
    /// `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    /// SELinux mount context.
    pub lsm_mount_context: Option<String>,
}

// ---- from what was given to what is meant ------------------------------------------------------------------------
// One function per verb, named in its table. An empty text counts as absent, as it does for runc.

fn path(p: &Parsed, flag: &str) -> Option<PathBuf> {
    p.text(flag).filter(|t| !t.is_empty()).map(PathBuf::from)
}

fn string(p: &Parsed, flag: &str) -> Result<Option<String>> {
    p.text(flag).filter(|t| !t.is_empty()).map(utf8).transpose()
}

fn strings(p: &Parsed, flag: &str) -> Result<Vec<String>> {
    p.texts(flag).map(utf8).collect()
}

fn utf8(text: &OsStr) -> Result<String> {
    text.to_str()
        .map(str::to_string)
        .ok_or_else(|| Error::new(format!("argument {text:?} is not valid UTF-8")))
}

fn id(p: &Parsed) -> Result<ContainerId> {
    ContainerId::parse(p.operands.first().map_or(OsStr::new(""), |o| o))
}

fn preserve_fds(p: &Parsed) -> Result<u32> {
    let n = p.int("preserve-fds").unwrap_or(0);
    u32::try_from(n).map_err(|_| {
        Error::new(format!(
            "invalid value for preserve-fds: {n} is not a number of descriptors"
        ))
    })
}

fn format(p: &Parsed) -> Result<Format> {
    match p.text("format").and_then(OsStr::to_str) {
        None => Ok(Format::Table),
        Some("table") => Ok(Format::Table),
        Some("json") => Ok(Format::Json),
        Some(_) => Err(Error::new("invalid format option")),
    }
}

fn create_fields(p: &Parsed) -> Result<Create> {
    Ok(Create {
        id: id(p)?,
        bundle: path(p, "bundle"),
        console_socket: path(p, "console-socket"),
        pidfd_socket: path(p, "pidfd-socket"),
        pid_file: path(p, "pid-file"),
        no_pivot: p.is_on("no-pivot"),
        no_new_keyring: p.is_on("no-new-keyring"),
        preserve_fds: preserve_fds(p)?,
    })
}

pub(super) fn create(p: &Parsed) -> Result<Command> {
    create_fields(p).map(Command::Create)
}

pub(super) fn run(p: &Parsed) -> Result<Command> {
    Ok(Command::Run(Run {
        create: create_fields(p)?,
        detach: p.is_on("detach"),
        keep: p.is_on("keep"),
        no_subreaper: p.is_on("no-subreaper"),
    }))
}

pub(super) fn exec(p: &Parsed) -> Result<Command> {
    let process = path(p, "process");
    let args = p
        .operands
        .iter()
        .skip(1)
        .map(|a| utf8(a))
        .collect::<Result<Vec<_>>>()?;
    if process.is_none() && args.is_empty() {
        return Err(Error::new("exec args cannot be empty"));
    }
    Ok(Command::Exec(Box::new(Exec {
        id: id(p)?,
        args: if process.is_none() { args } else { Vec::new() },
        process,
        cwd: string(p, "cwd")?,
        env: strings(p, "env")?,
        tty: p.is_on("tty"),
        user: p
            .text("user")
            .map(|t| parse_user(&t.to_string_lossy()))
            .transpose()?,
        additional_gids: p
            .ints("additional-gids")
            .map(additional_gid)
            .collect::<Result<_>>()?,
        detach: p.is_on("detach"),
        process_label: string(p, "process-label")?,
        apparmor: string(p, "apparmor")?,
        no_new_privs: p.switch("no-new-privs"),
        caps: strings(p, "cap")?,
        cgroup: parse_sub_cgroup(&strings(p, "cgroup")?)?,
        ignore_paused: p.is_on("ignore-paused"),
        console_socket: path(p, "console-socket"),
        pidfd_socket: path(p, "pidfd-socket"),
        pid_file: path(p, "pid-file"),
        preserve_fds: preserve_fds(p)?,
    })))
}

/// `UID[:GID]`, decimal. Names are never looked up (CVE-2016-3697), both halves go through the one strict parser
/// (CVE-2026-30892), and -1 as the kernel's "unchanged" cannot be spelled.
pub fn parse_user(text: &str) -> Result<ExecUser> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    Ok(ExecUser {
        gid: gid.map(|g| parse_unix_id("gid", g)).transpose()?,
        uid: parse_unix_id("uid", uid)?,
    })
}

/// The largest id: 2^32-1 means "unchanged" to the kernel.
const MAX_UNIX_ID: u32 = u32::MAX - 1;

fn parse_unix_id(what: &str, text: &str) -> Result<u32> {
    let decimal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(n) if decimal && n <= MAX_UNIX_ID => Ok(n),
        _ => Err(Error::new(format!(
            "bad {what}: {text:?} is not a decimal number between 0 and {MAX_UNIX_ID}"
        ))),
    }
}

fn additional_gid(n: i64) -> Result<u32> {
    match u32::try_from(n) {
        Ok(gid) if gid <= MAX_UNIX_ID => Ok(gid),
        _ if n < 0 => Err(Error::new(format!(
            "additional-gids must be a positive number {n}"
        ))),
        _ => Err(Error::new(format!(
            "additional-gids must not exceed {MAX_UNIX_ID}: {n}"
        ))),
    }
}

/// `PATH`, or `CONTROLLER[,CONTROLLER...]:PATH` once or more. The path must stay below the container's cgroup.
fn parse_sub_cgroup(values: &[String]) -> Result<SubCgroup> {
    let mut controllers: Vec<(String, String)> = Vec::new();
    for value in values {
        let Some((names, path)) = value.split_once(':') else {
            if values.len() != 1 {
                return Err(Error::new(format!(
                    "invalid --cgroup argument: {value} (missing <controller>: prefix)"
                )));
            }
            return Ok(SubCgroup::Unified(below(value, value)?));
        };
        for name in names.split(',') {
            if name.is_empty() {
                return Err(Error::new(format!(
                    "invalid --cgroup argument: {value} (empty <controller> prefix)"
                )));
            }
            if controllers.iter().any(|(c, _)| c == name) {
                return Err(Error::new(format!(
                    "invalid --cgroup argument(s): controller {name} specified multiple times"
                )));
            }
            controllers.push((name.to_string(), below(value, path)?));
        }
    }
    Ok(if controllers.is_empty() {
        SubCgroup::Own
    } else {
        SubCgroup::Controllers(controllers)
    })
}

fn below(value: &str, path: &str) -> Result<String> {
    if path.split('/').any(|c| c == "..") {
        return Err(Error::new(format!(
            "bad sub cgroup path: {value} (--cgroup) is not below the container's cgroup"
        )));
    }
    Ok(path.to_string())
}

pub(super) fn kill(p: &Parsed) -> Result<Command> {
    let signal = p
        .operands
        .get(1)
        .map(|s| s.to_string_lossy())
        .filter(|s| !s.is_empty());
    Ok(Command::Kill(Kill {
        id: id(p)?,
        signal: signals::parse(signal.as_deref().unwrap_or("SIGTERM"))?,
        scope: if p.is_on("all") {
            KillScope::All
        } else {
            KillScope::Init
        },
    }))
}

pub(super) fn delete(p: &Parsed) -> Result<Command> {
    Ok(Command::Delete(Delete {
        id: id(p)?,
        force: p.is_on("force"),
    }))
}

pub(super) fn list(p: &Parsed) -> Result<Command> {
    let quiet = p.is_on("quiet");
    let format = if quiet { Format::Table } else { format(p)? };
    Ok(Command::List(List { format, quiet }))
}

pub(super) fn ps(p: &Parsed) -> Result<Command> {
    Ok(Command::Ps(Ps {
        id: id(p)?,
        format: format(p)?,
        args: p
            .operands
            .iter()
            .skip(1)
            .map(|a| utf8(a))
            .collect::<Result<_>>()?,
    }))
}

pub(super) fn events(p: &Parsed) -> Result<Command> {
    let interval = p.duration("interval").unwrap_or(Duration::from_secs(5));
    if interval.is_zero() {
        return Err(Error::new("duration interval must be greater than 0"));
    }
    Ok(Command::Events(Events {
        id: id(p)?,
        interval,
        stats: p.is_on("stats"),
    }))
}

pub(super) fn update(p: &Parsed) -> Result<Command> {
    let source = match p.text("resources").filter(|t| !t.is_empty()) {
        Some(text) if text == "-" => UpdateSource::Stdin,
        Some(text) => UpdateSource::File(PathBuf::from(text)),
        None => UpdateSource::Flags(Box::new(settle(resources(p)?))),
    };
    Ok(Command::Update(Box::new(Update {
        id: id(p)?,
        source,
        l3_cache_schema: string(p, "l3-cache-schema")?,
        mem_bw_schema: string(p, "mem-bw-schema")?,
    })))
}

/// The limits that the flags of `update` name; everything else is absent.
fn resources(p: &Parsed) -> Result<Resources> {
    let memory = Memory {
        limit: size(p, "memory")?,
        reservation: size(p, "memory-reservation")?,
        swap: size(p, "memory-swap")?,
        kernel: size(p, "kernel-memory")?,
        kernel_tcp: size(p, "kernel-memory-tcp")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: number(p, "cpu-share")?,
        quota: number(p, "cpu-quota")?,
        burst: number(p, "cpu-burst")?,
        period: number(p, "cpu-period")?,
        realtime_runtime: number(p, "cpu-rt-runtime")?,
        realtime_period: number(p, "cpu-rt-period")?,
        cpus: string(p, "cpuset-cpus")?.unwrap_or_default(),
        mems: string(p, "cpuset-mems")?.unwrap_or_default(),
        idle: number(p, "cpu-idle")?,
    };
    let weight = match p.int("blkio-weight") {
        None | Some(0) => None,
        Some(n) => Some(
            u16::try_from(n)
                .map_err(|_| Error::new(format!("invalid value for blkio-weight: {n} is out of range")))?,
        ),
    };
    Ok(Resources {
        memory: (memory != Memory::default()).then_some(memory),
        cpu: (cpu != Cpu::default()).then_some(cpu),
        pids: p.int("pids-limit").map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo {
            weight: Some(weight),
            ..BlockIo::default()
        }),
        ..Resources::default()
    })
}

/// What follows from the limits of an update: unlimited memory means unlimited swap unless said otherwise, and a
/// cgroup that is made idle (or is no longer) gives up its shares, because the kernel refuses a weight beside it.
pub fn settle(mut r: Resources) -> Resources {
    if let Some(memory) = &mut r.memory
        && memory.limit == Some(-1)
        && memory.swap.is_none()
    {
        memory.swap = Some(-1);
    }
    if let Some(cpu) = &mut r.cpu
        && cpu.idle.is_some()
        && cpu.shares.is_none()
    {
        cpu.shares = Some(0);
    }
    r
}

/// A decimal number; the words of the error are Go's.
fn number<T>(p: &Parsed, flag: &str) -> Result<Option<T>>
where
    T: std::str::FromStr<Err = std::num::ParseIntError>,
{
    let Some(text) = string(p, flag)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(n) => Ok(Some(n)),
        Err(e) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match e.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            Err(Error::new(format!(
                "invalid value for {flag}: parsing {text:?}: {why}"
            )))
        }
    }
}

fn size(p: &Parsed, flag: &str) -> Result<Option<i64>> {
    let Some(text) = string(p, flag)? else {
        return Ok(None);
    };
    parse_size(&text)
        .map(Some)
        .map_err(|e| e.doing(format_args!("invalid value for {flag}")))
}

/// Bytes as docker/go-units reads them: `-1`, or a number (with a fraction if you like), an optional space, and a
/// suffix `b`, `k`, `m`, `g`, `t`, `p`, each also as `kb` or `kib`; 1024-based, any case.
pub fn parse_size(text: &str) -> Result<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let bad_size = || Error::new(format!("invalid size: '{text}'"));
    let split = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')
        .ok_or_else(bad_size)?
        + 1;
    let (number, suffix) = text.split_at(split);
    let number = number.strip_suffix(' ').unwrap_or(number);
    // f64's parser takes words such as "inf" that have no place here.
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad_size());
    }
    let suffix = suffix.to_ascii_lowercase();
    let shift = match suffix.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(Error::new(format!("invalid suffix: '{suffix}'"))),
    };
    // Whole numbers stay exact: i64::MAX is how some callers write "unlimited".
    if let Ok(n) = number.parse::<i64>() {
        return n.checked_mul(1 << shift).ok_or_else(bad_size);
    }
    let value: f64 = number.parse().map_err(|_| bad_size())?;
    let bytes = value * (1u64 << shift) as f64;
    if bytes >= i64::MAX as f64 {
        return Err(bad_size());
    }
    Ok(bytes as i64)
}

pub(super) fn spec(p: &Parsed) -> Result<Command> {
    Ok(Command::Spec(Spec {
        bundle: path(p, "bundle"),
        rootless: p.is_on("rootless"),
    }))
}

pub(super) fn features(_: &Parsed) -> Result<Command> {
    Ok(Command::Features)
}

pub(super) fn pause(p: &Parsed) -> Result<Command> {
    id(p).map(Command::Pause)
}

pub(super) fn resume(p: &Parsed) -> Result<Command> {
    id(p).map(Command::Resume)
}

pub(super) fn start(p: &Parsed) -> Result<Command> {
    id(p).map(Command::Start)
}

pub(super) fn state(p: &Parsed) -> Result<Command> {
    id(p).map(Command::State)
}

pub(super) fn plan(p: &Parsed) -> Result<Command> {
    Ok(Command::Plan(Plan {
        bundle: path(p, "bundle"),
    }))
}

pub(super) fn check(p: &Parsed) -> Result<Command> {
    Ok(Command::Check(Check {
        bundle: path(p, "bundle"),
    }))
}

pub(super) fn gc(p: &Parsed) -> Result<Command> {
    Ok(Command::Gc(Gc {
        dry_run: p.is_on("dry-run"),
    }))
}

pub(super) fn man(p: &Parsed) -> Result<Command> {
    Ok(Command::Man(
        p.operands.first().map(PathBuf::from).unwrap_or_default(),
    ))
}

pub(super) fn completion(p: &Parsed) -> Result<Command> {
    match p.operands.first().and_then(|o| o.to_str()) {
        Some("bash") => Ok(Command::Completion(Shell::Bash)),
        Some("zsh") => Ok(Command::Completion(Shell::Zsh)),
        Some("fish") => Ok(Command::Completion(Shell::Fish)),
        other => Err(Error::new(format!(
            "no completions for {:?}: choose bash, zsh or fish",
            other.unwrap_or_default()
        ))),
    }
}

fn criu(p: &Parsed) -> Result<Criu> {
    let mode = string(p, "manage-cgroups-mode")?;
    if let Some(mode) = &mode
        && !["soft", "full", "strict", "ignore"].contains(&mode.as_str())
    {
        return Err(Error::new("Invalid manage-cgroups-mode value"));
    }
    let empty_ns = strings(p, "empty-ns")?;
    if let Some(other) = empty_ns.iter().find(|ns| *ns != "network") {
        return Err(Error::new(format!("namespace {other:?} is not supported")));
    }
    Ok(Criu {
        image_path: path(p, "image-path"),
        work_path: path(p, "work-path"),
        tcp_established: p.is_on("tcp-established"),
        ext_unix_sk: p.is_on("ext-unix-sk"),
        shell_job: p.is_on("shell-job"),
        file_locks: p.is_on("file-locks"),
        lazy_pages: p.is_on("lazy-pages"),
        auto_dedup: p.is_on("auto-dedup"),
        manage_cgroups_mode: mode,
        empty_ns,
    })
}

pub(super) fn checkpoint(p: &Parsed) -> Result<Command> {
    let parent_path = path(p, "parent-path");
    if parent_path.as_ref().is_some_and(|p| p.is_absolute()) {
        return Err(Error::new("--parent-path must be relative"));
    }
    let page_server = string(p, "page-server")?;
    if let Some(address) = &page_server {
        let Some((host, port)) = address
            .rsplit_once(':')
            .filter(|(h, p)| !h.is_empty() && !p.is_empty())
        else {
            return Err(Error::new(
                "Use --page-server ADDRESS:PORT to specify page server",
            ));
        };
        if port.parse::<u16>().is_err() || (host.contains(':') && !host.starts_with('[')) {
            return Err(Error::new("Invalid port number"));
        }
    }
    Ok(Command::Checkpoint(Box::new(Checkpoint {
        id: id(p)?,
        criu: criu(p)?,
        parent_path,
        leave_running: p.is_on("leave-running"),
        tcp_skip_in_flight: p.is_on("tcp-skip-in-flight"),
        link_remap: p.is_on("link-remap"),
        status_fd: p
            .int("status-fd")
            .and_then(|n| i32::try_from(n).ok())
            .filter(|fd| *fd >= 0),
        page_server,
        pre_dump: p.is_on("pre-dump"),
    })))
}

pub(super) fn restore(p: &Parsed) -> Result<Command> {
    Ok(Command::Restore(Box::new(Restore {
        id: id(p)?,
        criu: criu(p)?,
        bundle: path(p, "bundle"),
        detach: p.is_on("detach"),
        pid_file: path(p, "pid-file"),
        console_socket: path(p, "console-socket"),
        no_subreaper: p.is_on("no-subreaper"),
        no_pivot: p.is_on("no-pivot"),
        lsm_profile: string(p, "lsm-profile")?,
        lsm_mount_context: string(p, "lsm-mount-context")?,
    })))
}

/// `--rootless`.
pub(super) fn rootless(p: &Parsed) -> Result<Rootless> {
    let text = p.text("rootless").unwrap_or_default();
    if text.is_empty() || text.eq_ignore_ascii_case("auto") {
        return Ok(Rootless::Auto);
    }
    match flags::parse_bool(text.as_encoded_bytes()) {
        Some(true) => Ok(Rootless::Yes),
        Some(false) => Ok(Rootless::No),
        None => Err(Error::new(format!(
            "invalid --rootless value {text:?}: choose true, false or auto"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_words_and_never_paths() {
        for good in ["a", "A-1_b+c.d", "...", "-x", &"x".repeat(255)] {
            assert_eq!(ContainerId::parse(OsStr::new(good)).unwrap().as_str(), good);
        }
        for (bad, text) in [
            ("", "container id cannot be empty"),
            (".", "invalid container ID format"),
            ("..", "invalid container ID format"),
            ("a/b", "invalid container ID format"),
            ("a b", "invalid container ID format"),
            ("é", "invalid container ID format"),
            ("a\0", "invalid container ID format"),
            (&"x".repeat(256), "invalid container ID format"),
        ] {
            assert_eq!(
                ContainerId::parse(OsStr::new(bad)).unwrap_err().to_string(),
                text,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn users_are_decimal_and_complete() {
        for (text, uid, gid) in [
            ("0", 0, None),
            ("1000", 1000, None),
            ("1:2", 1, Some(2)),
            ("4294967294:4294967294", 4294967294, Some(4294967294)),
            ("007", 7, None),
        ] {
            assert_eq!(parse_user(text).unwrap(), ExecUser { uid, gid }, "{text}");
        }
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "1:2:3",
            "0x0",
            "+1",
            "-1",
            " 1",
            "1 ",
            "root",
            "1:wheel",
            "4294967295",
            "4294967296",
            "1:4294967295",
            "99999999999999999999",
            "１",
        ] {
            let e = parse_user(text).unwrap_err().to_string();
            assert!(
                e.starts_with("bad uid: ") || e.starts_with("bad gid: "),
                "{text}: {e}"
            );
        }
    }

    #[test]
    fn sizes_as_docker_writes_them() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32B", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32KiB", 32 << 10),
            ("32 kb", 32 << 10),
            ("32m", 32 << 20),
            ("1.5G", 3 << 29),
            (".5k", 512),
            ("3T", 3 << 40),
            ("1p", 1 << 50),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for text in [
            "", "hello", "-32", "32.3.1", "32x", "32kx", "32kbb", "32bb", "32  mb", "inf", "1e3k",
            "9999999p", " ", "-2",
        ] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sub_cgroups() {
        let parse =
            |values: &[&str]| parse_sub_cgroup(&values.iter().map(|v| v.to_string()).collect::<Vec<_>>());
        assert_eq!(parse(&[]).unwrap(), SubCgroup::Own);
        assert_eq!(parse(&["a/b"]).unwrap(), SubCgroup::Unified("a/b".into()));
        assert_eq!(
            parse(&["cpu,memory:x", "pids:y"]).unwrap(),
            SubCgroup::Controllers(vec![
                ("cpu".into(), "x".into()),
                ("memory".into(), "x".into()),
                ("pids".into(), "y".into())
            ])
        );
        for (values, text) in [
            (&["a", "b"][..], "missing <controller>: prefix"),
            (&["cpu:a", "b"], "missing <controller>: prefix"),
            (&[":a"], "empty <controller> prefix"),
            (&["cpu,:a"], "empty <controller> prefix"),
            (&["cpu:a", "cpu:b"], "controller cpu specified multiple times"),
            (&["../x"], "bad sub cgroup path"),
            (&["cpu:a/../../b"], "bad sub cgroup path"),
        ] {
            let e = parse(values).unwrap_err().to_string();
            assert!(e.contains(text), "{values:?}: {e}");
        }
    }

    #[test]
    fn unlimited_memory_takes_the_swap_with_it() {
        let r = |limit, swap| Resources {
            memory: Some(Memory {
                limit,
                swap,
                ..Memory::default()
            }),
            ..Resources::default()
        };
        assert_eq!(settle(r(Some(-1), None)), r(Some(-1), Some(-1)));
        assert_eq!(settle(r(Some(-1), Some(5))), r(Some(-1), Some(5)));
        assert_eq!(settle(r(Some(7), None)), r(Some(7), None));
        assert_eq!(settle(Resources::default()), Resources::default());
    }

    #[test]
    fn idle_gives_up_the_shares() {
        let r = |idle, shares| Resources {
            cpu: Some(Cpu {
                idle,
                shares,
                ..Cpu::default()
            }),
            ..Resources::default()
        };
        assert_eq!(settle(r(Some(1), None)), r(Some(1), Some(0)));
        assert_eq!(settle(r(Some(1), Some(2))), r(Some(1), Some(2)));
        assert_eq!(settle(r(None, None)), r(None, None));
    }
}
