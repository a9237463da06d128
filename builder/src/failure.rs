//! Why a build came to nothing.
//!
//! May not: decide how it is shown.

use build::lint::Report;
use build::source::{Problem, Source, Span};
use image::Error;

/// What went wrong, and where.
#[derive(Debug)]
pub enum Failure {
    /// The Dockerfile is wrong.
    Dockerfile {
        source: Source,
        problems: Vec<Problem>,
        report: Report,
    },
    /// An instruction could not be done.
    Step {
        source: Source,
        span: Span,
        /// As progress has named it.
        name: String,
        error: Error,
        /// What a process ended with, if one did.
        exit_code: Option<i32>,
        report: Report,
    },
    /// Anything else: no context, no image, no space.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Other(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Dockerfile { problems, .. } => match problems.first() {
                Some(problem) => problem.fmt(f),
                None => f.write_str("the Dockerfile is wrong"),
            },
            Failure::Step { error, .. } | Failure::Other(error) => error.fmt(f),
        }
    }
}
