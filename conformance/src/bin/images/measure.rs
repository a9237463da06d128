//! Times beside Docker's and Podman's: pulling an image of about 700 MiB, and removing it until the space is free. And brig's two forms
//! of layers beside each other, with a first run in between, so that the faster one stays the default.
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
use conformance::judge::Peer;
use conformance::played::leaks;

use crate::case::names;
use crate::depot::{Blob, Depot, Recipe};
use crate::lab::{self, Lab, Subject, Used};
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
/// By so much the default may be the slower of the two forms before that counts: two runs of the same differ by as much.
const AS_FAST: f64 = 1.05;

/// One tool and what it took, a time for each round.
struct Contestant {
    subject: Subject,
    /// Brig's layers, where they are not left to brig.
    form: Option<Form>,
    pulls: Vec<Duration>,
    /// Of those with a form only.
    first_runs: Vec<Duration>,
    removals: Vec<Duration>,
}

/// How brig keeps a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Erofs,
    Tree,
}

impl Form {
    /// In `BRIG_LAYERS`.
    fn word(self) -> &'static str {
        match self {
            Form::Erofs => "erofs",
            Form::Tree => "tree",
        }
    }
}

impl Contestant {
    fn new(subject: Subject, form: Option<Form>) -> Contestant {
        Contestant {
            subject,
            form,
            pulls: Vec::new(),
            first_runs: Vec::new(),
            removals: Vec::new(),
        }
    }

    fn name(&self) -> String {
        match self.form {
            Some(form) => format!("{} {}", self.subject.name(), form.word()),
            None => self.subject.name().to_owned(),
        }
    }

    fn command(&self, lab: &Lab, store: &Path, words: &[&str]) -> Command {
        let mut command = match self.subject {
            Subject::Docker => lab.docker_command(),
            Subject::Podman => lab.podman_command(),
            Subject::Brig => lab.command(store),
        };
        if let Some(form) = self.form {
            command.env("BRIG_LAYERS", form.word());
        }
        command.args(words);
        command
    }
}

pub fn run(lab: &Lab, cache: &Path, rounds: usize) -> Result<ExitCode, String> {
    plant(lab, cache)?;
    let (peak, default) = alone(lab)?;
    let mut contestants: Vec<Contestant> = [Subject::Docker, Subject::Podman, Subject::Brig]
        .into_iter()
        .filter(|subject| is_here(lab, *subject))
        .map(|subject| Contestant::new(subject, None))
        .collect();
    if default.is_some() && mounts_images(lab)? {
        let forms = [Form::Erofs, Form::Tree];
        contestants.extend(forms.map(|form| Contestant::new(Subject::Brig, Some(form))));
    }
    for _ in 0..rounds {
        for contestant in &mut contestants {
            turn(lab, contestant)?;
        }
    }
    report(&contestants, peak);
    if let Some(default) = default {
        compare_forms(&contestants, default);
    }
    Ok(ExitCode::SUCCESS)
}

fn is_here(lab: &Lab, subject: Subject) -> bool {
    match subject {
        Subject::Docker => lab.docker.is_ok(),
        Subject::Podman => lab.podman.is_ok(),
        Subject::Brig => lab.subject == Subject::Brig,
    }
}

/// Whether brig can have its layers as EROFS images on this machine.
fn mounts_images(lab: &Lab) -> Result<bool, String> {
    let store = lab.dir.join("measured");
    let mut pull = lab.command(&store);
    pull.env("BRIG_LAYERS", Form::Erofs.word())
        .args(["pull", "-q", &lab.plain.reference("many:1")]);
    let outcome = lab::run(&mut pull)?;
    std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    Ok(outcome.code == 0)
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
    let program = prepare::nothing()?.display().to_string();
    let image = depot.image(&Recipe::new(&[&program]), &layers)?;
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
    let pull = timed(&mut contestant.command(lab, &store, &["pull", "-q", &reference]))?;
    let full = used(&space);
    print!("{:<12} pull {:>7.3} s", contestant.name(), pull.as_secs_f64());
    contestant.pulls.push(pull);
    if contestant.form.is_some() {
        let first_run = first_run(lab, contestant, &store, &reference)?;
        print!("   first run {:>7.3} s", first_run.as_secs_f64());
        contestant.first_runs.push(first_run);
    }
    drop_caches()?;
    let began = Instant::now();
    timed(&mut contestant.command(lab, &store, &["rmi", &reference]))?;
    // Not statfs: other programs write to this file system, too. What is unlinked and still open counts as free only when no
    // process of the tool is left that could have it open.
    let wanted = empty + full.saturating_sub(empty) / 20;
    while used(&space) > wanted || works_on(subject) {
        if began.elapsed() > LIMIT {
            return Err(format!(
                "{}: the space is not free after {LIMIT:?}",
                contestant.name()
            ));
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let removal = began.elapsed();
    println!("   rmi {:>7.3} s", removal.as_secs_f64());
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

/// From the image to the end of its first container, and back to the image alone. The page cache stays as the pull left it, as for
/// everybody who pulls to run.
fn first_run(lab: &Lab, contestant: &Contestant, store: &Path, reference: &str) -> Result<Duration, String> {
    let bundle = lab.dir.join("measured-bundle").display().to_string();
    let mut run = Command::new(&lab.runtime);
    run.args([
        "--root",
        "/run/images-measure",
        "run",
        "--bundle",
        &bundle,
        "first",
    ]);
    let mut took = timed(&mut contestant.command(lab, store, &["bundle", reference, &bundle]))?;
    took += timed(&mut run)?;
    took += timed(&mut contestant.command(lab, store, &["unbundle", &bundle]))?;
    Ok(took)
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

/// A pull of its own, for what would cost the others time: the sum of the high-water marks of all its processes, in KiB, and the form
/// that brig gives its layers when nobody says which. Nothing, if brig is not here.
fn alone(lab: &Lab) -> Result<(Option<u64>, Option<Form>), String> {
    if lab.subject != Subject::Brig {
        return Ok((None, None));
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
    let layers = store.join("layers");
    let is_image = |name: &String| layers.join(name).join("layer.erofs").exists();
    let form = if names(&layers).iter().any(is_image) {
        Form::Erofs
    } else {
        Form::Tree
    };
    std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    Ok((Some(peaks.values().sum()), Some(form)))
}

/// VmHWM of a process that still is one.
fn high_water_mark(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

fn report(contestants: &[Contestant], peak: Option<u64>) {
    let peers: Vec<&Contestant> = contestants.iter().filter(|c| c.form.is_none()).collect();
    table("pull", &peers, |c| &c.pulls);
    table("rmi, until the space is free", &peers, |c| &c.removals);
    println!();
    let of = |subject| {
        let found = peers.iter().find(|c| c.subject == subject);
        found.map(|c| (median(&c.pulls), median(&c.removals)))
    };
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

/// The second table: the forms of layers, and whether the default is the one that it should be.
fn compare_forms(contestants: &[Contestant], default: Form) {
    let forms: Vec<&Contestant> = contestants.iter().filter(|c| c.form.is_some()).collect();
    if forms.is_empty() {
        println!("layers: trees only, this kernel mounts no EROFS from a file");
        return;
    }
    table("pull", &forms, |c| &c.pulls);
    table("first run: bundle, run, unbundle", &forms, |c| &c.first_runs);
    table("rmi, until the space is free", &forms, |c| &c.removals);
    println!();
    let all_of = |form: Form| {
        let found = forms.iter().find(|c| c.form == Some(form));
        found.map_or(0.0, |c| {
            median(&c.pulls) + median(&c.first_runs) + median(&c.removals)
        })
    };
    let (erofs, tree) = (all_of(Form::Erofs), all_of(Form::Tree));
    let (faster, other) = if erofs <= tree {
        (Form::Erofs, Form::Tree)
    } else {
        (Form::Tree, Form::Erofs)
    };
    println!(
        "pull + first run + rmi: erofs {erofs:.3} s, tree {tree:.3} s; {} is faster, {:.2} times",
        faster.word(),
        all_of(other) / all_of(faster)
    );
    let share = match default {
        Form::Erofs => erofs / tree,
        Form::Tree => tree / erofs,
    };
    tell("the default, of the other", share, AS_FAST);
}

fn table(title: &str, contestants: &[&Contestant], times: fn(&Contestant) -> &Vec<Duration>) {
    let rows = contestants
        .iter()
        .map(|c| (c.name(), Times::new(times(c).clone())));
    Table {
        title: title.to_owned(),
        rows: rows.collect(),
        gauge: None,
    }
    .print();
}

fn median(times: &[Duration]) -> f64 {
    Times::new(times.to_vec()).median().as_secs_f64()
}

fn tell(what: &str, share: f64, limit: f64) {
    let verdict = if share <= limit { "ok" } else { "above" };
    println!("{what:<26} {share:>6.3}       (at most {limit}) {verdict}");
}
