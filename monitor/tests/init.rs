//! brig-init as process 1 of a pid namespace. Needs root, and unshare(1) and setsid(1) of util-linux.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sys::wait::Deadline;

/// The one of this build, or another (`BRIG_INIT`), whose memory is measured then.
fn init() -> String {
    std::env::var("BRIG_INIT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_brig-init").to_owned())
}

fn arguments(program: &[&str]) -> Vec<String> {
    let flags = ["--pid", "--fork", "--kill-child", "--mount-proc"].map(str::to_owned);
    let program = program.iter().map(|a| (*a).to_owned());
    flags
        .into_iter()
        .chain([init(), "--".into()])
        .chain(program)
        .collect()
}

fn run(program: &[&str]) -> Output {
    let output = Command::new("unshare")
        .args(arguments(program))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("unshare"), "{error}");
    output
}

fn shell(script: &str) -> Output {
    run(&["sh", "-c", script])
}

fn is_root() -> bool {
    let root = sys::cred::effective_uid() == 0;
    if !root {
        println!("skip monitor.init: not root");
    }
    root
}

#[test]
fn it_ends_as_the_program_does() {
    if !is_root() {
        return;
    }
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_eq!(shell(script).status.code(), Some(code), "{script}");
    }
    let none = run(&["/no/such"]);
    assert_eq!(none.status.code(), Some(127));
    assert_eq!(
        String::from_utf8_lossy(&none.stderr),
        "docker-init: exec /no/such: no such file or directory\n"
    );
    assert_eq!(run(&["/etc"]).status.code(), Some(126));
    // Found in PATH, in a group of its own, with nothing blocked or ignored.
    let status = run(&["cat", "/proc/self/status", "/proc/self/stat"]);
    let text = String::from_utf8_lossy(&status.stdout).into_owned();
    for zero in ["SigBlk", "SigIgn"] {
        assert!(text.contains(&format!("{zero}:\t0000000000000000")), "{text}");
    }
    let stat: Vec<&str> = text.lines().last().unwrap().split(' ').collect();
    assert_eq!((stat[0], stat[3], stat[4]), ("2", "1", "2"), "{text}");
}

#[test]
fn signals_are_handed_on() {
    if !is_root() {
        return;
    }
    // Process 1 gets them from inside only because it has blocked them.
    for signal in ["TERM", "INT", "HUP", "USR1", "WINCH", "CONT", "TTIN", "37"] {
        let script = format!("trap 'exit 42' {signal}; kill -{signal} 1; while :; do sleep 0.01; done");
        let output = Command::new("timeout")
            .args(["-s", "KILL", "20", "unshare"])
            .args(arguments(&["bash", "-c", &script]))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(42), "{signal}: {output:?}");
    }
}

#[test]
fn orphans_are_reaped() {
    if !is_root() {
        return;
    }
    // Until nobody but process 1 and the shell is left; the programs that look are its own children.
    let script = r#"for n in 1 2 3 4 5 6 7 8; do (sh -c 'sleep 0.01' &); done
        for n in $(seq 500); do
            left=0
            for stat in /proc/[0-9]*/stat; do
                [ "$stat" = /proc/1/stat ] || [ "$stat" = /proc/$$/stat ] || left=1
            done
            [ $left = 0 ] && exit 0
            sleep 0.01
        done
        cat /proc/[0-9]*/stat; exit 1"#;
    let output = shell(script);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn keys_reach_the_program_once() {
    if !is_root() {
        return;
    }
    let master = sys::tty::open_master(Path::new("/dev/ptmx")).unwrap();
    let slave = std::fs::File::from(sys::tty::open_slave(master.as_fd()).unwrap());
    let script = r#"read -r _ _ _ _ group _ _ foreground _ </proc/self/stat
        [ "$group" = $$ ] && [ "$foreground" = $$ ] && echo alone
        n=0
        trap 'n=$((n+1)); echo "key $n"' INT
        trap 'echo "ended $n"; exit 5' USR1
        echo ready
        while :; do sleep 0.05; done"#;
    let mut child = Command::new("setsid")
        .args(["--ctty", "--wait", "unshare"])
        .args(arguments(&["bash", "-c", script]))
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(slave)
        .spawn()
        .unwrap();
    let mut terminal = std::fs::File::from(master);
    let mut said = String::new();
    expect(&mut terminal, &mut said, "ready");
    assert!(said.contains("alone"), "{said}");
    terminal.write_all(&[3]).unwrap();
    expect(&mut terminal, &mut said, "key 1");
    let init = init_below(child.id().cast_signed());
    sys::process::kill(init, libc::SIGUSR1).unwrap();
    expect(&mut terminal, &mut said, "ended 1");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

/// Process 1: setsid(1) may have forked, unshare(1) has.
fn init_below(mut pid: i32) -> i32 {
    loop {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        pid = children.split_whitespace().next().unwrap().parse().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        if status
            .lines()
            .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        {
            return pid;
        }
    }
}

fn expect(terminal: &mut std::fs::File, said: &mut String, word: &str) {
    let deadline = Deadline::after(Duration::from_secs(20));
    while !said.contains(word) {
        sys::wait::readable(terminal.as_fd(), deadline).unwrap_or_else(|e| panic!("{e}: {said}"));
        let mut buffer = [0; 512];
        let n = terminal.read(&mut buffer).unwrap();
        said.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

#[test]
fn it_needs_little_memory() {
    if !is_root() {
        return;
    }
    let output = shell("cat /proc/1/smaps_rollup");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let kilobytes = |name: &str| -> u32 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let (all, own) = (kilobytes("Pss:"), kilobytes("Pss_Anon:"));
    println!("brig-init: PSS {all} kB, of that {own} kB its own");
    // The rest is the program's file, which all containers share.
    if std::env::var_os("BRIG_INIT").is_some() {
        assert!(own < 64, "{text}");
    }
}
