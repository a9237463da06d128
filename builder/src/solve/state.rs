//! What a stage has come to at some point: layers and a configuration.
//!
//! May not: make layers.

use std::collections::BTreeMap;

use build::history;
use build::instruction::{Command, Health};
use build::scope::{Action, Scope};
use image::Digest;
use image::oci::{History, ImageConfig, RootFs, RunConfig};
use image::platform::Platform;
use image::store::{Image, Layer};
use serde_json::{Map, Value, json};

/// A point in a stage. What steps from it is a change of a copy.
#[derive(Clone)]
pub struct State {
    /// Of the cache: everything that it came to be from.
    pub key: Digest,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// With diff ids and history.
    pub config: ImageConfig,
    /// The image that it began with.
    pub base: Option<Image>,
    /// Keys of the records that it is made of, in order.
    pub steps: Vec<Digest>,
    /// Entries of the history that are the image's.
    begun: usize,
}

impl State {
    /// Nothing at all.
    pub fn scratch(platform: &Platform) -> State {
        let config = ImageConfig {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            os_version: platform.os_version.clone(),
            os_features: platform.os_features.clone(),
            rootfs: RootFs {
                kind: "layers".into(),
                diff_ids: Vec::new(),
            },
            config: RunConfig {
                env: Some(vec![format!("PATH={}", build::scope::DEFAULT_PATH)]),
                working_dir: Some("/".into()),
                ..RunConfig::default()
            },
            ..ImageConfig::default()
        };
        State {
            key: Digest::of(format!("scratch {platform}").as_bytes()),
            layers: Vec::new(),
            config,
            base: None,
            steps: Vec::new(),
            begun: 0,
        }
    }

    /// An image, whose triggers are done and gone.
    pub fn of_image(image: &Image, mut config: ImageConfig, layers: Vec<Layer>) -> State {
        config.config.on_build = None;
        let env = config.config.env.get_or_insert_default();
        if !env.iter().any(|entry| entry.starts_with("PATH=")) {
            env.push(format!("PATH={}", build::scope::DEFAULT_PATH));
        }
        // Of who made the image, not of what is made from it.
        config.other = Map::new();
        let begun = config.history.len();
        State {
            key: Digest::of(format!("image {}", image.id).as_bytes()),
            layers,
            config,
            base: Some(image.clone()),
            steps: Vec::new(),
            begun,
        }
    }

    /// At the start of a stage that begins from the one whose end this is: its triggers are done and gone.
    #[must_use]
    pub fn of_stage(&self) -> State {
        let mut state = self.clone();
        state.config.config.on_build = None;
        state
    }

    /// One step more, with the layer that it has made.
    pub fn add_layer(&mut self, key: Digest, layer: Option<Layer>) {
        if let Some(layer) = layer {
            self.config.rootfs.diff_ids.push(layer.diff_id.clone());
            self.layers.push(layer);
        }
        self.steps.push(key.clone());
        self.key = key;
    }

    /// What an instruction says of the configuration, and that it was there. `scope` is the one behind it. `made`: when its
    /// layer was made, and whether there was nothing to put into one.
    pub fn describe(&mut self, action: &Action, scope: &Scope, made: Option<(&str, bool)>) {
        self.change(action, scope);
        if let Some(entry) = history::entry(action, scope) {
            self.config.history.push(History {
                created: made.map(|(created, _)| created.to_owned()),
                created_by: Some(entry.created_by),
                author: None,
                comment: Some(history::COMMENT.to_owned()),
                empty_layer: entry.empty_layer || made.is_some_and(|(_, is_empty)| is_empty),
            });
        }
    }

    fn change(&mut self, action: &Action, scope: &Scope) {
        let config = &mut self.config.config;
        match action {
            Action::Arg(_) | Action::Run(_) | Action::Copy(_) => {}
            Action::Env(pairs) => {
                let env = config.env.get_or_insert_default();
                pairs
                    .iter()
                    .for_each(|(name, value)| set_variable(env, name, value));
            }
            Action::Label(pairs) => {
                let labels = config.labels.get_or_insert_default();
                labels.extend(pairs.iter().cloned());
            }
            Action::Expose(ports) => {
                let all = config.exposed_ports.get_or_insert_default();
                all.extend(ports.iter().map(|port| (port.clone(), json!({}))));
            }
            Action::Cmd(command) => {
                config.cmd = Some(words(command, scope));
                // Of Windows; BuildKit says it of every image.
                config.other.insert("ArgsEscaped".into(), json!(true));
            }
            Action::Entrypoint(command) => {
                config.entrypoint = Some(words(command, scope));
                // What an image runs by itself was not meant for this entrypoint.
                if !scope.has_cmd() {
                    config.cmd = None;
                }
            }
            Action::User(user) => config.user = Some(user.clone()),
            Action::Workdir(path) => config.working_dir = Some(path.clone()),
            Action::Volume(volumes) => {
                let all = config.volumes.get_or_insert_default();
                all.extend(volumes.iter().map(|path| (path.clone(), json!({}))));
            }
            Action::Stopsignal(signal) => config.stop_signal = Some(signal.clone()),
            Action::Shell(shell) => config.shell = Some(shell.clone()),
            Action::Onbuild(expression) => config.on_build.get_or_insert_default().push(expression.clone()),
            Action::Healthcheck(health) => config.healthcheck = Some(health_value(health)),
            Action::Maintainer(author) => self.config.author = Some(author.clone()),
        }
    }

    /// The configuration as it is written. Entries that made no layer have the time of the layer before them, so that the same build is the
    /// same image; where the build made none, that of the image that it began with.
    pub fn finish(&self, labels: &BTreeMap<String, String>, epoch: Option<&str>) -> ImageConfig {
        let mut config = self.config.clone();
        if !labels.is_empty() {
            config
                .config
                .labels
                .get_or_insert_default()
                .extend(labels.clone());
        }
        let begun = self.begun;
        let of_base = begun
            .checked_sub(1)
            .and_then(|last| config.history.get(last)?.created.clone());
        let own = config.history.get(begun..).unwrap_or_default();
        let first_made = own.iter().find_map(|entry| entry.created.clone());
        let mut time = first_made.or(of_base).or_else(|| config.created.clone());
        for entry in config.history.iter_mut().skip(begun) {
            match (&entry.created, epoch) {
                (_, Some(epoch)) => entry.created = Some(epoch.to_owned()),
                (Some(made), None) => time = Some(made.clone()),
                (None, None) => entry.created.clone_from(&time),
            }
        }
        config.created = epoch.map(str::to_owned).or(time);
        config
    }
}

/// In its place, if there is one of this name.
fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    let is_it = |old: &&mut String| old.split_once('=').map_or(old.as_str(), |(n, _)| n) == name;
    match env.iter_mut().find(is_it) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

fn words(command: &Command, scope: &Scope) -> Vec<String> {
    history::words(command, scope)
}

/// As a configuration has it: what is not said is not there.
fn health_value(health: &Health) -> Value {
    let mut value = Map::new();
    value.insert("Test".into(), json!(health.test));
    for (name, number) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
        ("Retries", i64::from(health.retries)),
    ] {
        if number != 0 {
            value.insert(name.into(), json!(number));
        }
    }
    Value::Object(value)
}
