//! What is done to the machine's networking for a store: the order in which devices and rules come and go.
//!
//! Rules come before devices and go after them, so no packet passes that they do not know. Processes do not wait for each other: what
//! depends on all records is installed in one transaction, which the kernel refuses if anybody has changed anything since they were read.
//!
//! May not: know the messages of the kernel.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::attachment::{Attachment, Endpoint, Kind, Network, Protocol};
use crate::conntrack::{self, Flow};
use crate::error::{Context as _, Error, Result};
use crate::link::{self, Link, Links, Pair, Request, Upper};
use crate::nft::rule::{Act, Field, Rule, Test};
use crate::nft::{Base, Family, Hook, Rules, Table, Transaction};
use crate::rules::{self, APART, Elements, Layout, MAIN};
use crate::space::Space;
use crate::sysctl::Settings;
use crate::{bridge, foreign, forwarding, leases, names, standing};

/// So often something is tried again that others have interfered with.
const ATTEMPTS: usize = 100;

/// The networking of the network namespace we are in, as far as it belongs to the store with this RUN.
#[derive(Debug, Clone)]
pub struct Machine {
    run: PathBuf,
    main: Table,
    apart: Table,
    whose: Whose,
}

/// A bit of the mode of a record whose container ends. No new file has it, whatever the umask is.
const CLOSED: u32 = libc::S_IXUSR;

/// In whose network namespace it is.
#[derive(Debug, Clone)]
enum Whose {
    /// The calling thread's.
    Ours,
    /// One that stands for the machine.
    Ground(Arc<Space>),
    /// That one has gone, with everything in it.
    Gone,
}

/// Of the store that root has when nobody says anything.
const TABLE: &str = "brig";

/// Whether the tables of some store have this name.
pub fn is_name_of_table(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(TABLE) else {
        return false;
    };
    let is_sum = |sum: &str| sum.len() == 8 && sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    rest.is_empty() || rest.strip_prefix('-').is_some_and(is_sum)
}

impl Machine {
    /// Of the store whose RUN this is: `/run/brig` has the table `brig`, others have names of their own.
    pub fn of(run: &Path) -> Machine {
        let name = match run.to_str() {
            Some("/run/brig") => TABLE.to_string(),
            _ => format!("{TABLE}-{:08x}", sum(run.as_os_str().as_encoded_bytes())),
        };
        let table = |family| Table {
            family,
            name: name.clone(),
        };
        Machine {
            run: run.to_owned(),
            main: table(Family::Inet),
            apart: table(Family::Bridge),
            whose: Whose::Ours,
        }
    }

    /// The same in a namespace that stands for the machine's; `None`: there is none any more.
    #[must_use]
    pub fn on(self, ground: Option<Space>) -> Machine {
        Machine {
            whose: ground.map_or(Whose::Gone, |space| Whose::Ground(Arc::new(space))),
            ..self
        }
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match &self.whose {
            Whose::Ours => work(),
            Whose::Ground(space) => space.inside(work),
            Whose::Gone => Err(Error::new("the network namespace of the containers has gone")),
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.whose, Whose::Gone)
    }

    /// Name of the tables of nf_tables.
    pub fn table(&self) -> &str {
        &self.main.name
    }

    /// Makes what carries the network, and its place in the rules; quick when it is all there.
    ///
    /// # Errors
    /// `Kind::Taken` when a device of that name belongs to somebody else.
    pub fn ensure(&self, network: &Network) -> Result<()> {
        self.inside(|| self.ensure_here(network))
    }

    fn ensure_here(&self, network: &Network) -> Result<()> {
        let rules = Rules::open()?;
        if matches!(network.kind, Kind::Bridge { .. }) {
            standing::record(&self.run, network)?;
        }
        self.add(&rules, rules::of_network(network), &[], &[network])?;
        bridge::ensure(&Links::open()?, network, &|| Ok(()))?;
        self.open_ways(&rules, &[network])
    }

    /// Whether what carries it is there, and is its own.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn has(&self, network: &Network) -> Result<bool> {
        match self.is_gone() {
            true => Ok(false),
            false => self.inside(|| bridge::is_there(&Links::open()?, network)),
        }
    }

    /// Undoes it. Not there is no error. With the last network all rules go.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn remove(&self, network: &Network) -> Result<()> {
        match self.is_gone() {
            true => standing::forget(&self.run, network),
            false => self.inside(|| self.remove_here(network)),
        }
    }

    fn remove_here(&self, network: &Network) -> Result<()> {
        bridge::remove(&Links::open()?, network)?;
        standing::forget(&self.run, network)?;
        let rules = Rules::open()?;
        if let Kind::Bridge { device } = &network.kind {
            foreign::close(&rules, &self.main, device)?;
        }
        self.subtract(&rules, &rules::of_network(network), &Elements::default())?;
        self.remove_rules_of_nobody(&rules)
    }

    /// Gives a namespace all that the record says. The record is on the disk already.
    ///
    /// # Errors
    /// Of the kernel, with what was being done. Nothing is undone: the caller calls [`Machine::detach`].
    pub fn attach(&self, space: &Space, attachment: &Attachment) -> Result<()> {
        let endpoints: Vec<&Endpoint> = attachment.endpoints.iter().collect();
        self.inside(|| self.come(space, attachment, &endpoints, &Elements::default()))
    }

    /// From one record to another, for a container that runs: endpoints are told by their ids; ports may go to another address.
    /// Meanwhile the record on the disk has the endpoints of both.
    ///
    /// # Errors
    /// As [`Machine::attach`].
    pub fn change(&self, space: &Space, old: &Attachment, new: &Attachment) -> Result<()> {
        self.inside(|| self.change_here(space, old, new))
    }

    fn change_here(&self, space: &Space, old: &Attachment, new: &Attachment) -> Result<()> {
        let less = |a: &'_ Attachment, b: &Attachment| -> Vec<String> {
            let has = |id: &String| b.endpoints.iter().any(|e| e.id == *id);
            a.endpoints
                .iter()
                .map(|e| e.id.clone())
                .filter(|id| !has(id))
                .collect()
        };
        let gone = less(old, new);
        let come = less(new, old);
        let links = Links::open()?;
        for endpoint in old.endpoints.iter().filter(|e| gone.contains(&e.id)) {
            match endpoint.device.as_str() {
                "" => space.links(|links| links.delete(&endpoint.interface))?,
                device => links.delete(device)?,
            }
        }
        let come: Vec<&Endpoint> = new.endpoints.iter().filter(|e| come.contains(&e.id)).collect();
        self.come(space, new, &come, &rules::of_attachment(old, true))?;
        forget_connections(old)
    }

    /// From one record to another that differs from it only in what is reached ([`Endpoint::reaches`]).
    ///
    /// # Errors
    /// Of the kernel.
    pub fn reopen(&self, old: &Attachment, new: &Attachment) -> Result<()> {
        self.inside(|| self.reopen_here(old, new))
    }

    fn reopen_here(&self, old: &Attachment, new: &Attachment) -> Result<()> {
        let rules = Rules::open()?;
        let bridged = has_bridge_netfilter();
        let elements = rules::of_attachment(new, bridged);
        self.subtract(&rules, &rules::of_attachment(old, true), &elements)?;
        self.add(&rules, elements, &[new], &[])
    }

    /// Undoes all of a record, also what is only there in part. Leases and names go, too. The devices are only taken down: they end with
    /// their namespace, and to wait for that costs more than all the rest (decision 16).
    ///
    /// # Errors
    /// What could not be undone; the rest is.
    pub fn detach(&self, attachment: &Attachment) -> Result<()> {
        let made = match self.is_gone() {
            true => Ok(()),
            false => self.inside(|| self.detach_here(attachment)),
        };
        let leases = leases::release(&self.run, attachment);
        let names = names::withdraw(&self.run, attachment);
        made.and(leases).and(names)
    }

    fn detach_here(&self, attachment: &Attachment) -> Result<()> {
        let closed = self.close_record(attachment);
        let links = Links::open().and_then(|links| {
            let mut devices = attachment.endpoints.iter().map(|e| e.device.as_str());
            devices.try_for_each(|device| match device {
                "" => Ok(()),
                device => links.cut_off(device),
            })
        });
        let mut elements = rules::of_attachment(attachment, true);
        let reached = self.ways_to(attachment).map(|ways| elements.extend(ways));
        close_later(None);
        let rules = Rules::open().and_then(|rules| {
            let done = self.subtract(&rules, &elements, &Elements::default());
            close_later(Some(rules));
            done
        });
        let connections = forget_connections(attachment);
        closed.and(links).and(reached).and(rules).and(connections)
    }

    /// Its record stays until all is undone, and whoever makes all rules anew meanwhile must not take it for one that counts. Who has read it
    /// before is refused, for the rules have changed then.
    fn close_record(&self, attachment: &Attachment) -> Result<()> {
        let file = self.record(&attachment.container);
        match fs::set_permissions(&file, fs::Permissions::from_mode(CLOSED | 0o600)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).context(format!("failed to close {}", file.display()))
            }
            _ => Ok(()),
        }
    }

    fn record(&self, container: &str) -> PathBuf {
        self.run.join("containers").join(container).join("network.json")
    }

    /// What others reach of a container by links: its addresses may be somebody else's soon.
    fn ways_to(&self, attachment: &Attachment) -> Result<Elements> {
        let mut ways = Elements::default();
        if attachment.endpoints.iter().all(|e| e.network.icc) {
            return Ok(ways);
        }
        for mut other in self.records()? {
            other.ports.clear();
            for endpoint in &mut other.endpoints {
                endpoint
                    .reaches
                    .retain(|reach| reach.container == attachment.container);
            }
            other.endpoints.retain(|e| !e.reaches.is_empty());
            ways.extend(rules::of_links(&other));
        }
        ways.settle();
        Ok(ways)
    }

    /// What is missing of the rules, in sentences; empty when they are whole.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn check(&self) -> Result<Vec<String>> {
        match self.is_gone() {
            true => Ok(Vec::new()),
            false => self.inside(|| self.check_here()),
        }
    }

    fn check_here(&self) -> Result<Vec<String>> {
        let rules = Rules::open()?;
        let Wanted {
            networks, elements, ..
        } = self.wanted(&[], &[])?;
        let mut problems = self.check_ways(&rules, &networks)?;
        for (table, layout, elements) in [
            (&self.main, &MAIN, &elements.main),
            (&self.apart, &APART, &elements.apart),
        ] {
            if elements.is_empty() {
                continue;
            }
            if !rules.tables(table.family)?.contains(&table.name) {
                problems.push(format!("the {table} is missing"));
                continue;
            }
            let sets = rules.sets(table)?;
            let missing = layout.sets.iter().filter(|s| !sets.iter().any(|n| n == s.name));
            problems.extend(missing.map(|s| format!("the set {} is missing in {table}", s.name)));
            for chain in layout.chains {
                let there = rules.rules(table, chain.name)?;
                let there = there.iter().map(|r| r.comment.as_str());
                if !there.eq(chain.rules.iter().map(|r| r.comment.as_ref())) {
                    problems.push(format!(
                        "the chain {} of {table} has other rules than it should have",
                        chain.name
                    ));
                }
            }
            let there = rules.present(table, elements)?;
            let missing = elements.len() - there.len();
            if missing > 0 {
                problems.push(format!("{missing} elements of sets are missing in {table}"));
            }
        }
        Ok(problems)
    }

    /// What keeps packets of these networks from being forwarded, as far as [`Machine::open_ways`] mends it.
    fn check_ways(&self, rules: &Rules, networks: &[Network]) -> Result<Vec<String>> {
        let ways = Ways::of(&networks.iter().collect::<Vec<_>>());
        let mut problems = Vec::new();
        for (has, switch) in [(ways.ipv4, forwarding::IPV4), (ways.ipv6, forwarding::IPV6)] {
            if has {
                problems.extend(switch.check()?);
            }
        }
        problems.extend(foreign::check(rules, &self.main, &ways.bridges)?);
        Ok(problems)
    }

    /// Installs all rules once more: those of every record in RUN.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn restore(&self) -> Result<()> {
        match self.is_gone() {
            true => Ok(()),
            false => self.inside(|| self.restore_here()),
        }
    }

    fn restore_here(&self) -> Result<()> {
        let rules = Rules::open()?;
        let networks = self.install(&rules, &[], &[], &[&self.main, &self.apart])?;
        self.open_ways(&rules, &networks.iter().collect::<Vec<_>>())
    }

    /// In the container's namespace, what goes to 127.0.0.11:53 goes to these ports of 127.0.0.11 instead.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn redirect_names(space: &Space, udp: u16, tcp: u16) -> Result<()> {
        const RESOLVER: [u8; 4] = [127, 0, 0, 11];
        let redirect = |protocol: i32, port: u16| Rule {
            tests: vec![
                Test::Equals(Field::Destination4, RESOLVER.to_vec().into()),
                Test::Equals(Field::Protocol, vec![protocol as u8].into()),
                Test::Equals(Field::DestinationPort, 53u16.to_be_bytes().to_vec().into()),
            ]
            .into(),
            act: Act::ToAddress(RESOLVER.into(), port),
            comment: "names".into(),
            counts: false,
        };
        let table = Table {
            family: Family::Ipv4,
            name: "brig-names".to_string(),
        };
        let base = Base {
            kind: "nat",
            hook: Hook::Output,
            priority: -100,
            drops: false,
        };
        space.inside(|| {
            let rules = Rules::open()?;
            let mut whole = Transaction::default();
            // Of a resolver that was there before.
            if rules.tables(table.family)?.contains(&table.name) {
                whole.no_table(&table);
            }
            whole.table(&table);
            whole.chain(&table, "output", Some(&base));
            whole.rule(&table, "output", &redirect(libc::IPPROTO_UDP, udp));
            whole.rule(&table, "output", &redirect(libc::IPPROTO_TCP, tcp));
            rules.commit(whole)
        })
    }

    /// Gives a namespace these endpoints of a record; `before` is what the rules have of it already.
    fn come(
        &self,
        space: &Space,
        attachment: &Attachment,
        endpoints: &[&Endpoint],
        before: &Elements,
    ) -> Result<()> {
        let links = Links::open()?;
        let rules = Rules::open()?;
        let networks: Vec<&Network> = endpoints.iter().map(|e| &e.network).collect();
        let lower: Vec<Link> = networks
            .iter()
            .map(|network| bridge::ensure(&links, network, &|| standing::record(&self.run, network)))
            .collect::<Result<_>>()?;

        let bridged = has_bridge_netfilter();
        let elements = rules::of_attachment(attachment, bridged);
        self.subtract(&rules, before, &elements)?;
        let mut all = elements;
        networks.iter().for_each(|n| all.extend(rules::of_network(n)));
        self.add(&rules, all, &[attachment], &networks)?;
        self.open_ways(&rules, &networks)?;

        // To its own published port.
        let comes_back = bridged && !attachment.ports.is_empty();
        let pairs = endpoints.iter().zip(&lower);
        let pairs = pairs.map(|(endpoint, lower)| devices(endpoint, lower, space, comes_back));
        links.make(pairs.collect::<Result<Vec<_>>>()?.concat())?;
        ports_alone(endpoints)?;
        space.links(|links| {
            let mut steps = Vec::new();
            for endpoint in endpoints {
                steps.extend(inside(links, endpoint)?);
            }
            steps.extend(default_routes(links, attachment)?);
            links.make(steps)
        })?;
        let ports = endpoints.iter().zip(&lower).filter(|(e, _)| !e.device.is_empty());
        let names: Vec<&str> = ports
            .flat_map(|(e, bridge)| [e.device.as_str(), &bridge.name])
            .collect();
        sys::net::carriers(&names).context("failed to wait for network devices")?;
        settings(space, endpoints)?;
        forget_connections(attachment)
    }

    /// Packets of these networks are forwarded.
    fn open_ways(&self, rules: &Rules, networks: &[&Network]) -> Result<()> {
        let ways = Ways::of(networks);
        for (has, switch) in [(ways.ipv4, forwarding::IPV4), (ways.ipv6, forwarding::IPV6)] {
            if has {
                switch.on(&self.run, rules)?;
            }
        }
        if ways.bridges.is_empty() {
            return Ok(());
        }
        foreign::open(rules, &self.main, &ways.bridges)
    }

    /// Adds elements. Where the tables are not there, or have something else in their place, they are made anew.
    fn add(
        &self,
        rules: &Rules,
        elements: Elements,
        attachments: &[&Attachment],
        networks: &[&Network],
    ) -> Result<()> {
        let mut changes = Transaction::default();
        for (table, mut elements) in [(&self.main, elements.main), (&self.apart, elements.apart)] {
            if !elements.is_empty() {
                elements.push(rules::form());
                changes.elements(table, &elements);
            }
        }
        match rules.commit(changes) {
            // Only the table of networks without icc is missing, where this is the first.
            Err(e) if e.errno() == libc::ENOENT && self.has_main(rules)? => {
                match self.install(rules, attachments, networks, &[&self.apart]) {
                    Err(e) if e.errno() == libc::EEXIST => {
                        self.install(rules, attachments, networks, &[&self.main, &self.apart])
                    }
                    other => other,
                }
                .map(drop)
            }
            Err(e) if matches!(e.errno(), libc::ENOENT | libc::EEXIST) => {
                let both = [&self.main, &self.apart];
                self.install(rules, attachments, networks, &both).map(drop)
            }
            other => other,
        }
    }

    /// Removes elements, as far as they are there and ours, but not those of `kept`.
    fn subtract(&self, rules: &Rules, elements: &Elements, kept: &Elements) -> Result<()> {
        let elements = elements.without(kept);
        if elements == Elements::default() {
            return Ok(());
        }
        for _ in 0..ATTEMPTS {
            // A port may be somebody else's by now, if its owner was killed: what is looked at must not change until it is removed.
            let mut changes = Transaction::since(rules.generation()?);
            changes.no_elements(&self.main, &rules.present(&self.main, &elements.main)?);
            changes.no_elements(&self.apart, &rules.present(&self.apart, &elements.apart)?);
            match rules.commit(changes) {
                Err(e) if is_overtaken(&e) => {}
                other => return other,
            }
        }
        Err(changing())
    }

    /// Whether the main table is there, in today's form.
    fn has_main(&self, rules: &Rules) -> Result<bool> {
        Ok(rules.tables(self.main.family)?.contains(&self.main.name)
            && rules.sets(&self.main)?.iter().any(|name| name == rules::FORM))
    }

    /// Makes these tables anew, with what all records say, and these, which are more recent. The networks that are in it.
    fn install(
        &self,
        rules: &Rules,
        attachments: &[&Attachment],
        networks: &[&Network],
        anew: &[&Table],
    ) -> Result<Vec<Network>> {
        for _ in 0..ATTEMPTS {
            let generation = rules.generation()?;
            let mut changes = Transaction::since(generation);
            let Wanted {
                networks: found,
                idle,
                elements,
            } = self.wanted(attachments, networks)?;
            if anew.contains(&&self.main) {
                whole(&mut changes, &self.main, &MAIN);
            }
            changes.elements(&self.main, &elements.main);
            if !elements.apart.is_empty() {
                whole(&mut changes, &self.apart, &APART);
                changes.elements(&self.apart, &elements.apart);
            }
            match rules.commit(changes) {
                // Nobody has interfered: it is the kernel that does not know what a rule asks for.
                Err(e) if e.errno() == libc::ENOENT && rules.generation()? == generation => {
                    return Err(e.context(
                        "the kernel lacks a part of nf_tables (modules nft_chain_nat, nft_nat, nft_masq, nft_ct, nft_fib_inet)",
                    ));
                }
                Err(e) if is_overtaken(&e) => {}
                Err(e) => return Err(e),
                Ok(()) => {
                    self.leave_out_removed(rules, &idle)?;
                    return Ok(found);
                }
            }
        }
        Err(changing())
    }

    /// Whoever removed a network between the look at its record and the commit found nothing of it in the rules.
    fn leave_out_removed(&self, rules: &Rules, idle: &[Network]) -> Result<()> {
        for network in idle.iter().filter(|n| !standing::is_recorded(&self.run, n)) {
            self.subtract(rules, &rules::of_network(network), &Elements::default())?;
            self.remove_rules_of_nobody(rules)?;
        }
        Ok(())
    }

    /// What the records in RUN say, and these, which are more recent.
    fn wanted(&self, attachments: &[&Attachment], networks: &[&Network]) -> Result<Wanted> {
        let records = self.records()?;
        let bridged = has_bridge_netfilter();
        let mut elements = Elements::default();
        let all = records.iter().chain(attachments.iter().copied());
        let mut found: Vec<Network> = Vec::new();
        let mut known = BTreeSet::new();
        let reached: BTreeSet<(String, IpAddr)> = all.clone().flat_map(reachable).collect();
        for attachment in all {
            elements.extend(rules::of_attachment(&that_hold(attachment, &reached), bridged));
            for endpoint in &attachment.endpoints {
                if known.insert(endpoint.network.id.clone()) {
                    found.push(endpoint.network.clone());
                }
            }
        }
        for network in networks {
            if known.insert(network.id.clone()) {
                found.push((*network).clone());
            }
        }
        let mut idle = standing::all(&self.run)?;
        idle.retain(|network| known.insert(network.id.clone()));
        found.extend_from_slice(&idle);
        found.iter().for_each(|n| elements.extend(rules::of_network(n)));
        for list in [&mut elements.main, &mut elements.apart] {
            if !list.is_empty() {
                list.push(rules::form());
            }
        }
        elements.settle();
        Ok(Wanted {
            networks: found,
            idle,
            elements,
        })
    }

    /// The records of all containers that have one and do not end, the oldest first: if two say they have the same port, the older one's monitor was
    /// killed.
    fn records(&self) -> Result<Vec<Attachment>> {
        let place = self.run.join("containers");
        let failed = || format!("failed to list {}", place.display());
        let entries = match fs::read_dir(&place) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context(failed())?,
        };
        let mut records = Vec::new();
        for entry in entries {
            let file = entry.context(failed())?.path().join("network.json");
            // What cannot be read is not of a container that runs: it is written in one step.
            let Ok(about) = fs::metadata(&file) else { continue };
            if about.permissions().mode() & CLOSED != 0 {
                continue;
            }
            let Ok(content) = fs::read(&file) else { continue };
            let Ok(record) = serde_json::from_slice::<Attachment>(&content) else {
                continue;
            };
            records.push((about.modified().ok(), record));
        }
        records.sort_by_key(|(written, _)| *written);
        Ok(records.into_iter().map(|(_, record)| record).collect())
    }

    fn remove_rules_of_nobody(&self, rules: &Rules) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let mut changes = Transaction::since(rules.generation()?);
            let is_last = rules.is_empty(&self.main, "bridges")?;
            for (table, set) in [(&self.main, "bridges"), (&self.apart, "apart")] {
                let is_there = rules.tables(table.family)?.contains(&table.name);
                if is_there && (is_last || rules.is_empty(table, set)?) {
                    changes.no_table(table);
                }
            }
            match rules.commit(changes) {
                Err(e) if is_overtaken(&e) => {}
                other => {
                    other?;
                    if !is_last {
                        return Ok(());
                    }
                    forwarding::IPV4.off(&self.run, rules)?;
                    return forwarding::IPV6.off(&self.run, rules);
                }
            }
        }
        Err(changing())
    }
}

/// What has to be forwarded.
struct Ways<'n> {
    /// Bridges whose packets leave them.
    bridges: Vec<foreign::Way<'n>>,
    ipv4: bool,
    ipv6: bool,
}

impl<'n> Ways<'n> {
    fn of(networks: &[&'n Network]) -> Ways<'n> {
        let outward = networks.iter().copied().filter(|n| !n.internal);
        let of_bridge = |n: &'n Network| match &n.kind {
            Kind::Bridge { device } => Some(foreign::Way {
                bridge: device,
                ipv4: n.subnets.iter().any(|s| s.address.is_ipv4()),
                ipv6: n.subnets.iter().any(|s| s.address.is_ipv6()),
            }),
            _ => None,
        };
        let bridges: Vec<_> = outward.filter_map(of_bridge).collect();
        Ways {
            ipv4: bridges.iter().any(|way| way.ipv4),
            ipv6: bridges.iter().any(|way| way.ipv6),
            bridges,
        }
    }
}

/// All that should be in the rules.
struct Wanted {
    /// All of which they are.
    networks: Vec<Network>,
    /// Those that nobody is in.
    idle: Vec<Network>,
    elements: Elements,
}

/// The kernel lets nobody close a socket of netfilter before everything is freed that a transaction has removed (6.18: ten milliseconds).
/// So the last one stays open until the next one is opened, or the process ends: then nobody waits for it.
static CLOSED_LATER: Mutex<Option<Rules>> = Mutex::new(None);

fn close_later(rules: Option<Rules>) {
    if let Ok(mut last) = CLOSED_LATER.lock() {
        *last = rules;
    }
}

/// A container, with each of its addresses.
fn reachable(attachment: &Attachment) -> impl Iterator<Item = (String, IpAddr)> + '_ {
    let addresses = attachment.endpoints.iter().flat_map(|e| &e.addresses);
    addresses.map(|a| (attachment.container.clone(), a.address))
}

/// Without links to those that have gone.
fn that_hold<'a>(attachment: &'a Attachment, reached: &BTreeSet<(String, IpAddr)>) -> Cow<'a, Attachment> {
    if attachment.endpoints.iter().all(|e| e.reaches.is_empty()) {
        return Cow::Borrowed(attachment);
    }
    let mut own = attachment.clone();
    for endpoint in &mut own.endpoints {
        endpoint
            .reaches
            .retain(|reach| reached.contains(&(reach.container.clone(), reach.address)));
    }
    Cow::Owned(own)
}

/// The kernel's answer to a transaction that knew another generation; or an object has gone meanwhile.
fn is_overtaken(e: &Error) -> bool {
    matches!(e.errno(), libc::ERESTART | libc::ENOENT)
}

fn changing() -> Error {
    Error::new("the firewall rules change faster than they can be read")
}

/// FNV-1a.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0x811c_9dc5, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193))
}

/// A table as it should be, whatever was there.
fn whole(changes: &mut Transaction, table: &Table, layout: &Layout) {
    changes.table(table);
    changes.no_table(table);
    changes.table(table);
    layout.sets.iter().for_each(|set| changes.set(table, set));
    for chain in layout.chains {
        changes.chain(table, chain.name, chain.base.as_ref());
    }
    for chain in layout.chains {
        for rule in chain.rules {
            changes.rule(table, chain.name, rule);
        }
    }
}

/// What is made in our namespace for an endpoint.
fn devices(endpoint: &Endpoint, lower: &Link, space: &Space, comes_back: bool) -> Result<Vec<Request>> {
    let upper = Upper {
        name: &endpoint.interface,
        parent: lower.index,
        space: space.fd(),
        mtu: endpoint.network.mtu,
    };
    match &endpoint.network.kind {
        Kind::Macvlan { mode, .. } => Ok(vec![upper.macvlan(link::mac_of(&endpoint.mac)?, mode)?]),
        Kind::Ipvlan { mode, .. } => Ok(vec![upper.ipvlan(mode)?]),
        Kind::Bridge { .. } => {
            let name = &endpoint.device;
            let pair = Pair {
                name,
                bridge: lower.index,
                peer: &endpoint.interface,
                space: space.fd(),
                mac: link::mac_of(&endpoint.mac)?,
                mtu: endpoint.network.mtu,
            };
            let mut steps = vec![pair.request(), link::up(name)];
            if comes_back {
                steps.push(link::hairpin(name));
            }
            Ok(steps)
        }
    }
}

/// What is a port of a bridge and nothing else has no IPv6 of its own: neither an address, nor routes, through all of which the kernel goes
/// when any device goes down. It would get them when the other end is up, and that comes later.
fn ports_alone(endpoints: &[&Endpoint]) -> Result<()> {
    let settings = Settings::of_machine();
    let mut devices = endpoints
        .iter()
        .map(|e| e.device.as_str())
        .filter(|d| !d.is_empty());
    devices.try_for_each(|device| settings.set_if_there(&format!("net/ipv6/conf/{device}/disable_ipv6"), "1"))
}

/// With the module br_netfilter, a packet whose new address is on the bridge that it came from does not leave it.
fn has_bridge_netfilter() -> bool {
    let settings = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"];
    let values = settings.map(|s| fs::read_to_string(format!("/proc/sys/net/bridge/{s}")));
    values.into_iter().flatten().any(|v| v.trim() != "0")
}

/// What is done in the container's namespace for an endpoint.
fn inside(links: &Links, endpoint: &Endpoint) -> Result<Vec<Request>> {
    let name = &endpoint.interface;
    let index = index(links, name)?;
    let mut steps = Vec::new();
    if endpoint.addresses.iter().all(|a| a.address.is_ipv4()) {
        steps.push(link::no_own_address(name));
    }
    let addresses = endpoint.addresses.iter().chain(&endpoint.link_local);
    steps.extend(addresses.map(|a| link::address(index, name, *a)));
    steps.push(link::up(name));
    Ok(steps)
}

fn index(links: &Links, name: &str) -> Result<u32> {
    let link = links.find(name)?;
    link.map(|l| l.index)
        .ok_or_else(|| Error::new(format!("the device {name} is missing in the container")))
}

/// For each family over the first endpoint that leads anywhere.
fn default_routes(links: &Links, attachment: &Attachment) -> Result<Vec<Request>> {
    let mut steps = Vec::new();
    for v6 in [false, true] {
        let way = attachment.endpoints.iter().find_map(|e| {
            let has = e.addresses.iter().any(|a| a.address.is_ipv6() == v6);
            (has && !e.network.internal).then_some(())?;
            // l3 has no neighbours: what is not its own goes to the device below.
            let is_l3 =
                matches!(&e.network.kind, Kind::Ipvlan { mode, .. } if mode != "l2" && !mode.is_empty());
            if is_l3 {
                return Some((e, None));
            }
            let gateway = e
                .network
                .subnets
                .iter()
                .map(|s| s.address)
                .find(|a| a.is_ipv6() == v6);
            gateway.map(|gateway| (e, Some(gateway)))
        });
        if let Some((endpoint, gateway)) = way {
            steps.push(link::default_route(
                index(links, &endpoint.interface)?,
                v6,
                gateway,
            ));
        }
    }
    Ok(steps)
}

/// Settings of interfaces, `net.ipv4.conf.eth0.log_martians`. As Docker's, what has no IPv6 address takes none from a router either.
fn settings(space: &Space, endpoints: &[&Endpoint]) -> Result<()> {
    let all: Vec<_> = endpoints.iter().flat_map(|e| &e.sysctls).collect();
    let only_4 = |e: &&&Endpoint| {
        let mut all = e.addresses.iter().chain(&e.link_local);
        all.all(|a| a.address.is_ipv4())
    };
    let without_6: Vec<_> = endpoints.iter().filter(only_4).collect();
    if all.is_empty() && without_6.is_empty() {
        return Ok(());
    }
    space.inside(|| {
        // As Docker's: what has no IPv6 address takes none from a router either.
        let settings = Settings::of_container();
        for endpoint in without_6 {
            settings.set_if_there(&format!("net/ipv6/conf/{}/disable_ipv6", endpoint.interface), "1")?;
        }
        for (name, value) in all {
            if !name.starts_with("net.") || name.contains("..") {
                return Err(Error::new(format!("{name} is no setting of a network interface")));
            }
            settings.set(&name.replace('.', "/"), value)?;
        }
        Ok(())
    })
}

/// Those of UDP ports of a container.
fn forget_connections(attachment: &Attachment) -> Result<()> {
    let udp = attachment.ports.iter().filter(|p| p.protocol == Protocol::Udp);
    let flows: Vec<Flow> = udp
        .filter_map(|p| {
            let (_, container) = rules::published(attachment, &p.host)?;
            Some(Flow {
                host: p.host,
                host_port: p.host_port,
                container,
            })
        })
        .collect();
    if flows.is_empty() {
        return Ok(());
    }
    let own = Links::open()?.own_addresses()?;
    let own: Vec<IpAddr> = own.into_iter().map(|own| own.address).collect();
    conntrack::forget(&flows, &own)
}
