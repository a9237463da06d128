//! Everything of a container goes.
//!
//! May not: begin before its root is unmounted.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use monitor::events::{self, Event};
use monitor::place::Place;
use monitor::state::Status;
use monitor::volumes::{Removal, Volume};

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
            remove_volume(&place, volume).map_err(|e| format!("volume {volume}: {e}"))?;
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

/// One that another container has stays.
fn remove_volume(place: &Place, name: &str) -> io::Result<()> {
    let [root, _] = &place.roots;
    let removed = Volume::of(root, name).remove(Some(&place.id))?;
    if removed == Removal::Removed {
        let attributes = BTreeMap::from([("driver".to_owned(), "local".to_owned())]);
        // What was done is done.
        let _ = events::append(&place.events, &Event::now("volume", "destroy", name, attributes));
    }
    Ok(())
}
