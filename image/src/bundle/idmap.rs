//! The ids of a user namespace that an ordinary user may make: its own as root, and those that /etc/subuid and /etc/subgid grant.
//!
//! May not: grant anything. newuidmap(1) and newgidmap(1) read the same files and decide.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Context, Error, Result};

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

    /// Whether there is such a group inside.
    pub fn maps_group(&self, gid: u32) -> bool {
        self.gids
            .iter()
            .any(|(inside, _, size)| gid.checked_sub(*inside).is_some_and(|n| n < *size))
    }

    pub(super) fn to_value(map: &[Range]) -> Value {
        map.iter()
            .map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}))
            .collect()
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
