//! Directories on the way down: each is opened once, from the one above it.
//!
//! May not: hold more than a few of them. A tree may be deeper, and a directory have more directories in it, than a process may have
//! descriptors; what is not held is opened again from the top, with no link followed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::tree::as_path;
use sys::fs;

use super::paths;
use super::select::{Node, path_of};

/// So many are held for what is in them.
const MOST: usize = 64;

const FLAGS: i32 = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;

/// Opens directories below a top.
pub struct Opener {
    top: OwnedFd,
    held: Arc<AtomicUsize>,
}

/// An open directory.
pub enum Open<'o> {
    Top(BorrowedFd<'o>),
    Own(OwnedFd),
}

impl Open<'_> {
    pub fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Open::Top(fd) => *fd,
            Open::Own(fd) => fd.as_fd(),
        }
    }
}

/// One that stays open as long as somebody wants to go down from it.
#[derive(Debug)]
pub struct Held {
    fd: OwnedFd,
    count: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Opener {
    pub fn new(top: OwnedFd) -> Opener {
        Opener {
            top,
            held: Arc::default(),
        }
    }

    pub fn top(&self) -> sys::Result<Open<'_>> {
        Ok(Open::Top(self.top.as_fd()))
    }

    /// The directory of a node.
    pub fn child(&self, parent: Option<&Arc<Held>>, nodes: &[Node], node: usize) -> sys::Result<Open<'_>> {
        let name = nodes.get(node).map_or(b"".as_slice(), |node| &node.name);
        let above = nodes.get(node).map_or(0, |node| node.parent);
        let opened = match parent {
            Some(held) => fs::openat(held.fd.as_fd(), as_path(name), FLAGS, 0),
            None if above == 0 => fs::openat(self.top.as_fd(), as_path(name), FLAGS, 0),
            None => paths::open_far(self.top.as_fd(), &path_of(nodes, node)),
        };
        opened.map(Open::Own)
    }

    /// Holds a directory, if that is worth it and not too much.
    pub fn hold(&self, directory: Open<'_>, is_wanted: bool) -> Option<Arc<Held>> {
        match directory {
            Open::Own(fd) if is_wanted && self.held.load(Ordering::Relaxed) < MOST => {
                self.held.fetch_add(1, Ordering::Relaxed);
                let count = Arc::clone(&self.held);
                Some(Arc::new(Held { fd, count }))
            }
            _ => None,
        }
    }
}
