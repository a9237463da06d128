//! `export`.

use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::session::{Outcome, Session};
use crate::terminal;
use crate::workshop::Workshop;
use engine::export;
use engine::root::{self, View};
use image::replacement::Replacement;
use std::io::BufWriter;
use std::path::Path;

pub(super) const EXPORT: Command = Command {
    about: "The files of its volumes are not in it.",
    usage: "[OPTIONS] CONTAINER",
    ways: &["container export", "export"],
    count: Count::Exactly(1),
    flags: &[
        Flag::new("output", Takes::Text, "File to write instead of stdout")
            .short('o')
            .offers(Offers::Files),
    ],
    examples: &[
        "{name} export -o box.tar box",
        "{name} export box | {name} import - flat:1",
    ],
    offers: Offers::Containers,
    ..Command::new("export", "Write the files of a container to a tar archive", write)
};

fn write(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.path("output").is_none() {
        terminal::refuse_terminal(session)?;
    }
    let workshop = Workshop::open(session)?;
    let containers = workshop.containers()?;
    let container = containers.find(&parsed.operand(0).unwrap_or_default())?;
    let maker = workshop.maker(&image::progress::silent)?;
    let opened = root::open(&containers, &maker, &container, View::Own)?;
    engine::telling::tell(&containers, &container.definition, "export", &[]);
    match parsed.path("output") {
        None => {
            let out = BufWriter::with_capacity(256 << 10, std::io::stdout().lock());
            export::export(&opened.root, out, &workshop.cancel)?;
        }
        Some(path) => {
            let file = Replacement::create(Path::new(path), 0o600)?;
            let mut file = BufWriter::with_capacity(256 << 10, file);
            export::export(&opened.root, &mut file, &workshop.cancel)?;
            file.into_inner().map_err(|e| e.into_error())?.keep()?;
        }
    }
    Ok(())
}
