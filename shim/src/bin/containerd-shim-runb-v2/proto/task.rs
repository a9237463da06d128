//! The Task service. Versions 2 and 3 have the same methods and messages under two package names.
//!
//! Messages that consist of the same fields are one type.

use super::google::{Any, Timestamp};
use super::types::{Mount, ProcessInfo, Status};
use prost::Message;
use std::collections::BTreeMap;

/// Version 2: all that containerd 1.x and CRI-O know, and what a plain address means to 2.x.
pub const SERVICE_V2: &str = "containerd.task.v2.Task";
/// Version 3: containerd 2.0 and later, when the shim says so.
pub const SERVICE_V3: &str = "containerd.task.v3.Task";

/// A call about a container.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerRequest {
    #[prost(string, tag = "1")]
    pub id: String,
}

/// A call about a process: the init, when `exec_id` is empty.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// The pid of what was created or started.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct PidResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
    #[prost(string, tag = "5")]
    pub stdin: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(string, tag = "8")]
    pub checkpoint: String,
    #[prost(string, tag = "9")]
    pub parent_checkpoint: String,
    #[prost(message, optional, tag = "10")]
    pub options: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StateResponse {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(enumeration = "Status", tag = "4")]
    pub status: i32,
    #[prost(string, tag = "5")]
    pub stdin: String,
    #[prost(string, tag = "6")]
    pub stdout: String,
    #[prost(string, tag = "7")]
    pub stderr: String,
    #[prost(bool, tag = "8")]
    pub terminal: bool,
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "10")]
    pub exited_at: Option<Timestamp>,
    #[prost(string, tag = "11")]
    pub exec_id: String,
}

/// Also what the command `delete` prints.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct DeleteResponse {
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    #[prost(uint32, tag = "2")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "3")]
    pub exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct PidsResponse {
    #[prost(message, repeated, tag = "1")]
    pub processes: Vec<ProcessInfo>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CheckpointTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub path: String,
    /// `CheckpointOptions`.
    #[prost(message, optional, tag = "3")]
    pub options: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    #[prost(bool, tag = "4")]
    pub all: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecProcessRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(bool, tag = "3")]
    pub terminal: bool,
    #[prost(string, tag = "4")]
    pub stdin: String,
    #[prost(string, tag = "5")]
    pub stdout: String,
    #[prost(string, tag = "6")]
    pub stderr: String,
    /// JSON of a `Process`.
    #[prost(message, optional, tag = "7")]
    pub spec: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ResizePtyRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub width: u32,
    #[prost(uint32, tag = "4")]
    pub height: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CloseIoRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(bool, tag = "3")]
    pub stdin: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateTaskRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    /// JSON of `LinuxResources`.
    #[prost(message, optional, tag = "2")]
    pub resources: Option<Any>,
    #[prost(btree_map = "string, string", tag = "3")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct WaitResponse {
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "2")]
    pub exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatsResponse {
    /// One of the two `Metrics`.
    #[prost(message, optional, tag = "1")]
    pub stats: Option<Any>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConnectResponse {
    #[prost(uint32, tag = "1")]
    pub shim_pid: u32,
    #[prost(uint32, tag = "2")]
    pub task_pid: u32,
    #[prost(string, tag = "3")]
    pub version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ShutdownRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(bool, tag = "2")]
    pub now: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    const AT: Option<Timestamp> = Some(Timestamp { seconds: 3, nanos: 4 });
    const AT_BYTES: &[u8] = b"\x08\x03\x10\x04";

    fn any() -> Option<Any> {
        Some(Any {
            type_url: "u".into(),
            value: b"v".to_vec(),
        })
    }
    const ANY_BYTES: &[u8] = b"\x0a\x01u\x12\x01v";

    #[test]
    fn create() {
        let request = CreateTaskRequest {
            id: "i".into(),
            bundle: "b".into(),
            rootfs: vec![Mount {
                kind: "bind".into(),
                ..Mount::default()
            }],
            terminal: true,
            stdin: "0".into(),
            stdout: "1".into(),
            stderr: "2".into(),
            checkpoint: "c".into(),
            parent_checkpoint: "p".into(),
            options: any(),
        };
        same(
            &request,
            &[
                text(1, "i"),
                text(2, "b"),
                text(3, b"\x0a\x04bind"),
                number(4, 1),
                text(5, "0"),
                text(6, "1"),
                text(7, "2"),
                text(8, "c"),
                text(9, "p"),
                text(10, ANY_BYTES),
            ],
        );
    }

    #[test]
    fn calls_about_containers_and_processes() {
        same(&ContainerRequest { id: "i".into() }, &[text(1, "i")]);
        let process = ProcessRequest {
            id: "i".into(),
            exec_id: "e".into(),
        };
        same(&process, &[text(1, "i"), text(2, "e")]);
        same(&PidResponse { pid: 300 }, &[b"\x08\xac\x02".to_vec()]);
    }

    #[test]
    fn state() {
        let response = StateResponse {
            id: "i".into(),
            bundle: "b".into(),
            pid: 5,
            status: Status::Stopped.into(),
            stdin: "0".into(),
            stdout: "1".into(),
            stderr: "2".into(),
            terminal: true,
            exit_status: 9,
            exited_at: AT,
            exec_id: "e".into(),
        };
        same(
            &response,
            &[
                text(1, "i"),
                text(2, "b"),
                number(3, 5),
                number(4, 3),
                text(5, "0"),
                text(6, "1"),
                text(7, "2"),
                number(8, 1),
                number(9, 9),
                text(10, AT_BYTES),
                text(11, "e"),
            ],
        );
    }

    #[test]
    fn ends() {
        let deleted = DeleteResponse {
            pid: 5,
            exit_status: 9,
            exited_at: AT,
        };
        same(&deleted, &[number(1, 5), number(2, 9), text(3, AT_BYTES)]);
        let waited = WaitResponse {
            exit_status: 9,
            exited_at: AT,
        };
        same(&waited, &[number(1, 9), text(2, AT_BYTES)]);
        let shutdown = ShutdownRequest {
            id: "i".into(),
            now: true,
        };
        same(&shutdown, &[text(1, "i"), number(2, 1)]);
    }

    #[test]
    fn exec() {
        let request = ExecProcessRequest {
            id: "i".into(),
            exec_id: "e".into(),
            terminal: true,
            stdin: "0".into(),
            stdout: "1".into(),
            stderr: "2".into(),
            spec: any(),
        };
        same(
            &request,
            &[
                text(1, "i"),
                text(2, "e"),
                number(3, 1),
                text(4, "0"),
                text(5, "1"),
                text(6, "2"),
                text(7, ANY_BYTES),
            ],
        );
    }

    #[test]
    fn what_is_done_to_a_process() {
        let kill = KillRequest {
            id: "i".into(),
            exec_id: "e".into(),
            signal: 9,
            all: true,
        };
        same(&kill, &[text(1, "i"), text(2, "e"), number(3, 9), number(4, 1)]);
        let resize = ResizePtyRequest {
            id: "i".into(),
            exec_id: "e".into(),
            width: 80,
            height: 24,
        };
        same(
            &resize,
            &[text(1, "i"), text(2, "e"), number(3, 80), number(4, 24)],
        );
        let close = CloseIoRequest {
            id: "i".into(),
            exec_id: "e".into(),
            stdin: true,
        };
        same(&close, &[text(1, "i"), text(2, "e"), number(3, 1)]);
    }

    #[test]
    fn what_is_done_to_a_container() {
        let checkpoint = CheckpointTaskRequest {
            id: "i".into(),
            path: "p".into(),
            options: any(),
        };
        same(&checkpoint, &[text(1, "i"), text(2, "p"), text(3, ANY_BYTES)]);
        let update = UpdateTaskRequest {
            id: "i".into(),
            resources: any(),
            annotations: [("k".to_string(), "v".to_string())].into(),
        };
        same(
            &update,
            &[text(1, "i"), text(2, ANY_BYTES), text(3, b"\x0a\x01k\x12\x01v")],
        );
    }

    #[test]
    fn what_is_asked() {
        let pids = PidsResponse {
            processes: vec![
                ProcessInfo { pid: 1, info: None },
                ProcessInfo { pid: 2, info: any() },
            ],
        };
        let second = [number(1, 2), text(2, ANY_BYTES)].concat();
        same(&pids, &[text(1, b"\x08\x01"), text(1, second)]);
        same(&StatsResponse { stats: any() }, &[text(1, ANY_BYTES)]);
        let connect = ConnectResponse {
            shim_pid: 1,
            task_pid: 2,
            version: "v".into(),
        };
        same(&connect, &[number(1, 1), number(2, 2), text(3, "v")]);
    }

    #[test]
    fn fields_of_newer_callers_are_skipped() {
        let bytes = [text(1, "i"), number(19, 1), text(18, "x")].concat();
        assert_eq!(
            ContainerRequest::decode(bytes.as_slice()).unwrap(),
            ContainerRequest { id: "i".into() }
        );
    }
}
