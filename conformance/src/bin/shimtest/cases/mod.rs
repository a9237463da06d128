//! Everything that a shim is judged by. Holds lists only.

mod start;
mod task;

use crate::scene::Scene;

pub type Done = Result<(), String>;

/// One sentence about a shim.
pub struct Case {
    pub name: &'static str,
    pub act: fn(&mut Scene) -> Done,
}

const fn case(name: &'static str, act: fn(&mut Scene) -> Done) -> Case {
    Case { name, act }
}

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let mut cases = start::cases();
    cases.extend(task::cases());
    cases
}
