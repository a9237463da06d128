//! What may reach a terminal, and its colours.
//!
//! May not: let a container's words move the cursor, change the title, answer questions or write to the clipboard. Of all that
//! terminals obey only colours are left, and those end with their line.

use crate::flags::csv;

/// A line as a terminal would show it at its end, without anything that a terminal obeys but, if they are wanted, colours.
///
/// A carriage return begins the line again, as progress bars of programs do; a tab becomes blanks.
pub fn harmless(line: &str, colours: bool) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut out = String::with_capacity(line.len());
    let mut is_coloured = false;
    let mut columns = 0;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\t' => {
                let blanks = 8 - columns % 8;
                out.extend(std::iter::repeat_n(' ', blanks));
                columns += blanks;
            }
            '\u{8}' => {
                if out.pop().is_some() {
                    columns = columns.saturating_sub(1);
                }
            }
            '\u{1b}' | '\u{9b}' | '\u{9d}' | '\u{90}' | '\u{98}' | '\u{9e}' | '\u{9f}' => {
                let kind = match c {
                    '\u{1b}' => chars.next(),
                    '\u{9b}' => Some('['),
                    _ => Some(']'),
                };
                if let Some(sequence) = skip(kind, &mut chars)
                    && colours
                {
                    out.push_str(&format!("\u{1b}[{sequence}m"));
                    is_coloured = true;
                }
            }
            c if c.is_control() => {}
            // Marks that turn the direction of what follows on the screen.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            c => {
                out.push(c);
                columns += 1;
            }
        }
    }
    if is_coloured {
        out.push_str("\u{1b}[0m");
    }
    out
}

/// Goes over a sequence whose first character is known. The numbers of a colour, if it is one.
fn skip(kind: Option<char>, chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<String> {
    match kind? {
        '[' => {
            let mut numbers = String::new();
            for c in chars.by_ref() {
                match c {
                    '\u{40}'..='\u{7e}' => {
                        let is_colour = c == 'm'
                            && numbers
                                .bytes()
                                .all(|b| b.is_ascii_digit() || matches!(b, b';' | b':'));
                        return is_colour.then_some(numbers);
                    }
                    c => numbers.push(c),
                }
            }
            None
        }
        // A string for the terminal, up to its end.
        ']' | 'P' | 'X' | '^' | '_' => {
            while let Some(c) = chars.next() {
                match c {
                    '\u{7}' | '\u{9c}' => break,
                    '\u{1b}' => {
                        chars.next_if_eq(&'\\');
                        break;
                    }
                    _ => {}
                }
            }
            None
        }
        // Intermediate characters, then the last one.
        ' '..='/' => {
            for c in chars.by_ref() {
                if !matches!(c, ' '..='/') {
                    break;
                }
            }
            None
        }
        _ => None,
    }
}

/// What a line of the tree may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    None,
    Run,
    Cancel,
    Error,
    Faint,
}

/// The sequences that begin each; empty: it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Colours {
    run: String,
    cancel: String,
    error: String,
    warning: String,
    faint: String,
}

impl Colours {
    /// BuildKit's, changed by `BUILDKIT_COLORS`; none where `NO_COLOR` is set.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Colours {
        if variable("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            return Colours::none();
        }
        let usual = |name| colour(name).unwrap_or_default();
        let mut colours = Colours {
            run: usual("blue"),
            cancel: usual("yellow"),
            error: usual("red"),
            warning: usual("yellow"),
            faint: "\u{1b}[2m".to_owned(),
        };
        let wish = variable("BUILDKIT_COLORS").unwrap_or_default();
        for (name, value) in wish.split(':').filter_map(|field| field.split_once('=')) {
            // Who misspells a colour gets the usual one.
            let Some(colour) = colour(value) else {
                continue;
            };
            match name.to_lowercase().as_str() {
                "run" => colours.run = colour,
                "cancel" => colours.cancel = colour,
                "error" => colours.error = colour,
                "warning" => colours.warning = colour,
                _ => {}
            }
        }
        colours
    }

    pub fn none() -> Colours {
        Colours {
            run: String::new(),
            cancel: String::new(),
            error: String::new(),
            warning: String::new(),
            faint: String::new(),
        }
    }

    /// A line in a colour.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        let begin = match paint {
            Paint::None => "",
            Paint::Run => &self.run,
            Paint::Cancel => &self.cancel,
            Paint::Error => &self.error,
            Paint::Faint => &self.faint,
        };
        match begin {
            "" => text.to_owned(),
            begin => format!("{begin}{text}\u{1b}[0m"),
        }
    }

    /// A warning.
    pub fn warning(&self, text: &str) -> String {
        match self.warning.as_str() {
            "" => text.to_owned(),
            begin => format!("{begin}{text}\u{1b}[0m"),
        }
    }
}

/// By name, or `RED,GREEN,BLUE`.
fn colour(text: &str) -> Option<String> {
    const NAMES: [&str; 8] = [
        "black", "red", "green", "yellow", "blue", "magenta", "cyan", "white",
    ];
    let text = text.to_lowercase();
    if text == "default" {
        return Some("\u{1b}[39m".to_owned());
    }
    let (name, first) = match text.strip_prefix("light-") {
        Some(name) => (name, 90),
        None => (text.as_str(), 30),
    };
    if let Some(n) = NAMES.iter().position(|known| *known == name) {
        return Some(format!("\u{1b}[{}m", first + n));
    }
    let parts: Option<Vec<u8>> = csv(&text).ok()?.iter().map(|n| n.trim().parse().ok()).collect();
    match parts?.as_slice() {
        [red, green, blue] => Some(format!("\u{1b}[38;2;{red};{green};{blue}m")),
        _ => None,
    }
}
