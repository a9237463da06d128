//! Operations and states: create, start, kill, delete, pause. What a config means stands elsewhere.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::case::{Case, Cond, Fault, Level, Need, Step};
use crate::kernel;
use crate::world::{Call, Ended, Trouble, World, require};

const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);
const STOPPED: Step = Step::Wait(Cond::Status("stopped"), 10);

fn id_refused(w: &mut World, id: &str) -> Ended {
    w.setup.store()?;
    let bundle = w.bundle();
    let out = w.refuse(&["create", "--bundle", &bundle, id])?;
    w.is(!out.stderr.trim().is_empty(), "no message");
    let left = std::fs::read_dir(w.root())?.count();
    w.eq(&format!("entries in the state root after id {id:?}"), left, 0);
    Ok(())
}

fn freezer_state(w: &mut World) -> Result<String, crate::world::Trouble> {
    match w.setup.place.cgroups {
        crate::host::CgroupMode::V2 => w.cgroup_file("", "cgroup.freeze"),
        _ => w.cgroup_file("freezer", "freezer.state"),
    }
}

/// Looks some times at all containers and at one of them.
fn watch(w: &mut World, id: &str) -> Ended {
    for _ in 0..4 {
        let out = w.call(Call::new(&["list", "--format", "json"]).without_log())?;
        require(&out)?;
        w.is(
            out.stderr.is_empty(),
            format!("list complains: {}", out.stderr.trim()),
        );
        for line in out.lines() {
            for shown in line.as_array().into_iter().flatten() {
                judge_whole(w, shown);
            }
        }
        let out = w.call(Call::new(&["state", id]))?;
        match serde_json::from_str(&out.stdout) {
            Ok(shown) if out.ok() => judge_whole(w, &shown),
            _ => w.mentions(&out, &["does not exist"]),
        }
    }
    Ok(())
}

fn judge_whole(w: &mut World, shown: &serde_json::Value) {
    let bundle = w.bundle();
    let status = shown["status"].as_str().unwrap_or("none");
    let alive = shown["pid"] != 0;
    w.is(
        shown["bundle"] == bundle && (alive || status == "creating" || status == "stopped"),
        format!("half a container: {shown}"),
    );
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "lifecycle.create-start-delete",
        clause: "runtime.md#lifecycle",
        config: |s| s.args(&["report"]),
        steps: &[
            Step::Create,
            Step::Wait(Cond::Status("created"), 5),
            Step::Start,
            STOPPED,
            Step::Delete,
        ],
        expect: |w| w.report().map(drop),
        ..Case::RUN
    },
    Case {
        id: "lifecycle.payload-waits-for-start",
        clause: "runtime.md#create: the user's program must not run before start",
        steps: &[Step::Create],
        expect: |w| {
            let said = w.said();
            w.is(
                said.is_empty(),
                format!("the program ran before start and wrote {said}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "lifecycle.state-is-not-for-others",
        clause: "safety: whatever the caller's umask, nobody else may write to the state: not even to start the container",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let call = w.launching("create", &[])?.before(kernel::BeforeExec::Umask(0));
            require(&w.call(call)?)?;
            let mut todo = vec![w.root()];
            while let Some(at) = todo.pop() {
                let meta = std::fs::symlink_metadata(&at)?;
                let open = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
                w.is(
                    !open || meta.is_symlink(),
                    format!("{} has mode {:o}", at.display(), meta.mode()),
                );
                if meta.is_dir() {
                    todo.extend(std::fs::read_dir(&at)?.flatten().map(|e| e.path()));
                }
            }
            Ok(())
        })],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.config-is-read-at-create",
        clause: "runtime.md#create: later changes of config.json have no effect",
        config: |s| s.args(&["echo", "first"]),
        steps: &[
            Step::Create,
            Step::Do(|w| {
                w.setup.args(&["echo", "second"]);
                Ok(w.setup.store()?)
            }),
            Step::Start,
            Step::Wait(Cond::Said("first"), 5),
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.bundle-may-vanish-after-start",
        clause: "reference: after create config.json is not needed",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Do(|w| Ok(std::fs::remove_file(w.setup.place.bundle().join("config.json"))?)),
            Step::Start,
            RUNNING,
            Step::Kill("KILL"),
            STOPPED,
            Step::Delete,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.same-id-twice",
        clause: "runtime.md#create: an id that is in use is an error",
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let out = w.launch("create", &[])?;
                w.is(!out.ok(), "the second create succeeded");
                w.mentions(&out, &["exist"]);
                let status = w.status()?;
                w.eq("status of the first", status, "created");
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.id-may-be-used-again",
        clause: "runtime.md#delete: then the id may be used again",
        config: |s| s.args(&["echo", "x"]),
        steps: &[Step::Run, Step::Run],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.bad-ids",
        clause: "reference: ids are letters, digits, _ + - and dot, but neither . nor ..",
        steps: &[Step::Do(|w| {
            for id in ["", ".", "..", "a/b", "../x", "a b", "a\nb", "\u{e4}"] {
                id_refused(w, id)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.start-twice",
        clause: "runtime.md#start: on a container that is not created it is an error",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(&Step::Start, &["running"]),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.start-stopped",
        clause: "runtime.md#start: on a container that is not created it is an error",
        config: |s| s.args(&["exit", "0"]),
        steps: &[
            Step::Create,
            Step::Start,
            STOPPED,
            Step::Fails(&Step::Start, &["stopped"]),
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.unknown-id",
        clause: "reference: every command on an unknown id fails and says \"does not exist\"",
        steps: &[Step::Do(|w| {
            for args in [
                &["state", "ghost"][..],
                &["start", "ghost"],
                &["kill", "ghost", "TERM"],
                &["delete", "ghost"],
                &["pause", "ghost"],
                &["resume", "ghost"],
                &["ps", "ghost"],
                &["exec", "ghost", "true"],
                &["update", "--pids-limit", "7", "ghost"],
            ] {
                let out = w.refuse(args)?;
                w.mentions(&out, &["does not exist"]);
                let code = if args[0] == "exec" { 255 } else { 1 };
                w.eq(&format!("exit status of {}", args[0]), out.code, code);
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.kill",
        clause: "runtime.md#kill",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Kill("KILL"),
            STOPPED,
            Step::Delete,
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.kill-spellings",
        clause: "reference: 15, TERM, SIGTERM and term name one signal; without one it is TERM",
        config: |s| {
            s.args(&[
                "trap", "1", "10", "12", "15", "--", "await", "20", "--", "await", "20", "--", "await", "20",
                "--", "await", "20", "--", "sleep",
            ]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("trap"), 5),
            Step::Kill("10"),
            Step::Wait(Cond::Said("\"value\":10"), 5),
            Step::Kill("USR2"),
            Step::Wait(Cond::Said("\"value\":12"), 5),
            Step::Kill("SIGHUP"),
            Step::Wait(Cond::Said("\"value\":1}"), 5),
            Step::Do(|w| {
                let id = w.id.clone();
                w.succeed(&["kill", &id]).map(drop)
            }),
            Step::Wait(Cond::Said("\"value\":15"), 5),
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.kill-unknown-signal",
        clause: "runtime.md#kill",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(&Step::Kill("FANTASY"), &["FANTASY"]),
            Step::Fails(&Step::Kill("65"), &["unable to signal init: invalid argument"]),
            Step::Wait(Cond::Status("running"), 1),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.kill-created",
        clause: "runtime.md#kill: a created container may be killed",
        steps: &[Step::Create, Step::Kill("KILL"), STOPPED, Step::Delete],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.terminate-created",
        clause: "reference: SIGTERM ends a created container, although the kernel spares the init of a pid namespace",
        steps: &[Step::Create, Step::Kill("TERM"), STOPPED, Step::Delete],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.kill-stopped",
        clause: "runtime.md#kill: on a stopped container it is an error; containerd reads \"container not running\"",
        config: |s| s.args(&["exit", "0"]),
        steps: &[
            Step::Create,
            Step::Start,
            STOPPED,
            Step::Fails(&Step::Kill("KILL"), &["container not running"]),
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.kill-all",
        clause: "reference: kill --all reaches every process of a container without pid namespace",
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["daemon", "--", "fork", "2", "--", "sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("fork"), 5),
            Step::Do(|w| {
                let id = w.id.clone();
                w.succeed(&["kill", "--all", &id, "KILL"]).map(drop)
            }),
            STOPPED,
            Step::Delete,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.kill-without-pid-namespace-reaches-all",
        clause: "reference: SIGKILL on a container without pid namespace goes to every member of its cgroup",
        level: Level::Should,
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["daemon", "--", "fork", "2", "--", "sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("fork"), 5),
            Step::Kill("KILL"),
            STOPPED,
            Step::Delete,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.delete-clears-orphans",
        clause: "runtime.md#delete: the resources of create are released, whoever uses them",
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["daemon", "--", "exit", "0"]);
        },
        steps: &[Step::Create, Step::Start, STOPPED, Step::DeleteForce],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.run-clears-orphans",
        clause: "reference: run leaves no process of a container without pid namespace behind",
        level: Level::Should,
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["daemon", "--", "exit", "0"]);
        },
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.delete-running",
        clause: "runtime.md#delete: a container that is not stopped is not deleted",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(&Step::Delete, &["not stopped"]),
            Step::Wait(Cond::Status("running"), 1),
        ],
        expect: |_| Ok(()),
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.delete-created",
        clause: "reference: delete of a created container kills its init",
        steps: &[Step::Create, Step::Delete],
        expect: |w| {
            let left = std::fs::read_dir(w.root())?.count();
            w.eq("entries in the state root", left, 0);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.delete-force-running",
        clause: "reference: delete --force kills",
        steps: &[Step::Create, Step::Start, RUNNING, Step::DeleteForce],
        expect: |w| {
            let left = std::fs::read_dir(w.root())?.count();
            w.eq("entries in the state root", left, 0);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.delete-force-paused",
        clause: "reference: delete --force also of a paused container",
        steps: &[Step::Create, Step::Start, RUNNING, Step::Pause, Step::DeleteForce],
        expect: |w| {
            let left = std::fs::read_dir(w.root())?.count();
            w.eq("entries in the state root", left, 0);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.delete-force-unknown",
        clause: "reference: delete --force of an unknown id succeeds",
        steps: &[Step::DeleteForce],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.delete-force-with-daemons",
        clause: "reference: delete --force leaves no process, whatever it ignores",
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["daemon", "--", "fork", "5", "--", "trap", "15", "--", "sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("trap"), 5),
            Step::DeleteForce,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.pause-and-resume",
        clause: "reference: pause freezes, state says paused, resume thaws",
        steps: &[Step::Create, Step::Start, RUNNING, Step::Pause],
        expect: |w| {
            let status = w.status()?;
            w.eq("status", status, "paused");
            let frozen = freezer_state(w)?;
            w.is(
                frozen == "1" || frozen == "FROZEN",
                format!("the freezer says {frozen}"),
            );
            let id = w.id.clone();
            w.succeed(&["resume", &id])?;
            let status = w.status()?;
            w.eq("status", status, "running");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.pause-created",
        clause: "reference: a created container that is paused is refused a start, and starts after resume",
        steps: &[
            Step::Create,
            Step::Pause,
            Step::Wait(Cond::Status("paused"), 5),
            Step::Do(|w| {
                let id = w.id.clone();
                let out = w.call(Call::new(&["start", &id]).seconds(10))?;
                w.is(!out.ok(), "a paused container was started");
                w.succeed(&["resume", &id]).map(drop)
            }),
            Step::Wait(Cond::Status("created"), 5),
            Step::Start,
            RUNNING,
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.kill-paused",
        clause: "reference: a paused container dies of SIGKILL without a resume",
        level: Level::Must,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Pause,
            Step::Wait(Cond::Status("paused"), 5),
            Step::Kill("KILL"),
            Step::Wait(Cond::Status("stopped"), 5),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.pause-twice-and-resume-running",
        clause: "reference: pausing a paused and resuming a running container are errors",
        level: Level::Should,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(&Step::Resume, &["not paused"]),
            Step::Pause,
            Step::Do(|w| {
                let id = w.id.clone();
                let out = w.refuse(&["pause", &id])?;
                w.eq("the message", out.stderr.trim_end(), "container not running");
                Ok(())
            }),
            Step::Resume,
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.paused-before-start",
        clause: "safety: start of a created container that is paused fails instead of waiting for its init",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Pause,
            Step::Wait(Cond::Status("paused"), 1),
            Step::Fails(&Step::Start, &["paused"]),
            Step::Resume,
            Step::Wait(Cond::Status("created"), 1),
            Step::Start,
            RUNNING,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.init-without-its-main-thread",
        clause: "runtime.md#state: running as long as the process has a thread",
        level: Level::Should,
        config: |s| s.args(&["echo", "retiring", "--", "retire"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("retiring"), 5),
            Step::Do(|w| {
                let pid = w.pid()?;
                w.until(5, "the main thread to end", |_| {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                    stat.rsplit_once(") ")?.1.starts_with('Z').then_some(())
                })
            }),
            RUNNING,
            Step::Fails(&Step::Delete, &["not stopped"]),
            Step::Kill("KILL"),
            STOPPED,
            Step::Delete,
        ],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.run-deleted-by-another",
        clause: "reference: run ends with the status of its container, also when another command has deleted that",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            for _ in 0..8 {
                let call = w.launching("run", &[])?;
                let running = w.spawn(call)?;
                w.wait(Cond::Status("running"), 10)?;
                let id = w.id.clone();
                w.succeed(&["delete", "--force", &id])?;
                let out = running.wait()?;
                w.eq("exit status of run", out.code, 137);
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.watched-while-others-come-and-go",
        clause: "safety: list and state never fail nor show half a container while others are made and deleted",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            w.setup.unset("/linux/cgroupsPath");
            w.setup.store()?;
            let (bundle, tag) = (w.bundle(), w.id.clone());
            let ids: Vec<String> = (0..4).map(|n| format!("{tag}-{n}")).collect();
            for _ in 0..6 {
                let mut making = Vec::new();
                for id in &ids {
                    making.push(w.spawn(Call::new(&["create", "--bundle", &bundle, id]))?);
                }
                watch(w, &ids[0])?;
                for call in making {
                    require(&call.wait()?)?;
                }
                let mut deleting = Vec::new();
                for id in &ids {
                    deleting.push(w.spawn(Call::new(&["delete", "--force", id]))?);
                }
                watch(w, &ids[0])?;
                for call in deleting {
                    require(&call.wait()?)?;
                }
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.init-killed-behind-the-back",
        clause: "runtime.md#state: stopped when the process has ended",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Inject(Fault::KillInit),
            STOPPED,
            Step::Delete,
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.created-init-killed",
        clause: "safety: start of a container whose init was killed fails instead of waiting",
        steps: &[
            Step::Create,
            Step::Inject(Fault::KillInit),
            STOPPED,
            Step::Fails(&Step::Start, &[]),
            Step::Delete,
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.stopped-has-no-pid",
        clause: "reference: state of a stopped container has pid 0",
        config: |s| s.args(&["exit", "0"]),
        steps: &[Step::Create, Step::Start, STOPPED],
        expect: |w| {
            let state = w.state()?;
            w.eq("pid", state.get("pid").unwrap_or(&json!(0)), 0);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "lifecycle.run-forwards-signals",
        clause: "reference: run in the foreground forwards signals and answers with the program's status",
        config: |s| {
            s.args(&[
                "trap", "15", "10", "--", "await", "20", "--", "await", "20", "--", "exit", "9",
            ])
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?;
            let running = w.spawn(call)?;
            w.wait(Cond::Said("trap"), 10)?;
            running.signal(libc::SIGUSR1)?;
            w.wait(Cond::Said("\"value\":10"), 10)?;
            running.signal(libc::SIGTERM)?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 9);
            w.contains("the program", &out.stdout, &["\"value\":15"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.run-forwards-real-time-signals",
        clause: "reference: run forwards every signal that can be caught; 34 is the first that C libraries leave to programs",
        config: |s| {
            s.args(&[
                "trap", "34", "64", "--", "await", "20", "--", "await", "20", "--", "exit", "9",
            ])
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?;
            let running = w.spawn(call)?;
            w.wait(Cond::Said("trap"), 10)?;
            for (signal, said) in [(34, "\"value\":34"), (64, "\"value\":64")] {
                running.signal(signal)?;
                w.wait(Cond::Said(said), 10)?;
            }
            let out = running.wait()?;
            w.eq("exit status", out.code, 9);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.run-detached",
        clause: "reference: run --detach returns and leaves the container running",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::RunWith(&["--detach"]), RUNNING],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.run-keep",
        clause: "reference: run --keep leaves a stopped container",
        level: Level::Should,
        config: |s| s.args(&["exit", "3"]),
        steps: &[Step::Exits(&Step::RunWith(&["--keep"]), 3), STOPPED, Step::Delete],
        ..Case::RUN
    },
    Case {
        id: "lifecycle.state-root-is-private",
        clause: "safety: others may not write the state",
        steps: &[Step::Create],
        expect: |w| {
            use std::os::unix::fs::MetadataExt;
            let mode = std::fs::metadata(w.root().join(&w.id))?.mode();
            w.is(
                mode & 0o022 == 0,
                format!("the state directory has mode {:o}", mode & 0o7777),
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.pid-reuse-is-noticed",
        clause: "safety: a process that has got the pid of a dead init is not the container",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let pid = w.pid()?;
                kernel::kill(pid, libc::SIGKILL)?;
                w.wait(Cond::Status("stopped"), 10)?;
                w.until(10, "the init to be reaped", |w| {
                    w.reap_orphans();
                    (!std::path::Path::new(&format!("/proc/{pid}")).exists()).then_some(())
                })?;
                // The kernel tells start times in hundredths of a second: within one a pid cannot come round.
                let tick = Instant::now() + Duration::from_millis(20);
                w.until(1, "the clock to tick", |_| (Instant::now() >= tick).then_some(()))?;
                if let Err(e) = kernel::make_impostor(pid) {
                    return Err(Trouble::Skip(format!(
                        "no process can be made with pid {pid}: {e}"
                    )));
                }
                w.reap = false;
                let status = w.status()?;
                w.eq("status beside the impostor", status, "stopped");
                let id = w.id.clone();
                let out = w.call(Call::new(&["kill", &id, "KILL"]))?;
                w.is(!out.ok(), "kill succeeded");
                let out = w.call(Call::new(&["delete", "--force", &id]))?;
                require(&out)?;
                let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                w.is(
                    state.contains(") S "),
                    format!("the impostor was killed: {state}"),
                );
                w.reap = true;
                Ok(kernel::kill(pid, libc::SIGKILL)?)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.cgroup-is-gone-after-delete",
        clause: "runtime.md#delete",
        steps: &[
            Step::Create,
            Step::Start,
            Step::Do(|w| {
                let controller = if w.setup.place.cgroups == crate::host::CgroupMode::V2 {
                    ""
                } else {
                    "memory"
                };
                let dir = w.cgroup(controller)?;
                let id = w.id.clone();
                w.succeed(&["delete", "--force", &id])?;
                w.is(!dir.exists(), format!("{} is still there", dir.display()));
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "lifecycle.two-hundred-cycles",
        clause: "safety: create, start, kill and delete 200 times leave nothing behind",
        config: |s| s.args(&["sleep"]),
        deadline: 240,
        steps: &[Step::Do(|w| {
            for _ in 0..200 {
                let out = w.launch("create", &[])?;
                require(&out)?;
                let id = w.id.clone();
                w.succeed(&["start", &id])?;
                w.succeed(&["kill", &id, "KILL"])?;
                w.wait(Cond::Status("stopped"), 10)?;
                w.succeed(&["delete", &id])?;
                w.transcript.clear();
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.fifty-at-once",
        clause: "safety: 50 containers at once do not get into each other's way",
        config: |s| s.args(&["report", "--", "sleep"]),
        deadline: 120,
        steps: &[Step::Do(|w| {
            let base = w.id.clone();
            let path = w.setup.place.cgroups_path();
            let bundle = w.bundle();
            let root = w.setup.place.rootfs();
            w.setup.set("/root/path", json!(root));
            let ids: Vec<String> = (0..50).map(|i| format!("{base}-{i}")).collect();
            let mut running = Vec::new();
            for id in &ids {
                let own = std::path::Path::new(&bundle).join(id);
                std::fs::create_dir_all(&own)?;
                w.setup.set("/linux/cgroupsPath", json!(format!("{path}-{id}")));
                std::fs::write(own.join("config.json"), w.setup.config.to_string())?;
                let text = own.to_string_lossy().into_owned();
                running.push(w.spawn(Call::new(&["run", "--detach", "--bundle", &text, id]).seconds(60))?);
            }
            for r in running {
                require(&r.wait()?)?;
            }
            let list = w.succeed(&["list", "-q"])?;
            let count = list.stdout.lines().filter(|l| l.starts_with(&base)).count();
            w.eq("containers in the list", count, 50);
            let mut deleting = Vec::new();
            for id in &ids {
                deleting.push(w.spawn(Call::new(&["delete", "--force", id]).seconds(60))?);
            }
            for r in deleting {
                require(&r.wait()?)?;
            }
            let left = std::fs::read_dir(w.root())?.count();
            w.eq("entries in the state root", left, 0);
            Ok(())
        })],
        needs: &[Need::Root],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.one-id-many-creates",
        clause: "safety: of several creates of one id at once exactly one succeeds, and it works",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let mut running = Vec::new();
            for _ in 0..8 {
                let call = w.launching("create", &[])?;
                running.push(w.spawn(call)?);
            }
            let mut good = 0;
            for r in running {
                good += i32::from(r.wait()?.ok());
            }
            w.eq("creates that succeeded", good, 1);
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let status = w.status()?;
            w.eq("status", status, "running");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "lifecycle.init-reaped-while-delete-waits",
        clause: "safety: delete --force ends although nobody reaps the init",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                // The init is our child and stays a zombie during the whole delete, as under a busy shim.
                let id = w.id.clone();
                w.reap = false;
                let out = w.succeed(&["delete", "--force", &id])?;
                w.is(
                    out.took.as_secs() < 10,
                    format!("it took {} ms", out.took.as_millis()),
                );
                while let Ok(Some(_)) = kernel::reap_any() {}
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
];
