//! A played machine: a network namespace and a mount namespace of a thread, with a neighbour on a wire, and containers.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use network::attachment::{Address, Attachment, Endpoint, Kind, Network, Port, Protocol, VERSION};
use network::link::{self, Links, Pair};
use network::{Machine, Result, Space};

/// A packet that is dropped does not come. Long enough that one that was slow would have come.
const SILENCE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(10);

pub const US: &str = "192.0.2.1";
pub const NEIGHBOUR: &str = "192.0.2.2";
pub const US_6: &str = "2001:db8::1";

static NUMBER: AtomicU32 = AtomicU32::new(1);

fn number() -> u32 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The machine, of the thread that plays it.
pub struct Host {
    pub run: PathBuf,
    pub machine: Machine,
    /// Another machine on the same wire, which takes us for its router.
    pub neighbour: Space,
}

/// Plays `scene` in a machine of its own. Nothing of it is left.
pub fn on_a_machine(scene: impl FnOnce(&Host) + Send) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if !status.lines().any(|l| l.starts_with("Uid:\t0\t0")) {
        println!("skipped: needs root");
        return;
    }
    let run = std::env::temp_dir().join(format!("network-{}-{}", std::process::id(), number()));
    fs::create_dir_all(&run).unwrap();
    let played = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::process::unshare((libc::CLONE_NEWNS | libc::CLONE_NEWNET) as u64).unwrap();
            let private = libc::MS_REC | libc::MS_PRIVATE;
            sys::mount::mount(c"", c"/", c"", private, c"").unwrap();
            scene(&Host::new(&run));
        });
        thread.join()
    });
    fs::remove_dir_all(&run).unwrap();
    if let Err(panic) = played {
        std::panic::resume_unwind(panic);
    }
}

pub fn address(text: &str) -> Address {
    let (address, prefix) = text.split_once('/').unwrap();
    Address {
        address: address.parse().unwrap(),
        prefix: prefix.parse().unwrap(),
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Host {
    fn new(run: &Path) -> Host {
        // What a machine that was never told otherwise has; a namespace inherits it from the machine that we are really on.
        write("/proc/sys/net/ipv4/ip_forward", "0");
        for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
            // Only there with br_netfilter.
            let _ = fs::write(format!("/proc/sys/net/bridge/{setting}"), "0");
        }
        let links = Links::open().unwrap();
        let neighbour = Space::make(&run.join("neighbour")).unwrap();
        let wire = Pair {
            name: "wire",
            bridge: 0,
            peer: "wire",
            space: neighbour.fd(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 0,
        };
        let first = [
            wire.request(),
            link::no_own_address("wire"),
            link::up("wire"),
            link::up("lo"),
        ];
        links.make(first.to_vec()).unwrap();
        let index = |links: &Links| links.find("wire").unwrap().unwrap().index;
        let ours = index(&links);
        let mut steps = vec![link::address(ours, "wire", address(&format!("{US}/24")))];
        steps.push(link::address(ours, "wire", address(&format!("{US_6}/64"))));
        steps.push(link::address(ours, "wire", address("fe80::1/64")));
        links.make(steps).unwrap();
        neighbour
            .inside(|| {
                let links = Links::open()?;
                let theirs = index(&links);
                links.make(vec![
                    link::no_own_address("wire"),
                    link::up("wire"),
                    link::address(theirs, "wire", address("fe80::2/64")),
                    link::address(theirs, "wire", address(&format!("{NEIGHBOUR}/24"))),
                    link::address(theirs, "wire", address("2001:db8::2/64")),
                    link::default_route(theirs, false, Some(ip(US))),
                    link::default_route(theirs, true, Some(ip(US_6))),
                ])
            })
            .unwrap();
        sys::net::carriers(&["wire"]).unwrap();
        Host {
            run: run.to_owned(),
            machine: Machine::of(run),
            neighbour,
        }
    }

    /// As the engine does it.
    pub fn start(&self, attachment: Attachment) -> Container {
        self.start_in(&self.run, &self.machine, attachment)
    }

    /// The same in another store.
    pub fn start_in(&self, run: &Path, machine: &Machine, attachment: Attachment) -> Container {
        let place = run.join("containers").join(&attachment.container);
        fs::create_dir_all(&place).unwrap();
        let space = Space::make(&place.join("netns")).unwrap();
        let container = Container {
            record: place.join("network.json"),
            attachment,
            space,
        };
        container.write_down();
        machine.attach(&container.space, &container.attachment).unwrap();
        container
    }

    /// As the monitor does it.
    pub fn stop(&self, container: Container) {
        self.machine.detach(&container.attachment).unwrap();
        fs::remove_file(&container.record).unwrap();
        let netns = container.record.with_file_name("netns");
        let netns = std::ffi::CString::new(netns.into_os_string().into_encoded_bytes()).unwrap();
        sys::mount::umount(&netns, libc::MNT_DETACH).unwrap();
    }
}

/// One that runs.
pub struct Container {
    pub attachment: Attachment,
    pub space: Space,
    record: PathBuf,
}

impl Container {
    pub fn write_down(&self) {
        fs::write(&self.record, serde_json::to_vec(&self.attachment).unwrap()).unwrap();
    }
}

/// Of a bridge, with these gateways.
pub fn network(device: &str, subnets: &[&str]) -> Network {
    Network {
        id: format!("{:064x}", u64::from(number()) << 32 | 0x1234_5678),
        name: device.to_string(),
        kind: Kind::Bridge {
            device: device.to_string(),
        },
        subnets: subnets.iter().map(|s| address(s)).collect(),
        mtu: 0,
        internal: false,
        icc: true,
        masquerade: true,
        routed: false,
    }
}

/// A container with these addresses in a network, and nothing published.
pub fn in_network(network: &Network, addresses: &[&str]) -> Attachment {
    let id = format!("{:064x}", number());
    Attachment {
        version: VERSION,
        container: id.clone(),
        container_name: "c".to_string(),
        endpoints: vec![endpoint(network, "eth0", addresses)],
        ports: Vec::new(),
    }
}

pub fn endpoint(network: &Network, interface: &str, addresses: &[&str]) -> Endpoint {
    let n = number();
    Endpoint {
        network: network.clone(),
        id: format!("{n:064x}"),
        interface: interface.to_string(),
        device: format!("veth{n:07x}"),
        mac: format!("02:42:00:00:{:02x}:{:02x}", n >> 8 & 255, n & 255),
        addresses: addresses.iter().map(|a| address(a)).collect(),
        names: Vec::new(),
        links: Vec::new(),
        link_local: Vec::new(),
        reaches: Vec::new(),
        sysctls: Vec::new(),
    }
}

pub fn port(protocol: Protocol, host: &str, host_port: u16, container_port: u16) -> Port {
    Port {
        protocol,
        host: ip(host),
        host_port,
        container_port,
    }
}

/// Somewhere that packets are sent from.
#[derive(Clone, Copy)]
pub enum From<'a> {
    Us,
    In(&'a Space),
}

impl From<'_> {
    fn run<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        match self {
            From::Us => work(),
            From::In(space) => space.inside(work),
        }
    }
}

/// A server in a container.
pub struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
}

impl Server {
    pub fn new(space: &Space, port: u16) -> Server {
        let any = ("::", port);
        space
            .inside(|| {
                Ok(Server {
                    tcp: TcpListener::bind(any)?,
                    udp: UdpSocket::bind(any)?,
                })
            })
            .unwrap()
    }

    /// Whom the server sees, when somebody connects to `to` and is answered.
    pub fn sees(&self, from: From<'_>, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let mut client = match from.run(|| Ok(TcpStream::connect_timeout(&to, SILENCE)?)) {
            Ok(client) => client,
            Err(_) => return None,
        };
        let (mut connection, peer) = self.tcp.accept().unwrap();
        for end in [&client, &connection] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut answer = [0; 5];
        client.write_all(b"hello").unwrap();
        connection.read_exact(&mut answer).unwrap();
        connection.write_all(&answer).unwrap();
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        Some(peer.ip().to_canonical())
    }

    /// The same over UDP.
    pub fn sees_datagram(&self, from: From<'_>, to: &str) -> Option<IpAddr> {
        let to: SocketAddr = to.parse().unwrap();
        let any: IpAddr = if to.is_ipv4() { ip("0.0.0.0") } else { ip("::") };
        let client = from
            .run(|| {
                let client = UdpSocket::bind((any, 0))?;
                client.connect(to)?;
                Ok(client)
            })
            .unwrap();
        self.hears(&client)
    }

    /// Whom the server sees when something is sent over this socket.
    pub fn hears(&self, client: &UdpSocket) -> Option<IpAddr> {
        client.send(b"hello").ok()?;
        self.udp.set_read_timeout(Some(SILENCE)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = [0; 5];
        let (_, peer) = self.udp.recv_from(&mut answer).ok()?;
        self.udp.send_to(&answer, peer).unwrap();
        client.recv(&mut answer).unwrap();
        assert_eq!(&answer, b"hello");
        Some(peer.ip().to_canonical())
    }
}

pub fn write(file: &str, value: &str) {
    fs::write(file, value).unwrap();
}

pub fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap().trim().to_string()
}

/// A program of the machine that we are on; none where it is not installed.
pub fn program(name: &str, arguments: &[&str]) -> Option<String> {
    match std::process::Command::new(name).args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name} {arguments:?}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: no {name}");
            None
        }
        Err(e) => panic!("{name}: {e}"),
    }
}
