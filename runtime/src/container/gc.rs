//! `gc`: removes what killed runtimes left behind.
//!
//! May not: touch a container that anybody can still use. Only one whose create was killed half-way, or whose boot is over,
//! goes: a stopped container belongs to whoever will delete it.

use super::{Container, delete, is_this_boot};
use crate::cli::Invocation;
use crate::cli::args;
use crate::error::{Error, Kind, Result};
use crate::state::StateRoot;

/// `gc`: the ids that were removed, one per line.
pub fn gc(invocation: &Invocation, args: &args::Gc) -> Result<String> {
    let root = StateRoot::new(&invocation.global.root);
    let ids = match root.ids() {
        Err(e) if e.is(libc::ENOENT) => Vec::new(),
        other => other?,
    };
    let (mut removed, mut failures) = (String::new(), Vec::new());
    for id in ids {
        match Container::find(root.path(), &id).and_then(|c| collect(&c, args)) {
            Ok(false) => {}
            Ok(true) => removed.push_str(&format!("{id}\n")),
            Err(e) if e.kind() == Kind::NotFound => {}
            Err(e) => failures.push(format!("{id}: {e}")),
        }
    }
    if failures.is_empty() {
        Ok(removed)
    } else {
        Err(Error::new(failures.join("; ")))
    }
}

/// Whether the container went, or would go.
fn collect(container: &Container, args: &args::Gc) -> Result<bool> {
    if container.dir.is_locked()? {
        return Ok(false);
    }
    let left_over = match &container.record {
        None => true,
        Some(r) => r.init.is_none() || !is_this_boot(r)?,
    };
    if !left_over || args.dry_run {
        return Ok(left_over);
    }
    let _lock = container.dir.lock()?;
    delete::destroy(container)?;
    container.dir.remove()?;
    Ok(true)
}
