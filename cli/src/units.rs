//! Sizes, durations and times as Docker shows them to people.
//!
//! May not: read a clock; whoever calls knows what time it is.

use crate::template::general;
use std::cmp::Ordering;

/// Decimal units, three significant digits: `13.3kB`. So are images shown.
pub fn size(bytes: i64) -> String {
    decimal(bytes as f64, 3)
}

/// Four significant digits: `df`, `prune` and progress.
pub fn size_exact(bytes: i64) -> String {
    decimal(bytes as f64, 4)
}

/// Binary units, four significant digits: `1.5MiB`. So is memory shown.
pub fn binary(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{}{}", general(size, Some(4)), UNITS[unit])
}

fn decimal(mut size: f64, digits: usize) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut unit = 0;
    while size >= 1000.0 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{}{}", general(size, Some(digits)), UNITS[unit])
}

/// `2 hours`, for `2 hours ago`. Negative ones are less than a second.
pub fn duration(seconds: i64) -> String {
    const HOUR: i64 = 3600;
    let minutes = seconds / 60;
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        i64::MIN..=0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// Seconds since 1970 of an RFC 3339 time, `2026-11-20T10:00:00.123456789+01:00`.
pub fn parse_time(text: &str) -> Option<i64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at(zone_at);
    let mut clock = clock.splitn(3, ':');
    let (hour, minute) = (
        clock.next()?.parse::<i64>().ok()?,
        clock.next()?.parse::<i64>().ok()?,
    );
    let second: i64 = clock.next()?.split('.').next()?.parse().ok()?;
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let sign = if zone.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = zone[1..].split_once(':')?;
            sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    let valid = (1..=12).contains(&month) && (1..=31).contains(&day);
    let valid = valid && (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    valid.then(|| days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset)
}

/// Days since 1970. Years begin in March, so a leap day is the last of its year; the calendar repeats every 400 years.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Go's Time.String of a time in the local zone: `2026-11-20 10:00:00 +0100 CET`.
pub fn go_time(seconds: i64) -> String {
    let local = sys::zone::local(seconds);
    let sign = if local.offset < 0 { '-' } else { '+' };
    let minutes = local.offset.unsigned_abs() / 60;
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02} {sign}{:02}{:02} {}",
        local.year,
        local.month,
        local.day,
        local.hour,
        local.minute,
        local.second,
        minutes / 60,
        minutes % 60,
        local.zone
    )
}

/// RFC 3339 in the local zone: `2026-11-20T10:00:00+01:00`.
pub fn rfc3339(seconds: i64) -> String {
    let local = sys::zone::local(seconds);
    let zone = match local.offset {
        0 => "Z".to_owned(),
        offset => {
            let minutes = offset.unsigned_abs() / 60;
            let sign = if offset < 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{zone}",
        local.year, local.month, local.day, local.hour, local.minute, local.second
    )
}

/// Seconds since 1970, now.
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

/// The order that people expect of names with numbers in them: `a2` before `a10`.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        match (digits(a), digits(b)) {
            (0, _) | (_, 0) => match (a.split_first(), b.split_first()) {
                (Some((x, rest_a)), Some((y, rest_b))) if x == y => (a, b) = (rest_a, rest_b),
                (Some((x, _)), Some((y, _))) => return x.cmp(y),
                (x, y) => return x.is_some().cmp(&y.is_some()),
            },
            (n, m) => {
                let significant = |text: &[u8]| text.iter().take_while(|c| **c == b'0').count();
                let (x, y) = (&a[..n], &b[..m]);
                let (x, y) = (&x[significant(x)..], &y[significant(y)..]);
                // Of equal numbers the one with fewer zeros in front comes first.
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then(n.cmp(&m));
                if order != Ordering::Equal {
                    return order;
                }
                (a, b) = (&a[n..], &b[m..]);
            }
        }
    }
}

/// An id without its algorithm, cut to twelve digits.
pub fn short_id(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, three, four) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1kB"),
            (13_256, "13.3kB", "13.26kB"),
            (1_036_000, "1.04MB", "1.036MB"),
            // An oddity of Docker that scripts have met.
            (999_900, "1e+03kB", "999.9kB"),
            (72_800_000, "72.8MB", "72.8MB"),
            (1 << 40, "1.1TB", "1.1TB"),
            (-1, "-1B", "-1B"),
        ] {
            assert_eq!(
                (size(bytes).as_str(), size_exact(bytes).as_str()),
                (three, four),
                "{bytes}"
            );
        }
    }

    #[test]
    fn memory() {
        for (bytes, words) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1_572_864, "1.5MiB"),
            (2_087_000_000, "1.944GiB"),
        ] {
            assert_eq!(binary(bytes), words);
        }
    }

    #[test]
    fn durations() {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (47, "47 seconds"),
            (MINUTE, "About a minute"),
            (2 * MINUTE, "2 minutes"),
            (35 * MINUTE + 40, "35 minutes"),
            (HOUR, "About an hour"),
            (HOUR + 29 * MINUTE, "About an hour"),
            (HOUR + 45 * MINUTE, "2 hours"),
            (3 * HOUR + 29 * MINUTE, "3 hours"),
            (3 * HOUR + 31 * MINUTE, "4 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (2 * 7 * DAY, "2 weeks"),
            (2 * 30 * DAY, "2 months"),
            (24 * 30 * DAY, "24 months"),
            (730 * DAY, "2 years"),
            (39 * 365 * DAY, "39 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-20T10:00:00.123456789Z", Some(1_795_168_800)),
            ("2026-11-20T11:00:00+01:00", Some(1_795_168_800)),
            ("2024-02-29T00:00:00-00:30", Some(1_709_166_600)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2026-13-20T10:00:00Z", None),
            ("2026-11-20T10:00:00", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_time(text), seconds, "{text}");
        }
    }

    #[test]
    fn names_with_numbers() {
        let mut names = ["a10", "a2", "b", "a", "a02", "a1b3", "a1b20", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a", "a1b3", "a1b20", "a2", "a02", "a10", "b"]);
    }

    #[test]
    fn ids_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("<missing>"), "<missing>");
    }
}
