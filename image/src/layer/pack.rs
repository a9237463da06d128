//! What an upper directory of overlay says, as the tar of a layer. What hides something becomes a whiteout (OCI image specification,
//! layer.md).
//!
//! May not: depend on anything but what is in the directories. The same tree over the same layers gives the same bytes: a build keeps a
//! layer as a tree and knows it by the digest of this tar, which is made again when somebody wants it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use crate::layer::tar::{Entry, Time, Type};
use crate::registry::Cancel;
use crate::tree::pack::Packer;
use crate::tree::seen::{Seen, is_opaque, is_runtimes};
use crate::tree::walk::{self, Attributes};
use crate::tree::{Contents, Sink, as_path, identity, open_beneath, reopen};
use crate::{Error, Result};

/// How a layer is written.
#[derive(Clone, Copy)]
pub struct Options<'o> {
    /// What the runtime makes to mount on, where the layers below have nothing, is left out. Of a container: nobody else has put it there.
    pub without_stubs: bool,
    /// Nothing is younger, in seconds since 1970: `rewrite-timestamp` of a build.
    pub latest: Option<i64>,
    pub cancel: &'o Cancel,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub entries: u64,
    /// Bytes of its files.
    pub size: u64,
    /// What they take of a disk, in blocks of the usual size.
    pub disk: u64,
}

/// Writes the layer: what is in `upper`, over `lower`, the layers below, mounted. The archive of an upper directory that changes nothing
/// has no entry.
///
/// # Errors
/// Something cannot be read or written.
pub fn pack(
    upper: BorrowedFd<'_>,
    lower: Option<BorrowedFd<'_>>,
    to: impl Write,
    cancel: &Cancel,
) -> Result<()> {
    let options = Options {
        without_stubs: false,
        latest: None,
        cancel,
    };
    pack_with(upper, lower, to, &options).map(drop)
}

/// As [`pack`], with a say in what is written.
///
/// # Errors
/// As [`pack`].
pub fn pack_with(
    upper: BorrowedFd<'_>,
    lower: Option<BorrowedFd<'_>>,
    to: impl Write,
    options: &Options<'_>,
) -> Result<Sum> {
    let mut pack = Pack {
        upper,
        lower,
        options: *options,
        packer: Packer::new(to),
        waiting: Vec::new(),
        linked: HashMap::new(),
        sum: Sum::default(),
    };
    let mut tasks = vec![Task::Enter(Vec::new(), None)];
    while let Some(task) = tasks.pop() {
        cancel_or(options.cancel, || pack.perform(&task, &mut tasks)).map_err(|e| {
            let (Task::Enter(path, _) | Task::Leave(path)) = &task;
            e.context(format!("failed to archive /{}", as_path(path).display()))
        })?;
    }
    pack.packer.finish()?;
    Ok(pack.sum)
}

fn cancel_or(cancel: &Cancel, work: impl FnOnce() -> Result<()>) -> Result<()> {
    cancel.check()?;
    work()
}

const BLOCK: u64 = 4096;

enum Task {
    /// A directory of the upper one; all but the root have an entry of their own.
    Enter(Vec<u8>, Option<Found>),
    /// Everything in it is written.
    Leave(Vec<u8>),
}

/// A directory that has been found.
struct Found {
    entry: Entry,
    /// Nothing of the layers below shows through.
    is_opaque: bool,
    /// It is only there for what is in it.
    is_as_it_was: bool,
}

struct Pack<'c, W> {
    upper: BorrowedFd<'c>,
    lower: Option<BorrowedFd<'c>>,
    options: Options<'c>,
    packer: Packer<W>,
    /// Directories that are as they were: written before the first thing that is found in them, or never.
    waiting: Vec<Entry>,
    /// The first name of a file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    sum: Sum,
}

impl<W: Write> Pack<'_, W> {
    fn perform(&mut self, task: &Task, tasks: &mut Vec<Task>) -> Result<()> {
        match task {
            Task::Enter(path, found) => {
                if let Some(found) = found {
                    self.directory(path, found)?;
                }
                self.enter(path, tasks)
            }
            Task::Leave(path) => {
                self.waiting.pop_if(|entry| entry.path == *path);
                Ok(())
            }
        }
    }

    fn directory(&mut self, path: &[u8], found: &Found) -> Result<()> {
        self.waiting.push(found.entry.clone());
        if found.is_opaque {
            let opaque = [path, b"/.wh..wh..opq"].concat();
            return self.give(&mark(opaque), Contents::Nothing);
        }
        match found.is_as_it_was {
            true => Ok(()),
            false => self.flush(),
        }
    }

    fn enter(&mut self, path: &[u8], tasks: &mut Vec<Task>) -> Result<()> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        // Gone, or something else by now: the container was not paused.
        let Some(directory) = found(open_beneath(self.upper, path, flags))? else {
            return Ok(());
        };
        let mut names = sys::fs::entries(directory.as_fd())?;
        names.sort_unstable();
        let below = match self.lower {
            Some(lower) => found(open_beneath(lower, path, flags))?,
            None => None,
        };
        let mut inner = Vec::new();
        for name in names {
            let Some(seen) = Seen::look(directory.as_fd(), &name)? else {
                continue;
            };
            let old = match &below {
                Some(below) => Seen::look(below.as_fd(), &name)?,
                None => None,
            };
            inner.extend(self.child(path, &name, &seen, old.as_ref())?);
        }
        // The tasks are a stack.
        for found in inner.into_iter().rev() {
            let path = found.entry.path.clone();
            tasks.push(Task::Leave(path.clone()));
            tasks.push(Task::Enter(path, Some(found)));
        }
        Ok(())
    }

    /// Writes what is no directory; a directory is given back to be entered.
    fn child(
        &mut self,
        directory: &[u8],
        name: &OsString,
        seen: &Seen,
        old: Option<&Seen>,
    ) -> Result<Option<Found>> {
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        if seen.is_whiteout() {
            if old.is_some() {
                path.extend_from_slice(b".wh.");
                path.extend_from_slice(name.as_bytes());
                self.give(&mark(path), Contents::Nothing)?;
            }
            return Ok(None);
        }
        path.extend_from_slice(name.as_bytes());
        if name.as_bytes().starts_with(b".wh.") {
            // It would hide something in the image, or make it one that nobody can unpack.
            return Err(Error::invalid(format!(
                "{} cannot be in an image: names that begin with .wh. stand for what is not there",
                as_path(&path).display()
            )));
        }
        let from_root = [b"/", path.as_slice()].concat();
        let is_runtimes = self.options.without_stubs && old.is_none() && is_runtimes(&from_root, seen);
        if seen.stat.file_type() == libc::S_IFSOCK || (is_runtimes && !seen.stat.is_dir()) {
            return Ok(None);
        }
        if !seen.stat.is_dir() {
            self.file(path, seen)?;
            return Ok(None);
        }
        let entry = walk::entry(seen.fd.as_fd(), &seen.stat, path.clone(), Attributes::All)?;
        let is_opaque = old.is_some_and(|old| old.stat.is_dir()) && is_opaque(seen.fd.as_fd())?;
        let is_as_it_was = is_runtimes || is_same(&entry, old)?;
        Ok(Some(Found {
            entry,
            is_opaque,
            is_as_it_was,
        }))
    }

    fn file(&mut self, path: Vec<u8>, seen: &Seen) -> Result<()> {
        if seen.stat.nlink > 1 {
            if let Some(first) = self.linked.get(&identity(&seen.stat)) {
                let entry = walk::entry(seen.fd.as_fd(), &seen.stat, path, Attributes::All)?;
                let link = walk::another_name(entry, first);
                return self.give(&link, Contents::Nothing);
            }
            self.linked.insert(identity(&seen.stat), path.clone());
        }
        let entry = walk::entry(seen.fd.as_fd(), &seen.stat, path, Attributes::All)?;
        if entry.kind != Type::File {
            return self.give(&entry, Contents::Nothing);
        }
        let file = reopen(seen.fd.as_fd(), libc::O_RDONLY)?;
        self.give(&entry, Contents::File(&file))
    }

    fn give(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.flush()?;
        self.write(entry, contents)
    }

    fn flush(&mut self) -> Result<()> {
        for entry in std::mem::take(&mut self.waiting) {
            self.write(&entry, Contents::Nothing)?;
        }
        Ok(())
    }

    fn write(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.sum.entries += 1;
        self.sum.size += entry.size;
        self.sum.disk += match entry.kind {
            Type::Directory => BLOCK,
            _ => entry.size.next_multiple_of(BLOCK),
        };
        match self.options.latest {
            Some(latest) if entry.mtime.seconds >= latest => {
                let clamped = Entry {
                    mtime: Time {
                        seconds: latest,
                        nanoseconds: 0,
                    },
                    ..entry.clone()
                };
                self.packer.take(&clamped, contents)
            }
            _ => self.packer.take(entry, contents),
        }
    }
}

fn found<T>(opened: sys::Result<T>) -> Result<Option<T>> {
    match opened {
        Err(e)
            if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP]
                .iter()
                .any(|n| e.is(*n)) =>
        {
            Ok(None)
        }
        other => Ok(Some(other?)),
    }
}

/// Whether a directory has been copied up and not been changed itself.
fn is_same(entry: &Entry, old: Option<&Seen>) -> Result<bool> {
    let Some(old) = old.filter(|old| old.stat.is_dir()) else {
        return Ok(false);
    };
    let old = walk::entry(old.fd.as_fd(), &old.stat, entry.path.clone(), Attributes::All)?;
    let timeless = |entry: &Entry| Entry {
        mtime: Time::default(),
        ..entry.clone()
    };
    Ok(timeless(entry) == timeless(&old))
}

/// An empty file whose name says something.
fn mark(path: Vec<u8>) -> Entry {
    Entry {
        path,
        ..Entry::default()
    }
}
