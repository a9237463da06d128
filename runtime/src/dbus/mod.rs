//! A D-Bus client: as much as it takes to ask systemd for a unit and to hear that a job is over.
//!
//! May not: wait without a deadline, start a thread, believe a length that a peer sends, or know what systemd is.
//!
//! ```text
//! Connection::open   connect, SASL EXTERNAL, Hello
//! send / post        a call goes out; replies may be fetched later and in any order
//! reply              waits for the answer to one call
//! signal             waits for a signal that the caller recognises
//! ```

mod address;
mod message;
mod value;

pub use address::parse as parse_address;
pub use message::{Call, Message};
pub use value::{Malformed, Value, first_type};

#[cfg(test)]
pub(crate) use message::played as peer;
#[cfg(test)]
pub(crate) mod test_peer;

use crate::error::{Doing, Error, Result};
use message::{Kind, Wanted};
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use sys::wait::{Deadline, Interest};

/// A deadline that can be told to people.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    deadline: Deadline,
    total: Duration,
}

impl Patience {
    /// From now on.
    pub fn of(total: Duration) -> Patience {
        Patience {
            deadline: Deadline::after(total),
            total,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The peer has answered with an error.
    Refused {
        /// `org.freedesktop.systemd1.UnitExists`
        name: String,
        /// For people.
        text: String,
    },
    /// There is no peer, or it says nothing, or nothing that can be understood.
    Broken(Error),
}

impl Failure {
    /// True for an error of the peer with this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Failure::Refused { name, .. } if name == wanted)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused { name, text } if text.is_empty() => f.write_str(name),
            Failure::Refused { text, .. } => f.write_str(text),
            Failure::Broken(e) => e.fmt(f),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Broken(e) => e,
            refused => Error::new(refused.to_string()),
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Failure {
        Failure::Broken(e)
    }
}

impl From<Malformed> for Failure {
    fn from(e: Malformed) -> Failure {
        Failure::Broken(Error::new(e.to_string()))
    }
}

/// Result of a call.
pub type Answer<T> = std::result::Result<T, Failure>;

/// What is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A bus: it wants to be greeted, and passes on what is addressed to others.
    Bus,
    /// The service itself.
    Direct,
}

/// A connection that has been let in.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    /// For messages: `systemd (/run/dbus/system_bus_socket)`.
    whom: String,
    peer: Peer,
    last_serial: u32,
    received: Vec<u8>,
    /// Came while something else was waited for.
    kept: VecDeque<Message>,
}

/// Signals and late replies that nobody fetches are dropped beyond this many.
const MOST_KEPT: usize = 256;

/// For talking to the bus itself.
const BUS: &str = "org.freedesktop.DBus";

impl Connection {
    /// Connects and authenticates. `whom` names the other side in messages.
    ///
    /// EXTERNAL is asked for without saying who we are: the peer then takes the uid from the socket. That is the uid as the peer
    /// sees it, which a process in a user namespace does not know (systemd's own client does the same).
    ///
    /// # Errors
    /// Those of connect(2), so that a caller can look at the errno; a timeout says whom it waited for.
    pub fn open(path: &Path, peer: Peer, whom: &str, patience: Patience) -> Result<Connection> {
        let mut c = Connection {
            socket: connect(path, whom, patience)?,
            whom: whom.to_string(),
            peer,
            last_serial: 0,
            received: Vec::new(),
            kept: VecDeque::new(),
        };
        c.authenticate(patience)
            .doing(|| format!("unable to authenticate with {whom}"))?;
        if peer == Peer::Bus {
            let hello = c.send(&bus_call("Hello", &[]), patience)?;
            c.reply(hello, patience)
                .map_err(|e| Error::from(e).doing(format!("{whom} does not let us in")))?;
        }
        Ok(c)
    }

    /// What is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The socket, to ask who is at the other end.
    pub fn socket(&self) -> std::os::fd::BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn authenticate(&mut self, patience: Patience) -> Result<()> {
        self.write(b"\0AUTH EXTERNAL\r\nDATA\r\n", patience)?;
        loop {
            let line = self.line(patience)?;
            match line.split(' ').next() {
                Some("DATA") => {}
                Some("OK") => return self.write(b"BEGIN\r\n", patience),
                _ => return Err(Error::new(format!("it answers {line:?}"))),
            }
        }
    }

    /// A line of the authentication, without its end.
    fn line(&mut self, patience: Patience) -> Result<String> {
        const LONGEST: usize = 16 << 10;
        loop {
            if let Some(end) = self.received.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.received.len() > LONGEST {
                return Err(Error::new("it sends a line without end"));
            }
            self.fill("its answer to our authentication", patience)?;
        }
    }

    /// Sends a call; the number fetches its answer with [`Connection::reply`].
    pub fn send(&mut self, call: &Call<'_>, patience: Patience) -> Result<u32> {
        self.emit(call, Wanted::Reply, patience)
    }

    /// Sends a call whose answer nobody wants.
    pub fn post(&mut self, call: &Call<'_>, patience: Patience) -> Result<()> {
        self.emit(call, Wanted::Nothing, patience).map(drop)
    }

    /// Asks the bus for signals. A service at the other end sends its own to everybody.
    pub fn listen(&mut self, rule: &str, patience: Patience) -> Result<()> {
        match self.peer {
            Peer::Bus => self.post(&bus_call("AddMatch", &[Value::Text(rule.into())]), patience),
            Peer::Direct => Ok(()),
        }
    }

    fn emit(&mut self, call: &Call<'_>, wanted: Wanted, patience: Patience) -> Result<u32> {
        self.last_serial += 1;
        let bytes = message::encode(call, self.last_serial, wanted);
        self.write(&bytes, patience)
            .doing(|| format!("unable to send {} to {}", call.member, self.whom))?;
        Ok(self.last_serial)
    }

    /// The answer to a call.
    pub fn reply(&mut self, serial: u32, patience: Patience) -> Answer<Vec<Value>> {
        let answers = |m: &Message| matches!(m.kind, Kind::Reply | Kind::Error) && m.reply_to == serial;
        let message = self.find("an answer", answers, patience)?;
        match message.kind {
            Kind::Error => Err(Failure::Refused {
                text: message
                    .body
                    .first()
                    .and_then(Value::as_text)
                    .unwrap_or_default()
                    .to_string(),
                name: message.error,
            }),
            _ => Ok(message.body),
        }
    }

    /// Calls and waits.
    pub fn call(&mut self, call: &Call<'_>, patience: Patience) -> Answer<Vec<Value>> {
        let serial = self.send(call, patience)?;
        self.reply(serial, patience)
    }

    /// The next signal that `wanted` recognises, also one that has come already. `what` is for the message of a timeout.
    pub fn signal(
        &mut self,
        what: &str,
        wanted: impl Fn(&Message) -> bool,
        patience: Patience,
    ) -> Answer<Message> {
        self.find(what, |m| m.kind == Kind::Signal && wanted(m), patience)
    }

    fn find(&mut self, what: &str, wanted: impl Fn(&Message) -> bool, patience: Patience) -> Answer<Message> {
        if let Some(at) = self.kept.iter().position(&wanted)
            && let Some(message) = self.kept.remove(at)
        {
            return Ok(message);
        }
        loop {
            let message = self.next(what, patience)?;
            if wanted(&message) {
                return Ok(message);
            }
            if self.kept.len() == MOST_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(message);
        }
    }

    fn next(&mut self, what: &str, patience: Patience) -> Answer<Message> {
        loop {
            if let Some(length) = message::length(&self.received)?
                && self.received.len() >= length
            {
                let bytes: Vec<u8> = self.received.drain(..length).collect();
                return Ok(message::decode(&bytes)?);
            }
            self.fill(what, patience)?;
        }
    }

    fn fill(&mut self, what: &str, patience: Patience) -> Result<()> {
        let mut buffer = [0u8; 4096];
        loop {
            match sys::fs::read(self.socket.as_fd(), &mut buffer) {
                Ok(0) => return Err(Error::new(format!("{} has closed the connection", self.whom))),
                Ok(n) => {
                    self.received.extend(&buffer[..n]);
                    return Ok(());
                }
                Err(e) if e.is(libc::EAGAIN) => self.wait(Interest::Read, what, patience)?,
                Err(e) => return Err(e).doing(|| format!("the connection to {} broke", self.whom)),
            }
        }
    }

    fn write(&self, mut bytes: &[u8], patience: Patience) -> Result<()> {
        while !bytes.is_empty() {
            match sys::socket::send(self.socket.as_fd(), bytes, &[]) {
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.is(libc::EAGAIN) => self.wait(Interest::Write, "room for a message", patience)?,
                Err(e) => return Err(e).doing(|| format!("the connection to {} broke", self.whom)),
            }
        }
        Ok(())
    }

    fn wait(&self, interest: Interest, what: &str, patience: Patience) -> Result<()> {
        match sys::wait::poll(&[(self.socket.as_fd(), interest)], patience.deadline) {
            Err(e) if e.is(libc::ETIMEDOUT) => Err(late(&self.whom, what, patience)),
            other => other.map(drop).map_err(Error::from),
        }
    }
}

fn late(whom: &str, what: &str, patience: Patience) -> Error {
    Error::new(format!(
        "timeout of {} s reached waiting for {whom}: {what}",
        patience.total.as_secs()
    ))
}

fn bus_call<'a>(member: &'a str, body: &'a [Value]) -> Call<'a> {
    Call {
        destination: BUS,
        path: "/org/freedesktop/DBus",
        interface: BUS,
        member,
        body,
    }
}

/// A listener whose queue is full (a host that starts a hundred containers at once) answers EAGAIN to a non-blocking
/// connect and offers nothing to poll; a blocking one would wait without end.
fn connect(path: &Path, whom: &str, patience: Patience) -> Result<OwnedFd> {
    let mut nap = Duration::from_millis(1);
    loop {
        match sys::socket::connect_nonblocking(path, sys::socket::Kind::Stream) {
            Err(e) if e.is(libc::EAGAIN) && !patience.deadline.is_over() => {}
            Err(e) if e.is(libc::EAGAIN) => return Err(late(whom, "it takes no connection", patience)),
            other => return Ok(other?),
        }
        match sys::wait::poll(&[], Deadline::after(nap)) {
            Err(e) if e.is(libc::ETIMEDOUT) => {}
            other => drop(other?),
        }
        nap = (nap * 2).min(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::peer::{reply, signal};
    use super::test_peer::{let_in, play, receive, until};
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(5);

    fn greet(stream: &mut UnixStream) {
        let_in(stream);
        let hello = receive(stream);
        assert_eq!(hello.member, "Hello");
        stream
            .write_all(&reply(true, hello.serial, "", &[Value::Text(":1.5".into())]))
            .unwrap();
    }

    fn ping<'a>(body: &'a [Value]) -> Call<'a> {
        Call {
            destination: "org.x",
            path: "/x",
            interface: "org.x.I",
            member: "Ping",
            body,
        }
    }

    fn open(path: &Path, patience: Duration) -> Result<Connection> {
        Connection::open(path, Peer::Bus, "the test's bus", Patience::of(patience))
    }

    #[test]
    fn a_signal_before_the_reply_is_not_lost() {
        let (path, peer) = play("early", |s| {
            greet(s);
            let call = receive(s);
            let mut bytes = signal("/m", "Other", &[]);
            bytes.extend(signal("/m", "JobRemoved", &[Value::Uint32(3)]));
            bytes.extend(reply(true, call.serial, "", &[Value::Path("/job/3".into())]));
            // In crumbs: nothing depends on how a stream is cut.
            for crumb in bytes.chunks(7) {
                s.write_all(crumb).unwrap();
            }
        });
        let mut c = open(&path, SOON).unwrap();
        let body = c.call(&ping(&[Value::Uint32(1)]), Patience::of(SOON)).unwrap();
        assert_eq!(body, [Value::Path("/job/3".into())]);
        let wanted = |m: &Message| m.member == "JobRemoved";
        let m = c.signal("the job", wanted, Patience::of(SOON)).unwrap();
        assert_eq!(m.body, [Value::Uint32(3)]);
        peer.join().unwrap();
    }

    #[test]
    fn errors_have_their_names() {
        let (path, peer) = play("error", |s| {
            greet(s);
            let call = receive(s);
            let text = [Value::Text("Unit x.scope already exists.".into())];
            s.write_all(&reply(false, call.serial, "org.x.Exists", &text))
                .unwrap();
        });
        let mut c = open(&path, SOON).unwrap();
        let e = c.call(&ping(&[]), Patience::of(SOON)).unwrap_err();
        assert!(e.is("org.x.Exists"));
        assert_eq!(e.to_string(), "Unit x.scope already exists.");
        peer.join().unwrap();
    }

    #[test]
    fn a_peer_that_says_nothing_costs_no_more_than_the_deadline() {
        for (name, part, expected) in [
            (
                "dead",
                (|s| drop(s.read_to_end(&mut Vec::new()))) as fn(&mut UnixStream),
                "unable to authenticate with the test's bus: timeout of 0 s reached waiting for the test's bus: \
                 its answer to our authentication",
            ),
            (
                "mute",
                |s| {
                    let_in(s);
                    drop(s.read_to_end(&mut Vec::new()));
                },
                "the test's bus does not let us in: timeout of 0 s reached waiting for the test's bus: an answer",
            ),
            (
                "refuses",
                |s| {
                    until(s, b"DATA\r\n");
                    s.write_all(b"REJECTED ANONYMOUS\r\n").unwrap();
                },
                "unable to authenticate with the test's bus: it answers \"REJECTED ANONYMOUS\"",
            ),
            (
                "leaves",
                |s| {
                    let_in(s);
                    receive(s);
                },
                "the test's bus does not let us in: the test's bus has closed the connection",
            ),
        ] {
            let (path, peer) = play(name, part);
            let since = Instant::now();
            let e = open(&path, Duration::from_millis(300)).unwrap_err().to_string();
            assert_eq!(e, expected, "{name}");
            assert!(since.elapsed() < SOON);
            peer.join().unwrap();
        }
    }

    #[test]
    fn rubbish_ends_the_connection() {
        let (path, peer) = play("rubbish", |s| {
            let_in(s);
            receive(s);
            s.write_all(b"l\x02\x01\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff")
                .unwrap();
        });
        let e = open(&path, SOON).unwrap_err().to_string();
        assert!(e.contains("malformed D-Bus message"), "{e}");
        peer.join().unwrap();
    }

    #[test]
    fn a_missing_bus_has_its_errno() {
        let e = open(Path::new("/nonexistent/bus"), SOON).unwrap_err();
        assert!(e.is(libc::ENOENT));
    }

    #[test]
    fn a_full_queue_is_waited_for() {
        let path = std::env::temp_dir().join(format!("runb-dbus-full-{}", std::process::id()));
        drop(std::fs::remove_file(&path));
        let listener = sys::socket::listen(&path, sys::socket::Kind::Stream).unwrap();
        let mut waiting = Vec::new();
        while let Ok(c) = sys::socket::connect_nonblocking(&path, sys::socket::Kind::Stream) {
            waiting.push(c);
        }
        let e = open(&path, Duration::from_millis(200)).unwrap_err().to_string();
        assert!(e.ends_with("it takes no connection"), "{e}");
        drop(listener);
        std::fs::remove_file(&path).unwrap();
    }
}
