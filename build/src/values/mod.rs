//! Values that stand in instructions: durations, modes, ports, signals, sizes, booleans, lists with commas.
//!
//! May not: know which instruction they stand in. Each reads text, once, into what it means.

pub mod csv;
pub mod duration;
pub mod mode;
pub mod port;
pub mod signal;

/// As Go reads them.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Bytes, in units of 1024: `64m`, `1.5GiB`, `4096`.
pub fn size(text: &str) -> Option<u64> {
    let digits = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at_checked(digits)?;
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let shift = match unit.as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * (1u64 << shift) as f64;
    // What is larger than a signed number of bytes is no size of a file system.
    (bytes >= 0.0 && bytes < i64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("2 KB", Some(2048)),
            ("", None),
            ("m", None),
            ("1x", None),
            ("-1", None),
            ("1.2.3k", None),
            ("99999999p", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
        assert_eq!(
            (boolean("True"), boolean("0"), boolean("yes")),
            (Some(true), Some(false), None)
        );
    }
}
