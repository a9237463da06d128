//! Debian's packages, downloaded and unpacked beside the system: nothing of them is installed on it.
//!
//! May not: use the package manager's own state, which knows one architecture and other people's sources.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::cache::{self, Cache};
use crate::command;
use crate::guest::Arch;
use crate::mirror;

/// The release that the guests are.
pub const SUITE: &str = "bookworm";

/// A set is renewed after so long, when the network is there.
const AGE: Duration = Duration::from_secs(21 * 24 * 3600);
const PATIENCE: Duration = Duration::from_secs(400);

/// The package that names the current kernel.
fn kernel(arch: Arch) -> String {
    format!("linux-image-cloud-{}", arch.debian())
}

/// Besides the kernel: a shell for the guest and one for the demo, and the reference with the libraries that it needs.
fn others(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["busybox-static", "bash-static", "runc", "libseccomp2", "libc6"],
        Arch::Arm64 => &["busybox-static", "bash-static"],
    }
}

/// Packages of one architecture, unpacked.
pub struct Packages {
    /// Where.
    pub root: PathBuf,
    /// File names, which hold the versions.
    pub names: Vec<String>,
}

impl Packages {
    /// The kernel, as a boot loader takes it.
    pub fn kernel(&self) -> Result<PathBuf, String> {
        only(&self.root.join("boot"), "vmlinuz-")
    }

    /// The directory of the kernel's modules; its name is the kernel's release.
    pub fn modules(&self) -> Result<PathBuf, String> {
        only(&self.root.join("lib/modules"), "")
    }
}

fn only(dir: &Path, prefix: &str) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .ok_or(format!("{} has no {prefix}*", dir.display()))
}

/// The packages for guests of this architecture.
pub fn fetch(cache: &Cache, arch: Arch) -> Result<Packages, String> {
    let dir = cache.dir().join(format!("debs-{}", arch.debian()));
    if !is_young(&dir) {
        let part = cache
            .dir()
            .join(format!("part-{}-debs-{}", std::process::id(), arch.debian()));
        match download(&part, arch) {
            Ok(()) => {
                cache::remove(&dir)?;
                std::fs::rename(&part, &dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            }
            Err(why) => {
                cache::remove(&part)?;
                if deb_names(&dir).is_empty() {
                    return Err(why);
                }
                eprintln!("vm: the packages stay as they are: {why}");
            }
        }
    }
    let names = deb_names(&dir);
    let content: Vec<&str> = names.iter().map(String::as_str).collect();
    let root = cache.get(&format!("unpacked-{}", arch.debian()), &content, |to| {
        for name in &names {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(dir.join(name)).arg(to);
            command::run(&mut unpack, "", PATIENCE)?.ok()?;
        }
        Ok(())
    })?;
    Ok(Packages { root, names })
}

fn is_young(dir: &Path) -> bool {
    let made = std::fs::metadata(dir.join("made")).and_then(|m| m.modified());
    made.is_ok_and(|made| SystemTime::now().duration_since(made).is_ok_and(|age| age < AGE))
}

fn deb_names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".deb"))
        .collect();
    names.sort();
    names
}

/// Downloads into a fresh directory. Everything that apt wants to remember stays in there, and goes.
fn download(to: &Path, arch: Arch) -> Result<(), String> {
    println!("downloading Debian's kernel for {} (once)", arch.debian());
    let state = to.join("apt");
    let told = |e: std::io::Error| format!("{}: {e}", state.display());
    for dir in ["lists/partial", "archives/partial"] {
        std::fs::create_dir_all(state.join(dir)).map_err(told)?;
    }
    let debian = mirror::debian();
    let security = format!("{}-security", debian.trim_end_matches('/'));
    let sources = format!(
        "deb {debian} {SUITE} main\ndeb {debian} {SUITE}-updates main\ndeb {security} {SUITE}-security main\n"
    );
    std::fs::write(state.join("sources.list"), sources).map_err(told)?;
    std::fs::write(state.join("status"), "").map_err(told)?;
    let apt = |program: &str, words: &[&str]| {
        let mut apt = Command::new(program);
        apt.current_dir(to).arg("-q");
        for option in [
            format!("APT::Architecture={}", arch.debian()),
            format!("APT::Architectures={}", arch.debian()),
            format!("Dir::State::Lists={}", state.join("lists").display()),
            format!("Dir::State::status={}", state.join("status").display()),
            format!("Dir::Cache={}", state.display()),
            format!("Dir::Etc::SourceList={}", state.join("sources.list").display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Trusted=/usr/share/keyrings/debian-archive-keyring.gpg".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // The directory need not be readable for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.arg("-o").arg(option);
        }
        let outcome = command::run(apt.args(words), "", PATIENCE)?;
        outcome
            .ok()
            .map_err(|e| format!("{program} {}: {e}", words.join(" ")))
    };
    apt("apt-get", &["update"])?;
    let depends = apt("apt-cache", &["depends", &kernel(arch)])?;
    let image = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or(format!("{} names no kernel", kernel(arch)))?;
    let mut words = vec!["download", image];
    words.extend(others(arch));
    apt("apt-get", &words)?;
    cache::remove(&state)?;
    std::fs::write(to.join("made"), "").map_err(told)
}
