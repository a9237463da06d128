//! ttrpc without sockets: frames and status codes.
//!
//! May not: read, write, wait. Whoever owns a connection feeds it in and takes bytes out.

pub mod client;
pub mod frame;
pub mod server;
pub mod status;
