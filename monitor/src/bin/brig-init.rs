//! Process 1 of a container that asked for one (`--init`): it starts the program, hands signals on, reaps, and ends as the program
//! did.
//!
//! May not: keep anything in memory. A machine has as many of these as containers.
//!
//! The kernel spares process 1 from every signal that it has no handler for, and makes it the parent of every orphan; most
//! programs are ready for neither. The words and numbers are those of Docker's own init: `docker-init -- PROGRAM ARGUMENTS`.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use sys::process::{Block, Forked, exit_now, fork, kill, set_process_group, wait_any};
use sys::wait::{Deadline, block_and_watch_signals, next_signal, readable, reset_signals};

fn main() {
    let code = match run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("docker-init: {e}");
            1
        }
    };
    exit_now(code);
}

fn run() -> sys::Result<i32> {
    // Before there is a child, so that none of its signals is missed.
    let signals = block_and_watch_signals()?;
    // Started by hand: orphans are somebody else's then, but for this.
    if sys::process::pid() != 1 {
        sys::process::set_subreaper()?;
    }
    match fork(0, None)? {
        Forked::Child => exit_now(become_program()),
        Forked::Parent { pid, .. } => attend(pid, signals.as_fd()),
    }
}

/// Returns only if there is no program to become.
fn become_program() -> i32 {
    let mut arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let Some((program, rest)) = arguments.split_first() else {
        eprintln!("usage: docker-init -- PROGRAM [ARGUMENT...]");
        return 1;
    };
    if let Err(e) = stand_alone() {
        eprintln!("docker-init: {e}");
        return 1;
    }
    let e = Command::new(program).args(rest).exec();
    let errno = sys::Errno(e.raw_os_error().unwrap_or(libc::EINVAL));
    eprintln!("docker-init: exec {}: {errno}", program.display());
    match errno.0 {
        libc::ENOENT => 127,
        _ => 126,
    }
}

/// A process group of its own, and the terminal's foreground one, so that keys reach the program once, and not by way of us.
fn stand_alone() -> sys::Result<()> {
    set_process_group()?;
    // The signal for background processes that touch a terminal is still blocked.
    match sys::tty::set_foreground(sys::fs::inherited(0), sys::process::pid()) {
        Err(e) if !e.is(libc::ENOTTY) && !e.is(libc::ENXIO) && !e.is(libc::EBADF) => return Err(e),
        _ => {}
    }
    reset_signals()
}

fn attend(child: i32, signals: BorrowedFd<'_>) -> sys::Result<i32> {
    loop {
        readable(signals, Deadline::NEVER)?;
        while let Some(signal) = next_signal(signals)? {
            if signal == libc::SIGCHLD {
                continue;
            }
            match kill(child, signal) {
                // It ends in this moment.
                Err(e) if e.is(libc::ESRCH) => {}
                done => done?,
            }
        }
        if let Some(code) = reap(child)? {
            return Ok(code);
        }
    }
}

/// Everybody who has ended; the program's code, if it was among them.
fn reap(child: i32) -> sys::Result<Option<i32>> {
    let mut code = None;
    loop {
        match wait_any(Block::No) {
            Ok(Some((pid, exit))) if pid == child => code = Some(exit.shell_code()),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(code),
            Err(e) if e.is(libc::ECHILD) => return Ok(code),
            Err(e) => return Err(e),
        }
    }
}
