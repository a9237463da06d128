//! From config.json to what will be done to the container's file tree.
//!
//! Pure: no syscalls. Every problem is collected with its JSON pointer; the words are the ones that engines know.

use super::options::{Depth, Options, Propagation, parse_options};
use super::paths::{HostPath, RootPath};
use crate::config::{self, Config};
use crate::facts::{CgroupMode, HostFacts};
use crate::namespaces::{Namespaces, Ns};
use crate::problems::Problems;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CString, OsString};
use std::path::{Path, PathBuf};

/// How the container's root becomes `/`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pivot {
    /// pivot_root(2).
    #[default]
    PivotRoot,
    /// Moving the mount and chroot(2): for a host whose root is an initramfs, which cannot be pivoted. Insecure.
    MoveMount,
}

/// What the command line says about the root file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootfsOptions {
    /// `--no-pivot` gives [`Pivot::MoveMount`].
    pub pivot: Pivot,
}

/// Everything about the container's file tree, with defaults decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootfsPlan {
    /// `root.path`, absolute.
    pub path: HostPath,
    /// `root.readonly`.
    pub readonly: bool,
    /// How the root becomes `/`.
    pub pivot: Pivot,
    /// Propagation of the host's tree in the new mount namespace, before anything is mounted.
    pub host_propagation: Propagation,
    /// `linux.rootfsPropagation`: propagation of the container's `/` after the pivot.
    pub root_propagation: Option<Propagation>,
    /// In order.
    pub mounts: Vec<MountPlan>,
    /// Nodes and links in `/dev`; `None` when the user brings a `/dev` of their own.
    pub devices: Option<DevicesPlan>,
    /// `linux.maskedPaths` without duplicates.
    pub masked: Vec<RootPath>,
    /// `linux.readonlyPaths` without duplicates.
    pub readonly_paths: Vec<RootPath>,
    /// `linux.mountLabel`: SELinux context of file systems that are made for the container.
    #[serde(serialize_with = "as_optional_text")]
    pub mount_label: Option<CString>,
    /// Where bind sources are opened.
    pub sources: SourceSide,
}

/// Who opens the sources of bind mounts that are not id-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceSide {
    /// The child: it has the rights of the runtime.
    Child,
    /// The parent, before the fork: the root of a user namespace may not reach what the runtime can.
    Parent,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPlan {
    /// Index in `mounts` of config.json.
    pub index: usize,
    /// Where.
    pub destination: RootPath,
    /// What kind of mount, and so how it is made.
    pub kind: MountKind,
    /// `mounts[].type` as given; empty for binds.
    #[serde(serialize_with = "as_text")]
    pub fstype: CString,
    /// `mounts[].source` as given.
    #[serde(serialize_with = "as_text")]
    pub source: CString,
    /// The options.
    pub options: Options,
    /// `uidMappings` and `gidMappings`.
    pub idmap: Option<IdmapPlan>,
}

/// The kinds of mounts that are made in different ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A part of the host's tree.
    Bind {
        /// Which part.
        from: HostPath,
        /// `bind` or `rbind`.
        depth: Depth,
    },
    /// Changes a mount that is there already.
    Remount,
    /// proc
    Proc,
    /// sysfs
    Sysfs,
    /// tmpfs
    Tmpfs,
    /// mqueue
    Mqueue,
    /// The container's cgroups.
    Cgroup(CgroupView),
    /// Any other file system.
    Other,
}

/// What a mount of type `cgroup` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CgroupView {
    /// v1 or v2.
    pub mode: CgroupMode,
    /// The container has a cgroup namespace of its own.
    pub namespaced: bool,
    /// The runtime has no root rights over the host.
    pub rootless: bool,
}

/// The mapping of an id-mapped mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdmapPlan {
    /// How far it reaches.
    pub depth: Depth,
    /// What the ids are mapped by.
    pub ids: IdmapIds,
}

/// What the ids of an id-mapped mount are mapped by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IdmapIds {
    /// Lines of user_namespaces(7), for users and for groups.
    Lines(String, String),
    /// A user namespace that is there: the one that the container joins.
    Namespace(HostPath),
}

/// The nodes of `/dev`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicesPlan {
    /// In order; defaults first, each path once.
    pub nodes: Vec<DevicePlan>,
    /// How they are made.
    pub way: DeviceWay,
}

/// How device nodes come into being.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceWay {
    /// mknod(2); binding the host's node when that is forbidden.
    Mknod,
    /// Binding the host's node: the root of a user namespace may not make nodes.
    Bind,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DevicePlan {
    /// In the container, and on the host when the host's node is bound.
    pub path: RootPath,
    /// The same on the host.
    pub host: HostPath,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`.
    pub file_type: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub uid: u32,
    /// Group in the container.
    pub gid: u32,
}

impl DevicePlan {
    /// Its name when it lies directly in `/dev`.
    pub(super) fn name_in_dev(&self) -> Option<OsString> {
        let (parent, name) = self.path.split();
        parent.is("dev").then_some(name)
    }
}

const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/random", 1, 8),
    ("/dev/full", 1, 7),
    ("/dev/tty", 5, 0),
    ("/dev/zero", 1, 5),
    ("/dev/urandom", 1, 9),
];

/// The only places below /proc that may be mounted over: lxcfs emulates them. Everything else there decides what
/// security labels and sysctls are written to.
pub(super) const PROC_OVERLAYS: [&str; 10] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

/// Plans the container's file tree. `bundle` is the absolute path of the bundle's directory.
pub fn plan_rootfs(
    config: &Config,
    bundle: &Path,
    ns: &Namespaces,
    options: RootfsOptions,
    facts: &HostFacts,
    problems: &mut Problems,
) -> RootfsPlan {
    let nothing = config::Linux::default();
    let linux = config.linux.as_ref().unwrap_or(&nothing);
    if !ns.owns(Ns::Mount) {
        problems.add(
            "/linux/namespaces",
            "unable to set up the rootfs without a private MNT namespace",
        );
    }
    let root_propagation = plan_propagation(&linux.rootfs_propagation, options.pivot, problems);
    let root = config.root.as_ref().map_or("", |r| &r.path);
    let context = Context {
        bundle,
        root: bundle.join(root),
        ns,
        facts,
        linux,
    };
    let mounts: Vec<MountPlan> = config
        .mounts
        .iter()
        .enumerate()
        .filter_map(|(n, m)| context.plan_mount(n, m, problems))
        .collect();
    let brings_dev = mounts
        .iter()
        .any(|m| m.destination.is("dev") && matches!(m.kind, MountKind::Bind { .. }));
    RootfsPlan {
        path: plan_root_path(config, bundle, problems),
        readonly: config.root.as_ref().is_some_and(|r| r.readonly),
        pivot: options.pivot,
        host_propagation: plan_host_propagation(root_propagation),
        root_propagation,
        devices: (!brings_dev).then(|| context.plan_devices(problems)),
        mounts,
        masked: plan_paths("/linux/maskedPaths", &linux.masked_paths, problems),
        readonly_paths: plan_paths("/linux/readonlyPaths", &linux.readonly_paths, problems),
        mount_label: plan_label(&linux.mount_label, problems),
        sources: if ns.owns(Ns::User) && !facts.is_rootless() {
            SourceSide::Parent
        } else {
            SourceSide::Child
        },
    }
}

/// What the host's tree gets is what the container's `/` will have. Only unbindable has to wait until after the pivot: nothing
/// could be bound from such a tree, the rootfs least of all. Private cuts off as well.
fn plan_host_propagation(root: Option<Propagation>) -> Propagation {
    match root {
        None => Propagation {
            kind: libc::MS_SLAVE,
            depth: Depth::Recursive,
        },
        Some(p) if p.kind == libc::MS_UNBINDABLE => Propagation {
            kind: libc::MS_PRIVATE,
            ..p
        },
        Some(p) => p,
    }
}

fn plan_root_path(config: &Config, bundle: &Path, problems: &mut Problems) -> HostPath {
    let given = match &config.root {
        Some(root) => root.path.as_str(),
        None => {
            problems.add("/root", "root must be specified");
            ""
        }
    };
    if config.root.is_some() && given.is_empty() {
        problems.add("/root/path", "invalid rootfs: the path is empty");
    }
    problems
        .keep("/root/path", HostPath::new(bundle, given).map(trimmed))
        .unwrap_or_else(HostPath::root)
}

/// A trailing slash would make a symbolic link as last component be followed.
fn trimmed(path: HostPath) -> HostPath {
    let clean: PathBuf = path.as_path().components().collect();
    HostPath::of(&clean).unwrap_or(path)
}

fn plan_propagation(word: &str, pivot: Pivot, problems: &mut Problems) -> Option<Propagation> {
    const PLACE: &str = "/linux/rootfsPropagation";
    if word.is_empty() {
        return None;
    }
    let Some(propagation) = Propagation::parse(word) else {
        problems.add(PLACE, format!("rootfsPropagation={word} is not supported"));
        return None;
    };
    if propagation.kind == libc::MS_PRIVATE && pivot == Pivot::MoveMount {
        problems.add(
            PLACE,
            "rootfsPropagation of [r]private is not safe without pivot_root",
        );
    }
    Some(propagation)
}

fn plan_label(label: &str, problems: &mut Problems) -> Option<CString> {
    if label.is_empty() {
        return None;
    }
    no_null("/linux/mountLabel", label, problems)
}

fn plan_paths(place: &str, paths: &[String], problems: &mut Problems) -> Vec<RootPath> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(paths.len());
    for (n, path) in paths.iter().enumerate() {
        let at = format!("{place}/{n}");
        let Some(path) = problems.keep(&at, RootPath::new(path)) else {
            continue;
        };
        if path.is_root() {
            problems.add(
                at,
                "the root of the container cannot be masked or made read-only here",
            );
        } else if seen.insert(path.clone()) {
            out.push(path);
        }
    }
    out
}

struct Context<'a> {
    bundle: &'a Path,
    /// The root directory on the host.
    root: PathBuf,
    ns: &'a Namespaces,
    facts: &'a HostFacts,
    linux: &'a config::Linux,
}

impl Context<'_> {
    fn plan_mount(&self, n: usize, mount: &config::Mount, problems: &mut Problems) -> Option<MountPlan> {
        let place = format!("/mounts/{n}");
        let (mut options, wrong) = parse_options(&mount.options);
        for (word, text) in wrong {
            problems.add(format!("{place}/options/{word}"), text);
        }
        // Every part is looked at before one that is missing ends it: all problems are told at once.
        let destination = plan_destination(&place, mount, &self.root, problems);
        let fstype = no_null(&format!("{place}/type"), &mount.kind, problems);
        let source = no_null(&format!("{place}/source"), &mount.source, problems);
        let kind = self.plan_kind(&place, mount, &options, problems);
        if let (Some(destination), Some(kind)) = (&destination, &kind) {
            check_proc(&place, destination, kind, problems);
        }
        let is_bind = options.flags.any(libc::MS_BIND) || mount.kind == "bind";
        check_options(&place, mount, &options, is_bind, problems);
        // The superblock of a cgroup hierarchy is the host's: it has a context already and takes no other.
        let labelled = matches!(kind, Some(MountKind::Tmpfs | MountKind::Other));
        if labelled && !self.linux.mount_label.is_empty() && !options.has_parameter("context") {
            options.add_label(&self.linux.mount_label);
        }
        let idmap = self.plan_idmap(&place, mount, &options, is_bind, problems);
        Some(MountPlan {
            index: n,
            destination: destination?,
            kind: kind?,
            fstype: if is_bind { CString::default() } else { fstype? },
            source: source?,
            options,
            idmap,
        })
    }

    fn plan_kind(
        &self,
        place: &str,
        mount: &config::Mount,
        options: &Options,
        problems: &mut Problems,
    ) -> Option<MountKind> {
        let flags = options.flags;
        if flags.any(libc::MS_REMOUNT) {
            return Some(MountKind::Remount);
        }
        if flags.any(libc::MS_BIND) || mount.kind == "bind" {
            if mount.source.is_empty() {
                problems.add(format!("{place}/source"), "a bind mount needs a source");
                return None;
            }
            let from = HostPath::new(self.bundle, &mount.source);
            return Some(MountKind::Bind {
                from: problems.keep(&format!("{place}/source"), from)?,
                depth: if flags.any(libc::MS_REC) {
                    Depth::Recursive
                } else {
                    Depth::Single
                },
            });
        }
        Some(match mount.kind.as_str() {
            "proc" => MountKind::Proc,
            "sysfs" => MountKind::Sysfs,
            "tmpfs" => MountKind::Tmpfs,
            "mqueue" => MountKind::Mqueue,
            "cgroup" => MountKind::Cgroup(CgroupView {
                mode: self.facts.cgroup_mode,
                namespaced: self.ns.owns(Ns::Cgroup),
                rootless: self.facts.is_rootless(),
            }),
            "" => {
                problems.add(format!("{place}/type"), "a mount that is not a bind needs a type");
                return None;
            }
            _ => MountKind::Other,
        })
    }

    fn plan_idmap(
        &self,
        place: &str,
        mount: &config::Mount,
        options: &Options,
        is_bind: bool,
        problems: &mut Problems,
    ) -> Option<IdmapPlan> {
        let (own_uids, own_gids) = (&mount.uid_mappings, &mount.gid_mappings);
        let given = !own_uids.is_empty() || !own_gids.is_empty();
        if options.idmap.is_none() && !given {
            return None;
        }
        let (uids, gids) = if given {
            (own_uids, own_gids)
        } else {
            (&self.linux.uid_mappings, &self.linux.gid_mappings)
        };
        if !is_bind {
            problems.add(place, "id-mapped mounts are only supported for bind-mounts");
        }
        if self.facts.is_rootless() {
            problems.add(
                place,
                "id-mapped mounts are not supported for rootless containers",
            );
        }
        let depth = options.idmap.unwrap_or(Depth::Single);
        if let (false, Some(joined)) = (given, self.ns.path(Ns::User)) {
            let ids = HostPath::of(joined).map(IdmapIds::Namespace);
            return Some(IdmapPlan {
                depth,
                ids: problems.keep(place, ids)?,
            });
        }
        if uids.is_empty() || gids.is_empty() {
            problems.add(
                place,
                "id-mapped mounts must have both uid and gid mappings specified",
            );
        }
        Some(IdmapPlan {
            depth,
            ids: IdmapIds::Lines(map_lines(uids), map_lines(gids)),
        })
    }

    fn plan_devices(&self, problems: &mut Problems) -> DevicesPlan {
        let mut nodes: Vec<DevicePlan> = Vec::with_capacity(DEFAULT_DEVICES.len() + self.linux.devices.len());
        for (path, major, minor) in DEFAULT_DEVICES {
            let device = config::Device {
                path: path.to_string(),
                kind: "c".to_string(),
                major: major.into(),
                minor: minor.into(),
                ..Default::default()
            };
            nodes.extend(plan_device("", &device, problems));
        }
        let mut places: BTreeMap<RootPath, usize> = nodes
            .iter()
            .enumerate()
            .map(|(n, d)| (d.path.clone(), n))
            .collect();
        for (n, device) in self.linux.devices.iter().enumerate() {
            let Some(node) = plan_device(&format!("/linux/devices/{n}"), device, problems) else {
                continue;
            };
            match places.get(&node.path) {
                Some(at) => nodes[*at] = node,
                None => {
                    places.insert(node.path.clone(), nodes.len());
                    nodes.push(node);
                }
            }
        }
        // ptmx is always a link to the container's own pts; the host's node would lead to the host's terminals.
        nodes.retain(|d| !d.path.is("dev/ptmx"));
        DevicesPlan {
            nodes,
            way: if self.ns.owns(Ns::User) || self.facts.in_user_namespace || self.facts.euid != 0 {
                DeviceWay::Bind
            } else {
                DeviceWay::Mknod
            },
        }
    }
}

/// Options that do not go with each other or with the kind of mount.
fn check_options(
    place: &str,
    mount: &config::Mount,
    options: &Options,
    is_bind: bool,
    problems: &mut Problems,
) {
    let place = format!("{place}/options");
    if is_bind && !options.flags.any(libc::MS_REMOUNT) && !options.parameters.is_empty() {
        problems.add(
            place.clone(),
            format!(
                "bind mounts cannot have any filesystem-specific options applied, found {:?}",
                options.data.to_string_lossy()
            ),
        );
    }
    if options.classic_only && !options.fits_page() {
        problems.add(
            place.clone(),
            "mount options are longer than a page, which the kernel would cut off",
        );
    }
    if options.copy_up && (is_bind || mount.kind != "tmpfs") {
        problems.add(place, "tmpcopyup is only for tmpfs");
    }
}

/// A destination may be given with the host path of the root in front, as engines of old did; runc still takes it away.
fn plan_destination(
    place: &str,
    mount: &config::Mount,
    root: &Path,
    problems: &mut Problems,
) -> Option<RootPath> {
    let place = format!("{place}/destination");
    if mount.destination.is_empty() {
        problems.add(place, "mount destination is empty");
        return None;
    }
    let inside = match Path::new(&mount.destination).strip_prefix(root) {
        Ok(rest) if root.components().count() > 1 => rest.to_str().unwrap_or(&mount.destination),
        _ => &mount.destination,
    };
    let path = problems.keep(&place, RootPath::new(inside))?;
    if path.is_root() {
        problems.add(place, "mounting over the root of the container is not supported");
        return None;
    }
    Some(path)
}

fn no_null(place: &str, text: &str, problems: &mut Problems) -> Option<CString> {
    problems.keep(
        place,
        CString::new(text).map_err(|_| format!("{text:?} contains a null byte")),
    )
}

/// What lies at /proc decides where labels and sysctls are written (CVE-2019-16884).
fn check_proc(place: &str, destination: &RootPath, kind: &MountKind, problems: &mut Problems) {
    if !destination.is_within("proc") || matches!(kind, MountKind::Remount) {
        return;
    }
    let place = format!("{place}/destination");
    if destination.is("proc") {
        // The source of a bind is looked at when it is open.
        if !matches!(kind, MountKind::Proc | MountKind::Bind { .. }) {
            let text = format!(
                "{:?} cannot be mounted because it is not of type proc",
                destination.to_string()
            );
            problems.add(place, text);
        }
    } else if !PROC_OVERLAYS.iter().any(|p| destination.is(p)) {
        let text = format!(
            "{:?} cannot be mounted because it is inside /proc",
            destination.to_string()
        );
        problems.add(place, text);
    }
}

fn plan_device(place: &str, device: &config::Device, problems: &mut Problems) -> Option<DevicePlan> {
    let file_type = match device.kind.as_str() {
        "c" | "u" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        other => {
            problems.add(format!("{place}/type"), format!("invalid device type {other:?}"));
            return None;
        }
    };
    if !device.path.starts_with('/') {
        problems.add(
            format!("{place}/path"),
            format!("device path {:?} is not absolute", device.path),
        );
        return None;
    }
    let path = problems.keep(&format!("{place}/path"), RootPath::new(&device.path))?;
    if path.is_root() {
        problems.add(
            format!("{place}/path"),
            "a device cannot be the root of the container",
        );
        return None;
    }
    let number = |name: &str, value: i64, limit: i64, problems: &mut Problems| {
        if file_type != libc::S_IFIFO && !(0..limit).contains(&value) {
            problems.add(
                format!("{place}/{name}"),
                format!("device number {value} is out of range"),
            );
        }
        u32::try_from(value).unwrap_or(0)
    };
    Some(DevicePlan {
        host: problems.keep(place, HostPath::new(Path::new("/"), &device.path))?,
        path,
        file_type,
        // Linux has 12 bits of major and 20 of minor number.
        major: number("major", device.major, 1 << 12, problems),
        minor: number("minor", device.minor, 1 << 20, problems),
        mode: device.file_mode.unwrap_or(0o666) & 0o7777,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}

/// The lines of uid_map(5) for a mapping.
fn map_lines(map: &[config::IdMapping]) -> String {
    map.iter()
        .map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size))
        .collect()
}

fn as_text<S: serde::Serializer>(text: &CString, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&text.to_string_lossy())
}

fn as_optional_text<S: serde::Serializer>(text: &Option<CString>, s: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => as_text(text, s),
        None => s.serialize_none(),
    }
}
