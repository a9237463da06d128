//! docker-registry: plain, behind TLS with a CA of its own, and with a password; and what its access log tells.
//!
//! May not: ask the registry for what it keeps. Its storage is a directory of links, which are written and read here: so
//! every byte that is served is one that a case chose, and what was pushed is seen by nobody's client.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use conformance::command::{self, USUAL};
use conformance::daemon::{Daemon, installed};
use conformance::patience;

use crate::depot::{Blob, Depot, Image};

/// Without TLS; loopback is where every client accepts that.
pub const PLAIN: &str = "127.0.0.1:5000";
/// With TLS, at an address that is not loopback: there a client may not fall back to plain HTTP.
pub const TLS: &str = "registry.test:5443";
/// With TLS, and this user's password.
pub const LOCKED: &str = "registry.test:5444";
pub const USER: &str = "somebody";
pub const PASSWORD: &str = "a pass:word";

const ADDRESS: &str = "10.99.0.1";

pub struct Registry {
    pub host: &'static str,
    daemon: Daemon,
    storage: PathBuf,
}

/// One request that a registry has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub bytes: u64,
}

impl Request {
    /// Whether content was asked for, and how much of it came.
    pub fn is_download(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha256:") && matches!(self.status, 200 | 206)
    }

    pub fn is_of(&self, blob: &Blob) -> bool {
        self.path.contains(blob.digest.as_str())
    }
}

/// Everything that the played host needs before registries with TLS can be reached by name.
pub fn prepare_names(dir: &Path) -> Result<(), String> {
    let tls = dir.join("tls");
    std::fs::create_dir_all(&tls).map_err(|e| format!("{}: {e}", tls.display()))?;
    let script = r#"set -e
        cd "$1"
        ip address add "$2/32" dev lo
        echo "$2 registry.test" >>/etc/hosts
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=a CA of its own' -keyout ca.key -out ca.crt \
            -addext keyUsage=critical,keyCertSign
        openssl req -newkey rsa:2048 -nodes -subj /CN=registry.test -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:registry.test\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n' >extensions
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile extensions -out server.crt
    "#;
    let mut sh = Command::new("sh");
    sh.args(["-c", script, "sh"]).arg(&tls).arg(ADDRESS);
    command::run(&mut sh, "", USUAL)?.ok().map(|_| ())
}

/// Makes the CA known to every client for this host, or unknown again.
pub fn trust(dir: &Path, host: &str, known: bool) -> Result<(), String> {
    let certs = Path::new("/etc/docker/certs.d").join(host);
    let text = |e: std::io::Error| format!("{}: {e}", certs.display());
    if known {
        std::fs::create_dir_all(&certs).map_err(text)?;
        std::fs::copy(dir.join("tls/ca.crt"), certs.join("ca.crt"))
            .map(|_| ())
            .map_err(text)
    } else if certs.exists() {
        std::fs::remove_dir_all(&certs).map_err(text)
    } else {
        Ok(())
    }
}

impl Registry {
    pub fn start(dir: &Path, host: &'static str) -> Result<Registry, String> {
        let program = installed("docker-registry").or_else(|_| installed("registry"))?;
        let name = host.replace(':', "-");
        let storage = dir.join(format!("registry-{name}"));
        std::fs::create_dir_all(&storage).map_err(|e| format!("{}: {e}", storage.display()))?;
        let config = dir.join(format!("registry-{name}.yml"));
        std::fs::write(&config, configuration(dir, host, &storage)?)
            .map_err(|e| format!("{}: {e}", config.display()))?;
        let mut serve = Command::new(program);
        serve.arg("serve").arg(&config);
        // One processor is left to the clients.
        serve.env("OTEL_TRACES_EXPORTER", "none");
        let address = address(host);
        let log = dir.join(format!("registry-{name}.log"));
        let daemon = Daemon::start("docker-registry", serve, log, move || {
            TcpStream::connect(&address).is_ok()
        })?;
        Ok(Registry {
            host,
            daemon,
            storage,
        })
    }

    pub fn stop(self) -> Result<(), String> {
        self.daemon.stop()
    }

    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// Gives it an image under a name and a tag, by links only.
    pub fn plant(&self, depot: &Depot, name: &str, tag: &str, image: &Image) -> Result<(), String> {
        self.plant_manifests(depot, name, image)?;
        let tag = self.repository(name).join("_manifests/tags").join(tag);
        let manifest = &image.manifest;
        link(&tag.join("current"), manifest)?;
        link(&tag.join("index/sha256").join(manifest.hex()), manifest)
    }

    fn plant_manifests(&self, depot: &Depot, name: &str, image: &Image) -> Result<(), String> {
        for child in &image.children {
            self.plant_manifests(depot, name, child)?;
        }
        let repository = self.repository(name);
        for blob in image.blobs() {
            self.plant_blob(depot, blob)?;
            link(&repository.join("_layers/sha256").join(blob.hex()), blob)?;
        }
        let revisions = repository.join("_manifests/revisions/sha256");
        link(&revisions.join(image.manifest.hex()), &image.manifest)
    }

    fn plant_blob(&self, depot: &Depot, blob: &Blob) -> Result<(), String> {
        let data = self.data(&blob.digest);
        let text = |e: std::io::Error| format!("{}: {e}", data.display());
        if data.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(data.parent().unwrap_or(&data)).map_err(text)?;
        let from = depot.path(blob);
        std::fs::hard_link(&from, &data)
            .or_else(|_| std::fs::copy(&from, &data).map(|_| ()))
            .map_err(text)
    }

    /// What a tag means, if it is there.
    pub fn digest(&self, name: &str, tag: &str) -> Option<String> {
        let file = self
            .repository(name)
            .join("_manifests/tags")
            .join(tag)
            .join("current/link");
        std::fs::read_to_string(file).ok()
    }

    /// The document that a tag means.
    pub fn document(&self, name: &str, tag: &str) -> Result<serde_json::Value, String> {
        let digest = self
            .digest(name, tag)
            .ok_or(format!("there is no {name}:{tag}"))?;
        let file = self.data(&digest);
        let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))
    }

    /// Forgets a repository: what was pushed in one case is not there in the next.
    pub fn forget(&self, name: &str) -> Result<(), String> {
        let repository = self.repository(name);
        if repository.exists() {
            std::fs::remove_dir_all(&repository).map_err(|e| format!("{}: {e}", repository.display()))?;
        }
        Ok(())
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.storage.join("docker/registry/v2/repositories").join(name)
    }

    fn data(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
        let blobs = self.storage.join("docker/registry/v2/blobs/sha256");
        blobs
            .join(hex.get(..2).unwrap_or_default())
            .join(hex)
            .join("data")
    }

    /// What it answered so far. A request of our own that shows in the log says that all before it are written.
    pub fn requests(&self) -> Result<Vec<Request>, String> {
        let mark = format!(
            "/v2/?mark={}",
            std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos())
        );
        let mut socket = TcpStream::connect(address(self.host)).map_err(|e| format!("{}: {e}", self.host))?;
        let asked = write!(socket, "GET {mark} HTTP/1.0\r\n\r\n")
            .and_then(|()| socket.set_read_timeout(Some(Duration::from_secs(20))))
            .and_then(|()| socket.read_to_end(&mut Vec::new()));
        asked.map_err(|e| format!("{}: {e}", self.host))?;
        let mut text = String::new();
        command::until("the access log", patience::seconds(20), || {
            text = std::fs::read_to_string(&self.daemon.log).unwrap_or_default();
            text.contains(&mark)
        })?;
        Ok(text
            .lines()
            .filter_map(request)
            .filter(|request| !request.path.contains("/v2/?mark="))
            .collect())
    }
}

/// A line of the log in Apache's combined form; None for what is none.
fn request(line: &str) -> Option<Request> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once("\" ")?;
    let mut words = request.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let mut numbers = rest.split(' ');
    Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        status: numbers.next()?.parse().ok()?,
        bytes: numbers.next()?.parse().unwrap_or(0),
    })
}

fn address(host: &str) -> String {
    host.replace("registry.test", ADDRESS)
}

fn link(dir: &Path, blob: &Blob) -> Result<(), String> {
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(dir.join("link"), &blob.digest))
        .map_err(|e| format!("{}: {e}", dir.display()))
}

fn configuration(dir: &Path, host: &str, storage: &Path) -> Result<String, String> {
    let mut text = format!(
        "version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n\
         http:\n  addr: {}\n  secret: none\n",
        storage.display(),
        address(host)
    );
    if host != PLAIN {
        let tls = dir.join("tls");
        text += &format!(
            "  tls:\n    certificate: {0}/server.crt\n    key: {0}/server.key\n",
            tls.display()
        );
    }
    if host == LOCKED {
        let mut htpasswd = Command::new("htpasswd");
        let line = command::run(htpasswd.args(["-Bbn", USER, PASSWORD]), "", USUAL)?.ok()?;
        let file = dir.join("htpasswd");
        std::fs::write(&file, line + "\n").map_err(|e| format!("{}: {e}", file.display()))?;
        text += &format!(
            "auth:\n  htpasswd:\n    realm: a realm\n    path: {}\n",
            file.display()
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_access_log() {
        let line = r#"127.0.0.1 - - [28/Nov/2025:00:00:00 +0000] "GET /v2/many/blobs/sha256:ab HTTP/1.1" 206 1234 "" "docker/20.10""#;
        let read = request(line).map(|r| (r.is_download(), r.status, r.bytes));
        assert_eq!(read, Some((true, 206, 1234)));
        assert_eq!(request("time=\"2025\" level=warning msg=\"x\""), None);
    }
}
