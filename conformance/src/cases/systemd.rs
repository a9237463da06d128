//! The systemd driver: the cgroup is a unit. What systemd says is asked of `systemctl`, what the kernel has is read from cgroupfs.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use super::limits::{devices, judge_devices};
use crate::case::{Case, Cond, Level, Need, Step};
use crate::config::Setup;
use crate::kernel;
use crate::leak;
use crate::world::{Call, Ended, Output, Trouble, World, require};

const NEEDS: &[Need] = &[Need::Root, Need::Systemd];
const V2: &[Need] = &[Need::Root, Need::Systemd, Need::V2Controller("memory")];
const V1: &[Need] = &[Need::Root, Need::Systemd, Need::V1("memory")];
const USERS: &[Need] = &[
    Need::Root,
    Need::Systemd,
    Need::V2,
    Need::Path("/run/user/1000/bus"),
];

/// An ordinary user with a systemd of their own.
const USER: u32 = 1000;

const CREATE: Step = Step::Do(create);
const STARTED: &[Step] = &[CREATE, Step::Start];

/// `slice:prefix:name`, with the tag as name.
fn unit_path(s: &mut Setup, slice: &str) {
    let path = format!("{slice}:cf:{}", s.place.tag);
    s.set("/linux/cgroupsPath", json!(path));
}

fn sleeper(s: &mut Setup) {
    s.args(&["sleep"]);
    s.bare();
    unit_path(s, "system.slice");
}

fn limited(s: &mut Setup, resources: &serde_json::Value) {
    sleeper(s);
    for (area, value) in resources.as_object().into_iter().flatten() {
        s.set(&format!("/linux/resources/{area}"), value.clone());
    }
}

fn scope(w: &World) -> String {
    format!("cf-{}.scope", w.setup.place.tag)
}

fn try_create(w: &mut World) -> Result<Output, Trouble> {
    let call = w.launching("create", &[])?.global(&["--systemd-cgroup"]);
    w.call(call)
}

fn create(w: &mut World) -> Ended {
    require(&try_create(w)?)
}

/// What it prints.
pub fn systemctl(args: &[&str]) -> Result<String, Trouble> {
    let out = Command::new("systemctl").args(args).output()?;
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// What systemd says of a unit.
fn property(unit: &str, name: &str) -> Result<String, Trouble> {
    systemctl(&["show", "--property", name, "--value", unit])
}

/// A problem for each property of the unit that has another value.
pub fn properties(w: &mut World, unit: &str, wanted: &[(&str, &str)]) -> Ended {
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    let shown = systemctl(&["show", "--property", &names.join(","), unit])?;
    for (name, value) in wanted {
        let got = shown
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        w.eq(&format!("{name} of {unit}"), got, value);
    }
    Ok(())
}

/// Files of the container's v2 cgroup.
fn files(w: &mut World, wanted: &[(&str, &str)]) -> Ended {
    for (file, value) in wanted {
        let got = w.cgroup_file("", file)?;
        w.eq(file, got, value);
    }
    Ok(())
}

/// No unit and no cgroup with the case's name; a moment is granted, because units are unloaded when systemd gets round to it.
fn nothing_left(w: &mut World, after: &str) -> Ended {
    let pattern = format!("*{}*", w.setup.place.tag);
    let left = |w: &World| -> Result<Vec<String>, Trouble> {
        let units = systemctl(&["list-units", "--all", "--no-legend", "--plain", &pattern])?;
        let cgroups = leak::find_cgroups(&w.setup.place);
        Ok(units
            .lines()
            .map(str::to_owned)
            .chain(cgroups.iter().map(|c| c.display().to_string()))
            .collect())
    };
    let end = Instant::now() + Duration::from_secs(5);
    let mut found = left(w)?;
    while !found.is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        found = left(w)?;
    }
    w.is(found.is_empty(), format!("{after}: left {found:?}"));
    Ok(())
}

/// Gives the case's directories to the user, and a copy of the runtime that they can reach.
fn lend(w: &mut World) -> Ended {
    let dir = w.setup.place.dir.clone();
    for part in ["", "bundle", "state", "tmp", "out", "outside"] {
        std::os::unix::fs::chown(dir.join(part), Some(USER), Some(USER))?;
    }
    let copy = dir.join(w.runtime.file_name().unwrap_or_default());
    std::fs::copy(&w.runtime, &copy)?;
    w.runtime = copy;
    Ok(())
}

fn users_bundle(s: &mut Setup) {
    s.user_namespace(USER);
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    s.set("/linux/uidMappings", map.clone());
    s.set("/linux/gidMappings", map);
    s.set(
        "/linux/resources",
        json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 30}}),
    );
    s.unset("/linux/cgroupsPath");
    s.args(&["sleep"]);
}

fn as_user(call: Call) -> Call {
    call.user(USER)
        .dir(std::path::Path::new("/"))
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
}

fn quota(w: &mut World, file: &str, told: &str) -> Ended {
    files(w, &[("cpu.max", file)])?;
    let unit = scope(w);
    properties(w, &unit, &[("CPUQuotaPerSecUSec", told)])
}

fn device(s: &mut Setup) {
    devices(s);
    unit_path(s, "system.slice");
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "systemd.scope",
        clause: "reference 2.8.3: the unit is PREFIX-NAME.scope in the slice, with delegation",
        needs: NEEDS,
        config: sleeper,
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            properties(
                w,
                &unit,
                &[
                    ("LoadState", "loaded"),
                    ("ActiveState", "active"),
                    ("Slice", "system.slice"),
                    ("Delegate", "yes"),
                    ("MemoryAccounting", "yes"),
                    ("TasksAccounting", "yes"),
                    ("DefaultDependencies", "no"),
                    ("Transient", "yes"),
                ],
            )?;
            let pid = w.pid()?;
            let listed = systemctl(&["status", "--no-pager", "--lines=0", &unit])?;
            w.contains("systemctl status", &listed, &[&pid.to_string()]);
            let group = property(&unit, "ControlGroup")?;
            w.eq("ControlGroup", group, format!("/system.slice/{unit}"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.default-name",
        clause: "reference 2.8.1: without cgroupsPath system.slice, the runtime's name and the id",
        needs: NEEDS,
        config: |s| {
            s.args(&["sleep"]);
            s.unset("/linux/cgroupsPath");
        },
        steps: STARTED,
        expect: |w| {
            let unit = format!("{}-{}.scope", w.runtime_name, w.id);
            properties(w, &unit, &[("ActiveState", "active"), ("Slice", "system.slice")])
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.without-dbus",
        clause: "reference: root reaches systemd without a bus as well",
        needs: NEEDS,
        config: sleeper,
        steps: &[Step::Do(|w| {
            let address = "unix:path=/nonexistent/bus";
            let call = w.launching("create", &[])?.global(&["--systemd-cgroup"]);
            require(&w.call(call.env("DBUS_SYSTEM_BUS_ADDRESS", address))?)?;
            let unit = scope(w);
            properties(w, &unit, &[("ActiveState", "active")])?;
            let id = w.id.clone();
            let call = Call::new(&["delete", "--force", &id]).env("DBUS_SYSTEM_BUS_ADDRESS", address);
            require(&w.call(call)?)?;
            nothing_left(w, "delete")
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.nested-slice",
        clause: "reference 2.8.3: a-b.slice lies in a.slice",
        needs: NEEDS,
        config: |s| {
            s.args(&["sleep"]);
            unit_path(s, "cfone-two.slice");
        },
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            let group = property(&unit, "ControlGroup")?;
            w.eq(
                "ControlGroup",
                group,
                format!("/cfone.slice/cfone-two.slice/{unit}"),
            );
            let hierarchy = if w.setup.place.cgroups == crate::host::CgroupMode::V2 {
                ""
            } else {
                "memory"
            };
            let seen = w.cgroup(hierarchy)?.display().to_string();
            w.is(
                seen.ends_with(&format!("/cfone.slice/cfone-two.slice/{unit}")),
                format!("init is in {seen}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.path-of-another-form",
        clause: "reference 1.1: cgroupsPath has to be slice:prefix:name",
        needs: NEEDS,
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let out = try_create(w)?;
            w.is(!out.ok(), "a path of cgroupfs was accepted");
            w.mentions(
                &out,
                &["expected cgroupsPath to be of format \"slice:prefix:name\""],
            );
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.invalid-slice",
        clause: "reference: a slice's name ends in .slice and has no empty part",
        needs: NEEDS,
        config: |s| {
            s.args(&["sleep"]);
            unit_path(s, "a--b.slice");
        },
        steps: &[Step::Do(|w| {
            let out = try_create(w)?;
            w.is(!out.ok(), "the slice a--b.slice was accepted");
            w.mentions(&out, &["invalid slice name: a--b.slice"]);
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.absent",
        clause: "reference 1.1: an error when systemd is not running",
        needs: &[Need::Root, Need::NoSystemd],
        config: sleeper,
        steps: &[Step::Do(|w| {
            let out = try_create(w)?;
            w.is(!out.ok(), "create succeeded without systemd");
            w.mentions(
                &out,
                &["systemd not running on this host, cannot use systemd cgroups manager"],
            );
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.quota-in-whole-percents",
        clause: "reference 2.8.3: a quota is rounded up, in the kernel too, so that a daemon-reload changes nothing",
        needs: V2,
        config: |s| limited(s, &json!({"cpu": {"quota": 12_345, "period": 50_000}})),
        steps: &[
            CREATE,
            Step::Start,
            Step::Do(|w| quota(w, "12500 50000", "250ms")),
            Step::Update(&["--cpu-quota", "22222"]),
        ],
        expect: |w| {
            quota(w, "22500 50000", "450ms")?;
            systemctl(&["daemon-reload"])?;
            quota(w, "22500 50000", "450ms")
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.limits-v1",
        clause: "reference 2.8.3: limits of v1 as properties and as files",
        needs: V1,
        config: |s| {
            limited(
                s,
                &json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 77},
                    "cpu": {"shares": 512, "quota": 12_345, "period": 50_000, "cpus": "0"}}),
            );
        },
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            properties(
                w,
                &unit,
                &[
                    ("MemoryLimit", "67108864"),
                    ("TasksMax", "77"),
                    ("CPUShares", "512"),
                    ("CPUQuotaPerSecUSec", "250ms"),
                    ("DevicePolicy", "strict"),
                ],
            )?;
            for (controller, file, value) in [
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("pids", "pids.max", "77"),
                ("cpu", "cpu.shares", "512"),
                ("cpu", "cpu.cfs_quota_us", "12500"),
                ("cpu", "cpu.cfs_period_us", "50000"),
                ("cpuset", "cpuset.cpus", "0"),
            ] {
                let got = w.cgroup_file(controller, file)?;
                w.eq(file, got, value);
            }
            for controller in ["freezer", "devices", "blkio", "perf_event"] {
                let path = w.cgroup(controller)?.display().to_string();
                w.is(
                    path.ends_with(&unit),
                    format!("init is in {path} of {controller}"),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.update-v1",
        clause: "reference 2.8.3: update on v1, a lone quota with the period of before",
        needs: V1,
        config: |s| {
            limited(
                s,
                &json!({"memory": {"limit": 134_217_728}, "cpu": {"quota": 20_000, "period": 50_000}}),
            );
        },
        steps: &[
            CREATE,
            Step::Start,
            Step::Update(&[
                "--memory",
                "67108864",
                "--pids-limit",
                "44",
                "--cpu-quota",
                "12345",
            ]),
        ],
        expect: |w| {
            let unit = scope(w);
            for (controller, file, value) in [
                ("memory", "memory.limit_in_bytes", "67108864"),
                ("pids", "pids.max", "44"),
                ("cpu", "cpu.cfs_quota_us", "12500"),
                ("cpu", "cpu.cfs_period_us", "50000"),
            ] {
                let got = w.cgroup_file(controller, file)?;
                w.eq(file, got, value);
            }
            properties(
                w,
                &unit,
                &[
                    ("MemoryLimit", "67108864"),
                    ("TasksMax", "44"),
                    ("CPUQuotaPerSecUSec", "250ms"),
                ],
            )
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.slice-unit",
        clause: "reference 2.8.3: a name that ends in .slice is a slice, its process in the slice itself",
        level: Level::Should,
        needs: V2,
        config: |s| {
            s.args(&["sleep"]);
            let path = format!("system.slice:cf:cf{}.slice", s.place.tag.replace('-', "_"));
            s.set("/linux/cgroupsPath", json!(path));
            s.set("/linux/resources/pids", json!({"limit": 44}));
        },
        steps: STARTED,
        expect: |w| {
            let unit = format!("cf{}.slice", w.setup.place.tag.replace('-', "_"));
            files(w, &[("pids.max", "44")])?;
            properties(w, &unit, &[("ActiveState", "active"), ("TasksMax", "44")])?;
            let id = w.id.clone();
            w.succeed(&["delete", "--force", &id])?;
            properties(w, &unit, &[("ActiveState", "inactive")])
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.annotations",
        clause: "reference 2.8.3: org.systemd.property.NAME, Sec as USec",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.set(
                "/annotations",
                json!({"org.systemd.property.TimeoutStopSec": "uint64 123", "org.systemd.property.CollectMode": "'inactive-or-failed'"}),
            );
        },
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            properties(
                w,
                &unit,
                &[
                    ("TimeoutStopUSec", "2min 3s"),
                    ("CollectMode", "inactive-or-failed"),
                ],
            )
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.wrong-annotation",
        clause: "reference: the value is gvariant text",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.set(
                "/annotations",
                json!({"org.systemd.property.TimeoutStopSec": "("}),
            );
        },
        steps: &[Step::Do(|w| {
            let out = try_create(w)?;
            w.is(!out.ok(), "a value that is no gvariant text was accepted");
            w.mentions(&out, &["org.systemd.property.TimeoutStopSec"]);
            w.nothing_made();
            nothing_left(w, "a failed create")
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.refused-property",
        clause: "safety: what systemd refuses is told, and nothing is left",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.set(
                "/annotations",
                json!({"org.systemd.property.NoSuchThing": "true"}),
            );
        },
        steps: &[Step::Do(|w| {
            let out = try_create(w)?;
            w.is(!out.ok(), "a property that does not exist was accepted");
            w.mentions(&out, &["NoSuchThing"]);
            w.nothing_made();
            nothing_left(w, "a failed create")
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.exec",
        clause: "reference 2.9: an additional process is in the unit's cgroup",
        needs: NEEDS,
        config: sleeper,
        steps: STARTED,
        expect: |w| {
            let init = w.pid()?;
            let id = w.id.clone();
            let running = w.spawn(Call::new(&["exec", &id, "/probe", "sleep"]))?;
            let other = w.until(10, "the second process", |w| {
                let dir = w.cgroup(if w.setup.place.cgroups == crate::host::CgroupMode::V2 {
                    ""
                } else {
                    "memory"
                });
                let text = std::fs::read_to_string(dir.ok()?.join("cgroup.procs")).ok()?;
                text.lines()
                    .filter_map(|l| l.parse::<i32>().ok())
                    .find(|p| *p != init)
            })?;
            let of = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            w.eq("the cgroups of the second process", of(other), of(init));
            running.signal(libc::SIGKILL)?;
            running.wait()?;
            Ok(kernel::kill(other, libc::SIGKILL)?)
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.pause",
        clause: "reference 1.2: pause and resume under the systemd driver",
        needs: NEEDS,
        config: sleeper,
        steps: &[
            CREATE,
            Step::Start,
            Step::Pause,
            Step::Wait(Cond::Status("paused"), 5),
            Step::Resume,
            Step::Wait(Cond::Status("running"), 5),
            Step::Pause,
        ],
        expect: |w| {
            let id = w.id.clone();
            w.succeed(&["delete", "--force", &id])?;
            nothing_left(w, "delete of a paused container")
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.kill-all",
        clause: "reference 1.2: SIGKILL reaches every process when the pid namespace is shared",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.drop_namespace("pid");
            s.args(&["fork", "3", "--", "sleep"]);
        },
        steps: &[
            CREATE,
            Step::Start,
            Step::Wait(Cond::Said("fork"), 10),
            Step::Kill("KILL"),
            Step::Wait(Cond::Status("stopped"), 10),
            Step::Delete,
        ],
        expect: |w| nothing_left(w, "delete"),
        ..Case::RUN
    },
    Case {
        id: "systemd.devices-survive-a-reload",
        clause: "reference 2.4: daemon-reload takes no device away, and gives none (runc#3708)",
        needs: NEEDS,
        config: device,
        steps: STARTED,
        expect: |w| {
            judge_devices(w, "at first")?;
            systemctl(&["daemon-reload"])?;
            judge_devices(w, "after daemon-reload")?;
            let unit = scope(w);
            systemctl(&["set-property", "--runtime", &unit, "TasksMax=500"])?;
            judge_devices(w, "after set-property")?;
            let id = w.id.clone();
            w.succeed(&["update", "--pids-limit", "400", &id])?;
            systemctl(&["daemon-reload"])?;
            judge_devices(w, "after update and daemon-reload")
        },
        deadline: 180,
        ..Case::RUN
    },
    Case {
        id: "systemd.failed-unit-of-the-same-name",
        clause: "reference 2.8.3: UnitExists: the failed unit is reset (runc#3312)",
        needs: NEEDS,
        config: sleeper,
        steps: &[Step::Do(|w| {
            let unit = scope(w);
            let run = Command::new("systemd-run")
                .args([
                    "--scope",
                    "--quiet",
                    "--property=RuntimeMaxSec=1",
                    "--unit",
                    &unit,
                    "sleep",
                    "60",
                ])
                .status()?;
            w.is(!run.success(), "the scope did not run into its time limit");
            w.until(10, "the unit to fail", |_| {
                (property(&unit, "ActiveState").ok()? == "failed").then_some(())
            })?;
            create(w)?;
            properties(w, &unit, &[("ActiveState", "active")])
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.unit-of-somebody-else",
        clause: "safety: a unit that is in use is refused, and left alone",
        needs: NEEDS,
        config: sleeper,
        steps: &[Step::Do(|w| {
            let unit = scope(w);
            let mut other = Command::new("systemd-run")
                .args(["--scope", "--quiet", "--unit", &unit, "sleep", "600"])
                .spawn()?;
            let started = w.until(10, "the other unit", |_| {
                (property(&unit, "ActiveState").ok()? == "active").then_some(())
            });
            let out = try_create(w)?;
            w.is(!out.ok(), "create took a unit that was there");
            let state = property(&unit, "ActiveState")?;
            w.eq("the other unit", state, "active");
            w.is(matches!(other.try_wait(), Ok(None)), "its process was ended");
            let _ = other.kill();
            let _ = other.wait();
            w.nothing_made();
            // systemd takes the cgroup away when it hears of the end.
            w.until(10, "the other unit to be taken away", |w| {
                leak::find_cgroups(&w.setup.place).is_empty().then_some(())
            })?;
            started
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.delete-leaves-nothing",
        clause: "safety: 100 create/delete cycles leave no unit and no cgroup",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Do(|w| {
            let id = w.id.clone();
            for n in 0..100 {
                create(w)?;
                // Most are deleted while they wait, some after they have ended.
                if n % 5 == 0 {
                    w.succeed(&["start", &id])?;
                    w.wait(Cond::Status("stopped"), 20)?;
                }
                w.succeed(&["delete", "--force", &id])?;
                w.transcript.clear();
            }
            nothing_left(w, "100 cycles")
        })],
        deadline: 600,
        ..Case::IDLE
    },
    Case {
        id: "systemd.killed-create",
        clause: "safety: kill -9 at any moment; delete --force clears, units included",
        needs: NEEDS,
        config: sleeper,
        steps: &[Step::Do(|w| {
            let since = Instant::now();
            create(w)?;
            let took = since.elapsed();
            let id = w.id.clone();
            w.succeed(&["delete", "--force", &id])?;
            // Each has a unit of its own, so that one look at the end finds what any of them left.
            for n in 0..30 {
                w.id = format!("{id}-{n}");
                let path = format!("system.slice:cf:{}-{n}", w.setup.place.tag);
                w.setup.set("/linux/cgroupsPath", json!(path));
                let point = took * n / 25;
                let call = w.launching("create", &[])?.global(&["--systemd-cgroup"]);
                let running = w.spawn(call)?;
                std::thread::sleep(point);
                let _ = running.signal(libc::SIGKILL);
                running.wait()?;
                w.succeed(&["delete", "--force", &format!("{id}-{n}")])?;
                while let Ok(Some(_)) = kernel::reap_any() {}
                w.transcript.clear();
            }
            w.id = id;
            nothing_left(
                w,
                &format!("killed up to {} ms after its start", (took * 29 / 25).as_millis()),
            )
        })],
        deadline: 300,
        ..Case::IDLE
    },
    Case {
        id: "systemd.outlives-its-unit",
        clause: "safety: delete works when systemd has forgotten the unit",
        needs: NEEDS,
        config: sleeper,
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            systemctl(&["kill", "--signal=KILL", &unit])?;
            w.wait(Cond::Status("stopped"), 20)?;
            let id = w.id.clone();
            w.succeed(&["delete", &id])?;
            nothing_left(w, "delete")
        },
        deadline: 120,
        ..Case::RUN
    },
    Case {
        id: "systemd.cgroup-namespace",
        clause: "config-linux.md#namespaces: the root of a cgroup namespace is the container's cgroup",
        needs: NEEDS,
        config: |s| {
            unit_path(s, "system.slice");
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["ro", "nosuid", "noexec", "nodev"],
            );
            s.args(&["read", "/proc/self/cgroup"]);
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?.global(&["--systemd-cgroup"]);
            require(&w.call(call)?)?;
            let said = w.said();
            w.is(
                !said.contains(".scope"),
                format!("the container sees its place: {said}"),
            );
            w.contains("/proc/self/cgroup", &said, &[":/"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.user-namespace",
        clause: "reference 2.8.3: a container with a user namespace and two forks is in its unit",
        needs: &[
            Need::Root,
            Need::Systemd,
            Need::UserNamespaces,
            Need::TimeNamespaces,
        ],
        config: |s| {
            sleeper(s);
            s.user_namespace(100_000);
        },
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            let pid = w.pid()?;
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            w.contains("init's cgroup", &text, &[&unit]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.joined-pid-namespace",
        clause: "safety: the second fork is born in the unit",
        needs: NEEDS,
        config: |s| {
            sleeper(s);
            s.namespace("pid", "/proc/1/ns/pid");
        },
        steps: STARTED,
        expect: |w| {
            let unit = scope(w);
            let pid = w.pid()?;
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            w.contains("init's cgroup", &text, &[&unit]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "systemd.features",
        clause: "reference 1.4: cgroup.systemd and cgroup.systemdUser",
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.succeed(&["features"])?;
            let value: serde_json::Value = serde_json::from_str(&out.stdout).unwrap_or_default();
            for key in ["systemd", "systemdUser"] {
                w.eq(key, &value["linux"]["cgroup"][key], true);
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "systemd.rootless",
        clause: "reference 2.8.3: an ordinary user's own systemd, with limits, exec, update and delete",
        needs: USERS,
        config: users_bundle,
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let id = w.id.clone();
                let call = as_user(w.launching("create", &[])?.global(&["--systemd-cgroup"]));
                require(&w.call(call)?)?;
                require(&w.call(as_user(Call::new(&["start", &id])))?)?;
                let out = w.call(as_user(Call::new(&["state", &id])))?;
                let state: serde_json::Value = serde_json::from_str(&out.stdout).unwrap_or_default();
                let pid = state["pid"].as_i64().unwrap_or(0);
                let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                let unit = format!("{}-{id}.scope", w.runtime_name);
                let dir = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/{unit}");
                w.contains("init's cgroup", &cgroup, &[&dir]);
                let read = |file: &str| {
                    std::fs::read_to_string(format!("/sys/fs/cgroup{dir}/{file}"))
                        .unwrap_or_default()
                        .trim()
                        .to_owned()
                };
                w.eq("memory.max", read("memory.max"), "67108864");
                w.eq("pids.max", read("pids.max"), "30");
                let out = w.call(as_user(Call::new(&[
                    "exec",
                    &id,
                    "/probe",
                    "read",
                    "/proc/self/cgroup",
                ])))?;
                require(&out)?;
                w.contains("the cgroup of exec", &out.stdout, &[&unit]);
                let update = ["update", "--memory", "134217728", "--pids-limit", "40", &id];
                require(&w.call(as_user(Call::new(&update)))?)?;
                w.eq("memory.max after update", read("memory.max"), "134217728");
                w.eq("pids.max after update", read("pids.max"), "40");
                for verb in ["pause", "resume"] {
                    require(&w.call(as_user(Call::new(&[verb, &id])))?)?;
                }
                require(&w.call(as_user(Call::new(&["delete", "--force", &id])))?)?;
                nothing_left(w, "delete")
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "systemd.rootless-without-a-bus",
        clause: "safety: where the bus is missing one sentence says so",
        needs: USERS,
        config: users_bundle,
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = w.launching("create", &[])?.global(&["--systemd-cgroup"]);
                let call = as_user(call)
                    .env_without("XDG_RUNTIME_DIR")
                    .env_without("DBUS_SESSION_BUS_ADDRESS");
                let out = w.call(call)?;
                w.is(!out.ok(), "create succeeded without a bus");
                w.mentions(&out, &["dbus-user-session"]);
                w.nothing_made();
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "systemd.rootless-at-the-system-bus",
        clause: "safety: a missing right is one sentence that says what to do (podman#16529)",
        needs: USERS,
        config: users_bundle,
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = w
                    .launching("create", &[])?
                    .global(&["--systemd-cgroup", "--rootless=false"]);
                let out = w.call(as_user(call))?;
                w.is(!out.ok(), "the system's systemd obeyed an ordinary user");
                // With and without polkit.
                w.mentions_one(&out, &["authentication required", "permission denied"]);
                w.nothing_made();
                nothing_left(w, "a failed create")
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "systemd.rootless-missing-controller",
        clause: "safety: a controller that was not delegated is named",
        needs: USERS,
        config: |s| {
            users_bundle(s);
            s.set(
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB", "limit": 2_097_152}]),
            );
        },
        steps: &[
            Step::Do(lend),
            Step::Do(|w| {
                let call = w.launching("create", &[])?.global(&["--systemd-cgroup"]);
                let out = w.call(as_user(call))?;
                w.is(!out.ok(), "create succeeded without the controller");
                w.mentions(&out, &["hugetlb"]);
                w.nothing_made();
                nothing_left(w, "a failed create")
            }),
        ],
        ..Case::IDLE
    },
];
