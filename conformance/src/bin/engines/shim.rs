//! What a shim does for containerd, through containerd's own client.
//!
//! May not: speak to a shim itself; `shimtest` does.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::case::{Case, Compare, Need, SOON, Scene};
use crate::command::{self, USUAL};
use crate::containerd::{run_line, start, start_line, status};
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
        case("ctr.which-shim", |s| {
            start(s, "exec sleep 600")?;
            let shim = parent(&pid(s, "box")?)?;
            let program = fs::read_link(format!("/proc/{shim}/exe")).map_err(|e| e.to_string())?;
            let expected = match &s.lab.shim {
                Some(path) if s.lab.is_shim_in_place => path.clone(),
                _ => PathBuf::from("/usr/bin/containerd-shim-runc-v2"),
            };
            // Not noted: the reference has another one.
            if program == expected {
                Ok(())
            } else {
                Err(format!(
                    "the shim is {}, expected {}",
                    program.display(),
                    expected.display()
                ))
            }
        }),
        case("ctr.oom-score-and-directory", |s| {
            start(s, "exec sleep 600")?;
            let shim = parent(&pid(s, "box")?)?;
            let of = |pid: &str| {
                let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap_or_default();
                text.trim().parse::<i32>().map_err(|e| e.to_string())
            };
            let daemon = s.lab.containerd.as_ref().map(|d| d.pid())?.to_string();
            s.is("more than containerd's", of(&shim)? - of(&daemon)?, 1)?;
            let cwd = fs::read_link(format!("/proc/{shim}/cwd")).map_err(|e| e.to_string())?;
            s.has("directory", cwd.display(), "/default/box")
        }),
        case("ctr.stdin", |s| {
            // `ctr run` of 1.6 does not pass on the end of its input; `ctr task exec` does.
            let line = run_line(s, &["--rm"], &["sh", "-c", "read line; echo got $line; exit 3"]);
            let o = command::run(&mut client(&line), "typed\n", USUAL)?;
            s.is("stdout", o.stdout, "got typed\n")?;
            s.is("exit code", o.code, 3)?;
            start(s, "exec sleep 600")?;
            let line = "task exec --exec-id one box sh -c".split(' ').map(str::to_owned);
            let line: Vec<String> = line.chain(["cat; echo end; exit 4".into()]).collect();
            let o = command::run(&mut client(&line), "typed\n", USUAL)?;
            s.is("stdout of an exec", o.stdout, "typed\nend\n")?;
            s.is("exit code of an exec", o.code, 4)
        }),
        case("ctr.big-output", |s| {
            let line = run_line(s, &["--rm"], &["head", "-c", "100000000", "/dev/zero"]);
            let script = "\"$@\" | wc -c";
            let mut ctr = Command::new("sh");
            ctr.args(["-c", script, "sh", "ctr", "--address", "/run/ctr/containerd.sock"])
                .args(line);
            let o = command::run(&mut ctr, "", USUAL)?.ok()?;
            s.is("bytes", o.trim(), 100_000_000)
        }),
        case("ctr.null-io", |s| {
            let script = "links=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); \
                 echo \"$links\" >/tmp/links; exec sleep 600";
            start(s, script)?;
            let links = until_file(s, "/tmp/links")?;
            exec(s, "tidy", &["rm", "/tmp/links"])?;
            s.is("links", links, "/dev/null\n/dev/null\n/dev/null\n")
        }),
        case("ctr.log-to-a-file", |s| {
            let log = s.lab.dir.join("logs/box.log");
            let uri = format!("file://{}", log.display());
            let o = start_line(
                s,
                &["--detach", "--log-uri", &uri],
                &["sh", "-c", "echo out; echo err >&2"],
            )?;
            s.is("exit code", o.code, 0)?;
            until_stopped(s, "box")?;
            s.lab.ctr(&["task", "delete", "box"])?;
            let mut lines: Vec<String> = read(&log)?.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            fs::remove_dir_all(s.lab.dir.join("logs")).map_err(|e| e.to_string())?;
            s.is("file", lines.join(" "), "err out")
        }),
        case("ctr.log-to-a-program", |s| {
            let dir = s.lab.dir.join("logger");
            fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
            let program = dir.join("program");
            // What runs in the background may not hold the end of the pipe that says "ready".
            let script = format!(
                "#!/bin/sh\ncd {}\ncat <&3 >out 5>&- &\ncat <&4 >err 5>&- &\n\
                 echo \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" >words\nexec 5>&-\nwait\n",
                dir.display()
            );
            fs::write(&program, script).map_err(|e| e.to_string())?;
            let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(&program, executable).map_err(|e| e.to_string())?;
            let uri = format!("binary://{}?key=value", program.display());
            let o = start_line(
                s,
                &["--detach", "--log-uri", &uri],
                &["sh", "-c", "echo out; echo err >&2"],
            )?;
            s.is("exit code", o.code, 0)?;
            until_stopped(s, "box")?;
            s.lab.ctr(&["task", "delete", "box"])?;
            let read = |name: &str| read(&dir.join(name));
            s.is("stdout", read("out")?, "out\n")?;
            s.is("stderr", read("err")?, "err\n")?;
            s.is("words", read("words")?, "box default key value\n")?;
            fs::remove_dir_all(&dir).map_err(|e| e.to_string())
        }),
        case("ctr.log-to-a-missing-program", |s| {
            let o = start_line(
                s,
                &["--detach", "--log-uri", "binary:///no/such/program"],
                &["true"],
            )?;
            s.is("refused", o.code != 0, true)?;
            s.has("message names it", o.stderr.contains("/no/such/program"), "true")
        }),
        case("ctr.attach", |s| {
            let line = run_line(
                s,
                &["--detach"],
                &["sh", "-c", "read line; echo got $line; exit 5"],
            );
            command::run(&mut client(&line), "", USUAL)?.ok()?;
            let attach = ["task".to_owned(), "attach".into(), "box".into()];
            let o = command::run(&mut client(&attach), "word\n", USUAL)?;
            s.is("stdout", o.stdout, "got word\n")?;
            s.is("exit code", o.code, 5)
        }),
        case("ctr.signals", |s| {
            let script = "trap 'echo int >>/tmp/heard' INT; trap 'echo usr1 >>/tmp/heard' USR1; \
                 rm -f /tmp/heard; echo >/tmp/ready; while :; do sleep 0.05; done";
            start(s, script)?;
            until_file(s, "/tmp/ready")?;
            for (signal, heard) in [("SIGINT", "int\n"), ("10", "int\nusr1\n")] {
                s.lab.ctr(&["task", "kill", "--signal", signal, "box"])?.ok()?;
                command::until("the signal is heard", SOON, || {
                    exec(s, "look", &["cat", "/tmp/heard"]).is_ok_and(|text| text == heard)
                })?;
            }
            exec(s, "tidy", &["rm", "-f", "/tmp/heard", "/tmp/ready"])?;
            let o = s.lab.ctr(&["task", "kill", "--signal", "SIGNONSENSE", "box"])?;
            s.is("nonsense is refused", o.code != 0, true)
        }),
        case("ctr.kill-an-exec", |s| {
            start(s, "exec sleep 600")?;
            s.lab
                .ctr(&[
                    "task",
                    "exec",
                    "--detach",
                    "--exec-id",
                    "one",
                    "box",
                    "sleep",
                    "601",
                ])?
                .ok()?;
            let list = s.lab.ctr(&["task", "ps", "box"])?.ok()?;
            s.is("the exec has its name in the list", list.contains("one"), true)?;
            s.lab
                .ctr(&["task", "kill", "--exec-id", "one", "--signal", "KILL", "box"])?
                .ok()?;
            command::until("the exec is gone", SOON, || {
                let list = s.lab.ctr(&["task", "ps", "box"]).and_then(|o| o.ok());
                list.is_ok_and(|list| !list.contains("one"))
            })?;
            s.has("state", status(s)?, "RUNNING")
        }),
        case("ctr.kill-the-dead", |s| {
            start(s, "exit 3")?;
            until_stopped(s, "box")?;
            let o = s.lab.ctr(&["task", "kill", "box"])?;
            s.is("exit code", o.code != 0, true)?;
            s.has("message", o.stderr, "process already finished: not found")
        }),
        case("ctr.terminal-resize", |s| {
            let line = run_line(s, &["--rm", "--tty"], &["sh", "-i"]).join(" ");
            let mut terminal = Terminal::open(&format!("{CTR_TYPED} {line}"))?;
            let device = terminal.expect("\n", SOON)?;
            terminal.expect("# ", SOON)?;
            let mut size = String::new();
            // A change that comes before the client listens for changes is lost: there is always another one.
            for width in ["76", "77", "76", "77", "76", "77"] {
                let mut stty = Command::new("stty");
                stty.args(["-F", device.trim(), "rows", "33", "cols", width]);
                command::run(&mut stty, "", USUAL)?.ok()?;
                terminal.send("stty size; echo 'E''ND'\n")?;
                size = terminal.expect("END", SOON)?;
            }
            let is_right = size.contains("33 77") || size.contains("33 76");
            s.is("size", is_right, true)?;
            terminal.send("exit\n")?;
            s.is("exit code", terminal.close(SOON)?, 0)
        }),
        case("ctr.metrics", |s| {
            start(
                s,
                "i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done; exec sleep 600",
            )?;
            let figures = || -> Result<(u64, u64, u64), String> {
                let text = s.lab.ctr(&["task", "metrics", "--format", "json", "box"])?.ok()?;
                let all: serde_json::Value =
                    serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
                let number = |paths: [&str; 2]| {
                    let found = paths.iter().find_map(|path| all.pointer(path));
                    let figure = found.and_then(serde_json::Value::as_u64);
                    figure.unwrap_or_default()
                };
                Ok((
                    number(["/pids/current", "/pids/current"]),
                    number(["/cpu/usage/total", "/cpu/usage_usec"]),
                    number(["/memory/usage/usage", "/memory/usage"]),
                ))
            };
            command::until("there are figures", SOON, || {
                figures().is_ok_and(|(pids, cpu, memory)| pids > 0 && cpu > 0 && memory > 0)
            })
            .map_err(|e| format!("{e}: {:?}", figures()))?;
            s.lab.ctr(&["task", "kill", "--signal", "KILL", "box"])?.ok()?;
            until_stopped(s, "box")?;
            s.is("there are figures after the exit", figures()?.1 > 0, true)
        }),
        case("ctr.lingering-child", |s| {
            start(s, "exec sleep 600")?;
            let began = Instant::now();
            let o = s.lab.ctr(&[
                "task",
                "exec",
                "--exec-id",
                "one",
                "box",
                "sh",
                "-c",
                "echo out; sleep 601 & exit 4",
            ])?;
            s.is("exit code", o.code, 4)?;
            s.is("stdout", o.stdout, "out\n")?;
            s.is("within 15 s", began.elapsed() < Duration::from_secs(15), true)
        }),
        case("ctr.group", |s| {
            let pair = [
                "--detach",
                "--null-io",
                "--annotation",
                "io.containerd.runc.v2.group=pair",
            ];
            start_line(s, &pair, &["sleep", "600"])?.ok()?;
            let mut other = run_line(s, &pair, &["sleep", "600"]);
            for word in &mut other {
                if word == "box" {
                    "box2".clone_into(word);
                }
            }
            command::run(&mut client(&other), "", USUAL)?.ok()?;
            let (one, two) = (parent(&pid(s, "box")?)?, parent(&pid(s, "box2")?)?);
            s.is("one shim for both", one == two, true)?;
            s.lab.ctr(&["task", "delete", "--force", "box"])?.ok()?;
            let list = s.lab.ctr(&["task", "list"])?.ok()?;
            s.is(
                "the other goes on",
                list.lines()
                    .any(|line| line.starts_with("box2") && line.contains("RUNNING")),
                true,
            )
        }),
        case("ctr.checkpoint", |s| {
            // CRIU does not start everywhere; where it does not, nothing may break.
            start(s, "exec sleep 600")?;
            let o = s.lab.ctr(&["task", "checkpoint", "box"])?;
            if o.code != 0 {
                s.is("it says why", o.stderr.is_empty(), false)?;
                s.has("state", status(s)?, "RUNNING")?;
            }
            Ok(())
        }),
        case("ctr.out-of-memory", |s| {
            let events = Events::listen(s)?;
            let flags = ["--rm", "--memory-limit", "25165824"];
            let o = start_line(s, &flags, &["sh", "-c", "tail /dev/zero; echo $?"])?;
            s.has("stdout", o.stdout, "137")?;
            events.until(s, "/tasks/oom", 1)
        }),
        case("ctr.events", |s| {
            let events = Events::listen(s)?;
            start(s, "exec sleep 600")?;
            exec(s, "one", &["true"])?;
            s.lab.ctr(&["task", "pause", "box"])?.ok()?;
            s.lab.ctr(&["task", "resume", "box"])?.ok()?;
            s.lab.ctr(&["task", "kill", "--signal", "KILL", "box"])?.ok()?;
            until_stopped(s, "box")?;
            s.lab.ctr(&["task", "delete", "box"])?;
            events.until(s, "/tasks/delete", 1)?;
            let mut topics = events.topics()?;
            // A shim may say that an exec was deleted.
            topics.retain(|topic| topic != "/tasks/delete one");
            s.is(
                "topics",
                topics.join("\n"),
                "/tasks/create\n/tasks/start\n/tasks/exec-added\n/tasks/exec-started\n/tasks/exit one\n\
                 /tasks/paused\n/tasks/resumed\n/tasks/exit\n/tasks/delete",
            )
        }),
        case("ctr.many-at-once", |s| {
            let lines: Vec<Vec<String>> = (0..20)
                .map(|n| {
                    let line = run_line(s, &["--rm"], &["sh", "-c", "echo out; exit 3"]);
                    let named = line
                        .into_iter()
                        .map(|word| if word == "box" { format!("box{n}") } else { word });
                    named.collect()
                })
                .collect();
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = lines
                    .iter()
                    .map(|line| scope.spawn(|| command::run(&mut client(line), "", USUAL)))
                    .collect();
                threads
                    .into_iter()
                    .map(std::thread::ScopedJoinHandle::join)
                    .collect()
            });
            for outcome in outcomes {
                let o = outcome.map_err(|_| "the thread failed")??;
                s.is(
                    "stdout and exit code",
                    format!("{}{}", o.stdout, o.code),
                    "out\n3",
                )?;
            }
            Ok(())
        }),
        case("ctr.outage-of-the-daemon", |s| {
            let line = run_line(
                s,
                &["--detach", "--null-io"],
                &["sh", "-c", "trap 'exit 7' USR1; while :; do sleep 0.1; done"],
            );
            let mut other = line.clone();
            for word in &mut other {
                if word == "box" {
                    "gone".clone_into(word);
                }
            }
            command::run(&mut client(&line), "", USUAL)?.ok()?;
            command::run(&mut client(&other), "", USUAL)?.ok()?;
            let gone = pid(s, "gone")?;
            let shim = parent(&pid(s, "box")?)?;
            s.lab.containerd.as_ref()?.outage(|| {
                command::run(Command::new("kill").args(["-KILL", &gone]), "", USUAL)?.ok()?;
                command::until("it is dead", SOON, || {
                    !Path::new(&format!("/proc/{gone}/exe")).exists()
                })
            })?;
            s.has("state after the outage", status(s)?, "RUNNING")?;
            until_stopped(s, "gone")?;
            let o = s.lab.ctr(&["task", "delete", "gone"])?;
            s.has("exit during the outage", o.stderr, "non-zero exit code 137")?;
            s.is("the same shim", parent(&pid(s, "box")?)? == shim, true)?;
            let events = Events::listen(s)?;
            s.is("exec", exec(s, "one", &["echo", "text"])?, "text\n")?;
            s.lab.ctr(&["task", "kill", "--signal", "USR1", "box"])?.ok()?;
            until_stopped(s, "box")?;
            events.until(s, "/tasks/exit", 1)?;
            let o = s.lab.ctr(&["task", "delete", "box"])?;
            s.has("exit after the outage", o.stderr, "non-zero exit code 7")
        }),
        case("ctr.shim-killed", |s| {
            let events = Events::listen(s)?;
            start(s, "exec sleep 600")?;
            let init = pid(s, "box")?;
            let shim = parent(&init)?;
            command::run(Command::new("kill").args(["-KILL", &shim]), "", USUAL)?.ok()?;
            events.until(s, "/tasks/exit", 1)?;
            command::until("the container's process is gone", SOON, || {
                !Path::new(&format!("/proc/{init}/exe")).exists()
            })?;
            command::until("the task is gone or stopped", SOON, || {
                status(s).is_ok_and(|state| state != "RUNNING")
            })?;
            s.lab.ctr(&["task", "delete", "--force", "box"])?;
            s.lab.ctr(&["containers", "delete", "box"])?.ok()?;
            // Nobody else would remove the socket of a killed shim; the next one of this name takes its place.
            start(s, "exec sleep 600")?;
            s.has("another one of the name", status(s)?, "RUNNING")
        }),
        case("ctr.shim-ends-with-its-last-task", |s| {
            start(s, "exec sleep 600")?;
            let shim = parent(&pid(s, "box")?)?;
            s.lab.ctr(&["task", "delete", "--force", "box"])?.ok()?;
            command::until("the shim is gone", SOON, || {
                !Path::new(&format!("/proc/{shim}")).exists()
            })?;
            // The socket is looked for with the rest that may be left.
            Ok(())
        }),
    ]
}

fn client(line: &[String]) -> Command {
    let mut ctr = Command::new("ctr");
    ctr.args(["--address", "/run/ctr/containerd.sock"]).args(line);
    ctr
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a program in the container prints, when it succeeds.
fn exec(s: &Scene, name: &str, words: &[&str]) -> Result<String, String> {
    let mut line = vec!["task", "exec", "--exec-id", name, "box"];
    line.extend(words);
    let o = s.lab.ctr(&line)?;
    if o.code == 0 {
        return Ok(o.stdout);
    }
    Err(format!("exit code {}: {}", o.code, o.stderr))
}

/// Waits for a file in the container, and says what is in it.
fn until_file(s: &Scene, path: &str) -> Result<String, String> {
    let mut text = Err(String::new());
    command::until("the file is there", SOON, || {
        text = exec(s, "look", &["cat", path]);
        text.is_ok()
    })?;
    text
}

fn until_stopped(s: &Scene, id: &str) -> Done {
    command::until("it is stopped", SOON, || {
        let list = s.lab.ctr(&["task", "list"]).and_then(|o| o.ok());
        let is_stopped = |line: &str| line.split_whitespace().next() == Some(id) && line.contains("STOPPED");
        list.is_ok_and(|list| list.lines().any(is_stopped))
    })
}

/// The pid of a task.
fn pid(s: &Scene, id: &str) -> Result<String, String> {
    let list = s.lab.ctr(&["task", "list"])?.ok()?;
    let mut words = list.lines().map(str::split_whitespace);
    let mut own = words
        .find_map(|mut words| (words.next() == Some(id)).then_some(words))
        .ok_or(format!("there is no task {id}"))?;
    own.next().map(str::to_owned).ok_or("it has no pid".into())
}

/// The parent of a process: for a container's first one, the shim.
fn parent(pid: &str) -> Result<String, String> {
    let stat = read(Path::new(&format!("/proc/{pid}/stat")))?;
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    let parent = after.split(' ').nth(1).ok_or("no parent")?;
    Ok(parent.to_owned())
}

/// containerd's own report of what happens, from a moment on.
struct Events {
    child: Child,
    file: PathBuf,
}

impl Events {
    /// When this is over, nothing is missed.
    fn listen(s: &Scene) -> Result<Events, String> {
        let file = s.lab.dir.join("events");
        let output = File::create(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let mut ctr = client(&["events".to_owned()]);
        let child = ctr
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("ctr events: {e}"))?;
        let events = Events { child, file };
        let mut n = 0;
        command::until("events are heard", SOON, || {
            n += 1;
            let label = format!("heard={n}");
            s.lab.ctr(&["namespaces", "label", "default", &label]).is_ok()
                && read(&events.file).is_ok_and(|text| text.contains("/namespaces/update"))
        })?;
        Ok(events)
    }

    /// The topics of the tasks' events, each with the exec that it is about.
    fn topics(&self) -> Result<Vec<String>, String> {
        let mut topics = Vec::new();
        for line in read(&self.file)?.lines() {
            let Some(at) = line.find(" /tasks/") else { continue };
            let (topic, event) = line[at + 1..].split_once(' ').unwrap_or_default();
            let event: serde_json::Value = serde_json::from_str(event).map_err(|e| format!("{line}: {e}"))?;
            let name = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let is_of_exec =
                matches!(topic, "/tasks/exit" | "/tasks/delete") && name("id") != name("container_id");
            if is_of_exec && !name("id").is_empty() {
                topics.push(format!("{topic} {}", name("id")));
            } else {
                topics.push(topic.to_owned());
            }
        }
        Ok(topics)
    }

    /// Waits until an event has come so often, then says how often.
    fn until(&self, s: &mut Scene, topic: &str, times: usize) -> Done {
        let count = || {
            self.topics()
                .map(|all| all.iter().filter(|other| *other == topic).count())
        };
        command::until(&format!("{topic} is heard"), SOON, || {
            count().is_ok_and(|n| n >= times)
        })
        .map_err(|e| format!("{e}; there were {:?}", self.topics()))?;
        s.is(&format!("how often {topic}"), count()?, times)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(e) = ended {
            eprintln!("engines: ctr events: {e}");
        }
    }
}
