//! Connections in an ordinary user's ground (`monitor::ground`), for the published ports: a copy of ours is in that network namespace, and
//! makes sockets there, one for each question. We ourselves have to stay in the machine's: nobody who has left it may come back.
//!
//! The sockets speak in the name of the client, so that the container sees who asks.
//!
//! May not: serve anything. Whoever asks does.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use network::attachment::Attachment;
use network::pool::Subnet;
use serde::{Deserialize, Serialize};
use shim::children::Children;
use shim::reactor::{Reactor, Source};
use shim::sync::Lock;

/// It makes a socket and does nothing else.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than a question or an answer.
const LONGEST: usize = 256;

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Connection,
    Datagrams,
}

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    kind: Kind,
    to: SocketAddr,
    from: Option<IpAddr>,
}

/// Who makes them. Its copy is there from the first question on.
#[derive(Debug, Default)]
pub struct Dialer {
    line: RefCell<Option<Rc<Source<OwnedFd>>>>,
    turn: Rc<Lock>,
}

impl Dialer {
    /// A socket that is about to be connected, not blocking. `ground`: the network namespace.
    ///
    /// # Errors
    /// connect(2)'s; or the copy has ended.
    pub async fn dial(
        &self,
        (reactor, children): (&Reactor, &Children),
        ground: BorrowedFd<'_>,
        (kind, to, from): (Kind, SocketAddr, Option<IpAddr>),
    ) -> sys::Result<OwnedFd> {
        let _turn = self.turn.enter().await;
        let line = self.line.borrow().clone();
        let line = match line {
            Some(line) => line,
            None => {
                let line = Rc::new(reactor.watch(begin(children, ground)?)?);
                self.line.replace(Some(Rc::clone(&line)));
                line
            }
        };
        let question = Question { kind, to, from };
        let asked = ask(&line, &question);
        let answer = reactor.within(Some(Instant::now() + PATIENCE), asked).await;
        let answer =
            answer.unwrap_or_else(|| Err(sys::Error::new("connect", "", sys::Errno(libc::ETIMEDOUT))));
        match answer {
            Ok(answer) => answer,
            Err(e) => {
                // It was killed: the next one who asks has another.
                self.line.replace(None);
                Err(e)
            }
        }
    }
}

async fn ask(line: &Source<OwnedFd>, question: &Question) -> sys::Result<sys::Result<OwnedFd>> {
    let text = serde_json::to_vec(question).map_err(|e| sys::Error::io("write", "", &e.into()))?;
    sys::socket::send(line.fd(), &text, &[])?;
    let mut answer = [0; LONGEST];
    let (length, mut sockets) = loop {
        match sys::socket::receive(line.fd(), &mut answer) {
            Err(e) if e.is(libc::EAGAIN) => line.readable().await?,
            received => break received?,
        }
    };
    match (sockets.pop(), length) {
        (Some(socket), _) => Ok(Ok(socket)),
        (None, 0) => Err(sys::Error::new("read", "", sys::Errno(libc::EPIPE))),
        (None, length) => {
            let text = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
            let errno = text.parse().unwrap_or(libc::EIO);
            Ok(Err(sys::Error::new(
                "connect",
                question.to.to_string(),
                sys::Errno(errno),
            )))
        }
    }
}

fn begin(children: &Children, ground: BorrowedFd<'_>) -> sys::Result<OwnedFd> {
    let (ours, theirs) = sys::socket::seqpacket_pair()?;
    // It ends when nobody has the other end any more.
    children.fork_with(&[theirs.as_fd(), ground], || {
        i32::from(serve(theirs.as_fd(), ground).is_err())
    })?;
    sys::fs::set_nonblocking(ours.as_fd(), true)?;
    Ok(ours)
}

fn serve(line: BorrowedFd<'_>, ground: BorrowedFd<'_>) -> sys::Result<()> {
    sys::process::setns(ground, libc::CLONE_NEWNET as u64)?;
    let mut text = [0; LONGEST];
    loop {
        let (length, _) = sys::socket::receive(line, &mut text)?;
        if length == 0 {
            return Ok(());
        }
        let question = serde_json::from_slice(text.get(..length).unwrap_or_default());
        let made = match question {
            Ok(question) => make(&question),
            Err(_) => Err(sys::Error::new("connect", "", sys::Errno(libc::EINVAL))),
        };
        match made {
            Ok(socket) => sys::socket::send(line, b"s", &[socket.as_fd()])?,
            Err(e) => sys::socket::send(line, e.errno().0.to_string().as_bytes(), &[])?,
        };
    }
}

fn make(question: &Question) -> sys::Result<OwnedFd> {
    let kind = match question.kind {
        Kind::Connection => libc::SOCK_STREAM,
        Kind::Datagrams => libc::SOCK_DGRAM,
    };
    let to = question.to;
    match question.from {
        Some(from) => sys::tcp::connect_as(to, kind, from).or_else(|_| sys::tcp::connect_of(to, kind)),
        None => sys::tcp::connect_of(to, kind),
    }
}

/// The name in which the container is spoken to, if it can be the client's: answers must come back over the container's gateway. Who asks
/// from the machine's loopback device, or from an address that the container takes for a neighbour's, is seen as the gateway.
pub fn name_of(client: IpAddr, to: SocketAddr, attachment: &Attachment) -> Option<IpAddr> {
    let is_near = || {
        let endpoints = attachment.endpoints.iter();
        let mut subnets = endpoints
            .flat_map(|endpoint| &endpoint.addresses)
            .filter_map(|own| Subnet::around(own.address, own.prefix));
        subnets.any(|subnet| subnet.contains(client))
    };
    let can_be = client.is_ipv4() == to.is_ipv4() && !client.is_loopback() && !client.is_multicast();
    let is_of_link = matches!(client, IpAddr::V6(a) if a.is_unicast_link_local());
    (can_be && !is_of_link && !is_near()).then_some(client)
}
