//! Our rules, as data: the chains from top to bottom, the sets that they look into, and what a network or a container is in those sets.
//!
//! The rules stay the same however many networks and containers there are: all of them are elements of hashed sets, so a packet that is
//! nobody's of us costs two lookups.
//!
//! ```text
//! to a published port:  raw -> prerouting (or output) -> published: address changed -> forward: accepted, because it was -> postrouting
//! from a container:     raw -> forward: not to one of ours, accepted -> postrouting: has the machine's address from here on
//! to a container:       forward: dropped, unless it is an answer, of the same network, or to a published port
//! ```
//!
//! May not: speak to the kernel.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::attachment::{Address, Attachment, Endpoint, Kind, Network, Port, Protocol};
use crate::link::octets;
use crate::nft::rule::{Act, DNAT, ESTABLISHED, Field, INVALID, RELATED, Rule, Test, Version};
use crate::nft::{Base, Element, Hook, Set, Type};

/// A chain with its rules, in order.
pub struct Chain {
    pub name: &'static str,
    pub base: Option<Base>,
    pub rules: &'static [Rule],
}

/// What a table consists of.
pub struct Layout {
    pub sets: &'static [Set],
    pub chains: &'static [Chain],
}

const fn base(kind: &'static str, hook: Hook, priority: i32) -> Option<Base> {
    Some(Base {
        kind,
        hook,
        priority,
        drops: false,
    })
}

const fn set(name: &'static str, key: &'static [Type]) -> Set {
    Set { name, key, data: &[] }
}

const fn map(name: &'static str, key: &'static [Type], data: &'static [Type]) -> Set {
    Set { name, key, data }
}

const PACKET_BRIDGES: &[Field] = &[Field::InputDevice, Field::OutputDevice];
const PORT: &[Field] = &[Field::Protocol, Field::DestinationPort];
const PORT_OF_4: &[Field] = &[Field::Protocol, Field::Destination4, Field::DestinationPort];
const PORT_OF_6: &[Field] = &[Field::Protocol, Field::Destination6, Field::DestinationPort];
const PORT_AT_4: &[Field] = &[Field::Protocol, Field::Source4, Field::SourcePort];
const PORT_AT_6: &[Field] = &[Field::Protocol, Field::Source6, Field::SourcePort];
type Bytes = Cow<'static, [u8]>;
const LOCALHOST_6: Bytes = Cow::Borrowed(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
const ICMP: Bytes = Cow::Borrowed(&[1]);
const ICMP_6: Bytes = Cow::Borrowed(&[58]);
const ECHO_REQUEST: Bytes = Cow::Borrowed(&[8]);
const ECHO_REQUEST_6: Bytes = Cow::Borrowed(&[128]);
const NEIGHBOUR_SOLICITATION: Bytes = Cow::Borrowed(&[135]);
const NEIGHBOUR_ADVERTISEMENT: Bytes = Cow::Borrowed(&[136]);
/// A type of frames.
const ARP: Bytes = Cow::Borrowed(&[8, 6]);

/// Added to with every network and container. Where it is missing the table is of another version, and is made anew.
pub const FORM: &str = "form-1";

/// The table of family inet.
pub const MAIN: Layout = Layout {
    sets: &[
        set(FORM, &[Type::Protocol]),
        set("bridges", &[Type::Device]),
        set("internal", &[Type::Device]),
        set("masquerade", &[Type::Device]),
        set("routed", &[Type::Device]),
        set("same", &[Type::Device, Type::Device]),
        set("friends", &[Type::Device, Type::Device]),
        map(
            "any4",
            &[Type::Protocol, Type::Port],
            &[Type::Address4, Type::Port],
        ),
        map(
            "any6",
            &[Type::Protocol, Type::Port],
            &[Type::Address6, Type::Port],
        ),
        map(
            "bound4",
            &[Type::Protocol, Type::Address4, Type::Port],
            &[Type::Address4, Type::Port],
        ),
        map(
            "bound6",
            &[Type::Protocol, Type::Address6, Type::Port],
            &[Type::Address6, Type::Port],
        ),
        set("selves4", &[Type::Address4, Type::Address4]),
        set("selves6", &[Type::Address6, Type::Address6]),
        set("open4", &[Type::Protocol, Type::Address4, Type::Port]),
        set("open6", &[Type::Protocol, Type::Address6, Type::Port]),
        set(
            "linked4",
            &[Type::Protocol, Type::Address4, Type::Address4, Type::Port],
        ),
        set(
            "linked6",
            &[Type::Protocol, Type::Address6, Type::Address6, Type::Port],
        ),
    ],
    chains: &[
        Chain {
            name: "raw",
            base: base("filter", Hook::Prerouting, -300),
            rules: &[
                Rule::new(
                    "not from a container",
                    &[Test::NotIn(&[Field::InputDevice], "bridges")],
                    Act::Accept,
                ),
                // Our bridges have route_localnet, so that 127.0.0.1 can be published: without these the machine's own services that
                // trust 127.0.0.1 would be open to containers (CVE-2020-8558 is this hole in another program).
                Rule::new("to 127.0.0.0/8 from a container", &[Test::ToLoopback4], Act::Drop),
                Rule::new(
                    "as 127.0.0.0/8 from a container",
                    &[Test::FromLoopback4],
                    Act::Drop,
                ),
            ],
        },
        Chain {
            name: "prerouting",
            base: base("nat", Hook::Prerouting, -100),
            rules: &[
                // From the machine itself it went through output. From a neighbour it must not reach what is published on 127.0.0.1.
                Rule::new("127.0.0.0/8 from outside", &[Test::ToLoopback4], Act::Return),
                Rule::new("published ports", &[], Act::Goto("published")),
            ],
        },
        Chain {
            name: "output",
            base: base("nat", Hook::Output, -100),
            rules: &[
                // There is no route_localnet for IPv6: whoever holds the port passes it on.
                Rule::new(
                    "::1",
                    &[Test::Equals(Field::Destination6, LOCALHOST_6)],
                    Act::Return,
                ),
                Rule::new("published ports", &[], Act::Goto("published")),
            ],
        },
        Chain {
            name: "published",
            base: None,
            rules: &[
                Rule::new(
                    "published on one IPv4 address",
                    &[],
                    Act::To(Version::Four, PORT_OF_4, "bound4"),
                ),
                Rule::new(
                    "published on one IPv6 address",
                    &[],
                    Act::To(Version::Six, PORT_OF_6, "bound6"),
                ),
                Rule::new(
                    "published on all IPv4 addresses",
                    &[Test::Is(Version::Four), Test::ToUs],
                    Act::To(Version::Four, PORT, "any4"),
                ),
                Rule::new(
                    "published on all IPv6 addresses",
                    &[Test::Is(Version::Six), Test::ToUs],
                    Act::To(Version::Six, PORT, "any6"),
                ),
            ],
        },
        Chain {
            name: "forward",
            base: base("filter", Hook::Forward, 0),
            rules: &[
                Rule::new("answers", &[Test::State(ESTABLISHED | RELATED)], Act::Accept),
                // With br_netfilter what stays on a bridge comes here, too.
                Rule::new(
                    "in one network",
                    &[Test::In(PACKET_BRIDGES, "friends")],
                    Act::Accept,
                ),
                Rule::new(
                    "from an internal network",
                    &[Test::In(&[Field::InputDevice], "internal")],
                    Act::Drop,
                ),
                Rule::new(
                    "to an internal network",
                    &[Test::In(&[Field::OutputDevice], "internal")],
                    Act::Drop,
                ),
                // Its address would not be changed any more.
                Rule::new(
                    "what belongs to no connection, from a container",
                    &[
                        Test::In(&[Field::InputDevice], "masquerade"),
                        Test::State(INVALID),
                    ],
                    Act::Drop,
                ),
                Rule::new(
                    "to another network",
                    &[Test::NotIn(&[Field::OutputDevice], "bridges")],
                    Act::Accept,
                ),
                Rule::new("to a published port", &[Test::Status(DNAT)], Act::Accept),
                Rule::new(
                    "to a linked container",
                    &[
                        Test::In(PACKET_BRIDGES, "same"),
                        Test::In(
                            &[
                                Field::Protocol,
                                Field::Source4,
                                Field::Destination4,
                                Field::DestinationPort,
                            ],
                            "linked4",
                        ),
                    ],
                    Act::Accept,
                ),
                Rule::new(
                    "to a linked container, IPv6",
                    &[
                        Test::In(PACKET_BRIDGES, "same"),
                        Test::In(
                            &[
                                Field::Protocol,
                                Field::Source6,
                                Field::Destination6,
                                Field::DestinationPort,
                            ],
                            "linked6",
                        ),
                    ],
                    Act::Accept,
                ),
                // Of a network without icc, with br_netfilter.
                Rule::new(
                    "who has which address, IPv6",
                    &[
                        Test::In(PACKET_BRIDGES, "same"),
                        Test::Is(Version::Six),
                        Test::Equals(Field::Protocol, ICMP_6),
                        Test::Equals(Field::IcmpType, NEIGHBOUR_SOLICITATION),
                    ],
                    Act::Accept,
                ),
                Rule::new(
                    "who has which address, IPv6, answers",
                    &[
                        Test::In(PACKET_BRIDGES, "same"),
                        Test::Is(Version::Six),
                        Test::Equals(Field::Protocol, ICMP_6),
                        Test::Equals(Field::IcmpType, NEIGHBOUR_ADVERTISEMENT),
                    ],
                    Act::Accept,
                ),
                Rule::new(
                    "not routed",
                    &[Test::NotIn(&[Field::OutputDevice], "routed")],
                    Act::Drop,
                ),
                Rule::new("to an open port", &[Test::In(PORT_OF_4, "open4")], Act::Accept),
                Rule::new(
                    "to an open port, IPv6",
                    &[Test::In(PORT_OF_6, "open6")],
                    Act::Accept,
                ),
                Rule::new(
                    "ping",
                    &[
                        Test::Is(Version::Four),
                        Test::Equals(Field::Protocol, ICMP),
                        Test::Equals(Field::IcmpType, ECHO_REQUEST),
                    ],
                    Act::Accept,
                ),
                Rule::new(
                    "ping, IPv6",
                    &[
                        Test::Is(Version::Six),
                        Test::Equals(Field::Protocol, ICMP_6),
                        Test::Equals(Field::IcmpType, ECHO_REQUEST_6),
                    ],
                    Act::Accept,
                ),
                Rule::new("not published", &[], Act::Drop),
            ],
        },
        Chain {
            name: "postrouting",
            base: base("nat", Hook::Postrouting, 100),
            rules: &[
                Rule::new(
                    "from 127.0.0.0/8 to a container",
                    &[Test::In(&[Field::OutputDevice], "bridges"), Test::FromLoopback4],
                    Act::Masquerade,
                ),
                // With br_netfilter such a packet stays on the bridge, and nobody says here where it came from.
                Rule::new(
                    "to a published port of its own",
                    &[
                        Test::In(&[Field::Source4, Field::Destination4], "selves4"),
                        Test::Status(DNAT),
                    ],
                    Act::Masquerade,
                ),
                Rule::new(
                    "to a published port of its own, IPv6",
                    &[
                        Test::In(&[Field::Source6, Field::Destination6], "selves6"),
                        Test::Status(DNAT),
                    ],
                    Act::Masquerade,
                ),
                // The answer would go past us, with an address that was not asked.
                Rule::new(
                    "to a published port of the same network",
                    &[Test::In(PACKET_BRIDGES, "same"), Test::Status(DNAT)],
                    Act::Masquerade,
                ),
                Rule::new("in one network", &[Test::In(PACKET_BRIDGES, "same")], Act::Return),
                Rule::new(
                    "from a container",
                    &[Test::In(&[Field::InputDevice], "masquerade")],
                    Act::Masquerade,
                ),
            ],
        },
    ],
};

/// The table of family bridge: what does not leave a network without icc. Only there when it is needed. It has no connections (the
/// kernel may be without them here), so what answers is told by its port.
pub const APART: Layout = Layout {
    sets: &[
        set(FORM, &[Type::Protocol]),
        set("apart", &[Type::Device]),
        set(
            "linked4",
            &[Type::Protocol, Type::Address4, Type::Address4, Type::Port],
        ),
        set(
            "linked6",
            &[Type::Protocol, Type::Address6, Type::Address6, Type::Port],
        ),
        set("open4", &[Type::Protocol, Type::Address4, Type::Port]),
        set("open6", &[Type::Protocol, Type::Address6, Type::Port]),
        set(
            "answers4",
            &[Type::Protocol, Type::Address4, Type::Address4, Type::Port],
        ),
        set(
            "answers6",
            &[Type::Protocol, Type::Address6, Type::Address6, Type::Port],
        ),
    ],
    chains: &[Chain {
        name: "forward",
        base: base("filter", Hook::Forward, -200),
        rules: &[
            Rule::new(
                "from elsewhere",
                &[Test::NotIn(&[Field::InputDevice], "apart")],
                Act::Accept,
            ),
            Rule::new(
                "to elsewhere",
                &[Test::NotIn(&[Field::OutputDevice], "apart")],
                Act::Accept,
            ),
            Rule::new(
                "who has which address",
                &[Test::Equals(Field::FrameType, ARP)],
                Act::Accept,
            ),
            Rule::new(
                "who has which address, IPv6",
                &[
                    Test::Is(Version::Six),
                    Test::Equals(Field::Protocol, ICMP_6),
                    Test::Equals(Field::IcmpType, NEIGHBOUR_SOLICITATION),
                ],
                Act::Accept,
            ),
            Rule::new(
                "who has which address, IPv6, answers",
                &[
                    Test::Is(Version::Six),
                    Test::Equals(Field::Protocol, ICMP_6),
                    Test::Equals(Field::IcmpType, NEIGHBOUR_ADVERTISEMENT),
                ],
                Act::Accept,
            ),
            Rule::new(
                "to a linked container",
                &[Test::In(
                    &[
                        Field::Protocol,
                        Field::Source4,
                        Field::Destination4,
                        Field::DestinationPort,
                    ],
                    "linked4",
                )],
                Act::Accept,
            ),
            Rule::new(
                "answers of a linked container",
                &[Test::In(
                    &[
                        Field::Protocol,
                        Field::Source4,
                        Field::Destination4,
                        Field::SourcePort,
                    ],
                    "answers4",
                )],
                Act::Accept,
            ),
            Rule::new(
                "to a linked container, IPv6",
                &[Test::In(
                    &[
                        Field::Protocol,
                        Field::Source6,
                        Field::Destination6,
                        Field::DestinationPort,
                    ],
                    "linked6",
                )],
                Act::Accept,
            ),
            Rule::new(
                "answers of a linked container, IPv6",
                &[Test::In(
                    &[
                        Field::Protocol,
                        Field::Source6,
                        Field::Destination6,
                        Field::SourcePort,
                    ],
                    "answers6",
                )],
                Act::Accept,
            ),
            // With br_netfilter, what goes to a published port of the same network gets its new address before it comes here, and does
            // not leave the bridge. Who asks for that address himself is dropped by the chain of the internet protocol then.
            Rule::new(
                "to a published port",
                &[Test::In(PORT_OF_4, "open4")],
                Act::Accept,
            ),
            Rule::new(
                "answers of a published port",
                &[Test::In(PORT_AT_4, "open4")],
                Act::Accept,
            ),
            Rule::new(
                "to a published port, IPv6",
                &[Test::In(PORT_OF_6, "open6")],
                Act::Accept,
            ),
            Rule::new(
                "answers of a published port, IPv6",
                &[Test::In(PORT_AT_6, "open6")],
                Act::Accept,
            ),
            Rule::new("the others", &[], Act::Drop),
        ],
    }],
};

/// What something is in the sets of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements {
    pub main: Vec<Element>,
    pub apart: Vec<Element>,
}

impl Elements {
    fn main(&mut self, set: &'static str, key: Vec<u8>, data: Vec<u8>) {
        self.main.push(Element { set, key, data });
    }

    fn apart(&mut self, set: &'static str, key: Vec<u8>) {
        self.apart.push(Element {
            set,
            key,
            data: Vec::new(),
        });
    }

    /// Without those that others have, too.
    #[must_use]
    pub fn without(&self, others: &Elements) -> Elements {
        let less = |a: &[Element], b: &[Element]| a.iter().filter(|e| !b.contains(e)).cloned().collect();
        Elements {
            main: less(&self.main, &others.main),
            apart: less(&self.apart, &others.apart),
        }
    }

    pub fn extend(&mut self, others: Elements) {
        self.main.extend(others.main);
        self.apart.extend(others.apart);
    }

    /// One element for each key: of several, the last.
    pub fn settle(&mut self) {
        for list in [&mut self.main, &mut self.apart] {
            let all: std::collections::BTreeMap<_, _> =
                list.drain(..).map(|e| ((e.set, e.key), e.data)).collect();
            list.extend(
                all.into_iter()
                    .map(|((set, key), data)| Element { set, key, data }),
            );
        }
    }
}

/// The sign of the form, in both tables.
pub fn form() -> Element {
    Element {
        set: FORM,
        key: vec![0; 4],
        data: Vec::new(),
    }
}

fn device(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(Type::Device.width(), 0);
    key
}

fn protocol(protocol: Protocol) -> Vec<u8> {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    vec![number as u8, 0, 0, 0]
}

fn port(port: u16) -> Vec<u8> {
    [port.to_be_bytes().as_slice(), &[0; 2]].concat()
}

/// Of a network; empty when it has no bridge.
pub fn of_network(network: &Network) -> Elements {
    let mut all = Elements::default();
    let Kind::Bridge { device: bridge } = &network.kind else {
        return all;
    };
    let one = device(bridge);
    let two = [one.as_slice(), &one].concat();
    all.main("bridges", one.clone(), Vec::new());
    all.main("same", two.clone(), Vec::new());
    if network.icc {
        all.main("friends", two, Vec::new());
    }
    for (set, wanted) in [
        ("internal", network.internal),
        ("masquerade", network.masquerade && !network.internal),
        ("routed", network.routed && !network.internal),
    ] {
        if wanted {
            all.main(set, one.clone(), Vec::new());
        }
    }
    all
}

/// Of a container, without its networks. `bridged`: br_netfilter is there.
pub fn of_attachment(attachment: &Attachment, bridged: bool) -> Elements {
    let mut all = Elements::default();
    for port in &attachment.ports {
        of_port(attachment, port, bridged, &mut all);
    }
    for endpoint in &attachment.endpoints {
        if endpoint.network.icc || !matches!(endpoint.network.kind, Kind::Bridge { .. }) {
            continue;
        }
        all.apart("apart", device(&endpoint.device));
    }
    all.extend(of_links(attachment));
    // Several ports have some in common.
    all.settle();
    all
}

/// What a container reaches by links in networks without icc.
pub fn of_links(attachment: &Attachment) -> Elements {
    let mut all = Elements::default();
    for endpoint in &attachment.endpoints {
        if endpoint.network.icc || !matches!(endpoint.network.kind, Kind::Bridge { .. }) {
            continue;
        }
        for reach in &endpoint.reaches {
            let own = endpoint.addresses.iter().map(|a| a.address);
            let own = own.filter(|a| a.is_ipv4() == reach.address.is_ipv4());
            for own in own {
                let [us, them] = [own, reach.address].map(octets);
                let [to, from] = match own {
                    IpAddr::V4(_) => ["linked4", "answers4"],
                    IpAddr::V6(_) => ["linked6", "answers6"],
                };
                let [protocol, port] = [protocol(reach.protocol), port(reach.port)];
                let asked = [protocol.as_slice(), &us, &them, &port].concat();
                all.main(to, asked.clone(), Vec::new());
                all.apart(to, asked);
                all.apart(from, [protocol.as_slice(), &them, &us, &port].concat());
            }
        }
    }
    all
}

/// The endpoint that is reached by published ports of this family, and its address.
pub fn published<'a>(attachment: &'a Attachment, host: &IpAddr) -> Option<(&'a Endpoint, IpAddr)> {
    attachment
        .endpoints
        .iter()
        .filter(|e| e.network.leads_in())
        .find_map(|e| {
            let of_family = |a: &&Address| a.address.is_ipv4() == host.is_ipv4();
            e.addresses.iter().find(of_family).map(|a| (e, a.address))
        })
}

fn of_port(attachment: &Attachment, published_port: &Port, bridged: bool, all: &mut Elements) {
    let Port {
        host,
        host_port,
        container_port,
        ..
    } = published_port;
    // None: whoever holds the port passes on what comes.
    let Some((endpoint, address)) = published(attachment, host) else {
        return;
    };
    let protocol = protocol(published_port.protocol);
    let [open, any, bound, selves] = match host {
        IpAddr::V4(_) => ["open4", "any4", "bound4", "selves4"],
        IpAddr::V6(_) => ["open6", "any6", "bound6", "selves6"],
    };
    let address = octets(address);
    let itself = [address.as_slice(), &address].concat();
    let target = [address.as_slice(), &port(*container_port)].concat();
    if endpoint.network.routed {
        all.main(open, [protocol, target].concat(), Vec::new());
        return;
    }
    all.main(selves, itself, Vec::new());
    if bridged && !endpoint.network.icc && !host.is_loopback() {
        all.apart(open, [protocol.as_slice(), &target].concat());
    }
    if host.is_unspecified() {
        all.main(any, [protocol, port(*host_port)].concat(), target);
    } else {
        let key = [protocol.as_slice(), &octets(*host), &port(*host_port)].concat();
        all.main(bound, key, target);
    }
}
