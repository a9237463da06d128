//! Sharing with a container that runs: its /dev/shm, which lies in a mount namespace that nobody else is in.
//!
//! May not: decide which container. Pids are compared with start times by who looks for containers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use image::{Context, Error, Result};
use sys::fs::{RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};
use sys::mount::Reach;

use super::modes::{self, Mode};
use crate::model::HostConfig;

/// Whether others may join the ipc namespace of this container, which has to say so (`--ipc shareable`).
///
/// # Errors
/// They may not, in Docker's words.
pub fn shares_ipc(id: &str, host: &HostConfig) -> Result<()> {
    match modes::ipc(&host.ipc_mode)? {
        Mode::Shareable | Mode::Host | Mode::Container(_) => Ok(()),
        Mode::Private | Mode::None => Err(Error::invalid(format!(
            "failed to join IPC namespace: container {id}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
        ))),
    }
}

/// What a process has mounted at /dev/shm, as a mount that is nowhere yet. Mounts of another namespace cannot be bound; a copy
/// that was made there can be attached here.
///
/// # Errors
/// It has ended, or has something else there.
pub fn shared_memory(pid: i32) -> Result<OwnedFd> {
    let failed = format!("failed to take /dev/shm of process {pid}");
    // What a thread enters it cannot leave for sure; this one ends.
    let copy = std::thread::scope(|scope| scope.spawn(|| copy_of(pid)).join());
    match copy {
        Ok(copy) => copy.context(failed),
        Err(_) => Err(Error::new(failed)),
    }
}

fn copy_of(pid: i32) -> Result<OwnedFd> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    let namespace = sys::fs::open(Path::new(&format!("/proc/{pid}/ns/mnt")), libc::O_RDONLY, 0)?;
    // The kernel lets nobody into a mount namespace who shares a root directory with another thread.
    sys::process::unshare(libc::CLONE_FS as u64)?;
    sys::process::setns(namespace.as_fd(), libc::CLONE_NEWNS as u64)?;
    // We are at the root of that namespace. Its owner may have put a link there.
    let resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let place = sys::fs::openat2(sys::fs::cwd(), Path::new("/dev/shm"), flags, 0, resolve)?;
    if sys::fs::fs_magic(place.as_fd())? != TMPFS_MAGIC {
        return Err(Error::invalid("it is not a tmpfs"));
    }
    Ok(sys::mount::clone_tree(place.as_fd(), Reach::Single)?)
}

/// Mounts it in the mount namespace of this thread, on a directory that is there.
///
/// # Errors
/// The kernel refuses.
pub fn attach(tree: &OwnedFd, directory: &Path) -> Result<()> {
    let failed = || format!("failed to mount {}", directory.display());
    let target = sys::fs::open(directory, libc::O_PATH | libc::O_DIRECTORY, 0).context(failed())?;
    sys::mount::move_mount(tree.as_fd(), target.as_fd()).context(failed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn memory_of_another_mount_namespace() {
        if sys::cred::effective_uid() != 0 {
            println!("skip engine.join: not root");
            return;
        }
        let script =
            "mount -t tmpfs shm /dev/shm && echo theirs > /dev/shm/file && echo ready && exec sleep 100";
        let mut donor = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        donor.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let pid = donor.id().cast_signed();
        let directory = std::env::temp_dir().join(format!("brig-join-{pid}"));
        std::fs::create_dir(&directory).unwrap();
        let here = directory.clone();
        // As a start does: a thread with a mount namespace of its own.
        let read = std::thread::spawn(move || {
            sys::process::unshare(libc::CLONE_NEWNS as u64).unwrap();
            let private = sys::mount::Change {
                propagation: libc::MS_PRIVATE,
                ..Default::default()
            };
            sys::mount::mount_setattr_at(c"/", Reach::Recursive, &private).unwrap();
            attach(&shared_memory(pid).unwrap(), &here).unwrap();
            std::fs::write(here.join("answer"), "ours").unwrap();
            std::fs::read_to_string(here.join("file")).unwrap()
        });
        assert_eq!(read.join().unwrap(), "theirs\n");
        let answer = format!("/proc/{pid}/root/dev/shm/answer");
        assert_eq!(std::fs::read_to_string(answer).unwrap(), "ours");
        donor.kill().unwrap();
        donor.wait().unwrap();
        assert!(shared_memory(pid).is_err());
        std::fs::remove_dir(&directory).unwrap();
    }

    #[test]
    fn who_shares() {
        let of = |mode: &str| {
            let host = HostConfig {
                ipc_mode: mode.into(),
                ..HostConfig::default()
            };
            shares_ipc("x", &host).map_err(|e| e.to_string())
        };
        assert_eq!(of("shareable"), Ok(()));
        assert_eq!(of("host"), Ok(()));
        assert!(
            of("private")
                .unwrap_err()
                .contains("container x: non-shareable IPC")
        );
    }
}
