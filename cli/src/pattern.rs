//! Regular expressions, as far as `ps --filter name=` needs them: groups, alternatives, classes, repetition, anchors.
//!
//! May not: take long. Matching keeps a set of places and never goes back, so no pattern is slow.

use std::collections::BTreeSet;

/// A parsed expression.
#[derive(Debug)]
pub struct Pattern(Node);

#[derive(Debug)]
enum Node {
    /// One after the other.
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    /// So many times; no end means any number.
    Repeat(Box<Node>, usize, Option<usize>),
    Class {
        ranges: Vec<(char, char)>,
        negated: bool,
    },
    Begin,
    End,
    /// Between a character of a word and another one; or not there.
    Edge(bool),
}

/// More than anybody repeats by hand, and few enough to try.
const MOST: usize = 1000;

impl Pattern {
    /// Nothing, where it is malformed.
    pub fn parse(text: &str) -> Option<Pattern> {
        let characters: Vec<char> = text.chars().collect();
        let mut parser = Parser {
            rest: &characters,
            ignore_case: false,
        };
        let node = parser.either()?;
        parser.rest.is_empty().then_some(Pattern(node))
    }

    /// Whether it is found anywhere in the text.
    pub fn is_in(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let everywhere = (0..=text.len()).collect();
        !reach(&self.0, &text, everywhere).is_empty()
    }
}

/// Where one can be behind the node, beginning at any of these places.
fn reach(node: &Node, text: &[char], from: BTreeSet<usize>) -> BTreeSet<usize> {
    match node {
        Node::Sequence(nodes) => nodes.iter().fold(from, |places, node| reach(node, text, places)),
        Node::Either(nodes) => nodes
            .iter()
            .flat_map(|node| reach(node, text, from.clone()))
            .collect(),
        Node::Repeat(node, least, most) => {
            let mut places = from;
            for _ in 0..*least {
                places = reach(node, text, places);
            }
            let mut all = places.clone();
            let mut times = *least;
            while !places.is_empty() && most.is_none_or(|most| times < most) {
                places = reach(node, text, places).difference(&all).copied().collect();
                all.extend(&places);
                times += 1;
            }
            all
        }
        Node::Class { ranges, negated } => from
            .into_iter()
            .filter(|at| {
                text.get(*at)
                    .is_some_and(|c| ranges.iter().any(|(a, b)| (a..=b).contains(&c)) != *negated)
            })
            .map(|at| at + 1)
            .collect(),
        Node::Begin => from.into_iter().filter(|at| *at == 0).collect(),
        Node::End => from.into_iter().filter(|at| *at == text.len()).collect(),
        Node::Edge(there) => {
            let word = |at: Option<usize>| {
                at.and_then(|at| text.get(at))
                    .is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_')
            };
            let is_edge = |at: usize| word(at.checked_sub(1)) != word(Some(at));
            from.into_iter().filter(|at| is_edge(*at) == *there).collect()
        }
    }
}

struct Parser<'t> {
    rest: &'t [char],
    /// Behind `(?i)`.
    ignore_case: bool,
}

impl Parser<'_> {
    fn take(&mut self, c: char) -> bool {
        let found = self.rest.first() == Some(&c);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn either(&mut self) -> Option<Node> {
        let mut all = vec![self.sequence()?];
        while self.take('|') {
            all.push(self.sequence()?);
        }
        Some(Node::Either(all))
    }

    fn sequence(&mut self) -> Option<Node> {
        let mut all = Vec::new();
        while let Some(c) = self.rest.first() {
            if matches!(c, '|' | ')') {
                break;
            }
            let atom = self.atom()?;
            all.push(self.repeated(atom)?);
        }
        Some(Node::Sequence(all))
    }

    fn repeated(&mut self, mut atom: Node) -> Option<Node> {
        loop {
            let (least, most) = match self.rest.first() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => match self.counts() {
                    Some((least, most, length)) => {
                        self.rest = &self.rest[length - 1..];
                        (least, most)
                    }
                    None => return Some(atom),
                },
                _ => return Some(atom),
            };
            self.rest = &self.rest[1..];
            // As few as possible or as many: all that counts is whether it matches.
            self.take('?');
            if least > MOST || most.is_some_and(|most| most > MOST || most < least) {
                return None;
            }
            atom = Node::Repeat(Box::new(atom), least, most);
        }
    }

    /// `{2}`, `{2,}`, `{2,5}`; anything else stands for itself.
    fn counts(&self) -> Option<(usize, Option<usize>, usize)> {
        let end = self.rest.iter().position(|c| *c == '}')?;
        let text: String = self.rest.get(1..end)?.iter().collect();
        let (least, most) = match text.split_once(',') {
            None => (text.parse().ok()?, Some(text.parse().ok()?)),
            Some((least, "")) => (least.parse().ok()?, None),
            Some((least, most)) => (least.parse().ok()?, Some(most.parse().ok()?)),
        };
        Some((least, most, end + 1))
    }

    fn atom(&mut self) -> Option<Node> {
        match self.next()? {
            '.' => Some(Node::Class {
                ranges: vec![('\n', '\n')],
                negated: true,
            }),
            '^' => Some(Node::Begin),
            '$' => Some(Node::End),
            '(' => self.group(),
            '[' => self.class(),
            '\\' => self.escaped(),
            '*' | '+' | '?' => None,
            c => Some(self.one(c)),
        }
    }

    fn one(&self, c: char) -> Node {
        self.class_of(vec![(c, c)], false)
    }

    fn class_of(&self, mut ranges: Vec<(char, char)>, negated: bool) -> Node {
        if self.ignore_case {
            for (a, b) in ranges.clone() {
                if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() {
                    ranges.push((a.to_ascii_lowercase(), b.to_ascii_lowercase()));
                    ranges.push((a.to_ascii_uppercase(), b.to_ascii_uppercase()));
                }
            }
        }
        Node::Class { ranges, negated }
    }

    fn group(&mut self) -> Option<Node> {
        if self.take('?') {
            if self.take('i') {
                self.ignore_case = true;
                if self.take(')') {
                    return Some(Node::Sequence(Vec::new()));
                }
            }
            if !self.take(':') {
                return None;
            }
        }
        let inner = self.either()?;
        self.take(')').then_some(inner)
    }

    fn escaped(&mut self) -> Option<Node> {
        Some(match self.next()? {
            'A' => Node::Begin,
            'z' => Node::End,
            'b' => Node::Edge(true),
            'B' => Node::Edge(false),
            c => match of_kind(c) {
                Some((ranges, negated)) => self.class_of(ranges, negated),
                None if c.is_ascii_alphanumeric() => return None,
                None => self.one(c),
            },
        })
    }

    fn class(&mut self) -> Option<Node> {
        let negated = self.take('^');
        let mut ranges = Vec::new();
        loop {
            let from = match self.next()? {
                ']' if !ranges.is_empty() => return Some(self.class_of(ranges, negated)),
                '\\' => match self.next()? {
                    c if of_kind(c).is_some_and(|(_, negated)| !negated) => {
                        ranges.extend(of_kind(c).into_iter().flat_map(|(inner, _)| inner));
                        continue;
                    }
                    c if c.is_ascii_alphanumeric() => return None,
                    c => c,
                },
                c => c,
            };
            let is_range = self.rest.first() == Some(&'-') && self.rest.get(1).is_some_and(|c| *c != ']');
            if !is_range {
                ranges.push((from, from));
                continue;
            }
            self.next()?;
            let to = match self.next()? {
                '\\' => self.next()?,
                c => c,
            };
            if to < from {
                return None;
            }
            ranges.push((from, to));
        }
    }
}

/// `\d`, `\w`, `\s` and what they are not.
fn of_kind(c: char) -> Option<(Vec<(char, char)>, bool)> {
    let ranges = match c.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
        's' => vec![('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')],
        _ => return None,
    };
    Some((ranges, c.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn matching() {
        for (pattern, text, is) in [
            ("", "x", true),
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("^/?web$", "/web", true),
            ("^/?web$", "web1", false),
            ("web|db", "my-db", true),
            ("^(web|db)-[0-9]+$", "db-12", true),
            ("^(web|db)-[0-9]+$", "db-", false),
            ("^[^a-c]x", "dx", true),
            ("^[^a-c]x", "bx", false),
            ("a{2,3}b", "xaab", true),
            ("^a{2}$", "aaa", false),
            ("a{x}", "a{x}", true),
            (r"\d\w\.\S", "1a.b", true),
            (r"\bdb\b", "a-db-b", true),
            (r"\bdb\b", "adb", false),
            ("(?i)WEB", "web", true),
            ("(?:ab)*?c", "ababc", true),
            ("[]a]", "]", true),
            ("[a\\-z]", "-", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac", false),
            ("a?", "", true),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().is_in(text),
                is,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn malformed_ones() {
        for pattern in ["(", "a)", "*a", "[a", "[b-a]", "\\", "\\q", "(?x)", "a{3,2}"] {
            assert!(Pattern::parse(pattern).is_none(), "{pattern}");
        }
    }
}
