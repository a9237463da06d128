//! What can go wrong, sorted by what a caller can do about it.
//!
//! May not: log. A failure is told once, by whoever ends with it.

use std::fmt;

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Nothing special.
    #[default]
    Other,
    /// There is no such image, blob, tag or repository.
    NotFound,
    /// The name is taken, or somebody still needs the thing.
    Conflict,
    /// What was asked for makes no sense: a reference, a flag, a file of configuration.
    Invalid,
    /// The registry wants credentials, or refuses the ones it got.
    Denied,
    /// The other side is not well; the same may succeed later. Whoever returns it has tried more than once.
    Unavailable,
    /// Bytes that are not what their digest, size or format says.
    Corrupt,
    /// The user, or the end of the process that asked, has called it off.
    Cancelled,
    /// It can be done when more is there: a layer that has links to files of the layers below, before those are unpacked.
    Incomplete,
    /// It cannot be done on this host or with this kind of image.
    Unsupported,
}

/// A failure: phrases from the outside in, the cause last, joined by `: `.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    /// What could not be tidied up after the failure; never replaces the cause.
    cleanup: Vec<String>,
}

/// Result of everything in this library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Of no special kind.
    pub fn new(message: impl Into<String>) -> Error {
        Error::of(Kind::Other, message)
    }

    /// Of a kind.
    pub fn of(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            cleanup: Vec::new(),
        }
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::of(Kind::NotFound, message)
    }

    /// What was asked for makes no sense.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::of(Kind::Invalid, message)
    }

    /// Bytes that are not what they should be.
    pub fn corrupt(message: impl Into<String>) -> Error {
        Error::of(Kind::Corrupt, message)
    }

    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same failure, of another kind.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// The same failure, and what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Error {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// Attaches the failure of a clean-up to the first cause.
    #[must_use]
    pub fn and_also(mut self, cleanup: Result<()>) -> Error {
        if let Err(e) = cleanup {
            self.cleanup.push(e.to_string());
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for failure in &self.cleanup {
            write!(f, "; and {failure}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Error {
        let kind = if e.errno().0 == libc::ENOENT {
            Kind::NotFound
        } else {
            Kind::Other
        };
        Error::of(kind, e.to_string())
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        // Ours comes back as it was: readers between our stages speak io::Error.
        match e.downcast::<Error>() {
            Ok(own) => own,
            Err(e) => match e.raw_os_error() {
                Some(number) => Error::new(sys::Errno(number).to_string()),
                None => Error::new(e.to_string()),
            },
        }
    }
}

/// For readers and writers that have to speak [`std::io::Error`]; [`Error::from`] takes it back out unchanged.
impl From<Error> for std::io::Error {
    fn from(e: Error) -> std::io::Error {
        std::io::Error::other(e)
    }
}

/// Adds what was being done to a failure.
pub trait Context<T> {
    /// `doing` is a phrase such as `failed to open the blob`.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_error_survives_the_way_through_io() {
        let io: std::io::Error = Error::corrupt("bad block").into();
        let back = Error::from(io);
        assert_eq!(back.kind(), Kind::Corrupt);
        assert_eq!(
            back.context("failed to unpack").to_string(),
            "failed to unpack: bad block"
        );
    }
}
