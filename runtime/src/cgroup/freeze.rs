//! Stopping all processes of a cgroup, and letting them go on.
//!
//! May not: wait without a deadline.

use super::file;
use crate::error::{Doing, Error, Result};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use sys::wait::{Deadline, Interest};

/// How long freezing may take; runc gives up after 10 s as well.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to become of the processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// They stand still.
    Frozen,
    /// They run.
    Thawed,
}

/// Tells a v2 cgroup to freeze or thaw without waiting for it: each process stops at its next return to user space,
/// and children that are being forked are born into the same state.
pub fn tell_v2(path: &Path, state: State) -> Result<()> {
    file::write(
        path,
        "cgroup.freeze",
        if state == State::Frozen { "1" } else { "0" },
    )
}

/// The same for a v1 freezer cgroup.
pub fn tell_v1(path: &Path, state: State) -> Result<()> {
    file::write(
        path,
        "freezer.state",
        if state == State::Frozen {
            "FROZEN"
        } else {
            "THAWED"
        },
    )
}

/// Freezes or thaws a v2 cgroup and waits until it is done.
pub fn set_v2(path: &Path, state: State) -> Result<()> {
    tell_v2(path, state)?;
    wait_v2(path, state)
}

/// `cgroup.events` reports a change of `frozen` by POLLERR.
fn wait_v2(path: &Path, state: State) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let wanted = state == State::Frozen;
    let events = path.join("cgroup.events");
    let fd = File::from(sys::fs::open(&events, libc::O_RDONLY, 0)?);
    loop {
        // Read from the start through the same descriptor: that is what arms the poll.
        let mut text = [0u8; 1024];
        let n = fd
            .read_at(&mut text, 0)
            .map_err(|e| sys::Error::io("read", events.display().to_string(), &e))?;
        let text = String::from_utf8_lossy(&text[..n]);
        match (value_of(&text, "frozen"), value_of(&text, "populated")) {
            // Seen on 6.18: when the processes of a cgroup with children die while it is told to freeze and thaw, it
            // can stay `frozen 1` for ever, empty. Where nobody is, nothing is to be waited for.
            (Some(_), Some(0)) => return Ok(()),
            (Some(now), _) if (now == 1) == wanted => return Ok(()),
            (Some(_), _) => {}
            (None, _) => {
                return Err(Error::new(format!(
                    "{} does not tell \"frozen\"",
                    events.display()
                )));
            }
        }
        match sys::wait::poll(&[(fd.as_fd(), Interest::None)], deadline) {
            Ok(_) => {}
            Err(e) if e.is(libc::ETIMEDOUT) => {
                return Err(Error::new(format!(
                    "timeout of {} s reached waiting for the cgroup {} to {}",
                    PATIENCE.as_secs(),
                    path.display(),
                    if wanted { "freeze" } else { "thaw" }
                )));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// The number behind `key` in a flat-keyed file.
pub fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Freezes or thaws a v1 freezer cgroup.
pub fn set_v1(path: &Path, state: State) -> Result<()> {
    match state {
        State::Thawed => tell_v1(path, state),
        State::Frozen => freeze_v1(path),
    }
}

/// The v1 freezer can stay in FREEZING for ever when a process forks while it is being frozen, or waits for one that
/// already is: writing FROZEN again helps with the first, thawing for a moment with the second.
fn freeze_v1(path: &Path) -> Result<()> {
    let deadline = Deadline::after(PATIENCE);
    let mut round = 0u32;
    loop {
        round += 1;
        if round.is_multiple_of(50) {
            tell_v1(path, State::Thawed)?;
            pause(Duration::from_millis(10))?;
        }
        tell_v1(path, State::Frozen)?;
        match file::read(path, "freezer.state")?.trim() {
            "FROZEN" => return Ok(()),
            "FREEZING" => {}
            other => return Err(Error::new(format!("unexpected state {other:?} while freezing"))),
        }
        if deadline.is_over() {
            let gave_up = Error::new(format!(
                "unable to freeze the cgroup {} within {} s",
                path.display(),
                PATIENCE.as_secs()
            ));
            return Err(gave_up.and_also(tell_v1(path, State::Thawed)));
        }
        pause(Duration::from_micros(if round < 25 { 50 } else { 1000 }))?;
    }
}

/// Waits a moment where the kernel offers nothing to wait for.
pub fn pause(time: Duration) -> Result<()> {
    match sys::wait::poll(&[], Deadline::after(time)) {
        Err(e) if e.is(libc::ETIMEDOUT) => Ok(()),
        other => other.map(drop).doing(|| "wait"),
    }
}

/// True when the v1 freezer cgroup itself (not an ancestor) is frozen. FREEZING passes soon, but a container can
/// keep it up: a bounded wait.
pub fn is_frozen_v1(path: &Path) -> Result<bool> {
    let deadline = Deadline::after(Duration::from_secs(1));
    loop {
        let Some(text) = file::read_if_there(path, "freezer.state")? else {
            return Ok(false);
        };
        if text.trim() == "FREEZING" && !deadline.is_over() {
            pause(Duration::from_millis(1))?;
            continue;
        }
        if text.trim() == "THAWED" {
            return Ok(false);
        }
        let own = file::read_if_there(path, "freezer.self_freezing")?.unwrap_or_default();
        return Ok(own.trim() == "1");
    }
}

/// True when the v2 cgroup has been told to freeze.
pub fn is_frozen_v2(path: &Path) -> Result<bool> {
    Ok(file::read_if_there(path, "cgroup.freeze")?.is_some_and(|t| t.trim() == "1"))
}

/// For a directory of either version.
pub fn is_dir_frozen(path: &Path) -> Result<bool> {
    Ok(is_frozen_v2(path)? || is_frozen_v1(path)?)
}
