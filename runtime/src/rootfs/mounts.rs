//! Making the mounts of config.json, in the child, before the pivot.
//!
//! May not: use a path of the container after it was opened, or attach a mount that is not finished.

use super::cgroup::{CgroupMounts, mount_cgroup};
use super::copyup::copy_up;
use super::options::{Depth, Options};
use super::paths::{HostPath, RootPath};
use super::plan::{MountKind, MountPlan, PROC_OVERLAYS, RootfsPlan};
use super::root::{Links, Origin, Root};
use super::tree::{NewFs, Way, fd_path, is_refused, mount_here, ms_flags, propagate, was_refused};
use crate::error::{Doing, Error, Result};
use std::borrow::Cow;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::fs;
use sys::mount::{self, Change, LastLink, Reach};

/// statfs(2) magic of procfs.
pub(crate) const PROC_MAGIC: i64 = 0x9fa0;

/// Cuts the new mount namespace off from the host, before anything is mounted: the host's tree becomes a slave (or
/// what `linux.rootfsPropagation` says), and the mount that holds the container's root becomes private, or else
/// pivot_root(2) refuses and mounts of the container appear on the host.
pub fn apply_propagation(plan: &RootfsPlan) -> Result<()> {
    let propagation = plan.host_propagation;
    let change = Change {
        propagation: propagation.kind,
        ..Change::default()
    };
    match mount::mount_setattr_at(c"/", propagation.depth.into(), &change) {
        Err(e) if is_refused(&e) => mount::mount(c"", c"/", c"", ms_flags(propagation), c""),
        other => other,
    }
    .doing(|| format!("set propagation of / to {}", propagation.word()))?;
    if !propagation.cuts_off() {
        // A slave stays one, so that a root that is to be a slave still has a master; only sharing has to end.
        let kind = if propagation.kind == libc::MS_SHARED {
            libc::MS_PRIVATE
        } else {
            libc::MS_SLAVE
        };
        cut_off_parent(&plan.path, kind).doing(|| format!("cut off the parent mount of {}", plan.path))?;
    }
    Ok(())
}

fn cut_off_parent(path: &HostPath, kind: u64) -> Result<()> {
    let mut at = fs::open(path.as_path(), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    while !fs::mount_id(at.as_fd())?.1 {
        at = fs::openat(at.as_fd(), Path::new(".."), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    }
    let depth = Depth::Single;
    Ok(propagate(
        at.as_fd(),
        super::options::Propagation { kind, depth },
    )?)
}

/// Opens the container's root: the directory bind-mounted with everything below it on itself, so that it is the root
/// of a mount (pivot_root(2) asks for one) whose attributes are the container's own.
pub fn open_root(plan: &RootfsPlan) -> Result<Root> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let below = fs::open(plan.path.as_path(), flags, 0).map_err(|e| invalid_rootfs(&plan.path, e))?;
    let tree = mount::clone_tree_at(fs::cwd(), plan.path.as_c(), Reach::Recursive, LastLink::NoFollow)
        .and_then(|tree| mount::move_mount(tree.as_fd(), below.as_fd()).map(|()| tree));
    let (tree, way) = match tree {
        Ok(tree) => (tree, Way::Descriptors),
        Err(e) if is_refused(&e) => {
            let place = fd_path(below.as_fd());
            mount::mount(&place, &place, c"", libc::MS_BIND | libc::MS_REC, c"")
                .and_then(|()| fs::open(plan.path.as_path(), flags, 0))
                .map(|tree| (tree, Way::Classic))
                .doing(|| format!("bind-mount the rootfs {} on itself", plan.path))?
        }
        Err(e) => return Err(e).doing(|| format!("bind-mount the rootfs {} on itself", plan.path)),
    };
    let (seen, opened) = (fs::fstat(below.as_fd())?, fs::fstat(tree.as_fd())?);
    if (seen.dev, seen.ino) != (opened.dev, opened.ino) {
        return Err(Error::new(format!("invalid rootfs: {} was exchanged", plan.path)));
    }
    let mut root = Root::new(tree, &plan.path)?;
    root.way = way;
    root.label.clone_from(&plan.mount_label);
    Ok(root)
}

/// The words of runc for a root that is not there or is no directory.
pub(super) fn invalid_rootfs(path: &HostPath, e: sys::Error) -> Error {
    if e.is(libc::ELOOP) || (e.is(libc::ENOTDIR) && is_link(path)) {
        return Error::new("invalid rootfs: not an absolute path, or a symlink");
    }
    Error::from(sys::Error::new("stat", path.to_string(), e.errno())).doing("invalid rootfs")
}

fn is_link(path: &HostPath) -> bool {
    fs::fstatat(fs::cwd(), path.as_path(), libc::AT_SYMLINK_NOFOLLOW).is_ok_and(|s| s.is_symlink())
}

/// Makes one mount. `source` is its bind source when the parent opened it (see [`super::sources`]).
pub fn apply_mount(
    root: &mut Root,
    plan: &MountPlan,
    source: Option<OwnedFd>,
    cgroups: &CgroupMounts,
) -> Result<()> {
    let done = match source {
        Some(tree) => make_from_source(root, plan, tree, cgroups),
        None => make_either_way(root, plan, cgroups),
    };
    done.map_err(|e| {
        let source = plan.source.to_string_lossy();
        e.doing(format!(
            "error mounting {source:?} to rootfs at {:?}",
            plan.destination.to_string()
        ))
    })
}

/// A source that the parent opened, or else one of our own: ELOOP says that the source holds mounts of mount namespaces
/// older than ours (snapd keeps such), which the kernel does not attach; our copy of the host's tree came without them.
fn make_from_source(root: &mut Root, plan: &MountPlan, tree: OwnedFd, cgroups: &CgroupMounts) -> Result<()> {
    match make(root, plan, Way::Descriptors, Some(tree), cgroups) {
        Err(e) if plan.idmap.is_none() && (e.is(libc::ELOOP) || was_refused(&e)) => {
            make_either_way(root, plan, cgroups)
        }
        other => other,
    }
}

fn make_either_way(root: &mut Root, plan: &MountPlan, cgroups: &CgroupMounts) -> Result<()> {
    let way = root.way;
    match make(root, plan, way, None, cgroups) {
        Err(e) if way == Way::Descriptors && was_refused(&e) => {
            if e.is(libc::ENOSYS) {
                root.way = Way::Classic;
            }
            // Of two refusals the first one says more: the new calls name the parameter that is wrong.
            make(root, plan, Way::Classic, None, cgroups)
                .map_err(|second| if second.errno() == e.errno() { e } else { second })
        }
        other => other,
    }
}

fn make(
    root: &mut Root,
    plan: &MountPlan,
    way: Way,
    source: Option<OwnedFd>,
    cgroups: &CgroupMounts,
) -> Result<()> {
    if is_plain(root, plan) && mount_in_place(root, plan)? == InPlace::Done {
        return Ok(());
    }
    let attached = match &plan.kind {
        MountKind::Bind { from, depth } => bind(root, plan, way, source, from, *depth)?,
        MountKind::Remount => return remount(root, plan),
        MountKind::Proc => filesystem(root, plan, way, Links::Refuse)?,
        MountKind::Sysfs => sysfs(root, plan, way)?,
        MountKind::Tmpfs => tmpfs(root, plan, way)?,
        MountKind::Mqueue | MountKind::Other => filesystem(root, plan, way, Links::Follow)?,
        MountKind::Cgroup(view) => mount_cgroup(root, plan, way, *view, cgroups)?,
    };
    if let (MountKind::Mqueue, Some(label)) = (&plan.kind, &root.label) {
        // mqueue takes no context= parameter.
        let place = fd_path(attached.as_fd());
        fs::set_xattr(&place, c"security.selinux", label.to_bytes()).doing(|| "label the message queues")?;
    }
    for propagation in &plan.options.propagation {
        propagate(attached.as_fd(), *propagation)
            .doing(|| format!("set propagation to {}", propagation.word()))?;
    }
    if is_late_readonly(plan) {
        root.late_readonly.push(attached);
    }
    Ok(())
}

/// A new file system that needs nothing done to it before it is attached, nor afterwards.
fn is_plain(root: &Root, plan: &MountPlan) -> bool {
    let new = matches!(
        plan.kind,
        MountKind::Proc | MountKind::Sysfs | MountKind::Tmpfs | MountKind::Mqueue | MountKind::Other
    );
    let o = &plan.options;
    let deep = o.deep_set.0 != 0 || o.deep_clear.0 != 0;
    let labelled_later = plan.kind == MountKind::Mqueue && root.label.is_some();
    let simple = new && o.fits_page();
    simple && !deep && !labelled_later && !o.copy_up && o.propagation.is_empty() && !is_late_readonly(plan)
}

#[derive(PartialEq, Eq)]
enum InPlace {
    Done,
    /// The kernel refused; the other way says why, or has a substitute.
    Refused,
}

fn mount_in_place(root: &mut Root, plan: &MountPlan) -> Result<InPlace> {
    let links = match plan.kind {
        MountKind::Proc | MountKind::Sysfs => Links::Refuse,
        _ => Links::Follow,
    };
    let (target, origin) = find_dir_target(root, plan, links)?;
    let (flags, _) = first_flags(plan);
    let inherited = inherited_mode(plan, target.as_fd(), origin)?;
    let data = match inherited {
        Some(mode) => Cow::Owned(data_with_mode(plan, mode)),
        None => Cow::Borrowed(plan.options.data.as_c_str()),
    };
    match mount_here(target.as_fd(), &plan.source, &plan.fstype, flags, &data) {
        Ok(()) => Ok(InPlace::Done),
        Err(_) => Ok(InPlace::Refused),
    }
}

/// Without `mode=` a tmpfs takes the mode of the directory that it covers, if the image has one.
fn inherited_mode(plan: &MountPlan, target: BorrowedFd<'_>, origin: Origin) -> Result<Option<u32>> {
    let asked = plan.kind == MountKind::Tmpfs && !plan.options.has_parameter("mode");
    if !asked || origin == Origin::Made {
        return Ok(None);
    }
    Ok(Some(fs::fstat(target)?.mode & 0o7777))
}

fn data_with_mode(plan: &MountPlan, mode: u32) -> CString {
    let data = &plan.options.data;
    let sep = if data.is_empty() { "" } else { "," };
    // Null bytes were refused by the planner.
    CString::new(format!("mode={mode:04o}{sep}{}", data.to_string_lossy())).unwrap_or_default()
}

/// tmpfs and /dev stay writable until everything that belongs into them is made.
fn is_late_readonly(plan: &MountPlan) -> bool {
    let late = plan.kind == MountKind::Tmpfs || plan.destination.is("dev");
    late && plan.options.flags.any(libc::MS_RDONLY)
}

/// The options of a bind for now, without the read-only that comes later.
pub(super) fn bind_options(plan: &MountPlan) -> Cow<'_, Options> {
    let mut options = Cow::Borrowed(&plan.options);
    if is_late_readonly(plan) {
        options.to_mut().flags.0 &= !libc::MS_RDONLY;
    }
    options
}

/// The flags and attributes for now, without the read-only that comes later.
fn first_flags(plan: &MountPlan) -> (u64, u64) {
    let shape = libc::MS_BIND | libc::MS_REC | libc::MS_REMOUNT;
    let (flags, attrs) = (plan.options.flags.0 & !shape, plan.options.attrs());
    if is_late_readonly(plan) {
        (flags & !libc::MS_RDONLY, attrs & !mount::ATTR_RDONLY)
    } else {
        (flags, attrs)
    }
}

/// A new file system of the type that config.json names.
pub(super) fn new_filesystem(
    root: &mut Root,
    plan: &MountPlan,
    way: Way,
    mode: Option<u32>,
) -> sys::Result<OwnedFd> {
    let (flags, attrs) = first_flags(plan);
    let options = &plan.options;
    let mut parameters = Cow::Borrowed(options.parameters.as_slice());
    let mut data = Cow::Borrowed(options.data.as_c_str());
    if let Some(mode) = mode {
        data = Cow::Owned(data_with_mode(plan, mode));
        parameters.to_mut().push(super::options::Parameter {
            key: c"mode".to_owned(),
            value: CString::new(format!("{mode:04o}")).ok(),
        });
    }
    let way = if options.classic_only { Way::Classic } else { way };
    // The kernel's own file systems share one superblock or have nothing to write: only the mount is read-only.
    let own = matches!(plan.kind, MountKind::Proc | MountKind::Sysfs | MountKind::Mqueue);
    let new = NewFs {
        fstype: &plan.fstype,
        source: &plan.source,
        parameters: &parameters,
        data: &data,
        flags: if own && way == Way::Descriptors {
            flags & !libc::MS_RDONLY
        } else {
            flags
        },
        attrs,
    };
    root.new_filesystem(way, &new)
}

/// Everything that comes between making a tree and using it.
pub(super) fn finish(
    root: &Root,
    plan: &MountPlan,
    way: Way,
    tree: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
) -> Result<()> {
    apply_deep(plan, tree)?;
    Ok(root.attach(way_of(plan, way), tree, target)?)
}

/// A tree that had to be made the classic way has to be moved the classic way.
fn way_of(plan: &MountPlan, way: Way) -> Way {
    if plan.options.classic_only {
        Way::Classic
    } else {
        way
    }
}

/// `rro` and its like. There is no other way to do this than mount_setattr(2): without it the promise of a
/// recursively read-only mount cannot be kept, and that is an error.
fn apply_deep(plan: &MountPlan, tree: BorrowedFd<'_>) -> Result<()> {
    let (set, clear) = (plan.options.deep_set.0, plan.options.deep_clear.0);
    if set == 0 && clear == 0 {
        return Ok(());
    }
    let change = Change {
        set,
        clear,
        ..Change::default()
    };
    mount::mount_setattr(tree, Reach::Recursive, &change).doing(|| "failed to set recursive mount attributes")
}

fn filesystem(root: &mut Root, plan: &MountPlan, way: Way, links: Links) -> Result<OwnedFd> {
    let target = open_dir_target(root, plan, links)?;
    let tree = new_filesystem(root, plan, way, None)?;
    finish(root, plan, way, tree.as_fd(), target.as_fd())?;
    Ok(tree)
}

/// The directory to mount on.
pub(super) fn open_dir_target(root: &Root, plan: &MountPlan, links: Links) -> Result<OwnedFd> {
    Ok(find_dir_target(root, plan, links)?.0)
}

fn find_dir_target(root: &Root, plan: &MountPlan, links: Links) -> Result<(OwnedFd, Origin)> {
    let (target, origin) = match root.find_or_make_dir(&plan.destination, links) {
        // /proc and /sys decide what is masked: a link there would lead the masks astray (CVE-2019-19921).
        Err(e) if links == Links::Refuse && (e.is(libc::ELOOP) || e.is(libc::ENOTDIR)) => {
            return Err(Error::new(format!(
                "filesystem {:?} must be mounted on ordinary directory",
                plan.fstype.to_string_lossy()
            )));
        }
        other => other.doing(|| "create mountpoint")?,
    };
    check_target(
        root,
        &plan.destination,
        target.as_fd(),
        plan.kind == MountKind::Proc,
    )?;
    Ok((target, origin))
}

/// A link of the image may lead a harmless destination onto the root itself or into procfs.
fn check_target(root: &Root, path: &RootPath, target: BorrowedFd<'_>, is_proc: bool) -> Result<()> {
    let at = fs::fstat(target)?;
    if root.is_top(&at) && fs::mount_id(target)?.0 == fs::mount_id(root.as_fd())?.0 {
        return Err(Error::new(
            "mounting over the root of the container is not supported",
        ));
    }
    if path.is("proc") || PROC_OVERLAYS.iter().any(|p| path.is(p)) || is_proc {
        return Ok(());
    }
    if fs::fs_magic(target)? == PROC_MAGIC {
        return Err(Error::new(format!(
            "{:?} cannot be mounted because it is inside /proc",
            path.to_string()
        )));
    }
    Ok(())
}

/// A new sysfs shows the network namespace of its maker, so it needs one of the container's own; in a user namespace
/// the kernel refuses it otherwise, and the host's is bound instead.
fn sysfs(root: &mut Root, plan: &MountPlan, way: Way) -> Result<OwnedFd> {
    let target = open_dir_target(root, plan, Links::Refuse)?;
    let tree = match new_filesystem(root, plan, way, None) {
        Err(e) if e.is(libc::EPERM) => {
            let host = HostPath::of(Path::new("/sys")).map_err(Error::new)?;
            let tree = root.clone_host(way, &host, Depth::Recursive).map_err(|_| e)?;
            root.set_bind_flags(way, tree.as_fd(), &plan.options)?;
            tree
        }
        other => other?,
    };
    finish(root, plan, way, tree.as_fd(), target.as_fd())?;
    Ok(tree)
}

fn tmpfs(root: &mut Root, plan: &MountPlan, way: Way) -> Result<OwnedFd> {
    let (target, origin) = find_dir_target(root, plan, Links::Follow)?;
    let mode = inherited_mode(plan, target.as_fd(), origin)?;
    let tree = new_filesystem(root, plan, way, mode)?;
    if plan.options.copy_up {
        copy_up(target.as_fd(), tree.as_fd()).doing(|| "tmpcopyup")?;
    }
    finish(root, plan, way, tree.as_fd(), target.as_fd())?;
    Ok(tree)
}

fn bind(
    root: &mut Root,
    plan: &MountPlan,
    way: Way,
    source: Option<OwnedFd>,
    from: &HostPath,
    depth: Depth,
) -> Result<OwnedFd> {
    let (tree, ready) = match source {
        Some(tree) => (tree, true),
        None => (
            root.clone_host(way, from, depth)
                .map_err(|e| source_error(from, e))?,
            false,
        ),
    };
    if plan.destination.is("proc") && fs::fs_magic(tree.as_fd())? != PROC_MAGIC {
        return Err(Error::new(format!(
            "{:?} cannot be mounted because it is not of type proc",
            plan.destination.to_string()
        )));
    }
    let is_dir = fs::fstat(tree.as_fd())?.is_dir();
    let links = if plan.destination.is("proc") || plan.destination.is("sys") {
        Links::Refuse
    } else {
        Links::Follow
    };
    let target = if is_dir {
        open_dir_target(root, plan, links)?
    } else {
        let target = root
            .make_file(&plan.destination, links)
            .doing(|| "create mountpoint")?;
        check_target(root, &plan.destination, target.as_fd(), false)?;
        target
    };
    let options = bind_options(plan);
    if !ready && options.changes_bind() {
        root.set_bind_flags(way, tree.as_fd(), &options)?;
    }
    if ready {
        root.attach(way, tree.as_fd(), target.as_fd())?;
    } else {
        finish(root, plan, way, tree.as_fd(), target.as_fd())?;
    }
    Ok(tree)
}

/// The caller is interested in the source, not in the name of our system call.
pub(super) fn source_error(from: &HostPath, e: sys::Error) -> Error {
    if e.is(libc::ENOENT) || e.is(libc::EACCES) || e.is(libc::ENOTDIR) {
        return sys::Error::new("stat", from.to_string(), e.errno()).into();
    }
    e.into()
}

/// `remount`: with `bind` the flags of the mount, else the parameters of its file system as well.
fn remount(root: &mut Root, plan: &MountPlan) -> Result<()> {
    let target = root.open_path(&plan.destination, Links::Follow)?;
    let options = &plan.options;
    if !options.flags.any(libc::MS_BIND) {
        reconfigure(target.as_fd(), plan)?;
    }
    if options.changes_bind() {
        match root.set_bind_flags(Way::Descriptors, target.as_fd(), options) {
            Err(e) if is_refused(&e) => root.set_bind_flags(Way::Classic, target.as_fd(), options)?,
            other => other?,
        }
    }
    apply_deep(plan, target.as_fd())?;
    for propagation in &options.propagation {
        propagate(target.as_fd(), *propagation)?;
    }
    Ok(())
}

fn reconfigure(target: BorrowedFd<'_>, plan: &MountPlan) -> Result<()> {
    let options = &plan.options;
    let picked = match mount::fspick(target) {
        Ok(context) => context,
        Err(e) if is_refused(&e) => {
            let flags = options.flags.0 & !libc::MS_REC;
            return Ok(mount::mount(
                &plan.source,
                &fd_path(target),
                &plan.fstype,
                flags,
                &options.data,
            )?);
        }
        Err(e) => return Err(e.into()),
    };
    let set = |key: &CStr, value: Option<&CStr>| mount::fsconfig_set(picked.as_fd(), key, value);
    let readonly = options.flags.any(libc::MS_RDONLY);
    set(if readonly { c"ro" } else { c"rw" }, None)?;
    for p in &options.parameters {
        set(&p.key, p.value.as_deref())?;
    }
    Ok(mount::fsconfig_reconfigure(picked.as_fd())?)
}

/// Makes the tmpfs mounts and /dev read-only that asked for it, now that nothing is added to them any more.
pub fn apply_late_readonly(root: &mut Root) -> Result<()> {
    for tree in std::mem::take(&mut root.late_readonly) {
        readonly_attached(root, tree.as_fd()).doing(|| "remount read-only")?;
    }
    Ok(())
}

/// Makes an attached mount read-only, by whichever call answers.
pub(super) fn readonly_attached(root: &Root, tree: BorrowedFd<'_>) -> sys::Result<()> {
    match root.set_readonly(Way::Descriptors, tree) {
        Err(e) if is_refused(&e) => root.set_readonly(Way::Classic, tree),
        other => other,
    }
}
