//! The first file system of every guest: a shell, the kernel's modules, the reference, and the script that goes on.
//!
//! May not: hold anything that is judged. That comes in an archive of its own, so this one stays the same when it changes.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::Cache;
use crate::command;
use crate::cpio::Archive;
use crate::guest::Arch;
use crate::modules;
use crate::packages::Packages;

const INIT: &str = include_str!("init.sh");

/// What a guest's devices are driven by, and what containers and their networks use. A script loads them all: nothing in
/// the guest would find one by itself.
const MODULES: [&str; 20] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "ext4",
    "overlay",
    "fuse",
    "loop",
    "bfq",
    "dummy",
    "veth",
    "bridge",
    "tun",
    "macvlan",
    "ipvlan",
    "vxlan",
    "ib_core",
    "binfmt_misc",
    "nf_tables",
    "zram",
];

/// What of the packages is in it: name there, path in the package.
const PROGRAMS: [(&str, &str); 2] = [("bin/busybox", "bin/busybox"), ("bin/bash", "bin/bash-static")];

/// The reference and its libraries, which is all of Debian that is dynamic there.
const REFERENCE: [(&str, &str); 4] = [
    ("usr/sbin/runc", "usr/sbin/runc"),
    (
        "lib64/ld-linux-x86-64.so.2",
        "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
    ),
    ("lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libc.so.6"),
    (
        "lib/x86_64-linux-gnu/libseccomp.so.2",
        "usr/lib/x86_64-linux-gnu/libseccomp.so.2",
    ),
];

const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/root:/bin/sh\n";
const GROUPS: &str = "root:x:0:\nuser:x:1000:\n";

/// The archive, made if the cache does not have it.
pub fn archive(cache: &Cache, arch: Arch, packages: &Packages) -> Result<PathBuf, String> {
    let mut content: Vec<&str> = packages.names.iter().map(String::as_str).collect();
    content.extend(["4", INIT, USERS]);
    content.extend(MODULES);
    cache.get(&format!("base-{}", arch.debian()), &content, |to| {
        write(to, arch, packages).map_err(|e| e.to_string())
    })
}

fn write(to: &Path, arch: Arch, packages: &Packages) -> std::io::Result<()> {
    let mut archive = Archive::new(BufWriter::new(File::create(to)?));
    for dir in [
        "bin", "dev", "etc", "lib", "modules", "proc", "root", "sbin", "sys", "usr", "usr/bin", "usr/sbin",
    ] {
        archive.directory(dir)?;
    }
    // Before devtmpfs is there, the script has nowhere to complain.
    archive.character("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, INIT.as_bytes())?;
    archive.file("etc/passwd", 0o644, USERS.as_bytes())?;
    archive.file("etc/group", 0o644, GROUPS.as_bytes())?;
    for name in ["bin/sh", "usr/bin/env"] {
        archive.link(name, "/bin/busybox")?;
    }
    for (name, path) in PROGRAMS {
        archive.copy(name, &packages.root.join(path))?;
    }
    if arch == Arch::Amd64 {
        for dir in ["lib64", "lib/x86_64-linux-gnu"] {
            archive.directory(dir)?;
        }
        for (name, path) in REFERENCE {
            archive.copy(name, &packages.root.join(path))?;
        }
    }
    let found = modules::find_all(&packages.modules().map_err(std::io::Error::other)?);
    let mut order = String::new();
    for module in modules::in_order(&found, &MODULES) {
        let name = module
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        archive.copy(&format!("modules/{name}"), &module)?;
        order += &name;
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes())?;
    archive.finish().map(drop)
}

/// An empty file system for a guest's `/var`, and one more disk for whoever weighs and throttles.
pub fn disk(cache: &Cache) -> Result<PathBuf, String> {
    cache.get("disk", &["ext4", "1G"], |to| {
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-t", "ext4", "-E", "lazy_itable_init=1"])
            .arg(to)
            .arg("1G");
        command::run(&mut make, "", Duration::from_secs(60))?
            .ok()
            .map(drop)
    })
}
