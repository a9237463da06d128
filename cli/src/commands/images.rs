//! `image ls`, `inspect`, `history`, `rm`, `prune`, `tag`.

use super::{FILTER, FORMAT, FORMAT_OBJECT, NO_TRUNC, PLATFORMS, QUIET_IDS};
use crate::choose::Choice;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes};
use crate::rows::inspect::Inspector;
use crate::rows::{history, images, inspect};
use crate::session::{Failure, Outcome, Session};
use crate::template::quote;
use crate::workshop::{self, Workshop};
use crate::{terminal, units};
use image::Kind;
use image::oci::{Descriptor, media};
use image::platform::Platform;
use image::reference::Reference;
use image::remove::{Force, Gone, Prune};
use image::store::Store;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

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

/// What a list may be filtered by.
const FILTERS: [&str; 7] = [
    "dangling",
    "label",
    "label!",
    "before",
    "since",
    "reference",
    "until",
];
/// What a prune may be filtered by.
pub(super) const PRUNE_FILTERS: [&str; 4] = ["dangling", "label", "label!", "until"];

fn list(session: &Session, parsed: &Parsed) -> Outcome {
    let now = units::now();
    let store = workshop::open_store(session)?;
    let mut choice = Choice::of(&parsed.filters("filter"), &FILTERS, &store, now)?;
    let pattern = parsed.operand(0).filter(|p| !p.is_empty());
    choice.patterns.extend(pattern.clone());
    let images = rows_of(&store, &choice, parsed.switch("all"))?;
    let config = session.config();
    let own = Some(config.images_format.as_str()).filter(|f| !f.is_empty() && !parsed.switch("quiet"));
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let look = images::Look {
        format: format.as_deref().or(own),
        quiet: parsed.switch("quiet"),
        no_trunc: parsed.switch("no-trunc"),
        digests: parsed.switch("digests"),
        now,
    };
    session.print(&images::list(&images, look)?)?;
    if let Some(name) = pattern.filter(|_| images.is_empty() && session.called == "images") {
        // `images ls` looks for an image called ls.
        if super::ROOT
            .find("image")
            .and_then(|group| group.find(&name))
            .is_some()
        {
            session.warn(&format!(
                "No images found matching {}: did you mean \"{} image {name}\"?",
                quote(&name),
                session.program.name()
            ));
        }
    }
    Ok(())
}

/// The images that were meant, those that were created last first.
pub(super) fn rows_of(store: &Store, choice: &Choice, all: bool) -> Result<Vec<images::Image>, Failure> {
    let (names, pins) = (store.names()?, store.pins()?);
    let every = store.images()?;
    let mut rows = Vec::new();
    for image in &every {
        // A damaged configuration is `system check`'s to tell; the image is there all the same.
        let config = store
            .config(&image.id)
            .map(|(config, _)| config)
            .unwrap_or_default();
        let own_tags = names.iter().filter(|n| n.image == image.id).map(|n| &n.reference);
        let own_pins = pins
            .iter()
            .filter(|p| p.image == image.id)
            .map(|p| (p.repository.with_digest(p.target.clone()), p.target.to_string()));
        let (own_tags, own_pins): (Vec<_>, Vec<_>) = (own_tags.collect(), own_pins.collect());
        let is_dangling = own_tags.is_empty();
        let is_intermediate =
            is_dangling && own_pins.is_empty() && every.iter().any(|i| i.parent.as_ref() == Some(&image.id));
        if !choice.takes(&config)
            || choice.dangling.is_some_and(|d| d != is_dangling)
            || (is_intermediate && !all)
        {
            continue;
        }
        let tags: Vec<(String, String)> = own_tags
            .into_iter()
            .filter(|r| choice.names(r))
            .map(|r| (r.repository().familiar(), r.tag().unwrap_or_default().to_owned()))
            .collect();
        let digests: Vec<(String, String)> = own_pins
            .into_iter()
            .filter(|(r, _)| choice.names(r))
            .map(|(r, digest)| (r.repository().familiar(), digest))
            .collect();
        if !choice.patterns.is_empty() && tags.is_empty() && digests.is_empty() {
            continue;
        }
        rows.push(images::Image {
            id: image.id.to_string(),
            tags,
            digests,
            created: config.created.as_deref().and_then(units::parse_time),
            size: signed(image.size),
            ..images::Image::default()
        });
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.created));
    Ok(rows)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn inspect(session: &Session, parsed: &Parsed) -> Outcome {
    let inspector = Inspector::new(parsed.text("format").as_deref())?;
    let platform = parsed
        .text("platform")
        .map(|p| p.parse::<Platform>())
        .transpose()
        .map_err(|e| Failure::plain(e.to_string()))?;
    let store = workshop::open_store(session)?;
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in parsed.names() {
        match document(&store, &name, platform.as_ref()) {
            Ok(image) => objects.push(inspect::image(&image)),
            Err(e) => errors.push(Failure::from(e).line(session.program)),
        }
    }
    session.print(&inspector.show(&objects, &mut errors))?;
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(errors.join("\n")))
}

pub(super) fn document(
    store: &Store,
    name: &str,
    platform: Option<&Platform>,
) -> image::Result<inspect::Image> {
    let image = store.find_image(name)?;
    let (config, _) = store.config(&image.id)?;
    let own = config.platform();
    if let Some(wanted) = platform
        && wanted.rank(&own).is_none()
    {
        return Err(image::Error::not_found(format!(
            "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {own}"
        )));
    }
    let (manifest, bytes) = store.manifest(&image.manifest)?;
    let names = store.names()?;
    let tags = names.iter().filter(|n| n.image == image.id);
    let last_tag = tags.clone().map(|n| n.updated).max();
    let driver = driver(store, &image)?;
    Ok(inspect::Image {
        id: image.id.to_string(),
        repo_tags: tags.map(|n| n.reference.familiar()).collect(),
        repo_digests: store
            .pins()?
            .into_iter()
            .filter(|p| p.image == image.id)
            .map(|p| p.repository.with_digest(p.target).familiar())
            .collect(),
        size: signed(image.size),
        descriptor: Some(Descriptor {
            media_type: manifest
                .media_type
                .unwrap_or_else(|| media::OCI_MANIFEST.to_owned()),
            digest: image.manifest,
            size: bytes.len() as u64,
            urls: Vec::new(),
            annotations: manifest.annotations,
            platform: None,
            artifact_type: None,
        }),
        last_tag_time: last_tag.map(nanoseconds_as_time),
        driver: Some(driver),
        config,
    })
}

/// What scripts read of Docker's overlay2: the layers, each a directory or an EROFS image, and the place of a mount.
fn driver(store: &Store, image: &image::store::Image) -> image::Result<(String, BTreeMap<String, String>)> {
    let (merged, layers) = image::standing::places(store, image)?;
    let mut data = BTreeMap::from([("MergedDir".to_owned(), merged.display().to_string())]);
    let mut paths = layers.iter().map(|path| path.display().to_string());
    data.extend(paths.next().map(|upper| ("UpperDir".to_owned(), upper)));
    let lower: Vec<String> = paths.collect();
    if !lower.is_empty() {
        data.insert("LowerDir".to_owned(), lower.join(":"));
    }
    Ok(("overlay2".to_owned(), data))
}

fn nanoseconds_as_time(nanoseconds: i64) -> String {
    let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    sys::time::rfc3339_nano(std::time::UNIX_EPOCH + since)
}

fn history(session: &Session, parsed: &Parsed) -> Outcome {
    let store = workshop::open_store(session)?;
    let name = parsed.operand(0).unwrap_or_default();
    let image = store.find_image(&name)?;
    let (config, _) = store.config(&image.id)?;
    let sizes: HashMap<String, u64> = store
        .layers()?
        .into_iter()
        .map(|layer| (layer.key.to_string(), layer.size))
        .collect();
    let mut layers = store.layer_keys(&image.manifest)?.into_iter();
    let mut steps: Vec<history::Step> = config
        .history
        .iter()
        .map(|step| {
            let layer = if step.empty_layer { None } else { layers.next() };
            history::Step {
                id: "<missing>".to_owned(),
                created: step.created.as_deref().and_then(units::parse_time),
                created_by: step.created_by.clone().unwrap_or_default(),
                size: signed(layer.and_then(|key| sizes.get(&key).copied()).unwrap_or(0)),
                comment: step.comment.clone().unwrap_or_default(),
            }
        })
        .collect();
    steps.reverse();
    if let Some(latest) = steps.first_mut() {
        latest.id = image.id.to_string();
    }
    let format = parsed.text("format").filter(|f| !f.is_empty());
    let look = history::Look {
        format: format.as_deref(),
        quiet: parsed.switch("quiet"),
        no_trunc: parsed.switch("no-trunc"),
        human: parsed.switch("human"),
        now: units::now(),
    };
    session.print(&history::list(&steps, look)?)
}

fn remove(session: &Session, parsed: &Parsed) -> Outcome {
    if !parsed.list("platform").is_empty() {
        return Err(Failure::plain(
            "--platform: an image here is for one platform; remove it by its name",
        ));
    }
    let workshop = Workshop::open(session)?;
    let force = if parsed.switch("force") {
        Force::Yes
    } else {
        Force::No
    };
    let containers = workshop.containers()?;
    // One that cannot be read may run.
    let runs = |id: &str| !matches!(containers.load(id), Ok(Some(container)) if !container.is_supervised());
    let (mut lines, mut fatal) = (Vec::new(), force == Force::No);
    for name in parsed.names() {
        match image::remove::remove(&workshop.store, &name, force, &runs) {
            Ok((gone, _)) => session.print(&gone_lines(&gone, "Untagged", "Deleted"))?,
            Err(e) => {
                fatal |= e.kind() != Kind::NotFound;
                lines.push(Failure::from(e).line(session.program));
            }
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    if fatal {
        return Err(Failure::plain(lines.join("\n")));
    }
    session.warn(&lines.join("\n"));
    Ok(())
}

/// What is told of images that are gone.
pub(super) fn gone_lines(gone: &[Gone], untagged: &str, deleted: &str) -> String {
    gone.iter()
        .map(|gone| match gone {
            Gone::Untagged(reference) => format!("{untagged}: {}\n", reference.familiar()),
            Gone::Deleted(digest) => format!("{deleted}: {digest}\n"),
        })
        .collect()
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
    let (text, bytes) = prune_images(session, parsed)?;
    session.print(&format!(
        "{text}Total reclaimed space: {}\n",
        units::size_exact(signed(bytes))
    ))
}

/// What was removed, in Docker's form, and the bytes.
pub(super) fn prune_images(session: &Session, parsed: &Parsed) -> Result<(String, u64), Failure> {
    let workshop = Workshop::open(session)?;
    let store = &workshop.store;
    let filters = session.config().with_prune_filters(parsed.filters("filter"));
    let choice = Choice::of(&filters, &PRUNE_FILTERS, store, units::now())?;
    let all = choice.dangling.map_or(parsed.switch("all"), |dangling| !dangling);
    let (gone, bytes) = image::remove::prune(
        store,
        &Prune {
            all,
            filter: &|image| Ok(choice.takes(&store.config(&image.id)?.0)),
        },
    )?;
    if gone.is_empty() {
        return Ok((String::new(), bytes));
    }
    Ok((
        format!("Deleted Images:\n{}\n", gone_lines(&gone, "untagged", "deleted")),
        bytes,
    ))
}

fn tag(session: &Session, parsed: &Parsed) -> Outcome {
    let names = parsed.names();
    let (Some(source), Some(target)) = (names.first(), names.get(1)) else {
        return Ok(());
    };
    let target: Reference = target.parse().map_err(|e: image::Error| {
        Failure::from(e.context(format!("{} is not a valid repository/tag", quote(target))))
    })?;
    if target.digest().is_some() {
        return Err(Failure::plain("refusing to create a tag with a digest reference"));
    }
    // `sha256:abc` is an id before it is a name: the name could never be used.
    if target.repository().familiar() == "sha256" {
        return Err(Failure::from(image::Error::invalid(
            "refusing to create an ambiguous tag using digest algorithm as name",
        )));
    }
    let store = workshop::open_store(session)?;
    let image = store.find_image(source)?;
    store.tag(&image, &target.or_latest(), &store.target_of(source, &image)?)?;
    Ok(())
}
