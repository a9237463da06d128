//! Faults: the runtime killed at any point of its work, and kernels or filters that refuse newer system calls.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::case::{Case, Cond, Level, Need, Step};
use crate::denial;
use crate::host::CgroupMode;
use crate::kernel::{self, BeforeExec};
use crate::leak;
use crate::world::{Call, Ended, Trouble, World, require};

/// How often one command is killed, each time a little later.
const POINTS: u32 = 30;

/// Spins, because a sleep of some microseconds takes longer than the step that is to be hit.
fn pass(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Starts a command and kills it, and only it, after `time`.
fn kill_after(w: &mut World, call: Call, time: Duration) -> Ended {
    let running = w.spawn(call)?;
    pass(time);
    let _ = running.signal(libc::SIGKILL);
    running.wait().map(drop)
}

/// What a caller does after a killed runtime.
fn clear(w: &mut World, point: Duration) -> Ended {
    clear_after(w, &format!("killed after {} us", point.as_micros()))
}

/// `delete --force`, and nothing is left.
fn clear_after(w: &mut World, after: &str) -> Ended {
    let id = w.id.clone();
    let out = w.call(Call::new(&["delete", "--force", &id]))?;
    w.is(
        out.ok(),
        format!("{after}: delete --force failed: {}", out.messages().trim()),
    );
    let root = w.root();
    let left: Vec<String> = std::fs::read_dir(&root)?
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .filter(|n| *n == id)
        .collect();
    w.is(left.is_empty(), format!("{after}: the state is still there"));
    let gone = w.until(3, "all processes to end", |_| {
        while let Ok(Some(_)) = kernel::reap_any() {}
        leak::descendants(std::process::id()).is_empty().then_some(())
    });
    if gone.is_err() {
        let alive: Vec<String> = leak::descendants(std::process::id())
            .into_iter()
            .map(leak::describe)
            .collect();
        w.is(false, format!("{after}: left {alive:?}"));
        for pid in leak::descendants(std::process::id()) {
            let _ = kernel::kill(pid, libc::SIGKILL);
        }
    }
    let cgroups = leak::find_cgroups(&w.setup.place);
    w.is(cgroups.is_empty(), format!("{after}: left {cgroups:?}"));
    leak::remove_cgroups(&w.setup.place);
    Ok(())
}

fn time_of(w: &mut World, verb: &str, flags: &[&str]) -> Result<Duration, Trouble> {
    let out = w.launch(verb, flags)?;
    require(&out)?;
    let id = w.id.clone();
    w.succeed(&["delete", "--force", &id])?;
    Ok(out.took)
}

/// The runtime with these system calls failing creates, runs and enters a container like any other.
fn without(w: &mut World, calls: &[&str]) -> Ended {
    let numbers: Vec<u32> = calls.iter().filter_map(|c| denial::parse_call(c)).collect();
    let arch = denial::audit_arch().ok_or_else(|| Trouble::Skip("no filters for this CPU".into()))?;
    for errno in [libc::ENOSYS, libc::EPERM] {
        let filter =
            || BeforeExec::Filter(kernel::denying(&numbers, u16::try_from(errno).unwrap_or(1), arch));
        let name = if errno == libc::ENOSYS { "ENOSYS" } else { "EPERM" };
        let call = w.launching("run", &["--detach"])?.before(filter());
        let out = w.call(call)?;
        w.is(
            out.ok(),
            format!("run with {calls:?} answering {name}: {}", out.messages().trim()),
        );
        if !out.ok() {
            continue;
        }
        w.wait(Cond::Said("report"), 10)?;
        w.fact("/pid", 1)?;
        let masked = w.did(&["open", "w", "/proc/sys/kernel/hostname"])?;
        w.eq("errno of writing a read-only path", &masked["errno"], libc::EROFS);
        let id = w.id.clone();
        let out = w.call(Call::new(&["exec", &id, "/probe", "exit", "6"]).before(filter()))?;
        w.eq(&format!("exec with {calls:?} answering {name}"), out.code, 6);
        let out = w.call(Call::new(&["delete", "--force", &id]).before(filter()))?;
        require(&out)?;
    }
    Ok(())
}

fn sleeper(s: &mut crate::config::Setup) {
    s.args(&[
        "open",
        "w",
        "/proc/sys/kernel/hostname",
        "--",
        "report",
        "--",
        "sleep",
    ]);
    let dir = s.outside_dir("bound");
    s.bind(&dir, "/data", &["ro"]);
}

/// Runs a container, replaces the text of its record and deletes it by force: nothing may be left.
fn spoil(w: &mut World, change: impl Fn(&str) -> Option<String>) -> Ended {
    let out = w.launch("run", &["--detach"])?;
    require(&out)?;
    let file = w.root().join(&w.id).join("state.json");
    let Ok(old) = std::fs::read_to_string(&file) else {
        return Err(Trouble::Skip("this runtime keeps its record elsewhere".into()));
    };
    let new = change(&old).ok_or_else(|| Trouble::Skip("this runtime's record is another one".into()))?;
    std::fs::write(&file, &new)?;
    let out = w.call(Call::new(&["list"]))?;
    w.is(out.ok(), format!("list fails: {}", out.messages().trim()));
    clear_after(w, &format!("record replaced by {new:?}"))
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "faults.create-killed",
        clause: "safety: create killed at any point; delete --force clears",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let whole = time_of(w, "create", &[])?;
            for n in 0..POINTS {
                let point = whole * n / POINTS;
                let call = w.launching("create", &[])?;
                kill_after(w, call, point)?;
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.child-killed",
        clause: "safety: a child of create killed at any point makes create fail in good time, never hang",
        deadline: 180,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let whole = time_of(w, "create", &[])?;
            for n in 0..POINTS {
                let point = whole * n / POINTS;
                let call = w.launching("create", &[])?.seconds(15);
                let running = w.spawn(call)?;
                pass(point);
                for pid in leak::descendants(u32::try_from(running.pid()).unwrap_or(0)) {
                    let _ = kernel::kill(pid, libc::SIGKILL);
                }
                let out = running.wait()?;
                let killed = format!("children killed after {} us", point.as_micros());
                w.is(
                    out.ok() || !out.stderr.trim().is_empty(),
                    format!("{killed}: create failed without a word"),
                );
                let errors = out.log.iter().filter(|r| r["level"] == "error").count();
                w.is(
                    out.ok() || errors == 1,
                    format!("{killed}: {errors} error records"),
                );
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.run-killed",
        clause: "safety: run killed at any point; delete --force clears",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let whole = time_of(w, "run", &["--detach"])? * 2;
            for n in 0..POINTS {
                let point = whole * n / POINTS;
                let call = w.launching("run", &[])?;
                kill_after(w, call, point)?;
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.start-killed",
        clause: "safety: start killed at any point; delete --force clears",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            for n in 0..POINTS {
                let out = w.launch("create", &[])?;
                require(&out)?;
                let id = w.id.clone();
                let point = Duration::from_micros(u64::from(n) * 300);
                kill_after(w, Call::new(&["start", &id]), point)?;
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.delete-killed",
        clause: "safety: delete killed at any point; another delete --force clears",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &["--detach"])?;
            require(&out)?;
            let id = w.id.clone();
            let whole = w.succeed(&["delete", "--force", &id])?.took;
            for n in 0..POINTS {
                let out = w.launch("run", &["--detach"])?;
                require(&out)?;
                let point = whole * n / POINTS;
                kill_after(w, Call::new(&["delete", "--force", &id]), point)?;
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.exec-killed",
        clause: "safety: exec killed at any point harms neither the container nor the next exec",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Status("running"), 5),
            Step::Do(|w| {
                let whole = {
                    let out = w.exec(&[], &["/probe", "exit", "0"])?;
                    require(&out)?;
                    out.took
                };
                let id = w.id.clone();
                for n in 0..POINTS {
                    kill_after(
                        w,
                        Call::new(&["exec", &id, "/probe", "exit", "0"]),
                        whole * n / POINTS,
                    )?;
                }
                let out = w.exec(&[], &["/probe", "exit", "3"])?;
                w.eq("exit status of the next exec", out.code, 3);
                let status = w.status()?;
                w.eq("status", status, "running");
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "faults.state-after-killed-create",
        clause: "safety: state, list and kill end in good time after a killed create",
        deadline: 120,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let whole = time_of(w, "create", &[])?;
            for n in 1..8u32 {
                let point = whole * n / 8;
                let call = w.launching("create", &[])?;
                kill_after(w, call, point)?;
                let id = w.id.clone();
                let _ = w.call(Call::new(&["state", &id]))?;
                let _ = w.call(Call::new(&["list"]))?;
                let _ = w.call(Call::new(&["kill", &id, "KILL"]))?;
                clear(w, point)?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.foreground-run-killed",
        clause: "reference: a container outlives its run; it can be seen and deleted",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?;
            let running = w.spawn(call)?;
            w.wait(Cond::Status("running"), 10)?;
            running.signal(libc::SIGKILL)?;
            running.wait()?;
            let status = w.status()?;
            w.is(
                status == "running" || status == "stopped",
                format!("status {status}"),
            );
            let id = w.id.clone();
            w.succeed(&["delete", "--force", &id]).map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.no-memory-for-the-init",
        clause: "safety: an init that cannot allocate ends alone; its runtime, or whoever has its number, is not signalled",
        config: |s| {
            // Where the numbers of processes mean the same to both.
            s.drop_namespace("pid");
            s.args(&["exit", "0"]);
            s.set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_AS", "soft": 1, "hard": 1}]),
            );
            for n in 0..8 {
                s.set(
                    "/process/env/-",
                    json!(format!("LARGE{n}={}", "x".repeat(100_000))),
                );
            }
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &["--detach"])?;
            w.is(
                out.code < 128,
                format!("the runtime ended with {}: {}", out.code, out.messages().trim()),
            );
            let id = w.id.clone();
            w.succeed(&["delete", "--force", &id]).map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.part-of-the-container-frozen",
        clause: "safety: delete --force of a container a part of which is frozen",
        needs: &[Need::Root, Need::V1("freezer")],
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Status("running"), 5),
            Step::Do(|w| {
                let part = w.cgroup("freezer")?.join("part");
                std::fs::create_dir(&part)?;
                let pid = w.pid()?;
                std::fs::write(part.join("cgroup.procs"), pid.to_string())?;
                std::fs::write(part.join("freezer.state"), "FROZEN")?;
                let id = w.id.clone();
                w.succeed(&["delete", "--force", &id]).map(drop)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "faults.damaged-record",
        clause: "safety: delete --force clears a container whose state cannot be read",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            for text in ["", "{", "{}", "[]", "null", "{\"version\":1}"] {
                spoil(w, |_| Some(text.to_owned()))?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.newer-record",
        clause: "safety: delete --force clears a container of a version that is not known yet",
        config: |s| {
            // Nothing but the record says where its cgroup is.
            s.unset("/linux/cgroupsPath");
            s.args(&["sleep"]);
        },
        steps: &[Step::Do(|w| {
            spoil(w, |old| {
                let mut record: serde_json::Value = serde_json::from_str(old).ok()?;
                *record.get_mut("version")? = 1_000_000.into();
                Some(record.to_string())
            })
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.pid-file-that-cannot-be-written",
        clause: "safety: a pid file that cannot be replaced is an error and leaves nothing beside it",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let dir = w.scratch("pids");
            let file = dir.join("pid");
            std::fs::create_dir_all(&file)?;
            let name = file.to_string_lossy().into_owned();
            let out = w.launch("create", &["--pid-file", &name])?;
            w.is(!out.ok(), "create succeeded without its pid file");
            w.nothing_made();
            let left: Vec<String> = std::fs::read_dir(&dir)?
                .flatten()
                .map(|e| e.file_name().to_string_lossy().into_owned())
                .collect();
            w.eq("what is beside the pid file", left, ["pid"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.full-disk-for-an-update",
        clause: "safety: an update that cannot be recorded changes nothing",
        needs: &[Need::Root, Need::Controller("pids")],
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/pids", serde_json::json!({"limit": 50}));
        },
        steps: &[Step::Do(|w| {
            let root = w.root();
            w.mount_tmpfs(&root, 0, "size=256k")?;
            let out = w.launch("run", &["--detach"])?;
            require(&out)?;
            let mut filler = std::fs::File::create(root.join("filler"))?;
            while filler.write(&[0; 4096]).is_ok() {}
            let id = w.id.clone();
            let out = w.call(Call::new(&["update", "--pids-limit", "70", &id]))?;
            w.is(!out.ok(), "update succeeded with a full disk");
            let tree = match w.setup.place.cgroups {
                CgroupMode::V2 => "",
                _ => "pids",
            };
            let limit = w.cgroup_file(tree, "pids.max")?;
            w.eq("pids.max after the failed update", limit, "50");
            drop(filler);
            std::fs::remove_file(root.join("filler"))?;
            w.succeed(&["delete", "--force", &id]).map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.log-that-nobody-reads",
        clause: "safety: a log that is a FIFO without a reader is an error, not a wait",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let fifo = w.scratch("log.fifo");
            kernel::make_fifo(&fifo, 0o600)?;
            let name = fifo.to_string_lossy().into_owned();
            let call = w
                .launching("create", &[])?
                .without_log()
                .global(&["--log", &name])
                .seconds(5);
            let out = w.call(call)?;
            w.is(!out.ok(), "create succeeded without its log");
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "faults.full-disk-for-the-log",
        clause: "safety: a log that cannot be written is an error before anything is made",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let call = w
                .launching("create", &[])?
                .without_log()
                .global(&["--log", "/no/such/directory/log"]);
            let out = w.call(call)?;
            w.is(!out.ok(), "create succeeded without its log");
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "fallback.clone3",
        clause: "safety: filters that refuse clone3, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| without(w, &["clone3"]))],
        ..Case::IDLE
    },
    Case {
        id: "fallback.openat2",
        clause: "safety: filters that refuse openat2, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| without(w, &["openat2"]))],
        ..Case::IDLE
    },
    Case {
        id: "fallback.new-mount-calls",
        clause: "safety: filters that refuse fsopen, open_tree and their kin, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| {
            without(w, &["fsopen", "fsconfig", "fsmount", "open_tree", "move_mount"])
        })],
        ..Case::IDLE
    },
    Case {
        id: "fallback.mount-setattr",
        clause: "safety: filters that refuse mount_setattr, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| without(w, &["mount_setattr"]))],
        ..Case::IDLE
    },
    Case {
        id: "fallback.close-range",
        clause: "safety: filters that refuse close_range, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| without(w, &["close_range"]))],
        ..Case::IDLE
    },
    Case {
        id: "fallback.all-at-once",
        clause: "safety: an old profile that refuses all newer calls, with ENOSYS and with EPERM",
        config: sleeper,
        steps: &[Step::Do(|w| {
            let all = [
                "clone3",
                "openat2",
                "fsopen",
                "fsconfig",
                "fsmount",
                "open_tree",
                "move_mount",
                "mount_setattr",
                "close_range",
            ];
            without(w, &all)
        })],
        ..Case::IDLE
    },
];
