//! Patterns of `${x#...}`, `${x%...}`, `${x/.../...}`: `*` is any text of one line, `?` one character of it, and there are no classes.
//!
//! May not: backtrack. A pattern is a small automaton, all of whose states are followed at once, so that time is the product of both
//! lengths at worst; where even that is too much, the answer is an error.

use super::{Error, error};
use crate::states::States;

/// Steps of one substitution: some 64 KiB of text against 128 items.
const MOST_STEPS: usize = 1 << 23;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Char(char),
    One,
    Any,
}

#[derive(Clone, Debug)]
pub struct Pattern {
    items: Vec<Item>,
}

/// `*` may be nothing, so the state behind it is active too.
fn add(states: &mut States, state: usize, items: &[Item]) {
    states.add(state, |state| (items.get(state) == Some(&Item::Any)).then_some(1));
}

fn step(states: &States, c: char, items: &[Item], next: &mut States) {
    next.clear();
    for state in states.active() {
        match items.get(*state) {
            Some(Item::Char(x)) if *x == c => add(next, state + 1, items),
            Some(Item::One) if c != '\n' => add(next, state + 1, items),
            Some(Item::Any) if c != '\n' => add(next, *state, items),
            _ => {}
        }
    }
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Pattern, Error> {
        let mut items = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let item = match c {
                '*' => Item::Any,
                '?' => Item::One,
                '\\' => match chars.next() {
                    // A brace and a slash were escaped for the substitution around it.
                    Some(c @ ('}' | '/' | '*' | '?' | '\\')) => Item::Char(c),
                    Some(c) => return error(format!("invalid escape '\\{c}'")),
                    None => return error("invalid escape at its end"),
                },
                c => Item::Char(c),
            };
            if item != Item::Any || items.last() != Some(&Item::Any) {
                items.push(item);
            }
        }
        Ok(Pattern { items })
    }

    fn reversed(&self) -> Pattern {
        Pattern {
            items: self.items.iter().rev().copied().collect(),
        }
    }

    /// Where a match that begins at `from` ends: the nearest or the furthest end.
    fn end(
        &self,
        text: &[char],
        from: usize,
        longest: bool,
        steps: &mut usize,
    ) -> Result<Option<usize>, Error> {
        spend(steps, self.items.len())?;
        let (mut states, mut next) = (States::new(self.items.len()), States::new(self.items.len()));
        add(&mut states, 0, &self.items);
        let mut found = None;
        for at in from..=text.len() {
            if states.has(self.items.len()) {
                found = Some(at);
                if !longest {
                    break;
                }
            }
            let Some(c) = text.get(at) else { break };
            if states.active().is_empty() {
                break;
            }
            spend(steps, states.active().len())?;
            step(&states, *c, &self.items, &mut next);
            std::mem::swap(&mut states, &mut next);
        }
        Ok(found)
    }

    /// For each place of the text (and its end) whether a match begins there: the reversed pattern over the reversed text.
    fn begins(&self, text: &[char], steps: &mut usize) -> Result<Vec<bool>, Error> {
        let backwards = self.reversed();
        let items = &backwards.items;
        let (mut states, mut next) = (States::new(items.len()), States::new(items.len()));
        let mut begins = vec![false; text.len() + 1];
        for at in (0..=text.len()).rev() {
            add(&mut states, 0, items);
            if let Some(place) = begins.get_mut(at) {
                *place = states.has(items.len());
            }
            let Some(c) = at.checked_sub(1).and_then(|n| text.get(n)) else {
                break;
            };
            spend(steps, states.active().len())?;
            step(&states, *c, items, &mut next);
            std::mem::swap(&mut states, &mut next);
        }
        Ok(begins)
    }

    pub fn without_prefix(&self, value: &str, longest: bool) -> Result<String, Error> {
        let text: Vec<char> = value.chars().collect();
        let end = self.end(&text, 0, longest, &mut 0)?;
        Ok(text.into_iter().skip(end.unwrap_or_default()).collect())
    }

    pub fn without_suffix(&self, value: &str, longest: bool) -> Result<String, Error> {
        let text: Vec<char> = value.chars().rev().collect();
        let end = self
            .reversed()
            .end(&text, 0, longest, &mut 0)?
            .unwrap_or_default();
        Ok(text.into_iter().skip(end).rev().collect())
    }

    /// The first match, or all of them, by something else. A match that is empty counts, but not right behind another one.
    pub fn replaced(&self, value: &str, new: &str, all: bool, most: usize) -> Result<String, Error> {
        let text: Vec<char> = value.chars().collect();
        let mut steps = 0;
        let begins = self.begins(&text, &mut steps)?;
        let mut out = String::new();
        let (mut copied, mut at, mut last_end) = (0, 0, None);
        while at <= text.len() {
            let Some(begin) = (at..=text.len()).find(|n| begins.get(*n) == Some(&true)) else {
                break;
            };
            let end = self.end(&text, begin, true, &mut steps)?.unwrap_or(begin);
            out.extend(text.get(copied..begin).unwrap_or_default());
            if end > begin || last_end != Some(begin) {
                out.push_str(new);
            }
            if out.len() > most {
                return error("the result is too large");
            }
            (copied, last_end) = (end, Some(end));
            at = end.max(begin + usize::from(end == begin));
            if !all {
                break;
            }
        }
        out.extend(text.get(copied..).unwrap_or_default());
        Ok(out)
    }
}

fn spend(steps: &mut usize, by: usize) -> Result<(), Error> {
    *steps += by + 1;
    if *steps > MOST_STEPS {
        return error("it would take too long");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn replace(value: &str, pattern: &str, all: bool) -> String {
        Pattern::parse(pattern)
            .unwrap()
            .replaced(value, "-", all, 1 << 20)
            .unwrap()
    }

    #[test]
    fn replacing() {
        for (value, pattern, first, every) in [
            ("abcabc", "b", "a-cabc", "a-ca-c"),
            ("abcabc", "b*b", "a-c", "a-c"),
            ("abcabc", "?b", "-cabc", "-c-c"),
            ("abc", "x", "abc", "abc"),
            ("abc", "", "-abc", "-a-b-c-"),
            ("abc", "*", "-", "-"),
            ("a\nb", "*", "-\nb", "-\n-"),
            ("aaa", "a*", "-", "-"),
            ("a.b*c", "\\*", "a.b-c", "a.b-c"),
            ("\u{e4}\u{f6}\u{fc}", "\u{f6}", "\u{e4}-\u{fc}", "\u{e4}-\u{fc}"),
        ] {
            assert_eq!(replace(value, pattern, false), first, "{value} {pattern}");
            assert_eq!(replace(value, pattern, true), every, "{value} {pattern}");
        }
    }

    #[test]
    fn a_costly_pattern_is_refused_and_a_long_value_is_not() {
        let value = "a".repeat(100_000);
        let costly = Pattern::parse(&"*a".repeat(2000)).unwrap();
        assert!(costly.without_prefix(&value, true).is_err());
        assert!(costly.replaced(&value, "", true, 1 << 20).is_err());
        assert_eq!(replace(&value, "*b", true), value);
        assert_eq!(replace(&value, "a", true).len(), value.len());
    }
}
