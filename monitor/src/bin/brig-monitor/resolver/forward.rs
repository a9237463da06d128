//! Asks name servers in a container's place: the machine's own from the machine's network namespace (they may be on its loopback
//! device), those of `--dns` from the container's, as Docker does: they may be in one of its networks.
//!
//! Each question has a socket of its own, at a port of the kernel's choice and connected to the server, and an id that nobody can
//! guess: whoever wants to answer in the server's place has to guess both.
//!
//! May not: send what the container has sent; it is written anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket};
use std::pin::Pin;
use std::time::{Duration, Instant};

use shim::reactor::Source;
use shim::stdio::let_others_run;

use super::wire::{Code, Query, Verdict};
use crate::monitor::Monitor;
use crate::networks;

/// A message over TCP.
pub const LONGEST: usize = 65535;

/// How long one server may take. A client of libc asks again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many are asked, as in a resolv.conf.
const MOST_SERVERS: usize = 3;

/// More than a server sends in one datagram when it keeps to what it was told.
const DATAGRAM: usize = 4096;

/// What the allocator does not keep when it is freed.
const NOT_KEPT: usize = 68 << 10;

/// How a server is asked: as the client has asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Datagram,
    Connection,
}

/// What has come of one server: its answer, or `None`, and the next one is asked.
type Asked = sys::Result<Option<Vec<u8>>>;

/// The answer for the client, whatever comes of it.
pub async fn ask(monitor: &Monitor, query: &Query, way: Way, room: usize) -> Vec<u8> {
    let (servers, from) = servers(monitor);
    for server in servers.into_iter().take(MOST_SERVERS) {
        let until = Some(Instant::now() + PATIENCE);
        // Each in a room of its own, which is only there while it is asked: there may be a hundred of them.
        let asked: Pin<Box<dyn Future<Output = Asked>>> = match way {
            Way::Datagram => Box::pin(over_udp(monitor, query, server, from)),
            Way::Connection => Box::pin(over_tcp(monitor, query, server, from)),
        };
        let answer = monitor.on.reactor.within(until, asked).await;
        if let Some(Ok(Some(answer))) = answer {
            return query.passed_on(answer, room);
        }
    }
    query.answer(Code::Failed, &[], room)
}

/// Whose network namespace a question comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Machine,
    Container,
}

impl From {
    fn make<T>(self, monitor: &Monitor, work: impl FnOnce() -> sys::Result<T>) -> sys::Result<T> {
        match self {
            From::Machine => work(),
            From::Container => networks::inside(monitor, work),
        }
    }
}

/// Whom to ask, in their order.
fn servers(monitor: &Monitor) -> (Vec<SocketAddr>, From) {
    let given = match &monitor.launch.borrow().network {
        Some(network) => network.nameservers.clone(),
        None => Vec::new(),
    };
    match given.is_empty() {
        false => (given, From::Container),
        true => (machines_servers(), From::Machine),
    }
}

fn machines_servers() -> Vec<SocketAddr> {
    // Read each time: a machine that moves gets other ones.
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let found = servers_in(&text);
    match found.is_empty() {
        false => found,
        // resolv.conf(5).
        true => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 53))],
    }
}

fn servers_in(resolv_conf: &str) -> Vec<SocketAddr> {
    let lines = resolv_conf
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"));
    let words = lines.filter_map(|rest| {
        let word = rest.split_ascii_whitespace().next()?;
        rest.starts_with([' ', '\t']).then_some(word)
    });
    words.filter_map(server).collect()
}

/// Also one of the link: `fe80::1%eth0`.
fn server(text: &str) -> Option<SocketAddr> {
    let Some((address, device)) = text.split_once('%') else {
        return Some(SocketAddr::from((text.parse::<IpAddr>().ok()?, 53)));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let is_name = !device.is_empty() && !device.starts_with('.') && !device.contains('/');
    let index = is_name.then(|| std::fs::read_to_string(format!("/sys/class/net/{device}/ifindex")));
    let index = index?.ok()?.trim().parse().ok()?;
    Some(SocketAddrV6::new(address, 53, 0, index).into())
}

fn random_id() -> sys::Result<u16> {
    let mut id = [0; 2];
    sys::random::fill(&mut id)?;
    Ok(u16::from_ne_bytes(id))
}

async fn over_udp(monitor: &Monitor, query: &Query, server: SocketAddr, from: From) -> Asked {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let bind = || networks::io("bind", UdpSocket::bind((any, 0)));
    let socket = from.make(monitor, bind)?;
    networks::io("connect", socket.connect(server))?;
    networks::io("fcntl", socket.set_nonblocking(true))?;
    let id = random_id()?;
    networks::io("send", socket.send(&query.forwarded(id)))?;
    let socket = monitor.on.reactor.watch(socket)?;
    loop {
        let message = socket.read_when_ready(|_| datagram(socket.io())).await?;
        match query.is_answered_by(&message, id) {
            Some(Verdict::Answered) => return Ok(Some(message)),
            Some(Verdict::Failed) => return Ok(None),
            // Somebody guesses: that does not make the server's own answer come later.
            None => let_others_run().await,
        }
    }
}

fn datagram(socket: &UdpSocket) -> sys::Result<Vec<u8>> {
    let mut buffer = [0u8; DATAGRAM];
    let n = networks::io("recv", socket.recv(&mut buffer))?;
    Ok(buffer[..n].to_vec())
}

async fn over_tcp(monitor: &Monitor, query: &Query, server: SocketAddr, from: From) -> Asked {
    let begun = from.make(monitor, || sys::tcp::connect_nonblocking(server))?;
    let socket = networks::connected(&monitor.on.reactor, begun, server).await?;
    let id = random_id()?;
    send(&socket, &query.forwarded(id)).await?;
    let message = receive(&socket, LONGEST).await?;
    let verdict = query.is_answered_by(&message, id);
    Ok((verdict == Some(Verdict::Answered)).then_some(message))
}

/// A message with its length before it.
///
/// # Errors
/// read(2)'s; EMSGSIZE when it is longer than `most`; EPIPE when it ends too early.
pub async fn receive(socket: &Source<TcpStream>, most: usize) -> sys::Result<Vec<u8>> {
    let mut length = [0; 2];
    fill(socket, &mut length).await?;
    let length = usize::from(u16::from_be_bytes(length));
    let refused = |errno| sys::Error::new("read", "", sys::Errno(errno));
    if length > most {
        return Err(refused(libc::EMSGSIZE));
    }
    let mut message = Vec::with_capacity(match length > DATAGRAM {
        true => NOT_KEPT,
        false => length,
    });
    message.resize(length, 0);
    fill(socket, &mut message).await?;
    Ok(message)
}

async fn fill(socket: &Source<TcpStream>, buffer: &mut [u8]) -> sys::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        let rest = &mut buffer[filled..];
        match socket.read_when_ready(|fd| sys::fs::read(fd, rest)).await? {
            0 => return Err(sys::Error::new("read", "", sys::Errno(libc::EPIPE))),
            n => filled += n,
        }
    }
    Ok(())
}

/// The same way out.
///
/// # Errors
/// write(2)'s.
pub async fn send(socket: &Source<TcpStream>, message: &[u8]) -> sys::Result<()> {
    // Nothing of ours is longer.
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes();
    let whole = [&length, message].concat();
    let mut rest = &whole[..];
    while !rest.is_empty() {
        match sys::fs::write(socket.fd(), rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.is(libc::EAGAIN) => socket.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn servers_stand_in_resolv_conf() {
        let text = "# nameserver 9.9.9.9\nnameserver 10.0.0.1\nnameserver\t::1 x\nnameservers 1.1.1.1\nnameserver no\n\
                    nameserver fe80::1%lo\nnameserver fe80::1%none-such\nnameserver fe80::1%..\nsearch a\n";
        let found: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "[::1]:53", "[fe80::1%1]:53"]);
    }
}
