//! Points in time as RFC 3339 text, in UTC.
//!
//! May not: know time zones. Programs read these stamps; a container's creation time and a log record mean the same
//! on every host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A calendar date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// From seconds since 1970. The calendar repeats every 400 years of 146097 days; counted from March, a leap day
    /// is the last of its year.
    fn from_unix(seconds: u64) -> Civil {
        const DAYS_TO_1970_FROM_MARCH_0000: u64 = 719_468;
        let days = seconds / 86400 + DAYS_TO_1970_FROM_MARCH_0000;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Civil {
            year: i64::try_from(year).unwrap_or(i64::MAX),
            month: month as u32,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }
}

/// `2026-11-21T03:20:30Z`. Times before 1970 read as 1970.
pub fn rfc3339(at: SystemTime) -> String {
    let c = Civil::from_unix(since_epoch(at).as_secs());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        c.year, c.month, c.day, c.hour, c.minute, c.second
    )
}

/// `2026-11-21T03:20:30.1234Z`: nanoseconds without trailing zeros, as Go prints its RFC3339Nano.
pub fn rfc3339_nano(at: SystemTime) -> String {
    let mut text = rfc3339(at);
    let nanos = since_epoch(at).subsec_nanos();
    if nanos != 0 {
        let digits = format!("{nanos:09}");
        text.truncate(text.len() - 1);
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
        text.push('Z');
    }
    text
}

fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn seconds() {
        // From `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_077_926_400, "2004-02-28T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_456_000, "2100-02-28T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(at(seconds, 999_999_999)), text);
        }
    }

    #[test]
    fn nanoseconds_lose_their_trailing_zeros() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:01Z"),
            (1, "1970-01-01T00:00:01.000000001Z"),
            (120_000_000, "1970-01-01T00:00:01.12Z"),
            (999_999_999, "1970-01-01T00:00:01.999999999Z"),
        ] {
            assert_eq!(rfc3339_nano(at(1, nanos)), text);
        }
    }

    #[test]
    fn before_1970_is_1970() {
        assert_eq!(
            rfc3339(UNIX_EPOCH - Duration::from_secs(5)),
            "1970-01-01T00:00:00Z"
        );
    }
}
