//! Answers what the container asks 127.0.0.11: the names of its networks, from what lies in RUN; everything else is asked of the
//! machine's name servers.
//!
//! May not: let the container decide how much memory or how many descriptors this takes, or keep the monitor from its other work.

mod forward;
mod wire;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use network::attachment::{Attachment, Endpoint};
use network::names;
use shim::reactor::{Either, Source, either};
use shim::stdio::let_others_run;
use shim::sync::Count;

use crate::monitor::Monitor;
use crate::networks::{self, AGAIN, Bounds};
use forward::Way;
use wire::{Code, NoQuery, Query, Record, Wanted};

/// Connections of the container. What is more waits to be accepted.
const MOST_CONNECTIONS: usize = 8;

/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(10);

/// No question is longer.
const LONGEST_QUESTION: usize = 1024;

/// Begins to answer at these sockets.
///
/// # Errors
/// They cannot be watched.
pub fn begin(monitor: &Rc<Monitor>, udp: OwnedFd, tcp: OwnedFd) -> sys::Result<()> {
    let reactor = &monitor.on.reactor;
    // Over UDP. What is more is refused, as Docker does.
    let most = Bounds::now(0).questions;
    let udp = reactor.watch(UdpSocket::from(networks::nonblocking(udp)?))?;
    let tcp = reactor.watch(TcpListener::from(networks::nonblocking(tcp)?))?;
    monitor
        .served
        .spawn(monitor, serve_datagrams(Rc::clone(monitor), Rc::new(udp), most));
    monitor
        .served
        .spawn(monitor, serve_connections(Rc::clone(monitor), tcp));
    monitor.served.resolves.set(true);
    Ok(())
}

async fn serve_datagrams(monitor: Rc<Monitor>, socket: Rc<Source<UdpSocket>>, most: usize) {
    let pending = Rc::<Count>::default();
    loop {
        let mut message = [0u8; LONGEST_QUESTION];
        let come = socket
            .read_when_ready(|_| networks::io("recvfrom", socket.io().recv_from(&mut message)))
            .await;
        match come {
            Ok((n, from)) => take_datagram(&monitor, &socket, (&pending, most), &message[..n], from),
            // Nothing that would be so the next time; but this must not turn without end.
            Err(_) => monitor.on.reactor.sleep(AGAIN).await,
        }
        let_others_run().await;
    }
}

fn take_datagram(
    monitor: &Rc<Monitor>,
    socket: &Rc<Source<UdpSocket>>,
    (pending, most): (&Rc<Count>, usize),
    message: &[u8],
    from: SocketAddr,
) {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(NoQuery::Ignored) => return,
        Err(NoQuery::Answer(answer)) => return reply(socket, &answer, from),
    };
    let room = query.room();
    if let Some(answer) = answer_here(monitor, &query, room) {
        return reply(socket, &answer, from);
    }
    if pending.value() >= most {
        return reply(socket, &query.answer(Code::Refused, &[], room), from);
    }
    let (held, of_task, socket) = (pending.hold(), Rc::clone(monitor), Rc::clone(socket));
    monitor.served.spawn(monitor, async move {
        let answer = forward::ask(&of_task, &query, Way::Datagram, room).await;
        reply(&socket, &answer, from);
        drop(held);
    });
}

/// One who does not take it asks again.
fn reply(socket: &Source<UdpSocket>, answer: &[u8], to: SocketAddr) {
    let _ = socket.io().send_to(answer, to);
}

async fn serve_connections(monitor: Rc<Monitor>, listener: Source<TcpListener>) {
    let open = Rc::<Count>::default();
    loop {
        open.below(MOST_CONNECTIONS).await;
        let come = listener.read_when_ready(sys::socket::accept).await;
        let watched = come
            .and_then(networks::nonblocking)
            .and_then(|socket| monitor.on.reactor.watch(TcpStream::from(socket)));
        match watched {
            Ok(socket) => {
                let (held, of_task) = (open.hold(), Rc::clone(&monitor));
                monitor.served.spawn(&monitor, async move {
                    serve_connection(&of_task, &socket).await;
                    drop((socket, held));
                });
            }
            Err(_) => monitor.on.reactor.sleep(AGAIN).await,
        }
    }
}

/// Question after question, until the client goes, is silent, or says what is none.
async fn serve_connection(monitor: &Rc<Monitor>, socket: &Source<TcpStream>) {
    let reactor = &monitor.on.reactor;
    let within = || Some(Instant::now() + IDLE);
    loop {
        let question = reactor
            .within(within(), forward::receive(socket, LONGEST_QUESTION))
            .await;
        let Some(Ok(message)) = question else { return };
        let answer = match Query::read(&message) {
            Ok(query) => match answer_here(monitor, &query, forward::LONGEST) {
                Some(answer) => answer,
                None => {
                    let asked = pin!(forward::ask(monitor, &query, Way::Connection, forward::LONGEST));
                    let over = pin!(monitor.served.over.wait());
                    match either(asked, over).await {
                        Either::Left(answer) => answer,
                        Either::Right(()) => return,
                    }
                }
            },
            Err(NoQuery::Answer(answer)) => answer,
            Err(NoQuery::Ignored) => return,
        };
        let sent = reactor.within(within(), forward::send(socket, &answer)).await;
        let Some(Ok(())) = sent else { return };
        let_others_run().await;
    }
}

/// The answer to what we know, or know that nobody may be asked.
fn answer_here(monitor: &Monitor, query: &Query, room: usize) -> Option<Vec<u8>> {
    let launch = monitor.launch.borrow();
    let network = launch.network.as_ref()?;
    let attachment = &network.attachment;
    let run = &monitor.place.roots[1];
    let (code, records) = match look_up(run, attachment, query) {
        Found::Records(mut records) => {
            turn(&mut records, monitor.served.turns.get());
            monitor
                .served
                .turns
                .set(monitor.served.turns.get().wrapping_add(1));
            (Code::Done, records)
        }
        Found::Nobody => (Code::NoSuchName, Vec::new()),
        // Docker's answer: a resolver that is asked for what only others know, and may not ask them, has failed. Those of `--dns` are
        // asked from within, so they may be.
        Found::Elsewhere if is_enclosed(attachment) && network.nameservers.is_empty() => {
            (Code::Failed, Vec::new())
        }
        Found::Elsewhere => return None,
    };
    Some(query.answer(code, &records, room))
}

/// Each client begins with another one.
fn turn(records: &mut [Record], by: usize) {
    if !records.is_empty() {
        records.rotate_left(by % records.len());
    }
}

/// None of its networks leads out.
fn is_enclosed(attachment: &Attachment) -> bool {
    attachment
        .endpoints
        .iter()
        .all(|endpoint| endpoint.network.internal)
}

/// What is known of a name.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// It is a container's; of what was asked for there may be none.
    Records(Vec<Record>),
    /// It would be a container's, and there is none.
    Nobody,
    /// It is not ours.
    Elsewhere,
}

fn look_up(run: &Path, attachment: &Attachment, query: &Query) -> Found {
    let Some(name) = &query.name else {
        return Found::Elsewhere;
    };
    if query.wanted == Wanted::Name
        && let Some(address) = wire::address_of(name)
    {
        return look_up_address(run, attachment, address);
    }
    let Some(addresses) = addresses_of(run, attachment, name) else {
        return Found::Elsewhere;
    };
    let wanted = |address: &IpAddr| match query.wanted {
        Wanted::V4 => address.is_ipv4(),
        Wanted::V6 => address.is_ipv6(),
        Wanted::Any => true,
        // It is there and has nothing of the kind. To ask others would tell them our names, and a "no such name" from them would be
        // taken to be about its addresses, too.
        Wanted::Name | Wanted::Other => false,
    };
    let records = addresses.into_iter().filter(wanted).map(Record::Address);
    Found::Records(records.collect())
}

fn look_up_address(run: &Path, attachment: &Attachment, address: IpAddr) -> Found {
    let found = attachment.endpoints.iter().find_map(|endpoint| {
        let name = names::find(run, &endpoint.network.id, address)?;
        Some(format!("{name}.{}", endpoint.network.name))
    });
    let is_ours = |endpoint: &Endpoint| {
        let mut subnets = endpoint.network.subnets.iter();
        subnets.any(|subnet| contains(subnet.address, subnet.prefix, address))
    };
    match found {
        Some(name) => Found::Records(vec![Record::Name(name)]),
        None if attachment.endpoints.iter().any(is_ours) => Found::Nobody,
        None => Found::Elsewhere,
    }
}

/// Whether both have these first bits.
fn contains(subnet: IpAddr, prefix: u8, address: IpAddr) -> bool {
    let differs = |a: u128, b: u128, width: u32| {
        let rest = width.saturating_sub(u32::from(prefix));
        (a ^ b).checked_shr(rest).unwrap_or(0) != 0
    };
    match (subnet, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => !differs(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => !differs(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

/// Of all who have a name: in its own links, in its networks in their order, and then as `NAME.NETWORK`. `None`: nobody has.
fn addresses_of(run: &Path, attachment: &Attachment, name: &str) -> Option<Vec<IpAddr>> {
    let endpoints = &attachment.endpoints;
    let linked = endpoints.iter().find_map(|e| link(run, e, name));
    let named = || endpoints.iter().find_map(|e| holders(run, e, name));
    let qualified = || {
        let dots = name.match_indices('.');
        dots.map(|(at, _)| (&name[..at], &name[at + 1..]))
            .find_map(|(name, network)| {
                let named = |e: &&Endpoint| e.network.name.eq_ignore_ascii_case(network);
                let mut of_network = endpoints.iter().filter(named);
                of_network.find_map(|e| link(run, e, name).or_else(|| holders(run, e, name)))
            })
    };
    linked.or_else(named).or_else(qualified)
}

fn link(run: &Path, endpoint: &Endpoint, name: &str) -> Option<Vec<IpAddr>> {
    let (_, container) = endpoint
        .links
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name))?;
    let addresses = names::addresses_of(run, &endpoint.network.id, container).ok()?;
    (!addresses.is_empty()).then_some(addresses)
}

fn holders(run: &Path, endpoint: &Endpoint, name: &str) -> Option<Vec<IpAddr>> {
    let mut holders = names::look_up(run, &endpoint.network.id, name).ok()?;
    // A directory has no order.
    holders.sort_by(|a, b| a.container.cmp(&b.container));
    let addresses: Vec<IpAddr> = holders.into_iter().flat_map(|h| h.addresses).collect();
    (!addresses.is_empty()).then_some(addresses)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_subnet_by_its_first_bits() {
        let is_in = |subnet: &str, prefix, address: &str| {
            contains(subnet.parse().unwrap(), prefix, address.parse().unwrap())
        };
        assert!(is_in("172.18.0.1", 16, "172.18.255.9") && !is_in("172.18.0.1", 16, "172.19.0.1"));
        assert!(is_in("10.0.0.1", 32, "10.0.0.1") && !is_in("10.0.0.1", 32, "10.0.0.0"));
        assert!(is_in("10.0.0.1", 0, "9.9.9.9") && is_in("fd00::1", 0, "::1"));
        assert!(is_in("fd00:1::1", 64, "fd00:1::ffff") && !is_in("fd00:1::1", 64, "fd00:1:0:1::1"));
        assert!(!is_in("0.0.0.0", 0, "::1") && !is_in("::", 0, "1.1.1.1"));
    }

    #[test]
    fn addresses_take_turns() {
        let mut records = vec![Record::Name("a".into()), Record::Name("b".into())];
        turn(&mut records, 3);
        assert_eq!(records[0], Record::Name("b".into()));
        turn(&mut [], usize::MAX);
    }
}
