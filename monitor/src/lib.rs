//! The monitor of one container: it waits for it, copies its streams, writes its log, restarts it, asks for its health, and tells
//! whoever is connected. And what brig and a monitor say to each other, on disk and over the socket.
//!
//! May not: know images, registries or the store's database, or have a second thread. A machine runs a thousand of these.

pub mod client;
pub mod events;
pub mod ground;
pub mod joined;
pub mod launch;
pub mod log;
pub mod place;
pub mod protocol;
pub mod remove;
pub mod state;
pub mod volumes;
