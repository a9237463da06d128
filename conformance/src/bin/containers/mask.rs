//! Output without what differs from one performance to the next: ids, times, ages, sizes that depend on the store.
//!
//! May not: hide a word, or a figure that both must get right.

/// The shape of what was printed. Columns are as wide as ages make them, so runs of spaces count as one.
pub fn shape(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        ages(words.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A word, and its masked parts.
fn word(word: &str) -> String {
    let mut masked = String::new();
    let mut part = String::new();
    for character in word.chars() {
        if character.is_ascii_alphanumeric() || ".-:+".contains(character) {
            part.push(character);
        } else {
            masked += &of_part(&part);
            part.clear();
            masked.push(character);
        }
    }
    masked + &of_part(&part)
}

fn of_part(part: &str) -> String {
    let is_hex = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    if let Some(hex) = part.strip_prefix("sha256:")
        && is_hex(hex)
        && (hex.len() == 64 || hex.len() == 12)
    {
        return "DIGEST".to_owned();
    }
    if is_hex(part) && part.bytes().any(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) {
        match part.len() {
            64 => return "LONGID".to_owned(),
            12 => return "ID".to_owned(),
            _ => {}
        }
    }
    if is_time(part) {
        return "TIME".to_owned();
    }
    if is_size(part) {
        return "SIZE".to_owned();
    }
    part.to_owned()
}

/// A date with a time of day, or either of them, or a zone.
fn is_time(part: &str) -> bool {
    let pattern: String = part
        .chars()
        .map(|c| if c.is_ascii_digit() { '9' } else { c })
        .collect();
    let is_stamp = pattern.starts_with("9999-99-99T99:99:99") && !part.starts_with("0001");
    is_stamp || ["9999-99-99", "99:99:99"].contains(&pattern.as_str())
}

/// A number with a unit of bytes.
fn is_size(part: &str) -> bool {
    let number = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &part[number.len()..];
    number.parse::<f64>().is_ok() && ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"].contains(&unit)
}

/// "3 seconds ago", "About a minute" and their like.
fn ages(line: String) -> String {
    let mut line = line;
    for (phrase, mask) in [
        ("Less than a second", "AGE"),
        ("About a minute", "AGE"),
        ("About an hour", "AGE"),
    ] {
        line = line.replace(phrase, mask);
    }
    let words: Vec<&str> = line.split(' ').collect();
    let mut masked: Vec<&str> = Vec::new();
    let mut rest = words.as_slice();
    while let [first, tail @ ..] = rest {
        let unit = tail.first().copied().unwrap_or_default();
        let unit = unit
            .trim_matches(|c: char| !c.is_ascii_alphabetic())
            .trim_end_matches('s');
        let is_unit = ["second", "minute", "hour", "day", "week", "month", "year"].contains(&unit);
        if is_unit && first.parse::<u32>().is_ok() {
            masked.push("AGE");
            rest = &tail[1..];
        } else {
            masked.push(first);
            rest = tail;
        }
    }
    masked.join(" ")
}

/// What kind of complaint it is: the first of these that the text holds.
pub fn class(stderr: &str) -> &'static str {
    const CLASSES: &[(&str, &str)] = &[
        ("unknown flag", "an unknown flag"),
        ("unknown shorthand flag", "an unknown flag"),
        ("flag needs an argument", "a flag without its argument"),
        ("requires at least", "too few arguments"),
        ("requires exactly", "another number of arguments"),
        ("requires 1 argument", "another number of arguments"),
        ("requires 2 arguments", "another number of arguments"),
        ("requires at most", "too many arguments"),
        ("accepts no arguments", "too many arguments"),
        ("accepts at most", "too many arguments"),
        ("not a docker command", "an unknown command"),
        ("unknown command", "an unknown command"),
        ("invalid argument", "an invalid argument"),
        ("template parsing error", "a template that cannot be read"),
        ("unable to parse template", "a template that cannot be read"),
        ("can't evaluate field", "a template with an unknown field"),
        ("map has no entry", "a template with an unknown field"),
        ("no such container", "no such container"),
        ("no such image", "no such image"),
        ("unable to find image", "no such image"),
        ("no such object", "no such object"),
        ("is already in use by container", "a name in use"),
        ("invalid container name", "an invalid name"),
        ("invalid reference format", "an invalid reference"),
        ("pool overlaps", "a subnet in use"),
        ("force remove", "it runs"),
        ("is not running", "it does not run"),
        ("is not paused", "it is not paused"),
        ("already paused", "it is paused"),
        ("is paused", "it is paused"),
        ("stopped container", "it is stopped"),
        ("executable file not found", "no such program"),
        ("no such file or directory", "no such file"),
        ("permission denied", "permission denied"),
        ("is a directory", "permission denied"),
        ("not a tty", "no terminal"),
        ("invalid filter", "an invalid filter"),
        ("bad format of filter", "an invalid filter"),
        ("invalid signal", "an invalid signal"),
        ("unknown runtime", "an unknown runtime"),
        ("invalid runtime name", "an unknown runtime"),
        ("conflicting options", "options in conflict"),
        ("conflicts with", "options in conflict"),
        ("conflict", "a conflict"),
        ("warning", "a warning"),
        ("invalid", "something invalid"),
    ];
    if stderr.trim().is_empty() {
        return "nothing";
    }
    let text = stderr.to_lowercase();
    CLASSES
        .iter()
        .find(|(part, _)| text.contains(part))
        .map_or("something else", |(_, class)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_what_differs_each_time() {
        let row = "3f2a9c1d0b4e   tiny      \"true\"   3 seconds ago   Up Less than a second             up";
        assert_eq!(shape(row), "ID tiny \"true\" AGE ago Up AGE up");
        assert_eq!(shape("Exited (3) About a minute ago"), "Exited (3) AGE ago");
        assert_eq!(
            shape("2024-02-03 04:05:06 +0000 UTC 5 minutes ago"),
            "TIME TIME +0000 UTC AGE ago"
        );
        assert_eq!(shape("2kB (virtual 1.7MB)"), "SIZE (virtual SIZE)");
        assert_eq!(shape(&format!("[{}]", "a1".repeat(32))), "[LONGID]");
        assert_eq!(shape(&format!("sha256:{}", "a1".repeat(32))), "DIGEST");
        assert_eq!(shape("2026-11-28T04:05:06.123456789Z out"), "TIME out");
    }

    #[test]
    fn hides_nothing_else() {
        for text in [
            "exit 3",
            "0001-01-01T00:00:00Z",
            "CapEff: 00000000a80425fb",
            "a b",
            "10 20",
            "map[a:1]",
        ] {
            assert_eq!(shape(text), text);
        }
    }

    #[test]
    fn knows_complaints_by_their_words() {
        assert_eq!(class(" \n"), "nothing");
        assert_eq!(class("Error: No such container: x"), "no such container");
        assert_eq!(
            class("\"docker rm\" requires at least 1 argument."),
            "too few arguments"
        );
        assert_eq!(
            class("'docker rm' requires at least 1 argument"),
            "too few arguments"
        );
        assert_eq!(class("who knows"), "something else");
    }
}
