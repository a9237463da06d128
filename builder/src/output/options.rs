//! What is said of an output, as values.
//!
//! May not: let anything pass that it does not know.

use std::collections::BTreeMap;

use image::assemble::Wish;
use image::layer::compress::Method;
use image::platform::Platform;
use image::reference::{Reference, Repository};
use image::{Context as _, Error, Result};

use crate::request::{Output, OutputKind, Request};

/// Of one output.
#[derive(Clone, Debug)]
pub struct Options {
    pub names: Vec<Reference>,
    pub push: bool,
    /// Without a tag.
    pub by_digest: Option<Vec<Repository>>,
    /// The name gets its digest in what is told of it.
    pub is_canonical: bool,
    pub wish: Wish,
    /// A directory for each platform; None: where there are several.
    pub split: Option<bool>,
    /// An archive, not a directory.
    pub tar: bool,
    /// What is there and not of the result goes.
    pub delete: bool,
    annotations: Vec<Annotation>,
}

#[derive(Clone, Debug)]
struct Annotation {
    place: Place,
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// What an annotation is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

impl Place {
    fn parse(text: &str) -> Result<Place> {
        Ok(match text {
            "" | "manifest" => Place::Manifest,
            "manifest-descriptor" => Place::ManifestDescriptor,
            "index" => Place::Index,
            "index-descriptor" => Place::IndexDescriptor,
            other => return Err(Error::invalid(format!("unknown annotation type {other:?}"))),
        })
    }
}

impl Options {
    /// # Errors
    /// One is unknown, has no sense, or is not for this kind of output.
    pub fn of(request: &Request, output: &Output, epoch: Option<i64>) -> Result<Options> {
        let values = &output.values;
        let flag = |key: &str| -> Result<Option<bool>> {
            match values.get(key).map(String::as_str) {
                None => Ok(None),
                Some("" | "true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
                Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
                Some(other) => Err(Error::invalid(format!("non-bool value {other:?} for {key}"))),
            }
        };
        let level = values.get("compression-level").map(String::as_str);
        let method = match values.get("compression") {
            Some(name) => Method::parse(name, level)?,
            None if level.is_some() => Method::parse("gzip", level)?,
            None => Method::default(),
        };
        let rewrite = flag("rewrite-timestamp")?.unwrap_or(false);
        if rewrite && flag("unpack")?.unwrap_or(false) {
            return Err(Error::invalid(
                "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"",
            ));
        }
        let wish = Wish {
            method,
            force: flag("force-compression")?.unwrap_or(false),
            docker: flag("oci-mediatypes")? == Some(false),
            latest: epoch.filter(|_| rewrite),
        };
        let mut annotations = Vec::new();
        for own in &request.annotations {
            let manifest = [String::new()];
            let kinds = match own.kinds.is_empty() {
                true => manifest.as_slice(),
                false => own.kinds.as_slice(),
            };
            for kind in kinds {
                annotations.push(annotation(kind, &own.key, &own.value)?);
            }
        }
        let mut texts = Vec::new();
        for (key, value) in values {
            match key.as_str() {
                "name" => texts.extend(value.split(',').map(str::to_owned)),
                "push"
                | "push-by-digest"
                | "name-canonical"
                | "compression"
                | "compression-level"
                | "force-compression"
                | "oci-mediatypes"
                | "oci-artifact"
                | "rewrite-timestamp"
                | "unpack"
                | "store"
                | "platform-split"
                | "tar"
                | "mode"
                | "dangling-name-prefix"
                | "registry.insecure"
                | "attestation-prefix"
                | "buildinfo"
                | "epoch" => {}
                key => match key.strip_prefix("annotation") {
                    Some(rest) => match rest.split_once('.') {
                        Some((kind, name)) => {
                            annotations.push(annotation(kind.trim_start_matches('-'), name, value)?);
                        }
                        None => return Err(unknown(key, output.kind)),
                    },
                    None => return Err(unknown(key, output.kind)),
                },
            }
        }
        let mut names = request.tags.clone();
        let mut by_digest = flag("push-by-digest")?.unwrap_or(false).then(Vec::new);
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let reference: Reference = text.parse().context(format!("invalid name {text:?}"))?;
            match &mut by_digest {
                Some(repositories) => repositories.push(reference.repository().clone()),
                None => names.push(reference.or_latest()),
            }
        }
        if let Some(repositories) = &mut by_digest {
            if !request.tags.is_empty() {
                return Err(Error::invalid(
                    "can't push tagged ref by digest; leave the tag out",
                ));
            }
            repositories.dedup();
        }
        Ok(Options {
            names,
            push: flag("push")?.unwrap_or(false),
            by_digest,
            is_canonical: flag("name-canonical")?.unwrap_or(false),
            wish,
            split: flag("platform-split")?,
            tar: flag("tar")?.unwrap_or(true),
            delete: match values.get("mode").map(String::as_str) {
                None | Some("copy") => false,
                Some("delete") => true,
                Some(other) => return Err(Error::invalid(format!("invalid mode {other:?}"))),
            },
            annotations,
        })
    }

    /// Whether everything is as an image of the store is by itself.
    pub fn is_plain(&self) -> bool {
        let wish = &self.wish;
        wish.method == Method::default()
            && !wish.force
            && !wish.docker
            && wish.latest.is_none()
            && self.by_digest.is_none()
            && self.annotations.iter().all(|own| own.place == Place::Manifest)
    }

    /// Those of one place, for one platform.
    pub fn annotations(&self, place: Place, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let is_meant = |own: &&Annotation| {
            own.place == place
                && match (&own.platform, platform) {
                    (Some(own), Some(platform)) => own.rank(platform).is_some(),
                    (Some(_), None) => false,
                    (None, _) => true,
                }
        };
        let pairs = self.annotations.iter().filter(is_meant);
        pairs.map(|own| (own.key.clone(), own.value.clone())).collect()
    }

    /// # Errors
    /// An annotation is of an index, and there will be none.
    pub fn check_without_index(&self) -> Result<()> {
        match self.annotations.iter().any(|own| own.place == Place::Index) {
            true => Err(Error::invalid(
                "index annotations not supported for single platform export",
            )),
            false => Ok(()),
        }
    }
}

fn unknown(key: &str, kind: OutputKind) -> Error {
    let kind = match kind {
        OutputKind::Image => "image",
        OutputKind::Oci => "oci",
        OutputKind::Docker => "docker",
        OutputKind::Local => "local",
        OutputKind::Tar => "tar",
        OutputKind::Cacheonly => "cacheonly",
    };
    Error::invalid(format!("unknown option {key:?} of output {kind}"))
}

/// `manifest[linux/amd64]`.
fn annotation(kind: &str, key: &str, value: &str) -> Result<Annotation> {
    let (place, platform) = match kind.split_once('[') {
        Some((place, rest)) => {
            let platform = rest
                .strip_suffix(']')
                .ok_or_else(|| Error::invalid(format!("annotation type {kind:?} has no end")))?;
            (place, Some(platform.parse()?))
        }
        None => (kind, None),
    };
    Ok(Annotation {
        place: Place::parse(place)?,
        platform,
        key: key.to_owned(),
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Result<Options> {
        let output = Output {
            kind: OutputKind::Image,
            destination: None,
            values: pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Options::of(&Request::default(), &output, Some(7))
    }

    #[test]
    fn options_are_known_or_refused() {
        let all = options(&[
            ("name", "a,b:2"),
            ("push", "true"),
            ("compression", "zstd"),
            ("compression-level", "9"),
            ("rewrite-timestamp", "1"),
            ("annotation.k", "v"),
            ("annotation-index.i", "w"),
            ("annotation-manifest[linux/arm64].p", "x"),
        ])
        .unwrap();
        assert_eq!(all.names.len(), 2);
        assert!(all.push && !all.is_plain());
        assert_eq!((all.wish.method, all.wish.latest), (Method::Zstd(9), Some(7)));
        let of = |platform: &str| all.annotations(Place::Manifest, Some(&platform.parse().unwrap()));
        assert_eq!(of("linux/amd64").len(), 1);
        assert_eq!(of("linux/arm64").len(), 2);
        assert_eq!(all.annotations(Place::Index, None).len(), 1);
        assert!(all.check_without_index().is_err());
        assert!(
            options(&[("name", "a"), ("annotation.k", "v")])
                .unwrap()
                .is_plain()
        );
        for (key, value) in [
            ("push", "maybe"),
            ("compression", "bzip2"),
            ("no", "x"),
            ("annotation-x.k", "v"),
            ("mode", "move"),
        ] {
            assert!(options(&[(key, value)]).is_err(), "{key}={value}");
        }
    }
}
