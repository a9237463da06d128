//! Layers that containers have in common are mounted once.
//!
//! Two mounts of one EROFS image know nothing of each other: each has its own copy in memory of every page that is read (Linux 6.18). A
//! second mount of the same superblock shares them, and costs a tenth. So a monitor keeps a mount of each layer open, without a place, and
//! `RUN/layers/KEY/CONTAINER`, a link, says where: the next container opens it by way of /proc/PID/fd and makes a mount of its own of it,
//! which its monitor keeps. The last one who has it takes it along: nothing is counted, and a kill leaves nothing but the word, which is
//! looked at before it is believed, and goes when it is not true (decision 21).
//!
//! Nothing depends on it: what is not there, or is not what it says, is mounted anew.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use image::Result;
use image::mount::{Layer, OpenLayer};
use monitor::client::HANDED;
use monitor::state::Process;
use sys::mount::Reach;

/// More are mounted as before: each takes a descriptor of its monitor.
const MOST: usize = 128;

/// The layers of a root, those that are images mounted.
pub struct Opened {
    layers: Vec<Layer>,
    /// Whether somebody's was found, in the order of those that are mounted.
    found: Vec<bool>,
}

impl Opened {
    /// Opens them: as somebody else has them, or anew. Where the kernel makes no second mount of what has no place (before Linux 6.15),
    /// they stay as they are.
    ///
    /// # Errors
    /// One cannot be mounted.
    pub fn of(run: &Path, layers: Vec<Layer>) -> Result<Opened> {
        let mut opened = Opened {
            layers: Vec::with_capacity(layers.len()),
            found: Vec::new(),
        };
        if layers.len() > MOST {
            opened.layers = layers;
            return Ok(opened);
        }
        for layer in &layers {
            let Layer::Erofs(file) = layer else {
                opened.layers.push(layer.clone());
                continue;
            };
            let found = place(run, file).and_then(|all| find(&all, file));
            opened.found.push(found.is_some());
            let open = match found {
                Some(tree) => OpenLayer::of(file, tree),
                None => OpenLayer::mount(file)?,
            };
            if opened.found == [false] && second(open.tree()).is_none() {
                opened.found.clear();
                opened.layers = layers;
                return Ok(opened);
            }
            opened.layers.push(Layer::Open(open));
        }
        Ok(opened)
    }

    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    fn open(&self) -> impl Iterator<Item = &OpenLayer> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Open(open) => Some(open),
            _ => None,
        })
    }

    /// What the monitor is handed, and keeps.
    pub fn kept(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open().map(OpenLayer::tree)
    }

    /// Says that the monitor of this container keeps them; `before` descriptors were handed to it before them. A container that is there for
    /// a moment says so only of what nobody else has.
    pub fn publish(&self, run: &Path, container: &str, monitor: i32, before: usize, is_passing: bool) {
        let Some(monitor) = Process::of(monitor) else {
            return;
        };
        for (index, (open, found)) in self.open().zip(&self.found).enumerate() {
            if is_passing && *found {
                continue;
            }
            let fd = before + index + HANDED as usize;
            // Whoever does not find it mounts it anew.
            let _ = publish(run, container, open, &monitor, fd);
        }
    }
}

fn publish(run: &Path, container: &str, open: &OpenLayer, monitor: &Process, fd: usize) -> Option<()> {
    let all = place(run, open.file())?;
    let word = Word {
        pid: monitor.pid,
        start: monitor.start,
        fd,
        device: sys::fs::fstat(open.tree()).ok()?.dev,
        file: Stamp::of(open.file())?,
    };
    let own = all.join(container);
    let make = || symlink(word.text(), &own);
    make()
        .or_else(|_| {
            fs::create_dir_all(&all)?;
            // Of its life before.
            let _ = fs::remove_file(&own);
            make()
        })
        .ok()
}

/// Where it is said who has an image. Its directory has the name of the layer.
fn place(run: &Path, file: &Path) -> Option<PathBuf> {
    Some(monitor::place::layers(run).join(file.parent()?.file_name()?))
}

/// A mount of our own of what somebody has. What is not true any more is taken away.
fn find(all: &Path, file: &Path) -> Option<OwnedFd> {
    let stamp = Stamp::of(file)?;
    fs::read_dir(all).ok()?.flatten().find_map(|entry| {
        let said = entry.path();
        let found = follow(&said, &stamp);
        if found.is_none() {
            let _ = fs::remove_file(&said);
        }
        found
    })
}

fn follow(said: &Path, file: &Stamp) -> Option<OwnedFd> {
    let word = Word::parse(fs::read_link(said).ok()?.to_str()?)?;
    // The image may have been made once more since.
    if *file != word.file {
        return None;
    }
    let path = PathBuf::from(format!("/proc/{}/fd/{}", word.pid, word.fd));
    let theirs = sys::fs::open(&path, libc::O_RDONLY | libc::O_DIRECTORY, 0).ok()?;
    // Looked at after it was opened: the process and the descriptor may be others by now.
    let owner = Process::of(word.pid)?;
    let is_it = owner.start == word.start
        && sys::fs::fs_magic(theirs.as_fd()).ok()? == EROFS
        && sys::fs::fstat(theirs.as_fd()).ok()?.dev == word.device;
    if is_it { second(theirs.as_fd()) } else { None }
}

/// EROFS_SUPER_MAGIC_V1 of linux/magic.h.
const EROFS: i64 = 0xe0f5_e1e2;

fn second(tree: BorrowedFd<'_>) -> Option<OwnedFd> {
    sys::mount::clone_tree(tree, Reach::Single).ok()
}

/// What no other file shares with one, and no other state of it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: i64,
}

impl Stamp {
    fn of(file: &Path) -> Option<Stamp> {
        use std::os::unix::fs::MetadataExt as _;
        let found = fs::symlink_metadata(file).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            changed: found
                .ctime()
                .wrapping_mul(1_000_000_000)
                .wrapping_add(found.ctime_nsec()),
        })
    }
}

/// What the link says: numbers with colons between them.
#[derive(Debug, PartialEq, Eq)]
struct Word {
    pid: i32,
    start: u64,
    fd: usize,
    /// Of the mounted file system.
    device: u64,
    file: Stamp,
}

impl Word {
    fn text(&self) -> String {
        let Stamp {
            device,
            inode,
            size,
            changed,
        } = self.file;
        format!(
            "{}:{}:{}:{}:{device}:{inode}:{size}:{changed}",
            self.pid, self.start, self.fd, self.device
        )
    }

    fn parse(text: &str) -> Option<Word> {
        let mut numbers = text.split(':');
        let mut next = || numbers.next();
        Some(Word {
            pid: next()?.parse().ok()?,
            start: next()?.parse().ok()?,
            fd: next()?.parse().ok()?,
            device: next()?.parse().ok()?,
            file: Stamp {
                device: next()?.parse().ok()?,
                inode: next()?.parse().ok()?,
                size: next()?.parse().ok()?,
                changed: next()?.parse().ok()?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn word(file: &Path) -> Word {
        Word {
            pid: i32::MAX,
            start: 7,
            fd: 4,
            device: 67,
            file: Stamp::of(file).unwrap(),
        }
    }

    #[test]
    fn a_word_is_read_as_it_was_written() {
        let word = word(Path::new("/proc/self/exe"));
        assert_eq!(Word::parse(&word.text()), Some(word));
        for wrong in [
            "",
            "1:2:3",
            "a:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:",
            "-1:-2:3:4:5:6:7:8",
        ] {
            assert_eq!(Word::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_not_true_goes() {
        let all = std::env::temp_dir().join(format!("engine-layers-{}", std::process::id()));
        fs::create_dir_all(&all).unwrap();
        let file = all.join("image");
        fs::write(&file, "").unwrap();
        let said = all.join("said");
        fs::create_dir(&said).unwrap();
        // Of a process that there is not; of another state of the file; no word at all; no link.
        symlink(word(&file).text(), said.join("dead")).unwrap();
        symlink(word(Path::new("/proc/self/exe")).text(), said.join("other")).unwrap();
        symlink("nonsense", said.join("nonsense")).unwrap();
        fs::write(said.join("file"), "").unwrap();
        // Of one that there is, which has something else there.
        let me = Process::of(std::process::id() as i32).unwrap();
        let open = fs::File::open(&all).unwrap();
        let mine = Word {
            pid: me.pid,
            start: me.start,
            fd: std::os::fd::AsRawFd::as_raw_fd(&open) as usize,
            device: sys::fs::fstat(open.as_fd()).unwrap().dev,
            file: Stamp::of(&file).unwrap(),
        };
        symlink(mine.text(), said.join("mine")).unwrap();
        assert!(find(&said, &file).is_none());
        assert_eq!(fs::read_dir(&said).unwrap().count(), 0);
        fs::remove_dir_all(all).unwrap();
    }
}
