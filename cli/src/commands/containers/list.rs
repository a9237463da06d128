//! `ps`.

use std::collections::HashMap;

use engine::containers::Containers;
use engine::recovery;
use engine::summary::{self, Summary};
use image::reference::Reference;
use image::store::Store;

use super::filter::Filter;
use crate::flags::Parsed;
use crate::format;
use crate::rows::containers::{self as rows, Container};
use crate::session::{Failure, Outcome, Session};
use crate::{units, workshop};

pub(super) fn list(session: &Session, parsed: &Parsed) -> Outcome {
    let quiet = parsed.switch("quiet");
    let given = parsed.text("format").filter(|f| !f.is_empty());
    if given.is_some() && quiet {
        format::quiet_wins(session);
    }
    let config = session.config();
    let own = Some(config.ps_format.clone()).filter(|f| !f.is_empty());
    let format = given.or(own);
    let mut size = parsed.switch("size");
    if let Some(format) = &format {
        let shows_size = rows::check(format)?;
        size |= shows_size && !quiet && !parsed.was_given("size");
    }
    let last = match (parsed.int("last").unwrap_or(-1), parsed.switch("latest")) {
        (-1, true) => 1,
        (last, _) => last,
    };
    let limit = usize::try_from(last).ok().filter(|n| *n > 0);

    let containers = Containers::of(&workshop::roots(session)?)?;
    let mut filter = Filter::of(parsed.filters("filter"), &containers, || {
        workshop::open_store(session)
    })?;
    filter.all = parsed.switch("all") || limit.is_some() || filter.is_about_status();
    let list = summary::list(&containers, |state| filter.needs(state))?;
    recovery::free_networks(&containers, &list.stale);
    // What killed builds have left. Whatever cannot go now is looked at again by the next command.
    let _ = engine::passing::sweep(&containers);
    let shown = filter.take(list.shown, limit.unwrap_or(usize::MAX));
    let found = match quiet {
        true => shown.into_iter().map(plain).collect(),
        false => look_up(session, &containers, shown, size)?,
    };
    let look = rows::Look {
        format: format.as_deref(),
        quiet,
        no_trunc: parsed.switch("no-trunc"),
        size,
        now: units::now(),
    };
    session.print(&rows::list(&found, look)?)
}

fn plain(summary: Summary) -> Container {
    Container {
        image: summary.brief.config.image.clone(),
        summary,
        size: None,
    }
}

/// Names of images as they are now, and sizes.
fn look_up(
    session: &Session,
    containers: &Containers,
    shown: Vec<Summary>,
    size: bool,
) -> Result<Vec<Container>, Failure> {
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    // Containers are told of even where the store cannot be opened: on a full disk, to begin with.
    let store = match workshop::open_store(session) {
        Err(failure) if !size => {
            session.warn(&format!("WARNING: {}", failure.message));
            return Ok(shown.into_iter().map(plain).collect());
        }
        store => store?,
    };
    let names = names(&store)?;
    let mut sizes = HashMap::new();
    if size {
        let images = store.images()?;
        sizes.extend(images.into_iter().map(|i| (i.id.to_string(), signed(i.size))));
    }
    let mut found = Vec::new();
    for summary in shown {
        let mut container = plain(summary);
        let brief = &container.summary.brief;
        if !leads_to(&names, &container.image, &brief.image) {
            container.image = brief.image.clone();
        }
        if size {
            let written = signed(summary::written(&containers.place(&brief.id).upper())?);
            let image = sizes.get(&brief.image).copied().unwrap_or(0);
            container.size = Some((written, written + image));
        }
        found.push(container);
    }
    Ok(found)
}

/// References, and the images that they lead to.
fn names(store: &Store) -> Result<HashMap<String, String>, Failure> {
    let names = store.names()?;
    Ok(names
        .into_iter()
        .map(|n| (n.reference.to_string(), n.image.to_string()))
        .collect())
}

/// Whether a container's image is still called what it was called when the container was made.
fn leads_to(names: &HashMap<String, String>, name: &str, id: &str) -> bool {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    let part = name.strip_prefix("sha256:").unwrap_or(name);
    if !part.is_empty() && hex.starts_with(part) {
        return true;
    }
    match name.parse::<Reference>() {
        // A digest leads to one image for ever.
        Ok(reference) if reference.digest().is_some() => true,
        Ok(reference) => names
            .get(&reference.or_latest().to_string())
            .is_some_and(|i| i == id),
        Err(_) => false,
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
