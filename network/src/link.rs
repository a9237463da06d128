//! Devices, addresses and routes of a network namespace: rtnetlink(7).
//!
//! What changes something is a [`Request`]; many of them go to the kernel in one datagram, in order.
//!
//! May not: know whose they are.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use sys::netlink::{Failure, Message, Reply, Socket, attribute, attributes, text_of, u32_at};

use crate::attachment::Address;
use crate::error::{Context as _, Error, Result};

const UP: u32 = libc::IFF_UP as u32;
/// struct ifinfomsg.
const LINK_HEADER: usize = 16;
/// struct ifaddrmsg.
const ADDRESS_HEADER: usize = 8;
/// struct rtmsg.
const ROUTE_HEADER: usize = 12;

// Numbers of linux/if_link.h and linux/ip.h that libc does not have.
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_FLAGS: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_INET_CONF: u16 = 1;
const IPV4_DEVCONF_ROUTE_LOCALNET: u16 = 26;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
// Of linux/fib_rules.h.
const FRA_FWMARK: u16 = 10;
const FR_ACT_TO_TBL: u8 = 1;

/// Where packets to an address go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: Address,
    /// Name of the device; empty when the route has none or several.
    pub device: String,
}

/// The routes of the namespace we are in, of all tables and both families, without default routes and without the machine's own addresses.
///
/// # Errors
/// Of the kernel.
pub fn routes() -> Result<Vec<Route>> {
    Links::open()?.routes()
}

/// The addresses of all devices of the namespace we are in.
///
/// # Errors
/// Of the kernel.
pub fn addresses() -> Result<Vec<Address>> {
    Links::open()?.own_addresses()
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    pub name: String,
    pub is_up: bool,
    /// `bridge`, `veth`, ...; empty for hardware.
    pub kind: String,
    /// What its maker wrote on it.
    pub alias: String,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// Number of the bridge that it is a port of; 0: none.
    pub master: u32,
}

/// One change, and what is being done by it, for the sentence about its failure.
#[derive(Clone, Debug)]
pub struct Request {
    what: String,
    message: Message,
}

/// The devices of one namespace.
#[derive(Debug)]
pub struct Links(Socket);

impl Links {
    /// Of the namespace we are in.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open() -> Result<Links> {
        Socket::open(libc::NETLINK_ROUTE)
            .map(Links)
            .context("failed to ask for network devices")
    }

    /// The device of this name, if there is one.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn find(&self, name: &str) -> Result<Option<Link>> {
        let mut m = link_message(libc::RTM_GETLINK, libc::NLM_F_ACK, 0, 0, 0);
        m.text(libc::IFLA_IFNAME, name);
        match self.0.ask(m) {
            Ok(replies) => Ok(replies.iter().find_map(parse_link)),
            Err(e) if e.errno().0 == libc::ENODEV => Ok(None),
            Err(e) => Err(refused(&format!("failed to look for the device {name}"), &e)),
        }
    }

    /// All devices.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn all(&self) -> Result<Vec<Link>> {
        let m = link_message(libc::RTM_GETLINK, 0, 0, 0, 0);
        let replies = self.0.dump(&m);
        let replies = replies.map_err(|e| refused("failed to list network devices", &e))?;
        Ok(replies.iter().filter_map(parse_link).collect())
    }

    /// Addresses of a device, those that the kernel makes for itself included.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let mut m = Message::new(libc::RTM_GETADDR, 0);
        m.put(&[0; 4]);
        m.put(&index.to_ne_bytes());
        let replies = self.0.dump(&m);
        let replies = replies.map_err(|e| refused("failed to list addresses", &e))?;
        // Before 4.20 the kernel does not look at the index.
        let of_it = replies.iter().filter(|r| u32_at(&r.body, 4) == Some(index));
        Ok(of_it.filter_map(parse_address).collect())
    }

    /// Addresses of all devices.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn own_addresses(&self) -> Result<Vec<Address>> {
        let mut m = Message::new(libc::RTM_GETADDR, 0);
        m.put(&[0; ADDRESS_HEADER]);
        let replies = self.0.dump(&m);
        let replies = replies.map_err(|e| refused("failed to list addresses", &e))?;
        Ok(replies.iter().filter_map(parse_address).collect())
    }

    /// As [`routes`].
    ///
    /// # Errors
    /// Of the kernel.
    pub fn routes(&self) -> Result<Vec<Route>> {
        let mut m = Message::new(libc::RTM_GETROUTE, 0);
        m.put(&[0; ROUTE_HEADER]);
        let replies = self.0.dump(&m);
        let replies = replies.map_err(|e| refused("failed to list routes", &e))?;
        let links = self.all()?;
        let name = |index: u32| links.iter().find(|l| l.index == index).map(|l| l.name.clone());
        let found = replies.iter().filter_map(parse_route);
        Ok(found
            .map(|(destination, index)| Route {
                destination,
                device: index.and_then(name).unwrap_or_default(),
            })
            .collect())
    }

    /// Does all of it, in order.
    ///
    /// # Errors
    /// The first that the kernel refuses. What comes behind it may be done nevertheless.
    pub fn make(&self, requests: Vec<Request>) -> Result<()> {
        let (what, mut messages): (Vec<String>, Vec<Message>) =
            requests.into_iter().map(|r| (r.what, r.message)).unzip();
        if messages.is_empty() {
            return Ok(());
        }
        match self.0.exchange(&mut messages) {
            Ok(_) => Ok(()),
            Err(e) => Err(refused(what.get(e.index()).map_or("", |w| w), &e)),
        }
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn delete_address(&self, name: &str, address: Address) -> Result<()> {
        let what = format!("failed to take the address {} from {name}", address.address);
        let link = self
            .find(name)?
            .ok_or_else(|| Error::new(format!("{what}: no such device")))?;
        let mut m = Message::new(libc::RTM_DELADDR, libc::NLM_F_ACK);
        m.put(&[family(address.address), address.prefix, 0, 0]);
        m.put(&link.index.to_ne_bytes());
        m.attribute(libc::IFA_LOCAL, &octets(address.address));
        self.0.ask(m).map(drop).map_err(|e| refused(&what, &e))
    }

    /// Takes a port from its bridge and down, so that nothing goes in or out. In one step, and in this order (the kernel's own): a bridge
    /// goes through all of its ports for each that goes down, and once more for each that goes.
    ///
    /// # Errors
    /// Of the kernel. Not there is no error.
    pub fn cut_off(&self, name: &str) -> Result<()> {
        let mut m = link_message(libc::RTM_NEWLINK, libc::NLM_F_ACK, 0, 0, UP);
        m.text(libc::IFLA_IFNAME, name);
        m.number(libc::IFLA_MASTER, 0);
        match self.0.ask(m) {
            Err(e) if e.errno().0 != libc::ENODEV => {
                Err(refused(&format!("failed to take the device {name} down"), &e))
            }
            _ => Ok(()),
        }
    }

    /// Removes a device, its other end included.
    ///
    /// # Errors
    /// Of the kernel. Not there is no error.
    pub fn delete(&self, name: &str) -> Result<()> {
        let mut m = link_message(libc::RTM_DELLINK, libc::NLM_F_ACK, 0, 0, 0);
        m.text(libc::IFLA_IFNAME, name);
        match self.0.ask(m) {
            Err(e) if e.errno().0 != libc::ENODEV => {
                Err(refused(&format!("failed to remove the device {name}"), &e))
            }
            _ => Ok(()),
        }
    }
}

fn refused(what: &str, e: &Failure) -> Error {
    Error::of_kernel(format!("{what}: {e}"), e.errno().0)
}

fn link_message(kind: u16, flags: i32, index: u32, on: u32, change: u32) -> Message {
    let mut m = Message::new(kind, flags);
    m.put(&[0; 4]);
    for number in [index, on, change] {
        m.put(&number.to_ne_bytes());
    }
    m
}

const CREATE: i32 = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;

fn info(m: &mut Message, kind: &str, data: impl FnOnce(&mut Message)) {
    m.nest(libc::IFLA_LINKINFO, |m| {
        m.attribute(libc::IFLA_INFO_KIND, kind.as_bytes());
        m.nest(libc::IFLA_INFO_DATA, data);
    });
}

/// A bridge that is down. With an address of its own it keeps it: otherwise it has the lowest of its ports', which come and go.
pub fn bridge(name: &str, mac: [u8; 6], mtu: u32) -> Request {
    let mut m = link_message(libc::RTM_NEWLINK, CREATE, 0, 0, 0);
    m.text(libc::IFLA_IFNAME, name);
    m.attribute(libc::IFLA_ADDRESS, &mac);
    if mtu != 0 {
        m.number(libc::IFLA_MTU, mtu);
    }
    info(&mut m, "bridge", |_| {});
    Request {
        what: format!("failed to create the bridge {name}"),
        message: m,
    }
}

/// A pair of devices, both down. The peer is made where it belongs.
pub struct Pair<'a> {
    pub name: &'a str,
    /// Number of the bridge that our end is a port of.
    pub bridge: u32,
    pub peer: &'a str,
    pub space: BorrowedFd<'a>,
    pub mac: [u8; 6],
    pub mtu: u32,
}

impl Pair<'_> {
    pub fn request(&self) -> Request {
        let mut m = link_message(libc::RTM_NEWLINK, CREATE, 0, 0, 0);
        m.text(libc::IFLA_IFNAME, self.name);
        m.number(libc::IFLA_MASTER, self.bridge);
        if self.mtu != 0 {
            m.number(libc::IFLA_MTU, self.mtu);
        }
        info(&mut m, "veth", |m| {
            m.nest(VETH_INFO_PEER, |m| {
                m.put(&[0; LINK_HEADER]);
                m.text(libc::IFLA_IFNAME, self.peer);
                m.attribute(libc::IFLA_ADDRESS, &self.mac);
                if self.mtu != 0 {
                    m.number(libc::IFLA_MTU, self.mtu);
                }
                m.number(libc::IFLA_NET_NS_FD, self.space.as_raw_fd() as u32);
            });
        });
        Request {
            what: format!("failed to create the devices {} and {}", self.name, self.peer),
            message: m,
        }
    }
}

/// A device on another one.
pub struct Upper<'a> {
    pub name: &'a str,
    /// Number of the device below, in our namespace.
    pub parent: u32,
    pub space: BorrowedFd<'a>,
    pub mtu: u32,
}

impl Upper<'_> {
    fn message(&self, mac: Option<[u8; 6]>) -> Message {
        let mut m = link_message(libc::RTM_NEWLINK, CREATE, 0, 0, 0);
        m.text(libc::IFLA_IFNAME, self.name);
        m.number(libc::IFLA_LINK, self.parent);
        m.number(libc::IFLA_NET_NS_FD, self.space.as_raw_fd() as u32);
        if let Some(mac) = mac {
            m.attribute(libc::IFLA_ADDRESS, &mac);
        }
        if self.mtu != 0 {
            m.number(libc::IFLA_MTU, self.mtu);
        }
        m
    }

    /// # Errors
    /// The mode is none.
    pub fn macvlan(&self, mac: [u8; 6], mode: &str) -> Result<Request> {
        let number = match mode {
            "private" => 1,
            "vepa" => 2,
            "bridge" | "" => 4,
            "passthru" => 8,
            _ => {
                return Err(Error::of(
                    crate::error::Kind::Invalid,
                    format!("unknown macvlan mode {mode}"),
                ));
            }
        };
        let mut m = self.message(Some(mac));
        info(&mut m, "macvlan", |m| m.number(IFLA_MACVLAN_MODE, number));
        Ok(Request {
            what: format!("failed to create the macvlan device {}", self.name),
            message: m,
        })
    }

    /// # Errors
    /// The mode is none.
    pub fn ipvlan(&self, mode: &str) -> Result<Request> {
        let number: u16 = match mode {
            "l2" | "" => 0,
            "l3" => 1,
            "l3s" => 2,
            _ => {
                return Err(Error::of(
                    crate::error::Kind::Invalid,
                    format!("unknown ipvlan mode {mode}"),
                ));
            }
        };
        let mut m = self.message(None);
        info(&mut m, "ipvlan", |m| {
            m.attribute(IFLA_IPVLAN_MODE, &number.to_ne_bytes());
            m.attribute(IFLA_IPVLAN_FLAGS, &0u16.to_ne_bytes());
        });
        Ok(Request {
            what: format!("failed to create the ipvlan device {}", self.name),
            message: m,
        })
    }
}

/// A device without a wire.
pub fn dummy(name: &str) -> Request {
    let mut m = link_message(libc::RTM_NEWLINK, CREATE, 0, 0, 0);
    m.text(libc::IFLA_IFNAME, name);
    info(&mut m, "dummy", |_| {});
    Request {
        what: format!("failed to create the device {name}"),
        message: m,
    }
}

/// A VLAN of a device.
pub fn vlan(name: &str, parent: u32, id: u16) -> Request {
    let mut m = link_message(libc::RTM_NEWLINK, CREATE, 0, 0, 0);
    m.text(libc::IFLA_IFNAME, name);
    m.number(libc::IFLA_LINK, parent);
    info(&mut m, "vlan", |m| m.attribute(IFLA_VLAN_ID, &id.to_ne_bytes()));
    Request {
        what: format!("failed to create the VLAN device {name}"),
        message: m,
    }
}

fn set(name: &str, what: String, on: u32, fill: impl FnOnce(&mut Message)) -> Request {
    let mut m = link_message(libc::RTM_NEWLINK, libc::NLM_F_ACK, 0, on, on);
    m.text(libc::IFLA_IFNAME, name);
    fill(&mut m);
    Request { what, message: m }
}

/// Brings a device up.
pub fn up(name: &str) -> Request {
    set(name, format!("failed to bring the device {name} up"), UP, |_| {})
}

/// Writes on a device whose it is.
pub fn alias(name: &str, alias: &str) -> Request {
    let what = format!("failed to write its owner on the device {name}");
    set(name, what, 0, |m| {
        m.attribute(libc::IFLA_IFALIAS, alias.as_bytes());
    })
}

/// The kernel makes no IPv6 address for this device when it goes up. Of use only before that: of one message, the kernel sets the flags
/// first. (Told in the message that creates a device, it is not listened to: 6.18.)
pub fn no_own_address(name: &str) -> Request {
    let what = format!("failed to leave the device {name} without an address of its own");
    set(name, what, 0, |m| {
        m.nest(libc::IFLA_AF_SPEC, |m| {
            m.nest(libc::AF_INET6 as u16, |m| {
                m.attribute(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
    })
}

/// Packets to and from 127.0.0.0/8 may pass this device: net.ipv4.conf.NAME.route_localnet, which needs no writable /proc/sys here.
pub fn route_localnet(name: &str) -> Request {
    let what = format!("failed to set route_localnet of the device {name}");
    set(name, what, 0, |m| {
        m.nest(libc::IFLA_AF_SPEC, |m| {
            m.nest(libc::AF_INET as u16, |m| {
                m.nest(IFLA_INET_CONF, |m| m.number(IPV4_DEVCONF_ROUTE_LOCALNET, 1));
            });
        });
    })
}

/// What a port of a bridge sends may come back to it.
pub fn hairpin(name: &str) -> Request {
    let what = format!("failed to let packets of {name} come back to it");
    set(name, what, 0, |m| {
        m.nest(libc::IFLA_LINKINFO, |m| {
            m.attribute(libc::IFLA_INFO_SLAVE_KIND, b"bridge");
            m.nest(libc::IFLA_INFO_SLAVE_DATA, |m| {
                m.attribute(IFLA_BRPORT_MODE, &[1])
            });
        });
    })
}

/// Gives a device an address. Nobody asks the others whether they have an IPv6 address already: it takes a second, and we know.
pub fn address(index: u32, name: &str, address: Address) -> Request {
    let mut m = Message::new(
        libc::RTM_NEWADDR,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
    );
    let flags = match address.address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(_) => libc::IFA_F_NODAD as u8,
    };
    m.put(&[
        family(address.address),
        address.prefix,
        flags,
        libc::RT_SCOPE_UNIVERSE,
    ]);
    m.put(&index.to_ne_bytes());
    let bytes = octets(address.address);
    m.attribute(libc::IFA_LOCAL, &bytes);
    m.attribute(libc::IFA_ADDRESS, &bytes);
    if let IpAddr::V4(v4) = address.address
        && address.prefix < 31
    {
        let broadcast = u32::from(v4) | (u32::MAX.checked_shr(address.prefix.into()).unwrap_or(0));
        m.attribute(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    Request {
        what: format!(
            "failed to give the device {name} the address {}/{}",
            address.address, address.prefix
        ),
        message: m,
    }
}

/// The default route of a family, over a gateway or, without one, straight to the device.
pub fn default_route(index: u32, v6: bool, gateway: Option<IpAddr>) -> Request {
    let over = gateway.map_or(String::new(), |g| format!(" over {g}"));
    Request {
        what: format!("failed to set the default route{over}"),
        message: route_message(
            index,
            if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8,
            None,
            gateway,
        ),
    }
}

/// A route over a gateway.
pub fn route(index: u32, to: Address, gateway: IpAddr) -> Request {
    Request {
        what: format!(
            "failed to set a route to {}/{} over {gateway}",
            to.address, to.prefix
        ),
        message: route_message(index, family(to.address), Some(to), Some(gateway)),
    }
}

fn route_message(index: u32, family: u8, to: Option<Address>, gateway: Option<IpAddr>) -> Message {
    let mut m = Message::new(
        libc::RTM_NEWROUTE,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
    );
    let scope = match gateway {
        Some(_) => libc::RT_SCOPE_UNIVERSE,
        None => libc::RT_SCOPE_LINK,
    };
    let (table, protocol, kind) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, libc::RTN_UNICAST);
    let prefix = to.map_or(0, |t| t.prefix);
    m.put(&[family, prefix, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]);
    if let Some(to) = to {
        m.attribute(libc::RTA_DST, &octets(to.address));
    }
    m.number(libc::RTA_OIF, index);
    if let Some(gateway) = gateway {
        m.attribute(libc::RTA_GATEWAY, &octets(gateway));
    }
    m
}

/// What has this mark takes its route from a table of its own.
pub fn table_of_mark(v6: bool, mark: u32, table: u8) -> Request {
    let mut m = Message::new(
        libc::RTM_NEWRULE,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL,
    );
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    // struct fib_rule_hdr.
    m.put(&[family, 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL]);
    m.put(&[0; 4]);
    m.number(FRA_FWMARK, mark);
    Request {
        what: format!("failed to route by the mark {mark}"),
        message: m,
    }
}

/// By this table everything is for this machine, whatever its address is.
pub fn all_is_ours(lo: u32, v6: bool, table: u8) -> Request {
    let mut m = Message::new(
        libc::RTM_NEWROUTE,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE,
    );
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let (protocol, scope, kind) = (libc::RTPROT_BOOT, libc::RT_SCOPE_HOST, libc::RTN_LOCAL);
    m.put(&[family, 0, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0]);
    m.number(libc::RTA_OIF, lo);
    Request {
        what: "failed to set the route of what is ours under another address".to_string(),
        message: m,
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// Four or sixteen bytes, as on the wire.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The reverse of [`octets`].
pub fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// `02:42:ac:11:00:02`.
///
/// # Errors
/// It is none.
pub fn mac_of(text: &str) -> Result<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok())
        .collect();
    bytes.and_then(|b| b.try_into().ok()).ok_or_else(|| {
        Error::of(
            crate::error::Kind::Invalid,
            format!("{text} is no hardware address"),
        )
    })
}

fn parse_link(reply: &Reply) -> Option<Link> {
    let rest = reply.body.get(LINK_HEADER..)?;
    (reply.kind == libc::RTM_NEWLINK).then_some(())?;
    let text = |kind| attribute(rest, kind).map(|v| text_of(v).into_owned());
    let kind = attribute(rest, libc::IFLA_LINKINFO).and_then(|i| attribute(i, libc::IFLA_INFO_KIND));
    Some(Link {
        index: u32_at(&reply.body, 4)?,
        name: text(libc::IFLA_IFNAME)?,
        is_up: u32_at(&reply.body, 8)? & UP != 0,
        kind: kind.map(|k| text_of(k).into_owned()).unwrap_or_default(),
        alias: text(libc::IFLA_IFALIAS).unwrap_or_default(),
        mac: attribute(rest, libc::IFLA_ADDRESS).unwrap_or(&[]).to_vec(),
        master: attribute(rest, libc::IFLA_MASTER)
            .and_then(|v| u32_at(v, 0))
            .unwrap_or(0),
    })
}

fn parse_address(reply: &Reply) -> Option<Address> {
    let rest = reply.body.get(ADDRESS_HEADER..)?;
    (reply.kind == libc::RTM_NEWADDR).then_some(())?;
    let bytes = attribute(rest, libc::IFA_LOCAL).or_else(|| attribute(rest, libc::IFA_ADDRESS))?;
    Some(Address {
        address: address_of(bytes)?,
        prefix: *reply.body.get(1)?,
    })
}

/// Where to, and over which device.
fn parse_route(reply: &Reply) -> Option<(Address, Option<u32>)> {
    let head = reply.body.get(..ROUTE_HEADER)?;
    (reply.kind == libc::RTM_NEWROUTE).then_some(())?;
    // Default routes overlap with everything; multicast and the machine's own addresses are in no network's way. A route that throws
    // away what it matches (`blackhole`) is somebody's will, too.
    let own = [
        libc::RTN_LOCAL,
        libc::RTN_BROADCAST,
        libc::RTN_ANYCAST,
        libc::RTN_MULTICAST,
    ];
    if head[1] == 0 || own.contains(&head[7]) {
        return None;
    }
    let mut found = None;
    let mut device = None;
    for (kind, value) in attributes(&reply.body[ROUTE_HEADER..]) {
        match kind {
            libc::RTA_DST => found = address_of(value),
            libc::RTA_OIF => device = u32_at(value, 0),
            _ => {}
        }
    }
    let address = found?;
    let link_local = match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(a) => a.is_unicast_link_local() || a.is_multicast(),
    };
    (!link_local).then_some((
        Address {
            address,
            prefix: head[1],
        },
        device,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_has_six_bytes() {
        assert_eq!(mac_of("02:42:ac:11:00:02").unwrap(), [2, 0x42, 0xac, 0x11, 0, 2]);
        for wrong in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "02:42:ac:11:00:zz"] {
            assert!(mac_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_survive_the_wire() {
        for text in ["10.1.2.3", "fd00::1"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(address_of(&octets(address)), Some(address));
        }
        assert_eq!(address_of(&[1, 2, 3]), None);
    }

    #[test]
    fn the_kernel_knows_the_loopback_device() {
        let links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().unwrap();
        assert_eq!((lo.name.as_str(), lo.master), ("lo", 0));
        assert!(links.all().unwrap().contains(&lo));
        assert_eq!(links.find("no-such-device0").unwrap(), None);
        links.delete("no-such-device0").unwrap();
        assert!(links.routes().unwrap().iter().all(|r| r.destination.prefix > 0));
    }
}
