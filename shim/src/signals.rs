//! The signals of a supervisor: those of ended children are acted on here, the others are handed on.
//!
//! May not: be used twice in one process.

use std::os::fd::OwnedFd;

use crate::children::Children;
use crate::reactor::{Reactor, Source};

/// All signals of the process, as a stream.
#[derive(Debug)]
pub struct Signals {
    fd: Source<OwnedFd>,
    children: Children,
}

impl Signals {
    /// Blocks them and begins to watch. What is started through [`Children`] has them unblocked.
    ///
    /// # Errors
    /// signalfd(2)'s.
    pub fn new(reactor: &Reactor, children: &Children) -> sys::Result<Signals> {
        Ok(Signals {
            fd: reactor.watch(sys::wait::block_and_watch_signals()?)?,
            children: children.clone(),
        })
    }

    /// The next one that is not about a child. Children that have ended are reaped meanwhile.
    ///
    /// # Errors
    /// signalfd(2)'s and waitid(2)'s.
    pub async fn next(&self) -> sys::Result<i32> {
        loop {
            match sys::wait::next_signal(self.fd.fd())? {
                None => self.fd.readable().await?,
                Some(libc::SIGCHLD) => self.children.reap()?,
                Some(signal) => return Ok(signal),
            }
        }
    }
}
