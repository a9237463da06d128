//! brig in a guest: containers that boot systemd, and limits in one whole cgroup v2 tree, below systemd and without it.
//!
//! May not: ask what the host can show. What containers do in detail is the business of the program `containers`.

use std::path::Path;
use std::time::Instant;

use crate::inside::Outside;
use crate::job::Job;
use crate::smoke::scope::{AS_USER, Manager, Scope};
use crate::smoke::{Done, Stage, same};

/// The disk that [`crate::images`] is read from.
const IMAGES: &str = "/dev/vdc";

/// One sentence about containers in a machine.
pub struct Case {
    pub name: &'static str,
    act: fn(&mut Stage) -> Done,
}

/// The guests without systemd have no modules for a firewall.
const NO_NETWORK: [&str; 2] = ["--network", "none"];

/// Every case; which guest plays which is in the table of guests.
pub const ALL: [Case; 7] = [
    Case {
        name: "machine",
        act: machine,
    },
    Case {
        name: "limits",
        act: limits,
    },
    Case {
        name: "out-of-memory",
        act: out_of_memory,
    },
    Case {
        name: "apparmor",
        act: apparmor,
    },
    Case {
        name: "journal",
        act: journal,
    },
    Case {
        name: "rootless",
        act: rootless,
    },
    Case {
        name: "sctp",
        act: sctp,
    },
];

/// Runs the cases of the job, after the images have been loaded once.
pub fn run(outside: &mut Outside, release: &Path, job: &Job) -> Result<(), String> {
    let mut stage = Stage {
        runtime: "brig".to_owned(),
        program: release.join("brig"),
        patience: job.patience,
        step: "prepare",
    };
    if !job.brig.is_empty() {
        let began = Instant::now();
        let loaded = brig(&stage, &["load", "--quiet", "--input", IMAGES]).map(drop);
        outside.verdict(&format!("{}/brig/load", job.guest), began, loaded)?;
    }
    for name in &job.brig {
        let Some(case) = ALL.iter().find(|case| case.name == name) else {
            return Err(format!("no case {name:?}"));
        };
        let began = Instant::now();
        let ended = (case.act)(&mut stage).map_err(|why| format!("{}: {why}", stage.step));
        // What a failed one has left would fail the next; it says itself whether it can remove it.
        if ended.is_err() {
            brig(&stage, &["rm", "--force", "box"])?;
        }
        outside.verdict(&format!("{}/brig/{name}", job.guest), began, ended)?;
    }
    Ok(())
}

/// A command of root's that has to succeed; its output.
fn brig(s: &Stage, words: &[&str]) -> Result<String, String> {
    let program = s.program();
    s.must(&[&[program.as_str()], words].concat())
}

/// The same of the ordinary user.
fn user(s: &Stage, words: &[&str]) -> Result<String, String> {
    let program = s.program();
    s.must(&[&AS_USER[..], &[program.as_str()], words].concat())
}

fn inspect(s: &Stage, name: &str, format: &str) -> Result<String, String> {
    brig(s, &["inspect", "--format", format, name])
}

/// Whether systemd makes the cgroups here.
fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Its scope, where there is one.
fn scope_of(s: &Stage, name: &str, manager: Manager) -> Result<Scope, String> {
    Scope::of(&inspect(s, name, "{{.State.Pid}}")?, manager)
}

fn booted(s: &Stage) -> Result<String, String> {
    brig(s, &["exec", "box", "systemctl", "is-system-running", "--wait"])
}

fn has(what: &str, text: &str, part: &str) -> Done {
    match text.contains(part) {
        true => Ok(()),
        false => Err(format!("{what} has no {part:?}: {text:?}")),
    }
}

/// An image whose command is systemd boots, runs its services, and goes down in order when it is stopped.
fn machine(s: &mut Stage) -> Done {
    s.step("boot");
    // With a terminal, so that there is a console; and once without, where it is cheaper.
    let terminal = if has_systemd() { "-dt" } else { "-d" };
    let mut words = vec!["run", terminal, "--name", "box"];
    if !has_systemd() {
        words.extend(NO_NETWORK);
    }
    words.push("machine");
    brig(s, &words)?;
    if let Err(why) = s.until("a system that runs", || booted(s).is_ok()) {
        let failed = brig(
            s,
            &[
                "exec",
                "box",
                "systemctl",
                "list-units",
                "--failed",
                "--no-legend",
            ],
        );
        let log = brig(s, &["logs", "--tail", "30", "box"]);
        return Err(format!("{why}: {:?}; {failed:?}; {log:?}", booted(s)));
    }
    s.step("services");
    brig(
        s,
        &[
            "exec",
            "box",
            "systemctl",
            "is-active",
            "greeter",
            "dbus",
            "systemd-journald",
        ],
    )?;
    same(
        "the service's file",
        brig(s, &["exec", "box", "cat", "/var/greeter"])?,
        "up",
    )?;
    same(
        "its cgroup",
        brig(s, &["exec", "box", "cat", "/proc/1/cgroup"])?,
        "0::/init.scope",
    )?;
    let unit = brig(
        s,
        &[
            "exec",
            "box",
            "systemctl",
            "show",
            "--property",
            "ControlGroup",
            "dbus",
        ],
    )?;
    has("a service's cgroup", &unit, "/system.slice/dbus.service")?;
    let scope = match has_systemd() {
        true => {
            has("the console", &brig(s, &["logs", "box"])?, "greeter is up")?;
            // The process itself is in a scope that the container's systemd has made within it.
            let id = inspect(s, "box", "{{.Id}}")?;
            let scope = Scope::of_system(&format!("docker-{id}.scope"));
            scope.status(s)?;
            scope.property(s, "Delegate", "yes")?;
            scope.reload(s)?;
            brig(s, &["exec", "box", "systemctl", "is-active", "greeter"])?;
            Some(scope)
        }
        false => None,
    };
    s.step("stop");
    // An emulated machine takes longer than the usual ten seconds.
    brig(s, &["stop", "--timeout", "60", "box"])?;
    same(
        "how it ended",
        inspect(s, "box", "{{.State.Status}} {{.State.ExitCode}}")?,
        "exited 0",
    )?;
    let copy = std::env::temp_dir().join("greeter");
    brig(s, &["cp", "box:/var/greeter", &copy.display().to_string()])?;
    let text = std::fs::read_to_string(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
    same("what the service has written", text, "up\ndown")?;
    scope.map_or(Ok(()), |scope| scope.gone(s))?;
    brig(s, &["rm", "box"]).map(drop)
}

/// Limits where they are looked for, before and after an update; what is used; another process.
fn limits(s: &mut Stage) -> Done {
    s.step("run");
    brig(
        s,
        &[
            "run",
            "-d",
            "--name",
            "box",
            "--memory",
            "64m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "40",
            "--cpuset-cpus",
            "0",
            "--network",
            "none",
            "tiny",
            "sleep",
            "1000",
        ],
    )?;
    files(
        s,
        [
            ("memory.max", "67108864"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "40"),
            ("cpuset.cpus", "0"),
        ],
    )?;
    let scope = match has_systemd() {
        true => Some(scope_of(s, "box", Manager::System)?),
        false => None,
    };
    if let Some(scope) = &scope {
        s.step("what systemd believes");
        scope.property(s, "MemoryMax", "67108864")?;
        scope.property(s, "TasksMax", "40")?;
        scope.property(s, "CPUQuotaPerSecUSec", "500ms")?;
        scope.property(s, "Slice", "system.slice")?;
        scope.status(s)?;
    }
    s.step("stats");
    let used = brig(
        s,
        &[
            "stats",
            "--no-stream",
            "--format",
            "{{.MemUsage}} {{.PIDs}}",
            "box",
        ],
    )?;
    if !used.ends_with("/ 64MiB 1") || used.starts_with("0B") {
        return Err(format!("it uses {used:?}"));
    }
    s.step("update");
    brig(
        s,
        &[
            "update",
            "--memory",
            "96m",
            "--memory-swap",
            "96m",
            "--cpus",
            "0.25",
            "--pids-limit",
            "20",
            "box",
        ],
    )?;
    let after = [
        ("memory.max", "100663296"),
        ("cpu.max", "25000 100000"),
        ("pids.max", "20"),
        ("memory.swap.max", "0"),
    ];
    files(s, after)?;
    if let Some(scope) = &scope {
        scope.property(s, "MemoryMax", "100663296")?;
        scope.property(s, "TasksMax", "20")?;
        scope.reload(s)?;
        files(s, after)?;
    }
    s.step("pause");
    brig(s, &["pause", "box"])?;
    same("status", inspect(s, "box", "{{.State.Status}}")?, "paused")?;
    brig(s, &["unpause", "box"])?;
    s.step("remove");
    brig(s, &["rm", "--force", "box"])?;
    scope.map_or(Ok(()), |scope| scope.gone(s))
}

/// Files of its cgroup, as it sees them itself.
fn files(s: &Stage, expected: [(&str, &str); 4]) -> Done {
    expected.iter().try_for_each(|(file, value)| {
        let found = brig(s, &["exec", "box", "cat", &format!("/sys/fs/cgroup/{file}")])?;
        same(file, found, value)
    })
}

/// A kill for memory is told.
fn out_of_memory(s: &mut Stage) -> Done {
    s.step("run");
    let program = s.program();
    let outcome = s.run(&[
        &program,
        "run",
        "--name",
        "box",
        "--memory",
        "24m",
        "--memory-swap",
        "24m",
        "tiny",
        "tail",
        "/dev/zero",
    ])?;
    same("exit code", outcome.code, "137")?;
    same(
        "inspect",
        inspect(s, "box", "{{.State.OOMKilled}} {{.State.ExitCode}}")?,
        "true 137",
    )?;
    brig(s, &["rm", "box"]).map(drop)
}

/// The usual profile is loaded, and holds where a capability alone would allow.
fn apparmor(s: &mut Stage) -> Done {
    let current = |options: &[&str]| {
        let words = [
            &["run", "--rm"],
            options,
            &["tiny", "cat", "/proc/self/attr/current"],
        ]
        .concat();
        brig(s, &words)
    };
    same("by default", current(&[])?, "docker-default (enforce)")?;
    let unconfined = ["--security-opt", "apparmor=unconfined"];
    same("with apparmor=unconfined", current(&unconfined)?, "unconfined")?;
    same("with --privileged", current(&["--privileged"])?, "unconfined")?;
    let mounts = |options: &[&str]| {
        let admin = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"];
        let words = [
            &["run", "--rm"],
            &admin[..],
            options,
            &["tiny", "mount", "-t", "tmpfs", "none", "/tmp"],
        ]
        .concat();
        brig(s, &words)
    };
    mounts(&unconfined)?;
    match mounts(&[]) {
        Err(why) if why.contains("ermission denied") => Ok(()),
        other => Err(format!("a mount below the profile: {other:?}")),
    }
}

/// A shell in the background that writes to the journal.
fn to_the_journal(s: &Stage, says: &str) -> Done {
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "--log-driver",
        "journald",
        "tiny",
        "sh",
        "-c",
        says,
    ];
    brig(s, &words).map(drop)
}

/// What goes to the journal is read from there.
fn journal(s: &mut Stage) -> Done {
    s.step("a container that has ended");
    let program = s.program();
    let says = "echo out; echo err >&2; printf half";
    to_the_journal(s, says)?;
    brig(s, &["wait", "box"])?;
    let read = s.run(&[&program, "logs", "box"])?;
    same(
        "logs",
        format!("{} {:?} {:?}", read.code, read.stdout, read.stderr),
        r#"0 "out\nhalf" "err\n""#,
    )?;
    same("the last line", brig(s, &["logs", "--tail", "1", "box"])?, "half")?;
    brig(s, &["rm", "box"])?;
    s.step("one that goes on");
    let says = "echo one; while [ ! -e /go ]; do sleep 0.1; done; echo two";
    to_the_journal(s, says)?;
    let line = format!("{program} logs --follow box & {program} exec box touch /go && wait");
    same("what was followed", s.must(&["sh", "-c", &line])?, "one\ntwo")?;
    brig(s, &["rm", "box"]).map(drop)
}

/// Another host on a cable, which does not forward for us.
const SECOND_HOST: &str = "ip netns add second && ip link add cable0 type veth peer name cable1 netns second \
    && ip address add 192.0.2.1/24 dev cable0 && ip link set cable0 up \
    && ip -n second address add 192.0.2.2/24 dev cable1 && ip -n second link set cable1 up";

/// Tells each client who it is. Busybox speaks no SCTP, so it is the guest's own perl, in a container.
const SCTP_SERVER: &str = r#"socket(S, 2, 1, 132) or die "socket: $!";
    bind(S, pack("S n C4 x8", 2, 7777, 0, 0, 0, 0)) or die "bind: $!";
    listen(S, 5) or die "listen: $!";
    while ($from = accept(C, S)) {
        (undef, undef, @address) = unpack("S n C4", $from);
        syswrite(C, "you are " . join(".", @address));
        close(C);
    }"#;

/// Asks it at an address that is its argument.
const SCTP_CLIENT: &str = r#"socket(S, 2, 1, 132) or die "socket: $!";
    connect(S, pack("S n C4 x8", 2, 8132, split(/\./, $ARGV[0]))) or die "connect: $!";
    sysread(S, $told, 100);
    print $told;"#;

/// A published SCTP port is reached from another host, from this one, and by nobody any more when its container has gone. Not where
/// tests run elsewhere: their kernels have no SCTP.
fn sctp(s: &mut Stage) -> Done {
    s.step("second host");
    s.must(&["sh", "-c", SECOND_HOST])?;
    let played = sctp_between(s);
    let unmade = s.must(&["ip", "netns", "del", "second"]).map(drop);
    played.and(unmade)
}

fn sctp_between(s: &mut Stage) -> Done {
    s.step("server");
    let with_perl = [
        "-v",
        "/usr:/usr:ro",
        "-v",
        "/lib:/lib:ro",
        "-v",
        "/lib64:/lib64:ro",
    ];
    let serve = |name: &str| {
        let words = [
            &["run", "-d", "--name", name, "-p", "8132:7777/sctp"],
            &with_perl[..],
            &["tiny", "/usr/bin/perl", "-e", SCTP_SERVER],
        ];
        brig(s, &words.concat())
    };
    serve("box")?;
    same(
        "port",
        brig(s, &["port", "box"])?,
        "7777/sctp -> 0.0.0.0:8132\n7777/sctp -> [::]:8132",
    )?;
    let client = |inside: &[&str]| {
        let words = [inside, &["timeout", "5", "perl", "-e", SCTP_CLIENT, "192.0.2.1"]];
        s.must(&words.concat())
    };
    const SECOND: [&str; 4] = ["ip", "netns", "exec", "second"];
    s.until("an answer to the second host", || client(&SECOND).is_ok())
        .map_err(|why| format!("{why}: {:?}; {:?}", client(&SECOND), brig(s, &["logs", "box"])))?;
    same("the second host", client(&SECOND)?, "you are 192.0.2.2")?;
    has("this host", &client(&[])?, "you are ")?;
    match serve("late") {
        Err(why) if why.contains("port is already allocated (container box has it)") => {}
        other => return Err(format!("the same port once more: {other:?}")),
    }
    brig(s, &["rm", "--force", "box", "late"])?;
    match client(&SECOND) {
        Err(_) => Ok(()),
        Ok(told) => Err(format!("nobody is there, and says {told:?}")),
    }
}

/// An ordinary user has limits, too, below a systemd of their own.
fn rootless(s: &mut Stage) -> Done {
    s.step("load");
    let archive = std::env::temp_dir().join("tiny.tar").display().to_string();
    brig(s, &["save", "--output", &archive, "tiny"])?;
    s.must(&["chmod", "644", &archive])?;
    user(s, &["load", "--quiet", "--input", &archive])?;
    s.step("run");
    let asked = "id -u; cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";
    let words = [
        "run",
        "--rm",
        "--memory",
        "64m",
        "--pids-limit",
        "30",
        "tiny",
        "sh",
        "-c",
        asked,
    ];
    same("it says", user(s, &words)?, "0\n67108864\n30")?;
    s.step("detached");
    user(
        s,
        &[
            "run", "-d", "--name", "box", "--memory", "64m", "tiny", "sleep", "1000",
        ],
    )?;
    same("exec", user(s, &["exec", "box", "id", "-u"])?, "0")?;
    let pid = user(s, &["inspect", "--format", "{{.State.Pid}}", "box"])?;
    let scope = Scope::of(&pid, Manager::User)?;
    scope.property(s, "MemoryMax", "67108864")?;
    let used = user(
        s,
        &[
            "stats",
            "--no-stream",
            "--format",
            "{{.MemUsage}} {{.PIDs}}",
            "box",
        ],
    )?;
    if !used.ends_with("/ 64MiB 1") || used.starts_with("0B") {
        return Err(format!("it uses {used:?}"));
    }
    s.step("update");
    user(s, &["update", "--memory", "96m", "--memory-swap", "-1", "box"])?;
    scope.property(s, "MemoryMax", "100663296")?;
    s.step("remove");
    user(s, &["stop", "--timeout", "0", "box"])?;
    user(s, &["rm", "box"])?;
    scope.gone(s)
}
