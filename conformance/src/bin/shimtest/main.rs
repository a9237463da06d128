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
mod here;
mod known;
mod measure;
mod memory;
mod scene;
mod soak;

#[path = "../bench/statistics.rs"]
mod statistics;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use conformance::played::{self, leaks};
use conformance::{command, patience};

const USAGE: &str = "usage: shimtest --shim PATH --runtime PATH [options]
  --shim PATH     the shim to judge
  --runtime PATH  the runtime that it is told to use
  --other PATH    another shim, to take over from and to be followed by (default: containerd-shim-runc-v2 of PATH)
  --cgroups v2    on a machine with version 1 hierarchies: below one version 2 tree with the core files
  --filter TEXT   only cases whose name contains TEXT; may be given again
  --case NAME     only this case; may be given again
  --repeat N      each case N times
  --retries N     try a case that fails up to N times again: for a machine whose time stands still now and then
  --patience N    every deadline times N (default 1)
  --here          no played host around it but a PID, a mount and a network namespace: for a machine that is one, and
                  has no more than busybox
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
    names: Vec<String>,
    repeat: usize,
    retries: usize,
    patience: u32,
    here: bool,
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
        patience: 1,
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
            "--case" => arguments.names.push(value()?),
            "--retries" => arguments.retries = number(&word, &value()?)?,
            "--patience" => arguments.patience = value()?.parse().map_err(|e| format!("--patience: {e}"))?,
            "--here" => arguments.here = true,
            "--verbose" => arguments.verbose = true,
            "--list" => arguments.list = true,
            "--inside" => arguments.inside = Some(value()?.into()),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    let all = cases::all();
    let is_known = |name: &&String| all.iter().any(|case| case.name == **name);
    if let Some(name) = arguments.names.iter().find(|name| !is_known(name)) {
        return Err(format!("no case {name:?}"));
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
    patience::set(arguments.patience);
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
    let other = arguments.other.clone().or_else(packaged_shim);
    let mut programs = vec![("shim", shim), ("runtime", runtime)];
    programs.extend(other.as_deref().map(|path| ("other", path)));
    if arguments.measure && other.is_none() {
        println!("left out: no other shim is installed to compare with");
        return Ok(ExitCode::SUCCESS);
    }
    let mut words: Vec<String> = Vec::new();
    for (flag, values) in [("--filter", &arguments.filters), ("--case", &arguments.names)] {
        words.extend(values.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
    }
    words.extend(["--repeat".into(), arguments.repeat.to_string()]);
    words.extend(["--retries".into(), arguments.retries.to_string()]);
    words.extend(["--patience".into(), arguments.patience.to_string()]);
    words.extend(arguments.verbose.then(|| "--verbose".into()));
    words.extend(arguments.measure.then(|| "--measure".into()));
    words.extend(arguments.soak.then(|| "--soak".into()));
    words.extend(["--rounds".into(), arguments.rounds.to_string()]);
    words.extend(["--execs".into(), arguments.execs.to_string()]);
    if arguments.here {
        return here::live(&programs, &words);
    }
    played::sweep_leftovers();
    played::Machine::prepare(&programs, None)?.live(&words, played::PATIENCE)
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
    let is_all = arguments.filters.is_empty() && arguments.names.is_empty();
    let chosen = cases.iter().filter(|case| {
        let fits = arguments.filters.iter().any(|f| case.name.contains(f.as_str()));
        is_all || fits || arguments.names.iter().any(|name| name == case.name)
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
        let (verdict, took) = play(&lab, case, arguments, known.reason(case.name).is_some());
        match (verdict, known.reason(case.name)) {
            (Ok(()), None) => {
                passed += 1;
                println!("ok   {} ({took})", case.name);
            }
            (Ok(()), Some(_)) => {
                failed += 1;
                println!("UNEXPECTED PASS {} ({took})", case.name);
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
                println!("FAIL {} ({took})", case.name);
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

/// A case, again as long as it ends otherwise than it should and there are tries left; and how long the last try took.
fn play(lab: &scene::Lab, case: &cases::Case, arguments: &Arguments, fails: bool) -> (cases::Done, String) {
    let mut tries = 0;
    loop {
        tries += 1;
        let began = Instant::now();
        let verdict = scene::perform(lab, case, arguments.verbose);
        let seconds = began.elapsed().as_secs_f64();
        if verdict.is_err() == fails || tries > arguments.retries {
            let again = match tries {
                1 => String::new(),
                n => format!(", try {n}"),
            };
            return (verdict, format!("{seconds:.1} s{again}"));
        }
    }
}
