//! `inspect`, `container inspect`.

use std::path::PathBuf;

use engine::containers::Containers;
use engine::model::Definition;
use engine::{networks, summary};
use image::store::Store;
use image::{Digest, Kind};

use super::super::images;
use crate::flags::Parsed;
use crate::rows::inspect::{self, Inspector};
use crate::rows::{self, inspect_container};
use crate::session::{Failure, Outcome, Session};
use crate::template::{Value, quote};
use crate::workshop;

/// All types that Docker knows.
const TYPES: [&str; 10] = [
    "config",
    "container",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "task",
    "volume",
];

pub(super) fn containers(session: &Session, parsed: &Parsed) -> Outcome {
    show(session, parsed, "container")
}

pub(super) fn any(session: &Session, parsed: &Parsed) -> Outcome {
    let kind = parsed.text("type").unwrap_or_default();
    let all = || format!("must be one of \"{}\"", TYPES.join("\", \""));
    if kind.is_empty() && parsed.was_given("type") {
        return Err(Failure::plain(format!("type is empty: {}", all())));
    }
    if !kind.is_empty() && !TYPES.contains(&kind.as_str()) {
        return Err(Failure::plain(format!(
            "unknown type: {}: {}",
            quote(&kind),
            all()
        )));
    }
    show(session, parsed, &kind)
}

/// Each name among the things of a type, or of all.
fn show(session: &Session, parsed: &Parsed, kind: &str) -> Outcome {
    let inspector = Inspector::new(parsed.text("format").as_deref())?;
    let mut finder = Finder {
        session,
        size: parsed.switch("size"),
        containers: Containers::of(&workshop::roots(session)?)?,
        store: None,
    };
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in parsed.names() {
        match finder.find(&name, kind) {
            Ok(object) => objects.push(object),
            Err(failure) => errors.push(failure.line(session.program)),
        }
    }
    session.print(&inspector.show(&objects, &mut errors))?;
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::plain(errors.join("\n")))
}

struct Finder<'s> {
    session: &'s Session,
    size: bool,
    containers: Containers,
    /// Opened when it is needed.
    store: Option<Store>,
}

impl Finder<'_> {
    fn find(&mut self, name: &str, kind: &str) -> Result<Value, Failure> {
        if matches!(kind, "" | "container") {
            match self.container(name) {
                Err(failure) if kind.is_empty() && failure.is_missing => {}
                found => return found.map_err(|f| f.failure),
            }
        }
        if matches!(kind, "" | "image") {
            match self.image(name) {
                Err(failure) if kind.is_empty() && failure.is_missing => {}
                found => {
                    if self.size && found.is_ok() {
                        self.session.warn("WARNING: --size ignored for image");
                    }
                    return found.map_err(|f| f.failure);
                }
            }
        }
        if matches!(kind, "" | "network") {
            match self.network(name) {
                Err(failure) if kind.is_empty() && failure.is_missing => {}
                found => return found.map_err(|f| f.failure),
            }
        }
        if matches!(kind, "" | "volume") {
            match self.volume(name) {
                Err(failure) if kind.is_empty() && failure.is_missing => {}
                found => return found.map_err(|f| f.failure),
            }
        }
        Err(match kind {
            "" => Failure::plain(format!("error: no such object: {name}")),
            kind => image::Error::not_found(format!("No such {kind}: {name}")).into(),
        })
    }

    fn container(&mut self, name: &str) -> Result<Value, Missed> {
        let container = self.containers.find(name)?;
        let place = self.containers.place(container.id());
        let sizes = match self.size {
            true => {
                let written = signed(summary::written(&place.upper())?);
                let image = container.definition.image.clone();
                let images = self.store()?.images().map_err(Missed::from)?;
                let below = images
                    .iter()
                    .find(|i| i.id.to_string() == image)
                    .map_or(0, |i| signed(i.size));
                Some((written, written + below))
            }
            false => None,
        };
        let below = self.below(&container.definition)?;
        let attachment = match summary::is_up(&container.state) {
            true => networks::attach::read(&place.run)?,
            false => None,
        };
        Ok(inspect_container::container(
            &container,
            &place,
            &below,
            sizes,
            attachment.as_ref(),
        ))
    }

    /// The layers of its image, the topmost first.
    fn below(&mut self, definition: &Definition) -> Result<Vec<PathBuf>, Missed> {
        let Ok(manifest) = definition.manifest.parse::<Digest>() else {
            return Ok(Vec::new());
        };
        // A store that cannot be opened (the disk is full) keeps nobody from looking at a container.
        let Ok(store) = self.store() else {
            return Ok(Vec::new());
        };
        let found = image::standing::layer_places(store, &manifest);
        // The container itself is there: it is nothing else of this name.
        found.map_err(|error| Missed {
            failure: error.into(),
            is_missing: false,
        })
    }

    fn image(&mut self, name: &str) -> Result<Value, Missed> {
        let store = self.store()?;
        Ok(inspect::image(&images::document(store, name, None)?))
    }

    fn network(&mut self, name: &str) -> Result<Value, Missed> {
        let known = networks::Networks::of(self.containers.roots());
        Ok(super::super::networks::document(&self.containers, &known, name)?)
    }

    fn volume(&mut self, name: &str) -> Result<Value, Missed> {
        let found = engine::volumes::get(&self.containers, name)?;
        Ok(rows::volumes::document(&super::super::volumes::shown(found)))
    }

    fn store(&mut self) -> Result<&Store, Missed> {
        let store = match self.store.take() {
            Some(store) => store,
            None => workshop::open_store(self.session).map_err(|failure| Missed {
                failure,
                is_missing: false,
            })?,
        };
        Ok(self.store.insert(store))
    }
}

/// Why a name did not lead to anything of a type.
struct Missed {
    failure: Failure,
    /// It may be something else.
    is_missing: bool,
}

impl From<image::Error> for Missed {
    fn from(error: image::Error) -> Missed {
        Missed {
            // What is no name of an image can be the name of something else.
            is_missing: matches!(error.kind(), Kind::NotFound | Kind::Invalid),
            failure: error.into(),
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
