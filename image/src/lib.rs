//! Images: what a reference means, how its parts are fetched, kept, unpacked and turned into a bundle.
//!
//! May not: print, read the command line, or know what a terminal is. Progress is told to whoever asks for it.

pub mod archive;
pub mod assemble;
pub mod bundle;
pub mod bytes;
pub mod credentials;
pub mod derive;
pub mod digest;
pub mod disk;
pub mod error;
pub mod evict;
pub mod layer;
pub mod mount;
pub mod oci;
pub mod packages;
pub mod parallel;
pub mod platform;
pub mod progress;
pub mod provide;
pub mod pull;
pub mod push;
pub mod reference;
pub mod registry;
pub mod remove;
pub mod repair;
pub mod replacement;
pub mod rootless;
pub mod settings;
pub mod standing;
pub mod store;
pub mod tree;
pub mod variants;
pub mod verify;

#[cfg(test)]
mod test_chance;

pub use digest::Digest;
pub use error::{Context, Error, Kind, Result};
