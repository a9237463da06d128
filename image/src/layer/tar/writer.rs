//! Writing: ustar, with a PAX header where ustar has no room. The same entries give the same bytes.
//!
//! May not: ask the clock, the user data base or the file system.

use std::io::Write;

use super::header::field;
use super::{BLOCK, Entry, Type};
use crate::{Context, Error, Result};

/// Writes entries one after the other.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    /// Bytes of the current file that are still to come, and the padding behind them.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub fn new(to: W) -> Writer<W> {
        Writer {
            to,
            left: 0,
            padding: 0,
        }
    }

    /// Begins an entry; the bytes of a file follow by [`Writer::write`], exactly `entry.size` of them.
    ///
    /// # Errors
    /// Where it is written to, or that the file before is not complete.
    pub fn begin(&mut self, entry: &Entry) -> Result<()> {
        self.end()?;
        let size = if entry.kind == Type::File { entry.size } else { 0 };
        let (block, records) = encode(entry, size)?;
        if !records.is_empty() {
            let header = Entry {
                path: extended_name(&entry.path),
                mode: 0o644,
                ..Entry::default()
            };
            let (mut block, _) = encode(&header, records.len() as u64)?;
            block[field::TYPE] = b'x';
            seal(&mut block);
            self.put(&block)?;
            self.put(&records)?;
            self.put(&[0; BLOCK][..padding(records.len() as u64)])?;
        }
        self.put(&block)?;
        self.left = size;
        self.padding = padding(size);
        Ok(())
    }

    /// Bytes of the current file.
    ///
    /// # Errors
    /// Where it is written to, or more than was announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| Error::new("failed to write the archive: a file has grown"))?;
        self.put(bytes)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Where it is written to, or that the last file is not complete.
    pub fn finish(mut self) -> Result<W> {
        self.end()?;
        self.put(&[0; 2 * BLOCK])?;
        self.to.flush().context("failed to write the archive")?;
        Ok(self.to)
    }

    fn end(&mut self) -> Result<()> {
        if self.left != 0 {
            return Err(Error::new("failed to write the archive: a file has shrunk"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.to.write_all(bytes).context("failed to write the archive")
    }
}

fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

/// The name under which programs without PAX would unpack the records.
fn extended_name(path: &[u8]) -> Vec<u8> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    let slash = path.iter().rposition(|b| *b == b'/');
    let base = slash.map_or(path, |i| &path[i + 1..]);
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend_from_slice(&base[..base.len().min(80)]);
    name
}

/// The header, and the records of the PAX header that has to come before it.
fn encode(entry: &Entry, size: u64) -> Result<([u8; BLOCK], Vec<u8>)> {
    let mut block = [0u8; BLOCK];
    let mut records = Vec::new();
    if entry.path.contains(&0) || entry.link.contains(&0) {
        return Err(Error::invalid("a path with a NUL cannot be archived"));
    }
    put_path(&mut block, entry, &mut records);
    let link = &entry.link;
    if link.len() <= field::LINK.len() && link.is_ascii() {
        block[field::LINK][..link.len()].copy_from_slice(link);
    } else {
        record(&mut records, b"linkpath", link);
        let cut = link.len().min(field::LINK.len());
        block[field::LINK][..cut].copy_from_slice(&link[..cut]);
    }
    octal(&mut block[field::MODE], u64::from(entry.mode));
    for (range, key, value) in [
        (field::SIZE, "size", size),
        (field::UID, "uid", u64::from(entry.uid)),
        (field::GID, "gid", u64::from(entry.gid)),
    ] {
        if !octal(&mut block[range], value) {
            record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    let seconds = u64::try_from(entry.mtime.seconds).ok();
    let fits = octal(&mut block[field::MTIME], seconds.unwrap_or(0));
    if !fits || seconds.is_none() || entry.mtime.nanoseconds != 0 {
        record(&mut records, b"mtime", time(entry).as_bytes());
    }
    if matches!(entry.kind, Type::CharDevice | Type::BlockDevice) {
        octal(&mut block[field::MAJOR], u64::from(entry.major));
        octal(&mut block[field::MINOR], u64::from(entry.minor));
    }
    for (name, value) in &entry.xattrs {
        let mut key = b"SCHILY.xattr.".to_vec();
        key.extend_from_slice(name);
        record(&mut records, &key, value);
    }
    block[field::MAGIC].copy_from_slice(b"ustar\x0000");
    block[field::TYPE] = match entry.kind {
        Type::File => b'0',
        Type::Hardlink => b'1',
        Type::Symlink => b'2',
        Type::CharDevice => b'3',
        Type::BlockDevice => b'4',
        Type::Directory => b'5',
        Type::Fifo => b'6',
    };
    seal(&mut block);
    Ok((block, records))
}

/// Whole, or cut at a slash into prefix and name, or in a record.
fn put_path(block: &mut [u8; BLOCK], entry: &Entry, records: &mut Vec<u8>) {
    let mut path = entry.path.clone();
    if entry.kind == Type::Directory && !path.ends_with(b"/") {
        path.push(b'/');
    }
    if path.is_ascii() {
        if path.len() <= field::NAME.len() {
            block[field::NAME][..path.len()].copy_from_slice(&path);
            return;
        }
        // The first cut that leaves a name short enough; a name may not be empty.
        let from = path.len().saturating_sub(field::NAME.len() + 1);
        let slash = path[from..path.len() - 1].iter().position(|b| *b == b'/');
        if let Some(cut) = slash
            .map(|i| i + from)
            .filter(|cut| (1..=field::PREFIX.len()).contains(cut))
        {
            block[field::PREFIX][..cut].copy_from_slice(&path[..cut]);
            let name = &path[cut + 1..];
            block[field::NAME][..name.len()].copy_from_slice(name);
            return;
        }
    }
    record(records, b"path", &path);
    let cut = path.len().min(field::NAME.len());
    block[field::NAME][..cut].copy_from_slice(&path[..cut]);
}

/// Digits and a NUL; false, and zero, where there are too many.
fn octal(field: &mut [u8], value: u64) -> bool {
    let width = field.len() - 1;
    let text = format!("{value:0width$o}");
    if text.len() > width {
        field[..width].fill(b'0');
        return false;
    }
    field[..width].copy_from_slice(text.as_bytes());
    true
}

/// `LENGTH KEY=VALUE\n`, the length counting its own digits.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// Decimal seconds; nanoseconds count forwards, decimals of a negative number count backwards.
fn time(entry: &Entry) -> String {
    let (seconds, nanoseconds) = (entry.mtime.seconds, entry.mtime.nanoseconds);
    let text = if seconds < 0 && nanoseconds != 0 {
        format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds)
    } else {
        format!("{seconds}.{nanoseconds:09}")
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn seal(block: &mut [u8; BLOCK]) {
    block[field::SUM].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[field::SUM][..7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Limits, Piece, Reader, Time};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = |n: usize| vec![b'n'; n];
        let entry = |path: Vec<u8>, kind| Entry {
            path,
            kind,
            mode: 0o4755,
            uid: 1000,
            gid: 5,
            ..Entry::default()
        };
        let mut deep = long(90);
        deep.push(b'/');
        deep.extend(long(100));
        let mut entries = vec![
            entry(b"a".to_vec(), Type::File),
            entry(b"d/".to_vec(), Type::Directory),
            entry(long(100), Type::Fifo),
            entry(long(101), Type::Fifo),
            entry(deep, Type::File),
            entry("ümläut".as_bytes().to_vec(), Type::Symlink),
            entry(b"link".to_vec(), Type::Hardlink),
            entry(b"dev".to_vec(), Type::CharDevice),
        ];
        entries[0].size = 5;
        entries[0].xattrs = vec![
            (b"user.x".to_vec(), b"\0\n=".to_vec()),
            (b"user.y".to_vec(), long(9_000)),
        ];
        entries[0].mtime = Time {
            seconds: -3,
            nanoseconds: 250_000_000,
        };
        entries[1].mtime = Time {
            seconds: 1 << 34,
            nanoseconds: 0,
        };
        entries[4].uid = 3_000_000_000;
        entries[4].mtime = Time {
            seconds: 12,
            nanoseconds: 7,
        };
        entries[5].link = long(300);
        entries[6].link = b"a".to_vec();
        (entries[7].major, entries[7].minor) = (5, 1);
        let mut writer = Writer::new(Vec::new());
        for e in &entries {
            writer.begin(e).unwrap();
            writer.write(&b"hello"[..e.size as usize]).unwrap();
        }
        let bytes = writer.finish().unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);

        let mut reader = Reader::new(bytes.as_slice(), Limits::default());
        let mut entry = Entry::default();
        for e in &entries {
            assert!(reader.next(&mut entry).unwrap());
            assert_eq!(&entry, e);
        }
        assert!(!reader.next(&mut entry).unwrap());
        let mut reader = Reader::new(bytes.as_slice(), Limits::default());
        assert!(reader.next(&mut entry).unwrap());
        assert_eq!(reader.piece().unwrap(), Some(Piece::Bytes(b"hello")));
        assert_eq!(reader.piece().unwrap(), None);
    }

    #[test]
    fn sizes_are_kept_to() {
        let mut writer = Writer::new(Vec::new());
        let entry = Entry {
            path: b"a".to_vec(),
            size: 2,
            ..Entry::default()
        };
        writer.begin(&entry).unwrap();
        assert!(writer.write(b"abc").is_err());
        let mut writer = Writer::new(Vec::new());
        writer.begin(&entry).unwrap();
        assert!(writer.begin(&entry).is_err());
    }
}
