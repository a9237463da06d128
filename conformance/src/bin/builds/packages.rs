//! A way from the played host to the package servers of the machine: a proxy at the second host, for plain HTTP.
//!
//! May not: lead anywhere but to the mirror that the machine's own package manager uses. The first life connects, because only it is on
//! the machine's network; the second life listens; a socket in the file system is between them, which no network namespace divides.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use conformance::mirror;

use crate::outside::{Outside, SECOND};

const SOCKET: &str = "packages.sock";
const PORT: u16 = 3142;

/// What `http_proxy` says.
pub fn proxy() -> String {
    format!("http://{SECOND}:{PORT}")
}

/// The half on the machine's network. Ends with this program.
pub fn lead_out(dir: &Path) -> Result<(), String> {
    let path = dir.join(SOCKET);
    let listener = UnixListener::bind(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let server = server();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = server.clone();
            std::thread::spawn(move || {
                // A mirror that cannot be reached is a connection that ends; apt says the rest.
                if let Ok(stream) = TcpStream::connect(&server) {
                    let halves = (client.try_clone(), stream.try_clone());
                    if let (Ok(from_client), Ok(from_server)) = halves {
                        std::thread::spawn(move || carry(from_server, client));
                        carry(from_client, stream);
                    }
                }
            });
        }
    });
    Ok(())
}

/// The half in the played world.
pub fn listen(dir: &Path, outside: &Outside) -> Result<(), String> {
    let path = dir.join(SOCKET);
    let address = format!("{SECOND}:{PORT}");
    let listener = outside.there(|| TcpListener::bind(&address).map_err(|e| format!("{address}: {e}")))?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(out) = UnixStream::connect(&path) else {
                continue;
            };
            if let (Ok(from_client), Ok(from_out)) = (client.try_clone(), out.try_clone()) {
                std::thread::spawn(move || carry(from_out, client));
                std::thread::spawn(move || carry(from_client, out));
            }
        }
    });
    Ok(())
}

/// Asks the mirror for its smallest file through the proxy, as apt would.
pub fn answers() -> Result<(), String> {
    let told = |e: std::io::Error| e.to_string();
    let mirror = mirror::debian();
    let mirror = mirror.trim_end_matches('/');
    let mut stream = TcpStream::connect(format!("{SECOND}:{PORT}")).map_err(told)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .map_err(told)?;
    let host = mirror.split('/').nth(2).unwrap_or_default();
    let question =
        format!("HEAD {mirror}/dists/bookworm/Release HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).map_err(told)?;
    let mut answer = [0; 64];
    let length = stream.read(&mut answer).map_err(told)?;
    let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default()).into_owned();
    if text.contains(" 200 ") {
        Ok(())
    } else {
        Err(format!("it answers {text:?}"))
    }
}

/// Host and port of the mirror. A server takes the whole address in the first line of a request, as proxies are asked.
fn server() -> String {
    let mirror = mirror::debian();
    let host = mirror
        .split("://")
        .nth(1)
        .and_then(|rest| rest.split('/').next())
        .unwrap_or("deb.debian.org");
    if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    }
}

/// A stream whose writing side can be ended alone.
trait Ends: Write {
    fn end(&self);
}

impl Ends for TcpStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Ends for UnixStream {
    fn end(&self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

fn carry(mut from: impl Read, mut to: impl Ends) {
    // Either side may go away at any time; the other then sees the end.
    let _ = std::io::copy(&mut from, &mut to);
    to.end();
}
