//! cgroups: limits as files, limits as effects, paths, mounts. Devices have an area of their own.

use serde_json::json;

use crate::case::{Case, Cond, Level, Need, Step};
use crate::host::CgroupMode;
use crate::world::{Ended, World, require};

const MEMORY: &[Need] = &[Need::Root, Need::V1("memory")];
const CPU: &[Need] = &[Need::Root, Need::V1("cpu")];
const PIDS: &[Need] = &[Need::Root, Need::V1("pids")];
const CREATED: &[Step] = &[Step::Create, Step::Start];

fn file(w: &mut World, controller: &str, name: &str, want: &str) -> Ended {
    let got = w.cgroup_file(controller, name)?;
    w.eq(&format!("{controller} {name}"), got, want);
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "cgroup.memory",
        clause: "config-linux.md#memory limit reservation swap swappiness",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "reservation": 33_554_432, "swappiness": 20}),
            );
        },
        steps: CREATED,
        expect: |w| {
            file(w, "memory", "memory.limit_in_bytes", "67108864")?;
            file(w, "memory", "memory.soft_limit_in_bytes", "33554432")?;
            file(w, "memory", "memory.swappiness", "20")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.memory-and-swap",
        clause: "config-linux.md#memory swap is the sum of both",
        needs: &[
            Need::Root,
            Need::Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes"),
        ],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "swap": 134_217_728}),
            );
        },
        steps: CREATED,
        expect: |w| file(w, "memory", "memory.memsw.limit_in_bytes", "134217728"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.memory-limit-kills",
        clause: "config-linux.md#memory limit",
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
        id: "cgroup.memory-of-copied-files",
        clause: "safety: what tmpcopyup copies out of an image is the container's memory, not the runtime's",
        needs: &[Need::Root, Need::Controller("memory")],
        config: |s| {
            s.file("/data/large", &"x".repeat(48 << 20));
            s.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 16_777_216, "swap": 16_777_216}),
            );
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            w.is(!out.ok(), "it runs with three times its limit");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cgroup.memory-unlimited",
        clause: "config-linux.md#memory: -1 is unlimited",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/memory", json!({"limit": -1}));
        },
        steps: CREATED,
        expect: |w| {
            let got = w.cgroup_file("memory", "memory.limit_in_bytes")?;
            w.is(got.len() > 15, format!("the limit is {got}"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.memory-oom-killer-disabled",
        clause: "config-linux.md#memory disableOOMKiller",
        needs: MEMORY,
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "disableOOMKiller": true}),
            );
        },
        steps: CREATED,
        expect: |w| {
            let got = w.cgroup_file("memory", "memory.oom_control")?;
            w.contains("memory.oom_control", &got, &["oom_kill_disable 1"]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.memory-of-half-a-mebibyte",
        clause: "safety: a small static program starts under 512 KiB, 20 times of 20",
        level: Level::Should,
        needs: MEMORY,
        config: |s| {
            s.set("/linux/resources/memory", json!({"limit": 524_288}));
            s.args(&["exit", "0"]);
        },
        steps: &[Step::Do(|w| {
            for _ in 0..20 {
                require(&w.launch("create", &[])?)?;
                let id = w.id.clone();
                w.succeed(&["start", &id])?;
                w.wait(Cond::Status("stopped"), 10)?;
                w.succeed(&["delete", &id])?;
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cgroup.cpu",
        clause: "config-linux.md#cpu shares quota period",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/cpu",
                json!({"shares": 512, "quota": 40_000, "period": 80_000}),
            );
        },
        steps: CREATED,
        expect: |w| {
            file(w, "cpu", "cpu.shares", "512")?;
            file(w, "cpu", "cpu.cfs_quota_us", "40000")?;
            file(w, "cpu", "cpu.cfs_period_us", "80000")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpu-quota-alone",
        clause: "config-linux.md#cpu quota",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/cpu", json!({"quota": 30_000}));
        },
        steps: CREATED,
        expect: |w| {
            file(w, "cpu", "cpu.cfs_quota_us", "30000")?;
            file(w, "cpu", "cpu.cfs_period_us", "100000")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpu-burst",
        clause: "config-linux.md#cpu burst (1.1)",
        needs: &[
            Need::Root,
            Need::V1("cpu"),
            Need::Path("/sys/fs/cgroup/cpu/cpu.cfs_burst_us"),
        ],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/cpu",
                json!({"quota": 50_000, "period": 100_000, "burst": 20_000}),
            );
        },
        steps: CREATED,
        expect: |w| file(w, "cpu", "cpu.cfs_burst_us", "20000"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpu-idle",
        clause: "config-linux.md#cpu idle",
        needs: CPU,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/cpu", json!({"idle": 1}));
        },
        steps: &[
            Step::Do(|_| {
                let dir = std::path::Path::new("/sys/fs/cgroup/cpu/cf-idle-question");
                std::fs::create_dir_all(dir)?;
                let has = dir.join("cpu.idle").exists();
                std::fs::remove_dir(dir)?;
                if has {
                    Ok(())
                } else {
                    Err(crate::world::Trouble::Skip("the kernel has no cpu.idle".into()))
                }
            }),
            Step::Create,
            Step::Start,
        ],
        expect: |w| file(w, "cpu", "cpu.idle", "1"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpu-shares-out-of-range",
        clause: "reference runc: shares beyond the kernel's range are an error that names the bound",
        level: Level::Should,
        needs: CPU,
        config: |s| s.set("/linux/resources/cpu", json!({"shares": 1_000_000})),
        steps: &[Step::Fails(&Step::Create, &["maximum allowed cpu-shares"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpuset",
        clause: "config-linux.md#cpu cpus mems",
        needs: &[Need::Root, Need::V1("cpuset")],
        config: |s| s.set("/linux/resources/cpu", json!({"cpus": "0", "mems": "0"})),
        expect: |w| w.fact("/affinity", [0]),
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpuset-impossible",
        clause: "config-linux.md#cpu cpus: what the machine has not is an error",
        needs: &[Need::Root, Need::V1("cpuset")],
        config: |s| s.set("/linux/resources/cpu", json!({"cpus": "900-901"})),
        steps: &[Step::Fails(&Step::Create, &["cpuset"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.pids",
        clause: "config-linux.md#pids",
        needs: PIDS,
        config: |s| {
            s.set("/linux/resources/pids", json!({"limit": 8}));
            s.args(&["fork", "30", "--", "sleep"]);
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("fork"), 10)],
        expect: |w| {
            file(w, "pids", "pids.max", "8")?;
            let done = w.did(&["fork"])?;
            let children = done["value"].as_array().map_or(0, Vec::len);
            w.eq("children that could be made", children, 7);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.pids-unlimited",
        clause: "config-linux.md#pids: -1 is unlimited",
        needs: PIDS,
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/pids", json!({"limit": -1}));
        },
        steps: CREATED,
        expect: |w| file(w, "pids", "pids.max", "max"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.blkio-weight",
        clause: "config-linux.md#block-io weight",
        needs: &[Need::Root, Need::V1("blkio")],
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/blockIO", json!({"weight": 321}));
        },
        steps: &[
            Step::Do(|_| {
                // The root has no weight, whatever the machine has.
                let dir = std::path::Path::new("/sys/fs/cgroup/blkio/cf-weight-question");
                std::fs::create_dir_all(dir)?;
                let has = ["blkio.weight", "blkio.bfq.weight"]
                    .iter()
                    .any(|f| dir.join(f).exists());
                std::fs::remove_dir(dir)?;
                if has {
                    Ok(())
                } else {
                    Err(crate::world::Trouble::Skip(
                        "blkio has no weight here (no bfq)".into(),
                    ))
                }
            }),
            Step::Create,
            Step::Start,
        ],
        expect: |w| {
            let dir = w.cgroup("blkio")?;
            let name = if dir.join("blkio.weight").exists() {
                "blkio.weight"
            } else {
                "blkio.bfq.weight"
            };
            file(w, "blkio", name, "321")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.blkio-throttle",
        clause: "config-linux.md#block-io throttle",
        needs: &[
            Need::Root,
            Need::Path("/sys/fs/cgroup/blkio/blkio.throttle.read_bps_device"),
        ],
        config: |s| {
            s.args(&["sleep"]);
            let Some((major, minor)) = a_disk() else { return };
            let rule = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
            s.set(
                "/linux/resources/blockIO",
                json!({
                    "throttleReadBpsDevice": rule(1_048_576), "throttleWriteBpsDevice": rule(2_097_152),
                    "throttleReadIOPSDevice": rule(300), "throttleWriteIOPSDevice": rule(400)
                }),
            );
        },
        steps: CREATED,
        expect: |w| {
            let Some((major, minor)) = a_disk() else {
                return Err(crate::world::Trouble::Skip("no disk with a throttle".into()));
            };
            for (name, rate) in [
                ("read_bps", 1_048_576),
                ("write_bps", 2_097_152),
                ("read_iops", 300),
                ("write_iops", 400),
            ] {
                file(
                    w,
                    "blkio",
                    &format!("blkio.throttle.{name}_device"),
                    &format!("{major}:{minor} {rate}"),
                )?;
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.cpu-realtime",
        clause: "config-linux.md#cpu realtimeRuntime realtimePeriod",
        needs: &[
            Need::Root,
            Need::V1("cpu"),
            Need::Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"),
        ],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/cpu",
                json!({"realtimeRuntime": 2000, "realtimePeriod": 500_000}),
            );
        },
        steps: &[
            // A budget is part of the parent's, and the parent has none before somebody gives it one.
            Step::Do(|w| {
                let path = w.setup.place.cgroups_path();
                let parent = std::path::Path::new(&path)
                    .parent()
                    .unwrap_or(std::path::Path::new("/"));
                let dir = std::path::Path::new("/sys/fs/cgroup/cpu")
                    .join(parent.strip_prefix("/").unwrap_or(parent));
                std::fs::create_dir_all(&dir)?;
                std::fs::write(dir.join("cpu.rt_runtime_us"), "50000")?;
                Ok(())
            }),
            Step::Create,
        ],
        expect: |w| {
            file(w, "cpu", "cpu.rt_runtime_us", "2000")?;
            file(w, "cpu", "cpu.rt_period_us", "500000")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.net-cls",
        clause: "config-linux.md#network classID",
        needs: &[Need::Root, Need::V1("net_cls")],
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/network", json!({"classID": 1_048_577}));
        },
        steps: CREATED,
        expect: |w| file(w, "net_cls", "net_cls.classid", "1048577"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.net-prio",
        clause: "config-linux.md#network priorities",
        needs: &[Need::Root, Need::V1("net_prio")],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/network",
                json!({"priorities": [{"name": "lo", "priority": 7}]}),
            );
        },
        steps: CREATED,
        expect: |w| {
            let got = w.cgroup_file("net_prio", "net_prio.ifpriomap")?;
            w.is(
                got.lines().any(|l| l == "lo 7"),
                format!("lo has another priority: {got}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.net-prio-of-no-device",
        clause: "config-linux.md#network priorities: an interface that is not there is an error",
        needs: &[Need::Root, Need::V1("net_prio")],
        config: |s| {
            s.set(
                "/linux/resources/network",
                json!({"priorities": [{"name": "no-such-dev", "priority": 7}]}),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["net_prio.ifpriomap"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.hugetlb",
        clause: "config-linux.md#huge-page-limits; reference: the reservation as well",
        needs: &[Need::Root, Need::V1("hugetlb")],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "2MB", "limit": 4_194_304}]),
            );
        },
        steps: CREATED,
        expect: |w| {
            file(w, "hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304")?;
            file(w, "hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.rdma-of-no-device",
        clause: "config-linux.md#rdma: what cannot be limited is an error",
        needs: &[Need::Root, Need::V1("rdma")],
        config: |s| {
            s.set(
                "/linux/resources/rdma",
                json!({"no-such-hca": {"hcaHandles": 3, "hcaObjects": 10_000}}),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["rdma.max"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.every-controller",
        clause: "config-linux.md#control-groups; reference: the container is in every hierarchy of the machine",
        needs: &[Need::Root, Need::V1("perf_event"), Need::V1("misc")],
        config: |s| s.args(&["sleep"]),
        steps: CREATED,
        expect: |w| {
            let want = w.setup.place.cgroups_path();
            for controller in [
                "perf_event",
                "misc",
                "rdma",
                "net_cls",
                "net_prio",
                "hugetlb",
                "freezer",
            ] {
                let dir = w.cgroup(controller)?;
                w.is(
                    dir.ends_with(want.trim_start_matches('/')),
                    format!("{controller}: {} is not {want}", dir.display()),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.unified-on-v1",
        clause: "config-linux.md#unified: an error where there is no cgroup v2",
        needs: PIDS,
        config: |s| s.set("/linux/resources/unified", json!({"pids.max": "7"})),
        steps: &[Step::Fails(&Step::Create, &["unified"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.absent-controller",
        clause: "config-linux.md#control-groups: a limit that cannot be set is an error",
        config: |s| {
            s.set(
                "/linux/resources/hugepageLimits",
                json!([{"pageSize": "3MB", "limit": 9_437_184}]),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["huge"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.path",
        clause: "config-linux.md#cgroups-path",
        config: |s| s.args(&["sleep"]),
        steps: CREATED,
        expect: |w| {
            let want = w.setup.place.cgroups_path();
            let pid = w.pid()?;
            let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
            let v2 = w.setup.place.cgroups == CgroupMode::V2;
            let checked: Vec<&str> = text
                .lines()
                .filter(|l| {
                    if v2 {
                        l.starts_with("0::")
                    } else {
                        !l.starts_with("0::") && !l.contains(":name=")
                    }
                })
                .collect();
            w.is(!checked.is_empty(), format!("no cgroup: {text}"));
            for line in checked {
                w.is(
                    line.ends_with(&format!(":{want}")),
                    format!("{line} is not {want}"),
                );
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.path-relative",
        clause: "config-linux.md#cgroups-path: a relative path is the runtime's choice, but the same each time",
        config: |s| {
            s.args(&["sleep"]);
            let tag = s.place.tag.clone();
            s.set("/linux/cgroupsPath", json!(tag));
        },
        steps: CREATED,
        expect: |w| {
            let controller = if w.setup.place.cgroups == CgroupMode::V2 {
                ""
            } else {
                "pids"
            };
            let dir = w.cgroup(controller)?;
            let tag = w.setup.place.tag.clone();
            w.is(
                dir.ends_with(&tag),
                format!("{} does not end in {tag}", dir.display()),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.path-absent",
        clause: "config-linux.md#cgroups-path: without one the runtime chooses, by id",
        config: |s| {
            s.args(&["sleep"]);
            s.unset("/linux/cgroupsPath");
        },
        steps: CREATED,
        expect: |w| {
            let controller = if w.setup.place.cgroups == CgroupMode::V2 {
                ""
            } else {
                "pids"
            };
            let dir = w.cgroup(controller)?;
            let id = w.id.clone();
            w.is(
                dir.to_string_lossy().contains(&id),
                format!("{} has nothing of the id", dir.display()),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.path-escape",
        clause: "safety: a path with .. does not leave the hierarchy",
        config: |s| {
            s.args(&["sleep"]);
            let tag = s.place.tag.clone();
            s.set("/linux/cgroupsPath", json!(format!("/../../../../{tag}")));
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("create", &[])?;
            let outside = std::path::Path::new("/").join(&w.id);
            // The leak check removes it.
            w.is(!outside.exists(), format!("it made {}", outside.display()));
            if out.ok() {
                let controller = if w.setup.place.cgroups == CgroupMode::V2 {
                    ""
                } else {
                    "pids"
                };
                let dir = w.cgroup(controller)?;
                w.is(dir.starts_with("/sys/fs/cgroup"), format!("{}", dir.display()));
            }
            Ok(())
        })],
        ..Case::RUN
    },
    Case {
        id: "cgroup.in-use",
        clause: "reference: a cgroup in which somebody lives is refused",
        level: Level::Should,
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Do(|w| {
                let first = w.id.clone();
                w.id = format!("{first}-b");
                let out = w.launch("create", &[])?;
                w.id = first;
                w.is(!out.ok(), "a second container went into the first one's cgroup");
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "cgroup.mount-v1",
        clause: "config-linux.md#default-filesystems; reference: one mount for each controller below a tmpfs",
        needs: PIDS,
        config: |s| {
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            );
            s.args(&[
                "report",
                "--",
                "read",
                "/sys/fs/cgroup/pids/cgroup.procs",
                "--",
                "mkdir",
                "/sys/fs/cgroup/pids/x",
            ]);
        },
        expect: |w| {
            let m = w.mount_at("/sys/fs/cgroup/pids")?;
            w.eq("type", m.kind, "cgroup");
            w.eq("root of the mount", m.root, w.setup.place.cgroups_path());
            w.is(m.options.iter().any(|o| o == "ro"), "it is writable");
            let procs = w.did(&["read"])?;
            w.is(
                procs["value"]
                    .as_str()
                    .is_some_and(|p| p.lines().any(|l| l == "1")),
                "the container is not in what it sees",
            );
            w.errno(&["mkdir"], libc::EROFS)
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.mount-v1-in-cgroup-namespace",
        clause: "config-linux.md#namespaces cgroup",
        needs: PIDS,
        config: |s| {
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            );
            s.args(&["report", "--", "read", "/sys/fs/cgroup/pids/cgroup.procs"]);
        },
        expect: |w| {
            let m = w.mount_at("/sys/fs/cgroup/pids")?;
            w.eq("root of the mount", m.root, "/");
            let procs = w.did(&["read"])?;
            w.is(
                procs["value"]
                    .as_str()
                    .is_some_and(|p| p.lines().any(|l| l == "1")),
                "the container is not in what it sees",
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.mount-v2",
        clause: "config-linux.md#default-filesystems cgroup v2",
        needs: &[Need::Root, Need::V2],
        config: |s| {
            s.namespace("cgroup", "");
            s.mount(
                "/sys/fs/cgroup",
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", "ro"],
            );
            s.args(&["report", "--", "read", "/sys/fs/cgroup/cgroup.procs"]);
        },
        expect: |w| {
            let m = w.mount_at("/sys/fs/cgroup")?;
            w.eq("type", m.kind, "cgroup2");
            let procs = w.did(&["read"])?;
            w.is(
                procs["value"]
                    .as_str()
                    .is_some_and(|p| p.lines().any(|l| l == "1")),
                "the container is not in what it sees",
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.v2-unified-key",
        clause: "config-linux.md#unified: written as they are",
        needs: &[Need::Root, Need::V2],
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/unified", json!({"cgroup.max.descendants": "7"}));
        },
        steps: CREATED,
        expect: |w| file(w, "", "cgroup.max.descendants", "7"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.v2-unified-key-with-slash",
        clause: "config-linux.md#unified: a key is a file name",
        needs: &[Need::Root, Need::V2],
        config: |s| s.set("/linux/resources/unified", json!({"../cgroup.max.depth": "7"})),
        steps: &[Step::Fails(&Step::Create, &["../cgroup.max.depth"])],
        ..Case::RUN
    },
    Case {
        id: "cgroup.v2-limit-without-controller",
        clause: "config-linux.md#control-groups: a limit that cannot be set is an error",
        needs: &[Need::Root, Need::V2],
        config: |s| s.set("/linux/resources/memory", json!({"limit": 67_108_864})),
        steps: &[Step::Do(|w| {
            let offered = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")?;
            if offered.contains("memory") {
                return Err(crate::world::Trouble::Skip("there is a memory controller".into()));
            }
            let out = w.launch("create", &[])?;
            w.is(!out.ok(), "a memory limit was accepted without memory controller");
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cgroup.v2-memory",
        clause: "config-linux.md#memory on cgroup v2",
        needs: &[Need::Root, Need::V2Controller("memory")],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/memory",
                json!({"limit": 67_108_864, "reservation": 33_554_432, "swap": 100_663_296}),
            );
        },
        steps: CREATED,
        expect: |w| {
            file(w, "", "memory.max", "67108864")?;
            file(w, "", "memory.low", "33554432")?;
            file(w, "", "memory.swap.max", "33554432")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.v2-cpu",
        clause: "config-linux.md#cpu on cgroup v2; reference: the conversion of shares since runc 1.3.2",
        needs: &[Need::Root, Need::V2Controller("cpu")],
        config: |s| {
            s.args(&["sleep"]);
            s.set(
                "/linux/resources/cpu",
                json!({"shares": 1024, "quota": 40_000, "period": 80_000}),
            );
        },
        steps: CREATED,
        expect: |w| {
            file(w, "", "cpu.weight", "100")?;
            file(w, "", "cpu.max", "40000 80000")
        },
        ..Case::RUN
    },
    Case {
        id: "cgroup.v2-pids",
        clause: "config-linux.md#pids on cgroup v2",
        needs: &[Need::Root, Need::V2Controller("pids")],
        config: |s| {
            s.args(&["sleep"]);
            s.set("/linux/resources/pids", json!({"limit": 8}));
        },
        steps: CREATED,
        expect: |w| file(w, "", "pids.max", "8"),
        ..Case::RUN
    },
    Case {
        id: "cgroup.sub-cgroups-are-removed",
        clause: "runtime.md#delete: also what the container made below its cgroup",
        needs: PIDS,
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Do(|w| {
                let dir = w.cgroup("pids")?;
                std::fs::create_dir_all(dir.join("a/b"))?;
                std::fs::create_dir_all(dir.join("c"))?;
                let id = w.id.clone();
                let out = w.succeed(&["delete", "--force", &id])?;
                require(&out)?;
                w.is(!dir.exists(), "the cgroup is still there");
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "cgroup.limits-hold-before-start",
        clause: "reference: limits are set when create returns",
        needs: PIDS,
        config: |s| s.set("/linux/resources/pids", json!({"limit": 23})),
        steps: &[Step::Create],
        expect: |w| file(w, "pids", "pids.max", "23"),
        ..Case::RUN
    },
];

/// A disk whose device numbers the kernel takes for a throttle.
fn a_disk() -> Option<(u64, u64)> {
    let list = std::fs::read_dir("/sys/block").ok()?;
    let text = list
        .flatten()
        .filter(|e| {
            let name = e.file_name().to_string_lossy().into_owned();
            ["vd", "sd", "nvme", "xvd"].iter().any(|p| name.starts_with(p))
        })
        .find_map(|e| std::fs::read_to_string(e.path().join("dev")).ok())?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
