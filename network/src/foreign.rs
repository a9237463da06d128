//! Rules of others that stop what is forwarded: iptables with `-P FORWARD DROP` (Docker sets it), an administrator's own table, firewalld.
//!
//! A packet has to pass all chains of a hook, so ours cannot help. Each of our bridges gets two rules in such a chain, behind its
//! owner's rules and before what stops all the rest: what the owner forbids stays forbidden, and what is not published is dropped by
//! our own chain. They are written as iptables writes them, so its programs still print the chain.
//!
//! May not: change anything else of others.

use crate::error::Result;
use crate::machine;
use crate::nft::rule::{Field, let_device_through, lets_device_through, stops_all};
use crate::nft::{Chain, Family, Hook, Installed, Rules, Table, Transaction};

const FAMILIES: [Family; 3] = [Family::Inet, Family::Ipv4, Family::Ipv6];
const BOTH: [Field; 2] = [Field::InputDevice, Field::OutputDevice];

/// A bridge, and the versions of the protocol that are spoken on it: where chains are of one, others have no business.
#[derive(Clone, Copy, Debug)]
pub struct Way<'b> {
    pub bridge: &'b str,
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Way<'_> {
    fn goes_through(&self, chain: &Chain) -> bool {
        match chain.table.family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
            _ => true,
        }
    }
}

/// Chains of others that forwarded packets go through, with their rules.
fn chains(rules: &Rules, own: &Table) -> Result<Vec<(Chain, Vec<Installed>)>> {
    let mut found = Vec::new();
    for family in FAMILIES {
        for chain in rules.chains(family)? {
            // Another store's lets through what is none of its own, and drops what it has not published, whoever asks.
            let is_of_store = chain.table == *own || machine::is_name_of_table(&chain.table.name);
            if chain.hook == Some(Hook::Forward as u32) && !is_of_store {
                let inside = rules.rules(&chain.table, &chain.name)?;
                found.push((chain, inside));
            }
        }
    }
    Ok(found)
}

/// A chain that stops what is forwarded, and the rules of our bridges that are not in it.
struct Closed<'b> {
    chain: Chain,
    /// The rule before which they belong; none: at the end.
    before: Option<u64>,
    missing: Vec<(Field, &'b str)>,
}

fn closed<'b>(rules: &Rules, own: &Table, ways: &[Way<'b>]) -> Result<Vec<Closed<'b>>> {
    let mut found = Vec::new();
    for (chain, inside) in chains(rules, own)? {
        let end = inside.iter().position(|r| stops_all(&r.expressions));
        if end.is_none() && !chain.drops {
            continue;
        }
        let reached = inside.get(..end.unwrap_or(inside.len())).unwrap_or(&[]);
        let open: Vec<_> = reached
            .iter()
            .filter_map(|r| lets_device_through(&r.expressions))
            .collect();
        let all = ways
            .iter()
            .filter(|way| way.goes_through(&chain))
            .flat_map(|way| BOTH.map(|field| (field, way.bridge)));
        found.push(Closed {
            before: end.and_then(|n| inside.get(n)).map(|end| end.handle),
            missing: all
                .filter(|(field, bridge)| !open.iter().any(|(f, name)| f == field && name == bridge))
                .collect(),
            chain,
        });
    }
    found.retain(|closed| !closed.missing.is_empty());
    Ok(found)
}

/// Adds what is missing so that packets of these bridges pass.
///
/// # Errors
/// Of the kernel.
pub fn open(rules: &Rules, own: &Table, ways: &[Way<'_>]) -> Result<()> {
    let mut changes = Transaction::default();
    for Closed {
        chain,
        before,
        missing,
    } in closed(rules, own, ways)?
    {
        for (field, bridge) in missing {
            let rule = let_device_through(field, bridge);
            match before {
                Some(end) => changes.rule_before(&chain.table, &chain.name, &rule, end),
                None => changes.rule(&chain.table, &chain.name, &rule),
            }
        }
    }
    rules.commit(changes)
}

/// What is missing of it, in sentences.
///
/// # Errors
/// Of the kernel.
pub fn check(rules: &Rules, own: &Table, ways: &[Way<'_>]) -> Result<Vec<String>> {
    let closed = closed(rules, own, ways)?.into_iter();
    Ok(closed
        .map(|Closed { chain, missing, .. }| {
            let mut names: Vec<&str> = missing.into_iter().map(|(_, bridge)| bridge).collect();
            names.dedup();
            format!(
                "the chain {} of {} stops packets, and the rules that let those of {} through are missing",
                chain.name,
                chain.table,
                names.join(", ")
            )
        })
        .collect())
}

/// Takes the rules of a bridge away again.
///
/// # Errors
/// Of the kernel.
pub fn close(rules: &Rules, own: &Table, bridge: &str) -> Result<()> {
    let mut changes = Transaction::default();
    for (chain, inside) in chains(rules, own)? {
        for rule in &inside {
            if lets_device_through(&rule.expressions).is_some_and(|(_, name)| name == bridge) {
                changes.no_rule(&chain.table, &chain.name, rule.handle);
            }
        }
    }
    rules.commit(changes)
}
