//! Ports of EXPOSE: `80`, `53/udp`, `7000-7005/tcp`, and what ought not to stand there, addresses and ports of the host.

use crate::source::quoted;

/// What one word of EXPOSE says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    pub first: u16,
    pub last: u16,
    /// In lower case.
    pub protocol: String,
    /// The protocol is not written so.
    pub odd_protocol: bool,
    /// There is an address or a port of the host.
    pub has_host: bool,
}

impl Ports {
    /// As a configuration lists them: `7000/tcp`, `7001/tcp`.
    pub fn each(&self) -> impl Iterator<Item = String> + '_ {
        (self.first..=self.last).map(|port| format!("{port}/{}", self.protocol))
    }

    /// # Errors
    /// It is no port, in BuildKit's words.
    pub fn parse(text: &str) -> Result<Ports, String> {
        let (address, host, container) = split(text);
        let (port, protocol) = match container.split_once('/') {
            Some((port, protocol)) => (port, protocol),
            None => (container, ""),
        };
        if port.is_empty() {
            return Err(format!("invalid port: {}: no port specified", quoted(text)));
        }
        let lower = protocol.to_ascii_lowercase();
        let known = match lower.as_str() {
            "" => "tcp",
            "tcp" | "udp" | "sctp" => lower.as_str(),
            _ => {
                return Err(format!(
                    "invalid port: {}: invalid proto: {protocol}",
                    quoted(text)
                ));
            }
        };
        let bare = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        if !address.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
            return Err(format!("invalid IP address: {bare}"));
        }
        let (first, last) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
        if !host.is_empty() {
            let (from, to) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
            if last - first != to - from && last != first {
                return Err(format!(
                    "invalid ranges specified for container and host Ports: {port} and {host}"
                ));
            }
        }
        Ok(Ports {
            first,
            last,
            protocol: known.to_owned(),
            odd_protocol: protocol != lower,
            has_host: !address.is_empty() || !host.is_empty(),
        })
    }
}

/// Address, port of the host, port of the container.
fn split(text: &str) -> (&str, &str, &str) {
    match text.rsplit_once(':') {
        None => ("", "", text),
        Some((before, container)) => match before.rsplit_once(':') {
            None => ("", before, container),
            Some((address, host)) => (address, host, container),
        },
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        let digits = text.strip_prefix('+').unwrap_or(text);
        digits.parse::<u16>().ok().filter(|_| !digits.starts_with('+'))
    };
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from)?, number(to)?),
        None => (number(text)?, number(text)?),
    };
    (from <= to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports() {
        for (text, listed) in [
            ("80", vec!["80/tcp"]),
            ("53/udp", vec!["53/udp"]),
            ("53/UDP", vec!["53/udp"]),
            ("7000-7002/tcp", vec!["7000/tcp", "7001/tcp", "7002/tcp"]),
            ("9-9/sctp", vec!["9/sctp"]),
            ("80/", vec!["80/tcp"]),
            ("8080:80", vec!["80/tcp"]),
            ("127.0.0.1:8080:80", vec!["80/tcp"]),
            ("[::1]:8080:80/udp", vec!["80/udp"]),
            ("8000-9000:80", vec!["80/tcp"]),
        ] {
            assert_eq!(
                Ports::parse(text).unwrap().each().collect::<Vec<_>>(),
                listed,
                "{text}"
            );
        }
        assert!(Ports::parse("8080:80").unwrap().has_host);
        assert!(Ports::parse("53/UDP").unwrap().odd_protocol);
        assert_eq!(Ports::parse("0-65535").unwrap().each().count(), 65536);
        for (text, message) in [
            ("", "invalid port: \"\": no port specified"),
            ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
            ("http", "invalid containerPort: http"),
            ("70000", "invalid containerPort: 70000"),
            ("9-8", "invalid containerPort: 9-8"),
            ("x:80", "invalid hostPort: x"),
            ("x:1:80", "invalid IP address: x"),
            (
                "1-2:3-5",
                "invalid ranges specified for container and host Ports: 3-5 and 1-2",
            ),
        ] {
            assert_eq!(Ports::parse(text).unwrap_err(), message, "{text}");
        }
    }
}
