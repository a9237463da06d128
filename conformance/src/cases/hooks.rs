//! Hooks: which, when, where, with what, and what a failing one does.

use std::path::Path;

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Step};
use crate::config::Setup;
use crate::world::{Call, Ended, Trouble, World, require};

const STOPPED: Step = Step::Wait(Cond::Status("stopped"), 10);

/// The probe as a hook that appends what its verbs find to `outside/FILE`.
fn probe_hook(s: &mut Setup, kind: &str, file: &str, verbs: &[&str]) {
    let probe = s.place.rootfs().join("probe");
    let out = s.place.outside().join(file);
    let (probe, out) = if kind == "startContainer" {
        // This one runs inside: the program and the file are the container's.
        ("/probe".to_owned(), format!("/hooks/{file}"))
    } else {
        (
            probe.to_string_lossy().into_owned(),
            out.to_string_lossy().into_owned(),
        )
    };
    let mut args = vec!["hook", "out", &out];
    for v in verbs {
        args.push("--");
        args.extend(v.split(' '));
    }
    s.set(&format!("/hooks/{kind}/-"), json!({"path": probe, "args": args}));
}

/// A container that finds `outside` at /hooks.
fn with_log(s: &mut Setup) {
    let dir = s.place.outside();
    s.bind(&dir, "/hooks", &[]);
}

fn lines(w: &World, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(w.setup.place.outside().join(file)).unwrap_or_default();
    text.lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect()
}

fn echoes(w: &World, file: &str) -> Vec<String> {
    lines(w, file)
        .iter()
        .filter(|l| l["did"][0] == "echo")
        .filter_map(|l| l["value"].as_str().map(str::to_owned))
        .collect()
}

fn report_of(w: &World, file: &str) -> Result<Value, Trouble> {
    lines(w, file)
        .iter()
        .find_map(|l| l.get("report").cloned())
        .ok_or_else(|| Trouble::Fail(format!("the hook left no report in {file}")))
}

fn state_given(w: &World, file: &str) -> Result<Value, Trouble> {
    let text = lines(w, file)
        .iter()
        .find(|l| l["did"][0] == "stdin")
        .and_then(|l| l["value"].as_str().map(str::to_owned))
        .ok_or_else(|| Trouble::Fail("the hook read nothing from stdin".into()))?;
    serde_json::from_str(&text)
        .map_err(|e| Trouble::Fail(format!("stdin of the hook is no JSON ({e}): {text}")))
}

fn failing(s: &mut Setup, kind: &str) {
    let path = if kind == "startContainer" {
        "/probe".to_owned()
    } else {
        s.place.rootfs().join("probe").to_string_lossy().into_owned()
    };
    s.set(
        &format!("/hooks/{kind}/-"),
        json!({"path": path, "args": ["hook", "stderr", "the hook speaks", "--", "exit", "3"]}),
    );
}

fn own_ns(kind: &str) -> Result<String, Trouble> {
    Ok(std::fs::read_link(Path::new("/proc/self/ns").join(kind))?
        .to_string_lossy()
        .into_owned())
}

fn judge_state(w: &mut World, kind: &str, statuses: &[&str]) -> Ended {
    let state = state_given(w, kind)?;
    let (id, bundle) = (w.id.clone(), w.bundle());
    w.eq(&format!("{kind}: id"), &state["id"], id);
    w.eq(&format!("{kind}: bundle"), &state["bundle"], bundle);
    w.is(
        state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
        format!("{kind}: ociVersion {}", state["ociVersion"]),
    );
    let status = state["status"].as_str().unwrap_or("none").to_owned();
    w.is(
        statuses.contains(&status.as_str()),
        format!("{kind}: status {status} is none of {statuses:?}"),
    );
    w.eq(
        &format!("{kind}: annotations"),
        &state["annotations"],
        json!({"org.example.key": "value"}),
    );
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "hooks.order",
        clause: "config.md#posix-platform-hooks: prestart, createRuntime, createContainer, startContainer; listed order within",
        config: |s| {
            with_log(s);
            for kind in ["createContainer", "startContainer", "createRuntime", "prestart"] {
                for n in ["1", "2"] {
                    probe_hook(s, kind, "order", &[&format!("echo {kind}{n}")]);
                }
            }
            s.args(&["out", "/hooks/order", "--", "echo", "program"]);
        },
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let seen = echoes(w, "order");
                let want = [
                    "prestart1",
                    "prestart2",
                    "createRuntime1",
                    "createRuntime2",
                    "createContainer1",
                    "createContainer2",
                ];
                w.eq("hooks when create returns", seen, want);
                Ok(())
            }),
            Step::Start,
            STOPPED,
        ],
        expect: |w| {
            let seen: Vec<String> = echoes(w, "order").split_off(6);
            w.eq(
                "hooks after start",
                seen,
                ["startContainer1", "startContainer2", "program"],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.poststart-comes-after-start",
        clause: "config.md#poststart: after the program is started, before start returns",
        config: |s| {
            with_log(s);
            probe_hook(s, "poststart", "order", &["echo poststart"]);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let seen = echoes(w, "order");
                w.eq("hooks when create returns", seen, Vec::<String>::new());
                Ok(())
            }),
            Step::Start,
        ],
        expect: |w| {
            let seen = echoes(w, "order");
            w.eq("hooks when start returns", seen, ["poststart"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.poststop-comes-after-delete",
        clause: "config.md#poststop: after the container is deleted, before delete returns",
        config: |s| {
            for n in ["1", "2"] {
                probe_hook(s, "poststop", "order", &[&format!("echo poststop{n}")]);
            }
            s.args(&["exit", "0"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            STOPPED,
            Step::Do(|w| {
                let seen = echoes(w, "order");
                w.eq("hooks before delete", seen, Vec::<String>::new());
                Ok(())
            }),
            Step::Delete,
        ],
        expect: |w| {
            let seen = echoes(w, "order");
            w.eq("hooks after delete", seen, ["poststop1", "poststop2"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.all-run-in-run",
        clause: "config.md#posix-platform-hooks with run",
        config: |s| {
            with_log(s);
            for kind in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                probe_hook(s, kind, "order", &[&format!("echo {kind}")]);
            }
            s.args(&["exit", "0"]);
        },
        expect: |w| {
            let mut seen = echoes(w, "order");
            seen.sort();
            w.eq(
                "hooks that ran",
                seen,
                [
                    "createContainer",
                    "createRuntime",
                    "poststart",
                    "poststop",
                    "prestart",
                    "startContainer",
                ],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.state-on-stdin",
        clause: "config.md#posix-platform-hooks: the state is given on stdin",
        config: |s| {
            with_log(s);
            s.set("/annotations", json!({"org.example.key": "value"}));
            for kind in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                probe_hook(s, kind, kind, &["stdin"]);
            }
            s.args(&["sleep"]);
        },
        steps: &[Step::Create, Step::Start, Step::DeleteForce],
        expect: |w| {
            judge_state(w, "prestart", &["creating", "created"])?;
            judge_state(w, "createRuntime", &["creating", "created"])?;
            judge_state(w, "createContainer", &["creating", "created"])?;
            judge_state(w, "startContainer", &["created"])?;
            judge_state(w, "poststart", &["running", "created"])?;
            judge_state(w, "poststop", &["stopped"])?;
            for kind in ["prestart", "createRuntime"] {
                let state = state_given(w, kind)?;
                w.is(
                    state["pid"].as_i64() > Some(0),
                    format!("{kind}: pid is {}", state["pid"]),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.status-of-create-runtime",
        clause: "reference runc: the status at createRuntime is creating",
        level: Level::Should,
        config: |s| probe_hook(s, "createRuntime", "r", &["stdin"]),
        steps: &[Step::Run],
        expect: |w| {
            let state = state_given(w, "r")?;
            w.eq("status", &state["status"], "creating");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.runtime-namespace",
        clause: "config.md#prestart #createRuntime #poststart #poststop: run in the runtime's namespaces",
        config: |s| {
            for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
                probe_hook(s, kind, kind, &["report"]);
            }
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Run],
        expect: |w| {
            for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
                let report = report_of(w, kind)?;
                for ns in ["mnt", "pid", "net", "uts", "ipc"] {
                    w.eq(
                        &format!("{ns} namespace of {kind}"),
                        &report["ns"][ns],
                        own_ns(ns)?,
                    );
                }
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.create-container-namespace",
        clause: "config.md#createContainer: path in the runtime's, executed in the container's namespace, before pivot",
        config: |s| probe_hook(s, "createContainer", "c", &["report"]),
        steps: &[Step::Create],
        expect: |w| {
            let report = report_of(w, "c")?;
            let pid = w.pid()?;
            for ns in ["mnt", "net", "uts"] {
                let want = std::fs::read_link(format!("/proc/{pid}/ns/{ns}"))?
                    .to_string_lossy()
                    .into_owned();
                w.eq(&format!("{ns} namespace"), &report["ns"][ns], want);
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.create-container-sees-mounts",
        clause: "config.md#createContainer: the mounts are done; vendors edit the rootfs here",
        config: |s| {
            s.mount("/data", "tmpfs", "tmpfs", &["mode=755"]);
            s.set("/root/readonly", json!(true));
            let target = s.place.rootfs().join("data/from-hook");
            probe_hook(
                s,
                "createContainer",
                "c",
                &[&format!("mkdir {}", target.display())],
            );
            let in_root = s.place.rootfs().join("etc/from-hook");
            probe_hook(
                s,
                "createContainer",
                "d",
                &[&format!("mkdir {}", in_root.display())],
            );
            s.args(&["stat", "/data/from-hook", "--", "stat", "/etc/from-hook"]);
        },
        steps: &[Step::Run],
        expect: |w| {
            w.errno(&["stat", "/data/from-hook"], 0)?;
            w.errno(&["stat", "/etc/from-hook"], 0)
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.start-container-namespace",
        clause: "config.md#startContainer: in the container's namespaces, before the program",
        config: |s| {
            with_log(s);
            probe_hook(s, "startContainer", "s", &["report"]);
        },
        steps: &[Step::Run],
        expect: |w| {
            let (hook, program) = (report_of(w, "s")?, w.report()?);
            for ns in ["mnt", "net", "uts", "pid", "ipc"] {
                w.eq(&format!("{ns} namespace"), &hook["ns"][ns], &program["ns"][ns]);
            }
            w.eq("its root", &hook["root"], &program["root"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.args-and-env",
        clause: "config.md#posix-platform-hooks args env",
        config: |s| {
            probe_hook(s, "createRuntime", "r", &["report"]);
            s.set("/hooks/createRuntime/0/env", json!(["ONE=1", "TWO=b c"]));
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?.env("LEAKED_IN", "1");
            w.call(call).map(drop)
        })],
        expect: |w| {
            let report = report_of(w, "r")?;
            w.eq("argv[0]", &report["args"][0], "hook");
            let mut env: Vec<&str> = report["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            env.sort_unstable();
            w.eq("environment", env, ["ONE=1", "TWO=b c"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.empty-env",
        clause: "config.md#posix-platform-hooks env: an empty list is an empty environment",
        config: |s| {
            probe_hook(s, "createRuntime", "r", &["report"]);
            s.set("/hooks/createRuntime/0/env", json!([]));
        },
        steps: &[Step::Run],
        expect: |w| {
            let report = report_of(w, "r")?;
            w.eq("environment", &report["raw_env"], json!([]));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.no-descriptor-leaks",
        clause: "safety: hooks get stdio and nothing else",
        config: |s| {
            with_log(s);
            for kind in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                probe_hook(s, kind, kind, &["report"]);
            }
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Run],
        expect: |w| {
            for kind in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                let report = report_of(w, kind)?;
                let own = w.setup.place.outside().join(kind).to_string_lossy().into_owned();
                let extra: Vec<Value> = report["fds"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|f| {
                        f["fd"].as_u64() > Some(2)
                            && f["link"] != own.as_str()
                            && f["link"] != format!("/hooks/{kind}").as_str()
                    })
                    .cloned()
                    .collect();
                w.eq(&format!("descriptors of {kind}"), extra, Vec::<Value>::new());
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-prestart",
        clause: "runtime.md#lifecycle: if a prestart hook fails, create fails and nothing stays",
        config: |s| failing(s, "prestart"),
        steps: &[Step::Fails(&Step::Create, &["hook"])],
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-create-runtime",
        clause: "runtime.md#lifecycle: if a createRuntime hook fails, create fails and nothing stays",
        config: |s| failing(s, "createRuntime"),
        steps: &[Step::Fails(&Step::Create, &["hook"])],
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-create-container",
        clause: "runtime.md#lifecycle: if a createContainer hook fails, create fails and nothing stays",
        config: |s| failing(s, "createContainer"),
        steps: &[Step::Fails(&Step::Create, &["hook"])],
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-start-container",
        clause: "runtime.md#lifecycle: if a startContainer hook fails, the program does not run and the container stops",
        config: |s| failing(s, "startContainer"),
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let id = w.id.clone();
                w.call(crate::world::Call::new(&["start", &id])).map(drop)
            }),
            STOPPED,
        ],
        expect: |w| {
            let said = w.said();
            w.is(!said.contains("report"), "the program ran");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-start-container-fails-start",
        clause: "runtime.md#lifecycle step 9: the runtime must generate an error",
        level: Level::Should,
        config: |s| failing(s, "startContainer"),
        steps: &[Step::Create, Step::Fails(&Step::Start, &["hook"])],
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-poststart-stops",
        clause: "runtime.md#lifecycle (1.3): if a poststart hook fails, the container is stopped",
        config: |s| {
            failing(s, "poststart");
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Fails(&Step::Start, &["hook"]),
            Step::Do(|w| {
                let id = w.id.clone();
                let out = w.call(crate::world::Call::new(&["state", &id]))?;
                let stopped = !out.ok() || out.stdout.contains("stopped");
                w.is(stopped, format!("the container still is: {}", out.stdout));
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "hooks.failing-poststop-is-a-warning",
        clause: "runtime.md#lifecycle: if a poststop hook fails, the others run and delete succeeds",
        config: |s| {
            failing(s, "poststop");
            probe_hook(s, "poststop", "order", &["echo second"]);
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Create, Step::Start, STOPPED, Step::Delete],
        expect: |w| {
            let seen = echoes(w, "order");
            w.eq("hooks that ran after the failing one", seen, ["second"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.timeout",
        clause: "config.md#posix-platform-hooks timeout",
        config: |s| {
            let probe = s.place.rootfs().join("probe");
            s.set(
                "/hooks/createRuntime/-",
                json!({"path": probe, "args": ["hook", "sleep"], "timeout": 1}),
            );
        },
        steps: &[Step::Fails(&Step::Create, &["timeout"])],
        expect: |w| {
            let took = w.transcript.last().map_or(0, |o| o.took.as_millis());
            w.is((900..8000).contains(&took), format!("create took {took} ms"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.failure-text",
        clause: "reference runc: the message has the hook's number, its status and what it wrote",
        level: Level::Should,
        config: |s| failing(s, "createRuntime"),
        steps: &[Step::Fails(
            &Step::Create,
            &["hook #0", "exit status 3", "the hook speaks"],
        )],
        ..Case::RUN
    },
    Case {
        id: "hooks.missing-program",
        clause: "config.md#posix-platform-hooks path",
        config: |s| s.set("/hooks/createRuntime/-", json!({"path": "/no/such/hook"})),
        steps: &[Step::Fails(&Step::Create, &["/no/such/hook"])],
        ..Case::RUN
    },
    Case {
        id: "hooks.big-output-does-not-hang",
        clause: "safety: a hook that writes more than a pipe holds still ends",
        config: |s| {
            let probe = s.place.rootfs().join("probe");
            let mut args = vec!["hook".to_owned()];
            for _ in 0..300 {
                args.extend(["echo".to_owned(), "x".repeat(1000), "--".to_owned()]);
            }
            args.extend(["exit".to_owned(), "0".to_owned()]);
            s.set("/hooks/createRuntime/-", json!({"path": probe, "args": args}));
        },
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "hooks.that-reads-no-stdin",
        clause: "safety: a hook that never reads its state still ends, also with a big one",
        config: |s| {
            for i in 0..2000 {
                s.set(&format!("/annotations/org.example.{i}"), json!("x".repeat(100)));
            }
            let probe = s.place.rootfs().join("probe");
            s.set(
                "/hooks/createRuntime/-",
                json!({"path": probe, "args": ["hook", "exit", "0"]}),
            );
        },
        steps: &[Step::Run],
        ..Case::RUN
    },
    Case {
        id: "hooks.limits-are-already-set",
        clause: "reference: at createRuntime the cgroup exists and has its limits",
        needs: &[crate::case::Need::Root, crate::case::Need::V1("pids")],
        config: |s| {
            s.set("/linux/resources/pids", json!({"limit": 77}));
            let limit = format!("/sys/fs/cgroup/pids{}/pids.max", s.place.cgroups_path());
            probe_hook(s, "createRuntime", "r", &[&format!("read {limit}")]);
        },
        steps: &[Step::Run],
        expect: |w| {
            let line = lines(w, "r")
                .into_iter()
                .find(|l| l["did"][0] == "read")
                .unwrap_or_default();
            w.eq("pids.max at createRuntime", &line["value"], "77\n");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "hooks.one-start-of-several",
        clause: "runtime.md#start: a container is started once, also while its startContainer hooks run",
        config: |s| {
            with_log(s);
            probe_hook(
                s,
                "startContainer",
                "order",
                &["echo inside", "wait-file /hooks/go"],
            );
            probe_hook(s, "poststart", "order", &["echo poststart"]);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let id = w.id.clone();
                let first = w.spawn(Call::new(&["start", &id]))?;
                w.until(10, "the startContainer hook", |w| {
                    echoes(w, "order").contains(&"inside".to_owned()).then_some(())
                })?;
                let status = w.status()?;
                w.eq("status while the hook runs", status, "created");
                let second = w.refuse(&["start", &id])?;
                w.mentions(&second, &["running"]);
                std::fs::write(w.setup.place.outside().join("go"), "")?;
                require(&first.wait()?)?;
                let seen = echoes(w, "order");
                w.eq("hooks", seen, ["inside", "poststart"]);
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "hooks.that-does-not-read-its-stdin",
        clause: "safety: a hook inside that leaves a large state unread does not end the init",
        config: |s| {
            s.drop_namespace("pid");
            s.set("/annotations", json!({"org.example.key": "x".repeat(1 << 18)}));
            with_log(s);
            probe_hook(s, "createContainer", "order", &["echo unread"]);
            probe_hook(s, "startContainer", "order", &["echo unread"]);
            s.args(&["report"]);
        },
        steps: &[Step::Create, Step::Start, STOPPED],
        expect: |w| {
            let seen = echoes(w, "order");
            w.eq("hooks", seen, ["unread", "unread"]);
            w.report().map(drop)
        },
        ..Case::RUN
    },
];
