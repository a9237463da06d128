//! What a copy of a file tree needs beside `fs`: shared blocks, holes, extended attributes, times.
//!
//! May not: choose how a file is copied.

use crate::errno::{Errno, Error, Result, check, check_restart};
use crate::fs::c_path;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// ioctl(2) FICLONE: `to` becomes a copy of `from` that shares its blocks.
///
/// # Errors
/// EOPNOTSUPP, EXDEV, EINVAL, ENOTTY: these files cannot share.
pub fn share_blocks(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    const FICLONE: libc::c_ulong = 0x4004_9409;
    // SAFETY: the argument is a descriptor number, no pointer. The type of the request differs between libcs.
    let r = unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.as_raw_fd()) };
    check(r as i64, "ioctl", || "FICLONE").map(drop)
}

/// FS_IOC_SETFLAGS of FS_TOPDIR_FL, chattr(1)'s `T`: each directory in this one begins somewhere else on the disk (ext4).
///
/// # Errors
/// EOPNOTSUPP, ENOTTY: this file system knows no such flag.
pub fn spread_directories(dir: BorrowedFd<'_>) -> Result<()> {
    const GETFLAGS: libc::c_ulong = 0x8008_6601;
    const SETFLAGS: libc::c_ulong = 0x4008_6602;
    const TOPDIR: libc::c_int = 0x0002_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: the kernel writes an int, whatever the number of the request says (ioctl_iflags(2)).
    let r = unsafe { libc::ioctl(dir.as_raw_fd(), GETFLAGS as _, &raw mut flags) };
    check(r as i64, "ioctl", || "FS_IOC_GETFLAGS")?;
    flags |= TOPDIR;
    // SAFETY: it reads an int.
    let r = unsafe { libc::ioctl(dir.as_raw_fd(), SETFLAGS as _, &raw const flags) };
    check(r as i64, "ioctl", || "FS_IOC_SETFLAGS").map(drop)
}

/// copy_file_range(2) of up to `most` bytes, at the same place in both files; 0 at the end of `from`.
pub fn copy_range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, at: u64, most: u64) -> Result<u64> {
    let (mut source, mut target) = (at as i64, at as i64);
    // Not more than fits into every kernel's ssize_t.
    let most = most.min(1 << 30) as usize;
    let r = check_restart(
        // SAFETY: both offsets outlive the call.
        || unsafe {
            libc::syscall(
                libc::SYS_copy_file_range,
                from.as_raw_fd(),
                &raw mut source,
                to.as_raw_fd(),
                &raw mut target,
                most,
                0,
            )
        },
        "copy_file_range",
        || "",
    )?;
    Ok(r as u64)
}

/// pwrite(2).
pub fn write_at(fd: BorrowedFd<'_>, data: &[u8], at: u64) -> Result<usize> {
    let r = check_restart(
        // SAFETY: `data` is readable for its length.
        || unsafe { libc::pwrite(fd.as_raw_fd(), data.as_ptr().cast(), data.len(), at as _) as i64 },
        "pwrite",
        || "",
    )?;
    Ok(r as usize)
}

/// lseek(2) SEEK_DATA: where the next bytes lie that are no hole; `None` when only a hole is left.
pub fn next_data(fd: BorrowedFd<'_>, from: u64) -> Result<Option<u64>> {
    // SAFETY: no pointers.
    let r = unsafe { libc::lseek(fd.as_raw_fd(), from as _, libc::SEEK_DATA) };
    match check(r as i64, "lseek", || "SEEK_DATA") {
        Ok(at) => Ok(Some(at as u64)),
        Err(e) if e.is(libc::ENXIO) => Ok(None),
        Err(e) => Err(e),
    }
}

/// lseek(2) SEEK_HOLE: where the next hole begins, at the latest at the end.
pub fn next_hole(fd: BorrowedFd<'_>, from: u64) -> Result<u64> {
    // SAFETY: no pointers.
    let r = unsafe { libc::lseek(fd.as_raw_fd(), from as _, libc::SEEK_HOLE) };
    check(r as i64, "lseek", || "SEEK_HOLE").map(|at| at as u64)
}

/// listxattr(2), following links: for `/proc/self/fd/N`. A file system without attributes has none.
pub fn xattr_names(path: &CStr) -> Result<Vec<CString>> {
    let mut buffer = vec![0u8; 1024];
    // Bounded: the list may grow between two looks, but not past the kernel's limit of 64 KiB.
    for _ in 0..8 {
        // SAFETY: `path` outlives the call and `buffer` is writable for its length.
        let r = unsafe { libc::listxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(r as i64, "listxattr", || "") {
            Ok(n) => {
                let names = buffer[..n as usize].split_inclusive(|b| *b == 0);
                return Ok(names
                    .filter_map(|n| CStr::from_bytes_with_nul(n).ok())
                    .map(CStr::to_owned)
                    .collect());
            }
            Err(e) if e.is(libc::ERANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(e) if e.is(libc::EOPNOTSUPP) => return Ok(Vec::new()),
            Err(e) => return Err(e),
        }
    }
    Err(Error::new("listxattr", "", Errno(libc::ERANGE)))
}

/// getxattr(2), following links: for `/proc/self/fd/N`. `None` when there is no such attribute.
pub fn xattr(path: &CStr, name: &CStr) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0u8; 256];
    // Bounded as above.
    for _ in 0..8 {
        // SAFETY: the strings outlive the call and `buffer` is writable for its length.
        let r = unsafe {
            libc::getxattr(
                path.as_ptr(),
                name.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        };
        match check(r as i64, "getxattr", || name.to_string_lossy().into_owned()) {
            Ok(n) => {
                buffer.truncate(n as usize);
                return Ok(Some(buffer));
            }
            Err(e) if e.is(libc::ERANGE) => buffer.resize(buffer.len() * 4, 0),
            Err(e) if e.is(libc::ENODATA) || e.is(libc::EOPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Err(Error::new(
        "getxattr",
        name.to_string_lossy(),
        Errno(libc::ERANGE),
    ))
}

/// utimensat(2) without following: when it was read and when it was changed, in seconds and nanoseconds.
pub fn set_times(dir: BorrowedFd<'_>, name: &Path, read: (i64, i64), changed: (i64, i64)) -> Result<()> {
    let c = c_path(name)?;
    let times = [read, changed].map(|(seconds, nanoseconds)| libc::timespec {
        tv_sec: seconds as _,
        tv_nsec: nanoseconds as _,
    });
    // SAFETY: `c` and `times` outlive the call.
    let r = unsafe {
        libc::utimensat(
            dir.as_raw_fd(),
            c.as_ptr(),
            times.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    check(r as i64, "utimensat", || name.display().to_string()).map(drop)
}

/// utimensat(2) of what a descriptor names, also of one that is `O_PATH`: with an empty path (AT_EMPTY_PATH, Linux 5.8), else by way
/// of /proc.
pub fn set_times_of(fd: BorrowedFd<'_>, read: (i64, i64), changed: (i64, i64)) -> Result<()> {
    let times = [read, changed].map(|(seconds, nanoseconds)| libc::timespec {
        tv_sec: seconds as _,
        tv_nsec: nanoseconds as _,
    });
    // SAFETY: the empty string is static and `times` outlives the call.
    let r = unsafe { libc::utimensat(fd.as_raw_fd(), c"".as_ptr(), times.as_ptr(), libc::AT_EMPTY_PATH) };
    match check(r as i64, "utimensat", || "") {
        Err(e) if e.is(libc::EINVAL) => {}
        done => return done.map(drop),
    }
    let path = c_path(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())))?;
    // SAFETY: `path` and `times` outlive the call.
    let r = unsafe { libc::utimensat(libc::AT_FDCWD, path.as_ptr(), times.as_ptr(), 0) };
    check(r as i64, "utimensat", || "").map(drop)
}
