//! `vm`: boots the machines that users have, and this one is not, and runs in them whatever a case needs them for.
//!
//! May not: install anything on the host, need acceleration, or leave a process, a mount or half an image behind.
//!
//! The program has two lives. Outside it makes images (kept in a cache), boots them under QEMU and reads one line for
//! each case from a channel of its own; inside a guest (`--inside`) it runs the suites of that guest and writes those
//! lines. Which guests there are is the table in `guest`; which cases go there follows from what a case needs.

mod base;
mod brig;
mod cache;
mod cpio;
mod debian;
mod guest;
mod images;
mod inside;
mod job;
mod lines;
mod machine;
mod modules;
mod packages;
mod plan;
mod smoke;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use conformance::{command, mirror};
use guest::Guest;

const USAGE: &str = "usage: vm [options]
  --guest NAMES       only these guests, with commas between (systemd, arm64, engines, v2, v1)
  --filter TEXT       only cases whose name (guest/runtime/case) contains TEXT; may be given again
  --every             every case that a guest can run, not only those that it is there for
  --list              print the names of the cases
  --shell             boot one guest (--guest, default v2) with a shell on this terminal instead of running cases
  --release DIR       where the programs are that a guest gets (default: where this program is)
  --arm64 DIR         where the same programs are for the arm64 guest (without: that guest is a skip)
  --engines-with LIST the runtimes that the engines guest is run with (default runb,runc)
  --patience N        every deadline times N, for a loaded machine (default 1)
  --cache DIR         where images are kept (default .cache/vm)
  --keep              keep the consoles of guests that did well, too
Needs QEMU, and root for the image of the guests with systemd. One line for each case, and a last line with the sums.";

/// What the user asked for.
struct Arguments {
    guests: Vec<&'static Guest>,
    filters: Vec<String>,
    every: bool,
    list: bool,
    shell: bool,
    release: Option<PathBuf>,
    arm64: Option<PathBuf>,
    engines_with: Vec<String>,
    patience: u32,
    cache: PathBuf,
    keep: bool,
    /// Set by a guest when it starts the second life.
    inside: bool,
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut a = Arguments {
        guests: Vec::new(),
        filters: Vec::new(),
        every: false,
        list: false,
        shell: false,
        release: None,
        arm64: None,
        engines_with: vec!["runb".to_owned(), "runc".to_owned()],
        patience: 1,
        cache: ".cache/vm".into(),
        keep: false,
        inside: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--guest" => {
                for name in value()?.split(',').filter(|name| !name.is_empty()) {
                    a.guests
                        .push(guest::find(name).ok_or(format!("no guest {name:?}"))?);
                }
            }
            "--filter" => a.filters.push(value()?),
            "--every" => a.every = true,
            "--list" => a.list = true,
            "--shell" => a.shell = true,
            "--release" => a.release = Some(value()?.into()),
            "--arm64" => a.arm64 = Some(value()?.into()),
            "--engines-with" => a.engines_with = value()?.split(',').map(str::to_owned).collect(),
            "--patience" => {
                a.patience = value()?
                    .parse()
                    .ok()
                    .filter(|n| *n > 0)
                    .ok_or("--patience needs a positive number")?;
            }
            "--cache" => a.cache = value()?.into(),
            "--keep" => a.keep = true,
            "--inside" => a.inside = true,
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(a)
}

fn main() -> ExitCode {
    let arguments = match parse_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("vm: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let verdict = if arguments.inside {
        inside::run()
    } else if arguments.list {
        plan::list(&arguments);
        Ok(true)
    } else if arguments.shell {
        plan::shell(&arguments)
    } else {
        outside(&arguments)
    };
    match verdict {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("vm: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The first life: every guest that has something to show, two at a time, and the sums.
fn outside(arguments: &Arguments) -> Result<bool, String> {
    let began = Instant::now();
    let sums = plan::run(arguments)?;
    println!(
        "{} passed, {} failed, {} skipped",
        sums.passed, sums.failed, sums.skipped
    );
    eprintln!("vm: {:.0} s", began.elapsed().as_secs_f64());
    Ok(sums.failed == 0)
}
