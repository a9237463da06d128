//! `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`.

use engine::containers::Containers;
use engine::start::Outcome as Begun;
use engine::{Kind, control, signal, start};

use super::super::each_at_once;
use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};
use crate::workshop::{self, Workshop};

/// `--signal`.
fn signal_of(parsed: &Parsed) -> Result<Option<i32>, Failure> {
    let text = parsed.text("signal").filter(|s| !s.is_empty());
    Ok(text.map(|text| signal::parse(&text)).transpose()?)
}

/// `--timeout`, or as it was called once.
fn timeout_of(parsed: &Parsed) -> Result<Option<i64>, Failure> {
    match (parsed.was_given("timeout"), parsed.was_given("time")) {
        (true, true) => Err(Failure::plain(
            "conflicting options: cannot specify both --timeout and --time",
        )),
        (true, false) => Ok(parsed.int("timeout")),
        (false, true) => Ok(parsed.int("time")),
        (false, false) => Ok(None),
    }
}

/// Does the same to each container that is named, several at a time; the names are printed as they were typed.
fn to_each(
    session: &Session,
    parsed: &Parsed,
    work: impl Fn(&Containers, &str) -> Result<(), Failure> + Sync,
) -> Outcome {
    let containers = workshop::containers(session)?;
    let done = each_at_once(session, &parsed.names(), |name| {
        let id = containers.find_id(name)?;
        work(&containers, &id)?;
        Ok(Some(name.to_owned()))
    });
    workshop::tidy(&containers);
    done
}

pub(super) fn stop(session: &Session, parsed: &Parsed) -> Outcome {
    let (signal, timeout) = (signal_of(parsed)?, timeout_of(parsed)?);
    to_each(session, parsed, |containers, id| {
        if let Some(why) = control::stop_and_tell(containers, id, signal, timeout)? {
            use std::io::Write as _;
            // Nobody reads it, then.
            let _ = writeln!(std::io::stderr().lock(), "WARNING: {why}");
        }
        Ok(())
    })
}

pub(super) fn restart(session: &Session, parsed: &Parsed) -> Outcome {
    let (signal, timeout) = (signal_of(parsed)?, timeout_of(parsed)?);
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    each_at_once(session, &parsed.names(), |name| {
        let id = containers.find_id(name)?;
        if !control::restart(&containers, &id, signal, timeout)? {
            match start::start(
                &containers,
                &workshop.store,
                &|image| workshop.layers(image),
                &id,
                None,
            ) {
                Ok(Begun::Started(_) | Begun::Running) => {}
                Err(failure) => return Err(failure.error.into()),
            }
        }
        Ok(Some(name.to_owned()))
    })
}

pub(super) fn kill(session: &Session, parsed: &Parsed) -> Outcome {
    let signal = signal_of(parsed)?.unwrap_or(libc::SIGKILL);
    to_each(session, parsed, |containers, id| {
        Ok(control::kill(containers, id, signal)?)
    })
}

pub(super) fn pause(session: &Session, parsed: &Parsed) -> Outcome {
    to_each(session, parsed, |containers, id| {
        Ok(control::pause(containers, id)?)
    })
}

pub(super) fn unpause(session: &Session, parsed: &Parsed) -> Outcome {
    to_each(session, parsed, |containers, id| {
        Ok(control::unpause(containers, id)?)
    })
}

pub(super) fn wait(session: &Session, parsed: &Parsed) -> Outcome {
    let containers = workshop::containers(session)?;
    each_at_once(session, &parsed.names(), |name| {
        let id = containers.find_id(name)?;
        match control::wait(&containers, &id) {
            Ok(code) => Ok(Some(code.to_string())),
            // Removed at its end, before we had asked how it ended.
            Err(e) if e.kind() == Kind::NotFound => Ok(Some("0".to_owned())),
            Err(e) => Err(e.into()),
        }
    })
}
