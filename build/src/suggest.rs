//! What was probably meant: the nearest of the words that would have been right.
//!
//! May not: take time with the length of what was written; a word that is far longer than all the others is near to none.

/// So many words are compared where a file says how many there are.
pub const MOST: usize = 1000;

/// Further away is another word.
const NEAR: usize = 2;

/// The nearest option, two edits away at most. None when the word is one of them: then the word was not the mistake.
pub fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for option in options {
        if option == word {
            return None;
        }
        let Some(distance) = distance(word, option) else {
            continue;
        };
        if best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option)
}

/// The same for words whose case does not matter, in the case that the word was written in.
pub fn nearest_in_case<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let options: Vec<String> = options.into_iter().map(str::to_lowercase).collect();
    let found = nearest(&word.to_lowercase(), options.iter().map(String::as_str))?;
    Some(if word == word.to_uppercase() {
        found.to_uppercase()
    } else {
        found.to_owned()
    })
}

/// Edits (insert, remove, replace) from one to the other, if they are few enough.
fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len().abs_diff(b.len()) > NEAR * 4 {
        return None;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > NEAR || a.len() > 256 {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(&b) {
            let cost = (diagonal + usize::from(x != y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = cost;
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().filter(|d| *d <= NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_are_near() {
        for (word, nearest_one) in [
            ("EXPOSS", Some("EXPOSE")),
            ("RUNN", Some("RUN")),
            ("form", Some("from")),
            ("ENTRYPONT", Some("ENTRYPOINT")),
            ("from", None),
            ("FROM", None),
            ("INSTALL", None),
            ("", None),
        ] {
            let options = ["FROM", "EXPOSE", "RUN", "ENTRYPOINT"];
            assert_eq!(nearest_in_case(word, options).as_deref(), nearest_one, "{word}");
        }
        assert_eq!(distance("kitten", "sitten"), Some(1));
        assert_eq!(distance("abc", "bcd"), Some(2));
        assert_eq!(distance("abc", "xyz"), None);
        assert_eq!(distance("", "ab"), Some(2));
    }
}
