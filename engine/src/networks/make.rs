//! `network create`: what may be asked for, and what is filled in.
//!
//! May not: make devices; the crate network does.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use image::{Context, Error, Kind, Result};
use network::pool::{self, Subnet};

use super::stand::Taken;
use super::{
    Alone, Ipam, Networks, Pool, Record, VERSION, attach, ground, invalid, option, own_bits, parse, routes,
    stand,
};
use crate::containers::{Durable, write};

/// A network that somebody wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub name: String,
    pub driver: String,
    pub ipv4: bool,
    pub ipv6: bool,
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    /// `local`, or empty.
    pub scope: String,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// Size of packets where a program leads out: it takes streams apart and puts datagrams through whole, so the larger the better.
pub(super) const MTU_ON_GROUND: &str = "65520";

/// Longest name of a device.
const LONGEST_DEVICE: usize = 15;

/// Makes it, its bridge with it. Its id.
///
/// # Errors
/// What was asked for makes no sense, or belongs to another network.
pub fn create(networks: &Networks, wanted: Wanted) -> Result<Record> {
    check(&wanted)?;
    super::possible()?;
    if ground::is_needed() && wanted.driver != "bridge" && wanted.options.contains_key(option::PARENT) {
        return Err(Error::of(
            Kind::Unsupported,
            format!(
                "only root makes a network of the driver {} on a device of the machine",
                wanted.driver
            ),
        ));
    }
    let alone = networks.alone()?;
    let others = networks.list_alone(&alone)?;
    if let Some(other) = others.iter().find(|r| r.name == wanted.name) {
        return Err(Error::of(
            Kind::Conflict,
            format!("network with name {} already exists", other.name),
        ));
    }
    let _claim = stand::claim(&alone);
    let id = super::random_id()?;
    let device = device(&wanted, &id, &others)?;
    let mut record = Record {
        version: VERSION,
        id,
        name: wanted.name,
        created: sys::time::rfc3339_nano(SystemTime::now()),
        driver: wanted.driver,
        ipv4: wanted.ipv4,
        ipv6: wanted.ipv6,
        ipam: wanted.ipam,
        internal: wanted.internal || device.is_dummy,
        attachable: wanted.attachable,
        options: wanted.options,
        labels: wanted.labels,
        device: device.name,
        ..Record::default()
    };
    fill_in(&mut record, &others, &[], own_bits(&networks.roots.root))?;
    save(networks, &record, &alone)?;
    Ok(record)
}

/// The network that containers are in when nobody says anything.
pub(super) fn default_bridge(networks: &Networks, alone: &Alone) -> Result<Record> {
    let others = networks.records()?;
    let device = free_device(&others, &routes::devices())?;
    let options = [
        (option::DEFAULT, "true"),
        (option::ICC, "true"),
        (option::MASQUERADE, "true"),
        (option::BINDING, "0.0.0.0"),
        (option::NAME, device.as_str()),
        (
            option::MTU,
            if ground::is_needed() {
                MTU_ON_GROUND
            } else {
                "1500"
            },
        ),
    ];
    let mut record = Record {
        version: VERSION,
        id: super::random_id()?,
        name: "bridge".into(),
        created: sys::time::rfc3339_nano(SystemTime::now()),
        driver: "bridge".into(),
        ipv4: true,
        ipam: Ipam {
            driver: "default".into(),
            ..Ipam::default()
        },
        options: options.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        device: device.clone(),
        ..Record::default()
    };
    fill_in(&mut record, &others, &[], own_bits(&networks.roots.root))?;
    save(networks, &record, alone)?;
    Ok(record)
}

/// The name of a default bridge.
fn free_device(others: &[Record], taken: &[String]) -> Result<String> {
    let is_free = |name: &String| !taken.contains(name) && !others.iter().any(|r| r.device == *name);
    (0..1000)
        .map(|n| format!("brig{n}"))
        .find(is_free)
        .ok_or_else(|| Error::new("no name is left for a bridge"))
}

/// For a bridge that is not there: what was chosen for it, and has become somebody else's, is chosen anew. Whether anything was.
///
/// # Errors
/// Nothing is left.
pub(super) fn choose_anew(
    record: &mut Record,
    others: &[Record],
    taken: &Taken,
    global: u64,
) -> Result<bool> {
    let old = record.clone();
    if record.is_default_bridge() && taken.devices.contains(&record.device) {
        record.device = free_device(others, &taken.devices)?;
        record
            .options
            .insert(option::NAME.to_owned(), record.device.clone());
    }
    // A route of somebody's may lead to the same addresses; two devices cannot have them.
    let is_lost = |pool: &Pool| {
        let subnet: Option<Subnet> = pool.subnet.parse().ok();
        !pool.is_given
            && subnet.is_some_and(|subnet| taken.blocks.iter().any(|other| other.overlaps(&subnet)))
    };
    if record.ipam.pools.iter().any(is_lost) {
        record.ipam.pools.retain(|pool| !is_lost(pool));
        fill_in(record, others, &taken.blocks, global)?;
    }
    Ok(*record != old)
}

impl Networks {
    /// As [`Networks::list`], for who has them alone already.
    fn list_alone(&self, alone: &Alone) -> Result<Vec<Record>> {
        let mut all = self.records()?;
        if !all.iter().any(Record::is_default_bridge) {
            all.push(default_bridge(self, alone)?);
        }
        all.extend([self.word("host", "host"), self.word("none", "null")]);
        Ok(all)
    }
}

/// The record, and what carries the network: nothing of it is left when one of the two fails.
fn save(networks: &Networks, record: &Record, _: &Alone) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|e| Error::new(e.to_string()))?;
    let path = networks.file(&record.id);
    write(&path, &bytes, Durable::Yes)?;
    // Of the default one the device comes with the first container; of all of an ordinary user.
    if !record.is_default_bridge() && !ground::is_needed() {
        let (machine, network) = (attach::machine(&networks.roots), record.of_kernel()?);
        if let Err(e) = machine.ensure(&network) {
            // What is somebody else's stays.
            let undone = machine.remove(&network).map_err(attach::refusal);
            let removed = std::fs::remove_file(&path).context(format!("failed to remove {}", path.display()));
            return Err(attach::refusal(e).and_also(undone).and_also(removed));
        }
    }
    networks.tell(record, "create", &[]);
    Ok(())
}

/// What can be said without looking at the others.
fn check(wanted: &Wanted) -> Result<()> {
    let name = wanted.name.as_str();
    if name.trim().is_empty() {
        return Err(invalid("network name cannot be empty or contain only whitespace"));
    }
    if super::PREDEFINED.contains(&name) || name == "default" || name.starts_with("container:") {
        return Err(Error::of(
            Kind::Denied,
            format!("operation is not permitted on predefined {name} network"),
        ));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Err(invalid(format!(
            "invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    match wanted.driver.as_str() {
        "bridge" | "macvlan" | "ipvlan" => {}
        only @ ("host" | "null") => {
            return Err(Error::of(
                Kind::Denied,
                format!("only one instance of \"{only}\" network is allowed"),
            ));
        }
        "overlay" => {
            return Err(Error::of(
                Kind::Unsupported,
                "This node is not a swarm manager: networks with the driver overlay belong to a swarm, and brig has none",
            ));
        }
        other => {
            return Err(Error::not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found; the drivers are bridge, macvlan and ipvlan"
            )));
        }
    }
    if !matches!(wanted.scope.as_str(), "" | "local") {
        return Err(invalid(format!(
            "the scope {} belongs to a swarm, and brig has none",
            wanted.scope
        )));
    }
    if !matches!(wanted.ipam.driver.as_str(), "" | "default") {
        return Err(Error::not_found(format!(
            "could not find plugin {} in v1 plugin registry: plugin not found; the IPAM driver is default",
            wanted.ipam.driver
        )));
    }
    if !wanted.ipv4 && !wanted.ipv6 {
        return Err(invalid("IPv4 or IPv6 must be enabled"));
    }
    check_pools(wanted)?;
    check_options(wanted)
}

fn check_pools(wanted: &Wanted) -> Result<()> {
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for pool in &wanted.ipam.pools {
        let Ok((base, subnet)) = parse(&pool.subnet) else {
            wrong.push(format!(
                "invalid subnet {}: invalid CIDR block notation",
                pool.subnet
            ));
            continue;
        };
        if !subnet.is_v4() && !wanted.ipv6 {
            continue;
        }
        if base != subnet.base() {
            wrong.push(format!("invalid subnet {}: it should be {subnet}", pool.subnet));
        }
        if !pool.ip_range.is_empty() {
            check_range(&pool.ip_range, &subnet, &mut wrong);
        }
        let mut address = |text: &str, what: &str| {
            let why = match text.parse::<IpAddr>() {
                Err(_) => "invalid address".to_owned(),
                Ok(a) if a.is_ipv4() != subnet.is_v4() => {
                    format!("parent subnet is an {} block", family(&subnet))
                }
                Ok(a) if !subnet.contains(a) => {
                    format!("parent subnet {subnet} doesn't contain this address")
                }
                Ok(_) => return,
            };
            wrong.push(format!("invalid {what}: {why}"));
        };
        if !pool.gateway.is_empty() {
            address(&pool.gateway, &format!("gateway {}", pool.gateway));
        }
        for (name, auxiliary) in &pool.auxiliary {
            address(auxiliary, &format!("auxiliary address {name}"));
        }
        if seen.contains(&subnet.is_v4()) {
            wrong.push(format!(
                "invalid subnet {subnet}: the network has another {} block already",
                family(&subnet)
            ));
        }
        seen.push(subnet.is_v4());
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!("invalid network config:\n{}", wrong.join("\n")))),
    }
}

fn check_range(text: &str, subnet: &Subnet, wrong: &mut Vec<String>) {
    let why = match parse(text) {
        Err(_) => "invalid CIDR block notation".to_owned(),
        Ok((_, range)) if range.is_v4() != subnet.is_v4() => {
            format!("parent subnet is an {} block", family(subnet))
        }
        Ok((base, range)) if base != range.base() => format!("it should be {range}"),
        Ok((_, range)) if range.prefix() < subnet.prefix() => {
            format!("CIDR block is bigger than its parent subnet {subnet}")
        }
        Ok((_, range)) if !subnet.covers(&range) => {
            format!("parent subnet {subnet} doesn't contain ip-range")
        }
        Ok(_) => return,
    };
    wrong.push(format!("invalid ip-range {text}: {why}"));
}

fn family(subnet: &Subnet) -> &'static str {
    if subnet.is_v4() { "IPv4" } else { "IPv6" }
}

fn check_options(wanted: &Wanted) -> Result<()> {
    for (name, value) in &wanted.options {
        let is_bool = || {
            matches!(
                value.as_str(),
                "" | "0"
                    | "1"
                    | "t"
                    | "f"
                    | "T"
                    | "F"
                    | "true"
                    | "false"
                    | "True"
                    | "False"
                    | "TRUE"
                    | "FALSE"
            )
        };
        let is_right = match name.as_str() {
            option::ICC | option::MASQUERADE | option::DEFAULT => is_bool(),
            option::MTU => value.parse::<u32>().is_ok(),
            option::BINDING => value.parse::<std::net::Ipv4Addr>().is_ok(),
            option::GATEWAY_MODE_V4 | option::GATEWAY_MODE_V6 => match value.as_str() {
                "nat" | "routed" | "nat-unprotected" => true,
                "isolated" => wanted.internal,
                _ => false,
            },
            option::NAME | option::PARENT => is_device(value),
            option::MACVLAN_MODE => matches!(value.as_str(), "bridge" | "private" | "vepa" | "passthru"),
            option::IPVLAN_MODE => matches!(value.as_str(), "l2" | "l3" | "l3s"),
            _ => true,
        };
        if !is_right {
            return Err(invalid(format!("invalid value for the option {name}: {value:?}")));
        }
    }
    Ok(())
}

fn is_device(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':';
    (1..=LONGEST_DEVICE).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_plain)
}

struct Device {
    name: String,
    /// There is nothing behind it.
    is_dummy: bool,
}

fn device(wanted: &Wanted, id: &str, others: &[Record]) -> Result<Device> {
    let short = id.get(..12).unwrap_or(id);
    let own = |option: &str| {
        wanted
            .options
            .get(option)
            .filter(|name| !name.is_empty())
            .cloned()
    };
    if wanted.driver != "bridge" {
        let parent = own(option::PARENT);
        return Ok(Device {
            is_dummy: parent.is_none(),
            name: parent.unwrap_or_else(|| format!("dm-{short}")),
        });
    }
    let name = own(option::NAME).unwrap_or_else(|| format!("br-{short}"));
    if let Some(other) = others.iter().find(|r| r.driver == "bridge" && r.device == name) {
        return Err(Error::of(
            Kind::Conflict,
            format!(
                "cannot create network {id} ({name}): conflicts with network {} ({name}): networks have same bridge name",
                other.id
            ),
        ));
    }
    Ok(Device {
        name,
        is_dummy: false,
    })
}

/// Subnets and gateways that nobody has named; apart from these blocks.
fn fill_in(record: &mut Record, others: &[Record], apart: &[Subnet], global: u64) -> Result<()> {
    let of_networks: Vec<Subnet> = others.iter().flat_map(Record::subnets).collect();
    let given = record.ipam.pools.clone();
    let wants = |is_v4: bool| if is_v4 { record.ipv4 } else { record.ipv6 };
    let mut pools = Vec::new();
    for pool in given {
        let subnet: Subnet = parse(&pool.subnet)?.1;
        if !wants(subnet.is_v4()) {
            continue;
        }
        let gateway: Option<IpAddr> = pool.gateway.parse().ok();
        if let Some(gateway) = gateway.filter(|gateway| !subnet.is_usable(*gateway)) {
            return Err(Error::of(
                Kind::Denied,
                format!("failed to allocate gateway ({gateway}): Address already in use"),
            ));
        }
        if of_networks.iter().any(|other| other.overlaps(&subnet)) {
            return Err(Error::of(
                Kind::Denied,
                "invalid pool request: Pool overlaps with other one on this address space",
            ));
        }
        pools.push(pool);
    }
    let taken = || [&of_networks, apart, &routes::taken()].concat();
    for is_v4 in [true, false] {
        let has = pools
            .iter()
            .any(|p: &Pool| p.subnet.parse::<Subnet>().is_ok_and(|s| s.is_v4() == is_v4));
        if has || !wants(is_v4) {
            continue;
        }
        let subnet = match is_v4 {
            true => pool::free_v4(&taken()),
            false => pool::free_v6(global, &taken()),
        };
        pools.push(Pool {
            subnet: subnet.map_err(attach::refusal)?.to_string(),
            ..Pool::default()
        });
    }
    for pool in &mut pools {
        if pool.gateway.is_empty() {
            pool.gateway = gateway(pool)?.to_string();
        }
    }
    record.ipam.pools = pools;
    if record.ipam.driver.is_empty() {
        record.ipam.driver = "default".into();
    }
    Ok(())
}

/// The lowest address that may be one, of the part that addresses are given from.
fn gateway(pool: &Pool) -> Result<IpAddr> {
    let range = pool.range()?;
    let part = range.within.unwrap_or(range.subnet);
    (0..part.size())
        .map_while(|n| part.nth(n))
        .find(|a| range.subnet.is_usable(*a) && !range.reserved.contains(a))
        .ok_or_else(|| invalid(format!("the subnet {} has no address for a gateway", pool.subnet)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(change: impl Fn(&mut Wanted)) -> Wanted {
        let mut wanted = Wanted {
            name: "mine".into(),
            driver: "bridge".into(),
            ipv4: true,
            ..Wanted::default()
        };
        change(&mut wanted);
        wanted
    }

    fn pool(subnet: &str, range: &str, gateway: &str) -> Pool {
        Pool {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            ..Pool::default()
        }
    }

    #[test]
    fn what_makes_no_sense() {
        let with = |pool: Pool| move |w: &mut Wanted| w.ipam.pools = vec![pool.clone()];
        let option = |name: &str, value: &str| {
            let (name, value) = (name.to_owned(), value.to_owned());
            move |w: &mut Wanted| w.options = [(name.clone(), value.clone())].into()
        };
        let cases: Vec<(Wanted, &str)> = vec![
            (wanted(|w| w.name = " ".into()), "network name cannot be empty"),
            (
                wanted(|w| w.name = "bridge".into()),
                "operation is not permitted on predefined bridge network",
            ),
            (wanted(|w| w.name = "a/b".into()), "invalid network name (a/b)"),
            (
                wanted(|w| w.driver = "weave".into()),
                "could not find plugin weave in v1 plugin registry",
            ),
            (
                wanted(|w| w.driver = "host".into()),
                "only one instance of \"host\" network is allowed",
            ),
            (
                wanted(|w| w.driver = "overlay".into()),
                "This node is not a swarm manager",
            ),
            (wanted(|w| w.ipv4 = false), "IPv4 or IPv6 must be enabled"),
            (
                wanted(with(pool("10.0.0.1/24", "", ""))),
                "invalid network config:\ninvalid subnet 10.0.0.1/24: it should be 10.0.0.0/24",
            ),
            (
                wanted(with(pool("10.0.0.0", "", ""))),
                "invalid subnet 10.0.0.0: invalid CIDR block notation",
            ),
            (
                wanted(with(pool("10.0.0.0/24", "10.0.0.0/16", ""))),
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
            ),
            (
                wanted(with(pool("10.0.0.0/24", "10.0.1.0/25", ""))),
                "invalid ip-range 10.0.1.0/25: parent subnet 10.0.0.0/24 doesn't contain ip-range",
            ),
            (
                wanted(with(pool("10.0.0.0/24", "", "10.0.1.1"))),
                "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
            (
                wanted(with(pool("10.0.0.0/24", "", "fd00::1"))),
                "invalid gateway fd00::1: parent subnet is an IPv4 block",
            ),
            (
                wanted(option(option::MTU, "much")),
                "invalid value for the option com.docker.network.driver.mtu",
            ),
            (
                wanted(option(option::NAME, "a-much-too-long-name")),
                "invalid value for the option",
            ),
            (
                wanted(option(option::ICC, "maybe")),
                "invalid value for the option",
            ),
        ];
        for (wanted, message) in cases {
            let e = check(&wanted).unwrap_err().to_string();
            assert!(e.contains(message), "{e:?} does not say {message:?}");
        }
        check(&wanted(with(pool("10.0.0.0/24", "10.0.0.128/25", "10.0.0.254")))).unwrap();
        check(&wanted(option(option::ICC, "false"))).unwrap();
    }

    fn filled(wanted: &Wanted, others: &[Record]) -> Result<Vec<Pool>> {
        let mut record = Record {
            ipv4: wanted.ipv4,
            ipv6: wanted.ipv6,
            ipam: wanted.ipam.clone(),
            ..Record::default()
        };
        fill_in(&mut record, others, &[], 0xab_cdef_0123)?;
        Ok(record.ipam.pools)
    }

    #[test]
    fn what_another_store_has_taken_is_chosen_anew() {
        let bridge = |name: &str, is_given: bool| Record {
            name: name.into(),
            ipv4: true,
            device: "brig0".into(),
            options: [(option::NAME.to_owned(), "brig0".to_owned())].into(),
            ipam: Ipam {
                driver: "default".into(),
                pools: vec![Pool {
                    is_given,
                    ..pool("172.17.0.0/16", "", "172.17.0.1")
                }],
                ..Ipam::default()
            },
            ..Record::default()
        };
        let taken = |devices: &[&str], blocks: &[&str]| Taken {
            devices: devices.iter().map(|d| (*d).to_owned()).collect(),
            blocks: blocks.iter().map(|b| b.parse().unwrap()).collect(),
        };
        let anew = |record: &Record, taken: &Taken| {
            let mut record = record.clone();
            let is_new = choose_anew(&mut record, &[], taken, 1).unwrap();
            (is_new, record)
        };
        let usual = bridge("bridge", false);
        assert_eq!(
            anew(&usual, &taken(&["lo"], &["10.0.0.0/8"])),
            (false, usual.clone())
        );
        let (is_new, named) = anew(&usual, &taken(&["brig0", "brig1"], &[]));
        assert!(is_new);
        assert_eq!(
            (named.device.as_str(), named.options[option::NAME].as_str()),
            ("brig2", "brig2")
        );
        assert_eq!(named.ipam, usual.ipam);
        let (is_new, moved) = anew(&usual, &taken(&[], &["172.17.4.0/24"]));
        assert!(is_new && moved.ipam.pools[0].subnet != "172.17.0.0/16");
        assert_eq!((moved.ipam.pools.len(), moved.device.as_str()), (1, "brig0"));
        // What its user has asked for stays.
        let asked = bridge("mine", true);
        assert_eq!(
            anew(&asked, &taken(&["brig0"], &["172.17.0.0/16"])),
            (false, asked.clone())
        );
    }

    #[test]
    fn subnets_and_gateways() {
        let pools = filled(&wanted(|w| w.ipam.pools = vec![pool("10.9.0.0/24", "", "")]), &[]).unwrap();
        assert_eq!(pools, [pool("10.9.0.0/24", "", "10.9.0.1")]);
        let part = filled(
            &wanted(|w| w.ipam.pools = vec![pool("10.9.0.0/16", "10.9.5.0/24", "")]),
            &[],
        );
        assert_eq!(part.unwrap()[0].gateway, "10.9.5.0");
        for nobodys in ["10.9.0.0", "10.9.0.255"] {
            let wrong = wanted(|w| w.ipam.pools = vec![pool("10.9.0.0/24", "", nobodys)]);
            assert_eq!(
                filled(&wrong, &[]).unwrap_err().to_string(),
                format!("failed to allocate gateway ({nobodys}): Address already in use")
            );
        }
        let both = filled(&wanted(|w| w.ipv6 = true), &[]).unwrap();
        assert_eq!(both.len(), 2);
        assert!(both[1].subnet.starts_with("fdab:cdef:123:") && both[1].gateway.ends_with("::1"));
        let other = Record {
            ipam: Ipam {
                pools: pools.clone(),
                ..Ipam::default()
            },
            ..Record::default()
        };
        let e = filled(
            &wanted(|w| w.ipam.pools = vec![pool("10.0.0.0/8", "", "")]),
            &[other],
        );
        assert_eq!(
            e.unwrap_err().to_string(),
            "invalid pool request: Pool overlaps with other one on this address space"
        );
        let set_aside = wanted(|w| {
            w.ipam.pools = vec![Pool {
                auxiliary: [("router".to_owned(), "10.9.0.1".to_owned())].into(),
                ..pool("10.9.0.0/24", "", "")
            }];
        });
        assert_eq!(filled(&set_aside, &[]).unwrap()[0].gateway, "10.9.0.2");
    }
}
