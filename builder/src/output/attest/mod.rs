//! What is said of an image beside it: how it came to be, and what is in it, each an in-toto statement in a manifest of its own.
//!
//! May not: change the image.

mod provenance;
mod sbom;

use std::collections::BTreeMap;

use image::assemble::{Packed, plain};
use image::oci::{Descriptor, media};
use image::platform::Platform;
use image::{Digest, Error, Result};
use serde_json::{Value, json};

use super::{Product, Work};

const STATEMENT: &str = "https://in-toto.io/Statement/v0.1";
const IN_TOTO: &str = "application/vnd.in-toto+json";
const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";

/// Of one image.
pub(super) struct Attested {
    /// As the index names it.
    pub manifest: Descriptor,
    /// It and all that it leads to.
    pub blobs: Vec<Digest>,
    pub provenance: Option<Value>,
}

/// What is said, by the type of what is said.
struct Predicate {
    kind: &'static str,
    file: &'static str,
    value: Value,
}

fn predicates(work: &Work<'_>, product: &Product) -> Result<Vec<Predicate>> {
    let wanted = &work.request.attestations;
    let mut all = Vec::new();
    if let Some(options) = &wanted.sbom {
        for (name, value) in options {
            // Ours reads what package managers have written down; another's would have to be pulled and run.
            if !matches!(
                (name.as_str(), value.as_str()),
                ("type" | "disabled", _) | ("generator", "" | "brig")
            ) {
                return Err(Error::invalid(format!(
                    "unknown option {name:?} of attestation sbom"
                )));
            }
        }
        all.push(Predicate {
            kind: sbom::KIND,
            file: "sbom.spdx.json",
            value: sbom::document(work, product)?,
        });
    }
    if let Some(options) = &wanted.provenance {
        let own = provenance::Options::of(options)?;
        all.push(Predicate {
            kind: own.kind(),
            file: "provenance.json",
            value: provenance::predicate(work, product, &own),
        });
    }
    Ok(all)
}

fn statement(
    work: &Work<'_>,
    product: &Product,
    predicate: &Predicate,
    subjects: &[(String, Digest)],
) -> Value {
    let subjects: Vec<Value> = subjects
        .iter()
        .map(|(name, digest)| json!({"name": name, "digest": {digest.algorithm().name(): digest.hex()}}))
        .collect();
    let _ = (work, product);
    json!({
        "_type": STATEMENT,
        "predicateType": predicate.kind,
        "subject": subjects,
        "predicate": predicate.value,
    })
}

/// Makes the manifest.
pub(super) fn attest(work: &Work<'_>, product: &Product, packed: &Packed) -> Result<Attested> {
    let (store, lease) = (work.means.maker.store, work.lease);
    let digest = &packed.manifest.digest;
    let mut subjects: Vec<(String, Digest)> = work
        .options
        .names
        .iter()
        .map(|name| {
            let tag = name.tag().unwrap_or("latest");
            (
                purl(&name.repository().familiar(), tag, &product.platform),
                digest.clone(),
            )
        })
        .collect();
    if subjects.is_empty() {
        subjects.push(("_".to_owned(), digest.clone()));
    }
    let mut blobs = Vec::new();
    let mut layers = Vec::new();
    let mut provenance = None;
    for predicate in predicates(work, product)? {
        let bytes = statement(work, product, &predicate, &subjects)
            .to_string()
            .into_bytes();
        let blob = store.put_blob(lease, &bytes)?;
        let mut layer = plain(IN_TOTO, blob.clone(), bytes.len() as u64);
        layer.annotations =
            BTreeMap::from([("in-toto.io/predicate-type".to_owned(), predicate.kind.to_owned())]);
        layers.push(layer);
        blobs.push(blob);
        if predicate.file == "provenance.json" {
            provenance = Some(predicate.value);
        }
    }
    let empty = store.put_blob(lease, b"{}")?;
    let subject = Descriptor {
        annotations: BTreeMap::new(),
        platform: None,
        ..packed.manifest.clone()
    };
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "artifactType": ARTIFACT,
        "config": {"mediaType": media::OCI_EMPTY, "digest": empty, "size": 2, "data": "e30="},
        "layers": layers,
        "subject": subject,
    })
    .to_string();
    let manifest = store.put_blob(lease, document.as_bytes())?;
    blobs.extend([empty, manifest.clone()]);
    let unknown = Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        ..Platform::default()
    };
    Ok(Attested {
        manifest: Descriptor {
            platform: Some(unknown),
            annotations: BTreeMap::from([
                (
                    "vnd.docker.reference.type".to_owned(),
                    "attestation-manifest".to_owned(),
                ),
                ("vnd.docker.reference.digest".to_owned(), digest.to_string()),
            ]),
            ..plain(media::OCI_MANIFEST, manifest, document.len() as u64)
        },
        blobs,
        provenance,
    })
}

/// The same as files beside those of the result.
pub(super) fn files(work: &Work<'_>, product: &Product) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let all = predicates(work, product)?;
    Ok(all
        .into_iter()
        .map(|predicate| {
            let text = statement(work, product, &predicate, &[]).to_string();
            (predicate.file, text.into_bytes())
        })
        .collect())
}

/// A package URL of an image.
pub fn purl(name: &str, version: &str, platform: &Platform) -> String {
    let platform = platform.to_string().replace('/', "%2F");
    format!("pkg:docker/{name}@{version}?platform={platform}")
}
