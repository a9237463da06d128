//! Terminals: the console socket, /dev/console, sizes, and what becomes of the caller's own terminal.

use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Need, Step};
use crate::kernel;
use crate::world::{Call, Trouble, World, find_done, require};

fn with_terminal(s: &mut crate::config::Setup, args: &[&str]) {
    s.set("/process/terminal", json!(true));
    let mut all = vec!["out", "/tmp/said", "--"];
    all.extend(args);
    s.args(&all);
}

/// What the probe wrote to /tmp/said.
fn said(w: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(w.in_rootfs("/tmp/said")).unwrap_or_default();
    text.lines()
        .filter_map(|l| serde_json::from_str(l).ok())
        .collect()
}

fn reported(w: &mut World) -> Result<Value, Trouble> {
    w.until(10, "the report from the terminal", |w| {
        said(w).iter().find_map(|l| l.get("report").cloned())
    })
}

fn did(w: &mut World, words: &[&str]) -> Result<Value, Trouble> {
    w.until(10, &format!("{words:?}"), |w| find_done(&said(w), words))
}

/// Everything that can be read from a terminal's master without waiting longer than half a second.
fn drain(master: &OwnedFd) -> Result<String, Trouble> {
    let mut file = std::fs::File::from(master.try_clone()?);
    let mut text = Vec::new();
    while kernel::poll_readable(&[master.as_raw_fd()], Duration::from_millis(500))? == [true] {
        let mut buf = [0u8; 4096];
        match file.read(&mut buf) {
            Ok(0) | Err(_) => break,
            Ok(n) => text.extend_from_slice(&buf[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

struct Console {
    listener: UnixListener,
    path: String,
}

impl Console {
    fn new(w: &World) -> Result<Self, Trouble> {
        let path = w.scratch("console.sock");
        let listener = UnixListener::bind(&path)?;
        Ok(Console {
            listener,
            path: path.to_string_lossy().into_owned(),
        })
    }

    fn receive(&self) -> Result<(OwnedFd, String), Trouble> {
        if kernel::poll_readable(&[self.listener.as_raw_fd()], crate::patience::seconds(5))? != [true] {
            return Err(Trouble::Fail("nobody connected to the console socket".into()));
        }
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(crate::patience::seconds(5)))?;
        Ok(kernel::receive_descriptor(&stream)?)
    }
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "terminal.console-socket",
        clause: "reference --console-socket: the master by SCM_RIGHTS with a name; config.md#process terminal",
        config: |s| with_terminal(s, &["report", "--", "stat", "/dev/console", "--", "sleep"]),
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            require(&out)?;
            let (master, name) = console.receive()?;
            w.is(!name.is_empty(), "the message has no name");
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let report = reported(w)?;
            for fd in 0..3 {
                w.eq(
                    &format!("major of descriptor {fd}"),
                    &report["stdio"][fd]["major"],
                    136,
                );
            }
            let stat = did(w, &["stat", "/dev/console"])?;
            w.eq(
                "/dev/console",
                [&stat["value"]["type"], &stat["value"]["major"]],
                ["char".into(), json!(136)],
            );
            w.is(
                kernel::window_size(master.as_raw_fd()).is_ok(),
                "what was sent is no terminal",
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.is-controlling",
        clause: "config.md#process terminal: it controls the program's session",
        config: |s| with_terminal(s, &["open", "rw", "/dev/tty", "--", "report", "--", "sleep"]),
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            require(&out)?;
            let _master = console.receive()?;
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let open = did(w, &["open", "rw", "/dev/tty"])?;
            w.eq("errno of open /dev/tty", &open["errno"], 0);
            let report = reported(w)?;
            w.eq("session", &report["sid"], 1);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.size",
        clause: "config.md#process consoleSize",
        config: |s| {
            with_terminal(s, &["report", "--", "sleep"]);
            s.set("/process/consoleSize", json!({"height": 31, "width": 97}));
        },
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            require(&out)?;
            let (master, _) = console.receive()?;
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let report = reported(w)?;
            w.eq("size inside", &report["stdio"][0]["winsize"], [31, 97]);
            let outside = kernel::window_size(master.as_raw_fd())?;
            w.eq("size outside", [outside.0, outside.1], [31, 97]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.for-a-user",
        clause: "reference: the terminal belongs to the program's user",
        config: |s| {
            with_terminal(s, &["report", "--", "open", "rw", "/dev/pts/0", "--", "sleep"]);
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        },
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            require(&out)?;
            let _master = console.receive()?;
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let report = reported(w)?;
            w.eq("owner of stdin", &report["stdio"][0]["uid"], 1000);
            let open = did(w, &["open"])?;
            w.eq("errno of opening it again", &open["errno"], 0);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.detached-needs-a-socket",
        clause: "reference: create and run --detach with a terminal need --console-socket",
        config: |s| with_terminal(s, &["sleep"]),
        steps: &[
            Step::Fails(&Step::Create, &["console"]),
            Step::Fails(&Step::RunWith(&["--detach"]), &["console"]),
        ],
        ..Case::IDLE
    },
    Case {
        id: "terminal.socket-without-terminal",
        clause: "reference: --console-socket without terminal is an error",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            w.is(!out.ok(), "create succeeded");
            w.mentions(&out, &["console"]);
            w.nothing_made();
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.socket-that-nobody-serves",
        clause: "safety: a console socket without listener is an error and leaves nothing",
        config: |s| with_terminal(s, &["sleep"]),
        steps: &[Step::Fails(
            &Step::CreateWith(&["--console-socket", "/no/such/socket"]),
            &["no such file"],
        )],
        ..Case::IDLE
    },
    Case {
        id: "terminal.foreground",
        clause: "reference: run with a terminal relays it, raw, and restores it",
        config: |s| {
            s.set("/process/terminal", json!(true));
            s.args(&["echo", "hello from inside", "--", "exit", "7"]);
        },
        steps: &[Step::Do(|w| {
            let (master, slave) = kernel::open_terminal()?;
            let keep = slave.try_clone()?;
            let before = kernel::terminal_flags(keep.as_raw_fd())?;
            let call = w.launching("run", &[])?.terminal(slave);
            let out = w.call(call)?;
            w.eq("exit status", out.code, 7);
            let text = drain(&master)?;
            w.contains("the terminal", &text, &["hello from inside"]);
            let after = kernel::terminal_flags(keep.as_raw_fd())?;
            w.is(
                before == after,
                format!("the terminal's flags were {before:?} and are {after:?}"),
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.foreground-input",
        clause: "reference: run with a terminal relays what is typed",
        config: |s| {
            s.set("/process/terminal", json!(true));
            s.args(&["echo", "ready", "--", "read", "/dev/stdin"]);
        },
        steps: &[Step::Do(|w| {
            use std::io::Write;
            let (master, slave) = kernel::open_terminal()?;
            let call = w.launching("run", &[])?.terminal(slave);
            let running = w.spawn(call)?;
            let mut text = String::new();
            while !text.contains("ready") {
                let more = drain(&master)?;
                if more.is_empty() {
                    return Err(Trouble::Fail(format!(
                        "nothing came from the terminal but {text:?}"
                    )));
                }
                text.push_str(&more);
            }
            std::fs::File::from(master.try_clone()?).write_all(b"typed\n")?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 0);
            let text = drain(&master)?;
            w.contains("what the program read", &text, &["\"value\":\"typed"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.foreground-restored-after-kill",
        clause: "safety: the caller's terminal is restored however the container ends",
        config: |s| {
            s.set("/process/terminal", json!(true));
            s.args(&["echo", "ready", "--", "sleep"]);
        },
        steps: &[Step::Do(|w| {
            let (master, slave) = kernel::open_terminal()?;
            let keep = slave.try_clone()?;
            let before = kernel::terminal_flags(keep.as_raw_fd())?;
            let call = w.launching("run", &[])?.terminal(slave);
            let running = w.spawn(call)?;
            w.wait(Cond::Status("running"), 10)?;
            let _ = drain(&master)?;
            let id = w.id.clone();
            w.succeed(&["kill", &id, "KILL"])?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 137);
            let after = kernel::terminal_flags(keep.as_raw_fd())?;
            w.is(
                before == after,
                format!("the terminal's flags were {before:?} and are {after:?}"),
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.resize",
        clause: "reference: run follows the size of the caller's terminal",
        config: |s| {
            // The first signal may be that of the size at the start.
            let once = ["--", "await", "5", "--", "report"];
            let mut args = vec!["trap", "28", "--", "echo", "trapped"];
            for _ in 0..3 {
                args.extend(once);
            }
            with_terminal(s, &args);
        },
        steps: &[Step::Do(|w| {
            let (master, slave) = kernel::open_terminal()?;
            kernel::set_window_size(master.as_raw_fd(), 20, 50)?;
            let call = w.launching("run", &[])?.terminal(slave);
            let running = w.spawn(call)?;
            did(w, &["echo", "trapped"])?;
            kernel::set_window_size(master.as_raw_fd(), 41, 133)?;
            w.until(10, "a report of the new size", |w| {
                let seen = |l: &Value| l["report"]["stdio"][0]["winsize"] == json!([41, 133]);
                said(w).iter().any(seen).then_some(())
            })?;
            let id = w.id.clone();
            w.succeed(&["kill", &id, "KILL"])?;
            running.wait().map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.exec",
        clause: "reference exec --tty --console-socket --detach, as containerd calls it",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Status("running"), 5),
            Step::Do(|w| {
                let console = Console::new(w)?;
                let pid_file = w.scratch("exec.pid").to_string_lossy().into_owned();
                let flags = [
                    "--tty",
                    "--detach",
                    "--console-socket",
                    &console.path,
                    "--pid-file",
                    &pid_file,
                ];
                let out = w.exec(
                    &flags,
                    &["/probe", "out", "/tmp/said", "--", "report", "--", "sleep"],
                )?;
                require(&out)?;
                let (master, _) = console.receive()?;
                let report = reported(w)?;
                w.eq("major of stdin", &report["stdio"][0]["major"], 136);
                w.is(
                    kernel::window_size(master.as_raw_fd()).is_ok(),
                    "what was sent is no terminal",
                );
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "terminal.exec-foreground",
        clause: "reference exec --tty in the foreground",
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Status("running"), 5),
            Step::Do(|w| {
                let (master, slave) = kernel::open_terminal()?;
                let keep = slave.try_clone()?;
                let before = kernel::terminal_flags(keep.as_raw_fd())?;
                let id = w.id.clone();
                let out = w.call(
                    Call::new(&[
                        "exec",
                        "-t",
                        &id,
                        "/probe",
                        "echo",
                        "from exec",
                        "--",
                        "exit",
                        "5",
                    ])
                    .terminal(slave),
                )?;
                w.eq("exit status", out.code, 5);
                let text = drain(&master)?;
                w.contains("the terminal", &text, &["from exec"]);
                let after = kernel::terminal_flags(keep.as_raw_fd())?;
                w.is(before == after, "the terminal was not restored");
                Ok(())
            }),
        ],
        ..Case::IDLE
    },
    Case {
        id: "terminal.in-user-namespace",
        clause: "config.md#process terminal in a user namespace",
        needs: &[Need::Root, Need::UserNamespaces],
        config: |s| {
            with_terminal(s, &["report", "--", "sleep"]);
            s.user_namespace(100_000);
        },
        steps: &[Step::Do(|w| {
            let console = Console::new(w)?;
            let out = w.launch("create", &["--console-socket", &console.path])?;
            require(&out)?;
            let _master = console.receive()?;
            let id = w.id.clone();
            w.succeed(&["start", &id])?;
            let report = reported(w)?;
            w.eq("major of stdin", &report["stdio"][0]["major"], 136);
            w.eq("owner of stdin", &report["stdio"][0]["uid"], 0);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "terminal.reader-that-does-not-read",
        clause: "safety: run ends although nobody reads the terminal that it writes to",
        config: |s| {
            s.set("/process/terminal", json!(true));
            s.args(&[["echo", "line", "--"].repeat(3000), vec!["sleep"]].concat());
        },
        steps: &[Step::Do(|w| {
            let (_master, slave) = kernel::open_terminal()?;
            let call = w.launching("run", &[])?.terminal(slave);
            let running = w.spawn(call)?;
            w.wait(Cond::Status("running"), 10)?;
            let pid = w.pid()?;
            let mut looks = 0;
            w.until(10, "the program to find its terminal full for good", |_| {
                let place = std::fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
                looks = if place == "wait_woken" { looks + 1 } else { 0 };
                (looks == 40).then_some(())
            })?;
            let id = w.id.clone();
            w.succeed(&["kill", &id, "KILL"])?;
            let out = running.wait()?;
            w.eq("exit status", out.code, 137);
            Ok(())
        })],
        ..Case::IDLE
    },
];
