//! Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go reads them (golang.org/x/net/http/httpproxy), because
//! that is what people have set for docker.
//!
//! May not: read the environment by itself.

use std::net::IpAddr;

use super::url::{Url, is_loopback, split_port};

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub http: Option<String>,
    pub https: Option<String>,
    /// Comma separated: `*`, addresses, networks, `.domain`, `domain`, each perhaps with a port.
    pub none: String,
}

impl Proxies {
    /// From the variables of an environment; the upper-case name counts first.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Proxies {
        let either = |upper: &str| {
            let set = |name: &str| variable(name).filter(|v| !v.is_empty());
            set(upper).or_else(|| set(&upper.to_ascii_lowercase()))
        };
        Proxies {
            http: either("HTTP_PROXY"),
            https: either("HTTPS_PROXY"),
            none: either("NO_PROXY").unwrap_or_default(),
        }
    }

    /// The proxy for that address.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<String> {
        let proxy = if url.is_https { &self.https } else { &self.http }.as_ref()?;
        if is_loopback(&url.host) || self.is_excepted(url) {
            return None;
        }
        Some(if proxy.contains("://") {
            proxy.clone()
        } else {
            format!("http://{proxy}")
        })
    }

    fn is_excepted(&self, url: &Url) -> bool {
        let host = url
            .host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.');
        let address = host.parse::<IpAddr>().ok();
        self.none
            .split(',')
            .map(str::trim)
            .filter(|e| !e.is_empty())
            .any(|entry| {
                let entry = entry.to_ascii_lowercase();
                if entry == "*" {
                    return true;
                }
                if let Some((network, bits)) = entry.split_once('/') {
                    return is_in_network(address, network, bits);
                }
                // A bare IPv6 address has colons of its own.
                if let Ok(excepted) = entry.parse::<IpAddr>() {
                    return address == Some(excepted);
                }
                let Some((name, port)) = split_port(entry.strip_prefix('*').unwrap_or(&entry)) else {
                    return false;
                };
                if port.is_some_and(|p| p != url.port) {
                    return false;
                }
                let bare = name.trim_start_matches('[').trim_end_matches(']');
                if let Ok(excepted) = bare.parse::<IpAddr>() {
                    return address == Some(excepted);
                }
                match name.strip_prefix('.') {
                    // `.example.org` leaves example.org itself to the proxy.
                    Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
                    None => host == name || host.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')),
                }
            })
    }
}

/// Whether an address is in `network/bits`.
pub(super) fn is_in_network(address: Option<IpAddr>, network: &str, bits: &str) -> bool {
    let (Some(address), Ok(network), Ok(bits)) = (address, network.parse::<IpAddr>(), bits.parse::<u32>())
    else {
        return false;
    };
    let prefix = |value: u128, width: u32| {
        if bits == 0 {
            0
        } else {
            value >> (width - bits.min(width))
        }
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            prefix(a.to_bits().into(), 32) == prefix(n.to_bits().into(), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => prefix(a.to_bits(), 128) == prefix(n.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn exceptions_are_those_of_go() {
        let proxies = Proxies {
            http: Some("plain:3128".to_owned()),
            https: Some("http://secure:3128".to_owned()),
            none: "example.org, .sub.net,10.0.0.0/8,192.168.1.5:5000,[fd00::1]:5000, fd00::2,host.io:444,*.star.io,".to_owned(),
        };
        for (url, expected) in [
            ("https://other.org/", Some("http://secure:3128")),
            ("http://other.org/", Some("http://plain:3128")),
            ("https://example.org/", None),
            ("https://a.example.org/", None),
            ("https://badexample.org/", Some("http://secure:3128")),
            ("https://sub.net/", Some("http://secure:3128")),
            ("https://a.sub.net/", None),
            ("https://10.1.2.3/", None),
            ("https://11.1.2.3/", Some("http://secure:3128")),
            ("https://192.168.1.5:5000/", None),
            ("https://192.168.1.5:5001/", Some("http://secure:3128")),
            ("https://[fd00::1]:5000/", None),
            ("https://[fd00::1]:5001/", Some("http://secure:3128")),
            ("https://[fd00::2]/", None),
            ("https://host.io/", Some("http://secure:3128")),
            ("https://host.io:444/", None),
            ("https://a.star.io/", None),
            ("https://localhost:5000/", None),
            ("http://127.0.0.1:5000/", None),
            ("http://[::1]:5000/", None),
        ] {
            let proxy = proxies.proxy_for(&Url::parse(url).unwrap());
            assert_eq!(proxy.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn both_spellings_are_read() {
        let proxies = Proxies::of(|name| match name {
            "https_proxy" => Some("a:1".to_owned()),
            "HTTP_PROXY" => Some("b:1".to_owned()),
            "http_proxy" => Some("c:1".to_owned()),
            "no_proxy" => Some("*".to_owned()),
            _ => None,
        });
        assert_eq!(
            (proxies.https.as_deref(), proxies.http.as_deref()),
            (Some("a:1"), Some("b:1"))
        );
        assert_eq!(proxies.proxy_for(&Url::parse("https://x/").unwrap()), None);
    }
}
