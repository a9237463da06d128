//! What the daemon is told, and that no daemon can hold a shim up.

use std::time::Instant;

use conformance::messages as m;
use conformance::patience;

use super::{Case, case};
use crate::scene::{is_time, same, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("events.contents", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            c.exec("probe", "exit 6", |_| {})?;
            let exec = c.start_exec("probe")?;
            c.wait("probe")?;
            c.delete("probe")?;
            c.finish(s)?;
            let get = |short: &str| s.daemon.await_event("box", short, soon());
            let create: m::TaskCreate = get("create")?.decode("TaskCreate")?;
            same(
                "create",
                &(create.pid, create.bundle),
                &(c.pid, c.bundle.path.display().to_string()),
            )?;
            same("create: mounts", &create.rootfs.len(), &1)?;
            same("create: io is there", &create.io.is_some(), &true)?;
            let start: m::TaskStart = get("start")?.decode("TaskStart")?;
            same("start", &start.pid, &c.pid)?;
            let added: m::TaskExecAdded = get("exec-added:probe")?.decode("TaskExecAdded")?;
            same("exec-added", added.exec_id.as_str(), "probe")?;
            let started: m::TaskExecStarted = get("exec-started:probe")?.decode("TaskExecStarted")?;
            same(
                "exec-started",
                &(started.exec_id.as_str(), started.pid),
                &("probe", exec),
            )?;
            let exit: m::TaskExit = get("exit:probe")?.decode("TaskExit")?;
            same(
                "exit of the exec",
                &(exit.id.as_str(), exit.pid, exit.exit_status),
                &("probe", exec, 6),
            )?;
            let exit: m::TaskExit = get("exit")?.decode("TaskExit")?;
            same(
                "exit",
                &(exit.id.as_str(), exit.pid, exit.exit_status),
                &("box", c.pid, 137),
            )?;
            is_time("exit: exited_at", exit.exited_at.as_ref())?;
            let delete: m::TaskDelete = get("delete")?.decode("TaskDelete")?;
            same("delete", &(delete.pid, delete.exit_status), &(c.pid, 137))?;
            is_time("delete: exited_at", delete.exited_at.as_ref())?;
            for event in s.daemon.events() {
                same("the namespace", event.namespace.as_str(), "played")?;
                same("there is a time", &event.has_time, &true)?;
            }
            same("other calls", &s.daemon.strange(), &Vec::<String>::new())
        }),
        case("events.while-the-daemon-is-away", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            s.daemon.await_event("box", "start", soon())?;
            s.daemon.go_away();
            c.kill("", libc::SIGKILL)?;
            same("the exit status", &c.wait("")?, &137)?;
            let asked = Instant::now();
            c.state("")?;
            same(
                "State answers within 2 s",
                &(asked.elapsed() < patience::seconds(2)),
                &true,
            )?;
            s.daemon.come_back()?;
            s.daemon.await_event("box", "exit", patience::seconds(20))?;
            c.delete("")?;
            s.daemon.await_event("box", "delete", soon())?;
            same(
                "the events",
                s.daemon.story("box").join(" ").as_str(),
                "create start exit delete",
            )?;
            s.shut_down(&c.task)
        }),
        case("events.no-daemon-at-all", |s| {
            s.daemon.go_away();
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            c.end()?;
            let shim = c.task.shim_pid("")?;
            let _ = c
                .task
                .call::<m::Empty>("Shutdown", &m::ShutdownRequest::default());
            // It may try for a while to tell what it has to tell.
            s.is_gone_within(&c.task, shim, patience::seconds(60))
        }),
        case("events.silent-daemon", |s| {
            s.daemon.fall_silent();
            let c = s.boot("box", "exec sleep 600")?;
            let asked = Instant::now();
            c.start()?;
            for n in 0..5 {
                let name = format!("probe{n}");
                c.exec(&name, "true", |_| {})?;
                c.start_exec(&name)?;
                c.wait(&name)?;
                c.delete(&name)?;
            }
            c.end()?;
            same(
                "nothing waits for the daemon",
                &(asked.elapsed() < patience::seconds(5)),
                &true,
            )?;
            let shim = c.task.shim_pid("")?;
            let _ = c
                .task
                .call::<m::Empty>("Shutdown", &m::ShutdownRequest::default());
            s.is_gone_within(&c.task, shim, patience::seconds(60))
        }),
        case("events.are-told-before-the-end", |s| {
            let c = s.boot("box", "true")?;
            c.start()?;
            c.wait("")?;
            c.delete("")?;
            s.shut_down(&c.task)?;
            same(
                "the events",
                s.daemon.story("box").join(" ").as_str(),
                "create start exit delete",
            )
        }),
    ]
}
