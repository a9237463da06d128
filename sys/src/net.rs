//! Network interfaces, as far as a message would be more than it takes: bringing up the loopback device, and whether a device has a
//! carrier, now.
//!
//! May not: decide which device it is about.

use crate::errno::{Errno, Error, Result, check};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Waits until the kernel has taken notice of the carrier of these devices of the current network namespace, in this order; which have
/// one. A device that was up before its carrier came drops what it is given until a work queue gets to it; whoever asks
/// (ETHTOOL_GLINK) gets it done at once.
pub fn carriers(names: &[&str]) -> Result<Vec<bool>> {
    const SIOCETHTOOL: u64 = 0x8946;
    const ETHTOOL_GLINK: u32 = 10;
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    let socket = plain_socket()?;
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let mut value = Value {
            command: ETHTOOL_GLINK,
            data: 0,
        };
        // SAFETY: an all-zero ifreq is valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(Error::new("ioctl", *name, Errno(libc::ENAMETOOLONG)));
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: `request` and the value it points to outlive the call.
        let r = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        check(r as i64, "ioctl", || format!("ETHTOOL_GLINK {name}"))?;
        found.push(value.data != 0);
    }
    Ok(found)
}

fn plain_socket() -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let raw = check(r as i64, "socket", || "AF_INET")?;
    // SAFETY: fresh descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(raw as RawFd) })
}

/// Sets IFF_UP on `lo` of the current network namespace (netdevice(7)).
pub fn loopback_up() -> Result<()> {
    let socket = plain_socket()?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_LOOPBACK | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` outlives the call.
    let r = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    check(r as i64, "ioctl", || "SIOCSIFFLAGS lo").map(drop)
}
