//! What a monitor does for networks, against the real kernel: names, published ports that no rule leads to the container, and the end.
//! Each test plays a machine in a network and a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

mod world;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use monitor::client::Started;
use monitor::launch::{self, Handed};
use monitor::protocol::Request;
use monitor::state::Status;
use network::attachment::{Address, Attachment, Endpoint, Kind, Network, Port, Protocol, VERSION};
use network::link::{self, Links};
use network::nft::{Family, Rules, Table, Transaction};
use network::{Machine, Space, names, ports};

use world::{SOON, World, world};

/// What should not come would have come by then.
const SILENCE: Duration = Duration::from_millis(300);

/// Plays `scene` in a machine of its own.
fn on_a_machine(scene: impl FnOnce() + Send) {
    let played = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if sys::process::effective_ids().0 != 0 {
                println!("skip: it needs root");
                return;
            }
            sys::process::unshare((libc::CLONE_NEWNS | libc::CLONE_NEWNET) as u64).unwrap();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            sys::mount::mount(c"", c"/", c"", private, c"").unwrap();
            Links::open().unwrap().make(vec![link::up("lo")]).unwrap();
            scene();
        });
        thread.join()
    });
    if let Err(panic) = played {
        std::panic::resume_unwind(panic);
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn address(text: &str) -> Address {
    let (address, prefix) = text.split_once('/').unwrap();
    Address {
        address: ip(address),
        prefix: prefix.parse().unwrap(),
    }
}

/// A bridge with a gateway of each of these prefixes.
fn bridge(digit: char, name: &str, subnets: &[&str]) -> Network {
    Network {
        id: std::iter::repeat_n(digit, 64).collect(),
        name: name.into(),
        kind: Kind::Bridge {
            device: format!("br-{name}"),
        },
        subnets: subnets.iter().map(|s| address(s)).collect(),
        mtu: 0,
        internal: false,
        icc: true,
        masquerade: true,
        routed: false,
    }
}

fn endpoint(network: &Network, n: usize, addresses: &[&str], names: &[&str]) -> Endpoint {
    Endpoint {
        network: network.clone(),
        id: format!("{n:064x}"),
        interface: format!("eth{n}"),
        device: format!("veth{n:07x}"),
        mac: format!("02:42:00:00:00:{n:02x}"),
        addresses: addresses.iter().map(|a| address(a)).collect(),
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        links: Vec::new(),
        link_local: Vec::new(),
        reaches: Vec::new(),
        sysctls: Vec::new(),
    }
}

fn attachment(container: &str, name: &str, endpoints: Vec<Endpoint>) -> Attachment {
    Attachment {
        version: VERSION,
        container: container.into(),
        container_name: name.into(),
        endpoints,
        ports: Vec::new(),
    }
}

/// Another container, of which only the names are there.
fn neighbour(world: &World, digit: char, name: &str, endpoint: Endpoint) -> Attachment {
    let id: String = std::iter::repeat_n(digit, 64).collect();
    let attachment = attachment(&id, name, vec![endpoint]);
    names::publish(world.run(), &attachment).unwrap();
    attachment
}

/// A container that is about to start with this of networks, as brig makes it.
fn prepare(world: &mut World, attachment: &Attachment, resolves: bool) -> Space {
    let space = Space::make(&world.place.netns()).unwrap();
    world.give_netns();
    std::fs::write(world.place.network(), serde_json::to_vec(attachment).unwrap()).unwrap();
    names::publish(world.run(), attachment).unwrap();
    Machine::of(world.run()).attach(&space, attachment).unwrap();
    let mut handed = Vec::new();
    for (n, port) in attachment.ports.iter().enumerate() {
        let wanted = ports::Wanted {
            protocol: port.protocol,
            container_port: port.container_port,
            addresses: vec![port.host],
            is_default: false,
            range: Some((port.host_port, port.host_port)),
        };
        for reserved in ports::reserve(&[wanted], &|_| None).unwrap() {
            world.handed.push(reserved.socket.unwrap());
            handed.push(Handed::Port(n));
        }
    }
    if resolves {
        let sockets = network::resolver::open(&space).unwrap();
        world.handed.extend([sockets.udp, sockets.tcp]);
        handed.extend([Handed::ResolverUdp, Handed::ResolverTcp]);
    }
    world.launch.network = Some(launch::Network {
        attachment: attachment.clone(),
        handed,
        nameservers: Vec::new(),
    });
    space
}

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;

fn question(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![(id >> 8) as u8, id as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend([0, kind as u8, 0, 1]);
    message
}

/// What a message says: its code, and addresses and names in the order of their records.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    code: u8,
    truncated: bool,
    records: Vec<String>,
}

fn said(code: u8, records: &[&str]) -> Said {
    Said {
        code,
        truncated: false,
        records: records.iter().map(|r| (*r).to_owned()).collect(),
    }
}

fn understand(id: u16, message: &[u8]) -> Said {
    assert_eq!(message[..2], id.to_be_bytes(), "{message:?}");
    assert_ne!(message[2] & 0x80, 0, "{message:?}");
    let count = message[7];
    let mut at = 12;
    while message[at] != 0 {
        at += 1 + usize::from(message[at]);
    }
    at += 5;
    let mut records = Vec::new();
    for _ in 0..count {
        let kind = message[at + 3];
        let length = usize::from(message[at + 11]);
        let data = &message[at + 12..at + 12 + length];
        records.push(match u16::from(kind) {
            A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            AAAA => IpAddr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            _ => {
                let (mut name, mut data) = (String::new(), data);
                while data[0] != 0 {
                    let (label, rest) = data[1..].split_at(usize::from(data[0]));
                    name += &format!("{}.", std::str::from_utf8(label).unwrap());
                    data = rest;
                }
                name
            }
        });
        at += 12 + length;
    }
    Said {
        code: message[3] & 15,
        truncated: message[2] & 2 != 0,
        records,
    }
}

/// Asks from within the container.
fn ask(space: &Space, name: &str, kind: u16) -> Said {
    let message = space.inside(|| Ok(exchange(&question(7, name, kind)))).unwrap();
    understand(7, &message)
}

fn exchange(message: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Connected: an answer from another address, or port, than was asked is none.
    socket.connect("127.0.0.11:53").unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.send(message).unwrap();
    let mut buffer = vec![0; 65536];
    let n = socket.recv(&mut buffer).unwrap();
    buffer.truncate(n);
    buffer
}

fn ask_over_tcp(socket: &mut TcpStream, id: u16, name: &str, kind: u16) -> Said {
    let message = question(id, name, kind);
    let whole = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
    socket.write_all(&whole).unwrap();
    understand(id, &read_framed(socket).unwrap())
}

fn read_framed(socket: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    socket.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    socket.read_exact(&mut message)?;
    Ok(message)
}

fn tcp_to_resolver(space: &Space) -> TcpStream {
    let socket = space
        .inside(|| Ok(TcpStream::connect("127.0.0.11:53").unwrap()))
        .unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A name server of the played machine. `answer` makes what is sent back of what came: several messages, or none.
struct Nameserver {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// Where it is, if not here.
    inside: Option<Space>,
}

impl Nameserver {
    /// At an address of the loopback device.
    fn new(
        address: &str,
        answer: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Nameserver {
        let address = SocketAddr::new(ip(address), 53);
        let tcp = TcpListener::bind(address).unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let (asked, over, answer) = (
            Arc::<AtomicUsize>::default(),
            Arc::<AtomicBool>::default(),
            Arc::new(answer),
        );
        let of_udp = (Arc::clone(&asked), Arc::clone(&over), Arc::clone(&answer));
        let udp = std::thread::spawn(move || {
            let (asked, over, answer) = of_udp;
            let mut buffer = [0; 4096];
            loop {
                let (n, from) = udp.recv_from(&mut buffer).unwrap();
                if over.load(Ordering::SeqCst) {
                    return;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                for message in answer(&buffer[..n], false) {
                    udp.send_to(&message, from).unwrap();
                }
            }
        });
        let of_tcp = (Arc::clone(&asked), Arc::clone(&over), Arc::clone(&answer));
        let tcp = std::thread::spawn(move || {
            let (asked, over, answer) = of_tcp;
            loop {
                let (mut socket, _) = tcp.accept().unwrap();
                if over.load(Ordering::SeqCst) {
                    return;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                let Ok(message) = read_framed(&mut socket) else {
                    continue;
                };
                for message in answer(&message, true) {
                    let whole = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
                    let _ = socket.write_all(&whole);
                }
            }
        });
        Nameserver {
            address,
            asked,
            over,
            threads: vec![udp, tcp],
            inside: None,
        }
    }

    /// That of the played machine.
    fn the_machine_s(answer: impl Fn(&[u8], bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Nameserver {
        let server = Nameserver::new("127.0.0.1", answer);
        the_machine_asks(&[server.address.ip()]);
        server
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Nameserver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let ring = || {
            let bell = UdpSocket::bind("127.0.0.1:0")?;
            bell.send_to(b"", self.address)?;
            drop(TcpStream::connect(self.address)?);
            Ok(())
        };
        match &self.inside {
            Some(space) => space.inside(ring).unwrap(),
            None => ring().unwrap(),
        }
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Its resolv.conf.
fn the_machine_asks(servers: &[IpAddr]) {
    let lines: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
    // In a mount namespace of our own; the file system goes with it.
    sys::mount::mount(c"tmpfs", c"/mnt", c"tmpfs", 0, c"").unwrap();
    std::fs::write("/mnt/resolv.conf", lines).unwrap();
    sys::mount::mount(c"/mnt/resolv.conf", c"/etc/resolv.conf", c"", libc::MS_BIND, c"").unwrap();
}

/// An answer with one address.
fn answered(question: &[u8], last: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 1);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, last]);
    answer
}

fn refused(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    (answer[2], answer[3]) = (0x81, 0x80 | code);
    answer
}

/// A container that only waits.
fn waiting() -> Option<World> {
    world("sleep 1000")
}

fn kill(world: &World) {
    let signal = libc::SIGKILL;
    world.ask(Request::Kill { signal }).unwrap();
}

#[test]
fn names_of_its_networks_are_answered() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let server = Nameserver::the_machine_s(|question, _| vec![refused(question, 3)]);
        let (mine, other) = (
            bridge('a', "mine", &["172.30.0.1/24", "fd00:30::1/64"]),
            bridge('b', "Other", &["172.31.0.1/24"]),
        );
        let id = world.place.id.clone();
        let mut first = endpoint(
            &mine,
            0,
            &["172.30.0.2/24", "fd00:30::2/64"],
            &["tested", "alias"],
        );
        first.links = vec![("store".into(), "5".repeat(64))];
        let second = endpoint(&other, 1, &["172.31.0.2/24"], &["tested"]);
        let own = attachment(&id, "tested", vec![first, second]);
        let db = neighbour(
            &world,
            '5',
            "db",
            endpoint(&mine, 5, &["172.30.0.5/24", "fd00:30::5/64"], &["db", "app"]),
        );
        neighbour(
            &world,
            '6',
            "web",
            endpoint(&mine, 6, &["172.30.0.6/24"], &["web", "app"]),
        );
        neighbour(
            &world,
            '7',
            "db7",
            endpoint(&other, 7, &["172.31.0.7/24"], &["db", "far"]),
        );
        // Whom a link means goes before whom it is a name of.
        neighbour(
            &world,
            '8',
            "store",
            endpoint(&mine, 8, &["172.30.0.8/24"], &["store"]),
        );
        let space = prepare(&mut world, &own, true);
        world.start();

        let ask = |name, kind| ask(&space, name, kind);
        assert_eq!(ask("web", A), said(0, &["172.30.0.6"]));
        assert_eq!(ask("WEB", A), said(0, &["172.30.0.6"]));
        assert_eq!(ask("tested", A), said(0, &["172.30.0.2"]));
        assert_eq!(
            ask("db", A),
            said(0, &["172.30.0.5"]),
            "the first network that knows it"
        );
        assert_eq!(ask("db", AAAA), said(0, &["fd00:30::5"]));
        assert_eq!(ask("web", AAAA), said(0, &[]), "it is there, and has none");
        assert_eq!(ask("web", TXT), said(0, &[]));
        assert_eq!(ask("far", A), said(0, &["172.31.0.7"]));
        assert_eq!(ask("db.mine", A), said(0, &["172.30.0.5"]));
        assert_eq!(ask("db.other", A), said(0, &["172.31.0.7"]));
        assert_eq!(ask("store", A), said(0, &["172.30.0.5"]));
        assert_eq!(ask("555555555555", A), said(0, &["172.30.0.5"]));
        assert_eq!(ask("6.0.30.172.in-addr.arpa", PTR), said(0, &["web.mine."]));
        assert_eq!(ask("7.0.31.172.in-addr.arpa", PTR), said(0, &["db7.Other."]));
        assert_eq!(
            ask("9.0.30.172.in-addr.arpa", PTR),
            said(3, &[]),
            "nobody, and ours to know"
        );
        assert_eq!(server.asked(), 0);
        assert_eq!(ask("nobody", A), said(3, &[]));
        assert_eq!(ask("1.2.0.192.in-addr.arpa", PTR), said(3, &[]));
        assert_eq!(server.asked(), 2);

        // Both of the same name, each first now and then.
        let firsts: Vec<String> = (0..4).map(|_| ask("app", A).records.swap_remove(0)).collect();
        assert!(
            firsts.contains(&"172.30.0.5".into()) && firsts.contains(&"172.30.0.6".into()),
            "{firsts:?}"
        );

        names::withdraw(world.run(), &db).unwrap();
        assert_eq!(ask("app", A), said(0, &["172.30.0.6"]));
        kill(&world);
        world.until_status(Status::Exited);
        assert_eq!(world.notes(), "");
    });
}

#[test]
fn other_names_are_asked_of_name_servers() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let ids = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ids);
        let broken = Nameserver::new("127.0.0.2", |question, _| vec![refused(question, 2)]);
        let server = Nameserver::the_machine_s(move |question, over_tcp| {
            seen.lock().unwrap().push([question[0], question[1]]);
            let name = &question[13..];
            if name.starts_with(b"long") && !over_tcp {
                let mut cut = question.to_vec();
                (cut[2], cut[3]) = (0x83, 0x80);
                return vec![cut];
            }
            if name.starts_with(b"guess") {
                let mut another_id = answered(question, 66);
                another_id[0] ^= 1;
                let mut another_name = answered(question, 66);
                another_name[13] = b'x';
                return vec![another_id, another_name, b"short".to_vec(), answered(question, 1)];
            }
            vec![answered(question, 1)]
        });
        let mine = bridge('a', "mine", &["172.30.0.1/24"]);
        let own = attachment(
            &world.place.id.clone(),
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        let nobody = ip("127.0.0.9");
        the_machine_asks(&[nobody, broken.address.ip(), server.address.ip()]);
        let space = prepare(&mut world, &own, true);
        let started = world.start();
        let _ = started;

        let yes = said(0, &["192.0.2.1"]);
        assert_eq!(ask(&space, "example.com", A), yes);
        assert_eq!(broken.asked(), 1, "the next is asked, when one has failed");
        assert_eq!(ask(&space, "guess.example", A), yes);
        let cut = ask(&space, "long.example", A);
        assert!(cut.truncated && cut.records.is_empty(), "{cut:?}");
        let mut socket = tcp_to_resolver(&space);
        assert_eq!(ask_over_tcp(&mut socket, 300, "long.example", A), yes);
        assert_eq!(
            ask_over_tcp(&mut socket, 301, "tested", A),
            said(0, &["172.30.0.2"])
        );
        assert_eq!(ask_over_tcp(&mut socket, 302, "example.com", A), yes);
        for _ in 0..8 {
            assert_eq!(ask(&space, "example.com", A), yes);
        }
        let ids = ids.lock().unwrap();
        let own = ids.iter().filter(|id| **id == [0, 7]).count();
        assert!(own < 3 && ids[0] != ids[1], "ids are to be guessed: {ids:?}");
    });
}

#[test]
fn nothing_leaves_when_all_networks_are_internal() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let server = Nameserver::the_machine_s(|question, _| vec![answered(question, 1)]);
        let mut mine = bridge('a', "mine", &["172.30.0.1/24"]);
        mine.internal = true;
        let id = world.place.id.clone();
        let own = attachment(
            &id,
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        let space = prepare(&mut world, &own, true);
        world.start();
        assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
        assert_eq!(ask(&space, "example.com", A), said(2, &[]));
        assert_eq!(server.asked(), 0);

        // It is connected to one that leads out.
        let other = bridge('b', "other", &["172.31.0.1/24"]);
        let mut both = own.clone();
        both.endpoints
            .push(endpoint(&other, 1, &["172.31.0.2/24"], &["late"]));
        names::publish(world.run(), &both).unwrap();
        let change = |attachment: &Attachment| {
            let attachment = Box::new(attachment.clone());
            world
                .ask(Request::Network {
                    attachment,
                    handed: Vec::new(),
                })
                .unwrap();
        };
        change(&both);
        assert_eq!(ask(&space, "example.com", A), said(0, &["192.0.2.1"]));
        assert_eq!(ask(&space, "late", A), said(0, &["172.31.0.2"]));
        let launch = launch::Launch::read(&world.place.launch()).unwrap();
        assert_eq!(launch.network.unwrap().attachment, both);
        change(&own);
        assert_eq!(ask(&space, "late", A), said(2, &[]));
    });
}

#[test]
fn servers_of_its_own_are_asked_from_within() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let outside = Nameserver::the_machine_s(|question, _| vec![answered(question, 66)]);
        let mut mine = bridge('a', "mine", &["172.30.0.1/24"]);
        mine.internal = true;
        let id = world.place.id.clone();
        let own = attachment(
            &id,
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        let space = prepare(&mut world, &own, true);
        let answer = |question: &[u8], _| vec![answered(question, 1)];
        let mut server = space.inside(|| Ok(Nameserver::new("127.0.0.1", answer))).unwrap();
        server.inside = Some(Space::open(&world.place.netns()).unwrap());
        world.launch.network.as_mut().unwrap().nameservers = vec![server.address];
        world.start();
        let yes = said(0, &["192.0.2.1"]);
        assert_eq!(ask(&space, "example.com", A), yes);
        assert_eq!(
            ask_over_tcp(&mut tcp_to_resolver(&space), 9, "example.com", A),
            yes
        );
        assert_eq!((server.asked(), outside.asked()), (2, 0));
        // The monitor is where it was.
        kill(&world);
        world.until_status(Status::Exited);
        assert_eq!(world.notes(), "");
        drop(server);
        assert_undone(&world, &own, space);
    });
}

#[test]
fn a_container_cannot_fill_or_stop_its_monitor_with_questions() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let _server = Nameserver::the_machine_s(|question, _| match question[13..].starts_with(b"mute") {
            true => Vec::new(),
            false => vec![answered(question, 1)],
        });
        let mine = bridge('a', "mine", &["172.30.0.1/24"]);
        let id = world.place.id.clone();
        let own = attachment(
            &id,
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        let space = prepare(&mut world, &own, true);
        let started = world.start();
        let memory = || memory_of(started.monitor);
        assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
        let before = memory();

        // More questions than may wait, connections that say nothing, and noise.
        let asker = space
            .inside(|| Ok(UdpSocket::bind("0.0.0.0:0").unwrap()))
            .unwrap();
        let silent: Vec<TcpStream> = (0..20).map(|_| tcp_to_resolver(&space)).collect();
        let mut refused_now = 0;
        asker.set_read_timeout(Some(SILENCE)).unwrap();
        for n in 0..1000u16 {
            asker
                .send_to(&question(n, &format!("mute{n}"), A), "127.0.0.11:53")
                .unwrap();
            asker
                .send_to(&vec![n as u8; usize::from(n)], "127.0.0.11:53")
                .unwrap();
            if n % 16 == 0 {
                assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
                world.ask(Request::Processes).unwrap();
            }
        }
        let mut buffer = [0; 2048];
        while let Ok(n) = asker.recv(&mut buffer) {
            refused_now += usize::from(n > 3 && buffer[3] & 15 == 5);
        }
        // Most are lost where they wait for us to read them.
        assert!(refused_now > 20, "{refused_now} were refused");
        assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
        let grown = memory().saturating_sub(before);
        assert!(grown < 512, "the monitor has grown by {grown} KiB");
        drop(silent);
        // Who is silent goes, who waited for an answer was told; then there is room again.
        world.deadline("there is room", |_| {
            ask(&space, "example.com", A) == said(0, &["192.0.2.1"])
        });
        assert_eq!(world.notes(), "");
    });
}

/// What a process has for itself, in KiB.
fn memory_of(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    // Not its program: whose pages count for whom depends on who else runs it.
    let own = text
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .unwrap();
    own.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A port of the played machine.
fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> Port {
    Port {
        protocol,
        host: ip(host),
        host_port,
        container_port,
    }
}

/// One with IPv4 only, that is reached over `[::1]` through its monitor.
fn published(world: &mut World, protocols: &[Protocol]) -> (Attachment, Space) {
    let mine = bridge('a', "mine", &["172.30.0.1/24"]);
    let id = world.place.id.clone();
    let mut own = attachment(&id, "tested", vec![endpoint(&mine, 0, &["172.30.0.2/24"], &[])]);
    for protocol in protocols {
        own.ports.push(port(*protocol, "0.0.0.0", 8080, 80));
        own.ports.push(port(*protocol, "::", 8080, 80));
    }
    let space = prepare(world, &own, false);
    (own, space)
}

/// Somebody in the container who listens.
fn listener(space: &Space) -> TcpListener {
    space
        .inside(|| Ok(TcpListener::bind("0.0.0.0:80").unwrap()))
        .unwrap()
}

fn connect(to: &str) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.set_write_timeout(Some(SOON)).unwrap();
    socket
}

/// The kernel's port of the other side's process.
fn flush_rules(run: &std::path::Path) {
    let rules = Rules::open().unwrap();
    let mut changes = Transaction::default();
    let tables = rules.tables(Family::Inet).unwrap();
    assert!(!tables.is_empty(), "{}", run.display());
    for name in tables {
        changes.no_table(&Table {
            family: Family::Inet,
            name,
        });
    }
    rules.commit(changes).unwrap();
}

#[test]
fn connections_are_brought_to_the_container() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let (_, space) = published(&mut world, &[Protocol::Tcp]);
        world.start();
        let server = listener(&space);
        let mut client = connect("[::1]:8080");
        let (mut inside, _) = server.accept().unwrap();
        inside.set_read_timeout(Some(SOON)).unwrap();

        // More than all buffers hold, both ways at once; each end is told in its own time.
        let much: Vec<u8> = (0..8u32 << 20).map(|n| (n * 7 / 3) as u8).collect();
        std::thread::scope(|scope| {
            let mut far = inside.try_clone().unwrap();
            let (much, mut near) = (&much, client.try_clone().unwrap());
            scope.spawn(move || {
                far.write_all(much).unwrap();
                far.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut got = Vec::new();
                near.read_to_end(&mut got).unwrap();
                assert!(got == *much);
                near.write_all(b"the other way is still open").unwrap();
                near.shutdown(Shutdown::Write).unwrap();
            });
            let mut got = Vec::new();
            inside.read_to_end(&mut got).unwrap();
            assert_eq!(got, b"the other way is still open");
        });
        let mut rest = Vec::new();
        assert_eq!(client.read_to_end(&mut rest).unwrap(), 0);

        // Rules that somebody has flushed.
        flush_rules(world.run());
        let mut client = connect("127.0.0.1:8080");
        let (mut inside, _) = server.accept().unwrap();
        client.write_all(b"ping").unwrap();
        let mut got = [0; 4];
        inside.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"ping");
        kill(&world);
        // It has ended, and so has what went through its monitor.
        assert_eq!(client.read(&mut got).unwrap_or(0), 0);
        world.until_status(Status::Exited);
        assert_eq!(world.notes(), "");
    });
}

#[test]
fn many_connections_go_side_by_side_and_leave_nothing() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let (_, space) = published(&mut world, &[Protocol::Tcp]);
        let started = world.start();
        let open = || {
            std::fs::read_dir(format!("/proc/{}/fd", started.monitor))
                .unwrap()
                .count()
        };
        let before = open();
        let server = listener(&space);
        const MANY: usize = 100;
        let mut clients: Vec<TcpStream> = (0..MANY).map(|_| connect("[::1]:8080")).collect();
        let mut inside: Vec<TcpStream> = (0..MANY).map(|_| server.accept().unwrap().0).collect();
        // Everybody speaks before anybody is answered.
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(&[n as u8; 3]).unwrap();
        }
        for socket in &mut inside {
            let mut got = [0; 3];
            socket.read_exact(&mut got).unwrap();
            socket.write_all(&got).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let mut got = [0; 3];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, [n as u8; 3]);
        }
        // Half of the clients vanish, half of the servers do.
        let (gone, stay) = clients.split_at_mut(MANY / 2);
        for client in gone {
            client.shutdown(Shutdown::Both).unwrap();
        }
        let others = inside.split_off(MANY / 2);
        for mut socket in inside {
            let mut got = [0; 1];
            assert_eq!(socket.read(&mut got).unwrap(), 0);
        }
        drop(others);
        for client in stay {
            let mut got = [0; 1];
            assert_eq!(client.read(&mut got).unwrap(), 0);
        }
        drop(clients);
        // A few pipes are kept.
        world.deadline("everything is closed", |_| open() <= before + 8);
    });
}

/// For what does not happen.
fn wait() {
    let silent = UdpSocket::bind("[::1]:0").unwrap();
    silent.set_read_timeout(Some(SILENCE)).unwrap();
    silent.recv(&mut [0]).unwrap_err();
}

#[test]
fn a_container_that_refuses_costs_nothing() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        published(&mut world, &[Protocol::Tcp, Protocol::Udp]);
        let started = world.start();
        for _ in 0..50 {
            let mut got = [0; 1];
            assert_eq!(connect("[::1]:8080").read(&mut got).unwrap_or(0), 0);
        }
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        for _ in 0..50 {
            udp.send_to(b"nobody", "[::1]:8080").unwrap();
        }
        // It is asleep: its time does not go on.
        let time = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.monitor)).unwrap();
            let fields: Vec<&str> = stat
                .rsplit_once(')')
                .unwrap()
                .1
                .split_ascii_whitespace()
                .collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        world.deadline("it is quiet", |_| {
            let before = time();
            wait();
            time() == before
        });
        assert_eq!(world.notes(), "");
    });
}

#[test]
fn datagrams_are_brought_there_and_back() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let (_, space) = published(&mut world, &[Protocol::Udp]);
        world.start();
        let server = space
            .inside(|| Ok(UdpSocket::bind("0.0.0.0:80").unwrap()))
            .unwrap();
        server.set_read_timeout(Some(SOON)).unwrap();
        let links = Links::open().unwrap();
        let lo = links.find("lo").unwrap().unwrap().index;
        let second = address("2001:db8::5/128");
        links.make(vec![link::address(lo, "lo", second)]).unwrap();
        // Each client is answered, from the address that it has asked.
        let asked = ["[::1]:8080", "[::1]:8080", "[2001:db8::5]:8080"];
        let clients: Vec<UdpSocket> = asked
            .iter()
            .map(|_| UdpSocket::bind("[::1]:0").unwrap())
            .collect();
        let long = vec![7; 60_000];
        for (client, to) in clients.iter().zip(asked) {
            client.set_read_timeout(Some(SOON)).unwrap();
            client.connect(to).unwrap();
            for message in [&b"ping"[..], &long, b""] {
                client.send(message).unwrap();
                let mut buffer = vec![0; 65536];
                let (n, from) = server.recv_from(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], message);
                server.send_to(&buffer[..n], from).unwrap();
                let n = client.recv(&mut buffer).unwrap();
                assert_eq!(&buffer[..n], message);
            }
        }
    });
}

#[test]
fn everything_is_undone_before_it_has_ended() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        world.launch.auto_remove = true;
        let (own, space) = published(&mut world, &[Protocol::Tcp]);
        assert!(world.place.network().exists());
        let Started { monitor, .. } = world.start();
        TcpListener::bind("0.0.0.0:8080").unwrap_err();
        kill(&world);
        world.monitor_ends(monitor);
        assert_undone(&world, &own, space);
        assert!(!world.place.run.exists());
    });
}

#[test]
fn a_client_that_does_not_read_keeps_no_port() {
    on_a_machine(|| {
        let Some(mut world) = world("yes") else { return };
        world.launch.log.driver = "none".into();
        let (own, space) = published(&mut world, &[Protocol::Tcp]);
        let started = world.try_start(Some(world::everything())).unwrap();
        // As much as there is room for.
        let written = || {
            let io = std::fs::read_to_string(format!("/proc/{}/io", started.pid)).unwrap();
            let line = io.lines().find(|line| line.starts_with("wchar"));
            line.unwrap().to_owned()
        };
        world.deadline("it is held back", |_| {
            let before = written();
            wait();
            written() == before
        });
        kill(&world);
        world.until_status(Status::Exited);
        assert_undone(&world, &own, space);
        let ended = sys::process::wait_pid(started.monitor, sys::process::Block::No).unwrap();
        assert!(ended.is_none(), "it still has what its client does not read");
        drop(started.streams);
    });
}

/// Whoever is still in the namespace keeps the devices: that must be nobody but us.
fn assert_undone(world: &World, own: &Attachment, space: Space) {
    assert!(!world.place.network().exists());
    drop(space);
    let links = Links::open().unwrap();
    let device = &own.endpoints[0].device;
    world.deadline("its device is gone", |_| links.find(device).unwrap().is_none());
    for address in ["0.0.0.0:8080", "[::1]:8080"] {
        TcpListener::bind(address).unwrap();
    }
    let holders = names::look_up(world.run(), &own.endpoints[0].network.id, "tested").unwrap();
    assert_eq!(holders, []);
}

#[test]
fn a_start_that_fails_undoes_its_network() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        world.configure(&["no-such-program"]);
        let (own, space) = published(&mut world, &[Protocol::Tcp]);
        world.try_start(None).unwrap_err();
        assert_undone(&world, &own, space);
        assert_eq!(world.notes(), "");
    });
}

#[test]
fn a_restart_keeps_its_network() {
    on_a_machine(|| {
        let Some(mut world) = world("sleep 1000") else {
            return;
        };
        world.launch.restart.name = "always".into();
        let (own, space) = published(&mut world, &[Protocol::Tcp]);
        world.start();
        let first = world.state().init.unwrap().pid;
        sys::process::kill(first, libc::SIGKILL).unwrap();
        world.until("it runs again", |state| {
            state.status == Status::Running && state.init.as_ref().is_some_and(|init| init.pid != first)
        });
        assert!(world.place.network().exists());
        TcpListener::bind("0.0.0.0:8080").unwrap_err();
        let server = listener(&space);
        let _client = connect("[::1]:8080");
        server.accept().unwrap();
        drop(server);
        kill(&world);
        world.until_status(Status::Exited);
        assert_undone(&world, &own, space);
    });
}

#[test]
fn another_monitor_serves_names_and_ports_again() {
    on_a_machine(|| {
        let Some(mut world) = waiting() else { return };
        let _server = Nameserver::the_machine_s(|question, _| vec![answered(question, 1)]);
        let mine = bridge('a', "mine", &["172.30.0.1/24"]);
        let id = world.place.id.clone();
        let mut own = attachment(
            &id,
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        own.ports = vec![port(Protocol::Tcp, "::", 8080, 80)];
        let space = prepare(&mut world, &own, true);
        let started = world.start();
        assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
        sys::process::kill(started.monitor, libc::SIGKILL).unwrap();
        world.monitor_ends(started.monitor);
        // The mount goes with it; here, its namespace is also ours.
        let netns = world.place.netns();
        let netns = std::ffi::CString::new(netns.as_os_str().as_encoded_bytes()).unwrap();
        sys::mount::umount(&netns, libc::MNT_DETACH).unwrap();
        TcpListener::bind("[::1]:8080").unwrap();

        let adopted = world.adopt().unwrap();
        assert_eq!(ask(&space, "tested", A), said(0, &["172.30.0.2"]));
        assert_eq!(ask(&space, "example.com", A), said(0, &["192.0.2.1"]));
        let inside = listener(&space);
        let _client = connect("[::1]:8080");
        inside.accept().unwrap();
        kill(&world);
        world.monitor_ends(adopted.monitor);
        drop(inside);
        assert_undone(&world, &own, space);
    });
}

#[test]
fn the_container_inherits_no_socket() {
    on_a_machine(|| {
        let Some(mut world) = world("cd /proc/self/fd; for f in *; do echo $f; done; sleep 1000") else {
            return;
        };
        let (_, _space) = published(&mut world, &[Protocol::Tcp, Protocol::Udp]);
        let started = world.start();
        let open = std::fs::read_dir(format!("/proc/{}/fd", started.pid)).unwrap();
        let links = open.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap());
        let sockets: Vec<_> = links
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .collect();
        assert!(sockets.is_empty(), "{sockets:?}");
    });
}

/// For docs/decisions/0017: `cargo test -p monitor --test network -- --ignored --nocapture`.
#[test]
#[ignore = "it only measures"]
fn what_networks_cost_a_monitor() {
    on_a_machine(|| {
        let measure = |what: &str, monitor: i32| {
            let text = std::fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
            let lines = text
                .lines()
                .filter(|l| l.starts_with("Pss:") || l.starts_with("Anonymous"));
            println!("{what}: {}", lines.collect::<Vec<_>>().join(" "));
        };
        let Some(mut plain) = waiting() else { return };
        measure("no network", plain.start().monitor);
        let Some(mut world) = waiting() else { return };
        let _server = Nameserver::the_machine_s(|question, _| vec![answered(question, 1)]);
        let mine = bridge('a', "mine", &["172.30.0.1/24"]);
        let id = world.place.id.clone();
        let mut own = attachment(
            &id,
            "tested",
            vec![endpoint(&mine, 0, &["172.30.0.2/24"], &["tested"])],
        );
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            own.ports.push(port(protocol, "0.0.0.0", 8080, 80));
            own.ports.push(port(protocol, "::", 8080, 80));
        }
        let space = prepare(&mut world, &own, true);
        let monitor = world.start().monitor;
        measure("a resolver and four sockets", monitor);
        ask(&space, "tested", A);
        measure("one name answered", monitor);
        let took = space.inside(|| {
            let began = Instant::now();
            (0..1000).for_each(|_| drop(exchange(&question(7, "tested", A))));
            Ok(began.elapsed())
        });
        println!("a thousand answers: {:?}", took.unwrap());
        ask(&space, "example.com", A);
        measure("another forwarded", monitor);
        let inside = listener(&space);
        let client = connect("[::1]:8080");
        inside.accept().unwrap();
        drop(client);
        measure("a connection brought there", monitor);
    });
}
