//! Signals by name and number.

use image::{Error, Result};

/// Names, at their numbers (signal(7), x86 and ARM alike).
const NAMES: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `SIGRTMAX-1`.
///
/// # Errors
/// There is no such signal.
pub fn parse(text: &str) -> Result<i32> {
    let invalid = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            1..=64 => Ok(number),
            _ => Err(invalid()),
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = NAMES.iter().position(|known| !known.is_empty() && *known == name) {
        return i32::try_from(number).map_err(|_| invalid());
    }
    let number = match name {
        "POLL" => 29,
        "IOT" => 6,
        "CLD" => 17,
        _ => real_time(name).ok_or_else(invalid)?,
    };
    Ok(number)
}

fn real_time(name: &str) -> Option<i32> {
    let (start, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (*REAL_TIME.start(), rest),
        (_, Some(rest)) => (*REAL_TIME.end(), rest),
        _ => return None,
    };
    let offset: i32 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    let number = start + offset;
    REAL_TIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMIN", 34),
            ("KILL", 9),
            ("SYS", 31),
            ("WINCH", 28),
            ("64", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for wrong in ["", "SIG", "0", "65", "-1", "TERMS", "RTMIN-1", "RTMAX+1"] {
            assert_eq!(
                parse(wrong).unwrap_err().to_string(),
                format!("invalid signal: {wrong}")
            );
        }
    }
}
