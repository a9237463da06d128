//! Taking away what is mounted at and below a path, whoever mounted it and whenever.
//!
//! May not: keep a list of what was mounted, believe one, or touch a mount anywhere else, whatever propagates.

use std::path::{Path, PathBuf};
use sys::mountinfo;

use crate::{Context, Error, Kind, Result};

/// What to do with a mount that somebody uses: has a file in it open, or works in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// It stays, with what was not looked at yet.
    Refuse,
    /// It is taken from its place now, and ends with its last user.
    Detach,
}

/// What there was to take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmounted {
    Nothing,
    /// Nobody has anything of it any more.
    Ended,
    /// Somebody still uses it, without a place.
    Lingers,
}

/// How often the list of mounts is read again when some are left.
const ROUNDS: usize = 16;

/// Unmounts everything at and below `path`. Nothing mounted, or no such path, is success.
///
/// # Errors
/// Something is in use ([`Kind::Conflict`]), or cannot be unmounted.
pub fn unmount(path: &Path, busy: Busy) -> Result<Unmounted> {
    let mut done = Unmounted::Nothing;
    for _ in 0..ROUNDS {
        let survey = Survey::of(path)?;
        if survey.mounts.is_empty() {
            return Ok(done);
        }
        survey.part()?;
        for place in survey.mounts.iter().rev() {
            let ended = detach(place, busy).context(format_args!("failed to unmount {}", place.display()))?;
            if done != Unmounted::Lingers {
                done = ended;
            }
        }
    }
    Err(Error::new(format!(
        "failed to unmount {}: mounts appear as fast as they are taken away",
        path.display()
    )))
}

fn detach(place: &Path, busy: Busy) -> Result<Unmounted> {
    let path = sys::fs::c_path(place)?;
    match sys::mount::umount(&path, libc::UMOUNT_NOFOLLOW) {
        Ok(()) => Ok(Unmounted::Ended),
        // Gone with what it lay on, or hidden below another; the list is read again.
        Err(e) if [libc::EINVAL, libc::ENOENT, libc::ENOTDIR].contains(&e.errno().0) => Ok(Unmounted::Ended),
        Err(e) if e.is(libc::EBUSY) && busy == Busy::Refuse => Err(Error::of(
            Kind::Conflict,
            "somebody has files open in it or works in it",
        )),
        Err(e) if e.is(libc::EBUSY) => {
            sys::mount::umount(&path, libc::UMOUNT_NOFOLLOW | libc::MNT_DETACH)?;
            Ok(Unmounted::Lingers)
        }
        Err(e) => Err(e.into()),
    }
}

/// What is mounted at and below `path`, in the order of /proc/self/mountinfo: parents before their children.
///
/// # Errors
/// The list cannot be read.
pub fn mounts_below(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(Survey::of(path)?.mounts)
}

struct Survey {
    mounts: Vec<PathBuf>,
    /// One of them propagates to a mount elsewhere: somebody has bound a shared tree into ours.
    is_copy: bool,
}

impl Survey {
    fn of(path: &Path) -> Result<Survey> {
        let Some(path) = resolved(path)? else {
            return Ok(Survey {
                mounts: Vec::new(),
                is_copy: false,
            });
        };
        let table = mountinfo::own_table().context("failed to read the list of mounts")?;
        Ok(Survey::read(&table, &path))
    }

    fn read(table: &[u8], path: &Path) -> Survey {
        let (mut mounts, mut groups, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        for mount in mountinfo::mounts(table) {
            let (place, group) = (mount.mountpoint(), mount.peer_group());
            if place.starts_with(path) {
                groups.extend(group);
                mounts.push(place);
            } else {
                outside.extend(group);
            }
        }
        Survey {
            mounts,
            is_copy: groups.iter().any(|group| outside.contains(group)),
        }
    }

    /// Keeps from the original what is about to happen to its copy: what is unmounted in a copy of a shared tree is unmounted in
    /// the tree as well. Only then, because a slave keeps it from other mount namespaces too, where copies stay.
    fn part(&self) -> Result<()> {
        if !self.is_copy {
            return Ok(());
        }
        for place in &self.mounts {
            let path = sys::fs::c_path(place)?;
            match sys::mount::mount(c"", &path, c"", libc::MS_SLAVE, c"") {
                // Hidden below another mount, and parted from its original when that is gone.
                Err(e) if e.is(libc::EINVAL) || e.is(libc::ENOENT) => {}
                done => done.context(format_args!(
                    "failed to part {} from its original",
                    place.display()
                ))?,
            }
        }
        Ok(())
    }
}

/// As the kernel writes it: without links, but for the last name, on which nothing can be mounted if it is one. `None`: it is
/// not there.
fn resolved(path: &Path) -> Result<Option<PathBuf>> {
    let Some(name) = path.file_name() else {
        return Err(Error::invalid(format!(
            "refused to unmount everything below {}",
            path.display()
        )));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    match std::fs::canonicalize(parent) {
        Ok(parent) => Ok(Some(parent.join(name))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).context(format_args!("failed to look up {}", parent.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"36 35 98:0 / / rw shared:1 - ext4 /dev/x rw\n\
        40 36 0:40 / /b/rootfs rw - overlay overlay rw\n\
        41 36 0:41 / /b/rootfs2 rw - overlay overlay rw\n\
        42 40 0:42 / /b/rootfs/x\\040y rw shared:1 - ext4 /dev/x rw\n\
        short line\n";

    #[test]
    fn what_lies_below_is_found_and_nothing_else() {
        let survey = Survey::read(LIST, Path::new("/b/rootfs"));
        assert_eq!(
            survey.mounts,
            [Path::new("/b/rootfs"), Path::new("/b/rootfs/x y")]
        );
        assert!(survey.is_copy);
        let survey = Survey::read(LIST, Path::new("/b/rootfs2"));
        assert_eq!(survey.mounts, [Path::new("/b/rootfs2")]);
        assert!(!survey.is_copy);
    }

    #[test]
    fn the_root_is_refused_and_what_is_not_there_has_no_mounts() {
        assert!(unmount(Path::new("/"), Busy::Detach).is_err());
        assert!(unmount(Path::new("/tmp/.."), Busy::Detach).is_err());
        let nowhere = Path::new("/nowhere/at/all");
        assert_eq!(unmount(nowhere, Busy::Refuse).unwrap(), Unmounted::Nothing);
    }
}
