//! The client against a registry that misbehaves: the right result, or one clear error; and only what is missing is transferred.
#![allow(clippy::unwrap_used, clippy::panic)]

mod faults;
mod servers;

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faults::{Door, Fault, Registry, Tokens};
use image::credentials::{Credentials, Login};
use image::oci::{Descriptor, media};
use image::reference::Repository;
use image::registry::{Cancel, Client, Notice, Notify, Opened, Partial, Settings, Which};
use image::{Digest, Error, Kind};
use servers::{Scratch, noise};

/// Impatient: tests wait for what the client does, not for its manners.
fn settings() -> Settings {
    let mut settings = Settings::bare();
    settings.patience.first = Duration::from_millis(5);
    settings.patience.most = Duration::from_millis(50);
    settings.limits.idle = Duration::from_millis(1500);
    settings.limits.response = Duration::from_millis(2000);
    settings
}

fn quiet() -> Notify {
    Arc::new(|_| {})
}

fn client_of(settings: Settings) -> Client {
    Client::new(settings, Credentials::none(), Cancel::new(), quiet()).unwrap()
}

fn client() -> Client {
    client_of(settings())
}

fn login() -> Credentials {
    Credentials::fixed(Login::Password {
        user: "me".to_owned(),
        secret: "secret".to_owned(),
    })
}

fn repository(registry: &Registry) -> Repository {
    Repository::parse(&format!("{}/team/app", registry.address())).unwrap()
}

fn open(dir: &Scratch, blob: &Descriptor) -> Partial {
    match Partial::open(dir.path(), &blob.digest, blob.size, &Cancel::new(), &quiet()).unwrap() {
        Opened::Ours(partial) => partial,
        Opened::Changed => panic!("somebody else has it"),
    }
}

/// What comes out at the reader's end.
fn get(client: &Client, registry: &Registry, blob: &Descriptor, dir: &Scratch) -> Result<Vec<u8>, Error> {
    let partial = open(dir, blob);
    let mut reader = partial.reader();
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes).map_err(Error::from)
    });
    let outcome = client.download(&repository(registry), blob, &partial, &|_| {});
    let read = read.join().unwrap();
    match outcome {
        Ok(()) => read,
        Err(e) => {
            // The reader ends with the same failure.
            assert_eq!(read.unwrap_err().to_string(), e.to_string());
            Err(e)
        }
    }
}

/// The same fault for the first `times` requests for blobs.
fn spoil(registry: &Registry, times: usize, fault: Fault) {
    let count = AtomicUsize::new(0);
    registry.script(move |seen| {
        if seen.is_blob() && count.fetch_add(1, Ordering::SeqCst) < times {
            fault.clone()
        } else {
            Fault::None
        }
    });
}

#[test]
fn a_blob_that_breaks_off_goes_on_where_it_did() {
    let bytes = noise(5_000_000, 1);
    for fault in [Fault::DropAfter(1_500_001), Fault::StallAfter(1_500_001)] {
        let registry = Registry::start();
        let blob = registry.put_blob(&bytes);
        let dir = Scratch::new("broken");
        spoil(&registry, 2, fault.clone());
        assert!(
            get(&client(), &registry, &blob, &dir).unwrap() == bytes,
            "{fault:?}"
        );
        let log: Vec<_> = registry.log().into_iter().filter(|s| s.is_blob()).collect();
        let ranges: Vec<_> = log
            .iter()
            .map(|s| s.header("range").unwrap_or_default())
            .collect();
        assert_eq!(
            ranges,
            ["", "bytes=1500001-4999999", "bytes=3000002-4999999"],
            "{fault:?}"
        );
        assert_eq!(registry.sent(), bytes.len(), "{fault:?}");
    }
}

#[test]
fn the_next_process_goes_on_where_the_last_one_stopped() {
    let bytes = noise(5_000_000, 2);
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    let dir = Scratch::new("resumed");
    let mut hasty = settings();
    hasty.patience.attempts = 1;
    spoil(&registry, 1, Fault::DropAfter(3_333_333));
    let e = get(&client_of(hasty), &registry, &blob, &dir).unwrap_err();
    assert_eq!(e.kind(), Kind::Unavailable);
    assert!(e.to_string().contains("the connection was closed"), "{e}");

    let partial = open(&dir, &blob);
    assert_eq!(partial.have(), 3_333_333);
    drop(partial);
    assert!(get(&client(), &registry, &blob, &dir).unwrap() == bytes);
    assert_eq!(registry.sent(), bytes.len());
}

#[test]
fn bytes_that_the_disk_has_changed_are_fetched_again() {
    let bytes = noise(5_000_000, 3);
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    let dir = Scratch::new("changed");
    get(&client(), &registry, &blob, &dir).unwrap();
    let path = dir.path().join(blob.digest.hex());
    let mut there = std::fs::read(&path).unwrap();
    there[2_500_000] ^= 1;
    std::fs::write(&path, there).unwrap();
    registry.forget_log();
    assert!(get(&client(), &registry, &blob, &dir).unwrap() == bytes);
    // The piece around it, of one mebibyte.
    assert_eq!(registry.sent(), 1 << 20);
    // A journal that is none means that nothing is there.
    std::fs::write(dir.path().join(format!("{}.state", blob.digest.hex())), b"x").unwrap();
    assert_eq!(open(&dir, &blob).have(), 0);
}

#[test]
fn what_passes_is_tried_again() {
    let bytes = noise(100_000, 4);
    let retry = |status| Fault::Answer(status, vec![("retry-after", "0".to_owned())], Vec::new());
    for fault in [
        retry(429),
        retry(503),
        Fault::Answer(500, Vec::new(), Vec::new()),
        Fault::Close,
        Fault::DropAfter(0),
    ] {
        let registry = Registry::start();
        let blob = registry.put_blob(&bytes);
        spoil(&registry, 4, fault.clone());
        assert!(
            get(&client(), &registry, &blob, &Scratch::new("passing")).unwrap() == bytes,
            "{fault:?}"
        );
        spoil(&registry, 5, fault.clone());
        let e = get(&client(), &registry, &blob, &Scratch::new("passing"))
            .map(drop)
            .unwrap_err();
        assert_eq!(e.kind(), Kind::Unavailable, "{fault:?}");
    }
}

#[test]
fn what_does_not_pass_is_asked_once() {
    let registry = Registry::start();
    let blob = registry.put_blob(b"abc");
    for (status, kind) in [
        (400, Kind::Other),
        (403, Kind::Denied),
        (404, Kind::NotFound),
        (501, Kind::Unavailable),
    ] {
        registry.forget_log();
        spoil(&registry, 9, Fault::Answer(status, Vec::new(), Vec::new()));
        let e = get(&client(), &registry, &blob, &Scratch::new("final"))
            .map(drop)
            .unwrap_err();
        assert_eq!(e.kind(), kind, "{e}");
        assert_eq!(
            registry.log().iter().filter(|s| s.is_blob()).count(),
            1,
            "{status}"
        );
    }
}

#[test]
fn the_registry_says_when_to_come_back() {
    let registry = Registry::start();
    let blob = registry.put_blob(b"abc");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notices = heard.clone();
    let notify: Notify = Arc::new(move |notice| {
        if let Notice::Retrying { wait, reason, .. } = notice {
            notices.lock().unwrap().push((wait, reason));
        }
    });
    let mut patient = settings();
    patient.patience.most = Duration::from_millis(300);
    let client = Client::new(patient, Credentials::none(), Cancel::new(), notify).unwrap();
    let body =
        br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
    spoil(
        &registry,
        1,
        Fault::Answer(429, vec![("retry-after", "3600".to_owned())], body.to_vec()),
    );
    let began = Instant::now();
    get(&client, &registry, &blob, &Scratch::new("retry-after")).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].0, Duration::from_millis(300));
    assert!(
        heard[0]
            .1
            .contains("toomanyrequests: You have reached your pull rate limit."),
        "{}",
        heard[0].1
    );
}

#[test]
fn a_source_without_ranges_still_serves() {
    let bytes = noise(3_000_000, 5);
    for fault in [
        Fault::IgnoreRange,
        Fault::Header("content-range", "bytes 0-2999999/3000000".to_owned()),
        Fault::Header("content-range", "nonsense".to_owned()),
        // As many bytes as were asked for, from another place.
        Fault::Answer(
            206,
            vec![("content-range", "bytes 0-1999999/3000000".to_owned())],
            bytes[..2_000_000].to_vec(),
        ),
        Fault::Answer(416, Vec::new(), Vec::new()),
    ] {
        let registry = Registry::start();
        let blob = registry.put_blob(&bytes);
        let count = AtomicUsize::new(0);
        let spoilt = fault.clone();
        registry.script(
            move |seen| match seen.is_blob().then(|| count.fetch_add(1, Ordering::SeqCst)) {
                Some(0) => Fault::DropAfter(1_000_000),
                Some(_) if seen.header("range").is_some() => spoilt.clone(),
                _ => Fault::None,
            },
        );
        assert!(
            get(&client(), &registry, &blob, &Scratch::new("ranges")).unwrap() == bytes,
            "{fault:?}"
        );
    }
}

#[test]
fn a_body_of_the_wrong_length_is_told() {
    let bytes = noise(300_000, 6);
    for (fault, words) in [
        (Fault::Endless, "sends more than the 300000 bytes"),
        (
            Fault::Body(vec![1; 300_001]),
            "has 300001 bytes where 300000 were expected",
        ),
        (Fault::Body(vec![1; 5]), "has 5 bytes where 300000 were expected"),
    ] {
        let registry = Registry::start();
        let blob = registry.put_blob(&bytes);
        spoil(&registry, 9, fault.clone());
        let e = get(&client(), &registry, &blob, &Scratch::new("length")).unwrap_err();
        assert_eq!(e.kind(), Kind::Corrupt, "{fault:?}: {e}");
        assert!(e.to_string().contains(words), "{e}");
        assert!(e.to_string().contains(&blob.digest.to_string()), "{e}");
    }
    // Without a length its end is the connection's, so a short one looks whole to HTTP.
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    spoil(&registry, 1, Fault::Without("content-length"));
    assert!(get(&client(), &registry, &blob, &Scratch::new("length")).unwrap() == bytes);
}

#[test]
fn a_size_is_only_somebodys_word() {
    // What a manifest says of a size costs nothing before bytes come.
    let bytes = noise(100_000, 5);
    let registry = Registry::start();
    for size in [u64::MAX, i64::MAX as u64 + 1, 1 << 60] {
        let mut blob = registry.put_blob(&bytes);
        blob.size = size;
        let dir = Scratch::new("boasting");
        let e = get(&client(), &registry, &blob, &dir).unwrap_err();
        assert!(
            e.to_string().contains(&format!("where {size} were expected")),
            "{e}"
        );
        let files: u64 = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|f| f.unwrap().metadata().unwrap().len())
            .sum();
        assert!(files < 1000, "{size}: {files} bytes");
    }
}

#[test]
fn several_connections_share_a_large_blob() {
    let bytes = noise(30_000_000, 7);
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    let mut settings = settings();
    settings.transfer.parallel_above = 10 << 20;
    settings.transfer.first = 2 << 20;
    settings.transfer.span = 3 << 20;
    settings.transfer.fast = u64::MAX;
    let count = AtomicUsize::new(0);
    registry.script(move |seen| {
        let is_unlucky = seen.is_blob() && count.fetch_add(1, Ordering::SeqCst) % 3 == 2;
        if is_unlucky {
            Fault::DropAfter(1_000_003)
        } else {
            Fault::None
        }
    });
    let dir = Scratch::new("parallel");
    assert!(get(&client_of(settings.clone()), &registry, &blob, &dir).unwrap() == bytes);
    assert_eq!(registry.sent(), bytes.len());
    let log = registry.log();
    assert!(
        log.iter()
            .filter(|s| s.is_blob())
            .all(|s| s.header("range").is_some())
    );
    assert!(log.iter().filter(|s| s.is_blob()).count() > 10);

    // A fast one is left alone after the first look.
    settings.transfer.fast = 1;
    registry.forget_log();
    registry.script(|_| Fault::None);
    assert!(
        get(
            &client_of(settings.clone()),
            &registry,
            &blob,
            &Scratch::new("fast")
        )
        .unwrap()
            == bytes
    );
    assert_eq!(registry.log().iter().filter(|s| s.is_blob()).count(), 2);

    // One that knows no ranges is asked once.
    settings.transfer.fast = u64::MAX;
    registry.forget_log();
    registry.script(|_| Fault::IgnoreRange);
    assert!(get(&client_of(settings), &registry, &blob, &Scratch::new("no-ranges")).unwrap() == bytes);
    assert!(registry.sent() < bytes.len() + (4 << 20), "{}", registry.sent());
}

#[test]
fn a_token_that_expires_is_replaced() {
    let bytes = noise(2_000_000, 8);
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    let config = registry.put_blob(b"{}");
    registry.door(Door::Token(Tokens::for_everybody(2)));
    let client = client();
    for _ in 0..3 {
        assert_eq!(
            client.blob_bytes(&repository(&registry), &config, 100).unwrap(),
            b"{}"
        );
        assert!(get(&client, &registry, &blob, &Scratch::new("expired")).unwrap() == bytes);
    }
    // In the middle of a blob.
    spoil(&registry, 3, Fault::DropAfter(400_000));
    assert!(get(&client, &registry, &blob, &Scratch::new("expired")).unwrap() == bytes);
    let tokens = registry
        .log()
        .iter()
        .filter(|s| s.path.starts_with("/token"))
        .count();
    assert!((4..=8).contains(&tokens), "{tokens}");
    let scope = registry
        .log()
        .iter()
        .find(|s| s.path.starts_with("/token"))
        .unwrap()
        .path
        .clone();
    assert_eq!(
        scope,
        "/token?service=faults&scope=repository%3Ateam%2Fapp%3Apull"
    );
}

#[test]
fn tokens_are_given_for_credentials() {
    let registry = Registry::start();
    let blob = registry.put_blob(b"abc");
    let place = repository(&registry);
    let tokens = Tokens {
        login: Some(("me".to_owned(), "secret".to_owned())),
        refresh: Some("refresh-me".to_owned()),
        ..Tokens::for_everybody(100)
    };
    registry.door(Door::Token(tokens.clone()));
    let with = |credentials| Client::new(settings(), credentials, Cancel::new(), quiet()).unwrap();
    assert_eq!(with(login()).blob_bytes(&place, &blob, 9).unwrap(), b"abc");
    let identity = Credentials::fixed(Login::Identity {
        token: "refresh-me".to_owned(),
    });
    assert_eq!(
        with(identity.clone()).blob_bytes(&place, &blob, 9).unwrap(),
        b"abc"
    );
    let post = registry.log().into_iter().find(|s| s.method == "POST").unwrap();
    let form = String::from_utf8(post.body).unwrap();
    assert!(
        form.contains("grant_type=refresh_token") && form.contains("scope=repository%3Ateam%2Fapp%3Apull"),
        "{form}"
    );

    let e = with(Credentials::none())
        .blob_bytes(&place, &blob, 9)
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(e.to_string().contains("incorrect username or password"), "{e}");
    // A server without OAuth2 gets the token the old way, which this one does not take.
    registry.door(Door::Token(Tokens {
        has_post: false,
        ..tokens
    }));
    registry.forget_log();
    assert_eq!(
        with(identity).blob_bytes(&place, &blob, 9).unwrap_err().kind(),
        Kind::Denied
    );
    let asked: Vec<_> = registry
        .log()
        .into_iter()
        .filter(|s| s.path.starts_with("/token"))
        .map(|s| s.method)
        .collect();
    assert_eq!(asked, ["POST", "GET"]);
}

#[test]
fn secrets_stay_with_their_registry() {
    let bytes = noise(500_000, 9);
    let registry = Registry::start();
    let elsewhere = Registry::start();
    let blob = registry.put_blob(&bytes);
    elsewhere.put_blob(&bytes);
    registry.door(Door::Basic("me".to_owned(), "secret".to_owned()));
    let target = format!("http://{}/v2/cdn/blobs/{}", elsewhere.address(), blob.digest);
    let location = target.clone();
    registry.script(move |seen| {
        let may = seen.header("authorization").is_some();
        if seen.is_blob() && may {
            Fault::Answer(307, vec![("location", location.clone())], Vec::new())
        } else {
            Fault::None
        }
    });
    let client = Client::new(settings(), login(), Cancel::new(), quiet()).unwrap();
    assert!(get(&client, &registry, &blob, &Scratch::new("redirect")).unwrap() == bytes);
    assert_eq!(elsewhere.sent(), bytes.len());
    assert!(registry.log().iter().any(|s| s.header("authorization").is_some()));
    assert!(
        elsewhere
            .log()
            .iter()
            .all(|s| s.header("authorization").is_none())
    );

    // Also if the other host asks for them.
    elsewhere.door(Door::Basic("me".to_owned(), "secret".to_owned()));
    let e = get(&client, &registry, &blob, &Scratch::new("redirect")).unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(
        elsewhere
            .log()
            .iter()
            .all(|s| s.header("authorization").is_none())
    );

    // And if a descriptor names it (CVE-2020-15157).
    registry.script(|seen| {
        if seen.is_blob() {
            Fault::Answer(404, Vec::new(), Vec::new())
        } else {
            Fault::None
        }
    });
    let mut foreign = blob.clone();
    foreign.urls = vec![target];
    get(&client, &registry, &foreign, &Scratch::new("foreign")).unwrap_err();
    assert!(
        elsewhere
            .log()
            .iter()
            .all(|s| s.header("authorization").is_none())
    );
    elsewhere.door(Door::Open);
    assert!(get(&client, &registry, &foreign, &Scratch::new("foreign")).unwrap() == bytes);
}

#[test]
fn a_registry_that_sends_round_in_circles_is_left() {
    let registry = Registry::start();
    let blob = registry.put_blob(b"abc");
    registry.script(|seen| {
        if seen.is_blob() {
            Fault::Answer(307, vec![("location", seen.path.clone())], Vec::new())
        } else {
            Fault::None
        }
    });
    let e = client().blob_bytes(&repository(&registry), &blob, 9).unwrap_err();
    assert!(e.to_string().contains("redirects more than 10 times"), "{e}");
    registry.script(|seen| {
        if seen.is_blob() {
            Fault::Answer(302, Vec::new(), Vec::new())
        } else {
            Fault::None
        }
    });
    let e = client().blob_bytes(&repository(&registry), &blob, 9).unwrap_err();
    assert!(e.to_string().contains("redirects to nowhere"), "{e}");
}

#[test]
fn wrong_digests_are_found() {
    let registry = Registry::start();
    let place = repository(&registry);
    let blob = registry.put_blob(b"abc");
    spoil(&registry, 1, Fault::Body(b"abd".to_vec()));
    let e = client().blob_bytes(&place, &blob, 9).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt);
    assert!(
        e.to_string().contains(&format!(
            "{} where {} was asked for",
            Digest::of(b"abd"),
            blob.digest
        )),
        "{e}"
    );

    let manifest = br#"{"schemaVersion":2,"layers":[]}"#;
    let digest = registry.put_manifest("team/app", "v1", media::OCI_MANIFEST, manifest);
    let lie = Digest::of(b"lie");
    let spoilt = lie.to_string();
    registry.script(move |_| Fault::Header("docker-content-digest", spoilt.clone()));
    let e = client().manifest(&place, Which::Tag("v1")).unwrap_err();
    assert_eq!(
        (e.kind(), e.to_string()),
        (
            Kind::Corrupt,
            format!("registry says that its answer is {lie}, but it is {digest}")
        )
    );
    let e = client().resolve(&place, Which::Digest(&digest)).unwrap_err();
    assert_eq!(e.kind(), Kind::Corrupt);
    registry.script(|_| Fault::Body(br#"{"schemaVersion":2,"layers":null}"#.to_vec()));
    assert_eq!(
        client()
            .manifest(&place, Which::Digest(&digest))
            .unwrap_err()
            .kind(),
        Kind::Corrupt
    );
    // Old registries do not say one.
    registry.script(|_| Fault::Without("docker-content-digest"));
    assert_eq!(
        client().manifest(&place, Which::Tag("v1")).unwrap().digest,
        digest
    );
    assert_eq!(client().resolve(&place, Which::Tag("v1")).unwrap().digest, digest);
}

#[test]
fn answers_without_measure_are_cut() {
    let registry = Registry::start();
    let place = repository(&registry);
    registry.put_manifest("team/app", "v1", media::OCI_MANIFEST, b"{}");
    for (fault, words) in [
        (
            Fault::Body(vec![b' '; (8 << 20) + 1]),
            "manifest is larger than 8388608 bytes",
        ),
        (Fault::Endless, "manifest is larger than 8388608 bytes"),
        (Fault::HugeHeaders(200_000), "more than 65536 bytes of headers"),
    ] {
        registry.script(move |seen| {
            if seen.is_manifest() {
                fault.clone()
            } else {
                Fault::None
            }
        });
        let e = client()
            .manifest(&place, Which::Tag("v1"))
            .unwrap_err()
            .to_string();
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn silence_and_dripping_end() {
    let registry = Registry::start();
    let place = repository(&registry);
    registry.put_manifest("team/app", "v1", media::OCI_MANIFEST, b"{}");
    let mut hasty = settings();
    hasty.patience.attempts = 2;
    for fault in [Fault::Stall, Fault::SlowHeaders, Fault::StallAfter(1)] {
        let spoilt = fault.clone();
        registry.script(move |seen| {
            if seen.is_manifest() {
                spoilt.clone()
            } else {
                Fault::None
            }
        });
        let began = Instant::now();
        let e = client_of(hasty.clone())
            .manifest(&place, Which::Tag("v1"))
            .unwrap_err();
        assert_eq!(e.kind(), Kind::Unavailable, "{fault:?}: {e}");
        assert!(e.to_string().contains("timed out"), "{fault:?}: {e}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn calling_off_ends_what_waits() {
    let registry = Registry::start();
    let blob = registry.put_blob(&noise(1_000_000, 10));
    spoil(&registry, 9, Fault::StallAfter(500_000));
    let mut patient = settings();
    patient.limits.idle = Duration::from_secs(600);
    let cancel = Cancel::new();
    let client = Client::new(patient, Credentials::none(), cancel.clone(), quiet()).unwrap();
    let dir = Scratch::new("cancelled");
    let partial = open(&dir, &blob);
    let began = Instant::now();
    let e = client
        .download(&repository(&registry), &blob, &partial, &|have| {
            if have == 500_000 {
                let cancel = cancel.clone();
                std::thread::spawn(move || cancel.call());
            }
        })
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Cancelled, "{e}");
    assert!(began.elapsed() < Duration::from_secs(60));
    drop(partial);
    assert_eq!(open(&dir, &blob).have(), 500_000);
    assert_eq!(
        client
            .manifest(&repository(&registry), Which::Tag("x"))
            .unwrap_err()
            .kind(),
        Kind::Cancelled
    );
}

#[test]
fn two_processes_fetch_a_blob_once() {
    let bytes = noise(100_000, 11);
    let registry = Registry::start();
    let blob = registry.put_blob(&bytes);
    let dir = Scratch::new("two");
    let place = dir.path().join("blob");
    let first = open(&dir, &blob);
    let (told, hears) = std::sync::mpsc::channel();
    let second = {
        let (directory, blob) = (dir.path().to_owned(), blob.clone());
        let told = Mutex::new(told);
        let notify: Notify = Arc::new(move |notice| {
            if let Notice::Waiting { digest } = notice {
                told.lock().unwrap().send(digest).unwrap();
            }
        });
        std::thread::spawn(move || {
            Partial::open(&directory, &blob.digest, blob.size, &Cancel::new(), &notify).unwrap()
        })
    };
    assert_eq!(hears.recv_timeout(Duration::from_secs(20)).unwrap(), blob.digest);
    client()
        .download(&repository(&registry), &blob, &first, &|_| {})
        .unwrap();
    first.finish(&place).unwrap();
    assert!(matches!(second.join().unwrap(), Opened::Changed));
    assert!(std::fs::read(&place).unwrap() == bytes);
    // Nothing is left behind.
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["blob"]);
}

#[test]
fn a_mirror_that_lies_is_not_asked_again() {
    let bytes = noise(100_000, 12);
    let (origin, mirror) = (Registry::start(), Registry::start());
    let blob = origin.put_blob(&bytes);
    mirror.put_blob(&bytes);
    mirror.script(|_| Fault::Body(vec![0; 100_000]));
    let dir = Scratch::new("lies");
    let place = dir.path().join(origin.address());
    std::fs::create_dir_all(&place).unwrap();
    let toml = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n",
        origin.address(),
        mirror.address()
    );
    std::fs::write(place.join("hosts.toml"), toml).unwrap();
    let mut settings = settings();
    settings.files.certs_d = vec![dir.path().to_owned()];
    let client = client_of(settings.clone());
    // Small blobs are checked here, and the next server is asked.
    assert_eq!(
        client.blob_bytes(&repository(&origin), &blob, 100_000).unwrap(),
        bytes
    );
    assert!(get(&client, &origin, &blob, &dir).unwrap() == bytes);
    assert_eq!(mirror.log().len(), 1);
    // Large ones are checked by whoever reads them, and that one says so.
    let client = client_of(settings);
    let large = Scratch::new("lies-large");
    assert!(get(&client, &origin, &blob, &large).unwrap() != bytes);
    open(&large, &blob).discard().unwrap();
    client.distrust_mirrors(&repository(&origin)).unwrap();
    assert!(get(&client, &origin, &blob, &large).unwrap() == bytes);
    assert_eq!(mirror.log().len(), 2);
}

#[test]
fn nobody_there_is_said_plainly() {
    let address = {
        let registry = Registry::start();
        registry.address().to_owned()
    };
    let place = Repository::parse(&format!("{address}/a")).unwrap();
    let e = client().manifest(&place, Which::Tag("v1")).unwrap_err();
    assert_eq!(e.kind(), Kind::Unavailable);
    assert_eq!(
        e.to_string(),
        format!("failed to reach {address}: connection refused")
    );
}

#[test]
fn file_of_the_web_comes_whole_or_not_at_all() {
    let registry = Registry::start();
    let bytes = noise(700_000, 7);
    let blob = registry.put_blob(&bytes);
    let address = format!("http://{}/v2/team/app/blobs/{}", registry.address(), blob.digest);
    let fetch = |address: &str| {
        let mut file = client_of(settings()).web_file(address)?;
        let mut read = Vec::new();
        file.read_to_end(&mut read)
            .map(|_| (read, file.address()))
            .map_err(Error::from)
    };
    assert!(fetch(&address).unwrap().0 == bytes);
    // A name and a password in it are not sent, and not kept.
    let with_password = address.replace("://", "://me:secret@");
    assert_eq!(fetch(&with_password).unwrap(), (bytes.clone(), address.clone()));
    assert!(
        registry
            .log()
            .iter()
            .all(|seen| seen.header("authorization").is_none())
    );

    // What passes is tried again, a redirect is followed.
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, target) = (asked.clone(), address.clone());
    registry.script(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => Fault::Answer(503, vec![], b"busy".to_vec()),
        1 => Fault::Answer(302, vec![("location", target.clone())], vec![]),
        _ => Fault::None,
    });
    assert!(fetch(&address).unwrap().0 == bytes);
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    for (fault, kind) in [
        (Fault::DropAfter(300_000), Kind::Unavailable),
        (Fault::StallAfter(300_000), Kind::Unavailable),
        (Fault::Answer(404, vec![], vec![]), Kind::NotFound),
        (Fault::Answer(403, vec![], vec![]), Kind::Denied),
        (Fault::Answer(204, vec![], vec![]), Kind::Unavailable),
        (Fault::HugeHeaders(1 << 20), Kind::Other),
    ] {
        let told = format!("{fault:?}");
        registry.script(move |_| fault.clone());
        let e = fetch(&address).unwrap_err();
        assert_eq!(e.kind(), kind, "{told}: {e}");
    }
    for address in ["ftp://h/x", "http://", "web"] {
        assert_eq!(fetch(address).unwrap_err().kind(), Kind::Invalid, "{address}");
    }
}
