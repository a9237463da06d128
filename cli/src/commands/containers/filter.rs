//! Which containers `ps` means.
//!
//! May not: print.

use std::collections::BTreeSet;

use engine::containers::Containers;
use engine::pattern::Pattern;
use engine::summary::{self, Summary};
use image::store::Store;
use monitor::state::{State, Status};

use crate::rows::containers::state;
use crate::run::{ports, values};
use crate::session::Failure;

const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// Of one filter several values are alternatives, of several filters all have to hold.
#[derive(Debug, Default)]
pub(super) struct Filter {
    given: Vec<(String, String)>,
    statuses: Vec<Status>,
    exited: Vec<i32>,
    names: Vec<Option<Pattern>>,
    /// Ids of what containers stand on.
    ancestors: Option<BTreeSet<String>>,
    before: Option<String>,
    since: Option<String>,
    publish: BTreeSet<String>,
    expose: BTreeSet<String>,
    /// Those that do not run, too.
    pub all: bool,
}

impl Filter {
    /// From the command line.
    ///
    /// # Errors
    /// One is unknown or has no sense, or names a container that is not there.
    pub fn of(
        given: Vec<(String, String)>,
        containers: &Containers,
        store: impl FnOnce() -> Result<Store, Failure>,
    ) -> Result<Filter, Failure> {
        let mut filter = Filter::default();
        for (name, value) in &given {
            match name.as_str() {
                "status" => filter.statuses.push(status(value)?),
                "exited" => filter.exited.push(exited(value)?),
                "health" => health(value)?,
                "is-task" => {
                    crate::flags::boolean(value)
                        .map_err(|_| invalid(&format!("invalid filter 'is-task={value}'")))?;
                }
                // A malformed one fits nothing, as in Docker.
                "name" => filter.names.push(Pattern::parse(value).ok()),
                "before" => filter.before = Some(containers.find_id(value)?),
                "since" => filter.since = Some(containers.find_id(value)?),
                "publish" => filter.publish.extend(port_range("publish", value)?),
                "expose" => filter.expose.extend(port_range("expose", value)?),
                known if KNOWN.contains(&known) => {}
                _ => return Err(invalid(&format!("invalid filter '{name}'"))),
            }
        }
        filter.given = given;
        if filter.values("ancestor").next().is_some() {
            filter.ancestors = Some(filter.descendants(&store()?)?);
        }
        Ok(filter)
    }

    fn values<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.given
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Asking for a status is asking for those that do not run as well.
    pub fn is_about_status(&self) -> bool {
        !self.statuses.is_empty()
    }

    /// Whether the record of a container in this state is needed. One that is not shown may still be the one that others are older than.
    pub fn needs(&self, s: &State) -> bool {
        self.before.is_some() || self.since.is_some() || self.takes_state(s)
    }

    /// The images that are meant, and all that were made from them here.
    fn descendants(&self, store: &Store) -> Result<BTreeSet<String>, Failure> {
        let mut all = BTreeSet::new();
        for name in self.values("ancestor") {
            if let Ok(image) = store.find_image(name) {
                all.insert(image.id.to_string());
            }
        }
        let images = store.images()?;
        loop {
            let more: Vec<String> = images
                .iter()
                .filter(|i| i.parent.as_ref().is_some_and(|p| all.contains(&p.to_string())))
                .map(|i| i.id.to_string())
                .filter(|id| !all.contains(id))
                .collect();
            if more.is_empty() {
                return Ok(all);
            }
            all.extend(more);
        }
    }

    /// What can be told from its state alone, so that the record of the others need not be read.
    fn takes_state(&self, s: &State) -> bool {
        let ended = !summary::is_up(s) && !s.started_at.is_empty();
        (self.all || summary::is_up(s))
            && (self.statuses.is_empty() || self.statuses.contains(&s.status))
            && (self.exited.is_empty() || (ended && self.exited.contains(&s.exit_code)))
    }

    /// Those of a list, which has the latest first.
    pub fn take(&self, all: Vec<Summary>, limit: usize) -> Vec<Summary> {
        let mut before = self.before.as_deref();
        let mut taken = Vec::new();
        for summary in all {
            let id = summary.brief.id.as_str();
            if before.is_some() {
                if before == Some(id) {
                    before = None;
                }
                continue;
            }
            if self.since.as_deref() == Some(id) || taken.len() == limit {
                break;
            }
            if self.takes_state(&summary.state) && self.takes(&summary) {
                taken.push(summary);
            }
        }
        taken
    }

    fn takes(&self, summary: &Summary) -> bool {
        let brief = &summary.brief;
        let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
            let mut values = self.values(name).peekable();
            values.peek().is_none() || values.any(fits)
        };
        let slashed = format!("/{}", brief.name);
        let named = |pattern: &Option<Pattern>| {
            pattern
                .as_ref()
                .is_some_and(|p| p.is_in(&brief.name) || p.is_in(&slashed))
        };
        let label = |text: &str| match text.split_once('=') {
            Some((key, value)) => brief.config.labels.get(key).is_some_and(|v| v == value),
            None => brief.config.labels.contains_key(text),
        };
        let mounted = |text: &str| {
            brief.mounts.iter().any(|m| {
                m.destination == text
                    || match m.name.as_str() {
                        "" => m.source == text,
                        name => name == text,
                    }
            })
        };
        let networks = summary.networks();
        let network = |text: &str| {
            networks.iter().any(|n| n == text)
                || brief
                    .networks
                    .values()
                    .any(|e| !e.network_id.is_empty() && e.network_id.starts_with(text))
        };
        (self.names.is_empty() || self.names.iter().any(named))
            && any("id", &|text| brief.id.starts_with(text))
            && any("health", &|text| summary.health() == text)
            && any("volume", &mounted)
            && any("network", &network)
            && any("isolation", &|text| matches!(text, "" | "default"))
            // There are no tasks.
            && any("is-task", &|text| crate::flags::boolean(text) == Ok(false))
            && self.values("label").all(label)
            && self.ancestors.as_ref().is_none_or(|a| a.contains(&brief.image))
            && self.takes_ports(summary)
    }

    fn takes_ports(&self, summary: &Summary) -> bool {
        if self.publish.is_empty() && self.expose.is_empty() {
            return true;
        }
        summary.ports().iter().any(|port| {
            let is =
                |set: &BTreeSet<String>, number: u16| set.contains(&format!("{number}/{}", port.protocol));
            let public = port.public.as_ref().map_or(0, |(_, number)| *number);
            is(&self.publish, public) || is(&self.expose, port.private)
        })
    }
}

fn invalid(message: &str) -> Failure {
    image::Error::invalid(message).into()
}

fn status(text: &str) -> Result<Status, Failure> {
    const ALL: [Status; 7] = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Removing,
        Status::Exited,
        Status::Dead,
    ];
    ALL.into_iter().find(|s| state(*s) == text).ok_or_else(|| {
        invalid(&format!(
            "invalid filter 'status={text}': invalid value for state ({text}): must be one of {}",
            ALL.map(state).join(", ")
        ))
    })
}

fn exited(text: &str) -> Result<i32, Failure> {
    values::atoi(text)
        .map_err(|why| {
            let text = crate::template::quote(text);
            format!("strconv.Atoi: parsing {text}: {why}")
        })
        .and_then(|n| i32::try_from(n).map_err(|_| "value out of range".to_owned()))
        .map_err(|why| invalid(&format!("invalid filter 'exited={text}': {why}")))
}

fn health(text: &str) -> Result<(), Failure> {
    const ALL: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
    if ALL.contains(&text) {
        return Ok(());
    }
    Err(invalid(&format!(
        "invalid filter 'health={text}': invalid value for health ({text}): must be one of {}",
        ALL.join(", ")
    )))
}

fn port_range(name: &str, text: &str) -> Result<Vec<String>, Failure> {
    if text.contains(':') {
        return Err(invalid(&format!(
            "filter for '{name}' should not contain ':': {text}"
        )));
    }
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports::range_of(range)
        .map_err(|why| invalid(&format!("error while looking up for {name} {text}: {why}")))?;
    Ok((first..=last)
        .map(|port| format!("{port}/{}", protocol.to_lowercase()))
        .collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use engine::model::MountPoint;
    use image::store::Roots;
    use monitor::state::Health;

    fn containers() -> Containers {
        Containers::of(&Roots::at(std::path::Path::new("/nowhere/brig"))).unwrap()
    }

    fn filter(given: &[&str]) -> Result<Filter, String> {
        let given = given
            .iter()
            .map(|g| g.split_once('=').unwrap())
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .collect();
        Filter::of(given, &containers(), || Err(Failure::plain("no store"))).map_err(|f| f.message)
    }

    fn some() -> Vec<Summary> {
        ["three", "two", "one"]
            .into_iter()
            .enumerate()
            .map(|(n, name)| {
                let mut s = Summary::default();
                s.brief.id = format!("{n}").repeat(64);
                s.brief.name = format!("app-{name}");
                s.brief.host.network_mode = if n == 0 { "host" } else { "none" }.into();
                s.brief.config.labels =
                    [("n".to_owned(), n.to_string()), ("all".to_owned(), String::new())].into();
                s.brief.mounts = vec![MountPoint {
                    name: format!("vol{n}"),
                    source: "/src".into(),
                    destination: format!("/data{n}"),
                    ..MountPoint::default()
                }];
                s.state.started_at = "2026-11-28T05:00:00Z".into();
                s.state.status = [Status::Running, Status::Exited, Status::Created][n];
                s.state.exit_code = 3;
                if n == 2 {
                    s.state.started_at.clear();
                }
                if n == 0 {
                    s.state.health = Some(Health {
                        status: "healthy".into(),
                        ..Health::default()
                    });
                }
                s
            })
            .collect()
    }

    fn taken(given: &[&str]) -> String {
        let mut filter = filter(given).unwrap();
        filter.all = true;
        let names: Vec<String> = filter
            .take(some(), usize::MAX)
            .into_iter()
            .map(|s| s.brief.name["app-".len()..].to_owned())
            .collect();
        names.join(" ")
    }

    #[test]
    fn what_is_taken() {
        for (given, names) in [
            (&[][..], "three two one"),
            (&["name=two"], "two"),
            (&["name=^/?app-t"], "three two"),
            (&["name=^app$"], ""),
            (&["name=two", "name=one"], "two one"),
            (&["name=("], ""),
            (&["id=11"], "two"),
            (&["label=n=1"], "two"),
            (&["label=all", "label=n=2"], "one"),
            (&["label=n=1", "label=n=2"], ""),
            (&["status=exited", "status=created"], "two one"),
            (&["exited=3"], "two"),
            (&["exited=0"], ""),
            (&["health=healthy"], "three"),
            (&["health=none"], "two one"),
            (&["volume=vol0", "volume=/data2"], "three one"),
            (&["volume=/src"], ""),
            (&["network=host"], "three"),
            (&["is-task=false"], "three two one"),
            (&["is-task=true"], ""),
            (&["name=t", "status=exited"], "two"),
            (&["expose=80"], ""),
        ] {
            assert_eq!(taken(given), names, "{given:?}");
        }
    }

    #[test]
    fn order_and_number() {
        let mut two = filter(&[]).unwrap();
        assert_eq!(two.take(some(), usize::MAX).len(), 1, "what does not run");
        two.all = true;
        assert_eq!(two.take(some(), 2).len(), 2);
        two.before = Some("0".repeat(64));
        assert_eq!(two.take(some(), usize::MAX).len(), 2);
        two.since = Some("2".repeat(64));
        assert_eq!(two.take(some(), usize::MAX)[0].brief.name, "app-two");
        assert_eq!(two.take(some(), usize::MAX).len(), 1);
    }

    #[test]
    fn complaints() {
        for (given, message) in [
            ("what=x", "invalid filter 'what'"),
            (
                "status=up",
                "invalid filter 'status=up': invalid value for state (up): must be one of created, running, paused, restarting, removing, exited, dead",
            ),
            (
                "exited=x",
                "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "health=x",
                "invalid filter 'health=x': invalid value for health (x): must be one of none, starting, healthy, unhealthy",
            ),
            ("publish=1:2", "filter for 'publish' should not contain ':': 1:2"),
            (
                "expose=x",
                "error while looking up for expose x: invalid start port 'x': invalid syntax",
            ),
            ("before=x", "No such container: x"),
            ("ancestor=x", "no store"),
        ] {
            assert_eq!(filter(&[given]).unwrap_err(), message, "{given}");
        }
    }
}
