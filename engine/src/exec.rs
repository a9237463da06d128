//! `exec`: another process in a container that runs.
//!
//! It is the container's process in all that is not said otherwise: its environment, its user, its limits, its profile.
//!
//! May not: read the container's files but through its root (CVE-2019-14271: nothing of them is executed or trusted).

use std::os::fd::AsFd as _;
use std::path::PathBuf;

use image::{Context as _, Error, Kind, Result};
use monitor::client::{self, Streams};
use monitor::protocol::{Exec, Size};
use monitor::state::Status;
use serde_json::Value;

use crate::containers::{Container, Containers};
use crate::control::{self, refusal};
use crate::spec::{self, Found, Inputs};

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
        process: process(containers, &container, wanted).map_err(|error| NotStarted { code: 126, error })?,
        stdin: wanted.stdin,
        stdout: !wanted.detach,
        stderr: !wanted.detach,
        detach: wanted.detach,
        size: wanted.size,
    };
    let connection = control::connect(containers, id)?;
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
    let definition = &container.definition;
    let pid = container.state.init.as_ref().map_or(0, |init| init.pid);
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let root = sys::fs::open(&path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
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
    if let Some(directory) = wanted
        .working_dir
        .as_deref()
        .filter(|d| !d.is_empty() && !d.starts_with('/'))
    {
        return Err(Error::invalid(format!(
            "OCI runtime exec failed: exec failed: Cwd must be an absolute path: {directory}"
        )));
    }
    let machine = spec::Host::ask();
    let found = Found::for_exec(definition, root.as_fd())?;
    let user = wanted.user.as_deref().filter(|user| !user.is_empty());
    let exec = spec::process::Exec {
        args: wanted.command.clone(),
        env: wanted.env.clone(),
        user: user
            .map(|name| Found::user(definition, name, root.as_fd()))
            .transpose()?,
        working_dir: wanted.working_dir.clone().filter(|d| !d.is_empty()),
        tty: wanted.tty,
        console_size: wanted.size.map_or([0, 0], |size| [size.rows, size.columns]),
        privileged: wanted.privileged,
    };
    let mut process = spec::process::exec(&Inputs::of(definition, &machine, &found), &exec)?;
    // In a user namespace of an ordinary user nobody can have other groups; whether it is in one, its own process says.
    let has_groups = config(containers, container)?["process"]["user"]["additionalGids"].is_array();
    if let Some(user) = process["user"].as_object_mut().filter(|_| !has_groups) {
        user.remove("additionalGids");
    }
    Ok(process)
}

/// What its runtime was given.
fn config(containers: &Containers, container: &Container) -> Result<Value> {
    let path = containers.place(container.id()).bundle().join("config.json");
    let bytes = std::fs::read(&path).context(format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::corrupt(format!("malformed {}: {e}", path.display())))
}
