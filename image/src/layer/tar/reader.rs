//! Reading: one pass, no copy of what is in files.
//!
//! May not: allocate by what the archive says. Every length is bounded before anything grows to it.

use std::io::{BufRead, ErrorKind};

use super::header::{self, Block, Dialect, bad, field, number, text};
use super::pax::Records;
use super::sparse::{self, Range};
use super::{BLOCK, Entry, Limits, Time, Type};
use crate::{Context, Error, Result};

/// A part of a file, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Bytes(&'a [u8]),
    /// So many zeros that the archive does not hold.
    Hole(u64),
}

/// Reads entries from a stream. A [`std::io::BufRead`], so that the bytes of files are handed on from where they already lie.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    limits: Limits,
    globals: Records,
    /// What of the current entry is still in the stream: bytes of the file, then the padding of its last block.
    stored: u64,
    padding: u64,
    /// Given out as a piece, and to be consumed before the next look at the source.
    lent: usize,
    /// Ranges of a sparse file that are still to come, last first; where in the file we are.
    map: Vec<Range>,
    is_sparse: bool,
    position: u64,
    size: u64,
    entries: u64,
    bytes: u64,
    ended: bool,
}

/// What the extended headers before an entry said.
#[derive(Default)]
struct Extended {
    records: Option<Records>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: BufRead> Reader<R> {
    pub fn new(source: R, limits: Limits) -> Reader<R> {
        Reader {
            source,
            limits,
            globals: Records::default(),
            stored: 0,
            padding: 0,
            lent: 0,
            map: Vec::new(),
            is_sparse: false,
            position: 0,
            size: 0,
            entries: 0,
            bytes: 0,
            ended: false,
        }
    }

    /// Entries so far, extended headers not counted.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry, or false at the end: two blocks of zeros, or where the stream ends between entries (as Go's archive/tar
    /// does; many writers leave the zeros out). What was not read of the entry before is passed over.
    ///
    /// # Errors
    /// The stream's, or what makes this no archive.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool> {
        self.pass_over()?;
        if self.ended {
            return Ok(false);
        }
        let mut extended = Extended::default();
        loop {
            let Some(block) = self.header()? else {
                self.ended = true;
                let dangling =
                    extended.records.is_some() || extended.path.is_some() || extended.link.is_some();
                if dangling {
                    return Err(Error::corrupt(
                        "the archive ends between an extended header and its entry",
                    ));
                }
                return Ok(false);
            };
            let dialect = header::check(&block)?;
            match block[field::TYPE] {
                b'x' => {
                    let bytes = self.extended_data(&block)?;
                    extended.records = Some(Records::parse(&bytes, &self.limits)?);
                }
                b'g' => {
                    let bytes = self.extended_data(&block)?;
                    let records = Records::parse_global(&bytes, &self.limits)?;
                    merge(&mut self.globals, records, &self.limits)?;
                }
                b'L' => extended.path = Some(self.long_name(&block)?),
                b'K' => extended.link = Some(self.long_name(&block)?),
                _ => {
                    self.fill(entry, &block, dialect, extended)?;
                    return Ok(true);
                }
            }
        }
    }

    /// The next piece of the current file; `None` is its end.
    ///
    /// # Errors
    /// The stream's, or that it ends within the file.
    pub fn piece(&mut self) -> Result<Option<Piece<'_>>> {
        self.consume();
        if self.is_sparse {
            let (until_data, in_range) = match self.map.last() {
                Some(range) => (range.offset - self.position, range.length),
                None => (self.size - self.position, 0),
            };
            if until_data > 0 {
                self.position += until_data;
                return Ok(Some(Piece::Hole(until_data)));
            }
            if in_range == 0 {
                return Ok(None);
            }
            let length = self.look(in_range)?;
            self.position += length as u64;
            if let Some(range) = self.map.last_mut() {
                range.offset += length as u64;
                range.length -= length as u64;
                if range.length == 0 {
                    self.map.pop();
                }
            }
            return self.lend(length);
        }
        if self.stored == 0 {
            return Ok(None);
        }
        let length = self.look(self.stored)?;
        self.lend(length)
    }

    /// Reads to the end of the stream, past everything behind the archive: a diff id is of the whole stream.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(mut self) -> Result<R> {
        self.pass_over()?;
        loop {
            let length = self.look_ahead()?.len();
            if length == 0 {
                return Ok(self.source);
            }
            self.source.consume(length);
        }
    }

    fn lend(&mut self, length: usize) -> Result<Option<Piece<'_>>> {
        self.lent = length;
        self.stored -= length as u64;
        Ok(Some(Piece::Bytes(&self.source.fill_buf()?[..length])))
    }

    /// How many of at most `most` bytes lie ready; waits for one.
    fn look(&mut self, most: u64) -> Result<usize> {
        let ready = self.look_ahead()?.len();
        if ready == 0 {
            return Err(Error::corrupt("the archive ends in the middle of a file"));
        }
        Ok(usize::try_from(most).unwrap_or(usize::MAX).min(ready))
    }

    fn look_ahead(&mut self) -> Result<&[u8]> {
        // Twice, as the borrow of a first success may not leave the loop.
        loop {
            match self.source.fill_buf() {
                Ok(_) => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(self.source.fill_buf()?)
    }

    fn consume(&mut self) {
        self.source.consume(self.lent);
        self.lent = 0;
    }

    fn pass_over(&mut self) -> Result<()> {
        self.consume();
        let mut left = self.stored + self.padding;
        self.stored = 0;
        self.padding = 0;
        while left > 0 {
            let length = self.look(left)?;
            self.source.consume(length);
            left -= length as u64;
        }
        Ok(())
    }

    /// A block; `None` where the stream ends before it.
    fn block(&mut self) -> Result<Option<Block>> {
        let mut block = [0u8; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let ready = self.look_ahead()?;
            let length = ready.len().min(BLOCK - filled);
            if length == 0 {
                if filled == 0 {
                    return Ok(None);
                }
                return Err(Error::corrupt("the archive ends in the middle of a block"));
            }
            block[filled..filled + length].copy_from_slice(&ready[..length]);
            self.source.consume(length);
            filled += length;
        }
        Ok(Some(block))
    }

    /// A header's block; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Block>> {
        let Some(block) = self.block()? else {
            return Ok(None);
        };
        if !header::is_zero(&block) {
            return Ok(Some(block));
        }
        match self.block()? {
            None => Ok(None),
            Some(second) if header::is_zero(&second) => Ok(None),
            Some(_) => Err(Error::corrupt("the archive has a single block of zeros inside")),
        }
    }

    /// What an extended header holds.
    fn extended_data(&mut self, block: &Block) -> Result<Vec<u8>> {
        let size = number(&block[field::SIZE])
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| bad("size"))?;
        if size > self.limits.header {
            return Err(Error::corrupt(format!(
                "an extended tar header has {size} bytes; {} are allowed",
                self.limits.header
            )));
        }
        let mut bytes = Vec::with_capacity(size.next_multiple_of(BLOCK));
        while bytes.len() < size {
            let part = self
                .block()?
                .ok_or_else(|| Error::corrupt("the archive ends in the middle of an extended header"))?;
            bytes.extend_from_slice(&part);
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    /// GNU's way to write a long path: an entry of its own before the one that it names.
    fn long_name(&mut self, block: &Block) -> Result<Vec<u8>> {
        let mut bytes = self.extended_data(block)?;
        let length = text(&bytes).len();
        bytes.truncate(length);
        Ok(bytes)
    }

    fn fill(&mut self, entry: &mut Entry, block: &Block, dialect: Dialect, extended: Extended) -> Result<()> {
        entry.clear();
        take_fields(entry, block, dialect)?;
        let physical = number(&block[field::SIZE]).and_then(|n| u64::try_from(n).ok());
        let records = extended.records.unwrap_or_default();
        apply_records(entry, &self.globals, &records);
        if let Some(path) = extended.path {
            entry.path = path;
        }
        if let Some(link) = extended.link {
            entry.link = link;
        }
        let flag = block[field::TYPE];
        entry.kind = kind(flag, &entry.path)?;
        self.entries += 1;
        // The header's own field counts for nothing once PAX has said better, so it may be anything then.
        let stored = match records.size {
            Some(size) => size,
            None => physical.ok_or_else(|| bad("size"))?,
        };
        // Whatever else has a size has none of it in the archive (as Go's archive/tar; hardlinks with data are not made by anyone).
        let stored = if entry.kind == Type::File { stored } else { 0 };
        self.start_file(entry, block, dialect, records, stored)?;
        self.check(entry)
    }

    fn start_file(
        &mut self,
        entry: &mut Entry,
        block: &Block,
        dialect: Dialect,
        records: Records,
        stored: u64,
    ) -> Result<()> {
        self.stored = stored;
        self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
        self.position = 0;
        self.size = stored;
        self.map.clear();
        self.is_sparse = false;
        if entry.kind == Type::File {
            if block[field::TYPE] == b'S' {
                self.old_sparse_map(block, dialect)?;
            } else {
                self.pax_sparse_map(entry, records)?;
            }
        }
        if self.is_sparse {
            sparse::check(&mut self.map, self.size, self.stored)?;
            self.map.reverse();
        }
        entry.size = self.size;
        Ok(())
    }

    fn old_sparse_map(&mut self, block: &Block, dialect: Dialect) -> Result<()> {
        if dialect != Dialect::Gnu {
            return Err(bad("type: a sparse file is GNU's"));
        }
        sparse::take_old(&block[field::GNU_SPARSE], &mut self.map)?;
        self.size = number(&block[field::GNU_REAL_SIZE])
            .and_then(|n| u64::try_from(n).ok())
            .ok_or_else(|| bad("size"))?;
        let mut more = block[field::GNU_EXTENDED] != 0;
        while more {
            if self.map.len() > self.limits.sparse {
                return Err(sparse::malformed());
            }
            let next = self
                .block()?
                .ok_or_else(|| Error::corrupt("the archive ends in the middle of a sparse map"))?;
            // 21 pairs, and whether there is another block.
            sparse::take_old(&next[..504], &mut self.map)?;
            more = next[504] != 0;
        }
        self.is_sparse = true;
        Ok(())
    }

    fn pax_sparse_map(&mut self, entry: &mut Entry, records: Records) -> Result<()> {
        let sparse = records.sparse;
        let in_data = match (sparse.major, sparse.minor) {
            (Some(1), Some(0)) => true,
            (None | Some(0), None | Some(0 | 1)) if sparse.has_map => false,
            (None, None) => return Ok(()),
            (major, minor) => {
                return Err(Error::of(
                    crate::Kind::Unsupported,
                    format!("a sparse file of version {major:?}.{minor:?} in a tar archive is not known"),
                ));
            }
        };
        if let Some(name) = sparse.name {
            entry.path = name;
        }
        if in_data {
            let mut lines = sparse::Lines::new(self.limits.sparse);
            loop {
                let block = if self.stored < BLOCK as u64 {
                    None
                } else {
                    self.block()?
                };
                let block = block.ok_or_else(sparse::malformed)?;
                self.stored -= BLOCK as u64;
                if lines.take(&block)? {
                    break;
                }
            }
            self.map = lines.finish()?;
        } else {
            self.map = sparse::of_pairs(&sparse.map)?;
        }
        self.size = sparse.real_size.ok_or_else(sparse::malformed)?;
        self.is_sparse = true;
        Ok(())
    }

    fn check(&mut self, entry: &Entry) -> Result<()> {
        let limits = &self.limits;
        let too = |what: &str, most: u64| {
            Error::corrupt(format!(
                "the archive has {what} than {most}; that is more than is allowed"
            ))
        };
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.entries > limits.entries {
            return Err(too("more entries", limits.entries));
        }
        if self.bytes > limits.bytes {
            return Err(too("more bytes in files", limits.bytes));
        }
        if entry.path.len() > limits.path || entry.link.len() > limits.path {
            return Err(too("a longer path", limits.path as u64));
        }
        let depth = entry
            .path
            .split(|b| *b == b'/')
            .filter(|c| !c.is_empty() && *c != b".")
            .count();
        if depth > limits.depth {
            return Err(too("a deeper path", limits.depth as u64));
        }
        Ok(())
    }
}

/// What the block itself says.
fn take_fields(entry: &mut Entry, block: &Block, dialect: Dialect) -> Result<()> {
    let prefix = match dialect {
        Dialect::Ustar => text(&block[field::PREFIX]),
        Dialect::Star => text(&block[field::STAR_PREFIX]),
        Dialect::Gnu | Dialect::V7 => b"",
    };
    if !prefix.is_empty() {
        entry.path.extend_from_slice(prefix);
        entry.path.push(b'/');
    }
    entry.path.extend_from_slice(text(&block[field::NAME]));
    entry.link.extend_from_slice(text(&block[field::LINK]));
    // Some writers put the type of the file into the mode as well.
    let mode = number(&block[field::MODE]).ok_or_else(|| bad("mode"))?;
    entry.mode = (mode & 0o7777) as u32;
    let id = |range: std::ops::Range<usize>| {
        number(&block[range])
            .and_then(|n| u32::try_from(n).ok())
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| bad("owner"))
    };
    entry.uid = id(field::UID)?;
    entry.gid = id(field::GID)?;
    entry.mtime = Time {
        seconds: number(&block[field::MTIME]).ok_or_else(|| bad("time"))?,
        nanoseconds: 0,
    };
    if matches!(block[field::TYPE], b'3' | b'4') {
        let device = |range: std::ops::Range<usize>| {
            number(&block[range])
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| bad("device number"))
        };
        entry.major = device(field::MAJOR)?;
        entry.minor = device(field::MINOR)?;
        // As many bits as the kernel has.
        if entry.major >= 1 << 12 || entry.minor >= 1 << 20 {
            return Err(bad("device number"));
        }
    }
    Ok(())
}

/// What PAX says instead; the entry's own records before the global ones.
fn apply_records(entry: &mut Entry, globals: &Records, own: &Records) {
    if let Some(path) = &own.path {
        entry.path.clone_from(path);
    }
    if let Some(link) = &own.link {
        entry.link.clone_from(link);
    }
    entry.uid = own.uid.or(globals.uid).unwrap_or(entry.uid);
    entry.gid = own.gid.or(globals.gid).unwrap_or(entry.gid);
    entry.mtime = own.mtime.or(globals.mtime).unwrap_or(entry.mtime);
    if own.xattrs.is_empty() && globals.xattrs.is_empty() {
        return;
    }
    entry.xattrs.clone_from(&own.xattrs);
    for (name, value) in &globals.xattrs {
        if !entry.xattrs.iter().any(|(n, _)| n == name) {
            entry.xattrs.push((name.clone(), value.clone()));
        }
    }
    // An empty value takes it away, as with every record.
    entry.xattrs.retain(|(_, value)| !value.is_empty());
    entry.xattrs.sort();
}

fn merge(globals: &mut Records, new: Records, limits: &Limits) -> Result<()> {
    globals.uid = new.uid.or(globals.uid);
    globals.gid = new.gid.or(globals.gid);
    globals.mtime = new.mtime.or(globals.mtime);
    for (name, value) in new.xattrs {
        globals.xattrs.retain(|(n, _)| *n != name);
        globals.xattrs.push((name, value));
    }
    let bytes: usize = globals.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
    if bytes > limits.xattrs {
        return Err(Error::corrupt("global PAX headers have too many attributes"));
    }
    Ok(())
}

fn kind(flag: u8, path: &[u8]) -> Result<Type> {
    Ok(match flag {
        // Before ustar a directory was a file with a slash at the end of its name. With the type of ustar it is a file all the same.
        b'\0' if path.ends_with(b"/") => Type::Directory,
        b'\0' | b'0' | b'7' | b'S' => Type::File,
        b'1' => Type::Hardlink,
        b'2' => Type::Symlink,
        b'3' => Type::CharDevice,
        b'4' => Type::BlockDevice,
        b'5' => Type::Directory,
        b'6' => Type::Fifo,
        other => {
            return Err(Error::of(
                crate::Kind::Unsupported,
                format!("tar entries of type {:?} are not known", char::from(other)),
            ))
            .context(format!("{:?}", String::from_utf8_lossy(path)));
        }
    })
}
