//! Reading and writing the files of cgroupfs; a failure names file and value.
//!
//! May not: know what a value means. The paths belong to the administrator, or are names below them that the kernel
//! listed: cgroupfs has neither symlinks nor `..` of its own.

use crate::error::{Doing, Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Larger than any cgroup file: `cgroup.procs` of 100000 processes has 0.7 MB.
const LIMIT: usize = 16 << 20;

/// The whole file at a path.
pub fn read_path(path: &Path) -> Result<String> {
    let fd = sys::fs::open(path, libc::O_RDONLY, 0)?;
    let bytes =
        sys::fs::read_all(fd.as_fd(), LIMIT).map_err(|e| sys::Error::new("read", show(path), e.errno()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The whole file `name` of the cgroup `dir`.
pub fn read(dir: &Path, name: &str) -> Result<String> {
    read_path(&dir.join(name))
}

/// As [`read`]; `None` when the file or the cgroup does not exist. A cgroup removed under an open file gives ENODEV.
pub fn read_if_there(dir: &Path, name: &str) -> Result<Option<String>> {
    match read(dir, name) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENODEV) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A descriptor of `name` for writing.
pub fn open(dir: &Path, name: &str) -> Result<OwnedFd> {
    Ok(sys::fs::open(&dir.join(name), libc::O_WRONLY, 0)?)
}

/// Writes `value` by a single write(2).
pub fn write(dir: &Path, name: &str, value: &str) -> Result<()> {
    let fd = open(dir, name)?;
    write_to(&fd, dir, name, value)
}

/// As [`write`], into a descriptor of [`open`].
pub fn write_to(fd: &OwnedFd, dir: &Path, name: &str, value: &str) -> Result<()> {
    sys::fs::write_once(fd.as_fd(), value.as_bytes())
        .map_err(|e| Error::from(sys::Error::new("write", show(&dir.join(name)), e.errno())))
        .doing(|| format!("failed to write {value:?}"))
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
