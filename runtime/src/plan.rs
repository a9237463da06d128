//! The plan: what config.json, the options and the host add up to, checked once, with nothing left to decide.
//!
//! Pure: no syscalls, no clock, no environment. `runb plan` prints it.

use crate::cgroup::rdt::{self, RdtHost, RdtPlan};
use crate::cgroup::{self, CgroupPlan};
use crate::config::{self, Config};
use crate::error::{Doing, Error, Kind, Result};
use crate::facts::HostFacts;
use crate::hooks;
use crate::idmap::{self, IdMaps};
use crate::namespaces::{self, Namespaces, Ns, NsSource};
use crate::netdev::{self, NetDevice};
use crate::problems::Problems;
use crate::process::credentials::Groups;
use crate::process::{self, ProcessPlan};
use crate::rootfs::{self, Pivot, RootfsOptions, RootfsPlan};
use crate::seccomp;
use crate::sysctl::{self, SysctlPlan};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What the command line adds to the configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Options {
    /// Container id.
    pub id: String,
    /// The name that we go by: it begins the name of a unit of systemd.
    pub tool: &'static str,
    /// Absolute.
    pub bundle: PathBuf,
    /// pivot_root(2), or the way for initramfs.
    pub pivot: Pivot,
    /// A session keyring of its own.
    pub keyring: Keyring,
    /// Descriptors from 3 on that the program gets, LISTEN_FDS included.
    pub preserve_fds: u32,
    /// The value of LISTEN_FDS in the runtime's environment.
    pub listen_fds: u32,
    /// The container's state directory, where a host waits for its READY ([`crate::notify`]).
    pub notify_dir: Option<PathBuf>,
}

/// Whether the container gets a session keyring of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keyring {
    /// A fresh one.
    #[default]
    New,
    /// `--no-new-keyring`: the caller's.
    Inherited,
}

/// How many times the runtime forks for one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Forks {
    /// One clone3 makes every new namespace.
    One,
    /// A stage in between joins or makes a user, pid or time namespace, which only its children enter.
    Two,
}

/// A container, decided.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Of the command line.
    pub options: Options,
    /// Which are made, joined, shared.
    pub namespaces: Namespaces,
    /// How it is made.
    pub forks: Forks,
    /// Of a fresh user namespace.
    pub id_maps: Option<IdMaps>,
    /// (clock, seconds, nanoseconds) of a fresh time namespace.
    pub time_offsets: Vec<(String, i64, u32)>,
    /// The user's program.
    pub process: ProcessPlan,
    /// The file tree.
    pub rootfs: RootfsPlan,
    /// Limits.
    pub cgroup: CgroupPlan,
    /// Cache and memory bandwidth, where the CPU can share them out.
    pub rdt: Option<RdtPlan>,
    /// Kernel parameters of its namespaces.
    pub sysctl: SysctlPlan,
    /// Moved into its network namespace.
    pub net_devices: Vec<NetDevice>,
    /// sethostname(2)
    pub hostname: Option<String>,
    /// setdomainname(2)
    pub domainname: Option<String>,
    /// Copied to the state.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// As written; their moments are in the steps.
    #[serde(skip)]
    pub hooks: config::Hooks,
    /// What is ignored, for a warning.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Decides everything, or says all that is wrong.
    pub fn build(
        config: &Config,
        options: Options,
        facts: &HostFacts,
        layout: &cgroup::Layout,
        own: &cgroup::OwnCgroups,
        rdt: Option<&RdtHost>,
    ) -> Result<Plan> {
        let mut problems = Problems::default();
        let p = &mut problems;
        check_version(&config.oci_version, p);
        let default_linux = config::Linux::default();
        let linux = config.linux.as_ref().unwrap_or(&default_linux);
        let default_process = config::Process::default();
        if config.process.is_none() {
            p.add("/process", "process property must not be empty");
        }
        let namespaces = plan_namespaces(linux, facts, p);
        let mut process = process::plan_process(
            config.process.as_ref().unwrap_or(&default_process),
            linux,
            "/process",
            facts,
            p,
        );
        process.seccomp = linux.seccomp.as_ref().and_then(|s| {
            let kernel = seccomp::flags_of_kernel(facts.kernel);
            seccomp::plan_seccomp(s, seccomp::Arch::native(), kernel, p)
        });
        let id_maps = plan_maps(linux, &namespaces, facts, p);
        let denied = id_maps
            .as_ref()
            .is_some_and(|m| m.groups(facts) == Groups::Denied);
        if denied && !process.user.groups.is_empty() {
            p.add(
                "/process/user/additionalGids",
                "cannot set any additional groups in a rootless container",
            );
        }
        let rootfs_options = RootfsOptions { pivot: options.pivot };
        let default_hooks = config::Hooks::default();
        let hooks = config.hooks.as_ref().unwrap_or(&default_hooks);
        hooks::check_hooks(hooks, p);
        let plan = Plan {
            forks: count_forks(&namespaces),
            id_maps,
            time_offsets: plan_time_offsets(linux, &namespaces, p),
            rootfs: rootfs::plan_rootfs(config, &options.bundle, &namespaces, rootfs_options, facts, p),
            cgroup: cgroup::plan_cgroup(config, &options.id, options.tool, layout, own, facts, p),
            rdt: rdt::plan_rdt(linux.intel_rdt.as_ref(), &options.id, rdt, p),
            sysctl: sysctl::plan_sysctl(&linux.sysctl, &namespaces, p),
            net_devices: netdev::plan_net_devices(&linux.net_devices, &namespaces, facts, p),
            hostname: plan_uts_name(&config.hostname, "/hostname", &namespaces, p),
            domainname: plan_uts_name(&config.domainname, "/domainname", &namespaces, p),
            annotations: config.annotations.clone(),
            hooks: hooks.clone(),
            warnings: warnings(config, &process),
            namespaces,
            process,
            options,
        };
        problems.into_result()?;
        Ok(plan)
    }
}

impl Plan {
    /// The host's uid of the container's root, when the container may write to its own cgroup: it has a cgroup
    /// namespace and mounts it writable.
    pub fn cgroup_owner(&self) -> Option<u32> {
        let writable = self.rootfs.mounts.iter().any(|m| {
            matches!(m.kind, rootfs::MountKind::Cgroup(_)) && m.options.attrs() & sys::mount::ATTR_RDONLY == 0
        });
        let maps = self
            .id_maps
            .as_ref()
            .filter(|_| writable && self.namespaces.is_new(Ns::Cgroup))?;
        maps.uids
            .iter()
            .find(|(inside, _, _)| *inside == 0)
            .map(|(_, outside, _)| *outside)
    }
}

/// Any 1.x will do: newer minor versions only add what may be ignored.
fn check_version(version: &str, problems: &mut Problems) {
    let mut parts = version.split('.');
    if version.is_empty() {
        problems.add("/ociVersion", "ociVersion is required");
    } else if parts.next() != Some("1") || parts.next().is_none_or(|m| m.parse::<u32>().is_err()) {
        problems.add(
            "/ociVersion",
            format!("unknown version specified: {version:?} (this runtime speaks 1.x)"),
        );
    }
}

fn plan_namespaces(linux: &config::Linux, facts: &HostFacts, problems: &mut Problems) -> Namespaces {
    let ns = namespaces::plan_namespaces(&linux.namespaces, problems);
    if !ns.owns(Ns::Mount) {
        // Without one the mounts of the container would be made on the host.
        problems.add("/linux/namespaces", "a mount namespace is required");
    }
    if facts.euid != 0 && !ns.owns(Ns::User) {
        problems.add("/linux/namespaces", "rootless container requires user namespaces");
    }
    ns
}

fn plan_maps(
    linux: &config::Linux,
    ns: &Namespaces,
    facts: &HostFacts,
    problems: &mut Problems,
) -> Option<IdMaps> {
    let maps = idmap::plan_id_maps(linux, problems);
    match ns.source(Ns::User) {
        // Nobody to give them to; or the joined namespace has its maps already.
        NsSource::Host | NsSource::Join(_) => None,
        NsSource::New => {
            for (list, id) in [(&maps.uids, "uid"), (&maps.gids, "gid")] {
                if list.is_empty() {
                    problems.add(
                        format!("/linux/{id}Mappings"),
                        format!("user namespaces enabled, but no {id} mappings found"),
                    );
                }
            }
            let maps_root = |list: &[(u32, u32, u32)]| list.iter().any(|(inside, _, _)| *inside == 0);
            if !problems.is_empty() || facts.euid == 0 || maps_root(&maps.uids) {
                return Some(maps);
            }
            problems.add("/linux/uidMappings", "rootless containers need id 0 mapped");
            Some(maps)
        }
    }
}

fn plan_time_offsets(
    linux: &config::Linux,
    ns: &Namespaces,
    problems: &mut Problems,
) -> Vec<(String, i64, u32)> {
    if linux.time_offsets.is_empty() {
        return Vec::new();
    }
    match ns.source(Ns::Time) {
        NsSource::New => {}
        NsSource::Host => {
            problems.add(
                "/linux/timeOffsets",
                "time namespace offsets specified, but time namespace isn't enabled in the config",
            );
        }
        NsSource::Join(_) => {
            problems.add(
                "/linux/timeOffsets",
                "time namespace offsets specified, but the time namespace is joined by path",
            );
        }
    }
    for clock in linux.time_offsets.keys() {
        if clock != "monotonic" && clock != "boottime" {
            problems.add(
                format!("/linux/timeOffsets/{clock}"),
                "only monotonic and boottime have offsets",
            );
        }
    }
    linux
        .time_offsets
        .iter()
        .map(|(clock, o)| (clock.clone(), o.secs, o.nanosecs))
        .collect()
}

fn plan_uts_name(name: &str, place: &str, ns: &Namespaces, problems: &mut Problems) -> Option<String> {
    const LONGEST: usize = 64; // __NEW_UTS_LEN
    if name.is_empty() {
        return None;
    }
    if !ns.owns(Ns::Uts) {
        problems.add(
            place,
            format!(
                "unable to set {} without a private UTS namespace",
                place.trim_start_matches('/')
            ),
        );
    }
    if name.len() > LONGEST || name.contains('\0') {
        problems.add(
            place,
            format!("{name:?} is longer than {LONGEST} bytes or holds a NUL"),
        );
    }
    Some(name.to_string())
}

/// A second fork only where the kernel forces it: setns(2) and unshare(2) of a pid or time namespace concern
/// children only, and a user namespace must be entered after the host's namespaces were joined with the host's rights.
fn count_forks(ns: &Namespaces) -> Forks {
    let joins_pid = ns.path(Ns::Pid).is_some();
    let time = ns.owns(Ns::Time);
    let user_joined = ns.path(Ns::User).is_some();
    let user_new_with_joins = ns.is_new(Ns::User) && ns.joined().next().is_some();
    let two = joins_pid || time || ((user_joined || user_new_with_joins) && ns.is_new(Ns::Pid));
    if two { Forks::Two } else { Forks::One }
}

/// What is accepted, but not taken as it is written.
fn warnings(config: &Config, process: &ProcessPlan) -> Vec<String> {
    let linux = config.linux.as_ref();
    let mut out: Vec<String> = process.capabilities.iter().filter_map(|c| c.warning()).collect();
    let relative = config.mounts.iter().filter(|m| !m.destination.starts_with('/'));
    out.extend(relative.map(|m| {
        format!(
            "mount destination {} is not absolute. Support for non-absolute mount destinations will be removed in a future release.",
            m.destination
        )
    }));
    let flags = linux
        .and_then(|l| l.personality.as_ref())
        .map(|p| p.flags.join(" "));
    out.extend(flags.filter(|f| !f.is_empty()).map(|flags| {
        format!(
            "ignoring unsupported personality flags: [{flags}] because personality flag has not supported at this time"
        )
    }));
    let resources = linux.and_then(|l| l.resources.as_ref());
    out.extend(resources.and_then(cgroup::ignored_limits).map(str::to_owned));
    out
}

/// Reads and parses `config.json` of a bundle: the bytes as they are, and what they mean.
///
/// # Errors
/// runc's words for a directory that is not a bundle.
pub fn load_config(bundle: &Path) -> Result<(Vec<u8>, Config)> {
    const LARGEST: usize = 64 << 20;
    let path = bundle.join("config.json");
    let fd = match sys::fs::open(&path, libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY, 0) {
        Ok(fd) => fd,
        Err(e) if e.is(libc::ENOENT) => {
            return Err(Error::of(
                Kind::Config,
                "JSON specification file config.json not found",
            ));
        }
        Err(e) => return Err(e.into()),
    };
    let json =
        sys::fs::read_all(std::os::fd::AsFd::as_fd(&fd), LARGEST).doing(|| path.display().to_string())?;
    let config = config::parse::<Config>(&json)
        .or_else(|p| p.into_result().and(Err(Error::new("unreadable"))))
        .doing(|| path.display().to_string())?;
    Ok((json, config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, good) in [
            ("1.0.2", true),
            ("1.3.0-dev", true),
            ("1.9", true),
            ("2.0.0", false),
            ("", false),
            ("1", false),
        ] {
            let mut p = Problems::default();
            check_version(version, &mut p);
            assert_eq!(p.is_empty(), good, "{version}");
        }
    }

    #[test]
    fn forks_follow_from_the_namespaces() {
        let ns = |list: &[(Ns, &str)]| {
            let mut out = Namespaces::default();
            for (n, path) in list {
                out.set(
                    *n,
                    if path.is_empty() {
                        NsSource::New
                    } else {
                        NsSource::Join(path.into())
                    },
                );
            }
            out
        };
        let one = ns(&[(Ns::Mount, ""), (Ns::Pid, ""), (Ns::User, ""), (Ns::Network, "")]);
        assert_eq!(count_forks(&one), Forks::One);
        assert_eq!(
            count_forks(&ns(&[(Ns::Mount, ""), (Ns::Pid, ""), (Ns::Network, "/x")])),
            Forks::One
        );
        for two in [
            ns(&[(Ns::Pid, "/x")]),
            ns(&[(Ns::Time, "")]),
            ns(&[(Ns::User, "/x"), (Ns::Pid, "")]),
            ns(&[(Ns::User, ""), (Ns::Pid, ""), (Ns::Network, "/x")]),
        ] {
            assert_eq!(count_forks(&two), Forks::Two, "{two:?}");
        }
    }
}
