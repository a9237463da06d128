//! Indexes of the store: which of their images are here, and whether all of them are.
//!
//! The store has one image under a name. The index that led to it is kept beside it, byte for byte, and may lead to more.
//!
//! May not: fetch what is missing.

use crate::oci::{Descriptor, Document, Index, MANIFEST_LIMIT, Manifest, media};
use crate::platform::Platform;
use crate::store::Store;
use crate::{Digest, Error, Kind, Result};

/// An index may name indexes, but not for ever.
const INDEX_DEPTH: usize = 4;

/// A manifest or an index, with everything that it leads to.
#[derive(Debug, Default)]
pub struct Contents {
    /// Each behind all that it names: the one that was asked for is the last.
    pub documents: Vec<Held>,
    pub configs: Vec<Descriptor>,
    /// Those that may be sent to registries.
    pub layers: Vec<Descriptor>,
}

/// A document of the store.
#[derive(Debug)]
pub struct Held {
    pub digest: Digest,
    pub media_type: String,
    pub bytes: Vec<u8>,
}

impl Contents {
    /// All of it, if it is here.
    ///
    /// # Errors
    /// The store cannot be read, or a document is damaged.
    pub fn of(store: &Store, digest: &Digest) -> Result<Option<Contents>> {
        let mut contents = Contents::default();
        let is_whole = contents.gather(store, digest, "", INDEX_DEPTH)?;
        Ok(is_whole.then_some(contents))
    }

    /// Every blob of it.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        let documents = self.documents.iter().map(|held| &held.digest);
        let others = self.configs.iter().chain(&self.layers);
        documents.chain(others.map(|descriptor| &descriptor.digest))
    }

    fn gather(&mut self, store: &Store, digest: &Digest, media_type: &str, depth: usize) -> Result<bool> {
        if self.documents.iter().any(|held| held.digest == *digest) {
            return Ok(true);
        }
        if store.blob_size(digest)?.is_none() {
            return Ok(false);
        }
        let bytes = store.read_blob(digest, MANIFEST_LIMIT)?;
        let media_type = match Document::parse(media_type, &bytes)? {
            Document::Manifest(manifest) => {
                if store.blob_size(&manifest.config.digest)?.is_none() {
                    return Ok(false);
                }
                add(&mut self.configs, &manifest.config);
                for layer in manifest.layers.iter().filter(|layer| layer.is_distributable()) {
                    if store.blob_size(&layer.digest)?.is_none() {
                        return Ok(false);
                    }
                    add(&mut self.layers, layer);
                }
                type_of_manifest(&manifest).to_owned()
            }
            Document::Index(_) if depth == 0 => {
                return Err(Error::corrupt(format!(
                    "{digest}: the indexes are nested too deeply"
                )));
            }
            Document::Index(index) => {
                for child in &index.manifests {
                    if !self.gather(store, &child.digest, &child.media_type, depth - 1)? {
                        return Ok(false);
                    }
                }
                type_of_index(&index).to_owned()
            }
        };
        self.documents.push(Held {
            digest: digest.clone(),
            media_type,
            bytes,
        });
        Ok(true)
    }
}

fn add(list: &mut Vec<Descriptor>, descriptor: &Descriptor) {
    if !list.iter().any(|known| known.digest == descriptor.digest) {
        list.push(descriptor.clone());
    }
}

fn type_of_manifest(manifest: &Manifest) -> &str {
    match manifest.media_type.as_deref() {
        Some(own) => own,
        // Old OCI manifests do not say; the type of the configuration tells the two apart.
        None if manifest.config.media_type == media::DOCKER_CONFIG => media::DOCKER_MANIFEST,
        None => media::OCI_MANIFEST,
    }
}

fn type_of_index(index: &Index) -> &str {
    index.media_type.as_deref().unwrap_or(media::OCI_INDEX)
}

/// The manifest for a platform, of the index or the manifest with this digest; none, if it has none or that one is not here.
///
/// # Errors
/// The store cannot be read, or a document is damaged.
pub fn of_platform(store: &Store, target: &Digest, wanted: &Platform) -> Result<Option<Digest>> {
    let mut digest = target.clone();
    for _ in 0..=INDEX_DEPTH {
        if store.blob_size(&digest)?.is_none() {
            return Ok(None);
        }
        let bytes = store.read_blob(&digest, MANIFEST_LIMIT)?;
        let index = match Document::parse("", &bytes)? {
            Document::Index(index) => index,
            Document::Manifest(manifest) => {
                if store.blob_size(&manifest.config.digest)?.is_none() {
                    return Ok(None);
                }
                let own = store.config(&manifest.config.digest)?.0.platform();
                return Ok(wanted.rank(&own).map(|_| digest));
            }
        };
        match index.choose(wanted) {
            Ok(chosen) => digest = chosen.digest.clone(),
            Err(e) if e.kind() == Kind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Err(Error::corrupt(format!(
        "{target}: the indexes are nested too deeply"
    )))
}
