//! Brings to the container what comes to its published ports and is not led there by the machine's rules: what is sent to `::1`, or over
//! IPv6 to a container that has none, and everything while somebody has flushed the rules. An ordinary user has no rules on the machine:
//! there everything comes this way, and goes on in the name of who has sent it.
//!
//! Bytes of a connection go through a pipe and not through us (splice(2)).
//!
//! May not: take more at a time than it was given room for. What is more waits where the kernel lets it wait.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use network::attachment::{Attachment, Port, Protocol};
use shim::reactor::{Either, Source, either};
use shim::stdio::let_others_run;
use shim::sync::{Count, Once};
use sys::event::{Armed, Epoll, Event};
use sys::udp::Local;

use crate::dialer;
use crate::monitor::Monitor;
use crate::networks::{self, AGAIN, Bounds};

/// How long a sender of datagrams may be silent: Docker's.
const IDLE: Duration = Duration::from_secs(90);

/// How long the container may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most that a pipe takes.
const PIECE: usize = 64 << 10;

/// Pipes that are kept for the next piece.
const KEPT_PIPES: usize = 4;

/// Datagrams of one port before others have their turn.
const BURST: usize = 32;

/// Longer than any datagram, and than what the allocator keeps when it is freed.
const DATAGRAM: usize = 68 << 10;

const READ: Armed = Armed {
    read: true,
    write: false,
};

type Pipe = (OwnedFd, OwnedFd);

/// The sockets of one protocol. They are watched as one: a thousand published ports are one task.
struct Ports {
    ready: Source<Epoll>,
    sockets: Vec<(OwnedFd, Port)>,
}

/// Begins with the ports' sockets.
///
/// # Errors
/// They cannot be watched.
pub fn begin(monitor: &Rc<Monitor>, sockets: Vec<(OwnedFd, Port)>) -> sys::Result<()> {
    let bounds = Bounds::now(sockets.len());
    let mut of_protocol: [Vec<(OwnedFd, Port)>; 3] = Default::default();
    for (fd, port) in sockets {
        let n = match port.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => 1,
            Protocol::Sctp => 2,
        };
        of_protocol[n].push((fd, port));
    }
    let [tcp, udp, sctp] = of_protocol;
    if !tcp.is_empty() {
        let ports = Ports::watch(monitor, tcp)?;
        monitor.served.spawn_of_ports(
            monitor,
            serve_connections(Rc::clone(monitor), ports, bounds.connections),
        );
    }
    if !udp.is_empty() {
        for (socket, port) in &udp {
            sys::udp::tell_local(socket.as_fd(), port.host.is_ipv6())?;
        }
        let ports = Rc::new(Ports::watch(monitor, udp)?);
        monitor.served.spawn_of_ports(
            monitor,
            serve_datagrams(Rc::clone(monitor), ports, bounds.sessions),
        );
    }
    if !sctp.is_empty() {
        // They only keep the port.
        let kept = async move {
            std::future::pending::<()>().await;
            drop(sctp);
        };
        monitor.served.spawn_of_ports(monitor, kept);
    }
    Ok(())
}

impl Ports {
    fn watch(monitor: &Monitor, sockets: Vec<(OwnedFd, Port)>) -> sys::Result<Ports> {
        let epoll = Epoll::new()?;
        for (n, (socket, _)) in sockets.iter().enumerate() {
            sys::fs::set_nonblocking(socket.as_fd(), true)?;
            epoll.add(socket.as_fd(), n as u64, READ)?;
        }
        Ok(Ports {
            ready: monitor.on.reactor.watch(epoll)?,
            sockets,
        })
    }

    /// Those at which something has come. Each has to be armed again.
    async fn next(&self) -> sys::Result<Vec<usize>> {
        let mut found: Vec<Event> = Vec::new();
        loop {
            self.ready.io().wait(Some(Duration::ZERO), &mut found)?;
            match found.is_empty() {
                true => self.ready.readable().await?,
                false => return Ok(found.iter().map(|event| event.key as usize).collect()),
            }
        }
    }

    fn arm(&self, n: usize) -> sys::Result<()> {
        match self.sockets.get(n) {
            Some((socket, _)) => self.ready.io().arm(socket.as_fd(), n as u64, READ),
            None => Ok(()),
        }
    }
}

/// Where a port leads: to the first of the container's addresses that is reached over a bridge, of the family that was asked for if it
/// has one.
fn target(attachment: &Attachment, port: &Port) -> Option<SocketAddr> {
    let endpoint = attachment.endpoints.iter().find(|e| e.network.leads_in())?;
    let of_family = |v6: bool| {
        let mut addresses = endpoint.addresses.iter().map(|a| a.address);
        addresses.find(|address| address.is_ipv6() == v6)
    };
    let wanted = port.host.is_ipv6();
    let address = of_family(wanted).or_else(|| of_family(!wanted))?;
    Some(SocketAddr::new(address, port.container_port))
}

fn target_now(monitor: &Monitor, port: &Port) -> Option<SocketAddr> {
    let launch = monitor.launch.borrow();
    target(&launch.network.as_ref()?.attachment, port)
}

async fn serve_connections(monitor: Rc<Monitor>, ports: Ports, most: usize) {
    let (open, pipes) = (Rc::<Count>::default(), Rc::<Pipes>::default());
    loop {
        let Ok(found) = ports.next().await else { return };
        for n in found {
            open.below(most).await;
            let Some((socket, port)) = ports.sockets.get(n) else {
                continue;
            };
            match sys::socket::accept(socket.as_fd()) {
                Ok(client) => {
                    let (held, pipes) = (open.hold(), Rc::clone(&pipes));
                    let (of_task, port) = (Rc::clone(&monitor), port.clone());
                    monitor.served.spawn(&monitor, async move {
                        // One end is gone: the other sees it when both are closed.
                        let _ = relay(&of_task, &pipes, client, &port).await;
                        drop(held);
                    });
                }
                Err(e) if e.is(libc::EAGAIN) || e.is(libc::ECONNABORTED) => {}
                Err(_) => monitor.on.reactor.sleep(AGAIN).await,
            }
            if ports.arm(n).is_err() {
                return;
            }
        }
        let_others_run().await;
    }
}

/// One connection, to its end in both directions.
async fn relay(monitor: &Monitor, pipes: &Pipes, client: OwnedFd, port: &Port) -> sys::Result<()> {
    let reactor = &monitor.on.reactor;
    let Some(target) = target_now(monitor, port) else {
        return Ok(());
    };
    let client = reactor.watch(TcpStream::from(networks::nonblocking(client)?))?;
    let whose = networks::io("getpeername", client.io().peer_addr())?.ip();
    let until = Some(Instant::now() + PATIENCE);
    let begun = networks::dial(monitor, dialer::Kind::Connection, target, whose).await?;
    let connected = networks::connected(reactor, begun, target);
    let connected = reactor.within(until, connected).await;
    let server = connected.ok_or_else(|| sys::Error::new("connect", "", sys::Errno(libc::ETIMEDOUT)))??;
    for socket in [client.io(), server.io()] {
        // One whose other end has vanished would be kept for ever. And what comes in small pieces goes on in small pieces.
        sys::tcp::keep_alive(socket.as_fd())?;
        networks::io("setsockopt", socket.set_nodelay(true))?;
    }
    let (mut up, mut down) = (
        pin!(pump(pipes, &client, &server)),
        pin!(pump(pipes, &server, &client)),
    );
    match either(up.as_mut(), down.as_mut()).await {
        Either::Left(done) => {
            done?;
            down.await
        }
        Either::Right(done) => {
            done?;
            up.await
        }
    }
}

/// From one to the other, and then its end.
async fn pump(pipes: &Pipes, from: &Source<TcpStream>, to: &Source<TcpStream>) -> sys::Result<()> {
    loop {
        let pipe = pipes.take()?;
        let (rd, wr) = (pipe.0.as_fd(), pipe.1.as_fd());
        // The pipe is empty: it is the socket that has nothing.
        let mut left = match sys::fs::splice(from.fd(), wr, PIECE) {
            Ok(0) => {
                pipes.give(pipe);
                // It may have been closed from the other side meanwhile.
                let _ = to.io().shutdown(Shutdown::Write);
                return Ok(());
            }
            Ok(n) => n,
            Err(e) if e.is(libc::EAGAIN) => {
                pipes.give(pipe);
                from.readable().await?;
                continue;
            }
            Err(e) => return Err(e),
        };
        while left > 0 {
            match sys::fs::splice(rd, to.fd(), left) {
                Ok(n) => left -= n,
                Err(e) if e.is(libc::EAGAIN) => to.writable().await?,
                Err(e) => return Err(e),
            }
        }
        pipes.give(pipe);
        let_others_run().await;
    }
}

/// Empty pipes. One is taken for each piece that is on its way: most connections are silent most of the time.
#[derive(Debug, Default)]
struct Pipes(RefCell<Vec<Pipe>>);

impl Pipes {
    fn take(&self) -> sys::Result<Pipe> {
        let kept = self.0.borrow_mut().pop();
        kept.map_or_else(sys::fs::pipe, Ok)
    }

    fn give(&self, pipe: Pipe) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_PIPES {
            kept.push(pipe);
        }
    }
}

/// A sender of datagrams, at one of the ports, and which of the machine's addresses it has chosen: from there it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sender {
    port: usize,
    address: SocketAddr,
    asked: Option<Local>,
}

struct Session {
    /// Connected to the container.
    socket: Source<UdpSocket>,
    used: Cell<Instant>,
    /// Another needs its place.
    over: Once<()>,
}

struct Sessions {
    all: RefCell<BTreeMap<Sender, Rc<Session>>>,
    /// Then the one that has been silent for longest makes room.
    most: usize,
}

async fn serve_datagrams(monitor: Rc<Monitor>, ports: Rc<Ports>, most: usize) {
    let sessions = Rc::new(Sessions {
        all: RefCell::default(),
        most,
    });
    loop {
        let Ok(found) = ports.next().await else { return };
        for n in found {
            take_datagrams(&monitor, &ports, &sessions, n).await;
            if ports.arm(n).is_err() {
                return;
            }
        }
        let_others_run().await;
    }
}

async fn take_datagrams(monitor: &Rc<Monitor>, ports: &Rc<Ports>, sessions: &Rc<Sessions>, n: usize) {
    let Some((socket, port)) = ports.sockets.get(n) else {
        return;
    };
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..BURST {
        let Ok(come) = sys::udp::receive(socket.as_fd(), &mut buffer) else {
            return;
        };
        let sender = Sender {
            port: n,
            address: come.from,
            asked: come.to,
        };
        let known = sessions.all.borrow().get(&sender).cloned();
        let session = match known {
            Some(session) => session,
            None => {
                // It may be that it has no address at the moment.
                let Some(target) = target_now(monitor, port) else {
                    continue;
                };
                let begun = begin_session(monitor, ports, sessions, sender, target).await;
                let Ok(session) = begun else {
                    continue;
                };
                session
            }
        };
        session.used.set(Instant::now());
        // Datagrams are lost when there is no room for them, or nobody who takes them.
        let _ = session.socket.io().send(&buffer[..come.length]);
    }
}

async fn begin_session(
    monitor: &Rc<Monitor>,
    ports: &Rc<Ports>,
    sessions: &Rc<Sessions>,
    sender: Sender,
    target: SocketAddr,
) -> sys::Result<Rc<Session>> {
    let socket = networks::dial(monitor, dialer::Kind::Datagrams, target, sender.address.ip()).await?;
    let socket = UdpSocket::from(socket);
    let session = Rc::new(Session {
        socket: monitor.on.reactor.watch(socket)?,
        used: Cell::new(Instant::now()),
        over: Once::default(),
    });
    let mut all = sessions.all.borrow_mut();
    if all.len() >= sessions.most {
        let oldest = all
            .iter()
            .min_by_key(|(_, s)| s.used.get())
            .map(|(sender, _)| *sender);
        if let Some(old) = oldest.and_then(|oldest| all.remove(&oldest)) {
            old.over.set(());
        }
    }
    all.insert(sender, Rc::clone(&session));
    drop(all);
    let (of_task, ports, sessions, own) = (
        Rc::clone(monitor),
        Rc::clone(ports),
        Rc::clone(sessions),
        Rc::clone(&session),
    );
    monitor.served.spawn(monitor, async move {
        {
            let (answers, over) = (
                pin!(bring_back(&of_task, &ports, &own, sender)),
                pin!(own.over.wait()),
            );
            either(answers, over).await;
        }
        let mut all = sessions.all.borrow_mut();
        // Not when its sender has another one by now.
        if all.get(&sender).is_some_and(|session| Rc::ptr_eq(session, &own)) {
            all.remove(&sender);
        }
    });
    Ok(session)
}

/// What the container answers, until both have been silent for long.
async fn bring_back(monitor: &Monitor, ports: &Ports, session: &Session, sender: Sender) {
    let Some((host, _)) = ports.sockets.get(sender.port) else {
        return;
    };
    loop {
        let until = session.used.get() + IDLE;
        let come = monitor
            .on
            .reactor
            .within(Some(until), session.socket.readable())
            .await;
        match come {
            Some(Ok(())) => {}
            // It has sent meanwhile.
            None if session.used.get() + IDLE > Instant::now() => continue,
            None | Some(Err(_)) => return,
        }
        let mut buffer = vec![0; DATAGRAM];
        for _ in 0..BURST {
            // A container that refuses says so with an error, and may take the next one.
            let Ok(length) = session.socket.io().recv(&mut buffer) else {
                break;
            };
            session.used.set(Instant::now());
            let _ = sys::udp::send(host.as_fd(), &buffer[..length], sender.address, sender.asked);
        }
        drop(buffer);
        let_others_run().await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use network::attachment::{Address, Endpoint, Kind, Network, VERSION};

    fn endpoint(kind: Kind, internal: bool, addresses: &[&str]) -> Endpoint {
        let network = Network {
            id: String::new(),
            name: String::new(),
            kind,
            subnets: Vec::new(),
            mtu: 0,
            internal,
            icc: true,
            masquerade: true,
            routed: false,
        };
        let address = |a: &&str| Address {
            address: a.parse().unwrap(),
            prefix: 24,
        };
        Endpoint {
            network,
            id: String::new(),
            interface: String::new(),
            device: String::new(),
            mac: String::new(),
            addresses: addresses.iter().map(address).collect(),
            names: Vec::new(),
            links: Vec::new(),
            link_local: Vec::new(),
            reaches: Vec::new(),
            sysctls: Vec::new(),
        }
    }

    #[test]
    fn a_port_leads_to_the_first_bridge_that_leads_out() {
        let bridge = || Kind::Bridge { device: "b".into() };
        let macvlan = Kind::Macvlan {
            parent: "p".into(),
            mode: "bridge".into(),
        };
        let mut attachment = Attachment {
            version: VERSION,
            container: String::new(),
            container_name: String::new(),
            endpoints: vec![
                endpoint(bridge(), true, &["10.0.0.1"]),
                endpoint(macvlan, false, &["10.0.1.1"]),
                endpoint(bridge(), false, &["10.0.2.1", "fd00::1"]),
                endpoint(bridge(), false, &["10.0.3.1"]),
            ],
            ports: Vec::new(),
        };
        let leads = |attachment: &Attachment, host: &str| {
            let port = Port {
                protocol: Protocol::Tcp,
                host: host.parse().unwrap(),
                host_port: 8080,
                container_port: 80,
            };
            target(attachment, &port).map(|to| to.to_string())
        };
        assert_eq!(leads(&attachment, "0.0.0.0").as_deref(), Some("10.0.2.1:80"));
        assert_eq!(leads(&attachment, "::").as_deref(), Some("[fd00::1]:80"));
        attachment.endpoints.remove(2);
        assert_eq!(leads(&attachment, "::1").as_deref(), Some("10.0.3.1:80"));
        attachment.endpoints.truncate(2);
        assert_eq!(leads(&attachment, "0.0.0.0"), None);
    }
}
