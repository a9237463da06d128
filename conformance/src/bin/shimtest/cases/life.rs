//! A container from Create to Delete, and every answer and refusal of the Task service on the way.

use std::fs;
use std::path::PathBuf;

use conformance::messages::{self as m, code, status};
use prost::Message;
use serde_json::json;

use super::{Case, Done, case};
use crate::command;
use crate::scene::{Container, Scene, fails, is_alive, is_time, refused, same, soon, target};

pub fn cases() -> Vec<Case> {
    vec![
        case("life.whole", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            let state = c.state("")?;
            same("the state", &(state.status, state.pid), &(status::CREATED, c.pid))?;
            same("the bundle", &state.bundle, &c.bundle.path.display().to_string())?;
            let pid_file =
                fs::read_to_string(c.bundle.path.join("init.pid")).map_err(|e| format!("init.pid: {e}"))?;
            same("init.pid", pid_file.trim(), c.pid.to_string().as_str())?;
            c.start()?;
            let state = c.state("")?;
            same("the state", &(state.status, state.pid), &(status::RUNNING, c.pid))?;
            let connected = c.task.ask::<m::ConnectResponse>("Connect", "box", "")?;
            same("the pid of the task", &connected.task_pid, &c.pid)?;
            // sleep is the first of its PID namespace: what it does not handle, it ignores.
            c.kill("", libc::SIGTERM)?;
            c.kill("", libc::SIGKILL)?;
            same("the exit status", &c.wait("")?, &137)?;
            let state = c.state("")?;
            same(
                "the state",
                &(state.status, state.exit_status),
                &(status::STOPPED, 137),
            )?;
            is_time("exited_at", state.exited_at.as_ref())?;
            let gone = c.delete("")?;
            same(
                "what Delete answers",
                &(gone.pid, gone.exit_status),
                &(c.pid, 137),
            )?;
            is_time("exited_at", gone.exited_at.as_ref())?;
            s.shut_down(&c.task)?;
            same(
                "the events",
                s.daemon.story("box").join(" ").as_str(),
                "create start exit delete",
            )
        }),
        case("life.exit-status", |s| {
            let c = s.boot("box", "exit 7")?;
            c.start()?;
            same("the exit status", &c.wait("")?, &7)?;
            same("and again", &c.wait("")?, &7)?;
            same("what Delete answers", &c.delete("")?.exit_status, &7)?;
            s.shut_down(&c.task)
        }),
        case("life.signals", |s| {
            let c = s.boot(
                "box",
                "trap 'exit 9' TERM; echo >/tmp/ready; while :; do sleep 0.05; done",
            )?;
            c.start()?;
            until_ready(&c)?;
            c.kill("", libc::SIGTERM)?;
            same("the exit status", &c.wait("")?, &9)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.delete-what-never-ran", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.delete("")?;
            same("the process is there", &is_alive(c.pid), &false)?;
            s.shut_down(&c.task)
        }),
        case("life.unknown-container", unknown_container),
        case("life.wrong-state", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            fails("a second Start", c.task.ask::<m::PidResponse>("Start", "box", ""))?;
            fails(
                "Delete of what runs",
                c.task.ask::<m::DeleteResponse>("Delete", "box", ""),
            )?;
            fails("Resume of what runs", c.task.ask::<m::Empty>("Resume", "box", ""))?;
            same("the state", &c.state("")?.status, &status::RUNNING)?;
            c.kill("", libc::SIGKILL)?;
            c.wait("")?;
            refused(
                "Kill of what has ended",
                c.kill("", libc::SIGKILL),
                code::NOT_FOUND,
            )?;
            fails(
                "Pause of what has ended",
                c.task.ask::<m::Empty>("Pause", "box", ""),
            )?;
            fails(
                "Start of what has ended",
                c.task.ask::<m::PidResponse>("Start", "box", ""),
            )?;
            c.delete("")?;
            let again = c.task.ask::<m::DeleteResponse>("Delete", "box", "");
            refused("a second Delete", again, code::NOT_FOUND)?;
            s.shut_down(&c.task)
        }),
        case("life.create-fails", |s| {
            let bundle = s.bundle("box", "", |config| {
                config["process"]["args"] = json!(["no-such-program"])
            })?;
            let task = s.dial(&s.start(&bundle)?)?;
            let path = bundle.path.clone();
            let told = fails(
                "Create",
                task.call::<m::PidResponse>("Create", &s.creation(&bundle)),
            )?;
            for part in [
                "OCI runtime create failed: ",
                "executable file not found in $PATH",
            ] {
                same(&format!("{told:?} has {part:?}"), &told.contains(part), &true)?;
            }
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
            let root = path.join("rootfs").display().to_string();
            same("the root file system is mounted", &mounts.contains(&root), &false)?;
            let state = task.ask::<m::StateResponse>("State", "box", "");
            refused("State of what was not created", state, code::NOT_FOUND)?;
            s.shut_down(&task)?;
            same("the events", &s.daemon.story("box"), &Vec::<String>::new())
        }),
        case("life.create-fails-without-runtime", |s| {
            let bundle = s.bundle("box", "true", |_| {})?;
            let task = s.dial(&s.start(&bundle)?)?;
            let mut request = s.creation(&bundle);
            let options = m::RuncOptions {
                binary_name: "/no/such/runtime".into(),
                ..s.options()
            };
            request.options = Some(m::wrap("containerd.runc.v1.Options", &options));
            let told = fails("Create", task.call::<m::PidResponse>("Create", &request))?;
            same(
                &format!("{told:?} names it"),
                &told.contains("/no/such/runtime"),
                &true,
            )?;
            s.shut_down(&task)
        }),
        case("life.create-again-after-failure", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let task = s.dial(&s.start(&bundle)?)?;
            let mut request = s.creation(&bundle);
            request.rootfs[0].source = "/no/such/directory".into();
            fails("Create", task.call::<m::PidResponse>("Create", &request))?;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("life.generic-options", |s| {
            let body = format!(
                "BinaryName = \"{}\"\nRoot = \"{}\"\nNoPivotRoot = false\nSomethingNew = 7\n",
                s.lab.runtime.display(),
                s.dir.join("runc").display()
            );
            let options = m::GenericOptions {
                type_url: "io.containerd.runb.v2".into(),
                config_body: body.into_bytes(),
                ..Default::default()
            };
            let c = s.boot_with(
                "box",
                "exec sleep 600",
                |_| {},
                |request| {
                    request.options = Some(m::wrap("runtimeoptions.v1.Options", &options));
                },
            )?;
            let dir = s.dir.join("runc").join(&s.namespace).join("box");
            same("the state is below the root", &dir.exists(), &true)?;
            c.finish(s)
        }),
        case("life.files-in-the-bundle", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            let read =
                |name: &str| fs::read_to_string(c.bundle.path.join(name)).map_err(|e| format!("{name}: {e}"));
            same(
                "runtime",
                read("runtime")?.trim(),
                s.lab.runtime.display().to_string().as_str(),
            )?;
            let options: serde_json::Value =
                serde_json::from_str(&read("options.json")?).map_err(|e| format!("options.json: {e}"))?;
            same(
                "binary_name",
                &options["binary_name"],
                &json!(s.lab.runtime.display().to_string()),
            )?;
            same(
                "root",
                &options["root"],
                &json!(s.dir.join("runc").display().to_string()),
            )?;
            c.finish(s)
        }),
        case("life.rootfs-overlay", |s| {
            let (upper, work) = (s.dir.join("upper"), s.dir.join("work"));
            for dir in [&upper, &work] {
                fs::create_dir_all(dir).map_err(|e| e.to_string())?;
            }
            let lower = s.lab.rootfs();
            let c = s.boot_with(
                "box",
                "echo text >/file; exit 3",
                |_| {},
                |request| {
                    request.rootfs = vec![m::Mount {
                        r#type: "overlay".into(),
                        source: "overlay".into(),
                        target: String::new(),
                        options: vec![
                            format!("workdir={}", work.display()),
                            format!("upperdir={}", upper.display()),
                            format!("lowerdir={}", lower.display()),
                        ],
                    }];
                },
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &3)?;
            c.delete("")?;
            let written =
                fs::read_to_string(upper.join("file")).map_err(|e| format!("the upper layer: {e}"))?;
            same("what was written", written.as_str(), "text\n")?;
            s.shut_down(&c.task)
        }),
        case("life.rootfs-overlay-of-many-layers", many_layers),
        case("life.rootfs-read-only", |s| {
            let c = s.boot_with(
                "box",
                "touch /file && exit 1; exit 4",
                |_| {},
                |request| {
                    request.rootfs[0].options = vec!["rbind".into(), "ro".into()];
                },
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &4)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.rootfs-prepared-by-the-caller", |s| {
            // dockerd mounts the root file system itself.
            let root = s.lab.rootfs().display().to_string();
            let c = s.boot_with(
                "box",
                "exit 3",
                |config| config["root"]["path"] = json!(root),
                |request| {
                    request.rootfs.clear();
                },
            )?;
            c.start()?;
            same("the exit status", &c.wait("")?, &3)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.pause-and-resume", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            c.task.ask::<m::Empty>("Pause", "box", "")?;
            same("the state", &c.state("")?.status, &status::PAUSED)?;
            c.exec("late", "true", |_| {}).ok();
            fails("an exec in what is paused", c.start_exec("late"))?;
            c.task.ask::<m::Empty>("Resume", "box", "")?;
            same("the state", &c.state("")?.status, &status::RUNNING)?;
            s.daemon.await_event("box", "paused", soon())?;
            s.daemon.await_event("box", "resumed", soon())?;
            c.finish(s)
        }),
        case("life.killed-while-paused", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            c.task.ask::<m::Empty>("Pause", "box", "")?;
            c.end()?;
            s.daemon.await_event("box", "exit", soon())?;
            s.shut_down(&c.task)
        }),
        case("life.killed-from-outside", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let wait = c.task.send("Wait", &target("box", ""))?;
            conformance::kernel::kill(c.pid.cast_signed(), libc::SIGKILL).map_err(|e| e.to_string())?;
            same(
                "the exit status",
                &wait.take::<m::WaitResponse>(soon())?.exit_status,
                &137,
            )?;
            s.daemon.await_event("box", "exit", soon())?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.created-and-killed-from-outside", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            conformance::kernel::kill(c.pid.cast_signed(), libc::SIGKILL).map_err(|e| e.to_string())?;
            s.daemon.await_event("box", "exit", soon())?;
            same("the state", &c.state("")?.status, &status::STOPPED)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.host-pid-namespace-is-killed-whole", |s| {
            let without = |config: &mut serde_json::Value| {
                config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]);
            };
            let c = s.boot_with("box", "sleep 601 & exit 5", without, |_| {})?;
            c.start()?;
            same("the exit status", &c.wait("")?, &5)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.kill-all", |s| {
            let c = s.boot("box", "sleep 601 & exec sleep 602")?;
            c.start()?;
            let request = m::KillRequest {
                id: "box".into(),
                signal: 9,
                all: true,
                ..Default::default()
            };
            c.task.call::<m::Empty>("Kill", &request)?;
            same("the exit status", &c.wait("")?, &137)?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.pids", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            c.exec("probe", "exec sleep 600", |_| {})?;
            let exec = c.start_exec("probe")?;
            let pids = c.task.ask::<m::PidsResponse>("Pids", "box", "")?.processes;
            let mut found: Vec<u32> = pids.iter().map(|process| process.pid).collect();
            found.sort_unstable();
            let mut expected = [c.pid, exec];
            expected.sort_unstable();
            same("the pids", &found, &expected.to_vec())?;
            let info = pids
                .iter()
                .find(|process| process.pid == exec)
                .and_then(|process| process.info.clone());
            let info = info.ok_or("the exec has no details")?;
            same(
                "their type",
                info.type_url.as_str(),
                "containerd.runc.v1.ProcessDetails",
            )?;
            let details = m::ProcessDetails::decode(&info.value[..]).map_err(|e| e.to_string())?;
            same("the exec", details.exec_id.as_str(), "probe")?;
            c.finish(s)
        }),
        case("life.stats", stats),
        case("life.update", |s| {
            let c = s.boot_with(
                "box",
                "exec sleep 600",
                |config| {
                    config["linux"]["resources"] = json!({"memory": {"limit": 67_108_864}});
                },
                |_| {},
            )?;
            let limit = |bytes: u64| -> Done {
                let request = m::UpdateRequest {
                    id: "box".into(),
                    resources: Some(m::wrap_json(
                        "LinuxResources",
                        &json!({"memory": {"limit": bytes}}),
                    )),
                };
                c.task
                    .call::<m::Empty>("Update", &request)
                    .map_err(|e| format!("Update: {e}"))?;
                same("the limit", &memory_limit("box")?, &bytes)
            };
            limit(50_331_648)?;
            c.start()?;
            limit(33_554_432)?;
            let request = m::UpdateRequest {
                id: "box".into(),
                resources: Some(m::wrap_json(
                    "LinuxResources",
                    &json!({"memory": {"limit": "much"}}),
                )),
            };
            fails(
                "Update with nonsense",
                c.task.call::<m::Empty>("Update", &request),
            )?;
            c.finish(s)
        }),
        case("life.out-of-memory", |s| {
            let script = "dd if=/dev/zero of=/tmp/file bs=1M count=100 2>/dev/null; exit 6";
            let c = s.boot_with(
                "box",
                script,
                |config| {
                    config["linux"]["resources"] =
                        json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
                },
                |_| {},
            )?;
            c.start()?;
            c.wait("")?;
            s.daemon.await_event("box", "oom", soon())?;
            c.delete("")?;
            s.shut_down(&c.task)
        }),
        case("life.out-of-memory-once", one_kill),
        case("life.checkpoint-is-refused-clearly", |s| {
            // CRIU does not start on this kernel, and may not be installed; where it does, this is no failure.
            let c = s.boot("box", "exec sleep 600")?;
            c.start()?;
            let request = m::CheckpointRequest {
                id: "box".into(),
                path: s.dir.join("image").display().to_string(),
                options: None,
            };
            if let Err(failure) = c.task.call::<m::Empty>("Checkpoint", &request) {
                same("there is a message", &failure.to_string().is_empty(), &false)?;
                same("the server answered", &failure.code().is_some(), &true)?;
                same("the state", &c.state("")?.status, &status::RUNNING)?;
                c.end()?;
            } else {
                c.wait("")?;
                c.delete("")?;
            }
            s.shut_down(&c.task)
        }),
        case("life.ends-at-once-200-times", |s| {
            let first = s.bundle("box", "exec sleep 600", |_| {})?;
            let task = s.dial(&s.start(&first)?)?;
            let first = s.create(&task, first, |_| {})?;
            for n in 0..200 {
                let id = format!("c{n}");
                let bundle = s.bundle(&id, "", |config| config["process"]["args"] = json!(["true"]))?;
                let c = s.create(&task, bundle, |_| {})?;
                c.start().map_err(|e| format!("{id}: {e}"))?;
                same("the exit status", &c.wait("")?, &0)?;
                c.delete("")?;
                s.daemon.await_event(&id, "delete", soon())?;
                let story = s.daemon.story(&id).join(" ");
                same(
                    &format!("the events of {id}"),
                    story.as_str(),
                    "create start exit delete",
                )?;
            }
            first.finish(s)
        }),
    ]
}

/// Waits for the file that a script writes when its traps are set.
fn until_ready(c: &Container) -> Done {
    let file = PathBuf::from(format!("/proc/{}/root/tmp/ready", c.pid));
    command::until("the container is ready", soon(), || file.exists())
}

fn unknown_container(s: &mut Scene) -> Done {
    let c = s.boot("box", "exec sleep 600")?;
    let not_found = code::NOT_FOUND;
    for method in [
        "State", "Start", "Delete", "Wait", "Pids", "Pause", "Resume", "Stats",
    ] {
        refused(method, c.task.ask::<m::Empty>(method, "other", ""), not_found)?;
    }
    let id = || "other".to_owned();
    let kill = m::KillRequest {
        id: id(),
        signal: 9,
        ..Default::default()
    };
    refused("Kill", c.task.call::<m::Empty>("Kill", &kill), not_found)?;
    let exec = m::ExecRequest {
        id: id(),
        exec_id: "e".into(),
        ..Default::default()
    };
    refused("Exec", c.task.call::<m::Empty>("Exec", &exec), not_found)?;
    let resize = m::ResizeRequest {
        id: id(),
        ..Default::default()
    };
    refused(
        "ResizePty",
        c.task.call::<m::Empty>("ResizePty", &resize),
        not_found,
    )?;
    let close = m::CloseIoRequest {
        id: id(),
        stdin: true,
        ..Default::default()
    };
    refused("CloseIO", c.task.call::<m::Empty>("CloseIO", &close), not_found)?;
    let checkpoint = m::CheckpointRequest {
        id: id(),
        ..Default::default()
    };
    refused(
        "Checkpoint",
        c.task.call::<m::Empty>("Checkpoint", &checkpoint),
        not_found,
    )?;
    let update = m::UpdateRequest {
        id: id(),
        resources: Some(m::wrap_json("LinuxResources", &json!({}))),
    };
    refused("Update", c.task.call::<m::Empty>("Update", &update), not_found)?;
    // This one is asked for liveness, and answers.
    same(
        "Connect's pid",
        &c.task.ask::<m::ConnectResponse>("Connect", "other", "")?.task_pid,
        &0,
    )?;
    c.finish(s)
}

fn stats(s: &mut Scene) -> Done {
    let c = s.boot(
        "box",
        "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; exec sleep 600",
    )?;
    c.start()?;
    let figures = || -> Result<(String, u64, u64, u64), String> {
        let stats = c
            .task
            .ask::<m::StatsResponse>("Stats", "box", "")?
            .stats
            .ok_or("Stats is empty")?;
        let broken = |e: prost::DecodeError| e.to_string();
        Ok(match stats.type_url.as_str() {
            "io.containerd.cgroups.v1.Metrics" => {
                let all = m::MetricsV1::decode(&stats.value[..]).map_err(broken)?;
                let cpu = all.cpu.and_then(|cpu| cpu.usage).unwrap_or_default().total;
                let memory = all
                    .memory
                    .and_then(|memory| memory.usage)
                    .unwrap_or_default()
                    .usage;
                ("v1".into(), all.pids.unwrap_or_default().current, cpu, memory)
            }
            "io.containerd.cgroups.v2.Metrics" => {
                let all = m::MetricsV2::decode(&stats.value[..]).map_err(broken)?;
                let (cpu, memory) = (
                    all.cpu.unwrap_or_default().usage,
                    all.memory.unwrap_or_default().usage,
                );
                ("v2".into(), all.pids.unwrap_or_default().current, cpu, memory)
            }
            other => return Err(format!("Stats carries a {other}")),
        })
    };
    command::until("there are figures", soon(), || {
        figures().is_ok_and(|(_, pids, cpu, memory)| pids > 0 && cpu > 0 && memory > 0)
    })
    .map_err(|e| format!("{e}; they are {:?}", figures()))?;
    let is_v1 = std::path::Path::new("/sys/fs/cgroup/memory").exists();
    same(
        "the shape",
        figures()?.0.as_str(),
        if is_v1 { "v1" } else { "v2" },
    )?;
    c.kill("", libc::SIGKILL)?;
    c.wait("")?;
    // containerd looks for the reason of a death there.
    let (_, pids, cpu, _) = figures().map_err(|e| format!("after the exit: {e}"))?;
    same("processes after the exit", &pids, &0)?;
    same("the time is still told", &(cpu > 0), &true)?;
    c.delete("")?;
    refused(
        "Stats after Delete",
        c.task.ask::<m::Empty>("Stats", "box", ""),
        code::NOT_FOUND,
    )?;
    s.shut_down(&c.task)
}

/// One process is killed, and the container goes on: one event, before the exit; and the figures tell it, too.
fn one_kill(s: &mut Scene) -> Done {
    let script = "awk 'BEGIN { s = \"x\"; while (1) s = s s }'; exit 6";
    let c = s.boot_with(
        "box",
        script,
        |config| {
            config["linux"]["resources"] = json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}});
        },
        |_| {},
    )?;
    c.start()?;
    same("the exit status", &c.wait("")?, &6)?;
    let stats = c.task.ask::<m::StatsResponse>("Stats", "box", "")?.stats;
    let stats = stats.ok_or("Stats is empty")?;
    let broken = |e: prost::DecodeError| e.to_string();
    let kills = match stats.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            let all = m::MetricsV1::decode(&stats.value[..]).map_err(broken)?;
            all.oom_control.map(|oom| oom.kills)
        }
        _ => {
            let all = m::MetricsV2::decode(&stats.value[..]).map_err(broken)?;
            all.events.map(|events| events.kills)
        }
    };
    same("the kills that Stats tells", &kills, &Some(1))?;
    c.delete("")?;
    s.shut_down(&c.task)?;
    let story = s.daemon.story("box").join(" ");
    same("the events", story.as_str(), "create start oom exit delete")
}

fn memory_limit(id: &str) -> Result<u64, String> {
    let files = [
        format!("/sys/fs/cgroup/memory/default/{id}/memory.limit_in_bytes"),
        format!("/sys/fs/cgroup/default/{id}/memory.max"),
    ];
    let text = files
        .iter()
        .find_map(|file| fs::read_to_string(file).ok())
        .ok_or("no memory cgroup")?;
    text.trim().parse().map_err(|e| format!("{text:?}: {e}"))
}

/// More layers than the options of one mount have room for.
fn many_layers(s: &mut Scene) -> Done {
    let layers = s
        .dir
        .join("layers-with-a-name-that-is-long-so-that-the-options-of-the-mount-do-not-fit-into-one-page");
    let (upper, work) = (s.dir.join("upper"), s.dir.join("work"));
    let mut lower = Vec::new();
    for n in 0..60 {
        let dir = layers.join(format!("{n}")).join("fs");
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        fs::write(dir.join(format!("file-{n}")), "").map_err(|e| e.to_string())?;
        lower.push(dir.display().to_string());
    }
    for dir in [&upper, &work] {
        fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    }
    // The last one has the programs, and has to lie beside the others.
    let base = layers.join("base").join("fs");
    fs::create_dir_all(&base).map_err(|e| e.to_string())?;
    let mut copy = std::process::Command::new("cp");
    command::run(
        copy.arg("-a").arg(s.lab.rootfs().join(".")).arg(&base),
        "",
        soon(),
    )?
    .ok()?;
    lower.push(base.display().to_string());
    let c = s.boot_with(
        "box",
        "exit $(ls / | grep -c ^file-)",
        |_| {},
        |request| {
            request.rootfs = vec![m::Mount {
                r#type: "overlay".into(),
                source: "overlay".into(),
                target: String::new(),
                options: vec![
                    "index=off".into(),
                    format!("workdir={}", work.display()),
                    format!("upperdir={}", upper.display()),
                    format!("lowerdir={}", lower.join(":")),
                ],
            }];
        },
    )?;
    c.start()?;
    same("the layers that are seen", &c.wait("")?, &60)?;
    c.delete("")?;
    s.shut_down(&c.task)
}
