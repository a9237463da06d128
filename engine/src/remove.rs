//! `rm`: a container goes, and what is left of those that nobody has finished or that nobody has ended.
//!
//! May not: decide whether something that runs may be ended; whoever calls has been told.

use std::path::Path;
use std::process::{Command, Stdio};

use image::{Context, Error, Kind, Result};

use crate::containers::{Container, Containers};
use crate::model::Definition;
use crate::programs;
use crate::telling;
use crate::volumes;

/// Removes a container that does not run.
///
/// # Errors
/// It runs ([`Kind::Conflict`]), or something cannot be removed.
pub fn remove(containers: &Containers, id: &str) -> Result<()> {
    remove_with(containers, id, Volumes::Keep)
}

/// What becomes of a container's anonymous volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volumes {
    Keep,
    /// They go, unless another container has them.
    Remove,
}

/// Removes a container that does not run, perhaps with its volumes.
///
/// # Errors
/// As [`remove`].
pub fn remove_with(containers: &Containers, id: &str, volumes: Volumes) -> Result<()> {
    let _lock = containers.lock(id)?;
    let container = containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
    if container.is_supervised() {
        return Err(running(&container));
    }
    sweep(containers, &container)?;
    let place = containers.place(id);
    if volumes == Volumes::Remove {
        volumes::remove_of(containers, &container.definition.mounts, id)?;
    }
    monitor::remove::remove(&place, &container.definition.name)
        .context(format!("failed to remove container {id}"))?;
    telling::tell(containers, &container.definition, "destroy", &[]);
    Ok(())
}

fn running(container: &Container) -> Error {
    let state = match container.state.status {
        monitor::state::Status::Paused => "paused",
        monitor::state::Status::Restarting => "restarting",
        _ => "running",
    };
    let advice = match state {
        "paused" => "unpause and then stop the container before removing or force remove",
        _ => "stop the container before removing or force remove",
    };
    Error::of(
        Kind::Conflict,
        format!(
            "cannot remove container \"{}\": container is {state}: {advice}",
            container.definition.name
        ),
    )
}

/// Ends what an earlier life has left: a runtime's record, processes of a container whose monitor was killed, its networks.
///
/// # Errors
/// The runtime cannot remove it, or the kernel does not undo the networks.
pub fn sweep(containers: &Containers, container: &Container) -> Result<()> {
    let id = container.id();
    let root = runtime_root(containers);
    if root.join(id).exists() {
        let runtime = programs::runtime(&container.definition.host.runtime)?;
        call(&runtime, &root, &["delete", "--force", id])?;
    }
    crate::networks::attach::undo(containers, id)
}

/// Bytes that it has written, as far as they can be counted.
pub fn size(containers: &Containers, id: &str) -> u64 {
    fn below(path: &Path) -> u64 {
        let Ok(meta) = std::fs::symlink_metadata(path) else {
            return 0;
        };
        if !meta.is_dir() {
            return meta.len();
        }
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| below(&entry.path())).sum()
    }
    below(&containers.place(id).upper())
}

/// Where runtimes keep what they know of our containers.
pub fn runtime_root(containers: &Containers) -> std::path::PathBuf {
    containers.roots().run.join("runtime")
}

/// A word to the runtime.
pub(crate) fn call(runtime: &Path, root: &Path, words: &[&str]) -> Result<()> {
    let doing = || format!("failed to call {}", runtime.display());
    let output = Command::new(runtime)
        .arg("--root")
        .arg(root)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context(doing())?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let text = String::from_utf8_lossy(&output.stderr);
            let last = text.lines().last().unwrap_or_default().trim().to_owned();
            Err(Error::new(last).context(doing()))
        }
    }
}

/// Removes directories that nobody has finished making or removing. How many.
///
/// # Errors
/// One cannot be removed.
pub fn sweep_unfinished(containers: &Containers) -> Result<usize> {
    let mut swept = 0;
    for id in containers.ids()? {
        let lock = match containers.try_lock(&id) {
            Err(e) if e.kind() == Kind::NotFound => continue,
            lock => lock?,
        };
        // Whoever makes one has it locked.
        if lock.is_none() || is_whole(containers, &id)? {
            continue;
        }
        crate::passing::take_away(containers, &containers.place(&id))
            .context(format!("failed to remove what is left of container {id}"))?;
        swept += 1;
    }
    Ok(swept)
}

fn is_whole(containers: &Containers, id: &str) -> Result<bool> {
    let path = containers.place(id).definition();
    let Ok(bytes) = std::fs::read(&path) else {
        return Ok(false);
    };
    // One that cannot be read is somebody's container all the same.
    let Ok(definition) = serde_json::from_slice::<Definition>(&bytes) else {
        return Ok(true);
    };
    Ok(containers.named(&definition.name)?.as_deref() == Some(id))
}
