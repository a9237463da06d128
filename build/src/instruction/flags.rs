//! Flags of instructions: which there are, and what is wrong with those that are written.

use crate::lines::Line;
use crate::source::{Problem, Result, Span};
use crate::suggest;
use crate::words;

use super::{Keyword, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Boolean,
    Text,
    /// Each time another one.
    Texts,
}

use Takes::{Boolean, Text, Texts};

const ADD: &[(&str, Takes)] = &[
    ("chown", Text),
    ("chmod", Text),
    ("link", Boolean),
    ("keep-git-dir", Boolean),
    ("checksum", Text),
    ("unpack", Boolean),
    ("exclude", Texts),
];
const COPY: &[(&str, Takes)] = &[
    ("chown", Text),
    ("from", Text),
    ("chmod", Text),
    ("link", Boolean),
    ("exclude", Texts),
    ("parents", Boolean),
];
const HEALTHCHECK: &[(&str, Takes)] = &[
    ("interval", Text),
    ("timeout", Text),
    ("start-period", Text),
    ("start-interval", Text),
    ("retries", Text),
];
const RUN: &[(&str, Takes)] = &[
    ("mount", Texts),
    ("network", Text),
    ("security", Text),
    ("device", Texts),
];
const FROM: &[(&str, Takes)] = &[("platform", Text)];

fn table(keyword: Keyword) -> &'static [(&'static str, Takes)] {
    match keyword {
        Keyword::Add => ADD,
        Keyword::Copy => COPY,
        Keyword::From => FROM,
        Keyword::Healthcheck => HEALTHCHECK,
        Keyword::Run => RUN,
        _ => &[],
    }
}

/// Those of one instruction, all of them right.
pub struct Flags(Vec<(&'static str, Option<String>, Span)>);

impl Flags {
    /// # Errors
    /// A flag that there is not, twice, or without its value.
    pub fn read(keyword: Keyword, line: &Line, written: &[words::Flag]) -> Result<Flags> {
        let table = table(keyword);
        let mut read: Vec<(&'static str, Option<String>, Span)> = Vec::new();
        for flag in written {
            let (name, span) = (&flag.name, line.span(flag.range.clone()));
            let Some((known, takes)) = table.iter().find(|(known, _)| known == name) else {
                let near = suggest::nearest(name, table.iter().map(|(known, _)| *known)).map(str::to_owned);
                return Err(Problem::new(span, format!("unknown flag: --{name}")).suggesting(near));
            };
            if *takes != Texts && read.iter().any(|(seen, ..)| seen == known) {
                return Err(Problem::new(span, format!("duplicate flag specified: --{name}")));
            }
            let missing = || Problem::new(span, format!("missing a value on flag: --{name}"));
            let value = flag.value.as_deref();
            let value = match (takes, value.map(str::to_lowercase).as_deref()) {
                (Boolean, None | Some("true")) => Some("true".to_owned()),
                (Boolean, Some("false")) => Some("false".to_owned()),
                (Boolean, Some("")) => return Err(missing()),
                (Boolean, Some(_)) => {
                    let value = value.unwrap_or_default();
                    return Err(Problem::new(
                        span,
                        format!("expecting boolean value for flag --{name}, not: {value}"),
                    ));
                }
                (Text | Texts, None) => return Err(missing()),
                (Text | Texts, Some(_)) => flag.value.clone(),
            };
            read.push((known, value, span));
        }
        Ok(Flags(read))
    }

    pub fn boolean(&self, name: &str) -> Option<bool> {
        let (_, value, _) = self.0.iter().find(|(known, ..)| *known == name)?;
        Some(value.as_deref() == Some("true"))
    }

    /// An empty value is one that is not there.
    pub fn text(&self, name: &str) -> Option<Value> {
        self.texts(name).into_iter().find(|value| !value.text.is_empty())
    }

    pub fn texts(&self, name: &str) -> Vec<Value> {
        let written = self.0.iter().filter(|(known, ..)| *known == name);
        written
            .map(|(_, value, span)| Value {
                text: value.clone().unwrap_or_default(),
                span: *span,
            })
            .collect()
    }
}
