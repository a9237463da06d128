//! The cases. `samples` are the Dockerfiles of everyday examples; the others are named after what they are about.

pub mod contexts;
pub mod crashes;
pub mod errors;
pub mod hostile;
pub mod mounts;
pub mod networks;
pub mod newer;
pub mod options;
pub mod outputs;
pub mod reuse;
pub mod rootless;
pub mod samples;
pub mod space;
pub mod telling;
