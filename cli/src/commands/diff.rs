//! `diff`.

use crate::command::{Command, Count};
use crate::flags::{Offers, Parsed};
use crate::session::{Failure, Outcome, Session};
use crate::workshop::Workshop;
use engine::diff;

pub(super) const DIFF: Command = Command {
    about: "A is what was added, C what has changed, D what was deleted.",
    usage: "CONTAINER",
    ways: &["container diff", "diff"],
    count: Count::Exactly(1),
    examples: &["{name} diff web"],
    offers: Offers::Containers,
    ..Command::new("diff", "Show what a container has changed of its image", show)
};

fn show(session: &Session, parsed: &Parsed) -> Outcome {
    let name = parsed.operand(0).unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::plain("Container name cannot be empty"));
    }
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    let container = containers.find(&name)?;
    let changes = diff::of(
        &containers,
        &workshop.maker(&image::progress::silent)?,
        &container,
    )?;
    let mut text = String::new();
    for (path, kind) in changes {
        text.push_str(&format!("{kind} {}\n", String::from_utf8_lossy(&path)));
    }
    session.print(&text)
}
