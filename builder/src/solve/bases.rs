//! Images that stages begin from or take files from: found here, or pulled.
//!
//! May not: unpack what nobody needs: what a configuration says is known before any layer is.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use build::lint::{self, Report};
use build::stages::{Graph, Origin, Stage};
use image::archive::{self, Which};
use image::oci::ImageConfig;
use image::platform::Platform;
use image::progress::{self, Step};
use image::provide::Maker;
use image::pull::Puller;
use image::reference::Reference;
use image::store::{Image, Lease};
use image::variants;
use image::{Context as _, Error, Kind, Result};

use super::state::State;
use crate::make::Means;
use crate::output::Material;
use crate::output::attest::purl;
use crate::request::{Named, Request};
use crate::telling::{Counter, Event, Vertex};

/// A name, and the platform that it is wanted for.
type Key = (String, Platform);

/// What names of images and of contexts stand for.
pub struct Bases {
    images: BTreeMap<Key, (Image, ImageConfig)>,
    /// Those whose layers are there for certain.
    states: Mutex<BTreeMap<Key, State>>,
    /// What each stage runs on.
    platforms: Vec<Platform>,
}

impl Bases {
    /// Finds all images that a graph needs, and puts their triggers into it.
    ///
    /// # Errors
    /// An image is nowhere, or a trigger of it is wrong.
    pub fn find(
        means: &Means<'_>,
        lease: &Lease<'_>,
        request: &Request,
        graph: &mut Graph,
        platform: &Platform,
        counter: &Counter,
        report: &mut Report,
    ) -> Result<Bases, BadBase> {
        let mut bases = Bases {
            images: BTreeMap::new(),
            states: Mutex::new(BTreeMap::new()),
            platforms: platforms(graph, platform)?,
        };
        let mut triggered = std::collections::BTreeSet::new();
        loop {
            let wanted: Vec<(usize, Origin, bool)> = wanted(graph);
            let mut has_changed = false;
            for (index, origin, is_base) in wanted {
                let Some(wanted) = Wanted::of(request, &origin)? else {
                    continue;
                };
                // As in BuildKit: what is only taken from is that of the platform that is built for, whatever the stage runs on.
                let platform = match is_base {
                    true => bases.platforms.get(index).unwrap_or(platform).clone(),
                    false => platform.clone(),
                };
                let key = (name_of(&origin).to_owned(), platform);
                if !bases.images.contains_key(&key) {
                    let (name, platform) = &key;
                    let found = match wanted {
                        Wanted::Named(reference) => find(means, request, &reference, platform, counter)?,
                        Wanted::InLayout(path, which) => {
                            of_layout(means, lease, (name, path, which), platform, counter)?
                        }
                    };
                    bases.images.insert(key.clone(), found);
                }
                if !is_base || !triggered.insert(index) {
                    continue;
                }
                let config = bases.images.get(&key).map(|(_, config)| config);
                if let (Some(config), Some(stage)) = (config, graph.stages.get(index)) {
                    tell_other_platform(stage, &key, &config.platform(), report);
                }
                let triggers = config.and_then(|config| config.config.on_build.clone());
                if let Some(triggers) = triggers.filter(|list| !list.is_empty()) {
                    graph.add_triggers(index, &triggers).map_err(BadBase::Trigger)?;
                    has_changed = true;
                }
            }
            if !has_changed {
                return Ok(bases);
            }
        }
    }

    /// What it was made of, as a provenance names it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn materials(&self, store: &image::store::Store) -> Result<Vec<Material>> {
        let mut materials = Vec::new();
        for ((name, platform), (image, _)) in &self.images {
            let Ok(reference) = name.parse::<Reference>() else {
                continue;
            };
            let version = reference.tag().unwrap_or("latest");
            materials.push(Material {
                uri: purl(&reference.repository().familiar(), version, platform),
                digest: store.target_of(name, image)?.to_string(),
            });
        }
        Ok(materials)
    }

    /// What a stage runs on: what its FROM asks for, or the stage that it begins from.
    pub fn platform(&self, index: usize) -> Option<&Platform> {
        self.platforms.get(index)
    }

    /// An image as the beginning of a stage, its layers unpacked.
    ///
    /// # Errors
    /// A layer cannot be made.
    pub fn state(
        &self,
        means: &Means<'_>,
        lease: &Lease<'_>,
        name: &str,
        platform: &Platform,
    ) -> Result<State> {
        let key = (name.to_owned(), platform.clone());
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(&key) {
            return Ok(state.clone());
        }
        let (image, config) = self
            .images
            .get(&key)
            .ok_or_else(|| Error::not_found(format!("image {name} was not looked for")))?;
        let store = means.maker.store;
        lease.hold_blobs(&store.blob_keys(&image.manifest)?)?;
        let (manifest, _) = store.manifest(&image.manifest)?;
        let layers = means
            .maker
            .all_from_blobs(lease, &config.rootfs.diff_ids, &manifest.layers, 1)?;
        for layer in &layers {
            lease.hold_layer(layer.key.as_str())?;
        }
        let state = State::of_image(image, config.clone(), layers);
        states.insert(key, state.clone());
        Ok(state)
    }
}

/// What each stage runs on. One that begins from another one is what that is.
fn platforms(graph: &Graph, target: &Platform) -> Result<Vec<Platform>> {
    let mut all: Vec<Platform> = Vec::with_capacity(graph.stages.len());
    for stage in &graph.stages {
        let platform = match (&stage.base, &stage.platform) {
            (Origin::Stage(base), _) => all.get(*base).unwrap_or(target).clone(),
            (Origin::Scratch, _) | (_, None) => target.clone(),
            (_, Some(written)) => written
                .text
                .parse()
                .context(format!("failed to parse platform {}", written.text))?,
        };
        all.push(platform);
    }
    Ok(all)
}

/// An image need not be what was asked for: one without an index is what it is.
fn tell_other_platform(stage: &Stage, (name, wanted): &Key, found: &Platform, report: &mut Report) {
    if (&wanted.os, &wanted.architecture) != (&found.os, &found.architecture) {
        let (wanted, found) = (wanted.to_string(), found.to_string());
        lint::base_platform(&stage.from, name, &wanted, &found, report);
    }
}

/// Which image an origin is.
enum Wanted<'r> {
    Named(Reference),
    /// `TAG@DIGEST` of a directory, either may be missing.
    InLayout(&'r Path, &'r str),
}

impl<'r> Wanted<'r> {
    fn of(request: &'r Request, origin: &Origin) -> Result<Option<Wanted<'r>>> {
        match origin {
            Origin::Image(name) => name
                .parse()
                .map(|reference| Some(Wanted::Named(reference)))
                .context(format!("failed to parse image name {name:?}")),
            Origin::Named(name) => Ok(match request.contexts.get(name) {
                Some(Named::Image(reference)) => Some(Wanted::Named(reference.clone())),
                Some(Named::Layout { path, reference }) => Some(Wanted::InLayout(path, reference)),
                Some(Named::Origin(_)) | None => None,
            }),
            Origin::Scratch | Origin::Stage(_) => Ok(None),
        }
    }
}

/// An image of a layout becomes one of the store, without a name.
fn of_layout(
    means: &Means<'_>,
    lease: &Lease<'_>,
    (name, path, which): (&str, &Path, &str),
    platform: &Platform,
    counter: &Counter,
) -> Result<(Image, ImageConfig)> {
    let store = means.maker.store;
    let vertex = counter.next();
    let title = format!("[context {name}] OCI load from client");
    (means.listener)(&Event::Begun { vertex, name: &title });
    let load = || {
        let (tag, digest) = which.split_once('@').unwrap_or((which, ""));
        let id = match digest {
            "" => {
                let tag = if tag.is_empty() { "latest" } else { tag };
                archive::layout(means.maker, lease, path, Which::Tag(tag), platform)
            }
            digest => {
                let digest = digest
                    .parse()
                    .context(format!("invalid digest {digest:?} of build context {name}"))?;
                archive::layout(means.maker, lease, path, Which::Digest(&digest), platform)
            }
        }?;
        let image = store
            .image(&id)?
            .ok_or_else(|| Error::not_found(format!("image {} was removed meanwhile", id.short())))?;
        let (config, _) = store.config(&id)?;
        Ok((image, config))
    };
    let loaded: Result<(Image, ImageConfig)> = load();
    match &loaded {
        Ok(_) => (means.listener)(&Event::Done { vertex }),
        Err(e) => (means.listener)(&Event::Failed {
            vertex,
            why: &e.to_string(),
        }),
    }
    loaded
}

/// Why a base is none.
pub enum BadBase {
    Trigger(build::source::Problem),
    Other(Error),
}

impl From<Error> for BadBase {
    fn from(error: Error) -> BadBase {
        BadBase::Other(error)
    }
}

fn name_of(origin: &Origin) -> &str {
    match origin {
        Origin::Image(name) | Origin::Named(name) => name,
        Origin::Scratch | Origin::Stage(_) => "",
    }
}

/// What the needed stages name, and whether it is what the stage begins from.
fn wanted(graph: &Graph) -> Vec<(usize, Origin, bool)> {
    let mut all = Vec::new();
    for (index, stage) in graph
        .stages
        .iter()
        .enumerate()
        .filter(|(_, stage)| stage.is_needed)
    {
        all.push((index, stage.base.clone(), true));
        let used = stage.steps.iter().flat_map(|step| step.origins.iter().flatten());
        all.extend(used.map(|origin| (index, origin.clone(), false)));
    }
    all
}

fn find(
    means: &Means<'_>,
    request: &Request,
    reference: &Reference,
    platform: &Platform,
    counter: &Counter,
) -> Result<(Image, ImageConfig)> {
    let store = means.maker.store;
    let reference = reference.clone().or_latest();
    let vertex = counter.next();
    let name = format!("[internal] load metadata for {reference}");
    (means.listener)(&Event::Begun { vertex, name: &name });
    let done = look_up(means, &reference, platform).and_then(|here| match here {
        Some(found) if !request.pull => Ok(found),
        here => pull(means, &reference, platform, vertex).or_else(|e| match (here, request.pull) {
            // What is there is no answer to --pull; without it we have come here because nothing is.
            (Some(found), false) => Ok(found),
            _ => Err(e),
        }),
    });
    match done {
        Ok(image) => {
            let (config, _) = store.config(&image.id)?;
            (means.listener)(&Event::Done { vertex });
            Ok((image, config))
        }
        Err(e) => {
            let e = e.context(reference.to_string());
            (means.listener)(&Event::Failed {
                vertex,
                why: &e.to_string(),
            });
            Err(e)
        }
    }
}

/// An image of the store for the platform.
fn look_up(means: &Means<'_>, reference: &Reference, platform: &Platform) -> Result<Option<Image>> {
    let store = means.maker.store;
    let Some(id) = store.resolve(reference)? else {
        return by_id(means, reference);
    };
    let Some(image) = store.image(&id)? else {
        return Ok(None);
    };
    let (config, _) = store.config(&image.id)?;
    if platform.rank(&config.platform()).is_some() {
        return Ok(Some(image));
    }
    // The index behind the name may lead to one that was pulled before.
    let target = store.target_of(&reference.to_string(), &image)?;
    match variants::of_platform(store, &target, platform)? {
        Some(manifest) => store.image(&store.manifest(&manifest)?.0.config.digest),
        None => Ok(None),
    }
}

/// `FROM sha256:...` and `FROM` a short id, as Docker's own builder takes them.
fn by_id(means: &Means<'_>, reference: &Reference) -> Result<Option<Image>> {
    match means.maker.store.find_image(&reference.familiar()) {
        Ok(image) => Ok(Some(image)),
        Err(e) if e.kind() == Kind::NotFound || e.kind() == Kind::Invalid => Ok(None),
        Err(e) => Err(e),
    }
}

fn pull(means: &Means<'_>, reference: &Reference, platform: &Platform, vertex: Vertex) -> Result<Image> {
    let listener = |event: &progress::Event<'_>| {
        if let progress::Event::Layer { id, step } = event
            && let Step::Downloading { done, total } | Step::Extracting { done, total } = step
        {
            (means.listener)(&Event::Progress {
                vertex,
                id,
                done: *done,
                total: *total,
            });
        }
    };
    let maker = Maker {
        store: means.maker.store,
        means: means.maker.means,
        cancel: means.maker.cancel,
        listener: &listener,
    };
    let pulled = Puller {
        maker: &maker,
        client: means.client,
        platform: Some(platform),
        at_once: means.at_once,
    }
    .pull(reference)?;
    means
        .maker
        .store
        .image(&pulled.image)?
        .ok_or_else(|| Error::not_found(format!("image {} was removed meanwhile", pulled.image.short())))
}
