//! Unix sockets: pairs, listeners and connections by short path, messages that carry descriptors.
//!
//! May not: interpret what is sent.

use crate::errno::{Errno, Error, Result, check, check_restart};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The most descriptors that one message may carry here (the kernel's SCM_MAX_FD is 253).
pub const MAX_FDS: usize = 64;

fn own(fd: i64) -> OwnedFd {
    // SAFETY: fresh descriptor from the kernel.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// socketpair(2), AF_UNIX SOCK_SEQPACKET, close-on-exec: message borders are kept, end of file when the peer dies.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0 as RawFd; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` is writable for two descriptors.
    let r = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    check(r as i64, "socketpair", || "")?;
    Ok((own(fds[0] as i64), own(fds[1] as i64)))
}

/// Type of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SOCK_STREAM
    Stream,
    /// SOCK_SEQPACKET
    SeqPacket,
    /// SOCK_DGRAM
    Datagram,
}

fn socket(kind: Kind, flags: i32) -> Result<OwnedFd> {
    let kind = match kind {
        Kind::Stream => libc::SOCK_STREAM,
        Kind::SeqPacket => libc::SOCK_SEQPACKET,
        Kind::Datagram => libc::SOCK_DGRAM,
    };
    // SAFETY: no pointers.
    let r = unsafe { libc::socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC | flags, 0) };
    check(r as i64, "socket", || "AF_UNIX").map(own)
}

fn address(path: &Path) -> Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: an all-zero sockaddr_un is valid.
    let mut addr: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if bytes.len() >= addr.sun_path.len() {
        return Err(Error::new(
            "connect",
            path.display().to_string(),
            Errno(libc::ENAMETOOLONG),
        ));
    }
    for (to, from) in addr.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    // An abstract address begins with NUL and ends where it ends; a path needs its NUL.
    let tail = usize::from(bytes.first() != Some(&0));
    let len = std::mem::offset_of!(libc::sockaddr_un, sun_path) + bytes.len() + tail;
    Ok((addr, len as libc::socklen_t))
}

/// connect(2) to a path of at most 107 bytes. A longer one can be reached as `/proc/self/fd/N/name`. A listener whose
/// queue is full and who accepts nobody makes it wait; so does a send to a reader who does not read.
///
/// # Errors
/// ETIMEDOUT after `patience`; EAGAIN when a later send takes longer.
pub fn connect(path: &Path, kind: Kind, patience: Duration) -> Result<OwnedFd> {
    let fd = socket(kind, 0)?;
    set_send_timeout(fd.as_fd(), patience)?;
    connect_socket(fd, path).map_err(|e| match e.errno().0 {
        libc::EAGAIN => Error::new("connect", path.display().to_string(), Errno(libc::ETIMEDOUT)),
        _ => e,
    })
}

/// The same with a socket that never blocks, not in this call either: EAGAIN when the listener's queue is full.
pub fn connect_nonblocking(path: &Path, kind: Kind) -> Result<OwnedFd> {
    connect_socket(socket(kind, libc::SOCK_NONBLOCK)?, path)
}

fn connect_socket(fd: OwnedFd, path: &Path) -> Result<OwnedFd> {
    let (addr, len) = address(path)?;
    check_restart(
        // SAFETY: `addr` is initialised and `len` is within it.
        || unsafe { libc::connect(fd.as_raw_fd(), (&raw const addr).cast(), len) } as i64,
        "connect",
        || path.display().to_string(),
    )?;
    Ok(fd)
}

/// SO_SNDTIMEO: of connect(2) too.
fn set_send_timeout(fd: BorrowedFd<'_>, time: Duration) -> Result<()> {
    let value = libc::timeval {
        tv_sec: time.as_secs() as _,
        tv_usec: time.subsec_micros() as _,
    };
    // SAFETY: pointer and size of a live timeval.
    let r = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDTIMEO,
            (&raw const value).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    };
    check(r as i64, "setsockopt", || "SO_SNDTIMEO").map(drop)
}

/// bind(2) and listen(2) on a path.
pub fn listen(path: &Path, kind: Kind) -> Result<OwnedFd> {
    let fd = bind(path, kind)?;
    // SAFETY: no pointers.
    let r = unsafe { libc::listen(fd.as_raw_fd(), 8) };
    check(r as i64, "listen", || path.display().to_string())?;
    Ok(fd)
}

/// bind(2) only: for datagram sockets.
pub fn bind(path: &Path, kind: Kind) -> Result<OwnedFd> {
    let fd = socket(kind, 0)?;
    let (addr, len) = address(path)?;
    // SAFETY: `addr` is initialised and `len` is within it.
    let r = unsafe { libc::bind(fd.as_raw_fd(), (&raw const addr).cast(), len) };
    check(r as i64, "bind", || path.display().to_string())?;
    Ok(fd)
}

/// accept4(2), close-on-exec.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    check_restart(
        // SAFETY: null address: the peer's is not asked for.
        || unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            )
        } as i64,
        "accept",
        || "",
    )
    .map(own)
}

/// (pid, uid, gid) of the process at the other end (SO_PEERCRED).
pub fn peer(fd: BorrowedFd<'_>) -> Result<(i32, u32, u32)> {
    let mut cred = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `cred` and `len` are writable and match.
    let r = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &mut len,
        )
    };
    check(r as i64, "getsockopt", || "SO_PEERCRED")?;
    Ok((cred.pid, cred.uid, cred.gid))
}

/// Room for the control message, aligned as cmsg(3) wants it.
#[repr(align(8))]
struct Control([u8; 24 + MAX_FDS * 4]);

/// sendmsg(2): bytes and descriptors in one message. A dead peer is EPIPE, not a signal.
pub fn send(fd: BorrowedFd<'_>, data: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    let mut iov = libc::iovec {
        iov_base: data.as_ptr() as *mut libc::c_void,
        iov_len: data.len(),
    };
    let mut control = Control([0; 24 + MAX_FDS * 4]);
    // SAFETY: an all-zero msghdr is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    if fds.len() > MAX_FDS {
        return Err(Error::new("sendmsg", "", Errno(libc::EMSGSIZE)));
    }
    if !fds.is_empty() {
        let bytes = (fds.len() * size_of::<RawFd>()) as u32;
        // SAFETY: `control` is aligned and larger than CMSG_SPACE for MAX_FDS descriptors; the header written is
        // inside it, and the data area holds `fds.len()` ints.
        unsafe {
            msg.msg_control = control.0.as_mut_ptr().cast();
            msg.msg_controllen = libc::CMSG_SPACE(bytes) as _;
            let c = libc::CMSG_FIRSTHDR(&msg);
            (*c).cmsg_level = libc::SOL_SOCKET;
            (*c).cmsg_type = libc::SCM_RIGHTS;
            (*c).cmsg_len = libc::CMSG_LEN(bytes) as _;
            let data = libc::CMSG_DATA(c).cast::<RawFd>();
            for (n, f) in fds.iter().enumerate() {
                data.add(n).write_unaligned(f.as_raw_fd());
            }
        }
    }
    check_restart(
        // SAFETY: every pointer in `msg` is to a live local.
        || unsafe { libc::sendmsg(fd.as_raw_fd(), &msg, libc::MSG_NOSIGNAL) } as i64,
        "sendmsg",
        || "",
    )
    .map(|n| n as usize)
}

/// recvmsg(2) into `buf`: number of bytes (0: the peer is gone) and the descriptors that came along, close-on-exec.
pub fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Result<(usize, Vec<OwnedFd>)> {
    let mut iov = libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: buf.len(),
    };
    let mut control = Control([0; 24 + MAX_FDS * 4]);
    // SAFETY: an all-zero msghdr is valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.0.as_mut_ptr().cast();
    msg.msg_controllen = control.0.len() as _;
    let n = check_restart(
        // SAFETY: every pointer in `msg` is to a live local.
        || unsafe { libc::recvmsg(fd.as_raw_fd(), &mut msg, libc::MSG_CMSG_CLOEXEC) } as i64,
        "recvmsg",
        || "",
    )?;
    let mut fds = Vec::new();
    // SAFETY: the kernel wrote well-formed control messages into `control`; CMSG_NXTHDR stays inside. Each
    // descriptor is fresh and owned by nobody else.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*c).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(c).cast::<RawFd>();
                for k in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(k).read_unaligned()));
                }
            }
            c = libc::CMSG_NXTHDR(&msg, c);
        }
    }
    if msg.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(Error::new("recvmsg", "truncated message", Errno(libc::EMSGSIZE)));
    }
    Ok((n as usize, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_accepts_nobody_does_not_hold_us() {
        let path = std::env::temp_dir().join(format!("sys-socket-full-{}", std::process::id()));
        let _listener = listen(&path, Kind::Stream).unwrap();
        let patience = Duration::from_millis(20);
        let mut waiting = Vec::new();
        let refused = loop {
            match connect(&path, Kind::Stream, patience) {
                Ok(fd) => waiting.push(fd),
                Err(e) => break e,
            }
            assert!(waiting.len() < 64, "the queue has no end");
        };
        assert!(refused.is(libc::ETIMEDOUT), "{refused}");
        std::fs::remove_file(&path).unwrap();
    }
}
