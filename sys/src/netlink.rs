//! netlink(7): messages with attributes, several of them in one datagram, and what the kernel answers.
//!
//! May not: know what a message is for, or wait for an answer without a deadline.

use crate::errno::{Errno, Error, Result, check};
use crate::wait::Deadline;
use std::cell::Cell;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// The kernel answers at once; a minute covers a machine that is out of breath.
const PATIENCE: Duration = Duration::from_secs(60);
/// Netlink's own limit for one datagram of a dump.
const LARGEST: usize = 32 << 10;
/// A dump that was overtaken by a change is asked for again, at most so often.
const DUMPS: usize = 20;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;

const NLM_F_DUMP_INTR: u16 = 0x10;
/// An error does not repeat the message that it is about.
const NLM_F_CAPPED: u16 = 0x100;
/// An error has attributes.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
/// Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
const NLA_TYPE: u16 = 0x3fff;

const NETLINK_CAP_ACK: i32 = 10;
const NETLINK_EXT_ACK: i32 = 11;
const NETLINK_GET_STRICT_CHK: i32 = 12;

/// A request under construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// `flags` are NLM_F_*; NLM_F_REQUEST is added. Without NLM_F_ACK and NLM_F_DUMP it is answered only when it fails.
    pub fn new(kind: u16, flags: i32) -> Message {
        let mut m = Message(Vec::with_capacity(256));
        m.put(&[0; 4]); // the length comes last
        m.put(&kind.to_ne_bytes());
        m.put(&((libc::NLM_F_REQUEST | flags) as u16).to_ne_bytes());
        m.put(&[0; 8]); // the sequence number comes when it is sent
        m
    }

    /// What follows the header: the fixed part of the message.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let len = (ATTRIBUTE_HEADER + value.len()) as u16;
        self.put(&len.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An attribute that is a number in the machine's order, as rtnetlink has them.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// An attribute that is a number in the network's order, as netfilter has them.
    pub fn number_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that ends with NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        let len = (ATTRIBUTE_HEADER + value.len() + 1) as u16;
        self.put(&len.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
        self.put(value.as_bytes());
        self.put(&[0]);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// An attribute that consists of what `fill` adds. Its length has 16 bits: a long list wants several messages.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Message)) {
        let start = self.0.len();
        self.put(&[0; 2]);
        self.put(&(kind | NLA_F_NESTED).to_ne_bytes());
        fill(self);
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// Adds NLM_F_ACK.
    pub fn ask_for_answer(&mut self) {
        let flags = self.flags() | libc::NLM_F_ACK;
        self.0[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    }

    /// Its length so far.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    fn flags(&self) -> i32 {
        u16_at(&self.0, 6).map_or(0, i32::from)
    }

    /// NLM_F_DUMP is two bits, which NEW requests use for something else.
    fn is_answered(&self) -> bool {
        self.flags() & libc::NLM_F_ACK != 0
    }

    /// Ready to be sent.
    fn finish(&mut self, sequence: u32) -> &[u8] {
        let len = self.0.len() as u32;
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        &self.0
    }
}

/// One message of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// RTM_* and the like.
    pub kind: u16,
    flags: u16,
    sequence: u32,
    /// After the header.
    pub body: Vec<u8>,
}

/// What the kernel refused: which of the messages, why, and in which words, if it has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the messages that were sent.
    pub index: usize,
    /// Why.
    pub errno: Errno,
    /// The kernel's own sentence (NETLINK_EXT_ACK); often empty.
    pub sentence: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sentence.as_str() {
            "" => self.errno.fmt(f),
            sentence => write!(f, "{} ({sentence})", self.errno),
        }
    }
}

/// Of asking: either the call itself has failed, or what was asked for was refused.
#[derive(Clone, Debug)]
pub enum Failure {
    /// The socket.
    Call(Error),
    /// The request.
    Refused(Refusal),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Call(e)
    }
}

impl Failure {
    /// Why.
    pub fn errno(&self) -> Errno {
        match self {
            Failure::Call(e) => e.errno(),
            Failure::Refused(r) => r.errno,
        }
    }

    /// Which message was refused; the first, when it was the call.
    pub fn index(&self) -> usize {
        match self {
            Failure::Call(_) => 0,
            Failure::Refused(r) => r.index,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Call(e) => e.fmt(f),
            Failure::Refused(r) => r.fmt(f),
        }
    }
}

/// A netlink socket: of the network namespace that it was made in, wherever its owner is now.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: Cell<u32>,
}

impl Socket {
    /// Of a protocol (NETLINK_ROUTE, ...), close-on-exec. The kernel is asked for sentences, and to look at all of a request.
    pub fn open(protocol: i32) -> Result<Socket> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no pointers.
        let r = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        let raw = check(r as i64, "socket", || "AF_NETLINK")?;
        // SAFETY: fresh descriptor.
        let socket = Socket::of(unsafe { OwnedFd::from_raw_fd(raw as RawFd) });
        // The first two are of 4.12, the last of 4.20: without them everything works, and says less.
        for option in [NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK] {
            let _ = set_option(socket.fd(), libc::SOL_NETLINK, option, 1, "netlink");
        }
        Ok(socket)
    }

    /// One that another process made.
    pub fn of(fd: OwnedFd) -> Socket {
        Socket {
            fd,
            sequence: Cell::new(0),
        }
    }

    /// For sending it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Room for so many bytes in one datagram. Needs CAP_NET_ADMIN beyond the system's limit.
    pub fn grow(&self, bytes: usize) -> Result<()> {
        set_option(
            self.fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            bytes as i32,
            "SO_SNDBUFFORCE",
        )
    }

    /// Sends one request and collects what the kernel answers. It must have NLM_F_ACK or be a dump.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn ask(&self, message: Message) -> std::result::Result<Vec<Reply>, Failure> {
        self.exchange(&mut [message])
    }

    /// All objects of a kind; `message` is without NLM_F_DUMP. What is listed while it changes is listed again.
    ///
    /// # Errors
    /// The kernel refuses it, or it changes all the time.
    pub fn dump(&self, message: &Message) -> std::result::Result<Vec<Reply>, Failure> {
        let mut message = message.clone();
        let flags = message.flags() | libc::NLM_F_DUMP | libc::NLM_F_ACK;
        message.0[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
        for _ in 0..DUMPS {
            let replies = self.exchange(&mut [message.clone()])?;
            if replies.iter().all(|r| r.flags & NLM_F_DUMP_INTR == 0) {
                return Ok(replies);
            }
        }
        Err(Error::new("netlink", "a list that changes all the time", Errno(libc::EBUSY)).into())
    }

    /// Sends several requests in one datagram. The kernel takes them one after the other, also behind one that fails, unless they are
    /// a transaction of netfilter. Ends with the answer to the last one that asks for one; or with the refusal of the first one, if it
    /// asks for none: so a transaction is refused whose content was not looked at.
    ///
    /// # Errors
    /// The first that the kernel refuses.
    pub fn exchange(&self, messages: &mut [Message]) -> std::result::Result<Vec<Reply>, Failure> {
        let first = self.sequence.get().wrapping_add(1);
        self.sequence
            .set(self.sequence.get().wrapping_add(messages.len() as u32));
        let mut datagram = Vec::with_capacity(messages.iter().map(|m| m.size() + 4).sum());
        let mut open = 0;
        let unasked = messages.first().is_some_and(|m| !m.is_answered());
        for (n, message) in messages.iter_mut().enumerate() {
            open += usize::from(message.is_answered());
            datagram.extend_from_slice(message.finish(first.wrapping_add(n as u32)));
        }
        let deadline = Deadline::after(PATIENCE);
        crate::fs::write(self.fd(), &datagram)?;

        let mut replies = Vec::new();
        let mut refusal: Option<Refusal> = None;
        let mut buf = vec![0u8; LARGEST];
        while open > 0 {
            crate::wait::readable(self.fd(), deadline)?;
            let (len, _) = crate::socket::receive(self.fd(), &mut buf)?;
            for reply in parse(&buf[..len])? {
                // Of an earlier question, whose answer nobody has waited for.
                let index = reply.sequence.wrapping_sub(first) as usize;
                let Some(message) = messages.get(index) else {
                    continue;
                };
                let errno = match i32::from(reply.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => reply.errno(),
                    _ => {
                        replies.push(reply);
                        continue;
                    }
                };
                open -= usize::from(message.is_answered());
                if errno.0 != 0 && refusal.as_ref().is_none_or(|r| r.index > index) {
                    refusal = Some(Refusal {
                        index,
                        errno,
                        sentence: reply.sentence(),
                    });
                    if index == 0 && unasked {
                        open = 0;
                    }
                }
            }
        }
        match refusal {
            Some(refusal) => Err(Failure::Refused(refusal)),
            None => Ok(replies),
        }
    }
}

fn set_option(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32, what: &'static str) -> Result<()> {
    // SAFETY: pointer and size of a live integer.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    check(r as i64, "setsockopt", || what).map(drop)
}

impl Reply {
    /// One that was not sent: for what reads them.
    pub fn new(kind: u16, body: Vec<u8>) -> Reply {
        Reply {
            kind,
            flags: 0,
            sequence: 0,
            body,
        }
    }

    /// Of NLMSG_ERROR and NLMSG_DONE: 0 is the acknowledgement.
    fn errno(&self) -> Errno {
        match u32_at(&self.body, 0) {
            Some(n) => Errno((n as i32).wrapping_neg()),
            None if i32::from(self.kind) == libc::NLMSG_DONE => Errno(0),
            None => Errno(libc::EBADMSG),
        }
    }

    /// Of the same: what the kernel says about it.
    fn sentence(&self) -> String {
        if self.flags & NLM_F_ACK_TLVS == 0 {
            return String::new();
        }
        let quoted = match (i32::from(self.kind), self.flags & NLM_F_CAPPED) {
            (libc::NLMSG_DONE, _) => 0,
            (_, 0) => u32_at(&self.body, 4).unwrap_or(0) as usize,
            _ => HEADER,
        };
        let rest = self.body.get(4 + quoted.next_multiple_of(4)..).unwrap_or(&[]);
        let text = attributes(rest).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG);
        text.map_or(String::new(), |(_, value)| text_of(value).to_string())
    }
}

/// Splits a datagram; every length is checked.
fn parse(mut bytes: &[u8]) -> Result<Vec<Reply>> {
    let cut = || Error::new("netlink", "a message that is cut short", Errno(libc::EBADMSG));
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let len = u32_at(bytes, 0).ok_or_else(cut)? as usize;
        let body = bytes.get(HEADER..len).ok_or_else(cut)?;
        out.push(Reply {
            kind: u16_at(bytes, 4).ok_or_else(cut)?,
            flags: u16_at(bytes, 6).ok_or_else(cut)?,
            sequence: u32_at(bytes, 8).ok_or_else(cut)?,
            body: body.to_vec(),
        });
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
    Ok(out)
}

/// (type, value) of each attribute, up to the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & NLA_TYPE;
        let value = bytes.get(ATTRIBUTE_HEADER..len)?;
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
        Some((kind, value))
    })
}

/// The value of one attribute.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes)
        .find(|(k, _)| *k == kind)
        .map(|(_, value)| value)
}

/// An attribute that is text, up to its NUL.
pub fn text_of(value: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or(&[]))
}

/// Two bytes in the machine's order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let b = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes([b[0], b[1]]))
}

/// Four bytes in the machine's order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let b = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
}

/// Four bytes in the network's order.
pub fn u32_be_at(bytes: &[u8], at: usize) -> Option<u32> {
    u32_at(bytes, at).map(u32::from_be)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_nest_and_are_padded() {
        let mut m = Message::new(7, libc::NLM_F_ACK);
        m.nest(2, |m| {
            m.text(3, "eth0");
            m.number_be(4, 1);
        });
        let bytes = m.finish(5).to_vec();
        assert_eq!(bytes.len(), HEADER + 4 + 12 + 8);
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!((u16_at(&bytes, 4), u32_at(&bytes, 8)), (Some(7), Some(5)));
        let inner = attribute(&bytes[HEADER..], 2).unwrap();
        assert_eq!(attribute(inner, 3), Some(&b"eth0\0"[..]));
        assert_eq!(u32_be_at(attribute(inner, 4).unwrap(), 0), Some(1));
        assert_eq!(attribute(inner, 5), None);
    }

    #[test]
    fn cut_messages_are_errors() {
        let whole = Message::new(20, 0).finish(1).to_vec();
        for n in 1..whole.len() {
            assert!(parse(&whole[..n]).is_err(), "{n}");
        }
        assert!(parse(&[4, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert_eq!(attributes(&[9, 0, 1, 0, 1, 2]).count(), 0);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 0);
    }

    fn get_link(name: &str, flags: i32) -> Message {
        let mut m = Message::new(libc::RTM_GETLINK, flags);
        m.put(&[0; 16]);
        m.text(libc::IFLA_IFNAME, name);
        m
    }

    #[test]
    fn the_one_that_is_refused_is_named() {
        let socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
        let mut three = [
            get_link("lo", libc::NLM_F_ACK),
            get_link("no-such-device0", libc::NLM_F_ACK),
            get_link("lo", libc::NLM_F_ACK),
        ];
        let e = socket.exchange(&mut three).unwrap_err();
        assert_eq!((e.index(), e.errno().0), (1, libc::ENODEV), "{e}");
        // Nothing of it is left in the socket.
        assert_eq!(socket.ask(get_link("lo", libc::NLM_F_ACK)).unwrap().len(), 1);
    }

    #[test]
    fn the_kernel_says_why() {
        let socket = Socket::open(libc::NETLINK_ROUTE).unwrap();
        // A dump of a family that there is none of is refused in words (strict checks).
        let mut m = Message::new(libc::RTM_GETADDR, 0);
        m.put(&[libc::AF_UNSPEC as u8, 1, 0, 0, 0, 0, 0, 0]);
        let e = socket.dump(&m).unwrap_err();
        assert!(e.to_string().contains("ipv4: Invalid values"), "{e}");
    }
}
