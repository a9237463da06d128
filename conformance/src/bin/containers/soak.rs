//! Long loops: two thousand short lives, kill -9 of brig and of its monitors at random moments, reboots.
//!
//! May not: be part of the ordinary tests. It prints its seed, and the same seed asks for the same commands and the same moments, as far
//! as a clock can say them.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::patience;
use conformance::played::leaks;
use conformance::seed::Numbers;
use conformance::verdict::{Choice, Done};

use crate::lab::{Lab, Subject};
use crate::uptime;
use crate::wires;

pub const PATIENCE: Duration = Duration::from_secs(7200);

const LIVES: usize = 2000;
/// So many at once.
const WORKERS: usize = 4;
/// What may be killed at the latest so many milliseconds after its start.
const LATEST: usize = 250;
const NAMES: [&str; 5] = ["box1", "box2", "box3", "box4", "box5"];

pub fn run(lab: &Lab, choice: &Choice, kills: usize, seed: u64) -> Result<ExitCode, String> {
    println!("seed {seed}");
    if choice.has("soak.container-lives") {
        lives(lab)?;
    }
    if lab.subject == Subject::Brig && choice.has("soak.container-kills") {
        storms(lab, kills, seed, &LIVES_OF_CONTAINERS)?;
    }
    if lab.subject == Subject::Brig && choice.has("soak.network-kills") {
        lab.warm_up()?;
        storms(lab, kills, seed, &NETWORKS_AND_VOLUMES)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Containers that come and go by themselves leave no process, mount, cgroup or file.
fn lives(lab: &Lab) -> Done {
    let one = |n: usize| -> Done {
        let line = format!(
            "docker run --rm --network none tiny sh -c 'echo life {n}; exit {}'",
            n % 100
        );
        let o = lab.run(lab.subject, &line, "", patience::seconds(120))?;
        if o.code == i32::try_from(n % 100).unwrap_or(-1) && o.stdout == format!("life {n}\n") {
            Ok(())
        } else {
            Err(format!("{line}: [{}] {}{}", o.code, o.stdout, o.stderr))
        }
    };
    // What the first ones make stays: directories, indexes.
    (0..20).try_for_each(one)?;
    let (before, files) = (leaks::survey(&lab.dir), files(lab));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| scope.spawn(move || (worker..LIVES).step_by(WORKERS).try_for_each(one)))
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err("a worker died".into())))
    })?;
    leaks::check(&before, &lab.dir)?;
    same_files(&files, lab)?;
    println!(
        "soak.container-lives: {LIVES} containers in {:.0} s; nothing left behind",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// How many files lie in each directory that brig has, but for the layers, which are the image's.
fn files(lab: &Lab) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    if lab.subject == Subject::Brig {
        for root in [lab.store(), "/run/brig".into(), "/run/runb".into()] {
            count(&root, &mut counts);
        }
    }
    counts
}

fn count(dir: &Path, counts: &mut BTreeMap<String, usize>) {
    let mut number = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        number += 1;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != "layers" {
            count(&entry.path(), counts);
        }
    }
    counts.insert(dir.display().to_string(), number);
}

fn same_files(before: &BTreeMap<String, usize>, lab: &Lab) -> Done {
    let now = files(lab);
    let more: Vec<String> = now
        .iter()
        .filter(|(dir, number)| **number > before.get(*dir).copied().unwrap_or(0) + 2)
        .map(|(dir, number)| format!("{dir}: {number} entries"))
        .collect();
    if more.is_empty() {
        Ok(())
    } else {
        Err(format!("files left behind: {}", more.join(", ")))
    }
}

/// What a storm is made of.
struct Storm {
    name: &'static str,
    words: fn(&mut Numbers) -> String,
    /// What brings devices and rules is not rebooted: they are the played host's, and would stay.
    reboots: bool,
}

const LIVES_OF_CONTAINERS: Storm = Storm {
    name: "soak.container-kills",
    words: container_words,
    reboots: true,
};

const NETWORKS_AND_VOLUMES: Storm = Storm {
    name: "soak.network-kills",
    words: network_words,
    reboots: false,
};

/// Commands at once, many of them killed, monitors too; now and then all of it is rebooted. Then the truth is asked for.
fn storms(lab: &Lab, kills: usize, seed: u64, storm: &Storm) -> Done {
    let mut numbers = Numbers::from(seed);
    let before = leaks::survey(&lab.dir);
    let network = wires::survey()?;
    let began = Instant::now();
    let (mut killed, mut monitors, mut rounds, mut reboots) = (0, 0, 0, 0);
    while killed + monitors < kills {
        rounds += 1;
        let told = round(lab, storm, &mut numbers, &mut killed, &mut monitors)?;
        let at = |e: String| format!("seed {seed}, round {rounds} ({told}): {e}");
        if storm.reboots && numbers.chance(10) {
            reboots += 1;
            uptime::reboot(lab, &before).map_err(at)?;
        }
        uptime::truth(lab).map_err(at)?;
        if rounds % 10 == 0 {
            mend(lab, "docker system check --repair").map_err(at)?;
            mend(lab, "docker system check").map_err(at)?;
            wires::remove_all(lab).map_err(at)?;
            uptime::back_to_the_boot_id()?;
            // The boot id is another one again: what the last uptime left is gone with it, or must go now.
            mend(lab, "docker system check --repair").map_err(at)?;
            leaks::check(&before, &lab.dir).map_err(at)?;
            wires::check(&network).map_err(at)?;
            free(lab, storm).map_err(at)?;
        }
    }
    wires::remove_all(lab)?;
    uptime::back_to_the_boot_id()?;
    mend(lab, "docker system check --repair")?;
    leaks::check(&before, &lab.dir)?;
    wires::check(&network)?;
    println!(
        "{}: {killed} commands and {monitors} monitors killed, {reboots} reboots in {rounds} rounds, {:.0} s; \
         ps told the truth, nothing left behind",
        storm.name,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The lowest address and each port can be had again.
fn free(lab: &Lab, storm: &Storm) -> Done {
    if storm.reboots {
        return Ok(());
    }
    mend(lab, "docker network create --subnet 10.90.0.0/24 net1")?;
    let line =
        "docker run --rm --network net1 -p 9001:80 -p 9002:80 -p 9003:53/udp tiny ip -4 -o address show eth0";
    let told = lab.run(lab.subject, line, "", patience::seconds(60))?;
    mend(lab, "docker network rm net1")?;
    conformance::verdict::has(line, &(told.stdout + &told.stderr), "10.90.0.2/24")
}

fn mend(lab: &Lab, line: &str) -> Done {
    lab.run(lab.subject, line, "", patience::seconds(120))?
        .ok()
        .map(|_| ())
        .map_err(|e| format!("{line}: {e}"))
}

/// Some commands at once; what they were.
fn round(
    lab: &Lab,
    storm: &Storm,
    numbers: &mut Numbers,
    killed: &mut usize,
    monitors: &mut usize,
) -> Result<String, String> {
    let mut running: Vec<(Child, Option<Instant>)> = Vec::new();
    let mut told = Vec::new();
    for _ in 0..2 + numbers.below(4) {
        let words: Vec<String> = (storm.words)(numbers).split(' ').map(str::to_owned).collect();
        told.push(words.join(" "));
        let mut command = lab.straight(&words);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
        let after = Duration::from_millis(numbers.below(LATEST) as u64);
        let death = numbers.chance(50).then(|| Instant::now() + after);
        running.push((child, death));
    }
    running.sort_by_key(|(_, death)| *death);
    for (child, death) in &mut running {
        let Some(death) = death else { continue };
        std::thread::park_timeout(death.saturating_duration_since(Instant::now()));
        if child.try_wait().is_ok_and(|status| status.is_none()) {
            uptime::kill(child.id())?;
            *killed += 1;
        }
        if numbers.chance(30)
            && let Some(monitor) = numbers.pick(&uptime::named("brig-mon"))
        {
            uptime::kill(*monitor)?;
            *monitors += 1;
        }
    }
    let told = told.join("; ");
    for (child, _) in &mut running {
        let mut ended = None;
        command::until("the end of a command", patience::seconds(60), || {
            ended = child.try_wait().ok().flatten();
            ended.is_some()
        })
        .map_err(|e| format!("{told}: stuck: {e}"))?;
        // To be refused is fine, what it was to act on may be gone; to crash is not.
        let code = ended.map_or(-1, command::shell_code);
        if code == 101 || code == 134 || code == 139 {
            return Err(format!("{told}: exit code {code}"));
        }
    }
    Ok(told)
}

/// A command line, any.
fn container_words(numbers: &mut Numbers) -> String {
    let name = numbers.pick(&NAMES).copied().unwrap_or("box1");
    match numbers.below(16) {
        0..=3 => format!("run -d --network none --name {name} tiny sleep 100000"),
        4 => format!("run -d --network none --restart always --name {name} tiny sleep 0.2"),
        5 => format!("run --rm --network none --name {name} tiny true"),
        6 => format!("run -d --rm --network none --name {name} tiny sleep 0.1"),
        7 => format!("create --network none --name {name} tiny sleep 100000"),
        8 => format!("start {name}"),
        9 => format!("stop -t 0 {name}"),
        10 => format!("restart -t 0 {name}"),
        11 => format!("kill {name}"),
        12 => format!("exec {name} true"),
        13 => format!(
            "rename {name} {}",
            numbers.pick(&NAMES).copied().unwrap_or("box2")
        ),
        14 => format!("pause {name}"),
        _ => format!("rm -f {name}"),
    }
}

/// The same of networks, ports and volumes.
fn network_words(numbers: &mut Numbers) -> String {
    let name = numbers.pick(&NAMES).copied().unwrap_or("box1");
    let port = 9001 + numbers.below(3);
    let network = numbers
        .pick(&["net1", "net2", "bridge"])
        .copied()
        .unwrap_or("net1");
    let volume = numbers.pick(&["vol1", "vol2"]).copied().unwrap_or("vol1");
    match numbers.below(20) {
        0..=3 => format!("run -d --network {network} -p {port}:80 --name {name} tiny sleep 100000"),
        4 => format!(
            "run -d --network {network} -p 9003:53/udp -v {volume}:/data --name {name} tiny sleep 100000"
        ),
        5 => format!("run -d --network {network} -p 80 --restart always --name {name} tiny sleep 0.2"),
        6 => format!("run --rm --network {network} -p {port}:80 -v /data --name {name} tiny true"),
        7 => format!("run -d --rm --network {network} --network-alias web --name {name} tiny sleep 0.1"),
        8 => "network create --subnet 10.90.0.0/24 net1".to_owned(),
        9 => "network create net2".to_owned(),
        10 => format!("network rm {network}"),
        11 | 12 => format!("network connect {network} {name}"),
        13 => format!("network disconnect {network} {name}"),
        14 => "network prune -f".to_owned(),
        15 => format!("volume rm {volume}"),
        16 => "volume prune -f".to_owned(),
        17 => format!("stop -t 0 {name}"),
        18 => format!("start {name}"),
        _ => format!("rm -f -v {name}"),
    }
}
