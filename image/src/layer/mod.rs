//! Layers: tar streams in, trees or EROFS images out.
//!
//! May not: know a registry, a store or what an image is. Nothing here is synced; a layer can be made again from its blob.
//!
//! ```text
//! source --(inflate; its digest)--> buffers --> diff id
//!                                          \--> tar --> names (what hides what) --> tree, or EROFS image
//! ```

mod apply;
mod compare;
pub mod compress;
pub mod decompress;
mod erofs;
mod names;
pub mod pack;
mod path;
mod pipeline;
mod remove;
pub mod tar;
mod tree;

use std::ffi::CStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::AtomicBool;

pub use compare::{Likeness, images as compare_images, trees as compare_trees};
pub use decompress::{Compression, Decompressor, Ratio};
pub use remove::{remove, remove_path};

use crate::digest::Algorithm;
use crate::{Digest, Error, Result};
use tar::{Limits, Time, Type};

/// Where a layer goes, and in which form.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Below an empty directory that is nobody else's. It gets the attributes of the layer's root, so nobody should be able to
    /// reach it but through a directory that is closed to others.
    Tree(BorrowedFd<'a>),
    /// Into an empty file that is open for writing.
    Erofs(&'a File),
}

/// Which attributes overlay reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    /// `trusted.overlay.*`, for mounts by root of the host.
    #[default]
    Trusted,
    /// `user.overlay.*`, for mounts with `userxattr` in a user namespace.
    User,
}

impl Overlay {
    fn opaque(self) -> &'static CStr {
        match self {
            Overlay::Trusted => c"trusted.overlay.opaque",
            Overlay::User => c"user.overlay.opaque",
        }
    }
}

/// Whether devices are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    #[default]
    Make,
    /// Left out and counted, with a whiteout in their place: mknod(2) in a user namespace makes nothing else.
    Skip,
}

/// Whose files will be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owners {
    #[default]
    Keep,
    /// Of whoever unpacks: for a user with a single id. An EROFS image keeps them always.
    Caller,
}

/// A file of a lower layer that a hardlink names.
#[derive(Debug)]
pub struct Lower {
    /// Open for reading, a regular file.
    pub file: File,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Time,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Lower {
    /// The file `name` in `directory`, if it is one.
    ///
    /// # Errors
    /// It is something else, or cannot be read.
    pub fn open(directory: BorrowedFd<'_>, name: &Path) -> Result<Lower> {
        use std::os::fd::AsFd as _;
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::from(sys::fs::openat(directory, name, flags, 0)?);
        let stat = sys::fs::fstat(file.as_fd())?;
        if stat.file_type() != libc::S_IFREG {
            return Err(Error::corrupt(
                "what the hardlink names in a layer below is no file",
            ));
        }
        let xattrs = sys::xattr::all(directory, name)?;
        Ok(Lower {
            mode: stat.mode & 0o7777,
            uid: stat.uid,
            gid: stat.gid,
            mtime: sys::xattr::mtime_at(file.as_fd(), Path::new(""))?,
            xattrs: xattrs
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value))
                .collect(),
            file,
        })
    }
}

/// Finds the path of a file in the layers below; `None` if there is no such file.
pub type FindLower<'a> = &'a dyn Fn(&Path) -> Result<Option<Lower>>;

/// How a layer is unpacked.
#[derive(Clone, Default)]
pub struct Options<'a> {
    pub overlay: Overlay,
    pub devices: Devices,
    pub owners: Owners,
    pub limits: Limits,
    pub ratio: Ratio,
    /// For hardlinks across layers; called on the thread that called [`unpack`]. Without it such a link is an error.
    pub lower: Option<FindLower<'a>>,
    /// The digest of the compressed stream to be made, if any.
    pub compressed: Option<Algorithm>,
    /// Told how many compressed bytes have been read so far, now and then, by another thread.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
    /// Looked at between buffers.
    pub cancel: Option<&'a AtomicBool>,
}

/// What has become of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The SHA-256 of the uncompressed stream, with all that is behind the archive.
    pub diff_id: Digest,
    pub compression: Compression,
    /// Of the source, when it was asked for.
    pub compressed_digest: Option<Digest>,
    /// Bytes of the source.
    pub compressed_size: u64,
    /// Bytes of the uncompressed stream.
    pub size: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of all files, as the archive has them.
    pub files: u64,
    /// Bytes of all files that were written, or of the image.
    pub bytes: u64,
    /// Extended attributes that were left out: overlay's own, and what is not for such a file.
    pub attributes_dropped: u64,
    /// Devices that were left out.
    pub devices_dropped: u64,
    /// The root itself is opaque. Overlay does not look at the roots of its layers, so whoever mounts has to leave out all that are below
    /// this one.
    pub hides_all_below: bool,
}

/// Unpacks one layer. The source is read to its end; the caller compares the digests.
///
/// # Errors
/// The source's, [`crate::Kind::Corrupt`] for what no layer may be, [`crate::Kind::Cancelled`], or what the kernel refuses. The target is
/// then half full, and the caller removes it.
pub fn unpack(source: impl Read + Send, target: Target<'_>, options: &Options<'_>) -> Result<Unpacked> {
    pipeline::unpack(source, target, options)
}

/// Whether an extended attribute of the archive goes into the layer. Overlay's own would let an image forge what overlay finds in a
/// layer (metacopy, redirect, opaque); `user.*` is for files and directories only, says the kernel.
fn attribute_is_kept(name: &[u8], kind: Type, overlay: Overlay) -> bool {
    let of_overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    if of_overlay || name.len() > 255 {
        return false;
    }
    let has_user = matches!(kind, Type::File | Type::Directory);
    if name.starts_with(b"user.") {
        return has_user;
    }
    match overlay {
        Overlay::Trusted => {
            name.starts_with(b"trusted.")
                || name.starts_with(b"security.")
                || (kind != Type::Symlink && name == b"system.posix_acl_access")
                || (kind == Type::Directory && name == b"system.posix_acl_default")
        }
        // In a user namespace others than this one are refused or belong to the host's security modules.
        Overlay::User => name == b"security.capability",
    }
}
