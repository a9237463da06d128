//! The command line from outside: what the binary prints, where, and how it exits. Needs no rights.

#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(program: impl AsRef<OsStr>) -> Command {
    let mut c = Command::new(program);
    c.stdin(Stdio::null())
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("NOTIFY_SOCKET");
    c
}

fn runb<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    command(env!("CARGO_BIN_EXE_runb")).args(args).output().unwrap()
}

fn out(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}

fn err(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}

/// The message of the one text record on stderr.
fn message(o: &Output) -> String {
    let text = err(o);
    assert_eq!(text.lines().count(), 1, "one record, not: {text}");
    let (_, quoted) = text
        .trim_end()
        .split_once(" level=error msg=")
        .unwrap_or_else(|| panic!("no error record: {text}"));
    // A bare word or Go's quotes, which for these messages are JSON's.
    serde_json::from_str(quoted).unwrap_or_else(|_| quoted.to_string())
}

const VERBS: [&str; 22] = [
    "checkpoint",
    "create",
    "delete",
    "events",
    "exec",
    "kill",
    "list",
    "pause",
    "ps",
    "restore",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "features",
    "plan",
    "check",
    "gc",
    "completion",
    "man",
];

#[test]
fn every_command_has_help() {
    for verb in VERBS {
        let texts = [
            &[verb, "--help"][..],
            &[verb, "-h"],
            &["help", verb],
            &["h", verb],
            &[verb, "some-id", "-help"],
        ]
        .into_iter()
        // Behind the container of these two nothing is a flag of ours.
        .filter(|args| !(args.len() == 3 && ["exec", "ps"].contains(&verb)))
        .map(|args| {
            let o = runb(args);
            assert_eq!(o.status.code(), Some(0), "{args:?}");
            assert_eq!(err(&o), "", "{args:?}");
            out(&o)
        })
        .collect::<Vec<_>>();
        assert!(texts.iter().all(|t| *t == texts[0]), "{verb}: {texts:#?}");
        let lines: Vec<&str> = texts[0].lines().collect();
        assert_eq!(lines[0], "NAME:");
        assert!(
            lines[1].starts_with(&format!("   runb {verb} - ")),
            "{}",
            lines[1]
        );
        assert!(
            lines.contains(&"USAGE:") && lines.contains(&"OPTIONS:"),
            "{}",
            texts[0]
        );
    }
}

#[test]
fn the_program_has_help() {
    for args in [
        &[][..],
        &["--help"],
        &["-h"],
        &["help"],
        &["h"],
        &["--debug", "-help"],
        &["--"],
    ] {
        let o = runb(args);
        assert_eq!(o.status.code(), Some(0), "{args:?}");
        let text = out(&o);
        assert!(
            text.starts_with("NAME:\n   runb - Open Container Initiative runtime\n"),
            "{text}"
        );
        for verb in VERBS.iter().filter(|v| **v != "man") {
            assert!(text.contains(&format!("\n   {verb} ")), "{verb} is not listed");
        }
        assert!(!text.contains("criu v"), "hidden flags are hidden");
    }
}

#[test]
fn versions() {
    for args in [["--version"], ["-v"], ["-version"]] {
        let text = out(&runb(args));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("runb version {}", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn called_runc_it_is_runc() {
    let as_runc = |args: &[&str]| {
        command(env!("CARGO_BIN_EXE_runb"))
            .arg0("/usr/sbin/runc")
            .args(args)
            .output()
            .unwrap()
    };
    assert!(out(&as_runc(&["--version"])).starts_with("runc version 1.5.1\ncommit: "));
    assert!(out(&as_runc(&["--help"])).contains("(default: \"/run/runc\")"));
    assert!(out(&as_runc(&["state", "--help"])).starts_with("NAME:\n   runc state - "));
    assert_eq!(
        message(&as_runc(&["state"])),
        "runc: \"state\" requires exactly 1 argument(s)"
    );
    assert!(message(&as_runc(&["run", "a/b"])).starts_with("runc run failed: "));
    let bundle = Scratch::new("as-runc");
    assert!(
        as_runc(&["spec", "-b", bundle.0.to_str().unwrap()])
            .status
            .success()
    );
    assert_eq!(config(&bundle.0)["hostname"], "runc");
}

/// Arguments, exit code, message, and the first line of stdout where the usage is the matter.
type Refusal = (&'static [&'static str], i32, &'static str, Option<&'static str>);

const WRONG_COUNT: Option<&str> = Some("Incorrect Usage.");

/// What runc says as well, word for word.
const AS_RUNC: [Refusal; 20] = [
    (
        &["state"],
        1,
        "runb: \"state\" requires exactly 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["start", "a", "b"],
        1,
        "runb: \"start\" requires exactly 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["list", "x"],
        1,
        "runb: \"list\" requires exactly 0 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["exec"],
        1,
        "runb: \"exec\" requires a minimum of 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["ps"],
        1,
        "runb: \"ps\" requires a minimum of 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["kill"],
        1,
        "runb: \"kill\" requires a minimum of 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["kill", "a", "b", "c"],
        1,
        "runb: \"kill\" requires a maximum of 2 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["create", "--", "-x", "-y"],
        1,
        "runb: \"create\" requires exactly 1 argument(s)",
        WRONG_COUNT,
    ),
    (
        &["-x"],
        1,
        "flag provided but not defined: -x",
        Some("Incorrect Usage. flag provided but not defined: -x"),
    ),
    (
        &["--log"],
        1,
        "flag needs an argument: -log",
        Some("Incorrect Usage. flag needs an argument: -log"),
    ),
    (
        &["---x"],
        1,
        "bad flag syntax: ---x",
        Some("Incorrect Usage. bad flag syntax: ---x"),
    ),
    (
        &["run", "-x", "a"],
        1,
        "flag provided but not defined: -x",
        Some("Incorrect Usage: flag provided but not defined: -x"),
    ),
    (
        &["restore", "--lsm-mount-context"],
        1,
        "flag needs an argument: -lsm-mount-context",
        Some("Incorrect Usage: flag needs an argument: -lsm-mount-context"),
    ),
    (
        &["run", "--preserve-fds", "x", "a"],
        1,
        "invalid value \"x\" for flag -preserve-fds: parse error",
        Some("Incorrect Usage: invalid value \"x\" for flag -preserve-fds: parse error"),
    ),
    (
        &["run", "--keep=maybe", "a"],
        1,
        "invalid boolean value \"maybe\" for -keep: parse error",
        Some("Incorrect Usage: invalid boolean value \"maybe\" for -keep: parse error"),
    ),
    (
        &["events", "--interval", "5", "a"],
        1,
        "invalid value \"5\" for flag -interval: parse error",
        Some("Incorrect Usage: invalid value \"5\" for flag -interval: parse error"),
    ),
    (&["nosuch"], 3, "No help topic for 'nosuch'", None),
    (&["help", "nosuch"], 3, "No help topic for 'nosuch'", None),
    (
        &["--log-format", "xml", "list"],
        1,
        "invalid log-format: xml",
        None,
    ),
    (&["state", ""], 1, "container id cannot be empty", None),
];

/// What runc accepts, says later or says otherwise.
const OWN: [Refusal; 18] = [
    (
        &["run", "a", "--x=1"],
        1,
        "flag provided but not defined: -x",
        Some("Incorrect Usage: flag provided but not defined: -x"),
    ),
    (
        &["create", "a", "-b"],
        1,
        "flag needs an argument: -b",
        Some("Incorrect Usage: flag needs an argument: -b"),
    ),
    (&["nosuch", "-h"], 3, "No help topic for 'nosuch'", None),
    (
        &["--root", "/", "list"],
        1,
        "Option --root argument should not be set to /",
        None,
    ),
    (
        &["--root", "/a/../..", "list"],
        1,
        "Option --root argument should not be set to /",
        None,
    ),
    (
        &["--rootless", "x", "list"],
        1,
        "invalid --rootless value \"x\": choose true, false or auto",
        None,
    ),
    (&["state", "a/b"], 1, "invalid container ID format", None),
    (
        &["create", ".."],
        1,
        "runb create failed: invalid container ID format",
        None,
    ),
    (
        &["run", "a b"],
        1,
        "runb run failed: invalid container ID format",
        None,
    ),
    (
        &["exec", "a/b", "true"],
        255,
        "exec failed: invalid container ID format",
        None,
    ),
    (
        &["exec", "a"],
        255,
        "exec failed: exec args cannot be empty",
        None,
    ),
    (
        &["exec", "-u", "", "a", "b"],
        255,
        "exec failed: bad uid: \"\" is not a decimal number between 0 and 4294967294",
        None,
    ),
    (
        &["exec", "-u", "0:0x0", "a", "b"],
        255,
        "exec failed: bad gid: \"0x0\" is not a decimal number between 0 and 4294967294",
        None,
    ),
    (
        &["exec", "-g", "-1", "a", "b"],
        255,
        "exec failed: additional-gids must be a positive number -1",
        None,
    ),
    (&["kill", "a", "FOO"], 1, "unknown signal \"FOO\"", None),
    (&["list", "-f", "xml"], 1, "invalid format option", None),
    (
        &["update", "--memory", "x", "a"],
        1,
        "invalid value for memory: invalid size: 'x'",
        None,
    ),
    (
        &["events", "--interval", "0", "a"],
        1,
        "duration interval must be greater than 0",
        None,
    ),
];

#[test]
fn refusals_name_the_reason_once_and_create_nothing() {
    let work = Scratch::new("refusals");
    for (args, code, text, usage) in AS_RUNC.into_iter().chain(OWN) {
        let o = command(env!("CARGO_BIN_EXE_runb"))
            .args(args)
            .current_dir(&work.0)
            .output()
            .unwrap();
        assert_eq!(o.status.code(), Some(code), "{args:?}");
        assert_eq!(message(&o), text, "{args:?}");
        match usage {
            Some(line) => {
                let stdout = out(&o);
                assert_eq!(stdout.lines().next(), Some(line), "{args:?}");
                assert!(stdout.contains("\nNAME:\n   runb"), "{args:?}: {stdout}");
            }
            None => assert_eq!(out(&o), "", "{args:?}"),
        }
        assert_eq!(
            fs::read_dir(&work.0).unwrap().count(),
            0,
            "{args:?} left something behind"
        );
    }
}

#[test]
fn a_removed_working_directory_matters_only_to_relative_paths() {
    let scratch = Scratch::new("removed");
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    let run = |bundle: &Path| {
        let mut c = command("sh");
        c.current_dir(&scratch.0)
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_runb"), "--root"])
            .arg(scratch.path("root"))
            .args(["create", "--bundle"])
            .arg(bundle)
            .arg("c");
        message(&c.output().unwrap())
    };
    let absolute = run(&scratch.0);
    assert!(absolute.contains("config.json not found"), "{absolute}");
    let relative = run(Path::new("bundle"));
    assert!(relative.contains("getcwd"), "{relative}");
}

#[test]
fn a_log_file_receives_exactly_one_record() {
    let work = Scratch::new("log");
    let log = work.path("log.json");
    fs::write(&log, "{\"old\":1}\n").unwrap();
    let o = runb([
        OsStr::new("--log"),
        log.as_os_str(),
        OsStr::new("--log-format=json"),
        "kill".as_ref(),
        "a".as_ref(),
        "<FOO>".as_ref(),
    ]);
    assert_eq!(o.status.code(), Some(1));
    assert_eq!(
        err(&o),
        "unknown signal \"<FOO>\"\n",
        "stderr gets the bare sentence"
    );
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "{\"old\":1}", "appended to, not replaced");
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[1].starts_with(
            "{\"level\":\"error\",\"msg\":\"unknown signal \\\"\\u003cFOO\\u003e\\\"\",\"time\":\"20"
        ),
        "{}",
        lines[1]
    );
    let record: Value = serde_json::from_str(lines[1]).unwrap();
    assert_eq!(record.as_object().unwrap().len(), 3);
    assert!(record["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_log_file_is_made_readable_and_stays_empty_without_an_error() {
    let work = Scratch::new("log-mode");
    let log = work.path("log");
    let o = runb([
        OsStr::new("--criu"),
        "x".as_ref(),
        "--log".as_ref(),
        log.as_os_str(),
        "features".as_ref(),
    ]);
    assert!(o.status.success());
    assert_eq!(
        err(&o),
        "",
        "warnings do not reach stderr when there is a log file"
    );
    let meta = fs::metadata(&log).unwrap();
    assert_eq!(meta.len(), 0, "warnings need --debug");
    assert_eq!(meta.permissions().mode() & 0o7111, 0, "no more than 0644");
    let o = runb([
        OsStr::new("--debug"),
        "--criu=x".as_ref(),
        "--log".as_ref(),
        log.as_os_str(),
        "features".as_ref(),
    ]);
    assert!(o.status.success());
    assert!(
        fs::read_to_string(&log)
            .unwrap()
            .contains(" level=warning msg=\"--criu is ignored")
    );
}

#[test]
fn json_on_stderr() {
    let o = runb(["--log-format", "json", "state", "a/b"]);
    let record: Value = serde_json::from_str(&err(&o)).unwrap();
    assert_eq!(record["level"], "error");
    assert_eq!(record["msg"], "invalid container ID format");
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let o = runb(["--log", "/nonexistent/log", "features"]);
    assert_eq!(o.status.code(), Some(1));
    assert!(
        message(&o).contains("/nonexistent/log: no such file or directory"),
        "{}",
        message(&o)
    );
    assert_eq!(out(&o), "");
}

#[test]
fn the_obsolete_criu_flag_is_accepted() {
    let o = runb(["--criu", "/usr/sbin/criu", "features"]);
    assert!(o.status.success());
    assert!(
        err(&o).contains(" level=warning msg=\"--criu is ignored"),
        "{}",
        err(&o)
    );
}

// ---- spec and features ---------------------------------------------------------------------------------------------

fn config(bundle: &Path) -> Value {
    serde_json::from_slice(&fs::read(bundle.join("config.json")).unwrap()).unwrap()
}

#[test]
fn spec_writes_once() {
    let work = Scratch::new("spec");
    let o = command(env!("CARGO_BIN_EXE_runb"))
        .arg("spec")
        .current_dir(&work.0)
        .output()
        .unwrap();
    assert!(o.status.success(), "{}", err(&o));
    let text = fs::read_to_string(work.path("config.json")).unwrap();
    assert!(
        text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n"),
        "{text}"
    );
    assert!(text.ends_with("\n\t}\n}"), "no newline at the end");
    let o = runb([
        OsStr::new("spec"),
        "--rootless".as_ref(),
        "--bundle".as_ref(),
        work.0.as_os_str(),
    ]);
    assert_eq!(o.status.code(), Some(1));
    assert_eq!(message(&o), "File config.json exists. Remove it first");
    assert_eq!(fs::read_to_string(work.path("config.json")).unwrap(), text);
    assert!(message(&runb(["spec", "-b", "/nonexistent"])).ends_with("no such file or directory"));
}

#[test]
fn spec_for_an_ordinary_user() {
    let work = Scratch::new("rootless");
    assert!(
        runb([
            OsStr::new("spec"),
            "--rootless".as_ref(),
            "-b".as_ref(),
            work.0.as_os_str()
        ])
        .status
        .success()
    );
    let spec = config(&work.0);
    assert_eq!(spec["linux"]["uidMappings"][0]["size"], 1);
    assert!(
        spec["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| n["type"] != "network")
    );
}

#[test]
fn features_need_nothing() {
    let o = command(env!("CARGO_BIN_EXE_runb"))
        .arg("features")
        .env_clear()
        .current_dir("/")
        .output()
        .unwrap();
    assert!(o.status.success());
    let f: Value = serde_json::from_slice(&o.stdout).unwrap();
    assert_eq!(f["linux"]["mountExtensions"]["idmap"]["enabled"], true);
    assert!(out(&o).starts_with("{\n    \"ociVersionMin\""));
}

#[test]
fn half_an_answer_is_an_error() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let o = command(env!("CARGO_BIN_EXE_runb"))
        .arg("features")
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(o.status.code(), Some(1));
    assert!(message(&o).contains("no space left on device"), "{}", message(&o));
}

// ---- plan and check ------------------------------------------------------------------------------------------------

/// A bundle that whoever runs the tests could start.
fn bundle(work: &Scratch, edit: impl FnOnce(&mut Value)) {
    let spec = [
        OsStr::new("spec"),
        "--rootless".as_ref(),
        "-b".as_ref(),
        work.0.as_os_str(),
    ];
    assert!(runb(spec).status.success());
    let mut value = config(&work.0);
    edit(&mut value);
    fs::write(work.path("config.json"), value.to_string()).unwrap();
}

#[test]
fn plan_shows_the_steps_and_changes_nothing() {
    let work = Scratch::new("plan");
    bundle(&work, |_| {});
    let o = runb([OsStr::new("plan"), "--bundle".as_ref(), work.0.as_os_str()]);
    assert!(o.status.success(), "{}", err(&o));
    let plan: Value = serde_json::from_slice(&o.stdout).unwrap();
    let steps: Vec<&str> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_str().unwrap())
        .collect();
    assert_eq!(steps.last(), Some(&"Exec"));
    assert_eq!(plan["plan"]["process"]["args"][0], "sh");
    assert_eq!(
        fs::read_dir(&work.0).unwrap().count(),
        1,
        "only config.json is there"
    );
}

#[test]
fn check_names_every_problem() {
    let work = Scratch::new("check");
    let check = || runb([OsStr::new("check"), "-b".as_ref(), work.0.as_os_str()]);
    bundle(&work, |_| {});
    let o = check();
    assert_eq!(
        (o.status.code(), message(&o).contains("(/root/path)")),
        (Some(1), true),
        "there is no rootfs yet"
    );
    fs::create_dir(work.path("rootfs")).unwrap();
    let o = check();
    assert!(o.status.success(), "{}", err(&o));
    assert!(out(&o).ends_with(": nothing stands against it\n"));
    fs::remove_file(work.path("config.json")).unwrap();
    assert_eq!(message(&check()), "JSON specification file config.json not found");
    for (edit, places) in [
        (
            (|c: &mut Value| {
                c["process"]["cwd"] = "here".into();
                c["hostname"] = "x".repeat(65).into();
                c["ociVersion"] = "2.0".into();
            }) as fn(&mut Value),
            ["(/process/cwd)", "(/hostname)", "(/ociVersion)"],
        ),
        (
            |c| {
                c["process"]["user"]["uid"] = (-1).into();
                c["process"]["args"] = "sh".into();
                c["linux"]["maskedPaths"] = serde_json::json!([7]);
            },
            ["(/process/user/uid)", "(/process/args)", "(/linux/maskedPaths/0)"],
        ),
    ] {
        let _ = fs::remove_file(work.path("config.json"));
        bundle(&work, edit);
        let o = check();
        assert_eq!(o.status.code(), Some(1));
        let text = message(&o);
        assert!(places.iter().all(|p| text.contains(p)), "{text}");
    }
}

// ---- what is generated ---------------------------------------------------------------------------------------------

/// docs/man and docs/completions hold what the tables say. `BLESS=1 cargo test -p runtime --test cli` writes them anew.
#[test]
fn manual_and_completions_are_current() {
    let work = Scratch::new("generated");
    assert!(
        runb([OsStr::new("man"), work.path("man").as_os_str()])
            .status
            .success()
    );
    fs::create_dir(work.path("completions")).unwrap();
    for (shell, file) in [("bash", "runb.bash"), ("zsh", "_runb"), ("fish", "runb.fish")] {
        fs::write(
            work.path("completions").join(file),
            runb(["completion", shell]).stdout,
        )
        .unwrap();
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for directory in ["man", "completions"] {
        for entry in fs::read_dir(work.path(directory)).unwrap() {
            let made = entry.unwrap().path();
            let kept = docs.join(directory).join(made.file_name().unwrap());
            if std::env::var_os("BLESS").is_some() {
                fs::create_dir_all(kept.parent().unwrap()).unwrap();
                fs::copy(&made, &kept).unwrap();
            }
            assert_eq!(
                fs::read_to_string(&kept).unwrap_or_default(),
                fs::read_to_string(&made).unwrap(),
                "{} is not what the program says; run this test with BLESS=1",
                kept.display()
            );
        }
    }
}

#[test]
fn bash_accepts_its_completions() {
    let o = Command::new("bash")
        .args(["-n", "/dev/stdin"])
        .stdin(script("bash"))
        .output()
        .unwrap();
    assert!(o.status.success(), "{}", err(&o));
    let complete = |words: &str| {
        let line = format!(
            "PATH={}:$PATH; source /dev/stdin; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _runb; echo \"${{COMPREPLY[*]}}\"",
            Path::new(env!("CARGO_BIN_EXE_runb")).parent().unwrap().display()
        );
        let o = Command::new("bash")
            .args(["--norc", "-c", &line])
            .stdin(script("bash"))
            .output()
            .unwrap();
        assert!(o.status.success(), "{}", err(&o));
        out(&o).trim().to_string()
    };
    for (words, offered) in [
        ("runb cr", "create"),
        ("runb --log-format ''", "text json"),
        ("runb --root /x create --no", "--no-pivot --no-new-keyring"),
        ("runb kill x K", "KILL"),
        ("runb exec x -", ""),
        ("runb help up", "update"),
        ("runb create -b /de", "/dev"),
        ("runb completion ''", "bash zsh fish"),
    ] {
        assert_eq!(complete(words), offered, "{words}");
    }
}

fn script(shell: &str) -> Stdio {
    let mut child = command(env!("CARGO_BIN_EXE_runb"))
        .args(["completion", shell])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    // The pipe holds the whole script, so the writer ends before the reader begins.
    assert!(child.wait().unwrap().success());
    stdout.into()
}

// ---- beside runc ---------------------------------------------------------------------------------------------------

fn runc() -> Option<&'static str> {
    let found = [
        "/usr/sbin/runc",
        "/usr/bin/runc",
        "/usr/local/sbin/runc",
        "/usr/local/bin/runc",
    ]
    .into_iter()
    .find(|p| Path::new(p).exists());
    if found.is_none() {
        println!("skip cli.runc: runc is not installed");
    }
    found
}

#[test]
fn refusals_are_those_of_runc() {
    let Some(runc) = runc() else { return };
    let work = Scratch::new("beside-runc");
    for (args, code, text, usage) in AS_RUNC {
        let o = command(runc).args(args).current_dir(&work.0).output().unwrap();
        assert_eq!(o.status.code(), Some(code), "{args:?}");
        // runc puts argv[0] in front, and has a newline left over where there is no topic.
        let theirs = message(&o).trim_end().replace(&format!("{runc}: "), "runb: ");
        assert_eq!(theirs, text, "{args:?}");
        if let Some(line) = usage {
            assert_eq!(out(&o).lines().next(), Some(line), "{args:?}");
        }
    }
}

#[test]
fn the_default_configuration_is_that_of_runc() {
    let Some(runc) = runc() else { return };
    let (a, b) = (Scratch::new("spec-runb"), Scratch::new("spec-runc"));
    for flags in [&[][..], &["--rootless"]] {
        for (program, bundle) in [(env!("CARGO_BIN_EXE_runb"), &a), (runc, &b)] {
            let _ = fs::remove_file(bundle.path("config.json"));
            let o = command(program)
                .arg("spec")
                .args(flags)
                .current_dir(&bundle.0)
                .output()
                .unwrap();
            assert!(o.status.success(), "{}", err(&o));
        }
        let (mut own, mut theirs) = (config(&a.0), config(&b.0));
        for spec in [&mut own, &mut theirs] {
            // The version is the implementer's; 1.1 still gave ambient capabilities, 1.5 does not.
            spec["ociVersion"].take();
            spec["hostname"].take();
            let caps = spec["process"]["capabilities"].as_object_mut().unwrap();
            caps.remove("ambient");
            caps.remove("inheritable");
        }
        assert_eq!(own, theirs, "{flags:?}");
        let text = |s: &Scratch| fs::read_to_string(s.path("config.json")).unwrap();
        let keys = |s: &Scratch| {
            text(s)
                .lines()
                .filter(|l| l.starts_with("\t\""))
                .map(|l| l[..8].to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(keys(&a), keys(&b), "order of keys");
    }
}

#[test]
fn help_has_the_shape_of_runc() {
    let Some(runc) = runc() else { return };
    let headings = |text: String| {
        text.lines()
            .filter(|l| l.ends_with(':') && l.to_uppercase() == *l && l.len() > 3)
            .map(str::to_string)
            .collect::<Vec<_>>()
    };
    let own = headings(out(&runb(["--help"])));
    let theirs = headings(out(&command(runc).arg("--help").output().unwrap()));
    assert_eq!(own, theirs);
    // Every flag that runc lists is listed here, but for the obsolete ones.
    for verb in [
        "",
        "create",
        "run",
        "exec",
        "kill",
        "list",
        "ps",
        "events",
        "update",
        "checkpoint",
        "restore",
        "spec",
        "delete",
    ] {
        let args: Vec<&str> = if verb.is_empty() {
            vec!["--help"]
        } else {
            vec![verb, "--help"]
        };
        let own = out(&runb(&args));
        let theirs = out(&command(runc).args(&args).output().unwrap());
        for line in theirs.lines().filter(|l| l.starts_with("   --")) {
            let spelling = line.trim_start().split("  ").next().unwrap();
            let obsolete = [
                "--criu value",
                "--all, -a",
                "--kernel-memory value",
                "--kernel-memory-tcp value",
            ];
            assert!(
                obsolete.contains(&spelling) || own.contains(spelling),
                "{verb}: {spelling} is missing"
            );
        }
    }
}
