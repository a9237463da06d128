//! Namespaces of other containers that one joins (`--network container:X`, `--pid`, `--ipc`). In config.json they are files of a process,
//! and that is another one whenever the other container has been started again.
//!
//! May not: decide who may join whom.

use std::fs;

use serde::{Deserialize, Serialize};
use shim::error::{Error, Result};

use crate::place::Place;
use crate::state::{Process, State};

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Joined {
    /// As config.json calls it: `network`, `pid`, `ipc`.
    pub kind: String,
    /// As /proc calls it.
    pub file: String,
    /// Id of the other container.
    pub container: String,
}

/// Writes into the bundle's config.json where they are now.
///
/// # Errors
/// One of the others does not run, or the file cannot be read or written.
pub fn renew(place: &Place, joined: &[Joined]) -> Result<()> {
    if joined.is_empty() {
        return Ok(());
    }
    let path = place.bundle().join("config.json");
    let failed = |what: &str, why: String| Error::new(format!("failed to {what} {}: {why}", path.display()));
    let bytes = fs::read(&path).map_err(|e| failed("read", e.to_string()))?;
    let mut config: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| failed("read", e.to_string()))?;
    for other in joined {
        let init = init_of(place, &other.container)?;
        let of_kind = |namespace: &&mut serde_json::Value| namespace["type"] == other.kind.as_str();
        let namespaces = config["linux"]["namespaces"].as_array_mut();
        if let Some(namespace) = namespaces.into_iter().flatten().find(of_kind) {
            namespace["path"] = format!("/proc/{}/ns/{}", init.pid, other.file).into();
        }
    }
    // Whoever is killed in between leaves the old one whole.
    let new = path.with_extension("json.new");
    fs::write(&new, config.to_string())
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|e| failed("write", e.to_string()))
}

fn init_of(place: &Place, container: &str) -> Result<Process> {
    let [root, run] = &place.roots;
    let state = State::load(&Place::of(root, run, container)).unwrap_or_default();
    let init = state.init.filter(Process::is_alive);
    init.ok_or_else(|| {
        Error::new(format!(
            "cannot join network of a non running container: {container}"
        ))
    })
}
