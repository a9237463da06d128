//! What is in the build cache: `buildx du`, and what a prune has taken away.
//!
//! May not: count what is in images as well twice.

use std::collections::HashSet;

use image::store::cache::Entry;

use super::ago;
use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Template, Value};
use crate::units::{go_time, size_exact};

const HEADERS: [(&str, &str); 11] = [
    ("ID", "ID"),
    ("Parents", "PARENTS"),
    ("CreatedAt", "CREATED AT"),
    ("Mutable", "MUTABLE"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Shared", "SHARED"),
    ("Size", "SIZE"),
    ("Description", "DESCRIPTION"),
    ("UsageCount", "USAGE COUNT"),
    ("LastUsedAt", "LAST ACCESSED"),
    ("Type", "TYPE"),
];

const USUAL: &str = "table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}";

/// All there is to say of each.
const PRETTY: &str = "ID:           {{.ID}}
{{- if .Parents }}
Parents:
{{- range .Parents }}
 - {{.}}
{{- end }}
{{- end }}
Created at:   {{.CreatedAt}}
Mutable:      {{.Mutable}}
Reclaimable:  {{.Reclaimable}}
Shared:       {{.Shared}}
Size:         {{.Size}}
{{- if .Description}}
Description:  {{ .Description }}
{{- end }}
Usage count:  {{.UsageCount}}
{{- if .LastUsedAt}}
Last used:    {{ .LastUsedAt }}
{{- end }}
{{- if .Type}}
Type:         {{ .Type }}
{{- end }}
";

/// Ids are as long as BuildKit's.
const ID: usize = 25;

/// How a list is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look<'l> {
    pub format: Option<&'l str>,
    pub verbose: bool,
    /// What all of them come to stands below.
    pub summary: bool,
    pub now: i64,
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn id(key: &image::Digest) -> &str {
    key.hex().get(..ID).unwrap_or_default()
}

/// The list of `buildx du`.
///
/// # Errors
/// The template is wrong.
pub fn list(entries: &[Entry], look: Look<'_>) -> Result<String, Failure> {
    let (text, is_usual) = match look.format {
        None | Some(format::TABLE) if !look.verbose => (USUAL, true),
        None | Some("pretty") => (PRETTY, true),
        Some(own) => (own, false),
    };
    let is_table = format::is_table(text);
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| row(entry, is_table, look.now))
        .collect();
    let mut out = format::rows(text, &HEADERS, &rows)?;
    if is_usual && look.summary {
        out.push_str(&summary(entries));
    }
    Ok(out)
}

fn row(entry: &Entry, is_table: bool, now: i64) -> Value {
    let star = |yes: bool| if is_table && yes { "*" } else { "" };
    let parents: Vec<String> = entry.parents.iter().map(|parent| id(parent).to_owned()).collect();
    Struct::row("commands.diskusageContext")
        .with("ID", format!("{}{}", id(&entry.key), star(entry.is_mutable())))
        .with("Parents", parents)
        .with("CreatedAt", go_time(entry.created / 1_000_000_000))
        .with("Mutable", entry.is_mutable())
        .with("Reclaimable", !entry.is_in_use)
        .with("Shared", entry.is_shared)
        .with(
            "Size",
            format!("{}{}", size_exact(signed(entry.size)), star(entry.is_shared)),
        )
        .with("Description", entry.description.as_str())
        .with("UsageCount", i64::try_from(entry.uses).unwrap_or(i64::MAX))
        .with("LastUsedAt", ago(now, entry.used / 1_000_000_000))
        .with("Type", entry.kind.as_str())
        .into()
}

fn summary(entries: &[Entry]) -> String {
    // Several steps may have come to the same layer.
    let mut seen = HashSet::new();
    let distinct: Vec<&Entry> = entries
        .iter()
        .filter(|entry| entry.diff_id.as_ref().is_none_or(|id| seen.insert(id)))
        .collect();
    let sum = |of: &dyn Fn(&Entry) -> bool| -> u64 {
        distinct
            .iter()
            .filter(|entry| of(entry))
            .map(|entry| entry.size)
            .sum()
    };
    let (total, shared, reclaimable) = (sum(&|_| true), sum(&|e| e.is_shared), sum(&|e| !e.is_in_use));
    let mut text = String::new();
    if shared > 0 {
        text.push_str(&format!(
            "Shared:\t{}\nPrivate:\t{}\n",
            size_exact(signed(shared)),
            size_exact(signed(total - shared))
        ));
    }
    text.push_str(&format!(
        "Reclaimable:\t{}\nTotal:\t{}\n",
        size_exact(signed(reclaimable)),
        size_exact(signed(total))
    ));
    tabbed(&text)
}

/// What a prune has taken away, and how much the disk has back.
///
/// # Errors
/// None that our own template can bring about.
pub fn pruned(entries: &[Entry], bytes: u64, verbose: bool, now: i64) -> Result<String, Failure> {
    let mut out = String::new();
    if verbose {
        let template = Template::parse("", PRETTY).map_err(format::bad)?;
        for entry in entries {
            out.push_str(&template.render(&row(entry, false, now)).map_err(format::bad)?);
            out.push('\n');
        }
    } else if !entries.is_empty() {
        let mut table = "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n".to_owned();
        for (n, entry) in entries.iter().enumerate() {
            let id = format!("{}{}", id(&entry.key), if entry.is_mutable() { "*" } else { "" });
            let size = format!(
                "{}{}",
                size_exact(signed(entry.size)),
                if entry.is_shared { "*" } else { "" }
            );
            let used = ago(now, entry.used / 1_000_000_000);
            table.push_str(&format!(
                "{id:<40}\t{:<5}\t{size:<10}\t{used}\n",
                !entry.is_in_use
            ));
            // Docker aligns the first row with the headers, and each other one by itself.
            if n == 0 {
                out.push_str(&tabbed(&std::mem::take(&mut table)));
            }
        }
        for line in table.split_inclusive('\n') {
            out.push_str(&tabbed(line));
        }
    }
    out.push_str(&tabbed(&format!("Total:\t{}\n", size_exact(signed(bytes)))));
    Ok(out)
}

/// Columns that are filled up with tabs to a multiple of eight, as buildx has Go do it.
fn tabbed(text: &str) -> String {
    const TAB: usize = 8;
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut out = String::new();
    for line in &lines {
        for (n, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if n + 1 == line.len() {
                continue;
            }
            let widest = lines.iter().filter(|l| l.len() > n + 1).map(|l| l[n].len()).max();
            let width = (widest.unwrap_or(0) + 1).next_multiple_of(TAB);
            let missing = width.saturating_sub(cell.len()).div_ceil(TAB);
            out.extend(std::iter::repeat_n('\t', missing));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_filled_up_with_tabs() {
        assert_eq!(
            tabbed("Reclaimable:\t1kB\nTotal:\t12kB\n"),
            "Reclaimable:\t1kB\nTotal:\t\t12kB\n"
        );
        assert_eq!(tabbed("Total:\t0B\n"), "Total:\t0B\n");
    }
}
