//! Where each namespace of a container comes from: `host`, `container:X` and the other words of the command line.
//!
//! May not: know which containers there are.

use image::{Error, Result};

use super::Host;
use super::host::Hierarchy;
use crate::model::HostConfig;

/// A namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// Its own.
    Private,
    /// Its own, and others may join it (ipc).
    Shareable,
    /// Its own, with nothing in it.
    None,
    Host,
    /// Of the container with this name or id.
    Container(&'a str),
}

impl<'a> Mode<'a> {
    /// The other container.
    pub fn container(self) -> Option<&'a str> {
        match self {
            Mode::Container(name) => Some(name),
            _ => None,
        }
    }
}

/// `HostConfig.NetworkMode`. Names of networks are private ones: who makes the network says what is in it.
///
/// # Errors
/// `container:` of nothing.
pub fn network(mode: &str) -> Result<Mode<'_>> {
    match mode {
        "host" => Ok(Mode::Host),
        "none" => Ok(Mode::None),
        "container" | "container:" => Err(Error::invalid(
            "invalid network mode: invalid container format container:<name|id>",
        )),
        _ => Ok(mode
            .strip_prefix("container:")
            .map_or(Mode::Private, Mode::Container)),
    }
}

/// `HostConfig.IpcMode`; private by default since Docker 20.10.
///
/// # Errors
/// No such mode.
pub fn ipc(mode: &str) -> Result<Mode<'_>> {
    match mode {
        "" | "private" => Ok(Mode::Private),
        "shareable" => Ok(Mode::Shareable),
        "none" => Ok(Mode::None),
        "host" => Ok(Mode::Host),
        _ => of_container(mode).ok_or_else(|| Error::invalid(format!("invalid IPC mode: {mode}"))),
    }
}

/// `HostConfig.PidMode`.
///
/// # Errors
/// No such mode.
pub fn pid(mode: &str) -> Result<Mode<'_>> {
    match mode {
        "" | "private" => Ok(Mode::Private),
        "host" => Ok(Mode::Host),
        _ => of_container(mode).ok_or_else(|| Error::invalid(format!("invalid PID mode: {mode}"))),
    }
}

/// `HostConfig.UTSMode`.
///
/// # Errors
/// No such mode.
pub fn uts(mode: &str) -> Result<Mode<'_>> {
    match mode {
        "" | "private" => Ok(Mode::Private),
        "host" => Ok(Mode::Host),
        _ => Err(Error::invalid(format!("invalid UTS mode: {mode}"))),
    }
}

/// `HostConfig.CgroupnsMode`. Under version 1 the default is none: programs there look for themselves in /proc/self/cgroup.
///
/// # Errors
/// No such mode.
pub fn cgroup<'a>(host: &HostConfig, machine: &Host) -> Result<Mode<'a>> {
    match host.cgroupns_mode.as_str() {
        "private" => Ok(Mode::Private),
        "host" => Ok(Mode::Host),
        "" if machine.cgroups.hierarchy == Hierarchy::Unified => Ok(Mode::Private),
        "" => Ok(Mode::Host),
        mode => Err(Error::invalid(format!("invalid cgroup namespace mode: {mode}"))),
    }
}

fn of_container(mode: &str) -> Option<Mode<'_>> {
    mode.strip_prefix("container:")
        .filter(|name| !name.is_empty())
        .map(Mode::Container)
}
