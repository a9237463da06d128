//! stub
use conformance::verdict::{Choice, Sums};
use crate::lab::Lab;
pub struct Line;
impl Line { pub fn name(&self) -> String { String::new() } }
pub fn lines() -> Vec<Line> { Vec::new() }
pub fn run_all(_lab: &Lab, _choice: &Choice) -> Sums { Sums::default() }
