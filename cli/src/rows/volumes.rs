//! `volume ls`, `volume inspect`, and the volumes of `system df`.

use std::collections::BTreeMap;

use engine::volumes::Record;

use crate::format;
use crate::session::Failure;
use crate::template::{Map, Struct, Value};
use crate::units::size_exact;

/// A volume as lists show it.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    pub record: Record,
    /// Where its data lie.
    pub mountpoint: String,
    /// Containers that have it; only `df` asks.
    pub links: Option<usize>,
    /// Bytes of its files; only `df` asks, and not of what may lie on another machine.
    pub size: Option<i64>,
}

const HEADERS: [(&str, &str); 10] = [
    ("Name", "VOLUME NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Group", "GROUP"),
    ("Status", "STATUS"),
];

const RAW: &str = "name: {{.Name}}\ndriver: {{.Driver}}\n";

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(volumes: &[Volume], format: Option<&str>, quiet: bool) -> Result<String, Failure> {
    let format = match (format.unwrap_or(format::TABLE), quiet) {
        ("raw", true) => "name: {{.Name}}",
        (_, true) => "{{.Name}}",
        (format::TABLE, false) => "table {{.Driver}}\t{{.Name}}",
        ("raw", false) => RAW,
        (own, false) => own,
    };
    format::rows(format, &HEADERS, &rows(volumes))
}

/// The table of `system df --verbose`.
///
/// # Errors
/// None that our own template can bring about.
pub fn usage(volumes: &[Volume]) -> Result<String, Failure> {
    format::rows("table {{.Name}}\t{{.Links}}\t{{.Size}}", &HEADERS, &rows(volumes))
}

/// One row each.
pub fn rows(volumes: &[Volume]) -> Vec<Value> {
    volumes.iter().map(row).collect()
}

fn row(volume: &Volume) -> Value {
    let record = &volume.record;
    let labels = record.labels.clone().unwrap_or_default();
    let joined: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let label = Value::method(1, move |arguments| {
        let name = arguments[0].as_text().unwrap_or_default();
        Ok(labels.get(name).cloned().unwrap_or_default().into())
    });
    let unknown = || "N/A".to_owned();
    Struct::row("formatter.volumeContext")
        .with("Name", record.name.as_str())
        .with("Driver", record.driver.as_str())
        .with("Scope", "local")
        .with("Mountpoint", volume.mountpoint.as_str())
        .with("Labels", joined.join(","))
        .with("Label", label)
        .with("Links", volume.links.map_or_else(unknown, |n| n.to_string()))
        .with("Size", volume.size.map_or_else(unknown, size_exact))
        // Of a cluster.
        .with("Group", unknown())
        .with("Availability", unknown())
        .with("Status", unknown())
        .into()
}

/// All there is to know of one, in Docker's order.
pub fn document(volume: &Volume) -> Value {
    let record = &volume.record;
    Struct::new("volume.Volume")
        .with_optional("CreatedAt", record.created.as_str())
        .with("Driver", record.driver.as_str())
        .with("Labels", map(record.labels.as_ref()))
        .with("Mountpoint", volume.mountpoint.as_str())
        .with("Name", record.name.as_str())
        .with("Options", map(record.options.as_ref()))
        .with("Scope", "local")
        .into()
}

fn map(words: Option<&BTreeMap<String, String>>) -> Value {
    Map {
        is_nil: words.is_none(),
        ..Map::of_text(words.cloned().unwrap_or_default())
    }
    .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::rows::inspect::Inspector;

    fn some() -> Vec<Volume> {
        let volume = |name: &str, labels: Option<BTreeMap<String, String>>| Volume {
            record: Record {
                name: name.to_owned(),
                driver: "local".to_owned(),
                created: "2026-11-28T08:00:00Z".to_owned(),
                labels,
                ..Record::default()
            },
            mountpoint: format!("/v/{name}/_data"),
            ..Volume::default()
        };
        let labels = [("b", "2"), ("a", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        vec![
            Volume {
                links: Some(2),
                size: Some(1500),
                ..volume("data", Some(labels.into()))
            },
            volume("other-one", None),
        ]
    }

    #[test]
    fn lists() {
        for (format, quiet, text) in [
            (
                None,
                false,
                "DRIVER    VOLUME NAME\nlocal     data\nlocal     other-one\n",
            ),
            (None, true, "data\nother-one\n"),
            (
                Some("raw"),
                false,
                "name: data\ndriver: local\n\nname: other-one\ndriver: local\n\n",
            ),
            (
                Some("{{.Name}}|{{.Labels}}|{{.Label \"a\"}}|{{.Links}}|{{.Size}}|{{.Scope}}"),
                false,
                "data|a=1,b=2|1|2|1.5kB|local\nother-one|||N/A|N/A|local\n",
            ),
        ] {
            assert_eq!(list(&some(), format, quiet).unwrap(), text, "{format:?}");
        }
        assert_eq!(
            list(&some()[1..], Some("json"), false).unwrap(),
            "{\"Availability\":\"N/A\",\"Driver\":\"local\",\"Group\":\"N/A\",\"Labels\":\"\",\"Links\":\"N/A\",\"Mountpoint\":\"/v/other-one/_data\",\"Name\":\"other-one\",\"Scope\":\"local\",\"Size\":\"N/A\",\"Status\":\"N/A\"}\n"
        );
        assert_eq!(
            usage(&some()).unwrap(),
            "VOLUME NAME   LINKS     SIZE\ndata          2         1.5kB\nother-one     N/A       N/A\n"
        );
    }

    #[test]
    fn documents() {
        let mut errors = Vec::new();
        let show = |format: Option<&str>, errors: &mut Vec<String>| {
            let documents: Vec<Value> = some().iter().map(document).collect();
            Inspector::new(format).unwrap().show(&documents[1..], errors)
        };
        assert_eq!(
            show(None, &mut errors),
            "[\n    {\n        \"CreatedAt\": \"2026-11-28T08:00:00Z\",\n        \"Driver\": \"local\",\n        \"Labels\": null,\n        \"Mountpoint\": \"/v/other-one/_data\",\n        \"Name\": \"other-one\",\n        \"Options\": null,\n        \"Scope\": \"local\"\n    }\n]\n"
        );
        assert_eq!(
            show(Some("{{.Mountpoint}} {{.Labels}}"), &mut errors),
            "/v/other-one/_data map[]\n"
        );
        assert!(errors.is_empty());
    }
}
