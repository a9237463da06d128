//! Images made here: blobs under their digests, and the documents that name them.
//!
//! May not: use the code of any image tool. Digests and compression come from coreutils, gzip and zstd.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conformance::command;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(300);

/// Which words a manifest uses for the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Oci,
    Docker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    /// Gzip in several members, as parallel compressors write it.
    Members,
    Zstd,
}

/// A blob of the depot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub digest: String,
    pub size: u64,
}

impl Blob {
    pub fn hex(&self) -> &str {
        self.digest.strip_prefix("sha256:").unwrap_or(&self.digest)
    }

    /// How progress lines call it.
    pub fn short(&self) -> &str {
        self.hex().get(..12).unwrap_or_default()
    }
}

/// A layer: its blob, and the digest of what it unpacks from.
#[derive(Debug, Clone)]
pub struct Layer {
    pub blob: Blob,
    pub diff_id: String,
    compression: Compression,
}

/// A manifest or an index with everything below it.
#[derive(Debug, Clone)]
pub struct Image {
    pub manifest: Blob,
    pub media_type: &'static str,
    pub config: Blob,
    pub layers: Vec<Layer>,
    pub children: Vec<Image>,
}

impl Image {
    /// The image's id.
    pub fn id(&self) -> &str {
        &self.config.digest
    }

    /// All blobs, those of children included; the manifests last.
    pub fn blobs(&self) -> Vec<&Blob> {
        let mut all: Vec<&Blob> = self.children.iter().flat_map(Image::blobs).collect();
        if self.children.is_empty() {
            all.extend(self.layers.iter().map(|layer| &layer.blob));
            all.push(&self.config);
        }
        all.push(&self.manifest);
        all
    }
}

/// What a configuration says beside its layers.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub format: Format,
    pub architecture: &'static str,
    pub config: Value,
}

impl Recipe {
    pub fn new(command: &[&str]) -> Recipe {
        Recipe {
            format: Format::Oci,
            architecture: native(),
            config: json!({
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "WHO=depot"],
                "Cmd": command,
                "WorkingDir": "/",
            }),
        }
    }

    pub fn docker(mut self) -> Recipe {
        self.format = Format::Docker;
        self
    }

    pub fn architecture(mut self, architecture: &'static str) -> Recipe {
        self.architecture = architecture;
        self
    }
}

/// This machine, in the words of image documents.
pub fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where blobs lie: the directory is an OCI layout's.
pub struct Depot {
    pub dir: PathBuf,
}

impl Depot {
    pub fn open(dir: &Path) -> Result<Depot, String> {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(|e| format!("{}: {e}", blobs.display()))?;
        Ok(Depot { dir: dir.to_owned() })
    }

    pub fn path(&self, blob: &Blob) -> PathBuf {
        self.dir.join("blobs/sha256").join(blob.hex())
    }

    /// Takes in bytes.
    pub fn add(&self, bytes: &[u8]) -> Result<Blob, String> {
        let file = self.fresh();
        std::fs::write(&file, bytes).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut added = self.adopt(std::slice::from_ref(&file))?;
        added.pop().ok_or("nothing was added".into())
    }

    /// Takes in whole archives as layers. Each stage is one process for all of them.
    pub fn layers(&self, archives: &[Vec<u8>], compression: Compression) -> Result<Vec<Layer>, String> {
        let mut files = Vec::new();
        for archive in archives {
            let file = self.fresh();
            std::fs::write(&file, archive).map_err(|e| format!("{}: {e}", file.display()))?;
            files.push(file);
        }
        self.layers_of_files(&files, compression)
    }

    /// The same with files, which are moved.
    pub fn layers_of_files(&self, files: &[PathBuf], compression: Compression) -> Result<Vec<Layer>, String> {
        let diff_ids = digests(files)?;
        let compressed = compress(files, compression)?;
        let blobs = self.adopt(&compressed)?;
        let layers = blobs.into_iter().zip(diff_ids);
        Ok(layers
            .map(|(blob, diff_id)| Layer {
                blob,
                diff_id,
                compression,
            })
            .collect())
    }

    /// A layer that was compressed before.
    pub fn compressed_layer(&self, file: &Path, diff_id: &str) -> Result<Layer, String> {
        let copy = self.fresh();
        std::fs::hard_link(file, &copy)
            .or_else(|_| std::fs::copy(file, &copy).map(|_| ()))
            .map_err(|e| format!("{}: {e}", file.display()))?;
        let blob = self.adopt(&[copy])?.pop().ok_or("nothing was added")?;
        Ok(Layer {
            blob,
            diff_id: diff_id.to_owned(),
            compression: Compression::Gzip,
        })
    }

    /// An image of these layers.
    pub fn image(&self, recipe: &Recipe, layers: &[Layer]) -> Result<Image, String> {
        let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
        let mut history: Vec<Value> = layers
            .iter()
            .enumerate()
            .map(|(n, _)| json!({"created": CREATED, "created_by": format!("layer {n}")}))
            .collect();
        history.push(json!({"created": CREATED, "created_by": "CMD", "empty_layer": true}));
        let config = json!({
            "created": CREATED,
            "architecture": recipe.architecture,
            "os": "linux",
            "config": recipe.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let config = self.add(config.to_string().as_bytes())?;
        let (media_type, of_config) = match recipe.format {
            Format::Oci => (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
            ),
            Format::Docker => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            ),
        };
        let of_layers: Vec<Value> = layers
            .iter()
            .map(|layer| descriptor(media_type_of(layer, recipe.format), &layer.blob))
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(of_config, &config),
            "layers": of_layers,
        });
        Ok(Image {
            manifest: self.add(manifest.to_string().as_bytes())?,
            media_type,
            config,
            layers: layers.to_vec(),
            children: Vec::new(),
        })
    }

    /// An index of images, each with its architecture; "unknown" is what builders call attestations.
    pub fn index(&self, format: Format, images: &[(&'static str, Image)]) -> Result<Image, String> {
        let media_type = match format {
            Format::Oci => "application/vnd.oci.image.index.v1+json",
            Format::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        };
        let manifests: Vec<Value> = images
            .iter()
            .map(|(architecture, image)| {
                let os = if *architecture == "unknown" {
                    "unknown"
                } else {
                    "linux"
                };
                let mut entry = descriptor(image.media_type, &image.manifest);
                entry["platform"] = json!({"architecture": architecture, "os": os});
                entry
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
        let mine = images
            .iter()
            .find(|(architecture, _)| *architecture == native())
            .ok_or("an index without this machine")?;
        Ok(Image {
            manifest: self.add(index.to_string().as_bytes())?,
            media_type,
            config: mine.1.config.clone(),
            layers: mine.1.layers.clone(),
            children: images.iter().map(|(_, image)| image.clone()).collect(),
        })
    }

    /// An OCI layout that holds one image, for tools that read such directories. Its blobs are links.
    pub fn layout(&self, dir: &Path, tag: &str, image: &Image) -> Result<(), String> {
        let blobs = dir.join("blobs/sha256");
        let made = || -> std::io::Result<()> {
            std::fs::create_dir_all(&blobs)?;
            for blob in image.blobs() {
                let to = blobs.join(blob.hex());
                if !to.exists() {
                    std::fs::hard_link(self.path(blob), to)?;
                }
            }
            let mut entry = descriptor(image.media_type, &image.manifest);
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
            let index = json!({"schemaVersion": 2, "manifests": [entry]});
            std::fs::write(dir.join("index.json"), index.to_string())?;
            std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        };
        made().map_err(|e| format!("{}: {e}", dir.display()))
    }

    /// Moves files to where their digests say.
    fn adopt(&self, files: &[PathBuf]) -> Result<Vec<Blob>, String> {
        let mut blobs = Vec::new();
        for (file, digest) in files.iter().zip(digests(files)?) {
            let text = |e: std::io::Error| format!("{}: {e}", file.display());
            let size = std::fs::metadata(file).map_err(text)?.size();
            let blob = Blob { digest, size };
            std::fs::rename(file, self.path(&blob)).map_err(text)?;
            blobs.push(blob);
        }
        Ok(blobs)
    }

    fn fresh(&self) -> PathBuf {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        self.dir
            .join(format!("new-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
}

const CREATED: &str = "2024-02-03T04:05:06Z";

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.size})
}

fn media_type_of(layer: &Layer, format: Format) -> &'static str {
    match (format, layer.compression) {
        (Format::Oci, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
        (Format::Oci, Compression::Gzip | Compression::Members) => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        (Format::Oci, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        (Format::Docker, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
        (Format::Docker, Compression::Gzip | Compression::Members) => {
            "application/vnd.docker.image.rootfs.diff.tar.gzip"
        }
        (Format::Docker, Compression::Zstd) => "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
}

/// SHA-256 of files, as digests are written.
pub fn digests(files: &[PathBuf]) -> Result<Vec<String>, String> {
    let mut sum = Command::new("sha256sum");
    let text = command::run(sum.arg("--").args(files), "", PATIENCE)?.ok()?;
    let digests: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(|hex| format!("sha256:{hex}")))
        .collect();
    if digests.len() == files.len() {
        Ok(digests)
    } else {
        Err(format!("sha256sum: {text}"))
    }
}

/// Compresses files beside where they were.
fn compress(files: &[PathBuf], compression: Compression) -> Result<Vec<PathBuf>, String> {
    let with = |ending: &str| -> Vec<PathBuf> {
        let renamed = |file: &PathBuf| PathBuf::from(format!("{}{ending}", file.display()));
        files.iter().map(renamed).collect()
    };
    match compression {
        Compression::None => Ok(files.to_vec()),
        Compression::Gzip => {
            let mut gzip = Command::new("gzip");
            command::run(gzip.args(["-n", "--"]).args(files), "", PATIENCE)?.ok()?;
            Ok(with(".gz"))
        }
        Compression::Members => {
            // A member for every 100 kB.
            let script = r#"for file; do
                split -b 100000 --filter='gzip -n' "$file" >"$file.gz" && rm "$file" || exit 1
            done"#;
            let mut sh = Command::new("sh");
            command::run(sh.args(["-c", script, "sh"]).args(files), "", PATIENCE)?.ok()?;
            Ok(with(".gz"))
        }
        Compression::Zstd => {
            let mut zstd = Command::new("zstd");
            command::run(zstd.args(["-q", "--rm", "--"]).args(files), "", PATIENCE)?.ok()?;
            Ok(with(".zst"))
        }
    }
}
