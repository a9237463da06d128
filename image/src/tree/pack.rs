//! Entries into an archive.
//!
//! May not: make a header of its own; `layer::tar` does. Sparse files are written whole: the OCI image specification
//! (layer.md) asks for that, as readers differ in what they make of holes.

use std::io::Write;
use std::os::fd::AsFd;

use crate::layer::tar::{Entry, Type, Writer};
use crate::{Context, Result};

use super::{Contents, Sink};

const BUFFER: usize = 256 << 10;

/// Writes an archive.
pub struct Packer<W> {
    to: Writer<W>,
    buffer: Vec<u8>,
}

impl<W: Write> Packer<W> {
    pub fn new(to: W) -> Packer<W> {
        Packer {
            to: Writer::new(to),
            buffer: vec![0; BUFFER],
        }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Where it is written to.
    pub fn finish(self) -> Result<W> {
        self.to.finish()
    }

    /// Exactly `size` bytes, whatever the file does meanwhile: what it has lost is zeros, as in GNU tar, and what it has gained is
    /// left out. A log that is written to must not end an export.
    fn file(&mut self, file: &std::fs::File, size: u64) -> Result<()> {
        let mut at = 0;
        let mut data_until = 0;
        while at < size {
            if at >= data_until {
                // A file system without holes has data everywhere.
                let start = sys::copy::next_data(file.as_fd(), at).unwrap_or(Some(at));
                let start = start.unwrap_or(size).min(size);
                self.zeros(start - at)?;
                at = start;
                data_until = sys::copy::next_hole(file.as_fd(), at).unwrap_or(size).max(at + 1);
                continue;
            }
            let most = (size.min(data_until) - at).min(BUFFER as u64) as usize;
            let n = sys::fs::read_at(file.as_fd(), &mut self.buffer[..most], at as i64)
                .context("failed to read the file")?;
            if n == 0 {
                return self.zeros(size - at);
            }
            self.to.write(&self.buffer[..n])?;
            at += n as u64;
        }
        Ok(())
    }

    fn zeros(&mut self, mut length: u64) -> Result<()> {
        const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        while length > 0 {
            let n = length.min(ZEROS.len() as u64);
            self.to.write(&ZEROS[..n as usize])?;
            length -= n;
        }
        Ok(())
    }
}

impl<W: Write> Sink for Packer<W> {
    fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.to.begin(entry)?;
        match contents {
            Contents::File(file) if entry.kind == Type::File => self.file(file, entry.size),
            Contents::File(_) | Contents::Nothing => Ok(()),
            Contents::Pieces(pieces) => {
                while let Some(piece) = pieces.piece()? {
                    match piece {
                        crate::layer::tar::Piece::Bytes(bytes) => self.to.write(bytes)?,
                        crate::layer::tar::Piece::Hole(length) => self.zeros(length)?,
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::FileExt;

    fn packed(file: &std::fs::File, size: u64) -> Vec<u8> {
        let mut packer = Packer::new(Vec::new());
        let entry = Entry {
            path: b"f".to_vec(),
            size,
            ..Entry::default()
        };
        packer.take(&entry, Contents::File(file)).unwrap();
        packer.finish().unwrap()[512..512 + size as usize].to_vec()
    }

    #[test]
    fn a_file_has_the_size_that_was_announced() {
        let path = std::env::temp_dir().join(format!("image-pack-{}", std::process::id()));
        let file = std::fs::File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", 1 << 20).unwrap();
        let whole = packed(&file, (1 << 20) + 3);
        assert_eq!(&whole[..6], b"begin\0");
        assert_eq!(&whole[1 << 20..], b"end");
        assert_eq!(packed(&file, 4), b"begi");
        let longer = packed(&file, (1 << 20) + 600);
        assert_eq!(&longer[1 << 20..(1 << 20) + 4], b"end\0");
    }
}
