//! The state directory: one directory per container under the root, holding the record and what belongs to it.
//!
//! ```text
//! <root>/<id>/            0711; its existence means that the id is taken; flock on it is the container's lock
//!   state.json            the record, replaced atomically
//!   .state.json           the next record, while it is not in force yet; or the last one, for an instant
//!   notify/               bound into the container where a host waits for its READY (see [`crate::notify`])
//!   config.json           the configuration as it was at create: the bundle may change or vanish later
//!   resources.json        the limits, after an update
//!   exec.fifo             has a reader while the container is created and waits for `start` (see [`crate::gate`])
//!   released.fifo         the same, from the byte of `start` until the user's program runs
//!   result/exec.fifo      where the init tells `start` why it could not go on
//! ```
//!
//! /run is lost at a reboot, so nothing is fsync'ed; a record carries the boot id, and one of another boot has no
//! live process.
//!
//! May not: be read by anybody else. `version` grows when the meaning of a field changes; records of older versions
//! stay readable (tests/data/records).

use crate::cgroup::CgroupPaths;
use crate::cgroup::rdt::RdtRecord;
use crate::cgroup::systemd::Unit;
use crate::cli::args::ContainerId;
use crate::error::{Doing, Error, Kind, Result};
use crate::namespaces::Namespaces;
use crate::plan::Keyring;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::fs;
use sys::wait::Deadline;

/// The record's version.
pub const VERSION: u32 = 1;

/// The longest time that a verb waits for another verb on the same container.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// A process that cannot be mistaken for another one with the same pid: pids are reused, start times are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Pid in the runtime's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot (field 22 of proc_pid_stat(5)).
    pub start_time: u64,
}

/// What is known about a container between two invocations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// See [`VERSION`].
    pub version: u32,
    /// Container id.
    pub id: String,
    /// The init; absent while the container is being created.
    pub init: Option<Identity>,
    /// /proc/sys/kernel/random/boot_id at creation.
    pub boot_id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    /// Nanoseconds since 1970.
    pub created: u64,
    /// uid of the creator.
    pub owner: u32,
    /// Of the config.
    pub annotations: BTreeMap<String, String>,
    /// All that is needed to kill, freeze and remove; recorded before the cgroup is made.
    pub cgroup: CgroupPaths,
    /// The unit of systemd that holds it; recorded before it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Its groups of Intel RDT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdt: Option<RdtRecord>,
    /// Which namespaces are the container's own.
    pub namespaces: Namespaces,
    /// Whether the container has a session keyring of its own.
    pub keyring: Keyring,
    /// The config has poststart or poststop hooks: only then is config.json parsed again.
    pub has_post_hooks: bool,
}

/// What `state` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A create is under way.
    Creating,
    /// Waits for start.
    Created,
    /// The user's program runs.
    Running,
    /// Frozen.
    Paused,
    /// The init is gone.
    Stopped,
}

impl Status {
    /// The word of the spec (and `paused`).
    pub fn word(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// The directory that holds all containers of one `--root`.
#[derive(Debug)]
pub struct StateRoot {
    path: PathBuf,
}

/// The directory of one container.
#[derive(Debug)]
pub struct StateDir {
    dir: OwnedFd,
    path: PathBuf,
    id: ContainerId,
}

/// Holds the container's lock until it is dropped or its process dies.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] OwnedFd);

impl StateRoot {
    /// Names a root; touches nothing.
    pub fn new(path: &Path) -> StateRoot {
        StateRoot {
            path: path.to_path_buf(),
        }
    }

    /// The path of the root.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the id: makes its directory and locks it.
    pub fn reserve(&self, id: &ContainerId) -> Result<(StateDir, Lock)> {
        make_dirs(&self.path).doing(|| format!("make the state root {}", self.path.display()))?;
        let root = self.open()?;
        let name = Path::new(id.as_str());
        // Before it is locked the new directory looks like what a killed create left: whoever clears up may take it.
        const TRIES: u32 = 16;
        for _ in 0..TRIES {
            match fs::mkdirat(root.as_fd(), name, 0o711) {
                Err(e) if e.is(libc::EEXIST) => {
                    return Err(Error::of(Kind::Exists, "container with given ID already exists"));
                }
                other => other.doing(|| "make the container's state directory")?,
            }
            match self.occupy(root.as_fd(), id) {
                Err(e) if e.kind() == Kind::NotFound => {}
                Err(e) => return Err(e.and_also(remove_empty(root.as_fd(), name))),
                Ok(taken) => return Ok(taken),
            }
        }
        Err(absent().doing("the container's state directory was removed while it was made"))
    }

    fn occupy(&self, root: BorrowedFd<'_>, id: &ContainerId) -> Result<(StateDir, Lock)> {
        let dir = self.open_in(root, id)?;
        // Our umask must not take away what others need to reach the socket's directory.
        fs::fchmod(dir.dir.as_fd(), 0o711)?;
        let lock = dir.lock()?;
        Ok((dir, lock))
    }

    /// The directory of an existing container.
    pub fn find(&self, id: &ContainerId) -> Result<StateDir> {
        match self.open() {
            Ok(root) => self.open_in(root.as_fd(), id),
            Err(e) if e.is(libc::ENOENT) => Err(absent()),
            Err(e) => Err(e),
        }
    }

    /// All ids, sorted.
    ///
    /// # Errors
    /// A missing root is ENOENT; the caller knows whether that is a mistake.
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let root = self.open()?;
        let mut ids: Vec<ContainerId> = fs::entries(root.as_fd())?
            .into_iter()
            .filter_map(|n| ContainerId::parse(&n).ok())
            .filter(|id| {
                fs::fstatat(root.as_fd(), Path::new(id.as_str()), libc::AT_SYMLINK_NOFOLLOW)
                    .is_ok_and(|s| s.is_dir())
            })
            .collect();
        ids.sort();
        Ok(ids)
    }

    fn open(&self) -> Result<OwnedFd> {
        Ok(fs::open(&self.path, libc::O_PATH | libc::O_DIRECTORY, 0)?)
    }

    fn open_in(&self, root: BorrowedFd<'_>, id: &ContainerId) -> Result<StateDir> {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        match fs::openat(root, Path::new(id.as_str()), flags, 0) {
            Ok(dir) => Ok(StateDir {
                dir,
                path: self.path.join(id.as_str()),
                id: id.clone(),
            }),
            Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => Err(absent()),
            Err(e) => Err(e.into()),
        }
    }
}

/// The words that containerd and Podman look for.
pub fn absent() -> Error {
    Error::of(Kind::NotFound, "container does not exist")
}

fn make_dirs(path: &Path) -> sys::Result<()> {
    match fs::mkdirat(fs::cwd(), path, 0o700) {
        Ok(()) => Ok(()),
        Err(e) if e.is(libc::EEXIST) => Ok(()),
        Err(e) if e.is(libc::ENOENT) => {
            let parent = path.parent().ok_or(e)?;
            make_dirs(parent)?;
            match fs::mkdirat(fs::cwd(), path, 0o700) {
                Err(e) if e.is(libc::EEXIST) => Ok(()),
                other => other,
            }
        }
        Err(e) => Err(e),
    }
}

const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";
const RESOURCES: &str = "resources.json";

impl StateDir {
    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The directory's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the container's lock; it dies with its holder.
    ///
    /// # Errors
    /// ETIMEDOUT-like sentence when another verb holds it for longer than ten seconds.
    pub fn lock(&self) -> Result<Lock> {
        let deadline = Deadline::after(LOCK_PATIENCE);
        // A lock of its own open file description, so that dropping it unlocks.
        let fd = fs::openat(
            self.dir.as_fd(),
            Path::new("."),
            libc::O_RDONLY | libc::O_DIRECTORY,
            0,
        )?;
        loop {
            match fs::flock(fd.as_fd(), libc::LOCK_EX | libc::LOCK_NB) {
                Ok(()) => return self.still_there().map(|()| Lock(fd)),
                Err(e) if e.is(libc::EWOULDBLOCK) && !deadline.is_over() => {
                    // flock has no descriptor to poll; a short nap between tries costs less than a helper thread.
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) if e.is(libc::EWOULDBLOCK) => {
                    return Err(Error::new(format!(
                        "timed out after {}s waiting for another command that works on container {}",
                        LOCK_PATIENCE.as_secs(),
                        self.id.as_str()
                    )));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// True while another process holds the lock: a create is under way.
    pub fn is_locked(&self) -> Result<bool> {
        let fd = fs::openat(
            self.dir.as_fd(),
            Path::new("."),
            libc::O_RDONLY | libc::O_DIRECTORY,
            0,
        )?;
        match fs::flock(fd.as_fd(), libc::LOCK_SH | libc::LOCK_NB) {
            Ok(()) => Ok(false),
            Err(e) if e.is(libc::EWOULDBLOCK) => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// A removed directory can still be read and locked through its descriptor.
    ///
    /// # Errors
    /// [`Kind::NotFound`] once it is gone.
    pub fn still_there(&self) -> Result<()> {
        if fs::fstat(self.dir.as_fd())?.nlink == 0 {
            Err(absent())
        } else {
            Ok(())
        }
    }

    /// Writes the record: a reader sees the old one or the new one.
    pub fn save_record(&self, record: &Record) -> Result<()> {
        self.stage_record(record)?;
        self.commit_record()
    }

    /// Writes a record that nobody reads until [`StateDir::commit_record`]: what can be done while somebody else works.
    pub fn stage_record(&self, record: &Record) -> Result<()> {
        let json = serde_json::to_vec(record).map_err(|e| Error::new(e.to_string()))?;
        self.stage(RECORD, &json).doing(|| "write the container's state")
    }

    /// Puts the staged record in the place of the one before.
    pub fn commit_record(&self) -> Result<()> {
        self.commit(RECORD).doing(|| "write the container's state")
    }

    /// Reads the record. `None` when the directory holds none: a create was killed before it wrote one.
    pub fn load_record(&self) -> Result<Option<Record>> {
        match self.parse_record()? {
            Some(record) if record.version > VERSION => Err(Error::new(format!(
                "container {} was made by a newer version of this program (state version {})",
                self.id.as_str(),
                record.version
            ))),
            other => Ok(other),
        }
    }

    /// The record of whatever version, for `delete --force`: what it says of processes and cgroups is better than nothing.
    pub fn parse_record(&self) -> Result<Option<Record>> {
        let Some(json) = self.load(RECORD)? else {
            return Ok(None);
        };
        let damaged = |why: String| {
            Error::new(format!(
                "the state of container {} is damaged: {why}",
                self.id.as_str()
            ))
        };
        let record: Record = serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        if record.id != self.id.as_str() {
            return Err(damaged(format!("it is that of container {:?}", record.id)));
        }
        Ok(Some(record))
    }

    /// Keeps the configuration for later verbs.
    pub fn save_config(&self, json: &[u8]) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW;
        write_file(self.dir.as_fd(), CONFIG, flags, json).doing(|| "keep the container's configuration")
    }

    /// The configuration as it was at create.
    pub fn load_config(&self) -> Result<Vec<u8>> {
        self.load(CONFIG)?
            .ok_or_else(|| Error::new("the container's configuration was not kept"))
    }

    /// Keeps the limits after an update.
    pub fn save_resources(&self, json: &[u8]) -> Result<()> {
        self.stage(RESOURCES, json)
            .and_then(|()| self.commit(RESOURCES))
            .doing(|| "keep the container's limits")
    }

    /// The limits after the last update, if there was one.
    pub fn load_resources(&self) -> Result<Option<Vec<u8>>> {
        self.load(RESOURCES)
    }

    fn stage(&self, name: &str, data: &[u8]) -> Result<()> {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_NOFOLLOW;
        write_file(self.dir.as_fd(), &staged(name), flags, data)
    }

    /// By an exchange, after which the old one goes: what is renamed over another file ext4 writes to the disk at once
    /// (auto_da_alloc), and its removal then waits for that. Nothing here has to outlive the machine.
    fn commit(&self, name: &str) -> Result<()> {
        let (dir, staged) = (self.dir.as_fd(), staged(name));
        let (new, old) = (Path::new(&staged), Path::new(name));
        match fs::exchange(dir, new, dir, old) {
            Ok(()) => Ok(fs::unlinkat(dir, new, 0)?),
            // There is no old one, or a file system that cannot.
            Err(e) if e.is(libc::ENOENT) || e.is(libc::EINVAL) || e.is_unavailable() => {
                Ok(fs::renameat(dir, new, dir, old)?)
            }
            Err(e) => Err(e.into()),
        }
    }

    fn load(&self, name: &str) -> Result<Option<Vec<u8>>> {
        const LARGEST: usize = 64 << 20;
        match fs::openat(
            self.dir.as_fd(),
            Path::new(name),
            libc::O_RDONLY | libc::O_NOFOLLOW,
            0,
        ) {
            Ok(fd) => Ok(Some(fs::read_all(fd.as_fd(), LARGEST)?)),
            Err(e) if e.is(libc::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// The directory itself, for [`crate::gate`].
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Removes the directory and all in it; missing is fine. The record goes last but one: as long as the directory
    /// exists, `delete --force` finds what it needs.
    pub fn remove(&self) -> Result<()> {
        let mut names = fs::entries(self.dir.as_fd())?;
        names.sort_by_key(|n| n == RECORD);
        for name in names {
            match fs::unlinkat(self.dir.as_fd(), Path::new(&name), 0) {
                Err(e) if e.is(libc::EISDIR) => remove_tree(self.dir.as_fd(), Path::new(&name))?,
                Err(e) if !e.is(libc::ENOENT) => return Err(e.into()),
                _ => {}
            }
        }
        match fs::unlinkat(fs::cwd(), &self.path, libc::AT_REMOVEDIR) {
            Err(e) if !e.is(libc::ENOENT) => Err(e.into()),
            _ => Ok(()),
        }
    }
}

/// Only ever the directory that we have made: one with something in it has become somebody else's.
fn remove_empty(root: BorrowedFd<'_>, name: &Path) -> Result<()> {
    match fs::unlinkat(root, name, libc::AT_REMOVEDIR) {
        Err(e) if !e.is(libc::ENOENT) && !e.is(libc::ENOTEMPTY) => Err(e.into()),
        _ => Ok(()),
    }
}

fn remove_tree(parent: BorrowedFd<'_>, name: &Path) -> Result<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let dir = fs::openat(parent, name, flags, 0)?;
    for entry in fs::entries(dir.as_fd())? {
        match fs::unlinkat(dir.as_fd(), Path::new(&entry), 0) {
            Err(e) if e.is(libc::EISDIR) => remove_tree(dir.as_fd(), Path::new(&entry))?,
            other => other?,
        }
    }
    Ok(fs::unlinkat(parent, name, libc::AT_REMOVEDIR)?)
}

fn write_file(dir: BorrowedFd<'_>, name: &str, flags: i32, data: &[u8]) -> Result<()> {
    let fd = fs::openat(dir, Path::new(name), flags, 0o600)?;
    write_all(fd.as_fd(), data)
}

/// Under the lock there is one writer, so one temporary name is enough.
fn staged(name: &str) -> String {
    format!(".{name}")
}

/// Writes the whole buffer.
pub fn write_all(fd: BorrowedFd<'_>, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let n = fs::write(fd, data)?;
        data = &data[n..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("runb-state-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn an_id_is_taken_once_and_records_are_replaced() {
        let root = StateRoot::new(&scratch("once").join("deep/er"));
        let id = ContainerId::parse("c".as_ref()).unwrap();
        assert_eq!(root.find(&id).unwrap_err().kind(), Kind::NotFound);
        let (dir, lock) = root.reserve(&id).unwrap();
        assert_eq!(root.reserve(&id).unwrap_err().kind(), Kind::Exists);
        assert!(dir.load_record().unwrap().is_none());
        let mut record = Record {
            version: VERSION,
            id: "c".into(),
            ..Default::default()
        };
        dir.save_record(&record).unwrap();
        record.init = Some(Identity {
            pid: 1,
            start_time: 2,
        });
        dir.save_record(&record).unwrap();
        assert_eq!(dir.load_record().unwrap(), Some(record));
        assert!(dir.is_locked().unwrap());
        drop(lock);
        assert!(!dir.is_locked().unwrap());
        assert_eq!(root.ids().unwrap(), std::slice::from_ref(&id));
        dir.remove().unwrap();
        assert_eq!(
            root.find(&id).unwrap_err().to_string(),
            "container does not exist"
        );
        std::fs::remove_dir_all(root.path().parent().unwrap().parent().unwrap()).unwrap();
    }

    #[test]
    fn a_newer_record_is_refused_with_a_sentence() {
        let root = StateRoot::new(&scratch("newer"));
        let (dir, _lock) = root.reserve(&ContainerId::parse("n".as_ref()).unwrap()).unwrap();
        dir.save_record(&Record {
            version: VERSION + 1,
            id: "n".into(),
            ..Default::default()
        })
        .unwrap();
        assert!(
            dir.load_record()
                .unwrap_err()
                .to_string()
                .contains("newer version")
        );
        assert!(dir.parse_record().unwrap().is_some());
        std::fs::remove_dir_all(root.path()).unwrap();
    }

    #[test]
    fn a_record_that_is_not_ours_is_damaged() {
        let root = StateRoot::new(&scratch("foreign"));
        let (dir, _lock) = root.reserve(&ContainerId::parse("f".as_ref()).unwrap()).unwrap();
        for text in ["", "{", "{}", "[]", "null", "{\"version\":1,\"id\":\"g\"}"] {
            dir.stage(RECORD, text.as_bytes()).unwrap();
            dir.commit(RECORD).unwrap();
            let e = dir.load_record().unwrap_err().to_string();
            assert!(e.starts_with("the state of container f is damaged: "), "{e}");
        }
        std::fs::remove_dir_all(root.path()).unwrap();
    }

    #[test]
    fn a_directory_that_is_cleared_away_before_it_is_locked_is_made_again() {
        let root = StateRoot::new(&scratch("cleared"));
        let id = ContainerId::parse("c".as_ref()).unwrap();
        let (first, lock) = root.reserve(&id).unwrap();
        // Whoever clears up holds the lock of the directory that it removes.
        let second = root.find(&id).unwrap();
        first.remove().unwrap();
        drop(lock);
        assert_eq!(second.lock().unwrap_err().kind(), Kind::NotFound);
        assert_eq!(second.still_there().unwrap_err().kind(), Kind::NotFound);
        root.reserve(&id).unwrap();
        std::fs::remove_dir_all(root.path()).unwrap();
    }

    #[test]
    fn a_removed_container_cannot_be_locked() {
        let root = StateRoot::new(&scratch("gone"));
        let id = ContainerId::parse("g".as_ref()).unwrap();
        let (dir, lock) = root.reserve(&id).unwrap();
        let other = root.find(&id).unwrap();
        dir.remove().unwrap();
        drop(lock);
        assert_eq!(other.lock().unwrap_err().kind(), Kind::NotFound);
        std::fs::remove_dir_all(root.path()).unwrap();
    }
}
