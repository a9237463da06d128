//! What a shim may take of the machine's memory.

use super::{Case, case};
use crate::memory::{LIMITS, of};

pub fn cases() -> Vec<Case> {
    vec![case("memory.idle", |s| {
        let c = s.boot("box", "exec sleep 600")?;
        c.start()?;
        let figures = of(c.task.shim_pid("box")?)?;
        if figures.anonymous > LIMITS.anonymous || figures.resident > LIMITS.resident {
            return Err(format!(
                "{} KiB anonymous of at most {}, {} KiB resident of at most {}",
                figures.anonymous, LIMITS.anonymous, figures.resident, LIMITS.resident
            ));
        }
        c.finish(s)
    })]
}
