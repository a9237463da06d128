//! The files of one cgroup directory: numbers and tables.
//!
//! May not: know what a figure means. What is absent is absent; only the directory itself has to be there.

use super::{Error, Result};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// More than any file here says about one container; the figures of a host with a thousand processors fit.
pub(crate) const LIMIT: usize = 64 << 10;

/// A cgroup directory that is being read.
#[derive(Debug)]
pub(crate) struct Files {
    dir: OwnedFd,
}

impl Files {
    /// # Errors
    /// [`Error::NotFound`] when the cgroup has been removed.
    pub fn open(dir: &Path) -> Result<Files> {
        match sys::fs::open(dir, libc::O_PATH | libc::O_DIRECTORY, 0) {
            Ok(dir) => Ok(Files { dir }),
            Err(e) if is_absent(&e) => Err(Error::NotFound),
            Err(e) => Err(Error::Failed("failed to read the figures of a cgroup", e)),
        }
    }

    /// # Errors
    /// [`Error::NotFound`] when the cgroup was removed since it was opened: what was read is not to be trusted.
    pub fn still_there(&self) -> Result<()> {
        match sys::fs::openat(self.dir.as_fd(), Path::new("cgroup.procs"), libc::O_PATH, 0) {
            Err(e) if is_absent(&e) => Err(Error::NotFound),
            _ => Ok(()),
        }
    }

    /// The whole file; `None` where it is absent.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let read = || {
            let fd = sys::fs::openat(self.dir.as_fd(), Path::new(name), libc::O_RDONLY, 0)?;
            sys::fs::read_all(fd.as_fd(), LIMIT).map_err(|e| sys::Error::new("read", name, e.errno()))
        };
        match read() {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            // EOPNOTSUPP: pressure files of a kernel that was booted without psi=1.
            Err(e) if is_absent(&e) || e.is(libc::EOPNOTSUPP) => Ok(None),
            Err(e) => Err(Error::Failed("failed to read the figures of a cgroup", e)),
        }
    }

    /// A file that is one number.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        Ok(self.text(name)?.as_deref().and_then(|t| parse_number(t.trim())))
    }

    /// The same, zero where it is absent.
    pub fn number_or_zero(&self, name: &str) -> Result<u64> {
        Ok(self.number(name)?.unwrap_or(0))
    }

    /// A file of lines `key value`, handed to `take` one by one. False when it is absent.
    pub fn table(&self, name: &str, mut take: impl FnMut(&str, u64)) -> Result<bool> {
        let Some(text) = self.text(name)? else {
            return Ok(false);
        };
        for line in text.lines() {
            if let Some((key, value)) = line.split_once(' ')
                && let Some(value) = parse_number(value.trim())
            {
                take(key, value);
            }
        }
        Ok(true)
    }
}

/// ENODEV: the cgroup was removed while its file was open.
fn is_absent(e: &sys::Error) -> bool {
    e.is(libc::ENOENT) || e.is(libc::ENODEV) || e.is(libc::ENOTDIR)
}

/// `max` is the largest number. Version 1 shows a negative one after an underflow, which is 0.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    if text == "max" {
        return Some(u64::MAX);
    }
    match text.strip_prefix('-') {
        Some(digits) => digits.parse::<u64>().ok().map(|_| 0),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_while_open_is_known() {
        let dir = std::env::temp_dir().join(format!("shim-files-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("cgroup.procs"), "").unwrap();
        let files = Files::open(&dir).unwrap();
        files.still_there().unwrap();
        assert!(files.text("pids.current").unwrap().is_none());
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(files.still_there(), Err(Error::NotFound)));
    }

    #[test]
    fn numbers() {
        for (text, n) in [
            ("7", Some(7)),
            ("max", Some(u64::MAX)),
            ("-4096", Some(0)),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(parse_number(text), n, "{text}");
        }
    }
}
