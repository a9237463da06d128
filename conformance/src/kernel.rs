//! System calls that std lacks. Nothing here may judge a runtime or know a case. The only module with `unsafe`.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::io::{self, Error, Result};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libc::{c_int, c_ulong, pid_t};

fn check(r: c_int) -> Result<c_int> {
    if r < 0 { Err(Error::last_os_error()) } else { Ok(r) }
}

fn check_long(r: libc::c_long) -> Result<libc::c_long> {
    if r < 0 { Err(Error::last_os_error()) } else { Ok(r) }
}

fn path_text(p: &Path) -> Result<CString> {
    CString::new(p.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The effective user id.
#[must_use]
pub fn effective_uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Makes orphaned descendants children of this process, so that it can count and reap them.
pub fn become_subreaper() -> Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Lets this process die with its parent thread.
pub fn die_with_parent() -> Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }).map(drop)
}

/// A descriptor that becomes readable when `pid` ends.
pub fn open_pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: integer arguments only.
    let fd = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Waits until one of `fds` is readable (or hung up) or `limit` is over; which are.
pub fn poll_readable(fds: &[RawFd], limit: Duration) -> Result<Vec<bool>> {
    let end = Instant::now() + limit;
    let mut list: Vec<libc::pollfd> = fds
        .iter()
        .map(|fd| libc::pollfd {
            fd: *fd,
            events: libc::POLLIN,
            revents: 0,
        })
        .collect();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let ms = c_int::try_from(left.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: `list` is a live array of `list.len()` entries.
        let r = unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, ms) };
        match check(r) {
            Ok(_) => return Ok(list.iter().map(|p| p.revents != 0).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Makes a child with exactly this pid (clone3 with set_tid), which sleeps until it is killed.
pub fn make_impostor(pid: i32) -> Result<()> {
    #[repr(C)]
    struct CloneArgs([u64; 10]);
    let wanted = [pid];
    let mut args = CloneArgs([0; 10]);
    args.0[4] = libc::SIGCHLD as u64;
    args.0[8] = wanted.as_ptr() as u64;
    args.0[9] = 1;
    // SAFETY: the arguments live until the call returns. The caller has one thread, and the child only sleeps.
    let r = check_long(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    if r == 0 {
        loop {
            // SAFETY: takes nothing; prctl with integers makes sure that the child does not outlive us.
            unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                libc::pause();
            }
        }
    }
    Ok(())
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Reaps one ended child, any; None when none has ended.
pub fn reap_any() -> Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    match check(pid) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some((pid, status))),
        Err(e) if e.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reaps every ended child whose pid is not among `keep`.
pub fn reap_strangers(keep: &[i32]) {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
    for pid in children
        .split_whitespace()
        .filter_map(|p| p.parse().ok())
        .filter(|p| !keep.contains(p))
    {
        // SAFETY: a null status is allowed. A child that still runs is left alone (WNOHANG).
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// unshare(2).
pub fn unshare(flags: c_int) -> Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// mount(2); an empty `fs` or `data` is passed as null.
pub fn mount(source: &Path, target: &Path, fs: &str, flags: c_ulong, data: &str) -> Result<()> {
    let (source, target) = (path_text(source)?, path_text(target)?);
    let (fs_text, data_text) = (path_text(Path::new(fs))?, path_text(Path::new(data))?);
    let or_null = |s: &str, c: &CStr| {
        if s.is_empty() {
            std::ptr::null()
        } else {
            c.as_ptr()
        }
    };
    // SAFETY: all four strings live until the call returns.
    let r = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            or_null(fs, &fs_text),
            flags,
            or_null(data, &data_text).cast(),
        )
    };
    check(r).map(drop)
}

/// umount2(2) with MNT_DETACH.
pub fn detach(target: &Path) -> Result<()> {
    let target = path_text(target)?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) }).map(drop)
}

/// EXT4_IOC_SHUTDOWN (Linux 4.11) without a flush of the log: from now on the file system that `path` is on writes nothing, as if its disk
/// had lost the power. It stays mounted, and answers EIO.
pub fn shut_down_ext4(path: &Path) -> Result<()> {
    // EXT4_GOING_FLAGS_NOLOGFLUSH.
    let how: u32 = 2;
    let request = libc::_IOR::<u32>(u32::from(b'X'), 125);
    let directory = std::fs::File::open(path)?;
    // SAFETY: the call reads one u32, which lives until it returns.
    let r = unsafe { libc::ioctl(directory.as_raw_fd(), request, &raw const how) };
    check(r).map(drop)
}

/// A mount namespace of one's own, from which nothing reaches the host, and whose mounts are all shared among
/// themselves, as systemd leaves them: a runtime that forgets to cut propagation shows itself in our own table.
pub fn isolate_mounts() -> Result<()> {
    unshare(libc::CLONE_NEWNS)?;
    let root = Path::new("/");
    mount(Path::new("none"), root, "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount(Path::new("none"), root, "", libc::MS_REC | libc::MS_SHARED, "")
}

/// mknod(2) of a character device.
pub fn make_char_device(path: &Path, mode: u32, major: u32, minor: u32) -> Result<()> {
    let text = path_text(path)?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::mknod(text.as_ptr(), libc::S_IFCHR | mode, libc::makedev(major, minor)) }).map(drop)
}

/// mkfifo(3).
pub fn make_fifo(path: &Path, mode: u32) -> Result<()> {
    let text = path_text(path)?;
    // SAFETY: the string lives until the call returns.
    check(unsafe { libc::mkfifo(text.as_ptr(), mode) }).map(drop)
}

/// Exchanges two paths in one step (RENAME_EXCHANGE).
pub fn exchange(one: &Path, two: &Path) -> Result<()> {
    let (one, two) = (path_text(one)?, path_text(two)?);
    // SAFETY: both strings live until the call returns.
    let r = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            one.as_ptr(),
            libc::AT_FDCWD,
            two.as_ptr(),
            libc::RENAME_EXCHANGE,
        )
    };
    check_long(r).map(drop)
}

/// File system magic of `path`.
pub fn filesystem(path: &Path) -> Result<i64> {
    let text = path_text(path)?;
    // SAFETY: an all-zero statfs is a valid value to be overwritten.
    let mut buf: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the string and the buffer live until the call returns.
    check(unsafe { libc::statfs(text.as_ptr(), &raw mut buf) })?;
    #[allow(clippy::unnecessary_cast)] // The type differs between C libraries.
    Ok(buf.f_type as i64)
}

/// The next descriptor and text sent over `socket`, as a runtime sends a terminal.
pub fn receive_descriptor(socket: &UnixStream) -> Result<(OwnedFd, String)> {
    let mut text = [0u8; 4096];
    let mut control = [0u64; 8];
    let mut iov = libc::iovec {
        iov_base: text.as_mut_ptr().cast(),
        iov_len: text.len(),
    };
    // SAFETY: an all-zero msghdr is valid; the pointers set below live until recvmsg returns.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = control.as_mut_ptr().cast();
    msg.msg_controllen = size_of_val(&control) as _;
    // SAFETY: see above.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut msg, libc::MSG_CMSG_CLOEXEC) };
    if n < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the kernel has filled `control` up to msg_controllen; CMSG_FIRSTHDR answers null when that is too short.
    let fd = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const msg);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(Error::other("the message carries no descriptor"));
        }
        std::ptr::read_unaligned(libc::CMSG_DATA(header).cast::<RawFd>())
    };
    // SAFETY: SCM_RIGHTS made this descriptor ours.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok((
        fd,
        String::from_utf8_lossy(&text[..n as usize])
            .trim_end_matches('\0')
            .to_owned(),
    ))
}

/// `struct seccomp_notif` of seccomp_unotify(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Notification {
    /// What an answer is to.
    pub id: u64,
    /// Who called.
    pub pid: u32,
    flags: u32,
    /// Which system call.
    pub number: i32,
    arch: u32,
    instruction: u64,
    arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Verdict {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const NOTIFICATION_RECEIVE: libc::c_ulong = 0xc050_2100;
const NOTIFICATION_SEND: libc::c_ulong = 0xc018_2101;

/// The next call that waits for its verdict; waits for one.
pub fn receive_notification(listener: RawFd) -> Result<Notification> {
    let mut notification = Notification::default();
    // SAFETY: the kernel fills in a zeroed structure of the size that the request names.
    check(unsafe { libc::ioctl(listener, NOTIFICATION_RECEIVE as _, &raw mut notification) })?;
    Ok(notification)
}

/// Makes a call that waits fail with this errno.
pub fn refuse_notified(listener: RawFd, id: u64, errno: i32) -> Result<()> {
    let verdict = Verdict {
        id,
        value: 0,
        error: -errno,
        flags: 0,
    };
    // SAFETY: a structure of the size that the request names, which outlives the call.
    check(unsafe { libc::ioctl(listener, NOTIFICATION_SEND as _, &raw const verdict) }).map(drop)
}

/// Rows and columns of a terminal.
pub fn window_size(fd: RawFd) -> Result<(u16, u16)> {
    let mut ws = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `ws` outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut ws) })?;
    Ok((ws.ws_row, ws.ws_col))
}

/// Sets rows and columns of a terminal; its foreground group gets SIGWINCH.
pub fn set_window_size(fd: RawFd, rows: u16, columns: u16) -> Result<()> {
    let ws = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: `ws` outlives the call.
    check(unsafe { libc::ioctl(fd, libc::TIOCSWINSZ, &raw const ws) }).map(drop)
}

/// Local flags of a terminal, ICANON and ECHO among them.
pub fn terminal_flags(fd: RawFd) -> Result<(u32, u32, u32)> {
    // SAFETY: an all-zero termios is a valid value to be overwritten.
    let mut t: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `t` outlives the call.
    check(unsafe { libc::tcgetattr(fd, &raw mut t) })?;
    Ok((t.c_iflag, t.c_oflag, t.c_lflag))
}

/// A new pseudo-terminal: its master and the slave.
pub fn open_terminal() -> Result<(OwnedFd, OwnedFd)> {
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: both integers outlive the call; the other arguments may be null.
    check(unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) })?;
    // SAFETY: openpty has just given us both descriptors.
    let pair = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    for fd in [&pair.0, &pair.1] {
        // SAFETY: integer arguments only.
        check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    }
    Ok(pair)
}

/// What a child process does between fork and exec.
#[derive(Debug)]
pub enum BeforeExec {
    /// Has this descriptor under that number, without close-on-exec.
    Descriptor(OwnedFd, RawFd),
    /// Closes that number.
    Close(RawFd),
    /// Leads a session whose controlling terminal is its stdin.
    OwnTerminal,
    /// Leads a process group.
    OwnGroup,
    /// Gets SIGKILL when the thread that started it ends.
    DieWithParent,
    /// Has namespaces of its own.
    Unshare(c_int),
    /// Has this soft and hard limit.
    Limit(u32, u64, u64),
    /// Has this umask.
    Umask(u32),
    /// Runs below this filter, from [`denying`].
    Filter(Denial),
}

/// A seccomp filter ready to load.
pub struct Denial(Vec<libc::sock_filter>);

impl std::fmt::Debug for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "filter of {} instructions", self.0.len())
    }
}

/// A filter that makes `numbers` fail with `errno`.
#[must_use]
pub fn denying(numbers: &[u32], errno: u16, audit_arch: u32) -> Denial {
    Denial(deny_program(numbers, errno, audit_arch))
}

/// Adds `what` to `command`, in order.
pub fn before_exec(command: &mut Command, what: Vec<BeforeExec>) {
    let act = move || what.iter().try_for_each(prepare_child);
    // SAFETY: the closure makes system calls only; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(act) };
}

fn prepare_child(what: &BeforeExec) -> Result<()> {
    // SAFETY: integer arguments, and one structure that lives until its call returns.
    unsafe {
        match what {
            BeforeExec::Descriptor(fd, number) if fd.as_raw_fd() == *number => {
                check(libc::fcntl(*number, libc::F_SETFD, 0))?
            }
            BeforeExec::Descriptor(fd, number) => check(libc::dup2(fd.as_raw_fd(), *number))?,
            BeforeExec::Close(number) => libc::close(*number).max(0),
            BeforeExec::OwnTerminal => {
                check(libc::setsid())?;
                check(libc::ioctl(0, libc::TIOCSCTTY, 0))?
            }
            BeforeExec::OwnGroup => check(libc::setpgid(0, 0))?,
            BeforeExec::DieWithParent => check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?,
            BeforeExec::Unshare(flags) => check(libc::unshare(*flags))?,
            BeforeExec::Limit(resource, soft, hard) => {
                let limit = libc::rlimit {
                    rlim_cur: *soft,
                    rlim_max: *hard,
                };
                check(libc::setrlimit(*resource as _, &raw const limit))?
            }
            BeforeExec::Umask(mask) => libc::umask(*mask as _).cast_signed(),
            BeforeExec::Filter(program) => load_filter(program).map(|()| 0)?,
        };
    }
    Ok(())
}

/// From now on, and in all children, the system calls `numbers` fail with `errno`. Sets no_new_privs only where this
/// process may not load a filter otherwise.
pub fn deny_syscalls(numbers: &[u32], errno: u16, audit_arch: u32) -> Result<()> {
    load_filter(&denying(numbers, errno, audit_arch))
}

fn load_filter(Denial(program): &Denial) -> Result<()> {
    let fprog = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Error::from_raw_os_error(libc::EINVAL))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: `fprog` and the program that it points to live until the call returns; the kernel copies them.
    let load = || check_long(unsafe { libc::syscall(libc::SYS_seccomp, 1, 0, &raw const fprog) }).map(drop);
    if load().is_ok() {
        return Ok(());
    }
    // SAFETY: integer arguments only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    load()
}

fn deny_program(numbers: &[u32], errno: u16, audit_arch: u32) -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // Offset 4 of seccomp_data is the architecture; a foreign one is none of our business.
    let mut program = vec![
        op(LOAD, 0, 0, 4),
        op(JUMP_IF_EQUAL, 1, 0, audit_arch),
        op(RETURN, 0, 0, ALLOW),
        op(LOAD, 0, 0, 0),
    ];
    for n in numbers {
        program.push(op(JUMP_IF_EQUAL, 0, 1, *n));
        program.push(op(RETURN, 0, 0, ERRNO | u32::from(errno)));
    }
    program.push(op(RETURN, 0, 0, ALLOW));
    program
}

/// Moves this thread into the namespace behind `fd`.
pub fn enter_namespace(fd: &OwnedFd) -> Result<()> {
    // SAFETY: integer arguments only.
    check(unsafe { libc::setns(fd.as_raw_fd(), 0) }).map(drop)
}

/// A pipe, both ends close-on-exec.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array holds the two descriptors that the kernel writes.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: pipe2 has just given us both descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The extended attributes of a file, of a symbolic link its own.
pub fn attributes(path: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let text = path_text(path)?;
    let mut names = vec![0u8; 65536];
    // SAFETY: the string and the buffer live until the call returns.
    let n = unsafe { libc::llistxattr(text.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(usize::try_from(n).map_err(|_| Error::last_os_error())?);
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut value = vec![0u8; 65536];
        // SAFETY: both strings and the buffer live until the call returns.
        let n = unsafe {
            libc::lgetxattr(
                text.as_ptr(),
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        value.truncate(usize::try_from(n).map_err(|_| Error::last_os_error())?);
        found.push((name.to_string_lossy().into_owned(), value));
    }
    found.sort();
    Ok(found)
}

/// The id type of processes, for callers that parse one.
pub type Pid = pid_t;
