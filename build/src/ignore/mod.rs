//! Which files of a context are left out: `.dockerignore`, and `--exclude` of COPY.
//!
//! May not: walk directories. Whoever walks asks [`Matcher::enter`] for each path, with what it said of the directory above.
//!
//! The rules are Docker's, which are not git's: a pattern without a slash matches in the root only, one that ends with a slash means
//! no directory, the last pattern that matches a path or anything above it decides, and `!` takes back what is below an ignored
//! directory too.

pub mod glob;

use crate::paths;
use crate::source::{Problem, Result, Source, Span};

use glob::{Glob, check};

/// Longer paths are on no file system.
const LONGEST: usize = 4096;

/// Patterns, in order.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Cleaned, without its `!`.
    text: String,
    takes_back: bool,
    form: Form,
}

/// How a pattern is matched. Three of the four need no automaton; they are kept apart because `**` means a little more in them.
#[derive(Clone, Debug)]
enum Form {
    Exact(String),
    /// `a/**`.
    Start(String),
    /// `**/a`, `**a`.
    End(String),
    Glob(Glob),
}

/// What matched a directory, for the paths in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Above(Vec<bool>);

impl Matcher {
    /// Of a `.dockerignore`.
    ///
    /// # Errors
    /// A pattern is none.
    pub fn read(file: &Source) -> Result<Matcher> {
        let mut patterns = Vec::new();
        let mut at = 0;
        for line in file.text().split_inclusive('\n') {
            let span = Span::new(at, at + line.trim_end().len());
            let first = if at == 0 {
                line.trim_start_matches('\u{feff}')
            } else {
                line
            };
            at += line.len();
            let Some(text) = cleaned_line(first) else { continue };
            patterns.extend(Pattern::parse(&text).map_err(|e| Problem::new(span, e))?);
        }
        Ok(Matcher { patterns })
    }

    /// Of patterns that stand alone, as those of `--exclude` do.
    ///
    /// # Errors
    /// A pattern is none.
    pub fn of<S: AsRef<str>>(patterns: &[S]) -> Result<Matcher, String> {
        let mut read = Vec::new();
        for pattern in patterns {
            read.extend(Pattern::parse(pattern.as_ref())?);
        }
        Ok(Matcher { patterns: read })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether something is taken back: then an ignored directory has to be walked ([`Matcher::may_take_back_below`]).
    pub fn takes_back(&self) -> bool {
        self.patterns.iter().any(|p| p.takes_back)
    }

    /// Whether a path is left out, itself or with a directory above it. The path is relative to the context.
    pub fn ignores(&self, path: &str) -> bool {
        let mut ignored = false;
        if path.len() > LONGEST {
            return false;
        }
        for pattern in &self.patterns {
            // One that leaves out says nothing new of what is left out, and one that takes back nothing of what is not.
            if pattern.takes_back == ignored && pattern.form.matches(path, true) {
                ignored = !pattern.takes_back;
            }
        }
        ignored
    }

    /// The same for a walk from the root down: `above` is what was returned for the directory that the path is in.
    pub fn enter(&self, above: Option<&Above>, path: &str) -> (bool, Above) {
        let mut ignored = false;
        let mut here = vec![false; self.patterns.len()];
        for (n, pattern) in self.patterns.iter().enumerate() {
            let mut matches = above.is_some_and(|above| above.0.get(n) == Some(&true));
            // Also where it changes nothing here: it may further down.
            if !matches {
                matches = path.len() <= LONGEST && pattern.form.matches(path, above.is_none());
            }
            if matches {
                ignored = !pattern.takes_back;
            }
            if let Some(slot) = here.get_mut(n) {
                *slot = matches;
            }
        }
        (ignored, Above(here))
    }

    /// Whether something below a directory that is left out could be taken back. If not, nobody has to look into it.
    pub fn may_take_back_below(&self, directory: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| pattern.takes_back && pattern.form.may_match_below(directory))
    }

    /// Whether a pattern could match something below a directory. If none, and none has matched above, nobody has to look into it.
    pub fn may_match_below(&self, directory: &str) -> bool {
        let mut patterns = self.patterns.iter();
        patterns.any(|pattern| !pattern.takes_back && pattern.form.may_match_below(directory))
    }

    /// Whether a pattern leaves out everything in the root.
    pub fn ignores_root(&self) -> bool {
        let all = |p: &Pattern| !p.takes_back && matches!(p.text.as_str(), "*" | "**" | "**/*");
        self.patterns.iter().any(all)
    }
}

/// A line of the file as a pattern: without the slash that it may begin with, and short.
fn cleaned_line(line: &str) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if line.is_empty() {
        return None;
    }
    if pattern.is_empty() {
        return Some(mark.to_owned());
    }
    let clean = paths::clean(pattern);
    let relative = clean
        .strip_prefix('/')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(&clean);
    Some(format!("{mark}{relative}"))
}

impl Pattern {
    /// None: it is empty.
    fn parse(text: &str) -> Result<Option<Pattern>, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let clean = paths::clean(text);
        let (text, takes_back) = match clean.strip_prefix('!') {
            Some("") => return Err("illegal exclusion pattern: \"!\"".to_owned()),
            Some(rest) => (rest, true),
            None => (clean.as_str(), false),
        };
        if !check(text) {
            return Err(format!("syntax error in pattern: {text}"));
        }
        Ok(Some(Pattern {
            form: Form::of(text),
            text: text.to_owned(),
            takes_back,
        }))
    }
}

impl Form {
    fn of(text: &str) -> Form {
        let is_plain = |t: &str| !t.contains(['*', '?', '[', ']', '\\']);
        if is_plain(text) {
            return Form::Exact(text.to_owned());
        }
        match (text.strip_prefix("**"), text.strip_suffix("**")) {
            (Some(end), _) if is_plain(end) => Form::End(end.to_owned()),
            (_, Some(start)) if is_plain(start) => Form::Start(start.to_owned()),
            _ => Form::Glob(Glob::of_ignore(text)),
        }
    }

    /// With `or_above` a directory on the way is enough.
    fn matches(&self, path: &str, or_above: bool) -> bool {
        match self {
            Form::Exact(text) => match path.strip_prefix(text.as_str()) {
                Some(rest) => rest.is_empty() || (or_above && rest.starts_with('/')),
                None => false,
            },
            Form::Start(start) => path.starts_with(start.as_str()),
            Form::End(end) => {
                let ends = |path: &str| path.ends_with(end.as_str()) || end.strip_prefix('/') == Some(path);
                let mut above = path.match_indices('/').filter_map(|(n, _)| path.get(..n));
                ends(path) || (or_above && above.any(ends))
            }
            Form::Glob(glob) => glob.matches(path, or_above),
        }
    }

    /// Whether a path below a directory could match. What is not clear is yes.
    fn may_match_below(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        match self {
            Form::Exact(text) => text.starts_with(&below),
            Form::Start(start) => start.starts_with(&below) || below.starts_with(start.as_str()),
            Form::End(_) => true,
            Form::Glob(glob) => glob.may_go_on(&below),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn matcher(text: &str) -> Matcher {
        Matcher::read(&Source::new(".dockerignore", text).unwrap()).unwrap()
    }

    #[test]
    fn one_pattern() {
        for (pattern, ignored, kept) in [
            (
                "foo",
                vec!["foo", "foo/a", "foo/a/b"],
                vec!["a/foo", "foob", "fo"],
            ),
            ("/foo", vec!["foo", "foo/a"], vec!["a/foo"]),
            ("foo/", vec!["foo", "foo/a"], vec!["a/foo"]),
            ("./a/../foo", vec!["foo"], vec!["a"]),
            ("*.md", vec!["a.md", ".md", "a.md/b"], vec!["a/b.md", "a.mdx"]),
            ("*/*.md", vec!["a/b.md"], vec!["b.md", "a/b/c.md"]),
            ("?.md", vec!["a.md", "\u{e4}.md"], vec!["ab.md", ".md", "/.md"]),
            (
                "**/*.md",
                vec!["a.md", "a/b.md", "a/b/c.md"],
                vec!["a.mdx", "a/b"],
            ),
            (
                "**/foo",
                vec!["foo", "a/foo", "a/b/foo/c"],
                vec!["afoo", "a/foob"],
            ),
            ("**foo", vec!["foo", "afoo", "a/bfoo"], vec!["foob"]),
            ("**", vec!["a", "a/b"], vec![]),
            ("foo/**", vec!["foo/a", "foo/a/b"], vec!["foo", "foob"]),
            ("foo**", vec!["foo", "foob", "foo/a"], vec!["fo"]),
            (
                "foo/**/bar",
                vec!["foo/bar", "foo/a/bar", "foo/a/b/bar/c"],
                vec!["foobar", "foo/abar", "foo"],
            ),
            ("**/foo/**", vec!["foo/a", "a/foo/b"], vec!["foo", "a/foo"]),
            ("**/a/**/b", vec!["a/b", "x/a/y/z/b"], vec!["a", "b"]),
            ("a**b", vec!["ab", "ax/b"], vec!["axb"]),
            ("[a-c]x", vec!["ax", "cx"], vec!["dx", "x"]),
            ("[^a-c]x", vec!["dx"], vec!["ax"]),
            ("\\*", vec!["*"], vec!["a"]),
            ("a\\[b", vec!["a[b"], vec!["ab"]),
            ("a.b+(c)|{d}$^", vec!["a.b+(c)|{d}$^"], vec!["axb+(c)|{d}$^"]),
            (" foo\t", vec!["foo"], vec![]),
            (" # foo", vec!["# foo"], vec!["foo"]),
            ("../foo", vec![], vec!["foo"]),
            (".", vec![], vec!["a"]),
            ("a b", vec!["a b"], vec!["a"]),
        ] {
            let matcher = matcher(pattern);
            for path in ignored {
                assert!(matcher.ignores(path), "{pattern} {path}");
            }
            for path in kept {
                assert!(!matcher.ignores(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn the_last_pattern_decides() {
        for (text, ignored, kept) in [
            ("*\n!src\n", vec!["a", "a/b"], vec!["src", "src/a", "src/b/c"]),
            ("*\n! src\n", vec!["a"], vec!["src/a"]),
            ("*.md\n!README.md\n", vec!["a.md"], vec!["README.md"]),
            ("!README.md\n*.md\n", vec!["README.md"], vec![]),
            (
                "*.md\n!README*.md\nREADME-secret.md\n",
                vec!["README-secret.md"],
                vec!["README.md"],
            ),
            (
                "node_modules\n!node_modules/keep/**\n",
                vec!["node_modules/a"],
                vec!["node_modules/keep/b"],
            ),
            ("**\n!**/*.go\n", vec!["a/b.c"], vec!["a/b.go"]),
            (
                "\u{feff}# comment\n#!x\n\n  \n\\#a\r\n!/b\n",
                vec!["#a"],
                vec!["b", "a"],
            ),
        ] {
            let matcher = matcher(text);
            for path in &ignored {
                assert!(matcher.ignores(path), "{text:?} {path}");
            }
            for path in &kept {
                assert!(!matcher.ignores(path), "{text:?} {path}");
            }
            // A walk says the same as the question.
            for path in ignored.iter().chain(&kept) {
                let mut above = None;
                let mut said = false;
                let ends = path.match_indices('/').map(|(n, _)| n).chain([path.len()]);
                for end in ends {
                    let (ignored, here) = matcher.enter(above.as_ref(), &path[..end]);
                    (said, above) = (ignored, Some(here));
                }
                assert_eq!(said, matcher.ignores(path), "{text:?} {path}");
                assert_eq!(matcher.enter(None, path).0, said);
            }
        }
    }

    #[test]
    fn ignored_directories_are_entered_where_something_may_be_taken_back() {
        let matcher = matcher("*\n!src/lib\n!docs/*.md\n!**/LICENSE\n");
        assert!(matcher.takes_back());
        assert!(matcher.may_take_back_below("target"));
        let matcher = Matcher::of(&["*", "!src/lib", "!docs/*.md"]).unwrap();
        for (directory, may) in [
            ("src", true),
            ("src/lib", false),
            ("docs", true),
            ("docs/x", false),
            ("target", false),
            ("sr", false),
        ] {
            assert_eq!(matcher.may_take_back_below(directory), may, "{directory}");
        }
    }

    #[test]
    fn patterns_that_are_none() {
        for (pattern, message) in [
            ("a\n!\n", "illegal exclusion pattern: \"!\""),
            ("[a", "syntax error in pattern: [a"),
            ("a\\", "syntax error in pattern: a\\"),
            ("[]a]", "syntax error in pattern: []a]"),
            ("[-a]", "syntax error in pattern: [-a]"),
            ("[a-]", "syntax error in pattern: [a-]"),
        ] {
            let source = Source::new(".dockerignore", pattern).unwrap();
            assert_eq!(Matcher::read(&source).unwrap_err().message, message);
        }
        assert!(matcher("").is_empty());
    }

    #[test]
    fn no_pattern_is_costly() {
        let stars = "*a".repeat(500) + "/**/" + &"**/x".repeat(100);
        let matcher = Matcher::of(&[stars]).unwrap();
        assert!(!matcher.ignores(&"a".repeat(4000)));
        assert!(!matcher.ignores(&"a/".repeat(10_000_000)));
    }
}
