//! What was built before, kept for the next build; and its exchange with other stores.
//!
//! ```text
//! Solver --notes--> export --record--> registry, OCI layout, annotation of an image
//! Solver <--known-- the store's cache <--import-- the same
//! ```
//!
//! May not: know what a step does.

pub mod export;
pub mod import;
mod layout;
pub mod mounts;
pub mod notes;
pub mod options;
pub mod record;
