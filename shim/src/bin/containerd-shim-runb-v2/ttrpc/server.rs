//! The server's side: connections, calls under way, answers.
//!
//! May not: know what is called. One task per connection reads, one writes, and each call is a task of its own, so a call that
//! waits for the end of a container holds nobody up.

use std::cell::RefCell;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message;
use shim::reactor::{Either, Reactor, Source, either};
use shim::sync::{Count, Held, Once, Queue};

use super::frame::{self, Decoder, Incoming, Kind};
use super::status::{Error, Result};
use crate::log::Log;
use crate::proto::google::Status;
use crate::proto::ttrpc::{Request, Response};

/// One call.
#[derive(Debug)]
pub struct Call {
    pub service: String,
    pub method: String,
    pub payload: Vec<u8>,
    /// When its caller stops waiting.
    pub limit: Option<Instant>,
    /// Set when its connection is closed.
    pub closed: Rc<Once<()>>,
}

/// Who answers.
pub trait Service {
    /// The encoded answer.
    async fn answer(self: Rc<Self>, call: Call) -> Result<Vec<u8>>;
}

/// What the server counts.
#[derive(Debug)]
pub struct Counts {
    /// Answers of all connections that have not been written.
    pub unsent: Rc<Count>,
    /// Open connections.
    pub connections: Rc<Count>,
}

/// Accepts connections for ever. Those of other users are closed: the socket's directory is private, but may have been opened.
pub async fn serve<S: Service + 'static>(
    reactor: Reactor,
    listener: Source<OwnedFd>,
    service: Rc<S>,
    counts: Counts,
    log: Rc<Log>,
) {
    loop {
        let accepted = accept(&reactor, &listener).await;
        match accepted {
            Ok(Some(stream)) => {
                let connection = Connection {
                    reactor: reactor.clone(),
                    stream,
                    answers: Queue::default(),
                    closed: Rc::default(),
                    unsent: Rc::clone(&counts.unsent),
                    _open: counts.connections.hold(),
                };
                reactor.spawn(Rc::new(connection).attend(Rc::clone(&service)));
            }
            Ok(None) => {}
            // Out of descriptors or memory: both come back. Whoever ended here would end its containers.
            Err(e) => {
                log.error(format!("failed to accept a connection: {e}"));
                reactor.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn accept(reactor: &Reactor, listener: &Source<OwnedFd>) -> sys::Result<Option<Source<OwnedFd>>> {
    let connection = listener.read_when_ready(sys::socket::accept).await?;
    let (_, uid, gid) = sys::socket::peer(connection.as_fd())?;
    if (uid, gid) != sys::process::effective_ids() {
        return Ok(None);
    }
    sys::fs::set_nonblocking(connection.as_fd(), true)?;
    reactor.watch(connection).map(Some)
}

struct Connection {
    reactor: Reactor,
    stream: Source<OwnedFd>,
    answers: Queue<(Vec<u8>, Held)>,
    closed: Rc<Once<()>>,
    unsent: Rc<Count>,
    _open: Held,
}

impl Connection {
    async fn attend<S: Service + 'static>(self: Rc<Self>, service: Rc<S>) {
        let writer = Rc::clone(&self);
        self.reactor.spawn(async move { writer.write().await });
        // However it ends, the peer has gone.
        let _ = self.read(&service).await;
        self.closed.set(());
    }

    async fn read<S: Service + 'static>(self: &Rc<Self>, service: &Rc<S>) -> sys::Result<()> {
        let decoder = RefCell::new(Decoder::default());
        loop {
            let read = self.stream.read_when_ready(|fd| {
                let mut buffer = [0u8; 4096];
                let n = sys::fs::read(fd, &mut buffer)?;
                decoder.borrow_mut().push(&buffer[..n]);
                Ok(n)
            });
            let (read, closed) = (pin!(read), pin!(self.closed.wait()));
            match either(read, closed).await {
                Either::Left(Ok(0)) | Either::Right(()) => return Ok(()),
                Either::Left(Err(e)) => return Err(e),
                Either::Left(Ok(_)) => {}
            }
            loop {
                let next = decoder.borrow_mut().next();
                match next {
                    None => break,
                    Some(incoming) => self.take(incoming, service),
                }
            }
        }
    }

    fn take<S: Service + 'static>(self: &Rc<Self>, incoming: Incoming, service: &Rc<S>) {
        let frame = match incoming {
            Incoming::Frame(frame) => frame,
            Incoming::Oversize { stream, kind, length } => {
                if kind == Some(Kind::Request) {
                    self.send(stream, Err(frame::oversize(length as usize)));
                }
                return;
            }
        };
        // Data belongs to streaming calls, which no service here has.
        if frame.kind != Some(Kind::Request) {
            return;
        }
        if frame.stream % 2 == 0 {
            self.send(
                frame.stream,
                Err(Error::invalid_argument(
                    "StreamID must be odd for client initiated streams",
                )),
            );
            return;
        }
        let request = match Request::decode(frame.payload.as_slice()) {
            Ok(request) => request,
            Err(e) => {
                self.send(frame.stream, Err(e.into()));
                return;
            }
        };
        let wait = u64::try_from(request.timeout_nano).unwrap_or(0);
        let call = Call {
            service: request.service,
            method: request.method,
            payload: request.payload,
            limit: (wait > 0).then(|| Instant::now() + Duration::from_nanos(wait)),
            closed: Rc::clone(&self.closed),
        };
        let (connection, service) = (Rc::clone(self), Rc::clone(service));
        self.reactor.spawn(async move {
            let answer = service.answer(call).await;
            connection.send(frame.stream, answer);
        });
    }

    fn send(&self, stream: u32, answer: Result<Vec<u8>>) {
        if self.closed.is_set() {
            return;
        }
        let response = |answer: Result<Vec<u8>>| match answer {
            Ok(payload) => Response {
                status: None,
                payload,
            },
            Err(e) => Response {
                status: Some(Status {
                    code: e.code as i32,
                    message: e.message,
                    details: Vec::new(),
                }),
                payload: Vec::new(),
            },
        };
        let mut bytes = Vec::new();
        if let Err(e) = frame::append(&mut bytes, stream, Kind::Response, &response(answer)) {
            // Its own message is short.
            let _ = frame::append(&mut bytes, stream, Kind::Response, &response(Err(e)));
        }
        self.answers.push((bytes, self.unsent.hold()));
    }

    async fn write(&self) {
        loop {
            let (next, closed) = (pin!(self.answers.next()), pin!(self.closed.wait()));
            let (bytes, held) = match either(next, closed).await {
                Either::Left(answer) => answer,
                Either::Right(()) => break,
            };
            let (written, closed) = (pin!(write_all(&self.stream, &bytes)), pin!(self.closed.wait()));
            match either(written, closed).await {
                Either::Left(Ok(())) => drop(held),
                _ => break,
            }
        }
        self.closed.set(());
        while self.answers.take().is_some() {}
    }
}

/// Writes all of it.
pub async fn write_all(stream: &Source<OwnedFd>, bytes: &[u8]) -> sys::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match sys::socket::send(stream.fd(), rest, &[]) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.is(libc::EAGAIN) => stream.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
