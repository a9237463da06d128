//! Supervision of containers: a runc-compatible runtime is called, its containers' processes are waited for, their
//! streams are copied, their memory and their figures are watched.
//!
//! May not: know containerd, ttrpc or any other protocol. Two front ends use it: `containerd-shim-runb-v2` and the
//! monitor of `brig`. One thread, one event loop; nothing blocks in it.

pub mod cgroup;
pub mod metrics;
pub mod mount;
pub mod oom;
