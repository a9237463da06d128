//! Datagrams with both of their addresses: a socket of all addresses of a machine has to answer from the one that was asked.
//!
//! May not: wait.

use crate::errno::{Errno, Error, Result, check_restart};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

/// An address of this machine, as a datagram has come to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Local {
    /// The address.
    pub address: IpAddr,
    /// The device; it counts with addresses of a link only.
    pub device: u32,
}

/// One that has come.
#[derive(Clone, Copy, Debug)]
pub struct Come {
    /// How many bytes of the buffer.
    pub length: usize,
    /// Who has sent it.
    pub from: SocketAddr,
    /// What it was sent to; `None` unless [`tell_local`] was called.
    pub to: Option<Local>,
}

/// Room for one control message with an in6_pktinfo, aligned as cmsg(3) wants it.
#[repr(align(8))]
struct Control([u8; 64]);

/// IP_PKTINFO and IPV6_RECVPKTINFO: from now on datagrams come with the address they were sent to.
pub fn tell_local(fd: BorrowedFd<'_>, v6: bool) -> Result<()> {
    let (level, option) = match v6 {
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    crate::tcp::set(fd, level, option, 1)
}

/// recvmsg(2), never waiting.
///
/// # Errors
/// EAGAIN when there is none.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Come> {
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = Control([0; 64]);
    // SAFETY: all-zero values of these are valid.
    let (mut msg, mut name): (libc::msghdr, libc::sockaddr_storage) = unsafe { std::mem::zeroed() };
    msg.msg_name = (&raw mut name).cast();
    msg.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = control.0.len() as _;
    let n = check_restart(
        // SAFETY: every pointer in `msg` is to a live local.
        || unsafe {
            libc::recvmsg(
                fd.as_raw_fd(),
                &mut msg,
                libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
            )
        } as i64,
        "recvmsg",
        || "",
    )?;
    let from = address(&name).ok_or_else(|| Error::new("recvmsg", "", Errno(libc::EAFNOSUPPORT)))?;
    Ok(Come {
        length: n as usize,
        from,
        to: local(&msg),
    })
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what it is, and the storage is larger.
            let a = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(a.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(a.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says what it is, and the storage is larger.
            let a = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(a.sin6_port), 0, a.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn local(msg: &libc::msghdr) -> Option<Local> {
    // SAFETY: the kernel wrote well-formed control messages; CMSG_NXTHDR stays inside of them, and the level and the type say what the
    // data are.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(msg);
        while !c.is_null() {
            let data = libc::CMSG_DATA(c);
            match ((*c).cmsg_level, (*c).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Local {
                        address: Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes()).into(),
                        device: info.ipi_ifindex as u32,
                    });
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Local {
                        address: Ipv6Addr::from(info.ipi6_addr.s6_addr).into(),
                        device: info.ipi6_ifindex as u32,
                    });
                }
                _ => c = libc::CMSG_NXTHDR(msg, c),
            }
        }
    }
    None
}

/// sendmsg(2), never waiting. `from`: which of the machine's addresses sends it; else the kernel chooses.
///
/// # Errors
/// EAGAIN when there is no room.
pub fn send(fd: BorrowedFd<'_>, data: &[u8], to: SocketAddr, from: Option<Local>) -> Result<usize> {
    let mut iov = libc::iovec {
        iov_base: data.as_ptr() as *mut libc::c_void,
        iov_len: data.len(),
    };
    let mut control = Control([0; 64]);
    // SAFETY: all-zero values of these are valid.
    let (mut msg, mut v4, mut v6): (libc::msghdr, libc::sockaddr_in, libc::sockaddr_in6) =
        unsafe { std::mem::zeroed() };
    match to {
        SocketAddr::V4(to) => {
            v4.sin_family = libc::AF_INET as libc::sa_family_t;
            v4.sin_port = to.port().to_be();
            v4.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
            msg.msg_name = (&raw mut v4).cast();
            msg.msg_namelen = size_of_val(&v4) as libc::socklen_t;
        }
        SocketAddr::V6(to) => {
            v6.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            v6.sin6_port = to.port().to_be();
            v6.sin6_addr.s6_addr = to.ip().octets();
            v6.sin6_scope_id = to.scope_id();
            msg.msg_name = (&raw mut v6).cast();
            msg.msg_namelen = size_of_val(&v6) as libc::socklen_t;
        }
    }
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    match from.map(|from| (from.address, from.device)) {
        None => {}
        Some((IpAddr::V4(address), _)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(&mut msg, &mut control, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some((IpAddr::V6(address), device)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: match address.is_unicast_link_local() {
                    true => device as _,
                    false => 0,
                },
            };
            put(
                &mut msg,
                &mut control,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                info,
            );
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    check_restart(
        // SAFETY: every pointer in `msg` is to a live local.
        || unsafe { libc::sendmsg(fd.as_raw_fd(), &msg, flags) } as i64,
        "sendmsg",
        || to.to_string(),
    )
    .map(|n| n as usize)
}

/// Writes the one control message.
fn put<T: Copy>(msg: &mut libc::msghdr, control: &mut Control, level: i32, kind: i32, data: T) {
    let bytes = size_of::<T>() as u32;
    // SAFETY: `control` is aligned and larger than CMSG_SPACE of an in6_pktinfo, the larger one; it lives as long as `msg` in `send`.
    unsafe {
        msg.msg_control = control.0.as_mut_ptr().cast();
        msg.msg_controllen = libc::CMSG_SPACE(bytes) as _;
        let c = libc::CMSG_FIRSTHDR(msg);
        (*c).cmsg_level = level;
        (*c).cmsg_type = kind;
        (*c).cmsg_len = libc::CMSG_LEN(bytes) as _;
        libc::CMSG_DATA(c).cast::<T>().write_unaligned(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn an_answer_comes_from_the_address_that_was_asked() {
        // A loopback device has all of 127.0.0.0/8.
        for (any, asked) in [("0.0.0.0:0", "127.0.0.5"), ("[::]:0", "::1")] {
            let (server, client) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
            let asked: IpAddr = asked.parse().unwrap();
            tell_local(server.as_fd(), asked.is_ipv6()).unwrap();
            let to = SocketAddr::new(asked, server.local_addr().unwrap().port());
            client.send_to(b"question", to).unwrap();
            let deadline = crate::wait::Deadline::after(std::time::Duration::from_secs(10));
            crate::wait::readable(server.as_fd(), deadline).unwrap();
            let mut buffer = [0; 64];
            let come = receive(server.as_fd(), &mut buffer).unwrap();
            assert_eq!(&buffer[..come.length], b"question");
            assert_eq!(come.to.unwrap().address, asked);
            assert!(receive(server.as_fd(), &mut buffer).unwrap_err().is(libc::EAGAIN));
            send(server.as_fd(), b"answer", come.from, come.to).unwrap();
            crate::wait::readable(client.as_fd(), deadline).unwrap();
            let (n, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..n], from), (&b"answer"[..], to));
        }
    }
}
