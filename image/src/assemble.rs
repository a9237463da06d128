//! An image out of layers that were made here: what a build ends with.
//!
//! Nobody waits for compression until somebody wants blobs. A layer that was made here lies in the store as a tree and is known by the
//! digest of the tar that [`crate::layer::pack`] makes of it, again and again the same. The manifest names that tar, which is not there: the
//! layer is *bare*. [`settle`] makes blobs of bare layers, for who sends an image away.
//!
//! May not: run anything, or talk to a registry.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use serde_json::{Value, json};

use crate::digest::{Algorithm, Hasher};
use crate::layer::compress::{Compressor, Method};
use crate::layer::decompress::{Compression, Decompressor, Ratio};
use crate::layer::pack::{self, Sum};
use crate::oci::{Descriptor, ImageConfig, Manifest, RootFs, media};
use crate::provide::Maker;
use crate::reference::Reference;
use crate::registry::Cancel;
use crate::store::{Form, Image, Layer, LayerKey, Lease, NewImage, Store};
use crate::{Context, Digest, Error, Kind, Result, mount, parallel};

/// What the new image is.
#[derive(Clone, Debug)]
pub struct Assembly<'a> {
    /// Its layers are filled in.
    pub config: &'a ImageConfig,
    /// All of them, the lowest first.
    pub layers: &'a [Layer],
    /// Whose layers are the lowest ones.
    pub base: Option<&'a Image>,
    pub tags: &'a [Reference],
    /// Of the manifest.
    pub annotations: &'a BTreeMap<String, String>,
    /// What it was built from, here.
    pub parent: Option<&'a Digest>,
}

/// A layer of an image on its way, and the blob of it, if there is one.
struct Part {
    diff_id: Digest,
    layer: Option<Layer>,
    blob: Option<Descriptor>,
    /// A base image has it.
    is_of_base: bool,
}

/// Adds the image. Its id. What cannot be had again is on the disk then.
///
/// # Errors
/// A layer is away, or the store cannot be written. Nothing is added then.
pub fn assemble(store: &Store, lease: &Lease<'_>, assembly: &Assembly<'_>) -> Result<Digest> {
    let parts = parts(store, lease, assembly)?;
    let mut descriptors = Vec::with_capacity(parts.len());
    let mut blobs = Vec::new();
    let mut bare = Vec::new();
    for part in parts {
        descriptors.push(match (part.blob, part.layer) {
            (Some(blob), _) => {
                blobs.push(blob.digest.clone());
                blob
            }
            (None, Some(layer)) => {
                let descriptor = plain(media::OCI_LAYER, layer.diff_id.clone(), layer.tar);
                bare.push(layer);
                descriptor
            }
            (None, None) => return Err(is_away(&part.diff_id)),
        });
    }
    store.sync_layers(&bare)?;
    let config = config_of(
        assembly,
        assembly.layers.iter().map(|layer| layer.diff_id.clone()),
    )?;
    let id = store.put_blob(lease, &config)?;
    let document = document(&id, config.len(), &descriptors, assembly.annotations)?;
    let manifest = store.put_blob(lease, &document)?;
    blobs.splice(0..0, [manifest.clone(), id.clone()]);
    add(store, assembly, &id, &manifest, &blobs, &manifest)?;
    Ok(id)
}

/// What is known of the layers: each is there, and has a blob or a tar that can be made again.
fn parts(store: &Store, lease: &Lease<'_>, assembly: &Assembly<'_>) -> Result<Vec<Part>> {
    let mut known = Vec::new();
    if let Some(base) = assembly.base {
        lease.hold_blobs(&store.blob_keys(&base.manifest)?)?;
        let (manifest, _) = store.manifest(&base.manifest)?;
        let bare = store.bare_layers(&base.manifest, &manifest)?;
        for (position, descriptor) in manifest.layers.into_iter().enumerate() {
            known.push((!bare.contains(&position)).then(|| as_oci(descriptor)));
        }
    }
    lease.hold_layers(assembly.layers.iter().map(|layer| layer.key.as_str()))?;
    let mut parts = Vec::with_capacity(assembly.layers.len());
    for (position, layer) in assembly.layers.iter().enumerate() {
        // As it is now: another may have packed it since.
        let layer = store.layer(&layer.key)?.ok_or_else(|| is_away(&layer.diff_id))?;
        let blob = match known.get(position).cloned().flatten() {
            Some(known) => Some(known),
            None => packed_before(store, lease, &layer)?,
        };
        if blob.is_none() && layer.tar == 0 {
            return Err(is_away(&layer.diff_id));
        }
        parts.push(Part {
            diff_id: layer.diff_id.clone(),
            layer: Some(layer),
            blob,
            is_of_base: position < known.len(),
        });
    }
    Ok(parts)
}

fn config_of(assembly: &Assembly<'_>, diff_ids: impl Iterator<Item = Digest>) -> Result<Vec<u8>> {
    let mut config = assembly.config.clone();
    config.rootfs = RootFs {
        kind: "layers".to_owned(),
        diff_ids: diff_ids.collect(),
    };
    serde_json::to_vec(&config).map_err(|e| Error::new(format!("failed to write the configuration: {e}")))
}

fn add(
    store: &Store,
    assembly: &Assembly<'_>,
    id: &Digest,
    manifest: &Digest,
    blobs: &[Digest],
    target: &Digest,
) -> Result<()> {
    let keys: Vec<LayerKey> = assembly.layers.iter().map(|layer| layer.key.clone()).collect();
    let image = NewImage {
        id,
        manifest,
        blobs,
        layers: &keys,
        size: assembly.layers.iter().map(|layer| layer.size).sum(),
        parent: assembly.parent,
    };
    let tags: Vec<(Reference, Digest)> = assembly
        .tags
        .iter()
        .map(|reference| (reference.clone().or_latest(), target.clone()))
        .collect();
    store.add_image(&image, &tags, &[])
}

/// An image whose blobs are all in the store, held by a lease and named by nobody.
#[derive(Clone, Debug)]
pub struct Packed {
    /// With the platform.
    pub manifest: Descriptor,
    pub config: Descriptor,
    pub blobs: Vec<Blob>,
}

/// Makes all blobs of an image, for who sends it away. With [`Wish::latest`] its id is another than [`assemble`] would give it.
///
/// # Errors
/// A layer is away or damaged, or the store cannot be written.
pub fn pack(
    store: &Store,
    lease: &Lease<'_>,
    assembly: &Assembly<'_>,
    wish: &Wish,
    cancel: &Cancel,
) -> Result<Packed> {
    let parts = parts(store, lease, assembly)?;
    let blobs = blobs_of(store, lease, &parts, wish, cancel)?;
    let config = config_of(assembly, blobs.iter().map(|blob| blob.diff_id.clone()))?;
    let id = store.put_blob(lease, &config)?;
    let mut descriptors: Vec<Descriptor> = blobs.iter().map(|blob| blob.descriptor.clone()).collect();
    let mut types = (media::OCI_MANIFEST, media::OCI_CONFIG);
    if wish.docker {
        types = (media::DOCKER_MANIFEST, media::DOCKER_CONFIG);
        descriptors = descriptors.into_iter().map(as_docker).collect::<Result<_>>()?;
    }
    let document = document_of(types, &id, config.len(), &descriptors, assembly.annotations)?;
    let manifest = store.put_blob(lease, &document)?;
    Ok(Packed {
        manifest: Descriptor {
            platform: Some(assembly.config.platform()),
            ..plain(types.0, manifest, document.len() as u64)
        },
        config: plain(types.1, id, config.len() as u64),
        blobs: blobs
            .into_iter()
            .zip(descriptors)
            .map(|(blob, descriptor)| Blob { descriptor, ..blob })
            .collect(),
    })
}

/// Adds such an image. Its names stand for `target`: its manifest, or an index, which is one of the blobs `more`.
///
/// # Errors
/// The store cannot be written. Nothing is added then.
pub fn add_packed(
    maker: &Maker<'_>,
    lease: &Lease<'_>,
    assembly: &Assembly<'_>,
    packed: &Packed,
    target: &Digest,
    more: &[Digest],
) -> Result<()> {
    let mut own = assembly.layers.iter().map(|layer| &layer.diff_id);
    let is_same =
        own.len() == packed.blobs.len() && packed.blobs.iter().all(|blob| own.next() == Some(&blob.diff_id));
    // Files that are no younger than something are in other layers than the assembly's.
    let layers = match is_same {
        true => assembly.layers.to_vec(),
        false => {
            let diff_ids: Vec<Digest> = packed.blobs.iter().map(|blob| blob.diff_id.clone()).collect();
            let blobs: Vec<Descriptor> = packed.blobs.iter().map(|blob| blob.descriptor.clone()).collect();
            maker.all_from_blobs(lease, &diff_ids, &blobs, 1)?
        }
    };
    let mut blobs = vec![packed.manifest.digest.clone(), packed.config.digest.clone()];
    let rest = packed
        .blobs
        .iter()
        .map(|blob| &blob.descriptor.digest)
        .chain(more);
    for digest in rest {
        if !blobs.contains(digest) {
            blobs.push(digest.clone());
        }
    }
    let assembly = Assembly {
        layers: &layers,
        ..assembly.clone()
    };
    let (id, manifest) = (&packed.config.digest, &packed.manifest.digest);
    add(maker.store, &assembly, id, manifest, &blobs, target)
}

/// The manifest of an image in the form of OCI.
///
/// # Errors
/// None that anybody has seen: JSON is made of it.
pub fn document(
    config: &Digest,
    config_size: usize,
    layers: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let types = (media::OCI_MANIFEST, media::OCI_CONFIG);
    document_of(types, config, config_size, layers, annotations)
}

fn document_of(
    types: (&str, &str),
    config: &Digest,
    config_size: usize,
    layers: &[Descriptor],
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": types.0,
        "config": {"mediaType": types.1, "digest": config, "size": config_size},
        "layers": layers,
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    serde_json::to_vec(&manifest).map_err(|e| Error::new(format!("failed to write the manifest: {e}")))
}

/// What a step of a build has written becomes a layer of the store. `directory` is on the store's file system and has nothing but the
/// upper directory, under the name `fs`; `lower` is what is below, mounted. None, if nothing was written.
///
/// # Errors
/// It cannot be read, or the store not be written.
pub fn keep_upper(
    store: &Store,
    lease: &Lease<'_>,
    directory: &Path,
    lower: Option<BorrowedFd<'_>>,
    cancel: &Cancel,
) -> Result<Option<Layer>> {
    let upper = open_directory(&directory.join(Form::Tree.file_name()))?;
    let mut to = BufWriter::with_capacity(BUFFER, Summed::new(std::io::sink()));
    let options = pack::Options {
        without_stubs: false,
        latest: None,
        cancel,
    };
    let sum = pack::pack_with(upper.as_fd(), lower, &mut to, &options)?;
    let tar = to
        .into_inner()
        .map_err(|e| e.into_error())
        .context("failed to read the layer")?;
    if sum.entries == 0 {
        return Ok(None);
    }
    let (size, diff_id) = (tar.bytes, tar.hasher.finish());
    publish(store, lease, directory, diff_id, size, sum, cancel).map(Some)
}

fn publish(
    store: &Store,
    lease: &Lease<'_>,
    directory: &Path,
    diff_id: Digest,
    tar: u64,
    sum: Sum,
    cancel: &Cancel,
) -> Result<Layer> {
    let key = LayerKey::of(&diff_id);
    lease.hold_layer(key.as_str())?;
    let name = format!("layer-{}", diff_id.hex());
    let _lock = store.lock(&name, || (), || cancel.is_called())?;
    if let Some(mut there) = store.layer(&key)? {
        if there.tar == 0 {
            store.note_tar(&key, tar)?;
            there.tar = tar;
        }
        return Ok(there);
    }
    let mut layer = Layer::new(key.clone(), diff_id, Form::Tree, sum.size, sum.disk, None);
    layer.tar = tar;
    store.publish_layer(lease, directory, &layer)?;
    store.layer(&key)?.ok_or_else(|| is_away(&layer.diff_id))
}

/// How blobs are to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wish {
    pub method: Method,
    /// Blobs that are there, but compressed in another way, are made again.
    pub force: bool,
    /// In Docker's own form, for registries that know no other.
    pub docker: bool,
    /// Layers that were made here have no file younger than this, in seconds since 1970.
    pub latest: Option<i64>,
}

/// A layer as a blob of the store.
#[derive(Clone, Debug)]
pub struct Blob {
    pub descriptor: Descriptor,
    pub diff_id: Digest,
}

/// A blob of the uppermost of these layers: the one that is there, or one that is made.
///
/// # Errors
/// A layer is away or damaged, or the store cannot be written.
pub fn blob(
    store: &Store,
    lease: &Lease<'_>,
    layers: &[Layer],
    wish: &Wish,
    cancel: &Cancel,
) -> Result<Blob> {
    lease.hold_layers(layers.iter().map(|layer| layer.key.as_str()))?;
    let mut layers = layers.to_vec();
    let Some(top) = layers.last_mut() else {
        return Err(Error::new("there is no layer to pack"));
    };
    // As it is now: another may have packed it since.
    *top = store.layer(&top.key)?.ok_or_else(|| is_away(&top.diff_id))?;
    if top.tar > 0 {
        let position = layers.len() - 1;
        return pack_layer(store, lease, &layers, position, wish, false, cancel);
    }
    let descriptor = packed_before(store, lease, top)?.ok_or_else(|| is_away(&top.diff_id))?;
    match wish.force && suffix_of(&descriptor.media_type) != wish.method.suffix() {
        true => again(store, lease, &descriptor, &top.diff_id, wish, cancel),
        false => Ok(Blob {
            descriptor,
            diff_id: top.diff_id.clone(),
        }),
    }
}

/// Blobs of an image's layers, the lowest first; those that are there already and those that have to be made.
///
/// # Errors
/// A layer is away or damaged, or the store cannot be written.
pub fn blobs(
    store: &Store,
    lease: &Lease<'_>,
    manifest: &Digest,
    wish: &Wish,
    cancel: &Cancel,
) -> Result<Vec<Blob>> {
    lease.hold_blobs(&store.blob_keys(manifest)?)?;
    let (document, _) = store.manifest(manifest)?;
    let (config, _) = store.config(&document.config.digest)?;
    let bare = store.bare_layers(manifest, &document)?;
    let keys = store.layer_keys(manifest)?;
    lease.hold_layers(keys.iter().map(String::as_str))?;
    let mut parts = Vec::with_capacity(document.layers.len());
    for (position, (descriptor, diff_id)) in document
        .layers
        .into_iter()
        .zip(config.rootfs.diff_ids)
        .enumerate()
    {
        let layer = match keys.get(position) {
            Some(key) => store.layer_by_name(key)?,
            None => None,
        };
        parts.push(Part {
            diff_id,
            is_of_base: layer.as_ref().is_none_or(|layer| layer.tar == 0),
            layer,
            blob: (!bare.contains(&position)).then(|| as_oci(descriptor)),
        });
    }
    blobs_of(store, lease, &parts, wish, cancel)
}

fn blobs_of(
    store: &Store,
    lease: &Lease<'_>,
    parts: &[Part],
    wish: &Wish,
    cancel: &Cancel,
) -> Result<Vec<Blob>> {
    let positions: Vec<usize> = (0..parts.len()).collect();
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    // A failure ends this, not what else the caller is at.
    let group = Cancel::new();
    parallel::each(&positions, at_once, &group, |&position| {
        let part = &parts[position];
        let is_ours = !part.is_of_base && part.layer.as_ref().is_some_and(|layer| layer.tar > 0);
        let is_clamped = is_ours && wish.latest.is_some();
        match &part.blob {
            Some(blob)
                if !(is_clamped || wish.force && suffix_of(&blob.media_type) != wish.method.suffix()) =>
            {
                Ok(Blob {
                    descriptor: blob.clone(),
                    diff_id: part.diff_id.clone(),
                })
            }
            Some(blob) if !is_clamped => again(store, lease, blob, &part.diff_id, wish, cancel),
            _ => {
                let layers = below(parts, position)?;
                pack_layer(store, lease, &layers, position, wish, is_clamped, cancel)
            }
        }
    })
}

/// A layer and all below it.
fn below(parts: &[Part], position: usize) -> Result<Vec<Layer>> {
    let own = parts.get(..=position).unwrap_or_default();
    own.iter()
        .map(|part| part.layer.clone().ok_or_else(|| is_away(&part.diff_id)))
        .collect()
}

/// Gives an image whose layers are bare blobs, and a manifest that names these; its names and digests move along. The image as it is then.
/// Killed at any moment, it is as before or as after.
///
/// # Errors
/// A layer is away or damaged ([`Kind::Corrupt`]), or the store cannot be written.
pub fn settle(store: &Store, image: &Image, cancel: &Cancel) -> Result<Image> {
    let is_settled = |image: &Image| -> Result<bool> {
        let (manifest, _) = store.manifest(&image.manifest)?;
        Ok(store.bare_layers(&image.manifest, &manifest)?.is_empty())
    };
    if is_settled(image)? {
        return Ok(image.clone());
    }
    let name = format!("settle-{}", image.id.hex());
    let _lock = store.lock(&name, || (), || cancel.is_called())?;
    // Whoever had the lock may have done it.
    let image = store
        .image(&image.id)?
        .ok_or_else(|| Error::not_found(format!("No such image: {}", image.id)))?;
    if is_settled(&image)? {
        return Ok(image);
    }
    let lease = store.lease()?;
    let made = blobs(store, &lease, &image.manifest, &Wish::default(), cancel)?;
    let (document, bytes) = store.manifest(&image.manifest)?;
    let mut value: Value =
        serde_json::from_slice(&bytes).map_err(|e| Error::corrupt(format!("malformed manifest: {e}")))?;
    let descriptors: Vec<&Descriptor> = made.iter().map(|blob| &blob.descriptor).collect();
    value["layers"] = json!(descriptors);
    let bytes =
        serde_json::to_vec(&value).map_err(|e| Error::new(format!("failed to write the manifest: {e}")))?;
    let manifest = store.put_blob(&lease, &bytes)?;
    let mut parts = vec![manifest.clone(), document.config.digest.clone()];
    parts.extend(made.iter().map(|blob| blob.descriptor.digest.clone()));
    store.replace_manifest(&image, &manifest, &parts)?;
    store
        .image(&image.id)?
        .ok_or_else(|| Error::not_found(format!("No such image: {}", image.id)))
}

/// The same, of the image with this manifest, if one has it. Its manifest then.
///
/// # Errors
/// As [`settle`].
pub fn settle_manifest(store: &Store, image: &Digest, manifest: &Digest, cancel: &Cancel) -> Result<Digest> {
    let Some(image) = store.image(image)? else {
        return Ok(manifest.clone());
    };
    let is_its_own = image.manifest == *manifest || {
        // Somebody may have settled it since the caller looked.
        store.blob_size(manifest)?.is_none() || {
            let (document, _) = store.manifest(manifest)?;
            !store.bare_layers(manifest, &document)?.is_empty()
        }
    };
    match is_its_own {
        true => Ok(settle(store, &image, cancel)?.manifest),
        false => Ok(manifest.clone()),
    }
}

/// What the layer was packed into before, if that is still there.
fn packed_before(store: &Store, lease: &Lease<'_>, layer: &Layer) -> Result<Option<Descriptor>> {
    let Some(blob) = &layer.blob else {
        return Ok(None);
    };
    lease.hold_blob(blob)?;
    let Some(size) = store.blob_size(blob)? else {
        return Ok(None);
    };
    let mut first = Vec::new();
    store
        .open_blob(blob)?
        .take(8)
        .read_to_end(&mut first)
        .context(format!("failed to read blob {blob}"))?;
    let media_type = match Compression::detect(&first)? {
        Compression::None => media::OCI_LAYER,
        Compression::Gzip => media::OCI_LAYER_GZIP,
        Compression::Zstd => media::OCI_LAYER_ZSTD,
    };
    Ok(Some(plain(media_type, blob.clone(), size)))
}

/// Makes the tar of a layer once more, and a blob of it.
fn pack_layer(
    store: &Store,
    lease: &Lease<'_>,
    layers: &[Layer],
    position: usize,
    wish: &Wish,
    is_clamped: bool,
    cancel: &Cancel,
) -> Result<Blob> {
    let layer = &layers[position];
    if !is_clamped
        && let Some(descriptor) = packed_before(store, lease, layer)?
        && (!wish.force || suffix_of(&descriptor.media_type) == wish.method.suffix())
    {
        return Ok(Blob {
            descriptor,
            diff_id: layer.diff_id.clone(),
        });
    }
    let failed = || format!("failed to pack layer {}", layer.diff_id.short());
    let options = pack::Options {
        without_stubs: false,
        latest: wish.latest.filter(|_| is_clamped),
        cancel,
    };
    let blob = with_tree(store, lease, layers, position, |upper, lower| {
        make_blob(store, lease, wish.method, |to| {
            pack::pack_with(upper, lower, to, &options).map(drop)
        })
    })
    .context(failed())?;
    if !is_clamped {
        if blob.diff_id != layer.diff_id {
            return Err(is_damaged(&layer.diff_id));
        }
        store.note_blob(&layer.key, &blob.descriptor.digest)?;
    }
    Ok(blob)
}

/// Whether a bare layer is what its digest says.
///
/// # Errors
/// It, or what is below, cannot be mounted or read.
pub fn is_whole(
    store: &Store,
    lease: &Lease<'_>,
    layers: &[Layer],
    position: usize,
    cancel: &Cancel,
) -> Result<bool> {
    let mut to = BufWriter::with_capacity(BUFFER, Summed::new(std::io::sink()));
    with_tree(store, lease, layers, position, |upper, lower| {
        pack::pack(upper, lower, &mut to, cancel)
    })?;
    let tar = to
        .into_inner()
        .map_err(|e| e.into_error())
        .context("failed to read the layer")?;
    Ok(tar.hasher.finish() == layers[position].diff_id)
}

/// Lends out a layer and what is below it.
fn with_tree<T>(
    store: &Store,
    lease: &Lease<'_>,
    layers: &[Layer],
    position: usize,
    work: impl FnOnce(BorrowedFd<'_>, Option<BorrowedFd<'_>>) -> Result<T>,
) -> Result<T> {
    let root = |layers: &[Layer]| -> Result<OwnedFd> {
        let spec = mount::Spec {
            layers: store.mountable(layers),
            scratch: Some(lease.directory()),
            ..mount::Spec::default()
        };
        Ok(mount::detached(&spec).context("failed to look at the layers")?.0)
    };
    let layer = &layers[position];
    let upper = match layer.form {
        Form::Tree => open_directory(&store.layer_path(layer))?,
        Form::Erofs => root(&layers[position..=position])?,
    };
    let below = &layers[..position];
    match below.is_empty() {
        true => work(upper.as_fd(), None),
        false => {
            let lower = root(below)?;
            work(upper.as_fd(), Some(lower.as_fd()))
        }
    }
}

/// Makes a blob of another, compressed in another way.
fn again(
    store: &Store,
    lease: &Lease<'_>,
    from: &Descriptor,
    diff_id: &Digest,
    wish: &Wish,
    cancel: &Cancel,
) -> Result<Blob> {
    let failed = || format!("failed to compress layer {} anew", from.digest.short());
    let mut source = Decompressor::new(store.open_blob(&from.digest)?, Ratio::default()).context(failed())?;
    let blob = make_blob(store, lease, wish.method, |to| {
        let mut buffer = vec![0; BUFFER];
        loop {
            cancel.check()?;
            match source.read(&mut buffer).context("failed to read it")? {
                0 => return Ok(()),
                n => to.write_all(&buffer[..n]).context("failed to write it")?,
            }
        }
    })
    .context(failed())?;
    match blob.diff_id == *diff_id {
        true => Ok(blob),
        false => Err(Error::corrupt(format!(
            "blob {} is damaged: its digest is another; see brig system check --repair",
            from.digest
        ))),
    }
}

const BUFFER: usize = 256 << 10;

/// Makes a blob of what `write` writes, a tar.
fn make_blob(
    store: &Store,
    lease: &Lease<'_>,
    method: Method,
    write: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<Blob> {
    let failed = || "failed to write the layer";
    let path = lease.directory().join(format!("blob-{}", store.random_id()?));
    let file = File::create_new(&path).context(failed())?;
    // One hash of what is packed and one of what it is packed into, on the way.
    let packed = Summed::new(BufWriter::with_capacity(BUFFER, file));
    let plain_side = Summed::new(Compressor::new(packed, method)?);
    let mut buffered = BufWriter::with_capacity(BUFFER, plain_side);
    write(&mut buffered)?;
    let plain_side = buffered
        .into_inner()
        .map_err(|e| e.into_error())
        .context(failed())?;
    let diff_id = plain_side.hasher.finish();
    let packed = plain_side.to.finish().context(failed())?;
    let (digest, size) = (packed.hasher.finish(), packed.bytes);
    let file = packed
        .to
        .into_inner()
        .map_err(|e| e.into_error())
        .context(failed())?;
    lease.hold_blob(&digest)?;
    if store.blob_size(&digest)?.is_none() {
        file.sync_data().context(failed())?;
        store.publish_blob(lease, &path, &digest, size)?;
    }
    let media_type = format!("{}{}", media::OCI_LAYER, method.suffix());
    Ok(Blob {
        descriptor: plain(&media_type, digest, size),
        diff_id,
    })
}

/// As a manifest in Docker's own form names a layer.
fn as_docker(descriptor: Descriptor) -> Result<Descriptor> {
    let media_type = match descriptor.media_type.as_str() {
        media::OCI_LAYER => media::DOCKER_LAYER,
        media::OCI_LAYER_GZIP => media::DOCKER_LAYER_GZIP,
        media::OCI_LAYER_ZSTD => {
            return Err(Error::invalid(
                "layers that are compressed with zstd need oci-mediatypes=true",
            ));
        }
        _ => return Ok(descriptor),
    };
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        ..descriptor
    })
}

/// A descriptor that says what it has to.
pub fn plain(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        urls: Vec::new(),
        annotations: BTreeMap::new(),
        platform: None,
        artifact_type: None,
    }
}

/// A layer of a base image, as a manifest in the form of OCI names it.
fn as_oci(descriptor: Descriptor) -> Descriptor {
    let media_type = match descriptor.media_type.as_str() {
        media::DOCKER_LAYER => media::OCI_LAYER,
        media::DOCKER_LAYER_GZIP => media::OCI_LAYER_GZIP,
        _ => return descriptor,
    };
    Descriptor {
        media_type: media_type.to_owned(),
        ..descriptor
    }
}

/// How a layer of this media type is compressed, as [`Method::suffix`] says it.
fn suffix_of(media_type: &str) -> &'static str {
    match media_type {
        t if t.ends_with("gzip") => "+gzip",
        t if t.ends_with("zstd") => "+zstd",
        _ => "",
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    sys::fs::open(path, flags, 0).context(format!("failed to open {}", path.display()))
}

/// Of a layer that no registry has.
pub(crate) fn is_away(diff_id: &Digest) -> Error {
    Error::of(
        Kind::Corrupt,
        format!(
            "layer {} was made here and is not in the store any more; the image has to be built again",
            diff_id.short()
        ),
    )
}

fn is_damaged(diff_id: &Digest) -> Error {
    Error::of(
        Kind::Corrupt,
        format!(
            "layer {} was made here and is damaged; the image has to be built again",
            diff_id.short()
        ),
    )
}

/// Passes bytes on and sums them up.
pub(crate) struct Summed<W> {
    pub to: W,
    pub hasher: Hasher,
    pub bytes: u64,
}

impl<W> Summed<W> {
    pub fn new(to: W) -> Summed<W> {
        Summed {
            to,
            hasher: Hasher::new(Algorithm::Sha256),
            bytes: 0,
        }
    }
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.to.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl Store {
    /// The layers of a manifest that have no blob because nobody has wanted one yet, by position.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn bare_layers(&self, manifest: &Digest, document: &Manifest) -> Result<Vec<usize>> {
        let blobs = self.blob_keys(manifest)?;
        let keys = self.layer_keys(manifest)?;
        let is_bare = |(position, descriptor): (usize, &Descriptor)| {
            let is_own = keys
                .get(position)
                .is_some_and(|key| key == descriptor.digest.hex());
            (is_own && suffix_of(&descriptor.media_type).is_empty() && !blobs.contains(&descriptor.digest))
                .then_some(position)
        };
        Ok(document.layers.iter().enumerate().filter_map(is_bare).collect())
    }
}
