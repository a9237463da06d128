//! containerd with its own client, as Kubernetes configures it: SystemdCgroup.

use super::scope::{Manager, Scope};
use super::{Case, Done, Stage, same};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "containerd.run",
            act: |s| {
                start_daemon(s)?;
                s.step("run");
                let o = run(s, &["--rm"], &["sh", "-c", "echo out; echo err >&2; exit 3"])?;
                same("exit code", o.code, "3").map_err(|e| format!("{e}: {}", o.stderr))?;
                same("stdout", o.stdout, "out")
            },
        },
        Case {
            name: "containerd.life",
            act: life,
        },
    ]
}

fn start_daemon(s: &mut Stage) -> Done {
    s.step("start containerd");
    s.must(&["systemctl", "start", "containerd.service"]).map(drop)
}

fn run(s: &Stage, flags: &[&str], payload: &[&str]) -> Result<crate::command::Outcome, String> {
    let program = s.program();
    let mut line = vec!["ctr", "run", "--runc-binary", &program, "--runc-systemd-cgroup"];
    line.extend(["--cgroup", "system.slice:ctr:box", "--env", "PATH=/bin"]);
    line.extend(flags);
    line.extend(["--rootfs", "/opt/rootfs", "box"]);
    line.extend(payload);
    s.run(&line)
}

fn life(s: &mut Stage) -> Done {
    start_daemon(s)?;
    s.step("start");
    // What a failed case left.
    s.run(&["ctr", "task", "delete", "--force", "box"])?;
    s.run(&["ctr", "container", "delete", "box"])?;
    run(
        s,
        &[
            "--detach",
            "--null-io",
            "--memory-limit",
            "67108864",
            "--cpus",
            "0.5",
        ],
        &["sleep", "600"],
    )?
    .ok()?;
    let list = s.must(&["ctr", "task", "list"])?;
    let line = list
        .lines()
        .find(|line| line.starts_with("box"))
        .unwrap_or_default();
    let pid = line.split_whitespace().nth(1).ok_or(format!("no pid: {list}"))?;
    let scope = Scope::of(pid, Manager::System)?;
    same("the unit", &scope.unit, "ctr-box.scope")?;
    s.step("limits");
    scope.file("memory.max", "67108864")?;
    scope.file("cpu.max", "50000 100000")?;
    scope.property(s, "MemoryMax", "67108864")?;
    s.step("status");
    scope.status(s)?;
    s.step("exec");
    let o = s.run(&[
        "ctr",
        "task",
        "exec",
        "--exec-id",
        "one",
        "box",
        "sh",
        "-c",
        "echo inside; exit 6",
    ])?;
    same("exit code", o.code, "6").map_err(|e| format!("{e}: {}", o.stderr))?;
    same("stdout", o.stdout, "inside")?;
    s.step("pause");
    s.must(&["ctr", "task", "pause", "box"])?;
    scope.file("cgroup.events", "populated 1\nfrozen 1")?;
    s.must(&["ctr", "task", "resume", "box"])?;
    scope.file("cgroup.events", "populated 1\nfrozen 0")?;
    s.step("stop and remove");
    s.must(&["ctr", "task", "delete", "--force", "box"])?;
    s.must(&["ctr", "container", "delete", "box"])?;
    scope.gone(s)
}
