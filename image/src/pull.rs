//! Pulling: what a registry has under a name becomes an image of the store.
//!
//! Layers come side by side, and each is unpacked while it is still on its way:
//! `network -> partial file -> digest, inflate -> diff id -> layer`. The blob is on the disk, and the layer in its place, before the image has
//! a name; whatever is cut off before that leaves no image, and the next pull goes on with the bytes that are there.
//!
//! May not: know how bytes travel (`registry`), how they become files (`layer`), or where they lie (`store`).

use std::thread;

use crate::oci::{CONFIG_LIMIT, Descriptor, Document, ImageConfig, Manifest};
use crate::platform::Platform;
use crate::progress::{Event, Step};
use crate::provide::{Claim, Maker, Wanted};
use crate::reference::{Reference, Repository};
use crate::registry::{Client, Opened, Partial, Which};
use crate::store::{KeyLock, Layer, LayerKey, Lease, NewImage, Settle};
use crate::{Context, Digest, Error, Kind, Result};

/// What is needed to pull.
pub struct Puller<'p> {
    pub maker: &'p Maker<'p>,
    pub client: &'p Client,
    /// None is this host's, and anything that it could run.
    pub platform: Option<&'p Platform>,
    /// Layers that come at the same time.
    pub at_once: usize,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    pub image: Digest,
    /// What the registry calls by this name.
    pub target: Digest,
    pub freshness: Freshness,
    pub platform: Platform,
}

/// Whether there was anything to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    Downloaded,
    UpToDate,
}

/// An index may name indexes, but not for ever.
const INDEX_DEPTH: usize = 4;

impl Puller<'_> {
    /// Pulls one image.
    ///
    /// # Errors
    /// The registry has none, does not give it, or gives something else than its digest says.
    pub fn pull(&self, reference: &Reference) -> Result<Pulled> {
        let store = self.maker.store;
        let reference = reference.clone().or_latest();
        store.ensure_room()?;
        let lease = store.lease()?;
        let before = match reference.digest() {
            None => store.name(&reference)?.map(|name| (name.target, name.image)),
            Some(digest) => store.resolve(&reference)?.map(|image| (digest.clone(), image)),
        };
        let found = self.documents(&lease, &reference)?;
        let (config, id) = self.config(&lease, reference.repository(), &found.manifest)?;
        let layers = self.layers(&lease, reference.repository(), &found.manifest, &config)?;
        let mut blobs = found.digests.clone();
        blobs.push(id.clone());
        blobs.extend(found.manifest.layers.iter().map(|layer| layer.digest.clone()));
        let keys: Vec<LayerKey> = layers.iter().map(|layer| layer.key.clone()).collect();
        let image = NewImage {
            id: &id,
            manifest: &found.digest,
            blobs: &blobs,
            layers: &keys,
            size: layers.iter().map(|layer| layer.size).sum(),
            parent: None,
        };
        let tags: Vec<(Reference, Digest)> = match (reference.tag(), reference.digest()) {
            // `name:tag@digest` gives no tag, as in Docker.
            (Some(_), None) => vec![(reference.clone(), found.target.clone())],
            _ => Vec::new(),
        };
        store.add_image(
            &image,
            &tags,
            &[(reference.repository().clone(), found.target.clone())],
        )?;
        drop(lease);
        store.settle_layers(Settle::WhatIsOld)?;
        let is_same = before.is_some_and(|(target, image)| target == found.target && image == id);
        Ok(Pulled {
            image: id,
            target: found.target,
            freshness: if is_same {
                Freshness::UpToDate
            } else {
                Freshness::Downloaded
            },
            platform: config.platform(),
        })
    }

    /// The manifest for our platform, and what led to it.
    fn documents(&self, lease: &Lease<'_>, reference: &Reference) -> Result<Documents> {
        let repository = reference.repository();
        let which = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => Which::Digest(digest),
            (None, tag) => Which::Tag(tag.unwrap_or("latest")),
        };
        let fetched = self.client.manifest(repository, which)?;
        let target = fetched.digest.clone();
        if let Some(wanted) = reference.digest()
            && *wanted != target
        {
            return Err(Error::corrupt(format!(
                "the registry answered {wanted} with {target}"
            )));
        }
        let (mut bytes, mut media_type, mut digest) = (fetched.bytes, fetched.media_type, fetched.digest);
        let mut digests = Vec::new();
        for _ in 0..=INDEX_DEPTH {
            lease.hold_blob(&digest)?;
            digests.push(digest.clone());
            let document = Document::parse(&media_type, &bytes).context(reference.familiar())?;
            self.maker.store.put_document(lease, &digest, &bytes)?;
            let index = match document {
                Document::Manifest(manifest) => {
                    // The last document comes first: everything else leads to it.
                    digests.rotate_right(1);
                    return Ok(Documents {
                        target,
                        digest,
                        manifest: *manifest,
                        digests,
                    });
                }
                Document::Index(index) => index,
            };
            let host = Platform::host();
            let chosen = index
                .choose(self.platform.unwrap_or(&host))
                .context(reference.familiar())?;
            media_type.clone_from(&chosen.media_type);
            bytes = self.child(repository, chosen)?;
            digest = chosen.digest.clone();
        }
        Err(Error::corrupt(format!(
            "{}: the indexes are nested too deeply",
            reference.familiar()
        )))
    }

    /// A manifest that an index names: from the store, if we have had it.
    fn child(&self, repository: &Repository, chosen: &Descriptor) -> Result<Vec<u8>> {
        if self.maker.store.blob_size(&chosen.digest)?.is_some() {
            return self
                .maker
                .store
                .read_blob(&chosen.digest, crate::oci::MANIFEST_LIMIT);
        }
        let fetched = self.client.manifest(repository, Which::Digest(&chosen.digest))?;
        Ok(fetched.bytes)
    }

    fn config(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        manifest: &Manifest,
    ) -> Result<(ImageConfig, Digest)> {
        let store = self.maker.store;
        let descriptor = &manifest.config;
        lease.hold_blob(&descriptor.digest)?;
        let bytes = if store.blob_size(&descriptor.digest)?.is_some() {
            store.read_blob(&descriptor.digest, CONFIG_LIMIT)?
        } else {
            let bytes = self.client.blob_bytes(repository, descriptor, CONFIG_LIMIT)?;
            store.put_document(lease, &descriptor.digest, &bytes)?;
            bytes
        };
        let config = ImageConfig::parse(&bytes).map_err(|e| match manifest.artifact_type {
            Some(_) => Error::of(Kind::Unsupported, "it is an artifact, not an image"),
            None => e,
        })?;
        if config.os != "linux" {
            return Err(Error::of(
                Kind::Unsupported,
                format!(
                    "image operating system {:?} cannot be used on this platform: it is linux",
                    config.os
                ),
            ));
        }
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(Error::corrupt(format!(
                "the configuration of the image has {} layers, its manifest {}",
                config.rootfs.diff_ids.len(),
                manifest.layers.len()
            )));
        }
        Ok((config, descriptor.digest.clone()))
    }

    fn layers(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        manifest: &Manifest,
        config: &ImageConfig,
    ) -> Result<Vec<Layer>> {
        let diff_ids = &config.rootfs.diff_ids;
        lease.hold_blobs(manifest.layers.iter().map(|layer| &layer.digest))?;
        for layer in &manifest.layers {
            self.tell(layer, Step::Announced);
        }
        self.maker.all(
            diff_ids,
            &manifest.layers,
            self.at_once,
            lease,
            |wanted, descriptor| self.layer(lease, repository, descriptor, wanted),
        )
    }

    /// One layer, with its blob.
    ///
    /// # Errors
    /// As [`Puller::pull`]; [`Kind::Incomplete`] if it has links to files below it.
    pub fn layer(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        descriptor: &Descriptor,
        wanted: &Wanted<'_>,
    ) -> Result<Layer> {
        let store = self.maker.store;
        lease.hold_layer(LayerKey::of(wanted.diff_id).as_str())?;
        let claim = self.maker.claim(wanted)?;
        let has_blob = store.blob_size(&descriptor.digest)?.is_some();
        match (claim, has_blob) {
            (Claim::Found(layer), true) => {
                self.tell(descriptor, Step::Exists);
                Ok(layer)
            }
            // It came as another blob: packed in another way, or out of an archive.
            (Claim::Found(layer), false) => {
                self.blob_alone(lease, repository, descriptor)?;
                self.tell(descriptor, Step::Exists);
                Ok(layer)
            }
            (Claim::Ours(_lock), true) => match self.maker.make(lease, wanted) {
                // Our own copy is bad: the registry's is not.
                Err(e) if e.kind() == Kind::Corrupt => {
                    store.drop_blob(&descriptor.digest)?;
                    self.stream(lease, repository, descriptor, wanted)
                }
                made => made.inspect(|_| self.tell(descriptor, Step::Pulled)),
            },
            (Claim::Ours(lock), false) => {
                let layer = self.stream(lease, repository, descriptor, wanted);
                drop::<KeyLock>(lock);
                layer
            }
        }
    }

    /// From the network to the store, in one go.
    fn stream(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        descriptor: &Descriptor,
        wanted: &Wanted<'_>,
    ) -> Result<Layer> {
        let first = self.attempt(lease, repository, descriptor, wanted);
        let layer = match first {
            // What was left from an earlier time may have been wrong; what comes now from the beginning is the registry's word.
            Err(Attempt {
                error,
                was_resumed: true,
            }) if error.kind() == Kind::Corrupt => self
                .attempt(lease, repository, descriptor, wanted)
                .map_err(|a| a.error),
            other => other.map_err(|a| a.error),
        }?;
        self.tell(descriptor, Step::Pulled);
        Ok(layer)
    }

    fn attempt(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        descriptor: &Descriptor,
        wanted: &Wanted<'_>,
    ) -> std::result::Result<Layer, Attempt> {
        let fresh = |error: Error| Attempt {
            error,
            was_resumed: false,
        };
        let Some(partial) = self.open_partial(descriptor).map_err(fresh)? else {
            return self.maker.make(lease, wanted).map_err(fresh);
        };
        let was_resumed = partial.have() > 0;
        let unpacked = thread::scope(|scope| {
            let download = scope.spawn(|| self.download(repository, descriptor, &partial));
            let unpacked = self.maker.unpack(lease, wanted, partial.reader());
            if unpacked.as_ref().is_err_and(|e| e.kind() != Kind::Incomplete) {
                // Nobody reads any more.
                partial.stop();
            }
            let downloaded = download.join().unwrap_or_else(|_| {
                Err(Error::new(
                    "the download has broken off by a fault of this program",
                ))
            });
            match (unpacked, downloaded) {
                // The reader fails with what the download failed with; but a stopped download is not the cause.
                (Err(e), Err(cause)) if e.kind() == Kind::Incomplete => Err(cause),
                (Err(e), _) | (Ok(_), Err(e)) => Err(e),
                (Ok(unpacked), Ok(())) => Ok(unpacked),
            }
        });
        let verified = unpacked.and_then(|(layer, found)| match found.compressed_digest {
            Some(digest) if digest == descriptor.digest => Ok(layer),
            other => Err(something_else(
                descriptor,
                &other.map(|digest| digest.to_string()).unwrap_or_default(),
            )),
        });
        let layer = match verified {
            Ok(layer) => layer,
            Err(error) if error.kind() == Kind::Incomplete => {
                self.keep_for_later(lease, descriptor, partial).map_err(fresh)?;
                return Err(fresh(error));
            }
            Err(error) => {
                let cleanup = if error.kind() == Kind::Corrupt {
                    partial.discard()
                } else {
                    Ok(())
                };
                return Err(Attempt {
                    error: error.and_also(cleanup),
                    was_resumed,
                });
            }
        };
        self.publish(lease, descriptor, partial)
            .and_then(|()| self.maker.keep(lease, &layer))
            .map_err(fresh)?;
        Ok(layer)
    }

    /// A complete and verified download becomes a blob of the store.
    fn publish(&self, lease: &Lease<'_>, descriptor: &Descriptor, partial: Partial) -> Result<()> {
        let place = lease.directory().join(descriptor.digest.hex());
        partial.finish(&place)?;
        self.maker
            .store
            .publish_blob(lease, &place, &descriptor.digest, descriptor.size)
    }

    /// A layer that cannot be unpacked yet is at least brought whole.
    fn keep_for_later(&self, lease: &Lease<'_>, descriptor: &Descriptor, partial: Partial) -> Result<()> {
        let (found, _) = Digest::of_reader(descriptor.digest.algorithm(), &mut partial.reader())?;
        if found != descriptor.digest {
            return Err(something_else(descriptor, &found.to_string()).and_also(partial.discard()));
        }
        self.publish(lease, descriptor, partial)
    }

    /// The blob without its layer.
    ///
    /// # Errors
    /// As [`Puller::pull`].
    pub fn blob_alone(
        &self,
        lease: &Lease<'_>,
        repository: &Repository,
        descriptor: &Descriptor,
    ) -> Result<()> {
        let Some(partial) = self.open_partial(descriptor)? else {
            return Ok(());
        };
        let found = thread::scope(|scope| {
            let download = scope.spawn(|| self.download(repository, descriptor, &partial));
            let read =
                Digest::of_reader(descriptor.digest.algorithm(), &mut partial.reader()).map_err(Error::from);
            let downloaded = download.join().unwrap_or_else(|_| {
                Err(Error::new(
                    "the download has broken off by a fault of this program",
                ))
            });
            read.and_then(|(digest, _)| downloaded.map(|()| digest))
        })?;
        if found != descriptor.digest {
            return Err(something_else(descriptor, &found.to_string()).and_also(partial.discard()));
        }
        let place = lease.directory().join(descriptor.digest.hex());
        partial.finish(&place)?;
        self.maker
            .store
            .publish_blob(lease, &place, &descriptor.digest, descriptor.size)
    }

    /// The partial blob; none, if another process has brought the blob meanwhile.
    fn open_partial(&self, descriptor: &Descriptor) -> Result<Option<Partial>> {
        let store = self.maker.store;
        let notify = self.client.notify();
        loop {
            match Partial::open(
                &store.partial(),
                &descriptor.digest,
                descriptor.size,
                self.maker.cancel,
                &notify,
            )? {
                Opened::Ours(partial) => return Ok(Some(partial)),
                Opened::Changed if store.blob_size(&descriptor.digest)?.is_some() => return Ok(None),
                Opened::Changed => {}
            }
        }
    }

    /// Fetches what is missing, and sends it to the disk while the rest is still being unpacked.
    fn download(&self, repository: &Repository, descriptor: &Descriptor, partial: &Partial) -> Result<()> {
        let total = descriptor.size;
        let progress = |done| self.tell(descriptor, Step::Downloading { done, total });
        self.client.download(repository, descriptor, partial, &progress)?;
        self.tell(descriptor, Step::Downloaded);
        partial.sync()
    }

    fn tell(&self, descriptor: &Descriptor, step: Step) {
        (self.maker.listener)(&Event::Layer {
            id: descriptor.digest.short(),
            step,
        });
    }
}

fn something_else(descriptor: &Descriptor, found: &str) -> Error {
    Error::corrupt(format!(
        "the registry gave something else for layer {}: its digest is {found}",
        descriptor.digest
    ))
}

struct Documents {
    target: Digest,
    digest: Digest,
    manifest: Manifest,
    /// The manifest first, then the indexes that led to it.
    digests: Vec<Digest>,
}

struct Attempt {
    error: Error,
    was_resumed: bool,
}
