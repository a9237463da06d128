//! The files of one log: the one that is written to, and older ones, `.1` being the newest of them, `.2.gz` compressed.
//!
//! May not: know what a line looks like, or keep anything in memory that the next process could not find again: it may be
//! killed between any two calls.
//!
//! Compressing is done in slices, between the writes that pay for it, as there is no second thread and no child. The newest
//! older file stays as it is: whoever follows finds it by its inode, and a search can jump in it.
//!
//! Where the clock went back, the place is noted in `.jumps`, before the line is written: between two such places lines are in the
//! order of time, so that a search need not read them all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};

use super::options::Rotation;

/// A line that is older than one before it by no more than this is in order: nanoseconds.
pub const JITTER: i64 = 1_000_000_000;
/// The longest line that is looked for: 16 KiB, six bytes for each byte, and labels.
pub const LONGEST: usize = 4 << 20;

/// `path` and what comes behind it.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An older file; 0 is the one that is written to.
pub fn numbered(path: &Path, index: usize, compressed: bool) -> PathBuf {
    match (index, compressed) {
        (0, _) => path.to_owned(),
        (_, false) => beside(path, &format!(".{index}")),
        (_, true) => beside(path, &format!(".{index}.gz")),
    }
}

/// What a compressed file says of itself, in the extra field of its header.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Squeezed {
    /// No line of it is later: nanoseconds since 1970.
    #[serde(rename = "lastNano")]
    pub last: i64,
    /// The first line's.
    #[serde(rename = "firstNano")]
    pub first: Option<i64>,
    /// Of the file that it was. Later files get the same number.
    pub inode: u64,
}

/// Where in which file the clock had gone back, and the latest time before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    pub inode: u64,
    pub offset: u64,
    pub latest: i64,
}

/// All that were noted, in order. What is no entry is left out.
pub fn jumps(path: &Path) -> Vec<Jump> {
    // There is none where the clock never went back; and one that cannot be read only costs a line of another time.
    let text = fs::read_to_string(beside(path, ".jumps")).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split(' ');
        Some(Jump {
            inode: words.next()?.parse().ok()?,
            offset: words.next()?.parse().ok()?,
            latest: words.next()?.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// The latest time in a file.
pub fn latest(file: &File, jumps: &[Jump], time: fn(&[u8]) -> Option<i64>) -> io::Result<Option<i64>> {
    let about = file.metadata()?;
    let noted = jumps.iter().filter(|j| j.inode == about.ino()).map(|j| j.latest);
    Ok(noted.chain(last_time(file, about.len(), time)?).max())
}

/// Of the first line that has one, if that is not far.
pub fn first_time(file: &File, time: fn(&[u8]) -> Option<i64>) -> io::Result<Option<i64>> {
    let mut head = vec![0; 128 << 10];
    let n = file.read_at(&mut head, 0)?;
    Ok(head[..n]
        .split_inclusive(|c| *c == b'\n')
        .find_map(|line| time(line.strip_suffix(b"\n")?)))
}

/// Of the last line that has one.
fn last_time(file: &File, len: u64, time: fn(&[u8]) -> Option<i64>) -> io::Result<Option<i64>> {
    let mut size = 4 << 10;
    loop {
        let from = len.saturating_sub(size);
        let mut tail = vec![0; (len - from) as usize];
        file.read_exact_at(&mut tail, from)?;
        let mut lines = tail.split(|c| *c == b'\n');
        if from > 0 {
            // Its begin is not here.
            lines.next();
        }
        if let Some(found) = lines.rev().find_map(time) {
            return Ok(Some(found));
        }
        if from == 0 || size > LONGEST as u64 {
            return Ok(None);
        }
        size *= 8;
    }
}

/// The writing side.
#[derive(Debug)]
pub struct Files {
    path: PathBuf,
    rotation: Rotation,
    time: fn(&[u8]) -> Option<i64>,
    file: File,
    size: u64,
    /// The file does not end with a newline: a write was cut short.
    torn: bool,
    latest: i64,
    squeezing: Option<Box<Squeezing>>,
}

impl Files {
    /// Goes on with what is there.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn open(path: &Path, rotation: Rotation, time: fn(&[u8]) -> Option<i64>) -> io::Result<Files> {
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        let mut last = [b'\n'];
        if size > 0 {
            file.read_exact_at(&mut last, size - 1)?;
        }
        let mut files = Files {
            path: path.to_owned(),
            rotation,
            time,
            latest: latest(&file, &jumps(path), time)?.unwrap_or(i64::MIN),
            file,
            size,
            torn: last != [b'\n'],
            squeezing: None,
        };
        files.tidy();
        Ok(files)
    }

    /// How much still fits: the next line belongs into the next file when it is 0.
    pub fn room(&self) -> u64 {
        self.rotation
            .size
            .map_or(u64::MAX, |size| size.saturating_sub(self.size))
    }

    fn is_back(&self, time: i64) -> bool {
        time < self.latest.saturating_sub(JITTER)
    }

    /// Lines go into the file: the time of the first, and the latest of them. None but the first may be out of order.
    ///
    /// # Errors
    /// They are not in it, or not whole.
    pub fn append(&mut self, lines: &[u8], first: i64, latest: i64) -> io::Result<()> {
        if self.room() == 0 && self.size > 0 {
            self.rotate()?;
        }
        if self.torn {
            self.file.write_all(b"\n")?;
            self.size += 1;
            self.torn = false;
        }
        if self.is_back(first) {
            self.note_jump()?;
            self.latest = first;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    self.size += n as u64;
                    self.torn = !rest.is_empty();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.latest = self.latest.max(latest);
        Ok(())
    }

    /// At the begin of a line, and before it is written, so that there is no line out of order without an entry. An entry too much does no harm.
    fn note_jump(&self) -> io::Result<()> {
        const MOST: u64 = 1 << 20;
        let path = beside(&self.path, ".jumps");
        let inode = self.file.metadata()?.ino();
        let mut to = append_to(&path)?;
        if to.metadata()?.len() > MOST {
            self.forget_old_jumps(&path)?;
            to = append_to(&path)?;
        }
        to.write_all(format!("{inode} {} {}\n", self.size, self.latest).as_bytes())
    }

    /// Of files that are no longer there.
    fn forget_old_jumps(&self, path: &Path) -> io::Result<()> {
        let mut there = Vec::new();
        for index in 0..self.rotation.files {
            if let Ok(about) = fs::metadata(numbered(&self.path, index, false)) {
                there.push(about.ino());
            }
        }
        let kept: String = jumps(&self.path)
            .iter()
            .filter(|j| there.contains(&j.inode))
            .map(|j| format!("{} {} {}\n", j.inode, j.offset, j.latest))
            .collect();
        let new = beside(path, ".new");
        fs::write(&new, kept)?;
        fs::rename(&new, path)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let last = self.rotation.files - 1;
        // Up to the first number that nobody has: a kill may have left a gap, which is filled so.
        let is_there = |index: &usize| {
            [false, true]
                .iter()
                .any(|compressed| numbered(&self.path, *index, *compressed).exists())
        };
        let free = (1..=last).find(|index| !is_there(index));
        if free.is_none() {
            for compressed in [false, true] {
                remove(&numbered(&self.path, last, compressed))?;
            }
        }
        for index in (0..free.unwrap_or(last)).rev() {
            for compressed in [false, true] {
                if index > 0 || !compressed {
                    let (old, new) = (
                        numbered(&self.path, index, compressed),
                        numbered(&self.path, index + 1, compressed),
                    );
                    ignore_missing(fs::rename(old, new))?;
                }
            }
        }
        self.file = append_to(&self.path)?;
        self.size = 0;
        self.torn = false;
        self.latest = i64::MIN;
        match self.squeezing.take() {
            Some(mut squeezing) if squeezing.index < last => {
                squeezing.index += 1;
                self.squeezing = Some(squeezing);
            }
            // It is the oldest, and was to be removed.
            Some(squeezing) => {
                squeezing.give_up();
                self.tidy();
            }
            None => self.tidy(),
        }
        Ok(())
    }

    /// Begins to compress what is left to be; clears away what a kill has left.
    fn tidy(&mut self) {
        let unfinished = beside(&self.path, SQUEEZING);
        // It is not there, mostly; and if it stays, the next one writes over it.
        let _ = fs::remove_file(&unfinished);
        if !self.rotation.compress || self.rotation.size.is_none() {
            return;
        }
        for index in 2..self.rotation.files {
            let (plain, compressed) = (
                numbered(&self.path, index, false),
                numbered(&self.path, index, true),
            );
            let Ok(from) = File::open(&plain) else {
                // The rest, after a gap, is looked at when it has come nearer.
                if !compressed.exists() {
                    return;
                }
                continue;
            };
            if compressed.exists() {
                // Killed just before this: the compressed one is whole, or it would not have its name.
                let _ = fs::remove_file(&plain);
                continue;
            }
            // A log that cannot be compressed stays as it is.
            self.squeezing = Squeezing::begin(&self.path, index, from, self.time)
                .ok()
                .map(Box::new);
            return;
        }
    }

    /// Compresses as much of an older file; whether anything is left to do.
    pub fn squeeze(&mut self, bytes: usize) -> bool {
        let Some(squeezing) = &mut self.squeezing else {
            return false;
        };
        match squeezing.slice(bytes) {
            Ok(false) => return true,
            Ok(true) => {
                if let Some(squeezing) = self.squeezing.take() {
                    // As above: it stays as it is.
                    let _ = squeezing.finish(&self.path);
                }
                self.tidy();
            }
            Err(_) => {
                if let Some(squeezing) = self.squeezing.take() {
                    squeezing.give_up();
                }
            }
        }
        self.squeezing.is_some()
    }
}

impl Drop for Files {
    /// The next writer begins it anew; half of it is of no use to anybody.
    fn drop(&mut self) {
        if let Some(squeezing) = self.squeezing.take() {
            squeezing.give_up();
        }
    }
}

/// Behind the name of the log, while it is being written.
const SQUEEZING: &str = ".gz.new";

struct Squeezing {
    index: usize,
    from: File,
    to: GzEncoder<File>,
    unfinished: PathBuf,
}

impl std::fmt::Debug for Squeezing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Squeezing({})", self.index)
    }
}

impl Squeezing {
    fn begin(
        path: &Path,
        index: usize,
        mut from: File,
        time: fn(&[u8]) -> Option<i64>,
    ) -> io::Result<Squeezing> {
        let about = Squeezed {
            last: latest(&from, &jumps(path), time)?.unwrap_or(i64::MIN),
            first: first_time(&from, time)?,
            inode: from.metadata()?.ino(),
        };
        from.seek(io::SeekFrom::Start(0))?;
        let unfinished = beside(path, SQUEEZING);
        let to = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(MODE)
            .open(&unfinished)?;
        Ok(Squeezing {
            index,
            from,
            to: GzBuilder::new()
                .extra(serde_json::to_vec(&about)?)
                .write(to, Compression::new(3)),
            unfinished,
        })
    }

    /// Whether that was the end.
    fn slice(&mut self, bytes: usize) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        let mut left = bytes;
        while left > 0 {
            let most = left.min(buffer.len());
            let n = self.from.read(&mut buffer[..most])?;
            if n == 0 {
                return Ok(true);
            }
            self.to.write_all(&buffer[..n])?;
            left -= n;
        }
        // So that there is little to wait for at the end. Where it cannot be begun early, it is done then.
        let _ = sys::sync::begin_writeback(self.to.get_ref().as_fd(), 0, 0);
        Ok(false)
    }

    /// On the disk before the other is gone: what is lost in a power cut is at most what was not yet compressed.
    fn finish(self, path: &Path) -> io::Result<()> {
        let file = self.to.finish()?;
        file.sync_data()?;
        fs::rename(&self.unfinished, numbered(path, self.index, true))?;
        fs::remove_file(numbered(path, self.index, false))
    }

    fn give_up(self) {
        // What stays is written over by the next one.
        let _ = fs::remove_file(&self.unfinished);
    }
}

/// As Docker's: root's, and its group's.
const MODE: u32 = 0o640;

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(MODE)
        .open(path)
}

fn remove(path: &Path) -> io::Result<()> {
    ignore_missing(fs::remove_file(path))
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
