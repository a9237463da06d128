//! The frame of the programs that judge `brig` (`images`, `containers`, `builds`): their command line, and the two lives they have. Outside, a
//! program prepares what is kept between runs and belongs to the real machine; inside a played host it is that host's only user.
//!
//! May not: know a case.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::verdict::Choice;
use crate::{patience, played};

/// Who can be judged.
pub trait Peer: Copy {
    /// What is judged when nobody says anything.
    const BRIG: Self;

    fn name(self) -> &'static str;

    /// Those that `--peer` knows.
    ///
    /// # Errors
    /// There is none of this name.
    fn parse(name: &str) -> Result<Self, String>;
}

/// What the user asked for.
pub struct Arguments<P> {
    pub brig: Option<PathBuf>,
    pub runtime: Option<PathBuf>,
    pub peer: Option<P>,
    filters: Vec<String>,
    list: bool,
    patience: u32,
    cache: Option<PathBuf>,
    pub verbose: bool,
    pub measure: bool,
    pub soak: bool,
    seed: Option<u64>,
    rounds: Option<usize>,
    /// Set by the program itself when it starts its second life.
    inside: Option<PathBuf>,
}

impl<P: Peer> Arguments<P> {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments<P>, String> {
        let mut all = Arguments {
            brig: None,
            runtime: None,
            peer: None,
            filters: Vec::new(),
            list: false,
            patience: 1,
            cache: None,
            verbose: false,
            measure: false,
            soak: false,
            seed: None,
            rounds: None,
            inside: None,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--brig" => all.brig = Some(value()?.into()),
                "--runtime" => all.runtime = Some(value()?.into()),
                "--peer" => all.peer = Some(P::parse(&value()?)?),
                "--filter" => all.filters.push(value()?),
                "--list" => all.list = true,
                "--patience" => all.patience = value()?.parse().map_err(|e| format!("--patience: {e}"))?,
                "--cache" => all.cache = Some(value()?.into()),
                "--verbose" => all.verbose = true,
                "--measure" => all.measure = true,
                "--soak" => all.soak = true,
                "--seed" => all.seed = Some(value()?.parse().map_err(|e| format!("--seed: {e}"))?),
                "--rounds" => all.rounds = Some(value()?.parse().map_err(|e| format!("--rounds: {e}"))?),
                "--inside" => all.inside = Some(value()?.into()),
                _ => return Err(format!("unknown argument {word}")),
            }
        }
        let complete = (all.brig.is_some() && all.runtime.is_some()) || all.peer.is_some();
        if !complete && !all.list && all.inside.is_none() {
            return Err("--brig and --runtime are missing".into());
        }
        Ok(all)
    }

    pub fn choice(&self) -> Choice<'_> {
        Choice(&self.filters)
    }

    /// Where images are kept.
    pub fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| ".cache".into())
    }

    pub fn subject(&self) -> P {
        self.peer.unwrap_or(P::BRIG)
    }

    pub fn rounds(&self, usual: usize) -> usize {
        self.rounds.unwrap_or(usual)
    }

    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(1)
    }

    /// Lives in a prepared machine, as long as each kind of work may take.
    ///
    /// # Errors
    /// It cannot be made, or does not end in time.
    pub fn live(&self, machine: &played::Machine, limits: &Limits) -> Result<ExitCode, String> {
        let filters = self.filters.iter();
        let mut words: Vec<String> = filters.flat_map(|f| ["--filter".into(), f.clone()]).collect();
        words.extend(["--patience".into(), self.patience.to_string()]);
        if let Some(peer) = self.peer {
            words.extend(["--peer".into(), peer.name().into()]);
        }
        words.extend(self.verbose.then(|| "--verbose".into()));
        let rounds = self.rounds.into_iter();
        words.extend(rounds.flat_map(|n| ["--rounds".into(), n.to_string()]));
        if self.measure {
            let cache = self.cache();
            let cache = cache
                .canonicalize()
                .map_err(|e| format!("{}: {e}", cache.display()))?;
            words.extend(["--measure".into(), "--cache".into(), cache.display().to_string()]);
            return machine.live(&words, limits.measure);
        }
        if self.soak {
            let now = std::time::UNIX_EPOCH
                .elapsed()
                .map_or(1, |time| u64::from(time.subsec_nanos()));
            let seed = self.seed.unwrap_or(now);
            words.extend(["--soak".into(), "--seed".into(), seed.to_string()]);
            return machine.live(&words, limits.soak);
        }
        machine.live(&words, played::PATIENCE)
    }
}

/// How long a life may take; that of the cases is [`played::PATIENCE`].
pub struct Limits {
    pub measure: Duration,
    pub soak: Duration,
}

/// A program of this kind.
pub struct Judge<P> {
    pub name: &'static str,
    pub usage: &'static str,
    /// The names of all cases.
    pub names: fn() -> Vec<String>,
    /// The first life.
    pub outside: fn(&Arguments<P>) -> Result<ExitCode, String>,
    /// The second one, in this directory.
    pub inside: fn(&Arguments<P>, &Path) -> Result<ExitCode, String>,
}

impl<P: Peer> Judge<P> {
    /// The whole of the program.
    pub fn main(&self) -> ExitCode {
        let arguments = match Arguments::parse(std::env::args().skip(1)) {
            Ok(arguments) => arguments,
            Err(problem) => {
                eprintln!("{}: {problem}\n{}", self.name, self.usage);
                return ExitCode::from(2);
            }
        };
        patience::set(arguments.patience);
        let verdict = if arguments.list {
            (self.names)().iter().for_each(|name| println!("{name}"));
            Ok(ExitCode::SUCCESS)
        } else if let Some(dir) = &arguments.inside {
            (self.inside)(&arguments, dir)
        } else {
            (self.outside)(&arguments)
        };
        verdict.unwrap_or_else(|problem| {
            eprintln!("{}: {problem}", self.name);
            ExitCode::FAILURE
        })
    }
}

/// Under which role a played host has brig, and under which what lies beside it; there they are together.
pub const PROGRAM: &str = "brig-program";
pub const BESIDE: &str = "beside";

/// A played host that has brig with what belongs to it (none if a peer is judged), and the images of an archive.
///
/// # Errors
/// It cannot be made.
pub fn machine_with_all<P>(arguments: &Arguments<P>, archive: &Path) -> Result<played::Machine, String> {
    let mut programs: Vec<(&str, PathBuf)> = Vec::new();
    if arguments.peer.is_none()
        && let (Some(brig), Some(runtime)) = (&arguments.brig, &arguments.runtime)
    {
        programs.push((PROGRAM, brig.clone()));
        // brig finds its runtime and its other programs beside itself.
        programs.push((BESIDE, runtime.clone()));
        programs.extend(companions(brig).into_iter().map(|path| (BESIDE, path)));
    }
    let borrowed: Vec<(&str, &Path)> = programs
        .iter()
        .map(|(role, path)| (*role, path.as_path()))
        .collect();
    played::Machine::prepare(&borrowed, Some(archive))
}

/// Programs that are installed beside brig because it runs them.
fn companions(brig: &Path) -> Vec<PathBuf> {
    let dir = match brig.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("brig-") && !name.contains('.') && path.is_file()
        })
        .collect()
}
