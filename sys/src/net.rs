//! Network interfaces, as far as a runtime touches them: bringing up the loopback device, and a socket to the kernel's
//! tables.
//!
//! May not: know the messages of that socket.

use crate::errno::{Result, check};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A NETLINK_ROUTE socket (rtnetlink(7)) of the current network namespace, close-on-exec.
pub fn route_socket() -> Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    let raw = check(r as i64, "socket", || "AF_NETLINK")?;
    // SAFETY: fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

/// Sets IFF_UP on `lo` of the current network namespace (netdevice(7)).
pub fn loopback_up() -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let raw = check(r as i64, "socket", || "AF_INET")?;
    // SAFETY: fresh descriptor.
    let socket = unsafe { OwnedFd::from_raw_fd(raw as RawFd) };
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` outlives the call.
    let r = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    check(r as i64, "ioctl", || "SIOCSIFFLAGS lo").map(drop)
}
