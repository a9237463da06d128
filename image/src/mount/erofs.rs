//! EROFS from a file (Linux 6.12, CONFIG_EROFS_FS_BACKED_BY_FILE).
//!
//! May not: set up block devices. Where the kernel takes no file, layers are kept as trees.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::{Context, Error, Kind, Result};

/// A mount of the image, attached nowhere. It is read-only in any case.
pub(super) fn mount(file: &Path, attributes: u64) -> Result<OwnedFd> {
    open(file, attributes)
        .map_err(|e| match e.errno().0 {
            libc::ENOTBLK => {
                unsupported("this kernel mounts EROFS only from block devices (files since Linux 6.12)")
            }
            libc::ENODEV => unsupported("this kernel has no EROFS"),
            libc::EPERM if super::in_user_namespace() => {
                unsupported("EROFS cannot be mounted in a user namespace")
            }
            _ => Error::from(e),
        })
        .context(format_args!("failed to mount the layer {}", file.display()))
}

fn unsupported(text: &str) -> Error {
    Error::of(Kind::Unsupported, text)
}

fn open(file: &Path, attributes: u64) -> sys::Result<OwnedFd> {
    let context = sys::mount::fsopen(c"erofs")?;
    sys::mount::fsconfig_set(context.as_fd(), c"source", Some(&source(file)?.1))?;
    sys::mount::fsconfig_create(context.as_fd())?;
    sys::mount::fsmount(context.as_fd(), attributes)
}

/// The path, if fsconfig(2) takes one so long; else the way through a descriptor, which stays open meanwhile.
fn source(file: &Path) -> sys::Result<(Option<OwnedFd>, std::ffi::CString)> {
    let path = sys::fs::c_path(file)?;
    if path.as_bytes().len() <= sys::mount::FSCONFIG_STRING_MAX {
        return Ok((None, path));
    }
    let fd = sys::fs::open(file, libc::O_RDONLY, 0)?;
    let path = super::fd_path(fd.as_fd())?;
    Ok((Some(fd), path))
}

/// Whether this kernel mounts EROFS from a file, here and for us. It is asked with a file that is none: where files are taken, the
/// kernel's complaint is about what is in it.
pub fn takes_files(other: &Path) -> bool {
    match open(other, 0) {
        Ok(_) => true,
        Err(e) => e.call() == "fsconfig" && e.is(libc::EINVAL),
    }
}
