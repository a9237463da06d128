//! The user namespace of an ordinary user: in it, layers can have many owners and overlays can be mounted.
//!
//! May not: be entered by a process that has threads (unshare(2), CLONE_NEWUSER).

use std::os::fd::AsFd as _;
use std::path::Path;

use crate::bundle::IdMaps;
use crate::{Error, Kind, Result};

/// Whether this process is an ordinary user of the machine, who needs one.
pub fn is_needed() -> bool {
    sys::cred::effective_uid() != 0
}

/// Enters a user namespace and a mount namespace. Why there is only one id in it, if so.
///
/// # Errors
/// The kernel or its administrator does not allow it ([`Kind::Unsupported`]), or the ids cannot be mapped.
pub fn enter() -> Result<Option<String>> {
    let (uid, gid) = (sys::cred::effective_uid(), sys::cred::effective_gid());
    let (maps, why) = IdMaps::of_user(uid, gid)?;
    maps.enter().map_err(not_allowed)?;
    own_mounts()?;
    Ok(why)
}

/// Enters the user namespace of a process of ours, whose files and processes only those in it may touch, and a mount namespace of our own.
/// Why there is only one id in it, if so.
///
/// # Errors
/// The process has ended, or is not ours.
pub fn join(pid: i32) -> Result<Option<String>> {
    let (_, why) = IdMaps::of_user(sys::cred::effective_uid(), sys::cred::effective_gid())?;
    let path = format!("/proc/{pid}/ns/user");
    let namespace = sys::fs::open(Path::new(&path), libc::O_RDONLY, 0)?;
    sys::process::setns(namespace.as_fd(), libc::CLONE_NEWUSER as u64)?;
    own_mounts()?;
    Ok(why)
}

fn own_mounts() -> Result<()> {
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    // What is mounted here is nobody else's.
    let change = sys::mount::Change {
        propagation: libc::MS_SLAVE,
        ..sys::mount::Change::default()
    };
    Ok(sys::mount::mount_setattr_at(
        c"/",
        sys::mount::Reach::Recursive,
        &change,
    )?)
}

fn not_allowed(e: Error) -> Error {
    let hint = if Path::new("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists() {
        "the sysctl kernel.apparmor_restrict_unprivileged_userns forbids it to ordinary users where it is 1"
    } else {
        "the sysctls kernel.unprivileged_userns_clone and user.max_user_namespaces decide who may"
    };
    Error::of(Kind::Unsupported, format!("{e}; {hint}"))
}
