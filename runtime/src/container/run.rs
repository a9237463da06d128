//! `run`: create, start, and stay with the container unless it is detached.
//!
//! May not: leave a foreground container behind, unless `--keep` asks for it.

use super::{Container, create, delete, start};
use crate::cli::Invocation;
use crate::cli::args;
use crate::console::Attendance;
use crate::error::{Kind, Result};
use crate::hooks::Phase;
use crate::steps::Parking;
use crate::supervise;

/// `run`: the exit code of the container, or 0 when it is detached.
pub fn run(invocation: &Invocation, args: &args::Run) -> Result<i32> {
    if args.detach {
        let made = create::make(invocation, &args.create, Parking::Never, Attendance::Detached)?;
        let container = Container::made(made.dir, made.record);
        drop(made.lock);
        return start::after_start(&container).map(|()| 0);
    }
    // Blocked before the fork, so that none is lost; the child unblocks them.
    let signals = sys::wait::block_and_watch_signals()?;
    if !args.no_subreaper {
        sys::process::set_subreaper()?;
    }
    let made = create::make(invocation, &args.create, Parking::Never, Attendance::Foreground)?;
    let container = Container::made(made.dir, made.record);
    drop(made.lock);
    let lived = start::after_start(&container)
        .and_then(|()| supervise::supervise(&made.process, signals, made.master));
    if args.keep {
        return lived.map(|exit| exit.shell_code());
    }
    match lived {
        Ok(exit) => remove(invocation, &container).map(|()| exit.shell_code()),
        Err(e) => Err(e
            .and_also(made.process.destroy())
            .and_also(remove(invocation, &container))),
    }
}

/// What `delete` does, for a container that is stopped and known. One that somebody else has deleted is gone as well.
fn remove(invocation: &Invocation, container: &Container) -> Result<()> {
    let _lock = match container.dir.lock() {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    delete::destroy(container)?;
    if let Err(e) = container.run_post_hooks(Phase::Poststop) {
        invocation.log.warn(&e.to_string());
    }
    container.dir.remove()
}
