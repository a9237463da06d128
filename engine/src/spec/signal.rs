//! Names of signals, as `--stop-signal`, `kill -s` and `STOPSIGNAL` take them.

use image::{Error, Result};

/// In the numbers of this CPU's kernel.
const NAMES: [(&str, i32); 34] = [
    ("ABRT", libc::SIGABRT),
    ("ALRM", libc::SIGALRM),
    ("BUS", libc::SIGBUS),
    ("CHLD", libc::SIGCHLD),
    ("CLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("FPE", libc::SIGFPE),
    ("HUP", libc::SIGHUP),
    ("ILL", libc::SIGILL),
    ("INT", libc::SIGINT),
    ("IO", libc::SIGIO),
    ("IOT", libc::SIGIOT),
    ("KILL", libc::SIGKILL),
    ("PIPE", libc::SIGPIPE),
    ("POLL", libc::SIGPOLL),
    ("PROF", libc::SIGPROF),
    ("PWR", libc::SIGPWR),
    ("QUIT", libc::SIGQUIT),
    ("SEGV", libc::SIGSEGV),
    ("STKFLT", 16),
    ("STOP", libc::SIGSTOP),
    ("SYS", libc::SIGSYS),
    ("TERM", libc::SIGTERM),
    ("TRAP", libc::SIGTRAP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("VTALRM", libc::SIGVTALRM),
    ("WINCH", libc::SIGWINCH),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
];

/// The kernel has 32; the C library keeps the first two to itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`.
///
/// # Errors
/// There is no such signal.
pub fn parse(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number).ok_or_else(bad);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = NAMES.iter().find(|(n, _)| *n == name).map(|(_, number)| *number);
    known.or_else(|| realtime(name)).ok_or_else(bad)
}

fn realtime(name: &str) -> Option<i32> {
    let distance = |text: &str, most: i32| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i32>()
            .ok()
            .filter(|n| plain && (1..=most).contains(n))
    };
    match name {
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => match name.strip_prefix("RTMIN+") {
            Some(text) => Some(RTMIN + distance(text, 15)?),
            None => Some(RTMAX - distance(name.strip_prefix("RTMAX-")?, 14)?),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("sigkill", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-14", 50),
            ("RTMAX", 64),
            ("1", 1),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for bad in [
            "", "0", "-1", "65", "NOPE", "RTMIN+16", "RTMIN+", "RTMIN++1", "RTMAX-0",
        ] {
            assert_eq!(
                parse(bad).unwrap_err().to_string(),
                format!("invalid signal: {bad}")
            );
        }
    }
}
