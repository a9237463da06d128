//! The lines that cross from a guest to the outside, and their sums.
//!
//! May not: judge. `ok`, `known`, `skip` and `note` are fine, `FAIL` and `UNEXPECTED PASS` are not.

/// What the inside says first, and last. In between there is a line for each case.
pub const UP: &str = "up";
pub const DONE: &str = "done";

/// How many cases ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Sums {
    /// Counts a line; those that belong to no case, or go on about one, count for nothing.
    pub fn count(&mut self, line: &str) {
        match line.split_whitespace().next() {
            _ if line.starts_with(' ') => {}
            Some("ok" | "known") => self.passed += 1,
            Some("FAIL" | "UNEXPECTED") => self.failed += 1,
            Some("skip") => self.skipped += 1,
            _ => {}
        }
    }

    pub fn add(&mut self, other: Sums) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// How far `conformance` indents what it has to say about a case.
const INDENT: &str = "                  ";

/// How far `shimtest` does, and we.
const SHORT_INDENT: &str = "     ";

/// A line of `conformance` or `shimtest` with `prefix` in front of the case's name; None for what is not about a case.
pub fn renamed(line: &str, prefix: &str) -> Option<String> {
    if let Some(detail) = line.strip_prefix(INDENT) {
        return Some(format!("{SHORT_INDENT}{detail}"));
    }
    if line.starts_with(SHORT_INDENT) {
        return Some(line.to_owned());
    }
    for word in ["UNEXPECTED PASS", "ok", "known", "FAIL", "skip"] {
        if let Some(rest) = line.strip_prefix(word)
            && rest.starts_with(' ')
        {
            return Some(format!("{word:<4} {prefix}/{}", rest.trim_start()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_keeps_its_verdict_and_gets_a_longer_name() {
        let of = |line| renamed(line, "v2/runb");
        assert_eq!(
            of("ok              a.b (3 ms)").as_deref(),
            Some("ok   v2/runb/a.b (3 ms)")
        );
        assert_eq!(
            of("skip a.b: because").as_deref(),
            Some("skip v2/runb/a.b: because")
        );
        assert_eq!(
            of("UNEXPECTED PASS a.b (3 ms)").as_deref(),
            Some("UNEXPECTED PASS v2/runb/a.b (3 ms)")
        );
        assert_eq!(of("runb version 1: 3 cases"), None);
        assert_eq!(of("  FAIL a.b"), None);
        assert_eq!(
            of("                  a detail of it").as_deref(),
            Some("     a detail of it")
        );
        assert_eq!(
            of("ok   a.b (0.3 s, try 2)").as_deref(),
            Some("ok   v2/runb/a.b (0.3 s, try 2)")
        );
        assert_eq!(of("     why").as_deref(), Some("     why"));
    }

    #[test]
    fn sums_count_cases_only() {
        let mut sums = Sums::default();
        for line in [
            "up",
            "ok   a",
            "known b",
            "FAIL c",
            "     ok d",
            "skip e: f",
            "note g",
            "UNEXPECTED PASS h",
        ] {
            sums.count(line);
        }
        assert_eq!((sums.passed, sums.failed, sums.skipped), (2, 2, 1));
    }
}
