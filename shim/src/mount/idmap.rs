//! `uidmap=` and `gidmap=`: a user namespace that serves as a table of ids.
//!
//! May not: leave a process behind. The namespace lives by its descriptor.

use super::options::Options;
use super::{Error, Result};
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use sys::process::{Block, Forked};

/// Which ids of a file system are shown as which.
#[derive(Debug)]
pub(super) struct IdMap {
    pub user_namespace: OwnedFd,
}

impl IdMap {
    /// `None` without both options. One alone is refused: half of the ids would silently be those of the host.
    pub fn of(options: &Options<'_>) -> Result<Option<IdMap>> {
        let (uids, gids) = match (options.uid_map, options.gid_map) {
            (None, None) => return Ok(None),
            (Some(uids), Some(gids)) => (parse(uids)?, parse(gids)?),
            _ => return Err(Error::new("uidmap= and gidmap= are only supported together")),
        };
        let made = make_namespace(&uids, &gids);
        let user_namespace =
            made.map_err(|e| Error::from(e).doing("failed to make the user namespace of an id map"))?;
        Ok(Some(IdMap { user_namespace }))
    }
}

/// `CONTAINER:HOST:SIZE[,...]` as the lines of /proc/PID/uid_map.
fn parse(map: &str) -> Result<String> {
    let mut lines = String::new();
    for range in map.split(',') {
        let numbers: Vec<Option<u32>> = range.split(':').map(|n| n.parse().ok()).collect();
        let [Some(inside), Some(outside), Some(size)] = numbers[..] else {
            return Err(Error::new(format!(
                "id map {map:?} is not of the form container-id:host-id:size"
            )));
        };
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "{inside} {outside} {size}");
    }
    Ok(lines)
}

/// The child only has to exist while the tables are written. It ends when the pipe closes, thus also when we are killed.
fn make_namespace(uids: &str, gids: &str) -> sys::Result<OwnedFd> {
    let (rd, wr) = sys::fs::pipe()?;
    match sys::process::fork(libc::CLONE_NEWUSER as u64, None)? {
        Forked::Child => {
            drop(wr);
            let _ = sys::fs::read(rd.as_fd(), &mut [0]);
            sys::process::exit_now(0)
        }
        Forked::Parent { pid, .. } => {
            let made = write_maps(pid, uids, gids);
            drop(wr);
            sys::process::wait_pid(pid, Block::Yes)?;
            made
        }
    }
}

fn write_maps(pid: i32, uids: &str, gids: &str) -> sys::Result<OwnedFd> {
    for (name, lines) in [("uid_map", uids), ("gid_map", gids)] {
        let path = format!("/proc/{pid}/{name}");
        let fd = sys::fs::open(Path::new(&path), libc::O_WRONLY, 0)?;
        sys::fs::write_once(fd.as_fd(), lines.as_bytes())
            .map_err(|e| sys::Error::new("write", name, e.errno()))?;
    }
    sys::fs::open(Path::new(&format!("/proc/{pid}/ns/user")), libc::O_RDONLY, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        assert_eq!(
            parse("0:1000:1,1:100000:65535").unwrap(),
            "0 1000 1\n1 100000 65535\n"
        );
        for bad in ["", "0:1", "0:1:2:3", "0:-1:2", "a:1:2", "0:1:2,"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_map_alone_is_refused() {
        let options = Options {
            uid_map: Some("0:1:2"),
            ..Options::default()
        };
        assert!(IdMap::of(&options).is_err());
        assert!(IdMap::of(&Options::default()).unwrap().is_none());
    }
}
