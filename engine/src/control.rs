//! What is done to a container that is there: stop, kill, pause, wait, rename, remove.
//!
//! Its monitor does it. Where the monitor is gone, because somebody killed it, the container may run all the same: then the runtime is
//! called from here, so that nothing is ever stuck.
//!
//! May not: know who asks, or how the answer is shown.

use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use image::{Context, Error, Kind, Result};
use monitor::client;
use monitor::protocol::{Ended, Kind as Refusal, Request};
use monitor::state::Status;
use serde_json::Value;
use sys::wait::Deadline;

use crate::containers::{Container, Containers, Durable};
use crate::networks::connect;
use crate::spec::machine;
use crate::{names, programs, remove, telling};

/// How long a killed process may take to be gone: it may have much memory to give back.
const GRACE: Duration = Duration::from_secs(10);
/// Between the signal and SIGKILL when nobody says otherwise, in seconds.
pub const STOP_TIMEOUT: i64 = 10;

/// What became of a question.
enum Answer {
    Done(Value),
    /// Nobody is there to ask.
    NoMonitor,
}

fn ask(containers: &Containers, id: &str, request: &Request) -> Result<Answer> {
    match client::request(&containers.place(id), request) {
        Ok(value) => Ok(Answer::Done(value)),
        Err(client::Error::Gone) => Ok(Answer::NoMonitor),
        Err(e) => Err(refusal(e)),
    }
}

/// Gives a container that runs another monitor, if its own was killed.
///
/// # Errors
/// It does not run any more, or the monitor cannot be started.
pub fn supervise(containers: &Containers, id: &str) -> Result<()> {
    let _lock = containers.lock(id)?;
    let container = here(containers, id)?;
    if !container.is_running() {
        return Err(conflict(format!("container {id} is not running")));
    }
    if container.state.is_monitored(containers.boot()) {
        return Ok(());
    }
    client::adopt(
        &containers.place(id),
        &programs::monitor()?,
        &programs::brig()?,
        None,
    )
    .map(drop)
    .map_err(refusal)
}

/// A connection to its monitor, which gets a successor if it was killed.
///
/// # Errors
/// It does not run.
pub fn connect(containers: &Containers, id: &str) -> Result<client::Connection> {
    let place = containers.place(id);
    let connected = match client::connect(&place) {
        Err(client::Error::Gone) => {
            supervise(containers, id)?;
            client::connect(&place)
        }
        connected => connected,
    };
    connected.map_err(refusal)
}

/// The failure of a monitor as one of ours.
pub fn refusal(e: client::Error) -> Error {
    match e {
        client::Error::Refused { kind, message } => {
            let kind = match kind {
                Refusal::NotRunning => Kind::Conflict,
                Refusal::Invalid => Kind::Invalid,
                Refusal::Denied => Kind::Denied,
                Refusal::NoProgram => Kind::NotFound,
                Refusal::Other => Kind::Other,
            };
            Error::of(kind, message)
        }
        other => Error::new(other.to_string()),
    }
}

/// Ends it politely, and after `timeout` seconds not so. One that does not run is left alone.
///
/// # Errors
/// It does not end.
pub fn stop(containers: &Containers, id: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
    stop_and_tell(containers, id, signal, timeout).map(drop)
}

/// The same. Why it took so long, if it had to be killed because it does not listen to the signal.
///
/// # Errors
/// As [`stop`].
pub fn stop_and_tell(
    containers: &Containers,
    id: &str,
    signal: Option<i32>,
    timeout: Option<i64>,
) -> Result<Option<String>> {
    let container = here(containers, id)?;
    if !container.is_supervised() {
        return Ok(None);
    }
    let asked = match signal {
        Some(signal) => signal,
        None => machine::stop_signal(&container.definition, false)?,
    };
    // Who gives it no time does not ask why it needed more.
    let is_deaf = timeout != Some(0) && is_deaf(&container, asked);
    end(containers, &container, signal, timeout)?;
    let killed = containers
        .load(id)?
        .is_some_and(|after| after.state.exit_code == 128 + libc::SIGKILL);
    let why = "its first process has no handler for the signal that asks it to end, and the kernel delivers to a process 1 only what it handles; with --init it would have ended at once";
    Ok((is_deaf && killed && asked != libc::SIGKILL)
        .then(|| format!("container {} had to be killed: {why}", container.definition.name)))
}

/// Whether its init, as process 1 of a namespace, never sees this signal (pid_namespaces(7)).
fn is_deaf(container: &Container, signal: i32) -> bool {
    let Some(init) = &container.state.init else {
        return false;
    };
    let status = std::fs::read_to_string(format!("/proc/{}/status", init.pid)).unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    let is_first = field("NSpid:").is_some_and(|pids| pids.contains('\t') && pids.ends_with("\t1"));
    let has = |name: &str| {
        let mask = field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok());
        mask.is_none_or(|mask| mask & (1 << (signal - 1)) != 0)
    };
    // One that ignores the signal does so with an init above it, too.
    is_first && !has("SigCgt:") && !has("SigIgn:")
}

fn end(
    containers: &Containers,
    container: &Container,
    signal: Option<i32>,
    timeout: Option<i64>,
) -> Result<()> {
    let id = container.id();
    match ask(containers, id, &Request::Stop { signal, timeout })? {
        Answer::Done(_) => Ok(()),
        Answer::NoMonitor => {
            let signal = match signal {
                Some(signal) => signal,
                None => machine::stop_signal(&container.definition, false)?,
            };
            let timeout = timeout
                .or(container.definition.config.stop_timeout)
                .unwrap_or(STOP_TIMEOUT);
            stop_alone(containers, id, signal, timeout)
        }
    }
}

/// Ends it as [`stop`] does, but so that it counts as running: when the machine starts again, its restart policy says what becomes of it.
///
/// # Errors
/// It does not end.
pub fn suspend(containers: &Containers, id: &str, timeout: Option<i64>) -> Result<()> {
    let before = here(containers, id)?.state.stopped_by_user;
    stop(containers, id, None, timeout)?;
    let _lock = containers.lock(id)?;
    let place = containers.place(id);
    let mut state = containers.state(&place)?;
    state.stopped_by_user = before;
    state
        .save(&place)
        .context("failed to write the state of the container")
}

fn here(containers: &Containers, id: &str) -> Result<Container> {
    containers
        .load(id)?
        .ok_or_else(|| Error::not_found(format!("No such container: {id}")))
}

/// Without a monitor: nobody is its parent, so how it ended stays unknown.
fn stop_alone(containers: &Containers, id: &str, signal: i32, timeout: i64) -> Result<()> {
    let _lock = containers.lock(id)?;
    let container = here(containers, id)?;
    let Some(init) = container.state.init.as_ref().filter(|init| init.is_alive()) else {
        return settle(containers, &container);
    };
    let pidfd = match sys::process::pidfd_open(init.pid) {
        Err(e) if e.is(libc::ESRCH) => return settle(containers, &container),
        pidfd => pidfd?,
    };
    // The descriptor was opened before the two were compared.
    if !init.is_alive() {
        return settle(containers, &container);
    }
    let patience = match u64::try_from(timeout) {
        Ok(seconds) => Deadline::after(Duration::from_secs(seconds)),
        Err(_) => Deadline::NEVER,
    };
    for (signal, patience) in [(signal, patience), (libc::SIGKILL, Deadline::after(GRACE))] {
        // The runtime thaws what is frozen, which would not die before.
        let thawed =
            signal == libc::SIGKILL && call_runtime(containers, &container, &["kill", id, "KILL"]).is_ok();
        match sys::process::pidfd_send_signal(pidfd.as_fd(), signal) {
            Err(e) if !e.is(libc::ESRCH) && !thawed => return Err(e.into()),
            _ => {}
        }
        match sys::wait::readable(pidfd.as_fd(), patience) {
            Ok(()) => return settle(containers, &container),
            Err(e) if e.is(libc::ETIMEDOUT) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new(format!(
        "container {id} did not end within 10 s of SIGKILL"
    )))
}

/// Writes down that it has ended, and takes away what the runtime knew of it.
fn settle(containers: &Containers, container: &Container) -> Result<()> {
    remove::sweep(containers, container)?;
    let place = containers.place(container.id());
    let mut state = containers.state(&place)?;
    if !matches!(state.status, Status::Created | Status::Exited | Status::Dead) {
        state.status = Status::Exited;
        state.exit_code = monitor::state::UNSEEN;
    }
    state.init = None;
    state.monitor = None;
    state.execs.clear();
    if state.finished_at.is_empty() {
        state.finished_at = sys::time::rfc3339_nano(SystemTime::now());
    }
    state
        .save(&place)
        .context("failed to write the state of the container")
}

/// Ends it and starts it again, if it runs and its monitor can. Otherwise false: then it does not run now, and can be started.
///
/// # Errors
/// It does not end, or cannot be started again.
pub fn restart(containers: &Containers, id: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<bool> {
    let container = here(containers, id)?;
    if !container.is_supervised() {
        return Ok(false);
    }
    crate::start::renew_files(containers, &container)?;
    match ask(containers, id, &Request::Restart { signal, timeout })? {
        // One that was adopted has no root to start it with: then it was only stopped.
        Answer::Done(started) => Ok(started != Value::Bool(false)),
        Answer::NoMonitor => {
            stop(containers, id, signal, timeout)?;
            Ok(false)
        }
    }
}

/// Sends a signal to its init.
///
/// # Errors
/// It does not run ([`Kind::Conflict`]).
pub fn kill(containers: &Containers, id: &str, signal: i32) -> Result<()> {
    let container = here(containers, id)?;
    let name = &container.definition.name;
    if !container.is_supervised() {
        return Err(Error::of(
            Kind::Conflict,
            format!("cannot kill container: {name}: container {id} is not running"),
        ));
    }
    match ask(containers, id, &Request::Kill { signal })? {
        Answer::Done(_) => Ok(()),
        Answer::NoMonitor if signal == libc::SIGKILL => stop_alone(containers, id, signal, 0),
        Answer::NoMonitor => call_runtime(containers, &container, &["kill", id, &signal.to_string()]),
    }
}

fn call_runtime(containers: &Containers, container: &Container, words: &[&str]) -> Result<()> {
    let runtime = programs::runtime(&container.definition.host.runtime)?;
    remove::call(&runtime, &remove::runtime_root(containers), words)
}

/// Stands still.
///
/// # Errors
/// It does not run, or stands still already.
pub fn pause(containers: &Containers, id: &str) -> Result<()> {
    let container = pausable(containers, id)?;
    match ask(containers, id, &Request::Pause)? {
        Answer::Done(_) => Ok(()),
        Answer::NoMonitor => turn_alone(containers, &container, "pause", Status::Paused),
    }
}

/// A container that stands still. Its monitor lets it go on when this, or this process, ends; where there is no monitor that does, only
/// [`unpause`] does.
pub struct Held {
    _connection: Option<client::Connection>,
}

/// Pauses it; see [`Held`].
///
/// # Errors
/// As [`pause`].
pub fn hold(containers: &Containers, id: &str) -> Result<Held> {
    let container = pausable(containers, id)?;
    match client::connect(&containers.place(id)).and_then(|c| c.request_and_stay(&Request::Hold)) {
        Ok(connection) => Ok(Held {
            _connection: Some(connection),
        }),
        // Nobody would see this process go, so that it has to let it go on itself.
        Err(client::Error::Gone) => {
            turn_alone(containers, &container, "pause", Status::Paused).map(|()| Held { _connection: None })
        }
        // An older monitor, which has not heard of it.
        Err(client::Error::Refused {
            kind: Refusal::Invalid,
            message,
        }) if message.starts_with("failed to understand") => {
            pause(containers, id).map(|()| Held { _connection: None })
        }
        Err(e) => Err(refusal(e)),
    }
}

fn pausable(containers: &Containers, id: &str) -> Result<Container> {
    let container = here(containers, id)?;
    match container.state.status {
        Status::Paused => return Err(conflict(format!("Container {id} is already paused"))),
        Status::Restarting => {
            return Err(conflict(format!(
                "Container {id} is restarting, wait until the container is running"
            )));
        }
        Status::Running => {}
        _ => return Err(conflict(format!("Container {id} is not running"))),
    }
    Ok(container)
}

/// Goes on.
///
/// # Errors
/// It does not stand still.
pub fn unpause(containers: &Containers, id: &str) -> Result<()> {
    let container = here(containers, id)?;
    if container.state.status != Status::Paused {
        return Err(conflict(format!("Container {id} is not paused")));
    }
    match ask(containers, id, &Request::Unpause)? {
        Answer::Done(_) => Ok(()),
        Answer::NoMonitor => turn_alone(containers, &container, "resume", Status::Running),
    }
}

/// `pause` and `resume` without a monitor: nobody else writes down what is so from then on.
fn turn_alone(containers: &Containers, container: &Container, word: &str, status: Status) -> Result<()> {
    let id = container.id();
    let _lock = containers.lock(id)?;
    call_runtime(containers, container, &[word, id])?;
    let place = containers.place(id);
    let mut state = containers.state(&place)?;
    // It may have ended meanwhile.
    if matches!(state.status, Status::Running | Status::Paused) {
        state.status = status;
        state
            .save(&place)
            .context("failed to write the state of the container")?;
    }
    Ok(())
}

fn conflict(message: String) -> Error {
    Error::of(Kind::Conflict, message)
}

/// Waits until it does not run: its exit code. One that was never started has not run.
///
/// # Errors
/// It has gone meanwhile and nobody knows how it ended.
pub fn wait(containers: &Containers, id: &str) -> Result<i32> {
    loop {
        let container = here(containers, id)?;
        if !container.is_supervised() {
            return Ok(container.state.exit_code);
        }
        match ask(containers, id, &Request::Wait { removed: false })? {
            Answer::Done(value) => {
                let ended: Ended = serde_json::from_value(value).map_err(|e| Error::new(e.to_string()))?;
                return Ok(ended.code);
            }
            Answer::NoMonitor => wait_alone(containers, id)?,
        }
    }
}

fn wait_alone(containers: &Containers, id: &str) -> Result<()> {
    let container = here(containers, id)?;
    let Some(init) = &container.state.init else {
        return Ok(());
    };
    match sys::process::pidfd_open(init.pid) {
        Ok(pidfd) if init.is_alive() => Ok(sys::wait::readable(pidfd.as_fd(), Deadline::NEVER)?),
        _ => Ok(()),
    }
}

/// Gives it another name.
///
/// # Errors
/// The name is taken, or none.
pub fn rename(containers: &Containers, id: &str, name: &str) -> Result<()> {
    let name = name.strip_prefix('/').unwrap_or(name);
    names::check(name)?;
    let _lock = containers.lock(id)?;
    let mut container = here(containers, id)?;
    let old = std::mem::replace(&mut container.definition.name, name.to_owned());
    if old == name {
        return Err(Error::invalid(
            "Renaming a container with the same name as its current name",
        ));
    }
    containers.claim_name(name, id)?;
    let saved = containers.save(&container.definition, Durable::Yes);
    if let Err(e) = saved {
        return Err(e.and_also(containers.release_name(name, id)));
    }
    containers.release_name(&old, id)?;
    let before = format!("/{old}");
    telling::tell(
        containers,
        &container.definition,
        "rename",
        &[("oldName", &before)],
    );
    if container.is_supervised() {
        // Without a monitor there is nobody who would speak of it by its old name.
        ask(
            containers,
            id,
            &Request::Rename {
                name: name.to_owned(),
            },
        )?;
        connect::renamed(containers, &container.definition, &old)?;
    }
    Ok(())
}

/// Whether what runs is ended first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    No,
    Yes,
}

/// Removes it.
///
/// # Errors
/// It runs and there was no force, or something cannot be removed.
pub fn remove(containers: &Containers, id: &str, force: Force, volumes: bool) -> Result<()> {
    let container = here(containers, id)?;
    let doomed = match volumes {
        true => remove::Volumes::Remove,
        false => remove::Volumes::Keep,
    };
    if container.is_supervised() && force == Force::Yes {
        let asked = ask(containers, id, &Request::Remove { volumes })?;
        match asked {
            Answer::Done(_) => {
                return match containers.load(id)? {
                    None => Ok(()),
                    Some(_) => remove::remove_with(containers, id, doomed),
                };
            }
            Answer::NoMonitor => stop_alone(containers, id, libc::SIGKILL, 0)?,
        }
    }
    remove::remove_with(containers, id, doomed)
}
