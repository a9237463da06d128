//! bpf(2) as far as device filters of cgroup v2 need it: load, attach, detach, query.
//!
//! May not: know what a filter means; programs are plain data made elsewhere.

use crate::errno::{Error, Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u8,
    /// Destination in the low nibble, source in the high one (little-endian bit fields).
    pub registers: u8,
    /// Jump or memory offset.
    pub off: i16,
    /// Immediate value.
    pub imm: i32,
}

#[cfg(target_endian = "big")]
compile_error!("struct bpf_insn swaps its register nibbles on big-endian CPUs");

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// `union bpf_attr`, the part used by BPF_PROG_LOAD up to `prog_name`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// BPF_PROG_ATTACH and BPF_PROG_DETACH.
#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// BPF_PROG_QUERY.
#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    pad: u32,
}

/// BPF_PROG_GET_FD_BY_ID.
#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: i32, name: &'static str, attr: &mut T) -> Result<i64> {
    // SAFETY: `attr` is one of the repr(C) structures above, matching `command`; it and what it points to outlive
    // the call, and its true size is given.
    let r = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    check(r, "bpf", || name)
}

fn own(ret: i64) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor to us; nobody else owns it. It is close-on-exec.
    unsafe { OwnedFd::from_raw_fd(ret as RawFd) }
}

/// Loads a BPF_PROG_TYPE_CGROUP_DEVICE program.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN or CAP_BPF in the initial user namespace. When the verifier refuses the program, its
/// last words are in the error.
pub fn load_device_filter(program: &[Insn]) -> Result<OwnedFd> {
    let mut attr = Load {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name: *b"runb_devices\0\0\0\0",
        ..Load::default()
    };
    match bpf(PROG_LOAD, "BPF_PROG_LOAD", &mut attr) {
        Ok(fd) => Ok(own(fd)),
        // EINVAL and EACCES are the verifier's: ask again with a log. Without one it is a good deal cheaper.
        Err(e) if e.is(libc::EINVAL) || e.is(libc::EACCES) => Err(explain(attr, e)),
        Err(e) => Err(e),
    }
}

fn explain(mut attr: Load, first: Error) -> Error {
    let mut log = vec![0u8; 64 << 10];
    attr.log_level = 1;
    attr.log_size = log.len() as u32;
    attr.log_buf = log.as_mut_ptr() as u64;
    match bpf(PROG_LOAD, "BPF_PROG_LOAD", &mut attr) {
        Ok(fd) => drop(own(fd)),
        Err(e) if e.errno() != first.errno() => return e,
        Err(_) => {}
    }
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]).into_owned();
    let words = text
        .lines()
        .rev()
        .find(|l| !l.is_empty() && !l.starts_with("processed "));
    match words {
        Some(w) => Error::new("bpf", format!("BPF_PROG_LOAD ({w})"), first.errno()),
        None => first,
    }
}

/// Adds a device filter to a cgroup v2 directory; the filters of its ancestors and others of its own stay in force
/// (BPF_F_ALLOW_MULTI). With `replacing`, that filter of the same directory is exchanged in one step (kernel 5.6).
pub fn attach_device_filter(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replacing: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replacing.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replacing.map_or(0, |fd| fd.as_raw_fd() as u32),
    };
    bpf(PROG_ATTACH, "BPF_PROG_ATTACH", &mut attr).map(drop)
}

/// Takes a device filter off a cgroup directory.
pub fn detach_device_filter(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = Attach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    bpf(PROG_DETACH, "BPF_PROG_DETACH", &mut attr).map(drop)
}

/// The device filters attached to a cgroup directory itself, its ancestors' not counted.
///
/// # Errors
/// ENOSPC when there are more than 64 (the kernel's own limit); EPERM without CAP_NET_ADMIN or CAP_BPF.
pub fn device_filters(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut attr = Query {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..Query::default()
    };
    bpf(PROG_QUERY, "BPF_PROG_QUERY", &mut attr)?;
    let mut out = Vec::new();
    for id in ids.iter().take(attr.prog_cnt as usize) {
        match bpf(
            PROG_GET_FD_BY_ID,
            "BPF_PROG_GET_FD_BY_ID",
            &mut ById {
                id: *id,
                ..ById::default()
            },
        ) {
            Ok(fd) => out.push(own(fd)),
            Err(e) if e.is(libc::ENOENT) => {} // detached since
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}
