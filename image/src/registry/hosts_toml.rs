//! containerd's hosts.toml (containerd, docs/hosts.md): which servers serve a domain, and how.
//!
//! May not: read other files, look for the place of this one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::hosts::Purpose;
use crate::{Error, Result};

/// A hosts.toml.
#[derive(Debug)]
pub(super) struct HostsToml {
    /// As they stand in the file.
    pub hosts: Vec<Host>,
    /// The registry itself, and what the file says about it.
    pub server: Host,
}

/// One server.
#[derive(Debug)]
pub(super) struct Host {
    /// Nothing: the domain's own.
    pub url: Option<String>,
    pub can_pull: bool,
    pub can_resolve: bool,
    pub can_push: bool,
    /// Relative to the directory of the file, as the next one.
    pub ca: Vec<PathBuf>,
    pub client: Option<(PathBuf, PathBuf)>,
    pub skip_verify: bool,
    pub headers: Vec<(String, String)>,
    /// The path of the address is complete without `/v2`.
    pub override_path: bool,
    pub dial_timeout: Option<Duration>,
}

impl Host {
    pub fn can(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Pull => self.can_pull,
            Purpose::Resolve => self.can_resolve,
            Purpose::Push => self.can_push,
        }
    }
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<String, Entry>,
    #[serde(flatten)]
    own: Entry,
}

/// The same for the second look, at the order of the tables: spans do not survive serde's flatten.
#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    host: BTreeMap<Spanned<String>, toml::Value>,
}

#[derive(Deserialize)]
struct Entry {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    #[serde(default)]
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    /// Certificate and key.
    One(String),
    /// Files with both, of which the first is used.
    Many(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

/// # Errors
/// It is no hosts.toml.
pub(super) fn parse(text: &str) -> Result<HostsToml> {
    let malformed = |e: toml::de::Error| Error::invalid(e.to_string().trim().replace('\n', " "));
    let order: Order = toml::from_str(text).map_err(malformed)?;
    let mut places: Vec<(usize, String)> = order
        .host
        .into_keys()
        .map(|name| (name.span().start, name.into_inner()))
        .collect();
    places.sort();
    let mut file: File = toml::from_str(text).map_err(malformed)?;
    let mut hosts = Vec::new();
    for (_, name) in places {
        if let Some(entry) = file.host.remove(&name) {
            hosts.push(entry.host(Some(name))?);
        }
    }
    Ok(HostsToml {
        hosts,
        server: file.own.host(file.server.filter(|s| !s.is_empty()))?,
    })
}

impl Entry {
    fn host(self, url: Option<String>) -> Result<Host> {
        let capabilities = self.capabilities;
        let can = |what: &str| {
            capabilities
                .as_ref()
                .is_none_or(|all| all.iter().any(|c| c == what))
        };
        if let Some(odd) = capabilities
            .iter()
            .flatten()
            .find(|c| !["pull", "resolve", "push"].contains(&c.as_str()))
        {
            return Err(Error::invalid(format!("unknown capability {odd:?}")));
        }
        let mut headers = Vec::new();
        for (name, values) in self.header {
            headers.extend(
                values
                    .into_vec()
                    .into_iter()
                    .map(|value| (name.to_ascii_lowercase(), value)),
            );
        }
        let dial_timeout = match self.dial_timeout.as_deref() {
            None | Some("") => None,
            Some(text) => Some(
                parse_duration(text)
                    .ok_or_else(|| Error::invalid(format!("dial_timeout {text:?} is no duration")))?,
            ),
        };
        Ok(Host {
            url,
            can_pull: can("pull"),
            can_resolve: can("resolve"),
            can_push: can("push"),
            ca: self
                .ca
                .map(OneOrMany::into_vec)
                .unwrap_or_default()
                .into_iter()
                .map(PathBuf::from)
                .collect(),
            client: self.client.and_then(Client::first),
            skip_verify: self.skip_verify,
            headers,
            override_path: self.override_path,
            dial_timeout,
        })
    }
}

impl Client {
    fn first(self) -> Option<(PathBuf, PathBuf)> {
        let (chain, key) = match self {
            Client::One(file) => (file.clone(), file),
            Client::Many(files) => {
                let file = files.into_iter().next()?;
                (file.clone(), file)
            }
            Client::Pairs(pairs) => {
                let mut pair = pairs.into_iter().next()?.into_iter();
                let chain = pair.next()?;
                let key = pair
                    .next()
                    .filter(|k| !k.is_empty())
                    .unwrap_or_else(|| chain.clone());
                (chain, key)
            }
        };
        Some((chain.into(), key.into()))
    }
}

/// Go's durations: `1m30s`, `500ms`, `1.5s`.
fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let end = unit
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_key_is_read() {
        let toml = parse(
            r#"
            server = "https://origin"
            ca = "origin.pem"
            skip_verify = true
            [host."https://z"]
              capabilities = ["pull"]
              ca = ["a.pem", "/b.pem"]
              client = [["c.pem", "k.pem"], ["d.pem", ""]]
              override_path = true
              dial_timeout = "1m1.5s"
              [host."https://z".header]
                X-One = "1"
                x-two = ["a", "b"]
            [host."https://a"]
              client = "both.pem"
            [host."https://m"]
              client = ["first.pem", "second.pem"]
              future = { unknown = true }
            "#,
        )
        .unwrap();
        let urls: Vec<_> = toml.hosts.iter().filter_map(|h| h.url.as_deref()).collect();
        assert_eq!(urls, ["https://z", "https://a", "https://m"]);
        let z = &toml.hosts[0];
        assert!(z.can(Purpose::Pull) && !z.can(Purpose::Push) && !z.can(Purpose::Resolve) && z.override_path);
        assert_eq!(z.ca, [PathBuf::from("a.pem"), PathBuf::from("/b.pem")]);
        assert_eq!(z.client, Some(("c.pem".into(), "k.pem".into())));
        assert_eq!(z.dial_timeout, Some(Duration::from_millis(61_500)));
        let headers: Vec<_> = z.headers.iter().map(|(n, v)| format!("{n}:{v}")).collect();
        assert_eq!(headers, ["x-one:1", "x-two:a", "x-two:b"]);
        assert_eq!(toml.hosts[1].client, Some(("both.pem".into(), "both.pem".into())));
        assert_eq!(
            toml.hosts[2].client,
            Some(("first.pem".into(), "first.pem".into()))
        );
        assert!(toml.hosts[2].can(Purpose::Push));
        assert_eq!(toml.server.url.as_deref(), Some("https://origin"));
        assert!(toml.server.skip_verify && toml.server.ca == [PathBuf::from("origin.pem")]);
        assert!(parse("").unwrap().server.url.is_none());
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "server = 1",
            "host = 1",
            "[host.x]\ncapabilities = [\"fly\"]",
            "[host.x]\ndial_timeout = \"soon\"",
            "[",
            "[host.x]\nca = 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h0.5m"), Some(Duration::from_secs(3630)));
        for text in ["", "1", "s", "1x", "-1s", "1..5s", "0s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
