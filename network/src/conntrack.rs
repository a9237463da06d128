//! Connections that the kernel remembers: those of UDP, which have no end.
//!
//! A sender that does not stop keeps its entry alive, so its packets would go on to where they went before a port was published, or to
//! a container that has ended. TCP mends itself: its connections begin and end.
//!
//! May not: forget what has nothing to do with a published port.

use std::net::IpAddr;

use sys::netlink::{Failure, Message, Reply, Socket, attribute, attributes};

use crate::error::{Context as _, Error, Result};
use crate::link::address_of;

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
// Numbers of linux/netfilter/nfnetlink_conntrack.h.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const FILTER_PROTOCOL: u32 = 1 << 3;
const FILTER_TO_PORT: u32 = 1 << 5;
const ADDRESSES: u16 = 1;
const PORTS: u16 = 2;
const SOURCE_4: u16 = 1;
const DESTINATION_4: u16 = 2;
const SOURCE_6: u16 = 3;
const DESTINATION_6: u16 = 4;
const PROTOCOL: u16 = 1;
const TO_PORT: u16 = 3;

/// What is published: where, and whose it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub host: IpAddr,
    pub host_port: u16,
    pub container: IpAddr,
}

/// Forgets the connections of these UDP ports: those that go to the container, and those that go to the machine (`own` are its
/// addresses) although they should go to the container.
///
/// # Errors
/// Of the kernel.
pub fn forget(flows: &[Flow], own: &[IpAddr]) -> Result<()> {
    if flows.is_empty() {
        return Ok(());
    }
    let socket = Socket::open(libc::NETLINK_NETFILTER).context("failed to ask for connections")?;
    for flow in flows {
        let replies = match socket.dump(&question(flow, true)) {
            // Before 5.8 there is no filter.
            Err(e) if matches!(e.errno().0, libc::EOPNOTSUPP | libc::EINVAL) => {
                socket.dump(&question(flow, false))
            }
            other => other,
        };
        for reply in &replies.map_err(|e| refused("list", &e))? {
            let Some(deletion) = deletion(reply, flow, own) else {
                continue;
            };
            match socket.ask(deletion) {
                Err(e) if e.errno().0 != libc::ENOENT => return Err(refused("forget", &e)),
                _ => {}
            }
        }
    }
    Ok(())
}

fn refused(verb: &str, e: &Failure) -> Error {
    Error::of_kernel(format!("failed to {verb} connections: {e}"), e.errno().0)
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn question(flow: &Flow, filtered: bool) -> Message {
    let mut m = Message::new(SUBSYSTEM << 8 | GET, 0);
    m.put(&[family(flow.host), 0, 0, 0]);
    if filtered {
        m.nest(ORIGINAL, |m| {
            m.nest(PORTS, |m| {
                m.attribute(PROTOCOL, &[libc::IPPROTO_UDP as u8]);
                m.attribute(TO_PORT, &flow.host_port.to_be_bytes());
            });
        });
        m.nest(FILTER, |m| {
            m.number(FILTER_ORIGINAL, FILTER_PROTOCOL | FILTER_TO_PORT);
            m.number(FILTER_REPLY, 0);
        });
    }
    m
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    from: IpAddr,
    to: IpAddr,
    to_port: u16,
    protocol: u8,
}

fn direction(tuple: &[u8]) -> Option<Direction> {
    let addresses = attribute(tuple, ADDRESSES)?;
    let ports = attribute(tuple, PORTS)?;
    let one = |v4, v6| {
        attribute(addresses, v4)
            .or_else(|| attribute(addresses, v6))
            .and_then(address_of)
    };
    Some(Direction {
        from: one(SOURCE_4, SOURCE_6)?,
        to: one(DESTINATION_4, DESTINATION_6)?,
        to_port: u16::from_be_bytes(attribute(ports, TO_PORT)?.try_into().ok()?),
        protocol: *attribute(ports, PROTOCOL)?.first()?,
    })
}

fn is_meant(original: Direction, reply: Direction, flow: &Flow, own: &[IpAddr]) -> bool {
    if i32::from(original.protocol) != libc::IPPROTO_UDP || original.to_port != flow.host_port {
        return false;
    }
    let to_container = reply.from == flow.container;
    let to_port = match flow.host.is_unspecified() {
        true => own.contains(&original.to),
        false => original.to == flow.host,
    };
    // Answered by whom it was sent to: its address was not changed.
    to_container || (to_port && reply.from == original.to)
}

fn deletion(reply: &Reply, flow: &Flow, own: &[IpAddr]) -> Option<Message> {
    let head = reply.body.get(..4)?;
    let rest = reply.body.get(4..)?;
    let original = attribute(rest, ORIGINAL)?;
    let answer = direction(attribute(rest, REPLY)?)?;
    is_meant(direction(original)?, answer, flow, own).then_some(())?;
    let mut m = Message::new(SUBSYSTEM << 8 | DELETE, libc::NLM_F_ACK);
    m.put(head);
    m.nest(ORIGINAL, |m| copy(m, original));
    for kind in [ID, ZONE] {
        if let Some(value) = attribute(rest, kind) {
            m.attribute(kind, value);
        }
    }
    Some(m)
}

/// The parts of a tuple, which are nested once.
fn copy(m: &mut Message, tuple: &[u8]) {
    for (kind, value) in attributes(tuple) {
        m.nest(kind, |m| m.put(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_port_concerns_is_forgotten() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let flow = Flow {
            host: ip("0.0.0.0"),
            host_port: 53,
            container: ip("172.17.0.2"),
        };
        let meant = |to: &str, answers: &str, to_port: u16| {
            let original = Direction {
                from: ip("192.0.2.9"),
                to: ip(to),
                to_port,
                protocol: libc::IPPROTO_UDP as u8,
            };
            let reply = Direction {
                from: ip(answers),
                to: original.from,
                to_port: 4000,
                protocol: original.protocol,
            };
            is_meant(original, reply, &flow, &[ip("192.0.2.1")])
        };
        assert!(meant("192.0.2.1", "172.17.0.2", 53), "of the container");
        assert!(meant("192.0.2.1", "192.0.2.1", 53), "to the machine");
        assert!(!meant("192.0.2.1", "172.17.0.3", 53), "of another container");
        assert!(!meant("9.9.9.9", "9.9.9.9", 53), "a question to somebody else");
        assert!(!meant("192.0.2.1", "192.0.2.1", 54), "another port");
    }
}
