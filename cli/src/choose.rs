//! Which images a list or a prune means: filters, patterns, times.
//!
//! May not: print. An unknown filter is an error, because a prune that overlooks one removes too much.

use crate::session::Failure;
use crate::units::parse_time;
use image::oci::ImageConfig;
use image::reference::Reference;
use image::store::{Image, Store};
use std::collections::BTreeMap;

/// What filters ask of an image.
#[derive(Debug, Default)]
pub struct Choice {
    /// Whether it has to be without a name.
    pub dangling: Option<bool>,
    labels: Vec<(String, Option<String>)>,
    without_labels: Vec<(String, Option<String>)>,
    /// One of them has to match a name.
    pub patterns: Vec<String>,
    /// Created before, after.
    before: Option<i64>,
    since: Option<i64>,
}

impl Choice {
    /// From filters of which `allowed` are known to the command.
    ///
    /// # Errors
    /// One is unknown or has no sense.
    pub fn of(
        filters: &[(String, String)],
        allowed: &[&str],
        store: &Store,
        now: i64,
    ) -> Result<Choice, Failure> {
        let mut choice = Choice::default();
        for (name, value) in filters {
            if !allowed.contains(&name.as_str()) {
                return Err(invalid(&format!("invalid filter '{name}'")));
            }
            if choice.plain(name, value, now)? {
                continue;
            }
            match name.as_str() {
                "dangling" => choice.dangling = Some(yes_or_no(name, value)?),
                "reference" => choice.patterns.push(value.clone()),
                "before" => choice.not_after(created(store, value)?),
                _ => {
                    let since = created(store, value)?;
                    choice.since = Some(choice.since.map_or(since, |s| s.max(since)));
                }
            }
        }
        Ok(choice)
    }

    /// From the filters of prunes that know only labels and ages.
    ///
    /// # Errors
    /// One is unknown or has no sense.
    pub fn of_age_and_labels(filters: &[(String, String)], now: i64) -> Result<Choice, Failure> {
        let mut choice = Choice::default();
        for (name, value) in filters {
            if !choice.plain(name, value, now)? {
                return Err(invalid(&format!("invalid filter '{name}'")));
            }
        }
        Ok(choice)
    }

    /// What can be judged without looking at other things. Whether it was such a filter.
    fn plain(&mut self, name: &str, value: &str, now: i64) -> Result<bool, Failure> {
        match name {
            "label" => self.labels.push(label(value)),
            "label!" => self.without_labels.push(label(value)),
            "until" => self.not_after(time(value, now)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Seconds since 1970 after which nothing was made that is meant.
    pub fn before(&self) -> Option<i64> {
        self.before
    }

    fn not_after(&mut self, time: i64) {
        self.before = Some(self.before.map_or(time, |b| b.min(time)));
    }

    /// Whether labels and times are as asked. Names are the list's own matter.
    pub fn takes(&self, config: &ImageConfig) -> bool {
        self.accepts(
            config.created.as_deref().unwrap_or_default(),
            config.config.labels.as_ref(),
        )
    }

    /// The same, of anything that has labels and was created at some time.
    pub fn accepts(&self, created: &str, labels: Option<&BTreeMap<String, String>>) -> bool {
        let created = parse_time(created).unwrap_or(0);
        let has = |(key, value): &(String, Option<String>)| {
            labels
                .and_then(|l| l.get(key))
                .is_some_and(|found| value.as_ref().is_none_or(|v| v == found))
        };
        self.before.is_none_or(|t| created < t)
            && self.since.is_none_or(|t| created > t)
            && self.labels.iter().all(has)
            && !self.without_labels.iter().any(has)
    }

    /// Whether a pattern fits a name, if there are any.
    pub fn names(&self, reference: &Reference) -> bool {
        self.patterns.is_empty()
            || self.patterns.iter().any(|pattern| {
                matches(pattern, &reference.familiar())
                    || matches(pattern, &reference.repository().familiar())
            })
    }
}

fn invalid(message: &str) -> Failure {
    image::Error::invalid(message).into()
}

fn yes_or_no(name: &str, value: &str) -> Result<bool, Failure> {
    match value.to_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(invalid(&format!("invalid filter '{name}={value}'"))),
    }
}

fn label(value: &str) -> (String, Option<String>) {
    match value.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    }
}

fn created(store: &Store, name: &str) -> Result<i64, Failure> {
    let image: Image = store.find_image(name)?;
    let (config, _) = store.config(&image.id)?;
    Ok(config.created.as_deref().and_then(parse_time).unwrap_or(0))
}

/// A point in time: RFC 3339, a date, seconds since 1970, or how long ago as a Go duration.
pub(crate) fn time(text: &str, now: i64) -> Result<i64, Failure> {
    let seconds = text.split('.').next().and_then(|t| t.parse().ok());
    let date = || parse_time(&format!("{text}T00:00:00Z")).or_else(|| parse_time(&format!("{text}Z")));
    duration(text)
        .map(|ago| now - ago)
        .or(seconds)
        .or_else(|| parse_time(text))
        .or_else(date)
        .ok_or_else(|| invalid(&format!("invalid filter 'until={text}'")))
}

/// `1h30m`, `240h`, `1.5h`, in whole seconds.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |n| digits + n);
        seconds += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(seconds as i64)
}

/// Go's path.Match: `*` and `?` stop at a slash, `[a-z]`, `[^a-z]`, a backslash quotes. A malformed pattern matches nothing.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    fits(&pattern, &text)
}

fn fits(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => {
            let reach = text.iter().take_while(|c| **c != '/').count();
            (0..=reach).any(|n| fits(rest, &text[n..]))
        }
        ['?', rest @ ..] => text.first().is_some_and(|c| *c != '/') && fits(rest, &text[1..]),
        ['[', rest @ ..] => match (class(rest), text) {
            (Some((accepts, rest)), [c, text @ ..]) => {
                accepts.iter().any(|(a, b)| (a..=b).contains(&c)) && fits(rest, text)
            }
            _ => false,
        },
        ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && fits(rest, &text[1..]),
    }
}

/// The ranges of a class, and what follows it.
type Class<'p> = (Vec<(char, char)>, &'p [char]);

fn class(pattern: &[char]) -> Option<Class<'_>> {
    let (negated, mut rest) = match pattern {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut ranges = Vec::new();
    loop {
        match rest {
            [']', behind @ ..] if !ranges.is_empty() => {
                rest = behind;
                break;
            }
            [from, '-', to, behind @ ..] if *to != ']' => {
                ranges.push((*from, *to));
                rest = behind;
            }
            [c, behind @ ..] => {
                ranges.push((*c, *c));
                rest = behind;
            }
            [] => return None,
        }
    }
    if !negated {
        return Some((ranges, rest));
    }
    ranges.sort_unstable();
    let mut others = Vec::new();
    let mut next = 0;
    for (from, to) in ranges {
        if let (Some(a), Some(b)) = (
            char::from_u32(next),
            char::from_u32(u32::from(from).wrapping_sub(1)),
        ) && a <= b
        {
            others.push((a, b));
        }
        next = next.max(u32::from(to) + 1);
    }
    others.extend(char::from_u32(next).map(|a| (a, char::MAX)));
    Some((others, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, is) in [
            ("debian", "debian", true),
            ("debian:1*", "debian:12", true),
            ("deb*", "debian", true),
            ("*", "a/b", false),
            ("*/*", "a/b", true),
            ("a/?", "a/b", true),
            ("a/[a-c]", "a/b", true),
            ("a/[^a-c]", "a/b", false),
            ("a/[^x]", "a/b", true),
            ("a/[b", "a/b", false),
            ("a\\*", "a*", true),
            ("", "", true),
            ("**r", "bar", true),
        ] {
            assert_eq!(matches(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn times() {
        for (text, seconds) in [
            ("240h", Some(1000 - 864_000)),
            ("1h30m", Some(1000 - 5400)),
            ("1.5h", Some(1000 - 5400)),
            ("1800000000", Some(1_800_000_000)),
            ("1800000000.5", Some(1_800_000_000)),
            ("1970-01-02", Some(86_400)),
            ("1970-01-01T00:01:00", Some(60)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("soon", None),
            ("5x", None),
        ] {
            assert_eq!(time(text, 1000).ok(), seconds, "{text}");
        }
    }

    #[test]
    fn labels_and_times_decide() {
        let config = ImageConfig::parse(
            br#"{"created":"1970-01-01T00:01:40Z","architecture":"amd64","os":"linux","config":{"Labels":{"a":"1"}},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        )
        .unwrap();
        let choice = |change: &dyn Fn(&mut Choice)| {
            let mut choice = Choice::default();
            change(&mut choice);
            choice.takes(&config)
        };
        assert!(choice(&|_| ()));
        assert!(choice(&|c| c.labels.push(label("a"))));
        assert!(choice(&|c| c.labels.push(label("a=1"))));
        assert!(!choice(&|c| c.labels.push(label("a=2"))));
        assert!(!choice(&|c| c.without_labels.push(label("a"))));
        assert!(choice(&|c| c.not_after(101)));
        assert!(!choice(&|c| {
            c.not_after(101);
            c.not_after(100);
        }));
        assert!(!choice(&|c| c.since = Some(100)));
    }
}
