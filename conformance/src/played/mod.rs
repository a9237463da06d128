//! The machine's side of the played host: its directory, its cgroups, its namespaces.
//!
//! May not: leave any of them behind. What an earlier run could not remove (it was killed) is removed by the next.

pub mod leaks;
pub mod wiring;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use crate::command;

const SCRIPT: &str = include_str!("host.sh");
const PREFIX: &str = "played-host-";

/// The whole suite; `make test` has 35 minutes for everything.
pub const PATIENCE: Duration = Duration::from_secs(1500);

/// What exists on the real machine for the duration of a run.
pub struct Machine {
    dir: PathBuf,
    cgroups: Vec<PathBuf>,
}

impl Machine {
    /// Makes the directory with everything the inside needs, and one cgroup in each hierarchy.
    ///
    /// Each program lies in a directory of its role's name; `image` is a tar file that the inside is told of.
    pub fn prepare(programs: &[(&str, &Path)], image: Option<&Path>) -> Result<Machine, String> {
        let name = format!("{PREFIX}{}", std::process::id());
        let mut machine = Machine {
            dir: std::env::temp_dir().join(&name),
            cgroups: Vec::new(),
        };
        std::fs::create_dir(&machine.dir).map_err(|e| format!("{}: {e}", machine.dir.display()))?;
        // Copies, under their own names, which engines look at: /var and /run of the inside are not the machine's.
        let place = |from: &Path, role: &str| {
            let dir = machine.dir.join(role);
            let to = dir.join(from.file_name().unwrap_or_default());
            std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            std::fs::copy(from, &to)
                .map(|_| ())
                .map_err(|e| format!("{}: {e}", from.display()))
        };
        for (role, path) in programs {
            place(path, role)?;
        }
        if let Some(image) = image {
            std::fs::write(machine.dir.join("image"), image.display().to_string())
                .map_err(|e| e.to_string())?;
        }
        std::fs::write(machine.dir.join("host.sh"), SCRIPT).map_err(|e| e.to_string())?;
        for parent in own_cgroups()? {
            let cgroup = parent.join(&name);
            std::fs::create_dir(&cgroup).map_err(|e| format!("{}: {e}", cgroup.display()))?;
            inherit_cpuset(&parent, &cgroup)?;
            machine.cgroups.push(cgroup);
        }
        let list: Vec<String> = machine
            .cgroups
            .iter()
            .map(|path| format!("{}\n", path.display()))
            .collect();
        std::fs::write(machine.dir.join("cgroups"), list.concat()).map_err(|e| e.to_string())?;
        Ok(machine)
    }

    /// Its directory, which both lives see.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The second life, from its start to its end. The answer is its exit code.
    pub fn live(&self, words: &[String], patience: Duration) -> Result<ExitCode, String> {
        let own = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let mut command = Command::new("setpriv");
        // If this process is killed, the namespaces end with it.
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
        ]);
        command.args(["--fork", "--kill-child", "--propagation", "private", "sh"]);
        command.arg(self.dir.join("host.sh")).arg(&self.dir).arg("join");
        command.arg(own).arg("--inside").arg(&self.dir).args(words);
        // What the inside and its engines write aside goes with the directory, also when all of it is killed.
        command.env("TMPDIR", &self.dir);
        command.stdin(std::process::Stdio::null()).process_group(0);
        let status = command::wait(&mut command, patience)?;
        Ok(ExitCode::from(
            u8::try_from(command::shell_code(status)).unwrap_or(1),
        ))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for cgroup in &self.cgroups {
            remove_cgroup(cgroup);
        }
        if let Err(e) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("{}: {e}", self.dir.display());
        }
    }
}

/// The program of a role, as the inside finds it.
pub fn program(dir: &Path, role: &str) -> Option<PathBuf> {
    std::fs::read_dir(dir.join(role))
        .ok()?
        .flatten()
        .next()
        .map(|entry| entry.path())
}

/// Removes what runs left whose process is gone.
pub fn sweep_leftovers() {
    let is_dead = |path: &Path| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let pid = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.parse::<u32>().ok());
        pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    let children = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect()
    };
    for parent in own_cgroups().unwrap_or_default() {
        children(&parent)
            .iter()
            .filter(|path| is_dead(path))
            .for_each(|path| remove_cgroup(path));
    }
    for dir in children(&std::env::temp_dir())
        .iter()
        .filter(|path| is_dead(path))
    {
        if let Err(e) = std::fs::remove_dir_all(dir) {
            eprintln!("{}: {e}", dir.display());
        }
    }
}

/// The directory of this process's cgroup in each mounted hierarchy.
fn own_cgroups() -> Result<Vec<PathBuf>, String> {
    let read = |file: &str| std::fs::read_to_string(file).map_err(|e| format!("{file}: {e}"));
    let (memberships, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let mut found = Vec::new();
    for membership in memberships.lines() {
        let mut fields = membership.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        if let Some(dir) = mounts.lines().find_map(|line| directory(line, controllers, path)) {
            found.push(dir);
        }
    }
    Ok(found)
}

/// The place of cgroup `path` below a mount, if that mount is the hierarchy of `controllers` (none: version 2).
fn directory(mount: &str, controllers: &str, path: &str) -> Option<PathBuf> {
    let (before, after) = mount.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (fstype, options) = (after.next()?, after.nth(1)?);
    let matches = match controllers {
        "" => fstype == "cgroup2",
        _ => fstype == "cgroup" && controllers.split(',').all(|c| options.split(',').any(|o| o == c)),
    };
    if !matches {
        return None;
    }
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Path::new(point).join(below))
}

/// A version 1 cpuset is empty until somebody fills it, and lets no process in before.
fn inherit_cpuset(parent: &Path, child: &Path) -> Result<(), String> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if parent.join(file).exists() && child.join("tasks").exists() {
            let value = std::fs::read(parent.join(file)).map_err(|e| format!("{file}: {e}"))?;
            std::fs::write(child.join(file), value).map_err(|e| format!("{file}: {e}"))?;
        }
    }
    Ok(())
}

/// Removes a cgroup and everything below it, deepest first. Its processes are gone, or going.
fn remove_cgroup(cgroup: &Path) {
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let removed = command::until("rmdir", Duration::from_secs(5), || {
        std::fs::remove_dir(cgroup).is_ok()
    });
    if removed.is_err() {
        eprintln!("the cgroup {} cannot be removed", cgroup.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_directory_of_a_membership() {
        let v1 = "30 23 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct";
        let v2 = "30 23 0:26 /pod /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(
            directory(v1, "cpu,cpuacct", "/a"),
            Some("/sys/fs/cgroup/cpu/a".into())
        );
        assert_eq!(directory(v1, "memory", "/a"), None);
        assert_eq!(directory(v1, "", "/a"), None);
        assert_eq!(directory(v2, "", "/pod/x"), Some("/sys/fs/cgroup/x".into()));
        assert_eq!(directory(v2, "", "/other"), None);
    }
}
