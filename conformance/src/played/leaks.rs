//! What a case left behind: processes, cgroups, mounts, state directories.
//!
//! May not: count what an engine keeps for itself. Two surveys are compared, and the engines get a moment to tidy up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{command, patience};

fn moment() -> Duration {
    patience::seconds(10)
}

/// Everything that can be left behind, each as one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Survey(BTreeSet<String>);

/// Takes stock of the played host.
pub fn survey(dir: &Path) -> Survey {
    let mut found = BTreeSet::new();
    for (pid, command) in processes() {
        found.insert(format!("process {pid} ({command})"));
    }
    for hierarchy in hierarchies() {
        directories(&hierarchy, &mut |path| {
            found.insert(format!("cgroup {}", path.display()));
        });
    }
    // The Docker daemon has a mount namespace of its own.
    let daemon = std::fs::read_to_string("/run/docker.pid").unwrap_or_default();
    for process in ["self", daemon.trim()] {
        let mounts = std::fs::read_to_string(format!("/proc/{process}/mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            found.insert(format!("mount {point}"));
        }
    }
    for state in state_roots(dir) {
        for entry in std::fs::read_dir(&state).into_iter().flatten().flatten() {
            found.insert(format!("state {}", entry.path().display()));
        }
    }
    Survey(found)
}

/// Waits until nothing is there that was not there before; complains about what stays.
pub fn check(before: &Survey, dir: &Path) -> Result<(), String> {
    let mut left_over: Vec<String> = Vec::new();
    let clean = command::until("nothing left behind", moment(), || {
        left_over = left(before, dir);
        left_over.is_empty()
    });
    clean.map_err(|_| format!("left behind: {}", left_over.join(", ")))
}

/// What is there now and was not there before.
pub fn left(before: &Survey, dir: &Path) -> Vec<String> {
    let now = survey(dir);
    let added = now.0.difference(&before.0);
    // A container's parent cgroup is the engine's own and stays, once made.
    added.filter(|line| !is_engines_own(line)).cloned().collect()
}

fn is_engines_own(line: &str) -> bool {
    let own_cgroups = [
        "/docker",
        "/docker/buildkit",
        "/libpod_parent",
        "/libpod_parent/conmon",
        "/default",
        "/pods",
    ];
    let own_mounts = ["/podman/overlay", "/run/docker/netns/default"];
    (line.starts_with("cgroup ") && own_cgroups.iter().any(|end| line.ends_with(end)))
        // The daemon has another number after an outage.
        || (line.starts_with("process ") && (line.ends_with("(containerd)") || line.ends_with("(dockerd)")))
        || (line.starts_with("mount ") && own_mounts.iter().any(|end| line.ends_with(end)))
}

/// After the engines ended, PID 1 and this program are alone.
pub fn nobody_else_runs() -> Result<(), String> {
    let own = std::process::id();
    let mut others = Vec::new();
    let alone = command::until("the engines' processes are gone", moment(), || {
        others = processes()
            .into_iter()
            .filter(|(pid, _)| *pid != 1 && *pid != own)
            .collect();
        others.is_empty()
    });
    alone.map_err(|e| format!("{e}: {others:?}"))
}

/// Living processes of this PID namespace, without those of this program.
pub fn processes() -> Vec<(u32, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((before, after)) = stat.rsplit_once(") ") else {
            continue;
        };
        // A zombie is PID 1's to collect, and it does.
        if after.starts_with(['Z', 'X']) {
            continue;
        }
        found.push((
            pid,
            before.split_once('(').map_or("", |(_, name)| name).to_owned(),
        ));
    }
    found
}

pub fn hierarchies() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let cgroups = mounts
        .lines()
        .filter(|line| matches!(line.split(' ').nth(2), Some("cgroup" | "cgroup2")));
    cgroups
        .filter_map(|line| line.split(' ').nth(1).map(PathBuf::from))
        .collect()
}

pub fn directories(parent: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            directories(&entry.path(), visit);
        }
    }
}

/// Where runtimes keep their containers: each under its own name, or under the engine's.
fn state_roots(dir: &Path) -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> = [
        "/run/runb",
        "/run/runc",
        "/run/crun",
        "/run/containerd/runc/default",
        // The sockets of shims.
        "/run/containerd/s",
    ]
    .map(PathBuf::from)
    .into();
    for parent in ["/run/docker", "/run/ctr"] {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("runtime-") {
                roots.push(entry.path().join("moby"));
            }
        }
    }
    roots.push(dir.join("bundles"));
    roots
}
