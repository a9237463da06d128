//! `search`: a row for each repository that the registry found.

use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Value};
use crate::width::ellipsis;

/// One repository.
#[derive(Clone, Debug, Default)]
pub struct Found {
    pub name: String,
    pub description: String,
    pub stars: i64,
    pub official: bool,
}

const HEADERS: [(&str, &str); 4] = [
    ("Name", "NAME"),
    ("Description", "DESCRIPTION"),
    ("StarCount", "STARS"),
    ("IsOfficial", "OFFICIAL"),
];

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(found: &[Found], format: Option<&str>, no_trunc: bool) -> Result<String, Failure> {
    let format = match format {
        None | Some("" | format::TABLE) => {
            "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}"
        }
        Some(own) => own,
    };
    let rows: Vec<Value> = found.iter().map(|f| row(f, format, no_trunc)).collect();
    format::rows(format, &HEADERS, &rows)
}

fn row(found: &Found, format: &str, no_trunc: bool) -> Value {
    let description = found.description.replace(['\n', '\r'], " ");
    // In JSON a word, in a table a mark.
    let official = match (format == "json" || format.contains("json ."), found.official) {
        (true, official) => official.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    Struct::row("registry.searchContext")
        .with("Name", found.name.as_str())
        .with(
            "Description",
            if no_trunc {
                description
            } else {
                ellipsis(&description, 45)
            },
        )
        .with("StarCount", found.stars.to_string())
        .with("IsOfficial", official)
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table() {
        let found = [
            Found {
                name: "ubuntu".to_owned(),
                description: "Ubuntu is a Debian-based Linux operating system based on free software."
                    .to_owned(),
                stars: 17_000,
                official: true,
            },
            Found {
                name: "a/b".to_owned(),
                description: "two\nlines".to_owned(),
                ..Found::default()
            },
        ];
        assert_eq!(
            list(&found, None, false).unwrap(),
            "NAME      DESCRIPTION                                     STARS     OFFICIAL\n\
             ubuntu    Ubuntu is a Debian-based Linux operating sys…   17000     [OK]\n\
             a/b       two lines                                       0         \n"
        );
        assert_eq!(
            list(&found[1..], Some("json"), false).unwrap(),
            "{\"Description\":\"two lines\",\"IsOfficial\":\"false\",\"Name\":\"a/b\",\"StarCount\":\"0\"}\n"
        );
    }
}
