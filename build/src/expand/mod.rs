//! Variables, quotes and words, by the rules of Dockerfiles, which are nearly those of a shell.
//!
//! May not: know instructions; who knows which of their parts are expanded is `scope`. Read the environment of this process.
//!
//! One walk over the text does it all, left to right. A nested expansion (`${a:-${b}}`) recurses, so depth has a limit; what is made
//! has one too, because a value may be used twice in the next value: forty lines of `ENV b=$a$a` would fill any memory.

pub mod env;
mod pattern;

use std::collections::BTreeSet;

pub use env::Env;

use crate::source::quoted;

/// How deep expansions may stand in each other.
const DEEPEST: usize = 100;

/// What one expansion may make, in bytes: far above what an environment (128 KiB a variable) or a file of a heredoc needs.
const MOST: usize = 16 << 20;

/// How much of a text that cannot be expanded is repeated in the error.
const REPEATED: usize = 200;

/// What may be looked at in all expansions of a file or a stage, in bytes: a large value that is used in each of a hundred thousand
/// lines is nobody's build.
const MOST_WORK: usize = 1 << 30;

/// Where variables come from.
pub trait Vars {
    fn get(&self, name: &str) -> Option<&str>;
}

/// No variable is set.
pub struct Nothing;

impl Vars for Nothing {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

/// What happens to `'` and `"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// They quote, and go.
    Remove,
    /// They quote, and stay.
    Keep,
    /// They are characters like others: the body of a heredoc.
    Ignore,
}

/// What happens to a variable that is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// It is empty.
    Empty,
    /// Its expression stays as it is written.
    Keep,
}

/// One way to read text.
#[derive(Clone, Copy, Debug)]
pub struct Lexer {
    pub escape: char,
    pub quotes: Quotes,
    /// Escape characters stay beside what they escape.
    pub keep_escapes: bool,
    pub unset: Unset,
}

/// What became of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// The same, split where blanks were not quoted. A word that is quoted and empty is none.
    pub words: Vec<String>,
    /// Variables that were set.
    pub used: BTreeSet<String>,
    /// Variables that were asked for and not set.
    pub missing: BTreeSet<String>,
    /// Bytes that were looked at and made: [`Work`].
    pub work: usize,
}

/// What was done so far, for whoever expands many texts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work(usize);

impl Work {
    /// # Errors
    /// It is too much.
    pub fn spend(&mut self, expanded: &Expanded) -> Result<(), Error> {
        self.0 = self.0.saturating_add(expanded.work);
        if self.0 > MOST_WORK {
            return error("the variables are too large to be used so often");
        }
        Ok(())
    }
}

/// Why a text cannot be expanded, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

fn error<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error(message.into()))
}

impl Lexer {
    /// As words of instructions are read.
    pub fn new(escape: char) -> Lexer {
        Lexer {
            escape,
            quotes: Quotes::Remove,
            keep_escapes: false,
            unset: Unset::Empty,
        }
    }

    /// As the body of a heredoc is read: the escape character is the backslash, whatever the file says.
    pub fn heredoc() -> Lexer {
        Lexer {
            quotes: Quotes::Ignore,
            ..Lexer::new('\\')
        }
    }

    /// # Errors
    /// A quote or a brace is open, an operator is unknown, `${x:?}` refuses, or there is too much of it.
    pub fn expand(&self, text: &str, vars: &dyn Vars) -> Result<Expanded, Error> {
        let mut walk = Walk {
            lexer: self,
            text,
            at: 0,
            vars,
            keep_escapes: self.keep_escapes,
            depth: 0,
            made: 0,
            work: 0,
            used: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        let mut out = Out::with_words();
        match walk.until(None, &mut out) {
            Ok(()) => Ok(Expanded {
                text: out.text,
                words: out.words.map(Words::finish).unwrap_or_default(),
                used: walk.used,
                missing: walk.missing,
                work: walk.work + text.len(),
            }),
            Err(e) => {
                let mut shown: String = text.chars().take(REPEATED).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                error(format!("failed to process {}: {e}", quoted(&shown)))
            }
        }
    }
}

/// Text that is being made.
struct Out {
    text: String,
    words: Option<Words>,
}

impl Out {
    fn plain() -> Out {
        Out {
            text: String::new(),
            words: None,
        }
    }

    fn with_words() -> Out {
        Out {
            text: String::new(),
            words: Some(Words::default()),
        }
    }

    /// A character that may end a word.
    fn loose(&mut self, c: char) {
        self.text.push(c);
        if let Some(words) = &mut self.words {
            words.loose(c);
        }
    }

    /// A character that belongs to its word, blank or not.
    fn fast(&mut self, c: char) {
        self.text.push(c);
        if let Some(words) = &mut self.words {
            words.word.push(c);
        }
    }

    fn loose_text(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(words) = &mut self.words {
            words.loose_text(text);
        }
    }

    fn fast_text(&mut self, text: &str) {
        self.text.push_str(text);
        if let Some(words) = &mut self.words {
            words.word.push_str(text);
        }
    }
}

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn loose(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn loose_text(&mut self, mut text: &str) {
        while let Some((before, after)) = text.split_once(char::is_whitespace) {
            self.word.push_str(before);
            self.loose(' ');
            text = after;
        }
        self.word.push_str(text);
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Walk<'a> {
    lexer: &'a Lexer,
    text: &'a str,
    at: usize,
    vars: &'a dyn Vars,
    /// As in the lexer, but patterns keep theirs.
    keep_escapes: bool,
    depth: usize,
    made: usize,
    work: usize,
    used: BTreeSet<String>,
    missing: BTreeSet<String>,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    /// Up to the end, or to a character that ends it, which is taken.
    fn until(&mut self, stop: Option<char>, out: &mut Out) -> Result<(), Error> {
        while let Some(c) = self.peek() {
            if Some(c) == stop {
                self.next();
                return Ok(());
            }
            match c {
                '\'' if self.lexer.quotes != Quotes::Ignore => out.fast_text(self.single()?),
                '"' if self.lexer.quotes != Quotes::Ignore => {
                    let text = self.double()?;
                    out.fast_text(&text);
                }
                '$' => {
                    let value = self.dollar()?;
                    out.loose_text(&value);
                }
                '<' => out.fast_text(self.angle()),
                c if c == self.lexer.escape => self.escaped(out),
                c => {
                    self.next();
                    out.loose(c);
                }
            }
            self.weigh(out.text.len())?;
        }
        match stop {
            Some(stop) => error(format!(
                "unexpected end of statement while looking for matching {stop}"
            )),
            None => Ok(()),
        }
    }

    /// Everything that is made counts once, where it ends up.
    fn weigh(&mut self, length: usize) -> Result<(), Error> {
        if length + self.made > MOST {
            return error(format!("it comes to more than {} MiB", MOST >> 20));
        }
        Ok(())
    }

    /// Outside of quotes an escape takes any character; at the end it goes.
    fn escaped(&mut self, out: &mut Out) {
        let Some(escape) = self.next() else { return };
        if self.keep_escapes {
            out.fast(escape);
        }
        if let Some(c) = self.next() {
            out.fast(c);
        }
    }

    /// Literal up to the next one; nothing escapes in there.
    fn single(&mut self) -> Result<&'a str, Error> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let Some(length) = rest.get(1..).and_then(|inner| inner.find('\'')) else {
            return error("unexpected end of statement while looking for matching single-quote");
        };
        self.at += length + 2;
        let (from, to) = match self.lexer.quotes {
            Quotes::Keep => (0, length + 2),
            _ => (1, length + 1),
        };
        Ok(rest.get(from..to).unwrap_or_default())
    }

    /// Variables are expanded; an escape takes a quote, a dollar and itself, and is literal before everything else.
    fn double(&mut self) -> Result<String, Error> {
        let mut out = String::new();
        let keep_quote = self.lexer.quotes == Quotes::Keep;
        self.next();
        if keep_quote {
            out.push('"');
        }
        loop {
            match self.peek() {
                None => return error("unexpected end of statement while looking for matching double-quote"),
                Some('"') => {
                    self.next();
                    if keep_quote {
                        out.push('"');
                    }
                    return Ok(out);
                }
                Some('$') => out.push_str(&self.dollar()?),
                Some(c) if c == self.lexer.escape => {
                    self.next();
                    match self.peek() {
                        Some(e) if e == '"' || e == '$' || e == c => {
                            self.next();
                            if self.keep_escapes {
                                out.push(c);
                            }
                            out.push(e);
                        }
                        _ => out.push(c),
                    }
                }
                Some(c) => {
                    self.next();
                    out.push(c);
                }
            }
            self.weigh(out.len())?;
        }
    }

    /// The blanks between `<<` and the word that ends a heredoc belong to it.
    fn angle(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = match rest.strip_prefix("<<") {
            Some(after) => 2 + after.len() - after.trim_start_matches([' ', '\t', '\r']).len(),
            None => 1,
        };
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn look_up(&mut self, name: &str) -> Option<&'a str> {
        let value = self.vars.get(name);
        self.work += value.map_or(0, str::len);
        let seen = if value.is_some() {
            &mut self.used
        } else {
            &mut self.missing
        };
        if !seen.contains(name) {
            seen.insert(name.to_owned());
        }
        value
    }

    /// A name, the number of an argument, or one of the parameters of a shell; none of the latter is ever set.
    fn name(&mut self) -> &'a str {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let is_digit = |c: char| c.is_ascii_digit();
        let length = match rest.chars().next() {
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            Some(c) if is_digit(c) => rest.len() - rest.trim_start_matches(is_digit).len(),
            _ => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
        };
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn dollar(&mut self) -> Result<String, Error> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.look_up(name) {
                Some(value) => value.to_owned(),
                None if self.lexer.unset == Unset::Keep => format!("${name}"),
                None => String::new(),
            });
        }
        self.next();
        match self.peek() {
            None => return error("syntax error: missing '}'"),
            Some('{' | '}' | ':') => return error("syntax error: bad substitution"),
            Some(_) => {}
        }
        if self.depth == DEEPEST {
            return error(format!("more than {DEEPEST} substitutions stand in each other"));
        }
        self.depth += 1;
        let value = self.braces();
        self.depth -= 1;
        value
    }

    /// After `${`.
    fn braces(&mut self) -> Result<String, Error> {
        let name = self.name();
        match self.next() {
            None => error("syntax error: missing '}'"),
            Some('}') => Ok(match self.look_up(name) {
                Some(value) => value.to_owned(),
                None if self.lexer.unset == Unset::Keep => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => match self.next() {
                Some(c @ ('#' | '%')) => error(format!("unsupported modifier (:{c}) in substitution")),
                Some(c) => self.conditional(name, c, true),
                None => error("syntax error: missing '}'"),
            },
            Some(c @ ('-' | '+' | '?')) => self.conditional(name, c, false),
            Some(c @ ('#' | '%')) => self.trimmed(name, c),
            Some('/') => self.replaced(name),
            Some(c) => error(format!("unsupported modifier ({c}) in substitution")),
        }
    }

    /// The rest of an expression up to `stop`, expanded. What is open at the end of the text is the brace, whatever else is.
    fn operand(&mut self, stop: char, keep_escapes: bool, missing: &str) -> Result<String, Error> {
        let before = std::mem::replace(&mut self.keep_escapes, keep_escapes);
        let mut out = Out::plain();
        let done = self.until(Some(stop), &mut out);
        self.keep_escapes = before;
        match done {
            Ok(()) => {
                self.made += out.text.len();
                self.weigh(0)?;
                Ok(out.text)
            }
            Err(_) if self.peek().is_none() => error(missing),
            Err(e) => Err(e),
        }
    }

    fn conditional(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String, Error> {
        let written = if empty_is_unset { ":" } else { "" };
        let word = self.operand('}', false, "syntax error: missing '}'")?;
        let value = self.look_up(name);
        if value.is_none() && self.lexer.unset == Unset::Keep {
            return Ok(format!("${{{name}{written}{operator}{word}}}"));
        }
        let usable = value.is_some_and(|v| !(empty_is_unset && v.is_empty()));
        match operator {
            '-' if usable => Ok(value.unwrap_or_default().to_owned()),
            '-' => Ok(word),
            '+' if usable => Ok(word),
            '+' => Ok(String::new()),
            '?' if usable => Ok(value.unwrap_or_default().to_owned()),
            '?' if !word.is_empty() => error(format!("{name}: {word}")),
            '?' if value.is_none() => error(format!("{name}: is not allowed to be unset")),
            '?' => error(format!("{name}: is not allowed to be empty")),
            c => error(format!("unsupported modifier ({written}{c}) in substitution")),
        }
    }

    /// `${x#pattern}` and `${x%pattern}`; doubled they take as much as they can.
    fn trimmed(&mut self, name: &str, operator: char) -> Result<String, Error> {
        let word = self.operand('}', true, "syntax error: missing '}'")?;
        let value = self.look_up(name);
        if value.is_none() && self.lexer.unset == Unset::Keep {
            return Ok(format!("${{{name}{operator}{word}}}"));
        }
        let (pattern, longest) = match word.strip_prefix(operator) {
            Some(rest) => (rest, true),
            None => (word.as_str(), false),
        };
        let value = value.unwrap_or_default();
        let trimmed = pattern::Pattern::parse(pattern).and_then(|p| match operator {
            '#' => p.without_prefix(value, longest),
            _ => p.without_suffix(value, longest),
        });
        trimmed.map_err(|e| Error(format!("invalid pattern ({pattern}) in substitution: {e}")))
    }

    /// `${x/pattern/new}`, `${x//pattern/new}`.
    fn replaced(&mut self, name: &str) -> Result<String, Error> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.operand('/', true, "syntax error: missing '/' in ${}")?;
        let new = self.operand('}', true, "syntax error: missing '}'")?;
        let value = self.look_up(name);
        if value.is_none() && self.lexer.unset == Unset::Keep {
            let slashes = if all { "//" } else { "/" };
            return Ok(format!("${{{name}{slashes}{pattern}/{new}}}"));
        }
        pattern::Pattern::parse(&pattern)
            .and_then(|p| p.replaced(value.unwrap_or_default(), &new, all, MOST))
            .map_err(|e| Error(format!("invalid pattern ({pattern}) in substitution: {e}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn vars() -> Env {
        let mut env = Env::default();
        for (name, value) in [
            ("who", "Ada Lovelace"),
            ("empty", ""),
            ("file", "backup.tar.gz"),
            ("path", "/usr/local/bin"),
            ("n\u{e4}me", "umlaut"),
        ] {
            env.set(name, value);
        }
        env
    }

    fn text(written: &str) -> String {
        match Lexer::new('\\').expand(written, &vars()) {
            Ok(expanded) => expanded.text,
            Err(e) => e.to_string().rsplit_once("\": ").unwrap().1.to_owned() + "!",
        }
    }

    #[test]
    fn operators() {
        for (written, result) in [
            ("$who", "Ada Lovelace"),
            ("${who}", "Ada Lovelace"),
            ("a${who}b$empty$", "aAda Lovelaceb$"),
            ("$nobody", ""),
            ("${nobody}x", "x"),
            ("$who_", ""),
            ("$n\u{e4}me", "umlaut"),
            ("${who:-x}|${empty:-x}|${nobody:-x}", "Ada Lovelace|x|x"),
            ("${who-x}|${empty-x}|${nobody-x}", "Ada Lovelace||x"),
            ("${who:+x}|${empty:+x}|${nobody:+x}", "x||"),
            ("${who+x}|${empty+x}|${nobody+x}", "x|x|"),
            ("${who:?x}|${empty?x}", "Ada Lovelace|"),
            ("${empty:?is needed}", "empty: is needed!"),
            ("${empty:?}", "empty: is not allowed to be empty!"),
            ("${nobody?}", "nobody: is not allowed to be unset!"),
            ("${nobody:?give $who}", "nobody: give Ada Lovelace!"),
            ("${nobody:-${empty:-${who}}}", "Ada Lovelace"),
            ("${nobody:-a\\}b}", "a}b"),
            ("${nobody:-'}'}", "}"),
            ("${file#*.}|${file##*.}", "tar.gz|gz"),
            ("${file%.*}|${file%%.*}", "backup.tar|backup"),
            (
                "${file#b?ck}|${file%z}|${file#z}",
                "up.tar.gz|backup.tar.g|backup.tar.gz",
            ),
            ("${path/usr/opt}|${path//\\//_}", "/opt/local/bin|_usr_local_bin"),
            ("${path//*/x}|${empty/a/b}|${nobody/a/b}", "x||"),
            ("${file/t*r/}", "backup..gz"),
            (
                "${file#\\b}",
                "invalid pattern (\\b) in substitution: invalid escape '\\b'!",
            ),
            ("${file:#x}", "unsupported modifier (:#) in substitution!"),
            ("${file:%x}", "unsupported modifier (:%) in substitution!"),
            ("${file:x}", "unsupported modifier (:x) in substitution!"),
            ("${file^^}", "unsupported modifier (^) in substitution!"),
            ("${}", "syntax error: bad substitution!"),
            ("${:x}", "syntax error: bad substitution!"),
            ("${{who}}", "syntax error: bad substitution!"),
            ("${", "syntax error: missing '}'!"),
            ("${who", "syntax error: missing '}'!"),
            ("${who:-x", "syntax error: missing '}'!"),
            ("${who:", "syntax error: missing '}'!"),
            ("${who/a", "syntax error: missing '/' in ${}!"),
            ("$1$12x$@$*$#$?$-$$$!$0", "x"),
            ("${1}${@}", ""),
        ] {
            assert_eq!(text(written), result, "{written}");
        }
    }

    #[test]
    fn quotes_and_escapes() {
        for (written, result) in [
            ("'$who'", "$who"),
            ("\"$who\"", "Ada Lovelace"),
            ("\"'$who'\"", "'Ada Lovelace'"),
            ("'\"'", "\""),
            ("\"a\\\"b\\$c\\\\d\\e\"", "a\"b$c\\d\\e"),
            ("a\\$who\\'\\b", "a$who'b"),
            ("'a\\'", "a\\"),
            ("a\\", "a"),
            (
                "\"a",
                "unexpected end of statement while looking for matching double-quote!",
            ),
            (
                "'a",
                "unexpected end of statement while looking for matching single-quote!",
            ),
            ("\u{201c}a b\u{201d}", "\u{201c}a b\u{201d}"),
        ] {
            assert_eq!(text(written), result, "{written}");
        }
        let lexer = Lexer::new('`');
        let windows = lexer.expand("c:\\$who`$who", &vars()).unwrap();
        assert_eq!(windows.text, "c:\\Ada Lovelace$who");
    }

    #[test]
    fn words_split_at_blanks_that_nothing_quotes() {
        for (written, words) in [
            ("a  b", vec!["a", "b"]),
            (" a\tb ", vec!["a", "b"]),
            ("$who", vec!["Ada", "Lovelace"]),
            ("\"$who\"", vec!["Ada Lovelace"]),
            ("a$empty", vec!["a"]),
            ("$empty", vec![]),
            ("''", vec![]),
            ("a\\ b 'c d'e", vec!["a b", "c de"]),
            ("x${nobody:-1 2}y", vec!["x1", "2y"]),
            ("cat << EOF >x", vec!["cat", "<< EOF", ">x"]),
        ] {
            let expanded = Lexer::new('\\').expand(written, &vars()).unwrap();
            assert_eq!(expanded.words, words, "{written}");
        }
    }

    #[test]
    fn heredocs_expand_variables_only() {
        let body = Lexer::heredoc()
            .expand("\"$who\" it's \\$who ${nobody:-'x'}\n", &vars())
            .unwrap();
        assert_eq!(body.text, "\"Ada Lovelace\" it's $who 'x'\n");
    }

    #[test]
    fn what_is_not_set_can_stay() {
        let lexer = Lexer {
            unset: Unset::Keep,
            quotes: Quotes::Keep,
            keep_escapes: true,
            ..Lexer::new('\\')
        };
        let written = "$a ${b} ${c:-d} ${e//f/g} \"$h\" '$i' \\$j ${k##l}";
        assert_eq!(lexer.expand(written, &Nothing).unwrap().text, written);
        let expanded = lexer.expand("$who $a", &vars()).unwrap();
        assert_eq!(expanded.text, "Ada Lovelace $a");
        assert_eq!(expanded.used.into_iter().collect::<Vec<_>>(), ["who"]);
        assert_eq!(expanded.missing.into_iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let deep = format!("{}x{}", "${a:-".repeat(5000), "}".repeat(5000));
        assert!(
            Lexer::new('\\')
                .expand(&deep, &Nothing)
                .unwrap_err()
                .to_string()
                .contains("stand in each other")
        );
        let fine = format!("{}x{}", "${a:-".repeat(100), "}".repeat(100));
        assert_eq!(Lexer::new('\\').expand(&fine, &Nothing).unwrap().text, "x");
        let mut env = Env::default();
        env.set("big", "x".repeat(1 << 20));
        let bomb = "$big".repeat(17);
        assert!(
            Lexer::new('\\')
                .expand(&bomb, &env)
                .unwrap_err()
                .to_string()
                .contains("16 MiB")
        );
        let hidden = "${a:+\"$big\"}".replace("a:+", "big:+").repeat(17);
        assert!(Lexer::new('\\').expand(&hidden, &env).is_err());
    }
}
