//! Words of the programs that play cases in a played host: what holds, which cases were chosen, how many ended how.
//!
//! May not: know what is judged.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

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

impl Sums {
    pub fn add(&mut self, more: Sums) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }

    /// The line of a case that was played.
    pub fn tell(&mut self, name: &str, began: Instant, verdict: Done) {
        let seconds = began.elapsed().as_secs_f64();
        match verdict {
            Ok(()) => {
                self.passed += 1;
                println!("ok   {name} ({seconds:.1} s)");
            }
            Err(why) => {
                self.failed += 1;
                println!("FAIL {name} ({seconds:.1} s)");
                println!("     {}", indented(&why));
            }
        }
    }

    /// The line of one that cannot be played here.
    pub fn skip(&mut self, name: &str, why: &str) {
        self.skipped += 1;
        println!("skip {name}: {}", why.lines().next().unwrap_or_default());
    }

    /// The last line of a program.
    pub fn end(self) -> ExitCode {
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        );
        match self.failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

/// A text of several lines below the line of a case.
pub fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n     ")
}

/// What went wrong in any of them.
pub fn all_of(parts: impl IntoIterator<Item = Done>) -> Done {
    let problems: Vec<String> = parts.into_iter().filter_map(Result::err).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n")),
    }
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
