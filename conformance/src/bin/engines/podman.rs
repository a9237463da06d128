//! Podman, through conmon: the runtime by its path, under its own name.
//!
//! May not: use a network, which another package would have to provide.

use std::process::Command;

use crate::case::{Case, Compare, MOUNTS, Need, SOON, Scene};
use crate::command::{self, Outcome, USUAL};
use crate::lab::IMAGE;
use conformance::terminal::Terminal;

type Done = Result<(), String>;

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case {
        name,
        need: Need::Podman,
        compare: Compare::Yes,
        act,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("podman.run.streams-and-exit-code", |s| {
            let o = run(s, &[], "echo out; echo err >&2; exit 3")?;
            s.is("exit code", o.code, 3)?;
            s.is("stdout", o.stdout, "out\n")?;
            s.is("stderr", o.stderr, "err\n")
        }),
        case("podman.run.stdin", |s| {
            let mut line = run_line(&["-i"]);
            line.extend([IMAGE, "cat"]);
            let o = s.lab.podman(s.role, &line, "typed\n", USUAL)?;
            s.is("stdout", o.stdout, "typed\n")
        }),
        case("podman.run.mounts-and-devices", |s| {
            let o = run(s, &[], &format!("{MOUNTS}; stat -c '%n %a %t:%T' /dev/*"))?;
            s.has("stdout", o.stdout, "/dev/null 666 1:3")
        }),
        case("podman.run.status", |s| {
            let o = run(
                s,
                &[],
                "grep -E '^(Umask|Uid|Gid|Cap|NoNew|Seccomp:)' /proc/self/status; ulimit -n; id",
            )?;
            s.has("stdout", o.stdout, "Seccomp:\t2\n")
        }),
        case("podman.run.interactive", |s| {
            let line = typed(s, &format!("run --rm --network none -it {IMAGE} sh -i"));
            let mut terminal = Terminal::open(&line)?;
            terminal.expect("# ", SOON)?;
            terminal.send("stty size | tr ' ' x; tty; echo shown'-'all\n")?;
            terminal.expect("shown'-'all", SOON)?;
            let shown = terminal.expect("shown-all", SOON)?;
            s.is(
                "terminal",
                shown.contains("40x100") && shown.contains("/dev/pts/0"),
                true,
            )?;
            terminal.send("exit 5\n")?;
            s.is("exit code", terminal.close(SOON)?, 5)
        }),
        case("podman.exit.126-directory", |s| refused(s, &["/etc"], 126)),
        case("podman.exit.126-not-executable", |s| {
            refused(s, &["/etc/passwd"], 126)
        }),
        case("podman.exit.127-not-in-path", |s| {
            refused(s, &["no-such-program"], 127)
        }),
        case("podman.exit.127-no-such-file", |s| {
            refused(s, &["/no/such/program"], 127)
        }),
        case("podman.exit.exec", |s| {
            start(s, &[], "exec sleep 600")?;
            let refused = exec(s, &[], &["/etc/passwd"])?.code;
            s.is("not executable", refused, 126)?;
            let absent = exec(s, &[], &["no-such-program"])?.code;
            s.is("not there", absent, 127)
        }),
        case("podman.life.exec", |s| {
            start(s, &[], "exec sleep 600")?;
            let o = exec(
                s,
                &["--env", "A=b", "--workdir", "/tmp", "--user", "1000"],
                &["sh", "-c", "echo $A $PWD $(id -u); echo err >&2; exit 6"],
            )?;
            s.is("exit code", o.code, 6)?;
            s.is("stdout", o.stdout, "b /tmp 1000\n")?;
            s.is("stderr", o.stderr, "err\n")
        }),
        case("podman.life.exec-interactive", |s| {
            start(s, &[], "exec sleep 600")?;
            let mut terminal = Terminal::open(&typed(s, "exec -it box sh -i"))?;
            terminal.expect("# ", SOON)?;
            terminal.send("exit 8\n")?;
            s.is("exit code", terminal.close(SOON)?, 8)
        }),
        case("podman.life.stop-and-logs", |s| {
            start(
                s,
                &[],
                "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done",
            )?;
            command::until("ready", SOON, || {
                ok(s, &["logs", "box"]).is_ok_and(|l| l.contains("ready"))
            })?;
            ok(s, &["stop", "box"])?;
            let state = ok(
                s,
                &[
                    "inspect",
                    "--format",
                    "{{.State.Status}} {{.State.ExitCode}}",
                    "box",
                ],
            )?;
            s.is("state", state, "exited 7")?;
            let logs = ok(s, &["logs", "box"])?;
            s.is("logs", logs, "ready\nbye")
        }),
        case("podman.life.kill-and-restart", |s| {
            start(s, &[], "exec sleep 600")?;
            ok(s, &["restart", "--time", "0", "box"])?;
            ok(s, &["kill", "box"])?;
            let code = ok(s, &["wait", "box"])?;
            s.is("exit code", code, 137)
        }),
        case("podman.life.pause", |s| {
            start(s, &[], "exec sleep 600")?;
            ok(s, &["pause", "box"])?;
            let state = ok(s, &["inspect", "--format", "{{.State.Status}}", "box"])?;
            s.is("state", state, "paused")?;
            ok(s, &["unpause", "box"])?;
            let o = exec(s, &[], &["echo", "again"])?;
            s.is("stdout", o.stdout, "again\n")
        }),
        case("podman.life.copy", |s| {
            start(s, &[], "exec sleep 600")?;
            let file = s.lab.dir.join("podman-copy").display().to_string();
            std::fs::write(&file, "in\n").map_err(|e| e.to_string())?;
            ok(s, &["cp", &file, "box:/tmp/file"])?;
            let o = exec(s, &[], &["cat", "/tmp/file"])?;
            s.is("inside", o.stdout, "in\n")
        }),
        case("podman.life.top-and-stats", |s| {
            start(s, &["--memory", "64m"], "exec sleep 600")?;
            let top = ok(s, &["top", "box", "args"])?;
            s.is("top", top.trim_end(), "COMMAND\nsleep 600")?;
            let stats = ok(
                s,
                &[
                    "stats",
                    "--no-stream",
                    "--format",
                    "{{.MemUsage}} {{.PIDs}}",
                    "box",
                ],
            )?;
            s.has(
                "stats",
                stats.split_once('/').map(|(_, rest)| rest).unwrap_or_default(),
                "1",
            )
        }),
        case("podman.life.healthcheck", |s| {
            start(
                s,
                &[
                    "--health-cmd",
                    "test -e /tmp/well",
                    "--health-interval",
                    "disable",
                ],
                "exec sleep 600",
            )?;
            let ill = s
                .lab
                .podman(s.role, &["healthcheck", "run", "box"], "", USUAL)?
                .code;
            s.is("ill", ill, 1)?;
            exec(s, &[], &["touch", "/tmp/well"])?;
            let well = s
                .lab
                .podman(s.role, &["healthcheck", "run", "box"], "", USUAL)?
                .code;
            s.is("well", well, 0)
        }),
        case("podman.life.update-by-create-flags", |s| {
            s.shows_podman(
                &["--memory", "64m", "--cpus", "0.5", "--pids-limit", "20"],
                "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max cpu/cpu.cfs_quota_us cpu.max pids/pids.max pids.max 2>/dev/null; true",
                "67108864\n",
            )
        }),
        case("podman.option.read-only", |s| {
            s.shows_podman(
                &["--read-only"],
                "touch /x 2>/dev/null || echo refused; touch /tmp/x && echo tmp",
                "refused\ntmp\n",
            )
        }),
        case("podman.option.user", |s| {
            s.shows_podman(
                &["--user", "1000:1001", "--group-add", "55"],
                "id -u; id -g; id -G",
                "1000\n1001\n1001 55\n",
            )
        }),
        case("podman.option.caps", |s| {
            s.shows_podman(
                &["--cap-drop", "ALL", "--cap-add", "CHOWN"],
                "grep ^Cap /proc/self/status",
                "CapEff:\t0000000000000001\n",
            )
        }),
        case("podman.option.privileged", |s| {
            s.shows_podman(&["--privileged"], "grep -E '^(CapEff|Seccomp:)' /proc/self/status; mkdir /m; mount -t tmpfs none /m && echo mounted", "mounted\n")
        }),
        case("podman.option.volume-and-tmpfs", |s| {
            let dir = s.lab.dir.join("podman-share");
            std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
            std::fs::write(dir.join("file"), "shared\n").map_err(|e| e.to_string())?;
            let volume = format!("{}:/v:ro", dir.display());
            s.shows_podman(&["-v", &volume, "--tmpfs", "/t:size=1m"], "cat /v/file; touch /v/x 2>/dev/null || echo refused; df -k /t | awk 'NR == 2 {print $2}'; awk '$5 == \"/t\" || $5 == \"/v\" {print $5, $6}' /proc/self/mountinfo | sort", "shared\nrefused\n1024\n")
        }),
        case("podman.option.ulimit", |s| {
            s.shows_podman(
                &["--ulimit", "nofile=300:400", "--ulimit", "nproc=500:600"],
                "ulimit -n; ulimit -Hn",
                "300\n400\n",
            )
        }),
        case("podman.option.hostname-and-sysctl", |s| {
            s.shows_podman(
                &["--hostname", "box", "--sysctl", "kernel.msgmax=4096"],
                "hostname; cat /proc/sys/kernel/msgmax",
                "box\n4096\n",
            )
        }),
        case("podman.option.namespaces", |s| {
            s.shows_podman(
                &["--pid", "host", "--ipc", "host", "--uts", "host"],
                "hostname; grep -c . /proc/self/cgroup",
                "played-host\n",
            )
        }),
        case("podman.option.user-namespace", |s| {
            s.shows_podman(
                &["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"],
                "cat /proc/self/uid_map | tr -s ' '; id -u; touch /root/x && stat -c %u /root/x",
                "0 100000 65536\n",
            )
        }),
        case("podman.option.preserve-fds", |s| {
            // The shell gives the descriptor; Podman hands it to conmon, conmon to the runtime.
            let line = typed(
                s,
                &format!("run --rm --network none --preserve-fds 1 {IMAGE} cat /dev/fd/3"),
            );
            let o = command::run(
                Command::new("sh").args(["-c", &format!("exec 3<<E\nhanded over\nE\n{line}")]),
                "",
                USUAL,
            )?;
            s.is("stdout", o.stdout, "handed over\n")
        }),
    ]
}

impl Scene<'_> {
    fn shows_podman(&mut self, flags: &[&str], script: &str, part: &str) -> Done {
        let o = run(self, flags, script)?;
        self.see("stderr", &o.stderr);
        self.see("exit code", o.code);
        self.has("stdout", o.stdout + &o.stderr, part)
    }
}

fn run_line<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    let mut line = vec!["run", "--rm", "--network", "none"];
    line.extend(flags);
    line
}

fn run(s: &Scene, flags: &[&str], script: &str) -> Result<Outcome, String> {
    let mut line = run_line(flags);
    line.extend([IMAGE, "sh", "-c", script]);
    s.lab.podman(s.role, &line, "", USUAL)
}

fn refused(s: &mut Scene, payload: &[&str], code: i32) -> Done {
    let mut line = run_line(&[]);
    line.push(IMAGE);
    line.extend(payload);
    let o = s.lab.podman(s.role, &line, "", USUAL)?;
    s.is("exit code", o.code, code)
        .map_err(|e| format!("{e}: {}", o.stderr))
}

fn start(s: &Scene, flags: &[&str], script: &str) -> Done {
    let mut line = vec!["run", "--detach", "--name", "box", "--network", "none"];
    line.extend(flags);
    line.extend([IMAGE, "sh", "-c", script]);
    ok(s, &line).map(|_| ())
}

fn exec(s: &Scene, flags: &[&str], payload: &[&str]) -> Result<Outcome, String> {
    let mut line = vec!["exec"];
    line.extend(flags);
    line.push("box");
    line.extend(payload);
    s.lab.podman(s.role, &line, "", USUAL)
}

fn ok(s: &Scene, line: &[&str]) -> Result<String, String> {
    s.lab
        .podman(s.role, line, "", USUAL)?
        .ok()
        .map_err(|e| format!("podman {}: {e}", line.join(" ")))
}

/// The same command line as a person types it.
fn typed(s: &Scene, rest: &str) -> String {
    let command = s.lab.podman_command(s.role);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    format!(
        "env CONTAINERS_CONF={} {} {rest}",
        s.lab.dir.join("containers.conf").display(),
        words.join(" ")
    )
}
