//! The result as an archive, or a directory, in the form of OCI; for Docker with the list that `docker load` reads.
//!
//! May not: leave half an archive under the name that was asked for.

use std::fs;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use image::layer::tar::{Entry, Time, Type, Writer};
use image::oci::media;
use image::reference::Reference;
use image::replacement::Replacement;
use image::store::Store;
use image::{Context as _, Digest, Error, Result};
use serde_json::{Value, json};

use super::image_of_store::{self, Bundle};
use super::{Exported, Work};
use crate::request::OutputKind;

const NAME: &str = "io.containerd.image.name";
const REF: &str = "org.opencontainers.image.ref.name";
const CREATED: &str = "org.opencontainers.image.created";

pub fn put(work: &Work<'_>) -> Result<Exported> {
    if work.output.kind == OutputKind::Docker {
        work.only("docker")?;
    }
    let bundle = image_of_store::pack(work)?;
    let documents = documents(work, &bundle);
    let store = work.means.maker.store;
    if work.options.tar {
        let to = Destination::open(work.output.destination.as_deref())?;
        let mut archive = Archive {
            writer: Writer::new(BufWriter::with_capacity(BUFFER, to)),
            mtime: Time {
                seconds: work.story.epoch.unwrap_or(0),
                nanoseconds: 0,
            },
        };
        archive.write(store, &bundle.blobs(), &documents)?;
        let to = archive.writer.finish()?.into_inner().map_err(|e| e.into_error());
        to.context("failed to write the archive")?.finish()?;
    } else {
        let at = work
            .output
            .destination
            .as_deref()
            .ok_or_else(|| Error::invalid("dest is required for a directory"))?;
        directory(store, at, &bundle.blobs(), &documents)?;
    }
    Ok(bundle.exported(work))
}

/// The files beside the blobs, by name.
fn documents(work: &Work<'_>, bundle: &Bundle) -> Vec<(&'static str, Value)> {
    let created = match work.story.epoch.and_then(|epoch| u64::try_from(epoch).ok()) {
        Some(epoch) => std::time::UNIX_EPOCH + std::time::Duration::from_secs(epoch),
        None => work.story.ended,
    };
    // To the second, as a machine may write it.
    let created = sys::time::rfc3339_nano(created);
    let created = match created.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => created,
    };
    let named = |name: Option<&Reference>| {
        let mut entry = json!(bundle.target);
        let mut annotations = bundle.target.annotations.clone();
        annotations.insert(CREATED.to_owned(), created.clone());
        if let Some(name) = name {
            annotations.insert(NAME.to_owned(), name.to_string());
            annotations.insert(REF.to_owned(), name.tag().unwrap_or("latest").to_owned());
        }
        entry["annotations"] = json!(annotations);
        entry
    };
    let names = &work.options.names;
    let entries: Vec<Value> = match names.is_empty() {
        true => vec![named(None)],
        false => names.iter().map(|name| named(Some(name))).collect(),
    };
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries});
    let mut documents = vec![("index.json", index)];
    if work.output.kind == OutputKind::Docker {
        let items: Vec<Value> = bundle
            .images
            .iter()
            .map(|(image, _)| {
                let layers: Vec<String> = image
                    .blobs
                    .iter()
                    .map(|blob| blob_name(&blob.descriptor.digest))
                    .collect();
                let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
                json!({"Config": blob_name(&image.config.digest), "RepoTags": tags, "Layers": layers})
            })
            .collect();
        documents.push(("manifest.json", json!(items)));
    }
    documents.push(("oci-layout", json!({"imageLayoutVersion": "1.0.0"})));
    documents
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

const BUFFER: usize = 256 << 10;

struct Archive<W: Write> {
    writer: Writer<W>,
    mtime: Time,
}

impl<W: Write> Archive<W> {
    fn write(&mut self, store: &Store, blobs: &[Digest], documents: &[(&str, Value)]) -> Result<()> {
        let mut blobs: Vec<&Digest> = blobs.iter().collect();
        blobs.sort();
        blobs.dedup();
        self.begin("blobs/", Type::Directory, 0o755, 0)?;
        let mut last = "";
        for digest in blobs {
            let algorithm = digest.algorithm().name();
            if algorithm != last {
                self.begin(&format!("blobs/{algorithm}/"), Type::Directory, 0o755, 0)?;
                last = algorithm;
            }
            let mut file = store.open_blob(digest)?;
            let size = file.metadata()?.len();
            self.begin(&blob_name(digest), Type::File, 0o644, size)?;
            let mut buffer = vec![0; BUFFER];
            loop {
                let length = file
                    .read(&mut buffer)
                    .context(format!("failed to read blob {digest}"))?;
                if length == 0 {
                    break;
                }
                self.writer.write(&buffer[..length])?;
            }
        }
        for (name, value) in documents {
            let bytes = value.to_string().into_bytes();
            self.begin(name, Type::File, 0o644, bytes.len() as u64)?;
            self.writer.write(&bytes)?;
        }
        Ok(())
    }

    fn begin(&mut self, name: &str, kind: Type, mode: u32, size: u64) -> Result<()> {
        self.writer.begin(&Entry {
            path: name.as_bytes().to_vec(),
            kind,
            mode,
            size,
            mtime: self.mtime,
            ..Entry::default()
        })
    }
}

/// A layout that is there gets what is new; its index is the new one.
fn directory(store: &Store, at: &Path, blobs: &[Digest], documents: &[(&str, Value)]) -> Result<()> {
    let failed = || format!("failed to write {}", at.display());
    for digest in blobs {
        let path = at.join(blob_name(digest));
        if path.exists() {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(at)).context(failed())?;
        let mut to = Destination::open(Some(&path))?;
        std::io::copy(&mut store.open_blob(digest)?, &mut to).context(failed())?;
        to.finish()?;
    }
    for (name, value) in documents {
        let mut to = Destination::open(Some(&at.join(name)))?;
        to.write_all(value.to_string().as_bytes()).context(failed())?;
        to.finish()?;
    }
    Ok(())
}

/// Where an archive is written.
pub(super) enum Destination {
    File(Replacement),
    Stdout(std::io::Stdout),
}

impl Destination {
    pub fn open(path: Option<&Path>) -> Result<Destination> {
        let Some(path) = path else {
            return Ok(Destination::Stdout(std::io::stdout()));
        };
        if path.is_dir() {
            let text = format!("destination file {} is a directory", path.display());
            return Err(Error::invalid(text));
        }
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).context(format!("failed to write {}", path.display()))?;
        }
        Replacement::create(path, 0o666).map(Destination::File)
    }

    /// It is whole.
    pub fn finish(self) -> Result<()> {
        match self {
            Destination::File(file) => file.keep(),
            Destination::Stdout(mut to) => to.flush().context("failed to write the archive"),
        }
    }
}

impl Write for Destination {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Destination::File(file) => file.write(bytes),
            Destination::Stdout(to) => to.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Destination::File(file) => file.flush(),
            Destination::Stdout(to) => to.flush(),
        }
    }
}
