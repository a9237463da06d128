//! What a container that is about to start gets of networks: addresses, names, ports. Then it is made, and in the end undone.
//!
//! All of it is in one record, `RUN/containers/ID/network.json`, before anything is made in the kernel; leases and bound ports, which are
//! taken before, belong to nobody once the container does not run.
//!
//! May not: decide how it is made in the kernel.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use image::store::Roots;
use image::{Context, Error, Kind, Result};
use monitor::events::Event;
use monitor::launch::{self, Handed};
use monitor::place::Place;
use network::attachment::{self, Attachment, Protocol};
use network::leases::Owners;
use network::ports::{self, Reserved, Wanted};
use network::resolver::Sockets;
use network::{Machine, Space, leases};

use super::{Held, Networks, Record, ground, option, random_id};
use crate::containers::{Containers, Durable, write};
use crate::events;
use crate::model::{Definition, Endpoint, PortBinding};
use crate::netfiles::{self, Surroundings};
use crate::summary::split_port;

/// The file in the container's directory of this uptime.
const FILE: &str = "network.json";

/// Everything that was taken for a container. What it has of this process's goes when it is dropped; the rest is undone by [`undo`].
#[derive(Debug)]
pub struct Plan {
    pub attachment: Attachment,
    /// In the order of the attachment's ports.
    pub reserved: Vec<Reserved>,
    /// Somebody may find it by name, or it others.
    pub has_names: bool,
    /// The network namespace that stands for the machine.
    ground: Option<OwnedFd>,
    #[allow(dead_code)]
    held: Vec<Held>,
}

/// What was made for a container: for its monitor.
#[derive(Debug)]
pub struct Made<'p> {
    pub network: launch::Network,
    ports: Vec<BorrowedFd<'p>>,
    names: Option<Sockets>,
}

impl Made<'_> {
    /// In the order of `network.handed`.
    pub fn sockets(&self) -> Vec<BorrowedFd<'_>> {
        let names = self.names.iter().flat_map(|s| [s.udp.as_fd(), s.tcp.as_fd()]);
        self.ports.iter().copied().chain(names).collect()
    }
}

/// The machine's side.
pub fn machine(roots: &Roots) -> Machine {
    let machine = Machine::of(&roots.run);
    match ground::is_needed() {
        true => machine.on(ground::space(roots)),
        false => machine,
    }
}

/// The failure of the crate network as one of ours.
pub fn refusal(e: network::Error) -> Error {
    let kind = match e.kind() {
        network::error::Kind::Taken => Kind::Conflict,
        network::error::Kind::Exhausted => Kind::Unavailable,
        network::error::Kind::Invalid => Kind::Invalid,
        network::error::Kind::Other => Kind::Other,
    };
    Error::of(kind, e.to_string())
}

/// The record of a container that runs or was killed. `run`: its directory of this uptime.
///
/// # Errors
/// It is damaged.
pub fn read(run: &Path) -> Result<Option<Attachment>> {
    let path = run.join(FILE);
    let bytes = match fs::read(&path) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        bytes => bytes.context(format!("failed to read {}", path.display()))?,
    };
    let record = serde_json::from_slice(&bytes);
    record
        .map(Some)
        .map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))
}

/// Writes it.
///
/// # Errors
/// It cannot be written.
pub fn record(run: &Path, attachment: &Attachment) -> Result<()> {
    let bytes = serde_json::to_vec(attachment).map_err(|e| Error::new(e.to_string()))?;
    write(&run.join(FILE), &bytes, Durable::No)
}

/// Undoes what a container has, by its record; whatever of it is there. Without a record there is nothing.
///
/// # Errors
/// Something could not be undone; the record stays then.
pub fn undo(containers: &Containers, id: &str) -> Result<()> {
    let run = containers.place(id).run;
    let Some(attachment) = read(&run)? else {
        return Ok(());
    };
    take_back(containers.roots(), &attachment)?;
    tell(containers.roots(), "disconnect", &attachment);
    let path = run.join(FILE);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(Error::from(e).context(format!("failed to remove {}", path.display())))
        }
        _ => Ok(()),
    }
}

/// The same for one that was killed with its monitor, if nobody is at work on it.
///
/// # Errors
/// Something could not be undone; the record stays then.
pub fn undo_of_dead(containers: &Containers, id: &str) -> Result<()> {
    let Some(_lock) = containers.try_lock(id)? else {
        return Ok(());
    };
    match super::runs(containers, id) {
        true => Ok(()),
        false => undo(containers, id),
    }
}

/// Of the kernel, names and leases.
fn take_back(roots: &Roots, attachment: &Attachment) -> Result<()> {
    let made = machine(roots).detach(attachment).map_err(refusal);
    let made = made.and(network::names::withdraw(&roots.run, attachment).map_err(refusal));
    let leased = leases::release(&roots.run, attachment).map_err(refusal);
    made.and(leased)
}

/// What goes before every failure to make a container's networks, as in Docker.
const FAILED: &str = "failed to set up container networking";

/// Takes addresses and ports for a container whose lock we have.
///
/// # Errors
/// There is no such network, an address or a port is somebody else's. Nothing is left then.
pub fn plan(containers: &Containers, definition: &Definition) -> Result<Plan> {
    super::possible()?;
    let ground = match ground::is_needed() {
        true => {
            ground::ready(containers.roots())?;
            ground::file(containers.roots())
        }
        false => None,
    };
    let mut plan = Plan {
        ground,
        attachment: Attachment {
            version: attachment::VERSION,
            container: definition.id.clone(),
            container_name: definition.name.clone(),
            endpoints: Vec::new(),
            ports: Vec::new(),
        },
        reserved: Vec::new(),
        has_names: false,
        held: Vec::new(),
    };
    match fill(&mut plan, containers, definition) {
        Ok(()) => Ok(plan),
        Err(e) => {
            let released = leases::release(&containers.roots().run, &plan.attachment).map_err(refusal);
            Err(e.context(FAILED).and_also(released))
        }
    }
}

fn fill(plan: &mut Plan, containers: &Containers, definition: &Definition) -> Result<()> {
    let networks = Networks::of(containers.roots());
    let wanted = in_order(definition);
    for (name, endpoint) in &wanted {
        networks.stand(containers, &endpoint.network_id, name)?;
    }
    for (name, endpoint) in wanted {
        let held = networks.hold(&endpoint.network_id, &name)?;
        let interface = free_interface(&plan.attachment, endpoint_option(&endpoint, option::INTERFACE));
        let made = endpoint_of(containers, definition, &held.record, &endpoint, interface)?;
        plan.has_names |= !made.names.is_empty();
        plan.attachment.endpoints.push(made);
        plan.held.push(held);
    }
    let held = &plan.held;
    let record = |id: &str| held.iter().map(|h| &h.record).find(|r| r.id == id);
    plan.reserved = publish(&mut plan.attachment, record, containers, definition)?;
    Ok(())
}

/// The networks of a container: the first is where what leaves it goes.
fn in_order(definition: &Definition) -> Vec<(String, Endpoint)> {
    let mut all: Vec<(String, Endpoint)> = definition
        .networks
        .iter()
        .map(|(name, endpoint)| (name.clone(), endpoint.clone()))
        .collect();
    if all.is_empty() {
        let name = match definition.host.network_mode.as_str() {
            "" | "default" => "bridge",
            name => name,
        };
        all.push((name.to_owned(), Endpoint::default()));
    }
    all.sort_by(|(a, one), (b, other)| other.gw_priority.cmp(&one.gw_priority).then_with(|| a.cmp(b)));
    all
}

fn endpoint_option<'e>(endpoint: &'e Endpoint, name: &str) -> Option<&'e str> {
    let options = endpoint.driver_opts.as_ref()?;
    options.get(name).map(String::as_str).filter(|v| !v.is_empty())
}

/// The first of `eth0`, `eth1`, ... that no other endpoint has, or the one that was asked for.
pub(super) fn free_interface(attachment: &Attachment, wanted: Option<&str>) -> String {
    if let Some(wanted) = wanted {
        return wanted.to_owned();
    }
    let is_taken = |name: &String| attachment.endpoints.iter().any(|e| e.interface == *name);
    (0..=attachment.endpoints.len())
        .map(|n| format!("eth{n}"))
        .find(|name| !is_taken(name))
        .unwrap_or_else(|| "eth0".to_owned())
}

/// One endpoint: the addresses are taken.
pub(super) fn endpoint_of(
    containers: &Containers,
    definition: &Definition,
    record: &Record,
    endpoint: &Endpoint,
    interface: String,
) -> Result<attachment::Endpoint> {
    let id = random_id()?;
    let short = id.get(..7).unwrap_or(&id).to_owned();
    let network = record.of_kernel()?;
    let mut made = attachment::Endpoint {
        id,
        device: match record.driver.as_str() {
            "bridge" => format!("veth{short}"),
            _ => String::new(),
        },
        mac: endpoint.mac_address.clone(),
        addresses: Vec::new(),
        link_local: link_local(endpoint)?,
        names: Vec::new(),
        links: Vec::new(),
        reaches: super::reach::of_endpoint(containers, definition, endpoint, &network)?,
        network,
        sysctls: sysctls(endpoint, &interface),
        interface,
    };
    if record.has_names() {
        made.names = names(definition, endpoint)
            .iter()
            .map(|name| name.to_lowercase())
            .collect();
        made.links = links(containers, endpoint)?;
    }
    let run = &containers.roots().run;
    let owners = Owners {
        is_settled: &|id| containers.place(id).network().exists(),
        lives: &|id| super::lives(containers, id),
    };
    for pool in &record.ipam.pools {
        let range = pool.range()?;
        let wanted = wanted_address(endpoint, range.subnet.is_v4())?;
        let taken = leases::take(run, &record.id, &range, &definition.id, wanted, &owners);
        match taken {
            Ok(address) => made.addresses.push(attachment::Address {
                address,
                prefix: range.subnet.prefix(),
            }),
            Err(e) => {
                let given_back = made
                    .addresses
                    .iter()
                    .try_for_each(|a| leases::release_one(run, &record.id, a.address, &definition.id));
                return Err(refusal(e).and_also(given_back.map_err(refusal)));
            }
        }
    }
    if made.mac.is_empty() {
        made.mac = mac(&made.addresses);
    }
    Ok(made)
}

/// `--ip` and `--ip6`.
fn wanted_address(endpoint: &Endpoint, is_v4: bool) -> Result<Option<IpAddr>> {
    let key = if is_v4 { "IPv4Address" } else { "IPv6Address" };
    let text = endpoint.ipam_config.as_ref().and_then(|c| c[key].as_str());
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    let address: IpAddr = text
        .parse()
        .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?;
    match address.is_ipv4() == is_v4 {
        true => Ok(Some(address)),
        false => Err(Error::invalid(format!(
            "invalid IPv{} address: {text}",
            if is_v4 { 4 } else { 6 }
        ))),
    }
}

/// `--link-local-ip`, with the prefixes that such addresses have.
fn link_local(endpoint: &Endpoint) -> Result<Vec<attachment::Address>> {
    let config = endpoint.ipam_config.as_ref();
    let texts = config
        .and_then(|c| c["LinkLocalIPs"].as_array())
        .into_iter()
        .flatten();
    texts
        .filter_map(serde_json::Value::as_str)
        .map(|text| {
            let address: IpAddr = text
                .parse()
                .map_err(|_| Error::invalid(format!("invalid link local IP address: {text}")))?;
            Ok(attachment::Address {
                address,
                prefix: if address.is_ipv4() { 16 } else { 64 },
            })
        })
        .collect()
}

/// One that says the address: whoever gets the address next has the same, so neighbours need not learn another.
fn mac(addresses: &[attachment::Address]) -> String {
    let last_four = |address: &IpAddr| match address {
        IpAddr::V4(a) => a.octets(),
        IpAddr::V6(a) => {
            let [.., w, x, y, z] = a.octets();
            [w, x, y, z]
        }
    };
    let [a, b, c, d] = addresses
        .first()
        .map_or([0; 4], |first| last_four(&first.address));
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// By which others find it, as `inspect` shows them.
pub fn names(definition: &Definition, endpoint: &Endpoint) -> Vec<String> {
    let short = definition.id.get(..12).unwrap_or_default().to_owned();
    let mut all = vec![definition.name.clone()];
    all.extend(endpoint.aliases.iter().flatten().cloned());
    all.extend([short, definition.config.hostname.clone()]);
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    all
}

/// `--link db:alias` on a network of somebody's own.
fn links(containers: &Containers, endpoint: &Endpoint) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    for link in endpoint.links.iter().flatten() {
        let (target, alias) = super::links::parse(link);
        let id = containers
            .find_id(target)
            .map_err(|e| e.context(format!("could not find a container to link to: {target}")))?;
        all.push((alias.to_lowercase(), id));
    }
    Ok(all)
}

fn sysctls(endpoint: &Endpoint, interface: &str) -> Vec<(String, String)> {
    let text = endpoint_option(endpoint, option::SYSCTLS).unwrap_or_default();
    text.split(',')
        .filter_map(|setting| setting.split_once('='))
        .map(|(name, value)| {
            // `--network name=..` turns values into small letters, in Docker as well.
            let own = |part| {
                if part == "IFNAME" || part == "ifname" {
                    interface
                } else {
                    part
                }
            };
            let name: Vec<&str> = name.trim().split('.').map(own).collect();
            (name.join("."), value.trim().to_owned())
        })
        .collect()
}

/// Reserves the ports of a container that are reached from outside. `record`: of the networks that it comes into.
pub(super) fn publish<'r>(
    attachment: &mut Attachment,
    record: impl Fn(&str) -> Option<&'r Record>,
    containers: &Containers,
    definition: &Definition,
) -> Result<Vec<Reserved>> {
    let wanted = wanted_ports(definition);
    // Who is in no network with a way out is reached by nobody, as in Docker.
    let way_out = attachment.endpoints.iter().find(|e| e.network.leads_in());
    let way_out = way_out.and_then(|endpoint| Some((endpoint, record(&endpoint.network.id)?)));
    let Some((endpoint, record)) = way_out.filter(|_| !wanted.is_empty()) else {
        return Ok(Vec::new());
    };
    let usual = match definition.publish_at.parse() {
        Ok(address) if !record.has_binding() => vec![address],
        _ => record.publish_at(),
    };
    let mut all = Vec::new();
    for (private, protocol, binding) in wanted {
        let addresses = match binding.host_ip.as_str() {
            "" => usual.clone(),
            text => vec![
                text.parse()
                    .map_err(|_| Error::invalid(format!("invalid IP address: {text}")))?,
            ],
        };
        all.push(Wanted {
            protocol,
            container_port: private,
            is_default: binding.host_ip.is_empty() && addresses.len() > 1,
            addresses,
            range: range_of(&binding.host_port)?,
        });
    }
    let whose = |port: &attachment::Port| whose(containers, port);
    let reserved = ports::reserve(&all, &whose).map_err(|e| {
        refusal(e).context(format!(
            "driver failed programming external connectivity on endpoint {} ({})",
            definition.name, endpoint.id
        ))
    })?;
    attachment.ports = reserved.iter().map(|r| r.port.clone()).collect();
    Ok(reserved)
}

/// Port, protocol and where, in the order of the ports: what is asked for, and with `-P` what the image says.
fn wanted_ports(definition: &Definition) -> Vec<(u16, Protocol, PortBinding)> {
    let host = &definition.host;
    let mut all = Vec::new();
    for (port, bindings) in &host.port_bindings {
        let Some((private, protocol)) = port_of(port) else {
            continue;
        };
        all.extend(bindings.iter().map(|b| (private, protocol, b.clone())));
        if bindings.is_empty() {
            all.push((private, protocol, PortBinding::default()));
        }
    }
    if host.publish_all_ports {
        for (port, _) in definition.config.exposed_ports.iter().flatten() {
            if let Some((private, protocol)) = port_of(port)
                && !host.port_bindings.contains_key(port)
            {
                all.push((private, protocol, PortBinding::default()));
            }
        }
    }
    all.sort_by_key(|(private, protocol, _)| (*private, *protocol));
    all
}

pub(super) fn port_of(text: &str) -> Option<(u16, Protocol)> {
    let (number, protocol) = split_port(text)?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return None,
    };
    Some((number, protocol))
}

/// `8080`, `8000-8010`; nothing or `0`: any.
fn range_of(text: &str) -> Result<Option<(u16, u16)>> {
    let wrong = || Error::invalid(format!("invalid hostPort: {text}"));
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    let (first, last) = match text.split_once('-') {
        _ if text.is_empty() => return Ok(None),
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    Ok(((first, last) != (0, 0)).then_some((first, last)))
}

/// Which container has a port.
fn whose(containers: &Containers, port: &attachment::Port) -> Option<String> {
    let meets = |other: &attachment::Port| {
        let (a, b) = (other.host, port.host);
        other.protocol == port.protocol
            && other.host_port == port.host_port
            && a.is_ipv4() == b.is_ipv4()
            && (a == b || a.is_unspecified() || b.is_unspecified())
    };
    let all = super::attachments(containers).ok()?;
    let owner = all.into_iter().find(|a| a.ports.iter().any(meets))?;
    Some(format!("container {}", owner.container_name))
}

impl Plan {
    /// Gives back what was taken, when nothing was made yet.
    ///
    /// # Errors
    /// A lease cannot be removed.
    pub fn give_up(&self, containers: &Containers) -> Result<()> {
        leases::release(&containers.roots().run, &self.attachment).map_err(refusal)
    }

    /// Makes the container's namespace and all that is in it, in the thread that has a mount namespace of its own.
    ///
    /// # Errors
    /// The kernel refuses. [`undo`] takes away what is there.
    pub fn make(&self, containers: &Containers, place: &Place, definition: &Definition) -> Result<Made<'_>> {
        let space = Space::make(&place.netns())
            .map_err(refusal)
            .context("failed to make a network namespace")?;
        record(&place.run, &self.attachment)?;
        leases::settle(&containers.roots().run, &self.attachment).map_err(refusal)?;
        machine(containers.roots())
            .attach(&space, &self.attachment)
            .map_err(refusal)
            .context(FAILED)?;
        let mut handed = Vec::new();
        let mut names = None;
        let mut ports = Vec::new();
        for (n, socket) in self.sockets() {
            handed.push(Handed::Port(n));
            ports.push(socket);
        }
        if let Some(ground) = &self.ground {
            handed.push(Handed::Ground);
            ports.push(ground.as_fd());
        }
        if self.has_names {
            network::names::publish(&containers.roots().run, &self.attachment)
                .map_err(refusal)
                .context(FAILED)?;
            names = Some(network::resolver::open(&space).map_err(refusal).context(FAILED)?);
            handed.extend([Handed::ResolverUdp, Handed::ResolverTcp]);
        }
        tell(containers.roots(), "connect", &self.attachment);
        let servers = netfiles::servers(definition).into_iter();
        Ok(Made {
            network: launch::Network {
                attachment: self.attachment.clone(),
                handed,
                nameservers: servers.map(|server| SocketAddr::new(server, 53)).collect(),
            },
            ports,
            names,
        })
    }

    /// The sockets that the monitor keeps, and which of the ports they are.
    pub fn sockets(&self) -> Vec<(usize, BorrowedFd<'_>)> {
        sockets(&self.reserved)
    }
}

/// Those that a monitor keeps, and which of the ports they are.
pub(super) fn sockets(reserved: &[Reserved]) -> Vec<(usize, BorrowedFd<'_>)> {
    let all = reserved.iter().enumerate();
    all.filter_map(|(n, r)| Some((n, r.socket.as_ref()?.as_fd())))
        .collect()
}

/// Tells of all networks of a container: `connect`, `disconnect`.
fn tell(roots: &Roots, action: &str, attachment: &Attachment) {
    for event in Event::of_networks(action, attachment) {
        // The disk is full or the store read-only: what was done is done.
        let _ = events::tell(roots, &event);
    }
}

/// What a container's files say of its networks.
pub fn surroundings(containers: &Containers, attachment: &Attachment, links: Vec<String>) -> Surroundings {
    let all = || attachment.endpoints.iter();
    let gateway = |is_v4: bool| {
        let subnets = all().flat_map(|e| &e.network.subnets);
        subnets.map(|s| s.address).find(|a| a.is_ipv4() == is_v4)
    };
    Surroundings {
        addresses: all()
            .flat_map(|e| e.addresses.iter().map(|a| a.address))
            .collect(),
        links,
        host_gateway: match ground::is_needed() {
            // The gateway is no machine.
            true => ground::host_gateway(),
            false => gateway(true).or_else(|| gateway(false)),
        },
        has_names: all().any(|e| !e.names.is_empty()),
        name_server: match ground::is_needed() {
            true => ground::name_server(containers.roots()),
            false => None,
        },
    }
}

/// Gateway of an endpoint in a family, as `inspect` shows it.
pub fn gateway(endpoint: &attachment::Endpoint, is_v4: bool) -> Option<IpAddr> {
    if endpoint.network.internal {
        return None;
    }
    let subnets = endpoint.network.subnets.iter();
    subnets.map(|s| s.address).find(|a| a.is_ipv4() == is_v4)
}

/// Addresses that are none of a machine's.
pub fn is_everywhere(text: &str) -> bool {
    text.is_empty() || text == Ipv4Addr::UNSPECIFIED.to_string() || text == Ipv6Addr::UNSPECIFIED.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Empty;

    #[test]
    fn hardware_addresses_say_the_address() {
        let of = |text: &str| {
            mac(&[attachment::Address {
                address: text.parse().unwrap(),
                prefix: 16,
            }])
        };
        assert_eq!(of("172.17.0.2"), "02:42:ac:11:00:02");
        assert_eq!(of("fd00::a:b"), "02:42:00:0a:00:0b");
    }

    #[test]
    fn which_network_is_first() {
        let mut definition = Definition::default();
        let endpoint = |gw_priority| Endpoint {
            gw_priority,
            ..Endpoint::default()
        };
        definition.networks = [("a", 0), ("b", 5), ("c", 5), ("d", -1)]
            .map(|(name, priority)| (name.to_owned(), endpoint(priority)))
            .into();
        let names = |d: &Definition| -> Vec<String> { in_order(d).into_iter().map(|(n, _)| n).collect() };
        assert_eq!(names(&definition), ["b", "c", "a", "d"]);
        // One that was made before there were networks.
        assert_eq!(names(&Definition::default()), ["bridge"]);
    }

    #[test]
    fn ports_that_are_asked_for() {
        let mut definition = Definition::default();
        let exposed = ["80/tcp", "53/udp", "8080/tcp"].map(|p| (p.to_owned(), Empty {}));
        definition.config.exposed_ports = Some(exposed.into());
        definition.host.port_bindings = [(
            "8080/tcp".to_owned(),
            vec![PortBinding {
                host_ip: "127.0.0.1".into(),
                host_port: "9000-9001".into(),
            }],
        )]
        .into();
        let shown = |d: &Definition| -> Vec<String> {
            wanted_ports(d)
                .into_iter()
                .map(|(port, protocol, b)| {
                    format!("{port}/{} {}:{}", ports::name(protocol), b.host_ip, b.host_port)
                })
                .collect()
        };
        assert_eq!(shown(&definition), ["8080/tcp 127.0.0.1:9000-9001"]);
        definition.host.publish_all_ports = true;
        assert_eq!(
            shown(&definition),
            ["53/udp :", "80/tcp :", "8080/tcp 127.0.0.1:9000-9001"]
        );
        assert_eq!(range_of("").unwrap(), None);
        assert_eq!(range_of("0").unwrap(), None);
        assert_eq!(range_of("80").unwrap(), Some((80, 80)));
        assert_eq!(range_of("80-82").unwrap(), Some((80, 82)));
        assert!(range_of("x").is_err());
    }

    #[test]
    fn names_once_each() {
        let mut definition = Definition {
            id: "0123456789abcdef".repeat(4),
            name: "web".into(),
            ..Definition::default()
        };
        definition.config.hostname = "0123456789ab".into();
        let endpoint = Endpoint {
            aliases: Some(vec!["www".into(), "web".into()]),
            ..Endpoint::default()
        };
        assert_eq!(names(&definition, &endpoint), ["web", "www", "0123456789ab"]);
        definition.config.hostname = "box".into();
        assert_eq!(
            names(&definition, &endpoint),
            ["web", "www", "0123456789ab", "box"]
        );
    }

    #[test]
    fn interfaces() {
        let attachment = |names: &[&str]| Attachment {
            version: 1,
            container: String::new(),
            container_name: String::new(),
            ports: Vec::new(),
            endpoints: names
                .iter()
                .map(|name| attachment::Endpoint {
                    network: Record {
                        driver: "bridge".into(),
                        ..Record::default()
                    }
                    .of_kernel()
                    .unwrap(),
                    id: String::new(),
                    interface: (*name).to_owned(),
                    device: String::new(),
                    mac: String::new(),
                    addresses: Vec::new(),
                    names: Vec::new(),
                    links: Vec::new(),
                    link_local: Vec::new(),
                    reaches: Vec::new(),
                    sysctls: Vec::new(),
                })
                .collect(),
        };
        assert_eq!(free_interface(&attachment(&[]), None), "eth0");
        assert_eq!(free_interface(&attachment(&["eth1", "eth0"]), None), "eth2");
        assert_eq!(free_interface(&attachment(&["eth1"]), None), "eth0");
        assert_eq!(free_interface(&attachment(&[]), Some("lan")), "lan");
    }
}
