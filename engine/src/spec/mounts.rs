//! `mounts` of config.json: Docker's usual ones, then what the user wants, outer ones first.
//!
//! May not: make what is to be mounted. Volumes and missing directories are there already.

use std::collections::BTreeSet;
use std::path::Path;

use image::bundle::defaults::cleaned;
use image::{Error, Result};
use serde_json::{Value, json};

use super::host::Hierarchy;
use super::machine;
use super::modes::{self, Mode};
use super::process::{INIT, has_init};
use super::{Inputs, Security};
use crate::model::{BindOptions, Mount, MountPoint, TmpfsOptions};

/// Size of the usual /dev/shm.
const SHM: i64 = 64 << 20;

/// Kernel in which a tree of mounts can be made read-only at once (mount_setattr(2)).
const RECURSIVE: (u32, u32) = (5, 12);

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    destination: String,
    kind: &'static str,
    source: String,
    options: Vec<String>,
}

impl Entry {
    fn new(destination: &str, kind: &'static str, source: &str, options: &[&str]) -> Entry {
        Entry {
            destination: destination.to_owned(),
            kind,
            source: source.to_owned(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
        }
    }

    fn bind(destination: &str, source: &str, options: &[&str]) -> Entry {
        Entry::new(destination, "bind", source, options)
    }

    fn value(&self) -> Value {
        json!({"destination": self.destination, "type": self.kind, "source": self.source, "options": self.options})
    }
}

/// The list, and `linux.rootfsPropagation`, if one of them needs it.
pub(super) fn list(inputs: &Inputs<'_>, security: &Security) -> Result<(Vec<Value>, Option<&'static str>)> {
    let host = &inputs.definition.host;
    let (own, propagation) = own(inputs)?;
    let taken: BTreeSet<&str> = own.iter().map(|entry| entry.destination.as_str()).collect();
    let mut entries = usual(inputs, security)?;
    entries.retain(|entry| {
        let destination = entry.destination.as_str();
        // Whoever brings a /dev brings what is below it.
        let below = taken.contains("/dev") && destination.starts_with("/dev/");
        !taken.contains(destination) && !below
    });
    entries.extend(own.iter().cloned());
    if host.readonly_rootfs {
        for entry in &mut entries {
            let stays = ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"];
            let usual = !taken.contains(entry.destination.as_str());
            // They are read-only already, or writable for a reason.
            let usual = usual && !entry.destination.starts_with("/sys");
            if usual
                && !stays.contains(&entry.destination.as_str())
                && !entry.options.iter().any(|o| o == "ro")
            {
                entry.options.push("ro".to_owned());
            }
        }
    }
    Ok((entries.iter().map(Entry::value).collect(), propagation))
}

/// Those that every container has.
fn usual(inputs: &Inputs<'_>, security: &Security) -> Result<Vec<Entry>> {
    let host = &inputs.definition.host;
    let quiet = ["nosuid", "noexec", "nodev"];
    let with = |more: &[&'static str]| [&quiet[..], more].concat();
    let rootless = inputs.host.ids.is_some();
    let maps = inputs.ids.as_ref().or(inputs.host.ids.as_ref());
    let ours = |mode: Mode<'_>| rootless && mode == Mode::Host;

    // A proc of the host's processes can be mounted only by who owns their namespace; the same is true of sysfs and networks.
    let proc = match ours(modes::pid(&host.pid_mode)?) {
        true => Entry::bind("/proc", "/proc", &["rbind", "nosuid", "noexec", "nodev"]),
        false => Entry::new("/proc", "proc", "proc", &quiet),
    };
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    // An id that is not mapped cannot own a mount.
    if maps.is_none_or(|maps| maps.maps_group(5)) {
        pts.push("gid=5");
    }
    let sys = match ours(modes::network(&host.network_mode)?) {
        true => Entry::bind("/sys", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        false if host.privileged => Entry::new("/sys", "sysfs", "sysfs", &quiet),
        false => Entry::new("/sys", "sysfs", "sysfs", &with(&["ro"])),
    };
    let mut entries = vec![
        proc,
        Entry::new("/dev", "tmpfs", "tmpfs", &dev),
        Entry::new("/dev/pts", "devpts", "devpts", &pts),
        sys,
        cgroup(inputs, security)?,
        Entry::new("/dev/mqueue", "mqueue", "mqueue", &quiet),
    ];
    let ipc = modes::ipc(&host.ipc_mode)?;
    if ours(ipc) {
        entries.retain(|entry| entry.destination != "/dev/mqueue");
        let options = ["rbind", "nosuid", "noexec", "nodev"];
        let queues = Entry::bind("/dev/mqueue", "/dev/mqueue", &options);
        entries.extend(inputs.host.mqueue.then_some(queues));
    }
    entries.extend(shared_memory(inputs, ipc)?);
    if inputs.found.is_machine {
        let tmpfs = |(at, options): (&str, &[&str])| Entry::new(at, "tmpfs", "tmpfs", options);
        entries.extend(machine::MOUNTS.map(tmpfs));
        let own = machine::own_hierarchy(inputs);
        let bound = |source: String| {
            Entry::bind(
                "/sys/fs/cgroup/systemd",
                &source,
                &["bind", "nosuid", "noexec", "nodev"],
            )
        };
        entries.extend(own.map(bound));
    }
    if has_init(inputs)?
        && let Some(init) = &inputs.init
    {
        entries.push(Entry::bind(INIT, &text(init), &["bind", "ro"]));
    }
    Ok(entries)
}

/// A container that owns its cgroups may be allowed to make more below it.
fn cgroup(inputs: &Inputs<'_>, security: &Security) -> Result<Entry> {
    let host = &inputs.definition.host;
    if security.writable_cgroups.is_some() && (inputs.ids.is_some() || inputs.host.ids.is_some()) {
        return Err(Error::invalid(
            "option WritableCgroups conflicts with user namespaces and rootless mode",
        ));
    }
    // In a user namespace the kernel lets nobody make a read-only mount of it writable or the reverse.
    let machine = inputs.found.is_machine && inputs.host.cgroups.hierarchy == Hierarchy::Unified;
    let usual = host.privileged || machine || inputs.ids.is_some();
    let writable = security.writable_cgroups.unwrap_or(usual);
    let options: &[&str] = match writable {
        true => &["nosuid", "noexec", "nodev"],
        false => &["ro", "nosuid", "noexec", "nodev"],
    };
    Ok(Entry::new("/sys/fs/cgroup", "cgroup", "cgroup", options))
}

fn shared_memory(inputs: &Inputs<'_>, ipc: Mode<'_>) -> Result<Option<Entry>> {
    let bound = |source: &str| Some(Entry::bind("/dev/shm", source, &["rbind", "rprivate"]));
    match ipc {
        Mode::None => Ok(None),
        Mode::Host => Ok(bound("/dev/shm")),
        Mode::Container(name) => match &inputs.joined.shm {
            Some(path) => Ok(bound(&text(path))),
            None => Err(Error::invalid(format!(
                "failed to join IPC namespace: container {name}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            ))),
        },
        Mode::Private | Mode::Shareable => {
            let size = match inputs.definition.host.shm_size {
                0 => SHM,
                size => size,
            };
            let size = format!("size={size}");
            Ok(Some(Entry::new(
                "/dev/shm",
                "tmpfs",
                "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", &size],
            )))
        }
    }
}

/// `/proc` of the host, bound: its parts are not ours to make read-only.
pub(super) fn read_only_paths(inputs: &Inputs<'_>, paths: Vec<String>) -> Result<Vec<String>> {
    let bound = inputs.host.ids.is_some() && modes::pid(&inputs.definition.host.pid_mode)? == Mode::Host;
    Ok(match bound {
        true => paths
            .into_iter()
            .filter(|path| !path.starts_with("/proc/"))
            .collect(),
        false => paths,
    })
}

/// What the user wants, and three files of ours. Fewer parts first: what lies below another mount comes after it.
fn own(inputs: &Inputs<'_>) -> Result<(Vec<Entry>, Option<&'static str>)> {
    let definition = inputs.definition;
    let mut entries = Vec::new();
    let mut propagation = None;
    for (destination, options) in &definition.host.tmpfs {
        entries.push(tmpfs(destination, options)?);
    }
    for mount in definition.mounts.iter().filter(|m| m.kind == "tmpfs") {
        let options = mount.spec.as_ref().and_then(|spec| spec.tmpfs_options.as_ref());
        let options = tmpfs_options(options, !mount.rw);
        entries.push(tmpfs(&mount.destination, &options)?);
    }
    for mount in definition.mounts.iter().filter(|m| m.kind != "tmpfs") {
        let (entry, needs) = bind(inputs, mount)?;
        entries.push(entry);
        propagation = match (propagation, needs) {
            (Some("shared"), _) | (_, None) => propagation,
            (_, needs) => needs,
        };
    }
    let files = [
        ("/etc/resolv.conf", &inputs.files.resolv_conf),
        ("/etc/hostname", &inputs.files.hostname),
        ("/etc/hosts", &inputs.files.hosts),
    ];
    for (destination, source) in files {
        let taken = entries.iter().any(|entry| entry.destination == destination);
        if let (Some(source), false) = (source, taken) {
            let read_only: &[&str] = if definition.host.readonly_rootfs {
                &["ro"]
            } else {
                &[]
            };
            let options = [&["rbind"], read_only, &["rprivate"]].concat();
            entries.push(Entry::bind(destination, &text(source), &options));
        }
    }
    entries.sort_by_key(|entry| (entry.destination.matches('/').count(), entry.destination.clone()));
    Ok((entries, propagation))
}

/// One bind or volume, and what propagation of the root it needs.
fn bind(inputs: &Inputs<'_>, mount: &MountPoint) -> Result<(Entry, Option<&'static str>)> {
    let destination = cleaned(&mount.destination);
    let wish = mount.spec.as_deref();
    let bind_options = wish.and_then(|m| m.bind_options.clone()).unwrap_or_default();
    let source = match inputs.sources.get(&mount.destination) {
        Some(path) => text(path),
        None => mount.source.clone(),
    };
    let mut options = vec![
        if bind_options.non_recursive {
            "bind"
        } else {
            "rbind"
        }
        .to_owned(),
    ];
    if !mount.rw {
        options.push(read_only(inputs, &bind_options)?.to_owned());
    } else if let Some(wish) = wish {
        writable_makes_sense(wish, &bind_options)?;
    }
    let needs = needed_propagation(inputs, mount)?;
    if !mount.propagation.is_empty() {
        options.push(mount.propagation.clone());
    }
    for flag in inputs.found.locked.get(&mount.source).into_iter().flatten() {
        if !options.iter().any(|o| o == flag) {
            options.push((*flag).to_owned());
        }
    }
    let entry = Entry {
        destination,
        kind: "bind",
        source,
        options,
    };
    Ok((entry, needs))
}

/// Read-only with everything that is mounted below it, where that can be had.
fn read_only(inputs: &Inputs<'_>, options: &BindOptions) -> Result<&'static str> {
    if options.read_only_non_recursive && options.read_only_force_recursive {
        return Err(Error::invalid(
            "mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
        ));
    }
    if options.read_only_non_recursive {
        return Ok("ro");
    }
    let can = match (inputs.host.kernel >= RECURSIVE, inputs.recursive_read_only) {
        (true, true) => return Ok("rro"),
        (false, _) => "recursively read-only mount is not supported by this kernel (5.12 or later is needed)",
        (_, false) => "recursively read-only mount is not supported by the runtime",
    };
    match options.read_only_force_recursive {
        true => Err(Error::invalid(can)),
        false => Ok("ro"),
    }
}

fn writable_makes_sense(mount: &Mount, options: &BindOptions) -> Result<()> {
    let conflict = |name: &str| {
        Err(Error::invalid(format!(
            "mount options conflict: !ReadOnly && BindOptions.{name}"
        )))
    };
    match options {
        _ if mount.read_only => Ok(()),
        BindOptions {
            read_only_non_recursive: true,
            ..
        } => conflict("ReadOnlyNonRecursive"),
        BindOptions {
            read_only_force_recursive: true,
            ..
        } => conflict("ReadOnlyForceRecursive"),
        _ => Ok(()),
    }
}

/// What is mounted in the container shows outside only if the root of the container lets it out, and the other way round.
fn needed_propagation(inputs: &Inputs<'_>, mount: &MountPoint) -> Result<Option<&'static str>> {
    let peers = inputs.found.peers.get(&mount.source).cloned().unwrap_or_default();
    let refused = |what: &str| {
        Err(Error::invalid(format!(
            "path {} is mounted on {} but it is not a {what} mount",
            mount.source, peers.mount
        )))
    };
    match mount.propagation.as_str() {
        "shared" | "rshared" if !peers.shared => refused("shared"),
        "shared" | "rshared" => Ok(Some("shared")),
        "slave" | "rslave" if !peers.shared && !peers.slave => refused("shared or slave"),
        "slave" | "rslave" => Ok(Some("rslave")),
        _ => Ok(None),
    }
}

/// `--mount type=tmpfs` in the words of `--tmpfs`.
fn tmpfs_options(options: Option<&TmpfsOptions>, read_only: bool) -> String {
    let mut words = Vec::new();
    if read_only {
        words.push("ro".to_owned());
    }
    if let Some(options) = options {
        if let Some(mode @ 1..) = options.mode {
            words.push(format!("mode={mode:o}"));
        }
        if options.size_bytes != 0 {
            words.push(format!("size={}", with_suffix(options.size_bytes)));
        }
    }
    words.join(",")
}

fn with_suffix(bytes: i64) -> String {
    let units = [("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes % unit == 0) {
        Some((suffix, unit)) => format!("{}{suffix}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// Options that exclude each other: of each group the last one counts.
const FLAGS: [&[&str]; 12] = [
    &["ro", "rw"],
    &["suid", "nosuid"],
    &["dev", "nodev"],
    &["exec", "noexec"],
    &["sync", "async"],
    &["dirsync"],
    &["remount"],
    &["mand", "nomand"],
    &["atime", "noatime"],
    &["diratime", "nodiratime"],
    &["relatime", "norelatime"],
    &["strictatime", "nostrictatime"],
];

const PROPAGATION: [&str; 8] = [
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "unbindable",
    "runbindable",
];

const DATA: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];

fn tmpfs(destination: &str, options: &str) -> Result<Entry> {
    let usual = ["noexec", "nosuid", "nodev", "rprivate"];
    let wanted = options.split(',').filter(|o| !o.is_empty());
    let mut kept: Vec<(&str, &str)> = Vec::new();
    for option in usual
        .into_iter()
        .chain(wanted)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        if option == "defaults" {
            continue;
        }
        let group = group(option)?;
        if !kept.iter().any(|(g, _)| *g == group) {
            kept.push((group, option));
        }
    }
    let options: Vec<&str> = kept.iter().rev().map(|(_, option)| *option).collect();
    Ok(Entry::new(&cleaned(destination), "tmpfs", "tmpfs", &options))
}

/// What an option is about, so that a later one replaces it.
fn group(option: &str) -> Result<&str> {
    if let Some(group) = FLAGS.iter().find(|group| group.contains(&option)) {
        return Ok(group[0]);
    }
    if PROPAGATION.contains(&option) {
        return Ok("propagation");
    }
    match option.split_once('=') {
        Some((name, _)) if DATA.contains(&name) => Ok(name),
        _ => {
            let name = option.split('=').next().unwrap_or_default();
            Err(Error::invalid(format!("invalid tmpfs option {name:?}")))
        }
    }
}

/// Checks the options of every tmpfs, for when a container is made.
pub(super) fn check_tmpfs<'a>(all: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    for (destination, options) in all {
        if !destination.starts_with('/') {
            return Err(Error::invalid(format!(
                "invalid mount path: '{destination}' mount path must be absolute"
            )));
        }
        if cleaned(destination) == "/" {
            return Err(Error::invalid("invalid specification: destination can't be '/'"));
        }
        tmpfs(destination, options)?;
    }
    Ok(())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn later_options_of_a_tmpfs_win() {
        let of = |options: &str| tmpfs("/t/", options).unwrap().options.join(",");
        assert_eq!(of(""), "noexec,nosuid,nodev,rprivate");
        assert_eq!(
            of("exec,size=1m,size=2m,rw"),
            "nosuid,nodev,rprivate,exec,size=2m,rw"
        );
        assert_eq!(
            of("defaults,shared,mode=700"),
            "noexec,nosuid,nodev,shared,mode=700"
        );
        assert_eq!(tmpfs("/t/", "").unwrap().destination, "/t");
        for (options, want) in [
            ("huge=always", r#"invalid tmpfs option "huge""#),
            ("x", r#"invalid tmpfs option "x""#),
            ("size", r#"invalid tmpfs option "size""#),
        ] {
            assert_eq!(tmpfs("/t", options).unwrap_err().to_string(), want);
        }
        let options = TmpfsOptions {
            size_bytes: 1000,
            mode: Some(0o1770),
        };
        assert_eq!(tmpfs_options(Some(&options), true), "ro,mode=1770,size=1000");
    }
}
