//! What an archive has made so far, in memory: directories, names, inodes. Some 60 bytes an entry and its name.
//!
//! May not: know what an archive or a file system is. Both forms of a layer are made from this one understanding, so they
//! cannot differ in what hides what, and a symlink of the archive is followed here and never by the kernel.

use std::hash::{BuildHasher, RandomState};

use super::tar::Time;
use crate::{Error, Result};

/// An inode's number here. The root is 0, and a directory's number is larger than its parent's.
pub(super) type Inode = u32;
/// A name in a directory, by number.
pub(super) type Name = u32;

pub(super) const ROOT: Inode = 0;
const NONE: u32 = u32::MAX;
/// As many links are followed on one way; the kernel has the same number.
const LINKS: u32 = 40;
/// Bytes that names, targets and attributes may take in all.
const ARENA: usize = 1 << 30;

/// Asked for a component that a directory does not have, or has a whiteout for; gives the directory to go on with, if any.
pub(super) type Missing<'a> =
    &'a mut dyn FnMut(&mut Names, Inode, &[u8], Option<Name>) -> Result<Option<Inode>>;

/// What is kept of the inside of a directory until the end, as it may change until then.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Box<[(Vec<u8>, Vec<u8>)]>,
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Directory,
    File,
    Symlink,
    Device {
        block: bool,
    },
    Fifo,
    /// Hides the name in the layers below.
    Whiteout,
}

#[derive(Debug)]
struct Node {
    nature: Nature,
    links: u32,
    /// Of a directory, its place in `directories`; of a symlink, in `targets`.
    more: u32,
    /// Where a form has put it; what the number means is the form's affair.
    place: u64,
}

#[derive(Debug)]
struct Directory {
    name: Name,
    first: Name,
    opaque: bool,
    attributes: Attributes,
}

#[derive(Debug)]
struct Entry {
    parent: Inode,
    /// NONE when it has been removed; the place is used again if the name comes back.
    inode: Inode,
    next: Name,
    at: u32,
    length: u16,
}

/// All names of a layer.
#[derive(Debug)]
pub(super) struct Names {
    nodes: Vec<Node>,
    directories: Vec<Directory>,
    targets: Vec<Box<[u8]>>,
    entries: Vec<Entry>,
    arena: Vec<u8>,
    /// Open addressing over `entries`, numbers plus one; a power of two, at most three quarters full.
    table: Vec<u32>,
    hasher: RandomState,
    held: usize,
}

impl Names {
    /// An empty root.
    pub fn new(root: Attributes) -> Names {
        Names {
            nodes: vec![Node {
                nature: Nature::Directory,
                links: 1,
                more: 0,
                place: 0,
            }],
            directories: vec![Directory {
                name: NONE,
                first: NONE,
                opaque: false,
                attributes: root,
            }],
            targets: Vec::new(),
            entries: Vec::new(),
            arena: Vec::new(),
            table: vec![0; 1024],
            hasher: RandomState::new(),
            held: 0,
        }
    }

    /// The name in a directory, if there is one.
    pub fn find(&self, directory: Inode, name: &[u8]) -> Option<Name> {
        let (_, entry) = self.slot(directory, name);
        entry.filter(|e| self.entries[*e as usize].inode != NONE)
    }

    /// Gives a name to a new inode. There must be none of that name.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, directory: Inode, name: &[u8], nature: Nature) -> Result<Name> {
        let inode = self.nodes.len() as u32;
        let entry = self.put(directory, name, inode)?;
        let mut more = NONE;
        if nature == Nature::Directory {
            more = self.directories.len() as u32;
            self.directories.push(Directory {
                name: entry,
                first: NONE,
                opaque: false,
                attributes: Attributes::default(),
            });
        }
        self.nodes.push(Node {
            nature,
            links: 1,
            more,
            place: 0,
        });
        Ok(entry)
    }

    /// Gives another name to an inode.
    ///
    /// # Errors
    /// There are too many.
    pub fn link(&mut self, directory: Inode, name: &[u8], inode: Inode) -> Result<Name> {
        let entry = self.put(directory, name, inode)?;
        self.nodes[inode as usize].links += 1;
        Ok(entry)
    }

    /// Takes a name away, and everything below it.
    pub fn remove(&mut self, name: Name) {
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            let inode = std::mem::replace(&mut self.entries[name as usize].inode, NONE);
            if inode == NONE {
                continue;
            }
            self.nodes[inode as usize].links -= 1;
            if self.nodes[inode as usize].nature == Nature::Directory {
                let more = self.nodes[inode as usize].more as usize;
                let mut child = self.directories[more].first;
                while child != NONE {
                    pending.push(child);
                    child = self.entries[child as usize].next;
                }
                self.directories[more].attributes = Attributes::default();
            }
        }
    }

    pub fn inode(&self, name: Name) -> Inode {
        self.entries[name as usize].inode
    }

    pub fn parent(&self, name: Name) -> Inode {
        self.entries[name as usize].parent
    }

    pub fn bytes(&self, name: Name) -> &[u8] {
        let entry = &self.entries[name as usize];
        &self.arena[entry.at as usize..][..usize::from(entry.length)]
    }

    pub fn nature(&self, inode: Inode) -> Nature {
        self.nodes[inode as usize].nature
    }

    pub fn links(&self, inode: Inode) -> u32 {
        self.nodes[inode as usize].links
    }

    pub fn place(&self, inode: Inode) -> u64 {
        self.nodes[inode as usize].place
    }

    pub fn set_place(&mut self, inode: Inode, place: u64) {
        self.nodes[inode as usize].place = place;
    }

    /// Inodes that have been made, the removed ones included.
    pub fn count(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Where a symlink points to.
    ///
    /// # Errors
    /// There are too many.
    pub fn set_target(&mut self, inode: Inode, target: &[u8]) -> Result<()> {
        self.hold(target.len() + 16)?;
        self.nodes[inode as usize].more = self.targets.len() as u32;
        self.targets.push(target.into());
        Ok(())
    }

    pub fn target(&self, inode: Inode) -> &[u8] {
        let node = &self.nodes[inode as usize];
        match node.nature {
            Nature::Symlink if node.more != NONE => &self.targets[node.more as usize],
            _ => b"",
        }
    }

    /// A directory that still has a name (the root needs none).
    pub fn is_live_directory(&self, inode: Inode) -> bool {
        let node = &self.nodes[inode as usize];
        node.nature == Nature::Directory && node.links > 0
    }

    /// Replaces what a directory will have in the end.
    ///
    /// # Errors
    /// There are too many attributes.
    pub fn set_attributes(&mut self, directory: Inode, attributes: Attributes) -> Result<()> {
        let size: usize = attributes
            .xattrs
            .iter()
            .map(|(n, v)| n.len() + v.len() + 64)
            .sum();
        self.hold(size)?;
        let more = self.nodes[directory as usize].more as usize;
        self.directories[more].attributes = attributes;
        Ok(())
    }

    pub fn attributes(&self, directory: Inode) -> &Attributes {
        let more = self.nodes[directory as usize].more as usize;
        &self.directories[more].attributes
    }

    /// Hides what the layers below have in a directory of this name.
    pub fn set_opaque(&mut self, directory: Inode) {
        let more = self.nodes[directory as usize].more as usize;
        self.directories[more].opaque = true;
    }

    pub fn is_opaque(&self, directory: Inode) -> bool {
        let more = self.nodes[directory as usize].more as usize;
        self.directories[more].opaque
    }

    /// The directory that a directory lies in; the root lies in itself.
    pub fn above(&self, directory: Inode) -> Inode {
        match self.name_of(directory) {
            NONE => ROOT,
            name => self.parent(name),
        }
    }

    /// Names in a directory, in no useful order.
    pub fn children(&self, directory: Inode) -> impl Iterator<Item = Name> {
        let more = self.nodes[directory as usize].more as usize;
        let mut next = self.directories[more].first;
        std::iter::from_fn(move || {
            loop {
                let name = next;
                let entry = self.entries.get(name as usize)?;
                next = entry.next;
                if entry.inode != NONE {
                    return Some(name);
                }
            }
        })
    }

    /// The path of a directory, below the root.
    pub fn path(&self, directory: Inode) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = directory;
        while at != ROOT {
            let name = self.name_of(at);
            parts.push(name);
            at = self.parent(name);
        }
        let mut path = Vec::new();
        for name in parts.iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(self.bytes(*name));
        }
        path
    }

    /// Goes down `components`, through symlinks, without leaving the root: `..` of the root is the root, an absolute target begins
    /// at it, as in a process that has it as its root directory. `missing` is asked for what is not there.
    ///
    /// # Errors
    /// A file in the way, too many symlinks, or what `missing` fails with.
    pub fn walk(&mut self, components: &[&[u8]], missing: Missing<'_>) -> Result<Option<Inode>> {
        let mut at = ROOT;
        let mut links = 0;
        // What a link has put before the rest; owned, as the target lies in what `missing` may change.
        let mut pending: Vec<Vec<u8>> = Vec::new();
        let mut rest = components.iter();
        loop {
            let owned = pending.pop();
            let component = match &owned {
                Some(component) => component.as_slice(),
                None => match rest.next() {
                    Some(component) => component,
                    None => return Ok(Some(at)),
                },
            };
            if component == b".." {
                at = self.above(at);
                continue;
            }
            let found = self.find(at, component);
            let nature = found.map(|name| self.nature(self.inode(name)));
            match (found, nature) {
                (Some(name), Some(Nature::Directory)) => at = self.inode(name),
                (Some(name), Some(Nature::Symlink)) => {
                    links += 1;
                    if links > LINKS {
                        return Err(Error::corrupt("too many symlinks on the way"));
                    }
                    let target = self.target(self.inode(name));
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    let parts = target
                        .split(|b| *b == b'/')
                        .filter(|c| !c.is_empty() && *c != b".")
                        .rev();
                    pending.extend(parts.map(<[u8]>::to_vec));
                }
                (None, _) | (_, Some(Nature::Whiteout)) => match missing(self, at, component, found)? {
                    Some(directory) => at = directory,
                    None => return Ok(None),
                },
                _ => {
                    return Err(Error::corrupt(format!(
                        "{:?} on the way is not a directory",
                        String::from_utf8_lossy(component)
                    )));
                }
            }
        }
    }

    fn name_of(&self, directory: Inode) -> Name {
        let more = self.nodes[directory as usize].more as usize;
        self.directories[more].name
    }

    fn put(&mut self, directory: Inode, name: &[u8], inode: Inode) -> Result<Name> {
        if self.nodes.len() >= NONE as usize - 1 || self.entries.len() >= NONE as usize - 1 {
            return Err(too_much());
        }
        let (slot, old) = self.slot(directory, name);
        if let Some(old) = old {
            self.entries[old as usize].inode = inode;
            return Ok(old);
        }
        self.hold(name.len())?;
        let entry = self.entries.len() as u32;
        let at = self.arena.len() as u32;
        self.arena.extend_from_slice(name);
        let more = self.nodes[directory as usize].more as usize;
        let next = std::mem::replace(&mut self.directories[more].first, entry);
        let length = u16::try_from(name.len()).map_err(|_| too_much())?;
        self.entries.push(Entry {
            parent: directory,
            inode,
            next,
            at,
            length,
        });
        self.table[slot] = entry + 1;
        if self.entries.len() * 4 > self.table.len() * 3 {
            self.grow();
        }
        Ok(entry)
    }

    /// Where a name is in the table, or would be.
    fn slot(&self, directory: Inode, name: &[u8]) -> (usize, Option<Name>) {
        let mask = self.table.len() - 1;
        let mut slot = self.hasher.hash_one((directory, name)) as usize & mask;
        loop {
            match self.table[slot].checked_sub(1) {
                None => return (slot, None),
                Some(e) if self.entries[e as usize].parent == directory && self.bytes(e) == name => {
                    return (slot, Some(e));
                }
                Some(_) => slot = (slot + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for entry in 0..self.entries.len() as u32 {
            let (slot, _) = self.slot(self.entries[entry as usize].parent, self.bytes(entry));
            self.table[slot] = entry + 1;
        }
    }

    fn hold(&mut self, bytes: usize) -> Result<()> {
        self.held += bytes;
        if self.held > ARENA {
            return Err(too_much());
        }
        Ok(())
    }
}

fn too_much() -> Error {
    Error::corrupt("the archive has more names than is allowed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::HashMap;

    fn listing(names: &Names, directory: Inode) -> HashMap<Vec<u8>, Inode> {
        names
            .children(directory)
            .map(|n| (names.bytes(n).to_vec(), names.inode(n)))
            .collect()
    }

    fn stop(_: &mut Names, _: Inode, _: &[u8], _: Option<Name>) -> Result<Option<Inode>> {
        Ok(None)
    }

    #[test]
    fn names_come_and_go() {
        let mut names = Names::new(Attributes::default());
        let d = names.add(ROOT, b"d", Nature::Directory).unwrap();
        let d = names.inode(d);
        for i in 0..5000 {
            names.add(d, format!("f{i}").as_bytes(), Nature::File).unwrap();
        }
        let f = names.find(d, b"f4999").unwrap();
        let file = names.inode(f);
        names.link(ROOT, b"other", file).unwrap();
        assert_eq!(names.links(file), 2);
        assert_eq!(listing(&names, d).len(), 5000);
        names.remove(names.find(ROOT, b"d").unwrap());
        assert_eq!(names.find(d, b"f1"), None);
        assert_eq!((names.links(file), names.is_live_directory(d)), (1, false));
        let again = names.add(ROOT, b"d", Nature::Directory).unwrap();
        assert!(listing(&names, names.inode(again)).is_empty());
        assert_eq!(listing(&names, ROOT).len(), 2);
    }

    #[test]
    fn symlinks_stay_inside() {
        let mut names = Names::new(Attributes::default());
        let a = names.add(ROOT, b"a", Nature::Directory).unwrap();
        let a = names.inode(a);
        let b = names.add(a, b"b", Nature::Directory).unwrap();
        let b = names.inode(b);
        for (directory, name, target) in [
            (b, &b"up"[..], &b"../../../../a"[..]),
            (b, b"abs", b"/a/./b//"),
            (ROOT, b"loop", b"loop/x"),
            (ROOT, b"gone", b"nowhere"),
        ] {
            let link = names.add(directory, name, Nature::Symlink).unwrap();
            let link = names.inode(link);
            names.set_target(link, target).unwrap();
        }
        let table: &[(&[&[u8]], Option<Inode>)] = &[
            (&[], Some(ROOT)),
            (&[b"a", b"b", b"up"], Some(a)),
            (&[b"a", b"b", b"abs", b"abs", b"up", b"b"], Some(b)),
            (&[b"gone"], None),
            (&[b"a", b"x"], None),
        ];
        for (path, expected) in table {
            assert_eq!(names.walk(path, &mut stop).unwrap(), *expected, "{path:?}");
        }
        assert!(names.walk(&[b"loop"], &mut stop).is_err());
        assert_eq!(names.path(b), b"a/b");
    }
}
