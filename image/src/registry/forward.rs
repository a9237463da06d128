//! Requests in the clear through a proxy, as HTTP has it for them: they go to the proxy, with the whole address in the first line.
//!
//! CONNECT would do with many a proxy, but squid's usual configuration allows it for port 443 only. ureq writes no such line, so it is
//! changed on its way; that is why a connection carries one request. (They are rare: a registry without TLS, behind a proxy.)
//!
//! May not: be used for https, whose requests no proxy should see.

use std::fmt;
use std::io::{Read, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::http::BUFFER;

/// A proxy that requests are handed to.
#[derive(Clone)]
pub(super) struct Forwarder {
    /// Where it is.
    place: Uri,
    /// What it is told of us.
    authorization: Option<String>,
}

impl Forwarder {
    pub fn new(proxy: &ureq::Proxy) -> Forwarder {
        let is_known = proxy.username().is_some() || proxy.password().is_some();
        let (user, secret) = (
            proxy.username().unwrap_or_default(),
            proxy.password().unwrap_or_default(),
        );
        Forwarder {
            place: proxy.uri().clone(),
            authorization: is_known.then(|| BASE64_STANDARD.encode(format!("{user}:{secret}"))),
        }
    }
}

/// Looks up the proxy instead of the server, whose name perhaps only the proxy knows.
#[derive(Debug)]
pub(super) struct Names(pub Option<Forwarder>);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let uri = self.0.as_ref().map_or(uri, |forwarder| &forwarder.place);
        DefaultResolver::default().resolve(uri, config, timeout)
    }
}

/// Makes connections to a proxy connections to the server behind it.
pub(super) struct Forwards(pub Option<Forwarder>);

impl<In: Transport> Connector<In> for Forwards {
    type Out = Either<In, Forward>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        let Some(forwarder) = &self.0 else {
            return Ok(Some(Either::A(transport)));
        };
        let authority = details.uri.authority().map_or("", |a| a.as_str());
        Ok(Some(Either::B(Forward {
            below: TransportAdapter::new(transport.boxed(), details.current_time.clone()),
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            change: Some(Change {
                target: format!("http://{authority}"),
                authorization: forwarder.authorization.clone(),
            }),
        })))
    }
}

/// A connection whose first line is changed.
pub(super) struct Forward {
    below: TransportAdapter,
    buffers: LazyBuffers,
    /// Until the first line has gone out.
    change: Option<Change>,
}

struct Change {
    target: String,
    authorization: Option<String>,
}

impl Change {
    /// `GET /v2/ HTTP/1.1` becomes `GET http://host/v2/ HTTP/1.1`, with a header behind it.
    fn of(&self, output: &[u8]) -> Option<Vec<u8>> {
        let path = output.windows(2).position(|pair| pair == b" /")? + 1;
        let end = output.windows(2).position(|pair| pair == b"\r\n")? + 2;
        let (method, line) = output.get(..end)?.split_at(path);
        let header = self.authorization.as_ref().map_or(String::new(), |basic| {
            format!("proxy-authorization: Basic {basic}\r\n")
        });
        let rest = output.get(end..)?;
        Some([method, self.target.as_bytes(), line, header.as_bytes(), rest].concat())
    }
}

impl Transport for Forward {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.below.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        match self.change.take() {
            Some(change) => {
                let changed = change.of(output).ok_or(ureq::Error::ConnectionFailed)?;
                self.below.write_all(&changed)?;
            }
            None => self.below.write_all(output)?,
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.below.set_timeout(timeout);
        let amount = self.below.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        // Not for another request.
        false
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its address may hold a password.
        f.write_str("Forwarder")
    }
}

impl fmt::Debug for Forwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwards")
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forward")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_line_gets_the_whole_address() {
        let change = |authorization: Option<&str>| Change {
            target: "http://h.io:5000".to_owned(),
            authorization: authorization.map(str::to_owned),
        };
        let request = b"PUT /v2/a?b=http://c HTTP/1.1\r\nhost: h.io:5000\r\n\r\nbody /\r\n";
        assert_eq!(
            String::from_utf8(change(None).of(request).unwrap()).unwrap(),
            "PUT http://h.io:5000/v2/a?b=http://c HTTP/1.1\r\nhost: h.io:5000\r\n\r\nbody /\r\n"
        );
        assert_eq!(
            String::from_utf8(change(Some("eDp5")).of(request).unwrap()).unwrap(),
            "PUT http://h.io:5000/v2/a?b=http://c HTTP/1.1\r\nproxy-authorization: Basic eDp5\r\nhost: h.io:5000\r\n\r\nbody /\r\n"
        );
        assert_eq!(change(None).of(b"PUT"), None);
    }
}
