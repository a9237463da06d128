//! Wildcards in paths: those of Go's `filepath.Match` for the sources of COPY, and the same with `**` for ignore files.
//!
//! May not: backtrack. All states of a pattern are followed at once, so time is the product of both lengths at worst.

use crate::states::States;

/// One item of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Char(char),
    /// Any character but a slash.
    One,
    /// Any text without a slash.
    Star,
    /// Any text: `**` at the end.
    All,
    /// Nothing, or directories: `**/`. Takes two places; [`Item::InDirectories`] is the second.
    Directories,
    InDirectories,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    items: Vec<Item>,
    literal: String,
}

/// Whether a pattern is one.
pub fn check(pattern: &str) -> bool {
    let mut rest = pattern;
    while let Some(c) = take(&mut rest) {
        let fine = match c {
            '\\' => take(&mut rest).is_some(),
            '[' => class(&mut rest).is_some(),
            _ => true,
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Whether a text has wildcards that are not escaped. One without is a name, its backslashes too.
pub fn has_wildcards(text: &str) -> bool {
    let mut rest = text;
    while let Some(c) = take(&mut rest) {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => drop(take(&mut rest)),
            _ => {}
        }
    }
    false
}

impl Glob {
    /// As `filepath.Match` has them: no `**`.
    pub fn of_path(pattern: &str) -> Option<Glob> {
        check(pattern).then(|| Glob::parse(pattern, false))
    }

    /// As ignore files have them. The pattern was checked.
    pub(super) fn of_ignore(pattern: &str) -> Glob {
        Glob::parse(pattern, true)
    }

    fn parse(pattern: &str, deep: bool) -> Glob {
        let mut items = Vec::new();
        let mut rest = pattern;
        while let Some(c) = take(&mut rest) {
            match c {
                '*' if deep && rest.starts_with('*') => {
                    rest = rest.get(1..).unwrap_or_default();
                    rest = rest.strip_prefix('/').unwrap_or(rest);
                    if rest.is_empty() {
                        items.push(Item::All);
                    } else if items.last() != Some(&Item::InDirectories) {
                        items.extend([Item::Directories, Item::InDirectories]);
                    }
                }
                '*' if items.last() == Some(&Item::Star) => {}
                '*' => items.push(Item::Star),
                '?' => items.push(Item::One),
                '\\' => items.push(Item::Char(take(&mut rest).unwrap_or('\\'))),
                '[' => items.extend(class(&mut rest)),
                c => items.push(Item::Char(c)),
            }
        }
        let literal = items.iter().map_while(|item| match item {
            Item::Char(c) => Some(*c),
            _ => None,
        });
        Glob {
            literal: literal.collect(),
            items,
        }
    }

    /// Whether a path matches; with `or_above`, whether it or a directory on the way does.
    pub fn matches(&self, path: &str, or_above: bool) -> bool {
        let Some(rest) = path.strip_prefix(self.literal.as_str()) else {
            return false;
        };
        let items = self.behind_literal();
        let mut now = States::new(items.len());
        let mut next = States::new(items.len());
        add(&mut now, 0, items);
        for c in rest.chars() {
            if or_above && c == '/' && now.has(items.len()) {
                return true;
            }
            if now.active().is_empty() {
                return false;
            }
            step_into(&now, c, items, &mut next);
            std::mem::swap(&mut now, &mut next);
        }
        now.has(items.len())
    }

    /// Whether a path that begins so may match.
    pub fn may_go_on(&self, start: &str) -> bool {
        if self.literal.len() >= start.len() {
            return self.literal.starts_with(start);
        }
        let Some(rest) = start.strip_prefix(self.literal.as_str()) else {
            return false;
        };
        let items = self.behind_literal();
        let mut now = States::new(items.len());
        let mut next = States::new(items.len());
        add(&mut now, 0, items);
        for c in rest.chars() {
            step_into(&now, c, items, &mut next);
            std::mem::swap(&mut now, &mut next);
        }
        now.active().iter().any(|state| *state < items.len())
    }

    fn behind_literal(&self) -> &[Item] {
        self.items.get(self.literal.chars().count()..).unwrap_or_default()
    }
}

/// With what can be nothing behind it.
fn add(states: &mut States, state: usize, items: &[Item]) {
    states.add(state, |state| match items.get(state) {
        Some(Item::Star | Item::All) => Some(1),
        Some(Item::Directories) => Some(2),
        _ => None,
    });
}

fn step_into(states: &States, c: char, items: &[Item], next: &mut States) {
    next.clear();
    for state in states.active() {
        step(next, *state, c, items);
    }
}

fn step(next: &mut States, state: usize, c: char, items: &[Item]) {
    match items.get(state) {
        Some(Item::Char(x)) if *x == c => add(next, state + 1, items),
        Some(Item::One) if c != '/' => add(next, state + 1, items),
        Some(Item::Star) if c != '/' => add(next, state, items),
        Some(Item::All) => add(next, state, items),
        Some(Item::Class { negated, ranges })
            if ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *negated =>
        {
            add(next, state + 1, items);
        }
        Some(Item::Directories) => {
            add(next, state + 1, items);
            if c == '/' {
                add(next, state + 2, items);
            }
        }
        Some(Item::InDirectories) => {
            add(next, state, items);
            if c == '/' {
                add(next, state + 1, items);
            }
        }
        _ => {}
    }
}

fn take(rest: &mut &str) -> Option<char> {
    let mut chars = rest.chars();
    let c = chars.next()?;
    *rest = chars.as_str();
    Some(c)
}

/// After `[`. None: it is none.
fn class(rest: &mut &str) -> Option<Item> {
    let negated = rest.starts_with('^');
    if negated {
        take(rest);
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.starts_with(']') {
            take(rest);
            return Some(Item::Class { negated, ranges });
        }
        let from = member(rest)?;
        let to = if rest.starts_with('-') {
            take(rest);
            member(rest)?
        } else {
            from
        };
        ranges.push((from, to));
    }
}

fn member(rest: &mut &str) -> Option<char> {
    match take(rest)? {
        '-' | ']' => None,
        '\\' => take(rest),
        c => Some(c),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_go_matches_paths() {
        for (pattern, path, matches) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a\u{263a}b", true),
            ("[\\]a]", "]", true),
            ("[\\-x]", "-", true),
            ("**", "a", true),
            ("**", "a/b", false),
            ("*x", "xxx", true),
            ("", "", true),
        ] {
            assert_eq!(
                Glob::of_path(pattern).unwrap().matches(path, false),
                matches,
                "{pattern} {path}"
            );
        }
        for (text, has) in [
            ("a*", true),
            ("a?", true),
            ("[a", true),
            ("a\\*", false),
            ("a\\", false),
            ("a", false),
        ] {
            assert_eq!(has_wildcards(text), has, "{text}");
        }
        for bad in ["[", "[^", "[^bc", "a[", "[]a]", "[-]", "[x-]", "[-x]", "\\"] {
            assert_eq!(Glob::of_path(bad), None, "{bad}");
        }
    }
}
