//! References: the names that people give to images.
//!
//! `ubuntu` is `docker.io/library/ubuntu:latest`. The grammar is that of Docker's distribution references.

use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error, Result};

/// Where `ubuntu` comes from.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// Domain and path together, in bytes.
const NAME_LIMIT: usize = 255;

/// A repository of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    domain: String,
    path: String,
}

impl Repository {
    /// Host and port; `docker.io` for the default one.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// What follows the domain: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// As Docker shows it: without the default domain and `library/`.
    pub fn familiar(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.to_string();
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.path.clone(),
        }
    }

    /// With this tag.
    ///
    /// # Errors
    /// It is no tag.
    pub fn tagged(&self, tag: &str) -> Result<Reference> {
        if !is_tag(tag) {
            return Err(invalid(&format!("{self}:{tag}")));
        }
        Ok(Reference {
            repository: self.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// With this digest.
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference {
            repository: self.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// A name without tag or digest.
    ///
    /// # Errors
    /// It is none, or has one of the two.
    pub fn parse(text: &str) -> Result<Repository> {
        let reference: Reference = text.parse()?;
        match (reference.tag, reference.digest) {
            (None, None) => Ok(reference.repository),
            _ => Err(invalid(text)),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)
    }
}

/// A repository, and which image of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Which repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, where one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one was written. It decides, and the tag is then an ornament.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `latest`, where neither tag nor digest was written.
    #[must_use]
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// As Docker shows it: without the default domain and `library/`.
    pub fn familiar(&self) -> String {
        self.spelled(self.repository.familiar())
    }

    fn spelled(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled(self.repository.to_string()))
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Reference> {
        if text.is_empty() {
            return Err(invalid(text));
        }
        if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|_| invalid(text))?)),
            None => (text, None),
        };
        let (domain, remainder) = split_domain(rest);
        let (path, tag) = match remainder.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (remainder, None),
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({path}) must be lowercase"
            )));
        }
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{OFFICIAL}{path}")
        } else {
            path.to_owned()
        };
        if !is_domain(domain) || !path.split('/').all(is_component) || !tag.is_none_or(is_tag) {
            return Err(invalid(text));
        }
        if domain.len() + 1 + path.len() > NAME_LIMIT {
            return Err(Error::invalid(format!(
                "repository name must not be more than {NAME_LIMIT} characters: {text:?}"
            )));
        }
        Ok(Reference {
            repository: Repository {
                domain: domain.to_owned(),
                path,
            },
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn invalid(text: &str) -> Error {
    Error::invalid(format!("invalid reference format: {text:?}"))
}

/// The first component is a host if it could not be anything else.
fn split_domain(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (
                if first == LEGACY_DOMAIN {
                    DEFAULT_DOMAIN
                } else {
                    first
                },
                rest,
            )
        }
        _ => (DEFAULT_DOMAIN, text),
    }
}

/// Labels of letters, digits and inner dashes, joined by dots, or an IPv6 address in brackets; and a port.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.rfind(']') {
        Some(end) if text.starts_with('[') => (&text[..=end], text[end + 1..].strip_prefix(':')),
        _ => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let has_rest = host.len() + port.map_or(0, |p| p.len() + 1) != text.len();
    let is_port = port.is_none_or(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()));
    if has_rest || !is_port {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Lower-case letters and digits with separators in between: one dot, one or two underscores, or any number of dashes.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    bytes
        .split(|b| is_word(*b))
        .all(|run| matches!(run, [] | [b'.'] | [b'_'] | [b'_', b'_']) || run.iter().all(|b| *b == b'-'))
}

/// A letter, digit or underscore, and up to 127 of these, dots and dashes.
pub fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(is_word)
        && bytes.all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised() {
        for (text, full, familiar) in [
            ("ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            ("ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            (
                "index.docker.io/library/ubuntu",
                "docker.io/library/ubuntu",
                "ubuntu",
            ),
            ("me/app", "docker.io/me/app", "me/app"),
            ("library/a/b", "docker.io/library/a/b", "library/a/b"),
            ("localhost/app", "localhost/app", "localhost/app"),
            (
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
                "localhost:5000/app:v1",
            ),
            (
                "127.0.0.1:5000/a/b__c",
                "127.0.0.1:5000/a/b__c",
                "127.0.0.1:5000/a/b__c",
            ),
            ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
            ("quay.io/a/b--c.d_e", "quay.io/a/b--c.d_e", "quay.io/a/b--c.d_e"),
            ("Host/app", "Host/app", "Host/app"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar)
            );
            assert_eq!(full.parse::<Reference>().unwrap(), reference);
        }
        let reference: Reference = format!("ubuntu:22.04@{DIGEST}").parse().unwrap();
        assert_eq!(reference.tag(), Some("22.04"));
        assert_eq!(reference.familiar(), format!("ubuntu:22.04@{DIGEST}"));
        assert_eq!(
            "ubuntu".parse::<Reference>().unwrap().or_latest().familiar(),
            "ubuntu:latest"
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "Ubuntu",
            "a/B",
            ":tag",
            "a:",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a._b",
            "a b",
            "a@sha256:1",
            "https://host/a",
            "host:port/a",
            "host.:80/a",
            "-h.io/a",
            "[::g]/a",
            "[::1]x/a",
            "a:-b",
            "../../etc/passwd",
            "a/../b",
            "a@@sha256",
            "é",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!("a".repeat(300).parse::<Reference>().is_err());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
        assert!("a".repeat(64).parse::<Reference>().is_err());
        assert!(Repository::parse("a:b").is_err());
    }

    #[test]
    fn damaged_references_do_no_harm() {
        let seeds = [
            "ubuntu:22.04".to_owned(),
            "localhost:5000/team/app__x.y-z:v1_2".to_owned(),
            format!("[::1]:5000/a/b@{DIGEST}"),
            format!("quay.io/a:b@{DIGEST}"),
        ];
        let (mut chance, rounds) = crate::test_chance::rounds(40_000, 1);
        for (round, ()) in rounds.enumerate() {
            let mut bytes = seeds[round % seeds.len()].clone().into_bytes();
            chance.damage(&mut bytes, b":/@[].-_aA0~%\\\0 \n\xc3\xa9");
            let text = String::from_utf8_lossy(&bytes);
            let Ok(reference) = text.parse::<Reference>() else {
                continue;
            };
            // What is accepted means itself, and can be part of a path or an address.
            assert_eq!(
                reference.to_string().parse::<Reference>().unwrap(),
                reference,
                "{text:?}"
            );
            assert_eq!(
                reference.familiar().parse::<Reference>().unwrap(),
                reference,
                "{text:?}"
            );
            let path = reference.repository().path();
            assert!(
                !path.contains("..") && !path.contains("//") && path.is_ascii(),
                "{text:?}"
            );
        }
    }
}
