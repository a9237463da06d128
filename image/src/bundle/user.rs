//! Who a container runs as: `USER` of an image, or what the command line says, looked up in the files of the image.
//!
//! May not: trust these files. They are opened as the container would see them, only if they are regular, and read up to a
//! limit. Words and rules are Docker's, mistakes included: a line that makes no sense counts as far as it does.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use sys::fs::{RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS};

use crate::{Context, Error, Result};

/// Who, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The group itself is the first (CVE-2022-36109: without it a process could lose a group that is denied something).
    pub additional_gids: Vec<u32>,
}

/// The largest that a command line or an image may ask for.
const MAX_ID: i64 = 0x7fff_ffff;

const LONGEST_FILE: usize = 16 << 20;

/// Looks up `NAME`, `UID`, `NAME:GROUP`, ...; nothing is root.
///
/// # Errors
/// There is no such user or group.
pub fn find(text: &str, root: BorrowedFd<'_>) -> Result<User> {
    let read = |path| read_file(root, path).context(format_args!("failed to read /{path} of the image"));
    resolve(text, &read("etc/passwd")?, &read("etc/group")?)
}

/// Groups by name or number, which need not be in the file then (`--group-add`).
///
/// # Errors
/// There is no group of that name.
pub fn find_groups(wanted: &[String], root: BorrowedFd<'_>) -> Result<Vec<u32>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let file = read_file(root, "etc/group").context("failed to read /etc/group of the image")?;
    wanted.iter().map(|name| find_group(name, &file)).collect()
}

/// The user of this name, and its group. Of several lines the first counts; a number is no name.
///
/// # Errors
/// The file cannot be read, or has numbers that are none.
pub fn find_name(name: &str, root: BorrowedFd<'_>) -> Result<Option<(u32, u32)>> {
    let file = read_file(root, "etc/passwd").context("failed to read /etc/passwd of the image")?;
    let found = file
        .lines()
        .filter_map(parse_passwd)
        .find(|line| line.name == name);
    found
        .map(|line| Ok((checked(line.uid)?, checked(line.gid)?)))
        .transpose()
}

/// The group of this name.
///
/// # Errors
/// As [`find_name`].
pub fn find_group_name(name: &str, root: BorrowedFd<'_>) -> Result<Option<u32>> {
    let file = read_file(root, "etc/group").context("failed to read /etc/group of the image")?;
    let found = file
        .lines()
        .filter_map(parse_group)
        .find(|line| line.name == name);
    found.map(|line| checked(line.gid)).transpose()
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<User> {
    let (user, wanted_group) = text.split_once(':').unwrap_or((text, ""));
    let found = passwd.lines().filter_map(parse_passwd).find(|line| match user {
        "" => line.uid == 0,
        // A name may consist of digits; it goes before the number.
        _ => line.name == user || number(user) == Some(line.uid),
    });
    let (uid, mut gid, name) = match (&found, user) {
        (Some(line), _) => (checked(line.uid)?, checked(line.gid)?, line.name),
        (None, "") => (0, 0, ""),
        (None, _) => {
            let uid = number(user).ok_or_else(|| {
                Error::invalid(format!(
                    "unable to find user {user}: no matching entries in passwd file"
                ))
            })?;
            (checked(uid)?, 0, "")
        }
    };
    let mut others = Vec::new();
    if !wanted_group.is_empty() {
        gid = find_group(wanted_group, group)?;
    } else if !name.is_empty() {
        for line in group.lines().filter_map(parse_group) {
            if line.members.split(',').any(|member| member == name) {
                others.push(checked(line.gid)?);
            }
        }
    }
    let mut additional_gids = vec![gid];
    additional_gids.extend(others);
    Ok(User {
        uid,
        gid,
        additional_gids,
    })
}

fn find_group(wanted: &str, group: &str) -> Result<u32> {
    let found = group
        .lines()
        .filter_map(parse_group)
        .find(|line| line.name == wanted || number(wanted) == Some(line.gid));
    match found.map(|line| line.gid).or_else(|| number(wanted)) {
        Some(gid) => checked(gid),
        None => Err(Error::invalid(format!(
            "unable to find group {wanted}: no matching entries in group file"
        ))),
    }
}

fn checked(id: i64) -> Result<u32> {
    match u32::try_from(id) {
        Ok(id) if i64::from(id) <= MAX_ID => Ok(id),
        _ => Err(Error::invalid(format!(
            "uids and gids must be in range 0-{MAX_ID}"
        ))),
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

struct PasswdLine<'a> {
    name: &'a str,
    uid: i64,
    gid: i64,
}

/// `name:password:uid:gid:...`; what is missing or no number is 0.
fn parse_passwd(line: &str) -> Option<PasswdLine<'_>> {
    let mut fields = fields_of(line)?;
    let name = fields.next()?;
    let mut id = || fields.next().and_then(number).unwrap_or(0);
    let _password = id();
    Some(PasswdLine {
        name,
        uid: id(),
        gid: id(),
    })
}

struct GroupLine<'a> {
    name: &'a str,
    gid: i64,
    members: &'a str,
}

/// `name:password:gid:member,member`
fn parse_group(line: &str) -> Option<GroupLine<'_>> {
    let mut fields = fields_of(line)?;
    let name = fields.next()?;
    let gid = fields.nth(1).and_then(number).unwrap_or(0);
    let members = fields.next().unwrap_or("");
    Some(GroupLine { name, gid, members })
}

fn fields_of(line: &str) -> Option<impl Iterator<Item = &str>> {
    let line = line.trim();
    (!line.is_empty()).then(|| line.split(':'))
}

/// A file of the image; no such file is an empty one.
fn read_file(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    // O_NONBLOCK: a FIFO in its place must not hang us.
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOCTTY;
    let resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    let file = match sys::fs::openat2(root, Path::new(path), flags, 0, resolve) {
        Err(e) if e.is(libc::ENOENT) || e.is(libc::ENOTDIR) => return Ok(String::new()),
        other => other?,
    };
    let stat = sys::fs::fstat(file.as_fd())?;
    if stat.file_type() != libc::S_IFREG {
        return Err(Error::invalid("not a regular file"));
    }
    if stat.size > LONGEST_FILE as u64 {
        return Err(Error::invalid(format!("it is larger than {LONGEST_FILE} bytes")));
    }
    let bytes = sys::fs::read_all(file.as_fd(), LONGEST_FILE)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nwww:x:33:34::/var/www:/bin/sh\n77:x:5:6::/:\n\
        broken\nhuge:x:4294967296:1::/:\nfirst:x:40:41::/:\nsecond:x:40:42::/:\n";
    const GROUP: &str =
        "root:x:0:\nbin:x:1:root,daemon\nadm:x:4:syslog,root\nwww:x:34:\nweb:x:50:www\n88:x:9:\n";

    fn ids(text: &str) -> (u32, u32, Vec<u32>) {
        let user = resolve(text, PASSWD, GROUP).unwrap();
        (user.uid, user.gid, user.additional_gids)
    }

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("", (0, 0, vec![0, 1, 4])),
            ("root", (0, 0, vec![0, 1, 4])),
            ("0", (0, 0, vec![0, 1, 4])),
            ("www", (33, 34, vec![34, 50])),
            ("33", (33, 34, vec![34, 50])),
            // With a group there are no others.
            ("www:bin", (33, 1, vec![1])),
            ("www:99", (33, 99, vec![99])),
            ("www:", (33, 34, vec![34, 50])),
            (":bin", (0, 1, vec![1])),
            // Not in the files.
            ("1234", (1234, 0, vec![0])),
            ("1234:web", (1234, 50, vec![50])),
            // A name of digits goes before the number.
            ("77", (5, 6, vec![6])),
            ("www:88", (33, 9, vec![9])),
            ("40", (40, 41, vec![41])),
            // What is no number is 0.
            ("broken", (0, 0, vec![0])),
        ] {
            assert_eq!(ids(text), want, "{text:?}");
        }
        let nobody = resolve("", "", "").unwrap();
        assert_eq!((nobody.uid, nobody.gid), (0, 0));
    }

    #[test]
    fn who_is_not_there_is_told_in_dockers_words() {
        for (text, want) in [
            (
                "nobody",
                "unable to find user nobody: no matching entries in passwd file",
            ),
            (
                "www:none",
                "unable to find group none: no matching entries in group file",
            ),
            ("2147483648", "uids and gids must be in range 0-2147483647"),
            ("-1", "uids and gids must be in range 0-2147483647"),
            ("0:2147483648", "uids and gids must be in range 0-2147483647"),
            ("huge", "uids and gids must be in range 0-2147483647"),
        ] {
            let error = resolve(text, PASSWD, GROUP).unwrap_err();
            assert_eq!(error.to_string(), want);
        }
    }
}
