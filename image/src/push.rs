//! Pushing: an image of the store goes to a registry, byte for byte.
//!
//! May not: know how bytes travel (`registry`).

use std::sync::Arc;

use crate::assemble;
use crate::oci::{Descriptor, media};
use crate::parallel;
use crate::platform::Platform;
use crate::progress::{Event, Listener, Step};
use crate::reference::{Reference, Repository};
use crate::registry::{self, Bytes, Cancel, Client, Push, Which};
use crate::store::{Name, Store};
use crate::variants::{self, Contents, Held};
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
    /// The index that was pulled under this name, where only an image of it is here to be sent.
    pub instead_of: Option<Digest>,
}

/// A manifest of something that is no image. Its layers are blobs of the store.
#[derive(Clone, Copy, Debug)]
pub struct Artifact<'a> {
    pub layers: &'a [Descriptor],
    pub config: &'a Descriptor,
    pub config_bytes: &'a [u8],
    pub manifest: &'a [u8],
}

impl Pusher<'_> {
    /// Sends an artifact under a tag.
    ///
    /// # Errors
    /// A blob of it is away or damaged; or the registry does not take it.
    pub fn push_artifact(&self, reference: &Reference, artifact: &Artifact<'_>) -> Result<()> {
        let repository = reference.repository();
        let origins = self.origins(repository)?;
        parallel::each(artifact.layers, self.at_once, &Cancel::new(), |layer| {
            self.layer(repository, layer, &origins)
        })?;
        let config = Bytes::Memory(artifact.config_bytes.into());
        self.client
            .push_blob(repository, artifact.config, &config, Push::default(), &|_| ())?;
        let which = Which::Tag(reference.tag().unwrap_or("latest"));
        self.client
            .put_manifest(repository, which, media::OCI_MANIFEST, artifact.manifest)
            .context(format!("failed to push {}", reference.familiar()))?;
        Ok(())
    }

    /// Sends one tag: an index whole, if all of it is here, and otherwise the image of it that the name stands for. With `platform` it is
    /// that platform's image in any case.
    ///
    /// # Errors
    /// It is not here, or not for that platform; a blob of it is away or damaged; or the registry does not take it.
    pub fn push(&self, reference: &Reference, platform: Option<&Platform>) -> Result<Pushed> {
        let reference = reference.clone().or_latest();
        let name = self.store.name(&reference)?.ok_or_else(|| {
            Error::not_found(format!(
                "An image does not exist locally with the tag: {}",
                reference.repository().familiar()
            ))
        })?;
        self.send(&name, platform)
    }

    /// Sends a manifest or an index of the store, with all that it leads to, under its digest alone.
    ///
    /// # Errors
    /// As [`Pusher::push`].
    pub fn push_digest(&self, repository: &Repository, digest: &Digest) -> Result<Pushed> {
        let contents = Contents::of(self.store, digest)?
            .ok_or_else(|| Error::not_found(format!("{digest} is not in the store whole")))?;
        let which = Which::Digest(digest);
        let top = self.send_contents(repository, &contents, which, &repository.familiar())?;
        Ok(Pushed {
            reference: repository.with_digest(digest.clone()),
            digest: top.digest.clone(),
            size: top.bytes.len() as u64,
            instead_of: None,
        })
    }

    /// Sends all tags of a repository.
    ///
    /// # Errors
    /// As [`Pusher::push`]; tags before that one are there.
    pub fn push_all(&self, repository: &Repository, platform: Option<&Platform>) -> Result<Vec<Pushed>> {
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
        names.iter().map(|name| self.send(name, platform)).collect()
    }

    fn send(&self, name: &Name, platform: Option<&Platform>) -> Result<Pushed> {
        let settled = self.settled(name)?;
        let name = &settled;
        let lease = self.store.lease()?;
        lease.hold_blobs(&self.store.blob_keys(&name.manifest)?)?;
        let (contents, instead_of) = self.contents(name, platform)?;
        lease.hold_blobs(contents.blobs())?;
        let repository = name.reference.repository();
        let which = Which::Tag(name.reference.tag().unwrap_or("latest"));
        let top = self.send_contents(repository, &contents, which, &name.reference.familiar())?;
        // The last configuration is that of the only image, if there is one.
        let image = match contents.configs.as_slice() {
            [only] => only.digest.clone(),
            _ => name.image.clone(),
        };
        if let Some(image) = self.store.image(&image)? {
            self.store.pin(repository, &top.digest, &image)?;
        }
        Ok(Pushed {
            reference: name.reference.clone(),
            digest: top.digest.clone(),
            size: top.bytes.len() as u64,
            instead_of,
        })
    }

    /// Layers first, what names them last. The document that names all.
    fn send_contents<'c>(
        &self,
        repository: &Repository,
        contents: &'c Contents,
        which: Which<'_>,
        shown: &str,
    ) -> Result<&'c Held> {
        let failed = || format!("failed to push {shown}");
        let (top, children) = contents
            .documents
            .split_last()
            .ok_or_else(|| Error::new("there is nothing to push"))?;
        let origins = self.origins(repository)?;
        for layer in &contents.layers {
            self.tell(layer, Step::Preparing);
        }
        parallel::each(&contents.layers, self.at_once, self.cancel, |layer| {
            self.layer(repository, layer, &origins)
        })?;
        for config in &contents.configs {
            self.blob(repository, config, origin_of(&origins, config), &|_| ())?;
        }
        let put = |which, held: &Held| {
            self.client
                .put_manifest(repository, which, &held.media_type, &held.bytes)
                .context(failed())
        };
        for child in children {
            put(Which::Digest(&child.digest), child)?;
        }
        put(which, top)?;
        Ok(top)
    }

    /// The name, when its image has blobs: one that was built here may have none yet.
    fn settled(&self, name: &Name) -> Result<Name> {
        let manifest = assemble::settle_manifest(self.store, &name.image, &name.manifest, self.cancel)
            .context(format!("failed to push {}", name.reference.familiar()))?;
        if manifest == name.manifest {
            return Ok(name.clone());
        }
        let target = match name.target == name.manifest {
            true => manifest.clone(),
            false => name.target.clone(),
        };
        Ok(Name {
            manifest,
            target,
            ..name.clone()
        })
    }

    /// What is sent under a name, and the index that is not, though the name stands for it.
    fn contents(&self, name: &Name, platform: Option<&Platform>) -> Result<(Contents, Option<Digest>)> {
        let manifest = match platform {
            Some(wanted) => variants::of_platform(self.store, &name.target, wanted)?
                .or(variants::of_platform(self.store, &name.manifest, wanted)?)
                .ok_or_else(|| {
                    Error::not_found(format!(
                        "image with reference {} was found but does not provide the specified platform ({wanted})",
                        name.reference.familiar()
                    ))
                })?,
            None => match Contents::of(self.store, &name.target)? {
                Some(whole) => return Ok((whole, None)),
                None => name.manifest.clone(),
            },
        };
        let only = Contents::of(self.store, &manifest)?.ok_or_else(|| {
            Error::not_found(format!(
                "a blob of {} is not in the store any more; see brig system check --repair",
                name.reference.familiar()
            ))
        })?;
        let is_less = platform.is_none() && name.target != manifest;
        Ok((only, is_less.then(|| name.target.clone())))
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
