//! How the caller wants its runtime to be called, as it travels. Finding it in what a caller sent is the business of
//! [`crate::options`].

use super::named;
use prost::Message;
use serde::{Deserialize, Serialize};

/// `containerd.runc.v1.Options`. As JSON it is the bundle's `options.json`: snake case, zero values left out, as Go writes
/// the same message.
#[derive(Clone, PartialEq, Eq, Message, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    #[prost(bool, tag = "1")]
    #[serde(skip_serializing_if = "is_zero")]
    pub no_pivot_root: bool,
    #[prost(bool, tag = "2")]
    #[serde(skip_serializing_if = "is_zero")]
    pub no_new_keyring: bool,
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_zero")]
    pub shim_cgroup: String,
    #[prost(uint32, tag = "4")]
    #[serde(skip_serializing_if = "is_zero")]
    pub io_uid: u32,
    #[prost(uint32, tag = "5")]
    #[serde(skip_serializing_if = "is_zero")]
    pub io_gid: u32,
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "is_zero")]
    pub binary_name: String,
    #[prost(string, tag = "7")]
    #[serde(skip_serializing_if = "is_zero")]
    pub root: String,
    /// Until containerd 1.7; reserved since.
    #[prost(string, tag = "8")]
    #[serde(skip_serializing_if = "is_zero")]
    pub criu_path: String,
    #[prost(bool, tag = "9")]
    #[serde(skip_serializing_if = "is_zero")]
    pub systemd_cgroup: bool,
    #[prost(string, tag = "10")]
    #[serde(skip_serializing_if = "is_zero")]
    pub criu_image_path: String,
    #[prost(string, tag = "11")]
    #[serde(skip_serializing_if = "is_zero")]
    pub criu_work_path: String,
    /// Deprecated.
    #[prost(string, tag = "12")]
    #[serde(skip_serializing_if = "is_zero")]
    pub task_api_address: String,
    /// Deprecated.
    #[prost(uint32, tag = "13")]
    #[serde(skip_serializing_if = "is_zero")]
    pub task_api_version: u32,
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Of a checkpoint.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CheckpointOptions {
    #[prost(bool, tag = "1")]
    pub exit: bool,
    #[prost(bool, tag = "2")]
    pub open_tcp: bool,
    #[prost(bool, tag = "3")]
    pub external_unix_sockets: bool,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(bool, tag = "5")]
    pub file_locks: bool,
    #[prost(string, repeated, tag = "6")]
    pub empty_namespaces: Vec<String>,
    #[prost(string, tag = "7")]
    pub cgroups_mode: String,
    #[prost(string, tag = "8")]
    pub image_path: String,
    #[prost(string, tag = "9")]
    pub work_path: String,
    #[prost(string, tag = "10")]
    pub parent_path: String,
}

/// Which exec a pid belongs to.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessDetails {
    #[prost(string, tag = "1")]
    pub exec_id: String,
}

/// `runtimeoptions.v1.Options`: what every runtime type gets that is not `io.containerd.runc.v2`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RuntimeOptions {
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// A file of the user's.
    #[prost(string, tag = "2")]
    pub config_path: String,
    /// TOML: the table `options` of containerd's configuration, when no path is set.
    #[prost(bytes = "vec", tag = "3")]
    pub config_body: Vec<u8>,
}

named! {
    Options = "containerd.runc.v1.Options",
    CheckpointOptions = "containerd.runc.v1.CheckpointOptions",
    ProcessDetails = "containerd.runc.v1.ProcessDetails",
    RuntimeOptions = "runtimeoptions.v1.Options",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    #[test]
    fn options() {
        let options = Options {
            no_pivot_root: true,
            no_new_keyring: true,
            shim_cgroup: "/s".into(),
            io_uid: 1,
            io_gid: 2,
            binary_name: "runb".into(),
            root: "/r".into(),
            criu_path: "/c".into(),
            systemd_cgroup: true,
            criu_image_path: "/i".into(),
            criu_work_path: "/w".into(),
            task_api_address: "a".into(),
            task_api_version: 3,
        };
        same(
            &options,
            &[
                number(1, 1),
                number(2, 1),
                text(3, "/s"),
                number(4, 1),
                number(5, 2),
                text(6, "runb"),
                text(7, "/r"),
                text(8, "/c"),
                number(9, 1),
                text(10, "/i"),
                text(11, "/w"),
                text(12, "a"),
                number(13, 3),
            ],
        );
    }

    #[test]
    fn checkpoint_options() {
        let options = CheckpointOptions {
            exit: true,
            open_tcp: true,
            external_unix_sockets: true,
            terminal: true,
            file_locks: true,
            empty_namespaces: vec!["network".into()],
            cgroups_mode: "soft".into(),
            image_path: "i".into(),
            work_path: "w".into(),
            parent_path: "p".into(),
        };
        same(
            &options,
            &[
                number(1, 1),
                number(2, 1),
                number(3, 1),
                number(4, 1),
                number(5, 1),
                text(6, "network"),
                text(7, "soft"),
                text(8, "i"),
                text(9, "w"),
                text(10, "p"),
            ],
        );
    }

    #[test]
    fn runtime_options() {
        let options = RuntimeOptions {
            type_url: "t".into(),
            config_path: "/p".into(),
            config_body: b"A = 1".to_vec(),
        };
        same(&options, &[text(1, "t"), text(2, "/p"), text(3, "A = 1")]);
    }
}
