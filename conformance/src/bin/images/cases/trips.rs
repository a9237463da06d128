//! Round trips: what brig pushes, the others pull and run; what they push, brig pulls, and a runtime runs it.
//!
//! May not: accept another digest than the one that was sent.

use std::path::Path;
use std::process::Command;

use conformance::command::{self, USUAL};
use conformance::kernel;

use crate::case::{Case, Done, Need, Scene, case, has, is, refused};
use crate::depot::Image;
use crate::fixtures::MESSAGE;
use crate::lab::Subject;
use crate::registry::{self, LOCKED, PASSWORD, USER};

pub fn cases() -> Vec<Case> {
    vec![
        case("push.digest-is-kept", &[], |s| {
            let reference = carry(s, "trip:1")?;
            let said = s.brig_must(&["push", &reference])?;
            let image = s.lab.fixtures.many.clone();
            kept(s, s.lab.plain.digest("trip", "1"), &image)?;
            if s.lab.subject == Subject::Podman {
                return Ok(());
            }
            let first = format!(
                "The push refers to repository [{}]",
                s.lab.plain.reference("trip")
            );
            is("the first line", said.lines().next().unwrap_or_default(), first)?;
            let last = format!(
                "1: digest: {} size: {}",
                image.manifest.digest, image.manifest.size
            );
            if s.lab.subject == Subject::Brig {
                is("the last line", said.lines().last().unwrap_or_default(), last)?;
            }
            let again = s.brig_must(&["push", &reference])?;
            for layer in &image.layers {
                // Docker with its older store calls a layer by its diff id, the newer one by its blob.
                let id = match s.lab.subject {
                    Subject::Brig => layer.blob.digest.as_str(),
                    _ => layer.diff_id.as_str(),
                };
                let short = id.get(7..19).unwrap_or_default();
                has(
                    "pushed again",
                    &again,
                    &format!("{short}: Layer already exists\n"),
                )?;
            }
            Ok(())
        }),
        case("push.blobs-are-mounted", &[Need::Brig], |s| {
            // The registry has every blob under another name: nothing needs to be sent.
            let reference = carry(s, "trip:1")?;
            let before = s.lab.plain.requests()?.len();
            let said = s.brig_must(&["push", &reference])?;
            has("output", &said, "Mounted from many")?;
            let requests = s.lab.plain.requests()?;
            let sent = requests
                .iter()
                .skip(before)
                .filter(|r| r.method == "PATCH" || (r.method == "PUT" && r.path.contains("/blobs/")))
                .count();
            is("uploads", sent, 0)
        }),
        case("push.to-a-stranger", &[], |s| {
            // A registry that has nothing of it: every byte is uploaded, then pulled by somebody else.
            registry::trust(&s.lab.dir, s.lab.tls.host, true)?;
            let from = s.lab.plain.reference("large:1");
            s.brig_must(&["pull", "-q", &from])?;
            let to = s.lab.tls.reference("trip:1");
            s.brig_must(&["tag", &from, &to])?;
            s.brig_must(&["push", &to])?;
            kept(s, s.lab.tls.digest("trip", "1"), &s.lab.fixtures.large)
        }),
        case("push.with-login", &[Need::Login], |s| {
            registry::trust(&s.lab.dir, LOCKED, true)?;
            let from = s.lab.plain.reference("small:1");
            s.brig_must(&["pull", "-q", &from])?;
            let to = format!("{LOCKED}/trip:1");
            s.brig_must(&["tag", &from, &to])?;
            let refusal = s.brig(&["push", &to])?;
            crate::case::refused(
                "without a login",
                &refusal,
                &[
                    "no basic auth credentials",
                    "unauthorized",
                    "authentication required",
                ],
            )?;
            s.brig_hears(&["login", "-u", USER, "--password-stdin", LOCKED], PASSWORD)?
                .ok()?;
            s.brig_must(&["push", &to])?;
            let locked = s.lab.locked.as_ref().map_err(Clone::clone)?;
            kept(s, locked.digest("trip", "1"), &s.lab.fixtures.small[0])
        }),
        case("push.quiet-and-all-tags", &[Need::Brig], |s| {
            let name = s.lab.plain.reference("trip");
            for tag in ["1", "2"] {
                let from = s.lab.plain.reference(&format!("small:{tag}"));
                s.brig_must(&["pull", "-q", &from])?;
                s.brig_must(&["tag", &from, &format!("{name}:{tag}")])?;
            }
            let said = s.brig_must(&["push", "-q", &format!("{name}:1")])?;
            is("output", said, format!("{name}:1"))?;
            s.brig_must(&["push", "-a", &name])?;
            for (tag, image) in ["1", "2"].iter().zip(&s.lab.fixtures.small) {
                kept(s, s.lab.plain.digest("trip", tag), image)?;
            }
            Ok(())
        }),
        case("push.formats-are-kept", &[Need::Brig], |s| {
            for (name, image) in &s.lab.fixtures.variants {
                let from = s.lab.plain.reference(&format!("variant:{name}"));
                let to = s.lab.plain.reference(&format!("trip:{name}"));
                s.brig_must(&["pull", "-q", &from])?;
                s.brig_must(&["tag", &from, &to])?;
                s.brig_must(&["push", "-q", &to])?;
                kept(s, s.lab.plain.digest("trip", name), image)?;
            }
            Ok(())
        }),
        case("trip.to-docker", &[Need::Docker], |s| {
            let reference = pushed(s)?;
            s.docker(&["pull", "-q", &reference])?;
            is(
                "id",
                s.docker(&["inspect", "--format", "{{.Id}}", &reference])?,
                s.lab.fixtures.many.id(),
            )?;
            let said = s.docker(&["run", "--rm", "--network", "none", &reference])?;
            is("what it prints", said, MESSAGE)
        }),
        case("trip.to-podman", &[Need::Podman], |s| {
            let reference = pushed(s)?;
            s.podman(&["pull", "-q", &reference])?;
            is(
                "id",
                s.podman(&["inspect", "--format", "{{.Id}}", &reference])?,
                s.lab.fixtures.many.config.hex(),
            )?;
            let said = s.podman(&["run", "--rm", "--network", "none", &reference])?;
            is("what it prints", said, MESSAGE)
        }),
        case("trip.to-skopeo", &[Need::Skopeo, Need::Brig], |s| {
            let reference = pushed(s)?;
            let layout = format!("oci:{}:it", s.path("layout"));
            s.skopeo(&[
                "copy",
                "--preserve-digests",
                &format!("docker://{reference}"),
                &layout,
            ])?;
            let raw = s.skopeo(&["inspect", "--raw", &format!("docker://{reference}")])?;
            is(
                "the manifest's size",
                raw.len(),
                s.lab.fixtures.many.manifest.size,
            )?;
            let blobs = s.dir.join("layout/blobs/sha256");
            for blob in s.lab.fixtures.many.blobs() {
                is("a blob is there", blobs.join(blob.hex()).exists(), true)?;
            }
            Ok(())
        }),
        case("trip.from-docker", &[Need::Docker, Need::Runc, Need::Brig], |s| {
            let reference = s.lab.plain.reference("trip:docker");
            let from = s.lab.plain.reference("many:1");
            s.docker(&["pull", "-q", &from])?;
            let script = "rm /data/keep; echo changed >/message; mkfifo /new; ln /message /linked";
            s.docker(&[
                "run",
                "--name",
                "change",
                "--network",
                "none",
                &from,
                "/bin/sh",
                "-c",
                script,
            ])?;
            s.docker(&[
                "commit",
                "--change",
                "CMD [\"cat\", \"/linked\"]",
                "change",
                &reference,
            ])?;
            s.docker(&["push", &reference])?;
            let id = s.docker(&["inspect", "--format", "{{.Id}}", &reference])?;
            arrives(s, &reference, &id, "changed")
        }),
        case("trip.from-podman", &[Need::Podman, Need::Runc, Need::Brig], |s| {
            let reference = s.lab.plain.reference("trip:podman");
            let from = s.lab.plain.reference("many:1");
            s.podman(&["pull", "-q", &from])?;
            let script = "rm -r /data/opaque; echo changed >/message";
            s.podman(&[
                "run",
                "--name",
                "change",
                "--network",
                "none",
                &from,
                "/bin/sh",
                "-c",
                script,
            ])?;
            s.podman(&["commit", "-q", "change", &reference])?;
            let id = s.podman(&["inspect", "--format", "sha256:{{.Id}}", &reference])?;
            s.podman(&["push", "-q", &reference])?;
            // Podman commits what ran: the command of the container, and that is the script.
            arrives(s, &reference, &id, "")
        }),
        case("trip.from-podman-schema2", &[Need::Podman, Need::Brig], |s| {
            let reference = s.lab.plain.reference("trip:podman");
            let from = s.lab.plain.reference("many:1");
            s.podman(&["pull", "-q", &from])?;
            s.podman(&["push", "-q", "--format", "v2s2", &from, &reference])?;
            s.brig_must(&["pull", "-q", &reference])?;
            layers_are_those_of_many(s, &reference)
        }),
        case(
            "trip.from-buildah",
            &[Need::Buildah, Need::Runc, Need::Brig],
            |s| {
                let reference = s.lab.plain.reference("trip:buildah");
                let from = s.lab.plain.reference("many:1");
                let container = s.buildah(&["from", &from])?;
                s.buildah(&["config", "--cmd", "cat /built", &container])?;
                std::fs::write(s.dir.join("built"), "by buildah\n").map_err(|e| e.to_string())?;
                s.buildah(&["copy", &container, &s.path("built"), "/built"])?;
                let id = s.buildah(&["commit", "-q", &container, &reference])?;
                s.buildah(&["rm", &container])?;
                s.buildah(&["push", "-q", &reference])?;
                arrives(s, &reference, &format!("sha256:{id}"), "by buildah")
            },
        ),
        case("trip.from-skopeo", &[Need::Skopeo, Need::Brig], |s| {
            let from = format!("docker://{}", s.lab.plain.reference("many:1"));
            let ways: [(&str, &[&str]); 3] = [
                ("schema2", &["--format", "v2s2"]),
                ("zstd", &["--dest-compress-format", "zstd", "--format", "oci"]),
                ("index", &["--all"]),
            ];
            for (tag, flags) in ways {
                let from = if tag == "index" {
                    format!("docker://{}", s.lab.plain.reference("index:1"))
                } else {
                    from.clone()
                };
                let reference = s.lab.plain.reference(&format!("trip:{tag}"));
                let to = format!("docker://{reference}");
                let mut words = vec!["copy"];
                words.extend(flags);
                words.extend([from.as_str(), to.as_str()]);
                s.skopeo(&words)?;
                s.brig_must(&["pull", "-q", &reference])?;
                layers_are_those_of_many(s, &reference)?;
            }
            Ok(())
        }),
        case("bundle.runs", &[Need::Brig, Need::Runc], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            is("what it prints", run_bundle(s, &reference)?, MESSAGE)
        }),
        case("bundle.debian", &[Need::Brig, Need::Runc], |s| {
            let reference = s.lab.plain.reference("debian:bookworm");
            s.brig_must(&["pull", "-q", &reference])?;
            has("what it prints", &run_bundle(s, &reference)?, "12.")
        }),
        case("bundle.after-a-reboot", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let bundle = s.path("bundle");
            s.brig_must(&["bundle", &reference, &bundle])?;
            let rootfs = Path::new(&bundle).join("rootfs");
            let text = |e: std::io::Error| format!("{}: {e}", rootfs.display());
            std::fs::write(rootfs.join("mine"), "kept").map_err(text)?;
            refused("again", &s.brig(&["bundle", &reference, &bundle])?, &["already"])?;
            // All that a reboot takes away.
            kernel::detach(&rootfs).map_err(text)?;
            s.brig_must(&["bundle", &reference, &bundle])?;
            is(
                "what was written",
                std::fs::read_to_string(rootfs.join("mine")).map_err(text)?,
                "kept",
            )?;
            is("the image", rootfs.join("message").exists(), true)?;
            s.brig_must(&["unbundle", &bundle]).map(|_| ())
        }),
        case("bundle.is-writable-and-its-own", &[Need::Brig, Need::Runc], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let (one, two) = (s.path("one"), s.path("two"));
            for bundle in [&one, &two] {
                s.brig_must(&["bundle", &reference, bundle])?;
            }
            std::fs::write(Path::new(&one).join("rootfs/message"), "mine").map_err(|e| e.to_string())?;
            let other =
                std::fs::read_to_string(Path::new(&two).join("rootfs/message")).map_err(|e| e.to_string())?;
            is("the other bundle", other.trim_end(), MESSAGE)?;
            for bundle in [&one, &two] {
                s.brig_must(&["unbundle", bundle])?;
            }
            is(
                "what stays",
                Path::new(&one).join("rootfs/message").exists(),
                false,
            )
        }),
    ]
}

/// The registry has the very manifest. The peers write one of their own.
fn kept(s: &Scene, digest: Option<String>, image: &Image) -> Done {
    let digest = digest.ok_or("the registry does not have it")?;
    if s.lab.subject == Subject::Brig {
        return is("digest in the registry", digest, &image.manifest.digest);
    }
    Ok(())
}

/// Pulls `many` and gives it another name, in a repository that knows nothing of it.
fn carry(s: &mut Scene, name: &str) -> Result<String, String> {
    s.lab.plain.forget("trip")?;
    let from = s.lab.plain.reference("many:1");
    s.brig_must(&["pull", "-q", &from])?;
    let to = s.lab.plain.reference(name);
    s.brig_must(&["tag", &from, &to])?;
    Ok(to)
}

/// The same, pushed, and gone here.
fn pushed(s: &mut Scene) -> Result<String, String> {
    let reference = carry(s, "trip:1")?;
    s.brig_must(&["push", "-q", &reference])?;
    kept(s, s.lab.plain.digest("trip", "1"), &s.lab.fixtures.many)?;
    s.brig_must(&["rmi", "-f", &reference, &s.lab.plain.reference("many:1")])?;
    Ok(reference)
}

/// What another tool pushed is pulled with its id and its digest, and runs.
fn arrives(s: &mut Scene, reference: &str, id: &str, prints: &str) -> Done {
    let tag = reference.rsplit(':').next().unwrap_or_default();
    let digest = s
        .lab
        .plain
        .digest("trip", tag)
        .ok_or("the registry does not have it")?;
    s.brig_must(&["pull", "-q", reference])?;
    is("id", s.id(reference)?, id)?;
    let digests = s.brig_must(&["image", "inspect", "--format", "{{json .RepoDigests}}", reference])?;
    has("RepoDigests", &digests, &digest)?;
    is("what it prints", run_bundle(s, reference)?, prints)
}

fn layers_are_those_of_many(s: &mut Scene, reference: &str) -> Done {
    let layers = s.brig_must(&[
        "image",
        "inspect",
        "--format",
        "{{json .RootFS.Layers}}",
        reference,
    ])?;
    let many = &s.lab.fixtures.many;
    let diff_ids: Vec<&str> = many.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    is("layers", layers, serde_json::json!(diff_ids))
}

/// What an image prints as a bundle, under brig's own runtime and under runc alike.
pub fn run_bundle(s: &mut Scene, reference: &str) -> Result<String, String> {
    let store = s.store();
    run_bundle_of(s, &store, reference)
}

pub fn run_bundle_of(s: &mut Scene, store: &Path, reference: &str) -> Result<String, String> {
    let runc = s.lab.runc.clone()?;
    let mut said = Vec::new();
    for runtime in [s.lab.runtime.clone(), runc] {
        let bundle = s.path("bundle");
        s.brig_must_at(store, &["bundle", reference, &bundle])?;
        let mut run = Command::new(&runtime);
        run.args([
            "--root",
            "/run/images-test",
            "run",
            "--bundle",
            &bundle,
            "images-test",
        ]);
        let outcome = command::run(&mut run, "", USUAL)?.ok();
        s.brig_must_at(store, &["unbundle", &bundle])?;
        said.push(outcome.map_err(|e| format!("{}: {e}", runtime.display()))?);
    }
    is(
        "runc's output",
        said.last().cloned().unwrap_or_default(),
        said.first().cloned().unwrap_or_default(),
    )?;
    Ok(said.pop().unwrap_or_default())
}
