//! The shim's own log: the FIFO `log` of the bundle, which containerd copies into its journal.
//!
//! May not: wait, or fail anybody. A line that finds the FIFO full or gone is lost (containerd has been seen not to read).

use std::cell::RefCell;
use std::fmt::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::SystemTime;

/// Who writes it.
#[derive(Debug, Default)]
pub struct Log {
    fifo: RefCell<Option<OwnedFd>>,
    debug: bool,
    id: String,
}

impl Log {
    /// Opens the FIFO of the working directory, when there is one.
    pub fn open(id: &str, debug: bool) -> Log {
        // To read as well: a FIFO without a reader cannot be opened to write alone without waiting.
        let fifo = sys::fs::open(Path::new("log"), libc::O_RDWR | libc::O_NONBLOCK, 0);
        Log {
            fifo: RefCell::new(fifo.ok()),
            debug,
            id: id.to_owned(),
        }
    }

    /// Something an administrator should see.
    pub fn error(&self, message: impl std::fmt::Display) {
        self.write("error", &message.to_string());
    }

    /// Something for whoever looks for a fault.
    pub fn debug(&self, message: impl std::fmt::Display) {
        if self.debug {
            self.write("debug", &message.to_string());
        }
    }

    /// What was asked for.
    pub fn info(&self, message: impl std::fmt::Display) {
        self.write("info", &message.to_string());
    }

    fn write(&self, level: &str, message: &str) {
        let line = line(SystemTime::now(), level, message, &self.id);
        if let Some(fifo) = self.fifo.borrow().as_ref() {
            // Lost when it is full.
            let _ = sys::fs::write(fifo.as_fd(), line.as_bytes());
        }
    }
}

/// One line in the form that containerd's own have.
fn line(at: SystemTime, level: &str, message: &str, id: &str) -> String {
    let mut text = format!("time=\"{}\" level={level} msg=", sys::time::rfc3339_nano(at));
    // Writing to a String does not fail.
    let _ = writeln!(text, "{message:?} id={id:?}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(
            line(SystemTime::UNIX_EPOCH, "info", "a \"b\"\nc", "box"),
            "time=\"1970-01-01T00:00:00Z\" level=info msg=\"a \\\"b\\\"\\nc\" id=\"box\"\n"
        );
    }
}
