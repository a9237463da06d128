//! Networks of containers as the kernel has them: bridges, pairs of devices, addresses, rules, published ports.
//!
//! Whoever starts a container writes down what it will have ([`attachment::Attachment`]) before anything of it is made, so that whoever
//! finds the record can undo all of it, however the maker has ended.
//!
//! ```text
//! let machine = Machine::of(run);                       // RUN of the store
//! machine.ensure(&network)?;                            // `network create`; attach does it, too
//! let space = Space::make(&netns)?;                     // in the thread that has a mount namespace of its own
//! // RUN/containers/ID/network.json is written here
//! machine.attach(&space, &attachment)?;                 // rules, devices, addresses, routes
//! machine.change(&Space::of(pid)?, &old, &new)?;        // connect, disconnect of a container that runs
//! machine.detach(&attachment)?;                         // whatever of it is there goes; again and again, if need be
//! // RUN/containers/ID/network.json is removed here
//! machine.remove(&network)?;                            // `network rm`
//! ```
//!
//! May not: run a helper program, know what a container is beyond its id, or decide who gets which network (engine does).

pub mod attachment;
mod bridge;
mod conntrack;
pub mod error;
mod foreign;
mod forwarding;
pub mod ground;
pub mod leases;
pub mod link;
pub mod machine;
pub mod names;
pub mod nft;
pub mod pool;
pub mod ports;
pub mod resolver;
mod rules;
pub mod space;
mod standing;
mod sysctl;

pub use error::{Context, Error, Result};
pub use machine::Machine;
pub use space::Space;
