//! Times beside Docker's and Podman's: pulling an image of about 700 MiB, and removing it until the space is free.
//!
//! May not: give anyone an advantage. The rounds are interleaved, every store is empty, the page cache is dropped before each
//! turn, and each tool verifies and syncs as it does when nobody tells it otherwise.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::played::leaks;

use crate::depot::{Blob, Depot, Recipe};
use crate::lab::{Lab, Subject, Used};
use crate::prepare;
use crate::statistics::{Table, Times};

pub const PATIENCE: Duration = Duration::from_secs(3600);

const LIMIT: Duration = Duration::from_secs(300);
const NAME: &str = "bench:1";

/// What is wanted of brig, as a share of a peer's median.
const OF_DOCKERS_PULL: f64 = 0.35;
const OF_PODMANS_PULL: f64 = 0.4;
const OF_PODMANS_RMI: f64 = 0.2;
const MEMORY: u64 = 128 << 10;

/// One tool and what it took, a time for each round.
struct Contestant {
    subject: Subject,
    pulls: Vec<Duration>,
    removals: Vec<Duration>,
}

pub fn run(lab: &Lab, cache: &Path, rounds: usize) -> Result<ExitCode, String> {
    plant(lab, cache)?;
    let mut contestants: Vec<Contestant> = [Subject::Docker, Subject::Podman, Subject::Brig]
        .into_iter()
        .filter(|subject| is_here(lab, *subject))
        .map(|subject| Contestant {
            subject,
            pulls: Vec::new(),
            removals: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for contestant in &mut contestants {
            turn(lab, contestant)?;
        }
    }
    let peak = memory(lab)?;
    report(&contestants, peak);
    Ok(ExitCode::SUCCESS)
}

fn is_here(lab: &Lab, subject: Subject) -> bool {
    match subject {
        Subject::Docker => lab.docker.is_ok(),
        Subject::Podman => lab.podman.is_ok(),
        Subject::Brig => lab.subject == Subject::Brig,
    }
}

/// Puts the image of the benchmark into the registry.
fn plant(lab: &Lab, cache: &Path) -> Result<(), String> {
    let depot = Depot::open(&cache.join(prepare::BENCH))?;
    let list = cache.join(prepare::BENCH).join("layers");
    let text = std::fs::read_to_string(&list).map_err(|e| format!("{}: {e}", list.display()))?;
    let mut layers = Vec::new();
    for line in text.lines() {
        let (diff_id, digest) = line.split_once(' ').ok_or("half a line")?;
        let blob = Blob {
            digest: digest.to_owned(),
            size: 0,
        };
        layers.push(depot.compressed_layer(&depot.path(&blob), diff_id)?);
    }
    let image = depot.image(&Recipe::new(&["/none"]), &layers)?;
    let size: u64 = layers.iter().map(|layer| layer.blob.size).sum();
    println!(
        "the image: {} layers, {} MiB compressed",
        layers.len(),
        size >> 20
    );
    lab.plain.plant(&depot, "bench", "1", &image)
}

fn turn(lab: &Lab, contestant: &mut Contestant) -> Result<(), String> {
    let subject = contestant.subject;
    let store = lab.dir.join("measured");
    let reference = lab.plain.reference(NAME);
    drop_caches()?;
    let space = match subject {
        Subject::Docker => lab.dir.join("docker"),
        Subject::Podman => lab.dir.join("podman"),
        Subject::Brig => store.clone(),
    };
    let empty = used(&space);
    let pull = timed(&mut command_of(lab, subject, &store, &["pull", "-q", &reference]))?;
    let full = used(&space);
    drop_caches()?;
    let began = Instant::now();
    timed(&mut command_of(lab, subject, &store, &["rmi", &reference]))?;
    // Not statfs: other programs write to this file system, too. What is unlinked and still open counts as free only when no
    // process of the tool is left that could have it open.
    let wanted = empty + full.saturating_sub(empty) / 20;
    while used(&space) > wanted || works_on(subject) {
        if began.elapsed() > LIMIT {
            return Err(format!(
                "{}: the space is not free after {LIMIT:?}",
                subject.name()
            ));
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let removal = began.elapsed();
    println!(
        "{:<8} pull {:>7.3} s   rmi {:>7.3} s",
        subject.name(),
        pull.as_secs_f64(),
        removal.as_secs_f64()
    );
    contestant.pulls.push(pull);
    contestant.removals.push(removal);
    lab.empty_peers(Used {
        docker: subject == Subject::Docker,
        podman: subject == Subject::Podman,
    })?;
    if store.exists() {
        std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    }
    Ok(())
}

fn command_of(lab: &Lab, subject: Subject, store: &Path, words: &[&str]) -> Command {
    let mut command = match subject {
        Subject::Docker => lab.docker_command(),
        Subject::Podman => lab.podman_command(),
        Subject::Brig => lab.command(store),
    };
    command.args(words);
    command
}

/// The time from the start of a command until it was waited for.
fn timed(command: &mut Command) -> Result<Duration, String> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let began = Instant::now();
    let status = command::wait(command, LIMIT)?;
    let time = began.elapsed();
    if status.success() {
        Ok(time)
    } else {
        Err(format!("{command:?}: {status}"))
    }
}

/// Whether a process of brig works on after its command has ended.
fn works_on(subject: Subject) -> bool {
    subject == Subject::Brig
        && leaks::processes()
            .iter()
            .any(|(_, name)| name.starts_with("brig"))
}

fn drop_caches() -> Result<(), String> {
    command::run(&mut Command::new("sync"), "", LIMIT)?.ok()?;
    std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|e| format!("drop_caches: {e}"))
}

/// Bytes on the disk below a directory, those of mounts in it left out.
fn used(dir: &Path) -> u64 {
    let device = std::fs::symlink_metadata(dir).map_or(0, |metadata| metadata.dev());
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() && metadata.dev() == device {
            bytes += used(&entry.path());
        }
    }
    bytes
}

/// The sum of the high-water marks of all processes of one pull, in KiB. A pull of its own: looking costs time.
fn memory(lab: &Lab) -> Result<Option<u64>, String> {
    if lab.subject != Subject::Brig {
        return Ok(None);
    }
    let store = lab.dir.join("measured");
    let reference = lab.plain.reference(NAME);
    let others: Vec<u32> = leaks::processes().into_iter().map(|(pid, _)| pid).collect();
    let done = AtomicBool::new(false);
    let mut peaks: BTreeMap<u32, u64> = BTreeMap::new();
    let pulled = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (pid, _) in leaks::processes() {
                    if !others.contains(&pid)
                        && let Some(kib) = high_water_mark(pid)
                    {
                        peaks.insert(pid, kib);
                    }
                }
                std::thread::park_timeout(Duration::from_millis(2));
            }
        });
        let pulled = timed(lab.command(&store).args(["pull", "-q", &reference]));
        done.store(true, Ordering::Relaxed);
        pulled
    });
    pulled?;
    std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    Ok(Some(peaks.values().sum()))
}

/// VmHWM of a process that still is one.
fn high_water_mark(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn report(contestants: &[Contestant], peak: Option<u64>) {
    let table = |title: &str, times: fn(&Contestant) -> &Vec<Duration>| {
        let rows = contestants
            .iter()
            .map(|c| (c.subject.name().to_owned(), Times::new(times(c).clone())));
        Table {
            title: title.to_owned(),
            rows: rows.collect(),
            gauge: None,
        }
        .print();
    };
    table("pull", |c| &c.pulls);
    table("rmi, until the space is free", |c| &c.removals);
    println!();
    let medians = |contestant: &Contestant| {
        let median = |times: &Vec<Duration>| Times::new(times.clone()).median().as_secs_f64();
        (median(&contestant.pulls), median(&contestant.removals))
    };
    let of = |subject| contestants.iter().find(|c| c.subject == subject).map(medians);
    let Some(brig) = of(Subject::Brig) else { return };
    if let Some(docker) = of(Subject::Docker) {
        tell("pull, of docker's", brig.0 / docker.0, OF_DOCKERS_PULL);
    }
    if let Some(podman) = of(Subject::Podman) {
        tell("pull, of podman's", brig.0 / podman.0, OF_PODMANS_PULL);
        tell("rmi, of podman's", brig.1 / podman.1, OF_PODMANS_RMI);
    }
    if let Some(peak) = peak {
        let verdict = if peak <= MEMORY { "ok" } else { "above" };
        println!(
            "{:<24} {peak:>6} KiB   (at most {MEMORY}) {verdict}",
            "memory of the pull"
        );
    }
}

fn tell(what: &str, share: f64, limit: f64) {
    let verdict = if share <= limit { "ok" } else { "above" };
    println!("{what:<24} {share:>6.3}       (at most {limit}) {verdict}");
}
