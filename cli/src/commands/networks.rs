//! `network`.

use std::collections::BTreeMap;

use engine::containers::Containers;
use engine::model::Endpoint;
use engine::networks::connect;
use engine::networks::make::{self, Wanted};
use engine::networks::{Ipam, Networks, Pool, Record};
use engine::pattern::Pattern;
use image::Kind;
use network::leases;
use network::pool::Subnet;
use serde_json::{Map, Value as Json};

use super::{FILTER, FORMAT, FORMAT_OBJECT, NO_TRUNC, QUIET_IDS, each};
use crate::choose::Choice;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes, boolean};
use crate::rows::inspect::Inspector;
use crate::rows::networks::{self as rows, Look};
use crate::run::{devices, values};
use crate::session::{Failure, Outcome, Session};
use crate::template::Value;
use crate::{format, terminal, units, workshop};

pub(super) static ALL: &[Command] = &[CONNECT, CREATE, DISCONNECT, INSPECT, LS, PRUNE, RELOAD, RM];

const CONNECT: Command = Command {
    about: "A container that runs is in the network at once; one that does not, from its next start on.",
    usage: "[OPTIONS] NETWORK CONTAINER",
    ways: &["network connect"],
    count: Count::Exactly(2),
    flags: &[
        Flag::new(
            "alias",
            Takes::List,
            "Another name of the container in this network",
        ),
        Flag::new("driver-opt", Takes::List, "Option of the driver: KEY=VALUE"),
        Flag::new(
            "gw-priority",
            Takes::Int,
            "The network with the highest number has the default route",
        ),
        Flag::new("ip", Takes::Text, "IPv4 address"),
        Flag::new("ip6", Takes::Text, "IPv6 address"),
        Flag::new(
            "link",
            Takes::List,
            "Give another container a name that only this one knows",
        ),
        Flag::new("link-local-ip", Takes::List, "Link-local address"),
    ],
    examples: &["{name} network connect --alias db --ip 10.5.0.7 back postgres"],
    offers: Offers::Networks,
    ..Command::new("connect", "Connect a container with a network", join)
};

const CREATE: Command = Command {
    about: "Containers in it find each other by name, and are kept apart from those in other networks.\n\nOptions of the driver bridge: com.docker.network.bridge.name, com.docker.network.bridge.enable_icc, com.docker.network.bridge.enable_ip_masquerade,\ncom.docker.network.bridge.host_binding_ipv4, com.docker.network.bridge.gateway_mode_ipv4, com.docker.network.bridge.gateway_mode_ipv6,\ncom.docker.network.driver.mtu. Of macvlan: parent, macvlan_mode. Of ipvlan: parent, ipvlan_mode.",
    usage: "[OPTIONS] NETWORK",
    ways: &["network create"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new(
            "attachable",
            Takes::Switch(false),
            "Kept for inspect; every network is",
        ),
        Flag::new(
            "aux-address",
            Takes::List,
            "Set an address of a subnet aside: NAME=ADDRESS",
        ),
        Flag::new("config-from", Takes::Text, "").hidden(),
        Flag::new("config-only", Takes::Switch(false), "").hidden(),
        Flag::new("driver", Takes::Text, "bridge, macvlan or ipvlan")
            .short('d')
            .default("bridge")
            .offers(Offers::Choice(&["bridge", "macvlan", "ipvlan"])),
        Flag::new("gateway", Takes::Words, "The gateway's address in a subnet"),
        Flag::new("ingress", Takes::Switch(false), "").hidden(),
        Flag::new(
            "internal",
            Takes::Switch(false),
            "Nothing leads out of it, and nothing in",
        ),
        Flag::new(
            "ip-range",
            Takes::Words,
            "Give addresses from this part of a subnet only",
        ),
        Flag::new(
            "ipam-driver",
            Takes::Text,
            "Who gives addresses; there is one: default",
        )
        .default("default"),
        Flag::new("ipam-opt", Takes::List, "Option of the IPAM driver: KEY=VALUE"),
        Flag::new("ipv4", Takes::Switch(true), "Give IPv4 addresses").default("true"),
        Flag::new("ipv6", Takes::Switch(false), "Give IPv6 addresses, too"),
        Flag::new("label", Takes::List, "Label: KEY[=VALUE]"),
        Flag::new("opt", Takes::List, "Option of the driver: KEY=VALUE").short('o'),
        Flag::new("scope", Takes::Text, "").hidden(),
        Flag::new(
            "subnet",
            Takes::Words,
            "Subnet; without one, the first that is free",
        ),
    ],
    examples: &[
        "{name} network create back",
        "{name} network create --subnet 10.5.0.0/16 --gateway 10.5.0.1 --internal db",
        "{name} network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --gateway 192.0.2.1 lan",
    ],
    ..Command::new("create", "Make a network", create)
};

const DISCONNECT: Command = Command {
    usage: "[OPTIONS] NETWORK CONTAINER",
    ways: &["network disconnect"],
    count: Count::Exactly(2),
    flags: &[Flag::new(
        "force",
        Takes::Switch(false),
        "That the container is not there is no failure",
    )
    .short('f')],
    examples: &["{name} network disconnect back web"],
    offers: Offers::Networks,
    ..Command::new("disconnect", "Take a container out of a network", leave)
};

const INSPECT: Command = Command {
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    ways: &["network inspect"],
    count: Count::AtLeast(1),
    flags: &[
        FORMAT_OBJECT,
        Flag::new("verbose", Takes::Switch(false), "As without: there is no swarm").short('v'),
    ],
    examples: &["{name} network inspect --format '{{range .IPAM.Config}}{{.Subnet}}{{end}}' back"],
    offers: Offers::Networks,
    ..Command::new("inspect", "Show all there is to know of networks", inspect)
};

const LS: Command = Command {
    aliases: &["list"],
    about: "Filters: dangling=true, driver=DRIVER, id=ID, label=KEY[=VALUE], name=PATTERN, scope=local, type=custom or builtin.",
    usage: "[OPTIONS]",
    ways: &["network ls", "network list"],
    flags: &[FILTER, FORMAT, NO_TRUNC, QUIET_IDS],
    examples: &["{name} network ls --filter type=custom"],
    ..Command::new("ls", "List networks", list)
};

const PRUNE: Command = Command {
    about: "Filters: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE].",
    usage: "[OPTIONS]",
    ways: &["network prune"],
    flags: &[
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
    ],
    examples: &["{name} network prune -f"],
    ..Command::new("prune", "Remove the networks that no container is in", prune)
};

const RELOAD: Command = Command {
    about: "For when somebody has flushed the firewall. The next start of a container does it, too.",
    ways: &["network reload"],
    examples: &["{name} network reload"],
    ..Command::new("reload", "Install the rules of all networks once more", reload)
};

const RM: Command = Command {
    aliases: &["remove"],
    usage: "NETWORK [NETWORK...]",
    ways: &["network rm", "network remove"],
    count: Count::AtLeast(1),
    flags: &[Flag::new(
        "force",
        Takes::Switch(false),
        "That one is not there is no failure",
    )
    .short('f')],
    examples: &["{name} network rm back"],
    offers: Offers::Networks,
    ..Command::new("rm", "Remove networks", remove)
};

fn open(session: &Session) -> Result<(Containers, Networks), Failure> {
    let containers = workshop::containers_on_ground(session)?;
    let networks = Networks::of(containers.roots());
    Ok((containers, networks))
}

fn create(session: &Session, parsed: &Parsed) -> Outcome {
    for flag in ["config-from", "config-only", "ingress"] {
        if parsed.was_given(flag) {
            return Err(Failure::plain(format!(
                "--{flag} belongs to a swarm, and {} has none",
                session.program.name()
            )));
        }
    }
    let options = devices::pairs(&parsed.list("ipam-opt"));
    let wanted = Wanted {
        name: parsed.operand(0).unwrap_or_default(),
        driver: parsed.text("driver").unwrap_or_else(|| "bridge".into()),
        ipv4: !parsed.was_given("ipv4") || parsed.switch("ipv4"),
        ipv6: parsed.switch("ipv6"),
        ipam: Ipam {
            driver: parsed.text("ipam-driver").unwrap_or_else(|| "default".into()),
            options: Some(options).filter(|o| !o.is_empty()),
            pools: pools(parsed).map_err(Failure::plain)?,
        },
        internal: parsed.switch("internal"),
        attachable: parsed.switch("attachable"),
        scope: parsed.text("scope").unwrap_or_default(),
        options: devices::pairs(&parsed.list("opt")),
        labels: devices::pairs(&parsed.list("label")),
    };
    let (_, networks) = open(session)?;
    let record = make::create(&networks, wanted)?;
    session.print(&format!("{}\n", record.id))
}

/// Ranges, gateways and addresses belong to the subnet that they lie in.
fn pools(parsed: &Parsed) -> Result<Vec<Pool>, String> {
    let (subnets, ranges, gateways) = (
        parsed.list("subnet"),
        parsed.list("ip-range"),
        parsed.list("gateway"),
    );
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let block = |text: &str| text.parse::<Subnet>().map_err(|e| e.to_string());
    let mut pools: Vec<(Subnet, Pool)> = Vec::new();
    for text in subnets {
        let subnet = block(&text)?;
        if pools.iter().any(|(other, _)| other.overlaps(&subnet)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
        let pool = Pool {
            subnet: text,
            is_given: true,
            ..Pool::default()
        };
        pools.push((subnet, pool));
    }
    let in_pool = |pools: &mut Vec<(Subnet, Pool)>, address: std::net::IpAddr| {
        pools.iter().position(|(subnet, _)| subnet.contains(address))
    };
    for text in ranges {
        let base = block(&text)?.base();
        let at = in_pool(&mut pools, base).ok_or_else(|| format!("no matching subnet for range {text}"))?;
        let pool = &mut pools[at].1;
        if !pool.ip_range.is_empty() {
            return Err(format!(
                "cannot configure multiple ranges ({text}, {}) on the same subnet ({})",
                pool.ip_range, pool.subnet
            ));
        }
        pool.ip_range = text;
    }
    for text in gateways {
        let at = text.parse().ok().and_then(|address| in_pool(&mut pools, address));
        let at = at.ok_or_else(|| format!("no matching subnet for gateway {text}"))?;
        let pool = &mut pools[at].1;
        if !pool.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({text}, {}) for the same subnet ({})",
                pool.gateway, pool.subnet
            ));
        }
        pool.gateway = text;
    }
    for (name, text) in devices::pairs(&parsed.list("aux-address")) {
        let at = text.parse().ok().and_then(|address| in_pool(&mut pools, address));
        let at = at.ok_or_else(|| format!("no matching subnet for aux-address {text}"))?;
        pools[at].1.auxiliary.insert(name, text);
    }
    Ok(pools.into_iter().map(|(_, pool)| pool).collect())
}

fn join(session: &Session, parsed: &Parsed) -> Outcome {
    let (network, container) = (
        parsed.operand(0).unwrap_or_default(),
        parsed.operand(1).unwrap_or_default(),
    );
    let mut ipam = Map::new();
    for (flag, key) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
        if let Some(text) = parsed.text(flag).filter(|t| !t.is_empty()) {
            let address = values::netip(&text).map_err(|why| {
                Failure::new(
                    125,
                    format!("invalid argument {text:?} for \"--{flag}\" flag: {why}"),
                )
            })?;
            ipam.insert(key.to_owned(), Json::from(address.to_string()));
        }
    }
    let local = parsed.list("link-local-ip");
    if !local.is_empty() {
        ipam.insert("LinkLocalIPs".to_owned(), Json::from(local));
    }
    let some = |list: Vec<String>| Some(list).filter(|l| !l.is_empty());
    let options = devices::pairs(&parsed.list("driver-opt"));
    let endpoint = Endpoint {
        ipam_config: Some(Json::Object(ipam)).filter(|v| v.as_object().is_some_and(|o| !o.is_empty())),
        links: some(parsed.list("link")),
        aliases: some(parsed.list("alias")),
        driver_opts: Some(options).filter(|o| !o.is_empty()),
        gw_priority: parsed.int("gw-priority").unwrap_or(0),
        ..Endpoint::default()
    };
    let (containers, networks) = open(session)?;
    networks.find(&network)?;
    let id = containers.find_id(&container)?;
    Ok(connect::connect(&containers, &network, &id, endpoint)?)
}

fn leave(session: &Session, parsed: &Parsed) -> Outcome {
    let (network, container) = (
        parsed.operand(0).unwrap_or_default(),
        parsed.operand(1).unwrap_or_default(),
    );
    let (containers, networks) = open(session)?;
    networks.find(&network)?;
    let id = match containers.find_id(&container) {
        Err(e) if e.kind() == Kind::NotFound && parsed.switch("force") => return Ok(()),
        id => id?,
    };
    Ok(connect::disconnect(&containers, &network, &id)?)
}

/// The document of a network.
pub(super) fn document(containers: &Containers, networks: &Networks, name: &str) -> image::Result<Value> {
    let record = networks.find(name)?;
    let users = networks.users(containers, &record.id)?;
    let leased: Vec<_> = leases::list(&containers.roots().run, &record.id)
        .map_err(engine::networks::attach::refusal)?
        .into_iter()
        .filter(|(_, owner)| users.iter().any(|u| u.container == *owner))
        .collect();
    let counts: Vec<u64> = record
        .subnets()
        .iter()
        .map(|subnet| leased.iter().filter(|(a, _)| subnet.contains(*a)).count() as u64)
        .collect();
    Ok(rows::document(&record, &users, &counts))
}

fn inspect(session: &Session, parsed: &Parsed) -> Outcome {
    let inspector = Inspector::new(parsed.text("format").as_deref())?;
    let (containers, networks) = open(session)?;
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in parsed.names() {
        match document(&containers, &networks, &name) {
            Ok(value) => objects.push(value),
            Err(e) => errors.push(Failure::from(e).line(session.program)),
        }
    }
    session.print(&inspector.show(&objects, &mut errors))?;
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::plain(errors.join("\n"))),
    }
}

fn list(session: &Session, parsed: &Parsed) -> Outcome {
    let quiet = parsed.switch("quiet");
    let given = parsed.text("format").filter(|f| !f.is_empty());
    if given.is_some() && quiet {
        format::quiet_wins(session);
    }
    let own = Some(session.config().networks_format.clone()).filter(|f| !f.is_empty());
    let format = given.or(own);
    let filters = parsed.filters("filter");
    let filter = Filter::of(&filters)?;
    let (containers, networks) = open(session)?;
    let mut all = networks.list()?;
    let used = match filter.dangling {
        Some(_) => networks.used(&containers)?,
        None => BTreeMap::new(),
    };
    all.retain(|record| filter.takes(record, used.contains_key(&record.id)));
    all.sort_by(|a, b| units::natural(&a.name, &b.name));
    let look = Look {
        format: format.as_deref(),
        quiet,
        no_trunc: parsed.switch("no-trunc"),
    };
    session.print(&rows::list(&all, look)?)
}

/// Which networks are meant: of one filter several values are alternatives, of several filters all have to hold.
#[derive(Default)]
struct Filter {
    dangling: Option<bool>,
    plain: Vec<(String, String)>,
    names: Vec<Option<Pattern>>,
}

impl Filter {
    fn of(given: &[(String, String)]) -> Result<Filter, Failure> {
        let invalid = |text: String| Failure::from(image::Error::invalid(text));
        let mut filter = Filter::default();
        for (name, value) in given {
            match (name.as_str(), value.as_str()) {
                ("dangling", _) => {
                    let is =
                        boolean(value).map_err(|_| invalid(format!("invalid filter 'dangling={value}'")))?;
                    filter.dangling = Some(is);
                }
                ("name", _) => filter.names.push(Pattern::parse(value).ok()),
                ("type", "custom" | "builtin") | ("driver" | "id" | "label" | "scope", _) => {
                    filter.plain.push((name.clone(), value.clone()));
                }
                ("type", _) => return Err(invalid(format!("invalid filter 'type={value}'"))),
                _ => return Err(invalid(format!("invalid filter '{name}'"))),
            }
        }
        Ok(filter)
    }

    fn takes(&self, record: &Record, is_used: bool) -> bool {
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            let mut values = self.plain.iter().filter(|(n, _)| n == name).peekable();
            values.peek().is_none() || values.any(|(_, value)| fits(value))
        };
        let label = |(_, text): &(String, String)| match text.split_once('=') {
            Some((key, value)) => record.labels.get(key).is_some_and(|v| v == value),
            None => record.labels.contains_key(text),
        };
        let named = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(|p| p.is_in(&record.name));
        let is_dangling = !is_used && !record.is_predefined();
        self.dangling.is_none_or(|wanted| wanted == is_dangling)
            && (self.names.is_empty() || self.names.iter().any(named))
            && any("driver", &|text| record.driver == text)
            && any("id", &|text| record.id.starts_with(text))
            && any("scope", &|text| text == "local")
            && any("type", &|text| (text == "builtin") == record.is_predefined())
            && self.plain.iter().filter(|(n, _)| n == "label").all(label)
    }
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let filters = session.config().with_prune_filters(parsed.filters("filter"));
    let choice = Choice::of_age_and_labels(&filters, units::now())?;
    if !parsed.switch("force")
        && !terminal::confirm(
            session,
            "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?",
        )?
    {
        return Err(Failure::silent(0));
    }
    session.print(&prune_networks(session, &choice)?)
}

/// What was removed, in Docker's form.
pub(super) fn prune_networks(session: &Session, choice: &Choice) -> Result<String, Failure> {
    let (containers, networks) = open(session)?;
    let mut removed = Vec::new();
    for record in networks.records()? {
        if record.is_predefined() || !choice.accepts(&record.created, Some(&record.labels)) {
            continue;
        }
        match networks.remove(&containers, &record) {
            // Somebody is in it, or has removed it meanwhile.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            done => {
                done?;
                removed.push(record.name);
            }
        }
    }
    removed.sort_by(|a, b| units::natural(a, b));
    Ok(match removed.is_empty() {
        true => String::new(),
        false => format!("Deleted Networks:\n{}\n\n", removed.join("\n")),
    })
}

fn reload(session: &Session, _: &Parsed) -> Outcome {
    let (containers, _) = open(session)?;
    for missing in connect::reload(&containers)? {
        session.print(&format!("{missing}: made again\n"))?;
    }
    Ok(())
}

fn remove(session: &Session, parsed: &Parsed) -> Outcome {
    let (containers, networks) = open(session)?;
    let force = parsed.switch("force");
    let operands: Vec<std::ffi::OsString> = parsed.names().into_iter().map(Into::into).collect();
    each(session, &operands, |name| {
        let name = name.to_string_lossy().into_owned();
        let removed = networks
            .find(&name)
            .and_then(|record| networks.remove(&containers, &record));
        match removed {
            Err(e) if e.kind() == Kind::NotFound && force => Ok(None),
            removed => {
                removed?;
                Ok(Some(name))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(name: &str, driver: &str) -> Record {
        Record {
            id: "ab".repeat(32),
            name: name.into(),
            driver: driver.into(),
            labels: [("colour".to_owned(), "blue".to_owned())].into(),
            ..Record::default()
        }
    }

    fn filter(given: &[&str]) -> Result<Filter, String> {
        let given: Vec<(String, String)> = given
            .iter()
            .map(|g| g.split_once('=').unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        Filter::of(&given).map_err(|f| f.message)
    }

    #[test]
    fn filters() {
        let (mine, none) = (record("mine", "bridge"), record("none", "null"));
        for (given, takes) in [
            (&[][..], (true, true)),
            (&["name=in"], (true, false)),
            (&["name=^none$"], (false, true)),
            (&["driver=bridge", "driver=null"], (true, true)),
            (&["driver=bridge", "name=none"], (false, false)),
            (&["id=abab"], (true, true)),
            (&["id=ba"], (false, false)),
            (&["label=colour"], (true, true)),
            (&["label=colour=red"], (false, false)),
            (&["scope=swarm"], (false, false)),
            (&["type=custom"], (true, false)),
            (&["type=builtin"], (false, true)),
            (&["dangling=true"], (true, false)),
            (&["dangling=0"], (false, true)),
        ] {
            let filter = filter(given).unwrap();
            let found = (filter.takes(&mine, false), filter.takes(&none, false));
            assert_eq!(found, takes, "{given:?}");
        }
        assert!(!filter(&["dangling=true"]).unwrap().takes(&mine, true));
        for (given, message) in [
            ("nonsense=1", "invalid filter 'nonsense'"),
            ("type=x", "invalid filter 'type=x'"),
            ("dangling=x", "invalid filter 'dangling=x'"),
        ] {
            assert_eq!(filter(&[given]).err().unwrap(), message);
        }
    }
}
