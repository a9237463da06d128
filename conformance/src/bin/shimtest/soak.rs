//! Very many execs in one shim, which must not grow by them.
//!
//! May not: look at times; a slow machine is no leak.

use std::process::ExitCode;
use std::time::Instant;

use crate::command;
use crate::measure::exec;
use crate::memory::{self, Figures};
use crate::scene::{Lab, Scene, soon};

/// Execs after which a shim has all that it keeps for the next ones.
const WARM_UP: usize = 200;

/// What a shim may keep of a moment in which much came together, in KiB; an allocator need not give it back. Four bytes
/// that are lost with each exec are more.
const SLACK: u64 = 64;
/// The same for the second half, in which there is nothing new.
const SLACK_OF_HALF: u64 = 16;

/// Runs the loop; the exit code says whether the shim had grown after it.
pub fn run(lab: &Lab, execs: usize) -> Result<ExitCode, String> {
    let scene = Scene::open(lab)?;
    let container = scene.boot("box", "exec sleep 86400")?;
    container.start()?;
    let shim = container.task.shim_pid("box")?;
    for n in 0..WARM_UP {
        exec(&container, &format!("warm{n}"))?;
    }
    let before = memory::of(shim)?;
    tell("before", &before);
    let mut half = before;
    let began = Instant::now();
    for n in 1..=execs {
        exec(&container, &format!("probe{n}"))?;
        if n % (execs / 4).max(1) == 0 {
            tell(&format!("after {n}"), &memory::of(shim)?);
        }
        if n == execs / 2 {
            half = memory::of(shim)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "execs over ttrpc: {execs} in {seconds:.0} s, {:.1} ms each",
        seconds * 1e3 / execs as f64
    );
    // The last exec's child may still be about to be collected.
    let grown = command::until("it is as it was", soon(), || {
        memory::of(shim)
            .is_ok_and(|now| has_not_grown(&before, &now, SLACK) && has_not_grown(&half, &now, SLACK_OF_HALF))
    });
    let after = memory::of(shim)?;
    tell("in the end", &after);
    grown.map_err(|_| format!("the shim has grown: {before:?}, then {half:?}, then {after:?}"))?;
    every_exit_once(&scene, WARM_UP + execs)?;
    container.finish(&scene)?;
    println!("ok   the shim has not grown, and told of each exit once");
    Ok(ExitCode::SUCCESS)
}

fn tell(when: &str, figures: &Figures) {
    println!(
        "  {when:<14} anonymous {} KiB, resident {} KiB, {} threads, {} descriptors",
        figures.anonymous, figures.resident, figures.threads, figures.descriptors
    );
}

fn has_not_grown(before: &Figures, after: &Figures, slack: u64) -> bool {
    after.anonymous <= before.anonymous + slack
        && after.resident <= before.resident + slack
        && after.threads <= before.threads
        && after.descriptors <= before.descriptors
}

fn every_exit_once(scene: &Scene, execs: usize) -> Result<(), String> {
    let mut told = 0;
    let all = command::until("all exits are told", soon(), || {
        let story = scene.daemon.story("box");
        told = story.iter().filter(|event| event.starts_with("exit:")).count();
        told >= execs
    });
    all.and_then(|()| {
        let mut names = scene.daemon.story("box");
        names.retain(|event| event.starts_with("exit:"));
        names.sort_unstable();
        names.dedup();
        if names.len() == told && told == execs {
            Ok(())
        } else {
            Err(String::new())
        }
    })
    .map_err(|_| format!("{execs} execs ended, and {told} exits were told"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_more_than_a_few_pages() {
        let before = Figures {
            anonymous: 100,
            resident: 1000,
            proportional: 0,
            threads: 1,
            descriptors: 12,
        };
        let is_fine = |after: Figures| has_not_grown(&before, &after, 16);
        assert!(is_fine(Figures {
            resident: 1016,
            ..before
        }));
        assert!(!is_fine(Figures {
            anonymous: 120,
            ..before
        }));
        assert!(!is_fine(Figures {
            descriptors: 13,
            ..before
        }));
        assert!(!is_fine(Figures { threads: 2, ..before }));
    }
}
