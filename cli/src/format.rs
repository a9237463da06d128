//! Lists for people and scripts: `--format` of everything that prints rows.
//!
//! May not: know what the rows are.

use crate::session::{Failure, Session};
use crate::tabs;
use crate::template::{Functions, Map, MissingKey, Template, Value};
use std::collections::BTreeMap;

/// The whole default, where a command has more than one.
pub const TABLE: &str = "table";

/// Renders rows. `format` is `json`, `table TEMPLATE` or a template with a line for each row; a bare `table` has been replaced
/// by the command's own by now. `headers` are what the fields of the rows are called.
///
/// # Errors
/// The template cannot be parsed, or not be executed on a row.
pub fn rows(format: &str, headers: &[(&str, &str)], rows: &[Value]) -> Result<String, Failure> {
    let template = Template::parse("", &template_text(format)).map_err(bad)?;
    let mut body = String::new();
    for row in rows {
        template
            .execute(&mut body, row, Functions::Docker, MissingKey::NoValue)
            .map_err(bad)?;
        body.push('\n');
    }
    if !is_table(format) {
        return Ok(body);
    }
    let mut text = String::new();
    // What cannot be said of headers is not said of them: Docker ignores that as well.
    let _ = template.execute(
        &mut text,
        &header(headers),
        Functions::Headers,
        MissingKey::NoValue,
    );
    text.push('\n');
    text.push_str(&body);
    Ok(tabs::align(&text, tabs::TABLE))
}

/// The complaint about a template.
pub fn bad(message: String) -> Failure {
    Failure::plain(format!("template parsing error: {message}"))
}

/// Whether it has a line of headers.
pub fn is_table(format: &str) -> bool {
    format.starts_with(TABLE)
}

fn template_text(format: &str) -> String {
    match format {
        TABLE => return String::new(),
        "json" => return "{{json .}}".to_owned(),
        _ => {}
    }
    let text = format.strip_prefix(TABLE).unwrap_or(format);
    // A backslash and a letter: shells pass them on as they are.
    text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n")
}

/// Headers are a map with one method: `{{.Label "com.example.some-name"}}` is headed `some name`.
fn header(headers: &[(&str, &str)]) -> Value {
    let label = Value::method(1, |arguments| {
        let name = arguments[0].as_text().unwrap_or_default();
        let last = name.rsplit('.').next().unwrap_or_default();
        Ok(last.replace(['-', '_'], " ").into())
    });
    Map {
        kind: "formatter.SubHeaderContext",
        entries: headers
            .iter()
            .map(|(field, header)| ((*field).to_owned(), (*header).into()))
            .collect(),
        is_nil: false,
        methods: BTreeMap::from([("Label", label)]),
    }
    .into()
}

/// `--format` together with `--quiet`, where quiet wins: `ps`, `volume ls`, `network ls`.
pub fn quiet_wins(session: &Session) {
    session.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::template::Struct;

    const HEADERS: [(&str, &str); 2] = [("ID", "IMAGE ID"), ("Size", "SIZE")];

    fn some() -> Vec<Value> {
        [("a<b", "1kB"), ("0123456789ab", "13.3kB")]
            .into_iter()
            .map(|(id, size)| {
                Struct::row("formatter.imageContext")
                    .with("Size", size)
                    .with("ID", id)
                    .into()
            })
            .collect()
    }

    #[test]
    fn tables_lines_and_json() {
        for (format, text) in [
            (
                "table {{.ID}}\\t{{.Size}}",
                "IMAGE ID       SIZE\na<b            1kB\n0123456789ab   13.3kB\n",
            ),
            ("table", "\n\n\n"),
            ("table {{upper .ID}}", "IMAGE ID\nA<B\n0123456789AB\n"),
            ("{{.ID}}\\n", "a<b\n\n0123456789ab\n\n"),
            (
                "json",
                "{\"ID\":\"a\\u003cb\",\"Size\":\"1kB\"}\n{\"ID\":\"0123456789ab\",\"Size\":\"13.3kB\"}\n",
            ),
            ("{{json .ID}}", "\"a<b\"\n\"0123456789ab\"\n"),
        ] {
            assert_eq!(rows(format, &HEADERS, &some()).unwrap(), text, "{format}");
        }
    }

    #[test]
    fn a_table_without_rows_has_headers() {
        assert_eq!(
            rows("table {{.ID}}\\t{{.Nope}}", &HEADERS, &[]).unwrap(),
            "IMAGE ID   <no value>\n"
        );
    }

    #[test]
    fn labels_have_headers_too() {
        assert_eq!(
            rows("table {{.Label \"org.some-thing_x\"}}", &HEADERS, &[]).unwrap(),
            "some thing x\n"
        );
    }

    #[test]
    fn a_wrong_field_is_told_as_docker_tells_it() {
        assert_eq!(
            rows("{{.Foo}}", &HEADERS, &some()).unwrap_err().message,
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.imageContext"
        );
        assert_eq!(
            rows("{{.", &HEADERS, &[]).unwrap_err().message,
            "template parsing error: template: :1: illegal number syntax: \".\""
        );
    }
}
