//! User namespace maps: checking them, and writing them from outside.
//!
//! May not: guess a map. What config.json says is written, or the reason why it cannot be.

use crate::config;
use crate::error::{Doing, Error, Result};
use crate::facts::HostFacts;
use crate::problems::Problems;
use crate::process::credentials::Groups;
use serde::Serialize;
use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use sys::process::{Block, ExecStrings, Exit, Spawn, Tie};

/// The maps of a fresh user namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct IdMaps {
    /// (inside, outside, how many)
    pub uids: Vec<(u32, u32, u32)>,
    /// (inside, outside, how many)
    pub gids: Vec<(u32, u32, u32)>,
}

/// The kernel takes at most this many lines (user_namespaces(7), Linux 4.15).
const MOST_LINES: usize = 340;

/// Reads `linux.uidMappings` and `gidMappings`.
pub fn plan_id_maps(linux: &config::Linux, problems: &mut Problems) -> IdMaps {
    IdMaps {
        uids: plan_lines(&linux.uid_mappings, "/linux/uidMappings", problems),
        gids: plan_lines(&linux.gid_mappings, "/linux/gidMappings", problems),
    }
}

fn plan_lines(list: &[config::IdMapping], place: &str, problems: &mut Problems) -> Vec<(u32, u32, u32)> {
    if list.len() > MOST_LINES {
        problems.add(
            place,
            format!(
                "{} id mappings are more than the {MOST_LINES} that the kernel takes",
                list.len()
            ),
        );
    }
    for (n, m) in list.iter().enumerate() {
        let over = |from: u32| from.checked_add(m.size).is_none();
        if m.size == 0 {
            problems.add(format!("{place}/{n}/size"), "an id mapping of size 0");
        } else if over(m.container_id) || over(m.host_id) {
            problems.add(
                format!("{place}/{n}"),
                "an id mapping that runs over the largest id",
            );
        }
    }
    list.iter().map(|m| (m.container_id, m.host_id, m.size)).collect()
}

impl IdMaps {
    /// True when nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Whether the container may call setgroups(2). Without root rights over the host, and without the helper, the
    /// kernel wants it denied before it takes a gid map.
    pub fn groups(&self, facts: &HostFacts) -> Groups {
        if facts.euid != 0 && self.is_own_ids_only(facts) {
            Groups::Denied
        } else {
            Groups::Set
        }
    }

    /// One line each that maps just the caller: what an ordinary user may write without help.
    fn is_own_ids_only(&self, facts: &HostFacts) -> bool {
        matches!(self.uids[..], [(_, host, 1)] if host == facts.euid)
            && matches!(self.gids[..], [(_, host, 1)] if host == facts.egid)
    }
}

fn to_lines(map: &[(u32, u32, u32)]) -> String {
    map.iter()
        .map(|(inside, outside, size)| format!("{inside} {outside} {size}\n"))
        .collect()
}

/// Writes the maps of the user namespace that `pid` has just made.
pub fn apply_id_maps(maps: &IdMaps, pid: i32, facts: &HostFacts) -> Result<()> {
    let proc = crate::procfs::Procfs::host()?;
    if facts.euid == 0 {
        // Our own root may be that of a user namespace whose map lacks these ids; the helpers then may know better.
        let direct = write_directly(&proc, maps, pid);
        return match direct {
            Err(e) if e.is(libc::EPERM) && facts.in_user_namespace => run_helpers(maps, pid),
            other => other,
        };
    }
    if maps.is_own_ids_only(facts) {
        proc.write_pid(pid, "setgroups", b"deny")
            .doing(|| "failed to deny setgroups")?;
        return write_directly(&proc, maps, pid);
    }
    run_helpers(maps, pid)
}

fn write_directly(proc: &crate::procfs::Procfs, maps: &IdMaps, pid: i32) -> Result<()> {
    proc.write_pid(pid, "uid_map", to_lines(&maps.uids).as_bytes())
        .doing(|| "failed to update /proc uid_map")?;
    proc.write_pid(pid, "gid_map", to_lines(&maps.gids).as_bytes())
        .doing(|| "failed to update /proc gid_map")
}

fn run_helpers(maps: &IdMaps, pid: i32) -> Result<()> {
    run_helper("newuidmap", pid, &maps.uids)?;
    run_helper("newgidmap", pid, &maps.gids)
}

/// newuidmap(1) and newgidmap(1): setuid helpers that check /etc/subuid and /etc/subgid.
fn run_helper(name: &str, pid: i32, map: &[(u32, u32, u32)]) -> Result<()> {
    let program = find_in_path(name).ok_or_else(|| {
        Error::new(format!(
            "rootless: {name} was not found in PATH: install it (package uidmap), or map only your own id"
        ))
    })?;
    let mut args = vec![name.to_string(), pid.to_string()];
    args.extend(
        map.iter()
            .flat_map(|(a, b, c)| [a.to_string(), b.to_string(), c.to_string()]),
    );
    let output = run_and_read(&program, &args).doing(|| format!("run {name}"))?;
    match output {
        (Exit::Code(0), _) => Ok(()),
        (_, text) => {
            Err(Error::new(format!("{name} failed: {}", text.trim())).doing("failed to use newuid mapping"))
        }
    }
}

/// Looks a helper program up in our own PATH (the administrator's, not the container's).
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|d| d.join(name))
        .find(|p| sys::fs::access(p, libc::X_OK).is_ok())
}

/// Runs a short-lived helper of ours to its end: how it ended, and what it wrote.
fn run_and_read(program: &Path, args: &[String]) -> Result<(Exit, String)> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let path = CString::new(program.as_os_str().as_bytes()).map_err(|_| Error::new("a NUL in a path"))?;
    let (args, env) = (
        ExecStrings::new(args)?,
        ExecStrings::new(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])?,
    );
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let (rd, wr) = sys::fs::pipe()?;
    let stdio = [null.as_fd(), wr.as_fd(), wr.as_fd()];
    let (pid, _pidfd) = sys::process::spawn(&Spawn {
        path: &path,
        args: &args,
        env: &env,
        fds: &stdio,
        tie: Tie::DiesWithUs,
    })?;
    drop(wr);
    // The pipe closes when the helper ends.
    let deadline = sys::wait::Deadline::after(PATIENCE);
    let mut text = Vec::new();
    let mut buf = [0u8; 1024];
    loop {
        if let Err(e) = sys::wait::readable(rd.as_fd(), deadline) {
            sys::process::kill(pid, libc::SIGKILL)?;
            sys::process::wait_pid(pid, Block::Yes)?;
            return Err(Error::from(e).doing(format!("waiting for {} (pid {pid})", program.display())));
        }
        match sys::fs::read(rd.as_fd(), &mut buf)? {
            0 => break,
            n => text.extend_from_slice(&buf[..n]),
        }
    }
    let exit = sys::process::wait_pid(pid, Block::Yes)?.unwrap_or(Exit::Code(0));
    Ok((exit, String::from_utf8_lossy(&text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_checked() {
        let m = |a, b, size| config::IdMapping {
            container_id: a,
            host_id: b,
            size,
        };
        let linux = config::Linux {
            uid_mappings: vec![m(0, 1000, 1), m(1, 5, 0), m(u32::MAX, 0, 2)],
            ..Default::default()
        };
        let mut p = Problems::default();
        plan_id_maps(&linux, &mut p);
        let places: Vec<_> = p.iter().map(|x| x.place.as_str()).collect();
        assert_eq!(places, ["/linux/uidMappings/1/size", "/linux/uidMappings/2"]);
    }

    #[test]
    fn an_ordinary_user_with_one_id_is_denied_setgroups() {
        let facts = HostFacts {
            euid: 1000,
            egid: 100,
            ..Default::default()
        };
        let maps = IdMaps {
            uids: vec![(0, 1000, 1)],
            gids: vec![(0, 100, 1)],
        };
        assert_eq!(maps.groups(&facts), Groups::Denied);
        let maps = IdMaps {
            uids: vec![(0, 1000, 1), (1, 100000, 65536)],
            gids: maps.gids,
        };
        assert_eq!(maps.groups(&facts), Groups::Set);
    }
}
