//! Cutting the text of an instruction: its keyword, its flags, its words, its JSON.
//!
//! May not: expand anything. Quotes and escapes of values stay as they are written, for the expansion later; those of flags go.
//!
//! Everything has the range of the text that it came from, for errors.

use std::ops::Range;

use serde::de::IgnoredAny;

/// What separates the words of an instruction.
pub const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// A word, and where in the text of its instruction it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub range: Range<usize>,
}

/// `--name`, `--name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    pub name: String,
    pub value: Option<String>,
    pub range: Range<usize>,
}

/// The part of a range without the blanks around it.
pub fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = text.get(range.clone()).unwrap_or_default();
    let start = range.start + part.len() - part.trim_start().len();
    start..start + part.trim().len()
}

/// The first word, and the rest of the range.
pub fn first(text: &str, range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let range = trimmed(text, range);
    let part = text.get(range.clone()).unwrap_or_default();
    let length = part.find(BLANKS).unwrap_or(part.len());
    let middle = range.start + length;
    (range.start..middle, trimmed(text, middle..range.end))
}

/// Words between blanks.
pub fn blank_separated(text: &str, range: Range<usize>) -> Vec<Word> {
    let part = text.get(range.clone()).unwrap_or_default();
    let mut words = Vec::new();
    let mut at = range.start;
    for piece in part.split(BLANKS) {
        if !piece.is_empty() {
            words.push(Word {
                text: piece.to_owned(),
                range: at..at + piece.len(),
            });
        }
        // All of them are one byte.
        at += piece.len() + 1;
    }
    words
}

/// Words between blanks that no quote and no escape protects; both stay in the words.
pub fn quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Word> {
    let part = text.get(range.clone()).unwrap_or_default();
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut chars = part.char_indices();
    while let Some((n, c)) = chars.next() {
        let at = range.start + n;
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let is_last = n + c.len_utf8() == part.len();
        if c == escape && quote != Some('\'') && is_last {
            break;
        }
        let word = word.get_or_insert_with(|| Word {
            text: String::new(),
            range: at..at,
        });
        word.text.push(c);
        word.range.end = at + c.len_utf8();
        if c == escape && quote != Some('\'') {
            if let Some((n, c)) = chars.next() {
                word.text.push(c);
                word.range.end = range.start + n + c.len_utf8();
            }
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
        }
    }
    words.extend(word);
    words
}

/// The flags at the start of a range, and what follows them. `--` ends them.
pub fn flags(text: &str, range: Range<usize>, escape: char) -> (Vec<Flag>, Range<usize>) {
    let mut flags = Vec::new();
    let mut rest = trimmed(text, range);
    while text.get(rest.clone()).is_some_and(|part| part.starts_with("--")) {
        let (word, end) = flag_word(text, rest.clone(), escape);
        let range = rest.start..end;
        rest = trimmed(text, end..rest.end);
        if word == "--" {
            break;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        flags.push(Flag {
            name: name.strip_prefix("--").unwrap_or(name).to_owned(),
            value,
            range,
        });
    }
    (flags, rest)
}

/// A word without its quotes and escapes, and where it ends.
fn flag_word(text: &str, range: Range<usize>, escape: char) -> (String, usize) {
    let part = text.get(range.clone()).unwrap_or_default();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = part.char_indices();
    while let Some((n, c)) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => return (word, range.start + n),
            (c, _) if c == escape => word.extend(chars.next().map(|(_, c)| c)),
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            (c, _) => word.push(c),
        }
    }
    (word, range.end)
}

/// What a text is that could be a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    /// Text for a shell.
    No,
    Strings(Vec<String>),
    /// An array, but not of strings alone: always a mistake.
    Others,
}

pub fn json(text: &str) -> Json {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Json::No;
    }
    if let Ok(strings) = serde_json::from_str::<Vec<String>>(text) {
        return Json::Strings(strings);
    }
    match serde_json::from_str::<Vec<IgnoredAny>>(text) {
        Ok(_) => Json::Others,
        Err(_) => Json::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(words: &[Word]) -> Vec<&str> {
        words.iter().map(|w| w.text.as_str()).collect()
    }

    #[test]
    fn keyword_and_rest() {
        let text = "  RUN\t --x  a ";
        let (keyword, rest) = first(text, 0..text.len());
        assert_eq!((&text[keyword], &text[rest]), ("RUN", "--x  a"));
        assert_eq!(first("RUN", 0..3), (0..3, 3..3));
    }

    #[test]
    fn words() {
        let text = "a=\"b c\" d=e\\ f  g='h \" i\\' \"\" j\\";
        let words = quoted(text, 0..text.len(), '\\');
        assert_eq!(
            texts(&words),
            ["a=\"b c\"", "d=e\\ f", "g='h \" i\\'", "\"\"", "j"]
        );
        assert_eq!(&text[words[2].range.clone()], "g='h \" i\\'");
        assert_eq!(texts(&quoted("a \"b c", 0..6, '\\')), ["a", "\"b c"]);
        let spaced = blank_separated("x  a\tb\u{a0}c", 1..9);
        assert_eq!(texts(&spaced), ["a", "b\u{a0}c"]);
        assert_eq!(spaced[1].range, 5..9);
    }

    #[test]
    fn flags_end_where_words_begin() {
        let text = "--a --b=\"c d\"e --f='g\\'h' -- --i j";
        let (found, rest) = flags(text, 0..text.len(), '\\');
        let shown: Vec<_> = found
            .iter()
            .map(|f| (f.name.as_str(), f.value.as_deref()))
            .collect();
        assert_eq!(shown, [("a", None), ("b", Some("c de")), ("f", Some("g'h"))]);
        assert_eq!(&text[found[1].range.clone()], "--b=\"c d\"e");
        assert_eq!(&text[rest], "--i j");
        assert_eq!(flags("-a --b", 0..6, '\\'), (vec![], 0..6));
        assert_eq!(flags("--", 0..2, '\\'), (vec![], 2..2));
        // A hyphen that a text processor has made longer is none.
        assert_eq!(flags("\u{2013}y x", 0..6, '\\').0, vec![]);
    }

    #[test]
    fn json_is_an_array_of_strings_or_text() {
        for (text, result) in [
            (
                " [\"a\", \"b\\u00e4\"]",
                Json::Strings(vec!["a".into(), "b\u{e4}".into()]),
            ),
            ("[]", Json::Strings(vec![])),
            ("[\"a\", 1]", Json::Others),
            ("[null]", Json::Others),
            ("[[\"a\"]]", Json::Others),
            ("['a']", Json::No),
            ("[\"a\",]", Json::No),
            ("[\"a\"] b", Json::No),
            ("[ -f x ]", Json::No),
            ("[\u{201c}a\u{201d}]", Json::No),
            ("a", Json::No),
        ] {
            assert_eq!(json(text), result, "{text}");
        }
        assert_eq!(json(&"[".repeat(1_000_000)), Json::No);
    }
}
