//! Permissions of `--chmod`: octal, or as chmod(1) has them (`u=rwX,go-w`). No umask takes part.

use crate::source::quoted;

const EVERYONE: u32 = 0o777;
const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// What a file's permissions become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Whatever they were.
    Octal(u32),
    /// Changed by each of these, in order.
    Symbolic(Vec<Change>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// These bits, of those that `who` has.
    Bits(u32),
    /// x where it is a directory, or somebody has it already.
    Search,
    /// What the class with this shift (6 user, 3 group, 0 others) has at that moment.
    Copy(u32),
}

/// One operation for some classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Bits that it may touch.
    who: u32,
    operator: Operator,
    what: What,
}

impl Mode {
    /// # Errors
    /// It is neither, in BuildKit's words.
    pub fn parse(text: &str) -> Result<Mode, String> {
        let wrong = || {
            format!("invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777")
        };
        if let Ok(bits) = u32::from_str_radix(text, 8)
            && !text.starts_with('+')
        {
            return if bits <= 0o7777 {
                Ok(Mode::Octal(bits))
            } else {
                Err(wrong())
            };
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(wrong());
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut changes)
                .ok_or_else(|| format!("invalid chmod parameter: {}", quoted(text)))?;
        }
        Ok(Mode::Symbolic(changes))
    }

    /// What these permissions become (the low twelve bits).
    pub fn apply(&self, old: u32, is_directory: bool) -> u32 {
        match self {
            Mode::Octal(bits) => *bits,
            Mode::Symbolic(changes) => {
                let mut mode = old & 0o7777;
                for change in changes {
                    mode = change.apply(mode, old, is_directory);
                }
                mode
            }
        }
    }
}

impl Change {
    fn apply(self, mode: u32, old: u32, is_directory: bool) -> u32 {
        let bits = match self.what {
            What::Bits(bits) => bits & self.who,
            What::Search if is_directory || old & 0o111 != 0 => 0o111 & self.who,
            What::Search => 0,
            What::Copy(shift) => ((mode >> shift & 7) * 0o111) & self.who,
        };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => mode & !self.who | bits,
        }
    }
}

/// `ugo` and what to do, perhaps several times: `u+r-w`.
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let classes = clause.find(|c| !matches!(c, 'u' | 'g' | 'o' | 'a'))?;
    let (classes, mut rest) = clause.split_at_checked(classes)?;
    let mut who = 0;
    for class in classes.chars() {
        who |= match class {
            'u' => SET_USER | 0o700,
            'g' => SET_GROUP | 0o070,
            'o' => 0o007,
            _ => SET_USER | SET_GROUP | EVERYONE,
        };
    }
    let nobody = who == 0;
    if nobody {
        who = SET_USER | SET_GROUP | EVERYONE;
    }
    while let Some(first) = rest.chars().next() {
        let operator = match first {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let after = rest.get(1..)?;
        let (letters, next) = after.split_at(after.find(['+', '-', '=']).unwrap_or(after.len()));
        operation(operator, who, letters, changes)?;
        rest = next;
    }
    Some(())
}

fn operation(operator: Operator, who: u32, letters: &str, changes: &mut Vec<Change>) -> Option<()> {
    let (mut bits, mut touched) = (0, who);
    let mut others = Vec::new();
    for letter in letters.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            's' => bits |= SET_USER | SET_GROUP,
            't' if who & 0o770 != 0 => {
                bits |= STICKY;
                touched |= STICKY;
            }
            't' => {}
            // Taken away, it is what x is.
            'X' if operator == Operator::Remove => bits |= 0o111,
            'X' => others.push(What::Search),
            'u' => others.push(What::Copy(6)),
            'g' => others.push(What::Copy(3)),
            'o' => others.push(What::Copy(0)),
            _ => return None,
        }
    }
    // `=` with nothing else clears; behind it the rest adds. A copy is made of what was there before.
    let copies = others.iter().any(|what| matches!(what, What::Copy(_)));
    if bits != 0 || (operator == Operator::Set && !copies) {
        changes.push(Change {
            who: touched,
            operator,
            what: What::Bits(bits),
        });
    }
    for what in others {
        let operator = match what {
            What::Search => Operator::Add,
            _ if operator == Operator::Set && bits != 0 => Operator::Add,
            _ => operator,
        };
        changes.push(Change { who, operator, what });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn as_chmod_has_them() {
        for (text, old, file, directory) in [
            ("755", 0o600, 0o755, 0o755),
            ("0", 0o600, 0, 0),
            ("4755", 0o600, 0o4755, 0o4755),
            ("u=rwX,go=rX", 0o600, 0o644, 0o755),
            ("u=rwX,go=rX", 0o700, 0o755, 0o755),
            ("+x", 0o644, 0o755, 0o755),
            ("a+X", 0o644, 0o644, 0o755),
            ("go-w", 0o666, 0o644, 0o644),
            ("g=u", 0o640, 0o660, 0o660),
            ("o=g-w", 0o670, 0o675, 0o675),
            ("u+s,g+s", 0o755, 0o6755, 0o6755),
            ("+t", 0o755, 0o1755, 0o1755),
            ("o=", 0o777, 0o770, 0o770),
            ("u+r-w", 0o200, 0o400, 0o400),
            ("a-X", 0o755, 0o644, 0o644),
            ("=r", 0o777, 0o444, 0o444),
        ] {
            let mode = Mode::parse(text).unwrap();
            assert_eq!(mode.apply(old, false), file, "{text} {old:o}");
            assert_eq!(mode.apply(old, true), directory, "{text} {old:o}");
        }
        for (text, message) in [
            (
                "888",
                "invalid chmod parameter: '888'. it should be octal string and between 0 and 07777",
            ),
            (
                "10000",
                "invalid chmod parameter: '10000'. it should be octal string and between 0 and 07777",
            ),
            ("u", "invalid chmod parameter: \"u\""),
            ("u+rwz", "invalid chmod parameter: \"u+rwz\""),
            ("u+r,", "invalid chmod parameter: \"u+r,\""),
            ("rwx", "invalid chmod parameter: \"rwx\""),
            ("", "invalid chmod parameter: \"\""),
        ] {
            assert_eq!(Mode::parse(text).unwrap_err(), message);
        }
    }
}
