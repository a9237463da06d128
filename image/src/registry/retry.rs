//! When to try again: back-off with jitter, Retry-After, dates of HTTP.
//!
//! May not: wait.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How patient a client is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in all.
    pub attempts: u32,
    /// Before the second attempt; doubled for every further one.
    pub first: Duration,
    /// The longest wait, whatever the registry asks for.
    pub most: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            attempts: 5,
            first: Duration::from_millis(300),
            most: Duration::from_secs(60),
        }
    }
}

/// The attempts at one thing.
#[derive(Clone)]
pub(super) struct Attempts {
    patience: Patience,
    made: u32,
}

impl Attempts {
    pub fn new(patience: Patience) -> Attempts {
        Attempts { patience, made: 1 }
    }

    /// Something went well in between: begin to count anew.
    pub fn reset(&mut self) {
        self.made = 1;
    }

    /// How long to wait before the next attempt, or that there is none. What the registry asks for counts where it is more.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        if self.made >= self.patience.attempts {
            return None;
        }
        let doubled = self.patience.first.saturating_mul(1 << (self.made - 1).min(16));
        self.made += 1;
        // Between the half and the whole: clients that were turned away together must not come back together.
        let jittered = doubled.mul_f64(0.5 + random_fraction() / 2.0);
        Some(jittered.max(asked.unwrap_or_default()).min(self.patience.most))
    }
}

fn random_fraction() -> f64 {
    // The keys of std's hash maps are the system's randomness.
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// Retry-After: seconds, or a date.
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if value.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().ok()?));
    }
    let at = UNIX_EPOCH + Duration::from_secs(parse_http_date(value)?);
    Some(at.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970. The two older forms of RFC 9110 are not sent by anything that serves images.
fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok()?;
    let month = words
        .next()
        .and_then(|word| MONTHS.iter().position(|m| *m == word))?
        + 1;
    let year: u64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
    if words.next() != Some("GMT")
        || !(1970..=9999).contains(&year)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days of the civil calendar; the year begins in March, so that a leap day is its last one.
    let (y, m) = if month <= 2 {
        (year - 1, month as u64 + 9)
    } else {
        (year, month as u64 - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn dates_and_seconds_are_read() {
        assert_eq!(
            parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(784_111_777)
        );
        assert_eq!(
            parse_http_date("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
        assert_eq!(parse_http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for text in [
            "",
            "Sun, 06 Nov 1994",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 ovD 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
        ] {
            assert_eq!(parse_http_date(text), None, "{text:?}");
        }
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            parse_retry_after("Sun, 06 Nov 1994 08:49:30 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after("99999999999999999999", now), None);
    }

    #[test]
    fn waits_grow_and_end() {
        let patience = Patience {
            attempts: 4,
            first: Duration::from_millis(100),
            most: Duration::from_secs(1),
        };
        let mut attempts = Attempts::new(patience);
        let waits: Vec<_> = std::iter::from_fn(|| attempts.next(None)).collect();
        assert_eq!(waits.len(), 3);
        for (wait, doubled) in waits.iter().zip([100, 200, 400]) {
            assert!(
                *wait >= Duration::from_millis(doubled / 2) && *wait <= Duration::from_millis(doubled),
                "{waits:?}"
            );
        }
        attempts.reset();
        assert_eq!(
            attempts.next(Some(Duration::from_secs(3600))),
            Some(Duration::from_secs(1))
        );
    }
}
