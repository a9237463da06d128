//! What a guest is told to do: a file that the outside writes and the inside reads.

use serde::{Deserialize, Serialize};

/// The job of one guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The guest's name; in front of every line.
    pub guest: String,
    /// Every deadline times this.
    pub patience: u32,
    /// How often a case of ours that fails is tried again.
    pub retries: u32,
    /// Whether the demo is played.
    pub demo: bool,
    /// Conformance, runtime by runtime.
    pub suites: Vec<Suite>,
    /// Names of the cases of `shimtest`, which judges the shim with the first runtime.
    pub shim: Vec<String>,
    /// Names of the cases of brig.
    pub brig: Vec<String>,
    /// Names of engine cases, each with its runtime.
    pub engines: Vec<(String, String)>,
}

/// The conformance cases for one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suite {
    /// `runb`, or a program of the guest.
    pub runtime: String,
    /// How often what fails is tried again: the reference loses races of its own.
    pub retries: u32,
    /// Ids.
    pub cases: Vec<String>,
}

impl Job {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        !self.demo
            && self.shim.is_empty()
            && self.brig.is_empty()
            && self.engines.is_empty()
            && self.suites.iter().all(|suite| suite.cases.is_empty())
    }
}
