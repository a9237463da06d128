//! Importing: the tar of a root file system becomes an image of one layer.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::SystemTime;

use serde_json::{Map, json};

use crate::digest::{Algorithm, Hasher};
use crate::layer::{Decompressor, Ratio};
use crate::oci::{History, ImageConfig, RootFs, RunConfig, media};
use crate::platform::Platform;
use crate::provide::{Maker, Wanted};
use crate::reference::Reference;
use crate::store::NewImage;
use crate::{Context, Digest, Error, Result};

/// What to make of the tar.
#[derive(Clone, Debug)]
pub struct Import<'i> {
    pub reference: Option<&'i Reference>,
    /// A file name, an address or `-`; for the history.
    pub source: &'i str,
    pub message: Option<&'i str>,
    /// What it says of containers.
    pub config: RunConfig,
    pub platform: Platform,
}

/// Reads a tar, packed or not, and adds it. The id of the image.
///
/// # Errors
/// It is no archive; nothing is added then.
pub fn import(maker: &Maker<'_>, source: &mut (dyn Read + Send), import: &Import<'_>) -> Result<Digest> {
    let store = maker.store;
    store.ensure_room()?;
    let lease = store.lease()?;
    let mut source = BufReader::with_capacity(256 << 10, source);
    let magic: Vec<u8> = source
        .fill_buf()
        .context("failed to read the archive")?
        .iter()
        .take(8)
        .copied()
        .collect();
    if magic.is_empty() {
        return Err(Error::invalid("the archive is empty"));
    }
    let media_type = super::layer_media_type(&magic);
    // The bytes as they come are the blob; what they unpack to is read from it.
    let path = lease.directory().join("import");
    let mut file = File::create(&path).context("failed to write the layer")?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut size = 0;
    loop {
        maker.cancel.check()?;
        let bytes = source.fill_buf().context("failed to read the archive")?;
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        file.write_all(bytes).context("failed to write the layer")?;
        let length = bytes.len();
        size += length as u64;
        source.consume(length);
    }
    file.sync_data().context("failed to write the layer")?;
    let blob = hasher.finish();
    lease.hold_blobs([&blob])?;
    let diff_id = diff_id(&path)?;
    if store.blob_size(&blob)?.is_none() {
        store.publish_blob(&lease, &path, &blob, size)?;
    }
    let layer = maker.from_blob(
        &lease,
        &Wanted {
            diff_id: &diff_id,
            blob: &blob,
            size,
            below: &[],
        },
    )?;
    let now = sys::time::rfc3339_nano(SystemTime::now());
    let config = ImageConfig {
        created: Some(now.clone()),
        architecture: import.platform.architecture.clone(),
        os: import.platform.os.clone(),
        variant: import.platform.variant.clone(),
        config: import.config.clone(),
        rootfs: RootFs {
            kind: "layers".to_owned(),
            diff_ids: vec![diff_id],
        },
        history: vec![History {
            created: Some(now),
            comment: Some(
                import
                    .message
                    .map_or_else(|| format!("Imported from {}", import.source), str::to_owned),
            ),
            ..History::default()
        }],
        other: Map::new(),
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config)
        .map_err(|e| Error::new(format!("failed to write the configuration: {e}")))?;
    let id = store.put_blob(&lease, &config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": {"mediaType": media::OCI_CONFIG, "digest": id, "size": config.len()},
        "layers": [{"mediaType": media_type, "digest": blob, "size": size}],
    });
    let manifest = store.put_blob(&lease, manifest.to_string().as_bytes())?;
    let image = NewImage {
        id: &id,
        manifest: &manifest,
        blobs: &[manifest.clone(), id.clone(), blob],
        layers: std::slice::from_ref(&layer.key),
        size: layer.size,
        parent: None,
    };
    let tags: Vec<(Reference, Digest)> = import
        .reference
        .map(|reference| (reference.clone().or_latest(), manifest.clone()))
        .into_iter()
        .collect();
    store.add_image(&image, &tags, &[])?;
    Ok(id)
}

/// The digest of what the file unpacks to.
fn diff_id(path: &std::path::Path) -> Result<Digest> {
    let file = BufReader::with_capacity(256 << 10, File::open(path).context("failed to read the layer")?);
    let mut unpacked = Decompressor::new(file, Ratio::default())?;
    let (digest, _) =
        Digest::of_reader(Algorithm::Sha256, &mut unpacked).context("failed to unpack the layer")?;
    Ok(digest)
}
