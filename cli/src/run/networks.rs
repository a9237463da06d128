//! `--network` in its short and its long form, and the older flags that speak of the first network.
//!
//! May not: know which networks there are.

use std::collections::BTreeMap;

use engine::model::Endpoint;
use serde_json::{Map, Value};

use super::values::{atoi, mac, netip};
use crate::flags::csv;
use crate::template::quote;

/// One `--network`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attachment {
    pub target: String,
    pub aliases: Vec<String>,
    pub driver_opts: BTreeMap<String, String>,
    pub links: Vec<String>,
    pub ipv4: Option<String>,
    pub ipv6: Option<String>,
    pub link_local: Vec<String>,
    pub mac: Option<String>,
    pub gw_priority: i64,
}

/// A name, or CSV of `name=..,alias=..,ip=..,ip6=..,mac-address=..,link-local-ip=..,driver-opt=..,gw-priority=..`.
pub fn attachment(text: &str) -> Result<Attachment, String> {
    let mut network = Attachment::default();
    if !is_long(text) {
        text.clone_into(&mut network.target);
        return Ok(network);
    }
    for field in csv(text)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim();
        match key.trim() {
            "name" => value.clone_into(&mut network.target),
            "alias" => network.aliases.push(value.to_owned()),
            "ip" => network.ipv4 = Some(netip(value)?.to_string()),
            "ip6" => network.ipv6 = Some(netip(value)?.to_string()),
            "mac-address" => network.mac = Some(value.to_owned()),
            "link-local-ip" => network.link_local.push(netip(value)?.to_string()),
            "driver-opt" => match value.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    network
                        .driver_opts
                        .insert(key.trim().to_owned(), value.trim().to_owned());
                }
                _ => return Err("invalid key value pair format in driver options".to_owned()),
            },
            "gw-priority" => {
                network.gw_priority =
                    atoi(value).map_err(|why| format!("invalid gw-priority ({value}): {why}"))?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if network.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(network)
}

/// Whether there is a word, an equals sign and a word in it.
fn is_long(text: &str) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    text.as_bytes()
        .windows(3)
        .any(|w| word(&w[0]) && w[1] == b'=' && word(&w[2]))
}

/// Whether it is a network that somebody has made, not one of the modes.
pub fn is_users(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// What all the flags say of networks: the mode, and the endpoints by name.
pub fn endpoints(
    given: Vec<Attachment>,
    older: Attachment,
) -> Result<(String, BTreeMap<String, Endpoint>), String> {
    let mode = given.first().map_or("default", |n| n.target.as_str()).to_owned();
    let alone = given.len() == 1;
    if given.is_empty() {
        let network = with_older(
            Attachment {
                target: "default".to_owned(),
                ..Attachment::default()
            },
            older,
        )?;
        return Ok((mode, BTreeMap::from([("default".to_owned(), endpoint(network)?)])));
    }
    let mut all = BTreeMap::new();
    let (mut users, mut modes) = (false, false);
    let mut older = Some(older);
    for network in given {
        match is_users(&network.target) {
            true => users = true,
            false => modes = true,
        }
        let network = match older.take() {
            Some(older) => with_older(network, older)?,
            None => network,
        };
        let target = network.target.clone();
        let endpoint = endpoint(network)?;
        if all.contains_key(&target) {
            return Err(format!("network {} is specified multiple times", quote(&target)));
        }
        if alone && endpoint == Endpoint::default() {
            continue;
        }
        all.insert(target, endpoint);
    }
    if users && modes {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                .to_owned(),
        );
    }
    Ok((mode, all))
}

fn with_older(mut network: Attachment, older: Attachment) -> Result<Attachment, String> {
    let both = |what: &str| Err(format!("conflicting options: cannot specify both {what}"));
    if !network.aliases.is_empty() && !older.aliases.is_empty() {
        return both("--network-alias and per-network alias");
    }
    if network.ipv4.is_some() && older.ipv4.is_some() {
        return both("--ip and per-network IPv4 address");
    }
    if network.ipv6.is_some() && older.ipv6.is_some() {
        return both("--ip6 and per-network IPv6 address");
    }
    if network.mac.is_some() && older.mac.is_some() {
        return both("--mac-address and per-network MAC address");
    }
    if !network.link_local.is_empty() && !older.link_local.is_empty() {
        return both("--link-local-ip and per-network link-local IP addresses");
    }
    if !older.aliases.is_empty() {
        network.aliases = older.aliases;
    }
    // On the default network a link is the container's own matter (HostConfig.Links), on others an alias.
    if is_users(&network.target) && !older.links.is_empty() {
        network.links = older.links;
    }
    network.ipv4 = older.ipv4.or(network.ipv4);
    network.ipv6 = older.ipv6.or(network.ipv6);
    network.mac = older.mac.or(network.mac);
    if !older.link_local.is_empty() {
        network.link_local = older.link_local;
    }
    Ok(network)
}

fn endpoint(network: Attachment) -> Result<Endpoint, String> {
    if network.target.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    if !is_users(&network.target) {
        if !network.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
        }
        if !network.links.is_empty() {
            return Err("links are only supported for user-defined networks".to_owned());
        }
    }
    let some = |list: Vec<String>| Some(list).filter(|l| !l.is_empty());
    let mut ipam = Map::new();
    ipam.extend(network.ipv4.map(|ip| ("IPv4Address".to_owned(), Value::from(ip))));
    ipam.extend(network.ipv6.map(|ip| ("IPv6Address".to_owned(), Value::from(ip))));
    ipam.extend(some(network.link_local).map(|ips| ("LinkLocalIPs".to_owned(), Value::from(ips))));
    let mac_address = match network.mac {
        None => String::new(),
        Some(text) => mac(&text).ok_or_else(|| format!("{text} is not a valid mac address"))?,
    };
    Ok(Endpoint {
        ipam_config: Some(Value::Object(ipam)).filter(|v| v.as_object().is_some_and(|o| !o.is_empty())),
        links: some(network.links),
        aliases: some(network.aliases),
        driver_opts: Some(network.driver_opts).filter(|o| !o.is_empty()),
        gw_priority: network.gw_priority,
        mac_address,
        ..Endpoint::default()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(attachment("host").unwrap().target, "host");
        assert_eq!(attachment("container:x").unwrap().target, "container:x");
        let long = attachment(
            "name=Net,alias=a,alias=b,ip=10.0.0.2,ip6=fd00::2,mac-address=02:00:00:00:00:01,driver-opt=k=v,gw-priority=5",
        )
        .unwrap();
        assert_eq!(long.target, "net");
        assert_eq!(long.aliases, ["a", "b"]);
        assert_eq!((long.ipv4.unwrap(), long.gw_priority), ("10.0.0.2".to_owned(), 5));
        for (text, message) in [
            ("alias=x", "network name/id is not specified"),
            ("name=x,what=y", "invalid field key what"),
            ("name=x,y", "invalid field y"),
            ("name=x,ip=1.2.3", "ParseAddr(\"1.2.3\"): IPv4 address too short"),
            ("name=x,gw-priority=a", "invalid gw-priority (a): invalid syntax"),
        ] {
            assert_eq!(attachment(text).unwrap_err(), message, "{text}");
        }
    }

    #[test]
    fn with_the_older_flags() {
        let older = || Attachment {
            aliases: vec!["a".into()],
            ipv4: Some("10.0.0.9".into()),
            links: vec!["db:db".into()],
            ..Attachment::default()
        };
        let (mode, all) = endpoints(vec![attachment("net").unwrap()], older()).unwrap();
        assert_eq!(mode, "net");
        assert_eq!(all["net"].aliases, Some(vec!["a".to_owned()]));
        assert_eq!(all["net"].links, Some(vec!["db:db".to_owned()]));
        assert_eq!(
            all["net"].ipam_config.as_ref().unwrap()["IPv4Address"],
            "10.0.0.9"
        );
        for (networks, message) in [
            (
                &["host"][..],
                "network-scoped aliases are only supported for user-defined networks",
            ),
            (&["a", "a"], "network \"a\" is specified multiple times"),
            (
                &["a", "host"],
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
            ),
            (
                &["name=a,ip=10.0.0.1"],
                "conflicting options: cannot specify both --ip and per-network IPv4 address",
            ),
        ] {
            let given = networks.iter().map(|n| attachment(n).unwrap()).collect();
            assert_eq!(endpoints(given, older()).unwrap_err(), message, "{networks:?}");
        }
        let nothing = Attachment::default;
        assert!(
            endpoints(vec![attachment("host").unwrap()], nothing())
                .unwrap()
                .1
                .is_empty()
        );
        assert_eq!(endpoints(Vec::new(), nothing()).unwrap().0, "default");
    }
}
