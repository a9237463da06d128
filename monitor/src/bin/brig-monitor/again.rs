//! A start that this monitor cannot make: the container was adopted, so its root is mounted nowhere any more. brig mounts it, and starts
//! it with a monitor of its own.
//!
//! May not: begin before everything of the last run is put away, or be waited for.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use monitor::place::{Place, ROOT_VARIABLE, RUN_VARIABLE};
use shim::error::{Context, Error, Result};
use sys::process::{ExecStrings, Spawn, Tie};

/// Asks for it. What brig says if it fails stands beside the notes, and in the container's state.
pub fn ask(place: &Place, brig: &Path) -> Result<()> {
    let failed = || format!("failed to ask {} for a start", brig.display());
    let path = sys::fs::c_path(brig)?;
    let words = ["brig", "start", &place.id];
    let [root, run] = &place.roots;
    // Whoever has adopted it may have been an ordinary user, who is root where we are: brig would look elsewhere.
    let own = [(ROOT_VARIABLE, root), (RUN_VARIABLE, run)];
    let inherited = std::env::vars_os().filter(|(name, _)| own.iter().all(|(own, _)| name != own));
    let told = own
        .iter()
        .map(|(name, path)| (name.into(), path.as_os_str().to_owned()));
    let env = inherited.chain(told).map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        std::os::unix::ffi::OsStringExt::into_vec(name)
    });
    let notes: OwnedFd = File::options()
        .append(true)
        .create(true)
        .open(place.notes())
        .map_err(|e| Error::new(e.to_string()))
        .context(failed())?
        .into();
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    sys::process::spawn(&Spawn {
        path: &path,
        args: &ExecStrings::new(words)?,
        env: &ExecStrings::new(env)?,
        fds: &[null.as_fd(), null.as_fd(), notes.as_fd()],
        tie: Tie::OwnSession,
    })
    .map(drop)
    .context(failed())
}
