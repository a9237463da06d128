//! `start`: lets the init through its gate.
//!
//! May not: wait for the user's program; only for the hooks in front of it, and for as long as the init lives.

use super::Container;
use crate::cli::Invocation;
use crate::cli::args::ContainerId;
use crate::error::{Doing, Error, Kind, Result};
use crate::gate::Opener;
use crate::hooks::Phase;
use crate::state::Status;

/// `start`.
pub fn start(invocation: &Invocation, id: &ContainerId) -> Result<()> {
    let container = Container::find(&invocation.global.root, id)?;
    let lock = container.dir.lock()?;
    container.record()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(wrong("cannot start a container that has stopped")),
        Status::Running => return Err(wrong("cannot start an already running container")),
        Status::Paused => return Err(wrong("cannot start a container in the paused state")),
        Status::Creating => return Err(wrong("cannot start a container that is still being created")),
    }
    let Some(gate) = Opener::find(&container.dir)? else {
        return Err(wrong("cannot start a container that has stopped"));
    };
    // Hooks may ask for the state, or kill and delete: they must not find the lock held.
    drop(lock);
    gate.open(&container.dir)?;
    after_start(&container)
}

/// The poststart hooks. One that fails ends the container, says runtime-spec 1.3.
pub fn after_start(container: &Container) -> Result<()> {
    container
        .run_post_hooks(Phase::Poststart)
        .map_err(|e| e.and_also(super::kill::kill_everything(container)))
        .doing(|| "the container was stopped")
}

fn wrong(text: &str) -> Error {
    Error::of(Kind::WrongState, text)
}
