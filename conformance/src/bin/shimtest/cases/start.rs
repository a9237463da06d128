//! `start` in each dialect, and what the server that it leaves looks like from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use conformance::messages as m;
use prost::Message;

use super::{Case, Done, case};
use crate::caller::{Call, Dialect};
use crate::scene::{Scene, V3, same, soon};
use crate::{command, leaks};

pub fn cases() -> Vec<Case> {
    vec![
        case("start.empty-stdin", |s| legacy(s, Dialect::Empty)),
        case("start.options", |s| legacy(s, Dialect::Options)),
        case("start.bootstrap", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Bootstrap);
            let answer = call.run("start")?.ok()?;
            let address = format!("unix://{}", expected_socket(s, "box")?);
            same("the answer", &answer, &bootstrap_result(&address))?;
            let mut task = s.dial(&address)?;
            task.service = V3;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.json", |s| {
            // For containerd 2.0 to 2.2, whose administrator has said so in the environment of shims.
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Options);
            let mut command = call.command("start");
            command.env("CONTAINERD_SHIM_RUNB_ANSWER", "json");
            let answer = crate::caller::run(&mut command, &call.stdin)?.ok()?;
            let address = format!("unix://{}", expected_socket(s, "box")?);
            let expected = format!(r#"{{"version":3,"address":"{address}","protocol":"ttrpc"}}"#);
            same("the answer", &String::from_utf8_lossy(&answer), &expected)?;
            let mut task = s.dial(&address)?;
            task.service = V3;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.bootstrap-socket-dir", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let mut call = Call::new(s, "box", &bundle.path);
            let dir = s.dir.join("sockets").display().to_string();
            call.stdin = m::BootstrapParams {
                socket_dir: Some(dir.clone()),
                ..call.bootstrap()
            }
            .encode_to_vec();
            let answer = call.run("start")?.ok()?;
            let hash = expected_socket(s, "box")?.replace("/run/containerd/s", &dir);
            let address = format!("unix://{hash}");
            same("the answer", &answer, &bootstrap_result(&address))?;
            let task = s.dial(&address)?;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.bootstrap-again", |s| {
            // A second call for the same group gets the address of the server that is there.
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Bootstrap);
            let first = call.run("start")?.ok()?;
            same("the second answer", &call.run("start")?.ok()?, &first)?;
            let address = format!("unix://{}", expected_socket(s, "box")?);
            let task = s.dial(&address)?;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.flag-forms", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let mut command = s.lab.command(&s.dir);
            command
                .arg(format!("--namespace={}", s.namespace))
                .args([
                    "--address",
                    &s.daemon.address(),
                    "-publish-binary=/usr/bin/containerd",
                    "-debug=true",
                ])
                .args(["-id", "box", "start"])
                .current_dir(&bundle.path)
                .env("TTRPC_ADDRESS", s.daemon.ttrpc_address());
            let answer = crate::caller::run(&mut command, &[])?.ok()?;
            let task = s.dial(String::from_utf8_lossy(&answer).trim())?;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.debug-is-silent", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let mut call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Options);
            call.flags = vec!["-debug".into()];
            let answer = call.run("start")?.ok()?;
            let expected = format!("unix://{}", expected_socket(s, "box")?);
            same(
                "the answer",
                String::from_utf8_lossy(&answer).trim(),
                expected.as_str(),
            )?;
            let task = s.dial(&expected)?;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
        case("start.stale-socket", |s| {
            // What a killed shim leaves.
            let socket = expected_socket(s, "box")?;
            fs::create_dir_all("/run/containerd/s").map_err(|e| e.to_string())?;
            drop(UnixListener::bind(&socket).map_err(|e| format!("{socket}: {e}"))?);
            s.boot("box", "exec sleep 600")?.finish(s)
        }),
        case("start.two-at-once", |s| {
            let group = |config: &mut serde_json::Value| {
                config["annotations"] = serde_json::json!({"io.containerd.runc.v2.group": "pair"});
            };
            let bundles = [
                s.bundle("one", "exec sleep 600", group)?,
                s.bundle("two", "exec sleep 600", group)?,
            ];
            let addresses = std::thread::scope(|scope| {
                let threads = bundles.each_ref().map(|bundle| scope.spawn(|| s.start(bundle)));
                threads.map(|thread| thread.join().unwrap_or(Err("the thread failed".into())))
            });
            let [one, two] = addresses;
            let (one, two) = (one?, two?);
            same("the second address", &two, &one)?;
            let task = s.dial(&one)?;
            // sh, ourselves, the shim; whoever came second goes away.
            let one_server = command::until("there is one server", soon(), || leaks::processes().len() == 3);
            let [first, second] = bundles;
            let (first, second) = (s.create(&task, first, |_| {})?, s.create(&task, second, |_| {})?);
            first.end()?;
            second.end()?;
            one_server?;
            s.shut_down(&task)
        }),
        case("start.oom-score", |s| {
            fs::write("/proc/self/oom_score_adj", "7").map_err(|e| e.to_string())?;
            let c = s.boot("box", "exec sleep 600");
            let restored = fs::write("/proc/self/oom_score_adj", "0").map_err(|e| e.to_string());
            let c = c?;
            restored?;
            let pid = c.task.shim_pid("box")?;
            let score =
                fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).map_err(|e| e.to_string())?;
            same("the server's oom_score_adj", score.trim(), "8")?;
            c.finish(s)
        }),
        case("start.shim-cgroup", shim_cgroup),
        case("start.own-process-group", |s| {
            let c = s.boot("box", "exec sleep 600")?;
            let pid = c.task.shim_pid("box")?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            same(
                "the server's process group",
                &fields.get(2).copied(),
                &Some(pid.to_string().as_str()),
            )?;
            c.finish(s)
        }),
        case("start.no-configuration", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            fs::remove_file(bundle.path.join("config.json")).map_err(|e| e.to_string())?;
            let answer = Call::new(s, "box", &bundle.path)
                .in_dialect(Dialect::Options)
                .run("start")?;
            same("it is refused", &(answer.code != 0), &true)?;
            let text = String::from_utf8_lossy(&answer.stdout).into_owned() + &answer.stderr;
            same("the message names the file", &text.contains("config.json"), &true)
        }),
        case("start.no-addresses", |s| {
            // CRI-O has no socket for events and says so with empty strings.
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let mut call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Options);
            call.addresses = (String::new(), String::new());
            let answer = call.run("start")?.ok()?;
            let task = s.dial(String::from_utf8_lossy(&answer).trim())?;
            let c = s.create(&task, bundle, |_| {})?;
            c.start()?;
            c.finish(s)
        }),
    ]
}

/// BootstrapResult with version 3, as bytes.
fn bootstrap_result(address: &str) -> Vec<u8> {
    let mut bytes = vec![0x08, 3, 0x12, u8::try_from(address.len()).unwrap_or(0)];
    bytes.extend(address.bytes());
    bytes.extend(b"\x1a\x05ttrpc");
    bytes
}

/// The socket that containerd's own test computes for a group.
fn expected_socket(s: &Scene, group: &str) -> Result<String, String> {
    let text = format!("{}/{}/{group}", s.daemon.address(), s.namespace);
    let sum = command::run(&mut Command::new("sha256sum"), &text, command::USUAL)?.ok()?;
    let hex = sum.split_whitespace().next().unwrap_or_default();
    Ok(format!("/run/containerd/s/{hex}"))
}

fn legacy(s: &mut Scene, dialect: Dialect) -> Done {
    let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
    let answer = Call::new(s, "box", &bundle.path)
        .in_dialect(dialect)
        .run("start")?
        .ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let socket = expected_socket(s, "box")?;
    same(
        "the answer",
        answer.trim_end(),
        format!("unix://{socket}").as_str(),
    )?;
    let file =
        fs::read_to_string(bundle.path.join("address")).map_err(|e| format!("the file address: {e}"))?;
    same("the file address", &file, &format!("unix://{socket}"))?;
    let mode = |path: &Path| fs::metadata(path).map(|meta| meta.permissions().mode() & 0o777);
    same(
        "the mode of the socket",
        &mode(Path::new(&socket)).ok(),
        &Some(0o600),
    )?;
    let task = s.dial(&answer)?;
    let pid = task.shim_pid("box")?;
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).map_err(|e| e.to_string())?;
    same("the server's directory", &cwd, &bundle.path)?;
    s.create(&task, bundle, |_| {})?.finish(s)
}

fn shim_cgroup(s: &mut Scene) -> Done {
    // Version 1: the directory below every controller; version 2: below the one tree.
    let dirs: Vec<_> = leaks::hierarchies()
        .iter()
        .map(|dir| dir.join("of-shims"))
        .collect();
    dirs.iter()
        .try_for_each(|dir| fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display())))?;
    let cpuset = Path::new("/sys/fs/cgroup/cpuset");
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if let Ok(value) = fs::read(cpuset.join(file)) {
            fs::write(cpuset.join("of-shims").join(file), value).map_err(|e| e.to_string())?;
        }
    }
    let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
    let mut call = Call::new(s, "box", &bundle.path);
    let options = m::RuncOptions {
        shim_cgroup: "/of-shims".into(),
        ..s.options()
    };
    call.stdin = m::wrap("containerd.runc.v1.Options", &options).encode_to_vec();
    let answer = call.run("start")?.ok()?;
    let task = s.dial(String::from_utf8_lossy(&answer).trim())?;
    let pid = task.shim_pid("box")?;
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|e| e.to_string())?;
    s.create(&task, bundle, |_| {})?.finish(s)?;
    for dir in dirs {
        fs::remove_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let is_there = cgroups
        .lines()
        .any(|line| (line.contains(":memory:") || line.starts_with("0::")) && line.ends_with("/of-shims"));
    if is_there {
        Ok(())
    } else {
        Err(format!("the server is in {cgroups}"))
    }
}
