//! A container's scope: what systemd says of it, and its directory in the cgroup tree.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Done, Stage, same};

/// Who started the container, and so which systemd is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    System,
    /// That of the ordinary user.
    User,
}

/// The words in front of a command for it to be the ordinary user's, who has a systemd of their own and no session.
pub const AS_USER: [&str; 8] = [
    "runuser",
    "-u",
    "user",
    "--",
    "env",
    "HOME=/home/user",
    "XDG_RUNTIME_DIR=/run/user/1000",
    "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus",
];

/// One scope.
pub struct Scope {
    pub unit: String,
    manager: Manager,
    dir: PathBuf,
}

impl Scope {
    /// The scope in which this process lives.
    pub fn of(pid: &str, manager: Manager) -> Result<Scope, String> {
        let file = format!("/proc/{}/cgroup", pid.trim());
        let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .ok_or(format!("{file}: {text}"))?;
        let mut dir = Path::new("/sys/fs/cgroup").join(path);
        // A runtime may keep the container in a child of what systemd made.
        while dir.extension().is_none_or(|e| e != "scope") {
            if !dir.pop() {
                return Err(format!("no scope in {path}"));
            }
        }
        let unit = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Scope { unit, manager, dir })
    }

    /// The scope of this name in the system's slice.
    pub fn of_system(unit: &str) -> Scope {
        Scope {
            unit: unit.to_owned(),
            manager: Manager::System,
            dir: Path::new("/sys/fs/cgroup/system.slice").join(unit),
        }
    }

    /// A file of its cgroup.
    pub fn file(&self, name: &str, expected: &str) -> Done {
        let path = self.dir.join(name);
        let found = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        same(name, found, expected)
    }

    /// What systemd believes.
    pub fn property(&self, stage: &Stage, name: &str, expected: &str) -> Done {
        let found = self.systemctl(stage, &["show", "--property", name, "--value", &self.unit])?;
        same(name, found, expected)
    }

    /// `systemctl status`, as an administrator looks.
    pub fn status(&self, stage: &Stage) -> Done {
        let shown = self.systemctl(stage, &["status", "--no-pager", "--lines=0", &self.unit])?;
        if shown.contains("active (running)") {
            Ok(())
        } else {
            Err(format!("systemctl status: {shown}"))
        }
    }

    pub fn reload(&self, stage: &Stage) -> Done {
        self.systemctl(stage, &["daemon-reload"]).map(drop)
    }

    /// Neither unit nor cgroup is left.
    pub fn gone(&self, stage: &Stage) -> Done {
        stage.until(&format!("the end of {}", self.unit), || {
            !self.dir.exists()
                && self
                    .systemctl(
                        stage,
                        &["list-units", "--all", "--plain", "--no-legend", &self.unit],
                    )
                    .is_ok_and(|list| list.trim().is_empty())
        })
    }

    fn systemctl(&self, stage: &Stage, words: &[&str]) -> Result<String, String> {
        let mut line: Vec<&str> = Vec::new();
        match self.manager {
            Manager::System => line.push("systemctl"),
            Manager::User => {
                line.extend(AS_USER);
                line.extend(["systemctl", "--user"]);
            }
        }
        line.extend(words);
        stage.must(&line)
    }
}
