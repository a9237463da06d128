//! A file as a block device, for `loop` and for images that the kernel does not take as files.
//!
//! May not: leave a device taken. It frees itself when the mount is gone, and when we die before there is one.

use super::options::Options;
use super::{Error, Mount, Result, mount_classic};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys::loopdev::{AUTOCLEAR, DIRECT_IO, READ_ONLY};

/// Others may take a free device before we do, so many times in a row only if there are as many of them.
const TRIES: usize = 128;

pub(super) fn mount(mount: &Mount, options: &Options<'_>, at: BorrowedFd<'_>) -> Result<()> {
    let mut flags = AUTOCLEAR;
    if options.flags & libc::MS_RDONLY != 0 {
        flags |= READ_ONLY;
    }
    if options.data.contains(&"direct-io") {
        flags |= DIRECT_IO;
    }
    let data = options.data_without(&["direct-io"])?;
    // The device stays open until it is mounted: the last close frees it.
    let (_device, path) =
        attach(Path::new(&mount.source), flags).map_err(|e| e.doing("failed to set up a loop device"))?;
    mount_classic(&path, at, &mount.kind, options.flags, &data)
}

fn attach(image: &Path, mut flags: u32) -> Result<(OwnedFd, String)> {
    let file = match sys::fs::open(image, open_mode(flags), 0) {
        // On a read-only file system or immutable: what lies on it can still be read.
        Err(e)
            if flags & READ_ONLY == 0 && (e.is(libc::EROFS) || e.is(libc::EACCES) || e.is(libc::EPERM)) =>
        {
            flags |= READ_ONLY;
            sys::fs::open(image, open_mode(flags), 0)?
        }
        other => other?,
    };
    let control = sys::fs::open(Path::new("/dev/loop-control"), libc::O_RDWR, 0)?;
    for _ in 0..TRIES {
        let path = format!("/dev/loop{}", sys::loopdev::free_number(control.as_fd())?);
        let device = sys::fs::open(Path::new(&path), open_mode(flags), 0)?;
        let name = image.as_os_str().as_encoded_bytes();
        match sys::loopdev::configure(device.as_fd(), file.as_fd(), name, flags) {
            Ok(()) => return Ok((device, path)),
            Err(e) if e.is(libc::EBUSY) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new(format!(
        "{TRIES} devices in a row were taken by others"
    )))
}

fn open_mode(flags: u32) -> i32 {
    match flags & READ_ONLY {
        0 => libc::O_RDWR,
        _ => libc::O_RDONLY,
    }
}
