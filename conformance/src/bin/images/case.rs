//! Cases: what one acts on, and what must be true when it is over.
//!
//! May not: know a command of the subject's beyond those that look after its store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use conformance::command::{self, Outcome};
use conformance::judge::Peer;
use conformance::played::leaks;
pub use conformance::verdict::{Choice, Done, Sums, has, is, lacks, names};
use conformance::verdict::{all_of, indented, unmount_below};

use crate::cases;
use crate::lab::{self, Lab, Subject, Used};
use crate::power;

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Docker,
    Podman,
    Skopeo,
    Umoci,
    Buildah,
    Runc,
    /// The registry with a password.
    Login,
    /// Words that only brig has, or that the peers say otherwise.
    Brig,
    /// Something that Docker 20.10 lacks as a subject.
    NotDocker,
    /// A file system of the case's own, whose power can be cut.
    Disk,
}

pub struct Case {
    pub name: &'static str,
    pub needs: &'static [Need],
    pub act: fn(&mut Scene) -> Done,
}

pub const fn case(name: &'static str, needs: &'static [Need], act: fn(&mut Scene) -> Done) -> Case {
    Case { name, needs, act }
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = cases::pull::cases();
    all.extend(cases::trips::cases());
    all.extend(cases::variants::cases());
    all.extend(cases::archives::cases());
    all.extend(cases::extract::cases());
    all.extend(cases::store::cases());
    all.extend(cases::proxies::cases());
    all.extend(cases::rootless::cases());
    all.extend(cases::together::cases());
    all
}

/// One performance of a case.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    /// A directory of the case's own.
    pub dir: PathBuf,
    used: Used,
    stores: Vec<PathBuf>,
    /// Downloads that were broken off stay for the next pull: then this is not looked at.
    pub leaves_parts: bool,
}

impl Scene<'_> {
    /// The store of the case.
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// A second store, empty.
    pub fn other_store(&mut self, name: &str) -> PathBuf {
        let store = self.dir.join(name);
        self.stores.push(store.clone());
        store
    }

    pub fn brig(&mut self, words: &[&str]) -> Result<Outcome, String> {
        let store = self.store();
        self.brig_at(&store, words)
    }

    pub fn brig_at(&mut self, store: &Path, words: &[&str]) -> Result<Outcome, String> {
        lab::run(self.command_at(store).args(words))
    }

    /// The subject's command, for cases that run it their own way.
    pub fn command(&mut self) -> Command {
        let store = self.store();
        self.command_at(&store)
    }

    pub fn command_at(&mut self, store: &Path) -> Command {
        match self.lab.subject {
            Subject::Docker => self.used.docker = true,
            Subject::Podman => self.used.podman = true,
            Subject::Brig => {}
        }
        self.lab.command(store)
    }

    /// The same with something on stdin.
    pub fn brig_hears(&mut self, words: &[&str], stdin: &str) -> Result<Outcome, String> {
        command::run(self.command().args(words), stdin, command::USUAL)
    }

    pub fn brig_must(&mut self, words: &[&str]) -> Result<String, String> {
        let outcome = self.brig(words)?.ok();
        outcome.map_err(|e| format!("{} {}: {e}", self.lab.subject.name(), words.join(" ")))
    }

    pub fn brig_must_at(&mut self, store: &Path, words: &[&str]) -> Result<String, String> {
        let outcome = self.brig_at(store, words)?.ok();
        outcome.map_err(|e| format!("{} {}: {e}", self.lab.subject.name(), words.join(" ")))
    }

    pub fn docker(&mut self, words: &[&str]) -> Result<String, String> {
        self.used.docker = true;
        lab::run(self.lab.docker_command().args(words))?
            .ok()
            .map_err(|e| format!("docker {}: {e}", words.join(" ")))
    }

    pub fn podman(&mut self, words: &[&str]) -> Result<String, String> {
        self.used.podman = true;
        lab::run(self.lab.podman_command().args(words))?
            .ok()
            .map_err(|e| format!("podman {}: {e}", words.join(" ")))
    }

    pub fn buildah(&mut self, words: &[&str]) -> Result<String, String> {
        self.used.podman = true;
        lab::run(self.lab.buildah_command().args(words))?
            .ok()
            .map_err(|e| format!("buildah {}: {e}", words.join(" ")))
    }

    pub fn skopeo(&mut self, words: &[&str]) -> Result<String, String> {
        lab::run(self.lab.skopeo_command().args(words))?
            .ok()
            .map_err(|e| format!("skopeo {}: {e}", words.join(" ")))
    }

    /// A path of the case as text.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// The id of an image, as `inspect` says it.
    pub fn id(&mut self, reference: &str) -> Result<String, String> {
        let id = self.brig_must(&["image", "inspect", "--format", "{{.Id}}", reference])?;
        // Podman leaves the algorithm out.
        Ok(if id.contains(':') {
            id
        } else {
            format!("sha256:{id}")
        })
    }
}

/// A refusal: exit code 1, nothing like a success, and a message that holds one of these parts, in any case.
pub fn refused(what: &str, outcome: &Outcome, parts: &[&str]) -> Done {
    let podman_code = outcome.code == 125;
    if outcome.code != 1 && !podman_code {
        return Err(format!(
            "{what}: exit code {}: {}{}",
            outcome.code, outcome.stdout, outcome.stderr
        ));
    }
    let message = outcome.stderr.to_lowercase();
    if parts.iter().any(|part| message.contains(&part.to_lowercase())) {
        Ok(())
    } else {
        Err(format!(
            "{what}: the message {:?} has none of {parts:?}",
            outcome.stderr
        ))
    }
}

/// Runs every chosen case and prints a line for each.
pub fn run_all(lab: &Lab, choice: &Choice, verbose: bool) -> Sums {
    let mut sums = Sums::default();
    for case in all().iter().filter(|case| choice.has(case.name)) {
        let name = case.name;
        if let Some(why) = missing(lab, case) {
            sums.skip(name, &why);
            continue;
        }
        let began = Instant::now();
        let verdict = perform(lab, case);
        let has_failed = verdict.is_err();
        sums.tell(name, began, verdict);
        if has_failed
            && verbose
            && let Ok(docker) = &lab.docker
        {
            println!("     {}", indented(&docker.log_tail()));
        }
    }
    sums
}

/// Why a case cannot be played here.
fn missing(lab: &Lab, case: &Case) -> Option<String> {
    case.needs.iter().find_map(|need| match need {
        Need::Docker => lab.docker.as_ref().err().cloned(),
        Need::Podman => lab.podman.as_ref().err().cloned(),
        Need::Skopeo => lab.skopeo.as_ref().err().cloned(),
        Need::Umoci => lab.umoci.as_ref().err().cloned(),
        Need::Buildah => lab.buildah.as_ref().err().cloned(),
        Need::Runc => lab.runc.as_ref().err().cloned(),
        Need::Login => lab.locked.as_ref().err().cloned(),
        Need::Brig => (lab.subject != Subject::Brig).then(|| "the words are brig's own".to_owned()),
        Need::Disk => power::lack(),
        Need::NotDocker => (lab.subject == Subject::Docker).then(|| "Docker 20.10 cannot".to_owned()),
    })
}

/// Plays a case, then asks whether the store is sound and whether anything was left.
fn perform(lab: &Lab, case: &Case) -> Done {
    let dir = lab.dir.join("case");
    let before = leaks::survey(&lab.dir);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let store = dir.join("store");
    let mut scene = Scene {
        lab,
        dir: dir.clone(),
        used: Used::default(),
        stores: vec![store],
        leaves_parts: false,
    };
    let acted = (case.act)(&mut scene);
    let sound = if lab.subject == Subject::Brig {
        scene.stores.iter().try_for_each(|store| soundness(&scene, store))
    } else {
        Ok(())
    };
    let emptied = lab
        .empty_peers(scene.used)
        .map_err(|e| format!("emptying the peers: {e}"));
    let clean = leaks::check(&before, &lab.dir);
    unmount_below(&dir);
    let removed = std::fs::remove_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()));
    all_of([acted, sound, emptied, clean, removed])
}

/// What must be true of a store whenever nobody works on it.
fn soundness(scene: &Scene, store: &Path) -> Done {
    if !store.exists() {
        return Ok(());
    }
    let mut check = scene.lab.command(store);
    lab::run(check.args(["system", "check"]))?
        .ok()
        .map_err(|e| format!("system check of {}: {e}", store.display()))?;
    for place in ["tmp", "partial"] {
        let left = names(&store.join(place));
        let may_stay = place == "partial" && scene.leaves_parts;
        if !left.is_empty() && !may_stay {
            return Err(format!("left in {place}: {}", left.join(", ")));
        }
    }
    Ok(())
}
