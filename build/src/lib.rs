//! Dockerfiles: what is written in them, what of it a target needs, and what each instruction comes to.
//!
//! ```text
//! bytes --source--> Source --lines--> Line (continuations and heredocs gathered) --instruction--> Instruction
//!       --stages--> Graph (which stages a target needs, and what of each other) --scope--> Action (nothing is left to expand)
//! ```
//!
//! May not (these rooms): touch files, the clock, the environment or the network. They take text and give values; whoever
//! builds brings the facts.

pub mod directives;
pub mod expand;
pub mod history;
pub mod ignore;
pub mod instruction;
pub mod lines;
pub mod lint;
pub mod outline;
pub mod paths;
pub mod plan;
pub mod remote;
pub mod scope;
pub mod source;
pub mod stages;
mod states;
pub mod suggest;
pub mod values;
pub mod words;
