//! The result as an image of the store, and in registries.
//!
//! May not: compress for nobody: an image that only the store has keeps its layers as they are.

use image::assemble::{self, Packed};
use image::oci::{Descriptor, media};
use image::platform::Platform;
use image::push::Pusher;
use image::{Context as _, Digest, Error, Result, progress};
use serde_json::json;

use super::attest::{self, Attested};
use super::options::Place;
use super::{Exported, Work, assembly};

pub fn put(work: &Work<'_>) -> Result<Exported> {
    let is_one = !work.is_multi() && !work.wants_attestations();
    let mut exported = match is_one && work.options.is_plain() {
        true => as_it_is(work)?,
        false => packed(work)?,
    };
    if let Some(repositories) = &work.options.by_digest
        && let Some(descriptor) = &exported.descriptor
    {
        for repository in repositories {
            if work.options.push {
                pusher(work)?.push_digest(repository, &descriptor.digest)?;
            }
            exported
                .names
                .push(repository.with_digest(descriptor.digest.clone()));
        }
    } else if work.options.push {
        if work.options.names.is_empty() {
            return Err(Error::invalid("tag is needed when pushing to registry"));
        }
        for name in &work.options.names {
            pusher(work)?.push(name, None)?;
        }
    }
    if work.options.is_canonical
        && let Some(descriptor) = &exported.descriptor
    {
        exported.names = exported
            .names
            .iter()
            .map(|name| name.repository().with_digest(descriptor.digest.clone()))
            .collect();
    }
    Ok(exported)
}

fn pusher<'p>(work: &'p Work<'_>) -> Result<Pusher<'p>> {
    Ok(Pusher {
        store: work.means.maker.store,
        client: work.means.client,
        cancel: work.means.maker.cancel,
        listener: &progress::silent,
        at_once: work.means.at_once,
    })
}

/// One image, as it lies in the store.
fn as_it_is(work: &Work<'_>) -> Result<Exported> {
    let store = work.means.maker.store;
    let product = work.only("image")?;
    let annotations = work.manifest_annotations(product);
    let assembly = assembly(product, &work.options.names, &annotations);
    let id = assemble::assemble(store, work.lease, &assembly)?;
    let missing = || Error::not_found(format!("image {} was removed meanwhile", id.short()));
    let mut image = store.image(&id)?.ok_or_else(missing)?;
    if work.options.push {
        image = assemble::settle(store, &image, work.means.maker.cancel)?;
    }
    let (_, bytes) = store.manifest(&image.manifest)?;
    let descriptor = assemble::plain(media::OCI_MANIFEST, image.manifest, bytes.len() as u64);
    Ok(Exported {
        images: vec![id.clone()],
        descriptor: Some(descriptor),
        config: Some(id),
        names: work.options.names.clone(),
        provenance: Vec::new(),
    })
}

/// Images with all their blobs, and an index over them where one is needed.
fn packed(work: &Work<'_>) -> Result<Exported> {
    let bundle = pack(work)?;
    let wanted = Platform::host();
    // The names are those of the image that runs here.
    let named = bundle
        .images
        .iter()
        .enumerate()
        .filter_map(|(position, (packed, _))| {
            let platform = packed.manifest.platform.as_ref()?;
            Some((wanted.rank(platform)?, position))
        })
        .min()
        .map_or(0, |(_, position)| position);
    let (Some((image, _)), Some(product)) = (bundle.images.get(named), work.products.get(named)) else {
        return Err(Error::new("there is nothing to export"));
    };
    let more = bundle.blobs();
    let annotations = Default::default();
    let assembly = assembly(product, &work.options.names, &annotations);
    assemble::add_packed(
        work.means.maker,
        work.lease,
        &assembly,
        image,
        &bundle.target.digest,
        &more,
    )?;
    Ok(bundle.exported(work))
}

/// Everything that names stand for.
pub(super) struct Bundle {
    /// What the names stand for.
    pub target: Descriptor,
    /// Of each product.
    pub images: Vec<(Packed, Option<Attested>)>,
    pub has_index: bool,
}

impl Bundle {
    /// All blobs of it, the target last.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut all = Vec::new();
        for (image, attested) in &self.images {
            all.extend(image.blobs.iter().map(|blob| blob.descriptor.digest.clone()));
            all.extend([image.config.digest.clone(), image.manifest.digest.clone()]);
            all.extend(attested.iter().flat_map(|own| own.blobs.iter().cloned()));
        }
        if self.has_index {
            all.push(self.target.digest.clone());
        }
        all.dedup();
        all
    }

    pub fn exported(&self, work: &Work<'_>) -> Exported {
        let only = match self.images.as_slice() {
            [(only, None)] => Some(only.config.digest.clone()),
            _ => None,
        };
        let provenance = self.images.iter().zip(work.products);
        Exported {
            images: self
                .images
                .iter()
                .map(|(image, _)| image.config.digest.clone())
                .collect(),
            descriptor: Some(self.target.clone()),
            config: only,
            names: work.options.names.clone(),
            provenance: provenance
                .filter_map(|((_, attested), product)| {
                    let predicate = attested.as_ref()?.provenance.clone()?;
                    Some((product.platform.clone(), predicate))
                })
                .collect(),
        }
    }
}

/// Packs all products, says of each how it came to be, and makes an index where there is more than one thing.
pub(super) fn pack(work: &Work<'_>) -> Result<Bundle> {
    let (store, lease, cancel) = (work.means.maker.store, work.lease, work.means.maker.cancel);
    let options = work.options;
    let mut images = Vec::new();
    for product in work.products {
        let annotations = work.manifest_annotations(product);
        let assembly = assembly(product, &[], &annotations);
        let mut packed = assemble::pack(store, lease, &assembly, &options.wish, cancel)
            .context(format!("failed to export the image for {}", product.platform))?;
        packed.manifest.annotations = options.annotations(Place::ManifestDescriptor, Some(&product.platform));
        let attested = match work.wants_attestations() {
            true => Some(attest::attest(work, product, &packed)?),
            false => None,
        };
        images.push((packed, attested));
    }
    if let ([(only, None)], false) = (images.as_slice(), work.is_multi()) {
        options.check_without_index()?;
        return Ok(Bundle {
            target: Descriptor {
                platform: None,
                ..only.manifest.clone()
            },
            images,
            has_index: false,
        });
    }
    let mut manifests: Vec<&Descriptor> = images.iter().map(|(image, _)| &image.manifest).collect();
    manifests.extend(images.iter().filter_map(|(_, own)| Some(&own.as_ref()?.manifest)));
    let media_type = match options.wish.docker {
        true => media::DOCKER_LIST,
        false => media::OCI_INDEX,
    };
    let mut index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let annotations = options.annotations(Place::Index, None);
    if !annotations.is_empty() {
        index["annotations"] = json!(annotations);
    }
    let bytes = index.to_string().into_bytes();
    let digest = store.put_blob(lease, &bytes)?;
    let mut target = assemble::plain(media_type, digest, bytes.len() as u64);
    target.annotations = options.annotations(Place::IndexDescriptor, None);
    Ok(Bundle {
        target,
        images,
        has_index: true,
    })
}
