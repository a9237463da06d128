//! `save`, `load`, `import`.

use super::{PLATFORMS, later};
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::terminal;

pub(super) const SAVE: Command = Command {
    about: "A repository without a tag stands for all its tags.",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    ways: &["image save", "save"],
    count: Count::AtLeast(1),
    flags: &[
        Flag::new("output", Takes::Text, "File to write instead of stdout")
            .short('o')
            .offers(Offers::Files),
        Flag::new(
            "platform",
            Takes::Words,
            "Only the variants for these platforms: os[/arch[/variant]],...",
        )
        .offers(PLATFORMS),
    ],
    examples: &[
        "{name} save -o debian.tar debian:12",
        "{name} save debian:12 alpine | zstd > base.tar.zst",
    ],
    offers: Offers::Images,
    ..Command::new("save", "Write images to a tar archive", save)
};

pub(super) const LOAD: Command = Command {
    usage: "[OPTIONS]",
    ways: &["image load", "load"],
    flags: &[
        Flag::new("input", Takes::Text, "File to read instead of stdin")
            .short('i')
            .offers(Offers::Files),
        Flag::new(
            "platform",
            Takes::Words,
            "Only the variants for these platforms: os[/arch[/variant]],...",
        )
        .offers(PLATFORMS),
        Flag::new("quiet", Takes::Switch(false), "Do not show progress").short('q'),
    ],
    examples: &["{name} load -i debian.tar", "{name} load < debian.tar.gz"],
    ..Command::new("load", "Read images from a tar archive", load)
};

pub(super) const IMPORT: Command = Command {
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    ways: &["image import", "import"],
    count: Count::AtLeast(1),
    flags: &[
        Flag::new(
            "change",
            Takes::List,
            "Apply an instruction of a Dockerfile to the image",
        )
        .short('c'),
        Flag::new("message", Takes::Text, "Comment for the history of the image").short('m'),
        Flag::new(
            "platform",
            Takes::Text,
            "What the image is for: os[/arch[/variant]]",
        )
        .offers(PLATFORMS),
    ],
    examples: &[
        "debootstrap --variant=minbase bookworm root && tar -C root -c . | {name} import - debian:mine",
    ],
    offers: Offers::Files,
    ..Command::new(
        "import",
        "Make an image of a tar archive of a root file system",
        import,
    )
};

fn save(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.path("output").is_none() {
        terminal::refuse_terminal(session)?;
    }
    later("save")
}

fn load(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.path("input").is_none() && session.in_is_terminal() {
        return Err(Failure::plain("requested load from stdin, but stdin is empty"));
    }
    later("load")
}

fn import(_: &Session, _: &Parsed) -> Outcome {
    later("import")
}
