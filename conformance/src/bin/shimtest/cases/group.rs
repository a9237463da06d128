//! Several containers in one shim, in the ways of both versions.

use conformance::messages::{self as m, code, status};
use serde_json::{Value, json};

use super::{Case, Done, case};
use crate::caller::{Call, Dialect};
use crate::scene::{Scene, V3, refused, same, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("group.annotation", |s| pair(s, "io.containerd.runc.v2.group")),
        case("group.of-a-pod", |s| pair(s, "io.kubernetes.cri.sandbox-id")),
        case("group.strangers-have-their-own", |s| {
            let (one, two) = (s.boot("one", "exec sleep 600")?, s.boot("two", "exec sleep 600")?);
            let pids = (one.task.shim_pid("one")?, two.task.shim_pid("two")?);
            same("they share a server", &(pids.0 == pids.1), &false)?;
            one.finish(s)?;
            two.finish(s)
        }),
        case("group.sandbox-of-version-3", |s| {
            // containerd 2 asks for a shim once, and makes the pod's other containers at the same address.
            let (pause, mut task) = sandbox(s)?;
            task.service = V3;
            let member = s.bundle("member", "exit 4", of_pod)?;
            let member = s.create(&task, member, |_| {})?;
            let connected = task.ask::<m::ConnectResponse>("Connect", "member", "")?;
            same("the member's pid", &connected.task_pid, &member.pid)?;
            pause.start()?;
            member.start()?;
            same("the exit status", &member.wait("")?, &4)?;
            member.delete("")?;
            s.daemon.await_event("member", "delete", soon())?;
            let story = s.daemon.story("member").join(" ");
            same("the events", story.as_str(), "create start exit delete")?;
            let gone = task.ask::<m::Empty>("State", "member", "");
            refused("State of the deleted", gone, code::NOT_FOUND)?;
            same("the pause goes on", &pause.state("")?.status, &status::RUNNING)?;
            pause.finish(s)
        }),
        case("group.sandbox-that-dies-first", |s| {
            // Then containerd of before 2.4 never says Shutdown again; the last one out has to close the door.
            let (pause, mut task) = sandbox(s)?;
            task.service = V3;
            let member = s.create(&task, s.bundle("member", "exec sleep 600", of_pod)?, |_| {})?;
            member.start()?;
            pause.start()?;
            pause.end()?;
            task.call::<m::Empty>(
                "Shutdown",
                &m::ShutdownRequest {
                    id: "pause".into(),
                    now: false,
                },
            )?;
            same("the member goes on", &member.state("")?.status, &status::RUNNING)?;
            let shim = task.shim_pid("member")?;
            member.end()?;
            s.is_gone(&task, shim)
        }),
        case("group.member-of-a-slow-one", |s| {
            // What one container waits for is not what another has to wait for.
            let pause = s.boot_with("pause", "exec sleep 600", of_pod, |_| {})?;
            let task = pause.task.clone();
            pause.start()?;
            let member = s.create(&task, s.bundle("member", "exec sleep 600", of_pod)?, |_| {})?;
            member.start()?;
            let wait = task.send("Wait", &crate::scene::target("pause", ""))?;
            same("the member answers", &member.state("")?.status, &status::RUNNING)?;
            member.end()?;
            pause.kill("", libc::SIGKILL)?;
            wait.take::<m::WaitResponse>(soon())?;
            pause.delete("")?;
            s.shut_down(&task)
        }),
    ]
}

fn of_pod(config: &mut Value) {
    config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "pause"});
}

/// A shim that was asked for by containerd 2.3, with the first container of its pod.
fn sandbox(s: &Scene) -> Result<(crate::scene::Container, crate::scene::Task), String> {
    let bundle = s.bundle("pause", "exec sleep 600", of_pod)?;
    let answer = Call::new(s, "pause", &bundle.path)
        .in_dialect(Dialect::Bootstrap)
        .run("start")?
        .ok()?;
    let result: m::BootstrapResult =
        prost::Message::decode(&answer[..]).map_err(|e| format!("start: {e}"))?;
    let mut task = s.dial(&result.address)?;
    task.service = V3;
    Ok((s.create(&task, bundle, |_| {})?, task))
}

fn pair(s: &Scene, annotation: &str) -> Done {
    let edit = |config: &mut Value| config["annotations"] = json!({annotation: "pair"});
    let one = s.boot_with("one", "exec sleep 600", edit, |_| {})?;
    let two = s.boot_with("two", "exec sleep 600", edit, |_| {})?;
    same("the address", &two.task.socket, &one.task.socket)?;
    let pid = one.task.shim_pid("one")?;
    same("the server", &two.task.shim_pid("two")?, &pid)?;
    one.start()?;
    two.start()?;
    one.end()?;
    // Not yet: another container is there.
    one.task.call::<m::Empty>(
        "Shutdown",
        &m::ShutdownRequest {
            id: "one".into(),
            now: false,
        },
    )?;
    same("the other goes on", &two.state("")?.status, &status::RUNNING)?;
    two.finish(s)
}
