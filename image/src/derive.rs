//! A new image: an old one, one layer more, and another configuration. What `commit` makes.
//!
//! May not: know where the layer comes from.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::assemble::Summed;
use crate::oci::{Descriptor, History, ImageConfig, MANIFEST_LIMIT, RunConfig, media};
use crate::provide::Maker;
use crate::reference::Reference;
use crate::store::{Image, Lease, NewImage};
use crate::{Context, Digest, Error, Result};

/// What is to be said of the new image.
#[derive(Clone, Debug)]
pub struct Derived<'d> {
    pub parent: &'d Image,
    pub reference: Option<&'d Reference>,
    pub run: RunConfig,
    pub author: Option<&'d str>,
    pub message: Option<&'d str>,
    /// What ran to make it so.
    pub created_by: Option<&'d str>,
}

/// Configurations that old versions of Docker have written beside the one that counts.
const OUTDATED: [&str; 4] = ["container", "container_config", "docker_version", "comment"];

/// Adds the image whose uppermost layer is what `layer` writes, a tar. A tar without entries is no layer. The id.
///
/// # Errors
/// `layer`'s; a blob of the parent is away or damaged; the store cannot be written. Nothing is added then.
pub fn derive(
    maker: &Maker<'_>,
    derived: &Derived<'_>,
    layer: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Digest> {
    let store = maker.store;
    let parent = derived.parent;
    let lease = store.lease()?;
    lease.hold_blobs(&store.blob_keys(&parent.manifest)?)?;
    let (mut config, _) = store.config(&parent.id)?;
    let (manifest, _) = store.manifest(&parent.manifest)?;
    let mut layers: Vec<Descriptor> = manifest.layers.clone();
    let is_docker = manifest.config.media_type == media::DOCKER_CONFIG;
    let packed = pack(&lease, layer)?;
    let is_empty = packed.diff_id == Digest::of(&[0; 1024]);
    if !is_empty {
        lease.hold_blobs([&packed.blob])?;
        if store.blob_size(&packed.blob)?.is_none() {
            store.publish_blob(&lease, &packed.path, &packed.blob, packed.size)?;
        }
        layers.push(Descriptor {
            media_type: match is_docker {
                true => media::DOCKER_LAYER_GZIP.to_owned(),
                false => media::OCI_LAYER_GZIP.to_owned(),
            },
            digest: packed.blob,
            size: packed.size,
            urls: Vec::new(),
            annotations: Default::default(),
            platform: None,
            artifact_type: None,
        });
        config.rootfs.diff_ids.push(packed.diff_id);
    }
    // The new one among them: whoever runs the image finds it unpacked.
    let unpacked = maker.all_from_blobs(&lease, &config.rootfs.diff_ids, &layers, 1)?;
    describe(&mut config, derived, is_empty);
    let config = serde_json::to_vec(&config)
        .map_err(|e| Error::new(format!("failed to write the configuration: {e}")))?;
    let id = store.put_blob(&lease, &config)?;
    let document = document(
        store.read_blob(&parent.manifest, MANIFEST_LIMIT)?,
        &layers,
        &id,
        config.len(),
    )?;
    let manifest = store.put_blob(&lease, &document)?;
    let mut blobs = vec![manifest.clone(), id.clone()];
    // What a registry may not have need not be here.
    for digest in store.blob_keys(&parent.manifest)? {
        if digest != parent.manifest && digest != parent.id && !blobs.contains(&digest) {
            blobs.push(digest);
        }
    }
    blobs.extend(layers.last().filter(|_| !is_empty).map(|l| l.digest.clone()));
    let keys: Vec<_> = unpacked.iter().map(|layer| layer.key.clone()).collect();
    let image = NewImage {
        id: &id,
        manifest: &manifest,
        blobs: &blobs,
        layers: &keys,
        size: unpacked.iter().map(|layer| layer.size).sum(),
        parent: Some(&parent.id),
    };
    let tags: Vec<(Reference, Digest)> = derived
        .reference
        .map(|reference| (reference.clone().or_latest(), manifest.clone()))
        .into_iter()
        .collect();
    store.add_image(&image, &tags, &[])?;
    Ok(id)
}

fn describe(config: &mut ImageConfig, derived: &Derived<'_>, is_empty: bool) {
    let now = sys::time::rfc3339_nano(SystemTime::now());
    let text = |text: Option<&str>| text.filter(|t| !t.is_empty()).map(str::to_owned);
    config.created = Some(now.clone());
    config.author = text(derived.author);
    config.config = derived.run.clone();
    for key in OUTDATED {
        config.other.remove(key);
    }
    config.history.push(History {
        created: Some(now),
        created_by: text(derived.created_by),
        author: text(derived.author),
        comment: text(derived.message),
        empty_layer: is_empty,
    });
}

/// A manifest of the parent's kind.
fn document(parent: Vec<u8>, layers: &[Descriptor], id: &Digest, size: usize) -> Result<Vec<u8>> {
    let failed = |e: serde_json::Error| Error::new(format!("failed to write the manifest: {e}"));
    let parent: Value = serde_json::from_slice(&parent).map_err(failed)?;
    let is_docker = parent["config"]["mediaType"] == media::DOCKER_CONFIG;
    let (own, of_config) = match is_docker {
        true => (media::DOCKER_MANIFEST, media::DOCKER_CONFIG),
        false => (media::OCI_MANIFEST, media::OCI_CONFIG),
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": own,
        "config": {"mediaType": of_config, "digest": id, "size": size},
        "layers": layers,
    });
    serde_json::to_vec(&manifest).map_err(failed)
}

/// A layer in a file.
struct Packed {
    path: std::path::PathBuf,
    diff_id: Digest,
    blob: Digest,
    size: u64,
}

/// Packs what `layer` writes, and synced, as a blob has to be before it is named.
fn pack(lease: &Lease<'_>, layer: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Packed> {
    let failed = || "failed to write the layer";
    let path = lease.directory().join("derived");
    let file = File::create(&path).context(failed())?;
    // One hash of what is packed and one of what it is packed into, on the way.
    let packed = Summed::new(BufWriter::with_capacity(256 << 10, file));
    let mut plain = Summed::new(GzEncoder::new(packed, Compression::default()));
    {
        let mut buffered = BufWriter::with_capacity(256 << 10, &mut plain);
        layer(&mut buffered)?;
        buffered.flush().context(failed())?;
    }
    let diff_id = plain.hasher.finish();
    let packed = plain.to.finish().context(failed())?;
    let (blob, size) = (packed.hasher.finish(), packed.bytes);
    let file = packed
        .to
        .into_inner()
        .map_err(|e| e.into_error())
        .context(failed())?;
    file.sync_data().context(failed())?;
    Ok(Packed {
        path,
        diff_id,
        blob,
        size,
    })
}
