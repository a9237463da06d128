//! What is inside a frame of ttrpc: a request or a response.
//!
//! May not: know frames; they are in [`crate::ttrpc::frame`].

use super::google::Status;
use prost::Message;

/// The metadata key under which the namespace travels.
pub const NAMESPACE: &str = "containerd-namespace-ttrpc";

/// A call.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Request {
    /// `containerd.task.v2.Task`.
    #[prost(string, tag = "1")]
    pub service: String,
    /// `Create`.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The request's message.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// How long the caller waits; zero is forever.
    #[prost(int64, tag = "4")]
    pub timeout_nano: i64,
    #[prost(message, repeated, tag = "5")]
    pub metadata: Vec<KeyValue>,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Response {
    /// Absent, or with code zero, when the call succeeded.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The response's message.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// One entry of the metadata; a key with several values is several entries.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    #[test]
    fn request() {
        let request = Request {
            service: "s".into(),
            method: "m".into(),
            payload: vec![1, 2],
            timeout_nano: 9,
            metadata: vec![KeyValue {
                key: NAMESPACE.into(),
                value: "k8s.io".into(),
            }],
        };
        let entry = [text(1, NAMESPACE), text(2, "k8s.io")].concat();
        same(
            &request,
            &[
                text(1, "s"),
                text(2, "m"),
                text(3, [1, 2]),
                number(4, 9),
                text(5, entry),
            ],
        );
    }

    #[test]
    fn response() {
        let failed = Response {
            status: Some(Status {
                code: 12,
                message: "no".into(),
                details: Vec::new(),
            }),
            payload: Vec::new(),
        };
        same(&failed, &[text(1, b"\x08\x0c\x12\x02no")]);
        let answered = Response {
            status: None,
            payload: vec![7],
        };
        same(&answered, &[text(2, [7])]);
    }
}
