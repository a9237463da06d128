//! A line in a file, both ways: Docker's json-file, and our own short form for `local`.
//!
//! May not: know of files. Whatever is no line of the form is `None`: a file may be torn anywhere.
//!
//! `json-file`: `{"log":"text\n","stream":"stdout","attrs":{..},"time":"2026-11-28T03:47:54.1Z"}`, bytes as Docker writes them.
//! `local`: `o1795837674123456789 text`; `o` and `e` are the streams, capital where no newline ended the text.

use std::fmt;

use super::Stream;
use super::stamp::{self, Fraction};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Local,
}

/// What was written at once: a line, or a piece of a long one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub stream: Stream,
    /// Nanoseconds since 1970.
    pub time: i64,
    /// With its newline, if it had one.
    pub text: &'a [u8],
    /// JSON of an object of texts; empty: nothing.
    pub attributes: &'a [u8],
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(self.text);
        write!(f, "{:?}@{} {text:?}", self.stream, self.time)
    }
}

/// What a line says before it.
const STREAM: &[u8] = b"\"stream\":\"";
const TIME: &[u8] = b"\"time\":\"";

impl Form {
    /// Appends a line, with the newline that ends it in the file. `whole`: the text had a newline, which is not part of `text`.
    pub fn put(
        self,
        out: &mut Vec<u8>,
        stream: Stream,
        text: &[u8],
        whole: bool,
        attributes: &[u8],
        time: i64,
    ) {
        match self {
            Form::Json => {
                out.push(b'{');
                if whole || !text.is_empty() {
                    out.extend_from_slice(b"\"log\":\"");
                    escape(out, text);
                    out.extend_from_slice(if whole { b"\\n\"," } else { b"\"," });
                }
                out.extend_from_slice(STREAM);
                out.extend_from_slice(stream.name().as_bytes());
                out.push(b'"');
                if !attributes.is_empty() {
                    out.extend_from_slice(b",\"attrs\":");
                    out.extend_from_slice(attributes);
                }
                out.push(b',');
                out.extend_from_slice(TIME);
                stamp::put(out, time, Fraction::Short);
                out.extend_from_slice(b"\"}\n");
            }
            Form::Local => {
                out.push(match (stream, whole) {
                    (Stream::Stdout, true) => b'o',
                    (Stream::Stdout, false) => b'O',
                    (Stream::Stderr, true) => b'e',
                    (Stream::Stderr, false) => b'E',
                });
                stamp::digits(out, time, 1);
                out.push(b' ');
                out.extend_from_slice(text);
                out.push(b'\n');
            }
        }
    }

    /// The time of a line, or `None` if it is not a whole line of this form. Quick: a search looks at many.
    pub fn time(self, line: &[u8]) -> Option<i64> {
        match self {
            Form::Json => {
                let line = trim(line);
                if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
                    return None;
                }
                // Ours and Docker's end with the time. A quote inside of a text has a backslash, so this is found in no text.
                let tail = &line[line.len().saturating_sub(64)..];
                match tail.windows(TIME.len()).rposition(|w| w == TIME) {
                    Some(at) => {
                        let value = &tail[at + TIME.len()..];
                        stamp::parse(&value[..value.iter().position(|c| *c == b'"')?])
                    }
                    None => Some(Fields::of(line, &mut Vec::new())?.time),
                }
            }
            Form::Local => Some(local(line)?.1),
        }
    }

    /// What a line says; the text is unescaped into `buffer`.
    pub fn read<'a>(self, line: &'a [u8], buffer: &'a mut Vec<u8>) -> Option<Record<'a>> {
        buffer.clear();
        match self {
            Form::Json => {
                let fields = Fields::of(trim(line), buffer)?;
                Some(Record {
                    stream: fields.stream,
                    time: fields.time,
                    text: buffer,
                    attributes: fields.attributes,
                })
            }
            Form::Local => {
                let (kind, time, text) = local(line)?;
                buffer.extend_from_slice(text);
                if kind.is_ascii_lowercase() {
                    buffer.push(b'\n');
                }
                Some(Record {
                    stream: if kind.eq_ignore_ascii_case(&b'o') {
                        Stream::Stdout
                    } else {
                        Stream::Stderr
                    },
                    time,
                    text: buffer,
                    attributes: &[],
                })
            }
        }
    }
}

fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

fn local(line: &[u8]) -> Option<(u8, i64, &[u8])> {
    let (kind, rest) = line.split_first()?;
    if !matches!(kind, b'o' | b'O' | b'e' | b'E') {
        return None;
    }
    let count = rest.iter().take_while(|c| c.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(count);
    if !(1..=19).contains(&count) || rest.first() != Some(&b' ') {
        return None;
    }
    let time = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((*kind, time, &rest[1..]))
}

/// As Go's encoder and Docker's copy of it: what HTML would mind is escaped, a byte that is no UTF-8 becomes U+FFFD.
pub fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape_valid(out, chunk.valid().as_bytes());
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

/// What stands for itself; 0xe2 may be the first byte of U+2028.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut control = 0;
    while control < 0x20 {
        plain[control] = false;
        control += 1;
    }
    let others = *b"\\\"<>&\xe2";
    let mut at = 0;
    while at < others.len() {
        plain[others[at] as usize] = false;
        at += 1;
    }
    plain
};

fn escape_valid(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|c| !PLAIN[*c as usize]) {
        out.extend_from_slice(&rest[..at]);
        let (special, mut after) = (rest[at], &rest[at + 1..]);
        match special {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0xe2 => match after {
                [0x80, last @ (0xa8 | 0xa9), ..] => {
                    out.extend_from_slice(if *last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                    after = &after[2..];
                }
                _ => out.push(special),
            },
            _ => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(special >> 4)], HEX[usize::from(special & 15)]]);
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// What stands in one object, in whatever order.
struct Fields<'a> {
    stream: Stream,
    time: i64,
    attributes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The text is appended to `log`.
    fn of(line: &'a [u8], log: &mut Vec<u8>) -> Option<Fields<'a>> {
        let mut at = Cursor(line);
        let (mut stream, mut time, mut attributes) = (Stream::Stdout, None, &[][..]);
        at.skip(b'{')?;
        loop {
            let key = at.raw_text()?;
            at.skip(b':')?;
            match key {
                b"log" => at.text(log)?,
                b"stream" => {
                    stream = match at.raw_text()? {
                        b"stderr" => Stream::Stderr,
                        _ => Stream::Stdout,
                    }
                }
                b"time" => time = Some(stamp::parse(at.raw_text()?)?),
                b"attrs" => attributes = at.value()?,
                _ => drop(at.value()?),
            }
            if at.skip(b',').is_none() {
                break;
            }
        }
        at.skip(b'}')?;
        at.0.is_empty().then_some(())?;
        Some(Fields {
            stream,
            time: time?,
            attributes,
        })
    }
}

/// Goes through one line of JSON.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn skip(&mut self, mark: u8) -> Option<()> {
        self.0 = self.0.trim_ascii_start();
        self.0 = self.0.strip_prefix(&[mark])?;
        Some(())
    }

    /// A text without its quotes, escapes as they are.
    fn raw_text(&mut self) -> Option<&'a [u8]> {
        self.skip(b'"')?;
        let mut escaped = false;
        let end = self.0.iter().position(|c| {
            let end = *c == b'"' && !escaped;
            escaped = *c == b'\\' && !escaped;
            end
        })?;
        let (text, rest) = (&self.0[..end], &self.0[end + 1..]);
        self.0 = rest;
        Some(text)
    }

    /// A text, unescaped.
    fn text(&mut self, out: &mut Vec<u8>) -> Option<()> {
        let mut rest = self.raw_text()?;
        while let Some(at) = rest.iter().position(|c| *c == b'\\') {
            out.extend_from_slice(&rest[..at]);
            let kind = *rest.get(at + 1)?;
            rest = &rest[at + 2..];
            out.push(match kind {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'b' => 8,
                b'f' => 12,
                b'u' => {
                    let mut code = hex(rest.get(..4)?)?;
                    rest = &rest[4..];
                    if (0xd800..0xdc00).contains(&code)
                        && let Some(low) = rest.strip_prefix(b"\\u").and_then(|r| hex(r.get(..4)?))
                        && (0xdc00..0xe000).contains(&low)
                    {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                        rest = &rest[6..];
                    }
                    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                other => other,
            });
        }
        out.extend_from_slice(rest);
        Some(())
    }

    /// Any value, as it is written.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.0 = self.0.trim_ascii_start();
        let all = self.0;
        let mut depth = 0usize;
        loop {
            match *self.0.first()? {
                b'"' => drop(self.raw_text()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.0 = &self.0[1..];
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.0 = &self.0[1..];
                }
                b',' | b'}' | b']' if depth == 0 => break,
                _ => self.0 = &self.0[1..],
            }
            if depth == 0 && matches!(self.0.trim_ascii_start().first(), None | Some(b',' | b'}')) {
                break;
            }
        }
        Some(&all[..all.len() - self.0.len()])
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const AT: i64 = 1_795_837_674_100_000_000;

    fn json(text: &[u8], whole: bool, attributes: &[u8]) -> String {
        let mut out = Vec::new();
        Form::Json.put(&mut out, Stream::Stdout, text, whole, attributes, AT);
        String::from_utf8(out).unwrap()
    }

    /// By hand from Docker's encoder: dockerd 20.10 writes the same (see the comparison in `conformance`).
    #[test]
    fn bytes_are_dockers() {
        let line = |log: &str| {
            format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"2026-11-28T03:47:54.1Z\"}}\n")
        };
        for (text, whole, log) in [
            (&b"hello"[..], true, r"hello\n"),
            (b"", true, r"\n"),
            (b"part", false, "part"),
            (
                b"<a href=\"x\">&\\</a>",
                true,
                r#"\u003ca href=\"x\"\u003e\u0026\\\u003c/a\u003e\n"#,
            ),
            (
                b"\r\t\x08\x0c\x1b[0m\x00\x7f",
                true,
                "\\r\\u0009\\u0008\\u000c\\u001b[0m\\u0000\x7f\\n",
            ),
            (
                "grün \u{2028}\u{2029} \u{2027} \u{20ac} 😀".as_bytes(),
                true,
                "grün \\u2028\\u2029 \u{2027} \u{20ac} 😀\\n",
            ),
            // A byte that is no UTF-8, a character cut short, a surrogate, an overlong slash.
            (b"a\xffb", true, r"a\ufffdb\n"),
            (b"\xf0\x9f\x98", false, r"\ufffd\ufffd\ufffd"),
            (b"\xed\xa0\x80", true, r"\ufffd\ufffd\ufffd\n"),
            (b"\xc0\xaf", true, r"\ufffd\ufffd\n"),
            ("\u{fffd}".as_bytes(), true, "\u{fffd}\\n"),
        ] {
            assert_eq!(json(text, whole, b""), line(log), "{text:?}");
        }
        assert_eq!(
            json(b"", false, b""),
            "{\"stream\":\"stdout\",\"time\":\"2026-11-28T03:47:54.1Z\"}\n"
        );
        assert_eq!(
            json(b"x", true, b"{\"tag\":\"t\"}"),
            "{\"log\":\"x\\n\",\"stream\":\"stdout\",\"attrs\":{\"tag\":\"t\"},\"time\":\"2026-11-28T03:47:54.1Z\"}\n"
        );
    }

    #[test]
    fn what_was_put_is_read() {
        let attributes = br#"{"time":"x","a":"}\"{"}"#;
        for form in [Form::Json, Form::Local] {
            for stream in [Stream::Stdout, Stream::Stderr] {
                for (text, whole) in [
                    (&b""[..], true),
                    (b"\"time\":\"2001-01-01T00:00:00Z\"}", true),
                    ("\u{2028} \t\r\\u0041 😀".as_bytes(), false),
                ] {
                    let mut line = Vec::new();
                    form.put(&mut line, stream, text, whole, attributes, AT);
                    assert_eq!(line.pop(), Some(b'\n'));
                    assert!(!line.contains(&b'\n'));
                    let mut buffer = Vec::new();
                    let record = form.read(&line, &mut buffer).unwrap();
                    let mut expected = text.to_vec();
                    expected.extend(whole.then_some(b'\n'));
                    assert_eq!(
                        (record.stream, record.time, record.text),
                        (stream, AT, &expected[..])
                    );
                    let kept = if form == Form::Json { &attributes[..] } else { b"" };
                    assert_eq!(record.attributes, kept);
                    assert_eq!(form.time(&line), Some(AT));
                }
            }
        }
    }

    #[test]
    fn any_order_and_unknown_fields() {
        let line = br#" {"time" : "2026-11-28T03:47:54.1Z", "x":[1,{"a":"]"}], "n":null,"stream":"stderr","log":"\ud83d\ude00\ud83dx"} "#;
        let mut buffer = Vec::new();
        let record = Form::Json.read(line, &mut buffer).unwrap();
        assert_eq!((record.stream, record.time), (Stream::Stderr, AT));
        assert_eq!(record.text, "😀\u{fffd}x".as_bytes());
        assert_eq!(Form::Json.time(line), Some(AT));
    }

    #[test]
    fn torn_lines_are_none() {
        for form in [Form::Json, Form::Local] {
            let mut line = Vec::new();
            form.put(
                &mut line,
                Stream::Stdout,
                b"some text",
                true,
                b"{\"a\":\"b\"}",
                AT,
            );
            line.pop();
            let header = line.iter().position(|c| *c == b' ').unwrap();
            for end in 0..line.len() {
                let torn = &line[..end];
                let known = form == Form::Local && end > header;
                assert_eq!(form.read(torn, &mut Vec::new()).is_some(), known, "{torn:?}");
                assert_eq!(form.time(torn).is_some(), known, "{torn:?}");
            }
            // Zeros that a power cut left, and then a line.
            let glued = [&[0u8; 100][..], &line].concat();
            assert_eq!(form.time(&glued), None);
            assert!(form.read(&glued, &mut Vec::new()).is_none());
        }
    }

    /// Deterministic: the same numbers each time.
    #[test]
    fn nothing_makes_the_reader_fall() {
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below.max(1) as u64) as usize
        };
        let pieces: [&[u8]; 20] = [
            b"{",
            b"}",
            b"\"log\":",
            b"\"stream\":",
            b"\"time\":\"",
            b"\"",
            b"\\",
            b"\\u",
            b"d83d",
            b",",
            b":",
            b"[",
            b"]",
            b"\"attrs\":",
            b"2026-11-28T03:47:54.1Z",
            b"o1795837674 ",
            b"\xff\xf0\x9f",
            b"null",
            b" ",
            b"-1e9",
        ];
        for _ in 0..50_000 {
            let line: Vec<u8> = (0..random(12))
                .flat_map(|_| pieces[random(pieces.len())].to_vec())
                .collect();
            for form in [Form::Json, Form::Local] {
                let mut buffer = Vec::new();
                let time = form.time(&line);
                if let Some(record) = form.read(&line, &mut buffer) {
                    assert!(time.is_some(), "{line:?}");
                    assert!(record.text.len() <= line.len() * 2);
                }
            }
        }
        for _ in 0..500 {
            let text: Vec<u8> = (0..random(300))
                .map(|_| random(256) as u8)
                .filter(|c| *c != b'\n')
                .collect();
            let mut line = Vec::new();
            Form::Json.put(&mut line, Stream::Stderr, &text, true, b"", AT);
            let parsed: serde_json::Value = serde_json::from_slice(&line).unwrap();
            line.pop();
            let mut buffer = Vec::new();
            let record = Form::Json.read(&line, &mut buffer).unwrap();
            assert_eq!(parsed["log"].as_str().unwrap().as_bytes(), record.text);
        }
    }
}
