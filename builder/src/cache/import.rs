//! What other stores have made: `--cache-from`.
//!
//! A place is asked when a step is not in our own cache, and not before: a build that has everything asks nobody. What is found becomes a
//! record of our cache, with its layer, and is an ordinary hit then. A place that is not there, cannot be reached, or has something else
//! than it says, is a warning, once, and is asked no more: what its steps would have been is done here.
//!
//! May not: fail a build, or believe a digest that it has not computed.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use image::oci::{CONFIG_LIMIT, Descriptor, Document, ImageConfig, Index, MANIFEST_LIMIT, Manifest};
use image::platform::Platform;
use image::provide::{Maker, Wanted};
use image::pull::Puller;
use image::reference::{Reference, Repository};
use image::registry::{Cancel, Client, Which};
use image::store::{Layer, LayerKey, Lease, cache};
use image::{Context as _, Digest, Error, Kind, Result, progress};
use serde_json::json;

use super::layout::Layout;
use super::options::Place;
use super::record::{ANNOTATION, LIMIT, MEDIA_TYPE, Record, Records};
use crate::make::Means;
use crate::request::Request;
use crate::telling::{Counter, Event, Listener, Vertex};

/// Places that are asked, in the order in which they were named.
pub struct Imports<'i> {
    sources: Vec<Source>,
    client: &'i Client,
    cancel: &'i Cancel,
    listener: &'i Listener<'i>,
    counter: &'i Counter,
    /// Whose images are looked into.
    platforms: &'i [Platform],
}

/// What is known of a step before anything is fetched.
pub struct Peeked {
    pub of: Digest,
    pub created: String,
    /// It has written something.
    pub has_layer: bool,
    /// That was not sent.
    pub is_absent: bool,
}

struct Source {
    place: Place,
    /// Looked into when first asked.
    caches: OnceLock<Vec<Cache>>,
    is_off: AtomicBool,
}

/// One cache of a place.
struct Cache {
    records: Records,
    /// With their diff ids.
    layers: Vec<(Digest, Descriptor)>,
    blobs: Arc<Blobs>,
}

/// Who asks, and for which step.
pub struct Asking<'a> {
    pub means: &'a Means<'a>,
    pub lease: &'a Lease<'a>,
    pub vertex: Vertex,
    /// What the step is called.
    pub name: &'a str,
    /// What it lies on.
    pub below: &'a Digest,
    /// Called before anything is fetched.
    pub begin: &'a dyn Fn(),
}

/// How many images of an index are looked into.
const MOST_IMAGES: usize = 32;
/// An index may name indexes, but not for ever.
const DEPTH: usize = 3;

impl<'i> Imports<'i> {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// What was said of one makes no sense.
    pub fn of(
        means: &'i Means<'i>,
        request: &Request,
        counter: &'i Counter,
        platforms: &'i [Platform],
    ) -> Result<Imports<'i>> {
        let source = |store| {
            Ok(Source {
                place: Place::of_source(store)?,
                caches: OnceLock::new(),
                is_off: AtomicBool::new(false),
            })
        };
        Ok(Imports {
            sources: request.cache_from.iter().map(source).collect::<Result<_>>()?,
            client: means.client,
            cancel: means.maker.cancel,
            listener: means.listener,
            counter,
            platforms,
        })
    }

    /// Whether there is nobody to be asked.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// Puts what a place has of a step into the store's cache. Whether one had it.
    ///
    /// # Errors
    /// Called off.
    pub fn bring(&self, asking: &Asking<'_>, key: &Digest) -> Result<bool> {
        for source in &self.sources {
            let Some((cache, record)) = self.find(source, key, |record| !record.is_absent)? else {
                continue;
            };
            match cache.bring(asking, key, record) {
                Ok(()) => return Ok(true),
                Err(e) if e.kind() == Kind::Cancelled => return Err(e),
                Err(e) => self.give_up(source, &e),
            }
        }
        Ok(false)
    }

    /// What the places say of a step; what has its layer before what has only its key.
    ///
    /// # Errors
    /// Called off.
    pub fn peek(&self, key: &Digest) -> Result<Option<Peeked>> {
        for is_absent in [false, true] {
            for source in &self.sources {
                if let Some((_, record)) = self.find(source, key, |record| record.is_absent == is_absent)? {
                    return Ok(Some(Peeked {
                        of: record.of.clone(),
                        created: record.created.clone(),
                        has_layer: record.layer.is_some() || is_absent,
                        is_absent,
                    }));
                }
            }
        }
        Ok(None)
    }

    fn find<'s>(
        &self,
        source: &'s Source,
        key: &Digest,
        suits: impl Fn(&Record) -> bool,
    ) -> Result<Option<(&'s Cache, &'s Record)>> {
        self.cancel.check()?;
        if source.is_off.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let caches = source.caches.get_or_init(|| self.look(source));
        Ok(caches.iter().find_map(|cache| {
            let record = cache.records.records.get(key)?;
            suits(record).then_some((cache, record))
        }))
    }

    /// All caches of a place that are there for us.
    fn look(&self, source: &Source) -> Vec<Cache> {
        let vertex = self.counter.next();
        let name = format!("importing cache manifest from {}", source.place);
        (self.listener)(&Event::Begun { vertex, name: &name });
        let caches = Blobs::of(&source.place).and_then(|blobs| {
            let mut finding = Finding {
                client: self.client,
                platforms: self.platforms,
                blobs: Arc::new(blobs),
                caches: Vec::new(),
            };
            finding.find(&source.place)?;
            match finding.caches.is_empty() {
                true => Err(Error::not_found("there is no build cache of brig in it")),
                false => Ok(finding.caches),
            }
        });
        let caches = caches.unwrap_or_else(|e| {
            // That the build was called off is told by who has noticed it first.
            if e.kind() != Kind::Cancelled {
                self.give_up(source, &e);
            }
            Vec::new()
        });
        (self.listener)(&Event::Done { vertex });
        caches
    }

    fn give_up(&self, source: &Source, why: &Error) {
        if !source.is_off.swap(true, Ordering::Relaxed) {
            let text = format!("the cache of {} is not used: {why}", source.place);
            (self.listener)(&Event::Warning { text: &text });
        }
    }
}

/// Where the bytes are.
enum Blobs {
    Registry(Repository),
    Local(Layout),
}

impl Blobs {
    fn of(place: &Place) -> Result<Blobs> {
        match place {
            Place::Registry(reference) => Ok(Blobs::Registry(reference.repository().clone())),
            Place::Local { path, .. } => Layout::open(path).map(Blobs::Local),
        }
    }
}

/// A place on the way to its caches.
struct Finding<'f> {
    client: &'f Client,
    platforms: &'f [Platform],
    blobs: Arc<Blobs>,
    caches: Vec<Cache>,
}

impl Finding<'_> {
    fn find(&mut self, place: &Place) -> Result<()> {
        let (bytes, media_type) = match (place, &*self.blobs) {
            (Place::Registry(reference), Blobs::Registry(repository)) => {
                let fetched = self.client.manifest(repository, which(reference))?;
                (fetched.bytes, fetched.media_type)
            }
            (Place::Local { tag, digest, .. }, Blobs::Local(layout)) => {
                let digest = match digest {
                    Some(digest) => digest.clone(),
                    None => layout.tagged(tag)?,
                };
                (layout.read(&digest, MANIFEST_LIMIT)?, String::new())
            }
            _ => return Ok(()),
        };
        match Document::parse(&media_type, &bytes)? {
            Document::Manifest(manifest) => self.manifest(&manifest),
            Document::Index(index) => self.index(&index, DEPTH),
        }
    }

    fn index(&mut self, index: &Index, depth: usize) -> Result<()> {
        let suits = |image: &&Descriptor| {
            let is_ours = |own: &Platform| self.platforms.iter().any(|wanted| wanted.rank(own).is_some());
            image.is_manifest() && !image.is_companion() && image.platform.as_ref().is_none_or(is_ours)
        };
        let suiting: Vec<&Descriptor> = index.manifests.iter().filter(suits).take(MOST_IMAGES).collect();
        for image in suiting {
            let bytes = match &*self.blobs {
                Blobs::Registry(repository) => {
                    self.client
                        .manifest(repository, Which::Digest(&image.digest))?
                        .bytes
                }
                Blobs::Local(layout) => layout.read(&image.digest, MANIFEST_LIMIT)?,
            };
            match Document::parse(&image.media_type, &bytes)? {
                Document::Manifest(manifest) => self.manifest(&manifest)?,
                Document::Index(index) if depth > 0 => self.index(&index, depth - 1)?,
                Document::Index(_) => return Err(Error::corrupt("the indexes are nested too deeply")),
            }
        }
        Ok(())
    }

    /// A cache, or an image that may have one inside.
    fn manifest(&mut self, manifest: &Manifest) -> Result<()> {
        let count = manifest.layers.len();
        let (records, diff_ids) = if manifest.config.media_type == MEDIA_TYPE {
            let mut records = Records::read(&self.small(&manifest.config, LIMIT)?, None)?;
            let diff_ids = std::mem::take(&mut records.layers);
            (records, diff_ids)
        } else if let Some(text) = manifest.annotations.get(ANNOTATION) {
            let records = Records::read(text.as_bytes(), Some(count))?;
            let config = ImageConfig::parse(&self.small(&manifest.config, CONFIG_LIMIT)?)?;
            (records, config.rootfs.diff_ids)
        } else {
            return Ok(());
        };
        if diff_ids.len() != count {
            return Err(Error::corrupt(format!(
                "the cache has {} layers, its manifest {count}",
                diff_ids.len()
            )));
        }
        self.caches.push(Cache {
            records,
            layers: diff_ids
                .into_iter()
                .zip(manifest.layers.iter().cloned())
                .collect(),
            blobs: self.blobs.clone(),
        });
        Ok(())
    }

    fn small(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        match &*self.blobs {
            Blobs::Registry(repository) => self.client.blob_bytes(repository, descriptor, limit),
            Blobs::Local(layout) => layout.read(&descriptor.digest, limit),
        }
    }
}

fn which(reference: &Reference) -> Which<'_> {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Which::Digest(digest),
        (None, tag) => Which::Tag(tag.unwrap_or("latest")),
    }
}

impl Cache {
    fn bring(&self, asking: &Asking<'_>, key: &Digest, record: &Record) -> Result<()> {
        let layer = match record.layer {
            None => None,
            Some(number) => {
                let (diff_id, blob) = self
                    .layers
                    .get(number)
                    .ok_or_else(|| Error::corrupt("a layer is named that is not there"))?;
                Some(self.layer(asking, diff_id, blob).context(asking.name)?)
            }
        };
        // Under its own name first: what is on top of it is found by that.
        if record.of != *key {
            keep(asking, &record.of, record, layer.as_ref())?;
        }
        keep(asking, key, record, layer.as_ref())
    }

    /// The layer in our store, in a state to be sent away again.
    fn layer(&self, asking: &Asking<'_>, diff_id: &Digest, blob: &Descriptor) -> Result<Layer> {
        let (means, lease) = (asking.means, asking.lease);
        let store = means.maker.store;
        let layer_key = LayerKey::of(diff_id);
        lease.hold_layer(layer_key.as_str())?;
        lease.hold_blob(&blob.digest)?;
        if let Some(there) = store.layer(&layer_key)?
            && is_sendable(asking, &there)?
        {
            return Ok(there);
        }
        (asking.begin)();
        // Of what asks nothing else may go to other threads.
        let (tell_to, vertex) = (means.listener, asking.vertex);
        let listener = |event: &progress::Event<'_>| tell(tell_to, vertex, event);
        let maker = Maker {
            store,
            means: means.maker.means,
            cancel: means.maker.cancel,
            listener: &listener,
        };
        let wanted = Wanted {
            diff_id,
            blob: &blob.digest,
            size: blob.size,
            below: &[],
        };
        let made = match &*self.blobs {
            Blobs::Registry(repository) => {
                let puller = Puller {
                    maker: &maker,
                    client: means.client,
                    platform: None,
                    at_once: means.at_once,
                };
                puller.layer(lease, repository, blob, &wanted)?
            }
            Blobs::Local(layout) => {
                take_over(asking, layout, blob)?;
                maker.from_blob(lease, &wanted)?
            }
        };
        // It was there, and what it had been made of was not.
        if !is_sendable(asking, &made)? {
            store.note_blob(&made.key, &blob.digest)?;
        }
        store
            .layer(&made.key)?
            .ok_or_else(|| Error::not_found(format!("layer {} was removed meanwhile", diff_id.short())))
    }
}

/// Whether its blob is there, or its tar can be made again.
fn is_sendable(asking: &Asking<'_>, layer: &Layer) -> Result<bool> {
    if layer.tar > 0 {
        return Ok(true);
    }
    let Some(blob) = &layer.blob else { return Ok(false) };
    asking.lease.hold_blob(blob)?;
    Ok(asking.means.maker.store.blob_size(blob)?.is_some())
}

/// Copies a blob of a layout into the store.
fn take_over(asking: &Asking<'_>, layout: &Layout, blob: &Descriptor) -> Result<()> {
    let store = asking.means.maker.store;
    if store.blob_size(&blob.digest)?.is_some() {
        return Ok(());
    }
    let place = asking
        .lease
        .directory()
        .join(format!("blob-{}", store.random_id()?));
    let failed = || format!("failed to write {}", place.display());
    let mut file = File::create_new(&place).context(failed())?;
    layout.copy(blob, &mut file, asking.means.maker.cancel)?;
    file.sync_data().context(failed())?;
    store.publish_blob(asking.lease, &place, &blob.digest, blob.size)
}

fn keep(asking: &Asking<'_>, key: &Digest, record: &Record, layer: Option<&Layer>) -> Result<()> {
    asking.means.maker.store.keep_cached(&cache::Step {
        key,
        layer,
        description: asking.name,
        kind: "regular",
        value: &json!({"created": record.created, "key": record.of}).to_string(),
        parents: std::slice::from_ref(asking.below),
    })
}

fn tell(listener: &Listener<'_>, vertex: Vertex, event: &progress::Event<'_>) {
    use progress::Step;
    if let progress::Event::Layer { id, step } = event
        && let Step::Downloading { done, total } | Step::Extracting { done, total } = step
    {
        listener(&Event::Progress {
            vertex,
            id,
            done: *done,
            total: *total,
        });
    }
}
