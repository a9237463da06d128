//! Long loops that look for what shows once in a thousand times.
//!
//! May not: be part of the ordinary tests; it takes as long as it takes, within its bound.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use crate::case::Choice;
use crate::command::{self, USUAL};
use crate::lab::{IMAGE, Lab};
use crate::{kills, leaks, outages};

const EXECS: usize = 10_000;
const LIVES: usize = 1_000;
const STORMS: usize = 200;

/// All of them, on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(2 * 3600);

/// A loop: its name, and how it is run at a part of its size.
type Loop = (&'static str, fn(&Lab, usize) -> Result<(), String>);

/// The last ones are about shims, and take part when one is judged.
const LOOPS: [Loop; 3] = [
    ("soak.execs", |lab, size| execs(lab, part(EXECS, size))),
    ("soak.lives", |lab, size| lives(lab, part(LIVES, size))),
    ("soak.storms", |lab, size| storms(lab, part(STORMS, size))),
];
const LOOPS_OF_SHIMS: [Loop; 2] = [
    ("soak.shim-killed", |lab, _| kills::run(lab)),
    ("soak.outages", outages::run),
];

/// Runs the chosen loops at `size` percent; the exit code says whether anything was lost or left.
pub fn run(lab: &Lab, choice: &Choice, size: usize) -> Result<ExitCode, String> {
    let before = leaks::survey(&lab.dir);
    let of_shims = LOOPS_OF_SHIMS.iter().filter(|_| lab.is_shim_in_place);
    for (name, act) in LOOPS.iter().chain(of_shims).filter(|(name, _)| choice.has(name)) {
        act(lab, size).map_err(|e| format!("{name}: {e}"))?;
    }
    lab.remove_containers()?;
    leaks::check(&before, &lab.dir)?;
    println!("nothing left behind");
    Ok(ExitCode::SUCCESS)
}

/// So many percent of a number, but one at least.
pub fn part(number: usize, size: usize) -> usize {
    (number * size / 100).max(1)
}

pub fn tell(what: &str, count: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{what}: {count} in {seconds:.0} s, {:.1} ms each",
        seconds * 1e3 / count as f64
    );
}

/// The runtime's own exec, many times in one container.
fn execs(lab: &Lab, count: usize) -> Result<(), String> {
    lab.docker_must(&[
        "run",
        "--detach",
        "--runtime",
        "subject",
        "--name",
        "soak",
        "--network",
        "none",
        IMAGE,
        "sleep",
        "86400",
    ])?;
    let id = lab.docker_must(&["inspect", "--format", "{{.Id}}", "soak"])?;
    let root = state_root(&id)?;
    let began = Instant::now();
    for n in 0..count {
        let mut exec = Command::new(&lab.subject);
        exec.args([
            "--root",
            &root,
            "exec",
            &id,
            "sh",
            "-c",
            &format!("exit {}", n % 100),
        ]);
        let outcome = command::run(&mut exec, "", USUAL)?;
        if outcome.code != (n % 100) as i32 {
            return Err(format!(
                "exec {n}: exit code {}: {}",
                outcome.code, outcome.stderr
            ));
        }
    }
    tell("execs", count, began);
    lab.docker_must(&["rm", "--force", "soak"]).map(|_| ())
}

/// Where Docker's shim told the runtime to keep this container's state: the name differs from version to version.
fn state_root(id: &str) -> Result<String, String> {
    let entries = std::fs::read_dir("/run/docker").map_err(|e| format!("/run/docker: {e}"))?;
    let roots = entries.flatten().map(|entry| entry.path().join("moby"));
    let root = roots
        .into_iter()
        .find(|root| root.join(id).is_dir())
        .ok_or("the container has no state")?;
    Ok(root.display().to_string())
}

/// Whole lives through Docker.
fn lives(lab: &Lab, count: usize) -> Result<(), String> {
    let began = Instant::now();
    for n in 0..count {
        let outcome = lab.docker(&[
            "run",
            "--rm",
            "--runtime",
            "subject",
            "--network",
            "none",
            IMAGE,
            "sh",
            "-c",
            "exit 3",
        ])?;
        if outcome.code != 3 {
            return Err(format!(
                "life {n}: exit code {}: {}",
                outcome.code, outcome.stderr
            ));
        }
    }
    tell("docker run", count, began);
    Ok(())
}

/// `docker run` processes killed at different moments: the daemon and the runtime have to cope.
fn storms(lab: &Lab, count: usize) -> Result<(), String> {
    let began = Instant::now();
    for n in 0..count {
        let name = format!("storm-{n}");
        lab.docker_must(&[
            "create",
            "--runtime",
            "subject",
            "--name",
            &name,
            "--network",
            "none",
            IMAGE,
            "sleep",
            "600",
        ])?;
        let mut start = Command::new("/usr/bin/docker");
        start.args(["--host", "unix:///run/docker.sock", "start", &name]);
        let starting = std::thread::spawn(move || command::run(&mut start, "", USUAL));
        std::thread::park_timeout(Duration::from_millis((n % 100) as u64 * 2));
        lab.docker_must(&["rm", "--force", &name])?;
        if let Ok(Err(e)) = starting.join() {
            return Err(format!("storm {n}: {e}"));
        }
    }
    tell("start and rm --force at once", count, began);
    Ok(())
}
