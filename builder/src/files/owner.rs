//! `--chown`: names and numbers, looked up in the files of the stage.
//!
//! May not: trust these files; they are opened as [`image::bundle::user`] opens them, inside of the root.

use std::os::fd::BorrowedFd;

use image::Result;
use image::bundle::user;

/// Whose something is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// A name that nobody has there. BuildKit takes root for it and says nothing, so Dockerfiles rely on it.
    pub unknown: Option<String>,
}

impl Owner {
    /// The user and the group.
    pub fn ids(&self) -> (u32, u32) {
        (self.uid, self.gid)
    }
}

/// Who `USER`, `USER:GROUP` or `:GROUP` is. A number alone is the group, too, whatever the files say: as in BuildKit.
///
/// # Errors
/// A file cannot be read.
pub fn owner(root: BorrowedFd<'_>, chown: &str) -> Result<Owner> {
    let (name, group) = match chown.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (chown, None),
    };
    let mut unknown = None;
    let (uid, own_group) = match name.parse::<u32>() {
        Ok(number) => (number, number),
        Err(_) if name.is_empty() => (0, 0),
        Err(_) => user::find_name(name, root)?.unwrap_or_else(|| {
            unknown = Some(format!("user {name}"));
            (0, 0)
        }),
    };
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => own_group,
        Some((_, Ok(number))) => number,
        Some((group, Err(_))) => user::find_group_name(group, root)?.unwrap_or_else(|| {
            unknown = Some(format!("group {group}"));
            own_group
        }),
    };
    Ok(Owner { uid, gid, unknown })
}
