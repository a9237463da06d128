//! Everything that a shim is judged by. Holds lists only.

mod cli;
mod end;
mod events;
mod exec;
mod group;
mod io;
mod life;
mod memory;
mod start;
mod upgrade;
mod wire;

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

/// How the cases begin that need a second shim.
pub const WITH_ANOTHER: &str = "upgrade.";

/// The cases that look at memory and its limits.
pub const LIMIT_MEMORY: [&str; 4] = [
    "life.stats",
    "life.update",
    "life.out-of-memory",
    "life.out-of-memory-once",
];

/// Every case, in the order in which they run.
pub fn all() -> Vec<Case> {
    let lists = [
        start::cases(),
        cli::cases(),
        wire::cases(),
        life::cases(),
        exec::cases(),
        io::cases(),
        events::cases(),
        group::cases(),
        end::cases(),
        upgrade::cases(),
        memory::cases(),
    ];
    lists.into_iter().flatten().collect()
}
