//! Points in time in a log: nanoseconds since 1970, and RFC 3339.
//!
//! May not: allocate. A busy container writes a hundred thousand of these a second.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since 1970; what is before is 1970.
pub fn nanos(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

/// How many digits a second's fraction has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fraction {
    /// Without zeros at its end, as Go's RFC3339Nano: what files hold.
    Short,
    /// Nine, so that columns align: what people read.
    Nine,
}

/// Appends `2026-11-28T03:47:54.123456789Z`.
pub fn put(out: &mut Vec<u8>, nanos: i64, fraction: Fraction) {
    let (seconds, mut rest) = (nanos.div_euclid(SECOND), nanos.rem_euclid(SECOND));
    let (year, month, day) = civil(seconds.div_euclid(86400));
    let time = seconds.rem_euclid(86400);
    digits(out, year, 4);
    for (mark, value) in [
        (b'-', month),
        (b'-', day),
        (b'T', time / 3600),
        (b':', time / 60 % 60),
        (b':', time % 60),
    ] {
        out.push(mark);
        digits(out, value, 2);
    }
    let mut width = 9;
    if fraction == Fraction::Short {
        while width > 0 && rest % 10 == 0 {
            rest /= 10;
            width -= 1;
        }
    }
    if width > 0 {
        out.push(b'.');
        digits(out, rest, width);
    }
    out.push(b'Z');
}

/// Appends a number in at least so many digits.
pub fn digits(out: &mut Vec<u8>, mut value: i64, width: usize) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while value > 0 {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let at = at.min(text.len() - width.min(text.len()));
    out.extend_from_slice(&text[at..]);
}

/// Of a time as RFC 3339 has it, with any offset.
pub fn parse(text: &[u8]) -> Option<i64> {
    let fixed = text.get(..19)?;
    for (at, mark) in [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')] {
        if fixed[at] != mark {
            return None;
        }
    }
    if !matches!(fixed[10], b'T' | b't' | b' ') {
        return None;
    }
    let (year, month, day) = (
        number(&fixed[..4])?,
        number(&fixed[5..7])?,
        number(&fixed[8..10])?,
    );
    let (hour, minute, second) = (
        number(&fixed[11..13])?,
        number(&fixed[14..16])?,
        number(&fixed[17..])?,
    );
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut fraction = 0;
    if let [b'.' | b',', digits @ ..] = rest {
        let count = digits.iter().take_while(|c| c.is_ascii_digit()).count();
        let (digits, zone) = digits.split_at(count);
        for place in 0..9 {
            fraction = fraction * 10 + i64::from(digits.get(place).map_or(0, |d| d - b'0'));
        }
        if count == 0 {
            return None;
        }
        rest = zone;
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let offset = number(&[*h1, *h2])? * 3600 + number(&[*m1, *m2])? * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(fraction)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, d| {
        d.is_ascii_digit().then(|| sum * 10 + i64::from(d - b'0'))
    })
}

/// Year, month and day of a day since 1970. Years begin in March here, so a leap day is the last of its year; the calendar
/// repeats every 400 years of 146097 days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(nanos: i64, fraction: Fraction) -> String {
        let mut out = Vec::new();
        put(&mut out, nanos, fraction);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn there_and_back() {
        // Seconds from `date -u -d TEXT +%s`.
        for (nanos, short, nine) in [
            (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000000Z"),
            (
                1,
                "1970-01-01T00:00:00.000000001Z",
                "1970-01-01T00:00:00.000000001Z",
            ),
            (
                951_782_399 * SECOND + 120_000_000,
                "2000-02-28T23:59:59.12Z",
                "2000-02-28T23:59:59.120000000Z",
            ),
            (
                951_868_800 * SECOND,
                "2000-03-01T00:00:00Z",
                "2000-03-01T00:00:00.000000000Z",
            ),
            (
                1_709_164_800 * SECOND + 999_999_999,
                "2024-02-29T00:00:00.999999999Z",
                "2024-02-29T00:00:00.999999999Z",
            ),
            (
                4_107_542_400 * SECOND,
                "2100-03-01T00:00:00Z",
                "2100-03-01T00:00:00.000000000Z",
            ),
        ] {
            assert_eq!(text(nanos, Fraction::Short), short);
            assert_eq!(text(nanos, Fraction::Nine), nine);
            assert_eq!(parse(short.as_bytes()), Some(nanos), "{short}");
            assert_eq!(parse(nine.as_bytes()), Some(nanos), "{nine}");
        }
    }

    #[test]
    fn offsets_and_nonsense() {
        for (text, seconds) in [
            ("2026-11-20T11:00:00+01:00", Some(1_795_168_800)),
            ("2024-02-29T00:00:00-00:30", Some(1_709_166_600)),
            ("2026-13-20T10:00:00Z", None),
            ("2026-11-20T10:00:00", None),
            ("2026-11-20T10:00:00.Z", None),
            ("9999-11-20T10:00:00Z", None),
            ("2026-11-20T10:0", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes()), seconds.map(|s: i64| s * SECOND), "{text}");
        }
    }
}
