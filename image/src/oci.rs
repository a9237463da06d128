//! The documents of an image: descriptors, manifests, indexes, configurations (OCI image specification 1.1, Docker schema 2).
//!
//! They are read leniently and never written back: whoever keeps or sends one keeps its bytes, because its digest is its name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::platform::Platform;
use crate::{Digest, Error, Kind, Result};

/// Media types.
pub mod media {
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Never sent to a registry: its owner forbids that. Fetched from where it says.
    pub const DOCKER_LAYER_FOREIGN: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
}

/// Larger ones are refused before they are read (registries refuse them as well).
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest configuration that is read.
pub const CONFIG_LIMIT: u64 = 8 << 20;

/// A blob that a document names (descriptor.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "nullable")]
    pub urls: Vec<String>,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "nullable"
    )]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Whether it may be sent to a registry.
    pub fn is_distributable(&self) -> bool {
        !self.media_type.contains(".nondistributable.") && self.media_type != media::DOCKER_LAYER_FOREIGN
    }

    /// Whether it names the manifest of an image or an index.
    pub fn is_manifest(&self) -> bool {
        is_index(&self.media_type) || is_image(&self.media_type)
    }

    /// Whether it is an attestation or another companion that nobody can run.
    pub fn is_companion(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }
}

/// Whether it is the media type of an index or a manifest list.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, media::OCI_INDEX | media::DOCKER_LIST)
}

/// Whether it is the media type of an image's manifest.
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, media::OCI_MANIFEST | media::DOCKER_MANIFEST)
}

/// The manifest of one image (manifest.md).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(default)]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    #[serde(default)]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

/// Images for several platforms under one name (image-index.md).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    #[serde(default)]
    pub media_type: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// The image that suits `wanted` best; the first of those that suit equally well.
    ///
    /// # Errors
    /// There is none ([`Kind::NotFound`]).
    pub fn choose(&self, wanted: &Platform) -> Result<&Descriptor> {
        let images = || self.manifests.iter().filter(|d| !d.is_companion());
        let best = images()
            .filter_map(|d| Some((wanted.rank(d.platform.as_ref()?)?, d)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, d)| d);
        // An index of one image need not say what it is for; its configuration does.
        let only = || {
            let mut all = images();
            all.next()
                .filter(|d| d.platform.is_none() && all.next().is_none())
        };
        best.or_else(only).ok_or_else(|| {
            let offered: Vec<String> = images()
                .filter_map(|d| Some(d.platform.as_ref()?.to_string()))
                .collect();
            Error::not_found(format!(
                "no matching manifest for {wanted} in the manifest list entries: it has {}",
                if offered.is_empty() {
                    "none".to_owned()
                } else {
                    offered.join(", ")
                }
            ))
        })
    }
}

/// What a registry can answer for a reference.
#[derive(Clone, Debug)]
pub enum Document {
    Manifest(Box<Manifest>),
    Index(Index),
}

impl Document {
    /// Reads a document that came as `media_type` (a Content-Type without parameters; may be empty or wrong in old registries,
    /// in which case the document's own word counts).
    ///
    /// # Errors
    /// It is no image (schema 1 included, by name), or says two things at once: a document that can be read both as a manifest
    /// and as an index is refused, whatever it came as (CVE-2021-41190).
    pub fn parse(media_type: &str, bytes: &[u8]) -> Result<Document> {
        if bytes.len() as u64 > MANIFEST_LIMIT {
            return Err(Error::corrupt(format!(
                "manifest of {} bytes; at most {MANIFEST_LIMIT} are read",
                bytes.len()
            )));
        }
        let value: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("manifest is not a JSON object: {e}")))?;
        if value.get("schemaVersion") == Some(&Value::from(1))
            || matches!(media_type, media::DOCKER_SCHEMA1 | media::DOCKER_SCHEMA1_SIGNED)
        {
            return Err(Error::of(
                Kind::Unsupported,
                "image has a manifest of schema 1, which has been obsolete since 2015; push it again with a newer tool",
            ));
        }
        let own = value.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if !own.is_empty() && (is_index(media_type) || is_image(media_type)) && own != media_type {
            return Err(Error::corrupt(format!(
                "manifest calls itself {own} but came as {media_type}"
            )));
        }
        let has_manifests = value.contains_key("manifests");
        let has_layers = value.contains_key("layers") || value.contains_key("config");
        if has_manifests && has_layers {
            return Err(Error::corrupt("manifest lists both layers and manifests"));
        }
        let media_type = if own.is_empty() { media_type } else { own };
        let is_index = match media_type {
            t if is_index(t) => true,
            t if is_image(t) => false,
            "" | "application/json" | "text/plain" | "application/octet-stream" => has_manifests,
            other => {
                return Err(Error::of(
                    Kind::Unsupported,
                    format!("media type {other} is not an image's"),
                ));
            }
        };
        let read = |e: serde_json::Error| Error::corrupt(format!("malformed manifest: {e}"));
        let value = Value::Object(value);
        if is_index {
            Ok(Document::Index(serde_json::from_value(value).map_err(read)?))
        } else {
            Ok(Document::Manifest(Box::new(
                serde_json::from_value(value).map_err(read)?,
            )))
        }
    }
}

/// The configuration of an image (config.md), with Docker's additions. Unknown keys are kept in their places.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(rename = "os.features", default, skip_serializing_if = "Option::is_none")]
    pub os_features: Option<Vec<String>>,
    #[serde(default, deserialize_with = "nullable")]
    pub config: RunConfig,
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl ImageConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(bytes: &[u8]) -> Result<ImageConfig> {
        serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("malformed image configuration: {e}")))
    }

    /// What it was made for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
        }
    }
}

/// How to run an image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Value>,
    /// Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Docker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// The layers by the digests of their uncompressed tars, the lowest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "nullable")]
    pub diff_ids: Vec<Digest>,
}

/// One step of how the image came to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// Go writes an empty slice or map as null.
fn nullable<'de, D, T>(from: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn manifest() -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","size":2,"digest":"{DIGEST}"}},"layers":[]}}"#,
            media::OCI_MANIFEST,
            media::OCI_CONFIG
        )
    }

    #[test]
    fn documents_are_told_apart() {
        assert!(matches!(
            Document::parse(media::OCI_MANIFEST, manifest().as_bytes()).unwrap(),
            Document::Manifest(_)
        ));
        assert!(matches!(
            Document::parse("", manifest().as_bytes()).unwrap(),
            Document::Manifest(_)
        ));
        let index = br#"{"schemaVersion":2,"manifests":null}"#;
        assert!(matches!(
            Document::parse(media::DOCKER_LIST, index).unwrap(),
            Document::Index(_)
        ));
        assert!(matches!(
            Document::parse("application/json", index).unwrap(),
            Document::Index(_)
        ));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        let both = manifest().replace("\"layers\"", "\"manifests\":[],\"layers\"");
        for (media_type, bytes, words) in [
            (media::OCI_MANIFEST, "[]".to_owned(), "not a JSON object"),
            (media::OCI_MANIFEST, both, "both layers and manifests"),
            (media::OCI_INDEX, manifest(), "calls itself"),
            (media::DOCKER_SCHEMA1_SIGNED, "{}".to_owned(), "schema 1"),
            ("", r#"{"schemaVersion":1}"#.to_owned(), "schema 1"),
            ("application/vnd.cncf.helm", "{}".to_owned(), "not an image's"),
            (media::OCI_MANIFEST, r#"{"config":{}}"#.to_owned(), "malformed"),
        ] {
            let error = Document::parse(media_type, bytes.as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn best_of_an_index_is_chosen() {
        let entry = |platform: &str, digit: &str| {
            format!(
                r#"{{"digest":"sha256:{}","size":1,"platform":{platform}}}"#,
                digit.repeat(64)
            )
        };
        let text = format!(
            r#"{{"manifests":[{},{},{}]}}"#,
            entry(r#"{"os":"unknown","architecture":"unknown"}"#, "0"),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v6"}"#, "1"),
            entry(r#"{"os":"linux","architecture":"arm","variant":"v7"}"#, "2"),
        );
        let index: Index = serde_json::from_str(&text).unwrap();
        let chosen = |platform: &str| {
            index
                .choose(&platform.parse().unwrap())
                .map(|d| d.digest.hex()[..1].to_owned())
        };
        assert_eq!(chosen("linux/arm/v7").unwrap(), "2");
        assert_eq!(chosen("linux/arm/v6").unwrap(), "1");
        let e = chosen("linux/amd64").unwrap_err().to_string();
        assert!(e.ends_with("it has linux/arm/v6, linux/arm/v7"), "{e}");
    }

    #[test]
    fn configuration_keeps_what_it_does_not_know() {
        let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"ArgsEscaped":true,"Healthcheck":{"Test":["NONE"]}},"rootfs":{"type":"layers","diff_ids":null},"docker_version":"20"}"#;
        let config = ImageConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.config.other["ArgsEscaped"], Value::Bool(true));
        assert_eq!(config.other["docker_version"], "20");
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["config"]["Healthcheck"]["Test"][0], "NONE");
    }

    #[test]
    fn damaged_documents_do_no_harm() {
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{DIGEST}","size":7,"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}}]}}"#,
            media::OCI_INDEX,
            media::OCI_MANIFEST
        );
        let config = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Env":null},"rootfs":{"type":"layers","diff_ids":[]},"history":[{"created_by":"x"}]}"#;
        let seeds = [manifest(), index, config.to_owned()];
        let (mut chance, rounds) = crate::test_chance::rounds(20_000, 2);
        for (round, ()) in rounds.enumerate() {
            let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
            chance.damage(&mut bytes, b"{}[]\",:0-9nulltrue\\\xff");
            if let Ok(Document::Index(index)) = Document::parse("", &bytes) {
                drop(index.choose(&Platform::host()));
            }
            drop(ImageConfig::parse(&bytes));
        }
        // Deeper than any stack: the parser has a limit of its own.
        let deep = format!("{{\"config\":{}", "[".repeat(200_000));
        assert!(Document::parse("", deep.as_bytes()).is_err());
    }
}
