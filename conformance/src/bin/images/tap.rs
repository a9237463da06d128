//! A proxy between a client and a registry: counts what comes down, and can stop it at a byte.
//!
//! May not: look into what passes. With it a case decides how much of a blob a client has when it is killed, which a clock
//! could not.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Counts downward bytes until the tap is dropped.
pub struct Tap {
    /// Where clients find it.
    pub host: String,
    state: Arc<State>,
}

struct State {
    flow: Mutex<Flow>,
    opened: Condvar,
}

struct Flow {
    passed: u64,
    limit: u64,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Flow> {
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many bytes may go down, all or a part of them; how many may.
    fn take(&self, wanted: u64) -> u64 {
        let mut flow = self.lock();
        while flow.passed >= flow.limit {
            flow = self.opened.wait(flow).unwrap_or_else(PoisonError::into_inner);
        }
        let taken = wanted.min(flow.limit - flow.passed);
        flow.passed += taken;
        taken
    }
}

impl Tap {
    /// A tap on a registry, which lets everything through.
    pub fn open(upstream: &'static str) -> Result<Tap, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("the tap: {e}"))?;
        let host = listener
            .local_addr()
            .map_err(|e| format!("the tap: {e}"))?
            .to_string();
        let state = Arc::new(State {
            flow: Mutex::new(Flow {
                passed: 0,
                limit: u64::MAX,
            }),
            opened: Condvar::new(),
        });
        let shared = Arc::clone(&state);
        // It ends with the program: a listener that nobody connects to is not worth a way to end it.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(upstream) {
                    join(client, server, &shared);
                }
            }
        });
        Ok(Tap { host, state })
    }

    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// How much has come down so far.
    pub fn passed(&self) -> u64 {
        self.state.lock().passed
    }

    /// Nothing more than so many bytes from now on, until it is let go.
    pub fn hold_after(&self, bytes: u64) {
        let mut flow = self.state.lock();
        flow.limit = flow.passed.saturating_add(bytes);
        self.state.opened.notify_all();
    }

    pub fn let_go(&self) {
        self.state.lock().limit = u64::MAX;
        self.state.opened.notify_all();
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.let_go();
    }
}

fn join(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let (Ok(from_client), Ok(to_client)) = (client.try_clone(), client.try_clone()) else {
        return;
    };
    let (Ok(from_server), Ok(to_server)) = (server.try_clone(), server.try_clone()) else {
        return;
    };
    std::thread::spawn(move || copy(from_client, to_server, |n| n));
    let state = Arc::clone(state);
    std::thread::spawn(move || copy(from_server, to_client, |n| state.take(n)));
}

/// Copies until either side ends; `allow` says how much of what is at hand may go on.
pub fn copy(mut from: TcpStream, mut to: TcpStream, allow: impl Fn(u64) -> u64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        let mut rest = buffer.get(..n).unwrap_or_default();
        while !rest.is_empty() {
            let some = usize::try_from(allow(rest.len() as u64)).unwrap_or(rest.len());
            let (now, later) = rest.split_at(some);
            if to.write_all(now).is_err() {
                // The other direction must not wait for a client that is gone.
                drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
                return;
            }
            rest = later;
        }
        if n == 0 {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Read), to.shutdown(Shutdown::Write)));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lets_through_what_it_was_told_and_the_rest_later() {
        let state = State {
            flow: Mutex::new(Flow { passed: 0, limit: 10 }),
            opened: Condvar::new(),
        };
        assert_eq!(state.take(7), 7);
        assert_eq!(state.take(7), 3);
        state.lock().limit = u64::MAX;
        assert_eq!(state.take(4), 4);
        assert_eq!(state.lock().passed, 14);
    }
}
