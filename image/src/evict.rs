//! A store that stays within its bounds: what has not been used for longest goes first.
//!
//! May not: take what something stands on, or the image that the caller has just brought.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::disk;
use crate::settings::{Evict, Settings};
use crate::store::{Image, Store};
use crate::{Context, Digest, Kind, Result, remove};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes downloads that nobody goes on with, and images until the store is within its limit. What was removed.
///
/// # Errors
/// The store cannot be changed.
pub fn keep_within(store: &Store, settings: &Settings, spare: &Digest) -> Result<Vec<Image>> {
    forget_partial(store, DAY * settings.partial_days())?;
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

/// Removes partial downloads whose last byte came before `age`. One that somebody is at is younger.
fn forget_partial(store: &Store, age: Duration) -> Result<()> {
    let failed = || "failed to remove old partial downloads";
    let Some(before) = SystemTime::now().checked_sub(age) else {
        return Ok(());
    };
    for entry in fs::read_dir(store.partial()).context(failed())? {
        let entry = entry.context(failed())?;
        let changed = match entry.metadata().and_then(|m| m.modified()) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.context(failed())?,
        };
        if changed < before {
            match fs::remove_file(entry.path()) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(crate::Error::from(e).context(failed()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
