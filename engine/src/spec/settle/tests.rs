#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::{ThrottleDevice, Ulimit};
use crate::spec::tests::machine;

fn settled(change: impl FnOnce(&mut Config, &mut HostConfig)) -> Result<(HostConfig, Vec<Warning>)> {
    on(&machine(), change)
}

fn on(
    machine: &Host,
    change: impl FnOnce(&mut Config, &mut HostConfig),
) -> Result<(HostConfig, Vec<Warning>)> {
    let (mut config, mut host) = (Config::default(), HostConfig::default());
    change(&mut config, &mut host);
    settle(&config, host, machine)
}

#[test]
fn what_is_usual_is_filled_in() {
    let (host, warnings) = settled(|_, host| host.memory = 64 << 20).unwrap();
    assert_eq!(host.memory_swap, 128 << 20);
    assert_eq!(
        (host.ipc_mode.as_str(), host.cgroupns_mode.as_str()),
        ("private", "private")
    );
    assert_eq!(host.oom_kill_disable, None);
    assert_eq!(host.masked_paths.unwrap().len(), 12);
    assert_eq!(host.readonly_paths.unwrap().len(), 5);
    assert_eq!(host.security_opt, None);
    assert_eq!(warnings, []);
    let (host, _) = settled(|_, host| host.privileged = true).unwrap();
    assert_eq!(host.masked_paths, None);
    assert_eq!(host.security_opt.unwrap(), ["label=disable"]);
}

#[test]
fn what_makes_no_sense_is_refused_in_dockers_words() {
    type Change = fn(&mut Config, &mut HostConfig);
    let cases: &[(Change, &str)] = &[
        (|_, h| h.memory = 1, "Minimum memory limit allowed is 6MB"),
        (
            |_, h| (h.memory, h.memory_swap) = (64 << 20, 32 << 20),
            "Minimum memoryswap limit should be larger than memory limit, see usage",
        ),
        (
            |_, h| h.memory_swap = 32 << 20,
            "You should always set the Memory limit when using Memoryswap limit, see usage",
        ),
        (
            |_, h| h.memory_reservation = 1,
            "Minimum memory reservation allowed is 6MB",
        ),
        (
            |_, h| (h.memory, h.memory_reservation) = (64 << 20, 65 << 20),
            "Minimum memory limit can not be less than memory reservation limit, see usage",
        ),
        (
            |_, h| h.nano_cpus = 4_000_000_001,
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            |_, h| h.nano_cpus = -1,
            "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available",
        ),
        (
            |_, h| (h.nano_cpus, h.cpu_period) = (1, 1),
            "Conflicting options: Nano CPUs and CPU Period cannot both be set",
        ),
        (
            |_, h| (h.nano_cpus, h.cpu_quota) = (1, 1),
            "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            |_, h| h.cpu_period = 999,
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ),
        (
            |_, h| h.cpu_quota = 999,
            "CPU cfs quota can not be less than 1ms (i.e. 1000)",
        ),
        (
            |_, h| h.cpu_shares = -1,
            "invalid CPU shares (-1): value must be a positive integer",
        ),
        (
            |_, h| h.cpu_realtime_runtime = 1,
            "kernel does not support CPU real-time scheduler",
        ),
        (
            |_, h| h.cpuset_cpus = "0-4".into(),
            "Requested CPUs are not available - requested 0-4, available: 0-3",
        ),
        (
            |_, h| h.cpuset_mems = "1".into(),
            "Requested memory nodes are not available - requested 1, available: 0",
        ),
        (
            |_, h| h.cpuset_cpus = "3-1".into(),
            "Invalid value 3-1 for cpuset cpus: invalid format: 3-1",
        ),
        (
            |_, h| h.cpuset_cpus = "8193".into(),
            "Invalid value 8193 for cpuset cpus: value of out range, maximum is 8192",
        ),
        (
            |_, h| h.blkio_weight = 9,
            "Range of blkio weight is from 10 to 1000",
        ),
        (|_, h| h.shm_size = -1, "SHM size can not be less than 0"),
        (
            |_, h| h.oom_score_adj = 1001,
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        (|_, h| h.ipc_mode = "x".into(), "invalid IPC mode: x"),
        (
            |_, h| h.pid_mode = "container:".into(),
            "invalid PID mode: container:",
        ),
        (|_, h| h.uts_mode = "x".into(), "invalid UTS mode: x"),
        (
            |_, h| h.cgroupns_mode = "x".into(),
            "invalid cgroup namespace mode: x",
        ),
        (
            |_, h| h.isolation = "hyperv".into(),
            "invalid isolation (hyperv): linux only supports 'default'",
        ),
        (
            |_, h| h.io_maximum_iops = 1,
            "invalid option: QoS maximum IOPs configuration is not supported on linux",
        ),
        (
            |c, h| (c.hostname, h.network_mode) = ("h".into(), "container:x".into()),
            "conflicting options: hostname and the network mode",
        ),
        (
            |_, h| (h.publish_all_ports, h.network_mode) = (true, "container:x".into()),
            "conflicting options: port publishing and the container type network mode",
        ),
        (
            |_, h| (h.dns, h.network_mode) = (vec!["1.1.1.1".into()], "container:x".into()),
            "conflicting options: dns and the network mode",
        ),
        (
            |c, h| (c.hostname, h.uts_mode) = ("h".into(), "host".into()),
            "conflicting options: hostname and the UTS mode",
        ),
        (
            |c, h| (c.domainname, h.uts_mode) = ("d".into(), "host".into()),
            "conflicting options: domainname and the UTS mode",
        ),
        (
            |_, h| (h.auto_remove, h.restart_policy.name) = (true, "always".into()),
            "can't create 'AutoRemove' container with restart policy",
        ),
        (
            |_, h| h.restart_policy.name = "x".into(),
            "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
        ),
        (
            |_, h| h.restart_policy.maximum_retry_count = 1,
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ),
        (
            |c, _| c.working_dir = "a".into(),
            "the working directory 'a' is invalid, it needs to be an absolute path",
        ),
        (|c, _| c.stop_signal = Some("X".into()), "invalid signal: X"),
        (
            |c, _| c.env = vec!["=a".into()],
            "invalid environment variable: =a",
        ),
        (
            |_, h| h.cap_add = Some(vec!["X".into()]),
            "invalid CapAdd: unknown capability: \"CAP_X\"",
        ),
        (
            |_, h| h.security_opt = Some(vec!["x".into()]),
            "invalid --security-opt 1: \"x\"",
        ),
        (
            |_, h| h.extra_hosts = Some(vec!["a".into()]),
            "bad format for add-host: \"a\"",
        ),
        (
            |_, h| h.extra_hosts = Some(vec!["a:b".into()]),
            "invalid IP address in add-host: \"b\"",
        ),
        (
            |_, h| drop(h.sysctls.insert("vm.swappiness".into(), "1".into())),
            "sysctl 'vm.swappiness' is not allowed",
        ),
        (
            |_, h| drop(h.storage_opt.insert("size".into(), "1g".into())),
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option",
        ),
        (
            |_, h| drop(h.tmpfs.insert("/t".into(), "x".into())),
            "invalid tmpfs option \"x\"",
        ),
        (
            |_, h| drop(h.tmpfs.insert("t".into(), String::new())),
            "invalid mount path: 't' mount path must be absolute",
        ),
        (
            |_, h| drop(h.annotations.insert(String::new(), "x".into())),
            "invalid Annotations: the empty string is not permitted as an annotation key",
        ),
    ];
    for (change, want) in cases {
        assert_eq!(settled(*change).unwrap_err().to_string(), *want);
    }
    let long = "h".repeat(65);
    let error = settled(|c, _| c.hostname = long.clone()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("hostname \"{long}\" is too long (maximum 64 bytes)")
    );
}

#[test]
fn ulimits() {
    let of = |name: &str, soft: i64, hard: i64| {
        let limit = Ulimit {
            name: name.into(),
            soft,
            hard,
        };
        settled(|_, h| h.ulimits = vec![limit])
            .map(drop)
            .map_err(|e| e.to_string())
    };
    assert_eq!(of("nofile", 5, 5), Ok(()));
    assert_eq!(of("core", -1, -1), Ok(()));
    assert_eq!(of("as", 1, 1).unwrap_err(), "invalid ulimit type: as");
    let failed = "ulimit soft limit must be less than or equal to hard limit: ";
    assert_eq!(of("core", 2, 1).unwrap_err(), format!("{failed}2 > 1"));
    assert_eq!(
        of("core", -1, 1).unwrap_err(),
        format!("{failed}soft: -1 (unlimited), hard: 1")
    );
}

#[test]
fn what_the_kernel_has_not_got_is_dropped_and_told() {
    let mut bare = machine();
    bare.cgroups.hierarchy = Hierarchy::Legacy;
    bare.cgroups.controllers.clear();
    let throttle = || {
        vec![ThrottleDevice {
            path: "/dev/x".into(),
            rate: 1,
        }]
    };
    let (host, warnings) = on(&bare, |_, h| {
        (h.memory, h.memory_reservation, h.memory_swappiness) = (64 << 20, 64 << 20, Some(5));
        (h.oom_kill_disable, h.pids_limit) = (Some(true), Some(5));
        (h.cpu_shares, h.cpu_quota, h.cpu_percent) = (5, 5000, 5);
        (h.cpuset_cpus, h.blkio_weight) = ("0".into(), 100);
        (h.blkio_device_read_bps, h.blkio_device_write_iops) = (throttle(), throttle());
    })
    .unwrap();
    let first: Vec<String> = warnings
        .iter()
        .map(|w| {
            w.0.strip_prefix("Your kernel does not support ")
                .unwrap_or(&w.0)
                .chars()
                .take(16)
                .collect()
        })
        .collect();
    assert_eq!(
        first,
        [
            "memory limit cap",
            "memory swappines",
            "memory soft limi",
            "OomKillDisable. ",
            "PIDs limit capab",
            "CPU shares or th",
            "CPU CFS schedule",
            "linux does not s",
            "cpuset or the cg",
            "Block I/O weight",
            "BPS Block I/O re",
            "IOPS Block write",
        ]
    );
    let kept = HostConfig {
        memory_swap: -1,
        ..HostConfig::default()
    };
    assert_eq!(
        (host.memory, host.memory_swap, host.memory_reservation),
        (0, kept.memory_swap, 0)
    );
    assert_eq!((host.cpu_shares, host.cpu_quota, host.cpu_percent), (0, 0, 0));
    assert_eq!(
        (host.pids_limit, host.oom_kill_disable, host.memory_swappiness),
        (None, None, None)
    );
    assert!(host.cpuset_cpus.is_empty() && host.blkio_device_read_bps.is_empty());

    let mut old = machine();
    old.cgroups.hierarchy = Hierarchy::Legacy;
    old.cgroups.files = vec!["memory.oom_control".into(), "memory.swappiness".into()];
    let (_, warnings) = on(&old, |_, h| h.oom_kill_disable = Some(true)).unwrap();
    assert!(
        warnings[0].0.starts_with("OOM killer is disabled"),
        "{warnings:?}"
    );
    let swappiness = |n: i64| on(&old, |_, h| h.memory_swappiness = Some(n)).map_err(|e| e.to_string());
    assert_eq!(swappiness(-1).unwrap().0.memory_swappiness, None);
    assert_eq!(
        swappiness(101).unwrap_err(),
        "Invalid value: 101, valid memory swappiness range is 0-100"
    );
    let (host, warnings) = on(&old, |_, h| h.memory = 64 << 20).unwrap();
    assert_eq!(host.memory_swap, -1);
    assert!(warnings[0].0.contains("swap limit"), "{warnings:?}");
}

#[test]
fn slices_of_systemd_are_named_so() {
    let mut systemd = machine();
    systemd.cgroups.driver = crate::spec::host::Driver::Systemd;
    assert!(on(&systemd, |_, h| h.cgroup_parent = "a.slice".into()).is_ok());
    for bad in [".slice", "a", "/a"] {
        let error = on(&systemd, |_, h| h.cgroup_parent = bad.into())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\""
        );
    }
}

#[test]
fn limits_of_a_container_that_is_made() {
    let host = HostConfig {
        network_mode: "container:x".into(),
        memory: 64 << 20,
        ..HostConfig::default()
    };
    let config = Config {
        hostname: "0123456789ab".into(),
        ..Config::default()
    };
    assert!(settle(&config, host.clone(), &machine()).is_err());
    let (host, _) = settle_limits(host, &machine()).unwrap();
    assert_eq!(host.memory_swap, 128 << 20);
    let (again, _) = settle_limits(host.clone(), &machine()).unwrap();
    assert_eq!(again, host);
    let bad = HostConfig {
        memory: 1,
        ..HostConfig::default()
    };
    assert!(settle_limits(bad, &machine()).is_err());
}
