//! Pulls: from each kind of registry, by each kind of name, in each format; and what is said about them.
//!
//! May not: damage anything on the way. Faults are in image/tests.

use crate::case::{Case, Done, Need, Scene, case, has, is, lacks, refused};
use crate::depot::{Blob, Image};
use crate::fixtures::foreign;
use crate::lab::Subject;
use crate::registry::{self, LOCKED, PASSWORD, Registry, Request, USER};

pub fn cases() -> Vec<Case> {
    vec![
        case("pull.tag", &[Need::Brig], |s| {
            let image = s.lab.fixtures.many.clone();
            let reference = s.lab.plain.reference("many:1");
            let said = s.brig_must(&["pull", &reference])?;
            is(
                "the first line",
                said.lines().next().unwrap_or_default(),
                "1: Pulling from many",
            )?;
            for layer in &image.layers {
                for word in ["Pulling fs layer", "Pull complete"] {
                    has("output", &said, &format!("{}: {word}\n", layer.blob.short()))?;
                }
            }
            let end = format!(
                "\nDigest: {}\nStatus: Downloaded newer image for {reference}\n{reference}",
                image.manifest.digest
            );
            is("the end", said.ends_with(&end), true).map_err(|e| format!("{e}: {said}"))?;
            is("id", s.id(&reference)?, image.id())
        }),
        case("pull.table", &[], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", &reference])?;
            let table = s.brig_must(&["images"])?;
            let mut lines = table.lines();
            let head: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
            is("headers", head.join(" "), "REPOSITORY TAG IMAGE ID CREATED SIZE")?;
            let row: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
            let short = s.lab.fixtures.many.config.short().to_owned();
            is(
                "row",
                row.get(..3).unwrap_or_default().join(" "),
                format!("{} 1 {short}", s.lab.plain.reference("many")),
            )?;
            let quiet = s.brig_must(&["images", "-q"])?;
            is("-q", quiet, short)?;
            let digests = s.brig_must(&[
                "images",
                "--digests",
                "--format",
                "{{.Repository}} {{.Tag}} {{.Digest}}",
            ])?;
            is(
                "--format",
                digests,
                format!(
                    "{} 1 {}",
                    s.lab.plain.reference("many"),
                    s.lab.fixtures.many.manifest.digest
                ),
            )
        }),
        case("pull.inspect", &[], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let image = s.lab.fixtures.many.clone();
            let text = s.brig_must(&["image", "inspect", &reference])?;
            let shown: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            is("how many", shown.as_array().map_or(0, Vec::len), 1)?;
            let diff_ids: Vec<&str> = image.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
            is(
                "RootFS",
                &shown[0]["RootFS"]["Layers"],
                serde_json::json!(diff_ids),
            )?;
            is("RepoTags", &shown[0]["RepoTags"], serde_json::json!([reference]))?;
            let digest = s.lab.plain.reference(&format!("many@{}", image.manifest.digest));
            is(
                "RepoDigests",
                &shown[0]["RepoDigests"],
                serde_json::json!([digest]),
            )?;
            is(
                "Cmd",
                &shown[0]["Config"]["Cmd"],
                serde_json::json!(["/bin/sh", "-c", "cat /message"]),
            )?;
            let history =
                s.brig_must(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", &reference])?;
            is("history", history.lines().count(), 6)?;
            is(
                "the newest step",
                history.lines().next().unwrap_or_default(),
                "CMD",
            )
        }),
        case("pull.again", &[], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", &reference])?;
            let before = s.lab.plain.requests()?.len();
            let said = s.brig_must(&["pull", &reference])?;
            if s.lab.subject != Subject::Podman {
                has(
                    "output",
                    &said,
                    &format!("Status: Image is up to date for {reference}\n"),
                )?;
            }
            is(
                "blobs that were fetched",
                downloads(&s.lab.plain, before)?.len(),
                0,
            )
        }),
        case("pull.shared-layers", &[], |s| {
            s.brig_must(&["pull", &s.lab.plain.reference("many:1")])?;
            let before = s.lab.plain.requests()?.len();
            let said = s.brig_must(&["pull", &s.lab.plain.reference("many:2")])?;
            let (many, cousin) = (&s.lab.fixtures.many, &s.lab.fixtures.cousin);
            for request in downloads(&s.lab.plain, before)? {
                let shared = many.layers.iter().take(4).any(|layer| request.is_of(&layer.blob));
                is("a shared layer is fetched", shared, false).map_err(|e| format!("{e}: {request:?}"))?;
            }
            if s.lab.subject != Subject::Podman {
                for layer in cousin.layers.iter().take(4) {
                    has(
                        "output",
                        &said,
                        &format!("{}: Already exists\n", layer.blob.short()),
                    )?;
                }
            }
            Ok(())
        }),
        case("pull.each-blob-once", &[], |s| {
            let before = s.lab.plain.requests()?.len();
            s.brig_must(&["pull", &s.lab.plain.reference("many:1")])?;
            once(&s.lab.plain, before, &s.lab.fixtures.many)
        }),
        case("pull.digest", &[], |s| {
            let digest = s.lab.fixtures.many.manifest.digest.clone();
            let reference = s.lab.plain.reference(&format!("many@{digest}"));
            let said = s.brig_must(&["pull", &reference])?;
            if s.lab.subject != Subject::Podman {
                has(
                    "output",
                    &said,
                    &format!("Digest: {digest}\nStatus: Downloaded newer image for {reference}\n{reference}"),
                )?;
            }
            let tags = s.brig_must(&["images", "--format", "{{.Tag}}"])?;
            is("tag", tags, "<none>")?;
            is("id", s.id(&reference)?, s.lab.fixtures.many.id())
        }),
        case("pull.platform", &[], |s| {
            let reference = s.lab.plain.reference("index:1");
            let platform = format!("linux/{}", foreign());
            s.brig_must(&["pull", "--platform", &platform, &reference])?;
            let architecture =
                s.brig_must(&["image", "inspect", "--format", "{{.Architecture}}", &reference])?;
            is("architecture", architecture, foreign())?;
            is("id", s.id(&reference)?, s.lab.fixtures.foreign.id())
        }),
        case("pull.no-such-platform", &[], |s| {
            let refusal = s.brig(&[
                "pull",
                "--platform",
                "linux/s390x",
                &s.lab.plain.reference("index:1"),
            ])?;
            refused(
                "pull",
                &refusal,
                &[
                    "no matching manifest for linux/s390x",
                    "no image found in image index for architecture s390x",
                ],
            )
        }),
        case("pull.index", &[], |s| {
            of_this_machine(s, "index:1", |s| s.lab.fixtures.index.clone())
        }),
        case("pull.list", &[], |s| {
            of_this_machine(s, "list:1", |s| s.lab.fixtures.list.clone())
        }),
        case("pull.all-tags", &[], |s| {
            let name = s.lab.plain.reference("small");
            let said = s.brig_must(&["pull", "-a", &name])?;
            if s.lab.subject != Subject::Podman {
                for tag in 1..=3 {
                    has("output", &said, &format!("{tag}: Pulling from small\n"))?;
                }
                has(
                    "output",
                    &said,
                    &format!("Status: Downloaded newer image for {name}\n{name}"),
                )?;
            }
            let mut tags: Vec<String> = s
                .brig_must(&["images", "--format", "{{.Tag}}", &name])?
                .lines()
                .map(str::to_owned)
                .collect();
            tags.sort();
            is("tags", tags.join(" "), "1 2 3")
        }),
        case("pull.quiet", &[], |s| {
            let reference = s.lab.plain.reference("small:1");
            let said = s.brig_must(&["pull", "-q", &reference])?;
            let expected = match s.lab.subject {
                Subject::Podman => s.lab.fixtures.small[0].config.hex().to_owned(),
                _ => reference,
            };
            is("output", said, expected)
        }),
        case("pull.no-such-tag", &[], |s| {
            let refusal = s.brig(&["pull", &s.lab.plain.reference("many:absent")])?;
            refused("pull", &refusal, &["manifest unknown", "not found"])
        }),
        case("pull.no-such-registry", &[], |s| {
            let refusal = s.brig(&["pull", "127.0.0.1:1/many:1"])?;
            refused("pull", &refusal, &["connection refused"])
        }),
        case("pull.bad-name", &[], |s| {
            let refusal = s.brig(&["pull", "case/UPPER"])?;
            refused(
                "pull",
                &refusal,
                &[
                    "invalid reference format",
                    "must be lowercase",
                    "invalid image name",
                ],
            )
        }),
        case("pull.members", &[], |s| variant(s, "members")),
        case("pull.none", &[], |s| variant(s, "none")),
        case("pull.zstd", &[Need::NotDocker], |s| variant(s, "zstd")),
        case("pull.schema2", &[], |s| variant(s, "schema2")),
        case("pull.tls", &[], |s| {
            let reference = s.lab.tls.reference("many:1");
            registry::trust(&s.lab.dir, s.lab.tls.host, false)?;
            let refusal = s.brig(&["pull", &reference])?;
            refused("without the CA", &refusal, &["certificate"])?;
            registry::trust(&s.lab.dir, s.lab.tls.host, true)?;
            s.brig_must(&["pull", &reference])?;
            is("id", s.id(&reference)?, s.lab.fixtures.many.id())
        }),
        case("pull.plain-http-is-not-for-all", &[], |s| {
            // The registry without TLS, by a name that is not loopback.
            let refusal = s.brig(&["pull", "registry.test:5000/many:1"])?;
            refused("pull", &refusal, &["http", "refused"])
        }),
        case("login.right", &[Need::Login], |s| {
            registry::trust(&s.lab.dir, LOCKED, true)?;
            let reference = format!("{LOCKED}/many:1");
            let refusal = s.brig(&["pull", &reference])?;
            refused(
                "without a login",
                &refusal,
                &[
                    "no basic auth credentials",
                    "unauthorized",
                    "authentication required",
                ],
            )?;
            let login = s.brig_hears(
                &["login", "-u", USER, "--password-stdin", LOCKED],
                &format!("{PASSWORD}\n"),
            )?;
            has("login", &login.clone().ok()?, "Login Succeeded")?;
            s.brig_must(&["pull", &reference])?;
            let logout = s.brig_must(&["logout", LOCKED])?;
            has("logout", &logout, LOCKED)?;
            let refusal = s.brig(&["pull", &format!("{LOCKED}/many:2")])?;
            refused(
                "after logout",
                &refusal,
                &[
                    "no basic auth credentials",
                    "unauthorized",
                    "authentication required",
                ],
            )
        }),
        case("login.wrong", &[Need::Login], |s| {
            registry::trust(&s.lab.dir, LOCKED, true)?;
            let login = s.brig_hears(&["login", "-u", USER, "--password-stdin", LOCKED], "wrong")?;
            refused("login", &login, &["unauthorized", "invalid username/password"])?;
            let refusal = s.brig(&["pull", &format!("{LOCKED}/many:1")])?;
            refused(
                "pull",
                &refusal,
                &[
                    "no basic auth credentials",
                    "unauthorized",
                    "authentication required",
                ],
            )
        }),
        case(
            "login.where-docker-looks",
            &[Need::Login, Need::Docker, Need::Brig],
            |s| {
                registry::trust(&s.lab.dir, LOCKED, true)?;
                let login = s.brig_hears(&["login", "-u", USER, "--password-stdin", LOCKED], PASSWORD)?;
                let said = login.stdout.clone() + &login.stderr;
                login.ok()?;
                has("login", &said, "unencrypted")?;
                s.docker(&["pull", "-q", &format!("{LOCKED}/many:1")])?;
                // And the other way.
                s.docker(&["logout", LOCKED])?;
                let mut docker = s.lab.docker_command();
                docker.args(["login", "-u", USER, "--password-stdin", LOCKED]);
                conformance::command::run(&mut docker, PASSWORD, conformance::command::USUAL)?.ok()?;
                s.brig_must(&["pull", "-q", &format!("{LOCKED}/many:1")])
                    .map(|_| ())
            },
        ),
        case("login.on-the-command-line", &[Need::Login], |s| {
            registry::trust(&s.lab.dir, LOCKED, true)?;
            let login = s.brig(&["login", "-u", USER, "-p", PASSWORD, LOCKED])?;
            let warning = login.stderr.clone();
            has("login", &login.ok()?, "Login Succeeded")?;
            if s.lab.subject != Subject::Podman {
                has("warning", &warning, "--password via the CLI is insecure")?;
            }
            s.brig_must(&["pull", "-q", &format!("{LOCKED}/many:1")])
                .map(|_| ())
        }),
    ]
}

/// The downloads that a registry has answered since it had answered so many requests.
pub fn downloads(registry: &Registry, before: usize) -> Result<Vec<Request>, String> {
    let all = registry.requests()?;
    Ok(all
        .into_iter()
        .skip(before)
        .filter(Request::is_download)
        .collect())
}

/// Whether each blob of an image came down exactly once, in however many pieces.
pub fn once(registry: &Registry, before: usize, image: &Image) -> Done {
    let downloads = downloads(registry, before)?;
    let blobs: Vec<&Blob> = image
        .layers
        .iter()
        .map(|layer| &layer.blob)
        .chain([&image.config])
        .collect();
    for blob in blobs {
        let came: u64 = downloads
            .iter()
            .filter(|request| request.is_of(blob))
            .map(|request| request.bytes)
            .sum();
        is(&format!("bytes of {}", blob.short()), came, blob.size)?;
    }
    Ok(())
}

fn of_this_machine(s: &mut Scene, name: &str, image: fn(&Scene) -> Image) -> Done {
    let image = image(s);
    let reference = s.lab.plain.reference(name);
    let said = s.brig_must(&["pull", &reference])?;
    if s.lab.subject != Subject::Podman {
        has("output", &said, &format!("Digest: {}\n", image.manifest.digest))?;
    }
    lacks("output", &said, "unknown")?;
    is("id", s.id(&reference)?, image.id())?;
    let digests = s.brig_must(&[
        "image",
        "inspect",
        "--format",
        "{{json .RepoDigests}}",
        &reference,
    ])?;
    has("RepoDigests", &digests, &image.manifest.digest)
}

/// The same five layers in another dress are the same image inside.
fn variant(s: &mut Scene, name: &str) -> Done {
    let found = s.lab.fixtures.variants.iter().find(|(other, _)| *other == name);
    let image = found.map(|(_, image)| image.clone()).ok_or("no such variant")?;
    let reference = s.lab.plain.reference(&format!("variant:{name}"));
    s.brig_must(&["pull", &reference])?;
    is("id", s.id(&reference)?, image.id())?;
    let layers = s.brig_must(&[
        "image",
        "inspect",
        "--format",
        "{{json .RootFS.Layers}}",
        &reference,
    ])?;
    let diff_ids: Vec<&str> = s
        .lab
        .fixtures
        .many
        .layers
        .iter()
        .map(|layer| layer.diff_id.as_str())
        .collect();
    is("layers", layers, serde_json::json!(diff_ids))
}
