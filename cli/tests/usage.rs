//! Command lines that go wrong before any work begins: exit codes and words, compared with what a Docker client says.
//!
//! The answers were taken down from Docker 28.2.2, with two of its words corrected that 29 says otherwise. Where a client of
//! version 28 or later is installed it is asked as well, so that the file cannot rot.

#![allow(clippy::unwrap_used)]

use serde::{Deserialize, Serialize};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Case {
    args: Vec<String>,
    code: i32,
    stdout: String,
    stderr: String,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("golden/usage.json")).unwrap()
}

fn ask(program: &Path, name: &str, args: &[String]) -> Case {
    let output = Command::new(program)
        .arg0(name)
        .args(args)
        .env("LANG", "C.UTF-8")
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Case {
        args: args.to_vec(),
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn brig() -> PathBuf {
    env!("CARGO_BIN_EXE_brig").into()
}

#[test]
fn as_docker_complains() {
    for case in cases() {
        assert_eq!(ask(&brig(), "docker", &case.args), case);
    }
}

#[test]
fn under_our_own_name() {
    let answer = ask(&brig(), "/usr/local/bin/brig", &["rmi".to_owned()]);
    assert_eq!(
        answer.stderr,
        "brig: 'brig rmi' requires at least 1 argument\n\nUsage:  brig rmi [OPTIONS] IMAGE [IMAGE...]\n\n\
         See 'brig rmi --help' for more information\n"
    );
    assert_eq!(answer.code, 1);
}

/// The installed client, if it is new enough: 20.10 has other words.
fn client() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|d| d.join("docker"))
        .find(|program| {
            let Ok(output) = Command::new(program).arg("--version").output() else {
                return false;
            };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = text
                .strip_prefix("Docker version ")
                .and_then(|v| v.split('.').next());
            version
                .and_then(|v| v.parse::<u32>().ok())
                .is_some_and(|v| v >= 28)
        })
}

#[test]
fn the_file_is_what_the_installed_client_says() {
    let Some(client) = client() else {
        println!("skipped: no docker client of version 28 or later");
        return;
    };
    for case in cases() {
        let mut answer = ask(&client, "docker", &case.args);
        answer.stderr = answer.stderr.replace("\nSRun ", "\nRun ").replace(
            "Error: Cannot perform an interactive login from a non TTY device",
            "error: cannot perform an interactive login from a non-TTY device",
        );
        assert_eq!(answer, case);
    }
}

#[test]
fn groups_alone_show_their_help() {
    for (args, on_stdout) in [
        (&[][..], false),
        (&["image"], false),
        (&["--help"], true),
        (&["image", "--help"], true),
        (&["image", "ls", "--help"], true),
        (&["help", "image", "ls"], true),
        (&["images", "-h"], true),
    ] {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let answer = ask(&brig(), "docker", &args);
        let shown = if on_stdout { &answer.stdout } else { &answer.stderr };
        assert_eq!(answer.code, 0, "{args:?}");
        assert!(shown.starts_with("Usage:  docker"), "{args:?}: {answer:?}");
        assert!(
            !shown.contains("{name}") && !shown.contains("brig "),
            "{args:?}: {shown}"
        );
        let deprecated = args.iter().any(|a| a == "-h");
        let expected = if deprecated {
            "Flag shorthand -h has been deprecated, use --help\n"
        } else {
            ""
        };
        assert_eq!(if on_stdout { &answer.stderr } else { &answer.stdout }, expected);
    }
}

#[test]
fn there_is_no_daemon() {
    for args in [
        &["-H", "tcp://x", "images"][..],
        &["--tls", "images"],
        &["-c", "far", "images"],
    ] {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let answer = ask(&brig(), "brig", &args);
        assert_eq!(answer.code, 1);
        assert!(
            answer.stderr.starts_with("brig works without a daemon"),
            "{answer:?}"
        );
    }
}

#[test]
fn versions() {
    let ask = |name: &str, args: &[&str]| {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        ask(&brig(), name, &args).stdout
    };
    assert!(ask("brig", &["--version"]).starts_with("brig version 0."));
    assert!(ask("docker", &["-v"]).starts_with("Docker version 29."));
    assert_eq!(
        ask("docker", &["version", "--format", "{{.Client.Os}}"]),
        "linux\n"
    );
    assert!(ask("docker", &["version", "--format", "{{.Server.Version}}"]).starts_with("29."));
    assert!(ask("docker", &["version", "--format", "json"]).starts_with(r#"{"Client":{"Platform":{"Name":"#));
    let text = ask("docker", &["version"]);
    assert!(text.starts_with("Client: brig"), "{text}");
    assert!(text.contains("\n Version:           29."), "{text}");
    assert!(text.contains("\n Engine:\n  Version:          29."), "{text}");
}

/// Command lines of `create` that a Docker client refuses, in the words of 29 where those are others.
#[test]
fn what_docker_refuses() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/create");
    let files = files.to_string_lossy().into_owned();
    let cases: Vec<serde_json::Value> = serde_json::from_str(include_str!("golden/create.json")).unwrap();
    let refused = cases.iter().filter(|c| c.get("code").is_some());
    let mut count = 0;
    for case in refused {
        let given = case["args"].as_array().unwrap();
        let mut args = vec![
            "--config".to_owned(),
            "/nonexistent".to_owned(),
            "create".to_owned(),
        ];
        args.extend(given.iter().map(|a| a.as_str().unwrap().replace("FILES", &files)));
        let answer = ask(&brig(), "docker", &args);
        let stderr = case.get("docker29").unwrap_or(&case["stderr"]).as_str().unwrap();
        assert_eq!(answer.stderr.replace(&files, "FILES"), stderr, "{given:?}");
        assert_eq!(
            (answer.code, answer.stdout.as_str()),
            (i32::try_from(case["code"].as_i64().unwrap()).unwrap(), ""),
            "{given:?}"
        );
        count += 1;
    }
    assert!(count > 90, "{count}");
}

/// docs/man and docs/completions hold what the tables say. `BLESS=1 cargo test -p cli --test usage` writes them anew.
#[test]
fn pages_and_completions_are_current() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let mut files: Vec<(PathBuf, String)> = cli::man::pages()
        .into_iter()
        .map(|(name, text)| (docs.join("man").join(name), text))
        .collect();
    for (shell, name) in [
        (cli::completion::Shell::Bash, "brig.bash"),
        (cli::completion::Shell::Zsh, "_brig"),
        (cli::completion::Shell::Fish, "brig.fish"),
    ] {
        files.push((
            docs.join("completions").join(name),
            cli::completion::script(shell, "brig"),
        ));
    }
    let pages = std::fs::read_dir(docs.join("man")).unwrap();
    for page in pages.map(|e| e.unwrap().path()) {
        let ours = page.file_name().is_some_and(|n| {
            n.to_string_lossy().starts_with("brig") && page.extension().is_some_and(|e| e == "1")
        });
        if ours && !files.iter().any(|(path, _)| *path == page) {
            assert!(
                std::env::var_os("BLESS").is_some(),
                "{} is nobody's page",
                page.display()
            );
            std::fs::remove_file(&page).unwrap();
        }
    }
    for (path, text) in files {
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap_or_default(),
            text,
            "{} is out of date",
            path.display()
        );
    }
}

/// The script completes in a real bash.
#[test]
fn bash_completes() {
    let script = cli::completion::script(cli::completion::Shell::Bash, "brig");
    for (line, expected) in [
        ("brig im", "images image import"),
        ("brig image pru", "prune"),
        (
            "brig image ",
            "build history import inspect load ls mount prune pull push rm save tag unmount",
        ),
        ("brig --root /x imag", "images image"),
        ("brig images --no", "--no-trunc"),
        (
            "brig pull --platform linux/arm",
            "linux/arm64 linux/arm/v7 linux/arm/v6",
        ),
        ("brig --log-level w", "warn"),
        ("brig completion z", "zsh"),
        ("brig image ls --fil", "--filter"),
    ] {
        let test = format!(
            "{script}\nCOMP_LINE='{line}' COMP_POINT={} COMP_CWORD=1\n_brig\necho \"${{COMPREPLY[*]}}\"",
            line.len()
        );
        let output = Command::new("bash").arg("-c").arg(test).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected, "{line}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line}");
    }
}
