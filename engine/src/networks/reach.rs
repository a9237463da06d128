//! `--link` in a network whose containers do not reach each other: the ports that the linked container exposes are open to who links to it.
//!
//! Addresses come and go, so each side looks: who starts (or joins a network) opens its own links, and then those of others that lead to
//! it, which its directory of this uptime (`linked/ID`) tells of. What a container that ends was reached by goes with it (crate network).
//!
//! May not: hold the locks of two containers at once. Two that link to each other would wait for each other.

use image::{Error, Kind, Result};
use network::attachment::{self, Attachment, Reach};

use super::{attach, connect, links};
use crate::containers::{Container, Containers};
use crate::model::{Definition, Endpoint};

/// What an endpoint reaches. It is written down at those that it links to first: if one of them is about to get its address, it finds us.
///
/// # Errors
/// A record cannot be read or written.
pub(super) fn of_endpoint(
    containers: &Containers,
    definition: &Definition,
    endpoint: &Endpoint,
    network: &attachment::Network,
) -> Result<Vec<Reach>> {
    if network.icc || !matches!(network.kind, attachment::Kind::Bridge { .. }) {
        return Ok(Vec::new());
    }
    let links = match network.name.as_str() {
        "bridge" => &definition.host.links,
        _ => &endpoint.links,
    };
    let mut all = Vec::new();
    for link in links.iter().flatten() {
        // Whether one that is not there is an error is for those to say who look for its name.
        let target = match containers.find(links::parse(link).0) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            target => target?,
        };
        links::remember(containers, target.id(), &definition.id)?;
        if let Some(attachment) = attach::read(&containers.place(target.id()).run)? {
            all.extend(exposed(&target.definition, &attachment, &network.id));
        }
    }
    Ok(all)
}

/// The exposed ports of a container, at its addresses in a network.
fn exposed(target: &Definition, attachment: &Attachment, network: &str) -> Vec<Reach> {
    let ports = target.config.exposed_ports.iter().flatten();
    let ports: Vec<_> = ports.filter_map(|(port, _)| attach::port_of(port)).collect();
    let endpoints = attachment.endpoints.iter().filter(|e| e.network.id == network);
    endpoints
        .flat_map(|e| &e.addresses)
        .flat_map(|own| {
            ports.iter().map(|(port, protocol)| Reach {
                protocol: *protocol,
                address: own.address,
                port: *port,
                container: target.id.clone(),
            })
        })
        .collect()
}

/// A container has an address that it did not have: who links to it reaches it there. Nobody's lock is held.
///
/// # Errors
/// Of the kernel, or a record cannot be written.
pub fn refresh(containers: &Containers, target: &str) -> Result<()> {
    let Some(attachment) = attach::read(&containers.place(target).run)? else {
        return Ok(());
    };
    if attachment.endpoints.iter().all(|e| e.network.icc) {
        return Ok(());
    }
    for linker in links::remembered(containers, target)? {
        match again(containers, &linker) {
            // Removed meanwhile.
            Err(e) if e.kind() == Kind::NotFound => {}
            done => done?,
        }
    }
    Ok(())
}

/// Looks anew where a container's links lead.
fn again(containers: &Containers, linker: &str) -> Result<()> {
    let _lock = containers.lock(linker)?;
    let Some(container) = containers.load(linker)?.filter(Container::is_running) else {
        return Ok(());
    };
    let run = containers.place(linker).run;
    let Some(old) = attach::read(&run)? else {
        return Ok(());
    };
    let definition = &container.definition;
    let mut new = old.clone();
    for endpoint in &mut new.endpoints {
        let of_definition = definition.networks.get(&endpoint.network.name);
        let usual = Endpoint::default();
        endpoint.reaches = of_endpoint(
            containers,
            definition,
            of_definition.unwrap_or(&usual),
            &endpoint.network,
        )?;
    }
    if new == old {
        return Ok(());
    }
    attach::record(&run, &new)?;
    let machine = attach::machine(containers.roots());
    machine.reopen(&old, &new).map_err(attach::refusal)?;
    connect::tell_monitor(containers, &container, &new, &[])
        .map_err(|e: Error| e.context("failed to tell the monitor of links"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Empty;
    use network::attachment::{Address, Kind, Network, Protocol};

    #[test]
    fn exposed_ports_in_this_network_only() {
        let mut target = Definition {
            id: "a".repeat(64),
            ..Definition::default()
        };
        let ports = ["80/tcp", "53/udp"].map(|p| (p.to_owned(), Empty {}));
        target.config.exposed_ports = Some(ports.into());
        let endpoint = |network: &str, address: &str| attachment::Endpoint {
            network: Network {
                id: network.into(),
                name: network.into(),
                kind: Kind::Bridge { device: "br0".into() },
                subnets: Vec::new(),
                mtu: 0,
                internal: false,
                icc: false,
                masquerade: true,
                routed: false,
            },
            id: String::new(),
            interface: "eth0".into(),
            device: "veth0".into(),
            mac: String::new(),
            addresses: vec![Address {
                address: address.parse().unwrap(),
                prefix: 24,
            }],
            names: Vec::new(),
            links: Vec::new(),
            link_local: Vec::new(),
            reaches: Vec::new(),
            sysctls: Vec::new(),
        };
        let attachment = Attachment {
            version: attachment::VERSION,
            container: target.id.clone(),
            container_name: "db".into(),
            endpoints: vec![endpoint("one", "10.1.0.2"), endpoint("two", "10.2.0.2")],
            ports: Vec::new(),
        };
        let found = exposed(&target, &attachment, "two");
        let found: Vec<_> = found
            .iter()
            .map(|r| (r.protocol, r.address.to_string(), r.port))
            .collect();
        assert_eq!(
            found,
            [
                (Protocol::Udp, "10.2.0.2".to_owned(), 53),
                (Protocol::Tcp, "10.2.0.2".to_owned(), 80)
            ]
        );
    }
}
