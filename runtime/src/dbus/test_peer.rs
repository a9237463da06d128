//! The other side of a connection, played by a test in a thread of its own.

use super::message::{self, Message};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Listens at a fresh path, and plays the peer of the first who comes.
pub fn play(name: &str, part: impl FnOnce(&mut UnixStream) + Send + 'static) -> (PathBuf, JoinHandle<()>) {
    let path = std::env::temp_dir().join(format!("runb-dbus-{name}-{}", std::process::id()));
    drop(std::fs::remove_file(&path));
    let listener = UnixListener::bind(&path).unwrap();
    let place = path.clone();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        std::fs::remove_file(place).unwrap();
        part(&mut stream);
    });
    (path, thread)
}

/// Reads up to these bytes.
pub fn until(stream: &mut UnixStream, end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    while !got.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        got.push(byte[0]);
    }
    got
}

/// The server's part of the authentication.
pub fn let_in(stream: &mut UnixStream) {
    assert_eq!(until(stream, b"DATA\r\n"), b"\0AUTH EXTERNAL\r\nDATA\r\n");
    stream.write_all(b"DATA\r\nOK 1234deadbeef\r\n").unwrap();
    assert_eq!(until(stream, b"BEGIN\r\n"), b"BEGIN\r\n");
}

/// The next message.
pub fn receive(stream: &mut UnixStream) -> Message {
    try_receive(stream).unwrap()
}

/// The next message, while there is one.
fn try_receive(stream: &mut UnixStream) -> Option<Message> {
    let mut bytes = Vec::new();
    loop {
        if let Some(n) = message::length(&bytes).unwrap()
            && bytes.len() == n
        {
            return Some(message::decode(&bytes).unwrap());
        }
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
}

/// A peer that answers call after call.
pub struct Peer {
    path: PathBuf,
    thread: JoinHandle<()>,
    calls: Arc<Mutex<Vec<String>>>,
}

/// Instead of a message: the end of the connection.
pub const HANG_UP: &[u8] = b"";

impl Peer {
    /// `part` says what to send for a call.
    pub fn play(name: &str, part: fn(&Message) -> Vec<Vec<u8>>) -> Peer {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let (path, thread) = play(name, move |stream| {
            let_in(stream);
            while let Some(message) = try_receive(stream) {
                seen.lock().unwrap().push(message.member.clone());
                for bytes in part(&message) {
                    if bytes == HANG_UP {
                        return;
                    }
                    stream.write_all(&bytes).unwrap();
                }
            }
        });
        Peer { path, thread, calls }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was called, once the connection is closed.
    pub fn calls(self) -> Vec<String> {
        self.thread.join().unwrap();
        self.calls.lock().unwrap().clone()
    }
}
