//! `start`: lets the init through its gate.
//!
//! May not: wait for the user's program, unless the host waits for its READY; only for the hooks in front of it, and for as
//! long as the init lives.

use super::Container;
use crate::cli::Invocation;
use crate::cli::args::ContainerId;
use crate::error::{Doing, Error, Kind, Result};
use crate::gate::Opener;
use crate::hooks::Phase;
use crate::notify::Relay;
use crate::state::Status;
use std::os::fd::AsFd;

const STOPPED: &str = "cannot start a container that has stopped";
const RUNNING: &str = "cannot start an already running container";

/// `start`.
pub fn start(invocation: &Invocation, id: &ContainerId) -> Result<()> {
    let container = Container::find(&invocation.global.root, id)?;
    let lock = container.dir.lock()?;
    container.record()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => return Err(wrong(STOPPED)),
        Status::Running => return Err(wrong(RUNNING)),
        // Its init could not leave the gate, and we would wait for it.
        Status::Paused => return Err(wrong("cannot start a container in the paused state")),
        Status::Creating => return Err(wrong("cannot start a container that is still being created")),
    }
    let Some(gate) = Opener::find(&container.dir)? else {
        // Gone from the gate since we looked: another `start` has let it through, or it is dead.
        let gone = container.init()?.is_none();
        return Err(wrong(if gone { STOPPED } else { RUNNING }));
    };
    let relay = Relay::open(&container.dir)?;
    match gate.release(&container.dir) {
        Err(e) if e.is(libc::EPIPE) => return Err(wrong(STOPPED)),
        other => other?,
    }
    // Hooks may ask for the state, or kill and delete: they must not find the lock held.
    drop(lock);
    gate.wait(&container.dir)?;
    after_start(&container)?;
    await_ready(&container, relay)
}

/// Where the host waits for it, until the container is ready or gone.
pub fn await_ready(container: &Container, relay: Option<Relay>) -> Result<()> {
    match (relay, container.init()?, container.record()?.init) {
        (Some(relay), Some(init), Some(identity)) => relay.wait(init.as_fd(), identity.pid),
        _ => Ok(()),
    }
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
