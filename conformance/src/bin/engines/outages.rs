//! Execs and containers that come and go while containerd is killed again and again: every exit is told once, with the
//! right status, and nothing is left.
//!
//! May not: take the client's word for what was lost; what counts is what containerd was told.
//!
//! Between the shims and containerd stands a listener that passes each event on and writes it down. It goes away with
//! containerd, so that for a shim both are one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conformance::messages as m;
use conformance::ttrpc::{Connection, Server};
use prost::Message;

use crate::command::{self, Outcome};
use crate::kills::{files, is_fifo, kill, parent, pid_in};
use crate::lab::{CONTAINERD_SOCKET, Lab};
use crate::leaks;
use crate::soak::{part, tell};

type Done = Result<(), String>;

const EXECS: usize = 10_000;
const LIVES: usize = 500;
const OUTAGES: usize = 10;

/// Containers that last, in which the execs run; and who runs them.
const LASTING: usize = 3;
const EXECUTORS: usize = 3;
const LIFE_GIVERS: usize = 2;

const KILLED: u32 = 137;

const LISTENER: &str = "/run/ctr/told.sock";
/// For what has to come again after an outage, or be gone at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// An event whose answer was lost with the daemon is rightly told again. Older ones were answered.
const UNANSWERED: Duration = Duration::from_secs(1);

/// Plays it at `size` percent.
pub fn run(lab: &Lab, size: usize) -> Done {
    let (before, known) = (leaks::survey(&lab.dir), files());
    let recorder = Recorder::default();
    let script = redirect_shims(lab)?;
    let result = recorder.come_back().and_then(|()| play(lab, &recorder, size));
    script.undo()?;
    let interrupted = result?;
    recorder.go_away();
    let mut left = Vec::new();
    let clean = command::until("nothing is left", PATIENCE, || {
        left = leaks::left(&before, &lab.dir);
        let (fifos, others): (Vec<_>, Vec<_>) = files()
            .into_iter()
            .filter(|path| !known.contains(path))
            .partition(|path| is_fifo(path));
        // A client whose daemon was killed may leave its FIFOs, no other.
        let too_many = fifos.into_iter().skip(interrupted);
        left.extend(
            others
                .into_iter()
                .chain(too_many)
                .map(|path| path.display().to_string()),
        );
        left.is_empty()
    });
    clean.map_err(|e| format!("{e}: {left:?}"))
}

/// The shim's name, as a script that puts the listener in the daemon's place.
struct Redirected<'a>(&'a Lab, std::path::PathBuf);

fn redirect_shims(lab: &Lab) -> Result<Redirected<'_>, String> {
    let (name, shim) = (
        lab.shim_name(),
        lab.shim.as_deref().ok_or("there is no shim to judge")?,
    );
    let script = format!(
        "#!/bin/sh\nTTRPC_ADDRESS={LISTENER} exec {} \"$@\"\n",
        shim.display()
    );
    let text = |e: std::io::Error| format!("{}: {e}", name.display());
    let fresh = name.with_extension("new");
    fs::write(&fresh, script).map_err(text)?;
    fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(text)?;
    fs::rename(&fresh, &name).map_err(text)?;
    Ok(Redirected(lab, name))
}

impl Redirected<'_> {
    fn undo(self) -> Done {
        let shim = self.0.shim.as_deref().unwrap_or(Path::new("/"));
        let undone = fs::remove_file(&self.1).and_then(|()| std::os::unix::fs::symlink(shim, &self.1));
        undone.map_err(|e| format!("{}: {e}", self.1.display()))
    }
}

/// One event of a task.
#[derive(Debug, Clone)]
struct Told {
    topic: String,
    container: String,
    /// The exec, or empty for the container's own process.
    exec: String,
    status: u32,
    at: Instant,
}

#[derive(Default)]
struct Heard {
    events: Vec<Told>,
    outages: Vec<Instant>,
}

/// The listener.
#[derive(Default)]
struct Recorder {
    heard: Arc<Mutex<Heard>>,
    server: Mutex<Option<Server>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recorder {
    fn go_away(&self) {
        lock(&self.heard).outages.push(Instant::now());
        let server = lock(&self.server).take();
        drop(server);
    }

    fn come_back(&self) -> Done {
        let heard = Arc::clone(&self.heard);
        let daemon: Mutex<Option<Connection>> = Mutex::new(None);
        let server = Server::listen(Path::new(LISTENER), move |request| {
            pass_on(&daemon, &request)?;
            if let Some(told) = decode(&request.payload) {
                lock(&heard).events.push(told);
            }
            Some(m::Response::default())
        });
        *lock(&self.server) = Some(server.map_err(|e| format!("{LISTENER}: {e}"))?);
        Ok(())
    }

    fn events(&self) -> Vec<Told> {
        lock(&self.heard).events.clone()
    }
}

/// To containerd itself. None: it has not taken it, and the shim is not answered.
fn pass_on(daemon: &Mutex<Option<Connection>>, request: &m::Request) -> Option<()> {
    let mut daemon = lock(daemon);
    let connection = match daemon.take().filter(|connection| !connection.is_closed()) {
        Some(connection) => connection,
        None => Connection::dial(Path::new(&format!("{CONTAINERD_SOCKET}.ttrpc")), "default").ok()?,
    };
    let pending = connection
        .send(&request.service, &request.method, request.payload.clone())
        .ok()?;
    pending.take::<m::Empty>(Duration::from_secs(10)).ok()?;
    *daemon = Some(connection);
    Some(())
}

fn decode(payload: &[u8]) -> Option<Told> {
    let envelope = m::ForwardRequest::decode(payload).ok()?.envelope?;
    let event = envelope.event.unwrap_or_default();
    let container = m::TaskNamed::decode(&event.value[..]).ok()?.container_id;
    let (exec, status) = match envelope.topic.as_str() {
        "/tasks/exit" => {
            let exit = m::TaskExit::decode(&event.value[..]).ok()?;
            (exit.id, exit.exit_status)
        }
        "/tasks/exec-started" => (m::TaskExecStarted::decode(&event.value[..]).ok()?.exec_id, 0),
        _ => (String::new(), 0),
    };
    Some(Told {
        topic: envelope.topic,
        exec: if exec == container { String::new() } else { exec },
        container,
        status,
        at: Instant::now(),
    })
}

/// What the workers share.
struct Play<'a> {
    lab: &'a Lab,
    recorder: &'a Recorder,
    execs: usize,
    lives: usize,
    next_exec: AtomicUsize,
    next_life: AtomicUsize,
    /// Odd while containerd is away or has just come back.
    outage: AtomicUsize,
    interrupted: AtomicUsize,
    /// Container and exec (or nothing) of what clients saw end: of these there must be events, whatever was away.
    seen: Mutex<BTreeSet<(String, String)>>,
}

/// The answer is how many clients were interrupted.
fn play(lab: &Lab, recorder: &Recorder, size: usize) -> Result<usize, String> {
    let play = Play {
        lab,
        recorder,
        execs: part(EXECS, size),
        lives: part(LIVES, size),
        next_exec: AtomicUsize::new(0),
        next_life: AtomicUsize::new(0),
        outage: AtomicUsize::new(0),
        interrupted: AtomicUsize::new(0),
        seen: Mutex::default(),
    };
    let began = Instant::now();
    for n in 0..LASTING {
        let lasting = play.run(&format!("lasting{n}"), "exec sleep 86400")?;
        lasting.ok()?;
    }
    let shims = (0..LASTING)
        .map(|n| parent(pid_in(&play.tasks()?, &format!("lasting{n}"))?))
        .collect::<Result<Vec<u32>, _>>()?;
    let results: Vec<Done> = std::thread::scope(|scope| {
        let executors = (0..EXECUTORS).map(|_| scope.spawn(|| play.execute()));
        let givers = (0..LIFE_GIVERS).map(|_| scope.spawn(|| play.give_lives()));
        let workers: Vec<_> = executors.chain(givers).collect();
        let is_over = || workers.iter().all(std::thread::ScopedJoinHandle::is_finished);
        let outages = play.outages(is_over);
        let join = |worker: std::thread::ScopedJoinHandle<'_, Done>| {
            worker.join().unwrap_or(Err("the thread failed".into()))
        };
        let mut results: Vec<Done> = workers.into_iter().map(join).collect();
        results.push(outages);
        results
    });
    results.into_iter().collect::<Done>()?;
    tell("execs through outages", play.execs, began);
    let interrupted = play.interrupted.load(Ordering::Relaxed);
    println!(
        "containers meanwhile: {}; outages: {OUTAGES}; clients interrupted: {interrupted}",
        play.lives
    );
    for (n, shim) in shims.iter().enumerate() {
        let status = fs::read_to_string(format!("/proc/{shim}/status")).unwrap_or_default();
        let resident = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .unwrap_or_default();
        println!("  shim of lasting{n}: {}", resident.replace('\t', " "));
    }
    no_zombies(&shims)?;
    for n in 0..LASTING {
        play.end(&format!("lasting{n}"))?;
    }
    play.judge()?;
    Ok(interrupted)
}

impl Play<'_> {
    /// Kills containerd whenever another part of the execs is done.
    fn outages(&self, is_over: impl Fn() -> bool) -> Done {
        for n in 1..=OUTAGES {
            let at = n * self.execs / (OUTAGES + 1);
            command::until("the next outage", Duration::from_secs(3600), || {
                is_over() || self.next_exec.load(Ordering::Relaxed) >= at
            })?;
            if is_over() {
                return Ok(());
            }
            self.outage.fetch_add(1, Ordering::SeqCst);
            self.recorder.go_away();
            let daemon = self.lab.containerd.as_ref()?;
            let away = daemon.outage(|| {
                // Long enough for what runs to end meanwhile, now and then.
                std::thread::park_timeout(Duration::from_millis(n as u64 % 4 * 300));
                Ok(())
            });
            self.recorder.come_back()?;
            self.outage.fetch_add(1, Ordering::SeqCst);
            away?;
        }
        Ok(())
    }

    /// Whether containerd was away at any time since `mark`, or is.
    fn was_away_since(&self, mark: usize) -> bool {
        let now = self.outage.load(Ordering::SeqCst);
        now != mark || now % 2 == 1
    }

    fn mark(&self) -> usize {
        self.outage.load(Ordering::SeqCst)
    }

    fn run(&self, id: &str, script: &str) -> Result<Outcome, String> {
        let (runtime, rootfs) = (
            self.lab.subject.display().to_string(),
            self.lab.rootfs().display().to_string(),
        );
        let mut line = vec![
            "run",
            "--runc-binary",
            &runtime,
            "--runc-root",
            "/run/ctr/runtime-root",
        ];
        line.extend([
            "--env",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "--detach",
            "--null-io",
        ]);
        line.extend(["--rootfs", &rootfs, id, "sh", "-c", script]);
        self.lab.ctr(&line)
    }

    fn tasks(&self) -> Result<String, String> {
        self.lab.ctr(&["task", "list"])?.ok()
    }

    /// Execs, one after another, until there are no more to do.
    fn execute(&self) -> Done {
        loop {
            let n = self.next_exec.fetch_add(1, Ordering::Relaxed);
            if n >= self.execs {
                return Ok(());
            }
            let (container, exec, script) = (
                format!("lasting{}", n % LASTING),
                format!("exec{n}"),
                format!("exit {}", status_of(n)),
            );
            let mark = self.mark();
            let line = [
                "task",
                "exec",
                "--exec-id",
                &exec,
                &container,
                "sh",
                "-c",
                &script,
            ];
            let o = self.lab.ctr(&line)?;
            if o.code == i32::try_from(status_of(n)).unwrap_or(-1) {
                lock(&self.seen).insert((container, exec));
                continue;
            }
            if !self.was_away_since(mark) {
                return Err(format!(
                    "{exec} in {container}: exit code {}: {}",
                    o.code, o.stderr
                ));
            }
            self.interrupted.fetch_add(1, Ordering::Relaxed);
            self.until_back()?;
        }
    }

    fn until_back(&self) -> Done {
        command::until("containerd is back", PATIENCE, || {
            self.outage.load(Ordering::SeqCst).is_multiple_of(2)
        })
    }

    /// Containers, one after another, that end by themselves, by a signal through containerd or by one from outside.
    fn give_lives(&self) -> Done {
        loop {
            let n = self.next_life.fetch_add(1, Ordering::Relaxed);
            if n >= self.lives {
                return Ok(());
            }
            let id = format!("life{n}");
            let script = match n % 3 {
                0 => format!("sleep 0.{:02}; exit {}", n * 7 % 40, status_of(n)),
                _ => "exec sleep 86400".into(),
            };
            let mark = self.mark();
            let o = self.run(&id, &script)?;
            if o.code != 0 && !self.was_away_since(mark) {
                return Err(format!("{id}: {}", o.stderr));
            }
            if o.code == 0 {
                self.let_die(n, &id)?;
                lock(&self.seen).insert((id.clone(), String::new()));
            } else {
                self.interrupted.fetch_add(1, Ordering::Relaxed);
                self.until_back()?;
            }
            self.end(&id)?;
        }
    }

    fn let_die(&self, n: usize, id: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("{id} is stopped"), PATIENCE, || {
            let Ok(tasks) = self.tasks() else { return false };
            let own = tasks
                .lines()
                .find(|line| line.split_whitespace().next() == Some(id));
            last = own.unwrap_or("there is no such task").to_owned();
            if last.contains("STOPPED") {
                return true;
            }
            // Again, should a signal have been lost with its daemon.
            match n % 3 {
                1 => drop(self.lab.ctr(&["task", "kill", "--signal", "KILL", id])),
                2 => drop(pid_in(&tasks, id).and_then(kill)),
                _ => {}
            }
            false
        })
        .map_err(|e| format!("{e}: {last}"))
    }

    /// Deletes a container with its task, whatever state an outage has left it in. A client may have been killed in the
    /// middle, so it is asked again until it is gone.
    fn end(&self, id: &str) -> Done {
        let mut last = String::new();
        command::until(&format!("{id} is deleted"), PATIENCE, || {
            let deleted = self.lab.ctr(&["tasks", "delete", "--force", id]);
            last = deleted.map_or_else(|e| e, |o| o.stderr);
            let _ = self.lab.ctr(&["containers", "delete", id]);
            let list = self
                .lab
                .ctr(&["containers", "list", "--quiet"])
                .and_then(Outcome::ok);
            list.is_ok_and(|list| list.split_whitespace().all(|other| other != id))
        })
        .map_err(|e| format!("{e}: {last}"))
    }

    /// What starts must end once, with the status that it was told to have.
    fn judge(&self) -> Done {
        let mut problems = Vec::new();
        command::until("every exit is told", PATIENCE, || {
            problems = self.problems();
            problems.is_empty()
        })
        .map_err(|e| format!("{e}: {}", problems.join("; ")))?;
        let events = self.recorder.events();
        let count = |topic: &str| events.iter().filter(|event| event.topic == topic).count();
        let exits = events.iter().filter(|event| event.topic == "/tasks/exit");
        let once: BTreeSet<_> = exits.map(|exit| (&exit.container, &exit.exec)).collect();
        println!(
            "events: {} execs and {} containers started, {} exits, {} told again because an outage took the answer",
            count("/tasks/exec-started"),
            count("/tasks/start"),
            once.len(),
            count("/tasks/exit") - once.len()
        );
        Ok(())
    }

    fn problems(&self) -> Vec<String> {
        let heard = lock(&self.recorder.heard);
        complaints(&heard.events, &heard.outages, &lock(&self.seen))
    }
}

/// What is wrong with what was told. `seen`: what clients saw end, container and exec.
fn complaints(events: &[Told], outages: &[Instant], seen: &BTreeSet<(String, String)>) -> Vec<String> {
    let key = |event: &Told| (event.container.clone(), event.exec.clone());
    let mut exits: BTreeMap<(String, String), Vec<&Told>> = BTreeMap::new();
    for event in events.iter().filter(|event| event.topic == "/tasks/exit") {
        exits.entry(key(event)).or_default().push(event);
    }
    let is_start = |event: &&Told| matches!(&event.topic[..], "/tasks/start" | "/tasks/exec-started");
    let started: BTreeSet<(String, String)> = events.iter().filter(is_start).map(key).collect();
    let mut problems = Vec::new();
    for (container, exec) in started.union(seen) {
        if !exits.contains_key(&(container.clone(), exec.clone())) {
            problems.push(format!("no exit of {container} {exec}"));
        }
    }
    for ((container, exec), all) in &exits {
        if all.len() > 1 && !all.first().is_some_and(|first| is_unanswered(first, outages)) {
            problems.push(format!("{} exits of {container} {exec}", all.len()));
        }
        let is_seen = seen.contains(&(container.clone(), exec.clone()));
        for exit in all {
            let expected = expected_status(container, exec);
            // What nobody saw end may have been cut off in its start, and killed with its container.
            if expected != Some(exit.status) && (is_seen || exit.status != KILLED) {
                let status = exit.status;
                problems.push(format!(
                    "{container} {exec} ended with {status}, not {expected:?}"
                ));
            }
        }
    }
    problems.truncate(20);
    problems
}

/// Whether an event may have lost its answer to an outage.
fn is_unanswered(event: &Told, outages: &[Instant]) -> bool {
    let mut later = outages.iter().filter(|outage| event.at <= **outage);
    later.any(|outage| outage.duration_since(event.at) < UNANSWERED)
}

/// The status that a process was made to end with, by its name.
fn expected_status(container: &str, exec: &str) -> Option<u32> {
    let number = |name: &str, prefix: &str| name.strip_prefix(prefix).and_then(|n| n.parse::<usize>().ok());
    match (number(exec, "exec"), number(container, "life")) {
        (Some(n), _) => Some(status_of(n)),
        (None, Some(n)) if n % 3 == 0 => Some(status_of(n)),
        // Those that last are killed, too.
        _ => Some(KILLED),
    }
}

/// No status that a client uses for its own failures.
fn status_of(n: usize) -> u32 {
    u32::try_from(2 + n % 98).unwrap_or(2)
}

/// The children of these shims have been collected.
fn no_zombies(shims: &[u32]) -> Done {
    let mut zombies = Vec::new();
    command::until("no zombie", PATIENCE, || {
        zombies.clear();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let Some((_, after)) = stat.rsplit_once(") ") else {
                continue;
            };
            let mut fields = after.split(' ');
            let (state, parent) = (fields.next(), fields.next());
            let parent = parent
                .and_then(|word| word.parse::<u32>().ok())
                .unwrap_or_default();
            if state == Some("Z") && shims.contains(&parent) {
                zombies.push(stat);
            }
        }
        zombies.is_empty()
    })
    .map_err(|e| format!("{e}: {zombies:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn told(topic: &str, container: &str, exec: &str, status: u32, at: Instant) -> Told {
        Told {
            topic: topic.into(),
            container: container.into(),
            exec: exec.into(),
            status,
            at,
        }
    }

    #[test]
    fn an_exit_is_told_once_and_rightly() {
        let now = Instant::now();
        let none = BTreeSet::new();
        let seen = BTreeSet::from([("lasting0".to_owned(), "exec3".to_owned())]);
        let start = told("/tasks/exec-started", "lasting0", "exec3", 0, now);
        let exit = |status| told("/tasks/exit", "lasting0", "exec3", status, now);
        let right = status_of(3);
        assert!(complaints(&[start.clone(), exit(right)], &[], &seen).is_empty());
        assert_eq!(
            complaints(std::slice::from_ref(&start), &[], &none).len(),
            1,
            "lost"
        );
        assert_eq!(complaints(&[], &[], &seen).len(), 1, "lost with its start");
        assert_eq!(
            complaints(&[start.clone(), exit(7)], &[], &none).len(),
            1,
            "wrong"
        );
        assert!(complaints(&[start.clone(), exit(KILLED)], &[], &none).is_empty());
        assert_eq!(complaints(&[start.clone(), exit(KILLED)], &[], &seen).len(), 1);
        let twice = [start, exit(right), exit(right)];
        assert_eq!(complaints(&twice, &[], &seen).len(), 1, "twice");
        assert!(
            complaints(&twice, &[now], &seen).is_empty(),
            "its answer was lost"
        );
        assert_eq!(complaints(&twice, &[now + 2 * UNANSWERED], &seen).len(), 1);
    }

    #[test]
    fn a_name_says_the_end() {
        assert_eq!(expected_status("life3", ""), Some(status_of(3)));
        assert_eq!(expected_status("life4", ""), Some(KILLED));
        assert_eq!(expected_status("lasting0", ""), Some(KILLED));
        assert_eq!(expected_status("lasting0", "exec9"), Some(status_of(9)));
    }
}
