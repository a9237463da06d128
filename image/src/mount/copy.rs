//! Layers copied over each other into one directory, for where no overlay can be mounted.
//!
//! May not: follow a link, neither in a layer nor in the copy, or copy anything that a higher layer hides. What an overlay
//! would show is what the copy has; only its inodes are its own.
//!
//! Blocks are shared where the file system can (XFS, btrfs), and holes stay holes. Hard links stay together as far as one layer
//! holds them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sys::fs::{RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, Stat};

use super::{Layer, erofs, fd_path};
use crate::bytes::Bytes;
use crate::{Context, Error, Kind, Result};

/// Attributes in which overlay keeps its own notes, one of which says that nothing below a directory shows through.
const NOTES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Copies `layers`, the lowest first, into `target`, which must be empty.
pub(super) fn flatten(layers: &[&Layer], target: &Path) -> Result<()> {
    let target = sys::fs::open(target, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)?;
    if !sys::fs::entries(target.as_fd())?.is_empty() {
        return Err(Error::of(Kind::Conflict, "the directory is not empty"));
    }
    let sources = layers
        .iter()
        .rev()
        .map(|layer| match layer {
            Layer::Tree(path) => super::open_directory(path),
            Layer::Erofs(_) | Layer::Open(_) => erofs::mount(layer.path(), 0),
        })
        .collect::<Result<Vec<_>>>()?;
    let mut copy = Copy {
        sources,
        target,
        linked: HashMap::new(),
        bytes: Bytes::default(),
    };
    copy.everything()
}

struct Copy {
    /// The roots of the layers, the topmost first.
    sources: Vec<OwnedFd>,
    target: OwnedFd,
    /// Where the first name of a file with several names is, by layer and inode.
    linked: HashMap<(usize, u64), PathBuf>,
    bytes: Bytes,
}

enum Task {
    /// A directory that these layers have a part in, the topmost first.
    Enter(PathBuf, Vec<usize>),
    /// Everything in it is there: now it gets what the topmost has to say about the directory itself.
    Leave(PathBuf, usize),
}

/// What is known about a name of a directory while its layers are read from the top.
enum Found {
    /// The layers below have nothing more to say.
    Settled,
    /// A directory, whose lower parts may show through.
    Directory { layers: Vec<usize>, is_opaque: bool },
}

impl Copy {
    fn everything(&mut self) -> Result<()> {
        let all = (0..self.sources.len()).collect();
        let mut tasks = vec![Task::Enter(PathBuf::new(), all)];
        while let Some(task) = tasks.pop() {
            let (doing, path) = match &task {
                Task::Enter(path, _) => ("copy the directory", path.clone()),
                Task::Leave(path, _) => ("finish the directory", path.clone()),
            };
            self.perform(task, &mut tasks)
                .context(format_args!("failed to {doing} /{}", path.display()))?;
        }
        Ok(())
    }

    fn perform(&mut self, task: Task, tasks: &mut Vec<Task>) -> Result<()> {
        match task {
            Task::Enter(path, layers) => {
                let top = layers.first().copied().unwrap_or_default();
                tasks.push(Task::Leave(path.clone(), top));
                self.enter(&path, &layers, tasks)
            }
            Task::Leave(path, layer) => {
                let from = below(self.source(layer)?, &path, libc::O_PATH)?;
                let to = below(self.target.as_fd(), &path, libc::O_RDONLY | libc::O_DIRECTORY)?;
                let stat = sys::fs::fstat(from.as_fd())?;
                copy_attributes(from.as_fd(), to.as_fd(), &stat)?;
                sys::fs::fchmod(to.as_fd(), stat.mode & 0o7777)?;
                copy_times(from, to.as_fd(), Path::new("."))
            }
        }
    }

    fn enter(&mut self, path: &Path, layers: &[usize], tasks: &mut Vec<Task>) -> Result<()> {
        let to = below(self.target.as_fd(), path, libc::O_PATH | libc::O_DIRECTORY)?;
        let mut names: HashMap<OsString, Found> = HashMap::new();
        for layer in layers {
            let from = below(self.source(*layer)?, path, libc::O_RDONLY | libc::O_DIRECTORY)?;
            for name in sys::fs::entries(from.as_fd())? {
                match names.get_mut(&name) {
                    None => {
                        let found = self
                            .first_seen(*layer, from.as_fd(), to.as_fd(), path, &name)
                            .context(format_args!("failed to copy {:?}", name.display()))?;
                        names.insert(name, found);
                    }
                    Some(Found::Directory { layers, is_opaque }) if !*is_opaque => {
                        let (stat, opaque) = look(from.as_fd(), Path::new(&name))?;
                        if stat.is_dir() {
                            layers.push(*layer);
                        }
                        *is_opaque = opaque || !stat.is_dir();
                    }
                    Some(_) => {}
                }
            }
        }
        for (name, found) in names {
            if let Found::Directory { layers, .. } = found {
                sys::fs::mkdirat(to.as_fd(), Path::new(&name), 0o700)?;
                tasks.push(Task::Enter(path.join(name), layers));
            }
        }
        Ok(())
    }

    fn first_seen(
        &mut self,
        layer: usize,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        directory: &Path,
        name: &OsString,
    ) -> Result<Found> {
        let name = Path::new(name);
        let (stat, is_opaque) = look(from, name)?;
        if stat.is_dir() {
            let layers = vec![layer];
            return Ok(Found::Directory { layers, is_opaque });
        }
        if !stat.is_char_device(0, 0) {
            self.copy_entry(layer, from, to, directory, name, &stat)?;
        }
        Ok(Found::Settled)
    }

    fn copy_entry(
        &mut self,
        layer: usize,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        directory: &Path,
        name: &Path,
        stat: &Stat,
    ) -> Result<()> {
        let key = (layer, stat.ino);
        if let (true, Some(first)) = (stat.nlink > 1, self.linked.get(&key)) {
            return Ok(sys::fs::linkat(self.target.as_fd(), first, to, name, 0)?);
        }
        let made = match stat.file_type() {
            libc::S_IFREG => self.copy_file(from, to, name, stat)?,
            libc::S_IFLNK => {
                sys::fs::symlinkat(&sys::fs::readlinkat(from, name)?, to, name)?;
                sys::fs::openat(to, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?
            }
            kind => {
                sys::fs::mknodat(to, name, kind | 0o600, stat.rdev)?;
                sys::fs::openat(to, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?
            }
        };
        let original = sys::fs::openat(from, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
        copy_attributes(original.as_fd(), made.as_fd(), stat)?;
        if !stat.is_symlink() {
            // No link: we have just made it. The owner comes first, because chown(2) takes set-user-id away.
            sys::fs::fchmodat(to, name, stat.mode & 0o7777)?;
        }
        if stat.nlink > 1 {
            self.linked.insert(key, directory.join(name));
        }
        copy_times(original, to, name)
    }

    fn copy_file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &Path,
        stat: &Stat,
    ) -> Result<OwnedFd> {
        let source = sys::fs::openat(from, name, libc::O_RDONLY | libc::O_NOFOLLOW, 0)?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let file = sys::fs::openat(to, name, flags, 0o600)?;
        if stat.size == 0 {
            return Ok(file);
        }
        self.bytes.copy(source.as_fd(), file.as_fd(), stat.size)?;
        Ok(file)
    }

    fn source(&self, layer: usize) -> Result<BorrowedFd<'_>> {
        let source = self.sources.get(layer).map(AsFd::as_fd);
        source.ok_or_else(|| Error::new("there is no such layer"))
    }
}

/// What is there, and whether it is a directory that hides what lies below it.
fn look(directory: BorrowedFd<'_>, name: &Path) -> Result<(Stat, bool)> {
    let stat = sys::fs::fstatat(directory, name, libc::AT_SYMLINK_NOFOLLOW)?;
    if !stat.is_dir() {
        return Ok((stat, false));
    }
    let fd = sys::fs::openat(directory, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let path = fd_path(fd.as_fd())?;
    for note in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if sys::copy::xattr(&path, note)?.is_some_and(|value| value == b"y") {
            return Ok((stat, true));
        }
    }
    Ok((stat, false))
}

/// Something in a tree, by the way that leads there without a link.
fn below(root: BorrowedFd<'_>, path: &Path, flags: i32) -> Result<OwnedFd> {
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    let resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    match sys::fs::openat2(root, path, flags, 0, resolve) {
        // openat2(2) came with Linux 5.6. Nobody else is in these trees, so that looking twice is good enough.
        Err(e) if e.is_unavailable() => walk(root, path, flags),
        other => other.map_err(Error::from),
    }
}

fn walk(root: BorrowedFd<'_>, path: &Path, flags: i32) -> Result<OwnedFd> {
    let mut at = sys::fs::openat(root, Path::new("."), libc::O_PATH, 0)?;
    for part in path.components() {
        at = sys::fs::openat(
            at.as_fd(),
            part.as_ref(),
            libc::O_PATH | libc::O_NOFOLLOW | libc::O_DIRECTORY,
            0,
        )?;
    }
    Ok(sys::fs::openat(at.as_fd(), Path::new("."), flags, 0)?)
}

/// Owner, then attributes: chown(2) takes file capabilities away.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    sys::fs::fchownat(to, Path::new(""), stat.uid, stat.gid)?;
    let (source, target) = (fd_path(from)?, fd_path(to)?);
    for name in sys::copy::xattr_names(&source)? {
        let bytes = name.as_bytes();
        // The host's policy gives labels, not the layer.
        if NOTES.iter().any(|note| bytes.starts_with(note)) || bytes == b"security.selinux" {
            continue;
        }
        let Some(value) = sys::copy::xattr(&source, &name)? else {
            continue;
        };
        match sys::fs::set_xattr(&target, &name, &value) {
            // tmpfs before Linux 6.6 has none of the user's; nothing depends on them. Others are rights, and not optional.
            Err(e) if e.is(libc::EOPNOTSUPP) && bytes.starts_with(b"user.") => {}
            done => done?,
        }
    }
    Ok(())
}

fn copy_times(from: OwnedFd, directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let of = std::fs::File::from(from).metadata()?;
    let times = [(of.atime(), of.atime_nsec()), (of.mtime(), of.mtime_nsec())];
    Ok(sys::copy::set_times(directory, name, times[0], times[1])?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("image-copy-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_file_keeps_its_holes() {
        use std::os::unix::fs::FileExt;
        let dir = scratch("holes");
        for name in ["layer", "target"] {
            std::fs::create_dir(dir.join(name)).unwrap();
        }
        let file = std::fs::File::create(dir.join("layer/f")).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 4 << 20).unwrap();
        file.set_len(8 << 20).unwrap();
        flatten(&[&Layer::Tree(dir.join("layer"))], &dir.join("target")).unwrap();
        let [old, new] = ["layer/f", "target/f"].map(|n| dir.join(n));
        assert_eq!(std::fs::read(&old).unwrap(), std::fs::read(&new).unwrap());
        let blocks = |path: &Path| std::fs::metadata(path).unwrap().blocks();
        assert!(blocks(&new) <= blocks(&old), "{} {}", blocks(&new), blocks(&old));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_there_is_not_mixed_with_a_copy() {
        let dir = scratch("full");
        std::fs::write(dir.join("x"), "").unwrap();
        let error = flatten(&[], &dir).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
