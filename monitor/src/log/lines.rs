//! Reading a log while it is written, rotated and compressed: from a point in time, from the end, and on and on.
//!
//! May not: believe that a file is whole. What is no line of the form is passed over.
//!
//! Lines are in the order of time but for [`files::JITTER`], and but for the places where the clock went back, which the
//! writer has noted. So a point in time is found by halving, in each part between two such places; each line is then compared
//! once more, so that a search can only be slow, not wrong.
//!
//! A reader that follows holds the file that it reads. When the name means another one, the old one is read to its end, and
//! the next one is the one before it in the row, found by its inode, even if it has been compressed meanwhile.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::files::{self, JITTER, Jump, LONGEST, Squeezed};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query {
    /// Nothing before this: nanoseconds since 1970.
    pub since: Option<i64>,
    /// Nothing after this.
    pub until: Option<i64>,
    /// The last so many lines, before the others are asked; `None`: all.
    pub tail: Option<usize>,
    /// What is written later, too.
    pub follow: bool,
    /// Lines are in no order, as many write: all have to be looked at.
    pub is_unordered: bool,
}

/// How a line tells its time; `None`: it is no line.
pub type TimeOf = fn(&[u8]) -> Option<i64>;

/// Reads the lines of one log.
pub struct Lines {
    path: PathBuf,
    time: TimeOf,
    query: Query,
    /// What is still to be read, in order.
    pieces: VecDeque<Piece>,
    /// The newest file that was looked at.
    newest: Option<u64>,
    /// The name means another file, so the one that is read grows no more.
    is_sealed: bool,
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// Before it there is no newline.
    searched: usize,
    /// In the midst of a line that is too long.
    is_discarding: bool,
    line: (usize, usize),
    line_time: i64,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lines({})", self.path.display())
    }
}

/// A part of a file.
struct Piece {
    source: Source,
    at: u64,
    /// `None`: as far as it goes.
    end: Option<u64>,
    /// So many lines are passed over.
    skip: usize,
    /// What follows a line is not earlier, but for [`JITTER`].
    is_ordered: bool,
}

enum Source {
    Plain(File),
    Compressed(Box<GzDecoder<BufReader<File>>>),
}

impl Piece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Plain(file) => {
                let left = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.at));
                let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let n = file.read_at(&mut buffer[..most], self.at)?;
                self.at += n as u64;
                Ok(n)
            }
            // One that is damaged ends where the damage is.
            Source::Compressed(decoder) => Ok(decoder.read(buffer).unwrap_or(0)),
        }
    }
}

/// A file in the row.
struct Found {
    file: File,
    /// Its own. As long as it is open, no other file gets it.
    inode: u64,
    /// If it is compressed.
    squeezed: Option<Squeezed>,
}

impl Lines {
    fn empty(path: PathBuf, time: TimeOf, query: Query) -> Lines {
        Lines {
            path,
            time,
            query,
            pieces: VecDeque::new(),
            newest: None,
            is_sealed: false,
            buffer: Vec::new(),
            start: 0,
            filled: 0,
            searched: 0,
            is_discarding: false,
            line: (0, 0),
            line_time: 0,
        }
    }

    /// Finds where to begin.
    ///
    /// # Errors
    /// A file is there and cannot be read. None at all is an empty log.
    pub fn open(path: &Path, time: TimeOf, query: Query) -> io::Result<Lines> {
        let mut lines = Lines::empty(path.to_owned(), time, query);
        let found = row(path, time, None)?;
        lines.newest = found.last().map(|f| f.inode);
        lines.pieces = match query.tail {
            Some(count) => lines.begin_at_tail(found, count)?,
            None => lines.begin_at_time(found)?,
        };
        Ok(lines)
    }

    /// The next line there is now. After `false` there may be more later, if lines are followed.
    ///
    /// # Errors
    /// pread(2)'s.
    pub fn advance(&mut self) -> io::Result<bool> {
        loop {
            let unseen = &self.buffer[self.searched..self.filled];
            if let Some(at) = unseen.iter().position(|c| *c == b'\n') {
                self.line = (self.start, self.searched + at);
                self.start = self.searched + at + 1;
                self.searched = self.start;
                if self.is_wanted() {
                    return Ok(true);
                }
                continue;
            }
            self.searched = self.filled;
            if !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// The line that was found, without its newline.
    pub fn line(&self) -> &[u8] {
        &self.buffer[self.line.0..self.line.1]
    }

    /// Its time.
    pub fn time(&self) -> i64 {
        self.line_time
    }

    fn is_wanted(&mut self) -> bool {
        if std::mem::take(&mut self.is_discarding) {
            return false;
        }
        let Some(time) = (self.time)(self.line()) else {
            return false;
        };
        self.line_time = time;
        if let Some(piece) = self.pieces.front_mut()
            && piece.skip > 0
        {
            piece.skip -= 1;
            return false;
        }
        if self.query.until.is_some_and(|until| time > until) {
            let is_over = self
                .query
                .until
                .is_some_and(|until| time > until.saturating_add(JITTER));
            // The rest of this part is later still. The last part is the one that grows: that it ends is the caller's to say.
            let is_ordered = self.pieces.front().is_some_and(|piece| piece.is_ordered);
            if is_over && is_ordered && (self.pieces.len() > 1 || !self.query.follow) {
                self.pieces.pop_front();
                self.forget_buffer();
            }
            return false;
        }
        self.query.since.is_none_or(|since| time >= since)
    }

    fn forget_buffer(&mut self) {
        (self.start, self.filled, self.searched) = (0, 0, 0);
        self.is_discarding = false;
    }

    /// More bytes, of this piece or the next one; false when there are none now.
    fn fill(&mut self) -> io::Result<bool> {
        const READ: usize = 128 << 10;
        if self.filled - self.start > LONGEST {
            self.is_discarding = true;
            self.start = self.filled;
        }
        self.buffer.copy_within(self.start..self.filled, 0);
        self.filled -= self.start;
        self.searched -= self.start;
        self.start = 0;
        if self.buffer.len() < self.filled + READ {
            self.buffer.resize(self.filled + READ, 0);
        }
        loop {
            let is_last = self.pieces.len() <= 1;
            let Some(piece) = self.pieces.front_mut() else {
                if !self.query.follow || !self.has_successor() {
                    return Ok(false);
                }
                self.add_successors()?;
                continue;
            };
            let n = piece.read(&mut self.buffer[self.filled..])?;
            if n > 0 {
                self.filled += n;
                return Ok(true);
            }
            if is_last && self.query.follow {
                if !self.is_sealed {
                    if !self.has_successor() {
                        return Ok(false);
                    }
                    // Once more: it may have grown before it lost its name.
                    self.is_sealed = true;
                    continue;
                }
                self.add_successors()?;
                self.is_sealed = false;
            }
            // What is left has no newline, and will get none.
            self.pieces.pop_front();
            self.forget_buffer();
        }
    }

    /// Whether the name means another file. Between two names it means none.
    fn has_successor(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|about| Some(about.ino()) != self.newest)
    }

    fn add_successors(&mut self) -> io::Result<()> {
        let row = row(&self.path, self.time, self.newest)?;
        // If it is not there any more, all that are there are newer.
        // An inode may have belonged to an older file before.
        let ours = row.iter().rposition(|f| Some(f.was()) == self.newest);
        for found in row.into_iter().skip(ours.map_or(0, |at| at + 1)) {
            self.newest = Some(found.inode);
            self.pieces.push_back(found.whole(None));
        }
        Ok(())
    }

    fn begin_at_time(&self, row: Vec<Found>) -> io::Result<VecDeque<Piece>> {
        let jumps = files::jumps(&self.path);
        let count = row.len();
        let mut pieces = VecDeque::new();
        for (index, found) in row.into_iter().enumerate() {
            let end = self.end(&found, index + 1 == count)?;
            if let Some(squeezed) = &found.squeezed {
                if self.query.since.is_none_or(|since| squeezed.last >= since) {
                    pieces.push_back(found.whole(end));
                }
                continue;
            }
            let is_filtered = self.query.since.is_some() || self.query.until.is_some();
            if !is_filtered || self.query.is_unordered {
                pieces.push_back(found.whole(end));
                continue;
            }
            let bounds = parts(&found, &jumps)?;
            for part in bounds.windows(2) {
                let (from, to) = (part[0], part[1]);
                let is_end = Some(&to) == bounds.last();
                let at = match self.query.since {
                    Some(since) => self.search(&found.file, from, to, since)?,
                    None => from,
                };
                pieces.push_back(Piece {
                    source: Source::Plain(found.file.try_clone()?),
                    at,
                    end: if is_end { end } else { Some(to) },
                    skip: 0,
                    is_ordered: true,
                });
            }
        }
        Ok(pieces)
    }

    /// Where the reading of a file ends: of the one that is written to, where it ends now, unless it is followed.
    fn end(&self, found: &Found, is_last: bool) -> io::Result<Option<u64>> {
        if is_last && !self.query.follow && found.squeezed.is_none() {
            return Ok(Some(found.file.metadata()?.len()));
        }
        Ok(None)
    }

    /// A place in a part that is in order before which no line is of that time or later; not far before the first that is.
    fn search(&self, file: &File, from: u64, to: u64, since: i64) -> io::Result<u64> {
        const NEAR: u64 = 64 << 10;
        let (mut low, mut high) = (from, to);
        let mut window = Vec::new();
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            match self.line_after(file, middle, high, &mut window)? {
                Some((end, time)) if time < since.saturating_sub(JITTER) => low = end,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The first line that begins after `at` and ends before `limit`: where it ends, and its time.
    fn line_after(
        &self,
        file: &File,
        at: u64,
        limit: u64,
        window: &mut Vec<u8>,
    ) -> io::Result<Option<(u64, i64)>> {
        let mut size = 8 << 10;
        loop {
            let wanted = size.min(limit - at);
            window.resize(wanted as usize, 0);
            let mut filled = 0;
            while filled < window.len() {
                match file.read_at(&mut window[filled..], at + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            let mut start = None;
            for (offset, _) in window[..filled].iter().enumerate().filter(|(_, c)| **c == b'\n') {
                if let Some(start) = start
                    && let Some(time) = (self.time)(&window[start..offset])
                {
                    return Ok(Some((at + offset as u64 + 1, time)));
                }
                start = Some(offset + 1);
            }
            if wanted == limit - at || (filled as u64) < wanted {
                return Ok(None);
            }
            size *= 4;
        }
    }

    fn begin_at_tail(&self, row: Vec<Found>, count: usize) -> io::Result<VecDeque<Piece>> {
        let mut pieces = VecDeque::new();
        let mut left = count;
        let last = row.len().saturating_sub(1);
        for (index, found) in row.into_iter().enumerate().rev() {
            if left == 0 && index != last {
                break;
            }
            let end = self.end(&found, index == last)?;
            if found.squeezed.is_some() {
                let lines = self.count(&found)?;
                let mut piece = found.whole(end);
                piece.skip = lines.saturating_sub(left);
                left = left.saturating_sub(lines);
                pieces.push_front(piece);
                continue;
            }
            let len = found.file.metadata()?.len();
            let (at, lines) = self.last_lines(&found.file, len, left)?;
            left -= lines;
            pieces.push_front(Piece {
                source: Source::Plain(found.file),
                at,
                end,
                skip: 0,
                is_ordered: false,
            });
        }
        Ok(pieces)
    }

    /// Where the last `count` lines begin, and how many there are.
    fn last_lines(&self, file: &File, len: u64, count: usize) -> io::Result<(u64, usize)> {
        const BLOCK: u64 = 64 << 10;
        if count == 0 {
            return Ok((len, 0));
        }
        // Bytes from `at` on whose lines have not been counted; the last of them is a newline, once one was found.
        let mut tail: Vec<u8> = Vec::new();
        let mut at = len;
        let (mut found, mut begin) = (0, len);
        while at > 0 {
            let size = BLOCK.max(tail.len() as u64).min(at);
            at -= size;
            let mut block = vec![0; size as usize];
            file.read_exact_at(&mut block, at)?;
            block.extend_from_slice(&tail);
            tail = block;
            // All lines but the first, whose begin may be further before.
            while let Some(end) = tail.iter().rposition(|c| *c == b'\n') {
                let start = tail[..end].iter().rposition(|c| *c == b'\n');
                let (from, known) = match start {
                    Some(newline) => (newline + 1, true),
                    None => (0, at == 0),
                };
                if !known {
                    break;
                }
                if (self.time)(&tail[from..end]).is_some() {
                    found += 1;
                    begin = at + from as u64;
                    if found == count {
                        return Ok((begin, found));
                    }
                }
                tail.truncate(from);
                if from == 0 {
                    break;
                }
            }
            if tail.len() > LONGEST {
                // No line is that long. Its end is kept, so that the next newline is still one.
                tail.clear();
                tail.push(b'\n');
            }
        }
        Ok((begin, found))
    }

    /// Of a compressed file, which has to be read for that.
    fn count(&self, found: &Found) -> io::Result<usize> {
        let mut lines = Lines::empty(PathBuf::new(), self.time, Query::default());
        lines.pieces.push_back(Piece {
            source: compressed(found.file.try_clone()?),
            at: 0,
            end: None,
            skip: 0,
            is_ordered: false,
        });
        let mut count = 0;
        while lines.advance()? {
            count += 1;
        }
        // The two share a position.
        (&found.file).rewind()?;
        Ok(count)
    }
}

fn compressed(file: File) -> Source {
    Source::Compressed(Box::new(GzDecoder::new(BufReader::new(file))))
}

impl Found {
    /// Its inode before it was compressed.
    fn was(&self) -> u64 {
        self.squeezed
            .as_ref()
            .map_or(self.inode, |squeezed| squeezed.inode)
    }

    /// Whether two openings met the same file, the other one perhaps before it was compressed.
    fn is_same(&self, earlier: &Found, time: TimeOf) -> io::Result<bool> {
        if self.inode == earlier.inode {
            return Ok(true);
        }
        Ok(match (&self.squeezed, &earlier.squeezed) {
            (Some(squeezed), None) => {
                squeezed.inode == earlier.inode && squeezed.first == files::first_time(&earlier.file, time)?
            }
            _ => false,
        })
    }

    fn whole(self, end: Option<u64>) -> Piece {
        Piece {
            source: match self.squeezed {
                Some(_) => compressed(self.file),
                None => Source::Plain(self.file),
            },
            at: 0,
            end,
            skip: 0,
            is_ordered: false,
        }
    }
}

/// Where the parts of a file begin that are in order, and where the last one ends.
fn parts(found: &Found, jumps: &[Jump]) -> io::Result<Vec<u64>> {
    let len = found.file.metadata()?.len();
    let mut bounds = vec![0];
    for jump in jumps.iter().filter(|j| j.inode == found.inode) {
        let mut before = [0];
        // An entry may be about a file that had this number before: such a one must not cut a line.
        if jump.offset > 0 && jump.offset < len {
            found.file.read_exact_at(&mut before, jump.offset - 1)?;
            bounds.extend((before == [b'\n']).then_some(jump.offset));
        }
    }
    bounds.sort_unstable();
    bounds.dedup();
    bounds.push(len);
    Ok(bounds)
}

/// The files of a log as they were at one moment, oldest first.
///
/// They may be moved up meanwhile, so the newest is opened first, and a file that is met again means that what was opened since
/// then is newer than what this began with.
///
/// It ends with the file that was `known`, of two that had its inode with the newer.
fn row(path: &Path, time: TimeOf, known: Option<u64>) -> io::Result<Vec<Found>> {
    let mut row: Vec<Found> = Vec::new();
    let mut missing = 0;
    for index in 0.. {
        let Some(found) = open_numbered(path, index)? else {
            missing += 1;
            // A kill can leave one gap, and a rotation has one while it goes on.
            if missing > 2 {
                break;
            }
            continue;
        };
        let mut met = None;
        for (at, earlier) in row.iter().enumerate() {
            if found.is_same(earlier, time)? {
                met = Some(at);
            }
        }
        match met {
            Some(at) => row.truncate(at + 1),
            None => row.push(found),
        }
        if row.last().is_some_and(|found| Some(found.was()) == known) {
            break;
        }
    }
    row.reverse();
    Ok(row)
}

fn open_numbered(path: &Path, index: usize) -> io::Result<Option<Found>> {
    // Twice: between the two names it is compressed.
    for is_compressed in [false, true, false, true] {
        match File::open(files::numbered(path, index, is_compressed)) {
            Ok(file) if is_compressed && index > 0 => {
                return Ok(Some(Found {
                    inode: file.metadata()?.ino(),
                    squeezed: Some(squeezed(&file)?),
                    file,
                }));
            }
            Ok(file) => {
                return Ok(Some(Found {
                    inode: file.metadata()?.ino(),
                    file,
                    squeezed: None,
                }));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(None)
}

/// One that another program has compressed says nothing of use: it may have any line, and was no file that is followed.
fn squeezed(file: &File) -> io::Result<Squeezed> {
    let decoder = GzDecoder::new(BufReader::new(file));
    let said = decoder
        .header()
        .and_then(|header| header.extra())
        .and_then(|extra| serde_json::from_slice(extra).ok());
    let mut at = file;
    at.rewind()?;
    Ok(said.unwrap_or(Squeezed {
        first: None,
        last: i64::MAX,
        inode: file.metadata()?.ino(),
    }))
}

#[cfg(test)]
mod tests;
