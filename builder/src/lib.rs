//! Builds: what crate `build` reads out of a Dockerfile is done here, and becomes an image.
//!
//! ```text
//! Request --context--> Dockerfile and Trees --build::plan--> Graph --solve--> layers and a configuration --output--> image, archive, files
//!                                                             |
//!                                                  cache: what was done before is not done again
//! ```
//!
//! May not: print, read the command line, or know what a terminal is. What happens is told to a [`telling::Listener`].

// A build fails once.
#![allow(clippy::result_large_err)]

pub mod cache;
pub mod context;
pub mod failure;
pub mod files;
pub mod make;
pub mod output;
pub mod request;
mod solve;
pub mod sources;
pub mod telling;

pub use failure::Failure;
pub use image::{Context, Error, Kind, Result};
pub use make::{Built, BuiltImage, Means, make as build};
