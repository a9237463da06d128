//! kill -9 at random moments, of several brigs at once, in one store that lives through all of it.
//!
//! May not: be part of the ordinary tests. It prints its seed, and the same seed asks for the same commands and the same
//! moments, as far as a clock can say them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::time::{Duration, Instant};

use conformance::command;
use conformance::kernel;
use conformance::played::leaks;

use crate::case::names;
use crate::lab::{self, Lab};
use crate::power;
use conformance::seed::Numbers;
use conformance::tree::Tree;

pub const PATIENCE: Duration = Duration::from_secs(3600);

/// What may be killed at the latest so many milliseconds after its start.
const LATEST: usize = 300;
/// So often the work is finished and looked at.
const LOOK: usize = 10;

/// What is pulled and removed.
pub const IMAGES: [&str; 5] = ["many:1", "many:2", "large:1", "debian:bookworm", "variant:zstd"];

struct Soak<'a> {
    lab: &'a Lab,
    store: PathBuf,
    archive: String,
    numbers: Numbers,
    /// What the tree of `many` is when nothing happened.
    tree: Tree,
}

/// Runs until so many were killed.
pub fn run(lab: &Lab, kills: usize, seed: u64) -> Result<ExitCode, String> {
    println!("seed {seed}");
    let before = leaks::survey(&lab.dir);
    let store = lab.dir.join("soaked");
    let mut soak = Soak {
        lab,
        archive: archive(lab)?,
        tree: tree(lab, &store)?,
        numbers: Numbers::from(seed),
        store,
    };
    let began = Instant::now();
    let (mut killed, mut rounds) = (0, 0);
    while killed < kills {
        let words = soak.round(&mut killed)?;
        rounds += 1;
        let at = |e: String| format!("seed {seed}, round {rounds} ({words}): {e}");
        soak.must(&["system", "check"]).map_err(at)?;
        if rounds % LOOK == 0 {
            finish(lab, &soak.store, &soak.tree).map_err(at)?;
        }
    }
    finish(lab, &soak.store, &soak.tree)?;
    empty(lab, &soak.store)?;
    leaks::check(&before, &lab.dir)?;
    println!(
        "soak.images: {killed} killed in {rounds} rounds, {:.0} s; nothing lost, nothing left behind",
        began.elapsed().as_secs_f64()
    );
    if let Some(why) = power::lack() {
        println!("skip soak.power: {why}");
        return Ok(ExitCode::SUCCESS);
    }
    let (began, cuts) = (Instant::now(), kills / 2);
    power::run(lab, &lab.dir.join("power"), cuts, seed, true)?;
    leaks::check(&before, &lab.dir)?;
    println!(
        "soak.power: {cuts} power cuts, {:.0} s; nothing lost, nothing left behind",
        began.elapsed().as_secs_f64()
    );
    Ok(ExitCode::SUCCESS)
}

impl Soak<'_> {
    /// Some commands at once, most of them killed; what they were.
    fn round(&mut self, killed: &mut usize) -> Result<String, String> {
        let mut running = Vec::new();
        let mut told = Vec::new();
        for _ in 0..2 + self.numbers.below(3) {
            let words = self.words();
            told.push(words.join(" "));
            let mut command = self.lab.command(&self.store);
            command.args(&words).stdin(Stdio::null()).stdout(Stdio::null());
            command.stderr(Stdio::null()).process_group(0);
            let child = command.spawn().map_err(|e| format!("{command:?}: {e}"))?;
            let death = self.numbers.chance(70).then(|| {
                let after = self.numbers.below(LATEST) as u64;
                Instant::now() + Duration::from_millis(after)
            });
            running.push((child, death));
        }
        running.sort_by_key(|(_, death)| *death);
        let told = told.join("; ");
        for (child, death) in &mut running {
            if let Some(death) = death {
                std::thread::park_timeout(death.saturating_duration_since(Instant::now()));
                if child.try_wait().is_ok_and(|status| status.is_none()) {
                    kill(child)?;
                    *killed += 1;
                }
            }
        }
        for (child, death) in &mut running {
            let code = wait(child).map_err(|e| format!("{told}: {e}"))?;
            // Refused is fine (what it was to remove may be gone), to crash is not.
            if death.is_none() && code != 0 && code != 1 {
                return Err(format!("{told}: exit code {code}"));
            }
        }
        Ok(told)
    }

    /// A command line, any.
    fn words(&mut self) -> Vec<String> {
        let image = self.numbers.pick(&IMAGES).copied().unwrap_or("many:1");
        let reference = self.lab.plain.reference(image);
        match self.numbers.below(10) {
            0..=4 => vec!["pull".to_owned(), reference],
            5 => vec!["load".to_owned(), "-i".to_owned(), self.archive.clone()],
            6 | 7 => vec!["rmi".to_owned(), "-f".to_owned(), reference],
            8 => ["image", "prune", "-a", "-f"].map(str::to_owned).to_vec(),
            _ => ["image", "prune", "-f"].map(str::to_owned).to_vec(),
        }
    }

    fn must(&self, words: &[&str]) -> Result<String, String> {
        must(self.lab, &self.store, words)
    }
}

/// The next pull finishes what was broken off, and the image is what it must be.
pub fn finish(lab: &Lab, store: &Path, first: &Tree) -> Result<(), String> {
    // All of them: what was begun of an image waits in partial/ for whoever goes on with it.
    for name in IMAGES {
        must(lab, store, &["pull", "-q", &lab.plain.reference(name)])?;
    }
    must(lab, store, &["system", "check"])?;
    let tree = tree(lab, store)?;
    tree.difference(first, "the first tree").map_or(Ok(()), Err)
}

/// After everything was removed nothing is left.
pub fn empty(lab: &Lab, store: &Path) -> Result<(), String> {
    must(lab, store, &["image", "prune", "-a", "-f"])?;
    must(lab, store, &["system", "check"])?;
    for place in ["blobs/sha256", "layers", "tmp", "partial"] {
        let left = names(&store.join(place));
        if !left.is_empty() {
            return Err(format!("left in {place}: {}", left.join(" ")));
        }
    }
    Ok(())
}

pub fn must(lab: &Lab, store: &Path, words: &[&str]) -> Result<String, String> {
    lab::run(lab.command(store).args(words))?
        .ok()
        .map_err(|e| format!("brig {}: {e}", words.join(" ")))
}

/// An archive of two images, for the loads.
pub fn archive(lab: &Lab) -> Result<String, String> {
    let store = lab.dir.join("saved-from");
    let file = lab.dir.join("soak.tar").display().to_string();
    let names = ["many:1", "debian:bookworm"].map(|name| lab.plain.reference(name));
    for name in &names {
        must(lab, &store, &["pull", "-q", name])?;
    }
    must(lab, &store, &["save", "-o", &file, &names[0], &names[1]])?;
    std::fs::remove_dir_all(&store).map_err(|e| format!("{}: {e}", store.display()))?;
    Ok(file)
}

/// The tree of `many` as a bundle of this store.
pub fn tree(lab: &Lab, store: &Path) -> Result<Tree, String> {
    let reference = lab.plain.reference("many:1");
    let bundle = lab.dir.join("soak-bundle");
    let text = bundle.display().to_string();
    must(lab, store, &["pull", "-q", &reference])?;
    must(lab, store, &["bundle", &reference, &text])?;
    let tree = Tree::read(&bundle.join("rootfs"));
    must(lab, store, &["unbundle", &text])?;
    tree
}

pub fn kill(child: &mut Child) -> Result<(), String> {
    let pid = i32::try_from(child.id()).map_err(|e| e.to_string())?;
    match kernel::kill(-pid, 9) {
        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => Err(format!("kill: {e}")),
        _ => Ok(()),
    }
}

pub fn wait(child: &mut Child) -> Result<i32, String> {
    let mut ended = None;
    command::until("the end of a command", Duration::from_secs(120), || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    })?;
    Ok(ended.map_or(-1, command::shell_code))
}
