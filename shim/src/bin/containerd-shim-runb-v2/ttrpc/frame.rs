//! Frames of ttrpc: a header of ten bytes, then the payload.
//!
//! ```text
//! length  u32, most significant byte first; without the header
//! stream  u32, likewise; odd, because clients begin
//! kind    u8: 1 request, 2 response, 3 data
//! flags   u8
//! ```
//!
//! May not: look into a payload, or trust a length: memory is taken for bytes that have come, not for bytes that were
//! announced.

use super::status::{Error, Result};
use prost::Message;

/// A payload may be this long.
pub const MAX_PAYLOAD: usize = 4 << 20;

const HEADER: usize = 10;

/// What is kept of a drained buffer. A shim has a connection for each container, and most of them are silent.
const KEPT_CAPACITY: usize = 4096;

/// What a frame is. Other numbers are to be ignored, for the sake of newer peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Request = 1,
    Response = 2,
    /// Of a streaming call.
    Data = 3,
}

/// A frame that came whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub stream: u32,
    /// None: a kind that nobody knows yet.
    pub kind: Option<Kind>,
    pub flags: u8,
    pub payload: Vec<u8>,
}

/// What the decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Frame(Frame),
    /// Too long. Its payload is skipped as it comes; the frames behind it are found.
    Oversize {
        stream: u32,
        kind: Option<Kind>,
        length: u32,
    },
}

#[derive(Clone, Copy)]
struct Header {
    length: u32,
    stream: u32,
    kind: u8,
    flags: u8,
}

impl Header {
    fn decode([l0, l1, l2, l3, s0, s1, s2, s3, kind, flags]: [u8; HEADER]) -> Header {
        Header {
            length: u32::from_be_bytes([l0, l1, l2, l3]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            kind,
            flags,
        }
    }

    fn encode(self) -> [u8; HEADER] {
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        [l0, l1, l2, l3, s0, s1, s2, s3, self.kind, self.flags]
    }

    fn kind(self) -> Option<Kind> {
        match self.kind {
            1 => Some(Kind::Request),
            2 => Some(Kind::Response),
            3 => Some(Kind::Data),
            _ => None,
        }
    }
}

/// The error for a payload that is too long; peers expect this code for it.
pub fn oversize(length: usize) -> Error {
    Error::resource_exhausted(format!(
        "a message of {length} bytes is longer than the {MAX_PAYLOAD} that a frame may carry"
    ))
}

/// Appends a frame to `out`. Fails, and appends nothing, when the message is too long for one.
pub fn append(out: &mut Vec<u8>, stream: u32, kind: Kind, message: &impl Message) -> Result<()> {
    let length = message.encoded_len();
    let announced = match u32::try_from(length) {
        Ok(announced) if length <= MAX_PAYLOAD => announced,
        _ => return Err(oversize(length)),
    };
    let header = Header {
        length: announced,
        stream,
        kind: kind as u8,
        flags: 0,
    };
    out.reserve(HEADER + length);
    out.extend_from_slice(&header.encode());
    message.encode_raw(out);
    Ok(())
}

/// Finds the frames in a stream of bytes.
///
/// [`Decoder::push`] what a read returned, then [`Decoder::next`] until there is nothing more: then at most one incomplete
/// frame is kept, and nothing is lost whatever the cuts between reads.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// How much of the buffer has been handed out.
    taken: usize,
    /// How much of an oversize payload is still to come.
    skip: usize,
}

impl Decoder {
    /// Bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The next frame, when it is there whole. After None the decoder wants more bytes.
    #[allow(clippy::should_implement_trait)] // not an iterator: None is not the end
    pub fn next(&mut self) -> Option<Incoming> {
        let found = self.take();
        if found.is_none() {
            self.shrink();
        }
        found
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    fn take(&mut self) -> Option<Incoming> {
        let (header, rest) = self.rest().split_first_chunk::<HEADER>()?;
        let header = Header::decode(*header);
        let length = header.length as usize;
        if length > MAX_PAYLOAD {
            let here = rest.len().min(length);
            self.skip = length - here;
            self.taken += HEADER + here;
            return Some(Incoming::Oversize {
                stream: header.stream,
                kind: header.kind(),
                length: header.length,
            });
        }
        let payload = rest.get(..length)?.to_vec();
        self.taken += HEADER + length;
        Some(Incoming::Frame(Frame {
            stream: header.stream,
            kind: header.kind(),
            flags: header.flags,
            payload,
        }))
    }

    /// Forgets what was handed out, and gives memory back that a long frame needed.
    fn shrink(&mut self) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        if self.buffer.len() <= KEPT_CAPACITY && self.buffer.capacity() > KEPT_CAPACITY {
            self.buffer.shrink_to(KEPT_CAPACITY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ttrpc::{Request, Response};
    use crate::ttrpc::status::Code;

    /// Two requests, as they come.
    const TWO: &[u8] = b"\0\0\0\x03\0\0\0\x01\x01\0\x0a\x01s\0\0\0\0\0\0\0\x03\x01\x05";

    fn frame(stream: u32, kind: Kind, flags: u8, payload: &[u8]) -> Incoming {
        Incoming::Frame(Frame {
            stream,
            kind: Some(kind),
            flags,
            payload: payload.to_vec(),
        })
    }

    fn two() -> Vec<Incoming> {
        vec![
            frame(1, Kind::Request, 0, b"\x0a\x01s"),
            frame(3, Kind::Request, 5, b""),
        ]
    }

    /// Nothing of an unfinished frame is here.
    fn is_between_frames(decoder: &Decoder) -> bool {
        decoder.skip == 0 && decoder.rest().is_empty()
    }

    fn drain(decoder: &mut Decoder) -> Vec<Incoming> {
        std::iter::from_fn(|| decoder.next()).collect()
    }

    /// All that `bytes` contain, when they come in pieces of `size`.
    fn decode(bytes: &[u8], size: usize) -> Vec<Incoming> {
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(size) {
            decoder.push(piece);
            found.extend(drain(&mut decoder));
        }
        assert!(is_between_frames(&decoder));
        found
    }

    fn header(length: u32, stream: u32) -> Vec<u8> {
        let header = Header {
            length,
            stream,
            kind: 1,
            flags: 0,
        };
        header.encode().to_vec()
    }

    #[test]
    fn encodes() {
        let request = Request {
            service: "s".into(),
            ..Request::default()
        };
        let mut out = b"before".to_vec();
        append(&mut out, 0x0102_0305, Kind::Request, &request).unwrap();
        assert_eq!(out, b"before\0\0\0\x03\x01\x02\x03\x05\x01\0\x0a\x01s");
    }

    #[test]
    fn refuses_to_encode_what_is_too_long() {
        let response = |length| Response {
            status: None,
            payload: vec![0; length],
        };
        let mut out = b"before".to_vec();
        let error = append(&mut out, 1, Kind::Response, &response(MAX_PAYLOAD)).unwrap_err();
        assert_eq!(error.code, Code::ResourceExhausted);
        assert_eq!(
            error.message,
            "a message of 4194309 bytes is longer than the 4194304 that a frame may carry"
        );
        assert_eq!(out, b"before");
        // One byte for the key, four for the length.
        append(&mut out, 1, Kind::Response, &response(MAX_PAYLOAD - 5)).unwrap();
        assert_eq!(out[6..10], [0, 0x40, 0, 0]);
    }

    #[test]
    fn every_cut_gives_the_same_frames() {
        for size in 1..=TWO.len() {
            assert_eq!(decode(TWO, size), two(), "in pieces of {size}");
        }
    }

    #[test]
    fn an_incomplete_frame_waits() {
        let mut decoder = Decoder::default();
        decoder.push(&TWO[..12]);
        assert_eq!(decoder.next(), None);
        assert!(!is_between_frames(&decoder));
        decoder.push(&TWO[12..]);
        assert_eq!(drain(&mut decoder), two());
        assert!(is_between_frames(&decoder));
    }

    #[test]
    fn unknown_kinds_are_seen() {
        let bytes = b"\0\0\0\x01\0\0\0\x01\x09\0x";
        let [Incoming::Frame(frame)] = &decode(bytes, 100)[..] else {
            panic!("one frame");
        };
        assert_eq!((frame.kind, frame.payload.as_slice()), (None, &b"x"[..]));
    }

    #[test]
    fn the_longest_frame_passes() {
        let bytes = [header(4 << 20, 7), vec![1; MAX_PAYLOAD], TWO.to_vec()].concat();
        let found = decode(&bytes, 65_536);
        let Incoming::Frame(first) = &found[0] else {
            panic!("{:?}", found[0]);
        };
        assert_eq!((first.stream, first.payload.len()), (7, MAX_PAYLOAD));
        assert_eq!(found[1..], two());
    }

    #[test]
    fn oversize_is_skipped_whatever_the_cuts() {
        let length = (4 << 20) + 1;
        let bytes = [header(length, 9), vec![1; length as usize], TWO.to_vec()].concat();
        let wanted: Vec<_> = [Incoming::Oversize {
            stream: 9,
            kind: Some(Kind::Request),
            length,
        }]
        .into_iter()
        .chain(two())
        .collect();
        for size in [10, 4093, 65_536, bytes.len()] {
            assert_eq!(decode(&bytes, size), wanted, "in pieces of {size}");
        }
    }

    #[test]
    fn memory_follows_what_came() {
        let mut decoder = Decoder::default();
        // Announced, but nothing of it is there.
        decoder.push(&header(4 << 20, 1));
        assert_eq!(decoder.next(), None);
        assert!(decoder.buffer.capacity() <= KEPT_CAPACITY);
        let piece = vec![0; 65_536];
        for _ in 0..64 {
            decoder.push(&piece);
        }
        assert_eq!(drain(&mut decoder).len(), 1);
        assert!(decoder.buffer.capacity() <= KEPT_CAPACITY);
        // The longest that can be announced: none of it is kept.
        decoder.push(&header(u32::MAX, 3));
        assert_eq!(drain(&mut decoder).len(), 1);
        for _ in 0..256 {
            decoder.push(&piece);
            assert_eq!(decoder.next(), None);
        }
        assert!(decoder.buffer.capacity() <= KEPT_CAPACITY);
        assert!(!is_between_frames(&decoder));
    }
}
