//! Several at once, and kill -9 in the middle: fetched once, and only what is missing the second time.
//!
//! May not: rely on a clock to hit the middle. A tap on the registry holds the bytes back until the case has seen what it wants.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use conformance::{command, kernel, patience};

use super::pull;
use crate::case::{Case, Done, Need, Scene, case, is, names};
use crate::power;
use crate::tap::Tap;

/// What may come down twice: requests in flight, manifests, headers.
const SLACK: u64 = 4 << 20;

pub fn cases() -> Vec<Case> {
    vec![
        // Some; `--soak` has many, each time others.
        case("power.cuts", &[Need::Brig, Need::Disk], |s| {
            power::run(s.lab, &s.dir, 5, 1, false)
        }),
        case("together.same-image", &[Need::Brig], |s| {
            let tap = Tap::open(s.lab.plain.host)?;
            let reference = tap.reference("large:1");
            let before = s.lab.plain.requests()?.len();
            // Both are at work before either gets a blob.
            tap.hold_after(8 << 20);
            let mut pulls = vec![begin(s, &["pull", &reference])?];
            part_of(s, 1)?;
            pulls.push(begin(s, &["pull", &reference])?);
            pulls.push(begin(s, &["pull", &reference])?);
            tap.let_go();
            for mut child in pulls {
                is("exit code", wait(&mut child)?, 0)?;
            }
            pull::once(&s.lab.plain, before, &s.lab.fixtures.large)?;
            is("id", s.id(&reference)?, s.lab.fixtures.large.id())
        }),
        case("together.shared-layers", &[Need::Brig], |s| {
            let before = s.lab.plain.requests()?.len();
            let mut pulls = Vec::new();
            for name in ["many:1", "many:2"] {
                pulls.push(begin(s, &["pull", &s.lab.plain.reference(name)])?);
            }
            for mut child in pulls {
                is("exit code", wait(&mut child)?, 0)?;
            }
            pull::once(&s.lab.plain, before, &s.lab.fixtures.many)?;
            pull::once(&s.lab.plain, before, &s.lab.fixtures.cousin)
        }),
        case("together.first-of-all", &[Need::Brig], |s| {
            // Nobody has made the store yet, and all of them want to.
            for round in 0..10 {
                let store = s.other_store(&format!("store-{round}"));
                let mut children = Vec::new();
                for name in ["small:1", "small:2", "small:3", "many:1"] {
                    let mut pull = s.command_at(&store);
                    pull.args(["pull", &s.lab.plain.reference(name)]);
                    children.push(spawn(pull)?);
                }
                for child in &mut children {
                    is("exit code", wait(child)?, 0)?;
                }
                let ids = s.brig_must_at(&store, &["images", "-q"])?;
                is("images", ids.lines().count(), 4)?;
            }
            Ok(())
        }),
        case("together.pull-and-rmi", &[Need::Brig], |s| {
            // What is removed while it is being pulled again is there afterwards, or gone: never half.
            let (one, two) = (s.lab.plain.reference("many:1"), s.lab.plain.reference("many:2"));
            for _ in 0..5 {
                s.brig_must(&["pull", "-q", &one])?;
                let mut remove = begin(s, &["rmi", &one])?;
                let mut again = begin(s, &["pull", &two])?;
                let mut prune = begin(s, &["image", "prune", "-f"])?;
                is("rmi", wait(&mut remove)?, 0)?;
                is("pull", wait(&mut again)?, 0)?;
                is("prune", wait(&mut prune)?, 0)?;
                is("id", s.id(&two)?, s.lab.fixtures.cousin.id())?;
                s.brig_must(&["system", "check"])?;
                s.brig_must(&["rmi", &two])?;
            }
            Ok(())
        }),
        case("together.two-loads", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("many:1");
            s.brig_must(&["pull", "-q", &reference])?;
            let archive = s.path("saved.tar");
            s.brig_must(&["save", "-o", &archive, &reference])?;
            s.brig_must(&["rmi", &reference])?;
            let mut loads = vec![
                begin(s, &["load", "-i", &archive])?,
                begin(s, &["load", "-i", &archive])?,
            ];
            for child in &mut loads {
                is("load", wait(child)?, 0)?;
            }
            is("id", s.id(&reference)?, s.lab.fixtures.many.id())
        }),
        case("killed.pull-resumes", &[Need::Brig], |s| {
            let tap = Tap::open(s.lab.plain.host)?;
            let reference = tap.reference("large:1");
            let whole: u64 = s
                .lab
                .fixtures
                .large
                .layers
                .iter()
                .map(|layer| layer.blob.size)
                .sum();
            let first = whole / 2;
            tap.hold_after(first);
            let mut child = begin(s, &["pull", &reference])?;
            // All that has come down is in the partial files, but for what is on its way.
            part_of(s, first - SLACK)?;
            kill(&mut child)?;
            // Sound, with its parts, before anybody mends it.
            s.brig_must(&["system", "check"])?;
            is("no image yet", s.brig_must(&["images", "-aq"])?, "")?;
            tap.let_go();
            let passed = tap.passed();
            s.brig_must(&["pull", &reference])?;
            let came = tap.passed() - passed;
            if came > whole - first + 2 * SLACK {
                return Err(format!(
                    "{came} bytes came down, and {} were missing",
                    whole - first
                ));
            }
            is("id", s.id(&reference)?, s.lab.fixtures.large.id())
        }),
        case("killed.pull-then-prune", &[Need::Brig], |s| {
            let tap = Tap::open(s.lab.plain.host)?;
            let reference = tap.reference("large:1");
            tap.hold_after(16 << 20);
            let mut child = begin(s, &["pull", &reference])?;
            part_of(s, 8 << 20)?;
            kill(&mut child)?;
            tap.let_go();
            s.brig_must(&["image", "prune", "-af"])?;
            s.brig_must(&["system", "check"])?;
            s.brig_must(&["pull", "-q", &reference])?;
            s.brig_must(&["rmi", &reference]).map(|_| ())
        }),
        case("killed.neighbour-goes-on", &[Need::Brig], |s| {
            // Two want the same blobs; the one that fetches them is killed, and the other takes over.
            let tap = Tap::open(s.lab.plain.host)?;
            let reference = tap.reference("large:1");
            tap.hold_after(16 << 20);
            let mut first = begin(s, &["pull", &reference])?;
            part_of(s, 8 << 20)?;
            let mut second = begin(s, &["pull", &reference])?;
            kill(&mut first)?;
            tap.let_go();
            is("exit code", wait(&mut second)?, 0)?;
            is("id", s.id(&reference)?, s.lab.fixtures.large.id())
        }),
        case("killed.load", &[Need::Brig], |s| {
            let reference = s.lab.plain.reference("debian:bookworm");
            s.brig_must(&["pull", "-q", &reference])?;
            let archive = s.path("saved.tar");
            s.brig_must(&["save", "-o", &archive, &reference])?;
            let store = s.other_store("second");
            let mut load = s.command_at(&store);
            load.args(["load", "-i", &archive]);
            let mut child = spawn(load)?;
            let seen = command::until("the load writes", patience::seconds(20), || {
                !names(&store.join("tmp")).is_empty()
                    || bytes_below(&store.join("partial")) > 0
                    || child.try_wait().is_ok_and(|s| s.is_some())
            });
            kill(&mut child)?;
            seen?;
            s.brig_must_at(&store, &["system", "check"])?;
            s.brig_must_at(&store, &["load", "-i", &archive])?;
            let id = s.brig_must_at(&store, &["image", "inspect", "--format", "{{.Id}}", &reference])?;
            is("id", id, s.lab.fixtures.debian.id())
        }),
    ]
}

/// Starts the subject in the background, in a process group of its own.
fn begin(s: &mut Scene, words: &[&str]) -> Result<Child, String> {
    let mut command = s.command();
    command.args(words);
    spawn(command)
}

fn spawn(mut command: std::process::Command) -> Result<Child, String> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("{command:?}: {e}"))
}

/// Its exit code.
fn wait(child: &mut Child) -> Result<i32, String> {
    let mut ended = None;
    command::until("the end of a command", Duration::from_secs(120), || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    })?;
    Ok(ended.map_or(-1, command::shell_code))
}

fn kill(child: &mut Child) -> Done {
    let pid = i32::try_from(child.id()).map_err(|e| e.to_string())?;
    // The whole group: helpers of a command are part of it.
    kernel::kill(-pid, 9)
        .or_else(|e| {
            if e.raw_os_error() == Some(libc::ESRCH) {
                Ok(())
            } else {
                Err(e)
            }
        })
        .map_err(|e| format!("kill: {e}"))?;
    wait(child).map(|_| ())
}

/// Waits until the downloads that are in progress have so many bytes.
fn part_of(s: &Scene, bytes: u64) -> Done {
    let partial = s.store().join("partial");
    command::until(
        &format!("{bytes} bytes of a download"),
        patience::seconds(20),
        || bytes_below(&partial) >= bytes,
    )
}

/// Bytes on disk: a file may be as long as it will be before it is filled.
fn bytes_below(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len().min(metadata.blocks() * 512))
        .sum()
}
