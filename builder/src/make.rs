//! From a request to an image: the order of a build.
//!
//! May not: do any of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use build::plan::plan;
use build::stages::{Graph, Platform as Named};
use engine::containers::Containers;
use image::platform::Platform;
use image::provide::Maker;
use image::registry::Client;
use image::{Digest, Result};

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
    /// For each output that was asked for.
    pub exported: Vec<Exported>,
    /// What should be otherwise in the Dockerfile.
    pub report: build::lint::Report,
    pub source: build::source::Source,
}

impl Built {
    /// The id of an image of the store that it came to.
    pub fn image(&self) -> Option<&Digest> {
        self.exported.iter().find_map(|done| done.images.first())
    }
}

/// Where a reproducible build stands in time.
const EPOCH_ARG: &str = "SOURCE_DATE_EPOCH";

/// Builds, and puts what came of it where it was wanted.
///
/// # Errors
/// The Dockerfile is wrong, an instruction fails, or the result cannot be put. What was done is in the cache.
pub fn make(means: &Means<'_>, request: &Request) -> Result<Built, Failure> {
    let store = means.maker.store;
    let started = SystemTime::now();
    engine::passing::sweep(means.containers)?;
    let lease = store.lease()?;
    let counter = Counter::default();
    let (sources, source) = Sources::open(means, request, &lease, &counter)?;
    let platforms = platforms(request);
    let mut products = Vec::new();
    let mut report = build::lint::Report::default();
    for platform in &platforms {
        let (mut graph, read) = read(&source, request, platform)?;
        report = read;
        let bases = match Bases::find(means, request, &mut graph, platform, &counter) {
            Ok(bases) => bases,
            Err(BadBase::Other(e)) => return Err(Failure::Other(e)),
            Err(BadBase::Trigger(problem)) => return Err(wrong(&source, vec![problem], report)),
        };
        let solver = Solver {
            means,
            request,
            lease: &lease,
            source: &source,
            graph: &graph,
            sources: &sources,
            bases: &bases,
            platform,
            counter: &counter,
        };
        let (ended, told) = solver.solve(report)?;
        report = told;
        let unused = graph.unused_args(&request.build_args);
        if !unused.is_empty() {
            let text = format!(
                "[Warning] One or more build-args [{}] were not consumed",
                unused.join(" ")
            );
            (means.listener)(&Event::Warning { text: &text });
        }
        store.use_cached(&ended.state.steps)?;
        let epoch = epoch(request)?.map(rfc3339);
        products.push(Product {
            platform: platform.clone(),
            config: ended.state.finish(&request.labels, epoch.as_deref()),
            layers: ended.state.layers,
            base: ended.state.base,
            materials: bases.materials(platform),
        });
    }
    let story = Story {
        started,
        ended: SystemTime::now(),
        dockerfile: source.text().as_bytes().to_vec(),
        epoch: epoch(request)?.and_then(|seconds| i64::try_from(seconds).ok()),
    };
    let mut exported = Vec::new();
    for wanted in outputs(request) {
        let vertex = counter.next();
        (means.listener)(&Event::Begun {
            vertex,
            name: title(wanted.kind),
        });
        match output::put(means, &lease, request, &wanted, &products, &story) {
            Ok(done) => {
                (means.listener)(&Event::Done { vertex });
                exported.push(done);
            }
            Err(e) => {
                let why = e.to_string();
                (means.listener)(&Event::Failed { vertex, why: &why });
                return Err(Failure::Other(e));
            }
        }
    }
    Ok(Built {
        exported,
        report,
        source,
    })
}

/// What was asked for; an image of the store, if nothing was.
fn outputs(request: &Request) -> Vec<Output> {
    match request.outputs.as_slice() {
        [] => vec![Output {
            kind: OutputKind::Image,
            destination: None,
            values: Default::default(),
        }],
        some => some.to_vec(),
    }
}

/// BuildKit's names.
fn title(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Image => "exporting to image",
        OutputKind::Oci => "exporting to oci image format",
        OutputKind::Docker => "exporting to docker image format",
        OutputKind::Local => "exporting to client directory",
        OutputKind::Tar => "exporting to client tarball",
        OutputKind::Cacheonly => "exporting nothing but the cache",
    }
}

/// In seconds.
fn epoch(request: &Request) -> Result<Option<u64>> {
    let given = request.build_args.get(EPOCH_ARG).filter(|text| !text.is_empty());
    let Some(text) = given else { return Ok(None) };
    let wrong = |_| image::Error::invalid(format!("invalid {EPOCH_ARG}: {text:?} is no number of seconds"));
    text.parse().map(Some).map_err(wrong)
}

fn rfc3339(seconds: u64) -> String {
    sys::time::rfc3339_nano(UNIX_EPOCH + Duration::from_secs(seconds))
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
