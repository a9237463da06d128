//! `history`: a row for each step, the latest first.

use super::ago;
use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Value};
use crate::units::{rfc3339, short_id, size};
use crate::width::ellipsis;

/// One step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// `sha256:` and 64 digits, or `<missing>`: only the latest one is an image.
    pub id: String,
    /// Seconds since 1970.
    pub created: Option<i64>,
    pub created_by: String,
    pub size: i64,
    pub comment: String,
}

/// How the list is to look.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    pub format: Option<&'a str>,
    pub quiet: bool,
    pub no_trunc: bool,
    pub human: bool,
    /// Seconds since 1970.
    pub now: i64,
}

const HEADERS: [(&str, &str); 6] = [
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
/// 2000-01-01: what is older has been made up so that builds repeat.
const EPOCH: i64 = 946_684_800;

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(steps: &[Step], look: Look<'_>) -> Result<String, Failure> {
    let format = match look.format.unwrap_or(format::TABLE) {
        format::TABLE if look.quiet => "{{.ID}}",
        format::TABLE if look.human => {
            "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
        }
        format::TABLE => "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
        own => own,
    };
    let rows: Vec<Value> = steps.iter().map(|s| row(s, look)).collect();
    format::rows(format, &HEADERS, &rows)
}

fn row(step: &Step, look: Look<'_>) -> Value {
    let created = step.created.unwrap_or(0);
    let created_by = step.created_by.replace('\t', " ");
    let since = match look.human {
        false => rfc3339(created),
        true if created <= EPOCH => "N/A".to_owned(),
        true => ago(look.now, created),
    };
    let id = if look.no_trunc {
        step.id.clone()
    } else {
        short_id(&step.id)
    };
    Struct::row("image.historyContext")
        .with("ID", id)
        .with("CreatedSince", since)
        .with("CreatedAt", rfc3339(created))
        .with(
            "CreatedBy",
            if look.no_trunc {
                created_by
            } else {
                ellipsis(&created_by, 45)
            },
        )
        .with(
            "Size",
            if look.human {
                size(step.size)
            } else {
                step.size.to_string()
            },
        )
        .with("Comment", step.comment.as_str())
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn some() -> Vec<Step> {
        vec![
            Step {
                id: format!("sha256:{}", "0123456789abcdef".repeat(4)),
                created: Some(NOW - 86400 * 20),
                created_by: "CMD [\"bash\"]".to_owned(),
                comment: "buildkit.dockerfile.v0".to_owned(),
                ..Step::default()
            },
            Step {
                id: "<missing>".to_owned(),
                created: Some(0),
                created_by: format!("RUN /bin/sh -c set -eux;\tapt-get {}", "x".repeat(40)),
                size: 117_000_000,
                ..Step::default()
            },
        ]
    }

    fn look() -> Look<'static> {
        Look {
            format: None,
            quiet: false,
            no_trunc: false,
            human: true,
            now: NOW,
        }
    }

    #[test]
    fn the_table() {
        assert_eq!(
            list(&some(), look()).unwrap(),
            "IMAGE          CREATED       CREATED BY                                      SIZE      COMMENT\n\
             0123456789ab   2 weeks ago   CMD [\"bash\"]                                    0B        buildkit.dockerfile.v0\n\
             <missing>      N/A           RUN /bin/sh -c set -eux; apt-get xxxxxxxxxxx…   117MB     \n"
        );
    }

    #[test]
    fn not_for_people() {
        let plain = Look {
            human: false,
            no_trunc: true,
            format: Some("{{.Size}} {{.CreatedBy}}"),
            ..look()
        };
        let text = list(&some(), plain).unwrap();
        assert!(
            text.contains("117000000 RUN /bin/sh -c set -eux; apt-get xxxx"),
            "{text}"
        );
        let quiet = Look {
            quiet: true,
            ..look()
        };
        assert_eq!(list(&some(), quiet).unwrap(), "0123456789ab\n<missing>\n");
    }
}
