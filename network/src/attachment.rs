//! What one container has of networks in this uptime: `network.json` beside its monitor's socket.
//!
//! It is written before anything of it is made and removed after everything of it is gone.
//!
//! May not: make or undo anything.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The form of the file.
pub const VERSION: u32 = 1;

/// A bridge of ours, or another kind of network, as far as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    pub kind: Kind,
    /// Prefixes with the gateway's address, which the bridge has: at most one of each family.
    pub subnets: Vec<Address>,
    /// 0: as the kernel makes it.
    #[serde(default)]
    pub mtu: u32,
    /// Nothing goes in or out.
    #[serde(default)]
    pub internal: bool,
    /// Its containers reach each other.
    pub icc: bool,
    /// Who leaves it has the machine's address.
    pub masquerade: bool,
    /// The gateway mode `routed`: its containers are reached from outside by their own addresses, at the published ports.
    #[serde(default)]
    pub routed: bool,
}

impl Network {
    /// Whether published ports lead to who is in it.
    pub fn leads_in(&self) -> bool {
        matches!(self.kind, Kind::Bridge { .. }) && !self.internal
    }
}

/// What carries a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A bridge with this name.
    Bridge { device: String },
    /// Devices of their own on this one; mode `bridge`, `private`, `vepa` or `passthru`.
    Macvlan { parent: String, mode: String },
    /// The same with one hardware address; mode `l2`, `l3` or `l3s`.
    Ipvlan { parent: String, mode: String },
}

impl Kind {
    /// What Docker calls the driver.
    pub fn driver(&self) -> &'static str {
        match self {
            Kind::Bridge { .. } => "bridge",
            Kind::Macvlan { .. } => "macvlan",
            Kind::Ipvlan { .. } => "ipvlan",
        }
    }
}

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub address: IpAddr,
    pub prefix: u8,
}

/// All of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// [`VERSION`] of who wrote it.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub container: String,
    /// For people: whose port it is.
    pub container_name: String,
    /// The first that has a gateway is the default route; see `gw_priority` of engine, which decides the order.
    pub endpoints: Vec<Endpoint>,
    /// What is reached from outside. The addresses are those of the first endpoint on a bridge that is not internal.
    pub ports: Vec<Port>,
}

/// A container in one network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: Network,
    /// 64 hexadecimal digits; what `inspect` calls EndpointID.
    pub id: String,
    /// Its name in the container: `eth0`.
    pub interface: String,
    /// The other end of the pair, on the machine: `veth` and seven digits of [`Endpoint::id`]. Empty when there is none.
    pub device: String,
    /// Six bytes as `02:42:ac:11:00:02`.
    pub mac: String,
    /// At most one of each family.
    pub addresses: Vec<Address>,
    /// Addresses that only its neighbours know (`--link-local-ip`).
    #[serde(default)]
    pub link_local: Vec<Address>,
    /// By which the other containers of this network find it, in lower case: its name, aliases, short id, host name.
    pub names: Vec<String>,
    /// Names that only this container uses, and the id of whom they mean (`--link` on networks of one's own).
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// What it reaches in this network although its containers do not reach each other (`--link` without icc).
    #[serde(default)]
    pub reaches: Vec<Reach>,
    /// net.* settings of this interface: `com.docker.network.endpoint.sysctls`, with IFNAME replaced.
    #[serde(default)]
    pub sysctls: Vec<(String, String)>,
}

/// A port of another container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    /// Whose it is: when it has gone, the address may be somebody else's.
    #[serde(default)]
    pub container: String,
}

/// A published port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub protocol: Protocol,
    /// Of the machine; `0.0.0.0` and `::` are all of a family.
    pub host: IpAddr,
    pub host_port: u16,
    pub container_port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}
