//! One image of an OCI layout that lies in a directory: `oci-layout`, `index.json`, `blobs/`.
//!
//! May not: change the directory, or copy what nobody asked for.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::load::{Archive, INDEX_DEPTH};
use super::scatter::{Member, Scattered};
use super::{DOCUMENT_LIMIT, NAME_ANNOTATION, REF_ANNOTATION, blob_name};
use crate::digest::Algorithm;
use crate::oci::{Descriptor, Index};
use crate::platform::Platform;
use crate::provide::Maker;
use crate::store::Lease;
use crate::{Context, Digest, Error, Result};

/// Which image of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'w> {
    Digest(&'w Digest),
    /// A tag, or a whole name. Where the layout has one image alone, that is it, whatever it is called.
    Tag(&'w str),
}

/// Adds an image of a layout for a platform to the store, without a name. Its id.
///
/// # Errors
/// It is no layout, has no such image, or something in it is not what its digest says.
pub fn layout(
    maker: &Maker<'_>,
    lease: &Lease<'_>,
    directory: &Path,
    which: Which<'_>,
    platform: &Platform,
) -> Result<Digest> {
    let failed = || format!("failed to read the OCI layout {}", directory.display());
    let found = listed(directory).context(failed())?;
    if found.get("oci-layout").is_none() || found.get("index.json").is_none() {
        return Err(Error::invalid(format!(
            "{} is no OCI layout: it has no oci-layout and index.json",
            directory.display()
        )));
    }
    let reading = Archive {
        maker,
        lease,
        scattered: &found,
        platform: Some(platform),
    };
    let index = found.read("index.json", DOCUMENT_LIMIT).context(failed())?;
    let index: Index = serde_json::from_slice(&index)
        .map_err(|e| Error::corrupt(format!("malformed index.json: {e}")).context(failed()))?;
    let descriptor = chosen(&index, which, &found).context(failed())?;
    let Some(documents) = reading.image_of(&descriptor, INDEX_DEPTH).context(failed())? else {
        return Err(Error::not_found(format!("it has no image for {platform}")).context(failed()));
    };
    // What becomes a blob of the store is moved there: a copy, then.
    let mut copied = Scattered::default();
    for (n, layer) in documents.manifest.layers.iter().enumerate() {
        maker.cancel.check()?;
        if maker.store.blob_size(&layer.digest)?.is_some() {
            continue;
        }
        let name = blob_name(&layer.digest);
        let member = found
            .get(&name)
            .ok_or_else(|| Error::corrupt(format!("it has no {name}")).context(failed()))?;
        let to = lease.directory().join(format!("layout-{n}"));
        copied.insert(name, copy(&member.file, &to).context(failed())?);
    }
    let writing = Archive {
        scattered: &copied,
        ..reading
    };
    writing.add(
        &documents.manifest,
        &documents.bytes,
        &documents.config,
        &[],
        &descriptor.digest,
    )
}

/// The files of a layout, where they lie. What they are is seen when they are read.
fn listed(directory: &Path) -> Result<Scattered> {
    let mut found = Scattered::default();
    for name in ["oci-layout", "index.json"] {
        let file = directory.join(name);
        match file.metadata() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            meta => found.insert(
                name.to_owned(),
                Member {
                    size: meta?.len(),
                    digest: Digest::of(b""),
                    file,
                },
            ),
        }
    }
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let blobs = directory.join("blobs").join(algorithm.name());
        let entries = match fs::read_dir(&blobs) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Others may write to it now: what is half done has another name.
            let Ok(digest) = format!("{}:{name}", algorithm.name()).parse::<Digest>() else {
                continue;
            };
            let size = entry.path().metadata()?.len();
            let file = entry.path();
            found.insert(blob_name(&digest), Member { file, digest, size });
        }
    }
    Ok(found)
}

fn chosen(index: &Index, which: Which<'_>, found: &Scattered) -> Result<Descriptor> {
    let images = || index.manifests.iter().filter(|d| !d.is_companion());
    match which {
        Which::Digest(digest) => {
            if let Some(own) = index.manifests.iter().find(|d| d.digest == *digest) {
                return Ok(own.clone());
            }
            // One of an index of the layout.
            let member = found
                .get(&blob_name(digest))
                .ok_or_else(|| Error::not_found(format!("it has no {digest}")))?;
            let bytes = found.read(&blob_name(digest), DOCUMENT_LIMIT)?;
            let kind: serde_json::Value = serde_json::from_slice(&bytes)
                .map_err(|e| Error::corrupt(format!("malformed document {digest}: {e}")))?;
            let kind = kind["mediaType"]
                .as_str()
                .unwrap_or(crate::oci::media::OCI_MANIFEST);
            Ok(crate::assemble::plain(kind, digest.clone(), member.size))
        }
        Which::Tag(tag) => {
            let is_named = |d: &&Descriptor| {
                [REF_ANNOTATION, NAME_ANNOTATION]
                    .iter()
                    .any(|key| d.annotations.get(*key).is_some_and(|name| name == tag))
            };
            let mut all = images();
            let only = all.next().filter(|_| all.next().is_none());
            images()
                .find(is_named)
                .or(only)
                .cloned()
                .ok_or_else(|| Error::not_found(format!("it has several images, and none is named {tag}")))
        }
    }
}

/// With the digest of what was copied.
fn copy(from: &Path, to: &Path) -> Result<Member> {
    let size = fs::copy(from, to)?;
    let (digest, _) = Digest::of_reader(Algorithm::Sha256, &mut File::open(to)?)?;
    Ok(Member {
        file: to.to_owned(),
        digest,
        size,
    })
}
