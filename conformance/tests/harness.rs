//! The harness on a real runtime, and on one that misbehaves: what it reports, and what its exit status says. Judges
//! the harness, not the runtime; the full run belongs to `make test`.

#![allow(clippy::unwrap_used)] // a test may

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn conformance(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance"))
        .args(args)
        .output()
        .unwrap()
}

fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn runc() -> Option<PathBuf> {
    let found = ["/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc"]
        .iter()
        .map(PathBuf::from)
        .find(|p| p.exists());
    let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    if !root || found.is_none() {
        println!("skip harness: needs root and runc");
        return None;
    }
    found
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("harness-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn text(p: &Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn usage_errors_have_status_two() {
    for args in [
        &[][..],
        &["fantasy"],
        &["run"],
        &["run", "--runtime", "/no/such/runtime"],
        &["run", "--jobs", "0"],
    ] {
        let out = conformance(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(!out.stderr.is_empty());
    }
}

#[test]
fn help_and_list_need_no_root() {
    let help = conformance(&["--help"]);
    assert!(help.status.success() && stdout(&help).contains("examples:"));
    let list = conformance(&["list", "--filter", "^cve"]);
    assert!(list.status.success());
    assert!(stdout(&list).lines().all(|l| l.starts_with("cve.")) && stdout(&list).lines().count() > 25);
}

#[test]
fn a_good_runtime_passes_and_tap_says_so() {
    let Some(runc) = runc() else { return };
    let out = conformance(&[
        "run",
        "--runtime",
        text(&runc),
        "--filter",
        "process.args,lifecycle.kill",
        "--exclude",
        "kill-",
        "--format",
        "tap",
    ]);
    let said = stdout(&out);
    assert!(said.starts_with("TAP version 13\n1.."), "{said}");
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(said.contains("- process.args\n"), "{said}");
}

#[test]
fn an_unexpected_pass_fails() {
    let Some(runc) = runc() else { return };
    let dir = scratch("unexpected");
    let list = dir.join("list.toml");
    fs::write(&list, "[fails]\n\"process.cwd\" = \"it does not, in truth\"\n").unwrap();
    let out = conformance(&[
        "run",
        "--runtime",
        text(&runc),
        "--filter",
        "^process.cwd",
        "--exclude",
        "cwd-",
        "--expect",
        text(&list),
    ]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stdout(&out).contains("UNEXPECTED PASS"));
    fs::remove_dir_all(dir).unwrap();
}

/// A runtime that does all right but leaves a process, a mount, a cgroup and a file behind.
#[test]
fn leaks_are_seen() {
    let Some(runc) = runc() else { return };
    let dir = scratch("leaks");
    fs::create_dir_all(dir.join("mounted")).unwrap();
    let script = dir.join("leaky");
    let body = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo leaky version 1; exit 0; }}\n{} \"$@\"\ncode=$?\n\
         setsid sleep 300 >/dev/null 2>&1 &\nmount -t tmpfs none {}\ntouch \"$TMPDIR/forgotten\"\n\
         for last; do :; done\nmkdir /sys/fs/cgroup/unified/left-$last 2>/dev/null || mkdir /sys/fs/cgroup/left-$last\nexit $code\n",
        runc.display(),
        dir.join("mounted").display()
    );
    fs::write(&script, body).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let out = conformance(&[
        "run",
        "--runtime",
        text(&script),
        "--filter",
        "process.exit-status",
    ]);
    let said = stdout(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    for leak in [
        "left a process: ",
        "left a mount: ",
        "left a cgroup: ",
        "left a file in TMPDIR: ",
    ] {
        assert!(said.contains(leak), "no {leak:?} in {said}");
    }
    fs::remove_dir_all(dir).unwrap();
}

/// A reference that loses a race now and then is asked again, but not the runtime that is judged.
#[test]
fn a_retry_is_made_and_told() {
    let Some(runc) = runc() else { return };
    let dir = scratch("retry");
    let script = dir.join("racing");
    let body = format!(
        "#!/bin/sh\n[ \"$1\" = --version ] && {{ echo racing version 1; exit 0; }}\n\
         mkdir {}/lost 2>/dev/null && {{ echo lost >&2; exit 1; }}\nexec {} \"$@\"\n",
        dir.display(),
        runc.display()
    );
    fs::write(&script, body).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let judge = |retries: &str| {
        conformance(&[
            "run",
            "--runtime",
            text(&script),
            "--retries",
            retries,
            "--filter",
            "process.exit-status",
        ])
    };
    assert_eq!(judge("0").status.code(), Some(1));
    fs::remove_dir(dir.join("lost")).unwrap();
    let out = judge("1");
    assert!(stdout(&out).contains(", try 2)"), "{}", stdout(&out));
    assert_eq!(out.status.code(), Some(0));
    fs::remove_dir_all(dir).unwrap();
}

/// A runtime that hangs is a failed case that says where, and is gone afterwards.
#[test]
fn a_hanging_runtime_is_killed_and_named() {
    if runc().is_none() {
        return;
    }
    let dir = scratch("hang");
    let script = dir.join("hanging");
    fs::write(
        &script,
        "#!/bin/sh\n[ \"$1\" = --version ] && { echo hanging version 1; exit 0; }\nexec sleep 301\n",
    )
    .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let out = conformance(&[
        "run",
        "--runtime",
        text(&script),
        "--filter",
        "process.exit-status",
    ]);
    let said = stdout(&out);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("had not ended after 20 s and was killed"), "{said}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn denied_calls_fail_with_the_errno() {
    let deny = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_conformance-deny"))
            .args(args)
            .output()
            .unwrap()
    };
    // A shell that cannot fork says so; `true` as a builtin does not need to.
    let clone = if cfg!(target_arch = "x86_64") {
        "clone3,56,57,58"
    } else {
        "clone3,220"
    };
    let out = deny(&[
        "--errno",
        "EPERM",
        clone,
        "--",
        "/bin/sh",
        "-c",
        "/bin/true; echo after",
    ]);
    assert!(!out.status.success() || !stdout(&out).contains("after"));
    let out = deny(&["fsopen", "--", "/bin/sh", "-c", "echo fine"]);
    assert_eq!(stdout(&out), "fine\n");
    assert_eq!(deny(&["fantasy", "--", "/bin/true"]).status.code(), Some(2));
}
