//! What `state`, `list`, `ps` and `events` print, byte for byte as programs expect it.
//!
//! May not: find anything out. Each function turns a small value into text.

use super::json;
use crate::error::{Error, Result};
use crate::time;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// A container as `state` and `list` show it. The order of the fields is the order of the keys.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateView {
    /// That of the state: what the runtime implements.
    pub oci_version: &'static str,
    /// Its name.
    pub id: String,
    /// Of init in the caller's pid namespace; 0 once stopped.
    pub pid: i32,
    /// `creating`, `created`, `running`, `paused` or `stopped`.
    pub status: &'static str,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the root file system.
    pub rootfs: String,
    /// When it was created.
    #[serde(serialize_with = "as_rfc3339_nano")]
    pub created: SystemTime,
    /// Of its config.json.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Empty for `state`. For `list` the owner of the state directory: a user name, or `#uid` without one.
    pub owner: String,
}

fn as_rfc3339_nano<S: Serializer>(at: &SystemTime, s: S) -> std::result::Result<S::Ok, S::Error> {
    s.serialize_str(&time::rfc3339_nano(*at))
}

/// `state`: indented by two spaces, no newline at the end.
///
/// # Errors
/// None that our types can bring about.
pub fn state(view: &StateView) -> Result<String> {
    json::indented(view, "  ")
}

/// `list`: a table for people.
pub fn list_table(views: &[StateView]) -> String {
    let mut table = Table::new(12, 3);
    table.row(
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
            .map(String::from)
            .into(),
    );
    for v in views {
        table.row(vec![
            v.id.clone(),
            v.pid.to_string(),
            v.status.to_string(),
            v.bundle.clone(),
            time::rfc3339_nano(v.created),
            v.owner.clone(),
        ]);
    }
    table.render()
}

/// `list --format json`: one line, `null` when there is nothing.
///
/// # Errors
/// None that our types can bring about.
pub fn list_json(views: &[StateView]) -> Result<String> {
    let mut out = if views.is_empty() {
        "null".to_string()
    } else {
        json::compact(views)?
    };
    out.push('\n');
    Ok(out)
}

/// `list --quiet`: an id a line.
pub fn list_quiet(views: &[StateView]) -> String {
    views.iter().flat_map(|v| [v.id.as_str(), "\n"]).collect()
}

/// `ps --format json`: one line, `null` when nobody is there.
///
/// # Errors
/// None that our types can bring about.
pub fn ps_json(pids: &[i32]) -> Result<String> {
    let mut out = if pids.is_empty() {
        "null".to_string()
    } else {
        json::compact(pids)?
    };
    out.push('\n');
    Ok(out)
}

/// `ps`: of what ps(1) printed, the heading and the lines whose PID column names one of `pids`.
///
/// # Errors
/// When the heading has no PID column, or a line has no number in it.
pub fn ps_table(printed: &str, pids: &[i32]) -> Result<String> {
    let mut lines = printed.split('\n');
    let heading = lines.next().unwrap_or_default();
    let column = heading
        .split_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::new("couldn't find PID field in ps output"))?;
    let mut out = format!("{heading}\n");
    for line in lines.filter(|l| !l.is_empty()) {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| Error::new(format!("unable to parse pid: {line:?}")))?;
        if pids.contains(&pid) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

/// One line of `events`.
#[derive(Clone, Debug, Serialize)]
pub struct Event<'a> {
    /// `stats` or `oom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Of the container.
    pub id: &'a str,
    /// For `stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a super::stats::Stats>,
}

/// `events`: one line.
///
/// # Errors
/// None that our types can bring about.
pub fn event(event: &Event<'_>) -> Result<String> {
    let mut out = json::compact(event)?;
    out.push('\n');
    Ok(out)
}

/// Columns as Go's text/tabwriter aligns them: the last cell of a line is no column, a cell's width counts characters,
/// and a column is a run of lines that all have it.
pub(super) struct Table {
    min_width: usize,
    padding: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(min_width: usize, padding: usize) -> Table {
        Table {
            min_width,
            padding,
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn render(&self) -> String {
        let mut out = String::new();
        for (n, row) in self.rows.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                out.push_str(cell);
                if column + 1 < row.len() {
                    let pad = self.width(n, column) - cell.chars().count();
                    out.extend(std::iter::repeat_n(' ', pad));
                }
            }
            out.push('\n');
        }
        out
    }

    /// Width of a column in the run of lines around line `n`.
    fn width(&self, n: usize, column: usize) -> usize {
        let has = |row: &&Vec<String>| row.len() > column + 1;
        let above = self.rows[..n].iter().rev().take_while(has);
        let below = self.rows[n..].iter().take_while(has);
        above
            .chain(below)
            .map(|row| row[column].chars().count() + self.padding)
            .fold(self.min_width, usize::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn view() -> StateView {
        StateView {
            oci_version: "1.3.0",
            id: "c1".into(),
            pid: 4242,
            status: "running",
            bundle: "/b<u>ndle".into(),
            rootfs: "/bundle/rootfs".into(),
            created: UNIX_EPOCH + Duration::new(1_795_231_230, 120_000_000),
            annotations: BTreeMap::new(),
            owner: String::new(),
        }
    }

    #[test]
    fn state_has_runcs_keys_in_runcs_order() {
        assert_eq!(
            state(&view()).unwrap(),
            "{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"c1\",\n  \"pid\": 4242,\n  \"status\": \"running\",\n  \
             \"bundle\": \"/b\\u003cu\\u003endle\",\n  \"rootfs\": \"/bundle/rootfs\",\n  \
             \"created\": \"2026-11-21T03:20:30.12Z\",\n  \"owner\": \"\"\n}"
        );
    }

    #[test]
    fn annotations_are_sorted_and_absent_when_empty() {
        let mut v = view();
        v.annotations = BTreeMap::from([("z".into(), "1".into()), ("a".into(), "2&3".into())]);
        let text = state(&v).unwrap();
        assert!(
            text.contains(
                "\"annotations\": {\n    \"a\": \"2\\u00263\",\n    \"z\": \"1\"\n  },\n  \"owner\""
            ),
            "{text}"
        );
    }

    #[test]
    fn list_as_json_is_one_line_or_null() {
        assert_eq!(list_json(&[]).unwrap(), "null\n");
        let mut v = view();
        v.owner = "root".into();
        assert_eq!(
            list_json(&[v]).unwrap(),
            "[{\"ociVersion\":\"1.3.0\",\"id\":\"c1\",\"pid\":4242,\"status\":\"running\",\
             \"bundle\":\"/b\\u003cu\\u003endle\",\"rootfs\":\"/bundle/rootfs\",\
             \"created\":\"2026-11-21T03:20:30.12Z\",\"owner\":\"root\"}]\n"
        );
    }

    #[test]
    fn list_as_table() {
        assert_eq!(
            list_table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let mut long = view();
        long.id = "a-rather-long-id".into();
        long.bundle = "/ü".into();
        long.owner = "root".into();
        assert_eq!(
            list_table(&[view(), long]),
            "ID                 PID         STATUS      BUNDLE      CREATED                   OWNER\n\
             c1                 4242        running     /b<u>ndle   2026-11-21T03:20:30.12Z   \n\
             a-rather-long-id   4242        running     /ü          2026-11-21T03:20:30.12Z   root\n"
        );
    }

    #[test]
    fn list_of_ids() {
        assert_eq!(list_quiet(&[]), "");
        assert_eq!(list_quiet(&[view(), view()]), "c1\nc1\n");
    }

    #[test]
    fn ps_keeps_the_lines_of_the_container() {
        let printed =
            "UID   PID  PPID CMD\nroot    1     0 init\nroot   42     1 sh -c 7\nroot    7    42 sleep\n";
        assert_eq!(
            ps_table(printed, &[42, 7]).unwrap(),
            "UID   PID  PPID CMD\nroot   42     1 sh -c 7\nroot    7    42 sleep\n"
        );
        assert_eq!(ps_table(printed, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert!(
            ps_table("CMD\nsh\n", &[1])
                .unwrap_err()
                .to_string()
                .contains("couldn't find PID field")
        );
        assert!(
            ps_table("PID\nsh\n", &[1])
                .unwrap_err()
                .to_string()
                .contains("unable to parse pid")
        );
    }

    #[test]
    fn ps_as_json() {
        assert_eq!(ps_json(&[]).unwrap(), "null\n");
        assert_eq!(ps_json(&[1, 22]).unwrap(), "[1,22]\n");
    }

    #[test]
    fn columns_are_runs_of_lines() {
        let mut t = Table::new(1, 2);
        for row in [
            &["--a", "x"][..],
            &["--longer", "y"],
            &["text without a column that is long"],
            &["b", "z"],
        ] {
            t.row(row.iter().map(|c| c.to_string()).collect());
        }
        assert_eq!(
            t.render(),
            "--a       x\n--longer  y\ntext without a column that is long\nb  z\n"
        );
    }

    #[test]
    fn events_are_lines() {
        let oom = Event {
            kind: "oom",
            id: "c<1>",
            data: None,
        };
        assert_eq!(
            event(&oom).unwrap(),
            "{\"type\":\"oom\",\"id\":\"c\\u003c1\\u003e\"}\n"
        );
    }
}
