//! Directories that steps share: `RUN --mount=type=cache`.
//!
//! `ROOT/build/mounts/KEY` has what is mounted, `data`, and `lock`, which whoever uses it holds: several at a time, or one. It is the same
//! lock whatever the sharing of the others, so that a directory goes (`builder prune`) only when nobody is at it.
//!
//! May not: get into an image or a key.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use build::instruction::mount::{Owner, Sharing};
use image::provide::Maker;
use image::store::cache::{MOUNT_DATA, MOUNT_LOCK};
use image::{Context as _, Digest, Error, Result};

/// Which directory, and how it is shared.
pub struct Wanted<'w> {
    pub id: &'w str,
    /// `BUILDKIT_CACHE_MOUNT_NS`.
    pub namespace: &'w str,
    pub sharing: Sharing,
    pub owner: Owner,
}

/// A directory that a step has. Where nobody else may have it, this keeps them off.
pub struct CacheMount {
    path: PathBuf,
    _lock: File,
}

impl CacheMount {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Between two attempts: flock(2) could wait by itself, but not be called off.
const PAUSE: Duration = Duration::from_millis(20);

/// Takes it; a new one is filled by `seed`.
///
/// # Errors
/// It cannot be made or filled, or the build was called off while another had it.
pub fn take(
    maker: &Maker<'_>,
    wanted: &Wanted<'_>,
    seed: impl Fn(&Path) -> Result<()>,
) -> Result<CacheMount> {
    let store = maker.store;
    let mut number = 0;
    loop {
        let key = key(wanted, number);
        let directory = store.cache_mounts().join(key.hex());
        let taken = attempt(&directory, wanted, &seed).context("failed to make a cache mount")?;
        match (taken, wanted.sharing) {
            (Some(lock), _) => {
                // With what is in it now; what this step adds is counted by the next.
                store.keep_mount(&key, &format!("cached mount with id {:?}", wanted.id))?;
                return Ok(CacheMount {
                    path: directory.join(MOUNT_DATA),
                    _lock: lock,
                });
            }
            (None, Sharing::Private) => number += 1,
            (None, Sharing::Shared | Sharing::Locked) => maker.cancel.wait(PAUSE)?,
        }
    }
}

fn key(wanted: &Wanted<'_>, number: u32) -> Digest {
    let text = format!("{}\n{}", wanted.namespace, wanted.id);
    match number {
        0 => Digest::of(text.as_bytes()),
        n => Digest::of(format!("{text}\n{n}").as_bytes()),
    }
}

/// The directory's lock, if it can be had now; the directory is complete then.
fn attempt(
    directory: &Path,
    wanted: &Wanted<'_>,
    seed: &impl Fn(&Path) -> Result<()>,
) -> Result<Option<File>> {
    fs::create_dir_all(directory)?;
    let is_shared = wanted.sharing == Sharing::Shared;
    let data = directory.join(MOUNT_DATA);
    // Whoever fills it is alone.
    let is_alone = !is_shared || !data.exists();
    let Some(lock) = lock(&directory.join(MOUNT_LOCK), is_alone)? else {
        return Ok(None);
    };
    if !data.exists() {
        fill(directory, &data, wanted.owner, seed)?;
    }
    if is_shared && is_alone {
        // Others may have come in between the two; none of them waits for it to be filled.
        match lock.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
    }
    Ok(Some(lock))
}

fn lock(path: &Path, is_alone: bool) -> Result<Option<File>> {
    loop {
        let opened = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path);
        let file = match opened {
            // The directory was removed since it was made.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let locked = match is_alone {
            true => file.try_lock(),
            false => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(Error::from(e)),
        }
        // Removed, and perhaps made again, between our open and our lock.
        let own = file.metadata()?;
        if fs::metadata(path).is_ok_and(|now| now.ino() == own.ino() && now.dev() == own.dev()) {
            return Ok(Some(file));
        }
    }
}

/// It appears under its name when it is complete.
fn fill(directory: &Path, data: &Path, owner: Owner, seed: &impl Fn(&Path) -> Result<()>) -> Result<()> {
    let new = directory.join("new");
    if new.exists() {
        // Of a build that was killed.
        image::layer::remove_path(&new)?;
    }
    fs::create_dir(&new)?;
    seed(&new)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(owner.mode.unwrap_or(0o755)))?;
    image::tree::give(
        sys::fs::cwd(),
        &new,
        owner.uid.unwrap_or(0),
        owner.gid.unwrap_or(0),
    )?;
    Ok(fs::rename(&new, data)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::provide::Means;
    use image::registry::Cancel;
    use image::store::cache::Prune;
    use image::store::{Form, Roots, Store};
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_directory_is_filled_once_and_shared_as_asked() {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = std::env::temp_dir().join(format!("builder-mounts-{}", std::process::id()));
        let store = Store::open(&Roots::at(&root)).unwrap();
        let cancel = Cancel::new();
        let maker = Maker {
            store: &store,
            means: Means::plain(Form::Tree),
            cancel: &cancel,
            listener: &|_| (),
        };
        let wanted = |sharing| Wanted {
            id: "/root/.cache",
            namespace: "",
            sharing,
            owner: Owner {
                mode: Some(0o700),
                ..Owner::default()
            },
        };
        let seed = |path: &Path| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            Ok(fs::write(path.join("seeded"), "x")?)
        };
        let first = take(&maker, &wanted(Sharing::Shared), seed).unwrap();
        let second = take(&maker, &wanted(Sharing::Shared), seed).unwrap();
        assert_eq!(first.path(), second.path());
        assert!(first.path().join("seeded").exists());
        assert_eq!(fs::metadata(first.path()).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
        let own = take(&maker, &wanted(Sharing::Private), seed).unwrap();
        assert_ne!(own.path(), first.path());
        assert_eq!(COUNT.load(Ordering::Relaxed), 2);
        // Nobody prunes what is used.
        assert_eq!(store.prune_cache(&Prune::default()).unwrap().entries.len(), 0);
        let path = first.path().to_owned();
        std::thread::scope(|scope| {
            let alone = scope.spawn(|| {
                let alone = take(&maker, &wanted(Sharing::Locked), seed).unwrap();
                // Both have gone by now.
                assert!(alone.path().join("last").exists());
                alone.path().to_owned()
            });
            drop(first);
            fs::write(second.path().join("last"), "").unwrap();
            drop(second);
            assert_eq!(alone.join().unwrap(), path);
        });
        drop(own);
        let gone = store.prune_cache(&Prune::default()).unwrap();
        assert_eq!(gone.entries.len(), 2);
        cancel.call();
        let alone = take(&maker, &wanted(Sharing::Locked), seed).unwrap();
        let e = take(&maker, &wanted(Sharing::Locked), seed).err().unwrap();
        assert_eq!(e.kind(), image::Kind::Cancelled);
        drop(alone);
        drop(store);
        fs::remove_dir_all(root).unwrap();
    }
}
