//! Everything of a container goes.
//!
//! May not: begin before its root is unmounted.

use std::io;
use std::path::Path;
use std::rc::Rc;

use monitor::state::Status;

use crate::monitor::Monitor;

/// Removes it, and with `volumes` those that were made for it alone. Done in a forked copy: there may be a million files.
///
/// # Errors
/// What could not be removed; the state says `dead` then, if there is one.
pub async fn remove(monitor: &Rc<Monitor>, volumes: bool) -> Result<(), String> {
    let place = monitor.place.clone();
    let (name, doomed) = {
        let launch = monitor.launch.borrow();
        let volumes = match volumes {
            true => launch.volumes.clone(),
            false => Vec::new(),
        };
        (launch.name.clone(), volumes)
    };
    let work = move || -> Result<(), String> {
        for volume in &doomed {
            remove_volume(volume).map_err(|e| format!("{}: {e}", volume.display()))?;
        }
        monitor::remove::remove(&place, &name).map_err(|e| e.to_string())
    };
    let removed = monitor.on.children.fork(&monitor.on.reactor, None, work).await;
    match removed {
        Ok(()) => {
            monitor.tell("destroy", &[]);
            Ok(())
        }
        Err(e) => {
            let why = format!("failed to remove the container {}: {e}", monitor.place.id);
            if monitor.place.dir.exists() {
                monitor.change(|state| {
                    state.status = Status::Dead;
                    state.error = why.clone();
                });
            }
            Err(why)
        }
    }
}

/// One that is not there is removed.
fn remove_volume(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
