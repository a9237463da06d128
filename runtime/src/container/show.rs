//! `state` and `list`.
//!
//! May not: fail a listing because one container of it is damaged or just being removed, or show half of one.

use super::Container;
use crate::cli::Invocation;
use crate::cli::args::{self, ContainerId, Format, RootOrigin};
use crate::cli::identity::SPEC_VERSION;
use crate::cli::output::{self, StateView};
use crate::error::{Doing, Kind, Result};
use crate::state::{self, StateRoot, Status};
use std::time::{Duration, UNIX_EPOCH};

/// `state`: what to print.
pub fn state(invocation: &Invocation, id: &ContainerId) -> Result<String> {
    let container = Container::find(&invocation.global.root, id)?;
    output::state(&view(&container, String::new())?)
}

/// `list`: what to print.
pub fn list(invocation: &Invocation, args: &args::List) -> Result<String> {
    let root = StateRoot::new(&invocation.global.root);
    let ids = match root.ids() {
        // The default root appears with the first container; a root that somebody named must exist.
        Err(e) if e.is(libc::ENOENT) && invocation.global.root_origin != RootOrigin::Flag => Vec::new(),
        other => other?,
    };
    let mut views = Vec::with_capacity(ids.len());
    for id in ids {
        match Container::find(root.path(), &id).and_then(|c| view(&c, owner(&c))) {
            Ok(v) => views.push(v),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => invocation.log.warn(&format!("load container {id}: {e}")),
        }
    }
    match (args.quiet, args.format) {
        (true, _) => Ok(output::list_quiet(&views)),
        (false, Format::Table) => Ok(output::list_table(&views)),
        (false, Format::Json) => output::list_json(&views),
    }
}

fn owner(container: &Container) -> String {
    let uid = container.record.as_ref().map_or(0, |r| r.owner);
    find_name(uid).unwrap_or_else(|| format!("#{uid}"))
}

/// The host's /etc/passwd; a user of another directory service is shown by number.
fn find_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    })
}

fn view(container: &Container, owner: String) -> Result<StateView> {
    if container.record.is_none() {
        // Its create has not written a record yet or was killed before, or its delete has removed it: nothing can be said
        // of it. `delete --force` and `gc` clear what a killed create has left.
        return Err(state::absent());
    }
    let status = container
        .status()
        .doing(|| format!("container {}", container.dir.id()))?;
    let record = container.record.clone().unwrap_or_default();
    let live = status != Status::Stopped;
    Ok(StateView {
        oci_version: SPEC_VERSION,
        id: container.dir.id().to_string(),
        pid: record.init.filter(|_| live).map_or(0, |i| i.pid),
        status: status.word(),
        bundle: record.bundle.to_string_lossy().into_owned(),
        rootfs: record.rootfs.to_string_lossy().into_owned(),
        created: UNIX_EPOCH + Duration::from_nanos(record.created),
        annotations: record.annotations,
        owner,
    })
}
