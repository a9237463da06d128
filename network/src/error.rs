//! What goes wrong here, in sentences.

/// Why something was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address, a port or a name belongs to another.
    Taken,
    /// No address, no pool, no port is left.
    Exhausted,
    /// The words that ask for it make no sense.
    Invalid,
    /// The kernel or its rights do not allow it.
    Other,
}

/// One sentence, and its class.
#[derive(Debug, Clone)]
pub struct Error {
    kind: Kind,
    message: String,
    errno: i32,
}

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Of a class.
    pub fn of(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            errno: 0,
        }
    }

    /// Of no class.
    pub fn new(message: impl Into<String>) -> Error {
        Error::of(Kind::Other, message)
    }

    /// Of the kernel, with its number.
    pub fn of_kernel(message: impl Into<String>, errno: i32) -> Error {
        Error {
            kind: Kind::Other,
            message: message.into(),
            errno,
        }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The kernel's number below it; 0 when there is none.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The same with what was being done before it.
    #[must_use]
    pub fn context(self, what: impl std::fmt::Display) -> Error {
        Error {
            message: format!("{what}: {}", self.message),
            ..self
        }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Error {
        Error {
            kind: Kind::Other,
            errno: e.errno().0,
            message: e.to_string(),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Error {
        let errno = e.raw_os_error();
        Error {
            kind: Kind::Other,
            errno: errno.unwrap_or_default(),
            message: errno.map_or_else(|| e.to_string(), |errno| sys::Errno(errno).to_string()),
        }
    }
}

/// Says what was being done.
pub trait Context<T> {
    /// # Errors
    /// The same, with `what` before it.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|e| e.into().context(what))
    }
}
