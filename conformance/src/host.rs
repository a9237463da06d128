//! What this machine offers. Reads and tries out; changes nothing that stays.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::case::Need;
use crate::kernel;
use crate::world::parse_mount;

const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// What is mounted at /sys/fs/cgroup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CgroupMode {
    /// v1 hierarchies only.
    V1,
    /// v1 hierarchies and a v2 tree at `unified`.
    Hybrid,
    /// One v2 tree.
    V2,
}

/// Which cgroup tree the cases are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CgroupView {
    /// What the machine has.
    #[default]
    Host,
    /// The v1 hierarchies of a hybrid machine, without its v2 tree.
    V1,
    /// One v2 tree. On a machine whose controllers are bound to v1 it has the core files only.
    V2,
}

impl CgroupView {
    /// By name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "host" => Some(CgroupView::Host),
            "v1" => Some(CgroupView::V1),
            "v2" => Some(CgroupView::V2),
            _ => None,
        }
    }

    /// The name that [`CgroupView::parse`] takes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            CgroupView::Host => "host",
            CgroupView::V1 => "v1",
            CgroupView::V2 => "v2",
        }
    }

    /// What the cases will find at /sys/fs/cgroup.
    #[must_use]
    pub fn mode(self) -> CgroupMode {
        match self {
            CgroupView::Host => probe_cgroup_mode(),
            CgroupView::V1 => CgroupMode::V1,
            CgroupView::V2 => CgroupMode::V2,
        }
    }

    /// Shows it. The caller has a mount namespace of its own.
    ///
    /// # Errors
    /// Those of mounting.
    pub fn apply(self) -> io::Result<()> {
        let base = Path::new("/sys/fs/cgroup");
        match (self, probe_cgroup_mode()) {
            (CgroupView::V1, CgroupMode::Hybrid) => show_v1(base),
            (CgroupView::V1, CgroupMode::V2) => Err(io::Error::other("this machine has no cgroup v1")),
            (CgroupView::V2, CgroupMode::V1 | CgroupMode::Hybrid) => {
                // The old tree stays mounted below: a lazy unmount could not take its parts along.
                kernel::mount(Path::new("none"), base, "cgroup2", 0, "")
            }
            _ => Ok(()),
        }
    }
}

/// Mounts the v1 hierarchies anew below a tmpfs of our own. Unmounting `unified` alone would leave a directory that a
/// runtime may take for the v2 tree and fill.
fn show_v1(base: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let hierarchies: Vec<(PathBuf, String)> = table
        .lines()
        .filter_map(parse_mount)
        .filter(|m| m.kind == "cgroup" && m.point.starts_with("/sys/fs/cgroup/"))
        .map(|m| {
            let named = m.fs_options.iter().any(|o| o.starts_with("name="));
            let options: Vec<&str> = m
                .fs_options
                .iter()
                .map(String::as_str)
                .filter(|o| *o != "rw" && *o != "ro")
                .collect();
            (
                PathBuf::from(m.point),
                format!("{}{}", if named { "none," } else { "" }, options.join(",")),
            )
        })
        .collect();
    kernel::mount(Path::new("none"), base, "tmpfs", 0, "mode=755")?;
    for (point, options) in hierarchies {
        fs::create_dir_all(&point)?;
        kernel::mount(Path::new("cgroup"), &point, "cgroup", 0, &options)?;
    }
    Ok(())
}

/// Reads [`CgroupMode`] from the mounts.
#[must_use]
pub fn probe_cgroup_mode() -> CgroupMode {
    let is_v2 = |p: &str| kernel::filesystem(Path::new(p)).is_ok_and(|m| m == CGROUP2_MAGIC);
    if is_v2("/sys/fs/cgroup") {
        CgroupMode::V2
    } else if is_v2("/sys/fs/cgroup/unified") {
        CgroupMode::Hybrid
    } else {
        CgroupMode::V1
    }
}

/// Why `need` is not met here; None when it is.
#[must_use]
pub fn probe_lack(need: Need) -> Option<String> {
    let unless = |met: bool, why: &str| (!met).then(|| why.to_owned());
    let yes = |path: &str, text: &str| fs::read_to_string(path).is_ok_and(|t| t.trim() == text);
    match need {
        Need::Root => unless(kernel::effective_uid() == 0, "needs root"),
        Need::UserNamespaces => unless(can_unshare("--user"), "user namespaces cannot be made here"),
        Need::TimeNamespaces => unless(
            Path::new("/proc/self/ns/time").exists(),
            "the kernel has no time namespaces",
        ),
        Need::V1(c) => {
            let tasks = Path::new("/sys/fs/cgroup").join(c).join("tasks");
            unless(tasks.exists(), &format!("needs a cgroup v1 hierarchy of {c}"))
        }
        Need::V2 => unless(
            probe_cgroup_mode() == CgroupMode::V2,
            "needs a pure cgroup v2 tree",
        ),
        Need::V2Controller(c) => {
            let offered = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            unless(
                offered.split_whitespace().any(|x| x == c),
                &format!("needs the cgroup v2 controller {c}"),
            )
        }
        Need::Controller(c) => match probe_cgroup_mode() {
            CgroupMode::V2 => probe_lack(Need::V2Controller(c)),
            _ => probe_lack(Need::V1(c)),
        },
        Need::Systemd => {
            let there = Path::new("/run/systemd/system").is_dir() && find_program("systemctl");
            unless(there, "needs systemd as PID 1")
        }
        Need::NoSystemd => unless(!Path::new("/run/systemd/system").is_dir(), "systemd runs here"),
        Need::AppArmor => unless(
            yes("/sys/module/apparmor/parameters/enabled", "Y"),
            "AppArmor is not enabled",
        ),
        Need::NoAppArmor => unless(
            !yes("/sys/module/apparmor/parameters/enabled", "Y"),
            "AppArmor is enabled",
        ),
        Need::NoSelinux => unless(
            !Path::new("/sys/fs/selinux/enforce").exists(),
            "SELinux is enabled",
        ),
        Need::Selinux => unless(
            Path::new("/sys/fs/selinux/enforce").exists(),
            "SELinux is not enabled",
        ),
        Need::IdMappedMounts => unless(
            kernel_at_least(5, 19),
            "needs id-mapped mounts (Linux 5.19 for this file system)",
        ),
        Need::Capability(bit, name) => unless(
            effective_capabilities() >> bit & 1 == 1,
            &format!("the harness lacks {name}"),
        ),
        Need::Vm => unless(
            fs::read_to_string("/proc/cmdline").is_ok_and(|words| words.contains("brig.guest=")),
            "needs a virtual machine (make test-vm)",
        ),
        Need::Path(p) => unless(Path::new(p).exists(), &format!("needs {p}")),
        Need::Program(p) => unless(find_program(p), &format!("needs the program {p}")),
        Need::Cpu(list) => unless(
            list.contains(&std::env::consts::ARCH),
            &format!("is about {}", list.join(", ")),
        ),
    }
}

fn can_unshare(flag: &str) -> bool {
    Command::new("unshare")
        .args([flag, "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

fn find_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|p| std::env::split_paths(&p).any(|d| d.join(name).is_file()))
}

fn effective_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

fn kernel_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    parse_release(&release).is_some_and(|v| v >= (major, minor))
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        assert_eq!(parse_release("6.18.0-rc1"), Some((6, 18)));
        assert_eq!(parse_release("5.4-azure"), Some((5, 4)));
        assert_eq!(parse_release("x"), None);
    }
}
