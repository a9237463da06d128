//! Directories that steps share: `RUN --mount=type=cache`.
//!
//! May not: get into an image or a key.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use build::instruction::mount::{Owner, Sharing};
use image::provide::Maker;
use image::store::KeyLock;
use image::{Context as _, Digest, Result};

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
    _lock: Option<KeyLock>,
}

impl CacheMount {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes it; a new one is filled by `seed`.
///
/// # Errors
/// It cannot be made or filled.
pub fn take(
    maker: &Maker<'_>,
    wanted: &Wanted<'_>,
    seed: impl Fn(&Path) -> Result<()>,
) -> Result<CacheMount> {
    let store = maker.store;
    let name = Digest::of(format!("{}\n{}", wanted.namespace, wanted.id).as_bytes());
    let all = store.roots().root.join("build/mounts");
    let mut number = 0;
    loop {
        let own = match number {
            0 => name.hex().to_owned(),
            n => format!("{}-{n}", name.hex()),
        };
        let lock_name = format!("cache-mount-{own}");
        let lock = match wanted.sharing {
            Sharing::Shared => None,
            Sharing::Locked => Some(store.lock(&lock_name, || (), || maker.cancel.is_called())?),
            Sharing::Private => match store.try_lock(&lock_name)? {
                Some(lock) => Some(lock),
                None => {
                    number += 1;
                    continue;
                }
            },
        };
        let path = all.join(&own);
        make(&path, wanted.owner, &seed).context("failed to make a cache mount")?;
        return Ok(CacheMount { path, _lock: lock });
    }
}

fn make(path: &Path, owner: Owner, seed: &impl Fn(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(path)?;
    seed(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(owner.mode.unwrap_or(0o755)))?;
    std::os::unix::fs::chown(path, Some(owner.uid.unwrap_or(0)), Some(owner.gid.unwrap_or(0)))?;
    Ok(())
}
