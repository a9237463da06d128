//! The command line and what it prints: the shapes that other programs parse.

use std::fs;

use serde_json::{Value, json};

use crate::case::{Case, Cond, Level, Need, Step};
use crate::world::{Call, Output, Trouble, World, require};

const RUNNING: Step = Step::Wait(Cond::Status("running"), 5);

fn json_of(out: &Output) -> Result<Value, Trouble> {
    serde_json::from_str(&out.stdout)
        .map_err(|e| Trouble::Fail(format!("`{}` wrote no JSON ({e}): {}", out.asked, out.stdout)))
}

fn keys(v: &Value) -> Vec<String> {
    v.as_object()
        .map(|o| o.keys().cloned().collect())
        .unwrap_or_default()
}

/// Exactly one error record, and that the last; anything else in the log is less than an error.
fn one_error(w: &mut World, out: &Output) {
    let errors = out.log.iter().filter(|r| r["level"] == "error").count();
    w.eq(&format!("error records of `{}`", out.asked), errors, 1);
    let last = out.log.last().cloned().unwrap_or_default();
    w.eq("level of the last record", &last["level"], "error");
    w.is(
        last["msg"].as_str().is_some_and(|m| !m.is_empty()),
        "the record has no msg",
    );
    w.is(
        last["time"].as_str().is_some_and(|t| t.contains('T')),
        format!("time is {}", last["time"]),
    );
    let lines = out.log_text.lines().count();
    w.eq("lines that are no JSON object", lines - out.log.len(), 0);
}

/// The cases of this area.
pub const CASES: &[Case] = &[
    Case {
        id: "cli.version",
        clause: "reference: the first line is `NAME version V`; Docker and nerdctl parse it",
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.call(Call::new(&["--version"]).without_log().without_root())?;
            require(&out)?;
            let first: Vec<&str> = out.stdout.lines().next().unwrap_or_default().split(' ').collect();
            w.is(
                first.len() >= 3 && first[1] == "version",
                format!("the first line is {first:?}"),
            );
            w.is(
                out.stdout.lines().any(|l| l.starts_with("commit: ")),
                "no commit line",
            );
            w.is(
                out.stdout.lines().any(|l| l.starts_with("spec: 1.")),
                "no spec line",
            );
            let short = w.call(Call::new(&["-v"]).without_log().without_root())?;
            w.eq("-v", short.stdout, out.stdout);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.help",
        clause: "reference: help is printed to stdout with status 0 and begins with NAME:",
        level: Level::Should,
        needs: &[],
        steps: &[Step::Do(|w| {
            for args in [
                &["--help"][..],
                &["-h"],
                &["help"],
                &["create", "--help"],
                &["exec", "-h"],
            ] {
                let out = w.call(Call::new(args).without_log().without_root())?;
                w.eq(&format!("status of {args:?}"), out.code, 0);
                w.is(
                    out.stdout.starts_with("NAME:"),
                    format!("{args:?} does not begin with NAME:"),
                );
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.checkpoint-help",
        clause: "reference: Podman asks `checkpoint --help` whether there is one",
        level: Level::Should,
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.call(Call::new(&["checkpoint", "--help"]).without_log().without_root())?;
            w.eq("status", out.code, 0);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.missing-argument",
        clause: "reference: bad usage has status 1",
        needs: &[],
        steps: &[Step::Do(|w| {
            for args in [
                &["state"][..],
                &["start"],
                &["kill"],
                &["delete"],
                &["create"],
                &["run"],
                &["pause"],
                &["state", "a", "b"],
            ] {
                let out = w.refuse(args)?;
                w.eq(&format!("status of {args:?}"), out.code, 1);
                w.is(
                    !out.stderr.trim().is_empty() || !out.stdout.trim().is_empty(),
                    format!("{args:?} says nothing"),
                );
            }
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.unknown-option",
        clause: "reference: an unknown option is bad usage and is named",
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.refuse(&["create", "--fantasy", "x"])?;
            w.eq("status", out.code, 1);
            let all = format!("{}{}", out.stdout, out.stderr);
            w.contains("the message", &all, &["fantasy"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.features",
        clause: "features.md; Docker looks for rro, Kubernetes for idmap",
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.call(Call::new(&["features"]).without_log().without_root())?;
            require(&out)?;
            let f = json_of(&out)?;
            w.is(
                f["ociVersionMin"].as_str().is_some_and(|v| v.starts_with("1.")),
                "no ociVersionMin",
            );
            w.is(
                f["ociVersionMax"].as_str().is_some_and(|v| v.starts_with("1.")),
                "no ociVersionMax",
            );
            for hook in [
                "prestart",
                "createRuntime",
                "createContainer",
                "startContainer",
                "poststart",
                "poststop",
            ] {
                w.is(
                    f["hooks"].as_array().is_some_and(|h| h.iter().any(|x| x == hook)),
                    format!("no hook {hook}"),
                );
            }
            for option in ["rro", "bind", "rprivate", "tmpcopyup", "nosymfollow"] {
                w.is(
                    f["mountOptions"]
                        .as_array()
                        .is_some_and(|h| h.iter().any(|x| x == option)),
                    format!("no mount option {option}"),
                );
            }
            for ns in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
                w.is(
                    f["linux"]["namespaces"]
                        .as_array()
                        .is_some_and(|h| h.iter().any(|x| x == ns)),
                    format!("no namespace {ns}"),
                );
            }
            w.eq("seccomp", &f["linux"]["seccomp"]["enabled"], true);
            w.eq("cgroup v1", &f["linux"]["cgroup"]["v1"], true);
            w.eq("cgroup v2", &f["linux"]["cgroup"]["v2"], true);
            w.is(
                f["linux"]["capabilities"]
                    .as_array()
                    .is_some_and(|c| c.len() > 35),
                "not all capabilities",
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.features-of-1-3",
        clause: "features.md (1.3): time namespace, idmap, netDevices, intelRdt, potentiallyUnsafeConfigAnnotations",
        level: Level::Should,
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.call(Call::new(&["features"]).without_log().without_root())?;
            let f = json_of(&out)?;
            w.is(
                f["linux"]["namespaces"]
                    .as_array()
                    .is_some_and(|h| h.iter().any(|x| x == "time")),
                "no time namespace",
            );
            w.eq("idmap", &f["linux"]["mountExtensions"]["idmap"]["enabled"], true);
            w.is(
                f["mountOptions"]
                    .as_array()
                    .is_some_and(|o| o.iter().all(|x| x != "idmap")),
                "idmap is among the mount options, not only an extension",
            );
            w.is(f["linux"]["netDevices"]["enabled"].is_boolean(), "no netDevices");
            w.is(f["linux"]["intelRdt"]["enabled"].is_boolean(), "no intelRdt");
            w.is(
                f["potentiallyUnsafeConfigAnnotations"].is_array(),
                "no potentiallyUnsafeConfigAnnotations",
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.features-as-any-user",
        clause: "reference: features works without config, for any user",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let program = w.setup.place.dir.join("copy");
            fs::copy(&w.runtime, &program)?;
            for at in w.setup.place.dir.ancestors().take(2) {
                fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
            }
            w.runtime = program;
            let out = w.call(
                Call::new(&["features"])
                    .without_log()
                    .without_root()
                    .user(65_534)
                    .dir(std::path::Path::new("/")),
            )?;
            require(&out)?;
            json_of(&out).map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.spec",
        clause: "reference: spec writes a config that runs; it does not overwrite",
        steps: &[Step::Do(|w| {
            let bundle = w.bundle();
            w.succeed(&["spec", "--bundle", &bundle])?;
            let path = w.setup.place.bundle().join("config.json");
            let text = fs::read_to_string(&path)?;
            w.is(text.contains("\n\t\"ociVersion\""), "it is not indented by tabs");
            let config: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            w.eq("args", &config["process"]["args"], ["sh"]);
            w.eq("terminal", &config["process"]["terminal"], true);
            w.eq("no_new_privs", &config["process"]["noNewPrivileges"], true);
            w.eq(
                "root",
                &config["root"],
                json!({"path": "rootfs", "readonly": true}),
            );
            let again = w.refuse(&["spec", "--bundle", &bundle])?;
            w.mentions(&again, &["exist"]);
            let same = fs::read_to_string(&path)? == text;
            w.is(same, "it overwrote the file");
            w.setup.config = config;
            w.setup.config["process"]["terminal"] = json!(false);
            w.setup.args(&["report"]);
            let out = w.launch("run", &[])?;
            require(&out)?;
            w.report().map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.spec-rootless",
        clause: "reference: spec --rootless maps the caller and bind mounts /sys",
        steps: &[Step::Do(|w| {
            let bundle = w.bundle();
            w.succeed(&["spec", "--rootless", "--bundle", &bundle])?;
            let text = fs::read_to_string(w.setup.place.bundle().join("config.json"))?;
            let config: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            let user = config["linux"]["namespaces"]
                .as_array()
                .is_some_and(|n| n.iter().any(|x| x["type"] == "user"));
            w.is(user, "no user namespace");
            w.eq("size of the map", &config["linux"]["uidMappings"][0]["size"], 1);
            let network = config["linux"]["namespaces"]
                .as_array()
                .is_some_and(|n| n.iter().any(|x| x["type"] == "network"));
            w.is(!network, "a network namespace");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.state",
        clause: "runtime.md#state; reference: keys and order that engines read",
        config: |s| {
            s.args(&["sleep"]);
            s.set("/annotations", json!({"org.example.key": "value"}));
        },
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let state = w.state()?;
            let (id, bundle) = (w.id.clone(), w.bundle());
            w.eq("id", &state["id"], id);
            w.eq("bundle", &state["bundle"], bundle);
            w.eq("status", &state["status"], "running");
            w.eq(
                "annotations",
                &state["annotations"],
                json!({"org.example.key": "value"}),
            );
            let version = w.call(Call::new(&["--version"]).without_log().without_root())?;
            let spec = version.stdout.lines().find_map(|l| l.strip_prefix("spec: "));
            let spec = spec.unwrap_or_default().to_owned();
            w.eq("ociVersion", &state["ociVersion"], spec);
            let created = state["created"].as_str().unwrap_or_default().to_owned();
            w.is(
                created.len() > 19 && created.contains('T') && created.ends_with('Z'),
                format!("created {created}"),
            );
            let pid = state["pid"].as_i64().unwrap_or(0);
            let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
            w.is(alive, format!("pid {pid} is nobody"));
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cli.state-shape",
        clause: "reference runc: two spaces, this order of keys, no newline at the end",
        level: Level::Should,
        steps: &[Step::Create],
        expect: |w| {
            let id = w.id.clone();
            let out = w.succeed(&["state", &id])?;
            let order = keys(&json_of(&out)?);
            w.eq(
                "keys",
                order,
                [
                    "ociVersion",
                    "id",
                    "pid",
                    "status",
                    "bundle",
                    "rootfs",
                    "created",
                    "owner",
                ],
            );
            let rootfs = w.setup.place.rootfs();
            w.eq("rootfs", &json_of(&out)?["rootfs"], rootfs.to_string_lossy());
            w.is(
                out.stdout.starts_with("{\n  \"ociVersion\": "),
                "not indented by two spaces",
            );
            w.is(out.stdout.ends_with('}'), "something after the last brace");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "cli.list",
        clause: "reference: list as JSON is one array of states, ids with -q",
        steps: &[Step::Create],
        expect: |w| {
            let id = w.id.clone();
            let out = w.succeed(&["list", "--format", "json"])?;
            let list = json_of(&out)?;
            w.eq("containers", list.as_array().map_or(0, Vec::len), 1);
            w.eq("id", &list[0]["id"], &id);
            w.eq("status", &list[0]["status"], "created");
            w.is(list[0]["pid"].as_i64() > Some(0), "no pid");
            let out = w.succeed(&["list", "-q"])?;
            w.eq("list -q", out.stdout, format!("{id}\n"));
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "cli.list-table",
        clause: "reference runc: ID PID STATUS BUNDLE CREATED OWNER",
        level: Level::Should,
        steps: &[Step::Create],
        expect: |w| {
            let id = w.id.clone();
            let out = w.succeed(&["list"])?;
            let mut rows = out.stdout.lines();
            let head: Vec<&str> = rows.next().unwrap_or_default().split_whitespace().collect();
            w.eq(
                "head",
                head,
                ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
            );
            let row: Vec<String> = rows
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            w.is(
                row.first() == Some(&id) && row.get(2).is_some_and(|s| s == "created"),
                format!("row {row:?}"),
            );
            w.eq("owner", row.last(), "root");
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "cli.list-empty",
        clause: "reference runc: null for an empty list",
        level: Level::Should,
        steps: &[Step::Do(|w| {
            let out = w.succeed(&["list", "--format", "json"])?;
            w.eq("list", out.stdout.trim(), "null");
            let out = w.succeed(&["list", "-q"])?;
            w.eq("list -q", out.stdout.trim(), "");
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.ps",
        clause: "reference: ps --format json is an array of host pids",
        config: |s| s.args(&["fork", "2", "--", "sleep"]),
        steps: &[Step::Create, Step::Start, Step::Wait(Cond::Said("fork"), 5)],
        expect: |w| {
            let id = w.id.clone();
            let pid = w.pid()?;
            let out = w.succeed(&["ps", "--format", "json", &id])?;
            let list = json_of(&out)?;
            w.eq("processes", list.as_array().map_or(0, Vec::len), 3);
            w.is(
                list.as_array().is_some_and(|l| l.iter().any(|p| p == pid)),
                format!("init is not in {list}"),
            );
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cli.ps-table",
        clause: "reference runc: ps is the host's ps, its rows filtered",
        level: Level::Should,
        needs: &[Need::Root, Need::Program("ps")],
        steps: &[Step::Create, Step::Start, RUNNING],
        expect: |w| {
            let id = w.id.clone();
            let pid = w.pid()?.to_string();
            let out = w.succeed(&["ps", &id])?;
            w.eq("rows", out.stdout.lines().count(), 2);
            w.is(
                out.stdout.lines().next().is_some_and(|l| l.contains("PID")),
                "no head",
            );
            w.is(
                out.stdout
                    .lines()
                    .nth(1)
                    .is_some_and(|l| l.split_whitespace().any(|x| x == pid)),
                "init is not in it",
            );
            let out = w.succeed(&["ps", &id, "-o", "pid,comm"])?;
            w.is(
                out.stdout
                    .lines()
                    .any(|l| l.contains(&pid) && l.contains("probe")),
                format!("with own options: {}", out.stdout),
            );
            Ok(())
        },
        ..Case::SLEEP
    },
    Case {
        id: "cli.flags-after-the-id",
        clause: "reference: options may follow the id, except in exec and ps",
        level: Level::Should,
        config: |s| s.args(&["echo", "x"]),
        steps: &[Step::Do(|w| {
            w.setup.store()?;
            let (id, bundle) = (w.id.clone(), w.bundle());
            w.succeed(&["run", &id, "--bundle", &bundle]).map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.single-dash-options",
        clause: "reference: long options with one dash, as Go's flags have them; go-runc passes -no-subreaper",
        level: Level::Should,
        config: |s| s.args(&["echo", "x"]),
        steps: &[Step::Do(|w| {
            w.setup.store()?;
            let (id, bundle) = (w.id.clone(), w.bundle());
            w.succeed(&["run", "-no-subreaper", "-bundle", &bundle, &id])
                .map(drop)
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.bundle-is-the-working-directory",
        clause: "reference: without --bundle the bundle is the working directory",
        config: |s| s.args(&["echo", "x"]),
        steps: &[Step::Do(|w| {
            w.setup.store()?;
            let (id, dir) = (w.id.clone(), w.setup.place.bundle());
            let out = w.call(Call::new(&["run", &id]).dir(&dir))?;
            require(&out)?;
            w.contains("the container", &out.stdout, &["\"x\""]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.pid-file",
        clause: "reference: the pid file is the bare number of init",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Do(|w| {
            let path = w.scratch("pid");
            let text = path.to_string_lossy().into_owned();
            let out = w.launch("create", &["--pid-file", &text])?;
            require(&out)?;
            let content = fs::read_to_string(&path)?;
            let pid = w.pid()?;
            w.eq("the pid file", content, pid.to_string());
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.pid-file-that-cannot-be-written",
        clause: "safety: without the pid file that was asked for there is no container",
        config: |s| s.args(&["sleep"]),
        steps: &[Step::Fails(
            &Step::CreateWith(&["--pid-file", "/no/such/directory/pid"]),
            &["/no/such/directory"],
        )],
        ..Case::IDLE
    },
    Case {
        id: "cli.log-has-one-error-record",
        clause: "reference: exactly one error record for each failed command; containerd reads the last",
        steps: &[Step::Do(|w| {
            let out = w.refuse(&["state", "ghost"])?;
            one_error(w, &out);
            let out = w.refuse(&["start", "ghost"])?;
            one_error(w, &out);
            w.setup.set("/process/args", json!(["no-such-program"]));
            let out = w.launch("create", &[])?;
            one_error(w, &out);
            w.setup.set("/process/args", json!(["/probe", "report"]));
            w.setup.mount("/data", "bind", "/no/such/source", &["bind"]);
            let out = w.launch("run", &[])?;
            one_error(w, &out);
            w.setup.raw = Some("{".into());
            let out = w.launch("create", &[])?;
            one_error(w, &out);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.log-is-empty-after-success",
        clause: "reference: without --debug nothing goes to the log when nothing is wrong",
        level: Level::Should,
        config: |s| s.args(&["sleep"]),
        steps: &[
            Step::Create,
            Step::Start,
            RUNNING,
            Step::Kill("KILL"),
            Step::Wait(Cond::Status("stopped"), 10),
            Step::Delete,
        ],
        expect: |w| {
            let texts: Vec<String> = w
                .transcript
                .iter()
                .map(|o| o.log_text.clone())
                .filter(|t| !t.trim().is_empty())
                .collect();
            w.eq("logs", texts, Vec::<String>::new());
            let errs: Vec<String> = w
                .transcript
                .iter()
                .map(|o| o.stderr.clone())
                .filter(|t| !t.trim().is_empty())
                .collect();
            w.eq("stderr", errs, Vec::<String>::new());
            Ok(())
        },
        ..Case::RUN
    },
    Case {
        id: "cli.log-is-appended",
        clause: "reference: the log is opened for appending",
        needs: &[],
        steps: &[Step::Do(|w| {
            let path = w.scratch("mine.log");
            fs::write(&path, "{\"level\":\"info\",\"msg\":\"before\",\"time\":\"x\"}\n")?;
            let text = path.to_string_lossy().into_owned();
            let out = w.call(Call::new(&["state", "ghost"]).without_log().global(&[
                "--log",
                &text,
                "--log-format",
                "json",
            ]))?;
            w.is(!out.ok(), "it succeeded");
            let content = fs::read_to_string(&path)?;
            w.is(
                content.starts_with("{\"level\":\"info\",\"msg\":\"before\""),
                "what was there is gone",
            );
            w.eq("lines", content.lines().count(), 2);
            w.is(
                !out.stderr.trim().is_empty(),
                "stderr has no message besides the log",
            );
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.log-of-text",
        clause: "reference: the format text is logrus-like: time, level, msg",
        level: Level::Should,
        needs: &[],
        steps: &[Step::Do(|w| {
            let path = w.scratch("mine.log");
            let text = path.to_string_lossy().into_owned();
            let _ = w.call(
                Call::new(&["state", "ghost"])
                    .without_log()
                    .global(&["--log", &text]),
            )?;
            let content = fs::read_to_string(&path)?;
            w.contains("the log", &content, &["level=error", "msg=", "does not exist"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.log-format-unknown",
        clause: "reference: an unknown log format is an error that names it",
        needs: &[],
        steps: &[Step::Do(|w| {
            let out = w.call(
                Call::new(&["list"])
                    .without_log()
                    .global(&["--log-format", "fantasy"]),
            )?;
            w.is(!out.ok(), "it succeeded");
            w.mentions(&out, &["fantasy"]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.preserve-fds",
        clause: "reference --preserve-fds N: 3 to 3+N-1 stay open, others do not",
        steps: &[Step::Do(|w| {
            let (read, write) = crate::kernel::pipe()?;
            let spare = read.try_clone()?;
            let call = w
                .launching("run", &["--preserve-fds", "2"])?
                .before(crate::kernel::BeforeExec::Descriptor(spare, 20))
                .before(crate::kernel::BeforeExec::Descriptor(read, 3))
                .before(crate::kernel::BeforeExec::Descriptor(write, 4));
            let out = w.call(call)?;
            require(&out)?;
            let report = w.report()?;
            let open: Vec<u64> = report["fds"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|f| f["fd"].as_u64())
                .collect();
            w.eq("open descriptors", open, [0, 1, 2, 3, 4]);
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.preserve-fds-that-are-not-open",
        clause: "reference: --preserve-fds of a closed descriptor is an error",
        steps: &[Step::Fails(&Step::RunWith(&["--preserve-fds", "5"]), &[])],
        ..Case::IDLE
    },
    Case {
        id: "cli.listen-fds",
        clause: "reference: LISTEN_FDS passes sockets on and LISTEN_PID is 1",
        steps: &[Step::Do(|w| {
            let (read, _write) = crate::kernel::pipe()?;
            let call = w
                .launching("run", &[])?
                .listening(1)
                .before(crate::kernel::BeforeExec::Descriptor(read, 3));
            let out = w.call(call)?;
            require(&out)?;
            let report = w.report()?;
            let open: Vec<u64> = report["fds"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|f| f["fd"].as_u64())
                .collect();
            w.eq("open descriptors", open, [0, 1, 2, 3]);
            let env: Vec<&str> = report["raw_env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            w.is(env.contains(&"LISTEN_FDS=1"), format!("no LISTEN_FDS: {env:?}"));
            w.is(env.contains(&"LISTEN_PID=1"), format!("no LISTEN_PID: {env:?}"));
            Ok(())
        })],
        ..Case::IDLE
    },
    Case {
        id: "cli.root-is-made",
        clause: "reference: --root is made when it is missing",
        config: |s| s.args(&["echo", "x"]),
        steps: &[Step::Do(|w| {
            w.setup.store()?;
            let (id, bundle) = (w.id.clone(), w.bundle());
            let root = w.setup.place.dir.join("deep/state");
            let text = root.to_string_lossy().into_owned();
            let out = w.call(
                Call::new(&["run", "--bundle", &bundle, &id])
                    .without_root()
                    .global(&["--root", &text]),
            )?;
            require(&out)?;
            w.is(root.is_dir(), "it is not there");
            Ok(())
        })],
        ..Case::IDLE
    },
];
