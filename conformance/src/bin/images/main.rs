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
mod nasty;
mod prepare;
mod registry;
mod seed;
mod tap;
mod tree;

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
    machine.live(&words, played::PATIENCE)
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.peer.unwrap_or(Subject::Brig))?;
    let sums = case::run_all(&lab, &case::Choice(&arguments.filters), arguments.verbose);
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
