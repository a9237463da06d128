//! What has to reach the disk: syncfs(2), sync_file_range(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::errno::{Error, Result, check};

/// syncfs(2): everything of the file system that `fd` is on.
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syncfs(fd.as_raw_fd()) };
    check(i64::from(r), "syncfs", || "").map(drop)
}

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: begins to write that part of the file out and does not wait, so that a later
/// fsync finds little left to do. A hint: file systems without it (ESPIPE, EINVAL, ENOSYS) lose nothing but time.
pub fn begin_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
    let (offset, length) = (offset as i64, length as i64);
    // SAFETY: no pointers.
    let r = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    check(r.into(), "sync_file_range", || "")
        .map(drop)
        .or_else(ignore_unsupported)
}

fn ignore_unsupported(e: Error) -> Result<()> {
    if [libc::ESPIPE, libc::EINVAL, libc::ENOSYS, libc::EPERM]
        .iter()
        .any(|n| e.is(*n))
    {
        return Ok(());
    }
    Err(e)
}
