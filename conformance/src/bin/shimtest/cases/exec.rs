//! More processes in a container.

use std::fs;

use conformance::messages::{self as m, code, status};
use conformance::ttrpc::Failure;
use serde_json::json;

use super::{Case, Done, case};
use crate::scene::{Container, Scene, fails, process, refused, same, soon, target};

pub fn cases() -> Vec<Case> {
    vec![
        case("exec.whole", |s| {
            let c = booted(s)?;
            c.exec("probe", "exit 6", |_| {})?;
            let state = c.state("probe")?;
            same("the state", &state.status, &status::CREATED)?;
            // The Go shim writes the exec's name where the container's would be.
            let is_named = state.exec_id == "probe" || state.id == "probe";
            same("the state names the exec", &is_named, &true)?;
            let pid = c.start_exec("probe")?;
            same("the exit status", &c.wait("probe")?, &6)?;
            let state = c.state("probe")?;
            same(
                "the state",
                &(state.status, state.exit_status),
                &(status::STOPPED, 6),
            )?;
            let gone = c.delete("probe")?;
            same("what Delete answers", &(gone.pid, gone.exit_status), &(pid, 6))?;
            same("the container goes on", &c.state("")?.status, &status::RUNNING)?;
            c.finish(s)?;
            let story = s.daemon.story("box");
            let own: Vec<&str> = story
                .iter()
                .filter(|e| e.ends_with(":probe"))
                .map(String::as_str)
                .collect();
            // What a shim says about the deletion of an exec carries the exec's name, or is not said.
            same(
                "the events",
                &own[..3.min(own.len())],
                &["exec-added:probe", "exec-started:probe", "exit:probe"][..],
            )?;
            let rest: Vec<&str> = story
                .iter()
                .filter(|e| !e.ends_with(":probe"))
                .map(String::as_str)
                .collect();
            same(
                "the container's",
                &rest[..],
                &["create", "start", "exit", "delete"][..],
            )
        }),
        case("exec.refusals", |s| {
            let c = booted(s)?;
            let not_found = code::NOT_FOUND;
            for method in ["State", "Start", "Delete", "Wait"] {
                refused(method, c.task.ask::<m::Empty>(method, "box", "nobody"), not_found)?;
            }
            refused("Kill", c.kill("nobody", 9), not_found)?;
            c.exec("probe", "exec sleep 600", |_| {})?;
            refused(
                "a second one of the name",
                c.exec("probe", "true", |_| {}),
                code::ALREADY_EXISTS,
            )?;
            refused("Kill before Start", c.kill("probe", 9), code::FAILED_PRECONDITION)?;
            c.start_exec("probe")?;
            fails("a second Start", c.start_exec("probe"))?;
            fails(
                "Delete of what runs",
                c.task.ask::<m::Empty>("Delete", "box", "probe"),
            )?;
            c.kill("probe", libc::SIGKILL)?;
            same("the exit status", &c.wait("probe")?, &137)?;
            refused("Kill of what has ended", c.kill("probe", 9), not_found)?;
            c.delete("probe")?;
            refused(
                "a second Delete",
                c.task.ask::<m::Empty>("Delete", "box", "probe"),
                not_found,
            )?;
            c.finish(s)
        }),
        case("exec.delete-before-start", |s| {
            let c = booted(s)?;
            c.exec("probe", "true", |_| {})?;
            c.delete("probe")?;
            c.exec("probe", "true", |_| {})?;
            c.start_exec("probe")?;
            c.wait("probe")?;
            c.delete("probe")?;
            c.finish(s)
        }),
        case("exec.signals", |s| {
            let c = booted(s)?;
            c.exec("probe", "exec sleep 600", |_| {})?;
            c.start_exec("probe")?;
            c.kill("probe", libc::SIGTERM)?;
            same("the exit status", &c.wait("probe")?, &143)?;
            c.delete("probe")?;
            c.finish(s)
        }),
        case("exec.no-such-program", |s| {
            let c = booted(s)?;
            let mut spec = process("");
            spec["args"] = json!(["no-such-program"]);
            c.exec("probe", "", |request| {
                request.spec = Some(m::wrap_json("Process", &spec))
            })?;
            let wait = c.task.send("Wait", &target("box", "probe"))?;
            let told = fails("Start", c.start_exec("probe"))?;
            for part in ["OCI runtime exec failed: ", "executable file not found in $PATH"] {
                same(&format!("{told:?} has {part:?}"), &told.contains(part), &true)?;
            }
            // Whoever waits for it learns that it will not be.
            if let Err(failure @ (Failure::Closed | Failure::Silence(_))) =
                wait.take::<m::WaitResponse>(soon())
            {
                return Err(format!("Wait: {failure}"));
            }
            c.delete("probe")?;
            c.finish(s)
        }),
        case("exec.broken-spec", |s| {
            let c = booted(s)?;
            let broken = m::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".into(),
                value: b"{".to_vec(),
            };
            fails("Exec", c.exec("probe", "", |request| request.spec = Some(broken)))?;
            c.finish(s)
        }),
        case("exec.after-the-end", |s| {
            let c = booted(s)?;
            c.exec("early", "true", |_| {})?;
            c.kill("", libc::SIGKILL)?;
            c.wait("")?;
            fails("Start of an exec in what has ended", c.start_exec("early"))?;
            fails(
                "Exec in what has ended",
                c.exec("late", "true", |_| {}).and_then(|()| c.start_exec("late")),
            )?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("exec.ends-with-the-container", |s| {
            let c = booted(s)?;
            c.exec("probe", "exec sleep 600", |_| {})?;
            c.start_exec("probe")?;
            let wait = c.task.send("Wait", &target("box", "probe"))?;
            c.kill("", libc::SIGKILL)?;
            same(
                "the exit status",
                &wait.take::<m::WaitResponse>(soon())?.exit_status,
                &137,
            )?;
            c.wait("")?;
            s.daemon.await_event("box", "exit:probe", soon())?;
            s.daemon.await_event("box", "exit", soon())?;
            c.delete("probe")?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("exec.exit-is-told-before-the-container's", |s| {
            let c = booted(s)?;
            for n in 0..5 {
                c.exec(&format!("probe{n}"), "exec sleep 600", |_| {})?;
                c.start_exec(&format!("probe{n}"))?;
            }
            c.end()?;
            s.shut_down(&c.task)?;
            let story = s.daemon.story("box");
            let last = story.iter().rposition(|e| e.starts_with("exit:"));
            let init = story.iter().position(|e| e == "exit");
            same(
                &format!("{story:?}: the container's exit is last"),
                &(last.is_some() && last < init),
                &true,
            )
        }),
        case("exec.one-after-another", |s| {
            let c = booted(s)?;
            let shim = c.task.shim_pid("box")?;
            let open = || {
                fs::read_dir(format!("/proc/{shim}/fd"))
                    .map(Iterator::count)
                    .map_err(|e| e.to_string())
            };
            once(&c, "first")?;
            let before = open()?;
            for n in 0..100 {
                once(&c, &format!("probe{n}"))?;
            }
            let after = open()?;
            same(
                &format!("descriptors grew from {before} to {after}"),
                &(after > before + 2),
                &false,
            )?;
            c.finish(s)
        }),
        case("exec.twenty-at-once", |s| {
            let c = booted(s)?;
            let results: Vec<Done> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..20)
                    .map(|n| {
                        scope.spawn({
                            let c = &c;
                            move || once(c, &format!("probe{n}"))
                        })
                    })
                    .collect();
                let join = |thread: std::thread::ScopedJoinHandle<'_, Done>| {
                    thread.join().unwrap_or(Err("the thread failed".into()))
                };
                threads.into_iter().map(join).collect()
            });
            results.into_iter().collect::<Done>()?;
            c.finish(s)?;
            let story = s.daemon.story("box");
            for n in 0..20 {
                let own: Vec<String> = story
                    .iter()
                    .filter(|e| e.ends_with(&format!(":probe{n}")))
                    .cloned()
                    .collect();
                let expected = [
                    format!("exec-added:probe{n}"),
                    format!("exec-started:probe{n}"),
                    format!("exit:probe{n}"),
                ];
                same("the events", &own[..3.min(own.len())], &expected[..])?;
                same(
                    "how many",
                    &own.iter().filter(|e| e.starts_with("exit:")).count(),
                    &1,
                )?;
            }
            Ok(())
        }),
    ]
}

/// A container that sleeps.
fn booted(s: &Scene) -> Result<Container, String> {
    let c = s.boot("box", "exec sleep 600")?;
    c.start()?;
    Ok(c)
}

/// An exec that ends at once, from beginning to end.
fn once(c: &Container, name: &str) -> Done {
    c.exec(name, "", |request| {
        let mut spec = process("");
        spec["args"] = json!(["true"]);
        request.spec = Some(m::wrap_json("Process", &spec));
    })
    .map_err(|e| format!("Exec of {name}: {e}"))?;
    c.start_exec(name).map_err(|e| format!("Start of {name}: {e}"))?;
    same("the exit status", &c.wait(name)?, &0)?;
    c.delete(name).map(drop)
}
