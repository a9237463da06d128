//! `exec`: another process in a container that runs.
//!
//! It is the container's process in all that is not said otherwise: its environment, its user, its limits, its profile. What was given to
//! the runtime at the start says what that is.
//!
//! May not: read the container's files but through its root (CVE-2019-14271: nothing of them is executed or trusted).

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use image::bundle::user;
use image::{Context, Error, Kind, Result};
use monitor::client::{self, Streams};
use monitor::protocol::{Exec, Size};
use monitor::state::Status;
use serde_json::{Value, json};

use crate::containers::{Container, Containers};
use crate::control::refusal;
use crate::spec;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub command: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub working_dir: Option<String>,
    pub privileged: bool,
    pub tty: bool,
    pub stdin: bool,
    pub detach: bool,
    pub size: Option<Size>,
}

/// Why it does not run, and the exit code.
#[derive(Debug)]
pub struct NotStarted {
    pub code: i32,
    pub error: Error,
}

impl From<Error> for NotStarted {
    fn from(error: Error) -> NotStarted {
        NotStarted { code: 1, error }
    }
}

/// Starts it; its streams, on which with `detach` nothing comes.
///
/// # Errors
/// The container does not run, or the program cannot be executed.
pub fn exec(containers: &Containers, id: &str, wanted: &Wanted) -> std::result::Result<Streams, NotStarted> {
    let container = containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))?;
    check(&container)?;
    let request = Exec {
        id: String::new(),
        process: process(containers, &container, wanted)?,
        stdin: wanted.stdin,
        stdout: !wanted.detach,
        stderr: !wanted.detach,
        detach: wanted.detach,
        size: wanted.size,
    };
    let connection = client::connect(&containers.place(id)).map_err(|e| match e {
        client::Error::Gone => NotStarted::from(Error::of(
            Kind::Unavailable,
            format!("container {id} has lost its monitor; brig restart gives it a new one"),
        )),
        e => refusal(e).into(),
    })?;
    connection
        .exec(request)
        .map(|(_, streams)| streams)
        .map_err(|e| match e {
            client::Error::Refused { kind, message } => NotStarted {
                code: code_of(kind, &message),
                error: refusal(client::Error::Refused { kind, message }),
            },
            e => refusal(e).into(),
        })
}

/// Docker's: 127 where there is no such program, 126 where it cannot be executed for another reason.
fn code_of(kind: monitor::protocol::Kind, message: &str) -> i32 {
    use monitor::protocol::Kind as Refusal;
    match kind {
        Refusal::NotRunning | Refusal::Invalid => 1,
        _ => match Refusal::of_start(message).1 {
            127 => 127,
            _ => 126,
        },
    }
}

fn check(container: &Container) -> Result<()> {
    let id = container.id();
    let conflict = |message: String| Err(Error::of(Kind::Conflict, message));
    match container.state.status {
        Status::Running => Ok(()),
        Status::Paused => conflict(format!(
            "Container {id} is paused, unpause the container before exec"
        )),
        Status::Restarting => conflict(format!(
            "Container {id} is restarting, wait until the container is running"
        )),
        _ => conflict(format!("container {id} is not running")),
    }
}

fn process(containers: &Containers, container: &Container, wanted: &Wanted) -> Result<Value> {
    let path = containers.place(container.id()).bundle().join("config.json");
    let bytes = std::fs::read(&path).context(format!("failed to read {}", path.display()))?;
    let mut config: Value = serde_json::from_slice(&bytes)
        .map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))?;
    let mut process = config["process"].take();
    process["terminal"] = json!(wanted.tty);
    process["args"] = json!(wanted.command);
    process["env"] = json!(environment(container, &process, wanted));
    if let Some(object) = process.as_object_mut() {
        object.remove("consoleSize");
    }
    if let Some(directory) = wanted.working_dir.as_deref().filter(|d| !d.is_empty()) {
        if !directory.starts_with('/') {
            return Err(Error::invalid(format!(
                "OCI runtime exec failed: exec failed: Cwd must be an absolute path: {directory}"
            )));
        }
        process["cwd"] = json!(directory);
    }
    if let Some(text) = wanted.user.as_deref().filter(|u| !u.is_empty()) {
        process["user"] = find_user(container, text)?;
    }
    if wanted.privileged {
        let all = json!(spec::Host::ask().capabilities);
        for set in ["bounding", "effective", "permitted"] {
            process["capabilities"][set] = all.clone();
        }
        if let Some(object) = process.as_object_mut() {
            object.remove("apparmorProfile");
            object.remove("noNewPrivileges");
        }
    }
    Ok(process)
}

fn find_user(container: &Container, text: &str) -> Result<Value> {
    let pid = container.state.init.as_ref().map_or(0, |init| init.pid);
    let root = sys::fs::open(
        &PathBuf::from(format!("/proc/{pid}/root")),
        libc::O_PATH | libc::O_DIRECTORY,
        0,
    )?;
    // Opened before it is compared: a pid that has been given to another process would show here.
    if !container
        .state
        .init
        .as_ref()
        .is_some_and(monitor::state::Process::is_alive)
    {
        return Err(Error::of(
            Kind::Conflict,
            format!("container {} is not running", container.id()),
        ));
    }
    let user = user::find(text, root.as_fd())?;
    Ok(json!({"uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids}))
}

/// The container's, with a terminal's kind where there is a terminal, and what was asked for.
fn environment(container: &Container, process: &Value, wanted: &Wanted) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let of_image = container
        .definition
        .config
        .env
        .iter()
        .any(|entry| name(entry) == "TERM");
    let base = process["env"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    // HOME is that of the container's own user; the runtime looks up the new one's.
    let says_home = container
        .definition
        .config
        .env
        .iter()
        .any(|entry| name(entry) == "HOME");
    let mut env: Vec<String> = base
        .filter(|entry| of_image || name(entry) != "TERM")
        .filter(|entry| says_home || name(entry) != "HOME")
        .map(str::to_owned)
        .collect();
    if wanted.tty && !of_image {
        env.push("TERM=xterm".into());
    }
    for entry in &wanted.env {
        match env.iter().position(|known| name(known) == name(entry)) {
            Some(n) => env[n] = entry.clone(),
            None => env.push(entry.clone()),
        }
    }
    env
}
