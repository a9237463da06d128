//! Where a COPY or ADD puts what it has found: the rules for files, directories, and slashes at the end.
//!
//! | source | destination | becomes |
//! |---|---|---|
//! | file | a directory, or a slash at its end | its name in there |
//! | file | anything else | that |
//! | directory | is not there | made, with mode 0755; then as below |
//! | directory | a directory | its files are put in; of those directories in it that exist, mode and owner become the source's |
//!
//! May not: copy. [`super::copy`] does, from descriptor to descriptor.

use std::io::Seek as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use build::values::mode::Mode;
use engine::tree::{as_path, give};
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use sys::fs;
use sys::fs::Dated;
use sys::xattr::Time;

use super::copy::{self, Dress};
use super::paths::{self, Components};
use super::select::{Node, Selected, Top};
use super::{Placement, Tree, unpack};

/// What BuildKit gives to files of the Dockerfile.
const INLINE_MODE: u32 = 0o644;

const DIRECTORY_MODE: u32 = 0o755;

pub(super) fn put(
    tree: &Tree,
    selected: &Selected,
    root: BorrowedFd<'_>,
    placement: &Placement<'_>,
    cancel: &Cancel,
) -> Result<()> {
    let target = Target { root, placement };
    for top in &selected.tops {
        match top {
            Top::Inline { name, text } => target.inline(name, text)?,
            Top::Found {
                name,
                path,
                nodes,
                is_foreign,
            } => {
                let from = tree
                    .root()
                    .ok_or_else(|| Error::new("files were selected in another tree"))?;
                let source = Source {
                    from,
                    name,
                    path,
                    nodes,
                    dress: target.dress(*is_foreign),
                };
                target.found(&source, selected, cancel)?;
            }
        }
    }
    Ok(())
}

/// Makes a directory and those above it, where they are not there.
pub(super) fn make_directory(root: BorrowedFd<'_>, path: &str, owner: (u32, u32)) -> Result<()> {
    let placement = Placement {
        destination: path,
        owner: Some(owner),
        mode: None,
        unpack: false,
        follow: true,
    };
    let target = Target {
        root,
        placement: &placement,
    };
    target.directory(&target.path()?).map(drop)
}

/// A top, and where it is taken from.
struct Source<'s> {
    from: BorrowedFd<'s>,
    name: &'s [u8],
    path: &'s [Vec<u8>],
    nodes: &'s [Node],
    dress: Dress<'s>,
}

struct Target<'t> {
    root: BorrowedFd<'t>,
    placement: &'t Placement<'t>,
}

/// A name that is to be given to something.
struct Place {
    directory: OwnedFd,
    name: Vec<u8>,
    /// For errors.
    path: Components,
}

impl<'t> Target<'t> {
    fn dress(&self, is_foreign: bool) -> Dress<'t> {
        Dress {
            owner: self.placement.owner.or(is_foreign.then_some((0, 0))),
            mode: self.placement.mode,
        }
    }

    /// Where the destination leads now: what was put before may have brought links.
    fn path(&self) -> Result<Components> {
        let written = self.placement.destination.as_bytes();
        match self.placement.follow {
            true => paths::resolve(self.root, written, &|_| true),
            false => Ok(paths::components(written)),
        }
    }

    fn found(&self, source: &Source<'_>, selected: &Selected, cancel: &Cancel) -> Result<()> {
        let Some(top) = source.nodes.first() else {
            return Ok(());
        };
        let shown = paths::shown(source.path);
        if top.is_dir() {
            let path = self.path()?;
            let to = match self.directory(&path) {
                Err(e) if e.kind() == Kind::Conflict && !self.placement.destination.ends_with('/') => {
                    let shown = paths::shown(&path);
                    return Err(Error::invalid(format!("cannot copy to non-directory: {shown}")));
                }
                other => other?,
            };
            let from =
                paths::open_directory(source.from, source.path).context(format!("failed to open {shown}"))?;
            return copy::directory(
                from,
                to,
                &copy::Work {
                    nodes: source.nodes,
                    dress: &source.dress,
                    selected,
                    cancel,
                    shown: &paths::shown(&path),
                },
            );
        }
        let (last, above) = source
            .path
            .split_last()
            .ok_or_else(|| Error::new("a file without a name"))?;
        let from = paths::open_directory(source.from, above).context(format!("failed to open {shown}"))?;
        if self.placement.unpack && self.unpacked(from.as_fd(), last, &top.found, selected, cancel)? {
            return Ok(());
        }
        let place = self.place(source.name)?;
        copy::single(
            from.as_fd(),
            last,
            &top.found,
            (place.directory.as_fd(), &place.name),
            &source.dress,
            selected,
        )
        .map_err(|e| copy::failed(e, &paths::shown(&place.path)))
    }

    /// Unpacks a file, if it is an archive.
    fn unpacked(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        found: &Dated,
        selected: &Selected,
        cancel: &Cancel,
    ) -> Result<bool> {
        let Some(mut file) = copy::open_file(directory, name, found)? else {
            return Ok(false);
        };
        if !unpack::is_archive(&file) {
            return Ok(false);
        }
        file.rewind()?;
        let to = self.directory(&self.path()?)?;
        unpack::unpack(&file, to.as_fd(), self.placement.owner, cancel)
            .context(format!("failed to unpack {}", as_path(name).display()))?;
        let now = fs::dated(file.as_fd(), Path::new(""), libc::AT_EMPTY_PATH)?;
        if !is_same(&now, found) {
            selected.change();
        }
        Ok(true)
    }

    fn inline(&self, name: &str, text: &str) -> Result<()> {
        let place = self.place(name.as_bytes())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let mtime = Time {
            seconds: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: now.subsec_nanos(),
        };
        let dress = self.dress(true);
        copy::inline(
            (place.directory.as_fd(), &place.name),
            text.as_bytes(),
            INLINE_MODE,
            mtime,
            &dress,
        )
        .map_err(|e| copy::failed(e, &paths::shown(&place.path)))
    }

    /// What a file is called that comes with this name.
    fn place(&self, name: &[u8]) -> Result<Place> {
        let mut path = self.path()?;
        let is_directory =
            self.placement.destination.ends_with('/') || path.is_empty() || self.is_directory(&path)?;
        if is_directory {
            let directory = self.directory(&path)?;
            path.push(name.to_vec());
            return Ok(Place {
                directory,
                name: name.to_vec(),
                path,
            });
        }
        let (name, above) = path
            .split_last()
            .ok_or_else(|| Error::new("a destination without a name"))?;
        Ok(Place {
            directory: self.directory(above)?,
            name: name.clone(),
            path: path.clone(),
        })
    }

    fn is_directory(&self, path: &[Vec<u8>]) -> Result<bool> {
        match paths::open_directory(self.root, path) {
            Ok(_) => Ok(true),
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) || e.is(libc::ELOOP) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// A directory, made with all above it that is missing.
    fn directory(&self, path: &[Vec<u8>]) -> Result<OwnedFd> {
        let mut at = paths::open_directory(self.root, &[])?;
        for (depth, name) in path.iter().enumerate() {
            let shown = || paths::shown(&path[..=depth]);
            let (next, is_new) = match self.step(at.as_fd(), name) {
                Err(e) if e.is(libc::ENOTDIR) => {
                    let kind = match depth + 1 == path.len() {
                        true => Kind::Conflict,
                        false => Kind::Invalid,
                    };
                    return Err(Error::of(kind, format!("mkdir {}: not a directory", shown())));
                }
                other => other.context(format!("mkdir {}", shown()))?,
            };
            if is_new {
                self.finish(next.as_fd()).context(format!("mkdir {}", shown()))?;
            }
            at = next;
        }
        Ok(at)
    }

    /// A directory that was there, or a new one.
    fn step(&self, at: BorrowedFd<'_>, name: &[u8]) -> sys::Result<(OwnedFd, bool)> {
        let name = as_path(name);
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let open = || fs::openat(at, name, flags, 0);
        match open() {
            Err(e) if e.is(libc::ENOENT) => {}
            Err(e) if (e.is(libc::ENOTDIR) || e.is(libc::ELOOP)) && !self.placement.follow => {
                if !fs::fstatat(at, name, libc::AT_SYMLINK_NOFOLLOW)?.is_symlink() {
                    return Err(e);
                }
                fs::unlinkat(at, name, 0)?;
            }
            other => return other.map(|there| (there, false)),
        }
        fs::mkdirat(at, name, 0o700)?;
        open().map(|made| (made, true))
    }

    fn finish(&self, made: BorrowedFd<'_>) -> Result<()> {
        let (uid, gid) = self.placement.owner.unwrap_or((0, 0));
        give(made, Path::new(""), uid, gid)?;
        // As BuildKit: an octal --chmod is for these too, one with letters is not.
        let mode = match self.placement.mode {
            Some(Mode::Octal(bits)) => *bits,
            _ => DIRECTORY_MODE,
        };
        Ok(fs::fchmod(made, mode)?)
    }
}

/// Whether two looks at a file have seen the same.
pub(super) fn is_same(a: &Dated, b: &Dated) -> bool {
    (a.stat.ino, a.stat.size, a.mtime, a.ctime) == (b.stat.ino, b.stat.size, b.mtime, b.ctime)
}
