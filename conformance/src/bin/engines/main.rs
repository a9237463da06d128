//! `engines`: drives a runtime through the real container engines and compares it with runc in the same engine.
//!
//! May not: link any code of the runtime, touch the machine's firewall, sysctls, `/etc` or services, or leave
//! anything behind. The engines run in namespaces that play a host of their own.
//!
//! The program has two lives. Outside it prepares a base image, a directory and a cgroup, and starts itself again in
//! new namespaces; inside it is that host's only user: it starts the engines and runs the cases. What stays of the
//! inside when it ends is nothing, because its PID namespace ends with it.

mod case;
mod containerd;
mod cri;
mod docker;
mod kills;
mod lab;
mod limits;
mod nested;
mod outages;
mod podman;
mod shim;
mod soak;

use std::path::PathBuf;
use std::process::ExitCode;

use conformance::played::{self, leaks};
use conformance::{base, command, daemon};

const USAGE: &str = "usage: engines --runtime PATH [options]
  --runtime PATH    the runtime to judge
  --shim PATH       in a second part, containerd and Docker have this shim instead of their own
  --reference PATH  the runtime to compare it with (default: runc of PATH)
  --alone           compare with nothing
  --filter TEXT     only cases whose name contains TEXT; may be given again
  --list            print the names of the cases
  --cache DIR       where the base image is kept (default .cache/engines)
  --soak            instead of the cases: long loops that look for leaks; --filter chooses among them
  --size PERCENT    how long those are (default 100)
Needs root, and the engines as packages. One line for each case, and a last line with the sums.";

/// What the user asked for.
#[derive(Default)]
struct Arguments {
    runtime: Option<PathBuf>,
    shim: Option<PathBuf>,
    reference: Option<PathBuf>,
    alone: bool,
    filters: Vec<String>,
    list: bool,
    cache: Option<PathBuf>,
    soak: bool,
    size: usize,
    /// Set by the program itself when it starts its second life.
    inside: Option<PathBuf>,
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        size: 100,
        ..Arguments::default()
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--runtime" => arguments.runtime = Some(value()?.into()),
            "--shim" => arguments.shim = Some(value()?.into()),
            "--reference" => arguments.reference = Some(value()?.into()),
            "--alone" => arguments.alone = true,
            "--filter" => arguments.filters.push(value()?),
            "--list" => arguments.list = true,
            "--cache" => arguments.cache = Some(value()?.into()),
            "--soak" => arguments.soak = true,
            "--size" => arguments.size = value()?.parse().map_err(|e| format!("--size: {e}"))?,
            "--inside" => arguments.inside = Some(value()?.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    if arguments.runtime.is_none() && !arguments.list && arguments.inside.is_none() {
        return Err("--runtime is missing".into());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match parse_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("engines: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let verdict = if arguments.list {
        for case in case::all() {
            println!("{}", case.name);
            if let Some(name) = case::name_with_shim(&case).filter(|_| arguments.shim.is_some()) {
                println!("{name}");
            }
        }
        Ok(ExitCode::SUCCESS)
    } else if let Some(dir) = &arguments.inside {
        inside(&arguments, dir)
    } else {
        outside(&arguments)
    };
    verdict.unwrap_or_else(|problem| {
        eprintln!("engines: {problem}");
        ExitCode::FAILURE
    })
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments) -> Result<ExitCode, String> {
    let runtime = arguments.runtime.as_deref().ok_or("--runtime is missing")?;
    let reference = match &arguments.reference {
        _ if arguments.alone => None,
        Some(path) => Some(path.clone()),
        None => daemon::find_program("runc"),
    };
    let cache = arguments.cache.clone().unwrap_or_else(|| ".cache/engines".into());
    let image = base::image(&cache)?;
    played::sweep_leftovers();
    let mut programs = vec![("subject", runtime)];
    programs.extend(arguments.shim.as_deref().map(|path| ("subject-shim", path)));
    programs.extend(reference.as_deref().map(|path| ("reference", path)));
    let machine = played::Machine::prepare(&programs, Some(&image))?;
    let mut words: Vec<String> = arguments
        .filters
        .iter()
        .flat_map(|f| ["--filter".into(), f.clone()])
        .collect();
    if arguments.soak {
        words.extend(["--soak".into(), "--size".into(), arguments.size.to_string()]);
        return machine.live(&words, soak::PATIENCE);
    }
    machine.live(&words, played::PATIENCE)
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &std::path::Path) -> Result<ExitCode, String> {
    let mut lab = lab::Lab::enter(dir)?;
    if arguments.soak {
        if lab.shim.is_some() {
            lab.change_shim()?;
        }
        return soak::run(&lab, &case::Choice(&arguments.filters), arguments.size);
    }
    let choice = case::Choice(&arguments.filters);
    let (mut sums, shown) = case::run_all(&lab, &choice, lab.shim.is_some());
    if lab.shim.is_some() {
        lab.change_shim()?;
        let second = case::run_with_shim(&lab, &choice, &shown);
        sums.add(second);
    }
    lab.shut_down()?;
    Ok(sums.end())
}
