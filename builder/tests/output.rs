//! What becomes of a result, on a real store.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use builder::output::{self, Exported, Material, Product, Story};
use builder::request::{Annotation, Attestations, Output, OutputKind, Request};
use builder::{Kind, Means, telling};
use engine::containers::Containers;
use image::credentials::Credentials;
use image::oci::{Document, ImageConfig, media};
use image::platform::Platform;
use image::provide::{self, Maker};
use image::registry::{Cancel, Client, Settings};
use image::store::{Depth, Form, Lease, Roots, Store};
use image::{archive, assemble, verify};
use serde_json::Value;

struct Scene {
    path: PathBuf,
    store: Store,
    containers: Containers,
    client: Client,
    cancel: Cancel,
}

impl Scene {
    /// None for an ordinary user, who mounts nothing.
    fn new(name: &str) -> Option<Scene> {
        if sys::process::effective_ids().0 != 0 {
            println!("skip builder.{name}: needs root");
            return None;
        }
        let path = std::env::temp_dir().join(format!("builder-output-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        let roots = Roots::at(&path.join("store"));
        let cancel = Cancel::new();
        let client = Client::new(
            Settings::bare(),
            Credentials::none(),
            cancel.clone(),
            Arc::new(|_| {}),
        );
        Some(Scene {
            store: Store::open(&roots).unwrap(),
            containers: Containers::of(&roots).unwrap(),
            client: client.unwrap(),
            cancel,
            path,
        })
    }

    fn maker<'m>(&'m self, store: &'m Store) -> Maker<'m> {
        Maker {
            store,
            means: provide::Means::plain(Form::Tree),
            cancel: &self.cancel,
            listener: &|_| (),
        }
    }

    fn put(&self, request: &Request, output: &Output, products: &[Product]) -> builder::Result<Exported> {
        let lease = self.store.lease().unwrap();
        let maker = self.maker(&self.store);
        let means = Means {
            maker: &maker,
            client: &self.client,
            containers: &self.containers,
            listener: &telling::silent,
            at_once: 2,
        };
        let story = Story {
            started: UNIX_EPOCH,
            ended: UNIX_EPOCH + Duration::from_secs(60),
            dockerfile: b"FROM x\n".to_vec(),
            epoch: Some(86_400),
        };
        output::put(&means, &lease, request, output, products, &story)
    }

    /// A layer of these files.
    fn layer(&self, lease: &Lease<'_>, files: &[(&str, &str)]) -> image::store::Layer {
        let directory = lease.directory().join(self.store.random_id().unwrap());
        for (name, text) in files {
            let path = directory.join("fs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        assemble::keep_upper(&self.store, lease, &directory, None, &self.cancel)
            .unwrap()
            .unwrap()
    }

    /// Leaves the layers in the care of the lease.
    fn product(&self, lease: &Lease<'_>, platform: &str) -> Product {
        let platform: Platform = platform.parse().unwrap();
        Product {
            annotations: BTreeMap::new(),
            config: ImageConfig {
                architecture: platform.architecture.clone(),
                os: platform.os.clone(),
                variant: platform.variant.clone(),
                ..ImageConfig::default()
            },
            layers: vec![
                self.layer(
                    lease,
                    &[
                        ("etc/os-release", "ID=alpine\nVERSION_ID=3.20\n"),
                        ("lib/apk/db/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n"),
                        ("etc/a", "old"),
                    ],
                ),
                self.layer(lease, &[("etc/a", "new"), ("b/c", &platform.to_string())]),
            ],
            platform,
            base: None,
            materials: vec![Material {
                uri: "pkg:docker/x@latest".into(),
                digest: format!("sha256:{}", "1".repeat(64)),
            }],
        }
    }

    fn sound(&self) {
        self.store.collect().unwrap();
        let findings = self.store.check(Depth::Full, &|_| ()).unwrap();
        assert_eq!(findings, []);
        assert_eq!(verify::layers(&self.maker(&self.store), &[]).unwrap(), []);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.path));
    }
}

fn to(kind: OutputKind, destination: Option<&Path>, values: &[(&str, &str)]) -> Output {
    Output {
        kind,
        destination: destination.map(Path::to_owned),
        values: values
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn sh(script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(done.status.success(), "{script}: {done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn images_of_the_store() {
    let Some(scene) = Scene::new("images") else { return };
    let lease = scene.store.lease().unwrap();
    let product = scene.product(&lease, &Platform::host().to_string());
    let mut request = Request {
        tags: vec!["app:1".parse().unwrap()],
        ..Request::default()
    };
    let plain = scene
        .put(
            &request,
            &to(OutputKind::Image, None, &[("name", "other")]),
            std::slice::from_ref(&product),
        )
        .unwrap();
    let id = plain.image_id().unwrap();
    for name in ["app:1", "other"] {
        assert_eq!(scene.store.find_image(name).unwrap().id, *id);
    }
    let told = plain.metadata("default/default/x");
    assert_eq!(told["containerimage.config.digest"], id.to_string());
    assert_eq!(
        told["image.name"],
        "docker.io/library/app:1,docker.io/library/other:latest"
    );
    scene.sound();
    // With statements beside it, and an index over them.
    request.attestations = Attestations {
        provenance: Some(BTreeMap::from([("mode".into(), "max".into())])),
        sbom: Some(BTreeMap::new()),
    };
    request.build_args = BTreeMap::from([("A".into(), "b".into())]);
    request.annotations = vec![Annotation {
        kinds: vec!["index".into()],
        key: "k".into(),
        value: "v".into(),
    }];
    let attested = scene
        .put(
            &request,
            &to(OutputKind::Image, None, &[]),
            std::slice::from_ref(&product),
        )
        .unwrap();
    let target = attested.descriptor.clone().unwrap();
    assert_eq!(target.media_type, media::OCI_INDEX);
    assert_eq!(attested.images.as_slice(), std::slice::from_ref(id));
    let bytes = scene.store.read_blob(&target.digest, 1 << 20).unwrap();
    let Document::Index(index) = Document::parse("", &bytes).unwrap() else {
        panic!("no index");
    };
    assert_eq!(index.annotations["k"], "v");
    let [image, statements] = index.manifests.as_slice() else {
        panic!("{index:?}");
    };
    assert!(statements.is_companion());
    let (manifest, _) = scene.store.manifest(&statements.digest).unwrap();
    assert_eq!(manifest.subject.unwrap().digest, image.digest);
    let read = |position: usize| -> Value {
        let digest = &manifest.layers[position].digest;
        serde_json::from_slice(&scene.store.read_blob(digest, 1 << 20).unwrap()).unwrap()
    };
    let (sbom, provenance) = (read(0), read(1));
    assert_eq!(sbom["predicate"]["packages"][1]["name"], "musl");
    assert_eq!(sbom["subject"][0]["digest"]["sha256"], image.digest.hex());
    assert_eq!(
        provenance["predicate"]["buildDefinition"]["externalParameters"]["request"]["args"]["build-arg:A"],
        "b"
    );
    assert!(attested.metadata("x")["buildx.build.provenance"].is_object());
    drop(lease);
    scene.sound();
    assert!(scene.store.blob_size(&statements.digest).unwrap().is_some());
    // Two platforms under one name, all of it kept.
    let lease = scene.store.lease().unwrap();
    let two = [product, scene.product(&lease, "linux/s390x")];
    let request = Request {
        tags: vec!["two".parse().unwrap()],
        ..Request::default()
    };
    let both = scene
        .put(&request, &to(OutputKind::Image, None, &[]), &two)
        .unwrap();
    drop(lease);
    scene.sound();
    let target = both.descriptor.unwrap().digest;
    let contents = image::variants::Contents::of(&scene.store, &target)
        .unwrap()
        .unwrap();
    assert_eq!(contents.configs.len(), 2);
    assert_eq!(scene.store.find_image("two").unwrap().id, both.images[0]);
}

#[test]
fn archives_and_files() {
    let Some(scene) = Scene::new("archives") else {
        return;
    };
    let lease = scene.store.lease().unwrap();
    let products = [
        scene.product(&lease, "linux/amd64"),
        scene.product(&lease, "linux/arm64"),
    ];
    let request = Request {
        tags: vec!["app:1".parse().unwrap()],
        ..Request::default()
    };
    let path = |name: &str| scene.path.join(name);
    let one = &products[..1];
    let docker = to(OutputKind::Docker, Some(&path("docker.tar")), &[]);
    assert_eq!(
        scene.put(&request, &docker, &products).unwrap_err().kind(),
        Kind::Invalid
    );
    let exported = scene.put(&request, &docker, one).unwrap();
    // No image has come of it.
    assert!(scene.store.images().unwrap().is_empty());
    let other = Store::open(&Roots::at(&path("other"))).unwrap();
    let mut file = fs::File::open(path("docker.tar")).unwrap();
    archive::load(&scene.maker(&other), &mut file, None).unwrap();
    assert_eq!(
        &other.find_image("app:1").unwrap().id,
        exported.image_id().unwrap()
    );
    let oci = to(
        OutputKind::Oci,
        Some(&path("oci.tar")),
        &[
            ("compression", "zstd"),
            ("force-compression", "true"),
            ("rewrite-timestamp", "true"),
        ],
    );
    let first = scene.put(&request, &oci, &products).unwrap();
    let bytes = fs::read(path("oci.tar")).unwrap();
    let list = sh(&format!("tar xf {} -O index.json", path("oci.tar").display()));
    let index: Value = serde_json::from_str(&list).unwrap();
    let entry = &index["manifests"][0];
    assert_eq!(entry["digest"], first.descriptor.unwrap().digest.to_string());
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "1");
    // The same again, byte for byte.
    scene.put(&request, &oci, &products).unwrap();
    assert!(fs::read(path("oci.tar")).unwrap() == bytes);
    let layout = to(OutputKind::Oci, Some(&path("layout")), &[("tar", "false")]);
    scene.put(&request, &layout, one).unwrap();
    assert!(path("layout/oci-layout").exists() && path("layout/blobs/sha256").exists());

    scene
        .put(&request, &to(OutputKind::Local, Some(&path("out")), &[]), one)
        .unwrap();
    assert_eq!(fs::read_to_string(path("out/etc/a")).unwrap(), "new");
    assert_eq!(fs::metadata(path("out/etc/a")).unwrap().mtime(), 86_400);
    scene
        .put(
            &request,
            &to(OutputKind::Local, Some(&path("both")), &[]),
            &products,
        )
        .unwrap();
    assert_eq!(
        fs::read_to_string(path("both/linux_arm64/b/c")).unwrap(),
        "linux/arm64"
    );
    scene
        .put(&request, &to(OutputKind::Tar, Some(&path("files.tar")), &[]), one)
        .unwrap();
    let list = sh(&format!("tar tf {} | sort", path("files.tar").display()));
    assert_eq!(
        list,
        "b/\nb/c\netc/\netc/a\netc/os-release\nlib/\nlib/apk/\nlib/apk/db/\nlib/apk/db/installed\n"
    );
    fs::write(path("out/mine"), "").unwrap();
    let delete = to(OutputKind::Local, Some(&path("out")), &[("mode", "delete")]);
    scene.put(&request, &delete, one).unwrap();
    assert!(!path("out/mine").exists() && path("out/etc/a").exists());
    // Nothing half written lies about.
    let hidden = |name: &str| name.starts_with('.');
    let names = fs::read_dir(&scene.path).unwrap();
    assert!(
        !names
            .flatten()
            .any(|entry| hidden(&entry.file_name().to_string_lossy()))
    );
    drop(lease);
    scene.sound();
    assert!(scene.store.layers().unwrap().is_empty());
}
