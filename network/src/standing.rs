//! Networks whose bridge has been made: `RUN/networks/ID/network.json`.
//!
//! A bridge stays when the last container has left it, and its place in the rules with it. Who makes all rules anew finds here what no
//! record of a container says.
//!
//! May not: know the kernel.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::attachment::Network;
use crate::error::{Context as _, Error, Result};
use crate::{leases, names};

const FILE: &str = "network.json";

fn file(run: &Path, id: &str) -> PathBuf {
    leases::place(run, id).join(FILE)
}

/// To be called before the first thing of it is made: what is not recorded is not found.
///
/// # Errors
/// It cannot be written.
pub fn record(run: &Path, network: &Network) -> Result<()> {
    let text = serde_json::to_string(network).map_err(|e| Error::new(e.to_string()))?;
    names::put(&leases::place(run, &network.id), FILE, &text)
}

/// To be called when the bridge has gone, and before its rules go.
///
/// # Errors
/// It cannot be removed.
pub fn forget(run: &Path, network: &Network) -> Result<()> {
    names::take(&leases::place(run, &network.id), FILE)
}

pub fn is_recorded(run: &Path, network: &Network) -> bool {
    file(run, &network.id).exists()
}

/// # Errors
/// They cannot be listed.
pub fn all(run: &Path) -> Result<Vec<Network>> {
    let place = run.join("networks");
    let failed = || format!("failed to list {}", place.display());
    let entries = match fs::read_dir(&place) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(failed())?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let id = entry.context(failed())?.file_name();
        let content = fs::read(place.join(id).join(FILE)).unwrap_or_default();
        // It is written in one step: what is no record is not ours, or has just gone.
        all.extend(serde_json::from_slice::<Network>(&content));
    }
    Ok(all)
}
