//! Archives that a kernel unpacks as its first file system: the "newc" format of cpio.
//!
//! May not: compress. What is written here is read back within the same second, from memory.

use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;

/// An archive being written. Everything in it belongs to root and has no date: equal content is equal bytes.
pub struct Archive<W: Write> {
    to: W,
    entries: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(to: W) -> Self {
        Archive { to, entries: 0 }
    }

    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[])
    }

    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.entry(name, REGULAR | (mode & 0o7777), (0, 0), content)
    }

    pub fn link(&mut self, name: &str, to: &str) -> io::Result<()> {
        self.entry(name, LINK | 0o777, (0, 0), to.as_bytes())
    }

    pub fn character(&mut self, name: &str, mode: u32, device: (u32, u32)) -> io::Result<()> {
        self.entry(name, CHARACTER | mode, device, &[])
    }

    /// A file of the host, under another name; links are followed.
    pub fn copy(&mut self, name: &str, from: &Path) -> io::Result<()> {
        let told = |e: io::Error| io::Error::other(format!("{}: {e}", from.display()));
        let content = std::fs::read(from).map_err(told)?;
        let mode = std::fs::metadata(from).map_err(told)?.permissions().mode();
        self.file(name, mode, &content)
    }

    /// The trailer; without it the archive is not whole.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        self.entries += 1;
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::other(format!("{name} is too large for an archive")))?;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // ino, mode, uid, gid, nlink, mtime, size, device (2), of the node (2), length of the name, checksum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        let mut header = b"070701".to_vec();
        for field in fields {
            header.extend(format!("{field:08X}").bytes());
        }
        header.extend(name.bytes());
        header.push(0);
        pad(&mut header);
        self.to.write_all(&header)?;
        self.to.write_all(content)?;
        let mut end = vec![0; content.len() % 4];
        pad(&mut end);
        self.to.write_all(&vec![0; end.len() - content.len() % 4])
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_are_padded_to_four_bytes() {
        let mut archive = Archive::new(Vec::new());
        archive.file("a", 0o644, b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with("07070100000001000081A4"));
        assert!(text.contains("a\x0012345\x00\x00\x00070701"));
        assert!(text.trim_end_matches('\0').ends_with("TRAILER!!!"));
    }
}
