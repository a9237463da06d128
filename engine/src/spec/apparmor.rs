//! AppArmor: which profile a container runs under, and the usual one, loaded where it is missing.
//!
//! May not: keep a profile on the disk. It is made from what this machine has, as often as somebody unloads it.
//!
//! The rules are those of Docker's profile (github.com/moby/profiles, apparmor, v0.2.1), so a container may do the same under
//! either; see NOTICE. The name is Docker's as well: administrators know it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use image::{Context, Error, Result};

use super::{Host, Security};
use crate::model::HostConfig;

/// What a container has unless somebody says otherwise.
pub const USUAL: &str = "docker-default";

const UNCONFINED: &str = "unconfined";

/// Of a container; `None` where there is no AppArmor.
pub fn profile_of(host: &HostConfig, security: &Security, machine: &Host) -> Option<String> {
    let own = security.apparmor.as_deref().filter(|name| !name.is_empty());
    let name = match own {
        Some(name) => name,
        None if host.privileged => UNCONFINED,
        None => USUAL,
    };
    machine.apparmor.then(|| name.to_owned())
}

/// Loads the usual profile, if that is the one and the kernel does not have it. Before the runtime starts.
///
/// # Errors
/// There is no apparmor_parser(8), or it refuses.
pub fn load_if_missing(profile: Option<&str>) -> Result<()> {
    const LOADED: &str = "/sys/kernel/security/apparmor/profiles";
    if profile != Some(USUAL) {
        return Ok(());
    }
    let loaded = std::fs::read_to_string(LOADED).context(format_args!("failed to read {LOADED}"))?;
    match names(&loaded).any(|name| name == USUAL) {
        true => Ok(()),
        false => load(&text(USUAL, &Abstractions::ask())),
    }
}

/// `NAME (MODE)` lines; a name may have blanks and parentheses.
fn names(loaded: &str) -> impl Iterator<Item = &str> {
    loaded
        .lines()
        .map(|line| line.rsplit_once(" (").map_or(line, |(name, _)| name))
}

fn load(text: &str) -> Result<()> {
    let failed = "failed to load the AppArmor profile with apparmor_parser";
    // Without -K it would write a cache where nothing may be writable.
    let mut parser = Command::new("apparmor_parser")
        .arg("-Kr")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(failed)?;
    if let Some(mut input) = parser.stdin.take() {
        // Whoever does not read it all says why.
        let _ = input.write_all(text.as_bytes());
    }
    let output = parser.wait_with_output().context(failed)?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Error::new(format!(
            "{failed}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
    }
}

/// What the profile can build on.
struct Abstractions {
    abi: bool,
    tunables: bool,
    base: bool,
    /// The profile that we run under ourselves.
    ours: String,
}

impl Abstractions {
    fn ask() -> Abstractions {
        let there = |name: &str| Path::new("/etc/apparmor.d").join(name).exists();
        let current = std::fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
        let ours = names(current.trim_end()).next().filter(|name| !name.is_empty());
        Abstractions {
            abi: there("abi/3.0"),
            tunables: there("tunables/global"),
            base: there("abstractions/base"),
            ours: ours.unwrap_or(UNCONFINED).to_owned(),
        }
    }
}

fn text(name: &str, on: &Abstractions) -> String {
    let mut text = String::from("# Made by brig.\n");
    // Newer ABIs take sockets of unix(7) out of `network` (apparmor#561).
    if on.abi {
        text.push_str("abi <abi/3.0>,\n");
    }
    text.push_str(match on.tunables {
        true => "#include <tunables/global>\n",
        false => "@{PROC}=/proc/\n",
    });
    text.push_str(&format!(
        "profile \"{name}\" flags=(attach_disconnected,mediate_deleted) {{\n"
    ));
    if on.base {
        text.push_str("  #include <abstractions/base>\n");
    }
    text.push_str("  network,\n  deny network alg,\n  capability,\n  file,\n  umount,\n");
    // Of whoever stops it: us, the runtimes under profiles of distributions, and its own.
    for peer in ["unconfined", "runb", "runc", "crun", on.ours.as_str()] {
        text.push_str(&format!("  signal (receive) peer=\"{peer}\",\n"));
    }
    text.push_str(&format!("  signal (send,receive) peer=\"{name}\",\n"));
    for rule in DENIED {
        text.push_str(&format!("  deny {rule},\n"));
    }
    text.push_str(&format!(
        "  ptrace (trace,tracedby,read,readby) peer=\"{name}\",\n}}\n"
    ));
    text
}

/// Of /proc only processes and /proc/sys/kernel/shm* can be written, of /sys only cgroups.
const DENIED: [&str; 15] = [
    "@{PROC}/* w",
    "@{PROC}/{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}/** w",
    "@{PROC}/sys/[^k]** w",
    "@{PROC}/sys/kernel/{?,??,[^s][^h][^m]**} w",
    "@{PROC}/sysrq-trigger rwklx",
    "@{PROC}/kcore rwklx",
    "mount",
    "/sys/[^f]*/** wklx",
    "/sys/f[^s]*/** wklx",
    "/sys/fs/[^c]*/** wklx",
    "/sys/fs/c[^g]*/** wklx",
    "/sys/fs/cg[^r]*/** wklx",
    "/sys/firmware/** rwklx",
    "/sys/devices/virtual/powercap/** rwklx",
    "/sys/kernel/security/** rwklx",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn which_profile() {
        let of = |option: Option<&str>, privileged: bool, there: bool| {
            let host = HostConfig {
                privileged,
                security_opt: option.map(|o| vec![format!("apparmor={o}")]),
                ..HostConfig::default()
            };
            let machine = Host {
                apparmor: there,
                ..Host::default()
            };
            profile_of(&host, &Security::of(&host).unwrap(), &machine)
        };
        assert_eq!(of(None, false, true).as_deref(), Some("docker-default"));
        assert_eq!(of(None, true, true).as_deref(), Some("unconfined"));
        assert_eq!(of(Some("mine"), true, true).as_deref(), Some("mine"));
        assert_eq!(of(Some("mine"), false, false), None);
        // Nothing to load.
        load_if_missing(Some("mine")).unwrap();
        load_if_missing(None).unwrap();
    }

    #[test]
    fn the_profile_is_made_of_what_there_is() {
        let bare = text(
            "p",
            &Abstractions {
                abi: false,
                tunables: false,
                base: false,
                ours: "unconfined".into(),
            },
        );
        assert!(
            bare.starts_with("# Made by brig.\n@{PROC}=/proc/\nprofile \"p\" flags="),
            "{bare}"
        );
        assert_eq!(bare.matches('{').count(), bare.matches('}').count());
        assert_eq!(
            bare.lines().filter(|line| line.starts_with("  deny ")).count(),
            16
        );
        let full = text(
            "p",
            &Abstractions {
                abi: true,
                tunables: true,
                base: true,
                ours: "us".into(),
            },
        );
        for part in [
            "abi <abi/3.0>,",
            "tunables/global",
            "abstractions/base",
            "peer=\"us\"",
        ] {
            assert!(full.contains(part), "{part}");
        }
        let parser = Path::new("/usr/sbin/apparmor_parser");
        if !parser.exists() {
            println!("skip engine.apparmor: no apparmor_parser to ask");
            return;
        }
        // It only reads it.
        let mut child = Command::new(parser)
            .args(["-QK"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(bare.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn names_of_profiles() {
        let loaded = "docker-default (enforce)\na b (c) (complain)\nunconfined\n";
        assert_eq!(
            names(loaded).collect::<Vec<_>>(),
            ["docker-default", "a b (c)", "unconfined"]
        );
    }
}
