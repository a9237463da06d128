//! ttrpc over a unix socket, both ends, blocking: a client with many calls in flight and a server of one function.
//!
//! May not: know what is said; messages are bytes here. Waits have deadlines.
//!
//! A frame is ten bytes (length and stream, big-endian; kind; flags) and a body. Each call is a stream of its own with
//! an odd number. A thread per connection reads and hands every response to whoever waits for its stream.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message;

use crate::messages::{KeyValue, Request, Response, Status};

pub const REQUEST: u8 = 1;
pub const RESPONSE: u8 = 2;

/// The largest body that a peer has to accept.
pub const MAX_BODY: usize = 4 << 20;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The server said so.
    Status { code: i32, message: String },
    /// The connection ended first.
    Closed,
    /// Nothing came in time.
    Silence(Duration),
    /// Something came that is no answer.
    Nonsense(String),
}

impl Failure {
    /// The server's code, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Failure::Status { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Status { code, message } => write!(f, "code {code}: {message}"),
            Failure::Closed => f.write_str("the connection was closed before the answer came"),
            Failure::Silence(limit) => write!(f, "no answer after {limit:?}"),
            Failure::Nonsense(what) => f.write_str(what),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> String {
        failure.to_string()
    }
}

type Waiting = Arc<Mutex<Option<HashMap<u32, Sender<Vec<u8>>>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection to a server.
pub struct Connection {
    stream: UnixStream,
    writing: Mutex<()>,
    /// Who waits for which stream; None once the connection has ended.
    waiting: Waiting,
    next: AtomicU32,
    namespace: String,
}

/// A call whose answer has not been taken yet.
pub struct Pending(Receiver<Vec<u8>>);

impl Connection {
    /// Connects. `namespace` goes with every call, as containerd's does.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn dial(socket: &Path, namespace: &str) -> io::Result<Connection> {
        let stream = UnixStream::connect(socket)?;
        let mut reader = stream.try_clone()?;
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let shared = Arc::clone(&waiting);
        std::thread::spawn(move || {
            while let Ok(frame) = Frame::read(&mut reader) {
                let receiver = lock(&shared)
                    .as_mut()
                    .and_then(|waiting| waiting.remove(&frame.stream));
                if let Some(receiver) = receiver.filter(|_| frame.kind == RESPONSE) {
                    // Whoever waited may have lost patience.
                    let _ = receiver.send(frame.body);
                }
            }
            // Drops the senders: everybody who waits learns that nothing will come.
            lock(&shared).take();
        });
        Ok(Connection {
            stream,
            writing: Mutex::new(()),
            waiting,
            next: AtomicU32::new(1),
            namespace: namespace.to_owned(),
        })
    }

    /// Sends a call and does not wait.
    ///
    /// # Errors
    /// `Closed` when the connection has ended.
    pub fn send(&self, service: &str, method: &str, payload: Vec<u8>) -> Result<Pending, Failure> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: 0,
            metadata: vec![KeyValue {
                key: "containerd-namespace-ttrpc".into(),
                value: self.namespace.clone(),
            }],
        };
        self.send_body(&request.encode_to_vec())
    }

    /// Sends whatever body as a request.
    ///
    /// # Errors
    /// `Closed` when the connection has ended.
    pub fn send_body(&self, body: &[u8]) -> Result<Pending, Failure> {
        let (stream, pending) = self.expect_answer()?;
        let frame = Frame {
            stream,
            kind: REQUEST,
            body: body.to_vec(),
        };
        self.send_bytes(&frame.encode()).map_err(|_| Failure::Closed)?;
        Ok(pending)
    }

    /// A stream of its own, for a caller who sends the frame himself.
    ///
    /// # Errors
    /// `Closed` when the connection has ended.
    pub fn expect_answer(&self) -> Result<(u32, Pending), Failure> {
        let stream = self.next.fetch_add(2, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel();
        match lock(&self.waiting).as_mut() {
            Some(waiting) => waiting.insert(stream, sender),
            None => return Err(Failure::Closed),
        };
        Ok((stream, Pending(receiver)))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Those of writing.
    pub fn send_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let _turn = lock(&self.writing);
        (&self.stream).write_all(bytes)
    }

    /// One call from beginning to end.
    ///
    /// # Errors
    /// Whatever keeps the answer from coming, the server's own status among it.
    pub fn call<Answer: Message + Default>(
        &self,
        service: &str,
        method: &str,
        request: &impl Message,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        self.send(service, method, request.encode_to_vec())?.take(limit)
    }

    /// Whether the other side has ended the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.waiting).is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The reading thread has a descriptor of its own; this ends it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

impl Pending {
    /// Waits for the answer.
    ///
    /// # Errors
    /// Whatever keeps it from coming.
    pub fn take<Answer: Message + Default>(self, limit: Duration) -> Result<Answer, Failure> {
        let body = match self.0.recv_timeout(limit) {
            Ok(body) => body,
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Closed),
            Err(RecvTimeoutError::Timeout) => return Err(Failure::Silence(limit)),
        };
        let nonsense = |e: prost::DecodeError| Failure::Nonsense(format!("failed to decode the answer: {e}"));
        let response = Response::decode(&body[..]).map_err(nonsense)?;
        match response.status {
            Some(Status { code, message }) if code != 0 => Err(Failure::Status { code, message }),
            _ => Answer::decode(&response.payload[..]).map_err(nonsense),
        }
    }

    /// Whether nothing has come yet. An answer that has come is lost by asking.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.0.try_recv(), Err(mpsc::TryRecvError::Empty))
    }
}

/// One frame.
pub struct Frame {
    pub stream: u32,
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Frame {
    /// As it goes over the socket.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.body.len() + 10);
        bytes.extend(u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend([self.kind, 0]);
        bytes.extend(&self.body);
        bytes
    }

    fn read(stream: &mut impl Read) -> io::Result<Frame> {
        let mut head = [0; 10];
        stream.read_exact(&mut head)?;
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = number(0) as usize;
        if length > MAX_BODY {
            return Err(io::Error::other("the peer sends more than a frame may hold"));
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        Ok(Frame {
            stream: number(4),
            kind: head[8],
            body,
        })
    }
}

/// A server that gives every request to one function; what it answers is the response. None is no answer at all.
pub struct Server {
    path: PathBuf,
    listening: UnixStream,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Server {
    /// Listens at `path`.
    ///
    /// # Errors
    /// Those of binding.
    pub fn listen<Answer>(path: &Path, answer: Answer) -> io::Result<Server>
    where
        Answer: Fn(Request) -> Option<Response> + Send + Sync + 'static,
    {
        let listener = UnixListener::bind(path)?;
        let listening = UnixStream::from(OwnedFd::from(listener.try_clone()?));
        let connections = Arc::new(Mutex::new(Vec::new()));
        let opened = Arc::clone(&connections);
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Ok(copy) = stream.try_clone() else { continue };
                lock(&opened).push(copy);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream, &*answer));
            }
        });
        Ok(Server {
            path: path.to_owned(),
            listening,
            connections,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    /// Goes away as a killed daemon does: all connections break, the socket is gone.
    fn drop(&mut self) {
        // A listening socket that is shut down ends the accept that waits on it.
        let _ = self.listening.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
        // To read only: what was taken is answered. A client that hears nothing of a call has to make it again, and whoever
        // counts would count it twice, as a killed daemon, which forgets, would not.
        for stream in lock(&self.connections).drain(..) {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

fn serve(mut stream: UnixStream, answer: &impl Fn(Request) -> Option<Response>) {
    while let Ok(frame) = Frame::read(&mut stream) {
        let Ok(request) = Request::decode(&frame.body[..]) else {
            return;
        };
        let Some(response) = answer(request) else { continue };
        let frame = Frame {
            stream: frame.stream,
            kind: RESPONSE,
            body: response.encode_to_vec(),
        };
        if stream.write_all(&frame.encode()).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::messages::{Empty, Target};

    #[test]
    fn a_frame_is_ten_bytes_and_a_body() {
        let frame = Frame {
            stream: 3,
            kind: REQUEST,
            body: b"ab".to_vec(),
        };
        assert_eq!(frame.encode(), b"\0\0\0\x02\0\0\0\x03\x01\0ab");
        let read = Frame::read(&mut &frame.encode()[..]).unwrap();
        assert_eq!((read.stream, read.kind, &read.body[..]), (3, REQUEST, &b"ab"[..]));
    }

    #[test]
    fn a_client_hears_what_the_server_says_and_when_it_goes() {
        let path = std::env::temp_dir().join(format!("ttrpc-test-{}", std::process::id()));
        let server = Server::listen(&path, |request| match &request.method[..] {
            "Echo" => Some(Response {
                status: None,
                payload: request.payload,
            }),
            "Never" => None,
            _ => Some(Response {
                status: Some(Status {
                    code: 12,
                    message: request.metadata[0].value.clone(),
                }),
                payload: Vec::new(),
            }),
        })
        .unwrap();
        let client = Connection::dial(&path, "space").unwrap();
        let limit = Duration::from_secs(10);
        let never = client.send("s", "Never", Vec::new()).unwrap();
        let asked = Target {
            id: "x".into(),
            ..Default::default()
        };
        assert_eq!(client.call::<Target>("s", "Echo", &asked, limit), Ok(asked));
        let refused = client.call::<Empty>("s", "Other", &Empty {}, limit);
        assert_eq!(
            refused,
            Err(Failure::Status {
                code: 12,
                message: "space".into()
            })
        );
        assert!(never.is_pending());
        drop(server);
        assert_eq!(never.take::<Empty>(limit), Err(Failure::Closed));
        assert!(client.is_closed() && !path.exists());
    }
}
