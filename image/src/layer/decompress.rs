//! Compressed streams: gzip, zstd, or none, told apart by their first bytes.
//!
//! May not: check digests, or grow with what it reads.

use std::io::{ErrorKind, Read};

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::{Context, Error, Kind, Result};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// By the first bytes; four are enough. What cannot be read is refused by name, as it would look like a broken archive.
    ///
    /// # Errors
    /// It is a format that layers may not have.
    pub fn detect(first: &[u8]) -> Result<Compression> {
        match first {
            [0x1f, 0x8b, 8, ..] => Ok(Compression::Gzip),
            // A frame, or a frame to be skipped, with which zstd:chunked may begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err(unsupported("bzip2")),
            [0xfd, b'7', b'z', b'X', ..] => Err(unsupported("xz")),
            _ => Ok(Compression::None),
        }
    }
}

fn unsupported(name: &str) -> Error {
    Error::of(
        Kind::Unsupported,
        format!("layers compressed with {name} are not supported"),
    )
}

/// When a stream is a bomb: it has given more than `free` bytes and more than `ratio` for each one read.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub free: u64,
    pub ratio: u64,
}

impl Default for Ratio {
    /// gzip cannot do more than 1032; a file of zeros of some GiB may be in an honest layer.
    fn default() -> Ratio {
        Ratio {
            free: 16 << 30,
            ratio: 1100,
        }
    }
}

/// Reads a compressed stream.
pub struct Decompressor<R> {
    input: Input<R>,
    method: Method,
    guard: Ratio,
    given: u64,
}

enum Method {
    None,
    Gzip(Box<Gzip>),
    Zstd {
        decoder: Decoder<'static>,
        between: bool,
    },
    Ended,
}

struct Gzip {
    inflate: Decompress,
    sum: crc32fast::Hasher,
    length: u32,
    ended: bool,
}

impl<R: Read> Decompressor<R> {
    /// Looks at the first bytes.
    ///
    /// # Errors
    /// The stream's, or a format that layers may not have.
    pub fn new(source: R, guard: Ratio) -> Result<Decompressor<R>> {
        let mut input = Input {
            source,
            buffer: vec![0; 128 << 10].into_boxed_slice(),
            begin: 0,
            end: 0,
            read: 0,
        };
        input.at_least(4)?;
        let method = match Compression::detect(input.ready())? {
            Compression::None => Method::None,
            Compression::Zstd => Method::Zstd {
                decoder: Decoder::new().context("failed to start zstd")?,
                between: true,
            },
            Compression::Gzip => {
                gzip_header(&mut input)?;
                Method::Gzip(Box::new(Gzip::new()))
            }
        };
        Ok(Decompressor {
            input,
            method,
            guard,
            given: 0,
        })
    }

    /// What it is.
    pub fn compression(&self) -> Compression {
        match self.method {
            Method::None | Method::Ended => Compression::None,
            Method::Gzip(_) => Compression::Gzip,
            Method::Zstd { .. } => Compression::Zstd,
        }
    }

    /// Fills `out`; fewer bytes are the last ones.
    ///
    /// # Errors
    /// The stream's, or what makes it no such stream.
    pub fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.step(&mut out[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }

    /// Some bytes; none is the end.
    fn step(&mut self, out: &mut [u8]) -> Result<usize> {
        let given = match &mut self.method {
            Method::Ended => 0,
            Method::None => self.input.read_into(out)?,
            Method::Gzip(gzip) => gzip.step(&mut self.input, out)?,
            Method::Zstd { decoder, between } => zstd_step(decoder, between, &mut self.input, out)?,
        };
        if given == 0 {
            self.method = Method::Ended;
            return Ok(0);
        }
        self.given += given as u64;
        let most = self
            .guard
            .free
            .saturating_add(self.input.read.saturating_mul(self.guard.ratio));
        if self.given > most {
            return Err(Error::corrupt(format!(
                "{} compressed bytes give more than {most}; that is more than is allowed",
                self.input.read
            )));
        }
        Ok(given)
    }

    /// Reads what is behind the stream, so that the source has been read to its end, and gives it back.
    ///
    /// # Errors
    /// The source's.
    pub fn finish(mut self) -> Result<R> {
        loop {
            self.input.begin = self.input.end;
            if !self.input.more()? {
                return Ok(self.input.source);
            }
        }
    }
}

impl Gzip {
    fn new() -> Gzip {
        Gzip {
            inflate: Decompress::new(false),
            sum: crc32fast::Hasher::new(),
            length: 0,
            ended: false,
        }
    }

    fn step<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8]) -> Result<usize> {
        if self.ended {
            return Ok(0);
        }
        loop {
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let had_input = !input.ready().is_empty();
            let status = self
                .inflate
                .decompress(input.ready(), out, FlushDecompress::None)
                .map_err(|e| Error::corrupt(format!("a gzip stream is damaged: {e}")))?;
            input.begin += (self.inflate.total_in() - before_in) as usize;
            let given = (self.inflate.total_out() - before_out) as usize;
            self.sum.update(&out[..given]);
            self.length = self.length.wrapping_add(given as u32);
            if status == Status::StreamEnd {
                self.trailer(input)?;
                if !next_member(input)? {
                    self.ended = true;
                    return Ok(given);
                }
                self.inflate.reset(false);
                self.sum = crc32fast::Hasher::new();
                self.length = 0;
            }
            if given > 0 {
                return Ok(given);
            }
            if status != Status::StreamEnd && (!had_input || input.ready().is_empty()) && !input.more()? {
                return Err(Error::corrupt("a gzip stream ends too early"));
            }
        }
    }

    fn trailer<R: Read>(&mut self, input: &mut Input<R>) -> Result<()> {
        let mut trailer = [0u8; 8];
        for byte in &mut trailer {
            *byte = input.byte()?;
        }
        let sum = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
        let length = u32::from_le_bytes([trailer[4], trailer[5], trailer[6], trailer[7]]);
        if sum != self.sum.clone().finalize() || length != self.length {
            return Err(Error::corrupt("a gzip stream has a wrong checksum or length"));
        }
        Ok(())
    }
}

/// Whether another member follows; its header is read then. Zeros behind a member are padding of tapes, anything else that is
/// no member is ignored as gzip(1) does: the digests say whether it is the right file.
fn next_member<R: Read>(input: &mut Input<R>) -> Result<bool> {
    input.at_least(3)?;
    if matches!(input.ready(), [0x1f, 0x8b, 8, ..]) {
        gzip_header(input)?;
        return Ok(true);
    }
    Ok(false)
}

/// RFC 1952, 2.3.
fn gzip_header<R: Read>(input: &mut Input<R>) -> Result<()> {
    const HEADER_SUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let mut fixed = [0u8; 10];
    for byte in &mut fixed {
        *byte = input.byte()?;
    }
    let flags = fixed[3];
    if flags & 0xe0 != 0 {
        return Err(Error::corrupt("a gzip header has unknown flags"));
    }
    if flags & EXTRA != 0 {
        let length = u16::from_le_bytes([input.byte()?, input.byte()?]);
        for _ in 0..length {
            input.byte()?;
        }
    }
    for text in [NAME, COMMENT] {
        // Without bound, but nothing is kept of it and the source is finite.
        if flags & text != 0 {
            while input.byte()? != 0 {}
        }
    }
    if flags & HEADER_SUM != 0 {
        input.byte()?;
        input.byte()?;
    }
    Ok(())
}

/// Frames follow each other, some to be skipped; the decoder sees to both.
fn zstd_step<R: Read>(
    decoder: &mut Decoder<'static>,
    between: &mut bool,
    input: &mut Input<R>,
    out: &mut [u8],
) -> Result<usize> {
    loop {
        if input.ready().is_empty() && !input.more()? {
            // What the decoder still holds comes out without input.
            if *between {
                return Ok(0);
            }
        }
        let ended = input.ready().is_empty();
        let mut from = InBuffer::around(input.ready());
        let mut to = OutBuffer::around(&mut *out);
        let hint = decoder
            .run(&mut from, &mut to)
            .map_err(|e| Error::corrupt(format!("a zstd stream is damaged: {e}")))?;
        let (taken, given) = (from.pos, to.pos());
        input.begin += taken;
        *between = hint == 0;
        if given > 0 {
            return Ok(given);
        }
        if ended && !*between {
            return Err(Error::corrupt("a zstd stream ends too early"));
        }
    }
}

/// A buffer before the source.
struct Input<R> {
    source: R,
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    /// Bytes read of the source.
    read: u64,
}

impl<R: Read> Input<R> {
    fn ready(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Reads more; false at the end of the source.
    fn more(&mut self) -> Result<bool> {
        if self.begin == self.end {
            self.begin = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        let n = read(&mut self.source, &mut self.buffer[self.end..])?;
        self.end += n;
        self.read += n as u64;
        Ok(n > 0)
    }

    /// Reads until `n` bytes lie ready, or the source ends.
    fn at_least(&mut self, n: usize) -> Result<()> {
        while self.end - self.begin < n && self.more()? {}
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        if self.begin == self.end && !self.more()? {
            return Err(Error::corrupt("a gzip stream ends too early"));
        }
        self.begin += 1;
        Ok(self.buffer[self.begin - 1])
    }

    /// What lies ready, then the source itself, without a copy in between.
    fn read_into(&mut self, out: &mut [u8]) -> Result<usize> {
        let ready = self.ready();
        if ready.is_empty() {
            let n = read(&mut self.source, out)?;
            self.read += n as u64;
            return Ok(n);
        }
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.begin += n;
        Ok(n)
    }
}

fn read(source: &mut impl Read, out: &mut [u8]) -> Result<usize> {
    loop {
        match source.read(out) {
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            result => return Ok(result?),
        }
    }
}

impl<R: Read> Read for Decompressor<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        Ok(self.fill(out)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        e.write_all(bytes).unwrap();
        e.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).unwrap()
    }

    /// Hands out single bytes now and then, so that every border is met.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(out.len()).min(self.0.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn all(bytes: &[u8]) -> Result<Vec<u8>> {
        let mut results = Vec::new();
        for (drip, size) in [(1, 7), (usize::MAX, 4096), (5, 100_000)] {
            let mut d = Decompressor::new(
                Drip(bytes, drip),
                Ratio {
                    free: 1 << 20,
                    ratio: 4,
                },
            )?;
            let mut out = Vec::new();
            let mut part = vec![0; size];
            loop {
                let n = d.fill(&mut part)?;
                out.extend_from_slice(&part[..n]);
                if n < size {
                    break;
                }
            }
            assert!(d.finish()?.0.is_empty());
            results.push(out);
        }
        assert!(results.iter().all(|r| *r == results[0]));
        Ok(results.remove(0))
    }

    fn sample(n: u32) -> Vec<u8> {
        (0..n)
            .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect()
    }

    #[test]
    fn one_stream_of_each_kind() {
        for plain in [sample(0), sample(1), sample(60_000)] {
            assert_eq!(all(&plain).unwrap(), plain);
            assert_eq!(all(&gzip(&plain)).unwrap(), plain);
            assert_eq!(all(&zstd(&plain)).unwrap(), plain);
        }
    }

    #[test]
    fn streams_in_a_row() {
        let (a, b) = (sample(50_000), sample(3));
        let both = [a.clone(), b.clone()].concat();
        assert_eq!(all(&[gzip(&a), gzip(b""), gzip(&b)].concat()).unwrap(), both);
        assert_eq!(all(&[gzip(&a), gzip(&b), vec![0; 999]].concat()).unwrap(), both);
        assert_eq!(all(&[gzip(&a), b"rubbish".to_vec()].concat()).unwrap(), a);
        let skip = b"\x53\x2a\x4d\x18\x05\0\0\0hello".to_vec();
        assert_eq!(
            all(&[skip.clone(), zstd(&a), skip.clone(), zstd(&b), skip].concat()).unwrap(),
            both
        );
        let mut named = gzip(&a);
        named[3] = 2 | 4 | 8 | 16;
        named.splice(10..10, *b"\x03\0abcname\0comment\0\0\0");
        assert_eq!(all(&named).unwrap(), a);
    }

    #[test]
    fn damage_is_found() {
        let plain = sample(9_000);
        for good in [gzip(&plain), zstd(&plain)] {
            for cut in [5, 11, good.len() / 2, good.len() - 1] {
                assert!(all(&good[..cut]).is_err(), "cut at {cut}");
            }
        }
        let good = gzip(&plain);
        for at in [good.len() - 1, good.len() - 8, good.len() - 5] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(all(&bad).is_err());
        }
        assert!(all(&[zstd(&plain), b"rubbish".to_vec()].concat()).is_err());
        assert_eq!(all(b"BZh91AY&SY").unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(all(b"\xfd7zXZ\0").unwrap_err().kind(), Kind::Unsupported);
    }

    #[test]
    fn bombs_do_not_go_off() {
        let zeros = vec![0; 8 << 20];
        for bomb in [gzip(&zeros), zstd(&zeros)] {
            let e = all(&bomb).unwrap_err();
            assert!(e.to_string().contains("more than is allowed"), "{e}");
        }
    }
}
