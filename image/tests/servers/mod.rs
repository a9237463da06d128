//! A real registry (Debian's docker-registry) on loopback, with a store that the test fills.
//!
//! May not: use our own client to fill it.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::Digest;
use image::oci::{Descriptor, media};

/// A directory that goes with its test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("brig-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// docker-registry 2.x; ends with its test.
pub struct Server {
    child: Child,
    pub address: String,
    pub storage: PathBuf,
    _scratch: Scratch,
}

/// Whether it can be run here.
pub fn is_installed() -> bool {
    let is_there = Path::new("/usr/bin/docker-registry").exists();
    if !is_there {
        eprintln!("skipped: docker-registry is not installed");
    }
    is_there
}

impl Server {
    /// `settings` are variables of its environment, such as REGISTRY_AUTH.
    pub fn start(settings: &[(&str, &str)]) -> Server {
        let scratch = Scratch::new("registry");
        let storage = scratch.path().join("storage");
        std::fs::create_dir_all(&storage).unwrap();
        let configuration = scratch.path().join("config.yml");
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\nhttp:\n  addr: {address}\n  secret: test\n",
            storage.display()
        );
        std::fs::write(&configuration, text).unwrap();
        let mut child = Command::new("/usr/bin/docker-registry")
            .args(["serve", configuration.to_str().unwrap()])
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || for _ in stderr.lines() {});
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "docker-registry ended");
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::yield_now();
        }
        Server {
            child,
            address,
            storage,
            _scratch: scratch,
        }
    }

    /// Puts a blob into a repository, in the layout of distribution's file system driver.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        let hex = digest.hex();
        let root = self.storage.join("docker/registry/v2");
        write(
            &root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])),
            bytes,
        );
        write(
            &root.join(format!("repositories/{repository}/_layers/sha256/{hex}/link")),
            digest.to_string().as_bytes(),
        );
        descriptor(media::OCI_LAYER_GZIP, bytes)
    }

    /// Puts a manifest into a repository, with a tag.
    pub fn put_manifest(&self, repository: &str, tag: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let hex = digest.hex();
        let root = self.storage.join("docker/registry/v2");
        let manifests = root.join(format!("repositories/{repository}/_manifests"));
        let link = digest.to_string();
        write(
            &root.join(format!("blobs/sha256/{}/{hex}/data", &hex[..2])),
            bytes,
        );
        write(
            &manifests.join(format!("revisions/sha256/{hex}/link")),
            link.as_bytes(),
        );
        write(
            &manifests.join(format!("tags/{tag}/current/link")),
            link.as_bytes(),
        );
        write(
            &manifests.join(format!("tags/{tag}/index/sha256/{hex}/link")),
            link.as_bytes(),
        );
        digest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Of these bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: Default::default(),
        platform: None,
        artifact_type: None,
    }
}

/// Bytes that differ everywhere and compress badly; the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A manifest of one layer.
pub fn manifest(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    let value = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    serde_json::to_vec(&value).unwrap()
}
