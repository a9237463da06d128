//! What can go wrong, sorted by what a caller can do about it.
//!
//! May not: know the numbers that a protocol gives to the kinds.

use std::fmt;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such container, process or cgroup; or the process has ended.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// It is not in a state in which this can be done.
    FailedPrecondition,
    /// What was asked for makes no sense.
    InvalidArgument,
    /// It cannot be done here at all.
    Unimplemented,
    /// It was not done in time.
    DeadlineExceeded,
    /// Anything else.
    Unknown,
}

/// A failure, in the words that its user reads.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
}

/// Result of everything in this library.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of no special kind.
    pub fn new(message: impl Into<String>) -> Error {
        Error::of(Kind::Unknown, message)
    }

    /// Of a kind.
    pub fn of(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
        }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::of(Kind::NotFound, message)
    }

    /// Not now.
    pub fn precondition(message: impl Into<String>) -> Error {
        Error::of(Kind::FailedPrecondition, message)
    }

    /// Too late.
    pub fn deadline(message: impl Into<String>) -> Error {
        Error::of(Kind::DeadlineExceeded, message)
    }

    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same failure, and what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<crate::cgroup::Error> for Error {
    fn from(e: crate::cgroup::Error) -> Error {
        match e {
            crate::cgroup::Error::NotFound => Error::not_found(e.to_string()),
            crate::cgroup::Error::Failed(..) => Error::new(e.to_string()),
        }
    }
}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Error {
        Error::new(e.to_string())
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// `doing` is a phrase such as `failed to open the log`.
    ///
    /// # Errors
    /// The failure with the phrase before it.
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(doing))
    }
}
