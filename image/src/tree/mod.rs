//! Trees of files on their way: what [`walk`] finds in one goes to a [`Sink`], which puts it into another ([`place`]) or into an
//! archive ([`pack`]).
//!
//! May not: take a name for more than what its descriptor was opened for. Whoever owns the tree may be a container that
//! changes it while it is read or written (CVE-2018-15664): each directory is opened once, each file is looked at by the
//! descriptor that its bytes come from, and no link on the way is followed.

pub mod pack;
pub mod place;
pub mod seen;
pub mod walk;

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::layer::tar::{Entry, Piece, Reader};
use crate::{Error, Result};
use sys::fs::Stat;

/// Where the bytes of an entry come from.
pub enum Contents<'c> {
    /// It has none.
    Nothing,
    /// A file of a tree, of which as many bytes count as the entry says.
    File(&'c File),
    /// An archive that is being read.
    Pieces(&'c mut dyn Pieces),
}

/// An archive, as far as the current entry goes.
pub trait Pieces {
    /// The next piece; `None` is the end of the entry.
    ///
    /// # Errors
    /// The archive's.
    fn piece(&mut self) -> Result<Option<Piece<'_>>>;
}

impl<R: std::io::BufRead> Pieces for Reader<R> {
    fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        Reader::piece(self)
    }
}

/// Whoever takes what is found: parents before what is in them.
pub trait Sink {
    /// One entry.
    ///
    /// # Errors
    /// It cannot be written.
    fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()>;
}

/// Changes the owner of what has a name, itself and not where it leads to; an empty name is what is open. EINVAL is an id that the user
/// namespace does not have, which nobody would read out of "invalid argument".
///
/// # Errors
/// As said, or the kernel's.
pub fn give(at: BorrowedFd<'_>, path: &Path, uid: u32, gid: u32) -> Result<()> {
    match sys::fs::fchownat(at, path, uid, gid) {
        Err(e) if e.is(libc::EINVAL) => Err(Error::invalid(format!(
            "its owner {uid}:{gid} is not among the ids of this user namespace; /etc/subuid and /etc/subgid have to grant more"
        ))),
        done => Ok(done?),
    }
}

/// No link is followed, and the directory is not left.
pub const BENEATH: u64 =
    sys::fs::RESOLVE_BENEATH | sys::fs::RESOLVE_NO_SYMLINKS | sys::fs::RESOLVE_NO_MAGICLINKS;

/// Opens what lies below a directory, without a link on the way. Where openat2(2) is not to be had, or the path is longer
/// than the kernel takes, component by component.
///
/// # Errors
/// It is not there, or there is a link on the way.
pub fn open_beneath(directory: BorrowedFd<'_>, path: &[u8], flags: i32) -> sys::Result<OwnedFd> {
    let flags = flags | libc::O_NOFOLLOW;
    let whole = match path {
        b"" => Path::new("."),
        path => as_path(path),
    };
    match sys::fs::openat2(directory, whole, flags, 0, BENEATH) {
        Err(e) if e.is_unavailable() || e.is(libc::ENAMETOOLONG) => {}
        other => return other,
    }
    let mut at = sys::fs::openat(directory, Path::new("."), libc::O_PATH, 0)?;
    let mut parts = path.split(|b| *b == b'/').peekable();
    while let Some(part) = parts.next() {
        let access = match parts.peek() {
            Some(_) => libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW,
            None => flags,
        };
        let part = match part {
            b"" => Path::new("."),
            part => as_path(part),
        };
        at = sys::fs::openat(at.as_fd(), part, access, 0)?;
    }
    Ok(at)
}

/// Opens for reading exactly what an `O_PATH` descriptor names: whoever has put a FIFO or a device there meanwhile has not put it
/// here.
pub fn reopen(fd: BorrowedFd<'_>, flags: i32) -> sys::Result<File> {
    sys::fs::open(as_path(proc_path(fd).as_bytes()), flags | libc::O_NONBLOCK, 0).map(File::from)
}

/// What a descriptor names, for calls that take only paths; the kernel goes from it straight to the file.
pub fn proc_path(fd: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap_or_default()
}

pub fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The components of an archive's path. An absolute one begins where the archive is put, `..` takes back what stands before
/// it.
///
/// # Errors
/// It leaves the place, or no file can have such a name.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut parts: Vec<&[u8]> = Vec::with_capacity(8);
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.pop().is_none() => {
                return Err(Error::corrupt(format!(
                    "{:?} leads out of the archive",
                    String::from_utf8_lossy(path)
                )));
            }
            b".." => {}
            part => parts.push(part),
        }
    }
    Ok(parts)
}

/// What tells two files apart.
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.dev, stat.ino)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn components_stay_inside() {
        for (path, parts) in [
            ("", Some("")),
            ("./", Some("")),
            ("/a//b/", Some("a/b")),
            ("a/../b", Some("b")),
            ("a/..", Some("")),
            ("..", None),
            ("a/../../b", None),
            ("/..", None),
            ("a/...", Some("a/...")),
        ] {
            let found = components(path.as_bytes()).ok().map(|p| p.join(&b'/'));
            assert_eq!(found.as_deref(), parts.map(str::as_bytes), "{path}");
        }
    }
}
