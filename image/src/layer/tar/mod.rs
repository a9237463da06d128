//! Archives as tar writes them: ustar, GNU and PAX, read as a stream and written.
//!
//! May not: touch a file system, or know what a whiteout is. Paths come out as they stand in the archive.
//!
//! Where the dialects leave room, this reads as Go's archive/tar does, since that is what made the diff ids of nearly all
//! images: one parser that sees other entries than the next is a way past whoever looked (CVE-2025-62518).

mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use reader::{Piece, Reader};
pub use writer::Writer;

pub use sys::xattr::Time;

/// Bytes in a block; everything in an archive is padded to it.
pub const BLOCK: usize = 512;

/// What kind of file an entry makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    #[default]
    File,
    /// Another name of the file that `link` names.
    Hardlink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One entry. The fields are used again for the next one, so nothing is allocated for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// As written: perhaps absolute, with `..`, or with a slash at its end. Never with a NUL.
    pub path: Vec<u8>,
    /// Target of a hardlink or symlink, as written.
    pub link: Vec<u8>,
    pub kind: Type,
    /// Permissions, set-id and sticky bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    /// Bytes that the file has once unpacked, holes included. Zero for everything that is no file.
    pub size: u64,
    /// Of a device.
    pub major: u32,
    pub minor: u32,
    /// Sorted by name, no name twice.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    fn clear(&mut self) {
        self.path.clear();
        self.link.clear();
        self.xattrs.clear();
        *self = Entry {
            path: std::mem::take(&mut self.path),
            link: std::mem::take(&mut self.link),
            xattrs: std::mem::take(&mut self.xattrs),
            ..Entry::default()
        };
    }
}

/// How much an archive may ask for before it is refused.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Entries.
    pub entries: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    /// Bytes of a path or of a link's target.
    pub path: usize,
    /// Components of a path.
    pub depth: usize,
    /// Bytes of one extended header, PAX or GNU.
    pub header: usize,
    /// Bytes of names and values of one entry's extended attributes.
    pub xattrs: usize,
    /// Pieces of one sparse file.
    pub sparse: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 10_000_000,
            bytes: 4 << 40,
            path: 4095,
            depth: 1024,
            header: 1 << 20,
            xattrs: 192 << 10,
            sparse: 256 << 10,
        }
    }
}
