//! `diff`: what a container has changed of its image, from the upper directory of its overlay and the layers below it.
//!
//! May not: compare what is in files. What has neither another size nor another time has not changed, as in Docker; only
//! directories are never told by their time, which changes with what is in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::containers::{Container, Containers};
use crate::root;
use image::provide::Maker;
use image::tree::seen::{Seen, is_opaque, is_runtimes};
use image::tree::{as_path, open_beneath};
use image::{Context, Result};

/// What has become of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Changed,
    Added,
    Deleted,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Changed => "C",
            Kind::Added => "A",
            Kind::Deleted => "D",
        })
    }
}

/// What has changed, by path, in the order of bytes. Paths begin with a slash.
pub type Changes = BTreeMap<Vec<u8>, Kind>;

/// What a container has changed since it was made.
///
/// # Errors
/// As [`diff`], or its layers cannot be mounted.
pub fn of(containers: &Containers, maker: &Maker<'_>, container: &Container) -> Result<Changes> {
    let upper = containers.place(container.id()).upper();
    let Some(upper) = crate::commit::open_upper(&upper)? else {
        return Ok(Changes::new());
    };
    let lease = maker.store.lease()?;
    let below = root::below(maker, &lease, container)?;
    diff(upper.as_fd(), below.fd())
}

/// Compares an upper directory with the layers below, mounted.
///
/// # Errors
/// Something cannot be read.
pub fn diff(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<Changes> {
    let mut changes = Changes::new();
    let mut directories = vec![Vec::new()];
    while let Some(path) = directories.pop() {
        compare(upper, lower, &path, &mut changes, &mut directories)
            .context(format!("failed to compare /{}", as_path(&path).display()))?;
    }
    mark_parents(&mut changes);
    Ok(changes)
}

fn compare(
    upper: BorrowedFd<'_>,
    lower: BorrowedFd<'_>,
    path: &[u8],
    changes: &mut Changes,
    directories: &mut Vec<Vec<u8>>,
) -> Result<()> {
    let Some(above) = open_directory(upper, path)? else {
        return Ok(());
    };
    let below = open_directory(lower, path)?;
    let names = sys::fs::entries(above.as_fd())?;
    if let Some(below) = below.as_ref().filter(|_| !path.is_empty())
        && is_opaque(above.as_fd())?
    {
        let kept: BTreeSet<&OsString> = names.iter().collect();
        for name in sys::fs::entries(below.as_fd())? {
            if !kept.contains(&name) {
                changes.insert(full(path, &name), Kind::Deleted);
            }
        }
    }
    for name in names {
        let Some(new) = Seen::look(above.as_fd(), &name)? else {
            continue;
        };
        let old = match &below {
            Some(below) => Seen::look(below.as_fd(), &name)?,
            None => None,
        };
        let path = full(path, &name);
        if old.is_none() && is_runtimes(&path, &new) {
            // Docker has a layer with these between the image and the container.
            if new.stat.is_dir() {
                directories.push(path[1..].to_vec());
            }
            continue;
        }
        match (&old, new.is_whiteout()) {
            (None, true) => continue,
            (Some(_), true) => {
                changes.insert(path, Kind::Deleted);
                continue;
            }
            (None, false) => {
                changes.insert(path.clone(), Kind::Added);
            }
            (Some(old), false) => {
                if new.differs(old) {
                    changes.insert(path.clone(), Kind::Changed);
                }
            }
        }
        if new.stat.is_dir() {
            directories.push(path[1..].to_vec());
        }
    }
    Ok(())
}

/// A directory with a change in it has changed, unless it is new.
fn mark_parents(changes: &mut Changes) {
    let mut parents = BTreeSet::new();
    for path in changes.keys() {
        let mut end = path.len();
        while let Some(slash) = path[..end].iter().rposition(|b| *b == b'/').filter(|at| *at > 0) {
            if !parents.insert(path[..slash].to_vec()) {
                break;
            }
            end = slash;
        }
    }
    for parent in parents {
        changes.entry(parent).or_insert(Kind::Changed);
    }
}

fn full(directory: &[u8], name: &OsString) -> Vec<u8> {
    let mut path = vec![b'/'];
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    path
}

/// `None` where there is something else, or nothing.
fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>> {
    match open_beneath(root, path, libc::O_PATH | libc::O_DIRECTORY) {
        Err(e)
            if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP]
                .iter()
                .any(|n| e.is(*n)) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_have_changed_unless_they_are_new() {
        let mut changes = Changes::from([
            (b"/a/b/c/d".to_vec(), Kind::Added),
            (b"/a/b/c".to_vec(), Kind::Added),
            (b"/x".to_vec(), Kind::Deleted),
        ]);
        mark_parents(&mut changes);
        let lines: Vec<String> = changes
            .iter()
            .map(|(path, kind)| format!("{kind} {}", String::from_utf8_lossy(path)))
            .collect();
        assert_eq!(lines, ["C /a", "C /a/b", "A /a/b/c", "A /a/b/c/d", "D /x"]);
    }
}
