//! Times in a layer of a reproducible build (`SOURCE_DATE_EPOCH`): nothing in it is younger than that moment.
//!
//! May not: be applied to anything but what a step of ours has written.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use image::{Context as _, Result};

/// Everything below a directory, and the directory.
///
/// # Errors
/// A time cannot be set.
pub fn clamp(directory: BorrowedFd<'_>, latest: i64) -> Result<()> {
    // A list, not a recursion: a step may nest directories deeper than our stack is.
    let mut left = vec![PathBuf::from(".")];
    while let Some(path) = left.pop() {
        let doing = || format!("failed to set times below {}", path.display());
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let opened = engine::tree::open_beneath(directory, path.as_os_str().as_encoded_bytes(), flags);
        let opened = opened.context(doing())?;
        for name in sys::fs::entries(opened.as_fd()).context(doing())? {
            let name = Path::new(&name);
            let found = sys::fs::dated(opened.as_fd(), name, libc::AT_SYMLINK_NOFOLLOW).context(doing())?;
            if found.stat.is_dir() {
                left.push(path.join(name));
            } else {
                settle(opened.as_fd(), name, &found, latest).context(doing())?;
            }
        }
        // Entries of it that are directories do not change its time any more.
        let own = Path::new(".");
        let found = sys::fs::dated(opened.as_fd(), own, 0).context(doing())?;
        settle(opened.as_fd(), own, &found, latest).context(doing())?;
    }
    Ok(())
}

fn settle(directory: BorrowedFd<'_>, name: &Path, found: &sys::fs::Dated, latest: i64) -> Result<()> {
    if (found.mtime.seconds, found.mtime.nanoseconds) > (latest, 0) {
        sys::copy::set_times(directory, name, (latest, 0), (latest, 0))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn nothing_is_younger_and_nothing_else_is_touched() {
        let place = std::env::temp_dir().join(format!("brig-clamp-{}", std::process::id()));
        std::fs::create_dir_all(place.join("a/b")).unwrap();
        std::fs::write(place.join("a/new"), "x").unwrap();
        std::fs::write(place.join("a/old"), "x").unwrap();
        std::os::unix::fs::symlink("nowhere", place.join("a/b/link")).unwrap();
        let fd = sys::fs::open(&place, libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        sys::copy::set_times(fd.as_fd(), Path::new("a/old"), (5, 0), (5, 0)).unwrap();
        clamp(fd.as_fd(), 1000).unwrap();
        for (name, time) in [
            ("", 1000),
            ("a", 1000),
            ("a/b", 1000),
            ("a/new", 1000),
            ("a/old", 5),
            ("a/b/link", 1000),
        ] {
            let meta = std::fs::symlink_metadata(place.join(name)).unwrap();
            assert_eq!(meta.mtime(), time, "{name}");
        }
        std::fs::remove_dir_all(&place).unwrap();
    }
}
