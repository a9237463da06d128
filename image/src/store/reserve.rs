//! Room that is kept for taking things away: on a disk that is full to the last byte, even SQLite could not open its database, and
//! nothing could be removed.
//!
//! It is a file of its own, so that giving it up is one call that needs no space itself. File systems that compress make it smaller;
//! none that does so counts to the last byte.
//!
//! May not: keep anything from being done. A store without its reserve is a store.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

/// A log of the database with its index, a few times over.
const SIZE: u64 = 1 << 20;
/// With less than that left, it is time.
const LAST: u64 = SIZE / 2;
/// It is made where it is a small part of what there is.
const PLENTY: u64 = 8 * SIZE;

const NAME: &str = "reserve";

/// Gives it up if there is no room left.
pub fn spend_if_full(root: &Path) {
    if is_full(root) {
        // Somebody else may have been faster.
        let _ = fs::remove_file(root.join(NAME));
    }
}

/// Whether even the reserve is used up.
pub fn is_full(root: &Path) -> bool {
    available(root).is_some_and(|left| left < LAST)
}

/// Whether no more is left than the reserve has given, or could give.
pub fn is_scarce(root: &Path) -> bool {
    !root.join(NAME).exists() && available(root).is_some_and(|left| left < SIZE + LAST)
}

/// Makes it, if there is room for it again.
pub fn keep(root: &Path) {
    let path = root.join(NAME);
    if path.exists() || available(root).is_none_or(|left| left < PLENTY) {
        return;
    }
    let new = root.join(format!("tmp/{NAME}-{}", std::process::id()));
    let made = File::create_new(&new)
        .and_then(|mut file| file.write_all(&vec![0; SIZE as usize]))
        .and_then(|()| fs::rename(&new, &path));
    if made.is_err() {
        let _ = fs::remove_file(&new);
    }
}

fn available(root: &Path) -> Option<u64> {
    let directory = File::open(root).ok()?;
    Some(sys::fs::fstatfs(directory.as_fd()).ok()?.available)
}
