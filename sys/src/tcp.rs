//! TCP connections in the making, and addresses of this machine that are bound for somebody.
//!
//! May not: resolve names or wait.

use crate::errno::{Result, check};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// setsockopt(2) of an int.
pub(crate) fn set(fd: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> Result<()> {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: pointer and size of a live int.
    let r = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    check(r as i64, "setsockopt", || format!("{level}/{option}")).map(drop)
}

/// SO_KEEPALIVE, first after a minute of silence: a peer that has vanished is noticed.
pub fn keep_alive(fd: BorrowedFd<'_>) -> Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60)
}

/// Begins a connection, close-on-exec and non-blocking. It is there once the socket is writable and SO_ERROR is zero.
///
/// std's `connect_timeout` keeps the descriptor to itself until it is over, so nobody else could end it.
pub fn connect_nonblocking(to: SocketAddr) -> Result<OwnedFd> {
    connect_socket(socket(to, libc::SOCK_STREAM, 0)?, to)
}

/// The same with a socket of this kind, in the name of somebody else: the other side sees `from`, which need not be an address of this
/// machine (IP_TRANSPARENT, which needs CAP_NET_ADMIN over the network namespace). Answers come to the socket only if routes bring them here.
pub fn connect_as(to: SocketAddr, kind: i32, from: IpAddr) -> Result<OwnedFd> {
    /// linux/in6.h.
    const IPV6_TRANSPARENT: i32 = 75;
    let socket = socket(to, kind, 0)?;
    match from {
        IpAddr::V4(_) => set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_TRANSPARENT, 1)?,
        IpAddr::V6(_) => set(socket.as_fd(), libc::IPPROTO_IPV6, IPV6_TRANSPARENT, 1)?,
    }
    if kind == libc::SOCK_STREAM {
        // The port is chosen when the other end is known, so that two connections may have the same.
        set(socket.as_fd(), libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    }
    bind_socket(&socket, SocketAddr::new(from, 0))?;
    connect_socket(socket, to)
}

/// The same with a socket of this kind and no name.
pub fn connect_of(to: SocketAddr, kind: i32) -> Result<OwnedFd> {
    connect_socket(socket(to, kind, 0)?, to)
}

fn connect_socket(socket: OwnedFd, to: SocketAddr) -> Result<OwnedFd> {
    // SAFETY: pointer and length are those of an address that outlives the call.
    let r = with_address(to, |address, length| unsafe {
        libc::connect(socket.as_raw_fd(), address, length)
    });
    match check(r as i64, "connect", || to.to_string()) {
        Ok(_) => Ok(socket),
        Err(e) if e.is(libc::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}

/// A socket of this kind (SOCK_STREAM, SOCK_DGRAM) and protocol (0: the usual one) that is bound, close-on-exec and non-blocking. One of
/// IPv6 is bound for IPv6 only.
///
/// std binds `[::]` for both families, so that `0.0.0.0` of the same port could not be bound beside it.
pub fn bind(to: SocketAddr, kind: i32, protocol: i32) -> Result<OwnedFd> {
    let socket = socket(to, kind, protocol)?;
    if to.is_ipv6() {
        set(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if kind == libc::SOCK_STREAM && protocol != libc::IPPROTO_SCTP {
        // Connections of an earlier owner that linger do not keep the port from us; one that listens does. Of SCTP nothing lingers, and
        // two that say this would share a port, as long as none of them listens.
        set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    bind_socket(&socket, to)?;
    Ok(socket)
}

fn bind_socket(socket: &OwnedFd, to: SocketAddr) -> Result<()> {
    // SAFETY: pointer and length are those of an address that outlives the call.
    let r = with_address(to, |address, length| unsafe {
        libc::bind(socket.as_raw_fd(), address, length)
    });
    check(r as i64, "bind", || to.to_string()).map(drop)
}

/// Lets connections come.
pub fn listen(socket: BorrowedFd<'_>, backlog: i32) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::listen(socket.as_raw_fd(), backlog) };
    check(r as i64, "listen", || "").map(drop)
}

fn socket(to: SocketAddr, kind: i32, protocol: i32) -> Result<OwnedFd> {
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(family, kind, protocol) };
    let raw = check(r as i64, "socket", || {
        if to.is_ipv4() { "AF_INET" } else { "AF_INET6" }
    })?;
    // SAFETY: fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

/// Calls with the kernel's form of an address.
fn with_address<T>(of: SocketAddr, call: impl FnOnce(*const libc::sockaddr, libc::socklen_t) -> T) -> T {
    match of {
        SocketAddr::V4(of) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: of.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(of.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            call(
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        }
        SocketAddr::V6(of) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: of.port().to_be(),
                sin6_flowinfo: of.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: of.ip().octets(),
                },
                sin6_scope_id: of.scope_id(),
            };
            call(
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        }
    }
}
