//! Structures of EROFS on disk (the kernel's fs/erofs/erofs_fs.h), as far as an uncompressed image has them. Little endian.
//!
//! May not: decide where anything goes.

/// Bytes in a block.
pub(super) const BLOCK: usize = 4096;
/// Inodes lie at multiples of it; their number is that multiple.
pub(super) const SLOT: usize = 32;
/// Of an inode in its long form, which has 32-bit owners and times with nanoseconds.
pub(super) const INODE: usize = 64;
/// In block 0, behind what a boot loader may have there.
pub(super) const SUPERBLOCK: usize = 1024;
/// Of the superblock, without extensions.
pub(super) const SUPERBLOCK_SIZE: usize = 128;
/// The root's inode stands right behind the superblock, as its number has only 16 bits there.
pub(super) const ROOT_NID: u64 = ((SUPERBLOCK + SUPERBLOCK_SIZE) / SLOT) as u64;
/// Of an entry in a directory, without its name.
pub(super) const DIRENT: usize = 12;
/// The name of the volume, in the superblock: who wrote the image. Whoever changes where anything goes changes the number, because check compares
/// images byte for byte.
pub(super) const VOLUME: &[u8; 16] = b"brig layer 1\0\0\0\0";
pub(super) const VOLUME_AT: usize = 64;
/// What all versions begin it with.
pub(super) const OURS: &[u8] = b"brig layer ";
/// Where the number of links is in an inode.
pub(super) const LINKS_AT: u64 = 44;

const MAGIC: u32 = 0xe0f5_e1e2;
/// There is a checksum; inodes have times of their own.
const COMPATIBLE: u32 = 0x1 | 0x2;

/// How the contents of an inode lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Whole blocks.
    Plain = 0,
    /// Whole blocks, and the rest right behind the inode.
    Inline = 2,
}

pub(super) struct Fields {
    pub layout: Layout,
    /// Bytes of attributes behind the inode.
    pub attributes: usize,
    pub mode: u32,
    pub size: u64,
    /// First block of the contents, or the device's number.
    pub address: u32,
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub seconds: i64,
    pub nanoseconds: u32,
    pub links: u32,
}

/// An inode's 64 bytes.
pub(super) fn inode(to: &mut Vec<u8>, f: &Fields) {
    const LONG: u16 = 1;
    // Attributes are counted in words behind their header of 12 bytes; none at all is 0.
    let words = match f.attributes {
        0 => 0,
        bytes => (bytes - 12) / 4 + 1,
    };
    to.extend_from_slice(&(LONG | (f.layout as u16) << 1).to_le_bytes());
    to.extend_from_slice(&(words as u16).to_le_bytes());
    to.extend_from_slice(&(f.mode as u16).to_le_bytes());
    to.extend_from_slice(&[0; 2]);
    to.extend_from_slice(&f.size.to_le_bytes());
    to.extend_from_slice(&f.address.to_le_bytes());
    to.extend_from_slice(&f.number.to_le_bytes());
    to.extend_from_slice(&f.uid.to_le_bytes());
    to.extend_from_slice(&f.gid.to_le_bytes());
    to.extend_from_slice(&f.seconds.to_le_bytes());
    to.extend_from_slice(&f.nanoseconds.to_le_bytes());
    to.extend_from_slice(&f.links.to_le_bytes());
    to.extend_from_slice(&[0; 16]);
}

/// Puts the superblock into block 0, and the checksum over all behind it.
pub(super) fn superblock(block: &mut [u8; BLOCK], inodes: u64, blocks: u32) {
    let s = &mut block[SUPERBLOCK..SUPERBLOCK + SUPERBLOCK_SIZE];
    s.fill(0);
    s[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    s[8..12].copy_from_slice(&COMPATIBLE.to_le_bytes());
    s[12] = BLOCK.trailing_zeros() as u8;
    s[14..16].copy_from_slice(&(ROOT_NID as u16).to_le_bytes());
    s[16..24].copy_from_slice(&inodes.to_le_bytes());
    // 24..36: the time of making, 36..40: below. No time, so that the same archive gives the same image.
    s[36..40].copy_from_slice(&blocks.to_le_bytes());
    s[VOLUME_AT..VOLUME_AT + VOLUME.len()].copy_from_slice(VOLUME);
    let sum = crc32c(&block[SUPERBLOCK..]);
    block[SUPERBLOCK + 4..SUPERBLOCK + 8].copy_from_slice(&sum.to_le_bytes());
}

/// CRC-32C as the kernel has it: begun with ones, not inverted at the end. For 3 KiB a layer no table is worth it.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |s, _| {
            (s >> 1) ^ (0x82f6_3b78 & (s & 1).wrapping_neg())
        })
    })
}

/// A number of a device, as the kernel's new_encode_dev().
pub(super) fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

/// The short form of a name with a known prefix; names with another one cannot be kept.
fn prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((2, b"")),
        b"system.posix_acl_default" => return Some((3, b"")),
        _ => {}
    }
    for (index, prefix) in [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return Some((index, rest));
        }
    }
    None
}

/// Attributes as they lie behind an inode; nothing for none. `None` where they are too large for the format.
pub(super) fn attributes<'a>(
    to: &mut Vec<u8>,
    list: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Option<()> {
    let begin = to.len();
    for (name, value) in list {
        let Some((index, rest)) = prefix(name) else {
            continue;
        };
        if to.len() == begin {
            to.extend_from_slice(&[0; 12]);
        }
        to.push(u8::try_from(rest.len()).ok()?);
        to.push(index);
        to.extend_from_slice(&u16::try_from(value.len()).ok()?.to_le_bytes());
        to.extend_from_slice(rest);
        to.extend_from_slice(value);
        to.resize(begin + (to.len() - begin).next_multiple_of(4), 0);
    }
    // The count of words has 16 bits.
    (to.len() - begin <= 12 + 4 * (usize::from(u16::MAX) - 1)).then_some(())
}

/// The type in a directory's entry.
pub(super) fn file_type(mode: u32) -> u8 {
    match mode & libc::S_IFMT {
        libc::S_IFREG => 1,
        libc::S_IFDIR => 2,
        libc::S_IFCHR => 3,
        libc::S_IFBLK => 4,
        libc::S_IFIFO => 5,
        libc::S_IFLNK => 7,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_the_nine_digits() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn devices_as_the_kernel_counts() {
        assert_eq!(device(0, 0), 0);
        assert_eq!(device(5, 1), 0x501);
        assert_eq!(device(0xabc, 0x12345), 0x123a_bc45);
    }

    #[test]
    fn attributes_are_aligned() {
        let mut to = vec![9; 64];
        let list: [(&[u8], &[u8]); 2] = [(b"user.abc", b"12"), (b"system.posix_acl_access", b"1")];
        assert!(attributes(&mut to, list.into_iter()).is_some());
        assert_eq!(to.len(), 64 + 12 + 12 + 8);
        assert_eq!(&to[76..85], b"\x03\x01\x02\x00abc12");
    }
}
