//! One case in a process of its own, which adopts every orphan the runtime leaves and has its own mount namespace. May
//! not print: the result is a file.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::config::Place;
use crate::host::{self, CgroupView};
use crate::kernel;
use crate::leak::{self, Before};
use crate::world::{Call, Ended, Output, Trouble, World};

/// How a case ended, before expectations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As the clause says.
    Pass,
    /// Otherwise.
    Fail,
    /// Could not be judged.
    Skip,
}

/// What a worker hands back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How it ended.
    pub outcome: Outcome,
    /// Problems, or the reason of a skip.
    pub why: Vec<String>,
    /// The commands, for the reader of a failure.
    pub transcript: Vec<String>,
    /// Wall time.
    pub millis: u64,
}

impl Finding {
    /// A finding of the harness itself.
    #[must_use]
    pub fn failed(why: String) -> Self {
        Finding {
            outcome: Outcome::Fail,
            why: vec![why],
            transcript: Vec::new(),
            millis: 0,
        }
    }
}

/// Runs `case` in this process, which must be a fresh one, and writes `result.json` into the place's directory.
///
/// # Errors
/// Those of setting this process up and of writing the result.
pub fn run(
    case: &Case,
    mut place: Place,
    view: CgroupView,
    runtime: &Path,
    runtime_name: &str,
) -> io::Result<()> {
    let since = Instant::now();
    let result = place.dir.join("result.json");
    kernel::become_subreaper()?;
    if kernel::effective_uid() == 0 {
        kernel::isolate_mounts()?;
        view.apply()?;
        place.cgroups = host::probe_cgroup_mode();
    }
    let mut finding = match case.needs.iter().find_map(|n| host::probe_lack(*n)) {
        Some(lack) => Finding {
            outcome: Outcome::Skip,
            why: vec![lack],
            transcript: Vec::new(),
            millis: 0,
        },
        None => judge(case, place, runtime, runtime_name)?,
    };
    finding.millis = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    fs::write(result, serde_json::to_vec(&finding)?)
}

fn judge(case: &Case, place: Place, runtime: &Path, runtime_name: &str) -> io::Result<Finding> {
    let before = Before::look();
    let mut world = World::new(place.clone(), runtime, runtime_name)?;
    (case.config)(&mut world.setup);
    if let Some(e) = world.setup.trouble.take() {
        return Ok(Finding::failed(format!(
            "the harness failed to prepare the bundle: {e}"
        )));
    }
    let ended = act(case, &mut world);
    let mut skip = None;
    match ended {
        Ok(()) => {}
        Err(Trouble::Fail(why)) => world.problems.push(why),
        Err(Trouble::Skip(why)) => skip = Some(why),
    }
    clear(&mut world);
    world.unmount_own();
    world.problems.extend(before.leaks(&place));
    let transcript = world
        .transcript
        .iter()
        .map(describe)
        .chain(world.asides())
        .collect();
    let (outcome, why) = match skip {
        _ if !world.problems.is_empty() => (Outcome::Fail, world.problems),
        Some(why) => (Outcome::Skip, vec![why]),
        None => (Outcome::Pass, Vec::new()),
    };
    Ok(Finding {
        outcome,
        why,
        transcript,
        millis: 0,
    })
}

fn act(case: &Case, world: &mut World) -> Ended {
    for step in case.steps {
        world.step(step)?;
    }
    (case.expect)(world)
}

/// Deletes by force whatever container is still in the state root.
fn clear(world: &mut World) {
    let Ok(list) = fs::read_dir(world.root()) else {
        return;
    };
    for e in list.flatten() {
        let id = e.file_name().to_string_lossy().into_owned();
        if !id.starts_with(&world.setup.place.tag) {
            continue;
        }
        match world.call(Call::new(&["delete", "--force", &id])) {
            Ok(out) if out.ok() => {}
            Ok(out) => world
                .problems
                .push(format!("`delete --force {id}` failed: {}", out.messages().trim())),
            Err(Trouble::Fail(why) | Trouble::Skip(why)) => world.problems.push(why),
        }
    }
}

fn describe(out: &Output) -> String {
    let cut = |s: &str| {
        let s = s.trim();
        if s.len() > 700 {
            format!("{}...", s.chars().take(700).collect::<String>())
        } else {
            s.to_owned()
        }
    };
    let mut text = format!("{} -> {} ({} ms)", out.asked, out.code, out.took.as_millis());
    for (name, content) in [
        ("stderr", &out.stderr),
        ("stdout", &out.stdout),
        ("log", &out.log_text),
    ] {
        if !content.trim().is_empty() {
            text.push_str(&format!("\n  {name}: {}", cut(content)));
        }
    }
    text
}

/// Kills everything below `pid` and `pid` itself.
pub fn end_tree(pid: u32) {
    let below = leak::descendants(pid);
    let root = i32::try_from(pid).unwrap_or(-1);
    for p in std::iter::once(root).chain(below).filter(|p| *p > 1) {
        let _ = kernel::kill(p, libc::SIGKILL);
    }
}
