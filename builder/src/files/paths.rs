//! Paths inside a root, resolved one component after the other.
//!
//! May not: ask the kernel to follow a link. What comes out is a path without links, which is opened with none followed; whoever
//! puts one there meanwhile gets an error, and nothing outside.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use engine::tree::{as_path, open_beneath};
use image::{Error, Result};
use sys::fs;

/// As many links as a path may have on its way; the kernel's limit is 40, BuildKit's this.
const MOST_LINKS: u32 = 255;

/// A path without links, `.` and `..`: its components.
pub type Components = Vec<Vec<u8>>;

/// The components of a path; `..` takes back what stands before it, and nothing is above the root.
pub fn components(path: &[u8]) -> Components {
    let mut parts = Components::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part.to_vec()),
        }
    }
    parts
}

/// Follows the links of a path, the last one too. What is not there stays as it is written. `seen` is asked for each link: one that
/// nobody may see is not there.
///
/// # Errors
/// Too many links, or a directory cannot be read.
pub fn resolve(root: BorrowedFd<'_>, path: &[u8], seen: &dyn Fn(&[u8]) -> bool) -> Result<Components> {
    let mut left: VecDeque<Vec<u8>> = path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
    let mut done = Components::new();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                done.pop();
                continue;
            }
            _ => {}
        }
        let Some(target) = link(root, &done, &part)? else {
            done.push(part);
            continue;
        };
        let full = [done.join(&b'/').as_slice(), &part].join(&b'/');
        if !seen(full.strip_prefix(b"/").unwrap_or(&full)) {
            done.push(part);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Error::invalid(format!(
                "too many links in {:?}",
                as_path(path).display()
            )));
        }
        if target.starts_with(b"/") {
            done.clear();
        }
        for part in target.split(|b| *b == b'/').rev() {
            left.push_front(part.to_vec());
        }
    }
    Ok(done)
}

/// What a name is a link to, if it is one.
fn link(root: BorrowedFd<'_>, above: &[Vec<u8>], name: &[u8]) -> Result<Option<Vec<u8>>> {
    let missing = |e: &sys::Error| {
        e.is(libc::ENOENT) || e.is(libc::ENOTDIR) || e.is(libc::ENAMETOOLONG) || e.is(libc::ELOOP)
    };
    let directory = match open_beneath(root, &above.join(&b'/'), libc::O_PATH | libc::O_DIRECTORY) {
        Err(e) if missing(&e) => return Ok(None),
        other => other?,
    };
    match fs::readlinkat(directory.as_fd(), as_path(name)) {
        Ok(target) => Ok(Some(target.into_os_string().into_vec())),
        Err(e) if missing(&e) || e.is(libc::EINVAL) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The directory that a path without links leads to.
///
/// # Errors
/// The kernel's.
pub fn open_directory(root: BorrowedFd<'_>, path: &[Vec<u8>]) -> sys::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    match path {
        [] => fs::openat(root, Path::new("."), flags, 0),
        path => open_beneath(root, &path.join(&b'/'), flags),
    }
}

/// A path as people read it.
pub fn shown(path: &[Vec<u8>]) -> String {
    format!("/{}", String::from_utf8_lossy(&path.join(&b'/')))
}

/// As many bytes of a path as the kernel takes in one call (PATH_MAX, with its NUL).
const LONGEST: usize = 4095;

/// [`open_directory`] of a path of any length, in as few calls as possible.
///
/// # Errors
/// The kernel's.
pub fn open_far(top: BorrowedFd<'_>, path: &[Vec<u8>]) -> sys::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut from = 0;
    loop {
        let mut to = from;
        let mut length = 0;
        while let Some(part) = path.get(to)
            && (to == from || length + part.len() < LONGEST)
        {
            length += part.len() + 1;
            to += 1;
        }
        let here = at.as_ref().map_or(top, |fd| fd.as_fd());
        let fd = open_directory(here, &path[from..to])?;
        if to >= path.len() {
            return Ok(fd);
        }
        (at, from) = (Some(fd), to);
    }
}
