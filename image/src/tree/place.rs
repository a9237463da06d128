//! Entries into a tree that may be somebody else's: a container that swaps a directory for a link meanwhile gets an error, and
//! nothing outside of it is touched.
//!
//! May not: follow a link that is found where something is put. A file takes the place of what has its name; it is never
//! written through it, but where a mount keeps the name (`/etc/hosts` of a container that runs), which would be refused otherwise.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::bytes::Bytes;
use crate::layer::tar::{Entry, Piece, Time, Type};
use crate::{Context, Error, Kind, Result};
use sys::fs;

use super::{Contents, Sink, as_path, components, give, open_beneath, proc_path, reopen};

/// Whose files will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// As the source says.
    Keep,
    /// All of this user and group.
    All(u32, u32),
}

/// Resolves a directory of an archive in which links are followed: inside of a container.
pub type Follow<'f> = &'f dyn Fn(&Path) -> Result<OwnedFd>;

/// How often a name may be taken by somebody else between our removal of what was there and our making.
const TRIES: u32 = 64;

/// Puts entries below a directory.
pub struct Placer<'p> {
    target: BorrowedFd<'p>,
    owners: Owners,
    follow: Option<Follow<'p>>,
    /// The directory that was used last: neighbours in a tree come one after the other.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Directories get their attributes at the end: their times change with what is put in, and their mode may keep their owner out.
    directories: Vec<Entry>,
    bytes: Bytes,
}

impl<'p> Placer<'p> {
    pub fn new(target: BorrowedFd<'p>, owners: Owners) -> Placer<'p> {
        Placer {
            target,
            owners,
            follow: None,
            last: None,
            directories: Vec::new(),
            bytes: Bytes::default(),
        }
    }

    /// An archive of somebody's may have `lib/x` where `lib` is a link here. Such links are followed by `follow`.
    #[must_use]
    pub fn following(mut self, follow: Follow<'p>) -> Placer<'p> {
        self.follow = Some(follow);
        self
    }

    /// The end: attributes of directories.
    ///
    /// # Errors
    /// They cannot be set, or a directory is not there any more.
    pub fn finish(mut self) -> Result<()> {
        self.last = None;
        while let Some(entry) = self.directories.pop() {
            let doing = || format!("failed to finish {}", as_path(&entry.path).display());
            let fd = self
                .open_directory(&entry.path)
                .and_then(|fd| Ok(fs::openat(fd.as_fd(), Path::new("."), libc::O_RDONLY, 0)?))
                .context(doing())?;
            self.attributes(fd.as_fd(), &entry, true).context(doing())?;
        }
        Ok(())
    }

    fn open_directory(&self, path: &[u8]) -> Result<OwnedFd> {
        match open_beneath(self.target, path, libc::O_PATH | libc::O_DIRECTORY) {
            // A link on the way.
            Err(e) if e.is(libc::ELOOP) || e.is(libc::ENOTDIR) => match self.follow {
                Some(follow) => follow(as_path(path)),
                None => Err(Error::from(e)),
            },
            other => Ok(other?),
        }
    }

    /// The directory that an entry goes into; made where it is missing.
    fn parent(&mut self, parents: &[&[u8]]) -> Result<OwnedFd> {
        let path = parents.join(&b'/');
        let copy = |fd: &OwnedFd| fd.try_clone().context("failed to duplicate a descriptor");
        if let Some((last, fd)) = &self.last
            && *last == path
        {
            return copy(fd);
        }
        let opened = match self.open_directory(&path) {
            Err(e) if e.kind() == Kind::NotFound => self.make_parents(parents)?,
            other => other?,
        };
        let result = copy(&opened)?;
        self.last = Some((path, opened));
        Ok(result)
    }

    fn make_parents(&self, parents: &[&[u8]]) -> Result<OwnedFd> {
        let mut at = fs::openat(self.target, Path::new("."), libc::O_PATH, 0)?;
        for depth in 1..=parents.len() {
            let path = parents[..depth].join(&b'/');
            at = match self.open_directory(&path) {
                Err(e) if e.kind() == Kind::NotFound => {
                    let name = as_path(parents[depth - 1]);
                    match fs::mkdirat(at.as_fd(), name, 0o755) {
                        Err(e) if !e.is(libc::EEXIST) => return Err(e.into()),
                        _ => {}
                    }
                    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
                    fs::openat(at.as_fd(), name, flags, 0)?
                }
                other => other?,
            };
        }
        Ok(at)
    }

    fn put(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        let parts = components(&entry.path)?;
        let Some((name, parents)) = parts.split_last() else {
            // The target itself stays as it is.
            return Ok(());
        };
        let parent = self.parent(parents)?;
        let parent = parent.as_fd();
        let name = as_path(name);
        let device = libc::makedev(entry.major, entry.minor);
        match entry.kind {
            Type::Directory => return self.directory(parent, name, entry, parts.join(&b'/')),
            Type::File => return self.file(parent, name, entry, contents),
            Type::Hardlink => return self.hardlink(parent, name, entry),
            Type::Symlink => {
                replace(parent, name, || fs::symlinkat(as_path(&entry.link), parent, name))?;
                self.own(parent, name, entry)?;
                for (attribute, value) in &entry.xattrs {
                    set_attribute(attribute, |n| sys::xattr::lsetxattrat(parent, name, n, value))?;
                }
                return Ok(sys::xattr::utimensat(parent, name, entry.mtime)?);
            }
            Type::Fifo => replace(parent, name, || fs::mkfifoat(parent, name, 0o600))?,
            Type::CharDevice => {
                replace(parent, name, || {
                    fs::mknodat(parent, name, libc::S_IFCHR | 0o600, device)
                })?;
            }
            Type::BlockDevice => {
                replace(parent, name, || {
                    fs::mknodat(parent, name, libc::S_IFBLK | 0o600, device)
                })?;
            }
        }
        self.node(parent, name, entry)
    }

    /// Attributes of a FIFO or a device, by the inode: its name may have been given to something else by now.
    fn node(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<()> {
        let fd = fs::openat(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
        let made = match entry.kind {
            Type::Fifo => libc::S_IFIFO,
            Type::CharDevice => libc::S_IFCHR,
            _ => libc::S_IFBLK,
        };
        if fs::fstat(fd.as_fd())?.file_type() != made {
            return Err(Error::new("it has been replaced while it was made"));
        }
        if let Some((uid, gid)) = self.owner(entry) {
            give(fd.as_fd(), Path::new(""), uid, gid)?;
        }
        let path = proc_path(fd.as_fd());
        fs::fchmodat(fs::cwd(), as_path(path.as_bytes()), entry.mode)?;
        for (attribute, value) in &entry.xattrs {
            set_attribute(attribute, |n| fs::set_xattr(&path, n, value))?;
        }
        set_times(fd.as_fd(), entry.mtime)
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry, path: Vec<u8>) -> Result<()> {
        match fs::mkdirat(parent, name, 0o700) {
            Err(e) if e.is(libc::EEXIST) => {
                let stat = fs::fstatat(parent, name, libc::AT_SYMLINK_NOFOLLOW)?;
                // In an archive that is put into a container, a link to a directory is as good as one.
                let is_followed = stat.is_symlink() && self.follow.is_some_and(|f| f(as_path(&path)).is_ok());
                if is_followed {
                    return Ok(());
                }
                if !stat.is_dir() {
                    return Err(Error::invalid(format!(
                        "cannot overwrite non-directory {:?} with directory {:?}",
                        name.display(),
                        as_path(&path).display()
                    )));
                }
            }
            made => made?,
        }
        self.directories.push(Entry {
            path,
            ..entry.clone()
        });
        Ok(())
    }

    fn file(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &Path,
        entry: &Entry,
        contents: Contents<'_>,
    ) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let mut made = None;
        let created = replace(parent, name, || {
            made = Some(fs::openat(parent, name, flags, 0o600)?);
            Ok(())
        });
        let (file, is_new) = match (created, made) {
            (Ok(()), Some(fd)) => (File::from(fd), true),
            (Err(e), _) if e.is_mount => (open_in_place(parent, name)?, false),
            (Err(e), _) => return Err(e.into()),
            (Ok(()), None) => return Err(Error::new("the file was not made")),
        };
        match contents {
            Contents::Nothing => {}
            Contents::File(source) => self.bytes.copy(source.as_fd(), file.as_fd(), entry.size)?,
            Contents::Pieces(pieces) => write_pieces(&file, entry.size, pieces)?,
        }
        // What a mount keeps is not ours to give away.
        match is_new {
            true => self.attributes(file.as_fd(), entry, true),
            false => Ok(()),
        }
    }

    fn hardlink(&mut self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<()> {
        let parts = components(&entry.link)?;
        let Some((target, above)) = parts.split_last() else {
            return Err(Error::corrupt("a hardlink to nothing"));
        };
        let from = self.open_directory(&above.join(&b'/'))?;
        let target = as_path(target);
        // In the way of itself it would be lost.
        let same = |a: &fs::Stat, b: &fs::Stat| (a.dev, a.ino) == (b.dev, b.ino);
        let old = fs::fstatat(from.as_fd(), target, libc::AT_SYMLINK_NOFOLLOW)?;
        if fs::fstatat(parent, name, libc::AT_SYMLINK_NOFOLLOW).is_ok_and(|new| same(&old, &new)) {
            return Ok(());
        }
        Ok(replace(parent, name, || {
            fs::linkat(from.as_fd(), target, parent, name, 0)
        })?)
    }

    fn owner(&self, entry: &Entry) -> Option<(u32, u32)> {
        let (uid, gid) = match self.owners {
            Owners::Keep => (entry.uid, entry.gid),
            Owners::All(uid, gid) => (uid, gid),
        };
        ((uid, gid) != sys::process::effective_ids()).then_some((uid, gid))
    }

    fn own(&self, parent: BorrowedFd<'_>, name: &Path, entry: &Entry) -> Result<()> {
        match self.owner(entry) {
            Some((uid, gid)) => give(parent, name, uid, gid),
            None => Ok(()),
        }
    }

    /// Of a file or directory that is open.
    fn attributes(&self, fd: BorrowedFd<'_>, entry: &Entry, with_times: bool) -> Result<()> {
        let (uid, gid) = match self.owners {
            Owners::Keep => (entry.uid, entry.gid),
            Owners::All(uid, gid) => (uid, gid),
        };
        give(fd, Path::new(""), uid, gid)?;
        // chown(2) takes set-id bits and security.capability away, so they come after it.
        fs::fchmod(fd, entry.mode)?;
        for (attribute, value) in &entry.xattrs {
            set_attribute(attribute, |n| sys::xattr::fsetxattr(fd, n, value))?;
        }
        if with_times {
            sys::xattr::futimens(fd, entry.mtime)?;
        }
        Ok(())
    }
}

impl Sink for Placer<'_> {
    fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.put(entry, contents).map_err(|e| match e.kind() {
            Kind::Invalid => e,
            _ => e.context(format!("failed to write {}", as_path(&entry.path).display())),
        })
    }
}

/// Why a name cannot be given to something new.
struct Refused {
    error: Error,
    is_mount: bool,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        refused.error
    }
}

impl From<sys::Error> for Refused {
    fn from(e: sys::Error) -> Refused {
        Refused {
            is_mount: e.is(libc::EBUSY),
            error: e.into(),
        }
    }
}

/// Makes something new of this name; what has the name goes, unless it is a directory.
fn replace(
    parent: BorrowedFd<'_>,
    name: &Path,
    mut make: impl FnMut() -> sys::Result<()>,
) -> std::result::Result<(), Refused> {
    for _ in 0..TRIES {
        match make() {
            Err(e) if e.is(libc::EEXIST) => {}
            done => return Ok(done?),
        }
        if is_mount(parent, name) {
            return Err(Refused {
                error: Error::invalid(format!("a mount is in the way at {:?}", name.display())),
                is_mount: true,
            });
        }
        match fs::unlinkat(parent, name, 0) {
            Err(e) if e.is(libc::ENOENT) => {}
            // EISDIR on Linux; POSIX says EPERM.
            Err(e) if e.is(libc::EISDIR) => {
                return Err(Refused {
                    error: Error::invalid(format!(
                        "cannot overwrite directory {:?} with non-directory",
                        name.display()
                    )),
                    is_mount: false,
                });
            }
            done => done?,
        }
    }
    Err(Refused {
        error: Error::new("somebody else makes it again and again"),
        is_mount: false,
    })
}

/// Whether something is mounted on a name. The kernel refuses to unlink such a name only to who is in the same mount namespace; to
/// us, who are not in the container's, it would give the file and take the mount away (since Linux 3.18).
fn is_mount(parent: BorrowedFd<'_>, name: &Path) -> bool {
    let mount = |fd: BorrowedFd<'_>| fs::mount_id(fd).ok().map(|(id, _)| id);
    fs::openat(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0)
        .is_ok_and(|fd| mount(fd.as_fd()) != mount(parent))
}

/// The file that a mount keeps in its place, emptied.
fn open_in_place(parent: BorrowedFd<'_>, name: &Path) -> Result<File> {
    let fd = fs::openat(parent, name, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    if fs::fstat(fd.as_fd())?.file_type() != libc::S_IFREG {
        return Err(Error::invalid("a mount is in the way that is no file"));
    }
    Ok(reopen(fd.as_fd(), libc::O_WRONLY | libc::O_TRUNC)?)
}

/// The bytes of a file of an archive; holes stay holes.
fn write_pieces(file: &File, size: u64, pieces: &mut dyn super::Pieces) -> Result<()> {
    let mut at = 0;
    while let Some(piece) = pieces.piece()? {
        match piece {
            Piece::Bytes(bytes) => {
                file.write_all_at(bytes, at)?;
                at += bytes.len() as u64;
            }
            Piece::Hole(length) => at += length,
        }
    }
    if file.metadata()?.len() != size {
        file.set_len(size)?;
    }
    Ok(())
}

/// Of an `O_PATH` descriptor: by way of /proc, which leads to the inode even if that is a link.
fn set_times(fd: BorrowedFd<'_>, mtime: Time) -> Result<()> {
    let time = (mtime.seconds, i64::from(mtime.nanoseconds));
    Ok(sys::copy::set_times_of(fd, time, time)?)
}

/// Gives a directory or file that is open owner, mode, attributes and time.
///
/// # Errors
/// One cannot be set.
pub fn dress(fd: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    Placer::new(fd, Owners::Keep).attributes(fd, entry, true)
}

/// What the file system cannot hold, or we may not set, is left out but for rights: a copy on tmpfs or in a user namespace is
/// better than none.
fn set_attribute(name: &[u8], set: impl FnOnce(&std::ffi::CStr) -> sys::Result<()>) -> Result<()> {
    let Ok(c) = std::ffi::CString::new(name) else {
        return Ok(());
    };
    match set(&c) {
        Err(e) if e.is(libc::EOPNOTSUPP) => Ok(()),
        Err(e) if e.is(libc::EPERM) && name != b"security.capability" => Ok(()),
        other => Ok(other?),
    }
}
