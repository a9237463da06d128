//! A directory in the form of an OCI image layout: what is read out of one, and how a cache is put into one.
//!
//! What is read may be anybody's: nothing leads out of the directory, nothing is opened that is no file, and every blob has the digest that
//! it is asked for by.
//!
//! May not: know what a cache says.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use image::oci::{Descriptor, Document, Index, MANIFEST_LIMIT, media};
use image::registry::Cancel;
use image::store::Store;
use image::{Context as _, Digest, Error, Kind, Result, tree};
use serde_json::{Value, json};

const INDEX: &str = "index.json";
const REF: &str = "org.opencontainers.image.ref.name";

/// An index may name indexes, but not for ever.
const DEPTH: usize = 4;

/// One that is read.
pub struct Layout {
    directory: OwnedFd,
}

impl Layout {
    /// # Errors
    /// It is not there.
    pub fn open(path: &Path) -> Result<Layout> {
        let flags = libc::O_PATH | libc::O_DIRECTORY;
        let directory =
            sys::fs::open(path, flags, 0).context(format!("failed to open {}", path.display()))?;
        Ok(Layout { directory })
    }

    /// What a tag stands for.
    ///
    /// # Errors
    /// There is no index, or it has no such tag.
    pub fn tagged(&self, tag: &str) -> Result<Digest> {
        let index = self.index()?;
        let is_it = |manifest: &&Descriptor| manifest.annotations.get(REF).is_some_and(|name| name == tag);
        match index.manifests.iter().find(is_it) {
            Some(manifest) => Ok(manifest.digest.clone()),
            None => Err(Error::not_found(format!("{INDEX} has no tag {tag:?}"))),
        }
    }

    fn index(&self) -> Result<Index> {
        let mut bytes = Vec::new();
        self.file(INDEX)?
            .take(MANIFEST_LIMIT + 1)
            .read_to_end(&mut bytes)
            .context(format!("failed to read {INDEX}"))?;
        match Document::parse(media::OCI_INDEX, &bytes).context(INDEX)? {
            Document::Index(index) => Ok(index),
            Document::Manifest(_) => Err(Error::corrupt(format!("{INDEX} is no index"))),
        }
    }

    /// A blob that is small enough to be looked at.
    ///
    /// # Errors
    /// It is not there, is larger, or has another digest.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .context(format!("failed to read blob {digest}"))?;
        if bytes.len() as u64 > limit {
            return Err(Error::corrupt(format!(
                "blob {digest} has more than {limit} bytes"
            )));
        }
        let (found, _) = Digest::of_reader(digest.algorithm(), &mut bytes.as_slice())?;
        match found == *digest {
            true => Ok(bytes),
            false => Err(another(digest, &found)),
        }
    }

    /// Copies a blob, which has the descriptor's size and digest then.
    ///
    /// # Errors
    /// It has not, or cannot be read or written.
    pub fn copy(&self, descriptor: &Descriptor, to: &mut dyn Write, cancel: &Cancel) -> Result<()> {
        let digest = &descriptor.digest;
        let failed = || format!("failed to read blob {digest}");
        let file = self.blob(digest)?;
        let size = file.metadata().context(failed())?.len();
        if size != descriptor.size {
            return Err(Error::corrupt(format!(
                "blob {digest} has {size} bytes instead of {}",
                descriptor.size
            )));
        }
        let mut both = Both {
            from: file.take(size),
            to,
            cancel,
        };
        let (found, _) = Digest::of_reader(digest.algorithm(), &mut both).context(failed())?;
        match found == *digest {
            true => Ok(()),
            false => Err(another(digest, &found)),
        }
    }

    fn blob(&self, digest: &Digest) -> Result<File> {
        self.file(&blob_name(digest))
    }

    fn file(&self, name: &str) -> Result<File> {
        let failed = || format!("failed to open {name}");
        // A FIFO would hold us up.
        let flags = libc::O_RDONLY | libc::O_NONBLOCK;
        let file =
            File::from(tree::open_beneath(self.directory.as_fd(), name.as_bytes(), flags).context(failed())?);
        match file.metadata().context(failed())?.is_file() {
            true => Ok(file),
            false => Err(Error::corrupt(format!("{name} is no file"))),
        }
    }

    /// A document and all that it leads to.
    fn gather(&self, digest: &Digest, depth: usize, all: &mut BTreeSet<Digest>) -> Result<()> {
        if depth == 0 || !all.insert(digest.clone()) {
            return Ok(());
        }
        match Document::parse("", &self.read(digest, MANIFEST_LIMIT)?)? {
            Document::Manifest(manifest) => {
                all.extend(manifest.layers.into_iter().map(|layer| layer.digest));
                all.insert(manifest.config.digest);
            }
            Document::Index(index) => {
                for child in &index.manifests {
                    self.gather(&child.digest, depth - 1, all)?;
                }
            }
        }
        Ok(())
    }
}

fn another(digest: &Digest, found: &Digest) -> Error {
    Error::corrupt(format!("blob {digest} is damaged: its digest is {found}"))
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// Passes on what is read.
struct Both<'b, R> {
    from: R,
    to: &'b mut dyn Write,
    cancel: &'b Cancel,
}

impl<R: Read> Read for Both<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_called() {
            return Err(io::Error::other("cancelled"));
        }
        let n = self.from.read(buffer)?;
        self.to.write_all(buffer.get(..n).unwrap_or_default())?;
        Ok(n)
    }
}

/// What is put into a layout.
pub struct Content<'c> {
    /// Blobs of the store.
    pub layers: &'c [Descriptor],
    pub config: &'c [u8],
    pub manifest: &'c [u8],
    /// Of the configurations of manifests that are ours to be replaced.
    pub config_type: &'c str,
    pub tag: &'c str,
}

/// How long another build may take to put its cache into the same directory.
const PATIENCE: Duration = Duration::from_secs(300);
const PAUSE: Duration = Duration::from_millis(50);

/// Puts a cache into a directory under a tag. Other manifests of it stay. Killed at any moment, the directory has the old one or the new one:
/// the index comes last. Blobs that only the old one needed go, so that a directory does not grow from build to build.
///
/// # Errors
/// It cannot be written.
pub fn put(at: &Path, store: &Store, content: &Content<'_>, cancel: &Cancel) -> Result<()> {
    let failed = || format!("failed to write {}", at.display());
    let blobs = at.join("blobs/sha256");
    fs::create_dir_all(&blobs).context(failed())?;
    let directory = File::open(at).context(failed())?;
    take_turn(&directory, cancel).context(failed())?;
    clear_unfinished(&[at, &blobs]).context(failed())?;
    let (entries, old) = entries(at, content)?;
    for layer in content.layers {
        let path = at.join(blob_name(&layer.digest));
        // One that is shorter was cut off by a power cut: we sync nothing, a cache can be made again.
        if fs::metadata(&path).is_ok_and(|there| there.len() == layer.size) {
            continue;
        }
        let mut file = store.open_blob(&layer.digest)?;
        write(&path, |to| {
            let mut reader = Both {
                from: &mut file,
                to,
                cancel,
            };
            io::copy(&mut reader, &mut io::sink()).map(drop)
        })?;
    }
    for bytes in [content.config, content.manifest] {
        write(&at.join(blob_name(&Digest::of(bytes))), |to| to.write_all(bytes))?;
    }
    write(&at.join("oci-layout"), |to| {
        to.write_all(br#"{"imageLayoutVersion":"1.0.0"}"#)
    })?;
    let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": entries}).to_string();
    write(&at.join(INDEX), |to| to.write_all(index.as_bytes()))?;
    remove_replaced(at, &old, content)
}

/// Nobody else writes until the descriptor is closed.
fn take_turn(directory: &File, cancel: &Cancel) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(e.into()),
            Err(TryLockError::WouldBlock) if Instant::now() > until => {
                return Err(Error::of(
                    Kind::Conflict,
                    format!(
                        "another build has been writing to it for {} s",
                        PATIENCE.as_secs()
                    ),
                ));
            }
            Err(TryLockError::WouldBlock) => cancel.wait(PAUSE)?,
        }
    }
}

/// What builds have begun that were killed.
fn clear_unfinished(directories: &[&Path]) -> io::Result<()> {
    for directory in directories {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if is_unfinished(&entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

const NEW: &str = ".brig-new";

fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(NEW)
}

/// The index as it will be, and which manifests are in it no more. One that cannot be read is written anew.
fn entries(at: &Path, content: &Content<'_>) -> Result<(Vec<Value>, Vec<Digest>)> {
    let mut own = json!({
        "mediaType": media::OCI_MANIFEST,
        "digest": Digest::of(content.manifest),
        "size": content.manifest.len(),
    });
    own["annotations"] = json!({REF: content.tag});
    let mut kept = Vec::new();
    let mut old = Vec::new();
    if let Ok(index) = Layout::open(at).and_then(|layout| layout.index()) {
        for manifest in index.manifests {
            match manifest
                .annotations
                .get(REF)
                .is_some_and(|name| name == content.tag)
            {
                true => old.push(manifest.digest),
                false => kept.push(json!(manifest)),
            }
        }
    }
    kept.push(own);
    Ok((kept, old))
}

/// A file that appears when it is whole.
fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let failed = || format!("failed to write {}", path.display());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new: PathBuf = path.with_file_name(format!(".{name}{NEW}"));
    let done = File::create(&new)
        .and_then(|mut file| content(&mut file))
        .and_then(|()| fs::rename(&new, path));
    if done.is_err() {
        // What failed is told; the next build clears this.
        drop(fs::remove_file(&new));
    }
    done.context(failed())
}

/// Where something in the directory cannot be read, everything stays: it may need what it does not say.
fn remove_replaced(at: &Path, old: &[Digest], content: &Content<'_>) -> Result<()> {
    let layout = Layout::open(at)?;
    let mut needed = BTreeSet::new();
    let mut before = BTreeSet::new();
    let index = layout.index()?;
    for manifest in &index.manifests {
        if layout.gather(&manifest.digest, DEPTH, &mut needed).is_err() {
            return Ok(());
        }
    }
    for digest in old {
        let is_ours = layout
            .read(digest, MANIFEST_LIMIT)
            .and_then(|bytes| Document::parse("", &bytes))
            .is_ok_and(|document| matches!(document, Document::Manifest(m) if m.config.media_type == content.config_type));
        if is_ours && layout.gather(digest, DEPTH, &mut before).is_err() {
            return Ok(());
        }
    }
    for digest in before.difference(&needed) {
        let path = at.join(blob_name(digest));
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            removed => removed.context(format!("failed to remove {}", path.display()))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::assemble::plain;
    use image::store::Roots;

    const OURS: &str = "application/x-ours";

    struct Place {
        root: PathBuf,
        store: Store,
    }

    impl Place {
        fn new(name: &str) -> Place {
            let root = std::env::temp_dir().join(format!("builder-layout-{name}-{}", std::process::id()));
            let store = Store::open(&Roots::at(&root.join("store"))).unwrap();
            Place { root, store }
        }

        fn at(&self) -> PathBuf {
            self.root.join("cache")
        }

        /// Puts a cache with these layers; its manifest.
        fn put(&self, tag: &str, config_type: &str, layers: &[&str]) -> Digest {
            let lease = self.store.lease().unwrap();
            let layer = |text: &&str| {
                let digest = self.store.put_blob(&lease, text.as_bytes()).unwrap();
                plain(media::OCI_LAYER, digest, text.len() as u64)
            };
            let layers: Vec<Descriptor> = layers.iter().map(layer).collect();
            let config = format!("{{\"for\":{:?}}}", layers.len()).into_bytes();
            let named = plain(config_type, Digest::of(&config), config.len() as u64);
            let manifest = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": named, "layers": layers});
            let manifest = manifest.to_string().into_bytes();
            let content = Content {
                layers: &layers,
                config: &config,
                manifest: &manifest,
                config_type: OURS,
                tag,
            };
            put(&self.at(), &self.store, &content, &Cancel::new()).unwrap();
            Digest::of(&manifest)
        }

        fn has(&self, text: &str) -> bool {
            let layout = Layout::open(&self.at()).unwrap();
            layout
                .read(&Digest::of(text.as_bytes()), 100)
                .is_ok_and(|bytes| bytes == text.as_bytes())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.root));
        }
    }

    #[test]
    fn a_tag_is_replaced_and_the_rest_stays() {
        let place = Place::new("tags");
        let first = place.put("latest", OURS, &["both", "first"]);
        let other = place.put("other", OURS, &["shared", "both"]);
        let theirs = place.put("theirs", "application/x-theirs", &["theirs"]);
        // What a killed build has left, and what a power cut has cut off.
        let blobs = place.at().join("blobs/sha256");
        fs::write(blobs.join(".abc.brig-new"), "half").unwrap();
        fs::write(place.at().join(".index.json.brig-new"), "half").unwrap();
        fs::write(blobs.join(Digest::of(b"both").hex()), "bo").unwrap();
        let second = place.put("latest", OURS, &["both", "second"]);
        let layout = Layout::open(&place.at()).unwrap();
        assert_eq!(layout.tagged("latest").unwrap(), second);
        assert_eq!(layout.tagged("other").unwrap(), other);
        assert_eq!(layout.index().unwrap().manifests.len(), 3);
        assert!(place.has("both") && place.has("second") && place.has("shared"));
        assert!(!place.has("first"), "what nobody needs stays");
        assert!(layout.read(&first, 10_000).is_err());
        assert!(!blobs.join(".abc.brig-new").exists() && !place.at().join(".index.json.brig-new").exists());
        // What is not ours loses its tag and no file.
        place.put("theirs", OURS, &["ours"]);
        assert!(layout.read(&theirs, 10_000).is_ok() && place.has("theirs"));
        // Where something cannot be understood, nothing is removed.
        fs::write(blobs.join(other.hex()), "{").unwrap();
        place.put("latest", OURS, &["third"]);
        assert!(place.has("second") && place.has("third"));
    }

    #[test]
    fn what_breaks_off_leaves_the_old_one() {
        let place = Place::new("half");
        let first = place.put("latest", OURS, &["first"]);
        let content = Content {
            layers: &[plain(media::OCI_LAYER, Digest::of(b"away"), 4)],
            config: b"{}",
            manifest: b"{\"config\":{}}",
            config_type: OURS,
            tag: "latest",
        };
        assert!(put(&place.at(), &place.store, &content, &Cancel::new()).is_err());
        let layout = Layout::open(&place.at()).unwrap();
        assert_eq!(layout.tagged("latest").unwrap(), first);
        assert!(place.has("first") && layout.read(&first, 10_000).is_ok());
    }

    #[test]
    fn an_index_that_cannot_be_read_is_written_anew() {
        let place = Place::new("index");
        fs::create_dir_all(place.at()).unwrap();
        fs::write(place.at().join(INDEX), "{\"manifests\":7}").unwrap();
        let only = place.put("t", OURS, &["a"]);
        let layout = Layout::open(&place.at()).unwrap();
        assert_eq!(layout.tagged("t").unwrap(), only);
        assert!(
            layout
                .tagged("latest")
                .unwrap_err()
                .to_string()
                .contains("no tag \"latest\"")
        );
    }

    #[test]
    fn nothing_is_read_that_is_not_what_it_is_called() {
        let place = Place::new("hostile");
        place.put("t", OURS, &["content"]);
        let layout = Layout::open(&place.at()).unwrap();
        let digest = Digest::of(b"content");
        let path = place.at().join(blob_name(&digest));
        let mut to = Vec::new();
        let cancel = Cancel::new();
        layout
            .copy(&plain("", digest.clone(), 7), &mut to, &cancel)
            .unwrap();
        assert_eq!(to, b"content");
        assert!(
            layout
                .copy(&plain("", digest.clone(), 8), &mut to, &cancel)
                .is_err()
        );
        assert!(
            layout
                .read(&digest, 6)
                .unwrap_err()
                .to_string()
                .contains("more than 6")
        );
        fs::write(&path, "CONTENT").unwrap();
        let e = layout.read(&digest, 100).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        let e = layout
            .copy(&plain("", digest.clone(), 7), &mut to, &cancel)
            .unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt);
        // A link out of it, to what has the right digest even.
        fs::write(place.root.join("outside"), "content").unwrap();
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(place.root.join("outside"), &path).unwrap();
        assert!(layout.read(&digest, 100).is_err());
        // What would hold us up.
        fs::remove_file(&path).unwrap();
        let directory = sys::fs::open(&place.at(), libc::O_PATH, 0).unwrap();
        sys::fs::mkfifoat(directory.as_fd(), Path::new(&blob_name(&digest)), 0o600).unwrap();
        assert!(
            layout
                .read(&digest, 100)
                .unwrap_err()
                .to_string()
                .contains("no file")
        );
        cancel.call();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "content").unwrap();
        assert!(layout.copy(&plain("", digest, 7), &mut to, &cancel).is_err());
    }
}
