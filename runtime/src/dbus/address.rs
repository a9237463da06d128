//! Addresses of buses: `unix:path=/run/dbus/system_bus_socket;unix:abstract=...`.
//!
//! Pure: no system calls.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// The unix sockets of an address, in order. An abstract one begins with a NUL. Other transports are left out.
pub fn parse(text: &str) -> Vec<PathBuf> {
    text.split(';').filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<PathBuf> {
    let options = text.trim().strip_prefix("unix:")?;
    options.split(',').find_map(|option| {
        let (key, value) = option.split_once('=')?;
        let mut bytes = unescape(value)?;
        match key {
            "path" => {}
            "abstract" => bytes.insert(0, 0),
            _ => return None,
        }
        Some(PathBuf::from(OsString::from_vec(bytes)))
    })
}

/// `%` and two hexadecimal digits stand for a byte.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("unix:path=/run/user/1000/bus", vec!["/run/user/1000/bus"]),
            ("unix:path=/run/a%20b,guid=12", vec!["/run/a b"]),
            ("unix:guid=12,abstract=/tmp/x", vec!["\0/tmp/x"]),
            ("tcp:host=x;unix:path=/a;unix:path=/b", vec!["/a", "/b"]),
            ("unix:dir=/tmp", vec![]),
            ("unix:path=/a%2", vec![]),
            ("autolaunch:", vec![]),
            ("", vec![]),
        ] {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
