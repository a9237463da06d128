//! Go's fmt: `%v`, printf, Print, and quoted text.
//!
//! May not: fail. What does not fit is printed as Go prints it: `%!d(string=x)`.

use super::value::Value;
use std::fmt::Write as _;

/// Between the verb and its percent sign.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// fmt.Sprint: a space between two operands when neither is text.
pub fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    let mut previous_is_text = true;
    for value in values {
        let is_text = matches!(value, Value::Text(_));
        if !out.is_empty() && !is_text && !previous_is_text {
            out.push(' ');
        }
        print(&mut out, value);
        previous_is_text = is_text;
    }
    out
}

/// fmt.Sprintln: always spaces, and a new line.
pub fn sprintln(values: &[Value]) -> String {
    let words: Vec<String> = values
        .iter()
        .map(|v| {
            let mut out = String::new();
            print(&mut out, v);
            out
        })
        .collect();
    words.join(" ") + "\n"
}

/// `%v`.
pub fn print(out: &mut String, value: &Value) {
    verb(out, value, 'v', Flags::default(), false);
}

/// fmt.Sprintf.
pub fn sprintf(format: &str, values: &[Value]) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut next = 0;
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(c) = chars.peek().copied() {
            match c {
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            chars.next();
        }
        flags.width = size(&mut chars, values, &mut next, &mut flags.minus);
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut negative = false;
            flags.precision = Some(size(&mut chars, values, &mut next, &mut negative).unwrap_or(0));
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(c) => match values.get(next) {
                None => {
                    let _ = write!(out, "%!{c}(MISSING)");
                }
                Some(value) => {
                    next += 1;
                    one(&mut out, value, c, flags);
                }
            },
        }
    }
    if next < values.len() {
        out.push_str("%!(EXTRA ");
        for (n, value) in values[next..].iter().enumerate() {
            let joint = if n > 0 { ", " } else { "" };
            out.push_str(joint);
            typed(&mut out, value);
        }
        out.push(')');
    }
    out
}

/// A number, or `*` for the next operand.
fn size(
    chars: &mut std::iter::Peekable<std::str::Chars<'_>>,
    values: &[Value],
    next: &mut usize,
    minus: &mut bool,
) -> Option<usize> {
    const LARGEST: usize = 1_000_000;
    if chars.peek() == Some(&'*') {
        chars.next();
        let value = values.get(*next)?;
        *next += 1;
        let Value::Int(n) = value else { return None };
        *minus |= *n < 0;
        return usize::try_from(n.unsigned_abs()).ok().filter(|n| *n <= LARGEST);
    }
    let mut digits = String::new();
    while let Some(c) = chars.peek().filter(|c| c.is_ascii_digit()) {
        digits.push(*c);
        chars.next();
    }
    digits.parse().ok().filter(|n| *n <= LARGEST)
}

fn one(out: &mut String, value: &Value, c: char, flags: Flags) {
    match c {
        'T' => padded(out, value.kind(), flags),
        _ => verb(out, value, c, flags, false),
    }
}

/// Text with the width of the flags.
fn padded(out: &mut String, text: &str, flags: Flags) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        let fill = if flags.zero { '0' } else { ' ' };
        out.extend(std::iter::repeat_n(fill, missing));
        out.push_str(text);
    }
}

/// `type=value`
fn typed(out: &mut String, value: &Value) {
    if matches!(value, Value::Nil | Value::Missing) {
        out.push_str("<nil>");
        return;
    }
    let _ = write!(out, "{}=", value.kind());
    print(out, value);
}

fn bad(out: &mut String, value: &Value, c: char) {
    let _ = write!(out, "%!{c}(");
    typed(out, value);
    out.push(')');
}

/// Go's Duration.String: `1h0m30s`, `1.5s`, `100ms`, `1µs`, `5ns`, `0s`.
fn go_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let all = nanoseconds.unsigned_abs();
    let with = |unit: u64, name: &str| {
        let (whole, rest) = (all / unit, all % unit);
        let digits = unit.ilog10() as usize;
        let fraction = format!("{rest:0digits$}");
        let fraction = fraction.trim_end_matches('0');
        match rest {
            0 => format!("{sign}{whole}{name}"),
            _ => format!("{sign}{whole}.{fraction}{name}"),
        }
    };
    match all {
        0 => "0s".to_owned(),
        1..=999 => format!("{sign}{all}ns"),
        1_000..=999_999 => with(1_000, "\u{b5}s"),
        1_000_000..=999_999_999 => with(1_000_000, "ms"),
        _ => {
            let minutes = all / 60_000_000_000;
            let seconds = all % 60_000_000_000;
            let fraction = format!("{:09}", seconds % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let dot = if fraction.is_empty() { "" } else { "." };
            let tail = format!("{}{dot}{fraction}s", seconds / 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{tail}"),
                (0, minutes) => format!("{sign}{minutes}m{tail}"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}"),
            }
        }
    }
}

/// `within` a list, map or struct nil has no type to complain about.
fn verb(out: &mut String, value: &Value, c: char, flags: Flags, within: bool) {
    match value {
        Value::Missing | Value::Nil | Value::NilPointer(_) => match c {
            'v' => padded(out, "<nil>", Flags { zero: false, ..flags }),
            _ if within => {
                let _ = write!(out, "%!{c}(<nil>)");
            }
            _ => bad(out, value, c),
        },
        Value::Bool(b) => match c {
            'v' | 't' => padded(
                out,
                if *b { "true" } else { "false" },
                Flags { zero: false, ..flags },
            ),
            _ => bad(out, value, c),
        },
        Value::Int(n) => integer(out, value, n.unsigned_abs(), *n < 0, c, flags),
        Value::Duration(n) if matches!(c, 'v' | 's') && !flags.sharp => {
            padded(out, &go_duration(*n), Flags { zero: false, ..flags });
        }
        Value::Duration(n) => integer(out, value, n.unsigned_abs(), *n < 0, c, flags),
        Value::Uint(n) => integer(out, value, *n, false, c, flags),
        Value::Float(f) => match float(*f, c, flags) {
            Some(text) => number(out, &text, flags),
            None => bad(out, value, c),
        },
        Value::Text(t) | Value::Number(t) => text(out, value, t, c, flags),
        Value::List(list) => {
            let (open, joint, close) = if c == 'v' && flags.sharp {
                (format!("{}{{", list.kind), ", ", "}")
            } else {
                ("[".to_owned(), " ", "]")
            };
            out.push_str(&open);
            for (n, item) in list.items.iter().enumerate() {
                out.push_str(if n > 0 { joint } else { "" });
                verb(out, item, c, flags, true);
            }
            out.push_str(close);
        }
        Value::Map(map) => {
            let sharp = c == 'v' && flags.sharp;
            out.push_str(&if sharp {
                format!("{}{{", map.kind)
            } else {
                "map[".to_owned()
            });
            for (n, (key, item)) in map.entries.iter().enumerate() {
                let joint = if sharp { ", " } else { " " };
                out.push_str(if n > 0 { joint } else { "" });
                verb(out, &key.as_str().into(), c, flags, true);
                out.push(':');
                verb(out, item, c, flags, true);
            }
            out.push(if sharp { '}' } else { ']' });
        }
        Value::Struct(s) => {
            let sharp = c == 'v' && flags.sharp;
            if sharp {
                out.push_str(s.kind);
            }
            out.push('{');
            for (n, field) in s.fields.iter().enumerate() {
                let joint = if sharp { ", " } else { " " };
                out.push_str(if n > 0 { joint } else { "" });
                if c == 'v' && (flags.plus || flags.sharp) {
                    let _ = write!(out, "{}:", field.name);
                }
                verb(out, &field.value, c, flags, true);
            }
            out.push('}');
        }
        Value::Method(_) => out.push_str("<func>"),
    }
}

fn text(out: &mut String, value: &Value, t: &str, c: char, flags: Flags) {
    let cut: String = match flags.precision {
        Some(p) => t.chars().take(p).collect(),
        None => t.to_owned(),
    };
    match c {
        'v' if flags.sharp => padded(out, &quote(t), flags),
        'v' | 's' => padded(out, &cut, flags),
        'q' if flags.sharp && !t.contains('`') => padded(out, &format!("`{cut}`"), flags),
        'q' => padded(out, &quote(&cut), flags),
        'x' | 'X' => {
            let bytes = t.as_bytes();
            let shown = &bytes[..flags.precision.unwrap_or(bytes.len()).min(bytes.len())];
            let hex: Vec<String> = shown
                .iter()
                .map(|b| {
                    if c == 'x' {
                        format!("{b:02x}")
                    } else {
                        format!("{b:02X}")
                    }
                })
                .collect();
            padded(out, &hex.join(if flags.space { " " } else { "" }), flags);
        }
        _ => bad(out, value, c),
    }
}

/// A number that has its digits: sign, then zeros or spaces up to the width.
fn number(out: &mut String, digits: &str, flags: Flags) {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None if flags.plus => ("+", digits),
        None if flags.space => (" ", digits),
        None => ("", digits),
    };
    let missing = flags.width.unwrap_or(0).saturating_sub(sign.len() + digits.len());
    if flags.zero && !flags.minus {
        let _ = write!(out, "{sign}{}{digits}", "0".repeat(missing));
    } else {
        padded(out, &format!("{sign}{digits}"), Flags { zero: false, ..flags });
    }
}

fn integer(out: &mut String, value: &Value, n: u64, negative: bool, c: char, flags: Flags) {
    let digits = match c {
        'v' | 'd' => n.to_string(),
        'b' => format!("{n:b}"),
        'o' if flags.sharp => format!("0{n:o}"),
        'o' => format!("{n:o}"),
        'O' => format!("0o{n:o}"),
        'x' if flags.sharp => format!("{n:#x}"),
        'x' => format!("{n:x}"),
        'X' if flags.sharp => format!("0X{n:X}"),
        'X' => format!("{n:X}"),
        'c' | 'q' | 'U' => {
            let character = u32::try_from(n)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}');
            let shown = match c {
                'c' => character.to_string(),
                'q' => format!("'{character}'"),
                _ => format!("U+{n:04X}"),
            };
            return padded(out, &shown, Flags { zero: false, ..flags });
        }
        _ => return bad(out, value, c),
    };
    let mut digits = match flags.precision {
        Some(p) => format!("{digits:0>p$}"),
        None => digits,
    };
    if negative {
        digits.insert(0, '-');
    }
    number(
        out,
        &digits,
        Flags {
            zero: flags.zero && flags.precision.is_none(),
            ..flags
        },
    );
}

fn float(f: f64, c: char, flags: Flags) -> Option<String> {
    if f.is_nan() {
        return Some("NaN".to_owned());
    }
    if f.is_infinite() {
        return Some(if f < 0.0 { "-Inf" } else { "+Inf" }.to_owned());
    }
    Some(match c {
        'v' | 'g' | 'G' => {
            let text = general(f, flags.precision);
            if c == 'G' { text.to_uppercase() } else { text }
        }
        'f' | 'F' => format!("{f:.*}", flags.precision.unwrap_or(6)),
        'e' | 'E' => {
            let text = exponential(&format!("{f:.*e}", flags.precision.unwrap_or(6)));
            if c == 'E' { text.to_uppercase() } else { text }
        }
        _ => return None,
    })
}

/// Rust's `1.5e3` as C's `1.5e+03`.
fn exponential(text: &str) -> String {
    let Some((digits, exponent)) = text.split_once('e') else {
        return text.to_owned();
    };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%g`: the shortest text that reads back the same, or so many significant digits.
pub fn general(f: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        None => format!("{f:e}"),
        Some(p) => format!("{f:.*e}", p.max(1) - 1),
    };
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    };
    // For the shortest form Go decides as if six digits had been asked for.
    let limit = match precision {
        None => 6,
        Some(p) => i32::try_from(p.max(1)).unwrap_or(i32::MAX),
    };
    if exponent < -4 || exponent >= limit {
        return exponential(&format!("{digits}e{exponent}"));
    }
    let decimals =
        usize::try_from(i32::try_from(digits.replace(['-', '.'], "").len()).unwrap_or(0) - 1 - exponent)
            .unwrap_or(0);
    format!("{f:.decimals$}")
}

/// strconv.Quote.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || c == '\u{ad}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// strconv.Unquote of `"..."` and `` `...` ``.
pub fn unquote(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = Vec::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, '"', &mut bytes)?,
            '\n' => return None,
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A character constant, `'x'`.
pub fn unquote_char(text: &str) -> Option<char> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut chars = inner.chars();
    let mut bytes = Vec::new();
    match chars.next()? {
        '\\' => escape(&mut chars, '\'', &mut bytes)?,
        c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
    let text = String::from_utf8(bytes).ok()?;
    let c = text.chars().next()?;
    chars.next().is_none().then_some(c)
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<()> {
    let letter = chars.next()?;
    let mut digits = |first: Option<char>, count: usize, radix: u32| -> Option<u32> {
        let digits: String = first.into_iter().chain(chars.by_ref().take(count)).collect();
        let complete = digits.len() == count + usize::from(first.is_some());
        u32::from_str_radix(&digits, radix).ok().filter(|_| complete)
    };
    let simple = match letter {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        'x' => u8::try_from(digits(None, 2, 16)?).ok()?,
        '0'..='7' => u8::try_from(digits(Some(letter), 2, 8)?).ok()?,
        'u' | 'U' => {
            let c = char::from_u32(digits(None, if letter == 'u' { 4 } else { 8 }, 16)?)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        c if c == quote => u8::try_from(c).ok()?,
        _ => return None,
    };
    bytes.push(simple);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (n, text) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5\u{b5}s"),
            (100_000_000, "100ms"),
            (10_000_000_000, "10s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-2_000_000_000, "-2s"),
        ] {
            assert_eq!(go_duration(n), text);
        }
    }
}
