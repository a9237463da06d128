//! Which servers have a repository, in which order, and how they are spoken to. docs/registries.md is for users; in short:
//!
//! 1. `blocked` in registries.conf ends it.
//! 2. The first directory that has a `hosts.toml` for the domain (or, failing that, for `_default`) names the servers.
//! 3. Else the entry of registries.conf with the longest prefix that matches: its mirrors, then its location.
//! 4. Else, for docker.io, the mirrors of docker's daemon.json.
//! 5. The registry itself.
//!
//! May not: ask a server anything.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::hosts_toml::{self, Host, HostsToml};
use super::http::Tls;
use super::registries_conf::{PullFrom, RegistriesConf};
use super::url::{Url, is_loopback};
use crate::reference::{DEFAULT_DOMAIN, Repository};
use crate::{Context, Error, Kind, Result};

/// Where docker.io is.
const HUB: &str = "registry-1.docker.io";

/// Where registries are configured. What is not there says nothing.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Directories of `hosts.toml` and certificates, by domain; the first that knows a domain counts.
    pub certs_d: Vec<PathBuf>,
    /// registries.conf: the first that is there counts.
    pub registries_conf: Vec<PathBuf>,
    /// Directories of parts of it, the later one counting.
    pub registries_conf_d: Vec<PathBuf>,
    /// Aliases of short names, the later one counting.
    pub shortnames_conf: Vec<PathBuf>,
    /// docker's daemon.json.
    pub daemon_json: Option<PathBuf>,
}

impl Files {
    /// The usual places. `variable` reads the environment.
    pub fn usual(variable: impl Fn(&str) -> Option<String>) -> Files {
        let set = |name: &str| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
        let at_home = |path: &str| home.as_ref().map(|h| h.join(path));
        let etc = |path: &str| Some(Path::new("/etc").join(path));
        let some = |paths: &[Option<PathBuf>]| paths.iter().flatten().cloned().collect::<Vec<_>>();
        Files {
            certs_d: some(&[
                at_home("brig/certs.d"),
                etc("brig/certs.d"),
                etc("containerd/certs.d"),
                etc("docker/certs.d"),
                etc("containers/certs.d"),
            ]),
            registries_conf: some(&[
                set("CONTAINERS_REGISTRIES_CONF"),
                at_home("containers/registries.conf"),
                etc("containers/registries.conf"),
                Some(PathBuf::from("/usr/share/containers/registries.conf")),
            ]),
            registries_conf_d: some(&[
                Some(PathBuf::from("/usr/share/containers/registries.conf.d")),
                etc("containers/registries.conf.d"),
                at_home("containers/registries.conf.d"),
            ]),
            shortnames_conf: some(&[
                Some(PathBuf::from("/var/cache/containers/short-name-aliases.conf")),
                set("XDG_CACHE_HOME")
                    .or_else(|| Some(set("HOME")?.join(".cache")))
                    .map(|c| c.join("containers/short-name-aliases.conf")),
            ]),
            daemon_json: etc("docker/daemon.json"),
        }
    }
}

/// Whether https may be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    /// The base says how.
    Never,
    /// https first; http where it is not spoken.
    Fallback,
}

/// What is wanted of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Blobs, and manifests by digest.
    Pull,
    /// Manifests by tag.
    Resolve,
    Push,
}

/// One server that has a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// Up to `/v2`.
    pub base: Url,
    /// Its name for the repository.
    pub repository: String,
    pub tls: Tls,
    pub plain: Plain,
    pub headers: Vec<(String, String)>,
    /// For `ns=`.
    pub namespace: Option<String>,
    pub is_mirror: bool,
    pub dial_timeout: Option<Duration>,
    /// Not a registry that anybody configured: it gets no credentials.
    pub is_stranger: bool,
}

impl Endpoint {
    /// The domain that credentials are stored for.
    pub fn domain(&self) -> String {
        self.base.authority()
    }
}

/// What is configured.
pub(super) struct Hosts {
    certs_d: Vec<PathBuf>,
    conf: RegistriesConf,
    docker: DaemonJson,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct DaemonJson {
    registry_mirrors: Vec<String>,
    insecure_registries: Vec<String>,
}

impl Hosts {
    pub fn load(files: &Files) -> Result<Hosts> {
        let docker = match &files.daemon_json {
            Some(path) => match read(path)? {
                Some(text) if !text.trim().is_empty() => serde_json::from_str(&text)
                    .map_err(|e| Error::invalid(format!("{} is malformed: {e}", path.display())))?,
                _ => DaemonJson::default(),
            },
            None => DaemonJson::default(),
        };
        Ok(Hosts {
            certs_d: files.certs_d.clone(),
            conf: RegistriesConf::load(
                &files.registries_conf,
                &files.registries_conf_d,
                &files.shortnames_conf,
            )?,
            docker,
        })
    }

    /// The names that a name without a domain may stand for, in order.
    pub fn long_names(&self, name: &str) -> Vec<String> {
        self.conf.long_names(name)
    }

    /// The servers in the order in which they are asked; the registry itself is the last one.
    pub fn endpoints(&self, repository: &Repository, purpose: Purpose) -> Result<Vec<Endpoint>> {
        let name = repository.to_string();
        let entry = self.conf.entry_for(&name);
        if let Some(entry) = entry.filter(|e| e.blocked) {
            return Err(Error::of(
                Kind::Denied,
                format!("registry {} is blocked by registries.conf", entry.prefix()),
            ));
        }
        if let Some((directory, toml)) = self.hosts_toml(repository.domain())? {
            return self.of_toml(repository, purpose, &directory, toml);
        }
        let mut endpoints = Vec::new();
        let mut origin = name.clone();
        let mut is_insecure = false;
        if let Some(entry) = entry {
            origin = entry.renamed(&name, entry.location.as_deref());
            is_insecure = entry.insecure;
            for mirror in &entry.mirrors {
                let serves = match (entry.pull_from(mirror), purpose) {
                    (_, Purpose::Push) => false,
                    (PullFrom::All, _) => true,
                    (PullFrom::DigestOnly, purpose) => purpose == Purpose::Pull,
                    (PullFrom::TagOnly, purpose) => purpose == Purpose::Resolve,
                };
                if serves {
                    let place = entry.renamed(&name, Some(&mirror.location));
                    let mut endpoint = self.endpoint(&place, mirror.insecure)?;
                    endpoint.is_mirror = true;
                    endpoints.push(endpoint);
                }
            }
        } else if repository.domain() == DEFAULT_DOMAIN && purpose != Purpose::Push {
            for mirror in &self.docker.registry_mirrors {
                endpoints.push(self.docker_mirror(mirror, repository)?);
            }
        }
        endpoints.push(self.endpoint(&origin, is_insecure)?);
        Ok(endpoints)
    }

    /// The server `host[:port]` of `host[:port]/path`.
    fn endpoint(&self, place: &str, is_insecure: bool) -> Result<Endpoint> {
        let (domain, path) = place.split_once('/').ok_or_else(|| {
            Error::invalid(format!(
                "registries.conf leads to {place:?}, which is no repository"
            ))
        })?;
        let host = if domain == DEFAULT_DOMAIN { HUB } else { domain };
        let base = Url::parse(&format!("https://{host}/v2"))?;
        let is_insecure = is_insecure || self.is_insecure_for_docker(&base);
        let mut tls = self.certificates(&[domain, host])?;
        tls.skip_verify |= is_insecure;
        Ok(Endpoint {
            plain: if is_insecure || is_loopback(&base.host) {
                Plain::Fallback
            } else {
                Plain::Never
            },
            base,
            repository: path.to_owned(),
            tls,
            headers: Vec::new(),
            namespace: None,
            is_mirror: false,
            dial_timeout: None,
            is_stranger: false,
        })
    }

    fn docker_mirror(&self, mirror: &str, repository: &Repository) -> Result<Endpoint> {
        let url = Url::parse(mirror).context("failed to read registry-mirrors of daemon.json")?;
        let mut endpoint = self.endpoint(&format!("{}/{}", url.authority(), repository.path()), false)?;
        let path = url.path.trim_end_matches('/');
        endpoint.base = url.at(&format!("{path}/v2"));
        endpoint.is_mirror = true;
        endpoint.plain = Plain::Never;
        Ok(endpoint)
    }

    fn is_insecure_for_docker(&self, base: &Url) -> bool {
        let authority = base.authority();
        let bare = base.host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<IpAddr> = bare.parse().ok();
        self.docker
            .insecure_registries
            .iter()
            .any(|entry| match entry.split_once('/') {
                Some((network, bits)) if !network.contains(':') || network.matches(':').count() > 1 => {
                    super::proxy::is_in_network(address, network, bits)
                }
                // A scheme in front of it is a common mistake, which docker forgives.
                _ => {
                    let entry = entry
                        .trim_start_matches("https://")
                        .trim_start_matches("http://")
                        .trim_end_matches('/');
                    entry.eq_ignore_ascii_case(&authority) || entry.eq_ignore_ascii_case(&base.host)
                }
            })
    }

    /// The hosts.toml for a domain, and the directory that it stands in.
    fn hosts_toml(&self, domain: &str) -> Result<Option<(PathBuf, HostsToml)>> {
        for names in [directory_names(domain), vec!["_default".to_owned()]] {
            for root in &self.certs_d {
                for name in &names {
                    let directory = root.join(name);
                    let path = directory.join("hosts.toml");
                    if let Some(text) = read(&path)? {
                        let toml =
                            hosts_toml::parse(&text).context(format!("failed to read {}", path.display()))?;
                        return Ok(Some((directory, toml)));
                    }
                }
            }
        }
        Ok(None)
    }

    fn of_toml(
        &self,
        repository: &Repository,
        purpose: Purpose,
        directory: &Path,
        toml: HostsToml,
    ) -> Result<Vec<Endpoint>> {
        let default = self.endpoint(&repository.to_string(), false)?;
        let mut endpoints = Vec::new();
        for host in &toml.hosts {
            if host.can(purpose) {
                let mut endpoint = self.of_host(repository, directory, host, &default)?;
                endpoint.is_mirror = true;
                endpoints.push(endpoint);
            }
        }
        if toml.server.can(purpose) {
            endpoints.push(self.of_host(repository, directory, &toml.server, &default)?);
        }
        // Somebody has to be believed when it says no.
        if let Some(last) = endpoints.last_mut() {
            last.is_mirror = false;
        }
        Ok(endpoints)
    }

    fn of_host(
        &self,
        repository: &Repository,
        directory: &Path,
        host: &Host,
        default: &Endpoint,
    ) -> Result<Endpoint> {
        let (base, plain) = match &host.url {
            None => (default.base.clone(), default.plain),
            Some(text) => {
                let has_scheme = text.contains("://");
                let url = Url::parse(&if has_scheme {
                    text.clone()
                } else {
                    format!("https://{text}")
                })?;
                let path = url.path.trim_end_matches('/');
                let has_version = host.override_path || path.ends_with("/v2");
                let host_name = if url.host == DEFAULT_DOMAIN {
                    HUB.to_owned()
                } else {
                    url.host.clone()
                };
                let base = Url {
                    host: host_name,
                    path: if has_version {
                        path.to_owned()
                    } else {
                        format!("{path}/v2")
                    },
                    ..url
                };
                let may_be_plain = !has_scheme && is_loopback(&base.host);
                (
                    base,
                    if may_be_plain {
                        Plain::Fallback
                    } else {
                        Plain::Never
                    },
                )
            }
        };
        let authority = base.authority();
        let mut tls = self.certificates(&[repository.domain(), &authority])?;
        tls.ca.extend(host.ca.iter().map(|file| directory.join(file)));
        if let Some((chain, key)) = &host.client {
            tls.client = Some((directory.join(chain), directory.join(key)));
        }
        tls.skip_verify |= host.skip_verify;
        let is_other = !base.is_same_origin(&default.base);
        Ok(Endpoint {
            namespace: is_other.then(|| repository.domain().to_owned()),
            base,
            repository: repository.path().to_owned(),
            tls,
            plain,
            headers: host.headers.clone(),
            is_mirror: false,
            dial_timeout: host.dial_timeout,
            is_stranger: false,
        })
    }

    /// What lies beside each other in a directory of docker: `*.crt` to trust, `NAME.cert` and `NAME.key` to show. A directory with a
    /// hosts.toml says everything there.
    fn certificates(&self, domains: &[&str]) -> Result<Tls> {
        let mut tls = Tls::default();
        let mut names: Vec<String> = domains.iter().flat_map(|d| directory_names(d)).collect();
        names.dedup();
        for directory in self
            .certs_d
            .iter()
            .flat_map(|root| names.iter().map(|n| root.join(n)))
        {
            let Ok(entries) = std::fs::read_dir(&directory) else {
                continue;
            };
            let mut files = Vec::new();
            for entry in entries {
                files.push(
                    entry
                        .context(format!("failed to read {}", directory.display()))?
                        .path(),
                );
            }
            if files.iter().any(|f| f.ends_with("hosts.toml")) {
                continue;
            }
            files.sort();
            let has = |file: &Path| files.iter().any(|f| f == file);
            for file in &files {
                match file.extension().and_then(|e| e.to_str()) {
                    Some("crt") if !tls.ca.contains(file) => tls.ca.push(file.clone()),
                    Some("cert") => {
                        let key = file.with_extension("key");
                        if !has(&key) {
                            let text = format!(
                                "missing key {} for client certificate {}",
                                key.display(),
                                file.display()
                            );
                            return Err(Error::invalid(text));
                        }
                        tls.client.get_or_insert((file.clone(), key));
                    }
                    _ => {}
                }
            }
        }
        Ok(tls)
    }
}

/// containerd's way to write a port, and the plain one.
fn directory_names(domain: &str) -> Vec<String> {
    match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            vec![format!("{host}_{port}_"), domain.to_owned()]
        }
        _ => vec![domain.to_owned()],
    }
}

/// The text of a file, where there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e)
            if matches!(
                e.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e).context(format!("failed to read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Etc(PathBuf);

    impl Etc {
        fn new(name: &str, files: &[(&str, &str)]) -> Etc {
            let root = std::env::temp_dir().join(format!("brig-hosts-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
            Etc(root)
        }

        fn hosts(&self) -> Result<Hosts> {
            Hosts::load(&Files {
                certs_d: vec![
                    self.0.join("brig"),
                    self.0.join("containerd"),
                    self.0.join("docker"),
                ],
                registries_conf: vec![self.0.join("registries.conf")],
                registries_conf_d: vec![self.0.join("registries.conf.d")],
                shortnames_conf: vec![self.0.join("shortnames.conf")],
                daemon_json: Some(self.0.join("daemon.json")),
            })
        }

        /// Base, repository, and marks: m(irror), p(lain allowed), u(nverified).
        fn shown(&self, name: &str, purpose: Purpose) -> Vec<String> {
            let endpoints = self
                .hosts()
                .unwrap()
                .endpoints(&Repository::parse(name).unwrap(), purpose)
                .unwrap();
            let marks = |e: &Endpoint| {
                [
                    (e.is_mirror, "m"),
                    (e.plain == Plain::Fallback, "p"),
                    (e.tls.skip_verify, "u"),
                    (e.namespace.is_some(), "n"),
                ]
                .iter()
                .filter(|(is, _)| *is)
                .map(|(_, m)| *m)
                .collect::<String>()
            };
            endpoints
                .iter()
                .map(|e| {
                    format!("{} {} {}", e.base, e.repository, marks(e))
                        .trim_end()
                        .to_owned()
                })
                .collect()
        }
    }

    impl Drop for Etc {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn without_configuration_a_registry_serves_itself() {
        let etc = Etc::new("none", &[]);
        assert_eq!(
            etc.shown("ubuntu", Purpose::Resolve),
            ["https://registry-1.docker.io/v2 library/ubuntu"]
        );
        assert_eq!(
            etc.shown("quay.io/a/b", Purpose::Push),
            ["https://quay.io/v2 a/b"]
        );
        assert_eq!(
            etc.shown("localhost:5000/a", Purpose::Pull),
            ["https://localhost:5000/v2 a p"]
        );
        assert_eq!(
            etc.shown("[::1]:5000/a", Purpose::Pull),
            ["https://[::1]:5000/v2 a p"]
        );
    }

    #[test]
    fn hosts_toml_names_servers_in_its_order() {
        let etc = Etc::new(
            "toml",
            &[
                (
                    "containerd/docker.io/hosts.toml",
                    r#"
                    server = "https://docker.io"
                    [host."https://zeta.example/prefix"]
                      capabilities = ["pull"]
                    [host."http://alpha.example:5000/x/v2"]
                      capabilities = ["pull", "resolve"]
                      skip_verify = true
                    [host."https://path.example/api"]
                      override_path = true
                    "#,
                ),
                (
                    "docker/docker.io/hosts.toml",
                    "server = \"https://never.example\"",
                ),
                ("containerd/h.io_5000_/hosts.toml", "[host.\"localhost:80\"]\n"),
                (
                    "docker/_default/hosts.toml",
                    "[host.\"https://all.example\"]\ncapabilities = [\"pull\"]",
                ),
            ],
        );
        assert_eq!(
            etc.shown("ubuntu", Purpose::Pull),
            [
                "https://zeta.example/prefix/v2 library/ubuntu mn",
                "http://alpha.example:5000/x/v2 library/ubuntu mun",
                "https://path.example/api library/ubuntu mn",
                "https://registry-1.docker.io/v2 library/ubuntu",
            ]
        );
        assert_eq!(etc.shown("ubuntu", Purpose::Resolve).len(), 3);
        assert_eq!(
            etc.shown("ubuntu", Purpose::Push)[0],
            "https://path.example/api library/ubuntu mn"
        );
        assert_eq!(
            etc.shown("h.io:5000/a", Purpose::Pull),
            ["https://localhost:80/v2 a mpn", "https://h.io:5000/v2 a"]
        );
        assert_eq!(
            etc.shown("other.io/a", Purpose::Pull),
            ["https://all.example/v2 a mn", "https://other.io/v2 a"]
        );
        assert_eq!(
            etc.shown("other.io/a", Purpose::Resolve),
            ["https://other.io/v2 a"]
        );
    }

    #[test]
    fn registries_conf_rewrites_and_mirrors() {
        let etc = Etc::new(
            "conf",
            &[
                (
                    "registries.conf",
                    r#"
                    [[registry]]
                    prefix = "example.com"
                    location = "internal.example:8443/all"
                    insecure = true
                    [[registry]]
                    prefix = "example.com/foo"
                    [[registry.mirror]]
                    location = "mirror.example/foos"
                    [[registry.mirror]]
                    location = "digests.example"
                    pull-from-mirror = "digest-only"
                    [[registry.mirror]]
                    location = "tags.example"
                    pull-from-mirror = "tag-only"
                    insecure = true
                    [[registry]]
                    prefix = "*.wild.example/bad"
                    blocked = true
                    [[registry]]
                    prefix = "*.wild.example"
                    location = "tame.example/w"
                    "#,
                ),
                (
                    "registries.conf.d/10.conf",
                    "[[registry]]\nlocation = \"dropped.example\"\nblocked = true\n",
                ),
            ],
        );
        assert_eq!(
            etc.shown("example.com/bar/x", Purpose::Pull),
            ["https://internal.example:8443/v2 all/bar/x pu"]
        );
        assert_eq!(
            etc.shown("example.com/foo/x", Purpose::Pull),
            [
                "https://mirror.example/v2 foos/x m",
                "https://digests.example/v2 x m",
                "https://example.com/v2 foo/x"
            ]
        );
        assert_eq!(
            etc.shown("example.com/foo/x", Purpose::Resolve),
            [
                "https://mirror.example/v2 foos/x m",
                "https://tags.example/v2 x mpu",
                "https://example.com/v2 foo/x"
            ]
        );
        assert_eq!(
            etc.shown("example.com/foo/x", Purpose::Push),
            ["https://example.com/v2 foo/x"]
        );
        assert_eq!(
            etc.shown("example.com/foobar", Purpose::Push),
            ["https://internal.example:8443/v2 all/foobar pu"]
        );
        assert_eq!(
            etc.shown("a.wild.example/x", Purpose::Pull),
            ["https://tame.example/v2 w/x"]
        );
        let hosts = etc.hosts().unwrap();
        for name in ["a.wild.example/bad/x", "dropped.example/x"] {
            let e = hosts
                .endpoints(&Repository::parse(name).unwrap(), Purpose::Pull)
                .unwrap_err();
            assert!(e.to_string().contains("is blocked by registries.conf"), "{e}");
        }
    }

    #[test]
    fn docker_is_heard_last() {
        let etc = Etc::new(
            "docker",
            &[
                (
                    "daemon.json",
                    r#"{"registry-mirrors":["https://mirror.example/","http://plain.example:5000/x"],
                        "insecure-registries":["10.0.0.0/8","http://reg.example:5000","other.example"],"debug":true}"#,
                ),
                ("docker/reg.example:5000/ca.crt", ""),
                ("docker/reg.example:5000/client.cert", ""),
                ("docker/reg.example:5000/client.key", ""),
                ("docker/nokey.example/client.cert", ""),
            ],
        );
        assert_eq!(
            etc.shown("ubuntu", Purpose::Pull),
            [
                "https://mirror.example/v2 library/ubuntu m",
                "http://plain.example:5000/x/v2 library/ubuntu m",
                "https://registry-1.docker.io/v2 library/ubuntu",
            ]
        );
        assert_eq!(
            etc.shown("ubuntu", Purpose::Push),
            ["https://registry-1.docker.io/v2 library/ubuntu"]
        );
        assert_eq!(
            etc.shown("10.1.2.3:80/a", Purpose::Pull),
            ["https://10.1.2.3:80/v2 a pu"]
        );
        assert_eq!(
            etc.shown("11.1.2.3:80/a", Purpose::Pull),
            ["https://11.1.2.3:80/v2 a"]
        );
        assert_eq!(
            etc.shown("other.example:1/a", Purpose::Pull),
            ["https://other.example:1/v2 a pu"]
        );
        let hosts = etc.hosts().unwrap();
        let endpoints = hosts
            .endpoints(&Repository::parse("reg.example:5000/a").unwrap(), Purpose::Pull)
            .unwrap();
        let directory = etc.0.join("docker/reg.example:5000");
        assert_eq!(endpoints[0].tls.ca, [directory.join("ca.crt")]);
        assert_eq!(
            endpoints[0].tls.client,
            Some((directory.join("client.cert"), directory.join("client.key")))
        );
        let e = hosts
            .endpoints(&Repository::parse("nokey.example/a").unwrap(), Purpose::Pull)
            .unwrap_err();
        assert!(e.to_string().starts_with("missing key "), "{e}");
    }

    #[test]
    fn malformed_files_are_named() {
        let etc = Etc::new("bad", &[("brig/x.io/hosts.toml", "server = 1")]);
        let e = etc
            .hosts()
            .unwrap()
            .endpoints(&Repository::parse("x.io/a").unwrap(), Purpose::Pull)
            .unwrap_err();
        assert!(e.to_string().contains("brig/x.io/hosts.toml"), "{e}");
        for (name, file) in [("bad2", "daemon.json"), ("bad3", "registries.conf")] {
            let etc = Etc::new(name, &[(file, "{")]);
            assert!(etc.hosts().err().unwrap().to_string().contains(file));
        }
    }
}
