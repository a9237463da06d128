//! What several messages contain, and what `-info` answers.

use super::google::Any;
use prost::Message;
use std::collections::BTreeMap;

/// Types whose value is JSON of the runtime specification, by the names that containerd gave them.
pub mod json {
    /// What the runtime's verb `features` prints.
    pub const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
}

/// One mount of a root filesystem.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// `type` of the interface.
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    /// A directory below the root filesystem; mostly empty.
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// One process of a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessInfo {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// `ProcessDetails`, when the shim started it.
    #[prost(message, optional, tag = "2")]
    pub info: Option<Any>,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Status {
    Unknown = 0,
    Created = 1,
    Running = 2,
    Stopped = 3,
    Paused = 4,
    Pausing = 5,
}

/// The answer to `-info`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub version: Option<RuntimeVersion>,
    /// What the caller sent, sent back.
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
    /// JSON under the name [`json::FEATURES`].
    #[prost(message, optional, tag = "4")]
    pub features: Option<Any>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: BTreeMap<String, String>,
}

/// The version of the shim.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeVersion {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub revision: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    #[test]
    fn mount() {
        let mount = Mount {
            kind: "overlay".into(),
            source: "o".into(),
            target: "t".into(),
            options: vec!["ro".into(), "lowerdir=/l".into()],
        };
        same(
            &mount,
            &[
                text(1, "overlay"),
                text(2, "o"),
                text(3, "t"),
                text(4, "ro"),
                text(4, "lowerdir=/l"),
            ],
        );
    }

    #[test]
    fn process_info() {
        let info = ProcessInfo {
            pid: 7,
            info: Some(Any::default()),
        };
        same(&info, &[number(1, 7), text(2, "")]);
    }

    #[test]
    fn runtime_info() {
        let info = RuntimeInfo {
            name: "n".into(),
            version: Some(RuntimeVersion {
                version: "1".into(),
                revision: "r".into(),
            }),
            options: Some(Any::default()),
            features: Some(Any {
                type_url: "u".into(),
                value: b"{}".to_vec(),
            }),
            annotations: [("a".to_string(), "b".to_string())].into(),
        };
        same(
            &info,
            &[
                text(1, "n"),
                text(2, b"\x0a\x011\x12\x01r"),
                text(3, ""),
                text(4, b"\x0a\x01u\x12\x02{}"),
                text(5, b"\x0a\x01a\x12\x01b"),
            ],
        );
    }
}
