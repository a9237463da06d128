//! brig: Docker's command line without a daemon.
pub mod template;
