//! The client against a registry that others wrote.
#![allow(clippy::unwrap_used, clippy::panic)]

mod servers;

use std::io::Read;
use std::sync::Arc;

use image::credentials::Credentials;
use image::oci::media;
use image::reference::Repository;
use image::registry::{Cancel, Client, Notify, Opened, Partial, Settings, Which};
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
