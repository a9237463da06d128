//! A layer as one EROFS image: one pass over the archive, one file, no compression.
//!
//! May not: go back over what has been written, but for a few counts and numbers at the end.
//!
//! The image is written as the archive comes. Whole blocks of a file go where the next free block is, straight from the
//! buffer that the archive was inflated into. What is left of a file, its inode and its attributes go into a block of metadata
//! together; a few of those are open at a time, so that little of them stays empty. The number of an inode is its place
//! in the image (in units of 32 bytes), so blocks of data and of metadata may lie in any order. Directories come last, the
//! inner ones first, then their dots, then the superblock: an image that was not finished cannot be mounted.

mod disk;

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use self::disk::{BLOCK, DIRENT, Fields, INODE, Layout, SLOT};
use super::apply::{Contents, Form};
use super::names::{Inode, Name, Names, Nature, ROOT};
use super::tar::{Entry, Piece};
use super::{Options, Overlay};
use crate::{Context, Error, Kind, Result};

/// Blocks of metadata that are open at a time. With eight, less than a tenth of them stays empty.
const OPEN: usize = 8;

/// Whether another version of brig wrote an image, as its name says; the first one gave it none.
pub(super) fn is_foreign(image: &File) -> bool {
    let mut name = [0; disk::VOLUME.len()];
    let at = (disk::SUPERBLOCK + disk::VOLUME_AT) as u64;
    // What cannot be read is damaged, whoever wrote it.
    let is_named = image.read_exact_at(&mut name, at).is_ok() && name != *disk::VOLUME;
    is_named && (name.starts_with(disk::OURS) || name == [0; disk::VOLUME.len()])
}

/// Writes an image into an empty file.
pub(super) struct Image<'a> {
    file: &'a File,
    overlay: Overlay,
    next_block: u64,
    open: Vec<Open>,
    /// Where `.` and `..` are in the directories that have been written, and whose numbers go there once all have a place.
    dots: Vec<(Inode, u64)>,
    inodes: u32,
    scratch: Vec<u8>,
    tail: Vec<u8>,
}

/// A block of metadata that still has room.
struct Open {
    block: u64,
    used: usize,
    bytes: Box<[u8; BLOCK]>,
}

impl<'a> Image<'a> {
    pub fn new(file: &'a File, options: &Options<'_>) -> Image<'a> {
        Image {
            file,
            overlay: options.overlay,
            next_block: 1,
            open: Vec::new(),
            dots: Vec::new(),
            inodes: 0,
            scratch: Vec::new(),
            tail: Vec::new(),
        }
    }

    /// Bytes of the image.
    pub fn bytes(&self) -> u64 {
        self.next_block * BLOCK as u64
    }

    /// Takes so many blocks in a row.
    fn take_blocks(&mut self, blocks: u64) -> Result<u64> {
        let first = self.next_block;
        self.next_block = first
            .checked_add(blocks)
            .filter(|end| *end <= u64::from(u32::MAX))
            .ok_or_else(|| Error::of(Kind::Unsupported, "the layer is too large for EROFS"))?;
        Ok(first)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .context("failed to write the image")
    }

    /// Puts `bytes` where they cross no block, or only from the beginning of one; gives the offset in the image.
    fn put(&mut self, bytes: &[u8]) -> Result<u64> {
        if bytes.len() > BLOCK {
            let first = self.take_blocks(bytes.len().div_ceil(BLOCK) as u64)?;
            let offset = first * BLOCK as u64;
            self.write_at(bytes, offset)?;
            return Ok(offset);
        }
        let at = match self.best_open(bytes.len()) {
            Some(at) => at,
            None => self.another_open()?,
        };
        let open = &mut self.open[at];
        let offset = open.block * BLOCK as u64 + open.used as u64;
        open.bytes[open.used..open.used + bytes.len()].copy_from_slice(bytes);
        open.used = (open.used + bytes.len()).next_multiple_of(SLOT);
        Ok(offset)
    }

    /// The open block that is filled best.
    fn best_open(&self, size: usize) -> Option<usize> {
        (0..self.open.len())
            .filter(|i| self.open[*i].used + size <= BLOCK)
            .max_by_key(|i| self.open[*i].used)
    }

    fn another_open(&mut self) -> Result<usize> {
        if self.open.len() == OPEN {
            let fullest = (0..OPEN).max_by_key(|i| self.open[*i].used).unwrap_or(0);
            let closed = self.open.swap_remove(fullest);
            self.write_at(closed.bytes.as_slice(), closed.block * BLOCK as u64)?;
        }
        let block = self.take_blocks(1)?;
        self.open.push(Open {
            block,
            used: 0,
            bytes: Box::new([0; BLOCK]),
        });
        Ok(self.open.len() - 1)
    }

    fn flush(&mut self) -> Result<()> {
        for open in std::mem::take(&mut self.open) {
            self.write_at(open.bytes.as_slice(), open.block * BLOCK as u64)?;
        }
        Ok(())
    }

    /// The attributes of an inode in `scratch`, behind room for the inode itself; how many bytes.
    fn encode_attributes<'x>(&mut self, list: impl Iterator<Item = (&'x [u8], &'x [u8])>) -> Result<usize> {
        self.scratch.clear();
        disk::attributes(&mut self.scratch, list).ok_or_else(|| {
            Error::of(
                Kind::Unsupported,
                "the extended attributes are too large for EROFS",
            )
        })?;
        Ok(self.scratch.len())
    }

    /// Writes an inode with the attributes in `scratch` and, for [`Layout::Inline`], what is in `tail`.
    fn put_inode(&mut self, fields: &Fields) -> Result<u64> {
        let mut bytes = Vec::with_capacity(INODE + self.scratch.len() + self.tail.len());
        disk::inode(&mut bytes, fields);
        bytes.extend_from_slice(&self.scratch);
        if fields.layout == Layout::Inline {
            bytes.extend_from_slice(&self.tail);
        }
        let offset = self.put(&bytes)?;
        Ok(offset / SLOT as u64)
    }

    fn next_number(&mut self) -> u32 {
        self.inodes += 1;
        self.inodes
    }

    /// Contents of which `size` is known before: whole blocks into the image, the rest into `tail` or a block of its own.
    fn put_contents(
        &mut self,
        size: u64,
        attributes: usize,
        contents: &mut dyn Contents,
    ) -> Result<(Layout, u32)> {
        let rest = (size % BLOCK as u64) as usize;
        let whole = size - rest as u64;
        let layout = if rest > 0 && INODE + attributes + rest <= BLOCK {
            Layout::Inline
        } else {
            Layout::Plain
        };
        let in_blocks = if layout == Layout::Inline { whole } else { size };
        let first = match in_blocks {
            0 => 0,
            bytes => self.take_blocks(bytes.div_ceil(BLOCK as u64))?,
        };
        self.tail.clear();
        self.tail.resize((size - in_blocks) as usize, 0);
        let base = first * BLOCK as u64;
        let mut position = 0u64;
        while let Some(piece) = contents.piece()? {
            match piece {
                Piece::Hole(length) => position += length,
                Piece::Bytes(bytes) => {
                    let to_blocks = in_blocks.saturating_sub(position).min(bytes.len() as u64) as usize;
                    let (to_blocks, to_tail) = bytes.split_at(to_blocks);
                    if !to_blocks.is_empty() {
                        self.file
                            .write_all_at(to_blocks, base + position)
                            .context("failed to write the image")?;
                        position += to_blocks.len() as u64;
                    }
                    if !to_tail.is_empty() {
                        let at = (position - in_blocks) as usize;
                        self.tail[at..at + to_tail.len()].copy_from_slice(to_tail);
                        position += to_tail.len() as u64;
                    }
                }
            }
        }
        if position != size {
            return Err(Error::corrupt(format!(
                "a file has {position} bytes instead of {size}"
            )));
        }
        Ok((layout, first as u32))
    }

    fn finish_directory(&mut self, names: &mut Names, directory: Inode) -> Result<()> {
        let is_root = directory == ROOT;
        let listing = Listing::of(names, directory);
        let attributes = names.attributes(directory);
        let (mode, uid, gid, mtime) = (attributes.mode, attributes.uid, attributes.gid, attributes.mtime);
        let mut list: Vec<(&[u8], &[u8])> = attributes
            .xattrs
            .iter()
            .map(|(n, v)| (n.as_slice(), v.as_slice()))
            .collect();
        if names.is_opaque(directory) {
            list.push((self.overlay.opaque().to_bytes(), b"y"));
        }
        let attributes = self.encode_attributes(list.into_iter())?;
        let links = listing.links;
        let (data, dots) = listing.encode(names);
        let rest = data.len() % BLOCK;
        // The root has its place in block 0, so nothing of it lies behind its inode.
        let inline = !is_root && rest > 0 && INODE + attributes + rest <= BLOCK;
        let in_blocks = if inline { data.len() - rest } else { data.len() };
        let first = match in_blocks {
            0 => 0,
            bytes => self.take_blocks(bytes.div_ceil(BLOCK) as u64)?,
        };
        if in_blocks > 0 {
            self.write_at(&data[..in_blocks], first * BLOCK as u64)?;
        }
        self.tail.clear();
        self.tail.extend_from_slice(&data[in_blocks..]);
        let fields = Fields {
            layout: if inline { Layout::Inline } else { Layout::Plain },
            attributes,
            mode: libc::S_IFDIR | mode,
            size: data.len() as u64,
            address: first as u32,
            number: self.next_number(),
            uid,
            gid,
            seconds: mtime.seconds,
            nanoseconds: mtime.nanoseconds,
            links,
        };
        let nid = if is_root {
            disk::ROOT_NID
        } else {
            self.put_inode(&fields)?
        };
        names.set_place(directory, nid);
        for (meant, at) in [directory, names.above(directory)].into_iter().zip(dots) {
            let offset = if at < in_blocks {
                first * BLOCK as u64 + at as u64
            } else {
                nid * SLOT as u64 + (INODE + attributes + at - in_blocks) as u64
            };
            self.dots.push((meant, offset));
        }
        if is_root {
            return self.finish_root(names, &fields);
        }
        Ok(())
    }

    /// Everything else has been placed: numbers that were not known go in, then block 0.
    fn finish_root(&mut self, names: &mut Names, fields: &Fields) -> Result<()> {
        self.flush()?;
        for (directory, offset) in std::mem::take(&mut self.dots) {
            self.write_at(&names.place(directory).to_le_bytes(), offset)?;
        }
        for inode in 0..names.count() {
            let links = names.links(inode);
            if links > 1 && names.nature(inode) != Nature::Directory {
                let offset = names.place(inode) * SLOT as u64 + disk::LINKS_AT;
                self.write_at(&links.to_le_bytes(), offset)?;
            }
        }
        let mut block = [0u8; BLOCK];
        let mut bytes = Vec::with_capacity(INODE + self.scratch.len());
        disk::inode(&mut bytes, fields);
        bytes.extend_from_slice(&self.scratch);
        let begin = disk::SUPERBLOCK + disk::SUPERBLOCK_SIZE;
        let room = block.get_mut(begin..begin + bytes.len()).ok_or_else(|| {
            Error::of(
                Kind::Unsupported,
                "the extended attributes of the root are too large for EROFS",
            )
        })?;
        room.copy_from_slice(&bytes);
        disk::superblock(&mut block, u64::from(self.inodes), self.next_block as u32);
        self.file
            .set_len(self.bytes())
            .context("failed to write the image")?;
        self.write_at(&block, 0)
    }
}

impl Form for Image<'_> {
    fn file(
        &mut self,
        names: &mut Names,
        name: Name,
        entry: &Entry,
        contents: &mut dyn Contents,
    ) -> Result<()> {
        let attributes = self.encode_attributes(pairs(entry))?;
        let (layout, address) = self.put_contents(entry.size, attributes, contents)?;
        let fields = fields(entry, libc::S_IFREG, layout, attributes, entry.size, address);
        self.put_entry(names, name, fields)
    }

    fn directory(&mut self, _: &mut Names, _: Name) -> Result<()> {
        Ok(())
    }

    fn node(&mut self, names: &mut Names, name: Name, entry: &Entry) -> Result<()> {
        let attributes = self.encode_attributes(pairs(entry))?;
        self.tail.clear();
        let nature = names.nature(names.inode(name));
        if nature == Nature::Symlink {
            let size = entry.link.len() as u64;
            let (layout, address) = self.put_contents(size, attributes, &mut Whole(&entry.link, false))?;
            let mut fields = fields(entry, libc::S_IFLNK, layout, attributes, size, address);
            fields.mode = libc::S_IFLNK | 0o777;
            return self.put_entry(names, name, fields);
        }
        let kind = mode_of(nature);
        let address = match nature {
            Nature::Device { .. } => disk::device(entry.major, entry.minor),
            _ => 0,
        };
        let fields = fields(entry, kind, Layout::Plain, attributes, 0, address);
        self.put_entry(names, name, fields)
    }

    fn link(&mut self, _: &mut Names, _: Name, _: Name) -> Result<()> {
        Ok(())
    }

    /// What has been written stays in the image, and nothing names it.
    fn remove(&mut self, _: &mut Names, _: Name) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, names: &mut Names) -> Result<()> {
        for inode in (0..names.count()).rev() {
            if names.is_live_directory(inode) {
                self.finish_directory(names, inode)?;
            }
        }
        Ok(())
    }
}

impl Image<'_> {
    fn put_entry(&mut self, names: &mut Names, name: Name, mut fields: Fields) -> Result<()> {
        fields.number = self.next_number();
        let nid = self.put_inode(&fields)?;
        names.set_place(names.inode(name), nid);
        Ok(())
    }
}

fn pairs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    entry.xattrs.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))
}

fn fields(entry: &Entry, kind: u32, layout: Layout, attributes: usize, size: u64, address: u32) -> Fields {
    Fields {
        layout,
        attributes,
        mode: kind | entry.mode,
        size,
        address,
        number: 0,
        uid: entry.uid,
        gid: entry.gid,
        seconds: entry.mtime.seconds,
        nanoseconds: entry.mtime.nanoseconds,
        links: 1,
    }
}

/// A symlink's target as the contents of a file.
struct Whole<'a>(&'a [u8], bool);

impl Contents for Whole<'_> {
    fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        let done = std::mem::replace(&mut self.1, true);
        Ok((!done).then_some(Piece::Bytes(self.0)))
    }
}

fn mode_of(nature: Nature) -> u32 {
    match nature {
        Nature::Directory => libc::S_IFDIR,
        Nature::File => libc::S_IFREG,
        Nature::Symlink => libc::S_IFLNK,
        Nature::Device { block: true } => libc::S_IFBLK,
        Nature::Device { block: false } | Nature::Whiteout => libc::S_IFCHR,
        Nature::Fifo => libc::S_IFIFO,
    }
}

/// The names of a directory in the order that the kernel searches them in.
struct Listing {
    /// `None` is a dot name.
    names: Vec<Option<Name>>,
    links: u32,
}

impl Listing {
    fn of(names: &Names, directory: Inode) -> Listing {
        let mut children: Vec<Name> = names.children(directory).collect();
        children.sort_unstable_by(|a, b| names.bytes(*a).cmp(names.bytes(*b)));
        let inner = children
            .iter()
            .filter(|c| names.nature(names.inode(**c)) == Nature::Directory)
            .count();
        // The dots have their place among the others: `!` comes before them.
        let dots = children.partition_point(|c| names.bytes(*c) < &b"."[..]);
        let dot_dots = children.partition_point(|c| names.bytes(*c) < &b".."[..]);
        let mut sorted: Vec<Option<Name>> = children.into_iter().map(Some).collect();
        sorted.insert(dot_dots, None);
        sorted.insert(dots, None);
        Listing {
            names: sorted,
            links: 2 + inner as u32,
        }
    }

    /// Blocks of entries, then names; where the numbers of `.` and `..` are in them.
    fn encode(&self, names: &Names) -> (Vec<u8>, [usize; 2]) {
        let mut data = Vec::new();
        let mut places = [0; 2];
        let mut dots = [&b"."[..], b".."].into_iter();
        let list: Vec<(&[u8], Option<Name>)> = self
            .names
            .iter()
            .map(|name| match name {
                Some(n) => (names.bytes(*n), Some(*n)),
                None => (dots.next().unwrap_or(b".."), None),
            })
            .collect();
        let mut rest = list.as_slice();
        while !rest.is_empty() {
            data.resize(data.len().next_multiple_of(BLOCK), 0);
            let begin = data.len();
            let (mut count, mut size) = (0, 0);
            while let Some((name, _)) = rest.get(count)
                && size + DIRENT + name.len() <= BLOCK
            {
                size += DIRENT + name.len();
                count += 1;
            }
            let (block, later) = rest.split_at(count);
            rest = later;
            let mut name_at = count * DIRENT;
            for (name, entry) in block {
                let (nid, kind) = match entry {
                    Some(n) => {
                        let inode = names.inode(*n);
                        (names.place(inode), mode_of(names.nature(inode)))
                    }
                    None => {
                        places[name.len() - 1] = data.len();
                        (0, libc::S_IFDIR)
                    }
                };
                data.extend_from_slice(&nid.to_le_bytes());
                data.extend_from_slice(&(name_at as u16).to_le_bytes());
                data.extend_from_slice(&[disk::file_type(kind), 0]);
                name_at += name.len();
            }
            for (name, _) in block {
                data.extend_from_slice(name);
            }
            debug_assert!(data.len() - begin <= BLOCK);
        }
        (data, places)
    }
}
