//! Messages of rtnetlink(7): building them, and talking to the kernel about links and addresses.
//!
//! May not: decide what is done to a device, or wait for an answer without a deadline.

use crate::error::{Doing, Error, Result};
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use sys::wait::Deadline;
use sys::{Errno, socket};

/// The kernel answers at once; a minute covers a machine that is out of breath.
const PATIENCE: Duration = Duration::from_secs(60);
/// Netlink's own limit for one datagram of a dump.
const LARGEST: usize = 32 << 10;
/// A dump that was overtaken by a change is asked for again, at most so often.
const DUMPS: usize = 20;

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ATTRIBUTE_HEADER: usize = 4;

/// A socket of one network namespace, wherever its owner is now.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

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
        Ok(Netlink(sys::net::route_socket()?))
    }

    /// A socket that another process made in its namespace.
    pub fn of(socket: OwnedFd) -> Netlink {
        Netlink(socket)
    }

    /// For sending it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        let mut m = Message::link(libc::RTM_GETLINK, 0, [0, 0]);
        m.attribute(libc::IFLA_IFNAME, &terminated(name));
        let replies = self.ask(m, "RTM_GETLINK", name)?;
        let link = replies.iter().find_map(parse_link);
        link.ok_or_else(|| sys::Error::new("netlink", "RTM_GETLINK", Errno(libc::ENODEV)).into())
    }

    /// All addresses of a link.
    pub fn addresses(&self, link: Link) -> Result<Vec<Address>> {
        for _ in 0..DUMPS {
            let mut m = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
            m.put(&[0; ADDRESS_HEADER]);
            let replies = self.ask(m, "RTM_GETADDR", "")?;
            if replies.iter().any(|r| r.flags & NLM_F_DUMP_INTR != 0) {
                continue;
            }
            let all = replies.iter().filter_map(parse_address);
            return Ok(all.filter(|a| a.index == link.index).collect());
        }
        Err(Error::new(
            "the list of addresses changes faster than it can be read",
        ))
    }

    /// Sets or takes IFF_UP.
    pub fn set_up(&self, link: Link, up: bool) -> Result<()> {
        let flag = libc::IFF_UP as u32;
        let m = Message::link(libc::RTM_NEWLINK, link.index, [if up { flag } else { 0 }, flag]);
        self.ask(m, "RTM_NEWLINK", "IFF_UP").map(drop)
    }

    /// Moves a link into the network namespace of a process, under a new name: both at once, so that it never collides
    /// with a name on either side.
    pub fn move_link(&self, link: Link, pid: i32, name: &str) -> Result<()> {
        let mut m = Message::link(libc::RTM_NEWLINK, link.index, [0, 0]);
        m.attribute(libc::IFLA_IFNAME, &terminated(name));
        m.attribute(libc::IFLA_NET_NS_PID, &pid.to_ne_bytes());
        self.ask(m, "RTM_NEWLINK", name).map(drop)
    }

    /// Adds an address that another link had.
    pub fn add_address(&self, link: Link, address: &Address) -> Result<()> {
        let mut m = Message::new(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL);
        m.put(&[address.family, address.prefix, 0, address.scope]);
        m.put(&link.index.to_ne_bytes());
        for (kind, value) in &address.kept {
            m.attribute(*kind, value);
        }
        self.ask(m, "RTM_NEWADDR", "").map(drop)
    }

    /// Sends one request and collects what the kernel answers.
    fn ask(&self, message: Message, call: &'static str, what: &str) -> Result<Vec<Reply>> {
        let deadline = Deadline::after(PATIENCE);
        sys::fs::write(self.fd(), &message.finish())?;
        let mut replies = Vec::new();
        let mut buf = vec![0u8; LARGEST];
        loop {
            sys::wait::readable(self.fd(), deadline)
                .doing(|| "waiting for the kernel's answer on netlink")?;
            let (len, _) = socket::receive(self.fd(), &mut buf)?;
            for reply in parse_replies(&buf[..len])? {
                match reply.kind as i32 {
                    libc::NLMSG_DONE => return Ok(replies),
                    libc::NLMSG_ERROR => {
                        return match reply.errno() {
                            0 => Ok(replies),
                            n => Err(sys::Error::new(call, what, Errno(n)).into()),
                        };
                    }
                    _ => replies.push(reply),
                }
            }
        }
    }
}

const NLM_F_DUMP_INTR: u16 = 0x10;

/// A request under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: i32) -> Message {
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut m = Message(vec![0; 4]); // the length comes last
        m.put(&kind.to_ne_bytes());
        m.put(&flags.to_ne_bytes());
        m.put(&[0; 8]); // sequence and port: one question at a time on a socket of our own
        m
    }

    /// With a struct ifinfomsg; `flags` are the flags and which of them change.
    fn link(kind: u16, index: u32, flags: [u32; 2]) -> Message {
        let mut m = Message::new(kind, 0);
        m.put(&[0; 4]);
        for number in [index, flags[0], flags[1]] {
            m.put(&number.to_ne_bytes());
        }
        m
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.put(&len.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

fn terminated(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

/// One message of the kernel.
struct Reply {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Reply {
    /// Of an NLMSG_ERROR: 0 is the acknowledgement.
    fn errno(&self) -> i32 {
        u32_at(&self.body, 0).map_or(libc::EBADMSG, |n| -(n as i32))
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let b = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes([b[0], b[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

/// Splits a datagram; every length is checked.
fn parse_replies(mut bytes: &[u8]) -> Result<Vec<Reply>> {
    let cut = || Error::new("a netlink message is cut short");
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 0).ok_or_else(cut)? as usize;
        let body = bytes.get(HEADER..len).ok_or_else(cut)?;
        let (kind, flags) = (u16_at(bytes, 4), u16_at(bytes, 6));
        out.push(Reply {
            kind: kind.ok_or_else(cut)?,
            flags: flags.ok_or_else(cut)?,
            body: body.to_vec(),
        });
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(out)
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

/// (type, value) of each attribute, up to the first that does not fit.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)?;
        let value = bytes.get(ATTRIBUTE_HEADER..len)?;
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_padded_and_knows_its_length() {
        let mut m = Message::link(libc::RTM_NEWLINK, 7, [0, 0]);
        m.attribute(libc::IFLA_IFNAME, &terminated("eth0"));
        let bytes = m.finish();
        assert_eq!(bytes.len(), HEADER + LINK_HEADER + 12);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!(u32_at(&bytes, HEADER + 4), Some(7));
        assert_eq!(&bytes[HEADER + LINK_HEADER + 4..][..5], b"eth0\0");
    }

    fn reply(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut m = Message::new(kind, 0);
        m.put(body);
        m.finish()
    }

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
        let replies = parse_replies(&reply(libc::RTM_NEWADDR, &body)).unwrap();
        let a = parse_address(&replies[0]).unwrap();
        assert_eq!(
            (a.family, a.prefix, a.index, a.flags),
            (libc::AF_INET as u8, 24, 3, 0x280)
        );
        assert_eq!(a.kept, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert!(a.is_lasting());
        assert!(!Address { scope: 253, ..a }.is_lasting());
    }

    #[test]
    fn cut_messages_are_errors() {
        let whole = reply(libc::RTM_NEWADDR, &[0; 8]);
        for n in 1..whole.len() {
            assert!(parse_replies(&whole[..n]).is_err(), "{n}");
        }
        assert!(parse_replies(&[4, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(attributes(&[9, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
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
