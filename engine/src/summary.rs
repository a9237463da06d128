//! Containers as lists show them: of each record only what a list needs, and no record of one that is not shown.
//!
//! May not: open the store of images, or know what a filter is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ::network::attachment;
use ::network::ports::name;
use image::{Context as _, Result};
use monitor::state::{State, Status};
use serde::Deserialize;

use crate::containers::Containers;
use crate::model::{Empty, Endpoint, MountPoint, PortBinding};
use crate::network::{self, Mode};
use crate::networks;

/// One container.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    pub brief: Brief,
    /// What is true of it.
    pub state: State,
    /// Where its ports are reached in this moment.
    pub published: Vec<attachment::Port>,
}

/// The part of a [`crate::model::Definition`] that lists show.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Brief {
    pub version: u32,
    pub id: String,
    pub name: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub image: String,
    pub platform: String,
    pub config: BriefConfig,
    pub host: BriefHost,
    #[serde(default)]
    pub mounts: Vec<MountPoint>,
    #[serde(default)]
    pub networks: BTreeMap<String, Endpoint>,
}

/// The part of a [`crate::model::Config`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BriefConfig {
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
}

/// The part of a [`crate::model::HostConfig`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct BriefHost {
    pub network_mode: String,
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    pub publish_all_ports: bool,
    pub auto_remove: bool,
}

/// A port of a container, and perhaps where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub private: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Address and port of the host.
    pub public: Option<(String, u16)>,
}

/// What a list is made of.
#[derive(Debug, Default)]
pub struct List {
    /// The latest first.
    pub shown: Vec<Summary>,
    /// Those, shown or not, that were killed with their monitors and still have a place in their networks: for
    /// [`crate::recovery::free_networks`].
    pub stale: Vec<String>,
}

/// Those whose state is `wanted`.
///
/// # Errors
/// One cannot be read.
pub fn list(containers: &Containers, wanted: impl Fn(&State) -> bool) -> Result<List> {
    let (mut all, mut stale) = (Vec::new(), Vec::new());
    for id in containers.ids()? {
        let place = containers.place(&id);
        let state = containers.state(&place)?;
        if !is_up(&state) && place.network().exists() {
            stale.push(id.clone());
        }
        if wanted(&state)
            && let Some(brief) = brief(containers, &id)?
        {
            let published = match brief.publishes() && is_up(&state) {
                true => published(containers, &id)?,
                false => Vec::new(),
            };
            all.push(Summary {
                brief,
                state,
                published,
            });
        }
    }
    all.sort_by_cached_key(|s| std::cmp::Reverse(moment(&s.brief.created)));
    Ok(List { shown: all, stale })
}

/// Where the ports of a container are reached.
///
/// # Errors
/// Its record is damaged.
pub fn published(containers: &Containers, id: &str) -> Result<Vec<attachment::Port>> {
    let attachment = networks::attach::read(&containers.place(id).run)?;
    Ok(attachment.map(|a| a.ports).unwrap_or_default())
}

/// One that is removed meanwhile is none.
fn brief(containers: &Containers, id: &str) -> Result<Option<Brief>> {
    crate::containers::record(&containers.place(id))
}

/// What two times are compared by. Zeros at the end of the fraction are not written, so the texts cannot be.
pub(crate) fn moment(text: &str) -> (String, String) {
    let text = text.trim_end_matches('Z');
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    (seconds.to_owned(), fraction.to_owned())
}

impl Brief {
    fn publishes(&self) -> bool {
        self.host.publish_all_ports || !self.host.port_bindings.is_empty()
    }
}

impl Summary {
    /// Program and arguments in one line; what has a space in it stands in quotes.
    pub fn command(&self) -> String {
        let mut line = self.brief.path.clone();
        for argument in &self.brief.args {
            match argument.contains(' ') {
                true => line += &format!(" '{argument}'"),
                false => line += &format!(" {argument}"),
            }
        }
        line
    }

    /// `none`, `starting`, `healthy` or `unhealthy`.
    pub fn health(&self) -> &str {
        let health = self.state.health.as_ref();
        health.map_or("none", |h| if h.status.is_empty() { "none" } else { &h.status })
    }

    /// Ports of a container that runs.
    pub fn ports(&self) -> Vec<Port> {
        if !self.is_up() {
            return Vec::new();
        }
        let brief = &self.brief;
        ports(
            &brief.host.network_mode,
            brief.config.exposed_ports.as_ref(),
            &self.published,
        )
    }

    /// Whether it has processes, or will have again without anybody's doing.
    pub fn is_up(&self) -> bool {
        is_up(&self.state)
    }

    /// Networks by name.
    pub fn networks(&self) -> Vec<String> {
        networks(&self.brief.host.network_mode, &self.brief.networks)
    }
}

/// Whether `ps` shows it without being asked for all.
pub fn is_up(state: &State) -> bool {
    matches!(
        state.status,
        Status::Running | Status::Paused | Status::Restarting
    )
}

/// The networks of a container; one without a record of its own is in the one that its mode says.
pub fn networks(mode: &str, recorded: &BTreeMap<String, Endpoint>) -> Vec<String> {
    match network::parse_mode(mode) {
        Ok(Mode::Host) => vec!["host".to_owned()],
        Ok(Mode::None) => vec!["none".to_owned()],
        Ok(Mode::Own) => recorded.keys().cloned().collect(),
        Ok(Mode::Container(_)) | Err(_) => Vec::new(),
    }
}

/// What of a container can be reached in this mode: published ports, and those that it says it listens on. The host's network and
/// none publish nothing.
pub fn ports(
    mode: &str,
    exposed: Option<&BTreeMap<String, Empty>>,
    published: &[attachment::Port],
) -> Vec<Port> {
    if network::parse_mode(mode).ok() != Some(Mode::Own) {
        return Vec::new();
    }
    let of = |port: &attachment::Port| Port {
        private: port.container_port,
        protocol: name(port.protocol).to_owned(),
        public: Some((port.host.to_string(), port.host_port)),
    };
    let mut all: Vec<Port> = published.iter().map(of).collect();
    for port in exposed.into_iter().flatten().map(|(port, _)| port) {
        let Some((private, protocol)) = split_port(port) else {
            continue;
        };
        if !all.iter().any(|p| p.private == private && p.protocol == protocol) {
            all.push(Port {
                private,
                protocol: protocol.to_owned(),
                public: None,
            });
        }
    }
    all.sort_by(|a, b| (a.private, &a.protocol).cmp(&(b.private, &b.protocol)));
    all
}

/// `80/tcp`.
pub fn split_port(text: &str) -> Option<(u16, &str)> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    Some((number.parse().ok()?, protocol))
}

/// Bytes of the files that a container has written. A file under several names counts once.
///
/// # Errors
/// A directory cannot be read.
pub fn written(upper: &Path) -> Result<u64> {
    let mut seen = std::collections::BTreeSet::new();
    let mut directories = vec![upper.to_owned()];
    let mut bytes = 0;
    while let Some(directory) = directories.pop() {
        let failed = || format!("failed to read {}", directory.display());
        let entries = match fs::read_dir(&directory) {
            // It was never started, or is being removed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.context(failed())?,
        };
        for entry in entries {
            let entry = entry.context(failed())?;
            let Ok(metadata) = entry.metadata() else {
                // A running container removes files, too.
                continue;
            };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert(metadata.ino()) {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_with_and_without_zeros() {
        let mut times = [
            "2026-11-28T04:00:00.15Z",
            "2026-11-28T04:00:00Z",
            "2026-11-28T04:00:01Z",
            "2026-11-28T04:00:00.1Z",
        ];
        times.sort_by_cached_key(|t| moment(t));
        assert_eq!(
            times,
            [
                "2026-11-28T04:00:00Z",
                "2026-11-28T04:00:00.1Z",
                "2026-11-28T04:00:00.15Z",
                "2026-11-28T04:00:01Z"
            ]
        );
    }

    #[test]
    fn a_list_reads_what_the_engine_writes() {
        let definition = crate::model::Definition {
            version: 1,
            id: "a".repeat(64),
            name: "web".into(),
            path: "sh".into(),
            args: vec!["-c".into(), "echo hi".into()],
            ..crate::model::Definition::default()
        };
        let json = serde_json::to_string(&definition).unwrap();
        let summary = Summary {
            brief: serde_json::from_str(&json).unwrap(),
            state: State::default(),
            published: Vec::new(),
        };
        assert_eq!(summary.command(), "sh -c 'echo hi'");
        assert!(summary.networks().is_empty());
        assert_eq!(summary.health(), "none");
    }

    #[test]
    fn ports_of_a_network() {
        let exposed =
            BTreeMap::from([("80/tcp", ()), ("53/udp", ())].map(|(p, ())| (p.to_owned(), Empty {})));
        let published = [attachment::Port {
            protocol: attachment::Protocol::Tcp,
            host: "0.0.0.0".parse().unwrap(),
            host_port: 8080,
            container_port: 80,
        }];
        let all = ports("mine", Some(&exposed), &published);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].private, all[0].protocol.as_str()), (53, "udp"));
        assert_eq!(all[1].public, Some(("0.0.0.0".to_owned(), 8080)));
        assert_eq!(ports("host", Some(&exposed), &published), []);
    }

    #[test]
    fn a_file_under_two_names_counts_once() {
        let dir = std::env::temp_dir().join(format!("brig-summary-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("a")).unwrap();
        std::fs::write(dir.join("a/x"), [0; 100]).unwrap();
        std::fs::hard_link(dir.join("a/x"), dir.join("y")).unwrap();
        std::fs::write(dir.join("z"), [0; 11]).unwrap();
        let bytes = written(&dir).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(bytes, 111);
        assert_eq!(written(&dir).unwrap(), 0);
    }
}
