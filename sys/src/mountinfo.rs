//! The table of mounts: lines of /proc/PID/mountinfo, proc_pid_mountinfo(5).
//!
//! Bytes, not text: a mount point has the name that somebody gave it, in whatever encoding.

use crate::{Error, Result, fs};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The table of whoever opens it.
pub const OWN: &str = "/proc/self/mountinfo";

/// A line: `ID PARENT DEV ROOT MOUNTPOINT OPTIONS [TAG ...] - TYPE SOURCE SUPER_OPTIONS`.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    root: &'a [u8],
    mountpoint: &'a [u8],
    tags: &'a [u8],
    kind: &'a [u8],
    super_options: &'a [u8],
}

/// The table of the calling process. A busy host has megabytes of it.
///
/// # Errors
/// /proc is not there or cannot be read.
pub fn own_table() -> Result<Vec<u8>> {
    let table = fs::open(Path::new(OWN), libc::O_RDONLY, 0)?;
    fs::read_all(table.as_fd(), usize::MAX).map_err(|e| Error::new("read", OWN, e.errno()))
}

/// The mounts of a whole table, in its order: what was mounted later comes later. What is no line of it is left out.
pub fn mounts(table: &[u8]) -> impl DoubleEndedIterator<Item = Mount<'_>> {
    table.split(|b| *b == b'\n').filter_map(Mount::parse)
}

impl<'a> Mount<'a> {
    /// One line, with or without its end; `None` for anything else.
    pub fn parse(line: &'a [u8]) -> Option<Mount<'a>> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let middle = line.windows(3).position(|w| w == b" - ")?;
        let mut of_mount = line[..middle].splitn(7, is_blank).skip(3);
        let mut of_fs = line[middle + 3..].splitn(3, is_blank);
        Some(Mount {
            root: of_mount.next()?,
            mountpoint: of_mount.next()?,
            tags: of_mount.nth(1).unwrap_or_default(),
            kind: of_fs.next()?,
            super_options: of_fs.nth(1)?,
        })
    }

    /// The directory of the file system that is to be seen at the mount point.
    pub fn root(&self) -> PathBuf {
        unescape(self.root)
    }

    /// Where it is mounted, from the root of the process whose table it is.
    pub fn mountpoint(&self) -> PathBuf {
        unescape(self.mountpoint)
    }

    /// The type of the file system: `ext4`, `cgroup2`, `fuse.sshfs`.
    pub fn kind(&self) -> &'a [u8] {
        self.kind
    }

    /// The options of the super block, which all mounts of the file system share. Of a version 1 hierarchy of cgroups its
    /// controllers are among them.
    pub fn super_options(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.super_options.split(|b| *b == b',')
    }

    /// The peer group that it belongs to: what is mounted here is mounted in the whole group. `None`: it is not shared.
    pub fn peer_group(&self) -> Option<u32> {
        self.tag(b"shared:")
    }

    /// The peer group that it is a slave of.
    pub fn master(&self) -> Option<u32> {
        self.tag(b"master:")
    }

    fn tag(&self, name: &[u8]) -> Option<u32> {
        let mut tags = self.tags.split(is_blank);
        let number = tags.find_map(|tag| tag.strip_prefix(name))?;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

fn is_blank(byte: &u8) -> bool {
    *byte == b' '
}

/// Space, tab, newline and backslash are three octal digits (`seq_path` in the kernel's fs/seq_file.c).
fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(byte_of);
        out.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    PathBuf::from(OsString::from_vec(out))
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    let number = digits.iter().try_fold(0u16, |number, digit| match digit {
        b'0'..=b'7' => Some(number * 8 + u16::from(digit - b'0')),
        _ => None,
    })?;
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &[u8]) -> Mount<'_> {
        Mount::parse(line).expect("a line")
    }

    #[test]
    fn a_line_is_read_with_and_without_tags() {
        let mount =
            one(b"36 35 98:0 /a\\040- /b\\134\\011c\\012 rw,nosuid shared:17 master:3 - fuse.x  rw,memory\n");
        assert_eq!(mount.root(), Path::new("/a -"));
        assert_eq!(mount.mountpoint(), Path::new("/b\\\tc\n"));
        assert_eq!((mount.peer_group(), mount.master()), (Some(17), Some(3)));
        assert_eq!(mount.kind(), b"fuse.x");
        let options: Vec<_> = mount.super_options().collect();
        assert_eq!(options, [b"rw" as &[u8], b"memory"], "behind an empty source");
        let mount = one(b"36 35 98:0 / /x rw - proc shared:4 rw");
        assert_eq!((mount.peer_group(), mount.master()), (None, None));
        assert_eq!(mount.kind(), b"proc");
    }

    #[test]
    fn names_are_bytes_and_escapes_that_are_none_stay() {
        use std::os::unix::ffi::OsStrExt;
        let place = |name: &str| one(format!("1 2 3:4 / {name} rw - a b c").as_bytes()).mountpoint();
        assert_eq!(place("/a\\x\\0\\99").as_os_str().as_bytes(), b"/a\\x\\0\\99");
        assert_eq!(place("/\\777\\+07\\").as_os_str().as_bytes(), b"/\\777\\+07\\");
        let mount = one(b"1 2 3:4 / /\xff\xfe rw - a b c");
        assert_eq!(mount.mountpoint().as_os_str().as_bytes(), b"/\xff\xfe");
    }

    #[test]
    fn what_is_no_line_is_left_out() {
        let table = b"1 2 3:4 / /x rw - a b c\nshort line\n\n1 2 3:4 / - a b c\n1 2 3:4 / /y rw - a b c\n";
        let places: Vec<_> = mounts(table).map(|m| m.mountpoint()).collect();
        assert_eq!(places, [Path::new("/x"), Path::new("/y")]);
        assert_eq!(
            mounts(table).next_back().map(|m| m.mountpoint()),
            Some("/y".into())
        );
    }

    #[test]
    fn the_table_of_this_process_is_read_whole() {
        let table = own_table().expect("procfs");
        let lines = table.iter().filter(|b| **b == b'\n').count();
        assert_eq!(mounts(&table).count(), lines);
        assert!(mounts(&table).any(|m| m.mountpoint() == Path::new("/proc") && m.kind() == b"proc"));
    }
}
