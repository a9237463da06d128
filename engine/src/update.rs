//! `update`: other limits and another restart policy for a container, which may run meanwhile.
//!
//! May not: read flags. What is to be different is a change of the record, which is checked as at creation.

use image::{Context, Error, Kind, Result};
use monitor::client;
use monitor::protocol::Request;
use serde_json::Value;

use crate::containers::{Containers, Durable};
use crate::control::refusal;
use crate::model::{HostConfig, RestartPolicy};
use crate::spec::{self, Found, Inputs, resources, settle};
use crate::telling;

/// Changes the limits of a record; called once, maybe in another thread.
pub type Limits<'c> = &'c (dyn Fn(&mut HostConfig) -> Result<()> + Sync);

/// What is to be different.
pub struct Change<'c> {
    pub limits: Option<Limits<'c>>,
    pub restart: Option<RestartPolicy>,
}

/// Changes it: on disk, and in the kernel if it runs. Warnings.
///
/// # Errors
/// A limit makes no sense, or the kernel refuses it; then nothing has changed.
pub fn update(containers: &Containers, id: &str, change: &Change<'_>) -> Result<Vec<String>> {
    let _lock = containers.lock(id)?;
    let container = containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
    let mut definition = container.definition.clone();
    if let Some(restart) = &change.restart {
        settle::check_restart(restart)?;
        if definition.host.auto_remove && !matches!(restart.name.as_str(), "" | "no") {
            return Err(Error::of(
                Kind::Conflict,
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        definition.host.restart_policy = restart.clone();
    }
    let machine = spec::Host::ask();
    let mut warnings = Vec::new();
    let (mut wanted, mut told) = (None, false);
    if let Some(limits) = change.limits {
        limits(&mut definition.host)?;
        let (host, complaints) = settle::settle_limits(definition.host, &machine)?;
        definition.host = host;
        warnings = complaints.iter().map(ToString::to_string).collect();
        let mut found = Found::default();
        found.look_up_numbers(&definition.host)?;
        wanted = Some(Value::Object(resources::limits(&Inputs::of(
            &definition,
            &machine,
            &found,
        ))?));
    }
    if container.is_supervised() {
        let request = Request::Update {
            resources: wanted,
            restart: change.restart.clone(),
        };
        match client::request(&containers.place(id), &request) {
            // The monitor has told of it.
            Ok(_) => told = true,
            // It runs with the limits it has; the record is for the next start.
            Err(client::Error::Gone) => {
                warnings.push(format!(
                    "container {id} has lost its monitor: the change is for its next start"
                ));
            }
            Err(e) => return Err(refusal(e).context(format!("Cannot update container {id}"))),
        }
    }
    containers
        .save(&definition, Durable::Yes)
        .context("failed to keep the change")?;
    if !told {
        telling::tell(containers, &definition, "update", &[]);
    }
    Ok(warnings)
}
