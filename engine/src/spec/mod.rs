//! A container's config.json: what [`crate::model`] says in Docker's words, in those of the runtime specification.
//!
//! May not: start, mount or make anything. [`Host::ask`] and [`Found::look_up`] read; [`document`] does not even that.
//!
//! ```text
//! validate(Config, HostConfig, Host)        at create: what cannot be, in Docker's words; what will be ignored, as warnings
//! Found::look_up(Definition, root, Host)    at start: users, device nodes, CDI files, mounts that binds come from
//! document(Inputs)                          at start: the file
//! ```
//!
//! The rules are those of moby 29.7 (daemon/oci_linux.go and what it calls, b985e23), told where they differ.

pub mod apparmor;
pub mod capabilities;
pub mod cdi;
pub mod devices;
pub mod found;
pub mod host;
pub mod join;
pub mod machine;
pub mod modes;
mod mounts;
pub mod process;
pub mod resources;
mod seccomp;
pub mod security;
pub mod selinux;
pub mod settle;
pub mod signal;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use image::bundle::defaults;
use image::bundle::idmap::IdMaps;
use image::{Error, Result};
use serde_json::{Map, Value, json};

use crate::model::{Definition, HostConfig};

pub use found::Found;
pub use host::Host;
pub use modes::Mode;
pub use process::{Exec, exec};
pub use security::Security;
pub use settle::{settle, validate};

/// Something that was asked for and will not be: shown after `WARNING: `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that a configuration follows from. [`Inputs::of`] has what every container needs; the rest is set where there is something.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    pub definition: &'a Definition,
    pub host: &'a Host,
    pub found: &'a Found,
    /// Containers whose namespaces it shares.
    pub joined: Joined,
    pub files: Files,
    /// What is bound at a destination, where that is not the `source` of the mount that `inspect` shows: a part of a volume, an
    /// image's root.
    pub sources: BTreeMap<String, PathBuf>,
    /// A user namespace of its own, with these ids. Not for ordinary users: brig itself is in one then.
    pub ids: Option<IdMaps>,
    /// brig-init, if `HostConfig.Init` is set.
    pub init: Option<PathBuf>,
    /// The runtime knows the mount option `rro`.
    pub recursive_read_only: bool,
}

impl<'a> Inputs<'a> {
    /// Nothing joined, no files.
    pub fn of(definition: &'a Definition, host: &'a Host, found: &'a Found) -> Inputs<'a> {
        Inputs {
            definition,
            host,
            found,
            joined: Joined::default(),
            files: Files::default(),
            sources: BTreeMap::new(),
            ids: None,
            init: None,
            recursive_read_only: true,
        }
    }
}

/// The init processes of containers that are named in `NetworkMode`, `IpcMode` and `PidMode`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    pub network: Option<i32>,
    /// A namespace of its own that is made already, by the path that the runtime finds it at.
    pub own_network: Option<PathBuf>,
    pub ipc: Option<i32>,
    pub pid: Option<i32>,
    /// Where the other container's /dev/shm is mounted for us to bind.
    pub shm: Option<PathBuf>,
    /// The same for the monitor, which starts the container again when the others have other processes.
    pub others: Vec<monitor::joined::Joined>,
}

/// What is bound over files of the image. `None`: the image's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    pub resolv_conf: Option<PathBuf>,
    pub hostname: Option<PathBuf>,
    pub hosts: Option<PathBuf>,
}

/// The whole file, and what of it will not be.
///
/// # Errors
/// Something makes no sense, or is not there, in Docker's words.
pub fn document(inputs: &Inputs<'_>) -> Result<(Value, Vec<Warning>)> {
    let mut warnings = Vec::new();
    let (definition, host) = (inputs.definition, &inputs.definition.host);
    let security = Security::of(host)?;
    let capabilities = capabilities::of_container(host, &inputs.host.capabilities)?;
    let uts = modes::uts(&host.uts_mode)?;
    let mut config = Map::new();
    config.insert("ociVersion".into(), json!("1.2.0"));
    config.insert(
        "process".into(),
        process::value(inputs, &security, &capabilities)?,
    );
    config.insert(
        "root".into(),
        json!({"path": "rootfs", "readonly": host.readonly_rootfs}),
    );
    if uts != Mode::Host {
        config.insert("hostname".into(), json!(definition.config.hostname));
    }
    let (mounts, propagation) = mounts::list(inputs, &security)?;
    config.insert("mounts".into(), json!(mounts));
    if !host.annotations.is_empty() {
        config.insert("annotations".into(), json!(host.annotations));
    }
    let linux = linux(inputs, &security, &capabilities, propagation, &mut warnings)?;
    config.insert("linux".into(), linux);
    cdi::apply(&inputs.found.cdi, &mut config)?;
    Ok((Value::Object(config), warnings))
}

/// What the kernel has to know before the runtime is called with this configuration: profiles that it has lost, labels of what is
/// bound.
///
/// # Errors
/// AppArmor or SELinux refuse, or something that the host needs was to be relabelled.
pub fn prepare(inputs: &Inputs<'_>, config: &Value) -> Result<()> {
    apparmor::load_if_missing(config["process"]["apparmorProfile"].as_str())?;
    let Some(label) = config["linux"]["mountLabel"].as_str() else {
        return Ok(());
    };
    for mount in &inputs.definition.mounts {
        let source = inputs.sources.get(&mount.destination);
        let source = source.map_or(Path::new(&mount.source), PathBuf::as_path);
        for word in mount.mode.split(',') {
            if let "z" | "Z" = word {
                selinux::relabel(source, label, word == "z")?;
            }
        }
    }
    let shared = modes::network(&inputs.definition.host.network_mode)?
        .container()
        .is_some();
    let files = &inputs.files;
    for path in [&files.resolv_conf, &files.hostname, &files.hosts]
        .into_iter()
        .flatten()
    {
        selinux::relabel(path, label, shared)?;
    }
    Ok(())
}

fn linux(
    inputs: &Inputs<'_>,
    security: &Security,
    capabilities: &[String],
    propagation: Option<&str>,
    warnings: &mut Vec<Warning>,
) -> Result<Value> {
    let host = &inputs.definition.host;
    let mut linux = Map::new();
    if let Some(ids) = &inputs.ids {
        linux.insert("uidMappings".into(), IdMaps::to_value(&ids.uids));
        linux.insert("gidMappings".into(), IdMaps::to_value(&ids.gids));
    }
    linux.insert("namespaces".into(), namespaces(inputs)?);
    let sysctl = sysctl(inputs)?;
    if !sysctl.is_empty() {
        linux.insert("sysctl".into(), json!(sysctl));
    }
    if let Some(path) = cgroups_path(&inputs.definition.id, host, inputs.host) {
        linux.insert("cgroupsPath".into(), json!(path));
    }
    let resources = resources::value(inputs, warnings)?;
    if let Some(resources) = resources {
        linux.insert("resources".into(), resources);
    }
    let nodes = devices::nodes(inputs);
    if !nodes.is_empty() {
        linux.insert("devices".into(), json!(nodes));
    }
    if let Some(profile) = seccomp::value(inputs.host, host, security, capabilities, warnings)? {
        linux.insert("seccomp".into(), profile);
    }
    if let Some(propagation) = propagation {
        linux.insert("rootfsPropagation".into(), json!(propagation));
    }
    let list = |own: &Option<Vec<String>>, usual: fn(&Host) -> Vec<String>| match own {
        Some(own) => own.clone(),
        None if host.privileged => Vec::new(),
        None => usual(inputs.host),
    };
    let labels = selinux::labels(&inputs.definition.id, security, inputs.host)?;
    if !labels.mount.is_empty() {
        linux.insert("mountLabel".into(), json!(labels.mount));
    }
    let masked = list(&host.masked_paths, |host| defaults::masked(&host.thermal));
    let read_only = list(&host.readonly_paths, |_| {
        defaults::READ_ONLY.map(str::to_owned).to_vec()
    });
    linux.insert("maskedPaths".into(), json!(masked));
    linux.insert(
        "readonlyPaths".into(),
        json!(mounts::read_only_paths(inputs, read_only)?),
    );
    Ok(Value::Object(linux))
}

/// Docker makes a time namespace as well, with the host's clock in it: it hides nothing, and costs the runtime a second fork.
fn namespaces(inputs: &Inputs<'_>) -> Result<Value> {
    let host = &inputs.definition.host;
    let of = |pid: Option<i32>, file: &str, what: &str| match pid {
        Some(pid) => Ok(format!("/proc/{pid}/ns/{file}")),
        None => Err(Error::invalid(format!(
            "failed to join the {what} namespace: its container does not run"
        ))),
    };
    let mut list = vec![json!({"type": "mount"})];
    let mut add = |kind: &str, mode: Mode<'_>, pid: Option<i32>, file: &str| {
        match mode {
            Mode::Host => {}
            Mode::Container(_) => list.push(json!({"type": kind, "path": of(pid, file, kind)?})),
            Mode::Private | Mode::None | Mode::Shareable => list.push(json!({"type": kind})),
        }
        Ok::<(), Error>(())
    };
    let joined = &inputs.joined;
    let network = modes::network(&host.network_mode)?;
    if joined.own_network.is_none() {
        add("network", network, joined.network, "net")?;
    }
    add("uts", modes::uts(&host.uts_mode)?, None, "uts")?;
    add("pid", modes::pid(&host.pid_mode)?, joined.pid, "pid")?;
    add("ipc", modes::ipc(&host.ipc_mode)?, joined.ipc, "ipc")?;
    let cgroup = match inputs.found.is_machine {
        // It takes what it sees for all that there is.
        true => Mode::Private,
        false => modes::cgroup(host, inputs.host)?,
    };
    add("cgroup", cgroup, None, "cgroup")?;
    if inputs.ids.is_some() {
        list.push(json!({"type": "user"}));
    }
    if let Some(path) = &joined.own_network {
        list.insert(1, json!({"type": "network", "path": path}));
    }
    Ok(Value::Array(list))
}

fn sysctl(inputs: &Inputs<'_>) -> Result<BTreeMap<String, String>> {
    let (config, host) = (&inputs.definition.config, &inputs.definition.host);
    let mut all = BTreeMap::new();
    // config.json has no NIS domain that every runtime knows; the sysctl has the same effect.
    if !config.domainname.is_empty() && modes::uts(&host.uts_mode)? != Mode::Host {
        all.insert("kernel.domainname".to_owned(), config.domainname.clone());
    }
    if let Mode::Private | Mode::None = modes::network(&host.network_mode)? {
        // Groups that are not mapped cannot be named there.
        let mapped = inputs.ids.is_none() && inputs.host.ids.is_none();
        for (name, value, wanted) in [
            // Echo without CAP_NET_RAW, and low ports without CAP_NET_BIND_SERVICE.
            ("net.ipv4.ping_group_range", "0 2147483647", mapped),
            ("net.ipv4.ip_unprivileged_port_start", "0", true),
        ] {
            if wanted && inputs.host.sysctls.iter().any(|s| s == name) {
                all.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    all.extend(host.sysctls.iter().map(|(k, v)| (k.clone(), v.clone())));
    Ok(all)
}

/// Where tools look for containers of Docker. `None`: it has no cgroup of its own.
pub fn cgroups_path(id: &str, host: &HostConfig, machine: &Host) -> Option<String> {
    let parent = host.cgroup_parent.as_str();
    match machine.cgroups.driver {
        host::Driver::None => None,
        host::Driver::Systemd => {
            let usual = match machine.ids {
                Some(_) => "user.slice",
                None => "system.slice",
            };
            let parent = if parent.is_empty() { usual } else { parent };
            Some(format!("{parent}:docker:{id}"))
        }
        host::Driver::Files => {
            let parent = if parent.is_empty() { "/docker" } else { parent };
            Some(join(parent, id))
        }
    }
}

/// `..` must not lead out of where the name points (`--cgroup-parent ../..`).
fn join(parent: &str, id: &str) -> String {
    let clean = defaults::cleaned(parent);
    let path = Path::new(&clean).join(id);
    let path = path.to_string_lossy();
    match parent.starts_with('/') {
        true => path.into_owned(),
        false => path.trim_start_matches('/').to_owned(),
    }
}

#[cfg(test)]
mod tests;
