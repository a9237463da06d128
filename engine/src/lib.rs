//! Containers from images: everything that `brig` does with them.
//!
//! May not: print, read the command line, or know what a terminal is.

pub mod copy;
pub mod model;
pub mod root;
pub mod tree;
