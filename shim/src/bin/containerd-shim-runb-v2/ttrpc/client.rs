//! The client's side: one call at a time.
//!
//! May not: call again by itself. Whether a call that found no answer may be repeated is its caller's to know.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use prost::Message;
use shim::reactor::{Reactor, Source};

use super::frame::{self, Decoder, Incoming, Kind};
use super::status::{Code, Error, Result};
use crate::proto::ttrpc::{KeyValue, NAMESPACE, Request, Response};

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: Source<OwnedFd>,
    decoder: RefCell<Decoder>,
    next: u32,
}

impl Client {
    /// Connects to a unix socket.
    pub fn connect(reactor: &Reactor, path: &Path) -> sys::Result<Client> {
        let stream = sys::socket::connect_nonblocking(path, sys::socket::Kind::Stream)?;
        Ok(Client {
            stream: reactor.watch(stream)?,
            decoder: RefCell::default(),
            next: 1,
        })
    }

    /// One call. A failure of the connection is Unavailable; the connection is of no use then.
    pub async fn call(
        &mut self,
        reactor: &Reactor,
        (service, method): (&str, &str),
        message: &impl Message,
        namespace: &str,
        limit: Instant,
    ) -> Result<Vec<u8>> {
        let stream = self.next;
        self.next = self.next.wrapping_add(2);
        let left = limit.saturating_duration_since(Instant::now());
        let request = Request {
            service: service.into(),
            method: method.into(),
            payload: message.encode_to_vec(),
            timeout_nano: i64::try_from(left.as_nanos()).unwrap_or(i64::MAX),
            metadata: vec![KeyValue {
                key: NAMESPACE.into(),
                value: namespace.into(),
            }],
        };
        let mut bytes = Vec::new();
        frame::append(&mut bytes, stream, Kind::Request, &request)?;
        let talk = async {
            super::server::write_all(&self.stream, &bytes).await?;
            self.response(stream).await
        };
        match reactor.within(Some(limit), talk).await {
            Some(Ok(response)) => match response.status {
                Some(status) if status.code != 0 => {
                    Err(Error::new(Code::of_number(status.code), status.message))
                }
                _ => Ok(response.payload),
            },
            Some(Err(e)) => Err(Error::unavailable(e.to_string())),
            None => Err(Error::unavailable("no answer in time")),
        }
    }

    async fn response(&self, stream: u32) -> sys::Result<Response> {
        let broken = |errno| sys::Error::new("read", "ttrpc", sys::Errno(errno));
        loop {
            while let Some(incoming) = self.decoder.borrow_mut().next() {
                let Incoming::Frame(frame) = incoming else {
                    continue;
                };
                if frame.stream == stream && frame.kind == Some(Kind::Response) {
                    return Response::decode(frame.payload.as_slice()).map_err(|_| broken(libc::EBADMSG));
                }
            }
            let read = self.stream.read_when_ready(|fd| {
                let mut buffer = [0u8; 1024];
                let n = sys::fs::read(fd, &mut buffer)?;
                self.decoder.borrow_mut().push(&buffer[..n]);
                Ok(n)
            });
            if read.await? == 0 {
                return Err(broken(libc::ECONNRESET));
            }
        }
    }
}
