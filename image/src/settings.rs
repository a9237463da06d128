//! What the administrator, or the user, has written down about the store.
//!
//! May not: be needed. Without a file everything has its default.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::store::Form;
use crate::{Context, Error, Result};

/// `/etc/brig/brig.toml`, and for an ordinary user `$XDG_CONFIG_HOME/brig/brig.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub store: StoreSettings,
    pub pull: PullSettings,
    pub network: NetworkSettings,
    pub build: BuildSettings,
}

/// `[store]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSettings {
    layers: Option<String>,
    limit: Option<String>,
    evict: Option<String>,
    partial_days: Option<u32>,
}

/// `[pull]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PullSettings {
    parallel: Option<u32>,
}

/// `[network]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSettings {
    rootless: Option<String>,
}

/// `[build]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BuildSettings {
    cache: Option<String>,
}

/// Which images may go when the store has grown too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evict {
    /// Those without a tag.
    Dangling,
    /// All that nothing stands on.
    Unused,
}

/// How long a download that nobody goes on with is kept, in days.
const PARTIAL_DAYS: u32 = 7;
/// As in Docker.
const PARALLEL: usize = 3;

impl Settings {
    /// Reads the file of this user, if there is one.
    ///
    /// # Errors
    /// It is malformed, by its name and place.
    pub fn of_user() -> Result<Settings> {
        match Settings::path() {
            Some(path) => Settings::load(&path),
            None => Ok(Settings::default()),
        }
    }

    fn path() -> Option<PathBuf> {
        if sys::cred::effective_uid() == 0 {
            return Some("/etc/brig/brig.toml".into());
        }
        let variable = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|p| p.is_absolute())
        };
        let config =
            variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))?;
        Some(config.join("brig/brig.toml"))
    }

    fn load(path: &Path) -> Result<Settings> {
        match std::fs::read_to_string(path) {
            Ok(text) => Settings::parse(&text).context(path.display()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Settings::default()),
            Err(e) => Err(Error::from(e).context(format!("failed to read {}", path.display()))),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Settings> {
        let settings: Settings =
            toml::from_str(text).map_err(|e| Error::invalid(e.to_string().trim().to_owned()))?;
        // All that can be wrong is wrong now, not when it is needed.
        settings.form()?;
        settings.limit()?;
        settings.evict()?;
        settings.cache()?;
        if settings.pull.parallel == Some(0) {
            return Err(Error::invalid(
                "pull.parallel is 0; at least one layer has to come at a time",
            ));
        }
        Ok(settings)
    }

    /// `store.layers`: `auto`, `tree` or `erofs`.
    ///
    /// # Errors
    /// It is something else.
    pub fn form(&self) -> Result<Option<Form>> {
        match self.store.layers.as_deref() {
            None | Some("auto") => Ok(None),
            Some("tree") => Ok(Some(Form::Tree)),
            Some("erofs") => Ok(Some(Form::Erofs)),
            Some(other) => Err(Error::invalid(format!(
                "store.layers is {other:?}; it may be auto, tree or erofs"
            ))),
        }
    }

    /// `store.limit`: how many bytes the store may take before images go by themselves.
    ///
    /// # Errors
    /// It is no size.
    pub fn limit(&self) -> Result<Option<u64>> {
        self.store
            .limit
            .as_deref()
            .map(|text| {
                size(text).ok_or_else(|| {
                    Error::invalid(format!(
                        "store.limit is {text:?}; a size is 20GB or 500MB, for example"
                    ))
                })
            })
            .transpose()
    }

    /// `store.evict`: `dangling` or `unused`.
    ///
    /// # Errors
    /// It is something else.
    pub fn evict(&self) -> Result<Evict> {
        match self.store.evict.as_deref() {
            None | Some("dangling") => Ok(Evict::Dangling),
            Some("unused") => Ok(Evict::Unused),
            Some(other) => Err(Error::invalid(format!(
                "store.evict is {other:?}; it may be dangling or unused"
            ))),
        }
    }

    /// `build.cache`: how many bytes builds may keep; `none` is no limit. Without it the disk says.
    ///
    /// # Errors
    /// It is no size.
    pub fn cache(&self) -> Result<Option<u64>> {
        let read = |text: &str| match text {
            "none" => Ok(u64::MAX),
            text => size(text).ok_or_else(|| {
                Error::invalid(format!(
                    "build.cache is {text:?}; a size is 20GB or 500MB, for example, and none is no limit"
                ))
            }),
        };
        self.build.cache.as_deref().map(read).transpose()
    }

    /// `store.partial_days`.
    pub fn partial_days(&self) -> u32 {
        self.store.partial_days.unwrap_or(PARTIAL_DAYS)
    }

    /// `network.rootless`: `pasta`, `slirp4netns` or the path of one, which leads an ordinary user's containers out.
    pub fn rootless(&self) -> Option<&str> {
        self.network.rootless.as_deref().filter(|name| !name.is_empty())
    }

    /// `pull.parallel`: layers that come at the same time.
    pub fn parallel(&self) -> usize {
        self.pull.parallel.map_or(PARALLEL, |n| n as usize)
    }
}

/// `20GB`, `1.5 GiB`, `100`.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let (base, unit) = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => (1f64, 0),
        "k" | "kb" => (1000.0, 1),
        "m" | "mb" => (1000.0, 2),
        "g" | "gb" => (1000.0, 3),
        "t" | "tb" => (1000.0, 4),
        "kib" => (1024.0, 1),
        "mib" => (1024.0, 2),
        "gib" => (1024.0, 3),
        "tib" => (1024.0, 4),
        _ => return None,
    };
    let bytes = number * base.powi(unit);
    (bytes.is_finite() && bytes < 1e18).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn settings_have_defaults_and_places() {
        let none = Settings::parse("").unwrap();
        assert_eq!(
            (none.form().unwrap(), none.limit().unwrap(), none.parallel()),
            (None, None, 3)
        );
        let some = Settings::parse(
            "[store]\nlayers = 'tree'\nlimit = '1.5 GiB'\nevict = 'unused'\n[pull]\nparallel = 5",
        )
        .unwrap();
        assert_eq!(
            (some.form().unwrap(), some.limit().unwrap()),
            (Some(Form::Tree), Some(1_610_612_736))
        );
        assert_eq!((some.evict().unwrap(), some.parallel()), (Evict::Unused, 5));
        for (text, words) in [
            ("[store]\nlayer = 'tree'", "layer"),
            ("[store]\nlayers = 'zip'", "store.layers"),
            ("[store]\nlimit = 'much'", "store.limit"),
            ("[store]\nevict = 'all'", "store.evict"),
            ("[pull]\nparallel = 0", "pull.parallel"),
            ("[build]\ncache = 'little'", "build.cache"),
            ("[pull", "line 1"),
        ] {
            let e = Settings::parse(text).unwrap_err().to_string();
            assert!(e.contains(words), "{e}");
        }
    }
}
