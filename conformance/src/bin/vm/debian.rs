//! The disk of the guests with systemd: a Debian with systemd and the engines, made once by debootstrap.
//!
//! May not: install or mount anything that stays on the host.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{self, Cache};
use crate::packages::{self, Packages};
use crate::{command, mirror};

const SCRIPT: &str = include_str!("debian.sh");

/// Beside the base system. A container engine wants a network stack as a package, though no case has a network.
const PACKAGES: [&str; 22] = [
    "systemd-sysv",
    "dbus",
    "dbus-user-session",
    "libpam-systemd",
    "udev",
    "kmod",
    "apparmor",
    "runc",
    "podman",
    "conmon",
    "containerd",
    "docker.io",
    "uidmap",
    "iproute2",
    "iptables",
    "busybox-static",
    "procps",
    "containernetworking-plugins",
    "fuse-overlayfs",
    "slirp4netns",
    "util-linux",
    "catatonit",
];

const PATIENCE: Duration = Duration::from_secs(900);

/// The disk, made if the cache does not have it.
pub fn image(cache: &Cache, packages: &Packages) -> Result<PathBuf, String> {
    let mut content = vec![SCRIPT];
    content.extend(PACKAGES);
    content.extend(packages.names.iter().map(String::as_str));
    cache.get("debian", &content, |to| {
        let tree = to.with_file_name(format!("part-{}-debian-tree", std::process::id()));
        let made = make(&tree, to, packages);
        cache::remove(&tree)?;
        cache::remove(&tree.with_extension("log"))?;
        made
    })
}

fn make(tree: &Path, image: &Path, packages: &Packages) -> Result<(), String> {
    // What is mounted goes with the mount namespace, and what runs with the PID namespace, also when we are killed.
    let mut script = Command::new("setpriv");
    script
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        .args(["--propagation", "private", "sh", "-c", SCRIPT, "sh"])
        .arg(tree)
        .arg(image)
        .arg(mirror::debian())
        .arg(packages::SUITE)
        .arg(PACKAGES.join(","))
        .arg(packages.modules()?);
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command::run(script.env("PATH", path), "", PATIENCE)?
        .ok()
        .map(drop)
}
