//! The container's root as a descriptor, and the one place where paths inside it are resolved.
//!
//! May not: hand out a path, or resolve one in any other way than below the descriptor. What the container controls
//! becomes a descriptor on first touch and stays one: between two resolutions of the same path a second container
//! that shares a volume may exchange a directory for a link (CVE-2021-30465, CVE-2024-45310).

use super::paths::{HostPath, RootPath};
use super::tree::{Staging, Way};
use crate::error::{Doing, Error, Result};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use sys::fs::{self, RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS};

/// What happens at a symbolic link on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// It is followed, never out of the root.
    Follow,
    /// It is an error (ELOOP, or ENOTDIR where a directory is asked for).
    Refuse,
}

/// Where a directory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Found,
    /// It was made just now.
    Made,
}

/// How often a path is resolved again when somebody changes it under our hands.
const RACES: usize = 16;

/// As many links as the kernel follows in one path.
const LINKS_MAX: usize = 40;

/// The container's root: the top of the mount that will be `/`.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// What the root is, to know it again.
    top: fs::Stat,
    /// Mounts that become read-only when everything in them is made.
    pub(super) late_readonly: Vec<OwnedFd>,
    /// How mounts are made here.
    pub(super) way: Way,
    /// The place where the classic way prepares a mount.
    pub(super) staging: Option<Staging>,
    /// Where the root is attached in the host's tree.
    pub(super) path: HostPath,
    /// SELinux context of file systems that are made in it.
    pub(super) label: Option<CString>,
}

impl Root {
    /// Takes the descriptor of the root's mount, which is attached at `path`.
    pub(super) fn new(fd: OwnedFd, path: &HostPath) -> sys::Result<Root> {
        let top = fs::fstat(fd.as_fd())?;
        Ok(Root {
            fd,
            top,
            late_readonly: Vec::new(),
            way: Way::Descriptors,
            staging: None,
            path: path.clone(),
            label: None,
        })
    }

    /// True for the directory that is the root itself.
    pub(super) fn is_top(&self, stat: &fs::Stat) -> bool {
        (stat.dev, stat.ino) == (self.top.dev, self.top.ino)
    }

    /// The root of an existing directory tree, for reading in a container that runs.
    pub fn at(path: &HostPath) -> Result<Root> {
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        Ok(Root::new(fs::open(path.as_path(), flags, 0)?, path)?)
    }

    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// An `O_PATH` descriptor of what is at the path.
    pub fn open_path(&self, path: &RootPath, links: Links) -> sys::Result<OwnedFd> {
        self.open(path, libc::O_PATH, links)
    }

    /// Opens an existing path with `flags`; no flag may create anything.
    pub fn open(&self, path: &RootPath, flags: i32, links: Links) -> sys::Result<OwnedFd> {
        let mut resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        if links == Links::Refuse {
            // Not with O_NOFOLLOW: beside O_PATH it would open a link as last component instead of refusing it.
            resolve |= RESOLVE_NO_SYMLINKS;
        }
        match fs::openat2(self.as_fd(), path.relative(), flags, 0, resolve) {
            Err(e) if e.is_unavailable() => self.open_by_walking(path, flags, links),
            other => other,
        }
    }

    /// The way without openat2 (a seccomp profile of an outer container, gVisor): one component at a time.
    fn open_by_walking(&self, path: &RootPath, flags: i32, links: Links) -> sys::Result<OwnedFd> {
        let walk = Walk::run(self.as_fd(), path, links)?;
        if let Some(name) = walk.missing.first() {
            return Err(sys::Error::new(
                "open",
                name.to_string_lossy(),
                sys::Errno(libc::ENOENT),
            ));
        }
        if flags & libc::O_PATH != 0 {
            if flags & libc::O_DIRECTORY != 0 && !fs::fstat(walk.at.as_fd())?.is_dir() {
                return Err(sys::Error::new(
                    "open",
                    path.to_string(),
                    sys::Errno(libc::ENOTDIR),
                ));
            }
            return Ok(walk.at);
        }
        let stat = fs::fstat(walk.at.as_fd())?;
        if stat.is_dir() {
            return fs::openat(walk.at.as_fd(), Path::new("."), flags, 0);
        }
        // Only a file is left: open its name without following and see that it is what the walk found.
        let fd = fs::openat(walk.parent(), Path::new(&walk.name), flags | libc::O_NOFOLLOW, 0)?;
        let opened = fs::fstat(fd.as_fd())?;
        if (opened.dev, opened.ino) != (stat.dev, stat.ino) {
            return Err(sys::Error::new("open", path.to_string(), sys::Errno(libc::EXDEV)));
        }
        Ok(fd)
    }

    /// The directory at the path, made with its parents (0755) when it is missing. A link whose target is missing
    /// has its target made, inside the root.
    pub fn make_dir(&self, path: &RootPath, links: Links) -> Result<OwnedFd> {
        Ok(self.find_or_make_dir(path, links)?.0)
    }

    /// The same, telling whether the directory was there.
    pub(super) fn find_or_make_dir(&self, path: &RootPath, links: Links) -> Result<(OwnedFd, Origin)> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        match self.open(path, flags, links) {
            Err(e) if e.is(libc::ENOENT) => {}
            other => return Ok((other?, Origin::Found)),
        }
        if let Some(made) = self.make_last_dir(path, links)? {
            return Ok((made, Origin::Made));
        }
        let made = self.create(path, links, |walk| {
            let mut at = walk.at;
            for name in &walk.missing {
                at = make_one_dir(at.as_fd(), name)?;
            }
            Ok(at)
        })?;
        Ok((made, Origin::Made))
    }

    /// The common case: only the last directory is missing. `None` when it is another one, or something is there.
    fn make_last_dir(&self, path: &RootPath, links: Links) -> sys::Result<Option<OwnedFd>> {
        let (parent, name) = path.split();
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let parent = match self.open(&parent, flags, links) {
            Err(e) if e.is(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        let name = Path::new(&name);
        match with_open_umask(|| fs::mkdirat(parent.as_fd(), name, 0o755)) {
            Err(e) if e.is(libc::EEXIST) => Ok(None),
            Err(e) => Err(e),
            Ok(()) => match fs::openat(parent.as_fd(), name, flags | libc::O_NOFOLLOW, 0) {
                // Exchanged for something else already: the careful way judges it.
                Err(e) if e.is(libc::ENOTDIR) || e.is(libc::ENOENT) => Ok(None),
                other => other.map(Some),
            },
        }
    }

    /// What is at the path, or a new empty file (0644) with its parent directories.
    pub fn make_file(&self, path: &RootPath, links: Links) -> Result<OwnedFd> {
        match self.open_path(path, links) {
            Err(e) if e.is(libc::ENOENT) => {}
            other => return Ok(other?),
        }
        self.create(path, links, |walk| {
            let Some((last, dirs)) = walk.missing.split_last() else {
                return Ok(walk.at);
            };
            let mut at = walk.at;
            for name in dirs {
                at = make_one_dir(at.as_fd(), name)?;
            }
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_WRONLY;
            with_open_umask(|| fs::openat(at.as_fd(), Path::new(last), flags, 0o644))
        })
    }

    /// Resolves as far as the path exists and lets `make` do the rest; again when somebody was faster.
    fn create(
        &self,
        path: &RootPath,
        links: Links,
        mut make: impl FnMut(Walk) -> sys::Result<OwnedFd>,
    ) -> Result<OwnedFd> {
        let mut last = None;
        for _ in 0..RACES {
            let walk = Walk::run(self.as_fd(), path, links)?;
            match make(walk) {
                Err(e) if e.is(libc::EEXIST) || e.is(libc::ENOENT) || e.is(libc::ELOOP) => last = Some(e),
                other => return Ok(other?),
            }
        }
        match last {
            Some(e) => Err(e).doing(|| format!("create {path}: it changes all the time")),
            None => Err(Error::new(format!("create {path}"))),
        }
    }

    /// `mkdir -p` of the working directory with mode 0755.
    pub fn create_cwd(&self, cwd: &RootPath) -> Result<()> {
        self.make_dir(cwd, Links::Follow)
            .map(drop)
            .map_err(|e| e.doing(format!("mkdir {cwd}")))
    }

    /// Reads a regular file of the container (`/etc/passwd`), at most `limit` bytes; longer is an error. `None`
    /// when it does not exist.
    pub fn read(&self, path: &RootPath, limit: usize) -> Result<Option<Vec<u8>>> {
        // O_NONBLOCK: a fifo would keep us waiting for a writer.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
        let fd = match self.open(path, flags, Links::Follow) {
            Ok(fd) => fd,
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let stat = fs::fstat(fd.as_fd())?;
        if stat.file_type() != libc::S_IFREG {
            return Err(Error::new(format!("{path} is not a regular file")));
        }
        let data = fs::read_all(fd.as_fd(), limit.saturating_add(1))?;
        if data.len() > limit {
            return Err(Error::new(format!("{path} is longer than {limit} bytes")));
        }
        Ok(Some(data))
    }
}

/// Reads a file inside the tree below `root`; see [`Root::read`].
pub fn read_in_root(root: &Root, path: &str, limit: usize) -> Result<Option<Vec<u8>>> {
    let path = RootPath::new(path).map_err(Error::new)?;
    root.read(&path, limit)
}

/// Runs `make` with an umask of zero: the modes that the specification gives are not for the caller to thin out.
pub(super) fn with_open_umask<T>(make: impl FnOnce() -> T) -> T {
    let old = fs::umask(0);
    let made = make();
    fs::umask(old);
    made
}

/// Makes a directory, or takes the one that is there; never a link.
fn make_one_dir(parent: BorrowedFd<'_>, name: &OsStr) -> sys::Result<OwnedFd> {
    let name = Path::new(name);
    match with_open_umask(|| fs::mkdirat(parent, name, 0o755)) {
        Err(e) if !e.is(libc::EEXIST) => return Err(e),
        _ => {}
    }
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    fs::openat(parent, name, flags, 0).map_err(|e| {
        // A link where we have just made a directory: somebody plays with us. ELOOP means "resolve again".
        if e.is(libc::ENOTDIR) {
            sys::Error::new("open", name.display().to_string(), sys::Errno(libc::ELOOP))
        } else {
            e
        }
    })
}

/// A resolution in user space: every component is opened without following, links are expanded by hand, and `..`
/// goes back over descriptors that were walked before, so that it cannot leave the root whatever is renamed.
struct Walk {
    /// The last thing that exists.
    at: OwnedFd,
    /// The directories above it, from the root down.
    above: Vec<OwnedFd>,
    /// A copy of the root.
    root: OwnedFd,
    /// The name of `at` in its parent.
    name: OsString,
    /// What does not exist yet.
    missing: Vec<OsString>,
}

impl Walk {
    fn run(root: BorrowedFd<'_>, path: &RootPath, links: Links) -> sys::Result<Walk> {
        let mut walk = Walk::start(root)?;
        let mut todo: Vec<OsString> = reversed(path.relative());
        let mut links_seen = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                walk.up(root)?;
            } else if !walk.missing.is_empty() {
                walk.missing.push(name);
            } else if let Some(target) = walk.enter(name)? {
                links_seen += 1;
                if links == Links::Refuse || links_seen > LINKS_MAX {
                    return Err(sys::Error::new("open", path.to_string(), sys::Errno(libc::ELOOP)));
                }
                if target.is_absolute() {
                    walk = Walk::start(root)?;
                }
                todo.extend(reversed(&target));
            }
        }
        Ok(walk)
    }

    fn start(root: BorrowedFd<'_>) -> sys::Result<Walk> {
        Ok(Walk {
            at: fs::dup_above(root, 3)?,
            above: Vec::new(),
            root: fs::dup_above(root, 3)?,
            name: OsString::new(),
            missing: Vec::new(),
        })
    }

    fn parent(&self) -> BorrowedFd<'_> {
        self.above.last().unwrap_or(&self.root).as_fd()
    }

    fn up(&mut self, root: BorrowedFd<'_>) -> sys::Result<()> {
        if self.missing.pop().is_some() {
            return Ok(());
        }
        if !fs::fstat(self.at.as_fd())?.is_dir() {
            return Err(sys::Error::new("open", "..", sys::Errno(libc::ENOTDIR)));
        }
        self.at = match self.above.pop() {
            Some(fd) => fd,
            None => fs::dup_above(root, 3)?,
        };
        Ok(())
    }

    /// Goes one component down. `Some` is the target of a link, which is not entered.
    fn enter(&mut self, name: OsString) -> sys::Result<Option<std::path::PathBuf>> {
        let fd = match fs::openat(
            self.at.as_fd(),
            Path::new(&name),
            libc::O_PATH | libc::O_NOFOLLOW,
            0,
        ) {
            Ok(fd) => fd,
            Err(e) if e.is(libc::ENOENT) => {
                self.missing.push(name);
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        if fs::fstat(fd.as_fd())?.is_symlink() {
            return fs::readlinkat(fd.as_fd(), Path::new("")).map(Some);
        }
        let old = std::mem::replace(&mut self.at, fd);
        self.above.push(old);
        self.name = name;
        Ok(None)
    }
}

/// The components, last first, ready to be popped.
fn reversed(path: &Path) -> Vec<OsString> {
    path.components()
        .rev()
        .filter_map(|c| match c {
            Component::Normal(name) => Some(name.to_os_string()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of its own, removed at the end.
    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let dir = std::env::temp_dir().join(format!("runb-root-{name}-{}", std::process::id()));
            std::fs::create_dir_all(dir.join("in")).unwrap();
            std::fs::create_dir_all(dir.join("out")).unwrap();
            Scratch(dir)
        }
        fn root(&self) -> Root {
            Root::at(&HostPath::of(&self.0.join("in")).unwrap()).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// What a racing container leaves where a directory is about to be made.
    #[test]
    fn a_link_is_never_taken_for_the_directory_just_made() {
        let scratch = Scratch::new("link");
        std::os::unix::fs::symlink("../out", scratch.0.join("in/x")).unwrap();
        let e = make_one_dir(scratch.root().as_fd(), OsStr::new("x")).unwrap_err();
        assert!(e.is(libc::ELOOP), "{e}");
    }

    /// Both ways of resolving give the same file or the same error.
    #[test]
    fn the_walker_agrees_with_the_kernel() {
        let scratch = Scratch::new("walk");
        let dir = scratch.0.join("in");
        std::fs::create_dir_all(dir.join("a/b/c")).unwrap();
        std::fs::write(dir.join("a/file"), "").unwrap();
        for (name, target) in [
            ("abs", "/a/b"),
            ("rel", "a/b/../b"),
            ("up", "../../../a"),
            ("out", "/../../out"),
            ("loop", "loop"),
            ("dangling", "a/none"),
            ("a/b/back", "../.."),
            ("a/b/self", "."),
            ("file-up", "a/file/.."),
            ("long", "a/b/back/a/b/back/a/b/back/a/b/back/abs"),
        ] {
            std::os::unix::fs::symlink(target, dir.join(name)).unwrap();
        }
        let root = scratch.root();
        for path in [
            "/",
            "/a",
            "/a/b/c",
            "/a/file",
            "/a/file/x",
            "/abs",
            "/abs/c",
            "/rel/c",
            "/up/b",
            "/out",
            "/loop",
            "/dangling",
            "/a/b/back",
            "/a/b/back/a/file",
            "/a/b/self/c",
            "/none",
            "/none/x",
            "/file-up",
            "/long",
            "/long/c",
            "/a/b/back/up",
        ] {
            let path = RootPath::new(path).unwrap();
            for links in [Links::Follow, Links::Refuse] {
                for flags in [libc::O_PATH, libc::O_PATH | libc::O_DIRECTORY, libc::O_RDONLY] {
                    let by_kernel = root
                        .open(&path, flags, links)
                        .map(|f| ino(&f))
                        .map_err(|e| e.errno());
                    let by_walk = root
                        .open_by_walking(&path, flags, links)
                        .map(|f| ino(&f))
                        .map_err(|e| e.errno());
                    assert_eq!(by_kernel, by_walk, "{path} {links:?} {flags:#x}");
                }
            }
        }
    }

    fn ino(fd: &OwnedFd) -> (u64, u64) {
        let stat = fs::fstat(fd.as_fd()).unwrap();
        (stat.dev, stat.ino)
    }
}
