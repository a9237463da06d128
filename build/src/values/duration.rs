//! Durations as Go writes and reads them: `1h2m3.5s`. In nanoseconds, as a configuration has them.

use crate::source::quoted;

/// Nanoseconds. What is wrong is Go's sentence.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quoted(text));
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, text.get(1..).unwrap_or_default()),
        Some(b'+') => (false, text.get(1..).unwrap_or_default()),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let length = after
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quoted(text)));
        }
        let nanoseconds: u128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                return Err(format!(
                    "time: unknown unit {} in duration {}",
                    quoted(unit),
                    quoted(text)
                ));
            }
        };
        total += part(whole, nanoseconds).ok_or_else(invalid)? + below_one(fraction, nanoseconds);
        if total > 1 << 63 {
            return Err(invalid());
        }
        rest = after;
    }
    let signed = i128::try_from(total).map_err(|_| invalid())?;
    i64::try_from(if negative { -signed } else { signed }).map_err(|_| invalid())
}

/// As Go shows them.
pub fn format(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let part = |unit: u64, name: &str| {
        let fraction = format!("{:0width$}", total % unit, width = unit.ilog10() as usize);
        let text = format!("{}.{fraction}", total / unit);
        format!("{sign}{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => part(1_000, "\u{b5}s"),
        1_000_000..1_000_000_000 => part(1_000_000, "ms"),
        _ => {
            let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
            let seconds = format!("{}.{:09}", rest / 1_000_000_000, rest % 1_000_000_000);
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn part(whole: &str, unit: u128) -> Option<u128> {
    if whole.is_empty() {
        return Some(0);
    }
    whole.parse::<u64>().ok().map(|n| u128::from(n) * unit)
}

/// More digits than a nanosecond has do not count.
fn below_one(fraction: &str, unit: u128) -> u128 {
    let kept = fraction.get(..fraction.len().min(15)).unwrap_or_default();
    let Ok(digits) = kept.parse::<u128>() else {
        return 0;
    };
    let scale = 10u128.pow(u32::try_from(kept.len()).unwrap_or(0));
    digits * unit / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_shows_them() {
        for text in [
            "0s",
            "1ns",
            "1.5\u{b5}s",
            "10\u{b5}s",
            "500ms",
            "1.05ms",
            "1s",
            "10s",
            "1.5s",
            "1m0s",
            "1m30s",
            "1h0m0s",
            "100h10m20.000000003s",
            "-3s",
        ] {
            assert_eq!(format(parse(text).unwrap_or_default()), text);
        }
    }

    #[test]
    fn as_go_reads_them() {
        let second = 1_000_000_000;
        for (text, result) in [
            ("0", Ok(0)),
            ("5s", Ok(5 * second)),
            ("1h2m3.5s", Ok(3723 * second + second / 2)),
            ("1.5h", Ok(5400 * second)),
            (".5s", Ok(second / 2)),
            ("1.s", Ok(second)),
            ("-1ms", Ok(-1_000_000)),
            ("+10us", Ok(10_000)),
            ("10\u{b5}s", Ok(10_000)),
            ("1ns", Ok(1)),
            ("", Err("time: invalid duration \"\"")),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("5x", Err("time: unknown unit \"x\" in duration \"5x\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            ("s", Err("time: invalid duration \"s\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("99999999999h", Err("time: invalid duration \"99999999999h\"")),
            (
                "99999999999999999999s",
                Err("time: invalid duration \"99999999999999999999s\""),
            ),
        ] {
            assert_eq!(parse(text), result.map_err(str::to_owned), "{text}");
        }
    }
}
