//! Judges any OCI runtime from the outside. Depends on no other crate of this workspace and on no runtime's inside: a
//! runtime is a program with a command line, and what it did shows in the container, in /proc and in cgroupfs.
//!
//! * [`case`] says what a case is; [`cases`] holds them, one module for each area.
//! * [`world`] is what a case acts on: a bundle, a state root, the runtime's command line, and the facts found.
//! * [`worker`] runs one case in a process of its own; [`scheduler`] runs many of those.
//! * [`leak`] looks at what is left afterwards.
//! * [`ttrpc`], [`grpc`] and [`messages`] are how shims and containerd are spoken to; `shimtest` and `engines` use them.
//! * [`command`] runs programs with a deadline, [`daemon`] those that serve; [`played`] is a host made of namespaces for
//!   engines to live in, [`base`] the image that they run there, [`docker`] the engine of the packages. [`terminal`] is a
//!   person at a terminal, [`verdict`] what the programs that play cases there have in common, [`judge`] the frame of those that judge
//!   `brig`.
//! * [`expectation`] holds the known deviations of each runtime; [`format`](mod@format) prints.

pub mod base;
pub mod case;
pub mod cases;
pub mod command;
pub mod config;
pub mod daemon;
pub mod denial;
pub mod docker;
pub mod expectation;
pub mod format;
pub mod grpc;
pub mod host;
pub mod judge;
pub mod kernel;
pub mod leak;
pub mod messages;
pub mod mirror;
pub mod patience;
pub mod payload;
pub mod played;
pub mod scheduler;
pub mod seed;
pub mod terminal;
pub mod tree;
pub mod ttrpc;
pub mod verdict;
pub mod worker;
pub mod world;
