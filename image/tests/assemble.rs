//! Images that are made here, against the kernel: layers without blobs, and what becomes of them.

#![allow(clippy::unwrap_used, clippy::panic)]

mod played;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use image::assemble::{self, Assembly, Wish};
use image::credentials::Credentials;
use image::layer::compress::Method;
use image::oci::{ImageConfig, media};
use image::provide::{Maker, Means};
use image::reference::Reference;
use image::registry::{Cancel, Client, Settings};
use image::repair::Outcome;
use image::store::{Damage, Depth, Form, Image, Layer, Lease, Roots, Store, Subject};
use image::{Kind, archive, mount, verify};
use played::{Bench, inside, run};

struct Scene {
    bench: Bench,
    store: Store,
    cancel: Cancel,
}

impl Scene {
    fn new() -> Scene {
        let bench = Bench::new();
        let store = Store::open(&Roots::at(&bench.path("store"))).unwrap();
        Scene {
            bench,
            store,
            cancel: Cancel::new(),
        }
    }

    fn maker(&self) -> Maker<'_> {
        Maker {
            store: &self.store,
            means: Means::plain(Form::Tree),
            cancel: &self.cancel,
            listener: &|_| (),
        }
    }

    /// A layer over these, made by a shell in an overlay.
    fn step(&self, lease: &Lease<'_>, below: &[Layer], script: &str) -> Option<Layer> {
        let name = format!("step-{}", self.store.random_id().unwrap());
        let directory = lease.directory().join(name);
        let (upper, work, at) = (directory.join("fs"), directory.join("work"), self.bench.dir("at"));
        for made in [&directory, &upper, &work] {
            fs::create_dir(made).unwrap();
        }
        let spec = mount::Spec {
            layers: self.store.mountable(below),
            upper: Some(mount::Upper {
                upper,
                work: work.clone(),
            }),
            scratch: Some(lease.directory()),
            options: mount::Options::default(),
        };
        mount::mount(&spec, &at).unwrap();
        run("sh", &["-ec", &format!("cd {}; {script}", at.display())]);
        mount::unmount(&at, mount::Busy::Refuse).unwrap();
        run("rm", &["-rf", &work.display().to_string()]);
        let lower = (!below.is_empty()).then(|| {
            let spec = mount::Spec {
                layers: self.store.mountable(below),
                ..mount::Spec::default()
            };
            mount::detached(&spec).unwrap().0
        });
        let lower = lower.as_ref().map(AsFd::as_fd);
        assemble::keep_upper(&self.store, lease, &directory, lower, &self.cancel).unwrap()
    }

    /// An image of two layers, with a tag.
    fn image(&self) -> Image {
        let lease = self.store.lease().unwrap();
        let mut layers = Vec::new();
        for script in STEPS {
            let layer = self.step(&lease, &layers, script).unwrap();
            layers.push(layer);
        }
        let assembly = Assembly {
            config: &ImageConfig {
                architecture: "amd64".into(),
                os: "linux".into(),
                ..ImageConfig::default()
            },
            layers: &layers,
            base: None,
            tags: &[tag()],
            annotations: &BTreeMap::from([("k".to_owned(), "v".to_owned())]),
            parent: None,
        };
        let id = assemble::assemble(&self.store, &lease, &assembly).unwrap();
        self.store.image(&id).unwrap().unwrap()
    }

    fn sound(&self) {
        let findings = self.store.check(Depth::Full, &|_| ()).unwrap();
        assert_eq!(findings, []);
        assert_eq!(verify::layers(&self.maker(), &findings).unwrap(), []);
    }

    fn media_types(&self, image: &Image) -> Vec<String> {
        let (manifest, _) = self.store.manifest(&image.manifest).unwrap();
        manifest
            .layers
            .into_iter()
            .map(|layer| layer.media_type)
            .collect()
    }
}

const STEPS: [&str; 2] = [
    "mkdir etc opt gone; echo zero >etc/os; echo old >gone/old; ln etc/os etc/os2; ln -s os etc/link; mkfifo opt/f; chmod 4750 opt; head -c 3000000 /dev/urandom >opt/data",
    "rm etc/os2; echo one >etc/os; rm -r gone; mkdir gone; echo new >gone/new; rm opt/f; mknod opt/null c 1 3; chown 7:8 etc; : >etc/hosts; mkdir dev",
];

fn tag() -> Reference {
    "made:1".parse().unwrap()
}

#[test]
fn layers_have_blobs_when_somebody_wants_them() {
    if !inside("layers_have_blobs_when_somebody_wants_them") {
        return;
    }
    let scene = Scene::new();
    let bare = scene.image();
    assert_eq!(scene.media_types(&bare), [media::OCI_LAYER; 2]);
    // The manifest and the configuration.
    assert_eq!(scene.store.blob_keys(&bare.manifest).unwrap().len(), 2);
    scene.store.collect().unwrap();
    scene.sound();
    let settled = assemble::settle(&scene.store, &bare, &scene.cancel).unwrap();
    assert_eq!(settled.id, bare.id);
    assert_ne!(settled.manifest, bare.manifest);
    assert_eq!(scene.media_types(&settled), [media::OCI_LAYER_GZIP; 2]);
    let (manifest, _) = scene.store.manifest(&settled.manifest).unwrap();
    assert_eq!(manifest.annotations["k"], "v");
    let name = scene.store.name(&tag()).unwrap().unwrap();
    assert_eq!(
        (&name.manifest, &name.target),
        (&settled.manifest, &settled.manifest)
    );
    scene.store.collect().unwrap();
    scene.sound();
    // Nothing is left to do, for whoever knows the old one as well.
    let again = assemble::settle_manifest(&scene.store, &bare.id, &bare.manifest, &scene.cancel).unwrap();
    assert_eq!(again, settled.manifest);
    // Who unpacks the blobs has the same files.
    let other = Store::open(&Roots::at(&scene.bench.path("other"))).unwrap();
    let mut bytes = Vec::new();
    let chosen = archive::choose(&scene.store, &["made:1".into()], None).unwrap();
    archive::save(&scene.store, &chosen, &mut bytes, &scene.cancel).unwrap();
    let maker = Maker {
        store: &other,
        ..scene.maker()
    };
    archive::load(&maker, &mut bytes.as_slice(), None).unwrap();
    let loaded = other.find_image("made:1").unwrap();
    assert_eq!(loaded.id, bare.id);
    for layer in scene.store.layers_of(&settled.manifest).unwrap() {
        let same = other.layer(&layer.key).unwrap().unwrap();
        let list = |path: &std::path::Path| {
            let find = r"find . -mindepth 1 -printf '%P %y %m %U %G %n %l %T@ ' \( -type d -o -printf %s \) -printf '\n'";
            // A whiteout has no time in an archive.
            let script = format!(
                "cd {}; {find} | grep -v ' c 0 ' | sort; find . -type c | sort",
                path.display()
            );
            run("sh", &["-ec", &script])
        };
        assert_eq!(
            list(&scene.store.layer_path(&layer)),
            list(&other.layer_path(&same))
        );
    }
}

#[test]
fn archives_and_blobs_of_other_kinds_are_made_of_bare_layers() {
    if !inside("archives_and_blobs_of_other_kinds_are_made_of_bare_layers") {
        return;
    }
    let scene = Scene::new();
    let bare = scene.image();
    let lease = scene.store.lease().unwrap();
    let make =
        |wish: Wish| assemble::blobs(&scene.store, &lease, &bare.manifest, &wish, &scene.cancel).unwrap();
    let of = |method| Wish {
        method,
        force: true,
        ..Wish::default()
    };
    let zstd = make(of(Method::Zstd(3)));
    let plain = make(of(Method::None));
    for (zstd, plain) in zstd.iter().zip(&plain) {
        assert_eq!(zstd.descriptor.media_type, media::OCI_LAYER_ZSTD);
        assert_eq!(plain.descriptor.media_type, media::OCI_LAYER);
        assert_eq!(
            (&zstd.diff_id, &plain.diff_id),
            (&plain.diff_id, &plain.descriptor.digest)
        );
        assert!(scene.store.verify_blob(&zstd.descriptor.digest).unwrap());
    }
    // 1970-01-02: nothing is younger.
    let clamped = make(Wish {
        latest: Some(86_400),
        ..of(Method::None)
    });
    for (clamped, plain) in clamped.iter().zip(&plain) {
        assert_ne!(clamped.diff_id, plain.diff_id);
        let path = scene.store.blob_path(&clamped.descriptor.digest);
        let list = run("tar", &["--utc", "-tvf", &path.display().to_string()]);
        // Whiteouts have no time at all.
        let young = |line: &&str| !line.contains("1970-01-02 00:00") && !line.contains("1970-01-01 00:00");
        assert_eq!(list.lines().find(young), None, "{list}");
    }
    let mut bytes = Vec::new();
    let chosen = archive::choose(&scene.store, &["made:1".into()], None).unwrap();
    archive::save(&scene.store, &chosen, &mut bytes, &scene.cancel).unwrap();
    assert!(bytes.len() > 3_000_000);
    drop(lease);
    scene.sound();
}

#[test]
fn a_damaged_layer_without_a_blob_is_found_and_named() {
    if !inside("a_damaged_layer_without_a_blob_is_found_and_named") {
        return;
    }
    let scene = Scene::new();
    let bare = scene.image();
    let layers = scene.store.layers_of(&bare.manifest).unwrap();
    let file = scene.store.layer_path(&layers[1]).join("etc/os");
    let times = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "ONE\n").unwrap();
    fs::File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_modified(times)
        .unwrap();
    let findings = verify::layers(&scene.maker(), &[]).unwrap();
    assert!(
        matches!(findings.as_slice(), [only] if only.subject == Subject::Layer(layers[1].key.to_string())
            && matches!(only.damage, Damage::Corrupt(_))),
        "{findings:?}"
    );
    let e = assemble::settle(&scene.store, &bare, &scene.cancel).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt, "{e}");
    assert!(e.to_string().ends_with("the image has to be built again"), "{e}");
    // As before.
    assert_eq!(
        scene.store.image(&bare.id).unwrap().unwrap().manifest,
        bare.manifest
    );
    let client = Client::new(
        Settings::bare(),
        Credentials::none(),
        scene.cancel.clone(),
        std::sync::Arc::new(|_| {}),
    )
    .unwrap();
    let maker = scene.maker();
    let repairer = image::repair::Repairer {
        maker: &maker,
        client: &client,
    };
    let outcomes = repairer.repair(&findings).unwrap();
    let [(_, Outcome::NotMended(why))] = outcomes.as_slice() else {
        panic!("{outcomes:?}");
    };
    assert!(why.to_string().contains("build the image again"), "{why}");
    run(
        "rm",
        &["-rf", &scene.store.layer_path(&layers[1]).display().to_string()],
    );
    let lease = scene.store.lease().unwrap();
    let e = image::standing::layers(&maker, &lease, &bare).unwrap_err();
    assert!(e.to_string().ends_with("the image has to be built again"), "{e}");
}

#[test]
fn several_settle_at_once() {
    if !inside("several_settle_at_once") {
        return;
    }
    let scene = Scene::new();
    let bare = scene.image();
    let root = scene.bench.path("store");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let store = Store::open(&Roots::at(&root)).unwrap();
                let settled = assemble::settle(&store, &bare, &Cancel::new()).unwrap();
                assert_eq!(settled.id, bare.id);
            });
        }
    });
    scene.store.collect().unwrap();
    scene.sound();
}

fn keys(layers: &[Layer]) -> Vec<&str> {
    layers.iter().map(|layer| layer.key.as_str()).collect()
}

#[test]
fn an_image_on_another_has_its_layers() {
    if !inside("an_image_on_another_has_its_layers") {
        return;
    }
    let scene = Scene::new();
    let base = assemble::settle(&scene.store, &scene.image(), &scene.cancel).unwrap();
    let lease = scene.store.lease().unwrap();
    let mut layers = scene.store.layers_of(&base.manifest).unwrap();
    assert!(scene.step(&lease, &layers, "true").is_none());
    let third = scene.step(&lease, &layers, "echo 3 >third").unwrap();
    layers.push(third);
    let (config, _) = scene.store.config(&base.id).unwrap();
    let id = assemble::assemble(
        &scene.store,
        &lease,
        &Assembly {
            config: &config,
            layers: &layers,
            base: Some(&base),
            tags: &[],
            annotations: &BTreeMap::new(),
            parent: Some(&base.id),
        },
    )
    .unwrap();
    let image = scene.store.image(&id).unwrap().unwrap();
    assert_eq!(
        scene.media_types(&image),
        [media::OCI_LAYER_GZIP, media::OCI_LAYER_GZIP, media::OCI_LAYER]
    );
    assert_eq!(
        keys(&scene.store.layers_of(&image.manifest).unwrap()),
        keys(&layers)
    );
    drop(lease);
    scene.sound();
    // The base goes, what it has stays where it is needed.
    scene.store.remove_image(&base.id).unwrap();
    scene.store.collect().unwrap();
    scene.sound();
    let settled = assemble::settle(&scene.store, &image, &scene.cancel).unwrap();
    scene.store.collect().unwrap();
    scene.sound();
    assert_eq!(scene.media_types(&settled), [media::OCI_LAYER_GZIP; 3]);
    scene.store.remove_image(&settled.id).unwrap();
    let freed = scene.store.collect().unwrap();
    assert_eq!(freed.layers.len(), 3);
    assert_eq!(scene.store.layers().unwrap().len(), 0);
}
