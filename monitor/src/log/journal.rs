//! Lines to systemd's journal, by its own protocol: a datagram of fields.
//!
//! May not: wait. What the journal does not take at once is lost and counted: a service that writes logs must not stop
//! because the journal has.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::Stream;

/// Where it listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// A connection, made again when it has broken.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    socket: Option<OwnedFd>,
    /// What each message begins with.
    fields: Vec<u8>,
    message: Vec<u8>,
}

impl Journal {
    /// The fields are those that Docker sends: `CONTAINER_ID`, `CONTAINER_NAME`, `IMAGE_NAME`, ...; what else the user asked for
    /// has names that the journal takes.
    ///
    /// # Errors
    /// There is no journal here.
    pub fn open(path: PathBuf, attributes: &BTreeMap<String, String>) -> io::Result<Journal> {
        if !path.exists() {
            return Err(io::Error::other("journald is not enabled on this host"));
        }
        let mut fields = Vec::new();
        for (name, value) in attributes {
            let name = field_name(name);
            if !name.is_empty() {
                put(&mut fields, &name, value.as_bytes());
            }
        }
        Ok(Journal {
            path,
            socket: None,
            fields,
            message: Vec::new(),
        })
    }

    /// Whether the journal has taken it.
    pub fn send(&mut self, stream: Stream, text: &[u8], whole: bool) -> bool {
        self.message.clear();
        self.message.extend_from_slice(&self.fields);
        let priority: &[u8] = match stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        put(&mut self.message, "PRIORITY", priority);
        if !whole {
            put(&mut self.message, "CONTAINER_PARTIAL_MESSAGE", b"true");
        }
        put(&mut self.message, "MESSAGE", text);
        // Once more: the journal may have been started anew since.
        self.try_send() || self.try_send()
    }

    fn try_send(&mut self) -> bool {
        if self.socket.is_none() {
            self.socket = sys::socket::connect_nonblocking(&self.path, sys::socket::Kind::Datagram).ok();
        }
        let Some(socket) = &self.socket else { return false };
        use std::os::fd::AsFd as _;
        match sys::socket::send(socket.as_fd(), &self.message, &[]) {
            Ok(_) => true,
            // It is full, or this is larger than it takes.
            Err(e) if e.is(libc::EAGAIN) || e.is(libc::EMSGSIZE) || e.is(libc::ENOBUFS) => false,
            Err(_) => {
                self.socket = None;
                false
            }
        }
    }
}

/// `NAME=value`, or the long form if the value has a newline.
fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Capital letters, digits and underscores, not beginning with one: what the journal takes from programs.
fn field_name(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| match c.to_ascii_uppercase() {
            c @ ('A'..='Z' | '0'..='9') => c,
            _ => '_',
        })
        .collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn a_message_has_dockers_fields() {
        let dir = super::super::tests::Dir::new();
        let path = dir.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let attributes = BTreeMap::from(
            [("CONTAINER_ID", "0123456789ab"), ("_com.example.a", "b\nc")].map(|(k, v)| (k.into(), v.into())),
        );
        let mut journal = Journal::open(path, &attributes).unwrap();
        assert!(journal.send(Stream::Stderr, b"text", false));
        let mut got = [0; 1000];
        let n = listener.recv(&mut got).unwrap();
        assert_eq!(
            &got[..n],
            b"CONTAINER_ID=0123456789ab\nCOM_EXAMPLE_A\n\x03\0\0\0\0\0\0\0b\nc\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=text\n"
        );
    }

    #[test]
    fn a_journal_that_is_full_or_gone_is_not_waited_for() {
        let dir = super::super::tests::Dir::new();
        let path = dir.path().join("socket");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut journal = Journal::open(path.clone(), &BTreeMap::new()).unwrap();
        let line = [b'x'; 8 << 10];
        assert!((0..10_000).any(|_| !journal.send(Stream::Stdout, &line, true)));
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        assert!(!journal.send(Stream::Stdout, &line, true));
        let listener = UnixDatagram::bind(&path).unwrap();
        assert!(journal.send(Stream::Stdout, b"again", true));
        let mut got = [0; 1000];
        let n = listener.recv(&mut got).unwrap();
        assert_eq!(&got[..n], b"PRIORITY=6\nMESSAGE=again\n");
        assert!(Journal::open(dir.path().join("none"), &BTreeMap::new()).is_err());
    }
}
