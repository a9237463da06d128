//! The probe's system calls. Nothing here may interpret a result: a call returns its value or its errno.
//!
//! The probe is built alone by `build.rs`, for a static target, without any crate; so the few declarations that it
//! needs stand here instead of coming from `libc`. Everything goes through the one variadic `syscall` symbol, which
//! both musl and glibc export, with the numbers of the CPU in a table.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_long};
use std::io;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn fork() -> c_int;
}

/// An errno.
pub type Errno = i32;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const IOCTL: i64 = 16;
    pub const MSYNC: i64 = 26;
    pub const RT_SIGPROCMASK: i64 = 14;
    pub const EXIT: i64 = 60;
    pub const KILL: i64 = 62;
    pub const UNAME: i64 = 63;
    pub const UMASK: i64 = 95;
    pub const GETGROUPS: i64 = 115;
    pub const GETRESUID: i64 = 118;
    pub const GETRESGID: i64 = 120;
    pub const GETSID: i64 = 124;
    pub const CAPGET: i64 = 125;
    pub const RT_SIGTIMEDWAIT: i64 = 128;
    pub const MKNODAT: i64 = 259;
    pub const PERSONALITY: i64 = 135;
    pub const STATFS: i64 = 137;
    pub const GETPRIORITY: i64 = 140;
    pub const PRCTL: i64 = 157;
    pub const MOUNT: i64 = 165;
    pub const UMOUNT2: i64 = 166;
    pub const SETHOSTNAME: i64 = 170;
    pub const SCHED_GETAFFINITY: i64 = 204;
    pub const GET_MEMPOLICY: i64 = 239;
    pub const KEYCTL: i64 = 250;
    pub const IOPRIO_GET: i64 = 252;
    pub const UNSHARE: i64 = 272;
    pub const PRLIMIT64: i64 = 302;
    pub const SCHED_GETATTR: i64 = 315;
    pub const PTRACE: i64 = 101;
    pub const SETUID: i64 = 105;
    pub const SETGID: i64 = 106;
    pub const SETSID: i64 = 112;
}

/// aarch64 and riscv64 share the kernel's generic table.
#[cfg(not(target_arch = "x86_64"))]
mod number {
    pub const IOCTL: i64 = 29;
    pub const MSYNC: i64 = 227;
    pub const RT_SIGPROCMASK: i64 = 135;
    pub const EXIT: i64 = 93;
    pub const KILL: i64 = 129;
    pub const UNAME: i64 = 160;
    pub const UMASK: i64 = 166;
    pub const GETGROUPS: i64 = 158;
    pub const GETRESUID: i64 = 148;
    pub const GETRESGID: i64 = 150;
    pub const GETSID: i64 = 156;
    pub const CAPGET: i64 = 90;
    pub const RT_SIGTIMEDWAIT: i64 = 137;
    pub const MKNODAT: i64 = 33;
    pub const PERSONALITY: i64 = 92;
    pub const STATFS: i64 = 43;
    pub const GETPRIORITY: i64 = 141;
    pub const PRCTL: i64 = 167;
    pub const MOUNT: i64 = 40;
    pub const UMOUNT2: i64 = 39;
    pub const SETHOSTNAME: i64 = 161;
    pub const SCHED_GETAFFINITY: i64 = 123;
    pub const GET_MEMPOLICY: i64 = 236;
    pub const KEYCTL: i64 = 219;
    pub const IOPRIO_GET: i64 = 31;
    pub const UNSHARE: i64 = 97;
    pub const PRLIMIT64: i64 = 261;
    pub const SCHED_GETATTR: i64 = 275;
    pub const PTRACE: i64 = 117;
    pub const SETUID: i64 = 146;
    pub const SETGID: i64 = 144;
    pub const SETSID: i64 = 157;
}

fn last_errno() -> Errno {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

fn raw(nr: i64, a: [usize; 6]) -> Result<i64, Errno> {
    // SAFETY: callers in this file pass plain integers or pointers to live memory of the size that the call expects.
    let r = unsafe { syscall(nr as c_long, a[0], a[1], a[2], a[3], a[4], a[5]) };
    if r == -1 { Err(last_errno()) } else { Ok(r as i64) }
}

fn text(s: &str) -> Result<CString, Errno> {
    CString::new(s).map_err(|_| 22)
}

/// System call `nr` with integer arguments; whatever the kernel answers.
pub fn numbered(nr: i64, args: [usize; 6]) -> Result<i64, Errno> {
    raw(nr, args)
}

/// Effective, permitted and inheritable capability masks.
pub fn capabilities() -> Result<[u64; 3], Errno> {
    let mut header: [u32; 2] = [0x2008_0522, 0];
    let mut data = [0u32; 6];
    raw(
        number::CAPGET,
        [
            header.as_mut_ptr() as usize,
            data.as_mut_ptr() as usize,
            0,
            0,
            0,
            0,
        ],
    )?;
    let mask = |i: usize| u64::from(data[i]) | (u64::from(data[i + 3]) << 32);
    Ok([mask(0), mask(1), mask(2)])
}

/// prctl(2) with integer arguments.
pub fn prctl(option: usize, a: usize, b: usize) -> Result<i64, Errno> {
    raw(number::PRCTL, [option, a, b, 0, 0, 0])
}

/// A mask of the capabilities for which prctl(2) answers 1.
pub fn capability_mask(in_set: impl Fn(usize) -> Result<i64, Errno>) -> u64 {
    (0..64)
        .filter(|c| in_set(*c) == Ok(1))
        .fold(0, |m, c| m | (1 << c))
}

/// Real, effective and saved user id.
pub fn user_ids() -> [u32; 3] {
    let mut ids = [u32::MAX; 3];
    let first = ids.as_mut_ptr() as usize;
    let _ = raw(number::GETRESUID, [first, first + 4, first + 8, 0, 0, 0]);
    ids
}

/// Real, effective and saved group id.
pub fn group_ids() -> [u32; 3] {
    let mut ids = [u32::MAX; 3];
    let first = ids.as_mut_ptr() as usize;
    let _ = raw(number::GETRESGID, [first, first + 4, first + 8, 0, 0, 0]);
    ids
}

/// Supplementary groups.
pub fn groups() -> Result<Vec<u32>, Errno> {
    let mut list = vec![0u32; 65536];
    let n = raw(
        number::GETGROUPS,
        [list.len(), list.as_mut_ptr() as usize, 0, 0, 0, 0],
    )?;
    list.truncate(n as usize);
    Ok(list)
}

/// The umask, read by setting it and setting it back.
pub fn umask() -> u32 {
    let old = raw(number::UMASK, [0o777, 0, 0, 0, 0, 0]).unwrap_or(-1);
    let _ = raw(number::UMASK, [old as usize, 0, 0, 0, 0, 0]);
    old as u32
}

/// Soft and hard limit of `resource`.
pub fn rlimit(resource: usize) -> Result<[u64; 2], Errno> {
    let mut lim = [0u64; 2];
    raw(
        number::PRLIMIT64,
        [0, resource, 0, lim.as_mut_ptr() as usize, 0, 0],
    )?;
    Ok(lim)
}

/// The execution domain.
pub fn personality() -> Result<i64, Errno> {
    raw(number::PERSONALITY, [0xffff_ffff, 0, 0, 0, 0, 0])
}

/// Class and priority of I/O, packed as the kernel packs them.
pub fn io_priority() -> Result<i64, Errno> {
    raw(number::IOPRIO_GET, [1, 0, 0, 0, 0, 0])
}

/// policy, flags, nice, priority, runtime, deadline, period.
pub fn scheduling() -> Result<[i64; 7], Errno> {
    let mut a = [0u64; 8];
    raw(number::SCHED_GETATTR, [0, a.as_mut_ptr() as usize, 56, 0, 0, 0])?;
    let nice = (a[2] & 0xffff_ffff) as u32 as i32;
    Ok([
        (a[0] >> 32) as i64,
        a[1] as i64,
        i64::from(nice),
        (a[2] >> 32) as i64,
        a[3] as i64,
        a[4] as i64,
        a[5] as i64,
    ])
}

/// 20 minus the nice value, as the bare system call answers.
pub fn priority() -> Result<i64, Errno> {
    raw(number::GETPRIORITY, [0, 0, 0, 0, 0, 0])
}

/// The CPUs on which this process may run.
pub fn affinity() -> Result<Vec<usize>, Errno> {
    let mut mask = [0u64; 128];
    raw(
        number::SCHED_GETAFFINITY,
        [0, size_of_val(&mask), mask.as_mut_ptr() as usize, 0, 0, 0],
    )?;
    Ok((0..mask.len() * 64)
        .filter(|c| mask[c / 64] >> (c % 64) & 1 == 1)
        .collect())
}

/// Memory policy mode and nodes.
pub fn memory_policy() -> Result<(i64, Vec<usize>), Errno> {
    let mut mode = [0i32; 1];
    let mut mask = [0u64; 16];
    raw(
        number::GET_MEMPOLICY,
        [
            mode.as_mut_ptr() as usize,
            mask.as_mut_ptr() as usize,
            1024,
            0,
            0,
            0,
        ],
    )?;
    let nodes = (0..1024).filter(|c| mask[c / 64] >> (c % 64) & 1 == 1).collect();
    Ok((i64::from(mode[0]), nodes))
}

/// `type;uid;gid;perm;description` of the session keyring.
pub fn session_keyring() -> Result<String, Errno> {
    let mut buf = vec![0u8; 1024];
    // KEYCTL_DESCRIBE of KEY_SPEC_SESSION_KEYRING.
    let n = raw(
        number::KEYCTL,
        [6, (-3i64) as usize, buf.as_mut_ptr() as usize, buf.len(), 0, 0],
    )?;
    buf.truncate((n as usize).saturating_sub(1).min(1024));
    Ok(String::from_utf8_lossy(&buf).into_owned())
}

/// The six strings of uname(2).
pub fn uname() -> Result<[String; 6], Errno> {
    let mut buf = [0u8; 390];
    raw(number::UNAME, [buf.as_mut_ptr() as usize, 0, 0, 0, 0, 0])?;
    Ok(std::array::from_fn(|i| {
        let field = &buf[i * 65..(i + 1) * 65];
        let end = field.iter().position(|b| *b == 0).unwrap_or(65);
        String::from_utf8_lossy(&field[..end]).into_owned()
    }))
}

/// Rows and columns of the terminal on `fd`.
pub fn window_size(fd: usize) -> Result<[u16; 2], Errno> {
    let mut ws = [0u16; 4];
    raw(number::IOCTL, [fd, 0x5413, ws.as_mut_ptr() as usize, 0, 0, 0])?;
    Ok([ws[0], ws[1]])
}

/// The session id.
pub fn session() -> i64 {
    raw(number::GETSID, [0; 6]).unwrap_or(-1)
}

/// File system type and flags of `path`.
pub fn statfs(path: &str) -> Result<[u64; 3], Errno> {
    let path = text(path)?;
    let mut buf = [0u64; 32];
    raw(
        number::STATFS,
        [path.as_ptr() as usize, buf.as_mut_ptr() as usize, 0, 0, 0, 0],
    )?;
    // f_type, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree, f_fsid, f_namelen, f_frsize, f_flags
    Ok([buf[0], buf[10], buf[2] * buf[1]])
}

/// mount(2).
pub fn mount(source: &str, target: &str, fs: &str, flags: usize, data: &str) -> Result<(), Errno> {
    let (s, t, f, d) = (text(source)?, text(target)?, text(fs)?, text(data)?);
    let ptr = |c: &CString| c.as_ptr() as usize;
    raw(number::MOUNT, [ptr(&s), ptr(&t), ptr(&f), flags, ptr(&d), 0]).map(drop)
}

/// umount2(2).
pub fn umount(target: &str, flags: usize) -> Result<(), Errno> {
    let t = text(target)?;
    raw(number::UMOUNT2, [t.as_ptr() as usize, flags, 0, 0, 0, 0]).map(drop)
}

/// mknodat(2) relative to the working directory.
pub fn mknod(path: &str, mode: usize, major: u64, minor: u64) -> Result<(), Errno> {
    let p = text(path)?;
    let dev = (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12);
    raw(
        number::MKNODAT,
        [-100i64 as usize, p.as_ptr() as usize, mode, dev as usize, 0, 0],
    )
    .map(drop)
}

/// sethostname(2).
pub fn set_hostname(name: &str) -> Result<(), Errno> {
    raw(
        number::SETHOSTNAME,
        [name.as_ptr() as usize, name.len(), 0, 0, 0, 0],
    )
    .map(drop)
}

/// unshare(2).
pub fn unshare(flags: usize) -> Result<(), Errno> {
    raw(number::UNSHARE, [flags, 0, 0, 0, 0, 0]).map(drop)
}

/// PTRACE_SEIZE of `pid`.
pub fn ptrace_seize(pid: usize) -> Result<(), Errno> {
    raw(number::PTRACE, [0x4206, pid, 0, 0, 0, 0]).map(drop)
}

/// kill(2).
pub fn kill(pid: i64, signal: usize) -> Result<(), Errno> {
    raw(number::KILL, [pid as usize, signal, 0, 0, 0, 0]).map(drop)
}

/// setuid(2).
pub fn set_uid(id: usize) -> Result<(), Errno> {
    raw(number::SETUID, [id, 0, 0, 0, 0, 0]).map(drop)
}

/// setgid(2).
pub fn set_gid(id: usize) -> Result<(), Errno> {
    raw(number::SETGID, [id, 0, 0, 0, 0, 0]).map(drop)
}

/// A session and with it a process group of one's own; the leader of a group cannot have one.
pub fn new_session() -> Result<i64, Errno> {
    raw(number::SETSID, [0; 6])
}

/// Blocks `signals` so that [`wait_signal`] receives them. A blocked signal reaches even the init of a pid namespace,
/// which otherwise never sees a signal that it does not handle.
pub fn block_signals(signals: &[u32]) -> Result<u64, Errno> {
    let set = signals.iter().fold(0u64, |m, s| m | (1 << (s - 1)));
    raw(number::RT_SIGPROCMASK, [0, &raw const set as usize, 0, 8, 0, 0])?;
    Ok(set)
}

/// The next of the blocked signals in `set`, waiting at most `seconds`.
pub fn wait_signal(set: u64, seconds: u64) -> Result<i64, Errno> {
    let limit = [seconds, 0u64];
    raw(
        number::RT_SIGTIMEDWAIT,
        [&raw const set as usize, 0, limit.as_ptr() as usize, 8, 0, 0],
    )
}

/// fork(2); 0 in the child.
pub fn split() -> Result<i32, Errno> {
    // SAFETY: the probe has one thread, so the child may go on like any process.
    let pid = unsafe { fork() };
    if pid < 0 { Err(last_errno()) } else { Ok(pid) }
}

/// _exit(2) of the calling thread alone.
pub fn end_thread<T>() -> Result<T, Errno> {
    raw(number::EXIT, [0; 6]).and(Err(38))
}

/// Makes sure that the pages of `memory` exist: msync(2) answers ENOMEM where a page is not mapped.
pub fn is_mapped(memory: &[u8]) -> bool {
    let page = memory.as_ptr() as usize & !4095;
    raw(number::MSYNC, [page, memory.len(), 1, 0, 0, 0]).is_ok()
}

/// The pointer type of C strings is not the same on every CPU; this fails to compile where ours is not a byte.
const _: () = assert!(size_of::<c_char>() == 1);
