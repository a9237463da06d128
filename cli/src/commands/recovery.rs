//! What `system check` says of containers, and `system start` and `system stop`, which a machine calls when it starts and ends.

use engine::containers::Containers;
use engine::recovery::{self, Finding};
use engine::{control, start};

use crate::command::Command;
use crate::flags::{Flag, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::workshop::{self, Workshop};

pub(super) const START: Command = Command {
    about: "Those with --restart always, and with unless-stopped or on-failure those that nobody has stopped.\nThe unit brig.service calls it when the machine has started.",
    ways: &["system start"],
    examples: &["{name} system start"],
    ..Command::new(
        "start",
        "Start the containers that their restart policies ask for",
        start_all,
    )
};

pub(super) const STOP: Command = Command {
    about: "They count as running: system start starts them again.\nThe unit brig.service calls it when the machine ends.",
    usage: "[OPTIONS]",
    ways: &["system stop"],
    flags: &[Flag::new(
        "timeout",
        Takes::Int,
        "Seconds until they are killed; their own, if not given",
    )
    .short('t')],
    examples: &["{name} system stop -t 30"],
    ..Command::new("stop", "Stop all containers, to go on later", stop_all)
};

/// Tells what is left of kills and reboots. How much of it is damage.
pub(super) fn tell(session: &Session, containers: &Containers) -> Result<usize, Failure> {
    let findings = recovery::check(containers)?;
    for finding in &findings {
        session.print(&format!("{finding}\n"))?;
    }
    Ok(findings.iter().filter(|finding| is_damage(finding)).count())
}

/// What only the records do not know yet is true all the same, and a container without its monitor runs.
fn is_damage(finding: &Finding) -> bool {
    !matches!(finding, Finding::Ended { .. } | Finding::Unsupervised { .. })
}

/// Mends it. How many there were, and how many could not be mended.
pub(super) fn mend(session: &Session, containers: &Containers) -> Result<(usize, usize), Failure> {
    let findings = recovery::check(containers)?;
    let mut failed = 0;
    for finding in &findings {
        let words = match recovery::repair(containers, finding) {
            Ok(Some(done)) => done,
            Ok(None) if is_damage(finding) => {
                failed += 1;
                "not mended".to_owned()
            }
            Ok(None) => "left alone".to_owned(),
            Err(e) => {
                failed += 1;
                format!("not mended: {e}")
            }
        };
        session.print(&format!("{finding}: {words}\n"))?;
    }
    Ok((findings.len(), failed))
}

fn start_all(session: &Session, _: &Parsed) -> Outcome {
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    for finding in recovery::check(&containers)? {
        recovery::repair(&containers, &finding)?;
    }
    let mut failed = Vec::new();
    for container in recovery::to_start(&containers)? {
        let make = |image: &image::store::Image| workshop.layers(image);
        let name = &container.definition.name;
        match start::start(&containers, &workshop.store, &make, container.id(), None) {
            Ok(_) => session.print(&format!("{name}\n"))?,
            Err(failure) => {
                session.warn(&Failure::from(failure.error).line(session.program));
                failed.push(name.clone());
            }
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::plain(format!(
            "failed to start containers: {}",
            failed.join(", ")
        ))),
    }
}

fn stop_all(session: &Session, parsed: &Parsed) -> Outcome {
    let containers = workshop::containers(session)?;
    let timeout = parsed
        .was_given("timeout")
        .then(|| parsed.int("timeout"))
        .flatten();
    let running = containers.list()?.into_iter().filter(|c| c.is_supervised());
    let names: Vec<String> = running.map(|c| c.definition.name).collect();
    super::each_at_once(session, &names, |name| {
        let id = containers.find_id(name)?;
        control::suspend(&containers, &id, timeout)?;
        Ok(Some(name.to_owned()))
    })
}
