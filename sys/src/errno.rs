//! The error of a system call: which call, with which arguments, why.

use std::fmt;

/// An errno value of the kernel (errno(3)).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The errno of the calling thread's last failed libc call.
    pub fn last() -> Errno {
        // std reads the thread's own errno; no unsafe needed.
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// The lower-case sentence that Go programs print for this errno. Engines match substrings of it
    /// ("permission denied", "no such file or directory"), and libc's own strings differ between glibc and musl.
    pub fn message(self) -> &'static str {
        MESSAGES
            .iter()
            .find(|(n, _)| *n == self.0)
            .map_or("unknown error", |(_, m)| m)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message() {
            "unknown error" => write!(f, "errno {}", self.0),
            m => f.write_str(m),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({}: {})", self.0, self.message())
    }
}

/// A failed system call. `Display` is `call what: reason`, e.g. `openat2 /proc/self: permission denied`.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    call: &'static str,
    what: Box<str>,
    errno: Errno,
}

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of `call` on `what` (its telling argument; may be empty).
    pub fn new(call: &'static str, what: impl Into<Box<str>>, errno: Errno) -> Error {
        Error {
            call,
            what: what.into(),
            errno,
        }
    }

    /// An error from std's I/O functions, which lose their arguments.
    pub fn io(call: &'static str, what: impl Into<Box<str>>, e: &std::io::Error) -> Error {
        Error::new(call, what, Errno(e.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// Why it failed.
    pub fn errno(&self) -> Errno {
        self.errno
    }

    /// Which call failed.
    pub fn call(&self) -> &'static str {
        self.call
    }

    /// The argument that tells most.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// True when the errno is `n` (a `libc::E*` constant).
    pub fn is(&self, n: i32) -> bool {
        self.errno.0 == n
    }

    /// True when the call is missing or filtered away: old kernels answer ENOSYS, seccomp profiles of outer
    /// containers ENOSYS or EPERM. The caller may then take the classic way.
    pub fn is_unavailable(&self) -> bool {
        self.is(libc::ENOSYS) || self.is(libc::EPERM)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.what.is_empty() {
            write!(f, "{}: {}", self.call, self.errno)
        } else {
            write!(f, "{} {}: {}", self.call, self.what, self.errno)
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// Turns libc's `-1` into an [`Error`]; `what` is only evaluated on failure.
pub(crate) fn check<W: Into<Box<str>>>(
    ret: i64,
    call: &'static str,
    what: impl FnOnce() -> W,
) -> Result<i64> {
    if ret >= 0 {
        return Ok(ret);
    }
    let errno = Errno::last();
    Err(Error::new(call, what(), errno))
}

/// So many interruptions in a row are none: a seccomp filter answers EINTR.
const INTERRUPTIONS: u32 = 10_000;

/// As [`check`], again while a signal interrupts.
pub(crate) fn check_restart<W: Into<Box<str>>>(
    mut f: impl FnMut() -> i64,
    call: &'static str,
    what: impl FnOnce() -> W,
) -> Result<i64> {
    let mut interruptions = 0;
    loop {
        let ret = f();
        if ret >= 0 {
            return Ok(ret);
        }
        let errno = Errno::last();
        interruptions += 1;
        if errno.0 != libc::EINTR || interruptions > INTERRUPTIONS {
            return Err(Error::new(call, what(), errno));
        }
    }
}

const MESSAGES: &[(i32, &str)] = &[
    (libc::EPERM, "operation not permitted"),
    (libc::ENOENT, "no such file or directory"),
    (libc::ESRCH, "no such process"),
    (libc::EINTR, "interrupted system call"),
    (libc::EIO, "input/output error"),
    (libc::ENXIO, "no such device or address"),
    (libc::E2BIG, "argument list too long"),
    (libc::ENOEXEC, "exec format error"),
    (libc::EBADF, "bad file descriptor"),
    (libc::ECHILD, "no child processes"),
    (libc::EAGAIN, "resource temporarily unavailable"),
    (libc::ENOMEM, "cannot allocate memory"),
    (libc::EACCES, "permission denied"),
    (libc::EFAULT, "bad address"),
    (libc::ENOTBLK, "block device required"),
    (libc::EBUSY, "device or resource busy"),
    (libc::EEXIST, "file exists"),
    (libc::EXDEV, "invalid cross-device link"),
    (libc::ENODEV, "no such device"),
    (libc::ENOTDIR, "not a directory"),
    (libc::EISDIR, "is a directory"),
    (libc::EINVAL, "invalid argument"),
    (libc::ENFILE, "too many open files in system"),
    (libc::EMFILE, "too many open files"),
    (libc::ENOTTY, "inappropriate ioctl for device"),
    (libc::ETXTBSY, "text file busy"),
    (libc::EFBIG, "file too large"),
    (libc::ENOSPC, "no space left on device"),
    (libc::ESPIPE, "illegal seek"),
    (libc::EROFS, "read-only file system"),
    (libc::EMLINK, "too many links"),
    (libc::EPIPE, "broken pipe"),
    (libc::EDOM, "numerical argument out of domain"),
    (libc::ERANGE, "numerical result out of range"),
    (libc::EDEADLOCK, "resource deadlock avoided"),
    (libc::ENAMETOOLONG, "file name too long"),
    (libc::ENOLCK, "no locks available"),
    (libc::ENOSYS, "function not implemented"),
    (libc::ENOTEMPTY, "directory not empty"),
    (libc::ELOOP, "too many levels of symbolic links"),
    (libc::ENOMSG, "no message of desired type"),
    (libc::EIDRM, "identifier removed"),
    (libc::ECHRNG, "channel number out of range"),
    (libc::EL2NSYNC, "level 2 not synchronized"),
    (libc::EL3HLT, "level 3 halted"),
    (libc::EL3RST, "level 3 reset"),
    (libc::ELNRNG, "link number out of range"),
    (libc::EUNATCH, "protocol driver not attached"),
    (libc::ENOCSI, "no csi structure available"),
    (libc::EL2HLT, "level 2 halted"),
    (libc::EBADE, "invalid exchange"),
    (libc::EBADR, "invalid request descriptor"),
    (libc::EXFULL, "exchange full"),
    (libc::ENOANO, "no anode"),
    (libc::EBADRQC, "invalid request code"),
    (libc::EBADSLT, "invalid slot"),
    (libc::EBFONT, "bad font file format"),
    (libc::ENOSTR, "device not a stream"),
    (libc::ENODATA, "no data available"),
    (libc::ETIME, "timer expired"),
    (libc::ENOSR, "out of streams resources"),
    (libc::ENONET, "machine is not on the network"),
    (libc::ENOPKG, "package not installed"),
    (libc::EREMOTE, "object is remote"),
    (libc::ENOLINK, "link has been severed"),
    (libc::EADV, "advertise error"),
    (libc::ESRMNT, "srmount error"),
    (libc::ECOMM, "communication error on send"),
    (libc::EPROTO, "protocol error"),
    (libc::EMULTIHOP, "multihop attempted"),
    (libc::EDOTDOT, "RFS specific error"),
    (libc::EBADMSG, "bad message"),
    (libc::EOVERFLOW, "value too large for defined data type"),
    (libc::ENOTUNIQ, "name not unique on network"),
    (libc::EBADFD, "file descriptor in bad state"),
    (libc::EREMCHG, "remote address changed"),
    (libc::ELIBACC, "can not access a needed shared library"),
    (libc::ELIBBAD, "accessing a corrupted shared library"),
    (libc::ELIBSCN, ".lib section in a.out corrupted"),
    (libc::ELIBMAX, "attempting to link in too many shared libraries"),
    (libc::ELIBEXEC, "cannot exec a shared library directly"),
    (libc::EILSEQ, "invalid or incomplete multibyte or wide character"),
    (libc::ERESTART, "interrupted system call should be restarted"),
    (libc::ESTRPIPE, "streams pipe error"),
    (libc::EUSERS, "too many users"),
    (libc::ENOTSOCK, "socket operation on non-socket"),
    (libc::EDESTADDRREQ, "destination address required"),
    (libc::EMSGSIZE, "message too long"),
    (libc::EPROTOTYPE, "protocol wrong type for socket"),
    (libc::ENOPROTOOPT, "protocol not available"),
    (libc::EPROTONOSUPPORT, "protocol not supported"),
    (libc::ESOCKTNOSUPPORT, "socket type not supported"),
    (libc::ENOTSUP, "operation not supported"),
    (libc::EPFNOSUPPORT, "protocol family not supported"),
    (libc::EAFNOSUPPORT, "address family not supported by protocol"),
    (libc::EADDRINUSE, "address already in use"),
    (libc::EADDRNOTAVAIL, "cannot assign requested address"),
    (libc::ENETDOWN, "network is down"),
    (libc::ENETUNREACH, "network is unreachable"),
    (libc::ENETRESET, "network dropped connection on reset"),
    (libc::ECONNABORTED, "software caused connection abort"),
    (libc::ECONNRESET, "connection reset by peer"),
    (libc::ENOBUFS, "no buffer space available"),
    (libc::EISCONN, "transport endpoint is already connected"),
    (libc::ENOTCONN, "transport endpoint is not connected"),
    (libc::ESHUTDOWN, "cannot send after transport endpoint shutdown"),
    (libc::ETOOMANYREFS, "too many references: cannot splice"),
    (libc::ETIMEDOUT, "connection timed out"),
    (libc::ECONNREFUSED, "connection refused"),
    (libc::EHOSTDOWN, "host is down"),
    (libc::EHOSTUNREACH, "no route to host"),
    (libc::EALREADY, "operation already in progress"),
    (libc::EINPROGRESS, "operation now in progress"),
    (libc::ESTALE, "stale file handle"),
    (libc::EUCLEAN, "structure needs cleaning"),
    (libc::ENOTNAM, "not a xenix named type file"),
    (libc::ENAVAIL, "no xenix semaphores available"),
    (libc::EISNAM, "is a named type file"),
    (libc::EREMOTEIO, "remote i/o error"),
    (libc::EDQUOT, "disk quota exceeded"),
    (libc::ENOMEDIUM, "no medium found"),
    (libc::EMEDIUMTYPE, "wrong medium type"),
    (libc::ECANCELED, "operation canceled"),
    (libc::ENOKEY, "required key not available"),
    (libc::EKEYEXPIRED, "key has expired"),
    (libc::EKEYREVOKED, "key has been revoked"),
    (libc::EKEYREJECTED, "key was rejected by service"),
    (libc::EOWNERDEAD, "owner died"),
    (libc::ENOTRECOVERABLE, "state not recoverable"),
    (libc::ERFKILL, "operation not possible due to RF-kill"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_engines_match() {
        for (n, m) in [
            (libc::ENOENT, "no such file or directory"),
            (libc::EACCES, "permission denied"),
            (libc::EPERM, "operation not permitted"),
            (libc::EISDIR, "is a directory"),
            (libc::ENOTDIR, "not a directory"),
            (libc::ENOEXEC, "exec format error"),
            (libc::ESRCH, "no such process"),
        ] {
            assert_eq!(Errno(n).message(), m);
        }
        assert_eq!(Errno(4095).to_string(), "errno 4095");
    }

    #[test]
    fn an_error_reads_like_strace() {
        let e = Error::new("openat2", "proc/self", Errno(libc::EXDEV));
        assert_eq!(e.to_string(), "openat2 proc/self: invalid cross-device link");
    }
}
