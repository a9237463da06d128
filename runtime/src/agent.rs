//! The seccomp agent: who decides the calls that a filter has the verdict NOTIFY for (`listenerPath`).
//!
//! runtime-spec, config-linux, "The Container Process State". One connection for each process; what it decides, and whether it ever
//! does, is between the agent and the container.

use crate::console;
use crate::error::{Error, Result};
use crate::hooks::HookState;
use crate::seccomp::Listener;
use serde::Serialize;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// About the process whose calls are to be decided.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessState<'a> {
    oci_version: &'static str,
    /// What comes along.
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: HookState<'a>,
}

/// Sends the listener of the process `pid` of this container.
///
/// # Errors
/// The agent is not there, or takes longer than [`console::PATIENCE`].
pub fn hand_over(agent: &Listener, pid: i32, state: HookState<'_>, listener: OwnedFd) -> Result<()> {
    let about = ProcessState {
        oci_version: state.oci_version,
        fds: ["seccompFd"],
        pid,
        metadata: &agent.metadata,
        state,
    };
    let text = serde_json::to_string(&about).map_err(|e| Error::new(e.to_string()))?;
    let socket = sys::socket::connect(
        Path::new(&agent.path),
        sys::socket::Kind::Stream,
        console::PATIENCE,
    )
    .map_err(|e| {
        Error::from(e).doing("failed to connect with seccomp agent specified in the seccomp profile")
    })?;
    sys::socket::send(socket.as_fd(), text.as_bytes(), &[listener.as_fd()])
        .map(drop)
        .map_err(|e| Error::from(e).doing(format!("cannot send seccomp fd to {}", agent.path)))
}
