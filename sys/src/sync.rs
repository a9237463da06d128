//! What has to reach the disk: syncfs(2), sync_file_range(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::errno::{Result, check};

/// syncfs(2): everything of the file system that `fd` is on.
pub fn syncfs(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syncfs(fd.as_raw_fd()) };
    check(i64::from(r), "syncfs", || "").map(drop)
}
