//! `volume`.

use std::collections::BTreeMap;

use engine::containers::{Containers, Durable};
use engine::pattern::Pattern;
use engine::volumes::{self, Force, Record, Wanted};

use super::{FILTER, FORMAT, FORMAT_OBJECT, each_at_once};
use crate::choose::Choice;
use crate::command::{Command, Count};
use crate::flags::{Flag, Offers, Parsed, Takes, boolean};
use crate::rows::inspect::Inspector;
use crate::rows::volumes::{self as rows, Volume};
use crate::run::devices;
use crate::session::{Failure, Outcome, Session};
use crate::workshop;
use crate::{format, terminal, units};

pub(super) static ALL: &[Command] = &[CREATE, INSPECT, LS, PRUNE, RM, UPDATE];

const CREATE: Command = Command {
    about: "A volume that is there already stays as it is. Without a name it gets one, and counts as anonymous.\n\nOptions of the driver say what is mounted in the volume while a container runs that has it: type, device, and o as in mount(8).",
    usage: "[OPTIONS] [VOLUME]",
    ways: &["volume create"],
    count: Count::AtMost(1),
    flags: &[
        Flag::new("driver", Takes::Text, "Driver; there is one: local")
            .short('d')
            .default("local"),
        Flag::new("label", Takes::List, "Label: KEY[=VALUE]"),
        Flag::new(
            "name",
            Takes::Text,
            "Name, as it was given before there was an argument for it",
        )
        .hidden(),
        Flag::new(
            "opt",
            Takes::List,
            "Option of the driver: type=.., device=.., o=..",
        )
        .short('o'),
    ],
    examples: &[
        "{name} volume create data",
        "{name} volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000 scratch",
        "{name} volume create -o type=nfs -o device=:/export -o o=addr=192.0.2.7,rw shared",
        "{name} volume create -o type=none -o device=/srv/data -o o=bind data",
    ],
    ..Command::new("create", "Make a volume", create)
};

const INSPECT: Command = Command {
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    ways: &["volume inspect"],
    count: Count::AtLeast(1),
    flags: &[FORMAT_OBJECT],
    examples: &["{name} volume inspect --format '{{.Mountpoint}}' data"],
    offers: Offers::Volumes,
    ..Command::new("inspect", "Show all there is to know of volumes", inspect)
};

const LS: Command = Command {
    aliases: &["list"],
    about: "Filters: dangling=true, driver=DRIVER, label=KEY[=VALUE], name=PATTERN.",
    usage: "[OPTIONS]",
    ways: &["volume ls", "volume list"],
    flags: &[
        FILTER,
        FORMAT,
        Flag::new("quiet", Takes::Switch(false), "Print names and nothing else").short('q'),
        Flag::new("cluster", Takes::Switch(false), "").hidden(),
    ],
    examples: &[
        "{name} volume ls --filter dangling=true",
        "{name} volume ls --format '{{.Name}}: {{.Mountpoint}}'",
    ],
    ..Command::new("ls", "List volumes", list)
};

const PRUNE: Command = Command {
    about: "Filters: label=KEY[=VALUE], label!=KEY[=VALUE], all=true.",
    usage: "[OPTIONS]",
    ways: &["volume prune"],
    flags: &[
        Flag::new("all", Takes::Switch(false), "Those with a name, too").short('a'),
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds"),
        Flag::new("force", Takes::Switch(false), "Do not ask").short('f'),
    ],
    examples: &["{name} volume prune -f"],
    ..Command::new(
        "prune",
        "Remove the anonymous volumes that no container has",
        prune,
    )
};

const RM: Command = Command {
    aliases: &["remove"],
    about: "One that a container has, running or not, stays.",
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    ways: &["volume rm", "volume remove"],
    count: Count::AtLeast(1),
    flags: &[Flag::new(
        "force",
        Takes::Switch(false),
        "That one is not there is no failure",
    )
    .short('f')],
    examples: &["{name} volume rm data"],
    offers: Offers::Volumes,
    ..Command::new("rm", "Remove volumes", remove)
};

const UPDATE: Command = Command {
    about: "That is for volumes of a swarm, of which there are none.",
    usage: "[OPTIONS] [VOLUME]",
    ways: &["volume update"],
    count: Count::Exactly(1),
    flags: &[Flag::new("availability", Takes::Text, "active, pause or drain").default("active")],
    offers: Offers::Volumes,
    ..Command::new("update", "Change a volume of a swarm", update)
};

fn create(session: &Session, parsed: &Parsed) -> Outcome {
    let containers = workshop::containers(session)?;
    let (flag, operand) = (parsed.text("name").unwrap_or_default(), parsed.operand(0));
    if !flag.is_empty() && operand.is_some() {
        return Err(Failure::plain(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
        ));
    }
    let name = operand.unwrap_or(flag);
    let wanted = Wanted {
        name: Some(name).filter(|name| !name.is_empty()),
        driver: parsed.text("driver").unwrap_or_default(),
        labels: devices::pairs(&parsed.list("label")),
        options: devices::pairs(&parsed.list("opt")),
    };
    let held = volumes::create(&containers, &wanted, Durable::Yes)?;
    session.print(&format!("{}\n", held.record.name))
}

/// As it is shown.
pub(super) fn shown((volume, record): (monitor::volumes::Volume, Record)) -> Volume {
    Volume {
        mountpoint: volume.data().to_string_lossy().into_owned(),
        record,
        ..Volume::default()
    }
}

fn inspect(session: &Session, parsed: &Parsed) -> Outcome {
    let inspector = Inspector::new(parsed.text("format").as_deref())?;
    let containers = workshop::containers(session)?;
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for name in parsed.names() {
        match volumes::get(&containers, &name) {
            Ok(found) => documents.push(rows::document(&shown(found))),
            Err(e) => errors.push(Failure::from(e).line(session.program)),
        }
    }
    session.print(&inspector.show(&documents, &mut errors))?;
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Failure::plain(errors.join("\n"))),
    }
}

/// Which are listed: of one filter several values are alternatives, of several filters all have to hold; labels all have to be there.
#[derive(Debug, Default)]
struct Filter {
    dangling: Option<bool>,
    drivers: Vec<String>,
    names: Vec<Option<Pattern>>,
    labels: Vec<(String, Option<String>)>,
}

impl Filter {
    fn of(given: &[(String, String)]) -> Result<Filter, Failure> {
        let invalid = |text: String| Failure::from(image::Error::invalid(format!("invalid filter '{text}'")));
        let mut filter = Filter::default();
        for (name, value) in given {
            match name.as_str() {
                "dangling" => {
                    filter.dangling = Some(boolean(value).map_err(|_| invalid(format!("dangling={value}")))?);
                }
                "driver" => filter.drivers.push(value.clone()),
                // A malformed one fits nothing, as in Docker.
                "name" => filter.names.push(Pattern::parse(value).ok()),
                "label" => filter.labels.push(match value.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (value.clone(), None),
                }),
                other => return Err(invalid(other.to_owned())),
            }
        }
        Ok(filter)
    }

    fn takes(&self, record: &Record, used: &BTreeMap<String, Vec<String>>) -> bool {
        let labelled = |(key, value): &(String, Option<String>)| {
            let found = record.labels.as_ref().and_then(|labels| labels.get(key));
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        let named = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(|p| p.is_in(&record.name));
        self.dangling
            .is_none_or(|dangling| dangling != used.contains_key(&record.name))
            && (self.drivers.is_empty() || self.drivers.contains(&record.driver))
            && (self.names.is_empty() || self.names.iter().any(named))
            && self.labels.iter().all(labelled)
    }
}

fn list(session: &Session, parsed: &Parsed) -> Outcome {
    let quiet = parsed.switch("quiet");
    let given = parsed.text("format").filter(|f| !f.is_empty());
    if given.is_some() && quiet {
        format::quiet_wins(session);
    }
    let own = Some(session.config().volumes_format.clone()).filter(|f| !f.is_empty() && !quiet);
    let format = given.or(own);
    let filter = Filter::of(&parsed.filters("filter"))?;
    let containers = workshop::containers(session)?;
    let used = match filter.dangling {
        Some(_) => volumes::users(&containers)?,
        None => BTreeMap::new(),
    };
    let mut found = volumes::list(&containers)?;
    found.retain(|(_, record)| filter.takes(record, &used));
    found.sort_by(|(_, a), (_, b)| units::natural(&a.name, &b.name));
    let found: Vec<Volume> = found.into_iter().map(shown).collect();
    session.print(&rows::list(&found, format.as_deref(), quiet)?)
}

fn remove(session: &Session, parsed: &Parsed) -> Outcome {
    let force = match parsed.switch("force") {
        true => Force::Yes,
        false => Force::No,
    };
    // What containers have written may belong to ids that an ordinary user has only in a namespace.
    let containers = workshop::containers_within(session)?;
    each_at_once(session, &parsed.names(), |name| {
        volumes::remove(&containers, name, force)?;
        Ok(Some(name.to_owned()))
    })
}

fn prune(session: &Session, parsed: &Parsed) -> Outcome {
    let (mut all, mut filters) = (parsed.switch("all"), Vec::new());
    for (name, value) in parsed.filters("filter") {
        match name.as_str() {
            "all" if all => {
                return Err(Failure::plain(
                    "conflicting options: cannot specify both --all and --filter all=1",
                ));
            }
            "all" => {
                all = boolean(&value)
                    .map_err(|_| image::Error::invalid(format!("invalid filter 'all={value}'")))?;
            }
            "until" => return Err(image::Error::invalid("invalid filter 'until'").into()),
            _ => filters.push((name, value)),
        }
    }
    let filters = session.config().with_prune_filters(filters);
    let choice = Choice::of_age_and_labels(&filters, units::now())?;
    let kind = if all { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {kind} local volumes not used by at least one container.\nAre you sure you want to continue?"
    );
    if !parsed.switch("force") && !terminal::confirm(session, &question)? {
        return Err(Failure::silent(0));
    }
    let (text, bytes) = prune_volumes(session, &choice, all)?;
    session.print(&format!(
        "{text}Total reclaimed space: {}\n",
        units::size_exact(i64::try_from(bytes).unwrap_or(i64::MAX))
    ))
}

/// What was removed, in Docker's form, and the bytes.
pub(super) fn prune_volumes(session: &Session, choice: &Choice, all: bool) -> Result<(String, u64), Failure> {
    let containers = workshop::containers_within(session)?;
    for name in volumes::unfinished(&containers)? {
        volumes::finish(&containers, &name)?;
    }
    let chosen = |record: &Record| {
        (all || record.is_anonymous()) && choice.accepts(&record.created, record.labels.as_ref())
    };
    let (names, bytes) = volumes::prune(&containers, chosen)?;
    let text = match names.is_empty() {
        true => String::new(),
        false => format!("Deleted Volumes:\n{}\n\n", names.join("\n")),
    };
    Ok((text, bytes))
}

fn update(session: &Session, parsed: &Parsed) -> Outcome {
    volumes::get(
        &workshop::containers(session)?,
        &parsed.operand(0).unwrap_or_default(),
    )?;
    Err(Failure::plain("can only update cluster volumes"))
}

/// All of them, with what they take and who has them.
pub(super) fn usage(containers: &Containers) -> Result<Vec<Volume>, Failure> {
    let used = volumes::users(containers)?;
    let mut all = Vec::new();
    for (volume, record) in volumes::list(containers)? {
        // What belongs to other ids an ordinary user cannot look into from here.
        let size = volumes::size(&volume, &record).unwrap_or(None);
        let links = used.get(&record.name).map_or(0, Vec::len);
        all.push(Volume {
            links: Some(links),
            size: size.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            ..shown((volume, record))
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn takes(given: &[(&str, &str)], used: bool) -> bool {
        let record = Record {
            name: "data-1".into(),
            driver: "local".into(),
            labels: Some([("a".to_owned(), "1".to_owned())].into()),
            ..Record::default()
        };
        let given: Vec<(String, String)> = given
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let used = match used {
            true => BTreeMap::from([("data-1".to_owned(), vec!["c".to_owned()])]),
            false => BTreeMap::new(),
        };
        Filter::of(&given).unwrap().takes(&record, &used)
    }

    #[test]
    fn filters() {
        for (given, used, is) in [
            (&[][..], true, true),
            (&[("dangling", "true")], true, false),
            (&[("dangling", "1")], false, true),
            (&[("dangling", "false")], true, true),
            (&[("dangling", "false")], false, false),
            (&[("driver", "local")], true, true),
            (&[("driver", "loc")], true, false),
            (&[("name", "ata")], true, true),
            (&[("name", "^ata")], true, false),
            (&[("name", "x"), ("name", "1$")], true, true),
            (&[("label", "a")], true, true),
            (&[("label", "a=1"), ("label", "b")], true, false),
            (&[("label", "a=2")], true, false),
        ] {
            assert_eq!(takes(given, used), is, "{given:?}");
        }
        for (given, why) in [
            (("x", "1"), "invalid filter 'x'"),
            (("dangling", "maybe"), "invalid filter 'dangling=maybe'"),
        ] {
            let given = [(given.0.to_owned(), given.1.to_owned())];
            assert_eq!(Filter::of(&given).unwrap_err().message, why);
        }
    }
}
