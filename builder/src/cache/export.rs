//! What a build has made and found, for other stores: `--cache-to`.
//!
//! Layers of base images are not part of it: whoever builds the same has the same base.
//!
//! May not: decide which steps there are.

use std::collections::{BTreeMap, BTreeSet};

use image::assemble::{self, Blob};
use image::oci::{Descriptor, media};
use image::push::{Artifact, Pusher};
use image::registry::Cancel;
use image::store::{Layer, Lease};
use image::{Context as _, Digest, Error, Result, parallel, progress};
use serde_json::json;

use super::layout;
use super::notes::{Note, Notes};
use super::options::{Export, Place};
use super::record::{MEDIA_TYPE, Records};
use crate::make::Means;

/// Sends the cache to where it is wanted: the keys of all steps and, unless more is asked for, the layers of those that the result is made
/// of, `result`.
///
/// # Errors
/// A layer is away, or the place cannot be written to.
pub fn export(
    means: &Means<'_>,
    lease: &Lease<'_>,
    notes: &Notes,
    result: &BTreeSet<Digest>,
    export: &Export,
) -> Result<()> {
    let store = means.maker.store;
    let cancel = means.maker.cancel;
    let notes = notes.all();
    let is_sent = |note: &&Note| export.is_max || result.contains(&note.of);
    let blobs = blobs(means, lease, notes.values().filter(is_sent), export)?;
    let numbers: BTreeMap<&Digest, usize> = blobs
        .iter()
        .enumerate()
        .map(|(n, blob)| (&blob.diff_id, n))
        .collect();
    let number = |layer: &Layer| numbers.get(&layer.diff_id).copied();
    let records = Records {
        records: notes
            .iter()
            .map(|(key, note)| (key.clone(), note.record(note.layer.as_ref().and_then(number))))
            .collect(),
        layers: blobs.iter().map(|blob| blob.diff_id.clone()).collect(),
    };
    let config = records.write()?.into_bytes();
    let layers: Vec<Descriptor> = blobs.iter().map(|blob| blob.descriptor.clone()).collect();
    let config_descriptor = assemble::plain(MEDIA_TYPE, Digest::of(&config), config.len() as u64);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": config_descriptor,
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    match &export.place {
        Place::Local { path, tag, .. } => {
            let content = layout::Content {
                layers: &layers,
                config: &config,
                manifest: &manifest,
                config_type: MEDIA_TYPE,
                tag,
            };
            layout::put(path, store, &content, cancel)
        }
        Place::Registry(reference) => Pusher {
            store,
            client: means.client,
            cancel,
            listener: &progress::silent,
            at_once: means.at_once,
        }
        .push_artifact(
            reference,
            &Artifact {
                layers: &layers,
                config: &config_descriptor,
                config_bytes: &config,
                manifest: &manifest,
            },
        ),
    }
}

/// A blob of each layer, in the order of their diff ids.
fn blobs<'n>(
    means: &Means<'_>,
    lease: &Lease<'_>,
    notes: impl Iterator<Item = &'n Note>,
    export: &Export,
) -> Result<Vec<Blob>> {
    let mut wanted: BTreeMap<&Digest, Vec<Layer>> = BTreeMap::new();
    for note in notes {
        if let Some(layer) = &note.layer {
            wanted.entry(&layer.diff_id).or_insert_with(|| {
                let mut layers = note.below.clone();
                layers.push(layer.clone());
                layers
            });
        }
    }
    if wanted.len() > super::record::MOST_LAYERS {
        return Err(Error::invalid(format!(
            "the build cache has {} layers; at most {} are sent",
            wanted.len(),
            super::record::MOST_LAYERS
        )));
    }
    let wanted: Vec<Vec<Layer>> = wanted.into_values().collect();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    // A failure ends this, not the build, which may go on without.
    parallel::each(&wanted, at_once, &Cancel::new(), |layers| {
        assemble::blob(means.maker.store, lease, layers, &export.wish, means.maker.cancel)
    })
    .context("failed to pack the layers of the cache")
}

/// The records for inside an image: each names a layer by its place in the image, or none.
///
/// # Errors
/// There are more than anybody reads.
pub fn inline(notes: &Notes, layers: &[Layer]) -> Result<String> {
    let place = |layer: &Layer| layers.iter().position(|own| own.diff_id == layer.diff_id);
    let records = Records {
        records: notes
            .all()
            .into_iter()
            .map(|(key, note)| (key, note.record(note.layer.as_ref().and_then(place))))
            .collect(),
        layers: Vec::new(),
    };
    records.write()
}
