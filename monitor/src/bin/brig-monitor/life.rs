//! The life of a container under its monitor: made, started, waited for, perhaps started again, and put away.
//!
//! May not: leave anything behind that the next start would meet: when the state says that it has ended, its output is in the log,
//! the runtime has forgotten it, its root is unmounted and the socket is free.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use monitor::events::Event;
use monitor::launch::Launch;
use monitor::place;
use monitor::protocol::{Ended, Kind, with_hint};
use monitor::state::{self, Process, State, Status, stamp};
use monitor::volumes::Volume;
use shim::children::Children;
use shim::container::{Container, Happened, Settings, Sink};
use shim::error::{Context, Result};
use shim::mount::unmount_all;
use shim::reactor::{Either, Reactor, either};
use shim::runtime::{Host, Runtime};
use shim::signals::Signals;
use shim::stdio::Wanted;
use shim::sync::Once;

use crate::again;
use crate::args::Args;
use crate::beside::Log;
use crate::connection;
use crate::health;
use crate::io::{self, Shape};
use crate::monitor::{Monitor, Refusal, Run, Then};
use crate::networks::{self, Served};
use crate::removal;
use crate::restart::Restarts;

/// How long the kernel may take to let go of a root.
const UNMOUNT: Duration = Duration::from_secs(30);

/// Runs until the container has ended and everybody knows.
pub fn run(args: &Args) -> Result<()> {
    let report = args.report.map(sys::fs::adopt);
    let first = monitor::client::HANDED;
    let handed = (first..first + args.handed).map(sys::fs::adopt).collect();
    let prepared = prepare(args);
    let Some(report) = report else {
        // A container that nobody starts is nobody's.
        prepared?;
        return Err(shim::error::Error::new(
            "nobody has asked for a start: it is brig that starts it",
        ));
    };
    let [_, run] = &args.place.roots;
    let _needed = stand_on_ground(run);
    let reactor = match prepared {
        Ok(reactor) => reactor,
        Err(e) => return connection::refuse(&report, &e.into()),
    };
    let (loop_of_task, place, adopt) = (reactor.clone(), args.place.clone(), args.adopt);
    let wants_start =
        reactor.run(async move { serve(loop_of_task, place, (report, handed), adopt).await })??;
    match &args.brig {
        Some(brig) if wants_start => again::ask(&args.place, brig),
        _ => Ok(()),
    }
}

/// What is not inherited from who has started us, whatever it was.
fn prepare(args: &Args) -> Result<Reactor> {
    sys::fs::cloexec_from(3)?;
    sys::fs::chdir(Path::new("/"))?;
    sys::fs::umask(0o022);
    sys::process::set_subreaper()?;
    spare_from_oom(&args.place.bundle());
    Ok(Reactor::new()?)
}

/// An ordinary user's containers need their common ground as long as they have monitors. Whoever starts us holds it, too, so this waits
/// for nobody. Root has none.
fn stand_on_ground(run: &Path) -> Option<std::fs::File> {
    let files = monitor::ground::Files::of(run);
    files.directory.exists().then(|| files.hold().ok()).flatten()
}

/// A monitor is not what a machine without memory should kill: that would free nothing. What it starts inherits its score, so it
/// keeps its own where the container has none for itself.
fn spare_from_oom(bundle: &Path) {
    #[derive(serde::Deserialize)]
    struct Config {
        process: Scored,
    }
    #[derive(serde::Deserialize)]
    struct Scored {
        #[serde(rename = "oomScoreAdj")]
        score: Option<i32>,
    }
    let config = std::fs::read(bundle.join("config.json")).ok();
    let config = config.and_then(|text| serde_json::from_slice::<Config>(&text).ok());
    if config.is_some_and(|config| config.process.score.is_some()) {
        // Only root may lower it.
        let _ = std::fs::write("/proc/self/oom_score_adj", "-999");
    }
}

/// Whether somebody has to start it again.
async fn serve(
    reactor: Reactor,
    place: place::Place,
    (report, mut handed): (OwnedFd, Vec<OwnedFd>),
    adopt: bool,
) -> Result<bool> {
    let children = Children::default();
    let signals = Signals::new(&reactor, &children)?;
    let on = Host::new(reactor.clone(), children);
    let made = bring_up(&on, place.clone(), adopt).await;
    let (monitor, listener) = match made {
        Ok(made) => made,
        Err(e) => {
            let mut refusal = Refusal::from(e);
            if !adopt && let Err(also) = networks::undo_unbegun(&place) {
                refusal.message = format!("{}; and {also}", refusal.message);
            }
            return connection::refuse(&report, &refusal).map(|()| false);
        }
    };
    // They end with us.
    let _layers = handed.split_off(handed.len().saturating_sub(monitor.launch.borrow().layers));
    if !adopt {
        if monitor.launch.borrow().has_outside {
            *monitor.outside.borrow_mut() = handed.pop();
        }
        networks::begin(&monitor, handed);
    }
    reactor.spawn(connection::listen(Rc::clone(&monitor), listener));
    reactor.spawn(attend_signals(Rc::clone(&monitor), signals));
    connection::take_up(&monitor, report, true);
    monitor.over.wait().await;
    // Each is sent or its client is gone: as long as a client lives it may read as slowly as it likes.
    monitor.unsent.zero().await;
    Ok(monitor.again.get())
}

async fn bring_up(on: &Host, place: place::Place, adopt: bool) -> Result<(Rc<Monitor>, OwnedFd)> {
    let launch = Launch::read(&place.launch())?;
    let old =
        State::load(&place).map_err(|e| sys::Error::io("read", place.state().display().to_string(), &e))?;
    let log = Log::open(on, &launch.log)
        .await
        .context("failed to open the container's log")?;
    let listener = listen(&place)?;
    let (init, health) = match adopt {
        true => (old.init.clone(), old.health.clone()),
        false => (None, None),
    };
    let state = State {
        version: state::VERSION,
        init,
        health,
        restart_count: old.restart_count * u32::from(adopt),
        stopped_by_user: old.stopped_by_user && adopt,
        boot: state::boot().map_err(|e| sys::Error::io("read", "boot_id", &e))?,
        monitor: Process::of(sys::process::pid()),
        execs: Vec::new(),
        ..old
    };
    let monitor = Rc::new(Monitor {
        on: on.clone(),
        remove: std::cell::Cell::new(launch.auto_remove.then_some(true)),
        place,
        run: std::cell::RefCell::new(Run::new(log.writer())),
        launch: launch.into(),
        state: state.into(),
        log,
        handed_over: std::cell::Cell::new(false),
        adopted: adopt,
        again: std::cell::Cell::new(false),
        pauses: std::cell::Cell::new(0),
        then: std::cell::Cell::new(Then::Policy),
        bell: Default::default(),
        unsent: Rc::default(),
        outside: std::cell::RefCell::default(),
        served: Served::default(),
        over: Once::default(),
    });
    Ok((monitor, listener))
}

/// The socket. Whoever starts a container holds its lock, so one that is there is of a monitor that was killed.
fn listen(place: &place::Place) -> Result<OwnedFd> {
    let socket = place.socket();
    match std::fs::remove_file(&socket) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(sys::Error::io("unlink", socket.display().to_string(), &e).into());
        }
        _ => {}
    }
    let (_dir, near) = place::near(&socket)?;
    let listener = sys::socket::listen(&near, sys::socket::Kind::Stream)
        .context("failed to make the monitor's socket")?;
    sys::fs::fchmodat(sys::fs::cwd(), &socket, 0o600)?;
    sys::fs::set_nonblocking(listener.as_fd(), true)?;
    Ok(listener)
}

/// SIGTERM is what systemd sends when the machine goes down: the container is stopped as its user wants it, and is started again with
/// the machine if its policy says so.
async fn attend_signals(monitor: Rc<Monitor>, signals: Signals) {
    loop {
        match signals.next().await {
            Ok(libc::SIGTERM | libc::SIGINT) => {
                let stopped = Rc::clone(&monitor);
                monitor.on.reactor.spawn(async move {
                    if let Err(e) = crate::control::stop(&stopped, None, None, false).await {
                        stopped.note(&e.message);
                    }
                });
            }
            Ok(_) => {}
            // Without signals no exit would ever be seen.
            Err(e) => {
                monitor.note(&format!("failed to read signals: {e}"));
                monitor.over.set(None);
                return;
            }
        }
    }
}

/// All runs of the container, until nothing runs any more and nothing will.
pub async fn live(monitor: Rc<Monitor>) {
    let mut restarts = Restarts::default();
    loop {
        let run = monitor.run();
        let began = Instant::now();
        let made = match monitor.adopted {
            true => adopt(&monitor, &run).await,
            false => start(&monitor, &run).await,
        };
        let container = match made {
            Ok(container) => container,
            Err(refusal) if monitor.adopted => return leave(&monitor, &run, refusal),
            Err(refusal) => return conclude_failed(&monitor, &run, refusal).await,
        };
        let ended = attend(&monitor, &run, &container, began).await;
        let by_user = monitor.state.borrow().stopped_by_user;
        let policy = monitor.launch.borrow().restart.clone();
        match monitor.then.get() {
            // The container's root was mounted where its first monitor was, and is gone: whoever starts it next mounts it.
            then if monitor.adopted => {
                let mut wanted = || {
                    restarts
                        .next(&policy, ended.code, began.elapsed(), by_user)
                        .is_some()
                };
                monitor.again.set(then == Then::Policy && wanted());
                return conclude(&monitor, &run, ended).await;
            }
            Then::End => return conclude(&monitor, &run, ended).await,
            Then::Again => restarts = Restarts::default(),
            Then::Policy => {
                let Some(delay) = restarts.next(&policy, ended.code, began.elapsed(), by_user) else {
                    return conclude(&monitor, &run, ended).await;
                };
                monitor.change(|state| state.status = Status::Restarting);
                run.ended.set(ended.clone());
                wait_to_restart(&monitor, delay).await;
                match monitor.then.get() {
                    Then::End => return conclude(&monitor, &run, ended).await,
                    // As if somebody had started it for the first time.
                    Then::Again => restarts = Restarts::default(),
                    Then::Policy => {}
                }
            }
        }
        // What is asked for from now on is about the next run.
        monitor.then.set(Then::Policy);
        run.ended.set(ended);
        monitor.change(|state| {
            state.restart_count = restarts.count();
            state.stopped_by_user = false;
        });
        monitor.run.replace(Run::new(monitor.log.writer()));
        monitor.bell.ring();
    }
}

async fn wait_to_restart(monitor: &Monitor, delay: Duration) {
    let sleep = pin!(monitor.on.reactor.sleep(delay));
    let decided = || (monitor.then.get() != Then::Policy).then_some(());
    let decided = pin!(monitor.bell.until(decided));
    either(sleep, decided).await;
}

/// Makes the container and starts it. What failed is undone.
async fn start(monitor: &Rc<Monitor>, run: &Rc<Run>) -> std::result::Result<Rc<Container>, Refusal> {
    let doing = |what: &str, e: shim::error::Error| {
        let message = with_hint(format!("{what}: {e}"));
        Refusal::of(Kind::of_start(&message).0, message)
    };
    monitor::joined::renew(&monitor.place, &monitor.launch.borrow().joined)
        .map_err(|e| Refusal::of(Kind::Other, e.to_string()))?;
    let container = make(monitor, run)
        .await
        .map_err(|e| doing("failed to create task for container", e))?;
    run.container.replace(Some(Rc::clone(&container)));
    // Before it may have ended.
    let started_at = stamp(SystemTime::now());
    if let Err(e) = container.start("", None).await {
        if let Err(also) = container.delete("", None).await {
            monitor.note(&also.to_string());
        }
        run.io.finish(&monitor.on).await;
        return Err(doing("failed to start task for container", e));
    }
    let pid = container.pid() as i32;
    monitor.change(|state| {
        state.status = Status::Running;
        state.init = Process::of(pid);
        state.started_at = started_at;
        (state.exit_code, state.oom_killed) = (0, false);
        state.error.clear();
    });
    monitor.tell("start", &[]);
    run.started.set(Ok(pid));
    Ok(container)
}

/// Takes over what a monitor that was killed has left: a container that runs, and what it has written since.
async fn adopt(monitor: &Rc<Monitor>, run: &Rc<Run>) -> std::result::Result<Rc<Container>, Refusal> {
    let ended = || {
        Refusal::of(
            Kind::NotRunning,
            format!("container {} is not running", monitor.place.id),
        )
    };
    let (init, paused) = {
        let state = monitor.state.borrow();
        let paused = state.status == Status::Paused;
        (state.init.clone().ok_or_else(ended)?, paused)
    };
    let pidfd = sys::process::pidfd_open(init.pid).map_err(|_| ended())?;
    // Looked at after the descriptor was opened: so it is this process's.
    if !init.is_alive() {
        return Err(ended());
    }
    let settings = settings(monitor);
    let container = Container::adopt(&monitor.on, settings, (init.pid, pidfd), paused, sink(monitor))?;
    run.container.replace(Some(Rc::clone(&container)));
    let terminal = monitor.launch.borrow().terminal;
    if !terminal {
        let ends = io::reopen(&monitor.place)?;
        run.io.begin(&monitor.on, &Default::default(), ends)?;
    }
    networks::adopt(monitor).await;
    monitor.change(|_| {});
    run.started.set(Ok(init.pid));
    Ok(container)
}

async fn make(monitor: &Rc<Monitor>, run: &Rc<Run>) -> Result<Rc<Container>> {
    let launch = monitor.launch.borrow().clone();
    let place = &monitor.place;
    let shape = Shape {
        terminal: launch.terminal,
        stdin: launch.open_stdin,
        output: true,
    };
    let (given, ends) = io::make_named(place, shape)?;
    let given = Rc::new(given);
    let wanted = Wanted {
        terminal: launch.terminal,
        given: Some(Rc::clone(&given)),
        ..Wanted::default()
    };
    let settings = settings(monitor);
    let container = Container::create(&monitor.on, settings, wanted, Vec::new(), sink(monitor), None).await?;
    run.io.begin(&monitor.on, &given, ends)?;
    Ok(container)
}

fn settings(monitor: &Monitor) -> Settings {
    let (launch, place) = (monitor.launch.borrow(), &monitor.place);
    Settings {
        id: launch.id.clone(),
        namespace: String::new(),
        bundle: place.bundle(),
        runtime: Runtime {
            binary: launch.runtime.program.to_string_lossy().into_owned(),
            root: launch.runtime.root.clone(),
            log: place.bundle().join("log.json"),
            systemd_cgroup: launch.runtime.systemd_cgroup,
            criu: String::new(),
        },
        io_uid: 0,
        io_gid: 0,
        no_pivot: false,
        no_new_keyring: false,
        keep_rootfs: true,
        checkpoint: None,
        criu_work: None,
    }
}

/// All else that happens is known from what was asked for.
fn sink(monitor: &Rc<Monitor>) -> Sink {
    let monitor = Rc::downgrade(monitor);
    Rc::new(move |happened| {
        if let (Happened::OutOfMemory, Some(monitor)) = (happened, monitor.upgrade()) {
            monitor.change(|state| state.oom_killed = true);
            monitor.tell("oom", &[]);
        }
    })
}

/// Waits for the end of what runs, and takes down what belongs to it.
async fn attend(monitor: &Rc<Monitor>, run: &Rc<Run>, container: &Rc<Container>, began: Instant) -> Ended {
    let health = monitor.launch.borrow().health.clone();
    if let Some(health) = health {
        monitor
            .on
            .reactor
            .spawn(health::watch(Rc::clone(monitor), Rc::clone(run), health));
    }
    // It is there: this cannot fail.
    let exited = container.wait("").await;
    let code = exited.as_ref().map_or(state::UNSEEN, |e| e.code as i32);
    run.io.finish(&monitor.on).await;
    match monitor.log.finish(&monitor.on).await {
        0 => {}
        lost => monitor.note(&format!("{lost} lines could not be written to the log")),
    }
    if let Err(e) = container.delete("", None).await {
        monitor.note(&e.to_string());
    }
    let uptime = began.elapsed().as_secs();
    monitor.tell(
        "die",
        &[
            ("exitCode", code.to_string()),
            ("execDuration", uptime.to_string()),
        ],
    );
    let mut state = monitor.state.borrow_mut();
    state.init = None;
    state.exit_code = code;
    state.finished_at = stamp(exited.map_or_else(|_| SystemTime::now(), |e| e.at));
    state.execs.clear();
    if let Some(health) = &mut state.health {
        // As Docker has it: what is not asked any more is not well.
        health.status = health::UNHEALTHY.into();
    }
    Ended {
        code,
        error: String::new(),
        oom_killed: state.oom_killed,
    }
}

/// A start has failed: nothing of it is left but what is known of it.
async fn conclude_failed(monitor: &Rc<Monitor>, run: &Rc<Run>, refusal: Refusal) {
    let code = Kind::of_start(&refusal.message).1;
    {
        let mut state = monitor.state.borrow_mut();
        state.exit_code = code;
        state.error = refusal.message.clone();
    }
    let ended = Ended {
        code,
        error: refusal.message.clone(),
        oom_killed: false,
    };
    put_away(monitor).await;
    run.started.set(Err(refusal));
    run.ended.set(ended);
    monitor.over.set(None);
}

/// There is nothing to adopt. What is known of its end is for others to tell.
fn leave(monitor: &Monitor, run: &Run, refusal: Refusal) {
    // As when it is put away.
    let _ = std::fs::remove_file(monitor.place.socket());
    run.ended.set(Ended::default());
    run.started.set(Err(refusal));
    monitor.over.set(None);
}

/// It has ended for good.
async fn conclude(monitor: &Rc<Monitor>, run: &Rc<Run>, ended: Ended) {
    let failed = put_away(monitor).await;
    run.ended.set(ended);
    monitor.over.set(failed);
}

/// Unmounts, undoes its networks, frees the socket, says so, and removes everything if that is wanted. Then whoever starts it next may
/// begin.
async fn put_away(monitor: &Rc<Monitor>) -> Option<String> {
    let undone = take_down(monitor).await;
    // Nobody was here before: whoever starts it waits for the state that is written next.
    let _ = std::fs::remove_file(monitor.place.socket());
    let remove = monitor.remove.get();
    monitor.change(|state| {
        (state.monitor, state.init) = (None, None);
        state.status = match (remove, state.started_at.is_empty()) {
            (Some(_), _) => Status::Removing,
            (None, true) => Status::Created,
            (None, false) => Status::Exited,
        };
    });
    unmount_volumes(monitor).await;
    tell_unmounted(monitor);
    let failed = match (remove, undone) {
        (Some(volumes), Ok(())) => removal::remove(monitor, volumes).await.err(),
        // What is still to be undone is only known from what would be removed.
        (Some(_), Err(why)) => {
            monitor.change(|state| {
                state.status = Status::Dead;
                state.error = why.clone();
            });
            Some(why)
        }
        (None, Err(why)) => {
            monitor.note(&why);
            None
        }
        (None, Ok(())) => None,
    };
    monitor.handed_over.set(true);
    failed
}

/// The root and the networks. Both wait for the kernel, so they do it side by side.
async fn take_down(monitor: &Rc<Monitor>) -> std::result::Result<(), String> {
    let rootfs = monitor.place.rootfs();
    let unmount = move || unmount_all(&rootfs).map_err(|e| e.to_string());
    let (on, limit) = (&monitor.on, Some(Instant::now() + UNMOUNT));
    let mut unmounted = pin!(on.children.fork(&on.reactor, limit, unmount));
    let mut undone = pin!(networks::end(monitor));
    let (unmounted, undone) = match either(unmounted.as_mut(), undone.as_mut()).await {
        Either::Left(unmounted) => (unmounted, undone.await),
        Either::Right(undone) => (unmounted.await, undone),
    };
    if let Err(e) = unmounted {
        // It goes with us: the mount namespace is ours alone.
        monitor.note(&format!("failed to unmount the root: {e}"));
    }
    undone
}

/// What some of its volumes consist of is taken away, where no other container runs that has them. In a forked copy: it is mounted where
/// we are not, and the server of a network file system may have gone.
async fn unmount_volumes(monitor: &Rc<Monitor>) {
    let names = {
        let launch = monitor.launch.borrow();
        if !launch.has_outside {
            return;
        }
        launch.mounted.clone()
    };
    let (on, place) = (&monitor.on, &monitor.place);
    let outside = monitor.outside.borrow_mut().take();
    let boot = monitor.state.borrow().boot.clone();
    let work = || -> sys::Result<()> {
        if let Some(outside) = &outside {
            sys::process::setns(outside.as_fd(), libc::CLONE_NEWNS as u64)?;
        }
        let [root, run] = &place.roots;
        for name in &names {
            let done = Volume::of(root, name).unmount_unused(run, &boot);
            done.map_err(|e| sys::Error::io("umount", name.clone(), &e))?;
        }
        Ok(())
    };
    let keep: Vec<_> = outside.iter().map(AsFd::as_fd).collect();
    let limit = Some(Instant::now() + UNMOUNT);
    let done = on
        .children
        .fork_keeping(&on.reactor, limit, &keep, || work().map_err(|e| e.to_string()));
    if let Err(e) = done.await {
        // Brig's next command does it.
        monitor.note(&format!("failed to unmount what its volumes consist of: {e}"));
    }
}

/// Its volumes are nobody's for now, as far as it goes.
fn tell_unmounted(monitor: &Monitor) {
    let place = &monitor.place;
    for name in &monitor.launch.borrow().mounted {
        let attributes = [("container", place.id.as_str()), ("driver", "local")];
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let event = Event::now("volume", "unmount", name, attributes.into());
        // The disk is full or the store read-only: it has ended all the same.
        let _ = monitor::events::append(&place.events, &event);
    }
}

/// What a wait for the start comes to.
pub async fn started(run: &Run) -> std::result::Result<i32, Refusal> {
    let (started, ended) = (pin!(run.started.wait()), pin!(run.ended.wait()));
    match either(started, ended).await {
        Either::Left(started) => started,
        Either::Right(ended) => Err(Refusal::of(Kind::NotRunning, ended.error)),
    }
}
