//! What the monitor does for the container's networks: keeps the sockets that brig has made for it, answers for names (`resolver`),
//! brings to the container what reaches its ports by no other way (`proxy`), and undoes everything when it has ended for good.
//!
//! May not: make a network, or decide what is in one: engine does, and says so.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::io::Result as IoResult;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monitor::events::{self, Event};
use monitor::ground::Files;
use monitor::launch::{self, Handed, Launch};
use monitor::place::Place;
use monitor::protocol::Kind;
use network::attachment::{Attachment, Port};
use network::ports::{self, Wanted};
use network::resolver::Sockets;
use network::{Machine, Space};
use shim::reactor::{Reactor, Source, either};
use shim::sync::{Count, Once};

use crate::dialer::{self, Dialer};
use crate::monitor::{Monitor, Refusal};
use crate::{proxy, resolver};

/// After a failure that may not be the last: no descriptors are left, for example.
pub const AGAIN: Duration = Duration::from_millis(200);

/// How long the kernel may take to undo it. Devices go in a few milliseconds.
const UNDO: Duration = Duration::from_secs(30);

/// How long a call that only makes sockets may take.
const MAKE: Duration = Duration::from_secs(10);

/// What is served, until the end.
#[derive(Debug, Default)]
pub struct Served {
    /// The container has ended for good.
    pub over: Once<()>,
    tasks: Rc<Count>,
    published: RefCell<Rc<Published>>,
    /// Questions for names are answered.
    pub resolves: Cell<bool>,
    /// How often addresses were told: each time in another order.
    pub turns: Cell<usize>,
    /// An ordinary user's network namespace that stands for the machine. Kept open: should its keeper be killed, it is found here.
    pub ground: OnceCell<OwnedFd>,
    /// Makes sockets in it.
    pub dialer: Dialer,
}

/// What serves the ports that are published now.
#[derive(Debug, Default)]
struct Published {
    over: Once<()>,
    tasks: Rc<Count>,
}

/// How much is served at a time. What a container or a stranger does must not take the descriptors by which a container is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections to published ports. Each has two descriptors, and four more while nobody reads from it.
    pub connections: usize,
    /// Senders of datagrams to them.
    pub sessions: usize,
    /// Questions that wait for a name server.
    pub questions: usize,
}

impl Bounds {
    /// Of who may have this many descriptors.
    fn of(descriptors: usize) -> Bounds {
        Bounds {
            connections: (descriptors / 8).clamp(8, 160),
            sessions: (descriptors / 16).clamp(8, 256),
            questions: (descriptors / 16).clamp(8, 128),
        }
    }

    /// Ours. The sockets that we were handed are there already.
    pub fn now(handed: usize) -> Bounds {
        let limit = sys::process::most_descriptors().unwrap_or(1024);
        Bounds::of(
            usize::try_from(limit)
                .unwrap_or(usize::MAX)
                .saturating_sub(handed),
        )
    }
}

impl Served {
    /// A task that ends with the container.
    pub fn spawn(&self, monitor: &Rc<Monitor>, task: impl Future<Output = ()> + 'static) {
        let (monitor, held) = (Rc::clone(monitor), self.tasks.hold());
        let reactor = monitor.on.reactor.clone();
        // In a room of its own: what is moved into a future and pinned there has room in it twice.
        let mut task = Box::pin(task);
        reactor.spawn(async move {
            either(task.as_mut(), pin!(monitor.served.over.wait())).await;
            // Its descriptors are closed: then it does not count any more.
            drop(task);
            drop(held);
        });
    }

    /// A task of the ports that are published now.
    pub fn spawn_of_ports(&self, monitor: &Rc<Monitor>, task: impl Future<Output = ()> + 'static) {
        let published = Rc::clone(&self.published.borrow());
        let held = published.tasks.hold();
        let mut task = Box::pin(task);
        self.spawn(monitor, async move {
            either(task.as_mut(), pin!(published.over.wait())).await;
            drop(task);
            drop(held);
        });
    }

    /// Nothing is published any more: afterwards somebody else can have the ports.
    async fn unpublish(&self) {
        let published = self.published.take();
        published.over.set(());
        published.tasks.zero().await;
    }
}

/// Begins with what brig has handed over. What cannot be served keeps the container from nothing.
pub fn begin(monitor: &Rc<Monitor>, handed: Vec<OwnedFd>) {
    let Some(network) = monitor.launch.borrow().network.clone() else {
        return;
    };
    let (mut ports, mut udp, mut tcp) = (Vec::new(), None, None);
    for (fd, what) in handed.into_iter().zip(&network.handed) {
        match what {
            Handed::Port(n) => ports.extend(network.attachment.ports.get(*n).map(|port| (fd, port.clone()))),
            Handed::ResolverUdp => udp = Some(fd),
            Handed::ResolverTcp => tcp = Some(fd),
            Handed::Ground => {
                // There is but one.
                let _ = monitor.served.ground.set(fd);
            }
        }
    }
    serve_ports(monitor, ports);
    if let (Some(udp), Some(tcp)) = (udp, tcp) {
        serve_names(monitor, Sockets { udp, tcp });
    }
}

fn serve_ports(monitor: &Rc<Monitor>, sockets: Vec<(OwnedFd, Port)>) {
    if let Err(e) = proxy::begin(monitor, sockets) {
        monitor.note(&format!("failed to serve the published ports: {e}"));
    }
}

fn serve_names(monitor: &Rc<Monitor>, sockets: Sockets) {
    if let Err(e) = resolver::begin(monitor, sockets.udp, sockets.tcp) {
        monitor.note(&format!("failed to serve names: {e}"));
    }
}

/// The container runs, and who has served it was killed: everything is made once more, as far as it can be. The rules are still there,
/// so a port that somebody else has by now leads to the container all the same.
pub async fn adopt(monitor: &Rc<Monitor>) {
    let Some(network) = monitor.launch.borrow().network.clone() else {
        return;
    };
    if network.handed.contains(&Handed::Ground) {
        match ground(&monitor.place) {
            Ok(ground) => drop(monitor.served.ground.set(ground)),
            Err(e) => monitor.note(&format!("failed to find the user's network namespace: {e}")),
        }
    }
    let mut ports = Vec::new();
    for port in &network.attachment.ports {
        match reserve(port) {
            Ok(socket) => ports.extend(socket.map(|socket| (socket, port.clone()))),
            Err(e) => monitor.note(&format!("failed to reserve a published port again: {e}")),
        }
    }
    serve_ports(monitor, ports);
    if has_names(&network.attachment) {
        open_resolver(monitor).await;
    }
}

/// The namespace that stands for the machine.
fn ground(place: &Place) -> sys::Result<OwnedFd> {
    let [_, run] = &place.roots;
    let files = Files::of(run);
    let gone = || {
        sys::Error::new(
            "open",
            files.net().display().to_string(),
            sys::Errno(libc::ENOENT),
        )
    };
    let record = files.find().ok_or_else(gone)?;
    sys::fs::open(&files.space(&record), libc::O_RDONLY, 0)
}

fn reserve(port: &Port) -> network::Result<Option<OwnedFd>> {
    let wanted = Wanted {
        protocol: port.protocol,
        container_port: port.container_port,
        addresses: vec![port.host],
        is_default: false,
        range: Some((port.host_port, port.host_port)),
    };
    let reserved = ports::reserve(&[wanted], &|_| None)?;
    Ok(reserved.into_iter().find_map(|reserved| reserved.socket))
}

/// It was connected or disconnected. `sockets`: of ports that were not reserved before, and which of them.
///
/// # Errors
/// What is to be remembered cannot be written.
pub async fn change(
    monitor: &Rc<Monitor>,
    attachment: Attachment,
    sockets: Vec<(OwnedFd, usize)>,
) -> Result<(), Refusal> {
    if monitor.served.over.is_set() {
        let message = format!("container {} is not running", monitor.place.id);
        return Err(Refusal::of(Kind::NotRunning, message));
    }
    let has_names = has_names(&attachment);
    if attachment.ports.is_empty() {
        monitor.served.unpublish().await;
    }
    let port = |n: usize| attachment.ports.get(n).cloned();
    let sockets = sockets.into_iter().filter_map(|(fd, n)| Some((fd, port(n)?)));
    let sockets: Vec<_> = sockets.collect();
    {
        let mut launch = monitor.launch.borrow_mut();
        match &mut launch.network {
            Some(network) => network.attachment = attachment,
            none => {
                *none = Some(launch::Network {
                    attachment,
                    handed: Vec::new(),
                    nameservers: Vec::new(),
                });
            }
        }
        launch.write(&monitor.place.launch())?;
    }
    serve_ports(monitor, sockets);
    if has_names && !monitor.served.resolves.get() {
        open_resolver(monitor).await;
    }
    Ok(())
}

/// Its networks are such that names are asked for in them.
fn has_names(attachment: &Attachment) -> bool {
    let mut endpoints = attachment.endpoints.iter();
    endpoints.any(|endpoint| !endpoint.names.is_empty())
}

/// Makes the sockets in the container's namespace. Done in a forked copy, which hands them back: who enters a namespace may not be let
/// out again (an ordinary user's monitor), and needs a thread for it.
async fn open_resolver(monitor: &Rc<Monitor>) {
    match sockets_inside(monitor).await {
        Ok(sockets) => serve_names(monitor, sockets),
        Err(e) => monitor.note(&format!("failed to serve names: {e}")),
    }
}

/// The container's network namespace. Its file is mounted where the container's first monitor is; who has adopted it asks the process.
fn namespace(monitor: &Monitor) -> PathBuf {
    let init = monitor.state.borrow().init.clone();
    match init {
        Some(init) if monitor.adopted => format!("/proc/{}/ns/net", init.pid).into(),
        _ => monitor.place.netns(),
    }
}

/// What `work` makes belongs to the container's network namespace. It must not wait. A monitor that may not come back (an ordinary
/// user's, into the machine's) makes it where it is.
///
/// # Errors
/// Of the work; or the namespace cannot be entered.
pub fn inside<T>(monitor: &Monitor, work: impl FnOnce() -> sys::Result<T>) -> sys::Result<T> {
    let network = libc::CLONE_NEWNET as u64;
    let own = sys::fs::open(Path::new("/proc/self/ns/net"), libc::O_RDONLY, 0)?;
    if sys::process::setns(own.as_fd(), network).is_err() {
        return work();
    }
    let other = sys::fs::open(&namespace(monitor), libc::O_RDONLY, 0)?;
    sys::process::setns(other.as_fd(), network)?;
    let done = work();
    if sys::process::setns(own.as_fd(), network).is_err() {
        // It has just worked. Whatever we did from now on, we would do in the container's place: rather be adopted.
        sys::process::exit_now(1);
    }
    done
}

async fn sockets_inside(monitor: &Rc<Monitor>) -> shim::error::Result<Sockets> {
    let namespace = namespace(monitor);
    let (ours, theirs) = sys::socket::seqpacket_pair()?;
    let make = || -> network::Result<()> {
        let sockets = network::resolver::open(&Space::open(&namespace)?)?;
        let fds = [sockets.udp.as_fd(), sockets.tcp.as_fd()];
        sys::socket::send(theirs.as_fd(), b"s", &fds)?;
        Ok(())
    };
    let limit = Some(Instant::now() + MAKE);
    let (on, work) = (&monitor.on, || make().map_err(|e| e.to_string()));
    on.children
        .fork_keeping(&on.reactor, limit, &[theirs.as_fd()], work)
        .await?;
    // It was sent before its sender has ended.
    let (_, sockets) = sys::socket::receive(ours.as_fd(), &mut [0])?;
    let Ok([udp, tcp]) = <[OwnedFd; 2]>::try_from(sockets) else {
        return Err(shim::error::Error::new("no sockets have come"));
    };
    Ok(Sockets { udp, tcp })
}

/// Everything is given back: sockets, and what the kernel has of it. Whoever starts it next finds the ports free.
///
/// # Errors
/// Why it is not undone. Its record is still there: whoever starts or removes the container tries again.
pub async fn end(monitor: &Rc<Monitor>) -> Result<(), String> {
    monitor.served.over.set(());
    monitor.served.tasks.zero().await;
    let Some(network) = monitor.launch.borrow_mut().network.take() else {
        return Ok(());
    };
    let (on, place) = (&monitor.on, &monitor.place);
    let limit = Some(Instant::now() + UNDO);
    let ground = monitor.served.ground.get();
    let kept: Vec<_> = ground.iter().map(|fd| fd.as_fd()).collect();
    let whose = || -> Result<Whose, String> {
        match (ground, stands_on_ground(&network)) {
            (Some(fd), _) => Ok(Whose::Ground(fd.try_clone().map_err(|e| e.to_string())?)),
            (None, true) => Ok(Whose::Gone),
            (None, false) => Ok(Whose::Machines),
        }
    };
    let undone = on
        .children
        .fork_keeping(&on.reactor, limit, &kept, || {
            undo(place, network.attachment.clone(), whose()?)
        })
        .await;
    undone.map_err(|e| e.to_string())
}

/// Whose network namespace the other end of a container's is in.
#[derive(Debug)]
pub enum Whose {
    Machines,
    Ground(OwnedFd),
    /// A ground that is not there any more.
    Gone,
}

fn stands_on_ground(network: &launch::Network) -> bool {
    network.handed.contains(&Handed::Ground)
}

/// The record is what counts: whoever was killed while he changed something has written down both, what was and what was to be.
///
/// # Errors
/// What could not be undone.
pub fn undo(place: &Place, told: Attachment, whose: Whose) -> Result<(), String> {
    let record = place.network();
    let written = std::fs::read(&record).ok();
    let written = written.and_then(|text| serde_json::from_slice(&text).ok());
    let [_, run] = &place.roots;
    let had = written.unwrap_or(told);
    let unmounted = unmount(&place.netns());
    let machine = match whose {
        Whose::Machines => Machine::of(run),
        Whose::Ground(fd) => Machine::of(run).on(Some(Space::from_file(fd))),
        Whose::Gone => Machine::of(run).on(None),
    };
    let undone = machine.detach(&had);
    undone.map_err(|e| format!("failed to undo the container's networks: {e}"))?;
    unmounted.map_err(|e| format!("failed to let go of the container's network namespace: {e}"))?;
    for event in Event::of_networks("disconnect", &had) {
        // An event that cannot be told undoes nothing.
        let _ = events::append(&place.events, &event);
    }
    match std::fs::remove_file(&record) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("failed to remove {}: {e}", record.display()))
        }
        _ => Ok(()),
    }
}

/// The namespace goes when nobody is in it any more, whoever has its file open; here its name does.
fn unmount(namespace: &Path) -> sys::Result<()> {
    let path = sys::fs::c_path(namespace)?;
    match sys::mount::umount(&path, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) {
        // It was mounted where another monitor was.
        Err(e) if e.is(libc::EINVAL) || e.is(libc::ENOENT) => Ok(()),
        done => done,
    }
}

/// The same where nothing has begun.
///
/// # Errors
/// As [`undo`].
pub fn undo_unbegun(place: &Place) -> Result<(), String> {
    match Launch::read(&place.launch())
        .ok()
        .and_then(|launch| launch.network)
    {
        Some(network) => {
            let whose = match stands_on_ground(&network) {
                true => ground(place).map_or(Whose::Gone, Whose::Ground),
                false => Whose::Machines,
            };
            undo(place, network.attachment, whose)
        }
        None => Ok(()),
    }
}

/// What std's calls come to, as ours.
pub fn io<T>(call: &'static str, done: IoResult<T>) -> sys::Result<T> {
    done.map_err(|e| sys::Error::io(call, "", &e))
}

/// The same descriptor, so that no call on it waits.
pub fn nonblocking(fd: OwnedFd) -> sys::Result<OwnedFd> {
    sys::fs::set_nonblocking(fd.as_fd(), true)?;
    Ok(fd)
}

/// A socket that is about to be connected with the container, in the name of a client if that can be.
///
/// # Errors
/// connect(2)'s.
pub async fn dial(
    monitor: &Monitor,
    kind: dialer::Kind,
    to: SocketAddr,
    client: IpAddr,
) -> sys::Result<OwnedFd> {
    let Some(ground) = monitor.served.ground.get() else {
        // The machine's rules lead clients to containers; what comes here is what they cannot lead.
        return match kind {
            dialer::Kind::Connection => sys::tcp::connect_nonblocking(to),
            dialer::Kind::Datagrams => sys::tcp::connect_of(to, libc::SOCK_DGRAM),
        };
    };
    let from = {
        let launch = monitor.launch.borrow();
        let network = launch.network.as_ref();
        network.and_then(|network| dialer::name_of(client, to, &network.attachment))
    };
    let on = (&monitor.on.reactor, &monitor.on.children);
    monitor
        .served
        .dialer
        .dial(on, ground.as_fd(), (kind, to, from))
        .await
}

/// A connection that was begun, once it is there. Whoever calls sets a limit.
///
/// # Errors
/// connect(2)'s.
pub async fn connected(reactor: &Reactor, begun: OwnedFd, to: SocketAddr) -> sys::Result<Source<TcpStream>> {
    let socket = reactor.watch(TcpStream::from(begun))?;
    socket.writable().await?;
    match io("getsockopt", socket.io().take_error())? {
        None => Ok(socket),
        Some(e) => Err(sys::Error::io("connect", to.to_string(), &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_leaves_descriptors_for_the_rest() {
        for descriptors in [256, 1024, 20_000, usize::MAX] {
            let bounds = Bounds::of(descriptors);
            let most = bounds.connections * 6 + bounds.sessions + bounds.questions;
            assert!(most < descriptors - descriptors / 10, "{descriptors}: {bounds:?}");
        }
        // Docker's own proxy has none, and a hundred at once are usual.
        assert!(Bounds::of(1024).connections >= 100);
        assert_eq!(Bounds::of(0).connections, 8);
    }
}
