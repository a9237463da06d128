//! Rows of lists: from plain values to what `--format` can ask for, and the tables that Docker prints by default.
//!
//! May not: find anything out. Each kind of row is a struct that a command fills in.

pub mod cache;
pub mod containers;
pub mod df;
pub mod history;
pub mod images;
pub mod inspect;
pub mod inspect_container;
pub mod networks;
pub mod search;
pub mod stats;
pub mod volumes;

/// `2 hours ago`.
fn ago(now: i64, then: i64) -> String {
    format!("{} ago", crate::units::duration(now - then))
}
