//! registries.conf, version 2 and the older version 1 (containers-registries.conf(5)): prefixes, mirrors, short names.
//!
//! May not: decide whether short names are used at all.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::hosts::read;
use crate::{Context, Error, Result};

/// What all files together say.
#[derive(Debug, Default)]
pub(super) struct RegistriesConf {
    entries: Vec<Entry>,
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
}

/// A `[[registry]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    prefix: Option<String>,
    pub location: Option<String>,
    #[serde(default)]
    pub insecure: bool,
    #[serde(default)]
    pub blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default, rename = "mirror")]
    pub mirrors: Vec<Mirror>,
}

/// A `[[registry.mirror]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Mirror {
    pub location: String,
    #[serde(default)]
    pub insecure: bool,
    pull_from_mirror: Option<PullFrom>,
}

/// What a mirror is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    unqualified_search_registries: Option<Vec<String>>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default, rename = "registry")]
    entries: Vec<Entry>,
    registries: Option<Older>,
}

/// Version 1: three lists of registries.
#[derive(Deserialize)]
struct Older {
    #[serde(default)]
    search: OlderList,
    #[serde(default)]
    insecure: OlderList,
    #[serde(default)]
    block: OlderList,
}

#[derive(Default, Deserialize)]
struct OlderList {
    #[serde(default)]
    registries: Vec<String>,
}

impl Older {
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let named = |name: &String, insecure, blocked| Entry {
            prefix: None,
            location: Some(name.trim_end_matches('/').to_owned()),
            insecure,
            blocked,
            mirror_by_digest_only: false,
            mirrors: Vec::new(),
        };
        let is_blocked = |name: &&String| self.block.registries.contains(name);
        let insecure = self
            .insecure
            .registries
            .iter()
            .filter(move |name| !is_blocked(name));
        let blocked = self.block.registries.iter();
        insecure
            .map(move |name| named(name, true, false))
            .chain(blocked.map(move |name| named(name, false, true)))
    }
}

impl RegistriesConf {
    /// The first of `whole` that is there, then all `*.conf` of `directories`, then the aliases.
    pub fn load(whole: &[PathBuf], directories: &[PathBuf], aliases: &[PathBuf]) -> Result<RegistriesConf> {
        let mut conf = RegistriesConf::default();
        for path in whole {
            if let Some(text) = read(path)? {
                conf.add(&text)
                    .context(format!("failed to read {}", path.display()))?;
                break;
            }
        }
        for directory in directories {
            let Ok(entries) = std::fs::read_dir(directory) else {
                continue;
            };
            let mut parts: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
            parts.retain(|p| p.extension().is_some_and(|e| e == "conf"));
            parts.sort();
            for path in parts {
                if let Some(text) = read(&path)? {
                    conf.add(&text)
                        .context(format!("failed to read {}", path.display()))?;
                }
            }
        }
        for path in aliases {
            if let Some(text) = read(path)? {
                conf.add(&text)
                    .context(format!("failed to read {}", path.display()))?;
            }
        }
        // The longest prefix that matches counts.
        conf.entries.sort_by_key(|e| std::cmp::Reverse(e.prefix().len()));
        Ok(conf)
    }

    /// A later file counts where both speak of the same.
    pub(super) fn add(&mut self, text: &str) -> Result<()> {
        let file: File =
            toml::from_str(text).map_err(|e| Error::invalid(e.to_string().trim().replace('\n', " ")))?;
        let mut entries = file.entries;
        let mut search = file.unqualified_search_registries;
        if let Some(older) = file.registries {
            // Which of the two counts would be a guess.
            if search.is_some() || !entries.is_empty() {
                return Err(Error::invalid(
                    "[registries.*] of version 1 and [[registry]] of version 2 are mixed in one file",
                ));
            }
            entries.extend(older.entries());
            search = Some(older.search.registries);
        }
        for entry in entries {
            if entry.prefix().is_empty() {
                return Err(Error::invalid("a [[registry]] has neither prefix nor location"));
            }
            if entry.location.is_none() && !entry.prefix().starts_with("*.") && entry.prefix.is_none() {
                return Err(Error::invalid(format!(
                    "[[registry]] {} has no location",
                    entry.prefix()
                )));
            }
            self.entries.retain(|e| e.prefix() != entry.prefix());
            self.entries.push(entry);
        }
        if let Some(search) = search {
            self.search = search;
        }
        self.aliases.extend(file.aliases);
        Ok(())
    }

    /// The entry for `domain/path`.
    pub fn entry_for(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.matched(name).is_some())
    }

    /// What a name without a domain may mean: its alias (an empty one is none), or the name in every registry that is searched.
    pub fn long_names(&self, name: &str) -> Vec<String> {
        let (bare, mark) = match name.find(['@', ':']) {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        if let Some(alias) = self.aliases.get(bare).filter(|a| !a.is_empty()) {
            return vec![format!("{alias}{mark}")];
        }
        self.search
            .iter()
            .map(|registry| format!("{registry}/{name}"))
            .collect()
    }
}

impl Entry {
    /// What names begin with that it is for.
    pub fn prefix(&self) -> &str {
        match self.prefix.as_deref().filter(|p| !p.is_empty()) {
            Some(prefix) => prefix,
            None => self.location.as_deref().unwrap_or_default(),
        }
    }

    pub fn pull_from(&self, mirror: &Mirror) -> PullFrom {
        match mirror.pull_from_mirror {
            Some(from) => from,
            None if self.mirror_by_digest_only => PullFrom::DigestOnly,
            None => PullFrom::All,
        }
    }

    /// With the prefix replaced.
    pub fn renamed(&self, name: &str, location: Option<&str>) -> String {
        match (location.filter(|l| !l.is_empty()), self.matched(name)) {
            (Some(location), Some(length)) => format!("{location}{}", &name[length..]),
            _ => name.to_owned(),
        }
    }

    /// How much of the name its prefix covers.
    fn matched(&self, name: &str) -> Option<usize> {
        let prefix = self.prefix();
        let length = match prefix.strip_prefix('*') {
            // `*.example.com/a`: the host has at least one label more.
            Some(suffix) => {
                let host_end = name.find('/').unwrap_or(name.len());
                let suffix_host_end = suffix.find('/').unwrap_or(suffix.len());
                let (suffix_host, suffix_path) = suffix.split_at(suffix_host_end);
                let (host, path) = name.split_at(host_end);
                let is_below = suffix_host.starts_with('.')
                    && host.len() > suffix_host.len()
                    && host.ends_with(suffix_host);
                if !is_below || !path.starts_with(suffix_path) {
                    return None;
                }
                host_end + suffix_path.len()
            }
            None => name.starts_with(prefix).then_some(prefix.len())?,
        };
        let rest = &name[length..];
        (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn prefixes_end_at_a_border() {
        let entry = |prefix: &str| Entry {
            prefix: Some(prefix.to_owned()),
            location: None,
            insecure: false,
            blocked: false,
            mirror_by_digest_only: false,
            mirrors: Vec::new(),
        };
        for (prefix, name, expected) in [
            ("a.io", "a.io/x", Some(4)),
            ("a.io", "a.io:5000/x", Some(4)),
            ("a.io/x", "a.io/xy", None),
            ("a.io/x", "a.io/x", Some(6)),
            ("*.a.io", "b.a.io/x", Some(6)),
            ("*.a.io", "a.io/x", None),
            ("*.a.io", "ba.io/x", None),
            ("*.a.io/x", "c.b.a.io/x/y", Some(10)),
            ("*.a.io/x", "c.b.a.io/xy", None),
        ] {
            assert_eq!(entry(prefix).matched(name), expected, "{prefix} {name}");
        }
    }

    #[test]
    fn version_1_is_three_lists() {
        let mut conf = RegistriesConf::default();
        conf.add(
            "[registries.search]\nregistries = ['a.io', 'b.io']\n[registries.insecure]\nregistries = ['c.io:5000/', 'd.io']\n\
             [registries.block]\nregistries = ['d.io']\n",
        )
        .unwrap();
        assert_eq!(conf.long_names("x"), ["a.io/x", "b.io/x"]);
        let of = |name: &str| conf.entry_for(name).map(|e| (e.insecure, e.blocked));
        assert_eq!(of("c.io:5000/x"), Some((true, false)));
        assert_eq!(of("d.io/x"), Some((false, true)));
        assert_eq!(of("a.io/x"), None);
        for mixed in [
            "unqualified-search-registries = ['a.io']\n[registries.search]\nregistries = ['b.io']\n",
            "[[registry]]\nlocation = 'a.io'\n[registries.block]\nregistries = ['b.io']\n",
        ] {
            let e = conf.add(mixed).unwrap_err().to_string();
            assert!(e.contains("version 1") && e.contains("mixed"), "{e}");
        }
        assert!(conf.add("[registries]\nsearch = ['a.io']\n").is_err());
    }

    #[test]
    fn short_names_have_aliases() {
        let mut conf = RegistriesConf::default();
        conf.add(
            "unqualified-search-registries = [\"quay.io\", \"docker.io\"]\nshort-name-mode = \"enforcing\"\n",
        )
        .unwrap();
        conf.add("[aliases]\n\"fedora\" = \"registry.fedoraproject.org/fedora\"\n\"none\" = \"\"\n")
            .unwrap();
        assert_eq!(
            conf.long_names("fedora:40"),
            ["registry.fedoraproject.org/fedora:40"]
        );
        assert_eq!(conf.long_names("none"), ["quay.io/none", "docker.io/none"]);
        assert_eq!(conf.long_names("a/b@x"), ["quay.io/a/b@x", "docker.io/a/b@x"]);
        assert!(RegistriesConf::default().long_names("x").is_empty());
        for text in [
            "[[registry]]\nblocked = true",
            "unqualified-search-registries = 1",
            "[[registry]]\nlocation = \"x\"\n[[registry.mirror]]\npull-from-mirror = \"all\"",
        ] {
            assert!(conf.add(text).is_err(), "{text}");
        }
    }
}
