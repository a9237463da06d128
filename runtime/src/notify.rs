//! Telling the host's systemd that the container is ready (sd_notify(3), `NOTIFY_SOCKET`).
//!
//! Under a unit of `Type=notify` the caller's socket cannot be given to the container: systemd believes only processes
//! that it knows. So the container gets a socket of ours at /run/notify, and its `READY=1` is passed on in our name, with the
//! process that systemd is to watch from now on.
//!
//! ```text
//! create        makes the directory, binds it read-only into the container, sets NOTIFY_SOCKET there
//! start, run    bind the socket in it, wait for READY=, pass it on
//! ```
//!
//! May not: pass on anything else. A container could otherwise tell systemd to watch a process of the host.

use crate::config::{Config, Mount};
use crate::error::{Doing, Error, Result};
use crate::state::StateDir;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use sys::wait::{Deadline, Interest};
use sys::{fs, socket};

const DIR: &str = "notify";
const SOCKET: &str = "notify.sock";
const INSIDE: &str = "/run/notify";
const VARIABLE: &str = "NOTIFY_SOCKET";

/// How long systemd may take to read, and to say that it has read everything (sd_notify_barrier(3)); older ones never do.
const BARRIER_PATIENCE: Duration = Duration::from_secs(30);

/// The caller's socket: a path, or an abstract address that begins with `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(PathBuf);

impl Host {
    /// Of the runtime's environment.
    pub fn of_environment() -> Option<Host> {
        let value = std::env::var_os(VARIABLE).filter(|v| !v.is_empty())?;
        let text = value.to_string_lossy();
        Some(Host(match text.strip_prefix('@') {
            Some(name) => PathBuf::from(format!("\0{name}")),
            None => PathBuf::from(value),
        }))
    }

    fn connect(&self) -> Result<OwnedFd> {
        socket::connect(&self.0, socket::Kind::Datagram, BARRIER_PATIENCE)
            .doing(|| format!("connect to {VARIABLE} of the environment"))
    }
}

/// Adds the socket's directory and the variable that names it to a container's configuration.
pub fn add_to_config(config: &mut Config, state_dir: &Path) {
    config.mounts.push(Mount {
        destination: INSIDE.into(),
        source: state_dir.join(DIR).to_string_lossy().into_owned(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"]
            .map(String::from)
            .into(),
        ..Mount::default()
    });
    if let Some(process) = &mut config.process {
        process.env.push(format!("{VARIABLE}={INSIDE}/{SOCKET}"));
    }
}

/// Makes the directory that is bound into the container.
pub fn make_dir(dir: &StateDir) -> Result<()> {
    fs::mkdirat(dir.fd(), Path::new(DIR), 0o755)?;
    // Our umask must not take away what the container's user needs.
    Ok(fs::fchmodat(dir.fd(), Path::new(DIR), 0o755)?)
}

/// The container's socket, between its start and its READY.
#[derive(Debug)]
pub struct Relay {
    inside: OwnedFd,
    host: Host,
}

impl Relay {
    /// Binds the container's socket. `None` when nobody waits for a word, or the container was made without the socket.
    pub fn open(dir: &StateDir) -> Result<Option<Relay>> {
        let Some(host) = Host::of_environment() else {
            return Ok(None);
        };
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let place = match fs::openat(dir.fd(), Path::new(DIR), flags, 0) {
            Err(e) if e.is(libc::ENOENT) => return Ok(None),
            other => other?,
        };
        let name = Path::new(SOCKET);
        // A start that was killed leaves its socket.
        match fs::unlinkat(place.as_fd(), name, 0) {
            Err(e) if !e.is(libc::ENOENT) => return Err(e.into()),
            _ => {}
        }
        // A unix address holds 107 bytes, a state root may be longer.
        let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", place.as_raw_fd()));
        let inside = socket::bind(&short, socket::Kind::Datagram).doing(|| "make the notify socket")?;
        fs::fchmodat(place.as_fd(), name, 0o777)?;
        Ok(Some(Relay { inside, host }))
    }

    /// For poll(2).
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }

    /// Reads one message of the container; when it says READY the host is told, and that `main_pid` is the process to
    /// watch. True when that is done.
    pub fn pass_on(&self, main_pid: i32) -> Result<bool> {
        let mut buf = [0u8; 4096];
        let n = fs::read(self.fd(), &mut buf)?;
        let Some(ready) = find_ready(&buf[..n]) else {
            return Ok(false);
        };
        let host = self.host.connect()?;
        socket::send(host.as_fd(), &[ready, b"\n"].concat(), &[])?;
        socket::send(host.as_fd(), format!("MAINPID={main_pid}\n").as_bytes(), &[])?;
        Ok(true)
    }

    /// Waits until the container says READY, or is gone; the host has read it when this returns.
    pub fn wait(&self, init: BorrowedFd<'_>, main_pid: i32) -> Result<()> {
        loop {
            let both = [(self.fd(), Interest::Read), (init, Interest::Read)];
            let ready = sys::wait::poll(&both, Deadline::NEVER)?;
            if ready[0].any() {
                if self.pass_on(main_pid)? {
                    return self.barrier();
                }
            } else if ready[1].any() {
                return Ok(());
            }
        }
    }

    /// systemd takes a message's sender from /proc, so the sender has to live until the message was read.
    fn barrier(&self) -> Result<()> {
        let (ours, theirs) = fs::pipe()?;
        socket::send(self.host.connect()?.as_fd(), b"BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        match sys::wait::readable(ours.as_fd(), Deadline::after(BARRIER_PATIENCE)) {
            Err(e) if e.is(libc::ETIMEDOUT) => Ok(()),
            Err(e) => Err(e.into()),
            Ok(()) => match fs::read(ours.as_fd(), &mut [0u8; 1])? {
                0 => Ok(()),
                _ => Err(Error::new("unexpected read from synchronization pipe")),
            },
        }
    }
}

/// The line of a message that says READY.
fn find_ready(message: &[u8]) -> Option<&[u8]> {
    message
        .split(|b| *b == b'\n')
        .find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_found_in_any_line_and_nothing_else_is() {
        for (message, found) in [
            ("READY=1", Some("READY=1")),
            ("READY=1\nMAINPID=1\n", Some("READY=1")),
            ("STATUS=up\nREADY=1", Some("READY=1")),
            ("STATUS=READY=1", None),
            ("MAINPID=1", None),
            ("", None),
        ] {
            assert_eq!(
                find_ready(message.as_bytes()),
                found.map(str::as_bytes),
                "{message:?}"
            );
        }
    }

    #[test]
    fn the_container_gets_a_read_only_directory() {
        let mut config = Config {
            process: Some(Default::default()),
            ..Config::default()
        };
        add_to_config(&mut config, Path::new("/run/runb/c"));
        assert_eq!(config.mounts[0].source, "/run/runb/c/notify");
        assert!(config.mounts[0].options.contains(&"ro".to_string()));
        let env = config.process.unwrap().env;
        assert_eq!(env, ["NOTIFY_SOCKET=/run/notify/notify.sock"]);
    }
}
