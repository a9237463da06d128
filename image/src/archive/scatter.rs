//! An archive as a stream, taken apart into files: who reads a pipe cannot go back.
//!
//! May not: know what the files mean.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use crate::digest::{Algorithm, Hasher};
use crate::layer::tar::{Entry, Limits, Piece, Reader, Type};
use crate::layer::{Decompressor, Ratio};
use crate::registry::Cancel;
use crate::{Context, Digest, Error, Kind, Result};

/// One file of the archive.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where its bytes lie.
    pub file: PathBuf,
    pub digest: Digest,
    pub size: u64,
}

/// The files of an archive by their names in it.
#[derive(Debug, Default)]
pub struct Scattered {
    members: HashMap<String, Member>,
    links: HashMap<String, String>,
}

/// Links of links; old archives have at most one.
const LINK_DEPTH: usize = 8;

impl Scattered {
    /// The file of this name, through links.
    pub fn get(&self, name: &str) -> Option<&Member> {
        let mut name = normal(name)?;
        for _ in 0..LINK_DEPTH {
            if let Some(member) = self.members.get(&name) {
                return Some(member);
            }
            name = self.links.get(&name)?.clone();
        }
        None
    }

    /// One file more.
    pub fn insert(&mut self, name: String, member: Member) {
        self.members.insert(name, member);
    }

    /// A file with these bytes, whatever its name.
    pub fn find(&self, digest: &Digest) -> Option<&Member> {
        self.members.values().find(|member| member.digest == *digest)
    }

    /// All of a small file.
    ///
    /// # Errors
    /// It is not there or too large.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let member = self
            .get(name)
            .ok_or_else(|| Error::corrupt(format!("the archive has no {name}")))?;
        if member.size > limit {
            return Err(Error::corrupt(format!(
                "{name} of the archive has {} bytes; at most {limit} are read",
                member.size
            )));
        }
        std::fs::read(&member.file).context(format!("failed to read {name} of the archive"))
    }
}

/// Takes `source` apart into `directory`. It may be packed by gzip, zstd, bzip2 or xz.
///
/// # Errors
/// It is no archive, breaks off, or asks for more than [`Limits`] allow.
pub fn scatter(source: &mut (dyn Read + Send), directory: &Path, cancel: &Cancel) -> Result<Scattered> {
    let source = Watched { source, cancel };
    let mut source = BufReader::with_capacity(256 << 10, source);
    let magic = source.fill_buf().context("failed to read the archive")?;
    let unpacker = match magic {
        [b'B', b'Z', b'h', ..] => Some("bzip2"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        _ => None,
    };
    match unpacker {
        Some(program) => through(program, &mut source, |unpacked| {
            take_apart(unpacked, directory, cancel)
        }),
        None => {
            let mut unpacked =
                BufReader::with_capacity(256 << 10, Decompressor::new(source, Ratio::default())?);
            take_apart(&mut unpacked, directory, cancel)
        }
    }
}

/// Ends when the work is called off, also behind the archive, where a stream may go on for ever.
struct Watched<'w> {
    source: &'w mut (dyn Read + Send),
    cancel: &'w Cancel,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.cancel.check()?;
        self.source.read(buffer)
    }
}

fn take_apart(source: &mut dyn BufRead, directory: &Path, cancel: &Cancel) -> Result<Scattered> {
    let mut scattered = Scattered::default();
    let mut reader = Reader::new(source, Limits::default());
    let mut entry = Entry::default();
    let failed = || "failed to read the archive";
    while reader.next(&mut entry).context(failed())? {
        cancel.check()?;
        let Some(name) = std::str::from_utf8(&entry.path).ok().and_then(normal) else {
            return Err(Error::corrupt(format!(
                "the archive has a file with the name {:?}",
                String::from_utf8_lossy(&entry.path)
            )));
        };
        match entry.kind {
            Type::File => {
                let file = directory.join(format!("member-{}", scattered.members.len()));
                let member = take_out(&mut reader, file, cancel)
                    .context(format!("failed to read {name} of the archive"))?;
                scattered.members.insert(name, member);
            }
            Type::Symlink | Type::Hardlink => {
                // A symlink's target is relative to where it lies, a hardlink's to the archive.
                let target = String::from_utf8_lossy(&entry.link).into_owned();
                let base = match (entry.kind, name.rsplit_once('/')) {
                    (Type::Symlink, Some((parent, _))) if !target.starts_with('/') => {
                        format!("{parent}/{target}")
                    }
                    _ => target,
                };
                if let Some(target) = normal(&base) {
                    scattered.links.insert(name, target);
                }
            }
            Type::Directory => {}
            _ => {
                return Err(Error::corrupt(format!(
                    "the archive has a device or FIFO: {name}"
                )));
            }
        }
    }
    reader.finish().context(failed())?;
    Ok(scattered)
}

fn take_out<R: BufRead>(reader: &mut Reader<R>, path: PathBuf, cancel: &Cancel) -> Result<Member> {
    let mut file = File::create(&path).context(format!("failed to create {}", path.display()))?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut size = 0;
    while let Some(piece) = reader.piece()? {
        cancel.check()?;
        match piece {
            Piece::Bytes(bytes) => {
                hasher.update(bytes);
                file.write_all(bytes).context("failed to write")?;
                size += bytes.len() as u64;
            }
            Piece::Hole(length) => {
                let mut left = length;
                while left > 0 {
                    let now = left.min(ZEROS.len() as u64);
                    hasher.update(&ZEROS[..usize::try_from(now).unwrap_or(ZEROS.len())]);
                    left -= now;
                }
                file.seek(SeekFrom::Current(i64::try_from(length).unwrap_or(i64::MAX)))
                    .context("failed to write")?;
                size += length;
            }
        }
    }
    // A hole at the end.
    file.set_len(size).context("failed to write")?;
    Ok(Member {
        file: path,
        digest: hasher.finish(),
        size,
    })
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// `a/./b/../c` is `a/c`. None for what leaves the archive, and for nothing.
fn normal(name: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// Runs `work` on what a program makes of `source`. bzip2 and xz are rare enough for a program that every system has.
fn through<T>(
    program: &str,
    source: &mut (dyn Read + Send),
    work: impl FnOnce(&mut dyn BufRead) -> Result<T>,
) -> Result<T> {
    let mut child = Command::new(program)
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| {
            Error::of(
                Kind::Unsupported,
                format!(
                    "the archive is packed by {program}, and {program} cannot be run: {}",
                    Error::from(e)
                ),
            )
        })?;
    let done = thread::scope(|scope| {
        let feeder = child
            .stdin
            .take()
            .map(|stdin| scope.spawn(move || feed(source, stdin)));
        let done = match child.stdout.take() {
            Some(stdout) => work(&mut BufReader::with_capacity(256 << 10, stdout)),
            None => Err(Error::new(format!("failed to read from {program}"))),
        };
        // Its input ends with our end of the pipe, if not before.
        if done.is_err() {
            end(&mut child);
        }
        match feeder.map(|feeder| feeder.join()) {
            Some(Ok(fed)) => done.and_then(|done| fed.map(|()| done)),
            _ => done,
        }
    });
    let status = child.wait().context(format!("failed to wait for {program}"))?;
    match done {
        Ok(_) if !status.success() => Err(Error::corrupt(format!(
            "{program} could not unpack the archive: {status}"
        ))),
        done => done,
    }
}

fn end(child: &mut Child) {
    // It has ended already, then.
    drop(child.kill());
}

fn feed(source: &mut (dyn Read + Send), mut stdin: ChildStdin) -> Result<()> {
    match std::io::copy(source, &mut stdin) {
        // It has what it wants.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(Error::from(e).context("failed to read the archive")),
        Ok(_) => Ok(()),
    }
}

/// The first bytes of a member, for its magic.
pub fn first_bytes(member: &Member) -> Result<[u8; 8]> {
    let mut bytes = [0; 8];
    let file = File::open(&member.file).context("failed to open a part of the archive")?;
    let mut at = 0;
    while at < bytes.len() {
        match file
            .read_at(&mut bytes[at..], at as u64)
            .context("failed to read a part of the archive")?
        {
            0 => break,
            n => at += n,
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_stay_inside() {
        assert_eq!(normal("./a//b/../c").as_deref(), Some("a/c"));
        assert_eq!(normal("/a").as_deref(), Some("a"));
        assert_eq!(normal("../a"), None);
        assert_eq!(normal("a/../../b"), None);
    }
}
