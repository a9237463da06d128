//! Words of the programs that play cases in a played host: what holds, which cases were chosen, how many ended how.
//!
//! May not: know what is judged.

use std::path::{Path, PathBuf};

use crate::kernel;

pub type Done = Result<(), String>;

pub fn is(what: &str, value: impl ToString, expected: impl ToString) -> Done {
    let (value, expected) = (value.to_string(), expected.to_string());
    if value == expected {
        Ok(())
    } else {
        Err(format!("{what} is {value:?}, expected {expected:?}"))
    }
}

pub fn has(what: &str, text: &str, part: &str) -> Done {
    if text.contains(part) {
        Ok(())
    } else {
        Err(format!("{what} is {text:?}, without {part:?}"))
    }
}

pub fn lacks(what: &str, text: &str, part: &str) -> Done {
    if text.contains(part) {
        Err(format!("{what} is {text:?}, with {part:?}"))
    } else {
        Ok(())
    }
}

/// Which cases the user asked for.
pub struct Choice<'a>(pub &'a [String]);

impl Choice<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// How many cases ended how.
#[derive(Default, Clone, Copy)]
pub struct Sums {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// The entries of a directory; of one that is not there, none.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Takes away the mounts that a failed case left below a directory that is about to be removed.
pub fn unmount_below(dir: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .filter(|point| point.starts_with(dir))
        .collect();
    // The innermost was made last.
    points.reverse();
    for point in points {
        if let Err(e) = kernel::detach(&point) {
            eprintln!("{}: {e}", point.display());
        }
    }
}
