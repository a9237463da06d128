//! Files of the web: what ADD with an address, and a context with one, come to.
//!
//! May not: unpack. Whoever wants that asks for it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::str::FromStr as _;

use image::digest::{Algorithm, Hasher};
use image::registry::Client;
use image::{Context, Digest, Error, Kind, Result};
use sys::xattr::Time;

use super::Tree;

/// Its owner alone: as in Docker.
const MODE: u32 = 0o600;

/// When an address names no file.
const NAMELESS: &str = "__unnamed__";

/// Something that stays a secret, by its name.
pub type Secrets<'s> = &'s (dyn Fn(&str) -> Result<Option<Vec<u8>>> + Sync);

/// What is to be fetched.
pub struct Download<'d> {
    pub address: &'d str,
    /// `sha256:...` that it has to have.
    pub checksum: Option<&'d str>,
    pub secrets: Secrets<'d>,
    /// A directory of ours, which has to stay as long as the tree is used. Each download has its own.
    pub place: &'d Path,
}

/// A file that was fetched.
pub struct Fetched {
    /// It and nothing else.
    pub tree: Tree,
    /// As [`super::Selection`] takes it.
    pub source: String,
    pub digest: Digest,
    /// The file itself, from its start.
    pub file: File,
    /// By what its server knows it again.
    pub version: Version,
}

/// What a server says of a file that changes when the file does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    pub tag: Option<String>,
    /// When it was last changed, in the server's words, if that was long enough ago to tell it from the next change.
    pub modified: Option<String>,
}

/// A file that was changed in the second in which it was fetched may be changed once more in it; and clocks differ (RFC 9110, 8.8.2.2).
const SETTLED: i64 = 60;

impl Version {
    /// By what a header of the answer says.
    fn of<'w>(header: impl Fn(&str) -> Option<&'w str>) -> Version {
        let modified = header("last-modified");
        let seconds = |text: Option<&str>| text.and_then(http_time).map(|time| time.seconds);
        let is_settled = match (seconds(header("date")), seconds(modified)) {
            (Some(now), Some(then)) => now - then >= SETTLED,
            _ => false,
        };
        Version {
            tag: header("etag").map(str::to_owned),
            modified: modified.filter(|_| is_settled).map(str::to_owned),
        }
    }

    /// Whether there is anything to know it by.
    pub fn is_none(&self) -> bool {
        self.tag.is_none() && self.modified.is_none()
    }

    /// A tag says more than a time; both would be one condition too many.
    fn conditions(&self) -> Vec<(&str, &str)> {
        match (&self.tag, &self.modified) {
            (Some(tag), _) => vec![("if-none-match", tag)],
            (None, Some(modified)) => vec![("if-modified-since", modified)],
            (None, None) => Vec::new(),
        }
    }
}

/// Fetches a file.
///
/// # Errors
/// As [`Client::web_file`]; or it has another checksum.
pub fn download(client: &Client, what: &Download<'_>) -> Result<Fetched> {
    let fetched = download_unless(client, what, &Version::default())?;
    fetched.ok_or_else(|| Error::of(Kind::Unavailable, format!("{}: there is nothing", what.address)))
}

/// The same, unless the server says that it still has this version: none.
///
/// # Errors
/// As [`download`].
pub fn download_unless(client: &Client, what: &Download<'_>, version: &Version) -> Result<Option<Fetched>> {
    let wanted = what.checksum.map(Digest::from_str).transpose()?;
    let algorithm = wanted.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
    let conditions = version.conditions();
    let Some(mut web) = client.web_file_unless(what.address, &headers(what)?, &conditions)? else {
        return Ok(None);
    };
    let version = Version::of(|name| web.header(name));
    let name = name_of(what.address);
    std::fs::create_dir_all(what.place).context(format!("failed to make {}", what.place.display()))?;
    let path = what.place.join(&name);
    let doing = || format!("failed to write {}", path.display());
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .context(doing())?;
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = web.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        file.write_all(&buffer[..n]).context(doing())?;
    }
    let digest = hasher.finish();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
        return Err(Error::of(
            Kind::Corrupt,
            format!("digest mismatch {digest}: {wanted}"),
        ));
    }
    file.set_permissions(std::fs::Permissions::from_mode(MODE))
        .context(doing())?;
    let time = web
        .header("last-modified")
        .and_then(http_time)
        .unwrap_or_default();
    sys::xattr::futimens(file.as_fd(), time).context(doing())?;
    std::io::Seek::rewind(&mut file).context(doing())?;
    let root = sys::fs::open(what.place, libc::O_RDONLY | libc::O_DIRECTORY, 0)?;
    Ok(Some(Fetched {
        tree: Tree::local(root, None).named(web.address()),
        source: escaped(&name),
        digest,
        file,
        version,
    }))
}

fn headers(what: &Download<'_>) -> Result<Vec<(String, String)>> {
    let rest = what.address.split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    for (prefix, is_token) in [("HTTP_AUTH_HEADER_", false), ("HTTP_AUTH_TOKEN_", true)] {
        let Some(value) = (what.secrets)(&format!("{prefix}{host}"))? else {
            continue;
        };
        let value = String::from_utf8_lossy(&value).trim().to_owned();
        let value = match is_token {
            true => format!("Bearer {value}"),
            false => value,
        };
        return Ok(vec![("authorization".to_owned(), value)]);
    }
    Ok(Vec::new())
}

/// The last component of an address, as a name of a file.
fn name_of(address: &str) -> String {
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let path = build::remote::decoded(path);
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let is_name = !matches!(name, "" | "." | "..") && !name.contains('\0') && name.len() <= 255;
    if is_name {
        name.to_owned()
    } else {
        NAMELESS.to_owned()
    }
}

/// A name whose wildcards mean themselves.
fn escaped(name: &str) -> String {
    if !build::ignore::glob::has_wildcards(name) {
        return name.to_owned();
    }
    let mut escaped = String::new();
    for c in name.chars() {
        // With a backslash before it, it would be no wildcard, and the whole no pattern.
        match c {
            '*' | '?' | '[' => escaped.extend(['[', c, ']']),
            '\\' => escaped.push_str("\\\\"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7); the two older forms nobody sends.
fn http_time(text: &str) -> Option<Time> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)?;
    let month = i64::try_from(month).ok()? + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let clock: Vec<i64> = words.next()?.split(':').filter_map(|n| n.parse().ok()).collect();
    let [hours, minutes, seconds] = clock.as_slice() else {
        return None;
    };
    let is_sane = (1970..=9999).contains(&year) && (1..=31).contains(&day);
    // Days since 1970 of a year that begins in March: the day that leap years have more is its last one then.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    is_sane.then_some(Time {
        seconds: days * 86400 + hours * 3600 + minutes * 60 + seconds,
        nanoseconds: 0,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_times() {
        for (address, name) in [
            ("https://h/a/b.tar.gz", "b.tar.gz"),
            ("https://h/a/b?x=/c#/d", "b"),
            ("https://h/a%20b", "a b"),
            ("https://h/a/", "a"),
            ("https://h/", NAMELESS),
            ("https://h", NAMELESS),
            ("https://h/a/%2e%2e", NAMELESS),
            ("https://h/%2e%2e%2fetc%2fpasswd", "passwd"),
            ("https://h/a%00b", NAMELESS),
        ] {
            assert_eq!(name_of(address), name, "{address}");
        }
        assert_eq!(
            (escaped("a*b"), escaped("a\\b")),
            ("a[*]b".to_owned(), "a\\b".to_owned())
        );
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Thu, 29 Feb 2024 12:00:00 GMT", Some(1_709_208_000)),
            ("yesterday", None),
        ] {
            assert_eq!(http_time(text).map(|t| t.seconds), seconds, "{text}");
        }
    }

    #[test]
    fn a_time_that_was_a_moment_ago_says_nothing() {
        const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        let of = |tag: Option<&'static str>, date: &'static str| {
            let version = Version::of(|name| match name {
                "etag" => tag,
                "last-modified" => Some(THEN),
                "date" => Some(date),
                _ => None,
            });
            let conditions = version.conditions().into_iter();
            let conditions: Vec<String> = conditions
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            assert_eq!(conditions.is_empty(), version.is_none());
            conditions.join("; ")
        };
        let long_ago = format!("if-modified-since: {THEN}");
        assert_eq!(of(None, "Sun, 06 Nov 1994 08:50:37 GMT"), long_ago);
        assert_eq!(of(None, "Sun, 06 Nov 1994 08:50:36 GMT"), "");
        assert_eq!(of(None, "now"), "");
        assert_eq!(of(Some("W/\"a\""), "now"), "if-none-match: W/\"a\"");
        assert_eq!(
            of(Some("\"a\""), "Sun, 06 Nov 1994 09:50:37 GMT"),
            "if-none-match: \"a\""
        );
    }

    #[test]
    fn secrets_are_for_their_host() {
        let of = |address: &str| {
            let secrets = |name: &str| {
                let value = match name {
                    "HTTP_AUTH_TOKEN_h.io" => Some(b"abc\n".to_vec()),
                    "HTTP_AUTH_HEADER_g.io" => Some(b"Basic x".to_vec()),
                    _ => None,
                };
                Ok(value)
            };
            let what = Download {
                address,
                checksum: None,
                secrets: &secrets,
                place: Path::new("/"),
            };
            headers(&what).unwrap().pop().map(|(_, value)| value)
        };
        assert_eq!(of("https://u:p@h.io:8443/x").as_deref(), Some("Bearer abc"));
        assert_eq!(of("https://g.io").as_deref(), Some("Basic x"));
        assert_eq!(of("https://i.io/h.io"), None);
    }
}
