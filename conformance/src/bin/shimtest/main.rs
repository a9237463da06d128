//! `shimtest`: judges a containerd shim by speaking to it as containerd does, byte by byte.
//!
//! May not: link any code of the shim, need containerd, or leave anything behind on the machine.
//!
//! The program plays containerd: it makes bundles, calls the shim's `start` in each dialect there is, speaks Task v2 and v3
//! over ttrpc and receives the events. It has two lives, as `engines` has: inside, in namespaces of a played host, everything
//! that lives there and is not the program itself comes from the shim.

mod caller;
mod cases;
mod daemon;
mod known;
mod measure;
mod memory;
mod scene;
mod soak;

#[path = "../bench/statistics.rs"]
mod statistics;

#[path = "../engines/command.rs"]
mod command;
#[path = "../engines/host.rs"]
mod host;
#[path = "../engines/leaks.rs"]
mod leaks;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

const USAGE: &str = "usage: shimtest --shim PATH --runtime PATH [options]
  --shim PATH     the shim to judge
  --runtime PATH  the runtime that it is told to use
  --other PATH    another shim, to take over from and to be followed by (default: containerd-shim-runc-v2 of PATH)
  --cgroups v2    on a machine with version 1 hierarchies: below one version 2 tree with the core files
  --filter TEXT   only cases whose name contains TEXT; may be given again
  --repeat N      each case N times
  --verbose       for each failed case the shim's log and the events
  --list          print the names of the cases
  --measure       instead of the cases: times and memory beside another shim's
  --rounds N      how often each is measured (default 50)
  --soak          instead of the cases: very many execs in one shim, which must not grow
  --execs N       how many (default 20000)
Needs root and a static busybox. One line for each case, and a last line with the sums.";

/// What the user asked for.
#[derive(Default)]
struct Arguments {
    shim: Option<PathBuf>,
    runtime: Option<PathBuf>,
    other: Option<PathBuf>,
    with_cgroup2: bool,
    filters: Vec<String>,
    repeat: usize,
    verbose: bool,
    list: bool,
    measure: bool,
    rounds: usize,
    soak: bool,
    execs: usize,
    /// Set by the program itself when it starts its second life.
    inside: Option<PathBuf>,
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        repeat: 1,
        rounds: 50,
        execs: 20_000,
        ..Arguments::default()
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--shim" => arguments.shim = Some(value()?.into()),
            "--runtime" => arguments.runtime = Some(value()?.into()),
            "--other" => arguments.other = Some(value()?.into()),
            "--cgroups" if value()? == "v2" => arguments.with_cgroup2 = true,
            "--filter" => arguments.filters.push(value()?),
            "--repeat" => arguments.repeat = number(&word, &value()?)?,
            "--measure" => arguments.measure = true,
            "--rounds" => arguments.rounds = number(&word, &value()?)?,
            "--soak" => arguments.soak = true,
            "--execs" => arguments.execs = number(&word, &value()?)?,
            "--verbose" => arguments.verbose = true,
            "--list" => arguments.list = true,
            "--inside" => arguments.inside = Some(value()?.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    let is_complete = arguments.shim.is_some() && arguments.runtime.is_some();
    if !is_complete && !arguments.list && arguments.inside.is_none() {
        return Err("--shim and --runtime are needed".into());
    }
    Ok(arguments)
}

fn number(flag: &str, text: &str) -> Result<usize, String> {
    text.parse().map_err(|e| format!("{flag}: {e}"))
}

fn main() -> ExitCode {
    let arguments = match parse_arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("shimtest: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let verdict = match (&arguments.inside, &arguments.shim, &arguments.runtime) {
        _ if arguments.list => {
            cases::all().iter().for_each(|case| println!("{}", case.name));
            Ok(ExitCode::SUCCESS)
        }
        (Some(dir), _, _) => inside(&arguments, dir),
        (None, Some(shim), Some(runtime)) => outside(&arguments, shim, runtime),
        _ => Err("--shim and --runtime are needed".into()),
    };
    verdict.unwrap_or_else(|problem| {
        eprintln!("shimtest: {problem}");
        ExitCode::FAILURE
    })
}

/// The first life: everything that belongs to the real machine.
fn outside(arguments: &Arguments, shim: &Path, runtime: &Path) -> Result<ExitCode, String> {
    if arguments.with_cgroup2 && Path::new("/sys/fs/cgroup/memory").exists() {
        return Err(format!("unshare: {}", below_cgroup2()));
    }
    host::sweep_leftovers();
    let other = arguments.other.clone().or_else(packaged_shim);
    let mut programs = vec![("shim", shim), ("runtime", runtime)];
    programs.extend(other.as_deref().map(|path| ("other", path)));
    if arguments.measure && other.is_none() {
        println!("left out: no other shim is installed to compare with");
        return Ok(ExitCode::SUCCESS);
    }
    let machine = host::Machine::prepare(&programs, None)?;
    let mut words: Vec<String> = arguments
        .filters
        .iter()
        .flat_map(|f| ["--filter".into(), f.clone()])
        .collect();
    words.extend(["--repeat".into(), arguments.repeat.to_string()]);
    words.extend(arguments.verbose.then(|| "--verbose".into()));
    words.extend(arguments.measure.then(|| "--measure".into()));
    words.extend(arguments.soak.then(|| "--soak".into()));
    words.extend(["--rounds".into(), arguments.rounds.to_string()]);
    words.extend(["--execs".into(), arguments.execs.to_string()]);
    machine.live(&words, host::PATIENCE)
}

/// Starts the program again in a mount namespace in which `/sys/fs/cgroup` is one version 2 tree. Nothing changes for
/// anybody else. The answer is why it did not come to that.
fn below_cgroup2() -> std::io::Error {
    let script = "umount -R -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$@\"";
    let own = std::env::current_exe();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]);
    match own {
        Ok(own) => command.arg(own).args(std::env::args_os().skip(1)).exec(),
        Err(e) => e,
    }
}

/// The shim that comes with containerd.
fn packaged_shim() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/bin";
    path.split(':')
        .map(|dir| Path::new(dir).join("containerd-shim-runc-v2"))
        .find(|file| file.is_file())
}

/// The second life: the played host's.
fn inside(arguments: &Arguments, dir: &Path) -> Result<ExitCode, String> {
    let lab = scene::Lab::enter(dir)?;
    if arguments.measure {
        return measure::run(&lab, &lab.program("other")?, arguments.rounds);
    }
    if arguments.soak {
        return soak::run(&lab, arguments.execs);
    }
    println!("judging {}", lab.version.replace('\n', " "));
    let known = known::of(&lab.version);
    let (mut passed, mut failed, mut expected) = (0, 0, 0);
    let cases = cases::all();
    let chosen = cases.iter().filter(|case| {
        arguments.filters.is_empty() || arguments.filters.iter().any(|f| case.name.contains(f.as_str()))
    });
    for case in chosen.flat_map(|case| std::iter::repeat_n(case, arguments.repeat)) {
        if case.name.starts_with(cases::WITH_ANOTHER) && lab.other.is_none() {
            println!("skip {}: no other shim is installed", case.name);
            continue;
        }
        if cases::LIMIT_MEMORY.contains(&case.name) && !lab.can_limit_memory() {
            println!("skip {}: no memory controller in this tree", case.name);
            continue;
        }
        let began = Instant::now();
        let verdict = scene::perform(&lab, case, arguments.verbose);
        let seconds = began.elapsed().as_secs_f64();
        match (verdict, known.reason(case.name)) {
            (Ok(()), None) => {
                passed += 1;
                println!("ok   {} ({seconds:.1} s)", case.name);
            }
            (Ok(()), Some(_)) => {
                failed += 1;
                println!("UNEXPECTED PASS {} ({seconds:.1} s)", case.name);
            }
            (Err(why), Some(reason)) => {
                expected += 1;
                println!("known {}: {reason}", case.name);
                if arguments.verbose {
                    println!("     {}", why.trim_end().replace('\n', "\n     "));
                }
            }
            (Err(why), None) => {
                failed += 1;
                println!("FAIL {} ({seconds:.1} s)", case.name);
                println!("     {}", why.trim_end().replace('\n', "\n     "));
            }
        }
    }
    leaks::nobody_else_runs()?;
    println!("{passed} passed, {failed} failed, {expected} failed as known");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
