//! Typed Linux system calls.
//!
//! May not: decide anything, log, allocate where the kernel did not ask for it, know what a container is.
//! It is the only crate of the workspace with `unsafe`; every wrapper captures its arguments where they
//! are known, so that an [`Error`] reads like a line of strace.

#![allow(unsafe_code)]

pub mod alloc;
pub mod bpf;
pub mod copy;
pub mod cred;
pub mod errno;
pub mod event;
pub mod fs;
pub mod interrupt;
pub mod loopdev;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod net;
pub mod netlink;
pub mod process;
pub mod random;
pub mod sched;
pub mod seccomp;
pub mod socket;
pub mod sync;
pub mod tcp;
pub mod time;
pub mod tty;
pub mod udp;
pub mod wait;
pub mod watch;
pub mod xattr;
pub mod zone;

pub use errno::{Errno, Error, Result};
