//! Addresses of HTTP: as much of RFC 3986 as registries use.
//!
//! May not: hold a user or a password. Where one is written it is dropped: credentials come from one place.

use std::fmt;

use crate::{Error, Result};

/// An absolute address of http or https.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Url {
    pub is_https: bool,
    /// Lower case; an IPv6 address in brackets.
    pub host: String,
    pub port: u16,
    /// Begins with `/`; with the query, without the fragment.
    pub path: String,
}

impl Url {
    /// # Errors
    /// It is no absolute address of http or https.
    pub fn parse(text: &str) -> Result<Url> {
        let invalid = || Error::invalid(format!("{text:?} is not an address of http or https"));
        let (scheme, rest) = text.split_once("://").ok_or_else(invalid)?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(invalid()),
        };
        if text.bytes().any(|b| b <= b' ' || b == 0x7f || b == b'\\') {
            return Err(invalid());
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = split_port(authority).ok_or_else(invalid)?;
        Ok(Url {
            is_https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(default_port(is_https)),
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }

    /// Where a Location or a Link leads that came in an answer from here.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn join(&self, location: &str) -> Result<Url> {
        let scheme = if self.is_https { "https" } else { "http" };
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return Url::parse(location);
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{scheme}:{location}"));
        }
        let directory = self.path.split('?').next().unwrap_or_default();
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{directory}{location}")
        } else {
            let end = directory.rfind('/').map_or(0, |at| at + 1);
            format!("{}{location}", &directory[..end])
        };
        Url::parse(&format!("{scheme}://{}{path}", self.authority()))
    }

    /// Host, and the port where it is not the scheme's own.
    pub fn authority(&self) -> String {
        if self.port == default_port(self.is_https) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether secrets that may go there may go to `other` too.
    pub fn is_same_origin(&self, other: &Url) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }

    /// With `name=value` in the query.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Url {
        self.path.push(if self.path.contains('?') { '&' } else { '?' });
        self.path.push_str(&escape(name));
        self.path.push('=');
        self.path.push_str(&escape(value));
        self
    }

    /// Another path at the same place.
    #[must_use]
    pub fn at(&self, path: &str) -> Url {
        Url {
            path: path.to_owned(),
            ..self.clone()
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// `host`, `host:port`, `[::1]`, `[::1]:port`.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rfind(']') {
        Some(end) if authority.starts_with('[') => (&authority[..=end], &authority[end + 1..]),
        _ => match authority.find(':') {
            Some(colon) => authority.split_at(colon),
            None => (authority, ""),
        },
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address
            .strip_suffix(']')
            .is_some_and(|a| a.parse::<std::net::Ipv6Addr>().is_ok()),
        None => host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    };
    if host.is_empty() || !is_host {
        return None;
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        Some("") => Some((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        _ => None,
    }
}

/// localhost and the addresses of the loopback device.
pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|a| a.is_loopback())
}

/// For a query: everything but unreserved characters, and the few that registries expect as they are in scopes and names.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_read_and_joined() {
        let base = Url::parse("https://user:secret@Host.io/v2/a/blobs/uploads/1?_state=x&y=/").unwrap();
        assert_eq!(
            base.to_string(),
            "https://host.io/v2/a/blobs/uploads/1?_state=x&y=/"
        );
        for (location, expected) in [
            ("/v2/b?c=d", "https://host.io/v2/b?c=d"),
            ("http://o:81/x#y", "http://o:81/x"),
            ("//o:443/x", "https://o/x"),
            ("2?z", "https://host.io/v2/a/blobs/uploads/2?z"),
            ("?q=http://x", "https://host.io/v2/a/blobs/uploads/1?q=http://x"),
            ("https://[::1]:5000", "https://[::1]:5000/"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected);
        }
        let url = Url::parse("http://h?x").unwrap();
        assert_eq!((url.path.as_str(), url.port), ("/?x", 80));
        assert_eq!(
            url.with_query("scope", "repository:a/b:pull,push").to_string(),
            "http://h/?x&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "host/x",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://h:x/",
            "http://h:99999/",
            "http://a b/",
            "http://h/\r\nX: y",
            "http://[::g]/",
            "http://[::1]x/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (host, expected) in [
            ("localhost", true),
            ("127.9.9.9", true),
            ("[::1]", true),
            ("localhost.example.org", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
