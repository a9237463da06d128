//! `bench`: what a container costs with each runtime, as a multiple of what the kernel alone takes.
//!
//! May not: change the host (it works in a mount namespace of its own and in a temporary directory), compare
//! figures of different runs, or give a verdict on a noisy machine.
//!
//! All contestants take turns in ONE run, so that what disturbs one of them disturbs all. Times are of the whole
//! process, from before it is started until it was waited for, by the monotonic clock.

mod contest;
mod memory;
mod stage;
mod statistics;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: bench [--runtime PATH]... [--rounds N]
  --runtime PATH  a runtime to measure, before the installed ones (runc, crun, youki); may be given again
  --rounds N      how often each command is measured (default 100)
Needs root and a C compiler. Prints medians, 10th percentiles and multiples of the floor.";

/// What the user asked for.
struct Arguments {
    runtimes: Vec<PathBuf>,
    rounds: usize,
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        runtimes: Vec::new(),
        rounds: 100,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--runtime" => arguments.runtimes.push(value()?.into()),
            "--rounds" => {
                arguments.rounds = value()?.parse().map_err(|e| format!("--rounds: {e}"))?;
            }
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    if arguments.rounds < 10 {
        return Err("--rounds: fewer than 10 say nothing".into());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("bench: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    stage::enter_pure_cgroup_v2()?;
    let stage = stage::Stage::build(&arguments.runtimes)?;
    for absent in &stage.left_out {
        println!("left out: {absent}");
    }
    println!("{}", stage.describe_machine());
    let mut noisy = false;
    for contest in contest::all(&stage)? {
        noisy |= contest.hold(arguments.rounds)?.print();
    }
    memory::report(&stage)?;
    if noisy {
        println!("\ntoo noisy, no verdict: the floor's median is more than 1.3 times its minimum");
    }
    Ok(())
}
