//! `system df`: a row for each kind of thing, or a table of each.

use super::images::{self, Image};
use super::volumes::{self, Volume};
use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Template, Value};
use crate::units::size_exact;

/// What all things of one kind take.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// `Images`, `Containers`, `Local Volumes`, `Build Cache`.
    pub kind: &'static str,
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    pub size: i64,
    pub reclaimable: i64,
}

const HEADERS: [(&str, &str); 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];
const RAW: &str = "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\nreclaimable: {{.Reclaimable}}\n";

/// A row for each kind.
///
/// # Errors
/// The template is wrong.
pub fn list(usages: &[Usage], format: Option<&str>) -> Result<String, Failure> {
    let format = match format.unwrap_or(format::TABLE) {
        format::TABLE => "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
        "raw" => RAW,
        own => own,
    };
    let rows: Vec<Value> = usages.iter().map(row).collect();
    format::rows(format, &HEADERS, &rows)
}

fn row(usage: &Usage) -> Value {
    let mut reclaimable = size_exact(usage.reclaimable);
    // A build cache is not told in percent.
    if usage.size > 0 && usage.kind != "Build Cache" {
        let percent = i128::from(usage.reclaimable) * 100 / i128::from(usage.size);
        reclaimable.push_str(&format!(" ({percent}%)"));
    }
    Struct::row("formatter.diskUsageImagesContext")
        .with("Type", usage.kind)
        .with("TotalCount", usage.total.to_string())
        .with("Active", usage.active.to_string())
        .with("Size", size_exact(usage.size))
        .with("Reclaimable", reclaimable)
        .into()
}

/// A table of each kind. Containers and the cache have only their headers, because scripts count sections.
///
/// # Errors
/// The template is wrong.
pub fn verbose(
    images: &[Image],
    volumes: &[Volume],
    format: Option<&str>,
    now: i64,
) -> Result<String, Failure> {
    if let Some(own) = format.filter(|f| *f != format::TABLE) {
        let text = if own == "json" { "{{json .}}" } else { own };
        let none = || Value::list("[]interface {}", Vec::new());
        let all = Struct::new("formatter.diskUsageContext")
            .with(
                "Images",
                Value::list("[]*formatter.imageContext", images::usage_rows(images, now)),
            )
            .with("Containers", none())
            .with(
                "Volumes",
                Value::list("[]*formatter.volumeContext", volumes::rows(volumes)),
            )
            .with("BuildCache", none());
        let template =
            Template::parse("", &text.replace("\\t", "\t").replace("\\n", "\n")).map_err(format::bad)?;
        return template.render(&all.into()).map_err(format::bad);
    }
    let empty = |columns: &[(&'static str, &'static str)]| {
        let fields: Vec<String> = columns
            .iter()
            .map(|(field, _)| format!("{{{{.{field}}}}}"))
            .collect();
        format::rows(&format!("table {}", fields.join("\t")), columns, &[])
    };
    let containers = empty(&[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ])?;
    let volumes = volumes::usage(volumes)?;
    let cache = empty(&[
        ("ID", "CACHE ID"),
        ("CacheType", "CACHE TYPE"),
        ("Size", "SIZE"),
        ("CreatedSince", "CREATED"),
        ("LastUsedSince", "LAST USED"),
        ("UsageCount", "USAGE"),
        ("Shared", "SHARED"),
    ])?;
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\nBuild cache usage: 0B\n\n{cache}",
        images::usage(images, now)?
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table() {
        let usages = [
            Usage {
                kind: "Images",
                total: 3,
                active: 1,
                size: 1_234_567_890,
                reclaimable: 500_000_000,
            },
            Usage {
                kind: "Containers",
                ..Usage::default()
            },
            Usage {
                kind: "Build Cache",
                size: 1,
                reclaimable: 1,
                ..Usage::default()
            },
        ];
        assert_eq!(
            list(&usages, None).unwrap(),
            "TYPE          TOTAL     ACTIVE    SIZE      RECLAIMABLE\n\
             Images        3         1         1.235GB   500MB (40%)\n\
             Containers    0         0         0B        0B\n\
             Build Cache   0         0         1B        1B\n"
        );
    }

    #[test]
    fn in_detail() {
        let image = Image {
            id: format!("sha256:{}", "0".repeat(64)),
            tags: vec![("a".to_owned(), "b".to_owned())],
            created: Some(1_000_000_000),
            size: 2000,
            shared: Some(500),
            containers: Some(2),
            ..Image::default()
        };
        let text = verbose(std::slice::from_ref(&image), &[], None, 1_000_000_100).unwrap();
        assert!(text.starts_with(
            "Images space usage:\n\n\
             REPOSITORY   TAG       IMAGE ID       CREATED              SIZE      SHARED SIZE   UNIQUE SIZE   CONTAINERS\n\
             a            b         000000000000   About a minute ago   2kB       500B          1.5kB         2\n\n\
             Containers space usage:\n\nCONTAINER ID"
        ), "{text}");
        assert_eq!(
            verbose(&[image], &[], Some("{{range .Images}}{{.Repository}}{{end}}"), 0).unwrap(),
            "a"
        );
    }
}
