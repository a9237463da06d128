//! Log drivers: what a container writes, kept where `brig logs` finds it.
//!
//! May not: block without bound, allocate for a line, or fail the container because a log cannot be written: what cannot be
//! written is lost and counted. One loop calls [`Writer::write`], for everything there is.

use std::time::SystemTime;

use shim::error::Result;

use crate::launch;

/// Which of the two. A terminal's output is standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The log of one container, as long as its monitor lives. A restart goes on with the same one.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// By the driver's name.
    ///
    /// # Errors
    /// The file cannot be made, or an option makes no sense.
    pub fn open(_log: &launch::Log) -> Result<Writer> {
        Ok(Writer)
    }

    /// What came out of a stream, whatever its pieces; `now` is the time of the lines that begin in it.
    pub fn write(&mut self, _stream: Stream, _bytes: &[u8], _now: SystemTime) {}

    /// The streams have ended: the last line may have no newline.
    pub fn finish(&mut self, _now: SystemTime) {}

    /// How many lines could not be written.
    pub fn lost(&self) -> u64 {
        0
    }
}
