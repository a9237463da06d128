//! The text of a Dockerfile, places in it, and how an error of one of its places is shown.
//!
//! May not: know what a Dockerfile is. It is text with lines.
//!
//! A [`Span`] is two offsets in bytes. Everything that the rest of this crate says about a Dockerfile carries one, so that whoever
//! shows it can name file and line and put a caret below the word:
//!
//! ```text
//! Dockerfile:4: unknown instruction: EXPOSS (did you mean EXPOSE?)
//!    4 | EXPOSS 22
//!      | ^^^^^^
//! ```

use std::fmt::{self, Write as _};

/// A larger file is a mistake (an archive given for a Dockerfile), and offsets fit four bytes.
pub const MOST: usize = 64 << 20;

/// What is shown of a line that is longer.
const WIDTH: usize = 160;

/// How many lines of an instruction are shown before the rest is only counted.
const SHOWN: u32 = 12;

/// No sentence is longer: it may quote a word that is as long as the file.
const LONGEST_SENTENCE: usize = 2000;

/// A part of a text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Span {
            start: small(start),
            end: small(end.max(start)),
        }
    }

    /// From the start of one to the end of the other.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        Span {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// A place as people count: both from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: u32,
    pub column: u32,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Offsets of the first byte of each line.
    starts: Vec<u32>,
}

impl Source {
    /// A text and the name that errors have for it.
    ///
    /// # Errors
    /// It is larger than [`MOST`].
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Result<Source, Problem> {
        let (name, text) = (name.into(), text.into());
        if text.len() > MOST {
            return Err(Problem::new(
                Span::default(),
                format!("{name} is larger than {} MiB", MOST >> 20),
            ));
        }
        let after = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(n, _)| n + 1);
        let starts = std::iter::once(0)
            .chain(after)
            .map(|n| Span::new(n, n).start)
            .collect();
        Ok(Source { name, text, starts })
    }

    /// Of bytes. What is no UTF-8 is replaced: it can only be in comments and in the words of shells, and a configuration (JSON) has
    /// no other bytes to write them with.
    ///
    /// # Errors
    /// As [`Source::new`].
    pub fn read(name: impl Into<String>, bytes: &[u8]) -> Result<Source, Problem> {
        Source::new(name, String::from_utf8_lossy(bytes))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is written there.
    pub fn at(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    /// Line and column of an offset.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or_default() as usize;
        let before = self.text.get(start..offset as usize).unwrap_or_default();
        Position {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(before.chars().count() + 1).unwrap_or(u32::MAX),
        }
    }

    /// The first line of a span, from 1.
    pub fn line_of(&self, span: Span) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= span.start).max(1)).unwrap_or(u32::MAX)
    }

    /// First and last line that a span touches.
    pub fn lines_of(&self, span: Span) -> (u32, u32) {
        let last = Span {
            start: span.end.saturating_sub(1).max(span.start),
            end: span.end,
        };
        (self.line_of(span), self.line_of(last))
    }

    /// A line without its end, from 1.
    pub fn line(&self, number: u32) -> &str {
        let at = |n: u32| self.starts.get(n as usize).map(|s| *s as usize);
        let Some(start) = number.checked_sub(1).and_then(at) else {
            return "";
        };
        let end = at(number).unwrap_or(self.text.len());
        self.text
            .get(start..end)
            .unwrap_or_default()
            .trim_end_matches(['\n', '\r'])
    }

    /// A problem for people: where, what, the line and a caret.
    pub fn show(&self, problem: &Problem) -> String {
        self.describe(problem.span, &problem.to_string())
    }

    /// Any sentence about a place, in the same form.
    pub fn describe(&self, span: Span, sentence: &str) -> String {
        // Nothing that is written is there: it is about the whole file, or not about it at all.
        if span == Span::default() {
            return format!("{}: {sentence}\n", self.name);
        }
        let (first, last) = self.lines_of(span);
        let mut shown = format!("{}:{first}: {sentence}\n", self.name);
        if first == last {
            self.pointed(span, first, &mut shown);
        } else {
            self.listed(first, last, &mut shown);
        }
        shown
    }

    /// One line with carets below the span. A line that is longer than a terminal is shown around the place.
    fn pointed(&self, span: Span, number: u32, shown: &mut String) {
        let line = self.line(number);
        let from = self.position(span.start).column as usize - 1;
        let length = self.at(span).trim_end().chars().count().max(1);
        let skipped = from.saturating_sub(WIDTH / 2);
        let part: String = line.chars().skip(skipped).take(WIDTH).collect();
        // Tabs stay tabs, so that the caret is below its word whatever a terminal makes of them.
        let pad: String = part
            .chars()
            .take(from - skipped)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let carets = "^".repeat(length.min(WIDTH - (from - skipped).min(WIDTH - 1)));
        let _ = writeln!(shown, "{number:>4} | {part}\n     | {pad}{carets}");
    }

    fn listed(&self, first: u32, last: u32, shown: &mut String) {
        let until = last.min(first.saturating_add(SHOWN - 1));
        for number in first..=until {
            let part: String = self.line(number).chars().take(WIDTH).collect();
            let _ = writeln!(shown, "{number:>4} | {part}");
        }
        if until < last {
            let _ = writeln!(shown, "     | ... and {} more lines", last - until);
        }
    }
}

/// Something is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub span: Span,
    /// The sentence, as BuildKit has it where it has one.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// Of one place.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub fn new(span: Span, message: impl Into<String>) -> Problem {
        Problem {
            span,
            message: clipped(message.into()),
            suggestion: None,
        }
    }

    #[must_use]
    pub fn suggesting(self, suggestion: Option<String>) -> Problem {
        Problem { suggestion, ..self }
    }

    /// What was being done, before it.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Problem {
        Problem {
            message: clipped(format!("{what}: {}", self.message)),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(word) => write!(f, " (did you mean {word}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// A sentence that people can read.
pub fn clipped(sentence: String) -> String {
    if sentence.len() <= LONGEST_SENTENCE {
        return sentence;
    }
    let kept: String = sentence.chars().take(LONGEST_SENTENCE / 2).collect();
    kept + "..."
}

/// Text in quotes as Go's `%q` writes it: messages that quote a word have it so.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x80 && c.is_control() => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn positions_count_from_one() {
        let source = Source::new("f", "ab\nc\u{e4}d\n\nx").unwrap();
        for (offset, line, column) in [
            (0, 1, 1),
            (2, 1, 3),
            (3, 2, 1),
            (6, 2, 3),
            (8, 3, 1),
            (9, 4, 1),
            (10, 4, 2),
        ] {
            assert_eq!(source.position(offset), Position { line, column }, "{offset}");
        }
        assert_eq!(source.line(2), "c\u{e4}d");
        assert_eq!((source.line(4), source.line(5), source.line(0)), ("x", "", ""));
        assert_eq!(source.lines_of(Span::new(0, 3)), (1, 1));
        assert_eq!(source.lines_of(Span::new(0, 4)), (1, 2));
    }

    #[test]
    fn a_problem_shows_its_line_and_a_caret() {
        let source = Source::new("Dockerfile", "FROM a\n\tEXPOSS 22\r\n").unwrap();
        let problem = Problem::new(Span::new(8, 14), "unknown instruction: EXPOSS")
            .suggesting(Some("EXPOSE".to_owned()));
        assert_eq!(
            source.show(&problem),
            "Dockerfile:2: unknown instruction: EXPOSS (did you mean EXPOSE?)\n   2 | \tEXPOSS 22\n     | \t^^^^^^\n"
        );
        let both = Problem::new(Span::new(0, 14), "bad");
        assert_eq!(
            source.show(&both),
            "Dockerfile:1: bad\n   1 | FROM a\n   2 | \tEXPOSS 22\n"
        );
        assert_eq!(source.describe(Span::default(), "bad"), "Dockerfile: bad\n");
        let nowhere = Problem::new(Span::new(900, 1000), "bad");
        assert_eq!(source.show(&nowhere), "Dockerfile:3: bad\n   3 | \n     | ^\n");
    }

    #[test]
    fn a_long_line_is_shown_around_the_place() {
        let source = Source::new("f", format!("{}X{}", "a".repeat(5000), "b".repeat(5000))).unwrap();
        let shown = source.show(&Problem::new(Span::new(5000, 10001), "bad"));
        assert!(shown.lines().all(|line| line.len() < 200), "{shown}");
        let (code, carets) = (shown.lines().nth(1).unwrap(), shown.lines().nth(2).unwrap());
        assert_eq!(code.find('X'), carets.find('^'));
    }

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quoted("a\"b\\\n\u{1}\u{2013}"), "\"a\\\"b\\\\\\n\\x01\u{2013}\"");
    }
}
