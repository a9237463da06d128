//! The messages of containerd, as Rust structs with the field numbers of its interface.
//!
//! ```text
//! google      Any, Timestamp, Status
//! ttrpc       the envelope of a call
//! task        the Task service, versions 2 and 3 (only the package name differs)
//! types       what several messages contain; RuntimeInfo
//! events      what is published
//! options     how the caller wants its runtime to be called
//! bootstrap   stdin and stdout of `start` since containerd 2.3
//! metrics     Stats
//! ```
//!
//! May not: do anything. No defaults of ours, no I/O; a field that a caller left out has the zero value of proto3.
//! Unknown fields are skipped, so newer callers are understood. Written by hand: generated code would need protoc at
//! build time and would bring messages that nobody sends here.

pub mod bootstrap;
pub mod events;
pub mod google;
pub mod metrics;
pub mod options;
pub mod task;
pub mod ttrpc;
pub mod types;

/// A message that travels inside an [`google::Any`].
pub trait Named: prost::Message + Default {
    /// Its full name. containerd writes the bare name, without `type.googleapis.com/`.
    const TYPE_URL: &'static str;
}

macro_rules! named {
    ($($message:ty = $url:literal),+ $(,)?) => {
        $(impl crate::proto::Named for $message {
            const TYPE_URL: &'static str = $url;
        })+
    };
}
use named;

/// Wire bytes for tests, written down piece by piece.
#[cfg(test)]
pub mod wire {
    /// The key of a field: number and wire type (0 varint, 1 fixed64, 2 length-delimited).
    pub fn key(field: u8, kind: u8) -> Vec<u8> {
        let value = u32::from(field) << 3 | u32::from(kind);
        match value {
            0..=0x7f => vec![value as u8],
            _ => vec![value as u8 | 0x80, (value >> 7) as u8],
        }
    }

    /// A length-delimited field, shorter than 128 bytes.
    pub fn text(field: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
        let value = value.as_ref();
        assert!(value.len() < 0x80);
        [key(field, 2), vec![value.len() as u8], value.to_vec()].concat()
    }

    /// A varint field, smaller than 128.
    pub fn number(field: u8, value: u8) -> Vec<u8> {
        assert!(value < 0x80);
        [key(field, 0), vec![value]].concat()
    }

    /// What a message must look like, and that it is read back.
    pub fn same<M: prost::Message + Default + PartialEq + std::fmt::Debug>(message: &M, parts: &[Vec<u8>]) {
        let wanted = parts.concat();
        assert_eq!(message.encode_to_vec(), wanted, "encoding of {message:?}");
        assert_eq!(&M::decode(wanted.as_slice()).unwrap(), message);
    }
}
