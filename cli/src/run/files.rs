//! `--env-file` and `--label-file`: lines of `KEY=value`.
//!
//! May not: give quotes a meaning; Docker does not.

use std::fs;
use std::io;

/// The lines of a file that count. A key alone gets its value from `lookup`, or is left out.
pub fn read(path: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let bytes = fs::read(path).map_err(|e| open(path, &e))?;
    parse(&bytes, lookup).map_err(|why| format!("invalid env file ({path}): {why}"))
}

/// Go's words about a file that cannot be opened.
pub fn open(path: &str, error: &io::Error) -> String {
    let why = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => return format!("read {path}: is a directory"),
        _ => error.to_string(),
    };
    format!("open {path}: {why}")
}

fn parse(bytes: &[u8], lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = Vec::new();
    for (n, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Ok(text) = std::str::from_utf8(line) else {
            let shown: Vec<String> = line.iter().map(u8::to_string).collect();
            return Err(format!(
                "invalid utf8 bytes at line {}: [{}]",
                n + 1,
                shown.join(" ")
            ));
        };
        let line = text.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').map_or((line, None), |(k, v)| (k, Some(v)));
        if key.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return Err(format!("variable '{key}' contains whitespaces"));
        }
        match value {
            Some(_) => lines.push(line.to_owned()),
            None => lines.extend(lookup(key).map(|value| format!("{key}={value}"))),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn host(name: &str) -> Option<String> {
        (name == "HOST").then(|| "value of it".to_owned())
    }

    #[test]
    fn lines() {
        let file = b"\xef\xbb\xbfA=1\r\n# comment\n\n  B = \nC='quoted' # kept \nHOST\nABSENT\nD=";
        assert!(parse(file, host).is_err(), "a key with a space behind it");
        let file = b"\xef\xbb\xbfA=1\r\n# comment\n\n  B= x \nC='quoted' # kept \nHOST\nABSENT\nD=";
        assert_eq!(
            parse(file, host).unwrap(),
            ["A=1", "B= x ", "C='quoted' # kept ", "HOST=value of it", "D="]
        );
    }

    #[test]
    fn complaints() {
        for (file, message) in [
            (&b"=x"[..], "no variable name on line '=x'"),
            (b"a b=x", "variable 'a b' contains whitespaces"),
            (b"ok=1\n\xff", "invalid utf8 bytes at line 2: [255]"),
        ] {
            assert_eq!(parse(file, |_| None).unwrap_err(), message);
        }
        assert_eq!(
            read("/nowhere/x", |_| None).unwrap_err(),
            "open /nowhere/x: no such file or directory"
        );
        assert_eq!(read("/", |_| None).unwrap_err(), "read /: is a directory");
    }
}
