//! A layer that is needed becomes a layer that is there: from its blob, or from the stream that becomes its blob.
//!
//! May not: know where a stream comes from.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use crate::assemble::is_away;
use crate::layer::{self, Devices, FindLower, Lower, Overlay, Owners, Target, Unpacked};
use crate::mount;
use crate::oci::Descriptor;
use crate::parallel;
use crate::progress::{Event, Listener, Step};
use crate::registry::Cancel;
use crate::store::{Form, KeyLock, Layer, LayerKey, Lease, Store};
use crate::{Context, Digest, Error, Kind, Result};

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

/// How layers are made on this host, and by this user.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub form: Form,
    pub overlay: Overlay,
    pub devices: Devices,
    pub owners: Owners,
}

impl Means {
    /// Of root, where nothing stands in the way.
    pub fn plain(form: Form) -> Means {
        Means {
            form,
            overlay: Overlay::default(),
            devices: Devices::default(),
            owners: Owners::default(),
        }
    }

    /// What this kernel and our rights allow. Without a wish, a layer becomes one file where the kernel mounts such
    /// ([decision 13](../../../docs/decisions/0013-layers-as-erofs.md)).
    ///
    /// # Errors
    /// The wish cannot be had here.
    pub fn of_host(store: &Store, wish: Option<Form>) -> Result<Means> {
        let is_inside = mount::in_user_namespace();
        let takes_files = || !is_inside && mount::takes_files(&store.database());
        let form = match wish {
            Some(Form::Tree) => Form::Tree,
            Some(Form::Erofs) if !takes_files() => {
                return Err(Error::of(
                    Kind::Unsupported,
                    "this kernel does not mount EROFS from a file, or not for this user (Linux 6.12 does, for root); layers can be trees",
                ));
            }
            Some(Form::Erofs) => Form::Erofs,
            None if takes_files() => Form::Erofs,
            None => Form::Tree,
        };
        Ok(Means {
            form,
            overlay: if is_inside {
                Overlay::User
            } else {
                Overlay::Trusted
            },
            devices: if is_inside { Devices::Skip } else { Devices::Make },
            owners: if is_inside && maps_one_id()? {
                Owners::Caller
            } else {
                Owners::Keep
            },
        })
    }
}

/// Whether our user namespace has a single user.
fn maps_one_id() -> Result<bool> {
    let map = fs::read_to_string("/proc/self/uid_map").context("failed to read /proc/self/uid_map")?;
    let size = |line: &str| {
        line.split_whitespace()
            .nth(2)
            .and_then(|size| size.parse::<u64>().ok())
    };
    Ok(map.lines().filter_map(size).sum::<u64>() == 1)
}

/// How layers are made here.
pub struct Maker<'m> {
    pub store: &'m Store,
    pub means: Means,
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
        let lock = self.turn(wanted)?;
        // Whoever had the lock may have made it.
        match self.find(wanted)? {
            Some(layer) => Ok(Claim::Found(layer)),
            None => Ok(Claim::Ours(lock)),
        }
    }

    /// The right to make a layer.
    fn turn(&self, wanted: &Wanted<'_>) -> Result<KeyLock> {
        let waiting = || {
            (self.listener)(&Event::Layer {
                id: wanted.blob.short(),
                step: Step::Waiting,
            })
        };
        self.store
            .lock(&format!("layer-{}", wanted.diff_id.hex()), waiting, || {
                self.cancel.is_called()
            })
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
    /// The blob is away or damaged ([`Kind::Corrupt`]), or the layer cannot be unpacked.
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
        let (layer, directory) = self.afresh(lease, wanted, None)?;
        self.store.publish_layer(lease, &directory, &layer)?;
        Ok(layer)
    }

    /// Makes a layer of its blob and puts it in the place of the one that is there, if any.
    ///
    /// # Errors
    /// As [`Maker::afresh`].
    pub fn renew(&self, lease: &Lease<'_>, wanted: &Wanted<'_>, below: Option<&[Layer]>) -> Result<()> {
        let _lock = self.turn(wanted)?;
        let (layer, directory) = self.afresh(lease, wanted, below)?;
        lease.hold_layer(layer.key.as_str())?;
        self.store.publish_layer(lease, &directory, &layer)
    }

    /// Makes a layer of its blob in a directory of the lease, and leaves it there; where it is, whether the store has one like it or not. One
    /// that contains parts of the layers below gets to see these.
    ///
    /// # Errors
    /// As [`Maker::from_blob`]; or the layers below cannot be mounted to be looked at.
    pub fn afresh(
        &self,
        lease: &Lease<'_>,
        wanted: &Wanted<'_>,
        below: Option<&[Layer]>,
    ) -> Result<(Layer, PathBuf)> {
        let source = match self.store.open_blob(wanted.blob) {
            // The manifest names the tar itself where nobody has packed the layer yet.
            Err(e) if e.kind() == Kind::NotFound && wanted.blob == wanted.diff_id => {
                return Err(is_away(wanted.diff_id));
            }
            source => source?,
        };
        let (mut layer, found) = match below {
            None => self.unpack(lease, wanted, source)?,
            Some(below) => {
                let spec = mount::Spec {
                    layers: self.store.mountable(below),
                    scratch: Some(lease.directory()),
                    ..mount::Spec::default()
                };
                let (root, _) = mount::detached(&spec).context("failed to look at the layers below")?;
                let find = |path: &Path| find_below(root.as_fd(), path);
                self.unpack_with(lease, wanted, source, Some(&find))?
            }
        };
        if found.compressed_digest.as_ref() != Some(wanted.blob) {
            return Err(damaged(wanted.blob));
        }
        if below.is_some() {
            layer.key = LayerKey::above(wanted.below, wanted.diff_id);
        }
        Ok((layer, self.directory(lease, wanted)))
    }

    /// All layers of an image, of blobs that are in the store.
    ///
    /// # Errors
    /// As [`Maker::from_blob`].
    pub fn all_from_blobs(
        &self,
        lease: &Lease<'_>,
        diff_ids: &[Digest],
        blobs: &[Descriptor],
        at_once: usize,
    ) -> Result<Vec<Layer>> {
        self.all(diff_ids, blobs, at_once, lease, |wanted, _| {
            self.from_blob(lease, wanted)
        })
    }

    /// All layers of an image, each by `work`, side by side; and then, one after the other, those that need what is below them.
    ///
    /// # Errors
    /// The first that `work` fails with.
    pub fn all(
        &self,
        diff_ids: &[Digest],
        blobs: &[Descriptor],
        at_once: usize,
        lease: &Lease<'_>,
        work: impl Fn(&Wanted<'_>, &Descriptor) -> Result<Layer> + Sync,
    ) -> Result<Vec<Layer>> {
        let wanted: Vec<Wanted<'_>> = diff_ids
            .iter()
            .zip(blobs)
            .enumerate()
            .map(|(position, (diff_id, blob))| Wanted {
                diff_id,
                blob: &blob.digest,
                size: blob.size,
                below: &diff_ids[..position],
            })
            .collect();
        let positions: Vec<usize> = (0..wanted.len()).collect();
        let made = parallel::each(&positions, at_once, self.cancel, |&position| {
            self.cancel.check()?;
            match work(&wanted[position], &blobs[position]) {
                Err(e) if e.kind() == Kind::Incomplete => Ok(None),
                other => other.map(Some),
            }
        })?;
        let mut layers: Vec<Layer> = Vec::with_capacity(made.len());
        for (layer, wanted) in made.into_iter().zip(&wanted) {
            let layer = match layer {
                Some(layer) => layer,
                None => self.above(lease, wanted, &layers)?,
            };
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Makes a layer of its blob that has links to files of the layers below, which are all there. It then contains copies of these
    /// files, and its name says below what it lies.
    ///
    /// # Errors
    /// As [`Maker::from_blob`]; or the layers below cannot be mounted to be looked at.
    pub fn above(&self, lease: &Lease<'_>, wanted: &Wanted<'_>, below: &[Layer]) -> Result<Layer> {
        let _lock = match self.claim(wanted)? {
            Claim::Found(layer) => return Ok(layer),
            Claim::Ours(lock) => lock,
        };
        if below.is_empty() {
            return Err(Error::corrupt(format!(
                "layer {} has links to files below it, and is the lowest",
                wanted.blob.short()
            )));
        }
        let (layer, directory) = self.afresh(lease, wanted, Some(below))?;
        lease.hold_layer(layer.key.as_str())?;
        self.store.publish_layer(lease, &directory, &layer)?;
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
        self.unpack_with(lease, wanted, source, None)
    }

    fn unpack_with(
        &self,
        lease: &Lease<'_>,
        wanted: &Wanted<'_>,
        source: impl Read + Send,
        lower: Option<FindLower<'_>>,
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
            lower,
            overlay: self.means.overlay,
            devices: self.means.devices,
            owners: self.means.owners,
            ..layer::Options::default()
        };
        let path = directory.join(self.means.form.file_name());
        let found = match self.means.form {
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
        if found.devices_dropped > 0 {
            (self.listener)(&Event::Warning(format!(
                "layer {}: devices were left out, which only root may make: {}",
                wanted.blob.short(),
                found.devices_dropped
            )));
        }
        let mut layer = Layer::new(
            LayerKey::of(wanted.diff_id),
            wanted.diff_id.clone(),
            self.means.form,
            found.files,
            found.bytes,
            Some(wanted.blob.clone()),
        );
        layer.hides_all_below = found.hides_all_below;
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

    fn directory(&self, lease: &Lease<'_>, wanted: &Wanted<'_>) -> PathBuf {
        lease.directory().join(format!("layer-{}", wanted.diff_id.hex()))
    }
}

fn damaged(blob: &Digest) -> Error {
    Error::corrupt(format!(
        "blob {blob} is damaged: its digest is another; see brig system check --repair"
    ))
}

/// A regular file of the layers below, as they lie on each other. Links on the way are followed inside.
fn find_below(root: BorrowedFd<'_>, path: &Path) -> Result<Option<Lower>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let opened = sys::fs::openat2(
        root,
        parent,
        libc::O_PATH | libc::O_DIRECTORY,
        0,
        libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS,
    );
    let found = opened
        .map_err(Error::from)
        .and_then(|parent| Lower::open(parent.as_fd(), Path::new(name)));
    match found {
        Err(e) if e.kind() == Kind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// The answer to a claim.
pub enum Claim {
    Found(Layer),
    /// Kept while the layer is made.
    Ours(KeyLock),
}
