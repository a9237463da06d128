//! A rule: what a packet has to be, and what happens to it. And how the kernel wants it: as steps of a small machine with registers.
//!
//! May not: have more kinds of tests than our rules need.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use sys::netlink::{Message, attribute, u32_be_at};

use super::{DATA_VALUE, Family, LIST_ELEMENT, NF_ACCEPT, NF_DROP};

// Numbers of linux/netfilter/nf_tables.h.
pub(super) const EXPRESSION_NAME: u16 = 1;
pub(super) const EXPRESSION_DATA: u16 = 2;
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_SREG: u16 = 3;
const META_MARK: u32 = 3;
const SOCKET_KEY: u16 = 1;
const SOCKET_DREG: u16 = 2;
const SOCKET_TRANSPARENT: u32 = 0;
const META_PROTOCOL: u32 = 1;
const META_IIFKIND: u32 = 26;
const META_OIFKIND: u32 = 27;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_DREG: u16 = 3;
const LOOKUP_FLAGS: u16 = 5;
const LOOKUP_INVERTED: u32 = 1;
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 2;
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const VERDICT_GOTO: i32 = -4;
const VERDICT_RETURN: i32 = -5;
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_ADDRESS: u16 = 3;
const NAT_PORT: u16 = 5;
const NAT_DESTINATION: u32 = 1;
/// The register of verdicts.
const VERDICT: u32 = 0;
/// The first of sixteen registers of four bytes.
const REGISTER: u32 = 8;

/// `ct state`: bits.
pub const INVALID: u32 = 1;
pub const ESTABLISHED: u32 = 2;
pub const RELATED: u32 = 4;
/// `ct status`: bits.
pub const DNAT: u32 = 32;

/// Something of a packet that fills registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    InputDevice,
    OutputDevice,
    /// What made the device: `bridge`, `veth`; nothing for hardware.
    InputKind,
    OutputKind,
    /// TCP, UDP, ...
    Protocol,
    /// Where all protocols that have ports have them.
    SourcePort,
    DestinationPort,
    Source4,
    Destination4,
    Source6,
    Destination6,
    /// The first byte of an ICMP or ICMPv6 message.
    IcmpType,
    /// IP, ARP, ...: of a bridge's packets.
    FrameType,
}

impl Field {
    fn len(self) -> usize {
        match self {
            Field::InputDevice
            | Field::OutputDevice
            | Field::InputKind
            | Field::OutputKind
            | Field::Source6
            | Field::Destination6 => 16,
            Field::Source4 | Field::Destination4 => 4,
            Field::SourcePort | Field::DestinationPort | Field::FrameType => 2,
            Field::Protocol | Field::IcmpType => 1,
        }
    }

    fn registers(self) -> u32 {
        self.len().div_ceil(4) as u32
    }

    /// Which packets have it.
    fn version(self) -> Option<Version> {
        match self {
            Field::Source4 | Field::Destination4 => Some(Version::Four),
            Field::Source6 | Field::Destination6 => Some(Version::Six),
            _ => None,
        }
    }

    fn load(self, m: &mut Message, register: u32) {
        let mut payload = |base: u32, offset: u32| {
            expression(m, "payload", |m| {
                m.number_be(PAYLOAD_DREG, register);
                m.number_be(PAYLOAD_BASE, base);
                m.number_be(PAYLOAD_OFFSET, offset);
                m.number_be(PAYLOAD_LEN, self.len() as u32);
            });
        };
        match self {
            Field::Source4 => payload(NETWORK_HEADER, 12),
            Field::Destination4 => payload(NETWORK_HEADER, 16),
            Field::Source6 => payload(NETWORK_HEADER, 8),
            Field::Destination6 => payload(NETWORK_HEADER, 24),
            Field::SourcePort => payload(TRANSPORT_HEADER, 0),
            Field::DestinationPort => payload(TRANSPORT_HEADER, 2),
            Field::IcmpType => payload(TRANSPORT_HEADER, 0),
            Field::InputDevice => meta(m, META_IIFNAME, register),
            Field::OutputDevice => meta(m, META_OIFNAME, register),
            Field::InputKind => meta(m, META_IIFKIND, register),
            Field::OutputKind => meta(m, META_OIFKIND, register),
            Field::Protocol => meta(m, META_L4PROTO, register),
            Field::FrameType => meta(m, META_PROTOCOL, register),
        }
    }
}

/// Of the internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Four,
    Six,
}

/// What a packet has to be.
#[derive(Clone, Debug)]
pub enum Test {
    Is(Version),
    /// The fields, one behind the other, are in a set.
    In(&'static [Field], &'static str),
    NotIn(&'static [Field], &'static str),
    Equals(Field, Cow<'static, [u8]>),
    /// Any of these bits.
    State(u32),
    Status(u32),
    /// 127.0.0.0/8.
    FromLoopback4,
    ToLoopback4,
    /// To an address of this machine.
    ToUs,
    /// A socket of this machine takes it, under an address that is another's.
    InAnothersName,
}

/// What happens to it.
#[derive(Clone, Debug)]
pub enum Act {
    Accept,
    Drop,
    Return,
    Goto(&'static str),
    /// It goes to the address and port that a map has for these fields; if it has none, nothing happens.
    To(Version, &'static [Field], &'static str),
    ToAddress(IpAddr, u16),
    Masquerade,
    /// Marked with this number, by which its route is chosen.
    Mark(u32),
}

/// One rule. Its comment is shown by `nft list ruleset`.
#[derive(Clone, Debug)]
pub struct Rule {
    pub tests: Cow<'static, [Test]>,
    pub act: Act,
    pub comment: Cow<'static, str>,
    /// Packets and bytes are counted: programs that write rules of iptables expect it.
    pub counts: bool,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.comment)
    }
}

impl Rule {
    /// One of a table of rules.
    pub const fn new(comment: &'static str, tests: &'static [Test], act: Act) -> Rule {
        Rule {
            tests: Cow::Borrowed(tests),
            act,
            comment: Cow::Borrowed(comment),
            counts: false,
        }
    }

    pub(super) fn encode(&self, m: &mut Message, family: Family) {
        // Of an IPv4 packet the place of an IPv6 address holds something else.
        let mut known = None;
        let mut ensure = |m: &mut Message, version: Option<Version>| {
            if version.is_some() && known != version {
                version.inspect(|v| is_version(m, *v, family));
                known = version;
            }
        };
        for test in self.tests.iter() {
            match test {
                Test::Is(version) => ensure(m, Some(*version)),
                Test::In(fields, set) | Test::NotIn(fields, set) => {
                    ensure(m, fields.iter().find_map(|f| f.version()));
                    load_all(m, fields);
                    let flags = match test {
                        Test::In(..) => 0,
                        _ => LOOKUP_INVERTED,
                    };
                    expression(m, "lookup", |m| {
                        m.text(LOOKUP_SET, set);
                        m.number_be(LOOKUP_SREG, REGISTER);
                        m.number_be(LOOKUP_FLAGS, flags);
                    });
                }
                Test::Equals(field, value) => {
                    ensure(m, field.version());
                    field.load(m, REGISTER);
                    compare(m, CMP_EQ, value);
                }
                Test::State(bits) => any_bit(m, CT_STATE, *bits),
                Test::Status(bits) => any_bit(m, CT_STATUS, *bits),
                Test::FromLoopback4 | Test::ToLoopback4 => {
                    ensure(m, Some(Version::Four));
                    let field = match test {
                        Test::FromLoopback4 => Field::Source4,
                        _ => Field::Destination4,
                    };
                    field.load(m, REGISTER);
                    mask(m, &[255, 0, 0, 0]);
                    compare(m, CMP_EQ, &[127, 0, 0, 0]);
                }
                Test::ToUs => {
                    expression(m, "fib", |m| {
                        m.number_be(FIB_DREG, REGISTER);
                        m.number_be(FIB_RESULT, FIB_ADDRESS_TYPE);
                        m.number_be(FIB_FLAGS, FIB_DESTINATION);
                    });
                    compare(m, CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
                }
                Test::InAnothersName => {
                    expression(m, "socket", |m| {
                        m.number_be(SOCKET_KEY, SOCKET_TRANSPARENT);
                        m.number_be(SOCKET_DREG, REGISTER);
                    });
                    compare(m, CMP_EQ, &[1]);
                }
            }
        }
        if let Act::To(version, ..) = self.act {
            ensure(m, Some(version));
        }
        if self.counts {
            expression(m, "counter", |_| {});
        }
        match &self.act {
            Act::Accept => verdict(m, NF_ACCEPT as i32, None),
            Act::Drop => verdict(m, NF_DROP as i32, None),
            Act::Return => verdict(m, VERDICT_RETURN, None),
            Act::Goto(chain) => verdict(m, VERDICT_GOTO, Some(chain)),
            Act::To(version, fields, map) => {
                load_all(m, fields);
                expression(m, "lookup", |m| {
                    m.text(LOOKUP_SET, map);
                    m.number_be(LOOKUP_SREG, REGISTER);
                    m.number_be(LOOKUP_DREG, REGISTER);
                });
                nat(m, *version);
            }
            Act::ToAddress(address, port) => {
                let bytes = crate::link::octets(*address);
                let version = if address.is_ipv4() {
                    Version::Four
                } else {
                    Version::Six
                };
                immediate(m, REGISTER, &bytes);
                immediate(m, REGISTER + bytes.len() as u32 / 4, &port.to_be_bytes());
                nat(m, version);
            }
            Act::Masquerade => expression(m, "masq", |_| {}),
            Act::Mark(number) => {
                immediate(m, REGISTER, &number.to_ne_bytes());
                expression(m, "meta", |m| {
                    m.number_be(META_KEY, META_MARK);
                    m.number_be(META_SREG, REGISTER);
                });
            }
        }
    }
}

fn expression(m: &mut Message, name: &str, fill: impl FnOnce(&mut Message)) {
    m.nest(LIST_ELEMENT, |m| {
        m.text(EXPRESSION_NAME, name);
        m.nest(EXPRESSION_DATA, fill);
    });
}

fn meta(m: &mut Message, key: u32, register: u32) {
    expression(m, "meta", |m| {
        m.number_be(META_DREG, register);
        m.number_be(META_KEY, key);
    });
}

fn load_all(m: &mut Message, fields: &[Field]) {
    let mut register = REGISTER;
    for field in fields {
        field.load(m, register);
        register += field.registers();
    }
}

fn is_version(m: &mut Message, version: Version, family: Family) {
    match (family, version) {
        (Family::Ipv4 | Family::Ipv6, _) => {}
        // A bridge's packets are of no version but in their frame.
        (Family::Bridge, version) => {
            meta(m, META_PROTOCOL, REGISTER);
            let kind = match version {
                Version::Four => libc::ETH_P_IP,
                Version::Six => libc::ETH_P_IPV6,
            };
            compare(m, CMP_EQ, &(kind as u16).to_be_bytes());
        }
        (Family::Inet, version) => {
            meta(m, META_NFPROTO, REGISTER);
            compare(m, CMP_EQ, &[nfproto(version)]);
        }
    }
}

fn nfproto(version: Version) -> u8 {
    match version {
        Version::Four => Family::Ipv4 as u8,
        Version::Six => Family::Ipv6 as u8,
    }
}

fn compare(m: &mut Message, how: u32, value: &[u8]) {
    expression(m, "cmp", |m| {
        m.number_be(CMP_SREG, REGISTER);
        m.number_be(CMP_OP, how);
        m.nest(CMP_DATA, |m| m.attribute(DATA_VALUE, value));
    });
}

fn mask(m: &mut Message, mask: &[u8]) {
    expression(m, "bitwise", |m| {
        m.number_be(BITWISE_SREG, REGISTER);
        m.number_be(BITWISE_DREG, REGISTER);
        m.number_be(BITWISE_LEN, mask.len() as u32);
        m.nest(BITWISE_MASK, |m| m.attribute(DATA_VALUE, mask));
        m.nest(BITWISE_XOR, |m| m.attribute(DATA_VALUE, &vec![0; mask.len()]));
    });
}

fn any_bit(m: &mut Message, key: u32, bits: u32) {
    expression(m, "ct", |m| {
        m.number_be(CT_DREG, REGISTER);
        m.number_be(CT_KEY, key);
    });
    mask(m, &bits.to_ne_bytes());
    compare(m, CMP_NEQ, &[0; 4]);
}

fn immediate(m: &mut Message, register: u32, value: &[u8]) {
    expression(m, "immediate", |m| {
        m.number_be(IMMEDIATE_DREG, register);
        m.nest(IMMEDIATE_DATA, |m| m.attribute(DATA_VALUE, value));
    });
}

fn verdict(m: &mut Message, code: i32, chain: Option<&str>) {
    expression(m, "immediate", |m| {
        m.number_be(IMMEDIATE_DREG, VERDICT);
        m.nest(IMMEDIATE_DATA, |m| {
            m.nest(DATA_VERDICT, |m| {
                m.number_be(VERDICT_CODE, code as u32);
                if let Some(chain) = chain {
                    m.text(VERDICT_CHAIN, chain);
                }
            });
        });
    });
}

/// To the address and, behind it, the port in the registers.
fn nat(m: &mut Message, version: Version) {
    let port = match version {
        Version::Four => REGISTER + 1,
        Version::Six => REGISTER + 4,
    };
    expression(m, "nat", |m| {
        m.number_be(NAT_TYPE, NAT_DESTINATION);
        m.number_be(NAT_FAMILY, u32::from(nfproto(version)));
        m.number_be(NAT_ADDRESS, REGISTER);
        m.number_be(NAT_PORT, port);
    });
}

/// Whether an installed rule does nothing but stop every packet that comes to it.
pub fn stops_all(expressions: &[(String, Vec<u8>)]) -> bool {
    let Some(((last, data), before)) = expressions.split_last() else {
        return false;
    };
    let silent = before
        .iter()
        .all(|(name, _)| matches!(name.as_str(), "counter" | "log"));
    let stops = match last.as_str() {
        "reject" => true,
        "immediate" => code_of(data) == Some(NF_DROP),
        _ => false,
    };
    silent && stops
}

/// The device that an installed rule lets everything through from or to, if it does nothing else.
pub fn lets_device_through(expressions: &[(String, Vec<u8>)]) -> Option<(Field, String)> {
    let expressions: Vec<_> = expressions.iter().filter(|(name, _)| name != "counter").collect();
    let [(a, load), (b, compared), (c, act)] = expressions.as_slice() else {
        return None;
    };
    if (a.as_str(), b.as_str(), c.as_str()) != ("meta", "cmp", "immediate") {
        return None;
    }
    let field = match attribute(load, META_KEY).and_then(|v| u32_be_at(v, 0)) {
        Some(META_IIFNAME) => Field::InputDevice,
        Some(META_OIFNAME) => Field::OutputDevice,
        _ => return None,
    };
    let equals = attribute(compared, CMP_OP).and_then(|v| u32_be_at(v, 0)) == Some(CMP_EQ);
    let value = attribute(compared, CMP_DATA).and_then(|d| attribute(d, DATA_VALUE))?;
    // Without its NUL it would be the begin of a name.
    let name = value.split(|b| *b == 0).next()?;
    (equals && name.len() < value.len() && code_of(act) == Some(NF_ACCEPT))
        .then(|| (field, String::from_utf8_lossy(name).into_owned()))
}

/// Everything from or to a device is let through: as iptables writes it, so that `iptables -S` and `iptables-save` still show all of
/// the chain.
pub fn let_device_through(field: Field, device: &str) -> Rule {
    let name = [device.as_bytes(), b"\0"].concat();
    Rule {
        tests: vec![Test::Equals(field, name.into())].into(),
        act: Act::Accept,
        comment: Cow::Borrowed(""),
        counts: true,
    }
}

fn code_of(immediate: &[u8]) -> Option<u32> {
    let data = attribute(immediate, IMMEDIATE_DATA)?;
    attribute(attribute(data, DATA_VERDICT)?, VERDICT_CODE).and_then(|v| u32_be_at(v, 0))
}
