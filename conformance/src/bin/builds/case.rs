//! Cases: what one acts on, and what must be true when it is over.
//!
//! May not: know more of the subject than its command line.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use conformance::command::{self, Outcome};
use conformance::daemon::find_program;
use conformance::judge::Peer;
use conformance::patience;
use conformance::played::leaks;
use conformance::verdict::unmount_below;
pub use conformance::verdict::{Choice, Done, Sums, has, is, lacks};
use serde_json::Value;

use crate::cases;
use crate::lab::{Lab, Subject};

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Words that only brig has, or where the peers of the packages are older than the contract.
    Brig,
    /// Not buildah, which answers otherwise on purpose.
    NotBuildah,
    /// Docker beside it.
    Docker,
    Registry,
    Git,
    /// Some program.
    Program(&'static str),
    /// What the machine's own package manager reaches.
    Packages,
}

pub struct Case {
    pub name: String,
    pub needs: &'static [Need],
    act: Box<dyn Fn(&Scene) -> Done>,
}

pub fn case(name: &str, needs: &'static [Need], act: impl Fn(&Scene) -> Done + 'static) -> Case {
    Case {
        name: name.to_owned(),
        needs,
        act: Box::new(act),
    }
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut all = cases::samples::cases();
    all.extend(cases::errors::cases());
    all.extend(cases::options::cases());
    all.extend(cases::newer::cases());
    all.extend(cases::mounts::cases());
    all.extend(cases::contexts::cases());
    all.extend(cases::networks::cases());
    all.extend(cases::reuse::cases());
    all.extend(cases::outputs::cases());
    all.extend(cases::telling::cases());
    all.extend(cases::rootless::cases());
    all.extend(cases::crashes::cases());
    all.extend(cases::hostile::cases());
    // What empties the cache comes last.
    all.extend(cases::space::cases());
    all
}

/// One performance of a case.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    /// A directory of the case's own, in which its lines are typed.
    pub dir: PathBuf,
}

pub fn soon() -> Duration {
    patience::seconds(30)
}

impl Scene<'_> {
    /// Runs a line as a person types it.
    pub fn sh(&self, line: &str) -> Result<Outcome, String> {
        self.hears(line, "")
    }

    /// The same with something on stdin.
    pub fn hears(&self, line: &str, stdin: &str) -> Result<Outcome, String> {
        self.lab
            .run(self.lab.subject, &self.dir, line, stdin, patience::seconds(180))
    }

    /// A line that must succeed; the answer is what it printed on stdout, without the last line break.
    pub fn must(&self, line: &str) -> Result<String, String> {
        self.sh(line)?.ok().map_err(|e| format!("{line}: {e}"))
    }

    /// A line that must succeed; the answer is all that it printed, stderr first: there builds tell how they go.
    pub fn told(&self, line: &str) -> Result<String, String> {
        let o = self.sh(line)?;
        match o.code {
            0 => Ok(o.stderr + &o.stdout),
            code => Err(format!("{line}: exit code {code}: {}{}", o.stdout, o.stderr)),
        }
    }

    /// A line that must print exactly this on stdout.
    pub fn prints(&self, line: &str, text: &str) -> Done {
        is(line, self.must(line)?, text.trim_end_matches('\n'))
    }

    /// A line that must fail with this code and all of these texts on stderr.
    pub fn fails(&self, line: &str, code: i32, parts: &[&str]) -> Done {
        let o = self.sh(line)?;
        is(&format!("the code of {line} ({})", o.stderr), o.code, code)?;
        parts.iter().try_for_each(|part| has(line, &o.stderr, part))
    }

    /// A Dockerfile that must be refused, with all of these texts on stderr.
    pub fn refuses(&self, dockerfile: &str, parts: &[&str]) -> Done {
        self.dockerfile(dockerfile)?;
        self.fails("docker build -t refused .", 1, parts)
    }

    /// A file of the case; directories on the way are made.
    pub fn file(&self, name: &str, text: &str) -> Done {
        let path = self.dir.join(name);
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(told)?;
        }
        std::fs::write(&path, text).map_err(told)
    }

    pub fn dockerfile(&self, text: &str) -> Done {
        self.file("Dockerfile", text)
    }

    pub fn read(&self, name: &str) -> Result<String, String> {
        let path = self.dir.join(name);
        std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    pub fn json(&self, name: &str) -> Result<Value, String> {
        serde_json::from_str(&self.read(name)?).map_err(|e| format!("{name}: {e}"))
    }

    pub fn mode(&self, name: &str, mode: u32) -> Done {
        let path = self.dir.join(name);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Builds the directory of the case under a name; the answer is what was told meanwhile.
    pub fn builds(&self, name: &str, dockerfile: &str) -> Result<String, String> {
        self.dockerfile(dockerfile)?;
        self.build(&format!("-t {name} ."))
    }

    /// The same with words of one's own.
    pub fn build(&self, words: &str) -> Result<String, String> {
        self.told(&format!("docker build {} {words}", self.plain()))
    }

    /// How one asks for the lines that are compared.
    pub fn plain(&self) -> &'static str {
        match self.lab.subject {
            Subject::Buildah => "",
            Subject::Brig | Subject::Docker => "--progress plain",
        }
    }

    /// What a command prints in a container of an image.
    pub fn inside(&self, image: &str, line: &str) -> Result<String, String> {
        self.must(&format!(
            "docker run --rm --network none --entrypoint sh {image} -c '{line}'"
        ))
    }

    pub fn shows(&self, image: &str, line: &str, text: &str) -> Done {
        is(line, self.inside(image, line)?, text.trim_end_matches('\n'))
    }

    /// The configuration of an image.
    pub fn config(&self, image: &str) -> Result<Value, String> {
        let text = self.must(&format!(
            "docker image inspect --format '{{{{json .Config}}}}' {image}"
        ))?;
        serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))
    }

    pub fn id(&self, image: &str) -> Result<String, String> {
        self.must(&format!("docker image inspect --format '{{{{.Id}}}}' {image}"))
    }

    /// A user of the played host runs this line: nothing of root's environment comes along.
    pub fn is_brig(&self) -> bool {
        self.lab.subject == Subject::Brig
    }
}

/// How many steps came from the cache, by what a build told.
pub fn cached(told: &str) -> usize {
    // buildah says "--> Using cache".
    told.lines()
        .filter(|line| {
            (line.starts_with('#') && line.ends_with(" CACHED")) || line.starts_with("--> Using cache")
        })
        .count()
}

/// Whether the step whose name has this part came from the cache.
pub fn is_cached(told: &str, step: &str) -> Result<bool, String> {
    let begun = told
        .lines()
        .find(|line| line.starts_with('#') && line.contains(step))
        .ok_or(format!("no step {step:?} in {told}"))?;
    let number = begun.split(' ').next().unwrap_or_default();
    Ok(told.lines().any(|line| line == format!("{number} CACHED")))
}

pub fn was_cached(told: &str, step: &str, yes: bool) -> Done {
    is(
        &format!("whether {step:?} came from the cache in {told}"),
        is_cached(told, step)?,
        yes,
    )
}

/// A field of a document, by its JSON pointer, as compact JSON.
pub fn field(document: &Value, pointer: &str) -> String {
    document
        .pointer(pointer)
        .map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

/// Runs every chosen case and prints a line for each.
pub fn run_all(lab: &Lab, choice: &Choice) -> Sums {
    let mut sums = Sums::default();
    let all = all();
    for case in all.iter().filter(|case| choice.has(&case.name)) {
        let name = &case.name;
        if let Some(why) = missing(lab, case) {
            sums.skipped += 1;
            println!("skip {name}: {why}");
            continue;
        }
        let began = Instant::now();
        let verdict = perform(lab, case);
        tell(&mut sums, name, began, verdict);
    }
    sums
}

/// The line of a case, and what it counts as.
pub fn tell(sums: &mut Sums, name: &str, began: Instant, verdict: Done) {
    let seconds = began.elapsed().as_secs_f64();
    match verdict {
        Ok(()) => {
            sums.passed += 1;
            println!("ok   {name} ({seconds:.1} s)");
        }
        Err(why) => {
            sums.failed += 1;
            println!("FAIL {name} ({seconds:.1} s)");
            println!("     {}", why.trim_end().replace('\n', "\n     "));
        }
    }
}

/// Why a case cannot be played here.
fn missing(lab: &Lab, case: &Case) -> Option<String> {
    case.needs.iter().find_map(|need| match need {
        Need::Brig => (lab.subject != Subject::Brig)
            .then(|| format!("the {} of the packages does not know this", lab.subject.name())),
        Need::NotBuildah => (lab.subject == Subject::Buildah).then(|| "buildah answers otherwise".to_owned()),
        Need::Docker => lab.docker().as_ref().err().cloned(),
        Need::Registry => lab.registry().as_ref().err().cloned(),
        Need::Git => lab.git().as_ref().err().cloned(),
        Need::Program(program) => find_program(program)
            .is_none()
            .then(|| format!("{program} is not installed")),
        Need::Packages => lab.packages().as_ref().err().cloned(),
    })
}

/// Plays a case, then takes its containers away and asks whether anything was left.
fn perform(lab: &Lab, case: &Case) -> Done {
    let dir = lab.dir.join("case");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let before = leaks::survey(&lab.dir);
    let scene = Scene {
        lab,
        dir: dir.clone(),
    };
    let acted = (case.act)(&scene);
    let emptied = lab.empty();
    let clean = leaks::check(&before, &lab.dir);
    if clean.is_err() {
        end_leftovers(&before, lab);
    }
    unmount_below(&dir);
    let problems: Vec<String> = [acted, emptied, clean, remove(&dir)]
        .into_iter()
        .filter_map(Result::err)
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn remove(dir: &Path) -> Done {
    std::fs::remove_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))
}

/// Kills what a case left, so that the next one is judged for itself.
fn end_leftovers(before: &leaks::Survey, lab: &Lab) {
    for line in leaks::left(before, &lab.dir) {
        let pid = line
            .strip_prefix("process ")
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        if pid.parse::<u32>().is_ok()
            && let Err(e) = command::run(
                Command::new("kill").args(["-KILL", pid]),
                "",
                patience::seconds(10),
            )
        {
            eprintln!("kill: {e}");
        }
    }
}
