//! containerd without Docker, through its own client and its runc shim.
//!
//! May not: use the shim's defaults for the runtime's name; the path is given on each command line.

use crate::case::{Case, Compare, Need, SOON, Scene};
use crate::command::{self, Outcome};
use crate::lab::CTR_TYPED;
use conformance::terminal::Terminal;

type Done = Result<(), String>;

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case {
        name,
        need: Need::Containerd,
        compare: Compare::Yes,
        act,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("containerd.run.streams-and-exit-code", |s| {
            let o = run(s, &[], "echo out; echo err >&2; exit 3")?;
            s.is("exit code", o.code, 3)?;
            s.is("stdout", o.stdout, "out\n")?;
            s.has("stderr", o.stderr, "err\n")
        }),
        case("containerd.run.mounts-and-status", |s| {
            let o = run(
                s,
                &[],
                "awk '{ i = 7; while ($i != \"-\") i++; print $5, $6, $(i + 1) }' /proc/self/mountinfo | sort; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status",
            )?;
            s.has("stdout", o.stdout, "CapEff:")
        }),
        case("containerd.run.not-found", |s| {
            let o = start_line(s, &["--rm"], &["no-such-program"])?;
            s.is("refused", o.code != 0, true)?;
            s.has("message", o.stderr, "executable file not found in $PATH")
        }),
        case("containerd.run.interactive", |s| {
            let line = run_line(s, &["--rm", "--tty"], &["sh", "-i"]).join(" ");
            let mut terminal = Terminal::open(&format!("{CTR_TYPED} {line}"))?;
            terminal.expect("# ", SOON)?;
            terminal.send("tty; echo shown'-'all\n")?;
            terminal.expect("shown'-'all", SOON)?;
            let shown = terminal.expect("shown-all", SOON)?;
            s.is("terminal", shown.contains("/dev/pts/0"), true)?;
            terminal.send("exit 5\n")?;
            s.is("exit code", terminal.close(SOON)?, 5)
        }),
        case("containerd.run.options", |s| {
            let o = run(
                s,
                &[
                    "--memory-limit",
                    "67108864",
                    "--read-only",
                    "--cwd",
                    "/tmp",
                    "--env",
                    "A=b",
                    "--seccomp",
                    "--cap-add",
                    "CAP_SYS_TIME",
                ],
                "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; pwd; echo $A; touch /x 2>/dev/null || echo refused; grep -E '^(CapEff|Seccomp:)' /proc/self/status",
            )?;
            s.has("stdout", o.stdout, "/tmp\nb\nrefused\n")
        }),
        case("containerd.run.privileged", |s| {
            let o = run(
                s,
                &["--privileged"],
                "grep -E '^(CapEff|Seccomp:)' /proc/self/status; mkdir -p /tmp/m && mount -t tmpfs none /tmp/m && echo mounted",
            )?;
            s.has("stdout", o.stdout, "mounted\n")
        }),
        case("containerd.life.exec", |s| {
            start(s, "exec sleep 600")?;
            let o = s.lab.ctr(&[
                "task",
                "exec",
                "--exec-id",
                "one",
                "box",
                "sh",
                "-c",
                "echo out; exit 6",
            ])?;
            s.is("exit code", o.code, 6)?;
            s.is("stdout", o.stdout, "out\n")?;
            let o = s
                .lab
                .ctr(&["task", "exec", "--exec-id", "two", "box", "no-such-program"])?;
            s.has("message", o.stderr, "executable file not found in $PATH")?;
            let mut terminal =
                Terminal::open(&format!("{CTR_TYPED} task exec --tty --exec-id three box sh -i"))?;
            terminal.expect("# ", SOON)?;
            terminal.send("exit 8\n")?;
            s.is("exit code at a terminal", terminal.close(SOON)?, 8)
        }),
        case("containerd.life.pause-and-metrics", |s| {
            start(s, "exec sleep 600")?;
            s.lab.ctr(&["task", "pause", "box"])?.ok()?;
            s.has("state", status(s)?, "PAUSED")?;
            s.lab.ctr(&["task", "resume", "box"])?.ok()?;
            s.has("state", status(s)?, "RUNNING")?;
            let metrics = s.lab.ctr(&["task", "metrics", "box"])?.ok()?;
            s.is(
                "metrics have figures",
                metrics.contains("pids.current") || metrics.contains("memory"),
                true,
            )?;
            let pids = s.lab.ctr(&["task", "ps", "box"])?.ok()?;
            s.is("processes", pids.lines().count(), 2)
        }),
        case("containerd.life.kill-and-delete", |s| {
            start(
                s,
                "trap 'exit 9' TERM; echo ready >/tmp/ready; while :; do sleep 0.1; done",
            )?;
            command::until("ready", SOON, || {
                s.lab
                    .ctr(&[
                        "task",
                        "exec",
                        "--exec-id",
                        "look",
                        "box",
                        "test",
                        "-e",
                        "/tmp/ready",
                    ])
                    .is_ok_and(|o| o.code == 0)
            })?;
            s.lab.ctr(&["task", "kill", "--signal", "SIGTERM", "box"])?.ok()?;
            command::until("stopped", SOON, || {
                status(s).is_ok_and(|state| state.contains("STOPPED"))
            })?;
            let o = s.lab.ctr(&["task", "delete", "box"])?;
            s.has("what delete says", o.stderr, "non-zero exit code 9")
        }),
        case("containerd.life.kill-all", |s| {
            start(s, "sleep 6001 & exec sleep 6002")?;
            s.lab
                .ctr(&["task", "kill", "--all", "--signal", "SIGKILL", "box"])?
                .ok()?;
            command::until("stopped", SOON, || {
                status(s).is_ok_and(|state| state.contains("STOPPED"))
            })?;
            let o = s.lab.ctr(&["task", "delete", "box"])?;
            s.has("what delete says", o.stderr, "non-zero exit code 137")
        }),
    ]
}

pub fn run_line(s: &Scene, flags: &[&str], payload: &[&str]) -> Vec<String> {
    let mut line: Vec<String> = vec![
        "run".into(),
        "--runc-binary".into(),
        s.lab.runtime(s.role).display().to_string(),
    ];
    // A root of its own for the runtime's state, as the engine passes one.
    line.extend(["--runc-root".into(), "/run/ctr/runtime-root".into()]);
    // With --rootfs there is no image that would say where programs are.
    line.extend(["--env".into(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()]);
    line.extend(flags.iter().map(|flag| (*flag).to_owned()));
    line.extend([
        "--rootfs".into(),
        s.lab.rootfs().display().to_string(),
        "box".into(),
    ]);
    line.extend(payload.iter().map(|word| (*word).to_owned()));
    line
}

pub fn start_line(s: &Scene, flags: &[&str], payload: &[&str]) -> Result<Outcome, String> {
    let line = run_line(s, flags, payload);
    s.lab.ctr(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn run(s: &Scene, flags: &[&str], script: &str) -> Result<Outcome, String> {
    let mut all = vec!["--rm"];
    all.extend(flags);
    start_line(s, &all, &["sh", "-c", script])
}

pub fn start(s: &Scene, script: &str) -> Done {
    start_line(s, &["--detach", "--null-io"], &["sh", "-c", script])?
        .ok()
        .map(|_| ())
}

pub fn status(s: &Scene) -> Result<String, String> {
    let list = s.lab.ctr(&["task", "list"])?.ok()?;
    let line = list
        .lines()
        .find(|line| line.starts_with("box"))
        .unwrap_or_default();
    Ok(line.split_whitespace().nth(2).unwrap_or_default().to_owned())
}
