//! Events: telling them, choosing among them, following them.
//!
//! May not: know how they are kept; that is `monitor::events`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use image::reference::Reference;
use image::store::Roots;
use image::{Context, Error, Result};
use monitor::events::{self, Event};
use monitor::log::lines::{Lines, Query};
use monitor::log::stamp;
use monitor::log::watch::Watch;

/// Tells of something that was done. What cannot be told does not undo it, so this is for the caller to mention or not.
///
/// # Errors
/// The file cannot be written.
pub fn tell(roots: &Roots, event: &Event) -> Result<()> {
    events::append(&roots.root.join("events"), event).map_err(|e| Error::new(e.to_string()))
}

/// What is asked of events: of each name one value has to fit, of labels all.
#[derive(Clone, Debug, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

const KNOWN: [&str; 14] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

impl Filters {
    /// From `NAME=VALUE`.
    ///
    /// # Errors
    /// A name is unknown.
    pub fn of(pairs: &[(String, String)]) -> Result<Filters> {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            if !KNOWN.contains(&name.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{name}'")));
            }
            filters.0.entry(name.clone()).or_default().push(value.clone());
        }
        Ok(filters)
    }

    fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.iter().any(|v| fits(v)))
    }

    /// Whether an event is one of those.
    pub fn takes(&self, event: &Event) -> bool {
        let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
        // The names of things may be cut short, whatever the event is about.
        let of_kind = |kind: &str| {
            self.any(kind, |value| {
                event.id.starts_with(value) || attribute("name").starts_with(value)
            })
        };
        let kinds = [
            "config",
            "container",
            "daemon",
            "network",
            "node",
            "plugin",
            "secret",
            "service",
            "volume",
        ];
        self.any("type", |value| value == event.kind)
            && self.any("scope", |value| value == "local")
            && self.takes_action(&event.action)
            && kinds.into_iter().all(of_kind)
            && self.takes_image(event)
            && self.0.get("label").is_none_or(|labels| {
                labels.iter().all(|label| {
                    let (name, value) = label
                        .split_once('=')
                        .map_or((label.as_str(), None), |(n, v)| (n, Some(v)));
                    let found = event.attributes.get(name);
                    found.is_some_and(|found| value.is_none_or(|value| value == found))
                })
            })
    }

    /// What goes on behind a colon need not be named, of those that have one.
    fn takes_action(&self, action: &str) -> bool {
        const WITH_MORE: [&str; 3] = ["health_status", "exec_create", "exec_start"];
        let named = |value: &str| {
            self.0
                .get("event")
                .is_some_and(|values| values.iter().any(|v| v == value))
        };
        let is_loose = WITH_MORE.into_iter().any(named);
        self.any("event", |value| {
            action == value || (is_loose && action.starts_with(value))
        })
    }

    fn takes_image(&self, event: &Event) -> bool {
        let key = if event.kind == "image" { "name" } else { "image" };
        let name = event.attributes.get(key).map_or("", String::as_str);
        let without_tag = |text: &str| match text.parse::<Reference>() {
            Ok(reference) => reference.repository().familiar(),
            Err(_) => text.to_owned(),
        };
        self.any("image", |value| {
            value == event.id
                || value == name
                || value == without_tag(&event.id)
                || value == without_tag(name)
        })
    }
}

/// What a reader is told.
#[derive(Debug)]
pub enum Told<'a> {
    Event(&'a Event),
    /// There is nothing more now.
    Pause,
}

/// Reads events, and goes on until `until`, for ever if that is not said. Without any time only new ones.
///
/// # Errors
/// The times are the wrong way round; the file cannot be read; `each`'s.
pub fn read<E: From<Error>>(
    roots: &Roots,
    since: Option<i64>,
    until: Option<i64>,
    filters: &Filters,
    mut each: impl FnMut(Told<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        return Err(Error::invalid(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            seconds(since),
            seconds(until)
        ))
        .into());
    }
    let dir = roots.root.join("events");
    // There may be no event yet. Where it cannot be made there will be none.
    let _ = crate::containers::make_private(&dir);
    let watch = Watch::of(&[&dir]);
    let query = Query {
        since,
        until,
        tail: (since.is_none() && until.is_none()).then_some(0),
        follow: true,
        is_unordered: true,
    };
    let failed = || format!("failed to read the events in {}", dir.display());
    let mut lines = Lines::open(&events::file(&dir), events::time_of, query).context(failed())?;
    loop {
        let left = until.map(|until| until.saturating_sub(stamp::nanos(SystemTime::now())));
        while lines.advance().context(failed())? {
            if let Some(event) = Event::parse(lines.line())
                && filters.takes(&event)
            {
                each(Told::Event(&event))?;
            }
        }
        each(Told::Pause)?;
        let patience = match left {
            Some(left) if left < 0 => return Ok(()),
            Some(left) => Some(Duration::from_nanos(left.unsigned_abs()) + Duration::from_millis(1)),
            None => None,
        };
        watch
            .wait(&[], patience.map(|p| Instant::now() + p))
            .context("failed to wait for events")?;
    }
}

fn seconds(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn event(kind: &str, action: &str) -> Event {
        let attributes = [("image", "nginx:1.18"), ("name", "web"), ("com.a", "1")];
        Event::now(
            kind,
            action,
            "0123456789abcdef",
            attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        )
    }

    #[test]
    fn filters_are_dockers() {
        let start = event("container", "start");
        let health = event("container", "health_status: healthy");
        for (pairs, event, takes) in [
            (&[][..], &start, true),
            (&[("container", "web")], &start, true),
            (&[("container", "0123")], &start, true),
            (&[("container", "other"), ("container", "web")], &start, true),
            (&[("container", "other")], &start, false),
            (&[("event", "start"), ("event", "die")], &start, true),
            (&[("event", "star")], &start, false),
            (&[("event", "health_status")], &health, true),
            (&[("event", "health_status: healthy")], &health, true),
            (&[("event", "health")], &health, false),
            (&[("image", "nginx")], &start, true),
            (&[("image", "nginx:1.18")], &start, true),
            (&[("image", "nginx:1.19")], &start, false),
            (&[("label", "com.a")], &start, true),
            (&[("label", "com.a=1")], &start, true),
            (&[("label", "com.a=1"), ("label", "com.b")], &start, false),
            (&[("type", "container")], &start, true),
            (&[("type", "image")], &start, false),
            (&[("type", "container"), ("event", "die")], &start, false),
            (&[("scope", "swarm")], &start, false),
        ] {
            let pairs: Vec<_> = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(Filters::of(&pairs).unwrap().takes(event), takes, "{pairs:?}");
        }
        assert!(Filters::of(&[("nope".into(), "x".into())]).is_err());
    }

    #[test]
    fn past_ones_are_read_and_new_ones_come() {
        let root = std::env::temp_dir().join(format!("brig-events-{}", std::process::id()));
        let roots = Roots::at(&root);
        let actions = |since, until, filters: &[(String, String)]| {
            let mut all = Vec::new();
            let filters = Filters::of(filters).unwrap();
            let read = read(&roots, since, until, &filters, |told| {
                if let Told::Event(event) = told {
                    all.push(event.action.clone());
                }
                Ok::<_, Error>(())
            });
            read.map(|()| all)
        };
        for action in ["create", "start", "die"] {
            tell(&roots, &event("container", action)).unwrap();
        }
        let past = stamp::nanos(SystemTime::now());
        assert_eq!(
            actions(None, Some(past), &[]).unwrap(),
            ["create", "start", "die"]
        );
        assert_eq!(
            actions(Some(0), Some(past), &[("event".into(), "die".into())]).unwrap(),
            ["die"]
        );
        assert!(actions(Some(past), Some(past - 1), &[]).is_err());
        // A thread tells while we wait for what comes; the third of them ends it.
        let told = std::thread::scope(|scope| {
            let roots = &roots;
            let mut seen = Vec::new();
            let mut teller = None;
            let end = read(roots, None, None, &Filters::default(), |told| match told {
                Told::Pause => {
                    teller.get_or_insert_with(|| {
                        scope.spawn(move || {
                            for action in ["pause", "unpause", "destroy"] {
                                tell(roots, &event("container", action)).unwrap();
                            }
                        })
                    });
                    Ok(())
                }
                Told::Event(event) => {
                    seen.push(event.action.clone());
                    match seen.len() {
                        3 => Err(Error::new("enough")),
                        _ => Ok(()),
                    }
                }
            });
            assert_eq!(end.unwrap_err().to_string(), "enough");
            seen
        });
        assert_eq!(told, ["pause", "unpause", "destroy"]);
        std::fs::remove_dir_all(&root).unwrap();
    }
}
