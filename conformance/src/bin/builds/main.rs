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
mod liar;
mod measure;
mod packages;
mod soak;
mod web;

#[path = "../containers/outside.rs"]
#[expect(dead_code, reason = "only its other end of the cable is needed here")]
mod outside;
#[path = "../containers/prepare.rs"]
mod prepare;
#[path = "../bench/statistics.rs"]
mod statistics;

use std::path::Path;
use std::process::ExitCode;

use conformance::judge::{self, Judge, Limits};
use conformance::played;
use lab::Subject;

type Arguments = judge::Arguments<Subject>;

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

fn main() -> ExitCode {
    let judge = Judge {
        name: "builds",
        usage: USAGE,
        names: || {
            let cases = case::all().into_iter().map(|case| case.name);
            cases.chain(differential::names()).collect()
        },
        outside,
        inside,
    };
    judge.main()
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let archive = prepare::images(&arguments.cache())?;
    played::sweep_leftovers();
    let machine = judge::machine_with_all(arguments, &archive)?;
    packages::lead_out(machine.dir())?;
    let limits = Limits {
        measure: measure::PATIENCE,
        soak: soak::PATIENCE,
    };
    arguments.live(&machine, &limits)
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = lab::Lab::enter(dir, arguments.subject(), arguments.verbose)?;
    let choice = arguments.choice();
    // What went wrong comes first; then nothing is left to end but this whole host.
    let code = if arguments.measure {
        measure::run(&lab, &choice, arguments.rounds(5))?
    } else if arguments.soak {
        soak::run(&lab, &choice, arguments.rounds(100), arguments.seed())?
    } else {
        let mut sums = case::run_all(&lab, &choice);
        sums.add(differential::run_all(&lab, &choice));
        lab.shut_down()?;
        return Ok(sums.end());
    };
    lab.shut_down()?;
    Ok(code)
}
