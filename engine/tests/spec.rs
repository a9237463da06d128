//! Configurations against the kernel: `runb` of the same build (or `RUNB`) runs them, and what is inside says what it sees. Each
//! test runs again, alone, in a mount namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use engine::model::{Config, Definition, Device, HostConfig, Mount, MountPoint, TmpfsOptions, Ulimit};
use engine::spec::{self, Found, Host, Inputs};

const INSIDE: &str = "ENGINE_TEST_INSIDE";

/// True when the caller is to go on: it is root and alone in a mount namespace, and there is a runtime.
fn inside(test: &str) -> bool {
    again(test, &["unshare", "-m", "--propagation", "private"])
}

/// The same as an ordinary user, who is root of a user namespace with that one id.
fn inside_as_user(test: &str) -> bool {
    let user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"];
    again(
        test,
        &[
            &user[..],
            &["unshare", "-U", "-r", "-m", "--propagation", "private"],
        ]
        .concat(),
    )
}

fn again(test: &str, by: &[&str]) -> bool {
    if sys::process::effective_ids().0 != 0 || !runb().exists() {
        println!(
            "skip engine.{test}: needs root and a runb at {}",
            runb().display()
        );
        return false;
    }
    if std::env::var(INSIDE).as_deref() == Ok(test) {
        return true;
    }
    let output = Command::new(by[0])
        .args(&by[1..])
        .args(["timeout", "100"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, test)
        .output()
        .unwrap();
    let said = text(&output);
    print!("{said}");
    assert!(output.status.success(), "{test} failed inside");
    assert!(said.contains("1 passed"), "{test} did not run inside");
    false
}

fn runb() -> PathBuf {
    let built = std::env::current_exe().unwrap();
    std::env::var_os("RUNB").map_or_else(|| built.ancestors().nth(2).unwrap().join("runb"), PathBuf::from)
}

fn text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// A place with a root file system of busybox.
struct Room(PathBuf);

impl Room {
    fn new() -> Room {
        let room = Room(PathBuf::from("/mnt"));
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "mode=755", "room", "/mnt"])
            .status();
        assert!(mounted.unwrap().success());
        for name in [
            "bin", "proc", "sys", "dev", "tmp", "etc", "run", "sbin", "var/log",
        ] {
            room.dir(&format!("rootfs/{name}"));
        }
        std::fs::copy("/usr/bin/busybox", room.path("rootfs/bin/busybox")).unwrap();
        for name in [
            "sh", "cat", "id", "sleep", "hostname", "ls", "grep", "df", "mount", "stat", "ps", "env", "tail",
        ] {
            symlink("busybox", room.path("rootfs/bin").join(name)).unwrap();
        }
        room.file(
            "rootfs/etc/passwd",
            "root:x:0:0::/root:/bin/sh\nwww:x:33:33::/var/www:/bin/sh\n",
        );
        room.file("rootfs/etc/group", "root:x:0:\nwww:x:33:\nextra:x:77:\n");
        room.file("rootfs/etc/hosts", "the image's\n");
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes config.json, as a start does.
    fn prepare(
        &self,
        script: &str,
        change: impl FnOnce(&mut Config, &mut HostConfig, &mut Vec<MountPoint>),
        more: impl FnOnce(&mut Inputs<'_>),
    ) -> String {
        let host = Host::ask();
        let id = format!("{:064x}", u128::from(std::process::id()) << 64 | self.number());
        let mut definition = Definition {
            id: id.clone(),
            path: "sh".into(),
            args: vec!["-c".into(), script.into()],
            ..Definition::default()
        };
        change(
            &mut definition.config,
            &mut definition.host,
            &mut definition.mounts,
        );
        if definition.config.hostname.is_empty() {
            definition.config.hostname = id[..12].into();
        }
        let (settled, warnings) = spec::settle(&Config::default(), definition.host.clone(), &host).unwrap();
        println!("{warnings:?}");
        definition.host = settled;
        let root = sys::fs::open(&self.path("rootfs"), libc::O_PATH | libc::O_DIRECTORY, 0).unwrap();
        let found = Found::look_up(&definition, root.as_fd(), &host).unwrap();
        let mut inputs = Inputs::of(&definition, &host, &found);
        more(&mut inputs);
        let (document, _) = spec::document(&inputs).unwrap();
        self.file("config.json", &serde_json::to_string_pretty(&document).unwrap());
        id
    }

    fn number(&self) -> u128 {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed).into()
    }

    fn runtime(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(runb());
        command
            .arg("--root")
            .arg(self.dir("state"))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs a container to its end.
    fn run(
        &self,
        script: &str,
        change: impl FnOnce(&mut Config, &mut HostConfig, &mut Vec<MountPoint>),
        more: impl FnOnce(&mut Inputs<'_>),
    ) -> (Vec<String>, Option<i32>) {
        let id = self.prepare(script, change, more);
        let output = self.runtime(&["run", "-b", "/mnt", &id]).output().unwrap();
        let said = text(&output);
        println!("{said}");
        (said.lines().map(str::to_owned).collect(), output.status.code())
    }

    /// Starts one that stays, and tells its pid.
    fn start(
        &self,
        change: impl FnOnce(&mut Config, &mut HostConfig, &mut Vec<MountPoint>),
    ) -> (String, i32) {
        let id = self.prepare("echo theirs > /dev/shm/file; exec sleep 100", change, |_| {});
        let pid_file = self.path("pid");
        let started = self
            .runtime(&[
                "run",
                "-d",
                "--pid-file",
                pid_file.to_str().unwrap(),
                "-b",
                "/mnt",
                &id,
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(started.success());
        let pid = std::fs::read_to_string(pid_file).unwrap().parse().unwrap();
        (id, pid)
    }

    fn delete(&self, id: &str) {
        let deleted = self.runtime(&["delete", "--force", id]).output().unwrap();
        assert!(deleted.status.success(), "{}", text(&deleted));
    }
}

fn bound(source: &Path, destination: &str, rw: bool) -> MountPoint {
    MountPoint {
        kind: "bind".into(),
        source: source.to_str().unwrap().into(),
        destination: destination.into(),
        rw,
        propagation: "rprivate".into(),
        ..MountPoint::default()
    }
}

fn plain(_: &mut Config, _: &mut HostConfig, _: &mut Vec<MountPoint>) {}

fn nothing(_: &mut Inputs<'_>) {}

#[test]
fn a_container_without_options() {
    if !inside("a_container_without_options") {
        return;
    }
    let room = Room::new();
    let script = "hostname; id; pwd; grep -E 'CapEff|CapInh|Seccomp:|NoNewPrivs' /proc/self/status; \
        cat /proc/self/oom_score_adj; df -k /dev/shm | tail -n 1; cat /etc/hosts; ls /sys/class/net; \
        cat /proc/interrupts | busybox wc -c; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $$";
    let (said, code) = room.run(script, plain, nothing);
    assert_eq!(code, Some(0));
    assert_eq!(said[0].len(), 12);
    assert_eq!(said[1..3], ["uid=0(root) gid=0(root) groups=0(root)", "/"]);
    assert_eq!(
        said[3..7],
        [
            "CapInh:\t0000000000000000",
            "CapEff:\t00000000a80425fb",
            "NoNewPrivs:\t0",
            "Seccomp:\t2"
        ]
    );
    assert_eq!(said[7], "0");
    assert!(said[8].contains(" 65536 "), "{}", said[8]);
    assert_eq!(said[9..], ["the image's", "lo", "0", "0", "1"]);
}

#[test]
fn options_are_seen_inside() {
    if !inside("options_are_seen_inside") {
        return;
    }
    let room = Room::new();
    let source = room.dir("source");
    room.file("source/file", "s\n");
    let hosts = room.file("hosts", "ours\n");
    let script = "hostname; id; pwd; ulimit -n; ulimit -Hn; grep -E 'CapEff|NoNewPrivs' /proc/self/status; \
        cat /proc/self/oom_score_adj /proc/sys/net/ipv4/ip_forward /etc/hosts /b/file; \
        (echo x > /b/file) 2>/dev/null || echo read-only; (echo x > /x) 2>/dev/null || echo read-only; \
        echo y > /t/file && stat -c %a /t; df -k /t /dev/shm | grep -c -E ' (1024|4096) '; \
        stat -c '%t %T' /dev/nothing; env | grep -E '^(A|HOME|TERM)='; cat /proc/sys/kernel/domainname; \
        cat /proc/kcore 2>&1 >/dev/null | busybox head -c 0; ls /etc/nowhere 2>/dev/null; ls -ld /dev/fuse 2>/dev/null";
    let (said, code) = room.run(
        script,
        |config, host, mounts| {
            config.hostname = "named".into();
            config.domainname = "example.org".into();
            config.user = "www:extra".into();
            config.working_dir = "/var".into();
            config.env = vec!["A=1".into(), "PATH=/bin".into()];
            host.group_add = Some(vec!["33".into(), "extra".into(), "1234".into()]);
            host.ulimits = vec![Ulimit {
                name: "nofile".into(),
                soft: 123,
                hard: 456,
            }];
            host.cap_drop = Some(vec!["ALL".into()]);
            host.security_opt = Some(vec!["no-new-privileges".into()]);
            host.oom_score_adj = 321;
            host.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
            host.readonly_rootfs = true;
            host.shm_size = 4 << 20;
            host.tmpfs.insert("/u".into(), String::new());
            let spec = Mount {
                kind: "tmpfs".into(),
                target: "/t".into(),
                tmpfs_options: Some(TmpfsOptions {
                    size_bytes: 1 << 20,
                    mode: Some(0o1777),
                }),
                ..Mount::default()
            };
            mounts.push(MountPoint {
                kind: "tmpfs".into(),
                destination: "/t".into(),
                rw: true,
                spec: Some(Box::new(spec)),
                ..MountPoint::default()
            });
            host.devices = vec![Device {
                path_on_host: "/dev/null".into(),
                path_in_container: "/dev/nothing".into(),
                cgroup_permissions: "rw".into(),
            }];
            mounts.push(bound(&source, "/b", false));
        },
        |inputs| inputs.files.hosts = Some(hosts.clone()),
    );
    assert_eq!(code, Some(1), "the last ls finds nothing");
    assert_eq!(
        said,
        [
            "named",
            "uid=33(www) gid=77(extra) groups=33(www),77(extra),1234",
            "/var",
            "123",
            "456",
            "CapEff:\t0000000000000000",
            "NoNewPrivs:\t1",
            "321",
            "1",
            "ours",
            "s",
            "read-only",
            "read-only",
            "1777",
            "2",
            "1 3",
            "HOME=/var/www",
            "A=1",
            "example.org",
        ]
        .map(str::to_owned)
        .into_iter()
        .map(|line| line.to_owned())
        .collect::<Vec<_>>(),
    );
}

#[test]
fn limits_are_set() {
    if !inside("limits_are_set") {
        return;
    }
    let room = Room::new();
    let host = Host::ask();
    let legacy = host.cgroups.hierarchy == spec::host::Hierarchy::Legacy;
    let files = match legacy {
        true => {
            "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.shares cpu/cpu.cfs_quota_us cpuset/cpuset.cpus"
        }
        false => "memory.max pids.max cpu.max cpuset.cpus",
    };
    let script = format!(
        "cd /sys/fs/cgroup; cat {files}; (echo 1 > {}) 2>&1 | busybox head -c 30",
        files.split(' ').nth(1).unwrap()
    );
    let (said, code) = room.run(
        &script,
        |_, host, _| {
            host.memory = 64 << 20;
            host.pids_limit = Some(50);
            host.cpu_shares = 512;
            host.nano_cpus = 1_500_000_000;
            host.cpuset_cpus = "0".into();
        },
        nothing,
    );
    assert_eq!(code, Some(0));
    let want: &[&str] = match legacy {
        true => &["67108864", "50", "512", "150000", "0"],
        false => &["67108864", "50", "150000 100000", "0"],
    };
    assert_eq!(said[..want.len()], *want);
    assert!(
        said[want.len()].contains("can't create"),
        "cgroups are read-only: {said:?}"
    );
}

#[test]
fn a_privileged_container() {
    if !inside("a_privileged_container") {
        return;
    }
    let room = Room::new();
    let script = "grep -E 'CapEff|Seccomp:' /proc/self/status; ls -l /dev/kmsg | busybox cut -c 1-10; \
        grep -E ' /(sys|sys/fs/cgroup) ' /proc/mounts | busybox grep -c ' ro,'; \
        busybox head -c 1 /dev/kmsg > /dev/null && echo opened; (cat /proc/sys/net/ipv4/ip_forward > /proc/sys/net/ipv4/ip_forward) && echo written; \
        mount -t tmpfs x /tmp && echo mounted";
    let (said, code) = room.run(
        script,
        |_, host, _| {
            host.privileged = true;
            host.devices = vec![Device {
                path_on_host: "/dev/zero".into(),
                path_in_container: "/dev/also-zero".into(),
                cgroup_permissions: "r".into(),
            }];
        },
        nothing,
    );
    assert_eq!(code, Some(0));
    let full = std::fs::read_to_string("/proc/self/status").unwrap();
    let full = full.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    assert_eq!(said[0], format!("CapEff:\t{full}"));
    assert_eq!(said[2..], ["crw-r--r--", "0", "opened", "written", "mounted"]);
    assert_eq!(said[1], "Seccomp:\t0");
}

#[test]
fn namespaces_of_the_host() {
    if !inside("namespaces_of_the_host") {
        return;
    }
    let room = Room::new();
    let script = "for n in net ipc pid uts; do readlink /proc/self/ns/$n || busybox readlink /proc/self/ns/$n; done; \
        grep ' /dev/shm ' /proc/mounts | busybox cut -d ' ' -f 3";
    let (said, code) = room.run(
        script,
        |_, host, _| {
            (host.network_mode, host.ipc_mode) = ("host".into(), "host".into());
            (host.pid_mode, host.uts_mode) = ("host".into(), "host".into());
        },
        nothing,
    );
    assert_eq!(code, Some(0));
    let ours = ["net", "ipc", "pid", "uts"].map(|n| {
        let link = std::fs::read_link(format!("/proc/self/ns/{n}")).unwrap();
        link.to_str().unwrap().to_owned()
    });
    let seen: Vec<&String> = said.iter().filter(|line| line.contains(":[")).collect();
    assert_eq!(seen, ours.iter().collect::<Vec<_>>());
    assert_eq!(said.last().unwrap(), "tmpfs");
}

#[test]
fn namespaces_of_another_container() {
    if !inside("namespaces_of_another_container") {
        return;
    }
    let room = Room::new();
    let (donor, pid) = room.start(|_, host, _| host.ipc_mode = "shareable".into());
    let shm = room.dir("shm");
    // It has written its file when its shell has become another program.
    let deadline = sys::wait::Deadline::after(std::time::Duration::from_secs(20));
    while std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap()
        .trim()
        != "sleep"
    {
        assert!(!deadline.is_over());
        std::thread::yield_now();
    }
    let tree = spec::join::shared_memory(pid).unwrap();
    spec::join::attach(&tree, &shm).unwrap();
    let script = "for n in net ipc pid; do busybox readlink /proc/self/ns/$n; done; cat /dev/shm/file; \
        echo ours > /dev/shm/answer; ps | grep -c 'sleep 10[0]'";
    let (said, code) = room.run(
        script,
        |_, host, _| {
            host.network_mode = "container:d".into();
            host.ipc_mode = "container:d".into();
            host.pid_mode = "container:d".into();
        },
        |inputs| {
            inputs.joined = spec::Joined {
                own_network: None,
                network: Some(pid),
                ipc: Some(pid),
                pid: Some(pid),
                shm: Some(shm.clone()),
                others: Vec::new(),
            };
        },
    );
    let theirs = ["net", "ipc", "pid"].map(|n| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap();
        link.to_str().unwrap().to_owned()
    });
    let answer = std::fs::read_to_string(format!("/proc/{pid}/root/dev/shm/answer"));
    room.delete(&donor);
    assert_eq!(code, Some(0));
    assert_eq!(said[..3], theirs);
    assert_eq!(said[3..], ["theirs", "1"]);
    assert_eq!(answer.unwrap(), "ours\n");
}

#[test]
fn systemd_finds_its_places() {
    if !inside("systemd_finds_its_places") {
        return;
    }
    let room = Room::new();
    room.file("rootfs/run/kept", "kept\n");
    let legacy = Host::ask().cgroups.hierarchy == spec::host::Hierarchy::Legacy;
    let own = if legacy {
        "/sys/fs/cgroup/systemd"
    } else {
        "/sys/fs/cgroup"
    };
    let script = format!(
        "for p in /run /run/lock /tmp /var/log/journal; do grep \" $p \" /proc/mounts | busybox cut -d ' ' -f 2,3; done; \
         cat /run/kept; env | grep -c ^container; \
         busybox mkdir {own}/unit && echo $$ > {own}/unit/cgroup.procs && busybox grep -c /unit /proc/self/cgroup; \
         echo $$ > {own}/cgroup.procs; busybox rmdir {own}/unit; \
         test -d /sys/fs/cgroup/memory && (busybox mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo read-only)"
    );
    let (said, _) = room.run(
        &script,
        |_, host, _| {
            drop(
                host.annotations
                    .insert(spec::machine::ANNOTATION.into(), "always".into()),
            )
        },
        nothing,
    );
    assert_eq!(
        said[..7],
        [
            "/run tmpfs",
            "/run/lock tmpfs",
            "/tmp tmpfs",
            "/var/log/journal tmpfs",
            "kept",
            "2",
            "1"
        ]
    );
    if legacy {
        assert_eq!(said[7], "read-only");
    }
}

#[test]
fn a_container_of_an_ordinary_user() {
    if !inside_as_user("a_container_of_an_ordinary_user") {
        return;
    }
    let room = Room::new();
    let script = "id; cat /dev/null; echo x > /dev/null; cat /proc/self/oom_score_adj; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start; grep -c ' /sys ' /proc/mounts; hostname; cat /b/file; \
        (echo x > /b/file) 2>/dev/null || echo read-only";
    let source = room.dir("source");
    room.file("source/file", "s\n");
    let ours = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let (said, code) = room.run(
        script,
        |config, host, mounts| {
            config.hostname = "mine".into();
            // More than one may have: an ordinary user cannot lower it.
            host.oom_score_adj = -500;
            mounts.push(bound(&source, "/b", false));
        },
        nothing,
    );
    assert_eq!(code, Some(0));
    // It has no groups but its own, and cannot be given any.
    assert_eq!(said[0], "uid=0(root) gid=0(root)");
    assert_eq!(said[1..], [ours.trim(), "0", "1", "mine", "s", "read-only"]);
    let (id, _) = room.start(plain);
    let output = room.runtime(&["exec", &id, "id"]).output().unwrap();
    room.delete(&id);
    assert_eq!(text(&output), "uid=0(root) gid=0(root)\n");
    // Everything of the host's.
    let (said, code) = room.run(
        "cat /sys/class/net/lo/mtu; test -d /proc/1 && echo proc; grep -c . /proc/sys/kernel/ostype",
        |_, host, _| {
            (host.network_mode, host.ipc_mode) = ("host".into(), "host".into());
            (host.pid_mode, host.uts_mode) = ("host".into(), "host".into());
        },
        nothing,
    );
    assert_eq!(code, Some(0));
    assert_eq!(said[..3], ["65536", "proc", "1"]);
}
