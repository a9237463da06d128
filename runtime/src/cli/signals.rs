//! Names and numbers of signals.
//!
//! May not: send any.

use crate::error::{Error, Result};

/// x86 numbering, which aarch64 and riscv64 share.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// Of glibc, which is what images mean by STOPSIGNAL SIGRTMIN+3; musl starts one higher.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// `9`, `KILL`, `SIGKILL`, `sigrtmin+3`.
///
/// # Errors
/// `unknown signal "X"`.
pub fn parse(text: &str) -> Result<i32> {
    number(text).ok_or_else(|| Error::new(format!("unknown signal {text:?}")))
}

fn number(text: &str) -> Option<i32> {
    // Which numbers there are is for the kernel to say.
    if let Ok(n) = text.parse::<i32>() {
        return Some(n);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|n| *n == name) {
        return i32::try_from(at + 1).ok();
    }
    if let Some((_, n)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*n);
    }
    real_time(name).filter(|n| (RTMIN..=RTMAX).contains(n))
}

fn real_time(name: &str) -> Option<i32> {
    let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (RTMIN, rest),
        (_, Some(rest)) => (RTMAX, rest),
        _ => return None,
    };
    match rest.as_bytes() {
        [] => Some(base),
        [b'+', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            rest[1..].parse::<i32>().ok()?.checked_add(base)
        }
        [b'-', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            base.checked_sub(rest[1..].parse().ok()?)
        }
        _ => None,
    }
}

/// The names that shells offer.
pub fn names() -> &'static [&'static str] {
    &NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_number_and_name() {
        for (text, n) in [
            ("9", 9),
            ("0", 0),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigTerm", 15),
            ("hup", 1),
            ("SIGSYS", 31),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("rtmax", 64),
            ("64", 64),
            ("65", 65),
            ("-9", -9),
        ] {
            assert_eq!(parse(text).unwrap(), n, "{text}");
        }
        for text in [
            "",
            "SIG",
            "FOO",
            "9x",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN+31",
            "RTMIN+",
            "RTMIN+99999999999",
        ] {
            assert_eq!(
                parse(text).unwrap_err().to_string(),
                format!("unknown signal {text:?}")
            );
        }
    }
}
