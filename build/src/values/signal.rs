//! Signals of STOPSIGNAL. The configuration has what was written; here it is only said whether that is a signal.

/// Names of Linux without `SIG`, by number from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

const REAL_TIME: std::ops::RangeInclusive<u32> = 34..=64;

/// Its number: of a number, or of a name with or without `SIG`, in any case.
pub fn parse(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return Some(number).filter(|n| (1..=*REAL_TIME.end()).contains(n));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name = match name {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        name => name,
    };
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return u32::try_from(index + 1).ok();
    }
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => *REAL_TIME.start(),
        (_, Some("")) => *REAL_TIME.end(),
        (Some(more), _) => REAL_TIME
            .start()
            .checked_add(more.strip_prefix('+')?.parse().ok()?)?,
        (_, Some(less)) => REAL_TIME
            .end()
            .checked_sub(less.strip_prefix('-')?.parse().ok()?)?,
        _ => return None,
    };
    REAL_TIME.contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGWINCH", Some(28)),
            ("SIGPOLL", Some(29)),
            ("0", None),
            ("65", None),
            ("-1", None),
            ("SIGRTMIN+31", None),
            ("SIG", None),
            ("", None),
            ("SIGFOO", None),
        ] {
            assert_eq!(parse(text), number, "{text}");
        }
    }
}
