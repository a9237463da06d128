//! stdin and stdout of `start` since containerd 2.3.

use super::google::Any;
use prost::Message;
use std::collections::BTreeMap;

/// stdin.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BootstrapParams {
    /// The same as `-id`.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// The same as `-namespace`.
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(enumeration = "LogLevel", tag = "3")]
    pub log_level: i32,
    #[prost(string, tag = "4")]
    pub containerd_version: String,
    #[prost(string, tag = "5")]
    pub containerd_ttrpc_address: String,
    #[prost(string, tag = "6")]
    pub containerd_grpc_address: String,
    #[prost(string, tag = "7")]
    pub containerd_binary: String,
    /// The runtime's options are one of them.
    #[prost(message, repeated, tag = "8")]
    pub extensions: Vec<Extension>,
    #[prost(string, optional, tag = "9")]
    pub socket_dir: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Extension {
    #[prost(message, optional, tag = "1")]
    pub value: Option<Any>,
}

/// stdout.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct BootstrapResult {
    /// Of the Task service: 2 or 3.
    #[prost(int32, tag = "1")]
    pub version: i32,
    #[prost(string, tag = "2")]
    pub address: String,
    /// `ttrpc`.
    #[prost(string, tag = "3")]
    pub protocol: String,
    /// Numbers; so far there is only zero, for none.
    #[prost(int32, repeated, tag = "4")]
    pub capabilities: Vec<i32>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub metadata: BTreeMap<String, String>,
}

/// The scale of Go's slog: smaller is more talkative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum LogLevel {
    Info = 0,
    Trace = -8,
    Debug = -4,
    Warn = 4,
    Error = 8,
    Fatal = 10,
    Panic = 12,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    #[test]
    fn params() {
        let params = BootstrapParams {
            instance_id: "i".into(),
            namespace: "n".into(),
            log_level: LogLevel::Debug.into(),
            containerd_version: "2.3.0".into(),
            containerd_ttrpc_address: "/t".into(),
            containerd_grpc_address: "/g".into(),
            containerd_binary: "/b".into(),
            extensions: vec![Extension {
                value: Some(Any {
                    type_url: "u".into(),
                    value: Vec::new(),
                }),
            }],
            socket_dir: Some("/s".into()),
        };
        same(
            &params,
            &[
                text(1, "i"),
                text(2, "n"),
                // -4 as an enumeration: ten bytes.
                b"\x18\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(),
                text(4, "2.3.0"),
                text(5, "/t"),
                text(6, "/g"),
                text(7, "/b"),
                text(8, b"\x0a\x03\x0a\x01u"),
                text(9, "/s"),
            ],
        );
    }

    #[test]
    fn an_empty_socket_directory_is_not_an_absent_one() {
        let empty = BootstrapParams {
            socket_dir: Some(String::new()),
            ..BootstrapParams::default()
        };
        same(&empty, &[text(9, "")]);
        same(&BootstrapParams::default(), &[]);
    }

    #[test]
    fn result() {
        let result = BootstrapResult {
            version: 3,
            address: "unix:///a".into(),
            protocol: "ttrpc".into(),
            capabilities: vec![1, 2],
            metadata: [("k".to_string(), "v".to_string())].into(),
        };
        same(
            &result,
            &[
                number(1, 3),
                text(2, "unix:///a"),
                text(3, "ttrpc"),
                // Repeated numbers of proto3 are packed.
                text(4, [1, 2]),
                text(5, b"\x0a\x01k\x12\x01v"),
            ],
        );
    }
}
