//! Whether two layers are the same: images byte for byte, trees name by name.
//!
//! May not: change either of them, or follow a link. What cannot be read of the layer that is looked at is a difference (a disk that
//! has gone bad says so by EIO); what cannot be read of the other is a failure.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use sys::fs::Stat;
use sys::{fs, xattr};

use super::erofs;
use super::tree::open_beneath;
use crate::{Context, Error, Kind, Result};

/// Compared at a time.
const BUFFER: usize = 256 << 10;

/// What the comparison has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Likeness {
    Same,
    /// The first difference, in words.
    Different(String),
    /// Written by a version that lays images out otherwise: bytes say nothing then.
    Foreign,
}

/// Compares an image with what it should be.
///
/// # Errors
/// `made` cannot be read, or called off.
pub fn images(found: &File, made: &File, cancel: &AtomicBool) -> Result<Likeness> {
    if erofs::is_foreign(found) {
        return Ok(Likeness::Foreign);
    }
    let compared = sizes(found, made).and_then(|size| Reader::new(cancel).contents(found, made, size));
    likeness(compared)
}

fn sizes(found: &File, made: &File) -> Compared<u64> {
    let size = made.metadata().context("failed to look at the new image")?.len();
    let has = found.metadata().map_err(unreadable)?.len();
    if has == size {
        Ok(size)
    } else {
        Err(Stop::Differs(format!("it has {has} bytes instead of {size}")))
    }
}

/// Compares a tree with what it should be.
///
/// # Errors
/// `made` cannot be read, or called off.
pub fn trees(found: BorrowedFd<'_>, made: BorrowedFd<'_>, cancel: &AtomicBool) -> Result<Likeness> {
    let mut trees = Trees {
        found,
        made,
        linked: HashMap::new(),
        reader: Reader::new(cancel),
    };
    likeness(trees.everything())
}

/// Why a comparison ends early.
enum Stop {
    Differs(String),
    Failed(Error),
}

type Compared<T = ()> = std::result::Result<T, Stop>;

/// Without a phrase: of what is new, and so readable.
impl From<Error> for Stop {
    fn from(e: Error) -> Stop {
        Stop::Failed(e)
    }
}

impl From<sys::Error> for Stop {
    fn from(e: sys::Error) -> Stop {
        Stop::Failed(e.into())
    }
}

/// Of the layer that is looked at.
fn unreadable(e: impl Into<Error>) -> Stop {
    Stop::Differs(format!("it cannot be read: {}", e.into()))
}

fn likeness(compared: Compared) -> Result<Likeness> {
    match compared {
        Ok(()) => Ok(Likeness::Same),
        Err(Stop::Differs(how)) => Ok(Likeness::Different(how)),
        Err(Stop::Failed(e)) => Err(e),
    }
}

/// Two files, a buffer at a time.
struct Reader<'a> {
    found: Vec<u8>,
    made: Vec<u8>,
    cancel: &'a AtomicBool,
}

impl<'a> Reader<'a> {
    fn new(cancel: &'a AtomicBool) -> Reader<'a> {
        Reader {
            found: vec![0; BUFFER],
            made: vec![0; BUFFER],
            cancel,
        }
    }

    fn check(&self) -> Compared {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Error::of(Kind::Cancelled, "cancelled").into());
        }
        Ok(())
    }

    fn contents(&mut self, found: &File, made: &File, size: u64) -> Compared {
        let mut at = 0;
        while at < size {
            self.check()?;
            let n = BUFFER.min(usize::try_from(size - at).unwrap_or(BUFFER));
            let (has, should) = (&mut self.found[..n], &mut self.made[..n]);
            made.read_exact_at(should, at)
                .context("failed to read the new layer")?;
            found.read_exact_at(has, at).map_err(unreadable)?;
            if let Some(byte) = has.iter().zip(&*should).position(|(a, b)| a != b) {
                return Err(Stop::Differs(format!("byte {} is another", at + byte as u64)));
            }
            at += n as u64;
        }
        Ok(())
    }
}

struct Trees<'a> {
    found: BorrowedFd<'a>,
    made: BorrowedFd<'a>,
    /// Files with several names: which inode of the one tree is which of the other.
    linked: HashMap<u64, u64>,
    reader: Reader<'a>,
}

impl Trees<'_> {
    /// Not by recursion: an archive may nest deeper than a stack.
    fn everything(&mut self) -> Compared {
        attributes((self.found, self.made), Path::new("."))?;
        let mut left = vec![PathBuf::new()];
        while let Some(path) = left.pop() {
            self.reader.check()?;
            let inside = self.directory(&path).map_err(|stop| match stop {
                Stop::Differs(how) => Stop::Differs(format!("/{how}")),
                failed => failed,
            })?;
            left.extend(inside);
        }
        Ok(())
    }

    /// Everything that has a name in a directory; the directories among it.
    fn directory(&mut self, path: &Path) -> Compared<Vec<PathBuf>> {
        let of = |name: &Path, stop| match stop {
            Stop::Differs(how) => Stop::Differs(format!("{}: {how}", path.join(name).display())),
            failed => failed,
        };
        let here = |stop| of(Path::new(""), stop);
        let made = open(self.made, path)?;
        let found = open(self.found, path).map_err(|e| here(unreadable(e)))?;
        let should = names(made.as_fd())?;
        let has = names(found.as_fd()).map_err(|e| here(unreadable(e)))?;
        if let Some(name) = should.iter().find(|name| has.binary_search(name).is_err()) {
            return Err(of(Path::new(name), Stop::Differs("it is missing".to_owned())));
        }
        if let Some(name) = has.iter().find(|name| should.binary_search(name).is_err()) {
            return Err(of(
                Path::new(name),
                Stop::Differs("it should not be there".to_owned()),
            ));
        }
        let mut inside = Vec::new();
        for name in &should {
            let name = Path::new(name);
            let is_directory = self
                .entry((found.as_fd(), made.as_fd()), name)
                .map_err(|stop| of(name, stop))?;
            if is_directory {
                inside.push(path.join(name));
            }
        }
        Ok(inside)
    }

    /// One name; whether it is a directory.
    fn entry(&mut self, (found, made): (BorrowedFd<'_>, BorrowedFd<'_>), name: &Path) -> Compared<bool> {
        let stat = attributes((found, made), name)?;
        match stat.made.file_type() {
            libc::S_IFDIR => return Ok(true),
            libc::S_IFLNK => {
                let should = fs::readlinkat(made, name)?;
                let has = fs::readlinkat(found, name).map_err(unreadable)?;
                same("target", has.as_os_str(), should.as_os_str())?;
            }
            libc::S_IFREG if self.is_new(&stat)? => {
                let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
                let made = File::from(fs::openat(made, name, flags, 0)?);
                let found = File::from(fs::openat(found, name, flags, 0).map_err(unreadable)?);
                self.reader.contents(&found, &made, stat.made.size)?;
            }
            _ => {}
        }
        Ok(false)
    }

    /// Whether a file is seen under its first name. Under a further one it has to be the same file in both trees.
    fn is_new(&mut self, stat: &Both) -> Compared<bool> {
        if stat.made.nlink == 1 {
            return Ok(true);
        }
        let first = self.linked.insert(stat.made.ino, stat.found.ino);
        match first {
            None => Ok(true),
            Some(ino) if ino == stat.found.ino => Ok(false),
            Some(_) => Err(Stop::Differs("it is no link to the same file".to_owned())),
        }
    }
}

struct Both {
    found: Stat,
    made: Stat,
}

/// What is known of a name without looking inside: the same in both trees, but for what each tree has of its own.
fn attributes((found, made): (BorrowedFd<'_>, BorrowedFd<'_>), name: &Path) -> Compared<Both> {
    let stat = Both {
        made: fs::fstatat(made, name, libc::AT_SYMLINK_NOFOLLOW)?,
        found: fs::fstatat(found, name, libc::AT_SYMLINK_NOFOLLOW).map_err(unreadable)?,
    };
    let (has, should) = (&stat.found, &stat.made);
    same("type", has.file_type(), should.file_type())?;
    same("device", has.rdev, should.rdev)?;
    if should.is_char_device(0, 0) {
        // A whiteout is its name and nothing else: it has the owner and the time of its making.
        return Ok(stat);
    }
    same("mode", has.mode, should.mode)?;
    same("owner", (has.uid, has.gid), (should.uid, should.gid))?;
    if !should.is_dir() {
        // What a directory takes is up to the file system.
        same("size", has.size, should.size)?;
        same("number of links", has.nlink, should.nlink)?;
    }
    let should = xattr::mtime_at(made, name)?;
    let has = xattr::mtime_at(found, name).map_err(unreadable)?;
    same("time of modification", has, should)?;
    let should = xattr::all(made, name)?;
    let has = xattr::all(found, name).map_err(unreadable)?;
    same(
        "set of extended attributes",
        of_layer(has).collect::<Vec<_>>(),
        of_layer(should).collect(),
    )?;
    Ok(stat)
}

type Attribute = (std::ffi::CString, Vec<u8>);

/// Labels come from the host's policy, by where a file is made.
fn of_layer(list: Vec<Attribute>) -> impl Iterator<Item = Attribute> {
    list.into_iter().filter(|(name, _)| {
        let name = name.as_bytes();
        name == b"security.capability" || !name.starts_with(b"security.")
    })
}

fn same<T: PartialEq>(what: &str, has: T, should: T) -> Compared {
    if has == should {
        Ok(())
    } else {
        Err(Stop::Differs(format!("its {what} is another")))
    }
}

fn open(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY;
        return Ok(fs::openat(root, Path::new("."), flags, 0)?);
    }
    open_beneath(root, path.as_os_str().as_bytes(), libc::O_RDONLY)
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = fs::entries(directory)?;
    names.sort_unstable();
    Ok(names)
}
