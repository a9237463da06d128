//! `containers`: judges the container half of `brig` from the outside, beside Docker.
//!
//! May not: link any code of brig, touch the machine's firewall, `/etc` or services, or leave anything behind.
//!
//! The program has two lives, as `engines` has: outside it prepares images that are kept between runs, inside a played host it is
//! that host's only user, and types. With `--peer docker` the cases are played with Docker in brig's place, which shows whether
//! the case itself is right.

mod case;
mod cases;
mod differential;
mod lab;
mod mask;
mod measure;
mod outside;
mod prepare;
mod soak;
mod uptime;
mod wires;

#[path = "../bench/statistics.rs"]
mod statistics;

use std::path::Path;
use std::process::ExitCode;

use conformance::judge::{self, Judge, Limits};
use conformance::played;
use lab::Subject;

type Arguments = judge::Arguments<Subject>;

const USAGE: &str = "usage: containers --brig PATH --runtime PATH [options]
  --brig PATH     the command line to judge; programs beside it whose names begin with brig- go with it
  --runtime PATH  the runtime that comes with it
  --peer docker   Docker in brig's place: judges the cases, not brig
  --filter TEXT   only cases whose name contains TEXT; may be given again
  --list          print the names of the cases
  --patience N    every deadline times N (default 1)
  --cache DIR     where images are kept (default .cache)
  --verbose       each command line with what it printed
  --measure       instead of the cases: times beside Docker's, memory of 300 containers (measure.lives), what networks
                  cost (measure.networks)
  --soak          instead of the cases: 2,000 short lives (soak.container-lives), then kill -9 at random moments and
                  reboots (soak.container-kills), the same with networks, ports and volumes (soak.network-kills)
  --rounds N      how many rounds of each (default 5); how many are killed (default 300)
  --seed N        of the soak (default: another each time)
Needs root, debootstrap, and docker.io as a package. One line for each case, and a last line with the sums.";

fn main() -> ExitCode {
    let judge = Judge {
        name: "containers",
        usage: USAGE,
        names: || {
            let cases = case::all().into_iter().map(|case| case.name);
            cases
                .chain(differential::lines().iter().map(|line| line.name()))
                .collect()
        },
        outside,
        inside: |arguments, dir| {
            let ended = inside(arguments, dir);
            uptime::thaw_everything();
            ended
        },
    };
    judge.main()
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let archive = prepare::images(&arguments.cache())?;
    played::sweep_leftovers();
    let limits = Limits {
        measure: measure::PATIENCE,
        soak: soak::PATIENCE,
    };
    arguments.live(&judge::machine_with_all(arguments, &archive)?, &limits)
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.subject(), arguments.verbose)?;
    let choice = arguments.choice();
    // What went wrong comes first; then nothing is left to end but this whole host.
    let code = if arguments.measure {
        measure::run(&lab, &choice, arguments.rounds(5))?
    } else if arguments.soak {
        soak::run(&lab, &choice, arguments.rounds(300), arguments.seed())?
    } else {
        let mut sums = case::run_all(&lab, &choice, case::Turn::First);
        sums.add(differential::run_all(&lab, &choice));
        sums.add(case::run_all(&lab, &choice, case::Turn::Last));
        lab.shut_down()?;
        return Ok(sums.end());
    };
    lab.shut_down()?;
    Ok(code)
}
