//! `images`: a row for each name of an image.

use super::ago;
use crate::format;
use crate::session::Failure;
use crate::template::{Struct, Value};
use crate::units::{go_time, short_id, size, size_exact};

/// An image as lists show it.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// `sha256:` and 64 digits.
    pub id: String,
    /// Repository as people write it, and tag.
    pub tags: Vec<(String, String)>,
    /// Repository as people write it, and `sha256:` digest.
    pub digests: Vec<(String, String)>,
    /// Seconds since 1970, if the image says so.
    pub created: Option<i64>,
    pub size: i64,
    /// Bytes of layers that other images have as well; only `df` knows.
    pub shared: Option<i64>,
    /// Containers that stand on it; only `df` knows.
    pub containers: Option<i64>,
}

/// How the list is to look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look<'a> {
    /// `--format`, or the user's own default.
    pub format: Option<&'a str>,
    pub quiet: bool,
    pub no_trunc: bool,
    pub digests: bool,
    /// Seconds since 1970.
    pub now: i64,
}

const NONE: &str = "<none>";
const HEADERS: [(&str, &str); 10] = [
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// The whole list.
///
/// # Errors
/// The template is wrong.
pub fn list(images: &[Image], look: Look<'_>) -> Result<String, Failure> {
    let format = layout(look);
    let want_digest = look.digests || format.contains("{{.Digest}}");
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| {
            names(image, want_digest, look.digests)
                .into_iter()
                .map(|name| row(image, &name, look.no_trunc, look.now))
        })
        .collect();
    format::rows(&format, &HEADERS, &rows)
}

/// The verbose table of `df`.
///
/// # Errors
/// None that our own template can bring about.
pub fn usage(images: &[Image], now: i64) -> Result<String, Failure> {
    let format = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    format::rows(format, &HEADERS, &usage_rows(images, now))
}

/// A row for each image, under its first name.
pub fn usage_rows(images: &[Image], now: i64) -> Vec<Value> {
    images
        .iter()
        .map(|image| {
            let (repository, tag) = match image.tags.first() {
                Some((repository, tag)) => (repository.as_str(), tag.as_str()),
                None => (NONE, NONE),
            };
            let name = Name {
                repository,
                tag,
                digest: "",
            };
            row(image, &name, false, now)
        })
        .collect()
}

/// The template: the user's, or one of the defaults.
fn layout(look: Look<'_>) -> String {
    let (digest, quiet) = (look.digests, look.quiet);
    match look.format.unwrap_or(format::TABLE) {
        format::TABLE if quiet => "{{.ID}}".to_owned(),
        format::TABLE => {
            let digest = if digest { "{{.Digest}}\t" } else { "" };
            format!(
                "table {{{{.Repository}}}}\t{{{{.Tag}}}}\t{digest}{{{{.ID}}}}\t{{{{if .CreatedSince}}}}{{{{.CreatedSince}}}}{{{{else}}}}N/A{{{{end}}}}\t{{{{.Size}}}}"
            )
        }
        "raw" if quiet => "image_id: {{.ID}}".to_owned(),
        "raw" => {
            let digest = if digest { "digest: {{.Digest}}\n" } else { "" };
            format!(
                "repository: {{{{.Repository}}}}\ntag: {{{{.Tag}}}}\n{digest}image_id: {{{{.ID}}}}\ncreated_at: {{{{.CreatedAt}}}}\nvirtual_size: {{{{.Size}}}}\n"
            )
        }
        own if format::is_table(own) && digest && !own.contains("{{.Digest}}") => {
            format!("{own}\t{{{{.Digest}}}}")
        }
        own => own.to_owned(),
    }
}

struct Name<'i> {
    repository: &'i str,
    tag: &'i str,
    digest: &'i str,
}

/// Its tags, each with the digests of its repository if they are wanted; then repositories that know it by digest alone.
fn names(image: &Image, want_digest: bool, digest_rows: bool) -> Vec<Name<'_>> {
    let mut names = Vec::new();
    for (repository, tag) in &image.tags {
        let mut digests = image
            .digests
            .iter()
            .filter(|(r, _)| want_digest && r == repository)
            .map(|(_, digest)| digest.as_str())
            .peekable();
        if digests.peek().is_none() {
            names.push(Name {
                repository,
                tag,
                digest: NONE,
            });
        }
        names.extend(digests.map(|digest| Name {
            repository,
            tag,
            digest,
        }));
    }
    let untagged = image
        .digests
        .iter()
        .filter(|(r, _)| !image.tags.iter().any(|(tagged, _)| tagged == r));
    let mut last = "";
    for (repository, digest) in untagged {
        if digest_rows || repository != last {
            names.push(Name {
                repository,
                tag: NONE,
                digest: if digest_rows { digest } else { "" },
            });
        }
        last = repository;
    }
    if names.is_empty() {
        names.push(Name {
            repository: NONE,
            tag: NONE,
            digest: NONE,
        });
    }
    names
}

fn row(image: &Image, name: &Name<'_>, no_trunc: bool, now: i64) -> Value {
    let unknown = || "N/A".to_owned();
    let id = if no_trunc {
        image.id.clone()
    } else {
        short_id(&image.id)
    };
    Struct::row("formatter.imageContext")
        .with("ID", id)
        .with("Repository", name.repository)
        .with("Tag", name.tag)
        .with("Digest", name.digest)
        .with(
            "CreatedSince",
            image.created.map_or_else(String::new, |t| ago(now, t)),
        )
        .with("CreatedAt", image.created.map_or_else(unknown, go_time))
        .with("Size", size(image.size))
        .with(
            "Containers",
            image.containers.map_or_else(unknown, |n| n.to_string()),
        )
        .with("SharedSize", image.shared.map_or_else(unknown, size_exact))
        .with(
            "UniqueSize",
            image.shared.map_or_else(unknown, |s| size_exact(image.size - s)),
        )
        .into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn some() -> Vec<Image> {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        vec![
            Image {
                id: format!("sha256:{}", "0123456789abcdef".repeat(4)),
                tags: vec![pair("debian", "12"), pair("localhost:5000/a/debian", "latest")],
                digests: vec![pair("debian", "sha256:aaaa"), pair("other", "sha256:bbbb")],
                created: Some(NOW - 3 * 86400),
                size: 117_234_567,
                ..Image::default()
            },
            Image {
                id: format!("sha256:{}", "fedcba9876543210".repeat(4)),
                size: 5,
                ..Image::default()
            },
        ]
    }

    fn shown(look: Look<'_>) -> String {
        list(&some(), Look { now: NOW, ..look }).unwrap()
    }

    #[test]
    fn the_table() {
        assert_eq!(
            shown(Look::default()),
            "REPOSITORY                TAG       IMAGE ID       CREATED      SIZE\n\
             debian                    12        0123456789ab   3 days ago   117MB\n\
             localhost:5000/a/debian   latest    0123456789ab   3 days ago   117MB\n\
             other                     <none>    0123456789ab   3 days ago   117MB\n\
             <none>                    <none>    fedcba987654   N/A          5B\n"
        );
    }

    #[test]
    fn with_digests() {
        assert_eq!(
            shown(Look {
                digests: true,
                ..Look::default()
            }),
            "REPOSITORY                TAG       DIGEST        IMAGE ID       CREATED      SIZE\n\
             debian                    12        sha256:aaaa   0123456789ab   3 days ago   117MB\n\
             localhost:5000/a/debian   latest    <none>        0123456789ab   3 days ago   117MB\n\
             other                     <none>    sha256:bbbb   0123456789ab   3 days ago   117MB\n\
             <none>                    <none>    <none>        fedcba987654   N/A          5B\n"
        );
    }

    #[test]
    fn quiet_and_formats() {
        let quiet = Look {
            quiet: true,
            ..Look::default()
        };
        assert_eq!(
            shown(quiet),
            "0123456789ab\n0123456789ab\n0123456789ab\nfedcba987654\n"
        );
        let long = shown(Look {
            no_trunc: true,
            ..quiet
        });
        assert!(long.lines().all(|l| l.len() == 71), "{long}");
        let format = |format| {
            shown(Look {
                format: Some(format),
                ..Look::default()
            })
        };
        assert_eq!(
            format("{{.Repository}}:{{.Tag}}"),
            "debian:12\nlocalhost:5000/a/debian:latest\nother:<none>\n<none>:<none>\n"
        );
        assert!(
            format("raw").starts_with("repository: debian\ntag: 12\nimage_id: 0123456789ab\ncreated_at: 20")
        );
        assert!(format("json").starts_with(r#"{"Containers":"N/A","CreatedAt":"20"#));
    }
}
