//! Networks of containers as the kernel has them: bridges, pairs of devices, addresses, rules, published ports.
//!
//! Whoever starts a container writes down what it will have ([`attachment::Attachment`]) before anything of it is made, so that whoever
//! finds the record can undo all of it, however the maker has ended.
//!
//! May not: run a helper program, know what a container is beyond its id, or decide who gets which network (engine does).

pub mod attachment;
pub mod error;
pub mod names;
pub mod resolver;
