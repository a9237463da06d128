//! What a monitor is told when it starts: one file, written by brig, read once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use network::attachment::Attachment;
use serde::{Deserialize, Serialize};
use shim::error::{Error, Result};

/// The form of the file.
pub const VERSION: u32 = 1;

/// One start of a container. A monitor may be started anew by another brig than the one that wrote it: what an older one has not
/// written has its default, what a newer one has added in this form is not read.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Launch {
    /// [`VERSION`] of who wrote it.
    pub version: u32,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Without the slash.
    pub name: String,
    pub runtime: Runtime,
    /// The process has a terminal.
    pub terminal: bool,
    /// Its input is not /dev/null.
    pub open_stdin: bool,
    /// Its input ends with the first client that was attached to it.
    pub stdin_once: bool,
    pub log: Log,
    pub restart: RestartPolicy,
    /// Remove everything of it when it ends.
    pub auto_remove: bool,
    /// Sent by stop when nothing else is asked for: a number.
    pub stop_signal: i32,
    /// Seconds between that and SIGKILL; negative: for ever.
    pub stop_timeout: i64,
    pub health: Option<Health>,
    /// What events say of it: `image`, `name` and the labels.
    pub attributes: BTreeMap<String, String>,
    /// Names of the volumes that go with it (`--rm`, `rm -v`), if no other container has them: anonymous ones.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Names of all that it has.
    #[serde(default)]
    pub mounted: Vec<String>,
    /// The last descriptor before those of `layers` that [`crate::client::spawn`] was given is the mount namespace in which what some of
    /// them consist of (driver options) is mounted: it is taken away there when no container runs any more that has them.
    #[serde(default)]
    pub has_outside: bool,
    /// So many of its last descriptors are mounts of layers, which the monitor keeps open: containers that come later find them.
    #[serde(default)]
    pub layers: usize,
    /// `None`: it has nothing of networks that would have to be undone, and nobody to be asked for names.
    #[serde(default)]
    pub network: Option<Network>,
    /// Whose namespaces it joins.
    #[serde(default)]
    pub joined: Vec<crate::joined::Joined>,
}

impl Launch {
    /// From its file.
    ///
    /// # Errors
    /// read(2)'s; when it is no such file, or has a form that a newer program has made.
    pub fn read(path: &Path) -> Result<Launch> {
        let bytes =
            std::fs::read(path).map_err(|e| sys::Error::io("read", path.display().to_string(), &e))?;
        let wrong = |why: String| Error::new(format!("failed to read {}: {why}", path.display()));
        match crate::state::form_of(&bytes) {
            Some(1..=VERSION) => serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string())),
            Some(0) | None => Err(wrong("it is no such file".into())),
            Some(_) => Err(wrong("it has been written by a newer brig".into())),
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// write(2)'s and rename(2)'s.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| Error::new(e.to_string()))?;
        let new = path.with_extension("json.new");
        std::fs::write(&new, text).map_err(|e| sys::Error::io("write", new.display().to_string(), &e))?;
        std::fs::rename(&new, path).map_err(|e| sys::Error::io("rename", path.display().to_string(), &e))?;
        Ok(())
    }
}

/// What a container has of networks, and what its monitor does for them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// All of it: the monitor undoes it when the container has ended for good ([`network::detach`]).
    pub attachment: Attachment,
    /// What the descriptors are that [`crate::client::spawn`] was given, in their order.
    #[serde(default)]
    pub handed: Vec<Handed>,
    /// Who is asked, from the container's namespace, for names that are no container's: `--dns`. Empty: those of the machine's
    /// /etc/resolv.conf, as it is at each question, from the machine's namespace; and nobody when all networks are internal.
    #[serde(default)]
    pub nameservers: Vec<SocketAddr>,
}

/// A socket that brig has made for the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Handed {
    /// Of this one of the attachment's ports: bound, and listening if it is TCP's. It keeps the port, and what comes to it nevertheless
    /// is brought to the container.
    Port(usize),
    /// Of [`network::resolver::open`].
    ResolverUdp,
    ResolverTcp,
    /// The network namespace that stands for the machine ([`crate::ground`]): ports lead there by our hands, and there it is undone.
    Ground,
}

/// Who makes the container.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    pub program: PathBuf,
    /// Its state root.
    pub root: PathBuf,
    pub systemd_cgroup: bool,
}

/// Where output goes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// `json-file`, `local`, `journald` or `none`.
    pub driver: String,
    /// The file, or for `local` the directory's first file.
    pub path: PathBuf,
    /// As on the command line: `max-size`, `max-file`, `compress`, `labels`, `env`, `tag`, `mode`, `max-buffer-size`.
    pub options: BTreeMap<String, String>,
    /// What `labels`, `env` and `tag` came to: written to each line.
    pub attributes: BTreeMap<String, String>,
}

/// What happens when the container ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`; empty is `no`.
    pub name: String,
    /// Of `on-failure`; 0: no limit.
    pub maximum_retry_count: u32,
}

/// How to ask whether it is well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// Arguments of the probe.
    pub command: Vec<String>,
    /// Nanoseconds, all of them.
    pub interval: u64,
    pub timeout: u64,
    pub start_period: u64,
    pub start_interval: u64,
    pub retries: u32,
    /// `process` of an exec, as in config.json, without its arguments.
    pub process: serde_json::Value,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_another_version_has_written_is_read_or_refused_in_one_sentence() {
        let path = std::env::temp_dir().join(format!("monitor-launch-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Launch::read(&path).map_err(|e| e.to_string())
        };
        let old = read(
            r#"{"version":1,"id":"a","runtime":{"program":"/r","colour":1},"restart":{"Name":"always"},"tomorrow":1}"#,
        )
        .unwrap();
        assert_eq!((old.restart.name.as_str(), old.stop_timeout), ("always", 0));
        let named = |why: &str| format!("failed to read {}: {why}", path.display());
        assert_eq!(
            read(r#"{"version":2,"runtime":7}"#).unwrap_err(),
            named("it has been written by a newer brig")
        );
        assert_eq!(read("{}").unwrap_err(), named("it is no such file"));
        std::fs::remove_file(&path).unwrap();
    }
}
