//! Archives: what brig saves, the others load, and the other way; and a tree that becomes an image.
//!
//! May not: accept another id than the one that was saved.

use std::fs::File;
use std::process::Command;

use conformance::command::{self, USUAL};

use super::trips::run_bundle_of;
use crate::case::{Case, Done, Need, Scene, case, has, is, refused};
use crate::lab::Subject;

pub fn cases() -> Vec<Case> {
    vec![
        case("save.for-docker", &[Need::Docker, Need::Brig], |s| {
            let archive = saved(s, "many:1")?;
            let said = s.docker(&["load", "-i", &archive])?;
            has("docker load", &said, "Loaded image")?;
            let reference = s.lab.plain.reference("many:1");
            is(
                "id",
                s.docker(&["inspect", "--format", "{{.Id}}", &reference])?,
                s.lab.fixtures.many.id(),
            )?;
            let said = s.docker(&["run", "--rm", "--network", "none", &reference])?;
            is("what it prints", said, crate::fixtures::MESSAGE)
        }),
        case("save.for-podman", &[Need::Podman, Need::Brig], |s| {
            let archive = saved(s, "many:1")?;
            s.podman(&["load", "-q", "-i", &archive])?;
            let reference = s.lab.plain.reference("many:1");
            is(
                "id",
                s.podman(&["inspect", "--format", "{{.Id}}", &reference])?,
                s.lab.fixtures.many.config.hex(),
            )?;
            let said = s.podman(&["run", "--rm", "--network", "none", &reference])?;
            is("what it prints", said, crate::fixtures::MESSAGE)
        }),
        case("save.for-skopeo", &[Need::Skopeo, Need::Brig], |s| {
            let archive = saved(s, "many:1")?;
            let raw = s.skopeo(&[
                "inspect",
                "--config",
                "--raw",
                &format!("docker-archive:{archive}"),
            ])?;
            is(
                "the configuration's size",
                raw.len(),
                s.lab.fixtures.many.config.size,
            )
        }),
        case("save.and-load", &[], |s| {
            // What the peers cannot save again is not asked of them.
            let (name, image) = match s.lab.subject {
                Subject::Brig => ("many:1", s.lab.fixtures.many.clone()),
                _ => ("modest:1", s.lab.fixtures.modest.clone()),
            };
            let archive = saved(s, name)?;
            let reference = s.lab.plain.reference(name);
            s.brig_must(&["rmi", "-f", &reference])?;
            let said = s.brig_must(&["load", "-i", &archive])?;
            is("output", said, format!("Loaded image: {reference}"))?;
            is("id", s.id(&reference)?, image.id())?;
            let tags = s.brig_must(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
            is("tags", tags, reference)
        }),
        case("save.several", &[], |s| {
            let names: Vec<String> = ["small:1", "small:2", "small:3"]
                .iter()
                .map(|name| s.lab.plain.reference(name))
                .collect();
            for name in &names {
                s.brig_must(&["pull", "-q", name])?;
            }
            let archive = s.path("several.tar");
            let multi = s.lab.subject == Subject::Podman;
            let mut words = vec!["save", "-o", &archive];
            words.extend(multi.then_some("--multi-image-archive"));
            words.extend(names.iter().map(String::as_str));
            s.brig_must(&words)?;
            for name in &names {
                s.brig_must(&["rmi", name])?;
            }
            let said = s.brig_must(&["load", "-i", &archive])?;
            for (name, image) in names.iter().zip(&s.lab.fixtures.small) {
                has("output", &said, name)?;
                is("id", s.id(name)?, image.id())?;
            }
            Ok(())
        }),
        case("save.several-for-docker", &[Need::Brig, Need::Docker], |s| {
            let names: Vec<String> = ["small:1", "small:2", "many:1"]
                .iter()
                .map(|name| s.lab.plain.reference(name))
                .collect();
            let archive = s.path("several.tar");
            let mut words = vec!["save", "-o", &archive];
            for name in &names {
                s.brig_must(&["pull", "-q", name])?;
                words.push(name);
            }
            s.brig_must(&words)?;
            s.docker(&["load", "-i", &archive])?;
            for name in &names {
                let id = s.id(name)?;
                is("id", s.docker(&["inspect", "--format", "{{.Id}}", name])?, id)?;
            }
            Ok(())
        }),
        case("save.to-stdout-and-from-stdin", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let archive = s.dir.join("piped.tar");
            let file = File::create(&archive).map_err(|e| e.to_string())?;
            let mut save = s.command();
            let status = command::wait(save.args(["save", &reference]).stdout(file), USUAL)?;
            is("save", status.code().unwrap_or(-1), 0)?;
            s.brig_must(&["rmi", &reference])?;
            let mut load = s.command();
            let file = File::open(&archive).map_err(|e| e.to_string())?;
            let status = command::wait(
                load.arg("load").stdin(file).stdout(std::process::Stdio::null()),
                USUAL,
            )?;
            is("load", status.code().unwrap_or(-1), 0)?;
            is("id", s.id(&reference)?, s.lab.fixtures.small[0].id())
        }),
        case("save.by-id", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let id = s.lab.fixtures.small[0].config.short().to_owned();
            let archive = s.path("one.tar");
            s.brig_must(&["save", "-o", &archive, &id])?;
            s.brig_must(&["rmi", &reference])?;
            let said = s.brig_must(&["load", "-i", &archive])?;
            has("output", &said, s.lab.fixtures.small[0].config.hex())?;
            let tags = s.brig_must(&["images", "-a", "--format", "{{.Tag}}"])?;
            is("tag", tags, "<none>")
        }),
        case("load.no-archive", &[], |s| {
            let file = s.path("none.tar");
            std::fs::write(&file, "this is not an archive").map_err(|e| e.to_string())?;
            let refusal = s.brig(&["load", "-i", &file])?;
            is("refused", refusal.code != 0, true)?;
            let refusal = s.brig(&["load", "-i", &s.path("absent.tar")])?;
            refused("load", &refusal, &["no such file or directory"])
        }),
        case("load.from-docker", &[Need::Docker, Need::Brig, Need::Runc], |s| {
            let reference = s.lab.plain.reference("modest:1");
            let other = s.lab.plain.reference("small:1");
            s.docker(&["pull", "-q", &reference])?;
            s.docker(&["pull", "-q", &other])?;
            let archive = s.path("docker.tar");
            s.docker(&["save", "-o", &archive, &reference, &other])?;
            let said = s.brig_must(&["load", "-i", &archive])?;
            has("output", &said, &format!("Loaded image: {reference}"))?;
            has("output", &said, &format!("Loaded image: {other}"))?;
            is("id", s.id(&reference)?, s.lab.fixtures.modest.id())?;
            is("id", s.id(&other)?, s.lab.fixtures.small[0].id())?;
            let store = s.store();
            is(
                "what it prints",
                run_bundle_of(s, &store, &reference)?,
                crate::fixtures::MESSAGE,
            )
        }),
        case("load.from-podman", &[Need::Podman, Need::Brig], |s| {
            // Podman packs layers anew, and does not manage it for all that `many` has.
            for format in ["docker-archive", "oci-archive"] {
                let image = s.lab.fixtures.modest.clone();
                let reference = s.lab.plain.reference("modest:1");
                s.podman(&["pull", "-q", &reference])?;
                let archive = s.path(format);
                s.podman(&["save", "-q", "--format", format, "-o", &archive, &reference])?;
                let store = s.other_store(&format!("store-{format}"));
                let said = s.brig_must_at(&store, &["load", "-i", &archive])?;
                has(format, &said, "Loaded image")?;
                let layers = s.brig_must_at(
                    &store,
                    &[
                        "image",
                        "inspect",
                        "--format",
                        "{{json .RootFS.Layers}}",
                        &reference,
                    ],
                )?;
                let diff_ids: Vec<&str> = image.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
                is(format, layers, serde_json::json!(diff_ids))?;
                let id = s.brig_must_at(&store, &["image", "inspect", "--format", "{{.Id}}", &reference])?;
                is("id", id, image.id())?;
            }
            Ok(())
        }),
        case("load.from-skopeo", &[Need::Skopeo, Need::Brig], |s| {
            let reference = s.lab.plain.reference("many:1");
            let archive = s.path("skopeo.tar");
            s.skopeo(&[
                "copy",
                &format!("docker://{reference}"),
                &format!("oci-archive:{archive}:some-name"),
            ])?;
            let said = s.brig_must(&["load", "-i", &archive])?;
            has("output", &said, "Loaded image")?;
            let ids = s.brig_must(&["images", "-q", "--no-trunc"])?;
            is("id", ids, s.lab.fixtures.many.id())
        }),
        case("load.compressed", &[Need::Brig], |s| {
            let archive = saved(s, "many:1")?;
            let mut gzip = Command::new("gzip");
            command::run(gzip.args(["-1", &archive]), "", USUAL)?.ok()?;
            let store = s.other_store("second");
            s.brig_must_at(&store, &["load", "-i", &format!("{archive}.gz")])?;
            let reference = s.lab.plain.reference("many:1");
            let id = s.brig_must_at(&store, &["image", "inspect", "--format", "{{.Id}}", &reference])?;
            is("id", id, s.lab.fixtures.many.id())
        }),
        case("import.tree", &[Need::Brig, Need::Runc], |s| {
            let tar = tree(s)?;
            let id = s.brig_must(&[
                "import",
                "--change",
                "CMD [\"/bin/cat\", \"/said\"]",
                "--change",
                "ENV A=b",
                "--message",
                "by hand",
                &tar,
                "imported:1",
            ])?;
            is("the id's form", id.len() == 71 && id.starts_with("sha256:"), true)
                .map_err(|e| format!("{e}: {id}"))?;
            is("id", s.id("imported:1")?, &id)?;
            let store = s.store();
            is(
                "what it prints",
                run_bundle_of(s, &store, "imported:1")?,
                "imported",
            )?;
            let comment = s.brig_must(&[
                "image",
                "inspect",
                "--format",
                "{{.Comment}} {{.Config.Env}}",
                "imported:1",
            ])?;
            is("comment", comment, "by hand [A=b]")
        }),
        case("import.for-docker", &[Need::Brig, Need::Docker], |s| {
            let tar = tree(s)?;
            let reference = s.lab.plain.reference("trip:imported");
            let id = s.brig_must(&[
                "import",
                "--change",
                "CMD [\"/bin/cat\", \"/said\"]",
                &tar,
                &reference,
            ])?;
            s.brig_must(&["push", "-q", &reference])?;
            s.docker(&["pull", "-q", &reference])?;
            is(
                "id",
                s.docker(&["inspect", "--format", "{{.Id}}", &reference])?,
                id,
            )?;
            is(
                "what it prints",
                s.docker(&["run", "--rm", "--network", "none", &reference])?,
                "imported",
            )
        }),
        case("import.web", &[], |s| {
            // A registry gives a blob to everybody who knows its path.
            let reference = s.lab.plain.reference("small");
            let host = reference.split('/').next().unwrap_or_default();
            let layer = &s.lab.fixtures.small[0].layers[0];
            let address = format!("http://{host}/v2/small/blobs/{}", layer.blob.digest);
            s.brig_must(&["import", &address, "fetched:1"])?;
            let layers = s.brig_must(&[
                "image",
                "inspect",
                "--format",
                "{{json .RootFS.Layers}}",
                "fetched:1",
            ])?;
            is("layers", layers, serde_json::json!([layer.diff_id]))?;
            let refusal = s.brig(&["import", &format!("http://{host}/v2/none"), "none:1"])?;
            is("what is not there is refused", refusal.code == 0, false)
        }),
        case("import.stdin", &[], |s| {
            let tar = tree(s)?;
            let mut import = s.command();
            let file = File::open(&tar).map_err(|e| e.to_string())?;
            import
                .args(["import", "-", "imported:2"])
                .stdin(file)
                .stdout(std::process::Stdio::null());
            let status = command::wait(&mut import, USUAL)?;
            is("exit code", status.code().unwrap_or(-1), 0)?;
            s.id("imported:2").map(|_| ())
        }),
    ]
}

/// An archive of an image, as the subject saves it.
fn saved(s: &mut Scene, name: &str) -> Result<String, String> {
    let reference = s.lab.plain.reference(name);
    s.brig_must(&["pull", "-q", &reference])?;
    let archive = s.path("saved.tar");
    let said = s.brig_must(&["save", "-o", &archive, &reference])?;
    let silent: Done = is("output of save", said, "");
    silent.map(|()| archive)
}

/// A tar file of a small tree.
fn tree(s: &Scene) -> Result<String, String> {
    use crate::archive::{Entry, archive};
    let busybox = std::fs::read("/bin/busybox").map_err(|e| e.to_string())?;
    let tar = s.path("tree.tar");
    let entries = [
        Entry::directory("bin"),
        Entry::file("bin/busybox", &busybox).mode(0o755),
        Entry::symlink("bin/cat", "busybox"),
        Entry::file("said", b"imported\n"),
        Entry::directory("proc"),
        Entry::directory("dev"),
        Entry::directory("sys"),
    ];
    std::fs::write(&tar, archive(&entries)).map_err(|e| e.to_string())?;
    Ok(tar)
}
