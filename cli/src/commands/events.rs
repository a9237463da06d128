//! `events`.

use std::collections::BTreeMap;
use std::time::SystemTime;

use engine::events::{self, Filters, Told};
use monitor::events::Event;
use monitor::log::stamp;

use crate::command::Command;
use crate::flags::{Flag, Parsed, Takes};
use crate::session::{Failure, Outcome, Session};
use crate::template::value::Field;
use crate::template::{Map, Struct, Template, Value};
use crate::{units, workshop};

use super::FORMAT_OBJECT;

pub(super) const EVENTS: Command = Command {
    about: "Without a time, new ones are shown as they happen. TIME is RFC 3339, seconds since 1970, or how long ago: 10m.\n\nFilters: container=NAME, event=ACTION, image=IMAGE, label=KEY[=VALUE], network=NETWORK, type=TYPE, volume=VOLUME.",
    usage: "[OPTIONS]",
    ways: &["system events", "events"],
    flags: &[
        Flag::new("filter", Takes::Filter, "Only those of which NAME=VALUE holds").short('f'),
        Flag {
            short: None,
            ..FORMAT_OBJECT
        },
        Flag::new("since", Takes::Text, "Begin with those of this time"),
        Flag::new("until", Takes::Text, "End at this time"),
    ],
    examples: &[
        "{name} events --filter container=web",
        "{name} events --since 1h --until 0s --format json",
    ],
    ..Command::new("events", "Show what happens", run)
};

fn run(session: &Session, parsed: &Parsed) -> Outcome {
    let template = template(parsed)?;
    let now = stamp::nanos(SystemTime::now());
    let (since, until) = (
        super::logs::time(parsed, "since", now)?,
        super::logs::time(parsed, "until", now)?,
    );
    let filters = Filters::of(&parsed.filters("filter"))?;
    let mut text = String::new();
    events::read(
        &workshop::roots(session)?,
        since,
        until,
        &filters,
        |told| match told {
            Told::Event(event) => {
                match &template {
                    None => text.push_str(&line(event)),
                    Some(template) => {
                        text.push_str(&template.render(&message(event)).map_err(Failure::plain)?)
                    }
                }
                text.push('\n');
                Ok(())
            }
            Told::Pause => session.print(&std::mem::take(&mut text)),
        },
    )
}

fn template(parsed: &Parsed) -> Result<Option<Template>, Failure> {
    let text = match parsed.text("format").as_deref() {
        None | Some("") => return Ok(None),
        Some("json") => "{{json .}}".to_owned(),
        Some(own) => own.to_owned(),
    };
    let failed = |e: String| Failure::new(64, format!("Error parsing format: {e}"));
    let template = Template::parse("", &text).map_err(failed)?;
    // So that a wrong field is told now and not with the first event.
    let none = Event::now("", "", "", BTreeMap::new());
    template.render(&message(&none)).map_err(failed)?;
    Ok(Some(template))
}

/// For people, in their zone.
fn line(event: &Event) -> String {
    let nanos = stamp::nanos(event.time);
    let (seconds, rest) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let time = units::rfc3339(seconds);
    // The fraction stands before the zone.
    let (clock, zone) = time.split_at("2026-11-28T03:47:54".len().min(time.len()));
    let mut line = format!(
        "{clock}.{rest:09}{zone} {} {} {}",
        event.kind, event.action, event.id
    );
    if !event.attributes.is_empty() {
        let all: Vec<String> = event.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        line.push_str(&format!(" ({})", all.join(", ")));
    }
    line
}

/// Docker's `events.Message`.
fn message(event: &Event) -> Value {
    let is_old_kind = matches!(event.kind.as_str(), "container" | "image");
    let old = |text: &str| {
        if is_old_kind {
            text.to_owned()
        } else {
            String::new()
        }
    };
    let from = match event.kind.as_str() {
        "container" => event.attributes.get("image").cloned().unwrap_or_default(),
        _ => String::new(),
    };
    let nanos = stamp::nanos(event.time);
    let mut message = Struct::new("events.Message");
    for (name, key, value) in [
        ("Status", "status", old(&event.action)),
        ("ID", "id", old(&event.id)),
        ("From", "from", from),
    ] {
        message.fields.push(Field {
            name,
            key,
            omit_empty: true,
            embedded: false,
            value: value.into(),
        });
    }
    message
        .with("Type", event.kind.as_str())
        .with("Action", event.action.as_str())
        .with(
            "Actor",
            Struct::new("events.Actor")
                .with("ID", event.id.as_str())
                .with("Attributes", Map::of_text(event.attributes.clone())),
        )
        .with_key("Scope", "scope", "local")
        .with_key("Time", "time", nanos / 1_000_000_000)
        .with_key("TimeNano", "timeNano", nanos)
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn event() -> Event {
        let attributes =
            [("name", "web"), ("image", "nginx:1.18")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Event {
            time: UNIX_EPOCH + Duration::new(1_795_837_674, 120_000),
            ..Event::of_container("start", "0123", attributes.into())
        }
    }

    #[test]
    fn json_of_a_template_is_the_json_of_the_file() {
        let template = Template::parse("", "{{json .}}").unwrap();
        assert_eq!(template.render(&message(&event())).unwrap(), event().json());
        let mut volume = event();
        volume.kind = "volume".into();
        assert_eq!(template.render(&message(&volume)).unwrap(), volume.json());
        let fields = "{{.Type}} {{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}} {{.Time}} {{.ID}}";
        let template = Template::parse("", fields).unwrap();
        assert_eq!(
            template.render(&message(&event())).unwrap(),
            "container start 0123 web 1795837674 0123"
        );
    }

    #[test]
    fn a_line_for_people() {
        let line = line(&event());
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!(rest, "container start 0123 (image=nginx:1.18, name=web)");
        assert!(time.contains(":54.000120000"), "{time}");
        assert_eq!(
            engine::moment::parse(time, 0).unwrap(),
            stamp::nanos(event().time)
        );
    }
}
