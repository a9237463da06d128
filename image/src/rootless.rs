//! The user namespace of an ordinary user: in it, layers can have many owners and overlays can be mounted.
//!
//! May not: be entered by a process that has threads (unshare(2), CLONE_NEWUSER).

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
    sys::process::unshare(libc::CLONE_NEWNS as u64)?;
    // What is mounted here is nobody else's.
    let change = sys::mount::Change {
        propagation: libc::MS_SLAVE,
        ..sys::mount::Change::default()
    };
    sys::mount::mount_setattr_at(c"/", sys::mount::Reach::Recursive, &change)?;
    Ok(why)
}

fn not_allowed(e: Error) -> Error {
    let hint = if Path::new("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists() {
        "the sysctl kernel.apparmor_restrict_unprivileged_userns forbids it to ordinary users where it is 1"
    } else {
        "the sysctls kernel.unprivileged_userns_clone and user.max_user_namespaces decide who may"
    };
    Error::of(Kind::Unsupported, format!("{e}; {hint}"))
}
