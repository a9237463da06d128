//! `rm`, `rename`, `container prune`.

use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};

pub(super) fn remove(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn rename(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn prune(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}
