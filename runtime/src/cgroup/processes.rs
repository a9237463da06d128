//! Which processes are in a cgroup, and ending them.
//!
//! May not: end a process that it has not just found in the cgroup, or wait without a deadline.

use super::file;
use crate::error::Result;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use sys::process::kill;

/// Processes directly in the cgroup at `path`; a missing one has none. Those of other pid namespaces than ours or its
/// descendants show as 0 and are left out: a 0 given to kill(2) would mean ourselves.
pub fn directly_in(path: &Path) -> Result<Vec<i32>> {
    let text = match file::read_if_there(path, "cgroup.procs") {
        // A threaded v2 cgroup lists threads only.
        Err(e) if e.is(libc::EOPNOTSUPP) => file::read_if_there(path, "cgroup.threads"),
        other => other,
    }?;
    Ok(parse_pids(&text.unwrap_or_default()))
}

fn parse_pids(text: &str) -> Vec<i32> {
    text.lines()
        .filter_map(|l| l.trim().parse().ok())
        .filter(|pid| *pid > 0)
        .collect()
}

/// Processes in the cgroup at `path` and everything below, each once, ascending.
pub fn in_tree(path: &Path) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    for dir in tree(path)? {
        pids.extend(directly_in(&dir)?);
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

/// The cgroup and all below it, parents first. Not recursive itself: a container can nest deeper than a stack.
pub fn tree(path: &Path) -> Result<Vec<PathBuf>> {
    let mut out = vec![path.to_path_buf()];
    let mut next = 0;
    while next < out.len() {
        let children = children(&out[next])?;
        out.extend(children);
        next += 1;
    }
    Ok(out)
}

fn children(path: &Path) -> Result<Vec<PathBuf>> {
    let gone = |e: &sys::Error| e.is(libc::ENOENT) || e.is(libc::ENODEV);
    let dir = match sys::fs::open(path, libc::O_RDONLY | libc::O_DIRECTORY, 0) {
        Ok(dir) => dir,
        Err(e) if gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    // kernfs counts sub-directories as links; most containers make none.
    if sys::fs::fstat(dir.as_fd()).is_ok_and(|s| s.nlink == 2) {
        return Ok(Vec::new());
    }
    let names = match sys::fs::entries(dir.as_fd()) {
        Ok(names) => names,
        Err(e) if gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut out = Vec::new();
    for name in names {
        match sys::fs::fstatat(dir.as_fd(), Path::new(&name), libc::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.is_dir() => out.push(path.join(name)),
            Ok(_) => {}
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(out)
}

/// Sends a signal to each of `pids` that is still one of what `list` finds when its pidfd is open: a pid can belong to
/// somebody else by then, and what a pidfd refers to cannot change any more.
pub fn signal(pids: &[i32], number: i32, list: impl Fn() -> Result<Vec<i32>>) -> Result<()> {
    // Each takes a descriptor, and a container can have more processes than we may have of those.
    for some in pids.chunks(256) {
        let mut held = Vec::with_capacity(some.len());
        for pid in some {
            match sys::process::pidfd_open(*pid) {
                Ok(fd) => held.push((*pid, fd)),
                Err(e) if e.is(libc::ESRCH) => {}
                // No process but a thread, as threaded cgroups list them: there is no descriptor to be had for its process.
                Err(e) if e.is(libc::EINVAL) || e.is(libc::ENOENT) => gone_is_fine(kill(*pid, number))?,
                Err(e) => return Err(e.into()),
            }
        }
        let there = list()?;
        for (_, fd) in held.iter().filter(|(pid, _)| there.contains(pid)) {
            gone_is_fine(sys::process::pidfd_send_signal(fd.as_fd(), number))?;
        }
    }
    Ok(())
}

fn gone_is_fine(result: sys::Result<()>) -> Result<()> {
    match result {
        Err(e) if !e.is(libc::ESRCH) => Err(e.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_still_there_is_signalled() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = child.id() as i32;
        signal(&[pid], libc::SIGKILL, || Ok(vec![pid + 1])).unwrap();
        assert!(child.try_wait().unwrap().is_none());
        signal(&[pid], libc::SIGKILL, || Ok(vec![pid])).unwrap();
        assert!(!child.wait().unwrap().success());
        signal(&[pid], libc::SIGKILL, || Ok(vec![pid])).unwrap();
    }

    #[test]
    fn a_process_that_we_cannot_name_is_not_ourselves() {
        assert_eq!(parse_pids("12\n0\n345\n0\n"), [12, 345]);
        assert_eq!(parse_pids(""), Vec::<i32>::new());
    }
}
