//! `pull` and `push`.

use super::{PLATFORMS, later};
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use image::reference::Reference;

const TRUST: Flag = Flag::new(
    "disable-content-trust",
    Takes::Switch(true),
    "Accepted for old scripts",
)
.deprecated("support for docker content trust was removed");

pub(super) const PULL: Command = Command {
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    ways: &["image pull", "pull"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new(
            "all-tags",
            Takes::Switch(false),
            "Pull every tag of the repository",
        )
        .short('a'),
        TRUST,
        Flag::new(
            "platform",
            Takes::Text,
            "Pull the image for this platform: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
        Flag::new(
            "quiet",
            Takes::Switch(false),
            "Print the name of the image and nothing else",
        )
        .short('q'),
    ],
    examples: &[
        "{name} pull debian:12",
        "{name} pull -q --platform linux/arm64 alpine@sha256:...",
    ],
    offers: Offers::Images,
    ..Command::new("pull", "Fetch an image from a registry", pull)
};

pub(super) const PUSH: Command = Command {
    usage: "[OPTIONS] NAME[:TAG]",
    ways: &["image push", "push"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new(
            "all-tags",
            Takes::Switch(false),
            "Push every tag of the repository",
        )
        .short('a'),
        TRUST,
        Flag::new(
            "platform",
            Takes::Text,
            "Push the manifest of this platform alone instead of the index: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
        Flag::new(
            "quiet",
            Takes::Switch(false),
            "Print the name of the image and nothing else",
        )
        .short('q'),
    ],
    examples: &["{name} push registry.example.com/team/app:1.2"],
    offers: Offers::Images,
    ..Command::new("push", "Send an image to a registry", push)
};

/// What the user has named, and whether the tag was ours.
fn reference(session: &Session, parsed: &Parsed) -> Result<Reference, Failure> {
    let text = parsed.operand(0).unwrap_or_default();
    let reference: Reference = text
        .parse()
        .map_err(|e: image::Error| Failure::plain(e.to_string()))?;
    let bare = reference.tag().is_none() && reference.digest().is_none();
    if parsed.switch("all-tags") {
        if !bare {
            return Err(Failure::plain("tag can't be used with --all-tags/-a"));
        }
        return Ok(reference);
    }
    if bare && !parsed.switch("quiet") {
        session.print("Using default tag: latest\n")?;
    }
    Ok(reference.or_latest())
}

fn pull(session: &Session, parsed: &Parsed) -> Outcome {
    let _ = reference(session, parsed)?;
    later("pull")
}

fn push(session: &Session, parsed: &Parsed) -> Outcome {
    let _ = reference(session, parsed)?;
    later("push")
}
