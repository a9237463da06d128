#![allow(clippy::unwrap_used)]
//! On a real file system, in a directory of the test's own.

use std::fs;
use std::path::PathBuf;

use super::check::Depth;
use super::images::NewImage;
use super::layers::Settle;
use super::*;
use crate::Digest;

/// A store in a directory that goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        let path = std::env::temp_dir().join(format!("brig-store-{}", lease::random_name().unwrap()));
        Place(path)
    }

    fn open(&self) -> Store {
        Store::open(&Roots::at(&self.0)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// An image of one layer, as pull leaves it.
fn add(store: &Store, lease: &Lease<'_>, words: &str) -> (Digest, Digest, LayerKey) {
    let layer = store
        .put_blob(lease, format!("layer of {words}").as_bytes())
        .unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["{words}"]}},"rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
    );
    let id = store.put_blob(lease, config.as_bytes()).unwrap();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"digest":"{id}","size":{}}},"layers":[{{"digest":"{layer}","size":1}}]}}"#,
        crate::oci::media::OCI_MANIFEST,
        config.len()
    );
    let manifest = store.put_blob(lease, manifest.as_bytes()).unwrap();
    let key = LayerKey::of(&layer);
    lease.hold_layer(&key.to_string()).unwrap();
    let made = lease.directory().join("made");
    fs::create_dir_all(made.join("fs/etc")).unwrap();
    let row = Layer::new(
        key.clone(),
        layer.clone(),
        Form::Tree,
        10,
        4096,
        Some(layer.clone()),
    );
    store.publish_layer(lease, &made, &row).unwrap();
    let tag: Reference = format!("{words}:latest").parse().unwrap();
    store
        .add_image(
            &NewImage {
                id: &id,
                manifest: &manifest,
                blobs: &[manifest.clone(), id.clone(), layer.clone()],
                layers: std::slice::from_ref(&key),
                size: 10,
                parent: None,
            },
            &[(tag.clone(), manifest.clone())],
            &[(tag.repository().clone(), manifest.clone())],
        )
        .unwrap();
    (id, layer, key)
}

use crate::reference::Reference;

fn sound(store: &Store) {
    assert_eq!(store.check(Depth::Full, &|_| ()).unwrap(), []);
}

#[test]
fn image_is_found_by_all_its_names() {
    let place = Place::new();
    let store = place.open();
    let (id, ..) = add(&store, &store.lease().unwrap(), "web");
    let manifest = store.image(&id).unwrap().unwrap().manifest;
    for text in [
        "web".to_owned(),
        "web:latest".to_owned(),
        "docker.io/library/web".to_owned(),
        format!("web@{manifest}"),
        id.to_string(),
        id.hex().to_owned(),
        id.short().to_owned(),
        format!("sha256:{}", id.short()),
        id.hex()[..2].to_owned(),
    ] {
        assert_eq!(store.find_image(&text).unwrap().id, id, "{text}");
    }
    for (text, words) in [
        ("webb", "No such image: webb:latest"),
        ("web:2", "No such image: web:2"),
        ("000000000000", "No such image: 000000000000:latest"),
    ] {
        let e = store.find_image(text).unwrap_err();
        assert_eq!((e.kind(), e.to_string().as_str()), (Kind::NotFound, words));
    }
    sound(&store);
}

#[test]
fn what_nobody_needs_is_collected_and_nothing_else() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease().unwrap();
    let (a, layer_a, _) = add(&store, &lease, "a");
    let (b, layer_b, key_b) = add(&store, &lease, "b");
    store.remove_image(&a).unwrap();
    // The lease still has it all.
    assert_eq!(store.collect().unwrap(), Freed::default());
    drop(lease);
    let freed = store.collect().unwrap();
    assert_eq!((freed.blobs, freed.layers), (3, vec![layer_a.clone()]));
    assert_eq!(store.blob_size(&layer_a).unwrap(), None);
    assert!(!store.blob_path(&layer_a).exists());
    assert!(store.blob_size(&layer_b).unwrap().is_some());
    assert!(store.layer(&key_b).unwrap().is_some());
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(fs::read_dir(place.0.join("trash")).unwrap().count(), 0);
    // In use: refused, and nothing has changed.
    let image = store.image(&b).unwrap().unwrap();
    store.begin_use(UseKind::Bundle, "/x", &image).unwrap();
    assert_eq!(store.remove_image(&b).unwrap_err().kind(), Kind::Conflict);
    assert!(store.end_use(UseKind::Bundle, "/x").unwrap());
    sound(&store);
}

#[test]
fn dead_process_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    // A lease without its lock is what a killed process leaves.
    let id = "dead";
    fs::create_dir_all(place.0.join("tmp").join(id).join("half/fs")).unwrap();
    fs::write(place.0.join("leases").join(id), "").unwrap();
    store
        .write(|db| Ok(db.execute("INSERT INTO hold VALUES ('dead', 'blob', 'sha256:00')", [])?))
        .unwrap();
    let lease = store.lease().unwrap();
    assert!(!place.0.join("tmp").join(id).exists());
    let holds: i64 = store
        .db()
        .query_row("SELECT count(*) FROM hold", [], |row| row.get(0))
        .unwrap();
    assert_eq!(holds, 0);
    // The living one is not cleared by another.
    let other = place.open();
    drop(other.lease().unwrap());
    assert!(lease.directory().exists());
    let directory = lease.directory();
    drop(lease);
    assert!(!directory.exists());
    assert_eq!(fs::read_dir(place.0.join("leases")).unwrap().count(), 0);
}

#[test]
fn layer_of_another_boot_counts_only_if_it_was_synced() {
    let place = Place::new();
    let mut store = place.open();
    let (.., key) = add(&store, &store.lease().unwrap(), "a");
    let (.., other) = add(&store, &store.lease().unwrap(), "b");
    assert!(store.layer(&key).unwrap().is_some());
    // Too young to be settled without waiting.
    assert_eq!(store.settle_layers(Settle::WhatIsOld).unwrap(), 0);
    assert_eq!(store.settle_layers(Settle::Now).unwrap(), 2);
    store
        .write(|db| Ok(db.execute("UPDATE layer SET synced = 0 WHERE key = ?", [other.to_string()])?))
        .unwrap();
    store.boot = "another".to_owned();
    assert!(store.layer(&key).unwrap().is_some());
    assert!(store.layer(&other).unwrap().is_none());
    let findings = store.check(Depth::Quick, &|_| ()).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].damage, Damage::NotSynced);
}

#[test]
fn damage_is_found() {
    let place = Place::new();
    let store = place.open();
    let (_, layer, key) = add(&store, &store.lease().unwrap(), "a");
    let path = store.blob_path(&layer);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[3] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bad).unwrap();
    assert_eq!(store.check(Depth::Quick, &|_| ()).unwrap(), []);
    let findings = store.check(Depth::Full, &|_| ()).unwrap();
    assert!(
        matches!((&findings[0].subject, &findings[0].damage), (Subject::Blob(d), Damage::Corrupt(_)) if *d == layer)
    );
    fs::write(&path, &good[1..]).unwrap();
    assert_eq!(store.check(Depth::Quick, &|_| ()).unwrap().len(), 1);
    fs::remove_file(&path).unwrap();
    assert_eq!(
        store.check(Depth::Quick, &|_| ()).unwrap()[0].damage,
        Damage::Missing
    );
    fs::write(&path, &good).unwrap();
    fs::remove_dir_all(store.layer_directory(&key)).unwrap();
    assert_eq!(
        store.check(Depth::Quick, &|_| ()).unwrap()[0].subject,
        Subject::Layer(key.to_string())
    );
    let stray = place.0.join("blobs/sha256").join("f".repeat(64));
    fs::write(&stray, "x").unwrap();
    assert!(
        store
            .check(Depth::Quick, &|_| ())
            .unwrap()
            .iter()
            .any(|f| f.subject == Subject::Stray(stray.clone()))
    );
    assert_eq!(store.remove_strays().unwrap(), 1);
    assert!(!stray.exists());
}

#[test]
fn a_layer_whose_row_is_lost_is_missed_and_goes() {
    let place = Place::new();
    let store = place.open();
    // Its key is the digest of its blob, which is known: the layer is not for that.
    let (_, _, key) = add(&store, &store.lease().unwrap(), "a");
    let directory = store.layer_directory(&key);
    store.db().execute_batch("DELETE FROM layer").unwrap();
    let findings = store.check(Depth::Quick, &|_| ()).unwrap();
    let subjects: Vec<_> = findings.into_iter().map(|f| f.subject).collect();
    assert_eq!(
        subjects,
        [Subject::Layer(key.to_string()), Subject::Stray(directory.clone())]
    );
    assert_eq!(store.remove_strays().unwrap(), 1);
    assert!(!directory.exists());
}

#[test]
fn a_store_is_completed() {
    // Copied without empty directories.
    let place = Place::new();
    drop(place.open());
    for directory in ["tmp", "trash", "leases", "partial", "layers", "blobs"] {
        fs::remove_dir_all(place.0.join(directory)).unwrap();
    }
    let store = place.open();
    add(&store, &store.lease().unwrap(), "a");
    sound(&store);
    drop(store);
    // A power cut while somebody copied it.
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(place.0.join(format!("brig.db{suffix}"))).unwrap();
    }
    fs::write(place.0.join("brig.db"), "").unwrap();
    let store = place.open();
    add(&store, &store.lease().unwrap(), "a");
    sound(&store);
    // One that is somebody else's.
    store.db().execute_batch("PRAGMA user_version = 0").unwrap();
    drop(store);
    let e = Store::open(&Roots::at(&place.0)).err().unwrap();
    assert!(e.to_string().contains("is no database of a store"), "{e}");
}

#[test]
fn many_at_once_share_one_store() {
    let place = Place::new();
    drop(place.open());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let place = &place;
            scope.spawn(move || {
                let store = place.open();
                for round in 0..10 {
                    let lease = store.lease().unwrap();
                    let (id, ..) = add(&store, &lease, &format!("w{worker}r{round}"));
                    if round % 2 == 0 {
                        store.remove_image(&id).unwrap();
                    }
                    drop(lease);
                    store.collect().unwrap();
                }
            });
        }
    });
    let store = place.open();
    assert_eq!(store.images().unwrap().len(), 20);
    assert_eq!(store.blob_count(), 60);
    sound(&store);
}

impl Store {
    fn blob_count(&self) -> i64 {
        self.db()
            .query_row("SELECT count(*) FROM blob", [], |row| row.get(0))
            .unwrap()
    }
}

#[test]
fn lock_waits_and_ends_with_its_holder() {
    let place = Place::new();
    let store = place.open();
    let lock = store.lock("x", || (), || false).unwrap();
    let mut waited = false;
    let e = store.lock("x", || waited = true, || true).unwrap_err();
    assert_eq!(e.kind(), Kind::Cancelled);
    assert!(!waited);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let store = &store;
        let other = scope.spawn(move || {
            store
                .lock("x", move || tell.send(()).unwrap(), || false)
                .map(drop)
        });
        told.recv().unwrap();
        drop(lock);
        other.join().unwrap().unwrap();
    });
    assert_eq!(fs::read_dir(place.0.join("run/locks")).unwrap().count(), 0);
}

#[test]
fn tag_moves_and_goes() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease().unwrap();
    let (a, ..) = add(&store, &lease, "a");
    let (b, ..) = add(&store, &lease, "b");
    let tag: Reference = "a:latest".parse().unwrap();
    let image = store.image(&b).unwrap().unwrap();
    store.tag(&image, &tag, &image.manifest).unwrap();
    assert_eq!(store.resolve(&tag).unwrap(), Some(b.clone()));
    // a keeps its digest, and so is not lost.
    assert_eq!(store.pins().unwrap().iter().filter(|p| p.image == a).count(), 1);
    let name = store.name(&tag).unwrap().unwrap();
    assert_eq!(store.untag(&name).unwrap(), [Untagged::Tag(tag)]);
    let name = store.name(&"b:latest".parse().unwrap()).unwrap().unwrap();
    // The last tag of its repository takes the repository's digests along.
    assert_eq!(store.untag(&name).unwrap().len(), 2);
    let gone = store.remove_image(&a).unwrap();
    assert!(matches!(gone.as_slice(), [Untagged::Digest(_)]));
}

#[test]
fn store_stays_within_its_limit() {
    use crate::evict::keep_within;
    use crate::settings::Settings;
    let place = Place::new();
    let store = place.open();
    let (a, ..) = add(&store, &store.lease().unwrap(), "a");
    let (b, ..) = add(&store, &store.lease().unwrap(), "b");
    let (c, ..) = add(&store, &store.lease().unwrap(), "c");
    let settings = |text: &str| Settings::parse(text).unwrap();
    // All have tags.
    let dangling = settings("[store]\nlimit = '1'");
    assert!(keep_within(&store, &settings(""), &c).unwrap().is_empty());
    assert!(keep_within(&store, &dangling, &c).unwrap().is_empty());
    store
        .tag(
            &store.image(&c).unwrap().unwrap(),
            &"b".parse::<Reference>().unwrap().or_latest(),
            &store.image(&c).unwrap().unwrap().manifest,
        )
        .unwrap();
    let gone = keep_within(&store, &dangling, &c).unwrap();
    assert_eq!(gone.iter().map(|i| &i.id).collect::<Vec<_>>(), [&b]);
    let unused = settings("[store]\nlimit = '1'\nevict = 'unused'");
    store
        .begin_use(UseKind::Mount, "x", &store.image(&a).unwrap().unwrap())
        .unwrap();
    assert!(keep_within(&store, &unused, &c).unwrap().is_empty());
    store.end_use(UseKind::Mount, "x").unwrap();
    let gone = keep_within(&store, &unused, &c).unwrap();
    assert_eq!(gone.iter().map(|i| &i.id).collect::<Vec<_>>(), [&a]);
    sound(&store);
}

#[test]
fn several_make_the_store_at_once() {
    for _ in 0..20 {
        let place = Place::new();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let store = place.open();
                    drop(store.lease().unwrap());
                });
            }
        });
        assert!(!place.0.join("brig.db.new").exists());
        sound(&place.open());
    }
}

#[test]
fn a_store_of_an_older_brig_is_brought_along() {
    let place = Place::new();
    let (id, _, key) = add(&place.open(), &place.open().lease().unwrap(), "old");
    place
        .open()
        .db()
        .execute_batch("ALTER TABLE layer DROP COLUMN tar; DROP TABLE step; PRAGMA user_version = 1")
        .unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(place.open().layer(&key).unwrap().is_some()));
        }
    });
    let store = place.open();
    assert!(store.image(&id).unwrap().is_some());
    let version = |store: &Store| -> i64 {
        store
            .db()
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    };
    assert_eq!(version(&store), 2);
    store.db().execute_batch("PRAGMA user_version = 3").unwrap();
    let e = Store::open(&Roots::at(&place.0)).err().unwrap();
    assert_eq!(e.kind(), Kind::Unsupported);
    assert!(
        e.to_string().ends_with("made by a newer brig; this one knows 2"),
        "{e}"
    );
}

/// A layer and its record, as a build leaves them.
fn cached(store: &Store, name: &str, parents: &[Digest]) -> (Digest, Layer) {
    let lease = store.lease().unwrap();
    let diff_id = Digest::of(name.as_bytes());
    let key = LayerKey::of(&diff_id);
    lease.hold_layers([key.as_str()]).unwrap();
    let made = lease.directory().join("made");
    fs::create_dir_all(made.join("fs/etc")).unwrap();
    let mut layer = Layer::new(key.clone(), diff_id, Form::Tree, 10, 4096, None);
    layer.tar = 1536;
    store.publish_layer(&lease, &made, &layer).unwrap();
    let step = cache::Step {
        key: &Digest::of(format!("step {name}").as_bytes()),
        layer: Some(&layer),
        description: name,
        kind: "regular",
        value: "{}",
        parents,
    };
    store.keep_cached(&step).unwrap();
    (step.key.clone(), store.layer(&key).unwrap().unwrap())
}

#[test]
fn what_builds_have_done_is_found_again() {
    let place = Place::new();
    let mut store = place.open();
    let (a, layer) = cached(&store, "a", &[]);
    store.collect().unwrap();
    let found = store.cached(&a).unwrap().unwrap();
    assert_eq!(found.layer.unwrap().key, layer.key);
    assert_eq!(found.value, "{}");
    assert!(store.cached(&Digest::of(b"x")).unwrap().is_none());
    assert_eq!(store.cache_size().unwrap(), 4096);
    // After a power cut it may have lost its bytes.
    let boot = std::mem::replace(&mut store.boot, "another".to_owned());
    assert!(store.cached(&a).unwrap().is_none());
    store.boot = boot;
    store.sync_layers(std::slice::from_ref(&layer)).unwrap();
    store.boot = "another".to_owned();
    assert!(store.cached(&a).unwrap().is_some());
    let none = cache::Step {
        key: &Digest::of(b"none"),
        layer: None,
        description: "mkdir",
        kind: "regular",
        value: "v",
        parents: std::slice::from_ref(&a),
    };
    store.keep_cached(&none).unwrap();
    assert!(store.cached(none.key).unwrap().unwrap().layer.is_none());
    store.use_cached(std::slice::from_ref(&a)).unwrap();
    let entries = store.cache_entries().unwrap();
    assert_eq!((entries[0].key.clone(), entries[0].uses), (a.clone(), 2));
    assert_eq!(entries[1].parents, [a]);
    sound(&store);
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    use cache::Prune;
    let place = Place::new();
    let store = place.open();
    let keys: Vec<Digest> = ["a", "b", "c", "d"]
        .iter()
        .map(|name| cached(&store, name, &[]).0)
        .collect();
    store.use_cached(&keys[..1]).unwrap();
    let bound = |max_used| Prune {
        max_used,
        ..Prune::default()
    };
    assert!(store.prune_cache(&bound(4 * 4096)).unwrap().entries.is_empty());
    let lease = store.lease().unwrap();
    // Somebody builds with b.
    let b = LayerKey::of(&Digest::of(b"b"));
    lease.hold_layer(b.as_str()).unwrap();
    let gone = store.prune_cache(&bound(3 * 4096)).unwrap();
    assert_eq!(
        gone.entries.iter().map(|e| &e.key).collect::<Vec<_>>(),
        [&keys[2]]
    );
    assert_eq!(gone.bytes, 4096);
    assert_eq!(store.layers().unwrap().len(), 3);
    drop(lease);
    // What an image has as well goes with all only, and frees nothing.
    let id = store.put_blob(&store.lease().unwrap(), b"{}").unwrap();
    store
        .add_image(
            &NewImage {
                id: &id,
                manifest: &id,
                blobs: std::slice::from_ref(&id),
                layers: std::slice::from_ref(&b),
                size: 1,
                parent: None,
            },
            &[],
            &[],
        )
        .unwrap();
    assert_eq!(store.cache_size().unwrap(), 2 * 4096);
    let of = |name: &str, value: &str| Prune {
        filters: vec![(name.to_owned(), value.to_owned())],
        all: true,
        ..Prune::default()
    };
    assert_eq!(store.prune_cache(&of("id", "0123")).unwrap().entries.len(), 0);
    assert_eq!(
        store.prune_cache(&of("description", "d")).unwrap().entries.len(),
        1
    );
    assert_eq!(
        store.prune_cache(&of("no", "d")).unwrap_err().kind(),
        Kind::Invalid
    );
    assert_eq!(store.prune_cache(&Prune::default()).unwrap().entries.len(), 1);
    let rest = store.prune_cache(&of("shared", "true")).unwrap();
    assert_eq!((rest.entries.len(), rest.bytes), (1, 0));
    assert!(store.layer(&b).unwrap().is_some());
    assert_eq!(store.cache_size().unwrap(), 0);
}

#[test]
fn directories_that_runs_keep_go_when_nobody_is_at_them() {
    use cache::{CACHE_MOUNT, MOUNT_DATA, MOUNT_LOCK, Prune};
    let place = Place::new();
    let store = place.open();
    let key = Digest::of(b"mount");
    let directory = store.cache_mounts().join(key.hex());
    fs::create_dir_all(directory.join(MOUNT_DATA)).unwrap();
    fs::write(directory.join(MOUNT_DATA).join("x"), [1; 100_000]).unwrap();
    // A build that was killed has left no record.
    let entries = store.cache_entries().unwrap();
    assert_eq!((entries.len(), entries[0].kind.as_str()), (1, CACHE_MOUNT));
    assert!(entries[0].size >= 100_000);
    store.keep_mount(&key, "cached mount /root/.cache").unwrap();
    let entries = store.cache_entries().unwrap();
    assert_eq!((entries.len(), entries[0].uses), (1, 1));
    assert!(store.cache_size().unwrap() >= 100_000);
    let lock = fs::File::create(directory.join(MOUNT_LOCK)).unwrap();
    lock.lock_shared().unwrap();
    assert!(store.cache_entries().unwrap()[0].is_in_use);
    assert_eq!(store.prune_cache(&Prune::default()).unwrap().entries.len(), 0);
    drop(lock);
    let gone = store.prune_cache(&Prune::default()).unwrap();
    assert!(gone.bytes >= 100_000);
    assert!(!directory.exists());
    assert_eq!(store.cache_entries().unwrap(), []);
    assert_eq!(store.cache_size().unwrap(), 0);
    assert_eq!(fs::read_dir(place.0.join("trash")).unwrap().count(), 0);
}

#[test]
fn trash_goes_with_the_next_lease_also_under_several_hands() {
    let place = Place::new();
    drop(place.open());
    let trash = place.0.join("trash");
    for tree in 0..40 {
        for directory in 0..20 {
            fs::create_dir_all(trash.join(format!("container-{tree}/fs/{directory}/a/b"))).unwrap();
        }
    }
    std::thread::scope(|all| {
        for _ in 0..4 {
            all.spawn(|| drop(place.open().lease().unwrap()));
        }
        all.spawn(|| place.open().collect().unwrap());
    });
    assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
}

#[test]
fn what_a_power_cut_has_taken_is_missed_once_in_an_uptime() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease().unwrap();
    let (image, ..) = add(&store, &lease, "a");
    // The lease has gone from the disk, that its holds have gone has not come there; and a file whose row has not either.
    let lost = "0".repeat(32);
    store
        .write(|db| Ok(db.execute("UPDATE hold SET lease = ?", rusqlite::params![lost])?))
        .unwrap();
    drop(lease);
    fs::create_dir_all(place.0.join("layers/sha256-lost/fs")).unwrap();
    store.remove_image(&image).unwrap();
    assert_eq!(store.collect().unwrap().blobs, 3);
    assert!(!place.0.join("layers/sha256-lost").exists());
    sound(&store);
}

#[test]
fn an_id_is_no_number() {
    let mut drawn = ["019139444768ffff", "01913944476a1111", "aaaa"].into_iter();
    let id = super::id_of(|| Ok(drawn.next().unwrap().to_owned())).unwrap();
    assert_eq!(id, "01913944476a1111");
}
