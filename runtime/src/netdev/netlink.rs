//! Links and addresses of a network namespace: rtnetlink(7).
//!
//! May not: decide what is done to a device.

use crate::error::Result;
use std::os::fd::{BorrowedFd, OwnedFd};
use sys::Errno;
use sys::netlink::{Failure, Message, Reply, Socket, attributes, u32_at};

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;

/// A socket of one network namespace, wherever its owner is now.
#[derive(Debug)]
pub struct Netlink(Socket);

/// A link as far as we need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// IFF_*.
    pub flags: u32,
}

/// An address of a link, with what it needs to be added again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    scope: u8,
    flags: u32,
    index: u32,
    /// IFA_ADDRESS, IFA_LOCAL and IFA_BROADCAST as they came.
    kept: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Set by somebody for good, and not only of meaning on its link.
    pub fn is_lasting(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

impl Netlink {
    /// A socket of the namespace that we are in.
    pub fn open() -> Result<Netlink> {
        Ok(Netlink(Socket::open(libc::NETLINK_ROUTE)?))
    }

    /// A socket that another process made in its namespace.
    pub fn of(socket: OwnedFd) -> Netlink {
        Netlink(Socket::of(socket))
    }

    /// For sending it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.fd()
    }

    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        let mut m = link_message(libc::RTM_GETLINK, 0, [0, 0]);
        m.text(libc::IFLA_IFNAME, name);
        let replies = self.ask(m, "RTM_GETLINK", name)?;
        let link = replies.iter().find_map(parse_link);
        link.ok_or_else(|| sys::Error::new("netlink", "RTM_GETLINK", Errno(libc::ENODEV)).into())
    }

    /// All addresses of a link.
    pub fn addresses(&self, link: Link) -> Result<Vec<Address>> {
        let mut m = Message::new(libc::RTM_GETADDR, 0);
        m.put(&[0; ADDRESS_HEADER]);
        let replies = self.0.dump(&m).map_err(|e| refused(e, "RTM_GETADDR", ""))?;
        let all = replies.iter().filter_map(parse_address);
        Ok(all.filter(|a| a.index == link.index).collect())
    }

    /// Sets or takes IFF_UP.
    pub fn set_up(&self, link: Link, up: bool) -> Result<()> {
        let flag = libc::IFF_UP as u32;
        let m = link_message(libc::RTM_NEWLINK, link.index, [if up { flag } else { 0 }, flag]);
        self.ask(m, "RTM_NEWLINK", "IFF_UP").map(drop)
    }

    /// Moves a link into the network namespace of a process, under a new name: both at once, so that it never collides
    /// with a name on either side.
    pub fn move_link(&self, link: Link, pid: i32, name: &str) -> Result<()> {
        let mut m = link_message(libc::RTM_NEWLINK, link.index, [0, 0]);
        m.text(libc::IFLA_IFNAME, name);
        m.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
        self.ask(m, "RTM_NEWLINK", name).map(drop)
    }

    /// Adds an address that another link had.
    pub fn add_address(&self, link: Link, address: &Address) -> Result<()> {
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut m = Message::new(libc::RTM_NEWADDR, flags);
        m.put(&[address.family, address.prefix, 0, address.scope]);
        m.put(&link.index.to_ne_bytes());
        for (kind, value) in &address.kept {
            m.attribute(*kind, value);
        }
        self.ask(m, "RTM_NEWADDR", "").map(drop)
    }

    fn ask(&self, message: Message, call: &'static str, what: &str) -> Result<Vec<Reply>> {
        Ok(self.0.ask(message).map_err(|e| refused(e, call, what))?)
    }
}

/// The kernel's own sentence, if it has one, goes with what was asked for.
fn refused(e: Failure, call: &'static str, what: &str) -> sys::Error {
    match e {
        Failure::Call(e) => e,
        Failure::Refused(r) if r.sentence.is_empty() => sys::Error::new(call, what, r.errno),
        Failure::Refused(r) => sys::Error::new(call, format!("{what} ({})", r.sentence), r.errno),
    }
}

/// With a struct ifinfomsg; `flags` are the flags and which of them change.
fn link_message(kind: u16, index: u32, flags: [u32; 2]) -> Message {
    let mut m = Message::new(kind, libc::NLM_F_ACK);
    m.put(&[0; 4]);
    for number in [index, flags[0], flags[1]] {
        m.put(&number.to_ne_bytes());
    }
    m
}

fn parse_link(reply: &Reply) -> Option<Link> {
    (reply.kind == libc::RTM_NEWLINK && reply.body.len() >= LINK_HEADER).then_some(())?;
    Some(Link {
        index: u32_at(&reply.body, 4)?,
        flags: u32_at(&reply.body, 8)?,
    })
}

fn parse_address(reply: &Reply) -> Option<Address> {
    let head = reply.body.get(..ADDRESS_HEADER)?;
    (reply.kind == libc::RTM_NEWADDR).then_some(())?;
    let mut address = Address {
        family: head[0],
        prefix: head[1],
        flags: u32::from(head[2]),
        scope: head[3],
        index: u32_at(head, 4)?,
        kept: Vec::new(),
    };
    for (kind, value) in attributes(&reply.body[ADDRESS_HEADER..]) {
        match kind {
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => {
                address.kept.push((kind, value.to_vec()));
            }
            // The eight bits of the header were too few.
            libc::IFA_FLAGS => address.flags = u32_at(value, 0).unwrap_or(address.flags),
            _ => {}
        }
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_what_it_needs() {
        let mut body = vec![libc::AF_INET as u8, 24, 0x80, 0, 3, 0, 0, 0];
        for (kind, value) in [
            (libc::IFA_LOCAL, [10, 0, 0, 1]),
            (libc::IFA_LABEL, *b"abc\0"),
            (libc::IFA_FLAGS, 0x280u32.to_ne_bytes()),
        ] {
            body.extend(8u16.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
        }
        let a = parse_address(&Reply::new(libc::RTM_NEWADDR, body)).unwrap();
        assert_eq!(
            (a.family, a.prefix, a.index, a.flags),
            (libc::AF_INET as u8, 24, 3, 0x280)
        );
        assert_eq!(a.kept, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert!(a.is_lasting());
        assert!(!Address { scope: 253, ..a }.is_lasting());
    }

    #[test]
    fn the_kernel_knows_the_loopback_device() {
        let net = Netlink::open().unwrap();
        let lo = net.link("lo").unwrap();
        assert_ne!(lo.index, 0);
        assert!(net.addresses(lo).unwrap().iter().all(|a| a.index == lo.index));
        assert!(net.link("no-such-device0").unwrap_err().is(libc::ENODEV));
    }
}
