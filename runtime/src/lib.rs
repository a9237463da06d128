//! runb: a low-level OCI container runtime, drop-in for runc.
//!
//! The way of the data: [`config`] (as written) -> [`plan`] (pure) -> steps (order is data) -> a child that applies
//! them, a parent that answers -> the record in the state directory. See ARCHITECTURE.md.

pub mod agent;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod console;
pub mod container;
pub mod dbus;
pub mod default_spec;
pub mod error;
pub mod facts;
pub mod features;
pub mod gate;
pub mod hooks;
pub mod idmap;
pub mod init;
pub mod launch;
pub mod log;
pub mod namespaces;
pub mod netdev;
pub mod notify;
pub mod plan;
pub mod problems;
pub mod process;
pub mod procfs;
pub mod rootfs;
pub mod seal;
pub mod seccomp;
pub mod state;
pub mod steps;
pub mod supervise;
pub mod sysctl;
pub use sys::time;
pub mod wire;
