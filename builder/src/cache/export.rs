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

/// Sends the cache to where it is wanted. `result`: the steps that the result is made of.
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
    let notes = notes.of((!export.is_max).then_some(result));
    let blobs = blobs(means, lease, &notes, export)?;
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
fn blobs(
    means: &Means<'_>,
    lease: &Lease<'_>,
    notes: &BTreeMap<Digest, Note>,
    export: &Export,
) -> Result<Vec<Blob>> {
    let mut wanted: BTreeMap<&Digest, Vec<Layer>> = BTreeMap::new();
    for note in notes.values() {
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

/// The records of one image, to be put inside it: each names a layer by its place in the image. `steps`: those that the image is made of.
///
/// # Errors
/// There are more than anybody reads.
pub fn inline(notes: &Notes, steps: &BTreeSet<Digest>, layers: &[Layer]) -> Result<String> {
    let mut records = Records::default();
    for (key, note) in notes.of(Some(steps)) {
        let place = |layer: &Layer| layers.iter().position(|own| own.diff_id == layer.diff_id);
        let number = match &note.layer {
            None => None,
            Some(layer) => match place(layer) {
                Some(number) => Some(number),
                // Another platform's.
                None => continue,
            },
        };
        records.records.insert(key, note.record(number));
    }
    records.write()
}
