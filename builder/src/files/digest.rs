//! What selected files are for the cache: everything about them but times. So touch(1) changes nothing, and chmod(1) does.
//!
//! ```text
//! file: type and mode, owner, size, device | hash of attributes and contents    <- the second part is what a memory keeps
//! all:  files in their order, each with its name and the place of its directory
//! ```
//!
//! The hash is ours alone: caches are not shared with BuildKit, whose hash has the same parts.
//!
//! May not: count what the copy does not take over: mode and owner of a directory whose files are put into another one.

use std::num::NonZero;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use engine::tree::as_path;
use image::digest::{Algorithm, Hasher};
use image::registry::Cancel;
use image::{Digest, Error, Result};
use sha2::{Digest as _, Sha256};
use sys::fs::{self, Dated};

use super::copy::is_kept;
use super::destination::is_same;
use super::memory::{Hash, Memory};
use super::paths;
use super::select::{Node, Selected, Top, path_of};

/// Files of a directory that a thread reads before it looks for more.
const CHUNK: usize = 64;

const MOST_THREADS: usize = 4;

/// As many levels may lie between a directory and the one that was open before it.
const NEAR: usize = 16;

const BUFFER: usize = 128 << 10;

/// The digest of everything.
pub(super) fn of(
    root: Option<BorrowedFd<'_>>,
    selected: &Selected,
    memory: Option<&Memory>,
    cancel: &Cancel,
) -> Result<Digest> {
    let mut whole = Hasher::new(Algorithm::Sha256);
    for top in &selected.tops {
        match top {
            Top::Inline { name, text } => {
                text_of(&mut whole, b"inline", name.as_bytes());
                text_of(&mut whole, b"text", text.as_bytes());
            }
            Top::Found {
                name,
                path,
                nodes,
                is_foreign,
            } => {
                let root = root.ok_or_else(|| Error::new("files were selected in another tree"))?;
                let reading = Reading {
                    root,
                    path,
                    nodes,
                    selected,
                    cancel,
                };
                let hashes = reading.hashes(memory)?;
                // The name of a directory goes nowhere.
                let is_dir = nodes.first().is_some_and(Node::is_dir);
                let name = if is_dir { b"".as_slice() } else { name.as_slice() };
                text_of(&mut whole, b"found", name);
                let head = if is_dir { 1 } else { 0 };
                for (node, hash) in nodes.iter().zip(&hashes).skip(head) {
                    whole.update(&line(node, hash, *is_foreign));
                }
            }
        }
    }
    if let Some(memory) = memory {
        memory.save();
    }
    Ok(whole.finish())
}

fn text_of(to: &mut Hasher, what: &[u8], text: &[u8]) {
    to.update(what);
    to.update(&(text.len() as u64).to_le_bytes());
    to.update(text);
}

/// All that is hashed of a file beside what is in it. No two files have the same line.
fn line(node: &Node, hash: &Hash, is_foreign: bool) -> Vec<u8> {
    let stat = &node.found.stat;
    let kind = stat.file_type();
    let (uid, gid) = match is_foreign {
        true => (0, 0),
        false => (stat.uid, stat.gid),
    };
    // The permissions of a link mean nothing.
    let mode = if stat.is_symlink() { kind } else { stat.mode };
    let size = if kind == libc::S_IFREG { stat.size } else { 0 };
    let device = if matches!(kind, libc::S_IFCHR | libc::S_IFBLK) {
        stat.rdev
    } else {
        0
    };
    let mut line = Vec::with_capacity(96);
    for number in [node.parent, mode, uid, gid] {
        line.extend_from_slice(&number.to_le_bytes());
    }
    for number in [size, device, node.name.len() as u64] {
        line.extend_from_slice(&number.to_le_bytes());
    }
    line.extend_from_slice(&node.name);
    line.extend_from_slice(hash);
    line
}

/// Files of one top.
struct Reading<'r> {
    root: BorrowedFd<'r>,
    path: &'r [Vec<u8>],
    nodes: &'r [Node],
    selected: &'r Selected,
    cancel: &'r Cancel,
}

/// Files in one directory that have to be read.
struct Chunk {
    directory: usize,
    files: Vec<usize>,
}

impl Reading<'_> {
    fn hashes(&self, memory: Option<&Memory>) -> Result<Vec<Hash>> {
        let began = SystemTime::now();
        let found = self.nodes.iter().map(|node| &node.found);
        let recalled = match memory {
            Some(memory) => memory.recall(found),
            None => vec![None; self.nodes.len()],
        };
        let missing = self.missing(&recalled);
        let mut hashes: Vec<Hash> = recalled.into_iter().map(Option::unwrap_or_default).collect();
        let read = self.read(&missing)?;
        for (node, hash, _) in &read {
            if let Some(slot) = hashes.get_mut(*node) {
                *slot = *hash;
            }
        }
        if let Some(memory) = memory {
            let settled = read.iter().filter(|(_, _, is_same)| *is_same);
            memory.learn(
                began,
                settled.filter_map(|(node, hash, _)| Some((&self.nodes.get(*node)?.found, *hash))),
            );
        }
        Ok(hashes)
    }

    /// What is not known, by directory. Devices and the like have nothing in them.
    fn missing(&self, recalled: &[Option<Hash>]) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        let has_contents = |node: &Node| {
            matches!(
                node.found.stat.file_type(),
                libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK
            )
        };
        let first_is_dir = self.nodes.first().is_some_and(Node::is_dir);
        for (at, node) in self.nodes.iter().enumerate().skip(usize::from(first_is_dir)) {
            if !has_contents(node) || recalled.get(at).is_some_and(Option::is_some) {
                continue;
            }
            let directory = node.parent as usize;
            match chunks.last_mut() {
                Some(chunk) if chunk.directory == directory && chunk.files.len() < CHUNK => {
                    chunk.files.push(at);
                }
                _ => chunks.push(Chunk {
                    directory,
                    files: vec![at],
                }),
            }
        }
        chunks
    }

    /// The hashes of all of them, and whether each is still the file that was selected.
    fn read(&self, chunks: &[Chunk]) -> Result<Vec<(usize, Hash, bool)>> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Result<Vec<(usize, Hash, bool)>>> = Mutex::new(Ok(Vec::new()));
        let worker = || {
            let mut buffer = vec![0; BUFFER];
            let mut last = None;
            while let Some(chunk) = chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let read = self.chunk(chunk, &mut last, &mut buffer);
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                match (&mut *done, read) {
                    (Ok(all), Ok(read)) => all.extend(read),
                    (Ok(_), Err(e)) => *done = Err(e),
                    (Err(_), _) => return,
                }
            }
        };
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        std::thread::scope(|scope| {
            for _ in 1..processors.min(MOST_THREADS).min(chunks.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn shown(&self, node: usize) -> String {
        paths::shown(&[self.path, &path_of(self.nodes, node)].concat())
    }

    fn chunk(
        &self,
        chunk: &Chunk,
        last: &mut Option<(usize, OwnedFd)>,
        buffer: &mut [u8],
    ) -> Result<Vec<(usize, Hash, bool)>> {
        self.cancel.check()?;
        // A single file is its own top.
        let is_single = !self.nodes.first().is_some_and(Node::is_dir);
        let single = self.path.last().filter(|_| is_single);
        let opened = self.open(chunk.directory, is_single, last.take());
        let directory = match opened {
            Err(e) => {
                let shown = self.shown(chunk.directory);
                return Err(Error::from(e).context(format!("failed to open {shown}")));
            }
            Ok(directory) => directory,
        };
        let mut read = Vec::with_capacity(chunk.files.len());
        for at in &chunk.files {
            let Some(node) = self.nodes.get(*at) else { continue };
            let name = single.map_or(&*node.name, Vec::as_slice);
            let hashed = hash(directory.as_fd(), name, &node.found, buffer);
            let (hash, is_same) =
                hashed.map_err(|e| e.context(format!("failed to read {}", self.shown(*at))))?;
            if !is_same {
                self.selected.change();
            }
            read.push((*at, hash, is_same));
        }
        *last = Some((chunk.directory, directory));
        Ok(read)
    }

    /// A directory, from the one that was open last if that lies not far above it: a tree may be so deep that to go down from the top
    /// each time would take for ever.
    fn open(&self, node: usize, is_single: bool, last: Option<(usize, OwnedFd)>) -> sys::Result<OwnedFd> {
        let mut below = Vec::new();
        let mut at = node;
        if let Some((above, fd)) = last {
            while at != above && at != 0 && below.len() < NEAR {
                let Some(node) = self.nodes.get(at) else { break };
                below.push(node.name.to_vec());
                at = node.parent as usize;
            }
            if at == above {
                below.reverse();
                return paths::open_directory(fd.as_fd(), &below);
            }
        }
        let mut path = self.path.to_vec();
        if is_single {
            path.pop();
        }
        path.extend(path_of(self.nodes, node));
        paths::open_far(self.root, &path)
    }
}

/// Attributes and contents of a file, directory or link.
fn hash(directory: BorrowedFd<'_>, name: &[u8], found: &Dated, buffer: &mut [u8]) -> Result<(Hash, bool)> {
    let mut whole = Sha256::new();
    let kind = found.stat.file_type();
    if kind == libc::S_IFLNK {
        let target = fs::readlinkat(directory, as_path(name))?;
        whole.update(target.as_os_str().as_encoded_bytes());
        let now = fs::dated(directory, as_path(name), libc::AT_SYMLINK_NOFOLLOW)?;
        return Ok((whole.finalize().into(), is_same(&now, found)));
    }
    // It was a file when it was looked at: what is a FIFO or a terminal by now does not make us wait.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let replaced = || Error::new("it has been replaced by something else meanwhile");
    let file = match fs::openat(directory, as_path(name), flags, 0) {
        Err(e) if e.is(libc::ELOOP) || e.is(libc::ENXIO) => return Err(replaced()),
        other => other?,
    };
    let before = fs::fstat(file.as_fd())?;
    if before.file_type() != kind {
        return Err(replaced());
    }
    for (name, value) in sys::xattr::of(file.as_fd())? {
        let bytes = name.to_bytes();
        let is_policy = bytes.starts_with(b"security.") || bytes.starts_with(b"system.");
        if !is_kept(bytes) || (is_policy && bytes != b"security.capability") {
            continue;
        }
        for part in [bytes, &value] {
            whole.update((part.len() as u64).to_le_bytes());
            whole.update(part);
        }
    }
    whole.update(u64::MAX.to_le_bytes());
    let mut at = 0;
    // One that is written to all the time has no end: what it has gained since it was opened is left out.
    while kind == libc::S_IFREG && at < before.size {
        let n = fs::read_at(file.as_fd(), buffer, at.cast_signed())?;
        if n == 0 {
            break;
        }
        whole.update(&buffer[..n]);
        at += n as u64;
    }
    let now = fs::dated(file.as_fd(), Path::new(""), libc::AT_EMPTY_PATH)?;
    Ok((whole.finalize().into(), is_same(&now, found)))
}
