//! Containers from images: everything that `brig` does with them.
//!
//! May not: print, read the command line, or know what a terminal is.

pub mod containers;
pub mod merge;
pub mod model;
pub mod programs;

pub use image::{Context, Error, Kind, Result};
