//! Files on their way into a stage: which ones COPY and ADD mean, what they are for the cache, and how they get there.
//!
//! ```text
//! Tree --select (names, wildcards, ignore files)--> Selected --digest--> the key of the step
//!                                                            --put-----> the root of a stage
//! ```
//!
//! Everything is looked at once, by [`Tree::select`]; what it has found is a list that the digest and the copy are made of. So nobody
//! asks an ignore file twice, and a file that changes in between is noticed ([`Selected::has_changed`]).
//!
//! May not: follow a link of a tree or of a root out of it. Both may be somebody's who wants just that: paths are resolved here, one
//! component after the other, and opened with no link followed.

mod copy;
mod descent;
mod destination;
mod digest;
pub mod download;
mod memory;
mod owner;
pub(crate) mod paths;
mod select;
pub mod unpack;

#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use build::ignore::Matcher;
use build::scope::File;
use build::values::mode::Mode;
use image::registry::Cancel;
use image::{Context, Digest, Result};

use memory::Memory;

pub use owner::{Owner, owner};
pub use select::{Selected, Selection};

/// Something that files are taken from.
pub struct Tree {
    /// As errors name it.
    name: String,
    from: From,
    memory: Option<Memory>,
}

enum From {
    Directory {
        root: OwnedFd,
        ignore: Option<Arc<Matcher>>,
        /// Whose its files are is nobody's business: they come from the machine of whoever builds.
        is_foreign: bool,
    },
    /// Files that stand in the Dockerfile.
    Inline(Vec<File>),
}

impl Tree {
    /// A context: its files will be root's, and what the ignore file names is not there.
    pub fn local(root: OwnedFd, ignore: Option<Arc<Matcher>>) -> Tree {
        Tree {
            name: "context".to_owned(),
            from: From::Directory {
                root,
                ignore,
                is_foreign: true,
            },
            memory: None,
        }
    }

    /// A stage or an image, with everything as it is.
    pub fn of_root(root: OwnedFd) -> Tree {
        Tree {
            name: "stage".to_owned(),
            from: From::Directory {
                root,
                ignore: None,
                is_foreign: false,
            },
            memory: None,
        }
    }

    /// Heredocs. [`Tree::select`] selects all of them, whatever it is asked for.
    pub fn inline(files: &[File]) -> Tree {
        Tree {
            name: "inline".to_owned(),
            from: From::Inline(files.to_vec()),
            memory: None,
        }
    }

    /// The same, with another name in errors.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Tree {
        Tree {
            name: name.into(),
            ..self
        }
    }

    /// What its files come to is remembered in a file.
    #[must_use]
    pub fn remembering(self, memory: PathBuf) -> Tree {
        Tree {
            memory: Some(Memory::at(memory)),
            ..self
        }
    }

    /// As errors name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory, if it has one.
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        match &self.from {
            From::Directory { root, .. } => Some(root.as_fd()),
            From::Inline(_) => None,
        }
    }

    /// What a COPY or ADD means.
    ///
    /// # Errors
    /// A source is not there: [`image::Kind::NotFound`], in BuildKit's words. Or something cannot be read.
    pub fn select(&self, selection: &Selection<'_>, cancel: &Cancel) -> Result<Selected> {
        match &self.from {
            From::Inline(files) => Ok(Selected::inline(files)),
            From::Directory {
                root,
                ignore,
                is_foreign,
            } => {
                let finder = select::Finder {
                    root: root.as_fd(),
                    ignore: ignore.as_deref(),
                    is_foreign: *is_foreign,
                    cancel,
                };
                finder.select(selection).context(format!(
                    "failed to compute cache key: failed to calculate checksum of ref {}",
                    self.name
                ))
            }
        }
    }

    /// What the cache knows selected files by.
    ///
    /// # Errors
    /// One cannot be read any more, or is something else now.
    pub fn digest(&self, selected: &Selected, cancel: &Cancel) -> Result<Digest> {
        digest::of(self.root(), selected, self.memory.as_ref(), cancel)
    }
}

/// Where files go, and what becomes of them on the way.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'p> {
    /// Absolute and clean. A slash at its end says that it is a directory.
    pub destination: &'p str,
    /// None: as the tree says. Of directories that have to be made it is root then.
    pub owner: Option<(u32, u32)>,
    pub mode: Option<&'p Mode>,
    /// Archives among the files are unpacked.
    pub unpack: bool,
    /// Links on the way to the destination are followed; if not, they make room.
    pub follow: bool,
}

/// Puts what was selected into a root.
///
/// # Errors
/// It cannot be written; something else is in the way; a file has vanished since it was selected.
pub fn put(
    tree: &Tree,
    selected: &Selected,
    root: BorrowedFd<'_>,
    placement: &Placement<'_>,
    cancel: &Cancel,
) -> Result<()> {
    destination::put(tree, selected, root, placement, cancel)
}

/// Makes a directory in a root, and those above it, where they are not there: mode 0755, of this user and group.
///
/// # Errors
/// Something else is in the way, or it cannot be made.
pub fn make_directory(root: BorrowedFd<'_>, path: &str, owner: (u32, u32)) -> Result<()> {
    destination::make_directory(root, path, owner)
}

/// Puts what was selected into a directory of ours.
///
/// # Errors
/// As [`put`].
pub fn put_into(
    tree: &Tree,
    selected: &Selected,
    directory: &std::path::Path,
    cancel: &Cancel,
) -> Result<()> {
    let root = sys::fs::open(directory, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    let placement = Placement {
        destination: "/",
        owner: None,
        mode: None,
        unpack: false,
        follow: false,
    };
    put(tree, selected, root.as_fd(), &placement, cancel)
}
