//! Maps of sparse files: which ranges of a file the archive has bytes for.
//!
//! May not: believe a map. Its ranges are in order, do not overlap and end within the file.

use super::{BLOCK, header, pax};
use crate::{Error, Result};

/// A range with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub offset: u64,
    pub length: u64,
}

/// Adds the entries of an old GNU header: pairs of 12 digits, until one is empty.
pub(super) fn take_old(entries: &[u8], map: &mut Vec<Range>) -> Result<()> {
    for pair in entries.as_chunks::<24>().0 {
        if pair[0] == 0 {
            break;
        }
        let value = |field| {
            header::number(field)
                .and_then(|n| u64::try_from(n).ok())
                .ok_or_else(malformed)
        };
        map.push(Range {
            offset: value(&pair[..12])?,
            length: value(&pair[12..])?,
        });
    }
    Ok(())
}

/// Of offsets and lengths in turn.
pub(super) fn of_pairs(numbers: &[u64]) -> Result<Vec<Range>> {
    if !numbers.len().is_multiple_of(2) {
        return Err(malformed());
    }
    Ok(numbers
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[offset, length]| Range {
            offset: *offset,
            length: *length,
        })
        .collect())
}

/// Version 1.0 has the map before the data: a count, then offsets and lengths, one decimal a line, padded to a block.
pub(super) struct Lines {
    expected: Option<usize>,
    numbers: Vec<u64>,
    line: Vec<u8>,
    limit: usize,
}

impl Lines {
    pub fn new(limit: usize) -> Lines {
        Lines {
            expected: None,
            numbers: Vec::new(),
            line: Vec::new(),
            limit,
        }
    }

    /// One block more; true when the map is complete.
    pub fn take(&mut self, block: &[u8; BLOCK]) -> Result<bool> {
        for byte in block {
            if *byte != b'\n' {
                if self.line.len() == 20 {
                    return Err(malformed());
                }
                self.line.push(*byte);
                continue;
            }
            let number = pax::decimal(&self.line).ok_or_else(malformed)?;
            self.line.clear();
            match self.expected {
                None => {
                    let count = usize::try_from(number)
                        .ok()
                        .filter(|n| *n <= self.limit)
                        .ok_or_else(malformed)?;
                    self.expected = Some(count * 2);
                }
                Some(_) => self.numbers.push(number),
            }
            if self.expected == Some(self.numbers.len()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub fn finish(self) -> Result<Vec<Range>> {
        of_pairs(&self.numbers)
    }
}

/// Refuses what is no map of a file of `size` bytes with `stored` bytes in the archive. Empty ranges go.
pub(super) fn check(map: &mut Vec<Range>, size: u64, stored: u64) -> Result<()> {
    let (mut end, mut sum) = (0u64, 0u64);
    for range in map.iter() {
        let next = range.offset.checked_add(range.length).ok_or_else(malformed)?;
        if range.offset < end || next > size {
            return Err(malformed());
        }
        end = next;
        sum += range.length;
    }
    if sum != stored {
        return Err(Error::corrupt(format!(
            "a sparse file has {stored} bytes in the archive and a map of {sum}"
        )));
    }
    map.retain(|range| range.length != 0);
    Ok(())
}

pub(super) fn malformed() -> Error {
    Error::corrupt("a sparse file in a tar archive has a malformed map")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Vec<Range> {
        pairs
            .iter()
            .map(|(offset, length)| Range {
                offset: *offset,
                length: *length,
            })
            .collect()
    }

    #[test]
    fn maps_that_are_none() {
        for (pairs, size, stored) in [
            (&[(0, 10), (5, 10)][..], 100, 20),
            (&[(10, 1), (0, 1)], 100, 2),
            (&[(0, 10)], 9, 10),
            (&[(0, 10)], 10, 9),
            (&[(0, 10)], 10, 11),
            (&[(u64::MAX, 2)], u64::MAX, 2),
        ] {
            assert!(check(&mut ranges(pairs), size, stored).is_err(), "{pairs:?}");
        }
        let mut good = ranges(&[(0, 0), (4, 6), (20, 0)]);
        check(&mut good, 20, 6).unwrap();
        assert_eq!(good, ranges(&[(4, 6)]));
    }

    #[test]
    fn lines_over_blocks() {
        let mut text = b"40\n".to_vec();
        for i in 0..40u64 {
            text.extend(format!("{}\n{}\n", i * 1_000_000_000, 512).bytes());
        }
        text.resize(text.len().next_multiple_of(BLOCK), 0);
        let mut lines = Lines::new(40);
        let blocks = text.as_chunks::<BLOCK>().0;
        for (i, block) in blocks.iter().enumerate() {
            assert_eq!(lines.take(block).unwrap(), i + 1 == blocks.len());
        }
        assert_eq!(lines.finish().unwrap().len(), 40);
        assert!(Lines::new(39).take(&blocks[0]).is_err());
    }
}
