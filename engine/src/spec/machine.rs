//! Machine containers: what systemd as process 1 expects of a container (systemd.io/CONTAINER_INTERFACE).
//!
//! May not: change containers that run something else.
//!
//! | it needs | it gets |
//! |---|---|
//! | to know that it is in a container | `container=docker`, and the id as `container_uuid`, which becomes its machine id |
//! | /run, /tmp and others that are empty at each start | tmpfs, with what the image has there |
//! | a cgroup tree to make units in | version 2: its own, writable; version 1: its own part of `name=systemd` |
//! | an orderly stop | SIGRTMIN+3; it takes SIGTERM for an order to start itself again |

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use image::{Error, Result};
use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

use super::host::Hierarchy;
use super::{Inputs, cgroups_path, signal};
use crate::model::Definition;

/// The annotation that says whether: `true` (if the command is systemd; the default), `false`, `always`. `--systemd` sets it.
pub const ANNOTATION: &str = "brig.systemd";

/// halt.target, by systemd's own numbers.
pub const STOP_SIGNAL: &str = "SIGRTMIN+3";

/// Links from /sbin/init to systemd, at most.
const MOST_LINKS: usize = 8;

/// Whether this container is one.
///
/// # Errors
/// The annotation has another value.
pub(super) fn is_one(definition: &Definition, root: BorrowedFd<'_>) -> Result<bool> {
    match definition.host.annotations.get(ANNOTATION).map(String::as_str) {
        Some("always") => Ok(true),
        Some("false") => Ok(false),
        None | Some("true") => Ok(leads_to_systemd(&definition.path, root)),
        Some(other) => Err(Error::invalid(format!(
            "invalid value {other:?} for {ANNOTATION}: use true, false or always"
        ))),
    }
}

/// `/sbin/init` is what most images name; of busybox, say, it is another.
fn leads_to_systemd(program: &str, root: BorrowedFd<'_>) -> bool {
    let mut path = match program {
        "init" => PathBuf::from("/sbin/init"),
        program => PathBuf::from(program),
    };
    for _ in 0..MOST_LINKS {
        match path.file_name().and_then(|name| name.to_str()) {
            Some("systemd") => return true,
            Some("init") => {}
            _ => return false,
        }
        let Some(link) = link_at(&path, root) else {
            return false;
        };
        path = path.parent().unwrap_or(Path::new("/")).join(link);
    }
    false
}

fn link_at(path: &Path, root: BorrowedFd<'_>) -> Option<PathBuf> {
    let directory = path.parent()?.strip_prefix("/").ok()?;
    let directory = match directory.as_os_str().is_empty() {
        true => Path::new("."),
        false => directory,
    };
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let directory = sys::fs::openat2(root, directory, flags, 0, resolve).ok()?;
    sys::fs::readlinkat(std::os::fd::AsFd::as_fd(&directory), Path::new(path.file_name()?)).ok()
}

/// Its tmpfs: where, and with which options.
pub(super) const MOUNTS: [(&str, &[&str]); 4] = [
    ("/run", &["nosuid", "nodev", "mode=755", "tmpcopyup"]),
    ("/run/lock", &["nosuid", "nodev", "noexec", "mode=1777"]),
    ("/tmp", &["nosuid", "nodev", "mode=1777"]),
    ("/var/log/journal", &["nosuid", "nodev", "noexec", "mode=755"]),
];

/// Under version 1: the source of the one hierarchy that it may write to.
pub(super) fn own_hierarchy(inputs: &Inputs<'_>) -> Option<String> {
    let cgroups = &inputs.host.cgroups;
    if cgroups.hierarchy == Hierarchy::Unified || !cgroups.has("systemd") {
        return None;
    }
    let path = cgroups_path(&inputs.definition.id, &inputs.definition.host, inputs.host)?;
    path.starts_with('/')
        .then(|| format!("/sys/fs/cgroup/systemd{path}"))
}

/// What a program is told of where it is; the user's own go before it.
pub(super) fn environment(id: &str) -> [String; 2] {
    let uuid: String = id.chars().take(32).collect();
    ["container=docker".to_owned(), format!("container_uuid={uuid}")]
}

/// What `stop` sends: the user's or the image's, or the usual one.
///
/// # Errors
/// There is no such signal.
pub fn stop_signal(definition: &Definition, is_machine: bool) -> Result<i32> {
    match definition.config.stop_signal.as_deref() {
        Some(name) if !name.is_empty() => signal::parse(name),
        _ if is_machine => signal::parse(STOP_SIGNAL),
        _ => Ok(libc::SIGTERM),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    #[test]
    fn systemd_is_found_behind_links() {
        let root = std::env::temp_dir().join(format!("brig-machine-{}", std::process::id()));
        for directory in ["usr/sbin", "usr/lib/systemd", "etc"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        symlink("usr/sbin", root.join("sbin")).unwrap();
        symlink("../lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
        symlink("/bin/busybox", root.join("etc/init")).unwrap();
        symlink("init", root.join("usr/init")).unwrap();
        let fd = sys::fs::open(&root, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        for (program, want) in [
            ("/sbin/init", true),
            ("init", true),
            ("/usr/sbin/init", true),
            ("/usr/lib/systemd/systemd", true),
            ("/lib/systemd/systemd", true),
            ("/etc/init", false),
            ("/usr/init", false),
            ("/init", false),
            ("sh", false),
        ] {
            assert_eq!(leads_to_systemd(program, fd.as_fd()), want, "{program}");
        }
        let mut definition = Definition {
            path: "sh".into(),
            ..Definition::default()
        };
        for (value, want) in [
            ("always", Some(true)),
            ("false", Some(false)),
            ("true", Some(false)),
            ("x", None),
        ] {
            definition
                .host
                .annotations
                .insert(ANNOTATION.into(), value.into());
            assert_eq!(is_one(&definition, fd.as_fd()).ok(), want);
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn it_is_stopped_by_a_signal_of_its_own() {
        let mut definition = Definition::default();
        assert_eq!(stop_signal(&definition, true).unwrap(), 37);
        assert_eq!(stop_signal(&definition, false).unwrap(), 15);
        definition.config.stop_signal = Some("QUIT".into());
        assert_eq!(stop_signal(&definition, true).unwrap(), 3);
    }
}
