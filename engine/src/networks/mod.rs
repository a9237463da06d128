//! Networks: their records, `ROOT/networks/ID.json`, and who is in them.
//!
//! A record is written when a network is made. What nobody has asked for may be chosen anew before its bridge is made (`stand`). Making and removing is done by one brig at a time (flock(2) on the
//! directory), so that neither a name nor an address belongs to two. Whoever starts a container holds the records of its networks
//! together with others (a shared lock on the file), so that none is removed under its hands, and waits for nobody.
//!
//! `host` and `none` are only words. `bridge` has a record from its first use on.
//!
//! May not: make devices or rules (the crate network does), or print.

pub mod attach;
pub mod connect;
pub mod ground;
pub mod links;
pub mod make;
pub mod reach;
pub mod routes;
mod stand;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use image::store::Roots;
use image::{Context, Digest, Error, Kind, Result};
use monitor::events::Event;
use network::attachment::{self, Attachment};
use network::pool::{self, Subnet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::containers::{Containers, is_id};
use crate::events;
use crate::model::{Definition, Endpoint};

/// The form of the file.
pub const VERSION: u32 = 1;

/// What Docker calls the networks that are always there.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// Options of the driver `bridge`, and of all.
pub mod option {
    pub const DEFAULT: &str = "com.docker.network.bridge.default_bridge";
    pub const NAME: &str = "com.docker.network.bridge.name";
    pub const ICC: &str = "com.docker.network.bridge.enable_icc";
    pub const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
    pub const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
    pub const GATEWAY_MODE_V4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
    pub const GATEWAY_MODE_V6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
    pub const MTU: &str = "com.docker.network.driver.mtu";
    pub const PARENT: &str = "parent";
    pub const MACVLAN_MODE: &str = "macvlan_mode";
    pub const IPVLAN_MODE: &str = "ipvlan_mode";
    /// Of an endpoint.
    pub const INTERFACE: &str = "com.docker.network.endpoint.ifname";
    pub const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
}

/// A network as its maker wants it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// RFC 3339 with nanoseconds.
    pub created: String,
    /// `bridge`, `macvlan`, `ipvlan`; `host` and `null` of the two that are only words.
    pub driver: String,
    pub ipv4: bool,
    pub ipv6: bool,
    pub ipam: Ipam,
    pub internal: bool,
    pub attachable: bool,
    pub options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// The bridge, or what carries the devices of containers.
    pub device: String,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Where its addresses come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ipam {
    pub driver: String,
    pub options: Option<BTreeMap<String, String>>,
    /// At most one of each family is used.
    pub pools: Vec<Pool>,
}

/// A subnet, in text as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: String,
    /// The part that is given away; empty: all.
    #[serde(default)]
    pub ip_range: String,
    #[serde(default)]
    pub gateway: String,
    #[serde(default)]
    pub auxiliary: BTreeMap<String, String>,
    /// Somebody has named the subnet.
    #[serde(default)]
    pub is_given: bool,
}

impl Pool {
    /// What leases are given from.
    ///
    /// # Errors
    /// The record is damaged.
    pub fn range(&self) -> Result<network::leases::Range> {
        let damaged = |e: network::Error| Error::corrupt(e.to_string());
        let subnet: Subnet = self.subnet.parse().map_err(damaged)?;
        let within = match self.ip_range.as_str() {
            "" => None,
            part => Some(part.parse::<Subnet>().map_err(damaged)?),
        };
        let set_aside = self.auxiliary.values().chain([&self.gateway]);
        Ok(network::leases::Range {
            subnet,
            within,
            reserved: set_aside.filter_map(|a| a.parse().ok()).collect(),
        })
    }

    /// The gateway with the prefix of the subnet.
    fn gateway(&self) -> Option<attachment::Address> {
        let subnet: Subnet = self.subnet.parse().ok()?;
        Some(attachment::Address {
            address: self.gateway.parse().ok()?,
            prefix: subnet.prefix(),
        })
    }
}

impl Record {
    /// Docker made it, so nobody may remove it.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// The one that containers are in when nobody says anything: without names, with older kinds of links.
    pub fn is_default_bridge(&self) -> bool {
        self.name == "bridge"
    }

    /// Whether containers find each other by name in it.
    pub fn has_names(&self) -> bool {
        !self.is_predefined()
    }

    /// An option that is on or off.
    fn switch(&self, name: &str, usual: bool) -> bool {
        let value = self.options.get(name).map(String::as_str);
        match value {
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => false,
            Some("1" | "t" | "T" | "true" | "True" | "TRUE") => true,
            _ => usual,
        }
    }

    fn text(&self, name: &str) -> &str {
        self.options.get(name).map_or("", String::as_str)
    }

    fn gateway_mode(&self) -> &str {
        match (self.ipv4, self.text(option::GATEWAY_MODE_V4)) {
            (true, "") | (false, _) => self.text(option::GATEWAY_MODE_V6),
            (true, mode) => mode,
        }
    }

    /// Its maker has said where ports are published.
    fn has_binding(&self) -> bool {
        let binding: Option<IpAddr> = self.text(option::BINDING).parse().ok();
        binding.is_some_and(|a| !a.is_unspecified())
    }

    /// Addresses of the machine at which ports are published when nobody says where.
    fn publish_at(&self) -> Vec<IpAddr> {
        let binding: Option<IpAddr> = self.text(option::BINDING).parse().ok();
        match binding.filter(|a| !a.is_unspecified()) {
            Some(address) => vec![address],
            None => vec![
                std::net::Ipv4Addr::UNSPECIFIED.into(),
                std::net::Ipv6Addr::UNSPECIFIED.into(),
            ],
        }
    }

    /// As the kernel has to know it.
    ///
    /// # Errors
    /// Its driver is one of a newer brig.
    pub fn of_kernel(&self) -> Result<attachment::Network> {
        let mode = |name: &str, usual: &str| match self.text(name) {
            "" => usual.to_owned(),
            own => own.to_owned(),
        };
        let parent = self.device.clone();
        let kind = match self.driver.as_str() {
            "bridge" => attachment::Kind::Bridge {
                device: self.device.clone(),
            },
            "macvlan" => attachment::Kind::Macvlan {
                parent,
                mode: mode(option::MACVLAN_MODE, "bridge"),
            },
            "ipvlan" => attachment::Kind::Ipvlan {
                parent,
                mode: mode(option::IPVLAN_MODE, "l2"),
            },
            other => {
                return Err(Error::of(
                    Kind::Unsupported,
                    format!("network {} has the driver {other}, which is not known", self.name),
                ));
            }
        };
        let gateway_mode = self.gateway_mode();
        Ok(attachment::Network {
            id: self.id.clone(),
            name: self.name.clone(),
            kind,
            subnets: self.ipam.pools.iter().filter_map(Pool::gateway).collect(),
            mtu: match self.text(option::MTU) {
                "" if ground::is_needed() => make::MTU_ON_GROUND.parse().unwrap_or_default(),
                text => text.parse().unwrap_or_default(),
            },
            internal: self.internal,
            icc: self.switch(option::ICC, true),
            masquerade: self.switch(option::MASQUERADE, true) && gateway_mode != "routed",
            routed: gateway_mode == "routed",
        })
    }

    /// Its subnets.
    pub fn subnets(&self) -> Vec<Subnet> {
        let pools = self.ipam.pools.iter();
        pools.filter_map(|p| p.subnet.parse().ok()).collect()
    }
}

/// All of them.
#[derive(Clone, Debug)]
pub struct Networks {
    roots: Roots,
}

/// Nobody else makes or removes networks meanwhile.
#[derive(Debug)]
pub struct Alone(#[allow(dead_code)] File);

/// A network that cannot be removed meanwhile.
#[derive(Debug)]
pub struct Held {
    pub record: Record,
    #[allow(dead_code)]
    file: Option<File>,
}

/// A container in a network, in this moment.
#[derive(Clone, Debug)]
pub struct User {
    pub container: String,
    pub name: String,
    pub endpoint: attachment::Endpoint,
}

impl Networks {
    /// Of a store.
    pub fn of(roots: &Roots) -> Networks {
        Networks { roots: roots.clone() }
    }

    fn directory(&self) -> PathBuf {
        self.roots.root.join("networks")
    }

    fn file(&self, id: &str) -> PathBuf {
        self.directory().join(format!("{id}.json"))
    }

    /// Those that have records, in no order.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn records(&self) -> Result<Vec<Record>> {
        let directory = self.directory();
        let failed = || format!("failed to list {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(failed())?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let name = entry
                .context(failed())?
                .file_name()
                .into_string()
                .unwrap_or_default();
            if let Some(id) = name.strip_suffix(".json").filter(|id| is_id(id))
                && let Some(record) = self.load(id)?
            {
                all.push(record);
            }
        }
        Ok(all)
    }

    /// All that there are, by name. The default one is among them whether somebody has used it or not, but not for an ordinary user.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn list(&self) -> Result<Vec<Record>> {
        let mut all = self.records()?;
        if is_possible() && !all.iter().any(Record::is_default_bridge) {
            all.push(self.bridge()?);
        }
        all.extend([self.word("host", "host"), self.word("none", "null")]);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// One that is only a word.
    fn word(&self, name: &str, driver: &str) -> Record {
        let root = self.roots.root.display();
        Record {
            version: VERSION,
            id: Digest::of(format!("network {name} {root}").as_bytes())
                .hex()
                .to_owned(),
            name: name.into(),
            created: "0001-01-01T00:00:00Z".into(),
            driver: driver.into(),
            ipv4: true,
            ipam: Ipam {
                driver: "default".into(),
                ..Ipam::default()
            },
            ..Record::default()
        }
    }

    /// The one with exactly this id, if it has a record.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn load(&self, id: &str) -> Result<Option<Record>> {
        let path = self.file(id);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.context(format!("failed to read {}", path.display()))?,
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))?;
        match record.version {
            0..=VERSION => Ok(Some(record)),
            _ => Err(Error::of(
                Kind::Unsupported,
                format!("network {id} has been made by a newer brig"),
            )),
        }
    }

    /// The one that somebody means: a whole id, a name, or the beginning of one id only.
    ///
    /// # Errors
    /// There is none ([`Kind::NotFound`]), or more than one.
    pub fn find(&self, text: &str) -> Result<Record> {
        let missing = || Error::not_found(format!("network {text} not found"));
        match text {
            "" => return Err(Error::invalid("network name or ID is empty")),
            "bridge" => return self.bridge(),
            "host" => return Ok(self.word("host", "host")),
            "none" => return Ok(self.word("none", "null")),
            _ => {}
        }
        let all = self.list()?;
        if let Some(found) = all
            .iter()
            .find(|r| r.id == text)
            .or_else(|| all.iter().find(|r| r.name == text))
        {
            return Ok(found.clone());
        }
        let mut found = all.into_iter().filter(|r| r.id.starts_with(text));
        match (found.next(), found.next()) {
            (Some(record), None) => Ok(record),
            (None, _) => Err(missing()),
            (Some(_), Some(_)) => Err(Error::of(
                Kind::Conflict,
                format!(
                    "network {text} is ambiguous ({} matches found based on ID prefix)",
                    found.count() + 2
                ),
            )),
        }
    }

    /// The default one, which is made now if it never was.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn bridge(&self) -> Result<Record> {
        let there =
            || -> Result<Option<Record>> { Ok(self.records()?.into_iter().find(Record::is_default_bridge)) };
        if let Some(record) = there()? {
            return Ok(record);
        }
        possible()?;
        let alone = self.alone()?;
        match there()? {
            Some(record) => Ok(record),
            None => make::default_bridge(self, &alone),
        }
    }

    /// The right to make and remove networks.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn alone(&self) -> Result<Alone> {
        let directory = self.directory();
        crate::containers::make_private(&directory)?;
        let failed = || format!("failed to lock {}", directory.display());
        let file = File::open(&directory).context(failed())?;
        file.lock().context(failed())?;
        Ok(Alone(file))
    }

    /// A network that stays as long as this value does. By its id, or by name if it was made anew.
    ///
    /// # Errors
    /// There is none.
    pub fn hold(&self, id: &str, name: &str) -> Result<Held> {
        loop {
            let record = match self.load(id) {
                Ok(Some(record)) if !id.is_empty() => record,
                _ => self.find(name)?,
            };
            if matches!(record.driver.as_str(), "host" | "null") {
                return Err(invalid(format!(
                    "the network {} cannot be one of several",
                    record.name
                )));
            }
            let path = self.file(&record.id);
            let failed = || format!("failed to lock {}", path.display());
            let file = match File::open(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                file => file.context(failed())?,
            };
            file.lock_shared().context(failed())?;
            // Removed between the two calls, it is looked for again: then it is not found.
            if path.exists() {
                return Ok(Held {
                    record,
                    file: Some(file),
                });
            }
        }
    }

    /// Who is in a network, by the container's name.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn users(&self, containers: &Containers, id: &str) -> Result<Vec<User>> {
        let mut users = Vec::new();
        for attachment in attachments(containers)? {
            let Attachment {
                container,
                container_name,
                endpoints,
                ..
            } = attachment;
            for endpoint in endpoints.into_iter().filter(|e| e.network.id == id) {
                users.push(User {
                    container: container.clone(),
                    name: container_name.clone(),
                    endpoint,
                });
            }
        }
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    /// How many there are of whom, for all networks.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn used(&self, containers: &Containers) -> Result<BTreeMap<String, usize>> {
        let mut used = BTreeMap::new();
        for attachment in attachments(containers)? {
            for endpoint in attachment.endpoints {
                *used.entry(endpoint.network.id).or_default() += 1;
            }
        }
        Ok(used)
    }

    /// Removes one.
    ///
    /// # Errors
    /// Somebody is in it, it is one of those that are always there, or something of it cannot be removed.
    pub fn remove(&self, containers: &Containers, record: &Record) -> Result<()> {
        if record.is_predefined() {
            return Err(Error::of(
                Kind::Denied,
                format!("{} is a pre-defined network and cannot be removed", record.name),
            ));
        }
        let _alone = self.alone()?;
        let path = self.file(&record.id);
        let missing = || Error::not_found(format!("network {} not found", record.name));
        let file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(missing()),
            file => file.context(format!("failed to open {}", path.display()))?,
        };
        // Those who are about to start in it have it; they do not take long.
        file.lock()
            .context(format!("failed to lock {}", path.display()))?;
        let users = self.users(containers, &record.id)?;
        if !users.is_empty() {
            let all: Vec<String> = users
                .iter()
                .map(|u| format!("name:{:?} id:{:?}", u.name, u.endpoint.id))
                .collect();
            return Err(Error::of(
                Kind::Conflict,
                format!(
                    "error while removing network: network {} has active endpoints ({})",
                    record.name,
                    all.join(", ")
                ),
            ));
        }
        attach::machine(&self.roots)
            .remove(&record.of_kernel()?)
            .map_err(attach::refusal)?;
        fs::remove_file(&path).context(format!("failed to remove {}", path.display()))?;
        let run = network::leases::place(&self.roots.run, &record.id);
        match fs::remove_dir_all(&run) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::from(e).context(format!("failed to remove {}", run.display())));
            }
            _ => {}
        }
        self.tell(record, "destroy", &[]);
        Ok(())
    }

    /// Tells of a network: `create`, `connect`, `disconnect`, `destroy`.
    pub fn tell(&self, record: &Record, action: &str, more: &[(&str, &str)]) {
        let mut attributes: BTreeMap<String, String> = more
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        attributes.insert("name".into(), record.name.clone());
        attributes.insert("type".into(), record.driver.clone());
        // The disk is full or the store read-only: what was done is done.
        let _ = events::tell(
            &self.roots,
            &Event::now("network", action, &record.id, attributes),
        );
    }
}

/// What all containers that run have of networks.
///
/// # Errors
/// They cannot be listed.
pub fn attachments(containers: &Containers) -> Result<Vec<Attachment>> {
    let directory = monitor::place::containers(&containers.roots().run);
    let failed = || format!("failed to list {}", directory.display());
    let entries = match fs::read_dir(&directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(failed())?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.context(failed())?;
        let Some(attachment) = attach::read(&entry.path())? else {
            continue;
        };
        if lives(containers, &attachment.container) {
            all.push(attachment);
        }
    }
    Ok(all)
}

/// Whether a container runs, or somebody is at work on it: then what it has is its own.
pub fn lives(containers: &Containers, id: &str) -> bool {
    runs(containers, id) || matches!(containers.try_lock(id), Ok(None))
}

fn runs(containers: &Containers, id: &str) -> bool {
    let state = containers.state(&containers.place(id));
    state.is_ok_and(|state| crate::summary::is_up(&state))
}

/// A container in a network as `inspect` shows it: what was asked for, and of one that runs what it has.
pub fn shown(definition: &Definition, name: &str, attachment: Option<&Attachment>) -> Endpoint {
    let mut shown = definition.networks.get(name).cloned().unwrap_or_default();
    if !PREDEFINED.contains(&name) {
        shown.dns_names = Some(attach::names(definition, &shown));
    }
    let endpoints = attachment.map(|a| &a.endpoints);
    let Some(endpoint) = endpoints.into_iter().flatten().find(|e| e.network.name == name) else {
        return shown;
    };
    let gateway = |is_v4| {
        attach::gateway(endpoint, is_v4)
            .map(|a| a.to_string())
            .unwrap_or_default()
    };
    shown.network_id.clone_from(&endpoint.network.id);
    shown.endpoint_id.clone_from(&endpoint.id);
    shown.mac_address.clone_from(&endpoint.mac);
    for own in &endpoint.addresses {
        let text = own.address.to_string();
        match own.address.is_ipv4() {
            true => {
                (shown.gateway, shown.ip_address, shown.ip_prefix_len) = (gateway(true), text, own.prefix)
            }
            false => {
                shown.ipv6_gateway = gateway(false);
                (shown.global_ipv6_address, shown.global_ipv6_prefix_len) = (text, own.prefix);
            }
        }
    }
    shown
}

/// Whether this process may make networks. An ordinary user's user namespace does not own the machine's network: there a program has
/// to lead out.
pub fn is_possible() -> bool {
    !ground::is_needed() || ground::programs().is_ok_and(|programs| !programs.is_empty())
}

pub(crate) fn is_in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let fields: Vec<&str> = map.split_whitespace().collect();
    !fields.is_empty() && fields != ["0", "0", "4294967295"]
}

/// Refuses what [`is_possible`] denies.
///
/// # Errors
/// In one sentence, with what to do instead.
pub fn possible() -> Result<()> {
    match !ground::is_needed() || !ground::programs()?.is_empty() {
        true => Ok(()),
        false => Err(Error::of(
            Kind::Unsupported,
            "an ordinary user's containers need pasta (package passt) or slirp4netns (package slirp4netns) for networks and published ports, and neither is on PATH; without them there are --network host and --network none",
        )),
    }
}

/// Random digits.
///
/// # Errors
/// The kernel gives no random numbers.
pub fn random_id() -> Result<String> {
    let bytes: [u8; 32] = sys::random::bytes()?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// 40 bits that only this machine and store have, for unique local addresses.
fn own_bits(root: &Path) -> u64 {
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let digest = Digest::of(format!("network {} {}", machine.trim(), root.display()).as_bytes());
    digest
        .hex()
        .get(..10)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or_default()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message)
}

/// An address and its block, from text that somebody has typed.
fn parse(text: &str) -> Result<(IpAddr, Subnet)> {
    pool::parse(text).map_err(|e| invalid(e.to_string()))
}

#[cfg(test)]
mod tests;
