//! `image ls`, `inspect`, `history`, `rm`, `prune`, `tag`.

use super::{FILTER, FORMAT, FORMAT_OBJECT, NO_TRUNC, PLATFORMS, QUIET_IDS, later};
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::terminal;

pub(super) const LS: Command = Command {
    aliases: &["list"],
    about: "Filters: dangling=true, label=KEY[=VALUE], label!=KEY[=VALUE], before=IMAGE, since=IMAGE,\nreference=PATTERN, until=TIME.",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]",
    ways: &["image ls", "image list", "images"],
    count: Count::AtMost(1),
    flags: &[
        Flag::new("all", Takes::Switch(false), "List intermediate images, too").short('a'),
        Flag::new(
            "digests",
            Takes::Switch(false),
            "List the digests that registries know the images by",
        ),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET_IDS,
        Flag::new("tree", Takes::Switch(false), "Accepted for Docker's sake").hidden(),
    ],
    examples: &[
        "{name} images",
        "{name} images 'debian:1*'",
        "{name} images --filter dangling=true -q",
        "{name} images --format 'table {{.ID}}\\t{{.Repository}}\\t{{.Size}}'",
    ],
    offers: Offers::Images,
    ..Command::new("ls", "List images", list)
};

pub(super) const INSPECT: Command = Command {
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    ways: &["image inspect"],
    count: Count::AtLeast(1),
    flags: &[
        FORMAT_OBJECT,
        Flag::new(
            "platform",
            Takes::Text,
            "Of an image for several platforms, this one: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
    ],
    examples: &[
        "{name} image inspect debian:12",
        "{name} image inspect --format '{{.Config.Env}}' debian:12",
    ],
    offers: Offers::Images,
    ..Command::new("inspect", "Show all there is to know of images", inspect)
};

pub(super) const INSPECT_ANY: Command = Command {
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    ways: &["inspect"],
    flags: &[
        FORMAT_OBJECT,
        Flag::new("size", Takes::Switch(false), "Sizes of containers, too").short('s'),
        Flag::new("type", Takes::Text, "Only objects of this type").offers(Offers::Choice(&["image"])),
    ],
    examples: &["{name} inspect debian:12"],
    ..INSPECT
};

pub(super) const HISTORY: Command = Command {
    usage: "[OPTIONS] IMAGE",
    ways: &["image history", "history"],
    count: Count::Exactly(1),
    flags: &[
        FORMAT,
        Flag::new("human", Takes::Switch(true), "Print sizes and times for people").short('H'),
        NO_TRUNC,
        Flag::new(
            "platform",
            Takes::Text,
            "Of an image for several platforms, this one: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
        QUIET_IDS,
    ],
    examples: &[
        "{name} history debian:12",
        "{name} history --no-trunc --format '{{.CreatedBy}}' debian:12",
    ],
    offers: Offers::Images,
    ..Command::new("history", "Show how an image came to be", history)
};

pub(super) const RM: Command = Command {
    aliases: &["remove", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    ways: &["image rm", "image remove", "rmi"],
    count: Count::AtLeast(1),
    flags: &[
        Flag::new(
            "force",
            Takes::Switch(false),
            "Remove what has several tags, or stopped containers",
        )
        .short('f'),
        Flag::new("no-prune", Takes::Switch(false), "Keep parents without a tag"),
        Flag::new(
            "platform",
            Takes::Words,
            "Remove only the variant for this platform: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
    ],
    examples: &["{name} rmi debian:12", "{name} rmi -f 0123456789ab"],
    offers: Offers::Images,
    ..Command::new("rm", "Remove images", remove)
};

pub(super) const PRUNE: Command = Command {
    about: "Filters: until=TIME, label=KEY[=VALUE], label!=KEY[=VALUE].",
    usage: "[OPTIONS]",
    ways: &["image prune"],
    flags: &[
        Flag::new(
            "all",
            Takes::Switch(false),
            "Remove all that nothing stands on, not only those without a name",
        )
        .short('a'),
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
    ],
    examples: &["{name} image prune", "{name} image prune -af --filter until=240h"],
    ..Command::new("prune", "Remove images that nobody needs", prune)
};

pub(super) const TAG: Command = Command {
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    ways: &["image tag", "tag"],
    count: Count::Exactly(2),
    examples: &["{name} tag debian:12 registry.example.com/base:latest"],
    offers: Offers::Images,
    ..Command::new("tag", "Give an image another name", tag)
};

fn list(_: &Session, _: &Parsed) -> Outcome {
    later("images")
}

fn inspect(_: &Session, parsed: &Parsed) -> Outcome {
    crate::rows::inspect::Inspector::new(parsed.text("format").as_deref())?;
    later("inspect")
}

fn history(_: &Session, _: &Parsed) -> Outcome {
    later("history")
}

fn remove(_: &Session, _: &Parsed) -> Outcome {
    later("rmi")
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let what = if parsed.switch("all") {
        "images without at least one container associated to them"
    } else {
        "dangling images"
    };
    let question = format!("WARNING! This will remove all {what}.\nAre you sure you want to continue?");
    if !parsed.switch("force") && !terminal::confirm(session, &question)? {
        return Err(Failure::silent(0));
    }
    let _ = session.config().with_prune_filters(parsed.filters("filter"));
    later("image prune")
}

fn tag(_: &Session, _: &Parsed) -> Outcome {
    later("tag")
}
