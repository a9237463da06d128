//! What carries a network: its bridge, or the device that others are made on.
//!
//! Whose a device is stands on it (its alias is the id of the network), so nobody's device is taken for ours, and no file has to say it.
//!
//! May not: know containers or rules.

use std::net::{IpAddr, Ipv6Addr};

use crate::attachment::{Address, Kind, Network};
use crate::error::{self, Error, Result};
use crate::link::{self, Link, Links, Request};
use crate::sysctl::Settings;

/// Neighbours are asked for with it. One that the kernel gives to the bridge is of use only after a second or two, when nobody has
/// objected, and until then no container is reached.
const LINK_LOCAL: Address = Address {
    address: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    prefix: 64,
};

/// Makes it if it is not there: the device, its addresses, its settings. `before` is called before a bridge is made.
///
/// # Errors
/// `Kind::Taken` when the device is somebody else's.
pub fn ensure(links: &Links, network: &Network, before: &dyn Fn() -> Result<()>) -> Result<Link> {
    match &network.kind {
        Kind::Bridge { device } => bridge(links, network, device, before),
        Kind::Macvlan { parent, .. } | Kind::Ipvlan { parent, .. } => lower(links, network, parent),
    }
}

/// Removes it if it is ours.
///
/// # Errors
/// Of the kernel.
pub fn remove(links: &Links, network: &Network) -> Result<()> {
    match own(links, network)? {
        Some(link) => links.delete(&link.name),
        None => Ok(()),
    }
}

/// Whether it is there, and ours.
///
/// # Errors
/// Of the kernel.
pub fn is_there(links: &Links, network: &Network) -> Result<bool> {
    Ok(own(links, network)?.is_some())
}

fn own(links: &Links, network: &Network) -> Result<Option<Link>> {
    let (Kind::Bridge { device }
    | Kind::Macvlan { parent: device, .. }
    | Kind::Ipvlan { parent: device, .. }) = &network.kind;
    let link = links.find(device)?;
    Ok(link.filter(|link| check(network, link, &link.kind).is_ok()))
}

fn bridge(links: &Links, network: &Network, name: &str, before: &dyn Fn() -> Result<()>) -> Result<Link> {
    if let Some(link) = links.find(name)? {
        check(network, &link, "bridge")?;
        // Whoever makes it brings it up last; who was killed before has left it like this.
        if link.is_up {
            return Ok(link);
        }
        ignore_routers(name)?;
        links.make(settings(network, &link)?)?;
        return Ok(link);
    }
    before()?;
    match links.make(vec![link::bridge(name, mac(network), network.mtu)]) {
        // Somebody else of us was quicker.
        Err(e) if e.errno() == libc::EEXIST => {}
        other => other?,
    }
    let link = links
        .find(name)?
        .ok_or_else(|| Error::new(format!("the device {name} has gone while it was being made")))?;
    check(network, &link, "bridge")?;
    // Before it is up: a container could make the machine take its default route from it (CVE-2020-13401).
    ignore_routers(name)?;
    links.make(settings(network, &link)?)?;
    Ok(link)
}

fn settings(network: &Network, link: &Link) -> Result<Vec<Request>> {
    let name = &link.name;
    let mut all = vec![link::alias(name, &network.id), link::route_localnet(name)];
    all.push(link::no_own_address(name));
    let addresses = network.subnets.iter();
    all.extend(addresses.map(|a| link::address(link.index, name, *a)));
    if network.subnets.iter().any(|s| s.address.is_ipv6()) {
        all.push(link::address(link.index, name, LINK_LOCAL));
    }
    all.push(link::up(name));
    Ok(all)
}

/// An address that stays the same whenever the bridge is made again, for the ARP caches of its containers.
fn mac(network: &Network) -> [u8; 6] {
    let digits = |n: usize| {
        let two = network.id.get(2 * n..2 * n + 2);
        two.and_then(|d| u8::from_str_radix(d, 16).ok()).unwrap_or(0)
    };
    [0x02, 0x42, digits(0), digits(1), digits(2), digits(3)]
}

fn ignore_routers(name: &str) -> Result<()> {
    Settings::of_machine().set_if_there(&format!("net/ipv6/conf/{name}/accept_ra"), "0")
}

fn check(network: &Network, link: &Link, kind: &str) -> Result<()> {
    // Who made it may have been killed before it was written on.
    let unsigned = link.alias.is_empty() && link.mac == mac(network);
    if link.kind == kind && (link.alias == network.id || unsigned) {
        return Ok(());
    }
    let owner = match link.alias.as_str() {
        "" => String::new(),
        alias => format!(" ({alias})"),
    };
    Err(Error::of(
        error::Kind::Taken,
        format!(
            "network {} needs the device {}, but there is one of this name that is not its own{owner}",
            network.name, link.name
        ),
    ))
}

/// The device below; made when its name says how: `eth0.10` is VLAN 10 of eth0, `dm-...` a device without a wire.
fn lower(links: &Links, network: &Network, name: &str) -> Result<Link> {
    if let Some(link) = links.find(name)? {
        return Ok(link);
    }
    let missing = || {
        Error::new(format!(
            "the device {name} of network {} does not exist",
            network.name
        ))
    };
    let mut steps = Vec::new();
    match name.rsplit_once('.') {
        Some((parent, id)) => {
            let id: u16 = id.parse().map_err(|_| missing())?;
            let parent = links.find(parent)?.ok_or_else(missing)?;
            steps.push(link::vlan(name, parent.index, id));
        }
        None if name.starts_with("dm-") => steps.push(link::dummy(name)),
        None => return Err(missing()),
    }
    steps.push(link::alias(name, &network.id));
    steps.push(link::up(name));
    match links.make(steps) {
        Err(e) if e.errno() == libc::EEXIST => {}
        other => other?,
    }
    links.find(name)?.ok_or_else(missing)
}
