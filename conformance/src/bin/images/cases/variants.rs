//! Indexes: what of them is pushed, saved and loaded, and what refers to an image.
//!
//! May not: hold a store to more than it has pulled.

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, refused};
use crate::depot::{Format, Image, native};
use crate::fixtures::foreign;

pub fn cases() -> Vec<Case> {
    vec![
        case("push.index-in-part", &[Need::Brig], |s| {
            // The other machine's image and the attestation were never pulled.
            let (from, to) = named(s, "index:1")?;
            s.brig_must(&["pull", "-q", &from])?;
            s.brig_must(&["tag", &from, &to])?;
            let said = s.brig_must(&["push", &to])?;
            let (index, many) = (s.lab.fixtures.index.clone(), s.lab.fixtures.many.clone());
            arrived(s, &many)?;
            let note = format!(
                "\n Info -> Not all multiplatform-content is present and only the available single-platform image was pushed\n\
                 \u{20}        {} -> {}",
                index.manifest.digest, many.manifest.digest
            );
            is("the end of what is said", said.ends_with(&note), true)?;
            has(
                "what is said",
                &said,
                &format!("1: digest: {} size: ", many.manifest.digest),
            )?;
            // By its manifest there is nothing that could be missed.
            s.brig_must(&["tag", many.config.short(), &to])?;
            lacks("what is said", &s.brig_must(&["push", &to])?, "Info ->")
        }),
        case("push.index-whole", &[Need::Brig], |s| {
            // One after the other all of its images come here; the tag stays with the last.
            let (from, to) = named(s, "list:1")?;
            let other = format!("linux/{}", foreign());
            s.brig_must(&["pull", "-q", "--platform", &other, &from])?;
            s.brig_must(&["pull", "-q", &from])?;
            s.brig_must(&["tag", &from, &to])?;
            let said = s.brig_must(&["push", &to])?;
            let list = s.lab.fixtures.list.clone();
            arrived(s, &list)?;
            lacks("what is said", &said, "Info ->")?;
            has(
                "what is said",
                &said,
                &format!("1: digest: {} size: {}", list.manifest.digest, list.manifest.size),
            )?;
            // Somebody else finds every image of it there.
            for (n, platform) in [other.as_str(), "linux"].iter().enumerate() {
                let store = s.other_store(&format!("store-{n}"));
                let mut pull = vec!["pull", "-q"];
                pull.extend(
                    (*platform != "linux")
                        .then_some(["--platform", platform])
                        .into_iter()
                        .flatten(),
                );
                pull.push(&to);
                s.brig_must_at(&store, &pull)?;
            }
            // Without the other image the index is not whole any more.
            s.brig_must(&["image", "prune", "-f"])?;
            s.lab.plain.forget("trip")?;
            has("what is said", &s.brig_must(&["push", &to])?, " Info -> Not all")?;
            let own = list.children.last().ok_or("no children")?.clone();
            arrived(s, &own)
        }),
        case("push.platform", &[Need::Brig], |s| {
            let (from, to) = named(s, "index:1")?;
            let other = format!("linux/{}", foreign());
            s.brig_must(&["pull", "-q", "--platform", &other, &from])?;
            s.brig_must(&["pull", "-q", &from])?;
            s.brig_must(&["tag", &from, &to])?;
            s.brig_must(&["push", "--platform", &other, &to])?;
            let elsewhere = s.lab.fixtures.foreign.clone();
            arrived(s, &elsewhere)?;
            let refusal = s.brig(&["push", "--platform", "linux/s390x", &to])?;
            refused(
                "push",
                &refusal,
                &["does not provide the specified platform (linux/s390x)"],
            )?;
            // What others pull is not for the environment to choose.
            let mut push = s.command();
            crate::lab::run(
                push.env("DOCKER_DEFAULT_PLATFORM", &other)
                    .args(["push", "-q", &to]),
            )?
            .ok()?;
            let many = s.lab.fixtures.many.clone();
            arrived(s, &many)
        }),
        case("push.index-outlives-its-pull", &[Need::Brig], |s| {
            // The only image of an index is pulled once more by its own digest: what the tag stands for stays.
            let depot = &s.lab.fixtures.depot;
            let many = s.lab.fixtures.many.clone();
            let index = depot.index(Format::Oci, &[(native(), many.clone())])?;
            s.lab.plain.plant(depot, "alone", "1", &index)?;
            let (from, to) = named(s, "alone:1")?;
            s.brig_must(&["pull", "-q", &from])?;
            let single = s.lab.plain.reference(&format!("alone@{}", many.manifest.digest));
            s.brig_must(&["pull", "-q", &single])?;
            s.brig_must(&["pull", "-q", &s.lab.plain.reference("small:1")])?;
            s.brig_must(&["rmi", &s.lab.plain.reference("small:1")])?;
            s.brig_must(&["tag", &from, &to])?;
            s.brig_must(&["push", "-q", &to])?;
            arrived(s, &index)
        }),
        case("save.platform", &[Need::Brig], |s| {
            let from = s.lab.plain.reference("index:1");
            let other = format!("linux/{}", foreign());
            let archive = s.path("other.tar");
            s.brig_must(&["pull", "-q", &from])?;
            let refusal = s.brig(&["save", "--platform", &other, "-o", &archive, &from])?;
            refused(
                "save",
                &refusal,
                &[&format!("does not provide the specified platform ({other})")],
            )?;
            is("the archive", std::path::Path::new(&archive).exists(), false)?;
            s.brig_must(&["pull", "-q", "--platform", &other, &from])?;
            s.brig_must(&["pull", "-q", &from])?;
            s.brig_must(&["save", "--platform", &other, "-o", &archive, &from])?;
            let store = s.other_store("store-2");
            let said = s.brig_must_at(&store, &["load", "--platform", &other, "-i", &archive])?;
            is("output", said, format!("Loaded image: {from}"))?;
            let format = ["image", "inspect", "--format", "{{.Id}} {{.Architecture}}", &from];
            let expected = format!("{} {}", s.lab.fixtures.foreign.id(), foreign());
            is("id", s.brig_must_at(&store, &format)?, expected)
        }),
        case("load.platform", &[Need::Brig], |s| {
            // A layout with an index: one image of it, as asked for.
            let layout = s.dir.join("layout");
            let index = s.lab.fixtures.index.clone();
            s.lab.fixtures.depot.layout(&layout, "here:1", &index)?;
            let archive = s.path("layout.tar");
            let mut tar = std::process::Command::new("tar");
            tar.arg("-C").arg(&layout).args(["-cf", &archive, "."]);
            crate::lab::run(&mut tar)?.ok()?;
            let other = format!("linux/{}", foreign());
            for (platform, id) in [
                (Some(other.as_str()), s.lab.fixtures.foreign.id().to_owned()),
                (None, s.lab.fixtures.many.id().to_owned()),
            ] {
                let mut words = vec!["load", "-q", "-i", &archive];
                words.extend(platform.map(|p| ["--platform", p]).into_iter().flatten());
                is("output", s.brig_must(&words)?, "Loaded image: here:1")?;
                is("id", s.id("here:1")?, id)?;
            }
            let refusal = s.brig(&["load", "--platform", "linux/s390x", "-i", &archive])?;
            refused("load", &refusal, &["the archive has no image for linux/s390x"])
        }),
        case("push.subject", &[Need::Brig], |s| {
            // The registry has no API for it, so the list of what refers to the subject is kept under a tag.
            s.lab.plain.forget("trip")?;
            let depot = &s.lab.fixtures.depot;
            let many = s.lab.fixtures.many.clone();
            let text = std::fs::read_to_string(depot.path(&many.manifest)).map_err(|e| e.to_string())?;
            let mut manifest: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let subject = &s.lab.fixtures.small[0].manifest;
            manifest["subject"] = serde_json::json!({
                "mediaType": s.lab.fixtures.small[0].media_type, "digest": subject.digest, "size": subject.size
            });
            manifest["annotations"] = serde_json::json!({"who": "a case"});
            let referring = Image {
                manifest: depot.add(manifest.to_string().as_bytes())?,
                ..many
            };
            s.lab.plain.plant(depot, "referring", "1", &referring)?;
            let (from, to) = named(s, "referring:1")?;
            s.brig_must(&["pull", "-q", &from])?;
            s.brig_must(&["tag", &from, &to])?;
            s.brig_must(&["push", "-q", &to])?;
            arrived(s, &referring)?;
            let tag = subject.digest.replace(':', "-");
            let list = s.lab.plain.document("trip", &tag)?;
            is("entries", list["manifests"].as_array().map_or(0, Vec::len), 1)?;
            let entry = &list["manifests"][0];
            is(
                "digest",
                entry["digest"].as_str().unwrap_or_default(),
                &referring.manifest.digest,
            )?;
            is(
                "annotation",
                entry["annotations"]["who"].as_str().unwrap_or_default(),
                "a case",
            )?;
            // Once more adds nothing.
            s.brig_must(&["push", "-q", &to])?;
            let list = s.lab.plain.document("trip", &tag)?;
            is("entries", list["manifests"].as_array().map_or(0, Vec::len), 1)
        }),
    ]
}

/// Where it comes from, and where it goes: a repository that knows nothing of it.
fn named(s: &Scene, name: &str) -> Result<(String, String), String> {
    s.lab.plain.forget("trip")?;
    Ok((s.lab.plain.reference(name), s.lab.plain.reference("trip:1")))
}

fn arrived(s: &Scene, image: &Image) -> Done {
    let digest = s
        .lab
        .plain
        .digest("trip", "1")
        .ok_or("the registry does not have it")?;
    is("digest in the registry", digest, &image.manifest.digest)
}
