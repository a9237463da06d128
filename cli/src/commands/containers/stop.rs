//! `stop`, `restart`, `kill`, `pause`, `unpause`, `wait`.

use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};

pub(super) fn stop(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn restart(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn kill(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn pause(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn unpause(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn wait(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}
