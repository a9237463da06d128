//! Calling off what a client does, from any thread.
//!
//! May not: decide when.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::{Error, Kind, Result};

/// A handle that ends every wait and every transfer of the clients that have it. Clones are the same handle.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_called: AtomicBool,
    /// Connections that are in use or kept; their owners hold the strong references.
    connections: Mutex<Vec<Weak<TcpStream>>>,
    called: Condvar,
}

impl Cancel {
    /// Not called.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// What others may look at, who know nothing of clients.
    pub fn flag(&self) -> &AtomicBool {
        &self.0.is_called
    }

    /// Calls it off, for good.
    pub fn call(&self) {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_called.store(true, Ordering::SeqCst);
        for connection in connections.drain(..).filter_map(|c| c.upgrade()) {
            // A socket that is not connected any more needs no end.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.0.called.notify_all();
    }

    /// Whether it was called off.
    pub fn is_called(&self) -> bool {
        self.0.is_called.load(Ordering::SeqCst)
    }

    /// # Errors
    /// It was called off.
    pub fn check(&self) -> Result<()> {
        if self.is_called() {
            Err(cancelled())
        } else {
            Ok(())
        }
    }

    /// Waits that long.
    ///
    /// # Errors
    /// It was called off, before or during the wait.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let mut guard = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            (guard, _) = self
                .0
                .called
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends this connection too when it is called.
    ///
    /// # Errors
    /// It has been called already.
    pub(super) fn ends(&self, connection: &Arc<TcpStream>) -> Result<()> {
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        connections.retain(|c| c.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
        Ok(())
    }
}

/// What everything fails with that was called off.
pub(super) fn cancelled() -> Error {
    Error::of(Kind::Cancelled, "cancelled")
}
