//! `inspect`, `container inspect`.

use crate::flags::Parsed;
use crate::session::{Failure, Outcome, Session};

pub(super) fn containers(_: &Session, _: &Parsed) -> Outcome {
    Err(Failure::plain("not yet"))
}

pub(super) fn any(session: &Session, parsed: &Parsed) -> Outcome {
    super::super::images::inspect_any(session, parsed)
}
