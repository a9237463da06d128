//! `process`: arguments, user, environment, working directory, limits, scheduling. Capabilities and terminals have
//! areas of their own.

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Need, Step};
use crate::world::{Ended, Trouble, World};

fn env_of(w: &World) -> Result<Vec<String>, Trouble> {
    let report = w.report()?;
    let list = report["raw_env"].as_array().cloned().unwrap_or_default();
    Ok(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn has_env(w: &mut World, entry: &str) -> Ended {
    let env = env_of(w)?;
    w.is(
        env.iter().any(|e| e == entry),
        format!("the environment lacks {entry}: {env:?}"),
    );
    Ok(())
}

/// Loading a profile changes the machine.
const CONFINED: &[Need] = &[
    Need::Root,
    Need::Vm,
    Need::AppArmor,
    Need::Program("apparmor_parser"),
];
const PROFILE: &str = "brig-judged";

/// A profile that allows everything but one file.
fn load_profile(w: &mut World) -> Ended {
    let text = format!(
        "profile {PROFILE} flags=(attach_disconnected,mediate_deleted) {{\n  file,\n  capability,\n  network,\n  \
         mount,\n  umount,\n  signal,\n  ptrace,\n  unix,\n  deny /data/secret rw,\n}}\n"
    );
    let file = w.scratch("profile");
    std::fs::write(&file, text)?;
    let loaded = std::process::Command::new("apparmor_parser")
        .args(["--replace", "--skip-cache"])
        .arg(&file)
        .output()?;
    if loaded.status.success() {
        Ok(())
    } else {
        let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
        Err(Trouble::Fail(format!(
            "the harness cannot load a profile: {said}"
        )))
    }
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "process.args",
        clause: "config.md#process args",
        config: |s| s.args(&["echo", "two words", "--", "echo", "", "--", "report"]),
        expect: |w| {
            w.fact(
                "/args",
                ["/probe", "echo", "two words", "--", "echo", "", "--", "report"],
            )?;
            w.fact("/pid", 1)
        },
        ..Case::RUN
    },
    Case {
        id: "process.args-looked-up-in-container-path",
        clause: "config.md#process args (execvp semantics with the container's PATH)",
        config: |s| {
            s.set("/process/args", json!(["reporter", "report"]));
            s.set("/process/env", json!(["PATH=/nowhere:/opt/tools"]));
            s.dir("/opt/tools");
            s.link("/opt/tools/reporter", "/probe");
        },
        expect: |w| w.fact("/args/0", "reporter"),
        ..Case::RUN
    },
    Case {
        id: "process.args-not-found",
        clause: "reference: exec lookup happens at create, with the text that Docker maps to 127",
        config: |s| s.set("/process/args", json!(["no-such-program"])),
        steps: &[Step::Fails(
            &Step::Create,
            &["executable file not found in $PATH"],
        )],
        ..Case::RUN
    },
    Case {
        id: "process.args-empty-name",
        clause: "reference: a name of no letters is in no directory of PATH",
        config: |s| s.set("/process/args", json!([""])),
        steps: &[Step::Fails(
            &Step::Create,
            &["exec: \"\": executable file not found in $PATH"],
        )],
        ..Case::RUN
    },
    Case {
        id: "process.args-path-not-found",
        clause: "reference: exec lookup happens at create, with the text that Docker maps to 127",
        config: |s| s.set("/process/args", json!(["/no/such/program"])),
        steps: &[Step::Fails(&Step::Create, &["no such file or directory"])],
        ..Case::RUN
    },
    Case {
        id: "process.args-not-executable",
        clause: "reference: exec lookup happens at create, with the text that Docker maps to 126",
        config: |s| {
            s.file("/bin/plain", "x");
            s.set("/process/args", json!(["/bin/plain"]));
        },
        steps: &[Step::Fails(&Step::Create, &["permission denied"])],
        ..Case::RUN
    },
    Case {
        id: "process.args-directory",
        clause: "reference: exec lookup happens at create, with a text that Docker maps to 126",
        config: |s| s.set("/process/args", json!(["/etc"])),
        steps: &[Step::Fails(&Step::Create, &[])],
        expect: |w| {
            if let Some(out) = w.transcript.last().cloned() {
                w.mentions_one(&out, &["is a directory", "permission denied"]);
            }
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.args-exec-format",
        clause: "reference: a text file without interpreter line fails with the kernel's words",
        config: |s| {
            s.file("/bin/text", "no interpreter\n");
            s.mode("/bin/text", 0o755);
            s.set("/process/args", json!(["/bin/text"]));
        },
        steps: &[Step::Do(|w| {
            let out = w.launch("run", &[])?;
            w.is(!out.ok(), "run succeeded");
            w.mentions(&out, &["exec format error"]);
            Ok(())
        })],
        ..Case::RUN
    },
    Case {
        id: "process.user",
        clause: "config.md#posix-platform-user",
        config: |s| {
            s.set(
                "/process/user",
                json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 27, 70000]}),
            )
        },
        expect: |w| {
            w.fact("/uid", [1000, 1000, 1000])?;
            w.fact("/gid", [1001, 1001, 1001])?;
            w.fact("/groups", [5, 27, 70000])
        },
        ..Case::RUN
    },
    Case {
        id: "process.groups-of-the-caller-are-dropped",
        clause: "config.md#posix-platform-user additionalGids",
        expect: |w| w.fact("/groups", Vec::<u32>::new()),
        ..Case::RUN
    },
    Case {
        id: "process.umask",
        clause: "config.md#posix-platform-user umask",
        config: |s| s.set("/process/user/umask", json!(0o27)),
        expect: |w| w.fact("/umask", 0o27),
        ..Case::RUN
    },
    Case {
        id: "process.umask-default",
        clause: "reference runc: 0022 where the config says nothing",
        level: Level::Should,
        expect: |w| w.fact("/umask", 0o22),
        ..Case::RUN
    },
    Case {
        id: "process.uid-too-large",
        clause: "config.md#posix-platform-user uid is a uint32",
        config: |s| s.set("/process/user/uid", json!(4_294_967_296_u64)),
        steps: &[Step::Fails(&Step::Create, &[])],
        ..Case::RUN
    },
    Case {
        id: "process.cwd",
        clause: "config.md#process cwd",
        config: |s| s.set("/process/cwd", json!("/data")),
        expect: |w| w.fact("/cwd", "/data"),
        ..Case::RUN
    },
    Case {
        id: "process.cwd-is-made",
        clause: "reference runc: a missing working directory is made",
        level: Level::Should,
        config: |s| s.set("/process/cwd", json!("/made/for/me")),
        expect: |w| w.fact("/cwd", "/made/for/me"),
        ..Case::RUN
    },
    Case {
        id: "process.cwd-relative",
        clause: "config.md#process cwd must be absolute",
        config: |s| s.set("/process/cwd", json!("data")),
        steps: &[Step::Fails(&Step::Create, &["absolute path"])],
        ..Case::RUN
    },
    Case {
        id: "process.cwd-only-for-its-user",
        clause: "reference: chdir is tried with the privileges of root and of the user",
        config: |s| {
            s.dir("/private");
            s.mode("/private", 0o700);
            let _ = std::os::unix::fs::chown(s.place.rootfs().join("private"), Some(1000), Some(1000));
            s.set("/process/user", json!({"uid": 1000, "gid": 1000}));
            s.set("/process/cwd", json!("/private"));
            s.caps(&[]);
        },
        expect: |w| w.fact("/cwd", "/private"),
        ..Case::RUN
    },
    Case {
        id: "process.env",
        clause: "config.md#process env",
        config: |s| {
            s.set(
                "/process/env",
                json!(["PATH=/bin", "EMPTY=", "ODD= a=b \u{fc}", "HOME=/h"]),
            )
        },
        expect: |w| {
            let mut env = env_of(w)?;
            env.sort();
            w.eq(
                "the environment",
                env,
                ["EMPTY=", "HOME=/h", "ODD= a=b \u{fc}", "PATH=/bin"],
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.env-of-the-runtime-stays-out",
        clause: "config.md#process env",
        steps: &[Step::Do(|w| {
            let call = w
                .launching("run", &[])?
                .env("LEAKED_IN", "1")
                .env("LD_PRELOAD_X", "2");
            w.call(call).map(drop)
        })],
        expect: |w| {
            let env = env_of(w)?;
            let strange: Vec<&String> = env
                .iter()
                .filter(|e| !["PATH=", "TERM=", "HOME="].iter().any(|p| e.starts_with(p)))
                .collect();
            w.eq(
                "what came in besides PATH, TERM and HOME",
                strange,
                Vec::<String>::new(),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.env-last-duplicate-wins",
        clause: "reference runc: of several entries for one name the last counts",
        level: Level::Should,
        config: |s| s.set("/process/env", json!(["A=1", "B=x", "A=2"])),
        expect: |w| {
            let env = env_of(w)?;
            let last = env.iter().rfind(|e| e.starts_with("A=")).cloned();
            w.eq("the last A", last, "A=2");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.home-from-passwd",
        clause: "reference: HOME is taken from the container's passwd where the config has none",
        config: |s| s.set("/process/user", json!({"uid": 1000, "gid": 1000})),
        expect: |w| has_env(w, "HOME=/home/user"),
        ..Case::RUN
    },
    Case {
        id: "process.home-empty-is-replaced",
        clause: "reference runc 1.3: an empty HOME counts as none",
        level: Level::Should,
        config: |s| s.set("/process/env", json!(["HOME="])),
        expect: |w| has_env(w, "HOME=/root-home"),
        ..Case::RUN
    },
    Case {
        id: "process.home-of-a-stranger",
        clause: "reference: HOME is / for a user whom passwd does not know",
        config: |s| s.set("/process/user", json!({"uid": 4711, "gid": 4711})),
        expect: |w| has_env(w, "HOME=/"),
        ..Case::RUN
    },
    Case {
        id: "process.env-without-equals-sign",
        clause: "reference runc 1.3: an entry that is no NAME=VALUE is refused",
        level: Level::Should,
        config: |s| s.set("/process/env", json!(["PATH=/bin", "NONSENSE"])),
        steps: &[Step::Fails(&Step::Create, &[])],
        ..Case::RUN
    },
    Case {
        id: "process.env-with-nul",
        clause: "reference: an entry with a NUL byte is refused",
        config: |s| s.set("/process/env", json!(["PATH=/bin", "A=b\u{0}c"])),
        steps: &[Step::Fails(&Step::Create, &[])],
        ..Case::RUN
    },
    Case {
        id: "process.rlimits",
        clause: "config.md#posix-process rlimits",
        config: |s| {
            let limits = json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
                {"type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 2_097_152},
            ]);
            s.set("/process/rlimits", limits);
        },
        expect: |w| {
            w.fact("/rlimits/NOFILE", [100, 200])?;
            w.fact("/rlimits/STACK", [1_048_576, 2_097_152])?;
            w.fact("/rlimits/CORE", [0, 0])
        },
        ..Case::RUN
    },
    Case {
        id: "process.rlimits-unlimited",
        clause: "config.md#posix-process rlimits are uint64",
        config: |s| {
            s.set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_CPU", "soft": u64::MAX, "hard": u64::MAX}]),
            )
        },
        expect: |w| w.fact("/rlimits/CPU", [u64::MAX, u64::MAX]),
        ..Case::RUN
    },
    Case {
        id: "process.rlimits-twice",
        clause: "config.md#posix-process rlimits: duplicates are an error",
        config: |s| {
            let one = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200});
            s.set("/process/rlimits", json!([one.clone(), one]));
        },
        steps: &[Step::Fails(&Step::Create, &["RLIMIT_NOFILE"])],
        ..Case::RUN
    },
    Case {
        id: "process.rlimits-unknown",
        clause: "config.md#posix-process rlimits: an unknown type is an error",
        config: |s| {
            s.set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_FANTASY", "soft": 1, "hard": 1}]),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["RLIMIT_FANTASY"])],
        ..Case::RUN
    },
    Case {
        id: "process.no-new-privileges",
        clause: "config.md#linux-process noNewPrivileges",
        expect: |w| w.fact("/nnp", 1),
        ..Case::RUN
    },
    Case {
        id: "process.no-new-privileges-false",
        clause: "config.md#linux-process noNewPrivileges",
        config: |s| s.set("/process/noNewPrivileges", json!(false)),
        expect: |w| w.fact("/nnp", 0),
        ..Case::RUN
    },
    Case {
        id: "process.no-new-privileges-absent",
        clause: "config.md#linux-process noNewPrivileges",
        config: |s| s.unset("/process/noNewPrivileges"),
        expect: |w| w.fact("/nnp", 0),
        ..Case::RUN
    },
    Case {
        id: "process.oom-score-adj",
        clause: "config.md#linux-process oomScoreAdj",
        config: |s| s.set("/process/oomScoreAdj", json!(321)),
        expect: |w| w.fact("/oom_score_adj", "321"),
        ..Case::RUN
    },
    Case {
        id: "process.oom-score-adj-unset",
        clause: "config.md#linux-process oomScoreAdj: unset means unchanged",
        expect: |w| {
            let own = std::fs::read_to_string("/proc/self/oom_score_adj")?;
            w.fact("/oom_score_adj", own.trim())
        },
        ..Case::RUN
    },
    Case {
        id: "process.io-priority",
        clause: "config.md#linux-process ioPriority (1.1)",
        config: |s| {
            s.set(
                "/process/ioPriority",
                json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
            )
        },
        expect: |w| w.fact("/ioprio", (2 << 13) | 6),
        ..Case::RUN
    },
    Case {
        id: "process.scheduler-batch",
        clause: "config.md#linux-process scheduler (1.1)",
        config: |s| s.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 7})),
        expect: |w| {
            w.fact("/sched/policy", 3)?;
            w.fact("/sched/nice", 7)
        },
        ..Case::RUN
    },
    Case {
        id: "process.scheduler-nice-out-of-range",
        clause: "config.md#linux-process scheduler nice is -20 to 19",
        config: |s| s.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 77})),
        steps: &[Step::Fails(&Step::Create, &["nice"])],
        ..Case::RUN
    },
    Case {
        id: "process.scheduler-unknown-policy",
        clause: "config.md#linux-process scheduler policy",
        config: |s| s.set("/process/scheduler", json!({"policy": "SCHED_FANTASY"})),
        steps: &[Step::Fails(&Step::Create, &["SCHED_FANTASY"])],
        ..Case::RUN
    },
    Case {
        id: "process.exec-cpu-affinity",
        clause: "config.md#linux-process execCPUAffinity (1.3): for exec",
        config: |s| {
            s.args(&["sleep"]);
            s.set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
        },
        steps: &[Step::Create, Step::Start],
        expect: |w| {
            if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
                return Err(crate::world::Trouble::Skip("needs two CPUs".into()));
            }
            let report = w.exec_report(&[])?;
            w.eq("CPUs of exec", &report["affinity"], [1]);
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.memory-policy",
        clause: "config-linux.md#memory-policy (1.3)",
        config: |s| s.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0"})),
        expect: |w| w.fact("/mempolicy", json!({"mode": 2, "nodes": [0]})),
        ..Case::RUN
    },
    Case {
        id: "process.memory-policy-invalid",
        clause: "config-linux.md#memory-policy (1.3); reference: the text begins \"invalid memory policy\"",
        config: |s| {
            s.set(
                "/linux/memoryPolicy",
                json!({"mode": "MPOL_FANTASY", "nodes": "0"}),
            )
        },
        steps: &[Step::Fails(&Step::Create, &["invalid memory policy"])],
        ..Case::RUN
    },
    Case {
        id: "process.personality-32",
        clause: "config-linux.md#personality",
        config: |s| s.set("/linux/personality", json!({"domain": "LINUX32"})),
        expect: |w| w.fact("/personality", 8),
        ..Case::RUN
    },
    Case {
        id: "process.hostname",
        clause: "config.md#hostname",
        expect: |w| w.fact("/hostname", "judged"),
        ..Case::RUN
    },
    Case {
        id: "process.domainname",
        clause: "config.md#domainname (1.1)",
        config: |s| s.set("/domainname", json!("example.org")),
        expect: |w| w.fact("/domainname", "example.org"),
        ..Case::RUN
    },
    Case {
        id: "process.exit-status",
        clause: "reference: the exit status of run is the program's",
        config: |s| s.args(&["exit", "42"]),
        steps: &[Step::Exits(&Step::Run, 42)],
        ..Case::RUN
    },
    Case {
        id: "process.exit-by-signal",
        clause: "reference: 128+N when a signal ended the program",
        config: |s| {
            s.drop_namespace("pid");
            s.args(&["raise", "15"]);
        },
        steps: &[Step::Exits(&Step::Run, 143)],
        ..Case::RUN
    },
    Case {
        id: "process.session-keyring",
        clause: "reference: every container has a session keyring of its own, named _ses.ID",
        expect: |w| {
            let report = w.report()?;
            let id = w.id.clone();
            let keyring = report["keyring"].as_str().unwrap_or("none").to_owned();
            w.is(
                keyring.ends_with(&format!("_ses.{id}")),
                format!("the session keyring is {keyring}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.no-new-keyring",
        clause: "reference: --no-new-keyring keeps the caller's session keyring",
        steps: &[Step::RunWith(&["--no-new-keyring"])],
        expect: |w| {
            let report = w.report()?;
            let keyring = report["keyring"].as_str().unwrap_or("none").to_owned();
            w.is(
                !keyring.contains("_ses.cf"),
                format!("the session keyring is {keyring}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.no-signal-is-blocked",
        clause: "safety: the runtime's signal mask is not the program's",
        expect: |w| w.fact("/status/SigBlk", "0000000000000000"),
        ..Case::RUN
    },
    Case {
        id: "process.no-descriptor-leaks",
        clause: "CVE-2024-21626 class: nothing but stdio is open",
        expect: |w| {
            let report = w.report()?;
            let list = report["fds"].as_array().cloned().unwrap_or_default();
            let extra: Vec<_> = list.iter().filter(|f| f["fd"].as_u64() > Some(2)).collect();
            w.eq("descriptors beyond stdio", extra, Vec::<Value>::new());
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.stdin",
        clause: "runtime.md#start: the program has the caller's stdio",
        config: |s| s.args(&["stdin"]),
        steps: &[Step::Do(|w| {
            let call = w.launching("run", &[])?.stdin("given\n");
            w.call(call).map(drop)
        })],
        expect: |w| {
            let read = w.did(&["stdin"])?;
            w.eq("what came through stdin", &read["value"], "given\n");
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.own-session",
        clause: "reference runc: the program leads a session",
        level: Level::Should,
        expect: |w| w.fact("/sid", 1),
        ..Case::RUN
    },
    Case {
        id: "process.apparmor-absent",
        clause: "config.md#linux-process apparmorProfile: a profile that cannot be applied is an error",
        needs: &[Need::Root, Need::NoAppArmor],
        config: |s| s.set("/process/apparmorProfile", json!("some-profile")),
        steps: &[Step::Fails(&Step::Create, &["apparmor"])],
        ..Case::RUN
    },
    Case {
        id: "process.rlimit-above-the-hard-one",
        clause: "config.md#posix-process rlimits: who has the right may raise",
        needs: &[Need::Root, Need::Capability(24, "CAP_SYS_RESOURCE")],
        config: |s| {
            s.set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 800_000, "hard": 900_000}]),
            )
        },
        expect: |w| w.fact("/rlimits/NOFILE", [800_000, 900_000]),
        ..Case::RUN
    },
    Case {
        id: "process.oom-score-adj-negative",
        clause: "config.md#linux-process oomScoreAdj: who has the right may lower",
        needs: &[Need::Root, Need::Capability(24, "CAP_SYS_RESOURCE")],
        config: |s| s.set("/process/oomScoreAdj", json!(-500)),
        expect: |w| w.fact("/oom_score_adj", "-500"),
        ..Case::RUN
    },
    Case {
        id: "process.selinux",
        clause: "config.md#linux-process selinuxLabel, config-linux.md#mount-label: the program, exec and mounts are labelled",
        needs: &[Need::Root, Need::Selinux],
        config: |s| {
            s.set(
                "/process/selinuxLabel",
                json!("system_u:system_r:container_t:s0:c1,c2"),
            );
            s.set(
                "/linux/mountLabel",
                json!("system_u:object_r:container_file_t:s0:c1,c2"),
            );
            s.args(&["report", "--", "sleep"]);
        },
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("report"), 5)],
        expect: |w| {
            let label = "system_u:system_r:container_t:s0:c1,c2";
            w.fact("/attr", label)?;
            let report = w.exec_report(&[])?;
            w.eq("label of exec", &report["attr"], label);
            let shm = w.mount_at("/dev/shm")?;
            let labelled = shm.fs_options.iter().any(|o| o.contains("container_file_t"));
            w.is(labelled, format!("/dev/shm has no label: {:?}", shm.fs_options));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.apparmor",
        clause: "config.md#linux-process apparmorProfile: the program and whatever exec brings are confined",
        needs: CONFINED,
        config: |s| {
            s.file("/data/secret", "");
            s.set("/process/apparmorProfile", json!(PROFILE));
            s.args(&["report", "--", "open", "rw", "/data/secret", "--", "sleep"]);
        },
        steps: &[
            Step::Do(load_profile),
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Said("secret"), 5),
        ],
        expect: |w| {
            w.fact("/attr", format!("{PROFILE} (enforce)"))?;
            w.errno(&["open", "rw", "/data/secret"], libc::EACCES)?;
            let report = w.exec_report(&[])?;
            w.eq("label of exec", &report["attr"], format!("{PROFILE} (enforce)"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "process.apparmor-of-exec",
        clause: "reference exec --apparmor: a profile of its own",
        needs: CONFINED,
        steps: &[
            Step::Do(load_profile),
            Step::Create,
            Step::Start,
            Step::Wait(Cond::Status("running"), 5),
        ],
        expect: |w| {
            let report = w.exec_report(&["--apparmor", PROFILE])?;
            w.eq("label of exec", &report["attr"], format!("{PROFILE} (enforce)"));
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "process.apparmor-unknown",
        clause: "config.md#linux-process apparmorProfile: a profile that is not loaded is an error",
        needs: &[Need::Root, Need::AppArmor],
        config: |s| s.set("/process/apparmorProfile", json!("no-such-profile")),
        steps: &[Step::Fails(&Step::Create, &["apparmor"])],
        ..Case::RUN
    },
];
