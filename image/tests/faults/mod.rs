//! A registry that misbehaves on demand: distribution's API in memory, over plain HTTP/1.1, with a script that spoils answers and a log
//! of what was asked.
//!
//! ```text
//! let registry = Registry::start();
//! let blob = registry.put_blob(b"...");                    a descriptor
//! registry.script(|seen| if seen.is_blob() && seen.nth == 0 { Fault::DropAfter(10) } else { Fault::None });
//! ... client asks registry.address() ...
//! registry.log()                                           what was asked, how much was sent
//! ```
//!
//! May not: use anything of the library but names of media types and digests. Whatever this says is judged by itself.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use image::Digest;
use image::oci::{Descriptor, media};

/// What is done to an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    None,
    /// The connection ends after so many bytes of the body.
    DropAfter(usize),
    /// Nothing more comes after so many bytes of the body.
    StallAfter(usize),
    /// The connection ends before the answer.
    Close,
    /// Nothing comes at all.
    Stall,
    /// This answer instead.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// This body instead, with its own length.
    Body(Vec<u8>),
    /// The body goes on for ever, without a length.
    Endless,
    /// Content-Length says this; the body is as it is.
    Length(u64),
    /// The whole blob, with 200.
    IgnoreRange,
    /// A header more, or instead.
    Header(&'static str, String),
    /// A header less.
    Without(&'static str),
    /// So many bytes of headers.
    HugeHeaders(usize),
    /// The head comes one byte at a time, for ever.
    SlowHeaders,
}

/// One request, and how much of the answer's body was sent.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub status: u16,
    pub sent: usize,
    /// How many requests came before it.
    pub nth: usize,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.method == "GET" && self.path.contains("/blobs/sha")
    }

    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    pub fn is_upload(&self) -> bool {
        self.path.contains("/blobs/uploads/")
    }
}

/// Who is let in.
#[derive(Clone, Debug, Default)]
pub enum Door {
    #[default]
    Open,
    /// User and password.
    Basic(String, String),
    /// Tokens from `/token`.
    Token(Tokens),
}

/// How tokens are given.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Requests that one is good for.
    pub uses: usize,
    /// Who gets one; nobody: everybody.
    pub login: Option<(String, String)>,
    /// A refresh token that is taken by POST, and given for `offline_token`.
    pub refresh: Option<String>,
    /// Whether POST is known.
    pub has_post: bool,
    /// Where they are given, if not here.
    pub realm: Option<String>,
}

impl Tokens {
    pub fn for_everybody(uses: usize) -> Tokens {
        Tokens {
            uses,
            login: None,
            refresh: None,
            has_post: true,
            realm: None,
        }
    }
}

type Script = dyn Fn(&Seen) -> Fault + Send + Sync;

/// A registry on loopback; ends with its test.
pub struct Registry(Arc<Shared>);

struct Shared {
    address: String,
    script: Mutex<Arc<Script>>,
    door: Mutex<Door>,
    state: Mutex<State>,
    log: Mutex<Vec<Seen>>,
    count: AtomicUsize,
    is_over: AtomicBool,
    over: (Mutex<()>, Condvar),
    connections: Mutex<Vec<TcpStream>>,
}

#[derive(Default)]
struct State {
    /// Of all repositories.
    blobs: BTreeMap<String, Vec<u8>>,
    /// Repository and tag or digest, to media type and bytes.
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    uploads: HashMap<String, Vec<u8>>,
    next_upload: usize,
    /// Token to uses left and scopes.
    tokens: HashMap<String, (usize, Vec<String>)>,
    next_token: usize,
    /// Whether there is an API of referrers.
    has_referrers: bool,
    can_mount: bool,
    /// Repository to the blobs that can be seen there; nothing: all can be seen everywhere.
    places: Option<BTreeMap<String, Vec<String>>>,
    min_chunk: Option<usize>,
    page: usize,
}

struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    fn new(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn json(status: u16, body: serde_json::Value) -> Reply {
        let mut reply = Reply::new(status).with("content-type", "application/json");
        reply.body = serde_json::to_vec(&body).unwrap();
        reply
    }

    fn error(status: u16, code: &str, message: &str) -> Reply {
        Reply::json(
            status,
            serde_json::json!({"errors": [{"code": code, "message": message, "detail": null}]}),
        )
    }
}

impl Registry {
    pub fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            address: listener.local_addr().unwrap().to_string(),
            script: Mutex::new(Arc::new(|_| Fault::None)),
            door: Mutex::default(),
            state: Mutex::new(State {
                can_mount: true,
                page: 1000,
                ..State::default()
            }),
            log: Mutex::default(),
            count: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            over: Default::default(),
            connections: Mutex::default(),
        });
        let server = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.is_over.load(Ordering::SeqCst) {
                    return;
                }
                server
                    .connections
                    .lock()
                    .unwrap()
                    .push(stream.try_clone().unwrap());
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        Registry(shared)
    }

    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// What is done to answers from now on.
    pub fn script(&self, script: impl Fn(&Seen) -> Fault + Send + Sync + 'static) {
        *self.0.script.lock().unwrap() = Arc::new(script);
    }

    pub fn door(&self, door: Door) {
        *self.0.door.lock().unwrap() = door;
    }

    pub fn put_blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.0
            .state
            .lock()
            .unwrap()
            .blobs
            .insert(digest.to_string(), bytes.to_owned());
        descriptor(media::OCI_LAYER_GZIP, bytes)
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut state = self.0.state.lock().unwrap();
        for reference in [tag.to_owned(), digest.to_string()] {
            state.manifests.insert(
                (repository.to_owned(), reference),
                (media_type.to_owned(), bytes.to_owned()),
            );
        }
        digest
    }

    pub fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Vec<u8>)> {
        let key = (repository.to_owned(), reference.to_owned());
        self.0.state.lock().unwrap().manifests.get(&key).cloned()
    }

    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        self.0
            .state
            .lock()
            .unwrap()
            .blobs
            .get(&digest.to_string())
            .cloned()
    }

    /// Whether blobs are seen only where they were pushed or mounted to.
    pub fn separate_repositories(&self) {
        self.0.state.lock().unwrap().places = Some(BTreeMap::new());
    }

    pub fn put_blob_into(&self, repository: &str, bytes: &[u8]) -> Descriptor {
        let blob = self.put_blob(bytes);
        self.0
            .state
            .lock()
            .unwrap()
            .see(repository, &blob.digest.to_string());
        blob
    }

    pub fn with_referrers(&self, has: bool) {
        self.0.state.lock().unwrap().has_referrers = has;
    }

    pub fn with_mounts(&self, can: bool) {
        self.0.state.lock().unwrap().can_mount = can;
    }

    pub fn with_min_chunk(&self, bytes: usize) {
        self.0.state.lock().unwrap().min_chunk = Some(bytes);
    }

    pub fn with_page(&self, names: usize) {
        self.0.state.lock().unwrap().page = names;
    }

    pub fn open_uploads(&self) -> usize {
        self.0.state.lock().unwrap().uploads.len()
    }

    pub fn log(&self) -> Vec<Seen> {
        self.0.log.lock().unwrap().clone()
    }

    pub fn forget_log(&self) {
        self.0.log.lock().unwrap().clear();
        self.0.count.store(0, Ordering::SeqCst);
    }

    /// Bytes of blobs that were sent.
    pub fn sent(&self) -> usize {
        self.log().iter().filter(|s| s.is_blob()).map(|s| s.sent).sum()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
        let (lock, over) = &self.0.over;
        let _guard = lock.lock();
        over.notify_all();
        for connection in self.0.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        let _ = TcpStream::connect(&self.0.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::with_capacity(64 << 10, stream.try_clone().unwrap());
        let mut stream = stream;
        let _ = stream.set_nodelay(true);
        while let Ok(Some(mut seen)) = self.read_request(&mut reader, &mut stream) {
            let fault = {
                let script = self.script.lock().unwrap().clone();
                script(&seen)
            };
            // What the script spoils does not happen, unless only its answer is spoilt.
            let reply = match &fault {
                Fault::Close | Fault::Stall | Fault::SlowHeaders => None,
                Fault::Answer(status, headers, body) => {
                    let mut reply = Reply::new(*status);
                    reply.headers = headers
                        .iter()
                        .map(|(n, v)| ((*n).to_owned(), v.clone()))
                        .collect();
                    reply.body = body.clone();
                    Some(reply)
                }
                _ => Some(self.answer(&seen, fault == Fault::IgnoreRange)),
            };
            seen.status = reply.as_ref().map_or(0, |r| r.status);
            let is_head = seen.method == "HEAD";
            let slot = {
                let mut log = self.log.lock().unwrap();
                log.push(seen);
                log.len() - 1
            };
            let outcome = match reply {
                Some(reply) => self.send(&mut stream, reply, &fault, is_head, slot),
                None if fault == Fault::Stall => self.hold(),
                None if fault == Fault::SlowHeaders => self.send_slowly(&mut stream),
                None => Err(io::ErrorKind::ConnectionAborted.into()),
            };
            if outcome.is_err() {
                break;
            }
        }
        // The list of connections keeps it open otherwise.
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn read_request(
        &self,
        reader: &mut BufReader<TcpStream>,
        stream: &mut TcpStream,
    ) -> io::Result<Option<Seen>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Ok(None);
        };
        // What speaks TLS is no request of HTTP.
        if !method.bytes().all(|b| b.is_ascii_uppercase()) {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")?;
            return Ok(None);
        }
        let mut seen = Seen {
            method: method.to_owned(),
            path: path.to_owned(),
            ..Seen::default()
        };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap();
            seen.headers
                .push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if seen.header("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let length = seen.header("content-length").map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match reader.read(&mut body[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        body.truncate(filled);
        seen.body = body;
        seen.nth = self.count.fetch_add(1, Ordering::SeqCst);
        Ok(Some(seen))
    }

    fn send(
        &self,
        stream: &mut TcpStream,
        reply: Reply,
        fault: &Fault,
        is_head: bool,
        slot: usize,
    ) -> io::Result<()> {
        let body = match fault {
            Fault::Body(body) => body.clone(),
            _ => reply.body,
        };
        let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
        for (name, value) in &reply.headers {
            match fault {
                Fault::Header(spoilt, _) | Fault::Without(spoilt) if spoilt == name => {}
                _ => head.push_str(&format!("{name}: {value}\r\n")),
            }
        }
        if let Fault::Header(name, value) = fault {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Fault::HugeHeaders(bytes) = fault {
            for i in 0..10 {
                head.push_str(&format!("x-{i}: {}\r\n", "y".repeat(bytes / 10)));
            }
        }
        let has_own_length = is_head && reply.headers.iter().any(|(n, _)| n == "content-length");
        match fault {
            Fault::Endless => head.push_str("connection: close\r\n"),
            Fault::Length(length) => head.push_str(&format!("content-length: {length}\r\n")),
            Fault::Without("content-length") => head.push_str("connection: close\r\n"),
            _ if has_own_length => {}
            _ => head.push_str(&format!("content-length: {}\r\n", body.len())),
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        if is_head {
            return Ok(());
        }
        let limit = match fault {
            Fault::DropAfter(bytes) | Fault::StallAfter(bytes) => *bytes,
            _ => body.len(),
        };
        for part in body[..limit.min(body.len())].chunks(64 << 10) {
            stream.write_all(part)?;
            if let Some(seen) = self.log.lock().unwrap().get_mut(slot) {
                seen.sent += part.len();
            }
        }
        match fault {
            Fault::DropAfter(_) => Err(io::ErrorKind::ConnectionAborted.into()),
            Fault::StallAfter(_) => self.hold(),
            Fault::Endless => loop {
                stream.write_all(&[b'!'; 4096])?;
            },
            Fault::Length(_) | Fault::Without("content-length") => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => Ok(()),
        }
    }

    /// Until the test is over.
    fn hold(&self) -> io::Result<()> {
        let (lock, over) = &self.over;
        let mut guard = lock.lock().unwrap();
        while !self.is_over.load(Ordering::SeqCst) {
            guard = over.wait(guard).unwrap();
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn send_slowly(&self, stream: &mut TcpStream) -> io::Result<()> {
        let (lock, over) = &self.over;
        let mut guard = lock.lock().unwrap();
        for byte in b"HTTP/1.1 200 OK\r\nx-slow: "
            .iter()
            .chain(std::iter::repeat(&b'y'))
        {
            if self.is_over.load(Ordering::SeqCst) {
                break;
            }
            stream.write_all(&[*byte])?;
            (guard, _) = over.wait_timeout(guard, Duration::from_millis(20)).unwrap();
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn answer(&self, seen: &Seen, ignores_range: bool) -> Reply {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let query: Vec<(String, String)> = query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), unescape(value)))
            .collect();
        if path == "/token" {
            return self.token(seen, &query);
        }
        if let Some(refusal) = self.refused(seen, path) {
            return refusal;
        }
        let mut state = self.state.lock().unwrap();
        state.answer(seen, path, &query, ignores_range)
    }

    fn token(&self, seen: &Seen, query: &[(String, String)]) -> Reply {
        let Door::Token(tokens) = self.door.lock().unwrap().clone() else {
            return Reply::error(404, "UNSUPPORTED", "no tokens here");
        };
        let form: Vec<(String, String)> = String::from_utf8_lossy(&seen.body)
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), unescape(value)))
            .collect();
        let all = |of: &[(String, String)], name: &str| -> Vec<String> {
            of.iter()
                .filter(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
                .collect()
        };
        let scopes: Vec<String> = if seen.method == "POST" {
            if !tokens.has_post {
                return Reply::error(405, "UNSUPPORTED", "method not allowed");
            }
            let refresh = all(&form, "refresh_token");
            if refresh.first() != tokens.refresh.as_ref() || all(&form, "grant_type") != ["refresh_token"] {
                return Reply::json(
                    400,
                    serde_json::json!({"error": "invalid_grant", "error_description": "unknown token"}),
                );
            }
            all(&form, "scope")
                .iter()
                .flat_map(|s| s.split(' ').map(str::to_owned))
                .collect()
        } else {
            if let Some((user, secret)) = &tokens.login
                && seen.header("authorization") != Some(&basic(user, secret))
            {
                return Reply::json(
                    401,
                    serde_json::json!({"details": "incorrect username or password"}),
                );
            }
            all(query, "scope")
        };
        let mut state = self.state.lock().unwrap();
        state.next_token += 1;
        let token = format!("token-{}", state.next_token);
        state.tokens.insert(token.clone(), (tokens.uses, scopes));
        let mut answer = serde_json::json!({"token": token, "expires_in": 300});
        if all(query, "offline_token") == ["true"]
            && let Some(refresh) = &tokens.refresh
        {
            answer["refresh_token"] = refresh.clone().into();
        }
        Reply::json(200, answer)
    }

    fn refused(&self, seen: &Seen, path: &str) -> Option<Reply> {
        let shown = seen.header("authorization");
        match self.door.lock().unwrap().clone() {
            Door::Open => None,
            Door::Basic(user, secret) => (shown != Some(&basic(&user, &secret))).then(|| {
                Reply::error(401, "UNAUTHORIZED", "authentication required")
                    .with("www-authenticate", "Basic realm=\"test, with a comma\"")
            }),
            Door::Token(tokens) => {
                let scope = needed_scope(&seen.method, path);
                let mut state = self.state.lock().unwrap();
                let token = shown.and_then(|s| s.strip_prefix("Bearer ")).unwrap_or_default();
                let entry = state.tokens.get_mut(token);
                if let Some((left, scopes)) = entry
                    && *left > 0
                    && scope.as_ref().is_none_or(|(repository, action)| {
                        let prefix = format!("repository:{repository}:");
                        scopes
                            .iter()
                            .filter_map(|s| s.strip_prefix(&prefix))
                            .any(|actions| actions.split(',').any(|a| a == *action))
                    })
                {
                    *left -= 1;
                    return None;
                }
                let realm = tokens
                    .realm
                    .unwrap_or_else(|| format!("http://{}/token", self.address));
                let named = scope.map_or(String::new(), |(r, a)| format!(",scope=\"repository:{r}:{a}\""));
                Some(Reply::error(401, "UNAUTHORIZED", "authentication required").with(
                    "www-authenticate",
                    format!("Bearer realm=\"{realm}\",service=\"faults\"{named}"),
                ))
            }
        }
    }
}

impl State {
    fn see(&mut self, repository: &str, digest: &str) {
        if let Some(places) = &mut self.places {
            places
                .entry(repository.to_owned())
                .or_default()
                .push(digest.to_owned());
        }
    }

    fn sees(&self, repository: &str, digest: &str) -> bool {
        self.blobs.contains_key(digest)
            && self
                .places
                .as_ref()
                .is_none_or(|p| p.get(repository).is_some_and(|d| d.iter().any(|d| d == digest)))
    }

    fn answer(&mut self, seen: &Seen, path: &str, query: &[(String, String)], ignores_range: bool) -> Reply {
        let get = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        if path == "/v2/" {
            return Reply::json(200, serde_json::json!({}));
        }
        if path == "/v1/search" {
            let limit: usize = get("n").unwrap_or("25").parse().unwrap();
            let results: Vec<_> = (0..limit.min(3))
                .map(|i| {
                    serde_json::json!({"name": format!("{}-{i}", get("q").unwrap()), "description": null,
                        "star_count": 3 - i, "is_official": i == 0, "is_automated": false})
                })
                .collect();
            return Reply::json(
                200,
                serde_json::json!({"num_results": results.len(), "results": results}),
            );
        }
        if path == "/v2/_catalog" {
            let mut names: Vec<String> = self.manifests.keys().map(|(r, _)| r.clone()).collect();
            names.dedup();
            return self.page(path, "repositories", serde_json::json!({}), names, get("last"));
        }
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            let tags: Vec<String> = self
                .manifests
                .keys()
                .filter(|(r, t)| r == repository && !t.contains(':'))
                .map(|(_, t)| t.clone())
                .collect();
            if tags.is_empty() {
                return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
            }
            return self.page(
                path,
                "tags",
                serde_json::json!({"name": repository}),
                tags,
                get("last"),
            );
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return self.manifest(seen, repository, reference);
        }
        if let Some((repository, digest)) = rest.split_once("/referrers/") {
            return self.referrers(repository, digest, get("artifactType"));
        }
        if let Some((repository, upload)) = rest.split_once("/blobs/uploads/") {
            return self.upload(seen, repository, upload, &get);
        }
        if let Some((repository, digest)) = rest.split_once("/blobs/") {
            return self.blob(seen, repository, digest, ignores_range);
        }
        Reply::error(404, "UNSUPPORTED", "no such path")
    }

    fn page(
        &self,
        path: &str,
        key: &str,
        mut value: serde_json::Value,
        mut names: Vec<String>,
        last: Option<&str>,
    ) -> Reply {
        names.sort();
        names.retain(|n| last.is_none_or(|l| n.as_str() > l));
        let more = names.len() > self.page;
        names.truncate(self.page);
        value[key] = names.clone().into();
        let reply = Reply::json(200, value);
        match names.last() {
            Some(last) if more => reply.with(
                "link",
                format!("<{path}?n={}&last={last}>; rel=\"next\"", self.page),
            ),
            _ => reply,
        }
    }

    fn manifest(&mut self, seen: &Seen, repository: &str, reference: &str) -> Reply {
        let key = (repository.to_owned(), reference.to_owned());
        if seen.method == "PUT" {
            let media_type = seen.header("content-type").unwrap_or_default().to_owned();
            let digest = Digest::of(&seen.body).to_string();
            if reference.contains(':') && reference != digest {
                return Reply::error(
                    400,
                    "DIGEST_INVALID",
                    "provided digest did not match uploaded content",
                );
            }
            let value: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            let layers = value["layers"]
                .as_array()
                .into_iter()
                .flatten()
                .chain(value.get("config"));
            for digest in layers.filter_map(|l| l["digest"].as_str()) {
                if !self.sees(repository, digest) {
                    return Reply::error(404, "MANIFEST_BLOB_UNKNOWN", "blob unknown to registry");
                }
            }
            self.manifests
                .insert(key, (media_type.clone(), seen.body.clone()));
            let by_digest = (repository.to_owned(), digest.clone());
            self.manifests.insert(by_digest, (media_type, seen.body.clone()));
            let reply = Reply::new(201)
                .with("location", format!("/v2/{repository}/manifests/{digest}"))
                .with("docker-content-digest", digest);
            return match value["subject"]["digest"].as_str() {
                Some(subject) if self.has_referrers => reply.with("oci-subject", subject),
                _ => reply,
            };
        }
        let Some((media_type, bytes)) = self.manifests.get(&key) else {
            return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
        };
        let reply = Reply::new(200)
            .with("content-type", media_type.clone())
            .with("docker-content-digest", Digest::of(bytes).to_string());
        with_body(reply, bytes, &seen.method)
    }

    fn referrers(&self, repository: &str, digest: &str, artifact_type: Option<&str>) -> Reply {
        if !self.has_referrers {
            return Reply::new(404);
        }
        let mut found = Vec::new();
        for ((r, reference), (media_type, bytes)) in &self.manifests {
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            let own = value["artifactType"]
                .as_str()
                .or(value["config"]["mediaType"].as_str())
                .unwrap_or_default();
            if r == repository
                && reference.contains(':')
                && value["subject"]["digest"] == digest
                && artifact_type.is_none_or(|t| t == own)
            {
                found.push(serde_json::json!({"mediaType": media_type, "digest": reference, "size": bytes.len(), "artifactType": own}));
            }
        }
        let mut reply = Reply::json(
            200,
            serde_json::json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": found}),
        );
        reply.headers[0].1 = media::OCI_INDEX.to_owned();
        if artifact_type.is_some() {
            reply.with("oci-filters-applied", "artifactType")
        } else {
            reply
        }
    }

    fn blob(&mut self, seen: &Seen, repository: &str, digest: &str, ignores_range: bool) -> Reply {
        if !self.sees(repository, digest) {
            return Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        }
        let bytes = &self.blobs[digest];
        let reply = |status| {
            Reply::new(status)
                .with("docker-content-digest", digest)
                .with("accept-ranges", "bytes")
        };
        if let Some(range) = seen.header("range").filter(|_| !ignores_range) {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let first: usize = first.parse().unwrap();
            let last: usize = last
                .parse::<usize>()
                .unwrap_or(usize::MAX)
                .min(bytes.len().saturating_sub(1));
            if first >= bytes.len() {
                return Reply::new(416).with("content-range", format!("bytes */{}", bytes.len()));
            }
            let reply = reply(206).with("content-range", format!("bytes {first}-{last}/{}", bytes.len()));
            return with_body(reply, &bytes[first..=last], &seen.method);
        }
        with_body(reply(200), bytes, &seen.method)
    }

    fn upload<'q>(
        &mut self,
        seen: &Seen,
        repository: &str,
        upload: &str,
        get: &dyn Fn(&str) -> Option<&'q str>,
    ) -> Reply {
        let place = |id: &str| format!("/v2/{repository}/blobs/uploads/{id}?_state=a%2Fb");
        match seen.method.as_str() {
            "POST" => {
                if let (Some(digest), Some(from)) = (get("mount"), get("from"))
                    && self.can_mount
                    && self.sees(from, digest)
                {
                    self.see(repository, digest);
                    return Reply::new(201).with("location", format!("/v2/{repository}/blobs/{digest}"));
                }
                self.next_upload += 1;
                let id = format!("u{}", self.next_upload);
                self.uploads.insert(id.clone(), Vec::new());
                let reply = Reply::new(202)
                    .with("location", place(&id))
                    .with("range", "0-0")
                    .with("docker-upload-uuid", id);
                match self.min_chunk {
                    Some(bytes) => reply.with("oci-chunk-min-length", bytes.to_string()),
                    None => reply,
                }
            }
            _ if get("_state") != Some("a/b") => {
                Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "the state is missing")
            }
            method => {
                let Some(data) = self.uploads.get_mut(upload) else {
                    return Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
                };
                let range = |data: &[u8]| format!("0-{}", data.len().saturating_sub(1));
                if let Some(content_range) = seen.header("content-range")
                    && content_range.split('-').next() != Some(&data.len().to_string())
                {
                    return Reply::new(416)
                        .with("location", place(upload))
                        .with("range", range(data));
                }
                match method {
                    "GET" => Reply::new(204)
                        .with("location", place(upload))
                        .with("range", range(data)),
                    "PATCH" => {
                        data.extend_from_slice(&seen.body);
                        // What broke off is kept, and its sender never hears of it.
                        Reply::new(202)
                            .with("location", place(upload))
                            .with("range", range(data))
                    }
                    "DELETE" => {
                        self.uploads.remove(upload);
                        Reply::new(204)
                    }
                    "PUT" => {
                        data.extend_from_slice(&seen.body);
                        let data = self.uploads.remove(upload).unwrap();
                        let digest = Digest::of(&data).to_string();
                        if get("digest") != Some(&digest) {
                            return Reply::error(
                                400,
                                "DIGEST_INVALID",
                                "provided digest did not match uploaded content",
                            );
                        }
                        self.blobs.insert(digest.clone(), data);
                        self.see(repository, &digest);
                        Reply::new(201).with("location", format!("/v2/{repository}/blobs/{digest}"))
                    }
                    _ => Reply::new(405),
                }
            }
        }
    }
}

fn with_body(reply: Reply, bytes: &[u8], method: &str) -> Reply {
    if method == "HEAD" {
        return reply.with("content-length", bytes.len().to_string());
    }
    Reply {
        body: bytes.to_owned(),
        ..reply
    }
}

fn needed_scope(method: &str, path: &str) -> Option<(String, &'static str)> {
    let rest = path.strip_prefix("/v2/")?;
    let end = ["/manifests/", "/blobs/", "/tags/", "/referrers/"]
        .iter()
        .find_map(|p| rest.find(p))?;
    let action = if matches!(method, "GET" | "HEAD") && !path.contains("/uploads/") {
        "pull"
    } else {
        "push"
    };
    Some((rest[..end].to_owned(), action))
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", base64(format!("{user}:{secret}").as_bytes()))
}

/// In a few lines: the tests of other crates use this file, too, and have no crate for it.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() {
                DIGITS[value] as char
            } else {
                '='
            });
        }
    }
    text
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'%', [a, b, after @ ..]) => {
                let hex = std::str::from_utf8(&[*a, *b]).unwrap().to_owned();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                rest = after;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Of these bytes.
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        urls: Vec::new(),
        annotations: Default::default(),
        platform: None,
        artifact_type: None,
    }
}
