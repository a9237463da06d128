//! What is published, and the call that publishes it.

use super::google::{Any, Timestamp};
use super::types::Mount;
use super::{Named, named};
use prost::Message;

/// The service of containerd that takes events, on its ttrpc socket.
pub const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";
/// Its method; the answer is empty.
pub const FORWARD: &str = "Forward";

/// An event with the topic that it is published under.
pub trait Event: Named {
    const TOPIC: &'static str;
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ForwardRequest {
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<Envelope>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub topic: String,
    #[prost(message, optional, tag = "4")]
    pub event: Option<Any>,
}

impl Envelope {
    /// An event on its way.
    pub fn of<E: Event>(event: &E, namespace: &str, timestamp: Timestamp) -> Envelope {
        Envelope {
            timestamp: Some(timestamp),
            namespace: namespace.to_string(),
            topic: E::TOPIC.to_string(),
            event: Some(Any::of(event)),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskCreate {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub bundle: String,
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    #[prost(message, optional, tag = "4")]
    pub io: Option<TaskIo>,
    #[prost(string, tag = "5")]
    pub checkpoint: String,
    #[prost(uint32, tag = "6")]
    pub pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskIo {
    #[prost(string, tag = "1")]
    pub stdin: String,
    #[prost(string, tag = "2")]
    pub stdout: String,
    #[prost(string, tag = "3")]
    pub stderr: String,
    #[prost(bool, tag = "4")]
    pub terminal: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskStart {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskExit {
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// The exec's id; of the init the container's.
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    #[prost(uint32, tag = "4")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "5")]
    pub exited_at: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskDelete {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    #[prost(uint32, tag = "3")]
    pub exit_status: u32,
    #[prost(message, optional, tag = "4")]
    pub exited_at: Option<Timestamp>,
    /// The exec's id. Empty is the whole container to those who listen.
    #[prost(string, tag = "5")]
    pub id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskOom {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskExecAdded {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskExecStarted {
    #[prost(string, tag = "1")]
    pub container_id: String,
    #[prost(string, tag = "2")]
    pub exec_id: String,
    #[prost(uint32, tag = "3")]
    pub pid: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskPaused {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct TaskResumed {
    #[prost(string, tag = "1")]
    pub container_id: String,
}

named! {
    TaskCreate = "containerd.events.TaskCreate",
    TaskStart = "containerd.events.TaskStart",
    TaskExit = "containerd.events.TaskExit",
    TaskDelete = "containerd.events.TaskDelete",
    TaskOom = "containerd.events.TaskOOM",
    TaskExecAdded = "containerd.events.TaskExecAdded",
    TaskExecStarted = "containerd.events.TaskExecStarted",
    TaskPaused = "containerd.events.TaskPaused",
    TaskResumed = "containerd.events.TaskResumed",
}

macro_rules! topics {
    ($($event:ty = $topic:literal),+ $(,)?) => {
        $(impl Event for $event {
            const TOPIC: &'static str = $topic;
        })+
    };
}

topics! {
    TaskCreate = "/tasks/create",
    TaskStart = "/tasks/start",
    TaskExit = "/tasks/exit",
    TaskDelete = "/tasks/delete",
    TaskOom = "/tasks/oom",
    TaskExecAdded = "/tasks/exec-added",
    TaskExecStarted = "/tasks/exec-started",
    TaskPaused = "/tasks/paused",
    TaskResumed = "/tasks/resumed",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wire::{number, same, text};

    const AT: Timestamp = Timestamp { seconds: 3, nanos: 4 };
    const AT_BYTES: &[u8] = b"\x08\x03\x10\x04";

    #[test]
    fn an_event_travels_with_its_name_and_topic() {
        let event = TaskOom {
            container_id: "c".into(),
        };
        let request = ForwardRequest {
            envelope: Some(Envelope::of(&event, "moby", AT)),
        };
        let packed = [text(1, "containerd.events.TaskOOM"), text(2, b"\x0a\x01c")].concat();
        let envelope = [
            text(1, AT_BYTES),
            text(2, "moby"),
            text(3, "/tasks/oom"),
            text(4, packed),
        ]
        .concat();
        same(&request, &[text(1, envelope)]);
    }

    #[test]
    fn create() {
        let event = TaskCreate {
            container_id: "c".into(),
            bundle: "b".into(),
            rootfs: vec![Mount::default()],
            io: Some(TaskIo {
                stdin: "0".into(),
                stdout: "1".into(),
                stderr: "2".into(),
                terminal: true,
            }),
            checkpoint: "k".into(),
            pid: 7,
        };
        let io = [text(1, "0"), text(2, "1"), text(3, "2"), number(4, 1)].concat();
        same(
            &event,
            &[
                text(1, "c"),
                text(2, "b"),
                text(3, ""),
                text(4, io),
                text(5, "k"),
                number(6, 7),
            ],
        );
    }

    #[test]
    fn exit_and_delete_number_their_fields_differently() {
        let exit = TaskExit {
            container_id: "c".into(),
            id: "e".into(),
            pid: 7,
            exit_status: 9,
            exited_at: Some(AT),
        };
        same(
            &exit,
            &[
                text(1, "c"),
                text(2, "e"),
                number(3, 7),
                number(4, 9),
                text(5, AT_BYTES),
            ],
        );
        let delete = TaskDelete {
            container_id: "c".into(),
            pid: 7,
            exit_status: 9,
            exited_at: Some(AT),
            id: "e".into(),
        };
        same(
            &delete,
            &[
                text(1, "c"),
                number(2, 7),
                number(3, 9),
                text(4, AT_BYTES),
                text(5, "e"),
            ],
        );
    }

    #[test]
    fn the_others() {
        let container_id = || "c".to_string();
        let start = TaskStart {
            container_id: container_id(),
            pid: 7,
        };
        same(&start, &[text(1, "c"), number(2, 7)]);
        let added = TaskExecAdded {
            container_id: container_id(),
            exec_id: "e".into(),
        };
        same(&added, &[text(1, "c"), text(2, "e")]);
        let started = TaskExecStarted {
            container_id: container_id(),
            exec_id: "e".into(),
            pid: 7,
        };
        same(&started, &[text(1, "c"), text(2, "e"), number(3, 7)]);
        let paused = TaskPaused {
            container_id: container_id(),
        };
        same(&paused, &[text(1, "c")]);
        let resumed = TaskResumed {
            container_id: container_id(),
        };
        same(&resumed, &[text(1, "c")]);
    }
}
