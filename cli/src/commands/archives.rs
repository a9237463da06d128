//! `save`, `load`, `import`.

use super::PLATFORMS;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::progress::Display;
use crate::session::{Failure, Outcome, Session};
use crate::terminal;
use crate::workshop::{self, Workshop};
use image::archive::{self, Import};
use image::oci::RunConfig;
use image::platform::Platform;
use image::progress;
use image::reference::Reference;
use image::replacement::Replacement;
use std::fs::File;
use std::io::{BufWriter, Read};
use std::path::Path;

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
    let platform = one_platform(parsed)?;
    let workshop = Workshop::open(session)?;
    let store = &workshop.store;
    let lease = store.lease()?;
    let chosen = archive::choose(store, &parsed.names(), platform.as_ref())?;
    for saved in &chosen {
        lease.hold_blobs(&store.blob_keys(&saved.manifest)?)?;
    }
    match parsed.path("output") {
        None => archive::save(store, &chosen, &mut std::io::stdout().lock(), &workshop.cancel)?,
        Some(path) => {
            let file = Replacement::create(Path::new(path), 0o600)?;
            let mut file = BufWriter::with_capacity(256 << 10, file);
            archive::save(store, &chosen, &mut file, &workshop.cancel)?;
            file.into_inner().map_err(|e| e.into_error())?.keep()?;
        }
    }
    Ok(())
}

fn load(session: &Session, parsed: &Parsed) -> Outcome {
    if parsed.path("input").is_none() && session.in_is_terminal() {
        return Err(Failure::plain("requested load from stdin, but stdin is empty"));
    }
    let platform = one_platform(parsed)?;
    // Before the store: a name that is wrong changes nothing.
    let mut source: Box<dyn Read + Send> = match parsed.path("input") {
        None => Box::new(std::io::stdin()),
        Some(path) => Box::new(open(Path::new(path))?),
    };
    let workshop = Workshop::open(session)?;
    let display = Display::new(std::io::stdout(), parsed.switch("quiet"));
    let loaded = archive::load(
        &workshop.maker(&|event| workshop::show(&display, event))?,
        &mut source,
        platform.as_ref(),
    );
    display.finish();
    for image in loaded? {
        if image.names.is_empty() {
            session.print(&format!("Loaded image ID: {}\n", image.image))?;
        }
        for name in &image.names {
            session.print(&format!("Loaded image: {}\n", name.familiar()))?;
        }
    }
    Ok(())
}

/// Of the platforms that were asked for, the only one.
fn one_platform(parsed: &Parsed) -> Result<Option<Platform>, Failure> {
    match parsed.list("platform").as_slice() {
        [] => Ok(None),
        [one] => workshop::platform(Some(one.clone())),
        _ => Err(Failure::plain(
            "only one platform at a time: the store keeps one image under a name",
        )),
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path)
        .map_err(|e| Failure::plain(format!("open {}: {}", path.display(), image::Error::from(e))))
}

fn import(session: &Session, parsed: &Parsed) -> Outcome {
    let source = parsed.operand(0).unwrap_or_default();
    let reference = parsed
        .operand(1)
        .map(|name| name.parse::<Reference>())
        .transpose()
        .map_err(|e| Failure::plain(e.to_string()))?;
    if reference.as_ref().is_some_and(|r| r.digest().is_some()) {
        return Err(Failure::plain("cannot import digest reference"));
    }
    let platform = workshop::platform(parsed.text("platform"))?;
    let mut config = RunConfig::default();
    engine::change::apply_all(&mut config, &parsed.list("change"))?;
    // Before the store: a name that is wrong changes nothing.
    let local: Option<Box<dyn Read + Send>> = match source.as_str() {
        "-" => Some(Box::new(std::io::stdin())),
        address if address.starts_with("http://") || address.starts_with("https://") => None,
        path => Some(Box::new(open(Path::new(path))?)),
    };
    let workshop = Workshop::open(session)?;
    let (mut from, source): (Box<dyn Read + Send>, String) = match local {
        Some(from) => (from, source),
        None => {
            let file = workshop.client(session.credentials())?.web_file(&source)?;
            let address = file.address();
            (Box::new(file), address)
        }
    };
    let id = archive::import(
        &workshop.maker(&progress::silent)?,
        &mut from,
        &Import {
            reference: reference.as_ref(),
            source: &source,
            message: parsed.text("message").as_deref(),
            config,
            platform: platform.unwrap_or_else(Platform::host),
        },
    )?;
    session.print(&format!("{id}\n"))
}
