//! `linux.netDevices` (runtime-spec 1.3): devices of the runtime's network namespace that become the container's.
//!
//! A device keeps its lasting addresses and nothing else. When the container's network namespace ends the kernel gives
//! hardware back to the host and destroys what is virtual, so nothing is moved back here.
//!
//! May not: enter the container's namespace. The init lends a netlink socket that it made there.

mod netlink;

pub use netlink::Netlink;

use crate::config::NetDevice as Wanted;
use crate::error::{Doing, Result};
use crate::facts::HostFacts;
use crate::namespaces::{Namespaces, Ns};
use crate::problems::Problems;
use serde::Serialize;
use std::collections::BTreeMap;

/// A device to move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetDevice {
    /// In the runtime's namespace.
    pub name: String,
    /// In the container's.
    pub inside: String,
}

/// Reads `linux.netDevices`.
pub fn plan_net_devices(
    map: &BTreeMap<String, Wanted>,
    ns: &Namespaces,
    facts: &HostFacts,
    problems: &mut Problems,
) -> Vec<NetDevice> {
    const PLACE: &str = "/linux/netDevices";
    if map.is_empty() {
        return Vec::new();
    }
    if !ns.owns(Ns::Network) {
        problems.add(
            PLACE,
            "unable to move network devices without a private NET namespace",
        );
    }
    if facts.is_rootless() {
        problems.add(PLACE, "network devices are not supported for rootless containers");
    }
    let mut devices: Vec<NetDevice> = Vec::with_capacity(map.len());
    for (name, wanted) in map {
        let place = format!("{PLACE}/{}", name.replace('~', "~0").replace('/', "~1"));
        let inside = if wanted.name.is_empty() {
            name
        } else {
            &wanted.name
        };
        for (text, place) in [(name, place.clone()), (inside, format!("{place}/name"))] {
            if !is_device_name(text) {
                problems.add(place, format!("invalid network device name {text:?}"));
            }
        }
        if let Some(other) = devices.iter().find(|d| d.inside == *inside) {
            problems.add(place, format!("{} is to be named {inside:?} already", other.name));
        }
        devices.push(NetDevice {
            name: name.clone(),
            inside: inside.clone(),
        });
    }
    devices
}

/// dev_valid_name() of the kernel; a name with `%` would be taken for a pattern.
fn is_device_name(name: &str) -> bool {
    const IFNAMSIZ: usize = 16;
    let forbidden = |c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_ascii_whitespace();
    !name.is_empty() && name.len() < IFNAMSIZ && name != "." && name != ".." && !name.contains(forbidden)
}

/// Moves the devices to the namespace of process `pid`; `inside` is a socket of that namespace.
///
/// # Errors
/// Names the device. One that could not be moved is left as it was.
pub fn apply_net_devices(devices: &[NetDevice], pid: i32, inside: &Netlink) -> Result<()> {
    let host = Netlink::open()?;
    for device in devices {
        move_device(device, pid, &host, inside).doing(|| {
            format!(
                "error creating network interfaces: move netDevice {}",
                device.name
            )
        })?;
    }
    Ok(())
}

fn move_device(device: &NetDevice, pid: i32, host: &Netlink, inside: &Netlink) -> Result<()> {
    let NetDevice { name, inside: new } = device;
    let link = host
        .link(name)
        .doing(|| format!("link not found for interface {name} on runtime namespace"))?;
    // Before it goes down: that takes the IPv6 addresses with it.
    let addresses = host.addresses(link).doing(|| "fail to get ip addresses")?;
    let was_up = link.flags & libc::IFF_UP as u32 != 0;
    host.set_up(link, false).doing(|| "fail to set link down")?;
    host.move_link(link, pid, new)
        .doing(|| format!("fail to move network device {name} to the container's network namespace"))
        .map_err(|e| match was_up {
            true => e.and_also(host.set_up(link, true)),
            false => e,
        })?;
    // Its number may be another one here.
    let link = inside.link(new)?;
    for address in addresses.iter().filter(|a| a.is_lasting()) {
        inside
            .add_address(link, address)
            .doing(|| format!("fail to set up an address of {name}"))?;
    }
    inside
        .set_up(link, true)
        .doing(|| format!("fail to set up interface {new}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespaces::NsSource;

    fn plan(devices: &[(&str, &str)], source: NsSource, euid: u32) -> (Vec<NetDevice>, Vec<String>) {
        let mut ns = Namespaces::default();
        ns.set(Ns::Network, source);
        let map = devices
            .iter()
            .map(|(name, new)| {
                (
                    (*name).to_string(),
                    Wanted {
                        name: (*new).to_string(),
                    },
                )
            })
            .collect();
        let facts = HostFacts {
            euid,
            ..HostFacts::default()
        };
        let mut problems = Problems::default();
        let planned = plan_net_devices(&map, &ns, &facts, &mut problems);
        (planned, problems.iter().map(|p| p.place.clone()).collect())
    }

    #[test]
    fn a_device_keeps_its_name_unless_told_otherwise() {
        let (devices, problems) = plan(&[("eth0", ""), ("eth1", "lan")], NsSource::New, 0);
        assert!(problems.is_empty(), "{problems:?}");
        let inside: Vec<&str> = devices.iter().map(|d| d.inside.as_str()).collect();
        assert_eq!(inside, ["eth0", "lan"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (devices, source, euid, place) in [
            (&[("eth0", "")][..], NsSource::Host, 0, "/linux/netDevices"),
            (&[("eth0", "")][..], NsSource::New, 1000, "/linux/netDevices"),
            (&[("a/b", "c")][..], NsSource::New, 0, "/linux/netDevices/a~1b"),
            (
                &[("eth0", "sixteen-letters-")][..],
                NsSource::New,
                0,
                "/linux/netDevices/eth0/name",
            ),
            (
                &[("eth0", "a b")][..],
                NsSource::New,
                0,
                "/linux/netDevices/eth0/name",
            ),
            (
                &[("eth0", "eth%d")][..],
                NsSource::New,
                0,
                "/linux/netDevices/eth0/name",
            ),
            (
                &[("eth0", "x"), ("eth1", "x")][..],
                NsSource::New,
                0,
                "/linux/netDevices/eth1",
            ),
        ] {
            assert_eq!(plan(devices, source, euid).1, [place], "{devices:?}");
        }
    }
}
