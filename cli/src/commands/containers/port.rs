//! `port`.

use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};

pub(super) fn port(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}
