//! Known deviations of each runtime, each with its reason. Parses text; runs nothing.

use std::path::Path;

use crate::host::CgroupMode;

/// The lists that come with this program, by how the first line of `RUNTIME --version` begins; the first that fits counts.
const EMBEDDED: [(&str, &str); 4] = [
    ("runc version 1.1.", include_str!("../expect/runc-1.1.toml")),
    ("runc", include_str!("../expect/runc.toml")),
    ("crun", include_str!("../expect/crun.toml")),
    ("runb", include_str!("../expect/runb.toml")),
];

/// What is known about one runtime.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Expectations {
    fails: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    tree: Tree,
    always: bool,
    id: String,
    reason: String,
}

/// A known deviation of one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Why.
    pub reason: String,
    /// Whether a pass is unexpected: false for races that are lost only sometimes.
    pub always: bool,
}

/// On which cgroup tree a deviation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    Any,
    V1,
    V2,
}

impl Expectations {
    /// The list for a runtime that says this is its version; empty for a stranger.
    ///
    /// # Errors
    /// The embedded list does not parse.
    pub fn for_runtime(version: &str) -> Result<Self, String> {
        EMBEDDED.iter().find(|(b, _)| version.starts_with(b)).map_or_else(
            || Ok(Self::default()),
            |(b, text)| Self::parse(text).map_err(|e| format!("the list of {b}: {e}")),
        )
    }

    /// The list in a file.
    ///
    /// # Errors
    /// It cannot be read or does not parse.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Parses the subset of TOML in use: comments, the tables `[fails]`, `[fails.v1]` and `[fails.v2]` (that cgroup tree
    /// only) and `[may-fail]` (a race that is lost only sometimes), and `"case.id" = "reason"` lines. An id that ends in `*` stands for all that begin so.
    ///
    /// # Errors
    /// Names the line that is none of those.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut fails = Vec::new();
        let mut tree = None;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') {
                tree = Some(
                    parse_table(line).ok_or_else(|| format!("line {}: unknown table {line}", number + 1))?,
                );
                continue;
            }
            let entry = parse_entry(line).zip(tree);
            let ((id, reason), (tree, always)) = entry.ok_or_else(|| {
                format!(
                    "line {}: expected \"case.id\" = \"reason\" below [fails]",
                    number + 1
                )
            })?;
            if reason.trim().is_empty() {
                return Err(format!("line {}: {id} has no reason", number + 1));
            }
            fails.push(Entry {
                tree,
                always,
                id,
                reason,
            });
        }
        Ok(Expectations { fails })
    }

    /// What is known of this case on this cgroup tree; None when it should pass.
    #[must_use]
    pub fn known(&self, id: &str, mode: CgroupMode) -> Option<Known> {
        let fits = |pattern: &str| {
            pattern
                .strip_suffix('*')
                .map_or(pattern == id, |p| id.starts_with(p))
        };
        let here = |tree: Tree| match tree {
            Tree::Any => true,
            Tree::V1 => mode != CgroupMode::V2,
            Tree::V2 => mode == CgroupMode::V2,
        };
        let found = self.fails.iter().find(|e| here(e.tree) && fits(&e.id));
        found.map(|e| Known {
            reason: e.reason.clone(),
            always: e.always,
        })
    }

    /// Patterns that fit no id.
    pub fn strangers<'a>(&'a self, ids: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
        self.fails.iter().map(|e| e.id.as_str()).filter(move |p| {
            let prefix = p.strip_suffix('*');
            !ids.iter().any(|id| prefix.map_or(p == id, |x| id.starts_with(x)))
        })
    }
}

fn parse_table(line: &str) -> Option<(Tree, bool)> {
    match line {
        "[fails]" => Some((Tree::Any, true)),
        "[fails.v1]" => Some((Tree::V1, true)),
        "[fails.v2]" => Some((Tree::V2, true)),
        "[may-fail]" => Some((Tree::Any, false)),
        _ => None,
    }
}

fn parse_entry(line: &str) -> Option<(String, String)> {
    let (id, rest) = quoted(line)?;
    let (reason, rest) = quoted(rest.trim_start().strip_prefix('=')?.trim_start())?;
    let rest = rest.trim_start();
    (rest.is_empty() || rest.starts_with('#')).then_some((id, reason))
}

/// A basic string with `\"` and `\\` as the only escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let body = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &body[at + 1..])),
            '\\' => out.push(chars.next().map(|(_, c)| c).filter(|c| "\"\\".contains(*c))?),
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(e: &Expectations, id: &str, mode: CgroupMode) -> Option<String> {
        e.known(id, mode).map(|k| k.reason)
    }

    #[test]
    fn entries_have_ids_patterns_and_reasons() {
        let e = Expectations::parse("# x\n[fails]\n\"a.b\" = \"says \\\"no\\\"\" # y\n\"c.*\" = \"z\"\n")
            .unwrap();
        assert_eq!(reason(&e, "a.b", CgroupMode::V1).as_deref(), Some("says \"no\""));
        assert_eq!(reason(&e, "c.anything", CgroupMode::V2).as_deref(), Some("z"));
        assert_eq!(reason(&e, "a.bc", CgroupMode::V1).as_deref(), None);
        assert_eq!(e.strangers(&["a.b"]).collect::<Vec<_>>(), ["c.*"]);
    }

    #[test]
    fn a_deviation_may_belong_to_one_cgroup_tree() {
        let e = Expectations::parse("[fails.v2]\n\"a.b\" = \"x\"\n").unwrap();
        assert_eq!(reason(&e, "a.b", CgroupMode::V2).as_deref(), Some("x"));
        assert_eq!(reason(&e, "a.b", CgroupMode::Hybrid).as_deref(), None);
    }

    #[test]
    fn what_may_fail_may_pass() {
        let e = Expectations::parse("[may-fail]\n\"a.b\" = \"x\"\n").unwrap();
        assert!(!e.known("a.b", CgroupMode::V1).unwrap().always);
    }

    #[test]
    fn a_reason_is_required_and_strange_lines_are_refused() {
        for bad in [
            "[fails]\n\"a\" = \"\"",
            "\"a\" = \"b\"",
            "[other]",
            "[fails]\na = b",
            "[fails]\n\"a\" = \"b\" c",
        ] {
            assert!(Expectations::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn embedded_lists_parse_and_name_known_cases() {
        let ids: Vec<&str> = crate::cases::all().iter().map(|c| c.id).collect();
        for (name, _) in EMBEDDED {
            let e = Expectations::for_runtime(name).unwrap();
            assert_eq!(
                e.strangers(&ids).collect::<Vec<_>>(),
                Vec::<&str>::new(),
                "{name}"
            );
        }
    }
}
