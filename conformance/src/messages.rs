//! The messages of containerd's shim protocol: names and field numbers are facts of its interface.
//!
//! May not: send or judge anything, or share a line with the crate that is judged: a wrong number there must not be
//! a wrong number here as well.

use prost::Message;

/// Writes a message type: `Name { field: kind = number }`.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $name { $($(#[$attr])* pub $field: $kind,)* }
    };
}

message!(
    /// google.protobuf.Any
    Any {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(bytes = "vec", tag = "2")] value: Vec<u8>,
    }
);
message!(
    /// google.protobuf.Timestamp
    Timestamp {
        #[prost(int64, tag = "1")] seconds: i64,
        #[prost(int32, tag = "2")] nanos: i32,
    }
);
message!(
    /// google.protobuf.Empty
    Empty {}
);
message!(
    /// google.rpc.Status, without its details
    Status {
        #[prost(int32, tag = "1")] code: i32,
        #[prost(string, tag = "2")] message: String,
    }
);
message!(
    /// ttrpc.Request
    Request {
        #[prost(string, tag = "1")] service: String,
        #[prost(string, tag = "2")] method: String,
        #[prost(bytes = "vec", tag = "3")] payload: Vec<u8>,
        #[prost(int64, tag = "4")] timeout_nano: i64,
        #[prost(message, repeated, tag = "5")] metadata: Vec<KeyValue>,
    }
);
message!(
    /// ttrpc.KeyValue
    KeyValue {
        #[prost(string, tag = "1")] key: String,
        #[prost(string, tag = "2")] value: String,
    }
);
message!(
    /// ttrpc.Response
    Response {
        #[prost(message, optional, tag = "1")] status: Option<Status>,
        #[prost(bytes = "vec", tag = "2")] payload: Vec<u8>,
    }
);
message!(
    /// containerd.types.Mount
    Mount {
        #[prost(string, tag = "1")] r#type: String,
        #[prost(string, tag = "2")] source: String,
        #[prost(string, tag = "3")] target: String,
        #[prost(string, repeated, tag = "4")] options: Vec<String>,
    }
);

// containerd.task.v2 and v3: the two differ in the name of the package only.

message!(CreateRequest {
    #[prost(string, tag = "1")] id: String,
    #[prost(string, tag = "2")] bundle: String,
    #[prost(message, repeated, tag = "3")] rootfs: Vec<Mount>,
    #[prost(bool, tag = "4")] terminal: bool,
    #[prost(string, tag = "5")] stdin: String,
    #[prost(string, tag = "6")] stdout: String,
    #[prost(string, tag = "7")] stderr: String,
    #[prost(string, tag = "8")] checkpoint: String,
    #[prost(string, tag = "9")] parent_checkpoint: String,
    #[prost(message, optional, tag = "10")] options: Option<Any>,
});
message!(
    /// What Create and Start answer.
    PidResponse {
        #[prost(uint32, tag = "1")] pid: u32,
    }
);
message!(
    /// The request of every call that names a container and perhaps an exec: State, Start, Delete, Wait, and by
    /// the first field alone Pids, Pause, Resume, Stats, Connect.
    Target {
        #[prost(string, tag = "1")] id: String,
        #[prost(string, tag = "2")] exec_id: String,
    }
);
message!(DeleteResponse {
    #[prost(uint32, tag = "1")] pid: u32,
    #[prost(uint32, tag = "2")] exit_status: u32,
    #[prost(message, optional, tag = "3")] exited_at: Option<Timestamp>,
});
message!(ExecRequest {
    #[prost(string, tag = "1")] id: String,
    #[prost(string, tag = "2")] exec_id: String,
    #[prost(bool, tag = "3")] terminal: bool,
    #[prost(string, tag = "4")] stdin: String,
    #[prost(string, tag = "5")] stdout: String,
    #[prost(string, tag = "6")] stderr: String,
    #[prost(message, optional, tag = "7")] spec: Option<Any>,
});
message!(ResizeRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    width: u32,
    #[prost(uint32, tag = "4")]
    height: u32,
});
message!(StateResponse {
    #[prost(string, tag = "1")] id: String,
    #[prost(string, tag = "2")] bundle: String,
    #[prost(uint32, tag = "3")] pid: u32,
    #[prost(int32, tag = "4")] status: i32,
    #[prost(string, tag = "5")] stdin: String,
    #[prost(string, tag = "6")] stdout: String,
    #[prost(string, tag = "7")] stderr: String,
    #[prost(bool, tag = "8")] terminal: bool,
    #[prost(uint32, tag = "9")] exit_status: u32,
    #[prost(message, optional, tag = "10")] exited_at: Option<Timestamp>,
    #[prost(string, tag = "11")] exec_id: String,
});
message!(KillRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    signal: u32,
    #[prost(bool, tag = "4")]
    all: bool,
});
message!(CloseIoRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(bool, tag = "3")]
    stdin: bool,
});
message!(ProcessInfo {
    #[prost(uint32, tag = "1")] pid: u32,
    #[prost(message, optional, tag = "2")] info: Option<Any>,
});
message!(PidsResponse {
    #[prost(message, repeated, tag = "1")] processes: Vec<ProcessInfo>,
});
message!(CheckpointRequest {
    #[prost(string, tag = "1")] id: String,
    #[prost(string, tag = "2")] path: String,
    #[prost(message, optional, tag = "3")] options: Option<Any>,
});
message!(UpdateRequest {
    #[prost(string, tag = "1")] id: String,
    #[prost(message, optional, tag = "2")] resources: Option<Any>,
});
message!(WaitResponse {
    #[prost(uint32, tag = "1")] exit_status: u32,
    #[prost(message, optional, tag = "2")] exited_at: Option<Timestamp>,
});
message!(StatsResponse {
    #[prost(message, optional, tag = "1")] stats: Option<Any>,
});
message!(ConnectResponse {
    #[prost(uint32, tag = "1")]
    shim_pid: u32,
    #[prost(uint32, tag = "2")]
    task_pid: u32,
    #[prost(string, tag = "3")]
    version: String,
});
message!(ShutdownRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bool, tag = "2")]
    now: bool,
});

/// containerd.v1.types.Status
pub mod status {
    pub const CREATED: i32 = 1;
    pub const RUNNING: i32 = 2;
    pub const STOPPED: i32 = 3;
    pub const PAUSED: i32 = 4;
}

/// The numbers of gRPC that ttrpc uses.
pub mod code {
    pub const NOT_FOUND: i32 = 5;
    pub const ALREADY_EXISTS: i32 = 6;
    pub const FAILED_PRECONDITION: i32 = 9;
    pub const UNIMPLEMENTED: i32 = 12;
}

message!(
    /// containerd.runc.v1.Options
    RuncOptions {
        #[prost(bool, tag = "1")] no_pivot_root: bool,
        #[prost(bool, tag = "2")] no_new_keyring: bool,
        #[prost(string, tag = "3")] shim_cgroup: String,
        #[prost(uint32, tag = "4")] io_uid: u32,
        #[prost(uint32, tag = "5")] io_gid: u32,
        #[prost(string, tag = "6")] binary_name: String,
        #[prost(string, tag = "7")] root: String,
        #[prost(bool, tag = "9")] systemd_cgroup: bool,
    }
);
message!(
    /// runtimeoptions.v1.Options
    GenericOptions {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(string, tag = "2")] config_path: String,
        #[prost(bytes = "vec", tag = "3")] config_body: Vec<u8>,
    }
);
message!(
    /// containerd.runc.v1.ProcessDetails
    ProcessDetails {
        #[prost(string, tag = "1")] exec_id: String,
    }
);
message!(
    /// containerd.runtime.bootstrap.v1.BootstrapParams
    BootstrapParams {
        #[prost(string, tag = "1")] instance_id: String,
        #[prost(string, tag = "2")] namespace: String,
        #[prost(int32, tag = "3")] log_level: i32,
        #[prost(string, tag = "4")] containerd_version: String,
        #[prost(string, tag = "5")] containerd_ttrpc_address: String,
        #[prost(string, tag = "6")] containerd_grpc_address: String,
        #[prost(string, tag = "7")] containerd_binary: String,
        #[prost(message, repeated, tag = "8")] extensions: Vec<Extension>,
        #[prost(string, optional, tag = "9")] socket_dir: Option<String>,
    }
);
message!(Extension {
    #[prost(message, optional, tag = "1")] value: Option<Any>,
});
message!(
    /// containerd.runtime.bootstrap.v1.BootstrapResult
    BootstrapResult {
        #[prost(int32, tag = "1")]
        version: i32,
        #[prost(string, tag = "2")]
        address: String,
        #[prost(string, tag = "3")]
        protocol: String,
    }
);
message!(
    /// containerd.types.RuntimeInfo, without its annotations
    RuntimeInfo {
        #[prost(string, tag = "1")] name: String,
        #[prost(message, optional, tag = "2")] version: Option<RuntimeVersion>,
        #[prost(message, optional, tag = "3")] options: Option<Any>,
        #[prost(message, optional, tag = "4")] features: Option<Any>,
    }
);
message!(RuntimeVersion {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    revision: String,
});

// The metrics of containerd/cgroups, of each only what is looked at.

message!(
    /// io.containerd.cgroups.v1.Metrics
    MetricsV1 {
        #[prost(message, optional, tag = "2")]
        pids: Option<Pids>,
        #[prost(message, optional, tag = "3")]
        cpu: Option<CpuV1>,
        #[prost(message, optional, tag = "4")]
        memory: Option<MemoryV1>,
        #[prost(message, optional, tag = "9")]
        oom_control: Option<OomControl>,
    }
);
message!(Pids {
    #[prost(uint64, tag = "1")]
    current: u64,
    #[prost(uint64, tag = "2")]
    limit: u64,
});
message!(CpuV1 {
    #[prost(message, optional, tag = "1")]
    usage: Option<CpuUsage>,
});
message!(CpuUsage {
    #[prost(uint64, tag = "1")]
    total: u64,
});
message!(MemoryV1 {
    #[prost(message, optional, tag = "33")]
    usage: Option<MemoryEntry>,
});
message!(MemoryEntry {
    #[prost(uint64, tag = "1")]
    limit: u64,
    #[prost(uint64, tag = "2")]
    usage: u64,
});
message!(OomControl {
    #[prost(uint64, tag = "3")]
    kills: u64,
});
message!(
    /// io.containerd.cgroups.v2.Metrics
    MetricsV2 {
        #[prost(message, optional, tag = "1")]
        pids: Option<Pids>,
        #[prost(message, optional, tag = "2")]
        cpu: Option<CpuV2>,
        #[prost(message, optional, tag = "4")]
        memory: Option<MemoryV2>,
        #[prost(message, optional, tag = "8")]
        events: Option<MemoryEvents>,
    }
);
message!(CpuV2 {
    #[prost(uint64, tag = "1")]
    usage: u64,
});
message!(MemoryV2 {
    #[prost(uint64, tag = "32")]
    usage: u64,
    #[prost(uint64, tag = "33")]
    limit: u64,
});
message!(MemoryEvents {
    #[prost(uint64, tag = "4")]
    oom: u64,
    #[prost(uint64, tag = "5")]
    kills: u64,
});

// Events, as they arrive at containerd.

message!(ForwardRequest {
    #[prost(message, optional, tag = "1")] envelope: Option<Envelope>,
});
message!(Envelope {
    #[prost(message, optional, tag = "1")] timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")] namespace: String,
    #[prost(string, tag = "3")] topic: String,
    #[prost(message, optional, tag = "4")] event: Option<Any>,
});
message!(TaskIo {
    #[prost(string, tag = "1")]
    stdin: String,
    #[prost(string, tag = "2")]
    stdout: String,
    #[prost(string, tag = "3")]
    stderr: String,
    #[prost(bool, tag = "4")]
    terminal: bool,
});
message!(TaskCreate {
    #[prost(string, tag = "1")] container_id: String,
    #[prost(string, tag = "2")] bundle: String,
    #[prost(message, repeated, tag = "3")] rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")] io: Option<TaskIo>,
    #[prost(string, tag = "5")] checkpoint: String,
    #[prost(uint32, tag = "6")] pid: u32,
});
message!(TaskStart {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(uint32, tag = "2")]
    pid: u32,
});
message!(TaskDelete {
    #[prost(string, tag = "1")] container_id: String,
    #[prost(uint32, tag = "2")] pid: u32,
    #[prost(uint32, tag = "3")] exit_status: u32,
    #[prost(message, optional, tag = "4")] exited_at: Option<Timestamp>,
    #[prost(string, tag = "5")] id: String,
});
message!(TaskExit {
    #[prost(string, tag = "1")] container_id: String,
    #[prost(string, tag = "2")] id: String,
    #[prost(uint32, tag = "3")] pid: u32,
    #[prost(uint32, tag = "4")] exit_status: u32,
    #[prost(message, optional, tag = "5")] exited_at: Option<Timestamp>,
});
message!(TaskExecAdded {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
});
message!(TaskExecStarted {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    exec_id: String,
    #[prost(uint32, tag = "3")]
    pid: u32,
});
message!(
    /// TaskOOM, TaskPaused, TaskResumed, and the beginning of every other event of a task.
    TaskNamed {
        #[prost(string, tag = "1")] container_id: String,
    }
);

/// A message in its wrapper.
#[must_use]
pub fn wrap(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

/// JSON in its wrapper, as specifications and resources travel.
#[must_use]
pub fn wrap_json(kind: &str, value: &serde_json::Value) -> Any {
    Any {
        type_url: format!("types.containerd.io/opencontainers/runtime-spec/1/{kind}"),
        value: value.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_those_on_the_wire() {
        let exec = ExecRequest {
            id: "c".into(),
            exec_id: "e".into(),
            terminal: true,
            spec: Some(Any {
                type_url: "t".into(),
                value: b"{}".to_vec(),
            }),
            ..Default::default()
        };
        assert_eq!(
            exec.encode_to_vec(),
            b"\x0a\x01c\x12\x01e\x18\x01\x3a\x07\x0a\x01t\x12\x02{}"
        );
        let exit = TaskExit::decode(&b"\x0a\x01c\x12\x01c\x18\x07\x20\x89\x01\x2a\x02\x08\x05"[..]).unwrap();
        assert_eq!((exit.pid, exit.exit_status), (7, 137));
        assert_eq!(exit.exited_at.unwrap().seconds, 5);
    }
}
