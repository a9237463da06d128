//! update and events: limits changed and consumption told while the container runs.

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Need, Step};
use crate::world::{Call, Ended, World};

const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);
const MEMORY: &[Need] = &[Need::Root, Need::V1("memory")];
const PIDS: &[Need] = &[Need::Root, Need::V1("pids")];
const CPU: &[Need] = &[Need::Root, Need::V1("cpu")];

fn file(w: &mut World, controller: &str, name: &str, want: &str) -> Ended {
    let got = w.cgroup_file(controller, name)?;
    w.eq(&format!("{controller} {name}"), got, want);
    Ok(())
}

/// One object of `events --stats`.
fn stats(w: &mut World) -> Result<Value, crate::world::Trouble> {
    let id = w.id.clone();
    let out = w.succeed(&["events", "--stats", &id])?;
    let line = out.lines().into_iter().next();
    line.ok_or_else(|| crate::world::Trouble::Fail(format!("events --stats wrote no JSON: {}", out.stdout)))
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "update.memory",
        clause: "reference update --memory --memory-reservation",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/memory", json!({"limit": 67_108_864}));
        },
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--memory", "33554432", "--memory-reservation", "16777216"]),
        ],
        expect: |w| {
            file(w, "memory", "memory.limit_in_bytes", "33554432")?;
            file(w, "memory", "memory.soft_limit_in_bytes", "16777216")
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.memory-with-suffix",
        clause: "reference update: sizes may have a suffix",
        level: Level::Should,
        needs: MEMORY,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--memory", "64m"]),
        ],
        expect: |w| file(w, "memory", "memory.limit_in_bytes", "67108864"),
        ..Case::SLEEP
    },
    Case {
        id: "update.cpu",
        clause: "reference update --cpu-share --cpu-quota --cpu-period",
        needs: CPU,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&[
                "--cpu-share",
                "300",
                "--cpu-quota",
                "25000",
                "--cpu-period",
                "50000",
            ]),
        ],
        expect: |w| {
            file(w, "cpu", "cpu.shares", "300")?;
            file(w, "cpu", "cpu.cfs_quota_us", "25000")?;
            file(w, "cpu", "cpu.cfs_period_us", "50000")
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.quota-alone-keeps-period",
        clause: "reference update: a lone quota keeps the period",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/cpu", json!({"quota": 40_000, "period": 80_000}));
        },
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--cpu-quota", "20000"]),
        ],
        expect: |w| {
            file(w, "cpu", "cpu.cfs_quota_us", "20000")?;
            file(w, "cpu", "cpu.cfs_period_us", "80000")
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.cpuset",
        clause: "reference update --cpuset-cpus",
        needs: &[Need::Root, Need::V1("cpuset")],
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--cpuset-cpus", "0"]),
        ],
        expect: |w| file(w, "cpuset", "cpuset.cpus", "0"),
        ..Case::SLEEP
    },
    Case {
        id: "update.pids",
        clause: "reference update --pids-limit",
        needs: PIDS,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--pids-limit", "17"]),
        ],
        expect: |w| file(w, "pids", "pids.max", "17"),
        ..Case::SLEEP
    },
    Case {
        id: "update.from-stdin",
        clause: "reference update --resources -: containerd and CRI-O use this",
        needs: PIDS,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let id = w.id.clone();
                let text = json!({"pids": {"limit": 19}, "cpu": {"shares": 400}}).to_string();
                let out = w.call(Call::new(&["update", "--resources", "-", &id]).stdin(&text))?;
                crate::world::require(&out)
            }),
        ],
        expect: |w| {
            file(w, "pids", "pids.max", "19")?;
            file(w, "cpu", "cpu.shares", "400")
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.resource-control-of-a-container-without",
        clause: "reference update --l3-cache-schema, --mem-bw-schema: the machine has it, then the container's configuration",
        level: Level::Should,
        expect: |w| {
            let none = "updating a non-existent Intel RDT configuration is not supported";
            for (flag, words) in [
                (
                    "--l3-cache-schema=L3:0=f",
                    "Intel RDT/CAT: l3 cache schema is not enabled",
                ),
                (
                    "--mem-bw-schema=MB:0=70",
                    "Intel RDT/MBA: memory bandwidth schema is not enabled",
                ),
            ] {
                let id = w.id.clone();
                let out = w.refuse(&["update", flag, &id])?;
                w.mentions_one(&out, &[words, none]);
            }
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.not-an-object",
        clause: "reference update --resources: anything but an object is an error",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let id = w.id.clone();
                let out = w.call(Call::new(&["update", "--resources", "-", &id]).stdin("[]"))?;
                w.is(!out.ok(), "a list was taken for resources");
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "update.from-file",
        clause: "reference update --resources FILE: the other options are ignored",
        needs: PIDS,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let id = w.id.clone();
                let path = w.scratch("resources.json");
                std::fs::write(&path, json!({"pids": {"limit": 23}}).to_string())?;
                let path = path.to_string_lossy().into_owned();
                w.succeed(&["update", "--resources", &path, "--pids-limit", "5", &id])
                    .map(drop)
            }),
        ],
        expect: |w| file(w, "pids", "pids.max", "23"),
        ..Case::SLEEP
    },
    Case {
        id: "update.leaves-devices-alone",
        clause: "reference update: the device list is never touched",
        needs: &[Need::Root, Need::V1("devices")],
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Do(|w| {
                let before = w.cgroup_file("devices", "devices.list")?;
                let id = w.id.clone();
                w.succeed(&["update", "--pids-limit", "29", &id])?;
                let after = w.cgroup_file("devices", "devices.list")?;
                w.eq("the device list", after, before);
                Ok(())
            }),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "update.refused-value-changes-nothing",
        clause: "reference update: a failed update restores what was",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources", json!({"devices": [{"allow": false, "access": "rwm"}], "cpu": {"shares": 512}, "pids": {"limit": 50}}));
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
        expect: |w| {
            file(w, "cpu", "cpu.shares", "512")?;
            file(w, "pids", "pids.max", "50")
        },
        ..Case::SLEEP
    },
    Case {
        id: "update.bad-number",
        clause: "reference update: a value that is no number",
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Fails(&Step::Update(&["--memory", "lots"]), &["lots"]),
        ],
        ..Case::SLEEP
    },
    Case {
        id: "update.survives-in-the-record",
        clause: "reference: a second update keeps what the first one set",
        needs: MEMORY,
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Update(&["--memory", "67108864"]),
            Step::Update(&["--pids-limit", "33"]),
        ],
        expect: |w| {
            file(w, "memory", "memory.limit_in_bytes", "67108864")?;
            file(w, "pids", "pids.max", "33")
        },
        ..Case::SLEEP
    },
    Case {
        id: "events.stats",
        clause: "reference events --stats: the shape that monitors read",
        needs: MEMORY,
        config: |s| {
            s.args(&["eat", "2000000", "--", "spin", "30", "--", "sleep"]);
            s.set("/linux/resources/memory", json!({"limit": 67_108_864}));
            s.set("/linux/resources/pids", json!({"limit": 44}));
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("spin"), 10)],
        expect: |w| {
            let s = stats(w)?;
            let id = w.id.clone();
            w.eq("type", &s["type"], "stats");
            w.eq("id", &s["id"], id);
            let data = &s["data"];
            w.is(
                data["cpu"]["usage"]["total"].as_u64() > Some(1_000_000),
                format!("cpu.usage: {}", data["cpu"]["usage"]),
            );
            for key in ["user", "kernel"] {
                w.is(data["cpu"]["usage"][key].is_u64(), format!("no cpu.usage.{key}"));
            }
            w.eq(
                "memory.usage.limit",
                &data["memory"]["usage"]["limit"],
                67_108_864,
            );
            w.is(
                data["memory"]["usage"]["usage"].as_u64() > Some(1_000_000),
                format!("memory.usage: {}", data["memory"]["usage"]),
            );
            w.is(data["memory"]["raw"]["rss"].is_u64(), "no memory.raw.rss");
            w.eq("pids", &data["pids"], json!({"current": 1, "limit": 44}));
            w.is(data["blkio"].is_object(), "no blkio");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "events.stats-leave-out-zeroes",
        clause: "reference events --stats: a part of which nothing was measured is not there",
        level: Level::Should,
        expect: |w| {
            let s = stats(w)?;
            let cpu = &s["data"]["cpu"];
            w.is(cpu["usage"].is_object(), "no cpu.usage");
            w.is(
                cpu["throttling"].is_null(),
                "cpu.throttling although nothing was throttled",
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "events.not-running",
        clause: "reference events: on a stopped container an error",
        config: |s| s.args(&["exit", "0"]),
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Status("stopped"), 10)],
        expect: |w| {
            let id = w.id.clone();
            let out = w.refuse(&["events", "--stats", &id])?;
            w.mentions(&out, &["not running"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "events.out-of-memory",
        clause: "reference events: a record of type oom; the command ends with the container",
        needs: MEMORY,
        config: |s| {
            s.set(
                "/linux/resources/memory",
                json!({"limit": 33_554_432, "swap": 33_554_432}),
            );
            s.args(&["wait-file", "/tmp/go", "--", "eat", "100000000"]);
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let events = w.spawn(Call::new(&["events", "--interval", "100ms", &id]))?;
            w.until(10, "the first stats", |_| {
                events.stdout().contains("\"stats\"").then_some(())
            })?;
            std::fs::write(w.in_rootfs("/tmp/go"), "")?;
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
        id: "events.interval",
        clause: "reference events --interval",
        level: Level::Should,
        // It watches for lack of memory too.
        needs: &[Need::Root, Need::Controller("memory")],
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let events = w.spawn(Call::new(&["events", "--interval", "50ms", &id]))?;
            w.until(5, "three records", |_| {
                (events.stdout().matches("\"stats\"").count() >= 3).then_some(())
            })?;
            w.succeed(&["delete", "--force", &id])?;
            let out = events.wait()?;
            w.eq("exit status", out.code, 0);
            Ok(())
        },
        ..Case::SLEEP
    },
];
