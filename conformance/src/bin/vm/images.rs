//! The images that brig runs in a guest: one archive, which the guest reads as a disk.
//!
//! May not: be loaded here. The store that a guest has is one that it has made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{self, Cache};
use crate::packages;
use crate::{command, mirror};

const SCRIPT: &str = include_str!("images.sh");

/// Beside the base system, of what boots.
const PACKAGES: [&str; 4] = ["systemd-sysv", "dbus", "busybox-static", "procps"];

const PATIENCE: Duration = Duration::from_secs(600);

/// The archive, made if the cache does not have it.
pub fn archive(cache: &Cache) -> Result<PathBuf, String> {
    let mut content = vec![SCRIPT, packages::SUITE];
    content.extend(PACKAGES);
    cache.get("images", &content, |to| {
        let tree = to.with_file_name(format!("part-{}-images-tree", std::process::id()));
        let made = make(&tree, to);
        cache::remove(&tree)?;
        made
    })
}

fn make(tree: &Path, archive: &Path) -> Result<(), String> {
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
        .arg(archive)
        .arg(mirror::debian())
        .arg(packages::SUITE)
        .arg(PACKAGES.join(","));
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    command::run(script.env("PATH", path), "", PATIENCE)?
        .ok()
        .map(drop)
}
