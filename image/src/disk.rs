//! What the store takes of the disk, and how much of that could be had back.

use std::collections::{HashMap, HashSet};

use crate::Result;
use crate::store::{Image, Store};

/// One image.
#[derive(Clone, Debug)]
pub struct ImageUse {
    pub image: Image,
    /// Bytes of its layers that other images have as well.
    pub shared: u64,
    /// Bytes of its layers that it alone has.
    pub unique: u64,
    /// Bundles, mounts and containers that stand on it.
    pub users: usize,
}

/// The whole store.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub images: Vec<ImageUse>,
    /// Bytes of all layers, each counted once; but for those that only the build cache has.
    pub layers: u64,
    /// Bytes of layers that only images without users have.
    pub reclaimable: u64,
    /// Bytes of blobs, which push and save need.
    pub blobs: u64,
    /// Bytes of downloads that wait for their end.
    pub partial: u64,
}

/// Counts.
///
/// # Errors
/// The store cannot be read.
pub fn usage(store: &Store) -> Result<Usage> {
    let sizes: HashMap<String, u64> = store
        .layers()?
        .into_iter()
        .map(|layer| (layer.key.to_string(), layer.size))
        .collect();
    let only_cached = store.cache_layers()?;
    let users = store.uses()?;
    let images = store.images()?;
    let mut keys = Vec::with_capacity(images.len());
    let mut owners: HashMap<String, usize> = HashMap::new();
    let mut needed: HashSet<String> = HashSet::new();
    for image in &images {
        let own: HashSet<String> = store.layer_keys(&image.manifest)?.into_iter().collect();
        for key in &own {
            *owners.entry(key.clone()).or_default() += 1;
        }
        if users.iter().any(|user| user.image == image.id) {
            needed.extend(own.iter().cloned());
        }
        keys.push(own);
    }
    let size = |key: &String| sizes.get(key).copied().unwrap_or_default();
    let rows = images
        .into_iter()
        .zip(&keys)
        .map(|(image, own)| {
            let shared = own
                .iter()
                .filter(|key| owners.get(*key).is_some_and(|n| *n > 1))
                .map(size)
                .sum();
            let unique = own
                .iter()
                .filter(|key| owners.get(*key) == Some(&1))
                .map(size)
                .sum();
            let users = users.iter().filter(|user| user.image == image.id).count();
            ImageUse {
                image,
                shared,
                unique,
                users,
            }
        })
        .collect();
    Ok(Usage {
        images: rows,
        layers: sizes
            .iter()
            .filter(|(key, _)| !only_cached.contains(*key))
            .map(|(_, size)| size)
            .sum(),
        reclaimable: sizes
            .iter()
            .filter(|(key, _)| !needed.contains(*key) && !only_cached.contains(*key))
            .map(|(_, size)| size)
            .sum(),
        blobs: store.blob_bytes()?,
        partial: store.partial_bytes()?,
    })
}
