//! Reading a tree: everything below a descriptor, in the order of names.
//!
//! May not: read what is no file's: the kernel's own file systems (proc, sysfs, cgroups) look empty, as they do to Docker, and sockets
//! are left out.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::layer::tar::{Entry, Type};
use crate::registry::Cancel;
use crate::{Context, Error, Result};
use sys::fs::Stat;

use super::{Contents, Sink, identity, open_beneath, proc_path, reopen};

/// Directories that are open at a time. A container may nest them deeper than a process may have descriptors.
const OPEN: usize = 64;

/// Which extended attributes go along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// What a program may do (`security.capability`): it belongs to the mode.
    Rights,
    /// All but overlay's own notes and the labels that the host's policy gives.
    All,
}

/// How a tree is read.
pub struct Options<'o> {
    pub attributes: Attributes,
    /// Directories that look empty.
    pub closed: Vec<(u64, u64)>,
    /// The directory that everything goes to: to find it on the way would have no end.
    pub target: Option<(u64, u64)>,
    pub cancel: &'o Cancel,
}

/// Gives `top`, an `O_PATH` descriptor, to the sink under the name `name`, and everything below.
///
/// # Errors
/// Something cannot be read, the sink's, or called off.
pub fn walk(top: BorrowedFd<'_>, name: &[u8], options: &Options<'_>, sink: &mut dyn Sink) -> Result<()> {
    let stat = sys::fs::fstat(top)?;
    let mut walk = Walk {
        top,
        options,
        sink,
        linked: HashMap::new(),
        levels: Vec::new(),
    };
    if !stat.is_dir() {
        return walk.give(top, &stat, name.to_vec());
    }
    // Its names are read before it is given: what is made of it may be in it.
    let fd = sys::fs::openat(top, Path::new("."), libc::O_PATH, 0)?;
    walk.enter(fd, &stat, name, Vec::new())?;
    walk.give(top, &stat, name.to_vec())?;
    walk.everything()
}

/// A directory that is being read.
struct Level {
    /// Closed while we are far below.
    fd: Option<OwnedFd>,
    stat: Stat,
    /// What its names follow: empty, or with a slash at its end.
    prefix: Vec<u8>,
    /// From the top.
    path: Vec<u8>,
    left: std::vec::IntoIter<OsString>,
}

struct Walk<'w, 'o> {
    top: BorrowedFd<'w>,
    options: &'w Options<'o>,
    sink: &'w mut dyn Sink,
    /// The first name of a file that has several.
    linked: HashMap<(u64, u64), Vec<u8>>,
    levels: Vec<Level>,
}

impl Walk<'_, '_> {
    fn everything(&mut self) -> Result<()> {
        while let Some(level) = self.levels.last_mut() {
            let Some(name) = level.left.next() else {
                self.levels.pop();
                continue;
            };
            self.options.cancel.check()?;
            let shown = || format!("failed to read {}", name.display());
            let Some(directory) = self.directory().context(shown())? else {
                continue;
            };
            let fd = match sys::fs::openat(
                directory.as_fd(),
                Path::new(&name),
                libc::O_PATH | libc::O_NOFOLLOW,
                0,
            ) {
                // Removed since its directory was read.
                Err(e) if e.is(libc::ENOENT) => continue,
                other => other.context(shown())?,
            };
            self.child(&fd, name.as_bytes()).context(shown())?;
        }
        Ok(())
    }

    /// The deepest directory. Opened again, it has to be the same: who has moved it meanwhile has changed what we were told to
    /// read.
    fn directory(&mut self) -> Result<Option<OwnedFd>> {
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        if level.fd.is_none() {
            let fd = open_beneath(self.top, &level.path, libc::O_PATH | libc::O_DIRECTORY)?;
            if identity(&sys::fs::fstat(fd.as_fd())?) != identity(&level.stat) {
                return Err(Error::new("the directory has been moved meanwhile"));
            }
            level.fd = Some(fd);
        }
        match &level.fd {
            Some(fd) => Ok(Some(fd.try_clone().context("failed to duplicate a descriptor")?)),
            None => Ok(None),
        }
    }

    fn child(&mut self, fd: &OwnedFd, name: &[u8]) -> Result<()> {
        let stat = sys::fs::fstat(fd.as_fd())?;
        let Some(parent) = self.levels.last() else {
            return Ok(());
        };
        let full = [&parent.prefix, name].concat();
        let mut path = parent.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let crosses = stat.dev != parent.stat.dev;
        self.give(fd.as_fd(), &stat, full.clone())?;
        if !stat.is_dir() {
            return Ok(());
        }
        if self.options.target == Some(identity(&stat)) {
            return Err(Error::invalid("cannot copy a directory into itself"));
        }
        let is_closed = self.options.closed.contains(&identity(&stat));
        if is_closed || (crosses && is_kernels_own(fd.as_fd())?) {
            return Ok(());
        }
        let fd = fd.try_clone().context("failed to duplicate a descriptor")?;
        self.enter(fd, &stat, &full, path)
    }

    fn enter(&mut self, fd: OwnedFd, stat: &Stat, name: &[u8], path: Vec<u8>) -> Result<()> {
        let mut left = sys::fs::entries(fd.as_fd())?;
        left.sort_unstable();
        if let Some(far) = self.levels.len().checked_sub(OPEN) {
            self.levels[far].fd = None;
        }
        let mut prefix = name.to_vec();
        if !prefix.is_empty() && !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        self.levels.push(Level {
            fd: Some(fd),
            stat: *stat,
            prefix,
            path,
            left: left.into_iter(),
        });
        Ok(())
    }

    fn give(&mut self, fd: BorrowedFd<'_>, stat: &Stat, name: Vec<u8>) -> Result<()> {
        if stat.file_type() == libc::S_IFSOCK || name.is_empty() {
            return Ok(());
        }
        if !stat.is_dir() && stat.nlink > 1 {
            if let Some(first) = self.linked.get(&identity(stat)) {
                let link = another_name(entry(fd, stat, name, self.options.attributes)?, first);
                return self.sink.take(&link, Contents::Nothing);
            }
            self.linked.insert(identity(stat), name.clone());
        }
        let entry = entry(fd, stat, name, self.options.attributes)?;
        if entry.kind != Type::File {
            return self.sink.take(&entry, Contents::Nothing);
        }
        let file = reopen(fd, libc::O_RDONLY)?;
        self.sink.take(&entry, Contents::File(&file))
    }
}

/// Everything that an archive says of a file, but for its bytes.
///
/// # Errors
/// It cannot be read.
pub fn entry(fd: BorrowedFd<'_>, stat: &Stat, path: Vec<u8>, attributes: Attributes) -> Result<Entry> {
    let kind = match stat.file_type() {
        libc::S_IFDIR => Type::Directory,
        libc::S_IFLNK => Type::Symlink,
        libc::S_IFCHR => Type::CharDevice,
        libc::S_IFBLK => Type::BlockDevice,
        libc::S_IFIFO => Type::Fifo,
        _ => Type::File,
    };
    let is_device = matches!(kind, Type::CharDevice | Type::BlockDevice);
    let link = match kind {
        Type::Symlink => sys::fs::readlinkat(fd, Path::new(""))?
            .into_os_string()
            .into_vec(),
        _ => Vec::new(),
    };
    Ok(Entry {
        path,
        link,
        kind,
        mode: stat.mode & 0o7777,
        uid: stat.uid,
        gid: stat.gid,
        mtime: sys::xattr::mtime_at(fd, Path::new(""))?,
        size: if kind == Type::File { stat.size } else { 0 },
        major: if is_device { libc::major(stat.rdev) } else { 0 },
        minor: if is_device { libc::minor(stat.rdev) } else { 0 },
        xattrs: xattrs(fd, attributes)?,
    })
}

/// An entry of a file, as one more name of it. What it says of the file stays: whoever unpacks an archive gives a file its owner, mode,
/// time and attributes once for each name (containerd, Docker), and what the last one says is what becomes of it.
pub(crate) fn another_name(entry: Entry, first: &[u8]) -> Entry {
    Entry {
        link: first.to_vec(),
        kind: Type::Hardlink,
        size: 0,
        major: 0,
        minor: 0,
        ..entry
    }
}

fn xattrs(fd: BorrowedFd<'_>, which: Attributes) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(fd);
    if which == Attributes::Rights {
        let value = sys::copy::xattr(&path, c"security.capability")?;
        return Ok(value
            .map(|value| (b"security.capability".to_vec(), value))
            .into_iter()
            .collect());
    }
    let mut found = Vec::new();
    for name in sys::copy::xattr_names(&path)? {
        let bytes = name.as_bytes();
        let is_note = bytes.starts_with(b"trusted.overlay.") || bytes.starts_with(b"user.overlay.");
        if is_note || bytes == b"security.selinux" {
            continue;
        }
        if let Some(value) = sys::copy::xattr(&path, &name)? {
            found.push((bytes.to_vec(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a directory lies on a file system that has no files but the kernel's words (statfs(2)).
///
/// # Errors
/// It cannot be asked.
pub fn is_kernels_own(fd: BorrowedFd<'_>) -> Result<bool> {
    const OWN: [i64; 17] = [
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x1cd1,      // devpts
        0x1980_0202, // mqueue
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x7363_6673, // securityfs
        0xcafe_4a11, // bpf
        0x6165_676c, // pstore
        0xde5e_81e4, // efivarfs
        0x6265_6570, // configfs
        0xf97c_ff8c, // selinuxfs
        0x4249_4e4d, // binfmt_misc
        0x6573_5543, // fusectl
        0x6e73_6673, // nsfs
    ];
    Ok(OWN.contains(&sys::fs::fs_magic(fd)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::layer::pack;
    use crate::layer::tar::{Limits, Reader};
    use crate::tree::pack::Packer;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    fn entries(archive: &[u8]) -> Vec<Entry> {
        let mut reader = Reader::new(archive, Limits::default());
        let mut entry = Entry::default();
        let mut entries = Vec::new();
        while reader.next(&mut entry).unwrap() {
            entries.push(entry.clone());
            while reader.piece().unwrap().is_some() {}
        }
        entries
    }

    /// Others chown, chmod and date a file once for each of its names: what the last one says stays.
    #[test]
    fn each_name_of_a_file_says_all_of_it() {
        let path = std::env::temp_dir().join(format!("image-walk-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let file = std::fs::File::create(path.join("a")).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o640))
            .unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 5))
            .unwrap();
        if sys::process::effective_ids().0 == 0 {
            std::os::unix::fs::chown(path.join("a"), Some(33), Some(44)).unwrap();
        }
        std::fs::hard_link(path.join("a"), path.join("b")).unwrap();
        let top = sys::fs::open(&path, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        let cancel = Cancel::new();

        let mut layer = Vec::new();
        pack::pack(top.as_fd(), None, &mut layer, &cancel).unwrap();
        let mut packer = Packer::new(Vec::new());
        let options = Options {
            attributes: Attributes::All,
            closed: Vec::new(),
            target: None,
            cancel: &cancel,
        };
        walk(top.as_fd(), b"", &options, &mut packer).unwrap();
        std::fs::remove_dir_all(&path).unwrap();

        for archive in [layer, packer.finish().unwrap()] {
            let entries = entries(&archive);
            let [first, second] = entries.as_slice() else {
                panic!("{entries:?}");
            };
            assert_eq!(
                (second.kind, second.link.as_slice()),
                (Type::Hardlink, b"a".as_slice())
            );
            assert_eq!(second.mtime, first.mtime);
            assert_eq!(
                (second.uid, second.gid, second.mode),
                (first.uid, first.gid, first.mode)
            );
            assert_eq!(second.xattrs, first.xattrs);
        }
    }
}
