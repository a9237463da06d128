//! Our shim below containerd, as Kubernetes configures it: SystemdCgroup, in the one tree of version 2.
//!
//! May not: touch the machine's own containerd, which serves Docker. A second one, with a directory of its own, finds our
//! shim under the name that it looks for.

use std::fs;
use std::path::{Path, PathBuf};

use super::scope::{Manager, Scope};
use super::{Case, Done, Stage, same};
use crate::inside::SHIM;

const DIR: &str = "/run/shimd";
const SOCKET: &str = "/run/shimd/c.sock";
/// containerd 1.6 takes a runtime's binary and SystemdCgroup from its client for the type `io.containerd.runc.v2` alone.
const NAME: &str = "containerd-shim-runc-v2";
const EVENTS: &str = "/run/shimd/events";

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "shim.life",
            act: life,
        },
        Case {
            name: "shim.out-of-memory",
            act: out_of_memory,
        },
    ]
}

fn start_daemon(s: &mut Stage) -> Done {
    s.step("start containerd");
    if s.run(&["systemctl", "is-active", "shimd.service"])?.code == 0 {
        return Ok(());
    }
    let told = |e: std::io::Error| format!("{DIR}: {e}");
    let bin = Path::new(DIR).join("bin");
    fs::create_dir_all(&bin).map_err(told)?;
    let shim = s.program.with_file_name(SHIM);
    std::os::unix::fs::symlink(shim, bin.join(NAME)).map_err(told)?;
    let path = format!("--setenv=PATH={}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display());
    // As in containerd's own unit: ready when it says so, and shims outlive it.
    let mut line = vec!["systemd-run", "--unit=shimd.service", "--property=Type=notify"];
    line.extend(["--property=KillMode=process", "--property=Delegate=yes", &path]);
    line.extend(["containerd", "--address", SOCKET]);
    line.extend(["--root", "/run/shimd/root", "--state", "/run/shimd/state"]);
    s.must(&line).map(drop)
}

fn ctr(s: &Stage, words: &[&str]) -> Result<crate::command::Outcome, String> {
    let mut line = vec!["ctr", "--address", SOCKET];
    line.extend(words);
    s.run(&line)
}

/// A container that sleeps, and what is looked at when it has gone.
struct Sleeper {
    scope: Scope,
    shim: String,
    socket: PathBuf,
}

fn start(s: &mut Stage) -> Result<Sleeper, String> {
    s.step("start");
    // What a failed case left.
    ctr(s, &["task", "delete", "--force", "box"])?;
    ctr(s, &["container", "delete", "box"])?;
    let program = s.program();
    let mut line = vec!["run", "--runc-binary", &program, "--runc-systemd-cgroup"];
    line.extend(["--cgroup", "system.slice:shim:box", "--env", "PATH=/bin"]);
    line.extend(["--detach", "--null-io", "--memory-limit", "67108864"]);
    line.extend(["--rootfs", "/opt/rootfs", "box", "sleep", "600"]);
    ctr(s, &line)?.ok()?;
    let list = ctr(s, &["task", "list"])?.ok()?;
    let line = list
        .lines()
        .find(|line| line.starts_with("box"))
        .unwrap_or_default();
    let pid = line.split_whitespace().nth(1).ok_or(format!("no pid: {list}"))?;
    let scope = Scope::of(pid, Manager::System)?;
    same("the unit", &scope.unit, "shim-box.scope")?;
    let shim = parent(pid)?;
    let exe = fs::read_link(format!("/proc/{shim}/exe")).map_err(|e| format!("the shim: {e}"))?;
    same(
        "the shim's program",
        exe.file_name().unwrap_or_default().display(),
        SHIM,
    )?;
    let file = "/run/shimd/state/io.containerd.runtime.v2.task/default/box/address";
    let address = fs::read_to_string(file).map_err(|e| format!("{file}: {e}"))?;
    let socket = PathBuf::from(address.trim().trim_start_matches("unix://"));
    same("there is a socket", socket.exists(), "true")?;
    Ok(Sleeper { scope, shim, socket })
}

fn parent(pid: &str) -> Result<String, String> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.map(|rest| rest.trim().to_owned())
        .ok_or(format!("{file}: {text}"))
}

impl Sleeper {
    /// Killed and deleted; afterwards nothing of it is there.
    fn end(&self, s: &mut Stage) -> Done {
        s.step("kill");
        ctr(s, &["task", "kill", "--signal", "KILL", "box"])?.ok()?;
        s.until("the task has stopped", || {
            ctr(s, &["task", "list"]).is_ok_and(|list| list.stdout.contains("STOPPED"))
        })?;
        s.step("delete");
        // The client warns of it, and succeeds.
        let told = ctr(s, &["task", "delete", "box"])?.stderr;
        if !told.contains("exit code 137") {
            return Err(format!("the client says nothing of exit code 137: {told}"));
        }
        ctr(s, &["container", "delete", "box"])?.ok()?;
        self.scope.gone(s)?;
        let process = PathBuf::from(format!("/proc/{}", self.shim));
        s.until("the shim is gone", || !process.exists())?;
        s.until("its socket is gone", || !self.socket.exists())
    }
}

fn life(s: &mut Stage) -> Done {
    start_daemon(s)?;
    let sleeper = start(s)?;
    s.step("exec");
    let mut line = vec!["task", "exec", "--exec-id", "one", "box"];
    line.extend(["sh", "-c", "echo inside; echo aside >&2; exit 6"]);
    let o = ctr(s, &line)?;
    same("exit code", o.code, "6").map_err(|e| format!("{e}: {}", o.stderr))?;
    same("stdout", o.stdout, "inside")?;
    same("stderr", o.stderr, "aside")?;
    s.step("metrics");
    let table = ctr(s, &["task", "metrics", "box"])?.ok()?;
    // The names of version 2; with the message of version 1 the client prints others.
    let figure = |name: &str| -> Result<u64, String> {
        let mut rows = table.lines().map(str::split_whitespace);
        let row = rows.find(|row| row.clone().next() == Some(name));
        let value = row.and_then(|mut row| row.nth(1)?.parse().ok());
        value.ok_or(format!("no {name} in {table}"))
    };
    same("pids.current", figure("pids.current")?, "1")?;
    same("memory.usage_limit", figure("memory.usage_limit")?, "67108864")?;
    for name in ["cpu.usage_usec", "memory.usage"] {
        same(&format!("{name} is counted"), figure(name)? > 0, "true")?;
    }
    s.step("pause");
    ctr(s, &["task", "pause", "box"])?.ok()?;
    sleeper.scope.file("cgroup.events", "populated 1\nfrozen 1")?;
    ctr(s, &["task", "resume", "box"])?.ok()?;
    sleeper.scope.file("cgroup.events", "populated 1\nfrozen 0")?;
    sleeper.end(s)
}

/// An exec that takes more than there is: one event, and the container goes on.
fn out_of_memory(s: &mut Stage) -> Done {
    start_daemon(s)?;
    s.step("listen to events");
    let heard = || fs::read_to_string(EVENTS).unwrap_or_default();
    let output = format!("--property=StandardOutput=truncate:{EVENTS}");
    let mut line = vec!["systemd-run", "--unit=shimd-events.service", &output];
    line.extend(["ctr", "--address", SOCKET, "events"]);
    s.must(&line)?;
    ctr(s, &["namespace", "create", "heard"])?;
    // Whoever listens hears of that, too.
    s.until("events are heard", || {
        let labelled = ctr(s, &["namespace", "label", "heard", "heard=yes"]);
        labelled.is_ok() && !heard().is_empty()
    })?;
    let sleeper = start(s)?;
    s.step("an exec that is killed");
    let mut line = vec!["task", "exec", "--exec-id", "hog", "box", "awk"];
    line.push("BEGIN { s = \"x\"; while (1) s = s s }");
    let o = ctr(s, &line)?;
    same("exit code", o.code, "137").map_err(|e| format!("{e}: {}", o.stderr))?;
    s.until("the event is heard", || heard().contains(" /tasks/oom "))?;
    sleeper.end(s)?;
    s.step("events");
    let told = |topic: &str| heard().matches(&format!(" {topic} ")).count();
    s.until("the deletion is heard", || told("/tasks/delete") > 0)?;
    same("events of kills", told("/tasks/oom"), "1")?;
    s.must(&["systemctl", "stop", "shimd-events.service"]).map(drop)
}
