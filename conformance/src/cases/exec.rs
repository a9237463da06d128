//! exec: what a further process of a container has, and what is refused.

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Need, Step};
use crate::world::{Call, find_done, require};

const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "exec.joins-everything",
        clause: "reference: exec joins all namespaces and the cgroup of the container",
        config: |s| {
            s.namespace("cgroup", "");
            s.args(&["report", "--", "sleep"]);
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("report"), 5)],
        expect: |w| {
            let init = w.report()?;
            let exec = w.exec_report(&[])?;
            for ns in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time"] {
                w.eq(&format!("{ns} namespace"), &exec["ns"][ns], &init["ns"][ns]);
            }
            w.eq("cgroup", &exec["cgroup"], &init["cgroup"]);
            w.eq("root", &exec["root"], &init["root"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.inherits-the-config",
        clause: "reference: user, environment, capabilities, limits, cwd and no_new_privs are the config's",
        config: |s| {
            s.args(&["report", "--", "sleep"]);
            s.set(
                "/process/user",
                json!({"uid": 1000, "gid": 1001, "additionalGids": [5], "umask": 0o77}),
            );
            s.set("/process/env", json!(["PATH=/bin", "A=b"]));
            s.set("/process/cwd", json!("/tmp"));
            s.set("/process/oomScoreAdj", json!(400));
            s.caps(&["CAP_KILL"]);
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("report"), 5)],
        expect: |w| {
            let init = w.report()?;
            let exec = w.exec_report(&[])?;
            for what in ["uid", "gid", "groups", "cwd", "rlimits", "nnp", "oom_score_adj"] {
                w.eq(what, &exec[what], &init[what]);
            }
            for set in ["bounding", "effective", "permitted"] {
                w.eq(set, &exec["caps"][set], &init["caps"][set]);
            }
            let mut a: Vec<String> = exec["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            a.sort();
            w.eq("environment", a, ["A=b", "HOME=/home/user", "PATH=/bin"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.umask",
        clause: "config.md#posix-platform-user umask, for exec too",
        config: |s| {
            s.args(&["sleep"]);
            s.set("/process/user/umask", json!(0o77));
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&[])?;
            w.eq("umask", &report["umask"], 0o77);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.umask-of-the-container-for-a-process-file",
        clause: "reference exec --process FILE: without a umask of its own the container's",
        level: Level::Should,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/process/user/umask", json!(0o77));
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let path = w.scratch("process.json");
            std::fs::write(
                &path,
                json!({"args": ["/probe", "report"], "cwd": "/"}).to_string(),
            )?;
            let (path, id) = (path.to_string_lossy().into_owned(), w.id.clone());
            let report = w.succeed(&["exec", "--process", &path, &id])?.report()?;
            w.eq("umask", &report["umask"], 0o77);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.unknown-capability",
        clause: "reference exec --cap: what the runtime does not know is dropped with a warning, as in config.json",
        level: Level::Should,
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let plain = w.exec_report(&[])?;
            let report = w.exec_report(&["--cap", "CAP_NO_SUCH"])?;
            w.eq(
                "effective",
                &report["caps"]["effective"],
                &plain["caps"]["effective"],
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.last-of-equal-variables",
        clause: "reference: of equal names the last one stays, at its place",
        level: Level::Should,
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--env", "A=1", "--env", "B=2", "--env", "A=3"])?;
            let env = report["raw_env"].as_array().cloned().unwrap_or_default();
            let ours: Vec<&str> = env
                .iter()
                .filter_map(Value::as_str)
                .filter(|e| e.starts_with("A=") || e.starts_with("B="))
                .collect();
            w.eq("environment", ours, ["B=2", "A=3"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.session-keyring",
        clause: "reference: exec joins the container's session keyring",
        level: Level::Should,
        config: |s| s.args(&["report", "--", "sleep"]),
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("report"), 5)],
        expect: |w| {
            let init = w.report()?;
            let exec = w.exec_report(&[])?;
            w.eq("keyring", &exec["keyring"], &init["keyring"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.exit-status",
        clause: "reference: the exit status of exec is the program's, 128+N after a signal",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Exits(&Step::Exec(&[], &["/probe", "exit", "42"]), 42),
            Step::Exits(&Step::Exec(&[], &["/probe", "raise", "15"]), 143),
            Step::Exits(&Step::Exec(&[], &["/probe", "raise", "9"]), 137),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "exec.not-found",
        clause: "reference: 255 and the text that engines map to 127",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let out = w.exec(&[], &["no-such-program"])?;
                w.eq("exit status", out.code, 255);
                w.mentions(&out, &["executable file not found in $PATH"]);
                let out = w.exec(&[], &["/no/such/program"])?;
                w.eq("exit status", out.code, 255);
                w.mentions(&out, &["no such file or directory"]);
                let out = w.exec(&[], &["/etc/passwd"])?;
                w.eq("exit status", out.code, 255);
                w.mentions(&out, &["permission denied"]);
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "exec.env-and-cwd",
        clause: "reference exec --env --cwd",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--cwd", "/data", "--env", "ONE=1", "--env", "TERM=dumb"])?;
            w.eq("cwd", &report["cwd"], "/data");
            let env: Vec<&str> = report["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            w.is(env.contains(&"ONE=1"), format!("no ONE: {env:?}"));
            let term = env.iter().rfind(|e| e.starts_with("TERM=")).copied();
            w.eq("the last TERM", term, "TERM=dumb");
            w.is(
                env.iter().any(|e| e.starts_with("PATH=/usr/local")),
                "PATH of the config is gone",
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.user",
        clause: "reference exec --user UID[:GID] --additional-gids",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--user", "1000:1001"])?;
            w.eq("uid", &report["uid"], [1000, 1000, 1000]);
            w.eq("gid", &report["gid"], [1001, 1001, 1001]);
            let report = w.exec_report(&["-u", "1234"])?;
            w.eq("uid", &report["uid"], [1234, 1234, 1234]);
            w.eq("gid without one given", &report["gid"], [0, 0, 0]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.additional-gids",
        clause: "reference exec --additional-gids",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--user", "1000:1001", "-g", "7", "-g", "8"])?;
            w.eq("groups", &report["groups"], [7, 8]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.capabilities",
        clause: "reference exec --cap adds to bounding, permitted and effective",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--cap", "CAP_NET_RAW"])?;
            let raw = 1u64 << 13;
            for set in ["bounding", "permitted", "effective"] {
                let has = report["caps"][set].as_u64().unwrap_or(0) & raw != 0;
                w.is(has, format!("no CAP_NET_RAW in {set}"));
            }
            w.eq("inheritable", &report["caps"]["inheritable"], 0);
            w.eq("ambient", &report["caps"]["ambient"], 0);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.no-new-privileges",
        clause: "reference exec --no-new-privs",
        config: |s| {
            s.args(&["sleep"]);
            s.set("/process/noNewPrivileges", json!(false));
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let plain = w.exec_report(&[])?;
            w.eq("without the flag", &plain["nnp"], 0);
            let strict = w.exec_report(&["--no-new-privs"])?;
            w.eq("with the flag", &strict["nnp"], 1);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.process-file",
        clause: "reference exec --process FILE: everything comes from the file",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let process = json!({
                "user": {"uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o33}, "args": ["/probe", "report"], "env": ["X=y"], "cwd": "/etc",
                "capabilities": {"bounding": ["CAP_CHOWN"], "effective": [], "permitted": [], "inheritable": [], "ambient": []},
                "noNewPrivileges": false, "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 55, "hard": 66}]
            });
            let path = w.scratch("process.json");
            std::fs::write(&path, process.to_string())?;
            let (path, id) = (path.to_string_lossy().into_owned(), w.id.clone());
            let report = w.succeed(&["exec", "--process", &path, &id])?.report()?;
            w.eq("uid", &report["uid"][0], 7);
            w.eq("gid", &report["gid"][0], 8);
            w.eq("groups", &report["groups"], [9]);
            w.eq("cwd", &report["cwd"], "/etc");
            w.eq("nnp", &report["nnp"], 0);
            w.eq("bounding", &report["caps"]["bounding"], 1);
            w.eq("limit", &report["rlimits"]["NOFILE"], [55, 66]);
            let env: Vec<&str> = report["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            w.is(
                env.contains(&"X=y") && !env.iter().any(|e| e.starts_with("TERM=")),
                format!("environment: {env:?}"),
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.detached-with-pid-file",
        clause: "reference exec --detach --pid-file: returns at once, prints nothing, leaves the pid",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let path = w.scratch("exec.pid");
            let text = path.to_string_lossy().into_owned();
            let out = w.exec(&["--detach", "--pid-file", &text], &["/probe", "sleep"])?;
            require(&out)?;
            w.eq("stdout", out.stdout.trim(), "");
            let pid: i32 = std::fs::read_to_string(&path)?
                .parse()
                .map_err(|e| format!("the pid file has no bare number: {e}"))?;
            let init = w.pid()?;
            let of = |p: i32| std::fs::read_link(format!("/proc/{p}/ns/pid"));
            w.eq(
                "pid namespace of the process",
                of(pid)?.to_string_lossy(),
                of(init)?.to_string_lossy(),
            );
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
            w.eq("its name", comm.trim(), "probe");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.stdin",
        clause: "reference: exec has the caller's stdio",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let out = w.call(
                Call::new(&["exec", &id, "/probe", "stdin", "--", "stderr", "to-err"]).stdin("given\n"),
            )?;
            let done = find_done(&out.lines(), &["stdin"]).unwrap_or_default();
            w.eq("stdin", &done["value"], "given\n");
            w.contains("stderr", &out.stderr, &["to-err"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.in-created-container",
        clause: "reference: exec works before start",
        level: Level::Should,
        steps: &[Step::Create],
        expect: |w| w.exec_report(&[]).map(drop),
        ..Case::SLEEP
    },
    Case {
        id: "exec.in-stopped-container",
        clause: "reference: exec in a stopped container is refused with 255",
        config: |s| s.args(&["exit", "0"]),
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Status("stopped"), 10)],
        expect: |w| {
            let out = w.exec(&[], &["/probe", "report"])?;
            w.eq("exit status", out.code, 255);
            w.mentions(&out, &["stopped"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "exec.in-paused-container",
        clause: "reference: exec in a paused container is refused",
        steps: &[Step::Create, Step::Start, RUNNING, Step::Pause],
        expect: |w| {
            let out = w.exec(&[], &["/probe", "report"])?;
            w.eq("exit status", out.code, 255);
            w.mentions(&out, &["paused"]);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.ignore-paused",
        clause: "reference exec --ignore-paused: waits for resume",
        level: Level::Should,
        steps: &[Step::Create, Step::Start, RUNNING, Step::Pause],
        expect: |w| {
            let id = w.id.clone();
            let running = w.spawn(Call::new(&[
                "exec",
                "--ignore-paused",
                &id,
                "/probe",
                "exit",
                "5",
            ]))?;
            w.succeed(&["resume", &id])?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 5);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.flags-after-the-id-are-the-programs",
        clause: "reference: exec stops at the first word that is no option",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w
                .exec(&[], &["/probe", "report", "--", "echo", "--cwd", "-t"])?
                .report()?;
            w.eq(
                "args",
                &report["args"],
                ["/probe", "report", "--", "echo", "--cwd", "-t"],
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.missing-command",
        clause: "reference: exec without command is bad usage",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let out = w.refuse(&["exec", &id])?;
            w.is(
                !out.stderr.trim().is_empty() || !out.stdout.trim().is_empty(),
                "no message",
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.no-descriptor-leaks",
        clause: "CVE-2024-21626 class: nothing but stdio is open",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&[])?;
            let list = report["fds"].as_array().cloned().unwrap_or_default();
            let extra: Vec<_> = list.iter().filter(|f| f["fd"].as_u64() > Some(2)).collect();
            w.eq("descriptors beyond stdio", extra, Vec::<Value>::new());
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.into-sub-cgroup",
        clause: "reference exec --cgroup PATH: below the container's cgroup",
        level: Level::Should,
        needs: &[Need::Root, Need::V1("pids")],
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let dir = w.cgroup("pids")?;
            std::fs::create_dir_all(dir.join("sub"))?;
            let report = w.exec_report(&["--cgroup", "pids:sub"])?;
            let lines = report["cgroup"].as_array().cloned().unwrap_or_default();
            let inside = lines
                .iter()
                .filter_map(Value::as_str)
                .any(|l| l.contains(":pids:") && l.ends_with("/sub"));
            w.is(inside, format!("{lines:?}"));
            let out = w.exec(&["--cgroup", "pids:../.."], &["/probe", "report"])?;
            w.is(!out.ok(), "exec left the container's cgroup");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.many-at-once",
        clause: "safety: exec does not get into its own way",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let mut running = Vec::new();
            for i in 0..20 {
                running.push((
                    i,
                    w.spawn(Call::new(&["exec", &id, "/probe", "exit", &i.to_string()]))?,
                ));
            }
            for (i, r) in running {
                let out = r.wait()?;
                w.eq("exit status", out.code, i);
                w.eq("stderr", out.stderr.trim(), "");
            }
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.pid-file-is-right-under-load",
        clause: "safety: of many execs at once each pid file names its own program",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let mut running = Vec::new();
            for i in 0..30 {
                let path = w.scratch(&format!("{i}.pid")).to_string_lossy().into_owned();
                let mark = format!("mark-{i}-");
                let args = [
                    "exec",
                    "--detach",
                    "--pid-file",
                    &path,
                    &id,
                    "/probe",
                    "echo",
                    &mark,
                    "--",
                    "sleep",
                ];
                let started = w.spawn(Call::new(&args))?;
                running.push((path, mark, started));
            }
            for (path, mark, r) in running {
                require(&r.wait()?)?;
                let pid = std::fs::read_to_string(&path)?;
                // A detached exec may return just before the program replaces the runtime's own.
                let named = w.until(5, &format!("{pid} in the pid file of {mark} to be it"), |_| {
                    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    String::from_utf8_lossy(&line).contains(&mark).then_some(())
                });
                if named.is_err() {
                    let who = pid.parse().map(crate::leak::describe).unwrap_or_default();
                    w.is(false, format!("the pid file of {mark} names {who:?}"));
                }
            }
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.container-ends-meanwhile",
        clause: "safety: exec ends when the container is killed",
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let running = w.spawn(Call::new(&[
                "exec", &id, "/probe", "echo", "inside", "--", "sleep",
            ]))?;
            w.until(10, "exec to start", |_| {
                running.stdout().contains("inside").then_some(())
            })?;
            w.succeed(&["kill", &id, "KILL"])?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 137);
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "exec.user-namespace",
        clause: "reference: exec in a user namespace",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.args(&["sleep"]);
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let report = w.exec_report(&["--user", "7:8"])?;
            w.eq("uid", &report["uid"][0], 7);
            w.eq("gid", &report["gid"][0], 8);
            Ok(())
        },
        ..Case::SLEEP
    },
];
