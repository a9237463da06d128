//! What waits to be written to somebody: a client, or the input of a process.
//!
//! May not: block who adds to it. Who must not be faster than the other side asks for room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use shim::reactor::Source;
use shim::sync::Bell;

/// So much may wait before whoever makes it is held back.
const MOST: usize = 256 << 10;

/// Capacity that is kept for the next time.
const KEPT: usize = 4 << 10;

/// Bytes on their way.
#[derive(Debug, Default)]
pub struct Backlog {
    queue: RefCell<VecDeque<u8>>,
    /// Something below has changed.
    bell: Bell,
    /// Nothing is written yet: something must come first.
    held: Cell<bool>,
    /// Nothing is added any more.
    closed: Cell<bool>,
    /// Nobody takes it any more.
    gone: Cell<bool>,
}

impl Backlog {
    /// Adds to it, however much there is. Nothing is added for one who is gone.
    pub fn push(&self, pieces: &[&[u8]]) {
        if self.gone.get() || self.closed.get() {
            return;
        }
        let mut queue = self.queue.borrow_mut();
        for piece in pieces {
            queue.extend(*piece);
        }
        drop(queue);
        self.bell.ring();
    }

    /// Writes nothing until [`Backlog::release`].
    pub fn hold(&self) {
        self.held.set(true);
    }

    /// Writes this first, and then what has been added meanwhile.
    pub fn release(&self, first: &[u8]) {
        let mut queue = self.queue.borrow_mut();
        let rest = std::mem::take(&mut *queue);
        queue.extend(first);
        queue.extend(rest);
        drop(queue);
        self.held.set(false);
        self.bell.ring();
    }

    /// What is in it is still written.
    pub fn close(&self) {
        self.closed.set(true);
        self.bell.ring();
    }

    /// Nobody takes it any more.
    pub fn give_up(&self) {
        self.gone.set(true);
        *self.queue.borrow_mut() = VecDeque::new();
        self.bell.ring();
    }

    /// True when nobody takes it.
    pub fn is_gone(&self) -> bool {
        self.gone.get()
    }

    /// So many bytes are in it.
    pub fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Waits until more may be added.
    pub async fn room(&self) {
        let has_room = || self.gone.get() || self.queue.borrow().len() < MOST;
        self.bell.until(|| has_room().then_some(())).await;
    }

    /// Writes it until it is closed and empty, or the other side is gone.
    pub async fn drain(&self, to: Rc<Source<OwnedFd>>) {
        loop {
            let idle = || {
                let nothing = self.held.get() || self.queue.borrow().is_empty();
                nothing && !self.gone.get() && (self.held.get() || !self.closed.get())
            };
            self.bell.until(|| (!idle()).then_some(())).await;
            if self.gone.get() || self.queue.borrow().is_empty() {
                return;
            }
            match self.write_some(&to) {
                Ok(()) => self.bell.ring(),
                Err(e) if e.is(libc::EAGAIN) => {
                    if to.writable().await.is_err() {
                        return self.give_up();
                    }
                }
                Err(_) => return self.give_up(),
            }
        }
    }

    fn write_some(&self, to: &Source<OwnedFd>) -> sys::Result<()> {
        let mut queue = self.queue.borrow_mut();
        // SIGPIPE is blocked, as all signals are.
        let n = sys::fs::write(to.fd(), queue.as_slices().0)?;
        queue.drain(..n);
        if queue.is_empty() && queue.capacity() > KEPT {
            *queue = VecDeque::new();
        }
        Ok(())
    }
}
