//! The cases, one module for each area.

pub mod archives;
pub mod extract;
pub mod proxies;
pub mod pull;
pub mod rootless;
pub mod store;
pub mod together;
pub mod trips;
pub mod variants;
