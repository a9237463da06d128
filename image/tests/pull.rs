//! From a registry that others wrote into the store, and what the store makes of it. Needs docker-registry.
#![allow(clippy::unwrap_used, clippy::panic)]

mod servers;

use std::io::Write;
use std::sync::{Arc, Mutex};

use image::archive;
use image::credentials::Credentials;
use image::layer::tar::{Entry, Type, Writer};
use image::oci::{RunConfig, media};
use image::platform::Platform;
use image::progress::{Event, Step};
use image::provide::{Maker, Means};
use image::pull::{Freshness, Pulled, Puller};
use image::reference::Reference;
use image::registry::{Cancel, Client, Opened, Partial, Settings};
use image::remove::{self, Force, Gone};
use image::repair::{Outcome, Repairer};
use image::store::{Damage, Depth, Finding, Form, Roots, Store, Subject, UseKind};
use image::{Digest, Kind, Result, evict, verify};
use servers::{Scratch, Server};

/// A tar of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, bytes) in files {
        let entry = Entry {
            path: path.as_bytes().to_vec(),
            kind: Type::File,
            mode: 0o644,
            size: bytes.len() as u64,
            ..Entry::default()
        };
        writer.begin(&entry).unwrap();
        writer.write(bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = std::process::Command::new("gzip")
        .args(["-1", "-n"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(bytes).unwrap());
        child.wait_with_output().unwrap().stdout
    })
}

/// Puts an image of these layers into the registry: its manifest's digest and its id.
fn put_image(server: &Server, repository: &str, tag: &str, layers: &[Vec<u8>]) -> (Digest, Digest) {
    let diff_ids: Vec<String> = layers
        .iter()
        .map(|layer| format!("\"{}\"", Digest::of(layer)))
        .collect();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Cmd":["/bin/{tag}"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        Platform::host().architecture,
        diff_ids.join(",")
    );
    server.put_blob(repository, config.as_bytes());
    let blobs: Vec<_> = layers
        .iter()
        .map(|layer| {
            let mut descriptor = server.put_blob(repository, &gzip(layer));
            descriptor.media_type = media::OCI_LAYER_GZIP.to_owned();
            descriptor
        })
        .collect();
    let manifest = servers::manifest(&servers::descriptor(media::OCI_CONFIG, config.as_bytes()), &blobs);
    (
        server.put_manifest(repository, tag, &manifest),
        Digest::of(config.as_bytes()),
    )
}

struct Place {
    scratch: Scratch,
    store: Store,
}

impl Place {
    fn new(name: &str) -> Place {
        let scratch = Scratch::new(name);
        let store = Store::open(&Roots::at(scratch.path())).unwrap();
        Place { scratch, store }
    }

    fn pull(&self, form: Form, reference: &Reference) -> (Result<Pulled>, Vec<(String, Step)>) {
        let cancel = Cancel::new();
        let client = Client::new(
            Settings::bare(),
            Credentials::none(),
            cancel.clone(),
            Arc::new(|_| {}),
        )
        .unwrap();
        let steps = Mutex::new(Vec::new());
        let pulled = Puller {
            maker: &Maker {
                store: &self.store,
                means: Means::plain(form),
                cancel: &cancel,
                listener: &|event| {
                    if let Event::Layer { id, step } = event {
                        steps.lock().unwrap().push(((*id).to_owned(), step.clone()));
                    }
                },
            },
            client: &client,
            platform: None,
            at_once: 3,
        }
        .pull(reference);
        (pulled, steps.into_inner().unwrap())
    }

    fn sound(&self) {
        assert_eq!(self.store.check(Depth::Full, &|_| ()).unwrap(), []);
        for left in ["tmp", "trash", "leases", "partial"] {
            let directory = self.scratch.path().join(left);
            let names: Vec<_> = std::fs::read_dir(&directory)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert!(names.is_empty(), "{left}: {names:?}");
        }
    }
}

#[test]
fn image_is_pulled_shared_and_removed() {
    if !servers::is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let base = tar(&[("etc/base", &servers::noise(3 << 20, 1))]);
    let (target, id) = put_image(&server, "team/app", "v1", &[base.clone(), tar(&[("a", b"1")])]);
    let (_, second) = put_image(&server, "team/app", "v2", &[base.clone(), tar(&[("b", b"2")])]);
    let name = |tag: &str| -> Reference { format!("{}/team/app:{tag}", server.address).parse().unwrap() };
    for form in [Form::Tree, Form::Erofs] {
        let place = Place::new("pull");
        let (pulled, steps) = place.pull(form, &name("v1"));
        let pulled = pulled.unwrap();
        assert_eq!(
            (&pulled.image, &pulled.target, pulled.freshness),
            (&id, &target, Freshness::Downloaded)
        );
        assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Pulled).count(), 2);
        place.sound();
        let (again, steps) = place.pull(form, &name("v1"));
        assert_eq!(again.unwrap().freshness, Freshness::UpToDate);
        assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Exists).count(), 2);
        // The layer that both have does not come again.
        let (other, steps) = place.pull(form, &name("v2"));
        assert_eq!(other.unwrap().image, second);
        assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Exists).count(), 1);
        assert_eq!(steps.iter().filter(|(_, step)| *step == Step::Pulled).count(), 1);
        // By digest: no tag.
        let by_digest = name("v1").repository().with_digest(target.clone());
        assert_eq!(
            place.pull(form, &by_digest).0.unwrap().freshness,
            Freshness::UpToDate
        );
        let e = place.pull(form, &name("v3")).0.unwrap_err();
        assert_eq!(e.kind(), Kind::NotFound);
        place.sound();

        let (gone, freed) =
            remove::remove(&place.store, &name("v1").familiar(), Force::No, &|_| true).unwrap();
        assert!(
            matches!(&gone[0], Gone::Untagged(reference) if *reference == name("v1")),
            "{gone:?}"
        );
        assert!(gone.contains(&Gone::Deleted(id.clone())), "{gone:?}");
        assert_eq!(freed.layers.len(), 1);
        place.sound();
        remove::remove(&place.store, second.short(), Force::No, &|_| true).unwrap();
        place.sound();
        assert_eq!(place.store.blob_bytes().unwrap(), 0);
        assert_eq!(
            std::fs::read_dir(place.scratch.path().join("layers"))
                .unwrap()
                .count(),
            0
        );
    }
}

#[test]
fn what_was_pulled_is_saved_and_loaded_with_its_digests() {
    if !servers::is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let (target, id) = put_image(
        &server,
        "app",
        "v1",
        &[tar(&[("a", b"1")]), tar(&[("b", &servers::noise(300_000, 2))])],
    );
    let name: Reference = format!("{}/app:v1", server.address).parse().unwrap();
    let from = Place::new("save");
    from.pull(Form::Tree, &name).0.unwrap();
    let cancel = Cancel::new();
    let chosen = archive::choose(&from.store, &[name.familiar()], None).unwrap();
    let (mut bytes, mut again) = (Vec::new(), Vec::new());
    archive::save(&from.store, &chosen, &mut bytes, &cancel).unwrap();
    archive::save(&from.store, &chosen, &mut again, &cancel).unwrap();
    assert!(bytes == again);

    let to = Place::new("load");
    let maker = Maker {
        store: &to.store,
        means: Means::plain(Form::Erofs),
        cancel: &cancel,
        listener: &image::progress::silent,
    };
    for packed in [bytes.clone(), gzip(&bytes)] {
        let loaded = archive::load(&maker, &mut packed.as_slice(), None).unwrap();
        assert_eq!(
            (&loaded[0].image, loaded[0].names.as_slice()),
            (&id, std::slice::from_ref(&name))
        );
        assert_eq!(to.store.image(&id).unwrap().unwrap().manifest, target);
        to.sound();
    }
    // One bit, and it is refused, whichever blob it is in.
    for at in (1024..bytes.len()).step_by(bytes.len() / 40) {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        let fresh = Place::new("bad");
        let maker = Maker {
            store: &fresh.store,
            ..maker_of(&fresh, &cancel)
        };
        // What lies between the blobs may be wrong without harm; what is loaded is not.
        if archive::load(&maker, &mut bad.as_slice(), None).is_ok() {
            assert_eq!(
                fresh.store.image(&id).unwrap().map(|i| i.manifest),
                Some(target.clone())
            );
        }
        fresh.store.collect().unwrap();
        fresh.sound();
    }
}

fn maker_of<'a>(place: &'a Place, cancel: &'a Cancel) -> Maker<'a> {
    Maker {
        store: &place.store,
        means: Means::plain(Form::Tree),
        cancel,
        listener: &image::progress::silent,
    }
}

#[test]
fn link_to_a_file_of_a_layer_below_becomes_a_copy() {
    if !servers::is_installed() {
        return;
    }
    let link = {
        let mut writer = Writer::new(Vec::new());
        let entry = Entry {
            path: b"opt/link".to_vec(),
            link: b"etc/base".to_vec(),
            kind: Type::Hardlink,
            ..Entry::default()
        };
        writer.begin(&entry).unwrap();
        writer.finish().unwrap()
    };
    let server = Server::start(&[]);
    let base = servers::noise(200_000, 3);
    put_image(&server, "app", "v1", &[tar(&[("etc/base", &base)]), link.clone()]);
    put_image(&server, "app", "v2", &[tar(&[("etc/other", &base)]), link]);
    for form in [Form::Tree, Form::Erofs] {
        let place = Place::new("below");
        let name = |tag: &str| -> Reference { format!("{}/app:{tag}", server.address).parse().unwrap() };
        place.pull(form, &name("v1")).0.unwrap();
        place.sound();
        let layers = place.store.layers().unwrap();
        let copy = layers
            .iter()
            .find(|layer| layer.key.as_str().ends_with("-chain"))
            .unwrap();
        if form == Form::Tree {
            assert_eq!(
                std::fs::read(place.store.layer_path(copy).join("opt/link")).unwrap(),
                base
            );
        }
        // Such a layer is compared and made again as well, with what lies below in sight.
        let cancel = Cancel::new();
        let maker = Maker {
            means: Means::plain(form),
            ..maker_of(&place, &cancel)
        };
        assert_eq!(verify::layers(&maker, &[]).unwrap(), []);
        for layer in [copy, layers.iter().find(|layer| layer.key != copy.key).unwrap()] {
            let path = place.store.layer_path(layer);
            match form {
                Form::Tree if layer.key == copy.key => flip(&path.join("opt/link"), 6000),
                Form::Tree => flip(&path.join("etc/base"), 5000),
                // Another byte than below: from a layer that is damaged alike, the same would be made.
                Form::Erofs if layer.key == copy.key => flip(&path, 10_000),
                Form::Erofs => flip(&path, 9000),
            }
        }
        let findings = verify::layers(&maker, &[]).unwrap();
        assert_eq!(findings.len(), 2);
        assert_eq!(mend(&maker, &findings).len(), 2);
        assert_eq!(verify::layers(&maker, &[]).unwrap(), []);
        assert_eq!(
            place.pull(form, &name("v1")).0.unwrap().freshness,
            Freshness::UpToDate
        );
        // Under it lies something else: it does not fit, and nothing of it stays.
        let e = place.pull(form, &name("v2")).0.unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        place.store.collect().unwrap();
        place.sound();
    }
}

#[test]
fn rootfs_is_imported() {
    let place = Place::new("import");
    let cancel = Cancel::new();
    let maker = maker_of(&place, &cancel);
    let bytes = gzip(&tar(&[("etc/os-release", b"NAME=x")]));
    let reference: Reference = "imported".parse().unwrap();
    let import = archive::Import {
        reference: Some(&reference),
        source: "-",
        message: None,
        config: RunConfig {
            cmd: Some(vec!["/bin/sh".to_owned()]),
            ..RunConfig::default()
        },
        platform: Platform::host(),
    };
    let id = archive::import(&maker, &mut bytes.as_slice(), &import).unwrap();
    assert_eq!(place.store.find_image("imported:latest").unwrap().id, id);
    assert_eq!(
        place.store.config(&id).unwrap().0.config.cmd.unwrap(),
        ["/bin/sh"]
    );
    place.sound();
    for (bytes, words) in [
        (&b""[..], "empty"),
        (&b"no tar at all, but long enough to be looked at"[..], ""),
    ] {
        let e = archive::import(&maker, &mut &*bytes, &import)
            .unwrap_err()
            .to_string();
        assert!(e.contains(words), "{e}");
    }
    place.store.collect().unwrap();
    place.sound();
}

/// What `system check --repair` does.
fn mend(maker: &Maker<'_>, findings: &[Finding]) -> Vec<Outcome> {
    let client = Client::new(
        Settings::bare(),
        Credentials::none(),
        maker.cancel.clone(),
        Arc::new(|_| {}),
    )
    .unwrap();
    let repairer = Repairer {
        maker,
        client: &client,
    };
    let outcomes = repairer.repair(findings).unwrap();
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// A layer with everything that a tree can have.
fn rich() -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    let named = |path: &str, kind| Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o644,
        ..Entry::default()
    };
    let contents = servers::noise(300_000, 5);
    let file = Entry {
        size: contents.len() as u64,
        xattrs: vec![(b"user.who".to_vec(), b"brig".to_vec())],
        ..named("usr/bin/tool", Type::File)
    };
    writer.begin(&file).unwrap();
    writer.write(&contents).unwrap();
    for entry in [
        Entry {
            link: b"usr/bin/tool".to_vec(),
            ..named("usr/bin/again", Type::Hardlink)
        },
        Entry {
            link: b"tool".to_vec(),
            ..named("usr/bin/short", Type::Symlink)
        },
        Entry {
            mode: 0o755,
            ..named("var/empty", Type::Directory)
        },
        named("run/pipe", Type::Fifo),
        named("etc/.wh.gone", Type::File),
        named("opt/.wh..wh..opq", Type::File),
    ] {
        writer.begin(&entry).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn damaged_layer_is_found_and_made_again() {
    let place = Place::new("damage");
    let cancel = Cancel::new();
    let import = archive::Import {
        reference: None,
        source: "-",
        message: None,
        config: RunConfig::default(),
        platform: Platform::host(),
    };
    // What is done to the layer, and a word of what is told.
    type Harm = (&'static str, fn(&std::path::Path), &'static str);
    let of_image: &[Harm] = &[
        ("a bit", |image| flip(image, 9000), "byte 9000"),
        ("the superblock", |image| flip(image, 1024), "byte 1024"),
        ("the end", |image| truncate(image, 4096), "bytes instead of"),
    ];
    let of_tree: &[Harm] = &[
        (
            "a bit",
            |tree| flip(&tree.join("usr/bin/tool"), 77_777),
            "byte 77777",
        ),
        ("the end", |tree| truncate(&tree.join("usr/bin/tool"), 0), "size"),
        (
            "a name",
            |tree| {
                quietly(&tree.join("usr/bin"), || {
                    std::fs::remove_file(tree.join("usr/bin/again")).unwrap();
                });
            },
            "usr/bin/again: it is missing",
        ),
        (
            "a name too many",
            |tree| {
                quietly(&tree.join("etc"), || {
                    std::fs::write(tree.join("etc/more"), "").unwrap();
                });
            },
            "etc/more: it should not be there",
        ),
        ("a mode", |tree| chmod(&tree.join("var/empty"), 0o777), "mode"),
        (
            "a target",
            |tree| {
                let link = tree.join("usr/bin/short");
                quietly(&tree.join("usr/bin"), || {
                    std::fs::remove_file(&link).unwrap();
                    std::os::unix::fs::symlink("fool", &link).unwrap();
                });
                sys::xattr::utimensat(sys::fs::cwd(), &link, sys::xattr::Time::default()).unwrap();
            },
            "target",
        ),
        (
            "an attribute",
            |tree| {
                let file = std::fs::File::open(tree.join("usr/bin/tool")).unwrap();
                sys::xattr::fsetxattr(std::os::fd::AsFd::as_fd(&file), c"user.who", b"else").unwrap();
            },
            "attributes",
        ),
        (
            "opaqueness",
            |tree| {
                let file = std::fs::File::open(tree.join("etc")).unwrap();
                sys::xattr::fsetxattr(std::os::fd::AsFd::as_fd(&file), c"trusted.overlay.opaque", b"y")
                    .unwrap();
            },
            "attributes",
        ),
    ];
    for (form, harms) in [(Form::Erofs, of_image), (Form::Tree, of_tree)] {
        if sys::cred::effective_uid() != 0 {
            println!("skipped: whiteouts and overlay's attributes need root");
            return;
        }
        let maker = Maker {
            means: Means::plain(form),
            ..maker_of(&place, &cancel)
        };
        let id = archive::import(&maker, &mut rich().as_slice(), &import).unwrap();
        place.sound();
        assert_eq!(verify::layers(&maker, &[]).unwrap(), []);
        for (what, harm, words) in harms {
            let layer = place.store.layers().unwrap().pop().unwrap();
            assert_eq!(layer.form, form);
            harm(&place.store.layer_path(&layer));
            let findings = verify::layers(&maker, &[]).unwrap();
            assert_eq!(findings.len(), 1, "{what}");
            assert_eq!(findings[0].subject, Subject::Layer(layer.key.to_string()));
            let Damage::Corrupt(told) = &findings[0].damage else {
                panic!("{what}: {findings:?}");
            };
            assert!(told.contains(words), "{what}: {told}");
            assert!(
                matches!(mend(&maker, &findings).as_slice(), [Outcome::Rebuilt]),
                "{what}"
            );
            assert_eq!(verify::layers(&maker, &[]).unwrap(), [], "{what}");
            place.sound();
        }
        place.store.remove_image(&id).unwrap();
        place.store.collect().unwrap();
    }
}

fn flip(file: &std::path::Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    quietly(file, || {
        let open = std::fs::File::options()
            .read(true)
            .write(true)
            .open(file)
            .unwrap();
        let mut byte = [0];
        open.read_exact_at(&mut byte, at).unwrap();
        open.write_all_at(&[byte[0] ^ 1], at).unwrap();
    });
}

fn truncate(file: &std::path::Path, size: u64) {
    quietly(file, || {
        let open = std::fs::File::options().write(true).open(file).unwrap();
        open.set_len(size).unwrap();
    });
}

/// A disk that goes bad leaves the time alone.
fn quietly(path: &std::path::Path, harm: impl FnOnce()) {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    harm();
    std::fs::File::open(path).unwrap().set_modified(modified).unwrap();
}

fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn tree_that_a_bundle_stands_on_is_left_alone() {
    let place = Place::new("busy");
    let cancel = Cancel::new();
    let maker = maker_of(&place, &cancel);
    let import = archive::Import {
        reference: None,
        source: "-",
        message: None,
        config: RunConfig::default(),
        platform: Platform::host(),
    };
    let id = archive::import(&maker, &mut tar(&[("a", b"1")]).as_slice(), &import).unwrap();
    let image = place.store.image(&id).unwrap().unwrap();
    let layer = place.store.layers().unwrap().pop().unwrap();
    flip(&place.store.layer_path(&layer).join("a"), 0);
    let findings = verify::layers(&maker, &[]).unwrap();
    place.store.begin_use(UseKind::Mount, "x", &image).unwrap();
    match mend(&maker, &findings).as_slice() {
        [Outcome::NotMended(e)] => assert_eq!(e.kind(), Kind::Conflict),
        other => panic!("{other:?}"),
    }
    place.store.end_use(UseKind::Mount, "x").unwrap();
    // Who is told of it finds it by that name.
    let container = "c0ffee".repeat(8);
    let directory = place.scratch.path().join("containers").join(&container);
    std::fs::create_dir_all(&directory).unwrap();
    place.store.stand_container(&directory, &image, &[]).unwrap();
    for e in [
        remove::remove(&place.store, image.id.short(), Force::No, &|_| true).unwrap_err(),
        match mend(&maker, &findings).pop().unwrap() {
            Outcome::NotMended(e) => e,
            other => panic!("{other:?}"),
        },
    ] {
        assert!(e.to_string().contains("container c0ffeec0ffee"), "{e}");
        assert!(!e.to_string().contains(&container), "{e}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(matches!(mend(&maker, &findings).as_slice(), [Outcome::Rebuilt]));
    assert_eq!(verify::layers(&maker, &[]).unwrap(), []);
}

#[test]
fn downloads_that_nobody_works_on_go() {
    let place = Place::new("partial");
    let partial = place.store.partial();
    let cancel = Cancel::new();
    let open = |bytes: &[u8]| {
        let opened = Partial::open(
            &partial,
            &Digest::of(bytes),
            bytes.len() as u64,
            &cancel,
            &(Arc::new(|_| {}) as image::registry::Notify),
        );
        match opened.unwrap() {
            Opened::Ours(partial) => partial,
            Opened::Changed => panic!("nobody else is here"),
        }
    };
    let busy = open(b"somebody works on it");
    drop(open(b"nobody does"));
    std::fs::write(partial.join("lonely.state"), "half of a removal").unwrap();
    std::fs::write(partial.join(Digest::of(b"nobody does").hex()), vec![1; 9000]).unwrap();
    assert!(evict::drop_partial(&place.store).unwrap() >= 9000);
    let mut left: Vec<String> = std::fs::read_dir(&partial)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let own = busy.digest().hex().to_owned();
    assert_eq!(left, [own.clone(), format!("{own}.state")]);
    drop(busy);
    evict::drop_partial(&place.store).unwrap();
    place.sound();
}
