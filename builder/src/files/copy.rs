//! Copying what was selected, from descriptor to descriptor, by as many threads as there are processors.
//!
//! A directory is one piece of work: its files are copied, the directories in it are made, then it gets its own mode, owner and times,
//! which nothing changes any more. What is in the directories is work for whoever is free.
//!
//! May not: follow a link, sync anything, or open what is no regular file.

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZero;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use build::values::mode::Mode;
use engine::tree::place::{Owners, Placer};
use engine::tree::walk::{self, Attributes};
use engine::tree::{Contents, Sink as _, as_path, give};
use image::bytes::Bytes;
use image::registry::Cancel;
use image::{Error, Kind, Result};
use sys::fs::{self, Dated};
use sys::xattr::Time;

use super::destination::is_same;
use super::paths;
use super::select::{Node, Selected, path_of};

/// Files of one directory that are one piece of work.
const CHUNK: usize = 128;

/// Smaller work is not worth a thread.
const FEW: usize = 64;

const MOST_THREADS: usize = 4;

/// Pairs of directories that are open for what is below them.
const HELD: usize = 64;

/// Smaller files go through our memory: that is fewer calls than to ask for blocks to share and for holes.
const SMALL: u64 = 128 << 10;

/// How often a name may be taken by somebody else between our removal of what was there and our making.
const TRIES: u32 = 64;

/// Whose files become, and with which mode.
pub(super) struct Dress<'d> {
    /// None: as the source says.
    pub owner: Option<(u32, u32)>,
    pub mode: Option<&'d Mode>,
}

impl Dress<'_> {
    fn owner(&self, found: &Dated) -> (u32, u32) {
        self.owner.unwrap_or((found.stat.uid, found.stat.gid))
    }

    fn mode(&self, mode: u32, is_dir: bool) -> u32 {
        let mode = mode & 0o7777;
        self.mode.map_or(mode, |change| change.apply(mode, is_dir))
    }
}

/// A tree to be copied.
pub(super) struct Work<'w> {
    pub nodes: &'w [Node],
    pub dress: &'w Dress<'w>,
    pub selected: &'w Selected,
    pub cancel: &'w Cancel,
    /// The destination, for errors.
    pub shown: &'w str,
}

/// What is in a directory goes into another one, which gets the times of the first.
pub(super) fn directory(from: OwnedFd, to: OwnedFd, work: &Work<'_>) -> Result<()> {
    let top = Pair {
        gives_group: fs::fstat(to.as_fd())?.mode & libc::S_ISGID != 0,
        from,
        to,
        node: 0,
        pending: AtomicUsize::new(1),
        held: None,
    };
    let crew = Crew {
        work,
        top: Arc::new(top),
        held: Arc::default(),
        links: Mutex::default(),
        plan: Mutex::new(Plan {
            tasks: vec![Task::Top],
            ..Plan::default()
        }),
        changed: Condvar::new(),
        ids: sys::process::effective_ids(),
    };
    crew.everything()?;
    let times = work.nodes.first().map(|top| top.found.mtime);
    match times {
        Some(mtime) => Ok(sys::xattr::futimens(crew.top.to.as_fd(), mtime)?),
        None => Ok(()),
    }
}

/// One file of any kind but a directory.
pub(super) fn single(
    from: BorrowedFd<'_>,
    name: &[u8],
    found: &Dated,
    to: (BorrowedFd<'_>, &[u8]),
    dress: &Dress<'_>,
    selected: &Selected,
) -> Result<()> {
    let mut hands = Hands::default();
    let one = One {
        from,
        name,
        found,
        to: to.0,
        as_name: to.1,
        must_own: true,
    };
    match found.stat.file_type() {
        libc::S_IFREG => hands.file(&one, dress, selected),
        _ => special(&one, dress, selected),
    }
}

/// A file that is nowhere but in our memory.
pub(super) fn inline(
    to: (BorrowedFd<'_>, &[u8]),
    bytes: &[u8],
    mode: u32,
    mtime: Time,
    dress: &Dress<'_>,
) -> Result<()> {
    let file = create(to.0, to.1)?;
    file.write_all_at(bytes, 0)?;
    let (uid, gid) = dress.owner.unwrap_or((0, 0));
    give(file.as_fd(), Path::new(""), uid, gid)?;
    fs::fchmod(file.as_fd(), dress.mode(mode, false))?;
    Ok(sys::xattr::futimens(file.as_fd(), mtime)?)
}

/// A directory and what it becomes.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
    node: usize,
    /// Files made in it get its group.
    gives_group: bool,
    /// Pieces of work that still change it.
    pending: AtomicUsize,
    /// Counts those that are open; not the top, which always is.
    held: Option<Arc<AtomicUsize>>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(held) = &self.held {
            held.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

enum Task {
    Top,
    /// A directory that is made, in one that is open or not.
    Directory {
        node: usize,
        above: Option<Arc<Pair>>,
    },
    Files {
        pair: Arc<Pair>,
        nodes: Range<usize>,
    },
}

#[derive(Default)]
struct Plan {
    tasks: Vec<Task>,
    active: usize,
    failed: Option<Error>,
}

struct Crew<'c> {
    work: &'c Work<'c>,
    top: Arc<Pair>,
    /// How many pairs are open.
    held: Arc<AtomicUsize>,
    /// The first name of a file that has several. Locked as long as such a file is copied.
    links: Mutex<HashMap<(u64, u64), usize>>,
    plan: Mutex<Plan>,
    changed: Condvar,
    ids: (u32, u32),
}

impl Crew<'_> {
    fn everything(&self) -> Result<()> {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = match self.work.nodes.len() {
            0..FEW => 1,
            _ => processors.min(MOST_THREADS),
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.failed.take().map_or(Ok(()), Err)
    }

    fn work(&self) {
        let mut hands = Hands::default();
        while let Some(task) = self.next() {
            let done = self
                .work
                .cancel
                .check()
                .and_then(|()| self.perform(&mut hands, task));
            let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
            plan.active -= 1;
            if let Err(e) = done {
                plan.tasks.clear();
                plan.failed.get_or_insert(e);
            }
            if plan.tasks.is_empty() && plan.active == 0 {
                self.changed.notify_all();
            }
        }
    }

    /// The next task; `None` when there will be none.
    fn next(&self) -> Option<Task> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if plan.failed.is_some() {
                return None;
            }
            if let Some(task) = plan.tasks.pop() {
                plan.active += 1;
                return Some(task);
            }
            if plan.active == 0 {
                return None;
            }
            plan = self.changed.wait(plan).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, tasks: Vec<Task>) {
        if tasks.is_empty() {
            return;
        }
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        // The last one is the next: by name, and deep before wide, so that few directories are open.
        plan.tasks.extend(tasks.into_iter().rev());
        drop(plan);
        self.changed.notify_all();
    }

    fn perform(&self, hands: &mut Hands, task: Task) -> Result<()> {
        match task {
            Task::Top => self.directory(hands, &Arc::clone(&self.top)),
            Task::Directory { node, above } => {
                let pair = self.open(node, above.as_deref());
                let pair = pair.map_err(|e| e.context(format!("failed to open {}", self.shown(node))))?;
                self.directory(hands, &Arc::new(pair))
            }
            Task::Files { pair, nodes } => {
                for node in nodes {
                    self.file(hands, &pair, node)?;
                }
                self.release(&pair)
            }
        }
    }

    fn shown(&self, node: usize) -> String {
        let path = path_of(self.work.nodes, node);
        let below = String::from_utf8_lossy(&path.join(&b'/')).into_owned();
        format!("{}/{below}", self.work.shown.trim_end_matches('/'))
    }

    fn open(&self, at: usize, above: Option<&Pair>) -> Result<Pair> {
        let node = &self.work.nodes[at];
        let open = |fd: &OwnedFd| {
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            fs::openat(fd.as_fd(), as_path(&node.name), flags, 0)
        };
        let (from, to) = match above {
            Some(pair) => (open(&pair.from)?, open(&pair.to)?),
            None => {
                let path = path_of(self.work.nodes, at);
                (
                    paths::open_far(self.top.from.as_fd(), &path)?,
                    paths::open_far(self.top.to.as_fd(), &path)?,
                )
            }
        };
        let gives_group = fs::fstat(to.as_fd())?.mode & libc::S_ISGID != 0;
        self.held.fetch_add(1, Ordering::Relaxed);
        Ok(Pair {
            gives_group,
            from,
            to,
            node: at,
            pending: AtomicUsize::new(1),
            held: Some(Arc::clone(&self.held)),
        })
    }

    fn directory(&self, hands: &mut Hands, pair: &Arc<Pair>) -> Result<()> {
        let nodes = self.work.nodes;
        let children = nodes[pair.node].children();
        let mut deeper = Vec::new();
        let is_held = self.held.load(Ordering::Relaxed) < HELD;
        for node in children.clone().filter(|node| nodes[*node].is_dir()) {
            make_directory(pair.to.as_fd(), &nodes[node].name).map_err(|e| self.in_the_way(e, node))?;
            deeper.push(Task::Directory {
                node,
                above: (is_held || pair.node == 0).then(|| Arc::clone(pair)),
            });
        }
        let files = children.len() - deeper.len();
        let mut tasks = Vec::new();
        if files > CHUNK {
            let mut at = children.start;
            while at < children.end {
                let until = (at + CHUNK).min(children.end);
                pair.pending.fetch_add(1, Ordering::Relaxed);
                let pair = Arc::clone(pair);
                tasks.push(Task::Files {
                    pair,
                    nodes: at..until,
                });
                at = until;
            }
            tasks.extend(deeper);
            self.add(tasks);
        } else {
            self.add(deeper);
            for node in children {
                self.file(hands, pair, node)?;
            }
        }
        self.release(pair)
    }

    fn in_the_way(&self, e: sys::Error, node: usize) -> Error {
        match e.is(libc::ENOTDIR) {
            true => Error::invalid(format!("cannot copy to non-directory: {}", self.shown(node))),
            false => Error::from(e).context(format!("failed to make {}", self.shown(node))),
        }
    }

    /// The last one who has changed a directory gives it what it should have.
    fn release(&self, pair: &Pair) -> Result<()> {
        if pair.pending.fetch_sub(1, Ordering::AcqRel) != 1 || pair.node == 0 {
            return Ok(());
        }
        let node = &self.work.nodes[pair.node];
        let (from, to) = (pair.from.as_fd(), pair.to.as_fd());
        let dress = || -> Result<()> {
            let (uid, gid) = self.work.dress.owner(&node.found);
            give(to, Path::new(""), uid, gid)?;
            fs::fchmod(to, self.work.dress.mode(node.found.stat.mode, true))?;
            copy_attributes(from, to)?;
            Ok(sys::xattr::futimens(to, node.found.mtime)?)
        };
        dress().map_err(|e| e.context(format!("failed to finish {}", self.shown(pair.node))))
    }

    fn file(&self, hands: &mut Hands, pair: &Pair, at: usize) -> Result<()> {
        let node = &self.work.nodes[at];
        if node.is_dir() {
            return Ok(());
        }
        let one = One {
            from: pair.from.as_fd(),
            name: &node.name,
            found: &node.found,
            to: pair.to.as_fd(),
            as_name: &node.name,
            must_own: pair.gives_group || self.work.dress.owner(&node.found) != self.ids,
        };
        let (dress, selected) = (self.work.dress, self.work.selected);
        let done = match node.found.stat.file_type() {
            libc::S_IFREG if node.found.stat.nlink > 1 => self.linked(hands, &one, at),
            libc::S_IFREG => hands.file(&one, dress, selected),
            _ => special(&one, dress, selected),
        };
        done.map_err(|e| failed(e, &self.shown(at)))
    }

    /// A file that may have been copied by another name.
    fn linked(&self, hands: &mut Hands, one: &One<'_>, at: usize) -> Result<()> {
        let identity = (one.found.stat.dev, one.found.stat.ino);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = links.get(&identity) else {
            hands.file(one, self.work.dress, self.work.selected)?;
            links.insert(identity, at);
            return Ok(());
        };
        let mut path = path_of(self.work.nodes, *first);
        let name = path.pop().unwrap_or_default();
        let directory = paths::open_far(self.top.to.as_fd(), &path)?;
        replace(one.to, as_path(one.as_name), || {
            fs::linkat(directory.as_fd(), as_path(&name), one.to, as_path(one.as_name), 0)
        })
    }
}

/// One file and its new place.
struct One<'o> {
    from: BorrowedFd<'o>,
    name: &'o [u8],
    found: &'o Dated,
    to: BorrowedFd<'o>,
    as_name: &'o [u8],
    /// What we make is not theirs already.
    must_own: bool,
}

/// What a thread keeps from file to file.
#[derive(Default)]
struct Hands {
    bytes: Bytes,
    buffer: Vec<u8>,
}

impl Hands {
    fn file(&mut self, one: &One<'_>, dress: &Dress<'_>, selected: &Selected) -> Result<()> {
        let from = open_file(one.from, one.name, one.found)?.ok_or_else(replaced)?;
        let stat = fs::fstat(from.as_fd())?;
        let to = create(one.to, one.as_name)?;
        match stat.size {
            0..=SMALL => self.small(&from, &to)?,
            size => self.bytes.copy(from.as_fd(), to.as_fd(), size)?,
        }
        if one.must_own {
            let (uid, gid) = dress.owner(one.found);
            give(to.as_fd(), Path::new(""), uid, gid)?;
        }
        // chown(2) takes set-id bits and security.capability away, so they come after it.
        fs::fchmod(to.as_fd(), dress.mode(stat.mode, false))?;
        copy_attributes(from.as_fd(), to.as_fd())?;
        let now = fs::dated(from.as_fd(), Path::new(""), libc::AT_EMPTY_PATH)?;
        if !is_same(&now, one.found) {
            selected.change();
        }
        Ok(sys::xattr::futimens(to.as_fd(), now.mtime)?)
    }

    /// To the end, wherever that is by now; one that is written to all the time has no end, so there is a limit.
    fn small(&mut self, from: &File, to: &File) -> Result<()> {
        self.buffer.resize(SMALL as usize + 1, 0);
        let mut at = 0;
        while at <= SMALL {
            let n = fs::read_at(from.as_fd(), &mut self.buffer, at as i64)?;
            to.write_all_at(&self.buffer[..n], at)?;
            at += n as u64;
            if n < self.buffer.len() {
                break;
            }
        }
        Ok(())
    }
}

/// A file that was one when it was looked at; `None` if it was none. What has become a FIFO or a terminal by now does not make us
/// wait.
pub(super) fn open_file(directory: BorrowedFd<'_>, name: &[u8], found: &Dated) -> Result<Option<File>> {
    if found.stat.file_type() != libc::S_IFREG {
        return Ok(None);
    }
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match fs::openat(directory, as_path(name), flags, 0) {
        Err(e) if e.is(libc::ELOOP) || e.is(libc::ENXIO) => return Err(replaced()),
        other => File::from(other?),
    };
    match fs::fstat(file.as_fd())?.file_type() {
        libc::S_IFREG => Ok(Some(file)),
        _ => Err(replaced()),
    }
}

/// What was being done; of a directory in the way in BuildKit's words.
pub(super) fn failed(e: Error, shown: &str) -> Error {
    match e.kind() {
        Kind::Conflict => Error::invalid(format!("cannot replace to directory {shown} with file")),
        _ => e.context(format!("failed to copy {shown}")),
    }
}

fn replaced() -> Error {
    Error::new("it has been replaced by something else meanwhile")
}

/// Links, FIFOs and devices. A socket becomes an empty file, as in BuildKit: whoever listens is not in the image.
fn special(one: &One<'_>, dress: &Dress<'_>, selected: &Selected) -> Result<()> {
    let fd = fs::openat(one.from, as_path(one.name), libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let stat = fs::fstat(fd.as_fd())?;
    if stat.file_type() != one.found.stat.file_type() {
        return Err(replaced());
    }
    if stat.ino != one.found.stat.ino {
        selected.change();
    }
    let mut entry = walk::entry(fd.as_fd(), &stat, one.as_name.to_vec(), Attributes::All)?;
    entry.mode = dress.mode(stat.mode, false);
    entry.size = 0;
    let (uid, gid) = dress.owner(one.found);
    make_room(one.to, as_path(one.as_name))?;
    Placer::new(one.to, Owners::All(uid, gid)).take(&entry, Contents::Nothing)
}

fn create(directory: BorrowedFd<'_>, name: &[u8]) -> Result<File> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
    let mut made = None;
    replace(directory, as_path(name), || {
        made = Some(fs::openat(directory, as_path(name), flags, 0o600)?);
        Ok(())
    })?;
    made.map(File::from)
        .ok_or_else(|| Error::new("the file was not made"))
}

/// Makes something new of this name. What has the name goes, unless it is a directory.
fn replace(directory: BorrowedFd<'_>, name: &Path, mut make: impl FnMut() -> sys::Result<()>) -> Result<()> {
    for _ in 0..TRIES {
        match make() {
            Err(e) if e.is(libc::EEXIST) => make_room(directory, name)?,
            done => return Ok(done?),
        }
    }
    Err(Error::new("somebody else makes it again and again"))
}

fn make_room(directory: BorrowedFd<'_>, name: &Path) -> Result<()> {
    match fs::unlinkat(directory, name, 0) {
        Err(e) if e.is(libc::ENOENT) => Ok(()),
        // EISDIR on Linux; POSIX says EPERM.
        Err(e) if e.is(libc::EISDIR) => Err(Error::of(Kind::Conflict, "it is a directory")),
        done => Ok(done?),
    }
}

/// Whatever has the name stays, if it is a directory.
fn make_directory(directory: BorrowedFd<'_>, name: &[u8]) -> sys::Result<()> {
    let name = as_path(name);
    match fs::mkdirat(directory, name, 0o700) {
        Err(e) if e.is(libc::EEXIST) => {
            let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            fs::openat(directory, name, flags, 0).map(drop)
        }
        made => made,
    }
}

/// All attributes but overlay's notes and the labels of the host's policy. What the file system cannot hold, or we may not set, is
/// left out but for rights.
fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    for (name, value) in sys::xattr::of(from)? {
        let bytes = name.to_bytes();
        if !is_kept(bytes) {
            continue;
        }
        match sys::xattr::fsetxattr(to, &name, &value) {
            Err(e) if e.is(libc::EOPNOTSUPP) => {}
            Err(e) if e.is(libc::EPERM) && bytes != b"security.capability" => {}
            done => done?,
        }
    }
    Ok(())
}

/// Which extended attributes go along.
pub(super) fn is_kept(name: &[u8]) -> bool {
    let is_note = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    !is_note && name != b"security.selinux"
}
