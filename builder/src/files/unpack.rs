//! Archives: what compresses them is told by their first bytes, and they are unpacked by the rules of `docker cp`.
//!
//! May not: leave the directory. It is the root for every path and link of the archive, and of what was there before.

use std::cell::Cell;
use std::io::{self, BufReader, Cursor, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

use engine::tree::place::{Owners, Placer};
use engine::tree::{Contents, Sink as _, as_path};
use image::layer::tar::{Entry, Limits, Reader, Type};
use image::layer::{Decompressor, Ratio};
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

use super::copy::is_kept;

/// What xz may ask for: its levels end at 65 MiB, its format at 4 GiB.
const MOST_XZ: u32 = 256 << 10;

const BUFFER: usize = 128 << 10;

/// A stream without its compression: gzip, bzip2, xz, zstd, or none.
///
/// # Errors
/// It cannot be read.
pub fn decompressed<'r>(mut source: impl Read + 'r) -> Result<Box<dyn Read + 'r>> {
    let mut first = [0; 6];
    let mut have = 0;
    while have < first.len() {
        match source.read(&mut first[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    let whole = Cursor::new(first[..have].to_vec()).chain(source);
    Ok(match first {
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Guard::over(whole, bzip2::read::MultiBzDecoder::new),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Guard::over(whole, |source| {
            lzma_rust2::XzReader::new_mem_limit(source, true, MOST_XZ)
        }),
        _ => Box::new(Decompressor::new(whole, Ratio::default())?),
    })
}

/// Whether a stream begins as an archive.
pub fn is_archive(source: impl Read) -> bool {
    let Ok(source) = decompressed(source) else {
        return false;
    };
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER, source), Limits::default());
    reader.next(&mut Entry::default()).is_ok_and(|there| there)
}

/// The same by the first bytes alone. What is compressed counts as one: a text would not be.
pub fn looks_like_archive(first: &[u8]) -> bool {
    let is_compressed = matches!(
        first,
        [0x1f, 0x8b, 8, ..]
            | [b'B', b'Z', b'h', ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [0xfd, b'7', b'z', b'X', b'Z', 0, ..]
    );
    is_compressed || first.get(257..262) == Some(b"ustar") || is_archive(first)
}

/// Unpacks an archive into a directory.
///
/// # Errors
/// It is none, has something in it that must not be, or cannot be written.
pub fn unpack(
    source: impl Read,
    into: BorrowedFd<'_>,
    owner: Option<(u32, u32)>,
    cancel: &Cancel,
) -> Result<()> {
    let follow = |below: &Path| {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let opened = sys::fs::openat2(into, below, flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
        opened.map_err(Error::from)
    };
    let owners = match owner {
        Some((uid, gid)) => Owners::All(uid, gid),
        None => Owners::Keep,
    };
    let source = BufReader::with_capacity(BUFFER, decompressed(source)?);
    let mut placer = Placer::new(into, owners).following(&follow);
    let mut reader = Reader::new(source, Limits::default());
    let mut entry = Entry::default();
    while reader.next(&mut entry).context("failed to read the archive")? {
        cancel.check()?;
        entry.xattrs.retain(|(name, _)| is_kept(name));
        make_room(into, &entry)?;
        placer.take(&entry, Contents::Pieces(&mut reader))?;
    }
    placer.finish()
}

/// As in Docker, what is no directory makes room for one, and a directory for what is none.
fn make_room(into: BorrowedFd<'_>, entry: &Entry) -> Result<()> {
    let parts = super::paths::components(&entry.path);
    let Some((name, above)) = parts.split_last() else {
        return Ok(());
    };
    let Ok(above) = super::paths::open_directory(into, above) else {
        return Ok(());
    };
    let name = as_path(name);
    let Ok(there) = sys::fs::fstatat(above.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW) else {
        return Ok(());
    };
    let is_dir = entry.kind == Type::Directory;
    match (there.is_dir(), is_dir) {
        (true, false) => image::layer::remove(above.as_fd(), name),
        // A link to a directory is as good as one.
        (false, true) if !there.is_symlink() => Ok(sys::fs::unlinkat(above.as_fd(), name, 0)?),
        _ => Ok(()),
    }
}

/// Ends a stream that gives far more than it takes.
struct Guard<D> {
    decoder: D,
    taken: Rc<Cell<u64>>,
    given: u64,
    limit: Ratio,
}

struct Counted<R> {
    source: R,
    taken: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(to)?;
        self.taken.set(self.taken.get() + n as u64);
        Ok(n)
    }
}

impl<'r, D: Read + 'r> Guard<D> {
    fn over<R: Read + 'r>(source: R, decoder: impl FnOnce(BufReader<Counted<R>>) -> D) -> Box<dyn Read + 'r> {
        let taken = Rc::new(Cell::new(0));
        let counted = Counted {
            source,
            taken: Rc::clone(&taken),
        };
        Box::new(Guard {
            decoder: decoder(BufReader::with_capacity(BUFFER, counted)),
            taken,
            given: 0,
            limit: Ratio::default(),
        })
    }
}

impl<D: Read> Read for Guard<D> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.decoder.read(to)?;
        self.given += n as u64;
        let Ratio { free, ratio } = self.limit;
        if self.given > free && self.given / ratio > self.taken.get() {
            let bomb = Error::of(
                Kind::Corrupt,
                "the archive unpacks to far more than it can be worth",
            );
            return Err(bomb.into());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bomb_does_not_go_off() {
        let read = |taken: u64| {
            let mut guard = Guard {
                decoder: io::repeat(0).take(8 << 20),
                taken: Rc::new(Cell::new(taken)),
                given: 0,
                limit: Ratio {
                    free: 1 << 20,
                    ratio: 1100,
                },
            };
            io::copy(&mut guard, &mut io::sink())
        };
        let e = read(1 << 10).unwrap_err();
        assert!(e.to_string().contains("far more than it can be worth"), "{e}");
        // As much as the archive is worth.
        assert_eq!(read(8 << 10).unwrap(), 8 << 20);
    }
}
