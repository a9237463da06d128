//! The client against a registry that others wrote.
#![allow(clippy::unwrap_used, clippy::panic)]

mod servers;

use std::io::Read;
use std::sync::Arc;

use image::credentials::{Credentials, Login};
use image::oci::media;
use image::reference::Repository;
use image::registry::{
    Bytes, Cancel, Client, Notice, Notify, Opened, Partial, Push, Pushed, Settings, Which,
};
use image::{Digest, Kind};
use servers::{Scratch, Server};

fn quiet() -> Notify {
    Arc::new(|_| {})
}

fn client(settings: Settings) -> Client {
    Client::new(settings, Credentials::none(), Cancel::new(), quiet()).unwrap()
}

fn partial(dir: &Scratch, digest: &Digest, size: u64) -> Partial {
    match Partial::open(dir.path(), digest, size, &Cancel::new(), &quiet()).unwrap() {
        Opened::Ours(partial) => partial,
        Opened::Changed => panic!("somebody else has it"),
    }
}

#[test]
fn an_image_comes_in_whole() {
    if !servers::is_installed() {
        return;
    }
    let server = Server::start(&[]);
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let layer = servers::noise(40 << 20, 1);
    let config_blob = servers::descriptor(media::OCI_CONFIG, config);
    server.put_blob("team/app", config);
    let layer_blob = server.put_blob("team/app", &layer);
    let bytes = servers::manifest(&config_blob, std::slice::from_ref(&layer_blob));
    let digest = server.put_manifest("team/app", "v1", &bytes);

    let repository = Repository::parse(&format!("{}/team/app", server.address)).unwrap();
    let client = client(Settings::bare());
    let resolved = client.resolve(&repository, Which::Tag("v1")).unwrap();
    assert_eq!((&resolved.digest, resolved.size), (&digest, bytes.len() as u64));
    let fetched = client.manifest(&repository, Which::Digest(&digest)).unwrap();
    assert_eq!(
        (fetched.bytes, fetched.media_type.as_str()),
        (bytes, media::OCI_MANIFEST)
    );
    assert_eq!(
        client.blob_bytes(&repository, &config_blob, 1 << 20).unwrap(),
        config
    );

    let scratch = Scratch::new("partial");
    let part = partial(&scratch, &layer_blob.digest, layer_blob.size);
    let mut reader = part.reader();
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    client.download(&repository, &layer_blob, &part, &|_| {}).unwrap();
    assert!(read.join().unwrap().unwrap() == layer);
    let place = scratch.path().join("blob");
    part.finish(&place).unwrap();
    assert!(std::fs::read(&place).unwrap() == layer);

    let e = client.manifest(&repository, Which::Tag("v2")).unwrap_err();
    assert_eq!(e.kind(), Kind::NotFound);
    assert_eq!(
        e.to_string(),
        format!(
            "manifest for {}/team/app:v2 not found: manifest unknown: manifest unknown",
            server.address
        )
    );
}

/// A certificate for `name`, made by openssl(1), signed by a CA of the directory.
fn certificate(dir: &Scratch, file: &str, name: &str, days: &str) {
    let at = |file: &str| dir.path().join(file).to_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        let output = std::process::Command::new("openssl").args(args).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    if !dir.path().join("ca.crt").exists() {
        let (key, crt) = (at("ca.key"), at("ca.crt"));
        run(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=test CA",
            "-keyout",
            &key,
            "-out",
            &crt,
        ]);
    }
    let (key, request, crt) = (
        at(&format!("{file}.key")),
        at("request"),
        at(&format!("{file}.crt")),
    );
    let extensions = at("extensions");
    std::fs::write(&extensions, format!("subjectAltName={name}\n")).unwrap();
    run(&[
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=x",
        "-keyout",
        &key,
        "-out",
        &request,
    ]);
    let (ca, ca_key) = (at("ca.crt"), at("ca.key"));
    run(&[
        "x509",
        "-req",
        "-in",
        &request,
        "-CA",
        &ca,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        days,
        "-extfile",
        &extensions,
        "-out",
        &crt,
    ]);
}

fn with_certs_d(dir: &Scratch) -> Settings {
    let mut settings = Settings::bare();
    settings.files.certs_d = vec![dir.path().join("certs.d")];
    settings.patience.first = std::time::Duration::from_millis(5);
    settings
}

#[test]
fn certificates_are_checked() {
    if !servers::is_installed() {
        return;
    }
    let dir = Scratch::new("tls");
    let config = b"{}";
    let blob = servers::descriptor(media::OCI_CONFIG, config);
    let start = |file: &str, more: &[(&str, &str)]| {
        let (crt, key) = (
            dir.path().join(format!("{file}.crt")),
            dir.path().join(format!("{file}.key")),
        );
        let mut variables = vec![
            ("REGISTRY_HTTP_TLS_CERTIFICATE", crt.to_str().unwrap()),
            ("REGISTRY_HTTP_TLS_KEY", key.to_str().unwrap()),
        ];
        variables.extend(more);
        let server = Server::start(&variables);
        server.put_blob("a", config);
        server
    };
    let ask = |server: &Server, settings: Settings| {
        let repository = Repository::parse(&format!("{}/a", server.address)).unwrap();
        client(settings).blob_bytes(&repository, &blob, 100)
    };
    let trust = |server: &Server| {
        let place = dir.path().join("certs.d").join(&server.address);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::copy(dir.path().join("ca.crt"), place.join("ca.crt")).unwrap();
        place
    };

    certificate(&dir, "good", "IP:127.0.0.1", "10");
    let good = start("good", &[]);
    let e = ask(&good, Settings::bare()).unwrap_err().to_string();
    assert!(e.contains("UnknownIssuer"), "{e}");
    let place = trust(&good);
    assert_eq!(ask(&good, with_certs_d(&dir)).unwrap(), config);

    // Without the CA, but told not to look.
    std::fs::remove_file(place.join("ca.crt")).unwrap();
    let toml = |text: &str| {
        std::fs::write(
            place.join("hosts.toml"),
            format!("[host.\"https://{}\"]\n{text}", good.address),
        )
        .unwrap()
    };
    toml("skip_verify = true");
    assert_eq!(ask(&good, with_certs_d(&dir)).unwrap(), config);
    toml("ca = \"../../ca.crt\"");
    assert_eq!(ask(&good, with_certs_d(&dir)).unwrap(), config);

    certificate(&dir, "expired", "IP:127.0.0.1", "0");
    let expired = start("expired", &[]);
    trust(&expired);
    // It was valid for the second in which it was made.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let e = loop {
        match ask(&expired, with_certs_d(&dir)) {
            Ok(_) => assert!(std::time::Instant::now() < deadline),
            Err(e) => break e.to_string(),
        }
    };
    assert!(e.contains("expired"), "{e}");

    certificate(&dir, "other", "DNS:example.org", "10");
    let other = start("other", &[]);
    trust(&other);
    let e = ask(&other, with_certs_d(&dir)).unwrap_err().to_string();
    assert!(e.contains("not valid for name"), "{e}");

    // One that wants to see a certificate.
    certificate(&dir, "client", "DNS:client", "10");
    let ca = dir.path().join("ca.crt");
    let mutual = start(
        "good",
        &[("REGISTRY_HTTP_TLS_CLIENTCAS", &format!("[{}]", ca.display()))],
    );
    let place = trust(&mutual);
    let e = ask(&mutual, with_certs_d(&dir)).unwrap_err().to_string();
    assert!(e.to_lowercase().contains("certificate"), "{e}");
    std::fs::copy(dir.path().join("client.crt"), place.join("client.cert")).unwrap();
    std::fs::copy(dir.path().join("client.key"), place.join("client.key")).unwrap();
    assert_eq!(ask(&mutual, with_certs_d(&dir)).unwrap(), config);
}

#[test]
fn a_registry_with_passwords_lets_in_who_knows_one() {
    if !servers::is_installed() {
        return;
    }
    let dir = Scratch::new("htpasswd");
    let file = dir.path().join("htpasswd");
    let made = std::process::Command::new("htpasswd")
        .args(["-Bbc", file.to_str().unwrap(), "me", "secret"])
        .output()
        .unwrap();
    assert!(made.status.success());
    let server = Server::start(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "test"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", file.to_str().unwrap()),
    ]);
    let repository = Repository::parse(&format!("{}/team/app", server.address)).unwrap();
    let with = |secret: &str| {
        let login = Login::Password {
            user: "me".to_owned(),
            secret: secret.to_owned(),
        };
        Client::new(
            Settings::bare(),
            Credentials::fixed(login),
            Cancel::new(),
            quiet(),
        )
        .unwrap()
    };
    let good = with("secret");
    good.try_login(&server.address).unwrap();
    assert_eq!(
        with("wrong").try_login(&server.address).unwrap_err().kind(),
        Kind::Denied
    );

    let layer = servers::noise(20 << 20, 7);
    let layer_blob = servers::descriptor(media::OCI_LAYER_GZIP, &layer);
    let config = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}"#;
    let config_blob = servers::descriptor(media::OCI_CONFIG, config);
    let path = dir.path().join("layer");
    std::fs::write(&path, &layer).unwrap();
    let file = Bytes::File(Arc::new(std::fs::File::open(&path).unwrap()));
    let push = |blob, bytes: &Bytes, push| good.push_blob(&repository, blob, bytes, push, &|_| {}).unwrap();
    assert_eq!(push(&layer_blob, &file, Push::default()), Pushed::Uploaded);
    assert_eq!(push(&layer_blob, &file, Push::default()), Pushed::Existed);
    let chunked = Push {
        chunk: Some(30),
        ..Push::default()
    };
    assert_eq!(
        push(&config_blob, &Bytes::Memory(config[..].into()), chunked),
        Pushed::Uploaded
    );
    let manifest = servers::manifest(&config_blob, std::slice::from_ref(&layer_blob));
    let digest = good
        .put_manifest(&repository, Which::Tag("v1"), media::OCI_MANIFEST, &manifest)
        .unwrap();
    assert_eq!(
        good.manifest(&repository, Which::Tag("v1")).unwrap().digest,
        digest
    );
    assert_eq!(good.tags(&repository).unwrap(), ["v1"]);
    assert_eq!(good.catalog(&server.address).unwrap(), ["team/app"]);
    assert!(good.has_blob(&repository, &layer_blob.digest).unwrap());
    assert!(!good.has_blob(&repository, &Digest::of(b"no")).unwrap());
    assert!(good.referrers(&repository, &digest, None).unwrap().is_fallback);
    let other = Repository::parse(&format!("{}/team/other", server.address)).unwrap();
    let mount = Push {
        mount_from: Some(&repository),
        ..Push::default()
    };
    assert_eq!(
        good.push_blob(&other, &layer_blob, &file, mount, &|_| {})
            .unwrap(),
        Pushed::Mounted
    );

    let e = client(Settings::bare())
        .manifest(&repository, Which::Tag("v1"))
        .unwrap_err();
    assert_eq!(e.kind(), Kind::Denied);
    assert!(e.to_string().starts_with("pull access denied for "), "{e}");
}

#[test]
fn mirrors_are_asked_in_their_order() {
    if !servers::is_installed() {
        return;
    }
    let (origin, mirror) = (Server::start(&[]), Server::start(&[]));
    let (both, own) = (servers::noise(1000, 1), servers::noise(1000, 2));
    let both_blob = mirror.put_blob("a", &both);
    let own_blob = origin.put_blob("a", &own);
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let dir = Scratch::new("mirrors");
    let place = dir.path().join("certs.d").join(&origin.address);
    std::fs::create_dir_all(&place).unwrap();
    let toml = format!(
        "server = \"http://{}\"\n[host.\"http://{dead}\"]\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        origin.address, mirror.address
    );
    std::fs::write(place.join("hosts.toml"), toml).unwrap();
    let mut settings = with_certs_d(&dir);
    settings.patience.attempts = 2;
    let failed = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notices = failed.clone();
    let notify: Notify = Arc::new(move |notice| {
        if let Notice::MirrorFailed { host, .. } = notice {
            notices.lock().unwrap().push(host);
        }
    });
    let client = Client::new(settings, Credentials::none(), Cancel::new(), notify).unwrap();
    let repository = Repository::parse(&format!("{}/a", origin.address)).unwrap();
    assert_eq!(client.blob_bytes(&repository, &both_blob, 1000).unwrap(), both);
    assert_eq!(client.blob_bytes(&repository, &own_blob, 1000).unwrap(), own);
    let part = partial(&dir, &own_blob.digest, own_blob.size);
    client.download(&repository, &own_blob, &part, &|_| {}).unwrap();
    let nobody = servers::descriptor("x", b"nobody");
    assert_eq!(
        client.blob_bytes(&repository, &nobody, 1000).unwrap_err().kind(),
        Kind::NotFound
    );
    // The dead one was asked once, the live one whenever there was something to get.
    let failed = failed.lock().unwrap();
    assert_eq!(failed.iter().filter(|h| **h == dead.to_string()).count(), 1);
    assert_eq!(failed.iter().filter(|h| **h == mirror.address).count(), 3);
}
