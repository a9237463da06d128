//! Pushing: an image of the store goes to a registry, byte for byte.
//!
//! May not: know how bytes travel (`registry`).

use std::sync::Arc;

use crate::oci::{Descriptor, Manifest, media};
use crate::parallel;
use crate::progress::{Event, Listener, Step};
use crate::reference::{Reference, Repository};
use crate::registry::{self, Bytes, Cancel, Client, Push, Which};
use crate::store::{Name, Store};
use crate::{Context, Digest, Error, Kind, Result};

/// What is needed to push.
pub struct Pusher<'p> {
    pub store: &'p Store,
    pub client: &'p Client,
    pub cancel: &'p Cancel,
    pub listener: &'p Listener<'p>,
    /// Layers that go at the same time.
    pub at_once: usize,
}

/// What the registry has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    pub reference: Reference,
    pub digest: Digest,
    /// Bytes of the manifest.
    pub size: u64,
}

impl Pusher<'_> {
    /// Sends one tag.
    ///
    /// # Errors
    /// It is not here, a blob of it is away or damaged, or the registry does not take it.
    pub fn push(&self, reference: &Reference) -> Result<Pushed> {
        let reference = reference.clone().or_latest();
        let name = self.store.name(&reference)?.ok_or_else(|| {
            Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.repository().familiar()
            ))
        })?;
        self.send(&name)
    }

    /// Sends all tags of a repository.
    ///
    /// # Errors
    /// As [`Pusher::push`]; tags before that one are there.
    pub fn push_all(&self, repository: &Repository) -> Result<Vec<Pushed>> {
        let names: Vec<Name> = self
            .store
            .names()?
            .into_iter()
            .filter(|name| name.reference.repository() == repository)
            .collect();
        if names.is_empty() {
            return Err(Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                repository.familiar()
            )));
        }
        names.iter().map(|name| self.send(name)).collect()
    }

    fn send(&self, name: &Name) -> Result<Pushed> {
        let lease = self.store.lease()?;
        lease.hold_blobs(&self.store.blob_keys(&name.manifest)?)?;
        let (manifest, bytes) = self.store.manifest(&name.manifest)?;
        let repository = name.reference.repository();
        let origins = self.origins(repository)?;
        let layers: Vec<&Descriptor> = manifest
            .layers
            .iter()
            .filter(|layer| layer.is_distributable())
            .collect();
        for layer in &layers {
            self.tell(layer, Step::Preparing);
        }
        parallel::each(&layers, self.at_once, self.cancel, |layer| {
            self.layer(repository, layer, &origins)
        })?;
        let from = origin_of(&origins, &manifest.config);
        self.blob(repository, &manifest.config, from, &|_| ())?;
        let media_type = media_type_of(&manifest);
        let tag = name.reference.tag().unwrap_or("latest");
        self.client
            .put_manifest(repository, Which::Tag(tag), media_type, &bytes)
            .context(format!("failed to push {}", name.reference.familiar()))?;
        if let Some(image) = self.store.image(&name.image)? {
            self.store.pin(repository, &name.manifest, &image)?;
        }
        Ok(Pushed {
            reference: name.reference.clone(),
            digest: name.manifest.clone(),
            size: bytes.len() as u64,
        })
    }

    fn layer(
        &self,
        repository: &Repository,
        layer: &Descriptor,
        origins: &[(Repository, Vec<Digest>)],
    ) -> Result<()> {
        let from = origin_of(origins, layer);
        let total = layer.size;
        let progress = |done| self.tell(layer, Step::Pushing { done, total });
        let step = match self.blob(repository, layer, from, &progress)? {
            registry::Pushed::Uploaded => Step::Pushed,
            registry::Pushed::Existed => Step::ExistsThere,
            registry::Pushed::Mounted => Step::Mounted {
                from: from
                    .map(|repository| repository.path().to_owned())
                    .unwrap_or_default(),
            },
        };
        self.tell(layer, step);
        Ok(())
    }

    fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        from: Option<&Repository>,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<registry::Pushed> {
        let file = self
            .store
            .open_blob(&descriptor.digest)
            .map_err(|e| match e.kind() {
                Kind::NotFound => Error::not_found(format!(
                    "blob {} is not in the store any more; see brig system check --repair",
                    descriptor.digest
                )),
                _ => e,
            })?;
        let push = Push {
            mount_from: from,
            chunk: None,
        };
        self.client.push_blob(
            repository,
            descriptor,
            &Bytes::File(Arc::new(file)),
            push,
            progress,
        )
    }

    /// Other repositories of the same registry that are known to have images of ours, and the blobs of these.
    fn origins(&self, repository: &Repository) -> Result<Vec<(Repository, Vec<Digest>)>> {
        let mut origins = Vec::new();
        for pin in self.store.pins()? {
            if pin.repository.domain() == repository.domain() && pin.repository != *repository {
                origins.push((pin.repository, self.store.blob_keys(&pin.manifest)?));
            }
        }
        Ok(origins)
    }

    fn tell(&self, descriptor: &Descriptor, step: Step) {
        (self.listener)(&Event::Layer {
            id: descriptor.digest.short(),
            step,
        });
    }
}

/// Where a blob may be mounted from.
fn origin_of<'o>(origins: &'o [(Repository, Vec<Digest>)], blob: &Descriptor) -> Option<&'o Repository> {
    origins
        .iter()
        .find(|(_, blobs)| blobs.contains(&blob.digest))
        .map(|(repository, _)| repository)
}

fn media_type_of(manifest: &Manifest) -> &str {
    match manifest.media_type.as_deref() {
        Some(own) => own,
        // Old OCI manifests do not say; the type of the configuration tells the two apart.
        None if manifest.config.media_type == media::DOCKER_CONFIG => media::DOCKER_MANIFEST,
        None => media::OCI_MANIFEST,
    }
}
