//! The user namespace of an ordinary user: in it, layers can have many owners and overlays can be mounted.
//!
//! The ids are granted by newuidmap(1) and newgidmap(1), which have to be run from outside. So a copy of this program is started first; it
//! waits until we are inside, maps us, and ends.
//!
//! May not: be entered by a process that has threads (unshare(2), CLONE_NEWUSER).

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bundle::IdMaps;
use crate::{Context, Error, Kind, Result};

/// The hidden command by which the copy is called; its operands are a pid and the user's and group's id.
pub const MAPPER: &str = "__map-ids";

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
    let (_, why) = IdMaps::of_user(uid, gid)?;
    let failed = || "failed to map the ids of a user namespace";
    let mut mapper = Command::new("/proc/self/exe")
        .arg(MAPPER)
        .args([std::process::id().to_string(), uid.to_string(), gid.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context(failed())?;
    let entered =
        sys::process::unshare((libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64).map_err(not_allowed);
    if let Some(mut stdin) = mapper.stdin.take() {
        // One byte to go on; nothing, and it ends.
        if entered.is_ok() {
            stdin.write_all(b"1").context(failed())?;
        }
    }
    let output = mapper.wait_with_output().context(failed())?;
    entered?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::new(words)).context(failed());
    }
    // What is mounted here is nobody else's.
    let change = sys::mount::Change {
        propagation: libc::MS_SLAVE,
        ..sys::mount::Change::default()
    };
    sys::mount::mount_setattr_at(c"/", sys::mount::Reach::Recursive, &change)?;
    Ok(why)
}

fn not_allowed(e: sys::Error) -> Error {
    let hint = if Path::new("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").exists() {
        "; sysctl kernel.apparmor_restrict_unprivileged_userns=0 allows it"
    } else if e.is(libc::ENOSPC) {
        "; the sysctl user.max_user_namespaces limits their number"
    } else {
        "; the sysctls kernel.unprivileged_userns_clone and user.max_user_namespaces decide"
    };
    Error::of(
        Kind::Unsupported,
        format!("an ordinary user may not make user namespaces here ({e}){hint}"),
    )
}

/// What the copy does: waits for its parent to be inside, and maps `pid`.
///
/// # Errors
/// The ids are not granted.
pub fn map(pid: u32, uid: u32, gid: u32) -> Result<()> {
    let mut go = [0; 1];
    if std::io::stdin()
        .read(&mut go)
        .context("failed to read from the parent")?
        == 0
    {
        return Ok(());
    }
    let (maps, why) = IdMaps::of_user(uid, gid)?;
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::write(&path, text).context(format!("failed to write {path}"))
    };
    if why.is_some() {
        // user_namespaces(7): without a privilege, groups have to be given up first.
        write("setgroups", "deny")?;
        write("uid_map", &format!("0 {uid} 1"))?;
        return write("gid_map", &format!("0 {gid} 1"));
    }
    for (program, ranges) in [("newuidmap", &maps.uids), ("newgidmap", &maps.gids)] {
        let mut command = Command::new(program);
        command.arg(pid.to_string());
        for (inside, outside, size) in ranges {
            command.args([inside.to_string(), outside.to_string(), size.to_string()]);
        }
        let output = command.output().context(format!("failed to run {program}"))?;
        if !output.status.success() {
            return Err(Error::new(format!(
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
    }
    Ok(())
}
