//! Points in time as people name them: `--since 10m`, `--until 2026-11-28T03:47`, `--since 1795837674.5`.
//!
//! May not: read the clock; whoever calls knows what time it is.

use image::{Error, Result};
use monitor::log::stamp;

const SECOND: i64 = 1_000_000_000;

/// The first moment of 2262.
const LATEST: i64 = 9_214_646_400 * SECOND;

/// Nanoseconds since 1970. A Go duration is how long ago, in whole seconds as in Docker; a date without a zone is local.
///
/// # Errors
/// Docker's sentence.
pub fn parse(text: &str, now: i64) -> Result<i64> {
    let ago = (text != "0").then(|| duration(text)).flatten();
    if let Some(ago) = ago {
        return Ok(now.saturating_sub(ago).div_euclid(SECOND) * SECOND);
    }
    date(text)
        .or_else(|| unix(text))
        .ok_or_else(|| Error::invalid(format!("failed to parse value as time or duration: {text:?}")))
}

/// `1h30m`, `-1.5s`: nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |n| end + n);
        sum += number
            * match &rest[end..unit_end] {
                "h" => 3600e9,
                "m" => 60e9,
                "s" => 1e9,
                "ms" => 1e6,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
                "ns" => 1.0,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (text.len() > 1 && sum < 9.2e18).then_some((sign * sum) as i64)
}

/// `2026-11-28`, `2026-11-28T03`, and so on to RFC 3339 with a fraction; with or without a zone.
fn date(text: &str) -> Option<i64> {
    // Nanoseconds reach from 1678 to 2261. What lies beyond ("9999-12-31", or Docker's "0001-01-01T00:00:00Z" for never) is later, or
    // earlier, than everything that is asked for; whether it is a date at all, a year of the same length says.
    let year: i64 = text.get(..4)?.parse().ok()?;
    if !(1678..=2261).contains(&year) {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let alike = if is_leap { 2000 } else { 2001 };
        date(&format!("{alike}{}", &text[4..]))?;
        return Some(if year > 2261 { LATEST } else { 0 });
    }
    let (day, clock) = match text.split_once('T') {
        Some((day, rest)) => (day, rest),
        None => match text.get(10..) {
            Some(zone) => (&text[..10], zone),
            None => (text, ""),
        },
    };
    let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
    let (clock, zone) = clock.split_at(zone_at);
    let clock = match (text.contains('T'), clock.matches(':').count()) {
        (false, 0) if clock.is_empty() => "00:00:00".to_owned(),
        (true, 0) => format!("{clock}:00:00"),
        (true, 1) => format!("{clock}:00"),
        (true, 2) => clock.to_owned(),
        _ => return None,
    };
    if !zone.is_empty() {
        return stamp::parse(format!("{day}T{clock}{zone}").as_bytes());
    }
    let as_utc = stamp::parse(format!("{day}T{clock}Z").as_bytes())?;
    // Twice: near a change of the clocks, what is local there has the offset of the other side.
    let offset_at = |nanos: i64| sys::zone::local(nanos.div_euclid(SECOND)).offset * SECOND;
    let near = as_utc - offset_at(as_utc);
    Some(as_utc - offset_at(near))
}

/// `1795837674`, `1795837674.123456789`.
fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|c| c.is_ascii_digit()) || fraction.len() > 9 {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = if is_negative { -nanos } else { nanos };
    seconds.checked_mul(SECOND)?.checked_add(nanos)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_docker_reads_them() {
        const NOW: i64 = 1_795_837_674_500_000_000;
        let at = |seconds: i64, nanos: i64| Some(seconds * SECOND + nanos);
        for (text, expected) in [
            ("1m", at(1_795_837_614, 0)),
            ("1h0m0.5s", at(1_795_834_074, 0)),
            ("-10s", at(1_795_837_684, 0)),
            ("0s", at(1_795_837_674, 0)),
            ("0", at(0, 0)),
            ("1795837674", at(1_795_837_674, 0)),
            ("1795837674.1", at(1_795_837_674, 100_000_000)),
            ("1795837674.123456789", at(1_795_837_674, 123_456_789)),
            ("2026-11-28T03:47:54Z", at(1_795_837_674, 0)),
            ("2026-11-28T03:47:54.25Z", at(1_795_837_674, 250_000_000)),
            ("2026-11-28T04:47:54+01:00", at(1_795_837_674, 0)),
            ("2026-11-28T03:47Z", at(1_795_837_620, 0)),
            ("2026-11-28T03Z", at(1_795_834_800, 0)),
            ("2026-11-28Z", at(1_795_824_000, 0)),
            ("2026-11-28+01:00", at(1_795_820_400, 0)),
            ("9999-12-31", Some(LATEST)),
            ("2999-01-01T00:00:00Z", Some(LATEST)),
            ("0001-01-01T00:00:00Z", at(0, 0)),
            ("9999-13-31", None),
            ("9999-12-31x", None),
            ("yesterday", None),
            ("", None),
            ("m", None),
            ("5", at(5, 0)),
            ("5x", None),
            ("2026-13-28T03:47:54Z", None),
            ("1.1234567890", None),
        ] {
            assert_eq!(parse(text, NOW).ok(), expected, "{text}");
        }
        assert_eq!(
            parse("5x", NOW).unwrap_err().to_string(),
            "failed to parse value as time or duration: \"5x\""
        );
        // The zone of this machine is whatever it is; a whole number of quarter hours away.
        let local = parse("2026-11-28T03:47:54", NOW).unwrap() - 1_795_837_674 * SECOND;
        assert_eq!(local % (900 * SECOND), 0);
    }
}
