//! File systems of programs: `fuse.NAME` and `fuse3.NAME` by mount.fuse(8) and mount.fuse3(8).
//!
//! May not: speak FUSE. The helper starts the program, which goes on by itself.

use super::place::Place;
use super::{Error, Mount, Result, c_string};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::process::{Block, ExecStrings, Exit, Spawn};
use sys::wait::{Deadline, Interest};

/// A program may have to fetch something before it can serve; longer than this it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What of the helper's words is told on.
const WORDS: usize = 4096;

/// The helper for a type of file system, and what is left of the type for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Helper<'a> {
    program: &'static str,
    kind: &'a str,
}

impl<'a> Helper<'a> {
    pub fn of(kind: &'a str) -> Option<Helper<'a>> {
        [("fuse.", "mount.fuse"), ("fuse3.", "mount.fuse3")]
            .iter()
            .find_map(|(prefix, program)| {
                Some(Helper {
                    program,
                    kind: kind.strip_prefix(prefix)?,
                })
            })
    }

    /// Returns when the helper says that the file system is there. It gets a path, and thus has the time to be fooled by
    /// whoever can rename directories there: nobody but the administrator before the container runs.
    pub fn mount(&self, mount: &Mount, place: &Place<'_>) -> Result<()> {
        let at = place.open()?;
        let target = std::fs::read_link(format!("/proc/self/fd/{}", at.as_raw_fd()))
            .map_err(|e| sys::Error::io("readlink", &*mount.target, &e))?;
        drop(at);
        let mut args: Vec<&[u8]> = vec![
            self.program.as_bytes(),
            mount.source.as_bytes(),
            target.as_os_str().as_bytes(),
        ];
        for option in &mount.options {
            args.extend([b"-o", option.as_bytes()]);
        }
        args.extend([b"-t", self.kind.as_bytes()]);
        let ended = find(self.program)
            .ok_or_else(|| Error::new("not found in PATH"))
            .and_then(|path| run(&path, &args));
        let told = match ended {
            Ok((Exit::Code(0), _)) => return Ok(()),
            Ok((Exit::Code(code), words)) => Error::new(format!("{words:?}: exit status {code}")),
            Ok((Exit::Signal(signal), words)) => Error::new(format!("{words:?}: signal {signal}")),
            Err(e) => e,
        };
        Err(told.doing(format!("mount helper {} failed", self.program)))
    }
}

/// The directories of administrators count also where the PATH is that of a service.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_absolute() && sys::fs::access(p, libc::X_OK).is_ok())
}

/// How it ended and what it wrote. The daemon that it leaves may keep the pipe: its end is not waited for.
fn run(path: &Path, args: &[&[u8]]) -> Result<(Exit, String)> {
    let path = c_string(&path.to_string_lossy())?;
    let environment = std::env::vars_os().map(|(k, v)| [k.as_bytes(), b"=", v.as_bytes()].concat());
    let (rd, wr) = sys::fs::pipe()?;
    let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
    let (pid, pidfd) = sys::process::spawn(&Spawn {
        path: &path,
        args: &ExecStrings::new(args)?,
        env: &ExecStrings::new(environment)?,
        fds: &[null.as_fd(), wr.as_fd(), wr.as_fd()],
        tie: sys::process::Tie::DiesWithUs,
    })?;
    drop(wr);
    let words = wait_for_end(pid, pidfd, &rd);
    if words.is_err() {
        sys::process::kill(pid, libc::SIGKILL)?;
    }
    let exit = sys::process::wait_pid(pid, Block::Yes)?.unwrap_or(Exit::Code(0));
    let words = words.map_err(|e| Error::from(e).doing("waiting for it"))?;
    Ok((exit, String::from_utf8_lossy(&words).trim().to_string()))
}

/// Reads until the process has ended.
fn wait_for_end(pid: i32, pidfd: Option<OwnedFd>, words: &OwnedFd) -> sys::Result<Vec<u8>> {
    let deadline = Deadline::after(PATIENCE);
    let pidfd = pidfd.map_or_else(|| sys::process::pidfd_open(pid), Ok)?;
    sys::fs::set_nonblocking(words.as_fd(), true)?;
    let mut out = Vec::new();
    let mut open = true;
    loop {
        let interest = match open {
            true => Interest::Read,
            false => Interest::None,
        };
        let mut waited = vec![(pidfd.as_fd(), Interest::Read)];
        waited.extend(open.then_some((words.as_fd(), interest)));
        let ended = sys::wait::poll(&waited, deadline)?[0].readable;
        let mut buf = [0u8; 512];
        loop {
            match sys::fs::read(words.as_fd(), &mut buf) {
                Ok(0) => open = false,
                Ok(n) => {
                    let room = WORDS.saturating_sub(out.len());
                    out.extend_from_slice(&buf[..n.min(room)]);
                    continue;
                }
                Err(e) if e.is(libc::EAGAIN) => {}
                Err(e) => return Err(e),
            }
            break;
        }
        if ended {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_a_helper() {
        let helper = |program, kind| Some(Helper { program, kind });
        assert_eq!(Helper::of("fuse.bindfs"), helper("mount.fuse", "bindfs"));
        assert_eq!(
            Helper::of("fuse3.fuse-overlayfs"),
            helper("mount.fuse3", "fuse-overlayfs")
        );
        assert_eq!(Helper::of("fuse"), None);
        assert_eq!(Helper::of("fuseblk"), None);
    }
}
