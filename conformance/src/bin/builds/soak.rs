//! Long loops: Ctrl-C and kill -9 of builds at random moments, one to three at once in one store.
//!
//! May not: be part of the ordinary tests. It prints its seed, and the same seed asks for the same builds and the same moments, as far as a
//! clock can say them.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::patience;
use conformance::played::{leaks, wiring};
use conformance::seed::Numbers;
use conformance::verdict::{Choice, Done, is, names};

use crate::lab::{Lab, Subject};

pub const PATIENCE: Duration = Duration::from_secs(7200);
/// A build may be killed at the latest so many milliseconds after its start.
const LATEST: usize = 700;

/// What a container gets when nobody else has anything.
const ADDRESS: &str = "docker run --rm tiny ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4";

/// What is built: steps of every kind, some shared between the three.
const DOCKERFILES: [&str; 3] = [
    "FROM tiny AS one\nARG N\nRUN echo $N >/n; for i in $(seq 50); do echo $i >/$i; done\nCOPY d /d/\nFROM tiny\nCOPY --from=one /d /d\nRUN rm -r /d/1 && echo x >/d/x\nWORKDIR /w\n",
    "FROM tiny\nCOPY d /d/\nARG N\nRUN --mount=type=cache,target=/c --mount=target=/m cp -r /m/d /c/; echo $N >>/c/log; cp -r /c/d /copied\nADD a.tar.gz /a/\n",
    "FROM tiny AS a\nARG N\nRUN sleep 0.2; echo $N >/a\nFROM tiny AS b\nARG N\nRUN sleep 0.1; echo $N >/b\nFROM tiny\nCOPY --from=a /a /\nCOPY --from=b /b /\nRUN wget -q -O /web http://192.0.2.2/ && cat /a /b >/ab\n",
];

pub fn run(lab: &Lab, choice: &Choice, rounds: usize, seed: u64) -> Result<ExitCode, String> {
    println!("seed {seed}");
    if lab.subject == Subject::Brig && choice.has("soak.build-kills") {
        kills(lab, rounds, seed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn kills(lab: &Lab, rounds: usize, seed: u64) -> Done {
    let dir = lab.dir.join("soaked");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    must(
        lab,
        &dir,
        "mkdir d; for i in $(seq 300); do echo $i >d/$i; done; tar czf a.tar.gz d",
    )?;
    for (n, text) in DOCKERFILES.iter().enumerate() {
        std::fs::write(dir.join(format!("D{n}")), text).map_err(|e| e.to_string())?;
    }
    // `system check` reads all that there is, and nothing else is needed here.
    must(
        lab,
        &dir,
        "docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -v '^tiny:' | xargs -r docker rmi",
    )?;
    // The default network is made once, and stays. The names are for `save`.
    for n in 0..DOCKERFILES.len() {
        must(
            lab,
            &dir,
            &format!("docker build -q --build-arg N=first -f D{n} -t storm{n} ."),
        )?;
    }
    must(lab, &dir, "docker builder prune -af")?;
    let mut numbers = Numbers::from(seed);
    let before = leaks::survey(&lab.dir);
    let network = wiring::survey()?;
    let address = must(lab, &dir, ADDRESS)?;
    let began = Instant::now();
    let mut struck = Struck::default();
    for round in 1..=rounds {
        let at = |e: String| format!("seed {seed}, round {round}: {e}");
        storm(lab, &dir, round, &mut numbers, &mut struck).map_err(at)?;
        // Whatever ran is gone by itself; what lies about is the next command's to sweep.
        must(lab, &dir, "docker ps -aq").map_err(at)?;
        leaks::check(&before, &lab.dir).map_err(at)?;
        wiring::check(&network).map_err(at)?;
        must(lab, &dir, "docker system check").map_err(at)?;
        if round % 10 == 0 {
            truth(lab, &dir, round).map_err(at)?;
            must(lab, &dir, "docker image prune -f").map_err(at)?;
        }
    }
    must(lab, &dir, "docker builder prune -af && docker system check")?;
    is("the first free address", must(lab, &dir, ADDRESS)?, address)?;
    for place in ["tmp", "partial", "trash"] {
        is(place, names(&lab.store().join(place)).join(" "), "")?;
    }
    println!(
        "soak.build-kills: {} builds killed and {} interrupted in {rounds} rounds, {:.0} s; the store is sound, nothing left behind",
        struck.killed,
        struck.interrupted,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The next builds end well, use what was done, and are what they should be.
fn truth(lab: &Lab, dir: &Path, round: usize) -> Done {
    for n in 0..DOCKERFILES.len() {
        let line =
            format!("docker build --progress plain --build-arg N=truth-{round} -f D{n} -t soaked{n} . 2>&1");
        must(lab, dir, &line)?;
        let again = must(lab, dir, &line)?;
        is(
            "steps that ran again",
            again
                .lines()
                .filter(|l| l.contains(" RUN ") && l.starts_with('#'))
                .count()
                > 0
                && again.lines().filter(|l| l.ends_with(" CACHED")).count() >= 3,
            true,
        )?;
    }
    let run = |image: &str, line: &str| {
        must(
            lab,
            dir,
            &format!("docker run --rm --network none {image} sh -c '{line}'"),
        )
    };
    is(
        "first",
        run("soaked0", "ls /d | wc -l; cat /d/x; pwd")?,
        "300\nx\n/w",
    )?;
    is(
        "second",
        run("soaked1", "ls /copied | wc -l; cat /a/d/300; ls -A /c | wc -l")?,
        "300\n300\n0",
    )?;
    is(
        "third",
        run("soaked2", "cat /ab /web")?,
        format!("truth-{round}\ntruth-{round}\nyou are 192.0.2.1"),
    )
}

/// How many builds ended otherwise than they wanted.
#[derive(Default)]
struct Struck {
    killed: usize,
    interrupted: usize,
}

/// A build of a storm, and what happens to it when.
struct Build {
    line: String,
    /// What it says of its troubles.
    log: PathBuf,
    child: Child,
    end: Option<(Instant, &'static str)>,
}

/// Some builds at once, most of them killed or interrupted.
fn storm(lab: &Lab, dir: &Path, round: usize, numbers: &mut Numbers, struck: &mut Struck) -> Done {
    let mut running: Vec<Build> = Vec::new();
    let log = |n: usize| lab.dir.join(format!("storm-{n}.log"));
    let told = |n: usize| File::create(log(n)).map_err(|e| format!("{}: {e}", log(n).display()));
    for _ in 0..1 + numbers.below(3) {
        let words = words(round, numbers);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = lab.straight(dir, &words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(told(running.len())?)
            .process_group(0);
        // Nearer to the beginning than to the end: most of them are quick.
        let after = numbers.below(LATEST).min(numbers.below(LATEST));
        let after = Duration::from_millis(after as u64);
        let signal = if numbers.chance(35) { "INT" } else { "KILL" };
        let is_struck = numbers.chance(85);
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let end = is_struck.then(|| (Instant::now() + after, signal));
        let line = words.join(" ");
        let log = log(running.len());
        running.push(Build {
            line,
            log,
            child,
            end,
        });
    }
    running.sort_by_key(|build| build.end);
    for Build { child, end, .. } in &mut running {
        let Some((moment, signal)) = end else { continue };
        std::thread::park_timeout(moment.saturating_duration_since(Instant::now()));
        if child.try_wait().is_ok_and(|status| status.is_none()) {
            // Not reaped yet, so the number is still its own.
            let mut kill = Command::new("kill");
            kill.args([&format!("-{signal}"), &child.id().to_string()]);
            command::run(&mut kill, "", patience::seconds(10))?.ok()?;
            match *signal {
                "INT" => struck.interrupted += 1,
                _ => struck.killed += 1,
            }
        }
    }
    for Build {
        line,
        log,
        child,
        end,
    } in &mut running
    {
        let mut ended = None;
        command::until("the end of a build", patience::seconds(120), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        let code = ended.map_or(-1, command::shell_code);
        // Nobody struck it, so nothing may go wrong: that others die beside it is not its business.
        let own = match end {
            Some((_, "INT")) => 130,
            Some(_) => 137,
            None => 0,
        };
        if code != 0 && code != own {
            let told = std::fs::read_to_string(log).unwrap_or_default();
            return Err(format!("{line} beside others ended with {code}, {end:?}: {told}"));
        }
    }
    Ok(())
}

/// What one of a storm is: a build mostly, now and then something beside it that packs layers or takes them away.
fn words(round: usize, numbers: &mut Numbers) -> Vec<String> {
    let n = numbers.below(DOCKERFILES.len());
    let text = match numbers.below(10) {
        0 => "builder prune -af".to_owned(),
        1 | 2 => format!("save storm{n}"),
        _ => {
            // After some rounds there is something new to do.
            let value = round / 4 * 4 + numbers.below(4);
            let fresh = if numbers.chance(20) { "--no-cache " } else { "" };
            format!("build -q -f D{n} -t storm{n} --build-arg N={value} {fresh}.")
        }
    };
    text.split(' ').map(str::to_owned).collect()
}

fn must(lab: &Lab, dir: &Path, line: &str) -> Result<String, String> {
    lab.run(lab.subject, dir, line, "", patience::seconds(120))?
        .ok()
        .map_err(|e| format!("{line}: {e}"))
}
