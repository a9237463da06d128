//! Networks against the real kernel: each test plays a machine with a neighbour and containers, and sends packets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod played;
mod traffic;
mod upkeep;
