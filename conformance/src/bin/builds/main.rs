//! `builds`: judges `brig build` from the outside, beside both builders of Docker.
//!
//! May not: link any code of brig, touch the machine's firewall, `/etc` or services, or leave anything behind.
//!
//! It has two lives as `containers` has: outside it finds the images and keeps a way to the package servers open, inside a played
//! host it is that host's only user, and types. With `--peer docker` the cases are played with Docker's BuildKit in brig's place, which
//! shows whether the case itself is right.

mod case;
mod cases;
mod differential;
mod lab;
mod measure;
mod packages;
mod soak;
mod tree;
mod web;

#[path = "../containers/outside.rs"]
#[expect(dead_code, reason = "only its other end of the cable is needed here")]
mod outside;
#[path = "../containers/prepare.rs"]
mod prepare;
#[path = "../bench/statistics.rs"]
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use conformance::verdict::Choice;
use conformance::{patience, played};
use lab::Subject;

const USAGE: &str = "usage: builds --brig PATH --runtime PATH [options]
  --brig PATH     the command line to judge; programs beside it whose names begin with brig- go with it
  --runtime PATH  the runtime that comes with it
  --peer NAME     docker or buildah in brig's place: judges the cases, not brig
  --filter TEXT   only cases whose name contains TEXT; may be given again
  --list          print the names of the cases
  --patience N    every deadline times N (default 1)
  --cache DIR     where images are kept (default .cache)
  --verbose       each command line with what it printed
  --measure       instead of the cases: times beside those of Docker's two builders
  --soak          instead of the cases: Ctrl-C and kill -9 of builds at random moments (soak.build-kills)
  --rounds N      how many rounds of each (default 5); how many are killed (default 100)
  --seed N        of the soak (default: another each time)
Needs root, debootstrap, docker.io, docker-registry and git. One line for each case, and a last line with the sums.";

/// What the user asked for.
#[derive(Default)]
struct Arguments {
    brig: Option<PathBuf>,
    runtime: Option<PathBuf>,
    peer: Option<Subject>,
    filters: Vec<String>,
    list: bool,
    patience: u32,
    cache: Option<PathBuf>,
    verbose: bool,
    measure: bool,
    soak: bool,
    seed: Option<u64>,
    rounds: Option<usize>,
    /// Set by the program itself when it starts its second life.
    inside: Option<PathBuf>,
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        patience: 1,
        ..Arguments::default()
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--brig" => arguments.brig = Some(value()?.into()),
            "--runtime" => arguments.runtime = Some(value()?.into()),
            "--peer" => arguments.peer = Some(Subject::parse(&value()?)?),
            "--filter" => arguments.filters.push(value()?),
            "--list" => arguments.list = true,
            "--patience" => arguments.patience = value()?.parse().map_err(|e| format!("--patience: {e}"))?,
            "--cache" => arguments.cache = Some(value()?.into()),
            "--verbose" => arguments.verbose = true,
            "--measure" => arguments.measure = true,
            "--soak" => arguments.soak = true,
            "--seed" => arguments.seed = Some(value()?.parse().map_err(|e| format!("--seed: {e}"))?),
            "--rounds" => arguments.rounds = Some(value()?.parse().map_err(|e| format!("--rounds: {e}"))?),
            "--inside" => arguments.inside = Some(value()?.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    let complete = (arguments.brig.is_some() && arguments.runtime.is_some()) || arguments.peer.is_some();
    if !complete && !arguments.list && arguments.inside.is_none() {
        return Err("--brig and --runtime are missing".into());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("builds: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    patience::set(arguments.patience);
    let verdict = if arguments.list {
        for name in case::all().into_iter().map(|case| case.name) {
            println!("{name}");
        }
        for name in differential::names() {
            println!("{name}");
        }
        Ok(ExitCode::SUCCESS)
    } else if let Some(dir) = &arguments.inside {
        inside(&arguments, dir)
    } else {
        outside(&arguments)
    };
    verdict.unwrap_or_else(|problem| {
        eprintln!("builds: {problem}");
        ExitCode::FAILURE
    })
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let cache = arguments.cache.clone().unwrap_or_else(|| ".cache".into());
    let archive = prepare::images(&cache)?;
    played::sweep_leftovers();
    let mut programs: Vec<(&str, PathBuf)> = Vec::new();
    if arguments.peer.is_none()
        && let (Some(brig), Some(runtime)) = (&arguments.brig, &arguments.runtime)
    {
        programs.push((lab::PROGRAM, brig.clone()));
        // brig finds its runtime and its other programs beside itself.
        programs.push((lab::BESIDE, runtime.clone()));
        programs.extend(companions(brig).into_iter().map(|path| (lab::BESIDE, path)));
    }
    let borrowed: Vec<(&str, &Path)> = programs
        .iter()
        .map(|(role, path)| (*role, path.as_path()))
        .collect();
    let machine = played::Machine::prepare(&borrowed, Some(&archive))?;
    packages::lead_out(machine.dir())?;
    let mut words: Vec<String> = arguments
        .filters
        .iter()
        .flat_map(|f| ["--filter".into(), f.clone()])
        .collect();
    words.extend(["--patience".into(), arguments.patience.to_string()]);
    if let Some(peer) = arguments.peer {
        words.extend(["--peer".into(), peer.name().into()]);
    }
    words.extend(arguments.verbose.then(|| "--verbose".into()));
    let rounds = arguments.rounds.into_iter();
    words.extend(rounds.flat_map(|n| ["--rounds".into(), n.to_string()]));
    if arguments.measure {
        words.push("--measure".into());
        return machine.live(&words, measure::PATIENCE);
    }
    if arguments.soak {
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |time| u64::from(time.subsec_nanos()));
        let seed = arguments.seed.unwrap_or(now);
        words.extend(["--soak".into(), "--seed".into(), seed.to_string()]);
        return machine.live(&words, soak::PATIENCE);
    }
    machine.live(&words, played::PATIENCE)
}

/// Programs that are installed beside brig because it runs them.
fn companions(brig: &Path) -> Vec<PathBuf> {
    let dir = match brig.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("brig-") && !name.contains('.') && path.is_file()
        })
        .collect()
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.peer.unwrap_or(Subject::Brig), arguments.verbose)?;
    let choice = Choice(&arguments.filters);
    if arguments.measure || arguments.soak {
        let code = if arguments.measure {
            measure::run(&lab, &choice, arguments.rounds.unwrap_or(5))
        } else {
            let (rounds, seed) = (arguments.rounds.unwrap_or(100), arguments.seed.unwrap_or(1));
            soak::run(&lab, &choice, rounds, seed)
        }?;
        lab.shut_down()?;
        return Ok(code);
    }
    let mut sums = case::run_all(&lab, &choice);
    let more = differential::run_all(&lab, &choice);
    sums.passed += more.passed;
    sums.failed += more.failed;
    sums.skipped += more.skipped;
    lab.shut_down()?;
    println!(
        "{} passed, {} failed, {} skipped",
        sums.passed, sums.failed, sums.skipped
    );
    Ok(if sums.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
