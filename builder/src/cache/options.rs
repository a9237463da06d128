//! `--cache-to` and `--cache-from`, as values.
//!
//! May not: look whether anything is there.

use std::path::PathBuf;

use image::assemble::Wish;
use image::layer::compress::Method;
use image::reference::{self, Reference};
use image::{Context as _, Digest, Error, Kind, Result};

use crate::request::Store;

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Registry(Reference),
    /// A directory in the form of an OCI layout.
    Local {
        path: PathBuf,
        tag: String,
        /// In the place of the tag.
        digest: Option<Digest>,
    },
}

/// Somewhere that a cache is brought to.
#[derive(Clone, Debug)]
pub enum Target {
    /// The image that is built.
    Inline,
    Own(Export),
}

#[derive(Clone, Debug)]
pub struct Export {
    pub place: Place,
    /// All stages, not only what the result is made of.
    pub is_max: bool,
    pub wish: Wish,
    /// A failure is a warning.
    pub may_fail: bool,
}

/// In a directory, if nothing else is said.
const TAG: &str = "latest";

/// Everything that is said of a place in either direction: scripts have one text for both.
const COMMON: [&str; 8] = [
    "mode",
    "image-manifest",
    "oci-mediatypes",
    "compression",
    "compression-level",
    "force-compression",
    "ignore-error",
    "registry.insecure",
];

impl Target {
    /// # Errors
    /// There is no such type, it has no such attribute, or one makes no sense.
    pub fn of(store: &Store) -> Result<Target> {
        let read = || {
            let place = match place(store, "exporter", "dest")? {
                None => return Ok(Target::Inline),
                Some(place) => place,
            };
            let values = &store.values;
            let is_max = match values.get("mode").map(String::as_str) {
                None | Some("" | "min") => false,
                Some("max") => true,
                Some(other) => return Err(Error::invalid(format!("mode is min or max, not {other:?}"))),
            };
            for form in ["image-manifest", "oci-mediatypes"] {
                if flag(store, form)? == Some(false) {
                    return Err(Error::of(
                        Kind::Unsupported,
                        format!(
                            "{form}=false: the cache is written as an OCI image manifest and in no other form"
                        ),
                    ));
                }
            }
            let level = values.get("compression-level").map(String::as_str);
            let method = match values.get("compression") {
                Some(name) => Method::parse(name, level)?,
                None if level.is_some() => Method::parse("gzip", level)?,
                None => Method::default(),
            };
            Ok(Target::Own(Export {
                place,
                is_max,
                wish: Wish {
                    method,
                    force: flag(store, "force-compression")?.unwrap_or(false),
                    ..Wish::default()
                },
                may_fail: flag(store, "ignore-error")?.unwrap_or(false),
            }))
        };
        read().context("--cache-to")
    }
}

impl Place {
    /// Of `--cache-from`.
    ///
    /// # Errors
    /// As [`Target::of`].
    pub fn of_source(store: &Store) -> Result<Place> {
        let inline = || {
            Error::invalid(
                "unknown cache importer: \"inline\"; the cache inside an image is type=registry,ref=IMAGE",
            )
        };
        place(store, "importer", "src")
            .and_then(|place| place.ok_or_else(inline))
            .context("--cache-from")
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Registry(reference) => reference.fmt(f),
            Place::Local {
                path,
                digest: Some(digest),
                ..
            } => write!(f, "{}@{digest}", path.display()),
            Place::Local { path, tag, .. } => write!(f, "{}:{tag}", path.display()),
        }
    }
}

/// None: inside the image.
fn place(store: &Store, role: &str, path_name: &str) -> Result<Option<Place>> {
    let values = &store.values;
    let own: &[&str] = match store.kind.as_str() {
        "registry" => &["ref"],
        "local" => &["src", "dest", "tag", "digest"],
        "inline" => &[],
        kind @ ("gha" | "s3" | "azblob") => {
            return Err(Error::of(
                Kind::Unsupported,
                format!("cache {role} {kind:?} is not supported: registry, local and inline are"),
            ));
        }
        kind => return Err(Error::invalid(format!("unknown cache {role}: {kind:?}"))),
    };
    let is_known = |key: &&String| own.contains(&key.as_str()) || COMMON.contains(&key.as_str());
    if let Some(key) = values.keys().find(|key| !is_known(key)) {
        return Err(Error::invalid(format!(
            "unknown attribute {key:?} of cache {role} {}",
            store.kind
        )));
    }
    if flag(store, "registry.insecure")? == Some(true) {
        return Err(Error::of(
            Kind::Unsupported,
            "registry.insecure=true: which registries are spoken to without TLS is configured for all commands, see docs/registries.md",
        ));
    }
    let needed = |name: &str| {
        let value = values.get(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| Error::invalid(format!("{} cache {role} requires {name}", store.kind)))
    };
    match store.kind.as_str() {
        "registry" => {
            let text = needed("ref")?;
            let reference: Reference = text.parse().context(format!("invalid ref {text:?}"))?;
            if role == "exporter" && reference.digest().is_some() {
                return Err(Error::invalid(format!(
                    "ref {text:?} has a digest, which only what is written will tell"
                )));
            }
            Ok(Some(Place::Registry(reference.or_latest())))
        }
        "local" => {
            let path = PathBuf::from(needed(path_name)?);
            let tag = values.get("tag").map_or(TAG, String::as_str);
            if !reference::is_tag(tag) {
                return Err(Error::invalid(format!("invalid tag {tag:?}")));
            }
            let digest = values.get("digest").filter(|text| !text.is_empty());
            Ok(Some(Place::Local {
                path,
                tag: tag.to_owned(),
                digest: digest
                    .map(|text| text.parse())
                    .transpose()
                    .context("invalid digest")?,
            }))
        }
        _ => Ok(None),
    }
}

fn flag(store: &Store, key: &str) -> Result<Option<bool>> {
    match store.values.get(key).map(String::as_str) {
        None => Ok(None),
        Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(Some(true)),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("non-bool value {other:?} for {key}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn store(text: &str) -> Store {
        let mut fields = text.split(',');
        Store {
            kind: fields.next().unwrap().to_owned(),
            values: fields
                .map(|field| {
                    let (key, value) = field.split_once('=').unwrap();
                    (key.to_owned(), value.to_owned())
                })
                .collect(),
        }
    }

    #[test]
    fn what_is_said_of_a_cache() {
        let Target::Own(export) = Target::of(&store(
            "registry,ref=r.io/a,mode=max,compression=zstd,ignore-error=true",
        ))
        .unwrap() else {
            panic!("inline");
        };
        assert_eq!(export.place.to_string(), "r.io/a:latest");
        assert!(export.is_max && export.may_fail && !export.wish.force);
        assert_eq!(export.wish.method, Method::Zstd(3));
        let Target::Own(export) = Target::of(&store("local,dest=d,tag=t")).unwrap() else {
            panic!("inline");
        };
        assert_eq!((export.place.to_string().as_str(), export.is_max), ("d:t", false));
        assert!(matches!(
            Target::of(&store("inline,mode=max")).unwrap(),
            Target::Inline
        ));
        // One text for both directions, as scripts have it.
        let place = Place::of_source(&store("registry,ref=a:1,mode=max")).unwrap();
        assert_eq!(place.to_string(), "docker.io/library/a:1");
        let digest = Digest::of(b"");
        let place = Place::of_source(&store(&format!("local,src=d,digest={digest}"))).unwrap();
        assert_eq!(place.to_string(), format!("d@{digest}"));
    }

    #[test]
    fn what_makes_no_sense_is_one_sentence() {
        for (text, to, words) in [
            ("gha", true, "cache exporter \"gha\" is not supported"),
            ("s3", false, "cache importer \"s3\" is not supported"),
            ("nonsense", false, "unknown cache importer: \"nonsense\""),
            ("local", true, "local cache exporter requires dest"),
            ("local,dest=", true, "requires dest"),
            ("local,dest=d", false, "local cache importer requires src"),
            ("registry", false, "registry cache importer requires ref"),
            ("registry,ref=A", true, "invalid ref"),
            (
                "registry,ref=a,src=b",
                true,
                "unknown attribute \"src\" of cache exporter registry",
            ),
            ("registry,ref=a,mode=most", true, "mode is min or max"),
            (
                "registry,ref=a,image-manifest=false",
                true,
                "image-manifest=false",
            ),
            ("registry,ref=a,ignore-error=maybe", true, "non-bool value"),
            ("registry,ref=a,compression=estargz", true, "estargz"),
            (
                "registry,ref=a,registry.insecure=true",
                false,
                "docs/registries.md",
            ),
            ("local,dest=d,tag=../x", true, "invalid tag"),
            ("local,src=d,digest=x", false, "invalid digest"),
            ("inline", false, "type=registry,ref=IMAGE"),
        ] {
            let e = match to {
                true => Target::of(&store(text)).map(drop),
                false => Place::of_source(&store(text)).map(drop),
            };
            let e = e.unwrap_err().to_string();
            assert!(e.contains(words), "{text}: {e}");
            assert!(
                e.starts_with(if to { "--cache-to: " } else { "--cache-from: " }),
                "{e}"
            );
        }
    }
}
