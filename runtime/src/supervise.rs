//! Staying with a foreground process: signals go to it, terminals are relayed, orphans are reaped, and its exit
//! status becomes ours.
//!
//! May not: have a deadline; the user's program takes its time. It ends when the program does.

use crate::console::{self, RawTerminal};
use crate::error::Result;
use crate::launch::Process;
use crate::notify;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use sys::fs;
use sys::process::{Block, Exit};
use sys::wait::{self, Deadline, Interest};

/// Waits for the process; returns how it ended. `notify` is where its READY comes, for a host that waits for it: we are the
/// process that the host shall watch, because we stay.
pub fn supervise(
    process: &Process,
    signals: OwnedFd,
    master: Option<OwnedFd>,
    mut notify: Option<notify::Relay>,
) -> Result<Exit> {
    let raw = match &master {
        Some(_) => RawTerminal::enter()?,
        None => None,
    };
    let mut relay = Relay::new(master)?;
    let mut exit = None;
    while exit.is_none() {
        let watched = relay.watched();
        let mut fds = vec![
            (process.pidfd.as_fd(), Interest::Read),
            (signals.as_fd(), Interest::Read),
        ];
        fds.extend(watched.iter().map(|w| relay.interest(*w)));
        fds.extend(notify.iter().map(|n| (n.fd(), Interest::Read)));
        let ready = wait::poll(&fds, Deadline::NEVER)?;
        drop(fds);
        if ready[1].any() {
            forward_signals(process, &signals, &relay)?;
        }
        for (what, ready) in watched.iter().zip(&ready[2..]) {
            if ready.any() {
                relay.pump(*what);
            }
        }
        let told = ready.get(2 + watched.len()).is_some_and(|r| r.any());
        // A host that cannot be told is not the container's fault.
        notify.take_if(|n| told && n.pass_on(sys::process::pid()).unwrap_or(true));
        if ready[0].any() {
            exit = reap(process)?;
        }
    }
    relay.drain();
    drop(raw);
    Ok(exit.unwrap_or(Exit::Code(0)))
}

/// The process itself first, then whatever orphans became ours as subreaper.
fn reap(process: &Process) -> Result<Option<Exit>> {
    let exit = sys::process::wait_pid(process.pid, Block::No)?;
    reap_orphans(process.pid)?;
    Ok(exit)
}

fn reap_orphans(spare: i32) -> Result<()> {
    // The spared process must not be taken here, or its status would be lost: it has been reaped before, or lives.
    loop {
        match sys::process::peek_any() {
            Ok(Some(pid)) if pid != spare => {
                sys::process::wait_pid(pid, Block::No)?;
            }
            Ok(_) => return Ok(()),
            Err(e) if e.is(libc::ECHILD) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

fn forward_signals(process: &Process, signals: &OwnedFd, relay: &Relay) -> Result<()> {
    while let Some(signal) = wait::next_signal(signals.as_fd())? {
        match signal {
            libc::SIGCHLD => reap_orphans(process.pid)?,
            libc::SIGWINCH => relay.resize()?,
            // Ours, not the user's: go runtimes use SIGURG, and a closed pipe of ours is no event of the container.
            libc::SIGURG | libc::SIGPIPE => {}
            other => match sys::process::pidfd_send_signal(process.pidfd.as_fd(), other) {
                Err(e) if !e.is(libc::ESRCH) => return Err(e.into()),
                _ => {}
            },
        }
    }
    Ok(())
}

/// A descriptor that the relay waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// Something from the user, when there is room for it.
    Stdin,
    /// Something from the container, when there is room for it.
    Output,
    /// Room in the container's terminal.
    Input,
    /// Room on our stdout.
    Stdout,
}

/// Copies between our stdio and the master. One buffer each way: what cannot be written is not read.
struct Relay {
    master: Option<OwnedFd>,
    stdin_open: bool,
    to_container: Vec<u8>,
    to_user: Vec<u8>,
}

impl Relay {
    fn new(master: Option<OwnedFd>) -> Result<Relay> {
        if let Some(m) = &master {
            fs::set_nonblocking(m.as_fd(), true)?;
        }
        let stdin_open = master.is_some() && fs::is_open(0);
        Ok(Relay {
            master,
            stdin_open,
            to_container: Vec::new(),
            to_user: Vec::new(),
        })
    }

    fn watched(&self) -> Vec<Watched> {
        let mut out = Vec::with_capacity(4);
        if self.master.is_none() {
            return out;
        }
        match self.to_container.is_empty() {
            true if self.stdin_open => out.push(Watched::Stdin),
            true => {}
            false => out.push(Watched::Input),
        }
        out.push(if self.to_user.is_empty() {
            Watched::Output
        } else {
            Watched::Stdout
        });
        out
    }

    fn interest(&self, what: Watched) -> (std::os::fd::BorrowedFd<'_>, Interest) {
        let master = self.master.as_ref().map_or(fs::inherited(0), |m| m.as_fd());
        match what {
            Watched::Stdin => (fs::inherited(0), Interest::Read),
            Watched::Stdout => (fs::inherited(1), Interest::Write),
            Watched::Output => (master, Interest::Read),
            Watched::Input => (master, Interest::Write),
        }
    }

    /// Moves one bufferful. Errors end the direction: a terminal whose slave is closed answers EIO.
    fn pump(&mut self, what: Watched) {
        let Some(master) = &self.master else { return };
        match what {
            Watched::Stdin => match read_some(fs::inherited(0)) {
                Some(data) if !data.is_empty() => self.to_container = data,
                _ => self.stdin_open = false,
            },
            Watched::Input => match fs::write(master.as_fd(), &self.to_container) {
                Ok(n) => drop(self.to_container.drain(..n)),
                Err(e) if e.is(libc::EAGAIN) => {}
                Err(_) => self.to_container.clear(),
            },
            Watched::Output => match read_some(master.as_fd()) {
                Some(data) if !data.is_empty() => self.to_user = data,
                _ => self.master = None,
            },
            Watched::Stdout => match fs::write(fs::inherited(1), &self.to_user) {
                Ok(n) => drop(self.to_user.drain(..n)),
                Err(e) if e.is(libc::EAGAIN) => {}
                Err(_) => self.to_user.clear(),
            },
        }
    }

    /// What the process wrote before it ended is still in the terminal.
    fn drain(&mut self) {
        let patience = Deadline::after(Duration::from_secs(10));
        while let Some(master) = &self.master {
            if !self.to_user.is_empty() {
                if wait::poll(&[(fs::inherited(1), Interest::Write)], patience).is_err() {
                    return;
                }
                self.pump(Watched::Stdout);
            } else if wait::readable(master.as_fd(), Deadline::after(Duration::ZERO)).is_ok() {
                self.pump(Watched::Output);
            } else {
                return;
            }
        }
        while !self.to_user.is_empty() {
            match fs::write(fs::inherited(1), &self.to_user) {
                Ok(n) => drop(self.to_user.drain(..n)),
                Err(_) => return,
            }
        }
    }

    fn resize(&self) -> Result<()> {
        match &self.master {
            Some(m) => console::copy_size(m.as_fd()),
            None => Ok(()),
        }
    }
}

/// `None` on an error, empty at the end; EAGAIN cannot happen after poll except by theft, and counts as nothing.
fn read_some(fd: std::os::fd::BorrowedFd<'_>) -> Option<Vec<u8>> {
    let mut buf = vec![0u8; 8192];
    let n = fs::read(fd, &mut buf).ok()?;
    buf.truncate(n);
    Some(buf)
}
