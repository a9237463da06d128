//! Programs that take a process's output: `binary://` and `binary-v2://`.
//!
//! May not: copy. The process writes into the logger's pipes directly.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use crate::children::{self, Child};
use crate::error::{Context, Error, Result};
use crate::reactor::{Either, either};
use crate::runtime::Host;

use super::Owner;

/// How long it may take to say that it is ready.
const READY: Duration = Duration::from_secs(30);
/// How long it has, once its input is at its end, to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// And then after SIGTERM.
const AFTER_TERM: Duration = Duration::from_secs(12);

/// What says that it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A byte, or that it closes the descriptor (`binary`).
    EndOrByte,
    /// A byte (`binary-v2`).
    Byte,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: String,
    args: Vec<String>,
    readiness: Readiness,
}

impl Program {
    /// From what follows the scheme: `path?key=value&key=value`. Each key becomes an argument, and the first of its values the next.
    pub fn parse(rest: &str, readiness: Readiness) -> Program {
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.split_once('#').map_or(query, |(q, _)| q);
        let mut keys: Vec<String> = Vec::new();
        let mut args = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (decode_query(key), decode_query(value));
            if !keys.contains(&key) {
                args.extend([key.clone(), value]);
                keys.push(key);
            }
        }
        Program {
            path: decode(path),
            args,
            readiness,
        }
    }
}

/// `%2F` and the like. What is no such code stands for itself.
pub fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn decode_query(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// A running logger.
#[derive(Debug)]
pub struct Logger {
    child: Child,
}

impl Logger {
    /// Starts it and waits until it is ready: itself, and the ends that the process writes to.
    ///
    /// # Errors
    /// When it cannot be started, ends before it is ready, or does not get ready.
    pub async fn start(on: &Host, program: &Program, owner: &Owner) -> Result<(Logger, [OwnedFd; 2])> {
        let (out_rd, out_wr) = super::pipe(owner)?;
        let (err_rd, err_wr) = super::pipe(owner)?;
        let (ready_rd, ready_wr) = sys::fs::pipe()?;
        sys::fs::set_nonblocking(ready_rd.as_fd(), true)?;
        let null = sys::fs::open(Path::new("/dev/null"), libc::O_RDWR, 0)?;
        let mut args = vec![program.path.clone()];
        args.extend(program.args.iter().cloned());
        let null = null.as_fd();
        let started = on.children.spawn_lasting(&children::Program {
            path: &program.path,
            args,
            env: vec![
                format!("CONTAINER_ID={}", owner.id),
                format!("CONTAINER_NAMESPACE={}", owner.namespace),
            ],
            fds: &[null, null, null, out_rd.as_fd(), err_rd.as_fd(), ready_wr.as_fd()],
        });
        let child = started.context("failed to start binary process")?;
        let logger = Logger { child };
        drop((out_rd, err_rd, ready_wr));
        match logger.ready(on, ready_rd, program.readiness).await {
            Ok(()) => Ok((logger, [out_wr, err_wr])),
            Err(e) => {
                drop((out_wr, err_wr));
                // ESRCH: it has ended.
                let _ = logger.child.signal(libc::SIGKILL);
                Err(e.context(format!("failed to start the logger {}", program.path)))
            }
        }
    }

    async fn ready(&self, on: &Host, pipe: OwnedFd, readiness: Readiness) -> Result<()> {
        let pipe = on.reactor.watch(pipe)?;
        let mut byte = [0u8; 1];
        let read = pipe.read_when_ready(|fd| sys::fs::read(fd, &mut byte));
        let read = on.reactor.within(Some(Instant::now() + READY), read).await;
        match (read, readiness) {
            (None, _) => Err(Error::deadline("it did not get ready")),
            (Some(Err(e)), _) => Err(e.into()),
            (Some(Ok(1)), _) => Ok(()),
            (Some(Ok(_)), Readiness::EndOrByte) => Ok(()),
            (Some(Ok(_)), Readiness::Byte) => Err(Error::new("it ended before it was ready")),
        }
    }

    /// Its input has ended: lets it write what it still has, and sees that it ends.
    pub async fn end(self, on: &Host) {
        for (patience, signal) in [(LAST_WORDS, libc::SIGTERM), (AFTER_TERM, libc::SIGKILL)] {
            let (ended, late) = (pin!(self.child.exit.wait()), pin!(on.reactor.sleep(patience)));
            if let Either::Left(_) = either(ended, late).await {
                return;
            }
            // ESRCH: it has just ended.
            let _ = self.child.signal(signal);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_a_command_line() {
        let program = Program::parse("/usr/bin/l%20og?id=a%2Fb&id=second&empty&sp=1+2", Readiness::Byte);
        assert_eq!(program.path, "/usr/bin/l og");
        assert_eq!(program.args, ["id", "a/b", "empty", "", "sp", "1 2"]);
        assert_eq!(Program::parse("/x", Readiness::Byte).args, Vec::<String>::new());
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%zz%41"), "%zzA");
    }
}
