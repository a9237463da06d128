//! `network connect` and `disconnect`: of containers that run and of those that do not.
//!
//! May not: choose networks for a container that starts.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use image::{Context as _, Error, Kind, Result};
use monitor::client;
use monitor::protocol::Request;
use network::attachment::{self, Attachment};
use network::ports::Reserved;
use network::{Space, leases};

use super::attach::{self, endpoint_of, free_interface, machine, refusal};
use super::{Networks, Record, ground, option};
use crate::containers::{Container, Containers, Durable};
use crate::control::refusal as of_monitor;
use crate::model::{Definition, Endpoint};
use crate::netfiles;
use crate::network::{Mode, parse_mode};

/// Refuses endpoints that cannot be. `record`: the network, if it is there already.
///
/// # Errors
/// In Docker's words.
pub fn check(record: Option<&Record>, name: &str, endpoint: &Endpoint) -> Result<()> {
    let mut wrong = Vec::new();
    let addresses: Vec<(&str, IpAddr)> = ["IPv4Address", "IPv6Address"]
        .into_iter()
        .filter_map(|key| Some((key, endpoint.ipam_config.as_ref()?[key].as_str()?.parse().ok()?)))
        .collect();
    if super::PREDEFINED.contains(&name) || name.starts_with("container:") {
        if !addresses.is_empty() {
            wrong.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if endpoint.aliases.as_ref().is_some_and(|a| !a.is_empty()) {
            wrong.push(
                "network-scoped alias is supported only for containers in user defined networks".to_owned(),
            );
        }
    } else if let Some(record) = record {
        if !addresses.is_empty() && !record.ipam.pools.iter().any(|p| p.is_given) {
            wrong.push(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            );
        }
        for (_, address) in addresses {
            if !record.subnets().iter().any(|s| s.contains(address)) {
                wrong.push(format!("no configured subnet contains IP address {address}"));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "invalid config for network {name}: invalid endpoint settings:\n{}",
            wrong.join("\n")
        ))),
    }
}

fn denied(message: impl Into<String>) -> Error {
    Error::of(Kind::Denied, message)
}

/// Whether a container may be in this network, too.
fn check_modes(definition: &Definition, record: &Record) -> Result<()> {
    match parse_mode(&definition.host.network_mode)? {
        Mode::Host | Mode::Container(_) => {
            return Err(denied(
                "container sharing network namespace with another container or host cannot be connected to any other network",
            ));
        }
        Mode::None => {
            return Err(denied(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ));
        }
        Mode::Own => {}
    }
    match record.name.as_str() {
        "host" => Err(denied(
            "container cannot be disconnected from host network or connected to host network",
        )),
        "none" => Err(denied(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        _ => Ok(()),
    }
}

fn locked(containers: &Containers, id: &str) -> Result<Container> {
    containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))
}

/// Connects a container with a network.
///
/// # Errors
/// It is in it already, or cannot be.
pub fn connect(containers: &Containers, network: &str, id: &str, mut endpoint: Endpoint) -> Result<()> {
    let networks = Networks::of(containers.roots());
    let found = networks.find(network)?;
    let lock = containers.lock(id)?;
    let container = locked(containers, id)?;
    check_modes(&container.definition, &found)?;
    super::possible()?;
    if container.is_supervised() {
        networks.stand(containers, &found.id, &found.name)?;
    }
    let held = networks.hold(&found.id, &found.name)?;
    let record = &held.record;
    check(Some(record), &record.name, &endpoint)?;
    endpoint.network_id = record.id.clone();
    let mut definition = container.definition.clone();
    let name = definition.name.clone();
    // One that does not run gets what is asked for now when it starts.
    if container.is_supervised() && definition.networks.contains_key(&record.name) {
        return Err(denied(format!(
            "endpoint with name {name} already exists in network {}",
            record.name
        )));
    }
    definition.networks.insert(record.name.clone(), endpoint.clone());
    if container.is_supervised() {
        join(containers, &container, &definition, record, &endpoint)?;
        networks.tell(record, "connect", &[("container", id)]);
    }
    containers
        .save(&definition, Durable::Yes)
        .context("failed to keep the change")?;
    drop(lock);
    super::reach::refresh(containers, id)
}

fn join(
    containers: &Containers,
    container: &Container,
    definition: &Definition,
    record: &Record,
    endpoint: &Endpoint,
) -> Result<()> {
    let old = current(containers, container)?;
    let wanted = endpoint
        .driver_opts
        .as_ref()
        .and_then(|options| options.get(option::INTERFACE))
        .map(String::as_str);
    let interface = free_interface(&old, wanted);
    let made = endpoint_of(containers, definition, record, endpoint, interface)?;
    let mut new = old.clone();
    new.endpoints.push(made.clone());
    sort(&mut new, definition);
    let only = alone(&old, made);
    let joined = publish(containers, definition, record, &mut new)
        .and_then(|reserved| change(containers, container, &old, &new, Some(&only), &reserved));
    if joined.is_err() {
        let back = leases::release(&containers.roots().run, &only).map_err(refusal);
        return joined.map_err(|e| e.and_also(back));
    }
    let place = containers.place(container.id());
    for address in only.endpoints.iter().flat_map(|e| &e.addresses) {
        let line = netfiles::own_line(definition, address.address);
        netfiles::change_line(&place, &line, true)?;
    }
    resolve(containers, container, &old, &new)
}

/// What was asked for with `-p`, when this is the first network by which it can be reached.
fn publish(
    containers: &Containers,
    definition: &Definition,
    joined: &Record,
    new: &mut Attachment,
) -> Result<Vec<Reserved>> {
    if !new.ports.is_empty() {
        return Ok(Vec::new());
    }
    let record = |id: &str| Some(joined).filter(|record| record.id == id);
    attach::publish(new, record, containers, definition)
}

/// The record of what a container that runs has.
fn current(containers: &Containers, container: &Container) -> Result<Attachment> {
    let run = containers.place(container.id()).run;
    attach::read(&run)?.ok_or_else(|| {
        Error::new(format!(
            "container {} has no networks of its own",
            container.definition.name
        ))
    })
}

/// The same container with this endpoint only.
fn alone(of: &Attachment, endpoint: attachment::Endpoint) -> Attachment {
    Attachment {
        endpoints: vec![endpoint],
        ports: Vec::new(),
        ..of.clone()
    }
}

/// The first is where what leaves the container goes.
fn sort(attachment: &mut Attachment, definition: &Definition) {
    let priority = |e: &attachment::Endpoint| {
        let own = definition.networks.get(&e.network.name);
        std::cmp::Reverse(own.map_or(0, |e| e.gw_priority))
    };
    attachment
        .endpoints
        .sort_by(|a, b| (priority(a), &a.network.name).cmp(&(priority(b), &b.network.name)));
}

/// In the kernel, on the disk, and in the monitor. While it is done the record has the endpoints of both.
fn change(
    containers: &Containers,
    container: &Container,
    old: &Attachment,
    new: &Attachment,
    names: Option<&Attachment>,
    reserved: &[Reserved],
) -> Result<()> {
    let roots = containers.roots();
    let place = containers.place(container.id());
    let Some(init) = &container.state.init else {
        return Err(Error::of(
            Kind::Conflict,
            format!(
                "container {} is restarting, wait until it is running",
                container.id()
            ),
        ));
    };
    let space = Space::of(init.pid).map_err(refusal)?;
    let mut both = new.clone();
    let gone = |e: &&attachment::Endpoint| !new.endpoints.iter().any(|n| n.id == e.id);
    both.endpoints.extend(old.endpoints.iter().filter(gone).cloned());
    attach::record(&place.run, &both)?;
    leases::settle(&roots.run, new).map_err(refusal)?;
    let machine = machine(roots);
    if let Err(e) = machine.change(&space, old, new) {
        let back = machine.change(&space, new, old).map_err(refusal);
        let written = attach::record(&place.run, old);
        return Err(refusal(e).and_also(back).and_also(written));
    }
    attach::record(&place.run, new)?;
    if let Some(names) = names {
        network::names::publish(&roots.run, names).map_err(refusal)?;
    }
    tell_monitor(containers, container, new, reserved)
}

pub(super) fn tell_monitor(
    containers: &Containers,
    container: &Container,
    attachment: &Attachment,
    reserved: &[Reserved],
) -> Result<()> {
    let (handed, sockets): (Vec<usize>, Vec<BorrowedFd<'_>>) = attach::sockets(reserved).into_iter().unzip();
    let request = Request::Network {
        attachment: Box::new(attachment.clone()),
        handed,
    };
    match client::request_with(&containers.place(container.id()), &request, &sockets) {
        // Killed: who adopts the container reads the record.
        Ok(_) | Err(client::Error::Gone) => Ok(()),
        Err(e) => Err(of_monitor(e)),
    }
}

/// `resolv.conf`, when names have come or gone.
fn resolve(containers: &Containers, container: &Container, old: &Attachment, new: &Attachment) -> Result<()> {
    let has_names = |a: &Attachment| a.endpoints.iter().any(|e| !e.names.is_empty());
    if has_names(old) == has_names(new) {
        return Ok(());
    }
    let place = containers.place(container.id());
    let around = attach::surroundings(containers, new, Vec::new());
    netfiles::resolve_again(&place, &container.definition, &around)
}

/// Takes a container out of a network.
///
/// # Errors
/// It is not in it.
pub fn disconnect(containers: &Containers, network: &str, id: &str) -> Result<()> {
    let networks = Networks::of(containers.roots());
    let record = networks.find(network)?;
    let _lock = containers.lock(id)?;
    let container = locked(containers, id)?;
    if record.name == "host" {
        return Err(denied(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    let mut definition = container.definition.clone();
    let removed = definition.networks.remove(&record.name).is_some();
    let mut left = false;
    if container.is_supervised() {
        left = leave(containers, &container, &definition, &record)?;
    }
    if !removed && !left {
        return Err(denied(format!(
            "container {id} is not connected to network {}",
            record.name
        )));
    }
    if left {
        networks.tell(&record, "disconnect", &[("container", id)]);
    }
    containers
        .save(&definition, Durable::Yes)
        .context("failed to keep the change")
}

fn leave(
    containers: &Containers,
    container: &Container,
    definition: &Definition,
    record: &Record,
) -> Result<bool> {
    let Some(old) = attach::read(&containers.place(container.id()).run)? else {
        return Ok(false);
    };
    let mut new = old.clone();
    let gone = new.endpoints.extract_if(.., |e| e.network.id == record.id).next();
    let Some(gone) = gone else {
        return Ok(false);
    };
    sort(&mut new, definition);
    // By what is left it may not be reached: then somebody else may have the ports. They come back with the next such network.
    if !new.endpoints.iter().any(|e| e.network.leads_in()) {
        new.ports.clear();
    }
    let only = alone(&old, gone);
    let run = &containers.roots().run;
    // Nobody is to be told of addresses that are about to go.
    network::names::withdraw(run, &only).map_err(refusal)?;
    change(containers, container, &old, &new, None, &[])?;
    leases::release(run, &only).map_err(refusal)?;
    let place = containers.place(container.id());
    for address in only.endpoints.iter().flat_map(|e| &e.addresses) {
        let line = netfiles::own_line(definition, address.address);
        netfiles::change_line(&place, &line, false)?;
    }
    resolve(containers, container, &old, &new)?;
    Ok(true)
}

/// A container that runs has another name now: others find it by that one.
///
/// # Errors
/// A record cannot be written.
pub fn renamed(containers: &Containers, definition: &Definition, old_name: &str) -> Result<()> {
    let place = containers.place(&definition.id);
    let Some(old) = attach::read(&place.run)? else {
        return Ok(());
    };
    let mut new = old.clone();
    new.container_name.clone_from(&definition.name);
    let (before, after) = (old_name.to_lowercase(), definition.name.to_lowercase());
    for endpoint in new.endpoints.iter_mut().filter(|e| !e.names.is_empty()) {
        // An alias that is called as the container was stays.
        let aliases = definition
            .networks
            .get(&endpoint.network.name)
            .and_then(|e| e.aliases.clone());
        let keeps = aliases.into_iter().flatten().any(|a| a.to_lowercase() == before);
        endpoint.names.retain(|name| *name != before || keeps);
        if !endpoint.names.contains(&after) {
            endpoint.names.insert(0, after.clone());
        }
    }
    attach::record(&place.run, &new)?;
    let run = &containers.roots().run;
    network::names::withdraw(run, &old).map_err(refusal)?;
    network::names::publish(run, &new).map_err(refusal)?;
    match containers.load(&definition.id)? {
        Some(container) => tell_monitor(containers, &container, &new, &[]),
        None => Ok(()),
    }
}

/// Everything of the kernel's once more: the rules, and what carries the networks of containers that run. What was missing, in sentences.
///
/// # Errors
/// Of the kernel.
pub fn reload(containers: &Containers) -> Result<Vec<String>> {
    super::possible()?;
    if ground::is_there(containers.roots()) {
        ground::ready(containers.roots())?;
    }
    let machine = machine(containers.roots());
    let missing = machine.check().map_err(refusal)?;
    machine.restore().map_err(refusal)?;
    // That is all of who runs; networks whose bridges are there without anybody in them have a place in the rules, too.
    for record in Networks::of(containers.roots()).records()? {
        let network = record.of_kernel()?;
        if machine.has(&network).map_err(refusal)? {
            machine.ensure(&network).map_err(refusal)?;
        }
    }
    Ok(missing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::networks::{Ipam, Pool};
    use serde_json::json;

    #[test]
    fn endpoints_that_cannot_be() {
        let with = |ip: &str, aliases: &[&str]| Endpoint {
            ipam_config: Some(json!({"IPv4Address": ip})),
            aliases: Some(aliases.iter().map(|a| (*a).to_owned()).collect()),
            ..Endpoint::default()
        };
        let record = Record {
            name: "mine".into(),
            ipam: Ipam {
                pools: vec![Pool {
                    subnet: "10.0.0.0/24".into(),
                    is_given: true,
                    ..Pool::default()
                }],
                ..Ipam::default()
            },
            ..Record::default()
        };
        check(Some(&record), "mine", &with("10.0.0.9", &["a"])).unwrap();
        check(None, "mine", &with("10.9.0.9", &[])).unwrap();
        check(Some(&record), "bridge", &Endpoint::default()).unwrap();
        let complaint =
            |name: &str, endpoint: &Endpoint| check(Some(&record), name, endpoint).unwrap_err().to_string();
        assert_eq!(
            complaint("bridge", &with("10.0.0.9", &[])),
            "invalid config for network bridge: invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"
        );
        assert!(complaint("bridge", &with("", &["x"])).ends_with("user defined networks"));
        assert!(complaint("mine", &with("10.0.1.9", &[])).ends_with("10.0.1.9"));
    }

    #[test]
    fn modes_that_exclude_networks() {
        let of = |mode: &str, network: &str| {
            let mut definition = Definition::default();
            definition.host.network_mode = mode.into();
            let record = Record {
                name: network.into(),
                ..Record::default()
            };
            check_modes(&definition, &record).map_err(|e| e.to_string())
        };
        assert_eq!(of("bridge", "mine"), Ok(()));
        for (mode, network, words) in [
            ("host", "mine", "container sharing network namespace"),
            ("container:x", "mine", "container sharing network namespace"),
            ("none", "mine", "in private (none) mode"),
            ("bridge", "host", "connected to host network"),
            ("bridge", "none", "in private (none) mode"),
        ] {
            assert!(of(mode, network).unwrap_err().contains(words), "{mode} {network}");
        }
    }
}
