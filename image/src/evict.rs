//! A store that stays within its bounds: what has not been used for longest goes first.
//!
//! May not: take what something stands on, or the image that the caller has just brought.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use crate::disk;
use crate::registry::forget_partial;
use crate::settings::{Evict, Settings};
use crate::store::cache::{Prune, Pruned};
use crate::store::{Image, Store};
use crate::{Context, Digest, Kind, Result, remove};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes downloads that nobody goes on with, and images until the store is within its limit. What was removed.
///
/// # Errors
/// The store cannot be changed.
pub fn keep_within(store: &Store, settings: &Settings, spare: &Digest) -> Result<Vec<Image>> {
    if let Some(before) = SystemTime::now().checked_sub(DAY * settings.partial_days()) {
        forget_partial(&store.partial(), Some(before))?;
    }
    let Some(limit) = settings.limit()? else {
        return Ok(Vec::new());
    };
    let usage = disk::usage(store)?;
    let mut size = usage.layers + usage.blobs;
    let tagged: HashSet<Digest> = store.names()?.into_iter().map(|name| name.image).collect();
    let evict = settings.evict()?;
    let mut candidates: Vec<Image> = usage
        .images
        .into_iter()
        .filter(|row| row.users == 0 && row.image.id != *spare)
        .filter(|row| evict == Evict::Unused || !tagged.contains(&row.image.id))
        .map(|row| row.image)
        .collect();
    candidates.sort_by_key(|image| image.used);
    let mut gone = Vec::new();
    for image in candidates {
        if size <= limit {
            break;
        }
        match remove::delete(store, &image) {
            Ok((_, freed)) => {
                size = size.saturating_sub(freed.bytes);
                gone.push(image);
            }
            // Somebody has begun to stand on it, or has removed it, since we looked.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(gone)
}

/// Removes what builds have kept until that is within its limit: `build.cache`, or what the disk is good for. For the end of every build.
///
/// # Errors
/// The store cannot be changed.
pub fn keep_cache(store: &Store, settings: &Settings) -> Result<Pruned> {
    let limit = match settings.cache()? {
        Some(limit) => limit,
        None => {
            let root = std::fs::File::open(&store.roots().root).context("failed to look at the store")?;
            (sys::fs::fstatfs(root.as_fd())?.size / 10).clamp(LEAST_CACHE, MOST_CACHE)
        }
    };
    if limit == u64::MAX || store.cache_size()? <= limit {
        return Ok(Pruned::default());
    }
    store.prune_cache(&Prune {
        max_used: limit.max(1),
        ..Prune::default()
    })
}

/// A tenth of the disk, but not less than a few builds need and not more than anybody would look for.
const LEAST_CACHE: u64 = 2 << 30;
const MOST_CACHE: u64 = 50 << 30;

/// Removes partial downloads that nobody works on, however young they are. Bytes that the disk has back.
///
/// # Errors
/// One cannot be removed.
pub fn drop_partial(store: &Store) -> Result<u64> {
    forget_partial(&store.partial(), None)
}
