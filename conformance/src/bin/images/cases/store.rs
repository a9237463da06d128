//! The store: removal, prune, sizes, mounts, and what `system check` finds and mends.
//!
//! May not: look into the database. Blobs and layers are files under their digests, and only those are touched.

use std::path::{Path, PathBuf};

use conformance::command;

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, names, refused};
use crate::lab::{self, Subject};

pub fn cases() -> Vec<Case> {
    vec![
        case("rmi.words", &[], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let said = s.brig_must(&["rmi", &reference])?;
            has("output", &said, &format!("Untagged: {reference}"))?;
            if s.lab.subject != Subject::Podman {
                let image = &s.lab.fixtures.many;
                has(
                    "output",
                    &said,
                    &format!(
                        "Untagged: {}@{}",
                        s.lab.plain.reference("many"),
                        image.manifest.digest
                    ),
                )?;
                has("output", &said, &format!("Deleted: {}", image.id()))?;
            }
            is("what is left", s.brig_must(&["images", "-aq"])?, "")?;
            empty(s)
        }),
        case("rmi.shares", &[], |s| {
            // Two images of four common layers: what one needs must stay.
            let (many, cousin) = (s.lab.plain.reference("many:1"), s.lab.plain.reference("many:2"));
            s.brig_must(&["pull", "-q", &many])?;
            s.brig_must(&["pull", "-q", &cousin])?;
            s.brig_must(&["rmi", &many])?;
            is("the other's id", s.id(&cousin)?, s.lab.fixtures.cousin.id())?;
            if s.lab.subject == Subject::Brig {
                let store = s.store();
                let blobs = names(&store.join("blobs/sha256"));
                for layer in &s.lab.fixtures.cousin.layers {
                    is(
                        "a layer of the other is kept",
                        blobs.contains(&layer.blob.hex().to_owned()),
                        true,
                    )?;
                }
                let own = s.lab.fixtures.many.layers.last().ok_or("no layers")?;
                is(
                    "the layer that was its own",
                    blobs.contains(&own.blob.hex().to_owned()),
                    false,
                )?;
            }
            s.brig_must(&["rmi", &cousin])?;
            empty(s)
        }),
        case("rmi.tags", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            s.brig_must(&["tag", &reference, "other:name"])?;
            let said = s.brig_must(&["rmi", &reference])?;
            lacks("output", &said, "Deleted:")?;
            is("id", s.id("other:name")?, s.lab.fixtures.small[0].id())?;
            let id = s.lab.fixtures.small[0].config.short().to_owned();
            s.brig_must(&["rmi", &id])?;
            is("what is left", s.brig_must(&["images", "-aq"])?, "")
        }),
        case("rmi.id-of-several", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            s.brig_must(&["tag", &reference, "other/repository:name"])?;
            let id = s.lab.fixtures.small[0].config.short().to_owned();
            let refusal = s.brig(&["rmi", &id])?;
            refused(
                "rmi",
                &refusal,
                &["must be forced", "must force", "force removal"],
            )?;
            s.brig_must(&["rmi", "-f", &id])?;
            is("what is left", s.brig_must(&["images", "-aq"])?, "")
        }),
        case("rmi.no-such-image", &[], |s| {
            let refusal = s.brig(&["rmi", "absent:1"])?;
            refused("rmi", &refusal, &["No such image: absent:1", "image not known"])
        }),
        case("rmi.under-a-bundle", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let bundle = s.path("bundle");
            s.brig_must(&["bundle", &reference, &bundle])?;
            let refusal = s.brig(&["rmi", s.lab.fixtures.many.config.short()])?;
            refused("rmi", &refusal, &["in use", "being used", "is using"])?;
            has("the message", &refusal.stderr, &bundle)?;
            s.brig_must(&["image", "prune", "-af"])?;
            is("after prune", s.id(&reference)?, s.lab.fixtures.many.id())?;
            is(
                "the bundle still reads",
                Path::new(&bundle).join("rootfs/message").exists(),
                true,
            )?;
            s.brig_must(&["unbundle", &bundle])?;
            s.brig_must(&["rmi", &reference])?;
            empty(s)
        }),
        case("rmi.under-a-mount", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let point = s.brig_must(&["image", "mount", &reference])?;
            let point = PathBuf::from(point.split_whitespace().last().unwrap_or_default());
            is("mounted", names(&point).join(" "), "number")?;
            let refusal = s.brig(&["rmi", s.lab.fixtures.small[0].config.short()])?;
            is("refused", refusal.code, 1)?;
            s.brig_must(&["image", "unmount", &reference])?;
            is("unmounted", names(&point).join(" "), "")?;
            s.brig_must(&["rmi", &reference]).map(|_| ())
        }),
        case("prune.dangling", &[], |s| {
            let (one, two) = (s.lab.plain.reference("small:1"), s.lab.plain.reference("small:2"));
            s.brig_must(&["pull", "-q", &one])?;
            s.brig_must(&["pull", "-q", &two])?;
            // The tag moves, and what had it has none.
            s.brig_must(&["tag", &one, "moving:1"])?;
            s.brig_must(&["rmi", &one])?;
            s.brig_must(&["tag", &two, "moving:1"])?;
            let said = s.brig_must(&["image", "prune", "-f"])?;
            has("output", &said, s.lab.fixtures.small[0].config.hex())?;
            if s.lab.subject != Subject::Podman {
                has("output", &said, "Total reclaimed space: ")?;
            }
            let ids = s.brig_must(&["images", "-aq", "--no-trunc"])?;
            let ids: std::collections::BTreeSet<&str> = ids.lines().collect();
            is("what is left", ids.len(), 1)
        }),
        case("prune.all", &[], |s| {
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("small:1")])?;
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("many:1")])?;
            s.brig_must(&["image", "prune", "-a", "-f"])?;
            is("what is left", s.brig_must(&["images", "-aq"])?, "")?;
            empty(s)
        }),
        case("df.table", &[Need::Brig], |s| {
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("small:1")])?;
            let table = s.brig_must(&["system", "df"])?;
            let head: Vec<&str> = table
                .lines()
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            is("headers", head.join(" "), "TYPE TOTAL ACTIVE SIZE RECLAIMABLE")?;
            let row: Vec<&str> = table
                .lines()
                .nth(1)
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            is("images", row.get(..3).unwrap_or_default().join(" "), "Images 1 0")
        }),
        case("tag.words", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            is(
                "output",
                s.brig_must(&["tag", &reference, "localhost/mine:2"])?,
                "",
            )?;
            let mut tags: Vec<String> = s
                .brig_must(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?
                .lines()
                .map(str::to_owned)
                .collect();
            tags.sort();
            is("tags", tags.join(" "), format!("{reference} localhost/mine:2"))?;
            let refusal = s.brig(&["tag", "absent:1", "x:1"])?;
            refused("tag", &refusal, &["No such image: absent:1", "image not known"])?;
            // It would be an id.
            let refusal = s.brig(&["tag", &reference, "sha256:abc"])?;
            refused(
                "tag",
                &refusal,
                &["refusing to create an ambiguous tag using digest algorithm as name"],
            )
        }),
        case("full.pull-leaves-room-for-rmi", &[Need::Brig], |s| {
            let disk = s.other_store("disk");
            std::fs::create_dir(&disk).map_err(|e| format!("{}: {e}", disk.display()))?;
            let place = disk.display().to_string();
            shell(&format!("mount -t tmpfs -o size=64m tmpfs {place}"))?;
            let done = filled(s, &disk.join("store"), &place);
            shell(&format!("umount {place}"))?;
            done
        }),
        case("filter.images", &[], |s| {
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("small:1")])?;
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("many:1")])?;
            let named = s.brig_must(&[
                "images",
                "--format",
                "{{.Repository}}",
                &s.lab.plain.reference("small"),
            ])?;
            is("by name", named, s.lab.plain.reference("small"))?;
            let pattern = format!("reference={}", s.lab.plain.reference("m*:1"));
            let matched = s.brig_must(&["images", "--format", "{{.Repository}}", "--filter", &pattern])?;
            is("by pattern", matched, s.lab.plain.reference("many"))?;
            is(
                "dangling",
                s.brig_must(&["images", "-q", "--filter", "dangling=true"])?,
                "",
            )
        }),
        case("check.blob", &[Need::Brig], |s| {
            let blob = s.lab.fixtures.many.layers[1].blob.clone();
            damage(s, &PathBuf::from("blobs/sha256").join(blob.hex()), blob.hex())
        }),
        case("check.blob-missing", &[Need::Brig], |s| {
            let blob = s.lab.fixtures.many.layers[1].blob.clone();
            pulled(s)?;
            let file = s.store().join("blobs/sha256").join(blob.hex());
            std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            found_and_mended(s, blob.hex())
        }),
        case("check.config", &[Need::Brig], |s| {
            let blob = s.lab.fixtures.many.config.clone();
            damage(s, &PathBuf::from("blobs/sha256").join(blob.hex()), blob.hex())
        }),
        case("check.layer-missing", &[Need::Brig, Need::Runc], |s| {
            pulled(s)?;
            let layers = s.store().join("layers");
            let layer = s.lab.fixtures.many.layers[0].diff_id[7..].to_owned();
            let dir = layers.join(&layer);
            let gone = if dir.is_dir() {
                std::fs::remove_dir_all(&dir)
            } else {
                std::fs::remove_file(&dir)
            };
            gone.map_err(|e| format!("{}: {e}", dir.display()))?;
            found_and_mended(s, &layer)
        }),
        case("check.layer", &[Need::Brig, Need::Runc], |s| {
            pulled(s)?;
            let layer = s.lab.fixtures.many.layers[0].diff_id[7..].to_owned();
            let dir = s.store().join("layers").join(&layer);
            let image = dir.join("layer.erofs");
            let file = if image.exists() {
                image
            } else {
                some_file(&dir.join("fs")).ok_or("the layer has no file")?
            };
            flip(&file)?;
            found_and_mended(s, &layer)
        }),
        case("check.tree", &[Need::Brig, Need::Runc], |s| {
            let reference = s.lab.plain.reference("many:1");
            let mut pull = s.command();
            pull.env("BRIG_LAYERS", "tree").args(["pull", "-q", &reference]);
            lab::run(&mut pull)?.ok()?;
            let layer = s.lab.fixtures.many.layers[0].diff_id[7..].to_owned();
            let tree = s.store().join("layers").join(&layer).join("fs");
            let file = some_file(&tree).ok_or("the layer has no file")?;
            std::fs::remove_file(&file).map_err(|e| format!("{}: {e}", file.display()))?;
            found_and_mended(s, &layer)
        }),
    ]
}

/// A file of a tree that is not empty.
fn some_file(dir: &Path) -> Option<PathBuf> {
    std::fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let metadata = entry.metadata().ok()?;
        if metadata.is_dir() {
            return some_file(&entry.path());
        }
        (metadata.is_file() && metadata.len() > 0).then(|| entry.path())
    })
}

/// A pull on a full disk is refused before it takes the last bytes, which rmi and prune need.
fn filled(s: &mut Scene, store: &Path, disk: &str) -> Done {
    let (small, many) = (s.lab.plain.reference("small:1"), s.lab.plain.reference("many:1"));
    s.brig_must_at(store, &["pull", "-q", &small])?;
    shell(&format!("dd if=/dev/zero of={disk}/rest bs=1k 2>&1 || true"))?;
    for _ in 0..2 {
        let refusal = s.brig_at(store, &["pull", "-q", &many])?;
        refused("pull", &refusal, &["no space left on device"])?;
    }
    has("rmi", &s.brig_must_at(store, &["rmi", &small])?, "Deleted: ")?;
    s.brig_must_at(store, &["system", "prune", "-af"])?;
    shell(&format!("rm {disk}/rest"))?;
    s.brig_must_at(store, &["pull", "-q", &many])?;
    s.brig_must_at(store, &["system", "check"]).map(drop)
}

fn shell(script: &str) -> Done {
    let mut shell = std::process::Command::new("sh");
    command::run(shell.args(["-ec", script]), "", command::USUAL)?
        .ok()
        .map(drop)
}

fn pulled(s: &mut Scene) -> Done {
    let reference = s.lab.plain.reference("many:1");
    s.brig_must(&["pull", "-q", &reference]).map(|_| ())
}

/// One bit of a file of the store changes, in its middle.
fn damage(s: &mut Scene, path: &Path, name: &str) -> Done {
    pulled(s)?;
    flip(&s.store().join(path))?;
    found_and_mended(s, name)
}

fn flip(file: &Path) -> Done {
    let text = |e: std::io::Error| format!("{}: {e}", file.display());
    let mut bytes = std::fs::read(file).map_err(text)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 4;
    }
    std::fs::remove_file(file).map_err(text)?;
    std::fs::write(file, bytes).map_err(text)
}

/// The check says what is wrong, mends it by pulling again, and the image is whole.
fn found_and_mended(s: &mut Scene, name: &str) -> Done {
    let found = s.brig(&["system", "check"])?;
    is("a damaged store is called sound", found.code == 0, false)?;
    has(
        "what is said",
        &(found.stdout + &found.stderr),
        name.get(..12).unwrap_or(name),
    )?;
    s.brig_must(&["system", "check", "--repair"])?;
    s.brig_must(&["system", "check"])?;
    let reference = s.lab.plain.reference("many:1");
    is("id", s.id(&reference)?, s.lab.fixtures.many.id())?;
    if s.lab.runc.is_ok() {
        let said = super::trips::run_bundle(s, &reference)?;
        is("what it prints", said, crate::fixtures::MESSAGE)?;
    }
    Ok(())
}

/// After the last image nothing of it takes space.
fn empty(s: &mut Scene) -> Done {
    if s.lab.subject != Subject::Brig {
        return Ok(());
    }
    for place in ["blobs/sha256", "layers"] {
        let left = names(&s.store().join(place));
        is(place, left.join(" "), "")?;
    }
    Ok(())
}
