//! Volumes: where one lies, who uses it, and how it goes.
//!
//! A volume is a directory, `ROOT/volumes/NAME`. It exists from the moment its record is written until the directory is moved to the
//! trash. Who uses it is what the records of containers say, and who has it mounted is which of those run: nothing is counted, so no
//! count is wrong after a kill. Two locks (flock(2)) keep that true while it changes:
//!
//! * The directory: whoever makes a container holds those of its volumes together with others, until the container's record is
//!   written. Whoever removes a volume has it alone.
//! * The record: whoever fills, mounts or unmounts it has it alone. It is not the directory of the data, which containers could lock.
//!
//! May not: wait for a lock, or make a volume.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Deserialize;
use sys::mountinfo;

use crate::place::{Place, containers};
use crate::state::{State, Status};

/// All volumes of a store.
pub fn volumes(root: &Path) -> PathBuf {
    root.join("volumes")
}

/// One of them, whether it is there or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// `ROOT/volumes/NAME`.
    pub dir: PathBuf,
    root: PathBuf,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Together,
    Alone,
}

/// Held until it is dropped, or its process ends.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

/// What an attempt at a lock comes to.
#[derive(Debug)]
pub enum Tried {
    Held(Lock),
    /// Somebody else has it.
    Busy,
    /// There is nothing to lock.
    Gone,
}

/// What an attempt at a removal comes to.
#[derive(Debug, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// By these containers.
    InUse(Vec<String>),
    /// Somebody is at work with it: a container that is being made.
    Busy,
    /// It was not there.
    Gone,
}

impl Volume {
    /// Of this name. The name has been checked.
    pub fn of(root: &Path, name: &str) -> Volume {
        Volume {
            name: name.to_owned(),
            dir: volumes(root).join(name),
            root: root.to_owned(),
        }
    }

    /// What is known of it; without one it does not exist.
    pub fn record(&self) -> PathBuf {
        self.dir.join("volume.json")
    }

    /// What containers see.
    pub fn data(&self) -> PathBuf {
        self.dir.join("_data")
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        self.record().exists()
    }

    /// Its life: whether it goes while this is held.
    ///
    /// # Errors
    /// flock(2)'s.
    pub fn try_lock(&self, hold: Hold) -> io::Result<Tried> {
        try_lock(&self.dir, hold)
    }

    /// Its contents: whether somebody fills or mounts it.
    ///
    /// # Errors
    /// flock(2)'s.
    pub fn try_lock_contents(&self) -> io::Result<Tried> {
        try_lock(&self.record(), Hold::Alone)
    }

    /// Whether something is mounted where its data lie, as we see it.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn is_mounted(&self) -> io::Result<bool> {
        let id = |path: &Path| -> sys::Result<u64> {
            let fd = sys::fs::open(path, libc::O_PATH | libc::O_NOFOLLOW, 0)?;
            Ok(sys::fs::mount_id(fd.as_fd())?.0)
        };
        match (id(&self.dir), id(&self.data())) {
            (Ok(around), Ok(within)) => Ok(around != within),
            (Err(e), _) | (_, Err(e)) if e.is(libc::ENOENT) => Ok(false),
            (Err(e), _) | (_, Err(e)) => Err(io::Error::from_raw_os_error(e.errno().0)),
        }
    }

    /// Takes what is mounted there away, if no container runs that has it. Whether something was.
    ///
    /// # Errors
    /// It cannot be looked at or unmounted.
    pub fn unmount_unused(&self, run: &Path, boot: &str) -> io::Result<bool> {
        if !self.is_mounted()? {
            return Ok(false);
        }
        // Whoever has it is about to start a container with it, or ends the same mount as we.
        let Tried::Held(_lock) = self.try_lock_contents()? else {
            return Ok(false);
        };
        let mut used = users(&self.root)?;
        let runs = |id: &String| {
            let state = State::load(&Place::of(&self.root, run, id));
            let status = state.map(|state| state.truth(boot).status);
            matches!(
                status,
                Ok(Status::Running | Status::Paused | Status::Restarting) | Err(_)
            )
        };
        if used.remove(&self.name).unwrap_or_default().iter().any(runs) {
            return Ok(false);
        }
        self.unmount()?;
        Ok(true)
    }

    /// Whoever has files open in it keeps them, without a place.
    fn unmount(&self) -> io::Result<()> {
        let place = sys::fs::c_path(&self.data()).map_err(|e| io::Error::from_raw_os_error(e.errno().0))?;
        // Several, if somebody has mounted by hand.
        while self.is_mounted()? {
            let flags = libc::UMOUNT_NOFOLLOW | libc::MNT_DETACH;
            sys::mount::umount(&place, flags).map_err(|e| io::Error::from_raw_os_error(e.errno().0))?;
        }
        Ok(())
    }

    /// Removes it, if no container has it but `except`.
    ///
    /// # Errors
    /// Something cannot be read or removed, or is mounted in it.
    pub fn remove(&self, except: Option<&str>) -> io::Result<Removal> {
        let _lock = match self.try_lock(Hold::Alone)? {
            Tried::Held(lock) => lock,
            Tried::Busy => return Ok(Removal::Busy),
            Tried::Gone => return Ok(Removal::Gone),
        };
        let mut used = users(&self.root)?;
        let mut by = used.remove(&self.name).unwrap_or_default();
        by.retain(|id| Some(id.as_str()) != except);
        if !by.is_empty() {
            return Ok(Removal::InUse(by));
        }
        let existed = self.exists();
        self.unmount()?;
        // What is mounted there is not ours to delete.
        if let Some(place) = mounts_below(&self.dir)?.first() {
            return Err(io::Error::other(format!(
                "something is mounted on {}",
                place.display()
            )));
        }
        let away = self.trash()?;
        fs::rename(&self.dir, &away)?;
        File::open(volumes(&self.root))?.sync_all()?;
        fs::remove_dir_all(&away)?;
        Ok(match existed {
            true => Removal::Removed,
            false => Removal::Gone,
        })
    }

    /// A place in the trash that is free.
    fn trash(&self) -> io::Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let trash = self.root.join("trash");
        fs::create_dir_all(&trash)?;
        loop {
            let n = NEXT.fetch_add(1, Ordering::Relaxed);
            let place = trash.join(format!("volume-{}-{n}", std::process::id()));
            // One that a process of the same number has left; whoever empties the trash takes it.
            if fs::symlink_metadata(&place).is_err() {
                return Ok(place);
            }
        }
    }
}

fn try_lock(path: &Path, hold: Hold) -> io::Result<Tried> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Tried::Gone),
        file => file?,
    };
    let locked = match hold {
        Hold::Together => file.try_lock_shared(),
        Hold::Alone => file.try_lock(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Tried::Busy),
        Err(TryLockError::Error(e)) => return Err(e),
    }
    // Removed between the two calls, and perhaps made again: the lock is one on something that nobody finds any more.
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(now) if (now.dev(), now.ino()) == (own.dev(), own.ino()) => Ok(Tried::Held(Lock(file))),
        Ok(_) => Ok(Tried::Busy),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Tried::Gone),
        Err(e) => Err(e),
    }
}

/// Of a container's record what is about volumes.
#[derive(Deserialize)]
struct User {
    #[serde(default)]
    mounts: Vec<Mounted>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mounted {
    #[serde(rename = "Type")]
    kind: String,
    name: String,
}

/// The containers that have volumes: by name of the volume, their ids.
///
/// # Errors
/// A record cannot be read: nobody knows what it needs.
pub fn users(root: &Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in names(&containers(root))? {
        let bytes = match fs::read(Place::of(root, root, &id).definition()) {
            // It is being made or removed.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        let user: User = serde_json::from_slice(&bytes)
            .map_err(|e| io::Error::other(format!("malformed record of container {id}: {e}")))?;
        for mount in user.mounts.into_iter().filter(|m| m.kind == "volume") {
            let ids = users.entry(mount.name).or_default();
            if !ids.contains(&id) {
                ids.push(id.clone());
            }
        }
    }
    Ok(users)
}

/// Names in a directory, sorted; of one that is not there none.
///
/// # Errors
/// It cannot be read.
pub fn names(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

/// The volumes that something is mounted in, as this process sees it.
///
/// # Errors
/// The list of mounts cannot be read.
pub fn mounted(root: &Path) -> io::Result<Vec<Volume>> {
    let mut names = Vec::new();
    for place in mounts_below(&volumes(root))? {
        let name = place
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str());
        if place.ends_with("_data")
            && let Some(name) = name
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    names.dedup();
    Ok(names.iter().map(|name| Volume::of(root, name)).collect())
}

/// Takes everything away that is mounted in `directory` or deeper, as this process sees it.
///
/// # Errors
/// Something is still mounted there: what is in it must not be removed.
pub fn detach_below(directory: &Path) -> io::Result<()> {
    let text = |e: sys::Error| io::Error::from_raw_os_error(e.errno().0);
    for place in mounts_below(directory)?.iter().rev() {
        let path = sys::fs::c_path(place).map_err(text)?;
        match sys::mount::umount(&path, libc::UMOUNT_NOFOLLOW | libc::MNT_DETACH) {
            // Gone with what it was in.
            Err(e) if e.is(libc::EINVAL) || e.is(libc::ENOENT) => {}
            done => done.map_err(text)?,
        }
    }
    match mounts_below(directory)?.first() {
        None => Ok(()),
        Some(place) => Err(io::Error::other(format!(
            "something is mounted on {}",
            place.display()
        ))),
    }
}

/// Where something is mounted in `directory` or deeper, as this process sees it.
fn mounts_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let directory = match fs::canonicalize(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        directory => directory?,
    };
    let table = mountinfo::own_table().map_err(io::Error::other)?;
    let points = mountinfo::mounts(&table).map(|m| m.mountpoint());
    Ok(points.filter(|point| point.starts_with(&directory)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Store(PathBuf);

    impl Store {
        fn new(name: &str) -> Store {
            let root = std::env::temp_dir().join(format!("monitor-volumes-{name}-{}", std::process::id()));
            fs::create_dir_all(containers(&root)).unwrap();
            Store(root)
        }

        fn volume(&self, name: &str) -> Volume {
            let volume = Volume::of(&self.0, name);
            fs::create_dir_all(volume.data()).unwrap();
            fs::write(volume.record(), "{}").unwrap();
            volume
        }

        fn container(&self, id: &str, volume: &str) {
            let place = Place::of(&self.0, &self.0, id);
            fs::create_dir_all(&place.dir).unwrap();
            let text = format!(
                r#"{{"id":"{id}","mounts":[{{"Type":"volume","Name":"{volume}"}},{{"Type":"bind","Source":"/x"}}]}}"#
            );
            fs::write(place.definition(), text).unwrap();
        }
    }

    impl Drop for Store {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn one_that_is_used_stays() {
        let store = Store::new("used");
        let volume = store.volume("data");
        fs::write(volume.data().join("file"), "x").unwrap();
        store.container("c1", "data");
        store.container("c2", "other");
        assert_eq!(volume.remove(None).unwrap(), Removal::InUse(vec!["c1".into()]));
        assert!(volume.data().join("file").exists());
        assert_eq!(volume.remove(Some("c1")).unwrap(), Removal::Removed);
        assert!(!volume.dir.exists());
        assert_eq!(fs::read_dir(store.0.join("trash")).unwrap().count(), 0);
        assert_eq!(volume.remove(None).unwrap(), Removal::Gone);
    }

    #[test]
    fn one_that_a_container_is_made_with_stays() {
        let store = Store::new("held");
        let volume = store.volume("data");
        let Tried::Held(one) = volume.try_lock(Hold::Together).unwrap() else {
            panic!("nobody has it");
        };
        assert!(matches!(volume.try_lock(Hold::Together).unwrap(), Tried::Held(_)));
        assert_eq!(volume.remove(None).unwrap(), Removal::Busy);
        drop(one);
        assert_eq!(volume.remove(None).unwrap(), Removal::Removed);
        assert!(matches!(volume.try_lock(Hold::Together).unwrap(), Tried::Gone));
    }

    #[test]
    fn nothing_goes_while_a_record_cannot_be_read() {
        let store = Store::new("malformed");
        let volume = store.volume("data");
        store.container("c1", "data");
        fs::write(Place::of(&store.0, &store.0, "c1").definition(), "{").unwrap();
        assert!(volume.remove(None).is_err());
        assert!(volume.exists());
    }
}
