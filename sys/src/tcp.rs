//! TCP connections in the making, and how written data reaches the disk early.
//!
//! May not: resolve names or wait.

use crate::errno::{Error, Result, check};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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

/// sync_file_range(2) with SYNC_FILE_RANGE_WRITE: begins to write that part of the file out and does not wait, so that a later
/// fsync finds little left to do. A hint: file systems without it (ESPIPE, EINVAL, ENOSYS) lose nothing but time.
pub fn begin_writeback(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<()> {
    let (offset, length) = (offset as i64, length as i64);
    // SAFETY: no pointers.
    let r = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    check(r.into(), "sync_file_range", || "")
        .map(drop)
        .or_else(ignore_unsupported)
}

fn ignore_unsupported(e: Error) -> Result<()> {
    if [libc::ESPIPE, libc::EINVAL, libc::ENOSYS, libc::EPERM]
        .iter()
        .any(|n| e.is(*n))
    {
        return Ok(());
    }
    Err(e)
}
