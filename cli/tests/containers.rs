//! Commands that only read containers, on records as the engine writes them.

#![allow(clippy::unwrap_used)]

use engine::containers::{Containers, Durable};
use engine::model::{Config, Definition, HostConfig, MountPoint};
use image::store::Roots;
use monitor::state::{Process, State, Status};
use std::path::PathBuf;
use std::process::Command;

/// A store of its own, removed at the end.
struct Bench {
    root: PathBuf,
    containers: Containers,
}

impl Bench {
    fn new(name: &str) -> Bench {
        let root = std::env::temp_dir().join(format!("brig-containers-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        let containers = Containers::of(&Roots::at(&root)).unwrap();
        Bench { root, containers }
    }

    fn add(&self, n: usize, name: &str, status: Status, change: impl FnOnce(&mut Definition, &mut State)) {
        let mut definition = Definition {
            version: 1,
            id: format!("{n:04x}").repeat(16),
            name: name.into(),
            created: format!("2026-11-28T03:00:{:02}.{:03}Z", n / 1000, n % 1000),
            path: "sleep".into(),
            args: vec!["1000".into()],
            image: format!("sha256:{}", "ab".repeat(32)),
            platform: "linux/amd64".into(),
            driver: "overlay2".into(),
            config: Config {
                image: "debian:12".into(),
                ..Config::default()
            },
            host: HostConfig {
                network_mode: "host".into(),
                ..HostConfig::default()
            },
            ..Definition::default()
        };
        let mut state = State {
            version: 1,
            status,
            boot: self.containers.boot().into(),
            ..State::default()
        };
        if status == Status::Running {
            // We live as long as the test.
            state.init = Process::of(i32::try_from(std::process::id()).unwrap());
            state.started_at = "2026-11-28T03:00:01Z".into();
        }
        change(&mut definition, &mut state);
        let (place, _lock) = self.containers.make(&definition.id).unwrap();
        self.containers.claim_name(name, &definition.id).unwrap();
        self.containers.save(&definition, Durable::No).unwrap();
        state.save(&place).unwrap();
    }

    fn ask(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_brig"))
            .arg("--root")
            .arg(&self.root)
            .args(["--config", "/nonexistent"])
            .args(args)
            .env("TZ", "UTC")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn names(&self, args: &[&str]) -> String {
        let (code, out, err) = self.ask(&[&["ps", "--format", "{{.Names}}"], args].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
        out.lines().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn some(name: &str) -> Bench {
    let bench = Bench::new(name);
    bench.add(1, "first", Status::Exited, |_, state| {
        state.exit_code = 137;
        state.started_at = "2026-11-28T03:00:01Z".into();
        state.finished_at = "2026-11-28T03:00:02Z".into();
    });
    bench.add(2, "second", Status::Running, |definition, _| {
        definition.config.labels = [("role".to_owned(), "db".to_owned())].into();
        definition.mounts = vec![MountPoint {
            kind: "volume".into(),
            name: "data".into(),
            source: "/v/data".into(),
            destination: "/data".into(),
            driver: "local".into(),
            rw: true,
            ..MountPoint::default()
        }];
    });
    bench.add(3, "third", Status::Created, |_, _| ());
    // Its machine was switched off while it ran.
    bench.add(4, "fourth", Status::Running, |_, state| {
        state.boot = "another".into()
    });
    bench
}

#[test]
fn lists() {
    let bench = some("lists");
    for (args, names) in [
        (&[][..], "second"),
        (&["-a"], "fourth third second first"),
        (&["-n", "2"], "fourth third"),
        (&["-l"], "fourth"),
        (&["-f", "status=exited"], "fourth first"),
        (&["-f", "status=created", "-f", "status=running"], "third second"),
        (&["-af", "exited=137"], "first"),
        (&["-f", "exited=137"], ""),
        (&["-af", "before=third"], "second first"),
        (&["-f", "before=third"], "second"),
        (
            &["-af", "since=first", "-f", "name=^.{5,6}$"],
            "fourth third second",
        ),
        (
            &["-f", "label=role=db", "-f", "volume=/data", "-f", "network=host"],
            "second",
        ),
        (&["-af", "ancestor=debian:12"], ""),
    ] {
        assert_eq!(bench.names(args), names, "{args:?}");
    }
    let (code, out, _) = bench.ask(&["ps", "-a"]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(code, 0);
    assert_eq!(lines.len(), 5);
    assert!(
        lines[0].starts_with("CONTAINER ID   IMAGE          COMMAND        CREATED"),
        "{out}"
    );
    assert!(lines[1].contains("Exited (255)"), "{out}");
    // The name of the image leads nowhere, so its id is shown.
    assert!(
        lines[3].contains("000200020002   abababababab   \"sleep 1000\""),
        "{out}"
    );
    assert_eq!(
        bench.ask(&["ps", "-q", "--format", "{{.Names}}"]),
        (
            0,
            "000200020002\n".into(),
            "WARNING: Ignoring custom format, because both --format and --quiet are set.\n".into()
        )
    );
    let (_, sizes, _) = bench.ask(&["ps", "--format", "{{.Size}}"]);
    assert_eq!(sizes, "0B\n");
}

#[test]
fn documents() {
    let bench = some("documents");
    let (code, out, err) = bench.ask(&["inspect", "second", "000"]);
    assert_eq!(
        (code, err.as_str()),
        (1, "Error: multiple IDs found with provided prefix: 000\n")
    );
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["Name"], "/second");
    assert_eq!(json[0]["State"]["Pid"], std::process::id());
    assert_eq!(json[0]["Mounts"][0]["Name"], "data");

    let inspect = |args: &[&str]| bench.ask(&[&["inspect"], args].concat());
    assert_eq!(
        inspect(&[
            "-f",
            "{{.State.Status}} {{.HostConfig.NetworkMode}}",
            "first",
            "/fourth"
        ]),
        (0, "exited host\nexited host\n".into(), String::new())
    );
    assert_eq!(
        inspect(&["nobody"]),
        (1, "[]\n".into(), "error: no such object: nobody\n".into())
    );
    assert_eq!(
        inspect(&["--type", "container", "nobody"]),
        (1, "[]\n".into(), "Error: No such container: nobody\n".into())
    );
    assert_eq!(
        inspect(&["--type", "volume", "second"]).2,
        "Error: get second: no such volume\n"
    );
    assert_eq!(inspect(&["-f", "{{", "second"]).0, 64);
    assert_eq!(inspect(&["--type", "", "second"]).0, 1);
    assert!(
        inspect(&["--type", "pod", "x"])
            .2
            .starts_with("unknown type: \"pod\": must be one of \"config\", \"container\"")
    );
    assert_eq!(
        bench.ask(&[
            "container",
            "inspect",
            "-sf",
            "{{.SizeRw}} {{.SizeRootFs}}",
            "second"
        ]),
        (0, "0 0\n".into(), String::new())
    );
}

#[test]
fn ports() {
    let bench = some("ports");
    assert_eq!(bench.ask(&["port", "second"]), (0, String::new(), String::new()));
    assert_eq!(
        bench.ask(&["port", "second", "80"]),
        (
            1,
            String::new(),
            "no public port '80' published for second\n".into()
        )
    );
    assert_eq!(
        bench.ask(&["port", "nobody"]).2,
        "Error: No such container: nobody\n"
    );
}

/// Many containers that do not run cost a look at their state each. Not a judgement of speed but of its order: `make bench` measures.
#[test]
fn two_hundred() {
    let bench = Bench::new("many");
    for n in 0..200 {
        bench.add(n, &format!("c-{n}"), Status::Exited, |_, _| ());
    }
    bench.add(200, "last", Status::Running, |_, _| ());
    let begun = std::time::Instant::now();
    assert_eq!(bench.names(&[]), "last");
    println!("ps: {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    assert_eq!(bench.names(&["-a"]).split(' ').count(), 201);
    println!("ps -a: {:?}", begun.elapsed());
}
