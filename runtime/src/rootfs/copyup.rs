//! `tmpcopyup`: a new tmpfs begins with what the directory that it covers held.
//!
//! May not: follow a link, or take a path. Both trees are walked by descriptor, and the copy goes into a tmpfs that is
//! not attached yet, so nothing in the container can redirect it.

use crate::error::{Doing, Error, Result};
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use sys::fs::{self, Stat};

/// Deeper than any sane image; ends a copy that would otherwise exhaust our descriptors.
const DEPTH_MAX: usize = 128;

/// Copies what is in `from` into `to`, with modes and owners.
pub(super) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    super::root::with_open_umask(|| copy_entries(from, to, 0))
}

fn copy_entries(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(Error::new("directories are nested too deeply"));
    }
    for name in fs::entries(from)? {
        copy_entry(from, to, &name, depth).doing(|| format!("copy {}", name.to_string_lossy()))?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &OsString, depth: usize) -> Result<()> {
    let name = Path::new(name);
    let seen = fs::openat(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = fs::fstat(seen.as_fd())?;
    match stat.file_type() {
        libc::S_IFDIR => {
            fs::mkdirat(to, name, stat.mode & 0o7777)?;
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let new = fs::openat(to, name, flags, 0)?;
            copy_entries(seen.as_fd(), new.as_fd(), depth + 1)?;
            give_owner(to, name, &stat)?;
            Ok(fs::fchmod(new.as_fd(), stat.mode & 0o7777)?)
        }
        libc::S_IFREG => copy_file(from, to, name, &stat),
        libc::S_IFLNK => {
            let target = fs::readlinkat(seen.as_fd(), Path::new(""))?;
            fs::symlinkat(&target, to, name)?;
            give_owner(to, name, &stat)
        }
        // Nodes, fifos and sockets: as far as we are allowed to make them.
        _ => match fs::mknodat(to, name, stat.mode, stat.rdev) {
            Err(e) if e.is(libc::EPERM) => Ok(()),
            other => {
                other?;
                give_owner(to, name, &stat)
            }
        },
    }
}

fn copy_file(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &Path, seen: &Stat) -> Result<()> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let source = fs::openat(from, name, flags, 0)?;
    let stat = fs::fstat(source.as_fd())?;
    if (stat.dev, stat.ino) != (seen.dev, seen.ino) {
        return Err(Error::new("it was exchanged while it was copied"));
    }
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let new = fs::openat(to, name, flags, 0o600)?;
    fs::copy_file(source.as_fd(), new.as_fd(), stat.size)?;
    give_owner(to, name, &stat)?;
    // After the owner: chown takes set-user-id bits away.
    Ok(fs::fchmod(new.as_fd(), stat.mode & 0o7777)?)
}

/// Owners that a user namespace cannot express stay with its root.
fn give_owner(to: BorrowedFd<'_>, name: &Path, stat: &Stat) -> Result<()> {
    if stat.uid == 0 && stat.gid == 0 {
        return Ok(());
    }
    match fs::fchownat(to, name, stat.uid, stat.gid) {
        Err(e) if e.is(libc::EINVAL) || e.is(libc::EPERM) => Ok(()),
        other => Ok(other?),
    }
}
