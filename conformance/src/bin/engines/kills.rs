//! The shim is killed at every point of a container's life, and containerd has to clean up with what it is given.
//!
//! May not: wait for what does not happen, or leave anything for the next point.
//!
//! Between the shim and the runtime stands a script that kills its parent before, during or after a command of the
//! runtime, once, when a file says so. So the points are hit each time, and not now and then.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::command::{self, Outcome, USUAL};
use crate::lab::Lab;
use crate::leaks::{self, Survey};

type Done = Result<(), String>;

/// For containerd to notice that a shim is gone and to clean up. Its own limit for the shim's command is five seconds.
const CLEAN: Duration = Duration::from_secs(20);

/// Where clients make the FIFOs of their containers.
const FIFOS: &str = "/run/containerd/fifo";

/// What says where to kill.
const POINT: &str = "point";

struct Point {
    name: &'static str,
    /// Brings a container to the point, and kills its shim there.
    act: fn(&Ground) -> Done,
}

const fn point(name: &'static str, act: fn(&Ground) -> Done) -> Point {
    Point { name, act }
}

fn points() -> Vec<Point> {
    vec![
        point("start: the server is seen first", |g| g.in_start(Duration::ZERO)),
        point("start: 2 ms later", |g| g.in_start(Duration::from_millis(2))),
        point("start: 10 ms later", |g| g.in_start(Duration::from_millis(10))),
        point("before create", |g| g.in_run("before create")),
        point("during create, at once", |g| g.in_run("during create 0")),
        point("during create, 2 ms", |g| g.in_run("during create 0.002")),
        point("during create, 5 ms", |g| g.in_run("during create 0.005")),
        point("during create, 10 ms", |g| g.in_run("during create 0.01")),
        point("after create", |g| g.in_run("after create")),
        point("before start", |g| g.in_run("before start")),
        point("during start", |g| g.in_run("during start 0")),
        point("after start", |g| g.in_run("after start")),
        point("running", |g| {
            g.start("box", &[])?;
            g.kill_shim("box")
        }),
        point("running, its output is read", in_foreground),
        point("running, two containers in one shim", |g| {
            let pair = ["--annotation", "io.containerd.runc.v2.group=pair"];
            g.start("other", &pair)?;
            g.start("box", &pair)?;
            if parent(g.pid("other")?)? != parent(g.pid("box")?)? {
                return Err("they have two shims".into());
            }
            g.kill_shim("box")
        }),
        point("running, with an exec", |g| {
            g.start("box", &[])?;
            let exec = [
                "task",
                "exec",
                "--detach",
                "--exec-id",
                "one",
                "box",
                "sleep",
                "86400",
            ];
            g.lab.ctr(&exec)?.ok()?;
            g.kill_shim("box")
        }),
        point("paused", |g| {
            g.start("box", &[])?;
            g.lab.ctr(&["task", "pause", "box"])?.ok()?;
            g.kill_shim("box")
        }),
        point("before exec", |g| g.in_exec("before exec")),
        point("during exec", |g| g.in_exec("during exec 0.002")),
        point("after exec", |g| g.in_exec("after exec")),
        point("before kill", |g| g.in_kill("before kill")),
        point("after kill", |g| g.in_kill("after kill")),
        point("stopped", |g| {
            g.start("box", &[])?;
            let shim = parent(g.pid("box")?)?;
            g.stop("box")?;
            kill(shim)
        }),
        point("before delete", |g| g.in_delete("before delete")),
        point("during delete", |g| g.in_delete("during delete 0")),
        point("after delete", |g| g.in_delete("after delete")),
    ]
}

/// Kills at every point.
pub fn run(lab: &Lab) -> Done {
    let ground = Ground::prepare(lab)?;
    let (mut failed, mut longest) = (0, Duration::ZERO);
    let all = points();
    for point in &all {
        match ground.play(point) {
            Ok(time) => longest = longest.max(time),
            Err(why) => {
                failed += 1;
                println!("FAIL shim killed: {}: {why}", point.name);
                ground.tidy();
            }
        }
    }
    println!(
        "shim killed at {} points: {failed} failed, clean after at most {:.1} s",
        all.len(),
        longest.as_secs_f64()
    );
    if failed == 0 {
        Ok(())
    } else {
        Err(format!("{failed} kills of a shim were not cleaned up"))
    }
}

struct Ground<'a> {
    lab: &'a Lab,
    dir: PathBuf,
    /// The script that stands before the runtime.
    runtime: PathBuf,
}

impl<'a> Ground<'a> {
    fn prepare(lab: &'a Lab) -> Result<Ground<'a>, String> {
        let dir = lab.dir.join("kills");
        fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let runtime = dir.join("runb");
        let script = format!(
            r#"#!/bin/sh
point={point}
verb=
for word; do
    case $word in create | start | exec | kill | delete) verb=$word; break ;; esac
done
read -r when what pause 2>/dev/null <"$point" || true
[ -n "$what" ] && [ "$what" = "$verb" ] || exec {real} "$@"
rm "$point"
case $when in
before) kill -KILL $PPID; exit 1 ;;
during)
    # Nobody's child, so that the runtime finds none that it did not make.
    ( (sleep "$pause"; kill -KILL $PPID) </dev/null >/dev/null 2>&1 & )
    exec {real} "$@" ;;
esac
code=0
{real} "$@" || code=$?
kill -KILL $PPID
exit $code
"#,
            point = dir.join(POINT).display(),
            real = lab.subject.display()
        );
        fs::write(&runtime, script).map_err(|e| format!("{}: {e}", runtime.display()))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&runtime, executable).map_err(|e| format!("{}: {e}", runtime.display()))?;
        Ok(Ground { lab, dir, runtime })
    }

    /// How long it took from the kill until everything was clean.
    fn play(&self, point: &Point) -> Result<Duration, String> {
        let (before, files) = (leaks::survey(&self.lab.dir), files());
        (point.act)(self)?;
        if self.dir.join(POINT).exists() {
            return Err("the point was never reached".into());
        }
        let began = Instant::now();
        self.until_dead(&before)?;
        let time = began.elapsed();
        self.forget()?;
        self.until_clean(&before, &files)?;
        self.another()?;
        self.until_clean(&before, &files)
            .map_err(|e| format!("after another one: {e}"))?;
        println!("ok   shim killed: {} ({:.1} s)", point.name, time.as_secs_f64());
        Ok(time)
    }

    /// By containerd alone: no process, no mount, no cgroup, and no task that seems to run.
    fn until_dead(&self, before: &Survey) -> Done {
        let mut left = Vec::new();
        let mut tasks = String::new();
        command::until("containerd has cleaned up", CLEAN, || {
            left = leaks::left(before, &self.lab.dir);
            left.retain(|line| !line.starts_with("state "));
            tasks = self.tasks();
            left.is_empty() && tasks.lines().skip(1).all(|line| line.contains("STOPPED"))
        })
        .map_err(|e| format!("{e}: {left:?}, tasks: {tasks}"))
    }

    /// What a client does about a container whose task has been lost. containerd refuses while it is still cleaning up.
    fn forget(&self) -> Done {
        let mut last = String::new();
        command::until("the containers are deleted", CLEAN, || {
            let list = self
                .lab
                .ctr(&["containers", "list", "--quiet"])
                .and_then(Outcome::ok);
            let Ok(list) = list else { return false };
            for id in list.split_whitespace() {
                // There may be no task any more.
                let _ = self.lab.ctr(&["tasks", "delete", "--force", id]);
                let deleted = self.lab.ctr(&["containers", "delete", id]).and_then(Outcome::ok);
                last = deleted.err().unwrap_or_default();
            }
            list.is_empty()
        })
        .map_err(|e| format!("{e}: {last}"))
    }

    fn until_clean(&self, before: &Survey, known: &BTreeSet<PathBuf>) -> Done {
        let mut left = Vec::new();
        command::until("nothing is left", CLEAN, || {
            left = leaks::left(before, &self.lab.dir);
            let own = files()
                .into_iter()
                .filter(|path| !is_fifo(path) && !known.contains(path));
            left.extend(own.map(|path| path.display().to_string()));
            left.is_empty()
        })
        .map_err(|e| format!("{e}: {left:?}"))
    }

    /// A new container of the same name, from beginning to end.
    fn another(&self) -> Done {
        let o = self.run("box", &["--rm"], "echo out; exit 3")?;
        if (o.code, o.stdout.as_str()) == (3, "out\n") {
            return Ok(());
        }
        Err(format!("another one of the name: {o:?}"))
    }

    /// After a failure: for the next point.
    fn tidy(&self) {
        let _ = fs::remove_file(self.dir.join(POINT));
        if let Err(e) = self.forget() {
            eprintln!("engines: {e}");
        }
    }

    fn run(&self, id: &str, flags: &[&str], script: &str) -> Result<Outcome, String> {
        let (runtime, rootfs) = (
            self.runtime.display().to_string(),
            self.lab.rootfs().display().to_string(),
        );
        let mut line = vec![
            "run",
            "--runc-binary",
            &runtime,
            "--runc-root",
            "/run/ctr/runtime-root",
        ];
        line.extend(["--env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        line.extend(flags);
        line.extend(["--rootfs", &rootfs, id, "sh", "-c", script]);
        self.lab.ctr(&line)
    }

    fn start(&self, id: &str, flags: &[&str]) -> Done {
        let flags: Vec<&str> = ["--detach", "--null-io"].iter().chain(flags).copied().collect();
        self.run(id, &flags, "exec sleep 86400")?.ok().map(drop)
    }

    fn arm(&self, point: &str) -> Done {
        fs::write(self.dir.join(POINT), format!("{point}\n")).map_err(|e| format!("{POINT}: {e}"))
    }

    /// The client may or may not be told of a failure; it must be told something.
    fn in_run(&self, point: &str) -> Done {
        self.arm(point)?;
        self.run("box", &["--detach", "--null-io"], "exec sleep 86400")
            .map(drop)
    }

    fn in_exec(&self, point: &str) -> Done {
        self.start("box", &[])?;
        self.arm(point)?;
        let exec = ["task", "exec", "--exec-id", "one", "box", "sleep", "86400"];
        self.lab.ctr(&exec).map(drop)
    }

    fn in_kill(&self, point: &str) -> Done {
        self.start("box", &[])?;
        self.arm(point)?;
        self.lab
            .ctr(&["task", "kill", "--signal", "KILL", "box"])
            .map(drop)
    }

    fn in_delete(&self, point: &str) -> Done {
        self.start("box", &[])?;
        self.stop("box")?;
        self.arm(point)?;
        self.lab.ctr(&["task", "delete", "box"]).map(drop)
    }

    /// Kills the server as soon as there is one, or a moment later.
    fn in_start(&self, later: Duration) -> Done {
        std::thread::scope(|scope| {
            let running = scope.spawn(|| self.run("box", &["--detach", "--null-io"], "exec sleep 86400"));
            let mut found = None;
            while found.is_none() && !running.is_finished() {
                found = self.server();
            }
            std::thread::park_timeout(later);
            let killed = found.ok_or("no server was seen".to_owned()).and_then(kill);
            let outcome = running.join().unwrap_or(Err("the thread failed".into()));
            killed.and(outcome.map(drop))
        })
    }

    /// A process of the shim's program that listens.
    fn server(&self) -> Option<u32> {
        let shim = self
            .lab
            .shim
            .as_deref()
            .and_then(Path::file_name)?
            .to_string_lossy()
            .into_owned();
        let name: String = shim.chars().take(15).collect();
        let all = leaks::processes().into_iter();
        let mut servers = all.filter(|(pid, own)| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let is_command = words
                .split(|b| *b == 0)
                .any(|word| word == b"start" || word == b"delete");
            *own == name && !words.is_empty() && !is_command
        });
        servers.next().map(|(pid, _)| pid)
    }

    fn stop(&self, id: &str) -> Done {
        self.lab.ctr(&["task", "kill", "--signal", "KILL", id])?.ok()?;
        command::until("it is stopped", USUAL, || self.tasks().contains("STOPPED"))
    }

    fn kill_shim(&self, id: &str) -> Done {
        kill(parent(self.pid(id)?)?)
    }

    fn tasks(&self) -> String {
        let listed = self.lab.ctr(&["task", "list"]).and_then(Outcome::ok);
        listed.unwrap_or_else(|e| format!("\n{e}"))
    }

    fn pid(&self, id: &str) -> Result<u32, String> {
        pid_in(&self.tasks(), id)
    }
}

/// The client that shows a container's output must learn that it is over.
fn in_foreground(g: &Ground) -> Done {
    std::thread::scope(|scope| {
        let script = "while :; do echo out; sleep 0.01; done";
        let showing = scope.spawn(|| g.run("box", &[], script));
        let mut pid = Err(String::new());
        command::until("it runs", USUAL, || {
            pid = g.pid("box");
            pid.is_ok() && g.tasks().contains("RUNNING")
        })?;
        kill(parent(pid?)?)?;
        showing
            .join()
            .unwrap_or(Err("the thread failed".into()))
            .map(drop)
    })
}

/// The pid in a list of tasks.
pub fn pid_in(tasks: &str, id: &str) -> Result<u32, String> {
    let own = tasks
        .lines()
        .find(|line| line.split_whitespace().next() == Some(id));
    let word = own.and_then(|line| line.split_whitespace().nth(1));
    word.and_then(|word| word.parse().ok())
        .ok_or(format!("there is no task {id}: {tasks}"))
}

/// The parent of a process: for a container's first one, the shim.
pub fn parent(pid: u32) -> Result<u32, String> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
    let after = stat.rsplit_once(") ").map(|(_, after)| after).unwrap_or_default();
    let word = after.split(' ').nth(1).unwrap_or_default();
    word.parse().map_err(|e| format!("{path}: {e}"))
}

pub fn kill(pid: u32) -> Done {
    let mut kill = Command::new("kill");
    kill.args(["-KILL", &pid.to_string()]);
    command::run(&mut kill, "", USUAL)?.ok().map(drop)
}

/// Whether it is a directory of FIFOs. They are the client's: one that has gone, or loses its task, leaves them.
pub fn is_fifo(path: &Path) -> bool {
    path.starts_with(FIFOS)
}

/// What containerd and its clients keep of a container in files.
pub fn files() -> BTreeSet<PathBuf> {
    let places = [
        "/run/ctr/runtime-root/default",
        "/run/ctr/state/io.containerd.runtime.v2.task/default",
        FIFOS,
    ];
    let entries = places.iter().filter_map(|dir| fs::read_dir(dir).ok());
    entries.flatten().flatten().map(|entry| entry.path()).collect()
}
