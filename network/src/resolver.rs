//! The sockets at which a container asks for names: at 127.0.0.11 in its network namespace, and what brings its questions there.
//!
//! They are at ports of the kernel's choice, and what goes to port 53 of that address is led to them by a rule in the container's own
//! namespace: a name server in the container may still listen on port 53 of all addresses.
//!
//! May not: answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use crate::error::{Context, Result};
use crate::machine::Machine;
use crate::space::Space;

/// What `resolv.conf` of a container says.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where questions come. They belong to the namespace they were made in, whoever reads from them.
#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    pub tcp: OwnedFd,
}

/// Makes them in the network namespace of a container, whose loopback device is up, with the rule. What was there of an earlier
/// resolver is replaced.
///
/// # Errors
/// bind(2)'s; or the rule cannot be made.
pub fn open(space: &Space) -> Result<Sockets> {
    let (udp, tcp) = space
        .inside(listen)
        .context("failed to listen for questions about names")?;
    let port = |address: io::Result<SocketAddr>| {
        let address = address.map_err(|e| sys::Error::io("getsockname", "", &e));
        Ok::<u16, sys::Error>(address?.port())
    };
    Machine::redirect_names(space, port(udp.local_addr())?, port(tcp.local_addr())?)?;
    Ok(Sockets {
        udp: udp.into(),
        tcp: tcp.into(),
    })
}

fn listen() -> Result<(UdpSocket, TcpListener)> {
    let udp = UdpSocket::bind((ADDRESS, 0)).map_err(|e| sys::Error::io("bind", "127.0.0.11 udp", &e))?;
    let tcp = TcpListener::bind((ADDRESS, 0)).map_err(|e| sys::Error::io("bind", "127.0.0.11 tcp", &e))?;
    Ok((udp, tcp))
}
