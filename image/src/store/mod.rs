//! The store: blobs, layers, names, and who still needs them.
//!
//! ```text
//! ROOT/brig.db                what is there, who needs it (SQLite, WAL)
//! ROOT/blobs/sha256/HEX       bytes by digest; on the disk before the database names them
//! ROOT/layers/KEY/fs          a layer as a tree in overlay form, or
//! ROOT/layers/KEY/layer.erofs as one EROFS image; derived from a blob and may be derived again
//! ROOT/partial/HEX            downloads that are not finished
//! ROOT/leases/ID              one file a working process, locked while it lives
//! ROOT/tmp/ID/                what that process is making
//! ROOT/trash/                 what is being deleted
//! ROOT/reserve                room for deleting on a full disk
//! ROOT/build/mounts/HEX/      what RUN --mount=type=cache keeps, and its lock
//! RUN/locks/                  one at a time
//! ```
//!
//! Durability ([decision 12](../../../docs/decisions/0012-blobs-are-synced-layers-are-derived.md)): a blob is written, synced, moved to its
//! place and then named in the database, whose transactions are synced as well. A layer is not synced: it carries the boot id in which it
//! was made, counts in that boot, and in a later one only if it was seen to be synced; otherwise it is made again from its blob.
//!
//! May not: talk to a registry, unpack, mount.

mod blob;
pub mod cache;
mod check;
mod db;
mod gc;
mod images;
mod layers;
mod lease;
mod lock;
mod reserve;
mod usage;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

pub use check::{Damage, Depth, Finding, Subject};
pub use gc::{Freed, empty_trash};
pub use images::{Image, Name, NewImage, Pin, Untagged};
pub use layers::{Form, Layer, LayerKey, Settle};
pub use lease::Lease;
pub use lock::KeyLock;
pub use usage::{Use, UseKind};

use crate::{Context, Error, Kind, Result};

/// The first that is no number where it is cut: twelve digits are a container's host name, and a name of decimal ones alone would be taken for
/// an address (inet_aton(3)) and found nowhere.
fn id_of(mut draw: impl FnMut() -> Result<String>) -> Result<String> {
    const SHORT: usize = 12;
    loop {
        let id = draw()?;
        if !id.bytes().take(SHORT).all(|b| b.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// Where a store lies.
#[derive(Clone, Debug)]
pub struct Roots {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub run: PathBuf,
}

impl Roots {
    /// Where this user's store lies: `/var/lib/brig` and `/run/brig`, or below the XDG directories of an ordinary user.
    ///
    /// # Errors
    /// An ordinary user has no home.
    pub fn of_user() -> Result<Roots> {
        if sys::cred::effective_uid() == 0 {
            return Ok(Roots {
                root: "/var/lib/brig".into(),
                run: "/run/brig".into(),
            });
        }
        let variable = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let data = variable("XDG_DATA_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .ok_or_else(|| {
                Error::invalid("neither XDG_DATA_HOME nor HOME says where the store may lie; use --root")
            })?;
        let run = variable("XDG_RUNTIME_DIR").map_or_else(|| data.join("brig/run"), |run| run.join("brig"));
        Ok(Roots {
            root: data.join("brig"),
            run,
        })
    }

    /// A store at `root` with everything below it.
    pub fn at(root: &Path) -> Roots {
        Roots {
            root: root.to_owned(),
            run: root.join("run"),
        }
    }
}

/// An open store. Many processes and threads may have one open at the same time.
pub struct Store {
    roots: Roots,
    /// Of the running kernel.
    boot: String,
    db: Mutex<Database>,
}

/// The database, in the root.
const DATABASE: &str = "brig.db";

const DIRECTORIES: [&str; 7] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "layers",
    "partial",
    "leases",
    "trash",
];

impl Store {
    /// Opens the store, and makes it where there is none.
    ///
    /// # Errors
    /// It cannot be made or read, or a newer program has changed its form.
    pub fn open(roots: &Roots) -> Result<Store> {
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").context("failed to read the boot id")?;
        let database = roots.root.join(DATABASE);
        let locks = roots.run.join("locks");
        reserve::spend_if_full(&roots.root);
        make_private(&locks)?;
        let opened = db::open(&database).and_then(|db| match db {
            Some(db) => Ok(db),
            None => {
                let _alone = KeyLock::acquire(&locks, "make-store", || (), || false)?;
                make(roots, &database)
            }
        });
        let db = opened.map_err(|e| match reserve::is_full(&roots.root) {
            // SQLite calls it an I/O error.
            true => full(&roots.root),
            false => e,
        })?;
        complete(&roots.root)?;
        Ok(Store {
            roots: roots.clone(),
            boot: boot.trim().to_owned(),
            db: Mutex::new(Database {
                connection: db,
                commits: Commits::Durable,
            }),
        })
    }

    /// Where it lies.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// That something can be added. On a full disk, the room that the reserve has given is for taking something away: whoever filled it
    /// as well would leave none for that.
    ///
    /// # Errors
    /// The disk is full.
    pub fn ensure_room(&self) -> Result<()> {
        match reserve::is_scarce(&self.roots.root) {
            true => Err(full(&self.roots.root)),
            false => Ok(()),
        }
    }

    /// A file that is always there.
    pub(crate) fn database(&self) -> PathBuf {
        self.path(DATABASE)
    }

    /// Where downloads wait for their end.
    pub fn partial(&self) -> PathBuf {
        self.roots.root.join("partial")
    }

    /// One at a time, by name: waits for whoever has it. `on_wait` is called once, if it has to wait at all; `cancelled` is asked now and
    /// then.
    ///
    /// # Errors
    /// [`Kind::Cancelled`], or the file cannot be made.
    pub fn lock(&self, name: &str, on_wait: impl FnOnce(), cancelled: impl Fn() -> bool) -> Result<KeyLock> {
        KeyLock::acquire(&self.roots.run.join("locks"), name, on_wait, cancelled)
    }

    /// The same, if nobody has it.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn try_lock(&self, name: &str) -> Result<Option<KeyLock>> {
        KeyLock::attempt(&self.roots.run.join("locks").join(name))
    }

    /// Sixty-four random hexadecimal digits; the short form is no number.
    ///
    /// # Errors
    /// The kernel gives no random numbers.
    pub fn random_id(&self) -> Result<String> {
        id_of(|| Ok(lease::random_name()? + &lease::random_name()?))
    }

    fn path(&self, below: &str) -> PathBuf {
        self.roots.root.join(below)
    }

    /// A panic in another thread has rolled its transaction back; the connection is as good as before.
    fn locked(&self) -> MutexGuard<'_, Database> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To read.
    fn db(&self) -> impl std::ops::Deref<Target = Connection> + '_ {
        Reading(self.locked())
    }

    /// Everything or nothing, and on the disk; nobody else writes meanwhile.
    fn write<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        self.change(Commits::Durable, work)
    }

    /// The same for what a power cut may undo: what a process holds while it lives, and what is made again where it is missing. It comes
    /// to the disk with the next change that has to, never before an earlier one, and does not wait for it.
    fn write_passing<T>(&self, work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        self.change(Commits::Passing, work)
    }

    fn change<T>(
        &self,
        commits: Commits,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut db = self.locked();
        db.set(commits)?;
        let transaction = db
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .context("failed to begin a change of the store")?;
        let done = work(&transaction)?;
        transaction
            .commit()
            .context("failed to commit a change of the store")?;
        Ok(done)
    }
}

/// When a commit is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commits {
    /// When it returns.
    Durable,
    /// With the next durable one.
    Passing,
}

struct Database {
    connection: Connection,
    commits: Commits,
}

impl Database {
    fn set(&mut self, commits: Commits) -> Result<()> {
        if self.commits != commits {
            db::set_durable(&self.connection, commits == Commits::Durable)?;
            self.commits = commits;
        }
        Ok(())
    }
}

struct Reading<'s>(MutexGuard<'s, Database>);

impl std::ops::Deref for Reading<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

/// A new store, unless somebody else has made it since we looked.
fn make(roots: &Roots, database: &Path) -> Result<Connection> {
    if let Some(db) = db::open(database)? {
        return Ok(db);
    }
    make_private(&roots.root)?;
    complete(&roots.root)?;
    db::create(database)?;
    db::open(database)?.ok_or_else(|| Error::new(format!("{} has disappeared", database.display())))
}

fn full(root: &Path) -> Error {
    Error::new(format!("no space left on device: {} is full", root.display()))
}

/// Makes the directories that are not there: who copies a store may leave out what is empty.
fn complete(root: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        let path = root.join(directory);
        if !exists(&path)? {
            make_private(&path)?;
        }
    }
    let tmp = root.join("tmp");
    match exists(&tmp)? {
        true => Ok(()),
        false => make_room(&tmp),
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        reserve::keep(&self.roots.root);
    }
}

/// Only its owner looks into a store: layers hold setuid programs of somebody else's making (CVE-2021-41091).
fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(format!("failed to make {}", path.display()))
}

/// A directory for directories that come and go, each with many files.
///
/// ext4 does not use the number of a file again for a minute or more, and looks for another one from the beginning of the group in which
/// the directory lies. Where a tree was removed, making one file of the next tree takes up to a millisecond (6.18: 30 s for 15,000 files, and
/// 0.7 s elsewhere).
///
/// # Errors
/// It cannot be made.
pub fn make_room(path: &Path) -> Result<()> {
    make_private(path)?;
    // Other file systems have no such flag, and no such search.
    if let Ok(directory) = File::open(path) {
        let _ = sys::copy::spread_directories(std::os::fd::AsFd::as_fd(&directory));
    }
    Ok(())
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .context(format!("failed to sync {}", path.display()))
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists()
        .context(format!("failed to look at {}", path.display()))
}

impl From<rusqlite::Error> for Error {
    fn from(e: rusqlite::Error) -> Error {
        match e.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => Error::of(
                Kind::Unavailable,
                "another brig has been changing the store for more than a minute",
            ),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => Error::corrupt(
                format!("the database of the store is damaged ({e}); see brig system check"),
            ),
            Some(rusqlite::ErrorCode::DiskFull) => Error::new("no space left on device"),
            _ => Error::new(e.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
