//! Namespaces new and joined, id maps, sysctl.

use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::case::{Case, Level, Need, Step};
use crate::kernel::{self, BeforeExec};
use crate::world::{Ended, Trouble, World, require};

fn own(kind: &str) -> Result<String, Trouble> {
    Ok(std::fs::read_link(format!("/proc/self/ns/{kind}"))?
        .to_string_lossy()
        .into_owned())
}

fn is_new(w: &mut World, kind: &str) -> Ended {
    let (report, host) = (w.report()?, own(kind)?);
    let inside = report["ns"][kind].as_str().unwrap_or_default().to_owned();
    w.is(
        !inside.is_empty() && inside != host,
        format!("the {kind} namespace is the host's: {inside}"),
    );
    Ok(())
}

fn is_host(w: &mut World, kind: &str) -> Ended {
    w.fact(&format!("/ns/{kind}"), own(kind)?)
}

/// A process in new namespaces, to be joined; it ends with its value.
struct Holder(Child);

impl Holder {
    fn new(w: &World, flags: i32) -> Result<Self, Trouble> {
        let (read, write) = kernel::pipe()?;
        let mut command = Command::new(w.in_rootfs("/probe"));
        command
            .args(["echo", "ready", "--", "sleep"])
            .stdin(Stdio::null())
            .stdout(write)
            .stderr(Stdio::null());
        kernel::before_exec(
            &mut command,
            vec![BeforeExec::Unshare(flags), BeforeExec::DieWithParent],
        );
        let child = command.spawn()?;
        drop(command);
        let ready = kernel::poll_readable(&[read.as_raw_fd()], crate::patience::seconds(5))?;
        if ready != [true] {
            return Err(Trouble::Fail(
                "the harness's namespace holder did not start".into(),
            ));
        }
        Ok(Holder(child))
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    fn link(&self, kind: &str) -> Result<String, Trouble> {
        Ok(std::fs::read_link(self.path(kind))?
            .to_string_lossy()
            .into_owned())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn join(w: &mut World, flag: i32, spec: &str, kind: &str) -> Ended {
    let holder = Holder::new(w, flag)?;
    w.setup.namespace(spec, &holder.path(kind));
    let want = holder.link(kind)?;
    let out = w.launch("run", &[])?;
    crate::world::require(&out)?;
    w.fact(&format!("/ns/{kind}"), want)
}

/// A veth pair `judged0`, `judged1` with addresses, in a network of the case's own: the machine's is left alone.
fn host_device() -> Ended {
    kernel::unshare(libc::CLONE_NEWNET)?;
    let commands = [
        "link add judged0 type veth peer name judged1",
        "address add 192.0.2.7/24 dev judged0",
        "address add 2001:db8::7/64 dev judged0 nodad",
        "link set judged1 up",
        "link set judged0 up",
    ];
    for command in commands {
        let made = Command::new("ip").args(command.split(' ')).status()?;
        if !made.success() {
            return Err(Trouble::Skip(format!("`ip {command}` fails here")));
        }
    }
    Ok(())
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "namespaces.new",
        clause: "config-linux.md#namespaces: without path a new one",
        expect: |w| {
            for kind in ["pid", "net", "ipc", "uts", "mnt"] {
                is_new(w, kind)?;
            }
            w.fact("/pid", 1)
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.absent-means-the-runtimes",
        clause: "config-linux.md#namespaces: what is not listed is inherited",
        config: |s| {
            for kind in ["network", "ipc", "uts", "pid"] {
                s.drop_namespace(kind);
            }
            s.unset("/hostname");
            s.unmount("/dev/mqueue");
            // A new sysfs needs a network namespace that the container owns.
            s.unmount("/sys");
        },
        expect: |w| {
            for kind in ["pid", "net", "ipc", "uts", "user", "cgroup", "time"] {
                is_host(w, kind)?;
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.cgroup",
        clause: "config-linux.md#namespaces cgroup",
        config: |s| s.namespace("cgroup", ""),
        expect: |w| {
            is_new(w, "cgroup")?;
            let report = w.report()?;
            let lines: Vec<String> = report["cgroup"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter(|l| !l.ends_with(":/"))
                .map(str::to_owned)
                .collect();
            w.eq(
                "cgroups whose root is not the container's",
                lines,
                Vec::<String>::new(),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.time",
        clause: "config-linux.md#namespaces time, #offset-for-time-namespace (1.1)",
        needs: &[Need::Root, Need::TimeNamespaces],
        config: |s| {
            s.namespace("time", "");
            s.set("/linux/timeOffsets", json!({"monotonic": {"secs": 7, "nanosecs": 5}, "boottime": {"secs": 1_000_000, "nanosecs": 0}}));
        },
        expect: |w| {
            is_new(w, "time")?;
            let report = w.report()?;
            let up: f64 = report["uptime"]
                .as_str()
                .and_then(|u| u.split(' ').next()?.parse().ok())
                .unwrap_or(0.0);
            w.is(up > 999_999.0, format!("uptime inside is {up}"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.user",
        clause: "config-linux.md#user-namespace-mappings",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| s.user_namespace(100_000),
        expect: |w| {
            is_new(w, "user")?;
            w.fact("/uid", [0, 0, 0])?;
            let report = w.report()?;
            for map in ["uid_map", "gid_map"] {
                let line = report[map][0]
                    .as_str()
                    .unwrap_or_default()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                w.eq(map, line, "0 100000 65536");
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.user-with-several-ranges",
        clause: "config-linux.md#user-namespace-mappings",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            let map = json!([
                {"containerID": 0, "hostID": 100_000, "size": 1000},
                {"containerID": 1000, "hostID": 300_000, "size": 10},
                {"containerID": 2000, "hostID": 400_000, "size": 1}
            ]);
            s.set("/linux/uidMappings", map.clone());
            s.set("/linux/gidMappings", map);
            s.set("/process/user", json!({"uid": 1001, "gid": 2000}));
            s.args(&["report", "--", "sleep"]);
        },
        steps: &[Step::Create, Step::Start],
        expect: |w| {
            w.wait(crate::case::Cond::Said("report"), 10)?;
            w.fact("/uid", [1001, 1001, 1001])?;
            let pid = w.pid()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let uid = status
                .lines()
                .find(|l| l.starts_with("Uid:"))
                .unwrap_or_default()
                .to_owned();
            w.is(uid.contains("300001"), format!("on the host: {uid}"));
            let gid = status
                .lines()
                .find(|l| l.starts_with("Gid:"))
                .unwrap_or_default()
                .to_owned();
            w.is(gid.contains("400000"), format!("on the host: {gid}"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "namespaces.user-maps-missing",
        clause: "config-linux.md#user-namespace-mappings: a new user namespace needs maps",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| s.namespace("user", ""),
        steps: &[Step::Fails(&Step::Create, &["mapping"])],
        ..Case::RUN
    },
    Case {
        id: "namespaces.maps-without-user-namespace",
        clause: "reference: mappings are for a user namespace of the container's own; without one they are left alone",
        level: Level::Should,
        config: |s| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
            s.set("/linux/uidMappings", map.clone());
            s.set("/linux/gidMappings", map);
        },
        expect: |w| w.fact("/uid", json!([0, 0, 0])),
        ..Case::RUN
    },
    Case {
        id: "namespaces.many-users-at-once",
        clause: "safety: of many containers with user namespaces at once each state names its own init",
        needs: &[Need::Root, Need::UserNamespaces],
        deadline: 90,
        config: |s| {
            s.user_namespace(100_000);
            s.args(&["sleep"]);
        },
        steps: &[Step::Do(|w| {
            let first = w.id.clone();
            let path = w.setup.place.cgroups_path();
            let bundle = w.setup.place.bundle();
            let root = w.setup.place.rootfs();
            w.setup.set("/root/path", json!(root));
            let mut running = Vec::new();
            for i in 0..20 {
                let id = format!("{first}-{i}");
                let own = bundle.join(&id);
                std::fs::create_dir_all(&own)?;
                w.setup.set("/linux/cgroupsPath", json!(format!("{path}-{i}")));
                w.setup.args(&["echo", &format!("mark-{i}-"), "--", "sleep"]);
                std::fs::write(own.join("config.json"), w.setup.config.to_string())?;
                let own = own.to_string_lossy().into_owned();
                running.push((
                    i,
                    id.clone(),
                    w.spawn(crate::world::Call::new(&[
                        "run", "--detach", "--bundle", &own, &id,
                    ]))?,
                ));
            }
            for (i, id, r) in running {
                crate::world::require(&r.wait()?)?;
                w.id = id;
                let pid = w.pid()?;
                // A detached run may return just before the program replaces the runtime's own.
                let mark = format!("mark-{i}-");
                w.until(5, &format!("pid {pid} of container {i} to be {mark}"), |_| {
                    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                    String::from_utf8_lossy(&line).contains(&mark).then_some(())
                })?;
            }
            w.id = first;
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "namespaces.network-device",
        clause: "config-linux.md#network-devices netDevices (1.3): moved in, renamed, up, with its lasting addresses",
        needs: &[Need::Root, Need::Program("ip")],
        config: |s| {
            s.set("/linux/netDevices", json!({"judged0": {"name": "inside0"}}));
            s.args(&[
                "report",
                "--",
                "read",
                "/proc/net/fib_trie",
                "--",
                "read",
                "/proc/net/if_inet6",
            ]);
        },
        steps: &[Step::Do(|w| {
            host_device()?;
            require(&w.launch("run", &[])?)?;
            let report = w.report()?;
            let has = report["netdev"]
                .as_array()
                .is_some_and(|l| l.iter().filter_map(Value::as_str).any(|x| x.contains("inside0:")));
            w.is(has, format!("no inside0 in {}", report["netdev"]));
            // In the local table only while the device is up.
            let v4 = w.did(&["read", "/proc/net/fib_trie"])?["value"].to_string();
            w.contains("the routes", &v4, &["192.0.2.7", "192.0.2.0/24"]);
            let v6 = w.did(&["read", "/proc/net/if_inet6"])?["value"].to_string();
            w.contains("the IPv6 addresses", &v6, &["20010db8000000000000000000000007"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "namespaces.network-device-refused",
        clause: "config-linux.md#network-devices netDevices (1.3): names are checked before anything is moved",
        needs: &[Need::Root, Need::Program("ip")],
        config: |s| {
            s.set(
                "/linux/netDevices",
                json!({"judged0": {}, "judged1": {"name": "a/b"}}),
            );
        },
        steps: &[Step::Do(|w| {
            host_device()?;
            let out = w.launch("create", &[])?;
            w.is(!out.ok(), "a device was named a/b");
            w.mentions(&out, &["invalid network device name", "a/b"]);
            let left = std::fs::read_to_string("/proc/self/net/dev")?;
            w.contains("the devices of the host", &left, &["judged0:", "judged1:"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "namespaces.network-device-dummy",
        clause: "config-linux.md#network-devices netDevices (1.3): moved in with its addresses, up",
        needs: &[Need::Root, Need::Vm, Need::Program("ip")],
        config: |s| {
            s.set("/linux/netDevices", json!({"judged2": {}}));
            s.args(&["report", "--", "read", "/proc/net/fib_trie"]);
        },
        steps: &[Step::Do(|w| {
            kernel::unshare(libc::CLONE_NEWNET)?;
            let ip = |words: &[&str]| Command::new("ip").args(words).stderr(Stdio::null()).status();
            if !ip(&["link", "add", "judged2", "type", "dummy"])?.success() {
                return Err(Trouble::Skip("no dummy network devices here".into()));
            }
            let _ = ip(&["addr", "add", "10.55.66.77/24", "dev", "judged2"])?;
            let _ = ip(&["link", "set", "judged2", "up"])?;
            let out = w.launch("run", &[])?;
            crate::world::require(&out)?;
            let done = w.did(&["read"])?;
            let routes = done["value"].as_str().unwrap_or_default().to_owned();
            w.contains("/proc/net/fib_trie", &routes, &["10.55.66.77"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "namespaces.network-device-missing",
        clause: "config-linux.md#network-devices netDevices (1.3): what is not there is an error",
        config: |s| s.set("/linux/netDevices", json!({"no-such-dev": {}})),
        steps: &[Step::Fails(&Step::Create, &["no-such-dev"])],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-network",
        clause: "config-linux.md#namespaces path",
        steps: &[Step::Do(|w| join(w, libc::CLONE_NEWNET, "network", "net"))],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-ipc",
        clause: "config-linux.md#namespaces path",
        steps: &[Step::Do(|w| join(w, libc::CLONE_NEWIPC, "ipc", "ipc"))],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-uts",
        clause: "config-linux.md#namespaces path",
        steps: &[Step::Do(|w| join(w, libc::CLONE_NEWUTS, "uts", "uts"))],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-cgroup",
        clause: "config-linux.md#namespaces path",
        steps: &[Step::Do(|w| join(w, libc::CLONE_NEWCGROUP, "cgroup", "cgroup"))],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-pid-of-a-container",
        clause: "config-linux.md#namespaces path: pods share pid namespaces",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Do(|w| {
                let pid = w.pid()?;
                let first = w.id.clone();
                w.id = format!("{first}-b");
                for (spec, kind) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc")] {
                    w.setup.namespace(spec, &format!("/proc/{pid}/ns/{kind}"));
                }
                let other = format!("{}-b", w.setup.place.cgroups_path());
                w.setup.set("/linux/cgroupsPath", json!(other));
                w.setup.args(&["report", "--", "kill", "1", "0"]);
                let out = w.launch("run", &[])?;
                w.id = first;
                crate::world::require(&out)?;
                let report = w.report()?;
                let want = std::fs::read_link(format!("/proc/{pid}/ns/pid"))?
                    .to_string_lossy()
                    .into_owned();
                w.eq("pid namespace", &report["ns"]["pid"], want);
                let inside = report["pid"].as_i64().unwrap_or(1);
                w.is(inside > 1, "the second container is pid 1");
                Ok(())
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "namespaces.join-user",
        clause: "config-linux.md#namespaces path; reference: no mappings needed for a joined one",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            s.user_namespace(100_000);
            s.args(&["sleep"]);
        },
        steps: &[
            Step::Create,
            Step::Start,
            Step::Do(|w| {
                let pid = w.pid()?;
                let first = w.id.clone();
                w.id = format!("{first}-b");
                w.setup.namespace("user", &format!("/proc/{pid}/ns/user"));
                w.setup.namespace("network", &format!("/proc/{pid}/ns/net"));
                w.setup.unset("/linux/uidMappings");
                w.setup.unset("/linux/gidMappings");
                let other = format!("{}-b", w.setup.place.cgroups_path());
                w.setup.set("/linux/cgroupsPath", json!(other));
                w.setup.args(&["report"]);
                let out = w.launch("run", &[])?;
                w.id = first;
                crate::world::require(&out)?;
                let want = std::fs::read_link(format!("/proc/{pid}/ns/user"))?
                    .to_string_lossy()
                    .into_owned();
                w.fact("/ns/user", want)?;
                w.fact("/uid", [0, 0, 0])
            }),
        ],
        ..Case::RUN
    },
    Case {
        id: "namespaces.twice",
        clause: "config-linux.md#namespaces: a duplicate is an error",
        config: |s| s.set("/linux/namespaces/-", json!({"type": "pid"})),
        steps: &[Step::Fails(&Step::Create, &["pid"])],
        ..Case::RUN
    },
    Case {
        id: "namespaces.unknown-type",
        clause: "config-linux.md#namespaces type",
        config: |s| s.set("/linux/namespaces/-", json!({"type": "fantasy"})),
        steps: &[Step::Fails(&Step::Create, &["fantasy"])],
        ..Case::RUN
    },
    Case {
        id: "namespaces.path-missing",
        clause: "config-linux.md#namespaces path",
        config: |s| s.namespace("network", "/no/such/netns"),
        steps: &[Step::Fails(
            &Step::Create,
            &["/no/such/netns", "no such file or directory"],
        )],
        ..Case::RUN
    },
    Case {
        id: "namespaces.path-of-another-kind",
        clause: "config-linux.md#namespaces: a path that is not of that type is an error",
        steps: &[Step::Do(|w| {
            let holder = Holder::new(w, libc::CLONE_NEWIPC)?;
            w.setup.namespace("network", &holder.path("ipc"));
            let out = w.launch("create", &[])?;
            w.is(!out.ok(), "create joined an ipc namespace as network");
            w.nothing_made();
            Ok(())
        })],
        ..Case::RUN
    },
    Case {
        id: "namespaces.hostname-needs-uts",
        clause: "config.md#hostname: without a uts namespace of its own it is an error",
        config: |s| s.drop_namespace("uts"),
        steps: &[Step::Fails(&Step::Create, &["hostname", "uts"])],
        ..Case::RUN
    },
    Case {
        id: "namespaces.loopback-only",
        clause: "config-linux.md#network: a new network namespace is empty",
        expect: |w| {
            w.fact("/net", ["lo"]).and_then(|()| {
                let report = w.report()?;
                let count = report["netdev"].as_array().map_or(0, |l| {
                    l.iter()
                        .filter(|x| x.as_str().is_some_and(|s| s.contains(':')))
                        .count()
                });
                w.is(count >= 1, "no loopback");
                Ok(())
            })
        },
        ..Case::RUN
    },
    Case {
        id: "sysctl.network",
        clause: "config-linux.md#sysctl",
        config: |s| {
            s.set(
                "/linux/sysctl",
                json!({"net.ipv4.ip_forward": "1", "net/ipv4/conf/lo/forwarding": "0"}),
            );
            s.args(&[
                "read",
                "/proc/sys/net/ipv4/ip_forward",
                "--",
                "read",
                "/proc/sys/net/ipv4/conf/lo/forwarding",
            ]);
        },
        expect: |w| {
            let a = w.did(&["read", "/proc/sys/net/ipv4/ip_forward"])?;
            w.eq("ip_forward", &a["value"], "1\n");
            let b = w.did(&["read", "/proc/sys/net/ipv4/conf/lo/forwarding"])?;
            w.eq("forwarding", &b["value"], "0\n");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "sysctl.ipc",
        clause: "config-linux.md#sysctl",
        config: |s| {
            s.set(
                "/linux/sysctl",
                json!({"kernel.msgmax": "4096", "fs.mqueue.msg_max": "7"}),
            );
            s.args(&[
                "read",
                "/proc/sys/kernel/msgmax",
                "--",
                "read",
                "/proc/sys/fs/mqueue/msg_max",
            ]);
        },
        expect: |w| {
            let a = w.did(&["read", "/proc/sys/kernel/msgmax"])?;
            w.eq("msgmax", &a["value"], "4096\n");
            let b = w.did(&["read", "/proc/sys/fs/mqueue/msg_max"])?;
            w.eq("msg_max", &b["value"], "7\n");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "sysctl.without-own-namespace",
        clause: "reference: net.* needs a network namespace of its own",
        config: |s| {
            s.drop_namespace("network");
            s.unmount("/sys");
            s.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        },
        steps: &[Step::Fails(&Step::Create, &["net.ipv4.ip_forward"])],
        ..Case::RUN
    },
    Case {
        id: "sysctl.host-network-by-path",
        clause: "reference: a path to the host's own network namespace is not one of its own",
        config: |s| {
            s.namespace("network", &format!("/proc/{}/ns/net", std::process::id()));
            s.unmount("/sys");
            s.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        },
        steps: &[Step::Fails(&Step::Create, &["net.ipv4.ip_forward"])],
        ..Case::RUN
    },
    Case {
        id: "sysctl.not-namespaced",
        clause: "reference: a sysctl of the whole machine is refused",
        config: |s| s.set("/linux/sysctl", json!({"vm.swappiness": "1"})),
        steps: &[Step::Fails(&Step::Create, &["vm.swappiness"])],
        ..Case::RUN
    },
    Case {
        id: "sysctl.hostname",
        clause: "reference: kernel.hostname is refused, there is a field for it",
        config: |s| s.set("/linux/sysctl", json!({"kernel.hostname": "x"})),
        steps: &[Step::Fails(&Step::Create, &["kernel.hostname"])],
        ..Case::RUN
    },
    Case {
        id: "sysctl.domainname",
        clause: "reference: kernel.domainname needs a uts namespace",
        config: |s| s.set("/linux/sysctl", json!({"kernel.domainname": "d.example"})),
        expect: |w| w.fact("/domainname", "d.example"),
        ..Case::RUN
    },
];
