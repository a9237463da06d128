//! seccomp(2): classic BPF programs that judge system calls.
//!
//! May not: build programs, or drop a flag that the kernel refuses and try again. What was asked for is loaded
//! or an error says so.

use crate::errno::{Errno, Error, Result, check};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// One instruction of classic BPF: `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Insn {
    /// Operation: class, size, mode.
    pub code: u16,
    /// Instructions to skip when a condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Insn,
}

/// Longest program that the kernel takes (BPF_MAXINSNS).
pub const MAX_INSNS: usize = 4096;

/// Apply to every thread of the process.
pub const FLAG_TSYNC: u32 = 1 << 0;
/// Log every verdict but ALLOW (Linux 4.14).
pub const FLAG_LOG: u32 = 1 << 1;
/// Leave speculative store bypass alone (Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// Return a descriptor that receives the calls with verdict USER_NOTIF (Linux 5.0).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// Once its notification was received, let only fatal signals interrupt the caller (Linux 5.19). Only with
/// [`FLAG_NEW_LISTENER`].
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Verdict: kill the process.
pub const RET_KILL_PROCESS: u32 = 0x8000_0000;
/// Verdict: kill the thread.
pub const RET_KILL_THREAD: u32 = 0;
/// Verdict: send SIGSYS.
pub const RET_TRAP: u32 = 0x0003_0000;
/// Verdict: fail with the errno in the low 16 bits.
pub const RET_ERRNO: u32 = 0x0005_0000;
/// Verdict: ask the listener.
pub const RET_USER_NOTIF: u32 = 0x7fc0_0000;
/// Verdict: ask the tracer, with the low 16 bits as message; ENOSYS without one.
pub const RET_TRACE: u32 = 0x7ff0_0000;
/// Verdict: log, then allow.
pub const RET_LOG: u32 = 0x7ffc_0000;
/// Verdict: allow.
pub const RET_ALLOW: u32 = 0x7fff_0000;

const SET_MODE_FILTER: u32 = 1;
const GET_ACTION_AVAIL: u32 = 2;

/// Loads a program for the calling thread and all that it will start (seccomp(2), SECCOMP_SET_MODE_FILTER).
///
/// Needs no_new_privs or CAP_SYS_ADMIN (EACCES). EINVAL: the kernel does not know a flag or refuses the program.
/// Gives the listener's descriptor (close-on-exec) when `flags` has [`FLAG_NEW_LISTENER`].
pub fn load(insns: &[Insn], flags: u32) -> Result<Option<OwnedFd>> {
    let what = || format!("filter of {} instructions, flags {flags:#x}", insns.len());
    let Ok(len) = u16::try_from(insns.len()) else {
        return Err(Error::new("seccomp", what(), Errno(libc::EINVAL)));
    };
    let program = Program {
        len,
        filter: insns.as_ptr(),
    };
    // SAFETY: `program` points at `len` instructions that outlive the call; the kernel copies them.
    let r = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            &program as *const Program,
        )
    };
    let r = check(r, "seccomp", what)?;
    if flags & FLAG_NEW_LISTENER != 0 {
        // SAFETY: with this flag the result is a new descriptor that nobody else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(r as RawFd) }));
    }
    if r > 0 {
        // TSYNC reports the thread that could not follow, and has loaded nothing.
        return Err(Error::new("seccomp", format!("thread {r}"), Errno(libc::ESRCH)));
    }
    Ok(None)
}

/// Which of the `FLAG_*` this kernel knows. Loads nothing.
pub fn probe_flags() -> u32 {
    let wait = FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV;
    [
        (FLAG_TSYNC, FLAG_TSYNC),
        (FLAG_LOG, FLAG_LOG),
        (FLAG_SPEC_ALLOW, FLAG_SPEC_ALLOW),
        (FLAG_NEW_LISTENER, FLAG_NEW_LISTENER),
        (FLAG_WAIT_KILLABLE_RECV, wait),
    ]
    .into_iter()
    .filter(|(_, ask)| knows_flags(*ask))
    .fold(0, |all, (flag, _)| all | flag)
}

/// The kernel looks at the flags before it looks at the program: EFAULT means that it got as far as that.
fn knows_flags(flags: u32) -> bool {
    // SAFETY: a null program is never read; the call fails whatever the flags are.
    let r = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            SET_MODE_FILTER,
            flags,
            std::ptr::null::<Program>(),
        )
    };
    r < 0 && Errno::last().0 == libc::EFAULT
}

/// True when this kernel knows the verdict (a `RET_*`).
pub fn probe_action(action: u32) -> bool {
    // SAFETY: `action` outlives the call, which only reads it.
    let r = unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &action as *const u32) };
    r == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_program_is_refused() {
        assert!(load(&[], 0).unwrap_err().is(libc::EINVAL));
        assert!(
            load(&vec![Insn::default(); 65536], 0)
                .unwrap_err()
                .is(libc::EINVAL)
        );
    }

    #[test]
    fn an_unknown_flag_is_refused_and_not_dropped() {
        let allow = Insn {
            code: 0x06,
            k: RET_ALLOW,
            ..Insn::default()
        };
        assert!(load(&[allow], 1 << 20).unwrap_err().is(libc::EINVAL));
    }

    #[test]
    fn the_kernel_tells_what_it_knows() {
        let known = probe_flags();
        assert_eq!(known & (FLAG_LOG | FLAG_SPEC_ALLOW), FLAG_LOG | FLAG_SPEC_ALLOW);
        assert!(!knows_flags(1 << 20));
        assert!(probe_action(RET_ALLOW));
        assert!(!probe_action(0x1234_0000));
    }
}
