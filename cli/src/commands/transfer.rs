//! `pull` and `push`.

use super::PLATFORMS;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::progress::Display;
use crate::session::{Failure, Outcome, Session};
use crate::workshop::{self, Workshop};
use image::platform::Platform;
use image::pull::{Freshness, Puller};
use image::push::Pusher;
use image::reference::Reference;
use image::registry::Client;

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
    let reference = reference(session, parsed)?;
    let platform = workshop::platform(parsed.text("platform"))?;
    let workshop = Workshop::open(session)?;
    if let Some(why) = &workshop.single_owner {
        session.warn(&format!("WARNING: all files will belong to one user: {why}"));
    }
    let client = workshop.client(session.credentials())?;
    let quiet = parsed.switch("quiet");
    if !parsed.switch("all-tags") {
        let display = Display::new(std::io::stdout(), quiet);
        let freshness = pull_one(
            session,
            &workshop,
            &client,
            platform.as_ref(),
            &reference,
            &display,
        )?;
        return tell_end(
            session,
            freshness,
            &reference.familiar(),
            &reference.to_string(),
            quiet,
        );
    }
    let repository = reference.repository();
    let mut freshness = Freshness::UpToDate;
    for tag in client.tags(repository)? {
        let tagged = repository.tagged(&tag)?;
        let display = Display::new(std::io::stdout(), quiet);
        let pulled = pull_one(session, &workshop, &client, platform.as_ref(), &tagged, &display)?;
        if pulled == Freshness::Downloaded {
            freshness = Freshness::Downloaded;
        }
    }
    tell_end(
        session,
        freshness,
        &repository.familiar(),
        &repository.to_string(),
        quiet,
    )
}

fn tell_end(session: &Session, freshness: Freshness, familiar: &str, full: &str, quiet: bool) -> Outcome {
    if !quiet {
        session.print(&format!("Status: {} {familiar}\n", told(freshness)))?;
    }
    session.print(&format!("{full}\n"))
}

fn told(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Downloaded => "Downloaded newer image for",
        Freshness::UpToDate => "Image is up to date for",
    }
}

/// For a container: what is told of it is not the container's output, so it goes to stderr.
pub(super) fn pull_for_run(
    session: &Session,
    workshop: &Workshop,
    name: &str,
    platform: Option<&Platform>,
    quiet: bool,
) -> Outcome {
    let reference: Reference = name.parse()?;
    let reference = reference.or_latest();
    let client = workshop.client(session.credentials())?;
    let display = Display::new(std::io::stderr(), quiet);
    let freshness = pull_one(session, workshop, &client, platform, &reference, &display)?;
    display.note(&format!("Status: {} {}", told(freshness), reference.familiar()));
    Ok(())
}

fn pull_one<W: std::io::Write + Send>(
    session: &Session,
    workshop: &Workshop,
    client: &Client,
    platform: Option<&Platform>,
    reference: &Reference,
    display: &Display<W>,
) -> Result<Freshness, Failure> {
    let which = match (reference.digest(), reference.tag()) {
        (Some(_), _) => reference.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    };
    // Not before it is known that there is something to pull.
    let announced = std::sync::Once::new();
    let announce = || {
        announced.call_once(|| {
            display.note(&format!(
                "{which}: Pulling from {}",
                reference.repository().path()
            ))
        })
    };
    let pulled = Puller {
        maker: &workshop.maker(&|event| {
            announce();
            workshop::show(display, event);
        })?,
        client,
        platform,
        at_once: workshop.settings.parallel(),
    }
    .pull(reference);
    display.finish();
    let pulled = pulled?;
    announce();
    display.note(&format!("Digest: {}", pulled.target));
    for image in image::evict::keep_within(&workshop.store, &workshop.settings, &pulled.image)? {
        session.warn(&format!(
            "removed image {}: the store had outgrown its limit",
            image.id.short()
        ));
    }
    Ok(pulled.freshness)
}

fn push(session: &Session, parsed: &Parsed) -> Outcome {
    let reference = reference(session, parsed)?;
    if reference.digest().is_some() {
        return Err(Failure::plain("cannot push a digest reference"));
    }
    // As in Docker, the environment does not choose what others will pull.
    let platform: Option<Platform> = parsed
        .text("platform")
        .map(|text| text.parse())
        .transpose()
        .map_err(|e: image::Error| Failure::plain(e.to_string()))?;
    let workshop = Workshop::open(session)?;
    let client = workshop.client(session.credentials())?;
    let quiet = parsed.switch("quiet");
    let display = Display::new(std::io::stdout(), quiet);
    let repository = reference.repository();
    display.note(&format!("The push refers to repository [{repository}]"));
    let pusher = Pusher {
        store: &workshop.store,
        client: &client,
        cancel: &workshop.cancel,
        listener: &|event| workshop::show(&display, event),
        at_once: workshop.settings.parallel(),
    };
    let pushed = if parsed.switch("all-tags") {
        pusher.push_all(repository, platform.as_ref())
    } else {
        pusher.push(&reference, platform.as_ref()).map(|one| vec![one])
    };
    display.finish();
    let pushed = pushed?;
    for one in &pushed {
        let tag = one.reference.tag().unwrap_or("latest");
        display.note(&format!("{tag}: digest: {} size: {}", one.digest, one.size));
        if quiet {
            session.print(&format!("{}\n", one.reference))?;
        }
    }
    for one in pushed {
        if let Some(index) = one.instead_of {
            display.note(&format!(
                "\n{INFO}{LESS_WAS_PUSHED}\n{MARGIN}{index} -> {}",
                one.digest
            ));
        }
    }
    Ok(())
}

/// How Docker begins a note, and the room below it.
const INFO: &str = " Info -> ";
const MARGIN: &str = "         ";
const LESS_WAS_PUSHED: &str =
    "Not all multiplatform-content is present and only the available single-platform image was pushed";
