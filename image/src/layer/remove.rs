//! Removal of a tree, whatever is in it.
//!
//! May not: follow a link, or leave the directory it was told.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::fs;

use crate::{Context, Result};

/// Directories that are open at a time; what lies deeper is moved up first, as an archive may nest deeper than a process may have
/// descriptors.
const DEEPEST: usize = 64;

/// Removes `name` in `directory`, and everything below. That there is no such name is no failure.
///
/// # Errors
/// What the kernel refuses.
pub fn remove(directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    remove_all(directory, name).context(format!("failed to remove {}", name.display()))
}

/// Removes what `path` names, and everything below.
///
/// # Errors
/// As [`remove`]; or the directory that it is in cannot be opened.
pub fn remove_path(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(crate::Error::invalid(format!(
            "{} is not to be removed",
            path.display()
        )));
    };
    let parent = fs::open(parent, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    remove(parent.as_fd(), Path::new(name))
}

/// A directory that is being emptied.
struct Level {
    fd: OwnedFd,
    name: OsString,
    left: Vec<OsString>,
}

fn remove_all(directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    if unlinked(directory, name)? {
        return Ok(());
    }
    let mut levels = vec![open(directory, name)?];
    let mut moved = 0u64;
    loop {
        let depth = levels.len();
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        let Some(child) = level.left.pop() else {
            let done = levels.pop();
            let parent = levels.last().map_or(directory, |l| l.fd.as_fd());
            if let Some(done) = done {
                rmdir(parent, Path::new(&done.name))?;
            }
            continue;
        };
        if unlinked(level.fd.as_fd(), Path::new(&child))? {
            continue;
        }
        if depth < DEEPEST {
            match open(level.fd.as_fd(), Path::new(&child)) {
                // Somebody else removes the same tree. Neither may stop for what the other has done, or something stays.
                Err(e) if e.kind() == crate::Kind::NotFound => {}
                inner => levels.push(inner?),
            }
            continue;
        }
        let up = move_up(&levels, &child, &mut moved)?;
        if let Some(first) = levels.first_mut() {
            first.left.push(up);
        }
    }
}

/// True when the name is gone; false for a directory.
fn unlinked(directory: BorrowedFd<'_>, name: &Path) -> Result<bool> {
    match fs::unlinkat(directory, name, 0) {
        Ok(()) => Ok(true),
        Err(e) if e.is(libc::ENOENT) => Ok(true),
        Err(e) if e.is(libc::EISDIR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn rmdir(directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    match fs::unlinkat(directory, name, libc::AT_REMOVEDIR) {
        Err(e) if !e.is(libc::ENOENT) => Err(e.into()),
        _ => Ok(()),
    }
}

fn open(directory: BorrowedFd<'_>, name: &Path) -> Result<Level> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let opened = match fs::openat(directory, name, flags, 0) {
        Err(e) if e.is(libc::EACCES) => {
            unlock(directory, name)?;
            fs::openat(directory, name, flags, 0)
        }
        other => other,
    };
    let fd = opened?;
    // Without write permission its names cannot go; root needs none.
    let stat = fs::fstat(fd.as_fd())?;
    if stat.mode & 0o300 != 0o300 && sys::process::effective_ids().0 != 0 {
        fs::fchmod(fd.as_fd(), 0o700)?;
    }
    let left = fs::entries(fd.as_fd())?;
    Ok(Level {
        fd,
        name: name.as_os_str().to_owned(),
        left,
    })
}

/// Lets the owner in. By way of /proc, since fchmodat(2) of a name would follow a symlink that has taken its place.
fn unlock(directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    use std::os::fd::AsRawFd as _;
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let fd = fs::openat(directory, name, flags, 0)?;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    fs::fchmodat(fs::cwd(), Path::new(&path), 0o700)?;
    Ok(())
}

/// Puts a directory of the deepest level into the first one, under a name that is not taken there.
fn move_up(levels: &[Level], child: &OsString, moved: &mut u64) -> Result<OsString> {
    let (Some(first), Some(last)) = (levels.first(), levels.last()) else {
        return Ok(child.clone());
    };
    loop {
        *moved += 1;
        let name = OsString::from(format!(".removed-{moved}"));
        if first.left.contains(&name) || levels.get(1).is_some_and(|l| l.name == name) {
            continue;
        }
        fs::renameat(
            last.fd.as_fd(),
            Path::new(child),
            first.fd.as_fd(),
            Path::new(&name),
        )?;
        return Ok(name);
    }
}
