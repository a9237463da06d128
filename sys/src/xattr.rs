//! Extended attributes and time stamps, on descriptors and on single names.
//!
//! May not: follow a symlink in the last component, or know which attributes are safe to set.

use crate::errno::{Result, check};
use crate::fs::c_path;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// fsetxattr(2); the descriptor may not be `O_PATH`.
pub fn fsetxattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> Result<()> {
    // SAFETY: `name` outlives the call and `value` is readable for its length.
    let r = unsafe {
        libc::fsetxattr(
            fd.as_raw_fd(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(r as i64, "setxattr", || name.to_string_lossy().into_owned()).map(drop)
}

/// lsetxattr(2) of one component of a directory, by way of /proc: setxattrat(2) is only there since kernel 6.13.
pub fn lsetxattrat(dir: BorrowedFd<'_>, component: &Path, name: &CStr, value: &[u8]) -> Result<()> {
    let path = through_proc(dir, component)?;
    // SAFETY: both strings outlive the call and `value` is readable for its length.
    let r = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    check(r as i64, "setxattr", || name.to_string_lossy().into_owned()).map(drop)
}

/// All attributes of one component of a directory that the caller may see, sorted by name.
pub fn all(dir: BorrowedFd<'_>, component: &Path) -> Result<Vec<(CString, Vec<u8>)>> {
    let path = through_proc(dir, component)?;
    let mut found = Vec::new();
    for name in list(&path)?.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let Ok(name) = CString::new(name) else { continue };
        match value(&path, &name) {
            Ok(value) => found.push((name, value)),
            // Gone in between, or a name that is listed but has no value for us (system.*).
            Err(e) if e.is(libc::ENODATA) || e.is(libc::EOPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

/// All attributes of an open file, sorted by name; the descriptor may not be `O_PATH`. A file system without attributes has none.
pub fn of(fd: BorrowedFd<'_>) -> Result<Vec<(CString, Vec<u8>)>> {
    let names = grow("flistxattr", c"", |buffer| {
        // SAFETY: `buffer` is writable for its length.
        (unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }) as i64
    });
    let names = match names {
        Err(e) if e.is(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        names => names?,
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let Ok(name) = CString::new(name) else { continue };
        let value = grow("fgetxattr", &name, |buffer| {
            // SAFETY: `name` outlives the call and `buffer` is writable for its length.
            (unsafe {
                libc::fgetxattr(
                    fd.as_raw_fd(),
                    name.as_ptr(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                )
            }) as i64
        });
        match value {
            Ok(value) => found.push((name, value)),
            Err(e) if e.is(libc::ENODATA) || e.is(libc::EOPNOTSUPP) => {}
            Err(e) => return Err(e),
        }
    }
    found.sort();
    Ok(found)
}

fn list(path: &CStr) -> Result<Vec<u8>> {
    grow("listxattr", path, |buffer| {
        // SAFETY: `path` outlives the call and `buffer` is writable for its length.
        (unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) }) as i64
    })
}

fn value(path: &CStr, name: &CStr) -> Result<Vec<u8>> {
    grow("getxattr", name, |buffer| {
        // SAFETY: the strings outlive the call and `buffer` is writable for its length.
        (unsafe {
            libc::lgetxattr(
                path.as_ptr(),
                name.as_ptr(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
            )
        }) as i64
    })
}

/// Lists and values are at most 64 KiB (XATTR_LIST_MAX, XATTR_SIZE_MAX); most fit into the first buffer.
fn grow(call: &'static str, what: &CStr, mut get: impl FnMut(&mut [u8]) -> i64) -> Result<Vec<u8>> {
    for size in [256, 65536] {
        let mut buffer = vec![0u8; size];
        match check(get(&mut buffer), call, || what.to_string_lossy().into_owned()) {
            Ok(n) => {
                buffer.truncate(n as usize);
                return Ok(buffer);
            }
            Err(e) if e.is(libc::ERANGE) && size < 65536 => {}
            Err(e) => return Err(e),
        }
    }
    Ok(Vec::new())
}

fn through_proc(dir: BorrowedFd<'_>, component: &Path) -> Result<CString> {
    c_path(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(component))
}

/// A time stamp: seconds since 1970, and nanoseconds of the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    pub seconds: i64,
    pub nanoseconds: u32,
}

fn both(time: Time) -> [libc::timespec; 2] {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)] // the fields' types differ between CPUs
    let t = libc::timespec {
        tv_sec: time.seconds as _,
        tv_nsec: time.nanoseconds as _,
    };
    [t, t]
}

/// futimens(2): access and modification time of an open file.
pub fn futimens(fd: BorrowedFd<'_>, time: Time) -> Result<()> {
    let times = both(time);
    // SAFETY: `times` outlives the call.
    let r = unsafe { libc::futimens(fd.as_raw_fd(), times.as_ptr()) };
    check(r as i64, "utimensat", || "").map(drop)
}

/// utimensat(2) of one component of a directory, never through a symlink.
pub fn utimensat(dir: BorrowedFd<'_>, component: &Path, time: Time) -> Result<()> {
    let c = c_path(component)?;
    let times = both(time);
    // SAFETY: `c` and `times` outlive the call.
    let r = unsafe {
        libc::utimensat(
            dir.as_raw_fd(),
            c.as_ptr(),
            times.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
        )
    };
    check(r as i64, "utimensat", || component.display().to_string()).map(drop)
}

/// lstat(2)'s modification time of one component.
pub fn mtime_at(dir: BorrowedFd<'_>, component: &Path) -> Result<Time> {
    let c = c_path(component)?;
    // SAFETY: an all-zero stat is valid and the kernel fills it.
    let mut s: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: `c` and `s` outlive the call.
    let r = unsafe {
        libc::fstatat(
            dir.as_raw_fd(),
            c.as_ptr(),
            &mut s,
            libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH,
        )
    };
    check(r as i64, "stat", || component.display().to_string())?;
    #[allow(clippy::unnecessary_cast)] // the fields' types differ between CPUs
    Ok(Time {
        seconds: s.st_mtime as i64,
        nanoseconds: s.st_mtime_nsec as u32,
    })
}
