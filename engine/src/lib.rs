//! Containers from images: everything that `brig` does with them.
//!
//! May not: print, read the command line, or know what a terminal is.

pub mod containers;
pub mod control;
pub mod create;
pub mod events;
pub mod exec;
pub mod logs;
pub mod merge;
pub mod model;
pub mod moment;
pub mod mountpoints;
pub mod mounts;
pub mod names;
pub mod netfiles;
pub mod network;
pub mod pattern;
pub mod programs;
pub mod recovery;
pub mod remove;
pub mod signal;
pub mod spec;
pub mod start;

pub use image::{Context, Error, Kind, Result};
