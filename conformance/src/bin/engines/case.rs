//! Cases, and how they are judged: on what must hold, and on whether the reference shows the same.
//!
//! May not: know any engine's commands.

use std::collections::HashMap;
use std::time::{Duration, Instant};

pub use conformance::verdict::{Choice, Sums};
use conformance::verdict::{all_of, indented};

use crate::lab::{Lab, Role};
use crate::{containerd, cri, docker, leaks, limits, nested, podman, shim};

/// Which engine a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Docker,
    Podman,
    Containerd,
    Nothing,
}

/// Whether the reference has to show the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Yes,
    /// The case asks for more than the reference promises, or costs too much to do twice.
    No,
}

/// One sentence about the runtime under an engine.
pub struct Case {
    pub name: &'static str,
    pub need: Need,
    pub compare: Compare,
    pub act: fn(&mut Scene) -> Result<(), String>,
}

/// One performance of a case with one of the two runtimes.
pub struct Scene<'a> {
    pub lab: &'a Lab,
    pub role: Role,
    seen: Vec<(String, String)>,
}

impl Scene<'_> {
    /// Notes something that the other runtime has to show as well.
    pub fn see(&mut self, what: &str, value: impl ToString) {
        let value = self.neutral(&value.to_string());
        self.seen.push((what.to_owned(), value));
    }

    /// Notes something and says what it must be.
    pub fn is(&mut self, what: &str, value: impl ToString, expected: impl ToString) -> Result<(), String> {
        let (value, expected) = (value.to_string(), expected.to_string());
        self.see(what, &value);
        if value == expected {
            Ok(())
        } else {
            Err(format!("{what} is {value:?}, expected {expected:?}"))
        }
    }

    /// Notes something and says what must be in it.
    pub fn has(&mut self, what: &str, value: impl ToString, part: &str) -> Result<(), String> {
        let value = value.to_string();
        self.see(what, &value);
        if value.contains(part) {
            Ok(())
        } else {
            Err(format!("{what} is {value:?}, without {part:?}"))
        }
    }

    /// A text without the runtime's name and without what differs from container to container.
    fn neutral(&self, text: &str) -> String {
        let name = self
            .lab
            .runtime(self.role)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = text
            .split("time=\"")
            .enumerate()
            .map(|(n, part)| match part.split_once('"') {
                Some((_, after)) if n > 0 => after,
                _ => part,
            });
        let text: String = text.collect();
        let mut neutral = String::with_capacity(text.len());
        let mut word = String::new();
        let close = |word: &mut String, neutral: &mut String| {
            let is_id = (word.len() == 64 || word.len() == 12) && word.bytes().all(|b| b.is_ascii_hexdigit());
            neutral.push_str(if is_id { "ID" } else { word });
            word.clear();
        };
        for character in text.chars() {
            if character.is_ascii_alphanumeric() {
                word.push(character);
            } else {
                close(&mut word, &mut neutral);
                neutral.push(character);
            }
        }
        close(&mut word, &mut neutral);
        without_noise(&neutral)
            // runc 1.5 puts it before every failure of the set-up, 1.1 before some.
            .replace("error during container init: ", "")
            .replace(&format!("{name} "), "RUNTIME ")
            .replace(self.role.name(), "ROLE")
            .replace(&name, "RUNTIME")
    }
}

/// Without what Docker's client says when the container is removed before it has asked how it ended: a race of its own.
fn without_noise(text: &str) -> String {
    text.split_inclusive('\n')
        .filter(|line| !line.contains("error waiting for container: context canceled"))
        .collect()
}

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut cases = docker::cases();
    cases.extend(nested::cases());
    cases.extend(podman::cases());
    cases.extend(containerd::cases());
    cases.extend(limits::cases());
    cases.extend(shim::cases());
    cases.extend(cri::cases());
    cases
}

/// What is played once more when another shim than the packaged one is judged: whatever passes through a shim, and not
/// what a runtime does by itself.
const THROUGH_THE_SHIM: [&str; 10] = [
    "docker.run.",
    "docker.exit.",
    "docker.life.",
    "docker.option.oom-score-adj",
    "docker.option.volume",
    "docker.namespace.pid-",
    "docker.namespace.host",
    "containerd.",
    "ctr.",
    "cri.",
];

/// How cases begin that are about shims alone.
const ABOUT_SHIMS_ALONE: [&str; 2] = ["ctr.", "cri."];

fn is_about_shims_alone(case: &Case) -> bool {
    ABOUT_SHIMS_ALONE.iter().any(|begin| case.name.starts_with(begin))
}

/// What is put before the name of a case in which the judged shim is at work.
const WITH_SHIM: &str = "shim.";

/// The name of a case in the second part, if it belongs there.
pub fn name_with_shim(case: &Case) -> Option<String> {
    let belongs = THROUGH_THE_SHIM.iter().any(|begin| case.name.starts_with(begin));
    belongs.then(|| format!("{WITH_SHIM}{}", case.name))
}

/// What the reference showed in the first part, for the second, in which another shim serves the same engines.
pub type Shown = HashMap<&'static str, Seen>;

type Seen = Vec<(String, String)>;

/// Runs every chosen case with the packaged shim. `also_shim`: the second part will follow and need what the reference
/// shows; cases about shims alone are then left to it.
pub fn run_all(lab: &Lab, choice: &Choice, also_shim: bool) -> (Sums, Shown) {
    let (mut sums, mut shown) = (Sums::default(), Shown::new());
    for case in all() {
        let later = name_with_shim(&case).is_some_and(|name| also_shim && choice.has(&name));
        let now = choice.has(case.name) && !(also_shim && is_about_shims_alone(&case));
        if now {
            tell(&mut sums, case.name, || judge(lab, &case, &mut shown));
        } else if later && lab.reference.is_some() && missing(lab, &case).is_none() {
            // A second try as everywhere; if it fails again, the second part has nothing to compare with.
            let seen = perform(lab, &case, Role::Reference).or_else(|_| perform(lab, &case, Role::Reference));
            match seen {
                Ok(seen) => drop(shown.insert(case.name, seen)),
                Err(why) => tell_reference_fails(case.name, &why),
            }
        }
    }
    (sums, shown)
}

/// Runs every chosen case that passes through a shim with the judged one.
pub fn run_with_shim(lab: &Lab, choice: &Choice, shown: &Shown) -> Sums {
    let mut sums = Sums::default();
    for case in all() {
        let Some(name) = name_with_shim(&case).filter(|name| choice.has(name)) else {
            continue;
        };
        tell(&mut sums, &name, || {
            if let Some(verdict) = missing(lab, &case) {
                return verdict;
            }
            let mine = match perform(lab, &case, Role::Subject) {
                Ok(seen) => seen,
                Err(why) => return Verdict::Failed(explain(lab, &case, why)),
            };
            let theirs = shown.get(case.name).filter(|_| case.compare == Compare::Yes);
            theirs
                .and_then(|theirs| differences(&mine, theirs))
                .map_or(Verdict::Passed, Verdict::Failed)
        });
    }
    sums
}

/// Runs a case and prints a line for it.
fn tell(sums: &mut Sums, name: &str, mut judge: impl FnMut() -> Verdict) {
    let began = Instant::now();
    let mut verdict = judge();
    // The engines race with themselves now and then. What fails twice is ours; what fails once is told.
    if let Verdict::Failed(why) = &verdict {
        println!("note {name}: played again after: {}", indented(why));
        verdict = judge();
    }
    match verdict {
        Verdict::Passed => sums.tell(name, began, Ok(())),
        Verdict::Skipped(why) => sums.skip(name, &why),
        Verdict::Failed(why) => sums.tell(name, began, Err(why)),
    }
}

/// The verdict on a case whose engine is not there.
fn missing(lab: &Lab, case: &Case) -> Option<Verdict> {
    let why = match case.need {
        Need::Docker => lab.docker.as_ref().err(),
        Need::Podman => lab.podman.as_ref().err(),
        Need::Containerd => lab.containerd.as_ref().err(),
        Need::Nothing => None,
    }?;
    // An engine that is installed and does not start is a failure, not a hole.
    Some(if why.contains("not installed") || why.contains("belongs to") {
        Verdict::Skipped(why.clone())
    } else {
        Verdict::Failed(why.clone())
    })
}

fn judge(lab: &Lab, case: &Case, shown: &mut Shown) -> Verdict {
    if let Some(verdict) = missing(lab, case) {
        return verdict;
    }
    let mine = match perform(lab, case, Role::Subject) {
        Ok(seen) => seen,
        Err(why) => return Verdict::Failed(explain(lab, case, why)),
    };
    if case.compare == Compare::No || lab.reference.is_none() {
        return Verdict::Passed;
    }
    match perform(lab, case, Role::Reference) {
        // The reference fails where the subject does what it must: worth a line, nobody's fault here.
        Err(why) => {
            tell_reference_fails(case.name, &why);
            Verdict::Passed
        }
        Ok(theirs) => {
            let verdict = differences(&mine, &theirs).map_or(Verdict::Passed, Verdict::Failed);
            shown.insert(case.name, theirs);
            verdict
        }
    }
}

fn tell_reference_fails(name: &str, why: &str) {
    println!(
        "note {name}: the reference fails: {}",
        why.lines().next().unwrap_or_default()
    );
}

/// Plays a case once, tidies up, and looks for what it left.
fn perform(lab: &Lab, case: &Case, role: Role) -> Result<Seen, String> {
    let before = leaks::survey(&lab.dir);
    let mut scene = Scene {
        lab,
        role,
        seen: Vec::new(),
    };
    let acted = (case.act)(&mut scene);
    let removed = lab.remove_containers().map_err(|e| format!("tidying up: {e}"));
    let clean = leaks::check(&before, &lab.dir);
    all_of([acted, removed, clean]).map(|()| scene.seen)
}

fn explain(lab: &Lab, case: &Case, why: String) -> String {
    let engine = match case.need {
        Need::Docker => "dockerd",
        Need::Containerd => "containerd",
        Need::Podman | Need::Nothing => return why,
    };
    format!("{why}\n{}", lab.log_tails(engine))
}

fn differences(mine: &[(String, String)], theirs: &[(String, String)]) -> Option<String> {
    let mut lines = Vec::new();
    for (index, (what, value)) in mine.iter().enumerate() {
        match theirs.get(index) {
            Some((same, other)) if same == what && other == value => {}
            Some((same, other)) if same == what => {
                lines.push(format!(
                    "{what} differs from the reference:\n{}",
                    only_in_one(value, other)
                ));
            }
            _ => lines.push(format!("{what}: the reference never got that far")),
        }
    }
    if theirs.len() > mine.len() {
        lines.push("the reference went further".into());
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The lines that only one of two texts has.
fn only_in_one(mine: &str, theirs: &str) -> String {
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let of_mine = mine
        .lines()
        .filter(|line| lacks(theirs, line))
        .map(|line| format!("  subject   {line:?}"));
    let of_theirs = theirs
        .lines()
        .filter(|line| lacks(mine, line))
        .map(|line| format!("  reference {line:?}"));
    let lines: Vec<String> = of_mine.chain(of_theirs).collect();
    if lines.is_empty() {
        format!("  the order of {mine:?}\n  and of {theirs:?}")
    } else {
        lines.join("\n")
    }
}

/// A shell command that prints the mounts of a container. The options of the file system above the version 1
/// hierarchies are left out: runc 1.1 leaves it writable where read-only was asked for.
pub const MOUNTS: &str = "awk '{ i = 7; while ($i != \"-\") i++; print $5, ($5 == \"/sys/fs/cgroup\" ? \"\" : $6), $(i + 1) }' \
    /proc/self/mountinfo | sort";

/// A deadline for what an engine does in the background.
pub const SOON: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect()
    }

    #[test]
    fn differences_are_told_by_their_name() {
        assert_eq!(
            differences(&seen(&[("code", "1")]), &seen(&[("code", "1")])),
            None
        );
        let told = differences(&seen(&[("code", "1")]), &seen(&[("code", "2")]));
        assert!(told.is_some_and(|text| text.starts_with("code differs")));
        assert!(differences(&seen(&[]), &seen(&[("code", "2")])).is_some());
        assert!(differences(&seen(&[("code", "2")]), &seen(&[])).is_some());
    }
}
