use crate::inside::Outside;
use crate::job::Job;
use std::path::Path;
pub struct Case {
    pub name: &'static str,
}
pub fn all() -> Vec<Case> {
    Vec::new()
}
pub fn run(_: &mut Outside, _: &Path, _: &Job) -> Result<(), String> {
    Ok(())
}
