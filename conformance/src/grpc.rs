//! One gRPC call at a time over a unix socket: HTTP/2 as far as a unary call needs it.
//!
//! May not: stream, keep a connection, or send more than a peer takes before it has said how much it takes.
//!
//! Requests are written without compression of any kind. Answers may be: the server's headers are Huffman-coded where that
//! is shorter. The dynamic table is forbidden to it by a table size of 0, which is the first thing it reads.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;

use crate::ttrpc::Failure;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

const STREAM: u32 = 1;

/// What a peer takes before it has said anything: frames of this size, and this much in all.
const FIRST_FRAME: usize = 16_384;
const FIRST_WINDOW: usize = 65_535;

/// More than any answer that is asked for here.
const WINDOW: u32 = 64 << 20;

/// Calls `/service/method` at `socket`. `metadata` goes along as headers.
///
/// # Errors
/// Whatever keeps the answer from coming, the server's own status among it.
pub fn call<Answer: Message + Default>(
    socket: &Path,
    path: &str,
    metadata: &[(&str, &str)],
    request: &impl Message,
    limit: Duration,
) -> Result<Answer, Failure> {
    let end = Instant::now() + limit;
    let told = |e: io::Error| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Failure::Silence(limit),
        io::ErrorKind::InvalidData => Failure::Nonsense(e.to_string()),
        _ => Failure::Nonsense(format!("{}: {e}", socket.display())),
    };
    let mut stream = UnixStream::connect(socket).map_err(told)?;
    let body = request.encode_to_vec();
    if body.len() + 5 > FIRST_WINDOW {
        return Err(Failure::Nonsense(
            "the request is larger than the first window".into(),
        ));
    }
    stream.write_all(&open(path, metadata, &body)).map_err(told)?;
    let answer = read_answer(&mut stream, end).map_err(told)?;
    match answer.status {
        Some(0) => {
            let message = answer.body.get(5..).unwrap_or_default();
            Answer::decode(message)
                .map_err(|e| Failure::Nonsense(format!("failed to decode the answer: {e}")))
        }
        Some(code) => Err(Failure::Status {
            code,
            message: answer.message,
        }),
        None => Err(Failure::Closed),
    }
}

/// Everything that the client says: who it is, its settings, the call.
fn open(path: &str, metadata: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut settings = Vec::new();
    // No dynamic table, no pushes, a window for the whole answer.
    for (setting, value) in [(1u16, 0u32), (2, 0), (4, WINDOW)] {
        settings.extend(setting.to_be_bytes());
        settings.extend(value.to_be_bytes());
    }
    frame(&mut bytes, SETTINGS, 0, 0, &settings);
    frame(&mut bytes, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    let mut headers = Vec::new();
    let own = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    for (name, value) in own.iter().chain(metadata) {
        // A literal without indexing, with a new name.
        headers.push(0);
        for text in [name, value] {
            integer(&mut headers, 7, text.len());
            headers.extend(text.bytes());
        }
    }
    frame(&mut bytes, HEADERS, END_HEADERS, STREAM, &headers);
    let mut message = vec![0];
    message.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend(body);
    let last = message.len().div_ceil(FIRST_FRAME) - 1;
    for (n, part) in message.chunks(FIRST_FRAME).enumerate() {
        frame(
            &mut bytes,
            DATA,
            if n == last { END_STREAM } else { 0 },
            STREAM,
            part,
        );
    }
    bytes
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, body: &[u8]) {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    bytes.extend(&length[1..]);
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(body);
}

/// An integer with a prefix of so many bits, whose other bits are 0.
fn integer(bytes: &mut Vec<u8>, prefix: u32, value: usize) {
    let most = (1usize << prefix) - 1;
    if value < most {
        bytes.push(u8::try_from(value).unwrap_or(u8::MAX));
        return;
    }
    bytes.push(u8::try_from(most).unwrap_or(u8::MAX));
    let mut rest = value - most;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap_or_default());
}

#[derive(Default)]
struct Answer {
    status: Option<i32>,
    message: String,
    body: Vec<u8>,
}

fn read_answer(stream: &mut UnixStream, end: Instant) -> io::Result<Answer> {
    let mut answer = Answer::default();
    let mut block = Vec::new();
    loop {
        let left = end
            .saturating_duration_since(Instant::now())
            .max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        let mut head = [0; 9];
        if let Err(e) = stream.read_exact(&mut head) {
            // What has come is the answer; without a status it is none.
            return if e.kind() == io::ErrorKind::UnexpectedEof {
                Ok(answer)
            } else {
                Err(e)
            };
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, flags) = (head[3], head[4]);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let mut reply = Vec::new();
                frame(&mut reply, kind, ACK, 0, if kind == PING { &body } else { &[] });
                stream.write_all(&reply)?;
            }
            DATA => answer.body.extend(unpadded(&body, flags)?),
            HEADERS | CONTINUATION => {
                let part = unpadded(&body, if kind == HEADERS { flags } else { 0 })?;
                let skipped = if kind == HEADERS && flags & PRIORITY != 0 {
                    5
                } else {
                    0
                };
                block.extend(
                    part.get(skipped..)
                        .ok_or_else(|| broken("a header frame is too short"))?,
                );
                if flags & END_HEADERS != 0 {
                    take_headers(&block, &mut answer)?;
                    block.clear();
                }
            }
            RST_STREAM | GOAWAY if answer.status.is_none() => {
                return Err(broken(&format!(
                    "the server ended the call: frame {kind}, {body:?}"
                )));
            }
            _ => {}
        }
        if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 && block.is_empty() {
            return Ok(answer);
        }
    }
}

fn unpadded(body: &[u8], flags: u8) -> io::Result<&[u8]> {
    if flags & PADDED == 0 {
        return Ok(body);
    }
    let padding = usize::from(*body.first().unwrap_or(&0));
    body.get(1..body.len().saturating_sub(padding))
        .ok_or_else(|| broken("the padding is too long"))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// The status and the message among headers or trailers.
fn take_headers(block: &[u8], answer: &mut Answer) -> io::Result<()> {
    let mut reader = Block(block);
    while let Some(&first) = reader.0.first() {
        let (name, value) = if first & 128 != 0 {
            // All of it is in the table. Nothing there matters here.
            reader.integer(7)?;
            continue;
        } else if first & 224 == 32 {
            reader.integer(5)?;
            continue;
        } else {
            let index = reader.integer(if first & 64 != 0 { 6 } else { 4 })?;
            // None of the names in the static table matters here.
            let name = if index == 0 { reader.text()? } else { String::new() };
            (name, reader.text()?)
        };
        match name.as_str() {
            "grpc-status" => {
                answer.status = Some(value.parse().map_err(|_| broken("grpc-status is no number"))?)
            }
            "grpc-message" => answer.message = decode_percent(&value),
            _ => {}
        }
    }
    Ok(())
}

fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = after
            .get(if code.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What is left of a header block.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn byte(&mut self) -> io::Result<u8> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| broken("the headers end early"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn integer(&mut self, prefix: u32) -> io::Result<usize> {
        let most = (1usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 127) << shift;
            if byte & 128 == 0 {
                return Ok(value);
            }
        }
        Err(broken("a number in the headers is too large"))
    }

    fn text(&mut self) -> io::Result<String> {
        let is_coded = self.0.first().is_some_and(|byte| byte & 128 != 0);
        let length = self.integer(7)?;
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| broken("the headers end early"))?;
        self.0 = rest;
        if is_coded {
            decode_huffman(text)
        } else {
            Ok(String::from_utf8_lossy(text).into_owned())
        }
    }
}

/// The symbols of HPACK's Huffman code by the length of their codes. The code is canonical, so that is all there is to
/// know; of the symbols whose codes are longer than 15 bits only the backslash is text.
const BY_LENGTH: [(u32, &str); 11] = [
    (5, "012aceiost"),
    (6, " %-./3456789=A_bdfghlmnpru"),
    (7, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, "&*,;XZ"),
    (10, "!\"()?"),
    (11, "'+|"),
    (12, "#>"),
    (13, "\0$@[]~"),
    (14, "^}"),
    (15, "<`{"),
    (19, "\\"),
];

fn decode_huffman(bytes: &[u8]) -> io::Result<String> {
    let mut text = String::new();
    let (mut code, mut length) = (0u32, 0u32);
    for bit in bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        if let Some(symbol) = symbol(code, length) {
            text.push(symbol);
            (code, length) = (0, 0);
        } else if length > 19 {
            return Err(broken("a header is no text"));
        }
    }
    Ok(text)
}

/// The symbol with this code of this length: codes of one length follow each other, and the first of a length follows
/// the last of the one before.
fn symbol(code: u32, length: u32) -> Option<char> {
    let (mut first, mut before) = (0u32, 0);
    for (bits, symbols) in BY_LENGTH {
        first <<= bits - before;
        before = bits;
        let count = u32::try_from(symbols.len()).unwrap_or(0);
        if bits == length {
            let place = code.checked_sub(first).filter(|place| *place < count)?;
            return symbols.chars().nth(place as usize);
        }
        first += count;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// The examples of RFC 7541, appendix C.
    #[test]
    fn huffman_is_that_of_the_standard() {
        let examples = [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("6402", "302"),
            (
                "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                "Mon, 21 Oct 2013 20:13:21 GMT",
            ),
            (
                "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
                "https://www.example.com",
            ),
        ];
        for (coded, text) in examples {
            assert_eq!(decode_huffman(&bytes(coded)).unwrap(), text);
        }
        assert_eq!(symbol(0x7fff0, 19), Some('\\'));
        assert!(decode_huffman(&[0xff; 4]).is_err());
    }

    #[test]
    fn integers_are_those_of_the_standard() {
        let mut written = Vec::new();
        integer(&mut written, 5, 1337);
        assert_eq!(written, [31, 154, 10]);
        assert_eq!(Block(&written).integer(5).unwrap(), 1337);
    }

    #[test]
    fn trailers_say_how_it_ended() {
        let mut answer = Answer::default();
        let mut block = vec![0x20, 0x88, 0x40, 11];
        block.extend(b"grpc-status\x015");
        block.extend(b"\x00\x0cgrpc-message\x07not%20x");
        take_headers(&block, &mut answer).unwrap();
        assert_eq!((answer.status, answer.message.as_str()), (Some(5), "not x"));
        assert!(take_headers(b"\x00\x7f", &mut answer).is_err());
    }
}
