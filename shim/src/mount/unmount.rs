//! Taking away whatever is mounted at or below a root.
//!
//! May not: touch a mount anywhere else, whatever the names below the root are, were a moment ago, or point to; trust a
//! list of what was mounted: it may be from another process, or from before a crash.

use super::place::{fd_path, open_below, open_root};
use super::{Error, Result};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// More mounts than that, one upon the other, are somebody's game with us.
const STACKED: usize = 10_000;

/// How often the list of mounts is read again when some are left.
const ROUNDS: usize = 16;

/// Detaches everything. Nothing mounted, or no such directory, is success. A link is nothing that can be mounted on.
///
/// With nothing mounted, and an empty directory, this is three system calls; the list of all mounts, which is long on a
/// busy host, is read only where something may lie below.
///
/// # Errors
/// When something is still mounted afterwards.
pub fn unmount_all(rootfs: &Path) -> Result<()> {
    if rootfs.parent().is_none() {
        return Err(Error::new(format!(
            "refused to unmount everything below {:?}",
            rootfs.display()
        )));
    }
    unmount(rootfs).map_err(|e| e.doing(format!("failed to unmount {}", rootfs.display())))
}

fn unmount(rootfs: &Path) -> Result<()> {
    detach_stack(rootfs)?;
    let root = match open_root(rootfs) {
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => return Ok(()),
        other => other?,
    };
    if sys::fs::entries(root.as_fd()).is_ok_and(|names| names.is_empty()) {
        return Ok(());
    }
    let path = std::fs::read_link(format!("/proc/self/fd/{}", root.as_raw_fd()))
        .map_err(|e| sys::Error::io("readlink", rootfs.display().to_string(), &e))?;
    for _ in 0..ROUNDS {
        let below = mounts_below(&path)?;
        if below.is_empty() {
            return Ok(());
        }
        // The last ones first: they may lie on the others.
        for mountpoint in below.iter().rev() {
            detach_below(&root, mountpoint)?;
        }
    }
    match mounts_below(&path)?.first() {
        None => Ok(()),
        Some(left) => Err(Error::new(format!("{} stays mounted", left.display()))),
    }
}

/// Each call takes the topmost mount with all that lies below it. EINVAL: nothing is mounted there.
fn detach_stack(rootfs: &Path) -> Result<()> {
    let path = sys::fs::c_path(rootfs)?;
    for _ in 0..STACKED {
        match sys::mount::umount(&path, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(e) if [libc::EINVAL, libc::ENOENT, libc::ENOTDIR].contains(&e.errno().0) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new("too many mounts on top of each other"))
}

/// By a descriptor that was reached from the root without following anything: the name in the list may lead elsewhere
/// by now. `UMOUNT_NOFOLLOW` alone would only look at the last part of it.
fn detach_below(root: &OwnedFd, mountpoint: &Path) -> Result<()> {
    let at = match open_below(root.as_fd(), mountpoint) {
        // Gone, or renamed; it is looked for again.
        Err(e) if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::EXDEV].contains(&e.errno().0) => {
            return Ok(());
        }
        other => other?,
    };
    match sys::mount::umount(&fd_path(at.as_fd()), libc::MNT_DETACH) {
        Err(e) if !e.is(libc::EINVAL) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Mount points strictly below a directory, relative to it, in the order of /proc/self/mountinfo.
fn mounts_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let list = Path::new("/proc/self/mountinfo");
    let fd = sys::fs::open(list, libc::O_RDONLY, 0)?;
    let mut lines = BufReader::with_capacity(4096, std::fs::File::from(fd));
    let (mut line, mut found) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(found),
            Ok(_) => found.extend(mountpoint_below(&line, directory)),
            Err(e) => return Err(sys::Error::io("read", "/proc/self/mountinfo", &e).into()),
        }
    }
}

fn mountpoint_below(line: &[u8], directory: &Path) -> Option<PathBuf> {
    let mountpoint = PathBuf::from(unescape(line.split(|b| *b == b' ').nth(4)?));
    let relative = mountpoint.strip_prefix(directory).ok()?;
    (!relative.as_os_str().is_empty()).then(|| relative.to_owned())
}

/// Space, tab, newline and backslash are three octal digits.
fn unescape(text: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        let byte = match (first, more.get(..3)) {
            (b'\\', Some(digits)) => std::str::from_utf8(digits)
                .ok()
                .and_then(|d| u8::from_str_radix(d, 8).ok()),
            _ => None,
        };
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[3..] } else { more };
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn lines_of_mountinfo() {
        let below = |line: &str| mountpoint_below(line.as_bytes(), Path::new("/run/b"));
        assert_eq!(
            below("36 35 98:0 /r /run/b/x\\040y\\134z rw shared:1 - ext4 /dev/x rw\n"),
            Some(PathBuf::from("x y\\z"))
        );
        assert_eq!(below("36 35 98:0 / /run/b rw - ext4 /dev/x rw\n"), None);
        assert_eq!(below("36 35 98:0 / /run/bc rw - ext4 /dev/x rw\n"), None);
        assert_eq!(below("short\n"), None);
        let odd = mountpoint_below(b"1 2 3 / /run/b/\xff\\x rw - a b c\n", Path::new("/run/b"));
        assert_eq!(odd.unwrap().as_os_str().as_bytes(), b"\xff\\x");
    }

    #[test]
    fn the_root_of_the_host_is_refused() {
        for path in ["/", ""] {
            assert!(unmount_all(Path::new(path)).is_err(), "{path:?}");
        }
    }
}
