//! `stats`: a row for each container.

use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Value};
use crate::units;
use engine::stats::Usage;

/// A container.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// As the user calls it, or its id.
    pub word: String,
    pub id: String,
    pub name: String,
    /// `None`: it could not be found out.
    pub usage: Option<Usage>,
}

impl Row {
    /// Of a container that is gone.
    pub fn unknown(word: &str) -> Row {
        Row {
            word: word.to_owned(),
            ..Row::default()
        }
    }
}

const HEADERS: [(&str, &str); 9] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
const DEFAULT: &str = "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(rows: &[Row], format: Option<&str>, no_trunc: bool) -> Result<String, Failure> {
    let format = match format {
        None | Some("" | format::TABLE) => DEFAULT,
        Some(own) => own,
    };
    let rows: Vec<Value> = rows.iter().map(|row| value(row, no_trunc)).collect();
    format::rows(format, &HEADERS, &rows)
}

fn value(row: &Row, no_trunc: bool) -> Value {
    let show = |of: &dyn Fn(&Usage) -> String, without: &str| {
        row.usage.as_ref().map_or_else(|| without.to_owned(), of)
    };
    let known = |text: &str| {
        if text.is_empty() {
            "--".to_owned()
        } else {
            text.to_owned()
        }
    };
    let size = |bytes: u64| units::size(i64::try_from(bytes).unwrap_or(i64::MAX));
    let id = match no_trunc {
        true => row.id.clone(),
        false => units::short_id(&row.id),
    };
    Struct::row("container.statsContext")
        .with("Container", row.word.as_str())
        .with("ID", known(&id))
        .with("Name", known(&row.name))
        .with("CPUPerc", show(&|u| format!("{:.2}%", u.cpu), "--"))
        .with(
            "MemUsage",
            show(
                &|u| format!("{} / {}", units::binary(u.memory), units::binary(u.limit)),
                "-- / --",
            ),
        )
        .with("MemPerc", show(&|u| format!("{:.2}%", u.memory_percent()), "--"))
        .with(
            "NetIO",
            show(&|u| format!("{} / {}", size(u.received), size(u.sent)), "--"),
        )
        .with(
            "BlockIO",
            show(&|u| format!("{} / {}", size(u.read), size(u.written)), "--"),
        )
        .with("PIDs", show(&|u| u.pids.to_string(), "--"))
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table() {
        let rows = [
            Row {
                word: "web".into(),
                id: "0123456789abcdef".into(),
                name: "web".into(),
                usage: Some(Usage {
                    cpu: 12.345,
                    memory: 1_572_864,
                    limit: 2 << 30,
                    received: 1234,
                    sent: 0,
                    read: 5_000_000,
                    written: 1,
                    pids: 3,
                }),
            },
            Row::unknown("gone"),
        ];
        assert_eq!(
            list(&rows, None, false).unwrap(),
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O   PIDS\n\
             0123456789ab   web       12.35%    1.5MiB / 2GiB       0.07%     1.23kB / 0B   5MB / 1B    3\n\
             --             --        --        -- / --             --        --            --          --\n"
        );
        assert_eq!(
            list(&rows[..1], Some("json"), true).unwrap(),
            "{\"BlockIO\":\"5MB / 1B\",\"CPUPerc\":\"12.35%\",\"Container\":\"web\",\"ID\":\"0123456789abcdef\",\"MemPerc\":\"0.07%\",\"MemUsage\":\"1.5MiB / 2GiB\",\"Name\":\"web\",\"NetIO\":\"1.23kB / 0B\",\"PIDs\":\"3\"}\n"
        );
    }
}
