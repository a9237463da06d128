//! How much slower than a quiet machine this one may be. Every deadline is multiplied by it, and the pause between two looks.

use std::sync::OnceLock;
use std::time::Duration;

/// Says it to the worker processes.
pub const VARIABLE: &str = "CONFORMANCE_PATIENCE";

static FACTOR: OnceLock<u32> = OnceLock::new();

/// Says it within this process, before the first deadline.
pub fn set(n: u32) {
    // A second word would come too late for the deadlines of before, and changes nothing.
    let _ = FACTOR.set(n.max(1));
}

fn factor() -> u32 {
    *FACTOR.get_or_init(|| {
        let said = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
        said.unwrap_or(1).max(1)
    })
}

/// A deadline of so many seconds on a quiet machine.
#[must_use]
pub fn seconds(n: u64) -> Duration {
    Duration::from_secs(n) * factor()
}

/// How long to wait before one looks again. To look costs a slow machine time that what is waited for could use.
#[must_use]
pub fn pause() -> Duration {
    Duration::from_millis(5 * u64::from(factor().min(6)))
}
