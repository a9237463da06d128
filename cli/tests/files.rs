//! Files of real containers, from the command line: cp, diff, commit, export; and top and stats beside them.
//!
//! Needs root, busybox, and `runb` and `brig-monitor` of the same build beside brig.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const BRIG: &str = env!("CARGO_BIN_EXE_brig");

/// A store of its own with an image in it, removed at the end with its containers.
struct Bench {
    dir: PathBuf,
}

impl Bench {
    fn new(name: &str) -> Option<Bench> {
        let beside = Path::new(BRIG).parent().unwrap();
        let is_there = |program: &str| beside.join(program).exists();
        if sys::process::effective_ids().0 != 0 || !is_there("runb") || !is_there("brig-monitor") {
            println!("skip files.{name}: needs root, runb and brig-monitor");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("brig-files-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        let bench = Bench { dir };
        let script = "mkdir -p i/bin i/etc i/opt/app; cp /bin/busybox i/bin/; \
             for a in sh ls cat echo sleep rm mkdir find; do ln -s busybox i/bin/$a; done; \
             echo root:x:0:0::/:/bin/sh > i/etc/passwd; echo a > i/opt/app/a; tar -C i -cf i.tar .";
        let made = Command::new("sh")
            .args(["-ec", script])
            .current_dir(&bench.dir)
            .status();
        assert!(made.unwrap().success());
        bench.good(&["import", "-c", "CMD [\"sh\"]", "i.tar", "bb:1"]);
        Some(bench)
    }

    fn output(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(BRIG)
            .arg("--root")
            .arg(self.dir.join("store"))
            .args(["--config", "/nonexistent"])
            .args(args)
            .current_dir(&self.dir)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let output = self.output(args, b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn bad(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args, b"");
        let error = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        assert!(!output.status.success(), "{args:?} went well");
        (output.status.code().unwrap(), error)
    }

    fn sh(&self, container: &str, script: &str) -> String {
        self.good(&["exec", container, "sh", "-ec", script])
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let ids = self.output(&["ps", "-aq"], b"");
        for id in String::from_utf8_lossy(&ids.stdout).lines() {
            let _ = self.output(&["rm", "-f", id], b"");
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn files_come_and_go() {
    let Some(bench) = Bench::new("files_come_and_go") else {
        return;
    };
    let volume = bench.dir.join("volume");
    std::fs::create_dir(&volume).unwrap();
    let bind = format!("{}:/data", volume.display());
    bench.good(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "none",
        "-v",
        &bind,
        "bb:1",
        "sleep",
        "1000",
    ]);
    bench.good(&[
        "create",
        "--name",
        "c2",
        "--network",
        "none",
        "-v",
        &bind,
        "bb:1",
        "sleep",
        "1000",
    ]);
    std::fs::write(bench.dir.join("f"), "from the host\n").unwrap();
    for container in ["c1", "c2"] {
        let to = |path: &str| format!("{container}:{path}");
        bench.good(&["cp", "f", &to("/opt/app")]);
        bench.good(&["cp", &to("/opt/app"), &format!("out-{container}")]);
        let copied = bench.dir.join(format!("out-{container}/f"));
        assert_eq!(std::fs::read_to_string(copied).unwrap(), "from the host\n");
        // A volume is the host's directory, whether the container runs or not.
        bench.good(&["cp", "f", &to(&format!("/data/{container}"))]);
        assert!(volume.join(container).exists());
        let archive = bench.output(&["cp", &to("/opt/app"), "-"], b"").stdout;
        let put = bench.output(&["cp", "-", &to("/etc")], &archive);
        assert!(put.status.success(), "{put:?}");
        bench.good(&["cp", &to("/etc/app/f"), "again"]);
        assert_eq!(
            bench.bad(&["cp", &to("/nope"), "x"]),
            (
                1,
                format!("Error: Could not find the file /nope in container {container}")
            )
        );
    }
    assert_eq!(
        bench.sh("c1", "cat /opt/app/f /etc/app/f"),
        "from the host\nfrom the host\n"
    );
    // Several, by a pattern, and between containers.
    std::fs::create_dir(bench.dir.join("many")).unwrap();
    bench.good(&["cp", "c1:/opt/app/*", "c2:/etc/passwd", "many"]);
    let mut names: Vec<_> = std::fs::read_dir(bench.dir.join("many"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "f", "passwd"]);
    bench.good(&["cp", "c1:/opt/app/f", "c2:/opt/between"]);
    bench.good(&["start", "c2"]);
    assert_eq!(
        bench.sh("c2", "cat /opt/between /opt/app/f"),
        "from the host\nfrom the host\n"
    );
    assert_eq!(
        bench.bad(&["cp", "a", "b"]),
        (1, "must specify at least one container source".into())
    );
    assert_eq!(
        bench.bad(&["cp", "f", "c9:/"]),
        (1, "Error: No such container: c9".into())
    );
    // What is mounted on a file stays mounted.
    bench.good(&["cp", "f", "c1:/etc/hosts"]);
    assert_eq!(bench.sh("c1", "cat /etc/hosts"), "from the host\n");
    // A root that is not to be changed.
    bench.good(&[
        "run",
        "-d",
        "--name",
        "ro",
        "--read-only",
        "--network",
        "none",
        "-v",
        &bind,
        "bb:1",
        "sleep",
        "1000",
    ]);
    assert_eq!(
        bench.bad(&["cp", "f", "ro:/opt"]),
        (1, "Error: container rootfs is marked read-only".into())
    );
    bench.good(&["cp", "f", "ro:/data/ro"]);
    // A FIFO keeps nobody waiting.
    bench.sh("c1", "busybox mkfifo /opt/pipe");
    bench.good(&["cp", "c1:/opt/pipe", "pipe"]);
    bench.good(&["cp", "f", "c1:/opt/pipe"]);
    assert_eq!(bench.sh("c1", "cat /opt/pipe"), "from the host\n");
}

#[test]
fn a_container_becomes_an_image() {
    let Some(bench) = Bench::new("a_container_becomes_an_image") else {
        return;
    };
    bench.good(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "none",
        "bb:1",
        "sleep",
        "1000",
    ]);
    assert_eq!(bench.good(&["diff", "c1"]), "");
    bench.sh(
        "c1",
        "rm /opt/app/a; echo new > /etc/new; mkdir -p /srv/www; echo w > /srv/www/w",
    );
    let changes = "C /etc\nA /etc/new\nC /opt\nC /opt/app\nD /opt/app/a\nA /srv\nA /srv/www\nA /srv/www/w\n";
    assert_eq!(bench.good(&["diff", "c1"]), changes);
    let id = bench.good(&[
        "commit",
        "-a",
        "me",
        "-m",
        "why",
        "-c",
        "CMD [\"cat\", \"/etc/new\"]",
        "-c",
        "ENV A=1",
        "c1",
        "bb:2",
    ]);
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    assert_eq!(
        bench.good(&["ps", "--format", "{{.Status}}", "-f", "status=paused"]),
        ""
    );
    assert_eq!(bench.good(&["run", "--rm", "--network", "none", "bb:2"]), "new\n");
    let list = "find / -xdev | busybox sort; echo $A";
    let again = bench.good(&["run", "--rm", "--network", "none", "bb:2", "sh", "-c", list]);
    assert!(
        again.contains("/srv/www/w\n") && !again.contains("/opt/app/a") && again.ends_with("\n1\n"),
        "{again}"
    );
    assert_eq!(
        bench.good(&[
            "image",
            "inspect",
            "-f",
            "{{.Author}} {{.Comment}} {{.Config.Cmd}} {{len .RootFS.Layers}}",
            "bb:2"
        ]),
        "me why [cat /etc/new] 2\n"
    );
    // Of one that has changed nothing, the layers are the same.
    bench.good(&["create", "--name", "c2", "--network", "none", "bb:2"]);
    bench.good(&["commit", "c2", "bb:3"]);
    assert_eq!(
        bench.good(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", "bb:3"]),
        "2\n"
    );
    assert_eq!(
        bench.bad(&["commit", "-c", "FROM x", "c1"]).1,
        "Error: from is not a valid change command"
    );
    // The whole, running and not.
    let running = bench.output(&["export", "c1"], b"").stdout;
    bench.good(&["stop", "-t", "0", "c1"]);
    bench.good(&["export", "-o", "e.tar", "c1"]);
    assert_eq!(running, std::fs::read(bench.dir.join("e.tar")).unwrap());
    assert_eq!(bench.good(&["diff", "c1"]), changes);
    bench.good(&["import", "e.tar", "flat:1"]);
    assert_eq!(
        bench.good(&["run", "--rm", "--network", "none", "flat:1", "cat", "/etc/new"]),
        "new\n"
    );
}

#[test]
fn who_is_there_and_what_it_takes() {
    let Some(bench) = Bench::new("who_is_there_and_what_it_takes") else {
        return;
    };
    let id = bench.good(&[
        "run",
        "-d",
        "--name",
        "c1",
        "--network",
        "none",
        "-m",
        "64m",
        "bb:1",
        "sleep",
        "1000",
    ]);
    let top = bench.good(&["top", "c1"]);
    assert!(
        top.starts_with("UID                 PID ") && top.contains("sleep 1000"),
        "{top}"
    );
    assert_eq!(top.lines().count(), 2);
    assert_eq!(bench.good(&["top", "c1", "-o", "pid,comm"]).lines().count(), 2);
    assert_eq!(
        bench.bad(&["top", "c1", "-o", "comm"]).1,
        "Error: Couldn't find PID field in ps output"
    );
    bench.good(&["create", "--name", "c2", "--network", "none", "bb:1"]);
    let template = "{{.Name}} {{.PIDs}} {{.MemUsage}} {{.NetIO}}";
    let stats = bench.good(&["stats", "--no-stream", "--format", template]);
    assert!(
        stats.starts_with("c1 1 ") && stats.contains(" / 64MiB 0B / 0B\n"),
        "{stats}"
    );
    let stats = bench.good(&["stats", "-a", "--no-stream", "--format", template]);
    assert!(stats.starts_with("c2 0 0B / 0B 0B / 0B\nc1 1 "), "{stats}");
    let table = bench.good(&["stats", "--no-stream", "c1"]);
    assert!(
        table.starts_with("CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT"),
        "{table}"
    );
    assert_eq!(
        bench.bad(&["stats", "--no-stream", "c9"]),
        (1, "Error: No such container: c9".into())
    );
    bench.good(&["stop", "-t", "0", "c1"]);
    assert_eq!(
        bench.bad(&["top", "c1"]).1,
        format!("Error: container {} is not running", id.trim())
    );
}
