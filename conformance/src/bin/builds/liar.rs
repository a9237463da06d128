//! A registry on loopback that does what no registry should. What it does is in the name of the repository.
//!
//! May not: send without end: whoever reads all of it is told apart by the time that it takes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// What it does: sends without end, nonsense, arrays in arrays, the same address again, less than it says, more than there is, a document
/// whose parts are others.
pub const WAYS: [&str; 7] = ["endless", "nonsense", "deep", "circle", "cut", "huge", "other"];

/// So much at most.
const ENDLESS: usize = 1 << 30;
const TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Its address. It lives as long as the program.
pub fn start() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("the liar: {e}"))?;
    let address = listener.local_addr().map_err(|e| format!("the liar: {e}"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever went away in the middle is right.
            std::thread::spawn(move || drop(answer(stream)));
        }
    });
    Ok(address.to_string())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut rest) = (String::new(), String::new());
    reader.read_line(&mut first)?;
    while reader.read_line(&mut rest)? > 2 {}
    let mut words = first.split(' ');
    let has_body = words.next() != Some("HEAD");
    let path = words.next().unwrap_or_default();
    let way = path.split('/').nth(2).unwrap_or_default();
    let mut say = |status: &str, headers: &str, body: &[u8]| -> std::io::Result<()> {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {TYPE}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes())?;
        if has_body { stream.write_all(body) } else { Ok(()) }
    };
    let sized = |n: usize| format!("Content-Length: {n}\r\n");
    match way {
        "" => say("200 OK", &sized(2), b"{}"),
        "nonsense" => say("200 OK", &sized(4), b"{\"\xff}"),
        "deep" => say("200 OK", &sized(1 << 20), &[b'['; 1 << 20]),
        "circle" => say(
            "307 Temporary Redirect",
            &format!("Location: {path}\r\n{}", sized(0)),
            b"",
        ),
        "cut" => say("200 OK", &sized(1000), b"{\"schemaVersion\":2,"),
        "huge" => say("200 OK", "Content-Length: 1000000000000000000\r\n", b"{"),
        "other" if path.contains("/manifests/") => {
            let part = |kind: &str, size: u32| {
                let digest = "7".repeat(64);
                format!(
                    "{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"sha256:{digest}\",\"size\":{size}}}"
                )
            };
            let text = format!(
                "{{\"schemaVersion\":2,\"mediaType\":\"{TYPE}\",\"config\":{},\"layers\":[{}]}}",
                part("config.v1+json", 2),
                part("layer.v1.tar+gzip", 100)
            );
            say("200 OK", &sized(text.len()), text.as_bytes())
        }
        "other" => say("200 OK", &sized(2), b"{}"),
        _ => {
            say("200 OK", "", b"{")?;
            let much = [b' '; 1 << 16];
            let mut sent = 0;
            while has_body && sent < ENDLESS {
                stream.write_all(&much)?;
                sent += much.len();
            }
            Ok(())
        }
    }
}
