//! Taking away what is mounted at and below a path, whoever mounted it and whenever.
//!
//! May not: keep a list of what was mounted, believe one, or touch a mount anywhere else, whatever propagates.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

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
        let list = std::fs::read("/proc/self/mountinfo").context("failed to read the list of mounts")?;
        Ok(Survey::read(&list, &path))
    }

    fn read(list: &[u8], path: &Path) -> Survey {
        let (mut mounts, mut groups, mut outside) = (Vec::new(), Vec::new(), Vec::new());
        for (place, group) in list.split(|b| *b == b'\n').filter_map(parse) {
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

/// Mount point and peer group of a line: `ID PARENT DEV ROOT MOUNTPOINT OPTIONS [shared:GROUP ...] - ...`
fn parse(line: &[u8]) -> Option<(PathBuf, Option<u32>)> {
    let mut words = line.split(|b| *b == b' ').skip(4);
    let place = PathBuf::from(unescape(words.next()?));
    let group = words.skip(1).take_while(|word| *word != b"-").find_map(|word| {
        std::str::from_utf8(word.strip_prefix(b"shared:")?)
            .ok()?
            .parse()
            .ok()
    });
    Some((place, group))
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
