//! The ids of a user namespace that an ordinary user may make: its own as root, and those that /etc/subuid and /etc/subgid grant.
//!
//! May not: grant anything. newuidmap(1) and newgidmap(1) read the same files and decide.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use sys::process::{Block, ExecStrings, Exit, Forked, Spawn, Tie};
use sys::wait::Deadline;

use crate::{Context, Error, Result};

/// How long the helpers may take, which have two small files to read.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ids inside, ids outside, how many.
pub type Range = (u32, u32, u32);

/// Both maps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMaps {
    pub uids: Vec<Range>,
    pub gids: Vec<Range>,
}

impl IdMaps {
    /// What a user may map, and why it is only one id, if so.
    ///
    /// # Errors
    /// The files are there but cannot be read.
    pub fn of_user(uid: u32, gid: u32) -> Result<(IdMaps, Option<String>)> {
        let name = user_name(uid);
        let (uids, gids) = (
            granted("/etc/subuid", uid, &name)?,
            granted("/etc/subgid", uid, &name)?,
        );
        let why = if uids.is_empty() || gids.is_empty() {
            Some("/etc/subuid and /etc/subgid grant nothing to this user")
        } else if ["newuidmap", "newgidmap"]
            .iter()
            .any(|n| find_in_path(n).is_none())
        {
            Some("newuidmap and newgidmap are not in PATH (package uidmap)")
        } else {
            None
        };
        let maps = match why {
            Some(_) => IdMaps {
                uids: vec![(0, uid, 1)],
                gids: vec![(0, gid, 1)],
            },
            None => IdMaps {
                uids: after_own(uid, &uids),
                gids: after_own(gid, &gids),
            },
        };
        Ok((maps, why.map(str::to_owned)))
    }

    /// Makes this process root of a new user namespace with these ids. Only for a program that has one thread: the kernel
    /// refuses others, and a copy of it has to call the helpers from outside.
    ///
    /// # Errors
    /// The kernel or a helper refuses.
    pub fn enter(&self) -> Result<()> {
        let entered = match self.is_one_id() {
            true => self.enter_alone(),
            false => self.enter_with_helpers(),
        };
        entered.context("failed to enter a user namespace")
    }

    /// Whether there is but one user and one group inside.
    pub fn is_one_id(&self) -> bool {
        matches!((&self.uids[..], &self.gids[..]), ([(_, _, 1)], [(_, _, 1)]))
    }

    fn enter_alone(&self) -> Result<()> {
        sys::process::unshare(libc::CLONE_NEWUSER as u64)?;
        // Without it the kernel takes no map of groups from who is not privileged outside (CVE-2014-8989).
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", lines(&self.uids))?;
        std::fs::write("/proc/self/gid_map", lines(&self.gids))?;
        Ok(())
    }

    fn enter_with_helpers(&self) -> Result<()> {
        let us = sys::process::pid();
        let (wait, go) = sys::fs::pipe()?;
        let (said, say) = sys::fs::pipe()?;
        let Forked::Parent { pid, .. } = sys::process::fork(0, None)? else {
            drop((go, said));
            let mapped = self.map_from_outside(us, wait.as_fd(), say.as_fd());
            sys::process::exit_now(i32::from(mapped.is_err()));
        };
        drop((wait, say));
        let unshared = sys::process::unshare(libc::CLONE_NEWUSER as u64);
        if unshared.is_ok() {
            sys::fs::write_once(go.as_fd(), b"x")?;
        }
        // Without the byte the copy ends at once.
        drop(go);
        let text = read_to_end(said.as_fd());
        if text.is_err() {
            sys::process::kill(pid, libc::SIGKILL)?;
        }
        let exit = sys::process::wait_pid(pid, Block::Yes)?;
        unshared?;
        let text = text.context("failed to wait for newuidmap and newgidmap")?;
        match exit {
            Some(Exit::Code(0)) => Ok(()),
            _ => Err(Error::new(format!(
                "newuidmap or newgidmap failed: {}",
                text.trim()
            ))),
        }
    }

    /// What the copy does. Its words go through the pipe.
    fn map_from_outside(&self, pid: i32, wait: BorrowedFd<'_>, say: BorrowedFd<'_>) -> sys::Result<()> {
        if sys::fs::read(wait, &mut [0])? == 0 {
            return Err(sys::Error::new("unshare", "", sys::Errno(libc::ECANCELED)));
        }
        for (name, map) in [("newuidmap", &self.uids), ("newgidmap", &self.gids)] {
            run_helper(name, pid, map, say)?;
        }
        Ok(())
    }

    /// Whether there is such a group inside.
    pub fn maps_group(&self, gid: u32) -> bool {
        self.gids
            .iter()
            .any(|(inside, _, size)| gid.checked_sub(*inside).is_some_and(|n| n < *size))
    }

    /// As config.json has it.
    pub fn to_value(map: &[Range]) -> Value {
        map.iter()
            .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
            .collect()
    }
}

fn lines(map: &[Range]) -> String {
    map.iter()
        .map(|(inside, outside, size)| format!("{inside} {outside} {size}\n"))
        .collect()
}

fn run_helper(name: &str, pid: i32, map: &[Range], say: BorrowedFd<'_>) -> sys::Result<()> {
    let failed = |errno| sys::Error::new("exec", name, sys::Errno(errno));
    let program = find_in_path(name).ok_or_else(|| failed(libc::ENOENT))?;
    let path = sys::fs::c_path(&program)?;
    let mut args = vec![
        program.as_os_str().as_bytes().to_vec(),
        pid.to_string().into_bytes(),
    ];
    for (inside, outside, size) in map {
        args.extend([inside, outside, size].map(|n| n.to_string().into_bytes()));
    }
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let (child, _pidfd) = sys::process::spawn(&Spawn {
        path: &path,
        args: &ExecStrings::new(args)?,
        env: &ExecStrings::new(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"])?,
        fds: &[null.as_fd(), say, say],
        tie: Tie::DiesWithUs,
    })?;
    match sys::process::wait_pid(child, Block::Yes)? {
        Some(Exit::Code(0)) => Ok(()),
        _ => Err(failed(libc::EPERM)),
    }
}

/// What the helpers say, until all who can say something have ended.
fn read_to_end(from: BorrowedFd<'_>) -> Result<String> {
    let deadline = Deadline::after(PATIENCE);
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        sys::wait::readable(from, deadline)?;
        match sys::fs::read(from, &mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&text).into_owned()),
            n => text.extend_from_slice(&buffer[..n]),
        }
    }
}

fn after_own(own: u32, ranges: &[(u32, u32)]) -> Vec<Range> {
    let mut map = vec![(0, own, 1)];
    let mut next: u32 = 1;
    for (first, size) in ranges {
        // As many as there are numbers for.
        let size = (*size).min(u32::MAX - next).min(u32::MAX - first);
        if size > 0 {
            map.push((next, *first, size));
            next += size;
        }
    }
    map
}

/// Ranges of a user, by name or number.
fn granted(path: &str, uid: u32, name: &str) -> Result<Vec<(u32, u32)>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text, uid, name)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::from(e)).context(format_args!("failed to read {path}")),
    }
}

/// `NAME-OR-UID:FIRST:SIZE` lines.
fn parse(text: &str, uid: u32, name: &str) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let who = fields.next()?;
            let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (who == number || (!name.is_empty() && who == name)).then_some(range)
        })
        .collect()
}

/// Of the host's /etc/passwd; empty where it has none. (Accounts of a directory service are named by number in the files.)
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let id = uid.to_string();
    passwd
        .lines()
        .find(|line| line.split(':').nth(2) == Some(&id))
        .and_then(|line| line.split(':').next())
        .unwrap_or_default()
        .to_owned()
}

fn find_in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|directory| directory.join(name))
        .find(|path: &PathBuf| sys::fs::access(Path::new(path), libc::X_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_found_by_name_and_number() {
        let text = "other:1:2\nme:100000:65536\n# c\n1000:300000:10\nme:x:1\nbad\n";
        assert_eq!(parse(text, 1000, "me"), [(100_000, 65536), (300_000, 10)]);
        assert_eq!(parse(text, 1000, ""), [(300_000, 10)]);
        assert_eq!(parse(text, 7, ""), []);
    }

    #[test]
    fn ranges_follow_each_other() {
        let map = after_own(1000, &[(100_000, 65536), (300_000, 10)]);
        assert_eq!(map, [(0, 1000, 1), (1, 100_000, 65536), (65537, 300_000, 10)]);
        let maps = IdMaps {
            uids: Vec::new(),
            gids: map,
        };
        assert!(maps.maps_group(5) && maps.maps_group(65546) && !maps.maps_group(65547));
        assert_eq!(
            after_own(0, &[(5, u32::MAX), (9, 9)]),
            [(0, 0, 1), (1, 5, u32::MAX - 5), (u32::MAX - 4, 9, 4)]
        );
    }
}
