//! What clients ask for, but for streams: signals, the freezer, limits, waiting, removal.
//!
//! May not: wait for anything without being asked to wait. Words are Docker's where programs read them.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use monitor::launch::RestartPolicy;
use monitor::protocol::{Ended, Kind, Request};
use monitor::state::Status;
use serde_json::Value;
use shim::error::Kind as Failure;
use shim::reactor::either;

use crate::life;
use crate::monitor::{Monitor, Refusal, Run, Then};

/// After SIGKILL to the init, before everything in its cgroup is killed one by one.
const GRACE: Duration = Duration::from_secs(2);

/// And after that: a process in a wait that no signal ends.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = Result<Value, Refusal>;

/// Does it.
pub async fn serve(monitor: &Rc<Monitor>, request: Request) -> Answer {
    match request {
        Request::Stop { signal, timeout } => stop(monitor, signal, timeout, true).await.map(done),
        Request::Kill { signal } => kill_and_see(monitor, signal).await.map(done),
        Request::Pause => pause(monitor).await.map(done),
        Request::Unpause => unpause(monitor).await.map(done),
        Request::Restart { signal, timeout } => restart(monitor, signal, timeout).await.map(Value::from),
        Request::Wait { removed } => wait(monitor, removed).await,
        Request::Update { resources, restart } => update(monitor, resources, restart).await.map(done),
        Request::Processes => processes(monitor).await,
        Request::Rename { name } => rename(monitor, name).map(done),
        Request::Remove { volumes } => remove(monitor, volumes).await.map(done),
        Request::Start { .. }
        | Request::Attach(_)
        | Request::Exec(_)
        | Request::Hold
        | Request::Network { .. } => Err(Refusal::of(
            Kind::Invalid,
            "it has streams or descriptors, or goes on after its answer",
        )),
    }
}

fn done((): ()) -> Value {
    Value::Null
}

/// Ends the container: its signal, its time, SIGKILL, and the whole cgroup. One that has ended is stopped.
pub async fn stop(
    monitor: &Rc<Monitor>,
    signal: Option<i32>,
    timeout: Option<i64>,
    by_user: bool,
) -> Result<(), Refusal> {
    if by_user {
        monitor.change(|state| state.stopped_by_user = true);
    }
    monitor.then.set(Then::End);
    monitor.bell.ring();
    bring_down(monitor, signal, timeout).await?;
    monitor.over.wait().await;
    if by_user {
        monitor.tell("stop", &[]);
    }
    Ok(())
}

/// Sends what ends it, and waits for the end of its processes. What follows on that end is not waited for.
async fn bring_down(monitor: &Rc<Monitor>, signal: Option<i32>, timeout: Option<i64>) -> Result<(), Refusal> {
    let run = monitor.run();
    // It may be about to start.
    let _ = life::started(&run).await;
    let Some(container) = run.container.borrow().clone() else {
        return Ok(());
    };
    let (signal, timeout) = {
        let launch = monitor.launch.borrow();
        (
            signal.unwrap_or(launch.stop_signal),
            timeout.unwrap_or(launch.stop_timeout),
        )
    };
    let patience = u64::try_from(timeout).ok().map(Duration::from_secs);
    let steps = [
        (signal, false, patience),
        (libc::SIGKILL, false, Some(GRACE)),
        (libc::SIGKILL, true, Some(PATIENCE)),
    ];
    for (signal, all, patience) in steps {
        // With no time at all nobody is asked.
        if patience == Some(Duration::ZERO) {
            continue;
        }
        match send(monitor, &run, signal, all).await {
            Err(e) if e.kind != Kind::NotRunning => monitor.note(&e.message),
            _ => {}
        }
        let until = patience.map(|patience| Instant::now() + patience);
        if monitor
            .on
            .reactor
            .within(until, container.wait(""))
            .await
            .is_some()
        {
            return Ok(());
        }
    }
    let id = &monitor.place.id;
    Err(Refusal::of(
        Kind::Other,
        format!("failed to stop container {id}: it did not end within {PATIENCE:?} of SIGKILL"),
    ))
}

/// A signal to the init, or to all of its cgroup. One that is frozen would not get it, so it goes on.
async fn send(monitor: &Rc<Monitor>, run: &Run, signal: i32, all: bool) -> Result<(), Refusal> {
    let Some(container) = run.container.borrow().clone() else {
        return Err(not_running(monitor));
    };
    let sent = container.kill("", signal as u32, all, None).await;
    sent.map_err(|e| match e.kind() {
        Failure::NotFound => not_running(monitor),
        _ => e.into(),
    })?;
    monitor.tell("kill", &[("signal", signal.to_string())]);
    if monitor.status() == Status::Paused && ends(monitor, signal) {
        // It may have been killed already.
        let _ = unpause(monitor).await;
    }
    Ok(())
}

/// Whoever sends this wants it to end.
fn ends(monitor: &Monitor, signal: i32) -> bool {
    [libc::SIGKILL, monitor.launch.borrow().stop_signal].contains(&signal)
}

fn not_running(monitor: &Monitor) -> Refusal {
    let id = &monitor.place.id;
    Refusal::of(Kind::NotRunning, format!("container {id} is not running"))
}

/// A signal as a user sends it: what ends the container for good is a stop.
pub async fn kill(monitor: &Rc<Monitor>, signal: i32) -> Result<Rc<Run>, Refusal> {
    let (run, _) = monitor.running().map_err(|_| not_running(monitor))?;
    if ends(monitor, signal) {
        monitor.change(|state| state.stopped_by_user = true);
        monitor.then.set(Then::End);
    }
    send(monitor, &run, signal, false).await?;
    Ok(run)
}

/// The same; after SIGKILL it is seen to its end. One that waits for its next start is killed by having none.
async fn kill_and_see(monitor: &Rc<Monitor>, signal: i32) -> Result<(), Refusal> {
    if monitor.status() == Status::Restarting && ends(monitor, signal) {
        return stop(monitor, None, None, true).await;
    }
    let run = kill(monitor, signal).await?;
    if signal == libc::SIGKILL {
        let until = Some(Instant::now() + PATIENCE);
        let ended = monitor.on.reactor.within(until, run.ended.wait()).await;
        ended.ok_or_else(|| {
            let id = &monitor.place.id;
            let message = format!("container {id} did not end within {PATIENCE:?} of SIGKILL");
            Refusal::of(Kind::Other, message)
        })?;
    }
    Ok(())
}

/// Freezes its processes.
pub async fn pause(monitor: &Rc<Monitor>) -> Result<(), Refusal> {
    let (_, container) = monitor.running()?;
    if monitor.status() == Status::Paused {
        let message = format!("Container {} is already paused", monitor.place.id);
        return Err(Refusal::of(Kind::Invalid, message));
    }
    container.pause(None).await?;
    monitor.pauses.set(monitor.pauses.get() + 1);
    monitor.change(|state| state.status = Status::Paused);
    monitor.tell("pause", &[]);
    Ok(())
}

/// Lets it go on, if it stands still since the pause of this number.
pub async fn release(monitor: &Rc<Monitor>, pause: u64) {
    if monitor.pauses.get() != pause || monitor.status() != Status::Paused {
        return;
    }
    if let Err(e) = unpause(monitor).await
        && e.kind != Kind::NotRunning
    {
        monitor.note(&e.message);
    }
}

async fn unpause(monitor: &Rc<Monitor>) -> Result<(), Refusal> {
    let (_, container) = monitor.running()?;
    if monitor.status() != Status::Paused {
        let message = format!("Container {} is not paused", monitor.place.id);
        return Err(Refusal::of(Kind::Invalid, message));
    }
    container.resume(None).await?;
    // It may have ended meanwhile.
    if monitor.status() == Status::Paused {
        monitor.change(|state| state.status = Status::Running);
    }
    monitor.tell("unpause", &[]);
    Ok(())
}

/// Stops it, and starts it again with what its monitor knows. False: it was adopted, so it is only stopped, and whoever asks has to
/// start it.
async fn restart(monitor: &Rc<Monitor>, signal: Option<i32>, timeout: Option<i64>) -> Result<bool, Refusal> {
    if monitor.adopted {
        stop(monitor, signal, timeout, false).await?;
        return Ok(false);
    }
    let old = monitor.run();
    monitor.then.set(Then::Again);
    monitor.bell.ring();
    bring_down(monitor, signal, timeout).await?;
    old.ended.wait().await;
    monitor.tell("stop", &[]);
    let next = || {
        let run = monitor.run();
        (!Rc::ptr_eq(&run, &old)).then_some(run)
    };
    let (next, over) = (pin!(monitor.bell.until(next)), pin!(monitor.over.wait()));
    let shim::reactor::Either::Left(run) = either(next, over).await else {
        return Err(not_running(monitor));
    };
    life::started(&run).await?;
    monitor.tell("restart", &[]);
    Ok(true)
}

/// The end of the run that is on, or of the next one while it is being restarted.
async fn wait(monitor: &Rc<Monitor>, removed: bool) -> Answer {
    let run = monitor.run();
    let ended = match (removed, monitor.status()) {
        (true, _) => {
            let failed = monitor.over.wait().await;
            if let Some(why) = failed {
                return Err(Refusal::of(Kind::Other, why));
            }
            monitor.run().ended.wait().await
        }
        (false, Status::Restarting) => next_end(monitor, &run).await,
        (false, _) => run.ended.wait().await,
    };
    serde_json::to_value(ended).map_err(|e| Refusal::of(Kind::Other, e.to_string()))
}

async fn next_end(monitor: &Rc<Monitor>, old: &Rc<Run>) -> Ended {
    let next = || {
        let run = monitor.run();
        (!Rc::ptr_eq(&run, old)).then_some(run)
    };
    let (next, over) = (pin!(monitor.bell.until(next)), pin!(monitor.over.wait()));
    match either(next, over).await {
        shim::reactor::Either::Left(run) => run.ended.wait().await,
        shim::reactor::Either::Right(_) => old.ended.wait().await,
    }
}

/// Who asks keeps the record, and tells of it.
async fn update(
    monitor: &Rc<Monitor>,
    resources: Option<Value>,
    restart: Option<RestartPolicy>,
) -> Result<(), Refusal> {
    // One that waits for its next start gets them with it.
    if let Some(resources) = resources
        && monitor.status() != Status::Restarting
    {
        let (_, container) = monitor.running()?;
        let text = resources.to_string();
        container.update(text.as_bytes(), None).await?;
    }
    if let Some(policy) = restart {
        monitor.launch.borrow_mut().restart = policy;
        remember_launch(monitor)?;
    }
    Ok(())
}

fn remember_launch(monitor: &Monitor) -> Result<(), Refusal> {
    Ok(monitor.launch.borrow().write(&monitor.place.launch())?)
}

async fn processes(monitor: &Rc<Monitor>) -> Answer {
    let (_, container) = monitor.running()?;
    let pids = container.pids(None).await?;
    Ok(pids.into_iter().map(|(pid, _)| Value::from(pid)).collect())
}

/// Who renames has the lock, does the rest, and tells of it.
fn rename(monitor: &Rc<Monitor>, name: String) -> Result<(), Refusal> {
    {
        let mut launch = monitor.launch.borrow_mut();
        launch.attributes.insert("name".into(), name.clone());
        launch.name = name;
    }
    remember_launch(monitor)
}

async fn remove(monitor: &Rc<Monitor>, volumes: bool) -> Result<(), Refusal> {
    // With --rm its volumes go in any case.
    monitor
        .remove
        .set(Some(volumes || monitor.remove.get() == Some(true)));
    monitor.then.set(Then::End);
    monitor.bell.ring();
    let run = monitor.run();
    let _ = life::started(&run).await;
    bring_down(monitor, Some(libc::SIGKILL), Some(2)).await?;
    match monitor.over.wait().await {
        Some(why) => Err(Refusal::of(Kind::Other, why)),
        // If it was at its end already when we were asked, it is still there; whoever asks has it for himself now.
        None => Ok(()),
    }
}
