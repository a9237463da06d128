//! A layer that is needed becomes a layer that is there: from its blob, or from the stream that becomes its blob.
//!
//! May not: know where a stream comes from.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsFd;

use crate::layer::{self, Target, Unpacked};
use crate::progress::{Event, Listener, Step};
use crate::registry::Cancel;
use crate::store::{Form, KeyLock, Layer, LayerKey, Lease, Store};
use crate::{Context, Digest, Error, Result};

/// What is to be there.
pub struct Wanted<'w> {
    pub diff_id: &'w Digest,
    /// The blob that it is unpacked from.
    pub blob: &'w Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// The layers under it, the lowest first.
    pub below: &'w [Digest],
}

/// How layers are made here.
pub struct Maker<'m> {
    pub store: &'m Store,
    pub form: Form,
    pub cancel: &'m Cancel,
    pub listener: &'m Listener<'m>,
}

impl Maker<'_> {
    /// The layer, if it is there; else the right to make it, which nobody else has meanwhile.
    ///
    /// # Errors
    /// Called off, or the store cannot be read.
    pub fn claim(&self, wanted: &Wanted<'_>) -> Result<Claim> {
        if let Some(layer) = self.find(wanted)? {
            return Ok(Claim::Found(layer));
        }
        let waiting = || {
            (self.listener)(&Event::Layer {
                id: wanted.blob.short(),
                step: Step::Waiting,
            })
        };
        let lock = self
            .store
            .lock(&format!("layer-{}", wanted.diff_id.hex()), waiting, || {
                self.cancel.is_called()
            })?;
        // Whoever had the lock may have made it.
        match self.find(wanted)? {
            Some(layer) => Ok(Claim::Found(layer)),
            None => Ok(Claim::Ours(lock)),
        }
    }

    fn find(&self, wanted: &Wanted<'_>) -> Result<Option<Layer>> {
        match self.store.layer(&LayerKey::of(wanted.diff_id))? {
            Some(layer) => Ok(Some(layer)),
            None => self.store.layer(&LayerKey::above(wanted.below, wanted.diff_id)),
        }
    }

    /// Makes the layer of the blob that is in the store, unless it is there.
    ///
    /// # Errors
    /// The blob is away or damaged ([`crate::Kind::Corrupt`]), or the layer cannot be unpacked.
    pub fn from_blob(&self, lease: &Lease<'_>, wanted: &Wanted<'_>) -> Result<Layer> {
        lease.hold_layer(LayerKey::of(wanted.diff_id).as_str())?;
        let _lock = match self.claim(wanted)? {
            Claim::Found(layer) => return Ok(layer),
            Claim::Ours(lock) => lock,
        };
        self.make(lease, wanted)
    }

    /// Makes the layer of its blob. The caller has the right to.
    ///
    /// # Errors
    /// As [`Maker::from_blob`].
    pub fn make(&self, lease: &Lease<'_>, wanted: &Wanted<'_>) -> Result<Layer> {
        let source = self.store.open_blob(wanted.blob)?;
        let (layer, found) = self.unpack(lease, wanted, source)?;
        if found.compressed_digest.as_ref() != Some(wanted.blob) {
            return Err(Error::corrupt(format!(
                "blob {} is damaged: its digest is another; see brig system check --repair",
                wanted.blob
            )));
        }
        self.keep(lease, &layer)?;
        Ok(layer)
    }

    /// Unpacks `source` into the lease's directory. The diff id is verified; whether the compressed bytes were those of the blob is for
    /// the caller to compare, before [`Maker::keep`].
    ///
    /// # Errors
    /// The stream's, what is wrong with the archive, or that the diff id is another.
    pub fn unpack(
        &self,
        lease: &Lease<'_>,
        wanted: &Wanted<'_>,
        source: impl Read + Send,
    ) -> Result<(Layer, Unpacked)> {
        let directory = self.directory(lease, wanted);
        let failed = || format!("failed to unpack layer {}", wanted.blob.short());
        if directory.exists() {
            // An attempt before this one, in the same process.
            layer::remove_path(&directory).context(failed())?;
        }
        fs::create_dir(&directory).context(failed())?;
        let tell = |done: u64| {
            (self.listener)(&Event::Layer {
                id: wanted.blob.short(),
                step: Step::Extracting {
                    done,
                    total: wanted.size,
                },
            });
        };
        let options = layer::Options {
            compressed: Some(wanted.blob.algorithm()),
            progress: Some(&tell),
            cancel: Some(self.cancel.flag()),
            ..layer::Options::default()
        };
        let path = directory.join(self.form.file_name());
        let found = match self.form {
            Form::Tree => {
                fs::create_dir(&path).context(failed())?;
                let root = File::open(&path).context(failed())?;
                layer::unpack(source, Target::Tree(root.as_fd()), &options)
            }
            Form::Erofs => {
                let image = File::create_new(&path).context(failed())?;
                layer::unpack(source, Target::Erofs(&image), &options)
            }
        }
        .context(failed())?;
        if found.diff_id != *wanted.diff_id {
            return Err(Error::corrupt(format!(
                "layer {} is not what its image says: its diff id is {} instead of {}",
                wanted.blob.short(),
                found.diff_id,
                wanted.diff_id
            )));
        }
        let layer = Layer::new(
            LayerKey::of(wanted.diff_id),
            wanted.diff_id.clone(),
            self.form,
            found.files,
            found.bytes,
            Some(wanted.blob.clone()),
        );
        Ok((layer, found))
    }

    /// Moves what [`Maker::unpack`] has made to its place.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn keep(&self, lease: &Lease<'_>, layer: &Layer) -> Result<()> {
        let directory = lease.directory().join(format!("layer-{}", layer.diff_id.hex()));
        self.store.publish_layer(lease, &directory, layer)
    }

    fn directory(&self, lease: &Lease<'_>, wanted: &Wanted<'_>) -> std::path::PathBuf {
        lease.directory().join(format!("layer-{}", wanted.diff_id.hex()))
    }
}

/// The answer to a claim.
pub enum Claim {
    Found(Layer),
    /// Kept while the layer is made.
    Ours(KeyLock),
}
