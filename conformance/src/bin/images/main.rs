//! `images`: judges the image half of `brig` from the outside, beside Docker, Podman, skopeo and umoci.
//!
//! May not: link any code of brig, touch the machine's firewall, `/etc` or services, or leave anything behind. Registries and
//! engines run in namespaces that play a host of their own.
//!
//! The program has two lives, as `engines` has: outside it prepares what is kept between runs, inside it is that host's only
//! user. With `--peer` a case is played with Docker or Podman in brig's place, which shows whether the case itself is right.

mod archive;
mod case;
mod cases;
mod depot;
mod fixtures;
mod lab;
mod measure;
mod nasty;
mod power;
mod prepare;
mod proxy;
mod registry;
mod soak;
mod tap;
mod tree;

#[path = "../bench/statistics.rs"]
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use conformance::{patience, played};
use lab::Subject;

const USAGE: &str = "usage: images --brig PATH --runtime PATH [options]
  --brig PATH     the command line to judge
  --runtime PATH  the runtime that runs its bundles, beside runc
  --peer NAME     docker or podman in brig's place: judges the cases, not brig
  --filter TEXT   only cases whose name contains TEXT; may be given again
  --list          print the names of the cases
  --patience N    every deadline times N (default 1)
  --cache DIR     where base images are kept (default .cache)
  --verbose       for each failed case the end of the daemon's log
  --measure       instead of the cases: pull and rmi of an image of about 700 MiB, beside Docker's and Podman's
  --soak          instead of the cases: kill -9 at random moments of several brigs at once, then half as many power cuts
  --rounds N      how often each is measured (default 3); how many are killed (default 100)
  --seed N        of the soak (default: another each time)
Needs root, docker-registry, and the peers as packages. One line for each case, and a last line with the sums.";

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
    rounds: Option<usize>,
    seed: Option<u64>,
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
            "--peer" => {
                arguments.peer = Some(match value()?.as_str() {
                    "docker" => Subject::Docker,
                    "podman" => Subject::Podman,
                    other => return Err(format!("no such peer: {other}")),
                });
            }
            "--filter" => arguments.filters.push(value()?),
            "--list" => arguments.list = true,
            "--patience" => arguments.patience = value()?.parse().map_err(|e| format!("--patience: {e}"))?,
            "--cache" => arguments.cache = Some(value()?.into()),
            "--verbose" => arguments.verbose = true,
            "--measure" => arguments.measure = true,
            "--soak" => arguments.soak = true,
            "--rounds" => arguments.rounds = Some(value()?.parse().map_err(|e| format!("--rounds: {e}"))?),
            "--seed" => arguments.seed = Some(value()?.parse().map_err(|e| format!("--seed: {e}"))?),
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
            eprintln!("images: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    patience::set(arguments.patience);
    let verdict = if arguments.list {
        for case in case::all() {
            println!("{}", case.name);
        }
        Ok(ExitCode::SUCCESS)
    } else if let Some(dir) = &arguments.inside {
        inside(&arguments, dir)
    } else {
        outside(&arguments)
    };
    verdict.unwrap_or_else(|problem| {
        eprintln!("images: {problem}");
        ExitCode::FAILURE
    })
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let cache = arguments.cache.clone().unwrap_or_else(|| ".cache".into());
    let image = prepare::debian(&cache)?;
    played::sweep_leftovers();
    let mut programs = Vec::new();
    programs.extend(arguments.brig.as_deref().map(|path| ("brig-program", path)));
    programs.extend(arguments.runtime.as_deref().map(|path| ("runtime", path)));
    let machine = played::Machine::prepare(&programs, Some(&image))?;
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
    words.extend(
        arguments
            .rounds
            .into_iter()
            .flat_map(|n| ["--rounds".into(), n.to_string()]),
    );
    if arguments.measure {
        prepare::bench(&cache)?;
        let cache = cache
            .canonicalize()
            .map_err(|e| format!("{}: {e}", cache.display()))?;
        words.extend(["--measure".into(), "--cache".into(), cache.display().to_string()]);
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

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.peer.unwrap_or(Subject::Brig))?;
    let ended = if arguments.measure {
        let cache = arguments.cache.as_deref().ok_or("--cache is missing")?;
        Some(measure::run(&lab, cache, arguments.rounds.unwrap_or(3)))
    } else if arguments.soak {
        Some(soak::run(
            &lab,
            arguments.rounds.unwrap_or(100),
            arguments.seed.unwrap_or(1),
        ))
    } else {
        None
    };
    if let Some(ended) = ended {
        // What went wrong comes first; then nothing is left to end but this whole host.
        let code = ended?;
        lab.shut_down()?;
        return Ok(code);
    }
    let sums = case::run_all(&lab, &case::Choice(&arguments.filters), arguments.verbose);
    lab.shut_down()?;
    Ok(sums.end())
}
