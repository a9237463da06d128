//! Regular expressions, as far as names need them: Go's syntax without classes by name, lookups and captures.
//!
//! May not: take more than a moment. A pattern is followed as a set of places, all at once, never by going back, so the time is
//! that of the pattern's length by the text's. A library for this is larger than all that we need of it.

use image::{Error, Result};

/// A parsed pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
enum Step {
    /// One character of these.
    One(Set),
    Start,
    End,
    /// Both ways.
    Split(usize, usize),
    Jump(usize),
    Found,
}

#[derive(Clone, Debug)]
struct Set {
    ranges: Vec<(char, char)>,
    is_negated: bool,
}

impl Set {
    fn of(c: char) -> Set {
        Set {
            ranges: vec![(c, c)],
            is_negated: false,
        }
    }

    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&c)) != self.is_negated
    }
}

/// What is repeated a hundred times in a hundred times is no name's pattern.
const MOST: usize = 10_000;

impl Pattern {
    /// Reads it.
    ///
    /// # Errors
    /// It is malformed, or more than this knows.
    pub fn parse(text: &str) -> Result<Pattern> {
        let (text, ignores_case) = match text.strip_prefix("(?i)") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let mut parser = Parser {
            whole: text,
            rest: text,
            steps: Vec::new(),
            ignores_case,
            depth: 0,
        };
        parser.choice()?;
        if !parser.rest.is_empty() {
            return Err(parser.failed("unexpected )"));
        }
        parser.steps.push(Step::Found);
        Ok(Pattern { steps: parser.steps })
    }

    /// Whether it fits anywhere in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let mut now: Vec<usize> = Vec::new();
        let mut next = Vec::new();
        let mut chars = text.chars();
        let mut at_start = true;
        loop {
            let c = chars.next();
            let mut seen = vec![false; self.steps.len()];
            let from = std::mem::take(&mut now);
            for at in from.into_iter().chain([0]) {
                self.reach(at, at_start, c.is_none(), &mut seen, &mut now);
            }
            if now.iter().any(|at| matches!(self.steps[*at], Step::Found)) {
                return true;
            }
            let Some(c) = c else { return false };
            next.clear();
            for at in &now {
                if let Step::One(set) = &self.steps[*at]
                    && set.has(c)
                {
                    next.push(at + 1);
                }
            }
            std::mem::swap(&mut now, &mut next);
            at_start = false;
        }
    }

    /// All places that are reached from one without a character.
    fn reach(&self, from: usize, at_start: bool, at_end: bool, seen: &mut [bool], places: &mut Vec<usize>) {
        let mut todo = vec![from];
        while let Some(at) = todo.pop() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            match &self.steps[at] {
                Step::Split(a, b) => todo.extend([*b, *a]),
                Step::Jump(to) => todo.push(*to),
                Step::Start if at_start => todo.push(at + 1),
                Step::End if at_end => todo.push(at + 1),
                Step::Start | Step::End => {}
                Step::One(_) | Step::Found => places.push(at),
            }
        }
    }
}

struct Parser<'a> {
    whole: &'a str,
    rest: &'a str,
    steps: Vec<Step>,
    ignores_case: bool,
    depth: usize,
}

impl Parser<'_> {
    fn failed(&self, what: &str) -> Error {
        Error::invalid(format!("error parsing regexp: {what}: `{}`", self.whole))
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        Some(c)
    }

    fn take(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `a|b|c`
    fn choice(&mut self) -> Result<()> {
        let begin = self.steps.len();
        self.sequence()?;
        let mut ends = Vec::new();
        while self.take('|') {
            // What there is so far becomes the first way.
            ends.push(self.steps.len());
            self.steps.push(Step::Jump(0));
            self.insert(begin, Step::Split(begin + 1, self.steps.len() + 1));
            ends.iter_mut().for_each(|end| *end += 1);
            self.sequence()?;
        }
        let end = self.steps.len();
        for jump in ends {
            self.steps[jump] = Step::Jump(end);
        }
        Ok(())
    }

    /// Puts a step before others, which are moved by one.
    fn insert(&mut self, at: usize, step: Step) {
        for step in &mut self.steps[at..] {
            match step {
                Step::Split(a, b) => {
                    for to in [a, b] {
                        *to += usize::from(*to >= at);
                    }
                }
                Step::Jump(to) => *to += usize::from(*to >= at),
                _ => {}
            }
        }
        self.steps.insert(at, step);
    }

    fn sequence(&mut self) -> Result<()> {
        while !self.rest.is_empty() && !self.rest.starts_with(['|', ')']) {
            let begin = self.steps.len();
            self.atom()?;
            self.repetition(begin)?;
            if self.steps.len() > MOST {
                return Err(self.failed("expression too large"));
            }
        }
        Ok(())
    }

    fn repetition(&mut self, begin: usize) -> Result<()> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => match self.counts() {
                    Some(counts) => counts,
                    None => return Ok(()),
                },
                _ => return Ok(()),
            };
            if !self.rest.starts_with('{') {
                self.next();
            } else {
                self.rest = self.rest.split_once('}').map_or("", |(_, rest)| rest);
            }
            // Whether it takes as little as it can makes no difference to whether it fits.
            self.take('?');
            self.repeat(begin, least, most)?;
        }
    }

    /// `{2}`, `{2,}`, `{2,5}`; anything else is a brace.
    fn counts(&self) -> Option<(usize, Option<usize>)> {
        let (inner, _) = self.rest.strip_prefix('{')?.split_once('}')?;
        match inner.split_once(',') {
            None => {
                let n = inner.parse().ok()?;
                Some((n, Some(n)))
            }
            Some((least, "")) => Some((least.parse().ok()?, None)),
            Some((least, most)) => Some((least.parse().ok()?, Some(most.parse().ok()?))),
        }
    }

    fn repeat(&mut self, begin: usize, least: usize, most: Option<usize>) -> Result<()> {
        const LIMIT: usize = 1000;
        if least > LIMIT || most.is_some_and(|most| most > LIMIT || most < least) {
            return Err(self.failed("invalid repeat count"));
        }
        let piece: Vec<Step> = self.steps.drain(begin..).collect();
        let copies = least + most.map_or(1, |most| most - least);
        if copies * piece.len() > MOST {
            return Err(self.failed("expression too large"));
        }
        for _ in 0..least {
            self.copy(&piece, begin);
        }
        match most {
            None => {
                let split = self.steps.len();
                self.steps.push(Step::Split(split + 1, split + 2 + piece.len()));
                self.copy(&piece, begin);
                self.steps.push(Step::Jump(split));
            }
            Some(most) => {
                let each = 1 + piece.len();
                let end = self.steps.len() + (most - least) * each;
                for _ in least..most {
                    let split = self.steps.len();
                    self.steps.push(Step::Split(split + 1, end));
                    self.copy(&piece, begin);
                }
            }
        }
        Ok(())
    }

    /// Appends steps that were made to stand at `begin`.
    fn copy(&mut self, piece: &[Step], begin: usize) {
        let by = self.steps.len() - begin;
        self.steps.extend(piece.iter().map(|step| match step {
            Step::Split(a, b) => Step::Split(a + by, b + by),
            Step::Jump(to) => Step::Jump(to + by),
            other => other.clone(),
        }));
    }

    fn atom(&mut self) -> Result<()> {
        const ANY: Set = Set {
            ranges: Vec::new(),
            is_negated: true,
        };
        let Some(c) = self.next() else { return Ok(()) };
        let set = match c {
            '^' => return self.push(Step::Start),
            '$' => return self.push(Step::End),
            '(' => {
                if self.rest.starts_with('?') && !self.rest.starts_with("?:") {
                    return Err(self.failed("invalid or unsupported Perl syntax"));
                }
                self.rest = self.rest.strip_prefix("?:").unwrap_or(self.rest);
                self.depth += 1;
                if self.depth > 100 {
                    return Err(self.failed("expression nests too deeply"));
                }
                self.choice()?;
                self.depth -= 1;
                return match self.take(')') {
                    true => Ok(()),
                    false => Err(self.failed("missing closing )")),
                };
            }
            '*' | '+' | '?' => return Err(self.failed("missing argument to repetition operator")),
            '.' => ANY,
            '[' => self.set()?,
            '\\' => match self.next() {
                Some('A') => return self.push(Step::Start),
                Some('z') => return self.push(Step::End),
                Some(c) => self.escaped(c)?,
                None => return Err(self.failed("trailing backslash at end of expression")),
            },
            c => Set::of(c),
        };
        let set = self.fold(set);
        self.push(Step::One(set))
    }

    fn push(&mut self, step: Step) -> Result<()> {
        self.steps.push(step);
        Ok(())
    }

    fn fold(&self, mut set: Set) -> Set {
        if self.ignores_case {
            for (a, b) in set.ranges.clone() {
                for (from, to, by) in [('a', 'z', -32i32), ('A', 'Z', 32)] {
                    let (low, high) = (a.max(from), b.min(to));
                    let other = |c: char| char::from_u32((c as i32 + by) as u32).unwrap_or(c);
                    if low <= high {
                        set.ranges.push((other(low), other(high)));
                    }
                }
            }
        }
        set
    }

    fn escaped(&self, c: char) -> Result<Set> {
        let ranges = match c.to_ascii_lowercase() {
            'd' => vec![('0', '9')],
            'w' => vec![('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')],
            's' => vec![('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
            't' if c == 't' => vec![('\t', '\t')],
            'n' if c == 'n' => vec![('\n', '\n')],
            _ if !c.is_ascii_alphanumeric() => return Ok(Set::of(c)),
            _ => return Err(self.failed("invalid escape sequence")),
        };
        Ok(Set {
            ranges,
            is_negated: c.is_ascii_uppercase(),
        })
    }

    fn set(&mut self) -> Result<Set> {
        let missing = || {
            Error::invalid(format!(
                "error parsing regexp: missing closing ]: `{}`",
                self.whole
            ))
        };
        let is_negated = self.rest.starts_with('^');
        if is_negated {
            self.rest = &self.rest[1..];
        }
        let missing = missing();
        let mut ranges: Vec<(char, char)> = Vec::new();
        let mut is_first = true;
        loop {
            let Some(c) = self.next() else { return Err(missing) };
            if c == ']' && !is_first {
                return Ok(Set { ranges, is_negated });
            }
            is_first = false;
            if c == '[' && self.rest.starts_with(':') {
                return Err(self.failed("invalid character class range"));
            }
            let from = match c {
                '\\' => {
                    let Some(c) = self.next() else { return Err(missing) };
                    let set = self.escaped(c)?;
                    if set.is_negated || set.ranges.len() > 1 || set.ranges[0].0 != set.ranges[0].1 {
                        if set.is_negated {
                            return Err(self.failed("invalid escape sequence"));
                        }
                        ranges.extend(set.ranges);
                        continue;
                    }
                    set.ranges[0].0
                }
                c => c,
            };
            let mut ahead = self.rest.chars();
            if ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                self.next();
                let mut to = self.next();
                if to == Some('\\') {
                    to = self.next();
                }
                let Some(to) = to else { return Err(missing) };
                if to < from {
                    return Err(self.failed("invalid character class range"));
                }
                ranges.push((from, to));
            } else {
                ranges.push((from, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_fits() {
        for (pattern, fits, not) in [
            ("", &["", "a"][..], &[][..]),
            ("abc", &["abc", "xabcx"], &["ab", "acb", ""]),
            ("^abc$", &["abc"], &["xabc", "abcx"]),
            ("^/?web", &["web", "/web1"], &["aweb"]),
            ("a.c", &["abc", "a\u{e9}c"], &["ac"]),
            ("^a*$", &["", "a", "aaaa"], &["b", "aab"]),
            ("^(ab)+$", &["ab", "abab"], &["", "aba"]),
            ("^(a|b|cd)e$", &["ae", "be", "cde"], &["ce", "abe"]),
            ("^(a|)$", &["a", ""], &["b"]),
            ("^[a-c_x]+$", &["abc_x"], &["d", ""]),
            ("^[^a-c]$", &["d", "-"], &["a"]),
            ("^[]a]$", &["]", "a"], &["b"]),
            ("^[a-]$", &["-", "a"], &["b"]),
            (
                r"^\w+\.\d{2,3}$",
                &["web.12", "web.123"],
                &["web.1", "web.1234", "webx12"],
            ),
            ("^a{3}$", &["aaa"], &["aa", "aaaa"]),
            ("^a{2,}$", &["aa", "aaaaa"], &["a"]),
            ("^a{0,1}b$", &["b", "ab"], &["aab"]),
            ("^(a{2}){2}$", &["aaaa"], &["aa", "aaa"]),
            ("a{x", &["a{x"], &["ax"]),
            ("(?i)^Web[x-z]$", &["WEBX", "weby"], &["wea"]),
            ("^a+?b??$", &["a", "aab"], &["b"]),
            (r"[\d\-]\S", &["1a", "-b"], &["1 ", "a"]),
            ("x*y*z", &["z", "xxyyz"], &["xy"]),
            ("a|b", &["a", "cb"], &["c"]),
            ("^(com\\.a|org)\\.", &["com.a.b", "org.x"], &["comxa.b"]),
        ] {
            let parsed = Pattern::parse(pattern).unwrap();
            for text in fits {
                assert!(parsed.is_in(text), "{pattern} {text}");
            }
            for text in not {
                assert!(!parsed.is_in(text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn what_is_malformed() {
        for pattern in [
            "(",
            ")",
            "a)",
            "[",
            "[a",
            "*",
            "+a",
            "a\\",
            "(?P<n>a)",
            "a{1001}",
            "a{3,2}",
            "[z-a]",
            "\\p",
            "[[:alpha:]]",
        ] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
        assert_eq!(
            Pattern::parse("a(b").unwrap_err().to_string(),
            "error parsing regexp: missing closing ): `a(b`"
        );
    }

    #[test]
    fn none_takes_long() {
        let evil = Pattern::parse("^(a*)*(a|a)*$").unwrap();
        assert!(!evil.is_in(&("a".repeat(2000) + "b")));
        assert!(Pattern::parse(&"(a{1000}){1000}".repeat(2)).is_err());
        assert!(Pattern::parse(&"(".repeat(100_000)).is_err());
    }
}
