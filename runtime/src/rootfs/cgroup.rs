//! What the container sees at /sys/fs/cgroup.
//!
//! May not: make, join or limit a cgroup, or find out where one is: the owner of the cgroups says so.

use super::mounts::{finish, open_dir_target};
use super::options::Depth;
use super::paths::HostPath;
use super::plan::{CgroupView, MountPlan};
use super::root::{Links, Root};
use super::tree::{NewFs, Way, mount_here};
use crate::error::{Doing, Error, Result};
use crate::facts::CgroupMode;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::fs;
use sys::mount;

/// Where the container's cgroups are on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupMounts {
    /// One entry per v1 hierarchy that the container sees.
    pub v1: Vec<CgroupV1>,
    /// The v2 tree.
    pub v2: Option<CgroupV2>,
}

/// One v1 hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupV1 {
    /// Name of the directory below /sys/fs/cgroup: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// Mount parameters that select the hierarchy: `cpu,cpuacct`, `none,name=systemd`.
    pub controllers: String,
    /// Absolute host path of the container's directory in it.
    pub container: PathBuf,
    /// Other names under which it is found: `cpu`, `cpuacct`.
    pub links: Vec<String>,
}

/// The v2 tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupV2 {
    /// Where it is mounted on the host.
    pub mountpoint: PathBuf,
    /// Absolute host path of the container's cgroup; `None` when it has none of its own.
    pub container: Option<PathBuf>,
}

pub(super) fn mount_cgroup(
    root: &mut Root,
    plan: &MountPlan,
    way: Way,
    view: CgroupView,
    cgroups: &CgroupMounts,
) -> Result<OwnedFd> {
    let target = open_dir_target(root, plan, Links::Follow)?;
    match view.mode {
        CgroupMode::Unified => {
            let Some(v2) = &cgroups.v2 else {
                return Err(Error::new("the host's cgroup2 tree is not known"));
            };
            let tree = v2_tree(root, plan, way, view, v2)?;
            finish(root, plan, way, tree.as_fd(), target.as_fd())?;
            Ok(tree)
        }
        CgroupMode::Legacy => mount_v1(root, plan, way, view, &cgroups.v1, target.as_fd()),
        CgroupMode::None => Err(Error::new("no cgroup file system is mounted on the host")),
    }
}

/// With a cgroup namespace a new mount shows the container's cgroup as the top. Without one, a new mount would
/// reset the flags that the host chose for its tree (nsdelegate and others), so the host's mount is bound.
fn v2_tree(root: &mut Root, plan: &MountPlan, way: Way, view: CgroupView, v2: &CgroupV2) -> Result<OwnedFd> {
    if !view.namespaced {
        return bind_v2(root, plan, way, view, v2);
    }
    let flags = plan.options.flags.0;
    let new = NewFs {
        fstype: c"cgroup2",
        source: &plan.source,
        parameters: &plan.options.parameters,
        data: &plan.options.data,
        flags: if way == Way::Classic {
            flags
        } else {
            flags & !libc::MS_RDONLY
        },
        attrs: plan.options.attrs(),
    };
    match root.new_filesystem(way, &new) {
        // In a user namespace that does not own the cgroup namespace.
        Err(e) if e.is(libc::EPERM) || e.is(libc::EBUSY) => bind_v2(root, plan, way, view, v2),
        other => Ok(other?),
    }
}

fn bind_v2(root: &mut Root, plan: &MountPlan, way: Way, view: CgroupView, v2: &CgroupV2) -> Result<OwnedFd> {
    let own = match &v2.container {
        // Rootless without a namespace the whole tree would be writable for the user's processes (CVE-2023-25809).
        Some(own) if view.namespaced || view.rootless => own,
        _ => &v2.mountpoint,
    };
    let from = HostPath::of(own).map_err(Error::new)?;
    let tree = match root.clone_host(way, &from, Depth::Recursive) {
        Ok(tree) => tree,
        Err(e) if e.is(libc::ENOENT) && view.rootless => return masked_tree(root, way),
        Err(e) => return Err(e).doing(|| format!("bind {from}")),
    };
    root.set_bind_flags(way, tree.as_fd(), &plan.options)?;
    if view.rootless && !view.namespaced {
        root.set_readonly(way, tree.as_fd())?;
    }
    Ok(tree)
}

/// An empty read-only directory.
fn masked_tree(root: &mut Root, way: Way) -> Result<OwnedFd> {
    let new = NewFs {
        fstype: c"tmpfs",
        source: c"tmpfs",
        parameters: &[],
        data: c"",
        flags: libc::MS_RDONLY,
        attrs: mount::ATTR_RDONLY,
    };
    Ok(root.new_filesystem(way, &new)?)
}

/// A tmpfs with one directory per hierarchy, and links for the names of controllers that share one.
fn mount_v1(
    root: &mut Root,
    plan: &MountPlan,
    way: Way,
    view: CgroupView,
    hierarchies: &[CgroupV1],
    target: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    let flags = plan.options.flags.0 & !libc::MS_RDONLY;
    let (mut options, _) = super::options::parse_options(&["mode=755".to_string()]);
    if let Some(label) = &root.label {
        options.add_label(&label.to_string_lossy());
    }
    let new = NewFs {
        fstype: c"tmpfs",
        source: c"tmpfs",
        parameters: &options.parameters,
        data: &options.data,
        flags,
        attrs: plan.options.attrs() & !mount::ATTR_RDONLY,
    };
    let top = root.new_filesystem(way, &new)?;
    // Attached before it is filled: a mount cannot be put into a tree that is attached nowhere (kernel < 6.15).
    finish(root, plan, way, top.as_fd(), target)?;
    for hierarchy in hierarchies {
        mount_hierarchy(root, plan, view, hierarchy, top.as_fd())
            .doing(|| format!("cgroup hierarchy {}", hierarchy.name))?;
    }
    if plan.options.flags.any(libc::MS_RDONLY) {
        super::mounts::readonly_attached(root, top.as_fd())?;
    }
    Ok(top)
}

fn mount_hierarchy(
    root: &mut Root,
    plan: &MountPlan,
    view: CgroupView,
    hierarchy: &CgroupV1,
    top: BorrowedFd<'_>,
) -> Result<()> {
    let name = Path::new(&hierarchy.name);
    // The tmpfs is ours and new: nobody else is in it yet, and names of hierarchies hold no slash.
    super::root::with_open_umask(|| fs::mkdirat(top, name, 0o755))?;
    let place = fs::openat(top, name, libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)?;
    let readonly = plan.options.flags.any(libc::MS_RDONLY);
    let flags = V1_FLAGS | if readonly { libc::MS_RDONLY } else { 0 };
    if view.namespaced {
        let data = CString::new(hierarchy.controllers.as_str()).unwrap_or_default();
        mount_here(place.as_fd(), c"cgroup", c"cgroup", flags, &data)?;
    } else {
        bind_hierarchy(root, hierarchy, flags, place.as_fd())?;
    }
    for link in &hierarchy.links {
        match fs::symlinkat(name, top, Path::new(link)) {
            Err(e) if e.is(libc::EEXIST) => {}
            other => other?,
        }
    }
    Ok(())
}

const V1_FLAGS: u64 = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;

fn bind_hierarchy(root: &mut Root, hierarchy: &CgroupV1, flags: u64, place: BorrowedFd<'_>) -> Result<()> {
    let from = HostPath::of(&hierarchy.container).map_err(Error::new)?;
    let mut options = super::options::Options::default();
    options.flags.0 = flags;
    root.either_way(|root, way| {
        let tree = root
            .clone_host(way, &from, Depth::Single)
            .doing(|| format!("bind {from}"))?;
        root.set_bind_flags(way, tree.as_fd(), &options)?;
        Ok(root.attach(way, tree.as_fd(), place)?)
    })
}
