//! `run`, `create`, `start`, `attach`.

use crate::flags::Parsed;
use crate::run::parse;
use crate::session::{Failure, Outcome, Session};

pub(super) fn run(session: &Session, parsed: &Parsed) -> Outcome {
    parse(session, parsed)?;
    Err(Failure::plain("not yet"))
}

pub(super) fn create(session: &Session, parsed: &Parsed) -> Outcome {
    parse(session, parsed)?;
    Err(Failure::plain("not yet"))
}

pub(super) fn start(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn attach(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}
