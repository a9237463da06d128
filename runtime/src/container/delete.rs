//! `delete`: nothing of the container stays.
//!
//! May not: give up half-way: what is gone already is no error, and the state directory goes last.

use super::{Container, kill};
use crate::cgroup::{self, OwnCgroups};
use crate::cli::Invocation;
use crate::cli::args;
use crate::config::{self, Config};
use crate::error::{Error, Kind, Result};
use crate::hooks::Phase;
use crate::state::{Record, StateDir, StateRoot, Status};

/// `delete`.
pub fn delete(invocation: &Invocation, args: &args::Delete) -> Result<()> {
    let mut container = match Container::find(&invocation.global.root, &args.id) {
        Err(e) if e.kind() == Kind::NotFound && args.force => return Ok(()),
        // A damaged record must not make a container immortal.
        Err(e) if args.force && e.kind() != Kind::NotFound => return remove_damaged(invocation, args, e),
        other => other?,
    };
    let status = container.status()?;
    match status {
        Status::Stopped | Status::Created => {}
        _ if args.force => {}
        other => return Err(not_stopped(args, other)),
    }
    if status != Status::Stopped {
        kill::kill_everything(&container)?;
    }
    // A create under way ends with its init and lets go of the lock.
    let _lock = match container.dir.lock() {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    container.reload()?;
    if container.init()?.is_some() {
        // That create has come to its end instead.
        kill::kill_everything(&container)?;
    }
    destroy(&container)?;
    // The spec: warn and go on.
    if let Err(e) = container.run_post_hooks(Phase::Poststop) {
        invocation.log.warn(&e.to_string());
    }
    container.dir.remove()
}

/// Kills what is left in the cgroup, and removes it.
pub fn destroy(container: &Container) -> Result<()> {
    let cgroup = container.cgroup()?;
    if !cgroup.remove_if_empty() {
        cgroup.kill_all()?;
        cgroup.destroy()?;
    }
    match container.record.as_ref().and_then(|r| r.rdt.as_ref()) {
        Some(rdt) => rdt.destroy(),
        None => Ok(()),
    }
}

fn not_stopped(args: &args::Delete, status: Status) -> Error {
    let text = format!(
        "cannot delete container {} that is not stopped: {}",
        args.id,
        status.word()
    );
    Error::of(Kind::WrongState, text)
}

fn remove_damaged(invocation: &Invocation, args: &args::Delete, cause: Error) -> Result<()> {
    invocation.log.warn(&format!(
        "removing container {} with a damaged record: {cause}",
        args.id.as_str()
    ));
    let dir = StateRoot::new(&invocation.global.root).find(&args.id)?;
    let _lock = match dir.lock() {
        Err(e) if e.kind() == Kind::NotFound => return Ok(()),
        other => other?,
    };
    let record = dir.parse_record().ok().flatten().or_else(|| guess(&dir));
    if record.is_none() {
        invocation.log.warn(&format!(
            "the processes and cgroups of container {} are not known and stay as they are",
            args.id.as_str()
        ));
    }
    let container = Container {
        dir,
        record,
        under_way: false,
    };
    kill::kill_everything(&container)?;
    destroy(&container)?;
    container.dir.remove()
}

/// A record with the cgroups that create has made by the configuration that it kept. Create refuses cgroups that are in
/// use, so whoever is in them belongs to the container. A path that is not absolute depends on where create ran; from here it
/// could lead to somebody else.
fn guess(dir: &StateDir) -> Option<Record> {
    let config: Config = config::parse(&dir.load_config().ok()?).ok()?;
    let asked = config.linux?.cgroups_path;
    if !asked.starts_with('/') {
        return None;
    }
    let own = OwnCgroups::probe().ok()?;
    let layout = cgroup::probe_layout(&own).ok()?;
    Some(Record {
        boot_id: super::boot_id().ok()?,
        cgroup: cgroup::resolve(&asked, dir.id().as_str(), &layout, &own).ok()?,
        ..Record::default()
    })
}
