//! What a case left behind. Looks, and ends or removes only what carries the case's tag or descends from this process.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::config::Place;
use crate::kernel;
use crate::patience;

/// How many seconds what is on its way out may take.
const GRACE: u64 = 3;

/// What was there before.
pub struct Before {
    mounts: BTreeSet<String>,
}

impl Before {
    /// Looks now.
    #[must_use]
    pub fn look() -> Self {
        Before { mounts: mounts() }
    }

    /// Everything that is there now and should not be, one sentence each. Processes are killed, cgroups removed.
    #[must_use]
    pub fn leaks(&self, place: &Place) -> Vec<String> {
        let mut found = processes();
        found.extend(
            mounts()
                .difference(&self.mounts)
                .map(|m| format!("left a mount: {m}")),
        );
        found.extend(cgroups(place));
        found.extend(strays(place));
        found.extend(files(&place.dir.join("state"), "the state root"));
        found.extend(files(&place.dir.join("tmp"), "TMPDIR"));
        found
    }
}

/// Mount point, root and type of everything mounted here. The ids are left out: they are reused.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().map(mount_text).collect()
}

fn mount_text(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    let kind = fields
        .iter()
        .position(|f| *f == "-")
        .and_then(|i| fields.get(i + 1))
        .unwrap_or(&"?");
    let at = |i: usize| fields.get(i).copied().unwrap_or("?");
    format!("{} ({kind}, root {})", at(4), at(3))
}

/// Kills and names every descendant that is still alive after a grace.
fn processes() -> Vec<String> {
    let end = Instant::now() + patience::seconds(GRACE);
    loop {
        reap();
        let alive = descendants(std::process::id());
        if alive.is_empty() {
            return Vec::new();
        }
        if Instant::now() >= end {
            let named = alive
                .iter()
                .map(|pid| format!("left a process: {}", describe(*pid)))
                .collect();
            for pid in alive {
                let _ = kernel::kill(pid, libc::SIGKILL);
            }
            reap_until_alone();
            return named;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn reap() {
    while let Ok(Some(_)) = kernel::reap_any() {}
}

fn reap_until_alone() {
    let end = Instant::now() + patience::seconds(GRACE);
    while Instant::now() < end && !descendants(std::process::id()).is_empty() {
        reap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Parent of every process, from /proc/PID/stat.
fn parents() -> Vec<(i32, i32)> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|e| e.file_name().to_string_lossy().parse().ok())
        .filter_map(|pid: i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_parent(&stat)?))
        })
        .collect()
}

/// The command name may hold anything, so fields count from the last parenthesis.
fn parse_parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Every process that descends from `root`, nearest first.
#[must_use]
pub fn descendants(root: u32) -> Vec<i32> {
    let all = parents();
    let mut found = vec![i32::try_from(root).unwrap_or(-1)];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

/// `PID COMM (STATE) COMMAND LINE`.
#[must_use]
pub fn describe(pid: i32) -> String {
    let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let line: Vec<String> = read("cmdline")
        .split(|b| *b == 0)
        .map(|a| String::from_utf8_lossy(a).into_owned())
        .collect();
    let stat = String::from_utf8_lossy(&read("stat")).into_owned();
    let state = stat
        .rsplit_once(") ")
        .map_or("?", |(_, r)| r.get(..1).unwrap_or("?"))
        .to_owned();
    format!(
        "{pid} {} ({state}) {}",
        String::from_utf8_lossy(&read("comm")).trim(),
        line.join(" ").trim()
    )
}

/// Removes every cgroup whose name holds the tag, without a word.
pub fn remove_cgroups(place: &Place) {
    let _ = cgroups(place);
}

/// Every cgroup whose name holds the tag, in every hierarchy.
#[must_use]
pub fn find_cgroups(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    find_dirs(Path::new("/sys/fs/cgroup"), &place.tag, 6, &mut found);
    found
}

/// Names and removes every cgroup whose name holds the tag.
fn cgroups(place: &Place) -> Vec<String> {
    let found = find_cgroups(place);
    for dir in &found {
        let _ = remove_cgroup(dir);
    }
    found
        .iter()
        .map(|d| format!("left a cgroup: {}", d.display()))
        .collect()
}

fn find_dirs(at: &Path, tag: &str, depth: u32, found: &mut Vec<PathBuf>) {
    if depth == 0 {
        return;
    }
    let Ok(dir) = fs::read_dir(at) else { return };
    for e in dir.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        let name = e.file_name().to_string_lossy().into_owned();
        if has_tag(&name, tag) {
            found.push(e.path());
        } else {
            find_dirs(&e.path(), tag, depth - 1, found);
        }
    }
}

/// `cf1-2` is in `cf1-2` and `cf1-2-b`, not in `cf1-21`.
fn has_tag(name: &str, tag: &str) -> bool {
    name.match_indices(tag)
        .any(|(i, _)| !name[i + tag.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// Removes a cgroup with those below it, killing what is in them.
///
/// # Errors
/// The first failure to remove.
pub fn remove_cgroup(dir: &Path) -> io::Result<()> {
    for e in fs::read_dir(dir)?
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
    {
        remove_cgroup(&e.path())?;
    }
    let freezer = dir.join("freezer.state");
    if freezer.exists() {
        let _ = fs::write(freezer, "THAWED");
    }
    let end = Instant::now() + patience::seconds(GRACE);
    loop {
        for pid in fs::read_to_string(dir.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
        {
            if let Ok(pid) = pid.parse() {
                let _ = kernel::kill(pid, libc::SIGKILL);
            }
        }
        reap();
        match fs::remove_dir(dir) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

/// Names and removes what carries the tag where nothing of a case belongs: a runtime that was led out of its cgroup or
/// rootfs leaves such things.
fn strays(place: &Place) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["/", "/run", "/tmp", "/var/tmp"] {
        for e in fs::read_dir(dir).into_iter().flatten().flatten() {
            let stray = e.path();
            if has_tag(&e.file_name().to_string_lossy(), &place.tag) && !place.dir.starts_with(&stray) {
                let _ = fs::remove_dir_all(&stray).or_else(|_| fs::remove_file(&stray));
                found.push(format!("left something outside: {}", stray.display()));
            }
        }
    }
    found
}

fn files(dir: &Path, what: &str) -> Vec<String> {
    let Ok(list) = fs::read_dir(dir) else {
        return Vec::new();
    };
    list.flatten()
        .map(|e| format!("left a file in {what}: {}", e.path().display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_parentheses() {
        assert_eq!(parse_parent("12 (a) S 1 b) S 7 12 12"), Some(7));
    }

    #[test]
    fn tags_end_where_digits_end() {
        assert!(has_tag("cf1-2", "cf1-2"));
        assert!(has_tag("x-cf1-2.scope", "cf1-2"));
        assert!(has_tag("cf1-21-cf1-2", "cf1-2"));
        assert!(!has_tag("cf1-21", "cf1-2"));
    }

    #[test]
    fn mounts_are_told_by_place_root_and_type() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_text(line), "/mnt2 (ext3, root /mnt1)");
    }

    #[test]
    fn a_child_is_a_descendant() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(descendants(std::process::id()).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
