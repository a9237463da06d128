//! `start` in each dialect, and what the server that it leaves looks like from outside.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::{Case, case};
use crate::caller::{Call, Dialect};
use crate::command;
use crate::scene::{SOON, Scene, V3, same};

pub fn cases() -> Vec<Case> {
    vec![
        case("start.empty-stdin", |s| legacy(s, Dialect::Empty)),
        case("start.options", |s| legacy(s, Dialect::Options)),
        case("start.bootstrap", |s| {
            let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
            let call = Call::new(s, "box", &bundle.path).in_dialect(Dialect::Bootstrap);
            let answer = call.run("start")?.ok()?;
            let address = format!("unix://{}", expected_socket(s, "box")?);
            let mut wanted = vec![0x08, 3, 0x12, u8::try_from(address.len()).unwrap_or(0)];
            wanted.extend(address.bytes());
            wanted.extend(b"\x1a\x05ttrpc");
            same("the answer", &answer, &wanted)?;
            let mut task = s.dial(&address)?;
            task.service = V3;
            s.create(&task, bundle, |_| {})?.finish(s)
        }),
    ]
}

/// The socket that containerd's own test computes for a group.
fn expected_socket(s: &Scene, group: &str) -> Result<String, String> {
    let text = format!("{}/{}/{group}", s.daemon.address(), s.namespace);
    let sum = command::run(&mut Command::new("sha256sum"), &text, SOON)?.ok()?;
    let hex = sum.split_whitespace().next().unwrap_or_default();
    Ok(format!("/run/containerd/s/{hex}"))
}

fn legacy(s: &mut Scene, dialect: Dialect) -> Result<(), String> {
    let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
    let answer = Call::new(s, "box", &bundle.path)
        .in_dialect(dialect)
        .run("start")?
        .ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let socket = expected_socket(s, "box")?;
    same("the answer", answer.trim_end(), &format!("unix://{socket}"))?;
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
