//! What was built before, kept for the next build.
//!
//! May not: know what a step does.

pub mod mounts;
