//! The floor of the benchmark makes the calls that are recorded in `bench/floor.calls`, no more and no fewer.
//!
//! May not: judge times. A floor that does less (or more) than it did makes every published ratio wrong.

#![allow(clippy::expect_used, clippy::panic)] // a test may

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const RECORDED: &str = include_str!("../bench/floor.calls");

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("remove the scratch directory");
    }
}

fn compile(source: &str, program: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench").join(source);
    let status = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(program)
        .arg(source)
        .status();
    assert!(
        status.expect("cc").success(),
        "{} does not compile",
        program.display()
    );
}

/// Traces the floor once; the answer is what its parent did and what its child did.
fn trace(dir: &Path) -> [Vec<String>; 2] {
    for sub in ["bin", "proc", "dev", "sys"] {
        std::fs::create_dir_all(dir.join("root").join(sub)).expect("mkdir");
    }
    compile("floor.c", &dir.join("floor"));
    compile("payload.c", &dir.join("root/bin/true"));
    let script = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && \
                  exec strace -ff -s 256 -o calls ./floor root";
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .current_dir(dir)
        .stdin(Stdio::null())
        .status();
    assert!(status.expect("unshare").success(), "the floor failed");

    let mut processes = [Vec::new(), Vec::new()];
    for entry in std::fs::read_dir(dir).expect("read_dir") {
        let path = entry.expect("entry").path();
        if path.extension().is_some() && path.file_stem().is_some_and(|stem| stem == "calls") {
            let text = std::fs::read_to_string(&path).expect("trace");
            let is_parent = text.starts_with("execve(\"./floor\"");
            processes[usize::from(!is_parent)] = if is_parent { parent(&text) } else { child(&text) };
        }
    }
    processes
}

/// From the first call that is not the C library's start, without the retries of the rmdir.
fn parent(text: &str) -> Vec<String> {
    let calls = text.lines().skip_while(|line| !line.starts_with("mkdir("));
    calls
        .filter(|line| !line.contains("EBUSY") && !line.contains("nanosleep") && line.contains('('))
        .filter(|line| !line.starts_with("---") && !line.starts_with("exit_group"))
        .map(normal)
        .collect()
}

/// Up to the execve, after which it is the payload's business.
fn child(text: &str) -> Vec<String> {
    let mut calls = Vec::new();
    for line in text.lines() {
        calls.push(normal(line));
        if line.starts_with("execve(") {
            break;
        }
    }
    calls
}

/// A call without its result, its addresses and the numbers that differ from run to run.
fn normal(line: &str) -> String {
    let call = line.rsplit_once(" = ").map_or(line, |(call, _)| call).trim_end();
    let (name, arguments) = call.split_once('(').unwrap_or((call, ""));
    match name {
        "clone3" => format!("clone3({})", arguments.split(", ").next().unwrap_or_default()),
        "wait4" => "wait4(PID)".into(),
        "fchdir" => "fchdir(FD)".into(),
        "execve" => arguments
            .split(", 0x")
            .next()
            .map(|known| format!("execve({known})"))
            .unwrap_or_default(),
        _ => match call.split_once("/floor") {
            Some((before, after)) => format!("{before}/floorN{}", after.trim_start_matches(char::is_numeric)),
            None => call.to_owned(),
        },
    }
}

/// The recorded calls of one process, without what this kernel gives no occasion for: a path that does not exist
/// could not be bound and so is not made read-only.
fn recorded(section: &str, traced: &[String]) -> Vec<String> {
    let lines = RECORDED.lines().skip_while(|line| *line != section).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    lines
        .filter(|line| {
            !line.contains("MS_REMOUNT")
                || Path::new(path_of(line)).exists()
                || traced.contains(&line.to_string())
        })
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

fn path_of(mount: &str) -> &str {
    mount.split('"').nth(1).unwrap_or_default()
}

#[test]
#[ignore = "needs root, strace and a C compiler"]
fn the_floor_makes_the_recorded_calls() {
    let dir = Scratch(std::env::temp_dir().join(format!("floor-{}", std::process::id())));
    let [parent, child] = trace(&dir.0);
    assert_eq!(parent, recorded("[parent]", &parent));
    assert_eq!(child, recorded("[child]", &child));
}
