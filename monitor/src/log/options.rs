//! `--log-driver` and `--log-opt`: what they may be, and what they come to.
//!
//! May not: open anything. What cannot be said here is said when the container is made, not when it starts.
//!
//! Unlike Docker, files are rotated if nothing else is asked for: five of 20 MiB, the older ones compressed. `max-size=-1`
//! turns that off. With a `max-size` of the user's own the rest is as in Docker: one file, unless `max-file` says more.

use std::collections::BTreeMap;

use shim::error::{Error, Kind, Result};

/// What a container has that asks for nothing.
pub const DEFAULT: &str = "json-file";

/// Where lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    JsonFile,
    Local,
    Journald,
    None,
}

impl Driver {
    /// By name; no name is the default one.
    ///
    /// # Errors
    /// Docker's sentence.
    pub fn of(name: &str) -> Result<Driver> {
        match name {
            "" | DEFAULT => Ok(Driver::JsonFile),
            "local" => Ok(Driver::Local),
            "journald" => Ok(Driver::Journald),
            "none" => Ok(Driver::None),
            _ => Err(invalid(format!(
                "error looking up logging plugin {name}: plugin \"{name}\" not found"
            ))),
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Driver::JsonFile => &[
                "max-file",
                "max-size",
                "compress",
                "labels",
                "labels-regex",
                "env",
                "env-regex",
                "tag",
            ],
            Driver::Local => &["max-file", "max-size", "compress"],
            Driver::Journald => &["labels", "labels-regex", "env", "env-regex", "tag"],
            Driver::None => &[],
        }
    }
}

/// How files are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file this large gets no further line. `None`: there is no end to it.
    pub size: Option<u64>,
    /// With the one that is written to.
    pub files: usize,
    /// Older ones, but for the newest of them.
    pub compress: bool,
}

/// Whether a container may have this driver with these options.
///
/// # Errors
/// Docker's sentences.
pub fn check(driver: &str, options: &BTreeMap<String, String>) -> Result<()> {
    if driver == "none" {
        return Ok(());
    }
    let mode = options.get("mode").map_or("", String::as_str);
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(invalid(format!("logger: logging mode not supported: {mode}")));
    }
    if let Some(text) = options.get("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        size(text, 1024).ok_or_else(|| {
            invalid(format!(
                "error parsing option max-buffer-size: invalid size: '{text}'"
            ))
        })?;
    }
    let known = Driver::of(driver)?;
    let name = if driver.is_empty() { DEFAULT } else { driver };
    for key in options.keys() {
        if !matches!(key.as_str(), "mode" | "max-buffer-size") && !known.options().contains(&key.as_str()) {
            return Err(invalid(match known {
                Driver::Local => format!("unknown log opt '{key}' for log driver {name}"),
                _ => format!("unknown log opt '{key}' for {name} log driver"),
            }));
        }
    }
    rotation(options).map(drop)
}

/// How many bytes may wait for a log that is slower than its container; `None`: the container waits.
pub fn buffer(options: &BTreeMap<String, String>) -> Option<usize> {
    const USUAL: u64 = 1 << 20;
    if options.get("mode").map(String::as_str) != Some("non-blocking") {
        return None;
    }
    let wanted = options.get("max-buffer-size").and_then(|text| size(text, 1024));
    usize::try_from(wanted.unwrap_or(USUAL)).ok()
}

/// How the files of a container are rotated.
///
/// # Errors
/// Docker's sentences.
pub fn rotation(options: &BTreeMap<String, String>) -> Result<Rotation> {
    const OURS: Rotation = Rotation {
        size: Some(20 << 20),
        files: 5,
        compress: true,
    };
    let mut rotation = OURS;
    match options.get("max-size").map(String::as_str) {
        None => {}
        Some("-1") => rotation.size = None,
        Some(text) => {
            let bytes = size(text, 1000).ok_or_else(|| invalid(format!("invalid size: '{text}'")))?;
            if bytes == 0 {
                return Err(invalid("max-size must be a positive number"));
            }
            rotation = Rotation {
                size: Some(bytes),
                files: 1,
                compress: true,
            };
        }
    }
    if let Some(text) = options.get("max-file") {
        let count: i64 = text
            .parse()
            .map_err(|_| invalid(format!("strconv.Atoi: parsing \"{text}\": invalid syntax")))?;
        if count < 1 {
            return Err(invalid("max-file cannot be less than 1"));
        }
        rotation.files = usize::try_from(count).unwrap_or(usize::MAX).min(1_000_000);
    }
    if let Some(text) = options.get("compress") {
        rotation.compress = go_bool(text)
            .ok_or_else(|| invalid(format!("strconv.ParseBool: parsing \"{text}\": invalid syntax")))?;
        if rotation.compress && (rotation.files == 1 || rotation.size.is_none()) {
            return Err(invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
    }
    Ok(rotation)
}

/// `10m`, `1.5GB`, `10 MiB`: whatever the unit is called, `step` is its base.
fn size(text: &str, step: u64) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    if !matches!(unit.get(power.min(1) as usize..), Some("" | "b" | "ib")) {
        return None;
    }
    Some((number * (step as f64).powi(power)) as u64)
}

fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::of(Kind::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn sentences_are_dockers() {
        for (driver, pairs, sentence) in [
            ("json-file", &[][..], ""),
            ("", &[("max-size", "10m"), ("max-file", "3")], ""),
            ("none", &[("whatever", "1")], ""),
            (
                "nope",
                &[],
                "error looking up logging plugin nope: plugin \"nope\" not found",
            ),
            (
                "json-file",
                &[("foo", "1")],
                "unknown log opt 'foo' for json-file log driver",
            ),
            (
                "",
                &[("foo", "1")],
                "unknown log opt 'foo' for json-file log driver",
            ),
            (
                "local",
                &[("tag", "x")],
                "unknown log opt 'tag' for log driver local",
            ),
            (
                "journald",
                &[("max-size", "1m")],
                "unknown log opt 'max-size' for journald log driver",
            ),
            (
                "json-file",
                &[("mode", "fast")],
                "logger: logging mode not supported: fast",
            ),
            (
                "json-file",
                &[("mode", "non-blocking"), ("max-buffer-size", "4m")],
                "",
            ),
            (
                "json-file",
                &[("max-buffer-size", "4m")],
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ),
            ("json-file", &[("max-size", "ten")], "invalid size: 'ten'"),
            (
                "json-file",
                &[("max-size", "0")],
                "max-size must be a positive number",
            ),
            (
                "json-file",
                &[("max-file", "0")],
                "max-file cannot be less than 1",
            ),
            (
                "json-file",
                &[("max-file", "x")],
                "strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                "json-file",
                &[("compress", "maybe")],
                "strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            (
                "json-file",
                &[("compress", "true"), ("max-size", "1m")],
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ),
        ] {
            let said = check(driver, &options(pairs))
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert_eq!(said, sentence, "{driver} {pairs:?}");
        }
    }

    #[test]
    fn rotations() {
        for (pairs, size, files) in [
            (&[][..], Some(20 << 20), 5),
            (&[("max-size", "-1")], None, 5),
            (&[("max-file", "2")], Some(20 << 20), 2),
            (&[("max-size", "10m")], Some(10_000_000), 1),
            (&[("max-size", "1.5k"), ("max-file", "9")], Some(1500), 9),
        ] {
            let found = rotation(&options(pairs)).unwrap();
            assert_eq!((found.size, found.files), (size, files), "{pairs:?}");
        }
    }

    #[test]
    fn buffers() {
        let of = |pairs: &[(&str, &str)]| {
            let options = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            buffer(&options.collect())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("mode", "blocking")]), None);
        assert_eq!(of(&[("mode", "non-blocking")]), Some(1 << 20));
        assert_eq!(
            of(&[("mode", "non-blocking"), ("max-buffer-size", "4k")]),
            Some(4096)
        );
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("32", Some(32)),
            ("32b", Some(32)),
            ("32B", Some(32)),
            ("32k", Some(32_000)),
            ("32 kb", Some(32_000)),
            ("32KiB", Some(32_000)),
            ("1g", Some(1_000_000_000)),
            ("", None),
            ("k", None),
            ("-3k", None),
            ("3kk", None),
            ("3x", None),
            ("3bb", None),
            ("1.2.3", None),
        ] {
            assert_eq!(size(text, 1000), bytes, "{text}");
        }
    }
}
