//! What a stage has come to at some point: layers and a configuration.
//!
//! May not: make layers.

use std::collections::BTreeMap;

use build::history;
use build::scope::{Action, Scope};
use engine::change;
use image::Digest;
use image::oci::{History, ImageConfig, RootFs, RunConfig};
use image::platform::Platform;
use image::store::{Image, Layer};
use serde_json::{Map, json};

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
        change::apply(&mut self.config.config, action, scope);
        match action {
            // Of Windows; BuildKit says it of every image.
            Action::Cmd(_) => {
                let other = &mut self.config.config.other;
                other.insert("ArgsEscaped".into(), json!(true));
            }
            Action::Maintainer(author) => self.config.author = Some(author.clone()),
            _ => {}
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
