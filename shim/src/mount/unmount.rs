//! Taking away whatever is mounted at or below a root.
//!
//! May not: touch a mount anywhere else, whatever the names below the root are, were a moment ago, or point to, and
//! whatever propagates; trust a list of what was mounted: it may be from another process, or from before a crash.

use super::place::{fd_path, open_below, open_root};
use super::{Error, Result};
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use sys::mountinfo::{self, Mount};

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
    for _ in 0..ROUNDS {
        let survey = Survey::of(root.as_fd())?;
        if survey.below.is_empty() {
            return Ok(());
        }
        for mountpoint in &survey.below {
            detach_below(root.as_fd(), mountpoint, &survey)?;
        }
    }
    match Survey::of(root.as_fd())?.below.first() {
        None => Ok(()),
        Some(left) => Err(Error::new(format!("{} stays mounted", left.display()))),
    }
}

/// Each call takes the topmost mount. EINVAL: nothing is mounted there. EBUSY: it is in use, or something lies below it.
fn detach_stack(rootfs: &Path) -> Result<()> {
    let path = sys::fs::c_path(rootfs)?;
    for _ in 0..STACKED {
        let done = match sys::mount::umount(&path, libc::UMOUNT_NOFOLLOW) {
            Err(e) if e.is(libc::EBUSY) => {
                let top = open_root(rootfs)?;
                Survey::of(top.as_fd())?.part(top.as_fd())?;
                sys::mount::umount(&path, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW)
            }
            other => other,
        };
        match done {
            Ok(()) => {}
            Err(e) if [libc::EINVAL, libc::ENOENT, libc::ENOTDIR].contains(&e.errno().0) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new("too many mounts on top of each other"))
}

/// By a descriptor that was reached from the root without following anything: the name in the list may lead elsewhere
/// by now. `UMOUNT_NOFOLLOW` alone would only look at the last part of it.
fn detach_below(root: BorrowedFd<'_>, mountpoint: &Path, survey: &Survey) -> Result<()> {
    let at = match open_below(root, mountpoint) {
        // Gone with what it lay below, or renamed; it is looked for again.
        Err(e) if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::EXDEV].contains(&e.errno().0) => {
            return Ok(());
        }
        other => other?,
    };
    detach(at.as_fd(), survey)
}

/// Takes away a mount, and all that lies below it, by its root.
pub(super) fn detach_tree(top: BorrowedFd<'_>) -> Result<()> {
    detach(top, &Survey::of(top)?)
}

fn detach(top: BorrowedFd<'_>, survey: &Survey) -> Result<()> {
    match survey
        .part(top)
        .and_then(|()| sys::mount::umount(&fd_path(top), libc::MNT_DETACH))
    {
        // Not the root of a mount: it is gone already.
        Err(e) if !e.is(libc::EINVAL) => Err(e.into()),
        _ => Ok(()),
    }
}

/// What is mounted at and below a directory.
struct Survey {
    /// Mount points strictly below it, relative to it; those nearer to it first, and thus parents before their children.
    below: Vec<PathBuf>,
    /// A mount here propagates to one outside: the copy of a tree (`rbind`) to its original, where that is shared.
    is_copy: bool,
}

impl Survey {
    fn of(directory: BorrowedFd<'_>) -> Result<Survey> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))
            .map_err(|e| sys::Error::io("readlink", "/proc/self/fd", &e))?;
        let fd = sys::fs::open(Path::new(mountinfo::OWN), libc::O_RDONLY, 0)?;
        Survey::read(BufReader::with_capacity(4096, std::fs::File::from(fd)), &path)
            .map_err(|e| sys::Error::io("read", mountinfo::OWN, &e).into())
    }

    fn read(mut lines: impl BufRead, directory: &Path) -> std::io::Result<Survey> {
        let (mut below, mut groups, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some(mount) = Mount::parse(&line) {
                let group = mount.peer_group();
                match mount.mountpoint().strip_prefix(directory) {
                    Ok(relative) => {
                        groups.extend(group);
                        below.extend((!relative.as_os_str().is_empty()).then(|| relative.to_owned()));
                    }
                    Err(_) => outside.extend(group),
                }
            }
            line.clear();
        }
        below.sort_by_key(|path: &PathBuf| path.components().count());
        Ok(Survey {
            below,
            is_copy: groups.iter().any(|g| outside.contains(g)),
        })
    }

    /// Keeps what is about to happen here from the original: what is unmounted below the copy of a shared tree is unmounted
    /// in the tree as well. Only then, because a slave keeps it from other mount namespaces too, where copies stay.
    fn part(&self, top: BorrowedFd<'_>) -> sys::Result<()> {
        match self.is_copy {
            true => sys::mount::mount(c"", &fd_path(top), c"", libc::MS_REC | libc::MS_SLAVE, c""),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_lies_below_is_found_and_whether_it_is_a_copy() {
        let read = |text: &[u8]| Survey::read(text, Path::new("/run/b")).unwrap();
        let s = read(
            b"36 35 98:0 /r /run/b/x\\040y\\134z/q rw shared:1 - ext4 /dev/x rw\n\
              36 35 98:0 / /run/b/\xff\\x rw master:3 shared:2 - a b c\n\
              36 35 98:0 / /run/b rw - ext4 /dev/x rw\n\
              36 35 98:0 / /run/bc rw shared:3 - ext4 /dev/x rw\n\
              36 35 98:0 / / rw - ext4 shared:1 rw\nshort line\n",
        );
        let below: Vec<_> = s.below.iter().map(|p| p.as_os_str().as_bytes()).collect();
        assert_eq!(below, [b"\xff\\x" as &[u8], b"x y\\z/q"], "the nearer first");
        assert!(!s.is_copy);
        let s = read(b"1 2 3 / /run/b rw shared:7 - a b c\n1 2 3 / /tree rw shared:7 - a b c\n");
        assert!(s.is_copy && s.below.is_empty());
    }

    #[test]
    fn the_root_of_the_host_is_refused() {
        for path in ["/", ""] {
            assert!(unmount_all(Path::new(path)).is_err(), "{path:?}");
        }
    }
}
