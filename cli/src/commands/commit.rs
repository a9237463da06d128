//! `commit`.

use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Order, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::workshop::Workshop;
use engine::commit::{self, Wanted};
use image::reference::Reference;

pub(super) const COMMIT: Command = Command {
    about: "What it has changed becomes a layer over those of its image. Volumes are not in it. Its processes stand still meanwhile.\n\nInstructions that change the image: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME,\nWORKDIR.",
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    ways: &["container commit", "commit"],
    count: Count::Between(1, 2),
    order: Order::UntilFirstOperand,
    flags: &[
        Flag::new("author", Takes::Text, "Author: \"Name <mail@example.com>\"").short('a'),
        Flag::new(
            "change",
            Takes::List,
            "Apply an instruction of a Dockerfile to the image",
        )
        .short('c'),
        Flag::new("message", Takes::Text, "Comment for the history of the image").short('m'),
        Flag::new(
            "no-pause",
            Takes::Switch(false),
            "Let its processes go on meanwhile",
        ),
        Flag::new("pause", Takes::Switch(true), "")
            .short('p')
            .deprecated("and enabled by default. Use --no-pause to disable pausing during commit."),
    ],
    examples: &[
        "{name} commit box mine:1",
        "{name} commit -m 'with tools' -c 'CMD [\"bash\"]' box mine:2",
    ],
    offers: Offers::Containers,
    ..Command::new("commit", "Make an image of a container", make)
};

fn make(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.was_given("pause") && parsed.was_given("no-pause") {
        return Err(Failure::plain(
            "conflicting options: --no-pause and --pause cannot be used together",
        ));
    }
    let reference = parsed
        .operand(1)
        .filter(|name| !name.is_empty())
        .map(|name| name.parse::<Reference>())
        .transpose()
        .map_err(|e| Failure::plain(e.to_string()))?;
    if reference.as_ref().is_some_and(|r| r.digest().is_some()) {
        return Err(Failure::plain("cannot commit to digest reference"));
    }
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    let container = containers.find(&parsed.operand(0).unwrap_or_default())?;
    let (author, message) = (parsed.text("author"), parsed.text("message"));
    let changes = parsed.list("change");
    let wanted = Wanted {
        reference: reference.as_ref(),
        author: author.as_deref(),
        message: message.as_deref(),
        changes: &changes,
        pause: parsed.switch("pause") && !parsed.switch("no-pause"),
    };
    let id = commit::commit(
        &containers,
        &workshop.maker(&image::progress::silent)?,
        &container,
        &wanted,
    )?;
    session.print(&format!("{id}\n"))
}
