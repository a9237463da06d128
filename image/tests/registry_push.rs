//! Pushing, listing and logging in, against the registry that misbehaves.
#![allow(clippy::unwrap_used, clippy::panic)]

mod faults;
mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use faults::{Door, Fault, Registry, Seen, Tokens, descriptor};
use image::credentials::{Credentials, Login};
use image::oci::media;
use image::reference::Repository;
use image::registry::{Bytes, Cancel, Client, Notice, Notify, Push, Pushed, Settings, Which};
use image::{Digest, Kind};
use servers::noise;

fn settings() -> Settings {
    let mut settings = Settings::bare();
    settings.patience.first = Duration::from_millis(5);
    settings.limits.idle = Duration::from_secs(10);
    settings
}

fn quiet() -> Notify {
    Arc::new(|_| {})
}

fn client_with(credentials: Credentials) -> Client {
    Client::new(settings(), credentials, Cancel::new(), quiet()).unwrap()
}

fn client() -> Client {
    client_with(Credentials::none())
}

fn repository(registry: &Registry, name: &str) -> Repository {
    Repository::parse(&format!("{}/{name}", registry.address())).unwrap()
}

fn memory(bytes: &[u8]) -> Bytes {
    Bytes::Memory(bytes.into())
}

/// The first `times` requests that match are spoilt.
fn spoil(
    registry: &Registry,
    times: usize,
    what: impl Fn(&Seen) -> bool + Send + Sync + 'static,
    fault: Fault,
) {
    let count = AtomicUsize::new(0);
    registry.script(move |seen| {
        if what(seen) && count.fetch_add(1, Ordering::SeqCst) < times {
            fault.clone()
        } else {
            Fault::None
        }
    });
}

fn methods(registry: &Registry) -> Vec<String> {
    registry
        .log()
        .into_iter()
        .filter(|s| s.path.contains("/blobs/"))
        .map(|s| s.method)
        .collect()
}

#[test]
fn a_blob_goes_out_once() {
    let registry = Registry::start();
    let place = repository(&registry, "team/app");
    let bytes = noise(3_000_000, 1);
    let blob = descriptor(media::OCI_LAYER_GZIP, &bytes);
    let push = |client: &Client| {
        client
            .push_blob(&place, &blob, &memory(&bytes), Push::default(), &|_| {})
            .unwrap()
    };
    assert_eq!(push(&client()), Pushed::Uploaded);
    assert_eq!(methods(&registry), ["HEAD", "POST", "PUT"]);
    assert!(registry.blob(&blob.digest).unwrap() == bytes);
    assert_eq!(push(&client()), Pushed::Existed);
    let empty = descriptor(media::OCI_LAYER, b"");
    let pushed = client()
        .push_blob(&place, &empty, &memory(b""), Push::default(), &|_| {})
        .unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
}

#[test]
fn chunks_are_sent_where_they_are_wanted() {
    let bytes = noise(2_500_000, 2);
    let blob = descriptor(media::OCI_LAYER_GZIP, &bytes);
    let registry = Registry::start();
    let place = repository(&registry, "team/app");
    let chunked = Push {
        chunk: Some(1_000_000),
        ..Push::default()
    };
    client()
        .push_blob(&place, &blob, &memory(&bytes), chunked, &|_| {})
        .unwrap();
    let ranges: Vec<_> = registry
        .log()
        .iter()
        .filter_map(|s| s.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-999999", "1000000-1999999", "2000000-2499999"]);
    assert!(registry.blob(&blob.digest).unwrap() == bytes);

    // The registry says how small they may be.
    let registry = Registry::start();
    registry.with_min_chunk(1_200_000);
    client()
        .push_blob(
            &repository(&registry, "a"),
            &blob,
            &memory(&bytes),
            chunked,
            &|_| {},
        )
        .unwrap();
    assert_eq!(
        methods(&registry),
        ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]
    );
    assert!(registry.blob(&blob.digest).unwrap() == bytes);

    // A proxy takes no large requests.
    let registry = Registry::start();
    registry.script(|seen| {
        if seen.body.len() > 2_400_000 {
            Fault::Answer(413, Vec::new(), Vec::new())
        } else {
            Fault::None
        }
    });
    let large = noise(40_000_000, 3);
    let blob = descriptor(media::OCI_LAYER_GZIP, &large);
    client()
        .push_blob(
            &repository(&registry, "a"),
            &blob,
            &memory(&large),
            Push::default(),
            &|_| {},
        )
        .unwrap();
    assert!(registry.blob(&blob.digest).unwrap() == large);
}

#[test]
fn an_upload_that_breaks_goes_on_where_the_registry_stopped() {
    let bytes = noise(3_000_000, 4);
    let blob = descriptor(media::OCI_LAYER_GZIP, &bytes);
    for chunk in [None, Some(1_000_000)] {
        // The answer to what was stored is lost; the request itself is lost; the registry is not well.
        for (method, fault) in [
            ("PATCH", Fault::DropAfter(0)),
            ("PATCH", Fault::Close),
            ("PUT", Fault::Close),
            ("PUT", Fault::DropAfter(0)),
            ("PUT", Fault::Answer(503, Vec::new(), Vec::new())),
            ("POST", Fault::Answer(500, Vec::new(), Vec::new())),
        ] {
            let registry = Registry::start();
            spoil(&registry, 2, move |s| s.method == method, fault.clone());
            let push = Push {
                chunk,
                ..Push::default()
            };
            let place = repository(&registry, "team/app");
            client()
                .push_blob(&place, &blob, &memory(&bytes), push, &|_| {})
                .unwrap();
            assert!(
                registry.blob(&blob.digest).unwrap() == bytes,
                "{chunk:?} {method} {fault:?}"
            );
        }
    }
}

#[test]
fn what_another_repository_has_is_mounted() {
    let registry = Registry::start();
    registry.separate_repositories();
    registry.door(Door::Token(Tokens::for_everybody(100)));
    let bytes = noise(10_000, 5);
    let blob = registry.put_blob_into("base/image", &bytes);
    let place = repository(&registry, "team/app");
    let from = repository(&registry, "base/image");
    let mount = Push {
        mount_from: Some(&from),
        ..Push::default()
    };
    let pushed = client()
        .push_blob(&place, &blob, &memory(&bytes), mount, &|_| {})
        .unwrap();
    assert_eq!(pushed, Pushed::Mounted);
    assert!(registry.log().iter().any(|s| {
        s.path
            .contains("scope=repository%3Ateam%2Fapp%3Apull%2Cpush&scope=repository%3Abase%2Fimage%3Apull")
    }));
    // Where that is not possible it is uploaded.
    registry.with_mounts(false);
    let other = repository(&registry, "team/other");
    assert_eq!(
        client()
            .push_blob(&other, &blob, &memory(&bytes), mount, &|_| {})
            .unwrap(),
        Pushed::Uploaded
    );
    let elsewhere = Repository::parse("example.org/base/image").unwrap();
    let mount = Push {
        mount_from: Some(&elsewhere),
        ..Push::default()
    };
    let third = repository(&registry, "team/third");
    assert_eq!(
        client()
            .push_blob(&third, &blob, &memory(&bytes), mount, &|_| {})
            .unwrap(),
        Pushed::Uploaded
    );
}

#[test]
fn a_push_that_fails_is_thrown_away() {
    let registry = Registry::start();
    let bytes = noise(10_000, 6);
    let mut blob = descriptor(media::OCI_LAYER_GZIP, &bytes);
    blob.digest = Digest::of(b"other");
    let place = repository(&registry, "team/app");
    let e = client()
        .push_blob(&place, &blob, &memory(&bytes), Push::default(), &|_| {})
        .unwrap_err();
    assert!(
        e.to_string()
            .contains("digest invalid: provided digest did not match uploaded content"),
        "{e}"
    );
    let chunked = Push {
        chunk: Some(5_000),
        ..Push::default()
    };
    registry.script(|seen| {
        if seen.method == "PATCH" {
            Fault::Answer(400, Vec::new(), Vec::new())
        } else {
            Fault::None
        }
    });
    client()
        .push_blob(&place, &blob, &memory(&bytes), chunked, &|_| {})
        .unwrap_err();
    assert_eq!(registry.open_uploads(), 0);
    // Bytes that are fewer than promised.
    registry.script(|_| Fault::None);
    blob.size += 1;
    let e = client()
        .push_blob(&place, &blob, &memory(&bytes), Push::default(), &|_| {})
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt, "{e}");
}

#[test]
fn a_token_may_expire_between_chunks() {
    let registry = Registry::start();
    registry.door(Door::Token(Tokens::for_everybody(2)));
    let bytes = noise(1_000_000, 7);
    let blob = descriptor(media::OCI_LAYER_GZIP, &bytes);
    let chunked = Push {
        chunk: Some(100_000),
        ..Push::default()
    };
    client()
        .push_blob(
            &repository(&registry, "a"),
            &blob,
            &memory(&bytes),
            chunked,
            &|_| {},
        )
        .unwrap();
    assert!(registry.blob(&blob.digest).unwrap() == bytes);
}

#[test]
fn manifests_go_out_byte_for_byte() {
    let registry = Registry::start();
    let place = repository(&registry, "team/app");
    let bytes = b"{ \"schemaVersion\": 2,\n \"layers\": [] }";
    let digest = client()
        .put_manifest(&place, Which::Tag("v1"), media::OCI_MANIFEST, bytes)
        .unwrap();
    assert_eq!(digest, Digest::of(bytes));
    assert_eq!(
        registry.manifest("team/app", "v1").unwrap(),
        (media::OCI_MANIFEST.to_owned(), bytes.to_vec())
    );
    client()
        .put_manifest(&place, Which::Digest(&digest), media::OCI_MANIFEST, bytes)
        .unwrap();
    assert_eq!(
        client()
            .put_manifest(&place, Which::Digest(&Digest::of(b"")), "x", bytes)
            .unwrap_err()
            .kind(),
        Kind::Corrupt
    );
    let missing = servers::manifest(&descriptor("x", b"nobody has it"), &[]);
    let e = client()
        .put_manifest(&place, Which::Tag("v2"), media::OCI_MANIFEST, &missing)
        .unwrap_err();
    assert_eq!(
        e.to_string(),
        format!("failed to push manifest v2 to {place}: manifest blob unknown: blob unknown to registry")
    );
    registry.door(Door::Basic("me".to_owned(), "secret".to_owned()));
    let e = client()
        .put_manifest(&place, Which::Tag("v1"), media::OCI_MANIFEST, bytes)
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(e.to_string().contains("push access denied for"), "{e}");
}

#[test]
fn referrers_are_listed_with_and_without_the_api() {
    for has_api in [true, false] {
        let registry = Registry::start();
        registry.with_referrers(has_api);
        let place = repository(&registry, "team/app");
        let image = br#"{"schemaVersion":2,"layers":[]}"#;
        let subject = client()
            .put_manifest(&place, Which::Tag("v1"), media::OCI_MANIFEST, image)
            .unwrap();
        registry.put_blob(b"{}");
        let mut signatures = Vec::new();
        for kind in ["a/sig", "a/sbom", "a/sig"] {
            let value = serde_json::json!({
                "schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "artifactType": kind,
                "config": descriptor(media::OCI_EMPTY, b"{}"), "layers": [],
                "subject": descriptor(media::OCI_MANIFEST, image), "annotations": {"n": signatures.len().to_string()},
            });
            let bytes = serde_json::to_vec(&value).unwrap();
            let digest = Digest::of(&bytes);
            client()
                .put_manifest(&place, Which::Digest(&digest), media::OCI_MANIFEST, &bytes)
                .unwrap();
            // Once more changes nothing.
            client()
                .put_manifest(&place, Which::Digest(&digest), media::OCI_MANIFEST, &bytes)
                .unwrap();
            signatures.push(digest);
        }
        let all = client().referrers(&place, &subject, None).unwrap();
        assert_eq!((all.manifests.len(), all.is_fallback), (3, !has_api));
        let some = client().referrers(&place, &subject, Some("a/sig")).unwrap();
        let mut digests: Vec<_> = some.manifests.into_iter().map(|m| m.digest).collect();
        digests.sort();
        let mut expected = vec![signatures[0].clone(), signatures[2].clone()];
        expected.sort();
        assert_eq!(digests, expected);
        assert!(
            client()
                .referrers(&place, &Digest::of(b"lonely"), None)
                .unwrap()
                .manifests
                .is_empty()
        );
    }
}

#[test]
fn lists_have_pages() {
    let registry = Registry::start();
    registry.with_page(2);
    let place = repository(&registry, "team/app");
    for tag in ["v1", "v2", "v3", "v4", "v5"] {
        registry.put_manifest("team/app", tag, media::OCI_MANIFEST, tag.as_bytes());
    }
    for name in ["a", "b"] {
        registry.put_manifest(name, "v1", media::OCI_MANIFEST, b"{}");
    }
    assert_eq!(client().tags(&place).unwrap(), ["v1", "v2", "v3", "v4", "v5"]);
    assert_eq!(
        client().catalog(registry.address()).unwrap(),
        ["a", "b", "team/app"]
    );
    let e = client().tags(&repository(&registry, "nobody")).unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound);
    assert!(
        e.to_string()
            .contains("name unknown: repository name not known to registry"),
        "{e}"
    );
    let link = |to: &str| Fault::Header("link", format!("<{to}>; rel=\"next\""));
    for (to, words) in [
        ("/v2/team/app/tags/list", "in a circle"),
        ("/v2/team/app/tags/list?last=v2", "in a circle"),
        ("http://example.org/", "is not followed"),
        ("http://", "failed to follow a list"),
    ] {
        let fault = link(to);
        registry.script(move |_| fault.clone());
        let e = client().tags(&place).unwrap_err().to_string();
        assert!(e.contains(words), "{e}");
    }
    // A circle of two.
    registry.script(|seen| {
        let next = if seen.path.ends_with("?a") { "b" } else { "a" };
        Fault::Header("link", format!("</v2/team/app/tags/list?{next}>; rel=\"next\""))
    });
    assert!(
        client()
            .tags(&place)
            .unwrap_err()
            .to_string()
            .contains("in a circle")
    );
    registry.script(|_| Fault::Body(b"[1]".to_vec()));
    assert!(
        client()
            .tags(&place)
            .unwrap_err()
            .to_string()
            .contains("malformed list")
    );
}

#[test]
fn logging_in_shows_the_credentials() {
    let registry = Registry::start();
    let domain = registry.address();
    let login = |secret: &str| {
        client_with(Credentials::fixed(Login::Password {
            user: "me".to_owned(),
            secret: secret.to_owned(),
        }))
    };
    registry.door(Door::Basic("me".to_owned(), "secret".to_owned()));
    assert_eq!(login("secret").try_login(domain).unwrap(), None);
    let e = login("wrong").try_login(domain).unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert_eq!(
        e.to_string(),
        format!("failed to log in to {domain}: unauthorized: authentication required")
    );
    registry.door(Door::Token(Tokens {
        login: Some(("me".to_owned(), "secret".to_owned())),
        refresh: Some("keep-me".to_owned()),
        ..Tokens::for_everybody(100)
    }));
    let identity = Login::Identity {
        token: "keep-me".to_owned(),
    };
    assert!(login("secret").try_login(domain).unwrap() == Some(identity.clone()));
    assert!(
        login("wrong")
            .try_login(domain)
            .unwrap_err()
            .to_string()
            .contains("incorrect username or password")
    );
    assert_eq!(
        client_with(Credentials::fixed(identity))
            .try_login(domain)
            .unwrap(),
        None
    );
}

#[test]
fn searches_are_answered() {
    let registry = Registry::start();
    let found = client().search(registry.address(), "a b&c", 2).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].name.as_str(), found[0].star_count, found[0].is_official),
        ("a b&c-0", 3, true)
    );
    registry.script(|seen| {
        if seen.path.starts_with("/v1/") {
            Fault::Answer(404, Vec::new(), Vec::new())
        } else {
            Fault::None
        }
    });
    assert_eq!(
        client().search(registry.address(), "x", 2).unwrap_err().kind(),
        Kind::Unsupported
    );
}

#[test]
fn a_registry_may_have_something_to_say() {
    let registry = Registry::start();
    registry.put_manifest("a", "v1", media::OCI_MANIFEST, b"{}");
    registry.script(|_| Fault::Header("warning", "299 - \"this tag goes away\"".to_owned()));
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notices = heard.clone();
    let notify: Notify = Arc::new(move |notice| {
        if let Notice::Warning { text, .. } = notice {
            notices.lock().unwrap().push(text);
        }
    });
    let client = Client::new(settings(), Credentials::none(), Cancel::new(), notify).unwrap();
    client
        .manifest(&repository(&registry, "a"), Which::Tag("v1"))
        .unwrap();
    assert_eq!(*heard.lock().unwrap(), ["this tag goes away"]);
}
