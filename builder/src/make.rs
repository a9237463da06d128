//! From a request to an image: the order of a build.
//!
//! May not: do any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use build::plan::plan;
use build::stages::{Graph, Origin, Platform as Named};
use engine::containers::Containers;
use image::platform::Platform;
use image::provide::Maker;
use image::registry::Client;
use image::{Digest, Result};

use crate::cache;
use crate::cache::import::Imports;
use crate::cache::notes::Notes;
use crate::cache::options::{Place, Target};
use crate::failure::Failure;
use crate::output::{self, Exported, Product, Story};
use crate::request::{Output, OutputKind, Request};
use crate::solve::Solver;
use crate::solve::bases::{BadBase, Bases};
use crate::sources::Sources;
use crate::telling::{Counter, Event, Listener};

/// What a build works with.
pub struct Means<'b> {
    pub maker: &'b Maker<'b>,
    pub client: &'b Client,
    pub containers: &'b Containers,
    pub listener: &'b Listener<'b>,
    /// Layers that are pulled at the same time.
    pub at_once: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Built {
    /// For each platform that was asked for.
    pub images: Vec<BuiltImage>,
    /// For each output that was asked for.
    pub exported: Vec<Exported>,
    /// What should be otherwise in the Dockerfile.
    pub report: build::lint::Report,
    pub source: build::source::Source,
}

/// One image.
#[derive(Debug)]
pub struct BuiltImage {
    pub platform: Platform,
    pub id: Digest,
}

/// Where a reproducible build stands in time.
const EPOCH_ARG: &str = "SOURCE_DATE_EPOCH";

/// Builds, and puts what came of it where it was wanted.
///
/// # Errors
/// The Dockerfile is wrong, an instruction fails, or the result cannot be put. What was done is in the cache.
pub fn make(means: &Means<'_>, request: &Request) -> Result<Built, Failure> {
    let started = SystemTime::now();
    let store = means.maker.store;
    // What killed builds have left is no reason for this one to fail: another may be at it, or the next command comes by.
    if let Err(e) = engine::passing::sweep(means.containers) {
        let text = format!("what an earlier build has left stays: {e}");
        (means.listener)(&Event::Warning { text: &text });
    }
    let targets: Vec<Target> = request.cache_to.iter().map(Target::of).collect::<Result<_>>()?;
    let is_max = |target: &Target| matches!(target, Target::Own(own) if own.is_max);
    let keeps_all = targets.iter().any(is_max);
    let notes = Notes::default();
    let lease = store.lease()?;
    let counter = Counter::default();
    let (sources, source) = Sources::open(means, request, &lease, &counter)?;
    let platforms = platforms(request);
    let imports = Imports::of(means, request, &counter, &platforms)?;
    let mut states = Vec::new();
    let mut report = build::lint::Report::default();
    for platform in &platforms {
        let (mut graph, read) = read(&source, request, platform)?;
        report = read;
        obey(&report)?;
        let found = Bases::find(
            means,
            &lease,
            request,
            &mut graph,
            platform,
            &counter,
            &mut report,
        );
        let bases = match found {
            Ok(bases) => bases,
            Err(BadBase::Other(e)) => return Err(Failure::Other(e)),
            Err(BadBase::Trigger(problem)) => return Err(wrong(&source, vec![problem], report)),
        };
        replace_stages(&mut graph, &sources);
        let solver = Solver {
            means,
            request,
            lease: &lease,
            source: &source,
            graph: &graph,
            sources: &sources,
            bases: &bases,
            platform,
            epoch: epoch(request)?,
            counter: &counter,
            imports: &imports,
            notes: &notes,
            keeps_all,
        };
        let (ended, told) = solver.solve(report)?;
        report = told;
        // What only the values have shown.
        obey(&report)?;
        for name in graph.unused_args(&request.build_args) {
            let text = format!("[Warning] One or more build-args {name:?} were not consumed");
            (means.listener)(&Event::Warning { text: &text });
        }
        store.use_cached(&ended.state.steps)?;
        let materials = bases.materials(store)?;
        states.push((platform.clone(), ended.state, materials));
    }
    let epoch = epoch(request)?;
    let story = Story {
        started,
        ended: SystemTime::now(),
        dockerfile: source.text().as_bytes().to_vec(),
        epoch,
    };
    let time = epoch.and_then(|epoch| u64::try_from(epoch).ok());
    let time = time.map(|epoch| sys::time::rfc3339_nano(UNIX_EPOCH + Duration::from_secs(epoch)));
    // The argument is what `--cache-to type=inline` was before there was that.
    let is_inline = targets.iter().any(|target| matches!(target, Target::Inline))
        || request.is_set("BUILDKIT_INLINE_CACHE");
    let mut result = BTreeSet::new();
    let products: Vec<Product> = states
        .into_iter()
        .map(|(platform, state, materials)| {
            let mut annotations = BTreeMap::new();
            if is_inline {
                let records = cache::export::inline(&notes, &state.layers)?;
                annotations.insert(cache::record::ANNOTATION.to_owned(), records);
            }
            result.extend(state.steps.iter().cloned());
            Ok(Product {
                platform,
                config: state.finish(&request.labels, time.as_deref()),
                layers: state.layers,
                base: state.base,
                materials,
                annotations,
            })
        })
        .collect::<Result<_>>()?;
    let exported = export(means, request, &lease, &products, &story, &counter)?;
    for target in &targets {
        if let Target::Own(target) = target {
            send_cache(means, &lease, &notes, &result, target, &counter)?;
        }
    }
    let ids = exported.iter().find(|own| !own.images.is_empty());
    let ids = ids.map(|own| own.images.clone()).unwrap_or_default();
    let images = products
        .iter()
        .zip(ids)
        .map(|(product, id)| BuiltImage {
            platform: product.platform.clone(),
            id,
        })
        .collect();
    Ok(Built {
        images,
        exported,
        report,
        source,
    })
}

/// Puts the result everywhere it was wanted: into the store, if nobody has said anything.
fn export(
    means: &Means<'_>,
    request: &Request,
    lease: &image::store::Lease<'_>,
    products: &[Product],
    story: &Story,
    counter: &Counter,
) -> Result<Vec<Exported>> {
    let usual = [Output {
        kind: OutputKind::Image,
        destination: None,
        values: Default::default(),
    }];
    let outputs = match request.outputs.is_empty() {
        true => usual.as_slice(),
        false => request.outputs.as_slice(),
    };
    let mut exported = Vec::new();
    for output in outputs {
        let (name, what) = match output.kind {
            OutputKind::Image => ("exporting to image", "the image"),
            OutputKind::Oci => ("exporting to oci image format", "the archive"),
            OutputKind::Docker => ("exporting to docker image format", "the archive"),
            OutputKind::Local => ("exporting to client directory", "the files"),
            OutputKind::Tar => ("exporting to client tarball", "the files"),
            OutputKind::Cacheonly => {
                exported.push(Exported::default());
                continue;
            }
        };
        let vertex = counter.next();
        (means.listener)(&Event::Begun { vertex, name });
        match output::put(means, lease, request, output, products, story) {
            Ok(own) => {
                tell_image(means, vertex, &own);
                exported.push(own);
            }
            Err(e) => {
                let e = e.context(format!("failed to export {what}"));
                let why = e.to_string();
                (means.listener)(&Event::Failed { vertex, why: &why });
                return Err(e);
            }
        }
        (means.listener)(&Event::Done { vertex });
    }
    Ok(exported)
}

/// Sends the cache to one place. The image is where it was wanted by then.
fn send_cache(
    means: &Means<'_>,
    lease: &image::store::Lease<'_>,
    notes: &Notes,
    result: &BTreeSet<Digest>,
    target: &cache::options::Export,
    counter: &Counter,
) -> Result<()> {
    let vertex = counter.next();
    let name = match target.place {
        Place::Registry(_) => "exporting cache to registry",
        Place::Local { .. } => "exporting cache to client directory",
    };
    (means.listener)(&Event::Begun { vertex, name });
    match cache::export::export(means, lease, notes, result, target) {
        Ok(()) => {
            (means.listener)(&Event::Done { vertex });
            Ok(())
        }
        Err(e) => {
            let e = e.context(format!("failed to export the cache to {}", target.place));
            let why = e.to_string();
            (means.listener)(&Event::Failed { vertex, why: &why });
            match target.may_fail && e.kind() != image::Kind::Cancelled {
                true => {
                    (means.listener)(&Event::Warning { text: &why });
                    Ok(())
                }
                false => Err(e),
            }
        }
    }
}

/// What programs look for in the progress: the id, and the names.
fn tell_image(means: &Means<'_>, vertex: usize, exported: &Exported) {
    let ids = exported.images.iter().map(|id| format!("writing image {id}"));
    let names = exported.names.iter().map(|name| format!("naming to {name}"));
    for id in ids.chain(names) {
        (means.listener)(&Event::Progress {
            vertex,
            id: &id,
            done: 1,
            total: 1,
        });
    }
}

fn epoch(request: &Request) -> Result<Option<i64>> {
    let given = request.build_args.get(EPOCH_ARG).filter(|text| !text.is_empty());
    let Some(text) = given else { return Ok(None) };
    let seconds: u32 = text.parse().map_err(|_| {
        image::Error::invalid(format!("invalid {EPOCH_ARG}: {text:?} is no number of seconds"))
    })?;
    Ok(Some(seconds.into()))
}

fn platforms(request: &Request) -> Vec<Platform> {
    if request.platforms.is_empty() {
        return vec![Platform::host()];
    }
    let of = |named: &Named| {
        let mut platform = Platform {
            os: named.os.clone(),
            architecture: named.architecture.clone(),
            variant: Some(named.variant.clone()).filter(|v| !v.is_empty()),
            ..Platform::default()
        };
        platform.normalise();
        platform
    };
    request.platforms.iter().map(of).collect()
}

fn named(platform: &Platform) -> Named {
    Named {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone().unwrap_or_default(),
    }
}

/// `# check=error=true` makes what is found an error.
fn obey(report: &build::lint::Report) -> Result<()> {
    match report.error() {
        Some(sentence) => Err(image::Error::invalid(sentence)),
        None => Ok(()),
    }
}

/// A stage that a context of files stands for is taken from as that context is.
fn replace_stages(graph: &mut Graph, sources: &Sources<'_>) {
    let is_of_files = |origin: &Origin| sources.tree(Some(origin)).is_some();
    let replaced: Vec<Option<Origin>> = graph
        .stages
        .iter()
        .map(|stage| Some(stage.base.clone()).filter(|base| stage.steps.is_empty() && is_of_files(base)))
        .collect();
    let target = graph.target;
    for (index, stage) in graph.stages.iter_mut().enumerate() {
        if index != target && replaced.get(index).is_some_and(Option::is_some) {
            stage.is_needed = false;
        }
        let of_steps = stage.steps.iter_mut().flat_map(|step| &mut step.origins);
        for origin in of_steps.flatten().chain([&mut stage.base]) {
            if let Origin::Stage(other) = origin
                && let Some(Some(named)) = replaced.get(*other)
            {
                *origin = named.clone();
            }
        }
    }
}

/// What the Dockerfile comes to for a platform.
fn read(
    source: &build::source::Source,
    request: &Request,
    platform: &Platform,
) -> Result<(Graph, build::lint::Report), Failure> {
    let planned = plan(
        source,
        &build::stages::Request {
            target: request.target.clone(),
            build_args: request.build_args.clone(),
            build_platform: named(&Platform::host()),
            target_platform: named(platform),
            contexts: request.contexts.keys().cloned().collect(),
            all: false,
            is_image: |text| text.parse::<image::reference::Reference>().is_ok(),
        },
    );
    match planned.graph {
        Ok(graph) => Ok((graph, planned.report)),
        Err(problems) => Err(wrong(source, problems, planned.report)),
    }
}

fn wrong(
    source: &build::source::Source,
    problems: Vec<build::source::Problem>,
    report: build::lint::Report,
) -> Failure {
    Failure::Dockerfile {
        source: source.clone(),
        problems,
        report,
    }
}
