#![allow(clippy::unwrap_used)]

use super::host::{Cgroups, Driver, Hierarchy};
use super::*;
use crate::model::{BindOptions, Config, Mount, MountPoint, Ulimit};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(super) fn machine() -> Host {
    let list = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    Host {
        architecture: "amd64".into(),
        kernel: (6, 1),
        cgroups: Cgroups {
            hierarchy: Hierarchy::Unified,
            driver: Driver::Files,
            controllers: list("cpuset cpu io memory pids"),
            files: Vec::new(),
            swap: true,
            online_cpus: "0-3".into(),
            online_mems: "0".into(),
        },
        capabilities: capabilities::ours(),
        seccomp: true,
        mqueue: true,
        cpus: 4,
        sysctls: list("net.ipv4.ping_group_range net.ipv4.ip_unprivileged_port_start"),
        ..Host::default()
    }
}

fn legacy() -> Host {
    let mut host = machine();
    host.cgroups.hierarchy = Hierarchy::Legacy;
    host
}

/// An ordinary user, in a user namespace with many ids.
fn rootless() -> Host {
    let ids = IdMaps {
        uids: vec![(0, 1000, 1), (1, 100_000, 65536)],
        gids: vec![(0, 1000, 1), (1, 100_000, 65536)],
    };
    let mut host = machine();
    host.ids = Some(ids);
    host.cgroups.driver = Driver::None;
    host.oom_score_adj = 100;
    host
}

fn definition(change: impl FnOnce(&mut Definition)) -> Definition {
    let mut definition = Definition {
        id: ID.into(),
        path: "sh".into(),
        args: vec!["-c".into(), "true".into()],
        config: Config {
            hostname: "0123456789ab".into(),
            ..Config::default()
        },
        ..Definition::default()
    };
    change(&mut definition);
    definition
}

struct Case {
    machine: Host,
    found: Found,
}

impl Case {
    fn on(machine: Host) -> Case {
        Case {
            machine,
            found: Found::default(),
        }
    }

    fn make(
        &self,
        change: impl FnOnce(&mut Definition),
        more: impl FnOnce(&mut Inputs<'_>),
    ) -> Result<(Value, Vec<Warning>)> {
        let definition = definition(change);
        let mut inputs = Inputs::of(&definition, &self.machine, &self.found);
        more(&mut inputs);
        document(&inputs)
    }
}

fn made(change: impl FnOnce(&mut Definition)) -> Value {
    Case::on(machine()).make(change, |_| {}).unwrap().0
}

fn refused(change: impl FnOnce(&mut Definition)) -> String {
    Case::on(machine()).make(change, |_| {}).unwrap_err().to_string()
}

/// `kind` or `kind=path` of each namespace.
fn namespaces_of(config: &Value) -> Vec<String> {
    let list = config["linux"]["namespaces"].as_array().unwrap();
    let text = |n: &Value| match n["path"].as_str() {
        Some(path) => format!("{}={path}", n["type"].as_str().unwrap()),
        None => n["type"].as_str().unwrap().to_owned(),
    };
    list.iter().map(text).collect()
}

/// `type source options` of the mount at a place.
fn mount_at(config: &Value, destination: &str) -> Option<String> {
    let list = config["mounts"].as_array().unwrap();
    let all: Vec<&Value> = list.iter().filter(|m| m["destination"] == destination).collect();
    assert!(all.len() < 2, "{destination} is mounted more than once");
    let mount = all.first()?;
    let options: Vec<&str> = mount["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o.as_str().unwrap())
        .collect();
    let [kind, source] = ["type", "source"].map(|key| mount[key].as_str().unwrap());
    Some(format!("{kind} {source} {}", options.join(",")))
}

fn destinations(config: &Value) -> Vec<&str> {
    let list = config["mounts"].as_array().unwrap();
    list.iter().map(|m| m["destination"].as_str().unwrap()).collect()
}

#[test]
fn a_container_without_options() {
    let config = made(|_| {});
    let process = &config["process"];
    assert_eq!(process["args"], json!(["sh", "-c", "true"]));
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["terminal"], false);
    assert_eq!(process["env"], json!([defaults::PATH, "HOSTNAME=0123456789ab"]));
    assert_eq!(process["capabilities"]["bounding"], json!(defaults::CAPABILITIES));
    assert!(process["capabilities"].get("inheritable").is_none());
    assert_eq!(process["oomScoreAdj"], 0);
    assert_eq!(config["hostname"], "0123456789ab");
    assert_eq!(config["root"], json!({"path": "rootfs", "readonly": false}));
    assert_eq!(
        namespaces_of(&config),
        ["mount", "network", "uts", "pid", "ipc", "cgroup"]
    );
    assert_eq!(
        destinations(&config),
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/mqueue",
            "/dev/shm"
        ]
    );
    assert_eq!(
        mount_at(&config, "/dev/shm").unwrap(),
        "tmpfs shm nosuid,noexec,nodev,mode=1777,size=67108864"
    );
    let linux = &config["linux"];
    assert_eq!(linux["cgroupsPath"], format!("/docker/{ID}"));
    assert_eq!(linux["sysctl"]["net.ipv4.ip_unprivileged_port_start"], "0");
    assert_eq!(linux["maskedPaths"], json!(defaults::masked(&[])));
    assert_eq!(linux["readonlyPaths"], json!(defaults::READ_ONLY));
    assert_eq!(linux["resources"], json!({"devices": defaults::device_rules()}));
    assert_eq!(linux["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(linux.get("rootfsPropagation").is_none());
}

#[test]
fn what_runs_with_what() {
    let config = made(|d| {
        d.config.tty = true;
        d.config.working_dir = "/a/../b/".into();
        d.config.env = ["A=1", "HOSTNAME", "PATH=/x", "TERM=dumb"]
            .map(str::to_owned)
            .to_vec();
        d.host.console_size = [24, 80];
        d.host.ulimits = vec![Ulimit {
            name: "nofile".into(),
            soft: 1024,
            hard: -1,
        }];
        d.host.oom_score_adj = -500;
        d.host.security_opt = Some(vec!["no-new-privileges".into()]);
        d.host.annotations.insert("a".into(), "b".into());
    });
    let process = &config["process"];
    assert_eq!(process["terminal"], true);
    assert_eq!(process["consoleSize"], json!({"height": 24, "width": 80}));
    assert_eq!(process["cwd"], "/b");
    assert_eq!(process["env"], json!(["PATH=/x", "TERM=dumb", "A=1"]));
    assert_eq!(
        process["rlimits"],
        json!([{"type": "RLIMIT_NOFILE", "hard": u64::MAX, "soft": 1024}])
    );
    assert_eq!(process["oomScoreAdj"], -500);
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(config["annotations"], json!({"a": "b"}));
}

#[test]
fn an_init_of_ours_is_process_one() {
    let init = |inputs: &mut Inputs<'_>| inputs.init = Some("/libexec/brig-init".into());
    let (config, _) = Case::on(machine())
        .make(|d| d.host.init = Some(true), init)
        .unwrap();
    assert_eq!(
        config["process"]["args"],
        json!(["/sbin/docker-init", "--", "sh", "-c", "true"])
    );
    assert_eq!(
        mount_at(&config, "/sbin/docker-init").unwrap(),
        "bind /libexec/brig-init bind,ro"
    );
    // Somebody else is process 1 there.
    let host_pids = |d: &mut Definition| (d.host.init, d.host.pid_mode) = (Some(true), "host".into());
    let (config, _) = Case::on(machine()).make(host_pids, init).unwrap();
    assert_eq!(config["process"]["args"][0], "sh");
    assert_eq!(mount_at(&config, "/sbin/docker-init"), None);
    assert!(refused(|d| d.host.init = Some(true)).contains("brig-init"));
}

#[test]
fn namespaces_of_the_host_and_of_others() {
    let config = made(|d| {
        (d.host.network_mode, d.host.pid_mode) = ("host".into(), "host".into());
        (d.host.ipc_mode, d.host.uts_mode) = ("host".into(), "host".into());
        d.host.cgroupns_mode = "host".into();
        d.config.domainname = "example.org".into();
    });
    assert_eq!(namespaces_of(&config), ["mount"]);
    assert!(config.get("hostname").is_none());
    assert!(config["linux"].get("sysctl").is_none());
    assert_eq!(
        mount_at(&config, "/dev/shm").unwrap(),
        "bind /dev/shm rbind,rprivate"
    );

    let join = |inputs: &mut Inputs<'_>| {
        inputs.joined = Joined {
            network: Some(7),
            own_network: None,
            ipc: Some(8),
            pid: Some(9),
            shm: Some("/run/shm-of-it".into()),
            others: Vec::new(),
        };
    };
    let modes = |d: &mut Definition| {
        d.host.network_mode = "container:a".into();
        d.host.ipc_mode = "container:b".into();
        d.host.pid_mode = "container:c".into();
        d.config.domainname = "example.org".into();
    };
    let (config, _) = Case::on(machine()).make(modes, join).unwrap();
    assert_eq!(
        namespaces_of(&config),
        [
            "mount",
            "network=/proc/7/ns/net",
            "uts",
            "pid=/proc/9/ns/pid",
            "ipc=/proc/8/ns/ipc",
            "cgroup"
        ]
    );
    assert_eq!(
        mount_at(&config, "/dev/shm").unwrap(),
        "bind /run/shm-of-it rbind,rprivate"
    );
    assert_eq!(
        config["linux"]["sysctl"],
        json!({"kernel.domainname": "example.org"})
    );
    // Whoever forgets the other container does not get the host's instead.
    assert!(refused(|d| d.host.network_mode = "container:a".into()).contains("network namespace"));

    let config = made(|d| d.host.ipc_mode = "none".into());
    assert_eq!(mount_at(&config, "/dev/shm"), None);
    let config = made(|d| d.host.network_mode = "none".into());
    assert_eq!(namespaces_of(&config)[1], "network");
    assert_eq!(config["linux"]["sysctl"].as_object().unwrap().len(), 2);
    for (field, want) in [
        ("ipc", "invalid IPC mode: x"),
        ("pid", "invalid PID mode: x"),
        ("uts", "invalid UTS mode: x"),
        ("cgroup", "invalid cgroup namespace mode: x"),
        (
            "network",
            "invalid network mode: invalid container format container:<name|id>",
        ),
    ] {
        let text = refused(|d| match field {
            "ipc" => d.host.ipc_mode = "x".into(),
            "pid" => d.host.pid_mode = "x".into(),
            "uts" => d.host.uts_mode = "x".into(),
            "cgroup" => d.host.cgroupns_mode = "x".into(),
            _ => d.host.network_mode = "container:".into(),
        });
        assert_eq!(text, want);
    }
}

#[test]
fn version_1_of_cgroups() {
    let (config, _) = Case::on(legacy()).make(|_| {}, |_| {}).unwrap();
    assert!(!namespaces_of(&config).contains(&"cgroup".to_owned()));
    let private = |d: &mut Definition| d.host.cgroupns_mode = "private".into();
    let (config, _) = Case::on(legacy()).make(private, |_| {}).unwrap();
    assert!(namespaces_of(&config).contains(&"cgroup".to_owned()));
}

#[test]
fn where_the_cgroup_is() {
    let path = |driver: Driver, rootless: bool, parent: &str| {
        let mut machine = machine();
        machine.cgroups.driver = driver;
        machine.ids = rootless.then(IdMaps::default);
        let host = HostConfig {
            cgroup_parent: parent.into(),
            ..HostConfig::default()
        };
        cgroups_path("id", &host, &machine)
    };
    for (driver, rootless, parent, want) in [
        (Driver::Files, false, "", Some("/docker/id")),
        (Driver::Files, false, "/my/own", Some("/my/own/id")),
        (Driver::Files, false, "my", Some("my/id")),
        (Driver::Files, false, "../../x", Some("x/id")),
        (Driver::Files, false, "/../../x", Some("/x/id")),
        (Driver::Systemd, false, "", Some("system.slice:docker:id")),
        (Driver::Systemd, true, "", Some("user.slice:docker:id")),
        (Driver::Systemd, false, "a.slice", Some("a.slice:docker:id")),
        (Driver::None, true, "", None),
    ] {
        assert_eq!(
            path(driver, rootless, parent).as_deref(),
            want,
            "{driver:?} {parent}"
        );
    }
}

#[test]
fn a_privileged_container_keeps_nothing_out() {
    let config = made(|d| d.host.privileged = true);
    let linux = &config["linux"];
    assert_eq!(linux["maskedPaths"], json!([]));
    assert_eq!(linux["readonlyPaths"], json!([]));
    assert!(linux.get("seccomp").is_none());
    assert_eq!(
        linux["resources"]["devices"],
        json!([{"allow": true, "access": "rwm"}])
    );
    assert_eq!(
        mount_at(&config, "/sys").unwrap(),
        "sysfs sysfs nosuid,noexec,nodev"
    );
    assert_eq!(
        mount_at(&config, "/sys/fs/cgroup").unwrap(),
        "cgroup cgroup nosuid,noexec,nodev"
    );
    assert_eq!(
        config["process"]["capabilities"]["bounding"],
        json!(capabilities::ours())
    );
    let config = made(|d| {
        d.host.privileged = true;
        d.host.readonly_rootfs = true;
        d.host.security_opt = Some(vec!["seccomp=builtin".into(), "writable-cgroups=false".into()]);
    });
    assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(mount_at(&config, "/sys/fs/cgroup").unwrap().contains("ro,"));
    assert_eq!(
        mount_at(&config, "/sys").unwrap(),
        "sysfs sysfs nosuid,noexec,nodev"
    );
}

#[test]
fn paths_that_are_hidden_can_be_chosen() {
    let config = made(|d| {
        d.host.masked_paths = Some(Vec::new());
        d.host.readonly_paths = Some(vec!["/x".into()]);
    });
    assert_eq!(config["linux"]["maskedPaths"], json!([]));
    assert_eq!(config["linux"]["readonlyPaths"], json!(["/x"]));
}

fn bound(source: &str, destination: &str, rw: bool, propagation: &str) -> MountPoint {
    MountPoint {
        kind: "bind".into(),
        source: source.into(),
        destination: destination.into(),
        rw,
        propagation: propagation.into(),
        ..MountPoint::default()
    }
}

#[test]
fn mounts_of_the_user() {
    let config = made(|d| {
        d.mounts = vec![
            bound("/host/deep", "/a/b", true, "rprivate"),
            MountPoint {
                spec: Some(Box::new(Mount {
                    kind: "bind".into(),
                    read_only: true,
                    bind_options: Some(BindOptions {
                        non_recursive: true,
                        read_only_non_recursive: true,
                        ..BindOptions::default()
                    }),
                    ..Mount::default()
                })),
                ..bound("/host/a", "/a", false, "rprivate")
            },
            bound("/host/hosts", "/etc/hosts", true, ""),
            bound("/host/sys", "/sys", true, ""),
            MountPoint {
                kind: "tmpfs".into(),
                destination: "/t".into(),
                ..MountPoint::default()
            },
        ];
        d.host.tmpfs.insert("/run".into(), "size=1m,exec".into());
    });
    assert_eq!(
        destinations(&config)[6..],
        ["/a", "/run", "/sys", "/t", "/a/b", "/etc/hosts"].map(|d| d)
    );
    assert_eq!(mount_at(&config, "/a").unwrap(), "bind /host/a bind,ro,rprivate");
    assert_eq!(
        mount_at(&config, "/a/b").unwrap(),
        "bind /host/deep rbind,rprivate"
    );
    assert_eq!(
        mount_at(&config, "/run").unwrap(),
        "tmpfs tmpfs nosuid,nodev,rprivate,size=1m,exec"
    );
    assert_eq!(
        mount_at(&config, "/t").unwrap(),
        "tmpfs tmpfs noexec,nosuid,nodev,rprivate,ro"
    );
    assert_eq!(mount_at(&config, "/sys").unwrap(), "bind /host/sys rbind");
}

#[test]
fn read_only_reaches_what_is_mounted_below_where_it_can() {
    let read_only = |kernel: (u32, u32), runtime: bool, force: bool| {
        let mut case = Case::on(machine());
        case.machine.kernel = kernel;
        case.make(
            |d| {
                let wish = Mount {
                    target: "/a/".into(),
                    read_only: true,
                    bind_options: Some(BindOptions {
                        read_only_force_recursive: force,
                        ..BindOptions::default()
                    }),
                    ..Mount::default()
                };
                d.mounts = vec![MountPoint {
                    spec: Some(Box::new(wish)),
                    ..bound("/h", "/a", false, "")
                }];
            },
            |inputs| inputs.recursive_read_only = runtime,
        )
        .map(|(config, _)| mount_at(&config, "/a").unwrap())
        .map_err(|e| e.to_string())
    };
    assert_eq!(read_only((5, 12), true, true).unwrap(), "bind /h rbind,rro");
    assert_eq!(read_only((5, 11), true, false).unwrap(), "bind /h rbind,ro");
    assert_eq!(read_only((5, 12), false, false).unwrap(), "bind /h rbind,ro");
    assert!(read_only((5, 11), true, true).is_err() && read_only((5, 12), false, true).is_err());
}

#[test]
fn files_of_ours_are_bound_over_those_of_the_image() {
    let files = |inputs: &mut Inputs<'_>| {
        inputs.files = Files {
            resolv_conf: Some("/r".into()),
            hostname: Some("/n".into()),
            hosts: Some("/h".into()),
        };
    };
    let (config, _) = Case::on(machine()).make(|_| {}, files).unwrap();
    assert_eq!(mount_at(&config, "/etc/hosts").unwrap(), "bind /h rbind,rprivate");
    let read_only = |d: &mut Definition| {
        d.host.readonly_rootfs = true;
        d.mounts = vec![bound("/own", "/etc/hosts", true, "")];
    };
    let (config, _) = Case::on(machine()).make(read_only, files).unwrap();
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(mount_at(&config, "/etc/hosts").unwrap(), "bind /own rbind");
    assert_eq!(
        mount_at(&config, "/etc/hostname").unwrap(),
        "bind /n rbind,ro,rprivate"
    );
    assert!(!mount_at(&config, "/dev/shm").unwrap().contains("ro,"));
}

#[test]
fn propagation_needs_a_mount_that_propagates() {
    let with = |propagation: &str, shared: bool, slave: bool| {
        let mut case = Case::on(machine());
        let peers = found::Peers {
            mount: "/m".into(),
            shared,
            slave,
        };
        case.found.peers.insert("/m/h".into(), peers);
        case.make(
            |d| d.mounts = vec![bound("/m/h", "/a", true, propagation)],
            |_| {},
        )
        .map(|(config, _)| config["linux"]["rootfsPropagation"].as_str().map(str::to_owned))
        .map_err(|e| e.to_string())
    };
    assert_eq!(with("rprivate", false, false), Ok(None));
    assert_eq!(with("rshared", true, false), Ok(Some("shared".into())));
    assert_eq!(with("slave", false, true), Ok(Some("rslave".into())));
    assert_eq!(
        with("shared", false, true).unwrap_err(),
        "path /m/h is mounted on /m but it is not a shared mount"
    );
    assert_eq!(
        with("rslave", false, false).unwrap_err(),
        "path /m/h is mounted on /m but it is not a shared or slave mount"
    );
}

#[test]
fn limits_become_resources() {
    let machine = legacy();
    let mut found = Found::default();
    found.numbers.insert("/dev/vda".into(), (254, 0));
    let definition = definition(|d| {
        let host = &mut d.host;
        (host.memory, host.memory_swap, host.memory_reservation) = (64 << 20, 128 << 20, 32 << 20);
        (host.memory_swappiness, host.oom_kill_disable) = (Some(0), Some(true));
        (host.nano_cpus, host.cpu_shares) = (1_500_000_000, 512);
        (host.cpuset_cpus, host.cpuset_mems) = ("0,1".into(), "0".into());
        (host.cpu_realtime_period, host.cpu_realtime_runtime) = (1000, 500);
        host.pids_limit = Some(-1);
        host.blkio_weight = 300;
        host.blkio_device_read_bps = vec![crate::model::ThrottleDevice {
            path: "/dev/vda".into(),
            rate: 1000,
        }];
    });
    let inputs = Inputs::of(&definition, &machine, &found);
    assert_eq!(
        Value::Object(resources::limits(&inputs).unwrap()),
        json!({
            "memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728, "swappiness": 0,
                "disableOOMKiller": true},
            "cpu": {"shares": 512, "period": 100_000, "quota": 150_000, "realtimePeriod": 1000,
                "realtimeRuntime": 500, "cpus": "0,1", "mems": "0"},
            "blockIO": {"weight": 300, "throttleReadBpsDevice": [{"major": 254, "minor": 0, "rate": 1000}]},
            "pids": {"limit": -1},
        })
    );
}

#[test]
fn devices_are_made_and_allowed() {
    let mut case = Case::on(machine());
    case.found.devices = vec![devices::Node {
        path: "/dev/fuse".into(),
        kind: 'c',
        major: 10,
        minor: 229,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: "rw".into(),
    }];
    let rule = |d: &mut Definition| d.host.device_cgroup_rules = Some(vec!["c 42:* r".into()]);
    let (config, _) = case.make(rule, |_| {}).unwrap();
    assert_eq!(
        config["linux"]["devices"],
        json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666, "uid": 0, "gid": 0}])
    );
    let rules = config["linux"]["resources"]["devices"].as_array().unwrap();
    assert_eq!(
        rules[rules.len() - 2..],
        [
            json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}),
            json!({"allow": true, "type": "c", "major": 42, "minor": -1, "access": "r"})
        ]
    );
}

#[test]
fn an_ordinary_user_gets_what_can_be_had() {
    let mut case = Case::on(rootless());
    case.found.locked.insert("/h".into(), vec!["nodev", "nosuid"]);
    let everything = |d: &mut Definition| {
        (d.host.network_mode, d.host.pid_mode, d.host.ipc_mode) =
            ("host".into(), "host".into(), "host".into());
        d.host.memory = 64 << 20;
        d.mounts = vec![bound("/h", "/a", true, "")];
    };
    let (config, warnings) = case.make(everything, |_| {}).unwrap();
    let linux = &config["linux"];
    assert!(linux.get("cgroupsPath").is_none() && linux.get("resources").is_none());
    assert!(
        warnings[0].0.starts_with("Resource limits are discarded"),
        "{warnings:?}"
    );
    assert!(!namespaces_of(&config).contains(&"user".to_owned()));
    assert_eq!(
        mount_at(&config, "/proc").unwrap(),
        "bind /proc rbind,nosuid,noexec,nodev"
    );
    assert_eq!(
        mount_at(&config, "/sys").unwrap(),
        "bind /sys rbind,nosuid,noexec,nodev,ro"
    );
    assert_eq!(
        mount_at(&config, "/dev/mqueue").unwrap(),
        "bind /dev/mqueue rbind,nosuid,noexec,nodev"
    );
    assert_eq!(mount_at(&config, "/a").unwrap(), "bind /h rbind,nodev,nosuid");
    assert!(mount_at(&config, "/dev/pts").unwrap().contains("gid=5"));
    assert_eq!(linux["readonlyPaths"], json!([]));
    assert_eq!(config["process"]["oomScoreAdj"], 100);
    assert_eq!(config["process"]["user"]["additionalGids"], json!([]));

    let (config, _) = case.make(|_| {}, |_| {}).unwrap();
    assert_eq!(
        mount_at(&config, "/sys").unwrap(),
        "sysfs sysfs nosuid,noexec,nodev,ro"
    );
    // Groups that are not mapped cannot be named.
    let sysctl = config["linux"]["sysctl"].as_object().unwrap();
    assert_eq!(
        sysctl.keys().collect::<Vec<_>>(),
        ["net.ipv4.ip_unprivileged_port_start"]
    );

    let mut case = Case::on(rootless());
    case.machine.ids = Some(IdMaps {
        uids: vec![(0, 1000, 1)],
        gids: vec![(0, 1000, 1)],
    });
    let (config, _) = case.make(|_| {}, |_| {}).unwrap();
    assert!(config["process"]["user"].get("additionalGids").is_none());
    assert!(!mount_at(&config, "/dev/pts").unwrap().contains("gid="));
}

#[test]
fn a_user_gets_the_limits_that_systemd_delegates() {
    let mut case = Case::on(rootless());
    case.machine.cgroups.driver = Driver::Systemd;
    case.machine.cgroups.controllers = vec!["memory".into(), "pids".into()];
    let limits = |d: &mut Definition| {
        (d.host.memory, d.host.cpu_shares, d.host.pids_limit) = (64 << 20, 512, Some(10));
    };
    let (config, warnings) = case.make(limits, |_| {}).unwrap();
    assert_eq!(
        config["linux"]["resources"],
        json!({"memory": {"limit": 67_108_864}, "pids": {"limit": 10}})
    );
    assert_eq!(warnings.len(), 1);
    assert_eq!(config["linux"]["cgroupsPath"], format!("user.slice:docker:{ID}"));
}

#[test]
fn a_user_namespace_of_its_own() {
    let ids = IdMaps {
        uids: vec![(0, 100_000, 65536)],
        gids: vec![(0, 100_000, 65536)],
    };
    let (config, _) = Case::on(machine())
        .make(|_| {}, |inputs| inputs.ids = Some(ids))
        .unwrap();
    assert!(namespaces_of(&config).contains(&"user".to_owned()));
    assert_eq!(
        config["linux"]["uidMappings"],
        json!([{"containerID": 0, "hostID": 100_000, "size": 65536}])
    );
    assert!(config["linux"].get("resources").is_none());
}

#[test]
fn seccomp_profiles() {
    let of = |option: &str| {
        let option = option.to_owned();
        Case::on(machine()).make(|d| d.host.security_opt = Some(vec![option]), |_| {})
    };
    assert!(
        of("seccomp=unconfined").unwrap().0["linux"]
            .get("seccomp")
            .is_none()
    );
    let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}],
        "syscalls": [
            {"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "c", "includes": {}, "excludes": {}},
            {"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN"], "arches": ["arm64", "amd64"]}},
            {"names": ["b"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}},
            {"names": ["c"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.2"}},
            {"names": ["d"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "6.1"}},
            {"names": ["e"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390"]}},
            {"names": ["f"], "action": "SCMP_ACT_ALLOW", "excludes": {"arches": ["amd64"]}},
            {"names": ["g"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": "4.8"}}
        ]}"#;
    let config = of(&format!("seccomp={text}")).unwrap().0;
    let profile = &config["linux"]["seccomp"];
    assert_eq!(
        profile["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    );
    assert!(profile.get("archMap").is_none());
    let rules = profile["syscalls"].as_array().unwrap();
    let names: Vec<&str> = rules.iter().map(|r| r["names"][0].as_str().unwrap()).collect();
    assert_eq!(names, ["read", "a", "d", "e"]);
    assert_eq!(rules[0], json!({"action": "SCMP_ACT_ALLOW", "names": ["read"]}));
    for (text, want) in [
        ("{", "decoding seccomp profile failed: EOF"),
        ("[]", "decoding seccomp profile failed: it is not an object"),
        (
            r#"{"architectures":["a"],"archMap":[{}]}"#,
            "both 'architectures' and 'archMap'",
        ),
        (
            r#"{"syscalls":[{"name":"a","names":["b"]}]}"#,
            "both 'name' and 'names'",
        ),
        (
            r#"{"syscalls":[{"includes":{"minKernel":"x"}}]}"#,
            "invalid kernel version",
        ),
    ] {
        let error = of(&format!("seccomp={text}")).unwrap_err().to_string();
        assert!(error.starts_with(want) || error.contains(want), "{error}");
    }
    let mut case = Case::on(machine());
    case.machine.seccomp = false;
    let (config, warnings) = case.make(|_| {}, |_| {}).unwrap();
    assert!(config["linux"].get("seccomp").is_none() && warnings.len() == 1);
}

#[test]
fn systemd_gets_what_it_needs() {
    let mut case = Case::on(machine());
    case.found.is_machine = true;
    let own_run = |d: &mut Definition| {
        d.host.init = Some(true);
        d.host.cgroupns_mode = "host".into();
        d.host.tmpfs.insert("/run".into(), String::new());
        d.config.env = vec!["container=mine".into()];
    };
    let (config, _) = case.make(own_run, |_| {}).unwrap();
    assert_eq!(config["process"]["args"][0], "sh");
    let env = config["process"]["env"].to_string();
    assert!(
        env.contains("container=mine") && env.contains(&format!("container_uuid={}", &ID[..32])),
        "{env}"
    );
    assert!(namespaces_of(&config).contains(&"cgroup".to_owned()));
    assert_eq!(
        mount_at(&config, "/sys/fs/cgroup").unwrap(),
        "cgroup cgroup nosuid,noexec,nodev"
    );
    assert_eq!(
        mount_at(&config, "/run").unwrap(),
        "tmpfs tmpfs noexec,nosuid,nodev,rprivate"
    );
    assert_eq!(
        mount_at(&config, "/tmp").unwrap(),
        "tmpfs tmpfs nosuid,nodev,mode=1777"
    );

    let mut case = Case::on(legacy());
    case.machine.cgroups.controllers.push("systemd".into());
    case.found.is_machine = true;
    let (config, _) = case.make(|_| {}, |_| {}).unwrap();
    assert!(mount_at(&config, "/sys/fs/cgroup").unwrap().contains("ro,"));
    assert_eq!(
        mount_at(&config, "/sys/fs/cgroup/systemd").unwrap(),
        format!("bind /sys/fs/cgroup/systemd/docker/{ID} bind,nosuid,noexec,nodev")
    );
    assert!(mount_at(&config, "/run").unwrap().contains("tmpcopyup"));
}

#[test]
fn an_exec_is_as_the_container_but_for_what_was_said() {
    let definition = definition(|d| {
        d.config.env = vec!["A=1".into()];
        d.config.working_dir = "/w".into();
        d.host.security_opt = Some(vec!["no-new-privileges".into()]);
        // Not needed again.
        d.host.init = Some(true);
    });
    let (machine, found) = (machine(), Found::default());
    let inputs = Inputs::of(&definition, &machine, &found);
    let plain = Exec {
        args: vec!["ls".into()],
        ..Exec::default()
    };
    let process = exec(&inputs, &plain).unwrap();
    assert_eq!(process["args"], json!(["ls"]));
    assert_eq!(process["cwd"], "/w");
    assert_eq!(process["noNewPrivileges"], true);
    assert_eq!(process["capabilities"]["bounding"], json!(defaults::CAPABILITIES));
    let all = Exec {
        env: vec!["A=2".into(), "TERM=x".into()],
        user: Some(image::bundle::user::User {
            uid: 5,
            gid: 6,
            additional_gids: vec![6],
        }),
        working_dir: Some("/x/".into()),
        tty: true,
        console_size: [1, 2],
        privileged: true,
        ..plain.clone()
    };
    let process = exec(&inputs, &all).unwrap();
    assert_eq!(
        process["user"],
        json!({"uid": 5, "gid": 6, "additionalGids": [6]})
    );
    assert_eq!(
        process["env"],
        json!([defaults::PATH, "HOSTNAME=0123456789ab", "TERM=x", "A=2"])
    );
    assert_eq!(
        (process["cwd"].as_str(), process["terminal"].as_bool()),
        (Some("/x"), Some(true))
    );
    assert_eq!(process["consoleSize"], json!({"height": 1, "width": 2}));
    assert_eq!(process["capabilities"]["bounding"], json!(capabilities::ours()));
    let error = exec(&inputs, &Exec::default()).unwrap_err().to_string();
    assert_eq!(error, "no exec command specified");
}

#[test]
fn labels_and_profiles() {
    let mut case = Case::on(machine());
    case.machine.apparmor = true;
    case.machine.selinux = Some("process = \"a:b:c:s0\"\nfile = \"a:b:f:s0\"\n".into());
    let (config, _) = case.make(|_| {}, |_| {}).unwrap();
    assert_eq!(config["process"]["apparmorProfile"], "docker-default");
    let label = config["process"]["selinuxLabel"].as_str().unwrap();
    assert_eq!(config["linux"]["mountLabel"], label.replace(":c:", ":f:"));
    // What the host needs is not given away.
    let definition = definition(|d| {
        d.mounts = vec![MountPoint {
            mode: "ro,Z".into(),
            ..bound("/usr", "/a", false, "")
        }]
    });
    let inputs = Inputs::of(&definition, &case.machine, &case.found);
    let labelled = json!({"linux": {"mountLabel": label}});
    let error = prepare(&inputs, &labelled).unwrap_err().to_string();
    assert_eq!(error, "SELinux relabeling of /usr is not allowed");
    prepare(&inputs, &json!({})).unwrap();
}
