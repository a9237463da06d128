//! Times beside those of Docker's two builders, BuildKit and the classic one; the faster of the two counts.
//!
//! May not: give anyone an advantage. Rounds are interleaved, all build the same context with the same words, and a turn's clock begins at
//! the exec of the command line and ends with it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::docker;
use conformance::patience;
use conformance::verdict::Choice;

use crate::lab::Lab;
use crate::statistics::{Table, Times};

pub const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Classic,
    BuildKit,
    Brig,
}

const ALL: [Builder; 3] = [Builder::Classic, Builder::BuildKit, Builder::Brig];

/// How much lies beside the Dockerfile. The classic builder sends all of it each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Few,
    Many,
}

struct Contest {
    name: &'static str,
    title: &'static str,
    /// What is wanted of brig's median as a share of the faster builder's.
    share: f64,
    turns: usize,
    dockerfile: &'static str,
    context: Size,
    /// What is done before each turn of that number.
    before: fn(&Path, usize) -> Result<(), String>,
    flags: &'static [&'static str],
    /// Whether the image is built once before the first turn.
    warm: bool,
}

const SIX_STEPS: &str = "FROM tiny
WORKDIR /app
COPY file-1 .
RUN echo 1 >one
RUN echo 2 >two
RUN echo 3 >three
COPY few /few/
CMD [\"x\"]
";

const CONTESTS: [Contest; 4] = [
    Contest {
        name: "build.cached",
        title: "fully cached rebuild",
        share: 0.25,
        turns: 5,
        dockerfile: SIX_STEPS,
        context: Size::Few,
        before: nothing,
        flags: &[],
        warm: true,
    },
    Contest {
        name: "build.copy",
        title: "COPY of 30,000 files",
        share: 0.3,
        turns: 1,
        dockerfile: "FROM tiny\nCOPY many /many/\n",
        context: Size::Many,
        before: another_file,
        flags: &[],
        warm: false,
    },
    Contest {
        name: "build.run",
        title: "five RUN without the cache",
        share: 0.4,
        turns: 1,
        dockerfile: "FROM tiny\nRUN echo 1 >/1\nRUN echo 2 >/2\nRUN echo 3 >/3\nRUN echo 4 >/4\nRUN echo 5 >/5\n",
        context: Size::Few,
        before: nothing,
        flags: &["--no-cache"],
        warm: true,
    },
    Contest {
        name: "build.stages",
        title: "two stages that sleep a second each, without the cache",
        // In parallel it is a bit more than one second; the classic builder needs two, BuildKit not.
        share: 1.0,
        turns: 1,
        dockerfile: "FROM tiny AS a\nRUN sleep 1; touch /a\nFROM tiny AS b\nRUN sleep 1; touch /b\nFROM tiny\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
        context: Size::Few,
        before: nothing,
        flags: &["--no-cache"],
        warm: true,
    },
];

pub fn run(lab: &Lab, choice: &Choice, rounds: usize) -> Result<ExitCode, String> {
    lab.docker().as_ref().map_err(Clone::clone)?;
    let (few, many) = (context(lab, Size::Few)?, context(lab, Size::Many)?);
    for contest in CONTESTS.iter().filter(|contest| choice.has(contest.name)) {
        let dir = match contest.context {
            Size::Few => &few,
            Size::Many => &many,
        };
        std::fs::write(dir.join("Dockerfile"), contest.dockerfile).map_err(|e| e.to_string())?;
        let mut times = vec![Vec::new(); ALL.len()];
        if contest.warm {
            for builder in ALL {
                build(lab, dir, builder, contest.flags)?;
            }
        }
        for round in 0..rounds {
            for (at, builder) in ALL.into_iter().enumerate() {
                for turn in 0..contest.turns {
                    (contest.before)(dir, (round * ALL.len() + at) * contest.turns + turn)?;
                    times[at].push(build(lab, dir, builder, contest.flags)?);
                }
            }
        }
        report(contest, times);
    }
    Ok(ExitCode::SUCCESS)
}

/// A few files, or 30,000 small ones in 300 directories beside them.
fn context(lab: &Lab, size: Size) -> Result<PathBuf, String> {
    let dir = lab.dir.join(format!("measured-{size:?}").to_lowercase());
    let told = |e: std::io::Error| format!("{}: {e}", dir.display());
    let directories = if size == Size::Many { 300 } else { 0 };
    for n in 0..directories {
        let below = dir.join(format!("many/d{n}"));
        std::fs::create_dir_all(&below).map_err(told)?;
        for m in 0..100 {
            let text =
                format!("file {m} of directory {n}, as long as sources are\n").repeat(1 + (n * m) % 40);
            std::fs::write(below.join(format!("f{m}")), text).map_err(told)?;
        }
    }
    std::fs::create_dir_all(dir.join("few")).map_err(told)?;
    for n in 0..20 {
        std::fs::write(dir.join(format!("few/{n}")), format!("{n}\n")).map_err(told)?;
    }
    std::fs::write(dir.join("file-1"), "1\n").map_err(told)?;
    std::fs::write(dir.join(".dockerignore"), "Dockerfile\n").map_err(told)?;
    Ok(dir)
}

fn nothing(_: &Path, _: usize) -> Result<(), String> {
    Ok(())
}

/// One file is another one each time, so that nobody finds the step in its cache.
fn another_file(dir: &Path, turn: usize) -> Result<(), String> {
    std::fs::write(dir.join("many/d7/f7"), format!("turn {turn}\n")).map_err(|e| e.to_string())
}

fn build(lab: &Lab, dir: &Path, builder: Builder, flags: &[&str]) -> Result<Duration, String> {
    let mut command = match builder {
        Builder::Classic | Builder::BuildKit => docker::client(),
        Builder::Brig => Command::new(lab.program()),
    };
    command
        .args(["build", "-q", "-t", "measured"])
        .args(flags)
        .arg(".")
        .current_dir(dir)
        .env("HOME", lab.home())
        .env("BRIG_ROOT", lab.store())
        .env(
            "DOCKER_BUILDKIT",
            if builder == Builder::Classic { "0" } else { "1" },
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // What a turn before has left to be written is not this one's.
    let mut sync = Command::new("sync");
    command::run(&mut sync, "", patience::seconds(60))?;
    let began = Instant::now();
    let status = command::wait(&mut command, patience::seconds(300))?;
    let took = began.elapsed();
    if status.success() {
        Ok(took)
    } else {
        Err(format!("{builder:?}: {status}"))
    }
}

fn report(contest: &Contest, times: Vec<Vec<Duration>>) {
    let names = ["docker, classic", "docker, BuildKit", "brig"];
    let rows: Vec<(String, Times)> = names
        .into_iter()
        .zip(times)
        .map(|(name, times)| (name.to_owned(), Times::new(times)))
        .collect();
    let medians: Vec<f64> = rows
        .iter()
        .map(|(_, times)| times.median().as_secs_f64())
        .collect();
    Table {
        title: contest.title.to_owned(),
        rows,
        gauge: None,
    }
    .print();
    if let [classic, buildkit, brig] = medians.as_slice() {
        let share = brig / classic.min(*buildkit);
        let verdict = if share <= contest.share { "ok" } else { "above" };
        println!(
            "  of the faster builder's {share:.3} (at most {}) {verdict}",
            contest.share
        );
    }
}
