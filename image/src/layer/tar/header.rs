//! One block of 512 bytes: fields, numbers, the sum.
//!
//! May not: know about extended headers.

use super::BLOCK;
use crate::{Error, Result};

/// A block that may be a header.
pub(super) type Block = [u8; BLOCK];

/// Places of the fields that all dialects share.
pub(super) mod field {
    use std::ops::Range;
    pub const NAME: Range<usize> = 0..100;
    pub const MODE: Range<usize> = 100..108;
    pub const UID: Range<usize> = 108..116;
    pub const GID: Range<usize> = 116..124;
    pub const SIZE: Range<usize> = 124..136;
    pub const MTIME: Range<usize> = 136..148;
    pub const SUM: Range<usize> = 148..156;
    pub const TYPE: usize = 156;
    pub const LINK: Range<usize> = 157..257;
    pub const MAGIC: Range<usize> = 257..265;
    pub const MAJOR: Range<usize> = 329..337;
    pub const MINOR: Range<usize> = 337..345;
    pub const PREFIX: Range<usize> = 345..500;
    /// star ends with `tar\0` and has times where ustar has the end of the prefix.
    pub const STAR_PREFIX: Range<usize> = 345..476;
    pub const STAR_TRAILER: Range<usize> = 508..512;
    pub const GNU_SPARSE: Range<usize> = 386..482;
    pub const GNU_EXTENDED: usize = 482;
    pub const GNU_REAL_SIZE: Range<usize> = 483..495;
}

/// Who wrote the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V7,
    Ustar,
    Star,
    Gnu,
}

/// True for a block of zeros.
pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().all(|b| *b == 0)
}

/// The dialect of a header whose sum is right.
pub(super) fn check(block: &Block) -> Result<Dialect> {
    let written = number(&block[field::SUM]).ok_or_else(|| bad("checksum"))?;
    // The sum counts its own field as spaces. Old tars of Sun summed signed characters.
    let sums = |bytes: &[u8]| {
        let unsigned: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
        let signed: i32 = bytes.iter().map(|b| i32::from(*b as i8)).sum();
        (i64::from(unsigned), i64::from(signed))
    };
    let (whole, own) = (sums(block), sums(&block[field::SUM]));
    let spaces = 8 * i64::from(b' ');
    let (unsigned, signed) = (whole.0 - own.0 + spaces, whole.1 - own.1 + spaces);
    if written != unsigned && written != signed {
        return Err(Error::corrupt(
            "a tar header has a wrong checksum, or is none at all",
        ));
    }
    Ok(match &block[field::MAGIC] {
        b"ustar  \0" => Dialect::Gnu,
        magic if magic.starts_with(b"ustar\0") => {
            if &block[field::STAR_TRAILER] == b"tar\0" {
                Dialect::Star
            } else {
                Dialect::Ustar
            }
        }
        _ => Dialect::V7,
    })
}

/// A field up to its first NUL.
pub(super) fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal between spaces and NULs, or base 256 when the first bit is set; `None` is neither, or too large.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        return base256(field);
    }
    let is_padding = |b: &u8| *b == b' ' || *b == 0;
    let begin = field.iter().position(|b| !is_padding(b)).unwrap_or(field.len());
    let digits = &field[begin..];
    let end = digits.iter().position(is_padding).unwrap_or(digits.len());
    // What stands behind the number may be padding only, else it is two numbers.
    if !digits[end..].iter().all(is_padding) {
        return None;
    }
    digits[..end].iter().try_fold(0i64, |sum, b| match b {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(b - b'0')),
        _ => None,
    })
}

/// Two's complement, big endian, of whatever length; the first bit says that it is one.
fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (i, byte) in field.iter().enumerate() {
        let byte = match (i, negative) {
            (0, true) => byte | 0x80,
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    // With -1 to begin with, each step takes (value * 256 + byte): -1 * 256 + 0xff is -1 again.
    Some(value)
}

/// A failure about a field.
pub(super) fn bad(what: &str) -> Error {
    Error::corrupt(format!("a tar header has a malformed {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_in_every_dialect() {
        let table: &[(&[u8], Option<i64>)] = &[
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"644     ", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o77777777)),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"64 4    ", None),
            (b"0x1f\0\0\0\0", None),
            (b"\x80\0\0\0\0\x20\0\0", Some(0x20_0000)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\x00", Some(-256)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\x80\0\0\0\0\0\0\0", None),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
        ];
        for (field, expected) in table {
            assert_eq!(number(field), *expected, "{field:?}");
        }
    }

    #[test]
    fn sums_signed_and_unsigned() {
        let mut block = [0u8; BLOCK];
        block[0] = 0xc3; // negative as a signed character
        let unsigned: i64 = 0xc3 + 8 * 32;
        for sum in [unsigned, unsigned - 256] {
            block[field::SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(check(&block).unwrap(), Dialect::V7);
        }
        block[field::SUM].copy_from_slice(format!("{:06o}\0 ", unsigned + 1).as_bytes());
        assert!(check(&block).is_err());
    }
}
