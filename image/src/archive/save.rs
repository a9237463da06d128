//! Saving: images of the store become one archive that Docker, Podman and every reader of OCI layouts can load.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde_json::{Value, json};

use super::{Item, NAME_ANNOTATION, REF_ANNOTATION, blob_name};
use crate::assemble;
use crate::digest::Hasher;
use crate::layer::tar::{Entry, Type, Writer};
use crate::oci::media;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::Cancel;
use crate::store::Store;
use crate::variants;
use crate::{Context, Digest, Error, Result};

/// An image to be saved, under the names by which it was asked for.
#[derive(Clone, Debug)]
pub struct Saved {
    pub image: Digest,
    pub manifest: Digest,
    pub names: Vec<Reference>,
}

/// What `texts` ask for: a tag; a repository, which means all its tags; or an id, which has no name.
///
/// # Errors
/// There is no such image, or none for `platform`.
pub fn choose(store: &Store, texts: &[String], platform: Option<&Platform>) -> Result<Vec<Saved>> {
    let mut chosen: Vec<Saved> = Vec::new();
    for text in texts {
        let names = match text.parse::<Reference>() {
            Ok(reference) if reference.digest().is_none() => store
                .names()?
                .into_iter()
                .filter(|name| match reference.tag() {
                    Some(_) => name.reference == reference,
                    None => name.reference.repository() == reference.repository(),
                })
                .collect(),
            _ => Vec::new(),
        };
        let missing = |wanted| {
            Error::not_found(format!(
                "image with reference {text} was found but does not provide the specified platform ({wanted})"
            ))
        };
        if names.is_empty() {
            let image = store.find_image(text)?;
            let manifest = match platform {
                None => image.manifest,
                Some(wanted) => {
                    variants::of_platform(store, &image.manifest, wanted)?.ok_or_else(|| missing(wanted))?
                }
            };
            add(&mut chosen, image.id, manifest, None);
        }
        for name in names {
            let Some(wanted) = platform else {
                add(&mut chosen, name.image, name.manifest, Some(name.reference));
                continue;
            };
            // The index may lead to more than the name's own image, if that was pulled as well.
            let manifest = variants::of_platform(store, &name.target, wanted)?
                .or(variants::of_platform(store, &name.manifest, wanted)?)
                .ok_or_else(|| missing(wanted))?;
            let image = store.manifest(&manifest)?.0.config.digest;
            add(&mut chosen, image, manifest, Some(name.reference));
        }
    }
    Ok(chosen)
}

fn add(chosen: &mut Vec<Saved>, image: Digest, manifest: Digest, name: Option<Reference>) {
    let known = chosen
        .iter_mut()
        .find(|saved| saved.image == image && saved.manifest == manifest);
    match known {
        Some(saved) => saved
            .names
            .extend(name.filter(|name| !saved.names.contains(name))),
        None => chosen.push(Saved {
            image,
            manifest,
            names: name.into_iter().collect(),
        }),
    }
}

/// Writes the archive. The same images make the same bytes. The caller holds a lease, or something else keeps the images.
///
/// # Errors
/// A blob is away or damaged, which is noticed before the archive is complete; or `to` cannot be written.
pub fn save(store: &Store, images: &[Saved], to: &mut dyn Write, cancel: &Cancel) -> Result<()> {
    let mut blobs: BTreeMap<String, (Digest, u64)> = BTreeMap::new();
    let mut entries = Vec::new();
    let mut items = Vec::new();
    for saved in images {
        let saved = Saved {
            manifest: assemble::settle_manifest(store, &saved.image, &saved.manifest, cancel)?,
            ..saved.clone()
        };
        let (manifest, bytes) = store.manifest(&saved.manifest)?;
        let mut need = |digest: &Digest, size: u64| {
            blobs.insert(blob_name(digest), (digest.clone(), size));
        };
        need(&saved.manifest, bytes.len() as u64);
        need(&manifest.config.digest, manifest.config.size);
        for layer in &manifest.layers {
            need(&layer.digest, layer.size);
        }
        let media_type = manifest.media_type.as_deref().unwrap_or(media::OCI_MANIFEST);
        let mut entry = json!({"mediaType": media_type, "digest": saved.manifest, "size": bytes.len()});
        for name in saved
            .names
            .iter()
            .map(Some)
            .chain(saved.names.is_empty().then_some(None))
        {
            if let Some(name) = name {
                entry["annotations"] = json!({
                    NAME_ANNOTATION: name.to_string(),
                    REF_ANNOTATION: name.tag().unwrap_or("latest"),
                });
            }
            entries.push(entry.clone());
        }
        items.push(Item {
            config: blob_name(&manifest.config.digest),
            repo_tags: Some(saved.names.iter().map(Reference::familiar).collect()),
            layers: Some(
                manifest
                    .layers
                    .iter()
                    .map(|layer| blob_name(&layer.digest))
                    .collect(),
            ),
        });
    }
    let mut archive = Archive {
        writer: Writer::new(to),
        cancel,
    };
    archive.directory("blobs/")?;
    let mut last = String::new();
    for (name, (digest, size)) in &blobs {
        let parent = format!("blobs/{}/", digest.algorithm().name());
        if parent != last {
            archive.directory(&parent)?;
            last = parent;
        }
        archive.blob(store, name, digest, *size)?;
    }
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    archive.document("index.json", &index)?;
    let items = serde_json::to_value(&items)
        .map_err(|e| Error::new(format!("failed to write manifest.json: {e}")))?;
    archive.document("manifest.json", &items)?;
    archive.document("oci-layout", &json!({"imageLayoutVersion": "1.0.0"}))?;
    archive
        .writer
        .finish()?
        .flush()
        .context("failed to write the archive")
}

struct Archive<'a, W: Write> {
    writer: Writer<W>,
    cancel: &'a Cancel,
}

impl<W: Write> Archive<'_, W> {
    fn directory(&mut self, name: &str) -> Result<()> {
        self.begin(name, Type::Directory, 0o755, 0)
    }

    fn begin(&mut self, name: &str, kind: Type, mode: u32, size: u64) -> Result<()> {
        let entry = Entry {
            path: name.as_bytes().to_vec(),
            kind,
            mode,
            size,
            ..Entry::default()
        };
        self.writer.begin(&entry).context("failed to write the archive")
    }

    fn document(&mut self, name: &str, value: &Value) -> Result<()> {
        let bytes = value.to_string().into_bytes();
        self.begin(name, Type::File, 0o644, bytes.len() as u64)?;
        self.writer.write(&bytes).context("failed to write the archive")
    }

    fn blob(&mut self, store: &Store, name: &str, digest: &Digest, size: u64) -> Result<()> {
        let mut file = store.open_blob(digest)?;
        let mut hasher = Hasher::new(digest.algorithm());
        let mut buffer = vec![0; 256 << 10];
        self.begin(name, Type::File, 0o644, size)?;
        loop {
            self.cancel.check()?;
            let length = file
                .read(&mut buffer)
                .context(format!("failed to read blob {digest}"))?;
            if length == 0 {
                break;
            }
            hasher.update(&buffer[..length]);
            self.writer
                .write(&buffer[..length])
                .context("failed to write the archive")?;
        }
        let found = hasher.finish();
        if found != *digest {
            return Err(Error::corrupt(format!(
                "blob {digest} is damaged: its digest is {found}; see brig system check --repair"
            )));
        }
        Ok(())
    }
}
