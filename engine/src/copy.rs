//! `cp`: files between the host and containers, or between two containers, and tar archives in and out.
//!
//! May not: follow a path twice. Where something comes from and where it goes to is opened once; from there on `tree` goes by
//! descriptors.
//!
//! What happens follows from what the source is, and from what the target is already:
//!
//! | source | target | result |
//! |---|---|---|
//! | anything | a directory | in it, under the name of the source; of `SOURCE/.` the contents |
//! | no directory | a file | takes its place |
//! | a directory | a file | refused |
//! | a directory | nothing | the directory is made and gets the contents |
//! | no directory | nothing, and a `/` at the end | refused |
//! | no directory | nothing | a file of this name |

use std::io::{BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use image::layer::tar::{BLOCK, Entry, Limits, Reader};
use image::registry::Cancel;
use image::{Context, Error, Kind, Result};
use sys::fs::Stat;

use crate::root::{Last, Root};
use crate::tree::pack::Packer;
use crate::tree::place::{Owners, Placer};
use crate::tree::walk::{self, Attributes};
use crate::tree::{Contents, Sink, as_path, identity};

/// A container whose files are meant.
#[derive(Clone, Copy)]
pub struct Container<'c> {
    /// As the user calls it; for messages.
    pub name: &'c str,
    pub root: &'c Root,
    /// Its own root is not to be changed (`--read-only`); volumes may be.
    pub is_read_only: bool,
    /// Its root user, as we see it: 0, or what its user namespace maps 0 to.
    pub owner: (u32, u32),
}

/// Whose files a path names.
#[derive(Clone, Copy)]
pub enum Whose<'c> {
    Host,
    Container(Container<'c>),
}

/// A path, and whose it is.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    pub whose: Whose<'p>,
    /// As the user writes it: what is at its end counts.
    pub path: &'p Path,
}

/// How to copy.
#[derive(Clone, Copy)]
pub struct Options<'o> {
    /// Owners and all attributes are kept (`-a`).
    pub archive: bool,
    /// A source that is a link stands for what it leads to (`-L`).
    pub follow: bool,
    pub cancel: &'o Cancel,
}

/// Copies. How many bytes an archive of it would have.
///
/// # Errors
/// In Docker's words: what is not there, or in the way.
pub fn copy(from: &Place<'_>, to: &Place<'_>, options: &Options<'_>) -> Result<u64> {
    let source = Source::open(from, options)?;
    let target = Target::open(to, &source)?;
    let owners = match (options.archive, to.whose) {
        (true, _) => Owners::Keep,
        (false, Whose::Container(container)) => Owners::All(container.owner.0, container.owner.1),
        (false, Whose::Host) => {
            let (uid, gid) = sys::process::effective_ids();
            Owners::All(uid, gid)
        }
    };
    let into = sys::fs::fstat(target.directory.as_fd())?;
    let mut placer = Counted {
        to: Placer::new(target.directory.as_fd(), owners),
        bytes: 2 * BLOCK as u64,
    };
    let found = walk::Options {
        attributes: attributes(options),
        closed: closed(from),
        target: Some(identity(&into)),
        cancel: options.cancel,
    };
    walk::walk(source.fd.as_fd(), &target.name, &found, &mut placer)?;
    placer.to.finish()?;
    Ok(placer.bytes)
}

/// Writes an archive of what `from` names.
///
/// # Errors
/// It is not there, or cannot be read or written.
pub fn pack(from: &Place<'_>, to: impl Write, options: &Options<'_>) -> Result<()> {
    let source = Source::open(from, options)?;
    let mut packer = Packer::new(to);
    let found = walk::Options {
        attributes: attributes(options),
        closed: closed(from),
        target: None,
        cancel: options.cancel,
    };
    walk::walk(source.fd.as_fd(), &source.name, &found, &mut packer)?;
    packer.finish()?;
    Ok(())
}

/// Puts an archive into the directory of a container that `to` names.
///
/// # Errors
/// It is no directory, or this is no archive.
pub fn unpack(
    from: impl BufRead,
    container: &Container<'_>,
    path: &Path,
    options: &Options<'_>,
) -> Result<()> {
    let place = Place {
        whose: Whose::Container(*container),
        path,
    };
    let found = place.look(&absolute(path), Last::Follow);
    let (directory, stat) = match found {
        Err(e) if e.kind() == Kind::NotFound => None,
        other => Some(other?),
    }
    .filter(|(_, stat)| stat.is_dir())
    .ok_or_else(|| {
        Error::invalid(format!(
            "destination \"{}:{}\" must be a directory",
            container.name,
            path.display()
        ))
    })?;
    check_writable(&place, directory.as_fd(), &stat)?;
    let base = absolute(path);
    let follow = |below: &Path| {
        let whole = base.join(below);
        container.root.open(&whole, Last::Follow, libc::O_DIRECTORY)
    };
    let owners = match options.archive {
        true => Owners::Keep,
        false => Owners::All(container.owner.0, container.owner.1),
    };
    let mut placer = Placer::new(directory.as_fd(), owners).following(&follow);
    let mut reader = Reader::new(from, Limits::default());
    let mut entry = Entry::default();
    while reader.next(&mut entry)? {
        options.cancel.check()?;
        if !options.archive {
            entry.xattrs.retain(|(name, _)| name == b"security.capability");
        }
        // Overlay's own notes would change what the container sees of its layers.
        entry.xattrs.retain(|(name, _)| {
            !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
        });
        placer.take(&entry, Contents::Pieces(&mut reader))?;
    }
    placer.finish()
}

fn attributes(options: &Options<'_>) -> Attributes {
    match options.archive {
        true => Attributes::All,
        false => Attributes::Rights,
    }
}

/// The devices of a container that runs are made by its runtime and look to Docker as if they were not there.
fn closed(from: &Place<'_>) -> Vec<(u64, u64)> {
    let Whose::Container(container) = from.whose else {
        return Vec::new();
    };
    let device = |root: &Root| {
        let fd = root.open(Path::new("/dev"), Last::Keep, libc::O_DIRECTORY).ok()?;
        let stat = sys::fs::fstat(fd.as_fd()).ok()?;
        let top = sys::fs::fstat(root.fd()).ok()?;
        (stat.dev != top.dev).then_some(identity(&stat))
    };
    device(container.root).into_iter().collect()
}

/// Counts what goes to a tree as an archive would have it: that is what Docker tells.
struct Counted<'p> {
    to: Placer<'p>,
    bytes: u64,
}

impl Sink for Counted<'_> {
    fn take(&mut self, entry: &Entry, contents: Contents<'_>) -> Result<()> {
        self.bytes += BLOCK as u64 + entry.size.next_multiple_of(BLOCK as u64);
        self.to.take(entry, contents)
    }
}

/// What is copied.
struct Source {
    fd: OwnedFd,
    stat: Stat,
    /// In an archive, and in a directory that it goes to. Contents have `.`.
    name: Vec<u8>,
}

impl Source {
    fn open(place: &Place<'_>, options: &Options<'_>) -> Result<Source> {
        let text = place.path.as_os_str().as_bytes();
        let clean = match place.whose {
            Whose::Host => std::path::absolute(place.path).context("failed to find the working directory")?,
            Whose::Container(_) => absolute(place.path),
        };
        let base = last_component(&clean);
        let is_contents = ends_with_dot(text) || base.is_none();
        let last = match options.follow || asserts_directory(text) {
            true => Last::Follow,
            false => Last::Keep,
        };
        let (fd, stat) = place.look(&clean, last).map_err(|e| place.missing(e))?;
        if asserts_directory(text) && !stat.is_dir() {
            return Err(match place.whose {
                Whose::Host => Error::invalid(format!("lstat {}: not a directory", place.path.display())),
                Whose::Container(_) => place.missing(Error::not_found("")),
            });
        }
        let is_kernels = matches!(place.whose, Whose::Container(_))
            && (stat.is_dir() || stat.file_type() == libc::S_IFREG)
            && walk::is_kernels_own(fd.as_fd())?;
        if is_kernels {
            return Err(Error::of(
                Kind::Unsupported,
                format!("{} is no file but the kernel's word", place.path.display()),
            ));
        }
        let name = match (is_contents, base) {
            (false, Some(name)) => name,
            _ => b".".to_vec(),
        };
        Ok(Source { fd, stat, name })
    }
}

/// Where it goes.
struct Target {
    directory: OwnedFd,
    /// What the top is called there.
    name: Vec<u8>,
}

impl Target {
    fn open(place: &Place<'_>, source: &Source) -> Result<Target> {
        let text = place.path.as_os_str().as_bytes();
        let mut path = match place.whose {
            Whose::Host => std::path::absolute(place.path).context("failed to find the working directory")?,
            Whose::Container(_) => absolute(place.path),
        };
        // Links at the end are followed one by one, so that the parent of what they lead to is known.
        for _ in 0..40 {
            match place.look(&path, Last::Keep) {
                Ok((fd, stat)) if stat.is_symlink() => {
                    let link = sys::fs::readlinkat(fd.as_fd(), Path::new(""))?;
                    path = path.parent().unwrap_or(Path::new("/")).join(link);
                }
                Ok((fd, stat)) => return Target::existing(place, source, &path, fd, &stat),
                Err(e) if e.kind() == Kind::NotFound => {
                    if !source.stat.is_dir() && asserts_directory(text) {
                        return Err(Error::invalid("no such directory"));
                    }
                    return Target::beside(place, &path);
                }
                // `FILE/`.
                Err(_) if matches!(place.whose, Whose::Host) && asserts_directory(text) => {
                    return Err(Error::invalid(format!(
                        "stat {}: not a directory",
                        path.display()
                    )));
                }
                Err(e) => return Err(e),
            }
        }
        Err(Error::invalid(format!(
            "too many symlinks in {}",
            place.path.display()
        )))
    }

    fn existing(place: &Place<'_>, source: &Source, path: &Path, fd: OwnedFd, stat: &Stat) -> Result<Target> {
        match stat.file_type() {
            libc::S_IFDIR => {
                check_writable(place, fd.as_fd(), stat)?;
                return Ok(Target {
                    directory: fd,
                    name: source.name.clone(),
                });
            }
            libc::S_IFCHR | libc::S_IFBLK => return Err(place.wrong_kind("a device")),
            libc::S_IFSOCK => return Err(place.wrong_kind("an irregular file")),
            _ => {}
        }
        if asserts_directory(place.path.as_os_str().as_bytes()) {
            return Err(Error::invalid("no such directory"));
        }
        match source.stat.is_dir() {
            true => Err(Error::invalid("cannot copy directory")),
            false => Target::beside(place, path),
        }
    }

    /// A name that is free, or a file's.
    fn beside(place: &Place<'_>, path: &Path) -> Result<Target> {
        let Some(name) = last_component(path) else {
            return Err(Error::invalid(format!("{} has no name", place.path.display())));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let (directory, stat) = match place.look(parent, Last::Follow) {
            Err(e) if e.kind() == Kind::NotFound => {
                return Err(match place.whose {
                    Whose::Host => Error::invalid(format!(
                        "invalid output path: directory {parent:?} does not exist"
                    )),
                    Whose::Container(c) => not_found(&absolute(parent), c.name),
                });
            }
            other => other?,
        };
        if !stat.is_dir() {
            return Err(Error::invalid("not a directory"));
        }
        check_writable(place, directory.as_fd(), &stat)?;
        Ok(Target { directory, name })
    }
}

impl Place<'_> {
    fn look(&self, path: &Path, last: Last) -> Result<(OwnedFd, Stat)> {
        let fd = match self.whose {
            Whose::Container(container) => container.root.open(path, last, 0)?,
            Whose::Host => {
                let keep = if last == Last::Keep { libc::O_NOFOLLOW } else { 0 };
                sys::fs::open(path, libc::O_PATH | keep, 0)?
            }
        };
        let stat = sys::fs::fstat(fd.as_fd())?;
        Ok((fd, stat))
    }

    fn missing(&self, e: Error) -> Error {
        match (e.kind(), self.whose) {
            (Kind::NotFound, Whose::Container(c)) => not_found(&absolute(self.path), c.name),
            (Kind::NotFound, Whose::Host) => Error::invalid(format!(
                "lstat {}: no such file or directory",
                std::path::absolute(self.path).unwrap_or_default().display()
            )),
            _ => e,
        }
    }

    fn wrong_kind(&self, what: &str) -> Error {
        let path = self.path.display();
        Error::invalid(match self.whose {
            Whose::Host => {
                format!("invalid output path: \"{path}\" must be a directory or a regular file: got {what}")
            }
            Whose::Container(c) => format!(
                "destination \"{}:{path}\" must be a directory or a regular file: got {what}",
                c.name
            ),
        })
    }
}

/// Whether a path names a directory.
///
/// # Errors
/// It cannot be looked at.
pub fn is_directory(place: &Place<'_>) -> Result<bool> {
    let path = match place.whose {
        Whose::Host => place.path.to_owned(),
        Whose::Container(_) => absolute(place.path),
    };
    match place.look(&path, Last::Follow) {
        Err(e) if e.kind() == Kind::NotFound => Ok(false),
        other => other.map(|(_, stat)| stat.is_dir()),
    }
}

fn not_found(path: &Path, container: &str) -> Error {
    Error::not_found(format!(
        "Could not find the file {} in container {container}",
        path.display()
    ))
}

/// Refuses what the container itself could not write. Below its root everything that is another mount is a volume.
fn check_writable(place: &Place<'_>, directory: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
    let Whose::Container(container) = place.whose else {
        return Ok(());
    };
    if walk::is_kernels_own(directory)? {
        return Err(Error::of(
            Kind::Unsupported,
            format!("{} has no files but the kernel's words", place.path.display()),
        ));
    }
    let is_volume = sys::fs::mount_id(directory)?.0 != sys::fs::mount_id(container.root.fd())?.0;
    let is_read_only = sys::fs::fstatfs(directory)?.flags & libc::ST_RDONLY != 0;
    if !is_volume && (container.is_read_only || is_read_only) {
        return Err(Error::of(Kind::Denied, "container rootfs is marked read-only"));
    }
    if is_volume && is_read_only && stat.is_dir() {
        return Err(Error::of(Kind::Denied, "mounted volume is marked read-only"));
    }
    Ok(())
}

/// From the root, without dots but those at the beginning of links: `..` at the root is the root.
fn absolute(path: &Path) -> PathBuf {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.as_os_str().as_bytes().split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Path::new("/").join(as_path(&parts.join(&b'/')))
}

fn last_component(path: &Path) -> Option<Vec<u8>> {
    let name = path.file_name().map(|name| name.as_bytes().to_vec());
    // `a/..` has no name of its own; of the host's files the kernel knows it.
    name.or_else(|| {
        let real = std::fs::canonicalize(path).ok()?;
        path.ends_with("..")
            .then(|| real.file_name().map(|n| n.as_bytes().to_vec()))?
    })
}

/// `a/` or `a/.` or `.`.
fn asserts_directory(text: &[u8]) -> bool {
    text.ends_with(b"/") || ends_with_dot(text) || text == b".." || text.ends_with(b"/..")
}

/// Whether the last component is a dot: `a/.`, `.`, `./`.
fn ends_with_dot(text: &[u8]) -> bool {
    text.split(|b| *b == b'/').rfind(|part| !part.is_empty()) == Some(b".")
}

/// What a pattern of a shell (`*`, `?`, `[a-z]`) names in a container, sorted; the path itself, if it is there or has none of
/// these characters.
///
/// # Errors
/// A directory cannot be read; or nothing matches.
pub fn expand(container: &Container<'_>, path: &Path) -> Result<Vec<PathBuf>> {
    let is_pattern = |part: &[u8]| part.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
    let whole = absolute(path);
    if !is_pattern(whole.as_os_str().as_bytes()) || container.root.open(&whole, Last::Keep, 0).is_ok() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![PathBuf::from("/")];
    for part in whole.components().skip(1) {
        let part = part.as_os_str().as_bytes();
        let mut next = Vec::new();
        for directory in found {
            if !is_pattern(part) {
                let path = directory.join(as_path(part));
                if container.root.open(&path, Last::Keep, 0).is_ok() {
                    next.push(path);
                }
                continue;
            }
            let Ok(fd) = container.root.open(&directory, Last::Follow, libc::O_DIRECTORY) else {
                continue;
            };
            let mut names = sys::fs::entries(fd.as_fd())?;
            names.sort_unstable();
            names.retain(|name| {
                let name = name.as_bytes();
                // As in a shell, a name with a dot in front wants one in the pattern.
                (name[0] != b'.' || part[0] == b'.') && matches(part, name)
            });
            next.extend(names.into_iter().map(|name| directory.join(name)));
        }
        found = next;
    }
    match found.is_empty() {
        true => Err(not_found(&whole, container.name)),
        false => Ok(found),
    }
}

/// A pattern of one component.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, name)| matches(pattern, name))
        }
        (Some((b'?', rest)), Some((_, name))) => matches(rest, name),
        (Some((b'[', set)), Some((byte, after))) => match set.iter().skip(1).position(|b| *b == b']') {
            Some(end) => in_set(&set[..=end], *byte) && matches(&set[end + 2..], after),
            None => *byte == b'[' && matches(set, after),
        },
        (Some((b'\\', [escaped, rest @ ..])), Some((byte, name))) => escaped == byte && matches(rest, name),
        (Some((literal, rest)), Some((byte, name))) => literal == byte && matches(rest, name),
        _ => false,
    }
}

/// `a-z`, `^a`, `!a`.
fn in_set(set: &[u8], byte: u8) -> bool {
    let (is_not, mut set) = match set {
        [b'^' | b'!', rest @ ..] => (true, rest),
        set => (false, set),
    };
    let mut is_in = false;
    while let [first, rest @ ..] = set {
        set = match rest {
            [b'-', last, after @ ..] => {
                is_in |= (first..=last).contains(&&byte);
                after
            }
            rest => {
                is_in |= *first == byte;
                rest
            }
        };
    }
    is_in != is_not
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ends_of_paths() {
        for (path, asserts, contents) in [
            ("a", false, false),
            ("a/", true, false),
            ("a/.", true, true),
            ("a/./", true, true),
            (".", true, true),
            ("./", true, true),
            ("..", true, false),
            ("a.", false, false),
            ("a/b.", false, false),
        ] {
            let text = path.as_bytes();
            assert_eq!(
                (asserts_directory(text), ends_with_dot(text)),
                (asserts, contents),
                "{path}"
            );
        }
    }

    #[test]
    fn paths_of_a_container_begin_at_its_root() {
        for (path, from_root) in [
            ("", "/"),
            ("a/b/", "/a/b"),
            ("/a/./b/..", "/a"),
            ("../../a", "/a"),
            ("/", "/"),
        ] {
            assert_eq!(absolute(Path::new(path)), Path::new(from_root), "{path}");
        }
    }

    #[test]
    fn patterns_of_a_shell() {
        for (pattern, name, does) in [
            ("*", "", true),
            ("*.log", "a.log", true),
            ("*.log", "a.logs", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            (r"\*", "*", true),
            (r"\*", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                does,
                "{pattern} {name}"
            );
        }
    }
}
