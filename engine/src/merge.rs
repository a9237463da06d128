//! What an image says and what the command line says become one configuration.
//!
//! May not: judge the result. The rules are Docker's: what is said on the command line stays, what it leaves open is the image's.

use image::oci::RunConfig;

use crate::model::{Config, Empty, Healthcheck};

/// Fills in what the command line has left open.
pub fn merge(config: &mut Config, image: &RunConfig) {
    let text = |own: &mut String, images: &Option<String>| {
        if own.is_empty() {
            *own = images.clone().unwrap_or_default();
        }
    };
    text(&mut config.user, &image.user);
    text(&mut config.working_dir, &image.working_dir);
    merge_environment(&mut config.env, image.env.as_deref().unwrap_or_default());
    for (name, value) in image.labels.iter().flatten() {
        config.labels.entry(name.clone()).or_insert_with(|| value.clone());
    }
    for (port, _) in image.exposed_ports.iter().flatten() {
        config
            .exposed_ports
            .get_or_insert_default()
            .insert(with_protocol(port), Empty {});
    }
    for (path, _) in image.volumes.iter().flatten() {
        config
            .volumes
            .get_or_insert_default()
            .insert(path.clone(), Empty {});
    }
    merge_command(config, image);
    merge_health(config, image);
    if config.stop_signal.is_none() {
        config.stop_signal = image.stop_signal.clone().filter(|s| !s.is_empty());
    }
    if config.shell.is_none() {
        config.shell = image.shell.clone().filter(|s| !s.is_empty());
    }
}

/// The user's come first; of the image's, those that the user has not named.
fn merge_environment(own: &mut Vec<String>, images: &[String]) {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let named: Vec<String> = own.iter().map(|entry| name(entry)).collect();
    own.extend(
        images
            .iter()
            .filter(|entry| !named.contains(&name(entry)))
            .cloned(),
    );
}

/// An entrypoint of the user's own means that the image's command was not meant for it. `--entrypoint ""` is how to say that there is none.
fn merge_command(config: &mut Config, image: &RunConfig) {
    let given = config.entrypoint.as_ref().is_some_and(|e| !e.is_empty());
    if !given {
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            config.cmd = image.cmd.clone();
        }
        if config.entrypoint.is_none() {
            config.entrypoint = image.entrypoint.clone();
        }
    }
    if config.entrypoint.as_deref() == Some(&[String::new()]) {
        config.entrypoint = None;
    }
}

fn merge_health(config: &mut Config, image: &RunConfig) {
    let Some(images) = image.healthcheck.as_ref() else {
        return;
    };
    let Ok(images) = serde_json::from_value::<Healthcheck>(images.clone()) else {
        return;
    };
    let Some(own) = &mut config.healthcheck else {
        config.healthcheck = Some(images);
        return;
    };
    if own.test.is_empty() {
        own.test = images.test;
    }
    for (own, images) in [
        (&mut own.interval, images.interval),
        (&mut own.timeout, images.timeout),
        (&mut own.start_period, images.start_period),
        (&mut own.start_interval, images.start_interval),
        (&mut own.retries, images.retries),
    ] {
        if *own == 0 {
            *own = images;
        }
    }
}

fn with_protocol(port: &str) -> String {
    match port.contains('/') {
        true => port.to_owned(),
        false => format!("{port}/tcp"),
    }
}

/// What runs: the program and its arguments.
pub fn command(config: &Config) -> Option<(String, Vec<String>)> {
    let entrypoint = config.entrypoint.iter().flatten();
    let mut words = entrypoint.chain(config.cmd.iter().flatten()).cloned();
    let path = words.next()?;
    Some((path, words.collect()))
}
