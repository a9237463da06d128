//! `--chown`: names and numbers, looked up in the files of the stage.
//!
//! May not: trust these files; they are opened as [`image::bundle::user`] opens them, inside of the root.

use std::os::fd::BorrowedFd;

use image::Result;
use image::bundle::user;

/// Who `USER`, `USER:GROUP` or `:GROUP` is. A number alone is the group, too, whatever the files say: as in BuildKit.
///
/// # Errors
/// A name is in no file, or it cannot be read.
pub fn owner(root: BorrowedFd<'_>, chown: &str) -> Result<(u32, u32)> {
    let (name, group) = match chown.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (chown, None),
    };
    let (uid, own_group) = match name.parse::<u32>() {
        Ok(number) => (number, number),
        Err(_) if name.is_empty() => (0, 0),
        Err(_) => {
            let user = user::find(name, root)?;
            (user.uid, user.gid)
        }
    };
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        None => own_group,
        Some((_, Ok(number))) => number,
        Some((group, Err(_))) => {
            let found = user::find_groups(&[group.to_owned()], root)?;
            found.first().copied().unwrap_or(own_group)
        }
    };
    Ok((uid, gid))
}
