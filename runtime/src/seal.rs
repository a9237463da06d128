//! Running from an executable that the container cannot write to (CVE-2019-5736).
//!
//! A process that enters a container can be looked at through /proc/PID/exe there. So the verbs that enter one run
//! from a read-only clone of our own mount, made by one re-exec at their start; a sealed memfd where that is not
//! permitted. Later, nothing re-executes.
//!
//! May not: be skipped silently. Where no way works, the verb fails.

use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use sys::process::ExecStrings;

/// Returns when this process runs sealed; otherwise replaces it by a sealed copy of itself.
pub fn ensure_sealed() -> Result<()> {
    let exe =
        sys::fs::open(Path::new("/proc/self/exe"), libc::O_RDONLY, 0).doing(|| "open our own executable")?;
    if is_sealed(exe.as_fd())? {
        return Ok(());
    }
    let sealed = match read_only_clone(&exe) {
        Ok(fd) => fd,
        // No CAP_SYS_ADMIN, an old kernel or a filter: copy ourselves into memory.
        Err(_) => memory_copy(&exe).doing(|| "seal a copy of our own executable")?,
    };
    let args = ExecStrings::new(std::env::args_os().map(|a| a.as_bytes().to_vec()))?;
    let env =
        ExecStrings::new(std::env::vars_os().map(|(k, v)| [k.as_bytes(), b"=", v.as_bytes()].concat()))?;
    Err(Error::from(sys::process::exec_fd(sealed.as_fd(), &args, &env))
        .doing("run from the sealed executable"))
}

/// Sealed: a memfd with every seal; a read-only mount, which the container cannot remount because it is not in its
/// mount namespace; or a file that our user may not write anyway (an ordinary user's runtime installed by root).
fn is_sealed(exe: BorrowedFd<'_>) -> Result<bool> {
    if sys::fs::is_sealed(exe) {
        return Ok(true);
    }
    if sys::fs::fstatfs(exe)?.flags & libc::ST_RDONLY != 0 {
        return Ok(true);
    }
    let (euid, _) = sys::process::effective_ids();
    let stat = sys::fs::fstat(exe)?;
    Ok(euid != 0 && stat.uid != euid && sys::fs::access(Path::new("/proc/self/exe"), libc::W_OK).is_err())
}

fn read_only_clone(exe: &OwnedFd) -> sys::Result<OwnedFd> {
    use sys::mount::{ATTR_RDONLY, Change, Reach};
    let tree = sys::mount::clone_tree(exe.as_fd(), Reach::Single)?;
    sys::mount::mount_setattr(
        tree.as_fd(),
        Reach::Single,
        &Change {
            set: ATTR_RDONLY,
            ..Change::default()
        },
    )?;
    Ok(tree)
}

fn memory_copy(exe: &OwnedFd) -> sys::Result<OwnedFd> {
    let size = sys::fs::fstat(exe.as_fd())?.size;
    let copy = sys::fs::memfd_executable(c"runb")?;
    sys::fs::copy_file(exe.as_fd(), copy.as_fd(), size)?;
    sys::fs::seal(copy.as_fd())?;
    Ok(copy)
}
