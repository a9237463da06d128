//! Compressed layers out: gzip, zstd, or none. The same bytes give the same bytes, with any number of threads.
//!
//! May not: write a time or a name into what it makes.

use std::io::{self, Write};

use flate2::Compression as Level;
use flate2::write::GzEncoder;

use crate::{Context, Error, Result};

/// How to compress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    None,
    Gzip(u32),
    Zstd(i32),
}

const GZIP: u32 = 6;
const ZSTD: i32 = 3;

impl Default for Method {
    fn default() -> Method {
        Method::Gzip(GZIP)
    }
}

impl Method {
    /// `uncompressed`, `gzip`, `zstd`, with a level or without.
    ///
    /// # Errors
    /// There is no such method, or it has no such level.
    pub fn parse(name: &str, level: Option<&str>) -> Result<Method> {
        let number = level
            .map(|level| {
                level
                    .parse::<i32>()
                    .map_err(|_| Error::invalid(format!("invalid compression-level {level:?}: not a number")))
            })
            .transpose()?;
        let between = |number: i32, most: i32| match (0..=most).contains(&number) {
            true => Ok(number),
            false => Err(Error::invalid(format!(
                "invalid compression-level {number}: {name} has 0 to {most}"
            ))),
        };
        match name {
            "uncompressed" => Ok(Method::None),
            "gzip" => Ok(match number {
                Some(number) => Method::Gzip(between(number, 9)?.unsigned_abs()),
                None => Method::default(),
            }),
            "zstd" => Ok(Method::Zstd(match number {
                Some(number) => between(number, 22)?,
                None => ZSTD,
            })),
            other => Err(Error::invalid(format!(
                "unsupported layer compression type: {other}"
            ))),
        }
    }

    /// What a media type ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Method::None => "",
            Method::Gzip(_) => "+gzip",
            Method::Zstd(_) => "+zstd",
        }
    }
}

/// Compresses what is written to it.
pub enum Compressor<W: Write> {
    None(W),
    Gzip(GzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// # Errors
    /// There is no memory for it.
    pub fn new(to: W, method: Method) -> Result<Compressor<W>> {
        Ok(match method {
            Method::None => Compressor::None(to),
            Method::Gzip(level) => Compressor::Gzip(GzEncoder::new(to, Level::new(level))),
            Method::Zstd(level) => Compressor::Zstd(
                zstd::stream::write::Encoder::new(to, level).context("failed to begin to compress")?,
            ),
        })
    }

    /// Writes the end.
    ///
    /// # Errors
    /// Where it is written to.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Compressor::None(to) => Ok(to),
            Compressor::Gzip(to) => to.finish(),
            Compressor::Zstd(to) => to.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Compressor::None(to) => to.write(bytes),
            Compressor::Gzip(to) => to.write(bytes),
            Compressor::Zstd(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Compressor::None(to) => to.flush(),
            Compressor::Gzip(to) => to.flush(),
            Compressor::Zstd(to) => to.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::layer::{Decompressor, Ratio};
    use std::io::Read;

    #[test]
    fn what_is_compressed_comes_back() {
        let text: Vec<u8> = (0..300_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for method in [Method::None, Method::Gzip(1), Method::Gzip(6), Method::Zstd(3)] {
            let pack = || {
                let mut to = Compressor::new(Vec::new(), method).unwrap();
                to.write_all(&text).unwrap();
                to.finish().unwrap()
            };
            let packed = pack();
            assert_eq!(packed, pack());
            assert!(method == Method::None || packed.len() < text.len() / 2);
            let mut back = Vec::new();
            Decompressor::new(packed.as_slice(), Ratio::default())
                .unwrap()
                .read_to_end(&mut back)
                .unwrap();
            assert_eq!(back, text);
        }
    }

    #[test]
    fn methods_have_levels() {
        assert_eq!(Method::parse("gzip", Some("9")).unwrap(), Method::Gzip(9));
        assert_eq!(Method::parse("zstd", None).unwrap(), Method::Zstd(3));
        for (name, level) in [("gzip", "10"), ("zstd", "23"), ("gzip", "x"), ("estargz", "1")] {
            assert!(Method::parse(name, Some(level)).is_err(), "{name} {level}");
        }
    }
}
