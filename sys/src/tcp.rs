//! TCP connections in the making.
//!
//! May not: resolve names or wait.

use crate::errno::{Result, check};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    let family = if to.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(family, kind, 0) };
    let raw = check(r as i64, "socket", || "AF_INET")?;
    // SAFETY: fresh descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(raw as RawFd) };
    let r = match to {
        SocketAddr::V4(to) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(to.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            let length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` outlives the call, and the length is its own.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }
        }
        SocketAddr::V6(to) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: to.port().to_be(),
                sin6_flowinfo: to.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: to.ip().octets(),
                },
                sin6_scope_id: to.scope_id(),
            };
            let length = size_of_val(&address) as libc::socklen_t;
            // SAFETY: `address` outlives the call, and the length is its own.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }
        }
    };
    match check(r as i64, "connect", || to.to_string()) {
        Ok(_) => Ok(socket),
        Err(e) if e.is(libc::EINPROGRESS) => Ok(socket),
        Err(e) => Err(e),
    }
}
