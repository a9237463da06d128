//! Seccomp: actions, operators, architectures, when the filter is loaded, and calls that an agent decides.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::case::{Case, Cond, Need, Step};
use crate::config::Setup;
use crate::kernel;
use crate::world::{Call, Ended, Trouble, World, require};

const X86: &[Need] = &[Need::Root, Need::Cpu(&["x86_64"])];

fn profile(s: &mut Setup, default: &str, rules: Value) {
    let archs = match std::env::consts::ARCH {
        "x86_64" => json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
        "aarch64" => json!(["SCMP_ARCH_AARCH64"]),
        _ => json!([]),
    };
    s.set(
        "/linux/seccomp",
        json!({"defaultAction": default, "architectures": archs, "syscalls": rules}),
    );
}

/// personality(2) with any of these arguments, by number: the one call whose argument nobody minds.
const PERSONALITY: &str = "135";

fn ask(values: &[&str]) -> Vec<String> {
    let mut args = Vec::new();
    for v in values {
        args.extend([
            "syscall".to_owned(),
            PERSONALITY.to_owned(),
            (*v).to_owned(),
            "--".to_owned(),
        ]);
    }
    args.extend(["syscall".to_owned(), "39".to_owned()]);
    args
}

/// Denies personality(2) under one condition with errno 77, and asks with several values.
fn condition(s: &mut Setup, args: Value, values: &[&str]) {
    profile(
        s,
        "SCMP_ACT_ALLOW",
        json!([
            {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": args}
        ]),
    );
    let asked = ask(values);
    let words: Vec<&str> = asked.iter().map(String::as_str).collect();
    s.args(&words);
}

fn denied(w: &mut crate::world::World, yes: &[&str], no: &[&str]) -> crate::world::Ended {
    for v in yes {
        w.errno(&["syscall", PERSONALITY, v], 77)?;
    }
    for v in no {
        let done = w.did(&["syscall", PERSONALITY, v])?;
        w.is(done["errno"] != 77, format!("personality({v}) was denied"));
    }
    Ok(())
}

const AGENT: &str =
    "config-linux.md#seccomp SCMP_ACT_NOTIFY listenerPath: the listener goes to the agent, with the state";

/// mkdir is for an agent to decide. `sendmsg` too: a runtime has to pass the listener on without it.
pub fn notified(s: &mut Setup) {
    let socket = s.outside_dir("agent").join("sock");
    profile(
        s,
        "SCMP_ACT_ALLOW",
        json!([{"names": ["mkdir", "mkdirat", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}]),
    );
    s.set("/linux/seccomp/listenerPath", json!(socket));
    s.set("/linux/seccomp/listenerMetadata", json!("about"));
    s.set("/annotations", json!({"org.example": "yes"}));
    s.args(&["mkdir", "/tmp/x", "--", "report", "--", "sleep"]);
}

/// Who decides: every call that it is asked about fails with EXFULL, which no file system says.
pub struct Agent {
    socket: UnixListener,
}

impl Agent {
    pub fn listen(w: &World) -> Result<Agent, Trouble> {
        let path = w.setup.place.outside().join("agent/sock");
        Ok(Agent {
            socket: UnixListener::bind(path)?,
        })
    }

    /// The next process: what is said of it. Its calls are decided from now on, by a thread that ends with the last process.
    pub fn take(&self) -> Result<Value, Trouble> {
        let seconds = crate::patience::seconds(10);
        if kernel::poll_readable(&[self.socket.as_raw_fd()], seconds)? != [true] {
            return Err(Trouble::Fail("nobody came to the agent".into()));
        }
        let (stream, _) = self.socket.accept()?;
        stream.set_read_timeout(Some(seconds))?;
        let (listener, text) = kernel::receive_descriptor(&stream)?;
        std::thread::spawn(move || {
            // ENOENT: nobody is left, or whoever has called was killed meanwhile.
            while let Ok(call) = kernel::receive_notification(listener.as_raw_fd()) {
                let _ = kernel::refuse_notified(listener.as_raw_fd(), call.id, libc::EXFULL);
            }
        });
        serde_json::from_str(&text).map_err(|e| Trouble::Fail(format!("{e}: {text}")))
    }
}

/// What the agent is told of a process.
fn introduced(w: &mut World, about: &Value, status: &str) -> Ended {
    w.eq("fds", &about["fds"], json!(["seccompFd"]));
    w.eq("metadata", &about["metadata"], "about");
    let state = &about["state"];
    w.eq("id", &state["id"], w.id.clone());
    w.eq("status", &state["status"], status);
    w.eq("bundle", &state["bundle"], json!(w.setup.place.bundle()));
    w.eq(
        "annotations",
        &state["annotations"],
        json!({"org.example": "yes"}),
    );
    let pid = w.pid()?;
    w.eq("pid of the init", &state["pid"], pid);
    w.eq("its pid", about["pid"] == json!(pid), status == "creating");
    Ok(())
}

fn agent_decides(w: &mut World) -> Ended {
    let agent = Agent::listen(w)?;
    let create = w.launching("create", &[])?;
    let create = w.spawn(create)?;
    let about = agent.take()?;
    require(&create.wait()?)?;
    introduced(w, &about, "creating")?;
    let id = w.id.clone();
    w.succeed(&["start", &id])?;
    w.wait(Cond::Said("report"), 10)?;
    w.errno(&["mkdir"], libc::EXFULL)?;
    w.fact("/status/Seccomp", "2")?;
    let exec = w.spawn(Call::new(&["exec", &id, "/probe", "mkdir", "/tmp/y"]))?;
    let about = agent.take()?;
    introduced(w, &about, "running")?;
    let out = exec.wait()?;
    let errno = format!("\"errno\":{}", libc::EXFULL);
    w.is(out.stdout.contains(&errno), format!("exec said {:?}", out.stdout));
    w.succeed(&["delete", "--force", &id]).map(drop)
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "seccomp.errno",
        clause: "config-linux.md#seccomp SCMP_ACT_ERRNO; EPERM without errnoRet",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"},
                    {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 61}
                ]),
            );
            s.args(&["mkdir", "/tmp/x", "--", "symlink", "a", "/tmp/b", "--", "report"]);
        },
        expect: |w| {
            w.errno(&["mkdir"], libc::EPERM)?;
            w.errno(&["symlink"], 61)?;
            w.fact("/status/Seccomp", "2")
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.notify",
        clause: AGENT,
        config: notified,
        steps: &[Step::Do(agent_decides)],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.notify-with-privileges",
        clause: AGENT,
        config: |s| {
            notified(s);
            s.set("/process/noNewPrivileges", json!(false));
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        },
        steps: &[Step::Do(agent_decides)],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.notify-run",
        clause: AGENT,
        config: notified,
        steps: &[Step::Do(|w| {
            let agent = Agent::listen(w)?;
            let run = w.launching("run", &["--detach"])?;
            let run = w.spawn(run)?;
            let about = agent.take()?;
            require(&run.wait()?)?;
            introduced(w, &about, "creating")?;
            w.wait(Cond::Said("report"), 10)?;
            w.errno(&["mkdir"], libc::EXFULL)
        })],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.notify-nobody-listens",
        clause: "safety: without its agent no process is made, and nothing is left",
        config: notified,
        steps: &[Step::Do(|w| {
            let out = w.launch("create", &[])?;
            w.is(!out.ok(), "create succeeds");
            let text = "failed to connect with seccomp agent specified in the seccomp profile";
            w.is(
                out.messages().contains(text),
                format!("says {:?}", out.messages()),
            );
            let id = w.id.clone();
            let out = w.call(Call::new(&["state", &id]))?;
            w.is(!out.ok(), "there is a container");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.notify-invalid",
        clause: "reference: NOTIFY is no default, decides no write, and needs a listenerPath",
        config: notified,
        steps: &[Step::Do(|w| {
            let agent = Agent::listen(w)?;
            let was = w.setup.config.clone();
            for (place, value, text) in [
                (
                    "/linux/seccomp/defaultAction",
                    json!("SCMP_ACT_NOTIFY"),
                    "SCMP_ACT_NOTIFY cannot be used as default action",
                ),
                (
                    "/linux/seccomp/syscalls/0/names/0",
                    json!("write"),
                    "SCMP_ACT_NOTIFY cannot be used for the write syscall",
                ),
                (
                    "/linux/seccomp/listenerPath",
                    json!(""),
                    "listenerPath is not set",
                ),
            ] {
                w.setup.config.clone_from(&was);
                w.setup.set(place, value);
                let out = w.launch("create", &[])?;
                w.is(!out.ok(), format!("{place}: create succeeds"));
                w.is(
                    out.messages().contains(text),
                    format!("{place}: says {:?}", out.messages()),
                );
            }
            drop(agent);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.default-errno",
        clause: "config-linux.md#seccomp defaultAction defaultErrnoRet",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ERRNO",
                json!([{"names": broad(), "action": "SCMP_ACT_ALLOW"}]),
            );
            s.set("/linux/seccomp/defaultErrnoRet", json!(55));
            s.args(&["syscall", "135", "0", "--", "echo", "alive"]);
        },
        expect: |w| w.errno(&["syscall", "135"], 55),
        ..Case::RUN
    },
    Case {
        id: "seccomp.empty",
        clause: "config-linux.md#seccomp: absent means no filter",
        expect: |w| w.fact("/status/Seccomp", "0"),
        ..Case::RUN
    },
    Case {
        id: "seccomp.without-no-new-privileges",
        clause: "reference: without noNewPrivileges the filter is loaded while there are privileges to do so",
        config: |s| {
            s.set("/process/noNewPrivileges", json!(false));
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            s.caps(&[]);
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]),
            );
            s.args(&["mkdir", "/tmp/x", "--", "report"]);
        },
        expect: |w| {
            w.errno(&["mkdir"], libc::EPERM)?;
            w.fact("/status/Seccomp", "2")?;
            w.fact("/nnp", 0)
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.profile-need-not-allow-set-up",
        clause: "reference: with noNewPrivileges the filter is the last thing before exec",
        needs: X86,
        config: |s| {
            let mut names = broad();
            names.retain(|n| {
                ![
                    "setuid",
                    "setgid",
                    "setgroups",
                    "capset",
                    "prctl",
                    "chdir",
                    "fchdir",
                    "fchown",
                    "mount",
                    "setsid",
                    "ioctl",
                ]
                .contains(n)
            });
            profile(
                s,
                "SCMP_ACT_ERRNO",
                json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]),
            );
            s.set(
                "/process/user",
                json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}),
            );
            s.args(&["echo", "alive"]);
        },
        expect: |w| w.did(&["echo", "alive"]).map(drop),
        ..Case::RUN
    },
    Case {
        id: "seccomp.profile-that-refuses-everything",
        clause: "safety: an init that its own profile keeps even from ending is an error at once, not a hang",
        config: |s| {
            s.set("/process/noNewPrivileges", json!(false));
            profile(s, "SCMP_ACT_ERRNO", json!([]));
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?.seconds(20);
            let out = w.call(call)?;
            w.is(!out.ok(), "it ran");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.profile-that-interrupts-everything",
        clause: "safety: a profile whose errno is EINTR does not make an init repeat its calls for ever",
        config: |s| {
            s.set("/process/noNewPrivileges", json!(false));
            profile(s, "SCMP_ACT_ERRNO", json!([]));
            s.set("/linux/seccomp/defaultErrnoRet", json!(libc::EINTR));
        },
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?.seconds(20);
            let out = w.call(call)?;
            w.is(!out.ok(), "it ran");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "seccomp.kill-process",
        clause: "config-linux.md#seccomp SCMP_ACT_KILL_PROCESS",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]),
            );
            s.args(&["mkdir", "/tmp/x"]);
        },
        steps: &[Step::Exits(&Step::Run, 128 + libc::SIGSYS)],
        ..Case::RUN
    },
    Case {
        id: "seccomp.kill",
        clause: "config-linux.md#seccomp SCMP_ACT_KILL and KILL_THREAD",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL"}]),
            );
            s.args(&["mkdir", "/tmp/x"]);
        },
        steps: &[Step::Exits(&Step::Run, 128 + libc::SIGSYS)],
        ..Case::RUN
    },
    Case {
        id: "seccomp.trap",
        clause: "config-linux.md#seccomp SCMP_ACT_TRAP",
        config: |s| {
            s.drop_namespace("pid");
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_TRAP"}]),
            );
            s.args(&["mkdir", "/tmp/x"]);
        },
        steps: &[Step::Exits(&Step::Run, 128 + libc::SIGSYS)],
        ..Case::RUN
    },
    Case {
        id: "seccomp.log-and-trace",
        clause: "config-linux.md#seccomp SCMP_ACT_LOG allows; SCMP_ACT_TRACE without tracer is ENOSYS",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_LOG"},
                    {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_TRACE"}
                ]),
            );
            s.args(&["mkdir", "/tmp/x", "--", "symlink", "a", "/tmp/b"]);
        },
        expect: |w| {
            w.errno(&["mkdir"], 0)?;
            w.errno(&["symlink"], libc::ENOSYS)
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.op-eq",
        clause: "config-linux.md#seccomp SCMP_CMP_EQ",
        needs: X86,
        config: |s| {
            condition(
                s,
                json!([{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]),
                &["0", "8", "0xffffffff"],
            )
        },
        expect: |w| denied(w, &["8"], &["0", "0xffffffff"]),
        ..Case::RUN
    },
    Case {
        id: "seccomp.op-ne",
        clause: "config-linux.md#seccomp SCMP_CMP_NE",
        needs: X86,
        config: |s| {
            condition(
                s,
                json!([{"index": 0, "value": 8, "op": "SCMP_CMP_NE"}]),
                &["8", "0", "0xffffffff"],
            )
        },
        expect: |w| denied(w, &["0", "0xffffffff"], &["8"]),
        ..Case::RUN
    },
    Case {
        id: "seccomp.op-lt-le",
        clause: "config-linux.md#seccomp SCMP_CMP_LT LE",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([
                    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_LT"}]},
                    {"names": ["setuid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_LE"}]}
                ]),
            );
            s.args(&[
                "syscall", "135", "7", "--", "syscall", "135", "8", "--", "syscall", "105", "8", "--",
                "syscall", "105", "9",
            ]);
        },
        expect: |w| {
            w.errno(&["syscall", "135", "7"], 77)?;
            w.errno(&["syscall", "135", "8"], 0)?;
            w.errno(&["syscall", "105", "8"], 78)?;
            let nine = w.did(&["syscall", "105", "9"])?;
            w.is(nine["errno"] != 78, "setuid(9) was denied");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.op-gt-ge",
        clause: "config-linux.md#seccomp SCMP_CMP_GT GE",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([
                    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_GT"}]},
                    {"names": ["setuid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78, "args": [{"index": 0, "value": 4_294_967_296_u64, "op": "SCMP_CMP_GE"}]}
                ]),
            );
            s.args(&[
                "syscall",
                "135",
                "9",
                "--",
                "syscall",
                "135",
                "8",
                "--",
                "syscall",
                "105",
                "0x100000000",
                "--",
                "syscall",
                "105",
                "0xffffffff",
                "--",
                "syscall",
                "135",
                "0x100000000",
            ]);
        },
        expect: |w| {
            w.errno(&["syscall", "135", "9"], 77)?;
            w.errno(&["syscall", "135", "0x100000000"], 77)?;
            w.errno(&["syscall", "135", "8"], 0)?;
            w.errno(&["syscall", "105", "0x100000000"], 78)?;
            let small = w.did(&["syscall", "105", "0xffffffff"])?;
            w.is(small["errno"] != 78, "a value of 32 bits was taken for one of 64");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.op-masked-eq",
        clause: "config-linux.md#seccomp SCMP_CMP_MASKED_EQ: value is the mask, valueTwo the result",
        needs: X86,
        config: |s| {
            condition(
                s,
                json!([{"index": 0, "value": 0xf0, "valueTwo": 0x10, "op": "SCMP_CMP_MASKED_EQ"}]),
                &["0x10", "0x1f", "0x20", "0"],
            )
        },
        expect: |w| denied(w, &["0x10", "0x1f"], &["0x20", "0"]),
        ..Case::RUN
    },
    Case {
        id: "seccomp.conditions-on-several-arguments-are-anded",
        clause: "config-linux.md#seccomp args",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [
                    {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}
                ]}]),
            );
            s.args(&[
                "syscall", "135", "8", "5", "--", "syscall", "135", "8", "6", "--", "syscall", "135", "0",
                "5",
            ]);
        },
        expect: |w| {
            w.errno(&["syscall", "135", "8", "5"], 77)?;
            w.errno(&["syscall", "135", "8", "6"], 0)?;
            w.errno(&["syscall", "135", "0", "5"], 0)
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.conditions-on-one-argument-are-ored",
        clause: "reference runc: several conditions on one argument become several rules",
        needs: X86,
        config: |s| {
            condition(
                s,
                json!([{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]),
                &["8", "0", "0xffffffff"],
            )
        },
        expect: |w| denied(w, &["8", "0"], &["0xffffffff"]),
        ..Case::RUN
    },
    Case {
        id: "seccomp.unknown-syscall-is-ignored",
        clause: "reference: a name that this kernel or runtime does not know is skipped",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["fantasy_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]),
            );
            s.args(&["mkdir", "/tmp/x"]);
        },
        expect: |w| w.errno(&["mkdir"], libc::EPERM),
        ..Case::RUN
    },
    Case {
        id: "seccomp.unknown-action",
        clause: "config-linux.md#seccomp action",
        config: |s| profile(s, "SCMP_ACT_FANTASY", json!([])),
        steps: &[Step::Fails(&Step::Create, &["SCMP_ACT_FANTASY"])],
        ..Case::RUN
    },
    Case {
        id: "seccomp.unknown-operator",
        clause: "config-linux.md#seccomp op",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([
                    {"names": ["personality"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_FANTASY"}]}
                ]),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["SCMP_CMP_FANTASY"])],
        ..Case::RUN
    },
    Case {
        id: "seccomp.unknown-architecture",
        clause: "config-linux.md#seccomp architectures",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]),
            );
            s.set("/linux/seccomp/architectures", json!(["SCMP_ARCH_FANTASY"]));
        },
        steps: &[Step::Fails(&Step::Create, &["SCMP_ARCH_FANTASY"])],
        ..Case::RUN
    },
    Case {
        id: "seccomp.unknown-flag",
        clause: "config-linux.md#seccomp flags",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]),
            );
            s.set("/linux/seccomp/flags", json!(["SECCOMP_FILTER_FLAG_FANTASY"]));
        },
        steps: &[Step::Fails(&Step::Create, &["flag"])],
        ..Case::RUN
    },
    Case {
        id: "seccomp.flags",
        clause: "config-linux.md#seccomp flags",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]),
            );
            s.set(
                "/linux/seccomp/flags",
                json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
            );
            s.args(&["mkdir", "/tmp/x", "--", "report"]);
        },
        expect: |w| w.errno(&["mkdir"], libc::EPERM),
        ..Case::RUN
    },
    Case {
        id: "seccomp.newer-syscalls-do-not-exist",
        clause: "reference runc: a call newer than the profile's newest answers ENOSYS, not the default errno",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ERRNO",
                json!([{"names": broad(), "action": "SCMP_ACT_ALLOW"}]),
            );
            s.args(&[
                "syscall", "900", "--", "syscall", "135", "8", "--", "echo", "alive",
            ]);
        },
        expect: |w| {
            w.errno(&["syscall", "900"], libc::ENOSYS)?;
            w.errno(&["syscall", "135", "8"], libc::EPERM)
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.exec-has-the-filter-too",
        clause: "reference: exec inherits the profile of the config",
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 61}]),
            );
            s.args(&["sleep"]);
        },
        steps: &[Step::Create, Step::Start],
        expect: |w| {
            let out = w.exec(&[], &["/probe", "mkdir", "/tmp/x", "--", "report"])?;
            let done = crate::world::find_done(&out.lines(), &["mkdir"]).unwrap_or_default();
            w.eq("errno in exec", &done["errno"], 61);
            let report = out.report()?;
            w.eq("Seccomp in exec", &report["status"]["Seccomp"], "2");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.first-matching-set-of-docker-shape",
        clause: "config-linux.md#seccomp: several rules for one call with different actions",
        needs: X86,
        config: |s| {
            let mut names = broad();
            names.retain(|n| *n != "personality");
            profile(
                s,
                "SCMP_ACT_ERRNO",
                json!([
                    {"names": names, "action": "SCMP_ACT_ALLOW"},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                    {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 4_294_967_295_u64, "op": "SCMP_CMP_EQ"}]}
                ]),
            );
            s.args(&[
                "syscall",
                "135",
                "0xffffffff",
                "--",
                "syscall",
                "135",
                "16",
                "--",
                "syscall",
                "135",
                "8",
            ]);
        },
        expect: |w| {
            w.errno(&["syscall", "135", "0xffffffff"], 0)?;
            w.errno(&["syscall", "135", "8"], 0)?;
            w.errno(&["syscall", "135", "16"], libc::EPERM)
        },
        ..Case::RUN
    },
    Case {
        id: "seccomp.x32-calls-are-filtered-too",
        clause: "safety: the x32 spelling of a call does not pass the filter of a native one",
        needs: X86,
        config: |s| {
            profile(
                s,
                "SCMP_ACT_ALLOW",
                json!([{"names": ["personality"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]),
            );
            s.args(&["syscall", "0x40000087", "0"]);
        },
        expect: |w| {
            let done = w.did(&["syscall"])?;
            let errno = done["errno"].as_i64().unwrap_or(0);
            w.is(
                errno == 77 || errno == i64::from(libc::ENOSYS),
                format!("x32 personality answered {errno}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
];

/// What the probe, and a runtime that loads its filter early, may want; everything a small program calls.
fn broad() -> Vec<&'static str> {
    "accept access alarm arch_prctl bind brk capget capset chdir chmod chown clock_getres clock_gettime clock_nanosleep clone \
     clone3 close close_range connect dup dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit \
     exit_group faccessat faccessat2 fchdir fchmod fchmodat fchown fchownat fcntl fdatasync fgetxattr flock fork fstat fstatfs \
     fsync ftruncate futex getcwd getdents getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid \
     getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid \
     getxattr ioctl kill lchown link listen lseek lstat madvise membarrier memfd_create mkdir mkdirat mmap mount mprotect mremap \
     msync munmap nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 \
     prlimit64 pselect6 pwrite64 read readlink readlinkat readv recvfrom recvmsg rename restart_syscall rmdir rseq rt_sigaction \
     rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait sched_getaffinity sched_getattr sched_setaffinity sched_yield \
     seccomp select sendmsg sendto set_robust_list set_tid_address setgid setgroups setitimer setns setpgid setresgid setresuid \
     setrlimit setsid setsockopt setuid shutdown sigaltstack socket socketpair splice stat statfs statx symlink symlinkat sysinfo \
     tgkill time times umask uname unlink unlinkat unshare vfork wait4 waitid write writev"
        .split_whitespace()
        .collect()
}
