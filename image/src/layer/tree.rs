//! A layer as a tree of files, as overlay wants an upper directory.
//!
//! May not: let the kernel follow anything that came out of an archive. Every directory is reached from the root's descriptor with
//! openat2(2) that refuses symlinks, by the path that [`super::names`] has worked out; every name below it is one component.
//!
//! Nothing is synced here: a layer can be made again from its blob, so whoever asks for it decides what a power cut may cost.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sys::{fs, xattr};

use super::apply::{Contents, Form};
use super::names::{Attributes, Inode, Name, Names, Nature, ROOT};
use super::tar::{Entry, Piece};
use super::{Options, Overlay, Owners};
use crate::tree::give;
use crate::{Context, Error, Result};

/// Descriptors of directories that are kept open; neighbours in an archive are mostly neighbours in the tree.
const OPEN: usize = 64;
const BENEATH: u64 = fs::RESOLVE_BENEATH | fs::RESOLVE_NO_SYMLINKS | fs::RESOLVE_NO_MAGICLINKS;

/// Writes below a directory that is empty and nobody else's.
pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    open: HashMap<Inode, OwnedFd>,
    overlay: Overlay,
    owners: Owners,
    own_ids: (u32, u32),
    umask: u32,
    bytes: u64,
}

impl<'a> Tree<'a> {
    pub fn new(root: BorrowedFd<'a>, options: &Options<'_>) -> Tree<'a> {
        Tree {
            root,
            open: HashMap::new(),
            overlay: options.overlay,
            owners: options.owners,
            own_ids: sys::process::effective_ids(),
            umask: umask(),
            bytes: 0,
        }
    }

    /// Bytes written into files.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn directory_fd(&mut self, names: &Names, directory: Inode) -> Result<BorrowedFd<'_>> {
        if directory == ROOT {
            return Ok(self.root);
        }
        if !self.open.contains_key(&directory) {
            if self.open.len() == OPEN {
                self.open.clear();
            }
            let fd = open_beneath(self.root, &names.path(directory), libc::O_PATH)?;
            self.open.insert(directory, fd);
        }
        Ok(self.open.get(&directory).map_or(self.root, |fd| fd.as_fd()))
    }

    fn owner_is_right(&self, uid: u32, gid: u32) -> bool {
        self.owners == Owners::Caller || (uid, gid) == self.own_ids
    }

    /// Owner, mode and times of something that is no file and no directory.
    fn finish_node(&mut self, names: &Names, name: Name, entry: &Entry, symlink: bool) -> Result<()> {
        let set_owner = !self.owner_is_right(entry.uid, entry.gid);
        let umask = self.umask;
        let parent = self.directory_fd(names, names.parent(name))?;
        let component = component(names, name);
        if set_owner {
            give(parent, component, entry.uid, entry.gid)?;
        }
        if !symlink && (set_owner || entry.mode & (umask | 0o7000) != 0) {
            // It has just been made in a directory that is ours, and is no symlink.
            fs::fchmodat(parent, component, entry.mode)?;
        }
        for (attribute, value) in &entry.xattrs {
            set_attribute(attribute, value, |n, v| {
                xattr::lsetxattrat(parent, component, n, v)
            })?;
        }
        xattr::utimensat(parent, component, entry.mtime)?;
        Ok(())
    }

    fn finish_directory(&mut self, names: &Names, directory: Inode) -> Result<()> {
        let fd = if directory == ROOT {
            fs::openat(self.root, Path::new("."), libc::O_RDONLY | libc::O_DIRECTORY, 0)?
        } else {
            open_beneath(self.root, &names.path(directory), libc::O_RDONLY)?
        };
        let Attributes {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = names.attributes(directory);
        if self.owners == Owners::Keep {
            give(fd.as_fd(), Path::new(""), *uid, *gid)?;
        }
        fs::fchmod(fd.as_fd(), *mode)?;
        for (name, value) in xattrs {
            set_attribute(name, value, |n, v| xattr::fsetxattr(fd.as_fd(), n, v))?;
        }
        if names.is_opaque(directory) {
            xattr::fsetxattr(fd.as_fd(), self.overlay.opaque(), b"y")?;
        }
        xattr::futimens(fd.as_fd(), *mtime)?;
        Ok(())
    }
}

impl Form for Tree<'_> {
    fn file(
        &mut self,
        names: &mut Names,
        name: Name,
        entry: &Entry,
        contents: &mut dyn Contents,
    ) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
        let parent = self.directory_fd(names, names.parent(name))?;
        let file = fs::openat(parent, component(names, name), flags, entry.mode & 0o777)?;
        let file = File::from(file);
        self.bytes += write(&file, entry.size, contents)?;
        let fd = file.as_fd();
        let set_owner = !self.owner_is_right(entry.uid, entry.gid);
        if set_owner {
            give(fd, Path::new(""), entry.uid, entry.gid)?;
        }
        // chown(2) takes set-id bits away, writing would too: after both.
        if set_owner || entry.mode & (self.umask | 0o7000) != 0 {
            fs::fchmod(fd, entry.mode)?;
        }
        // chown(2) takes security.capability away, too.
        for (attribute, value) in &entry.xattrs {
            set_attribute(attribute, value, |n, v| xattr::fsetxattr(fd, n, v))?;
        }
        xattr::futimens(fd, entry.mtime)?;
        Ok(())
    }

    fn directory(&mut self, names: &mut Names, name: Name) -> Result<()> {
        // Ours alone until the end, so that no mode of the archive keeps us out.
        let parent = self.directory_fd(names, names.parent(name))?;
        fs::mkdirat(parent, component(names, name), 0o700)?;
        Ok(())
    }

    fn node(&mut self, names: &mut Names, name: Name, entry: &Entry) -> Result<()> {
        let inode = names.inode(name);
        let parent = self.directory_fd(names, names.parent(name))?;
        let component = component(names, name);
        let device = libc::makedev(entry.major, entry.minor);
        let permissions = entry.mode & 0o777;
        match names.nature(inode) {
            Nature::Symlink => {
                let target = Path::new(OsStr::from_bytes(names.target(inode)));
                fs::symlinkat(target, parent, component)?;
                return self.finish_node(names, name, entry, true);
            }
            Nature::Device { block: true } => {
                fs::mknodat(parent, component, libc::S_IFBLK | permissions, device)?;
            }
            Nature::Device { block: false } => {
                fs::mknodat(parent, component, libc::S_IFCHR | permissions, device)?;
            }
            Nature::Fifo => fs::mkfifoat(parent, component, permissions)?,
            Nature::Whiteout => {
                // Without CAP_MKNOD since kernel 5.8, as it is no device.
                fs::mknodat(parent, component, libc::S_IFCHR, 0)?;
                return Ok(());
            }
            Nature::Directory | Nature::File => {}
        }
        self.finish_node(names, name, entry, false)
    }

    fn link(&mut self, names: &mut Names, name: Name, target: Name) -> Result<()> {
        // Two borrows of the cache at once are not to be had; the second may push the first out.
        let from = self
            .directory_fd(names, names.parent(target))?
            .try_clone_to_owned()
            .context("failed to duplicate a descriptor")?;
        let to = self.directory_fd(names, names.parent(name))?;
        fs::linkat(
            from.as_fd(),
            component(names, target),
            to,
            component(names, name),
            0,
        )?;
        Ok(())
    }

    fn remove(&mut self, names: &mut Names, name: Name) -> Result<()> {
        let is_directory = names.nature(names.inode(name)) == Nature::Directory;
        let parent = self.directory_fd(names, names.parent(name))?;
        if !is_directory {
            fs::unlinkat(parent, component(names, name), 0)?;
            return Ok(());
        }
        super::remove(parent, component(names, name))?;
        self.open.clear();
        Ok(())
    }

    fn finish(&mut self, names: &mut Names) -> Result<()> {
        self.open.clear();
        // From the inside out: a directory may get a mode that keeps its owner out.
        for inode in (0..names.count()).rev() {
            if names.is_live_directory(inode) {
                self.finish_directory(names, inode).map_err(|e| {
                    let path = names.path(inode);
                    e.context(format!(
                        "failed to finish the directory {:?}",
                        String::from_utf8_lossy(&path)
                    ))
                })?;
            }
        }
        Ok(())
    }
}

/// The bytes of a file; holes stay holes. How many were written.
fn write(file: &File, size: u64, contents: &mut dyn Contents) -> Result<u64> {
    let (mut position, mut written, mut hole_at_end) = (0u64, 0u64, false);
    while let Some(piece) = contents.piece()? {
        match piece {
            Piece::Bytes(bytes) => {
                file.write_all_at(bytes, position).context("failed to write")?;
                position += bytes.len() as u64;
                written += bytes.len() as u64;
                hole_at_end = false;
            }
            Piece::Hole(length) => {
                position += length;
                hole_at_end = true;
            }
        }
    }
    if hole_at_end {
        file.set_len(size).context("failed to write")?;
    }
    Ok(written)
}

fn component(names: &Names, name: Name) -> &Path {
    Path::new(OsStr::from_bytes(names.bytes(name)))
}

/// A directory below the root. Where openat2(2) is not to be had (filtered away by an old profile) or the path is longer than the
/// kernel takes, component by component.
pub(super) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], access: i32) -> Result<OwnedFd> {
    let flags = access | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let whole = Path::new(OsStr::from_bytes(path));
    match fs::openat2(root, whole, flags, 0, BENEATH) {
        Err(e) if e.is(libc::ENOSYS) || e.is(libc::ENAMETOOLONG) => {}
        other => return Ok(other?),
    }
    let mut at: Option<OwnedFd> = None;
    for part in path.split(|b| *b == b'/') {
        let from = at.as_ref().map_or(root, |fd| fd.as_fd());
        at = Some(fs::openat(from, Path::new(OsStr::from_bytes(part)), flags, 0)?);
    }
    at.ok_or_else(|| Error::new("failed to open a directory without a name"))
}

/// What the file system cannot hold is left out, as containerd does; a layer must unpack on tmpfs and NFS as well.
fn set_attribute(
    name: &[u8],
    value: &[u8],
    set: impl FnOnce(&std::ffi::CStr, &[u8]) -> sys::Result<()>,
) -> Result<()> {
    let Ok(c) = CString::new(name) else {
        return Ok(());
    };
    match set(&c, value) {
        Err(e) if e.is(libc::EOPNOTSUPP) => Ok(()),
        other => Ok(other?),
    }
}

/// The process' file mode mask, without changing it for a moment under other threads. Unknown, it may be anything.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))
        .and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}
