//! What each entry of an archive does to a layer, whichever form the layer has.
//!
//! May not: touch a file system; a [`Form`] does. The rules are those of one layer over others, applied in order:
//! * a later entry replaces an earlier one, but a directory over a directory only brings its attributes;
//! * a whiteout hides what is below and nothing of its own layer: beside a directory of that name, whichever came first,
//!   the directory becomes opaque; so does a directory that takes the place of a file;
//! * whiteouts below an opaque directory have nothing to hide and go. Overlay lists the names in a directory that only one layer has
//!   as they are, so they would be names of nothing;
//! * parents that the archive does not have are made, root's and 0755; a symlink among them is followed below the root, as containerd
//!   does (Docker fails there), since its target is what a program in the container would have reached;
//! * a hardlink to what only a lower layer has becomes a copy of it.

use std::io::Read as _;

use super::names::{Attributes, Inode, Name, Names, Nature, ROOT};
use super::path::{self, Meaning};
use super::tar::{Entry, Piece, Reader, Type};
use super::{Devices, Lower, Options};
use crate::{Context, Error, Kind, Result};

/// A form that a layer can have.
pub(super) trait Form {
    /// A file with its contents.
    fn file(
        &mut self,
        names: &mut Names,
        name: Name,
        entry: &Entry,
        contents: &mut dyn Contents,
    ) -> Result<()>;
    /// A directory; what it will have is in `names` at the end.
    fn directory(&mut self, names: &mut Names, name: Name) -> Result<()>;
    /// A symlink, device, fifo or whiteout.
    fn node(&mut self, names: &mut Names, name: Name, entry: &Entry) -> Result<()>;
    /// Another name for the file that has the name `target`.
    fn link(&mut self, names: &mut Names, name: Name, target: Name) -> Result<()>;
    /// A name goes, with everything below. Called before `names` forgets it.
    fn remove(&mut self, names: &mut Names, name: Name) -> Result<()>;
    /// The end: attributes of directories.
    fn finish(&mut self, names: &mut Names) -> Result<()>;
}

/// Where the bytes of a file come from.
pub(super) trait Contents {
    fn piece(&mut self) -> Result<Option<Piece<'_>>>;
}

impl<R: std::io::BufRead> Contents for Reader<R> {
    fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        Reader::piece(self)
    }
}

/// A file of a lower layer.
struct Copy {
    file: std::fs::File,
    buffer: Vec<u8>,
    left: u64,
}

impl Contents for Copy {
    fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        if self.left == 0 {
            return Ok(None);
        }
        let most = self
            .buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self
            .file
            .read(&mut self.buffer[..most])
            .context("failed to read the file in the layer below")?;
        if n == 0 {
            return Err(Error::new("the file in the layer below has shrunk"));
        }
        self.left -= n as u64;
        Ok(Some(Piece::Bytes(&self.buffer[..n])))
    }
}

/// What has been left out, and how much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub entries: u64,
    /// Bytes of regular files.
    pub files: u64,
    pub attributes_dropped: u64,
    pub devices_dropped: u64,
    pub hides_all_below: bool,
}

/// Applies a whole archive.
pub(super) fn apply<R: std::io::BufRead>(
    reader: &mut Reader<R>,
    form: &mut dyn Form,
    options: &Options<'_>,
) -> Result<Counts> {
    let root = Attributes {
        mode: 0o755,
        ..Attributes::default()
    };
    let mut apply = Apply {
        names: Names::new(root),
        form,
        options,
        counts: Counts::default(),
    };
    let mut entry = Entry::default();
    while reader.next(&mut entry)? {
        apply.counts.files += entry.size;
        apply.entry(&mut entry, reader).map_err(|e| {
            let path = String::from_utf8_lossy(&entry.path);
            e.context(format!("failed to unpack {path:?}"))
        })?;
    }
    apply.counts.entries = reader.entries();
    apply.counts.hides_all_below = apply.names.is_opaque(ROOT);
    apply.drop_idle_whiteouts()?;
    apply.form.finish(&mut apply.names)?;
    Ok(apply.counts)
}

struct Apply<'a, 'o> {
    names: Names,
    form: &'a mut dyn Form,
    options: &'a Options<'o>,
    counts: Counts,
}

impl Apply<'_, '_> {
    fn entry(&mut self, entry: &mut Entry, contents: &mut dyn Contents) -> Result<()> {
        self.drop_attributes(entry);
        let path = std::mem::take(&mut entry.path);
        let result = self.place(&path, entry, contents);
        entry.path = path;
        result
    }

    fn place(&mut self, path: &[u8], entry: &mut Entry, contents: &mut dyn Contents) -> Result<()> {
        let parts = path::components(path)?;
        let Some((parents, meaning)) = path::split(&parts)? else {
            if entry.kind != Type::Directory {
                return Err(Error::corrupt("the root is not a directory"));
            }
            return self.names.set_attributes(ROOT, attributes(entry));
        };
        if meaning == Meaning::Nothing {
            return Ok(());
        }
        let parent = self.parent(parents)?;
        match meaning {
            Meaning::Opaque => self.names.set_opaque(parent),
            Meaning::Whiteout(name) => self.whiteout(parent, name)?,
            Meaning::Name(name) => self.named(parent, name, entry, contents)?,
            Meaning::Nothing => {}
        }
        Ok(())
    }

    /// The directory that an entry goes into; made where it is missing.
    fn parent(&mut self, parents: &[&[u8]]) -> Result<Inode> {
        let form = &mut *self.form;
        let made = self
            .names
            .walk(parents, &mut |names, directory, component, whiteout| {
                path::check_name(component)?;
                if let Some(name) = whiteout {
                    form.remove(names, name)?;
                    names.remove(name);
                }
                let inode = make_directory(names, form, directory, component)?;
                if whiteout.is_some() {
                    names.set_opaque(inode);
                }
                let implied = Attributes {
                    mode: 0o755,
                    ..Attributes::default()
                };
                names.set_attributes(inode, implied)?;
                Ok(Some(inode))
            })?;
        made.ok_or_else(|| Error::new("the directory of an entry was not made"))
    }

    fn whiteout(&mut self, parent: Inode, name: &[u8]) -> Result<()> {
        let Some(found) = self.names.find(parent, name) else {
            let name = self.names.add(parent, name, Nature::Whiteout)?;
            return self.form.node(&mut self.names, name, &Entry::default());
        };
        // Whatever has the name in this layer hides what is below already, but for the inside of a directory.
        let inode = self.names.inode(found);
        if self.names.nature(inode) == Nature::Directory {
            self.names.set_opaque(inode);
        }
        Ok(())
    }

    fn named(
        &mut self,
        parent: Inode,
        name: &[u8],
        entry: &mut Entry,
        contents: &mut dyn Contents,
    ) -> Result<()> {
        let found = self.names.find(parent, name);
        let old = found.map(|f| self.names.nature(self.names.inode(f)));
        if entry.kind == Type::Directory {
            return self.directory(parent, name, found, old, entry);
        }
        if entry.kind == Type::Hardlink {
            return self.hardlink(parent, name, found, entry);
        }
        let nature = match entry.kind {
            Type::Symlink if entry.link.is_empty() || entry.link.contains(&0) => {
                return Err(Error::corrupt("a symlink to nothing"));
            }
            Type::Symlink => Nature::Symlink,
            Type::Fifo => Nature::Fifo,
            // What overlay would take for a whiteout is one.
            Type::CharDevice if entry.major == 0 && entry.minor == 0 => {
                return self.whiteout(parent, name);
            }
            Type::CharDevice => Nature::Device { block: false },
            Type::BlockDevice => Nature::Device { block: true },
            _ => Nature::File,
        };
        if matches!(nature, Nature::Device { .. }) && self.options.devices == Devices::Skip {
            return self.leave_out(parent, name, found);
        }
        self.replace(found)?;
        let new = self.names.add(parent, name, nature)?;
        if nature == Nature::File {
            return self.form.file(&mut self.names, new, entry, contents);
        }
        if nature == Nature::Symlink {
            let inode = self.names.inode(new);
            self.names.set_target(inode, &entry.link)?;
        }
        self.form.node(&mut self.names, new, entry)
    }

    /// A device that we may not make. Nothing has its name then: neither what it replaces nor what a layer below has there.
    fn leave_out(&mut self, parent: Inode, name: &[u8], found: Option<Name>) -> Result<()> {
        self.counts.devices_dropped += 1;
        self.replace(found)?;
        self.whiteout(parent, name)
    }

    fn directory(
        &mut self,
        parent: Inode,
        name: &[u8],
        found: Option<Name>,
        old: Option<Nature>,
        entry: &mut Entry,
    ) -> Result<()> {
        let inode = match (found, old) {
            (Some(found), Some(Nature::Directory)) => self.names.inode(found),
            _ => {
                self.replace(found)?;
                let inode = make_directory(&mut self.names, self.form, parent, name)?;
                if found.is_some() {
                    self.names.set_opaque(inode);
                }
                inode
            }
        };
        self.names.set_attributes(inode, attributes(entry))
    }

    fn hardlink(&mut self, parent: Inode, name: &[u8], found: Option<Name>, entry: &mut Entry) -> Result<()> {
        let link = std::mem::take(&mut entry.link);
        let result = self.hardlink_to(parent, name, found, &link);
        entry.link = link;
        result.map_err(|e| {
            let link = String::from_utf8_lossy(&entry.link);
            e.context(format!("failed to make a hardlink to {link:?}"))
        })
    }

    fn hardlink_to(&mut self, parent: Inode, name: &[u8], found: Option<Name>, link: &[u8]) -> Result<()> {
        let parts = path::components(link)?;
        let Some((parents, Meaning::Name(last))) = path::split(&parts)? else {
            return Err(Error::corrupt("that is no file"));
        };
        let target = self.own(parents, last)?;
        if let (Some(target), Some(found)) = (target, found)
            && self.names.inode(target) == self.names.inode(found)
        {
            return Ok(());
        }
        if self.options.devices == Devices::Skip && self.is_left_out(parents, last)? {
            return self.leave_out(parent, name, found);
        }
        self.replace(found)?;
        // Again: the target may have been in what has just been replaced.
        if let Some(target) = self.own(parents, last)? {
            let inode = self.names.inode(target);
            if self.names.nature(inode) == Nature::Directory {
                return Err(Error::corrupt("that is a directory"));
            }
            let new = self.names.link(parent, name, inode)?;
            return self.form.link(&mut self.names, new, target);
        }
        let lower = match self.options.lower {
            Some(lower) => lower(&std::path::PathBuf::from(os(&parts.join(&b'/'))))?,
            None => {
                return Err(Error::of(
                    Kind::Incomplete,
                    "it is a link to a file of a layer below",
                ));
            }
        };
        match lower {
            Some(lower) => self.copy(parent, name, lower),
            None => Err(Error::corrupt(
                "there is no such file in this layer or in one below",
            )),
        }
    }

    /// Whether a hardlink means a device that was left out. (To what was removed nobody links.)
    fn is_left_out(&mut self, parents: &[&[u8]], last: &[u8]) -> Result<bool> {
        let directory = self.names.walk(parents, &mut |_, _, _, _| Ok(None))?;
        let found = directory.and_then(|directory| self.names.find(directory, last));
        Ok(found.is_some_and(|name| self.names.nature(self.names.inode(name)) == Nature::Whiteout))
    }

    /// The name in this layer that a hardlink means; the last component is not followed.
    fn own(&mut self, parents: &[&[u8]], last: &[u8]) -> Result<Option<Name>> {
        let directory = self.names.walk(parents, &mut |_, _, _, _| Ok(None))?;
        let found = directory.and_then(|directory| self.names.find(directory, last));
        Ok(found.filter(|name| self.names.nature(self.names.inode(*name)) != Nature::Whiteout))
    }

    fn copy(&mut self, parent: Inode, name: &[u8], lower: Lower) -> Result<()> {
        let size = lower
            .file
            .metadata()
            .context("failed to look at the file in the layer below")?
            .len();
        let mut entry = Entry {
            mode: lower.mode,
            uid: lower.uid,
            gid: lower.gid,
            mtime: lower.mtime,
            size,
            xattrs: lower.xattrs,
            ..Entry::default()
        };
        self.drop_attributes(&mut entry);
        let mut contents = Copy {
            file: lower.file,
            buffer: vec![0; 256 << 10],
            left: size,
        };
        let new = self.names.add(parent, name, Nature::File)?;
        self.form.file(&mut self.names, new, &entry, &mut contents)
    }

    fn replace(&mut self, found: Option<Name>) -> Result<()> {
        if let Some(found) = found {
            self.form.remove(&mut self.names, found)?;
            self.names.remove(found);
        }
        Ok(())
    }

    fn drop_idle_whiteouts(&mut self) -> Result<()> {
        // A directory's number is larger than its parent's, so what is above is known first.
        let mut opaque = vec![false; self.names.count() as usize];
        for directory in 0..self.names.count() {
            if !self.names.is_live_directory(directory) {
                continue;
            }
            let above = self.names.above(directory) as usize;
            let is_opaque = self.names.is_opaque(directory) || (directory != ROOT && opaque[above]);
            opaque[directory as usize] = is_opaque;
            if !is_opaque {
                continue;
            }
            let children: Vec<Name> = self.names.children(directory).collect();
            for child in children {
                if self.names.nature(self.names.inode(child)) == Nature::Whiteout {
                    self.replace(Some(child))?;
                }
            }
        }
        Ok(())
    }

    fn drop_attributes(&mut self, entry: &mut Entry) {
        let before = entry.xattrs.len();
        if before == 0 {
            return;
        }
        let kind = entry.kind;
        let overlay = self.options.overlay;
        entry
            .xattrs
            .retain(|(name, _)| super::attribute_is_kept(name, kind, overlay));
        self.counts.attributes_dropped += (before - entry.xattrs.len()) as u64;
    }
}

fn make_directory(names: &mut Names, form: &mut dyn Form, parent: Inode, component: &[u8]) -> Result<Inode> {
    let name = names.add(parent, component, Nature::Directory)?;
    form.directory(names, name)?;
    Ok(names.inode(name))
}

fn attributes(entry: &mut Entry) -> Attributes {
    Attributes {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        xattrs: std::mem::take(&mut entry.xattrs).into_boxed_slice(),
    }
}

pub(super) fn os(bytes: &[u8]) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes.to_vec())
}
