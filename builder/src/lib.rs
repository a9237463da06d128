//! Builds: what crate `build` reads out of a Dockerfile is done here, and becomes an image.
//!
//! ```text
//! Request --context--> Dockerfile and Trees --build::plan--> Graph --solve--> layers and a configuration --output--> image, archive, files
//!                                                             |
//!                                                  cache: what was done before is not done again
//! ```
//!
//! May not: print, read the command line, or know what a terminal is. What happens is told to a [`telling::Listener`].

pub mod context;
pub mod files;
pub mod request;
pub mod telling;

pub use image::{Context, Error, Kind, Result};
