//! `rm`, `rename`, `container prune`.

use engine::Kind;
use engine::control::{self, Force};

use super::super::each_at_once;
use crate::choose::Choice;
use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};
use crate::terminal;
use crate::units;
use crate::workshop;

pub(super) fn remove(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.switch("link") {
        let containers = crate::workshop::containers(session)?;
        return each_at_once(session, &parsed.names(), |name| {
            engine::networks::links::remove(&containers, name)?;
            Ok(Some(name.to_owned()))
        });
    }
    let force = match parsed.switch("force") {
        true => Force::Yes,
        false => Force::No,
    };
    let volumes = parsed.switch("volumes");
    let program = session.program;
    // What a container has written may belong to ids that an ordinary user has only in a namespace. The database stays closed: on a full
    // disk it might not open.
    let containers = workshop::containers_within(session)?;
    let done = each_at_once(session, &parsed.names(), |name| {
        let name = name.strip_prefix('/').unwrap_or(name);
        let id = match containers.find_id(name) {
            // Told and no failure, as in Docker.
            Err(e) if e.kind() == Kind::NotFound && force == Force::Yes => {
                tell(&Failure::from(e).line(program));
                return Ok(None);
            }
            id => id?,
        };
        control::remove(&containers, &id, force, volumes)?;
        Ok(Some(name.to_owned()))
    });
    workshop::tidy(&containers);
    done
}

/// From any thread.
fn tell(line: &str) {
    use std::io::Write as _;
    // Nobody reads it, then.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

pub(super) fn rename(session: &Session, parsed: &Parsed) -> Outcome {
    let (old, new) = (
        parsed.operand(0).unwrap_or_default(),
        parsed.operand(1).unwrap_or_default(),
    );
    let (old, new) = (old.trim(), new.trim());
    if old.is_empty() || new.is_empty() {
        return Err(Failure::plain("Error: Neither old nor new names may be empty"));
    }
    let containers = workshop::containers(session)?;
    let id = containers.find_id(old)?;
    Ok(control::rename(&containers, &id, new)?)
}

pub(super) fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let filters = session.config().with_prune_filters(parsed.filters("filter"));
    let choice = Choice::of_age_and_labels(&filters, units::now())?;
    if !parsed.switch("force")
        && !terminal::confirm(
            session,
            "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?",
        )?
    {
        return Err(Failure::silent(0));
    }
    let (text, bytes) = prune_containers(session, &choice)?;
    session.print(&format!(
        "{text}Total reclaimed space: {}\n",
        units::size_exact(i64::try_from(bytes).unwrap_or(i64::MAX))
    ))
}

/// What was removed, in Docker's form, and the bytes.
pub(in super::super) fn prune_containers(
    session: &Session,
    choice: &Choice,
) -> Result<(String, u64), Failure> {
    let containers = workshop::containers_within(session)?;
    let (mut removed, mut bytes) = (Vec::new(), 0);
    for container in containers.list()? {
        let definition = &container.definition;
        if container.is_supervised() || !choice.accepts(&definition.created, Some(&definition.config.labels))
        {
            continue;
        }
        let size = engine::remove::size(&containers, container.id());
        match engine::remove::remove(&containers, container.id()) {
            // Started or removed by somebody else meanwhile.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            done => {
                done?;
                removed.push(container.definition.id);
                bytes += size;
            }
        }
    }
    let mut text = String::new();
    if !removed.is_empty() {
        text = format!("Deleted Containers:\n{}\n\n", removed.join("\n"));
    }
    Ok((text, bytes))
}
