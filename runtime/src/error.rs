//! The error of the runtime: a kind a caller can act on, and a chain of phrases for people.
//!
//! May not: log. A message is written once, by `main`, to stderr and to `--log`.

use std::fmt;

/// What a caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Kind {
    /// Nothing special: exit code 1 with the message.
    #[default]
    Other,
    /// The container does not exist.
    NotFound,
    /// The container exists already.
    Exists,
    /// The container is in a state that forbids the verb.
    WrongState,
    /// The command line is wrong; the usage text belongs to the answer.
    Usage,
    /// The configuration is wrong; nothing was created.
    Config,
}

/// An error: phrases from the outside in, the cause last, joined by `: ` as Go programs do.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    /// Innermost first.
    phrases: Vec<String>,
    errno: Option<sys::Errno>,
    /// What could not be tidied up after the failure; never replaces the cause.
    cleanup: Vec<String>,
}

/// Result of the runtime.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a sentence of our own.
    pub fn new(text: impl Into<String>) -> Error {
        Error {
            kind: Kind::Other,
            phrases: vec![text.into()],
            errno: None,
            cleanup: Vec::new(),
        }
    }

    /// The same with a kind.
    pub fn of(kind: Kind, text: impl Into<String>) -> Error {
        Error {
            kind,
            ..Error::new(text)
        }
    }

    /// Puts a phrase in front: `phrase: old text`.
    pub fn doing(mut self, phrase: impl fmt::Display) -> Error {
        self.phrases.push(phrase.to_string());
        self
    }

    /// Changes the kind.
    pub fn kind_is(mut self, kind: Kind) -> Error {
        self.kind = kind;
        self
    }

    /// Attaches the failure of a clean-up to the first cause.
    pub fn and_also(mut self, cleanup: Result<()>) -> Error {
        if let Err(e) = cleanup {
            self.cleanup.push(e.to_string());
        }
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The errno of the system call at the bottom, if one was.
    pub fn errno(&self) -> Option<sys::Errno> {
        self.errno
    }

    /// True when the system call at the bottom failed with `n`.
    pub fn is(&self, n: i32) -> bool {
        self.errno == Some(sys::Errno(n))
    }

    /// Only the reason of a failed system call, where runc's sentence names neither the call nor its argument.
    pub fn reason(e: &sys::Error) -> Error {
        Error::received(e.errno().to_string(), e.errno().0)
    }

    /// An error that crossed a process boundary as text and errno.
    pub fn received(text: String, errno: i32) -> Error {
        Error {
            errno: (errno != 0).then_some(sys::Errno(errno)),
            ..Error::new(text)
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, phrase) in self.phrases.iter().rev().enumerate() {
            if n > 0 {
                f.write_str(": ")?;
            }
            f.write_str(phrase)?;
        }
        if !self.cleanup.is_empty() {
            write!(f, " (and then: {})", self.cleanup.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Error {
        let errno = Some(e.errno());
        Error {
            errno,
            ..Error::new(e.to_string())
        }
    }
}

/// Puts a phrase in front of whatever failed.
pub trait Doing<T> {
    /// `Err` becomes `phrase: err`. The phrase is only built on failure.
    fn doing<D: fmt::Display>(self, phrase: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> Doing<T> for std::result::Result<T, E> {
    fn doing<D: fmt::Display>(self, phrase: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().doing(phrase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_read_from_the_outside_in() {
        let e: Result<()> = Err(sys::Error::new("openat2", "etc/passwd", sys::Errno(libc::ENOENT)))
            .doing(|| "read passwd")
            .doing(|| "unable to start container process");
        let e = e
            .unwrap_err()
            .and_also(Err(Error::new("rmdir x: device or resource busy")));
        assert_eq!(
            e.to_string(),
            "unable to start container process: read passwd: openat2 etc/passwd: no such file or directory \
             (and then: rmdir x: device or resource busy)"
        );
        assert!(e.is(libc::ENOENT));
    }
}
