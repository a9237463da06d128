//! Scheduling: policy, I/O priority, CPU affinity.
//!
//! May not: know names; callers translate them.

use crate::errno::{Result, check};

/// `struct sched_attr` of sched_setattr(2), version 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Set by [`set_scheduler`].
    pub size: u32,
    /// SCHED_*.
    pub policy: u32,
    /// SCHED_FLAG_*.
    pub flags: u64,
    /// For OTHER and BATCH.
    pub nice: i32,
    /// For FIFO and RR.
    pub priority: u32,
    /// DEADLINE, nanoseconds.
    pub runtime: u64,
    /// DEADLINE, nanoseconds.
    pub deadline: u64,
    /// DEADLINE, nanoseconds.
    pub period: u64,
}

/// sched_setattr(2) on ourselves.
pub fn set_scheduler(attr: SchedAttr) -> Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..attr
    };
    // SAFETY: `attr` outlives the call and carries its size.
    let r = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    check(r, "sched_setattr", || "").map(drop)
}

/// ioprio_set(2) on ourselves: class 1 RT, 2 BE, 3 IDLE; level 0 (highest) to 7.
pub fn set_io_priority(class: u32, level: u32) -> Result<()> {
    const WHO_PROCESS: i32 = 1;
    // SAFETY: integers only.
    let r = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, (class << 13 | level) as i32) };
    check(r, "ioprio_set", || format!("class {class} level {level}")).map(drop)
}

/// sched_setaffinity(2): bit n of word n/64 is CPU n. Any number of CPUs.
pub fn set_affinity(pid: i32, mask: &[u64]) -> Result<()> {
    // SAFETY: pointer and size of a live slice.
    let r = unsafe { libc::syscall(libc::SYS_sched_setaffinity, pid, size_of_val(mask), mask.as_ptr()) };
    check(r, "sched_setaffinity", || "").map(drop)
}
