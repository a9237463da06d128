//! One request and its answer: connections, TLS, proxies, time limits, what went wrong.
//!
//! ureq speaks HTTP; the connections under it are ours, because they have to end when they idle and when the user calls it off, and
//! because every registry may have certificates of its own.
//!
//! May not: follow a redirect, try again, know a registry. `session` does.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sys::wait::{Deadline, Interest};
use ureq::http::{HeaderMap, Request};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout,
    Transport, TransportAdapter,
};
use ureq::{Agent, ProxyProtocol, SendBody, Timeout};

use super::cancel::{Cancel, cancelled};
use super::forward::{Forwarder, Forwards, Names};
use super::proxy::Proxies;
use super::url::Url;
use crate::{Context, Error, Kind, Result};

/// Read and written per system call.
pub(super) const BUFFER: usize = 128 << 10;
/// More headers than this are nobody's honest answer.
const HEADER_LIMIT: usize = 64 << 10;
/// As many connections to one host wait for their next use.
const KEPT: usize = 8;

/// How a host proves itself, and we to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Files of certificates that are trusted beside the system's.
    pub ca: Vec<PathBuf>,
    /// A certificate chain and its key, in one file or in two.
    pub client: Option<(PathBuf, PathBuf)>,
    /// Nothing is verified. Only where it was configured.
    pub skip_verify: bool,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) enum Payload<'a> {
    /// Nothing, as GET, HEAD and DELETE do.
    Nothing,
    Bytes(&'a [u8]),
    /// So many bytes, opened anew for every attempt.
    Stream {
        open: &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync),
        length: u64,
    },
}

/// One request.
pub(super) struct Call<'a> {
    pub method: &'static str,
    pub url: &'a Url,
    pub headers: &'a [(String, String)],
    pub payload: Payload<'a>,
    pub tls: &'a Tls,
    /// Instead of the usual one.
    pub connect_timeout: Option<Duration>,
}

/// The head of an answer, and its body to be read.
pub(super) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: ureq::Body,
    pub url: Url,
}

impl Answer {
    /// The first value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header that are text.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.get_all(name).iter().filter_map(|v| v.to_str().ok())
    }

    /// The media type, without parameters.
    pub fn media_type(&self) -> String {
        let value = self.header("content-type").unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    /// The length that the body should have.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The whole body.
    pub fn bytes(self, limit: u64, of: &str) -> Result<Vec<u8>, Failure> {
        let length = self.length();
        if length.is_some_and(|l| l > limit) {
            return Err(Failure::fatal(too_long(of, limit)));
        }
        let mut bytes = Vec::with_capacity(length.unwrap_or(8 << 10) as usize);
        let url = self.url;
        let mut body = self.body.into_reader().take(limit + 1);
        body.read_to_end(&mut bytes)
            .map_err(|e| Failure::broken(&url, e))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::fatal(too_long(of, limit)));
        }
        if length.is_some_and(|l| l != bytes.len() as u64) {
            return Err(Failure::broken(&url, io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }
}

fn too_long(of: &str, limit: u64) -> Error {
    Error::corrupt(format!("{of} is larger than {limit} bytes; more is not read"))
}

/// Why there is no answer, or not all of it.
#[derive(Debug)]
pub(super) struct Failure {
    pub error: Error,
    pub cause: Cause,
    /// It has been tried as often as it may be.
    pub is_spent: bool,
    /// What the registry asks for before the next attempt.
    pub wait: Option<Duration>,
}

/// What the next attempt may hope for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Nobody there, or not in time.
    Connect,
    /// There is no such host.
    Name,
    /// The other side speaks plain http.
    NotTls,
    /// A certificate that is not good.
    Tls,
    /// The proxy will not have it.
    Proxy,
    /// The connection broke or idled.
    Broken,
    /// An answer that is none, by its status.
    Status(u16),
    /// It would be the same again.
    Fatal,
}

impl Failure {
    pub fn of(cause: Cause, error: Error) -> Failure {
        Failure {
            error,
            cause,
            is_spent: false,
            wait: None,
        }
    }

    pub fn fatal(error: Error) -> Failure {
        Failure::of(Cause::Fatal, error)
    }

    /// While a body was read from there.
    pub fn broken(url: &Url, e: io::Error) -> Failure {
        let doing = format!("failed to read from {}", url.authority());
        let failure = classify(ureq::Error::from(e));
        Failure {
            error: failure.error.context(doing),
            ..failure
        }
    }

    /// Whether the same again may succeed.
    pub fn is_passing(&self) -> bool {
        match self.cause {
            _ if self.is_spent => false,
            Cause::Connect | Cause::Broken => true,
            Cause::Status(status) => is_passing(status),
            Cause::Name | Cause::NotTls | Cause::Tls | Cause::Proxy | Cause::Fatal => false,
        }
    }

    /// With what was being done.
    pub fn doing(self, doing: impl fmt::Display) -> Failure {
        Failure {
            error: self.error.context(doing),
            ..self
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error
    }
}

/// Statuses that go away.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Time limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// From the request to the end of the answer's head. A registry may take long to store what it was sent.
    pub response: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            response: Duration::from_secs(300),
        }
    }
}

/// Sends requests. Connections are kept for the next one.
pub(super) struct Http {
    user_agent: String,
    limits: Limits,
    proxies: Proxies,
    cancel: Cancel,
    agents: Mutex<HashMap<Route, Agent>>,
}

/// Connections are shared by requests that agree in all of this.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Route {
    tls: Tls,
    proxy: Option<String>,
    is_https: bool,
    connect: Duration,
}

impl Http {
    pub fn new(user_agent: &str, limits: Limits, proxies: Proxies, cancel: Cancel) -> Http {
        Http {
            user_agent: user_agent.to_owned(),
            limits,
            proxies,
            cancel,
            agents: Mutex::default(),
        }
    }

    /// One attempt.
    pub fn send(&self, call: &Call<'_>) -> Result<Answer, Failure> {
        self.cancel.check().map_err(Failure::fatal)?;
        let mut request = Request::builder().method(call.method).uri(call.url.to_string());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        let agent = self.agent(call).map_err(Failure::fatal)?;
        let built = |request: ureq::http::request::Builder| {
            let request = request.body(()).map(|r| r.into_parts().0);
            request.map_err(|e| Failure::fatal(Error::invalid(format!("{}: {e}", call.url))))
        };
        let result = match call.payload {
            Payload::Nothing => agent.run(Request::from_parts(built(request)?, SendBody::none())),
            Payload::Bytes(mut bytes) => {
                let head = built(request.header("content-length", bytes.len()))?;
                agent.run(Request::from_parts(head, SendBody::from_reader(&mut bytes)))
            }
            Payload::Stream { open, length } => {
                let mut stream = open().map_err(|e| Failure::fatal(e.into()))?;
                // Who is not let in is told before the body is on its way.
                let request = request
                    .header("content-length", length)
                    .header("expect", "100-continue");
                agent.run(Request::from_parts(
                    built(request)?,
                    SendBody::from_reader(&mut stream),
                ))
            }
        };
        match result {
            // Servers have another status for who is not let in; this one is the proxy's.
            Ok(response) if response.status() == 407 => Err(refused_by_proxy(407).doing(self.reaching(call))),
            Ok(response) => {
                let (head, body) = response.into_parts();
                Ok(Answer {
                    status: head.status.as_u16(),
                    headers: head.headers,
                    body,
                    url: call.url.clone(),
                })
            }
            Err(_) if self.cancel.is_called() => Err(Failure::fatal(cancelled())),
            Err(e) => Err(classify(e).doing(self.reaching(call))),
        }
    }

    /// What was being done, with the proxy that it was done through: it may be the one who is to blame.
    fn reaching(&self, call: &Call<'_>) -> String {
        let proxy = self.proxies.proxy_for(call.url);
        let through = proxy.and_then(|proxy| {
            let proxy = ureq::Proxy::new(&proxy).ok()?;
            Some(format!(" through the proxy {}:{}", proxy.host(), proxy.port()))
        });
        format!(
            "failed to reach {}{}",
            call.url.authority(),
            through.unwrap_or_default()
        )
    }

    fn agent(&self, call: &Call<'_>) -> Result<Agent> {
        let route = Route {
            tls: call.tls.clone(),
            proxy: self.proxies.proxy_for(call.url),
            is_https: call.url.is_https,
            connect: call.connect_timeout.unwrap_or(self.limits.connect),
        };
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&route) {
            return Ok(agent.clone());
        }
        let proxy =
            match &route.proxy {
                None => None,
                Some(proxy) => Some(ureq::Proxy::new(proxy).map_err(|e| {
                    Error::invalid(format!("failed to use the proxy of the environment: {e}"))
                })?),
            };
        // A proxy that speaks TLS itself is asked for a tunnel in any case.
        let is_forwarded = |proxy: &ureq::Proxy| !route.is_https && proxy.protocol() == ProxyProtocol::Http;
        let (proxy, forwarder) = match proxy {
            Some(proxy) if is_forwarded(&proxy) => (None, Some(Forwarder::new(&proxy))),
            other => (other, None),
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy)
            .user_agent(&self.user_agent)
            .accept_encoding("identity")
            .max_response_header_size(HEADER_LIMIT)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(4 * KEPT)
            .max_idle_connections_per_host(KEPT)
            .timeout_resolve(Some(route.connect))
            .timeout_connect(Some(route.connect))
            .timeout_recv_response(Some(self.limits.response))
            .build();
        let sockets = Sockets {
            cancel: self.cancel.clone(),
            idle: self.limits.idle,
        };
        let tls = Tlses {
            tls: route.tls.clone(),
            config: OnceLock::new(),
        };
        let connector =
            ().chain(ConnectProxyConnector::default())
                .chain(sockets)
                .chain(Forwards(forwarder.clone()))
                .chain(tls);
        let agent = Agent::with_parts(config, connector, Names(forwarder));
        agents.insert(route, agent.clone());
        Ok(agent)
    }
}

/// A failure of ureq, without what was being done.
fn classify(e: ureq::Error) -> Failure {
    let of = |cause, text: String| {
        let kind = if cause == Cause::Fatal || cause == Cause::Tls {
            Kind::Other
        } else {
            Kind::Unavailable
        };
        Failure::of(cause, Error::of(kind, text))
    };
    match e {
        ureq::Error::Io(e) => classify_io(e),
        ureq::Error::Timeout(Timeout::Resolve) => {
            of(Cause::Connect, "timed out looking up its name".to_owned())
        }
        ureq::Error::Timeout(Timeout::Connect) => of(Cause::Connect, "connection timed out".to_owned()),
        ureq::Error::Timeout(Timeout::RecvResponse) => {
            of(Cause::Broken, "timed out waiting for an answer".to_owned())
        }
        ureq::Error::Timeout(_) => of(
            Cause::Broken,
            "timed out: nothing was sent for too long".to_owned(),
        ),
        ureq::Error::HostNotFound => of(Cause::Name, "no such host".to_owned()),
        ureq::Error::Rustls(e) => classify_tls(&e),
        ureq::Error::Tls(e) => of(Cause::Tls, format!("TLS: {e}")),
        ureq::Error::ConnectProxyFailed(e) => match proxy_status(&e) {
            Some(status @ 400..=499) => refused_by_proxy(status),
            _ => of(Cause::Connect, format!("proxy made no connection: {e}")),
        },
        ureq::Error::LargeResponseHeader(_, _) => of(
            Cause::Fatal,
            format!("answer has more than {HEADER_LIMIT} bytes of headers"),
        ),
        // Malformed HTTP is mostly a proxy or a server that died in the middle.
        ureq::Error::Protocol(e) => of(Cause::Broken, format!("malformed HTTP: {e}")),
        ureq::Error::BodyStalled => of(Cause::Broken, "unexpected end".to_owned()),
        e => of(Cause::Fatal, e.to_string()),
    }
}

/// Out of ureq's words, `proxy server responded 403/403`.
fn proxy_status(words: &str) -> Option<u16> {
    words.rsplit_once('/')?.1.parse().ok()
}

fn refused_by_proxy(status: u16) -> Failure {
    let error = match status {
        407 => Error::of(
            Kind::Denied,
            "proxy wants a user name and a password, or other ones",
        ),
        _ => Error::of(Kind::Denied, format!("proxy refuses it ({status})")),
    };
    Failure::of(Cause::Proxy, error)
}

fn classify_io(e: io::Error) -> Failure {
    if let Some(tls) = e
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return classify_tls(tls);
    }
    if e.get_ref().is_some_and(|inner| inner.is::<ureq::Error>()) {
        return match ureq::Error::from(e) {
            ureq::Error::Io(e) => Failure::of(Cause::Broken, Error::from(e).kind_is(Kind::Unavailable)),
            e => classify(e),
        };
    }
    if e.get_ref().is_some_and(|inner| inner.is::<Error>()) {
        return Failure::fatal(Error::from(e));
    }
    let cause = match e.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::AddrNotAvailable => Cause::Connect,
        // What getaddrinfo said has no number.
        _ if e.raw_os_error().is_none() && e.to_string().contains("lookup") => Cause::Name,
        _ => Cause::Broken,
    };
    let error = match e.kind() {
        io::ErrorKind::ConnectionRefused => Error::new("connection refused"),
        io::ErrorKind::UnexpectedEof => Error::new("unexpected end: the connection was closed"),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::new("timed out"),
        _ => Error::from(e),
    };
    Failure::of(cause, error.kind_is(Kind::Unavailable))
}

fn classify_tls(e: &rustls::Error) -> Failure {
    match e {
        // The words of Go, which people search for.
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => Failure::of(
            Cause::NotTls,
            Error::new("server gave HTTP response to HTTPS client"),
        ),
        e => Failure::of(Cause::Tls, Error::new(format!("TLS: {e}"))),
    }
}

/// Makes connections of TCP, unless a proxy has made one.
#[derive(Clone)]
struct Sockets {
    cancel: Cancel,
    idle: Duration,
}

impl<In: Transport> Connector<In> for Sockets {
    type Out = Either<In, Socket>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        if let Some(made) = chained {
            return Ok(Some(Either::A(made)));
        }
        let patience = details.timeout.not_zero().map_or(Duration::from_secs(30), |t| *t);
        let deadline = Deadline::after(patience);
        let mut last = ureq::Error::ConnectionFailed;
        for address in &details.addrs {
            match self.dial(*address, deadline) {
                Ok(stream) => {
                    return Ok(Some(Either::B(Socket {
                        stream,
                        buffers: LazyBuffers::new(BUFFER, BUFFER),
                        cancel: self.cancel.clone(),
                        idle: self.idle,
                        read_limit: None,
                        write_limit: None,
                    })));
                }
                Err(e) => last = e,
            }
            if self.cancel.is_called() || deadline.is_over() {
                break;
            }
        }
        Err(last)
    }
}

impl Sockets {
    fn dial(&self, to: SocketAddr, deadline: Deadline) -> Result<Arc<TcpStream>, ureq::Error> {
        let socket = sys::tcp::connect_nonblocking(to)
            .map_err(|e| ureq::Error::Io(io::Error::from_raw_os_error(e.errno().0)))?;
        let stream = Arc::new(TcpStream::from(socket));
        self.cancel.ends(&stream).map_err(own)?;
        let fd = std::os::fd::AsFd::as_fd(&*stream);
        let ready = sys::wait::poll(&[(fd, Interest::Write)], deadline).map_err(|e| own(e.into()))?;
        self.cancel.check().map_err(own)?;
        if !ready.iter().any(|r| r.writable || r.hangup) {
            return Err(ureq::Error::Timeout(Timeout::Connect));
        }
        if let Some(e) = stream.take_error()? {
            return Err(ureq::Error::Io(e));
        }
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Ours, through ureq, which hands back what it gets as [`io::Error`].
fn own(e: Error) -> ureq::Error {
    ureq::Error::Io(e.into())
}

/// A connection of TCP.
struct Socket {
    stream: Arc<TcpStream>,
    buffers: LazyBuffers,
    cancel: Cancel,
    idle: Duration,
    /// As the kernel has it: a system call is made only when it changes.
    read_limit: Option<Duration>,
    write_limit: Option<Duration>,
}

impl Socket {
    /// The head of an answer may take as long as its own limit says; all else may not idle.
    fn patience(&self, timeout: NextTimeout) -> Duration {
        match timeout.not_zero() {
            None => self.idle,
            Some(left) if timeout.reason == Timeout::RecvResponse => *left,
            Some(left) => self.idle.min(*left),
        }
    }

    fn failed(&self, e: io::Error, reason: Timeout) -> ureq::Error {
        if let Err(called_off) = self.cancel.check() {
            return own(called_off);
        }
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ureq::Error::Timeout(reason),
            _ => ureq::Error::Io(e),
        }
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let patience = Some(self.patience(timeout));
        if self.write_limit != patience {
            self.stream.set_write_timeout(patience)?;
            self.write_limit = patience;
        }
        let result = (&*self.stream).write_all(&self.buffers.output()[..amount]);
        result.map_err(|e| self.failed(e, timeout.reason))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let patience = Some(self.patience(timeout));
        if self.read_limit != patience {
            self.stream.set_read_timeout(patience)?;
            self.read_limit = patience;
        }
        loop {
            match (&*self.stream).read(self.buffers.input_append_buf()) {
                Ok(0) if self.cancel.is_called() => return Err(own(cancelled())),
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                // A socket with a time limit is not restarted by the kernel after a signal.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e, timeout.reason)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // Anything to read now is an end, or an answer that nobody asked for.
        let quiet = self.stream.set_nonblocking(true).is_ok()
            && matches!(self.stream.peek(&mut [0]), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        quiet && self.stream.set_nonblocking(false).is_ok()
    }
}

/// Puts TLS on a connection where the address wants it.
struct Tlses {
    tls: Tls,
    /// Reading the system's certificates takes milliseconds: only when they are needed.
    config: OnceLock<Arc<ClientConfig>>,
}

impl<In: Transport> Connector<In> for Tlses {
    type Out = Either<In, Secure>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else {
            return Err(ureq::Error::ConnectionFailed);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let config = match self.config.get() {
            Some(config) => config.clone(),
            None => {
                let config = Arc::new(self.tls.client_config().map_err(own)?);
                self.config.get_or_init(|| config).clone()
            }
        };
        let host = details.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(bare)
            .map_err(|_| ureq::Error::Tls("the host is no name that a certificate could have"))?;
        let mut session = ClientConnection::new(config, name)?;
        let mut below = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        below.set_timeout(details.timeout);
        session.complete_io(&mut below)?;
        Ok(Some(Either::B(Secure {
            stream: StreamOwned::new(session, below),
            buffers: LazyBuffers::new(BUFFER, BUFFER),
        })))
    }
}

/// A connection with TLS on it.
struct Secure {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl Transport for Secure {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl Tls {
    fn client_config(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(format!("failed to set up TLS: {e}")))?;
        let builder = if self.skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(unverified::Unverified(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let Some((chain, key)) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let doing = || format!("failed to read the client certificate {}", chain.display());
        let certificates = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| Error::invalid(format!("{}: {e}", doing())))?;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| Error::invalid(format!("failed to read the key {}: {e}", key.display())))?;
        builder
            .with_client_auth_cert(certificates, key)
            .map_err(|e| Error::invalid(format!("{}: {e}", doing())))
    }

    /// The system's and our own. Certificates of the system that cannot be read are left out, as everybody does: one odd file must not
    /// take all hosts away.
    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_roots().iter().cloned());
        for file in &self.ca {
            let doing = || format!("failed to read the certificates in {}", file.display());
            let certificates = CertificateDer::pem_file_iter(file)
                .map_err(|e| Error::invalid(e.to_string()))
                .context(doing())?;
            for certificate in certificates {
                let certificate = certificate
                    .map_err(|e| Error::invalid(e.to_string()))
                    .context(doing())?;
                roots
                    .add(certificate)
                    .map_err(|e| Error::invalid(e.to_string()))
                    .context(doing())?;
            }
        }
        Ok(roots)
    }
}

fn system_roots() -> &'static [CertificateDer<'static>] {
    static ROOTS: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| rustls_native_certs::load_native_certs().certs)
}

/// Where the user has said that nothing is to be verified.
mod unverified {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub struct Unverified(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for Unverified {
        fn verify_server_cert(
            &self,
            _end: &CertificateDer<'_>,
            _between: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(
                message,
                certificate,
                signed,
                &self.0.signature_verification_algorithms,
            )
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(
                message,
                certificate,
                signed,
                &self.0.signature_verification_algorithms,
            )
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sockets")
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({:?})", self.stream)
    }
}

impl fmt::Debug for Tlses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tlses({:?})", self.tls)
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secure")
    }
}
