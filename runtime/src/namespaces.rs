//! The eight namespaces: which are made, which are joined, which are the host's.
//!
//! Pure but for [`is_of_process`]. Making and joining happens in the steps of the child.

use crate::config;
use crate::problems::Problems;
use serde::{Deserialize, Serialize};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// A kind of namespace (namespaces(7)), in the order in which they are joined: the user namespace first of all
/// when its rights are needed for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ns {
    /// CLONE_NEWUSER
    User,
    /// CLONE_NEWIPC
    Ipc,
    /// CLONE_NEWUTS
    Uts,
    /// CLONE_NEWNET
    Network,
    /// CLONE_NEWPID
    Pid,
    /// CLONE_NEWNS
    Mount,
    /// CLONE_NEWCGROUP
    Cgroup,
    /// CLONE_NEWTIME
    Time,
}

impl Ns {
    /// All of them.
    pub const ALL: [Ns; 8] = [
        Ns::User,
        Ns::Ipc,
        Ns::Uts,
        Ns::Network,
        Ns::Pid,
        Ns::Mount,
        Ns::Cgroup,
        Ns::Time,
    ];

    /// The word of config.json.
    pub fn word(self) -> &'static str {
        match self {
            Ns::User => "user",
            Ns::Ipc => "ipc",
            Ns::Uts => "uts",
            Ns::Network => "network",
            Ns::Pid => "pid",
            Ns::Mount => "mount",
            Ns::Cgroup => "cgroup",
            Ns::Time => "time",
        }
    }

    /// The name in /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            Ns::Network => "net",
            Ns::Mount => "mnt",
            other => other.word(),
        }
    }

    /// The CLONE_NEW* flag.
    pub fn flag(self) -> u64 {
        (match self {
            Ns::User => libc::CLONE_NEWUSER,
            Ns::Ipc => libc::CLONE_NEWIPC,
            Ns::Uts => libc::CLONE_NEWUTS,
            Ns::Network => libc::CLONE_NEWNET,
            Ns::Pid => libc::CLONE_NEWPID,
            Ns::Mount => libc::CLONE_NEWNS,
            Ns::Cgroup => libc::CLONE_NEWCGROUP,
            Ns::Time => libc::CLONE_NEWTIME,
        }) as u32 as u64
    }

    /// The kind that config.json calls `word`.
    pub fn parse(word: &str) -> Option<Ns> {
        Ns::ALL.into_iter().find(|n| n.word() == word)
    }
}

/// Where a container's namespace of one kind comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NsSource {
    /// Not listed: the container shares the runtime's.
    #[default]
    Host,
    /// Listed without a path: a fresh one.
    New,
    /// Listed with a path: that one.
    Join(PathBuf),
}

/// The container's namespaces, one source per kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    sources: [NsSource; 8],
}

impl Namespaces {
    /// Where the namespace of this kind comes from.
    pub fn source(&self, ns: Ns) -> &NsSource {
        &self.sources[ns as usize]
    }

    /// Replaces the source of one kind.
    pub fn set(&mut self, ns: Ns, source: NsSource) {
        self.sources[ns as usize] = source;
    }

    /// A fresh one is made.
    pub fn is_new(&self, ns: Ns) -> bool {
        *self.source(ns) == NsSource::New
    }

    /// The container has one of its own: fresh, or joined by path.
    pub fn owns(&self, ns: Ns) -> bool {
        *self.source(ns) != NsSource::Host
    }

    /// The path to join.
    pub fn path(&self, ns: Ns) -> Option<&Path> {
        match self.source(ns) {
            NsSource::Join(p) => Some(p),
            _ => None,
        }
    }

    /// The CLONE_NEW* flags of every fresh namespace.
    pub fn new_flags(&self) -> u64 {
        Ns::ALL
            .into_iter()
            .filter(|n| self.is_new(*n))
            .map(Ns::flag)
            .sum()
    }

    /// The kinds that are joined, in joining order.
    pub fn joined(&self) -> impl Iterator<Item = (Ns, &Path)> {
        Ns::ALL.into_iter().filter_map(|n| self.path(n).map(|p| (n, p)))
    }
}

/// Whether the opened namespace is that of a process: its pid, or `self`.
pub fn is_of_process(namespace: BorrowedFd<'_>, ns: Ns, pid: &str) -> sys::Result<bool> {
    let path = format!("/proc/{pid}/ns/{}", ns.proc_name());
    let theirs = sys::fs::fstatat(sys::fs::cwd(), Path::new(&path), 0)?;
    let this = sys::fs::fstat(namespace)?;
    Ok((this.dev, this.ino) == (theirs.dev, theirs.ino))
}

/// As Go prints the entry.
fn quoted(entry: &config::Namespace) -> String {
    format!("{{{:?} {:?}}}", entry.kind, entry.path)
}

/// Reads `linux.namespaces`.
pub fn plan_namespaces(list: &[config::Namespace], problems: &mut Problems) -> Namespaces {
    let mut out = Namespaces::default();
    for (n, entry) in list.iter().enumerate() {
        let place = format!("/linux/namespaces/{n}");
        let Some(ns) = Ns::parse(&entry.kind) else {
            problems.add(
                format!("{place}/type"),
                format!("namespace {} does not exist", quoted(entry)),
            );
            continue;
        };
        if out.owns(ns) {
            problems.add(
                place,
                format!("malformed spec file: duplicated ns {}", quoted(entry)),
            );
        } else if entry.path.is_empty() {
            out.set(ns, NsSource::New);
        } else if !entry.path.starts_with('/') {
            problems.add(
                format!("{place}/path"),
                format!("namespace path {:?} is not absolute", entry.path),
            );
        } else {
            out.set(ns, NsSource::Join(PathBuf::from(&entry.path)));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, path: &str) -> config::Namespace {
        config::Namespace {
            kind: kind.into(),
            path: path.into(),
        }
    }

    #[test]
    fn sources_and_flags() {
        let mut p = Problems::default();
        let ns = plan_namespaces(
            &[
                entry("pid", ""),
                entry("network", "/proc/1/ns/net"),
                entry("time", ""),
            ],
            &mut p,
        );
        assert!(p.is_empty());
        assert_eq!(ns.new_flags(), (libc::CLONE_NEWPID | libc::CLONE_NEWTIME) as u64);
        assert_eq!(
            ns.joined().collect::<Vec<_>>(),
            [(Ns::Network, Path::new("/proc/1/ns/net"))]
        );
        assert!(!ns.owns(Ns::Mount));
    }

    #[test]
    fn duplicates_and_strangers_are_refused() {
        let mut p = Problems::default();
        plan_namespaces(
            &[
                entry("pid", ""),
                entry("pid", "/x"),
                entry("moon", ""),
                entry("ipc", "rel"),
            ],
            &mut p,
        );
        let places: Vec<_> = p.iter().map(|p| p.place.clone()).collect();
        assert_eq!(
            places,
            [
                "/linux/namespaces/1",
                "/linux/namespaces/2/type",
                "/linux/namespaces/3/path"
            ]
        );
    }
}
