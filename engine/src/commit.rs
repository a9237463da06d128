//! `commit`: what a container has changed becomes a layer, and the layer an image.
//!
//! May not: read the container through its overlay, or write what was there before. The upper directory says what has changed; what hides
//! something becomes a whiteout (OCI image specification, layer.md). Volumes are not in it.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use image::derive::{self, Derived};
use image::layer::pack;
use image::oci::RunConfig;
use image::provide::Maker;
use image::reference::Reference;
use image::registry::Cancel;
use image::{Context, Digest, Error, Kind, Result};
use monitor::state::Status;

use crate::change;
use crate::containers::{Container, Containers};
use crate::control;
use crate::model::Config;
use crate::tree::pack::Packer;
use crate::{root, telling};

/// What is to be said of the image.
#[derive(Clone, Debug)]
pub struct Wanted<'w> {
    pub reference: Option<&'w Reference>,
    pub author: Option<&'w str>,
    pub message: Option<&'w str>,
    /// Instructions of a Dockerfile that change the configuration.
    pub changes: &'w [String],
    /// Its processes stand still while its files are read.
    pub pause: bool,
}

/// Makes an image of a container. The id.
///
/// # Errors
/// A change makes no sense; it cannot be paused; its files cannot be read or the store not be written. No image is made then.
pub fn commit(
    containers: &Containers,
    maker: &Maker<'_>,
    container: &Container,
    wanted: &Wanted<'_>,
) -> Result<Digest> {
    let config = &container.definition.config;
    let run = run_config(config, wanted.changes)?;
    let parent = root::image(maker.store, container)?;
    let place = containers.place(container.id());
    let lease = maker.store.lease()?;
    let below = root::below(maker, &lease, container)?;
    let created_by = config.cmd.clone().unwrap_or_default().join(" ");
    let derived = Derived {
        parent: &parent,
        reference: wanted.reference,
        run,
        author: wanted.author,
        message: wanted.message,
        created_by: Some(&created_by),
    };
    // One that is paused stays so.
    let pause = wanted.pause && container.state.status == Status::Running;
    let made = derive::derive(maker, &derived, |to| {
        // One that has ended meanwhile stands still by itself.
        let ended = |e: &Error| matches!(e.kind(), Kind::Conflict | Kind::NotFound);
        let held = match pause
            .then(|| control::hold(containers, container.id()))
            .transpose()
        {
            Err(e) if ended(&e) => None,
            held => held.context("failed to pause the container; commit --no-pause takes it as it is")?,
        };
        let packed = match open_upper(&place.upper())? {
            Some(upper) => layer(upper.as_fd(), below.fd(), to, maker.cancel),
            None => Packer::new(to).finish().map(drop),
        };
        let Some(held) = held else {
            return packed;
        };
        let unpaused = match control::unpause(containers, container.id()) {
            Err(e) if ended(&e) => Ok(()),
            unpaused => unpaused.context("failed to unpause the container"),
        };
        drop(held);
        match packed {
            Ok(()) => unpaused,
            Err(e) => Err(e.and_also(unpaused)),
        }
    })?;
    let named = wanted
        .reference
        .map(|reference| reference.clone().or_latest().familiar());
    let more = [
        ("comment", wanted.message.unwrap_or_default().to_owned()),
        ("imageID", made.to_string()),
        ("imageRef", named.unwrap_or_default()),
    ];
    let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
    telling::tell(containers, &container.definition, "commit", &more);
    Ok(made)
}

/// Writes the layer: what a container has changed of `lower`, the layers below, mounted.
///
/// # Errors
/// Something cannot be read or written.
pub fn layer(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>, to: impl Write, cancel: &Cancel) -> Result<()> {
    let options = pack::Options {
        without_stubs: true,
        latest: None,
        cancel,
    };
    pack::pack_with(upper, Some(lower), to, &options).map(drop)
}

/// The configuration of the image: the container's, and the changes of the command line.
///
/// # Errors
/// A change makes no sense.
pub fn run_config(config: &Config, changes: &[String]) -> Result<RunConfig> {
    let mut run = of_container(config)?;
    change::apply_all(&mut run, changes)?;
    Ok(run)
}

fn of_container(config: &Config) -> Result<RunConfig> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let set = |map: &Option<std::collections::BTreeMap<String, crate::model::Empty>>| {
        map.as_ref().filter(|map| !map.is_empty()).map(|map| {
            map.keys()
                .map(|key| (key.clone(), serde_json::json!({})))
                .collect()
        })
    };
    let healthcheck = config.healthcheck.as_ref().map(serde_json::to_value).transpose();
    Ok(RunConfig {
        user: text(&config.user),
        exposed_ports: set(&config.exposed_ports),
        env: (!config.env.is_empty()).then(|| config.env.clone()),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: set(&config.volumes),
        working_dir: text(&config.working_dir),
        labels: (!config.labels.is_empty()).then(|| config.labels.clone()),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config.stop_timeout,
        healthcheck: healthcheck
            .map_err(|e| Error::new(e.to_string()))
            .context("failed to write the health check")?,
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
        other: serde_json::Map::new(),
    })
}

/// Opens the upper directory of a container that has been started; `None` when it has not changed anything yet.
///
/// # Errors
/// It cannot be opened.
pub(crate) fn open_upper(path: &Path) -> Result<Option<std::os::fd::OwnedFd>> {
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    match sys::fs::open(path, flags, 0) {
        Err(e)
            if [libc::ENOENT, libc::ENOTDIR, libc::ELOOP]
                .iter()
                .any(|n| e.is(*n)) =>
        {
            Ok(None)
        }
        opened => Ok(Some(
            opened.context(format!("failed to open {}", path.display()))?,
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_entrypoint_takes_the_command_that_was_for_another() {
        let config = Config {
            cmd: Some(vec!["old".into()]),
            env: vec!["A=1".into()],
            ..Config::default()
        };
        let changed = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
            run_config(&config, &changes).unwrap()
        };
        assert_eq!(changed(&[]).cmd.unwrap(), ["old"]);
        let run = changed(&["ENTRYPOINT [\"x\"]", "ENV B=2"]);
        assert_eq!((run.cmd, run.entrypoint.unwrap()), (None, vec!["x".to_owned()]));
        assert_eq!(run.env.unwrap(), ["A=1", "B=2"]);
        let run = changed(&["CMD [\"y\"]", "ENTRYPOINT [\"x\"]"]);
        assert_eq!(run.cmd.unwrap(), ["y"]);
    }
}
