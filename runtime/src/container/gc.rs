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
        match Container::find(root.path(), &id).and_then(|c| collect(c, args)) {
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
fn collect(mut container: Container, args: &args::Gc) -> Result<bool> {
    if container.under_way || !is_left_over(&container)? {
        return Ok(false);
    }
    if args.dry_run {
        return Ok(true);
    }
    // Only under the lock is it certain that no create has just begun or just ended.
    let _lock = container.dir.lock()?;
    container.reload()?;
    if !is_left_over(&container)? {
        return Ok(false);
    }
    delete::destroy(&container)?;
    container.dir.remove()?;
    Ok(true)
}

fn is_left_over(container: &Container) -> Result<bool> {
    match &container.record {
        None => Ok(true),
        Some(r) => Ok(r.init.is_none() || !is_this_boot(r)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::ContainerId;
    use crate::state::{Identity, Record, VERSION};

    fn unfinished(id: &str) -> Record {
        Record {
            version: VERSION,
            id: id.into(),
            boot_id: super::super::boot_id().unwrap(),
            ..Default::default()
        }
    }

    #[test]
    fn a_create_that_ends_while_we_look_keeps_its_container() {
        let path = std::env::temp_dir().join(format!("runb-gc-{}", std::process::id()));
        let root = StateRoot::new(&path);
        let id = ContainerId::parse("c".as_ref()).unwrap();
        let (dir, lock) = root.reserve(&id).unwrap();
        dir.save_record(&unfinished("c")).unwrap();
        let found = Container::find(&path, &id).unwrap();
        assert!(found.under_way);
        // What was read before the create had ended.
        let stale = Container {
            under_way: false,
            ..Container::find(&path, &id).unwrap()
        };
        dir.save_record(&Record {
            init: Some(Identity {
                pid: 1,
                start_time: 1,
            }),
            ..unfinished("c")
        })
        .unwrap();
        drop(lock);
        let args = args::Gc { dry_run: false };
        assert!(!collect(found, &args).unwrap());
        assert!(!collect(stale, &args).unwrap());
        assert!(root.find(&id).is_ok());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
