//! The options of the user's `config.json` that are the command line's business.
//!
//! May not: look at credentials; those belong to `image::registry`.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What is asked for. Unknown keys are somebody else's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Config {
    /// Headers that go with requests to registries.
    #[serde(rename = "HttpHeaders")]
    pub http_headers: BTreeMap<String, String>,
    pub ps_format: String,
    pub images_format: String,
    pub networks_format: String,
    pub volumes_format: String,
    pub stats_format: String,
    pub detach_keys: String,
    /// Ours: the address of the machine at which `-p 8080:80` publishes. Empty: all of them.
    pub publish_address: String,
    /// `name=value`, added to what `prune` is told.
    pub prune_filters: Vec<String>,
    /// Proxies by the address of the daemon; `default` is ours.
    pub proxies: BTreeMap<String, serde_json::Value>,
    /// Words that stand for other commands.
    pub aliases: BTreeMap<String, String>,
}

impl Config {
    /// Reads `config.json` of a directory. None is as good as an empty one.
    ///
    /// # Errors
    /// A line for stderr: the file is there and cannot be read.
    pub fn load(directory: &Path) -> Result<Config, String> {
        let path = directory.join("config.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
            Err(e) => {
                return Err(format!(
                    "WARNING: Error loading config file: {}: {e}",
                    path.display()
                ));
            }
        };
        // As empty as one that is not there.
        if bytes.trim_ascii().is_empty() {
            return Ok(Config::default());
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| format!("WARNING: Error parsing config file ({}): {e}", path.display()))
    }

    /// The filters of a `prune`: those given, and those of the file that do not contradict them.
    pub fn with_prune_filters(&self, given: Vec<(String, String)>) -> Vec<(String, String)> {
        let mut all = given.clone();
        for filter in &self.prune_filters {
            let Some((name, value)) = filter.split_once('=') else {
                continue;
            };
            let opposite = match name {
                "label" => "label!",
                "label!" => "label",
                _ => "",
            };
            let contradicted = given.iter().any(|(n, v)| n == opposite && v == value);
            let known = all.iter().any(|(n, v)| n == name && v == value);
            if !contradicted && !known {
                all.push((name.to_owned(), value.to_owned()));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_empty_file_is_none() {
        let home = std::env::temp_dir().join(format!("brig-config-{}", std::process::id()));
        std::fs::create_dir(&home).unwrap();
        let path = home.join("config.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Config::load(&home).map(|config| config.images_format)
        };
        assert_eq!(read(""), Ok(String::new()));
        assert_eq!(read(" \n"), Ok(String::new()));
        assert!(read("{").unwrap_err().contains("Error parsing config file"));
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn the_keys_that_docker_writes() {
        let config: Config = serde_json::from_str(
            r#"{"auths":{"x":{}},"HttpHeaders":{"A":"b"},"imagesFormat":"table {{.ID}}","pruneFilters":["label=a","label!=b","until=1h"],"plugins":{}}"#,
        )
        .unwrap();
        assert_eq!(config.images_format, "table {{.ID}}");
        assert_eq!(config.http_headers["A"], "b");
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        // `label=b` was given, so the file's `label!=b` does not hold.
        assert_eq!(
            config.with_prune_filters(vec![pair("label", "b")]),
            [pair("label", "b"), pair("label", "a"), pair("until", "1h")]
        );
    }
}
