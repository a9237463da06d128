//! Long loops: kill -9 of builds at random moments, one to three at once in one store.
//!
//! May not: be part of the ordinary tests. It prints its seed, and the same seed asks for the same builds and the same moments, as far as a
//! clock can say them.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::patience;
use conformance::played::leaks;
use conformance::seed::Numbers;
use conformance::verdict::{Choice, Done, is, names};

use crate::lab::{Lab, Subject};

pub const PATIENCE: Duration = Duration::from_secs(7200);
/// A build may be killed at the latest so many milliseconds after its start.
const LATEST: usize = 1500;

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
    // The default network is made once, and stays.
    must(
        lab,
        &dir,
        "docker build -q --build-arg N=first -f D2 . && docker builder prune -af",
    )?;
    let mut numbers = Numbers::from(seed);
    let before = leaks::survey(&lab.dir);
    let began = Instant::now();
    let mut killed = 0;
    for round in 1..=rounds {
        let at = |e: String| format!("seed {seed}, round {round}: {e}");
        killed += storm(lab, &dir, &mut numbers).map_err(at)?;
        // Whatever ran is gone by itself; what lies about is the next command's to sweep.
        must(lab, &dir, "docker ps -aq").map_err(at)?;
        leaks::check(&before, &lab.dir).map_err(at)?;
        must(lab, &dir, "docker system check").map_err(at)?;
        if round % 10 == 0 {
            truth(lab, &dir, round).map_err(at)?;
        }
    }
    must(lab, &dir, "docker builder prune -af && docker system check")?;
    for place in ["tmp", "partial", "trash"] {
        is(place, names(&lab.store().join(place)).join(" "), "")?;
    }
    println!(
        "soak.build-kills: {killed} builds killed in {rounds} rounds, {:.0} s; the store is sound, nothing left behind",
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

/// Some builds at once, most of them killed; how many.
fn storm(lab: &Lab, dir: &Path, numbers: &mut Numbers) -> Result<usize, String> {
    let mut running = Vec::new();
    for _ in 0..1 + numbers.below(3) {
        let file = format!("D{}", numbers.below(DOCKERFILES.len()));
        let argument = format!("N={}", numbers.below(4));
        let mut words = vec!["build", "-q", "-f", &file, "--build-arg", &argument];
        if numbers.chance(20) {
            words.push("--no-cache");
        }
        words.push(".");
        let mut command = lab.straight(dir, &words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let after = Duration::from_millis(numbers.below(LATEST) as u64);
        let death = numbers.chance(85).then(|| Instant::now() + after);
        running.push((child, death));
    }
    running.sort_by_key(|(_, death)| *death);
    let mut killed = 0;
    for (child, death) in &mut running {
        let Some(death) = death else { continue };
        std::thread::park_timeout(death.saturating_duration_since(Instant::now()));
        if child.try_wait().is_ok_and(|status| status.is_none()) {
            child.kill().map_err(|e| format!("kill: {e}"))?;
            killed += 1;
        }
    }
    for (child, death) in &mut running {
        let mut ended = None;
        command::until("the end of a build", patience::seconds(120), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        })?;
        let code = ended.map_or(-1, command::shell_code);
        // Nobody killed it, so nothing may go wrong: that others die beside it is not its business.
        if code != 0 && (death.is_none() || code != 137) {
            return Err(format!("a build beside others ended with {code}"));
        }
    }
    Ok(killed)
}

fn must(lab: &Lab, dir: &Path, line: &str) -> Result<String, String> {
    lab.run(lab.subject, dir, line, "", patience::seconds(120))?
        .ok()
        .map_err(|e| format!("{line}: {e}"))
}
