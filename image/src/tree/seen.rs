//! What lies in an upper directory of overlay, or below it.
//!
//! May not: read what is in a file.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use sys::fs::Stat;

use super::proc_path;
use crate::Result;
use crate::layer::tar::Time;

/// A file of an upper directory or a lower one.
pub struct Seen {
    pub fd: OwnedFd,
    pub stat: Stat,
    mtime: Time,
}

impl Seen {
    /// `None` when it is gone.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn look(directory: BorrowedFd<'_>, name: &OsString) -> Result<Option<Seen>> {
        let flags = libc::O_PATH | libc::O_NOFOLLOW;
        let fd = match sys::fs::openat(directory, Path::new(name), flags, 0) {
            Err(e) if e.is(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        Ok(Some(Seen {
            stat: sys::fs::fstat(fd.as_fd())?,
            mtime: sys::xattr::mtime_at(fd.as_fd(), Path::new(""))?,
            fd,
        }))
    }

    /// Overlay's sign that there is nothing: a character device 0/0.
    pub fn is_whiteout(&self) -> bool {
        self.stat.is_char_device(0, 0)
    }

    /// Whether it is another than `old`, as far as can be told without reading it.
    #[must_use]
    pub fn differs(&self, old: &Seen) -> bool {
        let (new, before) = (&self.stat, &old.stat);
        let is_changed = |of: fn(&Stat) -> u64| of(new) != of(before);
        if is_changed(|s| u64::from(s.mode))
            || is_changed(|s| u64::from(s.uid))
            || is_changed(|s| u64::from(s.gid))
        {
            return true;
        }
        if new.is_dir() {
            return false;
        }
        let rights = |seen: &Seen| {
            sys::copy::xattr(&proc_path(seen.fd.as_fd()), c"security.capability")
                .ok()
                .flatten()
        };
        is_changed(|s| s.rdev)
            || is_changed(|s| s.size)
            || self.mtime != old.mtime
            || rights(self) != rights(old)
    }
}

/// Whether nothing of the layers below shows through a directory.
///
/// # Errors
/// It cannot be asked.
pub fn is_opaque(directory: BorrowedFd<'_>) -> Result<bool> {
    let path = proc_path(directory);
    for note in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if sys::copy::xattr(&path, note)?.is_some_and(|value| value == b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether something that the image does not have is only there to be mounted on: the runtime makes it.
pub fn is_runtimes(path: &[u8], seen: &Seen) -> bool {
    match path {
        b"/dev" | b"/dev/pts" | b"/dev/shm" | b"/proc" | b"/sys" | b"/etc" => seen.stat.is_dir(),
        b"/.dockerenv" | b"/dev/console" | b"/etc/hosts" | b"/etc/hostname" | b"/etc/resolv.conf" => {
            seen.stat.file_type() == libc::S_IFREG && seen.stat.size == 0
        }
        b"/etc/mtab" => seen.stat.is_symlink(),
        _ => false,
    }
}
