//! The container's root becomes `/`.
//!
//! May not: be followed by a mount onto a path. What comes later works on descriptors that were opened in the new root.

use super::options::{Depth, Propagation};
use super::paths::HostPath;
use super::plan::{Pivot, RootfsPlan};
use super::root::Root;
use super::tree::{is_refused, ms_flags};
use crate::error::{Doing, Result};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::fs;
use sys::{mount, mountinfo};

const SLAVE: Propagation = Propagation {
    kind: libc::MS_SLAVE,
    depth: Depth::Recursive,
};

/// Makes the root the `/` of this process and its mount namespace, lets go of the host's tree, and sets
/// `linux.rootfsPropagation` on the new `/`.
pub fn apply_pivot(root: &mut Root, plan: &RootfsPlan) -> Result<()> {
    root.close_staging().doing(|| "remove the staging area")?;
    match plan.pivot {
        Pivot::PivotRoot => {
            pivot(root.as_fd(), plan.host_propagation).doing(|| "error jailing process inside rootfs")?
        }
        Pivot::MoveMount => move_root(root, &plan.path).doing(|| "error jailing process inside rootfs")?,
    }
    if let Some(propagation) = plan.root_propagation {
        change_root_propagation(propagation).doing(|| "error setting the propagation of /")?;
    }
    Ok(())
}

fn change_root_propagation(propagation: Propagation) -> Result<()> {
    let change = mount::Change {
        propagation: propagation.kind,
        ..mount::Change::default()
    };
    match mount::mount_setattr_at(c"/", propagation.depth.into(), &change) {
        Err(e) if is_refused(&e) => Ok(mount::mount(c"", c"/", c"", ms_flags(propagation), c"")?),
        other => Ok(other?),
    }
}

/// pivot_root(2) with the same directory twice puts the old root on top of the new one, so that no directory for it
/// is needed in the image.
fn pivot(new: BorrowedFd<'_>, host: Propagation) -> Result<()> {
    let old = fs::open(Path::new("/"), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    fs::fchdir(new)?;
    mount::pivot_root(c".", c".")?;
    fs::fchdir(old.as_fd())?;
    // Where mounts are still shared with the host's, the detaching below would travel there.
    if !host.cuts_off() {
        slave_here(old.as_fd())?;
    }
    mount::umount(c".", libc::MNT_DETACH)?;
    Ok(fs::chdir(Path::new("/"))?)
}

/// /proc may be the container's by now, so the classic call names the working directory instead of a descriptor.
fn slave_here(old: BorrowedFd<'_>) -> Result<()> {
    let change = mount::Change {
        propagation: libc::MS_SLAVE,
        ..mount::Change::default()
    };
    match mount::mount_setattr(old, mount::Reach::Recursive, &change) {
        Err(e) if is_refused(&e) => Ok(mount::mount(c"", c".", c"", ms_flags(SLAVE), c"")?),
        other => Ok(other?),
    }
}

/// Without pivot_root(2): the mount is moved onto `/`. The host's tree stays mounted under it, so full mounts of procfs
/// and sysfs that would allow the container to mount its own unmasked ones are taken away first.
fn move_root(root: &Root, path: &HostPath) -> Result<()> {
    hide_host_views(path)?;
    fs::fchdir(root.as_fd())?;
    let top = fs::open(Path::new("/"), libc::O_PATH | libc::O_DIRECTORY, 0)?;
    match mount::move_mount(root.as_fd(), top.as_fd()) {
        Err(e) if is_refused(&e) => mount::mount(c".", c"/", c"", libc::MS_MOVE, c"")?,
        other => other?,
    }
    fs::chroot(Path::new("."))?;
    Ok(fs::chdir(Path::new("/"))?)
}

/// Unmounts every full procfs and sysfs outside the container's root, or covers it where it is locked.
fn hide_host_views(rootfs: &HostPath) -> Result<()> {
    for place in full_views(&mountinfo::own_table()?, rootfs) {
        let Ok(at) = fs::open(&place, libc::O_PATH | libc::O_DIRECTORY, 0) else {
            continue;
        };
        // By working directory: /proc, which descriptors would be named by, is among what goes.
        fs::fchdir(at.as_fd())?;
        slave_here(at.as_fd())?;
        match mount::umount(c".", libc::MNT_DETACH) {
            Err(e) if e.is(libc::EINVAL) || e.is(libc::EPERM) => {
                mount::mount(c"tmpfs", c".", c"tmpfs", libc::MS_RDONLY, c"")?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// The mount points of a table whose file system is procfs or sysfs, shown from its top, outside `rootfs`.
fn full_views(table: &[u8], rootfs: &HostPath) -> Vec<PathBuf> {
    mountinfo::mounts(table)
        .filter(|m| matches!(m.kind(), b"proc" | b"sysfs") && m.root() == Path::new("/"))
        .map(|m| m.mountpoint())
        .filter(|place| !place.starts_with(rootfs.as_path()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_views_of_the_host_are_found() {
        let table = b"22 1 0:20 / /proc rw - proc proc rw\n\
                     23 1 0:21 /sub /mnt/part rw - proc proc rw\n\
                     24 1 0:22 / /a\\040b rw,nosuid shared:5 - sysfs sysfs rw\n\
                     25 1 0:23 / /b\\040c/rootfs/proc rw - proc proc rw\n\
                     26 1 0:24 / /tmp rw - tmpfs tmpfs rw\n";
        let root = HostPath::new(Path::new("/b c"), "rootfs").unwrap();
        assert_eq!(full_views(table, &root), [Path::new("/proc"), Path::new("/a b")]);
    }
}
