//! nf_tables over netlink: transactions, and what is installed.
//!
//! A transaction happens whole or not at all. Its messages say what they are about, so a refusal names the object.
//!
//! May not: know what the rules are for.

pub mod rule;

use sys::netlink::{Failure, Message, Reply, Socket, attribute, attributes, text_of, u32_be_at};

use crate::error::{Context as _, Error, Result};

// Numbers of linux/netfilter/nfnetlink.h and nf_tables.h, which libc has only in part.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const BATCH_GENERATION: u16 = 1;

const NEW_TABLE: u16 = 0;
const GET_TABLE: u16 = 1;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const GET_CHAIN: u16 = 4;
const NEW_RULE: u16 = 6;
const GET_RULE: u16 = 7;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const GET_SET: u16 = 10;
const NEW_ELEMENT: u16 = 12;
const GET_ELEMENT: u16 = 13;
const DEL_ELEMENT: u16 = 14;
const GET_GENERATION: u16 = 16;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_POSITION: u16 = 6;
const RULE_USERDATA: u16 = 7;
const SET_TABLE: u16 = 1;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_LEN: u16 = 5;
const SET_DATA_TYPE: u16 = 6;
const SET_DATA_LEN: u16 = 7;
const SET_ID: u16 = 10;
const SET_USERDATA: u16 = 13;
const ELEMENTS_TABLE: u16 = 1;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS_LIST: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const GENERATION_ID: u16 = 1;
const SET_IS_MAP: u32 = 8;

/// So many elements fit into the 16 bits of an attribute's length, whatever they are.
const ELEMENTS_AT_ONCE: usize = 400;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    Inet = 1,
    Ipv4 = 2,
    Bridge = 7,
    Ipv6 = 10,
}

impl Family {
    /// As `nft` writes it.
    pub fn word(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Ipv4 => "ip",
            Family::Bridge => "bridge",
            Family::Ipv6 => "ip6",
        }
    }
}

/// Where a chain is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Prerouting = 0,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// A chain that the kernel calls: `filter` or `nat`, where, and as which of those that are called there.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    pub kind: &'static str,
    pub hook: Hook,
    pub priority: i32,
    /// What ends it is dropped.
    pub drops: bool,
}

/// What a key or a value of a set consists of; the numbers are those of `nft`, which so prints them as what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Address4,
    Address6,
    Protocol,
    Port,
    Device,
}

impl Type {
    fn number(self) -> u32 {
        match self {
            Type::Address4 => 7,
            Type::Address6 => 8,
            Type::Protocol => 12,
            Type::Port => 13,
            Type::Device => 41,
        }
    }

    /// In registers of four bytes.
    pub fn width(self) -> usize {
        match self {
            Type::Address4 | Type::Protocol | Type::Port => 4,
            Type::Address6 | Type::Device => 16,
        }
    }
}

/// Sets are without data, maps have it.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    pub name: &'static str,
    pub key: &'static [Type],
    pub data: &'static [Type],
}

/// Of a set or map. Keys and data are padded as [`Type::width`] says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    pub set: &'static str,
    pub key: Vec<u8>,
    pub data: Vec<u8>,
}

/// A table, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table {
    pub family: Family,
    pub name: String,
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "table {} {}", self.family.word(), self.name)
    }
}

fn message(kind: u16, flags: i32, family: Family) -> Message {
    let mut m = Message::new(SUBSYSTEM << 8 | kind, flags);
    m.put(&[family as u8, 0, 0, 0]);
    m
}

fn border(kind: u16, generation: Option<u32>) -> Message {
    let mut m = Message::new(kind, 0);
    m.put(&[0, 0]);
    m.put(&SUBSYSTEM.to_be_bytes());
    if let Some(generation) = generation {
        m.number_be(BATCH_GENERATION, generation);
    }
    m
}

/// What is to happen at once.
#[derive(Debug, Default)]
pub struct Transaction {
    steps: Vec<(String, Message)>,
    generation: Option<u32>,
    sets: u32,
}

impl Transaction {
    /// One that only happens if nobody has changed anything since [`Rules::generation`] was this; otherwise it ends with ERESTART.
    pub fn since(generation: u32) -> Transaction {
        Transaction {
            generation: Some(generation),
            ..Transaction::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    fn step(&mut self, what: String, message: Message) {
        self.steps.push((what, message));
    }

    /// A table, if it is not there.
    pub fn table(&mut self, table: &Table) {
        let mut m = message(NEW_TABLE, libc::NLM_F_CREATE, table.family);
        m.text(TABLE_NAME, &table.name);
        self.step(format!("add {table}"), m);
    }

    /// The table goes, with all that is in it.
    pub fn no_table(&mut self, table: &Table) {
        let mut m = message(DEL_TABLE, 0, table.family);
        m.text(TABLE_NAME, &table.name);
        self.step(format!("delete {table}"), m);
    }

    /// A chain, if it is not there.
    pub fn chain(&mut self, table: &Table, name: &str, base: Option<&Base>) {
        let mut m = message(NEW_CHAIN, libc::NLM_F_CREATE, table.family);
        m.text(CHAIN_TABLE, &table.name);
        m.text(CHAIN_NAME, name);
        if let Some(base) = base {
            m.nest(CHAIN_HOOK, |m| {
                m.number_be(HOOK_NUMBER, base.hook as u32);
                m.number_be(HOOK_PRIORITY, base.priority as u32);
            });
            m.number_be(CHAIN_POLICY, if base.drops { NF_DROP } else { NF_ACCEPT });
            m.text(CHAIN_TYPE, base.kind);
        }
        self.step(format!("add chain {name} in {table}"), m);
    }

    /// A set, if it is not there.
    pub fn set(&mut self, table: &Table, set: &Set) {
        let kind = |types: &[Type]| types.iter().fold(0, |n, t| n << 6 | t.number());
        let width = |types: &[Type]| types.iter().map(|t| t.width() as u32).sum();
        let flags = if set.data.is_empty() { 0 } else { SET_IS_MAP };
        self.sets += 1;
        let mut m = message(NEW_SET, libc::NLM_F_CREATE, table.family);
        m.text(SET_TABLE, &table.name);
        m.text(SET_NAME, set.name);
        m.number_be(SET_FLAGS, flags);
        m.number_be(SET_KEY_TYPE, kind(set.key));
        m.number_be(SET_KEY_LEN, width(set.key));
        if !set.data.is_empty() {
            m.number_be(SET_DATA_TYPE, kind(set.data));
            m.number_be(SET_DATA_LEN, width(set.data));
        }
        m.number_be(SET_ID, self.sets);
        // For `nft list`, which otherwise prints names of devices backwards: the order of bytes of keys and data. Device names are in
        // the machine's, all else in the network's.
        let order = |types: &[Type]| if types == [Type::Device] { 1u32 } else { 2 };
        let mut notes = vec![0, 4];
        notes.extend(order(set.key).to_ne_bytes());
        if !set.data.is_empty() {
            notes.extend([1, 4]);
            notes.extend(order(set.data).to_ne_bytes());
        }
        m.attribute(SET_USERDATA, &notes);
        self.step(format!("add set {} in {table}", set.name), m);
    }

    /// A rule at the end of a chain.
    pub fn rule(&mut self, table: &Table, chain: &str, rule: &rule::Rule) {
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.rule_at(table, chain, rule, flags, None);
    }

    /// A rule before another one.
    pub fn rule_before(&mut self, table: &Table, chain: &str, rule: &rule::Rule, handle: u64) {
        self.rule_at(table, chain, rule, libc::NLM_F_CREATE, Some(handle));
    }

    fn rule_at(&mut self, table: &Table, chain: &str, rule: &rule::Rule, flags: i32, position: Option<u64>) {
        let mut m = message(NEW_RULE, flags, table.family);
        m.text(RULE_TABLE, &table.name);
        m.text(RULE_CHAIN, chain);
        m.nest(RULE_EXPRESSIONS, |m| rule.encode(m, table.family));
        if let Some(handle) = position {
            m.attribute(RULE_POSITION, &handle.to_be_bytes());
        }
        if !rule.comment.is_empty() {
            m.attribute(RULE_USERDATA, &comment_notes(&rule.comment));
        }
        self.step(format!("add rule `{rule}` in chain {chain} of {table}"), m);
    }

    /// A rule goes.
    pub fn no_rule(&mut self, table: &Table, chain: &str, handle: u64) {
        let mut m = message(DEL_RULE, 0, table.family);
        m.text(RULE_TABLE, &table.name);
        m.text(RULE_CHAIN, chain);
        m.attribute(RULE_HANDLE, &handle.to_be_bytes());
        self.step(format!("delete a rule in chain {chain} of {table}"), m);
    }

    /// Elements are added. What is there already with the same data is no error.
    pub fn elements(&mut self, table: &Table, elements: &[Element]) {
        self.elements_by(table, elements, NEW_ELEMENT, libc::NLM_F_CREATE, "add to");
    }

    /// Elements go; all of them have to be there.
    pub fn no_elements(&mut self, table: &Table, elements: &[Element]) {
        self.elements_by(table, elements, DEL_ELEMENT, 0, "delete from");
    }

    fn elements_by(&mut self, table: &Table, elements: &[Element], kind: u16, flags: i32, verb: &str) {
        let mut sorted: Vec<&Element> = elements.iter().collect();
        sorted.sort();
        for group in sorted.chunk_by(|a, b| a.set == b.set) {
            for some in group.chunks(ELEMENTS_AT_ONCE) {
                let set = some.first().map_or("", |e| e.set);
                let mut m = message(kind, flags, table.family);
                m.text(ELEMENTS_TABLE, &table.name);
                m.text(ELEMENTS_SET, set);
                m.nest(ELEMENTS_LIST, |m| {
                    for element in some {
                        encode_element(m, element);
                    }
                });
                self.step(format!("{verb} set {set} in {table}"), m);
            }
        }
    }
}

fn encode_element(m: &mut Message, element: &Element) {
    m.nest(LIST_ELEMENT, |m| {
        m.nest(ELEMENT_KEY, |m| m.attribute(DATA_VALUE, &element.key));
        if !element.data.is_empty() {
            m.nest(ELEMENT_DATA, |m| m.attribute(DATA_VALUE, &element.data));
        }
    });
}

/// A comment as `nft` keeps it: type 0, length, text that ends with NUL.
fn comment_notes(comment: &str) -> Vec<u8> {
    let mut notes = vec![0, comment.len() as u8 + 1];
    notes.extend(comment.as_bytes());
    notes.push(0);
    notes
}

fn comment_of(notes: &[u8]) -> String {
    match notes {
        [0, len, rest @ ..] => text_of(rest.get(..usize::from(*len)).unwrap_or(&[])).into_owned(),
        _ => String::new(),
    }
}

/// A base chain that is installed.
#[derive(Clone, Debug)]
pub struct Chain {
    pub table: Table,
    pub name: String,
    /// Where it is called; none for a chain that others jump to.
    pub hook: Option<u32>,
    pub drops: bool,
}

/// A rule that is installed.
#[derive(Clone, Debug)]
pub struct Installed {
    pub handle: u64,
    pub comment: String,
    /// Names and attributes, as the kernel has them.
    pub expressions: Vec<(String, Vec<u8>)>,
}

/// The rules of one network namespace.
#[derive(Debug)]
pub struct Rules(Socket);

impl Rules {
    /// Of the namespace we are in.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn open() -> Result<Rules> {
        Socket::open(libc::NETLINK_NETFILTER)
            .map(Rules)
            .context("failed to ask for firewall rules")
    }

    /// Does all of it at once.
    ///
    /// # Errors
    /// Names the object that the kernel refuses; the number is the kernel's.
    pub fn commit(&self, transaction: Transaction) -> Result<()> {
        if transaction.is_empty() {
            return Ok(());
        }
        let (what, inner): (Vec<String>, Vec<Message>) = transaction.steps.into_iter().unzip();
        let size: usize = inner.iter().map(Message::size).sum();
        if size > 100 << 10 {
            // The default of Linux is 208 KiB, bookkeeping included.
            self.0.grow(4 * size).context("failed to change firewall rules")?;
        }
        let mut messages = Vec::with_capacity(inner.len() + 2);
        messages.push(border(BATCH_BEGIN, transaction.generation));
        messages.extend(inner);
        if let Some(last) = messages.last_mut() {
            // Only the last one asks for an answer; the others answer when they fail. The end itself answers since 6.8 only.
            last.ask_for_answer();
        }
        messages.push(border(BATCH_END, None));
        match self.0.exchange(&mut messages) {
            Ok(_) => Ok(()),
            Err(e) => {
                let step = e.index().checked_sub(1).and_then(|n| what.get(n));
                let step = step.map_or(String::new(), |s| format!("{s}: "));
                let sentence = format!("failed to change firewall rules: {step}{e}");
                Err(Error::of_kernel(sentence, e.errno().0))
            }
        }
    }

    /// A number that every change makes another one.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn generation(&self) -> Result<u32> {
        let m = message(GET_GENERATION, libc::NLM_F_ACK, Family::Ipv4);
        let replies = self.0.ask(m).map_err(|e| listing("the generation", &e))?;
        let found = replies.iter().find_map(|r| attribute(rest(r), GENERATION_ID));
        found
            .and_then(|v| u32_be_at(v, 0))
            .ok_or_else(|| Error::new("failed to list firewall rules: no generation"))
    }

    /// Names of the tables of a family.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn tables(&self, family: Family) -> Result<Vec<String>> {
        let replies = self.0.dump(&message(GET_TABLE, 0, family));
        let replies = replies.map_err(|e| listing("tables", &e))?;
        let names = replies.iter().filter_map(|r| attribute(rest(r), TABLE_NAME));
        Ok(names.map(|v| text_of(v).into_owned()).collect())
    }

    /// All chains of a family.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn chains(&self, family: Family) -> Result<Vec<Chain>> {
        let replies = self.0.dump(&message(GET_CHAIN, 0, family));
        let replies = replies.map_err(|e| listing("chains", &e))?;
        Ok(replies.iter().filter_map(|r| parse_chain(r, family)).collect())
    }

    /// Names of the sets of a table.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn sets(&self, table: &Table) -> Result<Vec<String>> {
        let mut m = message(GET_SET, 0, table.family);
        m.text(SET_TABLE, &table.name);
        let replies = match self.0.dump(&m) {
            Err(e) if e.errno().0 == libc::ENOENT => return Ok(Vec::new()),
            other => other.map_err(|e| listing("sets", &e))?,
        };
        let names = replies.iter().filter_map(|r| attribute(rest(r), SET_NAME));
        Ok(names.map(|v| text_of(v).into_owned()).collect())
    }

    /// The rules of a chain, in order.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn rules(&self, table: &Table, chain: &str) -> Result<Vec<Installed>> {
        let mut m = message(GET_RULE, 0, table.family);
        m.text(RULE_TABLE, &table.name);
        m.text(RULE_CHAIN, chain);
        let replies = match self.0.dump(&m) {
            // It has gone since it was listed.
            Err(e) if e.errno().0 == libc::ENOENT => return Ok(Vec::new()),
            other => other.map_err(|e| listing("rules", &e))?,
        };
        // Some kernels list more than was asked for.
        let of_it = replies
            .iter()
            .filter(|r| attribute(rest(r), RULE_CHAIN).is_some_and(|v| text_of(v) == chain));
        Ok(of_it.filter_map(parse_rule).collect())
    }

    /// Whether a set has no elements, or is not there.
    ///
    /// # Errors
    /// Of the kernel.
    pub fn is_empty(&self, table: &Table, set: &str) -> Result<bool> {
        let mut m = message(GET_ELEMENT, 0, table.family);
        m.text(ELEMENTS_TABLE, &table.name);
        m.text(ELEMENTS_SET, set);
        let replies = match self.0.dump(&m) {
            Err(e) if e.errno().0 == libc::ENOENT => return Ok(true),
            other => other.map_err(|e| listing("elements", &e))?,
        };
        let mut lists = replies.iter().filter_map(|r| attribute(rest(r), ELEMENTS_LIST));
        Ok(lists.all(<[u8]>::is_empty))
    }

    /// Which of these elements are there, with this data.
    ///
    /// # Errors
    /// Of the kernel. A set that is not there has none of them.
    pub fn present(&self, table: &Table, elements: &[Element]) -> Result<Vec<Element>> {
        let mut found = Vec::new();
        for element in elements {
            let mut m = message(GET_ELEMENT, libc::NLM_F_ACK, table.family);
            m.text(ELEMENTS_TABLE, &table.name);
            m.text(ELEMENTS_SET, element.set);
            m.nest(ELEMENTS_LIST, |m| {
                encode_element(
                    m,
                    &Element {
                        data: Vec::new(),
                        ..element.clone()
                    },
                );
            });
            let replies = match self.0.ask(m) {
                Err(e) if e.errno().0 == libc::ENOENT => continue,
                other => other.map_err(|e| listing("elements", &e))?,
            };
            let data = replies.iter().find_map(|r| {
                let list = attribute(rest(r), ELEMENTS_LIST)?;
                let inner = attribute(list, LIST_ELEMENT)?;
                let data = attribute(inner, ELEMENT_DATA).and_then(|d| attribute(d, DATA_VALUE));
                Some(data.unwrap_or(&[]).to_vec())
            });
            if data.is_some_and(|data| data == element.data) {
                found.push(element.clone());
            }
        }
        Ok(found)
    }
}

fn listing(what: &str, e: &Failure) -> Error {
    Error::of_kernel(format!("failed to list firewall rules: {what}: {e}"), e.errno().0)
}

/// Attributes behind the four bytes of struct nfgenmsg.
fn rest(reply: &Reply) -> &[u8] {
    reply.body.get(4..).unwrap_or(&[])
}

fn parse_chain(reply: &Reply, family: Family) -> Option<Chain> {
    let rest = rest(reply);
    let hook = attribute(rest, CHAIN_HOOK);
    Some(Chain {
        table: Table {
            family,
            name: text_of(attribute(rest, CHAIN_TABLE)?).into_owned(),
        },
        name: text_of(attribute(rest, CHAIN_NAME)?).into_owned(),
        hook: hook
            .and_then(|h| attribute(h, HOOK_NUMBER))
            .and_then(|n| u32_be_at(n, 0)),
        drops: attribute(rest, CHAIN_POLICY).and_then(|n| u32_be_at(n, 0)) == Some(NF_DROP),
    })
}

fn parse_rule(reply: &Reply) -> Option<Installed> {
    let rest = rest(reply);
    let handle = attribute(rest, RULE_HANDLE)?;
    let expressions = attributes(attribute(rest, RULE_EXPRESSIONS).unwrap_or(&[]));
    Some(Installed {
        handle: u64::from_be_bytes(handle.try_into().ok()?),
        comment: attribute(rest, RULE_USERDATA).map(comment_of).unwrap_or_default(),
        expressions: expressions
            .filter_map(|(_, e)| {
                let name = text_of(attribute(e, rule::EXPRESSION_NAME)?).into_owned();
                Some((name, attribute(e, rule::EXPRESSION_DATA).unwrap_or(&[]).to_vec()))
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_kept_as_nft_does() {
        assert_eq!(comment_notes("hi"), [0, 3, b'h', b'i', 0]);
        assert_eq!(comment_of(&comment_notes("a sentence")), "a sentence");
        assert_eq!(comment_of(&[1, 1, 0]), "");
        assert_eq!(comment_of(&[0, 9, b'x']), "");
    }
}
