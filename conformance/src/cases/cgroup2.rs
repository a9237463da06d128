//! cgroup version 2: what its limits do, and what only version 2 has. Which file says what is in `limits`.
//!
//! The development machine has none of these controllers in version 2; a guest has (`make test-vm`).

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::limits::{devices, judge_devices};
use crate::case::{Case, Cond, Level, Need, Step};
use crate::world::{Call, Ended, World, require};

const MEMORY: &[Need] = &[Need::Root, Need::V2Controller("memory")];
const CPU: &[Need] = &[Need::Root, Need::V2Controller("cpu")];
const CPUSET: &[Need] = &[Need::Root, Need::V2Controller("cpuset")];
const PIDS: &[Need] = &[Need::Root, Need::V2Controller("pids")];
const CREATED: &[Step] = &[Step::Create];
const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);

fn file(w: &mut World, name: &str, want: &str) -> Ended {
    let got = w.cgroup_file("", name)?;
    w.eq(name, got, want);
    Ok(())
}

/// A parent of the case's own, on which nothing of the harness depends; the leak check removes it.
fn own_parent(tag: &str) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(format!("{tag}-parent"))
}

/// Gives the parent a threaded child: it becomes the root of a threaded tree, and its other children are invalid.
fn make_threaded_tree(w: &mut World) -> Ended {
    let parent = own_parent(&w.setup.place.tag);
    fs::create_dir_all(parent.join("other"))?;
    fs::write(parent.join("other/cgroup.type"), "threaded")?;
    Ok(())
}

fn remove_threaded_tree(w: &mut World) -> Ended {
    let id = w.id.clone();
    // Before the parent can go.
    let _ = w.call(Call::new(&["delete", "--force", &id]))?;
    let parent = own_parent(&w.setup.place.tag);
    fs::remove_dir(parent.join("other"))?;
    let _ = fs::remove_dir(parent.join("box"));
    fs::remove_dir(parent)?;
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "cgroup2.controllers",
        clause: "config-linux.md#control-groups; reference: every controller that the parent can give",
        needs: PIDS,
        config: |s| s.args(&["sleep"]),
        steps: CREATED,
        expect: |w| {
            let offered = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
            let got = w.cgroup_file("", "cgroup.controllers")?;
            let got: Vec<&str> = got.split_whitespace().collect();
            for controller in offered.split_whitespace() {
                w.is(
                    got.contains(&controller),
                    format!("{controller} is not in {got:?}"),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    // Memory.
    Case {
        id: "cgroup2.memory-swap-without-limit",
        clause: "reference: swap is a sum, and half a sum is an error",
        needs: MEMORY,
        config: |s| s.set("/linux/resources/memory", json!({"swap": 67_108_864})),
        steps: &[Step::Fails(&Step::Create, &["swap limit without memory limit"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.memory-swap-below-limit",
        clause: "reference: memory+swap is at least memory",
        needs: MEMORY,
        config: |s| {
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "swap": 33_554_432}),
            )
        },
        steps: &[Step::Fails(
            &Step::Create,
            &["memory+swap limit should be >= memory limit"],
        )],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.memory-limit-kills",
        clause: "config-linux.md#memory limit",
        needs: MEMORY,
        config: |s| {
            s.set(
                "/linux/resources/memory",
                json!({"limit": 33_554_432, "swap": 33_554_432}),
            );
            s.args(&["eat", "100000000"]);
        },
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let dir = w.cgroup("")?;
                let id = w.id.clone();
                w.succeed(&["start", &id])?;
                w.wait(Cond::Status("stopped"), 20)?;
                let events = fs::read_to_string(dir.join("memory.events"))?;
                w.is(
                    events.lines().any(|line| line == "oom_kill 1"),
                    format!("memory.events counts no kill: {events}"),
                );
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "cgroup2.memory-limit-exit-status",
        clause: "config-linux.md#memory limit; reference: 137 for a run whose container was killed",
        needs: MEMORY,
        config: |s| {
            s.set(
                "/linux/resources/memory",
                json!({"limit": 33_554_432, "swap": 33_554_432}),
            );
            s.args(&["eat", "100000000"]);
        },
        steps: &[Step::Exits(&Step::Run, 137)],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.memory-too-small-to-start",
        clause: "reference: a create that the kernel kills for its own limit says so",
        needs: MEMORY,
        config: |s| {
            // More than the kernel may have set aside for the cgroup before it counts, and nothing that it can take back.
            s.file("/data/large", &"x".repeat(1 << 20));
            s.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.set("/linux/resources/memory", json!({"limit": 8192, "swap": 8192}));
        },
        steps: &[Step::Fails(&Step::Create, &["OOM-killed"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.events-out-of-memory",
        clause: "reference events: a record of type oom; the command ends with the container",
        needs: MEMORY,
        config: |s| {
            s.set(
                "/linux/resources/memory",
                json!({"limit": 33_554_432, "swap": 33_554_432}),
            );
            // A child is killed, and init goes on: the record is the cgroup's, not init's end.
            s.args(&["wait-file", "/tmp/go", "--", "eat", "100000000"]);
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let events = w.spawn(Call::new(&["events", "--interval", "100ms", &id]))?;
            w.until(10, "the first stats", |_| {
                events.stdout().contains("\"stats\"").then_some(())
            })?;
            fs::write(w.in_rootfs("/tmp/go"), "")?;
            w.wait(Cond::Status("stopped"), 10)?;
            w.until(5, "the record of the kill", |_| {
                events.stdout().contains("\"oom\"").then_some(())
            })?;
            w.succeed(&["delete", "--force", &id])?;
            let out = events.wait()?;
            let oom = out
                .lines()
                .iter()
                .any(|l| l["type"] == "oom" && l["id"] == id.as_str());
            w.is(oom, "no record of type oom");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.events-stats",
        clause: "reference events --stats: the shape that monitors read",
        needs: MEMORY,
        config: |s| {
            s.args(&["eat", "2000000", "--", "spin", "30", "--", "sleep"]);
            s.set("/linux/resources/memory", json!({"limit": 67_108_864}));
            s.set("/linux/resources/pids", json!({"limit": 44}));
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("spin"), 10)],
        expect: |w| {
            let id = w.id.clone();
            let out = w.succeed(&["events", "--stats", &id])?;
            let s = out.lines().into_iter().next().unwrap_or_default();
            w.eq("type", &s["type"], "stats");
            let data = &s["data"];
            w.is(
                data["cpu"]["usage"]["total"].as_u64() > Some(1_000_000),
                format!("cpu.usage: {}", data["cpu"]["usage"]),
            );
            w.eq(
                "memory.usage.limit",
                &data["memory"]["usage"]["limit"],
                67_108_864,
            );
            w.is(
                data["memory"]["usage"]["usage"].as_u64() > Some(1_000_000),
                format!("memory.usage: {}", data["memory"]["usage"]),
            );
            w.is(data["memory"]["raw"]["anon"].is_u64(), "no memory.raw.anon");
            w.eq("pids", &data["pids"], json!({"current": 1, "limit": 44}));
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "cgroup2.cpuset",
        clause: "config-linux.md#cpu cpus mems",
        needs: CPUSET,
        config: |s| s.set("/linux/resources/cpu", json!({"cpus": "0", "mems": "0"})),
        expect: |w| w.fact("/affinity", [0]),
        ..Case::RUN
    },
    // Processes.
    Case {
        id: "cgroup2.pids-limit-holds",
        clause: "config-linux.md#pids",
        needs: PIDS,
        config: |s| {
            s.set("/linux/resources/pids", json!({"limit": 8}));
            s.args(&["fork", "30", "--", "sleep"]);
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("fork"), 10)],
        expect: |w| {
            let done = w.did(&["fork"])?;
            let children = done["value"].as_array().map_or(0, Vec::len);
            w.eq("children that could be made", children, 7);
            Ok(())
        },
        ..Case::RUN
    },
    // unified.
    Case {
        id: "cgroup2.unified-unknown-controller",
        clause: "config-linux.md#unified: a missing controller is an error that names it",
        needs: PIDS,
        config: |s| s.set("/linux/resources/unified", json!({"nothing.max": "7"})),
        steps: &[Step::Fails(&Step::Create, &["nothing.max"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.unified-refused-value",
        clause: "config-linux.md#unified: what the kernel refuses is an error that names the file",
        needs: PIDS,
        config: |s| s.set("/linux/resources/unified", json!({"pids.max": "many"})),
        steps: &[Step::Fails(&Step::Create, &["pids.max"])],
        ..Case::RUN
    },
    // Update.
    Case {
        id: "cgroup2.update-by-flags",
        clause: "reference update: the flags are what --resources is",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "swap": 67_108_864}),
            );
        },
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&[
                "--memory",
                "33554432",
                "--memory-swap",
                "50331648",
                "--memory-reservation",
                "16777216",
                "--pids-limit",
                "17",
                "--cpu-quota",
                "25000",
                "--cpu-period",
                "50000",
                "--cpuset-cpus",
                "0",
                "--cpuset-mems",
                "0",
            ]),
        ],
        expect: |w| {
            file(w, "memory.max", "33554432")?;
            file(w, "memory.swap.max", "16777216")?;
            file(w, "memory.low", "16777216")?;
            file(w, "pids.max", "17")?;
            file(w, "cpu.max", "25000 50000")?;
            file(w, "cpuset.cpus", "0")?;
            file(w, "cpuset.mems", "0")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.update-memory-below-usage",
        clause: "config-linux.md#memory checkBeforeUpdate (1.1): refused instead of killed",
        needs: MEMORY,
        config: |s| s.args(&["eat", "20000000", "--", "sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("eat"), 10),
            Step::Do(|w| {
                let id = w.id.clone();
                let resources =
                    json!({"memory": {"limit": 4_194_304, "checkBeforeUpdate": true}}).to_string();
                let out = w.call(Call::new(&["update", "--resources", "-", &id]).stdin(&resources))?;
                w.is(!out.ok(), "a limit below what is in use was accepted");
                w.mentions(&out, &["usage"]);
                let status = w.status()?;
                w.eq("status", status, "running");
                file(w, "memory.max", "max")
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.update-refused-value-changes-nothing",
        clause: "reference update: a failed update restores what was",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/pids", json!({"limit": 50}));
        },
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(
                &Step::Update(&["--pids-limit", "40", "--cpuset-cpus", "999"]),
                &[],
            ),
        ],
        expect: |w| file(w, "pids.max", "50"),
        ..Case::RUN
    },
    Case {
        id: "cgroup2.devices",
        clause: "reference 2.4; reference update: the device list is never touched",
        needs: PIDS,
        config: devices,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| judge_devices(w, "at first")),
            Step::Update(&["--pids-limit", "29"]),
        ],
        expect: |w| judge_devices(w, "after update"),
        ..Case::RUN
    },
    // Trees.
    Case {
        id: "cgroup2.invalid-parent-with-limit",
        clause: "reference: a limit that needs a domain, in a threaded tree, is an error that says so",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            let tag = s.place.tag.clone();
            s.set("/linux/cgroupsPath", json!(format!("/{tag}-parent/box")));
            s.set("/linux/resources/memory", json!({"limit": 67_108_864}));
        },
        steps: &[
            Step::Do(make_threaded_tree),
            Step::Fails(&Step::Create, &["cgroup"]),
            Step::Do(|w| {
                let left = own_parent(&w.setup.place.tag).join("box");
                w.is(!left.exists(), "the cgroup of the failed create is still there");
                remove_threaded_tree(w)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "cgroup2.invalid-parent-becomes-threaded",
        clause: "reference: without such a limit the container lives in a threaded cgroup",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            let tag = s.place.tag.clone();
            s.set("/linux/cgroupsPath", json!(format!("/{tag}-parent/box")));
            s.set("/linux/resources/pids", json!({"limit": 44}));
        },
        steps: &[
            Step::Do(make_threaded_tree),
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                file(w, "cgroup.type", "threaded")?;
                let out = w.exec(&[], &["/probe", "echo", "inside"])?;
                require(&out)?;
                remove_threaded_tree(w)
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "cgroup2.private-namespace",
        clause: "config-linux.md#namespaces cgroup",
        needs: PIDS,
        config: |s| {
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "ro"],
            );
            s.args(&["report", "--", "mkdir", "/sys/fs/cgroup/x"]);
        },
        expect: |w| {
            w.fact("/cgroup", ["0::/"])?;
            let m = w.mount_at("/sys/fs/cgroup")?;
            w.eq("root of the mount", m.root, "/");
            w.errno(&["mkdir"], libc::EROFS)
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.host-namespace",
        clause: "config-linux.md#namespaces; reference: without a cgroup namespace the container's own cgroup is bound",
        needs: PIDS,
        config: |s| {
            s.drop_namespace("cgroup");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "ro"],
            );
            s.args(&["report", "--", "read", "/sys/fs/cgroup/cgroup.procs"]);
        },
        expect: |w| {
            let path = w.setup.place.cgroups_path();
            w.fact("/cgroup", [format!("0::{path}")])?;
            let m = w.mount_at("/sys/fs/cgroup")?;
            w.eq("type", m.kind, "cgroup2");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.delegation",
        clause: "reference: a container with user and cgroup namespaces owns its cgroup, and none of its limits",
        needs: &[Need::Root, Need::V2Controller("memory"), Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "rw"],
            );
            s.args(&[
                "mkdir",
                "/sys/fs/cgroup/x",
                "--",
                "write",
                "/sys/fs/cgroup/x/cgroup.procs",
                "1",
                "--",
                "write",
                "/sys/fs/cgroup/memory.max",
                "max",
                "--",
                "sleep",
            ]);
        },
        steps: &[
            Step::Create,
            Step::Do(|w| {
                use std::os::unix::fs::MetadataExt;
                let dir = w.cgroup("")?;
                for (name, owner) in [("", 100_000), ("cgroup.procs", 100_000), ("memory.max", 0)] {
                    let uid = fs::metadata(dir.join(name))?.uid();
                    w.eq(&format!("owner of {name:?}"), uid, owner);
                }
                Ok(())
            }),
            Step::Start,
            Step::Wait(Cond::Said("memory.max"), 10),
        ],
        expect: |w| {
            w.errno(&["mkdir"], 0)?;
            w.errno(&["write", "/sys/fs/cgroup/x/cgroup.procs"], 0)?;
            w.errno(&["write", "/sys/fs/cgroup/memory.max"], libc::EACCES)
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.no-delegation-of-a-read-only-view",
        clause: "reference: what is mounted read-only is not given away",
        needs: &[Need::Root, Need::V2Controller("memory"), Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "ro"],
            );
            s.args(&["sleep"]);
        },
        steps: CREATED,
        expect: |w| {
            use std::os::unix::fs::MetadataExt;
            let uid = fs::metadata(w.cgroup("")?)?.uid();
            w.eq("owner of the cgroup", uid, 0);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup2.exec-after-the-init-moved",
        clause: "reference exec: where the cgroup has children, exec goes to init's own (runc#2356)",
        needs: PIDS,
        config: |s| {
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "rw"],
            );
            s.args(&[
                "mkdir",
                "/sys/fs/cgroup/init",
                "--",
                "write",
                "/sys/fs/cgroup/init/cgroup.procs",
                "1",
                "--",
                "write",
                "/sys/fs/cgroup/cgroup.subtree_control",
                "+pids",
                "--",
                "sleep",
            ]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("subtree_control"), 10),
            Step::Do(|w| {
                w.errno(&["write", "/sys/fs/cgroup/cgroup.subtree_control"], 0)?;
                let report = w.exec_report(&[])?;
                w.eq("cgroup of exec", &report["cgroup"], ["0::/init"]);
                let id = w.id.clone();
                // Pause, stats and removal mean the whole tree.
                w.succeed(&["pause", &id])?;
                w.wait(Cond::Status("paused"), 5)?;
                w.succeed(&["resume", &id])?;
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "cgroup2.pause-is-the-freezer",
        clause: "reference pause: cgroup.freeze, and back",
        needs: PIDS,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Pause,
            Step::Do(|w| {
                file(w, "cgroup.freeze", "1")?;
                let events = w.cgroup_file("", "cgroup.events")?;
                w.contains("cgroup.events", &events, &["frozen 1"]);
                Ok(())
            }),
            Step::Resume,
        ],
        expect: |w| file(w, "cgroup.freeze", "0"),
        ..Case::SLEEP
    },
    Case {
        id: "cgroup2.kill-reaches-sub-cgroups",
        clause: "reference delete --force: cgroup.kill, for all below as well",
        needs: PIDS,
        level: Level::Must,
        config: |s| {
            // Without a PID namespace init's end takes nobody along.
            s.drop_namespace("pid");
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "rw"],
            );
            s.args(&["fork", "10", "--", "mkdir", "/sys/fs/cgroup/x", "--", "sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("mkdir"), 10),
            Step::Do(|w| {
                let (dir, init) = (w.cgroup("")?, w.pid()?);
                let members = w.cgroup_file("", "cgroup.procs")?;
                for pid in members.lines().filter(|pid| *pid != init.to_string()) {
                    fs::write(dir.join("x/cgroup.procs"), pid)?;
                }
                let id = w.id.clone();
                w.succeed(&["delete", "--force", &id])?;
                w.is(!dir.exists(), "the cgroup is still there");
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
];
