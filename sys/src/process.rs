//! Processes: clone3(2), pidfds, execveat(2), namespaces, prctl(2) and what belongs to a process as such.
//!
//! May not: be used by a program with threads. After [`fork`] the child is a plain copy: it must not run
//! destructors of libc (atexit) and must leave by [`exit_now`] or an exec.

use crate::errno::{Errno, Error, Result, check, check_restart};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// clone3(2): put the child into the cgroup of this directory (kernel 5.7).
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// clone(2): the child becomes a sibling: its parent is the caller's parent.
pub const CLONE_PARENT: u64 = libc::CLONE_PARENT as u64;

/// `struct clone_args` of clone3(2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// What [`fork`] returned, as fork(2) does: once on each side.
#[derive(Debug)]
pub enum Forked {
    /// We are the new process.
    Child,
    /// We are the old one.
    Parent {
        /// Pid in our own pid namespace.
        pid: i32,
        /// A pidfd, unless the clone(2) fallback was taken on a kernel without CLONE_PIDFD.
        pidfd: Option<OwnedFd>,
        /// The child is already in the cgroup that was asked for.
        in_cgroup: bool,
    },
}

/// fork with namespace flags: clone3(2) with CLONE_PIDFD, the child's memory a copy. With `cgroup`, the child starts
/// in that cgroup v2 directory. Where clone3 is missing or filtered (ENOSYS, EPERM of an outer container's seccomp
/// profile) clone(2) is used, which cannot place the child: with `cgroup` the failure is returned instead, so that the
/// caller can tell the child, before it forks again without, that it has to enter by itself.
///
/// The program must be single-threaded.
pub fn fork(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let forked = fork_either_way(flags, cgroup)?;
    if matches!(forked, Forked::Child) {
        FORKED.store(true, Ordering::Relaxed);
    }
    Ok(forked)
}

/// True in every process that [`fork`] has made.
static FORKED: AtomicBool = AtomicBool::new(false);

/// Ends this process if [`fork`] has made it, with some last words on stderr, as a shell would report abort(3).
///
/// abort(3) itself would signal the thread id that libc remembers, which is our maker's: it would end the runtime, or in
/// another pid namespace whoever has that number there.
pub fn end_if_forked(words: &[u8]) {
    if FORKED.load(Ordering::Relaxed) {
        // Whether anybody reads stderr is not ours to know.
        let _ = crate::fs::write(crate::fs::inherited(2), words);
        exit_now(128 + libc::SIGABRT);
    }
}

/// From now on a panic in a process made by [`fork`] ends that process and no other ([`end_if_forked`]).
pub fn contain_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        end_if_forked(b"");
    }));
}

fn fork_either_way(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked> {
    let mut pidfd: RawFd = -1;
    // A sibling gets the exit signal of the caller; a non-zero one is EINVAL with CLONE_PARENT.
    let exit_signal = if flags & CLONE_PARENT != 0 {
        0
    } else {
        libc::SIGCHLD as u64
    };
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        exit_signal,
        ..CloneArgs::default()
    };
    if let Some(dir) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd() as u64;
    }
    // SAFETY: no CLONE_VM: the child works on a copy, so no memory of the parent can be corrupted; `args` and
    // `pidfd` outlive the call.
    let r = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match check(r, "clone3", || format!("{flags:#x}")) {
        Ok(0) => Ok(Forked::Child),
        Ok(pid) => Ok(Forked::Parent {
            pid: pid as i32,
            // SAFETY: the kernel stored a fresh descriptor for us.
            pidfd: Some(unsafe { OwnedFd::from_raw_fd(pidfd) }),
            in_cgroup: cgroup.is_some(),
        }),
        Err(e) if cgroup.is_none() && e.is_unavailable() => fork_classic(flags, exit_signal),
        Err(e) => Err(e),
    }
}

/// The same by clone(2), whose argument order on x86-64, aarch64 and riscv64 agrees up to the third.
fn fork_classic(flags: u64, exit_signal: u64) -> Result<Forked> {
    let mut pidfd: RawFd = -1;
    let with_pidfd = flags | exit_signal | libc::CLONE_PIDFD as u64;
    // SAFETY: as in `fork`: no CLONE_VM, null stack means the copy of the caller's.
    let r = unsafe {
        libc::syscall(
            libc::SYS_clone,
            with_pidfd,
            0usize,
            &raw mut pidfd,
            0usize,
            0usize,
        )
    };
    match check(r, "clone", || format!("{flags:#x}"))? {
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent {
            pid: pid as i32,
            // SAFETY: a non-negative value is a fresh descriptor stored by the kernel.
            pidfd: (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) }),
            in_cgroup: false,
        }),
    }
}

/// Ends this process at once: no atexit handlers, no destructors, no flushed buffers (`exit_group`(2)).
pub fn exit_now(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
        die();
    }
}

/// SIGILL, which comes without a system call: a seccomp filter can answer exit_group(2) with an errno.
fn die() {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    // SAFETY: raises an exception and touches nothing.
    unsafe {
        std::arch::asm!("ud2", options(nomem, nostack))
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("udf #0", options(nomem, nostack))
    };
    #[cfg(target_arch = "riscv64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("unimp", options(nomem, nostack))
    };
}

/// pidfd_open(2). A process that is gone is ESRCH, also where its number lives on as that of a session or group: kernels
/// before 6.9 say EINVAL then.
pub fn pidfd_open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = check(r, "pidfd_open", || pid.to_string()).map_err(|e| match e.errno() {
        Errno(libc::EINVAL) if pid > 0 => Error::new("pidfd_open", pid.to_string(), Errno(libc::ESRCH)),
        _ => e,
    })?;
    // SAFETY: fresh descriptor from the kernel.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_getfd(2): a descriptor of another process, for a caller that may trace it. It is close-on-exec here.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) };
    let fd = check(r, "pidfd_getfd", || number.to_string())?;
    // SAFETY: fresh descriptor from the kernel.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo means what kill(2) would send.
    let r = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(r, "pidfd_send_signal", || signal.to_string()).map(drop)
}

/// How the process of a pidfd ended, whoever's child it was: PIDFD_GET_INFO, which tells it since Linux 6.15, once its parent has
/// waited for it. `None`: it cannot be known, or not yet.
pub fn pidfd_exit(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    /// struct pidfd_info in its first form.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    /// _IOWR(0xff, 11, struct pidfd_info)
    const GET_INFO: u64 = (3 << 30) | ((size_of::<Info>() as u64) << 16) | (0xff << 8) | 11;
    let mut info = Info {
        mask: EXIT,
        ..Info::default()
    };
    // SAFETY: `info` is as large as the number of the call says.
    let r = unsafe { libc::syscall(libc::SYS_ioctl, pidfd.as_raw_fd(), GET_INFO, &raw mut info) };
    // A process that runs answers ESRCH for it in some versions, and an older kernel ENOTTY.
    let known = check(r, "ioctl", || "PIDFD_GET_INFO").is_ok() && info.mask & EXIT != 0;
    let status = info.exit_code;
    known.then_some(Exit::of_status(status))
}

/// kill(2). Prefer a pidfd: a pid can belong to somebody else by now.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) } as i64, "kill", || {
        pid.to_string()
    })
    .map(drop)
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// From wait(2)'s number, which is also the last field of a zombie's /proc/PID/stat.
    pub fn of_status(status: i32) -> Exit {
        match status & 0x7f {
            0 => Exit::Code(status >> 8 & 0xff),
            signal => Exit::Signal(signal),
        }
    }

    /// The exit status as a shell reports it: 128+N for a signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Exit::Code(c) => c,
            Exit::Signal(s) => 128 + s,
        }
    }
}

/// Whether a wait may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Until the child ends.
    Yes,
    /// Answer `None` when it has not.
    No,
}

/// waitid(2) for one child; reaps it.
pub fn wait_pid(pid: i32, block: Block) -> Result<Option<Exit>> {
    wait(libc::P_PID, pid as libc::id_t, block).map(|r| r.map(|(_, e)| e))
}

/// waitid(2) for any child; reaps it. `None` when none has ended; ECHILD when there is none.
pub fn wait_any(block: Block) -> Result<Option<(i32, Exit)>> {
    wait(libc::P_ALL, 0, block)
}

/// The pid of any child that has ended, without reaping it; `None` when none has. ECHILD when there is none.
pub fn peek_any() -> Result<Option<i32>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: an all-zero siginfo is valid and the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    check_restart(
        // SAFETY: `info` outlives the call.
        || unsafe { libc::waitid(libc::P_ALL, 0, &mut info, flags) } as i64,
        "waitid",
        || "",
    )?;
    // SAFETY: the kernel filled the SIGCHLD member, or left it zero when nothing was ready.
    let pid = unsafe { info.si_pid() };
    Ok((pid != 0).then_some(pid))
}

/// True when `pid` is a child of ours that has not been reaped, alive or not.
pub fn is_child(pid: i32) -> Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: an all-zero siginfo is valid and the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let answer = check_restart(
        // SAFETY: `info` outlives the call.
        || unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &mut info, flags) } as i64,
        "waitid",
        || pid.to_string(),
    );
    match answer {
        Ok(_) => Ok(true),
        Err(e) if e.is(libc::ECHILD) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The kernel's release as (major, minor) (uname(2)).
pub fn kernel_release() -> (u32, u32) {
    // SAFETY: an all-zero utsname is valid and the kernel fills it; it cannot fail with a valid pointer.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` outlives the call.
    unsafe { libc::uname(&mut name) };
    let digits = |c: &libc::c_char| (*c as u8).is_ascii_digit().then_some((*c as u8 - b'0') as u32);
    let mut numbers = name.release.split(|c| *c as u8 == b'.').map(|part| {
        part.iter()
            .map_while(digits)
            .fold(0u32, |n, d| n.saturating_mul(10).saturating_add(d))
    });
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn wait(kind: libc::idtype_t, id: libc::id_t, block: Block) -> Result<Option<(i32, Exit)>> {
    // __WALL: children made with an exit signal other than SIGCHLD count too.
    let flags = libc::WEXITED | libc::__WALL | if block == Block::No { libc::WNOHANG } else { 0 };
    // SAFETY: an all-zero siginfo is valid and the kernel fills it.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    check_restart(
        // SAFETY: `info` outlives the call.
        || unsafe { libc::waitid(kind, id, &mut info, flags) } as i64,
        "waitid",
        || id.to_string(),
    )?;
    // SAFETY: the kernel filled the SIGCHLD member, or left it zero when nothing was ready.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED {
        Exit::Code(status)
    } else {
        Exit::Signal(status)
    };
    Ok(Some((pid, exit)))
}

/// Strings for execve(2), prepared before they are needed.
#[derive(Debug)]
pub struct ExecStrings {
    strings: Vec<CString>,
}

impl ExecStrings {
    /// EINVAL when a string holds a NUL.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<[u8]>>(items: I) -> Result<ExecStrings> {
        let strings = items
            .into_iter()
            .map(|s| CString::new(s.as_ref()).map_err(|_| Error::new("execve", "", Errno(libc::EINVAL))))
            .collect::<Result<Vec<_>>>()?;
        Ok(ExecStrings { strings })
    }

    fn pointers(&self) -> Vec<*const libc::c_char> {
        self.strings
            .iter()
            .map(|s| s.as_ptr())
            .chain(std::iter::once(std::ptr::null()))
            .collect()
    }
}

/// execve(2). Returns only on failure.
pub fn execve(path: &CStr, args: &ExecStrings, env: &ExecStrings) -> Error {
    let (a, e) = (args.pointers(), env.pointers());
    // SAFETY: null-terminated arrays of NUL-terminated strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), a.as_ptr(), e.as_ptr()) };
    Error::new("exec", path.to_string_lossy(), Errno::last())
}

/// execveat(2) of the descriptor itself (AT_EMPTY_PATH). Returns only on failure.
pub fn exec_fd(fd: BorrowedFd<'_>, args: &ExecStrings, env: &ExecStrings) -> Error {
    let (a, e) = (args.pointers(), env.pointers());
    // SAFETY: as in `execve`.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            a.as_ptr(),
            e.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Error::new("execveat", "", Errno::last())
}

/// setns(2): `fd` a namespace file, or a pidfd with several CLONE_NEW* flags (kernel 5.8).
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::setns(fd.as_raw_fd(), flags as i32) };
    check(r as i64, "setns", || format!("{flags:#x}")).map(drop)
}

/// The CLONE_NEW* flag of a namespace descriptor (NS_GET_NSTYPE of ioctl_ns(2)).
pub fn namespace_kind(fd: BorrowedFd<'_>) -> Result<u64> {
    const NS_GET_NSTYPE: u64 = 0xb703;
    // SAFETY: the ioctl takes no argument.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    check(r as i64, "ioctl", || "NS_GET_NSTYPE").map(|v| v as u64)
}

/// unshare(2).
pub fn unshare(flags: u64) -> Result<()> {
    // SAFETY: no CLONE_VM or CLONE_FILES games: only CLONE_NEW* flags are passed by callers.
    check(unsafe { libc::unshare(flags as i32) } as i64, "unshare", || {
        format!("{flags:#x}")
    })
    .map(drop)
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setsid() } as i64, "setsid", || "").map(drop)
}

/// setpgid(2): a process group of our own.
pub fn set_process_group() -> Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::setpgid(0, 0) } as i64, "setpgid", || "").map(drop)
}

/// sethostname(2).
pub fn sethostname(name: &str) -> Result<()> {
    // SAFETY: pointer and length of a live string.
    let r = unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) };
    check(r as i64, "sethostname", || name).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length of a live string.
    let r = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    check(r as i64, "setdomainname", || name).map(drop)
}

fn prctl(op: i32, name: &'static str, a: u64, b: u64) -> Result<i64> {
    // SAFETY: the operations used here take integers only.
    let r = unsafe { libc::prctl(op, a, b, 0u64, 0u64) };
    check(r as i64, "prctl", || name)
}

/// PR_SET_DUMPABLE: with `false`, /proc/PID belongs to root and ptrace is refused (CVE-2016-9962).
pub fn set_dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, "PR_SET_DUMPABLE", on as u64, 0).map(drop)
}

/// PR_SET_PDEATHSIG: the signal we get when our parent dies; 0 clears.
pub fn set_parent_death_signal(signal: i32) -> Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG", signal as u64, 0).map(drop)
}

/// PR_SET_CHILD_SUBREAPER: orphans among our descendants become our children.
pub fn set_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER", 1, 0).map(drop)
}

/// PR_SCHED_CORE: a core-scheduling cookie of its own for our process group, which what we start inherits.
///
/// # Errors
/// EINVAL on kernels without it (before 5.14, or built without CONFIG_SCHED_CORE); ENODEV without SMT.
pub fn create_core_cookie() -> Result<()> {
    const PR_SCHED_CORE: i32 = 62;
    const CREATE: u64 = 1;
    const PROCESS_GROUP: u64 = 2;
    // SAFETY: a null address: nothing is asked back.
    let r = unsafe { libc::prctl(PR_SCHED_CORE, CREATE, 0u64, PROCESS_GROUP, 0u64) };
    check(r as i64, "prctl", || "PR_SCHED_CORE").map(drop)
}

/// PR_SET_NO_NEW_PRIVS.
pub fn set_no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", 1, 0).map(drop)
}

/// PR_SET_KEEPCAPS: permitted capabilities survive the change of uid.
pub fn set_keep_capabilities(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS", on as u64, 0).map(drop)
}

/// PR_SET_NAME: at most 15 bytes are kept.
pub fn set_name(name: &CStr) -> Result<()> {
    prctl(libc::PR_SET_NAME, "PR_SET_NAME", name.as_ptr() as u64, 0).map(drop)
}

/// Overwrites the command line and the environment that /proc shows of this process; the command line becomes `title`.
///
/// For a forked process that enters a container: its maker's arguments (paths of the host, values of variables) are
/// anybody's to read there. The program's own view of them ends as well, so nothing may ask for its arguments or
/// variables afterwards. The host's /proc must still be in place, as it says where they are.
pub fn hide_arguments(title: &CStr) -> Result<()> {
    let stat = crate::fs::open(Path::new("/proc/self/stat"), libc::O_RDONLY, 0)?;
    let text = crate::fs::read_all(stat.as_fd(), 4096)?;
    let [arguments, environment] = parse_argument_areas(&String::from_utf8_lossy(&text))
        .ok_or_else(|| Error::new("read", "/proc/self/stat", Errno(libc::EINVAL)))?;
    for area in [&arguments, &environment] {
        // SAFETY: the kernel put these strings on our stack at the exec, above every frame, and nobody else is told of
        // changes; we are the only thread.
        unsafe { std::ptr::write_bytes(area.start as *mut u8, 0, area.len()) };
    }
    // The kernel takes a last byte that is not NUL for a command line that goes on in the environment.
    let shown = &title.to_bytes()[..title.to_bytes().len().min(arguments.len().saturating_sub(1))];
    // SAFETY: as above, and no longer than the area.
    unsafe { std::ptr::copy_nonoverlapping(shown.as_ptr(), arguments.start as *mut u8, shown.len()) };
    Ok(())
}

/// arg_start to env_end of proc_pid_stat(5), fields 48 to 51. The name may hold anything, so fields count from its end.
fn parse_argument_areas(stat: &str) -> Option<[std::ops::Range<usize>; 2]> {
    let tail = &stat[stat.rfind(')')? + 1..];
    let mut fields = tail.split_ascii_whitespace().skip(45).map(|f| f.parse().ok());
    let mut next = || fields.next().flatten().filter(|at| *at != 0);
    let areas = [next()?..next()?, next()?..next()?];
    areas.iter().all(|a| a.start <= a.end).then_some(areas)
}

/// personality(2).
pub fn personality(persona: u64) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::personality(persona as libc::c_ulong) };
    check(r as i64, "personality", || format!("{persona:#x}")).map(drop)
}

/// prlimit(2) on another process (0: ourselves): soft and hard limit of one resource.
pub fn set_rlimit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    // SAFETY: rlimit64 is two u64; no old limit is asked for. The raw call: libc's wrapper types differ.
    let r = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            limit.as_ptr(),
            std::ptr::null_mut::<u64>(),
        )
    };
    check(r, "prlimit", || format!("{resource} {soft}:{hard}")).map(drop)
}

/// How many descriptors we may have: the soft limit.
pub fn most_descriptors() -> Result<u64> {
    let mut limit = [0u64; 2];
    // SAFETY: rlimit64 is two u64, and writable; no new limit is given.
    let r = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_NOFILE as libc::c_long,
            std::ptr::null::<u64>(),
            limit.as_mut_ptr(),
        )
    };
    check(r, "prlimit", || "RLIMIT_NOFILE")?;
    Ok(limit[0])
}

/// Our pid.
pub fn pid() -> i32 {
    // The raw call: a libc may cache the pid over clone3.
    // SAFETY: cannot fail.
    unsafe { libc::syscall(libc::SYS_getpid) as i32 }
}

/// Our parent's pid; 0 when it is outside of our pid namespace.
pub fn parent_pid() -> i32 {
    // SAFETY: cannot fail.
    unsafe { libc::syscall(libc::SYS_getppid) as i32 }
}

/// (effective uid, effective gid).
pub fn effective_ids() -> (u32, u32) {
    // SAFETY: cannot fail.
    unsafe {
        (
            libc::syscall(libc::SYS_geteuid) as u32,
            libc::syscall(libc::SYS_getegid) as u32,
        )
    }
}

/// A child program to start: everything is prepared, nothing is inherited but what is named here.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Program, used as given (no PATH lookup).
    pub path: &'a CStr,
    /// argv, the zeroth included.
    pub args: &'a ExecStrings,
    /// The whole environment.
    pub env: &'a ExecStrings,
    /// Descriptors for 0, 1, 2 and as many more as there are.
    pub fds: &'a [BorrowedFd<'a>],
    /// What else it does not share with us.
    pub tie: Tie,
}

/// How a spawned program hangs together with its maker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tie {
    /// It is killed when we die.
    DiesWithUs,
    /// It outlives us, in a process group of its own.
    Outlives,
    /// The same in a session of its own: no terminal, and nobody's hang-up.
    OwnSession,
    /// It is process 1 of a pid namespace, with a /proc of its own: when it ends or we do, the kernel kills all that came from it, in
    /// whatever session or group. Its thread of ours must live as long (prctl(2), PR_SET_PDEATHSIG).
    WholeFamily,
}

/// fork + exec without touching libc's fork handlers: works in a process that was itself made by clone3. Every
/// descriptor that is not named is closed on exec; signals are unblocked.
///
/// # Errors
/// Also the errno of a failed exec: it comes back through a close-on-exec pipe.
pub fn spawn(s: &Spawn<'_>) -> Result<(i32, Option<OwnedFd>)> {
    let (rd, low) = crate::fs::pipe()?;
    // Out of the way of the descriptors that the program is given.
    let wr = crate::fs::dup_above(std::os::fd::AsFd::as_fd(&low), s.fds.len() as RawFd)?;
    drop(low);
    let us = pid();
    let (flags, parent) = match s.tie {
        Tie::WholeFamily => (libc::CLONE_NEWPID | libc::CLONE_NEWNS, Some(pidfd_open(us)?)),
        Tie::DiesWithUs | Tie::Outlives | Tie::OwnSession => (0, None),
    };
    match fork(flags as u64, None)? {
        Forked::Child => {
            let e = spawned(s, us, parent.as_ref().map(std::os::fd::AsFd::as_fd));
            let code = e.errno().0.to_ne_bytes();
            // Nobody is left to tell if even this fails; the parent then sees end of file and the exit code.
            let _ = crate::fs::write(std::os::fd::AsFd::as_fd(&wr), &code);
            exit_now(127)
        }
        Forked::Parent { pid, pidfd, .. } => {
            drop(wr);
            let mut buf = [0u8; 4];
            match crate::fs::read(std::os::fd::AsFd::as_fd(&rd), &mut buf)? {
                4 => {
                    wait_pid(pid, Block::Yes)?;
                    Err(Error::new(
                        "exec",
                        s.path.to_string_lossy(),
                        Errno(i32::from_ne_bytes(buf)),
                    ))
                }
                _ => Ok((pid, pidfd)),
            }
        }
    }
}

fn spawned(s: &Spawn<'_>, parent: i32, maker: Option<BorrowedFd<'_>>) -> Error {
    let prepare = || -> Result<()> {
        match s.tie {
            Tie::DiesWithUs => {
                set_parent_death_signal(libc::SIGKILL)?;
                // It may have died before we asked for its signal. 0: it is outside of our pid namespace, and cannot be
                // told apart.
                if ![parent, 0].contains(&parent_pid()) {
                    exit_now(127);
                }
            }
            Tie::WholeFamily => {
                set_parent_death_signal(libc::SIGKILL)?;
                // It may have died before we asked; who the parent of process 1 is cannot be seen from inside.
                if maker.is_some_and(|maker| crate::wait::is_readable(maker)) {
                    exit_now(127);
                }
                setsid()?;
                own_proc()?;
            }
            Tie::Outlives => set_process_group()?,
            Tie::OwnSession => setsid()?,
        }
        // Copies above all wanted numbers first: the wanted descriptors may themselves be among them in another order.
        let count = s.fds.len() as RawFd;
        let copies = s
            .fds
            .iter()
            .map(|fd| crate::fs::dup_above(*fd, count))
            .collect::<Result<Vec<_>>>()?;
        for (n, fd) in copies.iter().enumerate() {
            crate::fs::dup_onto(std::os::fd::AsFd::as_fd(fd), n as RawFd, false)?;
        }
        crate::fs::cloexec_from(count as u32)?;
        crate::wait::reset_signals()
    };
    match prepare() {
        Ok(()) => execve(s.path, s.args, s.env),
        Err(e) => e,
    }
}

/// The processes of our own pid namespace under /proc, in our own mount namespace.
fn own_proc() -> Result<()> {
    // What is mounted on a shared mount would appear in all namespaces that share it.
    crate::mount::mount(c"", c"/proc", c"", libc::MS_PRIVATE | libc::MS_REC, c"")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    crate::mount::mount(c"proc", c"/proc", c"proc", flags, c"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_areas_of_arguments_are_found() {
        let fields: Vec<String> = (4..=52).map(|n| n.to_string()).collect();
        let stat = format!("1 (a) 9 b) S {}", fields.join(" "));
        assert_eq!(parse_argument_areas(&stat), Some([48..49, 50..51]));
        assert_eq!(parse_argument_areas("1 (a) S 0"), None);
    }

    #[test]
    fn a_process_that_was_waited_for_is_still_known() {
        let ended = |code: i32| match fork(0, None).unwrap() {
            Forked::Child => {
                if code < 0 {
                    let _ = kill(pid(), -code);
                }
                exit_now(code)
            }
            Forked::Parent { pid, .. } => {
                let pidfd = pidfd_open(pid).unwrap();
                let exit = wait_pid(pid, Block::Yes).unwrap();
                (exit, pidfd_exit(pidfd.as_fd()))
            }
        };
        let us = pidfd_open(pid()).unwrap();
        assert_eq!(pidfd_exit(us.as_fd()), None);
        for code in [0, 7, -libc::SIGKILL] {
            let (waited, known) = ended(code);
            match kernel_release() >= (6, 15) {
                true => assert_eq!(known, waited),
                false => assert_eq!(known, None),
            }
        }
    }

    /// Root, or whoever may make namespaces.
    #[test]
    fn a_family_ends_with_its_first() {
        let args = |words: &[&str]| ExecStrings::new(words.iter().copied()).unwrap();
        let script = "echo $$; (setsid sleep 1000 </dev/null &); ls -d /proc/[0-9]*; read x";
        let (theirs, ours) = crate::fs::pipe().unwrap();
        let (out, told) = crate::fs::pipe().unwrap();
        let spawn = Spawn {
            path: c"/bin/sh",
            args: &args(&["sh", "-c", script]),
            env: &args(&["PATH=/usr/bin:/bin"]),
            fds: &[theirs.as_fd(), told.as_fd(), told.as_fd()],
            tie: Tie::WholeFamily,
        };
        let (first, _) = match spawn_or_not(&spawn) {
            Some(spawned) => spawned,
            None => return,
        };
        drop((theirs, told));
        drop(ours);
        let said = String::from_utf8(crate::fs::read_all(out.as_fd(), 4096).unwrap()).unwrap();
        assert_eq!(wait_pid(first, Block::Yes).unwrap().map(|_| ()), Some(()));
        assert!(said.starts_with("1\n/proc/1\n"), "{said}");
    }

    /// None where namespaces are not to be had.
    fn spawn_or_not(s: &Spawn<'_>) -> Option<(i32, Option<OwnedFd>)> {
        match spawn(s) {
            Err(e) if e.is(libc::EPERM) => None,
            spawned => Some(spawned.unwrap()),
        }
    }

    #[test]
    fn a_forked_process_shows_another_command_line() {
        let (told, tell) = crate::fs::pipe().unwrap();
        match fork(0, None).unwrap() {
            Forked::Child => {
                let shown = hide_arguments(c"t:[x]").and_then(|()| {
                    let fd = crate::fs::open(Path::new("/proc/self/cmdline"), libc::O_RDONLY, 0)?;
                    let mut buf = [0u8; 4096];
                    let n = crate::fs::read(fd.as_fd(), &mut buf)?;
                    crate::fs::write(tell.as_fd(), &buf[..n])
                });
                exit_now(shown.map_or(1, |_| 0))
            }
            Forked::Parent { pid, .. } => {
                drop(tell);
                let mut buf = [0u8; 4096];
                let n = crate::fs::read(told.as_fd(), &mut buf).unwrap();
                assert_eq!(wait_pid(pid, Block::Yes).unwrap(), Some(Exit::Code(0)));
                let shown = std::str::from_utf8(&buf[..n]).unwrap();
                assert_eq!(shown.trim_end_matches('\0'), "t:[x]");
            }
        }
    }
}
