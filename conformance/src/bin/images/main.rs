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

#[path = "../bench/statistics.rs"]
mod statistics;

use std::path::Path;
use std::process::ExitCode;

use conformance::judge::{self, Judge, Limits};
use conformance::played;
use lab::Subject;

type Arguments = judge::Arguments<Subject>;

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

fn main() -> ExitCode {
    let judge = Judge {
        name: "images",
        usage: USAGE,
        names: || {
            case::all()
                .into_iter()
                .map(|case| case.name.to_string())
                .collect()
        },
        outside,
        inside,
    };
    judge.main()
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let cache = arguments.cache();
    let image = prepare::debian(&cache)?;
    played::sweep_leftovers();
    let mut programs = Vec::new();
    programs.extend(arguments.brig.as_deref().map(|path| ("brig-program", path)));
    programs.extend(arguments.runtime.as_deref().map(|path| ("runtime", path)));
    let machine = played::Machine::prepare(&programs, Some(&image))?;
    if arguments.measure {
        prepare::bench(&cache)?;
    }
    let limits = Limits {
        measure: measure::PATIENCE,
        soak: soak::PATIENCE,
    };
    arguments.live(&machine, &limits)
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.subject())?;
    // What went wrong comes first; then nothing is left to end but this whole host.
    let code = if arguments.measure {
        measure::run(&lab, &arguments.cache(), arguments.rounds(3))?
    } else if arguments.soak {
        soak::run(&lab, arguments.rounds(100), arguments.seed())?
    } else {
        let sums = case::run_all(&lab, &arguments.choice(), arguments.verbose);
        lab.shut_down()?;
        return Ok(sums.end());
    };
    lab.shut_down()?;
    Ok(code)
}
