//! `--publish` and `--expose`.
//!
//! May not: look whether a port is free.

use std::collections::BTreeMap;

use engine::model::{Empty, PortBinding};

use super::values;

/// Ports of the container, `80/tcp`, and where they are published.
pub type Published = BTreeMap<String, Vec<PortBinding>>;

/// All `--publish`.
pub fn published(given: &[String]) -> Result<Published, String> {
    let mut all = Published::new();
    for text in given {
        for (port, binding) in publish(&standard(text)?)? {
            all.entry(port).or_default().push(binding);
        }
    }
    Ok(all)
}

/// The ports that a container has: published ones, and those of `--expose`.
pub fn exposed(published: &Published, given: &[String]) -> Result<BTreeMap<String, Empty>, String> {
    let mut all: BTreeMap<String, Empty> = published.keys().map(|p| (p.clone(), Empty {})).collect();
    for text in given {
        let complain = |why: String| format!("invalid range format for --expose: {why}");
        if text.is_empty() {
            return Err(complain("invalid port range: value is empty".to_owned()));
        }
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (from, to) = range_of(range).map_err(complain)?;
        let protocol = match protocol {
            "" => "tcp".to_owned(),
            protocol => protocol.to_lowercase(),
        };
        all.extend((from..=to).map(|port| (format!("{port}/{protocol}"), Empty {})));
    }
    Ok(all)
}

/// From `target=80,published=8080,protocol=tcp` to the short form.
fn standard(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let mut fields = BTreeMap::from([("protocol", "tcp")]);
    for field in text.split(',') {
        match field.split_once('=') {
            Some((key, value)) if !key.is_empty() => fields.insert(key, value),
            _ => {
                return Err(format!(
                    "invalid publish opts format (should be name=value but got '{field}')"
                ));
            }
        };
    }
    let field = |name| fields.get(name).copied().unwrap_or_default();
    Ok(format!(
        "{}:{}/{}",
        field("published"),
        field("target"),
        field("protocol")
    ))
}

/// `[ADDRESS:][HOST[-HOST]]:PORT[-PORT][/PROTOCOL]`.
fn publish(text: &str) -> Result<Vec<(String, PortBinding)>, String> {
    let mut parts = text.rsplitn(3, ':');
    let (port, host, address) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let (host, address) = (host.unwrap_or_default(), address.unwrap_or_default());
    let (port, protocol) = port.split_once('/').unwrap_or((port, ""));
    if port.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let protocol = match protocol.to_lowercase() {
        empty if empty.is_empty() => "tcp".to_owned(),
        known if ["tcp", "udp", "sctp"].contains(&known.as_str()) => known,
        other => return Err(format!("invalid proto: {other}")),
    };
    let plain = match address.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(|| {
            format!("invalid IP address {address}: address {address}: missing ']' in address")
        })?,
        None => address,
    };
    if !plain.is_empty() && plain.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {plain}"));
    }
    let (from, to) = range_of(port).map_err(|_| format!("invalid containerPort: {port}"))?;
    let hosts = match host {
        "" => None,
        host => Some(range_of(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if let Some((first, last)) = hosts
        && to - from != last - first
        && from != to
    {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {port} and {host}"
        ));
    }
    let binding = |n: u16| PortBinding {
        host_ip: plain.to_owned(),
        host_port: match hosts {
            None => String::new(),
            // One of them will do, for a single port.
            Some((first, last)) if from == to && first != last => format!("{first}-{last}"),
            Some((first, _)) => (first + n).to_string(),
        },
    };
    Ok((0..=to - from)
        .map(|n| (format!("{}/{protocol}", from + n), binding(n)))
        .collect())
}

/// `80` or `8000-8010`.
pub fn range_of(text: &str) -> Result<(u16, u16), String> {
    let (start, end) = match text.split_once('-') {
        Some((start, end)) => (start, end),
        None => (text, text),
    };
    let first = number(start).map_err(|why| format!("invalid start port '{start}': {why}"))?;
    let last = number(end).map_err(|why| format!("invalid end port '{end}': {why}"))?;
    if last < first {
        return Err(format!("invalid port range: {text}"));
    }
    Ok((first, last))
}

fn number(text: &str) -> Result<u16, String> {
    if text.is_empty() {
        return Err("value is empty".to_owned());
    }
    let number = values::atoi(text)?;
    u16::try_from(number).map_err(|_| "value out of range (0\u{2013}65535)".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let all = published(&[text.to_owned()])?;
        let lines: Vec<String> = all
            .iter()
            .flat_map(|(port, bindings)| {
                bindings
                    .iter()
                    .map(move |b| format!("{port}={}@{}", b.host_port, b.host_ip))
            })
            .collect();
        Ok(lines.join(" "))
    }

    #[test]
    fn forms() {
        for (text, published) in [
            ("80", "80/tcp=@"),
            ("8080:80", "80/tcp=8080@"),
            ("8080:80/UDP", "80/udp=8080@"),
            ("127.0.0.1:8080:80", "80/tcp=8080@127.0.0.1"),
            ("127.0.0.1::80", "80/tcp=@127.0.0.1"),
            ("[::1]:8080:80", "80/tcp=8080@::1"),
            ("::1:8080:80", "80/tcp=8080@::1"),
            ("8000-8002:80-82", "80/tcp=8000@ 81/tcp=8001@ 82/tcp=8002@"),
            ("8000-8010:80", "80/tcp=8000-8010@"),
            ("published=8080,target=80,protocol=udp,mode=host", "80/udp=8080@"),
            ("target=80", "80/tcp=@"),
        ] {
            assert_eq!(shown(text).unwrap(), published, "{text}");
        }
    }

    #[test]
    fn complaints() {
        for (text, message) in [
            ("8080:", "no port specified: 8080:<empty>"),
            ("x", "invalid containerPort: x"),
            ("x:80", "invalid hostPort: x"),
            ("70000:80", "invalid hostPort: 70000"),
            ("80/icmp", "invalid proto: icmp"),
            ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
            ("host:80:80", "invalid IP address: host"),
            (
                "8000-8001:80-83",
                "invalid ranges specified for container and host Ports: 80-83 and 8000-8001",
            ),
            (
                "target=80,x",
                "invalid publish opts format (should be name=value but got 'x')",
            ),
        ] {
            assert_eq!(shown(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn exposing() {
        let exposed = |text: &str| exposed(&Published::new(), &[text.to_owned()]);
        let keys: Vec<String> = exposed("80-82/UDP").unwrap().into_keys().collect();
        assert_eq!(keys, ["80/udp", "81/udp", "82/udp"]);
        for (text, why) in [
            ("x", "invalid start port 'x': invalid syntax"),
            ("82-80", "invalid port range: 82-80"),
            (
                "70000",
                "invalid start port '70000': value out of range (0\u{2013}65535)",
            ),
            ("", "invalid port range: value is empty"),
        ] {
            assert_eq!(
                exposed(text).unwrap_err(),
                format!("invalid range format for --expose: {why}")
            );
        }
    }
}
