//! Containers from images: everything that `brig` does with them.
//!
//! May not: print, read the command line, or know what a terminal is.

pub mod change;
pub mod commit;
pub mod containers;
pub mod control;
pub mod copy;
pub mod create;
pub mod diff;
pub mod events;
pub mod exec;
pub mod explain;
pub mod export;
mod layers;
pub mod logs;
pub mod merge;
pub mod model;
pub mod moment;
pub mod mountpoints;
pub mod mounts;
pub mod names;
pub mod netfiles;
pub mod network;
pub mod networks;
pub mod passing;
pub mod pattern;
pub mod programs;
pub mod recovery;
pub mod remove;
pub mod root;
pub mod spec;
pub mod start;
pub mod stats;
mod stubs;
pub mod summary;
pub mod telling;
pub mod top;
pub mod update;
pub mod volumes;

pub use image::{Context, Error, Kind, Result, tree};
pub use spec::signal;
