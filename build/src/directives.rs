//! What the first lines of a file say to its reader: `# syntax=`, `# escape=`, `# check=`.
//!
//! May not: run another frontend. A `# syntax` that means the built-in one is right whatever its version; any other is an error
//! with a clear sentence.
//!
//! Directives end at the first line that is none. The syntax is looked for in more forms than the rest (after `#!`, in `//` comments,
//! as a key of a JSON document): files of other frontends have them, and are told apart by it.

use crate::source::{Problem, Result, Source, Span};

/// Images that are the frontend that is built in here.
const OWN: [&str; 4] = [
    "docker/dockerfile",
    "docker/dockerfile-upstream",
    "docker.io/docker/dockerfile",
    "docker.io/docker/dockerfile-upstream",
];

/// A value and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    pub value: String,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Syntax,
    Escape,
    Check,
}

impl Key {
    fn of(word: &str) -> Option<Key> {
        match word.to_ascii_lowercase().as_str() {
            "syntax" => Some(Key::Syntax),
            "escape" => Some(Key::Escape),
            "check" => Some(Key::Check),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Key::Syntax => "syntax",
            Key::Escape => "escape",
            Key::Check => "check",
        }
    }
}

/// What the reader of lines has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub escape: char,
    /// How many lines at the start are directives, and so no comments.
    pub lines: usize,
}

/// The escape character.
///
/// # Errors
/// There is no such escape character, or a directive is there twice.
pub fn head(source: &Source) -> Result<Head> {
    let mut head = Head {
        escape: '\\',
        lines: 0,
    };
    let mut seen = Vec::new();
    for (line, at) in lines(source.text()) {
        let text = line.trim_start();
        let Some((key, value)) = directive(text, "#") else {
            break;
        };
        let span = Span::new(at, at + line.trim_end().len());
        if seen.contains(&key) {
            return Err(Problem::new(
                span,
                format!("only one {} parser directive can be used", key.word()),
            ));
        }
        seen.push(key);
        if key == Key::Escape {
            head.escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(Problem::new(
                        span,
                        format!("invalid escape token '{other}' does not match ` or \\"),
                    ));
                }
            };
        }
        head.lines += 1;
    }
    Ok(head)
}

/// Which frontend a file asks for.
pub fn syntax(source: &Source) -> Option<Directive> {
    let (text, at) = after_shebang(source.text());
    let written = find(Key::Syntax, text, at, "#").or_else(|| find(Key::Syntax, text, at, "//"));
    written.or_else(|| {
        let document: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(Directive {
            value: document.get("syntax")?.as_str()?.to_owned(),
            span: Span::new(at, at),
        })
    })
}

/// What is to be checked.
pub fn check(source: &Source) -> Option<Directive> {
    let (text, at) = after_shebang(source.text());
    find(Key::Check, text, at, "#")
}

/// Whether the frontend that a file (or `BUILDKIT_SYNTAX`) asks for is the one that is built in.
///
/// # Errors
/// It is another one.
pub fn known_frontend(syntax: &Directive) -> Result<()> {
    let image = syntax.value.split_whitespace().next().unwrap_or_default();
    let repository = image.split_once('@').map_or(image, |(name, _)| name);
    let slash = repository.rfind('/').unwrap_or_default();
    let repository = match repository.get(slash..).and_then(|last| last.find(':')) {
        Some(colon) => repository.get(..slash + colon).unwrap_or_default(),
        None => repository,
    };
    if OWN.contains(&repository) {
        return Ok(());
    }
    Err(Problem::new(
        syntax.span,
        format!(
            "the frontend {image} is not supported: Dockerfiles are read by the built-in one, which is docker/dockerfile"
        ),
    ))
}

fn find(key: Key, text: &str, at: usize, comment: &str) -> Option<Directive> {
    for (line, start) in lines(text) {
        let (found, value) = directive(line, comment)?;
        if found == key {
            let value = match key {
                // Options of a frontend may follow its name.
                Key::Check => value.split(' ').next().unwrap_or_default(),
                _ => value,
            };
            return Some(Directive {
                value: value.to_owned(),
                span: Span::new(at + start, at + start + line.trim_end().len()),
            });
        }
    }
    None
}

/// Lines without their ends, and where they start. The byte order mark is no part of the first one.
fn lines(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mark = text.len() - text.trim_start_matches('\u{feff}').len();
    let mut at = mark;
    text.get(mark..)
        .unwrap_or_default()
        .split_inclusive('\n')
        .map(move |line| {
            let start = at;
            at += line.len();
            (line.trim_end_matches(['\n', '\r']), start)
        })
}

/// `# key = value`.
fn directive<'a>(line: &'a str, comment: &str) -> Option<(Key, &'a str)> {
    let (key, value) = line.strip_prefix(comment)?.trim_start().split_once('=')?;
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    Some((Key::of(key.trim_end())?, value))
}

/// The name of a directive alone, as a comment above an instruction may have it: `check=skip=...`.
pub fn check_of_comment(comment: &str) -> Option<&str> {
    // All rules have fewer letters; whatever is longer would be read again with each finding.
    if comment.len() > 4096 {
        return None;
    }
    match directive(comment, "")? {
        (Key::Check, value) => value.split(' ').next(),
        _ => None,
    }
}

fn after_shebang(text: &str) -> (&str, usize) {
    let mark = text.len() - text.trim_start_matches('\u{feff}').len();
    let rest = text.get(mark..).unwrap_or_default();
    if !rest.starts_with("#!") {
        return (rest, mark);
    }
    let end = rest.find('\n').map_or(rest.len(), |n| n + 1);
    (rest.get(end..).unwrap_or_default(), mark + end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(text: &str) -> Source {
        Source::new("Dockerfile", text).unwrap()
    }

    #[test]
    fn escape_is_one_of_two_and_comes_first() {
        for (text, escape, count) in [
            ("# escape=`\nFROM a", '`', 1),
            ("#escape = ` \r\n#syntax=docker/dockerfile:1\n# not one\n", '`', 2),
            ("\u{feff}# ESCAPE=`\n", '`', 1),
            ("  # escape=`\n", '`', 1),
            ("# a comment\n# escape=`\n", '\\', 0),
            ("\n# escape=`\n", '\\', 0),
            ("FROM a\n# escape=`\n", '\\', 0),
            ("#!/bin/x\n# escape=`\n", '\\', 0),
            ("# escape=\\\n", '\\', 1),
            ("# escape=\n# escape=`", '\\', 0),
        ] {
            let lines = count;
            assert_eq!(head(&source(text)).unwrap(), Head { escape, lines }, "{text:?}");
        }
        for (text, message, span) in [
            (
                "# escape=x\n",
                "invalid escape token 'x' does not match ` or \\",
                (0, 10),
            ),
            (
                "# escape=`\n# Escape=`",
                "only one escape parser directive can be used",
                (11, 21),
            ),
            (
                "# syntax=a\n# syntax=b\n",
                "only one syntax parser directive can be used",
                (11, 21),
            ),
        ] {
            let problem = head(&source(text)).unwrap_err();
            assert_eq!(
                (problem.message.as_str(), problem.span),
                (message, Span::new(span.0, span.1))
            );
        }
    }

    #[test]
    fn syntax_is_found_in_every_form() {
        for (text, value) in [
            (
                "# syntax=docker/dockerfile:1\nFROM a",
                Some("docker/dockerfile:1"),
            ),
            ("# check=skip=all\n#Syntax = a/b option\n", Some("a/b option")),
            ("#!/usr/bin/env x\n# syntax=a/b\n", Some("a/b")),
            ("\u{feff}// syntax=a/b\n", Some("a/b")),
            ("{\n \"syntax\": \"a/b\"\n}", Some("a/b")),
            ("FROM a\n# syntax=a/b", None),
            ("# words\n# syntax=a/b", None),
            ("{\"syntax\": 1}", None),
            ("", None),
        ] {
            assert_eq!(
                syntax(&source(text)).map(|d| d.value).as_deref(),
                value,
                "{text:?}"
            );
        }
        let checked = check(&source("# syntax=x\n# check=skip=A,B;error=true rest\n")).unwrap();
        assert_eq!(
            (checked.value.as_str(), checked.span),
            ("skip=A,B;error=true", Span::new(11, 43))
        );
        assert_eq!(check(&source("// check=skip=all\n")), None);
        assert_eq!(check_of_comment("check = skip=A more"), Some("skip=A"));
        assert_eq!(check_of_comment("syntax=x"), None);
    }

    #[test]
    fn only_the_built_in_frontend_is_known() {
        let known = |value: &str| {
            known_frontend(&Directive {
                value: value.to_owned(),
                span: Span::default(),
            })
        };
        for name in [
            "docker/dockerfile",
            "docker/dockerfile:1.7-labs",
            "docker.io/docker/dockerfile:1@sha256:abc",
            "docker/dockerfile-upstream:master option",
        ] {
            assert!(known(name).is_ok(), "{name}");
        }
        for name in [
            "localhost:5000/docker/dockerfile",
            "docker/dockerfile2",
            "example.com/mopy",
            "",
        ] {
            let message = known(name).unwrap_err().message;
            assert!(
                message.starts_with(&format!("the frontend {name} is not supported")),
                "{message}"
            );
        }
    }
}
