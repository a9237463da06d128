//! A machine whose shim was exchanged while containers ran: each has to understand what the other left.

use std::path::Path;

use conformance::kernel;
use conformance::messages as m;
use prost::Message;
use serde_json::{Value, json};

use super::{Case, Done, case};
use crate::caller::Call;
use crate::command;
use crate::scene::{Scene, is_alive, same, soon};

pub fn cases() -> Vec<Case> {
    vec![
        case("upgrade.deletes-what-the-other-left", |s| {
            deleted(s, other(s)?, &s.lab.shim)
        }),
        case("upgrade.is-deleted-by-the-other", |s| {
            deleted(s, &s.lab.shim, other(s)?)
        }),
        case("upgrade.joins-the-other's-group", |s| {
            joined(s, other(s)?, &s.lab.shim)
        }),
        case("upgrade.is-joined-by-the-other", |s| {
            joined(s, &s.lab.shim, other(s)?)
        }),
    ]
}

fn other<'a>(s: &'a Scene) -> Result<&'a Path, String> {
    s.lab.other.as_deref().ok_or("there is no other shim".into())
}

/// One serves and is killed, the other's `delete` tidies up.
fn deleted(s: &Scene, before: &Path, after: &Path) -> Done {
    let bundle = s.bundle("box", "exec sleep 600", |_| {})?;
    let task = s.dial(&s.start_with(before, &bundle)?)?;
    let c = s.create(&task, bundle, |_| {})?;
    c.start()?;
    let shim = task.shim_pid("box")?;
    kernel::kill(shim.cast_signed(), libc::SIGKILL).map_err(|e| e.to_string())?;
    command::until("the shim is gone", soon(), || !is_alive(shim))?;
    let mut call = Call::new(s, "box", &c.bundle.path);
    call.program = after;
    call.flags = vec!["-bundle".into(), c.bundle.path.display().to_string()];
    let gone = m::DeleteResponse::decode(&call.run("delete")?.succeeded()?[..]).map_err(|e| e.to_string())?;
    same("pid and status", &(gone.pid, gone.exit_status), &(c.pid, 137))?;
    same("the container is there", &is_alive(c.pid), &false)?;
    // Not every shim removes it.
    let _ = std::fs::remove_file(&task.socket);
    Ok(())
}

/// One serves a group, and the other is asked for the group's next container.
fn joined(s: &Scene, before: &Path, after: &Path) -> Done {
    let edit = |config: &mut Value| config["annotations"] = json!({"io.kubernetes.cri.sandbox-id": "pod"});
    let (one, two) = (
        s.bundle("one", "exec sleep 600", edit)?,
        s.bundle("two", "exit 4", edit)?,
    );
    let address = s.start_with(before, &one)?;
    let task = s.dial(&address)?;
    let one = s.create(&task, one, |_| {})?;
    same("the address", &s.start_with(after, &two)?, &address)?;
    let two = s.create(&task, two, |_| {})?;
    two.start()?;
    same("the exit status", &two.wait("")?, &4)?;
    two.delete("")?;
    one.start()?;
    one.finish(s)
}
