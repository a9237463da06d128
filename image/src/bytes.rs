//! The bytes of one file into another: blocks are shared where the file system can (XFS, btrfs), and holes stay holes.
//!
//! May not: open anything, or care for more than bytes.

use std::os::fd::BorrowedFd;

use crate::{Error, Result};

/// Copies files, and remembers what the file systems have refused.
#[derive(Debug)]
pub struct Bytes {
    /// No file has refused to share its blocks yet.
    can_share: bool,
    /// No file has refused copy_file_range(2) yet.
    can_range: bool,
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes {
            can_share: true,
            can_range: true,
        }
    }
}

impl Bytes {
    /// The first `size` bytes of `from` become all of `to`, which is empty.
    ///
    /// # Errors
    /// One cannot be read or the other not be written, or `from` has become shorter.
    pub fn copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
        if size == 0 {
            return Ok(());
        }
        if self.can_share {
            match sys::copy::share_blocks(from, to) {
                Ok(()) => return Ok(()),
                // Whatever it is that this file has against it, copying will tell if it is serious.
                Err(_) => self.can_share = false,
            }
        }
        self.data(from, to, size)?;
        let file = std::fs::File::from(to.try_clone_to_owned()?);
        Ok(file.set_len(size)?)
    }

    fn data(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<()> {
        let mut at = 0;
        while at < size {
            let Some(start) = sys::copy::next_data(from, at)?.filter(|start| *start < size) else {
                break;
            };
            let end = sys::copy::next_hole(from, start)?.min(size);
            self.part(from, to, start, end)?;
            at = end;
        }
        Ok(())
    }

    fn part(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> Result<()> {
        let mut at = start;
        while self.can_range && at < end {
            match sys::copy::copy_range(from, to, at, end - at) {
                // Some file systems say 0 where they mean that they cannot.
                Ok(0) | Err(_) => self.can_range = false,
                Ok(n) => at += n,
            }
        }
        let mut buffer = vec![0; if at < end { 256 << 10 } else { 0 }];
        while at < end {
            let most = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let n = sys::fs::read_at(from, &mut buffer[..most], at as i64)?;
            if n == 0 {
                return Err(Error::corrupt("the file has become shorter"));
            }
            let mut written = 0;
            while written < n {
                written += sys::copy::write_at(to, &buffer[written..n], at + written as u64)?;
            }
            at += n as u64;
        }
        Ok(())
    }
}
