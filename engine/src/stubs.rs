//! What a runtime makes in a root so that something can be mounted on it: empty files and directories, which are nobody's and must not
//! get into an image.
//!
//! May not: remove what was there, or what is not empty.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use image::{Context, Error, Kind, Result};
use sys::fs::Stat;

use crate::root::{Last, Root};

/// Paths in a root that were not there.
pub struct Stubs {
    root: Root,
    /// Parents before what is in them.
    missing: Vec<PathBuf>,
}

impl Stubs {
    /// Looks at a root before anything is mounted in it.
    ///
    /// # Errors
    /// The root cannot be read.
    pub fn of<'d>(root: Root, destinations: impl Iterator<Item = &'d str>) -> Result<Stubs> {
        let mut missing: Vec<PathBuf> = Vec::new();
        for destination in destinations {
            let mut path = PathBuf::from("/");
            for part in Path::new(destination).components().skip(1) {
                path.push(part);
                if !missing.contains(&path) && !is_there(&root, &path)? {
                    missing.push(path.clone());
                }
            }
        }
        missing.sort();
        Ok(Stubs { root, missing })
    }

    /// Removes what of them is there and empty. Their directories keep their times.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn take_away(self) -> Result<()> {
        for path in self.missing.iter().rev() {
            self.remove(path).context(format!(
                "failed to remove {}, on which something was mounted",
                path.display()
            ))?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
            return Ok(());
        };
        let Some(parent) = found(self.root.open(parent, Last::Follow, libc::O_DIRECTORY))? else {
            return Ok(());
        };
        let Some(stat) =
            found(sys::fs::fstatat(parent.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW).map_err(Error::from))?
        else {
            return Ok(());
        };
        let flags = match stat.is_dir() {
            true => libc::AT_REMOVEDIR,
            false if is_empty_file(&stat) => 0,
            false => return Ok(()),
        };
        let before = times(parent.as_fd())?;
        match sys::fs::unlinkat(parent.as_fd(), name, flags) {
            Err(e) if e.is(libc::ENOTEMPTY) || e.is(libc::EBUSY) => return Ok(()),
            other => other?,
        }
        Ok(sys::copy::set_times_of(parent.as_fd(), before.0, before.1)?)
    }
}

type Time = (i64, i64);

/// When it was read and changed.
fn times(fd: BorrowedFd<'_>) -> Result<(Time, Time)> {
    let meta = std::fs::metadata(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    Ok((
        (meta.atime(), meta.atime_nsec()),
        (meta.mtime(), meta.mtime_nsec()),
    ))
}

fn is_there(root: &Root, path: &Path) -> Result<bool> {
    Ok(found(root.open(path, Last::Keep, 0))?.is_some())
}

fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn is_empty_file(stat: &Stat) -> bool {
    stat.file_type() == libc::S_IFREG && stat.size == 0
}
