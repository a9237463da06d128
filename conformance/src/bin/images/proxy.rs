//! An HTTP proxy as administrators run them: tunnels to few ports, requests in the clear handed on, perhaps with a password.
//!
//! May not: look into a tunnel. What was asked of it, and whether whoever asked was known, is all that it writes down.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::tap::copy;

/// A head longer than this is nobody's.
const HEAD_LIMIT: u64 = 64 << 10;

/// How it is set up.
#[derive(Debug, Default, Clone)]
pub struct Rules {
    /// As the header has it: base64 of name and password.
    pub login: Option<&'static str>,
    /// Where tunnels may lead.
    pub tunnels: &'static [&'static str],
    /// Names that only the proxy knows, and where they are.
    pub names: &'static [(&'static str, &'static str)],
}

/// Runs until the program ends.
pub struct Proxy {
    /// Where clients find it.
    pub host: String,
    log: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub fn open(rules: Rules) -> Result<Proxy, String> {
        let text = |e: std::io::Error| format!("the proxy: {e}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let host = listener.local_addr().map_err(text)?.to_string();
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (rules, log) = (rules.clone(), Arc::clone(&shared));
                // Whoever hangs up has seen enough.
                std::thread::spawn(move || drop(serve(client, &rules, &log)));
            }
        });
        Ok(Proxy { host, log })
    }

    /// Method, address and status of each request so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(mut client: TcpStream, rules: &Rules, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (line, headers) = head(&mut reader)?;
    let mut words = line.split(' ');
    let (method, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let of = |name: &str| {
        headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    };
    let is_known = rules
        .login
        .is_none_or(|login| of("proxy-authorization") == Some(format!("Basic {login}").as_str()));
    let tunnel = method == "CONNECT";
    let rest = address.strip_prefix("http://").unwrap_or(address);
    let (server, path) = match rest.find('/') {
        Some(at) if !tunnel => rest.split_at(at),
        _ => (rest, ""),
    };
    let place = rules
        .names
        .iter()
        .find(|(name, _)| *name == server)
        .map_or(server, |(_, place)| place);
    let status = match tunnel {
        _ if !is_known => "407 Proxy Authentication Required",
        true if !rules.tunnels.contains(&server) => "403 Forbidden",
        // The form that is for servers, not for proxies.
        false if address == rest => "400 Bad Request",
        _ => "200 OK",
    };
    log.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
        "{method} {address} {}",
        status.get(..3).unwrap_or_default()
    ));
    if status != "200 OK" {
        return write!(
            client,
            "HTTP/1.1 {status}\r\nProxy-Authenticate: Basic realm=\"a proxy\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let mut upstream = TcpStream::connect(place)?;
    if tunnel {
        write!(client, "HTTP/1.1 200 Connection established\r\n\r\n")?;
    } else {
        write!(upstream, "{method} {path} HTTP/1.1\r\nConnection: close\r\n")?;
        for (name, value) in headers.iter().filter(|(name, _)| is_handed_on(name)) {
            write!(upstream, "{name}: {value}\r\n")?;
        }
        write!(upstream, "\r\n")?;
    }
    upstream.write_all(reader.buffer())?;
    let (from_upstream, to_client) = (upstream.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || copy(from_upstream, to_client, |n| n));
    copy(client, upstream, |n| n);
    Ok(())
}

/// The first line and the headers of a request.
fn head(reader: &mut BufReader<TcpStream>) -> std::io::Result<(String, Vec<(String, String)>)> {
    let mut limited = reader.take(HEAD_LIMIT);
    let mut line = || -> std::io::Result<String> {
        let mut text = String::new();
        limited.read_line(&mut text)?;
        Ok(text.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        match header.split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok((first, headers)),
        }
    }
}

fn is_handed_on(name: &str) -> bool {
    !name.eq_ignore_ascii_case("connection") && !name.to_ascii_lowercase().starts_with("proxy-")
}
