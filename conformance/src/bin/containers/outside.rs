//! The rest of the world: a second host at the other end of a cable, with a name server and a server that tells who asked.
//!
//! May not: be anything that the played host's own firewall or sysctls reach. Its servers are threads of this program, which entered the
//! second host's network namespace; they end with the program.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conformance::command::{self, USUAL};
use conformance::kernel;

/// The played host, the second one, and one that lies behind the second one.
pub const HOST: &str = "192.0.2.1";
pub const HOST_6: &str = "[2001:db8::1]";
pub const SECOND: &str = "192.0.2.2";
pub const SECOND_6: &str = "[2001:db8::2]";
pub const FAR: &str = "198.51.100.1";
/// The played host's end of the cable.
pub const CABLE: &str = "wan0";

/// What the name server knows.
pub const KNOWN: &str = "known.example.test";
pub const KNOWN_ADDRESS: &str = "203.0.113.7";
/// More addresses than fit into a datagram.
pub const MANY: &str = "many.example.test";
pub const MANY_COUNT: u8 = 60;

/// Where the second host is entered.
const NAMESPACE: &str = "/run/netns/second";

const SCRIPT: &str = "set -e
ip netns add second
ip link add wan0 type veth peer name wan1
ip link set wan1 netns second
ip address add 192.0.2.1/24 dev wan0
ip address add 2001:db8::1/64 dev wan0 nodad
ip link set wan0 up
ip -n second link set lo up
ip -n second address add 192.0.2.2/24 dev wan1
ip -n second address add 2001:db8::2/64 dev wan1 nodad
ip -n second address add 198.51.100.1/32 dev lo
ip -n second link set wan1 up
ip route add default via 192.0.2.2
ip -6 route add default via 2001:db8::2
printf 'nameserver 192.0.2.2\\n' >/etc/resolv.conf
";

pub struct Outside {
    namespace: OwnedFd,
    /// The names that the name server was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

/// Where a question comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The played host.
    Host,
    Second,
}

impl Outside {
    pub fn make() -> Result<Outside, String> {
        let mut script = Command::new("sh");
        command::run(script.args(["-c", SCRIPT]), "", USUAL)?
            .ok()
            .map_err(|e| format!("the second host: {e}"))?;
        let file = std::fs::File::open(NAMESPACE).map_err(|e| format!("{NAMESPACE}: {e}"))?;
        let outside = Outside {
            namespace: file.into(),
            asked: Arc::default(),
        };
        outside.serve()?;
        Ok(outside)
    }

    /// Does something as the second host does it.
    pub fn there<T: Send>(&self, act: impl FnOnce() -> Result<T, String> + Send) -> Result<T, String> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                kernel::enter_namespace(&self.namespace).map_err(|e| format!("{NAMESPACE}: {e}"))?;
                act()
            });
            thread.join().unwrap_or(Err("the thread died".into()))
        })
    }

    pub fn from<T: Send>(
        &self,
        from: From,
        act: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        match from {
            From::Host => act(),
            From::Second => self.there(act),
        }
    }

    /// Runs a program of the second host.
    pub fn run(&self, line: &str) -> Result<String, String> {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net={NAMESPACE}")).args(["sh", "-c", line]);
        command::run(&mut nsenter, "", USUAL)?
            .ok()
            .map_err(|e| format!("{line}: {e}"))
    }

    /// The names that the name server was asked for since it was last asked this.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self) -> Result<(), String> {
        let told = |e: std::io::Error| format!("a server of the second host: {e}");
        let (names, tcp_names, greeter, echo) = self.there(|| {
            Ok((
                UdpSocket::bind("0.0.0.0:53").map_err(told)?,
                TcpListener::bind("0.0.0.0:53").map_err(told)?,
                TcpListener::bind("[::]:80").map_err(told)?,
                UdpSocket::bind("[::]:7").map_err(told)?,
            ))
        })?;
        let asked = Arc::clone(&self.asked);
        std::thread::spawn(move || answer_datagrams(&names, &asked));
        let asked = Arc::clone(&self.asked);
        std::thread::spawn(move || each_client(&tcp_names, |stream| answer_stream(stream, &asked)));
        std::thread::spawn(move || each_client(&greeter, greet));
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((_, peer)) = echo.recv_from(&mut buffer) {
                tell(echo.send_to(you_are(peer).as_bytes(), peer).map(|_| ()));
            }
        });
        Ok(())
    }
}

/// A server that serves other hosts must not end with one client.
fn each_client(listener: &TcpListener, act: impl Fn(&mut TcpStream) -> std::io::Result<()>) {
    for stream in listener.incoming() {
        tell(stream.and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            act(&mut stream)
        }));
    }
}

/// A client that went away is no news.
fn tell(done: std::io::Result<()>) {
    if let Err(e) = done
        && ![
            ErrorKind::BrokenPipe,
            ErrorKind::ConnectionReset,
            ErrorKind::UnexpectedEof,
            ErrorKind::WouldBlock,
        ]
        .contains(&e.kind())
    {
        eprintln!("containers: a server of the second host: {e}");
    }
}

fn you_are(peer: SocketAddr) -> String {
    format!("you are {}\n", peer.ip().to_canonical())
}

fn greet(stream: &mut TcpStream) -> std::io::Result<()> {
    let peer = stream.peer_addr()?;
    let mut buffer = [0; 4096];
    let _question = stream.read(&mut buffer)?;
    stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{}", you_are(peer)).as_bytes())
}

fn answer_datagrams(socket: &UdpSocket, asked: &Mutex<Vec<String>>) {
    let mut buffer = [0; 4096];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
        if let Some(answer) = resolve(&buffer[..length], 512, asked) {
            tell(socket.send_to(&answer, peer).map(|_| ()));
        }
    }
}

fn answer_stream(stream: &mut TcpStream, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut query)?;
    let Some(answer) = resolve(&query, usize::from(u16::MAX), asked) else {
        return Ok(());
    };
    let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&answer)
}

/// The answer to a query of one question; what does not fit is left out and said to be (TC).
fn resolve(query: &[u8], room: usize, asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    const A: u16 = 1;
    let (name, end) = question(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(name.clone());
    let addresses: Vec<[u8; 4]> = match name.as_str() {
        KNOWN => vec![[203, 0, 113, 7]],
        MANY => (1..=MANY_COUNT).map(|n| [203, 0, 113, n]).collect(),
        _ => Vec::new(),
    };
    let exists = !addresses.is_empty();
    let addresses = if kind == A { addresses } else { Vec::new() };
    let question = query.get(12..end + 4)?;
    let is_cut = 12 + question.len() + addresses.len() * 16 > room;
    let addresses = if is_cut { &[] } else { addresses.as_slice() };
    // A response; authoritative; cut; recursion as it was desired, and available; no such name.
    let first = 0x84 | (u8::from(is_cut) << 1) | (query[2] & 1);
    let second = 0x80 | if exists { 0 } else { 3 };
    let count = u16::try_from(addresses.len()).ok()?.to_be_bytes();
    let mut answer = vec![
        query[0], query[1], first, second, 0, 1, count[0], count[1], 0, 0, 0, 0,
    ];
    answer.extend(question);
    for address in addresses {
        // The name of the question, A, IN, 60 seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address);
    }
    Some(answer)
}

/// The name that is asked for, and where it ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        if length == 0 {
            return Some((labels.join("."), at + 1));
        }
        let label = query.get(at + 1..at + 1 + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + length;
    }
}

const PROMPT: Duration = Duration::from_secs(3);
/// So long nothing is heard of a server that cannot be reached.
const SILENCE: Duration = Duration::from_millis(400);

/// What a server of the web says of this path.
pub fn fetch(address: &str, path: &str) -> Result<String, String> {
    fetch_within(address, path, PROMPT)
}

fn fetch_within(address: &str, path: &str, patience: Duration) -> Result<String, String> {
    let told = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect_timeout(&socket(address)?, patience).map_err(told)?;
    stream.set_read_timeout(Some(patience)).map_err(told)?;
    stream
        .write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes())
        .map_err(told)?;
    let mut answer = Vec::new();
    let ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match ended {
        Err(e) if answer.is_empty() => Err(told(e)),
        _ if answer.is_empty() => Err(format!("{address}: the connection ended without an answer")),
        _ => Ok(answer),
    }
}

/// Whether nobody answers there, be it said or not.
pub fn is_deaf(address: &str) -> bool {
    fetch_within(address, "/", SILENCE).is_err()
}

/// What a server answers to one datagram; asked again, because datagrams get lost while a server starts.
pub fn datagram(address: &str) -> Result<String, String> {
    let target = socket(address)?;
    let told = |e: std::io::Error| format!("{address}/udp: {e}");
    let any = if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any).map_err(told)?;
    // Connected: an answer from another address than the one that was asked is none.
    socket.connect(target).map_err(told)?;
    converse(&socket, address)
}

/// One question on a socket that is connected.
pub fn converse(socket: &UdpSocket, address: &str) -> Result<String, String> {
    let told = |e: std::io::Error| format!("{address}/udp: {e}");
    socket.set_read_timeout(Some(SILENCE)).map_err(told)?;
    let mut buffer = [0; 2048];
    let sent = socket.send(b"hello\n");
    let length = sent.and_then(|_| socket.recv(&mut buffer)).map_err(told)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

fn socket(address: &str) -> Result<SocketAddr, String> {
    address
        .to_socket_addrs()
        .map_err(|e| format!("{address}: {e}"))?
        .next()
        .ok_or(format!("{address}: no address"))
}

/// Whether a text is an address, and of which kind.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
}
