//! A blob on its way in: a file that grows in pieces, and beside it a journal of which bytes are there, so that the next process goes
//! on where this one stopped, however it stopped.
//!
//! ```text
//! DIR/<hex>         the bytes, each at its place; flock on it is the right to write
//! DIR/<hex>.state   magic, piece size, blob size; then per piece: bytes present from its begin, CRC-32 of these
//! ```
//!
//! The journal is written after the data and believed only as far as the checksums agree: after a power cut either may be older than
//! the other. It is no proof of the blob; the digest is, and whoever reads the bytes computes it.
//!
//! May not: know the network, compute the digest.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::cancel::Cancel;
use super::{Notice, Notify};
use crate::{Context, Digest, Error, Kind, Result};

/// What a checksum covers. One that is half there is asked for from its middle.
pub(super) const PIECE: u64 = 1 << 20;
const MAGIC: &[u8; 12] = b"brig-part-1\n";
const HEADER: u64 = 24;
const ENTRY: usize = 8;
/// How often the lock of another process is asked for, and how often a reader looks whether it was called off.
const TICK: Duration = Duration::from_millis(100);
/// Written out in steps of this many bytes, so that the sync at the end finds little to do.
const WRITEBACK: u64 = 8 << 20;

/// What opening found.
pub enum Opened {
    /// It is ours until it is dropped, finished or discarded.
    Ours(Partial),
    /// Another process had it and is done with it. Look whether the blob is in the store now; if not, open again.
    Changed,
}

/// A blob on its way in, locked against other processes.
pub struct Partial(Arc<Inner>);

struct Inner {
    path: PathBuf,
    journal_path: PathBuf,
    file: File,
    journal: File,
    digest: Digest,
    size: u64,
    cancel: Cancel,
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    /// Up to the last one of which anything is there: how many there will be is only somebody's word.
    pieces: Vec<Piece>,
    /// All bytes before it are there.
    ready: u64,
    /// Bytes there in all.
    have: u64,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    /// A download will begin, or is under way.
    Open,
    Done,
    Failed(Error),
    /// Nobody reads any more.
    Unwanted,
}

#[derive(Clone, Copy, Default)]
struct Piece {
    /// Bytes there, from the begin of the piece.
    length: u32,
    crc: u32,
}

impl Partial {
    /// Opens or creates it, and checks what an earlier process has left. If another process has it, that one is waited for.
    ///
    /// # Errors
    /// Of the file system; called off.
    pub fn open(dir: &Path, digest: &Digest, size: u64, cancel: &Cancel, notify: &Notify) -> Result<Opened> {
        let path = dir.join(digest.hex());
        let journal_path = dir.join(format!("{}.state", digest.hex()));
        let doing = || format!("failed to open the partial blob {}", path.display());
        let open = |path: &Path| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
        };
        let file = open(&path).context(doing())?;
        lock(&file, digest, cancel, notify).context(doing())?;
        let ours = file.metadata().context(doing())?;
        let named = std::fs::metadata(&path).ok();
        if named.is_none_or(|named| (named.dev(), named.ino()) != (ours.dev(), ours.ino())) {
            return Ok(Opened::Changed);
        }
        if ours.len() > size {
            file.set_len(size).context(doing())?;
        }
        let journal = open(&journal_path).context(doing())?;
        let pieces = match read_journal(&journal, size).context(doing())? {
            Some(said) => verify(&file, said, cancel)?,
            None => {
                write_header(&journal, size).context(doing())?;
                Vec::new()
            }
        };
        let mut state = State {
            ready: 0,
            have: pieces.iter().map(|p| u64::from(p.length)).sum(),
            pieces,
            stage: Stage::Open,
        };
        state.advance(size);
        Ok(Opened::Ours(Partial(Arc::new(Inner {
            path,
            journal_path,
            file,
            journal,
            digest: digest.clone(),
            size,
            cancel: cancel.clone(),
            state: Mutex::new(state),
            moved: Condvar::new(),
        }))))
    }

    /// Which blob.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// Bytes that are there; after opening, what an earlier process has left.
    pub fn have(&self) -> u64 {
        self.0.lock().have
    }

    /// The bytes in their order, from the first, while they come. It ends well only after the download has, and with its error if it
    /// fails; so a download has to be run even if all bytes are there.
    pub fn reader(&self) -> PartialReader {
        PartialReader {
            inner: self.0.clone(),
            at: 0,
        }
    }

    /// Gives the complete blob its place: synced, renamed, and the directory synced. The digest has to be right already.
    ///
    /// # Errors
    /// Bytes are missing; of the file system.
    pub fn finish(self, place: &Path) -> Result<()> {
        let inner = &self.0;
        let doing = || format!("failed to store blob {}", inner.digest);
        if inner.lock().ready != inner.size {
            return Err(Error::corrupt("blob is incomplete")).context(doing());
        }
        inner.file.sync_all().context(doing())?;
        std::fs::rename(&inner.path, place).context(doing())?;
        let parent = place.parent().unwrap_or(Path::new("/"));
        let directory = File::open(parent).context(doing())?;
        directory.sync_all().context(doing())?;
        remove_if_there(&inner.journal_path).context(doing())
    }

    /// Throws it away: its bytes were not what they should be.
    ///
    /// # Errors
    /// Of the file system.
    pub fn discard(self) -> Result<()> {
        let inner = &self.0;
        let doing = || format!("failed to remove the partial blob {}", inner.path.display());
        remove_if_there(&inner.journal_path).context(doing())?;
        remove_if_there(&inner.path).context(doing())
    }

    /// Ends a download whose bytes nobody reads any more. What came stays for the next time.
    pub fn stop(&self) {
        self.0.lock().stage = Stage::Unwanted;
        self.0.moved.notify_all();
    }

    /// Sends what is there to the disk, ahead of [`Partial::finish`], which then has little to wait for.
    ///
    /// # Errors
    /// Of the file system.
    pub fn sync(&self) -> Result<()> {
        self.0
            .file
            .sync_data()
            .context(format!("failed to store blob {}", self.0.digest))
    }

    pub(super) fn size(&self) -> u64 {
        self.0.size
    }

    /// A download begins.
    pub(super) fn begin(&self) {
        let mut state = self.0.lock();
        if !matches!(state.stage, Stage::Unwanted) {
            state.stage = Stage::Open;
        }
    }

    /// A download has ended.
    pub(super) fn end(&self, outcome: &Result<()>) {
        self.0.lock().stage = match outcome {
            Ok(()) => Stage::Done,
            Err(e) => Stage::Failed(e.clone()),
        };
        self.0.moved.notify_all();
    }

    /// What is not there yet, in order.
    pub(super) fn missing(&self) -> Vec<Range<u64>> {
        let state = self.0.lock();
        let mut missing: Vec<Range<u64>> = Vec::new();
        for (i, piece) in state.pieces.iter().enumerate() {
            let whole = piece_range(i, self.0.size);
            let gap = whole.start + u64::from(piece.length)..whole.end;
            match missing.last_mut() {
                _ if gap.is_empty() => {}
                Some(last) if last.end == gap.start => last.end = gap.end,
                _ => missing.push(gap),
            }
        }
        let untouched = piece_range(state.pieces.len(), self.0.size);
        match missing.last_mut() {
            _ if untouched.is_empty() => {}
            Some(last) if last.end == untouched.start => last.end = self.0.size,
            _ => missing.push(untouched.start..self.0.size),
        }
        missing
    }

    /// Takes bytes from `at` on, which is the begin of a missing range. Ranges that are written at the same time share no piece.
    pub(super) fn run(&self, at: u64) -> Run<'_> {
        Run {
            inner: &self.0,
            at,
            sum: self.0.sum_at(at),
            not_written_back: at,
        }
    }
}

/// Bytes that come in one after the other.
pub(super) struct Run<'a> {
    inner: &'a Inner,
    at: u64,
    sum: crc32fast::Hasher,
    not_written_back: u64,
}

impl Run<'_> {
    /// Where the next byte goes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes. Returns how many are there in all.
    pub fn put(&mut self, bytes: &[u8]) -> Result<u64> {
        let mut rest = bytes;
        let mut have = 0;
        while !rest.is_empty() {
            let index = (self.at / PIECE) as usize;
            let piece = piece_range(index, self.inner.size);
            let (now, later) = rest.split_at(rest.len().min((piece.end - self.at) as usize));
            self.inner
                .file
                .write_all_at(now, self.at)
                .context("failed to write the partial blob")?;
            self.sum.update(now);
            self.at += now.len() as u64;
            let entry = Piece {
                length: (self.at - piece.start) as u32,
                crc: self.sum.clone().finalize(),
            };
            let place = HEADER + (index * ENTRY) as u64;
            self.inner
                .journal
                .write_all_at(&encode(entry), place)
                .context("failed to write the journal of the partial blob")?;
            have = self.inner.grown(index, entry, now.len() as u64)?;
            if self.at == piece.end {
                self.sum = crc32fast::Hasher::new();
            }
            rest = later;
        }
        if self.at - self.not_written_back >= WRITEBACK {
            let length = self.at - self.not_written_back;
            sys::sync::begin_writeback(self.inner.file.as_fd(), self.not_written_back, length)
                .context("failed to write the partial blob")?;
            self.not_written_back = self.at;
        }
        Ok(have)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The checksum of the piece around `at`, so far.
    fn sum_at(&self, at: u64) -> crc32fast::Hasher {
        match self.lock().pieces.get((at / PIECE) as usize) {
            Some(piece) if piece.length > 0 => {
                crc32fast::Hasher::new_with_initial_len(piece.crc, u64::from(piece.length))
            }
            _ => crc32fast::Hasher::new(),
        }
    }

    fn grown(&self, index: usize, entry: Piece, by: u64) -> Result<u64> {
        let mut state = self.lock();
        if matches!(state.stage, Stage::Unwanted) {
            return Err(Error::of(Kind::Cancelled, "the download is not wanted any more"));
        }
        if state.pieces.len() <= index {
            state.pieces.resize(index + 1, Piece::default());
        }
        state.pieces[index] = entry;
        state.have += by;
        let before = state.ready;
        state.advance(self.size);
        if state.ready > before {
            self.moved.notify_all();
        }
        Ok(state.have)
    }
}

impl State {
    fn advance(&mut self, size: u64) {
        while self.ready < size {
            let index = (self.ready / PIECE) as usize;
            let whole = piece_range(index, size);
            let reached = whole.start + self.pieces.get(index).map_or(0, |p| u64::from(p.length));
            self.ready = self.ready.max(reached);
            if reached < whole.end {
                return;
            }
        }
    }
}

/// The bytes of a blob while they come.
pub struct PartialReader {
    inner: Arc<Inner>,
    at: u64,
}

impl Read for PartialReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ready = {
            let mut state = self.inner.lock();
            loop {
                match &state.stage {
                    _ if state.ready > self.at => break state.ready,
                    Stage::Done => return Ok(0),
                    Stage::Failed(e) => return Err(e.clone().into()),
                    Stage::Unwanted => {
                        return Err(Error::of(Kind::Cancelled, "the download is not wanted any more").into());
                    }
                    Stage::Open => {}
                }
                self.inner.cancel.check()?;
                (state, _) = self
                    .inner
                    .moved
                    .wait_timeout(state, TICK)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        let most = buffer
            .len()
            .min(usize::try_from(ready - self.at).unwrap_or(usize::MAX));
        let amount = self.inner.file.read_at(&mut buffer[..most], self.at)?;
        if amount == 0 && most > 0 {
            return Err(Error::corrupt("partial blob was cut by somebody else").into());
        }
        self.at += amount as u64;
        Ok(amount)
    }
}

/// Removes blobs on their way in that nobody works on; with `before`, only those whose last byte came before it. Bytes that the disk
/// has back.
///
/// # Errors
/// Of the file system.
pub(crate) fn forget(dir: &Path, before: Option<SystemTime>) -> Result<u64> {
    let failed = || format!("failed to remove partial downloads in {}", dir.display());
    let mut blobs = BTreeSet::new();
    for entry in std::fs::read_dir(dir).context(failed())? {
        let name = entry.context(failed())?.file_name();
        let name = name.to_string_lossy();
        blobs.insert(dir.join(name.strip_suffix(".state").unwrap_or(&name)));
    }
    let mut bytes = 0;
    for path in blobs {
        bytes += forget_one(&path, before).context(failed())?;
    }
    Ok(bytes)
}

fn forget_one(path: &Path, before: Option<SystemTime>) -> Result<u64> {
    let journal = path.with_extension("state");
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let is_young = |at: SystemTime| before.is_some_and(|before| at >= before);
    match changed(path).or_else(|| changed(&journal)) {
        Some(at) if !is_young(at) => {}
        // Complete by now, or somebody's: a file that is made here and left would be a download that nobody has begun.
        _ => return Ok(0),
    }
    // Made where only a journal is left, so that there is something to be locked: a download begins with the same.
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    match sys::fs::flock(file.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
        Err(e) if e.is(libc::EWOULDBLOCK) => return Ok(0),
        other => other?,
    }
    let ours = file.metadata()?;
    let is_named =
        std::fs::metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino()));
    // The one that was made just now is empty.
    let has_grown = ours.len() > 0 && ours.modified().is_ok_and(is_young);
    if !is_named || has_grown {
        return Ok(0);
    }
    // In blocks: a file that is filled from several places has holes.
    let bytes = ours.blocks() * 512 + std::fs::metadata(&journal).map_or(0, |m| m.blocks() * 512);
    remove_if_there(&journal)?;
    remove_if_there(path)?;
    Ok(bytes)
}

fn lock(file: &File, digest: &Digest, cancel: &Cancel, notify: &Notify) -> Result<()> {
    let mut was_told = false;
    loop {
        match sys::fs::flock(file.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
            Ok(()) => return Ok(()),
            Err(e) if e.is(libc::EWOULDBLOCK) => {}
            Err(e) => return Err(e.into()),
        }
        if !was_told {
            notify(Notice::Waiting {
                digest: digest.clone(),
            });
            was_told = true;
        }
        cancel.wait(TICK)?;
    }
}

/// Empty behind the last one.
fn piece_range(index: usize, size: u64) -> Range<u64> {
    let start = (index as u64).saturating_mul(PIECE).min(size);
    start..start.saturating_add(PIECE).min(size)
}

fn encode(piece: Piece) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..4].copy_from_slice(&piece.length.to_le_bytes());
    entry[4..].copy_from_slice(&piece.crc.to_le_bytes());
    entry
}

fn header(size: u64) -> [u8; HEADER as usize] {
    let mut header = [0; HEADER as usize];
    header[..12].copy_from_slice(MAGIC);
    header[12..16].copy_from_slice(&(PIECE as u32).to_le_bytes());
    header[16..].copy_from_slice(&size.to_le_bytes());
    header
}

fn write_header(journal: &File, size: u64) -> io::Result<()> {
    journal.set_len(0)?;
    journal.write_all_at(&header(size), 0)
}

/// What the journal claims, or nothing if it is not one of this blob.
fn read_journal(journal: &File, size: u64) -> io::Result<Option<Vec<Piece>>> {
    let most = HEADER.saturating_add(size.div_ceil(PIECE).saturating_mul(ENTRY as u64));
    let length = journal.metadata()?.len().min(most);
    let mut bytes = vec![0; length as usize];
    match journal.read_exact_at(&mut bytes, 0) {
        // Cut in between.
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    if length < HEADER || bytes[..HEADER as usize] != header(size) {
        return Ok(None);
    }
    // What was not written yet is zero, or not there, and means nothing.
    let entries = bytes[HEADER as usize..].chunks_exact(ENTRY).enumerate();
    let pieces = entries.map(|(i, entry)| {
        let number = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let whole = piece_range(i, size);
        let piece = Piece {
            length: number(0),
            crc: number(4),
        };
        if u64::from(piece.length) > whole.end - whole.start {
            Piece::default()
        } else {
            piece
        }
    });
    Ok(Some(pieces.collect()))
}

/// The pieces whose bytes are what the journal says.
fn verify(file: &File, said: Vec<Piece>, cancel: &Cancel) -> Result<Vec<Piece>> {
    let mut buffer = vec![0; PIECE as usize];
    let mut pieces = said;
    for (i, piece) in pieces.iter_mut().enumerate().filter(|(_, p)| p.length > 0) {
        cancel.check()?;
        let bytes = &mut buffer[..piece.length as usize];
        let is_there = match file.read_exact_at(bytes, i as u64 * PIECE) {
            Ok(()) => crc32fast::hash(bytes) == piece.crc,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(e) => return Err(e).context("failed to check the partial blob"),
        };
        if !is_there {
            *piece = Piece::default();
        }
    }
    Ok(pieces)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_young_is_left_as_it_is() {
        let dir = std::env::temp_dir().join(format!("brig-partial-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let names = || {
            let mut names: Vec<_> = std::fs::read_dir(&dir)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            names.sort();
            names
        };
        // A download that has just become a blob: only its journal is left, for a moment.
        std::fs::write(dir.join("ab.state"), "journal").unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(forget(&dir, Some(SystemTime::now() - hour)).unwrap(), 0);
        assert_eq!(names(), ["ab.state"]);
        std::fs::write(dir.join("cd"), "bytes").unwrap();
        assert_eq!(forget(&dir, Some(SystemTime::now() - hour)).unwrap(), 0);
        assert_eq!(names(), ["ab.state", "cd"]);
        assert!(forget(&dir, Some(SystemTime::now() + hour)).unwrap() > 0);
        assert!(names().is_empty());
        std::fs::remove_dir(&dir).unwrap();
    }
}
