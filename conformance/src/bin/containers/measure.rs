//! Times beside Docker's, and what a running container costs in memory.
//!
//! May not: give anyone an advantage. Rounds are interleaved, both run the same image from the same archive with the same options, and
//! a turn's clock begins at the exec of the command line and ends with it.

mod networks;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::docker;
use conformance::judge::Peer;
use conformance::patience;
use conformance::played::leaks;
use conformance::verdict::Choice;

use crate::lab::{Lab, Subject};
use crate::statistics::{Table, Times};

pub const PATIENCE: Duration = Duration::from_secs(3600);

/// How many containers `ps` shows, how many run at once while memory is measured, and how long the log is.
const LISTED: usize = 200;
const RUNNING: usize = 300;
const LOG: u64 = 2 << 30;
/// What is wanted of the memory beside a container's own processes.
const MEMORY: u64 = 2048;

/// A contest: one turn of one contestant, how many turns a round has, and what is wanted of brig's median as a share of Docker's.
struct Contest {
    title: &'static str,
    share: f64,
    turns: usize,
    /// More rounds would cost Docker more time than they tell.
    most: usize,
    turn: fn(&Stage, Subject) -> Result<Duration, String>,
}

const CONTESTS: [Contest; 5] = [
    Contest {
        title: "run --rm --network none tiny true",
        share: 0.12,
        turns: 5,
        most: usize::MAX,
        turn: |stage, who| stage.timed(who, &["run", "--rm", "--network", "none", "tiny", "true"]),
    },
    Contest {
        title: "20 of them at once",
        share: 0.2,
        turns: 1,
        most: usize::MAX,
        turn: |stage, who| stage.twenty(who),
    },
    Contest {
        title: "exec",
        share: 0.15,
        turns: 5,
        most: usize::MAX,
        turn: |stage, who| stage.timed(who, &["exec", "measured", "true"]),
    },
    Contest {
        title: "ps with 200 containers",
        share: 0.3,
        turns: 5,
        most: usize::MAX,
        turn: |stage, who| stage.timed(who, &["ps", "--all"]),
    },
    Contest {
        title: "logs --since 1m of 2 GB",
        share: 0.02,
        turns: 1,
        most: 2,
        turn: |stage, who| stage.timed(who, &["logs", "--since", "1m", "logged"]),
    },
];

pub fn run(lab: &Lab, choice: &Choice, rounds: usize) -> Result<ExitCode, String> {
    lab.docker().as_ref().map_err(Clone::clone)?;
    let stage = Stage { lab };
    in_memory(lab)?;
    if choice.has("measure.lives") {
        lives(&stage, rounds)?;
    }
    if networks::PARTS.iter().any(|part| choice.has(part)) {
        networks::run(&stage, choice, rounds)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What ends with the uptime lies in memory, as /run does where nobody says where the store is.
fn in_memory(lab: &Lab) -> Result<(), String> {
    let run = lab.store().join("run");
    std::fs::create_dir_all(&run).map_err(|e| format!("{}: {e}", run.display()))?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "mode=700", "tmpfs"]).arg(&run);
    command::run(&mut mount, "", patience::seconds(20))?
        .ok()
        .map(drop)
}

/// Containers without a network.
fn lives(stage: &Stage, rounds: usize) -> Result<(), String> {
    let lab = stage.lab;
    let both = [Subject::Docker, Subject::Brig];
    let mut times = vec![[Vec::new(), Vec::new()]; CONTESTS.len()];
    for who in both {
        stage.must(
            who,
            &[
                "run",
                "-d",
                "--network",
                "none",
                "--name",
                "measured",
                "tiny",
                "sleep",
                "100000",
            ],
        )?;
        // What is made once, by whoever comes first, is nobody's round.
        stage.must(who, &["run", "--rm", "--network", "none", "tiny", "true"])?;
    }
    for (contest, times) in CONTESTS.iter().zip(&mut times) {
        stage.prepare(contest.title)?;
        for _ in 0..rounds.min(contest.most) {
            for (who, times) in both.into_iter().zip(times.iter_mut()) {
                for _ in 0..contest.turns {
                    times.push((contest.turn)(stage, who)?);
                }
            }
        }
        report(contest, times);
    }
    lab.empty()?;
    stage.memory()?;
    lab.empty()
}

fn report(contest: &Contest, times: &[Vec<Duration>; 2]) {
    let rows = ["docker", "brig"]
        .into_iter()
        .zip(times)
        .map(|(name, times)| (name.to_owned(), Times::new(times.clone())));
    let table = Table {
        title: contest.title.to_owned(),
        rows: rows.collect(),
        gauge: None,
    };
    table.print();
    let median = |times: &[Duration]| Times::new(times.to_vec()).median().as_secs_f64();
    let share = median(&times[1]) / median(&times[0]);
    let verdict = if share <= contest.share { "ok" } else { "above" };
    println!("  of docker's {share:.3} (at most {}) {verdict}", contest.share);
}

struct Stage<'a> {
    lab: &'a Lab,
}

impl Stage<'_> {
    /// The command line itself, without a shell between.
    fn command(&self, who: Subject, words: &[&str]) -> Command {
        let mut command = match who {
            Subject::Docker => docker::client(),
            Subject::Brig => Command::new(self.lab.program()),
        };
        command
            .args(words)
            .env("HOME", self.lab.home())
            .env("BRIG_ROOT", self.lab.store())
            .stdin(Stdio::null());
        command
    }

    fn must(&self, who: Subject, words: &[&str]) -> Result<String, String> {
        command::run(&mut self.command(who, words), "", patience::seconds(120))?
            .ok()
            .map_err(|e| format!("{} {}: {e}", who.name(), words.join(" ")))
    }

    fn timed(&self, who: Subject, words: &[&str]) -> Result<Duration, String> {
        let mut command = self.command(who, words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let status = command::wait(&mut command, patience::seconds(300))?;
        let took = began.elapsed();
        if status.success() {
            Ok(took)
        } else {
            Err(format!("{} {}: {status}", who.name(), words.join(" ")))
        }
    }

    fn twenty(&self, who: Subject) -> Result<Duration, String> {
        let began = Instant::now();
        let mut children = Vec::new();
        for _ in 0..20 {
            let mut command = self.command(who, &["run", "--rm", "--network", "none", "tiny", "true"]);
            let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            children.push(child.map_err(|e| format!("{}: {e}", who.name()))?);
        }
        for child in children {
            // Bounded by the patience of the whole program: twenty threads would be part of what is measured.
            let output = child
                .wait_with_output()
                .map_err(|e| format!("{}: {e}", who.name()))?;
            if !output.status.success() {
                return Err(format!(
                    "{}, one of twenty: {}: {}",
                    who.name(),
                    output.status,
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
        }
        Ok(began.elapsed())
    }

    /// What a contest finds there.
    fn prepare(&self, title: &str) -> Result<(), String> {
        if title.starts_with("ps ") {
            for who in [Subject::Docker, Subject::Brig] {
                for n in 1..LISTED {
                    self.must(
                        who,
                        &[
                            "create",
                            "--network",
                            "none",
                            "--name",
                            &format!("listed{n}"),
                            "tiny",
                            "true",
                        ],
                    )?;
                }
            }
        }
        if title.starts_with("logs ") {
            let log = self.lab.dir.join("log");
            write_log(&log)?;
            for who in [Subject::Docker, Subject::Brig] {
                self.must(
                    who,
                    &[
                        "run",
                        "--network",
                        "none",
                        "--name",
                        "logged",
                        "--log-driver",
                        "json-file",
                        "--log-opt",
                        "max-size=4g",
                        "tiny",
                        "true",
                    ],
                )?;
                let path = PathBuf::from(self.must(who, &["inspect", "--format", "{{.LogPath}}", "logged"])?);
                let told = |e: std::io::Error| format!("{}: {e}", path.display());
                if path.exists() {
                    std::fs::remove_file(&path).map_err(told)?;
                }
                // One file for both: a second one would not fit into every machine's page cache.
                std::fs::hard_link(&log, &path).map_err(told)?;
                let lines = self.must(who, &["logs", "--tail", "2", "logged"])?;
                if lines.lines().count() != 2 {
                    return Err(format!(
                        "{} does not read the log that was put there: {lines:?}",
                        who.name()
                    ));
                }
            }
        }
        Ok(())
    }

    /// PSS of what runs beside the containers' own processes.
    fn memory(&self) -> Result<(), String> {
        let before: Vec<u32> = leaks::processes().into_iter().map(|(pid, _)| pid).collect();
        for n in 0..RUNNING {
            self.must(
                Subject::Brig,
                &[
                    "run",
                    "-d",
                    "--network",
                    "none",
                    "--name",
                    &format!("resident{n}"),
                    "tiny",
                    "sleep",
                    "100000",
                ],
            )?;
        }
        let mut sum = 0;
        let mut beside = 0;
        let mut names = std::collections::BTreeMap::new();
        for (pid, name) in leaks::processes() {
            // The payload is the image's own program.
            if before.contains(&pid) || name == "sleep" || name == "busybox" {
                continue;
            }
            sum += pss(pid);
            beside += 1;
            *names.entry(name).or_insert(0) += 1;
        }
        let each = sum / RUNNING as u64;
        let verdict = if each < MEMORY { "ok" } else { "above" };
        println!("\nmemory beside {RUNNING} running containers");
        println!(
            "  {beside} processes {names:?}, {each} KiB PSS each container (less than {MEMORY}) {verdict}"
        );
        Ok(())
    }
}

/// The share of memory that is a process's own, in KiB.
fn pss(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// A log of a day's lines. The last hundred are ten minutes ahead, so that each turn finds them in its last minute.
fn write_log(path: &Path) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{}: {e}", path.display());
    let file = std::fs::File::create(path).map_err(told)?;
    let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let text = "what a server says of one request, about as long as such lines are, with a path and a number";
    let line_of = |second: u64, n: u64| {
        format!(
            "{{\"log\":\"{n:09} {text}\\n\",\"stream\":\"stdout\",\"time\":\"{}.{:09}Z\"}}\n",
            rfc3339(second),
            n % 1_000_000_000
        )
    };
    let length = line_of(now, 0).len() as u64;
    let count = LOG / length;
    let (mut block, mut offset) = (String::new(), 0);
    for n in 0..count {
        // Evenly over a day, but for the last ones.
        let left = count - n;
        let second = if left <= 100 {
            now + 600
        } else {
            now - 86_400 + n * 86_000 / count
        };
        block += &line_of(second, n);
        if block.len() > 1 << 20 || left == 1 {
            file.write_all_at(block.as_bytes(), offset).map_err(told)?;
            offset += block.len() as u64;
            block.clear();
        }
    }
    Ok(())
}

/// A second of this era as RFC 3339 writes it, by the civil calendar.
fn rfc3339(second: u64) -> String {
    let (days, rest) = (second / 86_400, second % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00");
        assert_eq!(rfc3339(1_709_251_199), "2024-02-29T23:59:59");
        assert_eq!(rfc3339(1_795_838_084), "2026-11-28T03:54:44");
    }
}
