//! Credentials: ids, groups, capabilities, the session keyring.
//!
//! May not: go through libc's set*id, which signals threads it believes exist; in a process made by clone3 that hangs.
//! Every change here is of the calling thread alone, which is the only one.

use crate::errno::{Result, check};

/// setresgid(2), all three.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    check(r, "setgid", || gid.to_string()).map(drop)
}

/// setresuid(2), all three.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: no pointers.
    let r = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    check(r, "setuid", || uid.to_string()).map(drop)
}

/// setgroups(2).
pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: pointer and length of a live slice of gid_t.
    let r = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    check(r, "setgroups", || format!("{groups:?}")).map(drop)
}

/// The names of capabilities(7), in the kernel's numbering.
pub const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The three capability sets of a thread as bit masks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Used in permission checks.
    pub effective: u64,
    /// The limit of effective.
    pub permitted: u64,
    /// Kept over execve with file inheritable bits.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3
const CAP_VERSION: u32 = 0x2008_0522;

/// capset(2).
pub fn set_capabilities(sets: &CapabilitySets) -> Result<()> {
    let header = CapHeader {
        version: CAP_VERSION,
        pid: 0,
    };
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes two data elements.
    let r = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(r, "capset", || "").map(drop)
}

/// capget(2) of ourselves.
pub fn capabilities() -> Result<CapabilitySets> {
    let header = CapHeader {
        version: CAP_VERSION,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 fills two data elements.
    let r = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    check(r, "capget", || "")?;
    let join = |f: fn(&CapData) -> u32| f(&data[0]) as u64 | (f(&data[1]) as u64) << 32;
    Ok(CapabilitySets {
        effective: join(|d| d.effective),
        permitted: join(|d| d.permitted),
        inheritable: join(|d| d.inheritable),
    })
}

/// PR_CAPBSET_DROP. EINVAL: the kernel does not know this capability.
pub fn drop_bounding(capability: u8) -> Result<()> {
    // SAFETY: integers only.
    let r = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability as u64, 0u64, 0u64, 0u64) };
    check(r as i64, "prctl", || format!("PR_CAPBSET_DROP {capability}")).map(drop)
}

/// PR_CAPBSET_READ: whether the bounding set holds this capability; EINVAL when the kernel does not know it.
pub fn in_bounding(capability: u8) -> Result<bool> {
    // SAFETY: integers only.
    let r = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability as u64, 0u64, 0u64, 0u64) };
    check(r as i64, "prctl", || format!("PR_CAPBSET_READ {capability}")).map(|v| v == 1)
}

/// PR_CAP_AMBIENT_CLEAR_ALL.
pub fn clear_ambient() -> Result<()> {
    let op = libc::PR_CAP_AMBIENT_CLEAR_ALL as u64;
    // SAFETY: integers only.
    let r = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, op, 0u64, 0u64, 0u64) };
    check(r as i64, "prctl", || "PR_CAP_AMBIENT_CLEAR_ALL").map(drop)
}

/// PR_CAP_AMBIENT_RAISE: needs the capability in permitted and inheritable.
pub fn raise_ambient(capability: u8) -> Result<()> {
    let op = libc::PR_CAP_AMBIENT_RAISE as u64;
    // SAFETY: integers only.
    let r = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, op, capability as u64, 0u64, 0u64) };
    check(r as i64, "prctl", || format!("PR_CAP_AMBIENT_RAISE {capability}")).map(drop)
}

/// keyctl(2) KEYCTL_JOIN_SESSION_KEYRING: a fresh session keyring of this name; returns its serial.
pub fn join_session_keyring(name: &std::ffi::CStr) -> Result<i32> {
    // SAFETY: `name` outlives the call.
    let r = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(r, "keyctl", || "KEYCTL_JOIN_SESSION_KEYRING").map(|v| v as i32)
}

/// keyctl(2) KEYCTL_DESCRIBE: the permission mask of a key.
pub fn key_permissions(key: i32) -> Result<u32> {
    let mut buf = [0u8; 256];
    // SAFETY: `buf` is writable for its length.
    let r = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_DESCRIBE,
            key,
            buf.as_mut_ptr(),
            buf.len(),
        )
    };
    let n = check(r, "keyctl", || "KEYCTL_DESCRIBE")? as usize;
    // "type;uid;gid;perm;description"
    let text = String::from_utf8_lossy(&buf[..n.min(buf.len())]).into_owned();
    let perm = text
        .split(';')
        .nth(3)
        .and_then(|p| u32::from_str_radix(p, 16).ok());
    perm.ok_or_else(|| crate::Error::new("keyctl", "KEYCTL_DESCRIBE", crate::Errno(libc::EINVAL)))
}

/// keyctl(2) KEYCTL_SETPERM.
pub fn set_key_permissions(key: i32, mask: u32) -> Result<()> {
    // SAFETY: integers only.
    let r = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, mask) };
    check(r, "keyctl", || "KEYCTL_SETPERM").map(drop)
}

/// geteuid(2).
pub fn effective_uid() -> u32 {
    // SAFETY: no pointers; cannot fail.
    unsafe { libc::geteuid() }
}

/// getegid(2).
pub fn effective_gid() -> u32 {
    // SAFETY: no pointers; cannot fail.
    unsafe { libc::getegid() }
}
