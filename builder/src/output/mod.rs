//! What becomes of the result: an image of the store, an archive, files.
//!
//! May not: build anything. What it gets are layers and configurations.

mod archive;
pub mod attest;
mod files;
mod image_of_store;
mod options;

use std::collections::BTreeMap;
use std::time::SystemTime;

use image::assemble::Assembly;
use image::oci::{Descriptor, ImageConfig};
use image::platform::Platform;
use image::reference::Reference;
use image::store::{Image, Layer, Lease};
use image::{Digest, Error, Result};
use serde_json::{Value, json};

use crate::make::Means;
use crate::request::{Output, OutputKind, Request};
use options::{Options, Place};

/// What was built for one platform.
#[derive(Clone, Debug)]
pub struct Product {
    pub platform: Platform,
    /// Whole, but for its layers, which are filled in.
    pub config: ImageConfig,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// Whose layers are the lowest.
    pub base: Option<Image>,
    /// What it was made of.
    pub materials: Vec<Material>,
    /// Of the manifest, beside those that were asked for.
    pub annotations: BTreeMap<String, String>,
}

/// Something from elsewhere that went into an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// `pkg:docker/alpine@3.20?platform=linux%2Famd64`, `https://host/file`, `https://host/repo.git#ref`.
    pub uri: String,
    /// `sha256:...`, or `sha1:...` of a commit.
    pub digest: String,
}

/// How it came to be.
#[derive(Clone, Debug)]
pub struct Story {
    pub started: SystemTime,
    pub ended: SystemTime,
    /// The Dockerfile.
    pub dockerfile: Vec<u8>,
    /// `SOURCE_DATE_EPOCH`, in seconds.
    pub epoch: Option<i64>,
}

/// What is there now.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The id of the image for each product, where it became one of the store.
    pub images: Vec<Digest>,
    /// What the names stand for: a manifest or an index.
    pub descriptor: Option<Descriptor>,
    /// Of the only image.
    pub config: Option<Digest>,
    pub names: Vec<Reference>,
    /// The predicate, of each platform that has one.
    pub provenance: Vec<(Platform, Value)>,
}

impl Exported {
    /// What `--iidfile` gets: the configuration's digest, or that of an index.
    pub fn image_id(&self) -> Option<&Digest> {
        self.config
            .as_ref()
            .or(self.descriptor.as_ref().map(|descriptor| &descriptor.digest))
    }

    /// What `--metadata-file` gets, in the words of buildx. `build` is what the build is called.
    pub fn metadata(&self, build: &str) -> Value {
        let mut all = serde_json::Map::new();
        let many = self.provenance.len() > 1;
        for (platform, predicate) in &self.provenance {
            let key = match many {
                true => format!("buildx.build.provenance/{platform}"),
                false => "buildx.build.provenance".to_owned(),
            };
            all.insert(key, predicate.clone());
        }
        all.insert("buildx.build.ref".into(), json!(build));
        if let Some(config) = &self.config {
            all.insert("containerimage.config.digest".into(), json!(config));
        }
        if let Some(descriptor) = &self.descriptor {
            all.insert("containerimage.descriptor".into(), json!(descriptor));
            all.insert("containerimage.digest".into(), json!(descriptor.digest));
        }
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
            all.insert("image.name".into(), json!(names.join(",")));
        }
        Value::Object(all)
    }
}

/// Puts products where they were wanted.
///
/// # Errors
/// An option makes no sense for this output; or it cannot be written.
pub fn put(
    means: &Means<'_>,
    lease: &Lease<'_>,
    request: &Request,
    output: &Output,
    products: &[Product],
    story: &Story,
) -> Result<Exported> {
    let options = Options::of(request, output, story.epoch)?;
    let work = Work {
        means,
        lease,
        request,
        output,
        products,
        story,
        options: &options,
    };
    match output.kind {
        OutputKind::Image => image_of_store::put(&work),
        OutputKind::Oci | OutputKind::Docker => archive::put(&work),
        OutputKind::Local | OutputKind::Tar => files::put(&work),
        OutputKind::Cacheonly => Ok(Exported::default()),
    }
}

/// What every output needs.
struct Work<'w> {
    means: &'w Means<'w>,
    lease: &'w Lease<'w>,
    request: &'w Request,
    output: &'w Output,
    products: &'w [Product],
    story: &'w Story,
    options: &'w Options,
}

impl Work<'_> {
    fn wants_attestations(&self) -> bool {
        let wanted = &self.request.attestations;
        wanted.provenance.is_some() || wanted.sbom.is_some()
    }

    /// An index, or a directory for each platform; of one platform, if `BUILDKIT_MULTI_PLATFORM` says so.
    fn is_multi(&self) -> bool {
        self.products.len() > 1 || self.request.is_set("BUILDKIT_MULTI_PLATFORM")
    }

    /// Of the manifest of a product.
    fn manifest_annotations(&self, product: &Product) -> BTreeMap<String, String> {
        let mut all = self.options.annotations(Place::Manifest, Some(&product.platform));
        all.extend(product.annotations.clone());
        all
    }

    /// The only product.
    fn only(&self, kind: &str) -> Result<&Product> {
        match self.products {
            [only] => Ok(only),
            _ => Err(Error::invalid(format!(
                "{kind} exporter does not currently support exporting manifest lists"
            ))),
        }
    }
}

/// A product as crate `image` takes it.
fn assembly<'a>(
    product: &'a Product,
    tags: &'a [Reference],
    annotations: &'a BTreeMap<String, String>,
) -> Assembly<'a> {
    Assembly {
        config: &product.config,
        layers: &product.layers,
        base: product.base.as_ref(),
        tags,
        annotations,
        parent: None,
    }
}
