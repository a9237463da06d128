//! `pause` and `resume`.
//!
//! May not: report success before the kernel says that every process is frozen, or runs again.

use super::Container;
use crate::cli::Invocation;
use crate::cli::args::ContainerId;
use crate::error::{Error, Kind, Result};
use crate::state::Status;

/// `pause`.
pub fn pause(invocation: &Invocation, id: &ContainerId) -> Result<()> {
    let container = Container::find(&invocation.global.root, id)?;
    let _lock = container.dir.lock()?;
    match container.status()? {
        Status::Running | Status::Created => container.cgroup()?.freeze(),
        _ => Err(Error::of(Kind::WrongState, "container not running")),
    }
}

/// `resume`.
pub fn resume(invocation: &Invocation, id: &ContainerId) -> Result<()> {
    let container = Container::find(&invocation.global.root, id)?;
    let _lock = container.dir.lock()?;
    match container.cgroup()?.is_frozen()? {
        true => container.cgroup()?.thaw(),
        false => Err(Error::of(Kind::WrongState, "container not paused")),
    }
}
