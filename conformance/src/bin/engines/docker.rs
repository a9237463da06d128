//! Docker: what people do with it, with the runtime that is judged and with the reference.
//!
//! May not: judge Docker. A case holds what the runtime contributes, and what both runtimes must show alike.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::case::{Case, Compare, MOUNTS, Need, SOON, Scene};
use crate::command::{self, Outcome, USUAL};
use crate::lab::IMAGE;
use conformance::docker;
use conformance::terminal::Terminal;

type Done = Result<(), String>;

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case {
        name,
        need: Need::Docker,
        compare: Compare::Yes,
        act,
    }
}

pub fn cases() -> Vec<Case> {
    vec![
        case("docker.run.streams-and-exit-code", |s| {
            let o = s.run(&[], "echo out; echo err >&2; exit 3")?;
            s.is("exit code", o.code, 3)?;
            s.is("stdout", o.stdout, "out\n")?;
            s.is("stderr", o.stderr, "err\n")
        }),
        case("docker.run.stdin", |s| {
            let o = s.run_typing(&["-i"], "cat; echo end", "one\ntwo\n")?;
            s.is("stdout", o.stdout, "one\ntwo\nend\n")
        }),
        case("docker.run.death-by-signal", |s| {
            // In a PID namespace of its own the first process would not hear it.
            let o = s.run(&["--pid", "host"], "kill -KILL $$")?;
            s.is("exit code", o.code, 137)
        }),
        case("docker.run.environment", |s| {
            let o = s.run(
                &["--env", "A=b c", "--env", "EMPTY="],
                "env | grep -v ^HOSTNAME | sort",
            )?;
            s.has("environment", o.stdout, "\nHOME=/root\n")
        }),
        case("docker.run.mounts", |s| {
            let o = s.run(&[], MOUNTS)?;
            s.has("mounts", o.stdout, "/sys/fs/cgroup ")
        }),
        case("docker.run.devices", |s| {
            let o = s.run(
                &[],
                "stat -c '%n %F %a %u %g %t:%T' /dev/* /dev/pts/*; readlink /dev/fd /dev/stdin /dev/ptmx",
            )?;
            s.has(
                "devices",
                o.stdout,
                "/dev/null character special file 666 0 0 1:3",
            )
        }),
        case("docker.run.status", |s| {
            let o = s.run(
                &[],
                // Signal 32 belongs to the C library of whoever starts the runtime; the reference hands it on ignored.
                "grep -E '^(Umask|Uid|Gid|Groups|Cap|NoNew|Seccomp:|Sig(Blk|Ign|Cgt))' /proc/self/status |
                     sed -E '/^SigIgn/s/8(.{7})$/0\\1/'",
            )?;
            s.has("status", o.stdout, "CapEff:\t00000000a80425fb")
        }),
        case("docker.run.limits", |s| {
            let o = s.run(&[], "ulimit -a; cat /proc/self/oom_score_adj; nice")?;
            s.has("limits", o.stdout, "file")
        }),
        case("docker.run.hidden-paths", |s| {
            let o = s.run(
                &[],
                "for p in /proc/kcore /proc/keys /proc/timer_list /proc/sched_debug /proc/acpi /proc/scsi /sys/firmware; do
                     [ -e $p ] || continue; if [ -d $p ]; then echo $p $(ls $p | wc -l); else echo $p $(head -c 8 $p | wc -c); fi
                 done
                 for p in /proc/sys/kernel/domainname /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/mm/ksm/run; do
                     [ -e $p ] || continue; (echo 0 >$p) 2>&1
                 done; true",
            )?;
            s.has("paths", o.stdout, "/proc/keys 0")
        }),
        case("docker.run.cgroup-path", |s| {
            let o = s.run(&["--cgroup-parent", "/engines-parent"], "cat /proc/self/cgroup")?;
            s.has("cgroup", &o.stdout, "")?;
            s.remove_cgroups("engines-parent");
            Ok(())
        }),
        case("docker.run.interactive", interactive),
        case("docker.run.terminal-signals", terminal_signals),
        case("docker.run.terminal-resize", terminal_resize),
        case("docker.run.detached-terminal", |s| {
            s.start(
                "box",
                &["-t"],
                "stty size; tty; test -t 0 && test -t 1 && echo both",
            )?;
            s.docker_ok(&["wait", "box"])?;
            let logs = s.docker_ok(&["logs", "box"])?;
            s.has("logs", logs.replace('\r', ""), "/dev/pts/0\nboth")
        }),
        case("docker.run.signal-proxy", signal_proxy),
        case("docker.run.init", |s| {
            let o = s.run(&["--init"], "cat /proc/1/comm; sleep 0.01 & wait; echo end")?;
            s.has("stdout", o.stdout, "init\nend\n")
        }),
        case("docker.run.many-at-once", many_at_once),
        case("docker.run.leaves-nothing", |s| {
            let o = s.run(
                &["--network", "none", "-v", "/anonymous", "--tmpfs", "/t"],
                "sleep 0.05 & exit 0",
            )?;
            s.is("exit code", o.code, 0)?;
            let left = s.docker_ok(&["ps", "-aq"])?;
            s.is("containers", left, "")
        }),
        // Exit codes, by which scripts tell what went wrong.
        case("docker.exit.125-unusable-option", |s| {
            let o = s.docker_run(&["--memory", "1k"], &["true"])?;
            s.is("exit code", o.code, 125)
        }),
        // Runtimes up to runc 1.1 call a directory "permission denied", later ones "is a directory"; Docker has
        // known the second since 24 only.
        Case {
            name: "docker.exit.126-directory",
            need: Need::Docker,
            compare: Compare::No,
            act: |s| {
                let o = s.docker_run(&[], &["/etc"])?;
                let code = if o.stderr.contains("\"/etc\": is a directory") {
                    o.code.max(126)
                } else {
                    o.code
                };
                s.is("exit code", code, 126)
                    .map_err(|e| format!("{e}: {}", o.stderr))
            },
        },
        case("docker.exit.126-not-executable", |s| {
            s.refused(&[], &["/etc/passwd"], 126)
        }),
        case("docker.exit.127-not-in-path", |s| {
            s.refused(&[], &["no-such-program"], 127)
        }),
        case("docker.exit.127-no-such-file", |s| {
            s.refused(&[], &["/no/such/program"], 127)
        }),
        case("docker.exit.below-a-file", |s| {
            let o = s.docker_run(&[], &["/etc/passwd/program"])?;
            s.see("message", daemons_line(&o.stderr));
            s.see("exit code", o.code);
            s.is("refused", o.code > 124, true)
        }),
        case("docker.exit.bad-working-directory", |s| {
            let o = s.docker_run(&["--workdir", "/etc/passwd"], &["true"])?;
            s.see("exit code", o.code);
            s.is("refused", o.code != 0, true)
        }),
        case("docker.exit.exec-126", |s| {
            s.start("box", &[], "sleep 600")?;
            let o = s.exec(&[], &["/etc/passwd"])?;
            s.see("output", o.stdout + &o.stderr);
            s.is("exit code", o.code, 126)
        }),
        case("docker.exit.exec-127", |s| {
            s.start("box", &[], "sleep 600")?;
            let o = s.exec(&[], &["no-such-program"])?;
            s.see("output", o.stdout + &o.stderr);
            // Docker 20.10 says 126 here; later ones 127.
            s.see("exit code", o.code);
            s.is("refused", o.code == 126 || o.code == 127, true)?;
            let o = s.exec(&["--workdir", "/no/such/dir"], &["true"])?;
            s.see("exit code of a bad directory", o.code);
            s.is("refused", o.code != 0, true)
        }),
        // Life of a container.
        case("docker.life.logs", |s| {
            s.start("box", &[], "echo one; seq 1 2000; echo last")?;
            s.docker_ok(&["wait", "box"])?;
            let logs = s.docker_ok(&["logs", "box"])?;
            s.see("stdout", logs);
            let tail = s.docker_ok(&["logs", "--tail", "1", "box"])?;
            s.is("tail", tail, "last")?;
            let follow = s.docker_ok(&["logs", "--follow", "box"])?;
            s.is("lines when followed", follow.lines().count(), 2002)?;
            s.start("err", &[], "echo one >&2")?;
            s.docker_ok(&["wait", "err"])?;
            let o = s.lab.docker(&["logs", "err"])?;
            s.is("stdout", o.stdout, "")?;
            s.is("stderr", o.stderr, "one\n")
        }),
        case("docker.life.exec", exec),
        case("docker.life.exec-interactive", exec_interactive),
        case("docker.life.exec-environment", |s| {
            s.start("box", &["--env", "A=1", "--user", "0"], "sleep 600")?;
            let o = s.exec(
                &["--env", "B=2", "--workdir", "/tmp", "--user", "1000:2000"],
                &["sh", "-c", "echo $A $B $PWD $(id -u):$(id -g)"],
            )?;
            s.is("stdout", o.stdout, "1 2 /tmp 1000:2000\n")?;
            let status = [
                "sh",
                "-c",
                "grep -E '^(Cap|NoNew|Seccomp:|Groups)' /proc/self/status",
            ];
            let plain = s.exec(&[], &status)?;
            s.see("status", plain.stdout);
            let user = s.exec(&["--user", "1000"], &status)?;
            s.see("status of a user", user.stdout);
            s.docker_ok(&["rm", "--force", "box"])?;
            s.start("box", &["--privileged"], "exec sleep 600")?;
            let plain = s.exec(&[], &status)?;
            s.see("status in a privileged container", plain.stdout);
            let privileged = s.exec(&["--privileged"], &status)?;
            s.has("status when privileged", privileged.stdout, "CapEff:\t")
        }),
        case("docker.life.exec-detached", |s| {
            s.start("box", &[], "sleep 600")?;
            s.docker_ok(&[
                "exec",
                "--detach",
                "box",
                "sh",
                "-c",
                "echo done >/tmp/mark; exec sleep 600",
            ])?;
            s.until_exec("the mark", &["cat", "/tmp/mark"], "done\n")
        }),
        case("docker.life.exec-ends-with-container", |s| {
            s.start(
                "box",
                &[],
                "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done",
            )?;
            s.until_logged("box", "ready")?;
            s.docker_ok(&["exec", "--detach", "box", "sleep", "600"])?;
            s.docker_ok(&["stop", "box"])?;
            let state = s.inspect("box", "{{.State.Status}} {{.State.ExitCode}}")?;
            s.is("state", state, "exited 0")
        }),
        case("docker.life.stop", |s| {
            s.start(
                "box",
                &[],
                "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.1; done",
            )?;
            s.until_logged("box", "ready")?;
            s.docker_ok(&["stop", "box"])?;
            let state = s.inspect(
                "box",
                "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Error}}",
            )?;
            s.is("state", state, "exited 7 false ")?;
            let logs = s.docker_ok(&["logs", "box"])?;
            s.is("logs", logs, "ready\nbye")
        }),
        case("docker.life.stop-gives-up", |s| {
            s.start(
                "box",
                &["--stop-signal", "USR1"],
                "trap '' TERM USR1; echo ready; while :; do sleep 0.1; done",
            )?;
            s.until_logged("box", "ready")?;
            s.docker_ok(&["stop", "--time", "1", "box"])?;
            let state = s.inspect("box", "{{.State.Status}} {{.State.ExitCode}}")?;
            s.is("state", state, "exited 137")
        }),
        case("docker.life.kill", |s| {
            s.start(
                "box",
                &[],
                "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done",
            )?;
            s.until_logged("box", "ready")?;
            s.docker_ok(&["kill", "--signal", "USR1", "box"])?;
            s.until_logged("box", "usr1")?;
            s.docker_ok(&["kill", "box"])?;
            let code = s.docker_ok(&["wait", "box"])?;
            s.is("exit code", code, 137)?;
            let o = s.lab.docker(&["kill", "box"])?;
            s.see("killing the dead", o.stderr);
            s.is("exit code of that", o.code, 1)
        }),
        case("docker.life.restart", |s| {
            s.start("box", &[], "echo started; exec sleep 600")?;
            s.until_logged("box", "started")?;
            let before = s.inspect("box", "{{.State.Pid}}")?;
            s.docker_ok(&["restart", "--time", "0", "box"])?;
            let after = s.inspect("box", "{{.State.Pid}}")?;
            s.is("another process", before != after, true)?;
            let state = s.inspect("box", "{{.State.Status}}")?;
            s.is("state", state, "running")?;
            s.until_logged("box", "started\nstarted")
        }),
        case("docker.life.restart-policy", |s| {
            s.start("box", &["--restart", "on-failure:2"], "echo try; exit 4")?;
            command::until("the last try", SOON, || {
                s.inspect("box", "{{.RestartCount}} {{.State.Status}}")
                    .is_ok_and(|state| state == "2 exited")
            })?;
            let logs = s.docker_ok(&["logs", "box"])?;
            s.is("logs", logs, "try\ntry\ntry")
        }),
        case("docker.life.pause", pause),
        case("docker.life.copy", copy),
        case("docker.life.top", |s| {
            s.start("box", &[], "sleep 600 & exec sleep 601")?;
            s.until_top("sleep 600")?;
            let top = s.docker_ok(&["top", "box", "-o", "pid,args"])?;
            let mut commands: Vec<&str> = top
                .lines()
                .skip(1)
                .filter_map(|line| line.trim().split_once(' ').map(|(_, args)| args.trim()))
                .collect();
            commands.sort_unstable();
            s.has("commands", commands.join("\n"), "sleep 600\nsleep 601")
        }),
        case("docker.life.stats", |s| {
            s.start(
                "box",
                &["--memory", "64m", "--pids-limit", "50"],
                "exec sleep 600",
            )?;
            let stats = s.docker_ok(&[
                "stats",
                "--no-stream",
                "--format",
                "{{.MemUsage}} {{.PIDs}}",
                "box",
            ])?;
            s.has(
                "limit",
                stats.split_once('/').map(|(_, rest)| rest).unwrap_or_default(),
                "64MiB 1",
            )
        }),
        case("docker.life.stats-of-work", |s| {
            // The figure is an average over a second: one busy process of one CPU comes near 100.
            s.start("box", &["--cpus", "0.5"], "while :; do :; done")?;
            let mut last = String::new();
            command::until("the limit shows in the statistics", SOON, || {
                last = s
                    .docker_ok(&["stats", "--no-stream", "--format", "{{.CPUPerc}}", "box"])
                    .unwrap_or_default();
                last.trim_end_matches('%')
                    .parse::<f64>()
                    .is_ok_and(|percent| (35.0..65.0).contains(&percent))
            })
            .map_err(|e| format!("{e}; the last figure was {last}"))
        }),
        case("docker.life.update", |s| {
            s.start(
                "box",
                &["--memory", "64m", "--memory-swap", "64m", "--cpus", "1"],
                "exec sleep 600",
            )?;
            s.docker_ok(&[
                "update",
                "--memory",
                "96m",
                "--memory-swap",
                "96m",
                "--cpus",
                "0.25",
                "--pids-limit",
                "33",
                "box",
            ])?;
            let o = s.exec(&[], &["sh", "-c", LIMITS])?;
            s.has("limits", o.stdout, "memory 100663296\nquota 25000\npids 33\n")
        }),
        case("docker.life.healthcheck", |s| {
            s.start(
                "box",
                &[
                    "--health-cmd",
                    "test -e /tmp/well",
                    "--health-interval",
                    "1s",
                    "--health-retries",
                    "1",
                ],
                "exec sleep 600",
            )?;
            let health = "{{.State.Health.Status}}";
            command::until("unhealthy", SOON, || {
                s.inspect("box", health).is_ok_and(|h| h == "unhealthy")
            })?;
            s.exec(&[], &["touch", "/tmp/well"])?;
            command::until("healthy", SOON, || {
                s.inspect("box", health).is_ok_and(|h| h == "healthy")
            })
        }),
        case("docker.life.killed-from-outside", |s| {
            s.start("box", &[], "exec sleep 600")?;
            let pid = s.inspect("box", "{{.State.Pid}}")?;
            command::run(Command::new("kill").args(["-KILL", &pid]), "", USUAL)?.ok()?;
            let code = s.docker_ok(&["wait", "box"])?;
            s.is("exit code", code, 137)
        }),
        case("docker.life.create-then-start", |s| {
            s.docker_ok(&[
                "create",
                "--runtime",
                s.role.name(),
                "--name",
                "box",
                IMAGE,
                "echo",
                "late",
            ])?;
            let o = s.docker_ok(&["start", "--attach", "box"])?;
            s.is("stdout", o, "late")?;
            let again = s.docker_ok(&["start", "--attach", "box"])?;
            s.is("stdout again", again, "late")
        }),
        case("docker.life.oom", |s| {
            s.start(
                "box",
                &["--memory", "24m", "--memory-swap", "24m"],
                "tail /dev/zero; echo $?",
            )?;
            s.docker_ok(&["wait", "box"])?;
            let killed = s.inspect("box", "{{.State.OOMKilled}}")?;
            s.is("killed for memory", killed, true)?;
            let logs = s.docker_ok(&["logs", "box"])?;
            s.has("logs", logs, "137")
        }),
        // Options, each with what it must change.
        case("docker.option.memory", |s| {
            s.shows(
                &[
                    "--memory",
                    "64m",
                    "--memory-swap",
                    "96m",
                    "--memory-reservation",
                    "32m",
                ],
                LIMITS,
                "memory 67108864\n",
            )
        }),
        case("docker.option.cpus", |s| {
            s.shows(&["--cpus", "0.5", "--cpu-shares", "512"], LIMITS, "quota 50000\n")
        }),
        case("docker.option.cpuset", |s| {
            s.shows(
                &["--cpuset-cpus", "0"],
                "nproc; grep Cpus_allowed_list /proc/self/status",
                "1\n",
            )
        }),
        case("docker.option.pids-limit", |s| {
            s.shows(&["--pids-limit", "12"], LIMITS, "pids 12\n")?;
            let forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 5 & done 2>/dev/null; echo all";
            let o = s.run(&["--pids-limit", "12"], forks)?;
            s.is("all forks worked", o.stdout.contains("all"), false)
        }),
        case("docker.option.read-only", |s| {
            let script = "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo shm; touch /run/x && echo run; awk '$5 == \"/\" {print $6}' /proc/self/mountinfo";
            s.shows(
                &["--read-only", "--tmpfs", "/run"],
                script,
                "refused\nshm\nrun\nro",
            )
        }),
        case("docker.option.user", |s| {
            s.shows(
                &["--user", "1000:1001", "--group-add", "55"],
                "id -u; id -g; id -G; touch /x 2>&1; echo $HOME; grep ^Cap /proc/self/status",
                "1000\n1001\n1001 55\n",
            )
        }),
        case("docker.option.user-by-name", |s| {
            s.shows(&["--user", "nobody"], "id; pwd; echo $HOME", "uid=65534(nobody)")
        }),
        case("docker.option.cap-drop-all", |s| {
            s.shows(
                &["--cap-drop", "ALL"],
                "grep ^Cap /proc/self/status; chown 1 /tmp 2>/dev/null || echo refused",
                "CapEff:\t0000000000000000\n",
            )
        }),
        case("docker.option.cap-add", |s| {
            s.shows(
                &["--cap-add", "SYS_TIME", "--cap-add", "NET_ADMIN"],
                "grep ^Cap /proc/self/status",
                "CapEff:\t00000000aa0435fb\n",
            )
        }),
        case("docker.option.cap-drop-one", |s| {
            s.shows(
                &["--cap-drop", "CHOWN"],
                "grep ^CapEff /proc/self/status; chown 1 /tmp 2>/dev/null || echo refused",
                "refused\n",
            )
        }),
        case("docker.option.cap-add-for-user", |s| {
            s.shows(
                &["--cap-drop", "ALL", "--cap-add", "CHOWN", "--user", "1000"],
                "grep ^Cap /proc/self/status",
                "CapBnd:\t0000000000000001\n",
            )
        }),
        case("docker.option.privileged", |s| {
            let script = format!(
                "grep -E '^(Cap(Eff|Bnd)|NoNew|Seccomp:)' /proc/self/status; ls /dev | sort | tr '\\n' ' '
                mkdir /m && mount -t tmpfs none /m && echo mounted
                {MOUNTS} | uniq"
            );
            s.shows(&["--privileged"], &script, "mounted\n")
        }),
        case("docker.option.bind-mount", |s| {
            let dir = s.share(&[("file", "from the host\n")])?;
            let (rw, ro) = (format!("{dir}:/rw"), format!("{dir}:/ro:ro"));
            let script = "cat /rw/file; echo new >/rw/new; touch /ro/x 2>&1; awk '$5 ~ /^.r[wo]$/ {print $5, $6}' /proc/self/mountinfo | sort";
            let o = s.run(&["-v", &rw, "-v", &ro], script)?;
            s.see("stdout", o.stdout);
            let new = std::fs::read_to_string(format!("{dir}/new")).unwrap_or_default();
            s.is("the new file on the host", new, "new\n")
        }),
        case("docker.option.bind-file", |s| {
            let dir = s.share(&[("file", "from the host\n")])?;
            s.shows(
                &["-v", &format!("{dir}/file:/etc/one:ro")],
                "cat /etc/one; rm /etc/one 2>&1",
                "from the host\n",
            )
        }),
        case("docker.option.bind-propagation", |s| {
            let dir = s.share(&[])?;
            let flag = format!("type=bind,source={dir},target=/p,bind-propagation=rslave");
            s.shows(
                &["--mount", &flag],
                "awk '$5 == \"/p\" {print $6, $7 ~ /master/}' /proc/self/mountinfo",
                "",
            )
        }),
        case("docker.option.volume", |s| {
            s.docker_ok(&["volume", "create", "engines-volume"])?;
            let first = s.run(&["-v", "engines-volume:/v"], "echo kept >/v/file");
            let second = s.run(&["-v", "engines-volume:/v"], "cat /v/file");
            s.docker_ok(&["volume", "rm", "engines-volume"])?;
            s.is("exit code", first?.code, 0)?;
            s.is("stdout", second?.stdout, "kept\n")
        }),
        case("docker.option.tmpfs", |s| {
            let script = "stat -c '%a %u %F' /t; df -k /t | awk 'NR == 2 {print $2}'; awk '$5 == \"/t\" {print $6}' /proc/self/mountinfo";
            s.shows(
                &["--tmpfs", "/t:rw,size=2m,mode=1770,uid=5,noexec"],
                script,
                "1770 5 directory\n2048\n",
            )
        }),
        case("docker.option.tmpfs-copies-nothing", |s| {
            s.shows(&["--tmpfs", "/etc/apt"], "ls /etc/apt | wc -l", "")
        }),
        case("docker.option.ulimit", |s| {
            s.shows(
                &["--ulimit", "nofile=300:400", "--ulimit", "core=0"],
                "ulimit -n; ulimit -Hn; ulimit -c",
                "300\n400\n0\n",
            )
        }),
        case("docker.option.publish", publish),
        case("docker.option.shm-size", |s| {
            s.shows(
                &["--shm-size", "16m"],
                "df -k /dev/shm | awk 'NR == 2 {print $2}'",
                "16384\n",
            )
        }),
        case("docker.option.oom-score-adj", |s| {
            s.shows(
                &["--oom-score-adj", "300"],
                "cat /proc/self/oom_score_adj",
                "300\n",
            )
        }),
        case("docker.option.hostname", |s| {
            s.shows(
                &["--hostname", "box", "--domainname", "example.org"],
                "hostname; cat /proc/sys/kernel/domainname /etc/hostname",
                "box\nexample.org\n",
            )
        }),
        case("docker.option.sysctl", |s| {
            s.shows(
                &["--sysctl", "net.ipv4.ip_forward=0", "--sysctl", "kernel.msgmax=4096", "--sysctl", "net.ipv4.ping_group_range=0 7"],
                "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ping_group_range",
                "0\n4096\n0\t7\n",
            )
        }),
        case("docker.option.sysctl-unknown", |s| {
            let o = s.docker_run(&["--sysctl", "net.ipv4.no_such_key=1"], &["true"])?;
            s.is("exit code", o.code, 127)
                .or_else(|_| s.is("exit code", o.code, 125))
        }),
        case("docker.option.device", |s| {
            if !std::path::Path::new("/dev/fuse").exists() {
                return s.shows(
                    &["--device", "/dev/null:/dev/mine:rwm"],
                    "stat -c '%F %t:%T' /dev/mine",
                    "1:3",
                );
            }
            let script = "stat -c '%F %a %u %g' /dev/mine; (exec 3</dev/mine) && echo read; (exec 3>/dev/mine) 2>/dev/null || echo no write";
            s.shows(&["--device", "/dev/fuse:/dev/mine:r"], script, "read\nno write\n")
        }),
        case("docker.option.device-denied", |s| {
            s.shows(
                &[],
                "mknod /tmp/d b 7 0 && cat /tmp/d 2>&1; mknod /tmp/c c 1 3 && echo x >/tmp/c && echo null",
                "not permitted\nnull\n",
            )
        }),
        case("docker.option.security-no-new-privileges", |s| {
            s.shows(
                &["--security-opt", "no-new-privileges", "--user", "1000"],
                "grep -E '^(NoNew|Seccomp:|Cap)' /proc/self/status",
                "NoNewPrivs:\t1\n",
            )
        }),
        // Namespaces.
        case("docker.namespace.host", |s| {
            let script = "for n in ipc uts pid net; do readlink /proc/self/ns/$n; done";
            let o = s.run(
                &[
                    "--ipc",
                    "host",
                    "--uts",
                    "host",
                    "--pid",
                    "host",
                    "--network",
                    "host",
                ],
                script,
            )?;
            let ours = ["ipc", "uts", "pid", "net"]
                .map(|n| std::fs::read_link(format!("/proc/self/ns/{n}")).unwrap_or_default());
            let ours: Vec<String> = ours.iter().map(|path| format!("{}\n", path.display())).collect();
            s.is("the host's namespaces", o.stdout == ours.concat(), true)
        }),
        case("docker.namespace.of-container", |s| {
            s.start(
                "box",
                &["--ipc", "shareable", "--hostname", "first"],
                "exec sleep 600",
            )?;
            let script = "for n in ipc pid net; do readlink /proc/self/ns/$n; done";
            let theirs = s.exec(&[], &["sh", "-c", script])?.stdout;
            let o = s.run(
                &[
                    "--ipc",
                    "container:box",
                    "--pid",
                    "container:box",
                    "--network",
                    "container:box",
                ],
                script,
            )?;
            s.is("the container's namespaces", o.stdout == theirs, true)?;
            let o = s.run(&["--pid", "container:box"], "tr '\\0' ' ' </proc/1/cmdline")?;
            s.has("its first process", o.stdout, "sleep 600 ")
        }),
        case("docker.namespace.pid-of-container-outlives", |s| {
            s.start("box", &[], "exec sleep 600")?;
            s.start("guest", &["--pid", "container:box"], "exec sleep 601")?;
            s.docker_ok(&["kill", "guest"])?;
            let state = s.inspect("box", "{{.State.Status}}")?;
            s.is("the owner", state, "running")?;
            let guest = s.inspect("guest", "{{.State.Status}} {{.State.ExitCode}}")?;
            s.is("the guest", guest, "exited 137")
        }),
        case("docker.namespace.pid-host-killed-whole", |s| {
            s.start(
                "box",
                &["--pid", "host"],
                "sleep 6001 & echo ready; exec sleep 6002",
            )?;
            s.until_logged("box", "ready")?;
            s.docker_ok(&["kill", "box"])?;
            let code = s.docker_ok(&["wait", "box"])?;
            s.is("exit code", code, 137)
        }),
        case("docker.namespace.cgroup", |s| {
            s.shows(
                &["--cgroupns", "private"],
                "grep -v ':/$' /proc/self/cgroup | wc -l; ls /sys/fs/cgroup | sort | tr '\\n' ' '",
                "0\n",
            )?;
            s.shows(&["--cgroupns", "host"], "grep -c docker /proc/self/cgroup; awk '$5 ~ /^.sys.fs.cgroup./ {print $5, $6}' /proc/self/mountinfo | sort", "")
        }),
        case("docker.namespace.network-none", |s| {
            s.shows(
                &["--network", "none"],
                "ls /sys/class/net; cat /proc/net/dev | wc -l",
                "lo\n",
            )
        }),
        // Seccomp.
        case("docker.seccomp.default", |s| {
            s.shows(
                &[],
                "grep -E '^Seccomp' /proc/self/status; unshare --user true 2>&1; mount -t tmpfs t /mnt 2>&1",
                "Seccomp:\t2\n",
            )
        }),
        case("docker.seccomp.default-answers", |s| {
            // Numbers of x86-64, called with nonsense: what is answered is the filter's errno or the kernel's.
            let script = "perl -e 'for (@ARGV) { $! = 0; my $r = syscall($_, -1, -1, -1, -1, -1, -1); print \"$_ \", $r == -1 ? $! + 0 : \"ok\", \"\\n\" }' \
                101 103 135 139 153 155 165 166 167 168 169 170 171 172 173 175 176 179 188 216 217 237 238 239 246 248 249 250 256 272 278 279 \
                298 300 303 304 308 310 311 312 313 317 321 323 325 329 334 425 426 427 428 429 430 431 432 433 434 435 437 438 439 440 441 442 443 \
                448 449 450 451 452 462 600 9999";
            let o = s.run(&[], script)?;
            s.has("answers", o.stdout, "165 1\n")
        }),
        case("docker.seccomp.unconfined", |s| {
            s.shows(
                &["--security-opt", "seccomp=unconfined"],
                "grep -E '^Seccomp' /proc/self/status",
                "Seccomp:\t0\n",
            )
        }),
        case("docker.seccomp.profile", |s| {
            let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[
                {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
                {"names":["symlink","symlinkat","no_such_call"],"action":"SCMP_ACT_ERRNO"},
                {"names":["personality"],"action":"SCMP_ACT_ERRNO","errnoRet":38,"args":[{"index":0,"value":8,"op":"SCMP_CMP_EQ"}]}]}"#;
            let dir = s.share(&[("profile.json", profile)])?;
            let script = "mkdir /x 2>&1; ln -s a /y 2>&1; setarch -R true 2>&1; perl -e 'print syscall(135, 8) == -1 ? $! + 0 : \"ok\"'";
            s.shows(
                &["--security-opt", &format!("seccomp={dir}/profile.json")],
                script,
                "No space left on device",
            )
        }),
        case("docker.seccomp.kill", |s| {
            let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#;
            let dir = s.share(&[("profile.json", profile)])?;
            let o = s.run(
                &["--security-opt", &format!("seccomp={dir}/profile.json")],
                "mkdir /x; echo $?",
            )?;
            s.has("stdout", o.stdout, "159\n")
        }),
        // Building an image uses the default runtime, which is the one that is judged.
        Case {
            name: "docker.build.run-steps",
            need: Need::Docker,
            compare: Compare::No,
            act: build,
        },
        Case {
            name: "docker.info.knows-the-runtime",
            need: Need::Docker,
            compare: Compare::No,
            act: |s| {
                let info = s.docker_ok(&[
                    "info",
                    "--format",
                    "{{range $k, $v := .Runtimes}}{{$k}} {{end}}{{.DefaultRuntime}}",
                ])?;
                s.has("runtimes", info, "subject")
            },
        },
    ]
}

/// Limits of the container's own cgroup, read where this host's cgroup version has them.
const LIMITS: &str = "cd /sys/fs/cgroup
    echo memory $(cat memory/memory.limit_in_bytes memory.max 2>/dev/null)
    echo quota $(cat cpu/cpu.cfs_quota_us cpu.max 2>/dev/null | cut -d ' ' -f 1)
    echo pids $(cat pids/pids.max pids.max 2>/dev/null)
    echo more $(cat memory/memory.soft_limit_in_bytes memory.low memory/memory.memsw.limit_in_bytes memory.swap.max cpu/cpu.shares cpu.weight 2>/dev/null)";

/// What most cases do.
impl Scene<'_> {
    /// `docker run --rm` without a network, of a shell script.
    fn run(&self, flags: &[&str], script: &str) -> Result<Outcome, String> {
        self.run_typing(flags, script, "")
    }

    fn run_typing(&self, flags: &[&str], script: &str, stdin: &str) -> Result<Outcome, String> {
        let line = self.run_line(flags, &["sh", "-c", script]);
        let mut docker = Command::new("/usr/bin/docker");
        command::run(
            docker.args(["--host", "unix:///run/docker.sock"]).args(line),
            stdin,
            USUAL,
        )
    }

    /// `docker run --rm` of a command.
    fn docker_run(&self, flags: &[&str], payload: &[&str]) -> Result<Outcome, String> {
        let line = self.run_line(flags, payload);
        self.lab
            .docker(&line.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn run_line(&self, flags: &[&str], payload: &[&str]) -> Vec<String> {
        let mut line = vec!["run", "--rm", "--runtime", self.runtime_for(flags)];
        if !flags.iter().any(|flag| ["--network", "--publish"].contains(flag)) {
            line.extend(["--network", "none"]);
        }
        line.extend(flags);
        line.push(IMAGE);
        line.extend(payload);
        line.into_iter().map(str::to_owned).collect()
    }

    /// `docker run --detach --name NAME` of a shell script.
    fn start(&self, name: &str, flags: &[&str], script: &str) -> Done {
        let mut line = vec![
            "run",
            "--detach",
            "--runtime",
            self.runtime_for(flags),
            "--name",
            name,
        ];
        if !flags.iter().any(|flag| ["--network", "--publish"].contains(flag)) {
            line.extend(["--network", "none"]);
        }
        line.extend(flags);
        line.extend([IMAGE, "sh", "-c", script]);
        self.lab.docker_must(&line).map(|_| ())
    }

    /// The runtime's name for these flags; see [`Role::privileged_name`](crate::lab::Role::privileged_name).
    pub fn runtime_for(&self, flags: &[&str]) -> &'static str {
        if flags.contains(&"--privileged") {
            self.role.privileged_name()
        } else {
            self.role.name()
        }
    }

    fn docker_ok(&self, line: &[&str]) -> Result<String, String> {
        self.lab.docker_must(line)
    }

    fn exec(&self, flags: &[&str], payload: &[&str]) -> Result<Outcome, String> {
        let mut line = vec!["exec"];
        line.extend(flags);
        line.push("box");
        line.extend(payload);
        self.lab.docker(&line)
    }

    fn inspect(&self, name: &str, format: &str) -> Result<String, String> {
        self.docker_ok(&["inspect", "--format", format, name])
    }

    /// A script whose output must contain `part`, and be the same with both runtimes.
    fn shows(&mut self, flags: &[&str], script: &str, part: &str) -> Done {
        let o = self.run(flags, script)?;
        self.see("stderr", &o.stderr);
        self.see("exit code", o.code);
        self.has("stdout", o.stdout + &o.stderr, part)
    }

    /// A container that cannot be started, and the code that says why.
    fn refused(&mut self, flags: &[&str], payload: &[&str], code: i32) -> Done {
        let o = self.docker_run(flags, payload)?;
        self.see("message", daemons_line(&o.stderr));
        self.is("exit code", o.code, code)
            .map_err(|e| format!("{e}: {}", daemons_line(&o.stderr)))
    }

    fn until_logged(&self, name: &str, text: &str) -> Done {
        command::until(&format!("{name} logs {text:?}"), SOON, || {
            self.docker_ok(&["logs", name])
                .is_ok_and(|logs| logs.contains(text))
        })
    }

    fn until_exec(&self, what: &str, payload: &[&str], output: &str) -> Done {
        command::until(what, SOON, || {
            self.exec(&[], payload).is_ok_and(|o| o.stdout == output)
        })
    }

    fn until_top(&self, text: &str) -> Done {
        command::until(text, SOON, || {
            self.docker_ok(&["top", "box"])
                .is_ok_and(|top| top.contains(text))
        })
    }

    /// A directory of the host with some files in it.
    fn share(&self, files: &[(&str, &str)]) -> Result<String, String> {
        let dir = self.lab.dir.join("share");
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(|e| e.to_string())?;
        }
        std::fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).map_err(|e| e.to_string())?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .map_err(|e| e.to_string())?;
        }
        Ok(dir.display().to_string())
    }

    /// Removes the parent cgroup that a case asked for: engines never do.
    fn remove_cgroups(&self, name: &str) {
        let mut found: Vec<PathBuf> = vec![PathBuf::from("/sys/fs/cgroup").join(name)];
        for entry in std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            found.push(entry.path().join(name));
        }
        for path in found.iter().filter(|path| path.exists()) {
            if let Err(e) = std::fs::remove_dir(path) {
                eprintln!("engines: {}: {e}", path.display());
            }
        }
    }

    /// A terminal with `docker run -it` in it.
    fn terminal(&self, flags: &str, payload: &str) -> Result<Terminal, String> {
        let role = self.role.name();
        Terminal::open(&format!(
            "{} run --rm --network none --runtime {role} -it {flags} {IMAGE} {payload}",
            docker::TYPED
        ))
    }
}

/// Docker's own message; what its client adds, and where, depends on how fast the daemon was.
fn daemons_line(text: &str) -> &str {
    text.lines()
        .find(|line| line.contains("from daemon"))
        .unwrap_or(text)
}

fn interactive(s: &mut Scene) -> Done {
    let mut terminal = s.terminal("--hostname box", "sh -i")?;
    terminal.expect("# ", SOON)?;
    // The client tells the size after the start.
    s.is("size", until_size(&mut terminal, "40x100")?, "40x100")?;
    terminal.send(
        "test -t 0 && test -t 1 && test -t 2 && echo $(tty) $(stat -c %F /dev/console) three'-'terminals\n",
    )?;
    let shown = terminal.expect(" three-terminals", SOON)?;
    s.is(
        "terminal",
        shown.ends_with("/dev/pts/0 character special file"),
        true,
    )?;
    terminal.send("exit 5\n")?;
    s.is("exit code", terminal.close(SOON)?, 5)
}

fn terminal_signals(s: &mut Scene) -> Done {
    let mut terminal = s.terminal("", "sh -i")?;
    terminal.expect("# ", SOON)?;
    terminal.send("sleep 600\n")?;
    terminal.expect("sleep 600", SOON)?;
    // The interrupt must reach sleep, not the shell: the container's terminal has a foreground process group.
    terminal.expect("\n", SOON)?;
    command::until("sleep runs in the foreground", SOON, || {
        s.docker_ok(&["ps", "-q"])
            .and_then(|id| s.docker_ok(&["top", &id]))
            .is_ok_and(|top| top.contains("sleep 600"))
    })?;
    terminal.send("\x03")?;
    terminal.expect("# ", SOON)?;
    terminal.send("echo code=$?\n")?;
    terminal.expect("code=130", SOON)?;
    terminal.send("\x04")?;
    s.see("exit code", terminal.close(SOON)?);
    Ok(())
}

fn terminal_resize(s: &mut Scene) -> Done {
    let mut terminal = s.terminal("", "sh -i")?;
    let device = terminal.expect("\n", SOON)?;
    terminal.expect("# ", SOON)?;
    let mut size = String::new();
    // A change that comes before the client listens for changes is lost: there is always another one.
    for width in ["76", "77", "76", "77", "76", "77"] {
        let mut stty = Command::new("stty");
        stty.args(["-F", device.trim(), "rows", "33", "cols", width]);
        command::run(&mut stty, "", USUAL)?.ok()?;
        size = until_size(&mut terminal, "33x77")?;
    }
    s.is("size", size, "33x77")?;
    terminal.send("exit\n")?;
    s.is("exit code", terminal.close(SOON)?, 0)
}

fn signal_proxy(s: &mut Scene) -> Done {
    let line = s.run_line(
        &["--name", "box"],
        &[
            "sh",
            "-c",
            "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.1; done",
        ],
    );
    let mut docker = Command::new("/usr/bin/docker");
    docker.args(["--host", "unix:///run/docker.sock"]).args(line);
    let log = s.lab.dir.join("proxy.log");
    let file = std::fs::File::create(&log).map_err(|e| e.to_string())?;
    let mut child = docker
        .stdin(std::process::Stdio::null())
        .stdout(file)
        .spawn()
        .map_err(|e| e.to_string())?;
    let ready = s.until_logged("box", "ready");
    let pid = child.id().to_string();
    command::run(Command::new("kill").args(["-TERM", &pid]), "", USUAL)?.ok()?;
    let mut status = None;
    let ended = command::until("docker run ends", SOON, || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if ended.is_err() {
        child
            .kill()
            .and_then(|()| child.wait())
            .map_err(|e| e.to_string())?;
    }
    ready.and(ended)?;
    s.is("exit code", status.map_or(-1, command::shell_code), 9)?;
    s.is(
        "stdout",
        std::fs::read_to_string(&log).unwrap_or_default(),
        "ready\ngot\n",
    )
}

fn many_at_once(s: &mut Scene) -> Done {
    const COUNT: usize = 10;
    let outcomes: Vec<Result<Outcome, String>> = std::thread::scope(|scope| {
        let scene = &*s;
        let run = |n: usize| move || scene.run(&[], &format!("exit {n}"));
        let threads: Vec<_> = (0..COUNT).map(|n| scope.spawn(run(n))).collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap_or(Err("a thread ended badly".into())))
            .collect()
    });
    for (n, outcome) in outcomes.into_iter().enumerate() {
        let outcome = outcome?;
        s.is(
            &format!("exit code of {n}"),
            format!("{}{}", outcome.code, outcome.stderr),
            n,
        )?;
    }
    Ok(())
}

fn exec(s: &mut Scene) -> Done {
    s.start("box", &[], "exec sleep 600")?;
    let o = s.exec(&[], &["sh", "-c", "echo out; echo err >&2; exit 6"])?;
    s.is("exit code", o.code, 6)?;
    s.is("stdout", o.stdout, "out\n")?;
    s.is("stderr", o.stderr, "err\n")?;
    let o = s.exec(&[], &["sh", "-c", "kill -TERM $$"])?;
    s.is("exit code after a signal", o.code, 143)?;
    let mut docker = Command::new("/usr/bin/docker");
    docker.args(["--host", "unix:///run/docker.sock", "exec", "-i", "box", "cat"]);
    let o = command::run(&mut docker, "typed\n", USUAL)?;
    s.is("stdin comes back", o.stdout, "typed\n")?;
    let o = s.exec(&[], &["sh", "-c", "for n in mnt uts ipc pid net cgroup user; do [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n differs; done; [ \"$(cat /proc/1/cgroup)\" = \"$(cat /proc/self/cgroup)\" ] || echo another cgroup"])?;
    s.is("it is in the container's namespaces and cgroup", o.stdout, "")
}

fn exec_interactive(s: &mut Scene) -> Done {
    s.start("box", &[], "exec sleep 600")?;
    let mut terminal = Terminal::open(&format!("{} exec -it box sh -i", docker::TYPED))?;
    terminal.expect("# ", SOON)?;
    // The client tells the size after the start.
    s.is("size", until_size(&mut terminal, "40x100")?, "40x100")?;
    terminal.send("test -t 0 && test -t 1 && test -t 2 && echo $(tty) three'-'terminals\n")?;
    let shown = terminal.expect(" three-terminals", SOON)?;
    s.is("terminal", shown.ends_with("/dev/pts/0"), true)?;
    terminal.send("exit 8\n")?;
    s.is("exit code", terminal.close(SOON)?, 8)
}

/// Asks a shell at a terminal for its size until it is the wanted one, or for long enough.
fn until_size(terminal: &mut Terminal, wanted: &str) -> Result<String, String> {
    let mut size = String::new();
    for _ in 0..50 {
        // Quotes, so that the typed line, which comes back too, is not the answer.
        terminal.send("echo si''ze=$(stty size | tr ' ' x)=\n")?;
        terminal.expect("size=", SOON)?;
        size = terminal.expect("=", SOON)?;
        if size == wanted {
            break;
        }
    }
    Ok(size)
}

fn pause(s: &mut Scene) -> Done {
    s.start("box", &[], "n=0; while :; do n=$((n + 1)); echo $n >/tmp/n; done")?;
    s.until_exec("the counter", &["test", "-s", "/tmp/n"], "")?;
    s.docker_ok(&["pause", "box"])?;
    let state = s.inspect("box", "{{.State.Status}} {{.State.Paused}}")?;
    s.is("state", state, "paused true")?;
    let pid = s.inspect("box", "{{.State.Pid}}")?;
    let time = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ")
            .next()
            .unwrap_or_default()
            .split(' ')
            .skip(11)
            .take(2)
            .collect::<Vec<_>>()
            .join("+")
    };
    let before = time();
    // Two runs of another container are time enough for a busy loop to show itself.
    s.run(&[], "true")?;
    s.run(&[], "true")?;
    s.is("processor time stands still", before == time(), true)?;
    let o = s.exec(&[], &["true"])?;
    s.see("exec while paused", o.stderr);
    s.is("exec while paused is refused", o.code != 0, true)?;
    s.docker_ok(&["unpause", "box"])?;
    let state = s.inspect("box", "{{.State.Status}}")?;
    s.is("state afterwards", state, "running")?;
    command::until("it runs again", SOON, || before != time())?;
    s.docker_ok(&["pause", "box"])?;
    s.docker_ok(&["kill", "box"])
        .map(|_| ())
        .or_else(|e| if e.contains("paused") { Ok(()) } else { Err(e) })?;
    s.docker_ok(&["rm", "--force", "box"]).map(|_| ())
}

fn copy(s: &mut Scene) -> Done {
    let dir = s.share(&[("file", "in\n")])?;
    s.start("box", &[], "exec sleep 600")?;
    s.docker_ok(&["cp", &format!("{dir}/file"), "box:/tmp/file"])?;
    let o = s.exec(
        &[],
        &[
            "sh",
            "-c",
            "stat -c '%a %u' /tmp/file; cat /tmp/file; echo out >/tmp/back",
        ],
    )?;
    s.is("inside", o.stdout, "755 0\nin\n")?;
    s.docker_ok(&["cp", "box:/tmp/back", &format!("{dir}/back")])?;
    s.is(
        "outside",
        std::fs::read_to_string(format!("{dir}/back")).unwrap_or_default(),
        "out\n",
    )?;
    s.docker_ok(&["kill", "box"])?;
    s.docker_ok(&["cp", "box:/etc/debian_version", &format!("{dir}/version")])?;
    s.see(
        "from the dead",
        std::fs::read_to_string(format!("{dir}/version")).unwrap_or_default(),
    );
    Ok(())
}

fn publish(s: &mut Scene) -> Done {
    let server =
        "mkdir /www && echo hello from inside >/www/index.html && exec busybox httpd -f -p 80 -h /www";
    s.start(
        "box",
        &["--publish", "127.0.0.1:18080:80", "--network", "bridge"],
        server,
    )?;
    let mut answer = String::new();
    command::until("the server answers", SOON, || {
        answer = ask("127.0.0.1:18080").unwrap_or_default();
        answer.contains("hello from inside")
    })
    .map_err(|e| format!("{e}; it said {answer:?}"))?;
    let address = s.inspect("box", "{{.NetworkSettings.IPAddress}}")?;
    let direct = ask(&format!("{address}:80"))?;
    s.is(
        "at its own address",
        direct.ends_with("hello from inside\n"),
        true,
    )?;
    let o = s.run(&["--network", "container:box"], "busybox wget -q -O - http://127.0.0.1/ 2>/dev/null || perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(\"127.0.0.1:80\"); print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; print <$s>' | tail -n 1")?;
    s.is("from a neighbour", o.stdout, "hello from inside\n")
}

/// One HTTP request.
fn ask(address: &str) -> Result<String, String> {
    use std::io::{Read, Write};
    let told = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = TcpStream::connect(address).map_err(told)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .map_err(told)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    Ok(answer)
}

fn build(s: &mut Scene) -> Done {
    let dir = s.share(&[("Dockerfile", "FROM debian:bookworm\nRUN echo built >/built && id -u >>/built\nUSER 1000\nRUN id -u >/tmp/user\nCMD cat /built /tmp/user\n")])?;
    let mut docker = Command::new("/usr/bin/docker");
    docker.args([
        "--host",
        "unix:///run/docker.sock",
        "build",
        "--quiet",
        "--network",
        "none",
        "--tag",
        "engines-built",
        &dir,
    ]);
    docker.env("DOCKER_BUILDKIT", "0");
    command::run(&mut docker, "", Duration::from_secs(120))?.ok()?;
    let o = s.docker_ok(&["run", "--rm", "--network", "none", "engines-built"]);
    s.docker_ok(&["rmi", "--force", "engines-built"])?;
    s.is("stdout", o?, "built\n0\n1000")
}
