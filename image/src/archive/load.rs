//! Loading: an archive becomes images of the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;

use serde_json::json;

use super::scatter::{Member, Scattered, first_bytes, scatter};
use super::{DOCUMENT_LIMIT, Item, NAME_ANNOTATION, REF_ANNOTATION, blob_name, layer_media_type};
use crate::oci::{Descriptor, Document, ImageConfig, Index, Manifest, media};
use crate::platform::Platform;
use crate::provide::Maker;
use crate::reference::Reference;
use crate::store::{LayerKey, Lease, NewImage};
use crate::{Context, Digest, Error, Kind, Result};

/// An image that was loaded, and the names it came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub image: Digest,
    pub names: Vec<Reference>,
}

/// Layers that are unpacked at the same time.
const AT_ONCE: usize = 3;
/// An index may name indexes, but not for ever.
pub(super) const INDEX_DEPTH: usize = 4;

/// Reads an archive to its end and adds its images. With `platform`, those for that platform alone; otherwise the best of each index.
///
/// # Errors
/// It is no archive of images, or something in it is not what its digest says. Images before that one stay.
pub fn load(
    maker: &Maker<'_>,
    source: &mut (dyn Read + Send),
    platform: Option<&Platform>,
) -> Result<Vec<Loaded>> {
    maker.store.ensure_room()?;
    let lease = maker.store.lease()?;
    let scattered = scatter(source, &lease.directory(), maker.cancel)?;
    let archive = Archive {
        maker,
        lease: &lease,
        scattered: &scattered,
        platform,
    };
    let loaded = if scattered.get("oci-layout").is_some() && scattered.get("index.json").is_some() {
        archive.layout()?
    } else if scattered.get("manifest.json").is_some() {
        archive.docker()?
    } else {
        return Err(Error::invalid(
            "the archive is neither an OCI layout (oci-layout, index.json) nor a docker-archive (manifest.json)",
        ));
    };
    maker.store.settle_layers(crate::store::Settle::WhatIsOld)?;
    if loaded.is_empty() {
        return Err(match platform {
            Some(platform) => Error::not_found(format!("the archive has no image for {platform}")),
            None => Error::invalid("the archive has no image"),
        });
    }
    Ok(loaded)
}

/// What an image of a layout consists of beside its layers.
pub(super) struct Documents {
    pub manifest: Manifest,
    pub bytes: Vec<u8>,
    pub config: Vec<u8>,
}

#[derive(Clone, Copy)]
pub(super) struct Archive<'a> {
    pub maker: &'a Maker<'a>,
    pub lease: &'a Lease<'a>,
    pub scattered: &'a Scattered,
    pub platform: Option<&'a Platform>,
}

impl Archive<'_> {
    fn layout(&self) -> Result<Vec<Loaded>> {
        let index = self.scattered.read("index.json", DOCUMENT_LIMIT)?;
        let index: Index = serde_json::from_slice(&index)
            .map_err(|e| Error::corrupt(format!("malformed index.json: {e}")))?;
        let mut loaded: Vec<Loaded> = Vec::new();
        for descriptor in index.manifests.iter().filter(|d| !d.is_companion()) {
            let Some(documents) = self.image_of(descriptor, INDEX_DEPTH)? else {
                continue;
            };
            let names = names_of(descriptor)?;
            let image = self.add(
                &documents.manifest,
                &documents.bytes,
                &documents.config,
                &names,
                &descriptor.digest,
            )?;
            match loaded.iter_mut().find(|l| l.image == image) {
                Some(known) => known.names.extend(names),
                None => loaded.push(Loaded { image, names }),
            }
        }
        Ok(loaded)
    }

    /// The manifest that a descriptor leads to, its bytes and its configuration; none, if it is for another platform than the one that
    /// was asked for.
    pub fn image_of(&self, descriptor: &Descriptor, depth: usize) -> Result<Option<Documents>> {
        let bytes = self.document(&descriptor.digest)?;
        match Document::parse(&descriptor.media_type, &bytes)? {
            Document::Index(index) if depth > 0 => {
                let host = Platform::host();
                match index.choose(self.platform.unwrap_or(&host)) {
                    Ok(chosen) => self.image_of(chosen, depth - 1),
                    Err(e) if e.kind() == Kind::NotFound && self.platform.is_some() => Ok(None),
                    Err(e) => Err(e),
                }
            }
            Document::Index(_) => Err(Error::corrupt("the indexes of the archive are nested too deeply")),
            Document::Manifest(manifest) => {
                let config = self.document(&manifest.config.digest)?;
                let own = ImageConfig::parse(&config)?.platform();
                match self.platform {
                    Some(wanted) if wanted.rank(&own).is_none() => Ok(None),
                    _ => Ok(Some(Documents {
                        manifest: *manifest,
                        bytes,
                        config,
                    })),
                }
            }
        }
    }

    /// A document of the layout, verified.
    fn document(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.scattered.read(&blob_name(digest), DOCUMENT_LIMIT)?;
        let (found, _) = Digest::of_reader(digest.algorithm(), &mut bytes.as_slice())?;
        if found != *digest {
            return Err(Error::corrupt(format!(
                "{} of the archive is damaged: its digest is {found}",
                blob_name(digest)
            )));
        }
        Ok(bytes)
    }

    fn docker(&self) -> Result<Vec<Loaded>> {
        let items = self.scattered.read("manifest.json", DOCUMENT_LIMIT)?;
        let items: Vec<Item> = serde_json::from_slice(&items)
            .map_err(|e| Error::corrupt(format!("malformed manifest.json: {e}")))?;
        let mut chosen = Vec::new();
        for item in &items {
            let config = self.scattered.read(&item.config, DOCUMENT_LIMIT)?;
            let own = ImageConfig::parse(&config)?.platform();
            if self.platform.is_some_and(|wanted| wanted.rank(&own).is_none()) {
                continue;
            }
            let bytes = self.manifest_for(item, &config)?;
            let manifest: Manifest = serde_json::from_slice(&bytes)
                .map_err(|e| Error::new(format!("failed to make a manifest: {e}")))?;
            let mut names = Vec::new();
            for tag in item.repo_tags.iter().flatten() {
                names.push(
                    tag.parse::<Reference>()
                        .context("manifest.json of the archive")?
                        .or_latest(),
                );
            }
            chosen.push((manifest, bytes, config, names));
        }
        // Only when all manifests are known: adding an image moves its layers away, and the next image may have them, too.
        let mut loaded = Vec::new();
        for (manifest, bytes, config, names) in chosen {
            // Nobody has this manifest but us: it is no digest of any repository.
            let image = self.add(&manifest, &bytes, &config, &names, &Digest::of(&bytes))?;
            loaded.push(Loaded { image, names });
        }
        Ok(loaded)
    }

    /// The older form has no manifests. Ours says the same, always by the same bytes.
    fn manifest_for(&self, item: &Item, config: &[u8]) -> Result<Vec<u8>> {
        let mut layers = Vec::new();
        for name in item.layers.iter().flatten() {
            let member = self
                .scattered
                .get(name)
                .ok_or_else(|| Error::corrupt(format!("the archive has no layer {name}")))?;
            let media_type = layer_media_type(&first_bytes(member)?);
            layers.push(json!({"mediaType": media_type, "digest": member.digest, "size": member.size}));
        }
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media::OCI_MANIFEST,
            "config": {"mediaType": media::OCI_CONFIG, "digest": Digest::of(config), "size": config.len()},
            "layers": layers,
        });
        Ok(manifest.to_string().into_bytes())
    }

    /// Adds it to the store. Members that are layers are moved there.
    pub fn add(
        &self,
        manifest: &Manifest,
        bytes: &[u8],
        config: &[u8],
        names: &[Reference],
        target: &Digest,
    ) -> Result<Digest> {
        let store = self.maker.store;
        let parsed = ImageConfig::parse(config)?;
        let diff_ids = &parsed.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(Error::corrupt(format!(
                "the configuration of the image has {} layers, its manifest {}",
                diff_ids.len(),
                manifest.layers.len()
            )));
        }
        let manifest_digest = store.put_blob(self.lease, bytes)?;
        let id = store.put_blob(self.lease, config)?;
        if id != manifest.config.digest {
            return Err(Error::corrupt(format!(
                "the manifest names the configuration {}, not {id}",
                manifest.config.digest
            )));
        }
        self.lease.hold_blobs(manifest.layers.iter().map(|d| &d.digest))?;
        for descriptor in &manifest.layers {
            self.publish(descriptor)?;
        }
        let layers = self
            .maker
            .all_from_blobs(self.lease, diff_ids, &manifest.layers, AT_ONCE)?;
        let mut blobs = vec![manifest_digest.clone(), id.clone()];
        blobs.extend(manifest.layers.iter().map(|d| d.digest.clone()));
        let keys: Vec<LayerKey> = layers.iter().map(|layer| layer.key.clone()).collect();
        let image = NewImage {
            id: &id,
            manifest: &manifest_digest,
            blobs: &blobs,
            layers: &keys,
            size: layers.iter().map(|layer| layer.size).sum(),
            parent: None,
        };
        let tags: Vec<(Reference, Digest)> =
            names.iter().map(|name| (name.clone(), target.clone())).collect();
        store.add_image(&image, &tags, &[])?;
        Ok(id)
    }

    /// A member of the archive becomes a blob of the store.
    fn publish(&self, descriptor: &Descriptor) -> Result<()> {
        let store = self.maker.store;
        let digest = &descriptor.digest;
        if store.blob_size(digest)?.is_some() {
            return Ok(());
        }
        let member = self.member_of(digest)?;
        let file = File::open(&member.file).context(format!("failed to open blob {digest}"))?;
        let found = if member.digest.algorithm() == digest.algorithm() {
            member.digest.clone()
        } else {
            Digest::of_reader(digest.algorithm(), &mut &file)?.0
        };
        if found != *digest {
            return Err(Error::corrupt(format!(
                "blob {digest} of the archive is damaged: its digest is {found}"
            )));
        }
        file.sync_data()
            .context(format!("failed to sync blob {digest}"))?;
        store.publish_blob(self.lease, &member.file, digest, member.size)
    }

    fn member_of(&self, digest: &Digest) -> Result<&Member> {
        self.scattered
            .get(&blob_name(digest))
            .or_else(|| self.scattered.find(digest))
            .ok_or_else(|| Error::corrupt(format!("the archive has no blob {digest}")))
    }
}

/// The names that an index of a layout gives to an image. A tag alone is no name: nobody knows of which repository.
fn names_of(descriptor: &Descriptor) -> Result<Vec<Reference>> {
    let mut names = Vec::new();
    let mut seen = HashSet::new();
    for key in [NAME_ANNOTATION, REF_ANNOTATION] {
        let Some(text) = descriptor.annotations.get(key) else {
            continue;
        };
        if key == REF_ANNOTATION && !(text.contains('/') || text.contains(':')) {
            continue;
        }
        match text.parse::<Reference>() {
            Ok(name) if name.digest().is_none() => {
                let name = name.or_latest();
                if seen.insert(name.to_string()) {
                    names.push(name);
                }
            }
            Ok(_) => {}
            Err(e) if key == NAME_ANNOTATION => return Err(e.context("index.json of the archive")),
            // Anything may stand there.
            Err(_) => {}
        }
    }
    Ok(names)
}
