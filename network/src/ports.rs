//! Ports of the machine that containers publish. Each is reserved by a bound socket, which the container's monitor keeps: no other
//! program gets the port, and whoever wants it is told at once. Packets do not go through it, but by a rule.
//!
//! May not: make rules, or know which container has which port.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use crate::attachment::{Port, Protocol};
use crate::error::{Error, Kind, Result};

/// What one port of a container is to be reached by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub protocol: Protocol,
    pub container_port: u16,
    /// All of them, at the same port.
    pub addresses: Vec<IpAddr>,
    /// Nobody has named the addresses: where the machine has no IPv6, those of it are left out.
    pub is_default: bool,
    /// The first of these that is free; `None`: any.
    pub range: Option<(u16, u16)>,
}

/// A port that is ours for as long as the socket is open.
#[derive(Debug)]
pub struct Reserved {
    pub port: Port,
    /// TCP: it listens. `None` where the kernel does not know the protocol.
    pub socket: Option<OwnedFd>,
}

/// How many connections may wait for a monitor that is busy.
const BACKLOG: i32 = 1024;

/// Reserves all of them, or none.
///
/// # Errors
/// One is taken, in Docker's words; `whose` may say who has it.
pub fn reserve(wanted: &[Wanted], whose: &dyn Fn(&Port) -> Option<String>) -> Result<Vec<Reserved>> {
    let mut all = Vec::new();
    // Where the last search ended: ports that are chosen for a range of the container's become neighbours.
    let mut random = None;
    for one in wanted {
        let reserved = reserve_one(one, &all, whose, &mut random)?;
        all.extend(reserved);
    }
    Ok(all)
}

fn reserve_one(
    wanted: &Wanted,
    ours: &[Reserved],
    whose: &dyn Fn(&Port) -> Option<String>,
    random: &mut Option<u16>,
) -> Result<Vec<Reserved>> {
    let (first, last) = wanted.range.unwrap_or_else(local_range);
    let count = u32::from(last.saturating_sub(first)) + 1;
    let start = match wanted.range {
        Some(_) => 0,
        None => random.map_or_else(|| seed() % count, |next| u32::from(next.saturating_sub(first))),
    };
    let mut refused = None;
    for n in 0..count {
        let number = u32::from(first) + (start + n) % count;
        let Ok(number) = u16::try_from(number) else {
            continue;
        };
        match at(wanted, number) {
            Ok(all) => {
                if wanted.range.is_none() {
                    *random = Some(number.wrapping_add(1));
                }
                return Ok(all);
            }
            Err((port, e)) if e.is(libc::EADDRINUSE) => refused = refused.or(Some(port)),
            Err((port, e)) => return Err(refusal(&port, e)),
        }
    }
    let Some(port) = refused else {
        return Err(Error::of(Kind::Invalid, "no port is asked for"));
    };
    if count > 1 {
        return Err(Error::of(
            Kind::Exhausted,
            format!(
                "Bind for {} failed: all ports are allocated ({first}-{last})",
                with_port(port.host, 0)
            ),
        ));
    }
    let owner = match whose(&port) {
        _ if ours.iter().any(|own| is_in_the_way(&own.port, &port)) => " (it is published twice)".to_owned(),
        Some(container) => format!(" ({container} has it)"),
        None => {
            let process = listener(&port).map_or_else(String::new, |who| format!(" by {who}"));
            format!(": address already in use{process}")
        }
    };
    Err(Error::of(
        Kind::Taken,
        format!(
            "Bind for {} failed: port is already allocated{owner}",
            with_port(port.host, port.host_port)
        ),
    ))
}

fn is_in_the_way(own: &Port, other: &Port) -> bool {
    let is_same = own.host == other.host || own.host.is_unspecified() || other.host.is_unspecified();
    own.protocol == other.protocol && own.host_port == other.host_port && is_same
}

/// All addresses at one port.
fn at(wanted: &Wanted, number: u16) -> std::result::Result<Vec<Reserved>, (Port, sys::Error)> {
    let mut all = Vec::new();
    for address in &wanted.addresses {
        let port = Port {
            protocol: wanted.protocol,
            host: *address,
            host_port: number,
            container_port: wanted.container_port,
        };
        match bind(&port) {
            Ok(socket) => all.push(Reserved { port, socket }),
            // The kernel has no IPv6, or it is switched off.
            Err(e)
                if wanted.is_default
                    && address.is_ipv6()
                    && (e.is(libc::EAFNOSUPPORT) || e.is(libc::EADDRNOTAVAIL)) => {}
            Err(e) => return Err((port, e)),
        }
    }
    Ok(all)
}

fn bind(port: &Port) -> std::result::Result<Option<OwnedFd>, sys::Error> {
    let to = SocketAddr::new(port.host, port.host_port);
    match port.protocol {
        Protocol::Tcp => {
            let socket = sys::tcp::bind(to, libc::SOCK_STREAM, 0)?;
            sys::tcp::listen(socket.as_fd(), BACKLOG)?;
            Ok(Some(socket))
        }
        Protocol::Udp => sys::tcp::bind(to, libc::SOCK_DGRAM, 0).map(Some),
        Protocol::Sctp => match sys::tcp::bind(to, libc::SOCK_STREAM, libc::IPPROTO_SCTP) {
            // The module is not there: no program of this machine can have the port.
            Err(e) if e.is(libc::EPROTONOSUPPORT) || e.is(libc::ESOCKTNOSUPPORT) => Ok(None),
            bound => bound.map(Some),
        },
    }
}

fn refusal(port: &Port, e: sys::Error) -> Error {
    let to = with_port(port.host, port.host_port);
    let why = match e.errno().0 {
        libc::EACCES => format!(
            "failed to bind host port {to}/{}: permission denied: ports below {} are root's (net.ipv4.ip_unprivileged_port_start)",
            name(port.protocol),
            number_in("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024),
        ),
        errno => format!(
            "failed to bind host port {to}/{}: {}",
            name(port.protocol),
            sys::Errno(errno)
        ),
    };
    Error::new(why)
}

fn with_port(address: IpAddr, port: u16) -> String {
    match (address, port) {
        (IpAddr::V4(a), 0) => a.to_string(),
        (IpAddr::V6(a), 0) => format!("[{a}]"),
        (address, port) => SocketAddr::new(address, port).to_string(),
    }
}

/// As in `80/tcp`.
pub fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

fn number_in(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Where the kernel, too, takes ports from that nobody has named.
fn local_range() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) if first <= last => (first, last),
        _ => (32768, 60999),
    }
}

/// Not the first of the range each time: a port that was given back is somebody's old bookmark.
fn seed() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |t| t.subsec_micros()) ^ std::process::id()
}

/// Which process has a port: `process 812 (nginx)`.
fn listener(port: &Port) -> Option<String> {
    let files: &[&str] = match port.protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
        Protocol::Sctp => return None,
    };
    let inode = files.iter().find_map(|file| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        text.lines().skip(1).find_map(|line| inode_of(line, port))
    })?;
    let wanted = format!("socket:[{inode}]");
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let pid = entry.file_name().into_string().unwrap_or_default();
        if !pid.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // Another user's, or gone by now.
        let Ok(fds) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let has = fds
            .flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str()));
        if has {
            let program = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("process {pid} ({})", program.trim()));
        }
    }
    Some("a process of another user".to_owned())
}

/// The socket of a line of /proc/net/tcp, if it is the one that is in the way: it listens, or has no connections at all.
fn inode_of(line: &str, port: &Port) -> Option<u64> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, *fields.get(3)?, fields.get(9)?);
    let (address, number) = local.split_once(':')?;
    if u16::from_str_radix(number, 16).ok()? != port.host_port {
        return None;
    }
    if port.protocol == Protocol::Tcp && state != "0A" {
        return None;
    }
    let address = address_of(address)?;
    let meets = address.is_unspecified() || port.host.is_unspecified() || address == port.host;
    // One that is bound to [::] has the port of IPv4 as well, as a rule.
    let same_family = address.is_ipv4() == port.host.is_ipv4() || address.is_unspecified();
    (meets && same_family).then(|| inode.parse().ok()).flatten()
}

/// Words of the machine's own byte order, in hexadecimal.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        u32::from_str_radix(hex.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: Vec<u8> = words.concat();
            <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::TcpListener;

    fn wanted(range: Option<(u16, u16)>, addresses: &[&str]) -> Wanted {
        Wanted {
            protocol: Protocol::Tcp,
            container_port: 80,
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            is_default: true,
            range,
        }
    }

    /// Loopback addresses of this test's own, so that nobody else of this machine is asked.
    #[test]
    fn a_port_is_ours_until_the_socket_is_closed() {
        let mine = |range| wanted(range, &["127.8.7.6"]);
        let nobody = |_: &Port| None;
        let all = reserve(&[mine(None), mine(None)], &nobody).unwrap();
        let (first, second) = (all[0].port.host_port, all[1].port.host_port);
        let (low, high) = local_range();
        assert!((low..=high).contains(&first) && (low..=high).contains(&second) && first != second);
        let taken = reserve(&[mine(Some((first, first)))], &nobody).unwrap_err();
        assert_eq!(taken.kind(), Kind::Taken);
        let us = std::process::id();
        let text = taken.to_string();
        assert!(
            text.starts_with(&format!(
                "Bind for 127.8.7.6:{first} failed: port is already allocated: address already in use by process {us} ("
            )),
            "{text}"
        );
        let named = reserve(&[mine(Some((first, first)))], &|port| {
            assert_eq!(port.host_port, first);
            Some("container web".to_owned())
        });
        assert!(
            named
                .unwrap_err()
                .to_string()
                .ends_with("allocated (container web has it)")
        );
        drop(all);
        let fixed = || mine(Some((first, first)));
        let twice = reserve(&[fixed(), fixed()], &nobody).unwrap_err().to_string();
        assert!(twice.ends_with("allocated (it is published twice)"), "{twice}");
        reserve(&[fixed()], &nobody).unwrap();
    }

    #[test]
    fn the_first_of_a_range() {
        let other = TcpListener::bind("127.8.7.5:0").unwrap();
        let number = other.local_addr().unwrap().port();
        let mine = |first, last| wanted(Some((first, last)), &["127.8.7.5"]);
        let next = number.checked_add(1).unwrap();
        let got = reserve(&[mine(number, next)], &|_| None).unwrap();
        assert_eq!(got[0].port.host_port, next);
        let none = reserve(&[mine(number, next)], &|_| None).unwrap_err();
        assert_eq!(none.kind(), Kind::Exhausted);
        assert!(
            none.to_string()
                .starts_with("Bind for 127.8.7.5 failed: all ports are allocated ("),
            "{none}"
        );
    }

    #[test]
    fn both_families_beside_each_other() {
        let all = reserve(&[wanted(None, &["127.8.7.4", "::1"])], &|_| None).unwrap();
        let is_there = TcpListener::bind("[::1]:0").is_ok();
        assert_eq!(all.len(), if is_there { 2 } else { 1 });
        assert!(all.iter().all(|r| r.port.host_port == all[0].port.host_port));
        let e = reserve(&[wanted(None, &["198.51.100.1"])], &|_| None).unwrap_err();
        assert!(
            e.to_string().contains("failed to bind host port 198.51.100.1:"),
            "{e}"
        );
    }

    #[test]
    fn lines_of_the_kernel() {
        let port = |host: &str| Port {
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
            host_port: 8001,
            container_port: 80,
        };
        let line = "   0: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0";
        if cfg!(target_endian = "little") {
            assert_eq!(inode_of(line, &port("127.0.0.1")), Some(4711));
        }
        assert_eq!(inode_of(line, &port("0.0.0.0")), Some(4711));
        assert_eq!(inode_of(line, &port("10.0.0.1")), None);
        assert_eq!(inode_of(&line.replace(" 0A ", " 01 "), &port("0.0.0.0")), None);
        let six = line.replace("0100007F", &"0".repeat(32));
        assert_eq!(inode_of(&six, &port("0.0.0.0")), Some(4711));
    }
}
