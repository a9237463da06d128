//! The stages of unpacking, a thread each, and the buffers that go round between them.
//!
//! May not: copy. A buffer is filled once by inflation, and then read by both the digest and the archive's reader.
//!
//! ```text
//! free --> [inflate] --> to the archive (or the failure) --> [apply: the caller's thread] --> free
//!                   \--> to the digest                   --> [digest]                     --> free
//! ```
//! Whichever of the two readers lets go of a buffer last sends it back.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::apply::{self, Counts};
use super::decompress::{Compression, Decompressor};
use super::erofs::Image;
use super::tar;
use super::tree::Tree;
use super::{Options, Target, Unpacked};
use crate::digest::{Algorithm, Hasher};
use crate::{Digest, Error, Kind, Result};

/// Small enough for a cache of the second level, large enough that waking a thread costs nothing beside it.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;

type Shared = Arc<Vec<u8>>;

pub(super) fn unpack(
    source: impl Read + Send,
    target: Target<'_>,
    options: &Options<'_>,
) -> Result<Unpacked> {
    let stop = AtomicBool::new(false);
    let (free, freed) = channel();
    for _ in 0..BUFFERS {
        let _ = free.send(vec![0; BUFFER]);
    }
    let (to_digest, from_inflate) = sync_channel(BUFFERS);
    let (to_apply, archive) = sync_channel(BUFFERS);
    let flags = Flags {
        cancel: options.cancel,
        stop: &stop,
    };
    let source = Source::new(source, options, flags);
    let ratio = options.ratio;
    std::thread::scope(|scope| {
        let back = free.clone();
        let digest = scope.spawn(move || digest(&from_inflate, &back));
        let inflate = scope.spawn(move || inflate(source, ratio, flags, &freed, &to_digest, &to_apply));
        let mut archive = Archive {
            from: archive,
            free,
            current: None,
            position: 0,
        };
        let applied = apply(&mut archive, target, options);
        if applied.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        // The other stages end when all buffers are back in their hands.
        archive.drain();
        drop(archive);
        let inflated = joined(inflate.join());
        let (diff_id, size) = joined(digest.join());
        let (counts, bytes) = applied?;
        let read = inflated?;
        Ok(Unpacked {
            diff_id,
            compression: read.compression,
            compressed_digest: read.digest,
            compressed_size: read.size,
            size,
            entries: counts.entries,
            files: counts.files,
            bytes,
            attributes_dropped: counts.attributes_dropped,
            devices_dropped: counts.devices_dropped,
            hides_all_below: counts.hides_all_below,
        })
    })
}

/// A panic of a stage is one of ours.
fn joined<T>(result: std::thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn apply(archive: &mut Archive, target: Target<'_>, options: &Options<'_>) -> Result<(Counts, u64)> {
    let mut reader = tar::Reader::new(archive, options.limits.clone());
    let applied = match target {
        Target::Tree(root) => {
            let mut tree = Tree::new(root, options);
            let counts = apply::apply(&mut reader, &mut tree, options)?;
            (counts, tree.bytes())
        }
        Target::Erofs(file) => {
            let mut image = Image::new(file, options);
            let counts = apply::apply(&mut reader, &mut image, options)?;
            (counts, image.bytes())
        }
    };
    reader.finish()?;
    Ok(applied)
}

/// What the first stage has seen of the source.
struct Seen {
    compression: Compression,
    digest: Option<Digest>,
    size: u64,
}

fn inflate<R: Read>(
    source: Source<'_, R>,
    ratio: super::Ratio,
    flags: Flags<'_>,
    freed: &Receiver<Vec<u8>>,
    to_digest: &SyncSender<Shared>,
    to_apply: &SyncSender<Result<Shared>>,
) -> Result<Seen> {
    let result = inflate_all(source, ratio, flags, freed, to_digest, to_apply);
    if let Err(e) = &result {
        // The reader of the archive fails with it, in place of an archive that ends too early. If it has gone, it has failed itself.
        let _ = to_apply.send(Err(e.clone()));
    }
    result
}

fn inflate_all<R: Read>(
    source: Source<'_, R>,
    ratio: super::Ratio,
    flags: Flags<'_>,
    freed: &Receiver<Vec<u8>>,
    to_digest: &SyncSender<Shared>,
    to_apply: &SyncSender<Result<Shared>>,
) -> Result<Seen> {
    let mut stream = Decompressor::new(source, ratio)?;
    let compression = stream.compression();
    loop {
        let gone = || Error::of(Kind::Cancelled, "the unpacking has ended");
        let mut buffer = freed.recv().map_err(|_| gone())?;
        buffer.resize(BUFFER, 0);
        flags.check()?;
        let filled = stream.fill(&mut buffer)?;
        if filled == 0 {
            break;
        }
        buffer.truncate(filled);
        let shared = Arc::new(buffer);
        to_digest.send(shared.clone()).map_err(|_| gone())?;
        to_apply.send(Ok(shared)).map_err(|_| gone())?;
    }
    let source = stream.finish()?;
    Ok(Seen {
        compression,
        digest: source.hasher.map(Hasher::finish),
        size: source.read,
    })
}

fn digest(from: &Receiver<Shared>, back: &Sender<Vec<u8>>) -> (Digest, u64) {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut size = 0;
    for shared in from {
        hasher.update(&shared);
        size += shared.len() as u64;
        recycle(shared, back);
    }
    (hasher.finish(), size)
}

fn recycle(shared: Shared, back: &Sender<Vec<u8>>) {
    if let Some(buffer) = Arc::into_inner(shared) {
        // Nobody waits for it any more when the first stage has ended.
        let _ = back.send(buffer);
    }
}

/// Reasons to end early: the caller's, and that a later stage has failed.
#[derive(Clone, Copy)]
struct Flags<'a> {
    cancel: Option<&'a AtomicBool>,
    stop: &'a AtomicBool,
}

impl Flags<'_> {
    fn check(self) -> Result<()> {
        let is_set = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        if is_set(self.stop) || self.cancel.is_some_and(is_set) {
            return Err(Error::of(Kind::Cancelled, "the unpacking was called off"));
        }
        Ok(())
    }
}

/// The source, counted, digested, and interrupted.
struct Source<'a, R> {
    source: R,
    hasher: Option<Hasher>,
    read: u64,
    progress: Option<&'a (dyn Fn(u64) + Sync)>,
    flags: Flags<'a>,
}

impl<'a, R: Read> Source<'a, R> {
    fn new(source: R, options: &Options<'a>, flags: Flags<'a>) -> Source<'a, R> {
        Source {
            source,
            hasher: options.compressed.map(Hasher::new),
            read: 0,
            progress: options.progress,
            flags,
        }
    }
}

impl<R: Read> Read for Source<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.flags.check()?;
        let n = self.source.read(out)?;
        self.read += n as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&out[..n]);
        }
        if let Some(progress) = self.progress {
            progress(self.read);
        }
        Ok(n)
    }
}

/// The uncompressed stream as the archive's reader wants it.
struct Archive {
    from: Receiver<Result<Shared>>,
    free: Sender<Vec<u8>>,
    current: Option<Shared>,
    position: usize,
}

impl Archive {
    /// Lets go of everything that is still on its way here, so that nobody waits for a buffer.
    fn drain(&mut self) {
        self.next();
        while self.current.is_some() {
            self.next();
        }
        for shared in self.from.iter().flatten() {
            recycle(shared, &self.free);
        }
    }

    fn next(&mut self) {
        if let Some(shared) = self.current.take() {
            recycle(shared, &self.free);
        }
    }
}

impl Read for Archive {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let n = ready.len().min(out.len());
        out[..n].copy_from_slice(&ready[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Archive {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let at_end = self.current.as_ref().is_none_or(|c| self.position == c.len());
        if at_end {
            self.next();
            self.position = 0;
            // Disconnected is the end of the stream.
            if let Ok(next) = self.from.recv() {
                self.current = Some(next?);
            }
        }
        Ok(self.current.as_ref().map_or(&[], |c| &c[self.position..]))
    }

    fn consume(&mut self, n: usize) {
        self.position += n;
    }
}
