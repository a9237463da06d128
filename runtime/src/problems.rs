//! The list of everything that is wrong with a configuration, each with its JSON pointer.
//!
//! May not: stop at the first entry. Whoever mends a config.json wants the list.

use crate::error::{Error, Kind};
use std::collections::BTreeSet;
use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// JSON pointer (RFC 6901) into config.json, or a path or flag when it is not about the JSON.
    pub place: String,
    /// What is wrong there, lower case, without the place.
    pub text: String,
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    found: Vec<Problem>,
    /// The same, to find one among thousands.
    known: BTreeSet<Problem>,
}

impl Problems {
    /// Adds a problem at a JSON pointer.
    pub fn add(&mut self, place: impl Into<String>, text: impl fmt::Display) {
        let problem = Problem {
            place: place.into(),
            text: text.to_string(),
        };
        if self.known.insert(problem.clone()) {
            self.found.push(problem);
        }
    }

    /// The value, or `None` and a problem.
    pub fn keep<T, E: fmt::Display>(&mut self, place: &str, value: Result<T, E>) -> Option<T> {
        value.map_err(|e| self.add(place, e)).ok()
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The list.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    /// One error that names every problem, or nothing.
    pub fn into_result(self) -> Result<(), Error> {
        if self.found.is_empty() {
            return Ok(());
        }
        let all: Vec<String> = self
            .found
            .iter()
            .map(|p| format!("{} ({})", p.text, p.place))
            .collect();
        Err(Error::of(Kind::Config, all.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_named_once() {
        let mut p = Problems::default();
        p.add("/process/cwd", "must be absolute");
        p.add("/process/cwd", "must be absolute");
        p.add("/hostname", "needs its own uts namespace");
        assert_eq!(
            p.into_result().unwrap_err().to_string(),
            "must be absolute (/process/cwd); needs its own uts namespace (/hostname)"
        );
    }
}
